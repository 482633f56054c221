"""Frames of the training folder on the canvas, and their saved masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from ..._layers import cine_to_layer, frame_to_layer, layers_of, link
from ...errors import DatasetError
from ...folder.dataset import TrainingFolder
from ...folder.readers import read_annotation, read_reading, readers_of
from ...types import Annotation, Frame
from ..common.stash import Shelf
from .painted import Work

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["CaseDesk", "in_frame", "put_masks", "saved_masks", "start_empty"]


def start_empty(viewer: ViewerModel, image: Image) -> Labels:
    """Add an empty Labels layer for an Image, ready to paint on."""
    data, options, _ = cine_to_layer(image)
    labels = Labels(data, **options)
    link(labels, image)
    viewer.add_layer(labels)
    labels.mode = "paint"
    return labels


def put_masks(work: Work, masks: NDArray[np.uint8]) -> None:
    """Put masks in the place of a frame's present ones, as one step of undo."""
    changed = np.nonzero(work.masks != masks)
    if not changed[0].size:
        return
    where = changed if work.labels.ndim == 2 else (np.full_like(changed[0], work.index), *changed)
    with work.labels.block_history():
        work.labels.data_setitem(where, masks[changed])


def saved_masks(folder: TrainingFolder, work: Work) -> Annotation:
    """What the training folder says of a frame, in the frame's own pixels.

    Raises
    ------
    DatasetError
        If the folder does not have the frame, or its files are damaged.
    """
    case = folder.case(folder.identify(work.frame))
    return in_frame(folder, read_annotation(folder, case), case.id, work.frame)


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


class CaseDesk:
    """Opens one frame of the training folder at a time.

    Frames with strokes are put aside as they are, so that their undo history is still there when
    they come back.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.case_id: str | None = None
        self.image: Image | None = None
        self._shelf = Shelf(viewer)

    def open(self, folder: TrainingFolder, case_id: str, reader: str | None, keep: bool) -> Work | None:
        """Show a frame with its mask; None where it comes back with its strokes.

        Parameters
        ----------
        folder : TrainingFolder
        case_id : str
        reader : str, optional
            Who gives a second reading: the frame opens with theirs, or empty.
        keep : bool
            Whether the frame that is open now has strokes.

        Raises
        ------
        DatasetError
            If the frame's files are damaged or missing.
        """
        case = folder.case(case_id)
        known = read_annotation(folder, case)
        if reader is not None:
            first = known
            known = Annotation(
                frame=first.frame, instances=np.zeros_like(first.instances), status="predicted"
            )
            if reader in readers_of(folder, case_id):
                known = read_reading(folder, case, reader)
        self.close(keep)
        self.case_id = case_id
        self.image = self._shelf.take(_place(case_id, reader))
        self._place = _place(case_id, reader)
        if self.image is not None:
            self.viewer.layers.selection.active = next(
                layer for layer in layers_of(self.image, self.viewer.layers, "nodes")
            )
            return None
        data, options, _ = frame_to_layer(known.frame)
        self.image = Image(data, **options)
        self.viewer.add_layer(self.image)
        labels = start_empty(self.viewer, self.image)
        labels.data = known.instances.copy()
        self.viewer.layers.selection.active = labels
        self.viewer.reset_view()
        return Work(self.image, labels, 0, known, second=reader is not None)

    def close(self, keep: bool) -> None:
        """Take the frame that is open off the viewer."""
        if self.image is not None and self.image in self.viewer.layers:
            if keep:
                self._shelf.put(self._place, self.image)
            else:
                for layer in [*layers_of(self.image, self.viewer.layers), self.image]:
                    self.viewer.layers.remove(layer)
        self.image = self.case_id = None


def _place(case_id: str, reader: str | None) -> Path:
    # A second reader never sees the first one's strokes.
    return Path(case_id) / (reader or "")
