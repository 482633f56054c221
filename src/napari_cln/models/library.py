"""Which models there are, and what their cards say. Without torch, so that a window can list them at once."""

from __future__ import annotations

import json
import logging
import os
import sys
from importlib import resources
from pathlib import Path

from ..errors import WeightsError
from .card import ModelCard

__all__ = ["IN_USE", "find_model", "list_models", "model_in_use", "models_folder", "promotions", "read_card"]

MAX_CARD_BYTES = 1_000_000
DEFAULT = "default"
IN_USE = "in-use"
"""Stands for the model that was promoted last."""
PROMOTED = "promoted.json"


def list_models() -> list[ModelCard]:
    """Cards of all models known by name: the bundled ones, then those in :func:`models_folder`.

    A card that can't be read is left out, and named in the log.
    """
    cards = []
    for path in _known().values():
        try:
            cards.append(_read_json(path.with_suffix(".json")))
        except WeightsError as error:
            logging.getLogger(__name__).warning("%s", error)
    return cards


def models_folder() -> Path:
    """Folder of the user's own models: ``NAPARI_CLN_MODELS``, or the platform's place for such data."""
    if chosen := os.environ.get("NAPARI_CLN_MODELS"):
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "napari-cln" / "models"


def _known() -> dict[str, Path]:
    """Weight files by name; a bundled name is never hidden by a user's file."""
    bundled = Path(str(resources.files("napari_cln") / "models"))
    found: dict[str, Path] = {}
    for folder in (bundled, models_folder()):
        for path in sorted(folder.glob("*.safetensors")):
            found.setdefault(path.stem, path)
    return found


def model_in_use() -> str:
    """Name of the model that was promoted last; ``"default"`` where none was."""
    return (DEFAULT, *promotions())[-1]


def promotions() -> tuple[str, ...]:
    """Names of the promoted models that are there, the one in use last.

    A list that can't be read counts as empty, and is named in the log.
    """
    try:
        names = json.loads((models_folder() / PROMOTED).read_bytes())
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, RecursionError):
        names = None
    if not isinstance(names, list):
        logging.getLogger(__name__).warning("%s is damaged: the default model is in use.", PROMOTED)
        return ()
    known = {card.name for card in list_models()}
    return tuple(name for name in names if isinstance(name, str) and name in known)


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
    if str(name_or_path) in known:
        return known[str(name_or_path)]
    path = Path(name_or_path)
    if not path.is_file():
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
    """The card of a known name or of a ``.safetensors`` file.

    Raises
    ------
    WeightsError
        If there is no such model, or its card is missing or damaged.
    """
    return _read_json(find_model(name_or_path).with_suffix(".json"))


def _read_json(path: Path) -> ModelCard:
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise ValueError("too large")
        return ModelCard.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as cause:
        raise WeightsError(
            f"{path.name} is missing: a model file needs its card beside it. Copy both from where they came."
        ) from cause
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as cause:
        raise WeightsError(f"{path.name} is not a model card of this version. Copy it again.") from cause
