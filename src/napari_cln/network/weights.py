"""Model files: weights as ``.safetensors``, and beside them a ``.json`` card that says what they are.

Nothing in either file is executed. The card holds the SHA-256 of the weights, so that a flipped bit
is noticed; shapes are compared before any memory is taken.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ..errors import WeightsError
from ..folder.storage import write_atomically
from .card import ModelCard
from .cards import find_model, list_models, models_folder, read_card
from .model import YNet
from .novelty import Novelty

__all__ = ["list_models", "load_model", "models_folder", "save_model"]

MAX_WEIGHT_BYTES = 2_000_000_000
NOVELTY = ("novelty.mean", "novelty.factor")
"""Keys beside the weights, in files of models that know what they were trained on."""


def save_model(model: YNet, path: Path | str, card: ModelCard) -> ModelCard:
    """Write the weights to ``path`` (.safetensors) and the card beside it (.json).

    Each file is written whole or not at all, and lasts through a crash. The model keeps the card.

    Returns
    -------
    ModelCard
        The card with the network's configuration and the SHA-256 of the file.

    Raises
    ------
    WeightsError
        If the path does not end in ``.safetensors``, or a weight is not finite.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path.name} is no name for a model file. Let it end in .safetensors.")
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    if model.novelty is not None:
        known = (model.novelty.mean, model.novelty.factor)
        state |= {key: torch.from_numpy(value) for key, value in zip(NOVELTY, known, strict=True)}
    _check_finite(state, path.name)
    content = save_tensors(state)
    card = dataclasses.replace(card, config=model.config, sha256=hashlib.sha256(content).hexdigest())
    write_atomically(path, content)
    write_atomically(path.with_suffix(".json"), card.to_json().encode())
    model.card = card
    return card


def load_model(name_or_path: str | Path = "default") -> YNet:
    """A trained network, in evaluation mode on the CPU.

    Parameters
    ----------
    name_or_path : str or Path
        A name that :func:`list_models` knows, or the path of a ``.safetensors`` file that has its
        ``.json`` card beside it.

    Returns
    -------
    YNet
        With ``.card`` and ``.model_id``.

    Raises
    ------
    WeightsError
        If there is no such model, or the file or its card is damaged or does not fit.
    """
    path = find_model(name_or_path)
    card = read_card(path)
    content = _read_weights(path)
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise WeightsError(
            f"{path.name} is damaged or was changed: its SHA-256 differs from the one in its card. "
            "Copy the model file and its card again from where they came."
        )
    try:
        state = load_tensors(content)
    except (SafetensorError, ValueError, OverflowError) as cause:
        raise WeightsError(f"{path.name} is not a readable safetensors file. Copy it again.") from cause
    with torch.device("meta"):
        expected = YNet(card.config).state_dict()
    known = {key: state.pop(key) for key in NOVELTY if key in state}
    _check_fit(state, expected, path.name)
    _check_fit(known, _novelty_shapes(known, expected), path.name)
    _check_finite(state | known, path.name)
    model = YNet(card.config)
    model.load_state_dict(state)
    model.card = card
    if known:
        mean, factor = (known[key].float().numpy() for key in NOVELTY)
        model.novelty = Novelty(mean=mean, factor=factor)
    return model.eval()


def _novelty_shapes(
    known: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """What the tensors of a model's novelty look like, if it has any."""
    if not known:
        return {}
    sources = max(1, *(value.shape[0] if value.ndim else 0 for value in known.values()))
    size = 2 * expected["stem.0.weight"].shape[0]
    shapes = ((sources, size), (sources, size, size))
    return {key: torch.empty(shape, device="meta") for key, shape in zip(NOVELTY, shapes, strict=True)}


def _read_weights(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_WEIGHT_BYTES:
            raise WeightsError(f"{path.name} is larger than {MAX_WEIGHT_BYTES:,} bytes: it is no Y-Net.")
        return path.read_bytes()
    except OSError as cause:
        raise WeightsError(f"{path.name} can't be read: {cause.strerror}. Check its permissions.") from cause


def _check_fit(state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], name: str) -> None:
    channels = state["stem.0.weight"].shape[1:2] if "stem.0.weight" in state else (1,)
    if tuple(channels) != (1,):
        raise WeightsError(
            f"{name} is for frames of {channels[0]} channels; this Y-Net reads 1 (grey). "
            "Choose another model."
        )
    missing = sorted(expected.keys() - state.keys())
    unknown = sorted(state.keys() - expected.keys())
    shaped = sorted(key for key in expected.keys() & state.keys() if expected[key].shape != state[key].shape)
    for fault, keys in (("lacks", missing), ("has unknown", unknown), ("has wrong shapes for", shaped)):
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise WeightsError(
                f"{name} {fault} {', '.join(keys[:3])}{more}: it does not fit the network in its card. "
                "Copy the model file and its card again."
            )


def _check_finite(state: Mapping[str, torch.Tensor], name: str) -> None:
    bad = [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise WeightsError(
            f"{name} holds values that are not numbers in {', '.join(bad[:3])}. Train the model again."
        )
