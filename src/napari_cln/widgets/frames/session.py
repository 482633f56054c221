"""A study as a list of files, one of them in view, and what the network is shown of it. Needs no window."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer, Shapes
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer

from ..._layers import (
    KEY,
    OVERLAY_KEY,
    SCAN_AREA_KEY,
    LayerKind,
    box_from_layer,
    despeckled_to_layer,
    flow_to_layer,
    frame_from_layer,
    is_painted,
    layers_of,
    link,
    overlay_to_layer,
    readings_of,
    said_by_user,
    say_again,
    scan_area_to_layer,
    source_to_layer,
)
from ..._layers.space import LayerOptions
from ...errors import ClnError, FrameReadError, counted
from ...imaging.channels import despeckle
from ...imaging.overlay import read_marks
from ...imaging.scan_area import find_scan_area
from ...io.sources import find_sources, open_source
from ..common.failures import words_of
from ..common.in_view import beyond, frame_at
from ..common.parts import Signal
from ..common.results import WatchedFrame, is_touched, nodes_of, readings_in
from ..common.worker import Work
from .frame_list import FrameList, spacing_text

if TYPE_CHECKING:
    from napari.components import ViewerModel

START = "Add files or a folder, or drop them here."
AGAIN = "Segment again to see its effect."
TELL_MS = 50
MARKS = (LayerKind.OVERLAY, LayerKind.SCAN_AREA)


@dataclass(frozen=True, kw_only=True)
class InputState:
    """Marks that are shown over the frame in view, and whether the network reads the burned-in ones."""

    shows_overlay: bool = False
    shows_area: bool = False
    removes_overlay: bool = True


@dataclass(frozen=True, kw_only=True)
class FramesState:
    """The place of the frame in view in the list, -1 for none, and facts about its file."""

    number: int = -1
    n_files: int = 0
    facts: str = ""
    has_image: bool = False
    network: InputState = field(default_factory=InputState)


class FramesSession(QObject):
    """A list of files, and the one in view; layers of the others are put aside with all their paint.

    Attributes
    ----------
    frames : FrameList
    network : NetworkInput
    """

    changed = Signal()  # another state is to be shown
    told = Signal(str, str)  # a sentence, and its mood

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.frames = FrameList(self)
        self.network = NetworkInput(viewer, self)
        self.search: Work | None = None
        self._stash = LayerStash(viewer)
        self._image: Image | None = None
        self._path: Path | None = None
        self._number, self._facts = -1, ""
        self._status_timer = QTimer(self)
        self._status_timer.setSingleShot(True)
        self._status_timer.setInterval(TELL_MS)
        self._status_timer.timeout.connect(self._tell_status)
        self.network.changed.connect(self.changed)
        self.network.told.connect(self.told)

    @property
    def state(self) -> FramesState:
        """The state as it is to be shown now."""
        return FramesState(
            number=self._number,
            n_files=len(self.frames.rows),
            facts=self._facts,
            has_image=self._image is not None,
            network=self.network.state,
        )

    def add(self, *patterns: str | Path) -> None:
        """List what paths, folders and patterns stand for; the first of them is shown."""
        if self.search is not None:
            self.told.emit("Still looking through the last folder. Try again in a moment.", "bad")
            return
        self.told.emit("Looking for frames …", "info")
        self.search = Work(self, find_sources, *patterns)
        self.search.done.connect(self._list)
        self.search.failed.connect(lambda error: self.told.emit(words_of(error), "bad"))
        self.search.ended.connect(self._end_search)
        self.search.start()

    def show_row(self, number: int) -> None:
        """Show a file; the layers of the one in view are put aside."""
        path = self.frames.rows[number].path
        if path == self._path and self._image in self.viewer.layers:
            return
        self._put_aside()
        self._path, self._number = path, number
        self._image = self._stash.take(path) or self._open(path)
        if self._image is not None and (masks := nodes_of(self.viewer, self._image)):
            self.viewer.layers.selection.active = masks[0]  # paint goes there, not onto a text
        self.network.show_image(self._image)
        self._tell_facts()
        self._tell_status()
        self.changed.emit()

    def step(self, by: int) -> None:
        """Show the file that stands so many rows further down."""
        if not self.frames.rows:
            self.told.emit(START, "info")
        elif 0 <= (number := self._number + by) < len(self.frames.rows):
            self.show_row(number)
        else:
            self.told.emit("This is the last frame." if by > 0 else "This is the first frame.", "info")

    def notice(self, event: Any) -> None:
        """Look anew at what is to be said of the file in view."""
        if event.type in ("inserted", "removed", "features", "paint"):
            self._status_timer.start()

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
            self.told.emit(str(error), "bad")
            return None
        image = Image(data, **options)
        self._stash.give_back(path, image)
        self.viewer.add_layer(image)
        self.viewer.reset_view()
        return image

    def _tell_facts(self) -> None:
        self._facts = ""
        if self._image is None:
            return
        try:
            frame = frame_from_layer(self._image)
        except ClnError as error:
            self.told.emit(str(error), "bad")
            return
        notes = [spacing_text(frame), frame.spacing_note or "", *frame.warnings]
        self._facts = " · ".join(note for note in notes if note)
        self.told.emit(frame.source.name if frame.source else "", "info")

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

    def _list(self, found: list[Path]) -> None:
        n_before = len(self.frames.rows)
        n_new = self.frames.add(found)
        words = (
            f"{n_new} of {len(found)} files added." if n_new < len(found) else f"{counted(n_new, 'file')}."
        )
        self.told.emit(words, "info")
        if n_new and self._image is None:
            self.show_row(n_before)
        self.changed.emit()

    def _end_search(self) -> None:
        self.search = None


class NetworkInput(QObject):
    """Overlay and scan area of the frame in view, on the canvas on request, and as the user corrects them.

    The choices hold for the frames that are shown next; a drawn scan area for its own frame.
    """

    changed = Signal()
    told = Signal(str, str)

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.image: Image | None = None
        self._shows = {LayerKind.OVERLAY: False, LayerKind.SCAN_AREA: False}
        self._removes_overlay = True

    @property
    def state(self) -> InputState:
        """The state as it is to be shown now."""
        return InputState(
            shows_overlay=self._shows[LayerKind.OVERLAY],
            shows_area=self._shows[LayerKind.SCAN_AREA],
            removes_overlay=self._removes_overlay,
        )

    def show_image(self, image: Image | None) -> None:
        """Take over the frame in view."""
        self.image = image
        if image is not None:
            image.metadata[OVERLAY_KEY] = self._removes_overlay
            self._refresh()

    def show_marks(self, kind: LayerKind, on: bool) -> None:
        """Show the overlay or the scan area on the canvas, or take it away."""
        self._shows[kind] = on
        self._refresh()
        self.changed.emit()

    def set_removal(self, on: bool) -> None:
        """Paint over the overlay in what the network reads, or leave it there."""
        self._removes_overlay = on
        if self.image is not None:
            self.image.metadata[OVERLAY_KEY] = on
            words = "painted over" if on else "left in"
            self.told.emit(f"Overlays are {words} for the network. {AGAIN}", "info")
        self.changed.emit()

    def draw_area(self) -> None:
        """Let the user draw a rectangle on the canvas."""
        if self._area_layer() is None:
            self.show_marks(LayerKind.SCAN_AREA, True)
        if (shapes := self._area_layer()) is not None:
            self.viewer.layers.selection.active = shapes
            shapes.mode = "add_rectangle"
            self.told.emit("Drag a rectangle round the ultrasound image, then press Use.", "info")

    def use_area(self) -> None:
        """Take the last rectangle as this frame's scan area."""
        shapes = self._area_layer()
        if self.image is None or shapes is None:
            self.told.emit("Draw the scan area first.", "bad")
            return
        try:
            self.image.metadata[SCAN_AREA_KEY] = box_from_layer(shapes, self.image)
        except ClnError as error:
            self.told.emit(str(error), "bad")
            return
        self._refresh()
        self.told.emit(f"The drawn scan area is used for this frame. {AGAIN}", "good")

    def find_area(self) -> None:
        """Forget the drawn scan area."""
        if self.image is not None:
            self.image.metadata.pop(SCAN_AREA_KEY, None)
            self._refresh()
            self.told.emit(f"The scan area is found automatically. {AGAIN}", "info")

    def show_despeckled(self) -> None:
        """Lay the frame in view over itself without its speckle, and take away a view of another frame."""
        layers, image = self.viewer.layers, self.image
        if image is None or image not in layers:
            return
        for former in layers_of(image, layers, LayerKind.DESPECKLED):
            layers.remove(former)
        if (index := frame_at(image, self.viewer)) is None:
            self.told.emit(beyond(image), "bad")
            return
        try:
            frame = frame_from_layer(image, index)
        except ClnError as error:
            self.told.emit(str(error), "bad")
            return
        work = Work(self, despeckle, frame)
        work.done.connect(partial(self._lay_over, WatchedFrame(self.viewer, image), index))
        work.failed.connect(lambda error: self.told.emit(words_of(error), "bad"))
        self.told.emit("Smoothing the speckle …", "info")
        work.start()

    def _lay_over(self, frame: WatchedFrame, index: int, smooth: NDArray[np.uint8]) -> None:
        image, layers = frame.image, self.viewer.layers
        if frame.fault:
            self.told.emit(f"There is no view without speckle: {frame.fault}.", "info")
            return
        active = layers.selection.active
        data, options, _ = despeckled_to_layer(smooth, image, index)
        layer = Image(data, **options)
        link(layer, image)
        layers.insert(layers.index(image) + 1, layer)
        layers.selection.active = active
        self.told.emit(
            "A view without speckle lies over the frame; masks and scores are the frame's.", "good"
        )

    def _refresh(self) -> None:
        """Make the marks on the canvas anew."""
        layers = self.viewer.layers
        if self.image is None or self.image not in layers:
            return
        active = layers.selection.active
        for kind in self._shows:
            for layer in layers_of(self.image, layers, kind):
                layers.remove(layer)
        if (index := frame_at(self.image, self.viewer)) is None:
            return
        try:
            frame = frame_from_layer(self.image, index)
        except ClnError as error:
            self.told.emit(str(error), "bad")
            return
        area = find_scan_area(frame)
        if self._shows[LayerKind.OVERLAY]:
            marks = read_marks(frame, area)
            data, options, _ = overlay_to_layer(marks.overlay, self.image)
            self._add(Labels(data, **options))
            if marks.flow is not None:
                data, options, _ = flow_to_layer(marks.flow, self.image)
                self._add(Labels(data, **options))
        if self._shows[LayerKind.SCAN_AREA]:
            data, options, _ = scan_area_to_layer(area, self.image)
            self._add(Shapes(data, **options))
        if active in layers:
            layers.selection.active = active

    def _add(self, layer: Labels | Shapes) -> None:
        assert self.image is not None
        link(layer, self.image)
        self.viewer.add_layer(layer)

    def _area_layer(self) -> Shapes | None:
        if self.image is None:
            return None
        found = layers_of(self.image, self.viewer.layers, LayerKind.SCAN_AREA)
        return next((layer for layer in found if isinstance(layer, Shapes)), None)


# ------------------------------------------------------------ layers of frames that are not in view


class LayerStash:
    """Takes the layers of a frame off the viewer and puts the same objects back.

    Painted layers stay until the window closes; of those that were only predicted, the last
    few. What the user has said of a frame (scan area, scale, patient) stays without its layers too.
    """

    def __init__(self, viewer: ViewerModel, n_unpainted: int = 20) -> None:
        self.viewer = viewer
        self._n_unpainted = n_unpainted
        self._kept: dict[Path, list[Layer]] = {}
        self._painted: set[Path] = set()
        self._said: dict[Path, LayerOptions] = {}

    def __contains__(self, path: Path) -> bool:
        return path in self._kept

    def adopt(self, image: Image) -> None:
        """Link what was painted by hand on a layer that napari made."""
        for layer in self.viewer.layers:
            if _is_own(layer, image):
                link(layer, image)

    def put(self, path: Path, image: Image) -> None:
        """Take an Image and all that belongs to it off the viewer."""
        self._said[path] = said_by_user(image)
        if image not in self.viewer.layers:
            return
        self.adopt(image)
        layers = [image, *layers_of(image, self.viewer.layers)]
        layers = sorted(set(layers), key=self.viewer.layers.index)
        for layer in layers:
            self.viewer.layers.remove(layer)
        layers = [layer for layer in layers if layer.metadata.get(KEY) not in MARKS]
        nodes = [layer for layer in layers if isinstance(layer, Labels)]
        if any(_is_edited(labels) for labels in nodes):
            self._painted.add(path)
        if nodes:
            self._kept[path] = layers
        unpainted = [known for known in self._kept if known not in self._painted]
        for known in unpainted[: -self._n_unpainted]:
            del self._kept[known]

    def take(self, path: Path) -> Image | None:
        """Put a frame's layers back on the viewer; None if none are kept."""
        layers = self._kept.pop(path, [])
        self._painted.discard(path)
        for layer in layers:
            self.viewer.add_layer(layer)
        return next((layer for layer in layers if isinstance(layer, Image)), None)

    def give_back(self, path: Path, image: Image) -> None:
        """Say of a frame that was read anew what the user had said of it."""
        if path in self._said:
            say_again(image, self._said[path])


def _is_edited(labels: Labels) -> bool:
    """Tell whether anybody has painted in any frame; slow for a cine, and sure."""
    return any(is_painted(labels, index) for index in range(1 if labels.ndim == 2 else len(labels.data)))


def _is_own(layer: Layer, image: Image) -> bool:
    """Tell whether an unlinked Labels layer was painted by hand on this frame."""
    return (
        isinstance(layer, Labels)
        and not layer.metadata
        and not readings_of(layer)
        and layer.data.shape[-2:] == image.data.shape[image.ndim - 2 : image.ndim]
    )
