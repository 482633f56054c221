"""Correct dock: paint the mask right, say what is known of the nodes, and have it saved at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtCore import QTimer

from ..._layers import image_of
from ...errors import ClnError
from ..common.dock import OPEN_FIRST
from .cases import in_frame, put_masks, saved_masks, start_empty
from .painted import Work
from .strokes import NO_FOLDER
from .view import View

if TYPE_CHECKING:
    import napari

    from ...types import Annotation


__all__ = ["CorrectDock"]

NO_MASK = "There is no mask yet. Segment the frame, or press Empty mask."


class CorrectDock(View):
    """Dock in which a reader corrects masks and says what is known of the nodes.

    Parameters
    ----------
    napari_viewer : napari.Viewer

    Attributes
    ----------
    study : StudyRow
        Training folder and reader.
    image : magicgui ComboBox of Image layers
    walk : Walk
    nodes : NodeTable
    decision : Decision
        What to do where another reader sees the frame otherwise.
    patient, note : QLineEdit
    difference : QCheckBox
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._connect()
        self.reset_choices()

    # ------------------------------------------------------------ what the buttons do

    def accept(self) -> None:
        """Say that the mask is right; one that was painted counts as corrected."""
        if (work := self._ready()) is None:
            return
        if not work.masks.any():
            self.message.say("There is no mask to accept. Paint one, or press No node here.", "bad")
            return
        self.strokes.save(work, "corrected" if work.is_changed else "accepted", spoken=True)
        self._show_work()

    def reject(self) -> None:
        """Say that the mask is wrong: it is kept in the folder, and never trained on."""
        if (work := self._ready()) is not None:
            self.strokes.save(work, "rejected", spoken=True)
            self._show_work()

    def no_node(self) -> None:
        """Say that the frame was looked at and shows no node; whatever is painted is erased."""
        if self._ready(or_empty=True) is None or (work := self._work) is None:
            return
        put_masks(work, work.masks * 0)
        work.look()
        self.strokes.save(work, "no-node", spoken=True)
        self._show_work()

    def start_empty(self) -> None:
        """Add an empty mask for the image in view."""
        if self.image.value is None:
            self.message.say(OPEN_FIRST, "bad")
            return
        self.viewer.layers.selection.active = start_empty(self.viewer, self.image.value)
        self._show()

    def bring_saved(self) -> None:
        """Put what the training folder has of this frame onto the canvas; one step of undo."""
        work, folder = self._work, self.strokes.folder
        if work is None or folder is None:
            self.message.say(NO_FOLDER, "bad")
            return
        try:
            known = saved_masks(folder, work)
        except ClnError as error:
            self._refuse(str(error))
            return
        self._take(work, known)
        self._show_work()
        self.message.say(f"The saved mask of {known.annotator or 'a reader'} is on the canvas.")

    def decide_for_mask(self) -> None:
        """Decide between two readers for the mask on the canvas: the folder's, or a painted consensus."""
        pair, work = self.decision.pair, self._ready()
        if pair is None or work is None:
            return
        if work.is_behind:
            self.message.say("The folder has another mask than the canvas. Press Saved mask first.", "bad")
            return
        if not work.masks.any() and work.status != "no-node":
            self.message.say("There is no mask to decide for. Paint one, or press No node here.", "bad")
            return
        self.strokes.save(work, work.status, spoken=True, decides=pair)
        self._show_work()

    def decide_for_other(self) -> None:
        """Decide between two readers for the other's mask: it comes onto the canvas, as one step of undo."""
        pair, work, folder = self.decision.pair, self._ready(), self.strokes.folder
        if pair is None or work is None or folder is None:
            return
        try:
            known = in_frame(folder, pair.second, pair.case.id, work.frame)
        except ClnError as error:
            self._refuse(str(error))
            return
        self._take(work, known)
        self.strokes.save(work, known.status, spoken=True, decides=pair)
        self._show_work()

    def reset_choices(self, _event: Any = None) -> None:
        """List the Image layers again; napari calls it when layers come, go or get a new name."""
        self.image.reset_choices()
        if self.image.value is None and not self.message.text():
            self.message.say(OPEN_FIRST)
        elif self.image.value is not None and self.message.text() == OPEN_FIRST:
            self.message.say("")
        self._timer.start()

    # ------------------------------------------------------------ what the reader types

    def _take_nodes(self) -> None:
        if self._work is not None:
            self._work.facts |= self.nodes.nodes
            self.strokes.save(self._work, self._work.status)

    def _take_note(self) -> None:
        if self._work is not None and self.note.text() != self._work.note:
            self._work.note = self.note.text()
            self.strokes.save(self._work, self._work.status)

    def _type_patient(self) -> None:
        self._take_patient()
        if self.patient.isModified() and self._work is not None and self._work.revision:
            self.strokes.save(self._work, self._work.status)
        self.patient.setModified(False)

    # ------------------------------------------------------------ where we are

    def _take(self, work: Work, known: Annotation) -> None:
        put_masks(work, known.instances)
        work.look()
        work.take(known)
        work.status, work.is_behind = known.status, False

    def _ready(self, *, or_empty: bool = False) -> Work | None:
        """The work in view, brought up to date; a sentence where there is none."""
        self._show()
        if self._work is None and or_empty and self.image.value is not None:
            self.start_empty()
        if self._work is None:
            self.message.say(OPEN_FIRST if self.image.value is None else NO_MASK, "bad")
        return self._work

    def _follow_selection(self, _event: Any = None) -> None:
        active = self.viewer.layers.selection.active
        if isinstance(active, Labels):
            active = image_of(active, self.viewer.layers)
        if isinstance(active, Image) and active in self.image.choices:
            self.image.value = active
        self._timer.start()

    def _connect(self) -> None:
        self.study.opened.connect(self._open_study)
        self.study.reader_changed.connect(self._take_reader)
        self.study.failed.connect(self._refuse)
        self.recovery.restored.connect(self._restore)
        self.recovery.discarded.connect(self._discard)
        self.image.changed.connect(lambda _: self._timer.start())
        self.empty.clicked.connect(self.start_empty)
        self.take_saved.clicked.connect(self.bring_saved)
        self.accept_button.clicked.connect(self.accept)
        self.reject_button.clicked.connect(self.reject)
        self.no_node_button.clicked.connect(self.no_node)
        self.nodes.edited.connect(self._take_nodes)
        self.note.editingFinished.connect(self._take_note)
        self.patient.editingFinished.connect(self._type_patient)
        self.difference.toggled.connect(lambda _: self._show_work())
        self.decision.kept.connect(self.decide_for_mask)
        self.decision.taken.connect(self.decide_for_other)
        self.decision.shown.connect(self._show_other)
        self.worthy.look.clicked.connect(lambda: self.worthy.start(self.viewer, self.strokes))
        self.worthy.chosen.connect(self._go_to)
        self.worthy.failed.connect(self._refuse)
        self.scale.draw.clicked.connect(lambda: self.scale.start(self.image.value, self.index()))
        self.scale.use.clicked.connect(lambda: self.scale.apply(self.image.value))
        self.scale.typed.connect(self._take_scale)
        self.strokes.changed.connect(self._show)
        self.strokes.saved.connect(self._saved)
        self.strokes.failed.connect(self._failed)
        self.strokes.refused.connect(self._refuse)
        self._timer.timeout.connect(self._show)
        self.listen(self.viewer.dims.events.current_step, lambda _event: self._timer.start())
        self.listen(self.viewer.layers.selection.events.active, self._follow_selection)
        self.bind_key("Shift-A", self.accept)
        self.bind_key("Shift-R", self.reject)
        self.bind_key("Shift-X", self.no_node)
        self.bind_key("Shift-D", self.difference.toggle)
        self.bind_key("Shift-J", lambda: self.walk.step(-1))
        self.bind_key("Shift-K", lambda: self.walk.step(1))
