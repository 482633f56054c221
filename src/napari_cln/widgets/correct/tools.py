"""Tools for the nodes of the mask in view: calipers, and edits of one node; each is one step of undo."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QEvent, QObject, QPoint, Qt, QTimer
from qtpy.QtGui import QContextMenuEvent, QMouseEvent
from qtpy.QtWidgets import QMenu, QWidget

from ..._layers import DRAWN_KEY, DrawnFrame, drawn_frame, frames_from_layer, is_painted
from ...annotation import Node
from ...compat.window import canvases_of
from ...errors import ClnError, InputError, counted, listed
from ...folder.dataset import TrainingFolder
from ...imaging.calipers import Calipers
from ...imaging.carrying import carry_masks, interpolate_masks
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
from ...imaging.measurement import measure, painted_ids
from ...study.reading import digest
from ...types import Frame
from ..common.failures import words_of
from ..common.parts import Signal
from ..common.results import TOUCHED_KEY
from ..common.worker import Work
from ..prompts.calipers import BurnedReader, CaliperTool, Kept
from ..prompts.sketch import Sketch
from .nodes import OF_CINES, TOOLS
from .painted import PaintedMask, put_masks
from .session import Session

WHICH = "Which node? Click its number in the table, or pick it on the canvas (5)."


FINISHED = ("corrected", "accepted")
"""Statuses of a mask that a reader stands for."""


class Workbench(QObject):
    """The tools at work on the mask in view.

    Parameters
    ----------
    session : Session

    Attributes
    ----------
    calipers : CaliperTool
    clip : Clip
        Masks for other frames of a cine.
    chosen : list of int
        Nodes that are chosen in the table.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self.chosen: list[int] = []
        self.calipers = CaliperTool(session.viewer, session.turns, self)
        self.calipers.told.connect(session.told)
        self.calipers.kept.connect(self._take_outline)
        self._cut: Sketch | None = None
        self._burned, self._queue = BurnedReader(self), list[Calipers]()
        self._burned.read.connect(session.changed)
        self.clip = Clip(session)

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
        if name in OF_CINES:
            self.put_away()
            (self.clip.carry if name == "carry" else self.clip.interpolate)()
            return
        if (mask := session.ready(named=False)) is None:
            return
        if name == "calipers":
            self._queue = []
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

    @property
    def burned(self) -> list[Calipers]:
        """Nodes that were measured on the screen of this frame and have no mask; empty until it is read."""
        mask = self._session.mask
        if mask is None:
            return []
        masks = mask.masks
        found = self._burned.nodes_of(mask.frame_digest, lambda: mask.frame)
        return [node for node in found if not masks[tuple(np.rint(node.centre).astype(int))]]

    def use_burned(self) -> None:
        """Take the calipers of the screen into the hand, one node after the other."""
        self._queue = self.burned
        self._take_next()

    def _take_next(self) -> None:
        if not self._queue or (mask := self._session.mask) is None:
            return
        node = self._queue.pop(0)
        self.put_away()
        ends = {"long": node.long_axis} | ({"short": node.short_axis} if node.hint == "four ends" else {})
        self.calipers.start(mask.image, mask.labels, mask.frame, lambda: mask.masks, ends)

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
        mask.start_from(kept.model_id)
        self._put(mask, edited, node, words)
        QTimer.singleShot(0, self._take_next)

    def _draw_cut(self, mask: PaintedMask, node: int) -> None:
        """Let the reader draw a line across a node; one across its middle is there to begin with."""
        self.put_away()
        session = self._session
        self._cut = cut = Sketch(
            session.viewer, mask.image, mask.labels, lambda _: "cut", session.turns, self
        )
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
    """Words of a reader on a node; None for nothing."""
    if fact is None:
        return None
    said = (fact.truth, fact.truth_source, fact.level, fact.side)
    return None if said == ("unknown", "none", None, None) else said


class Clip(QObject):
    """Masks of a cine that are made from those of other frames: predicted, never accepted by themselves.

    Frames on which a reader has decided, here or in the training folder, are not touched. All of it is one
    step of undo.
    """

    busy = Signal(bool)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self._work: Work | None = None
        self._made: dict[int, Instances] = {}
        self._end_words = ""

    def carry(self) -> None:
        """Carry the mask in view to the frames that follow, until its nodes leave; again, to stop there."""
        session = self._session
        if self._work is not None:
            self._work.stop()
            return
        if (mask := self._ready()) is None:
            return
        if mask.status not in FINISHED or mask.is_empty:
            session.tell("Correct or accept this mask first: only what a reader stands for is carried on.")
            return
        frames = range(mask.index, len(mask.image.data))
        self._begin(mask, f"carried from frame {mask.index}", carried, frames, mask.masks.astype(np.uint8))

    def interpolate(self) -> None:
        """Make the masks between the two corrected frames on both sides of the one in view."""
        session = self._session
        if self._work is not None or (mask := self._ready()) is None:
            return
        known = session.desk.of_labels(mask.labels)
        decided = sorted(k for k, one in known.items() if one.status in FINISHED and not one.is_empty)
        before, after = ([k for k in decided if (k <= mask.index) is early] for early in (True, False))
        ends = [*before[-1:], *after[:1]] if after else before[-2:]
        if len(ends) < 2 or ends[1] - ends[0] < 2:
            session.tell(
                "There are no two corrected frames with others between. Correct one before and one after."
            )
            return
        first, last = (known[k].masks.astype(np.uint8) for k in ends)
        words = f"interpolated between frames {ends[0]} and {ends[1]}"
        self._begin(known[ends[0]], words, between, range(ends[0], ends[1] + 1), first, last)

    def _ready(self) -> PaintedMask | None:
        mask = self._session.ready(named=False)
        if mask is not None and (mask.labels.ndim != 3 or len(mask.image.data) < 2):
            self._session.tell("This is one frame, and no cine.")
            return None
        self._session.look(seconds=60)
        return mask

    # ------------------------------------------------------------ work beside the window

    def _begin(
        self, mask: PaintedMask, words: str, make: Callable[..., Any], frames: range, *masks: Instances
    ) -> None:
        self._made, self._end_words = {}, ""
        self._work = work = Work(self, make, mask.image, self._session.folder, frames, *masks)
        work.stepped.connect(lambda step: self._take(mask, *step))
        work.done.connect(lambda why: setattr(self, "_end_words", self._end_words or why))
        work.failed.connect(lambda error: self._session.tell(words_of(error), mask))
        work.ended.connect(lambda: self._end(mask, words))
        self.busy.emit(True)
        work.start()

    def _take(self, mask: PaintedMask, index: int, masks: Instances, keeps_order: bool) -> None:
        if self._end_words:
            return
        if mask.is_alive and self._is_free(mask, index):
            self._made[index] = masks
            self._session.told.emit(f"Frame {index + 1} is made.", "info", mask)
        elif keeps_order:
            self._end_words = f"Frame {index + 1} is decided already."
            if self._work is not None:
                self._work.stop()

    def _end(self, mask: PaintedMask, words: str) -> None:
        self._work = None
        self.busy.emit(False)
        session = self._session
        if not mask.is_alive or mask.labels not in session.viewer.layers:
            return  # the cine was closed
        session.look(seconds=60)
        made = {index: masks for index, masks in self._made.items() if self._is_free(mask, index)}
        self._made = {}
        if not made:
            session.tell(f"No frame was filled. {self._end_words}".strip(), mask)
            return
        self._put(mask, made, words)
        at = f"frame {min(made) + 1}" if len(made) == 1 else f"frames {min(made) + 1} to {max(made) + 1}"
        text = f"{counted(len(made), 'mask')} on {at}, predicted: look at each. {self._end_words}".strip()
        session.told.emit(f"{text} Ctrl+Z takes all back.", "good", mask)

    def _put(self, mask: PaintedMask, made: Mapping[int, Instances], words: str) -> None:
        """Put masks on their frames, as one step of undo."""
        labels = mask.labels
        facts = {node: replace(fact, p_malignant=None) for node, fact in mask.given.facts.items()}
        drawn = dict(labels.metadata.get(DRAWN_KEY, {}))  # a duplicated layer shares the old one
        places, values = [], []
        for index, masks in made.items():
            drawn[index] = DrawnFrame(digest=digest(masks), words=words, facts=facts)
            rows, columns = np.nonzero(labels.data[index] != masks)
            places.append((np.full_like(rows, index), rows, columns))
            values.append(masks[rows, columns])
        labels.metadata[DRAWN_KEY] = drawn
        where = tuple(np.concatenate(axis) for axis in zip(*places, strict=True))
        if where[0].size:
            with labels.block_history():
                labels.data_setitem(where, np.concatenate(values))
            self._session.steps.note(labels)
        self._session.refresh()

    def _is_free(self, mask: PaintedMask, index: int) -> bool:
        """Tell whether no reader has a part in the masks of a frame."""
        labels = mask.labels
        known = self._session.desk.of_labels(labels).get(index)
        if known is not None and known.status != "predicted":
            return False
        if known is None and index in labels.metadata.get(TOUCHED_KEY, ()):
            return False
        return drawn_frame(labels, index) is not None or not is_painted(labels, index)


def carried(
    image: Image, folder: TrainingFolder | None, indices: range, masks: Instances
) -> Generator[tuple[int, Instances, bool], None, str]:
    """Carry masks from the first of some frames on; return why it ends before the last."""
    why = "The nodes leave there."

    def undecided() -> Iterator[Frame]:
        nonlocal why
        for index, frame in zip(indices, frames_from_layer(image, indices), strict=True):
            if isinstance(frame, ClnError):
                why = f"Frame {index + 1} can't be read."
                return
            if index > indices[0] and _is_decided(folder, frame):
                why = f"Frame {index + 1} is decided already."
                return
            yield frame

    n = 0
    for n, found in enumerate(carry_masks(undecided(), masks), start=1):
        yield indices[n], found, True
    return "" if n == len(indices) - 1 else why


def between(
    image: Image, folder: TrainingFolder | None, indices: range, first: Instances, last: Instances
) -> Generator[tuple[int, Instances, bool], None, str]:
    """Interpolate masks between the first and the last of some frames; return what was left out."""
    frames = list(frames_from_layer(image, indices))
    for frame in frames:
        if isinstance(frame, ClnError):
            raise frame
    whole = [frame for frame in frames if isinstance(frame, Frame)]
    for index, frame, found in zip(
        indices[1:], whole[1:], interpolate_masks(whole, first, last), strict=False
    ):
        if found.any() and not _is_decided(folder, frame):
            yield index, found, False
    ours, theirs = (len(painted_ids(masks)) for masks in (first, last))
    return "" if ours == theirs else "A node is on one of the two frames alone, and was left out."


def _is_decided(folder: TrainingFolder | None, frame: Frame) -> bool:
    """Tell whether a reader has decided on a frame in the training folder."""
    if folder is None:
        return False
    with suppress(ClnError):  # it is not there
        return folder.case(folder.identify(frame)).status != "predicted"
    return False


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
            elif tool.name not in ("calipers", *OF_CINES):
                keep_here = tool.name == "part" and at is not None
                self._offer("Keep this part only" if keep_here else tool.title, tool.name, nodes, at)
        self.menu.popup(place)

    def _offer(self, title: str, name: str, nodes: list[int], at: tuple[float, float] | None) -> None:
        action = self.menu.addAction(title)
        action.triggered.connect(lambda _=False: self._bench.use(name, nodes, at))
