"""``napari-cln evaluate | reports``: numbers for a publication."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import DEVICES, Commands, existing

if TYPE_CHECKING:
    from ..folder.dataset import TrainingFolder
    from ..types import Case, Frame

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add ``evaluate`` and ``reports``."""
    evaluate = commands.add_parser("evaluate", help="a report on a model's figures, with intervals")
    evaluate.add_argument("folder", type=existing, metavar="FOLDER", help="training folder")
    evaluate.add_argument("--out", type=Path, required=True, metavar="REPORT", help="folder of the report")
    evaluate.add_argument(
        "--model", default="default", help="name or .safetensors file (default: %(default)s)"
    )
    evaluate.add_argument("--device", choices=DEVICES, default="auto")
    evaluate.add_argument("--split", default="test", help="set of cases to report on (default: %(default)s)")
    evaluate.add_argument(
        "--data", default="", metavar="TEXT", help="what the cases are, in words, for the report"
    )
    evaluate.set_defaults(run=_evaluate)

    reports = commands.add_parser("reports", help="verdicts of original reports, by a dictionary")
    reports.add_argument("reports", type=existing, metavar="CSV", help="table with the columns id and text")
    reports.add_argument("--out", type=Path, required=True, metavar="CSV", help="table of verdicts to write")
    reports.add_argument("--dictionary", type=existing, metavar="TOML", help="a dictionary of your own")
    reports.set_defaults(run=_reports)


def _evaluate(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..folder.dataset import TrainingFolder
    from ..network.inference import Segmenter
    from ..study.evaluation import EvaluationConfig, evaluate
    from ..study.report import write_report

    study = TrainingFolder.open(options.folder)
    cases = study.cases()
    predictions = Segmenter(options.model, options.device).predict(_frames(study, cases))
    evaluation = evaluate(
        cases,
        tqdm(predictions, total=len(cases), unit="frame", disable=None),
        EvaluationConfig(split=options.split, data=options.data),
        read=study.read_instances,
    )
    print(f"report: {write_report(evaluation, options.out)}")
    return 0


def _frames(study: TrainingFolder, cases: list[Case]) -> Iterator[Frame]:
    from ..types import Frame

    for case in cases:
        yield Frame(pixels=study.read_image(case), spacing_mm=case.spacing_mm, source=case.image)


def _reports(options: argparse.Namespace) -> int:
    from ..study.dictionary import classify_reports, load_dictionary

    dictionary = load_dictionary(options.dictionary) if options.dictionary else None
    counts = classify_reports(options.reports, options.out, dictionary)
    print(", ".join(f"{label} {n}" for label, n in sorted(counts.items())) + f": {options.out}")
    return 0
