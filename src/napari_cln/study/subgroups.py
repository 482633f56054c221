"""The same figures per scanner, neck level, side and node size, and from hospital to hospital."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from ..types import Estimate
from .cases import CaseRow
from .diagnosis import measure_counts, widest
from .segmentation import summary_of
from .statistics.intervals import DEFAULT, Resampling, auc_interval, bootstrap
from .statistics.metrics import auc

SIZES_MM = (5.0, 10.0)
"""Short axis below and above which a node counts as small and large."""


@dataclass(frozen=True, kw_only=True)
class Subgroup:
    """Figures of one subgroup; None where it has no case for them.

    Intervals are the wider of the usual one and the bootstrap over patients.
    """

    variable: str
    value: str
    nodes: int
    patients: int
    metastatic: int
    benign: int
    sensitivity: Estimate | None
    specificity: Estimate | None
    auc: Estimate | None
    dice: Estimate | None


def split_into_subgroups(
    rows: Sequence[CaseRow], cutoff: float, how: Resampling = DEFAULT
) -> tuple[Subgroup, ...]:
    """Figures by hospital, scanner, level, side and size; a variable that no node states is left out."""
    # a frame stands for a node where its truth alone is known, and for none where the reader saw none
    nodes = [
        row
        for row in rows
        if row.kind == "node" or (row.kind == "frame" and not row.compared and row.truth != "unknown")
    ]
    size_of, sizes = _size_classes(nodes)
    variables: tuple[tuple[str, Callable[[CaseRow], str | None], tuple[str, ...]], ...] = (
        ("hospital", lambda row: row.hospital, ()),
        ("scanner", lambda row: row.vendor, ()),
        ("level", lambda row: row.level, ()),
        ("side", lambda row: row.side, ()),
        ("short axis", size_of, sizes),
    )
    groups = []
    for variable, name_of, order in variables:
        names = [name_of(row) for row in nodes]
        for value in order or sorted({name for name in names if name is not None}):
            members = [row for row, name in zip(nodes, names, strict=True) if name == value]
            groups.append(_subgroup(variable, value, members, cutoff, how))
    return tuple(groups)


def _size_classes(
    nodes: Sequence[CaseRow],
) -> tuple[Callable[[CaseRow], str | None], tuple[str, ...]]:
    """Classes of the short axis in mm; thirds in pixels where no frame is calibrated."""
    in_mm = any(row.reference_short_mm is not None for row in nodes)

    def size(row: CaseRow) -> float | None:
        return row.reference_short_mm if in_mm else row.reference_short_px

    known = [x for row in nodes if (x := size(row)) is not None]
    if not known:
        return (lambda row: None), ()
    if in_mm:
        small, large = SIZES_MM
        names = (f"under {small:g} mm", f"{small:g} to under {large:g} mm", f"{large:g} mm and over")
    else:
        small, large = (float(x) for x in np.percentile(known, [100 / 3, 200 / 3]))
        names = (
            f"smallest third (under {small:.0f} px)",
            "middle third",
            f"largest third ({large:.0f} px and over)",
        )

    def name_of(row: CaseRow) -> str | None:
        x = size(row)
        return None if x is None else names[int(x >= small) + int(x >= large)]

    used = {name_of(row) for row in nodes}
    return name_of, tuple(name for name in names if name in used)


def _subgroup(
    variable: str, value: str, members: Sequence[CaseRow], cutoff: float, how: Resampling
) -> Subgroup:
    judged = [row for row in members if row.truth != "unknown"]
    truth = np.array([row.truth == "metastatic" for row in judged], dtype=bool)
    score = np.array([row.score for row in judged], dtype=float)
    patients = [row.patient for row in judged]
    sensitivity = specificity = area = None
    if judged:
        _, found = measure_counts(truth, score >= cutoff, patients, how)
        sensitivity, specificity = (m.clustered if m.clustered.n else None for m in found[:2])
    if truth.any() and not truth.all():
        low, high = bootstrap(lambda weights: auc(truth, score, weights), patients, how)
        area = widest(auc_interval(truth, score, confidence=how.confidence), float(low), float(high))
    outlined = [row for row in members if row.dice is not None]
    summary = summary_of([row.dice or 0.0 for row in outlined], [row.patient for row in outlined], how)
    return Subgroup(
        variable=variable,
        value=value,
        nodes=len(members),
        patients=len({row.patient for row in members}),
        metastatic=int(truth.sum()),
        benign=int((~truth).sum()),
        sensitivity=sensitivity,
        specificity=specificity,
        auc=area,
        dice=summary.median_clustered if summary else None,
    )


# ------------------------------------------------------------ from hospital to hospital


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
