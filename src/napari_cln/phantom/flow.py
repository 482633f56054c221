"""Colour Doppler of a simulated neck: flow in vessels and nodes, whose truth is known to the pixel.

Where a node's flow lies differs between the classes and overlaps, as the other signs do: benign nodes are
fed through their hilum, metastatic ones along their rim as well [1]_. The pattern is drawn apart from the
grey signs, so that both together have a best possible score too.

References
----------
.. [1] A. T. Ahuja et al., Ultrasound of malignant cervical lymph nodes, Cancer Imaging 8(1), 2008.
   :doi:`10.1102/1470-7330.2008.0006`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from ..types import Box, Spacing
from .nodes import PlacedNode
from .tissue import Contour, inside

Pattern: TypeAlias = Literal["none", "hilar", "peripheral", "mixed"]
PATTERNS: tuple[Pattern, ...] = ("hilar", "none", "peripheral", "mixed")
SHARES = ((0.62, 0.30, 0.06, 0.02), (0.12, 0.20, 0.33, 0.35))
"""Of benign and of metastatic nodes, in the order of :data:`PATTERNS`."""
BLOOM_MM = 0.12
"""Colour reaches beyond a vessel's wall."""
WALL_FILTER = 0.16
"""Slower flow, as a part of the greatest speed that is shown without aliasing, has no colour."""
Floats = NDArray[np.float32]


def draw_patterns(rng: np.random.Generator, nodes: tuple[PlacedNode, ...]) -> tuple[Pattern, ...]:
    """Draw where each node's flow lies."""
    return tuple(PATTERNS[int(rng.choice(len(PATTERNS), p=SHARES[node.metastatic]))] for node in nodes)


def flow_log_ratio(pattern: Pattern) -> float:
    """Log probability of a pattern in metastatic nodes minus that in benign ones."""
    at = PATTERNS.index(pattern)
    return float(np.log(SHARES[1][at] / SHARES[0][at]))


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnFlow:
    """Content of a Doppler box, in pixels of the field of view.

    Parameters
    ----------
    colours : ndarray of uint8, shape (R, C, 3)
    mask : ndarray of bool, shape (R, C)
        Where there is colour.
    box : (int, int, int, int)
        The box in which flow is measured.
    """

    colours: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    box: Box


def draw_flow(
    rng: np.random.Generator,
    nodes: tuple[PlacedNode, ...],
    patterns: tuple[Pattern, ...],
    vessels: list[Contour],
    shape: tuple[int, int],
    spacing: Spacing,
) -> DrawnFlow:
    """Draw flow in a field of view.

    Parameters
    ----------
    rng : Generator
    nodes : tuple of PlacedNode
        Contours in mm from the corner of the field.
    patterns : tuple of str
        Of each node.
    vessels : list of Contour
        Great vessels.
    shape : (int, int)
        Rows and columns of the field.
    spacing : (float, float)
        Millimetres per pixel.
    """
    speed = np.zeros(shape, dtype=np.float32)
    for vessel in vessels:
        lumen = inside(vessel, shape, spacing).astype(np.float32)
        speed += _stream(lumen, float(rng.choice([-1, 1]) * rng.uniform(0.7, 1.5)), 0.2, spacing)
    for node, pattern in zip(nodes, patterns, strict=True):
        speed += _flow_of(rng, node, pattern, shape, spacing)
    speed *= 1 + 0.35 * _grain(rng, shape, 0.35, spacing)
    box = _box(rng, nodes, shape, spacing)
    within = np.zeros(shape, dtype=bool)
    within[box[0] : box[2], box[1] : box[3]] = True
    mask = within & (np.abs(speed) > WALL_FILTER)
    wrapped = (speed + 1) % 2 - 1  # aliasing
    return DrawnFlow(colours=_coloured(rng, wrapped), mask=mask, box=box)


def _stream(lumen: Floats, speed: float, blur_mm: float, spacing: Spacing) -> Floats:
    """Speed across a vessel: greatest in its middle, and a little beyond its wall."""
    blurred: Floats = gaussian_filter(lumen, [blur_mm / step for step in spacing])
    return blurred * np.float32(speed)


def _grain(rng: np.random.Generator, shape: tuple[int, int], size_mm: float, spacing: Spacing) -> Floats:
    noise = gaussian_filter(
        rng.standard_normal(shape).astype(np.float32), [size_mm / step for step in spacing]
    )
    grain: Floats = noise / max(float(noise.std()), 1e-9)
    return grain


def _flow_of(
    rng: np.random.Generator,
    node: PlacedNode,
    pattern: Pattern,
    shape: tuple[int, int],
    spacing: Spacing,
) -> Floats:
    """Speed in the vessels of one node: a tree from its hilum, arcs along its rim, or both."""
    speed = np.zeros(shape, dtype=np.float32)
    lines: list[tuple[Contour, float]] = []
    if pattern in ("hilar", "mixed"):
        lines += _tree(rng, node)
    if pattern in ("peripheral", "mixed"):
        lines += _arcs(rng, node)
    body = inside(node.contour, shape, spacing)
    for line, width_mm in lines:
        drawn = Image.new("L", (shape[1], shape[0]))
        width = max(2, round(width_mm / spacing[1]))
        path = [(float(x / spacing[1]), float(z / spacing[0])) for z, x in line]
        ImageDraw.Draw(drawn).line(path, fill=255, width=width, joint="curve")
        lumen = (np.asarray(drawn) * body).astype(np.float32) / np.float32(255)
        sign = float(rng.choice([-1, 1]))
        speed += _stream(lumen, sign * float(rng.uniform(0.4, 0.9)), BLOOM_MM, spacing)
    return speed


def _tree(rng: np.random.Generator, node: PlacedNode) -> list[tuple[Contour, float]]:
    """A trunk along the middle of the node with short branches."""
    centre = (node.contour.max(axis=0) + node.contour.min(axis=0)) / 2
    along = np.array([np.sin(node.angle), np.cos(node.angle)])
    across = np.array([along[1], -along[0]])
    half_long, half_short = node.axes_mm[0] / 2, node.axes_mm[1] / 2
    start = float(rng.uniform(-0.55, -0.25)), float(rng.uniform(0.2, 0.5))
    t = np.linspace(start[0], start[1], 12)
    bend = float(rng.uniform(-0.15, 0.15))
    trunk = centre + np.outer(t * half_long, along) + np.outer(bend * (1 - t**2) * half_short, across)
    lines = [(trunk, float(rng.uniform(0.6, 1.0)))]
    for _ in range(int(rng.integers(1, 4))):
        root = trunk[int(rng.integers(2, len(trunk) - 1))]
        reach = float(rng.uniform(0.2, 0.42)) * half_short * float(rng.choice([-1, 1]))
        lean = float(rng.uniform(-0.2, 0.3)) * half_long
        tip = root + across * reach + along * lean
        lines.append((np.linspace(root, tip, 5), float(rng.uniform(0.4, 0.7))))
    return lines


def _arcs(rng: np.random.Generator, node: PlacedNode) -> list[tuple[Contour, float]]:
    """Pieces of vessels along the rim."""
    centre = (node.contour.max(axis=0) + node.contour.min(axis=0)) / 2
    n = len(node.contour)
    lines = []
    for _ in range(int(rng.integers(2, 5))):
        first, length = int(rng.integers(n)), int(rng.uniform(0.06, 0.15) * n)
        part = node.contour[np.arange(first, first + length) % n]
        lines.append(
            (centre + (part - centre) * float(rng.uniform(0.84, 0.93)), float(rng.uniform(0.4, 0.8)))
        )
    return lines


def _box(
    rng: np.random.Generator, nodes: tuple[PlacedNode, ...], shape: tuple[int, int], spacing: Spacing
) -> Box:
    """Box about all nodes with a margin; anywhere where there is none."""
    if nodes:
        points = np.vstack([node.contour for node in nodes]) / spacing
        low, high = points.min(axis=0), points.max(axis=0)
    else:
        low = rng.uniform(0.3, 0.5, 2) * shape
        high = low + rng.uniform(0.2, 0.35, 2) * shape
    margins = rng.uniform(1.5, 6.0, 4) / (*spacing, *spacing)
    row0, column0 = (int(max(2, edge)) for edge in low - margins[:2])
    row1, column1 = (int(min(size - 2, edge)) for size, edge in zip(shape, high + margins[2:], strict=True))
    return row0, column0, row1, column1


def _coloured(rng: np.random.Generator, speed: Floats) -> NDArray[np.uint8]:
    """Speed as colour: towards the probe red to yellow, away from it blue to cyan, or the other way round."""
    towards = speed * np.float32(rng.choice([-1, 1]))
    level = np.abs(towards)
    strong = np.clip(70 + 330 * level, 0, 255)
    bright = np.clip((level - 0.45) * 460, 0, 255)
    none = np.zeros_like(strong)
    warm, cool = np.stack([strong, bright, none], axis=-1), np.stack([none, bright, strong], axis=-1)
    return np.rint(np.where(towards[..., None] > 0, warm, cool)).astype(np.uint8)
