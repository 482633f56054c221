"""Work in the window that is done in several turns of its event loop, so that none of them holds it up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from typing import TypeAlias

from qtpy.QtCore import QCoreApplication, QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QKeyEvent
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QWidget

from ...compat.window import canvases_of
from .parts import Signal

Stages: TypeAlias = Generator[None, None, None]
"""Work that yields where the event loop may have its turn."""

INPUT = frozenset(
    getattr(QEvent.Type, name)
    for name in (
        *("KeyPress", "ShortcutOverride", "InputMethod", "MouseButtonPress", "MouseButtonDblClick"),
        *("Wheel", "TouchBegin", "TabletPress", "DragEnter", "Drop", "Close"),
    )
)
"""Events before which all that is under way is done: nothing that a user does meets half of it."""
MODIFIERS = (Qt.Key.Key_Shift, Qt.Key.Key_Control, Qt.Key.Key_Alt, Qt.Key.Key_Meta, Qt.Key.Key_AltGr)


class Turns(QObject):
    """One piece of work at a time, a step of it in each turn of the event loop.

    What is under way is finished before a user's next key or press reaches any widget, before other work
    begins, and by :meth:`finish`. Of what a step itself begins, the first step is done within it, and the
    others follow when the work that it belongs to is done.
    After an error nothing of it is done any more.

    Parameters
    ----------
    parent : QObject
        The work ends with it.
    """

    began = Signal()
    ended = Signal()  # once for each that began, also after an error
    failed = Signal(object)  # the exception

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._queue: deque[Stages] = deque()
        self._is_at_work = False
        self._timer = QTimer(self)  # QTimer.singleShot(0, …) posts an event: no turn of its own
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._go_on)

    @property
    def is_waiting(self) -> bool:
        """True between two turns: what is to be seen is not whole yet."""
        return bool(self._queue) and not self._is_at_work

    def begin(self, steps: Stages) -> None:
        """Do the first step at once, and the others each in a turn of its own."""
        if self._is_at_work:
            with suppress(StopIteration):
                next(steps)
                self._queue.append(steps)
            return
        self.finish()
        self._queue.append(steps)
        if (app := QCoreApplication.instance()) is not None:
            app.installEventFilter(self)
        self.began.emit()
        self._go_on()

    def do(self, deed: Callable[[], object]) -> None:
        """Do something at once; what it draws on the canvas is drawn in the next turn."""
        self.begin(_one(deed))

    def finish(self) -> None:
        """Do at once all that is left to do."""
        while self.is_waiting:
            self._step()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # Qt's name
        if event.type() in INPUT and not (isinstance(event, QKeyEvent) and event.key() in MODIFIERS):
            self.finish()
        return False

    def _go_on(self) -> None:
        if self.is_waiting:
            self._step()
        if self.is_waiting:
            self._timer.start()

    def _step(self) -> None:
        error: Exception | None = None
        self._is_at_work = True
        try:
            next(self._queue[0])
        except StopIteration:
            self._queue.popleft()
        except Exception as cause:  # told, whatever it is
            self._queue.clear()
            error = cause
        finally:
            self._is_at_work = False
        if not self._queue:
            self._timer.stop()
            if (app := QCoreApplication.instance()) is not None:
                app.removeEventFilter(self)
            self.ended.emit()
        if error is not None:
            self.failed.emit(error)


class HeldCanvas(QObject):
    """Keeps the canvas from being drawn until work is done: no half of it is seen, and none is drawn twice.

    Parameters
    ----------
    widget : QWidget
        Any in the window of the canvas.
    turns : Turns
    """

    def __init__(self, widget: QWidget, turns: Turns) -> None:
        super().__init__(widget)
        self._widget = widget
        self._held: list[QOpenGLWidget] = []
        turns.began.connect(self._hold)
        turns.ended.connect(partial(_release, self._held))
        turns.destroyed.connect(partial(_release, self._held))

    def _hold(self) -> None:
        for canvas in canvases_of(self._widget):
            if canvas.updatesEnabled():
                canvas.setUpdatesEnabled(False)
                self._held.append(canvas)


def _release(held: list[QOpenGLWidget], _gone: object = None) -> None:
    while held:
        try:
            held.pop().setUpdatesEnabled(True)
        except RuntimeError:  # the window was closed
            continue


def _one(deed: Callable[[], object]) -> Stages:
    deed()
    yield
