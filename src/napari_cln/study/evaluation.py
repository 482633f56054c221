"""Predictions and what is known of their frames → every figure of a paper, with its interval.

>>> evaluation = evaluate(folder.cases(), segment_batch(images))   # doctest: +SKIP
>>> print(evaluation.nodes["sensitivity"].estimate)                 # doctest: +SKIP
0.872 (0.801–0.920, n = 125)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError, FrameReadError
from ..types import Annotation, Case, Prediction
from .axes import AxisAgreement, compare_axes
from .cases import CaseRow
from .comparison import Comparison, compare_calls, compare_models
from .cutoff import Cutoff, CutoffRule, choose_cutoff
from .diagnosis import Diagnosis, diagnose
from .flow import Flow, count_flow
from .gallery import Candidate, Picture, candidate, pick_pictures
from .matching import compare, read_instances, reference_instances
from .resampling import Resampling
from .segmentation import Detection, Segmentation, detect, segment_summary
from .subgroups import Subgroup, split_into_subgroups

__all__ = ["Evaluation", "EvaluationConfig", "evaluate", "evaluate_rows"]


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What to evaluate, and how.

    Parameters
    ----------
    split : str
        Set of cases whose figures are reported.
    cutoff_from : str
        ``"card"``: the model's own. ``"validation"``: taken by ``rule`` from the cases of that
        split. ``"test"``: taken on the reported cases themselves, which flatters, and is said so.
    rule : str
        ``"youden"`` or ``"sensitivity"`` (at least ``sensitivity``).
    sensitivity : float
    cutoff : float, optional
        A cutoff of your own, instead of all that.
    prevalence : float, optional
        At which PPV and NPV are given as well.
    iou_threshold : float
        From which a matched node counts as found.
    resamples : int
        Of the bootstrap over patients.
    seed : int
    confidence : float
    data : str
        What the cases are, in words; printed on every page.
    """

    split: str = "test"
    cutoff_from: Literal["card", "validation", "test"] = "card"
    rule: CutoffRule = "youden"
    sensitivity: Annotated[float, {"min": 0.5, "max": 1.0, "step": 0.01}] = 0.9
    cutoff: float | None = None
    prevalence: float | None = None
    iou_threshold: Annotated[float, {"min": 0.1, "max": 0.9, "step": 0.05}] = 0.5
    resamples: Annotated[int, {"min": 200, "max": 20000}] = 2000
    seed: int = 0
    confidence: Annotated[float, {"min": 0.8, "max": 0.99, "step": 0.01}] = 0.95
    data: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """All figures of one model on one set of cases; :mod:`napari_cln.study.report` prints it.

    ``nodes`` and ``patients`` are the diagnosis per node and per patient, None without a case of
    known truth; ``segmentation`` and ``detection`` are None for a model that only classifies.
    """

    config: EvaluationConfig
    model: str
    rows: tuple[CaseRow, ...]
    flow: Flow
    cutoff: Cutoff
    nodes: Diagnosis | None
    patients: Diagnosis | None
    segmentation: Segmentation | None
    detection: Detection | None
    axes: tuple[AxisAgreement, ...]
    subgroups: tuple[Subgroup, ...]
    comparisons: tuple[Comparison, ...]
    pictures: tuple[Picture, ...] = ()


def evaluate(
    cases: Iterable[Case | Annotation],
    predictions: Iterable[Prediction | FrameReadError],
    config: EvaluationConfig | None = None,
    *,
    splits: Mapping[str, str] | None = None,
    read: Callable[[Case], NDArray[np.uint8] | None] = read_instances,
    readers: Mapping[str, Mapping[str, str]] | None = None,
    others: Mapping[str, Sequence[CaseRow]] | None = None,
) -> Evaluation:
    """Compare predictions with what is known of their frames.

    Parameters
    ----------
    cases : iterable of Case or Annotation
        With ``cutoff_from="validation"``, those of the validation split as well.
    predictions : iterable
        One for each case, in the same order; an error stands for a frame that could not be read.
        Taken one by one, so memory does not grow with the pixels.
    config : EvaluationConfig, optional
    splits : mapping of str to str, optional
        Case id to split; by default what the record of each case says, else ``"test"``.
    read : callable
        Reads the instances of a case, e.g. ``folder.read_instances``.
    readers : mapping, optional
        Name of a reader, or of the reports, to their calls by case id.
    others : mapping, optional
        Name of another model to the rows of its own evaluation on the same cases.

    Returns
    -------
    Evaluation

    Raises
    ------
    DatasetError
        If there is nothing to evaluate, or cases and predictions do not belong together.
    """
    config = config or EvaluationConfig()
    rows: list[CaseRow] = []
    candidates: list[Candidate] = []
    unreadable = 0
    for case, prediction in zip_longest(cases, predictions):
        if case is None or prediction is None:
            raise DatasetError(
                f"There are more {'predictions than cases' if case is None else 'cases than predictions'}. "
                "Give one prediction for each case, in the same order."
            )
        if isinstance(prediction, FrameReadError):
            unreadable += 1
            continue
        split = splits.get(case.id) if splits and isinstance(case, Case) else None
        instances = reference_instances(case, read)
        found = compare(case, instances, prediction, split)
        rows += found
        first = found[0]
        if instances is not None and first.frame_dice is not None and first.split == config.split:
            candidates.append(candidate(case, prediction, instances, first.id, first.frame_dice))
    evaluation = evaluate_rows(rows, config, readers=readers, others=others, unreadable=unreadable)
    return replace(evaluation, pictures=pick_pictures(candidates) if candidates else ())


def evaluate_rows(
    rows: Sequence[CaseRow],
    config: EvaluationConfig | None = None,
    *,
    readers: Mapping[str, Mapping[str, str]] | None = None,
    others: Mapping[str, Sequence[CaseRow]] | None = None,
    unreadable: int = 0,
) -> Evaluation:
    """Compute every figure from the table alone; the same table gives the same figures.

    Raises
    ------
    DatasetError
        If no row belongs to the split, or the cutoff can't be taken.
    """
    config = config or EvaluationConfig()
    how = Resampling(n=config.resamples, seed=config.seed, confidence=config.confidence)
    mine = [row for row in rows if row.split == config.split]
    if not mine:
        there = ", ".join(sorted({row.split for row in rows})) or "none"
        raise DatasetError(
            f"No case belongs to the split {config.split!r} (there: {there}). "
            "Name one of those, or add cases."
        )
    judged = [row for row in mine if row.kind != "stray" and row.truth != "unknown"]
    cutoff = _cutoff(rows, judged, config)
    compared = [
        *(compare_calls(name, judged, cutoff.value, calls, how) for name, calls in (readers or {}).items()),
        *(
            compare_models(name, judged, cutoff.value, [r for r in theirs if r.split == config.split], how)
            for name, theirs in (others or {}).items()
        ),
    ]
    return Evaluation(
        config=config,
        model=", ".join(sorted({row.model for row in mine if row.model})),
        rows=tuple(rows),
        flow=count_flow(mine, unreadable),
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
        axes=compare_axes(mine, config.confidence),
        subgroups=split_into_subgroups(mine, cutoff.value, how),
        comparisons=tuple(found for found in compared if found is not None),
    )


def _cutoff(rows: Sequence[CaseRow], judged: Sequence[CaseRow], config: EvaluationConfig) -> Cutoff:
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
        return Cutoff(value=values.pop(), taken_on="card", optimistic=config.split in ("train", "validation"))
    name = config.split if config.cutoff_from == "test" else "validation"
    source = [r for r in rows if r.split == name and r.kind != "stray" and r.truth != "unknown"]
    return choose_cutoff(
        [row.truth == "metastatic" for row in source],
        [row.score for row in source],
        config.rule,
        config.sensitivity,
        taken_on=name,
        optimistic=name == config.split,
    )


def _by_patient(
    rows: Sequence[CaseRow], cutoff: float, config: EvaluationConfig, how: Resampling
) -> Diagnosis | None:
    """A patient is metastatic if any node is, benign if all are; the score is the highest shown."""
    truths: dict[str, set[str]] = {}
    scores: dict[str, float] = {}
    for row in rows:
        scores[row.patient] = max(scores.get(row.patient, 0.0), row.frame_score)
        if row.kind == "node" or (row.kind == "frame" and not row.compared):
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
