"""One training run: folds of a training folder in, a model file with its card and figures out.

What a run leaves in its folder::

    run.json               settings and folds, to resume with and to repeat
    progress.jsonl         one line per event, to follow from anywhere
    fold-0/ …              model.safetensors + .json, checkpoint.pt and best.pt of each fold
    model.safetensors      the fold that validated best, with model.json, its card
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray

from ..errors import ClnError, RunError, WeightsError
from ..folder.dataset import TrainingFolder
from ..folder.frozen import frozen_split
from ..folder.storage import sweep, write_atomically
from ..network.card import ModelCard, TrainingData
from ..network.model import YNet
from ..network.novelty import fit_novelty
from ..network.weights import load_model, save_model
from ..types import Case, Fold
from .config import TrainConfig
from .data import Samples
from .loop import fit
from .recipes import Recipe
from .scoring import (
    FrameScore,
    compare_scores,
    estimate_figures,
    fit_limits,
    fit_operating_point,
    goodness,
    score_frames,
)

__all__ = ["TrainConfig", "train"]

LOG = "progress.jsonl"
NOVELTY_FRAMES = 600
"""Frames from which a model learns what its training data are like."""
LIMITS = (
    "Trained on the frames of one user, and measured on frames of the same kind alone. "
    "It is for research, not for diagnosis."
)


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
    folds = frozen_split(study, config.folds, config.seed)
    cases = {case.id: case for case in study.cases()}
    recipe = config.to_recipe()
    start_from = load_model(config.start_from) if config.start_from else None
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
            card = _card(f"{out.name}-fold-{index}", settings, recipe, len(train_on), areas, scores[-1:])
            save_model(network, place / "model.safetensors", card)
    best = max(range(len(folds)), key=lambda index: goodness(scores[index]) or 0.0)
    card = _card(out.name, settings, recipe, len(folds[best].train), areas, scores)
    if state.is_main_process:
        save_model(networks[best], out / "model.safetensors", card)
    if config.compare_with:
        yield _comparison(study, folds[best], cases, config.compare_with, scores[best])
    yield {
        "event": "end",
        "model": "model.safetensors",
        "fold": best,
        "figures": [str(figure) for figure in card.figures],
    }


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
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise RunError(f"{out.name} holds no run to resume. Start one there without resume.") from cause
    changed = [name for name, value in asdict(config).items() if former.get(name) != value]
    if changed:
        raise RunError(
            f"The run in {out.name} was started with another {', '.join(changed)}. "
            "Resume it with the same settings, or start a new run."
        )
    return config


def _card(
    name: str,
    settings: dict[str, Any],
    recipe: Recipe,
    n_train: int,
    areas: NDArray[np.intp],
    scores: list[list[FrameScore]],
) -> ModelCard:
    """Card of a fold, or of the run: operating point, limits and figures from the validation of all folds."""
    pooled = [score for fold in scores for score in fold]
    of = f" of {len(scores)} folds" if len(scores) > 1 else ""
    data = f"{len(pooled)} validation frames{of}, which also chose the epoch"
    temperature, cutoff, cutoff_from = fit_operating_point(pooled, data)
    min_node_area, min_peak = fit_limits(pooled, areas)
    return ModelCard(
        name=name,
        created=datetime.now(UTC).date().isoformat(),
        prepare=recipe.prepare,
        trained_on=(
            TrainingData(name="frames of a training folder", n=n_train, licence="its owner's", citation=""),
        ),
        recipe=settings,
        figures=estimate_figures(pooled, data),
        mask_threshold=0.5 if recipe.network.segmentation else None,
        min_node_area=min_node_area or ModelCard.min_node_area,
        min_peak=min_peak,
        cutoff=cutoff,
        cutoff_from=cutoff_from,
        temperature=temperature,
        limits=LIMITS,
    )


def _comparison(
    study: TrainingFolder, fold: Fold, cases: dict[str, Case], model: str, new: list[FrameScore]
) -> dict[str, Any]:
    """The new model beside the one in use, on the same validation frames."""
    event: dict[str, Any] = {"event": "comparison", "with": Path(model).stem}
    try:
        in_use = load_model(model)
    except WeightsError as error:
        return {**event, "message": str(error)}
    assert in_use.card is not None
    chosen = [cases[id_] for id_ in fold.validation]
    old = score_frames(in_use, Samples.from_cases(study, chosen, in_use.card.prepare))
    patients = [case.patient for case in chosen]
    return {**event, "with": in_use.model_id, **compare_scores(new, old, patients)}
