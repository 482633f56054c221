"""``napari-cln phantom | import | export | check``: into, out of and through a training folder."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import Commands, count, existing, pair, positive

if TYPE_CHECKING:
    from ..folder.dataset import TrainingFolder
    from ..folder.formats.exchange import Step
    from ..folder.health.fault import Fault

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add ``phantom``, ``import``, ``export`` and ``check``."""
    phantom = commands.add_parser("phantom", help="a training folder of simulated frames with exact truth")
    phantom.add_argument("n", type=positive, metavar="N", help="number of frames")
    phantom.add_argument(
        "--seed", type=count, default=0, metavar="N", help="same seed, same frames (default: %(default)s)"
    )
    phantom.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    phantom.set_defaults(run=_phantom)

    imports = commands.add_parser("import", help="a study of images, masks and labels into a training folder")
    imports.add_argument(
        "source", type=existing, metavar="SOURCE", help="folder of the study, or its COCO file"
    )
    imports.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="training folder, new or not"
    )
    imports.add_argument("--images", metavar="DIR", help="folder of the images (default: by its usual name)")
    imports.add_argument("--masks", metavar="DIR", help="folder of the masks (default: by its usual name)")
    imports.add_argument(
        "--labels", metavar="FILE", help="table of labels and patients (default: the only CSV)"
    )
    imports.add_argument(
        "--mask-values",
        type=_mask_value,
        nargs="+",
        default=[],
        metavar="VALUE=MEANING",
        help="what a mask's values are: background, node, benign, metastatic",
    )
    imports.add_argument(
        "--label-values",
        type=pair,
        nargs="+",
        default=[],
        metavar="LABEL=MEANING",
        help="what the table's labels are: benign, metastatic, no-node, unknown",
    )
    imports.add_argument(
        "--clean",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="crop to the scan area and paint over burned-in marks (default: for plain folders alone)",
    )
    imports.set_defaults(run=_import)

    export = commands.add_parser("export", help="a training folder for other programs")
    export.add_argument("folder", type=existing, metavar="FOLDER", help="training folder")
    export.add_argument("--format", choices=("nnunet", "coco", "csv"), required=True)
    export.add_argument("--out", type=Path, required=True, metavar="DEST", help="new folder")
    export.set_defaults(run=_export)

    check = commands.add_parser("check", help="every fault of a training folder, and its repair")
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
    check.set_defaults(run=_check)


def _mask_value(text: str) -> tuple[int, str]:
    value, meaning = pair(text)
    if not (value.isascii() and value.isdecimal()):
        raise argparse.ArgumentTypeError(f"{value} is no value of a mask")
    return count(value), meaning


def _phantom(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..folder.simulated import simulate_folder

    for _ in tqdm(simulate_folder(options.out, options.n, options.seed), total=options.n, disable=None):
        pass
    print(f"{options.n} simulated frames: {options.out}")
    return 0


def _import(options: argparse.Namespace) -> int:
    from ..folder.formats.exchange import import_study

    steps = import_study(
        options.source,
        options.out,
        images=options.images,
        masks=options.masks,
        labels=options.labels,
        mask_values=dict(options.mask_values),
        label_values=dict(options.label_values),
        clean=options.clean,
    )
    return _follow(steps, "imported", options.out)


def _export(options: argparse.Namespace) -> int:
    from ..folder.formats.exchange import export_study

    return _follow(export_study(options.folder, options.format, options.out), "exported", options.out)


def _follow(steps: Iterator[Step], done: str, where: Path) -> int:
    """Show each frame's problem or note, count, and tell."""
    from tqdm import tqdm

    n_done = n_refused = 0
    with tqdm(disable=None) as bar:
        for step in steps:
            bar.total = step.total
            bar.update()
            n_done += step.case is not None
            n_refused += step.problem is not None
            if sentence := step.problem or step.note:
                bar.write(f"{step.name}: {sentence}", file=sys.stderr)
    refused = f", {n_refused} refused" if n_refused else ""
    print(f"{n_done} frames {done}{refused}: {where}")
    return 1 if n_refused else 0


def _check(options: argparse.Namespace) -> int:
    from ..folder.dataset import TrainingFolder
    from ..folder.health.check import check
    from ..folder.health.repair import repair

    study = TrainingFolder.open(options.folder)
    faults = check(study)
    for fault in faults:
        if fault.remedy is None:
            continue
        if fault.lock is None and options.repair:
            print(f"{fault.id or 'folder'}: {repair(study, fault)}")
        elif fault.lock is not None and options.break_locks and _agrees(f"{fault} Break it? [y/N] "):
            print(repair(study, fault, confirmed=True))
    if options.repair or options.break_locks:
        faults = check(study)
    for fault in faults:
        print(f"{fault.severity}: {fault}{_offer(fault, options)}")
    _see(study, options)
    n_errors = sum(fault.severity == "error" for fault in faults)
    print(f"errors: {n_errors}, warnings: {len(faults) - n_errors}")
    return 1 if n_errors else 0


def _see(study: TrainingFolder, options: argparse.Namespace) -> None:
    """Tell of pictures that nobody has looked at, write them, or note who has."""
    from ..folder.pictures import encode_png
    from ..folder.screens import confirm_screens, contact_sheet, unseen_screens

    unseen = unseen_screens(study)
    if options.seen_by:
        confirm_screens(study, unseen, options.seen_by)
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
    for screen, ids in unseen.items():
        if options.seen_by:
            print(f"{screen}: {options.seen_by} has looked at its pictures.")
        elif options.pictures is None:
            print(f"{screen}: {len(ids)} frames, not looked at for burned-in names. Add --pictures DIR.")
        else:
            path = options.pictures / f"{re.sub('[^a-z0-9]+', '-', screen.casefold())}.png"
            path.write_bytes(encode_png(contact_sheet(study, ids)))
            print(f"{screen}: look at {path.name}. If no name and no date shows, add --seen-by READER.")


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
    return f" Repair ({fault.remedy}): add {option}." if fault.remedy and not given else ""
