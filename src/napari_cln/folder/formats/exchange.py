"""Studies in and out: plain folders, nnU-Net, COCO, CSV, other training folders.

Both functions are iterations that do one frame a step: wrap them in a progress bar, stop between
two frames.

>>> for step in import_study("LymphUs", "my_study", labels="labels.csv"):   # doctest: +SKIP
...     print(step.index, step.total, step.problem or step.name)
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from ...disk.atomic import read_json
from ...errors import ClnError, DatasetError, ExportError
from ...types import Case
from ..dataset import TrainingFolder
from ..record import hash_pixels
from ..screens import unseen_screens
from .coco import CocoWriter, find_coco, is_coco
from .nnunet import NnunetWriter, find_nnunet, is_nnunet
from .own_csv import CsvWriter, find_csv, is_own_table
from .parcel import Incoming, Meaning, Parcel, meaning_of
from .plain import IMAGE_FOLDERS, MASK_FOLDERS, PlainFolder, find_plain
from .stored import adopt, find_stored, read_stored

__all__ = ["FORMATS", "Step", "export_study", "import_study"]

FORMATS = ("nnunet", "coco", "csv")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One frame of an import or export.

    Parameters
    ----------
    index, total : int
        1, 2, … of how many.
    name : str
        File or id.
    case : Case, optional
        The frame in the training folder; ``None`` where it was refused.
    problem : str, optional
        Why it was refused, and what to do.
    note : str, optional
        What a reader should know of a frame that was taken.
    """

    index: int
    total: int
    name: str
    case: Case | None = None
    problem: str | None = None
    note: str | None = None


def import_study(
    source: str | Path,
    out: str | Path,
    *,
    images: str | Path | None = None,
    masks: str | Path | None = None,
    labels: str | Path | None = None,
    mask_values: Mapping[int, str] | None = None,
    label_values: Mapping[str, str] | None = None,
    clean: bool | None = None,
) -> Iterator[Step]:
    """Bring a study into a training folder.

    The kind of the source is seen from its content: another training folder or an export of one,
    a raw nnU-Net dataset, COCO annotations, else a plain folder of images with a table.

    Parameters
    ----------
    source : path
        Folder, or the COCO file in it.
    out : path
        Training folder; made when it is new. Frames that it has already are compared.
    images, masks : path, optional
        Folders, from the source or from here. Found by their usual names otherwise.
    labels : path, optional
        Table of labels and patients, or COCO file. The only CSV file of the source otherwise.
    mask_values : mapping of int to str, optional
        What each value of a mask is: ``background``, ``node``, ``benign`` or ``metastatic``.
    label_values : mapping of str to str, optional
        What each label is: ``benign``, ``metastatic``, ``no-node``, ``unknown``; the usual words
        are known.
    clean : bool, optional
        Crop images to the scan area and paint over burned-in marks. By default for plain folders
        alone: nnU-Net and COCO sets are taken pixel by pixel.

    Yields
    ------
    Step
        One a frame, refused ones too.

    Raises
    ------
    DatasetError
        At the call, if the source can't be used at all.
    """
    root = Path(source)
    if not root.exists():
        raise DatasetError(f"{root.name} does not exist. Give the folder of the study.")
    values = {
        value: _meaning(text, str(value), "--mask-values") for value, text in (mask_values or {}).items()
    }
    for key, text in (label_values or {}).items():
        _meaning(text, key, "--label-values")
    items = _find(root, images, masks, labels, values or None, dict(label_values or {}), clean)
    out = Path(out)
    known = (out / "dataset.json").exists()
    study = TrainingFolder.open(out) if known else TrainingFolder.create(out)
    return _take(items, study)


def _meaning(text: str, key: str, option: str) -> Meaning:
    meaning = meaning_of(text)
    if meaning is None:
        raise DatasetError(
            f"{option} {key}={text} is not known. Use background, node, benign, metastatic or no-node."
        )
    return meaning


def _find(
    root: Path,
    images: str | Path | None,
    masks: str | Path | None,
    labels: str | Path | None,
    values: dict[int, Meaning] | None,
    words: dict[str, str],
    clean: bool | None,
) -> list[Incoming]:
    folder = root if root.is_dir() else root.parent
    table = _place(folder, labels) if labels else root if root.is_file() else _only_table(folder)
    if table is not None and table.suffix.casefold() == ".json" and is_coco(table):
        at = _place(folder, images) if images else folder
        return find_coco(table, at, words, clean=bool(clean))
    if images is None and masks is None and labels is None and is_nnunet(folder):
        if "x_napari_cln" in read_json(folder / "dataset.json"):
            return find_stored(TrainingFolder.open(folder))
        return find_nnunet(folder, values)
    if table is not None and is_own_table(table):
        return find_csv(table)
    at = _place(folder, images) if images else _named(folder, IMAGE_FOLDERS) or folder
    masks_at = _place(folder, masks) if masks else _named(folder, MASK_FOLDERS)
    return find_plain(
        PlainFolder(
            source=folder,
            images=at,
            masks=masks_at,
            table=table,
            mask_values=values,
            label_values=words,
            clean=clean is not False,
        )
    )


def _place(folder: Path, name: str | Path) -> Path:
    """A path that the user gave: from the source, or from where the user is."""
    for candidate in (folder / name, Path(name)):
        if candidate.exists():
            return candidate
    raise DatasetError(f"{Path(name).name} is neither in {folder.name} nor here. Check its path.")


def _named(folder: Path, names: tuple[str, ...]) -> Path | None:
    present = {path.name.casefold(): path for path in folder.iterdir() if path.is_dir()}
    return next((present[name] for name in names if name in present), None)


def _only_table(folder: Path) -> Path | None:
    """The table of a folder: its only CSV file, else its only COCO file."""
    for pattern in ("*.csv", "*.json"):
        found = [path for path in folder.glob(pattern) if pattern == "*.csv" or is_coco(path)]
        if len(found) == 1 and found[0].name != "dataset.json":
            return found[0]
        if len(found) > 1 and pattern == "*.csv":
            raise DatasetError(
                f"{folder.name} has {len(found)} tables. Name the one with the labels by --labels."
            )
    return None


def _take(items: list[Incoming], study: TrainingFolder) -> Iterator[Step]:
    taken: dict[str, tuple[str, object]] = {}
    try:
        for i, item in enumerate(items, start=1):
            step = partial(Step, index=i, total=len(items), name=item.name)
            try:
                parcel = item.read()
                case_id = study.identify(parcel.annotation.frame)
                if parcel.stored is not None:
                    yield step(case=adopt(study, parcel), note=parcel.note)
                elif case_id in taken and taken[case_id][1] == _saying(parcel):
                    yield step(note=f"it has the same pixels as {taken[case_id][0]}, and is kept once")
                elif case_id in taken:
                    yield step(
                        problem=f"{item.name} has the same pixels as {taken[case_id][0]}, but another mask, "
                        "label or patient. The first was taken: find out which is right, and leave the "
                        "other out."
                    )
                else:
                    case = study.keep(parcel.annotation, parcel.about, overlay=parcel.overlay, count=False)
                    taken[case_id] = item.name, _saying(parcel)
                    yield step(case=case, note=parcel.note)
            except ClnError as cause:
                yield step(problem=str(cause))
    finally:
        study.recount()


def _saying(parcel: Parcel) -> object:
    """What a parcel says of its frame, short enough to be kept for every frame of an import."""
    annotation = parcel.annotation
    return annotation.nodes, annotation.status, parcel.about, hash_pixels(annotation.instances)


def export_study(
    folder: TrainingFolder | str | Path, format: Literal["nnunet", "coco", "csv"], dest: str | Path
) -> Iterator[Step]:
    """Write a training folder for others to use, whole or not at all.

    Patients leave as salted hashes; readers' names, times and notes stay.

    Parameters
    ----------
    folder : TrainingFolder or path
    format : str
        ``nnunet`` (a raw dataset with a split by patient), ``coco`` (run-length codes), ``csv``
        (pictures of node ids, a row per node). Each can be imported again without loss.
    dest : path
        New or empty folder.

    Yields
    ------
    Step
        One a frame, and a last one without a case where something is worth knowing.

    Raises
    ------
    ExportError
        If the format is not known, ``dest`` is not empty, a frame is damaged, the disk refuses, or
        nobody has looked at the pictures for burned-in names (:mod:`napari_cln.folder.screens`).
    """
    study = folder if isinstance(folder, TrainingFolder) else TrainingFolder.open(folder)
    goal = Path(dest)
    if format not in FORMATS:
        raise ExportError(f"The format {format!r} is not known. Use one of {', '.join(FORMATS)}.")
    if goal.exists() and (not goal.is_dir() or any(goal.iterdir())):
        raise ExportError(f"{goal.name} exists and is not empty. Choose a new folder.")
    if unseen := unseen_screens(study):
        n = sum(map(len, unseen.values()))
        raise ExportError(
            f"Nobody has looked at the pictures of {'; '.join(unseen)} ({n} frames) for burned-in names "
            "and dates. Look at them: `napari-cln check FOLDER --pictures DIR`."
        )
    return _write(study, format, goal)


def _write(study: TrainingFolder, format: str, goal: Path) -> Iterator[Step]:
    part = goal.with_name(f".tmp-{goal.name}")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        writer: NnunetWriter | CocoWriter | CsvWriter
        if format == "nnunet":
            writer = NnunetWriter(study, part)
        else:
            writer = CocoWriter(part) if format == "coco" else CsvWriter(part)
        total = len(study.ids())
        for i, frame in enumerate(read_stored(study), start=1):
            writer.add(frame)
            yield Step(index=i, total=total, name=frame.case.id, case=frame.case)
        note = writer.close()
        if goal.exists():
            goal.rmdir()
        part.replace(goal)
        if note:
            yield Step(index=total, total=total, name=goal.name, note=note)
    except OSError as cause:
        raise ExportError(
            f"{goal.name} can't be written ({cause.strerror}). Choose a place where you may write, with "
            "free space."
        ) from cause
    except DatasetError as cause:
        raise ExportError(f"Nothing was exported: {cause}") from cause
    finally:
        shutil.rmtree(part, ignore_errors=True)
