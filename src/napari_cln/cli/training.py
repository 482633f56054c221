"""``napari-cln train``: the settings of a run are its options."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .arguments import Commands, existing, positive

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
    settings.add_argument("--batch-size", type=positive, metavar="N", help="frames a step")
    settings.add_argument("--learning-rate", type=float, metavar="RATE")
    settings.add_argument(
        "--patience", type=int, metavar="N", help="stop after N epochs without a better validation; 0: never"
    )
    settings.add_argument("--start-from", metavar="MODEL", help="fine-tune this model")
    settings.add_argument(
        "--compare-with", metavar="MODEL", help="model in use, on the same frames; '' for none"
    )
    settings.add_argument("--seed", type=int)
    train.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..training.run import TrainConfig, train

    given = {k: v for k, v in vars(options).items() if k not in ("folder", "out", "resume", "run")}
    if options.resume:
        given = {**_former(options.out), **given}
    events = train(options.folder, options.out, TrainConfig(**given), resume=options.resume)
    if os.environ.get("RANK", "0") != "0":  # under torchrun, the first process speaks for all
        for _ in events:
            pass
        return 0
    with tqdm(unit="step", disable=None) as bar:
        for event in events:
            if event["event"] == "step":
                bar.total = event["of"]
                bar.update(event["step"] - bar.n)
            elif event["event"] == "epoch":
                bar.write(_epoch(event), file=sys.stdout)
            elif event["event"] == "collapsed":
                bar.write(f"napari-cln: {event['message']}", file=sys.stderr)
            elif event["event"] == "comparison":
                bar.write(_facts(f"compared with {event.pop('with')}", event), file=sys.stdout)
            elif event["event"] == "end":
                bar.write("\n".join(event["figures"]), file=sys.stdout)
    print(f"model: {options.out / 'model.safetensors'}")
    return 0


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
    hidden = ("fold", "epoch", "best", "step", "worst")
    return _facts(name, {key: value for key, value in event.items() if key not in hidden})


def _facts(name: str, event: Mapping[str, Any]) -> str:
    facts = (
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in event.items()
        if key != "event" and value is not None
    )
    return f"{name}: {', '.join(facts)}"
