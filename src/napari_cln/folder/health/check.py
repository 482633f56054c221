"""Every fault of a training folder by name, with what to do about it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ...disk.atomic import TEMPORARY, read_json
from ...disk.locks import held_locks
from ...errors import SplitError
from ...types import Case
from ..dataset import TrainingFolder
from ..records import SCHEMA
from ..split.deal import split
from ..split.frozen import frozen_places, read_splits
from ..split.groups import check_groups, find_duplicates, group_cases, is_trainable, name_frames
from .case import check_case
from .fault import Fault

__all__ = ["Fault", "check"]

_NAMES = {
    "imagesTr": re.compile(r"([0-9a-f]{16})_0000\.png"),
    "imagesNoMask": re.compile(r"([0-9a-f]{16})_0000\.png"),
    "labelsTr": re.compile(r"([0-9a-f]{16})\.png"),
    "records": re.compile(r"([0-9a-f]{16})(?:\.[A-Za-z0-9_]+)?(?:\.nodes\.png|\.json|\.png)"),
}


def check(folder: TrainingFolder | str | Path) -> list[Fault]:
    """Look at every file of a training folder and name what is wrong.

    Parameters
    ----------
    folder : TrainingFolder or path

    Returns
    -------
    list of Fault
        Errors first; empty for a sound folder. :func:`napari_cln.folder.health.repair.repair` mends
        those that have a ``remedy``.

    Raises
    ------
    DatasetError
        If it is no training folder at all.
    """
    study = folder if isinstance(folder, TrainingFolder) else TrainingFolder.open(folder)
    faults = [*_check_description(study), *_check_names(study)]
    cases: list[Case] = []
    for case_id in study.ids():
        found = check_case(study, case_id)
        faults += found
        if not any(fault.kind == "record" for fault in found):
            cases.append(study.case(case_id))
    faults += _check_study(study, cases)
    return sorted(faults, key=lambda fault: fault.severity != "error")


def _check_description(study: TrainingFolder) -> Iterator[Fault]:
    description = read_json(study.layout.dataset)
    if study.read_only:
        yield Fault(
            kind="newer-schema",
            severity="warning",
            message=f"dataset.json has schema {description['x_napari_cln']['schema']}, this version "
            f"knows {SCHEMA}: "
            "the folder is open for reading only.",
            advice="Update napari-cln.",
        )
    labels = sum(1 for path in study.layout.labels.glob("*.png") if not path.name.startswith("."))
    if description.get("numTraining") != labels:
        yield Fault(
            kind="count",
            message=f"dataset.json counts {description.get('numTraining')} masks, labelsTr has {labels}: "
            "nnU-Net will refuse the folder.",
            advice="Repair to count again.",
            remedy="count again",
        )
    for owner in held_locks(study.layout.locks):
        yield Fault(
            kind="lock",
            severity="warning",
            id=owner.name,
            message=f"The lock {owner.name} is held by {owner}.",
            advice="Ask that reader. If the computer crashed or was switched off, break the lock.",
            remedy="break the lock",
            lock=owner,
        )


def _check_names(study: TrainingFolder) -> Iterator[Fault]:
    """Files that no record speaks of."""
    known = set(study.ids())
    for place in study.layout.shared:
        with os.scandir(place) as entries:
            found = sorted((entry.name, entry.is_symlink()) for entry in entries)
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
                    remedy="finish the save or move the file to the revisions",
                )


def _check_study(study: TrainingFolder, cases: list[Case]) -> Iterator[Fault]:
    """What is wrong with the frames together: equal pixels, patients, classes, the split."""
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
                remedy="move the later one to the revisions",
            )
    single = [case for case in trainable if case.id not in doubled]
    try:
        groups = check_groups(single)
    except SplitError as cause:
        message, _, advice = str(cause).partition(". ")
        yield Fault(kind="no-split", message=message + ".", advice=advice)
        return
    yield from _check_shares(single)
    try:
        if kept := read_splits(study.layout.splits):
            frozen = frozen_places(kept)
            if gone := sorted(
                {name for fold in kept for key in ("train", "val") for name in fold[key]} - set(study.ids())
            ):
                yield Fault(
                    kind="split",
                    severity="warning",
                    message=f"splits_final.json names {len(gone)} frames that are not in the folder, "
                    f"{gone[0]} first.",
                    advice="The next training run leaves them out.",
                )
            split([case for group in groups for case in group.cases], len(kept), frozen=frozen)
    except SplitError as cause:
        message, _, advice = str(cause).partition(". ")
        yield Fault(kind="split", message=message + ".", advice=advice)


def _first_saved(study: TrainingFolder, case: Case) -> tuple[str, str]:
    history = study.record(case.id)["history"]
    return (str(history[0]["t"]) if history else "", case.id)


def _check_shares(cases: list[Case]) -> Iterator[Fault]:
    unknown = [case for case in cases if case.patient.startswith("unknown-")]
    if unknown:
        yield Fault(
            kind="patient-unknown",
            severity="warning",
            message=f"The patient of {len(unknown)} of {len(cases)} frames is not known: each frame or "
            "cine counts "
            "as a patient of its own.",
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
