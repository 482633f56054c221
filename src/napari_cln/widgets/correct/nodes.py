"""Table of the nodes: truth, where the truth comes from, neck level, side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor, QWheelEvent
from qtpy.QtWidgets import QComboBox, QHeaderView, QTableWidget, QTableWidgetItem

from ..._layers.predictions import NODE_COLOURS
from ...types import Node
from ..common.parts import Signal
from ..common.theme import ThemeColours

LEVELS = ("I", "II", "III", "IV", "V", "VI", "VII")
# What a cell says, what it stands for, and the whole of it.
CHOICES: dict[str, tuple[tuple[str, Any, str], ...]] = {
    "truth": (
        ("unknown", "unknown", "The truth is not known"),
        ("benign", "benign", "Benign"),
        ("metastatic", "metastatic", "Metastatic"),
    ),
    "truth_source": (
        ("–", "none", "No source"),
        ("FNA", "fna", "Cytology of a fine-needle aspiration"),
        ("Tg", "tg", "Thyroglobulin in the needle's washout"),
        ("histology", "histology", "Histology"),
        ("follow-up", "follow-up", "Follow-up"),
    ),
    "level": (("–", None, "Neck level not stated"), *((name, name, f"Neck level {name}") for name in LEVELS)),
    "side": (
        ("–", None, "Side not stated"),
        ("L", "left", "Left"),
        ("R", "right", "Right"),
        ("mid", "midline", "Midline"),
    ),
}
TITLES = ("", "Truth", "Source", "Level", "Side")
WIDTHS = (24, 84, 78, 46, 46)


class NodeTable(QTableWidget):
    """A row per node that is painted; ``nodes`` is what the reader says of them.

    The number of a node chooses it for the tools and the brush; Shift or Ctrl chooses several.
    """

    edited = Signal()
    chosen = Signal(object)  # list of ids, by the reader
    asked = Signal(object, object)  # the chosen nodes, and where on the screen their menu is to open

    def __init__(self) -> None:
        super().__init__(0, len(TITLES))
        self.nodes: dict[int, Node] = {}
        self._colours: ThemeColours | None = None
        self.setHorizontalHeaderLabels(TITLES)
        self.verticalHeader().hide()
        self.setSelectionMode(QTableWidget.SelectionMode.ExtendedSelection)
        self.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._ask)
        self.itemSelectionChanged.connect(lambda: self.chosen.emit(self.chosen_nodes))
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        for column, width in enumerate(WIDTHS):
            self.setColumnWidth(column, width)
        self.setStyleSheet("QComboBox { font-size: 11px; padding: 2px 0 2px 3px; min-width: 0; }")
        self._fit()

    def show_nodes(self, ids: Sequence[int], known: Mapping[int, Node]) -> None:
        """List the painted nodes with what is known of them."""
        nodes = {node: known.get(node, Node(id=node)) for node in ids}
        if nodes == self.nodes and self.rowCount() == len(nodes):
            return
        self.nodes = nodes
        self.setRowCount(len(nodes))
        for row, node in enumerate(nodes.values()):
            title = QTableWidgetItem(str(node.id))
            title.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
            self._paint(title)
            self.setItem(row, 0, title)
            for column, name in enumerate(CHOICES, start=1):
                self.setCellWidget(row, column, self._choice(node, name))
        self._fit()

    @property
    def chosen_nodes(self) -> list[int]:
        """Ids of the rows that are chosen, ascending."""
        ids = list(self.nodes)
        rows = sorted({place.row() for place in self.selectedIndexes()})
        return [ids[row] for row in rows if row < len(ids)]

    def mark(self, node: int) -> None:
        """Show which node the brush paints; a choice of several that holds it stays."""
        if node in self.chosen_nodes:
            return
        self.blockSignals(True)
        self.clearSelection()
        if node in self.nodes:
            self.selectRow(list(self.nodes).index(node))
        self.blockSignals(False)

    def _ask(self, place: QPoint) -> None:
        item = self.itemAt(place)
        node = None if item is None else list(self.nodes)[item.row()]
        nodes = self.chosen_nodes
        if node is not None and node not in nodes:
            nodes = [node]
        self.asked.emit(nodes, self.viewport().mapToGlobal(place))

    def wear(self, colours: ThemeColours) -> None:
        """Take the colours of a theme: each number has its node's, such that it can be read."""
        self._colours = colours
        for row in range(self.rowCount()):
            if (title := self.item(row, 0)) is not None:
                self._paint(title)

    def _paint(self, title: QTableWidgetItem) -> None:
        if self._colours is not None:
            colour = NODE_COLOURS.get(int(title.text()), NODE_COLOURS[None])
            title.setForeground(QColor(self._colours.readable(colour)))

    def choice(self, node: int, name: str) -> QComboBox:
        """The field of a node: ``"truth"``, ``"truth_source"``, ``"level"`` or ``"side"``."""
        widget = self.cellWidget(list(self.nodes).index(node), 1 + list(CHOICES).index(name))
        assert isinstance(widget, QComboBox)
        return widget

    def _choice(self, node: Node, name: str) -> QComboBox:
        choice, value = _Choice(), getattr(node, name)
        for title, meaning, tip in CHOICES[name]:
            choice.addItem(title, meaning)
            choice.setItemData(choice.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        if choice.findData(value) < 0:
            choice.addItem(str(value), value)
        choice.setCurrentIndex(choice.findData(value))
        choice.setToolTip(choice.currentData(Qt.ItemDataRole.ToolTipRole) or "")
        choice.currentIndexChanged.connect(lambda _: self._take(node.id, name, choice))
        return choice

    def _take(self, node: int, name: str, choice: QComboBox) -> None:
        self.nodes[node] = replace(self.nodes[node], **{name: choice.currentData()})
        choice.setToolTip(choice.currentData(Qt.ItemDataRole.ToolTipRole) or "")
        self.edited.emit()

    def _fit(self) -> None:
        rows = min(max(self.rowCount(), 1), 4)
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + rows * self.rowHeight(0) + 6)

    def rowHeight(self, row: int) -> int:  # Qt's name
        return super().rowHeight(row) or self.verticalHeader().defaultSectionSize()


class _Choice(QComboBox):
    """A combo box that the wheel scrolls past: no truth changes because someone scrolled the dock."""

    def __init__(self) -> None:
        super().__init__()
        self.view().setMinimumWidth(90)

    def wheelEvent(self, event: QWheelEvent) -> None:  # Qt's name
        event.ignore()
