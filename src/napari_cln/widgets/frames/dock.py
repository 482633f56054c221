"""Frames dock: a study as a list, one frame in view, and what the network is shown of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QCheckBox, QFileDialog, QGroupBox, QLabel, QLineEdit, QWidget

from ..._layers import LayerKind
from ...compat.window import plain_viewer
from ..common.actions import offer
from ..common.parts import DockBody, Listeners, MessageLine, beside, button, small, stacked
from .frame_list import FrameList, FrameView
from .session import START, FramesSession, FramesState

if TYPE_CHECKING:
    import napari


class FramesDock(QWidget):
    """Dock that lists files and shows one of them.

    Attributes
    ----------
    session : FramesSession
        The files and the frame in view; it needs no window.
    view : FramesView
        The list, fields and buttons.
    message : MessageLine
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = plain_viewer(napari_viewer)
        self.message = MessageLine()
        self.session = FramesSession(self.viewer, self)
        self.view = FramesView(self.session.frames)
        self.setAcceptDrops(True)
        body = DockBody(self, self.viewer, self.view, self.message)
        body.dressed.connect(self.view.list.wear)
        body.dress()
        self._connect()
        self.message.say(START)
        self._show()

    def add(self, *patterns: str | Path) -> None:
        """List what paths, folders and patterns stand for; the first of them is shown."""
        self.session.add(*patterns)

    def next(self) -> None:
        """Show the next file."""
        self.session.step(1)

    def previous(self) -> None:
        """Show the previous file."""
        self.session.step(-1)

    def _show(self) -> None:
        self.view.show_state(self.session.state)

    # ------------------------------------------------------------ Qt

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # Qt's name
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # Qt's name
        self.add(*(url.toLocalFile() for url in event.mimeData().urls()))

    def _choose_files(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Add files")
        if paths:
            self.add(*paths)

    def _choose_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Add folder")
        if path:
            self.add(path)

    def _take_pattern(self) -> None:
        if typed := self.view.pattern.text().strip():
            self.add(str(Path(typed).expanduser()))
            self.view.pattern.clear()

    def _connect(self) -> None:
        view, session, network = self.view, self.session, self.session.network
        for made, action in (
            (view.add_files, self._choose_files),
            (view.add_folder, self._choose_folder),
            (view.back, self.previous),
            (view.forward, self.next),
            (view.network.draw, network.draw_area),
            (view.network.use, network.use_area),
            (view.network.find_again, network.find_area),
            (view.despeckled, network.show_despeckled),
        ):
            made.clicked.connect(lambda _checked=False, action=action: action())
        view.pattern.returnPressed.connect(self._take_pattern)
        view.list.chosen.connect(session.show_row)
        view.network.show_overlay.toggled.connect(lambda on: network.show_marks(LayerKind.OVERLAY, on))
        view.network.show_area.toggled.connect(lambda on: network.show_marks(LayerKind.SCAN_AREA, on))
        view.network.remove_overlay.toggled.connect(network.set_removal)
        session.changed.connect(self._show)
        session.told.connect(self.message.say)
        listeners = Listeners(self)
        listeners.listen(self.viewer.layers.events, session.notice)
        for name, title, key, deed, made in (
            ("next_file", "Next file of the list", "Shift-N", self.next, view.forward),
            ("previous_file", "Previous file of the list", "Shift-B", self.previous, view.back),
        ):
            offer(self, self.viewer, name, title, key, deed, made)


class FramesView(QWidget):
    """Shows a :class:`FramesState`."""

    def __init__(self, frames: FrameList) -> None:
        super().__init__()
        self.list = FrameView(frames)
        self.add_files = button("Add files…", "Choose images, DICOM files or clips")
        self.add_folder = button("Add folder…", "Every image, DICOM file and clip in it")
        self.pattern = QLineEdit()
        self.pattern.setPlaceholderText("or a path or pattern, then Enter")
        self.back = button("◀ Previous", "Previous file of the list")
        self.position = QLabel("–")
        self.position.setAlignment(self.position.alignment().AlignCenter)
        self.forward = button("Next ▶", "Next file of the list")
        self.facts = small()
        self.network = NetworkView()
        self.despeckled = button(
            "Despeckled view",
            "Lay over the frame in view itself without its speckle; for looking alone",
        )
        adding = beside(self.add_files, self.add_folder)
        moving = beside(self.back, self.position, self.forward, wide=self.position)
        parts = (adding, self.pattern, self.list, moving, self.facts, self.network, self.despeckled)
        column = stacked(self, *parts)
        column.setStretch(2, 1)

    def show_state(self, state: FramesState) -> None:
        """Bring every field in line with a state."""
        self.list.show_row(state.number)
        self.position.setText("–" if state.number < 0 else f"{state.number + 1} / {state.n_files}")
        self.facts.setText(state.facts)
        self.network.show_state(state)


class NetworkView(QGroupBox):
    """Toggles for the overlay and the scan area of the frame in view, and buttons to correct them."""

    def __init__(self) -> None:
        super().__init__("What the network sees")
        self.show_overlay = QCheckBox("show the overlay found")
        self.show_area = QCheckBox("show the scan area")
        self.remove_overlay = QCheckBox("hide the overlay from the network")
        self.remove_overlay.setToolTip("Marks on tissue are painted over in what the network reads.")
        self.draw = button("Draw area", "Draw a rectangle round the ultrasound image")
        self.use = button("Use", "Take the drawn rectangle as the scan area of this frame")
        self.find_again = button("Find", "Go back to the scan area that is found automatically")
        buttons = beside(self.draw, self.use, self.find_again)
        column = stacked(self, self.show_overlay, self.show_area, self.remove_overlay, buttons)
        column.setContentsMargins(8, 8, 8, 8)

    def show_state(self, state: FramesState) -> None:
        """Bring every toggle in line with a state."""
        self.setEnabled(state.has_image)
        for box, on in (
            (self.show_overlay, state.network.shows_overlay),
            (self.show_area, state.network.shows_area),
            (self.remove_overlay, state.network.removes_overlay),
        ):
            box.blockSignals(True)
            box.setChecked(on)
            box.blockSignals(False)
