"""Mend what can be mended without guessing; nothing is deleted, former files go to the revisions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ... import __version__
from ...disk.atomic import TEMPORARY, read_json, sync_folder
from ...disk.locks import break_lock, lock
from ...errors import DatasetError
from ..commits import commit, hashes_of, move_image
from ..keys import hash_pixels
from ..layout import Layout
from ..masks import Masks
from ..pictures import read_png
from ..records import LABELLED, Record, checked_record, has_mask, nodes_of, now
from .case import is_torn
from .fault import Fault

if TYPE_CHECKING:
    from ..dataset import TrainingFolder

__all__ = ["repair"]

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
        raise DatasetError(f"{fault.message} It can't be mended by itself. {fault.advice}")
    if fault.kind == "count":
        study.recount()
        return "The masks were counted again."
    if fault.kind == "lock" and fault.lock is not None:
        break_lock(study.layout.locks, fault.lock, confirmed=confirmed)
        return f"The lock {fault.lock.name} of {fault.lock} was broken."
    case_id = str(fault.id)
    with lock(study.layout.locks, case_id, WHO):
        done = _mend_case(study, fault, case_id)
    study.recount()
    return done


def _mend_case(study: TrainingFolder, fault: Fault, case_id: str) -> str:
    layout = study.layout
    if fault.kind == "duplicate":
        _put_away(layout, case_id)
        return f"{case_id} was moved to the revisions."
    if fault.kind == "image-place":
        move_image(layout, case_id, has_mask(study.record(case_id)))
        return f"The image of {case_id} was moved."
    if _finish(study, case_id):
        return f"The save of {case_id} that was cut short is finished."
    if not layout.record(case_id).exists():
        _put_away(layout, case_id)
        return f"The files of {case_id} have no record and were moved to the revisions."
    if fault.kind == "record":
        return _restore_record(study, case_id)
    return _restore_masks(study, case_id)


def _finish(study: TrainingFolder, case_id: str) -> bool:
    """Put a staged record in place whose masks are there already: the crash came just before."""
    goal = study.layout.record(case_id)
    for staged in sorted(study.layout.records.glob(f"{TEMPORARY}{goal.name}-*")):
        try:
            record = checked_record(read_json(staged), case_id)
        except DatasetError:
            continue
        newer = not goal.exists() or record["revision"] > _revision(goal, case_id)
        if newer and not is_torn(study, record):
            move_image(study.layout, case_id, has_mask(record))
            staged.replace(goal)
            sync_folder(goal.parent)
            return True
    return False


def _revision(path: Path, case_id: str) -> int:
    try:
        return int(checked_record(read_json(path), case_id)["revision"])
    except DatasetError:
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
    return f"{case_id} is back at revision {record['revision']}."


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
    case_id = record["id"]
    found = {hash_pixels(pixels): pixels for pixels in _pictures(layout, case_id)}
    instances = found.get(record.get("instances_sha256") or "")
    if record.get("instances_sha256") and instances is None:
        return None
    label = found.get(record.get("mask_sha256") or "")
    if has_mask(record) and label is None and instances is not None:
        # The label follows from the ids and the nodes' statuses.
        labelled = [node.id for node in nodes_of(record) if node.status in LABELLED]
        label = np.isin(instances, labelled).astype(np.uint8)
    if has_mask(record) and label is None:
        return None
    return Masks(label=label if has_mask(record) else None, instances=instances)


def _pictures(layout: Layout, case_id: str) -> Iterator[NDArray[np.uint8]]:
    kept = sorted((layout.revisions / case_id).glob("*.png"))
    for path in (layout.mask(case_id), layout.instances(case_id), *kept):
        try:
            yield read_png(path)
        except DatasetError:
            continue


def _commit(study: TrainingFolder, record: Record, masks: Masks | None) -> None:
    """Write a restored state; a frame whose masks are lost waits for a reader again."""
    last = {"t": now(), "who": WHO, "app": f"napari-cln {__version__}", "action": "repaired"}
    status = record["status"] if masks else "predicted"
    masks = masks or Masks(label=None, instances=None)
    record = {**record, **hashes_of(masks), "revision": record["revision"] + 1, "status": status}
    record["history"] = [*record["history"], last]
    move_image(study.layout, record["id"], has_mask(record))
    commit(study.layout, record, masks, image=None, former=None)


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
    stem, number = f"{now().replace('-', '').replace(':', '')}-{WHO}", 1
    while (goal := folder / f"{stem}-{number}.{path.parent.name}.{path.name[17:]}").exists():
        number += 1
    path.replace(goal)
    sync_folder(folder)
    sync_folder(path.parent)
