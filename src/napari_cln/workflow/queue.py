"""Frames that are worth a reader's next minute, and those on which two readers do not agree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from math import isnan

from ..annotation import Case
from ..errors import DatasetError
from ..folder.dataset import TrainingFolder
from ..folder.decisions import may_decide, undecided
from ..folder.queue import FrameSigns, Suggestion, appearance, rank, signs_of_case, unlikeness
from ..folder.readers import ReadingPair, pair_truths, read_pair, second_readings
from ..folder.record import case_of
from ..study.reading import Reading
from ..study.statistics.agreement import kappa
from ..study.statistics.metrics import dice
from ..types import Frame

__all__ = [
    "Candidate",
    "Disagreement",
    "describe_agreement",
    "find_undecided",
    "suggest_frames",
]

N_LABELLED = 300
"""Labelled frames that are looked at to tell what is new; ids are hashes, so the first are a fair sample."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A predicted frame that is not in the training folder.

    Parameters
    ----------
    key : str
        By which the caller knows it.
    reading : Reading
        What was predicted.
    frame : Frame, optional
        Left out where it can't be read: it is then not looked at for what is new.
    cine : str, optional
        The clip that it is from.
    index : int
        Its position there.
    """

    key: str
    reading: Reading
    frame: Frame | None = None
    cine: str | None = None
    index: int = 0


def suggest_frames(
    candidates: Iterable[Candidate], folder: TrainingFolder | None, most: int = 8
) -> list[Suggestion]:
    """Rank the frames whose correction teaches most.

    Parameters
    ----------
    candidates : iterable of Candidate
        Read one after the other, so that their frames need not be held together.
    folder : TrainingFolder, optional
        Whose frames are ranked too; their key is the id of the case.
    most : int
        How many to return at most.

    Returns
    -------
    list of Suggestion
        The most urgent first; empty where nothing stands out.

    Raises
    ------
    DatasetError
        If a picture of the folder is damaged.
    """
    looks, found = {}, []
    for one in candidates:
        if one.frame is not None:
            looks[one.key] = appearance(one.frame.grey)
        found.append(replace(one, frame=None))  # the pixels have been looked at
    cases = [] if folder is None else list(_cases(folder))
    labelled = []
    if folder is not None:
        finished = [case for case, _ in cases if case.mask is not None]
        waiting = [case for case, _ in cases if case.status == "predicted"]
        labelled = [appearance(folder.read_image(case)) for case in finished[:N_LABELLED]]
        looks |= {case.id: appearance(folder.read_image(case)) for case in waiting[:N_LABELLED]}
    novelty = dict(zip(looks, unlikeness(list(looks.values()), labelled), strict=True))
    signs = [_signs_of_candidate(one, novelty.get(one.key)) for one in found]
    if folder is not None:
        second = second_readings(folder)
        for case, index in cases:
            pair = _most_apart(undecided(folder, case.id)) if case.id in second else None
            signs.append(
                signs_of_case(
                    case,
                    index=index,
                    novelty=novelty.get(case.id),
                    agreement=None if pair is None else _overlap(pair),
                    opposed=_truths(pair) if pair is not None and pair.is_opposed else "",
                )
            )
    return rank(signs, most)


def _cases(folder: TrainingFolder) -> Iterator[tuple[Case, int]]:
    """Every case that can be read, with its place in its cine."""
    for case_id in folder.ids():
        with suppress(DatasetError):  # `napari-cln check` names what is wrong with it
            record = folder.record(case_id)
            yield case_of(record, folder.layout), record.source.frame


def _signs_of_candidate(one: Candidate, novelty: float | None) -> FrameSigns:
    reading = one.reading
    return FrameSigns(
        key=one.key,
        cine=one.cine,
        index=one.index,
        node_scores=tuple(node.score for node in reading.nodes),
        frame_score=reading.frame_score,
        cutoff=reading.cutoff,
        finds_masks=reading.label == "no node found",
        unsure=reading.unsure,
        novelty=novelty,
        doubt=reading.doubt,
    )


# ------------------------------------------------------------ second readings


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
        Dice and truths that differ on this frame, and kappa of the truths over all frames of that reader.

    Raises
    ------
    DatasetError
        If there is no such reading, or a file of it is damaged.
    """
    pair = read_pair(folder, case_id, reader)
    overlap = dice(*pair.masks)
    same = "both readers see no node" if isnan(overlap) else f"Dice with the first reading {overlap:.2f}"
    return f"Second reading saved: {same}{_and_truths(pair)}.{_kappa(folder, reader)}"


def find_undecided(folder: TrainingFolder, case_id: str, who: str) -> Disagreement:
    """Find the reading that differs most from what the folder has of a frame, one of another diagnosis first.

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
    pair = _most_apart(undecided(folder, case_id))
    if pair is None:
        return Disagreement(case_id=case_id)
    reader = str(pair.second.annotator)
    words = f"{reader} reads this frame otherwise: Dice {_overlap(pair):.2f}{_and_truths(pair)}."
    words += _kappa(folder, reader)
    may = may_decide(folder, pair, who)
    if not may:
        words += " You have read it yourself, so another reader decides between the two."
    return Disagreement(case_id=case_id, words=words, pair=pair, may_decide=may)


def _most_apart(pairs: Iterable[ReadingPair]) -> ReadingPair | None:
    """Choose the pair to decide on first: benign against metastatic, else that of the least Dice."""
    return min(pairs, key=lambda pair: (not pair.is_opposed, _overlap(pair)), default=None)


def _overlap(pair: ReadingPair) -> float:
    """Return the Dice of two readings, in [0, 1]; 1 where neither outlines a node."""
    overlap = dice(*pair.masks)
    return 1.0 if isnan(overlap) else overlap  # they differ in the truth alone


def _truths(pair: ReadingPair) -> str:
    """Say which truths differ, the first reader's against the second's."""
    return ", ".join(
        f"{'' if node is None else f'node {node} '}{first} against {second}"
        for node, first, second in pair.truths_apart
    )


def _and_truths(pair: ReadingPair) -> str:
    return f", {words}" if (words := _truths(pair)) else ""


def _kappa(folder: TrainingFolder, reader: str) -> str:
    agreement = kappa(*pair_truths(folder, reader))
    return "" if isnan(agreement.value) else f" Kappa of the truths {agreement}."
