"""Which frames are worth the next minute: a short list with reasons, made beside the window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QVBoxLayout, QWidget
from superqt.utils import create_worker

from ..._layers import frame_layers, frames_from_layer
from ...errors import ClnError, DatasetError
from ...folder.dataset import TrainingFolder
from ...folder.decisions import undecided
from ...folder.queue import FrameSigns, Suggestion, appearance, rank, signs_of_case, unlikeness
from ...folder.readers import second_readings
from ...folder.record import case_of
from ...study.reading import Reading
from ...study.statistics.metrics import dice
from ...types import Case, Frame
from ..common.dock import Signal, button
from ..common.results import readings_in

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from .session import Session

Look: TypeAlias = NDArray[np.float32]

N_SHOWN = 8
N_LABELLED = 300
"""Labelled frames that are looked at to tell what is new; ids are hashes, so the first are a fair sample."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Spot:
    """Where a suggested frame is: in an Image layer, or in the training folder (``image`` None)."""

    key: str
    title: str
    image: Image | None = None
    index: int = 0
    reading: Reading | None = None


class SuggestionList(QWidget):
    """Button and list; choosing a row goes to its frame."""

    chosen = Signal(object)
    failed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.look = button("What is worth a look?", "Frames whose correction teaches most, and why")
        self.rows = QListWidget()
        self.rows.setWordWrap(True)
        self.rows.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.rows.setMaximumHeight(170)
        self.rows.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.look)
        layout.addWidget(self.rows)
        self.rows.itemClicked.connect(self._choose)
        self._worker: Any = None

    def start(self, viewer: ViewerModel, session: Session) -> None:
        """Look through the open images and the training folder."""
        if self._worker is not None:
            return
        spots = []
        for image in frame_layers(viewer.layers):
            for index, reading in readings_in(viewer, image).items():
                if not _is_judged(session, image, index):
                    title = f"{image.name}, frame {index + 1}" if image.ndim == 3 else str(image.name)
                    key = f"{image.unique_id}/{index}"
                    spots.append(Spot(key=key, title=title, image=image, index=index, reading=reading))
        self.look.setEnabled(False)
        self._worker = create_worker(find_worthy, spots, session.folder, _start_thread=False)
        self._worker.returned.connect(self._take)
        self._worker.finished.connect(self._end)
        self._worker.start()

    def _take(self, found: list[tuple[Spot, Suggestion]] | ClnError) -> None:
        if isinstance(found, ClnError):
            self.failed.emit(str(found))
            return
        self.rows.clear()
        for spot, suggestion in found:
            item = QListWidgetItem(f"{spot.title}: {suggestion.why}")
            item.setData(Qt.ItemDataRole.UserRole, spot)
            self.rows.addItem(item)
        if not found:
            self.rows.addItem(QListWidgetItem("Nothing stands out. Segment more frames, or go on in order."))
        self.rows.show()

    def _end(self) -> None:
        self._worker = None
        self.look.setEnabled(True)

    def _choose(self, item: QListWidgetItem) -> None:
        spot = item.data(Qt.ItemDataRole.UserRole)
        if spot is not None:
            self.chosen.emit(spot)


def _is_judged(session: Session, image: Image, index: int) -> bool:
    """Whether the reader has said something about a frame in this window."""
    masks = (mask for mask in session.desk.of_image(image) if mask.index == index)
    return any(mask.status != "predicted" for mask in masks)


def find_worthy(
    spots: Sequence[Spot], folder: TrainingFolder | None
) -> list[tuple[Spot, Suggestion]] | ClnError:
    """Rank the frames of open images and of a training folder; runs in a worker thread."""
    try:
        known = {spot.key: spot for spot in spots}
        looks, labelled = _looks_of_layers(spots), []
        cases = [] if folder is None else list(_cases(folder))
        if folder is not None:
            finished = [case for case, _ in cases if case.mask is not None]
            waiting = [case for case, _ in cases if case.status == "predicted"]
            labelled = [appearance(folder.read_image(case)) for case in finished[:N_LABELLED]]
            looks |= {case.id: appearance(folder.read_image(case)) for case in waiting[:N_LABELLED]}
        novelty = dict(zip(looks, unlikeness(list(looks.values()), labelled), strict=True))
        signs = [_signs_of_spot(spot, novelty.get(spot.key)) for spot in spots]
        if folder is not None:
            second = second_readings(folder)
            for case, index in cases:
                agreement = _agreement(folder, case.id) if case.id in second else None
                signs.append(
                    signs_of_case(case, index=index, novelty=novelty.get(case.id), agreement=agreement)
                )
                known[case.id] = Spot(key=case.id, title=f"case {case.id[:6]}")
        return [(known[suggestion.key], suggestion) for suggestion in rank(signs, N_SHOWN)]
    except ClnError as error:
        return error


def _cases(folder: TrainingFolder) -> Iterator[tuple[Case, int]]:
    """Every case that can be read, with its spot in its cine."""
    for case_id in folder.ids():
        with suppress(DatasetError):  # `napari-cln check` names what is wrong with it
            record = folder.record(case_id)
            yield case_of(record, folder.layout), record.source.frame


def _looks_of_layers(spots: Sequence[Spot]) -> dict[str, Look]:
    looks = {}
    for spot in spots:
        if spot.image is not None:
            (frame,) = frames_from_layer(spot.image, [spot.index])
            if isinstance(frame, Frame):
                looks[spot.key] = appearance(frame.grey)
    return looks


def _signs_of_spot(spot: Spot, novelty: float | None) -> FrameSigns:
    image, reading = spot.image, spot.reading
    assert image is not None and reading is not None
    return FrameSigns(
        key=spot.key,
        cine=image.unique_id if image.ndim == 3 else None,
        index=spot.index,
        node_scores=reading.node_scores,
        frame_score=reading.frame_score,
        cutoff=reading.cutoff,
        finds_masks=reading.label == "no node found",
        unsure=reading.unsure,
        novelty=novelty,
    )


def _agreement(folder: TrainingFolder, case_id: str) -> float | None:
    """Dice with the reader who differs most; None where there is nothing to decide."""
    overlaps = [dice(pair.first.mask, pair.second.mask) for pair in undecided(folder, case_id)]
    # NaN where neither outlines a node: they differ in the truth alone.
    return min((1.0 if isnan(overlap) else overlap for overlap in overlaps), default=None)
