"""Mend what can be mended without guessing; nothing is deleted, former files go to the revisions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from ... import __version__
from ...disk.atomic import TEMPORARY, keep_former, read_bytes, sync_folder, write_atomically
from ...disk.locks import break_lock, lock
from ...disk.seals import OBJECT, Seal
from ...disk.user import config_folder, read_salt, salt_fingerprint
from ...errors import ClnError, DatasetError
from ...types import NOT_JUDGED
from ..commits import commit, move_image
from ..dataset import MAX_RECORD_BYTES, TrainingFolder
from ..description import Description, is_foreign, others_of, salvage
from ..layout import Layout
from ..pictures import encode_png, hash_pixels, read_png
from ..readers import restore_reading
from ..record import (
    SCHEMA,
    HistoryEntry,
    Record,
    decode_record,
    now,
)
from ..split.frozen import SEAL
from ..state import Masks, State, hashes_of, label_of
from .case import Fault, Remedy, is_torn, mended_picture, mended_text
from .check import check_study

WHO = "repair"
ROUNDS = 4
"""A record that is whole again lets its masks be looked at, and so on; four rounds reach the end."""


def repair_all(study: TrainingFolder) -> Iterator[str]:
    """Mend all that can be mended without asking anybody, until nothing more can be.

    Parameters
    ----------
    study : TrainingFolder

    Yields
    ------
    str
        A sentence for each fault: what was done, or why it could not be.
    """
    tried: set[tuple[str, str | None, str]] = set()
    for _ in range(ROUNDS):
        faults = [fault for fault in check_study(study).faults if fault.remedy and fault.lock is None]
        new = [fault for fault in faults if (fault.kind, fault.id, fault.message) not in tried]
        if not new:
            return
        for fault in new:
            tried.add((fault.kind, fault.id, fault.message))
            try:
                done = repair(study, fault)
            except ClnError as cause:
                done = f"not mended: {cause}"
            yield f"{fault.id or 'folder'}: {done}"


def repair(study: TrainingFolder, fault: Fault, *, confirmed: bool = False) -> str:
    """Mend a fault as its ``remedy`` says.

    Parameters
    ----------
    study : TrainingFolder
    fault : Fault
        From :func:`napari_cln.folder.health.check.check_study`.
    confirmed : bool
        That a person has seen the owner of a lock and wants it broken.

    Returns
    -------
    str
        What was done, in a sentence.

    Raises
    ------
    DatasetError
        If the fault has no remedy, the folder is open for reading only or can't be written to, or a lock
        was not confirmed.
    """
    if fault.remedy is None or study.dataset.read_only:
        raise DatasetError(f"{fault.message} It can't be mended by itself.", fault.advice)
    try:
        if fault.id is None or fault.remedy in (Remedy.BREAK_LOCK, Remedy.CLEAR_LOCK):
            return _mend_folder(study, fault, confirmed=confirmed)
        with lock(study.layout.locks, fault.id, WHO):
            done = _mend_case(study, fault, fault.id)
        study.dataset.recount()
    except OSError as cause:
        raise study.dataset.refused(cause) from cause
    return done


def _mend_folder(study: TrainingFolder, fault: Fault, *, confirmed: bool) -> str:
    """Mend what concerns no single frame."""
    layout, name = study.layout, str(fault.id)
    match fault.remedy:
        case Remedy.COUNT:
            study.dataset.recount()
            return "The masks were counted again."
        case Remedy.BREAK_LOCK if fault.lock is not None:
            break_lock(layout.locks, fault.lock, confirmed=confirmed)
            return f"The lock {fault.lock.name} of {fault.lock} was broken."
        case Remedy.CLEAR_LOCK:
            with lock(layout.locks, name, WHO):
                return f"The lock {name} was left by a crash and is removed."
        case Remedy.GIT:
            for path, text in layout.git_files().items():
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, text.encode("utf-8", "surrogateescape"))
            return "The lines that git needs were added."
        case Remedy.SEAL:
            with lock(layout.locks, "dataset", WHO):
                Description.read(layout.dataset).write(layout.dataset)
            return "dataset.json has its checksum, and its private copy is whole."
        case Remedy.FLIP_BACK | Remedy.LINE_ENDS if fault.path is not None:
            with lock(layout.locks, "splits" if fault.path == layout.splits else "dataset", WHO):
                return _set_right(fault.path, SEAL if fault.path == layout.splits else OBJECT)
    raise DatasetError(f"{fault.message} It can't be mended by itself.", fault.advice)


def _set_right(path: Path, seal: Seal = OBJECT) -> str:
    """Write a file again as it was before a bit was flipped, or its line ends were turned."""
    is_picture = path.name.endswith((".png", ".png.reading"))
    data = mended_picture(path) if is_picture else mended_text(path, seal)
    if data is None:
        raise DatasetError(f"{path.name} has changed meanwhile.", "Check the folder again.")
    write_atomically(path, data)
    return f"{path.name} is again as it was written."


def _mend_case(study: TrainingFolder, fault: Fault, case_id: str) -> str:
    layout = study.layout
    match fault.remedy:
        case Remedy.PUT_AWAY:
            _put_away(layout, case_id)
            return f"{case_id} was moved to the revisions."
        case Remedy.MOVE_IMAGE:
            move_image(layout, case_id, study.record(case_id).has_mask)
            return f"The image of {case_id} was moved."
        case Remedy.FLIP_BACK | Remedy.LINE_ENDS:
            return _set_right(fault.path or layout.record(case_id))
        case Remedy.REWRITE if fault.path is not None:
            write_atomically(fault.path, encode_png(read_png(fault.path)))
            return f"{fault.path.name} was written anew, with the same pixels."
        case Remedy.RESTORE_READING if fault.path is not None:
            return _restore_reading(study, case_id, fault.path)
    if _finish(study, case_id):
        return f"The save of {case_id} that was cut short is finished."
    if not layout.record(case_id).exists():
        _put_away(layout, case_id)
        return f"The files of {case_id} have no record and were moved to the revisions."
    if fault.remedy is Remedy.RESTORE_RECORD:
        return _restore_record(study, case_id)
    return _restore_masks(study, case_id)


def _restore_reading(study: TrainingFolder, case_id: str, path: Path) -> str:
    reader = path.name[17:].partition(".")[0]
    if done := restore_reading(study, case_id, reader):
        return done
    for ending in (".json", ".png"):
        _put_away_file(study.layout, study.layout.records / f"{case_id}.{reader}{ending}")
    return (
        f"The reading of {case_id} by {reader} can't be restored and was moved to the revisions. Ask "
        f"{reader} to read the frame again."
    )


def _finish(study: TrainingFolder, case_id: str) -> bool:
    """Put a staged record in place whose masks are there already: the crash came just before."""
    goal = study.layout.record(case_id)
    for staged in sorted(study.layout.records.glob(f"{TEMPORARY}{goal.name}-*")):
        try:
            record = decode_record(read_bytes(staged, MAX_RECORD_BYTES), staged.name)
        except (OSError, DatasetError):
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
        return decode_record(read_bytes(path, MAX_RECORD_BYTES), path.name).revision
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
    for path in (layout.record(case_id), layout.mask(case_id), layout.instances(case_id)):
        _keep_copy(layout, path)
    _commit(study, record, masks)
    return f"{case_id} is back at revision {record.revision}."


def _restore_masks(study: TrainingFolder, case_id: str) -> str:
    """Go back to the masks that the record describes, else leave the frame without any."""
    layout = study.layout
    record = study.record(case_id)
    masks = _masks_like(layout, record)
    for path in (layout.record(case_id), layout.mask(case_id), layout.instances(case_id)):
        _keep_copy(layout, path)
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
    restored = masks or Masks(label=None, instances=None)
    record = msgspec.structs.replace(
        record,
        **hashes_of(restored),
        revision=record.revision + 1,
        status=record.status if masks else "predicted",
        history=(*record.history, last),
    )
    move_image(study.layout, record.id, record.has_mask)
    commit(study.layout, State(record=record, masks=restored))


def _put_away(layout: Layout, case_id: str) -> None:
    """Move every file of a frame to its revisions; the record goes first, so that no torn set shows."""
    readings = sorted(layout.records.glob(f"{case_id}.*"))
    for path in (
        layout.record(case_id),
        *readings,
        layout.mask(case_id),
        layout.image(case_id, True),
        layout.image(case_id, False),
    ):
        _put_away_file(layout, path)


def _put_away_file(layout: Layout, path: Path) -> None:
    if path.is_symlink() or path.exists():
        goal = _place_aside(layout, path)
        path.replace(goal)
        sync_folder(goal.parent)
        sync_folder(path.parent)


def _keep_copy(layout: Layout, path: Path) -> None:
    """Keep a file among the revisions that is about to be replaced; it stays in its place until then."""
    if path.is_file() and not path.is_symlink():
        goal = _place_aside(layout, path)
        keep_former(path, goal)
        sync_folder(goal.parent)
    else:
        _put_away_file(layout, path)


def _place_aside(layout: Layout, path: Path) -> Path:
    folder = layout.revisions / path.name[:16]
    folder.mkdir(parents=True, exist_ok=True)
    stem, number = f"{now():%Y%m%dT%H%M%SZ}-{WHO}", 1
    while (goal := folder / f"{stem}-{number}.{path.parent.name}.{path.name[17:]}").exists():
        number += 1
    return goal


def repair_description(root: Path) -> str:
    """Make the ``dataset.json`` of a training folder anew where it is missing or damaged.

    What is ours in it comes from its private copy, else from what is left of its text; what is lost is said.

    Parameters
    ----------
    root : Path
        The training folder.

    Returns
    -------
    str
        What was done, and what was lost.

    Raises
    ------
    DatasetError
        If it is no training folder, its dataset.json is whole, or the disk refuses.
    """
    layout = Layout(root)
    try:
        Description.read(layout.dataset)
    except DatasetError:
        if not layout.records.is_dir() or is_foreign(layout.dataset):
            raise
    else:
        raise DatasetError(f"The dataset.json of {root.name} is whole.", "There is nothing to mend.")
    try:
        return _describe(layout)
    except OSError as cause:
        raise DatasetError(
            f"The dataset.json of {root.name} can't be written ({cause.strerror}).",
            "Free some space, or make the folder writable.",
        ) from cause


def _describe(layout: Layout) -> str:
    own = salt_fingerprint(read_salt())
    known = salvage(layout.dataset)
    if known is not None and known.schema > SCHEMA:
        raise DatasetError(
            f"The dataset.json of {layout.root.name} is damaged, and a newer napari-cln wrote it (schema "
            f"{known.schema}).",
            "Update napari-cln.",
        )
    description = Description.new(own)
    if known is not None:
        description = msgspec.structs.replace(
            description, ours=msgspec.structs.replace(known, salt=known.salt or own)
        )
    description = msgspec.structs.replace(
        description,
        n_masks=layout.count_masks(),
        has_unjudged=_has_unjudged(layout),
        others=others_of(layout.dataset),
    )
    layout.make()
    with lock(layout.locks, "dataset", WHO):
        if layout.dataset.exists():
            keep_former(layout.dataset, _free_name(layout.dataset.with_name("dataset.damaged.json")))
        description.write(layout.dataset)
    return " ".join(
        ("dataset.json was made anew.", *_lost(description, known is not None and known.salt, own))
    )


def _lost(description: Description, salt_known: object, own: str) -> Iterator[str]:
    """Sentences about what a description that was made anew has lost."""
    if not salt_known:
        yield (
            f"With which salt the patients' keys were made is not known: that in {config_folder().name} on "
            "this computer is taken for it. If the folder is from another computer, restore dataset.json "
            "instead."
        )
    elif description.ours.salt != own:
        yield "The patients' keys were made with another salt than this computer's, as before."
    if not description.ours.screens:
        yield "Who has looked at the pictures for names is not known: look again."
    if not (description.ours.screens or description.ours.left_out):
        yield "Nor is it known which frames were left out: an import may bring them again."


def _has_unjudged(layout: Layout) -> bool:
    """Tell whether any label that can be read has pixels that nobody judged."""
    for path in sorted(layout.labels.glob("*.png")):
        with suppress(DatasetError):  # a fault of its own, which `check` names
            if (read_png(path) == NOT_JUDGED).any():
                return True
    return False


def _free_name(path: Path) -> Path:
    goal, number = path, 2
    while goal.exists():
        goal, number = path.with_name(f"{path.stem}-{number}{path.suffix}"), number + 1
    return goal
