"""The frozen folds of a training folder, in nnU-Net's ``splits_final.json``."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from ...annotation import Case
from ...disk.atomic import MAX_JSON_BYTES, read_bytes, write_atomically
from ...disk.locks import lock
from ...disk.schema import decode_json
from ...disk.seals import Seal, checksum_holds, sealed, with_own_line_ends
from ...errors import DatasetError, SplitError
from ..dataset import TrainingFolder
from .deal import FOLDS, TRAIN_ONLY, Fold, split
from .groups import check_groups, is_trainable

Splits: TypeAlias = list[dict[str, list[str]]]
_decoder = msgspec.json.Decoder(Splits)
_PATIENTS = ("train_patients", "val_patients")
MAX_BYTES = 16 * MAX_JSON_BYTES
SEAL = Seal(b',\n  "checksum": [\n   "', b'"\n  ]\n }\n]\n', b"\n }\n]")
"""The checksum stands in the last fold, where nnU-Net does not look."""


def frozen_split(
    folder: TrainingFolder, folds: int | None = None, seed: int = 0, *, freeze: bool = True
) -> list[Fold]:
    """The folds of a training folder, made once and kept in its ``splits_final.json``.

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
    freeze : bool
        Whether to write the folds down. A folder in which nobody may write keeps its folds unwritten.

    Returns
    -------
    list of Fold
        Over the trainable frames: those with a mask or a known class.

    Raises
    ------
    SplitError
        As :func:`split`; and if the folder is frozen in another number of folds.
    """
    made, data, kept = _plan(folder, folds, seed)
    if not freeze or folder.dataset.read_only or data == kept:
        return made  # nothing to write, so no lock is asked for: the folder may be on a medium of its own
    try:
        with lock(folder.layout.locks, "splits", "napari-cln"):
            made, data, kept = _plan(folder, folds, seed)  # another process may have been first
            if data != kept:
                write_atomically(folder.layout.splits, data)
            return made
    except OSError as cause:
        if cause.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            return made
        raise folder.dataset.refused(cause) from cause


def _plan(folder: TrainingFolder, folds: int | None, seed: int) -> tuple[list[Fold], bytes, bytes | None]:
    """The folds, how they are written down, and what is written down now."""
    path = folder.layout.splits
    cases = [case for case in folder.cases() if is_trainable(case)]
    kept = read_splits(path)
    if kept is None:
        made = split(cases, _first_number(cases, folds), seed)
    elif folds in (None, 1, len(kept)):
        made = split(cases, len(kept), seed, frozen=frozen_places(kept))
    else:
        raise SplitError(
            f"The split of {folder.path.name} is frozen in {len(kept)} folds, not {folds}.",
            f"Ask for {len(kept)} or 1; or move splits_final.json away to split anew, after which scores "
            "can't be compared with former ones.",
        )
    data = encode_splits(made, cases, withdrawn=_withdrawn(kept or [], cases))
    return made[:1] if folds == 1 else made, data, None if kept is None else read_bytes(path, MAX_BYTES)


def _first_number(cases: list[Case], folds: int | None) -> int:
    """Number of folds to freeze: five where one or none is asked for, unless the authors made one."""
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
    try:
        data = read_bytes(path, MAX_BYTES)
        splits = decode_json(_decoder, data)
    except FileNotFoundError:
        return None
    except OSError as cause:
        raise SplitError(
            f"{path.name} can't be read ({cause.strerror}).", "Check its permissions."
        ) from cause
    except DatasetError as cause:
        raise SplitError(str(cause)) from cause
    except ValueError as cause:
        raise _unreadable(path) from cause
    if not splits or not all("train" in fold and "val" in fold for fold in splits):
        raise _unreadable(path)
    if checksum_holds(data, SEAL, anywhere=False) is False and with_own_line_ends(data, SEAL) is None:
        raise SplitError(
            f"{path.name} is not as it was written: its checksum differs.",
            "Run `napari-cln check --repair`, or restore the file from git or a backup. Who changed it on "
            "purpose removes its key checksum.",
        )
    checked: Splits = splits
    return checked


def _unreadable(path: Path) -> SplitError:
    return SplitError(
        f'{path.name} is not a list of {{"train": [...], "val": [...]}}.',
        "Restore it from git or a backup; or move it away to split anew, after which scores can't be "
        "compared with former ones.",
    )


def frozen_places(splits: Splits) -> dict[str, int]:
    """Fold in which each patient and each frame of a split is validated.

    Parameters
    ----------
    splits : list
        From :func:`read_splits`.

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
                        f"{name} is validated in two folds of splits_final.json.",
                        "Restore the file from git or a backup, or move it away to split anew.",
                    )
    if len(splits) == 1:
        for key in ("train", "train_no_mask", "train_patients"):
            for name in splits[0].get(key, ()):
                if places.setdefault(name, TRAIN_ONLY) != TRAIN_ONLY:
                    raise SplitError(
                        f"{name} is on both sides of splits_final.json.",
                        "Restore the file from git or a backup, or move it away to split anew.",
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
        Whether to leave out what nnU-Net does not read: frames without a mask, the patients of each side,
        and the checksum.
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
    text = json.dumps(splits, indent=1).encode()
    return text + b"\n" if for_nnunet or not splits else sealed(text, SEAL)
