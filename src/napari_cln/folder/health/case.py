"""Faults of one frame: its record, its image, its masks, its former states, and whether they fit together.

A fault says what is wrong, what to do, and which remedy repair has for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...annotation import LABELLED
from ...disk.atomic import MAX_PNG_BYTES, read_bytes
from ...disk.locks import LockOwner
from ...disk.seals import OBJECT, Seal, flip_text_back, is_amiss, with_own_line_ends
from ...errors import DatasetError
from ...types import NOT_JUDGED
from ..dataset import TrainingFolder
from ..pictures import decode_png, flip_png_back, hash_pixels, is_whole_png
from ..readers import read_entry, readers_of
from ..record import SCHEMA, Record, decode_record
from ..state import label_of

_PUT_AWAY = re.compile(r".*-repair-\d+\.(records|labelsTr|imagesTr|imagesNoMask)\..*")
_BACKUP = "Put the file back from git or a backup, or import the frame again."
_LOOK_AFTER = "then look after the disk."


class Damage(NamedTuple):
    """Damage of a file, as the end of a sentence that begins with its name, and the remedy."""

    reason: str
    remedy: Remedy | None = None


def _sentence(path: Path, damage: Damage) -> str:
    """Sentence about a damaged file; some reasons are sentences of their own."""
    return damage.reason if damage.reason.startswith(path.name) else f"{path.name} {damage.reason}."


def check_case(study: TrainingFolder, case_id: str, readers: Iterable[str] | None = None) -> list[Fault]:
    """Look at all files of a frame.

    Parameters
    ----------
    study : TrainingFolder
    case_id : str
    readers : iterable of str, optional
        Of whom there are files of a second reading, where the caller has listed them.

    Returns
    -------
    list of Fault
    """
    if readers is None:
        readers = readers_of(study, case_id)
    former = [*_check_revisions(study, case_id), *_check_readings(study, case_id, readers)]
    path = study.layout.record(case_id)
    try:
        record = study.record(case_id)
    except DatasetError as cause:
        return [_unreadable_record(path, case_id, cause), *former]
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
    damage = damage_of_text(path)
    if damage is not None:
        found = [_mendable(case_id, path, damage)]
        return [*found, *_check_image(study, record), *_check_masks(study, record), *former]
    found = [
        Fault(
            kind="unknown-key",
            id=case_id,
            severity="warning",
            message=f"{case_id}.json has {key[:40]!r}, a key that this version does not know. It is kept.",
            advice="If nobody put it there, restore the file from git or a backup.",
        )
        for key in record.others
    ]
    return [*found, *_check_image(study, record), *_check_masks(study, record), *former]


def _unreadable_record(path: Path, case_id: str, cause: DatasetError) -> Fault:
    damage = damage_of_text(path)
    if damage is not None and damage.remedy is Remedy.FLIP_BACK:
        return Fault(
            kind="record",
            id=case_id,
            message=f"{path.name} {damage.reason}: its checksum tells which.",
            advice=f"Repair to set it right; {_LOOK_AFTER}",
            remedy=Remedy.FLIP_BACK,
        )
    return Fault(
        kind="record",
        id=case_id,
        message=str(cause),
        advice="Repair to go back to the last good state.",
        remedy=Remedy.RESTORE_RECORD,
    )


def _mendable(case_id: str, path: Path, damage: Damage) -> Fault:
    """A text that is read, and can be set right to the last byte."""
    if damage.remedy is Remedy.LINE_ENDS:
        return Fault(
            kind="line-ends",
            id=case_id,
            severity="warning",
            message=f"{path.name} {damage.reason}.",
            advice="Nothing is lost. Repair to turn them back; git turns them where .gitattributes lacks "
            "`*.json -text`.",
            remedy=damage.remedy,
            path=path,
        )
    return _bit_flip(case_id, path, damage)


def damage_of_text(path: Path, seal: Seal = OBJECT) -> Damage | None:
    """Damage of a sealed text that can be set right to the last byte.

    Returns
    -------
    Damage or None
        None where nothing is wrong, or something else.
    """
    data = _sealed_amiss(path, seal)
    if data is None:
        return None
    if with_own_line_ends(data, seal) is not None:
        return Damage("has the line ends of Windows, and is else as it was written", Remedy.LINE_ENDS)
    if flip_text_back(data, seal) is not None:
        return Damage("has one flipped bit", Remedy.FLIP_BACK)
    return None


def mended_text(path: Path, seal: Seal = OBJECT) -> bytes | None:
    """The text of a record as it was written, without its one flipped bit or turned line ends.

    Returns
    -------
    bytes or None
        None where that is not what is wrong.
    """
    data = _sealed_amiss(path, seal)
    return None if data is None else with_own_line_ends(data, seal) or flip_text_back(data, seal)


def _sealed_amiss(path: Path, seal: Seal) -> bytes | None:
    """A sealed text that is not as it was written; None for any other."""
    try:
        data = read_bytes(path, MAX_PNG_BYTES)
    except (OSError, DatasetError):
        return None
    return data if is_amiss(data, seal) else None


def mended_picture(path: Path) -> bytes | None:
    """The bytes of a PNG without its one flipped bit; None where that is not what is wrong."""
    try:
        return flip_png_back(read_bytes(path, MAX_PNG_BYTES))
    except (OSError, DatasetError):
        return None


def _damage_of_picture(path: Path, wanted: str) -> Damage | None:
    """Damage of a PNG that should have pixels of the SHA-256 ``wanted``."""
    try:
        data = read_bytes(path, MAX_PNG_BYTES)
    except FileNotFoundError:
        return Damage("is missing")
    except OSError as cause:
        return Damage(f"can't be read ({cause.strerror})")
    except DatasetError as cause:
        return Damage(str(cause))
    if _has_pixels(data, path.name, wanted):
        return (
            None
            if is_whole_png(data)
            else Damage("has a flipped bit, though its pixels are whole", Remedy.REWRITE)
        )
    mended = flip_png_back(data)
    if mended is not None and _has_pixels(mended, path.name, wanted):
        return Damage("has one flipped bit", Remedy.FLIP_BACK)
    if not data.strip(b"\0"):
        return Damage("holds nothing but zeros" if data else "is empty")
    try:
        decode_png(data, path.name)
    except DatasetError:
        return Damage("is not a whole PNG")
    return Damage("has other pixels than when it was stored")


def _has_pixels(data: bytes, name: str, wanted: str) -> bool:
    try:
        return hash_pixels(decode_png(data, name)) == wanted
    except DatasetError:
        return False


def _check_revisions(study: TrainingFolder, case_id: str) -> Iterator[Fault]:
    """Former states, of the frame and of its second readings, that are not as they were kept."""
    folder = study.layout.revisions / case_id
    for path in sorted(folder.glob("*.json")):
        if _PUT_AWAY.fullmatch(path.name):
            continue
        stem = path.name.removesuffix(".json")
        yield from _check_former(
            case_id,
            path,
            lambda path: decode_record(read_bytes(path, MAX_PNG_BYTES), path.name),
            (("mask_sha256", folder / f"{stem}.png"), ("instances_sha256", folder / f"{stem}.nodes.png")),
        )
    for path in sorted(folder.glob("*.json.reading")):
        picture = path.with_name(path.name.removesuffix(".json.reading") + ".png.reading")
        yield from _check_former(case_id, path, read_entry, (("instances_sha256", picture),))


def _check_former(
    case_id: str, path: Path, read: Callable[[Path], Any], pictures: Iterable[tuple[str, Path]]
) -> Iterator[Fault]:
    if (damage := damage_of_text(path)) is not None:
        turned = damage.remedy is Remedy.LINE_ENDS
        yield _mendable(case_id, path, damage) if turned else _former(case_id, path, damage)
        if not turned:
            return
    try:
        entry = read(path)
    except (OSError, DatasetError) as cause:
        yield _former(case_id, path, Damage(str(cause)))
        return
    for key, picture in pictures:
        wanted = getattr(entry, key)
        if wanted is not None and (damage := _damage_of_picture(picture, wanted)):
            yield _former(case_id, picture, damage)


def _former(case_id: str, path: Path, damage: Damage) -> Fault:
    return Fault(
        kind="revision",
        id=case_id,
        severity="warning",
        message=f"A former state of {case_id} is damaged: {_sentence(path, damage)}",
        advice="Repair to set it right."
        if damage.remedy
        else "Put it back from git or a backup, if there is one.",
        remedy=damage.remedy,
        path=path,
    )


def _check_readings(study: TrainingFolder, case_id: str, readers: Iterable[str]) -> Iterator[Fault]:
    """Second readings that can't be read, or whose files are of two saves."""
    for reader in sorted(readers):
        path = study.layout.records / f"{case_id}.{reader}.json"
        picture = path.with_suffix(".png")
        if (damage := damage_of_text(path)) is not None:
            turned = damage.remedy is Remedy.LINE_ENDS
            yield _mendable(case_id, path, damage) if turned else _reading(case_id, path, damage)
            if not turned:
                continue
        try:
            entry = read_entry(path)
        except DatasetError as cause:
            yield _reading(case_id, path, Damage(str(cause), Remedy.RESTORE_READING))
            continue
        damage = _damage_of_picture(picture, entry.instances_sha256)
        if damage is not None:
            yield _reading(
                case_id, picture, damage if damage.remedy else damage._replace(remedy=Remedy.RESTORE_READING)
            )


def _reading(case_id: str, path: Path, damage: Damage) -> Fault:
    restores = damage.remedy is Remedy.RESTORE_READING
    return Fault(
        kind="reading",
        id=case_id,
        severity="warning",
        message=f"A second reading is damaged: {_sentence(path, damage)}",
        advice="Repair to finish its save, to go back to the one before, or to put it aside."
        if restores
        else "Repair to set it right.",
        remedy=damage.remedy,
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
    channels = {study.layout.channel(case_id, name): sha for name, sha in (record.channels or {}).items()}
    for picture, wanted in ((path, record.image.sha256), *channels.items()):
        damage = _damage_of_picture(picture, wanted)
        if damage is not None and damage.remedy is not None:
            yield _bit_flip(case_id, picture, damage)
        elif damage is not None:
            yield Fault(
                kind="image",
                id=case_id,
                message=f"{_sentence(picture, damage)} No other file of the folder has its pixels.",
                advice=_BACKUP,
            )


def _check_masks(study: TrainingFolder, record: Record) -> Iterator[Fault]:
    case_id = record.id
    masks: list[NDArray[np.uint8] | None] = []
    for path, wanted in (
        (study.layout.mask(case_id), record.mask_sha256),
        (study.layout.instances(case_id), record.instances_sha256),
    ):
        if wanted is None:
            if path.exists():
                yield _torn(case_id, f"{path.name} is there, but the record speaks of no such mask.")
                return
            masks.append(None)
            continue
        damage = _damage_of_picture(path, wanted)
        if damage is not None and damage.remedy is not None:
            yield _bit_flip(case_id, path, damage)
            if damage.remedy is Remedy.FLIP_BACK:
                return
        mask, fault = _read_mask(study, record, path, damage)
        if fault is not None:
            yield fault
            return
        masks.append(mask)
    yield from _check_content(record, *masks)


def _read_mask(
    study: TrainingFolder, record: Record, path: Path, damage: Damage | None
) -> tuple[NDArray[np.uint8] | None, Fault | None]:
    """A mask, or what is wrong with it."""
    case_id = record.id
    try:
        mask = decode_png(read_bytes(path, MAX_PNG_BYTES), path.name)
    except FileNotFoundError:
        return None, _torn(case_id, f"{path.name} is missing, though the record speaks of it.")
    except (OSError, DatasetError):
        return None, _torn(case_id, _sentence(path, damage or Damage("can't be read")))
    if mask.shape != record.shape:
        rows, columns = mask.shape
        message = f"{path.name} has {rows}×{columns} pixels, its image {record.shape[0]}×{record.shape[1]}."
        return None, _torn(case_id, message, kind="mask-size")
    if path.parent == study.layout.labels and mask.max(initial=0) > NOT_JUDGED:
        message = (
            f"{path.name} has the value {int(mask.max())}; a label image has 0, 1 and 2 (not judged) alone."
        )
        return None, _torn(case_id, message, kind="mask-values")
    if damage is not None and damage.remedy is None:
        message = f"{path.name} and its record come from two different saves, or another program changed it."
        return None, _torn(case_id, message)
    return mask, None


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
    """Tell whether the masks of a frame are not those that its record describes."""
    return any(fault.remedy in (Remedy.ROLL_BACK, Remedy.FLIP_BACK) for fault in _check_masks(study, record))


def _torn(case_id: str, message: str, kind: str = "torn") -> Fault:
    return Fault(
        kind=kind,
        id=case_id,
        message=message,
        advice="Repair to finish the save that was cut short, or to go back to the state before it.",
        remedy=Remedy.ROLL_BACK,
    )


def _bit_flip(case_id: str, path: Path, damage: Damage) -> Fault:
    harmless = damage.remedy is Remedy.REWRITE
    return Fault(
        kind="bit-flip",
        id=case_id,
        severity="warning" if harmless else "error",
        message=f"{path.name} {damage.reason}."
        if harmless
        else f"{path.name} {damage.reason}: its checksums tell which.",
        advice=f"Repair to {'write it anew' if harmless else 'set it right'}; {_LOOK_AFTER}",
        remedy=damage.remedy,
        path=path,
    )


class Remedy(Enum):
    """Act of repair; the value says it to the user."""

    COUNT = "count again"
    BREAK_LOCK = "break the lock"
    CLEAR_LOCK = "remove the lock that nobody holds"
    FINISH_SAVE = "finish the save or move the file to the revisions"
    PUT_AWAY = "move the later one to the revisions"
    RESTORE_RECORD = "go back to the last good state among the revisions"
    MOVE_IMAGE = "move the image"
    ROLL_BACK = "finish the save, or go back to the state before it"
    FLIP_BACK = "set the flipped bit right"
    LINE_ENDS = "turn the line ends back"
    REWRITE = "write the picture anew"
    RESTORE_READING = "finish the reading, or go back to the one before"
    SEAL = "add the checksum"
    GIT = "add the lines that git needs"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong with a training folder.

    Parameters
    ----------
    kind : str
        ``record``, ``image``, ``torn``, ``mask``, ``empty-mask``, ``orphan``, ``duplicate``,
        ``no-split``, …: ``docs/reference/training-folder.md`` lists them.
    message : str
        What is wrong, with the value.
    advice : str
        What to do.
    id : str, optional
        The frame.
    severity : str
        An ``error`` stops a training run; a ``warning`` is shown.
    remedy : Remedy, optional
        What :func:`napari_cln.folder.health.repair.repair` would do; ``None`` where only a person can.
    lock : LockOwner, optional
        Of a lock that may have been left behind.
    path : Path, optional
        The file, where it is not the frame's own record.
    """

    kind: str
    message: str
    advice: str
    id: str | None = None
    severity: Literal["error", "warning"] = "error"
    remedy: Remedy | None = None
    lock: LockOwner | None = None
    path: Path | None = None

    def __str__(self) -> str:
        return f"{self.message} {self.advice}"
