"""The folder of a training run, or of an evaluation: what lies in it, and what each file says. Without torch.

::

    run.json               settings and folds, to resume with and to repeat
    progress.jsonl         one line per event, to follow from anywhere
    settings.json          those that a window handed to the process it started
    job.json, log.txt      which process it is, and what it printed, where a window started it
    fold-0/ …              model.safetensors + .json, checkpoint.pt and best.pt of each fold
    model.safetensors      the fold that validated best, or all of them as an ensemble, with model.json,
                           its card

Only this module knows these files. A line or a file that is damaged, as by a power cut, is one named
fault: :meth:`RunFolder.faults` tells of it, and the rest is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar, get_args

import msgspec
from msgspec import Meta, Struct

from ..disk.atomic import sweep, write_atomically
from ..disk.schema import SchemaError, read
from ..errors import RunError, counted
from ..folder.split.deal import Fold
from ..models.card import ModelComparison
from ..types import Estimate
from .config import TrainConfig

__all__ = [
    "Collapsed",
    "Compared",
    "End",
    "Epoch",
    "Event",
    "EventReader",
    "Failed",
    "JobRecord",
    "Judged",
    "Note",
    "RunFolder",
    "Start",
    "Step",
    "Stopped",
    "TrainingRecord",
    "read_settings",
]

T = TypeVar("T")
SETTINGS = "settings.json"
PIECE = 256 * 1024
"""Bytes that :meth:`EventReader.read` takes at once: some 10 ms of work."""
MAX_LINE = 2**20
MAX_RECORD_BYTES = 64 * 2**20
MAX_JOB_BYTES = 64 * 1024

Count: TypeAlias = Annotated[int, Meta(ge=0, le=10**12)]
From1: TypeAlias = Annotated[int, Meta(ge=1, le=10**12)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0)]


class Start(Struct, frozen=True, kw_only=True, tag_field="event", tag="start"):
    """A run starts, or goes on.

    Parameters
    ----------
    folds, frames, epochs : int
    device : str
    weights : str
        Where the first weights come from, such as ``222 of 273 tensors from default@…``; empty for new
        ones.
    settings : TrainConfig, optional
        Those of the run; None in runs of earlier versions.
    """

    folds: From1
    frames: Count
    epochs: From1
    device: str
    weights: str = ""
    settings: TrainConfig | None = None


class Step(Struct, frozen=True, kw_only=True, tag_field="event", tag="step"):
    """Ten steps are done; ``loss`` holds the mean terms of the loss over them, and their ``total``."""

    fold: Count = 0
    step: Count
    of: From1
    seconds: Seconds
    loss: dict[str, float]


class Epoch(Struct, frozen=True, kw_only=True, tag_field="event", tag="epoch"):
    """An epoch is validated: the mean loss, the figures, and the worst frames.

    ``failed`` counts validation frames for which the network gave no finite number; see
    :func:`~napari_cln.training.scoring.summarise` for the other figures.
    """

    fold: Count = 0
    epoch: From1
    step: Count
    seconds: Seconds
    loss: dict[str, float] = {}
    n: Count
    failed: Count = 0
    dice_mean: float | None = None
    dice_median: float | None = None
    missed: float | None = None
    claimed: float | None = None
    auc: float | None = None
    best: bool = False
    worst: tuple[str, ...] = ()


class Collapsed(Struct, frozen=True, kw_only=True, tag_field="event", tag="collapsed"):
    """The network is of no use any more; the message says what to do."""

    fold: Count = 0
    epoch: From1
    message: str


class Stopped(Struct, frozen=True, kw_only=True, tag_field="event", tag="stopped"):
    """The run ended when it was told to, with its checkpoint written."""

    fold: Count = 0
    step: Count
    of: From1


class Compared(Struct, frozen=True, kw_only=True, tag_field="event", tag="comparison"):
    """The new model beside another one; see :class:`~napari_cln.models.card.ModelComparison`."""

    model: str = msgspec.field(name="with")
    dice: Estimate | None = None
    auc: Estimate | None = None
    message: str = ""

    @property
    def comparison(self) -> ModelComparison:
        """As a card holds it."""
        return ModelComparison(model=self.model, dice=self.dice, auc=self.auc, message=self.message)


class End(Struct, frozen=True, kw_only=True, tag_field="event", tag="end"):
    """The model is made. ``fold`` is the one that it comes from, None for an ensemble of all."""

    model: str = "model.safetensors"
    fold: Count | None = None
    figures: tuple[str, ...] = ()


class Failed(Struct, frozen=True, kw_only=True, tag_field="event", tag="failed"):
    """The run can't go on."""

    message: str


class Judged(Struct, frozen=True, kw_only=True, tag_field="event", tag="judged"):
    """Frames that an evaluation has compared; those of a second model count too."""

    done: Count
    of: From1


class Note(Struct, frozen=True, kw_only=True, tag_field="event", tag="note"):
    """Something that a reader of the log should know, such as a file that was damaged."""

    message: str


Event: TypeAlias = Start | Step | Epoch | Collapsed | Stopped | Compared | End | Failed | Judged | Note
_EVENT: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


class _Kind(Struct):
    """Any event, also one of a later version."""

    event: str


_KIND = msgspec.json.Decoder(_Kind)
_KINDS = {kind.__struct_config__.tag for kind in get_args(Event)}


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """Contents of ``run.json``.

    Parameters
    ----------
    config : TrainConfig
        A setting that an earlier version did not know has its default.
    folds : tuple of Fold
    weights : str
        Id of the model that the first weights come from; empty for new ones.
    """

    config: TrainConfig
    folds: tuple[Fold, ...] = ()
    weights: str = ""


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """Contents of ``job.json``: number and token of a process, its computer, and its command."""

    pid: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    token: Annotated[str, Meta(min_length=1, max_length=200)]
    host: Annotated[str, Meta(max_length=300)]
    command: Annotated[str, Meta(min_length=1, max_length=100)]


class RunFolder:
    """The folder of one run, which may not be there yet.

    Attributes
    ----------
    path : Path
    progress, log, model : Path
        ``progress.jsonl``, ``log.txt`` and ``model.safetensors``.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.progress = self.path / "progress.jsonl"
        self.log = self.path / "log.txt"
        self.model = self.path / "model.safetensors"
        self._record, self._job = self.path / "run.json", self.path / "job.json"

    @property
    def is_begun(self) -> bool:
        """True once a run was started here, damaged or not."""
        return self._record.exists()

    def fold(self, index: int) -> Path:
        """Folder of the fold with that number, from 0: its model, checkpoint and best weights."""
        return self.path / f"fold-{index}"

    def record(self) -> TrainingRecord:
        """Read ``run.json``.

        Raises
        ------
        RunError
            If it is missing or damaged.
        """
        try:
            text = _bytes_of(self._record, MAX_RECORD_BYTES)
            return read(text, TrainingRecord)
        except FileNotFoundError as cause:
            raise RunError(
                f"{self.path.name} holds no run to resume. Start one there without resume."
            ) from cause
        except (SchemaError, RunError) as cause:
            fault = str(cause).removesuffix(".")
            raise RunError(f"run.json in {self.path.name} can't be read: {fault}.") from cause

    def record_to_resume(self) -> TrainingRecord:
        """Read the settings and folds to go on with.

        Where ``run.json`` is damaged, the settings are those that ``progress.jsonl`` tells of, and the
        folds are none.

        Raises
        ------
        RunError
            If there is no run, or its settings can't be read anywhere.
        """
        try:
            return self.record()
        except RunError as error:
            if not self.is_begun:
                raise
            told = [event.settings for event in self.events() if isinstance(event, Start) and event.settings]
            if not told:
                raise RunError(
                    f"{error} Its settings are lost: start a new run in another folder. The models of "
                    "folds that are finished are whole."
                ) from error
            return TrainingRecord(config=told[-1])

    def write_record(self, record: TrainingRecord) -> None:
        """Write ``run.json``, whole or not at all."""
        write_atomically(self._record, msgspec.json.format(msgspec.json.encode(record), indent=1))

    def write_settings(self, settings: object) -> Path:
        """Write settings for a process that is to be started, whole or not at all, and return the file."""
        write_atomically(self.path / SETTINGS, msgspec.json.format(msgspec.json.encode(settings), indent=1))
        return self.path / SETTINGS

    def note(self, event: Event) -> None:
        """Add an event to ``progress.jsonl``."""
        with self.progress.open("ab") as log:
            log.write(msgspec.json.encode(event) + b"\n")

    def events(self) -> Iterator[Event]:
        """Read the events so far, without lines that are damaged or of a later version."""
        reader = EventReader(self)
        while True:
            found, there_was = reader.read()
            yield from found
            if not there_was:
                return

    def faults(self, *, with_progress: bool = True) -> list[str]:
        """List what is damaged here, each in a sentence that says what becomes of it at the next start.

        Parameters
        ----------
        with_progress : bool
            Read ``progress.jsonl`` too, which takes a while where it is long.
        """
        found = []
        if self.is_begun:
            try:
                self.record()
            except RunError as error:
                found.append(f"{error} It is written anew, with the settings in progress.jsonl.")
        if with_progress and (lines := self._damaged_lines()):
            found.append(
                f"{counted(lines, 'line')} of progress.jsonl in {self.path.name} can't be read: taken out."
            )
        try:
            self.job()
        except RunError as error:
            found.append(f"{error} It is removed.")
        return found

    def mend(self) -> None:
        """Take damaged lines out of ``progress.jsonl``, remove a damaged ``job.json``, and what a process
        that was killed left half written."""
        sweep([self.path, *self.path.glob("fold-*")])
        if self._damaged_lines():
            lines = self.progress.read_bytes().split(b"\n")
            whole = [line for line in lines if line and _take(line) is not None]
            write_atomically(self.progress, b"".join(line + b"\n" for line in whole))
        try:
            self.job()
        except RunError:
            self._job.unlink(missing_ok=True)

    def _damaged_lines(self) -> int:
        reader = EventReader(self)
        while reader.read()[1]:
            pass
        return reader.damaged + reader.is_torn

    def job(self) -> JobRecord | None:
        """Read which process was started last for this folder; None where none is known.

        Raises
        ------
        RunError
            If ``job.json`` is damaged.
        """
        try:
            return read(_bytes_of(self._job, MAX_JOB_BYTES), JobRecord)
        except FileNotFoundError:
            return None
        except (SchemaError, RunError) as cause:
            fault = str(cause).removesuffix(".")
            raise RunError(f"job.json in {self.path.name} can't be read: {fault}.") from cause

    def write_job(self, job: JobRecord) -> None:
        """Write ``job.json``, whole or not at all."""
        write_atomically(self._job, msgspec.json.encode(job))

    def log_tail(self, limit: int) -> list[str]:
        """Read the last lines that the process printed, of at most ``limit`` bytes."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(log.seek(0, os.SEEK_END) - limit, 0))
                return log.read(limit).decode(errors="replace").splitlines()
        except OSError:
            return []


def read_settings(path: Path | str, kind: type[T]) -> T:
    """Read settings from a file of JSON.

    Parameters
    ----------
    path : path
    kind : type
        A settings dataclass; what the file does not name has its default.

    Raises
    ------
    RunError
        If it can't be read, holds what is no setting, or one out of its limits.
    """
    path = Path(path)
    try:
        return read(_bytes_of(path, MAX_RECORD_BYTES), kind)
    except OSError as cause:
        raise RunError(f"{path.name} can't be read ({cause.strerror}). Check the file.") from cause
    except (SchemaError, RunError) as cause:
        fault = str(cause).removesuffix(".")
        raise RunError(f"{path.name} holds no settings: {fault}. Correct the file.") from cause


class EventReader:
    """Reader of a run's events, a piece at a time, from where it stopped the last time.

    Attributes
    ----------
    offset : int
        Bytes read so far.
    damaged : int
        Lines that were no events.
    restarts : int
        How often another file took the place of the one that was read; it is read from its start.
    """

    def __init__(self, run: RunFolder) -> None:
        self._path = run.progress
        self.offset = self.damaged = self.restarts = 0
        self._rest = b""
        self._inode = 0

    @property
    def is_torn(self) -> bool:
        """True while the last line has no end (yet)."""
        return bool(self._rest)

    def read(self) -> tuple[list[Event], bool]:
        """Read the next piece: its events, and whether there was one."""
        try:
            with self._path.open("rb") as log:
                inode = os.fstat(log.fileno()).st_ino
                if log.seek(0, os.SEEK_END) < self.offset or (self.offset and inode != self._inode):
                    self.offset, self.damaged, self._rest = 0, 0, b""
                    self.restarts += 1
                self._inode = inode
                log.seek(self.offset)
                piece = log.read(PIECE)
        except OSError:
            return [], False
        self.offset += len(piece)
        # a line that is half written waits for its other half
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > MAX_LINE:
            self._rest = self._rest[:1]  # no event is that long: what follows up to a line's end is damaged
        events = []
        for line in lines:
            event = _take(line)
            if event is None:
                self.damaged += 1
            elif not isinstance(event, _Kind):
                events.append(event)
        return events, bool(piece)


def _take(line: bytes) -> Event | _Kind | None:
    """Read the event in a line; its kind alone where a later version wrote it, None where it is damaged."""
    try:
        return _EVENT.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError, RunError):
        pass
    try:
        kind = _KIND.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return None if kind.event in _KINDS else kind


def _bytes_of(path: Path, limit: int) -> bytes:
    try:
        if path.stat().st_size > limit:
            raise RunError(f"It has more than {limit:,} bytes.")
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as cause:
        raise RunError(f"{cause.strerror}.") from cause
