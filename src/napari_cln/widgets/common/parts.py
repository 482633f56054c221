"""Parts that docks are put together from: a body, a message line, listeners, buttons; what they share."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtCore import Signal as Signal  # type: ignore[attr-defined]  # the binding's own
from qtpy.QtGui import QHideEvent, QKeyEvent, QResizeEvent, QShowEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QDockWidget,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from ...compat.window import make_canvas_current
from .in_view import fit_view
from .theme import colours_of, set_role, style_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

OPEN_FIRST = "Open an ultrasound image first: File > Open, or drop it on the canvas."
NARROWEST, WIDTH = 280, 350
"""Least width of a dock, and the width that it opens with, in pixels."""
NO_BOUND = 2**24 - 1
"""Qt's height of a widget that may be as high as it needs."""
_BREAK = "\u200b"
_LONG = re.compile(r"\S{30,}")  # such as a UID of DICOM


class Listeners:
    """Connections to napari's events, undone when their owner is gone."""

    def __init__(self, owner: QObject) -> None:
        self._undo: list[Callable[[], None]] = []
        owner.destroyed.connect(partial(_undo_all, self._undo))

    def listen(self, emitter: Any, callback: Callable[..., None]) -> None:
        """Connect to one of napari's events."""
        emitter.connect(callback)
        self._undo.append(partial(emitter.disconnect, callback))

    def stop(self) -> None:
        """Undo them now."""
        _undo_all(self._undo)


def _undo_all(undo: list[Callable[[], None]]) -> None:
    while undo:
        undo.pop()()


class WrappedLabel(QLabel):
    """Text as high as its lines are: layouts in layouts would cut some off. A long name is broken as well."""

    least_height = 0

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setText(text)

    def setText(self, text: str) -> None:  # Qt's name
        super().setText(_LONG.sub(lambda found: _BREAK.join(found[0]), text))
        self._fit()

    def text(self) -> str:  # Qt's name
        return super().text().replace(_BREAK, "")

    def resizeEvent(self, event: QResizeEvent) -> None:  # Qt's name
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.setMinimumHeight(max(self.heightForWidth(self.width()), self.least_height))


class MessageLine(WrappedLabel):
    """One sentence: news, or the next thing to do."""

    least_height = 34

    def __init__(self) -> None:
        super().__init__()
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.about: object = None
        self.say("")

    def say(self, sentence: str, mood: str = "info", about: object = None) -> None:
        """Show a sentence.

        Parameters
        ----------
        sentence : str
        mood : {"info", "good", "bad"}
        about : object, optional
            The thing that it is about; :meth:`forget` takes it back when that is over.
        """
        self.about = about
        self.setText(sentence)
        set_role(self, mood)

    def forget(self, *abouts: object) -> None:
        """Empty the line if its sentence is about one of these: no message outlives its cause."""
        if self.about is not None and self.about in abouts:
            self.say("")


_numbers = count()


class DockBody(QWidget):
    """The whole of a dock: its view, which scrolls, and below it a message line that stays in sight.

    Parameters
    ----------
    dock : QWidget
        Is filled with it.
    viewer : ViewerModel
        Gives the colours. Who saw the whole frame there sees it still when the dock takes its width from
        the canvas.
    view : QWidget
    message : MessageLine
    """

    dressed = Signal(object)  # the ThemeColours that the dock has now, for what is drawn by hand

    def __init__(self, dock: QWidget, viewer: ViewerModel, view: QWidget, message: MessageLine) -> None:
        super().__init__()
        self._viewer, self._sees_all, self._is_placed = viewer, _sees_all(viewer), False
        self._scroll, self._column = QScrollArea(), QWidget()
        self._number = next(_numbers)  # tabs stand in the order in which docks were made
        inside = QVBoxLayout(self._column)
        inside.setContentsMargins(8, 8, 8, 8)
        inside.addWidget(view)
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setWidget(self._column)
        whole = stacked(self, self._scroll, message, spacing=0)
        whole.setStretch(0, 1)
        stacked(dock, self)
        pass_keys_on(self)
        self.setMinimumWidth(NARROWEST)
        # Else napari puts a stretch below it, which takes half of the dock.
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.listeners = Listeners(self)
        self.listeners.listen(viewer.layers.events.removing, self._keep_canvas_current)
        self.listeners.listen(viewer.events.theme, self.dress)

    def sizeHint(self) -> QSize:  # Qt's name
        """Take no more of the canvas than a small screen can spare."""
        return QSize(max(WIDTH, self.minimumWidth()), super().sizeHint().height())

    def showEvent(self, event: QShowEvent) -> None:  # Qt's name
        _align_titles(self._column)
        # Nothing may be cut off at the right: there is no horizontal scroll bar.
        bar = self._scroll.verticalScrollBar().sizeHint().width()
        self.setMinimumWidth(max(NARROWEST, self._column.minimumSizeHint().width() + bar))
        super().showEvent(event)
        if not self._is_placed:
            self._is_placed = True
            QTimer.singleShot(0, self._join)
        if self._sees_all:
            QTimer.singleShot(0, partial(fit_view, self._viewer))
            self._sees_all = False

    def hideEvent(self, event: QHideEvent) -> None:  # Qt's name
        super().hideEvent(event)
        panel = _panel_of(self)
        if panel is not None and panel.isHidden():  # not only behind another tab: its place may be taken
            self._is_placed = False

    def _join(self) -> None:
        """Lie behind a tab with the docks of ours that are open, as wide as a small screen allows."""
        own, window = _panel_of(self), self.window()
        if own is None or own.isFloating() or not isinstance(window, QMainWindow):
            return
        own.setWindowTitle(own.windowTitle().split(" (")[0])  # five tabs stand side by side
        bodies = sorted(window.findChildren(DockBody), key=lambda body: body._number)
        panels = [_panel_of(body) for body in bodies]
        near = [
            panel
            for panel in panels
            # one behind a tab is not visible, and not hidden either
            if panel is not None and not panel.isHidden() and not panel.isFloating()
            if window.dockWidgetArea(panel) == window.dockWidgetArea(own)
        ]
        for panel in near[1:]:
            if panel not in window.tabifiedDockWidgets(near[0]):
                window.tabifyDockWidget(near[0], panel)
        own.raise_()

    def _keep_canvas_current(self, _event: Any = None) -> None:
        make_canvas_current(self)

    def dress(self, _event: Any = None) -> None:
        """Take the colours of the theme, and tell them."""
        colours = colours_of(self._viewer)
        self.setStyleSheet(style_of(colours))
        self.dressed.emit(colours)


def pass_keys_on(widget: QWidget) -> None:
    """Let the keys of commands go on to the window from the boxes and tables in a widget, or from itself.

    A box looks for the letter among its choices, so that Shift+M would choose *metastatic* and not merge.
    """
    for kind in (QComboBox, QAbstractItemView):
        for part in (widget, *widget.findChildren(kind)):
            if isinstance(part, kind):
                part.installEventFilter(_CommandKeys(part))


class _CommandKeys(QObject):
    """Lets a widget take no letter that is pressed with Shift; its parents may."""

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # Qt's name
        if not isinstance(event, QKeyEvent) or event.type() != QEvent.Type.KeyPress:
            return False
        letter = event.text().strip()
        if event.modifiers() != Qt.KeyboardModifier.ShiftModifier or not letter or not letter.isprintable():
            return False
        event.ignore()
        return True


def _align_titles(column: QWidget) -> None:
    """Let the fields of all forms in sight begin below each other."""
    items = (
        rows.itemAt(i, QFormLayout.ItemRole.LabelRole)
        for rows in column.findChildren(QFormLayout)
        if not _is_folded(rows)
        for i in range(rows.rowCount())
    )
    widgets = (item.widget() for item in items if item is not None)
    titles = [title for title in widgets if title is not None and title.isVisibleTo(column)]
    width = max((title.sizeHint().width() for title in titles), default=0)
    for title in titles:
        title.setMinimumWidth(width)


def _is_folded(rows: QFormLayout) -> bool:
    parent: QObject | None = rows.parentWidget()
    while parent is not None and not isinstance(parent, QCollapsible):
        parent = parent.parent()
    return parent is not None


def _panel_of(widget: QWidget) -> QDockWidget | None:
    """Return the panel of a window that a widget lies in."""
    parent: QObject | None = widget
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parent()
    return parent


def _sees_all(viewer: ViewerModel) -> bool:
    """Tell whether every Image layer lies wholly on the canvas."""
    images = [layer for layer in viewer.layers if isinstance(layer, Image)]
    for image in images:
        shown = image.corner_pixels[:, -2:]
        if (shown[0] > 0).any() or (shown[1] < np.array(image.data.shape[: image.ndim])[-2:] - 1).any():
            return False
    return bool(images)


def stacked(widget: QWidget, *parts: Any, spacing: int = 8) -> QVBoxLayout:
    """Lay widgets and layouts below each other, without margins; return the layout."""
    column = QVBoxLayout(widget)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(spacing)
    for part in parts:
        column.addWidget(part) if isinstance(part, QWidget) else column.addLayout(part)
    return column


def beside(*parts: QWidget, wide: QWidget | None = None) -> QHBoxLayout:
    """Lay widgets beside each other, without margins; one of them may take the space that is left."""
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        row.addWidget(part, stretch=int(part is wide))
    return row


def form() -> QFormLayout:
    """Return rows of label and field."""
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
        set_role(made, "primary")
    return made


def folded(title: str, inside: QWidget) -> QCollapsible:
    """Fold a widget away under a title, without margins; unfolded, it is as high as its texts need."""
    fold = QCollapsible(title)
    fold.setDuration(0)
    content = fold.content()
    for part in (fold, content):
        if (layout := part.layout()) is not None:
            layout.setContentsMargins(0, 0, 0, 0)
    # Past fold.addWidget, which holds the fold to the height of what was inside when it was opened.
    if (layout := content.layout()) is not None:
        layout.addWidget(inside)
    fold.toggled.connect(partial(_unbind, content))
    return fold


def _unbind(content: QWidget, is_open: bool) -> None:
    if is_open:
        content.setMaximumHeight(NO_BOUND)


def device_box() -> QComboBox:
    """Return a choice of computing device; which of them are there is known once torch is loaded."""
    box = QComboBox()
    for name, title in (
        ("auto", "Automatic"),
        ("cpu", "CPU"),
        ("cuda", "NVIDIA GPU (cuda)"),
        ("mps", "Apple GPU (mps)"),
    ):
        box.addItem(title, name)
    return box


def unbroken(text: str) -> str:
    """Keep a number and its unit, an interval and ``n = 5`` each on one line."""
    text = re.sub(r"(?<=\d) (?=%)|(?<=\w) (?== )|(?<==) ", "\u00a0", text)
    return re.sub(r"(?<=\d) (to) (?=[+−-]?\d)", "\u00a0\\1\u00a0", text)


def small(text: str = "", role: str = "quiet") -> QLabel:
    """Make a line of quiet, wrapping text."""
    label = WrappedLabel(text)
    set_role(label, role)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
