"""Calibration of scores: Brier, reliability, calibration line, net benefit."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from scipy.stats import norm

from ...types import Estimate

Floats = NDArray[np.float64]


def brier(truth: ArrayLike, score: ArrayLike, weights: Floats | None = None) -> Any:
    """Mean squared difference between score and truth (Brier 1950): 0 is best, 0.25 a constant ½."""
    error = (np.asarray(score, dtype=float) - np.asarray(truth, dtype=float)) ** 2
    return float(error.mean()) if weights is None else weights @ error / weights.sum(axis=1)


class ReliabilityBin(NamedTuple):
    """Cases whose scores fall in one of the equal bins of [0, 1]."""

    mean_score: float
    positives: int
    n: int


def reliability(truth: ArrayLike, score: ArrayLike, bins: int = 10) -> tuple[ReliabilityBin, ...]:
    """Observed frequency beside mean score in equal bins of [0, 1]; empty bins are left out."""
    t, s = np.asarray(truth, dtype=bool), np.asarray(score, dtype=float)
    index = _bin_of(s, bins)
    return tuple(
        ReliabilityBin(float(s[index == i].mean()), int(t[index == i].sum()), n)
        for i, n in enumerate(np.bincount(index, minlength=bins).tolist())
        if n
    )


def expected_calibration_error(
    truth: ArrayLike, score: ArrayLike, weights: Floats | None = None, bins: int = 10
) -> Any:
    """Mean gap between score and frequency over equal bins, weighted by their cases.

    Parameters
    ----------
    truth : array of bool, shape (N,)
    score : array, shape (N,), in [0, 1]
    weights : array, shape (B, N), optional
        How often each case was drawn in each of B resamples.
    bins : int

    Returns
    -------
    float, or array of shape (B,) with weights

    References
    ----------
    .. [1] Guo et al., On calibration of modern neural networks, ICML 2017. :arxiv:`1706.04599`
    """
    t, s = np.asarray(truth, dtype=float), np.asarray(score, dtype=float)
    drawn = np.ones((1, s.size)) if weights is None else weights
    of_bin = _bin_of(s, bins)[:, None] == np.arange(bins)
    gaps = np.abs(drawn @ np.where(of_bin, (s - t)[:, None], 0.0)).sum(axis=1) / drawn.sum(axis=1)
    return float(gaps[0]) if weights is None else gaps


def calibration_error_by_chance(
    score: ArrayLike, confidence: float = 0.95, bins: int = 10, draws: int = 2000, seed: int = 0
) -> Estimate:
    """Expected calibration error that these scores would show, were each of them exactly right.

    Few cases in a bin part score and frequency by chance alone, so that no score reaches 0: an error is
    read beside this one. Truths are drawn from the scores, again and again.

    Parameters
    ----------
    score : array, shape (N,), in [0, 1]
    confidence : float
    bins, draws, seed : int

    Returns
    -------
    Estimate
        Median of the draws, and the range in which a share of ``confidence`` of them lies.

    References
    ----------
    .. [1] Vaicenavicius et al., Evaluating model calibration in classification, AISTATS 2019.
       :arxiv:`1902.06977`
    """
    # sorted, so that the order of cases changes nothing
    s, rng = np.sort(np.asarray(score, dtype=float)), np.random.default_rng(seed)
    of_bin = _bin_of(s, bins)
    expected = np.bincount(of_bin, weights=s, minlength=bins)
    errors = np.empty(draws)
    for i in range(draws):
        positives = np.bincount(of_bin[rng.random(s.size) < s], minlength=bins)
        errors[i] = np.abs(expected - positives).sum() / s.size
    low, median, high = np.quantile(errors, [(1 - confidence) / 2, 0.5, (1 + confidence) / 2])
    return Estimate(value=float(median), low=float(low), high=float(high), n=s.size)


def _bin_of(score: Floats, bins: int) -> NDArray[np.intp]:
    """The equal bin of [0, 1] in which each score falls: closed below, the last above too."""
    return np.minimum((score * bins).astype(np.intp), bins - 1)


def decision_curve(truth: ArrayLike, score: ArrayLike, thresholds: ArrayLike) -> Floats:
    """Net benefit ``TP/n − FP/n · t/(1−t)`` of acting on scores at or above each threshold.

    Compare with acting on all (``prevalence − (1−prevalence)·t/(1−t)``) and on none (0).

    References
    ----------
    .. [1] Vickers and Elkin, Med Decis Making 26(6), 2006. :doi:`10.1177/0272989X06295361`
    """
    t, s = np.asarray(truth, dtype=bool), np.asarray(score, dtype=float)
    at = np.asarray(thresholds, dtype=float)
    # Cases at or above each threshold, from sorted scores: no N × T table.
    above = [np.sort(s[t]), np.sort(s[~t])]
    tp, fp = (values.size - np.searchsorted(values, at, side="left") for values in above)
    return np.asarray(tp / s.size - fp / s.size * at / (1 - at))


class CalibrationLine(NamedTuple):
    """Logistic line of truth on the logit of the score: slope 1, intercepts 0 are best.

    ``intercept`` belongs to the fitted slope; ``in_the_large`` is fitted with the slope held
    at 1, and is above 0 when scores are too low on the whole.
    """

    slope: Estimate
    intercept: Estimate
    in_the_large: Estimate


def calibration_line(truth: ArrayLike, score: ArrayLike, confidence: float = 0.95) -> CalibrationLine | None:
    """Fit the calibration line by Newton's method, with Wald intervals.

    Scores of 0 and 1 are moved to 1e-6 and 1 − 1e-6, where their logits are finite.

    Returns
    -------
    CalibrationLine or None
        None where no line exists: one class is absent, all scores are equal, or the score
        separates the classes.

    References
    ----------
    .. [1] Cox, Biometrika 45, 1958. :doi:`10.1093/biomet/45.3-4.562`
    .. [2] Van Calster et al., J Clin Epidemiol 74, 2016. :doi:`10.1016/j.jclinepi.2015.12.005`
    """
    t = np.asarray(truth, dtype=float)
    s = np.clip(np.asarray(score, dtype=float), 1e-6, 1 - 1e-6)
    x, ones = logit(s), np.ones_like(s)
    line = _logistic(np.column_stack([ones, x]), t, np.zeros_like(s))
    level = _logistic(ones[:, None], t, x)
    if line is None or level is None:
        return None
    z = norm.ppf(0.5 + confidence / 2)
    intercept, slope, in_the_large = (
        Estimate(value=float(b), low=float(b - z * e), high=float(b + z * e), n=t.size)
        for b, e in (*zip(*line, strict=True), *zip(*level, strict=True))
    )
    return CalibrationLine(slope=slope, intercept=intercept, in_the_large=in_the_large)


def _logistic(x: Floats, y: Floats, offset: Floats) -> tuple[Floats, Floats] | None:
    """Coefficients and standard errors of a logistic regression; None if it has no maximum."""
    if y.min() == y.max():
        return None

    def loss(beta: Floats) -> float:
        eta = x @ beta + offset
        return float((np.logaddexp(0, eta) - y * eta).sum())

    beta = np.zeros(x.shape[1])
    for _ in range(100):
        p = expit(x @ beta + offset)
        information = (x * (p * (1 - p))[:, None]).T @ x
        if not np.linalg.cond(information) < 1e12:
            return None
        step = np.linalg.solve(information, x.T @ (y - p))
        if np.abs(step).max() < 1e-10:
            return beta, np.sqrt(np.diag(np.linalg.inv(information)))
        # A full step may leap over the maximum where scores lie far from the truth.
        while loss(beta + step) > loss(beta) + 1e-9 and np.abs(step).max() > 1e-8:
            step = step / 2
        beta = beta + step
    return None
