"""Second readers of the frame in view, and the decision between two readings."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QCheckBox, QWidget

from ...errors import ClnError
from ...folder.decisions import may_decide
from ...folder.readers import ReadingPair
from ...workflow.queue import Disagreement, describe_agreement, find_undecided
from ..common.failures import words_of
from ..common.parts import Signal, beside, button, small, stacked
from ..common.worker import Work
from .cases import in_frame, show_reading
from .ledger import Given, PackedMasks

if TYPE_CHECKING:
    from ...folder.dataset import TrainingFolder
    from .filing import SaveRequest
    from .session import Session


class SecondReading(QObject):
    """The other reader of the frame in view; looked up beside the window.

    Attributes
    ----------
    found : Disagreement, optional
        The difference to decide on; None as long as it is not known.
    """

    changed = Signal()  # there is something else to decide
    told = Signal(str)  # how a second reading agrees with the first

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self.found: Disagreement | None = None

    def forget(self) -> None:
        """Offer nothing: another frame is in view."""
        self.found = None
        self.changed.emit()

    def look(self) -> None:
        """See whether another reader sees the frame in view otherwise."""
        session = self._session
        mask, folder = session.mask, session.folder
        if mask is None or folder is None or mask.second or not session.filing.revision(mask):
            return
        case_id = str(mask.case_id)
        work = Work(self, find_undecided, folder, case_id, session.filing.who)
        work.done.connect(partial(self._take, folder))
        work.failed.connect(
            lambda error: self._take(folder, Disagreement(case_id=case_id, words=words_of(error)))
        )
        work.start()

    def take_saved(self, request: SaveRequest) -> None:
        """Say how a second reading that was saved agrees with the first, and look at the frame anew."""
        if request.second and request.is_decision:
            work = Work(self, describe_agreement, request.folder, request.who, request.case_id)
            work.done.connect(self.told.emit)
            work.failed.connect(lambda error: self.told.emit(words_of(error)))
            work.start()
        if request.mask is self._session.navigator.mask:
            self.look()

    def show(self, on: bool) -> None:
        """Show the other reader's outline on the canvas, or take it away."""
        session, pair = self._session, self._pair
        mask, folder = session.navigator.mask, session.folder
        if pair is None or mask is None or folder is None or not on:
            show_reading(session.viewer, None, None)
            return
        with suppress(ClnError):  # a frame of another size than the stored one: it is told on taking
            reading = in_frame(folder, pair.second, pair.case.id, mask.frame)
            show_reading(session.viewer, mask, reading)

    def decide_for_mask(self) -> None:
        """Decide for the mask on the canvas: the folder's, or a painted consensus."""
        session, pair = self._session, self._pair
        if pair is None or (mask := session.ready()) is None or not self._may_decide(pair):
            return
        if mask.is_behind:
            session.tell("The folder has another mask than the canvas. Press Saved mask first.")
        elif mask.is_empty and mask.status != "no-node":
            session.tell("There is no mask to decide for. Paint one, or press No node here.")
        else:
            session.decisions.say(mask, "adjudicated", mask.status, pair=pair)

    def decide_for_other(self) -> None:
        """Decide for the other's mask: it comes onto the canvas, as one step of undo."""
        session, pair, folder = self._session, self._pair, self._session.folder
        if pair is None or folder is None or (mask := session.ready()) is None:
            return
        if not self._may_decide(pair):
            return
        try:
            known = in_frame(folder, pair.second, pair.case.id, mask.frame)
        except ClnError as error:
            session.tell(str(error))
            return
        before = PackedMasks(mask.masks)
        mask.put(known.instances, mask.ledger.give(Given.of(known, pair.second.annotator)))
        session.decisions.say(mask, "adjudicated", known.status, before=before, pair=pair)

    @property
    def _pair(self) -> ReadingPair | None:
        return None if self.found is None else self.found.pair

    def _take(self, folder: TrainingFolder, found: Disagreement) -> None:
        mask = self._session.navigator.mask
        if mask is not None and mask.case_id == found.case_id and folder is self._session.folder:
            self.found = found
            self.changed.emit()

    def _may_decide(self, pair: ReadingPair) -> bool:
        session = self._session
        try:
            if session.folder is not None and may_decide(session.folder, pair, session.filing.who):
                return True
            session.tell("You have read this frame yourself: another reader decides between the two.")
        except ClnError as error:
            session.tell(str(error))
        return False


class Decision(QWidget):
    """Buttons by which one of two readings holds, or a third that was painted."""

    def __init__(self) -> None:
        super().__init__()
        self.text = small()
        self.show_other = QCheckBox()
        self.keep = button(
            "This mask holds", "Decide for the mask on the canvas: the folder's, or a painted consensus"
        )
        self.take = button("", "Decide for the other reader's mask; Ctrl+Z takes it off the canvas again")
        self.row = QWidget()
        self.row.setLayout(beside(self.keep, self.take))
        stacked(self, self.text, self.show_other, self.row)
        self.show_found(None)

    def show_found(self, found: Disagreement | None) -> None:
        """Offer what there is to decide; None where it is not known."""
        pair = None if found is None else found.pair
        self.text.setText("" if found is None else found.words)
        if pair is not None:
            self.show_other.setText(f"show the outline of {pair.second.annotator}")
            self.take.setText(f"Take that of {pair.second.annotator}")
        else:
            self.show_other.setChecked(False)
        self.show_other.setVisible(pair is not None)
        self.row.setVisible(pair is not None and found is not None and found.may_decide)
        self.setVisible(bool(self.text.text()))
