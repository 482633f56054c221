"""The start of a training: the weights of a model, as far as they fit the network that is asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from ..errors import RunError
from ..models.config import YNetConfig
from ..network.model import Member
from ..network.u_shaped import network_of
from ..network.weights import load_model
from ..types import PrepareConfig
from .recipes import Recipe

__all__ = ["StartingPoint", "starting_point"]

ENCODER = ("stem.", "enc")
LAST_LAYERS = ("head.", "draw", "dec1.1.")
LEAST = 0.5
"""Share of the encoder's weights that must fit: with fewer, the rest meets what it was not trained with."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StartingPoint:
    """A network to start from.

    Parameters
    ----------
    network : Member
    model : str
        Id of the model that its weights are from.
    taken, of : int
        Tensors that fitted, and that the network has.
    remarks : tuple of str
        In what else the model differs from the recipe.
    """

    network: Member
    model: str
    taken: int
    of: int
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "; ".join((f"{self.taken} of {self.of} tensors from {self.model}", *self.remarks))


def starting_point(name_or_path: str, recipe: Recipe, seed: int = 0) -> StartingPoint | None:
    """Put the weights of a model into the network of a recipe, as far as they fit.

    The recipe stands: its network, its preparation, its loss. Only a model that draws and scores as the
    recipe ``best`` asks for keeps its own trunk and sizes (width, decoder, bins, block), which the recipe
    leaves open and which then all fit; ``paper`` is exactly the paper's network.

    Parameters
    ----------
    name_or_path : str
        As for :func:`napari_cln.load_model`; empty for new weights.
    recipe : Recipe
    seed : int
        Of the weights that do not fit.

    Returns
    -------
    StartingPoint or None
        None for new weights.

    Raises
    ------
    WeightsError
        If there is no such model.
    RunError
        If the model is an ensemble, or too little of it fits.
    """
    if not name_or_path:
        return None
    model = load_model(name_or_path)
    if not isinstance(model, Member):
        raise RunError(
            f"{model.model_id} is an ensemble of {len(model.members)} networks, and a training starts "
            "from one. Choose one of them, such as fold-0/model.safetensors in the folder of its run."
        )
    wanted, theirs = recipe.network, model.config
    same_kind = (wanted.segmentation, wanted.guided) == (theirs.segmentation, theirs.guided)
    config = wanted
    if recipe.name != "paper":  # with the trunk of another kind nothing would fit
        config = theirs if same_kind else replace(wanted, trunk=theirs.trunk)
        config = replace(config, planes=wanted.planes)
    torch.manual_seed(seed)
    network = network_of(config)
    state = model.state_dict()
    if model.card is None or model.card.prepare.channels != recipe.prepare.channels:
        # those read other channels
        state = {key: value for key, value in state.items() if not key.endswith(".beside")}
    pretrained = model.card is not None and model.card.is_pretrained_alone
    if pretrained:  # its last layers draw grey values, and its head was never trained
        state = {key: value for key, value in state.items() if not key.startswith(LAST_LAYERS)}
    fitting = {key: state[key] for key, value in network.state_dict().items() if _fits(state.get(key), value)}
    if _share(network, fitting) < LEAST:
        raise RunError(
            f"{len(fitting)} of {len(network.state_dict())} tensors of {model.model_id} fit the network of "
            f"the recipe '{recipe.name}', too few to start from ({_differences(theirs, config)}). Choose a "
            "model of that kind, or start from new weights."
        )
    network.load_state_dict(fitting, strict=False)
    remarks = []
    if config != wanted:
        remarks.append(f"the network keeps that model's sizes ({_differences(config, wanted)})")
    if pretrained:
        remarks.append("pretrained on unlabelled frames; the layers that draw and score are new")
    if model.card is not None and model.card.prepare != recipe.prepare:
        remarks.append(
            f"its frames were prepared in another way ({_differences(model.card.prepare, recipe.prepare)})"
        )
    return StartingPoint(
        network=network,
        model=model.model_id,
        taken=len(fitting),
        of=len(network.state_dict()),
        remarks=tuple(remarks),
    )


def _fits(theirs: Tensor | None, ours: Tensor) -> bool:
    return theirs is not None and theirs.shape == ours.shape


def _share(network: Member, fitting: dict[str, Tensor]) -> float:
    """Share of the encoder's numbers that fit."""
    sizes = {key: value.numel() for key, value in network.named_parameters() if key.startswith(ENCODER)}
    return sum(size for key, size in sizes.items() if key in fitting) / sum(sizes.values())


def _differences(theirs: YNetConfig | PrepareConfig, ours: YNetConfig | PrepareConfig) -> str:
    """The settings in which a model differs from the recipe, its own first."""
    has, wants = asdict(theirs), asdict(ours)
    return ", ".join(f"{name} {has[name]} for {value}" for name, value in wants.items() if has[name] != value)
