"""Intervals that know which nodes belong to one patient: the cluster bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Resampling", "bootstrap"]

Floats = NDArray[np.float64]


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
