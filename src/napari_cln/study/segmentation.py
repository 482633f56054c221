"""Masks: overlap and distance of nodes, their axes, what was missed or mistaken, and detection figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..types import Estimate
from .average_precision import AveragePrecision, average_precisions
from .cases import CaseRow
from .detection import Froc, average_precision, froc
from .diagnosis import widest
from .statistics.agreement import BlandAltman, bland_altman, icc
from .statistics.intervals import DEFAULT, Resampling, bootstrap, median_interval, proportion

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Summary:
    """A distribution: median, quartiles, range, mean.

    Parameters
    ----------
    median : Estimate
        With the exact interval of order statistics.
    median_clustered : Estimate
        With the wider of that and the bootstrap over patients.
    lower_quartile, upper_quartile, least, greatest, mean : float
    values : ndarray
        In the order of the rows, for the plots.
    """

    median: Estimate
    median_clustered: Estimate
    lower_quartile: float
    upper_quartile: float
    least: float
    greatest: float
    mean: float
    values: Floats


def summary_of(values: ArrayLike, patients: Sequence[str], how: Resampling = DEFAULT) -> Summary | None:
    """Describe a distribution; None without values."""
    x = np.asarray(values, dtype=float)
    if not x.size:
        return None
    order = np.argsort(x, kind="stable")
    ordered = x[order]

    def median(weights: Floats) -> Floats:
        upto = np.cumsum(weights, axis=1)
        middle: Floats = ordered[np.argmax(upto * 2 >= upto[:, -1:], axis=1)]
        return middle

    exact = median_interval(x, how.confidence)
    low, high = bootstrap(median, np.asarray(patients)[order], how)
    q1, q3 = np.percentile(x, [25, 75])
    if np.isnan(exact.low):  # too few values for an exact interval
        clustered = Estimate(value=exact.value, low=float(x.min()), high=float(x.max()), n=x.size)
    else:
        clustered = widest(exact, float(low), float(high))
    return Summary(
        median=exact,
        median_clustered=clustered,
        lower_quartile=float(q1),
        upper_quartile=float(q3),
        least=float(x.min()),
        greatest=float(x.max()),
        mean=float(x.mean()),
        values=x,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Segmentation:
    """Figures of outlined nodes.

    Parameters
    ----------
    nodes : int
        Reference nodes, each in ``dice``; those not found with 0.
    found, loose, missed, wrong_node : Estimate
        Shares of the nodes: IoU at or above the threshold; matched with less; not found and
        nothing else outlined; not found and another structure outlined.
    dice, iou : Summary
        Per node.
    frame_dice : Summary
        Per frame with a node in either mask, all nodes together (the paper's figure).
    hd95_mm, assd_mm, hd95_px, assd_px : Summary, optional
        Of matched nodes; in mm for those in calibrated frames.
    empty_both : int
        Frames without a node in either mask: left out of ``frame_dice``, and counted here.
    axes : tuple of AxisAgreement
    """

    nodes: int
    found: Estimate
    loose: Estimate
    missed: Estimate
    wrong_node: Estimate
    dice: Summary
    iou: Summary
    frame_dice: Summary
    hd95_mm: Summary | None
    assd_mm: Summary | None
    hd95_px: Summary | None
    assd_px: Summary | None
    empty_both: int
    axes: tuple[AxisAgreement, ...]


def segment_summary(
    rows: Sequence[CaseRow], iou_threshold: float = 0.5, how: Resampling = DEFAULT
) -> Segmentation | None:
    """Describe the outlines of all compared nodes; None where there are none."""
    nodes = [row for row in rows if row.kind == "node" and row.compared]
    if not nodes:
        return None
    frames = {row.id: row for row in rows if row.compared}
    marked = [row for row in frames.values() if row.frame_dice is not None]

    def summary(name: str, of: Sequence[CaseRow]) -> Summary | None:
        known = [row for row in of if getattr(row, name) is not None]
        return summary_of([getattr(row, name) for row in known], [row.patient for row in known], how)

    def share(k: int) -> Estimate:
        return proportion(k, len(nodes), confidence=how.confidence)

    dice, iou, frame_dice = summary("dice", nodes), summary("iou", nodes), summary("frame_dice", marked)
    assert dice is not None and iou is not None and frame_dice is not None
    n_found = sum(row.iou is not None and row.iou >= iou_threshold for row in nodes)
    missed, wrong = sum(row.missed for row in nodes), sum(row.wrong_node for row in nodes)
    return Segmentation(
        nodes=len(nodes),
        found=share(n_found),
        loose=share(len(nodes) - n_found - missed - wrong),
        missed=share(missed),
        wrong_node=share(wrong),
        dice=dice,
        iou=iou,
        frame_dice=frame_dice,
        hd95_mm=summary("hd95_mm", nodes),
        assd_mm=summary("assd_mm", nodes),
        hd95_px=summary("hd95_px", nodes),
        assd_px=summary("assd_px", nodes),
        empty_both=len(frames) - len(marked),
        axes=compare_axes(nodes, how.confidence),
    )


def share_claimed(rows: Sequence[CaseRow], confidence: float) -> Estimate | None:
    """Share of the compared frames without a reference node in which one is outlined; None without those."""
    with_node = {row.id for row in rows if row.kind == "node"}
    empty = {row.id for row in rows if row.compared} - with_node
    if not empty:
        return None
    claimed = {row.id for row in rows if row.compared and row.predicted_node > 0} & empty
    return proportion(len(claimed), len(empty), confidence=confidence)


@dataclass(frozen=True, kw_only=True, eq=False)
class Detection:
    """Figures of found nodes and of false finds.

    Parameters
    ----------
    iou_threshold : float
    frames, nodes, finds, hits : int
        Compared frames, reference nodes, predicted nodes, and those that match at the threshold.
    precision, recall, f1 : Estimate
        With intervals over patients.
    average_precision : float
        Over the confidence (mean mask probability) of predicted nodes, all points.
    coco : AveragePrecision, optional
        mAP, AP50 and AP75 of masks and boxes with 101 points; None where the table does not tell the hits.
    false_per_frame : float
    froc : Froc
    """

    iou_threshold: float
    frames: int
    nodes: int
    finds: int
    hits: int
    precision: Estimate
    recall: Estimate
    f1: Estimate
    average_precision: float
    false_per_frame: float
    froc: Froc
    coco: AveragePrecision | None


def detect(
    rows: Sequence[CaseRow], iou_threshold: float = 0.5, how: Resampling = DEFAULT
) -> Detection | None:
    """Detection figures of all compared frames; None without reference nodes."""
    seen = [row for row in rows if row.compared]
    is_node = np.array([row.kind == "node" for row in seen], dtype=bool)
    if not is_node.any():
        return None
    is_find = np.array([row.predicted_node > 0 for row in seen])
    is_hit = np.array([row.predicted_node > 0 and (row.iou or 0) >= iou_threshold for row in seen])
    frames, nodes, finds, hits = (
        len({row.id for row in seen}),
        *(int(x.sum()) for x in (is_node, is_find, is_hit)),
    )
    cells = np.stack([is_node, is_find, is_hit], axis=1).astype(float)

    def figures(weights: Floats) -> Floats:
        n, found, hit = (weights @ cells).T
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.stack([hit / found, hit / n, 2 * hit / (n + found)], axis=1)

    low, high = bootstrap(figures, [row.patient for row in seen], how)
    f1 = Estimate(value=2 * hits / (nodes + finds), low=float(low[2]), high=float(high[2]), n=nodes + finds)
    confidence = [row.confidence or 0.0 for row, find in zip(seen, is_find, strict=True) if find]
    return Detection(
        iou_threshold=iou_threshold,
        frames=frames,
        nodes=nodes,
        finds=finds,
        hits=hits,
        precision=widest(proportion(hits, finds, confidence=how.confidence), low[0], high[0]),
        recall=widest(proportion(hits, nodes, confidence=how.confidence), low[1], high[1]),
        f1=f1,
        average_precision=average_precision(confidence, is_hit[is_find], nodes),
        false_per_frame=(finds - hits) / frames,
        froc=froc(confidence, is_hit[is_find], nodes, frames),
        coco=average_precisions(seen, how),
    )


# ------------------------------------------------------------ axes


@dataclass(frozen=True, kw_only=True, eq=False)
class AxisAgreement:
    """An axis as the model and as the reader measure it, of matched nodes.

    Parameters
    ----------
    name, unit : str
        ``"long axis"`` or ``"short axis"``; ``"mm"``, or ``"px"`` where no frame is calibrated.
    limits : BlandAltman
        Model − reader.
    icc : Estimate
        Absolute agreement, ICC(A,1).
    model, reader : ndarray
    of : int
        Reference nodes in all.
    """

    name: str
    unit: str
    limits: BlandAltman
    icc: Estimate
    model: NDArray[np.float64]
    reader: NDArray[np.float64]
    of: int


def compare_axes(nodes: Sequence[CaseRow], confidence: float = 0.95) -> tuple[AxisAgreement, ...]:
    """Agreement on both axes of all compared nodes; empty where none is matched."""
    unit = "mm" if any(row.predicted_long_mm is not None for row in nodes) else "px"
    agreements = []
    for axis in ("long", "short"):
        pairs = [
            (model, reader)
            for row in nodes
            if (model := getattr(row, f"predicted_{axis}_{unit}")) is not None
            and (reader := getattr(row, f"reference_{axis}_{unit}")) is not None
        ]
        if pairs:
            model, reader = (np.array(x, dtype=float) for x in zip(*pairs, strict=True))
            agreements.append(
                AxisAgreement(
                    name=f"{axis} axis",
                    unit=unit,
                    limits=bland_altman(model, reader, confidence),
                    icc=icc(model, reader, confidence),
                    model=model,
                    reader=reader,
                    of=len(nodes),
                )
            )
    return tuple(agreements)
