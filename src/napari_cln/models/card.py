"""The card beside a model file: what it is, what it was trained on, and how well it did."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..types import CLASS_NAMES, Estimate, PrepareConfig
from .config import YNetConfig

__all__ = ["Figure", "ModelCard", "TrainingData"]

LIMITS = "This model has never seen a cervical lymph node. It is for research, not for diagnosis."


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """One source of training frames."""

    name: str
    n: int
    licence: str
    citation: str


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure: what, on which data, with its interval and number."""

    name: str
    data: str
    estimate: Estimate

    def __str__(self) -> str:
        return f"{self.name} on {self.data}: {self.estimate}"


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a model file is, what it was trained on, and how well it did.

    Parameters
    ----------
    name, version : str
    created : str
        ISO date.
    classes : tuple of str
        Names of the class logits, in order.
    config : YNetConfig
        The network.
    members : int
        Networks in the file; an :class:`~napari_cln.network.ensemble.Ensemble` has more than one.
    prepare : PrepareConfig
        How a frame becomes its input.
    trained_on : tuple of TrainingData
    recipe : dict
        Everything that is needed to train it again.
    figures : tuple of Figure
        Measured on data that was never trained or tuned on.
    mask_threshold : float or None
        A pixel at or above it belongs to a node; None for a classification-only model.
    min_node_area : int
        Smaller patches are not nodes, in pixels of the network's input.
    min_peak : float
        Patches in which no pixel reaches this probability are not nodes.
    cutoff : float
        Operating point on malignancy.
    cutoff_from : str
        The rule and the data that gave the cutoff.
    temperature : float
        Divides the class logits, so that a score of 0.7 is right 7 times in 10.
    limits : str
        A sentence for the user.
    sha256 : str
        Of the weights file; set when it is saved.
    """

    name: str
    version: str = "1"
    created: str = ""
    classes: tuple[str, ...] = CLASS_NAMES
    config: YNetConfig = field(default_factory=YNetConfig)
    members: int = 1
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    trained_on: tuple[TrainingData, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    mask_threshold: float | None = 0.5
    min_node_area: int = 16
    min_peak: float = 0.0
    cutoff: float = 0.5
    cutoff_from: str = "not set: 0.5"
    temperature: float = 1.0
    limits: str = LIMITS
    sha256: str = ""

    @property
    def model_id(self) -> str:
        """``name@`` and the first 12 hex digits of the weights' SHA-256."""
        return f"{self.name}@{self.sha256[:12]}"

    def to_json(self) -> str:
        """The card as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read a card; ``ValueError``, ``TypeError`` or ``KeyError`` where it does not fit."""
        raw = json.loads(text)
        raw["classes"] = tuple(raw["classes"])
        raw["config"]["bins"] = tuple(raw["config"]["bins"])
        raw["config"] = YNetConfig(**raw["config"])
        raw["prepare"] = PrepareConfig(**raw["prepare"])
        raw["trained_on"] = tuple(TrainingData(**item) for item in raw["trained_on"])
        raw["figures"] = tuple(
            Figure(name=item["name"], data=item["data"], estimate=Estimate(**item["estimate"]))
            for item in raw["figures"]
        )
        card = cls(**raw)
        numbers = (
            card.cutoff,
            card.temperature,
            card.min_node_area,
            card.min_peak,
            card.mask_threshold or 0.0,
        )
        if not all(isinstance(number, int | float) for number in numbers) or not card.temperature > 0:
            raise ValueError("an operating point is not a number")
        if type(card.members) is not int or card.members < 1:
            raise ValueError("the number of networks is no number from 1 up")
        return card
