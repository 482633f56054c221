"""The frozen folds of a training folder, in nnU-Net's ``splits_final.json``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ...disk.atomic import MAX_JSON_BYTES, read_bytes, write_atomically
from ...disk.locks import lock
from ...errors import SplitError
from ...types import Case, Fold
from .deal import FOLDS, TRAIN_ONLY, split
from .groups import check_groups, is_trainable

if TYPE_CHECKING:
    from ..dataset import TrainingFolder

__all__ = ["encode_splits", "frozen_places", "frozen_split", "read_splits"]

Splits: TypeAlias = list[dict[str, Any]]
_PATIENTS = ("train_patients", "val_patients")


def frozen_split(folder: TrainingFolder, folds: int | None = None, seed: int = 0) -> list[Fold]:
    """The folds of a training folder, made once and kept in its ``splits_final.json``.

    A folder that can't be written to is dealt the same folds each time, and keeps nothing.

    New patients are dealt to the fold where their class is rarest; new frames go to their
    patient's side; nothing else changes.

    Parameters
    ----------
    folder : TrainingFolder
    folds : int, optional
        As in :func:`split`. A folder that is frozen in five folds gives those five, or the first.
        By default all that are frozen; five, or as many as there are patients, where none are.
    seed : int
        Of the first split.

    Returns
    -------
    list of Fold
        Over the trainable frames: those with a mask or a known class.

    Raises
    ------
    SplitError
        As :func:`split`; and if the folder is frozen in another number of folds.
    """
    path = folder.layout.splits
    if not _is_writable(folder):
        made, _, _ = _deal_anew(folder, folds, seed)
        return made[:1] if folds == 1 else made
    with lock(folder.layout.locks, "splits", "napari-cln"):
        made, kept, data = _deal_anew(folder, folds, seed)
        if not folder.read_only and (kept is None or data != path.read_bytes()):
            write_atomically(path, data)
    return made[:1] if folds == 1 else made


def _is_writable(folder: TrainingFolder) -> bool:
    """Tell whether the user and the disk let the folder be written to."""
    layout = folder.layout
    places = (place for place in (layout.root, layout.private, layout.locks) if place.exists())
    return all(os.access(place, os.W_OK) for place in places)


def _deal_anew(
    folder: TrainingFolder, folds: int | None, seed: int
) -> tuple[list[Fold], Splits | None, bytes]:
    """The folds of the frames that there are now, those that are kept, and what is to be kept."""
    cases = [case for case in folder.cases() if is_trainable(case)]
    kept = read_splits(folder.layout.splits)
    if kept is None:
        made = split(cases, _first_number(cases, folds), seed)
    elif folds in (None, 1, len(kept)):
        made = split(cases, len(kept), seed, frozen=frozen_places(kept))
    else:
        raise SplitError(
            f"The split of {folder.path.name} is frozen in {len(kept)} folds, not {folds}. Ask for "
            f"{len(kept)} or 1; or move splits_final.json away to split anew, after which scores can't be "
            "compared with former ones."
        )
    return made, kept, encode_splits(made, cases, withdrawn=_withdrawn(kept or [], cases))


def _first_number(cases: list[Case], folds: int | None) -> int:
    """How many folds to freeze: five where one or none is asked for, unless the authors made one."""
    if folds is not None and folds != 1:
        return folds
    groups = check_groups(cases)
    sides = {side for group in groups for side in group.sides}
    return 1 if folds == 1 and {"train", "validation"} <= sides else min(FOLDS, len(groups))


def read_splits(path: Path) -> Splits | None:
    """The folds of a ``splits_final.json``; ``None`` where there is no such file.

    Raises
    ------
    SplitError
        If the file is not in nnU-Net's form.
    """
    if not path.exists():
        return None
    try:
        splits = json.loads(read_bytes(path, 16 * MAX_JSON_BYTES))
        whole = bool(splits) and all(
            isinstance(name, str) for fold in splits for key in ("train", "val") for name in fold[key]
        )
    except (ValueError, RecursionError, TypeError, KeyError) as cause:
        raise _unreadable(path) from cause
    if not whole:
        raise _unreadable(path)
    return list(splits)


def _unreadable(path: Path) -> SplitError:
    return SplitError(
        f'{path.name} is not a list of {{"train": [...], "val": [...]}}. Restore it from git or a backup; '
        "or move it away to split anew, after which scores can't be compared with former ones."
    )


def frozen_places(splits: Splits) -> dict[str, int]:
    """Fold in which each patient and each frame of a split is validated.

    Raises
    ------
    SplitError
        If one is validated in two folds.
    """
    places: dict[str, int] = {}
    for i, fold in enumerate(splits):
        for key in ("val", "val_no_mask", "val_patients"):
            for name in fold.get(key, ()):
                if places.setdefault(name, i) != i:
                    raise SplitError(
                        f"{name} is validated in two folds of splits_final.json. Restore the file from "
                        "git or a "
                        "backup, or move it away to split anew."
                    )
    if len(splits) == 1:
        for key in ("train", "train_no_mask", "train_patients"):
            for name in splits[0].get(key, ()):
                if places.setdefault(name, TRAIN_ONLY) != TRAIN_ONLY:
                    raise SplitError(
                        f"{name} is on both sides of splits_final.json. Restore the file from git or a "
                        "backup, "
                        "or move it away to split anew."
                    )
    return places


def _withdrawn(splits: Splits, cases: list[Case]) -> list[dict[str, list[str]]]:
    """Patients of each fold none of whose frames is left: they keep their side for when one returns."""
    present = {case.patient for case in cases}
    return [
        {key: [name for name in fold.get(key, ()) if name not in present] for key in _PATIENTS}
        for fold in splits
    ]


def encode_splits(
    folds: Sequence[Fold],
    cases: Iterable[Case],
    *,
    withdrawn: Sequence[dict[str, list[str]]] = (),
    for_nnunet: bool = False,
) -> bytes:
    """Folds as nnU-Net reads them.

    Parameters
    ----------
    folds : sequence of Fold
    cases : iterable of Case
        All cases of the folds.
    withdrawn : sequence of dict
        Patients without frames that keep their side.
    for_nnunet : bool
        Whether to leave out what nnU-Net does not read: frames without a mask, and the patients
        of each side.
    """
    by_id = {case.id: case for case in cases}
    splits: Splits = []
    for i, fold in enumerate(folds):
        entry: dict[str, list[str]] = {}
        for key, ids in (("train", fold.train), ("val", fold.validation)):
            entry[key] = [name for name in ids if by_id[name].mask is not None]
            if for_nnunet:
                continue
            entry[f"{key}_no_mask"] = [name for name in ids if by_id[name].mask is None]
            # With several folds, who validates in one trains in the others.
            if key == "val" or len(folds) == 1:
                former = withdrawn[i][f"{key}_patients"] if withdrawn else []
                entry[f"{key}_patients"] = sorted({by_id[name].patient for name in ids}.union(former))
        splits.append(entry)
    return (json.dumps(splits, indent=1) + "\n").encode()
