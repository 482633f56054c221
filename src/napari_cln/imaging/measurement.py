"""Sizes of nodes, in pixels and, where the frame is calibrated, in millimetres."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist, squareform

from ..annotation import Annotation, Case
from ..types import Box, Frame, Prediction, Region, Spacing

__all__ = [
    "Measurement",
    "bounds",
    "measure",
    "measure_nodes",
    "painted_ids",
    "scale_within",
    "spacing_of",
    "split_nodes",
    "unsure_share",
]

Point = tuple[float, float]

TOUCHING = np.ones((3, 3), dtype=bool)
"""Pixels that share a side or a corner belong together."""
MARGIN = 0.15
"""Pixels from the outermost pixel centres to the outline."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Sizes of one node, in pixels always and in millimetres where the frame is calibrated.

    The long axis is the greatest distance between two border points; the short axis is the
    greatest width at right angles to it. ``axis_ratio`` is long / short (L/S).

    Parameters
    ----------
    area_px, long_axis_px, short_axis_px : float
        In pixels of the frame.
    axis_ratio : float, optional
        None where the short axis is 0.
    area_mm2, long_axis_mm, short_axis_mm : float, optional
        In square millimetres and millimetres; None where the frame is not calibrated under the node.
    long_axis_ends, short_axis_ends : ((float, float), (float, float)), optional
        Row and column of both ends of each axis, in pixels.
    """

    area_px: float
    long_axis_px: float
    short_axis_px: float
    axis_ratio: float | None
    area_mm2: float | None = None
    long_axis_mm: float | None = None
    short_axis_mm: float | None = None
    long_axis_ends: tuple[tuple[float, float], tuple[float, float]] | None = None
    short_axis_ends: tuple[tuple[float, float], tuple[float, float]] | None = None

    def at_scale(self, mm_per_px: float) -> Measurement:
        """Return the sizes at another scale.

        Parameters
        ----------
        mm_per_px : float
            Millimetres per pixel, along rows and columns: the axes of square pixels stay where they are.
        """
        return replace(
            self,
            area_mm2=self.area_px * mm_per_px**2,
            long_axis_mm=self.long_axis_px * mm_per_px,
            short_axis_mm=self.short_axis_px * mm_per_px,
        )


def measure(mask: NDArray[np.bool_], spacing_mm: Spacing | None = None) -> Measurement:
    """Area, long axis, short axis and L/S ratio of one node.

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)
        One node, in frame pixels.
    spacing_mm : (float, float), optional
        Millimetres per pixel along rows and columns. With unequal values the axes are sought
        in millimetres, where right angles are right.

    Returns
    -------
    Measurement
        The long axis is the greatest distance between two points of the convex outline (Feret
        diameter), the short axis the outline's width at right angles to it. Axis ends are
        ``(row, column)`` in frame pixels, pixel centres at whole numbers.

    Raises
    ------
    ValueError
        If the mask is empty or not two-dimensional.
    """
    if mask.ndim != 2 or not mask.any():
        raise ValueError(
            f"mask of shape {mask.shape} holds no node: give a 2-D mask with at least one pixel."
        )
    scale = np.array(spacing_mm if spacing_mm is not None else (1.0, 1.0))
    long_ends, short_ends = _axes(_outline(mask) * scale)
    long_px, short_px = (
        float(np.linalg.norm(ends[1] / scale - ends[0] / scale)) for ends in (long_ends, short_ends)
    )
    long_mm, short_mm = (float(np.linalg.norm(ends[1] - ends[0])) for ends in (long_ends, short_ends))
    area = float(np.count_nonzero(mask))
    in_mm = spacing_mm is not None
    return Measurement(
        area_px=area,
        long_axis_px=long_px,
        short_axis_px=short_px,
        axis_ratio=long_mm / short_mm,
        area_mm2=area * float(scale.prod()) if in_mm else None,
        long_axis_mm=long_mm if in_mm else None,
        short_axis_mm=short_mm if in_mm else None,
        long_axis_ends=_points(long_ends / scale),
        short_axis_ends=_points(short_ends / scale),
    )


def measure_nodes(marked: Prediction | Annotation) -> tuple[Measurement, ...]:
    """Measure every node of a prediction or an annotation.

    Parameters
    ----------
    marked : Prediction or Annotation

    Returns
    -------
    tuple of Measurement
        One for each id that has pixels in ``instances``, in ascending order of the id.
    """
    measurements = []
    for id_ in painted_ids(marked.instances):
        mask = marked.instances == id_
        measurements.append(measure(mask, spacing_of(marked.frame, mask)))
    return tuple(measurements)


def painted_ids(instances: NDArray[np.uint8]) -> list[int]:
    """Ids of nodes that have pixels, in ascending order.

    Parameters
    ----------
    instances : ndarray of uint8, shape (H, W)
        0 background; 1 to 255 the nodes.
    """
    place = bounds(instances)
    if place is None:
        return []
    ids: list[int] = (np.flatnonzero(np.bincount(instances[place].ravel())[1:]) + 1).tolist()
    return ids


def spacing_of(frame: Frame | Case, mask: NDArray[np.bool_]) -> Spacing | None:
    """Millimetres per pixel that hold for the whole of a mask.

    Where calibrated regions overlap, as a zoom inset and the picture around it do, a pixel belongs
    to the innermost one. Where neither of two lies inside the other, it belongs to none.

    Parameters
    ----------
    frame : Frame or Case
    mask : ndarray of bool, shape (H, W)

    Returns
    -------
    (float, float) or None
        The spacing of the calibrated regions to which all of the mask belongs; None where it lies
        across two of different scale or outside all, because no one scale is right there. The
        frame's own spacing where it has no regions.

    Notes
    -----
    DICOM has a priority of regions too (PS3.3, C.8.5.5.1.3, Region Flags). It is not asked: the
    standard calls 0 the higher one, and scanners write 1 for colour that they draw over tissue.
    """
    if not frame.regions:
        return frame.spacing_mm
    place = bounds(mask)
    if place is None:
        return None
    rows, columns = place
    box = rows.start, columns.start, rows.stop, columns.stop
    owners = np.unique(_owners(frame.regions, box)[mask[place]])
    if owners[0] < 0:
        return None
    first, *others = (frame.regions[owner] for owner in owners)
    return first.spacing_mm if all(region.has_scale_of(first) for region in others) else None


def scale_within(frame: Frame | Case, box: Box | None = None) -> tuple[Spacing | None, tuple[Region, ...]]:
    """Scale of a part of a frame: one spacing that holds for all of it, else the frame's with its regions.

    Parameters
    ----------
    frame : Frame or Case
    box : (int, int, int, int), optional
        The part; all of the frame by default.

    Returns
    -------
    (float, float) or None
    tuple of Region
        In pixels of the frame; empty where the spacing, if any, holds for all of the part.
    """
    part = np.zeros(frame.shape, dtype=bool)
    row0, column0, row1, column1 = (0, 0, *frame.shape) if box is None else box
    part[row0:row1, column0:column1] = True
    spacing = spacing_of(frame, part)
    return (frame.spacing_mm, frame.regions) if spacing is None else (spacing, ())


def _owners(regions: Sequence[Region], box: Box) -> NDArray[np.int32]:
    """Number of the region to which each pixel of a box belongs, -1 for none."""
    owners = np.full((box[2] - box[0], box[3] - box[1]), -1, dtype=np.int32)

    def part(*boxes: Box) -> NDArray[np.int32]:
        starts = [max(each[axis] for each in (*boxes, box)) - box[axis] for axis in (0, 1)]
        stops = [min(each[axis + 2] for each in (*boxes, box)) - box[axis] for axis in (0, 1)]
        return owners[starts[0] : max(0, stops[0]), starts[1] : max(0, stops[1])]

    def area(number: int) -> int:
        row0, column0, row1, column1 = regions[number].box
        return (row1 - row0) * (column1 - column0)

    painted: list[Region] = []
    for number in sorted(range(len(regions)), key=area, reverse=True):
        region = regions[number]
        part(region.box)[:] = number
        for other in painted:
            inside = region.lies_in(other) and region.box != other.box
            if not inside and not region.has_scale_of(other):
                part(region.box, other.box)[:] = -1
        painted.append(region)
    return owners


def bounds(mask: NDArray[np.generic]) -> tuple[slice, slice] | None:
    """Rows and columns outside which a mask is 0; None where it is 0 everywhere.

    Parameters
    ----------
    mask : ndarray, shape (H, W)
        Anything but 0 counts.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def split_nodes(
    probability: NDArray[np.float32], threshold: float, min_area_px: float, min_peak: float = 0.0
) -> NDArray[np.uint8]:
    """Separate nodes: pixels at or above the threshold that touch, also by a corner.

    Parameters
    ----------
    probability : ndarray of float32, shape (H, W), in [0, 1]
    threshold : float
    min_area_px : float
        Smaller pieces are dropped.
    min_peak : float, in [0, 1]
        Pieces whose surest pixel stays under it are dropped (thresholding with hysteresis [1]_).

    Returns
    -------
    ndarray of uint8, shape (H, W)
        0 background; 1, 2, … the nodes, largest first (at most 255).

    References
    ----------
    .. [1] J. Canny, "A computational approach to edge detection", IEEE TPAMI 8, 1986.
           :doi:`10.1109/TPAMI.1986.4767851`
    """
    instances = np.zeros(probability.shape, dtype=np.uint8)
    above = probability >= threshold
    place = bounds(above)
    if place is None:
        return instances
    labels, n = ndimage.label(above[place], structure=TOUCHING)
    areas = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    peaks = np.zeros(n + 1, dtype=np.float32)
    inside = labels > 0
    np.maximum.at(peaks, labels[inside], probability[place][inside])
    wanted = (areas >= min_area_px) & (peaks[1:] >= min_peak)
    order = [i for i in np.argsort(-areas, kind="stable") if wanted[i]][:255]
    ids = np.zeros(n + 1, dtype=np.uint8)
    ids[np.array(order, dtype=np.intp) + 1] = np.arange(1, len(order) + 1)
    instances[place] = ids[labels]
    return instances


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Convex outline, (n, 2): the hull of the pixel centres, widened by a little.

    The centres alone make ellipses too small, the pixels' corners too large (2.5 % on the short
    axis at a radius of 10 to 30 pixels); :data:`MARGIN` leaves no bias.
    """
    place = bounds(mask)
    assert place is not None
    corners = np.argwhere(_ends(mask[place]) & _ends(mask[place].T).T)
    with contextlib.suppress(QhullError):  # a line of pixels has no hull
        corners = corners[ConvexHull(corners).vertices]
    corners += np.array([side.start for side in place])
    angles = np.arange(16) * np.pi / 8
    around = MARGIN * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    points = (corners[:, None] + around).reshape(-1, 2)
    outline: NDArray[np.float64] = points[ConvexHull(points).vertices]
    return outline


def _ends(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The first and the last pixel of each row: a corner of the hull is one, in its row and in its column."""
    ends = np.zeros(mask.shape, dtype=bool)
    rows = np.flatnonzero(mask.any(axis=1))
    ends[rows, mask[rows].argmax(axis=1)] = True
    ends[rows, mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)] = True
    return ends


def _axes(outline: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends (2, 2) of the longest diameter and of the width at right angles to it."""
    distances = squareform(pdist(outline))
    ends = outline[list(np.unravel_index(int(distances.argmax()), distances.shape))]
    along = (ends[1] - ends[0]) / distances.max()
    across = np.array([-along[1], along[0]])
    t, u = (outline - ends[0]) @ along, (outline - ends[0]) @ across
    widest = [int(u.argmin()), int(u.argmax())]
    # Calipers: two lines along the node touch it there; the width runs between the two points.
    width = ends[0] + t[widest].mean() * along + np.outer(u[widest], across)
    return ends, width


def _points(ends: NDArray[np.float64]) -> tuple[Point, Point]:
    (row0, column0), (row1, column1) = ends.tolist()
    return (row0, column0), (row1, column1)


def unsure_share(prediction: Prediction) -> float | None:
    """Share of a predicted mask about which the model is unsure, in [0, 1].

    A pixel, inside the mask or out, is unsure where its probability lies nearer to the operating
    point than to 0 or 1; their number is given relative to the mask's.

    Parameters
    ----------
    prediction : Prediction

    Returns
    -------
    float or None
        None where there is no mask.
    """
    threshold, area = prediction.mask_threshold, np.count_nonzero(prediction.mask)
    if threshold is None or not area:
        return None
    p = prediction.probability
    return min(np.count_nonzero((p > threshold / 2) & (p < (1 + threshold) / 2)) / area, 1.0)
