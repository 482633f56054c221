"""Masks of a cine, carried from frame to frame along the motion, and made between two frames.

From one frame to the next, the whole picture's motion comes first (:func:`.tracking.shift_between`); then
the flow of a patch around the node, which turns, grows and shrinks with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from skimage.registration import optical_flow_ilk
from skimage.transform import resize

from ..types import Box, Frame
from .measurement import bounds, painted_ids
from .scan_area import find_scan_area
from .tracking import LEAST_OVERLAP, overlap_of, rolled, shift_between

__all__ = ["carry_masks", "interpolate_masks"]

Mask = NDArray[np.bool_]
Instances = NDArray[np.uint8]
Floats = NDArray[np.floating]

SIDE = 72
"""Cells of the longer side on which the flow around a node is measured."""
RADIUS = 6
"""Cells around each in which the flow is taken as one."""
AROUND = 0.35
"""Margin of the patch around a node, as a part of its longer side; at least 16 pixels."""
LEAST_LIKE = 0.5
"""Correlation of a node and its surroundings with those on the next frame, under which it is lost."""
LEAST_INSIDE = 0.5
"""Share of a node that must lie in the scan area."""
LEAST_AREA = 0.2
"""Area, as a share of the first one's, under which a node has left the plane."""


def carry_masks(frames: Iterable[Frame], instances: Instances) -> Iterator[Instances]:
    """Carry masks to the frames that follow, along the motion, until every node has left.

    A node has left where less than half of it lies in the scan area, where less than a fifth of its area
    is left, or where the picture shows nothing like it any more.

    Parameters
    ----------
    frames : iterable of Frame
        Of one cine, in their order or backwards; the first is the one that the masks belong to. They are
        taken one by one.
    instances : ndarray of uint8, shape (H, W)
        Node ids on the first frame.

    Yields
    ------
    ndarray of uint8, shape (H, W)
        Node ids on the second frame, the third, …; those of nodes that have left are missing.

    Raises
    ------
    ValueError
        If the masks or a frame have another size than the first frame.

    Notes
    -----
    The flow is that of Le Besnerais and Champagnat [1]_, on a patch of at most 72 cells.

    References
    ----------
    .. [1] G. Le Besnerais, F. Champagnat, "Dense optical flow by iterative local window registration", IEEE
           ICIP 2005. :doi:`10.1109/ICIP.2005.1529706`

    Examples
    --------
    >>> from napari_cln.phantom import simulate_cine
    >>> clip = list(simulate_cine(3, 3, n_nodes=1))
    >>> len(list(carry_masks([one.frame for one in clip], clip[0].instances)))
    2
    """
    waiting = iter(frames)
    first = next(waiting, None)
    if first is None:
        return
    _check_size(instances.shape, first)
    area = first.scan_area or find_scan_area(first)
    before = first.grey
    nodes = {node: instances == node for node in painted_ids(instances)}
    sizes = {node: int(np.count_nonzero(mask)) for node, mask in nodes.items()}
    for frame in waiting:
        _check_size(first.shape, frame)
        after = frame.grey
        shift = shift_between(before, after)
        moved = {node: _moved(before, after, mask, shift) for node, mask in nodes.items()}
        nodes = {
            node: mask
            for node, mask in moved.items()
            if mask is not None and _is_in_view(mask, sizes[node], area)
        }
        if not nodes:
            return
        before = after
        yield _painted(nodes, first.shape)


def interpolate_masks(frames: Sequence[Frame], first: Instances, last: Instances) -> list[Instances]:
    """Make the masks between two frames of a cine from those on both.

    Both are carried along the motion to each frame between them, and signed distances to their borders are
    weighted by how near each is (shape-based interpolation [1]_). Where the motion loses a node, its masks
    are interpolated along a straight line.

    Parameters
    ----------
    frames : sequence of Frame
        The two frames, and all between them, in their order.
    first, last : ndarray of uint8, shape (H, W)
        Node ids on the first and on the last of them. Nodes that overlap once the motion is taken out are
        the same, else those of one id.

    Returns
    -------
    list of ndarray of uint8, shape (H, W)
        Of each frame between them, with the ids of the first. A node that is on one of the two alone is
        on none.

    Raises
    ------
    ValueError
        If the masks or a frame have another size than the first frame.

    References
    ----------
    .. [1] S. P. Raya, J. K. Udupa, "Shape-based interpolation of multidimensional objects", IEEE TMI 9,
           1990. :doi:`10.1109/42.52980`
    """
    for frame in frames[1:]:
        _check_size(frames[0].shape, frame)
    _check_size(last.shape, frames[0])
    n = len(frames)
    ahead = _filled(first, carry_masks(frames, first), n)
    back = _filled(last, carry_masks(frames[::-1], last), n)[::-1]
    pairs = _pairs(first, ahead[-1], last)
    made = []
    for k in range(1, n - 1):
        nodes = {}
        for node, other in pairs.items():
            near, far = ahead[k] == node, back[k] == other
            if not (near.any() and far.any()):
                near, far = first == node, last == other
            nodes[node] = _between(near, far, k / (n - 1))
        made.append(_painted(nodes, frames[0].shape))
    return made


@dataclass(frozen=True, eq=False)
class _Patch:
    """A part of two frames around a node, in cells, grey levels 0 to 1."""

    before: NDArray[np.float32]
    after: NDArray[np.float32]

    @classmethod
    def cut(cls, before: NDArray[np.uint8], after: NDArray[np.uint8], place: tuple[slice, slice]) -> _Patch:
        shape = before[place].shape
        step = max(1.0, max(shape) / SIDE)
        cells = tuple(max(2 * RADIUS, round(size / step)) for size in shape)
        parts = (
            resize(part[place].astype(np.float32) / 255, cells, anti_aliasing=step > 1)
            for part in (before, after)
        )
        return cls(*(ndimage.gaussian_filter(part, 1.0) for part in parts))

    def flow(self) -> Floats:
        """Rows and columns by which each cell after lies behind that before, (2, h, w)."""
        found: Floats = optical_flow_ilk(self.after, self.before, radius=RADIUS, num_warp=6)
        return found

    def likeness(self, flow: Floats, inside: Mask) -> float:
        """Correlation of the two in a mask, once the flow is taken out."""
        at = np.indices(self.before.shape) + flow
        there = self.after[inside]
        here = ndimage.map_coordinates(self.before, at, order=1, mode="nearest")[inside]
        a, b = there - there.mean(), here - here.mean()
        size = float(np.sqrt((a * a).sum() * (b * b).sum()))
        return float((a * b).sum()) / size if size else 0.0


def _moved(
    before: NDArray[np.uint8], after: NDArray[np.uint8], mask: Mask, shift: tuple[int, int]
) -> Mask | None:
    """The mask on the next frame; None where nothing there is like it."""
    mask = rolled(mask, shift)
    box = bounds(mask)
    if box is None:
        return None
    margin = max(16, round(AROUND * max(side.stop - side.start for side in box)))
    place = (
        slice(max(0, box[0].start - margin), box[0].stop + margin),
        slice(max(0, box[1].start - margin), box[1].stop + margin),
    )
    if shift != (0, 0):
        before = ndimage.shift(before, shift, order=0, mode="nearest")
    patch = _Patch.cut(before, after, place)
    flow = patch.flow()
    shape = mask[place].shape
    scale = np.array(shape) / np.array(patch.before.shape)
    fine = [resize(part, shape) * size for part, size in zip(flow, scale, strict=True)]
    moved = (
        ndimage.map_coordinates(_depth(mask[place]), np.indices(shape) + fine, order=1, mode="nearest") > 0
    )
    if not moved.any():
        return None
    around = ndimage.binary_dilation(moved, iterations=margin // 2)
    cells = resize(around.astype(np.float32), patch.before.shape) > 0.5
    if patch.likeness(flow, cells) < LEAST_LIKE:
        return None
    whole = np.zeros_like(mask)
    whole[place] = moved
    return whole


def _is_in_view(mask: Mask, size: int, area: Box) -> bool:
    inside = np.count_nonzero(mask[area[0] : area[2], area[1] : area[3]])
    return int(inside) >= max(LEAST_AREA * size, LEAST_INSIDE * int(np.count_nonzero(mask)), 1)


def _depth(mask: Mask) -> NDArray[np.float32]:
    """Signed distance to the border in pixels, positive inside."""
    if mask.all():
        return np.full(mask.shape, max(mask.shape), dtype=np.float32)
    inside = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    return np.asarray(inside, dtype=np.float32)


def _between(near: Mask, far: Mask, part: float) -> Mask:
    """The mask that lies a part of the way from one to another."""
    middles = [np.array(ndimage.center_of_mass(mask)) for mask in (near, far)]
    middle = (1 - part) * middles[0] + part * middles[1]
    met = [
        rolled(mask, (round(way[0]), round(way[1])))
        for mask, way in ((mask, middle - own) for mask, own in zip((near, far), middles, strict=True))
    ]
    place = bounds(met[0] | met[1])
    made = np.zeros_like(near)
    if place is not None:
        one, other = (_depth(np.pad(mask[place], 1))[1:-1, 1:-1] for mask in met)
        made[place] = (1 - part) * one + part * other > 0
    return made


def _pairs(first: Instances, carried: Instances, last: Instances) -> dict[int, int]:
    """Nodes of the first frame, each with the same one of the last."""
    ours, theirs = painted_ids(first), painted_ids(last)
    overlap = np.array([[overlap_of(carried == node, last == other) for other in theirs] for node in ours])
    pairs: dict[int, int] = {}
    if overlap.size:
        for i, j in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
            if overlap[i, j] >= LEAST_OVERLAP:
                pairs[ours[i]] = theirs[j]
    for node in set(ours) - pairs.keys():
        if node in theirs and node not in pairs.values():
            pairs[node] = node
    return pairs


def _filled(masks: Instances, carried: Iterable[Instances], n: int) -> list[Instances]:
    """Masks of n frames, empty where nothing was carried."""
    found = [masks, *carried]
    return [*found, *(np.zeros_like(masks) for _ in range(n - len(found)))]


def _painted(nodes: dict[int, Mask], shape: tuple[int, int]) -> Instances:
    instances = np.zeros(shape, dtype=np.uint8)
    for node, mask in nodes.items():
        instances[mask & (instances == 0)] = node
    return instances


def _check_size(shape: tuple[int, ...], frame: Frame) -> None:
    if shape != frame.shape:
        raise ValueError(f"Frame {frame.index} has {frame.shape} pixels, what goes with it {shape}.")
