"""Agreement of two measurements or two readers of the same nodes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import f as f_distribution
from scipy.stats import norm, t

from ...types import Estimate

NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class BlandAltman:
    """Mean difference (first − second) and the limits that hold 95 % of differences."""

    bias: Estimate
    lower_limit: Estimate
    upper_limit: Estimate


def bland_altman(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> BlandAltman:
    """Bias and limits of agreement, each with its interval.

    The limits are bias ± 1.96 SD, their standard error √(3 SD² / n).

    Returns
    -------
    BlandAltman
        NaN with fewer than two pairs.

    References
    ----------
    .. [1] Bland and Altman, Lancet 327, 1986. :doi:`10.1016/S0140-6736(86)90837-8`
    """
    d = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    n = d.size
    if n < 2:
        none = Estimate(value=NAN, low=NAN, high=NAN, n=n)
        return BlandAltman(bias=none, lower_limit=none, upper_limit=none)
    bias, sd = float(d.mean()), float(d.std(ddof=1))
    reach = float(t.ppf(0.5 + confidence / 2, n - 1)) * sd / math.sqrt(n)
    span = float(norm.ppf(0.975)) * sd

    def around(value: float, width: float) -> Estimate:
        return Estimate(value=value, low=value - width, high=value + width, n=n)

    return BlandAltman(
        bias=around(bias, reach),
        lower_limit=around(bias - span, reach * math.sqrt(3)),
        upper_limit=around(bias + span, reach * math.sqrt(3)),
    )


def icc(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Intraclass correlation for absolute agreement of single measurements, ICC(A,1).

    Returns
    -------
    Estimate
        NaN with fewer than three pairs, or where all values are equal; the limits alone are
        NaN below 0, where the method does not hold, and where the pairs leave the F
        distribution no degrees of freedom.

    References
    ----------
    .. [1] McGraw and Wong, Psychological Methods 1, 1996, tables 4 and 7.
       :doi:`10.1037/1082-989X.1.1.30`
    """
    x = np.column_stack([np.asarray(first, dtype=float), np.asarray(second, dtype=float)])
    n, k = x.shape
    none = Estimate(value=NAN, low=NAN, high=NAN, n=n)
    if n < 3:
        return none
    mean = x.mean()
    rows = k * float(((x.mean(axis=1) - mean) ** 2).sum()) / (n - 1)
    columns = n * float(((x.mean(axis=0) - mean) ** 2).sum()) / (k - 1)
    residual = x - x.mean(axis=1, keepdims=True) - x.mean(axis=0) + mean
    error = float((residual**2).sum()) / ((n - 1) * (k - 1))
    total = rows + (k - 1) * error + k * (columns - error) / n
    if total <= 0:
        return none
    value = (rows - error) / total
    if error <= 1e-12 * total and columns <= 1e-12 * total:
        return Estimate(value=value, low=value, high=value, n=n)
    a, b = k * value / (n * (1 - value)), 1 + k * value * (n - 1) / (n * (1 - value))
    spent = (a * columns) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1))
    if spent == 0:
        return Estimate(value=value, low=NAN, high=NAN, n=n)
    freedom = (a * columns + b * error) ** 2 / spent
    tail = 0.5 + confidence / 2
    f_low, f_high = (float(f_distribution.ppf(tail, *d)) for d in ((n - 1, freedom), (freedom, n - 1)))
    if value < 0 or not (math.isfinite(f_low) and math.isfinite(f_high)):
        return Estimate(value=value, low=NAN, high=NAN, n=n)
    spread = k * columns + (k * n - k - n) * error
    low = n * (rows - f_low * error) / (f_low * spread + n * rows)
    high = n * (f_high * rows - error) / (spread + n * f_high * rows)
    return Estimate(value=value, low=low, high=high, n=n)


def kappa(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Cohen's kappa: agreement of two readers beyond chance, with its large-sample interval.

    Parameters
    ----------
    first, second : array, shape (N,)
        Calls on the same N nodes; any values that can be compared.
    confidence : float
        Of the interval, in (0, 1).

    Returns
    -------
    Estimate
        NaN where there are no cases, or chance alone would agree on all of them.

    References
    ----------
    .. [1] Fleiss, Cohen and Everitt, Psychological Bulletin 72, 1969. :doi:`10.1037/h0028106`
    """
    a, b = np.asarray(first), np.asarray(second)
    names, codes = np.unique(np.concatenate([a, b]), return_inverse=True)
    n, k = a.size, names.size
    if n == 0:
        return Estimate(value=NAN, low=NAN, high=NAN, n=0)
    table = np.bincount(codes[:n] * k + codes[n:], minlength=k * k).reshape(k, k) / n
    row, column = table.sum(axis=1), table.sum(axis=0)
    observed, chance = float(np.trace(table)), float(row @ column)
    if chance >= 1:
        return Estimate(value=NAN, low=NAN, high=NAN, n=n)
    value = (observed - chance) / (1 - chance)
    weight = (row[:, None] + column[None, :]).T
    off = table * weight**2
    variance = (
        float((np.diag(table) * (1 - np.diag(weight) * (1 - value)) ** 2).sum())
        + (1 - value) ** 2 * float(off.sum() - np.trace(off))
        - (value - chance * (1 - value)) ** 2
    ) / (n * (1 - chance) ** 2)
    reach = float(norm.ppf(0.5 + confidence / 2)) * math.sqrt(max(variance, 0.0))
    return Estimate(value=value, low=max(value - reach, -1.0), high=min(value + reach, 1.0), n=n)
