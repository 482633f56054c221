"""Small parts that every dock is made of."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import Qt, QTimer
from qtpy.QtCore import Signal as Signal  # type: ignore[attr-defined]  # the binding's own
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QFormLayout,
    QFrame,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from ...compat.window import make_canvas_current, plain_viewer
from .in_view import fit_view

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel

OPEN_FIRST = "Open an ultrasound image first: File > Open, or drop it on the canvas."


class Dock(QWidget):
    """A dock: a column that scrolls, and below it one message line that stays in sight."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = plain_viewer(viewer)
        self.message = MessageLine()
        self._column = column = QWidget()
        self.column = QVBoxLayout(column)
        self.column.setContentsMargins(8, 8, 8, 8)
        self.column.setSpacing(8)
        self._scroll = scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(column)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(scroll, stretch=1)
        layout.addWidget(self.message)
        self.setMinimumWidth(280)
        self._saw_all = _sees_all(self.viewer)
        self._links: list[tuple[Any, Callable[..., None]]] = []
        self.destroyed.connect(partial(_unlink, self._links))
        self.listen(self.viewer.layers.events.removing, self._make_canvas_current)

    @property
    def training_folder(self) -> Path | None:
        """The training folder that the dock saves to; None where it has none."""
        return None

    def take_training_folder(self, folder: Path) -> None:
        """Work on the training folder that another dock saves to; most docks have no use for it."""

    def neighbours(self) -> list[Dock]:
        """The viewer's other docks of ours."""
        docks = (widget for widget in QApplication.allWidgets() if isinstance(widget, Dock))
        return [dock for dock in docks if dock.viewer is self.viewer and dock is not self]

    def showEvent(self, event: QShowEvent) -> None:  # Qt's name
        # Nothing may be cut off at the right: there is no horizontal scroll bar.
        bar = self._scroll.verticalScrollBar().sizeHint().width()
        self.setMinimumWidth(max(280, self._column.minimumSizeHint().width() + bar))
        super().showEvent(event)
        if self._saw_all:
            # The dock takes its width from the canvas: who saw the whole frame sees it still.
            QTimer.singleShot(0, partial(fit_view, self.viewer))
            self._saw_all = False

    def listen(self, emitter: Any, callback: Callable[..., None]) -> None:
        """Connect to one of napari's events until the dock is gone."""
        emitter.connect(callback)
        self._links.append((emitter, callback))

    def _make_canvas_current(self, _event: Any = None) -> None:
        make_canvas_current(self)

    def bind_key(self, key: str, action: Callable[[], None]) -> None:
        """Bind a key of the viewer to an action until the dock is gone."""
        viewer = self.viewer
        viewer.bind_key(key, lambda _viewer: action(), overwrite=True)
        self.destroyed.connect(lambda: viewer.bind_key(key, None))


def _sees_all(viewer: ViewerModel) -> bool:
    """Whether every Image layer lies wholly on the canvas."""
    images = [layer for layer in viewer.layers if isinstance(layer, Image)]
    for image in images:
        shown = image.corner_pixels[:, -2:]
        if (shown[0] > 0).any() or (shown[1] < np.array(image.data.shape[: image.ndim])[-2:] - 1).any():
            return False
    return bool(images)


def _unlink(links: list[tuple[Any, Callable[..., None]]]) -> None:
    for emitter, callback in links:
        emitter.disconnect(callback)
    links.clear()


def dock_of(widget: QWidget) -> Dock | None:
    """Return the dock that a widget stands in; None where it stands in none."""
    above: QWidget | None = widget
    while above is not None and not isinstance(above, Dock):
        above = above.parentWidget()
    return above


class MessageLine(QLabel):
    """What happened, or what to do next, in one sentence."""

    COLOURS = {"info": "#b8c4d0", "good": "#9be3c7", "bad": "#ff9b8a"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setMinimumHeight(34)
        self.about: object = None
        self.say("")

    def say(self, sentence: str, mood: str = "info", *, about: object = None) -> None:
        """Show a sentence.

        Parameters
        ----------
        sentence : str
        mood : {"info", "good", "bad"}
        about : object, optional
            What it is about; :meth:`forget` takes it back when that is over.
        """
        self.about = about
        self.setText(sentence)
        self.setStyleSheet(f"padding: 6px 8px; color: {self.COLOURS[mood]};")

    def forget(self, *abouts: object) -> None:
        """Empty the line if its sentence is about one of these: no message outlives its cause."""
        if self.about is not None and self.about in abouts:
            self.say("")


def form() -> QFormLayout:
    """Rows of label and field."""
    rows = QFormLayout()
    rows.setContentsMargins(0, 0, 0, 0)
    rows.setSpacing(6)
    rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    rows.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
    return rows


def button(text: str, tip: str, *, primary: bool = False) -> QPushButton:
    """Make a button with its tooltip; a dock has at most one primary one."""
    made = QPushButton(text)
    made.setToolTip(tip)
    if primary:
        made.setStyleSheet(
            "QPushButton { background: #3d6fd6; color: white; padding: 7px; font-weight: 600; }"
            "QPushButton:hover { background: #4f80e6; }"
            "QPushButton:disabled { background: #3a3f4a; color: #8b93a0; }"
        )
    return made


def device_box() -> QComboBox:
    """Choice of a computing device; which of them are there is known once torch is loaded."""
    box = QComboBox()
    for name, title in (
        ("auto", "Automatic"),
        ("cpu", "CPU"),
        ("cuda", "NVIDIA GPU (cuda)"),
        ("mps", "Apple GPU (mps)"),
    ):
        box.addItem(title, name)
    return box


def small(text: str = "") -> QLabel:
    """Make a line of quiet, wrapping text."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setStyleSheet("color: #9aa5b1; font-size: 11px;")
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
