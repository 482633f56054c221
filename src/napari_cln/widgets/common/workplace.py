"""Facts of a whole viewer: its training folder, the model in use, and how nodes are drawn and told of.

Masks are drawn as outlines, so that the tissue below them is seen, and of several open images one alone has
its words on the canvas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray
from qtpy.QtCore import QCoreApplication, QObject, QTimer

from ..._layers import KEY, LayerKind, frame_layers, image_of, layers_of, link
from ...annotation import Node
from ...compat.window import camera_of, plain_viewer
from .in_view import fit_view, lie_alike, show_alone
from .parts import Signal
from .results import HIDDEN_KEY, OPACITY_KEY

if TYPE_CHECKING:
    from napari.components import ViewerModel

FILLED, OUTLINED = 0.35, 0.9
"""Opacity of masks that are filled, and of outlines."""
SETTLED_MS = 100


class Workplace(QObject):
    """One for each viewer; docks tell it what concerns the others, however they were opened.

    Attributes
    ----------
    folder : Path, optional
        The training folder that masks are saved to.
    filled : bool
        Whether masks are filled; outlined otherwise.
    opener : callable, optional
        Opens a frame of a training folder, by its id, to be corrected, where a dock can: its Image.
    describer : callable, optional
        Gives what a reader has said of nodes on a frame of an Image, where a dock knows.
    """

    folder_opened = Signal(object)  # the Path of the training folder that masks are saved to from now on
    corrected = Signal(object)  # the Seat of the dock in which masks are corrected from now on
    model_changed = Signal(str, str)  # the name of the model in use, and of the one that was in use before

    def __init__(self, viewer: ViewerModel) -> None:
        # Else the thread that collects a viewer as garbage would delete it.
        super().__init__(QCoreApplication.instance())
        self.folder: Path | None = None
        self.filled = False
        self.opener: Callable[[Path, str], Image | None] | None = None
        self.describer: Callable[[Image, int, NDArray[np.uint8]], Mapping[int, Node]] | None = None
        self._viewer = ref(viewer)
        viewer.layers.events.inserted.connect(self._take_layer)
        viewer.layers.events.removed.connect(self._let_one_speak)
        viewer.layers.selection.events.active.connect(self._let_one_speak)
        for layer in viewer.layers:
            self._draw(layer)
        self._let_one_speak()

    def open_folder(self, folder: Path) -> None:
        """Tell every dock that masks are saved to this training folder."""
        self.folder = folder
        self.folder_opened.emit(folder)

    def open_case(self, folder: Path, case_id: str) -> Image | None:
        """Open a frame of a training folder where it can be corrected; None where no dock does."""
        return None if self.opener is None else self.opener(folder, case_id)

    def describe_nodes(self, image: Image, index: int, instances: NDArray[np.uint8]) -> Mapping[int, Node]:
        """Return what a reader has said of nodes (H, W) on a frame of an Image, by their ids."""
        return {} if self.describer is None else self.describer(image, index, instances)

    def show_beside(self, layers: Sequence[Layer], former: Sequence[Layer]) -> None:
        """Show an Image with its layers alone, in the place of former ones, and over no frame at work."""
        viewer = self._viewer()
        if viewer is None:
            return
        for layer in former:
            if layer in viewer.layers:
                viewer.layers.remove(layer)
        for layer in layers:
            viewer.add_layer(layer)
        for layer in layers[1:]:
            link(layer, layers[0])
        image = layers[0]
        if isinstance(image, Image):
            show_alone(viewer, image, None)
            fit_view(viewer, [image])

    def fill(self, filled: bool) -> None:
        """Draw every mask filled, or as an outline."""
        self.filled = filled
        viewer = self._viewer()
        for layer in () if viewer is None else viewer.layers:
            self._draw(layer)

    def _take_layer(self, event: Any) -> None:
        self._draw(event.value)
        self._let_one_speak()
        viewer = self._viewer()
        image, frames = event.value, [] if viewer is None else frame_layers(viewer.layers)
        others = [one for one in frames if one is not image and one.visible]
        # Else the words of a frame that is larger than those before it lie beyond the canvas.
        if image in frames and image.visible and not any(lie_alike(one, image) for one in others):
            QTimer.singleShot(0, partial(self._settle, image, None))

    def _settle(self, image: Image, seen: object) -> None:
        """Let the canvas show all of an image, once napari's panels have taken their width from it."""
        viewer = self._viewer()
        if viewer is None or image not in viewer.layers:
            return
        now = (camera := camera_of(viewer)).zoom, *camera.center
        if seen is None:
            QTimer.singleShot(SETTLED_MS, partial(self._settle, image, now))
        elif seen == now:  # else the reader has moved it
            fit_view(viewer, [image])

    def _draw(self, layer: Layer) -> None:
        known = layer.metadata.get(KEY)
        if not isinstance(layer, Labels) or known is None or isinstance(known, str):
            return
        layer.contour = 0 if self.filled else max(2, round(max(layer.data.shape[-2:]) / 250))
        opacity = FILLED if self.filled else OUTLINED
        if OPACITY_KEY in layer.metadata:  # it is faded
            layer.metadata[OPACITY_KEY] = opacity
        else:
            layer.opacity = opacity

    def _let_one_speak(self, _event: Any = None) -> None:
        """Hide the words of every image but the one at work: two would be written over each other."""
        viewer = self._viewer()
        images = [] if viewer is None else frame_layers(viewer.layers)
        if viewer is None or not images:
            return
        speaker = images[0] if len(images) == 1 else _image_at_work(viewer, images)
        for image in images:
            shown = bool(image.visible)
            for words in layers_of(image, viewer.layers, LayerKind.MALIGNANCY):
                if image is not speaker and words.visible:
                    words.metadata[HIDDEN_KEY], words.visible = True, False
                elif image is speaker and shown and words.metadata.pop(HIDDEN_KEY, False):
                    words.visible = True


def _image_at_work(viewer: ViewerModel, images: Sequence[Image]) -> Image | None:
    """Return the image that the active layer belongs to, else the topmost that is shown."""
    active = viewer.layers.selection.active
    if isinstance(active, Image) and active in images:
        return active
    if isinstance(active, Labels) and (image := image_of(active, viewer.layers)) is not None:
        return image
    owners: list[Image] = [image for image in images if active in layers_of(image, viewer.layers)]
    return next(iter(owners or [image for image in reversed(images) if image.visible]), None)


_workplaces: WeakKeyDictionary[ViewerModel, Workplace] = WeakKeyDictionary()


def workplace_of(viewer: ViewerModel) -> Workplace:
    """Return the workplace of a viewer, made when the first dock asks, or the first file is opened."""
    viewer = plain_viewer(viewer)
    if viewer not in _workplaces:
        _workplaces[viewer] = Workplace(viewer)
    return _workplaces[viewer]
