"""Frames of the training folder on the canvas, their saved masks, and what is shown beside them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from ..._layers import (
    IMAGE_KEY,
    KEY,
    PATIENT_KEY,
    LayerKind,
    cine_to_layer,
    frame_to_layer,
    image_of,
    lay,
    layers_of,
    lie_apart,
    link,
    space_of,
)
from ..._layers.space import CLEAR, GREEN, PINK
from ...annotation import Annotation, Case
from ...compat.window import at_once, exchange_strokes
from ...errors import ClnError, DatasetError
from ...folder.dataset import TrainingFolder, home_of
from ...folder.readers import read_annotation, read_reading, readers_of
from ...types import Frame
from ..common.in_view import BESIDE, fit_view
from ..common.results import left_event, nodes_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from .painted import Desk, PaintedMask

REDRAWN = (LayerKind.DIFFERENCE, LayerKind.READING, LayerKind.SKETCH)
"""Layers beside a mask that stay with the layers of the open frame, and are filled anew or hidden."""


def add_mask(viewer: ViewerModel, image: Image, masks: NDArray[np.uint8] | None = None) -> Labels:
    """Add a Labels layer for an Image, with masks of its frame or empty, ready to paint on."""
    data, options, _ = cine_to_layer(image)
    labels = Labels(data if masks is None else masks.copy(), **options)
    link(labels, image)
    viewer.add_layer(labels)
    labels.mode = "paint"
    return labels


def patient_on(image: Image, mask: PaintedMask | None) -> str:
    """Return the patient whom a reader typed for a picture, else whom its file names; empty for nobody."""
    return str(image.metadata.get(PATIENT_KEY, "" if mask is None else mask.patient))


def saved_masks(folder: TrainingFolder, mask: PaintedMask) -> Annotation:
    """Read what the training folder says of a frame, in the frame's own pixels.

    Raises
    ------
    DatasetError
        If the folder does not have the frame, or its files are damaged.
    """
    case_id = folder.identify(mask.frame)
    return in_frame(folder, _read_whole(folder, case_id), case_id, mask.frame)


def in_frame(folder: TrainingFolder, known: Annotation, case_id: str, frame: Frame) -> Annotation:
    """An annotation of the stored image, in the pixels of the frame that it was cropped from, or of itself.

    Raises
    ------
    DatasetError
        If the image was cropped from a frame of another size.
    """
    if known.instances.shape != frame.shape:
        x0, y0, x1, y1 = folder.record(case_id).source.crop
        whole = np.zeros(frame.shape, dtype=np.uint8)
        if known.instances.shape != (y1 - y0, x1 - x0) or y1 > whole.shape[0] or x1 > whole.shape[1]:
            raise DatasetError(f"{case_id} was stored from a frame of another size than this one.")
        whole[y0:y1, x0:x1] = known.instances
        known = replace(known, instances=whole)
    return replace(known, frame=frame)


def known_annotation(folder: TrainingFolder, case_id: str, second_reader: str | None) -> Annotation:
    """Read a frame of the training folder to open: its own masks, or of a second reader theirs or none.

    Raises
    ------
    DatasetError
        If the frame's files are damaged or missing.
    """
    known = _read_whole(folder, case_id)
    if second_reader is None:
        return known
    if second_reader in readers_of(folder, case_id):
        return read_reading(folder, folder.case(case_id), second_reader)
    return Annotation(frame=known.frame, instances=np.zeros_like(known.instances), status="predicted")


def _read_whole(folder: TrainingFolder, case_id: str) -> Annotation:
    """Read what the folder says of a frame, again where another process saved it in between."""
    for pause_s in (0.01, 0.03):
        try:
            return read_annotation(folder, folder.case(case_id))
        except DatasetError:
            sleep(pause_s)
    return read_annotation(folder, folder.case(case_id))


def home_elsewhere(frame: Frame | None, folder: TrainingFolder | None) -> str:
    """Say that a frame is of another training folder than this one; empty where it is not."""
    source = None if frame is None else frame.source
    home = home_of(source)
    if home is None or (folder is not None and folder.layout.id_of_image(source) is not None):
        return ""
    return f"A frame of the training folder {home.name}, to look at. Open that folder here to correct it."


class CaseKey(NamedTuple):
    """A frame of a training folder, by the folder's path; and who gives a second reading of it."""

    folder: Path
    case_id: str
    reader: str | None = None


class CaseOpener:
    """Opens one frame of the training folder at a time, on the same two layers: others take napari a second.

    Frames with strokes, or with something unsaved, are put aside with their undo history, on layers that no
    window shows.

    Attributes
    ----------
    key : CaseKey, optional
        The frame that is open.
    image : napari.layers.Image, optional
        Its layer.
    """

    def __init__(self, viewer: ViewerModel, desk: Desk) -> None:
        self.viewer, self.desk = viewer, desk
        self.key: CaseKey | None = None
        self.image: Image | None = None
        self._shell: tuple[Image, Labels] | None = None
        self._left_size: tuple[object, ...] | None = None  # of the frame that the shell has shown
        self._redrawn: list[Layer] = []  # of the shell
        self._aside: dict[CaseKey, list[Layer]] = {}
        self._ahead: dict[CaseKey, tuple[Case, Annotation]] = {}

    @property
    def case_id(self) -> str | None:
        """The frame that is open."""
        return None if self.key is None else self.key.case_id

    @property
    def reader(self) -> str | None:
        """Who gives a second reading of it."""
        return None if self.key is None else self.key.reader

    def has_aside(self, key: CaseKey) -> bool:
        """Tell whether a frame was put aside."""
        return key in self._aside

    def take_from_stash(self, key: CaseKey) -> Labels | None:
        """Show a frame that was put aside, in the place of the one that was left; None where none was.

        Parameters
        ----------
        key : CaseKey
            A second reader never sees the first one's strokes, nor the other way round.
        """
        self.key = key
        layers = self._aside.pop(key, None)
        if layers is None:
            return None
        image, labels = layers[0], next(layer for layer in layers if isinstance(layer, Labels))
        shell = self._shell_there()
        if shell is not None and _is_like(shell[0], image.rgb) and _single(layers):
            self.desk.hand_over(labels, *shell)
            with at_once(self.viewer, shell):
                _move(image, shell[0])
                _move(labels, shell[1])
            exchange_strokes(labels, shell[1])
            layers[:2] = shell
        else:
            self._drop_shell()
            for layer in layers[: layers.index(labels) + 1]:
                self.viewer.add_layer(layer)
        self.image, labels = layers[0], layers[1]
        for layer in layers[1:]:
            link(layer, self.image)
            if layer not in self.viewer.layers:
                self.viewer.add_layer(layer)
        return labels

    def show(self, known: Annotation) -> Generator[None, None, Labels]:
        """Show a frame with masks; :meth:`take_from_stash` said which one it is."""
        data, options, _ = frame_to_layer(known.frame)
        shell = self._shell_there()
        if shell is not None and _is_like(shell[0], options["rgb"]):
            self.image, labels = shell
            with at_once(self.viewer, shell):
                _put(self.image, data, options)
                _put(labels, known.instances.copy(), cine_to_layer(self.image)[1])
            link(labels, self.image)
            labels.features, labels.selected_label = {}, 1
            exchange_strokes(labels, None)
        else:
            self._drop_shell()
            self.image = Image(data, **options)
            self.viewer.add_layer(self.image)
            yield
            labels = add_mask(self.viewer, self.image, known.instances)
        return labels

    def read(self, folder: TrainingFolder, case_id: str, second_reader: str | None) -> Annotation:
        """Read what :func:`known_annotation` says of a frame, or take what was read ahead of it.

        Raises
        ------
        DatasetError
            If the frame's files are damaged or missing.
        """
        case, known = self._ahead.get(CaseKey(folder.path, case_id), (None, None))
        if known is None or second_reader is not None or folder.case(case_id) != case:
            known = known_annotation(folder, case_id, second_reader)
        return known

    def take_ahead(self, found: dict[CaseKey, tuple[Case, Annotation]]) -> None:
        """Keep the frames that were read beside the window; see :func:`read_ahead`."""
        self._ahead = found

    def leave(self, keep: bool) -> None:
        """Take leave of the open frame, or put it aside; its layers may serve the next one.

        Work on it has no place on these layers any more, though they show it until the next one comes.
        """
        image, self.image = self.image, None
        key, self.key = self.key, None
        shell = self._shell_there()
        if image is None and shell is not None:
            self.desk.hand_over(shell[1])  # it was left before, for a frame that did not come
            return
        self._shell, self._left_size, self._redrawn = None, None, []
        if image is None or image not in self.viewer.layers:
            return
        left_event(image)()
        layers = [image, *nodes_of(self.viewer, image)]
        layers += [layer for layer in layers_of(image, self.viewer.layers) if layer not in layers]
        again = [layer for layer in layers if layer.metadata.get(KEY) in REDRAWN]
        if _single(layers) and not lie_apart(image, layers[1]):
            self._shell, self._redrawn = (layers[0], layers[1]), again
            self._left_size = _size(self._shell[0])
            for layer in again:
                if layer.visible and layer.metadata[KEY] == LayerKind.SKETCH:
                    layer.visible = False
            if keep:
                layers[:2] = self._stand_ins(*self._shell)
            else:
                self.desk.hand_over(layers[1])
        for layer in layers:
            if layer in self.viewer.layers and layer not in (*(self._shell or ()), *self._redrawn):
                self.viewer.layers.remove(layer)
        if keep and key is not None:
            self._aside[key] = [layer for layer in layers if layer not in again]

    def close(self, keep: bool) -> None:
        """Take leave of the open frame, or put it aside; its layers serve no other one."""
        self.leave(keep)
        self._drop_shell()

    def forget(self, folder: Path, case_ids: Collection[str], is_unsaved: Callable[[Image], bool]) -> bool:
        """Let go of frames whose pictures in the folder are others now, but for strokes that it lacks.

        Parameters
        ----------
        folder : Path
        case_ids : collection of str
        is_unsaved : callable
            Tells whether there are such strokes on an image.

        Returns
        -------
        bool
            Whether the open frame was one of them.
        """
        for key in [key for key in self._aside if key.folder == folder and key.case_id in case_ids]:
            if not is_unsaved(self._aside[key][0]):
                for labels in [layer for layer in self._aside.pop(key) if isinstance(layer, Labels)]:
                    self.desk.hand_over(labels)
        here = self.key is not None and self.key.folder == folder and self.key.case_id in case_ids
        if not here or self.image is None or is_unsaved(self.image):
            return False
        self.close(keep=False)
        return True

    def _stand_ins(self, image: Image, labels: Labels) -> tuple[Image, Labels]:
        """Hand what two layers hold over to two others, which no window shows."""
        options = space_of(image) | {"name": image.name, "rgb": image.rgb, "metadata": image.metadata}
        aside = Image(image.data, **options)
        mask = Labels(labels.data.copy(), **space_of(labels), name=labels.name, metadata=labels.metadata)
        mask.selected_label, mask.features = labels.selected_label, labels.features
        self.desk.hand_over(labels, aside, mask)
        exchange_strokes(labels, mask)
        return aside, mask

    def _shell_there(self) -> tuple[Image, Labels] | None:
        """The layers that may serve the next frame; None where a script has removed one meanwhile."""
        there = self._shell is not None and all(layer in self.viewer.layers for layer in self._shell)
        return self._shell if there else None

    def _drop_shell(self) -> None:
        for layer in (*(self._shell or ()), *self._redrawn):
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        self._shell, self._redrawn = None, []

    def fit(self) -> None:
        """Show all of a frame that lies elsewhere than the one before, and lay what is redrawn on it."""
        image = self.image
        assert image is not None
        if self._left_size == _size(image):
            return
        if self._redrawn:
            with at_once(self.viewer, self._redrawn):
                for layer in self._redrawn:
                    lay(layer, space_of(image, 2))
        fit_view(self.viewer, [image])


def read_ahead(folder: TrainingFolder, case_ids: Sequence[str]) -> dict[CaseKey, tuple[Case, Annotation]]:
    """Read frames that may be opened next, each with its case; damaged ones are left out."""
    found = {}
    for case_id in case_ids:
        with suppress(ClnError):
            case = folder.case(case_id)
            found[CaseKey(folder.path, case_id)] = case, known_annotation(folder, case_id, None)
    return found


def _single(layers: Sequence[Layer]) -> bool:
    """Tell whether there is one image with one mask, both of one frame."""
    masks = [layer for layer in layers if isinstance(layer, Labels) and layer.metadata.get(KEY) not in BESIDE]
    return len(masks) == 1 and layers[0].ndim == masks[0].ndim == 2


def _is_like(image: Image, rgb: bool) -> bool:
    return image.rgb == rgb and not image.multiscale


def _size(layer: Layer) -> tuple[object, ...]:
    """Size and place in the world, to compare."""
    return (*layer.extent.world.ravel().tolist(), *map(str, layer.units))


def _put(layer: Layer, data: NDArray[np.uint8], options: Mapping[str, Any]) -> None:
    """Let a layer show other data, with their name, place and metadata; what else was set of it stays."""
    layer.metadata = options["metadata"]
    layer.data = data
    lay(layer, dict(options))
    layer.name = options["name"]


def _move(source: Layer, goal: Layer) -> None:
    """Let a layer show what another one holds."""
    _put(goal, source.data, space_of(source) | {"name": source.name, "metadata": source.metadata})
    if isinstance(source, Labels):
        goal.features, goal.selected_label = source.features, source.selected_label


# ------------------------------------------------------------ beside a mask: difference, other outlines


def chosen_labels(viewer: ViewerModel, image: Image, former: PaintedMask | None) -> Labels | None:
    """The Labels layer that strokes go to: the selected one, the one at work, else the newest."""
    found = nodes_of(viewer, image)
    active = viewer.layers.selection.active
    if isinstance(active, Labels) and active not in found and KEY not in active.metadata:
        # A layer that napari made belongs to the image of its size.
        own = image_of(active, viewer.layers) is image and active.data.dtype.kind in "ui"
        if own and active.ndim == image.ndim:
            link(active, image)
            found = [active, *found]
    if active in found:
        return active
    if former is not None and former.labels in found:
        return former.labels
    shown = [labels for labels in found if labels.visible and labels.opacity > 0]
    return (shown or found or [None])[0]


def show_difference(viewer: ViewerModel, mask: PaintedMask | None) -> None:
    """Show what was added to and taken from the given mask, or hide it."""
    masks = None if mask is None else _difference(mask)
    _show_beside(viewer, mask, LayerKind.DIFFERENCE, masks, "added (green), removed (pink)", (GREEN, PINK))


def show_reading(viewer: ViewerModel, mask: PaintedMask | None, reading: Annotation | None) -> None:
    """Show the outline of another reader's masks, or hide it."""
    masks = None if mask is None or reading is None else reading.mask.view(np.uint8)
    name = "" if reading is None else f"outline of {reading.annotator}"
    _show_beside(viewer, mask, LayerKind.READING, masks, name, (PINK,))
    for layer in viewer.layers:
        if layer.metadata.get(KEY) == LayerKind.READING:
            layer.contour = 2


def _show_beside(
    viewer: ViewerModel,
    mask: PaintedMask | None,
    kind: LayerKind,
    masks: NDArray[np.uint8] | None,
    name: str,
    colours: tuple[str, ...],
) -> None:
    """Show masks beside the one in view. The layer is kept and hidden: napari takes 0.4 s to remove one."""
    image = None if mask is None or masks is None else mask.image
    own = None
    for layer in viewer.layers:
        if layer.metadata.get(KEY) == kind:
            if image is not None and layer.metadata[IMAGE_KEY] == image.unique_id:
                own = layer
            elif layer.visible:
                layer.visible = False
    if image is None:
        return
    if own is not None:
        lay(own, space_of(image, 2))
        own.data, own.name = masks, name
        if not own.visible:
            own.visible = True
        return
    colormap: dict[int | None, str] = {None: colours[0], 0: CLEAR}
    active = viewer.layers.selection.active
    layer = Labels(
        masks,
        name=name,
        colormap=colormap | dict(enumerate(colours, start=1)),
        opacity=0.8,
        metadata={KEY: kind},
        **space_of(image, 2),
    )
    link(layer, image)
    viewer.add_layer(layer)
    viewer.layers.selection.active = active


def _difference(mask: PaintedMask) -> NDArray[np.uint8]:
    """1 where a mask was added to what was given, 2 where it was taken away, uint8 (H, W)."""
    masks = mask.masks > 0
    base = masks if mask.given.masks is None else mask.given.masks.unpack() > 0
    changed: NDArray[np.uint8] = (masks & ~base) * np.uint8(1) + (base & ~masks) * np.uint8(2)
    return changed
