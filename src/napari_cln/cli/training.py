"""``napari-cln train``: the settings of a run are its options."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..disk.cells import parse_number, parse_whole
from ..errors import ClnError
from .arguments import Commands, existing

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..training.run_folder import Epoch, Event, Stopped

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add ``train``."""
    train = commands.add_parser(
        "train",
        help="a better Y-Net from a training folder",
        description="Train a Y-Net on a training folder. Under torchrun, on several processes or machines.",
        argument_default=argparse.SUPPRESS,  # a setting that is not given keeps TrainConfig's default
    )
    train.add_argument("folder", type=existing, metavar="FOLDER", help="training folder")
    train.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    train.add_argument("--resume", action="store_true", default=False, help="go on with the run in RUN")
    settings = train.add_argument_group("settings", "a resumed run keeps those it was started with")
    settings.add_argument(
        "--recipe", choices=("best", "paper"), help="the paper's training, or ours (default)"
    )
    settings.add_argument("--classification-only", action="store_true", help="train without a mask head")
    settings.add_argument(
        "--epochs", type=_setting("epochs", parse_whole), metavar="N", help="passes over the training frames"
    )
    settings.add_argument(
        "--folds",
        type=_setting("folds", parse_whole),
        metavar="K",
        help="networks, each validated on other patients",
    )
    settings.add_argument(
        "--ensemble", action="store_true", help="keep the networks of all folds as one model"
    )
    settings.add_argument(
        "--batch-size", type=_setting("batch_size", parse_whole), metavar="N", help="frames a step"
    )
    settings.add_argument("--learning-rate", type=_setting("learning_rate", parse_number), metavar="RATE")
    settings.add_argument(
        "--patience",
        type=_setting("patience", parse_whole),
        metavar="N",
        help="stop after N epochs without a better validation; 0: never",
    )
    settings.add_argument(
        "--start-from", metavar="MODEL", help="take over the weights of this model that fit the recipe"
    )
    settings.add_argument(
        "--compare-with", metavar="MODEL", help="model in use, on the same frames; '' for none"
    )
    settings.add_argument("--seed", type=_setting("seed", parse_whole), metavar="N")
    train.set_defaults(run=_train)


def _setting(name: str, parse: Callable[[str], float]) -> Callable[[str], float]:
    """Reader of a number that is within the limits of that setting."""

    def read(text: str) -> float:
        from ..training.config import TrainConfig

        try:
            number = parse(text)
        except ValueError as cause:
            raise argparse.ArgumentTypeError(str(cause).removesuffix(".")) from cause
        try:
            TrainConfig(**{name: number})  # type: ignore[arg-type]  # it looks at the kind itself
        except ClnError as cause:
            raise argparse.ArgumentTypeError(str(cause).removesuffix(".")) from cause
        return number

    return read


def _train(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..training.run import TrainConfig, train
    from ..training.run_folder import RunFolder, Stopped

    given = {k: v for k, v in vars(options).items() if k not in ("folder", "out", "resume", "run")}
    former = RunFolder(options.out).record_to_resume().config if options.resume else TrainConfig()
    config = replace(former, **given)
    speaks = os.environ.get("RANK", "0") == "0"  # under torchrun, the first process speaks for all
    last: Event | None = None
    with _requests_to_stop() as asked, tqdm(unit="step", disable=None if speaks else True) as bar:
        try:
            for last in train(
                options.folder, options.out, config, resume=options.resume, stop=lambda: bool(asked)
            ):
                if speaks:
                    _show(last, bar)
        except KeyboardInterrupt:  # asked twice
            last = None
    if last is None or isinstance(last, Stopped):
        if speaks:
            print(_stopped(last), file=sys.stderr)
        return 128 + (asked or [signal.SIGTERM])[0]  # another process may be the one that was asked
    if speaks:
        print(f"model: {options.out / 'model.safetensors'}")
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


def _stopped(event: Stopped | None) -> str:
    after, there = ("", "the last checkpoint")
    if event is not None:
        after, there = f" after step {event.step} of {event.of}", "there"
    return f"napari-cln: stopped{after}. The same command with --resume goes on from {there}."


def _epoch(event: Epoch) -> str:
    best = ", the best so far" if event.best else ""
    name = f"fold {event.fold}, epoch {event.epoch}{best}"
    shown = {
        "loss": event.loss.get("total"),
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
