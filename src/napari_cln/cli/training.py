"""``napari-cln train``: the settings of a run are its options."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from .arguments import Commands, above_zero, count, existing, positive

if TYPE_CHECKING:
    from tqdm import tqdm

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
    settings.add_argument("--epochs", type=positive, metavar="N", help="passes over the training frames")
    settings.add_argument(
        "--folds", type=positive, metavar="K", help="networks, each validated on other patients"
    )
    settings.add_argument(
        "--ensemble", action="store_true", help="keep the networks of all folds as one model"
    )
    settings.add_argument("--batch-size", type=positive, metavar="N", help="frames a step")
    settings.add_argument("--learning-rate", type=above_zero, metavar="RATE")
    settings.add_argument(
        "--patience",
        type=count,
        metavar="N",
        help="stop after N epochs without a better validation; 0: never",
    )
    settings.add_argument("--start-from", metavar="MODEL", help="fine-tune this model")
    settings.add_argument(
        "--compare-with", metavar="MODEL", help="model in use, on the same frames; '' for none"
    )
    settings.add_argument("--seed", type=count, metavar="N")
    train.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..training.run import TrainConfig, train

    given = {k: v for k, v in vars(options).items() if k not in ("folder", "out", "resume", "run")}
    if options.resume:
        given = {**_former(options.out), **given}
    config = TrainConfig(**given)
    speaks = os.environ.get("RANK", "0") == "0"  # under torchrun, the first process speaks for all
    last: dict[str, Any] = {}
    with _requests_to_stop() as asked, tqdm(unit="step", disable=None if speaks else True) as bar:
        try:
            for last in train(
                options.folder, options.out, config, resume=options.resume, stop=lambda: bool(asked)
            ):
                if speaks:
                    _show(last, bar)
        except KeyboardInterrupt:  # asked twice
            last = {"event": "stopped"}
    if last["event"] == "stopped":
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


def _show(event: Mapping[str, Any], bar: tqdm[Any]) -> None:
    if event["event"] == "step":
        bar.total = event["of"]
        bar.update(event["step"] - bar.n)
    elif event["event"] == "epoch":
        bar.write(_epoch(event), file=sys.stdout)
    elif event["event"] == "collapsed":
        bar.write(f"napari-cln: {event['message']}", file=sys.stderr)
    elif event["event"] == "comparison":
        shown = {key: value for key, value in event.items() if key != "with"}
        bar.write(_facts(f"compared with {event['with']}", shown), file=sys.stdout)
    elif event["event"] == "end":
        bar.write("\n".join(event["figures"]), file=sys.stdout)


def _stopped(event: Mapping[str, Any]) -> str:
    after, there = (
        (f" after step {event['step']} of {event['of']}", "there")
        if "step" in event
        else ("", "the last checkpoint")
    )
    return f"napari-cln: stopped{after}. The same command with --resume goes on from {there}."


def _former(run: Path) -> dict[str, Any]:
    """Settings of the run to go on with; none where there is no such run, which training then says."""
    try:
        settings: dict[str, Any] = json.loads((run / "run.json").read_bytes())["config"]
    except (OSError, ValueError, KeyError):
        return {}
    return settings


def _epoch(event: Mapping[str, Any]) -> str:
    best = ", the best so far" if event["best"] else ""
    name = f"fold {event['fold']}, epoch {event['epoch']}{best}"
    hidden = ("fold", "epoch", "best", "step", "worst", "loss")
    shown = {"loss": event["loss"]["total"]} | {k: v for k, v in event.items() if k not in hidden}
    return _facts(name, shown)


def _facts(name: str, event: Mapping[str, Any]) -> str:
    facts = (
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in event.items()
        if key != "event" and value is not None
    )
    return f"{name}: {', '.join(facts)}"
