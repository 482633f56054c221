"""Folds by patient, balanced by class; or by hospital.

A patient's frames, and the frames of a cine, lie on one side of every fold: a network that has
seen a patient's other frame would not be tested on a new one. :mod:`napari_cln.folder.split.frozen`
keeps the folds on disk.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...annotation import Case
from ...errors import SplitError, counted
from .groups import Group, check_groups, name_frames

__all__ = ["Fold", "hospital_folds", "split"]

FOLDS = 5
TRAIN_ONLY = -1
"""Place of a patient that the authors of a data set put on the training side."""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Ids of the cases to train on and to validate on; no patient is on both sides.

    Parameters
    ----------
    train, validation : tuple of str
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]


def split(
    cases: Iterable[Case], folds: int = FOLDS, seed: int = 0, *, frozen: Mapping[str, int] | None = None
) -> list[Fold]:
    """Divide cases into folds by patient, with equal shares of each class.

    Frames that a data set's authors put aside for testing are in no fold.

    Parameters
    ----------
    cases : iterable of Case
    folds : int
        How many; every case is on the validation side of exactly one. ``1`` gives the authors'
        own training and validation sides where the data set came with them, else the first of
        five folds (of fewer, where there are fewer patients).
    seed : int
        Of the order in which patients are dealt.
    frozen : mapping of str to int, optional
        The fold in which a patient, or a case by its id, is validated already.

    Returns
    -------
    list of Fold

    Raises
    ------
    SplitError
        If there is one patient or one class, more folds than patients, the same pixels twice, or
        a patient on both sides; the message lists the frames and says what to do.
    """
    groups = check_groups(cases)
    frozen = frozen or {}
    places = _frozen_places(groups, frozen)
    if folds == 1 and (TRAIN_ONLY in frozen.values() or (not frozen and _have_sides(groups))):
        for group in groups:
            places.setdefault(group.name, 0 if _validates(group) else TRAIN_ONLY)
        return [_fold(groups, places, 0)]
    if folds < 1 or (folds > len(groups) and not frozen):
        raise SplitError(
            f"{counted(len(groups), 'patient')} can't make {folds} folds.",
            f"Ask for 1 to {len(groups)}, or add patients.",
        )
    _deal(groups, places, folds if folds > 1 else min(FOLDS, len(groups)), seed)
    return [_fold(groups, places, i) for i in range(folds)]


def _validates(group: Group) -> bool:
    if {"train", "validation"} <= group.sides:
        raise SplitError(
            f"Patient {group.name} is on the training side and on the validation side: "
            f"{name_frames(group.cases)}.",
            "Put all of a patient's frames on one side and import them again.",
        )
    return "validation" in group.sides


def _have_sides(groups: list[Group]) -> bool:
    return {"train", "validation"} <= {side for group in groups for side in group.sides}


def _frozen_places(groups: list[Group], frozen: Mapping[str, int]) -> dict[str, int]:
    """Fold of each group, by its name, that has a frozen patient or frame."""
    places: dict[str, int] = {}
    for group in groups:
        names = [*group.patients, *(case.id for case in group.cases)]
        where = {frozen[name] for name in names if name in frozen}
        if len(where) > 1:
            raise SplitError(
                f"Patient {group.name} is on both sides of the frozen split: {name_frames(group.cases)}.",
                "Correct the patients; or move splits_final.json away to split anew, after which scores "
                "can't be compared with former ones.",
            )
        if where:
            places[group.name] = where.pop()
    return places


def _deal(groups: list[Group], places: dict[str, int], folds: int, seed: int) -> None:
    """Put each group that has no place yet where its class is rarest, then where frames are fewest."""
    patients: Counter[tuple[int, str]] = Counter()
    frames: Counter[int] = Counter()

    def put(group: Group, i: int) -> None:
        places[group.name] = i
        patients[i, group.truth] += 1
        frames[i] += len(group.cases)

    waiting = []
    for group in groups:
        if group.name in places:
            put(group, places[group.name])
        else:
            waiting.append(group)
    random.Random(seed).shuffle(waiting)
    # Patients with many frames first, so that the small ones can even out the number of frames.
    for group in sorted(waiting, key=lambda group: -len(group.cases)):
        put(group, min(range(folds), key=lambda i: (patients[i, group.truth], frames[i], i)))


def _fold(groups: list[Group], places: Mapping[str, int], i: int) -> Fold:
    train: list[str] = []
    validation: list[str] = []
    for group in groups:
        side = validation if places[group.name] == i else train
        side.extend(case.id for case in group.cases)
    return Fold(train=tuple(sorted(train)), validation=tuple(sorted(validation)))


# ------------------------------------------------------------ folds by hospital


def hospital_folds(cases: Iterable[Case]) -> list[Fold]:
    """Divide cases so that each hospital is left out once.

    Parameters
    ----------
    cases : iterable of Case
        Frames that a data set's authors put aside for testing are in no fold.

    Returns
    -------
    list of Fold
        One a hospital, in the order of their names; the validation side holds all of its frames.

    Raises
    ------
    SplitError
        If a frame has no hospital, there is one hospital, or a patient was examined in two; and as
        :func:`napari_cln.folder.split.deal.split`.
    """
    groups = check_groups(cases)
    without = [case for group in groups for case in group.cases if case.hospital is None]
    if without:
        raise SplitError(
            f"{counted(len(without), 'frame has', 'frames have')} no hospital: {name_frames(without)}.",
            "Import them with a column hospital, or split by patient.",
        )
    places: dict[str, list[str]] = {}
    for group in groups:
        hospitals = sorted({case.hospital or "" for case in group.cases})
        if len(hospitals) > 1:
            raise SplitError(
                f"Patient {group.name} has frames of the hospitals {' and '.join(hospitals)}: "
                f"{name_frames(group.cases)}.",
                "A patient on both sides would be known already: give all frames one hospital, or leave "
                "them out.",
            )
        places.setdefault(hospitals[0], []).extend(case.id for case in group.cases)
    if len(places) < 2:
        raise SplitError(
            f"All frames are of one hospital ({', '.join(places)}).",
            "Split by patient, or add another hospital.",
        )
    everything = {case_id for ids in places.values() for case_id in ids}
    return [
        Fold(train=tuple(sorted(everything - set(ids))), validation=tuple(sorted(ids)))
        for _, ids in sorted(places.items())
    ]
