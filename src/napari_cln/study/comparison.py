"""Two tests on the same nodes: a second model, a reader, or the original reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError
from ..types import Estimate
from .cases import CaseRow
from .diagnosis import Measure, measure_counts, widest
from .statistics.agreement import kappa
from .statistics.intervals import AucDifference, McNemar, auc_interval, compare_auc, mcnemar
from .statistics.metrics import MEASURES, Counts, auc, measures
from .statistics.resampling import DEFAULT, Resampling, bootstrap

__all__ = ["CALLS", "Comparison", "compare_calls", "compare_models", "verdicts"]

Floats = NDArray[np.float64]
SHARES = MEASURES[:5]

CALLS = {"malignant": True, "metastatic": True, "benign": False, "undetermined": None}
"""What a table of calls may say of a node."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """The model and another test on the nodes that both have judged.

    Parameters
    ----------
    name : str
        Of the other test.
    nodes, patients : int
        Judged by both.
    undetermined, without : int
        Nodes on which the other test gave no verdict, and nodes that it does not know. Neither
        is in the comparison.
    model, other : Counts
    model_measures, other_measures : tuple of Measure
    differences : dict of str to Estimate
        Model − other, with the interval of the bootstrap over patients.
    mcnemar : McNemar
        Of right and wrong calls.
    kappa : Estimate
        Agreement of the two.
    auc : AucDifference, optional
        Model − other by the paired DeLong test, where the other gives scores.
    areas : (Estimate, Estimate), optional
        AUC of the model and of the other.
    cutoffs : (float, float), optional
        Of the model and of the other.
    dice : Estimate, optional
        Mean paired difference of Dice per node, where the other gives masks.
    """

    name: str
    nodes: int
    patients: int
    undetermined: int
    without: int
    model: Counts
    other: Counts
    model_measures: tuple[Measure, ...]
    other_measures: tuple[Measure, ...]
    differences: Mapping[str, Estimate]
    mcnemar: McNemar
    kappa: Estimate
    auc: AucDifference | None = None
    areas: tuple[Estimate, Estimate] | None = None
    cutoffs: tuple[float, float] | None = None
    dice: Estimate | None = None


def compare_calls(
    name: str,
    rows: Sequence[CaseRow],
    cutoff: float,
    calls: Mapping[str, str],
    how: Resampling = DEFAULT,
) -> Comparison | None:
    """Compare the model with calls on the same nodes.

    Parameters
    ----------
    name : str
        Of the reader, or of the reports.
    rows : sequence of CaseRow
        Nodes with a known truth.
    cutoff : float
    calls : mapping of str to str
        Frame id, or ``id/node`` for one node of several, to ``"malignant"`` (or
        ``"metastatic"``), ``"benign"`` or ``"undetermined"``.
    how : Resampling

    Returns
    -------
    Comparison or None
        None where no node has a verdict of both.

    Raises
    ------
    DatasetError
        If a call is none of these words.
    """
    said = verdicts(name, rows, calls)
    known = [(row, called) for row, (_, called) in zip(rows, said, strict=True) if called is not None]
    if not known:
        return None
    return _compare(
        name,
        [row for row, _ in known],
        [row.score >= cutoff for row, _ in known],
        [called for _, called in known],
        how,
        undetermined=sum(known and called is None for known, called in said),
        without=sum(not known for known, _ in said),
    )


def verdicts(name: str, rows: Sequence[CaseRow], calls: Mapping[str, str]) -> list[tuple[bool, bool | None]]:
    """Of each node: whether a reader knows it, and the call; None for no verdict.

    Raises
    ------
    DatasetError
        If a call is none of the words.
    """
    for key, call in calls.items():
        if call not in CALLS:
            raise DatasetError(
                f"{name} says {call!r} of {key}. The words are malignant, benign and undetermined."
            )
    said = [calls.get(f"{row.id}/{row.node}", calls.get(row.id)) for row in rows]
    return [(call is not None, None if call is None else CALLS[call]) for call in said]


def compare_models(
    name: str,
    rows: Sequence[CaseRow],
    cutoff: float,
    others: Sequence[CaseRow],
    other_cutoff: float,
    how: Resampling = DEFAULT,
) -> Comparison | None:
    """Compare the model with another model's table of the same nodes, each at its own cutoff.

    Both AUCs come with DeLong's intervals; that of their difference is the wider of DeLong's and
    the bootstrap over patients.

    Returns
    -------
    Comparison or None
        None where they share no node with a known truth.
    """
    theirs = {row.key: row for row in others if row.kind != "stray"}
    pairs = [(row, theirs[row.key]) for row in rows if row.key in theirs]
    if not pairs:
        return None
    mine = [row for row, _ in pairs]
    truth = [row.truth == "metastatic" for row in mine]
    first, second = [row.score for row in mine], [other.score for _, other in pairs]
    difference = compare_auc(truth, first, second, how.confidence)
    low, high = bootstrap(
        lambda weights: auc(truth, first, weights) - auc(truth, second, weights),
        [row.patient for row in mine],
        how,
    )
    difference = difference._replace(difference=widest(difference.difference, float(low), float(high)))
    outlined = [(a.dice - b.dice, a.patient) for a, b in pairs if a.dice is not None and b.dice is not None]
    return _compare(
        name,
        mine,
        [row.score >= cutoff for row in mine],
        [other.score >= other_cutoff for _, other in pairs],
        how,
        without=len(rows) - len(pairs),
        auc=difference,
        areas=(
            auc_interval(truth, first, confidence=how.confidence),
            auc_interval(truth, second, confidence=how.confidence),
        ),
        cutoffs=(cutoff, other_cutoff),
        dice=_mean([d for d, _ in outlined], [p for _, p in outlined], how) if outlined else None,
    )


def _compare(
    name: str,
    rows: Sequence[CaseRow],
    model: Sequence[bool],
    other: Sequence[bool],
    how: Resampling,
    *,
    undetermined: int = 0,
    without: int = 0,
    auc: AucDifference | None = None,
    areas: tuple[Estimate, Estimate] | None = None,
    cutoffs: tuple[float, float] | None = None,
    dice: Estimate | None = None,
) -> Comparison:
    truth = np.array([row.truth == "metastatic" for row in rows])
    a, b = np.array(model, dtype=bool), np.array(other, dtype=bool)
    patients = [row.patient for row in rows]
    (mine, my_measures), (theirs, their_measures) = (
        measure_counts(truth, calls, patients, how) for calls in (a, b)
    )
    right, right_too = a == truth, b == truth
    return Comparison(
        name=name,
        nodes=len(rows),
        patients=len(set(patients)),
        undetermined=undetermined,
        without=without,
        model=mine,
        other=theirs,
        model_measures=my_measures,
        other_measures=their_measures,
        differences=_differences(truth, a, b, patients, how),
        mcnemar=mcnemar(int((right & ~right_too).sum()), int((~right & right_too).sum())),
        kappa=kappa(a, b, how.confidence),
        auc=auc,
        areas=areas,
        cutoffs=cutoffs,
        dice=dice,
    )


def _differences(
    truth: NDArray[np.bool_],
    a: NDArray[np.bool_],
    b: NDArray[np.bool_],
    patients: Sequence[str],
    how: Resampling,
) -> dict[str, Estimate]:
    """Paired differences of the five shares (first − second), resampling patients."""

    def figures(weights: Floats) -> Floats:
        both = []
        for called in (a, b):
            cells = np.stack([truth & called, truth & ~called, ~truth & ~called, ~truth & called], axis=1)
            table = measures(*(weights @ cells.astype(float)).T)
            both.append(np.stack([table[name] for name in SHARES], axis=1))
        first, second = both
        gap: Floats = first - second
        return gap

    value = figures(np.ones((1, truth.size)))[0]
    low, high = bootstrap(figures, patients, how)
    return {
        name: Estimate(value=float(value[i]), low=float(low[i]), high=float(high[i]), n=truth.size)
        for i, name in enumerate(SHARES)
    }


def _mean(values: Sequence[float], patients: Sequence[str], how: Resampling) -> Estimate:
    x = np.asarray(values, dtype=float)
    low, high = bootstrap(lambda weights: weights @ x / weights.sum(axis=1), patients, how)
    return Estimate(value=float(x.mean()), low=float(low), high=float(high), n=x.size)
