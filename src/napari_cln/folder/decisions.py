"""Decisions between two readers of one frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import DatasetError
from ..types import Annotation, Case
from .readers import ReadingPair, read_pair, readers_of
from .records import FINISHED
from .saving import Provenance, save

if TYPE_CHECKING:
    from .dataset import TrainingFolder

__all__ = ["adjudicate", "may_decide", "undecided"]

JUDGED = ("corrected", "accepted", "rejected", "no-node", "imported")
"""Actions by which a reader, or an import, says what a frame shows."""


def undecided(study: TrainingFolder, case_id: str) -> list[ReadingPair]:
    """Finished second readings of a frame that differ from the folder's, and that nobody has decided on.

    Parameters
    ----------
    study : TrainingFolder
    case_id : str

    Raises
    ------
    DatasetError
        If the frame is not in the folder, or a file is damaged.
    """
    weighed: set[tuple[str, str]] = set()
    for entry in study.record(case_id)["history"]:
        readings = set(entry.get("readings", {}).items())
        weighed = weighed - readings if entry.get("action") == "taken-back" else weighed | readings
    pairs = (read_pair(study, case_id, reader) for reader in readers_of(study, case_id))
    return [
        pair
        for pair in pairs
        if (pair.second.annotator, pair.read_at) not in weighed
        and pair.first.status in FINISHED
        and pair.second.status in FINISHED
        and pair.differs
    ]


def may_decide(study: TrainingFolder, pair: ReadingPair, who: str) -> bool:
    """Whether a reader is neither of the two who read a frame otherwise.

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
    judged = [line for line in study.record(pair.case.id)["history"] if line.get("action") in JUDGED]
    before = [line for line in judged if str(line.get("t")) < pair.read_at]
    readers = {str(line.get("who")) for line in (*before, *judged[:1])} | {str(pair.second.annotator)}
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
            f"{who} has read this frame, so another reader decides between the two readings. "
            "Leave it to a third."
        )
    about = Provenance(who=who, action="adjudicated", readings={str(pair.second.annotator): pair.read_at})
    return save(study, annotation, about, expected_revision=expected_revision)
