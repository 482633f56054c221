"""``napari-cln phantom | import | export | check``: into, out of and through a training folder."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DatasetError
from .arguments import Commands, count, existing, pair, positive

if TYPE_CHECKING:
    from ..folder.dataset import TrainingFolder
    from ..folder.formats.exchange import ExchangeStep
    from ..folder.health.case import Fault
    from ..folder.health.check import StudyCheck

__all__ = ["add_commands"]

SHOWN = 3
"""Faults of one kind that are listed before the others are counted."""


def add_commands(commands: Commands) -> None:
    """Add ``phantom``, ``import``, ``export`` and ``check``."""
    phantom = commands.add_parser("phantom", help="a training folder of simulated frames with exact truth")
    phantom.add_argument("n", type=positive, metavar="N", help="number of frames")
    phantom.add_argument(
        "--seed", type=count, default=0, metavar="N", help="same seed, same frames (default: %(default)s)"
    )
    phantom.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    phantom.set_defaults(run=_phantom)
    _add_import(commands)

    export = commands.add_parser("export", help="a training folder for other programs")
    export.add_argument("folder", type=existing, metavar="FOLDER", help="training folder")
    export.add_argument("--format", choices=("nnunet", "coco", "csv"), required=True)
    export.add_argument("--out", type=Path, required=True, metavar="DEST", help="new folder")
    export.set_defaults(run=_export)

    check = commands.add_parser("check", help="a training folder in numbers, its faults, and their repair")
    check.add_argument("folder", type=existing, metavar="FOLDER", help="training folder")
    check.add_argument("--repair", action="store_true", help="mend what can be mended without guessing")
    check.add_argument(
        "--break-locks", action="store_true", help="show who holds each lock, and ask whether to break it"
    )
    check.add_argument(
        "--pictures", type=Path, metavar="DIR", help="write the pictures that nobody has looked at for names"
    )
    check.add_argument(
        "--seen-by", metavar="READER", help="who has looked at those pictures, and saw no name and no date"
    )
    check.add_argument("--all", action="store_true", help="list every fault, not the first few of each kind")
    check.add_argument("--json", action="store_true", help="print numbers and faults as JSON")
    check.set_defaults(run=_check)


def _add_import(commands: Commands) -> None:
    imports = commands.add_parser(
        "import",
        help="a study of images, masks and labels into a training folder",
        description="Bring a study into a training folder: folders of pictures with masks, COCO, labelme, "
        "YOLO, Pascal VOC, nnU-Net, exports of other training folders. At its end it says what it made of "
        "what.",
    )
    imports.add_argument(
        "source", type=existing, metavar="SOURCE", help="folder of the study, or its COCO file"
    )
    imports.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="training folder, new or not"
    )
    imports.add_argument("--images", metavar="DIR", help="folder of the images (default: by names and paths)")
    imports.add_argument("--masks", metavar="DIR", help="folder of the masks (default: by names and paths)")
    imports.add_argument(
        "--labels",
        metavar="FILE",
        help="table of labels and patients: CSV, TSV or XLSX (default: the only one)",
    )
    meanings = imports.add_argument_group("what words and values mean; none is guessed")
    meanings.add_argument(
        "--mask-values",
        type=_mask_value,
        nargs="+",
        default=[],
        metavar="VALUE=MEANING",
        help="values or colours (#rrggbb) of a mask: background, node, benign, metastatic, not-judged; or "
        "the word ids alone, where each value is a node of its own",
    )
    for option, what, choices in (
        ("--label-values", "LABEL", "labels, classes and categories: benign, metastatic, no-node, unknown"),
        ("--split-values", "WORD", "words of a split column or folder: train, validation, test, none"),
        ("--columns", "ROLE", "heading that holds a role, such as label=Befund or image=Datei"),
        ("--column-values", "ROLE:WORD", "other words of the table, such as level:4b=IV or side:re=right"),
    ):
        meanings.add_argument(
            option, type=pair, nargs="+", default=[], metavar=f"{what}=MEANING", help=choices
        )
    imports.add_argument(
        "--clean",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="crop to the scan area and paint over burned-in marks (default: for folders of pictures alone)",
    )
    imports.add_argument(
        "--turn-masks",
        action="store_true",
        help="masks of turned pictures (EXIF) were drawn on the stored pixels",
    )
    imports.add_argument(
        "--patient-folders", action="store_true", help="the folder of an image is named after its patient"
    )
    imports.add_argument("--json", action="store_true", help="print the report as JSON")
    imports.set_defaults(run=_import)


def _mask_value(text: str) -> tuple[str, str]:
    if text.strip().casefold() == "ids":
        return "ids", "node"
    value, meaning = pair(text)
    if not re.fullmatch(r"\d+|#[0-9a-fA-F]{6}", value):
        raise argparse.ArgumentTypeError(
            f"{value} is no value of a mask: give a number, #rrggbb, or the word ids"
        )
    return value, meaning


def _phantom(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..folder.simulated import simulate_folder

    for _ in tqdm(simulate_folder(options.out, options.n, options.seed), total=options.n, disable=None):
        pass
    print(f"{options.n} simulated frames: {options.out}")
    return 0


def _import(options: argparse.Namespace) -> int:
    from msgspec.json import encode, format

    from ..folder.formats.exchange import import_study

    work = import_study(
        options.source,
        options.out,
        images=options.images,
        masks=options.masks,
        labels=options.labels,
        mask_values=dict(options.mask_values),
        label_values=dict(options.label_values),
        split_values=dict(options.split_values),
        columns=dict(options.columns),
        column_values=dict(options.column_values),
        clean=options.clean,
        turn_masks=options.turn_masks,
        patient_folders=options.patient_folders,
    )
    for _ in _with_bar(work):
        pass
    report = work.report
    if options.json:
        print(format(encode(report), indent=1).decode())
    else:
        for line in report.lines():
            print(line)
        repeated = f", {report.repeated} of the same pixels as others" if report.repeated else ""
        refused = f", {report.refused} refused" if report.refused else ""
        print(f"{report.taken} frames imported{repeated}{refused}: {options.out}")
    return 1 if report.refused else 0


def _export(options: argparse.Namespace) -> int:
    from ..folder.formats.exchange import export_study

    n_done = 0
    notes: list[str] = []
    for step in _with_bar(export_study(options.folder, options.format, options.out)):
        n_done += step.case is not None
        notes += step.notes
    for note in notes:
        print(note, file=sys.stderr)
    print(f"{n_done} frames exported: {options.out}")
    return 0


def _with_bar(steps: Iterable[ExchangeStep]) -> Iterator[ExchangeStep]:
    """The same steps, under a bar."""
    from tqdm import tqdm

    with tqdm(disable=None) as bar:
        for step in steps:
            bar.total = step.total
            bar.update()
            yield step


def _check(options: argparse.Namespace) -> int:
    from ..folder.dataset import TrainingFolder
    from ..folder.health.check import check_study
    from ..folder.health.repair import repair, repair_all, repair_description

    to = sys.stderr if options.json else sys.stdout
    try:
        study = TrainingFolder.open(options.folder)
    except DatasetError:
        if not options.repair:
            raise
        print(f"folder: {repair_description(options.folder)}", file=to)
        study = TrainingFolder.open(options.folder)
    if options.repair:
        for sentence in repair_all(study):
            print(sentence, file=to)
    found = check_study(study)
    if options.break_locks:
        for fault in found.faults:
            if fault.lock is not None and _agrees(f"{fault} Break it? [y/N] "):
                print(repair(study, fault, confirmed=True), file=to)
        found = check_study(study)
    n_errors = sum(fault.severity == "error" for fault in found.faults)
    if options.json:
        _print_json(found)
        return 1 if n_errors else 0
    for line in found.summary.lines():
        print(line)
    _see(study, options)
    for line in _grouped(found.faults, options):
        print(line)
    print(f"errors: {n_errors}, warnings: {len(found.faults) - n_errors}")
    return 1 if n_errors else 0


def _grouped(faults: Sequence[Fault], options: argparse.Namespace) -> Iterator[str]:
    """Faults as lines; of many of one kind the first few, so that the one that matters is seen."""
    by_kind: dict[tuple[str, str], list[Fault]] = {}
    for fault in faults:
        by_kind.setdefault((fault.severity, fault.kind), []).append(fault)
    for (severity, kind), alike in by_kind.items():
        shown = alike if options.all else alike[:SHOWN]
        for fault in shown:
            yield f"{severity}: {fault}{_offer(fault, options)}"
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


def _see(study: TrainingFolder, options: argparse.Namespace) -> None:
    """Tell of pictures that nobody has looked at, write them, or note who has."""
    from ..folder.screens import confirm_screens, unseen_screens, write_sheets

    unseen = unseen_screens(study)
    if options.seen_by:
        confirm_screens(study, unseen, options.seen_by)
        for screen in unseen:
            print(f"{screen}: {options.seen_by} has looked at its pictures.")
    elif options.pictures is not None:
        for screen, path in write_sheets(study, unseen, options.pictures):
            print(f"{screen}: look at {path.name}. If no name and no date shows, add --seen-by READER.")
    elif unseen:
        kinds = f"{len(unseen)} kinds of screen" if len(unseen) > 1 else next(iter(unseen))
        print(
            f"names       {sum(map(len, unseen.values()))} frames of {kinds} were not looked at for "
            "burned-in names: add --pictures DIR"
        )


def _agrees(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # nobody is there to ask
        return False


def _offer(fault: Fault, options: argparse.Namespace) -> str:
    """Which option would mend a fault, unless it was given."""
    option, given = (
        ("--repair", options.repair) if fault.lock is None else ("--break-locks", options.break_locks)
    )
    return f" Repair ({fault.remedy.value}): add {option}." if fault.remedy and not given else ""
