"""Several tests on the same nodes: a second model, readers, or the original reports.

Two are compared in pairs; all of them stand side by side on the nodes that every one has judged, as in the
paper's Table 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..disk.cells import restored
from ..disk.tables import read_table
from ..errors import DatasetError
from ..types import Estimate
from .cases import CaseRow
from .diagnosis import Measure, measure_counts, widest
from .reader_study import ReaderStudy, study_readers
from .statistics.agreement import kappa
from .statistics.intervals import (
    DEFAULT,
    AucDifference,
    McNemar,
    Resampling,
    auc_interval,
    bootstrap,
    compare_auc,
    mcnemar,
)
from .statistics.metrics import MEASURES, Counts, auc, measures

Floats = NDArray[np.float64]
SHARES = MEASURES[:5]

CALLS = {"malignant": True, "metastatic": True, "benign": False, "undetermined": None}
"""What a table of calls may say of a node."""


@dataclass(frozen=True, kw_only=True)
class ModelGap:
    """Differences that another model shows beyond its calls.

    Parameters
    ----------
    auc : AucDifference
        Model − other by the paired DeLong test.
    areas : (Estimate, Estimate)
        AUC of the model and of the other.
    cutoffs : (float, float)
        Of the model and of the other.
    dice : Estimate, optional
        Mean paired difference of Dice per node, where both give masks.
    """

    auc: AucDifference
    areas: tuple[Estimate, Estimate]
    cutoffs: tuple[float, float]
    dice: Estimate | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """The model and another test on the nodes that both have judged.

    Parameters
    ----------
    name : str
        Of the other test.
    nodes, patients : int
        Judged by both.
    undetermined, without : int
        Nodes on which the other test gave no verdict, and nodes that it does not know. Neither
        is in the comparison.
    model, other : Counts
    model_measures, other_measures : tuple of Measure
    differences : dict of str to Estimate
        Model − other, with the interval of the bootstrap over patients.
    mcnemar : McNemar
        Of right and wrong calls.
    kappa : Estimate
        Agreement of the two.
    gap : ModelGap, optional
        Where the other test is a model.
    """

    name: str
    nodes: int
    patients: int
    undetermined: int
    without: int
    model: Counts
    other: Counts
    model_measures: tuple[Measure, ...]
    other_measures: tuple[Measure, ...]
    differences: Mapping[str, Estimate]
    mcnemar: McNemar
    kappa: Estimate
    gap: ModelGap | None = None


def compare_calls(
    name: str,
    rows: Sequence[CaseRow],
    cutoff: float,
    calls: Mapping[str, str],
    how: Resampling = DEFAULT,
) -> Comparison | None:
    """Compare the model with calls on the same nodes.

    Parameters
    ----------
    name : str
        Of the reader, or of the reports.
    rows : sequence of CaseRow
        Nodes with a known truth.
    cutoff : float
    calls : mapping of str to str
        Frame id, or ``id/node`` for one node of several, to ``"malignant"`` (or
        ``"metastatic"``), ``"benign"`` or ``"undetermined"``.
    how : Resampling

    Returns
    -------
    Comparison or None
        None where no node has a verdict of both.

    Raises
    ------
    DatasetError
        If a call is none of these words.
    """
    said = verdicts(name, rows, calls)
    known = [(row, called) for row, (_, called) in zip(rows, said, strict=True) if called is not None]
    if not known:
        return None
    return _compare(
        name,
        [row for row, _ in known],
        [row.score >= cutoff for row, _ in known],
        [called for _, called in known],
        how,
        undetermined=sum(known and called is None for known, called in said),
        without=sum(not known for known, _ in said),
    )


def verdicts(name: str, rows: Sequence[CaseRow], calls: Mapping[str, str]) -> list[tuple[bool, bool | None]]:
    """Of each node: whether a reader knows it, and the call; None for no verdict.

    Raises
    ------
    DatasetError
        If a call is none of the words.
    """
    for key, call in calls.items():
        if call not in CALLS:
            raise DatasetError(
                f"{name} says {call!r} of {key}. The words are malignant, benign and undetermined."
            )
    said = [calls.get(f"{row.id}/{row.node}", calls.get(row.id)) for row in rows]
    return [(call is not None, None if call is None else CALLS[call]) for call in said]


def compare_models(
    name: str,
    rows: Sequence[CaseRow],
    cutoff: float,
    others: Sequence[CaseRow],
    other_cutoff: float,
    how: Resampling = DEFAULT,
) -> Comparison | None:
    """Compare the model with another model's table of the same nodes, each at its own cutoff.

    Both AUCs come with DeLong's intervals; that of their difference is the wider of DeLong's and
    the bootstrap over patients.

    Returns
    -------
    Comparison or None
        None where they share no node with a known truth.
    """
    theirs = {row.key: row for row in others if row.kind != "stray"}
    pairs = [(row, theirs[row.key]) for row in rows if row.key in theirs]
    if not pairs:
        return None
    mine = [row for row, _ in pairs]
    truth = [row.truth == "metastatic" for row in mine]
    first, second = [row.score for row in mine], [other.score for _, other in pairs]
    difference = compare_auc(truth, first, second, how.confidence)
    low, high = bootstrap(
        lambda weights: auc(truth, first, weights) - auc(truth, second, weights),
        [row.patient for row in mine],
        how,
    )
    difference = difference._replace(difference=widest(difference.difference, float(low), float(high)))
    outlined = [(a.dice - b.dice, a.patient) for a, b in pairs if a.dice is not None and b.dice is not None]
    return _compare(
        name,
        mine,
        [row.score >= cutoff for row in mine],
        [other.score >= other_cutoff for _, other in pairs],
        how,
        without=len(rows) - len(pairs),
        gap=ModelGap(
            auc=difference,
            areas=(
                auc_interval(truth, first, confidence=how.confidence),
                auc_interval(truth, second, confidence=how.confidence),
            ),
            cutoffs=(cutoff, other_cutoff),
            dice=_mean([d for d, _ in outlined], [p for _, p in outlined], how) if outlined else None,
        ),
    )


def _compare(
    name: str,
    rows: Sequence[CaseRow],
    model: Sequence[bool],
    other: Sequence[bool],
    how: Resampling,
    *,
    undetermined: int = 0,
    without: int = 0,
    gap: ModelGap | None = None,
) -> Comparison:
    truth = np.array([row.truth == "metastatic" for row in rows])
    a, b = np.array(model, dtype=bool), np.array(other, dtype=bool)
    patients = [row.patient for row in rows]
    (mine, my_measures), (theirs, their_measures) = (
        measure_counts(truth, calls, patients, how) for calls in (a, b)
    )
    right, right_too = a == truth, b == truth
    return Comparison(
        name=name,
        nodes=len(rows),
        patients=len(set(patients)),
        undetermined=undetermined,
        without=without,
        model=mine,
        other=theirs,
        model_measures=my_measures,
        other_measures=their_measures,
        differences=_differences(truth, a, b, patients, how),
        mcnemar=mcnemar(int((right & ~right_too).sum()), int((~right & right_too).sum())),
        kappa=kappa(a, b, how.confidence),
        gap=gap,
    )


def _differences(
    truth: NDArray[np.bool_],
    a: NDArray[np.bool_],
    b: NDArray[np.bool_],
    patients: Sequence[str],
    how: Resampling,
) -> dict[str, Estimate]:
    """Paired differences of the five shares (first − second), resampling patients."""

    def figures(weights: Floats) -> Floats:
        both = []
        for called in (a, b):
            cells = np.stack([truth & called, truth & ~called, ~truth & ~called, ~truth & called], axis=1)
            table = measures(*(weights @ cells.astype(float)).T)
            both.append(np.stack([table[name] for name in SHARES], axis=1))
        first, second = both
        gap: Floats = first - second
        return gap

    value = figures(np.ones((1, truth.size)))[0]
    low, high = bootstrap(figures, patients, how)
    return {
        name: Estimate(value=float(value[i]), low=float(low[i]), high=float(high[i]), n=truth.size)
        for i, name in enumerate(SHARES)
    }


def _mean(values: Sequence[float], patients: Sequence[str], how: Resampling) -> Estimate:
    x = np.asarray(values, dtype=float)
    low, high = bootstrap(lambda weights: weights @ x / weights.sum(axis=1), patients, how)
    return Estimate(value=float(x.mean()), low=float(low), high=float(high), n=x.size)


# ------------------------------------------------------------ all tests side by side


MODEL = "model"
"""Name of the model that is evaluated, beside those of the other tests."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The seven measures of several tests on the same nodes.

    Parameters
    ----------
    nodes, patients : int
        Judged by every test.
    of : int
        Nodes of known truth in all.
    tests : tuple of (str, tuple of Measure)
        The model first; empty where no node was judged by all.
    reader_study : ReaderStudy, optional
        Readers without and with the model, where their calls have both.
    """

    nodes: int
    patients: int
    of: int
    tests: tuple[tuple[str, tuple[Measure, ...]], ...]
    reader_study: ReaderStudy | None = None


def check_names(*tests: Iterable[str]) -> None:
    """Refuse a name that two of the tests have that are compared.

    Parameters
    ----------
    *tests : iterable of str
        Names of readers, reports or other models; the model itself is ``"model"``.

    Raises
    ------
    DatasetError
        If one comes twice, so that one test would stand in the place of the other.
    """
    taken = {MODEL}
    for name in chain(*tests):
        if name in taken:
            whose = "the model itself" if name == MODEL else "two tests"
            raise DatasetError(
                f"{name!r} is the name of {whose} in the comparison.",
                "Head the column of a reader by the reader's name.",
            )
        taken.add(name)


def set_side_by_side(
    rows: Sequence[CaseRow],
    cutoff: float,
    readers: Mapping[str, Mapping[str, str]],
    others: Mapping[str, tuple[Sequence[CaseRow], float]],
    how: Resampling = DEFAULT,
) -> Panel | None:
    """Judge every test by the nodes on which all of them have a verdict.

    Parameters
    ----------
    rows : sequence of CaseRow
        Nodes with a known truth, scored by the model.
    cutoff : float
    readers : mapping
        Name of a reader, or of the reports, to the calls by case id.
    others : mapping
        Name of another model to its rows and its cutoff.
    how : Resampling

    Returns
    -------
    Panel or None
        None where there is no other test, or neither a node that all have judged nor a reader who has read
        in both ways.

    Raises
    ------
    DatasetError
        If two tests have one name.
    """
    check_names(others, readers)
    said: dict[str, list[bool | None]] = {MODEL: [row.score >= cutoff for row in rows]}
    for name, (theirs, their_cutoff) in others.items():
        scores = {row.key: row.score for row in theirs if row.kind != "stray"}
        said[name] = [
            None if (score := scores.get(row.key)) is None else score >= their_cutoff for row in rows
        ]
    for name, calls in readers.items():
        said[name] = [verdict for _, verdict in verdicts(name, rows, calls)]
    shared = [i for i in range(len(rows)) if all(calls[i] is not None for calls in said.values())]
    reader_study = study_readers(rows, said, how)
    if len(said) == 1 or not (shared or reader_study):
        return None
    truth = [rows[i].truth == "metastatic" for i in shared]
    patients = [rows[i].patient for i in shared]
    return Panel(
        nodes=len(shared),
        patients=len(set(patients)),
        of=len(rows),
        tests=tuple(
            (name, measure_counts(truth, [bool(calls[i]) for i in shared], patients, how)[1])
            for name, calls in said.items()
            if shared
        ),
        reader_study=reader_study,
    )


# ------------------------------------------------------------ tables of calls


NOT_READERS = ("id", "evidence", "text")


def read_calls(path: str | Path, name: str | None = None) -> dict[str, dict[str, str]]:
    """Calls of readers by case id, for :func:`napari_cln.evaluate`.

    Parameters
    ----------
    path : path
        CSV, TSV or XLSX. A column ``id`` (a frame's, or ``frame/node``), and a column for each reader, headed
        by the reader's name, with malignant, benign or undetermined. An empty cell is no call.
    name : str, optional
        Of the only reader, whose column is ``label``: what ``napari-cln reports`` writes.

    Returns
    -------
    dict of str to dict of str to str

    Raises
    ------
    DatasetError
        If the file can't be read, lacks a column, has another word, or two calls on one case.
    """
    path = Path(path)
    table = read_table(path)
    table.require(("id", "label") if name else ("id",))
    readers = [heading for heading in table.headings if heading not in NOT_READERS]
    columns = {name: "label"} if name else {reader: reader for reader in readers}
    if not columns or not table.rows:
        raise DatasetError(f"{path.name} holds no calls. Give a column id and a column for each reader.")
    calls: dict[str, dict[str, str]] = {reader: {} for reader in columns}
    for line, row in zip(table.lines, table.rows, strict=True):
        for reader, column in columns.items():
            call = row[column].casefold()
            if not call:
                continue
            if call not in CALLS:
                raise DatasetError(
                    f"{path.name} has {call[:40]!r} in line {line}. The words are malignant, benign and "
                    "undetermined."
                )
            if calls[reader].setdefault(restored(row["id"]).strip(), call) != call:
                raise DatasetError(
                    f"{path.name} has two calls of {reader} on {row['id']}. Leave the one that holds."
                )
    return calls
