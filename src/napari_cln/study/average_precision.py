"""Average precision of masks and boxes as COCO defines it: AP50, AP75 and their mean over ten overlaps.

A find is a hit or not at each of ten overlaps by itself: the surest find takes, of the nodes still free, the
one that it covers best. The hits of a frame need its pixels; every figure follows from them, so that
``cases.csv`` is enough to repeat it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..types import Estimate
from .cases import CaseRow
from .statistics.intervals import DEFAULT, Resampling, bootstrap

Floats = NDArray[np.float64]
Instances = NDArray[np.uint8]

OVERLAPS = tuple(percent / 100 for percent in range(50, 100, 5))
"""IoU at which hits are counted: 0.50, 0.55, … 0.95."""
RECALLS = np.linspace(0.0, 1.0, 101)
NO_HIT = "none"


class Overlaps(NamedTuple):
    """IoU of each predicted node (P) with each reference node (R): of masks, and of bounding boxes."""

    masks: Floats
    boxes: Floats


def overlaps_of(predicted: Instances, reference: Instances) -> Overlaps:
    """Overlap of all predicted with all reference nodes of a frame.

    Parameters
    ----------
    predicted, reference : ndarray of uint8, shape (H, W)
        Node ids; 0 is background.

    Returns
    -------
    Overlaps
        Two float arrays (P, R) in [0, 1], in the order of the ids. A box is the smallest upright one that
        holds the node's pixels.
    """
    found, drawn = (ndimage.find_objects(ids) for ids in (predicted, reference))
    ours = [(number, box) for number, box in enumerate(found, start=1) if box is not None]
    theirs = [(number, box) for number, box in enumerate(drawn, start=1) if box is not None]
    masks, boxes = np.zeros((len(ours), len(theirs))), np.zeros((len(ours), len(theirs)))
    sizes_of_ours = [np.count_nonzero(predicted[box] == number) for number, box in ours]
    sizes_of_theirs = [np.count_nonzero(reference[box] == number) for number, box in theirs]
    for i, (number, box) in enumerate(ours):
        for j, (other, their_box) in enumerate(theirs):
            shared = _shared(box, their_box)
            common = _area(shared)
            if not common:
                continue
            boxes[i, j] = common / (_area(box) + _area(their_box) - common)
            both = np.count_nonzero((predicted[shared] == number) & (reference[shared] == other))
            masks[i, j] = both / (sizes_of_ours[i] + sizes_of_theirs[j] - both)
    return Overlaps(masks, boxes)


def _shared(one: tuple[slice, ...], two: tuple[slice, ...]) -> tuple[slice, ...]:
    return tuple(
        slice(max(a.start, b.start), max(a.start, b.start, min(a.stop, b.stop)))
        for a, b in zip(one, two, strict=True)
    )


def _area(box: tuple[slice, ...]) -> int:
    rows, columns = box
    return int((rows.stop - rows.start) * (columns.stop - columns.start))


def coco_hits(confidence: Sequence[float], overlap: Floats) -> NDArray[np.bool_]:
    """Hits among the finds of a frame, at each overlap.

    Parameters
    ----------
    confidence : sequence of float, length P
    overlap : ndarray of float, shape (P, R)
        IoU of each find with each reference node.

    Returns
    -------
    ndarray of bool, shape (P, 10)
        For each of :data:`OVERLAPS`. The surest find comes first and takes the node that it covers best of
        those still free, if that is enough.

    References
    ----------
    .. [1] T.-Y. Lin et al., Microsoft COCO, ECCV 2014. :doi:`10.1007/978-3-319-10602-1_48`
    """
    hits = np.zeros((len(confidence), len(OVERLAPS)), dtype=bool)
    order = np.argsort(-np.asarray(confidence, dtype=float), kind="stable")
    for k, least in enumerate(OVERLAPS):
        free = np.ones(overlap.shape[1], dtype=bool)
        for find in order:
            covered = np.where(free, overlap[find], -1.0)
            if covered.size and covered.max() >= least:
                # of equals the last, as the reference implementation takes it
                free[covered.size - 1 - int(covered[::-1].argmax())] = False
                hits[find, k] = True
    return hits


def written_hits(hits: NDArray[np.bool_]) -> str:
    """Overlaps in percent at which a find is a hit, as a cell of the table: ``"50 55 60"``, or ``"none"``."""
    return " ".join(f"{round(100 * at)}" for at, hit in zip(OVERLAPS, hits, strict=True) if hit) or NO_HIT


def _read_hits(cell: str) -> list[bool]:
    said = set(cell.split())
    return [f"{round(100 * at)}" in said for at in OVERLAPS]


def _interpolated(weights: Floats, hit: NDArray[np.bool_], n_reference: Floats) -> Floats:
    """Average precision (B,) of finds in falling confidence, each counted ``weights`` (B, N) times."""
    at = np.flatnonzero(hit)
    with np.errstate(invalid="ignore", divide="ignore"):
        hits = np.cumsum(weights[:, at], axis=1)
        precision = hits / np.cumsum(weights, axis=1)[:, at]
        best = np.maximum.accumulate(np.nan_to_num(precision)[:, ::-1], axis=1)[:, ::-1]
        reached = np.searchsorted(RECALLS, hits / n_reference[:, None], side="right")
        reached = np.where(hits > 0, reached, 0)
        area: Floats = (np.diff(reached, prepend=0, axis=1) * best).sum(axis=1) / len(RECALLS)
    return np.where(n_reference > 0, area, np.nan)


class Curve(NamedTuple):
    """Precision against recall of the masks as the confidence falls, at one overlap."""

    overlap: float
    recall: Floats
    precision: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class AveragePrecision:
    """The detection figures of COCO, for masks and for boxes, with intervals over patients.

    Parameters
    ----------
    masks, boxes : Estimate
        Mean of the average precision over :data:`OVERLAPS` (mAP).
    masks_50, masks_75, boxes_50, boxes_75 : Estimate
        Average precision at an IoU of 0.50 and of 0.75.
    curves : tuple of Curve
        At 0.50 and at 0.75.
    """

    masks: Estimate
    masks_50: Estimate
    masks_75: Estimate
    boxes: Estimate
    boxes_50: Estimate
    boxes_75: Estimate
    curves: tuple[Curve, ...]


def average_precisions(rows: Sequence[CaseRow], how: Resampling = DEFAULT) -> AveragePrecision | None:
    """Figures of all compared frames; None without reference nodes, or where the table lacks the hits."""
    seen = [row for row in rows if row.compared]
    place = {name: number for number, name in enumerate(dict.fromkeys(row.id for row in seen))}
    seen.sort(key=lambda row: (place[row.id], row.predicted_node))
    finds = [i for i, row in enumerate(seen) if row.predicted_node]
    if any(seen[i].mask_hits is None or seen[i].box_hits is None for i in finds):
        return None
    is_node = np.array([row.kind == "node" for row in seen], dtype=float)
    if not is_node.any():
        return None
    confidence = np.array([seen[i].confidence or 0.0 for i in finds])
    order = np.argsort(-confidence, kind="stable")
    columns = np.array(finds, dtype=np.intp)[order]
    hits = np.array(
        [_read_hits(seen[i].mask_hits or "") + _read_hits(seen[i].box_hits or "") for i in columns],
        dtype=bool,
    ).reshape(len(columns), 2 * len(OVERLAPS))

    def figures(weights: Floats) -> Floats:
        n = weights @ is_node
        drawn = weights[:, columns]
        areas = np.stack([_interpolated(drawn, hit, n) for hit in hits.T], axis=1)
        halves = areas[:, : len(OVERLAPS)], areas[:, len(OVERLAPS) :]
        return np.stack([x for half in halves for x in (half.mean(axis=1), half[:, 0], half[:, 5])], axis=1)

    values = figures(np.ones((1, len(seen))))[0]
    low, high = bootstrap(figures, [row.patient for row in seen], how)
    masks, masks_50, masks_75, boxes, boxes_50, boxes_75 = (
        Estimate(value=float(v), low=float(a), high=float(b), n=int(is_node.sum()))
        for v, a, b in zip(values, low, high, strict=True)
    )
    return AveragePrecision(
        masks=masks,
        masks_50=masks_50,
        masks_75=masks_75,
        boxes=boxes,
        boxes_50=boxes_50,
        boxes_75=boxes_75,
        curves=tuple(_curve(OVERLAPS[k], confidence[order], hits[:, k], int(is_node.sum())) for k in (0, 5)),
    )


def _curve(overlap: float, falling: Floats, hit: NDArray[np.bool_], n_reference: int) -> Curve:
    """Precision and recall wherever the confidence falls."""
    last = np.flatnonzero(np.diff(falling, append=-np.inf))
    hits = np.cumsum(hit)[last]
    return Curve(overlap, hits / n_reference, hits / (last + 1))
