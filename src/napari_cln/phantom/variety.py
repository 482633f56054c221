"""The varied neck: what patients have and the plain simulated neck lacks.

A network that knows the plain neck alone takes *dark* for *node*. So here nodes may also be as bright as
what is around them, brighter, or very long; and what is dark and no node is as large as in patients: carotid
and jugular across and along, with a layered wall and a lumen without an echo; muscle with fascicles, along
and across them; trachea with its rings and its shadow; thyroid with its texture. Gain, depth, side lobes and
reverberation vary as much as on real machines.

None of it depends on a node's class. A sign that is hidden by it is left out of the best possible score,
which so stays exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .anatomy import (
    BLOOD_GAIN_DB,
    FLUID_DB,
    MUSCLE_DB,
    THYROID_DB,
    Neck,
    draw_edge_shadows,
    draw_layers,
    draw_neck,
)
from .signs import NodeSigns
from .tissue import STEP_MM, Contour, Tissue, ellipse, smooth_noise

DEPTHS_MM = (20.0, 25.0, 30.0, 35.0, 40.0, 50.0, 60.0, 70.0)
VIEWS: dict[str, float] = {
    "neck": 0.25,
    "vessels across": 0.2,
    "vessels along": 0.2,
    "trachea along": 0.1,
    "thyroid": 0.1,
    "muscle": 0.15,
}
"""Share of frames with each view; ``neck`` is the plain one."""
TONES: dict[str, tuple[float, tuple[float, float] | None]] = {
    "dark": (0.4, None),
    "isoechoic": (0.35, (-4.0, 1.0)),
    "bright": (0.25, (4.0, 10.0)),
}
"""Share of nodes of each tone, and the echogenicity of their cortex, dB; None for the sign as drawn."""
ELONGATED, AXIS_RATIOS = 0.25, (3.0, 6.0)
"""Share of nodes that are very long, and their long over short axis."""


@dataclass(frozen=True, kw_only=True)
class Imaging:
    """Settings of a machine in unpractised hands.

    Parameters
    ----------
    tissue_db, dynamic_range_db : float
        Gain, and from black to white.
    fade_db_per_mm : float
        What the depth compensation leaves.
    side_lobe : float
        Amplitude of the beam's side lobes.
    reverberation : float
        Amplitude of the first repeated echo of a strong reflector; each further one is weaker alike.
    reverberation_mm : float
        Way between the repeated echoes.
    """

    tissue_db: float
    dynamic_range_db: float
    fade_db_per_mm: float
    side_lobe: float
    reverberation: float
    reverberation_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator, dynamic_range_db: float) -> Imaging:
        """Draw settings around a machine's dynamic range."""
        return cls(
            tissue_db=float(rng.uniform(17, 33)),
            dynamic_range_db=dynamic_range_db + float(rng.uniform(-10, 10)),
            fade_db_per_mm=float(rng.uniform(-0.05, 0.3)),
            side_lobe=float(rng.uniform(0.04, 0.3)),
            reverberation=float(rng.uniform(0.1, 0.45)) if rng.random() < 0.4 else 0.0,
            reverberation_mm=float(rng.uniform(1.0, 5.0)),
        )


def hide_signs(rng: np.random.Generator, signs: NodeSigns) -> tuple[NodeSigns, frozenset[str]]:
    """Give a node another tone and length, whatever its class.

    Returns
    -------
    NodeSigns
        As the node is drawn.
    frozenset of str
        Names of the signs that no longer tell anything of its class.
    """
    tone = str(rng.choice(list(TONES), p=[share for share, _ in TONES.values()]))
    level = TONES[tone][1]
    elongated = bool(rng.random() < ELONGATED)
    drawn = {
        "echo_db": None if level is None else float(rng.uniform(*level)),
        "axis_ratio": float(rng.uniform(*AXIS_RATIOS)) if elongated else None,
    }
    hidden = {name: value for name, value in drawn.items() if value is not None}
    return NodeSigns(**{**vars(signs), **hidden}), frozenset(hidden)


def reverberate(
    reflectors: NDArray[np.float32], imaging: Imaging, step_mm: float = STEP_MM[0]
) -> NDArray[np.float32]:
    """Add the repeated echoes of strong reflectors: (Z, X) float32, weaker and deeper each time."""
    if not imaging.reverberation:
        return reflectors
    strong = np.where(reflectors > 3.0, reflectors, np.float32(0))
    out = reflectors.copy()
    step = max(round(imaging.reverberation_mm / step_mm), 1)
    for number in range(1, 5):
        if number * step >= len(out):
            break
        echo = strong[: -number * step] * np.float32(imaging.reverberation**number)
        out[number * step :] = np.maximum(out[number * step :], echo)
    return out


def draw_varied_neck(rng: np.random.Generator, depth_mm: float, width_mm: float) -> Neck:
    """Draw a neck without nodes, in one of ``VIEWS``.

    Parameters
    ----------
    rng : Generator
    depth_mm, width_mm : float
        Field of view.
    """
    view = str(rng.choice(list(VIEWS), p=list(VIEWS.values())))
    if view == "neck":
        return draw_neck(rng, depth_mm, width_mm)
    neck = Neck(Tissue(depth_mm, width_mm))
    along = view in ("vessels along", "trachea along") or (view == "muscle" and bool(rng.random() < 0.6))
    draw_layers(rng, neck, along=along, medial_right=bool(rng.random() < 0.5))
    draws: dict[str, Callable[[np.random.Generator, Neck], None]] = {
        "vessels across": _draw_vessels_across,
        "vessels along": _draw_vessels_along,
        "trachea along": _draw_trachea_along,
        "thyroid": _draw_thyroid,
        "muscle": _draw_muscles_along if along else _draw_muscles_across,
    }
    draws[view](rng, neck)
    return neck


def _below(neck: Neck, lateral: float) -> float:
    """Depth at which the deep neck begins."""
    return float(np.interp(lateral, neck.tissue.lateral, neck.deep_top))


def _band_along(
    rng: np.random.Generator, neck: Neck, middle: float, half: float, *, ends: bool = False
) -> Contour:
    """Outline of something cut along its length, over the whole width or tapering at its ends."""
    width = neck.tissue.width_mm
    x = np.linspace(-5, width + 5, 120)
    centre = middle + rng.uniform(-0.15, 0.15) * (x - width / 2)
    centre = centre + rng.uniform(0.1, 0.6) * np.sin(x / rng.uniform(5, 14) + rng.uniform(0, 6))
    thick = half * (1 + 0.08 * np.sin(x / rng.uniform(4, 10)))
    if ends:
        thick = thick * np.sqrt(np.clip(1 - ((x - width / 2) / (0.62 * width)) ** 2, 0.02, 1))
    return np.column_stack(
        [np.concatenate([centre - thick, (centre + thick)[::-1]]), np.concatenate([x, x[::-1]])]
    )


def _draw_lumen(rng: np.random.Generator, neck: Neck, name: str, contour: Contour) -> None:
    """Vessel with a layered wall and a lumen that gives no echo, or hardly any."""
    tissue = neck.tissue
    artery = name == "carotid"
    tissue.fill(contour, float(rng.uniform(FLUID_DB, -35)), loss_db=BLOOD_GAIN_DB)
    centre = contour.mean(axis=0)
    rows, columns = tissue.indices(contour)
    if rows.size and rng.random() < 0.5:  # haze under the near wall
        depth = (rows - rows.min()) * STEP_MM[0]
        haze = float(rng.uniform(-24, -14)) - 8 * depth
        tissue.echo_db[rows, columns] = np.maximum(tissue.echo_db[rows, columns], haze)
    tissue.wall(rng, contour, float(rng.uniform(3, 6)) if artery else 2.2, diffuse=0.08)
    if artery:  # intima and media part two bright lines by a dark one
        inner = centre + (contour - centre) * (1 - 0.8 / max(float(np.ptp(contour[:, 0])), 2.0), 1.0)
        tissue.wall(rng, inner, float(rng.uniform(1.5, 3)), diffuse=0.02)
        draw_edge_shadows(tissue, contour)
    neck.add(name, contour)


def _draw_vessels_across(rng: np.random.Generator, neck: Neck) -> None:
    """Large carotid and jugular side by side, at times three vessels."""
    tissue = neck.tissue
    lateral = rng.uniform(0.1, 0.5) * tissue.width_mm
    for name in ("carotid", "jugular", "jugular")[: int(rng.integers(1, 4))]:
        tall = rng.uniform(3.0, 5.5) if name == "carotid" else rng.uniform(2.0, 6.0)
        wide = tall * (rng.uniform(0.95, 1.15) if name == "carotid" else rng.uniform(1.1, 2.2))
        tall = min(tall, (tissue.depth_mm - neck.deep_top.max()) / 2.5)
        lateral += wide
        centre = (_below(neck, lateral) + tall + rng.uniform(0.5, 0.3 * tissue.depth_mm), lateral)
        _draw_lumen(rng, neck, name, ellipse(centre, (tall, wide), rng.uniform(-0.3, 0.3)))
        lateral += wide + rng.uniform(0.8, 3)
    _draw_muscles_across(rng, neck, count=int(rng.integers(0, 3)))


def _draw_vessels_along(rng: np.random.Generator, neck: Neck) -> None:
    """Carotid, jugular or both along their length, as wide as half the deep neck at times."""
    tissue = neck.tissue
    top, free = float(neck.deep_top.max()), tissue.depth_mm - float(neck.deep_top.max())
    names = ("jugular", "carotid")[int(rng.integers(0, 2)) :]
    depth = top + 1.0
    for name in names:
        half = float(np.clip(rng.uniform(0.08, 0.2) * free, 1.5, 6.0))
        contour = _band_along(rng, neck, depth + half + rng.uniform(0.5, 3), half, ends=rng.random() < 0.3)
        _draw_lumen(rng, neck, name, contour)
        depth += 2 * half + rng.uniform(1, 4)
    if rng.random() < 0.5 and depth < tissue.depth_mm - 4:
        _draw_fascicles(rng, neck, _band_along(rng, neck, depth + 4, rng.uniform(2, 4)), along=True)


def _draw_trachea_along(rng: np.random.Generator, neck: Neck) -> None:
    """Trachea along its length: a row of dark rings, gas under them, its echoes, and the dark."""
    tissue = neck.tissue
    top = float(neck.deep_top.max()) + rng.uniform(0.5, 4)
    tilt = rng.uniform(-0.1, 0.1)
    spacing, thick = rng.uniform(3.5, 5.5), rng.uniform(0.8, 1.6)
    x = np.linspace(0, tissue.width_mm, 300)
    line = top + 2 * thick + tilt * (x - tissue.width_mm / 2)
    below = np.vstack(
        [np.column_stack([line, x]), [[tissue.depth_mm + 1, tissue.width_mm], [tissue.depth_mm + 1, 0.0]]]
    )
    tissue.fill(below, float(rng.uniform(-20, -8)), loss_db=float(rng.uniform(0.8, 2.5)))
    gap = rng.uniform(1.5, 3.0)
    for number, level in enumerate((8.0, 5.0, 3.0, 1.8, 1.0)):
        tissue.reflect(np.column_stack([line + 0.2 + gap * number, x]), level)
    for at in np.arange(rng.uniform(0, spacing), tissue.width_mm, spacing):
        centre = (top + thick + tilt * (at - tissue.width_mm / 2), at)
        ring = ellipse(centre, (thick, spacing * rng.uniform(0.3, 0.4)))
        tissue.fill(ring, float(rng.uniform(-16, -9)))
        tissue.wall(rng, ring, 2.0, diffuse=0.1)
        neck.add("trachea", ring)
    neck.add("trachea", below)


def _draw_thyroid(rng: np.random.Generator, neck: Neck) -> None:
    """Thyroid lobe, large, bright and fine, at times patchy, with muscle before and a vessel beside it."""
    tissue = neck.tissue
    tall, wide = rng.uniform(5, 10), rng.uniform(8, 20)
    at = rng.uniform(0.2, 0.8) * tissue.width_mm
    tall = min(tall, (tissue.depth_mm - _below(neck, at)) / 2.5)
    contour = ellipse((_below(neck, at) + tall + 1, at), (tall, wide), rng.uniform(-0.15, 0.15))
    tissue.fill(contour, THYROID_DB + float(rng.uniform(-2, 2)))
    rows, columns = tissue.indices(contour)
    patchy = float(rng.uniform(0.5, 3.0))
    tissue.echo_db[rows, columns] += smooth_noise(rng, tissue.shape, (25, 25))[rows, columns] * np.float32(
        patchy
    )
    tissue.wall(rng, contour, 2.2)
    neck.add("thyroid", contour)
    beside = at + (wide + 4) * (1 if at < tissue.width_mm / 2 else -1)
    radius = rng.uniform(2.8, 4.5)
    centre = (_below(neck, beside) + radius + rng.uniform(2, 8), beside)
    _draw_lumen(rng, neck, "carotid", ellipse(centre, (radius, radius * rng.uniform(0.95, 1.1))))


def _draw_muscles_along(rng: np.random.Generator, neck: Neck) -> None:
    """Two or three muscles along their fibres, one under the other."""
    depth = float(neck.deep_top.max())
    while depth < neck.tissue.depth_mm - 4:
        half = rng.uniform(2, 6)
        _draw_fascicles(rng, neck, _band_along(rng, neck, depth + half + 0.3, half), along=True)
        depth += 2 * half + rng.uniform(0.3, 2)


def _draw_muscles_across(rng: np.random.Generator, neck: Neck, count: int | None = None) -> None:
    """Muscles cut across their fibres, round to flat."""
    tissue = neck.tissue
    for _ in range(int(rng.integers(2, 6)) if count is None else count):
        at = rng.uniform(0, tissue.width_mm)
        low = _below(neck, at) + 2
        centre = (rng.uniform(low, max(low, tissue.depth_mm)), at)
        radii = (rng.uniform(2, 6), rng.uniform(4, 12))
        _draw_fascicles(rng, neck, ellipse(centre, radii, rng.uniform(-0.5, 0.5)), along=False)


def _draw_fascicles(rng: np.random.Generator, neck: Neck, contour: Contour, *, along: bool) -> None:
    """Muscle: dark, between bright sheets, which are lines along the fibres and dots and strokes across."""
    tissue = neck.tissue
    rows, columns = tissue.indices(contour)
    vessel = tissue.echo_db[rows, columns] < -14  # a muscle does not run through a vessel
    rows, columns = rows[~vessel], columns[~vessel]
    tissue.echo_db[rows, columns] = MUSCLE_DB + float(rng.uniform(-4, 2))
    tissue.reflectors[rows, columns] = 0
    where = np.zeros(tissue.shape, dtype=bool)
    where[rows, columns] = True
    length, slope = ((5.0, 25.0), float(rng.uniform(-0.35, 0.35))) if along else ((0.5, 2.5), 0.0)
    tissue.streaks(
        rng,
        where,
        density=float(rng.uniform(0.5, 1.2) if along else rng.uniform(0.8, 2.0)),
        length_mm=length,
        amplitude=float(rng.uniform(1.5, 4.0)),
        slope=slope,
    )
    tissue.wall(rng, contour, float(rng.uniform(2, 5)), diffuse=0.06)
    neck.add("muscle", contour, block=False)
