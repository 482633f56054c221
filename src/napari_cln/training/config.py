"""Settings of a training run. Without torch, so that a window can show them at once."""

# No "from __future__ import annotations": magicgui would read the hints without this module's names.

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from ..errors import RunError
from ..settings import SchemaError, Seed, check_fields
from ..types import Channel

if TYPE_CHECKING:
    from .recipes import Recipe

__all__ = ["PretrainConfig", "TrainConfig"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Settings of every training: how often and how fast, and from which weights.

    Parameters
    ----------
    epochs : int
        Passes over the training frames.
    batch_size : int
        Frames a step.
    learning_rate : float
        Rate at the start of the training.
    start_from : str
        Name or path of a model whose weights to start from, as far as they fit the network; empty for new
        weights.
    seed : int
        Of all that is drawn by lot, such as the first weights and the augmentation: the same seed, the same
        model.

    Raises
    ------
    RunError
        If a setting is of another kind or out of its limits, which the message names.
    """

    epochs: Annotated[int, Meta(ge=1, le=1000)] = 50
    batch_size: Annotated[int, Meta(ge=1, le=256)] = 8
    learning_rate: Annotated[float, Meta(ge=1e-6, le=1.0, title="RATE", extra={"step": 1e-4})] = 1e-3
    start_from: Annotated[str, Meta(title="MODEL")] = ""
    seed: Seed = 0

    def __post_init__(self) -> None:
        try:
            check_fields(self)
        except SchemaError as cause:
            raise RunError(f"{cause}.") from cause


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Schedule):
    """Settings of a run; its form, its command line and its record.

    Parameters
    ----------
    recipe : {"best", "paper"}
        ``paper`` is exactly the paper's: cross-entropy on mask and class summed, batch 8, initial rate
        0.001, stretched to 256×256. ``best`` has a plain U as trunk and scores each node
        under its mask (or calls it none); soft Dice, deep supervision, ultrasound augmentation, averaged
        weights.
    classification_only : bool
        Train the network without its mask head.
    folds : int
        Networks to train, each validated on the patients that it did not see; 1 trains one.
    ensemble : bool
        Keep the networks of all folds as one model, which answers with the mean of their probabilities
        and takes as many times as long; without it the one that validated best is kept.
    hold_out : {"patient", "hospital"}
        By what the folds are made: ``hospital`` trains a network for each hospital left out, on the frames of
        all others; their number counts then, not ``folds``.
    channels : tuple of str
        What the network sees beside the grey image: despeckled, flow, stiffness, contrast. Frames in which
        one was not measured serve too.
    patience : int
        Stop after so many epochs without a better validation; 0 trains to the end.
    synthetic : int
        Simulated frames that join the training side of each fold; none is validated on.
    unlabelled : str
        Folder of frames that nobody labelled, or a training folder, whose frames without a mask count, this
        one's own included: the network learns from what its running average draws on them. Frames and
        patients that are validated or tested on are left out. Empty for none.
    pseudo : float
        Weight, beside a reader's mask, of the masks that ``napari-cln pseudo`` put into the training folder;
        on the training side alone, 0 for none.
    compare_with : str
        Model to be compared with the new one on the same validation frames, such as the one in use; empty
        for none.

    Raises
    ------
    RunError
        If a setting is of another kind or out of its limits, which the message names, or two contradict
        each other.
    """

    recipe: Literal["best", "paper"] = "best"
    classification_only: bool = False
    folds: Annotated[int, Meta(ge=1, le=10, title="K")] = 5
    ensemble: bool = False
    hold_out: Literal["patient", "hospital"] = "patient"
    channels: tuple[Channel, ...] = ()
    patience: Annotated[int, Meta(ge=0, le=1000)] = 0
    synthetic: Annotated[int, Meta(ge=0, le=100_000)] = 0
    unlabelled: Annotated[str, Meta(title="FOLDER")] = ""
    pseudo: Annotated[float, Meta(ge=0, le=1, title="WEIGHT", extra={"step": 0.1})] = 0.0
    compare_with: Annotated[str, Meta(title="MODEL")] = "in-use"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.channels)) < len(self.channels):
            raise RunError(f"channels is {', '.join(self.channels)}: name each once.")
        if self.ensemble and self.folds < 2:
            raise RunError(
                f"An ensemble needs the networks of several folds, and this run has {self.folds}. "
                "Choose 2 folds or more, or no ensemble."
            )
        if (self.unlabelled or self.pseudo) and self.classification_only:
            what = "Unlabelled frames" if self.unlabelled else "Pseudo-labels"
            raise RunError(
                f"{what} teach a network to draw, and a classification-only network draws nothing. "
                "Leave one of the two out."
            )

    def to_recipe(self) -> "Recipe":
        """Return the whole recipe that these settings stand for."""
        from .recipes import Recipe  # NumPy comes with it, which a command's help can do without

        named = {"best": Recipe.best, "paper": Recipe.paper}
        recipe = named[self.recipe](segmentation=not self.classification_only)
        if self.channels:
            network = replace(recipe.network, planes=2 * len(self.channels))
            prepare = replace(recipe.prepare, channels=self.channels)
            recipe = replace(recipe, network=network, prepare=prepare)
        return replace(recipe, batch_size=self.batch_size, learning_rate=self.learning_rate)


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(Schedule):
    """Settings of a pretraining on frames that nobody labelled."""
