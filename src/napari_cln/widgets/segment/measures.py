"""Figures of the nodes in view, when they are asked for: radiomics, and how a contrast agent washes in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject

from ..._layers import IMAGE_KEY, KEY, clip_from_layer, image_of, n_frames_of
from ...disk.tables import write_table
from ...errors import ClnError, InputError, counted
from ...imaging.measurement import painted_ids
from ...imaging.perfusion import TimeIntensity, perfusion_of_each
from ...study.reading import digest
from ...workflow.radiomics import radiomics_rows
from ...workflow.segment import CURVE_COLUMNS, WASH_IN_COLUMNS, curve_cells, wash_in_cells
from ..common.failures import words_of
from ..common.in_view import beyond
from ..common.parts import OPEN_FIRST, Signal
from ..common.results import WatchedFrame, nodes_of
from ..common.worker import Work

if TYPE_CHECKING:
    from napari.components import ViewerModel

Scale = tuple[tuple[float, str], ...]

NOTHING_OUTLINED = "Nothing is outlined on this frame. Segment it, or paint a region on a Labels layer."


@dataclass(frozen=True, kw_only=True, eq=False)
class Measures:
    """Figures of the nodes of one frame: a row of a table each, and curves over the frames of its clip.

    Attributes
    ----------
    title : str
    rows : tuple of mapping
        As the command writes them.
    curves : mapping of int to TimeIntensity
        By the number of the node.
    masks : str
        Digest of the masks that were measured.
    """

    title: str
    rows: tuple[Mapping[str, object], ...]
    masks: str
    curves: Mapping[int, TimeIntensity]

    def save(self, path: Path) -> list[str]:
        """Write the table, and that of the curves beside it; return the names of the files.

        Raises
        ------
        ExportError
            If they can't be written.
        """
        write_table(path, list(self.rows[0]), (list(row.values()) for row in self.rows))
        if not self.curves:
            return [path.name]
        beside = path.with_name(f"{path.stem}_curves.csv")
        source = self.rows[0]["source"]
        cells = ((source, node, *row) for node, curve in self.curves.items() for row in curve_cells(curve))
        write_table(beside, ("source", "node", *CURVE_COLUMNS[2:]), cells)
        return [path.name, beside.name]


class Measuring(QObject):
    """Measures nodes beside the window.

    Attributes
    ----------
    is_busy : bool
    """

    changed = Signal()  # there is something else to show
    told = Signal(str, str, object)  # a sentence, its mood, and what it is about

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self.viewer, self.is_busy = viewer, False
        self._found: tuple[WatchedFrame, int, Scale, Measures] | None = None

    def found(self, image: Image | None, index: int | None) -> Measures | None:
        """Return what was measured on a frame; None once its masks or scale are others, or it was left."""
        if image is None or self._found is None:
            return None
        frame, at, scale, measures = self._found
        if frame.image is not image or frame.fault or not _holds(measures, scale, image):
            return None
        masks = self._masks(image, at)
        is_in_view = at == index or bool(measures.curves)  # a curve is of the whole clip
        return measures if is_in_view and masks is not None and digest(masks) == measures.masks else None

    def radiomics(self, image: Image | None, index: int | None) -> None:
        """Measure the texture, the shape and the signs of each node on a frame."""
        self._start(image, index, measure_radiomics)

    def perfusion(self, image: Image | None, index: int | None, dynamic_range_db: float | None) -> None:
        """Follow how a contrast agent washes into each node that is outlined on a frame of a clip."""
        self._start(image, index, measure_perfusion, dynamic_range_db)

    def save(self, measures: Measures, path: Path) -> None:
        """Write a table, and say so."""
        try:
            names = measures.save(path)
        except ClnError as error:
            self.told.emit(str(error), "bad", measures)
        else:
            self.told.emit(f"Saved {' and '.join(names)}.", "good", measures)

    def _start(
        self, image: Image | None, index: int | None, measure: Callable[..., Measures], *arguments: object
    ) -> None:
        if self.is_busy:
            return
        if image is None:
            self.told.emit(OPEN_FIRST, "bad", OPEN_FIRST)
            return
        if index is None:
            self.told.emit(beyond(image), "bad", image)
            return
        masks = self._masks(image, index)
        if masks is None or not masks.any():
            self.told.emit(NOTHING_OUTLINED, "bad", image)
            return
        work = Work(self, measure, image, index, masks.copy(), *arguments, is_task=True)
        work.done.connect(partial(self._take, WatchedFrame(self.viewer, image), index, _scale_of(image)))
        work.failed.connect(lambda error: self.told.emit(words_of(error), "bad", image))
        work.ended.connect(lambda: self._set_busy(False))
        self._set_busy(True)
        self.told.emit("Measuring …", "info", image)
        work.start()

    def _masks(self, image: Image, index: int) -> NDArray[np.uint8] | None:
        """Regions (H, W) on a frame: of the Labels layer that is chosen, else those of its nodes.

        What is chosen counts where it belongs to the image, or to none that is known.
        """
        found, active = nodes_of(self.viewer, image), self.viewer.layers.selection.active
        if isinstance(active, Labels):
            is_free = KEY not in active.metadata and IMAGE_KEY not in active.metadata
            if active in found or (is_free and image_of(active, self.viewer.layers) in (None, image)):
                found = [active, *found]
        for labels in found:
            if labels.data.shape == image.data.shape[: image.ndim]:
                return np.asarray(labels.data[index] if labels.ndim == 3 else labels.data).astype(np.uint8)
        return None

    def _take(self, frame: WatchedFrame, index: int, scale: Scale, measures: Measures) -> None:
        holds = _holds(measures, scale, frame.image)
        if fault := frame.fault or ("" if holds else "the scale is another now"):
            self.told.emit(f"Nothing is measured: {fault}.", "info", frame.image)
            return
        self._found = frame, index, scale, measures
        self.told.emit(f"Measured {counted(len(measures.rows), 'node')}.", "good", frame.image)

    def _set_busy(self, busy: bool) -> None:
        self.is_busy = busy
        self.changed.emit()


def _scale_of(image: Image) -> Scale:
    """Size of a pixel of an Image layer, with its units."""
    return tuple((float(size), str(unit)) for size, unit in zip(image.scale, image.units, strict=True))[-2:]


def _holds(measures: Measures, scale: Scale, image: Image) -> bool:
    """Tell whether figures from a former scale still hold: there are no millimetres in curves over time."""
    return bool(measures.curves) or scale == _scale_of(image)


def measure_radiomics(image: Image, index: int, masks: NDArray[np.uint8]) -> Measures:
    """Measure each node of a frame, as ``napari-cln segment --radiomics`` does.

    Raises
    ------
    ClnError
        If the frame can't be read, or none of its nodes can be measured.
    """
    with clip_from_layer(image) as clip:
        rows, lost = radiomics_rows(clip[index], masks)
    if not rows:
        raise InputError(lost)
    about = {"source": image.name, "frame": index}
    where = f", frame {index + 1}" if n_frames_of(image) > 1 else ""
    title = f"Radiomics{where}" + (f". Not of every node: {lost}" if lost else "")
    return Measures(title=title, rows=tuple(about | row for row in rows), masks=digest(masks), curves={})


def measure_perfusion(
    image: Image, index: int, masks: NDArray[np.uint8], dynamic_range_db: float | None
) -> Measures:
    """Measure how a contrast agent washes into nodes, as ``napari-cln track --perfusion`` does.

    Raises
    ------
    ClnError
        If a frame can't be read, or the clip has no curve over time.
    """
    nodes = painted_ids(masks)
    with clip_from_layer(image) as clip:
        each = [(index, masks == node) for node in nodes]
        try:
            found = perfusion_of_each(clip, each, dynamic_range_db=dynamic_range_db)
        except ValueError as cause:  # and says what is wrong with the clip
            raise InputError(str(cause)) from cause
    curves = dict(zip(nodes, found, strict=True))
    columns = ("source", "node", *WASH_IN_COLUMNS[2:])
    rows = tuple(
        dict(zip(columns, (image.name, node, *wash_in_cells(curve)), strict=True))
        for node, curve in curves.items()
    )
    title = f"Contrast agent, outlined on frame {index + 1}"
    if any(curve.wash_in is None for curve in curves.values()):
        title += ". Figures are left out where no agent comes and goes"
    return Measures(title=title, rows=rows, masks=digest(masks), curves=curves)
