"""One training run: folds of a training folder in, a model file with its card and figures out.

What a run leaves in its folder stands in :mod:`napari_cln.training.run_folder`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from numpy.typing import NDArray

from ..annotation import Case
from ..disk.schema import JsonObject
from ..errors import ClnError, RunError, WeightsError, counted
from ..folder.dataset import TrainingFolder
from ..folder.screens import refuse_held
from ..folder.split.deal import Fold, hospital_folds
from ..folder.split.frozen import frozen_split
from ..folder.split.groups import is_trainable
from ..models.card import DISCLAIMER, ModelCard, TrainingData, plain_name
from ..models.config import YNetConfig
from ..network.ensemble import Ensemble
from ..network.model import Member, Network
from ..network.u_shaped import network_of
from ..network.weights import load_model, save_model
from .checkpoint import forget_former, has_checkpoint, load_weights
from .config import TrainConfig
from .data import Samples
from .loop import fit
from .novelty import fit_novelty
from .recipes import Recipe
from .run_folder import Compared, End, Event, Failed, Note, RunFolder, Start, Stopped, TrainingRecord
from .scoring import (
    FrameScore,
    as_in_use,
    compare_scores,
    estimate_figures,
    fit_clip_point,
    fit_frame_doubt,
    fit_limits,
    fit_operating_point,
    goodness,
    score_frames,
)
from .start import StartingPoint, starting_point
from .unlabelled import MoreFrames, pseudo_labelled, read_unlabelled, simulated_samples, weighed

__all__ = ["TrainConfig", "card_of", "train"]

NOVELTY_FRAMES = 600
"""Frames from which a model learns what its training data are like."""
NOT_ALLOWED = (errno.EROFS, errno.EACCES, errno.EPERM)
LIMITS = f"Trained on the frames of one user, and measured on frames of the same kind alone. {DISCLAIMER}"


def train(
    folder: TrainingFolder | Path | str,
    out: Path | str,
    config: TrainConfig | None = None,
    *,
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Train on a training folder; progress is the iteration itself.

    Parameters
    ----------
    folder : TrainingFolder or path
        A folder that can't be written to serves too; its split is then kept in ``out`` alone.
    out : path
        Folder of the run; see :mod:`napari_cln.training.run_folder` for what it will hold.
    config : TrainConfig, optional
        By default :class:`TrainConfig`'s own, or those of the run that is resumed.
    resume : bool
        Go on with the run that is in ``out``; the result equals that of an uninterrupted run.
    stop : callable, optional
        Asked before every step; True ends the training with its checkpoint written, and
        :class:`~napari_cln.training.run_folder.Stopped` is then the last event.

    Yields
    ------
    Event
        Those of :func:`~napari_cln.training.loop.fit`, between ``Start`` and ``End``; each is also a line
        of ``progress.jsonl``. ``Compared`` holds the differences to the model in use, and a ``Note``
        what was damaged in ``out``.

    Raises
    ------
    DatasetError
        If the folder is damaged, or can't be split by patient.
    WeightsError
        If there is no model to start from.
    RunError
        If ``out`` holds another run or a model, or can't be written, its settings are lost, the loss is no
        number, or memory runs out.
    """
    run = RunFolder(out)
    state = PartialState()
    former = run.record_to_resume() if resume else None
    if former is None and run.is_begun:
        raise RunError(f"{run.path.name} already holds a run. Resume it, or choose another folder.")
    if not run.is_begun and (run.model.exists() or has_checkpoint(run.fold(0))):
        raise RunError(f"{run.path.name} holds a pretraining, or another model. Choose another folder.")
    config = config or (former.config if former else TrainConfig())
    if former is not None:
        _check_settings(run, former.config, config)
    study = folder if isinstance(folder, TrainingFolder) else TrainingFolder.open(folder)
    notes = []
    if state.is_main_process:
        try:
            run.path.mkdir(parents=True, exist_ok=True)
            notes = run.faults()
            run.mend()
        except OSError as cause:
            raise _unwritable(run, cause) from cause
    state.wait_for_everyone()

    def noted(event: Event) -> Event:
        if state.is_main_process:
            run.note(event)
        return event

    try:
        for sentence in notes:
            yield noted(Note(message=sentence))
        for event in _train(study, run, config, former, state, stop):
            yield noted(event)
    except ClnError as error:
        with suppress(OSError):  # as on a full disk; the error itself is what matters
            noted(Failed(message=str(error)))
        raise
    except OSError as cause:
        raise _unwritable(run, cause) from cause


def _measured(recipe: Recipe, folds: Sequence[Fold], cases: Mapping[str, Case]) -> Iterator[str]:
    """On how many frames each channel beside the grey image was measured, in words."""
    ids = {id_ for fold in folds for id_ in (*fold.train, *fold.validation)}
    names = [name for name in recipe.prepare.channels if name != "despeckled"]
    if names:
        n = (f"{name} {sum(name in cases[id_].checksums.channels for id_ in ids)}" for name in names)
        yield f"Channels that were measured, on {counted(len(ids), 'frame')}: {', '.join(n)}."


def _train(
    study: TrainingFolder,
    run: RunFolder,
    config: TrainConfig,
    former: TrainingRecord | None,
    state: Any,
    stop: Callable[[], bool],
) -> Iterator[Event]:
    cases = {case.id: case for case in study.cases()}
    folds = list(former.folds) if former and former.folds else _frozen(study, config)
    _check_folds(run, folds, cases)
    refuse_held(study, (case for fold in folds for case in (*fold.train, *fold.validation)), "Training")
    recipe, start = _recipe_of(run, config, former)
    weights = start.model if start else ""
    if state.is_main_process:
        run.write_record(TrainingRecord(config=config, folds=tuple(folds), weights=weights))
    yield Start(
        folds=len(folds),
        frames=len(set().union(*(fold.train + fold.validation for fold in folds))),
        epochs=config.epochs,
        device=str(state.device),
        weights=str(start) if start else "",
        settings=config,
    )
    more = _more_of(study, config, folds, cases, recipe)
    for sentence in (*more.notes, *_measured(recipe, folds, cases)):
        yield Note(message=sentence)
    settings = _settings(config, start, more)
    name = run.path.absolute().name
    scores: list[list[FrameScore]] = []
    networks: list[Member] = []
    # each frame is prepared once, whatever the number of folds
    needed = list(dict.fromkeys(id_ for fold in folds for id_ in (*fold.train, *fold.validation)))
    prepared = Samples.from_cases(study, [cases[id_] for id_ in needed], recipe.prepare)
    places = {id_: place for place, id_ in enumerate(needed)}
    areas = prepared.node_areas()
    for index, fold in enumerate(folds):
        place = run.fold(index)
        train_on, validate_on = (
            prepared.take([places[id_] for id_ in side]) for side in (fold.train, fold.validation)
        )
        validated = {cases[id_].patient for id_ in fold.validation}
        network, fault = _finished(place / "model.safetensors", recipe.network)
        if fault:
            yield Note(message=fault)
        is_new = network is None
        if network is None:
            if state.is_main_process:
                place.mkdir(exist_ok=True)
            state.wait_for_everyone()
            for event in fit(
                Samples.join([train_on, *more.of_fold(validated)]),
                validate_on,
                recipe,
                place,
                epochs=config.epochs,
                seed=config.seed,
                start_from=start.network if start else None,
                resume=former is not None and has_checkpoint(place),
                patience=config.patience or None,
                stop=stop,
                fold=index,
                unlabelled=more.unlabelled.beside(validated) if more.unlabelled else None,
            ):
                yield event
                if isinstance(event, Stopped):
                    return
            state.wait_for_everyone()
            network = _best_of(place, recipe, train_on, validate_on)
        networks.append(network)
        scores.append(score_frames(network, validate_on, for_card=True))
        if is_new and state.is_main_process:
            counts = more.counts(len(train_on), [validated])
            clips = _clips_of(cases)
            card = card_of(f"{name}-fold-{index}", settings, recipe, counts, areas, scores[-1:], clips=clips)
            save_model(network, place / "model.safetensors", card)
            forget_former(place)
    yield from _kept(study, run, config, state, folds, networks, scores, (settings, recipe, areas, more))


def _kept(
    study: TrainingFolder,
    run: RunFolder,
    config: TrainConfig,
    state: Any,
    folds: Sequence[Fold],
    networks: Sequence[Member],
    scores: Sequence[Sequence[FrameScore]],
    told: tuple[JsonObject, Recipe, NDArray[np.intp], MoreFrames],
) -> Iterator[Event]:
    """Keep the best fold, or all, as the run's model, and compare it with the one in use."""
    cases = {case.id: case for case in study.cases()}
    settings, recipe, areas, more = told
    name = run.path.absolute().name
    best = max(range(len(folds)), key=lambda index: goodness(scores[index]) or 0.0)
    chosen = list(range(len(folds))) if config.ensemble else [best]
    model: Network = Ensemble(networks) if config.ensemble else networks[best]
    n_train = len(set().union(*(folds[index].train for index in chosen)))
    validated = [{cases[id_].patient for id_ in folds[index].validation} for index in chosen]
    counts = more.counts(n_train, validated)
    card = card_of(name, settings, recipe, counts, areas, scores, members=len(chosen), clips=_clips_of(cases))
    if state.is_main_process:
        save_model(model, run.model, card)
    if config.compare_with:
        judged = [cases[id_] for index in chosen for id_ in folds[index].validation]
        new = [score for index in chosen for score in scores[index]]
        compared = _comparison(study, judged, config.compare_with, as_in_use(new, card))
        if state.is_main_process:
            save_model(model, run.model, replace(card, compared=compared.comparison))
        yield compared
    yield End(
        model=run.model.name,
        fold=None if config.ensemble else best,
        figures=tuple(str(figure) for figure in card.figures),
    )


def _clips_of(cases: Mapping[str, Case]) -> dict[str, str]:
    return {id_: case.cine for id_, case in cases.items() if case.cine is not None}


def _recipe_of(
    run: RunFolder, config: TrainConfig, former: TrainingRecord | None
) -> tuple[Recipe, StartingPoint | None]:
    """Recipe of a run, on the network of the model that it starts from, which is that of the run resumed."""
    recipe = config.to_recipe()
    start = starting_point(config.start_from, recipe, config.seed)
    weights = start.model if start else ""
    if former is not None and former.weights and former.weights != weights:
        raise RunError(
            f"The run in {run.path.name} was started from {former.weights}, and '{config.start_from}' is "
            f"{weights or 'no model'} now. Put the former model back, or start a new run."
        )
    return (recipe if start is None else replace(recipe, network=start.network.config)), start


def _more_of(
    study: TrainingFolder,
    config: TrainConfig,
    folds: Sequence[Fold],
    cases: Mapping[str, Case],
    recipe: Recipe,
) -> MoreFrames:
    """Frames beside the labelled ones of the folder that the settings ask for."""
    pseudo = pseudo_labelled(study, cases.values()) if config.pseudo else []
    if config.pseudo and not pseudo:
        raise RunError(
            f"{study.path.name} holds no pseudo-label. Make some by `napari-cln pseudo`, or set pseudo to 0."
        )
    refuse_held(study, (case.id for case in pseudo), "Training")
    unlabelled = None
    if config.unlabelled:
        unlabelled = read_unlabelled(config.unlabelled, study, folds, recipe.prepare)
    return MoreFrames(
        simulated=simulated_samples(config.synthetic, config.seed, recipe.prepare),
        pseudo=weighed(study, pseudo, config.pseudo, recipe.prepare),
        patients=tuple(case.patient for case in pseudo),
        unlabelled=unlabelled,
    )


def _settings(config: TrainConfig, start: StartingPoint | None, more: MoreFrames) -> JsonObject:
    """Settings for a card. It travels with its model: it names other models by their id, never by a path."""
    settings = {**asdict(config), "start_from": start.model if start else ""}
    settings["unlabelled"] = len(more.unlabelled.samples) if more.unlabelled else 0
    del settings["compare_with"]
    if start is not None:
        settings["loaded"] = f"{start.taken} of {start.of} tensors"
    return settings


def _best_of(place: Path, recipe: Recipe, train_on: Samples, validate_on: Samples) -> Member:
    """Network of a fold's best epoch, which knows what its training frames are like."""
    network = network_of(recipe.network).eval()
    network.load_state_dict(load_weights(place))
    # ids are hashes, so that the first frames are a fair sample
    known = [part.stacked[:NOVELTY_FRAMES] for part in (train_on, validate_on)]
    network.novelty = fit_novelty(network, known[:1], known[1])
    return network


def _finished(path: Path, config: YNetConfig) -> tuple[Member | None, str]:
    """The network of a fold that is done; None for one that is to be trained, and what is damaged."""
    if not path.is_file():
        return None, ""
    try:
        network = load_model(path)
    except WeightsError as error:
        return None, f"In {path.parent.name}: {error} It is made again from the fold's best weights."
    if not isinstance(network, Member) or network.config != config:
        return None, f"{path.name} in {path.parent.name} is of another run, and is made again."
    return network, ""


def card_of(
    name: str,
    settings: JsonObject,
    recipe: Recipe,
    trained_on: tuple[TrainingData, ...],
    areas: NDArray[np.intp],
    scores: Sequence[Sequence[FrameScore]],
    *,
    members: int = 1,
    clips: Mapping[str, str] | None = None,
) -> ModelCard:
    """Card of a fold, or of the run: operating point, limits and figures from the validation of all folds.

    Parameters
    ----------
    name : str
    settings : dict
        Of the run, as they may leave the house.
    recipe : Recipe
    trained_on : tuple of TrainingData
        Frames that the model was trained on, by their source.
    areas : ndarray of int
        Of all nodes that anybody drew, in pixels of the network's input.
    scores : sequence of sequence of FrameScore
        Validation frames of each fold.
    members : int
        Networks in the model. No frame is unseen by all of an ensemble: each frame is judged by the
        member that did not train on it, and the card says so.
    clips : mapping of str to str, optional
        Clip of each frame that is of one, by its id.
    """
    pooled = [score for fold in scores for score in fold]
    of = f" of {len(scores)} folds" if len(scores) > 1 else ""
    data = f"{len(pooled)} validation frames{of}, which also chose the epoch"
    if failed := sum(score.failed for score in pooled):
        data += f" (for {failed} of them the network gave no finite number)"
    limits = LIMITS
    if members > 1:
        data += ", each judged by the one member that did not train on it"
        limits = (
            f"An ensemble of {members} networks. Its figures and its cutoff are those of its members, each "
            f"on frames that it did not train on: the ensemble itself has no unseen frame. {LIMITS}"
        )
    temperature, cutoff, cutoff_from = fit_operating_point(pooled, data)
    clip_temperature, clip_cutoff = fit_clip_point(pooled, clips or {}, temperature)
    found = fit_limits(pooled, areas, knows_nothing=recipe.network.knows_nothing)
    found = replace(found, min_node_area=found.min_node_area or ModelCard.min_node_area)
    card = ModelCard(
        name=plain_name(name),
        created=datetime.now(UTC).date().isoformat(),
        prepare=recipe.prepare,
        trained_on=trained_on,
        recipe=settings,
        mask_threshold=0.5 if recipe.network.segmentation else None,
        min_node_area=found.min_node_area,
        min_peak=found.min_peak,
        min_node_chance=found.min_node_chance,
        cutoff=cutoff,
        cutoff_from=cutoff_from,
        temperature=temperature,
        clip_temperature=clip_temperature,
        clip_cutoff=clip_cutoff,
        doubt=fit_frame_doubt(pooled, found) if recipe.network.knows_nothing else None,
        limits=limits,
    )
    return replace(card, figures=estimate_figures(as_in_use(pooled, card), data))


def _comparison(
    study: TrainingFolder, cases: Sequence[Case], model: str, new: Sequence[FrameScore]
) -> Compared:
    """The new model beside the one in use, on the same validation frames.

    Parameters
    ----------
    study : TrainingFolder
    cases : sequence of Case
        The validation frames.
    model : str
        Name or path of the model in use.
    new : sequence of FrameScore
        What the new model makes of each of them, at the limits of its card.
    """
    try:
        in_use = load_model(model)
    except WeightsError as error:
        return Compared(model=plain_name(Path(model).stem), message=str(error))
    assert in_use.card is not None
    old = score_frames(in_use, Samples.from_cases(study, cases, in_use.card.prepare))
    patients = [case.patient for case in cases]
    gaps = compare_scores(new, as_in_use(old, in_use.card), patients)
    return Compared(model=in_use.model_id, dice=gaps["dice"], auc=gaps["auc"])


def _frozen(study: TrainingFolder, config: TrainConfig) -> list[Fold]:
    if config.hold_out == "hospital":
        return hospital_folds(case for case in study.cases() if is_trainable(case))
    try:
        return frozen_split(study, config.folds, config.seed)
    except OSError as cause:
        raise RunError(
            f"The split of {study.path.name} can't be kept there: {_reason(cause)}. Make room on its disk, "
            "or check your permissions."
        ) from cause


def _check_folds(run: RunFolder, folds: Sequence[Fold], cases: Mapping[str, Case]) -> None:
    """Frames that a run goes on with are those that it was begun with."""
    gone = sorted({id_ for fold in folds for id_ in (*fold.train, *fold.validation)} - cases.keys())
    if gone:
        raise RunError(
            f"{counted(len(gone), 'frame')} of the run in {run.path.name} can't be found in the training "
            f"folder, such as {gone[0][:40]}. Put them back, or start a new run."
        )
    for fold in folds:
        both = {cases[id_].patient for id_ in fold.train} & {cases[id_].patient for id_ in fold.validation}
        if both:
            raise RunError(
                f"Patient {min(both)} is on both sides of a fold of {run.path.name}: the patients of the "
                "training folder were changed since the run began. Start a new run."
            )


def _check_settings(run: RunFolder, former: TrainConfig, config: TrainConfig) -> None:
    """A run is not resumed with other settings."""
    changed = [name for name, value in asdict(config).items() if getattr(former, name) != value]
    if changed:
        raise RunError(
            f"The run in {run.path.name} was started with another {', '.join(changed)}. "
            "Resume it with the same settings, or start a new run."
        )


def _unwritable(run: RunFolder, cause: OSError) -> RunError:
    then = (
        "Choose a folder where you may write."
        if cause.errno in NOT_ALLOWED
        else "Make room, then resume it: it goes on from its last checkpoint."
    )
    return RunError(f"The run can't be written in {run.path.name}: {_reason(cause)}. {then}")


def _reason(cause: OSError) -> str:
    return (cause.strerror or str(cause)).lower()
