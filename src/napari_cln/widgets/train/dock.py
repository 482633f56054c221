"""Train dock: a better model from a training folder, by a process that outlives the window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QToolButton
from superqt.utils import create_worker

from ...errors import ClnError, RunError
from ...folder.health.case import Fault
from ...folder.health.check import check_study
from ...training.run_folder import PIECE, RunFolder
from ..common.dock import Dock, button, form
from ..common.frame_rows import WorstFrames, read_frame_of, reference_layers
from ..common.jobs import Job, find_job, start_job
from ..common.places import Place, next_run, remember_places, remembered_places
from ..common.tasks import Failure
from .curves import Curves
from .outcome import Outcome
from .progress import Follower, RunProgress
from .settings import Settings, arguments_of
from .words import status_of

if TYPE_CHECKING:
    import napari

START = "Choose a training folder: the one that the Correct dock saves to. Then press Start."
LOOK_EVERY_MS = 1000
PATIENCE_MS = 20_000
"""How long a process may take to end by itself before it is killed."""


class TrainDock(Dock):
    """Dock that starts a training run, follows it, and offers its model.

    Parameters
    ----------
    napari_viewer : napari.Viewer

    Attributes
    ----------
    folder, run : Place
        The training folder, and the folder of the run.
    settings : Settings
    start, stop, resume : QPushButton
    curves : Curves
    worst : WorstFrames
    outcome : Outcome
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer)
        self.folder = Place("Training folder", "Folder with the frames and masks that you saved")
        self.run = Place("Folder of the run", "Folder for the new model, its log and its curves")
        self.new_run = QToolButton()
        self.new_run.setText("+")
        self.new_run.setToolTip("A new folder, beside the training folder")
        self.settings = Settings()
        self.start = button("Start", "Check the folder, then train in a process of its own", primary=True)
        self.stop = button("Stop", "Finish the step under way and end; Resume goes on from there")
        self.resume = button("Resume", "Go on where the run ended, with the same settings")
        self.bar = QProgressBar()
        self.curves = Curves()
        self.worst_title = QLabel("Worst validation frames")
        self.worst = WorstFrames()
        self.outcome = Outcome()
        self._follower: Follower | None = None
        self._job: Job | None = None
        self._check: Any = None
        self._stopping = False
        self._status: tuple[str, str] = ("", "")
        self._timer = QTimer(self)
        self._timer.setInterval(LOOK_EVERY_MS)
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(PATIENCE_MS)
        self._build()
        self._connect()
        self.message.say(START)
        self._show(RunProgress(), False)
        if (places := remembered_places()) is not None:
            self.folder.choose(places[0])
            self.run.choose(places[1])
        for dock in self.neighbours():
            if dock.training_folder is not None:
                self.take_training_folder(dock.training_folder)

    # ------------------------------------------------------------ what the buttons do

    def start_run(self) -> None:
        """Check the training folder, then train on it."""
        run = self.run.path
        if run is not None and RunFolder(run).is_begun:
            self.message.say(f"{run.name} already holds a run. Resume it, or choose another folder.", "bad")
            return
        try:
            options = arguments_of(self.settings.value)
        except ClnError as error:  # a number that was refused
            self.message.say(str(error), "bad")
            return
        self._begin(*options)

    def resume_run(self) -> None:
        """Go on with the run in the run's folder."""
        run = self.run.path
        if run is None or not RunFolder(run).is_begun:
            self.message.say("The run's folder holds no run to resume. Press Start.", "bad")
            return
        try:
            self.settings.show_record(RunFolder(run).record_to_resume().config)
        except RunError as error:
            self.message.say(str(error), "bad")
            return
        self._begin("--resume")

    def stop_run(self) -> None:
        """Ask the process to end; kill it where it was asked before."""
        if self._job is None:
            return
        if self._stopping:
            self._kill()
            return
        self._stopping = True
        self._job.ask_to_stop()
        self._patience.start()
        self.look()

    def propose_run(self) -> None:
        """Put a folder into the run's field that holds no run yet."""
        if self.folder.path is None:
            self.message.say(START, "bad")
        else:
            self.run.choose(next_run(self.folder.path))

    def take_training_folder(self, folder: Path) -> None:
        """Train on what is saved there, unless a run is under way."""
        if folder != self.folder.path and not self._is_busy():
            self.folder.choose(folder)
            self.propose_run()

    # ------------------------------------------------------------ a run

    def _is_busy(self) -> bool:
        return self._check is not None or (self._job is not None and self._job.is_alive())

    def _begin(self, *options: str) -> None:
        folder, run = self.folder.path, self.run.path
        if folder is None or run is None:
            self.message.say(START, "bad")
        elif self._is_busy():
            self.message.say("A run is under way. Stop it first.", "bad")
        else:
            self._plan = (folder, run, options)
            self._check = create_worker(_find_faults, folder, _start_thread=False)
            self._check.returned.connect(self._launch)
            self._check.finished.connect(self._checked)
            self._tell("Checking the training folder …", "info")
            self.start.setEnabled(False)
            self._check.start()

    def _launch(self, found: list[Fault] | Failure) -> None:
        folder, run, options = self._plan
        try:
            if isinstance(found, Failure):
                raise found.error
            errors = [fault for fault in found if fault.severity == "error"]
            if errors:
                more = f" ({len(errors) - 1} more: run `napari-cln check`.)" if len(errors) > 1 else ""
                self._tell(f"Not started. {errors[0]}{more}", "bad")
                return
            start_job(["train", str(folder), f"--out={run.name}", *options], run)
        except ClnError as error:
            self._tell(str(error), "bad")
            return
        remember_places(folder, run)
        self._follow()

    def _checked(self) -> None:
        self._check = None
        self.look()

    def _kill(self) -> None:
        if self._job is not None:
            self._job.kill()
        self.look()

    def _follow(self) -> None:
        """Follow the run in the run's folder, whoever started it."""
        run = self.run.path
        self._follower = Follower(RunFolder(run)) if run is not None else None
        self._job = find_job(run, "train") if run is not None else None
        self._stopping = False
        self._patience.stop()
        self._timer.start()
        self.look()

    def look(self) -> None:
        """See what the run has written since the last look, and show it."""
        if self._follower is None:
            self._show(RunProgress(), False)
            return
        before = self._follower.offset
        alive = self._job is not None and self._job.is_alive()
        # read after asking: what a process wrote before it ended is read before it counts as ended
        new = self._follower.read()
        if self._follower.offset - before == PIECE:
            QTimer.singleShot(0, self.look)
        elif not alive:
            elsewhere = self._job is None or not self._job.is_here
            if not elsewhere or self._follower.progress.state in ("waiting", "ended", "failed", "stopped"):
                self._timer.stop()
        self._show(self._follower.progress, alive, redraw=new)

    # ------------------------------------------------------------ what is shown

    def _show(self, progress: RunProgress, alive: bool, *, redraw: bool = True) -> None:
        run = self.run.path
        busy = alive or self._check is not None
        unfinished = run is not None and progress.state != "ended" and RunFolder(run).is_begun
        self.start.setEnabled(not busy)
        self.stop.setEnabled(alive)
        self.stop.setText("Stop now" if alive and self._stopping else "Stop")
        self.resume.setEnabled(not busy and unfinished)
        for part in (self.folder, self.run, self.settings):
            part.setEnabled(not busy)
        begun = bool(progress.folds)
        for shown in (self.bar, self.curves, self.worst_title, self.worst):
            shown.setVisible(begun or (shown is self.bar and alive))
        self.bar.setRange(0, 1000 if begun else 0)
        self.bar.setValue(round(1000 * progress.part_done))
        if begun and redraw:
            self.curves.show_progress(progress)
            if self.folder.path is not None and progress.fold in progress.folds:
                self.worst.show_frames(self.folder.path, progress.folds[progress.fold].worst)
        if redraw or progress.state == "ended":
            self.outcome.show_run(RunFolder(run) if run is not None else None, progress)
        if (
            run is not None
            and self._check is None
            and (words := status_of(run, progress, self._job, alive, self._stopping))
        ):
            self._tell(*words)

    def _tell(self, sentence: str, mood: str) -> None:
        """Say what is new; what a button said meanwhile is not said over."""
        if (sentence, mood) != self._status:
            self._status = (sentence, mood)
            self.message.say(sentence, mood)

    def _open_frame(self, case_id: str) -> None:
        if self.folder.path is None:
            return
        try:
            stored = read_frame_of(self.folder.path, case_id)
        except ClnError as error:
            self.message.say(str(error), "bad")
            return
        for layer in reference_layers(stored):
            self.viewer.add_layer(layer)

    def _take_folder(self) -> None:
        if self.folder.path is not None and self.run.path is None:
            self.propose_run()

    def _take_run(self) -> None:
        run = self.run.path
        self._follow()
        if run is None or not RunFolder(run).is_begun:
            return
        try:
            self.settings.show_record(RunFolder(run).record_to_resume().config)
        except RunError as error:
            self.message.say(str(error), "bad")
            return
        if self._job is None and (faults := RunFolder(run).faults(with_progress=False)):
            self.message.say(" ".join(faults), "bad")

    def _build(self) -> None:
        self.run.row.addWidget(self.new_run)
        rows = form()
        rows.addRow("Training folder", self.folder)
        rows.addRow("Run", self.run)
        self.column.addLayout(rows)
        self.column.addWidget(self.settings)
        buttons = QHBoxLayout()
        for made in (self.start, self.stop, self.resume):
            buttons.addWidget(made)
        self.column.addLayout(buttons)
        for part in (self.bar, self.curves, self.worst_title, self.worst, self.outcome):
            self.column.addWidget(part)
        self.column.addStretch()

    def _connect(self) -> None:
        self.start.clicked.connect(self.start_run)
        self.stop.clicked.connect(self.stop_run)
        self.resume.clicked.connect(self.resume_run)
        self.new_run.clicked.connect(self.propose_run)
        self.folder.changed.connect(self._take_folder)
        self.run.changed.connect(self._take_run)
        self.worst.frame_chosen.connect(self._open_frame)
        self.outcome.said.connect(self.message.say)
        for model in (self.settings.start_from, self.settings.compare_with):
            model.failed.connect(lambda reason: self.message.say(reason, "bad"))
        self._timer.timeout.connect(self.look)
        self._patience.timeout.connect(self._kill)


def _find_faults(folder: Path) -> list[Fault] | Failure:
    try:
        return [*check_study(folder).faults]
    except ClnError as error:
        return Failure(error)
