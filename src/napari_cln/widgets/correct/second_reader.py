"""Second readers: how well they agree with what the training folder has, and the decision between them."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QVBoxLayout, QWidget

from ...errors import ClnError
from ...folder.dataset import TrainingFolder
from ...folder.decisions import may_decide, undecided
from ...folder.readers import ReadingPair, pair_truths, read_pair
from ...study.statistics.agreement import kappa
from ...study.statistics.metrics import dice
from ..common.dock import Signal, button, small
from .cases import in_frame
from .ledger import Given, PackedMasks

if TYPE_CHECKING:
    from .session import Session


@dataclass(frozen=True, kw_only=True, eq=False)
class Disagreement:
    """What there is to decide on a frame, in words, and the two readings; no words where nothing is.

    ``may_decide`` is False for a reader who is one of the two.
    """

    case_id: str
    words: str = ""
    pair: ReadingPair | None = None
    may_decide: bool = True


def describe_agreement(folder: TrainingFolder, reader: str, case_id: str) -> str:
    """Dice on this frame, and kappa of the truths over all frames of the second reader."""
    try:
        pair = read_pair(folder, case_id, reader)
        overlap = dice(pair.first.mask, pair.second.mask)
        same = "both readers see no node" if isnan(overlap) else f"Dice with the first reading {overlap:.2f}"
        return f"Second reading saved: {same}.{_kappa(folder, reader)}"
    except ClnError as error:
        return str(error)


def find_undecided(folder: TrainingFolder, case_id: str, who: str) -> Disagreement:
    """The reading that differs most from what the folder has of a frame; runs in a worker thread.

    Parameters
    ----------
    folder : TrainingFolder
    case_id : str
    who : str
        Reader to whom it is shown.
    """
    try:
        pairs = undecided(folder, case_id)
        if not pairs:
            return Disagreement(case_id=case_id)
        pair = min(pairs, key=_overlap)
        reader, truths = str(pair.second.annotator), (pair.first.label, pair.second.label)
        other = f", {truths[0]} against {truths[1]}" if truths[0] != truths[1] else ""
        words = f"{reader} reads this frame otherwise: Dice {_overlap(pair):.2f}{other}."
        words += _kappa(folder, reader)
        may = may_decide(folder, pair, who)
        if not may:
            words += " You have read it yourself, so another reader decides between the two."
        return Disagreement(case_id=case_id, words=words, pair=pair, may_decide=may)
    except ClnError as error:
        return Disagreement(case_id=case_id, words=str(error))


def _overlap(pair: ReadingPair) -> float:
    overlap = dice(pair.first.mask, pair.second.mask)
    return 1.0 if isnan(overlap) else overlap  # neither outlines a node: they differ in the truth alone


def _kappa(folder: TrainingFolder, reader: str) -> str:
    agreement = kappa(*pair_truths(folder, reader))
    return "" if isnan(agreement.value) else f" Kappa of the truths {agreement}."


def decide_for_mask(session: Session, pair: ReadingPair) -> None:
    """Decide between two readers for the mask on the canvas: the folder's, or a painted consensus."""
    if (mask := session.ready()) is None or not _may_decide(session, pair):
        return
    if mask.is_behind:
        session.tell("The folder has another mask than the canvas. Press Saved mask first.")
    elif mask.is_empty and mask.status != "no-node":
        session.tell("There is no mask to decide for. Paint one, or press No node here.")
    else:
        session.say(mask, "adjudicated", mask.status, pair=pair)


def decide_for_other(session: Session, pair: ReadingPair) -> None:
    """Decide between two readers for the other's mask: it comes onto the canvas, as one step of undo."""
    mask, folder = session.ready(), session.folder
    if mask is None or folder is None or not _may_decide(session, pair):
        return
    try:
        known = in_frame(folder, pair.second, pair.case.id, mask.frame)
    except ClnError as error:
        session.tell(str(error))
        return
    before = PackedMasks(mask.masks)
    mask.put(known.instances, mask.ledger.give(Given.of(known, pair.second.annotator)))
    session.say(mask, "adjudicated", known.status, before=before, pair=pair)


def _may_decide(session: Session, pair: ReadingPair) -> bool:
    try:
        if session.folder is not None and may_decide(session.folder, pair, session.filing.who):
            return True
        session.tell("You have read this frame yourself: another reader decides between the two.")
    except ClnError as error:
        session.tell(str(error))
    return False


class Decision(QWidget):
    """Which of two readings holds, or a third that was painted."""

    kept = Signal()
    taken = Signal()
    shown = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.pair: ReadingPair | None = None
        self.text = small()
        self.show_other = QCheckBox()
        self.keep = button(
            "This mask holds", "Decide for the mask on the canvas: the folder's, or a painted consensus"
        )
        self.take = button("", "Decide for the other reader's mask; Ctrl+Z takes it off the canvas again")
        self.row = QWidget()
        row = QHBoxLayout(self.row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.keep)
        row.addWidget(self.take)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.text, self.show_other, self.row):
            layout.addWidget(part)
        self.keep.clicked.connect(self.kept)
        self.take.clicked.connect(self.taken)
        self.show_other.toggled.connect(lambda _: self.shown.emit())
        self.offer(None)

    def offer(self, finding: Disagreement | None) -> None:
        """Offer what there is to decide; None where it is not known, or there is nothing."""
        self.pair = None if finding is None else finding.pair
        self.text.setText("" if finding is None else finding.words)
        if self.pair is not None:
            self.show_other.setText(f"show the outline of {self.pair.second.annotator}")
            self.take.setText(f"Take that of {self.pair.second.annotator}")
        else:
            self.show_other.setChecked(False)
        self.show_other.setVisible(self.pair is not None)
        self.row.setVisible(finding is not None and self.pair is not None and finding.may_decide)
        self.setVisible(bool(self.text.text()))
        self.shown.emit()
