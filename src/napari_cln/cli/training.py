"""``napari-cln train``: the settings of a run are its options."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from msgspec import Meta

from ..training.config import PretrainConfig, TrainConfig
from .batch import paths_of
from .options import Existing, command, settings_from

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..training.run_folder import Epoch, Event, Stopped


@command(settings=TrainConfig, heading="Settings (a resumed run keeps those it was started with)")
def train_network(
    folder: Existing,
    /,
    *,
    out: Annotated[Path, Meta(title="RUN")],
    resume: bool = False,
    settings: Annotated[Path | None, Meta(title="JSON", extra={"exists": True})] = None,
    **given: Any,
) -> int:
    """Train a Y-Net on a training folder. Under torchrun, on several processes or machines.

    Parameters
    ----------
    folder : path
        Training folder.
    out : path
        Folder of the run.
    resume : bool
        Go on with the run in RUN.
    settings : path
        File of JSON with the settings below, by their names; options that are given replace them.
    """
    from ..training.run import train
    from ..training.run_folder import RunFolder

    former = RunFolder(out).record_to_resume().config if resume else TrainConfig()
    config = settings_from(former, settings, given)
    return _follow(
        lambda asked: train(folder, out, config, resume=resume, stop=lambda: bool(asked)),
        out,
        "The same command with --resume goes on",
    )


@command(settings=PretrainConfig)
def pretrain_network(
    scans: Annotated[list[str], Parameter(converter=paths_of)],
    /,
    *,
    out: Annotated[Path, Meta(title="RUN")],
    **given: Any,
) -> int:
    """Pretrain a network on frames that nobody labelled, to start a training from: train --start-from.

    Parameters
    ----------
    scans : str
        File, folder or quoted glob pattern; several may be given. Of cines every tenth frame is taken.
    out : path
        Folder of the run; the same command goes on with one that was stopped.
    """
    from ..workflow.pretrain import pretrain

    config = PretrainConfig(**given)
    return _follow(
        lambda asked: pretrain(scans, out, config, stop=lambda: bool(asked)), out, "The same command goes on"
    )


def _follow(start: Callable[[list[int]], Iterator[Event]], out: Path, again: str) -> int:
    """Show the events of a run, which ends when a signal asks it to."""
    from tqdm import tqdm

    from ..training.run_folder import Stopped

    speaks = os.environ.get("RANK", "0") == "0"  # under torchrun, the first process speaks for all
    last: Event | None = None
    with _requests_to_stop() as asked, tqdm(unit="step", disable=None if speaks else True) as bar:
        try:
            for last in start(asked):
                if speaks:
                    _show(last, bar)
        except KeyboardInterrupt:  # asked twice
            last = None
    if last is None or isinstance(last, Stopped):
        if speaks:
            print(_stopped(last, again), file=sys.stderr)
        return 128 + (asked or [signal.SIGTERM])[0]  # another process may be the one that was asked
    if speaks:
        print(f"model: {out / 'model.safetensors'}")
    return 0


@contextmanager
def _requests_to_stop() -> Iterator[list[int]]:
    """Signals that came and ask to stop; the same one again ends the process at once."""
    asked: list[int] = []
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        signal.signal(number, former[signal.Signals(number)])

    for number in former:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _show(event: Event, bar: tqdm[Any]) -> None:
    from ..training.run_folder import Collapsed, Compared, End, Epoch, Note, Start, Step

    match event:
        case Start(weights=weights) if weights:
            bar.write(f"starts from {weights}", file=sys.stdout)
        case Step():
            bar.total = event.of
            bar.update(event.step - bar.n)
        case Epoch():
            bar.write(_epoch(event), file=sys.stdout)
        case Collapsed(message=message) | Note(message=message):
            bar.write(f"napari-cln: {message}", file=sys.stderr)
        case Compared():
            shown = {"dice": event.dice, "auc": event.auc, "message": event.message or None}
            bar.write(_facts(f"compared with {event.model}", shown), file=sys.stdout)
        case End():
            bar.write("\n".join(event.figures), file=sys.stdout)


def _stopped(event: Stopped | None, again: str) -> str:
    after, there = ("", "the last checkpoint")
    if event is not None:
        after, there = f" after step {event.step} of {event.of}", "there"
    return f"napari-cln: stopped{after}. {again} from {there}."


def _epoch(event: Epoch) -> str:
    best = ", the best so far" if event.best else ""
    name = f"fold {event.fold}, epoch {event.epoch}{best}"
    shown = {
        "loss": event.loss.get("total"),
        "held_out": event.loss.get("held_out"),
        "seconds": event.seconds,
        "n": event.n,
        "failed": event.failed or None,
        "dice_mean": event.dice_mean,
        "dice_median": event.dice_median,
        "missed": event.missed,
        "claimed": event.claimed,
        "auc": event.auc,
    }
    return _facts(name, shown)


def _facts(name: str, values: Mapping[str, object]) -> str:
    facts = (
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in values.items()
        if value is not None
    )
    return f"{name}: {', '.join(facts)}"
