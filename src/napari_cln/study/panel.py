"""Every test on the nodes that all of them judged: the paper's Table 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .cases import CaseRow
from .comparison import verdicts
from .diagnosis import Measure, measure_counts
from .statistics.resampling import DEFAULT, Resampling

__all__ = ["Panel", "set_side_by_side"]


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
        The model first.
    """

    nodes: int
    patients: int
    of: int
    tests: tuple[tuple[str, tuple[Measure, ...]], ...]


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
        None where there is no other test, or no node that all have judged.
    """
    said: dict[str, list[bool | None]] = {"model": [row.score >= cutoff for row in rows]}
    for name, (theirs, their_cutoff) in others.items():
        scores = {row.key: row.score for row in theirs if row.kind != "stray"}
        said[name] = [
            None if (score := scores.get(row.key)) is None else score >= their_cutoff for row in rows
        ]
    for name, calls in readers.items():
        said[name] = [verdict for _, verdict in verdicts(name, rows, calls)]
    shared = [i for i in range(len(rows)) if all(calls[i] is not None for calls in said.values())]
    if len(said) == 1 or not shared:
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
        ),
    )
