"""Counts first: frames, patients and nodes, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .cases import CaseRow

__all__ = ["Flow", "count_flow"]


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Numbers of frames, patients and nodes on their way through an evaluation.

    Parameters
    ----------
    frames, patients : int
        Frames count those without a result.
    unreadable : int
        Frames that could not be read.
    failed : int
        Frames for which the network gave no finite number. They are in no figure.
    compared : int
        Frames with masks of both reader and model.
    unjudged : int
        Frames of which nothing accepted is known: nobody has looked, or the mask was rejected. They
        are in no other figure.
    without_mask : int
        Frames of which the truth alone is known, or that the model only classified.
    negative : int
        Compared frames in which the reader says there is no node.
    nodes, metastatic, benign, unknown : int
        Reference nodes by truth; a frame without a mask counts as one. Those of unknown truth
        are in the masks' figures and not in the diagnosis.
    scored_by_frame : int
        Nodes of known truth that were not found, and so have the score of the whole frame.
    """

    frames: int
    patients: int
    unreadable: int
    failed: int
    unjudged: int
    compared: int
    without_mask: int
    negative: int
    nodes: int
    metastatic: int
    benign: int
    unknown: int
    scored_by_frame: int


def count_flow(rows: Sequence[CaseRow], unreadable: int = 0, failed: int = 0) -> Flow:
    """Count the rows of one split."""
    unjudged = {r.id for r in rows if r.kind == "frame" and not r.compared and r.truth == "unknown"}
    nodes = [row for row in rows if row.kind != "stray" and row.id not in unjudged]
    frames = {row.id for row in rows}
    compared = {row.id for row in rows if row.compared}
    with_nodes = {row.id for row in rows if row.kind == "node"}
    real = [row for row in nodes if row.kind == "node" or not row.compared]
    return Flow(
        frames=len(frames) + unreadable + failed,
        patients=len({row.patient for row in rows}),
        unreadable=unreadable,
        failed=failed,
        unjudged=len(unjudged),
        compared=len(compared),
        without_mask=len(frames - compared - unjudged),
        negative=len(compared - with_nodes),
        nodes=len(real),
        metastatic=sum(row.truth == "metastatic" for row in real),
        benign=sum(row.truth == "benign" for row in real),
        unknown=sum(row.truth == "unknown" for row in real),
        scored_by_frame=sum(
            row.compared and row.score_of == "frame" and row.truth != "unknown" for row in real
        ),
    )
