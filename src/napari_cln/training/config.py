"""Settings of a training run. Without torch, so that a window can show them at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from ..disk.schema import SchemaError, check_fields
from ..errors import RunError
from .recipes import Recipe

__all__ = ["TrainConfig"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a run; its form, its command line and its record.

    Parameters
    ----------
    recipe : {"best", "paper"}
        ``"paper"`` is exactly the paper's: cross-entropy on mask and class summed, batch 8,
        initial rate 0.001, stretched to 256×256. ``"best"`` adds soft Dice, a wider decoder, a
        score per node, ultrasound augmentation and averaged weights.
    classification_only : bool
        Train the network without its mask head.
    epochs : int
        Passes over the training frames, 1 to 1000.
    folds : int
        Networks to train, each validated on the patients that it did not see; 1 trains one. At most 10.
    ensemble : bool
        Keep all of them as one model, which answers with the mean of their probabilities and takes as
        many times as long; by default the one that validated best is kept.
    batch_size : int
        Frames a step, 1 to 256.
    learning_rate : float
        0.000001 to 1.
    patience : int
        Stop after so many epochs without a better validation; 0 trains to the end.
    start_from : str
        Name or path of a model whose weights to start from, as far as they fit the recipe's network; empty
        for new weights.
    compare_with : str
        Model to be compared with the new one on the same validation frames, by default the one in use;
        empty for none.
    seed : int

    Raises
    ------
    RunError
        If a setting is of another kind or out of its limits, which the message names, or two contradict
        each other.
    """

    recipe: Literal["best", "paper"] = "best"
    classification_only: bool = False
    epochs: Annotated[int, {"min": 1, "max": 1000}] = 50
    folds: Annotated[int, {"min": 1, "max": 10}] = 5
    ensemble: bool = False
    batch_size: Annotated[int, {"min": 1, "max": 256}] = 8
    learning_rate: Annotated[float, {"min": 1e-6, "max": 1.0, "step": 1e-4}] = 1e-3
    patience: Annotated[int, {"min": 0, "max": 1000}] = 0
    start_from: str = ""
    compare_with: str = "in-use"
    seed: Annotated[int, {"min": 0, "max": 2**31 - 1}] = 0

    def __post_init__(self) -> None:
        try:
            check_fields(self)
        except SchemaError as cause:
            raise RunError(f"{cause}.") from cause
        if self.ensemble and self.folds < 2:
            raise RunError(
                f"An ensemble needs the networks of several folds, and this run has {self.folds}. "
                "Choose 2 folds or more, or no ensemble."
            )

    def to_recipe(self) -> Recipe:
        """The whole recipe that these settings stand for."""
        named = {"best": Recipe.best, "paper": Recipe.paper}
        recipe = named[self.recipe](segmentation=not self.classification_only)
        return replace(recipe, batch_size=self.batch_size, learning_rate=self.learning_rate)
