"""``napari-cln evaluate | reports``: numbers for a publication."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import DEVICES, Commands, count, existing, positive, share

if TYPE_CHECKING:
    from typing import TypeAlias

    from ..errors import PredictionError
    from ..folder.dataset import TrainingFolder
    from ..types import Case, Frame, Prediction

    Outcome: TypeAlias = Prediction | PredictionError

__all__ = ["PROGRESS", "add_commands"]

PROGRESS = "frame {} of {}"
"""What stands in a log once a second, where no bar can be drawn."""


def add_commands(commands: Commands) -> None:
    """Add ``evaluate`` and ``reports``."""
    _add_evaluate(commands)
    reports = commands.add_parser("reports", help="verdicts of original reports, by a dictionary")
    reports.add_argument("reports", type=existing, metavar="CSV", help="table with the columns id and text")
    reports.add_argument("--out", type=Path, required=True, metavar="CSV", help="table of verdicts to write")
    reports.add_argument("--dictionary", type=existing, metavar="TOML", help="a dictionary of your own")
    reports.set_defaults(run=_reports)


def _add_evaluate(commands: Commands) -> None:
    evaluate = commands.add_parser("evaluate", help="a report on a model's figures, with intervals")
    evaluate.add_argument("folder", type=existing, metavar="FOLDER", help="training folder")
    evaluate.add_argument("--out", type=Path, required=True, metavar="REPORT", help="folder of the report")
    evaluate.add_argument(
        "--model", default="default", help="name or .safetensors file (default: %(default)s)"
    )
    evaluate.add_argument("--device", choices=DEVICES, default="auto")
    beside = evaluate.add_argument_group("beside the model, on the same nodes")
    beside.add_argument("--compare-with", metavar="MODEL", help="a second model")
    beside.add_argument(
        "--readers", type=existing, metavar="CSV", help="table with a column id, and one of calls per reader"
    )
    beside.add_argument(
        "--reports",
        type=existing,
        metavar="CSV",
        help="verdicts of the original reports, from `napari-cln reports`",
    )
    # A setting that is not given keeps EvaluationConfig's default.
    settings = evaluate.add_argument_group("settings", argument_default=argparse.SUPPRESS)
    settings.add_argument("--split", help="set of cases to report on: test (default), validation, train, all")
    settings.add_argument(
        "--cutoff-from",
        choices=("card", "validation", "test"),
        help="where the cutoff comes from (default: the model's card); test flatters, and says so",
    )
    settings.add_argument("--rule", choices=("youden", "sensitivity"), help="how it is taken from cases")
    settings.add_argument(
        "--sensitivity", type=share, metavar="X", help="to be reached, for the second rule (0.9)"
    )
    settings.add_argument("--cutoff", type=share, metavar="X", help="a cutoff of your own")
    settings.add_argument("--prevalence", type=share, metavar="X", help="give PPV and NPV at this share too")
    settings.add_argument("--iou-threshold", type=share, metavar="X", help="from which a node is found (0.5)")
    settings.add_argument("--resamples", type=positive, metavar="N", help="of the bootstrap (2000)")
    settings.add_argument("--confidence", type=share, metavar="X", help="of every interval (0.95)")
    settings.add_argument("--seed", type=count, metavar="N")
    settings.add_argument("--data", metavar="TEXT", help="what the cases are, in words, for the report")
    evaluate.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from dataclasses import fields

    from ..folder.dataset import TrainingFolder
    from ..network.inference import Segmenter
    from ..study.comparison import read_calls
    from ..study.evaluation import EvaluationConfig, case_rows, evaluate
    from ..study.report import write_report

    names = {field.name for field in fields(EvaluationConfig)}
    config = EvaluationConfig(**{name: value for name, value in vars(options).items() if name in names})
    study = TrainingFolder.open(options.folder)
    everyone = study.cases()
    splits = _splits(study, everyone)
    needed = {config.split, "validation"} if config.cutoff_from == "validation" else {config.split}
    cases = [case for case in everyone if "all" in needed or splits[case.id] in needed]
    _check_split(options.folder.name, config.split, splits)
    calls = read_calls(options.readers) if options.readers else {}
    if options.reports:
        calls |= read_calls(options.reports, "original reports")
    for name, said in calls.items():
        _check_ids(name, said, cases)
    segmenter = Segmenter(options.model, options.device)
    second = Segmenter(options.compare_with, options.device) if options.compare_with else None
    total = len(cases) * (2 if second else 1)
    with _Progress(total) as progress:
        others = {}
        if second is not None:
            theirs = _told(progress.of(second.predict(_frames(study, cases))))
            rows = case_rows(cases, _judged(study, cases, theirs), splits=splits, read=study.read_instances)
            others[second.model.model_id] = rows
        mine = _told(progress.of(segmenter.predict(_frames(study, cases))))
        evaluation = evaluate(
            cases,
            _judged(study, cases, _kept(mine, cases, options.out / "masks")),
            config,
            splits=splits,
            read=study.read_instances,
            readers=calls,
            others=others,
            partitions=_patients(everyone, splits),
            learned_from=_learned_from(options.model),
        )
    print(f"report: {write_report(evaluation, options.out)}")
    return 0


def _splits(study: TrainingFolder, cases: Sequence[Case]) -> dict[str, str]:
    """Set of each case: the side its authors gave it, else its patient's in the frozen folds, else test."""
    from ..folder.split.frozen import frozen_places, read_splits

    places = frozen_places(read_splits(study.layout.splits) or [])
    splits = {}
    for case in cases:
        place = places.get(case.id, places.get(case.patient))
        frozen = "test" if place is None else "train" if place else "validation"
        splits[case.id] = case.split or frozen
    return splits


def _check_split(name: str, split: str, splits: dict[str, str]) -> None:
    from collections import Counter

    from ..errors import DatasetError

    sizes = Counter(splits.values())
    if not (sizes[split] or (split == "all" and splits)):
        there = ", ".join(f"{side} {n}" for side, n in sorted(sizes.items())) or "none"
        raise DatasetError(
            f"No frame of {name} is in the set {split!r} (there: {there}). Choose one of those, or add "
            "frames of new patients for a test."
        )


def _patients(cases: Sequence[Case], splits: dict[str, str]) -> dict[str, set[str]]:
    patients: dict[str, set[str]] = {}
    for case in cases:
        patients.setdefault(splits[case.id], set()).add(case.patient)
    return patients


def _learned_from(model: str) -> set[str]:
    """Frames of the run that a model file lies in; empty where its folder holds none."""
    from ..errors import RunError
    from ..models.library import find_model
    from ..training.run_folder import RunFolder

    path = find_model(model)
    for run in (RunFolder(path.parent), RunFolder(path.parent.parent)):
        if run.is_begun:
            try:
                folds = run.record().folds
                return {id_ for fold in folds for id_ in (*fold.train, *fold.validation)}
            except RunError as error:
                unknown = f"So it is not known which frames {path.name} learned from."
                print(f"napari-cln: {error} {unknown}", file=sys.stderr)
    return set()


def _check_ids(name: str, calls: dict[str, str], cases: Sequence[Case]) -> None:
    from ..errors import DatasetError

    known = {case.id for case in cases}
    if not any(key.partition("/")[0] in known for key in calls):
        raise DatasetError(
            f"{name} has {len(calls)} calls, and none is on a case of this set. Its ids must be those of "
            "the training folder, as in the column id of cases.csv."
        )


def _frames(study: TrainingFolder, cases: Sequence[Case]) -> Iterator[Frame]:
    from ..types import Frame

    for case in cases:
        yield Frame(pixels=study.read_image(case), spacing_mm=case.spacing_mm, source=case.image)


def _told(predictions: Iterable[Outcome]) -> Iterator[Outcome]:
    """The same predictions; the first error among them, and how many there were, is told at the end."""
    from ..errors import PredictionError

    errors = []
    for prediction in predictions:
        if isinstance(prediction, PredictionError):
            errors.append(prediction)
        yield prediction
    if errors:
        print(f"napari-cln: {len(errors)} frames without a result. {errors[0]}", file=sys.stderr)


def _judged(
    study: TrainingFolder, cases: Sequence[Case], predictions: Iterable[Outcome]
) -> Iterator[Outcome]:
    """The same predictions without what they draw where nobody judged the frame."""
    from ..study.matching import judged_part
    from ..types import Prediction

    for case, prediction in zip(cases, predictions, strict=True):
        if isinstance(prediction, Prediction) and study.dataset.has_unjudged:
            yield judged_part(prediction, study.read_not_judged(case))
        else:
            yield prediction


def _kept(predictions: Iterable[Outcome], cases: Sequence[Case], folder: Path) -> Iterator[Outcome]:
    """Write the nodes of each prediction as a picture of ids, so that its outline can be looked at."""
    from ..errors import ExportError
    from ..folder.pictures import encode_png
    from ..types import Prediction

    for case, prediction in zip(cases, predictions, strict=True):
        if not isinstance(prediction, Prediction):
            yield prediction
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{case.id}.png").write_bytes(encode_png(prediction.instances))
        except OSError as cause:
            raise ExportError(
                f"{folder.parent.name} can't be written to ({cause.strerror}). Choose a folder where you may "
                "write, with free space."
            ) from cause
        yield prediction


class _Progress:
    """A bar in a terminal; in a log, a line a second."""

    def __init__(self, total: int) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=total, unit="frame", disable=None)
        self._total, self._done, self._said = total, 0, 0.0

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def of(self, predictions: Iterable[Any]) -> Iterator[Any]:
        """The same predictions, counted."""
        for prediction in predictions:
            self._done += 1
            self._bar.update()
            if self._bar.disable and (time.monotonic() - self._said > 1 or self._done == self._total):
                self._said = time.monotonic()
                print(PROGRESS.format(self._done, self._total), file=sys.stderr)
            yield prediction


def _reports(options: argparse.Namespace) -> int:
    from ..study.reports.text import classify_reports, load_dictionary

    dictionary = load_dictionary(options.dictionary) if options.dictionary else None
    counts = classify_reports(options.reports, options.out, dictionary)
    print(", ".join(f"{label} {n}" for label, n in sorted(counts.items())) + f": {options.out}")
    return 0
