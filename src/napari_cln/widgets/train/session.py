"""A training run: started, followed and stopped, and its model put into use. Needs no window."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from ...disk.atomic import write_atomically
from ...disk.user import config_folder
from ...errors import ClnError, RunError, WeightsError
from ...folder.health.case import Fault
from ...folder.health.check import check_study
from ...models.library import model_in_use, promotions, read_card
from ...training.config import TrainConfig
from ...training.run_folder import PIECE, RunFolder
from ...workflow.promote import describe_comparison, doubts_about, promote, undo_promotion
from ..common.failures import words_of
from ..common.parts import Signal
from ..common.process_panel import ProcessSession, ProcessState
from ..common.reference_frames import read_frame_of, reference_layers
from ..common.worker import Work
from ..common.workplace import workplace_of
from .progress import Follower, RunProgress, status_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

START = "Choose a training folder: the one that the Correct dock saves to. Then press Start."
PATIENCE_MS = 20_000
"""How long a process may take to end by itself before it is killed."""
MEMORY = "train.json"


@dataclass(frozen=True, kw_only=True)
class OutcomeState:
    """The model of a finished run, and the one in use; ``comparison`` and ``mood`` say which is better."""

    is_shown: bool = False
    figures: tuple[str, ...] = ()
    comparison: str = ""
    mood: str = "info"
    in_use: str = ""
    can_promote: bool = False
    can_undo: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Folders and buttons, the run so far, and its model.

    ``look`` counts what was read of the run: curves are drawn anew when it has changed.
    """

    process: ProcessState = field(default_factory=ProcessState)
    progress: RunProgress = field(default_factory=RunProgress)
    look: int = 0
    outcome: OutcomeState = field(default_factory=OutcomeState)


class TrainSession(QObject):
    """One run at a time, in a process that outlives the window.

    Attributes
    ----------
    process : ProcessSession
        Folders and process.
    promotion : Promotion
        Its model.
    follower : Follower, optional
        What the run has written so far.
    """

    changed = Signal()  # another state is to be shown
    told = Signal(str, str)  # a sentence, and its mood
    recorded = Signal(object)  # the TrainConfig of the run in the run's folder

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.process = ProcessSession("train", "run", PATIENCE_MS, self)
        self.follower: Follower | None = None
        self._check: Work | None = None
        self._status = ("", "")
        self._looks = 0
        self._shown: list[Layer] = []
        self.promotion = Promotion(self)
        self.promotion.changed.connect(self.changed)
        self.promotion.told.connect(self.told)
        self.process.followed.connect(self._follow)
        self.process.looked.connect(self.look)
        self.process.folder_chosen.connect(self.changed)
        self.process.out_chosen.connect(self._take_run)

    # ------------------------------------------------------------ state

    @property
    def progress(self) -> RunProgress:
        """The run so far."""
        return RunProgress() if self.follower is None else self.follower.progress

    @property
    def is_busy(self) -> bool:
        """True while a folder is checked or a run is under way."""
        return self._check is not None or self.process.is_alive

    @property
    def state(self) -> TrainState:
        """The state as it is to be shown now."""
        progress, process, alive = self.progress, self.process, self.process.is_alive
        run, busy, begun = process.run_folder, alive or self._check is not None, bool(self.progress.folds)
        shown = ProcessState(
            folder=process.folder,
            out=process.out,
            is_busy=busy,
            is_alive=alive,
            is_stopping=process.is_stopping,
            can_resume=not busy and run is not None and progress.state != "ended" and run.is_begun,
            shows_bar=begun or alive,
            done=progress.part_done if begun else None,
        )
        return TrainState(process=shown, progress=progress, look=self._looks, outcome=self.promotion.state)

    # ------------------------------------------------------------ a run

    def start(self, config: TrainConfig) -> None:
        """Check the training folder, then train on it."""
        run = self.process.run_folder
        if run is not None and run.is_begun:
            name = run.path.name
            self.told.emit(f"{name} already holds a run. Resume it, or choose another folder.", "bad")
        else:
            self._begin(config)

    def resume(self) -> None:
        """Go on with the run in the run's folder."""
        run = self.process.run_folder
        if run is None or not run.is_begun:
            self.told.emit("The run's folder holds no run to resume. Press Start.", "bad")
            return
        try:
            self.recorded.emit(run.record_to_resume().config)
        except RunError as error:
            self.told.emit(str(error), "bad")
        else:
            self._begin(None)

    def propose(self) -> None:
        """Take a folder for the run that holds none yet."""
        if self.process.folder is None:
            self.told.emit(START, "bad")
        else:
            self.process.propose()

    def take_training_folder(self, folder: Path) -> None:
        """Train on what is saved there, unless a run is under way."""
        if folder != self.process.folder and not self.is_busy:
            self.process.choose_folder(folder)
            self.process.propose()

    def recall(self) -> None:
        """Take the folders of the run that was started last, by this user in any window."""
        if (places := remembered_places()) is not None:
            self.process.folder, run = places
            self.process.choose_out(run)

    def _begin(self, config: TrainConfig | None) -> None:
        """Check the folder and start; without settings, go on with the run that is there."""
        folder, run = self.process.folder, self.process.out
        if folder is None or run is None:
            self.told.emit(START, "bad")
        elif self.is_busy:
            self.told.emit("A run is under way. Stop it first.", "bad")
        else:
            self._check = Work(self, _find_faults, folder)
            self._check.done.connect(lambda found: self._launch(found, config))
            self._check.failed.connect(lambda error: self._tell(words_of(error), "bad"))
            self._check.ended.connect(self._checked)
            self._tell("Checking the training folder …", "info")
            self._check.start()
            self.changed.emit()

    def _launch(self, found: list[Fault], config: TrainConfig | None) -> None:
        errors = [fault for fault in found if fault.severity == "error"]
        if errors:
            more = f" ({len(errors) - 1} more: run `napari-cln check`.)" if len(errors) > 1 else ""
            self._tell(f"Not started. {errors[0]}{more}", "bad")
            return
        try:
            self.process.start(*(["--resume"] if config is None else []), settings=config)
        except ClnError as error:
            self._tell(str(error), "bad")
        else:
            assert self.process.folder is not None
            assert self.process.out is not None
            remember_places(self.process.folder, self.process.out)

    def _checked(self) -> None:
        self._check = None
        self.look()

    def _follow(self) -> None:
        run = self.process.run_folder
        self.follower = None if run is None else Follower(run)

    def look(self) -> None:
        """See what the run has written since the last look, and show it."""
        if self.follower is None:
            self.changed.emit()
            return
        before, alive = self.follower.offset, self.process.is_alive
        # read after asking: what a process wrote before it ended is read before it counts as ended
        new = self.follower.read()
        progress, job = self.follower.progress, self.process.job
        self._looks += new
        if self.follower.offset - before == PIECE:
            QTimer.singleShot(0, self.look)
        elif not alive and (
            (job is not None and job.is_here) or progress.state in ("waiting", "ended", "failed", "stopped")
        ):
            self.process.rest()
        if new or progress.state == "ended":
            self.promotion.see(self.process.run_folder, progress)
        self.changed.emit()
        run = self.process.out
        words = None if run is None else status_of(run, progress, job, alive, self.process.is_stopping)
        if words and self._check is None:
            self._tell(*words)

    def _tell(self, sentence: str, mood: str) -> None:
        """Say what is new; what a button said meanwhile is not said over."""
        if (sentence, mood) != self._status:
            self._status = (sentence, mood)
            self.told.emit(sentence, mood)

    def _take_run(self) -> None:
        run = self.process.run_folder
        self.promotion.see(run, self.progress)
        self.changed.emit()
        if run is None or not run.is_begun:
            return
        try:
            self.recorded.emit(run.record_to_resume().config)
        except RunError as error:
            self.told.emit(str(error), "bad")
            return
        if self.process.job is None and (faults := run.faults(with_progress=False)):
            self.told.emit(" ".join(faults), "bad")

    def open_frame(self, case_id: str) -> None:
        """Show a frame of the training folder with its reference masks."""
        if self.process.folder is None:
            return
        workplace = workplace_of(self.viewer)
        if workplace.open_case(self.process.folder, case_id) is not None:
            return
        try:
            stored = read_frame_of(self.process.folder, case_id)
        except ClnError as error:
            self.told.emit(str(error), "bad")
            return
        layers = reference_layers(stored)
        workplace.show_beside(layers, self._shown)
        self._shown = layers


class Promotion(QObject):
    """The model of a finished run: how it compares, into use, and back."""

    changed = Signal()  # another model is in use
    told = Signal(str, str)  # a sentence, and its mood
    doubted = Signal(str, str)  # why the model should rather not be promoted, and the model that is in use
    promoted = Signal(str, str)  # the model in use, and the one that was in use before

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._model: Path | None = None
        self._progress = RunProgress()
        self.see(None, RunProgress())

    def see(self, run: RunFolder | None, progress: RunProgress) -> None:
        """Look at what a run gave, if it has ended, and at the model in use."""
        self._model = run.model if run is not None and progress.state == "ended" else None
        self._progress = progress
        name = model_in_use()
        try:
            same = self._model is not None and read_card(self._model).sha256 == read_card(name).sha256
        except WeightsError:
            same = False
        words, mood = describe_comparison(progress.comparison)
        self.state = OutcomeState(
            is_shown=self._model is not None,
            figures=progress.figures,
            comparison=words,
            mood=mood,
            in_use=name,
            can_promote=self._model is not None and not same,
            can_undo=bool(promotions()),
        )

    def promote(self, *, confirmed: bool = False) -> None:
        """Put the model into use; where its numbers speak against it, only when confirmed."""
        if self._model is None:
            return
        before = model_in_use()
        try:
            doubts = doubts_about(read_card(self._model), self._progress.comparison)
            if doubts and not confirmed:
                self.doubted.emit(doubts, before)
                return
            card = promote(self._model, confirmed=True)
        except WeightsError as error:
            self.told.emit(str(error), "bad")
        else:
            words = f"{card.model_id} is in use now, instead of {before}."
            self._announce(card.name, before, words)

    def undo(self) -> None:
        """Put the former model back into use."""
        before = model_in_use()
        try:
            name = undo_promotion()
        except WeightsError as error:
            self.told.emit(str(error), "bad")
        else:
            self._announce(name, before, f"{name} is in use again. {before} stays in the list.")

    def _announce(self, name: str, before: str, sentence: str) -> None:
        self.promoted.emit(name, before)
        self._see_again()
        self.told.emit(sentence, "good")

    def _see_again(self) -> None:
        run = None if self._model is None else RunFolder(self._model.parent)
        self.see(run, self._progress)
        self.changed.emit()


def remember_places(folder: Path, run: Path) -> None:
    """Keep the two folders in the user's own settings, which are never part of a study."""
    with suppress(OSError):
        config_folder().mkdir(parents=True, exist_ok=True)
        places = {"folder": str(folder), "run": str(run)}
        write_atomically(config_folder() / MEMORY, json.dumps(places).encode())


def remembered_places() -> tuple[Path, Path] | None:
    """Return the folders of the run that was started last; None where they are gone."""
    try:
        places = json.loads((config_folder() / MEMORY).read_bytes())
        folder, run = Path(places["folder"]), Path(places["run"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return (folder, run) if run.is_dir() else None


def _find_faults(folder: Path) -> list[Fault]:
    return [*check_study(folder).faults]
