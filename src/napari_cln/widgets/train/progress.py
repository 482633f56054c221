"""The progress of a run from its ``progress.jsonl``, read a piece at a time so that no window waits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ...errors import counted
from ...models.card import ModelComparison
from ...training.run_folder import (
    Collapsed,
    Compared,
    End,
    Epoch,
    Event,
    EventReader,
    Failed,
    Note,
    RunFolder,
    Start,
    Step,
    Stopped,
)
from ...workflow.process import Job, last_words


@dataclass
class FoldProgress:
    """Curves of one fold over its epochs, and the worst validation frames of the last one."""

    loss: dict[float, float] = field(default_factory=dict)
    dice: dict[float, float] = field(default_factory=dict)
    auc: dict[float, float] = field(default_factory=dict)
    worst: tuple[str, ...] = ()
    epoch: float = 0.0
    seconds: float = 0.0


@dataclass
class RunProgress:
    """A run so far.

    ``state`` is what its events say: ``"waiting"`` (no event yet), ``"training"``, ``"ended"``,
    ``"stopped"`` or ``"failed"``, the last two with a ``message``. A process that was killed says
    nothing, so that its run still says ``"training"``. ``note`` is the last thing that was found damaged,
    ``weights`` what the first weights are.
    """

    state: str = "waiting"
    n_folds: int = 1
    n_epochs: int = 1
    n_frames: int = 0
    device: str = ""
    fold: int = 0
    folds: dict[int, FoldProgress] = field(default_factory=dict)
    message: str = ""
    collapsed: str = ""
    note: str = ""
    weights: str = ""
    comparison: ModelComparison | None = None
    figures: tuple[str, ...] = ()

    @property
    def part_done(self) -> float:
        """Part of the run that is done, in [0, 1], if no fold stops early."""
        if self.state == "ended":
            return 1.0
        now = self.folds.get(self.fold, FoldProgress())
        return min((self.fold + now.epoch / self.n_epochs) / self.n_folds, 1.0)

    def say(self) -> str:
        """Return where the run is, in a sentence."""
        now = self.folds.get(self.fold)
        where = f" on {self.device}" if self.device else ""
        if now is None:
            start = f", from {self.weights}" if self.weights else ""
            return (
                f"Training on {counted(self.n_frames, 'frame')}{where}{start}: the first steps are under way."
            )
        epoch = min(int(now.epoch) + 1, self.n_epochs)
        parts = [f"Fold {self.fold + 1} of {self.n_folds}, epoch {epoch} of {self.n_epochs}{where}"]
        for name, curve in (("loss", now.loss), ("Dice", now.dice), ("AUC", now.auc)):
            if curve:
                parts.append(f"{name} {curve[max(curve)]:.3f}")
        left = (self.n_folds - self.fold) * self.n_epochs - now.epoch
        if now.epoch > 0 and now.seconds > 0:
            parts.append(f"about {spoken_time(now.seconds / now.epoch * left)} left")
        return ", ".join(parts) + "."

    def take(self, event: Event) -> None:
        """Take in an event."""
        match event:
            case Start():  # a resumed run starts anew in the same file
                self.n_folds, self.n_epochs, self.n_frames = event.folds, event.epochs, event.frames
                self.device, self.weights = event.device, event.weights
                self.state, self.message, self.comparison, self.figures = "training", "", None, ()
            case Step():
                fold = self._fold_of(event)
                fold.epoch, fold.seconds = self.n_epochs * event.step / event.of, event.seconds
                if (loss := event.loss.get("total")) is not None:
                    fold.loss[fold.epoch] = loss
            case Epoch():
                self._take_epoch(event)
            case Collapsed():
                self._fold_of(event)
                self.collapsed = f"Fold {self.fold + 1}, epoch {event.epoch}: {event.message}"
            case Stopped():
                self.message, self.state = f"Stopped after step {event.step} of {event.of}.", "stopped"
            case Failed():
                self.message, self.state = event.message, "failed"
            case Compared():
                self.comparison = event.comparison
            case End():
                self.figures, self.state = event.figures, "ended"
            case Note():
                self.note = event.message

    def _take_epoch(self, event: Epoch) -> None:
        fold = self._fold_of(event)
        fold.epoch, fold.seconds = float(event.epoch), event.seconds
        # an epoch of a few steps may tell of none of them; the last point is the furthest one
        if (loss := event.loss.get("total")) is not None and next(reversed(fold.loss), 0.0) <= fold.epoch - 1:
            fold.loss[fold.epoch] = loss
        for value, curve in ((event.dice_mean, fold.dice), (event.auc, fold.auc)):
            if value is not None:
                curve[fold.epoch] = value
        fold.worst = event.worst
        if event.dice_mean:
            self.collapsed = ""  # it draws again

    def _fold_of(self, event: Step | Epoch | Collapsed) -> FoldProgress:
        self.fold = min(event.fold, self.n_folds - 1)
        self.state = "training"
        return self.folds.setdefault(self.fold, FoldProgress())


class Follower:
    """Reader of a run's progress, from where it stopped the last time.

    Attributes
    ----------
    progress : RunProgress
    offset : int
        Bytes read so far.
    """

    def __init__(self, run: RunFolder) -> None:
        self._events = EventReader(run)
        self.progress = RunProgress()

    @property
    def offset(self) -> int:
        return self._events.offset

    def read(self) -> bool:
        """Take in the next piece; True where there was one."""
        restarts = self._events.restarts
        events, there_was = self._events.read()
        if self._events.restarts != restarts:
            self.progress = RunProgress()  # another run took its place
        for event in events:
            self.progress.take(event)
        return there_was


GO_ON = "Resume goes on from the last checkpoint."
GO_ON_THERE = "Resume goes on from there."


def status_of(
    run: Path, progress: RunProgress, job: Job | None, alive: bool, stopping: bool
) -> tuple[str, str] | None:
    """Return a sentence and its mood; None where there is nothing to say.

    Parameters
    ----------
    run : Path
    progress : RunProgress
    job : Job or None
        The process that was started last; None for a run that was started elsewhere.
    alive : bool
        Whether that process runs.
    stopping : bool
        Whether the user asked it to stop.
    """
    if progress.state == "ended":
        return f"Training in {run.name} is done. Its model is not in use before you promote it.", "good"
    if alive:
        return _running(progress, stopping)
    if progress.state == "stopped":
        return f"{progress.message} {GO_ON_THERE}", "info"
    if stopping:
        return f"Stopped. {GO_ON}", "info"
    if progress.state == "failed":
        return progress.message, "bad"
    if job is None or not job.is_here:
        if progress.state == "waiting":
            return None
        place = "outside of napari" if job is None else f"on {job.host}"
        return f"{progress.say()} It was started {place}: stop it there.", "info"
    said = last_words(run)
    reason = (
        f": {said}" if said else ", without a word, as when it is killed or the computer's memory is full."
    )
    return f"The training process ended before it was done{reason} {GO_ON}", "bad"


def _running(progress: RunProgress, stopping: bool) -> tuple[str, str]:
    if stopping:
        return "Stopping after the step under way … Press Stop now to end it at once.", "info"
    if progress.state != "training":
        return "Starting: the training process loads its libraries …", "info"
    if progress.collapsed or progress.note:
        return " ".join(filter(None, (progress.note, progress.collapsed, progress.say()))), "bad"
    return progress.say(), "info"


def spoken_time(seconds: float) -> str:
    """A length of time in a word or two."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
