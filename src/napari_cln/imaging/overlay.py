"""Burned-in marks on a frame: calipers, dotted lines, text, body marks, box outlines; and Doppler flow.

Two kinds are found apart. *Coloured* strokes differ from the tissue's tint; Doppler flow does
too, but comes in patches wider than a stroke and of many hues. *White and grey* strokes are
sharper than any echo (the point spread blurs tissue over several pixels), end all round within
three pixels, and were drawn in one grey level, which stands out of the histogram of sharp pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..types import Box, ColourFlow, Frame
from .colour import Coloured, flow_in, running, separate, top_hat, widen
from .elastogram import Elastogram, find_elastogram
from .measurement import TOUCHING, bounds, painted_ids
from .scan_area import find_scan_area, is_lossless

__all__ = [
    "Marks",
    "NodeFlow",
    "find_flow",
    "find_overlay",
    "paint_over",
    "read_marks",
    "spread",
    "tissue_of",
]

Mask = NDArray[np.bool_]
Grey = NDArray[np.uint8]
Signed = NDArray[np.int16]

AT_ONCE = 1 << 17
"""Pixels whose surroundings are looked at in one go."""
RING = np.array([(r, c) for r in range(-3, 4) for c in range(-3, 4) if max(abs(r), abs(c)) == 3])
"""Offsets of the pixels three away."""
WIDEST_MARK = 24
"""Pixels to paint inwards one by one; panels beyond take the nearest colour, which is quicker."""
SHARPEST_ECHO = 140
"""Drop in grey level to a neighbour that echoes hardly ever reach (seen on breast and neck frames)."""


def find_overlay(frame: Frame, scan_area: Box | None = None) -> Mask:
    """Pixels that show something other than the scan.

    Inside the scan area these are burned-in marks: calipers, dotted lines, text, body marks, focus
    and depth marks, the outline of a Doppler box. Doppler colour itself is image, not overlay.

    Parameters
    ----------
    frame : Frame
    scan_area : (int, int, int, int), optional
        Found by :func:`find_scan_area` otherwise.

    Returns
    -------
    ndarray of bool, shape (H, W)
        Outside the scan area everything is overlay where the screen shows controls there, and
        nothing in a frame that only has black borders.

    Notes
    -----
    Misses: marks of low contrast on bright tissue; thin grey text of less than some ten full
    pixels. See ``docs/explanation/overlay-removal.md`` for measured figures.
    """
    return read_marks(frame, scan_area).overlay


class Marks(NamedTuple):
    """Drawings on a frame: marks; Doppler flow, and an elastogram, None for a frame without such."""

    overlay: Mask
    flow: ColourFlow | None
    elastogram: Elastogram | None = None


def read_marks(frame: Frame, scan_area: Box | None = None) -> Marks:
    """Tell marks, flow and tissue of a frame apart.

    Parameters
    ----------
    frame : Frame
    scan_area : (int, int, int, int), optional
        Found by :func:`find_scan_area` otherwise.

    Returns
    -------
    Marks
        The overlay as :func:`find_overlay` gives it, and the flow inside the scan area. Nothing in a grey
        frame whose marks were painted over already.
    """
    row0, column0, row1, column1 = area = scan_area or find_scan_area(frame)
    if frame.is_clean and frame.pixels.ndim == 2:
        return Marks(np.zeros(frame.shape, dtype=bool), None)
    inside = np.s_[row0:row1, column0:column1]
    grey = np.ascontiguousarray(frame.grey[inside])
    lossless = is_lossless(frame.grey)
    # Strokes grow with the screen; the widest are about one eightieth of its height.
    peaks = top_hat(grey, max(7, (frame.shape[0] // 80) | 1))
    nothing = np.zeros(grey.shape, dtype=bool)
    if frame.pixels.ndim == 3:
        coloured = separate(frame.pixels[inside], grey, peaks, frame.shape[0], lossless)
    else:
        coloured = Coloured(nothing, nothing, nothing)
    elastogram = find_elastogram(frame)
    if elastogram is not None:
        grey = np.ascontiguousarray(elastogram.grey[inside])
        peaks = top_hat(grey, max(7, (frame.shape[0] // 80) | 1))
        stiff = ~np.isnan(elastogram.stiffness[inside])
        coloured = Coloured((coloured.marks | coloured.flow) & ~stiff, nothing, coloured.all & ~stiff)
    white = _white(grey, peaks, coloured.marks | coloured.flow, lossless)
    flow, box = (nothing, None) if elastogram is not None else flow_in(frame, area, coloured, white, lossless)
    drawn = coloured.flow & ~flow  # a colour bar on the tissue's edge, lines across flow
    marks = (coloured.marks | white | drawn) & ~flow

    overlay = np.zeros(frame.shape, dtype=bool)
    overlay[:] = _has_controls(frame.grey, inside)
    overlay[inside] = marks
    if box is None and not flow.any():
        return Marks(overlay, None, elastogram)
    mask = np.zeros(frame.shape, dtype=bool)
    mask[inside] = flow
    placed = None if box is None else (box[0] + row0, box[1] + column0, box[2] + row0, box[3] + column0)
    return Marks(overlay, ColourFlow(mask=mask, box=placed))


def spread(flow: ColourFlow | None, shape: tuple[int, int]) -> Mask:
    """Pixels to paint over to take flow out of a grey image: its own, and those that they colour.

    Parameters
    ----------
    flow : ColourFlow or None
    shape : (int, int)
        Of the frame, ``(H, W)``.
    """
    if flow is None or not flow.mask.any():
        return np.zeros(shape, dtype=bool)
    return widen(flow.mask, 5)


def tissue_of(frame: Frame, inside: tuple[slice, slice], overlay: Mask, marks: Marks | None = None) -> Grey:
    """Grey pixels of a part of a frame, without marks, Doppler colour and the colours of an elastogram.

    Parameters
    ----------
    frame : Frame
    inside : tuple of slice
        Rows and columns of the part.
    overlay : ndarray of bool, shape (H, W)
        Marks to paint over.
    marks : Marks, optional
        What was read off the frame, where it was; its own overlay is not painted over.
    """
    grey, hidden = frame.grey, overlay
    if marks is not None:
        hidden = overlay | spread(marks.flow, frame.shape)
        if marks.elastogram is not None:
            grey = marks.elastogram.grey
            if marks.elastogram.is_hidden:
                hidden = hidden | ~np.isnan(marks.elastogram.stiffness)
    return paint_over(grey[inside], hidden[inside])


def paint_over(grey: Grey, overlay: Mask) -> Grey:
    """Fill marks with the mean of the tissue around them, from their border inwards.

    Parameters
    ----------
    grey : ndarray of uint8, shape (H, W)
    overlay : ndarray of bool, shape (H, W)

    Returns
    -------
    ndarray of uint8, shape (H, W)
        A copy; pixels outside ``overlay`` are unaltered.
    """
    width = grey.shape[1] + 2
    values = np.pad(grey, 1).astype(np.float32).ravel()
    # The rim counts as unknown, so that nothing leaks in from outside the frame.
    known = np.pad(~overlay, 1).ravel()
    around = np.array([-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1])
    missing = np.flatnonzero(np.pad(overlay, 1).ravel())
    for _ in range(WIDEST_MARK):
        neighbours = missing[:, None] + around
        weights = known[neighbours]
        counts = weights.sum(axis=1)
        ready = counts > 0
        if not ready.any():
            break
        sums = np.where(weights, values[neighbours], 0).sum(axis=1)
        values[missing[ready]] = sums[ready] / counts[ready]
        known[missing[ready]] = True
        missing = missing[~ready]
    filled = values.reshape(-1, width)[1:-1, 1:-1]
    if missing.size and known.any():
        unknown = ~known.reshape(-1, width)[1:-1, 1:-1]
        nearest = ndimage.distance_transform_edt(unknown, return_distances=False, return_indices=True)
        filled = filled[tuple(nearest)]
    painted = grey.copy()
    painted[overlay] = np.rint(filled[overlay]).astype(np.uint8)
    return painted


def _has_controls(grey: Grey, inside: tuple[slice, slice]) -> bool:
    """Tell whether text or bars stand beside the scan area."""
    bright = grey > 64
    return int(np.count_nonzero(bright)) - int(np.count_nonzero(bright[inside])) >= 50


def _white(grey: Grey, peaks: Grey, skip: Mask, lossless: bool) -> Mask:
    """White and grey strokes outside ``skip``."""
    drop = grey - running(grey, 3, np.minimum)
    sharp = (peaks > 60) & (drop > 70) & ~skip
    unmistakable = (peaks > 100) & (drop > SHARPEST_ECHO) & ~skip
    drawn_in = _pen_levels(grey, drop, sharp, lossless)
    core = _among((peaks > 35) & ~skip, drawn_in, grey)
    if unmistakable.any():
        core |= widen(unmistakable) & (peaks > 90) & ~skip
    labels, n = ndimage.label(core, TOUCHING)
    places = np.flatnonzero(core)  # strokes are few: from here on pixel by pixel
    piece = labels.ravel()[places]
    keep = np.zeros(n + 1, dtype=bool)
    keep[piece[sharp.ravel()[places]]] = True
    places, piece = places[keep[piece]], piece[keep[piece]]
    core = _drawn_at(places, grey.shape)
    if not places.size:
        return core

    # A stroke ends all round; an echo of the same brightness goes on as a fading ridge.
    width = grey.shape[1] + 6
    beside, levels = ~np.pad(widen(core | skip), 3).ravel(), np.pad(grey, 3, mode="edge").ravel()
    ended, all_round = np.zeros(n + 1), np.zeros(n + 1)
    for first in range(0, places.size, AT_ONCE):  # a photograph may be strokes all over
        some, of = places[first : first + AT_ONCE], piece[first : first + AT_ONCE]
        rows, columns = np.divmod(some, grey.shape[1])
        around = ((rows + 3) * width + columns + 3)[:, None] + (RING @ np.array([width, 1]))
        free = beside[around]
        height = peaks.ravel()[some].astype(np.int16)[:, None]
        ground = grey.ravel()[some].astype(np.int16)[:, None] - height
        low = levels[around] - ground < 0.45 * height
        ended += np.bincount(of, (free & low).sum(axis=1), n + 1)
        all_round += np.bincount(of, free.sum(axis=1), n + 1)
    keep &= ended >= 0.85 * all_round
    marks = _drawn_at(places[keep[piece]], grey.shape)
    for least in (30, 30, 8):  # blurred strokes, then anti-aliased edges
        marks = marks | (widen(marks) & (peaks > least))
    return marks


def _pen_levels(grey: Grey, drop: Grey, sharp: Mask, lossless: bool) -> Mask:
    """Grey levels, as a (256,) lookup, that marks were drawn in: spikes among sharp pixels."""
    radius, reach, prominence = (0, 25, 5) if lossless else (8, 60, 4)
    levels = np.zeros(256, dtype=bool)
    for least in (110, 70):
        counts = np.bincount(grey[sharp & (drop > least)], minlength=256)
        near = np.convolve(np.pad(counts, radius), np.ones(2 * radius + 1), "valid")
        for _ in range(4):
            level = int(near.argmax())
            below = counts[max(0, level - reach) : max(0, level - 2 * radius - 1)]
            beside = np.concatenate([below, counts[level + 2 * radius + 2 : level + reach]])
            usual = float(beside.mean()) * (2 * radius + 1) if beside.size else 0.0
            window = slice(max(0, level - radius), level + radius + 1)
            levels[window] |= near[level] >= max(10.0, prominence * usual)
            near[max(0, level - 3 * radius - 1) : level + 3 * radius + 2] = 0
    return levels


def _among(where: Mask, levels: Mask, grey: Grey) -> Mask:
    """Pixels under a mask whose grey level is one of some."""
    places = np.flatnonzero(where)
    return _drawn_at(places[levels[grey.ravel()[places]]], grey.shape)


def _drawn_at(places: NDArray[np.intp], shape: tuple[int, ...]) -> Mask:
    """A mask of the pixels of these numbers, row by row."""
    mask = np.zeros(shape, dtype=bool)
    mask.ravel()[places] = True
    return mask


# ------------------------------------------------------------ flow in each node


FlowPattern: TypeAlias = Literal["none", "hilar", "peripheral", "mixed"]

RIM = 0.42
"""Depth of the rim, as a part of the greatest distance from a node's border."""
LEAST_FLOW = 0.012
"""Share of the rim, or of the middle, that has colour where flow is present there."""
LEAST_OF_ALL = 0.12
"""Share of a node's flow that a part must hold, so that the end of a branch is no second pattern."""


@dataclass(frozen=True, kw_only=True)
class NodeFlow:
    """Flow in one node.

    Parameters
    ----------
    share : float
        Part of the node, in [0, 1], that has colour, of what lies in the colour box.
    central_share : float, optional
        Part of that colour which lies in the node's middle; None without any.
    pattern : {"none", "hilar", "peripheral", "mixed"}
        Flow nowhere, in the middle alone, along the rim alone, or in both.
    """

    share: float
    central_share: float | None
    pattern: FlowPattern


def find_flow(frame: Frame, scan_area: Box | None = None) -> ColourFlow | None:
    """Find Doppler flow.

    Parameters
    ----------
    frame : Frame
    scan_area : (int, int, int, int), optional
        The frame's own, or found by :func:`napari_cln.find_scan_area` otherwise.

    Returns
    -------
    ColourFlow or None
        Flow, and the box in which it was measured. None where the frame shows no Doppler: no flow, no
        colour bar beside the outline of a box, and no region for it in the file. A frame in whose colour
        box nothing flows has a mask that is False everywhere.

    Notes
    -----
    Only rectangular and slanted boxes are found by their outline, not sectors; the flow in those is found
    where it is wider than a stroke. See ``docs/how-to/doppler.md``.

    Examples
    --------
    >>> from napari_cln import simulate
    >>> phantom = simulate(3, n_nodes=1, doppler=True)
    >>> find_flow(phantom.frame) is not None, find_flow(simulate(3, n_nodes=1).frame) is None
    (True, True)
    """
    return read_marks(frame, scan_area or frame.scan_area).flow


def flow_of_node(flow: ColourFlow, mask: NDArray[np.bool_]) -> NodeFlow | None:
    """Measure the flow in one node.

    Parameters
    ----------
    flow : ColourFlow
    mask : ndarray of bool, shape (H, W)

    Returns
    -------
    NodeFlow or None
        None where less than half of the node lies in the colour box: the rest was not measured.

    Raises
    ------
    ValueError
        If the mask has another shape than the frame.
    """
    if mask.shape != flow.mask.shape:
        raise ValueError(
            f"mask has shape {mask.shape}, the frame {flow.mask.shape}: give it in frame pixels."
        )
    place = bounds(mask)
    if place is None:
        return None
    node = np.pad(mask[place], 1)
    depth = ndimage.distance_transform_edt(node)[1:-1, 1:-1]
    node = node[1:-1, 1:-1]
    measured = node if flow.box is None else node & _within(flow.box, place)
    if np.count_nonzero(measured) < 0.5 * np.count_nonzero(node):
        return None
    flowing = flow.mask[place] & measured
    middle = depth > RIM * depth.max()
    n_flow, n_central = int(np.count_nonzero(flowing)), int(np.count_nonzero(flowing & middle))
    share = n_flow / np.count_nonzero(measured)
    if not n_flow:
        return NodeFlow(share=0.0, central_share=None, pattern="none")
    central = _present(n_central, int(np.count_nonzero(measured & middle)), n_flow)
    rim = _present(n_flow - n_central, int(np.count_nonzero(measured & ~middle)), n_flow)
    names: dict[tuple[bool, bool], FlowPattern] = {
        (False, False): "none",
        (True, False): "hilar",
        (False, True): "peripheral",
        (True, True): "mixed",
    }
    return NodeFlow(share=share, central_share=n_central / n_flow, pattern=names[central, rim])


def flow_of_nodes(
    flow: ColourFlow | None, instances: NDArray[np.uint8], ids: Sequence[int] | None = None
) -> tuple[NodeFlow | None, ...]:
    """Measure the flow in each node of a frame.

    Parameters
    ----------
    flow : ColourFlow, optional
        None for a frame without Doppler: each node then has None.
    instances : ndarray of uint8, shape (H, W)
        0 background; 1, 2, … the nodes.
    ids : sequence of int, optional
        Those asked for; all that have pixels otherwise, in ascending order.

    Returns
    -------
    tuple of NodeFlow or None
    """
    asked = painted_ids(instances) if ids is None else list(ids)
    return tuple(None if flow is None else flow_of_node(flow, instances == id_) for id_ in asked)


def _within(box: Box, place: tuple[slice, slice]) -> NDArray[np.bool_]:
    """Pixels of a place that lie in a box."""
    rows = np.arange(place[0].start, place[0].stop)
    columns = np.arange(place[1].start, place[1].stop)
    inside: NDArray[np.bool_] = ((rows >= box[0]) & (rows < box[2]))[:, None] & (
        (columns >= box[1]) & (columns < box[3])
    )
    return inside


def _present(flowing: int, size: int, of: int) -> bool:
    return bool(size) and flowing >= LEAST_FLOW * size and flowing >= LEAST_OF_ALL * of
