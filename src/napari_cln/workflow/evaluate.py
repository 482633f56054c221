"""A model and a training folder → the report that a publication needs, with the cases that belong into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, TypeVar

from ..annotation import Case
from ..disk.atomic import write_atomically
from ..errors import DatasetError, ExportError, PredictionError, RunError, counted
from ..folder.dataset import TrainingFolder, read_not_judged
from ..folder.pictures import encode_png
from ..folder.split.frozen import frozen_places, read_splits
from ..models.library import find_model
from ..study.cases import is_finished
from ..study.comparison import check_names, read_calls
from ..study.config import EvaluationConfig, EvaluationSettings
from ..study.evaluation import WITH_RECORD, Evaluation, compare_each, evaluate_each
from ..study.fusion import ClinicalRecord, RecordBeside, read_fusion
from ..study.matching import judged_part
from ..study.report import write_report
from ..training.run_folder import RunFolder
from ..types import Frame, Prediction
from .fuse import records_of_table

__all__ = ["EvaluationSettings", "EvaluationStep", "evaluate_folder"]

T = TypeVar("T")
_Outcome: TypeAlias = Prediction | PredictionError


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationStep:
    """One step of an evaluation: a frame that was compared, or its end.

    Parameters
    ----------
    done, total : int
        Frames so far, and of how many; those of a second model count too.
    notes : tuple of str
        Sentences for the user, such as on frames without a result.
    evaluation : Evaluation, optional
        Every figure; of the last step alone.
    report : Path, optional
        The page ``report.html``; of the last step alone.
    """

    done: int
    total: int
    notes: tuple[str, ...] = ()
    evaluation: Evaluation | None = None
    report: Path | None = None


def evaluate_folder(
    folder: TrainingFolder | Path | str, out: Path | str, settings: EvaluationSettings | None = None
) -> Iterator[EvaluationStep]:
    """Evaluate a model on a training folder, and write its report.

    A case is on the side that its data set's authors gave it, else on its patient's side of the frozen
    folds, else it is a test case.

    Parameters
    ----------
    folder : TrainingFolder or path
    out : path
        Folder of the report, made when missing: ``report.html``, ``report.pdf``, ``report.json``,
        ``cases.csv``, and ``masks/`` with the nodes of each prediction by case id (uint8 PNG of the
        frame's size; 0 background, 1, 2, … the nodes).
    settings : EvaluationSettings, optional

    Yields
    ------
    EvaluationStep
        As each frame is compared; the last one holds the evaluation and the report.

    Raises
    ------
    DatasetError
        If the folder is damaged, the set of cases is empty, or a table's ids are not those of its cases.
    WeightsError, DeviceError
        If there is no such model, or no such device.
    PredictionError
        If the network gave no finite number for any frame.
    ExportError
        If the report can't be written, or the folder holds one already.

    Examples
    --------
    >>> *_, last = evaluate_folder("study", "report", EvaluationSettings(split="all"))  # doctest: +SKIP
    >>> last.evaluation.nodes["sensitivity"].estimate                                   # doctest: +SKIP
    0.872 (0.801–0.920, n = 125)
    """
    from ..network.inference import Segmenter

    settings, out = settings or EvaluationSettings(), Path(out)
    if is_finished(out):
        raise ExportError(f"{out.absolute().name} already holds a report.", "Choose another folder.")
    study = folder if isinstance(folder, TrainingFolder) else TrainingFolder.open(folder)
    everyone = study.cases()
    sides = _sides(study, everyone)
    cases = _cases_of(study, everyone, sides, settings)
    calls = _calls(settings, cases)
    segmenter = Segmenter(settings.model, settings.device)
    second = Segmenter(settings.compare_with, settings.device) if settings.compare_with else None
    total = len(cases) * (2 if second else 1)
    learned_from, trained_on, unknown = _learned_from(settings.model)
    _clear(out / "masks", everyone)
    others = {}
    if second is not None:
        lost: list[PredictionError] = []
        theirs = _judged(study, cases, _noting(lost, second.predict(_frames(study, cases))))
        comparing = compare_each(cases, theirs, splits=sides, read=study.read_instances)
        others[second.model.model_id] = yield from _counted(comparing, lost, 0, len(cases), total)
    lost = []
    mine = _kept(_noting(lost, segmenter.predict(_frames(study, cases))), cases, out / "masks")
    evaluating = evaluate_each(
        cases,
        _judged(study, cases, mine),
        settings.figures,
        splits=sides,
        read=study.read_instances,
        readers=calls,
        others=others,
        partitions=_patients(everyone, sides),
        learned_from=learned_from,
        learned_hospitals={case.hospital for case in everyone if case.hospital and case.id in trained_on},
        record=_record(study, cases, settings),
    )
    evaluation = yield from _counted(evaluating, lost, total - len(cases), total, total)
    sources = segmenter.card.trained_on
    told = tuple(f"{one.name} (n = {one.n})" for one in sources)
    evaluation = replace(evaluation, flow=replace(evaluation.flow, trained_on=told))
    report = write_report(evaluation, out)
    yield EvaluationStep(done=total, total=total, notes=unknown, evaluation=evaluation, report=report)


def _counted(
    work: Generator[None, None, T], lost: list[PredictionError], before: int, last: int, total: int
) -> Generator[EvaluationStep, None, T]:
    """Steps of a part of the work, and its result; with the last frame, how many had no result, and why."""
    done = before
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        done += 1
        told = (
            (f"{counted(len(lost), 'frame')} without a result. {lost[0]}",) if lost and done == last else ()
        )
        yield EvaluationStep(done=done, total=total, notes=told)


def _cases_of(
    study: TrainingFolder, everyone: Sequence[Case], sides: Mapping[str, str], settings: EvaluationConfig
) -> list[Case]:
    """The cases to report on, and those that a cutoff is taken from."""
    sizes = Counter(sides.values())
    if not (sizes[settings.split] or (settings.split == "all" and sides)):
        there = ", ".join(f"{side} {n}" for side, n in sorted(sizes.items())) or "none"
        raise DatasetError(
            f"No frame of {study.path.name} is in the set {settings.split!r} (there: {there}).",
            "Choose one of those, or add frames of new patients for a test.",
        )
    needed = {settings.split} | ({"validation"} if settings.cutoff_from == "validation" else set())
    return [case for case in everyone if "all" in needed or sides[case.id] in needed]


def _sides(study: TrainingFolder, cases: Sequence[Case]) -> dict[str, str]:
    """Side of each case: the one its authors gave it, else its patient's in the frozen folds, else test."""
    places = frozen_places(read_splits(study.layout.splits) or [])
    sides = {}
    for case in cases:
        place = places.get(case.id, places.get(case.patient))
        frozen = "test" if place is None else "train" if place else "validation"
        sides[case.id] = case.split or frozen
    return sides


def _patients(cases: Sequence[Case], sides: Mapping[str, str]) -> dict[str, set[str]]:
    patients: dict[str, set[str]] = {}
    for case in cases:
        patients.setdefault(sides[case.id], set()).add(case.patient)
    return patients


def _calls(settings: EvaluationSettings, cases: Sequence[Case]) -> dict[str, dict[str, str]]:
    """Calls of the readers and verdicts of the reports, each on some case of the set."""
    calls = read_calls(settings.readers) if settings.readers else {}
    reports = read_calls(settings.reports, "original reports") if settings.reports else {}
    check_names(calls, reports, [WITH_RECORD] if settings.fusion else [])
    calls |= reports
    known = {case.id for case in cases}
    for name, said in calls.items():
        if not any(key.partition("/")[0] in known for key in said):
            raise DatasetError(
                f"{name} has {len(said)} calls, and none is on a case of this set.",
                "Its ids must be those of the training folder, as in the column id of cases.csv.",
            )
    return calls


def _record(
    study: TrainingFolder, cases: Sequence[Case], settings: EvaluationSettings
) -> RecordBeside | None:
    """The fusion that was asked for, and the clinical records of the cases."""
    if not settings.fusion:
        return None
    fusion = read_fusion(settings.fusion)
    records: dict[str, ClinicalRecord] = {
        case.id: record for case in cases if (record := study.record(case.id).clinical)
    }
    if settings.record_table:
        for key, more in records_of_table(settings.record_table).items():
            records[key] = {**records.get(key, {}), **more}
    return RecordBeside(fusion=fusion, records=records)


def _learned_from(model: str) -> tuple[Collection[str], Collection[str], tuple[str, ...]]:
    """Frames of the run that a model file lies in, if it lies in one; those of them that set its weights; and
    why they are not known."""
    path = find_model(model)
    notes: list[str] = []
    for run in (RunFolder(path.parent), RunFolder(path.parent.parent)):
        if run.is_begun:
            try:
                folds = run.record().folds
                seen = {id_ for fold in folds for id_ in (*fold.train, *fold.validation)}
                mine = [fold for k, fold in enumerate(folds) if run.fold(k) == path.parent] or folds
                return seen, {id_ for fold in mine for id_ in fold.train}, tuple(notes)
            except RunError as error:
                notes.append(f"{error} So it is not known which frames {path.name} learned from.")
    return (), (), tuple(notes)


def _frames(study: TrainingFolder, cases: Sequence[Case]) -> Iterator[Frame]:
    for case in cases:
        yield study.read_frame(case)


def _noting(lost: list[PredictionError], predictions: Iterable[_Outcome]) -> Iterator[_Outcome]:
    """The same predictions; the errors among them are noted."""
    for prediction in predictions:
        if isinstance(prediction, PredictionError):
            lost.append(prediction)
        yield prediction


def _judged(
    study: TrainingFolder, cases: Sequence[Case], predictions: Iterable[_Outcome]
) -> Iterator[_Outcome]:
    """The same predictions without what they draw where nobody judged the frame."""
    for case, prediction in zip(cases, predictions, strict=True):
        if isinstance(prediction, Prediction) and study.dataset.has_unjudged:
            yield judged_part(prediction, read_not_judged(study, case))
        else:
            yield prediction


def _clear(folder: Path, cases: Sequence[Case]) -> None:
    """Remove the masks that an evaluation of these cases left when it was stopped."""
    try:
        for case in cases:
            (folder / f"{case.id}.png").unlink(missing_ok=True)
    except OSError as cause:
        raise _unwritable(folder.parent, cause) from cause


def _unwritable(folder: Path, cause: OSError) -> ExportError:
    return ExportError(
        f"{folder.name} can't be written to ({cause.strerror}).",
        "Choose a folder where you may write, with free space.",
    )


def _kept(predictions: Iterable[_Outcome], cases: Sequence[Case], folder: Path) -> Iterator[_Outcome]:
    """Write the nodes of each prediction as a picture of ids, so that its outline can be looked at."""
    for case, prediction in zip(cases, predictions, strict=True):
        if isinstance(prediction, Prediction):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                write_atomically(folder / f"{case.id}.png", encode_png(prediction.instances))
            except OSError as cause:
                raise _unwritable(folder.parent, cause) from cause
        yield prediction
