"""Mend what can be mended without guessing; nothing is deleted, former files go to the revisions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from ... import __version__
from ...disk.atomic import TEMPORARY, sync_folder, write_atomically
from ...disk.locks import break_lock, lock
from ...disk.user import config_folder
from ...errors import DatasetError
from ..commits import commit, move_image
from ..description import Description
from ..layout import Layout
from ..pictures import Masks, encode_png, hashes_of, label_of, read_png
from ..record import HistoryEntry, Record, decode_record, hash_pixels, now, read_salt, salt_fingerprint
from .case import is_torn, mended_text
from .fault import Fault, Remedy

if TYPE_CHECKING:
    from ..dataset import TrainingFolder

__all__ = ["repair", "repair_description"]

WHO = "repair"


def repair(study: TrainingFolder, fault: Fault, *, confirmed: bool = False) -> str:
    """Mend a fault as its ``remedy`` says.

    Parameters
    ----------
    study : TrainingFolder
    fault : Fault
        From :func:`napari_cln.folder.health.check.check`.
    confirmed : bool
        That a person has seen the owner of a lock and wants it broken.

    Returns
    -------
    str
        What was done, in a sentence.

    Raises
    ------
    DatasetError
        If the fault has no remedy, the folder is open for reading only, or a lock was not confirmed.
    """
    if fault.remedy is None or study.read_only:
        raise DatasetError(f"{fault.message} It can't be mended by itself.", fault.advice)
    try:
        if fault.remedy is Remedy.COUNT:
            study.recount()
            return "The masks were counted again."
        if fault.remedy is Remedy.BREAK_LOCK and fault.lock is not None:
            break_lock(study.layout.locks, fault.lock, confirmed=confirmed)
            return f"The lock {fault.lock.name} of {fault.lock} was broken."
        case_id = str(fault.id)
        if fault.remedy is Remedy.CLEAR_LOCK:
            with lock(study.layout.locks, case_id, WHO):
                return f"The lock {case_id} was left by a crash and is removed."
        with lock(study.layout.locks, case_id, WHO):
            done = _mend_case(study, fault, case_id)
        study.recount()
    except OSError as cause:
        raise study.refused(cause) from cause
    return done


def _mend_case(study: TrainingFolder, fault: Fault, case_id: str) -> str:
    layout = study.layout
    match fault.remedy:
        case Remedy.PUT_AWAY:
            _put_away(layout, case_id)
            return f"{case_id} was moved to the revisions."
        case Remedy.MOVE_IMAGE:
            move_image(layout, case_id, study.record(case_id).has_mask)
            return f"The image of {case_id} was moved."
        case Remedy.FLIP_BACK:
            path = fault.path or layout.record(case_id)
            if (text := mended_text(path)) is None:
                raise DatasetError(f"{path.name} has changed meanwhile.", "Check the folder again.")
            write_atomically(path, text)
            return f"The flipped bit of {path.name} was set right."
        case Remedy.REWRITE if fault.path is not None:
            write_atomically(fault.path, encode_png(read_png(fault.path)))
            return f"{fault.path.name} was written anew, with the same pixels."
    if _finish(study, case_id):
        return f"The save of {case_id} that was cut short is finished."
    if not layout.record(case_id).exists():
        _put_away(layout, case_id)
        return f"The files of {case_id} have no record and were moved to the revisions."
    if fault.remedy is Remedy.RESTORE_RECORD:
        return _restore_record(study, case_id)
    return _restore_masks(study, case_id)


def _finish(study: TrainingFolder, case_id: str) -> bool:
    """Put a staged record in place whose masks are there already: the crash came just before."""
    goal = study.layout.record(case_id)
    for staged in sorted(study.layout.records.glob(f"{TEMPORARY}{goal.name}-*")):
        try:
            record = decode_record(staged.read_bytes(), staged.name)
        except DatasetError:
            continue
        newer = record.id == case_id and record.revision > _revision(goal)
        if newer and not is_torn(study, record):
            move_image(study.layout, case_id, record.has_mask)
            staged.replace(goal)
            sync_folder(goal.parent)
            return True
    return False


def _revision(path: Path) -> int:
    try:
        return decode_record(path.read_bytes(), path.name).revision
    except (OSError, DatasetError):
        return 0


def _restore_record(study: TrainingFolder, case_id: str) -> str:
    """Go back to the newest good record among the revisions, by number: clocks jump."""
    layout = study.layout
    good = study.revisions(case_id)
    if not good:
        _put_away(layout, case_id)
        return f"The record of {case_id} has no good former state; its files were moved to the revisions."
    record = good[-1]
    masks = _masks_like(layout, record)
    _put_away_file(layout, layout.record(case_id))
    _commit(study, record, masks)
    return f"{case_id} is back at revision {record.revision}."


def _restore_masks(study: TrainingFolder, case_id: str) -> str:
    """Go back to the masks that the record describes, else leave the frame without any."""
    layout = study.layout
    record = study.record(case_id)
    masks = _masks_like(layout, record)
    for path in (layout.mask(case_id), layout.instances(case_id)):
        _put_away_file(layout, path)
    _commit(study, record, masks)
    if masks is None:
        return f"The masks of {case_id} can't be restored; the frame waits for a new one."
    return f"{case_id} has the masks again that its record describes."


def _masks_like(layout: Layout, record: Record) -> Masks | None:
    """The masks that a record describes, from wherever they are whole; ``None`` if they are lost."""
    case_id = record.id
    found = {hash_pixels(pixels): pixels for pixels in _pictures(layout, case_id)}
    instances = found.get(record.instances_sha256 or "")
    if record.instances_sha256 and instances is None:
        return None
    label = found.get(record.mask_sha256 or "")
    if record.has_mask and label is None and instances is not None:
        # The label follows from the ids and the nodes' statuses.
        label = label_of(instances, (entry.node for entry in record.nodes))
    if record.has_mask and label is None:
        return None
    return Masks(label=label if record.has_mask else None, instances=instances)


def _pictures(layout: Layout, case_id: str) -> Iterator[NDArray[np.uint8]]:
    kept = sorted((layout.revisions / case_id).glob("*.png"))
    for path in (layout.mask(case_id), layout.instances(case_id), *kept):
        try:
            yield read_png(path)
        except DatasetError:
            continue


def _commit(study: TrainingFolder, record: Record, masks: Masks | None) -> None:
    """Write a restored state; a frame whose masks are lost waits for a reader again."""
    last = HistoryEntry(t=now(), who=WHO, app=f"napari-cln {__version__}", action="repaired")
    record = msgspec.structs.replace(
        record,
        **hashes_of(masks or Masks(label=None, instances=None)),
        revision=record.revision + 1,
        status=record.status if masks else "predicted",
        history=(*record.history, last),
    )
    move_image(study.layout, record.id, record.has_mask)
    commit(study.layout, record, masks or Masks(label=None, instances=None), image=None, former=None)


def _put_away(layout: Layout, case_id: str) -> None:
    """Move every file of a frame to its revisions; the record goes first, so that no torn set shows."""
    for path in (
        layout.record(case_id),
        layout.instances(case_id),
        layout.mask(case_id),
        layout.image(case_id, True),
        layout.image(case_id, False),
    ):
        _put_away_file(layout, path)


def _put_away_file(layout: Layout, path: Path) -> None:
    if not path.exists():
        return
    folder = layout.revisions / path.name[:16]
    folder.mkdir(parents=True, exist_ok=True)
    stem, number = f"{now():%Y%m%dT%H%M%SZ}-{WHO}", 1
    while (goal := folder / f"{stem}-{number}.{path.parent.name}.{path.name[17:]}").exists():
        number += 1
    path.replace(goal)
    sync_folder(folder)
    sync_folder(path.parent)


def repair_description(root: Path) -> str:
    """Make the ``dataset.json`` of a training folder anew where it is missing or damaged.

    Parameters
    ----------
    root : Path
        The training folder.

    Returns
    -------
    str
        What was done, and what was lost: who has looked at the pictures.

    Raises
    ------
    DatasetError
        If it is no training folder, its dataset.json is whole, or the disk refuses.
    """
    layout = Layout(root)
    try:
        Description.read(layout.dataset)
    except DatasetError:
        if not layout.records.is_dir() or not any(layout.records.glob("*.json")):
            raise
    else:
        raise DatasetError(f"The dataset.json of {root.name} is whole.", "There is nothing to mend.")
    description = Description.new(salt_fingerprint(read_salt()))
    labels = list(layout.labels.glob("*.png")) if layout.labels.is_dir() else []
    unjudged = any((read_png(path) > 1).any() for path in labels)
    description = msgspec.structs.replace(description, n_masks=len(labels), has_unjudged=unjudged)
    try:
        if layout.dataset.exists():
            layout.dataset.replace(layout.dataset.with_name("dataset.damaged.json"))
        description.write(layout.dataset)
    except OSError as cause:
        raise DatasetError(
            f"The dataset.json of {root.name} can't be written ({cause.strerror}).",
            "Free some space, or make the folder writable.",
        ) from cause
    return (
        f"dataset.json was made anew, for the patients' salt in {config_folder().name} on this computer. Who "
        "has looked at the pictures for names is not known any more: look again."
    )
