"""Which model is in use: promoted by a person, and back with one click. Without torch.

A promotion copies a model file under a name of its own into the user's models folder, and adds that name
to ``promoted.json`` there; the last name in it is in use. Nothing is overwritten or deleted, so that each
step back finds its model, and what was scored with a model can be scored with it again.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from ..disk.atomic import write_atomically
from ..errors import WeightsError
from .card import ModelCard
from .library import PROMOTED, find_model, list_models, model_in_use, models_folder, promotions, read_card

__all__ = ["promote", "undo_promotion"]


def promote(name_or_path: str | Path) -> ModelCard:
    """Put a model into use.

    Parameters
    ----------
    name_or_path : str or Path
        As for :func:`napari_cln.load_model`, such as the ``model.safetensors`` that a run leaves.

    Returns
    -------
    ModelCard
        With the name that the model has from now on: its own, or with a number where another model
        has that name.

    Raises
    ------
    WeightsError
        If the file does not fit its card, is in use already, or can't be copied.
    """
    path = find_model(name_or_path)
    card = read_card(path)
    folder = models_folder()
    try:
        weights = path.read_bytes()
        if sha256(weights).hexdigest() != card.sha256:
            raise WeightsError(
                f"{path.name} is damaged or was changed: its SHA-256 differs from the one in its card. "
                "Copy the model file and its card again from where they came."
            )
        folder.mkdir(parents=True, exist_ok=True)
        card = replace(card, name=_free_name(card))
        if card.name == model_in_use():
            raise WeightsError(f"{card.model_id} is in use already.")
        if card.name not in {known.name for known in list_models()}:
            # The card first: a model is known by its weights, so that it is never seen without a card.
            write_atomically(folder / f"{card.name}.json", card.to_json().encode())
            write_atomically(folder / f"{card.name}.safetensors", weights)
        _write_list((*promotions(), card.name))
    except OSError as cause:
        raise WeightsError(
            f"{path.name} can't be copied to the models folder: {cause.strerror}. "
            "The model in use has not changed: make room there, or check your permissions."
        ) from cause
    return card


def undo_promotion() -> str:
    """Take the last promotion back; the model stays known by its name.

    Returns
    -------
    str
        Name of the model that is in use again.

    Raises
    ------
    WeightsError
        If there is no promotion to take back, or the list of them can't be written.
    """
    names = promotions()
    if not names:
        raise WeightsError("No model was promoted: the default model is in use.")
    try:
        _write_list(names[:-1])
    except OSError as cause:
        raise WeightsError(
            f"{PROMOTED} can't be written: {cause.strerror}. Check the models folder's permissions."
        ) from cause
    return model_in_use()


def _free_name(card: ModelCard) -> str:
    """The card's name as a file may have it; with a number where a different model has that name."""
    plain = re.sub(r"[^\w.-]+", "-", card.name).strip("-.")[:60] or "model"
    taken = {known.name: known.sha256 for known in list_models()}
    names = (plain if number == 1 else f"{plain}-{number}" for number in range(1, len(taken) + 2))
    return next(name for name in names if taken.get(name, card.sha256) == card.sha256)


def _write_list(names: tuple[str, ...]) -> None:
    write_atomically(models_folder() / PROMOTED, json.dumps(names).encode())
