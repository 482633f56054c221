"""Looks of simulated scanners: screen layout, colours, grey map and resolution.

The layouts follow what exports of several makers have in common (banner, parameter column,
ruler, grey bar); they carry no logo, and every text on them is fictitious.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Colour: TypeAlias = tuple[int, int, int]

WHITE, GREY, YELLOW = (255, 255, 255), (170, 170, 170), (250, 230, 40)
CYAN, GREEN, ORANGE = (80, 225, 240), (90, 230, 100), (245, 150, 40)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Resolution and grey map of a scanner.

    Parameters
    ----------
    axial_mm, lateral_mm : float
        Resolution at the focus at 35 mm depth, standard deviations.
    dynamic_range_db, gamma : float
    looks : int
        Views of its compound imaging.
    """

    axial_mm: float
    lateral_mm: float
    dynamic_range_db: float
    gamma: float
    looks: int


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Looks and imaging of one make of scanner.

    Parameters
    ----------
    name : str
    sizes : tuple of (int, int)
        Screen sizes it exports, (height, width).
    field : (float, float, float, float)
        Part of the screen that the scan area may take: top, left, bottom, right, in [0, 1].
    banner : Colour or None
        Background of the banner; None for text on black.
    banner_height : float
        Part of the screen's height.
    text, ruler, caliper : Colour
    parameters : str
        Side of the parameter column.
    ruler_side : str
    ruler_inside : bool
        Ticks lie on the tissue's edge rather than beside it.
    bar_side : str
        Side of the grey (or colour) bar.
    cross : str
        Form of the caliper marks: ``"+"`` or ``"x"``.
    body_mark_inside : bool
        The body mark lies on the tissue.
    probe : Probe
    """

    name: str
    sizes: tuple[tuple[int, int], ...]
    field: tuple[float, float, float, float]
    banner: Colour | None
    banner_height: float
    text: Colour
    ruler: Colour
    caliper: Colour
    parameters: Literal["left", "right"]
    ruler_side: Literal["left", "right"]
    ruler_inside: bool
    bar_side: Literal["left", "right"]
    cross: Literal["+", "x"]
    body_mark_inside: bool
    probe: Probe


_TABLE = (
    Machine(
        name="ge-like", sizes=((720, 960), (614, 816)), field=(0.18, 0.01, 0.90, 0.86),
        banner=(46, 12, 4), banner_height=0.095, text=GREY, ruler=CYAN, caliper=YELLOW,
        parameters="right", ruler_side="right", ruler_inside=True, bar_side="left",
        cross="+", body_mark_inside=True,
        probe=Probe(axial_mm=0.095, lateral_mm=0.25, dynamic_range_db=63, gamma=1.0, looks=2),
    ),
    Machine(
        name="philips-like", sizes=((768, 1024), (600, 800)), field=(0.14, 0.12, 0.95, 0.92),
        banner=None, banner_height=0.09, text=(200, 200, 205), ruler=WHITE, caliper=CYAN,
        parameters="left", ruler_side="right", ruler_inside=False, bar_side="right",
        cross="+", body_mark_inside=False,
        probe=Probe(axial_mm=0.09, lateral_mm=0.28, dynamic_range_db=60, gamma=1.05, looks=3),
    ),
    Machine(
        name="mindray-like", sizes=((960, 1280), (768, 1024)), field=(0.10, 0.09, 0.92, 0.80),
        banner=(58, 60, 66), banner_height=0.065, text=(215, 215, 215), ruler=WHITE, caliper=GREEN,
        parameters="right", ruler_side="right", ruler_inside=False, bar_side="left",
        cross="+", body_mark_inside=True,
        probe=Probe(axial_mm=0.085, lateral_mm=0.24, dynamic_range_db=65, gamma=1.0, looks=2),
    ),
    Machine(
        name="siemens-like", sizes=((768, 1024),), field=(0.13, 0.16, 0.93, 0.97),
        banner=(24, 34, 52), banner_height=0.08, text=ORANGE, ruler=ORANGE, caliper=WHITE,
        parameters="left", ruler_side="left", ruler_inside=False, bar_side="right",
        cross="x", body_mark_inside=True,
        probe=Probe(axial_mm=0.1, lateral_mm=0.27, dynamic_range_db=62, gamma=0.97, looks=2),
    ),
    Machine(
        name="esaote-like", sizes=((480, 640), (600, 800)), field=(0.12, 0.06, 0.94, 0.84),
        banner=None, banner_height=0.08, text=GREEN, ruler=GREEN, caliper=GREEN,
        parameters="right", ruler_side="left", ruler_inside=False, bar_side="right",
        cross="x", body_mark_inside=False,
        probe=Probe(axial_mm=0.11, lateral_mm=0.3, dynamic_range_db=60, gamma=1.0, looks=1),
    ),
    Machine(
        name="samsung-like", sizes=((720, 1280), (768, 1024)), field=(0.12, 0.14, 0.97, 0.88),
        banner=(18, 22, 70), banner_height=0.085, text=WHITE, ruler=YELLOW, caliper=YELLOW,
        parameters="right", ruler_side="left", ruler_inside=True, bar_side="right",
        cross="+", body_mark_inside=True,
        probe=Probe(axial_mm=0.095, lateral_mm=0.26, dynamic_range_db=66, gamma=0.95, looks=3),
    ),
)  # fmt: skip

MACHINES: dict[str, Machine] = {machine.name: machine for machine in _TABLE}
"""The machines by name."""
