"""The Correct dock as it is seen: one frozen state, and the fields and buttons that show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from magicgui.widgets import ComboBox
from napari.layers import Image
from qtpy.QtWidgets import QCheckBox, QComboBox, QLabel, QLineEdit, QWidget

from ..._layers import KEY
from ...annotation import Node
from ...errors import DatasetError
from ...folder.dataset import TrainingFolder
from ...imaging.editing import nodes_in_parts
from ...types import Frame
from ..common.in_view import ViewFault
from ..common.number_field import NumberField
from ..common.parts import Signal, beside, button, folded, form, small, stacked
from ..prompts.scale import ScaleRow
from .cases import home_elsewhere, patient_on
from .filing import StrokeOffer
from .held import HeldFrames
from .navigator import RouteState
from .nodes import NodeTable, ToolButtons
from .second_reader import Decision
from .study import Recovery, StudyRow
from .suggestions import SuggestionList
from .worklist import WorkListRow, WorkState

if TYPE_CHECKING:
    from ...imaging.calipers import Calipers
    from .painted import PaintedMask
    from .session import Session

IN_FOLDER = 2
"""Place of the training folder among the orders in which frames are gone through."""
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
    """The frame in view, and what can be done with it.

    ``taken_back`` says what the reader could take back; ``fault`` why nothing can be decided now;
    ``needs_name`` whether a reader's name is missed; ``nodes`` what is known of each that is painted;
    ``subject`` is what the words are about: the mask in view, or an image without one.
    """

    image: Image | None = None
    words: str = ""
    fault: ViewFault | None = None
    has_mask: bool = False
    is_behind: bool = False
    nodes: Mapping[int, Node] = field(default_factory=dict)
    selected: int = 0
    subject: PaintedMask | Image | None = None
    patient: str = ""
    note: str = ""
    clinical: str = ""
    taken_back: str = ""
    needs_name: bool = False
    burned: Sequence[Calipers] = ()
    offer: StrokeOffer = field(default_factory=StrokeOffer)
    routes: Sequence[RouteState] = ()
    work: WorkState = field(default_factory=WorkState)


def state_of(session: Session, burned: Sequence[Calipers] = ()) -> DeskState:
    """Return what a session is to show now, beside the calipers on the screen of the frame in view."""
    navigator, filing, mask = session.navigator, session.filing, session.mask
    image = navigator.image
    around = DeskState(
        image=image,
        subject=mask or image,
        patient="" if image is None else patient_on(image, mask),
        fault=navigator.fault,
        offer=filing.left.offer(None if mask is None else mask.case_id),
        needs_name=filing.needs_name,
        burned=tuple(burned),
        routes=session.routes.states,
        work=session.work.state,
    )
    if mask is None:
        return replace(around, words=_without_mask(image, filing.folder))
    said = mask.ledger.last_said(mask.seen)
    return replace(
        around,
        words=_describe(mask, filing.revision(mask), filing.who),
        has_mask=True,
        is_behind=mask.is_behind,
        nodes={node: mask.given.facts.get(node, Node(id=node)) for node in mask.node_ids},
        selected=int(mask.labels.selected_label),
        note=mask.given.note,
        clinical=_clinical(filing.folder, mask.case_id, filing.revision(mask)),
        taken_back=said.action if said is not None and said.who == filing.who else "",
    )


def _without_mask(image: Image | None, folder: TrainingFolder | None) -> str:
    """What to say of a frame without a mask to correct; nothing where there is no frame."""
    if image is None:
        return ""
    known = image.metadata.get(KEY)
    elsewhere = home_elsewhere(known if isinstance(known, Frame) else None, folder)
    return elsewhere or "No mask yet: segment the frame, or start an empty one."


def _clinical(folder: TrainingFolder | None, case_id: str | None, revision: int) -> str:
    """What the folder knows of the patient, in a line; empty where it knows nothing."""
    return _clinical_of(folder.path, case_id, revision) if folder is not None and case_id and revision else ""


@lru_cache(maxsize=64)
def _clinical_of(path: Path, case_id: str, revision: int) -> str:
    """The clinical record of a frame, read once for each state of it."""
    try:
        known = TrainingFolder.open(path).record(case_id).clinical or {}
    except DatasetError:  # what is damaged is told where the frame is opened
        return ""
    return " · ".join(
        f"{name} {value:g}" if isinstance(value, float | int) else f"{name} {value}"
        for name, value in known.items()
    )


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
        f"Node {node} lies in {n} parts and counts as one. Split makes a node of each, One part keeps the "
        "largest."
        for node, n in nodes_in_parts(mask.masks).items()
    ]
    return "\n".join(lines)


class CorrectView(QWidget):
    """Shows a :class:`DeskState`.

    Parameters
    ----------
    images : callable
        Gives the Image layers to choose from.
    """

    def __init__(self, images: Callable[[], list[Image]]) -> None:
        super().__init__()
        self.study, self.held, self.recovery = StudyRow(), HeldFrames(), Recovery()
        self.image = ComboBox(choices=lambda _widget: images(), nullable=False)
        self.image.native.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.walk, self.work, self.worthy = Walk(), WorkListRow(), SuggestionList()
        self.state, self.verdict = StateLines(), Verdicts()
        self.decision, self.nodes, self.tools = Decision(), NodeTable(), ToolButtons()
        self.about, self.drawing = AboutRows(), DrawingRow()
        self.scale = ScaleRow()
        rows = form()
        rows.addRow("Image", self.image.native)
        rows.addRow("Go through", self.walk.path)
        rows.addRow(self.work)
        rows.addRow("", self.walk)
        stacked(
            self,
            self.study,
            self.held,
            rows,
            *(self.state, self.recovery, self.decision, self.verdict, self.nodes, self.tools),
            self.about,
            self.drawing,
            self.worthy,
            folded("No millimetres? Type the scale", self.scale),
            spacing=4,
        ).addStretch()

        self.walk.path.currentIndexChanged.connect(lambda _: self._show_work())

    def show_state(self, state: DeskState) -> None:
        """Bring every field in line with a state."""
        if state.image in self.image.choices and self.image.value is not state.image:
            with self.image.changed.blocked():
                self.image.value = state.image
        self.study.ask_name(state.needs_name)
        self.walk.show_state(state)
        self.work.show_state(state.work)
        self._show_work()
        self.nodes.show_nodes(state.nodes)
        self.nodes.mark(state.selected)
        is_cine = state.image is not None and state.image.ndim == 3
        n_burned = sum(2 if node.hint == "four ends" else 1 for node in state.burned)
        n_alone = sum(node.hint == "two ends" for node in state.burned)
        self.tools.show_state(is_cine=is_cine, n_burned=n_burned, n_alone=n_alone)
        self.about.show_state(state)
        self.state.show_state(state)
        self.verdict.show_state(state)
        self.recovery.offer(state.offer)

    def _show_work(self) -> None:
        self.work.setVisible(self.walk.is_in_folder)

    def reset_images(self) -> None:
        """List the Image layers again, without a choice of its own."""
        with self.image.changed.blocked():
            self.image.reset_choices()


class AboutRows(QWidget):
    """Words on the frame in view: its patient, a note, and what the folder knows of the patient."""

    def __init__(self) -> None:
        super().__init__()
        self.patient, self.note, self.clinical = QLineEdit(), QLineEdit(), small()
        self.patient.setToolTip("Only a salted hash is saved. It keeps a patient on one side of every split.")
        self.note.setToolTip("Saved in the frame's record. No names, no dates.")
        self.clinical.setToolTip("Of the clinical record that was imported; another import adds to it.")
        self._subject: PaintedMask | Image | None = None
        self._rows = form()
        self._rows.addRow("Patient", self.patient)
        self._rows.addRow("Note", self.note)
        self._rows.addRow("Clinical", self.clinical)
        self.setLayout(self._rows)

    def finish(self) -> None:
        """Have what is being typed taken, for the frame that it was typed for."""
        for line in (self.patient, self.note):
            if line.isModified():
                line.editingFinished.emit()

    def show_state(self, state: DeskState) -> None:
        """Show the words of a state; what is being typed stays, but never for another frame."""
        is_other = state.subject is not self._subject
        self._subject = state.subject
        for line, words in ((self.patient, state.patient), (self.note, state.note)):
            if line.text() != words and (is_other or not (line.hasFocus() or line.isModified())):
                line.setText(words)
        self.clinical.setText(state.clinical)
        for part in (self._rows.labelForField(self.clinical), self.clinical):
            part.setVisible(bool(state.clinical))


class DrawingRow(QWidget):
    """How the masks are drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.difference, self.fill = QCheckBox("show what changed"), QCheckBox("fill masks")
        self.difference.setToolTip("Against the given mask: green was added, pink taken away")
        self.fill.setToolTip("Masks are drawn as outlines otherwise")
        self.setLayout(beside(self.difference, self.fill))


class StateLines(QWidget):
    """The judgement of the mask in view; why nothing can be decided, with a button that mends it."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.fault = small(), small(role="warning")
        self.mend = button("", "Do what the line above asks for")
        stacked(self, self.words, self.fault, self.mend)

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
        self.accept = button("Accept", "The mask is right", primary=True)
        self.go_on = button("and go on ▶", "Accept, and show the next undecided frame")
        self.reject = button("Reject", "The mask is wrong, and not for training")
        self.no_node = button("No node here", "Looked at, and there is no lymph node")
        self.take_back = button("", "What stood before stands again, as Ctrl+Z does")
        pair = beside(self.reject, self.no_node)
        first = beside(self.accept, self.go_on, wide=self.accept)
        stacked(self, self.empty, self.take_saved, first, pair, self.take_back)

    def show_state(self, state: DeskState) -> None:
        """Offer what a state allows."""
        self.empty.setVisible(not state.has_mask)
        self.take_saved.setVisible(state.is_behind)
        said = SAID.get(state.taken_back, state.taken_back)
        self.take_back.setText(f"Take back: {said}" if said else "Take back")
        self.take_back.setEnabled(bool(said))  # and never moves what stands below it


class Walk(QWidget):
    """Previous, next, and a number to jump to, in one of several orders."""

    stepping = Signal()  # before a step is counted from the frame in view
    asked = Signal(int, int)  # number of an order, and of the frame in it

    def __init__(self) -> None:
        super().__init__()
        self._routes: Sequence[RouteState] = ()
        self._shown: RouteState | None = None
        self.path = QComboBox()
        self.back = button("◀", "Previous frame")
        self.forward = button("▶", "Next frame")
        self.number = NumberField(title="Frame", limits=(1, 1), whole=True, none="–")
        self.number.setToolTip("Jump to this frame")
        self.total = QLabel()
        self.setLayout(beside(self.back, self.number, self.total, self.forward, wide=self.number))
        self.back.clicked.connect(lambda: self.step(-1))
        self.forward.clicked.connect(lambda: self.step(1))
        self.number.valueChanged.connect(self._jump)
        self.path.currentIndexChanged.connect(lambda _: self._refresh())

    @property
    def is_in_folder(self) -> bool:
        """True where the frames of the training folder are gone through."""
        return self.path.currentIndex() == IN_FOLDER

    def go_through_folder(self) -> None:
        """Go through the frames of the training folder."""
        self.path.setCurrentIndex(IN_FOLDER)

    @property
    def chosen(self) -> RouteState:
        """The order that is gone through."""
        return self._routes[self.path.currentIndex()]

    def step(self, by: int) -> None:
        """Go forwards or backwards; nothing happens at the ends."""
        self.stepping.emit()
        position, n = self.chosen.position, self.chosen.count
        goal = (0 if by > 0 else n - 1) if position is None else position + by
        if 0 <= goal < n:
            self.asked.emit(self.path.currentIndex(), goal)

    def show_state(self, state: DeskState) -> None:
        """Show where the frame in view stands."""
        self._routes = state.routes
        if not self.path.count():
            self.path.addItems([route.title for route in state.routes])
        if self.chosen != self._shown:  # what is being typed, or was refused, stays
            self._refresh()

    def _refresh(self) -> None:
        self._shown = self.chosen
        position, n = self.chosen.position, self.chosen.count
        self.number.blockSignals(True)
        self.number.setRange(1, max(n, 1))
        self.number.setValue(None if position is None else position + 1)
        self.number.blockSignals(False)
        self.total.setText(f"of {n}")
        self.back.setEnabled(n > 0 and position != 0)
        self.forward.setEnabled(n > 0 and position != n - 1)

    def _jump(self, number: int | None) -> None:
        if number is not None and number <= self.chosen.count:
            self.asked.emit(self.path.currentIndex(), number - 1)
        self._refresh()
