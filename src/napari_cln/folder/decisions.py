"""Decisions between two readers of one frame."""

from __future__ import annotations

from ..types import Annotation, Case
from .dataset import TrainingFolder
from .readers import ReadingPair, read_pairs
from .record import FINISHED, Provenance

__all__ = ["adjudicate", "undecided"]


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
    history = study.record(case_id).history
    weighed = {item for entry in history for item in (entry.readings or {}).items()}
    pairs = read_pairs(study, case_id)
    return [
        pair
        for pair in pairs
        if (pair.second.annotator, pair.read_at) not in weighed
        and pair.first.status in FINISHED
        and pair.second.status in FINISHED
        and pair.differs
    ]


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
        As :meth:`TrainingFolder.save`.
    """
    about = Provenance(who=who, action="adjudicated", readings={str(pair.second.annotator): pair.read_at})
    return study.keep(annotation, about, expected_revision=expected_revision)
