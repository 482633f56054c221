"""Decisions between two readers of one frame."""

from __future__ import annotations

from ..annotation import FINISHED, Annotation, Case
from ..errors import DatasetError
from .dataset import TrainingFolder
from .readers import ReadingPair, read_pairs
from .record import Provenance

JUDGED = ("corrected", "accepted", "rejected", "no-node", "imported")
"""Actions by which a reader, or an import, says what a frame shows."""


def undecided(study: TrainingFolder, case_id: str) -> list[ReadingPair]:
    """Finished second readings of a frame that differ from the folder's, and that nobody has decided on.

    Readings that can't be read are left out, logged, and named by ``check``.

    Parameters
    ----------
    study : TrainingFolder
    case_id : str

    Raises
    ------
    DatasetError
        If the frame is not in the folder, or a file of its own is damaged.
    """
    weighed: set[tuple[str, str]] = set()
    for entry in study.record(case_id).history:
        readings = set((entry.readings or {}).items())
        weighed = weighed - readings if entry.action == "taken-back" else weighed | readings
    pairs = read_pairs(study, case_id)
    return [
        pair
        for pair in pairs
        if (pair.second.annotator, pair.read_at) not in weighed
        and pair.first.status in FINISHED
        and pair.second.status in FINISHED
        and pair.differs
    ]


def may_decide(study: TrainingFolder, pair: ReadingPair, who: str) -> bool:
    """Tell whether a reader is neither of the two who read a frame otherwise.

    Who had judged the frame before the other reading was there, or was the first to judge it, is one of
    the two. Who painted a consensus after that is not.

    Parameters
    ----------
    study : TrainingFolder
    pair : ReadingPair
    who : str

    Raises
    ------
    DatasetError
        If the frame is not in the folder.
    """
    judged = [entry for entry in study.record(pair.case.id).history if entry.action in JUDGED]
    before = [entry for entry in judged if f"{entry.t:%Y-%m-%dT%H:%M:%SZ}" < pair.read_at]
    readers = {entry.who for entry in (*before, *judged[:1])} | {str(pair.second.annotator)}
    return who.casefold() not in {reader.casefold() for reader in readers}


def adjudicate(
    study: TrainingFolder,
    annotation: Annotation,
    who: str,
    pair: ReadingPair,
    *,
    expected_revision: int | None = None,
) -> Case:
    """Save the decision between two readings as the frame's own; the former state goes to the revisions.

    Parameters
    ----------
    study : TrainingFolder
    annotation : Annotation
        What holds: one of the two, or a third.
    who : str
        Who decided.
    pair : ReadingPair
        What was decided on; the record's history names the reader, and when they read the frame.
    expected_revision : int, optional
        Revision that the decision was made on.

    Raises
    ------
    DatasetError
        If who decides is one of the two readers, and as :meth:`TrainingFolder.save`.
    """
    if not may_decide(study, pair, who):
        raise DatasetError(
            f"{who} has read this frame, so another reader decides between the two readings.",
            "Leave it to a third.",
        )
    about = Provenance(who=who, action="adjudicated", readings={str(pair.second.annotator): pair.read_at})
    return study.keep(annotation, about, expected_revision=expected_revision)
