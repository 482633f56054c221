"""Frames that are worth the next minute: a short list with reasons, made beside the window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari.layers import Image
from qtpy.QtCore import QObject, Qt
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QWidget

from ..._layers import frame_from_layer, frame_layers, frames_from_layer
from ...folder.dataset import TrainingFolder
from ...folder.queue import Suggestion
from ...study.reading import Reading
from ...types import Frame
from ...workflow.queue import Candidate, suggest_frames
from ..common.failures import words_of
from ..common.parts import Signal, button, stacked
from ..common.results import readings_in
from ..common.worker import Work

if TYPE_CHECKING:
    from .session import Session


@dataclass(frozen=True, kw_only=True, eq=False)
class Spot:
    """A suggested frame: of the training folder (``case_id``), or in an Image layer.

    ``frame`` is that of a frame of the folder that was open: its layer may show another one since.
    """

    key: str
    title: str
    case_id: str | None = None
    image: Image | None = None
    index: int = 0
    reading: Reading | None = None
    frame: Frame | None = None


class Suggestions(QObject):
    """Looks through the open images and the training folder."""

    busy = Signal(bool)  # whether it looks now
    found = Signal(object)  # sentences by Spot
    failed = Signal(str)  # a sentence

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self._work: Work | None = None

    def look(self) -> None:
        """Rank the frames, the most urgent first."""
        if self._work is not None:
            return
        spots, folder = list(self._spots()), self._session.folder
        self._work = Work(self, _suggest, spots, folder)
        self._work.done.connect(lambda found: self._take(folder, spots, found))
        self._work.failed.connect(lambda error: self.failed.emit(words_of(error)))
        self._work.ended.connect(self._end)
        self.busy.emit(True)
        self._work.start()

    def go_to(self, spot: Spot) -> None:
        """Show a suggested frame."""
        session = self._session
        if spot.case_id is not None:
            session.open_case(spot.case_id)
        elif spot.image in session.viewer.layers:
            session.navigator.show_frame(spot.image, spot.index)

    def _spots(self) -> Iterator[Spot]:
        viewer, cases = self._session.viewer, self._session.navigator.cases
        for image in frame_layers(viewer.layers):
            for index, reading in readings_in(viewer, image).items():
                if not self._is_judged(image, index):
                    title = f"{image.name}, frame {index + 1}" if image.ndim == 3 else str(image.name)
                    key = f"{image.unique_id}/{index}"
                    spot = Spot(key=key, title=title, image=image, index=index, reading=reading)
                    if image is cases.image:
                        frame = frame_from_layer(image, index)
                        spot = replace(spot, case_id=cases.case_id, image=None, frame=frame)
                    yield spot

    def _is_judged(self, image: Image, index: int) -> bool:
        """Tell whether the reader has said something about a frame in this window."""
        masks = (mask for mask in self._session.desk.of_image(image) if mask.index == index)
        return any(mask.status != "predicted" for mask in masks)

    def _take(
        self, folder: TrainingFolder | None, spots: Sequence[Spot], found: Sequence[Suggestion]
    ) -> None:
        if folder is not self._session.folder:
            return
        known = {spot.key: spot for spot in spots}
        of_folder = {
            one.key: Spot(key=one.key, case_id=one.key, title=f"case {one.key[:6]}") for one in found
        }
        self.found.emit({(of_folder | known)[one.key]: one.why for one in found})

    def _end(self) -> None:
        self._work = None
        self.busy.emit(False)


def _suggest(spots: Sequence[Spot], folder: TrainingFolder | None) -> list[Suggestion]:
    return suggest_frames((_candidate(spot) for spot in spots), folder)


def _candidate(spot: Spot) -> Candidate:
    image, reading, frame = spot.image, spot.reading, spot.frame
    assert reading is not None
    if image is not None:
        (read,) = frames_from_layer(image, [spot.index])
        frame = read if isinstance(read, Frame) else None
    return Candidate(
        key=spot.key,
        reading=reading,
        frame=frame,
        cine=str(image.unique_id) if image is not None and image.ndim == 3 else None,
        index=spot.index,
    )


class SuggestionList(QWidget):
    """Button and list; choosing a row asks for its frame."""

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.look = button("What is worth a look?", "Frames whose correction teaches most, and why")
        self.rows = QListWidget()
        self.rows.setWordWrap(True)
        self.rows.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.rows.setMaximumHeight(170)
        self.rows.hide()
        stacked(self, self.look, self.rows)
        self.rows.itemClicked.connect(self._choose)

    def show_busy(self, busy: bool) -> None:
        """Take no second look while the first is under way."""
        self.look.setEnabled(not busy)

    def forget(self) -> None:
        """List nothing: another training folder is open."""
        self.rows.clear()
        self.rows.hide()

    def show_found(self, found: dict[Spot, str]) -> None:
        """List the frames with their reasons."""
        self.rows.clear()
        for spot, why in found.items():
            item = QListWidgetItem(f"{spot.title}: {why}")
            item.setData(Qt.ItemDataRole.UserRole, spot)
            self.rows.addItem(item)
        if not found:
            self.rows.addItem(QListWidgetItem("Nothing stands out. Segment more frames, or go on in order."))
        self.rows.show()

    def _choose(self, item: QListWidgetItem) -> None:
        spot = item.data(Qt.ItemDataRole.UserRole)
        if spot is not None:
            self.chosen.emit(spot)
