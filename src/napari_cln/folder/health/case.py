"""Faults of one frame: its record, its image, its masks, and whether they are of one save."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import DatasetError
from ..keys import hash_pixels
from ..pictures import read_png
from ..records import LABELLED, SCHEMA, Record, has_mask, nodes_of
from .fault import Fault

if TYPE_CHECKING:
    from ..dataset import TrainingFolder

__all__ = ["check_case", "is_torn"]

_ROLL_BACK = "finish the save, or go back to the state before it"


def check_case(study: TrainingFolder, case_id: str) -> list[Fault]:
    """Look at all files of a frame.

    Parameters
    ----------
    study : TrainingFolder
    case_id : str

    Returns
    -------
    list of Fault
    """
    try:
        record = study.record(case_id)
    except DatasetError as cause:
        return [
            Fault(
                kind="record",
                id=case_id,
                message=str(cause),
                advice="Repair to go back to the last good state.",
                remedy="go back to the last good state among the revisions",
            )
        ]
    if record["schema"] > SCHEMA:
        return [
            Fault(
                kind="newer-schema",
                id=case_id,
                severity="warning",
                message=f"{case_id}.json has schema {record['schema']}, this version knows {SCHEMA}: it "
                "is read, "
                "never changed.",
                advice="Update napari-cln.",
            )
        ]
    return [*_check_image(study, record), *_check_masks(study, record)]


def _check_image(study: TrainingFolder, record: Record) -> Iterator[Fault]:
    case_id, masked = record["id"], has_mask(record)
    path, other = study.layout.image(case_id, masked), study.layout.image(case_id, not masked)
    if not path.exists() and other.exists():
        yield Fault(
            kind="image-place",
            id=case_id,
            message=f"{path.name} lies in {other.parent.name} instead of {path.parent.name}.",
            advice="Repair to move it.",
            remedy="move the image",
        )
        path = other
    try:
        image = read_png(path)
    except DatasetError as cause:
        yield Fault(
            kind="image",
            id=case_id,
            message=str(cause),
            advice="Put the file back from git or a backup, or import the frame again.",
        )
        return
    if hash_pixels(image) != record["image"]["sha256"]:
        yield Fault(
            kind="image",
            id=case_id,
            message=f"{path.name} has other pixels than when it was stored; images are never rewritten.",
            advice="Put the file back from git or a backup, or import the frame again.",
        )


def _check_masks(study: TrainingFolder, record: Record) -> Iterator[Fault]:
    case_id = record["id"]
    label_path, ids_path = study.layout.mask(case_id), study.layout.instances(case_id)
    pictures: dict[str, NDArray[np.uint8] | None] = {}
    for path, key in ((label_path, "mask_sha256"), (ids_path, "instances_sha256")):
        wanted = record.get(key)
        if wanted is None and not path.exists():
            pictures[key] = None
            continue
        if wanted is None:
            yield _torn(case_id, f"{path.name} is there, but the record speaks of no such mask.")
            return
        try:
            mask = read_png(path)
        except DatasetError as cause:
            yield _torn(
                case_id,
                str(cause) if path.exists() else f"{path.name} is missing, though the record speaks of it.",
            )
            return
        shape = (record["image"]["rows"], record["image"]["columns"])
        if mask.shape != shape:
            yield _torn(
                case_id,
                f"{path.name} has {mask.shape[0]}×{mask.shape[1]} pixels, its image {shape[0]}×{shape[1]}.",
                kind="mask-size",
            )
            return
        if key == "mask_sha256" and mask.max(initial=0) > 1:
            yield _torn(
                case_id,
                f"{path.name} has the value {int(mask.max())}; a label image has 0 and 1 alone.",
                kind="mask-values",
            )
            return
        if hash_pixels(mask) != wanted:
            yield _torn(
                case_id,
                f"{path.name} and its record come from two different saves, or another program changed it.",
            )
            return
        pictures[key] = mask
    yield from _check_content(record, pictures["mask_sha256"], pictures["instances_sha256"])


def _check_content(
    record: Record, label: NDArray[np.uint8] | None, ids: NDArray[np.uint8] | None
) -> Iterator[Fault]:
    case_id, nodes = record["id"], nodes_of(record)
    labelled = [node.id for node in nodes if node.status in LABELLED]
    if label is not None and ids is not None and not np.array_equal(label, np.isin(ids, labelled)):
        yield _torn(case_id, f"{case_id}.png and the ids of its nodes outline different pixels.")
    if label is not None and not label.any() and record["status"] != "no-node":
        yield Fault(
            kind="empty-mask",
            id=case_id,
            message=f"The mask of {case_id} is empty, but nobody said that the frame shows no node.",
            advice='Open it in the Correct dock: paint the node, or choose "No node here".',
        )
    if label is not None and label.any() and record["status"] == "no-node":
        yield Fault(
            kind="mask",
            id=case_id,
            message=f"{case_id} is marked as showing no node, but its mask is not empty.",
            advice="Open it in the Correct dock and say which is right.",
        )
    painted = ids if ids is not None else label
    if painted is not None and painted.any():
        for node_id in labelled:
            if not (painted == node_id).any():
                yield Fault(
                    kind="mask",
                    id=case_id,
                    message=f"Node {node_id} of {case_id} has no pixels.",
                    advice="Open it in the Correct dock: paint the node, or remove it from the list.",
                )


def is_torn(study: TrainingFolder, record: Record) -> bool:
    """Whether the masks of a frame are not those that its record describes."""
    return any(fault.remedy == _ROLL_BACK for fault in _check_masks(study, record))


def _torn(case_id: str, message: str, kind: str = "torn") -> Fault:
    return Fault(
        kind=kind,
        id=case_id,
        message=message,
        advice="Repair to finish the save that was cut short, or to go back to the state before it.",
        remedy=_ROLL_BACK,
    )
