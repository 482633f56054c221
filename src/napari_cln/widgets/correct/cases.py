"""Frames of the training folder on the canvas, and their saved masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from ..._layers import cine_to_layer, frame_to_layer, layers_of, link
from ...errors import DatasetError
from ...folder.dataset import TrainingFolder
from ...folder.readers import read_annotation, read_reading, readers_of
from ...types import Annotation, Frame
from ..common.in_view import fit_view
from ..common.results import nodes_of
from ..common.stash import LayerStash

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from .painted import PaintedMask


def add_mask(viewer: ViewerModel, image: Image, masks: NDArray[np.uint8] | None = None) -> Labels:
    """Add a Labels layer for an Image, with masks of its frame or empty, ready to paint on."""
    data, options, _ = cine_to_layer(image)
    labels = Labels(data if masks is None else masks.copy(), **options)
    link(labels, image)
    viewer.add_layer(labels)
    labels.mode = "paint"
    return labels


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


class CaseOpener:
    """Opens one frame of the training folder at a time.

    Frames with strokes are put aside as they are, so that their undo history is still there when
    they come back.

    Attributes
    ----------
    case_id : str, optional
        The frame that is open.
    image : napari.layers.Image, optional
        Its layer.
    reader : str, optional
        Who gives a second reading of it.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.case_id: str | None = None
        self.image: Image | None = None
        self.reader: str | None = None
        self._place = Path()
        self._stash = LayerStash(viewer)

    def has_aside(self, case_id: str, second_reader: str | None) -> bool:
        """Tell whether a frame was put aside."""
        return _place(case_id, second_reader) in self._stash

    def take_from_stash(self, case_id: str, second_reader: str | None, keep: bool) -> Labels | None:
        """Show a frame that was put aside, in the place of the open one; None where none was.

        Parameters
        ----------
        case_id : str
        second_reader : str, optional
            Who gives a second reading: they never see the first one's strokes, nor the other way round.
        keep : bool
            Whether the frame that is open now is to be put aside.
        """
        self.close(keep)
        self._place = _place(case_id, second_reader)
        self.reader = second_reader
        self.case_id, self.image = case_id, self._stash.take(self._place)
        return nodes_of(self.viewer, self.image)[0] if self.image is not None else None

    def show(self, known: Annotation) -> Labels:
        """Show a frame with masks; :meth:`take_from_stash` said which one it is."""
        data, options, _ = frame_to_layer(known.frame)
        self.image = Image(data, **options)
        self.viewer.add_layer(self.image)
        labels = add_mask(self.viewer, self.image, known.instances)
        fit_view(self.viewer, [self.image])
        return labels

    def close(self, keep: bool) -> None:
        """Take the frame that is open off the viewer."""
        if self.image is not None and self.image in self.viewer.layers:
            if keep:
                self._stash.put(self._place, self.image)
            else:
                for layer in [*layers_of(self.image, self.viewer.layers), self.image]:
                    self.viewer.layers.remove(layer)
        self.image = self.case_id = self.reader = None


def _place(case_id: str, second_reader: str | None) -> Path:
    return Path(case_id) / (second_reader or "")
