"""A reference and a prediction of one frame → its rows of the table."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..annotation import Annotation, Case, Node, without_nodes
from ..errors import DatasetError
from ..imaging.measurement import measure, spacing_of
from ..io.sources import read_frame
from ..types import NOT_JUDGED, Prediction, Spacing, Truth, TruthSource
from .average_precision import coco_hits, overlaps_of, written_hits
from .cases import CaseRow
from .detection import Pair, match_nodes
from .statistics.metrics import dice, outline_distances

TOUCH = 0.05
"""A pair with a lower Dice is no pair: the outlines touch, but show two structures. The paper's
wrong nodes have a Dice of 0 to 0.002."""

Instances = NDArray[np.uint8]


def read_instances(case: Case) -> Instances | None:
    """Node ids (H, W) of a case from its files; None where no mask was accepted."""
    path = case.instances or case.mask
    if path is None:
        return None
    ids = read_frame(path).grey
    return ids if path == case.instances else np.where(ids == NOT_JUDGED, np.uint8(0), ids)


def judged_part(prediction: Prediction, not_judged: NDArray[np.bool_] | None) -> Prediction:
    """A prediction without what it draws where nobody says whether a node is there.

    Parameters
    ----------
    prediction : Prediction
    not_judged : ndarray of bool, shape (H, W), optional
        None where all is judged.

    Returns
    -------
    Prediction
        Nodes that lie wholly there are left out: nobody can call them wrong.
    """
    if not_judged is None:
        return prediction
    left = np.where(not_judged, np.uint8(0), prediction.instances)
    kept = [node for node in range(1, len(prediction.node_scores) + 1) if (left == node).any()]
    instances = np.zeros_like(left)
    for number, node in enumerate(kept, start=1):
        instances[left == node] = number
    return replace(
        prediction,
        instances=instances,
        probability=np.where(not_judged, np.float32(0), prediction.probability),
        node_scores=tuple(prediction.node_scores[node - 1] for node in kept),
    )


def reference_instances(
    truth: Case | Annotation, read: Callable[[Case], Instances | None] = read_instances
) -> Instances | None:
    """Ids of the nodes that a reader accepted or drew; None where nobody stands for a mask or its lack."""
    if not (truth.has_reference or truth.status == "no-node"):
        return None
    instances = truth.instances if isinstance(truth, Annotation) else read(truth)
    kept = {node.id for node in truth.reference_nodes}
    others = [node.id for node in truth.nodes if node.id not in kept]
    return None if instances is None else without_nodes(instances, others)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Reference:
    id: str
    instances: Instances
    nodes: Mapping[int, Node]
    common: CaseRow
    spacing_of: Callable[[NDArray[np.bool_]], Spacing | None]


def compare(
    truth: Case | Annotation,
    instances: Instances | None,
    prediction: Prediction,
    split: str | None = None,
) -> list[CaseRow]:
    """Set the nodes of a prediction beside those of its reference.

    Parameters
    ----------
    truth : Case or Annotation
    instances : ndarray of uint8, shape (H, W), or None
        The reader's nodes, as :func:`reference_instances` gives them.
    prediction : Prediction
        Of the same frame.
    split : str, optional
        Which set the frame belongs to; by default what its record says, else ``"test"``.

    Returns
    -------
    list of CaseRow
        A row per reference node, then one per stray predicted node; one for a frame with neither.

    Raises
    ------
    DatasetError
        If the masks are not of the same size.
    """
    common = _common(truth, prediction, split)
    if instances is None and isinstance(truth, Case) and truth.status == "no-node":
        instances = np.zeros(prediction.instances.shape, dtype=np.uint8)
    if instances is None:
        whole = replace(common, kind="frame", node=0, score=common.frame_score)
        label = truth.truth if isinstance(truth, Case) else truth.label
        return [replace(whole, truth=label, truth_source=_source(truth, label))]
    common = replace(common, no_node=not instances.any())
    reference = _Reference(
        id=common.id,
        instances=instances,
        nodes={node.id: node for node in truth.nodes},
        common=common,
        spacing_of=_spacing(truth, prediction),
    )
    if prediction.mask_threshold is None:  # the model only classifies
        nodes = [_row(reference, Pair(int(i), 0, 0.0, 0.0)) for i in _ids(reference.instances)]
        return nodes or [replace(common, kind="frame", node=0)]
    if reference.instances.shape != prediction.instances.shape:
        raise DatasetError(
            f"Frame {reference.id} has a reference mask of {reference.instances.shape} pixels and a "
            f"prediction of {prediction.instances.shape}. Predict the image that the mask was drawn on."
        )
    common = replace(common, compared=True)
    if prediction.instances.any() or reference.instances.any():
        common = replace(common, frame_dice=_rounded(dice(prediction.mask, reference.instances > 0)))
    pairs = match_nodes(prediction.instances, reference.instances)
    lost = [pair for pair in pairs if pair.reference and pair.predicted and pair.dice < TOUCH]
    strays = [pair.predicted for pair in pairs if pair in lost or not pair.reference]
    reference = replace(reference, common=common)
    rows = []
    for pair in pairs:
        if not pair.reference:
            continue
        found = bool(pair.predicted) and pair not in lost
        row = replace(
            _row(reference, pair),
            dice=_rounded(pair.dice),
            iou=_rounded(pair.iou),
            missed=not found and not strays,
            wrong_node=not found and bool(strays),
        )
        rows.append(_with_match(row, reference, prediction, pair) if found else row)
    rows += [_stray(common, prediction, node) for node in strays]
    rows = _with_hits(rows, prediction, reference.instances)
    return rows or [replace(common, kind="frame", node=0)]


def _source(truth: Case | Annotation, label: Truth) -> TruthSource:
    """How the class of a frame was established: of a node that has it."""
    sources = (node.truth_source for node in truth.reference_nodes if node.truth == label)
    return next((source for source in sources if source != "none"), "none")


def split_of(truth: Case | Annotation, split: str | None) -> str:
    """Set that a frame belongs to: the given one, else what its record says, else ``"test"``."""
    return split or (truth.split if isinstance(truth, Case) else None) or "test"


def _common(truth: Case | Annotation, prediction: Prediction, split: str | None) -> CaseRow:
    """The fields that every row of a frame shares."""
    if isinstance(truth, Case):
        case_id, patient, vendor = truth.id, truth.patient, truth.vendor
    else:
        case_id = hashlib.sha256(truth.frame.pixels.tobytes()).hexdigest()[:16]
        patient, vendor = truth.frame.patient_id or case_id, truth.frame.vendor
    return CaseRow(
        id=case_id,
        patient=patient,
        split=split_of(truth, split),
        score=round(float(prediction.class_probabilities["malignant"]), 6),
        frame_score=round(prediction.malignancy, 6),
        cutoff=prediction.cutoff,
        vendor=vendor,
        hospital=truth.hospital if isinstance(truth, Case) else None,
        model=prediction.model_id,
    )


def _spacing(
    truth: Case | Annotation, prediction: Prediction
) -> Callable[[NDArray[np.bool_]], Spacing | None]:
    if isinstance(truth, Annotation):
        return partial(spacing_of, truth.frame)
    is_calibrated = truth.spacing_mm is not None or truth.regions
    return partial(spacing_of, truth if is_calibrated else prediction.frame)


def _row(reference: _Reference, pair: Pair) -> CaseRow:
    """The row of a reference node, before its match."""
    node = reference.nodes.get(pair.reference, Node(id=pair.reference))
    mask = reference.instances == pair.reference
    size = measure(mask, reference.spacing_of(mask))
    return replace(
        reference.common,
        node=pair.reference,
        truth=node.truth,
        truth_source=node.truth_source,
        level=node.level,
        side=node.side,
        reference_long_mm=_rounded(size.long_axis_mm),
        reference_short_mm=_rounded(size.short_axis_mm),
        reference_long_px=_rounded(size.long_axis_px),
        reference_short_px=_rounded(size.short_axis_px),
    )


def _with_match(row: CaseRow, reference: _Reference, prediction: Prediction, pair: Pair) -> CaseRow:
    """The row of a node that was found: its score, distances and the model's axes."""
    expected, found = reference.instances == pair.reference, prediction.instances == pair.predicted
    spacing = reference.spacing_of(expected)
    size = measure(found, spacing)
    in_px = outline_distances(found, expected)
    in_mm = outline_distances(found, expected, spacing) if spacing else None
    return replace(
        row,
        predicted_node=pair.predicted,
        score=round(prediction.node_scores[pair.predicted - 1], 6),
        score_of="node",
        confidence=_confidence(prediction, pair.predicted),
        hd95_px=_rounded(in_px.hd95),
        assd_px=_rounded(in_px.assd),
        hd95_mm=_rounded(in_mm.hd95) if in_mm else None,
        assd_mm=_rounded(in_mm.assd) if in_mm else None,
        predicted_long_mm=_rounded(size.long_axis_mm),
        predicted_short_mm=_rounded(size.short_axis_mm),
        predicted_long_px=_rounded(size.long_axis_px),
        predicted_short_px=_rounded(size.short_axis_px),
    )


def _stray(common: CaseRow, prediction: Prediction, node: int) -> CaseRow:
    return replace(
        common,
        kind="stray",
        node=0,
        predicted_node=node,
        score=round(prediction.node_scores[node - 1], 6),
        score_of="node",
        confidence=_confidence(prediction, node),
    )


def _with_hits(rows: list[CaseRow], prediction: Prediction, reference: Instances) -> list[CaseRow]:
    """The rows with COCO's hits of each predicted node."""
    sure = {row.predicted_node: row.confidence or 0.0 for row in rows if row.predicted_node}
    if not sure:
        return rows
    numbers = sorted(sure)
    confidence = [sure[number] for number in numbers]
    masks, boxes = (
        dict(zip(numbers, map(written_hits, coco_hits(confidence, overlap)), strict=True))
        for overlap in overlaps_of(prediction.instances, reference)
    )
    return [
        replace(row, mask_hits=masks.get(row.predicted_node), box_hits=boxes.get(row.predicted_node))
        for row in rows
    ]


def _confidence(prediction: Prediction, node: int) -> float:
    return round(float(prediction.probability[prediction.instances == node].mean()), 6)


def _ids(instances: Instances) -> NDArray[np.intp]:
    return np.flatnonzero(np.bincount(instances.ravel(), minlength=256)[1:]) + 1


def _rounded(value: float | None) -> float | None:
    """Six decimals: the table is the truth, and a rerun from the file must give the same."""
    return None if value is None else round(value, 6)
