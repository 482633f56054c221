"""A simulated sweep: the probe moves across a node, which grows, shrinks and shows its signs in some places.

A node is a body: at a distance z from its middle its section is smaller by ``sqrt(1 - (z / h)²)``, and its
hilum, cyst and calcifications lie about a depth of their own. The speckle changes with z as the beam leaves
one slice of tissue for the next, and breathing moves all of it. What single sections show of the node's signs
is known, and so is what the whole node shows.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..annotation import Node
from .anatomy import draw_neck
from .nodes import PlacedNode, _paint, add_nodes
from .signs import malignancy_of
from .simulation import Phantom, _Scene
from .speckle import scatter

BEAM_MM = 1.5
"""Thickness of the slice that the probe sees."""
SHOWN_WITHIN = {"hilum": 0.45, "cyst": 0.5, "calcifications": 0.35}
"""Reach of a sign about its own depth, as a part of the node's half height."""
LEAST = 0.25
"""Section, as a part of the greatest, below which the node is not in the picture."""


class Sweep:
    """One node before a probe that moves across it.

    Parameters
    ----------
    seed : int
        Not negative; the same seed gives the same frames.
    n_frames : int
    machine : str, optional
        One of ``MACHINES``; drawn at random otherwise.
    breath_mm : float
        Greatest way of the whole picture along the depth, there and back once in the sweep.

    Attributes
    ----------
    node : Node
        Truth of the whole node; ``p_malignant`` is the best score of all its signs.
    """

    def __init__(
        self, seed: int, n_frames: int, *, machine: str | None = None, breath_mm: float = 0.0
    ) -> None:
        self._n, self._breath, self._seed = n_frames, breath_mm, seed
        rng = np.random.default_rng([seed, 11])
        self._scene = _Scene(seed, machine, 0)
        depth, width = self._scene._depth_mm, self._scene._width_mm
        placed = None
        while not placed:
            neck = draw_neck(rng, depth, width)
            self._base = copy.deepcopy(neck)
            placed = add_nodes(rng, neck, 1)
        (self._whole,) = placed
        self._height = self._whole.axes_mm[1] / 2 * float(rng.uniform(0.9, 1.3))
        self._depths = {name: float(rng.uniform(-0.5, 0.5)) for name in SHOWN_WITHIN}
        self._phase = float(rng.uniform(0, 2 * np.pi))
        self.node = Node(
            id=1,
            status="accepted",
            truth="metastatic" if self._whole.metastatic else "benign",
            truth_source="simulated",
            p_malignant=malignancy_of(self._whole.signs),
        )

    def __iter__(self) -> Iterator[Phantom]:
        for z in np.linspace(-0.95, 0.95, self._n):
            yield self._frame(float(z))

    def _frame(self, z: float) -> Phantom:
        """The section at a part ``z`` of the node's half height."""
        scene, neck = self._scene, copy.deepcopy(self._base)
        section = self._section(z)
        if section is not None:
            _paint(np.random.default_rng([self._seed, 12]), neck, section)
        scene._neck, scene._placed = neck, () if section is None else (section,)
        turn = z * self._height / BEAM_MM * np.pi / 2
        scene._looks = [
            self._speckle(k, 0, neck.tissue.echo_db) * np.float32(np.cos(turn))
            + self._speckle(k, 1, neck.tissue.echo_db) * np.float32(np.sin(turn))
            for k in range(scene.machine.probe.looks)
        ]
        phantom = scene.show(scene.window(0.0), overlays=False)
        return self._breathed(phantom, z)

    def _section(self, z: float) -> PlacedNode | None:
        scale = float(np.sqrt(max(0.0, 1 - z * z)))
        if scale < LEAST:
            return None
        whole = self._whole
        centre = (whole.contour.max(axis=0) + whole.contour.min(axis=0)) / 2
        there = {name: abs(z - self._depths[name]) < reach for name, reach in SHOWN_WITHIN.items()}
        signs = replace(
            whole.signs,
            hilum=whole.signs.hilum if there["hilum"] else 0.0,
            cyst=whole.signs.cyst if there["cyst"] else 0.0,
            calcifications=whole.signs.calcifications if there["calcifications"] else 0,
        )
        return replace(
            whole,
            contour=centre + (whole.contour - centre) * scale,
            axes_mm=(whole.axes_mm[0] * scale, whole.axes_mm[1] * scale),
            signs=signs,
        )

    def _speckle(self, look: int, slice_: int, echo_db: NDArray[np.float32]) -> NDArray[np.complex64]:
        return scatter(np.random.default_rng([self._seed, 13, look, slice_]), echo_db)

    def _breathed(self, phantom: Phantom, z: float) -> Phantom:
        """The frame with everything moved along the depth."""
        if not self._breath or phantom.frame.spacing_mm is None:
            return phantom
        way = self._breath / 2 * np.sin(np.pi * z + self._phase) / phantom.frame.spacing_mm[0]
        area = phantom.frame.scan_area
        assert area is not None
        moved = {
            name: shifted(picture, round(way), area)
            for name, picture in (("clean", phantom.clean), ("instances", phantom.instances))
        }
        frame = replace(phantom.frame, pixels=moved["clean"])
        return replace(phantom, frame=frame, clean=moved["clean"], instances=moved["instances"])


def shifted(picture: NDArray[np.uint8], rows: int, area: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Move the scan area of a picture down by some rows; the rows that come in are those at its edge.

    Parameters
    ----------
    picture : ndarray of uint8, shape (H, W)
    rows : int
        Down; negative up.
    area : (int, int, int, int)
        Scan area.
    """
    moved = picture.copy()
    inside = np.s_[area[0] : area[2], area[1] : area[3]]
    part = picture[inside]
    at = np.clip(np.arange(part.shape[0]) - rows, 0, part.shape[0] - 1)
    moved[inside] = part[at]
    return moved
