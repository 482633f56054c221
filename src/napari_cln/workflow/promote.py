"""The model in use: promoted by a person, and back with one click. Without torch.

A promotion copies a model file under a name of its own into the user's models folder, and adds that name
to ``promoted.json`` there; the last name in it is in use. Nothing is overwritten or deleted, so that each
step back finds its model, and what was scored with a model can be scored with it again.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from ..disk.atomic import write_atomically
from ..errors import WeightsError
from ..models.card import ModelCard, ModelComparison
from ..models.library import (
    IN_USE,
    PROMOTED,
    card_of_weights,
    find_model,
    known_models,
    known_name,
    model_in_use,
    models_folder,
    promotions,
    read_card,
)
from ..types import Estimate

__all__ = ["describe_comparison", "doubts_about", "promote", "say_gap", "undo_promotion"]

# Windows knows files of these names in no folder
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


def promote(name_or_path: str | Path, *, confirmed: bool = False) -> ModelCard:
    """Put a model into use.

    Parameters
    ----------
    name_or_path : str or Path
        As for :func:`napari_cln.load_model`, such as the ``model.safetensors`` that a run leaves.
    confirmed : bool
        That a person wants it whatever :func:`doubts_about` says.

    Returns
    -------
    ModelCard
        With the name that the model has from now on: its own, or with a number where another file
        has that name.

    Raises
    ------
    WeightsError
        If there are doubts about the model and it was not confirmed; if the file does not fit its card,
        is in use already, or can't be copied.
    """
    path = find_model(name_or_path)
    folder = models_folder()
    try:
        weights = path.read_bytes()
        card = card_of_weights(path, weights)
        if card.is_pretrained_alone:
            raise WeightsError(
                f"{card.model_id} was pretrained on unlabelled frames, and neither draws nor scores. Start a "
                "training from it, and promote what that makes."
            )
        name = known_name(path) or _name_for(card)
        if name == model_in_use():
            raise WeightsError(f"{name}@{card.sha256[:12]} is in use already.")
        if not confirmed and (doubts := doubts_about(card)):
            raise WeightsError(f"{doubts} Confirm to promote it all the same.")
        if name not in {known.name for known in known_models()[0]}:
            card = replace(card, name=name)
            folder.mkdir(parents=True, exist_ok=True)
            # The card first: a model is known by its weights, so that it is never seen without a card.
            write_atomically(folder / f"{name}.json", card.to_json().encode())
            write_atomically(folder / f"{name}.safetensors", weights)
        folder.mkdir(parents=True, exist_ok=True)
        _write_list((*promotions(), name))
    except OSError as cause:
        raise WeightsError(
            f"{path.name} can't be copied to the models folder: {cause.strerror}. "
            "The model in use has not changed: make room there, or check your permissions."
        ) from cause
    return replace(card, name=name)


def doubts_about(card: ModelCard, compared: ModelComparison | None = None) -> str:
    """Say why a person should be asked before a model is promoted.

    Parameters
    ----------
    card : ModelCard
    compared : ModelComparison, optional
        With another model, where the card of an earlier version holds none.

    Returns
    -------
    str
        A sentence with the figures: that the model does worse than the one in use, or that it is not
        known how it compares. Empty where nothing speaks against it.
    """
    compared = card.compared or compared
    try:
        in_use = read_card(model_in_use())
    except WeightsError:
        in_use = None
    if compared is None:
        return f"{card.name} was not compared with the model in use on the same frames."
    if compared.message:
        return f"{card.name} was not compared with {compared.model}: {compared.message}"
    if not compared.gaps:
        return f"{card.name} was compared with {compared.model} on too few frames to tell."
    said = "; ".join(f"{name} {say_gap(gap)}" for name, gap in compared.gaps.items())
    if any(gap.high < 0 for gap in compared.gaps.values()):
        return f"{card.name} does worse than {compared.model} on the same frames: {said}."
    if in_use is None or not compared.model.endswith(f"@{in_use.sha256[:12]}"):
        now = "another model" if in_use is None else in_use.model_id
        return f"{card.name} was compared with {compared.model}, and {now} is in use now."
    return ""


def say_gap(gap: Estimate) -> str:
    """Write a difference with its interval and number.

    Parameters
    ----------
    gap : Estimate
        Of a 95 % interval.
    """
    return f"{gap.value:+.3f} (95 % interval {gap.low:+.3f} to {gap.high:+.3f}, n = {gap.n})"


def describe_comparison(comparison: ModelComparison | None) -> tuple[str, str]:
    """Say how a model compares with the one in use.

    Parameters
    ----------
    comparison : ModelComparison, optional
        None where the run made none.

    Returns
    -------
    words : str
        Both differences with their intervals, and which model is better.
    mood : {"good", "info", "bad"}
        For the new model.
    """
    if comparison is None:
        return "This run was not compared with another model.", "info"
    if comparison.message:
        return f"Not compared with {comparison.model}: {comparison.message}", "bad"
    lines, moods = [], set()
    for name, gap in (("mean Dice", comparison.dice), ("AUC", comparison.auc)):
        if gap is None:
            lines.append(f"{name}: too few frames to compare")
            continue
        lines.append(f"{name} {say_gap(gap)}")
        moods.add("good" if gap.low > 0 else "bad" if gap.high < 0 else "info")
    verdict = {
        frozenset({"good"}): "Better.",
        frozenset({"good", "info"}): "Better in one figure; the other shows no difference.",
        frozenset({"bad"}): "Worse.",
        frozenset({"bad", "info"}): "Worse in one figure; the other shows no difference.",
        frozenset({"good", "bad"}): "Better in one figure, worse in the other.",
        frozenset({"info"}): "These frames show no difference.",
    }.get(frozenset(moods), "These frames can't tell.")
    mood = "bad" if "bad" in moods else "good" if "good" in moods else "info"
    return (
        f"Compared with {comparison.model} on the same validation frames, new − in use:\n"
        + "\n".join(lines)
        + f"\n{verdict} They also chose the new model's epoch, which flatters it a little.",
        mood,
    )


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


def _name_for(card: ModelCard) -> str:
    """Return the name of the same model, where it is known already; else one that no file there has."""
    for known in known_models()[0]:
        if replace(known, name=card.name) == card:
            return known.name
    plain = re.sub(r"[^\w.-]+", "-", card.name).strip("-.")[:60] or "model"
    if plain.partition(".")[0].casefold() in DEVICES:
        plain = f"model-{plain}"
    taken = _taken(card)
    number = 1
    while (name := plain if number == 1 else f"{plain}-{number}").casefold() in taken:
        number += 1
    return name


def _taken(card: ModelCard) -> set[str]:
    """Names, in small letters, that ship, or that a file in the models folder has: also one whose card is
    damaged, and a card whose weights are missing, unless it is this one, as a crash may leave it."""
    ships = {known.name.casefold() for known in known_models()[0]}
    there = set()
    for path in models_folder().glob("*"):
        if path.suffix in (".safetensors", ".json") and path.is_file():
            ours = path.suffix == ".json" and not path.with_suffix(".safetensors").exists()
            if not (ours and path.read_bytes() == replace(card, name=path.stem).to_json().encode()):
                there.add(path.stem.casefold())
    return {*ships, *there, IN_USE, Path(PROMOTED).stem}


def _write_list(names: tuple[str, ...]) -> None:
    path = models_folder() / PROMOTED
    if path.with_suffix(".safetensors").exists():
        raise WeightsError(
            f"{path.with_suffix('.safetensors').name} in the models folder has the name of the list of "
            "promoted models, which would replace its card. Rename that model and its card first."
        )
    write_atomically(path, json.dumps(names).encode())
