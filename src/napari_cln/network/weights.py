"""Model files: weights as ``.safetensors``, and beside them a ``.json`` card that says what they are.

The keys of an ensemble start with the number of their network: ``0.stem.0.weight``, ….
Nothing in either file is executed. The card holds the SHA-256 of the weights, so that a flipped bit
is noticed; shapes are compared before any memory is taken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ..disk.atomic import sync_folder, write_atomically
from ..disk.schema import SchemaError
from ..errors import WeightsError
from ..models.card import ModelCard, checksum_of, plain_name
from ..models.config import YNetConfig
from ..models.library import card_of_weights, find_model, list_models, models_folder, next_card
from .doubt import Novelty
from .ensemble import Ensemble
from .model import Member, Network
from .u_shaped import network_of

__all__ = ["list_models", "load_model", "models_folder", "save_model"]

MAX_WEIGHT_BYTES = 2_000_000_000
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
NOVELTY = ("novelty.mean", "novelty.factor")
"""Keys beside the weights, in files of models that know what they were trained on."""


def save_model(model: Network, path: Path | str, card: ModelCard) -> ModelCard:
    """Write the weights to ``path`` (.safetensors) and the card beside it (.json).

    Each file is written whole or not at all, and lasts through a crash; a crash between the two is made up
    for when the model is loaded. The model keeps the card, and networks of an ensemble that have none get
    one like it.

    Parameters
    ----------
    model : YNet or Ensemble
    path : path
        Ends in ``.safetensors``, in an existing folder.
    card : ModelCard
        With the model's name and what is known of it.

    Returns
    -------
    ModelCard
        The card with the network's configuration, the number of networks and the SHA-256 of the file; with
        the name of the file where that lies in the models folder, since the model goes by it there.

    Raises
    ------
    WeightsError
        If the path does not end in ``.safetensors``, a weight is not finite, or the card says what no
        card may say.
    OSError
        If the disk is full, or the folder can't be written to; the former model is untouched.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path.name} is no name for a model file. Let it end in .safetensors.")
    prefixes = _prefixes(len(model.members))
    state = {
        prefix + key: value
        for prefix, member in zip(prefixes, model.members, strict=True)
        for key, value in _state_of(member).items()
    }
    _check_finite(state, path.name)
    content = save_tensors(state)
    card = dataclasses.replace(
        card,
        name=path.stem if path.parent.absolute() == models_folder().absolute() else card.name,
        config=model.config,
        members=len(prefixes),
        sha256=checksum_of(content),
    )
    try:
        text = card.to_json().encode()
    except SchemaError as cause:
        raise WeightsError(
            f"The card of {path.name} can't be saved: {str(cause).removesuffix('.')}. Correct it first."
        ) from cause
    write_atomically(next_card(path), text)
    write_atomically(path, content)
    next_card(path).replace(path.with_suffix(".json"))
    sync_folder(path.parent)
    _keep_card(model, card)
    return card


def load_model(name_or_path: str | Path = "default") -> Network:
    """A trained network, or an ensemble of them, in evaluation mode on the CPU.

    Parameters
    ----------
    name_or_path : str or Path
        A name that :func:`list_models` knows, or the path of a ``.safetensors`` file that has its
        ``.json`` card beside it.

    Returns
    -------
    YNet or Ensemble
        With ``.card`` and ``.model_id``; so have the networks of an ensemble, which can answer alone.

    Raises
    ------
    WeightsError
        If there is no such model, or the file or its card is damaged or does not fit.
    """
    path = find_model(name_or_path)
    content = _read_weights(path)
    card = card_of_weights(path, content)
    try:
        state = load_tensors(content)
    except (SafetensorError, ValueError, OverflowError) as cause:
        raise WeightsError(f"{path.name} is not a readable safetensors file. Copy it again.") from cause
    _check_count(state, card.members, path.name)
    with torch.device("meta"):
        expected = network_of(card.config).state_dict()
    prefixes = _prefixes(card.members)
    _check_fit(
        state,
        {
            prefix + key: value
            for prefix in prefixes
            for key, value in (expected | _novelty_shapes(state, prefix, card.config)).items()
        },
        path.name,
    )
    _check_finite(state, path.name)
    members = [_network(card.config, state, prefix) for prefix in prefixes]
    model = members[0] if card.members == 1 else Ensemble(members)
    _keep_card(model, card)
    return model.eval()


def _keep_card(model: Network, card: ModelCard) -> None:
    """Give a network its card, and each network of an ensemble one of its own where it has none."""
    model.card = card
    count = len(model.members)
    for number, member in enumerate(model.members, start=1):
        if member.card is None:
            name = plain_name(f"{card.name} ({number} of {count})")
            member.card = dataclasses.replace(card, name=name, members=1)


def _prefixes(members: int) -> list[str]:
    """Prefixes of the keys of each network in a file."""
    return [""] if members == 1 else [f"{index}." for index in range(members)]


def _state_of(network: Member) -> dict[str, torch.Tensor]:
    """Weights of a network, and what it knows of its training data."""
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    if network.novelty is not None:
        known = (network.novelty.mean, network.novelty.factor)
        state |= {key: torch.from_numpy(value) for key, value in zip(NOVELTY, known, strict=True)}
    return state


def _network(config: YNetConfig, state: Mapping[str, torch.Tensor], prefix: str) -> Member:
    """The network whose keys start with ``prefix``."""
    network = network_of(config)
    network.load_state_dict({key: state[prefix + key] for key in network.state_dict()})
    if prefix + NOVELTY[0] in state:
        mean, factor = (state[prefix + key].float().numpy() for key in NOVELTY)
        network.novelty = Novelty(mean=mean, factor=factor)
    return network


def _novelty_shapes(
    state: Mapping[str, torch.Tensor], prefix: str, config: YNetConfig
) -> dict[str, torch.Tensor]:
    """Shapes of the tensors of a network's novelty, if it has any."""
    known = [state[prefix + key] for key in NOVELTY if prefix + key in state]
    if not known:
        return {}
    sources = max(1, *(value.shape[0] if value.ndim else 0 for value in known))
    size = 2 * (config.trunk_channels if config.trunk == "u" else config.channels)[0]
    shapes = ((sources, size), (sources, size, size))
    return {key: torch.empty(shape, device="meta") for key, shape in zip(NOVELTY, shapes, strict=True)}


def _read_weights(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_WEIGHT_BYTES:
            raise WeightsError(f"{path.name} is larger than {MAX_WEIGHT_BYTES:,} bytes: it is no Y-Net.")
        return path.read_bytes()
    except OSError as cause:
        raise WeightsError(f"{path.name} can't be read: {cause.strerror}. Check its permissions.") from cause


def _check_count(state: Mapping[str, torch.Tensor], members: int, name: str) -> None:
    numbers = {key.partition(".")[0] for key in state if key[:1].isdigit()}
    if (held := len(numbers) or 1) != members:
        raise WeightsError(
            f"The number of networks in {name} is {held}, and its card says {members}. "
            "Copy the model file and its card again."
        )


def _check_fit(state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], name: str) -> None:
    for stem in (value for key, value in state.items() if key.endswith("stem.0.weight")):
        if stem.ndim > 1 and stem.shape[1] != 1:
            raise WeightsError(
                f"{name} is for frames of {stem.shape[1]} channels; this Y-Net reads 1 (grey). "
                "Choose another model."
            )
    missing = sorted(expected.keys() - state.keys())
    unknown = sorted(state.keys() - expected.keys())
    shaped = sorted(key for key in expected.keys() & state.keys() if expected[key].shape != state[key].shape)
    odd = sorted(
        key for key in expected.keys() & state.keys() if not _is_number_like(state[key], expected[key])
    )
    for fault, keys in (
        ("lacks", missing),
        ("has unknown", unknown),
        ("has wrong shapes for", shaped),
        ("has numbers of another kind in", odd),
    ):
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise WeightsError(
                f"{name} {fault} {', '.join(keys[:3])}{more}: it does not fit the network in its card. "
                "Copy the model file and its card again."
            )


def _is_number_like(theirs: torch.Tensor, ours: torch.Tensor) -> bool:
    """Tell whether a tensor's numbers can be read as those that a network has in its place."""
    return theirs.dtype in (FLOATS if ours.is_floating_point() else (torch.int64, torch.int32))


def _check_finite(state: Mapping[str, torch.Tensor], name: str) -> None:
    bad = [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise WeightsError(
            f"{name} holds values that are not numbers in {', '.join(bad[:3])}. Train the model again."
        )
