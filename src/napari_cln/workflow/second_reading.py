"""Second readings of a training folder: how readers agree, and what is still to be decided between them."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan

from ..folder.dataset import TrainingFolder
from ..folder.decisions import may_decide, undecided
from ..folder.readers import ReadingPair, pair_truths, read_pair
from ..study.statistics.agreement import kappa
from ..study.statistics.metrics import dice

__all__ = ["Disagreement", "describe_agreement", "find_undecided", "reading_overlap"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Disagreement:
    """A frame that two readers read differently, in words, and both readings; no words for no difference.

    ``may_decide`` is False for a reader who is one of the two.
    """

    case_id: str
    words: str = ""
    pair: ReadingPair | None = None
    may_decide: bool = True


def describe_agreement(folder: TrainingFolder, reader: str, case_id: str) -> str:
    """Say how a second reading agrees with the first.

    Parameters
    ----------
    folder : TrainingFolder
    reader : str
        Who gave the second reading.
    case_id : str

    Returns
    -------
    str
        Dice on this frame, and kappa of the truths over all frames of that reader.

    Raises
    ------
    DatasetError
        If there is no such reading, or a file of it is damaged.
    """
    pair = read_pair(folder, case_id, reader)
    overlap = dice(pair.first.mask, pair.second.mask)
    same = "both readers see no node" if isnan(overlap) else f"Dice with the first reading {overlap:.2f}"
    return f"Second reading saved: {same}.{_kappa(folder, reader)}"


def find_undecided(folder: TrainingFolder, case_id: str, who: str) -> Disagreement:
    """Find the reading that differs most from what the folder has of a frame.

    Parameters
    ----------
    folder : TrainingFolder
    case_id : str
    who : str
        Reader to whom it is shown.

    Returns
    -------
    Disagreement

    Raises
    ------
    DatasetError
        If a file of the frame is damaged.
    """
    pairs = undecided(folder, case_id)
    if not pairs:
        return Disagreement(case_id=case_id)
    pair = min(pairs, key=reading_overlap)
    reader, truths = str(pair.second.annotator), (pair.first.label, pair.second.label)
    other = f", {truths[0]} against {truths[1]}" if truths[0] != truths[1] else ""
    words = f"{reader} reads this frame otherwise: Dice {reading_overlap(pair):.2f}{other}."
    words += _kappa(folder, reader)
    may = may_decide(folder, pair, who)
    if not may:
        words += " You have read it yourself, so another reader decides between the two."
    return Disagreement(case_id=case_id, words=words, pair=pair, may_decide=may)


def reading_overlap(pair: ReadingPair) -> float:
    """Return the Dice of two readings, in [0, 1]; 1 where neither outlines a node."""
    overlap = dice(pair.first.mask, pair.second.mask)
    return 1.0 if isnan(overlap) else overlap  # they differ in the truth alone


def _kappa(folder: TrainingFolder, reader: str) -> str:
    agreement = kappa(*pair_truths(folder, reader))
    return "" if isnan(agreement.value) else f" Kappa of the truths {agreement}."
