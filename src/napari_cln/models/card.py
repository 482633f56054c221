"""The card beside a model file: what it is, what it was trained on, and how well it did."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from ..disk.schema import SchemaError, read
from ..types import Estimate, PrepareConfig
from .config import SIDE, YNetConfig

DISCLAIMER = "It is for research, not for diagnosis."
LIMITS = f"This model has never seen a cervical lymph node. {DISCLAIMER}"
RESTORES = "restore"
"""``recipe["task"]`` of a model that was pretrained to restore frames, and neither draws nor scores."""
NEEDED = (
    "name",
    "classes",
    "config",
    "prepare",
    "trained_on",
    "figures",
    "mask_threshold",
    "cutoff",
    "sha256",
)
"""Keys of every card that was ever written; others came later, and their defaults were in force before."""

_CONTROL = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
Line: TypeAlias = Annotated[
    str,
    Meta(
        max_length=500,
        pattern=rf"\A[^\n{_CONTROL}]*\Z",
        description="a line of at most 500 printable characters",
    ),
]
Text: TypeAlias = Annotated[
    str,
    Meta(
        max_length=4000,
        pattern=rf"\A[^{_CONTROL}]*\Z",
        description="text of at most 4000 printable characters",
    ),
]
Name: TypeAlias = Annotated[
    str,
    Meta(
        max_length=255,
        pattern=rf"\A(own/)?(?!\s|\.{{1,2}}\Z)[^\n\t/\\{_CONTROL}]+(?<!\s)\Z",
        description="a name that a file may have, of 1 to 255 printable characters",
    ),
]


def checksum_of(weights: bytes) -> str:
    """SHA-256 of a file of weights in hexadecimal, by which it and its card know each other."""
    return hashlib.sha256(weights).hexdigest()


def plain_name(name: str) -> str:
    """The nearest name that a card may have: printable, and such as a file may have on any system."""
    printable = re.sub(rf"[{_CONTROL}\n\t/\\]+", "-", name).strip()[:255].strip()
    return printable if printable.strip(".") else "model"


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """One source of training frames."""

    name: Line
    n: Annotated[int, Meta(ge=0, le=10**12)]
    licence: Line
    citation: Text


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure: what, on which data, with its interval and number."""

    name: Line
    data: Text
    estimate: Estimate

    def __str__(self) -> str:
        return f"{self.name} on {self.data}: {self.estimate}"


@dataclass(frozen=True, kw_only=True)
class ModelComparison:
    """A new model beside another on the same validation frames.

    Parameters
    ----------
    model : str
        Id of the other model.
    dice, auc : Estimate, optional
        Paired differences of mean Dice and of AUC, new − other; None where the frames give none.
    message : str
        Why there is no difference at all; empty where there is one.
    """

    model: Line
    dice: Estimate | None = None
    auc: Estimate | None = None
    message: Text = ""

    @property
    def gaps(self) -> dict[str, Estimate]:
        """The differences that there are, by name."""
        found = {"mean Dice": self.dice, "AUC": self.auc}
        return {name: gap for name, gap in found.items() if gap is not None}


Numbers: TypeAlias = Annotated[tuple[float, ...], Meta(min_length=1, max_length=64)]


@dataclass(frozen=True, kw_only=True)
class DoubtLine:
    """Logistic regression of failure on clues, each less its mean and divided by its scale."""

    mean: Numbers
    scale: Numbers
    weight: Numbers
    bias: float


@dataclass(frozen=True, kw_only=True)
class DoubtModel:
    """A model's knowledge of its own failures.

    Parameters
    ----------
    found, nothing : DoubtLine
        For frames in which it finds a node, and in which it finds none.
    look, never : float
        Chance of failure from which on a result is to be looked at twice, and not to be relied on.
    knows_sectors : bool
        Whether frames of curved or phased probes were among those that it was judged on. No result on one is
        to be relied on where not.
    """

    found: DoubtLine
    nothing: DoubtLine
    look: Annotated[float, Meta(ge=0, le=1)]
    never: Annotated[float, Meta(ge=0, le=1)]
    knows_sectors: bool = True


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Facts about a model file: its network, its training data, and its figures.

    Parameters
    ----------
    name : str
        Written when the model is saved. A model in the models folder goes by its file's name.
    version : str
    created : str
        ISO date.
    classes : tuple of str
        Names of the class logits, in order: ``("benign", "malignant")``.
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
    compared : ModelComparison, optional
        With the model that was in use when it was trained.
    mask_threshold : float or None
        A pixel at or above it belongs to a node, between 0 and 1; None for a classification-only model.
    min_node_area : int
        Smaller patches are not nodes, in pixels of the network's input.
    min_peak : float
        Patches in which no pixel reaches this probability are not nodes.
    min_node_chance : float
        Patches whose chance of being a node stays under it, as the network's arm says, are none. Nothing to
        a network whose arm knows benign and malignant alone.
    cutoff : float
        Operating point on malignancy, in [0, 1].
    cutoff_from : str
        The rule and the data that gave the cutoff.
    temperature : float
        Divides the class logits, so that a score of 0.7 is right 7 times in 10; 0.01 to 100.
    clip_temperature, clip_cutoff : float, optional
        Those of a node's score over the frames of a cine, which are steadier than single frames; the first
        divides the mean of logits that ``temperature`` has divided. None where no clips were validated.
    doubt : DoubtModel, optional
        What it knows of its own failures; None for a model that does not know.
    limits : str
        A sentence for the user.
    sha256 : str
        Of the weights file; set when it is saved.
    """

    name: Name
    version: Line = "1"
    created: Line = ""
    classes: tuple[Literal["benign"], Literal["malignant"]] = ("benign", "malignant")
    config: YNetConfig = field(default_factory=YNetConfig)
    members: Annotated[int, Meta(ge=1)] = 1
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    trained_on: tuple[TrainingData, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    compared: ModelComparison | None = None
    mask_threshold: Annotated[float, Meta(gt=0, lt=1)] | None = 0.5
    min_node_area: Annotated[int, Meta(ge=0, le=SIDE**2)] = 16
    min_peak: Annotated[float, Meta(ge=0, le=1)] = 0.0
    min_node_chance: Annotated[float, Meta(ge=0, le=1)] = 0.0
    cutoff: Annotated[float, Meta(ge=0, le=1)] = 0.5
    cutoff_from: Text = "not set: 0.5"
    temperature: Annotated[float, Meta(ge=0.01, le=100)] = 1.0
    clip_temperature: Annotated[float, Meta(ge=0.01, le=100)] | None = None
    clip_cutoff: Annotated[float, Meta(ge=0, le=1)] | None = None
    doubt: DoubtModel | None = None
    limits: Text = LIMITS
    sha256: Annotated[
        str, Meta(pattern=r"\A([0-9a-f]{64})?\Z", description="64 hexadecimal digits, in small letters")
    ] = ""

    @property
    def model_id(self) -> str:
        """``name@`` and the first 12 hex digits of the weights' SHA-256."""
        return f"{self.name}@{self.sha256[:12]}"

    @property
    def is_pretrained_alone(self) -> bool:
        """True of a model to start a training from, which neither draws nor scores."""
        return self.recipe.get("task") == RESTORES

    def to_json(self) -> str:
        """The card as JSON text.

        Raises
        ------
        SchemaError
            If a value would not be read again.
        """
        try:
            text = json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"
        except RecursionError as cause:
            raise SchemaError("recipe", "is nested too deep") from cause
        except (TypeError, ValueError) as cause:
            raise SchemaError("", f"It can't be written as JSON: {cause}.") from cause
        _read(text)
        return text

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelCard:
        """Read a card.

        Raises
        ------
        SchemaError
            Of the first value that does not fit, or that could not be written again.
        """
        card = _read(text)
        card.to_json()
        return card


def _read(text: str | bytes) -> ModelCard:
    card = read(text, ModelCard, needed=NEEDED)
    if card.config.size != SIDE:
        raise SchemaError("config.size", f"is {card.config.size}, and must be {SIDE}, as frames are prepared")
    if card.config.planes != 2 * len(card.prepare.channels):
        wanted = f"{2 * len(card.prepare.channels)}, two for each of prepare.channels"
        raise SchemaError("config.planes", f"is {card.config.planes}, and must be {wanted}")
    if card.config.segmentation and card.mask_threshold is None:
        raise SchemaError("mask_threshold", "is null, and must be a number, since the network draws masks")
    if card.doubt is not None:
        lines = [values for line in (card.doubt.found, card.doubt.nothing) for values in vars(line).values()]
        if len({len(values) for values in lines if isinstance(values, tuple)}) != 1:
            raise SchemaError("doubt", "has lists of several lengths, and must have one number for each clue")
    if not card.limits.strip():
        raise SchemaError("limits", "is empty, and must say what the model can't do")
    return card
