"""Simulated neck frames with exact truth: nodes, structures, overlay, millimetres, best score.

The echo is formed from scatterers (:mod:`.speckle`) in a drawn neck
(:mod:`.anatomy`) with nodes whose signs overlap between the classes
(:mod:`.signs`), and shown on the screen of one of several machines
(:mod:`.machines`, :mod:`.overlay`). It is a test body: it is no
substitute for a patient's frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..annotation import Node, frame_truth
from ..types import Box, Frame, Region, Spacing, Truth
from .anatomy import Neck, draw_neck
from .elasticity import draw_elastogram, draw_stiffness
from .flow import DrawnFlow, Pattern, draw_flow, draw_patterns
from .machines import MACHINES, Machine
from .nodes import PlacedNode, add_nodes
from .overlay import draw_layout, draw_measurements
from .screen import Point, Screen
from .signs import malignancy_of
from .speckle import Beam, envelope, log_compress, receiver_noise, scatter
from .tissue import STEP_MM, Contour, inside, smooth_noise
from .variety import DEPTHS_MM as VARIED_DEPTHS_MM
from .variety import Imaging, draw_varied_neck, hide_signs, reverberate

__all__ = ["Phantom", "simulate", "simulate_cine"]

NODE_COUNT = (0.2, 0.55, 0.17, 0.08)
"""Share of frames with 0, 1, 2 and 3 nodes."""
DEPTHS_MM = (25.0, 30.0, 35.0, 40.0, 45.0, 50.0)
Scene: TypeAlias = Literal["plain", "varied"]
WIDTHS_MM = (38.0, 44.0, 50.0)
"""Lengths of common linear probes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Phantom:
    """A simulated frame and everything that is true about it.

    Parameters
    ----------
    frame : Frame
        As a user would have it: RGB with overlays, or grey without; spacing and scan area set.
    clean : ndarray of uint8, shape (H, W)
        The same without overlays; 0 outside the scan area.
    instances : ndarray of uint8, shape (H, W)
        0 background; 1, 2, … the nodes, largest first.
    nodes : tuple of Node
        Truth of each node; ``p_malignant`` is the best possible score.
    placed : tuple of PlacedNode
        Signs and contour of each node, in the same order.
    structures : dict of str to ndarray of bool, shape (H, W)
        Where vessels, muscles, nerves, airway, … lie.
    overlay : ndarray of bool, shape (H, W)
        Every pixel that was drawn over.
    machine : str
        Name of the machine.
    calipers : tuple of ((float, float), (float, float))
        Row and column of both ends of each measurement that was drawn; on nodes, vessels or nothing.
    flow : ndarray of bool, shape (H, W), optional
        Where Doppler colour lies; None for a frame without Doppler.
    flow_box : (int, int, int, int), optional
        The box in which flow was measured.
    flow_patterns : tuple of str
        Where the flow of each node lies, in the order of ``nodes``; empty without Doppler.
    stiffness : ndarray of float32, shape (H, W), optional
        kPa as an elastogram shows it, NaN where nothing was measured; None for a frame that is none.
    stiffness_kpa : tuple of float
        Of each node, in the order of ``nodes``; empty without an elastogram.
    """

    frame: Frame
    clean: NDArray[np.uint8]
    instances: NDArray[np.uint8]
    nodes: tuple[Node, ...] = ()
    placed: tuple[PlacedNode, ...] = ()
    structures: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    overlay: NDArray[np.bool_]
    machine: str
    calipers: tuple[tuple[Point, Point], ...] = ()
    flow: NDArray[np.bool_] | None = None
    flow_box: Box | None = None
    flow_patterns: tuple[Pattern, ...] = ()
    stiffness: NDArray[np.float32] | None = None
    stiffness_kpa: tuple[float, ...] = ()

    @property
    def malignancy(self) -> float:
        """Best possible score of the frame: probability that at least one node is metastatic."""
        return float(1 - np.prod([1 - (node.p_malignant or 0.0) for node in self.nodes]))

    @property
    def label(self) -> Truth:
        """``"metastatic"`` if any node is, ``"benign"`` if all are, ``"unknown"`` without a node."""
        return frame_truth(self.nodes)


def simulate(
    seed: int,
    *,
    machine: str | None = None,
    n_nodes: int | None = None,
    overlays: bool = True,
    doppler: bool = False,
    stiffness: bool = False,
    scene: Scene = "plain",
) -> Phantom:
    """Simulate one neck frame.

    Parameters
    ----------
    seed : int
        Not negative. The same seed gives the same frame; tissue and nodes do not depend on
        the machine or on ``overlays``.
    machine : str, optional
        One of ``MACHINES``; drawn at random otherwise.
    n_nodes : int, optional
        0 to 3; drawn at random otherwise.
    overlays : bool
        Burn in what the machine writes on its screen.
    doppler : bool
        Show a colour box with the flow of vessels and nodes. Its truth is :attr:`Phantom.flow`; tissue,
        nodes and ``p_malignant``, the best score of the grey signs, are the same without it.
    stiffness : bool
        Lay an elastogram over the frame, with its colour bar (:attr:`Phantom.stiffness`); all else is the
        same without it.
    scene : {"plain", "varied"}
        ``"varied"`` has nodes that are bright, isoechoic or long, larger vessels, muscle along and across its
        fibres, trachea, thyroid, and machines in unpractised hands (:mod:`.variety`).

    Returns
    -------
    Phantom
        Frame, node ids uint8 (H, W), labels, sizes in millimetres, and each node's best possible score.

    Raises
    ------
    ValueError
        If the machine or the scene is not known, or the number of nodes is not 0 to 3.

    Examples
    --------
    >>> phantom = simulate(7, n_nodes=1)
    >>> int(phantom.instances.max()), 0 < phantom.malignancy < 1
    (1, True)
    """
    drawn = _Scene(seed, machine, n_nodes, scene=scene)
    phantom = drawn.show(drawn.window(0.0), overlays=overlays, doppler=doppler)
    return _with_stiffness(phantom, np.random.default_rng([seed, 5])) if stiffness else phantom


def _with_stiffness(phantom: Phantom, rng: np.random.Generator) -> Phantom:
    """The same frame under an elastogram."""
    frame = phantom.frame
    assert frame.scan_area is not None and frame.spacing_mm is not None
    of_nodes = tuple(draw_stiffness(rng, node.truth == "metastatic") for node in phantom.nodes)
    fluid = np.zeros(frame.shape, bool)
    for name in ("carotid", "jugular"):
        fluid |= phantom.structures.get(name, fluid)
    shown = draw_elastogram(
        rng, frame.pixels, phantom.instances, of_nodes, fluid, frame.scan_area, frame.spacing_mm
    )
    return replace(
        phantom,
        frame=replace(frame, pixels=shown.pixels),
        overlay=phantom.overlay | shown.drawn,
        stiffness=shown.kpa,
        stiffness_kpa=of_nodes,
    )


def simulate_cine(
    seed: int, n_frames: int, *, machine: str | None = None, n_nodes: int | None = None, slide_mm: float = 3.0
) -> Iterator[Phantom]:
    """Simulate a clip without overlays: the probe slides sideways over one neck.

    Parameters
    ----------
    seed, machine, n_nodes
        As in :func:`simulate`.
    n_frames : int
    slide_mm : float
        Way of the probe from the first frame to the last; nodes stay in view.
    """
    scene = _Scene(seed, machine, n_nodes, slide_mm)
    for index in range(n_frames):
        yield scene.show(scene.window(slide_mm * index / max(1, n_frames - 1)), overlays=False)


@dataclass(frozen=True, eq=False)
class _View:
    """Grey field of view and where it begins on the neck."""

    grey: NDArray[np.float32]
    start_mm: float


class _Scene:
    """One neck before one probe."""

    def __init__(
        self,
        seed: int,
        machine: str | None,
        n_nodes: int | None,
        slide_mm: float = 0.0,
        scene: Scene = "plain",
    ) -> None:
        if scene not in get_args(Scene):
            raise ValueError(f"There is no scene {scene!r}. Choose one of: {', '.join(get_args(Scene))}.")
        if machine is not None and machine not in MACHINES:
            raise ValueError(f"There is no machine {machine!r}. Choose one of: {', '.join(MACHINES)}.")
        if n_nodes is not None and n_nodes not in range(len(NODE_COUNT)):
            raise ValueError(f"A simulated frame has 0 to {len(NODE_COUNT) - 1} nodes, not {n_nodes}.")
        # A stream each, so that the choice of one part leaves the others as they are.
        anatomy, look, self._speckle, self._marks, self._blood = (
            np.random.default_rng([seed, k]) for k in range(5)
        )
        names = list(MACHINES)
        drawn = names[int(look.integers(len(names)))]
        self.machine: Machine = MACHINES[machine or drawn]
        self._gain = {
            "tissue_db": float(look.uniform(22.5, 26.0)),
            "dynamic_range_db": self.machine.probe.dynamic_range_db + float(look.uniform(-2, 2)),
        }
        self._fade_db_per_mm = float(look.uniform(0.02, 0.12))
        self._size = self.machine.sizes[int(look.integers(len(self.machine.sizes)))]
        count = int(anatomy.choice(len(NODE_COUNT), p=NODE_COUNT))
        count = count if n_nodes is None else n_nodes
        varied = scene == "varied"
        self._depth_mm = float(anatomy.choice(VARIED_DEPTHS_MM if varied else DEPTHS_MM))
        self._width_mm = float(anatomy.choice(WIDTHS_MM))
        self._neck, self._placed = _draw(
            anatomy, self._depth_mm, self._width_mm + slide_mm, count, slide_mm, varied=varied
        )
        scale = (self._depth_mm / 35) ** 0.5  # deeper views use lower frequencies
        self._beam = Beam(
            axial_mm=self.machine.probe.axial_mm * scale,
            lateral_mm=self.machine.probe.lateral_mm * scale,
            focus_mm=self._depth_mm * float(look.uniform(0.4, 0.7)),
            spread=float(look.uniform(0.4, 0.8)),
        )
        self._imaging: Imaging | None = None
        if varied:
            self._imaging = imaging = Imaging.draw(look, self.machine.probe.dynamic_range_db)
            self._gain = {"tissue_db": imaging.tissue_db, "dynamic_range_db": imaging.dynamic_range_db}
            self._fade_db_per_mm = imaging.fade_db_per_mm
            self._beam = replace(self._beam, side_lobe=imaging.side_lobe)
        self._contact: NDArray[np.float32] | None = None
        self._looks: list[NDArray[np.complex64]] = []

    def window(self, start_mm: float) -> _View:
        """Image the tissue from ``start_mm`` on over the width of the probe."""
        tissue = self._neck.tissue
        first = round(start_mm / STEP_MM[1])
        part = np.s_[:, first : first + round(self._width_mm / STEP_MM[1])]
        path = tissue.path_db()[part] - np.float32(self._fade_db_per_mm) * tissue.depth
        if self._contact is None:
            self._contact = smooth_noise(self._speckle, (1, path.shape[1]), (1, 90)) * np.float32(0.8)
        noise = receiver_noise(self._speckle, path.shape, self._beam.axial_mm / STEP_MM[0])
        if not self._looks:
            # Drawn once: speckle belongs to the tissue and moves with it.
            self._looks = [scatter(self._speckle, tissue.echo_db) for _ in range(self.machine.probe.looks)]
        reflectors = tissue.reflectors[part]
        if self._imaging is not None:
            reflectors = reverberate(reflectors, self._imaging)
        amplitude = envelope(
            [look[part] for look in self._looks],
            reflectors,
            path + self._contact,
            noise,
            STEP_MM,
            self._beam,
        )
        return _View(
            log_compress(amplitude, gamma=self.machine.probe.gamma, **self._gain), first * STEP_MM[1]
        )

    def show(self, view: _View, *, overlays: bool, doppler: bool = False) -> Phantom:
        """Put a view on the machine's screen, with its truth."""
        area = _scan_area(self.machine, self._size, self._depth_mm, self._width_mm)
        rows, columns = area[2] - area[0], area[3] - area[1]
        spacing = self._depth_mm / rows, self._width_mm / columns
        grey = np.asarray(Image.fromarray(view.grey).resize((columns, rows), Image.Resampling.BICUBIC))
        clean = np.zeros(self._size, dtype=np.uint8)
        inner = np.s_[area[0] : area[2], area[1] : area[3]]
        clean[inner] = np.rint(np.clip(grey, 0, 1) * 255)

        def mask(contours: list[Contour]) -> NDArray[np.bool_]:
            full = np.zeros(self._size, dtype=bool)
            for contour in contours:
                full[inner] |= inside(contour - (0.0, view.start_mm), (rows, columns), spacing)
            return full

        instances = np.zeros(self._size, dtype=np.uint8)
        for number, placed in enumerate(self._placed, start=1):
            instances[mask([placed.contour])] = number
        patterns: tuple[Pattern, ...] = ()
        drawn, flow = None, None
        pixels, overlay = clean, np.zeros(self._size, dtype=bool)
        if doppler:
            patterns = draw_patterns(self._blood, self._placed)
            drawn = self._flow(view, patterns, (rows, columns), spacing)
            flow = np.zeros(self._size, dtype=bool)
            flow[inner] = drawn.mask
            pixels = np.repeat(clean[..., None], 3, axis=2)
            pixels[flow] = drawn.colours[drawn.mask]
        box = None if drawn is None else _moved(drawn.box, area)
        calipers: tuple[tuple[Point, Point], ...] = ()
        if overlays:
            screen = Screen(pixels)
            draw_layout(self._marks, screen, self.machine, area, self._depth_mm, doppler=doppler)
            calipers = draw_measurements(
                self._marks, screen, self.machine, area, spacing, self._neck, self._placed, box=box
            )
            pixels, overlay = screen.pixels, screen.overlay
        return Phantom(
            frame=Frame(
                pixels=pixels,
                spacing_mm=spacing,
                spacing_source="simulated",
                regions=(Region(box=area, spacing_mm=spacing),),
                vendor="simulated",
                scan_area=area,
            ),
            clean=clean,
            instances=instances,
            nodes=tuple(
                Node(
                    id=number,
                    status="accepted",
                    truth="metastatic" if placed.metastatic else "benign",
                    truth_source="simulated",
                    p_malignant=malignancy_of(placed.signs, placed.hidden),
                )
                for number, placed in enumerate(self._placed, start=1)
            ),
            placed=self._placed,
            structures={name: mask(contours) for name, contours in self._neck.structures.items()},
            overlay=overlay,
            machine=self.machine.name,
            calipers=calipers,
            flow=None if flow is None else flow & ~overlay,
            flow_box=box,
            flow_patterns=patterns,
        )

    def _flow(
        self, view: _View, patterns: tuple[Pattern, ...], shape: tuple[int, int], spacing: Spacing
    ) -> DrawnFlow:
        """Doppler of the view, on the pixels of the scan area."""
        moved = tuple(replace(node, contour=node.contour - (0.0, view.start_mm)) for node in self._placed)
        vessels = [
            contour - (0.0, view.start_mm)
            for name in ("carotid", "jugular")
            for contour in self._neck.structures.get(name, [])
        ]
        return draw_flow(self._blood, moved, patterns, vessels, shape, spacing)


def _moved(box: Box, area: Box) -> Box:
    """A box of the scan area on the screen."""
    return box[0] + area[0], box[1] + area[1], box[2] + area[0], box[3] + area[1]


def _draw(
    rng: np.random.Generator,
    depth_mm: float,
    width_mm: float,
    count: int,
    slide_mm: float,
    *,
    varied: bool = False,
) -> tuple[Neck, tuple[PlacedNode, ...]]:
    """Draw necks until one has room for its nodes; largest node first."""
    while True:
        neck = (draw_varied_neck if varied else draw_neck)(rng, depth_mm, width_mm)
        nodes = add_nodes(rng, neck, count, slide_mm=slide_mm, hide=hide_signs if varied else None)
        if nodes is not None:
            return neck, tuple(sorted(nodes, key=lambda node: -node.axes_mm[0] * node.axes_mm[1]))


def _scan_area(machine: Machine, size: tuple[int, int], depth_mm: float, width_mm: float) -> Box:
    """Largest box of the field's proportions in the machine's place for it."""
    top, left, bottom, right = np.multiply(machine.field, (*size, *size))
    per_mm = min((bottom - top) / depth_mm, (right - left) / width_mm)
    rows, columns = round(depth_mm * per_mm), round(width_mm * per_mm)
    row, column = int(top), int(left + (right - left - columns) / 2)
    return row, column, row + rows, column + columns
