"""Recipes of a training: the paper's, and ours."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal

from ..disk.schema import JsonObject
from ..models.config import YNetConfig
from ..types import PrepareConfig

__all__ = ["LossTerms", "Recipe"]


@dataclass(frozen=True, kw_only=True)
class LossTerms:
    """Parts of a training's loss, and their weights.

    Parameters
    ----------
    dice : bool
        Add soft Dice to the mask's cross-entropy.
    deep_supervision : bool
        Compare what the decoder's coarser levels draw with the mask too, at half and a quarter of the
        weight.
    class_weight : float
        Weight of the class loss beside the mask loss.
    node_weight : float
        Weight of a second cross-entropy on the mask, in which every node counts alike, however
        small; 0 for none.
    consistency : float
        Weight of the mask loss on unlabelled frames, where there are any; it grows over the first fifth of
        the steps.
    """

    dice: bool = True
    deep_supervision: bool = False
    class_weight: float = 1.0
    node_weight: float = 0.0
    consistency: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Network, preparation, loss and optimiser of one training.

    Parameters
    ----------
    name : str
    network : YNetConfig
    prepare : PrepareConfig
    batch_size : int
        Frames a step, over all processes.
    learning_rate, weight_decay : float
    optimizer : {"adamw", "sgd"}
        SGD has a momentum of 0.9.
    schedule : {"cosine", "constant"}
        Cosine to zero, after a linear warm-up over 5 % of the steps.
    average : float
        Decay of the running average of the weights that is validated and saved; 0 for none.
    loss : LossTerms
    augmentation : {"ultrasound", "flip"}
    task : {"diagnose", "restore"}
        Draw and score nodes, or restore frames of which parts are hidden: the pretraining that needs no
        labels.
    half : float
        Part of the epochs, at the start, that see frames at half the side, at a quarter of the time.
    crops : float
        Part of the epochs, at the start, that train on crops of half the side, most of them
        around a node: as many nodes in a quarter of the time, where nodes are small.
    channel_dropout : float
        Chance that a frame is shown without a channel that it has beside the grey image, so that the
        network does without where that is missing.
    """

    name: str = "best"
    network: YNetConfig = field(default_factory=YNetConfig)
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    optimizer: Literal["adamw", "sgd"] = "adamw"
    schedule: Literal["cosine", "constant"] = "cosine"
    average: float = 0.998
    loss: LossTerms = field(default_factory=LossTerms)
    augmentation: Literal["ultrasound", "flip"] = "ultrasound"
    task: Literal["diagnose", "restore"] = "diagnose"
    half: float = 0.0
    crops: float = 0.0
    channel_dropout: float = 0.5

    @classmethod
    def best(cls, *, segmentation: bool = True) -> Recipe:
        """The recipe that does best so far; the default. What each step of it gains stands in
        ``docs/explanation/accuracy.md``."""
        return cls(
            network=YNetConfig.best(segmentation=segmentation),
            loss=LossTerms(deep_supervision=segmentation, class_weight=0.3 if segmentation else 1.0),
        )

    @classmethod
    def paper(cls, *, segmentation: bool = True) -> Recipe:
        """The paper's: cross-entropy on mask and class, summed one to one; batch 8, rate 0.001.

        Where it is silent (optimiser, schedule, augmentation) the original Y-Net's code speaks.
        """
        return cls(
            name="paper",
            network=YNetConfig.paper(segmentation=segmentation),
            prepare=PrepareConfig(keep_aspect=False),
            weight_decay=5e-4,
            optimizer="sgd",
            schedule="constant",
            average=0.0,
            loss=LossTerms(dice=False),
            augmentation="flip",
        )

    def settings(self) -> JsonObject:
        """All settings by name, those of the loss beside the others: the form in which files keep them."""
        settings = asdict(self)
        loss: JsonObject = settings.pop("loss")
        return settings | loss
