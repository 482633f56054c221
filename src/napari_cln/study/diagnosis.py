"""Malignant or benign: the seven measures, ROC, calibration and decision curve, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..types import Estimate
from .statistics.calibration import (
    CalibrationLine,
    ReliabilityBin,
    brier,
    calibration_error_by_chance,
    calibration_line,
    decision_curve,
    expected_calibration_error,
    reliability,
)
from .statistics.intervals import (
    DEFAULT,
    Resampling,
    auc_interval,
    bootstrap,
    likelihood_ratios,
    predictive_values,
    proportion,
)
from .statistics.metrics import MEASURES, Counts, Roc, auc, confusion, measures, roc

Floats = NDArray[np.float64]
THRESHOLDS = np.linspace(0.01, 0.99, 99)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One of the seven measures.

    Parameters
    ----------
    name : str
    estimate : Estimate
        With the Wilson interval; for a likelihood ratio, symmetric on the log scale.
    exact : Estimate, optional
        The same with the Clopper–Pearson interval; None for a likelihood ratio.
    clustered : Estimate
        The wider of that interval and the bootstrap over patients.
    k : int, optional
        Numerator of the share.
    """

    name: str
    estimate: Estimate
    exact: Estimate | None
    clustered: Estimate
    k: int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagnosis:
    """Figures of scores that tell metastatic from benign cases.

    Parameters
    ----------
    unit : str
        ``"node"`` or ``"patient"``.
    patients : int
    counts : Counts
        At the cutoff.
    measures : tuple of Measure
    at_prevalence : (Estimate, Estimate), optional
        PPV and NPV at the prevalence that the user gave.
    auc, auc_clustered : Estimate
        With the DeLong interval (on the logit scale where the plain one would pass 0 or 1), and
        with the wider of that and the bootstrap over patients.
    brier : Estimate
        With the bootstrap interval over patients.
    calibration_error : Estimate
        Expected calibration error, ten equal bins, with the bootstrap interval over patients. The interval
        lies high where cases are few: resampling adds gaps to those that chance has made.
    calibration_error_by_chance : Estimate
        The error that the same scores would show, were each exactly right.
    line : CalibrationLine, optional
    bins : tuple of ReliabilityBin
    roc : Roc
    thresholds, net_benefit : ndarray
        Decision curve.
    """

    unit: str
    patients: int
    counts: Counts
    measures: tuple[Measure, ...]
    at_prevalence: tuple[Estimate, Estimate] | None
    auc: Estimate
    auc_clustered: Estimate
    brier: Estimate
    calibration_error: Estimate
    calibration_error_by_chance: Estimate
    line: CalibrationLine | None
    bins: tuple[ReliabilityBin, ...]
    roc: Roc
    thresholds: Floats
    net_benefit: Floats

    def __getitem__(self, name: str) -> Measure:
        return self.measures[MEASURES.index(name)]

    @property
    def prevalence(self) -> float:
        """Share of metastatic cases in the study."""
        return (self.counts.tp + self.counts.fn) / self.counts.n


def diagnose(
    truth: ArrayLike,
    score: ArrayLike,
    patients: Sequence[str],
    cutoff: float,
    *,
    unit: str = "node",
    prevalence: float | None = None,
    how: Resampling = DEFAULT,
) -> Diagnosis | None:
    """Compare scores with truths at a cutoff.

    Parameters
    ----------
    truth : array of bool, shape (N,)
        Metastatic or not.
    score : array, shape (N,), in [0, 1]
    patients : sequence of str, length N
    cutoff : float
        A score at or above it is called malignant.
    unit : str
    prevalence : float, optional
    how : Resampling

    Returns
    -------
    Diagnosis or None
        None without cases.
    """
    t, s = np.asarray(truth, dtype=bool), np.asarray(score, dtype=float)
    if not t.size:
        return None
    called = s >= cutoff
    counts = confusion(t, called)

    def figures(weights: Floats) -> Floats:
        columns = [
            *_weighted(t, called, weights).values(),
            auc(t, s, weights),
            brier(t, s, weights),
            expected_calibration_error(t, s, weights),
        ]
        return np.stack(columns, axis=1)

    low, high = bootstrap(figures, patients, how)
    area = auc_interval(t, s, confidence=how.confidence)
    if not 0 < area.low <= area.high < 1:
        area = auc_interval(t, s, "logit", confidence=how.confidence)
    square = Estimate(value=brier(t, s), low=float(low[8]), high=float(high[8]), n=t.size)
    gap = expected_calibration_error(t, s)
    calibration_error = widest(Estimate(value=gap, low=gap, high=gap, n=t.size), low[9], high[9])
    return Diagnosis(
        unit=unit,
        patients=len(set(patients)),
        counts=counts,
        measures=_measures(counts, low[:7], high[:7], how.confidence),
        at_prevalence=predictive_values(counts, prevalence, how.confidence) if prevalence else None,
        auc=area,
        auc_clustered=widest(area, low[7], high[7]),
        brier=square,
        calibration_error=calibration_error,
        calibration_error_by_chance=calibration_error_by_chance(s, how.confidence),
        line=calibration_line(t, s, how.confidence),
        bins=reliability(t, s),
        roc=roc(t, s),
        thresholds=THRESHOLDS,
        net_benefit=decision_curve(t, s, THRESHOLDS),
    )


def measure_counts(
    truth: ArrayLike, called: ArrayLike, patients: Sequence[str], how: Resampling = DEFAULT
) -> tuple[Counts, tuple[Measure, ...]]:
    """Counts and measures of a test that gives calls without scores: a reader, the reports."""
    t, c = np.asarray(truth, dtype=bool), np.asarray(called, dtype=bool)
    low, high = bootstrap(
        lambda weights: np.stack(list(_weighted(t, c, weights).values()), axis=1), patients, how
    )
    counts = confusion(t, c)
    return counts, _measures(counts, low, high, how.confidence)


def _weighted(truth: NDArray[np.bool_], called: NDArray[np.bool_], weights: Floats) -> Mapping[str, Floats]:
    """The seven measures of every resample."""
    cells = np.stack([truth & called, truth & ~called, ~truth & ~called, ~truth & called], axis=1)
    return measures(*(weights @ cells.astype(float)).T)


def _measures(counts: Counts, low: Floats, high: Floats, confidence: float) -> tuple[Measure, ...]:
    tp, fn, tn, fp = counts
    shares = {
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "accuracy": (tp + tn, counts.n),
        "ppv": (tp, tp + fp),
        "npv": (tn, tn + fn),
    }
    ratios = dict(zip(("positive_lr", "negative_lr"), likelihood_ratios(counts, confidence), strict=True))
    found = []
    for i, name in enumerate(MEASURES):
        k, n = shares.get(name, (None, 0))
        estimate = ratios[name] if k is None else proportion(k, n, confidence=confidence)
        found.append(
            Measure(
                name=name,
                estimate=estimate,
                exact=None if k is None else proportion(k, n, "exact", confidence),
                clustered=widest(estimate, low[i], high[i]),
                k=k,
            )
        )
    return tuple(found)


def widest(estimate: Estimate, low: float, high: float) -> Estimate:
    """The wider of an interval and a bootstrap's.

    The bootstrap knows which nodes belong together; but where all cases agree, or patients are
    few, it draws nearly the same sample each time and would be too sure.
    """
    if math.isnan(low) or math.isnan(high):
        return estimate
    return Estimate(
        value=estimate.value,
        low=min(estimate.low, float(low)),
        high=max(estimate.high, float(high)),
        n=estimate.n,
    )
