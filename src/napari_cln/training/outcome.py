"""The outcome of a run: a card with figures, and a comparison with the model in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..disk.schema import JsonObject
from ..errors import WeightsError
from ..folder.dataset import TrainingFolder
from ..models.card import ModelCard, TrainingData, plain_name
from ..network.weights import load_model
from ..types import Case
from .data import Samples
from .recipes import Recipe
from .run_folder import Compared
from .scoring import (
    FrameScore,
    compare_scores,
    estimate_figures,
    fit_clip_point,
    fit_frame_doubt,
    fit_limits,
    fit_operating_point,
    score_frames,
)

__all__ = ["card_of", "comparison"]

LIMITS = (
    "Trained on the frames of one user, and measured on frames of the same kind alone. "
    "It is for research, not for diagnosis."
)


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
    return ModelCard(
        name=plain_name(name),
        created=datetime.now(UTC).date().isoformat(),
        prepare=recipe.prepare,
        trained_on=trained_on,
        recipe=settings,
        figures=estimate_figures(pooled, data),
        mask_threshold=0.5 if recipe.network.segmentation else None,
        min_node_area=found.min_node_area or ModelCard.min_node_area,
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


def comparison(
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
        What the new model makes of each of them.
    """
    try:
        in_use = load_model(model)
    except WeightsError as error:
        return Compared(model=plain_name(Path(model).stem), message=str(error))
    assert in_use.card is not None
    old = score_frames(in_use, Samples.from_cases(study, cases, in_use.card.prepare))
    patients = [case.patient for case in cases]
    gaps = compare_scores(new, old, patients)
    return Compared(model=in_use.model_id, dice=gaps["dice"], auc=gaps["auc"])
