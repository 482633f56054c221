"""Frames of a training folder with their reference masks: as layers, and as small pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QGridLayout, QToolButton, QWidget
from scipy.ndimage import binary_dilation

from ..._layers import KEY, LayerKind, frame_to_layer
from ...errors import ClnError
from ...folder.dataset import TrainingFolder
from ...study.matching import reference_instances
from ...types import Frame
from .parts import Signal
from .worker import Work

IN_A_ROW, MOST = 4, 8
THUMBNAIL = (48, 64)
OUTLINE = (240, 228, 66)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceFrame:
    """A frame of a training folder with its reference masks."""

    id: str
    frame: Frame
    instances: NDArray[np.uint8] | None


def read_frame_of(folder: Path, case_id: str) -> ReferenceFrame:
    """Read one frame of a training folder.

    Raises
    ------
    DatasetError
        If the folder or the frame can't be read.
    """
    study = TrainingFolder.open(folder)
    case = study.case(case_id)
    return ReferenceFrame(
        id=case_id,
        frame=study.read_frame(case),
        instances=reference_instances(case, study.read_instances),
    )


def reference_layers(stored: ReferenceFrame) -> list[Layer]:
    """Return the frame as an Image, with its reference masks as Labels to look at in the same place."""
    data, options, _ = frame_to_layer(stored.frame)
    layers: list[Layer] = [Image(data, **options)]
    if stored.instances is not None:
        masks = Labels(stored.instances, name=f"{stored.id} reference", **place_of(options))
        masks.metadata[KEY] = LayerKind.REFERENCE
        masks.editable = False
        layers.append(masks)
    return layers


def place_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a layer's options that says where it lies, for a layer on the same place."""
    return {key: options[key] for key in ("scale", "translate", "units", "axis_labels") if key in options}


def _read_pictures(folder: Path, ids: Sequence[str]) -> list[tuple[str, NDArray[np.uint8]]]:
    pictures = []
    for id_ in ids:
        with suppress(ClnError):
            stored = read_frame_of(folder, id_)
            pictures.append((id_, _picture(stored)))
    return pictures


def _picture(stored: ReferenceFrame) -> NDArray[np.uint8]:
    """Thumbnail with the reference's outline, uint8 (48, 64, 3)."""
    picture = thumbnail(stored.frame)
    if stored.instances is not None:
        mask = thumbnail(Frame(pixels=(stored.instances > 0).astype(np.uint8)))[..., 0] > 0
        picture[binary_dilation(mask) & ~mask] = OUTLINE
    return picture


def thumbnail(frame: Frame) -> NDArray[np.uint8]:
    """Small picture, uint8 (48, 64, 3): whole pixels, letterboxed."""
    height, width = frame.shape
    step = max(height / THUMBNAIL[0], width / THUMBNAIL[1])
    rows = (np.arange(max(int(height / step), 1)) * step).astype(int)
    columns = (np.arange(max(int(width / step), 1)) * step).astype(int)
    picture = frame.pixels[rows][:, columns]
    if picture.ndim == 2:
        picture = np.repeat(picture[..., np.newaxis], 3, axis=2)
    canvas = np.zeros((*THUMBNAIL, 3), dtype=np.uint8)
    top, left = (THUMBNAIL[0] - picture.shape[0]) // 2, (THUMBNAIL[1] - picture.shape[1]) // 2
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def picture_of(pixels: NDArray[np.uint8]) -> QPixmap:
    """Return a thumbnail, uint8 (H, W, 3), as Qt draws it."""
    height, width, _ = pixels.shape
    image = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    return QPixmap.fromImage(image.copy())


class WorstFrames(QWidget):
    """Pictures of the frames, the worst first; a click asks to see one."""

    frame_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.ids: tuple[str, ...] = ()
        self.buttons: list[QToolButton] = []
        self._work: Work | None = None
        self._wanted: tuple[Path, tuple[str, ...]] | None = None
        self._asked: tuple[Path, tuple[str, ...]] | None = None
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(2)
        self._grid.setAlignment(Qt.AlignmentFlag.AlignLeft)

    def show_frames(self, folder: Path, ids: Sequence[str]) -> None:
        """Read the frames in a thread, and show them when they are there."""
        wanted = (folder, tuple(ids[:MOST]))
        if wanted == self._wanted:
            return
        self._wanted = wanted
        if self._work is None:
            self._read()

    def _read(self) -> None:
        assert self._wanted is not None
        self._asked = self._wanted
        self._work = Work(self, _read_pictures, *self._asked)
        self._work.done.connect(self._fill)
        self._work.ended.connect(self._idle)
        self._work.start()

    def _idle(self) -> None:
        self._work = None
        if self._wanted != self._asked:
            self._read()

    def _fill(self, pictures: Sequence[tuple[str, NDArray[np.uint8]]]) -> None:
        for made in self.buttons:
            made.deleteLater()
        self.buttons, self.ids = [], tuple(id_ for id_, _ in pictures)
        for place, (id_, picture) in enumerate(pictures):
            made = QToolButton()
            made.setIcon(QIcon(picture_of(picture)))
            made.setIconSize(QSize(*THUMBNAIL[::-1]))
            made.setToolTip(f"{id_}: number {place + 1} from the worst. Click to open it.")
            made.clicked.connect(lambda _=False, id_=id_: self.frame_chosen.emit(id_))
            self._grid.addWidget(made, *divmod(place, IN_A_ROW))
            self.buttons.append(made)
