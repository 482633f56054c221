"""Uncertainty of figures: intervals, paired tests, sample size, and the bootstrap over patients.

The nodes of one patient are alike; the bootstrap draws patients, with all their nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import binomtest, chi2, norm, quantile_test, rankdata

from ...types import Estimate
from .metrics import Counts, measures

Floats = NDArray[np.float64]
NAN = float("nan")


def proportion(
    k: int, n: int, method: Literal["wilson", "exact"] = "wilson", confidence: float = 0.95
) -> Estimate:
    """Share ``k / n`` with its Wilson or exact (Clopper–Pearson) interval; NaN when n is 0.

    Parameters
    ----------
    k, n : int
        ``0 <= k <= n``.
    method : {"wilson", "exact"}
    confidence : float
        Of the interval, in (0, 1).

    References
    ----------
    .. [1] Newcombe, Stat Med 17, 1998: methods 3 and 5.
       :doi:`10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E`
    """
    if n == 0:
        return Estimate(value=NAN, low=NAN, high=NAN, n=0)
    interval = binomtest(k, n).proportion_ci(confidence_level=confidence, method=method)
    return Estimate(value=k / n, low=float(interval.low), high=float(interval.high), n=n)


def likelihood_ratios(counts: Counts, confidence: float = 0.95) -> tuple[Estimate, Estimate]:
    """Positive and negative likelihood ratio with intervals symmetric on the log scale.

    Where a cell is empty, ½ is added to each cell for the interval alone, which then reaches
    to the ratio itself (0 or infinity); NaN where one class is absent.

    References
    ----------
    .. [1] Simel, Samsa and Matchar, J Clin Epidemiol 44, 1991. :doi:`10.1016/0895-4356(91)90128-V`
    """
    value = measures(*counts)
    return (
        _ratio(value["positive_lr"], counts.tp, counts.fn, counts.fp, counts.tn, confidence),
        _ratio(value["negative_lr"], counts.fn, counts.tp, counts.tn, counts.fp, confidence),
    )


def _ratio(value: float, a: float, b: float, c: float, d: float, confidence: float) -> Estimate:
    """Interval of ``a/(a+b) / (c/(c+d))``."""
    n = int(a + b + c + d)
    if a + b == 0 or c + d == 0 or math.isnan(value):
        return Estimate(value=NAN, low=NAN, high=NAN, n=n)
    if 0 in (a, b, c, d):
        a, b, c, d = a + 0.5, b + 0.5, c + 0.5, d + 0.5
    centre = math.log(a / (a + b)) - math.log(c / (c + d))
    reach = norm.ppf(0.5 + confidence / 2) * math.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d))
    low, high = math.exp(centre - reach), math.exp(centre + reach)
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=n)


def predictive_values(
    counts: Counts, prevalence: float, confidence: float = 0.95
) -> tuple[Estimate, Estimate]:
    """PPV and NPV at another prevalence than the study's, by Bayes' rule.

    The interval carries the likelihood ratio's; the prevalence is taken as known.

    Raises
    ------
    ValueError
        If the prevalence does not lie between 0 and 1.

    References
    ----------
    .. [1] Mercaldo, Lau and Zhou, Stat Med 26, 2007. :doi:`10.1002/sim.2677`
    """
    if not 0 < prevalence < 1:
        raise ValueError(f"The prevalence is {prevalence}: give a share between 0 and 1, such as 0.25.")
    odds = prevalence / (1 - prevalence)
    positive, negative = likelihood_ratios(counts, confidence)

    def share(ratio: float) -> float:
        return 1.0 if math.isinf(ratio) else odds * ratio / (1 + odds * ratio)

    p, q = positive, negative
    return (
        Estimate(value=share(p.value), low=share(p.low), high=share(p.high), n=counts.n),
        Estimate(value=1 - share(q.value), low=1 - share(q.high), high=1 - share(q.low), n=counts.n),
    )


def auc_interval(
    truth: ArrayLike,
    score: ArrayLike,
    method: Literal["delong", "logit"] = "delong",
    confidence: float = 0.95,
) -> Estimate:
    """AUC with its DeLong interval, on the plain scale or on the logit's.

    The plain one equals pROC's ``ci.auc``. Near 1 it would pass 1 and is cut there; the logit
    one stays inside. Where the classes are separated, or one has a single case, DeLong's
    variance is 0 or undefined, and Newcombe's score interval is given instead.

    Parameters
    ----------
    truth : array of bool, shape (N,)
    score : array, shape (N,)
        Higher speaks for a true one.
    method : {"delong", "logit"}
    confidence : float
        Of the interval, in (0, 1).

    Returns
    -------
    Estimate
        NaN where one class is absent.

    References
    ----------
    .. [1] DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988. :doi:`10.2307/2531595`
    .. [2] Sun and Xu, IEEE Signal Process Lett 21, 2014. :doi:`10.1109/LSP.2014.2337313`
    .. [3] Newcombe, Stat Med 25, 2006 (method 5). :doi:`10.1002/sim.2324`
    """
    t, s = np.asarray(truth, dtype=bool), np.asarray(score, dtype=float)
    if not t.any() or t.all():
        return Estimate(value=NAN, low=NAN, high=NAN, n=t.size)
    cases, controls = _placements(t, s)
    value = float(cases.mean())
    z = float(norm.ppf(0.5 + confidence / 2))
    variance = _variance(cases, cases) + _variance(controls, controls) if min(t.sum(), (~t).sum()) > 1 else 0
    if variance <= 0:
        low, high = _newcombe(value, int(t.sum()), int((~t).sum()), z)
    elif method == "logit":
        centre, reach = math.log(value / (1 - value)), z * math.sqrt(variance) / (value * (1 - value))
        low, high = 1 / (1 + math.exp(reach - centre)), 1 / (1 + math.exp(-centre - reach))
    else:
        reach = z * math.sqrt(variance)
        low, high = max(value - reach, 0.0), min(value + reach, 1.0)
    return Estimate(value=value, low=low, high=high, n=t.size)


def _placements(truth: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats]:
    """For each positive the share of negatives below it; for each negative, of positives above."""
    positive, negative = score[truth], score[~truth]
    rank = rankdata(np.concatenate([positive, negative]))
    m, n = positive.size, negative.size
    return (rank[:m] - rankdata(positive)) / n, 1 - (rank[m:] - rankdata(negative)) / m


def _variance(a: Floats, b: Floats) -> float:
    """Covariance of the means of two paired samples."""
    return float(np.cov(a, b)[0, 1] / a.size)


def _newcombe(auc: float, m: int, n: int, z: float) -> tuple[float, float]:
    half = (m + n) / 2

    def gap(theta: float) -> float:
        factor = 2 * half - 1 - (3 * half - 3) / ((2 - theta) * (1 + theta))
        return (auc - theta) ** 2 - z**2 * theta * (1 - theta) * factor / (m * n)

    # Just beside the estimate the gap is negative; at 0 and 1 it is 0 whatever the estimate.
    below, above = min(auc, 1 - 1e-9), max(auc, 1e-9)
    low = float(brentq(gap, 1e-12, below)) if gap(1e-12) > 0 else 0.0
    high = float(brentq(gap, above, 1 - 1e-12)) if gap(1 - 1e-12) > 0 else 1.0
    return low, high


class AucDifference(NamedTuple):
    """Difference of two AUCs on the same cases (first − second), and DeLong's test of it."""

    difference: Estimate
    z: float
    p: float


def compare_auc(
    truth: ArrayLike, first: ArrayLike, second: ArrayLike, confidence: float = 0.95
) -> AucDifference:
    """Compare two scores of the same cases (paired DeLong).

    Parameters
    ----------
    truth : array of bool, shape (N,)
    first, second : array, shape (N,)
        Scores of the same cases by two tests.
    confidence : float
        Of the interval, in (0, 1).

    Returns
    -------
    AucDifference
        z is 0 and p 1 where both rank the cases alike; NaN where a class has fewer than two.
    """
    t = np.asarray(truth, dtype=bool)
    if min(t.sum(), (~t).sum()) < 2:
        return AucDifference(Estimate(value=NAN, low=NAN, high=NAN, n=t.size), NAN, NAN)
    (a, a_), (b, b_) = (_placements(t, np.asarray(s, dtype=float)) for s in (first, second))
    difference = float(a.mean() - b.mean())
    error = math.sqrt(max(_variance(a - b, a - b) + _variance(a_ - b_, a_ - b_), 0.0))
    reach = float(norm.ppf(0.5 + confidence / 2)) * error
    z = difference / error if error > 0 else 0.0 if difference == 0 else math.copysign(math.inf, difference)
    low, high = max(difference - reach, -1.0), min(difference + reach, 1.0)  # no AUCs lie further apart
    interval = Estimate(value=difference, low=low, high=high, n=t.size)
    return AucDifference(interval, z, 2 * float(norm.sf(abs(z))))


class McNemar(NamedTuple):
    """McNemar's test: the discordant pairs, χ² without and with continuity correction, exact p."""

    only_first: int
    only_second: int
    chi2: float
    p: float
    chi2_corrected: float
    p_corrected: float
    p_exact: float


def mcnemar(only_first: int, only_second: int) -> McNemar:
    """Compare two tests on the same cases from the pairs in which just one was right.

    References
    ----------
    .. [1] McNemar, Psychometrika 12, 1947. :doi:`10.1007/BF02295996`
    """
    b, c = only_first, only_second
    if b + c == 0:
        return McNemar(0, 0, 0.0, 1.0, 0.0, 1.0, 1.0)
    plain, corrected = (b - c) ** 2 / (b + c), max(abs(b - c) - 1, 0) ** 2 / (b + c)
    p, p_corrected = (float(chi2.sf(x, 1)) for x in (plain, corrected))
    return McNemar(b, c, plain, p, corrected, p_corrected, float(binomtest(b, b + c).pvalue))


def median_interval(values: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Median with the exact interval between two order statistics (binomial, distribution-free).

    The limits are NaN with fewer than six values, which no 95 % interval can hold.

    Parameters
    ----------
    values : array, shape (N,)
    confidence : float
        Of the interval, in (0, 1).
    """
    x = np.asarray(values, dtype=float)
    if x.size == 0:
        return Estimate(value=NAN, low=NAN, high=NAN, n=0)
    interval = quantile_test(x, p=0.5).confidence_interval(confidence)
    return Estimate(value=float(np.median(x)), low=float(interval.low), high=float(interval.high), n=x.size)


def sample_size(share: float, half_width: float, confidence: float = 0.95) -> int:
    """Fewest cases for which the Wilson interval of an expected share is at most ± half_width.

    Raises
    ------
    ValueError
        If the share lies outside [0, 1] or the half width outside (0, 0.5).

    Examples
    --------
    >>> sample_size(0.9, 0.05)
    141
    """
    if not 0 <= share <= 1 or not 0 < half_width < 0.5:
        raise ValueError(
            f"A share of {share} ± {half_width} cannot be planned: "
            "give a share from 0 to 1 and a half width between 0 and 0.5."
        )
    z2 = float(norm.ppf(0.5 + confidence / 2)) ** 2

    def excess(n: float) -> float:
        return math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n) - half_width

    return math.ceil(brentq(excess, 1e-9, 1e9)) if excess(1) > 0 else 1


# ------------------------------------------------------------ the bootstrap over patients


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """Settings of the bootstrap: number of resamples, seed, confidence of the interval."""

    n: int = 2000
    seed: int = 0
    confidence: float = 0.95


DEFAULT = Resampling()
KEPT = 2**26
"""Most counts that are kept for the next statistic of as many patients: 128 MB."""


def bootstrap(
    statistic: Callable[[Floats], Floats], clusters: ArrayLike, how: Resampling = DEFAULT
) -> tuple[Floats, Floats]:
    """Percentile interval from resampling whole patients.

    Nodes of one patient resemble each other; drawing patients, not nodes, lets the interval
    know it.

    Parameters
    ----------
    statistic : callable
        Takes case weights (B, N), how often each case was drawn, and returns (B,) or (B, K).
    clusters : array, shape (N,)
        Patient of each case.
    how : Resampling

    Returns
    -------
    low, high : ndarray
        Of each statistic; resamples in which it does not exist are left out.

    References
    ----------
    .. [1] Davison and Hinkley, Bootstrap Methods, 1997, section 3.8.
    """
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    n = int(index.max()) + 1
    # Few rows at a time: they stay in the processor's cache, whatever the number of cases.
    step = max(1, 200_000 // max(index.size, 1))
    values = [statistic(times[:, index].astype(float)) for times in _times(n, how, step)]
    drawn_values = np.sort(np.concatenate(values), axis=0)  # NaN last
    exist = np.count_nonzero(~np.isnan(drawn_values), axis=0)
    tails = ((1 - how.confidence) / 2, (1 + how.confidence) / 2)
    low, high = (
        np.take_along_axis(
            drawn_values, np.asarray(np.rint(q * np.maximum(exist - 1, 0)), dtype=np.intp)[None], axis=0
        )[0]
        for q in tails
    )
    return low, high


def _times(n: int, how: Resampling, step: int) -> Iterator[NDArray[np.uint16]]:
    """Numbers of times that each of n patients is drawn, (rows, n), ``step`` rows at a time."""
    if n * how.n > KEPT:
        yield from _draw(n, how, step)
        return
    kept = _keep(n, how)
    for start in range(0, how.n, step):
        yield kept[start : start + step]


@lru_cache(maxsize=2)
def _keep(n: int, how: Resampling) -> NDArray[np.uint16]:
    return np.concatenate(list(_draw(n, how, max(1, 200_000 // n))))


def _draw(n: int, how: Resampling, step: int) -> Iterator[NDArray[np.uint16]]:
    rng = np.random.default_rng(how.seed)
    for start in range(0, how.n, step):
        rows = min(step, how.n - start)
        drawn = rng.integers(0, n, size=(rows, n)) + np.arange(rows)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.uint16)
