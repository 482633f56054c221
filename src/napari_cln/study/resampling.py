"""Intervals that know which nodes belong to one patient: the cluster bootstrap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Resampling", "bootstrap"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How the bootstrap is drawn: number of resamples, seed, confidence of the interval."""

    n: int = 2000
    seed: int = 0
    confidence: float = 0.95


DEFAULT = Resampling()


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
    rng = np.random.default_rng(how.seed)
    # Few rows at a time: they stay in the processor's cache, whatever the number of cases.
    step = max(1, 200_000 // max(index.size, 1))
    values = []
    for start in range(0, how.n, step):
        rows = min(step, how.n - start)
        drawn = rng.integers(0, n, size=(rows, n)) + np.arange(rows)[:, None] * n
        times = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        values.append(statistic(times[:, index].astype(float)))
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
