"""``napari-cln phantom | import | export | check | serve``: into, out of and through a training folder."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO, TypeAlias

from cyclopts import Group, Parameter, Token
from msgspec import Meta

from ..errors import DatasetError, RunError, counted, listed
from ..study.config import Device
from .batch import paths_of
from .options import Count, Existing, Folder, Positive, command

if TYPE_CHECKING:
    from ..folder.dataset import TrainingFolder
    from ..folder.formats.exchange import ExchangeStep, StudyImport
    from ..folder.health.case import Fault
    from ..folder.health.check import StudyCheck

MEANINGS = Group("What words and values mean; none is guessed")
SHOWN = 3
"""Faults of one kind that are listed before the others are counted."""


def _checked_by(check: Callable[[str], object]) -> Any:
    """Reader of several words, each of which that function takes."""

    def read(_: Any, tokens: Sequence[Token]) -> list[str]:
        for token in tokens:
            check(token.value)
        return [token.value for token in tokens]

    return Parameter(converter=read, consume_multiple=True, group=MEANINGS)


def _pair(text: str) -> tuple[str, str]:
    """``KEY=MEANING``."""
    key, sign, meaning = text.partition("=")
    if not (key and sign and meaning):
        raise ValueError(f"{text} is not of the form KEY=MEANING")
    return key, meaning


def _mask_value(text: str) -> tuple[str, str]:
    if text.strip().casefold() == "ids":
        return "ids", "node"
    value, meaning = _pair(text)
    if not re.fullmatch(r"\d+|#[0-9a-fA-F]{6}", value):
        raise ValueError(f"{value} is no value of a mask: give a number, #rrggbb, or the word ids")
    return value, meaning


Names: TypeAlias = Annotated[Sequence[str], Parameter(consume_multiple=True)]
Pairs: TypeAlias = Annotated[Sequence[str], _checked_by(_pair)]
Headings: TypeAlias = Annotated[Sequence[str], _checked_by(str)]
MaskValues: TypeAlias = Annotated[Sequence[str], _checked_by(_mask_value)]


@command()
def make_phantom(n: Positive, /, *, out: Folder, seed: Count = 0, clinical: bool = False) -> int:
    """Simulate neck frames with exact truth into a new training folder.

    Parameters
    ----------
    n : int
        Number of frames.
    out : path
        Folder to make.
    seed : int
        The same seed gives the same frames.
    clinical : bool
        Give each frame a patient of its own, with a clinical record.
    """
    from tqdm import tqdm

    from ..folder.simulated import simulate_folder

    for _ in tqdm(simulate_folder(out, n, seed, clinical=clinical), total=n, disable=None):
        pass
    print(f"{n} simulated frames: {out}")
    return 0


@command()
def bring_in(
    source: Existing,
    /,
    *,
    out: Annotated[Path, Meta(title="FOLDER")],
    images: Annotated[str | None, Meta(title="DIR")] = None,
    masks: Annotated[str | None, Meta(title="DIR")] = None,
    labels: Annotated[str | None, Meta(title="FILE")] = None,
    mask_values: Annotated[MaskValues, Meta(title="VALUE=MEANING…")] = (),
    label_values: Annotated[Pairs, Meta(title="LABEL=MEANING…")] = (),
    split_values: Annotated[Pairs, Meta(title="WORD=MEANING…")] = (),
    columns: Annotated[Pairs, Meta(title="ROLE=HEADING…")] = (),
    column_values: Annotated[Pairs, Meta(title="ROLE:WORD=MEANING…")] = (),
    clean: bool | None = None,
    turn_masks: bool = False,
    patient_folders: bool = False,
    clinical: Annotated[Headings, Meta(title="COLUMN…")] = (),
    other_patients: bool = False,
    calipers: bool = False,
    json: bool = False,
) -> int:
    """Bring a study into a training folder, and say at the end what was made of what.

    Folders of pictures with masks, COCO, labelme, YOLO, Pascal VOC, nnU-Net, exports of other training
    folders.

    Parameters
    ----------
    source : path
        Folder of the study, or its COCO file.
    out : path
        Training folder, new or not.
    images, masks : str
        Folder of these; by default they are told by names and paths.
    labels : str
        Table of labels and patients (CSV, TSV or XLSX); by default the only one, none for none.
    mask_values : str
        Values or colours (#rrggbb) of a mask: background, node, benign, metastatic, not-judged; or the word
        ids alone, where each value is a node of its own.
    label_values : str
        Labels, classes and categories: benign, metastatic, no-node, unknown.
    split_values : str
        Words of a split column, or names of folders, COCO files and lists: train, validation, test, none.
    columns : str
        Heading that holds a role, such as label=Befund or image=Datei.
    column_values : str
        Other words of the table, such as level:4b=IV or side:re=right.
    clean : bool
        Crop to the scan area and paint over burned-in marks; by default for folders of pictures alone.
    turn_masks : bool
        Masks of turned pictures (EXIF) were drawn on the stored pixels.
    patient_folders : bool
        The folder of an image is named after its patient.
    clinical : str
        Columns of the table to keep as the patient's clinical record: numbers and a few words, no dates.
    other_patients : bool
        A training folder of another computer has none of the patients that are in FOLDER.
    calipers : bool
        Outline nodes from the calipers that are burned into frames without masks, as predictions.
    json : bool
        Print the report as JSON.
    """
    from ..folder.formats.exchange import import_study
    from ..workflow.pseudo import outline_calipers

    work = import_study(
        source,
        out,
        images=images,
        masks=masks,
        labels=labels,
        mask_values=dict(map(_mask_value, mask_values)),
        label_values=dict(map(_pair, label_values)),
        split_values=dict(map(_pair, split_values)),
        columns=dict(map(_pair, columns)),
        column_values=dict(map(_pair, column_values)),
        clean=clean,
        turn_masks=turn_masks,
        patient_folders=patient_folders,
        clinical=clinical,
        other_patients=other_patients,
        suggest=outline_calipers if calipers else None,
    )
    return _finish(work, out, json)


def _finish(work: StudyImport, out: Path, json: bool) -> int:
    """Do an import under a bar, and print what it made of what."""
    from msgspec.json import encode, format

    for _ in _with_bar(work):
        pass
    report = work.report
    if json:
        print(format(encode(report), indent=1).decode())
        return 1 if report.refused else 0
    for line in report.lines():
        print(line)
    repeated = f", {report.repeated} of the same pixels as others" if report.repeated else ""
    refused = f", {report.refused} refused" if report.refused else ""
    print(f"{counted(report.taken, 'frame')} imported{repeated}{refused}: {out}")
    return 1 if report.refused else 0


@command()
def send_out(
    folder: Existing,
    /,
    *,
    format: Literal["nnunet", "coco", "csv", "dicom", "nrrd", "nifti"],
    out: Annotated[Path, Meta(title="DEST")],
) -> int:
    """Write a training folder for other programs, whole or not at all.

    Parameters
    ----------
    folder : path
        Training folder.
    format : str
        A raw nnU-Net dataset, COCO with run-length codes, pictures of node ids with a table, or DICOM: a
        capture, a segmentation and a report of each frame, under pseudonyms; or volumes of one slice.
    out : path
        New folder.
    """
    from ..folder.formats.exchange import export_study

    n_done = 0
    notes: list[str] = []
    for step in _with_bar(export_study(folder, format, out)):
        n_done += step.case is not None
        notes += step.notes
    for note in notes:
        print(note, file=sys.stderr)
    print(f"{counted(n_done, 'frame')} exported: {out}")
    return 0


def _with_bar(steps: Iterable[ExchangeStep]) -> Iterator[ExchangeStep]:
    """The same steps, under a bar."""
    from tqdm import tqdm

    with tqdm(disable=None) as bar:
        for step in steps:
            bar.total = step.total
            bar.update()
            yield step


@command()
def check_folder(
    folder: Existing,
    /,
    *,
    repair: bool = False,
    break_locks: bool = False,
    pictures: Annotated[Path | None, Meta(title="DIR")] = None,
    seen_by: Annotated[str, Meta(title="READER")] = "",
    text: bool = False,
    release: Annotated[Names, Meta(title="ID…")] = (),
    verdict: Literal["paint", "no-name", "leave-out", "bring-back"] | None = None,
    all: bool = False,
    json: bool = False,
) -> int:
    """Count what is in a training folder, and name its faults and what to do, errors last.

    Parameters
    ----------
    folder : path
        Training folder.
    repair : bool
        Mend what can be mended without guessing.
    break_locks : bool
        Show who holds each lock, and ask whether to break it.
    pictures : path
        Write the pictures that nobody has looked at for names.
    seen_by : str
        Who has looked at those pictures, and saw no name and no date.
    text : bool
        Read the text on pictures that were not read yet; needs the extra ocr.
    release : str
        Frames on which text was found; all for every one whose picture was written.
    verdict : str
        What becomes of them: the text is painted over, it is no name, the frame is left out, or one that was
        left out is brought back.
    all : bool
        List every fault, not the first few of each kind.
    json : bool
        Print numbers and faults as JSON.
    """
    from ..folder.dataset import TrainingFolder
    from ..folder.health.check import check_study
    from ..folder.health.repair import repair as mend
    from ..folder.health.repair import repair_all, repair_description

    if pictures is not None and seen_by:
        raise RunError(
            "--pictures writes what is to be looked at, and --seen-by says that somebody has. Give "
            "--pictures first, look at what it writes, and give --seen-by after that."
        )
    to = sys.stderr if json else sys.stdout
    try:
        study = TrainingFolder.open(folder)
    except DatasetError:
        if not repair:
            raise
        print(f"folder: {repair_description(folder)}", file=to)
        study = TrainingFolder.open(folder)
    if repair:
        for sentence in repair_all(study):
            print(sentence, file=to)
    if text:
        _read_text(study, to)
    if release or verdict:
        _release(study, release, verdict, seen_by, to)
    else:
        _see(study, seen_by, pictures, to)
    found = check_study(study)
    if break_locks:
        for fault in found.faults:
            if fault.lock is not None and _agrees(f"{fault} Break it? [y/N] "):
                print(mend(study, fault, confirmed=True), file=to)
        found = check_study(study)
    n_errors = sum(fault.severity == "error" for fault in found.faults)
    if json:
        _print_json(found)
        return 1 if n_errors else 0
    for line in found.summary.lines():
        print(line)
    for line in _grouped(found.faults, 0 if all else SHOWN, repair, break_locks):
        print(line)
    print(f"errors: {n_errors}, warnings: {len(found.faults) - n_errors}")
    return 1 if n_errors else 0


@command()
def label_frames(
    folder: Existing,
    /,
    *,
    model: Annotated[str, Meta(title="MODEL")] = "in-use",
    scans: Annotated[Sequence[str], Parameter(converter=paths_of, consume_multiple=True)] = (),
    device: Device = "auto",
) -> int:
    """Draw masks on frames of a training folder that nobody labelled; sure ones alone are kept.

    They are marked as pseudo-labels, and are nobody's judgement: they train with --pseudo WEIGHT alone, and a
    reader who accepts one makes a label of it.

    Parameters
    ----------
    folder : path
        Training folder.
    model : str
        Name or .safetensors file; in-use is the one that was promoted last.
    scans : str
        Files, folders or patterns of frames to add to the folder where they get a mask.
    device : str
        Device that computes; auto takes the fastest there is.
    """
    from collections import Counter

    from tqdm import tqdm

    from ..workflow.pseudo import pseudo_label

    found: Counter[str] = Counter()
    for step in tqdm(pseudo_label(folder, model=model, scans=scans, device=device), disable=None):
        found[step.why] += 1
    kept = found.pop("", 0)
    for why, n in found.most_common():
        print(f"{n} not kept: {why}")
    if not kept and not found:
        print("No frame waits for a label: each has one, was looked at, or is a test frame.")
    print(f"{counted(kept, 'pseudo-label')}: {folder}")
    return 0


def _grouped(faults: Sequence[Fault], most: int, repair: bool, break_locks: bool) -> Iterator[str]:
    """Faults as lines; of many of one kind the first few, so that the one that matters is seen."""
    by_kind: dict[tuple[str, str], list[Fault]] = {}
    for fault in faults:
        by_kind.setdefault((fault.severity, fault.kind), []).append(fault)
    for (severity, kind), alike in by_kind.items():
        shown = alike[:most] if most else alike
        for fault in shown:
            yield f"{severity}: {fault}{_offer(fault, repair, break_locks)}"
        if len(shown) < len(alike):
            yield f"{severity}: {len(alike) - len(shown)} more of the kind {kind}; --all lists them."


def _print_json(found: StudyCheck) -> None:
    from msgspec import to_builtins
    from msgspec.json import encode, format

    faults = [
        {
            "kind": fault.kind,
            "severity": fault.severity,
            "id": fault.id,
            "message": fault.message,
            "advice": fault.advice,
            "remedy": fault.remedy.value if fault.remedy else None,
        }
        for fault in found.faults
    ]
    value = {"summary": to_builtins(found.summary), "faults": faults}
    print(format(encode(value), indent=1).decode())


def _see(study: TrainingFolder, seen_by: str, pictures: Path | None, to: TextIO) -> None:
    """Tell of pictures that nobody has looked at, write them, or note who has."""
    from ..folder.screens import confirm_screens, shown_screens, unseen_screens, write_sheets, write_waiting

    unseen = unseen_screens(study)
    if seen_by:
        shown = shown_screens(study, unseen)
        if unseen and not shown:
            raise DatasetError(
                f"No picture of {listed(unseen)} was written to be looked at, or frames came since.",
                "Add --pictures DIR first, look at what it writes, and give --seen-by after that.",
            )
        confirm_screens(study, shown, seen_by)
        for screen in shown:
            print(f"{screen}: {seen_by} has looked at its pictures.", file=to)
        if missing := [screen for screen in unseen if screen not in shown]:
            print(f"{listed(missing)}: its pictures were not written yet. Add --pictures DIR.", file=to)
    elif pictures is not None:
        for case_id, path in write_waiting(study, pictures):
            print(
                f"{case_id}: look at {path.name}. Then give --release {case_id} --verdict paint, no-name or "
                "leave-out, --seen-by READER.",
                file=to,
            )
        for screen, path in write_sheets(study, unseen, pictures):
            print(
                f"{screen}: look at {path.name}. If no name and no date shows, give --seen-by READER.",
                file=to,
            )


def _read_text(study: TrainingFolder, to: TextIO) -> None:
    """Read what was not read yet, under a bar."""
    from tqdm import tqdm

    from ..folder.text import read_frame_text, unread_frames

    found = [
        bool(read_frame_text(study, case_id).found) for case_id in tqdm(unread_frames(study), disable=None)
    ]
    print(f"text: {counted(len(found), 'frame')} read, {sum(found)} with text", file=to)


def _release(
    study: TrainingFolder,
    ids: Sequence[str],
    action: Literal["paint", "no-name", "leave-out", "bring-back"] | None,
    who: str,
    to: TextIO,
) -> None:
    """Do with held frames what a reader says who has looked at their pictures."""
    from ..folder.screens import was_shown
    from ..folder.text import release_frame, waiting_frames

    if not (ids and action and who):
        raise DatasetError(
            "Frames are released together with", "--release ID… --verdict VERDICT --seen-by READER."
        )
    waiting = waiting_frames(study)
    chosen = (
        [case_id for case_id in waiting if was_shown(study, case_id)] if list(ids) == ["all"] else list(ids)
    )
    if missing := [case_id for case_id in chosen if case_id in waiting and not was_shown(study, case_id)]:
        raise DatasetError(
            f"The picture of {listed(missing)} was not written to be looked at.",
            "Add --pictures DIR first, and look at what it writes.",
        )
    for case_id in chosen:
        release_frame(study, case_id, action, who)
        print(f"{case_id}: {action}, says {who}.", file=to)
        if not (action == "leave-out" or study.layout.record(case_id).exists()):
            print(f"{case_id}: this copy of the folder lacks its files. Import it again.", file=to)


def _agrees(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # nobody is there to ask
        return False


def _offer(fault: Fault, repair: bool, break_locks: bool) -> str:
    """Option that would mend a fault, unless it was given."""
    option, given = ("--repair", repair) if fault.lock is None else ("--break-locks", break_locks)
    return f" Repair ({fault.remedy.value}): add {option}." if fault.remedy and not given else ""


@command()
def serve_study(
    folder: Existing,
    /,
    *,
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8000,
    model: Annotated[str, Meta(title="MODEL")] = "in-use",
    device: Device = "auto",
) -> int:
    """Serve a training folder and the models to the module MONAI Label of 3D Slicer, until Ctrl-C.

    This computer alone is answered. Copy the address that is printed into Slicer; who has it may read the
    folder and save into it.

    Parameters
    ----------
    folder : path
        Training folder.
    port : int
        Port on this computer; 0 takes a free one.
    model : str
        Name or .safetensors file of the model that Slicer offers first; in-use is the one that was promoted
        last.
    device : str
        Device that computes; auto takes the fastest there is.
    """
    from ..folder.dataset import TrainingFolder
    from ..folder.screens import unseen_screens
    from ..server import serve

    if n_held := sum(map(len, unseen_screens(TrainingFolder.open(folder)).values())):
        print(
            f"{counted(n_held, 'frame')} wait for a look at burned-in names and are not sent: `napari-cln "
            "check FOLDER --pictures DIR`, then --seen-by READER.",
            file=sys.stderr,
        )
    try:
        serve(folder, port=port, model=model, device=device, announce=lambda url: print(url, flush=True))
    except KeyboardInterrupt:
        print("The server has ended. All that was saved is in the folder.", file=sys.stderr)
    return 0
