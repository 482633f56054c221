"""The frame in view: which mask is on the desk, what the folder has of it, what the dock shows."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from superqt.utils import create_worker

from ..._layers import n_frames_of
from ...errors import ClnError, FrameReadError
from .cases import CaseDesk, in_frame, put_masks
from .painted import Work
from .panel import Panel
from .saver import Job
from .second_reader import Finding, describe_agreement, find_undecided
from .shown import chosen_labels, describe_work, show_difference, show_reading
from .strokes import NO_FOLDER, Strokes
from .suggestions import Place
from .walk import Route

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel

    from ...folder.autosave import Stroke

__all__ = ["View"]


class View(Panel):
    """The Correct dock's fields, kept in line with the viewer, the strokes and the training folder."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._cases = CaseDesk(viewer)
        self._ids: list[str] = []
        self._work: Work | None = None
        self._patient_of: Image | None = None
        super().__init__(viewer, self._paths())
        self.strokes = Strokes(viewer, self.listen)
        self.strokes.setParent(self)
        self.strokes.who = self.study.who

    # ------------------------------------------------------------ the training folder

    @property
    def training_folder(self) -> Path | None:
        return self.study.folder.path if self.study.folder is not None else None

    def open_case(self, case_id: str) -> None:
        """Show a frame of the training folder."""
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
            self._refuse(str(error))
            return
        if work is not None:
            self.strokes.take(work).is_behind = False
        self.image.reset_choices()
        self.image.value = self._cases.image
        self._show()

    def _open_study(self) -> None:
        folder = self.study.folder
        assert folder is not None
        self._ids = folder.ids()
        self.message.say(f"{folder.path.name}: {len(self._ids)} frames.", "good")
        self.strokes.enter(folder)
        for dock in self.neighbours():
            dock.take_training_folder(folder.path)
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
            self._refuse(str(error))
            return
        put_masks(work, known.instances)
        work.look()
        work.take(known)
        for offered in (self.strokes.left_behind, self.strokes.put_aside):
            if stroke in offered:
                offered.remove(stroke)
        self.strokes.save(work, known.status)
        self._show_work()

    def _discard(self, stroke: Stroke) -> None:
        if self.strokes.folder is not None:
            self.strokes.folder.autosave.discard(stroke)
            self.strokes.find_left_behind()
            self.message.say("The strokes are put aside. They can be had back for one day.")
            self._show_work()

    def _go_to(self, place: Place) -> None:
        if place.image is None:
            self.open_case(place.key)
        elif place.image in self.viewer.layers:
            self.show_image(self.image.choices.index(place.image))
            if place.image.ndim == 3:
                self.viewer.dims.set_current_step(self.viewer.dims.ndim - 3, place.index)

    def _take_scale(self, image: Image) -> None:
        self.strokes.let_go(image)
        if self._work is not None and self._work.image is image and self._work.revision:
            self.strokes.save(self._work, self._work.status)

    def _saved(self, job: Job) -> None:
        n = len(job.annotation.nodes)
        state = f"{job.annotation.status}, {n} node{'s'[: n != 1]}."
        if job.decides is None:
            self.message.say(f"Saved: {state}", "good")
        else:
            self.message.say(f"Decided, with the reading of {job.decides.second.annotator}: {state}", "good")
        if job.second and job.spoken:
            worker = create_worker(
                describe_agreement, job.folder, job.who, job.work.case_id, _start_thread=False
            )
            worker.returned.connect(self.message.say)
            worker.start()
        if job.work.case_id is not None and job.work.case_id not in self._ids:
            self._ids.append(job.work.case_id)
        if job.work is self._work:
            self._look_for_other_readers()
        self._show_work()

    def _refuse(self, reason: str) -> None:
        self.message.say(reason, "bad")

    def _failed(self, _job: Job, error: Exception) -> None:
        if isinstance(error, ClnError):
            self._refuse(str(error))
            return
        from napari.utils.notifications import notification_manager

        notification_manager.receive_error(type(error), error, error.__traceback__)
        self.message.say(f"Not saved: unexpected {type(error).__name__}: {error}", "bad")

    # ------------------------------------------------------------ two readers

    def _look_for_other_readers(self) -> None:
        """See beside the window whether another reader sees the frame in view otherwise."""
        work, folder = self._work, self.strokes.folder
        if work is None or folder is None or work.second or not work.revision:
            return
        worker = create_worker(find_undecided, folder, work.case_id, _start_thread=False)
        worker.returned.connect(self._offer_decision)
        worker.start()

    def _offer_decision(self, finding: Finding) -> None:
        if self._work is not None and self._work.case_id == finding.case_id:
            self.decision.offer(finding)

    def _show_other(self) -> None:
        pair, work, folder = self.decision.pair, self._work, self.strokes.folder
        if pair is None or work is None or folder is None or not self.decision.show_other.isChecked():
            show_reading(self.viewer, None, None)
            return
        with suppress(ClnError):  # a frame of another size than the stored one: it is told on taking
            show_reading(self.viewer, work, in_frame(folder, pair.second, pair.case.id, work.frame))

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
                self._refuse(str(error))
        if self._work is not former:
            self.strokes.start_clock()
            self.decision.offer(None)
            self._look_for_other_readers()
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
        self.take_saved.setVisible(work is not None and work.is_behind)
        case_id = None if work is None else work.case_id
        self.recovery.offer(self.strokes.left_behind, self.strokes.put_aside, case_id)
        show_difference(self.viewer, work if self.difference.isChecked() else None)

    def _take_patient(self) -> None:
        self.strokes.patient = self.patient.text().strip() or None

    # ------------------------------------------------------------ what can be gone through

    def _paths(self) -> tuple[Route, ...]:
        def place(of: Any, among: Any) -> int | None:
            return list(among).index(of) if of in among else None

        return (
            Route(
                title="frames of this cine",
                count=self._n_frames,
                position=lambda: self.index() if self._n_frames() else None,
                go=lambda index: self.viewer.dims.set_current_step(self.viewer.dims.ndim - 3, index),
            ),
            Route(
                title="open images",
                count=lambda: len(self.image.choices),
                position=lambda: place(self.image.value, self.image.choices),
                go=self.show_image,
            ),
            Route(
                title="frames of the training folder",
                count=lambda: len(self._ids),
                position=lambda: place(self._cases.case_id, self._ids),
                go=lambda number: self.open_case(self._ids[number]),
            ),
        )

    def _n_frames(self) -> int:
        try:
            return 0 if self.image.value is None else n_frames_of(self.image.value)
        except FrameReadError:  # a layer that is no frame; reading it says so
            return 0
