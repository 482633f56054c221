"""Faults of one frame: its record, its image, its masks, its former states, and whether they fit together."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...disk.atomic import MAX_PNG_BYTES, read_bytes
from ...disk.schema import checksum_holds, flip_back
from ...errors import DatasetError
from ..pictures import NOT_JUDGED, decode_png, label_of, read_png
from ..readers import read_entry, readers_of
from ..record import LABELLED, SCHEMA, Record, decode_record, hash_pixels
from .fault import Fault, Remedy

if TYPE_CHECKING:
    from ..dataset import TrainingFolder

__all__ = ["check_case", "is_torn", "mended_text"]

_PUT_AWAY = re.compile(r".*-repair-\d+\.(records|labelsTr|imagesTr|imagesNoMask)\..*")
_BACKUP = "Put the file back from git or a backup, or import the frame again."


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
    former = [*_check_revisions(study, case_id), *_check_readings(study, case_id)]
    try:
        record = study.record(case_id)
    except DatasetError as cause:
        return [_check_record(study, case_id, cause), *former]
    if record.schema > SCHEMA:
        return [
            Fault(
                kind="newer-schema",
                id=case_id,
                severity="warning",
                message=f"{case_id}.json has schema {record.schema}, this version knows {SCHEMA}: it is "
                "read, never changed.",
                advice="Update napari-cln.",
            )
        ]
    unknown = [
        Fault(
            kind="unknown-key",
            id=case_id,
            severity="warning",
            message=f"{case_id}.json has {key[:40]!r}, a key that this version does not know. It is kept.",
            advice="If nobody put it there, restore the file from git or a backup.",
        )
        for key in record.others
    ]
    return [*unknown, *_check_image(study, record), *_check_masks(study, record), *former]


def _check_record(study: TrainingFolder, case_id: str, cause: DatasetError) -> Fault:
    if mended_text(study.layout.record(case_id)) is not None:
        return Fault(
            kind="record",
            id=case_id,
            message=f"{case_id}.json has one flipped bit: its checksum tells which.",
            advice="Repair to set it right; then look after the disk.",
            remedy=Remedy.FLIP_BACK,
        )
    return Fault(
        kind="record",
        id=case_id,
        message=str(cause),
        advice="Repair to go back to the last good state.",
        remedy=Remedy.RESTORE_RECORD,
    )


def mended_text(path: Path) -> bytes | None:
    """The text of a record without its one flipped bit; None where that is not what is wrong."""
    try:
        data = read_bytes(path, MAX_PNG_BYTES)
    except (OSError, DatasetError):
        return None
    if b"checksum" not in data or checksum_holds(data):
        return None
    return flip_back(data)


def _check_revisions(study: TrainingFolder, case_id: str) -> Iterator[Fault]:
    """Former states that are not as they were kept."""
    folder = study.layout.revisions / case_id
    for path in sorted(folder.glob("*.json")):
        if _PUT_AWAY.fullmatch(path.name):
            continue
        try:
            record = decode_record(path.read_bytes(), path.name)
        except (OSError, DatasetError) as cause:
            flipped = mended_text(path) is not None
            yield _former(case_id, path, "has one flipped bit" if flipped else str(cause), mend=flipped)
            continue
        stem = path.name.removesuffix(".json")
        for ending, wanted in ((".png", record.mask_sha256), (".nodes.png", record.instances_sha256)):
            if wanted is not None and (reason := _not_the_picture(folder / (stem + ending), wanted)):
                yield _former(case_id, folder / (stem + ending), reason)


def _not_the_picture(path: Path, wanted: str) -> str | None:
    try:
        data = read_bytes(path, MAX_PNG_BYTES)
        if hash_pixels(decode_png(data, path.name)) != wanted:
            return "has other pixels than when it was kept"
    except FileNotFoundError:
        return "is missing"
    except (OSError, DatasetError):
        return "is not a whole PNG"
    return None if _is_whole_png(data) else "has a flipped bit, though its pixels are whole"


def _former(case_id: str, path: Path, reason: str, *, mend: bool = False) -> Fault:
    if not reason.startswith(path.name):
        reason = f"{path.name} {reason}."
    return Fault(
        kind="revision",
        id=case_id,
        severity="warning",
        message=f"A former state of {case_id} is damaged: {reason}",
        advice="Repair to set it right." if mend else "Put it back from git or a backup, if there is one.",
        remedy=Remedy.FLIP_BACK if mend else None,
        path=path,
    )


def _check_readings(study: TrainingFolder, case_id: str) -> Iterator[Fault]:
    """Second readings that can't be read."""
    for reader in readers_of(study, case_id):
        path = study.layout.records / f"{case_id}.{reader}.json"
        try:
            entry = read_entry(path)
            if hash_pixels(read_png(path.with_suffix(".png"))) != entry.instances_sha256:
                raise DatasetError(f"{path.name} and its mask come from two different saves.")
        except DatasetError as cause:
            flipped = mended_text(path) is not None
            yield Fault(
                kind="reading",
                id=case_id,
                severity="warning",
                message=f"{path.name} has one flipped bit." if flipped else str(cause),
                advice="Repair to set it right." if flipped else "A former reading may be in the revisions.",
                remedy=Remedy.FLIP_BACK if flipped else None,
                path=path,
            )


def _check_image(study: TrainingFolder, record: Record) -> Iterator[Fault]:
    case_id, masked = record.id, record.has_mask
    path, other = study.layout.image(case_id, masked), study.layout.image(case_id, not masked)
    if not path.exists() and other.exists():
        yield Fault(
            kind="image-place",
            id=case_id,
            message=f"{path.name} lies in {other.parent.name} instead of {path.parent.name}.",
            advice="Repair to move it.",
            remedy=Remedy.MOVE_IMAGE,
        )
        path = other
    try:
        image = read_png(path)
    except DatasetError as cause:
        yield Fault(kind="image", id=case_id, message=str(cause), advice=_BACKUP)
        return
    if hash_pixels(image) != record.image.sha256:
        yield Fault(
            kind="image",
            id=case_id,
            message=f"{path.name} has other pixels than when it was stored; images are never rewritten.",
            advice=_BACKUP,
        )
    elif not _is_whole_png(read_bytes(path, MAX_PNG_BYTES)):
        yield _bit_flip(case_id, path)


def _check_masks(study: TrainingFolder, record: Record) -> Iterator[Fault]:
    case_id = record.id
    label = ids = None
    for path, wanted in (
        (study.layout.mask(case_id), record.mask_sha256),
        (study.layout.instances(case_id), record.instances_sha256),
    ):
        if wanted is None and not path.exists():
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
        if mask.shape != record.shape:
            yield _torn(
                case_id,
                f"{path.name} has {mask.shape[0]}×{mask.shape[1]} pixels, its image "
                f"{record.shape[0]}×{record.shape[1]}.",
                kind="mask-size",
            )
            return
        if path.parent == study.layout.labels and mask.max(initial=0) > NOT_JUDGED:
            yield _torn(
                case_id,
                f"{path.name} has the value {int(mask.max())}; a label image has 0, 1 and 2 (not judged) "
                "alone.",
                kind="mask-values",
            )
            return
        if hash_pixels(mask) != wanted:
            yield _torn(
                case_id,
                f"{path.name} and its record come from two different saves, or another program changed it.",
            )
            return
        if not _is_whole_png(read_bytes(path, MAX_PNG_BYTES)):
            yield _bit_flip(case_id, path)
        if path.parent == study.layout.labels:
            label = mask
        else:
            ids = mask
    yield from _check_content(record, label, ids)


def _check_content(
    record: Record, label: NDArray[np.uint8] | None, ids: NDArray[np.uint8] | None
) -> Iterator[Fault]:
    case_id, nodes = record.id, [entry.node for entry in record.nodes]
    if label is not None and ids is not None and not np.array_equal(label == 1, label_of(ids, nodes)):
        yield _torn(case_id, f"{case_id}.png and the ids of its nodes outline different pixels.")
    nodes_in_label = label is not None and bool((label == 1).any())
    if label is not None and not nodes_in_label and record.status != "no-node":
        yield Fault(
            kind="empty-mask",
            id=case_id,
            message=f"The mask of {case_id} is empty, but nobody said that the frame shows no node.",
            advice='Open it in the Correct dock: paint the node, or choose "No node here".',
        )
    if nodes_in_label and record.status == "no-node":
        yield Fault(
            kind="mask",
            id=case_id,
            message=f"{case_id} is marked as showing no node, but its mask is not empty.",
            advice="Open it in the Correct dock and say which is right.",
        )
    painted = ids if ids is not None else label
    if painted is None or not painted.any():
        return
    for node in nodes:
        if node.status in LABELLED and not (painted == node.id).any():
            yield Fault(
                kind="mask",
                id=case_id,
                message=f"Node {node.id} of {case_id} has no pixels.",
                advice="Open it in the Correct dock: paint the node, or remove it from the list.",
            )


def is_torn(study: TrainingFolder, record: Record) -> bool:
    """Whether the masks of a frame are not those that its record describes."""
    return any(fault.remedy is Remedy.ROLL_BACK for fault in _check_masks(study, record))


def _torn(case_id: str, message: str, kind: str = "torn") -> Fault:
    return Fault(
        kind=kind,
        id=case_id,
        message=message,
        advice="Repair to finish the save that was cut short, or to go back to the state before it.",
        remedy=Remedy.ROLL_BACK,
    )


def _bit_flip(case_id: str, path: Path) -> Fault:
    return Fault(
        kind="bit-flip",
        id=case_id,
        severity="warning",
        message=f"{path.name} has a flipped bit, though its pixels are whole.",
        advice="Repair to write it anew; then look after the disk.",
        remedy=Remedy.REWRITE,
        path=path,
    )


def _is_whole_png(data: bytes) -> bool:
    """Whether every chunk of a PNG has the checksum that it carries, and nothing follows the last one."""
    place = 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        end = place + 12 + length
        if end > len(data):
            return False
        if zlib.crc32(data[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return False
        if data[place + 4 : place + 8] == b"IEND":
            return bool(end == len(data))
        place = end
    return False
