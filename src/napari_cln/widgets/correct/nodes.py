"""The nodes as they are seen: a table of what is known of each, and a button for each of their tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor, QWheelEvent
from qtpy.QtWidgets import QComboBox, QGridLayout, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from ..._layers.predictions import NODE_COLOURS
from ...annotation import Node
from ...errors import counted
from ..common.parts import Signal, button, pass_keys_on
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


@dataclass(frozen=True, kw_only=True)
class NodeTool:
    """A tool as it is offered: its name, words on its button, key, and words about it."""

    name: str
    title: str
    key: str
    tip: str


TOOLS = (
    NodeTool(
        name="calipers",
        title="Calipers",
        key="Shift-C",
        tip="Drag the long axis of a node, then the short one: its outline follows. Shift: a box",
    ),
    NodeTool(
        name="split",
        title="Split",
        key="Shift-T",
        tip="Draw a line across the node; one in several parts becomes a node each",
    ),
    NodeTool(
        name="merge", title="Merge", key="Shift-M", tip="Make one of the chosen nodes, or with the nearest"
    ),
    NodeTool(name="delete", title="Delete", key="Shift-E", tip="Erase the node"),
    NodeTool(name="fill", title="Fill holes", key="Shift-H", tip="Fill the holes of the node"),
    NodeTool(name="smooth", title="Smooth", key="Shift-O", tip="Smooth its border; the area stays"),
    NodeTool(name="part", title="One part", key="Shift-P", tip="Keep the largest part of the node"),
    NodeTool(
        name="carry",
        title="Carry on",
        key="Shift-G",
        tip="Carry this mask to the next frames along the motion, as predictions",
    ),
    NodeTool(
        name="interpolate",
        title="Fill between",
        key="Shift-I",
        tip="Make the masks between two corrected frames, as predictions",
    ),
)
OF_CINES = ("carry", "interpolate")
"""Tools that are for cines alone."""
BURNED_TIP = (
    "Outline what was measured: each node in turn. Enter keeps it, Esc ends it. A line alone is taken for a "
    "long axis: if it is a short one, draw the other across it; if it is another distance, press Esc"
)


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

    def show_nodes(self, nodes: Mapping[int, Node]) -> None:
        """List the painted nodes, by their ids, with what is known of them."""
        nodes = dict(nodes)
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
        pass_keys_on(self)

    def wheelEvent(self, event: QWheelEvent) -> None:  # Qt's name
        event.ignore()


class ToolButtons(QWidget):
    """A button for each tool."""

    used = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        self.buttons = {}
        self.burned = button("", BURNED_TIP)
        grid.addWidget(self.burned, 3, 0, 1, 4)
        for place, tool in enumerate(TOOLS):
            made = button(tool.title, tool.tip)
            made.clicked.connect(lambda _=False, name=tool.name: self.used.emit(name))
            if tool.name in OF_CINES:
                grid.addWidget(made, 2, 2 * OF_CINES.index(tool.name), 1, 2)
            else:
                grid.addWidget(made, place // 4, place % 4)
            self.buttons[tool.name] = made
        self.show_state(is_cine=False)

    def show_state(self, *, is_cine: bool, n_burned: int = 0, n_alone: int = 0) -> None:
        """Offer the tools that are for the image in view, and the calipers, some alone, burned into it."""
        for name in OF_CINES:
            self.buttons[name].setVisible(is_cine)
        self.burned.setVisible(n_burned > 0)
        what = f"{counted(n_burned, 'caliper')} on this frame"
        if 0 < n_alone < n_burned:
            what += f", {n_alone} as a long axis" if n_alone == 1 else f", {n_alone} as long axes"
        use = "use it" if n_burned == 1 else "use them"
        if n_alone == n_burned:
            use += " as a long axis" if n_burned == 1 else " as long axes"
        self.burned.setText(f"{what}: {use}?")

    def show_busy(self, busy: bool) -> None:
        """Let the button of a carry that is under way stop it."""
        self.buttons["carry"].setText("Stop here" if busy else "Carry on")
        self.buttons["interpolate"].setEnabled(not busy)
