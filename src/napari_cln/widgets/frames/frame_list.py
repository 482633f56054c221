"""List of frames and cines, drawn lazily: a row is read when it comes into view."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QRect,
    QSize,
    Qt,
    QTimer,
)
from qtpy.QtGui import QColor, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from ...errors import FrameReadError
from ...io.sources import open_source
from ...types import Frame
from ..common.parts import Signal
from ..common.reference_frames import picture_of, thumbnail
from ..common.theme import ACCENT, ThemeColours
from ..common.worker import Work

Index: TypeAlias = QModelIndex | QPersistentModelIndex

STATUS_ROLES = {"malignant": "malignant", "benign": "benign", "painted": "painted", "can't": "bad"}
SOURCES = {
    "dicom-region": "DICOM",
    "dicom-pixel-spacing": "DICOM, pixel spacing",
    "tiff-imagej": "TIFF",
    "volume": "NRRD or NIfTI",
    "typed": "(typed)",
}
AT_ONCE = 12
"""Rows read before the list looks again which ones are in view."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """Thumbnail, size and spacing of a file; ``error`` where it can't be read."""

    thumbnail: NDArray[np.uint8] | None = None
    text: str = ""
    details: str = ""
    error: str | None = None


def read_facts(paths: Sequence[Path]) -> Iterator[tuple[Path, Facts]]:
    """Read the first frame of each file; a file that can't be read gives its reason."""
    for path in paths:
        try:
            with open_source(path) as source:
                frame, warnings = source[0], source.warnings
        except FrameReadError as error:
            yield path, Facts(error=str(error))
            continue
        height, width = frame.shape
        length = f" ×{frame.n_frames}" if frame.n_frames > 1 else ""
        notes = [frame.spacing_note or "", *warnings, *frame.warnings]
        yield (
            path,
            Facts(
                thumbnail=thumbnail(frame),
                text=f"{width}×{height}{length} · {spacing_text(frame)}",
                details="\n".join(dict.fromkeys(note for note in notes if note)),
            ),
        )


def spacing_text(frame: Frame) -> str:
    """Millimetres per pixel and their source, in a few words."""
    if frame.spacing_mm is None:
        return "mm by region" if frame.regions else "no mm"
    row_mm, column_mm = frame.spacing_mm
    size = f"{row_mm:.3f}" if abs(row_mm - column_mm) < 5e-4 else f"{row_mm:.3f}×{column_mm:.3f}"
    return f"{size} mm {SOURCES[frame.spacing_source or 'typed']}"


@dataclass
class FileRow:
    """A file in the list."""

    path: Path
    facts: Facts | None = None
    picture: QPixmap | None = None
    status: str = ""


class FrameList(QAbstractListModel):
    """Rows of files; facts and thumbnails arrive from a worker thread."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.rows: list[FileRow] = []
        self._numbers: dict[Path, int] = {}
        self._wanted: dict[int, None] = {}
        self._work: Work | None = None

    def add(self, paths: Iterable[Path]) -> int:
        """Append files that are not listed yet; return how many."""
        new = [path for path in dict.fromkeys(paths) if path not in self._numbers]
        if new:
            self.beginInsertRows(QModelIndex(), len(self.rows), len(self.rows) + len(new) - 1)
            for path in new:
                self._numbers[path] = len(self.rows)
                self.rows.append(FileRow(path))
            self.endInsertRows()
        return len(new)

    def set_status(self, path: Path, status: str) -> None:
        """Change what a row says of its file."""
        number = self._numbers.get(path)
        if number is not None and self.rows[number].status != status:
            self.rows[number].status = status
            self._changed(number)

    def rowCount(self, parent: Index | None = None) -> int:  # Qt's name
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self.rows[index.row()]
        if row.facts is None and role == Qt.ItemDataRole.DecorationRole:
            self._want(index.row())
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return row.path.name
            case Qt.ItemDataRole.DecorationRole:
                return row.picture
            case Qt.ItemDataRole.ToolTipRole if row.facts is not None:
                return row.facts.error or row.facts.details or None
            case Qt.ItemDataRole.UserRole:
                return row
        return None

    def _want(self, number: int) -> None:
        self._wanted.pop(number, None)
        self._wanted[number] = None
        if self._work is None:
            QTimer.singleShot(0, self._read)

    def _read(self) -> None:
        """Read the rows asked for last: those in view. Older wishes were scrolled past."""
        if self._work is not None or not self._wanted:
            return
        numbers = list(self._wanted)[-AT_ONCE:]
        self._wanted.clear()
        paths = [self.rows[number].path for number in numbers if number < len(self.rows)]
        self._work = Work(self, read_facts, paths)
        self._work.stepped.connect(self._take)
        self._work.ended.connect(self._next)
        self._work.start()

    def _take(self, item: tuple[Path, Facts]) -> None:
        path, facts = item
        number = self._numbers.get(path)
        if number is None:
            return
        row = self.rows[number]
        row.facts = facts
        if facts.error is not None:
            row.status = "can't be read"
        if facts.thumbnail is not None:
            row.picture = picture_of(facts.thumbnail)
        self._changed(number)

    def _next(self) -> None:
        self._work = None
        self._read()

    def _changed(self, number: int) -> None:
        index = self.index(number)
        self.dataChanged.emit(index, index)


class FrameView(QListView):
    """The list on screen."""

    chosen = Signal(int)

    def __init__(self, frames: FrameList) -> None:
        super().__init__()
        self._painter = _RowPainter(self)
        self.setModel(frames)
        self.setItemDelegate(self._painter)
        self.setUniformItemSizes(True)
        self.setMinimumHeight(220)
        self.selectionModel().currentChanged.connect(self._tell)

    def show_row(self, number: int) -> None:
        """Mark a row; -1 marks none."""
        if number != self.currentIndex().row():
            self.setCurrentIndex(self.model().index(number, 0))

    def wear(self, colours: ThemeColours) -> None:
        """Take the colours of a theme."""
        self._painter.colours = colours
        # On napari's own ground of lists, quieter texts could not be read.
        self.setStyleSheet(f"FrameView {{ background: {colours.background}; }}")
        self.viewport().update()

    def _tell(self, current: QModelIndex, _previous: QModelIndex) -> None:
        if current.isValid():
            self.chosen.emit(current.row())


class _RowPainter(QStyledItemDelegate):
    """Thumbnail, name, facts and status of a row."""

    colours: ThemeColours | None = None

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:  # Qt's name
        return QSize(240, 58)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        row: FileRow = index.data(Qt.ItemDataRole.UserRole)
        picture = index.data(Qt.ItemDataRole.DecorationRole)
        area, colours = option.rect, self.colours
        if colours is None:
            return
        painter.save()
        painter.fillRect(area, QColor(colours.background))
        if option.state & QStyle.StateFlag.State_Selected:
            painter.setPen(QPen(QColor(ACCENT), 2))
            painter.drawRect(area.adjusted(1, 1, -2, -2))
        place = QRect(area.left() + 5, area.top() + 5, 64, 48)
        painter.fillRect(place, QColor("black"))
        if picture is not None:
            painter.drawPixmap(place, picture)
        facts = "" if row.facts is None else row.facts.text
        status = getattr(colours, STATUS_ROLES.get(row.status.split(" ")[0], "quiet"))
        middle, right = Qt.TextElideMode.ElideMiddle, Qt.TextElideMode.ElideRight
        lines = (
            (row.path.name, colours.text, 0, middle),
            (facts, colours.quiet, -1, right),
            (row.status, status, -1, right),
        )
        font = painter.font()
        for line, (text, colour, smaller, cut) in enumerate(lines):
            font.setPointSizeF(option.font.pointSizeF() + smaller)
            painter.setFont(font)
            painter.setPen(QColor(colour))
            place = QRect(area.left() + 77, area.top() + 4 + 17 * line, area.width() - 82, 17)
            shown = painter.fontMetrics().elidedText(text, cut, place.width())
            painter.drawText(place, Qt.AlignmentFlag.AlignVCenter, shown)
        painter.restore()
