"""Tools for the nodes of the mask in view: calipers, and edits of one node; each is one step of undo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from qtpy.QtCore import QEvent, QObject, QPoint, Qt
from qtpy.QtGui import QContextMenuEvent, QMouseEvent
from qtpy.QtWidgets import QGridLayout, QMenu, QWidget

from ...compat.window import canvases_of
from ...errors import ClnError, InputError, listed
from ...imaging.editing import (
    Instances,
    delete_node,
    fill_holes,
    free_id,
    keep_part,
    merge_nodes,
    nearest_node,
    nodes_in_parts,
    put_node,
    smooth_node,
    split_node,
)
from ...imaging.measurement import measure
from ...types import Node
from ..common.parts import Signal, button
from ..prompts.calipers import CaliperTool, Kept
from ..prompts.sketch import Sketch
from .painted import PaintedMask, put_masks
from .session import Session

WHICH = "Which node? Click its number in the table, or pick it on the canvas (5)."


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
        key="Shift-L",
        tip="Draw a line across the node; one in several parts becomes a node each",
    ),
    NodeTool(
        name="merge", title="Merge", key="Shift-M", tip="Make one of the chosen nodes, or with the nearest"
    ),
    NodeTool(name="delete", title="Delete", key="Shift-E", tip="Erase the node"),
    NodeTool(name="fill", title="Fill holes", key="Shift-F", tip="Fill the holes of the node"),
    NodeTool(name="smooth", title="Smooth", key="Shift-O", tip="Smooth its border; the area stays"),
    NodeTool(name="part", title="One part", key="Shift-P", tip="Keep the largest part of the node"),
)


class Workbench(QObject):
    """The tools at work on the mask in view.

    Parameters
    ----------
    session : Session

    Attributes
    ----------
    calipers : CaliperTool
    chosen : list of int
        Nodes that are chosen in the table.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self.chosen: list[int] = []
        self.calipers = CaliperTool(session.viewer, self)
        self.calipers.told.connect(session.told)
        self.calipers.kept.connect(self._take_outline)
        self._cut: Sketch | None = None

    def use(self, name: str, nodes: Sequence[int] = (), at: tuple[float, float] | None = None) -> None:
        """Use a tool on nodes: those that are given, chosen in the table, or selected on the layer.

        Parameters
        ----------
        name : str
            Of one of ``TOOLS``.
        nodes : sequence of int, optional
        at : (float, float), optional
            Row and column that were pointed at.
        """
        session = self._session
        if (mask := session.ready(named=False)) is None:
            return
        if name == "calipers":
            if self._cut is not None:
                self._cut.leave(at_once=True)
            self.calipers.start(mask.image, mask.labels, mask.frame, lambda: mask.masks)
            return
        try:
            nodes = list(nodes) or self._aim(mask)
            if name == "split" and nodes[0] not in nodes_in_parts(mask.masks):
                self._draw_cut(mask, nodes[0])
                return
            self._put(mask, *self._edited(name, mask, nodes, at))
        except ClnError as error:
            session.tell(str(error))

    def put_away(self) -> None:
        """Put every tool on the canvas away, and leave nothing of it."""
        for sketch in (self.calipers.sketch, self._cut):
            if sketch is not None:
                sketch.leave(at_once=True)

    def choose(self, nodes: list[int]) -> None:
        """Take what is chosen in the table; the brush paints the first of them."""
        self.chosen = nodes
        mask = self._session.mask
        if mask is not None and nodes and mask.labels.selected_label not in nodes:
            mask.labels.selected_label = nodes[0]

    def node_at(self, position: Sequence[float]) -> tuple[int, tuple[float, float]] | None:
        """The node of the mask in view at a place in the world, and its row and column; None without one."""
        mask = self._session.mask
        if mask is None:
            return None
        at = np.asarray(mask.labels.world_to_data(position))[-2:]
        row, column = np.rint(at).astype(int)
        masks = mask.masks
        inside = 0 <= row < masks.shape[0] and 0 <= column < masks.shape[1]
        node = int(masks[row, column]) if inside else 0
        return (node, (float(at[0]), float(at[1]))) if node else None

    # ------------------------------------------------------------ edits

    def _aim(self, mask: PaintedMask) -> list[int]:
        """The nodes that a tool is for, where none are named."""
        painted = mask.node_ids
        if chosen := [node for node in self.chosen if node in painted]:
            return chosen
        if mask.labels.selected_label in painted:
            return [int(mask.labels.selected_label)]
        if len(painted) == 1:
            return painted
        raise InputError(WHICH if painted else "There is no node yet. Paint one, or take the calipers.")

    def _edited(
        self, name: str, mask: PaintedMask, nodes: list[int], at: tuple[float, float] | None
    ) -> tuple[Instances, int, str]:
        """The masks after an edit, the node to go on with, and words about it."""
        masks = mask.masks.astype(np.uint8)
        if name == "merge":
            return self._merged(mask, masks, nodes)
        if name == "split":
            edited, ids = split_node(masks, nodes[0], None, _used(mask))
            return edited, ids[0], f"Node {ids[0]} is nodes {listed(ids, 9)} now."
        edits: dict[str, tuple[Callable[..., Instances], str]] = {
            "delete": (delete_node, "is deleted"),
            "fill": (fill_holes, "has no holes now"),
            "smooth": (smooth_node, "is smoothed"),
            "part": (partial(keep_part, at=at), "is in one part now"),
        }
        edit, words = edits[name]
        for node in nodes:
            masks = edit(masks, node)
        return masks, nodes[0], f"Node {listed(nodes, 9)} {words}."

    def _merged(self, mask: PaintedMask, masks: Instances, nodes: list[int]) -> tuple[Instances, int, str]:
        if len(nodes) == 1:
            other = nearest_node(masks, nodes[0])
            if other is None:
                raise InputError(f"There is no other node to merge with node {nodes[0]}.")
            nodes = [*nodes, other]
        nodes = sorted(nodes)
        known = [node for node in nodes if _said(mask.given.facts.get(node))]
        if len({_said(mask.given.facts.get(node)) for node in known}) > 1:
            raise InputError(
                f"Other things are known of nodes {listed(known, 9)} (truth, source, level or side).",
                "Make them alike in the table, then merge.",
            )
        edited, node = merge_nodes(masks, nodes, keep=known[0] if known else None)
        return edited, node, f"Nodes {listed(nodes, 9)} are node {node} now."

    def _put(self, mask: PaintedMask, masks: Instances, node: int, words: str) -> None:
        put_masks(mask, masks)
        if node in mask.node_ids:
            mask.labels.selected_label = node
            self.chosen = [node]
        else:
            self.chosen = []
        self._session.told.emit(f"{words} Ctrl+Z takes it back.", "good", mask)
        self._session.refresh()

    # ------------------------------------------------------------ strokes

    def _take_outline(self, kept: Kept) -> None:
        session = self._session
        if (mask := session.ready(named=False)) is None:
            return
        masks = mask.masks.astype(np.uint8)
        try:
            node = free_id(masks, _used(mask)) if kept.replaces is None else kept.replaces
        except ClnError as error:
            session.tell(str(error))
            return
        robbed = {int(one) for one in np.unique(masks[kept.mask])} - {0, node}
        edited = put_node(masks, kept.mask, node)
        words = f"Node {node} is new." if kept.replaces is None else f"Node {node} is outlined anew."
        if robbed:
            words += f" Pixels of node {listed(sorted(robbed))} went to it."
        self._put(mask, edited, node, words)

    def _draw_cut(self, mask: PaintedMask, node: int) -> None:
        """Let the reader draw a line across a node; one across its middle is there to begin with."""
        self.put_away()
        self._cut = cut = Sketch(self._session.viewer, mask.image, mask.labels, lambda _: "cut", self)
        ends = measure(mask.masks == node).short_axis_ends
        assert ends is not None
        one, other = (np.array(end) for end in ends)
        middle, half = (one + other) / 2, 0.75 * (other - one)
        cut.put("cut", [middle - half, middle + half])
        cut.say(f"Draw a line across node {node}\nEnter: cut along this one · Esc: nothing")
        cut.released.connect(lambda _: self._take_cut(cut, node))
        cut.kept.connect(lambda: self._take_cut(cut, node))
        cut.ended.connect(partial(setattr, self, "_cut", None))

    def _take_cut(self, cut: Sketch, node: int) -> None:
        session = self._session
        if cut.is_over or (mask := session.ready(named=False)) is None:
            return
        line = [(float(row), float(column)) for row, column in cut.strokes["cut"]]
        try:
            edited, ids = split_node(mask.masks.astype(np.uint8), node, line, _used(mask))
        except ClnError as error:
            session.tell(str(error))
            return
        cut.leave()
        self._put(mask, edited, ids[0], f"Node {node} is nodes {listed(ids, 9)} now.")


def _used(mask: PaintedMask) -> list[int]:
    """Ids that were a node's before: those that something is known of, and those that were given."""
    given = [] if mask.given.masks is None else np.unique(mask.given.masks.unpack()).tolist()
    return [*mask.given.facts, *given]


def _said(fact: Node | None) -> tuple[Any, ...] | None:
    """What a reader says of a node; None for nothing."""
    if fact is None:
        return None
    said = (fact.truth, fact.truth_source, fact.level, fact.side)
    return None if said == ("unknown", "none", None, None) else said


class NodeMenu(QObject):
    """The tools for a node, as a menu in the table and on the canvas.

    On the canvas the right button opens it on a node; while the brush or the polygon tool is in the hand,
    which use that button themselves, together with Shift.
    """

    def __init__(self, bench: Workbench, session: Session) -> None:
        super().__init__(bench)
        self._bench, self._session = bench, session
        self._watched: list[QObject] = []
        self.menu = QMenu()
        self.destroyed.connect(self.menu.deleteLater)

    def watch(self, dock: QWidget) -> None:
        """Look at the right button on the canvas of a dock's window."""
        for canvas in canvases_of(dock):
            if canvas not in self._watched:
                self._watched.append(canvas)
                canvas.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # Qt's name
        if isinstance(event, QMouseEvent) and event.type() == QEvent.Type.MouseButtonPress:
            mask = self._session.mask
            if event.button() == Qt.MouseButton.RightButton and mask is not None:
                shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
                painting = self._session.viewer.layers.selection.active is mask.labels
                if shift or not (painting and str(mask.labels.mode) in ("paint", "polygon")):
                    found = self._bench.node_at(self._session.viewer.cursor.position)
                    if found is not None:
                        self.open([found[0]], event.globalPosition().toPoint(), found[1])
                        return True
        return isinstance(event, QContextMenuEvent) and self.menu.isVisible()

    def open(self, nodes: list[int], place: QPoint, at: tuple[float, float] | None = None) -> None:
        """Offer the tools for some nodes."""
        mask = self._session.mask
        if mask is None or not nodes:
            return
        self.menu.clear()
        self.menu.addSection(f"Node {listed(nodes, 9)}")
        for tool in TOOLS:
            if tool.name == "merge" and len(nodes) == 1:
                for other in mask.node_ids:
                    if other not in nodes:
                        self._offer(f"Merge with node {other}", "merge", [*nodes, other], at)
            elif tool.name != "calipers":
                keep_here = tool.name == "part" and at is not None
                self._offer("Keep this part only" if keep_here else tool.title, tool.name, nodes, at)
        self.menu.popup(place)

    def _offer(self, title: str, name: str, nodes: list[int], at: tuple[float, float] | None) -> None:
        action = self.menu.addAction(title)
        action.triggered.connect(lambda _=False: self._bench.use(name, nodes, at))


class ToolButtons(QWidget):
    """A button for each tool."""

    used = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        self.buttons = {}
        for place, tool in enumerate(TOOLS):
            made = button(tool.title, f"{tool.key.replace('-', '+')}: {tool.tip}")
            made.clicked.connect(lambda _=False, name=tool.name: self.used.emit(name))
            grid.addWidget(made, place // 4, place % 4)
            self.buttons[tool.name] = made
