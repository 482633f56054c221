"""One hospital's model on another's nodes: what is kept, and what is lost on the way."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from ..types import Estimate
from .cases import CaseRow
from .diagnosis import measure_counts, widest
from .statistics.intervals import DEFAULT, Resampling, auc_interval, bootstrap
from .statistics.metrics import auc


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Figures of a model on the nodes of one hospital.

    Parameters
    ----------
    learned : str
        Hospitals that the model learned from, ``"A, C"``; ``"?"`` where that is not known.
    tested : str
        Hospital of the nodes.
    nodes, patients : int
        Of known truth.
    auc, sensitivity, specificity : Estimate, optional
        With intervals over patients; None where a class is absent.
    difference : Estimate, optional
        AUC here less AUC on the reported nodes of the hospitals that it learned from, of other patients.
    """

    learned: str
    tested: str
    nodes: int
    patients: int
    auc: Estimate | None
    sensitivity: Estimate | None
    specificity: Estimate | None
    difference: Estimate | None = None

    @property
    def name(self) -> str:
        """``"A → B"``."""
        return f"{self.learned} → {self.tested}"


def compare_hospitals(
    rows: Sequence[CaseRow], cutoff: float, learned: Collection[str] = (), how: Resampling = DEFAULT
) -> tuple[Transfer, ...]:
    """Compare the hospitals of some rows; none where they are of one, which the model learned from too.

    Parameters
    ----------
    rows : sequence of CaseRow
    cutoff : float
    learned : collection of str
        Hospitals that the model learned from, where they are known.
    how : Resampling
    """
    judged = [row for row in rows if row.kind != "stray" and row.truth != "unknown" and row.hospital]
    names = sorted({str(row.hospital) for row in judged})
    if not names or (len(names) == 1 and set(names) <= set(learned)) or (len(names) == 1 and not learned):
        return ()
    start = ", ".join(sorted(learned)) or "?"
    home = [row for row in judged if row.hospital in learned]
    made = []
    for name in names:
        here = [row for row in judged if row.hospital == name]
        truth = np.array([row.truth == "metastatic" for row in here])
        score = np.array([row.score for row in here])
        patients = [row.patient for row in here]
        _, found = measure_counts(truth, score >= cutoff, patients, how)
        sensitivity, specificity = (m.clustered if m.clustered.n else None for m in found[:2])
        area = _auc(here, how)
        made.append(
            Transfer(
                learned=start,
                tested=name,
                nodes=len(here),
                patients=len(set(patients)),
                auc=area,
                sensitivity=sensitivity,
                specificity=specificity,
                difference=_difference(area, _auc(home, how), how) if name not in learned else None,
            )
        )
    return tuple(made)


def _auc(rows: Sequence[CaseRow], how: Resampling) -> Estimate | None:
    truth = np.array([row.truth == "metastatic" for row in rows], dtype=bool)
    if not truth.any() or truth.all():
        return None
    score = np.array([row.score for row in rows])
    low, high = bootstrap(lambda weights: auc(truth, score, weights), [row.patient for row in rows], how)
    return widest(auc_interval(truth, score, confidence=how.confidence), float(low), float(high))


def _difference(there: Estimate | None, home: Estimate | None, how: Resampling) -> Estimate | None:
    """Difference of two AUCs of other patients, by the squares of their intervals."""
    if there is None or home is None:
        return None
    z = float(norm.ppf(0.5 + how.confidence / 2))
    errors = [(estimate.high - estimate.low) / (2 * z) for estimate in (there, home)]
    value, reach = there.value - home.value, z * math.hypot(*errors)
    return Estimate(value=value, low=value - reach, high=value + reach, n=there.n + home.n)
