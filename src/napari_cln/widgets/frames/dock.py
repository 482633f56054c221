"""Frames dock: a study as a list, one frame in view, and what the network is shown of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QTimer
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QLineEdit
from superqt.utils import create_worker

from ..._layers import frame_from_layer, source_to_layer
from ...errors import ClnError, FrameReadError
from ...io.sources import find_sources, open_source
from ..common.dock import Dock, button, small
from ..common.facts import spacing_text
from ..common.results import is_touched, nodes_of, readings_in
from ..common.stash import LayerStash
from .frame_list import FrameList, FrameView
from .network_view import NetworkView

if TYPE_CHECKING:
    import napari

START = "Add files or a folder, or drop them here."


class FramesDock(Dock):
    """Dock that lists files and shows one of them.

    Parameters
    ----------
    napari_viewer : napari.Viewer

    Attributes
    ----------
    frames : FrameList
    view : FrameView
    pattern : QLineEdit
        A path or a pattern such as ``study/**/*.dcm``.
    sight : NetworkView
        Overlay and scan area of the frame in view.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer)
        self.frames = FrameList()
        self.view = FrameView(self.frames)
        self.add_files = button("Add files…", "Choose images, DICOM files or clips")
        self.add_folder = button("Add folder…", "Every image, DICOM file and clip in it")
        self.pattern = QLineEdit()
        self.pattern.setPlaceholderText("or a path or pattern, then Enter")
        self.back = button("◀ Previous", "Shift+B")
        self.position = QLabel("–")
        self.forward = button("Next ▶", "Shift+N")
        self.facts = small()
        self.sight = NetworkView(self.viewer, self.message)
        self._stash = LayerStash(self.viewer)
        self._image: Image | None = None
        self._path: Path | None = None
        self._search: Any = None
        self._status_timer = QTimer(self)
        self._status_timer.setSingleShot(True)
        self._status_timer.setInterval(50)
        self._build()
        self._connect()
        self.message.say(START)

    def add(self, *patterns: str | Path) -> None:
        """List what paths, folders and patterns stand for; the first of them is shown."""
        if self._search is not None:
            self.message.say("Still looking through the last folder. Try again in a moment.", "bad")
            return
        self.message.say("Looking for frames …")
        self._search = create_worker(_find, patterns, _start_thread=False)
        self._search.returned.connect(self._list)
        self._search.finished.connect(self._searched)
        self._search.start()

    def show_row(self, number: int) -> None:
        """Show a file; the layers of the one in view are put aside with all their paint."""
        path = self.frames.rows[number].path
        if path == self._path and self._image in self.viewer.layers:
            return
        self._put_aside()
        self._path = path
        self._image = self._stash.take(path) or self._open(path)
        if self._image is not None and (masks := nodes_of(self.viewer, self._image)):
            self.viewer.layers.selection.active = masks[0]  # paint goes there, not onto a text
        self.position.setText(f"{number + 1} / {len(self.frames.rows)}")
        self.sight.show_image(self._image)
        self._tell_facts()
        self._tell_status()

    def next(self) -> None:
        """Show the next file."""
        self._step(1)

    def previous(self) -> None:
        """Show the previous file."""
        self._step(-1)

    def _step(self, by: int) -> None:
        if not self.frames.rows:
            self.message.say(START)
            return
        number = self.view.currentIndex().row() + by
        if 0 <= number < len(self.frames.rows):
            self.view.setCurrentIndex(self.frames.index(number))
        else:
            self.message.say("This is the last frame." if by > 0 else "This is the first frame.")

    def _put_aside(self) -> None:
        if self._image is not None and self._path is not None:
            self._stash.adopt(self._image)
            self._tell_status()
            self._stash.put(self._path, self._image)
        self._image = None

    def _open(self, path: Path) -> Image | None:
        try:
            data, options, _ = source_to_layer(open_source(path))
        except FrameReadError as error:
            self.frames.set_status(path, "can't be read")
            self.message.say(str(error), "bad")
            return None
        image = Image(data, **options)
        self.viewer.add_layer(image)
        self.viewer.reset_view()
        return image

    # ------------------------------------------------------------ what is told

    def _tell_facts(self) -> None:
        self.facts.setText("")
        if self._image is None:
            return
        try:
            frame = frame_from_layer(self._image)
        except ClnError as error:
            self.message.say(str(error), "bad")
            return
        notes = [spacing_text(frame), frame.spacing_note or "", *frame.warnings]
        self.facts.setText(" · ".join(note for note in notes if note))
        self.message.say(frame.source.name if frame.source else "")

    def _tell_status(self) -> None:
        if self._image is None or self._path is None or self._image not in self.viewer.layers:
            return
        readings = readings_in(self.viewer, self._image)
        scores = [reading.malignancy for reading in readings.values()]
        if any(is_touched(labels) for labels in nodes_of(self.viewer, self._image)):
            status = "painted"
        elif not readings:
            status = "not segmented"
        elif self._image.ndim == 3:
            status = f"{len(readings)}/{len(self._image.data)} frames, highest {max(scores):.2f}"
        else:
            (reading,) = readings.values()
            status = f"{reading.label} {reading.malignancy:.2f}"
        self.frames.set_status(self._path, status)

    def _list(self, outcome: tuple[list[Path], str]) -> None:
        found, reason = outcome
        if reason:
            self.message.say(reason, "bad")
            return
        n_before = len(self.frames.rows)
        n_new = self.frames.add(found)
        self.message.say(f"{n_new} of {len(found)} files added." if n_new < len(found) else f"{n_new} files.")
        if n_new and self._image is None:
            self.view.setCurrentIndex(self.frames.index(n_before))

    def _searched(self) -> None:
        self._search = None

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
        if self.pattern.text().strip():
            self.add(str(Path(self.pattern.text().strip()).expanduser()))
            self.pattern.clear()

    def _watch(self, event: Any) -> None:
        if event.type in ("inserted", "removed", "features", "paint"):
            self._status_timer.start()

    def _build(self) -> None:
        adding, moving = QHBoxLayout(), QHBoxLayout()
        adding.addWidget(self.add_files)
        adding.addWidget(self.add_folder)
        moving.addWidget(self.back)
        moving.addWidget(self.position, stretch=1)
        moving.addWidget(self.forward)
        self.position.setAlignment(self.position.alignment().AlignCenter)
        self.column.addLayout(adding)
        self.column.addWidget(self.pattern)
        self.column.addWidget(self.view, stretch=1)
        self.column.addLayout(moving)
        self.column.addWidget(self.facts)
        self.column.addWidget(self.sight)
        self.setAcceptDrops(True)

    def _connect(self) -> None:
        self.add_files.clicked.connect(self._choose_files)
        self.add_folder.clicked.connect(self._choose_folder)
        self.pattern.returnPressed.connect(self._take_pattern)
        self.back.clicked.connect(self.previous)
        self.forward.clicked.connect(self.next)
        self.view.chosen.connect(self.show_row)
        self._status_timer.timeout.connect(self._tell_status)
        self.listen(self.viewer.layers.events, self._watch)
        self.bind_key("Shift-N", self.next)
        self.bind_key("Shift-B", self.previous)


def _find(patterns: tuple[str | Path, ...]) -> tuple[list[Path], str]:
    """Files, or the reason why there are none; a worker would raise an exception that is returned."""
    try:
        return find_sources(*patterns), ""
    except ClnError as error:
        return [], str(error)
