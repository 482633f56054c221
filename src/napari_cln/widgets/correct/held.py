"""Frames that wait for a look at burned-in names: a row that counts them, and a window that shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QTimer
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QDialog, QLabel, QPushButton, QScrollArea, QWidget

from ...errors import ClnError, counted
from ...folder.dataset import TrainingFolder
from ...folder.record import TextReading
from ...folder.screens import confirm_screens, contact_sheet, unseen_screens
from ...folder.text import Action, TextReader, marked_picture, release_frame, waiting_frames
from ..common.parts import Signal, beside, button, small, stacked
from ..common.worker import Work

AFTER_MS = 1500
"""After a save, until what was read behind it is looked for."""
NO_READER = "Type your name above first: it is kept who has looked."
ACTIONS: tuple[tuple[Action, str, str], ...] = (
    ("paint", "Paint it over", "Fill the framed places with the tissue around them"),
    ("no-name", "It is no name", "Leave the picture as it is"),
    ("leave-out", "Leave the frame out", "Move the frame with all its files to .cln/left-out"),
)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Pictures that nobody has looked at yet: kinds of screen with their frames, and frames with text."""

    kinds: dict[str, list[str]] = field(default_factory=dict)
    texts: dict[str, TextReading] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = []
        if n := sum(map(len, self.kinds.values())):
            parts.append(f"{counted(n, 'frame')} of {counted(len(self.kinds), 'new kind')} of screen")
        if self.texts:
            parts.append(f"{counted(len(self.texts), 'frame')} with text")
        return f"{' and '.join(parts)}: not trained on or exported before a look for names." if parts else ""


class HeldFrames(QWidget):
    """Row that is seen only when frames of the training folder wait for a look."""

    failed = Signal(str)
    looking = Signal()  # the window opens: what is painted is to be saved before
    released = Signal(object)  # ids of frames that were painted over or left out

    def __init__(self) -> None:
        super().__init__()
        self.waiting = Waiting()
        self.words = small(role="warning")
        self.look = button("Look…", "See the pictures, and say whether a name or a date shows")
        stacked(self, self.words, self.look)
        self._study: TrainingFolder | None = None
        self._asked: TrainingFolder | None = None  # that of the work under way
        self._reader: TextReader | None = None
        self._who: Callable[[], str] = str
        self._work: Work | None = None
        self._is_behind = False
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(AFTER_MS)
        self._later.timeout.connect(self.refresh)
        self.look.clicked.connect(self._look)
        self.hide()

    def enter(self, study: TrainingFolder, who: Callable[[], str]) -> None:
        """Watch a training folder.

        Parameters
        ----------
        study : TrainingFolder
        who : callable
            Gives the reader's name.
        """
        self._study, self._who, self._reader = study, who, TextReader(study)
        self._show(Waiting())
        self.refresh()

    def take_saved(self, case_id: str) -> None:
        """Have a saved frame read, behind the reader's back, and look whether it waits.

        Parameters
        ----------
        case_id : str
        """
        if self._reader is not None:
            self._reader.add([case_id])
            self._later.start()

    def refresh(self) -> None:
        """Count again, beside the window."""
        if self._study is None:
            return
        if self._work is not None:
            self._is_behind = True
            return
        self._asked, self._work = self._study, Work(self, _find, self._study)
        self._work.done.connect(self._take)
        self._work.ended.connect(self._end)
        self._work.start()

    def _take(self, waiting: Waiting) -> None:
        if self._asked is self._study:
            self._show(waiting)

    def _show(self, waiting: Waiting) -> None:
        self.waiting = waiting
        self.words.setText(str(waiting))
        self.setVisible(bool(str(waiting)))

    def _end(self) -> None:
        self._work = None
        if self._is_behind:
            self._is_behind = False
            self.refresh()

    def _look(self) -> None:
        if not self._who():
            self.failed.emit(NO_READER)
            return
        assert self._study is not None
        self.looking.emit()
        window = LookWindow(self, self._study, self.waiting, self._who())
        window.exec()
        if window.released:
            self.released.emit(window.released)
        self.refresh()


class LookWindow(QDialog):
    """Shows what waits, one after the other, at its own size, with what can be said of it.

    Parameters
    ----------
    parent : QWidget
    study : TrainingFolder
    waiting : Waiting
    who : str
        The reader.

    Attributes
    ----------
    released : list of str
        Frames that were painted over or left out.
    """

    def __init__(self, parent: QWidget, study: TrainingFolder, waiting: Waiting, who: str) -> None:
        super().__init__(parent)
        self.setWindowTitle("Does a name or a date show?")
        self.resize(900, 650)
        self._study, self._who = study, who
        self._kinds, self._texts = dict(waiting.kinds), dict(waiting.texts)
        self.released: list[str] = []
        self.words, self.picture = QLabel(), QLabel()
        self.words.setWordWrap(True)
        self.pane = QScrollArea()
        self.pane.setWidget(self.picture)
        self.none_shows = button("No name and no date shows", "On none of these pictures", primary=True)
        self.verdicts: dict[Action, QPushButton] = {
            action: button(title, tip) for action, title, tip in ACTIONS
        }
        self.later = button("Later", "They wait on")
        row = beside(self.none_shows, *self.verdicts.values(), self.later)
        stacked(self, self.words, self.pane, row).setContentsMargins(10, 10, 10, 10)
        self.none_shows.clicked.connect(self._confirm)
        for action, press in self.verdicts.items():
            press.clicked.connect(lambda _checked=False, action=action: self._release(action))
        self.later.clicked.connect(self._skip)
        self._next()

    def _next(self) -> None:
        """Show what comes next; close where nothing does."""
        is_kind = bool(self._kinds)
        self.none_shows.setVisible(is_kind)
        for press in self.verdicts.values():
            press.setVisible(not is_kind)
        try:
            if is_kind:
                kind, ids = next(iter(self._kinds.items()))
                self._draw(contact_sheet(self._study, ids))
                self.words.setText(
                    f"{kind}: {counted(len(ids), 'frame')}, of which at most twenty are shown. Scroll. "
                    "If a name or a date shows, press Later: they stay held."
                )
            elif self._texts:
                case_id, reading = next(iter(self._texts.items()))
                self._draw(marked_picture(self._study, case_id, reading))
                self.words.setText(f"Frame {case_id}: text was found where the white frames are.")
            else:
                self.accept()
        except ClnError as error:
            self.words.setText(str(error))

    def _draw(self, pixels: NDArray[np.uint8]) -> None:
        pixels = np.ascontiguousarray(pixels)
        rows, columns = pixels.shape
        image = QImage(pixels.data, columns, rows, columns, QImage.Format.Format_Grayscale8)
        self.picture.setPixmap(QPixmap.fromImage(image.copy()))
        self.picture.adjustSize()

    def _confirm(self) -> None:
        kind = next(iter(self._kinds))
        self._do(lambda: confirm_screens(self._study, [kind], self._who))

    def _release(self, action: Action) -> None:
        case_id = next(iter(self._texts))
        if self._do(lambda: release_frame(self._study, case_id, action, self._who)) and action != "no-name":
            self.released.append(case_id)

    def _do(self, what: Callable[[], None]) -> bool:
        try:
            what()
        except ClnError as error:
            self.words.setText(str(error))
            return False
        self._skip()
        return True

    def _skip(self) -> None:
        waiting: dict[str, object] = self._kinds or self._texts  # type: ignore[assignment]
        waiting.pop(next(iter(waiting)), None)
        self._next()


def _find(study: TrainingFolder) -> Waiting:
    return Waiting(kinds=unseen_screens(study), texts=waiting_frames(study))
