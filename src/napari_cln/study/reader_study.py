"""Readers with and without the model: the same nodes read twice by the same readers.

A reader's second reading stands in the table of calls under the reader's name and the words *with the model*.
What the model does for readers at large is asked of patients and of readers, so both are drawn anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..types import Estimate
from .cases import CaseRow
from .statistics.intervals import DEFAULT, Resampling, bootstrap

WITH_MODEL = " with the model"
FIGURES = ("sensitivity", "specificity", "AUC of the calls")
"""The last is the mean of the other two: the area under the one point that a yes or no gives."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PairedReader:
    """One reader's calls without and with the model, on the nodes that have both.

    Parameters
    ----------
    name : str
    nodes, patients : int
    alone, with_model, gain : dict of str to Estimate
        By the names in ``FIGURES``, each interval over patients; the gain is with − alone.
    changed_right, changed_wrong : int
        Calls that the model turned right, and wrong.
    """

    name: str
    nodes: int
    patients: int
    alone: Mapping[str, Estimate]
    with_model: Mapping[str, Estimate]
    gain: Mapping[str, Estimate]
    changed_right: int
    changed_wrong: int


@dataclass(frozen=True, kw_only=True)
class ReaderStudy:
    """Readers with and without the model.

    Parameters
    ----------
    readers : tuple of PairedReader
    gain : dict of str to Estimate
        Mean gain over the readers, with − alone. Its interval is over patients and readers both; with one
        reader, over patients alone.
    nodes, patients : int
        In all.
    """

    readers: tuple[PairedReader, ...]
    gain: Mapping[str, Estimate]
    nodes: int
    patients: int


def study_readers(
    rows: Sequence[CaseRow], calls: Mapping[str, Sequence[bool | None]], how: Resampling = DEFAULT
) -> ReaderStudy | None:
    """Compare readers with themselves, without and with the model.

    Parameters
    ----------
    rows : sequence of CaseRow
        Nodes with a known truth.
    calls : mapping
        Name of a reader to the call on each row, True for malignant, None for no verdict. Those of ``"Li"``
        belong to those of ``"Li with the model"``.
    how : Resampling

    Returns
    -------
    ReaderStudy or None
        None where no reader has read a node in both ways.

    References
    ----------
    .. [1] B. D. Gallas et al., "Evaluating imaging and computer-aided detection and diagnosis devices at the
           FDA", Acad Radiol 19(4), 2012. :doi:`10.1016/j.acra.2011.12.016`. Patients and readers are both
           drawn anew here, as its multi-reader multi-case analyses hold them for random.
    """
    truth = np.array([row.truth == "metastatic" for row in rows], dtype=bool)
    patients = np.array([row.patient for row in rows])
    names, pairs = [], []
    for name, alone in calls.items():
        helped = calls.get(name + WITH_MODEL)
        if helped is None:
            continue
        both = [np.array([np.nan if v is None else float(v) for v in said]) for said in (alone, helped)]
        pair = np.stack(both)
        pair[:, np.isnan(pair).any(axis=0)] = np.nan
        if not np.isnan(pair).all():
            names.append(name)
            pairs.append(pair)
    if not pairs:
        return None
    readers = tuple(_paired(*each, truth, patients, how) for each in zip(names, pairs, strict=True))
    rng = np.random.default_rng(how.seed)

    def mean_gain(weights: Floats) -> Floats:
        found = np.stack(
            [_figures(pair[1], truth, weights) - _figures(pair[0], truth, weights) for pair in pairs]
        )
        n = len(pairs)
        drawn = rng.multinomial(n, [1 / n] * n, len(weights)).T[..., None].astype(float)  # (R, B, 1)
        shares: Floats = (drawn * found).sum(axis=0) / n
        return shares

    each = np.array([[reader.gain[name].value for name in FIGURES] for reader in readers])
    low, high = bootstrap(mean_gain, patients, how)
    read = ~np.isnan(np.stack(pairs)[:, 0]).all(axis=0)
    return ReaderStudy(
        readers=readers,
        gain=_estimates(each.mean(axis=0), low, high, int(read.sum())),
        nodes=int(read.sum()),
        patients=len(set(patients[read])),
    )


def _paired(
    name: str, pair: Floats, truth: NDArray[np.bool_], patients: NDArray[np.str_], how: Resampling
) -> PairedReader:
    known = ~np.isnan(pair[0])
    pair, truth, patients = pair[:, known], truth[known], patients[known]
    n = int(known.sum())

    def figures(weights: Floats) -> Floats:
        alone, helped = (_figures(calls, truth, weights) for calls in pair)
        return np.concatenate([alone, helped, helped - alone], axis=1)

    value = figures(np.ones((1, n)))[0]
    low, high = bootstrap(figures, patients, how)
    parts = [slice(k * len(FIGURES), (k + 1) * len(FIGURES)) for k in range(3)]
    alone, helped, gain = (_estimates(value[part], low[part], high[part], n) for part in parts)
    right = (pair > 0.5) == truth
    return PairedReader(
        name=name,
        nodes=n,
        patients=len(set(patients)),
        alone=alone,
        with_model=helped,
        gain=gain,
        changed_right=int((~right[0] & right[1]).sum()),
        changed_wrong=int((right[0] & ~right[1]).sum()),
    )


def _figures(calls: Floats, truth: NDArray[np.bool_], weights: Floats) -> Floats:
    """Sensitivity, specificity and their mean (B, 3) under case weights (B, N); unread nodes are left out."""
    known = ~np.isnan(calls)
    said = np.nan_to_num(calls) > 0.5
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = [
            (weights @ (known & kind & right).astype(float)) / (weights @ (known & kind).astype(float))
            for kind, right in ((truth, said), (~truth, ~said))
        ]
    return np.stack([*shares, (shares[0] + shares[1]) / 2], axis=1)


def _estimates(value: Floats, low: Floats, high: Floats, n: int) -> dict[str, Estimate]:
    return {
        name: Estimate(value=float(value[k]), low=float(low[k]), high=float(high[k]), n=n)
        for k, name in enumerate(FIGURES)
    }
