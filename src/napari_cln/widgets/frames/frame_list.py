"""List of frames and cines, drawn lazily: a row is read when it comes into view."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from qtpy.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, QRect, QSize, Qt, QTimer
from qtpy.QtGui import QColor, QImage, QPainter, QPixmap
from qtpy.QtWidgets import QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem
from superqt.utils import create_worker

from ..common.dock import Signal
from ..common.facts import Facts, read_facts

Index: TypeAlias = QModelIndex | QPersistentModelIndex

STATUS_COLOURS = {"malignant": "#ffc27d", "benign": "#a6e3d0", "painted": "#f0e442", "can't": "#ff9b8a"}
AT_ONCE = 12
"""Rows read before the list looks again which ones are in view."""


@dataclass
class FileRow:
    """A file in the list."""

    path: Path
    facts: Facts | None = None
    picture: QPixmap | None = None
    status: str = ""


class FrameList(QAbstractListModel):
    """Rows of files; facts and thumbnails arrive from a worker thread."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[FileRow] = []
        self._numbers: dict[Path, int] = {}
        self._wanted: dict[int, None] = {}
        self._worker: Any = None

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

    def clear(self) -> None:
        """Empty the list."""
        self.beginResetModel()
        self.rows.clear()
        self._numbers.clear()
        self._wanted.clear()
        self.endResetModel()

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
        if self._worker is None:
            QTimer.singleShot(0, self._read)

    def _read(self) -> None:
        """Read the rows asked for last: those in view. Older wishes were scrolled past."""
        if self._worker is not None or not self._wanted:
            return
        numbers = list(self._wanted)[-AT_ONCE:]
        self._wanted.clear()
        paths = [self.rows[number].path for number in numbers if number < len(self.rows)]
        # Not napari's worker: thumbnails are no task to be asked about when the window closes.
        self._worker = create_worker(read_facts, paths, _start_thread=False)
        self._worker.yielded.connect(self._take)
        self._worker.finished.connect(self._next)
        self.destroyed.connect(self._worker.quit)
        self._worker.start()

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
            height, width, _ = facts.thumbnail.shape
            image = QImage(facts.thumbnail.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
            row.picture = QPixmap.fromImage(image.copy())
        self._changed(number)

    def _next(self) -> None:
        self._worker = None
        self._read()

    def _changed(self, number: int) -> None:
        index = self.index(number)
        self.dataChanged.emit(index, index)


class FrameView(QListView):
    """The list on screen."""

    chosen = Signal(int)

    def __init__(self, frames: FrameList) -> None:
        super().__init__()
        self.setModel(frames)
        self.setItemDelegate(_RowPainter(self))
        self.setUniformItemSizes(True)
        self.setMinimumHeight(220)
        self.selectionModel().currentChanged.connect(self._tell)

    def _tell(self, current: QModelIndex, _previous: QModelIndex) -> None:
        if current.isValid():
            self.chosen.emit(current.row())


class _RowPainter(QStyledItemDelegate):
    """Thumbnail, name, facts and status of a row."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:  # Qt's name
        return QSize(240, 58)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        row: FileRow = index.data(Qt.ItemDataRole.UserRole)
        picture = index.data(Qt.ItemDataRole.DecorationRole)
        area: QRect = option.rect
        painter.save()
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        painter.fillRect(area, QColor("#3b4252" if selected else "#00000000"))
        place = QRect(area.left() + 5, area.top() + 5, 64, 48)
        painter.fillRect(place, QColor("black"))
        if picture is not None:
            painter.drawPixmap(place, picture)
        facts = "" if row.facts is None else row.facts.text
        status_colour = STATUS_COLOURS.get(row.status.split(" ")[0], "#9aa5b1")
        middle, right = Qt.TextElideMode.ElideMiddle, Qt.TextElideMode.ElideRight
        lines = (
            (row.path.name, "#f0f1f2", 0, middle),
            (facts, "#9aa5b1", -1, right),
            (row.status, status_colour, -1, right),
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
