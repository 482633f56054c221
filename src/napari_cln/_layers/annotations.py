"""Painted masks ⇄ annotations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..annotation import Annotation, Node
from ..errors import DatasetError
from ..imaging.measurement import Measurement, painted_ids
from ..study.reading import digest, size_columns
from ..types import Frame, Prediction, Status
from .predictions import readings_of
from .space import KEY

if TYPE_CHECKING:
    from napari.layers import Labels

DRAWN_KEY = "napari-cln drawn"
"""Key in a Labels layer's metadata for predictions that no model made here: a DrawnFrame by frame."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnFrame:
    """Masks that were made from those of other frames, or that nobody had judged in the file they came from.

    Parameters
    ----------
    digest : str
        Of the masks: what is painted on them is a reader's.
    words : str
        How they were made; empty where that is not known.
    facts : mapping of int to Node
    """

    digest: str
    words: str
    facts: Mapping[int, Node] = field(default_factory=dict)


def drawn_frame(labels: Labels, index: int) -> DrawnFrame | None:
    """How masks came that are predictions of no model here; None where they are not, or no longer."""
    drawn: DrawnFrame | None = labels.metadata.get(DRAWN_KEY, {}).get(index)
    if drawn is None or drawn.digest != digest(_masks(labels, index).astype(np.uint8)):
        return None
    return drawn


def is_painted(labels: Labels, index: int = 0) -> bool:
    """Tell whether a frame's masks are not, or no longer, those that were predicted.

    Contents are compared, so that undo, redo and plain assignment are all seen.
    """
    known, masks = labels.metadata.get(KEY), _masks(labels, index)
    if isinstance(known, Prediction):
        return not np.array_equal(masks, known.instances)
    reading = readings_of(labels).get(index)
    if reading is None:
        return bool(masks.any())
    return digest(masks.astype(np.uint8)) != reading.mask_digest


def annotation_from_layer(
    labels: Labels,
    frame: Frame | None = None,
    *,
    index: int = 0,
    status: Status | None = None,
    annotator: str | None = None,
) -> Annotation:
    """Read the masks of one frame back from a Labels layer, painted or not.

    Parameters
    ----------
    labels : napari.layers.Labels
        (Y, X), or (T, Y, X) of a cine.
    frame : Frame, optional
        The frame to annotate; the one that was predicted where it is left out.
    index : int
        Position in a cine.
    status : str, optional
        ``"predicted"`` or ``"corrected"``, as the masks are, where it is left out.
    annotator : str, optional

    Raises
    ------
    DatasetError
        If the masks belong to another frame: of another shape, or predicted on other pixels.
    """
    known, masks = labels.metadata.get(KEY), _masks(labels, index)
    reading = readings_of(labels).get(index)
    if frame is None and isinstance(known, Prediction):
        frame = known.frame
    if frame is None:
        raise DatasetError(f"Layer '{labels.name}' does not say which frame it belongs to. Give the frame.")
    if masks.shape != frame.shape:
        raise DatasetError(
            f"Layer '{labels.name}' has {masks.shape[0]}×{masks.shape[1]} pixels, the frame {frame.shape[0]}×"
            f"{frame.shape[1]}: it was painted on another frame. Choose the Labels layer of this frame."
        )
    if reading is not None and reading.frame_digest != digest(frame.pixels):
        raise DatasetError(
            f"Layer '{labels.name}' was predicted on another frame than this one. "
            "Choose the Labels layer of this frame, or segment it again."
        )
    if masks.max(initial=0) > 255 or masks.min(initial=0) < 0:
        raise DatasetError(f"Layer '{labels.name}' has ids beyond 255. Give its nodes the ids 1 to 255.")
    based_on = None if reading is None else reading.model_id
    if (drawn := drawn_frame(labels, index)) is not None:
        based_on = drawn.words
    if status is None:
        is_given = drawn is not None or (reading is not None and not is_painted(labels, index))
        status = "predicted" if is_given else "corrected"
    scores = _scores(labels, masks, index)
    nodes = tuple(Node(id=node, status=status, p_malignant=scores.get(node)) for node in painted_ids(masks))
    return Annotation(
        frame=frame,
        instances=masks.astype(np.uint8),
        nodes=nodes,
        status=status,
        annotator=annotator,
        based_on=based_on,
    )


def measured_features(annotation: Annotation, sizes: tuple[Measurement, ...]) -> dict[str, list[Any]]:
    """Features table of masks as they are painted now: row i belongs to label i.

    A score belongs to the mask that it was given for: a node that was painted has none until
    the frame is segmented again.
    """
    by_id = {node.id: (node, size) for node, size in zip(annotation.nodes, sizes, strict=True)}
    rows = []
    for label in range(max(by_id, default=0) + 1):
        node, size = by_id.get(label, (None, None))
        score = None if node is None else node.p_malignant
        rows.append(
            {
                "node": label,
                "malignancy": float("nan") if score is None else score,
                "status": annotation.status,
            }
            | size_columns(size)
        )
    return {name: [row[name] for row in rows] for name in rows[0]}


def _masks(labels: Labels, index: int) -> NDArray[Any]:
    return np.asarray(labels.data if labels.ndim == 2 else labels.data[index])


def _scores(labels: Labels, masks: NDArray[Any], index: int) -> dict[int, float]:
    """Scores of the nodes whose masks are still those that were scored."""
    known, reading = labels.metadata.get(KEY), readings_of(labels).get(index)
    if reading is None:
        return {}
    scores = {i: node.score for i, node in enumerate(reading.nodes, start=1)}
    if isinstance(known, Prediction):
        return {
            node: score
            for node, score in scores.items()
            if np.array_equal(masks == node, known.instances == node)
        }
    return {} if is_painted(labels, index) else scores
