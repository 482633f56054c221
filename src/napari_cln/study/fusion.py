"""A clinical record beside the image: both in one score, by a logistic regression that a reader can check.

The network's score of a node stays what it is. Its logit, and what is known of the patient and of the node,
are the variables of a ridge regression, whose weight is chosen by cross-validation over patients. The file it
writes holds every number that is needed to repeat a score by hand, and the report draws it as a nomogram.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from ..disk.ages import without_high_age
from ..disk.atomic import write_result
from ..errors import DatasetError
from .cases import CaseRow
from .cutoff import choose_cutoff
from .statistics.calibration import calibration_line
from .statistics.intervals import auc_interval

__all__ = ["Fusion", "fit_fusion", "fuse", "read_fusion"]

Floats = NDArray[np.float64]
Value: TypeAlias = float | str | None
ClinicalRecord: TypeAlias = Mapping[str, Value]
"""What is known of a patient or a node, by the name of the variable; None, or no entry, where missing."""

EVENTS = 5
"""Nodes of the rarer class that each variable needs."""
RIDGES = tuple(float(x) for x in np.logspace(-1, 3, 13))
FOLDS = 5
MOST_LEVELS = 12
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One variable of a fusion.

    Parameters
    ----------
    name : str
    kind : {"number", "category"}
    weight : float
        Of a number, per standard deviation.
    middle, deviation : float
        Median and standard deviation of a number in the training nodes; the median stands for a missing one.
    missing_weight : float
        Added where a number is missing.
    levels : dict of str to float
        Weight of each word of a category, ``"unknown"`` among them, which also stands for other words.
    least, greatest : float
        Range of a number in the training nodes.
    """

    name: str
    kind: Literal["number", "category"]
    weight: float = 0.0
    middle: float = 0.0
    deviation: float = 1.0
    missing_weight: float = 0.0
    levels: dict[str, float] = field(default_factory=dict)
    least: float = 0.0
    greatest: float = 0.0

    def adds(self, value: Value) -> float:
        """Amount that a value adds to the logit."""
        if self.kind == "category":
            word = UNKNOWN if value is None else str(value)
            return self.levels.get(word, self.levels.get(UNKNOWN, 0.0))
        number = _number(value)
        if number is None:
            return self.missing_weight
        return self.weight * (number - self.middle) / self.deviation


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """Image and clinical record in one score: ``expit(intercept + image * logit(score) + Σ variables)``.

    Parameters
    ----------
    intercept, image : float
        Constant, and weight of the logit of the node's score.
    variables : tuple of Variable
    cutoff : float
        Of the fused score, by Youden's index on held-out predictions of the training nodes.
    ridge : float
        Weight of the penalty, chosen by cross-validation over patients.
    slope : float, optional
        Of the calibration of held-out predictions; 1 is best. None where the classes are separated.
    auc_image, auc_fused : float
        Of the training nodes; the fused one by held-out predictions.
    nodes, patients, events : int
        That it was fitted on; events are nodes of the rarer class.
    events_per_variable : float
    model : str
        Whose scores it was fitted on.
    """

    intercept: float
    image: float
    variables: tuple[Variable, ...]
    cutoff: float
    ridge: float
    slope: float | None
    auc_image: float
    auc_fused: float
    nodes: int
    patients: int
    events: int
    events_per_variable: float
    model: str = ""


def fit_ridge(x: ArrayLike, y: ArrayLike, ridge: float) -> Floats:
    """Fit a logistic regression whose weights, all but the first, are drawn towards 0.

    Parameters
    ----------
    x : array, shape (N, K)
        Without a column of ones.
    y : array of bool, shape (N,)
    ridge : float
        Minimises the log loss plus ``ridge / 2`` times the sum of squared weights; scikit-learn's ``C`` is
        its reciprocal.

    Returns
    -------
    ndarray, shape (1 + K,)
        Constant and weights.
    """
    design = np.column_stack([np.ones(len(np.asarray(y))), np.asarray(x, dtype=float)])
    truth = np.asarray(y, dtype=float)
    penalty = np.full(design.shape[1], ridge)
    penalty[0] = 1e-9
    beta = np.zeros(design.shape[1])

    def loss(b: Floats) -> float:
        eta = design @ b
        return float((np.logaddexp(0, eta) - truth * eta).sum() + (penalty * b**2).sum() / 2)

    for _ in range(100):
        p = expit(design @ beta)
        slope = design.T @ (truth - p) - penalty * beta
        curvature = (design * (p * (1 - p))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, slope)
        while loss(beta + step) > loss(beta) + 1e-12 and np.abs(step).max() > 1e-10:
            step = step / 2
        beta = beta + step
        if np.abs(step).max() < 1e-9:
            break
    return beta


def fit_fusion(
    rows: Sequence[CaseRow],
    records: Mapping[str, ClinicalRecord],
    variables: Sequence[str] | None = None,
    *,
    seed: int = 0,
) -> Fusion:
    """Fit image and clinical record on nodes of known truth.

    Parameters
    ----------
    rows : sequence of CaseRow
        With scores of a model that had not learned from these nodes.
    records : mapping of str to mapping
        What is known, by the patient of a row, by its frame's id, or by ``id/node``; the nearest counts.
    variables : sequence of str, optional
        Names to take; all that occur otherwise.
    seed : int
        Of the deal of patients to folds.

    Returns
    -------
    Fusion

    Raises
    ------
    DatasetError
        If a class is absent, no variable is known, there are fewer than 5 nodes of the rarer class for
        each variable, or held-out predictions rank the classes no better than chance at any cutoff.
    """
    known = [row for row in rows if row.kind != "stray" and row.truth != "unknown"]
    y = np.array([row.truth == "metastatic" for row in known])
    events = int(min(y.sum(), (~y).sum())) if len(known) else 0
    if not events:
        raise DatasetError(
            f"Of {len(known)} nodes of known truth {int(y.sum()) if len(known) else 0} are metastatic. Image "
            "and clinical record need nodes of both kinds."
        )
    mine = [facts_of(row, records) for row in known]
    names = (
        list(variables)
        if variables is not None
        else sorted({name for record in records.values() for name in record})
    )
    columns = [_Column.of(name, [record.get(name) for record in mine]) for name in names]
    if not columns:
        raise DatasetError("No variable is known of these nodes. Name columns of a table that holds them.")
    n_variables = 1 + sum(column.n_variables for column in columns)
    if events < EVENTS * n_variables:
        raise DatasetError(
            f"{events} nodes of the rarer class are too few for {n_variables} variables (the image, and "
            f"{', '.join(names)}): each needs {EVENTS}, so that chance is not taken for a sign. Leave "
            "variables out, or add cases."
        )
    image = _logit([row.score for row in known])
    x = np.column_stack([image, *(column.coded([r.get(column.name) for r in mine]) for column in columns)])
    patients = np.array([row.patient for row in known])
    ridge, held_out = _choose_ridge(x, y, patients, seed)
    beta = fit_ridge(x, y, ridge)
    cutoff = choose_cutoff(y, held_out, taken_on="train", optimistic=True).value
    area = auc_interval(y, held_out).value
    if not math.isfinite(cutoff):  # the first point of the curve, above every score
        raise DatasetError(
            f"Held out in turn, image and record do not part the {len(known)} nodes at any cutoff (AUC "
            f"{area:.3f}), so their fusion tells nothing.",
            "Leave variables out that do not tell, or add cases.",
        )
    line = calibration_line(y, held_out)
    start, made = 2, []
    for column in columns:
        made.append(column.variable(beta[start : start + column.width]))
        start += column.width
    return Fusion(
        intercept=float(beta[0]),
        image=float(beta[1]),
        variables=tuple(made),
        cutoff=cutoff,
        ridge=ridge,
        slope=None if line is None else line.slope.value,
        auc_image=auc_interval(y, image).value,
        auc_fused=area,
        nodes=len(known),
        patients=len(set(patients.tolist())),
        events=events,
        events_per_variable=round(events / n_variables, 2),
        model=", ".join(sorted({row.model for row in known if row.model})),
    )


def fuse(score: float, record: ClinicalRecord, fusion: Fusion) -> float:
    """Score of a node by image and clinical record.

    Parameters
    ----------
    score : float
        Malignancy by the image, in [0, 1].
    record : mapping of str to float, str or None
        What is known; missing values count as such.
    fusion : Fusion
        From :func:`fit_fusion` or :func:`read_fusion`.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If the score is no number from 0 to 1.
    """
    if not 0 <= score <= 1:
        raise ValueError(f"The score is {score}: give the malignancy of a node, from 0 to 1.")
    total = fusion.intercept + fusion.image * float(_logit([score])[0])
    known = _known_of(record)
    total += sum(variable.adds(known.get(variable.name)) for variable in fusion.variables)
    return float(expit(total))


def fused_rows(
    rows: Sequence[CaseRow], records: Mapping[str, ClinicalRecord], fusion: Fusion
) -> list[CaseRow]:
    """The same rows with fused scores, for the comparison beside the image's own."""
    made = []
    for row in rows:
        record = facts_of(row, records)
        score, frame = (round(fuse(s, record, fusion), 6) for s in (row.score, row.frame_score))
        made.append(
            replace(row, score=score, frame_score=frame, cutoff=fusion.cutoff, model=f"{row.model} + record")
        )
    return made


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordBeside:
    """A fusion and the clinical records of the cases of a report.

    Parameters
    ----------
    fusion : Fusion
    records : mapping of str to mapping
        As for :func:`fit_fusion`.
    missing : dict of str to int
        Nodes of the report that lack each variable, of ``nodes``.
    nodes : int
    """

    fusion: Fusion
    records: Mapping[str, ClinicalRecord]
    missing: Mapping[str, int] = field(default_factory=dict)
    nodes: int = 0

    def counted(self, rows: Sequence[CaseRow]) -> RecordBeside:
        """The same with what is missing of some rows."""
        nodes = sum(row.kind != "stray" and row.truth != "unknown" for row in rows)
        return replace(self, missing=missing_of(rows, self.records, self.fusion), nodes=nodes)


OF_THE_ROW = ("level", "side", "predicted_short_mm", "predicted_long_mm")
"""Variables that a table of scores holds itself; taken where they are named."""


def facts_of(row: CaseRow, records: Mapping[str, ClinicalRecord]) -> dict[str, Value]:
    """Facts about a row's node: of its patient, its frame, and itself."""
    found: dict[str, Value] = {
        name: value for name in OF_THE_ROW if (value := getattr(row, name)) is not None
    }
    for key in (row.patient, row.id, f"{row.id}/{row.node}"):
        found |= _known_of(records.get(key, {}))
    return found


def _known_of(record: ClinicalRecord) -> dict[str, float | str]:
    """The values that are there, ages of 90 and more as 90: the file of a fusion holds the greatest."""
    return {name: without_high_age(name, value) for name, value in record.items() if value is not None}


def missing_of(
    rows: Sequence[CaseRow], records: Mapping[str, ClinicalRecord], fusion: Fusion
) -> dict[str, int]:
    """Numbers of reference nodes that lack each variable."""
    nodes = [facts_of(row, records) for row in rows if row.kind != "stray" and row.truth != "unknown"]
    return {v.name: sum(_is_missing(r.get(v.name), v.kind) for r in nodes) for v in fusion.variables}


@dataclass(frozen=True, kw_only=True)
class _Column:
    """One variable as columns of numbers."""

    name: str
    kind: Literal["number", "category"]
    middle: float = 0.0
    deviation: float = 1.0
    range: tuple[float, float] = (0.0, 0.0)
    has_missing: bool = False
    levels: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, values: Sequence[Value]) -> _Column:
        there = [value for value in values if not _is_missing(value, "category")]
        if not there:
            raise DatasetError(f"No node has a value of {name}. Leave the variable out, or give its column.")
        numbers = [_number(value) for value in there]
        if all(number is not None for number in numbers):
            x = np.array(numbers, dtype=float)
            return cls(
                name=name,
                kind="number",
                middle=float(np.median(x)),
                deviation=float(x.std()) or 1.0,
                range=(float(x.min()), float(x.max())),
                has_missing=len(there) < len(values),
            )
        words = sorted({str(value) for value in there})
        if len(words) > MOST_LEVELS:
            raise DatasetError(
                f"{name} has {len(words)} different words, such as {words[0][:40]!r}, and may have "
                f"{MOST_LEVELS}. Give a number, or fewer words."
            )
        missing = (UNKNOWN,) if len(there) < len(values) and UNKNOWN not in words else ()
        return cls(name=name, kind="category", levels=(*words, *missing))

    @property
    def width(self) -> int:
        """Columns of the regression."""
        return 1 + self.has_missing if self.kind == "number" else len(self.levels)

    @property
    def n_variables(self) -> int:
        """Number of variables to hold against the number of events: a missing value is no sign of its own."""
        return 1 if self.kind == "number" else max(1, len(set(self.levels) - {UNKNOWN}) - 1)

    def coded(self, values: Sequence[Value]) -> Floats:
        """Columns (N, width)."""
        if self.kind == "category":
            words = [UNKNOWN if _is_missing(value, "category") else str(value) for value in values]
            return np.array([[word == level for level in self.levels] for word in words], dtype=float)
        numbers = [_number(value) for value in values]
        missing = np.array([number is None for number in numbers])
        filled = np.array([self.middle if number is None else number for number in numbers])
        scaled = (filled - self.middle) / self.deviation
        return np.column_stack([scaled, missing]) if self.has_missing else scaled[:, None]

    def variable(self, weights: Floats) -> Variable:
        """The variable with its weights."""
        if self.kind == "category":
            levels = dict(zip(self.levels, map(float, weights), strict=True))
            return Variable(name=self.name, kind="category", levels=levels)
        return Variable(
            name=self.name,
            kind="number",
            weight=float(weights[0]),
            middle=self.middle,
            deviation=self.deviation,
            missing_weight=float(weights[1]) if self.has_missing else 0.0,
            least=self.range[0],
            greatest=self.range[1],
        )


def _choose_ridge(
    x: Floats, y: NDArray[np.bool_], patients: NDArray[np.str_], seed: int
) -> tuple[float, Floats]:
    """The penalty with the least loss on patients that were held out, and the predictions for them."""
    unique, index = np.unique(patients, return_inverse=True)
    deal = np.random.default_rng(seed).permutation(len(unique)) % min(FOLDS, max(2, len(unique)))
    fold = deal[index]
    best: tuple[float, float, Floats] | None = None
    for ridge in RIDGES:
        held_out = np.zeros(len(y))
        for k in np.unique(fold):
            rest = fold != k
            beta = fit_ridge(x[rest], y[rest], ridge)
            held_out[~rest] = beta[0] + x[~rest] @ beta[1:]
        loss = float((np.logaddexp(0, held_out) - y * held_out).sum())
        if best is None or loss < best[0]:
            best = loss, ridge, expit(held_out)
    assert best is not None
    return best[1], best[2]


def _logit(scores: Sequence[float]) -> Floats:
    odds: Floats = logit(np.clip(np.asarray(scores, dtype=float), 1e-4, 1 - 1e-4))
    return odds


def _number(value: Value) -> float | None:
    """A finite number, also from text; None where there is none."""
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _is_missing(value: Value, kind: str) -> bool:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return True
    return kind == "number" and _number(value) is None


def write_fusion(fusion: Fusion, path: str | Path) -> None:
    """Write a fusion as JSON.

    Raises
    ------
    ExportError
        If the file can't be written.
    """
    write_result(Path(path), msgspec.json.format(msgspec.json.encode(asdict(fusion)), indent=1) + b"\n")


def read_fusion(path: str | Path) -> Fusion:
    """Read what :func:`write_fusion` wrote.

    Parameters
    ----------
    path : path

    Returns
    -------
    Fusion

    Raises
    ------
    DatasetError
        If the file can't be read or is none.
    """
    path = Path(path)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Fusion)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as cause:
        raise DatasetError(
            f"{path.name} is no fusion of image and clinical record. Give a file that `napari-cln fuse` "
            "wrote."
        ) from cause
