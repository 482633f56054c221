"""One training run: folds of a training folder in, a model file with its card and figures out.

What a run leaves in its folder::

    run.json               settings and folds, to resume with and to repeat
    progress.jsonl         one line per event, to follow from anywhere
    fold-0/ …              model.safetensors + .json, checkpoint.pt and best.pt of each fold
    model.safetensors      the fold that validated best, or all of them as an ensemble, with model.json,
                           its card
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState

from ..disk.atomic import sweep, write_atomically
from ..errors import ClnError, RunError
from ..folder.dataset import TrainingFolder
from ..folder.split.frozen import frozen_split
from ..network.ensemble import Ensemble
from ..network.model import Network, YNet
from ..network.novelty import fit_novelty
from ..network.weights import load_model, save_model
from .config import TrainConfig
from .data import Samples
from .loop import fit
from .outcome import card_of, comparison
from .scoring import FrameScore, goodness, score_frames

__all__ = ["TrainConfig", "train"]

LOG = "progress.jsonl"
NOVELTY_FRAMES = 600
"""Frames from which a model learns what its training data are like."""


def train(
    folder: TrainingFolder | Path | str,
    out: Path | str,
    config: TrainConfig | None = None,
    *,
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[dict[str, Any]]:
    """Train on a training folder; progress is the iteration itself.

    Parameters
    ----------
    folder : TrainingFolder or path
    out : path
        Folder of the run; see the top of this module for what it will hold.
    config : TrainConfig, optional
    resume : bool
        Go on with the run that is in ``out``; the result equals that of an uninterrupted run.
    stop : callable, optional
        Asked before every step; True ends the training with its checkpoint written. An event
        ``{"event": "stopped", …}`` is then the last one.

    Yields
    ------
    dict
        The events of :func:`~napari_cln.training.loop.fit` with their ``fold``, between
        ``{"event": "start", …}`` and ``{"event": "end", …}``; each is also a line of
        ``progress.jsonl``. ``{"event": "comparison", …}`` holds the differences to the model in use.

    Raises
    ------
    DatasetError
        If the folder is damaged, or can't be split by patient.
    RunError
        If ``out`` holds another run or can't be written, the loss is no number, or memory runs out.
    """
    out = Path(out)
    state = PartialState()
    config = _checked(out, config or TrainConfig(), resume)
    state.wait_for_everyone()
    if state.is_main_process:
        out.mkdir(parents=True, exist_ok=True)
    state.wait_for_everyone()
    study = folder if isinstance(folder, TrainingFolder) else TrainingFolder.open(folder)

    if state.is_main_process:
        _tidy(out)

    def note(event: dict[str, Any]) -> dict[str, Any]:
        if state.is_main_process:
            with (out / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(event) + "\n")
        return event

    try:
        for event in _train(study, out, config, resume, state, stop):
            yield note(event)
    except ClnError as error:
        note({"event": "failed", "message": str(error)})
        raise
    except OSError as cause:
        raise RunError(
            f"The run can't be written in {out.name}: {(cause.strerror or str(cause)).lower()}. "
            "Make room, then resume it: it goes on from its last checkpoint."
        ) from cause


def _train(
    study: TrainingFolder,
    out: Path,
    config: TrainConfig,
    resume: bool,
    state: Any,
    stop: Callable[[], bool],
) -> Iterator[dict[str, Any]]:
    if config.ensemble and config.folds < 2:
        raise RunError(
            f"An ensemble needs the networks of several folds, and this run has {config.folds}. "
            "Choose 2 folds or more, or no ensemble."
        )
    folds = frozen_split(study, config.folds, config.seed)
    cases = {case.id: case for case in study.cases()}
    recipe = config.to_recipe()
    start_from = _start(config.start_from)
    if start_from is not None:
        recipe = replace(recipe, network=start_from.config)
    # a card travels with its model: it names other models by their id, never by a path
    settings = {**asdict(config), "start_from": start_from.model_id if start_from else ""}
    del settings["compare_with"]
    if state.is_main_process:
        record = {"config": asdict(config), "folds": [asdict(fold) for fold in folds]}
        write_atomically(out / "run.json", json.dumps(record, indent=1).encode())
    yield {
        "event": "start",
        "folds": len(folds),
        "frames": len(set().union(*(fold.train + fold.validation for fold in folds))),
        "epochs": config.epochs,
        "device": str(state.device),
    }
    scores: list[list[FrameScore]] = []
    networks: list[YNet] = []
    areas = np.zeros(0, dtype=np.intp)
    for index, fold in enumerate(folds):
        place = out / f"fold-{index}"
        train_on, validate_on = (
            Samples.from_cases(study, [cases[id_] for id_ in side], recipe.prepare)
            for side in (fold.train, fold.validation)
        )
        if not (place / "model.safetensors").is_file():
            if state.is_main_process:
                place.mkdir(exist_ok=True)
            state.wait_for_everyone()
            going_on = resume and (place / "checkpoint.pt").is_file()
            for event in fit(
                train_on,
                validate_on,
                recipe,
                place,
                epochs=config.epochs,
                seed=config.seed,
                start_from=start_from,
                resume=going_on,
                patience=config.patience or None,
                stop=stop,
            ):
                yield {**event, "fold": index}
                if event["event"] == "stopped":
                    return
            state.wait_for_everyone()
        network = YNet(recipe.network).eval()
        network.load_state_dict(torch.load(place / "best.pt", weights_only=True, map_location="cpu"))
        # ids are hashes, so that the first frames are a fair sample
        known = [part.images[:NOVELTY_FRAMES] for part in (train_on, validate_on)]
        network.novelty = fit_novelty(network, known[:1], known[1])
        networks.append(network)
        # each node is on one of the two sides, whichever the fold
        areas = np.concatenate([train_on.node_areas(), validate_on.node_areas()])
        scores.append(score_frames(network, validate_on))
        if state.is_main_process and not (place / "model.safetensors").is_file():
            card = card_of(f"{out.name}-fold-{index}", settings, recipe, len(train_on), areas, scores[-1:])
            save_model(network, place / "model.safetensors", card)
    best = max(range(len(folds)), key=lambda index: goodness(scores[index]) or 0.0)
    chosen = list(range(len(folds))) if config.ensemble else [best]
    model: Network = Ensemble(networks) if config.ensemble else networks[best]
    n_train = len(set().union(*(folds[index].train for index in chosen)))
    card = card_of(out.name, settings, recipe, n_train, areas, scores, members=len(chosen))
    if state.is_main_process:
        save_model(model, out / "model.safetensors", card)
    if config.compare_with:
        judged = [cases[id_] for index in chosen for id_ in folds[index].validation]
        new = [score for index in chosen for score in scores[index]]
        yield comparison(study, judged, config.compare_with, new)
    yield {
        "event": "end",
        "model": "model.safetensors",
        "fold": None if config.ensemble else best,
        "figures": [str(figure) for figure in card.figures],
    }


def _start(name_or_path: str) -> YNet | None:
    """The network to start from; None for new weights."""
    if not name_or_path:
        return None
    network = load_model(name_or_path)
    if not isinstance(network, YNet):
        raise RunError(
            f"{network.model_id} is an ensemble of {len(network.members)} networks, and a training starts "
            "from one. Choose one of them, such as fold-0/model.safetensors in the folder of its run."
        )
    return network


def _tidy(out: Path) -> None:
    """Remove what a process that was killed left half written."""
    sweep([out, *out.glob("fold-*")])
    with (out / LOG).open("ab+") as log:
        if log.tell():
            log.seek(-1, os.SEEK_END)
            if log.read() != b"\n":
                log.write(b"\n")


def _checked(out: Path, config: TrainConfig, resume: bool) -> TrainConfig:
    """The run's settings; a run is neither overwritten nor resumed with others."""
    path = out / "run.json"
    if not resume:
        if path.exists():
            raise RunError(f"{out.name} already holds a run. Resume it, or choose another folder.")
        return config
    try:
        former = json.loads(path.read_bytes())["config"]
        former = {**asdict(TrainConfig()), **former}  # a run of an earlier version may lack a setting
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise RunError(f"{out.name} holds no run to resume. Start one there without resume.") from cause
    changed = [name for name, value in asdict(config).items() if former[name] != value]
    if changed:
        raise RunError(
            f"The run in {out.name} was started with another {', '.join(changed)}. "
            "Resume it with the same settings, or start a new run."
        )
    return config
