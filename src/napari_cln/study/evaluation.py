"""Predictions and what is known of their frames → every figure of a paper, with its interval.

>>> evaluation = evaluate(folder.cases(), segment_batch(images))   # doctest: +SKIP
>>> print(evaluation.nodes["sensitivity"].estimate)                 # doctest: +SKIP
0.872 (0.801–0.920, n = 125)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..annotation import Annotation, Case
from ..errors import DatasetError, FrameError, FrameReadError, PredictionError
from ..types import Estimate, Prediction
from .cases import CaseRow, Flow, count_flow, unjudged_frames
from .comparison import Comparison, Panel, check_names, compare_calls, compare_models, set_side_by_side
from .config import EvaluationConfig
from .cutoff import Cutoff, choose_cutoff
from .diagnosis import Diagnosis, diagnose
from .fusion import RecordBeside, fused_rows
from .gallery import Gallery, Picture
from .matching import compare, read_instances, reference_instances, split_of
from .segmentation import Detection, Segmentation, detect, segment_summary, share_claimed
from .statistics.intervals import Resampling
from .subgroups import Subgroup, Transfer, compare_hospitals, split_into_subgroups

__all__ = [
    "Evaluation",
    "EvaluationConfig",
    "case_rows",
    "compare_each",
    "evaluate",
    "evaluate_each",
    "evaluate_rows",
]

WITH_RECORD = "model with clinical record"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Figures of one model on one set of cases; :mod:`napari_cln.study.report` prints them.

    Parameters
    ----------
    config : EvaluationConfig
    rows : tuple of CaseRow
        The table that every figure is taken from.
    flow : Flow
        Counts of frames and nodes from the folder to each figure.
    cutoff : Cutoff
    nodes, patients : Diagnosis, optional
        Per node and per patient; None without a case of known truth.
    segmentation, detection : Segmentation, Detection, optional
        None for a model that only classifies, or without a node.
    subgroups : tuple of Subgroup
    comparisons : tuple of Comparison
        With other models, readers and reports.
    panel : Panel, optional
        All of them side by side; readers without and with the model.
    partitions : mapping of str to frozenset of str
        Patients of each split of the study.
    pictures : tuple of Picture
        The best, median and worst frames.
    record : RecordBeside, optional
        The clinical record that was set beside the model, and what of it was missing.
    transfers : tuple of Transfer
        Figures from hospital to hospital, where the cases are of several.
    """

    config: EvaluationConfig
    rows: tuple[CaseRow, ...]
    flow: Flow
    cutoff: Cutoff
    nodes: Diagnosis | None
    patients: Diagnosis | None
    segmentation: Segmentation | None
    detection: Detection | None
    subgroups: tuple[Subgroup, ...]
    comparisons: tuple[Comparison, ...]
    panel: Panel | None
    partitions: Mapping[str, frozenset[str]]
    pictures: tuple[Picture, ...] = ()
    record: RecordBeside | None = None
    transfers: tuple[Transfer, ...] = ()

    @property
    def model(self) -> str:
        """Id of the model, or of several, by commas."""
        return ", ".join(sorted({row.model for row in _of_split(self.rows, self.config.split) if row.model}))

    @property
    def claimed(self) -> Estimate | None:
        """Share of the frames without a node in which one is outlined; None without such frames."""
        return share_claimed(_of_split(self.rows, self.config.split), self.config.confidence)


def evaluate(
    cases: Iterable[Case | Annotation],
    predictions: Iterable[Prediction | FrameError],
    config: EvaluationConfig | None = None,
    *,
    splits: Mapping[str, str] | None = None,
    read: Callable[[Case], NDArray[np.uint8] | None] = read_instances,
    readers: Mapping[str, Mapping[str, str]] | None = None,
    others: Mapping[str, Sequence[CaseRow]] | None = None,
    partitions: Mapping[str, Collection[str]] | None = None,
    learned_from: Collection[str] = (),
    learned_hospitals: Collection[str] = (),
    record: RecordBeside | None = None,
) -> Evaluation:
    """Compare predictions with what is known of their frames.

    Parameters
    ----------
    cases : iterable of Case or Annotation
        With ``cutoff_from="validation"``, those of the validation split as well.
    predictions : iterable
        One for each case, in the same order; an error stands for a frame that could not be read, or
        for which the network gave no finite number.
        Taken one by one, so memory does not grow with the pixels.
    config : EvaluationConfig, optional
    splits : mapping of str to str, optional
        Case id to split; by default what the record of each case says, else ``"test"``.
    read : callable
        Reads the instances of a case, e.g. ``folder.read_instances``.
    readers : mapping, optional
        Name of a reader, or of the reports, to their calls by case id.
    others : mapping, optional
        Name of another model to its rows of the same cases, from :func:`case_rows`.
    partitions : mapping, optional
        Patients of each split of the whole study, where ``cases`` are a part of it.
    learned_from : collection of str
        Ids of the frames that the model learned from, where they are known.
    learned_hospitals : collection of str
        Hospitals of the frames that the model learned from, where they are known.
    record : RecordBeside, optional
        A clinical record and its fusion with the score, which is set beside the model.

    Returns
    -------
    Evaluation

    Raises
    ------
    DatasetError
        If there is nothing to evaluate, or cases and predictions do not belong together.
    PredictionError
        If the network gave no finite number for any frame.
    """
    return _end_of(
        evaluate_each(
            cases,
            predictions,
            config,
            splits=splits,
            read=read,
            readers=readers,
            others=others,
            partitions=partitions,
            learned_from=learned_from,
            learned_hospitals=learned_hospitals,
            record=record,
        )
    )


def evaluate_each(
    cases: Iterable[Case | Annotation],
    predictions: Iterable[Prediction | FrameError],
    config: EvaluationConfig | None = None,
    *,
    splits: Mapping[str, str] | None = None,
    read: Callable[[Case], NDArray[np.uint8] | None] = read_instances,
    readers: Mapping[str, Mapping[str, str]] | None = None,
    others: Mapping[str, Sequence[CaseRow]] | None = None,
    partitions: Mapping[str, Collection[str]] | None = None,
    learned_from: Collection[str] = (),
    learned_hospitals: Collection[str] = (),
    record: RecordBeside | None = None,
) -> Generator[None, None, Evaluation]:
    """Evaluate as :func:`evaluate` does, step by step: yield after each frame, return the evaluation."""
    config = config or EvaluationConfig()
    with Gallery() as gallery:
        rows, lost = yield from _compare_each(cases, predictions, splits, read, config.split, gallery)
        mine = [error for split, error in lost if config.split in (split, "all")]
        evaluation = evaluate_rows(
            rows,
            config,
            readers=readers,
            others=others,
            learned_hospitals=learned_hospitals,
            record=record,
            unreadable=sum(isinstance(error, FrameReadError) for error in mine),
            failed=sum(isinstance(error, PredictionError) for error in mine),
        )
        seen = {row.id for row in _of_split(rows, config.split)}.intersection(learned_from)
        known = {name: frozenset(patients) for name, patients in (partitions or {}).items()}
        return replace(
            evaluation,
            partitions=known or evaluation.partitions,
            flow=replace(evaluation.flow, learned_from=len(seen)),
            pictures=gallery.pick(),
        )


def case_rows(
    cases: Iterable[Case | Annotation],
    predictions: Iterable[Prediction | FrameError],
    *,
    splits: Mapping[str, str] | None = None,
    read: Callable[[Case], NDArray[np.uint8] | None] = read_instances,
) -> list[CaseRow]:
    """Return the table of another model, for the comparison; arguments and errors as :func:`evaluate`."""
    return _end_of(compare_each(cases, predictions, splits=splits, read=read))


def compare_each(
    cases: Iterable[Case | Annotation],
    predictions: Iterable[Prediction | FrameError],
    *,
    splits: Mapping[str, str] | None = None,
    read: Callable[[Case], NDArray[np.uint8] | None] = read_instances,
) -> Generator[None, None, list[CaseRow]]:
    """Make the table of :func:`case_rows` step by step: yield after each frame, return the rows."""
    rows, _ = yield from _compare_each(cases, predictions, splits, read)
    return rows


def _end_of(work: Generator[None, None, T]) -> T:
    """Result of some work, once all its steps are done."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result


def _compare_each(
    cases: Iterable[Case | Annotation],
    predictions: Iterable[Prediction | FrameError],
    splits: Mapping[str, str] | None,
    read: Callable[[Case], NDArray[np.uint8] | None],
    shown: str = "",
    gallery: Gallery | None = None,
) -> Generator[None, None, tuple[list[CaseRow], list[tuple[str, FrameError]]]]:
    """Rows of all frames, and what stands for the others, with the split of each.

    Frames of the split ``shown`` go to the gallery.
    """
    rows: list[CaseRow] = []
    lost: list[tuple[str, FrameError]] = []
    for case, prediction in zip_longest(cases, predictions):
        if case is None or prediction is None:
            raise DatasetError(
                f"There are more {'predictions than cases' if case is None else 'cases than predictions'}. "
                "Give one prediction for each case, in the same order."
            )
        split = splits.get(case.id) if splits and isinstance(case, Case) else None
        if isinstance(prediction, FrameReadError | PredictionError):
            lost.append((split_of(case, split), prediction))
        else:
            instances = reference_instances(case, read)
            found = compare(case, instances, prediction, split)
            rows += found
            first = found[0]
            dice = first.frame_dice if _of_split([first], shown) else None
            if gallery is not None and instances is not None and dice is not None:
                gallery.add(case, prediction, instances, first.id, dice)
        del prediction  # its maps, while the caller looks at the progress
        yield
    if not rows:
        for _, error in lost:
            if isinstance(error, PredictionError):
                raise error
    return rows, lost


def _of_split(rows: Sequence[CaseRow], split: str) -> list[CaseRow]:
    return [row for row in rows if split in (row.split, "all")]


def evaluate_rows(
    rows: Sequence[CaseRow],
    config: EvaluationConfig | None = None,
    *,
    readers: Mapping[str, Mapping[str, str]] | None = None,
    others: Mapping[str, Sequence[CaseRow]] | None = None,
    learned_hospitals: Collection[str] = (),
    record: RecordBeside | None = None,
    unreadable: int = 0,
    failed: int = 0,
) -> Evaluation:
    """Compute every figure from the table alone; the same table gives the same figures.

    Raises
    ------
    DatasetError
        If no row belongs to the split, the cutoff can't be taken, or two tests have one name.
    """
    config = config or EvaluationConfig()
    how = Resampling(n=config.resamples, seed=config.seed, confidence=config.confidence)
    mine = _of_split(rows, config.split)
    if not mine:
        there = ", ".join(sorted({row.split for row in rows})) or "none"
        raise DatasetError(
            f"No case belongs to the split {config.split!r} (there: {there}). "
            "Name one of those, or add cases."
        )
    judged = [row for row in mine if row.kind != "stray" and row.truth != "unknown"]
    cutoff = _cutoff(rows, config)
    calls = dict(readers or {})
    beside = dict(others or {})
    if record is not None:
        check_names(beside, [WITH_RECORD])
        beside[WITH_RECORD] = fused_rows(rows, record.records, record.fusion)
    models = {name: _other(name, theirs, config) for name, theirs in beside.items()}
    compared = [
        *(compare_calls(name, judged, cutoff.value, said, how) for name, said in calls.items()),
        *(compare_models(name, judged, cutoff.value, *theirs, how) for name, theirs in models.items()),
    ]
    return Evaluation(
        config=config,
        rows=tuple(rows),
        flow=count_flow(mine, unreadable, failed),
        cutoff=cutoff,
        nodes=diagnose(
            [row.truth == "metastatic" for row in judged],
            [row.score for row in judged],
            [row.patient for row in judged],
            cutoff.value,
            prevalence=config.prevalence,
            how=how,
        ),
        patients=_by_patient(mine, cutoff.value, config, how),
        segmentation=segment_summary(mine, config.iou_threshold, how),
        detection=detect(mine, config.iou_threshold, how),
        subgroups=split_into_subgroups(mine, cutoff.value, how),
        comparisons=tuple(found for found in compared if found is not None),
        panel=set_side_by_side(judged, cutoff.value, calls, models, how),
        partitions={
            name: frozenset(row.patient for row in rows if row.split == name)
            for name in sorted({row.split for row in rows})
        },
        record=None if record is None else record.counted(mine),
        transfers=compare_hospitals(mine, cutoff.value, learned_hospitals, how),
    )


def _other(name: str, rows: Sequence[CaseRow], config: EvaluationConfig) -> tuple[list[CaseRow], float]:
    """Rows and cutoff of another model, taken by the same rule; a typed cutoff is the first model's alone."""
    return _of_split(rows, config.split), _cutoff(rows, replace(config, cutoff=None), name).value


def _cutoff(rows: Sequence[CaseRow], config: EvaluationConfig, whose: str = "the model") -> Cutoff:
    if config.cutoff is not None:
        return Cutoff(value=config.cutoff, taken_on="given")
    if config.cutoff_from == "card":
        values = {row.cutoff for row in rows}
        if len(values) > 1:
            raise DatasetError(
                f"The table has {len(values)} different cutoffs, so it holds more than one model. "
                "Evaluate one model at a time."
            )
        # A card's cutoff was taken from validation cases.
        flattered = config.split in ("train", "validation", "all")
        return Cutoff(value=values.pop(), taken_on="card", optimistic=flattered)
    name = config.split if config.cutoff_from == "test" else "validation"
    source = [r for r in _of_split(rows, name) if r.kind != "stray" and r.truth != "unknown"]
    chosen = choose_cutoff(
        [row.truth == "metastatic" for row in source],
        [row.score for row in source],
        config.rule,
        config.sensitivity,
        taken_on=name,
        optimistic=config.split in (name, "all"),
    )
    if not math.isfinite(chosen.value):  # the first point of the curve, above every score
        raise DatasetError(
            f"By {chosen.rule} no cutoff on the score of {whose} parts the classes of the {name} set "
            f"({chosen.metastatic} metastatic, {chosen.benign} benign).",
            "Take the cutoff of the model's card, or give one of your own.",
        )
    return chosen


def _by_patient(
    rows: Sequence[CaseRow], cutoff: float, config: EvaluationConfig, how: Resampling
) -> Diagnosis | None:
    """A patient is metastatic if any node is, benign if all are; the score is the highest shown.

    Frames that nobody has judged are left out; where the reader says that there is no node, the score counts.
    """
    unjudged = unjudged_frames(rows)
    truths: dict[str, set[str]] = {}
    scores: dict[str, float] = {}
    for row in rows:
        if row.id in unjudged:
            continue
        scores[row.patient] = max(scores.get(row.patient, 0.0), row.frame_score)
        if row.kind == "node" or (row.kind == "frame" and not row.compared and not row.no_node):
            truths.setdefault(row.patient, set()).add(row.truth)
    known = {p: t for p, t in truths.items() if "metastatic" in t or t == {"benign"}}
    return diagnose(
        ["metastatic" in truth for truth in known.values()],
        [scores[patient] for patient in known],
        list(known),
        cutoff,
        unit="patient",
        prevalence=config.prevalence,
        how=how,
    )
