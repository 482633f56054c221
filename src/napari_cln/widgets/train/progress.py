"""What a run's ``progress.jsonl`` says so far, read a piece at a time so that no window waits."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["FoldProgress", "Follower", "Progress", "spoken_time"]

PIECE = 256 * 1024
"""Bytes a look: some 10 ms of work."""


@dataclass
class FoldProgress:
    """Curves of one fold over its epochs, and the worst validation frames of the last one."""

    loss: dict[float, float] = field(default_factory=dict)
    dice: dict[float, float] = field(default_factory=dict)
    auc: dict[float, float] = field(default_factory=dict)
    worst: tuple[str, ...] = ()
    epoch: float = 0.0
    seconds: float = 0.0
    n_validation: int = 0


@dataclass
class Progress:
    """A run so far.

    ``state`` is what its events say: ``"waiting"`` (no event yet), ``"training"``, ``"ended"``,
    ``"stopped"`` or ``"failed"``, the last two with a ``message``. A process that was killed says
    nothing, so that its run still says ``"training"``.
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
    comparison: dict[str, Any] | None = None
    figures: tuple[str, ...] = ()

    @property
    def part_done(self) -> float:
        """Part of the run that is done, in [0, 1], if no fold stops early."""
        if self.state == "ended":
            return 1.0
        now = self.folds.get(self.fold, FoldProgress())
        return min((self.fold + now.epoch / self.n_epochs) / self.n_folds, 1.0)

    def say(self) -> str:
        """Where the run is, in a sentence."""
        now = self.folds.get(self.fold)
        where = f" on {self.device}" if self.device else ""
        if now is None:
            return f"Training on {self.n_frames} frames{where}: the first steps are under way."
        epoch = min(int(now.epoch) + 1, self.n_epochs)
        parts = [f"Fold {self.fold + 1} of {self.n_folds}, epoch {epoch} of {self.n_epochs}{where}"]
        for name, curve in (("loss", now.loss), ("Dice", now.dice), ("AUC", now.auc)):
            if curve:
                parts.append(f"{name} {curve[max(curve)]:.3f}")
        left = (self.n_folds - self.fold) * self.n_epochs - now.epoch
        if now.epoch > 0 and now.seconds > 0:
            parts.append(f"about {spoken_time(now.seconds / now.epoch * left)} left")
        return ", ".join(parts) + "."

    def take(self, event: dict[str, Any]) -> None:
        """Take in an event; one that is not as it must be changes nothing."""
        with suppress(KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
            _TAKERS.get(event["event"], _take_nothing)(self, event)


def _take_start(progress: Progress, event: dict[str, Any]) -> None:
    # a resumed run starts anew in the same file
    progress.n_folds, progress.n_epochs = max(int(event["folds"]), 1), max(int(event["epochs"]), 1)
    progress.n_frames, progress.device = int(event["frames"]), str(event["device"])
    progress.state, progress.message, progress.comparison, progress.figures = "training", "", None, ()


def _take_step(progress: Progress, event: dict[str, Any]) -> None:
    fold = _fold_of(progress, event)
    fold.epoch = progress.n_epochs * int(event["step"]) / int(event["of"])
    fold.seconds = float(event["seconds"])
    fold.loss[fold.epoch] = float(event["loss"]["total"])


def _take_epoch(progress: Progress, event: dict[str, Any]) -> None:
    fold = _fold_of(progress, event)
    fold.epoch, fold.seconds = float(event["epoch"]), float(event["seconds"])
    fold.n_validation = int(event["n"])
    # an epoch of a few steps may tell of none of them; the last point is the furthest one
    if "loss" in event and next(reversed(fold.loss), 0.0) <= fold.epoch - 1:
        fold.loss[fold.epoch] = float(event["loss"]["total"])
    for name, curve in (("dice_mean", fold.dice), ("auc", fold.auc)):
        if event.get(name) is not None:
            curve[fold.epoch] = float(event[name])
    fold.worst = tuple(str(id_) for id_ in event["worst"])
    if event.get("dice_mean"):
        progress.collapsed = ""  # it draws again


def _take_collapsed(progress: Progress, event: dict[str, Any]) -> None:
    _fold_of(progress, event)
    progress.collapsed = f"Fold {progress.fold + 1}, epoch {event['epoch']}: {event['message']}"


def _take_failed(progress: Progress, event: dict[str, Any]) -> None:
    progress.message, progress.state = str(event["message"]), "failed"


def _take_stopped(progress: Progress, event: dict[str, Any]) -> None:
    progress.message = f"Stopped after step {int(event['step'])} of {int(event['of'])}."
    progress.state = "stopped"


def _take_comparison(progress: Progress, event: dict[str, Any]) -> None:
    progress.comparison = event


def _take_end(progress: Progress, event: dict[str, Any]) -> None:
    progress.figures, progress.state = tuple(str(figure) for figure in event["figures"]), "ended"


def _take_nothing(progress: Progress, event: dict[str, Any]) -> None:
    """Events of a later version are no news to this one."""


_TAKERS = {
    "start": _take_start,
    "step": _take_step,
    "epoch": _take_epoch,
    "collapsed": _take_collapsed,
    "failed": _take_failed,
    "stopped": _take_stopped,
    "comparison": _take_comparison,
    "end": _take_end,
}


def _fold_of(progress: Progress, event: dict[str, Any]) -> FoldProgress:
    progress.fold = min(max(int(event["fold"]), 0), progress.n_folds - 1)
    progress.state = "training"
    return progress.folds.setdefault(progress.fold, FoldProgress())


class Follower:
    """Reader of a run's progress, from where it stopped the last time.

    Attributes
    ----------
    progress : Progress
    offset : int
        Bytes read so far.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / "progress.jsonl"
        self.progress = Progress()
        self.offset = 0
        self._rest = b""

    def read(self) -> bool:
        """Take in the next piece; True where there was one."""
        try:
            with self.path.open("rb") as log:
                if log.seek(0, os.SEEK_END) < self.offset:
                    self._begin()  # another run took its place
                log.seek(self.offset)
                piece = log.read(PIECE)
        except OSError:
            return False
        self.offset += len(piece)
        # a line that is half written waits for its other half
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            with suppress(ValueError, RecursionError):
                event = json.loads(line)
                if isinstance(event, dict):
                    self.progress.take(event)
        return bool(piece)

    def _begin(self) -> None:
        self.progress, self.offset, self._rest = Progress(), 0, b""


def spoken_time(seconds: float) -> str:
    """A length of time in a word or two."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
