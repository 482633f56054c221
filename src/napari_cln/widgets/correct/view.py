"""What the Correct dock shows of a session: one frozen state, and the fields and buttons that show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from magicgui.widgets import ComboBox
from napari.layers import Image
from numpy.typing import NDArray
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QLineEdit, QVBoxLayout, QWidget
from scipy import ndimage
from superqt import QCollapsible

from ..._layers import frame_layers
from ..common.dock import MessageLine, button, form, small
from ..common.in_view import ViewFault
from ..common.number_field import NumberField
from .nodes import NodeTable
from .scale import ScaleRow
from .second_reader import Decision
from .study import Recovery, StudyRow
from .suggestions import SuggestionList

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ...folder.autosave import Stroke
    from ...types import Node
    from .painted import PaintedMask
    from .session import Session

SAID = {
    "accepted": "accepted",
    "rejected": "rejected",
    "no-node": "no node here",
    "adjudicated": "the decision",
}
WORDS = {
    "predicted": "predicted, not looked at",
    "corrected": "corrected",
    "accepted": "accepted",
    "rejected": "rejected",
    "no-node": "no node here",
}


@dataclass(frozen=True, kw_only=True)
class DeskState:
    """What is shown of the frame in view.

    ``taken_back`` says what the reader could take back; ``fault`` why nothing can be decided now;
    ``needs_name`` whether a reader's name is missed; ``case_id`` is the frame in the training folder, for
    which ``left_behind`` and ``put_aside`` may hold strokes.
    """

    image: Image | None = None
    words: str = ""
    fault: ViewFault | None = None
    has_mask: bool = False
    is_behind: bool = False
    node_ids: Sequence[int] = ()
    facts: Mapping[int, Node] = field(default_factory=dict)
    note: str = ""
    taken_back: str = ""
    needs_name: bool = False
    case_id: str | None = None
    left_behind: Sequence[Stroke] = ()
    put_aside: Sequence[Stroke] = ()


def state_of(session: Session) -> DeskState:
    """What a session is to show now."""
    navigator, filing, mask = session.navigator, session.filing, session.mask
    around = DeskState(
        image=navigator.image,
        fault=navigator.fault,
        left_behind=tuple(filing.left.strokes),
        put_aside=tuple(filing.left.put_aside),
        needs_name=filing.needs_name,
    )
    if mask is None:
        none = "No mask yet: segment the frame, or start an empty one." if navigator.image is not None else ""
        return replace(around, words=none)
    said = mask.ledger.last_said(mask.seen)
    return replace(
        around,
        words=_describe(mask, filing.revision(mask), filing.who),
        has_mask=True,
        is_behind=mask.is_behind,
        node_ids=tuple(mask.node_ids),
        facts=dict(mask.given.facts),
        note=mask.given.note,
        taken_back=said.action if said is not None and said.who == filing.who else "",
        case_id=mask.case_id,
    )


def nodes_in_parts(masks: NDArray[np.integer]) -> dict[int, int]:
    """Nodes that are painted in several separate places, and in how many.

    Parameters
    ----------
    masks : ndarray of int, shape (H, W)
        Ids 1 to 255. Pixels that touch at a corner are of one place.
    """
    rows, columns = (np.flatnonzero(masks.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return {}
    masks = masks[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # most of a frame is no node
    parts = {}
    for number, place in enumerate(ndimage.find_objects(masks), start=1):
        if place is not None:
            _, n = ndimage.label(masks[place] == number, structure=np.ones((3, 3)))
            if n > 1:
                parts[number] = int(n)
    return parts


def _describe(mask: PaintedMask, revision: int, who: str) -> str:
    """Layer and state of the mask in view, in a few words."""
    judgement = mask.judgement
    words = WORDS[judgement.status]
    if judgement.status == "accepted" and mask.given.based_on is not None and not mask.is_changed:
        words += " as predicted"
    if judgement.who not in (None, "", who):
        words += f", by {judgement.who}"
    known = f"revision {revision} in the folder" if revision else "not in the folder yet"
    if mask.is_behind and revision:
        known += ", with another mask"
    elif mask.is_unsaved:
        known = "not saved yet"
    lines = [f"{mask.labels.name}: {words} · {known}"]
    lines += [
        f"Node {node} lies in {n} parts and counts as one. Two nodes? Paint one of them with another number "
        "(M)."
        for node, n in nodes_in_parts(mask.masks).items()
    ]
    return "\n".join(lines)


class View(QWidget):
    """What the Correct dock is made of.

    Parameters
    ----------
    viewer : ViewerModel
    message : MessageLine
    routes : sequence of Route
        What can be gone through frame by frame.
    """

    def __init__(self, viewer: ViewerModel, message: MessageLine, routes: Sequence[Route]) -> None:
        super().__init__()
        self.study, self.recovery = StudyRow(), Recovery()
        self.image = ComboBox(choices=lambda _widget: frame_layers(viewer.layers), nullable=False)
        self.walk, self.worthy = Walk(*routes), SuggestionList()
        self.state, self.verdict = StateLines(), Verdicts()
        self.decision, self.nodes = Decision(), NodeTable()
        self.patient, self.note = QLineEdit(), QLineEdit()
        self.patient.setToolTip("Only a salted hash is saved. It keeps a patient on one side of every split.")
        self.note.setToolTip("Saved in the frame's record. No names, no dates.")
        self.difference = QCheckBox("show what changed")
        self.difference.setToolTip("Shift+D. Against the given mask: green was added, pink taken away.")
        self.scale = ScaleRow(viewer, message)
        self._lay_out()

    def show_state(self, state: DeskState) -> None:
        """Bring every field in line with a state."""
        if state.image in self.image.choices and self.image.value is not state.image:
            with self.image.changed.blocked():
                self.image.value = state.image
        self.study.ask_name(state.needs_name)
        self.walk.refresh()
        self.nodes.show_nodes(state.node_ids, state.facts)
        if self.note.text() != state.note and not self.note.hasFocus():
            self.note.setText(state.note)
        self.state.show_state(state)
        self.verdict.show_state(state)
        self.recovery.offer(list(state.left_behind), list(state.put_aside), state.case_id)

    def reset_images(self) -> None:
        """List the Image layers again, without a choice of its own."""
        with self.image.changed.blocked():
            self.image.reset_choices()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        rows, about = form(), form()
        rows.addRow("Image", self.image.native)
        rows.addRow("Go through", self.walk.path)
        rows.addRow("", self.walk)
        about.addRow("Patient", self.patient)
        about.addRow("Note", self.note)
        column.addWidget(self.study)
        column.addLayout(rows)
        for part in (self.state, self.recovery, self.decision, self.verdict, self.nodes):
            column.addWidget(part)
        column.addLayout(about)
        column.addWidget(self.difference)
        column.addWidget(self.worthy)
        more = QCollapsible("No millimetres? Type the scale")
        more.addWidget(self.scale)
        for widget in (more, more.content()):
            if (inside := widget.layout()) is not None:
                inside.setContentsMargins(0, 0, 0, 0)
        column.addWidget(more)


class StateLines(QWidget):
    """What stands for the mask in view; why nothing can be decided, with the button that mends it."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.fault = small(), small()
        self.fault.setStyleSheet(f"color: {MessageLine.COLOURS['bad']}; font-size: 11px;")
        self.mend = button("", "Do what the line above asks for")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (self.words, self.fault, self.mend):
            column.addWidget(part)

    def text(self) -> str:
        """Return what stands for the mask in view."""
        return self.words.text()

    def show_state(self, state: DeskState) -> None:
        """Show the lines of a state."""
        fault = state.fault
        self.words.setText(state.words)
        self.fault.setText("" if fault is None else fault.reason)
        self.fault.setVisible(fault is not None)
        self.mend.setText("" if fault is None else fault.way_out)
        self.mend.setVisible(bool(self.mend.text()))


class Verdicts(QWidget):
    """The buttons by which a reader judges the mask in view."""

    def __init__(self) -> None:
        super().__init__()
        self.empty = button("Empty mask", "Start a mask of your own for this image")
        self.take_saved = button("Saved mask", "Bring what the training folder has onto the canvas")
        self.accept = button("Accept", "Shift+A: the mask is right", primary=True)
        self.reject = button("Reject", "Shift+R: the mask is wrong, and not for training")
        self.no_node = button("No node here", "Shift+X: looked at, and there is no lymph node")
        self.take_back = button("", "Shift+U, or Ctrl+Z: what stood before stands again")
        pair = QHBoxLayout()
        pair.addWidget(self.reject)
        pair.addWidget(self.no_node)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        for part in (self.empty, self.take_saved, self.accept):
            column.addWidget(part)
        column.addLayout(pair)
        column.addWidget(self.take_back)

    def show_state(self, state: DeskState) -> None:
        """Offer what a state allows."""
        self.empty.setVisible(not state.has_mask)
        self.take_saved.setVisible(state.is_behind)
        said = SAID.get(state.taken_back, state.taken_back)
        self.take_back.setText(f"Take back: {said}" if said else "Take back")
        self.take_back.setEnabled(bool(said))  # and never moves what stands below it


@dataclass(frozen=True, kw_only=True)
class Route:
    """Frames in an order: how many, which one is in view (None: none of them), and how to get to one."""

    title: str
    count: Callable[[], int]
    position: Callable[[], int | None]
    go: Callable[[int], None]


class Walk(QWidget):
    """Previous, next, and a number to jump to."""

    def __init__(self, *routes: Route) -> None:
        super().__init__()
        self._routes = routes
        self._shown: tuple[int | None, int] | None = None
        self.path = QComboBox()
        for route in routes:
            self.path.addItem(route.title)
        self.back = button("◀", "Previous frame: Shift+J")
        self.forward = button("▶", "Next frame: Shift+K")
        self.number = NumberField(title="Frame", limits=(1, 1), whole=True, none="–")
        self.number.setToolTip("Jump to this frame")
        self.total = QLabel()
        row = QHBoxLayout()
        row.addWidget(self.back)
        row.addWidget(self.number, stretch=1)
        row.addWidget(self.total)
        row.addWidget(self.forward)
        row.setContentsMargins(0, 0, 0, 0)
        self.setLayout(row)
        self.back.clicked.connect(lambda: self.step(-1))
        self.forward.clicked.connect(lambda: self.step(1))
        self.number.valueChanged.connect(self._jump)
        self.path.currentIndexChanged.connect(lambda _: self._start_anew())
        self.refresh()

    @property
    def chosen(self) -> Route:
        return self._routes[self.path.currentIndex()]

    def step(self, by: int) -> None:
        """Go forwards or backwards; nothing happens at the ends."""
        position, n = self.chosen.position(), self.chosen.count()
        goal = (0 if by > 0 else n - 1) if position is None else position + by
        if 0 <= goal < n:
            self.chosen.go(goal)
            self.refresh()

    def refresh(self) -> None:
        """Show where the frame in view stands."""
        position, n = self.chosen.position(), self.chosen.count()
        if (position, n) == self._shown:
            return  # what is being typed, or was refused, stays
        self._shown = position, n
        self.number.blockSignals(True)
        self.number.setEnabled(n > 0)
        self.number.setRange(1, max(n, 1))
        self.number.setValue(None if position is None else position + 1)
        self.number.blockSignals(False)
        self.total.setText(f"of {n}")
        self.back.setEnabled(n > 0 and position != 0)
        self.forward.setEnabled(n > 0 and position != n - 1)

    def _jump(self, number: int | None) -> None:
        if number is not None and number <= self.chosen.count():
            self.chosen.go(number - 1)
        self._start_anew()

    def _start_anew(self) -> None:
        self._shown = None
        self.refresh()
