"""Every fault of a training folder by name, with what to do about it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct

from ...annotation import Case
from ...disk.atomic import MAX_JSON_BYTES, TEMPORARY, read_bytes
from ...disk.locks import held_locks
from ...disk.seals import OBJECT, Seal, checksum_holds
from ...errors import DatasetError, SplitError, counted, listed
from ...imaging.burned_in import can_read
from ..dataset import TrainingFolder
from ..description import Description, has_damaged_copy
from ..readers import reading_files
from ..record import SCHEMA, is_unknown
from ..screens import LOOK_AT_TEXT, unseen_screens
from ..split.deal import split
from ..split.frozen import MAX_BYTES as MAX_SEALED_BYTES
from ..split.frozen import SEAL, frozen_places, read_splits
from ..split.groups import check_groups, find_duplicates, group_cases, is_trainable, name_frames
from ..text import unread_frames, waiting_frames
from .case import Fault, Remedy, check_case, damage_of_text
from .summary import StudySummary, Tally

__all__ = ["StudyCheck", "check_study"]

Severity: TypeAlias = Literal["error", "warning"]
_NAMES = {
    "imagesTr": re.compile(r"([0-9a-f]{16})_\d{4}\.png"),  # an export has channels beside the grey image
    "imagesNoMask": re.compile(r"([0-9a-f]{16})_0000\.png"),
    "labelsTr": re.compile(r"([0-9a-f]{16})\.png"),
    "records": re.compile(
        r"([0-9a-f]{16})(?:\.[A-Za-z0-9_]+)?(?:\.nodes\.png|\.channel-[a-z]+\.png|\.json|\.png)"
    ),
}


class StudyCheck(Struct, frozen=True, kw_only=True):
    """Result of a check: the numbers of a study, and its faults, errors last."""

    summary: StudySummary
    faults: tuple[Fault, ...]


def check_study(folder: TrainingFolder | str | Path) -> StudyCheck:
    """Look at every file of a training folder: count what is there, and name what is wrong.

    Parameters
    ----------
    folder : TrainingFolder or path

    Returns
    -------
    StudyCheck
        Its faults are those that a training run would meet (errors), and those to know of (warnings).
        :func:`napari_cln.folder.health.repair.repair` mends those that have a ``remedy``.

    Raises
    ------
    DatasetError
        If it is no training folder at all.
    """
    study = folder if isinstance(folder, TrainingFolder) else TrainingFolder.open(folder)
    faults = [*_check_description(study), *_check_strokes(study), *_check_names(study)]
    cases: list[Case] = []
    tally = Tally()
    readings = reading_files(study)
    for case_id in study.ids():
        found = check_case(study, case_id, readings.get(case_id, ()))
        faults += found
        if any(fault.kind == "record" for fault in found):
            continue
        try:
            case = study.case(case_id)
        except DatasetError:
            continue  # removed or changed while we looked; the next check says
        cases.append(case)
        instances = None
        with suppress(DatasetError):
            instances = study.read_instances(case)
        tally.add(case, instances)
    faults += _check_study(study, cases)
    faults += _check_screens(study)
    in_order = sorted(faults, key=lambda fault: fault.severity == "error")
    return StudyCheck(summary=tally.summary(), faults=tuple(in_order))


def _check_screens(study: TrainingFolder) -> Iterator[Fault]:
    unseen = unseen_screens(study)
    if n_held := sum(map(len, unseen.values())):
        held = f"{counted(n_held, 'frame')} {'is' if n_held == 1 else 'are'}"
        yield Fault(
            kind="held",
            message=f"{held} held, neither trained on nor exported: nobody has looked at pictures of "
            f"{listed(unseen, 2)} for burned-in names and dates.",
            advice="Add --pictures DIR, look at what it writes, then give --seen-by READER.",
        )
    for case_id, text in waiting_frames(study).items():
        yield Fault(
            kind="text",
            id=case_id,
            message=f"Text was found on {case_id} in {counted(len(text.found), 'place')}: it is held, "
            "neither trained on nor exported, until somebody has looked.",
            advice=LOOK_AT_TEXT,
        )
    if can_read() and (unread := unread_frames(study)):
        yield Fault(
            kind="unread",
            severity="warning",
            message=f"The text on {counted(len(unread), 'frame')} was not read yet; exports wait for it.",
            advice="Add --text to have it read.",
        )


def _check_description(study: TrainingFolder) -> Iterator[Fault]:
    description = Description.read(study.layout.dataset)
    if study.dataset.read_only:
        yield Fault(
            kind="newer-schema",
            severity="warning",
            message=f"dataset.json has schema {description.ours.schema}, this version "
            f"knows {SCHEMA}: the folder is open for reading only.",
            advice="Update napari-cln.",
        )
    n_masks = study.layout.count_masks()
    if description.n_masks != n_masks:
        yield Fault(
            kind="count",
            message=f"dataset.json counts {counted(description.n_masks, 'mask')}, labelsTr has {n_masks}: "
            "nnU-Net will refuse the folder.",
            advice="Repair to count again.",
            remedy=Remedy.COUNT,
        )
    elif not study.dataset.read_only:
        yield from _check_seal(study.layout.dataset, OBJECT, "description")
        if damage_of_text(study.layout.dataset) is None and _is_unsealed(study.layout.dataset):
            yield Fault(
                kind="description",
                severity="warning",
                message="dataset.json carries no checksum, since an earlier version or another program wrote "
                "it: a flipped bit would not be noticed.",
                advice="Repair to add it.",
                remedy=Remedy.SEAL,
            )
        if has_damaged_copy(study.layout.dataset):
            yield Fault(
                kind="description",
                severity="warning",
                message="The private copy .cln/dataset.json is damaged: it could not mend dataset.json.",
                advice="Repair to write it anew.",
                remedy=Remedy.SEAL,
            )
    if wanted := study.layout.git_files():
        names = " and ".join(sorted({path.name for path in wanted}))
        yield Fault(
            kind="git",
            severity="warning",
            message=f"{names} lacks what git has to know of a training folder: git may turn line ends, or "
            "take locks along.",
            advice="Repair to add the lines.",
            remedy=Remedy.GIT,
        )
    for owner in held_locks(study.layout.locks):
        if owner.left:
            yield Fault(
                kind="lock",
                severity="warning",
                id=owner.name,
                message=f"The lock {owner.name} is held by nobody any more: a crash left it.",
                advice="The next save takes it over; repair to remove it now.",
                remedy=Remedy.CLEAR_LOCK,
            )
            continue
        yield Fault(
            kind="lock",
            severity="warning",
            id=owner.name,
            message=f"The lock {owner.name} is held by {owner}.",
            advice="Ask that reader. If the computer crashed or was switched off, break the lock.",
            remedy=Remedy.BREAK_LOCK,
            lock=owner,
        )


def _check_strokes(study: TrainingFolder) -> Iterator[Fault]:
    for sentence in study.autosave.damaged().values():
        yield Fault(
            kind="stroke",
            severity="warning",
            message=f"A stroke that was set aside can't be offered again. {sentence}",
            advice="Paint it again. Its two files, in .cln/autosave, can then be deleted.",
        )


def _is_unsealed(path: Path) -> bool:
    return checksum_holds(read_bytes(path, MAX_JSON_BYTES), anywhere=False) is None


def _check_seal(path: Path, seal: Seal, kind: str, severity: Severity = "warning") -> Iterator[Fault]:
    """A sealed file of the folder that is not as it was written."""
    data = read_bytes(path, MAX_SEALED_BYTES)
    if (damage := damage_of_text(path, seal)) is not None:
        turned = damage.remedy is Remedy.LINE_ENDS
        yield Fault(
            kind="line-ends" if turned else kind,
            severity="warning" if turned else severity,
            message=f"{path.name} {damage.reason}.",
            advice="Nothing is lost. Repair to turn them back."
            if turned
            else "Repair to set it right; then look after the disk.",
            remedy=damage.remedy,
            path=path,
        )
    elif checksum_holds(data, seal, anywhere=False) is False:
        yield Fault(
            kind=kind,
            severity=severity,
            message=f"{path.name} is not as it was written: its checksum differs.",
            advice="Restore it from git or a backup. If you changed it on purpose, remove its key checksum.",
        )


def _check_names(study: TrainingFolder) -> Iterator[Fault]:
    """Files that no record speaks of."""
    known = set(study.ids())
    for place in study.layout.shared:
        try:
            with os.scandir(place) as entries:
                found = sorted((entry.name, entry.is_symlink()) for entry in entries)
        except FileNotFoundError:  # an empty folder, after a clone by git
            continue
        for name, is_link in found:
            match = _NAMES[place.name].fullmatch(name)
            if name.startswith(TEMPORARY):
                continue  # a save that runs now, or one that the next start sweeps
            if match is None or is_link:
                yield Fault(
                    kind="foreign-file",
                    message=f"{place.name} holds {name}, which "
                    f"{'is a link' if is_link else 'is no file of a case'}.",
                    advice="Take it out of the folder. New frames come in by `napari-cln import` or "
                    "the Correct dock.",
                )
            elif match[1] not in known:
                yield Fault(
                    kind="orphan",
                    id=match[1],
                    message=f"{place.name}/{name} has no record: its save was cut short, or the record "
                    "was deleted.",
                    advice="Repair to finish the save, or else to move the file to the revisions.",
                    remedy=Remedy.FINISH_SAVE,
                )


def _check_study(study: TrainingFolder, cases: list[Case]) -> Iterator[Fault]:
    """Faults of the frames together: equal pixels, patients, classes, the split."""
    trainable = [case for case in cases if is_trainable(case)]
    doubled: set[str] = set()
    for members in find_duplicates(cases):
        later = sorted(members, key=lambda case: _first_saved(study, case))[1:]
        doubled |= {case.id for case in later}
        whose = {case.patient for case in members}
        for case in later:
            yield Fault(
                kind="duplicate",
                id=case.id,
                message=f"{name_frames(members)} have the same pixels"
                + (f" under {len(whose)} patients." if len(whose) > 1 else "."),
                advice="Keep one: a frame twice counts twice, and can lie on both sides of a split.",
                remedy=Remedy.PUT_AWAY,
            )
    single = [case for case in trainable if case.id not in doubled]
    try:
        groups = check_groups(single)
    except SplitError as cause:
        # A folder of test frames alone, or a new one, is nothing to mend.
        nothing = all(case.split == "test" for case in single)
        severity: Severity = "warning" if nothing else "error"
        yield Fault(kind="no-split", severity=severity, message=cause.message, advice=cause.advice)
        return
    yield from _check_shares(single)
    sealed = list(_check_splits_seal(study))
    yield from sealed
    if any(fault.severity == "error" for fault in sealed):
        return
    try:
        if kept := read_splits(study.layout.splits):
            frozen = frozen_places(kept)
            if gone := sorted(
                {name for fold in kept for key in ("train", "val") for name in fold[key]} - set(study.ids())
            ):
                yield Fault(
                    kind="split",
                    severity="warning",
                    message=f"splits_final.json names {counted(len(gone), 'frame')} not in the folder, "
                    f"{gone[0]} first.",
                    advice="The next training run leaves them out.",
                )
            split([case for group in groups for case in group.cases], len(kept), frozen=frozen)
    except SplitError as cause:
        yield Fault(kind="split", message=cause.message, advice=cause.advice)


def _check_splits_seal(study: TrainingFolder) -> Iterator[Fault]:
    path = study.layout.splits
    with suppress(OSError, DatasetError):  # a file that can't be read is named when it is
        yield from _check_seal(path, SEAL, "split", "error")


def _first_saved(study: TrainingFolder, case: Case) -> tuple[str, str]:
    history = study.record(case.id).history
    return (f"{history[0].t:%Y-%m-%dT%H:%M:%S}" if history else "", case.id)


def _check_shares(cases: list[Case]) -> Iterator[Fault]:
    unknown = [case for case in cases if is_unknown(case.patient)]
    if unknown:
        yield Fault(
            kind="patient-unknown",
            severity="warning",
            message=f"The patient of {len(unknown)} of {counted(len(cases), 'frame')} is not known: each "
            "frame or cine counts as a patient of its own.",
            advice="If some are of one patient, the validation flatters. Import them with a patient column.",
        )
    for truth in ("benign", "metastatic"):
        groups = [group for group in group_cases(cases) if group.truth == truth]
        if len(groups) == 1:
            yield Fault(
                kind="class-of-one",
                severity="warning",
                message=f"Only one patient has {truth} nodes: folds without that patient can't validate "
                "the class.",
                advice="Add frames of another patient with that class before you trust a score.",
            )
