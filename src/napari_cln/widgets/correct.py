"""Correct dock: paint the mask right, say what is known of the nodes, and have it saved at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtCore import QTimer

from .._layers import image_of
from ..errors import ClnError
from ._correct_cases import CaseDesk, put_masks, saved_masks, start_empty
from ._correct_panel import Panel
from ._correct_saver import Job
from ._correct_shown import chosen_labels, describe_work, show_difference
from ._correct_strokes import NO_FOLDER, Strokes
from ._correct_work import Work

if TYPE_CHECKING:
    import napari

    from ..folder.autosave import Stroke

__all__ = ["CorrectDock"]

OPEN_FIRST = "Open an ultrasound image first: File > Open, or drop it on the canvas."
NO_MASK = "There is no mask yet. Segment the frame, or press Empty mask."


class CorrectDock(Panel):
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
    patient, note : QLineEdit
    difference : QCheckBox
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        self._cases = CaseDesk(napari_viewer)
        self._ids: list[str] = []
        self._work: Work | None = None
        self._patient_of: Image | None = None
        super().__init__(napari_viewer)
        self.strokes = Strokes(napari_viewer, self.listen)
        self.strokes.setParent(self)
        self.strokes.who = self.study.who
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
        self.strokes.save(work, "corrected" if work.is_changed else "accepted")
        self._show_work()

    def reject(self) -> None:
        """Say that the mask is wrong: it is kept in the folder, and never trained on."""
        if (work := self._ready()) is not None:
            self.strokes.save(work, "rejected")
            self._show_work()

    def no_node(self) -> None:
        """Say that the frame was looked at and shows no node; whatever is painted is erased."""
        if self._ready(or_empty=True) is None or (work := self._work) is None:
            return
        put_masks(work, work.masks * 0)
        work.look()
        self.strokes.save(work, "no-node")
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
            self.message.say(str(error), "bad")
            return
        put_masks(work, known.instances)
        work.look()
        work.take(known)
        work.status = known.status
        self._show_work()
        self.message.say(f"The saved mask of {known.annotator or 'a reader'} is on the canvas.")

    def reset_choices(self, _event: Any = None) -> None:
        """List the Image layers again; napari calls it when layers come, go or get a new name."""
        self.image.reset_choices()
        if self.image.value is None and not self.message.text():
            self.message.say(OPEN_FIRST)
        elif self.image.value is not None and self.message.text() == OPEN_FIRST:
            self.message.say("")
        self._timer.start()

    # ------------------------------------------------------------ the training folder

    def case_ids(self) -> list[str]:
        return self._ids

    def case_in_view(self) -> str | None:
        return self._cases.case_id

    def open_case(self, case_id: str) -> None:
        folder = self.strokes.folder
        if folder is None:
            self.message.say(NO_FOLDER, "bad")
            return
        self.strokes.look()
        reader = self.study.who if self.study.second.isChecked() else None
        keep = self.strokes.is_touched(self._cases.image)
        try:
            work = self._cases.open(folder, case_id, reader, keep)
        except ClnError as error:
            self.message.say(str(error), "bad")
            return
        if work is not None:
            self.strokes.take(work)
        self.strokes.second_of = None if reader is None else self._cases.image
        self.image.reset_choices()
        self.image.value = self._cases.image
        self._show()

    def _open_study(self) -> None:
        folder = self.study.folder
        assert folder is not None
        self._ids = folder.ids()
        self.message.say(f"{folder.path.name}: {len(self._ids)} frames.", "good")
        self.strokes.enter(folder)
        self._show()

    def _take_reader(self) -> None:
        self.strokes.who = self.study.who
        self.strokes.find_left_behind()
        self._show_work()

    def _restore(self, stroke: Stroke) -> None:
        work, folder = self._work, self.strokes.folder
        if work is None or folder is None:
            return
        try:
            known = folder.autosave.restore(stroke, work.frame)
        except ClnError as error:
            self.message.say(str(error), "bad")
            return
        put_masks(work, known.instances)
        work.look()
        work.take(known)
        self.strokes.left_behind.remove(stroke)
        self.strokes.save(work, known.status)
        self._show_work()

    def _discard(self, stroke: Stroke) -> None:
        if self.strokes.folder is not None:
            self.strokes.folder.autosave.discard(stroke)
            self.strokes.left_behind.remove(stroke)
            self.message.say("The strokes are put aside. They can be had back for one day.")
            self._show_work()

    def _saved(self, job: Job) -> None:
        n = len(job.annotation.nodes)
        self.message.say(f"Saved: {job.annotation.status}, {n} node{'s'[: n != 1]}.", "good")
        if job.work.case_id is not None and job.work.case_id not in self._ids:
            self._ids.append(job.work.case_id)
        self._show_work()

    def _failed(self, _job: Job, error: Exception) -> None:
        if isinstance(error, ClnError):
            self.message.say(str(error), "bad")
            return
        from napari.utils.notifications import notification_manager

        notification_manager.receive_error(type(error), error, error.__traceback__)
        self.message.say(f"Not saved: unexpected {type(error).__name__}: {error}", "bad")

    # ------------------------------------------------------------ what is shown

    def _show(self) -> None:
        """Bring the dock in line with the frame in view."""
        self.strokes.look()
        image, former = self.image.value, self._work
        labels = None if image is None else chosen_labels(self.viewer, image, former)
        self._work = None
        if image is not None and labels is not None:
            try:
                self._work = self.strokes.work_on(image, labels, self.index())
            except ClnError as error:
                self.message.say(str(error), "bad")
        if self._work is not former:
            self.strokes.start_clock()
            if former is not None and former.labels.ndim == 3:
                former.let_go()
        if image is not self._patient_of:
            # Never the last image's patient: a wrong key would put one patient on two sides of a split.
            self._patient_of = image
            self.patient.setText("" if self._work is None else self._work.frame.patient_id or "")
            self._take_patient()
        self._show_work()

    def _show_work(self) -> None:
        work = self._work
        self.walk.refresh()
        self.nodes.show_nodes([] if work is None else work.node_ids, {} if work is None else work.facts)
        if work is not None and self.note.text() != work.note and not self.note.hasFocus():
            self.note.setText(work.note)
        self.state.setText(describe_work(work, self.image.value))
        self.empty.setVisible(work is None)
        self.take_saved.setVisible(work is not None and work.revision > 0)
        self.recovery.offer(self.strokes.left_behind, None if work is None else work.case_id)
        show_difference(self.viewer, work if self.difference.isChecked() else None)

    def _take_nodes(self) -> None:
        if self._work is not None:
            self._work.facts |= self.nodes.nodes
            self.strokes.save(self._work, self._work.status)

    def _take_note(self) -> None:
        if self._work is not None and self.note.text() != self._work.note:
            self._work.note = self.note.text()
            self.strokes.save(self._work, self._work.status)

    def _take_patient(self) -> None:
        self.strokes.patient = self.patient.text().strip() or None

    def _type_patient(self) -> None:
        self._take_patient()
        if self.patient.isModified() and self._work is not None and self._work.revision:
            self.strokes.save(self._work, self._work.status)
        self.patient.setModified(False)

    # ------------------------------------------------------------ where we are

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
        self.study.failed.connect(lambda reason: self.message.say(reason, "bad"))
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
        self.strokes.changed.connect(self._show)
        self.strokes.saved.connect(self._saved)
        self.strokes.failed.connect(self._failed)
        self.strokes.refused.connect(lambda reason: self.message.say(reason, "bad"))
        self._timer.timeout.connect(self._show)
        self.listen(self.viewer.dims.events.current_step, lambda _event: self._timer.start())
        self.listen(self.viewer.layers.selection.events.active, self._follow_selection)
        self.bind_key("Shift-A", self.accept)
        self.bind_key("Shift-R", self.reject)
        self.bind_key("Shift-X", self.no_node)
        self.bind_key("Shift-D", self.difference.toggle)
        self.bind_key("Shift-J", lambda: self.walk.step(-1))
        self.bind_key("Shift-K", lambda: self.walk.step(1))
