"""Predictions onto a viewer's layers, such that paint is never lost and nothing old looks new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Image, Labels, Layer, Points
from napari.utils.events import EventEmitter

from ..._layers import (
    KEY,
    NOTES_KEY,
    RUN_KEY,
    LayerKind,
    cine_to_layer,
    features_of,
    is_painted,
    layers_of,
    link,
    message_to_layer,
    prediction_to_layer,
    reading_of,
    readings_of,
    readings_to_layer,
)
from ...study.reading import Reading
from ...types import Prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari.components import ViewerModel
    from numpy.typing import NDArray

TOUCHED_KEY = "napari-cln touched frames"
HIDDEN_KEY = "napari-cln hidden"
"""Key in the metadata of a layer that is hidden because another frame is shown alone."""
OPACITY_KEY = "napari-cln opacity"
FADED = 0.1
DELETED = "the layer was deleted"


def nodes_of(viewer: ViewerModel, image: Image) -> list[Labels]:
    """Labels layers with the nodes of an Image layer, newest first."""
    found = layers_of(image, viewer.layers, LayerKind.NODES)
    return [layer for layer in reversed(found) if isinstance(layer, Labels)]


def readings_in(viewer: ViewerModel, image: Image) -> dict[int, Reading]:
    """Return the readings of an Image layer, by frame; the newest where there are several."""
    merged: dict[int, Reading] = {}
    for labels in reversed(nodes_of(viewer, image)):
        merged |= readings_of(labels)
    return dict(sorted(merged.items()))


def instances_in(viewer: ViewerModel, image: Image, index: int) -> NDArray[np.uint8] | None:
    """Return the nodes (H, W) that the reading of a frame is about; None where it has none."""
    for labels in nodes_of(viewer, image):
        if index in readings_of(labels):
            known = labels.metadata[KEY]
            if isinstance(known, Prediction):
                return known.instances
            return np.asarray(labels.data if labels.ndim == 2 else labels.data[index]).astype(np.uint8)
    return None


def write_texts(viewer: ViewerModel, image: Image, notes: Mapping[str, str] | None = None) -> None:
    """Bring features tables and canvas text in line with what the Labels layers hold.

    ``notes`` say what models are, by their ids, beside those of whom the text has said it already.
    """
    for labels in nodes_of(viewer, image):
        known = readings_of(labels)
        if known:
            labels.features = features_of(list(known.values()), cine=labels.ndim == 3)
    readings = readings_in(viewer, image).values()
    texts = _texts_of(viewer, image)
    said: dict[str, str] = {} if texts is None else texts.metadata.get(NOTES_KEY, {})
    data, options, _ = readings_to_layer(readings, {**said, **(notes or {})}, image)
    if texts is None:
        if len(data):
            _add(viewer, Points(data, **options), image)
        return
    _set_texts(texts, data, options["features"])
    texts.metadata[NOTES_KEY] = options["metadata"][NOTES_KEY]


_LEFT: WeakKeyDictionary[Image, EventEmitter] = WeakKeyDictionary()


def left_event(image: Image) -> EventEmitter:
    """Return the event that is sent when the frame of an Image layer is left for another one.

    The layer may show that one only some turns of the event loop later.
    """
    return _LEFT.setdefault(image, EventEmitter(type_name="left"))


class WatchedFrame:
    """What an Image layer shows while work on it is under way.

    The frames of a training folder take turns in one Image layer, so that the layer alone does not say which
    of them a result is of.

    Parameters
    ----------
    viewer : napari.Viewer
    image : napari.layers.Image
    give_up : callable, optional
        Called once, when the frame is left, or the layer shows another one.
    """

    def __init__(
        self, viewer: ViewerModel, image: Image, give_up: Callable[[], object] | None = None
    ) -> None:
        self.viewer, self.image, self._is_same, self._give_up = viewer, image, True, give_up
        for event in (image.events.data, left_event(image)):
            event.connect(self._note_other)

    @property
    def fault(self) -> str:
        """Why a result has no place any more; empty where the layer has shown the same all the time."""
        if not self._is_same:
            return "another frame is in view"
        return "" if self.image in self.viewer.layers else DELETED

    def _note_other(self, _event: Any = None) -> None:
        if self._is_same:
            self._is_same = False  # for good: what was read meanwhile may be the other's
            if self._give_up is not None:
                self._give_up()


class Results:
    """The layers into which one run over one Image layer writes.

    Parameters
    ----------
    viewer : napari.Viewer
    image : napari.layers.Image
    indices : sequence of int
        Frames that the run will predict.
    notes : mapping of str to str
        What to say of the model, by its id.
    """

    def __init__(
        self, viewer: ViewerModel, image: Image, indices: Sequence[int], notes: Mapping[str, str]
    ) -> None:
        self.viewer, self.image, self.indices, self.notes = viewer, image, tuple(indices), notes
        self._frame = WatchedFrame(viewer, image, self.cancel)  # the next frame's masks are not faded
        self._faded: list[Labels] = []
        self._hidden: Points | None = None  # texts that are hidden until there are others
        self._written: list[Labels] = []
        self._told: set[int] = set()  # frames whose texts are on the canvas

    @property
    def fault(self) -> str:
        """Why nothing more is to be written; empty while all is there and the Image shows the same frame."""
        gone = any(labels not in self.viewer.layers for labels in self._written)
        return self._frame.fault or (DELETED if gone else "")

    @property
    def has_written(self) -> bool:
        """True once a frame of this run was predicted."""
        return bool(self._written)

    def begin(self) -> None:
        """Fade, or in a cine clear, what an earlier run said about these frames."""
        for labels in nodes_of(self.viewer, self.image):
            if labels.ndim == 2:
                if readings_of(labels) and not is_painted(labels):
                    _fade(labels)
                    self._faded.append(labels)
                continue
            known = readings_of(labels)
            for index in self.indices:
                if index in known and _is_free(labels, index):
                    _note_run(labels, index)  # nobody erased it
                    labels.data[index] = 0
                    del known[index]
            labels.metadata[KEY] = known  # a dict of its own: a duplicated layer shares the old one
            labels.refresh()
        for kind in (LayerKind.AXES, LayerKind.SCORE_MAP):
            for layer in layers_of(self.image, self.viewer.layers, kind):
                self.viewer.layers.remove(layer)
        texts = _texts_of(self.viewer, self.image)
        if self.image.ndim == 3:
            self.flush()
        elif texts is not None and texts.visible:
            self._hidden, texts.visible = texts, False

    def put(self, prediction: Prediction) -> None:
        """Write one frame's masks: into a layer that nobody has painted on, else into a new one.

        The mask comes first; texts and tables, which take longer, with the next :meth:`flush`.
        """
        if self.image.ndim == 3:
            self._put_in_cine(prediction)
        else:
            self._put_in_still(prediction)

    def flush(self, *, in_view: bool = False) -> None:
        """Bring texts and tables up to date.

        Parameters
        ----------
        in_view : bool
            Only if the frame of a cine that is in view lacks its text: each writing paints the canvas anew.
        """
        readings = readings_in(self.viewer, self.image)
        if in_view and self.image.ndim == 3:
            index = self.viewer.dims.current_step[-3]
            if index not in readings or index in self._told:
                return
        self._told = set(readings)
        write_texts(self.viewer, self.image, self.notes)
        texts = _texts_of(self.viewer, self.image)
        # a still's were hidden as the run began; a cine's are hidden by nobody but the user
        if texts is not None and self._written and self.image.ndim == 2:
            self._hidden = None
            _show_texts(texts, self.image)

    def cancel(self) -> None:
        """Take back the fading: what was there before still holds."""
        for labels in self._faded:
            _unfade(labels)
        if self._hidden is not None and not self._written:
            _show_texts(self._hidden, self.image)
        self._faded, self._hidden = [], None

    def fail(self, reason: str) -> None:
        """Leave the old mask faded, and say on the canvas that this run failed."""
        texts = _texts_of(self.viewer, self.image)
        if texts is None or self.image.ndim == 3:
            return
        data, options, _ = message_to_layer(f"segmentation failed: {reason}", self.image)
        _set_texts(texts, data, options["features"])
        self._hidden = None
        _show_texts(texts, self.image)

    def _put_in_still(self, prediction: Prediction) -> None:
        free = [labels for labels in nodes_of(self.viewer, self.image) if not is_painted(labels)]
        if free:
            labels = free[0]
            changed = np.nonzero(labels.data != prediction.instances)
            if changed[0].size:
                _note_run(labels, 0)
            # One step back with Ctrl-Z; plain assignment would leave a history that no longer fits.
            with labels.block_history():
                labels.data_setitem(changed, prediction.instances[changed])
            labels.metadata[KEY] = prediction
            _unfade(labels)
        else:
            data, options, _ = prediction_to_layer(prediction, self.image)
            labels = Labels(data, **options)
            self._add_labels(labels)
        self._written = [labels]

    def _put_in_cine(self, prediction: Prediction) -> None:
        index = prediction.frame.index
        free = [labels for labels in nodes_of(self.viewer, self.image) if _is_free(labels, index)]
        if free:
            # The oldest: a newer one holds only the frames that were painted in it.
            labels = free[-1]
        else:
            data, options, _ = cine_to_layer(self.image)
            labels = Labels(data, **options)
            self._add_labels(labels)
            labels.events.paint.connect(lambda _event: self._touch(labels))
        _note_run(labels, index)
        labels.data[index] = prediction.instances
        labels.metadata[KEY][index] = reading_of(prediction)
        if labels not in self._written:
            self._written.append(labels)
        if self.viewer.dims.current_step[0] == index:
            labels.refresh()

    def _touch(self, labels: Labels) -> None:
        # A frame with strokes in its undo history is the reader's, even if it looks untouched.
        labels.metadata.setdefault(TOUCHED_KEY, set()).add(self.viewer.dims.current_step[0])

    def _add_labels(self, labels: Labels) -> None:
        if self.image.visible:
            link(labels, self.image)
            self.viewer.add_layer(labels)  # and napari selects it
        else:
            _add(self.viewer, labels, self.image)


def is_touched(labels: Labels) -> bool:
    """Tell quickly whether somebody has painted: of a cine, the frames that took a stroke are known."""
    return is_painted(labels) if labels.ndim == 2 else bool(labels.metadata.get(TOUCHED_KEY))


def _note_run(labels: Labels, index: int) -> None:
    """Note that a run changes a frame: it is no stroke of a reader's."""
    labels.metadata.setdefault(RUN_KEY, set()).add(index)


def _is_free(labels: Labels, index: int) -> bool:
    return index not in labels.metadata.get(TOUCHED_KEY, ()) and not is_painted(labels, index)


def _texts_of(viewer: ViewerModel, image: Image) -> Points | None:
    found = layers_of(image, viewer.layers, LayerKind.MALIGNANCY)
    return next((layer for layer in found if isinstance(layer, Points)), None)


def _set_texts(texts: Points, data: NDArray[np.float64], features: dict[str, list[Any]]) -> None:
    # napari does not slice a hidden layer anew, and then looks for texts of points that have gone.
    shown = texts.visible
    if not shown:
        texts.visible = True
    # While there are more points than features, the new ones have no colour of their own yet.
    texts.text.color = "white"
    texts.data = data
    texts.features = features
    texts.text.color = {"feature": "text_colour"}
    if not shown:
        texts.visible = False


def _show_texts(texts: Points, image: Image) -> None:
    """Show texts again that were hidden for a run, but over no other image."""
    texts.visible = bool(image.visible)
    if not image.visible:
        texts.metadata[HIDDEN_KEY] = True


def _add(viewer: ViewerModel, layer: Layer, image: Image) -> None:
    """Add a derived layer without taking the selection from what the user works on."""
    active = viewer.layers.selection.active
    link(layer, image)
    if not image.visible:  # nor is it drawn over another image
        layer.visible, layer.metadata[HIDDEN_KEY] = False, True
    viewer.add_layer(layer)
    if active is not None:
        viewer.layers.selection.active = active


def _fade(labels: Labels) -> None:
    labels.metadata.setdefault(OPACITY_KEY, labels.opacity)
    labels.opacity = FADED


def _unfade(labels: Labels) -> None:
    labels.opacity = labels.metadata.pop(OPACITY_KEY, labels.opacity)
