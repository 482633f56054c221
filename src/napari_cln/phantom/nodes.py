"""Simulated lymph nodes: a shape with exactly the signs drawn, a free place, an echo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial.distance import pdist, squareform

from .anatomy import FLUID_DB, Neck
from .signs import NodeSigns, draw_signs
from .tissue import Contour, ellipse, inside, smooth_noise

MAP_MM = (0.25, 0.25)
"""Grid of the map of free places."""
CLEARANCE_MM = 1.0
"""Least distance between a node and a vessel, the airway, bone, the thyroid or another node."""
MARGIN_MM = 1.2
"""Least distance between a node and the edge of the field."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedNode:
    """A node in the neck.

    Parameters
    ----------
    contour : ndarray of float64, shape (N, 2)
        Border, (depth, lateral) in mm.
    signs : NodeSigns
    metastatic : bool
    angle : float
        Direction of the long axis against the lateral direction, radians.
    axes_mm : (float, float)
        Long and short axis.
    hidden : frozenset of str
        Signs that were drawn whatever the class.
    """

    contour: Contour
    signs: NodeSigns
    metastatic: bool
    angle: float
    axes_mm: tuple[float, float]
    hidden: frozenset[str] = frozenset()


def node_contour(
    rng: np.random.Generator, axes_mm: tuple[float, float], border: float, angle: float
) -> Contour:
    """Contour about the origin with given long and short axis and border irregularity.

    The irregular border would change the axes; the contour is stretched until its greatest
    diameter and its greatest width across that are those asked for, within 0.5 %.
    """
    t = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    orders = np.arange(3, 10)
    weights = rng.standard_normal(orders.size) / orders**0.5
    ripple = np.sum(
        weights[:, None] * np.cos(orders[:, None] * t + rng.uniform(0, 2 * np.pi, (orders.size, 1))), axis=0
    )
    radius = 1 + border * ripple / np.sqrt(np.mean(ripple**2))
    points = np.column_stack([axes_mm[1] / 2 * radius * np.sin(t), axes_mm[0] / 2 * radius * np.cos(t)])
    for _ in range(40):
        distance = squareform(pdist(points))
        i, j = np.unravel_index(int(distance.argmax()), distance.shape)
        direction = (points[j] - points[i]) / distance[i, j]
        across = np.array([direction[1], -direction[0]])
        width = float(np.ptp(points @ across))
        factors = axes_mm[0] / distance[i, j], axes_mm[1] / width
        if max(abs(f - 1) for f in factors) < 0.005:
            break
        along, aside = points @ direction, points @ across
        points = np.outer(along * factors[0], direction) + np.outer(aside * factors[1], across)
    # Now lay the long axis at the angle asked for.
    towards = np.array([np.sin(angle), np.cos(angle)])
    turned = np.outer(points @ direction, towards) + np.outer(points @ across, [towards[1], -towards[0]])
    return np.asarray(turned - (turned.max(axis=0) + turned.min(axis=0)) / 2, dtype=np.float64)


def add_nodes(
    rng: np.random.Generator,
    neck: Neck,
    count: int,
    *,
    slide_mm: float = 0.0,
    hide: Callable[[np.random.Generator, NodeSigns], tuple[NodeSigns, frozenset[str]]] | None = None,
) -> tuple[PlacedNode, ...] | None:
    """Draw, place and paint nodes; None when the neck has no room for so many.

    Parameters
    ----------
    rng : Generator
    neck : Neck
        Painted in place.
    count : int
    slide_mm : float
        Width at either side that nodes keep free, so that they stay in view while a probe slides.
    hide : callable, optional
        Changes the signs of a node whatever its class; gives them with the names of those that it changed.

    Notes
    -----
    A node that fits nowhere is made smaller. Size is drawn without regard to class, and where
    a node fits depends on its signs alone, so the posterior given the signs stays exact.
    """
    nodes: list[PlacedNode] = []
    free = _free_places(neck)
    for _ in range(count):
        metastatic = bool(rng.random() < 0.5)
        signs, hidden = draw_signs(rng, metastatic), frozenset[str]()
        if hide is not None:
            signs, hidden = hide(rng, signs)
        size = float(np.clip(np.exp(rng.normal(np.log(9.5), 0.28)), 6.0, 16.0))
        node = None
        while node is None and size > 4.5:
            size = min(size, 0.5 * neck.tissue.depth_mm)
            axes = (size * signs.axis_ratio**0.5, size / signs.axis_ratio**0.5)
            angle = float(rng.normal(0, 0.25))
            contour = _place(rng, node_contour(rng, axes, signs.border, angle), neck, free, slide_mm)
            if contour is not None:
                node = PlacedNode(
                    contour=contour,
                    signs=signs,
                    metastatic=metastatic,
                    angle=angle,
                    axes_mm=axes,
                    hidden=hidden,
                )
            size *= 0.88
        if node is None:
            return None
        nodes.append(node)
        taken = inside(node.contour, free.shape, MAP_MM)
        free = np.minimum(free, distance_transform_edt(~taken, sampling=MAP_MM))
    for node in nodes:
        _paint(rng, neck, node)
    return tuple(nodes)


def _free_places(neck: Neck) -> NDArray[np.float64]:
    """Distance in mm to the nearest thing that a node must keep away from, on the coarse grid."""
    tissue = neck.tissue
    shape = (int(np.ceil(tissue.depth_mm / MAP_MM[0])), int(np.ceil(tissue.width_mm / MAP_MM[1])))
    blocked = np.zeros(shape, dtype=bool)
    for contour in neck.blocked:
        blocked |= inside(contour, shape, MAP_MM)
    if not blocked.any():
        return np.full(shape, np.inf)
    distance: NDArray[np.float64] = distance_transform_edt(~blocked, sampling=MAP_MM)
    return distance


def _place(
    rng: np.random.Generator, shape: Contour, neck: Neck, free: NDArray[np.float64], slide_mm: float
) -> Contour | None:
    """Move a contour to a free place in the deep neck; None when none was found."""
    tissue = neck.tissue
    half = shape.max(axis=0)
    low = np.array([float(neck.deep_top.min()) + half[0], MARGIN_MM + slide_mm + half[1]])
    high = np.array([0.93 * tissue.depth_mm, tissue.width_mm - MARGIN_MM - slide_mm]) - half
    if (low >= high).any():
        return None
    rings = np.vstack([shape * k for k in (0.05, 0.3, 0.6, 0.8, 1.0)])
    for _ in range(60):
        centre = rng.uniform(low, high)
        border = shape + centre
        # A node may dent the muscle above it, no more.
        if (border[:, 0] < np.interp(border[:, 1], tissue.lateral, neck.deep_top) - 0.6).any():
            continue
        cells = np.floor((rings + centre) / MAP_MM).astype(np.intp)
        if free[cells[:, 0], cells[:, 1]].min() > CLEARANCE_MM:
            return border
    return None


def _paint(rng: np.random.Generator, neck: Neck, node: PlacedNode) -> None:
    """Give a node its echo: cortex, hilum, cyst, calcifications, capsule, and the fat around it."""
    tissue, signs = neck.tissue, node.signs
    centre = (node.contour.max(axis=0) + node.contour.min(axis=0)) / 2
    half_long, half_short = node.axes_mm[0] / 2, node.axes_mm[1] / 2
    along = np.array([np.sin(node.angle), np.cos(node.angle)])

    _paint_surroundings(rng, neck, node, centre)
    tissue.fill(node.contour, signs.echo_db, loss_db=float(rng.uniform(-0.1, 0.1)))
    cortex = tissue.indices(node.contour)
    tissue.echo_db[cortex] += smooth_noise(rng, tissue.shape, (14, 14))[cortex] * np.float32(0.5)
    core = np.zeros(tissue.shape, dtype=bool)
    core[tissue.indices(centre + (node.contour - centre) * 0.92)] = True
    # Cyst and hilum lie at opposite ends, so that each can be seen with the other there.
    end = float(rng.choice([-1.0, 1.0]))
    if signs.cyst > 0:
        scale = signs.cyst**0.5
        middle = centre + along * end * half_long * (1 - scale) * 0.75
        cyst = ellipse(tuple(middle), (half_short * scale * 1.1, half_long * scale / 1.1), node.angle)
        rows, columns = (index[core[tissue.indices(cyst)]] for index in tissue.indices(cyst))
        tissue.echo_db[rows, columns] = FLUID_DB
        tissue.loss_db[rows, columns] = -0.5
    if signs.hilum > 0:
        offset = -along * end * half_long * (0.35 if signs.cyst else float(rng.uniform(0, 0.15)))
        aside = (
            np.array([along[1], -along[0]]) * half_short * (1 - signs.hilum) * float(rng.uniform(-0.4, 0.4))
        )
        length = 2 * half_long * (0.45 if signs.cyst else 0.62)
        hilum = (
            node_contour(rng, (length, 2 * half_short * signs.hilum), 0.12, node.angle)
            + centre
            + offset
            + aside
        )
        rows, columns = (index[core[tissue.indices(hilum)]] for index in tissue.indices(hilum))
        tissue.echo_db[rows, columns] = (
            smooth_noise(rng, tissue.shape, (8, 14))[rows, columns] * np.float32(1.5) + 0.5
        )
        tissue.loss_db[rows, columns] = 0.0
    _paint_calcifications(rng, neck, node, centre)
    tissue.wall(rng, node.contour, 1.3, diffuse=0.05)


def _paint_surroundings(
    rng: np.random.Generator, neck: Neck, node: PlacedNode, centre: NDArray[np.float64]
) -> None:
    """Nodes lie in fat: loose tissue, brighter than muscle, closes in on the capsule."""
    tissue = neck.tissue
    half = np.ptp(node.contour, axis=0).min() / 2
    grown = centre + (node.contour - centre) * (1 + float(rng.uniform(0.9, 1.8)) / half)
    rows, columns = tissue.indices(grown)
    lumen = tissue.echo_db[rows, columns] < -20
    level = np.maximum(tissue.echo_db[rows, columns], -1.0 + float(rng.uniform(-1, 1)))
    tissue.echo_db[rows, columns] = np.where(lumen, tissue.echo_db[rows, columns], level)


def _paint_calcifications(
    rng: np.random.Generator, neck: Neck, node: PlacedNode, centre: NDArray[np.float64]
) -> None:
    """Specks of about half a millimetre, bright whatever lies around them."""
    count = node.signs.calcifications
    if not count:
        return
    t = rng.uniform(0, 2 * np.pi, count)
    reach = rng.uniform(0.1, 0.75, count) ** 0.5
    at = np.floor(t / (2 * np.pi) * len(node.contour)).astype(np.intp)
    spots = centre + (node.contour[at] - centre) * reach[:, None]
    offsets = np.array([(z, x) for z in (-0.05, 0.0, 0.05) for x in (-0.1, 0.0, 0.1)])
    level = np.repeat(rng.uniform(4.0, 8.0, count), len(offsets))
    neck.tissue.reflect((spots[:, None] + offsets).reshape(-1, 2), level)
