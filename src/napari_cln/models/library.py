"""The models that are there, with their cards. Without torch, so that a window can list them at once.

A model has one name. In the models folder, and among those that ship, it is the name of its file without
the ending, whatever its card says: a file that is renamed is a model renamed. Anywhere else, such as
``model.safetensors`` in the folder of a run, it is the name that its card was given when it was saved.
A user's file that claims a name that ships (in small or capital letters) is ``own/`` and its name.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from dataclasses import replace
from importlib import resources
from pathlib import Path

from platformdirs import user_data_dir

from ..disk.schema import SchemaError
from ..errors import WeightsError
from .card import ModelCard, checksum_of, plain_name

__all__ = [
    "IN_USE",
    "card_of_weights",
    "find_model",
    "known_models",
    "known_name",
    "list_models",
    "model_in_use",
    "models_folder",
    "next_card",
    "promotions",
    "read_card",
]

MAX_CARD_BYTES = 1_000_000
DEFAULT = "default"
IN_USE = "in-use"
"""Stands for the model that was promoted last."""
OWN = "own/"
"""Before the name of a user's model that a model that ships has too; no file's name can hold it."""
PROMOTED = "promoted.json"
_log = logging.getLogger(__name__)


def list_models() -> list[ModelCard]:
    """List the cards of all models known by name: the bundled ones, then those in :func:`models_folder`.

    A card that can't be read is left out, and named in the log.

    Returns
    -------
    list of ModelCard
    """
    cards, faults = known_models()
    for fault in faults:
        _log.warning("%s", fault)
    return cards


def known_models() -> tuple[list[ModelCard], list[WeightsError]]:
    """Cards of all models known by name, each under that name; and why the others can't be read."""
    cards: list[ModelCard] = []
    faults: list[WeightsError] = []
    for name, path in _known().items():
        try:
            cards.append(replace(_card_beside(path), name=name))
        except WeightsError as error:
            faults.append(error)
    return cards, faults


def models_folder() -> Path:
    """Folder of the user's own models: ``NAPARI_CLN_MODELS``, or the platform's place for such data."""
    chosen = os.environ.get("NAPARI_CLN_MODELS")
    return Path(chosen) if chosen else Path(user_data_dir("napari-cln", appauthor=False)) / "models"


def _bundled() -> Path:
    return Path(str(resources.files("napari_cln") / "models"))


def _known() -> dict[str, Path]:
    """Weight files by name; each file has one, and a bundled name is never a user's file."""
    found = {path.stem: path for path in _weights_in(_bundled())}
    taken = {name.casefold() for name in (*found, IN_USE)}
    if _is_same(models_folder(), _bundled()):
        return found
    for path in _weights_in(models_folder()):
        name = path.stem
        if plain_name(name) != name:
            _log.warning("The name of %s is none for a model. Rename the file, and its card.", ascii(name))
            continue
        found[OWN + name if name.casefold() in taken else name] = path
    return found


def _weights_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.safetensors")) if path.is_file()]


def _is_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def model_in_use() -> str:
    """Name of the model that was promoted last; ``"default"`` where none was."""
    return (DEFAULT, *promotions())[-1]


def promotions() -> tuple[str, ...]:
    """Names of the promoted models that are there, the one in use last.

    A model whose file was renamed since is known by the name that its card was given, and goes by its
    new one. A list that can't be read counts as empty, and is named in the log.
    """
    try:
        names = json.loads((models_folder() / PROMOTED).read_bytes())
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, RecursionError):
        names = None
    if not isinstance(names, list):
        _log.warning("%s is damaged: the default model is in use.", PROMOTED)
        return ()
    written: dict[str, list[str]] = {}  # names of files by the name in their card
    there = set()
    for name, path in _known().items():
        with suppress(WeightsError):
            written.setdefault(_card_beside(path).name, []).append(name)
            there.add(name)
    found = ([name] if name in there else written.get(name, []) for name in names if isinstance(name, str))
    return tuple(now[0] for now in found if len(now) == 1)


def find_model(name_or_path: str | Path) -> Path:
    """The weights file of a known name, or the path itself; of ``"in-use"``, the model promoted last.

    Raises
    ------
    WeightsError
        If there is no such model, or the file is of another format.
    """
    known = _known()
    if name_or_path == IN_USE:
        name_or_path = model_in_use()
    name, path = str(name_or_path), Path(name_or_path)
    is_file = os.path.isfile(path)  # noqa: PTH113  # Path.is_file raises where a name is too long
    if name in known:
        return known[name]
    alike = [other for other in known if other.casefold() == name.casefold()]
    if len(alike) > 1:
        raise WeightsError(f"'{name}' may be {' or '.join(alike)}. Give the name as it is spelt.")
    if alike and not is_file:
        return known[alike[0]]
    if not is_file:
        names = ", ".join(known) or "none"
        raise WeightsError(
            f"There is no model '{path.name}'. Known by name: {names}. "
            "Choose one, or give the path of a .safetensors file."
        )
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"{path.name} is not a .safetensors file. Other formats can run code when they are opened, "
            "so they are not: convert the weights where they were trained."
        )
    return path


def read_card(name_or_path: str | Path) -> ModelCard:
    """The card of a known name or of a ``.safetensors`` file, under the model's one name.

    Raises
    ------
    WeightsError
        If there is no such model, or its card is missing or damaged.
    """
    path = find_model(name_or_path)
    return _named(path, _card_beside(path))


def next_card(path: Path) -> Path:
    """Path of a model's card while its weights are being written; see :func:`card_of_weights`.

    Parameters
    ----------
    path : Path
        Of the weights.
    """
    return path.with_suffix(".json.next")


def card_of_weights(path: Path, weights: bytes) -> ModelCard:
    """The card that belongs to the weights in a file.

    Weights and card are two files. A save that is cut off between them leaves the new weights with the
    card beside them in :func:`next_card`, and this puts it in its place.

    Parameters
    ----------
    path : Path
        Of the weights.
    weights : bytes
        What the file holds.

    Raises
    ------
    WeightsError
        If the card is missing or damaged, or is that of other weights.
    """
    beside, waiting, checksum = path.with_suffix(".json"), next_card(path), checksum_of(weights)
    fault = WeightsError(
        f"{path.name} is damaged or was changed: its SHA-256 differs from the one in its card. "
        "Copy the model file and its card again from where they came."
    )
    for place in (beside, waiting):
        try:
            card = _named(path, _read_json(place))
        except WeightsError as error:
            fault = error if place == beside else fault
            continue
        if card.sha256 == checksum:
            if place == waiting:
                with suppress(OSError):  # it serves where it lies, too
                    waiting.replace(beside)
            return card
    raise fault


def known_name(path: Path) -> str | None:
    """Name that the model in a file is known by; None for a file that lies elsewhere."""
    known = (name for name, file in _known().items() if file.name == path.name and _is_same(file, path))
    return next(known, None)


def _named(path: Path, card: ModelCard) -> ModelCard:
    return replace(card, name=known_name(path) or card.name)


def _card_beside(path: Path) -> ModelCard:
    card = path.with_suffix(".json")
    return _read_json(card if card.exists() or not next_card(path).exists() else next_card(path))


def _read_json(path: Path) -> ModelCard:
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise SchemaError("", "It is too large.")
        return ModelCard.from_json(path.read_bytes())
    except FileNotFoundError as cause:
        raise WeightsError(
            f"{path.name} is missing: a model file needs its card beside it. Copy both from where they came."
        ) from cause
    except OSError as cause:
        raise WeightsError(
            f"{path.name} can't be read: {cause.strerror}. Check its permissions, or copy it again."
        ) from cause
    except SchemaError as cause:
        raise WeightsError(
            f"{path.name} is not a model card of this version: {str(cause).removesuffix('.')}. "
            "Copy it again from where the model came."
        ) from cause
