"""The operating point on the malignancy score, and where it was taken from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DatasetError
from .statistics.metrics import roc

CutoffRule = Literal["youden", "sensitivity"]


@dataclass(frozen=True, kw_only=True)
class Cutoff:
    """A cutoff with its provenance. A score **at or above** it is called malignant.

    Parameters
    ----------
    value : float
    taken_on : str
        ``"card"`` (the model brought it), ``"given"`` (typed), or the name of the split.
    optimistic : bool
        Taken on the very cases that are evaluated, so that the figures flatter it.
    rule : str, optional
    metastatic, benign : int
        Cases it was taken from.
    """

    value: float
    taken_on: str
    optimistic: bool = False
    rule: str | None = None
    metastatic: int = 0
    benign: int = 0

    def __str__(self) -> str:
        origin = {
            "card": "from the model's card",
            "given": "given by the user, not taken from data",
        }.get(
            self.taken_on,
            f"taken on the {self.taken_on} set by {self.rule} "
            f"({self.metastatic} metastatic, {self.benign} benign)",
        )
        if not self.optimistic:
            return f"{self.value:.4g}, {origin}"
        if self.taken_on == "card":  # which took it from validation cases
            return f"{self.value:.4g}, {origin}. Optimistic: the card's validation cases may be among these"
        return f"{self.value:.4g}, {origin}. Optimistic: chosen on the cases it is judged on"

    def for_card(self) -> float:
        """The value, if a model's card may carry it.

        Raises
        ------
        DatasetError
            If it was taken on the cases that it is judged on.
        """
        if self.optimistic:
            raise DatasetError(
                f"The cutoff {self.value:.4g} was taken on the {self.taken_on} set that it is judged on, and "
                "can't enter a model's card. Take it from validation cases."
            )
        return self.value


def choose_cutoff(
    truth: ArrayLike,
    score: ArrayLike,
    rule: CutoffRule = "youden",
    sensitivity: float = 0.9,
    *,
    taken_on: str = "validation",
    optimistic: bool = False,
) -> Cutoff:
    """Take a cutoff from scored cases.

    Parameters
    ----------
    truth, score : array, shape (N,)
    rule : str
        ``"youden"``: greatest sensitivity + specificity. ``"sensitivity"``: the highest cutoff
        that reaches the sensitivity asked for, which is the one with the best specificity.
    sensitivity : float
        For the second rule.
    taken_on : str
        Name of the set, for the record.
    optimistic : bool
        Whether the same cases will be evaluated.

    Raises
    ------
    DatasetError
        If the set lacks one of the classes.

    References
    ----------
    .. [1] Youden, Cancer 3, 1950.
    """
    t = np.asarray(truth, dtype=bool)
    metastatic, benign = int(t.sum()), int((~t).sum())
    if not metastatic or not benign:
        raise DatasetError(
            f"The {taken_on} set has {metastatic} metastatic and {benign} benign cases, so no cutoff can be "
            "taken from it. Label cases of both kinds, or use the cutoff of the model's card."
        )
    points = roc(t, score)
    if rule == "youden":
        best = int(np.argmax(points.sensitivity + points.specificity))
        name = "Youden's index"
    else:
        best = int(np.argmax(points.sensitivity >= sensitivity - 1e-12))
        name = f"sensitivity ≥ {sensitivity:g}"
    return Cutoff(
        value=float(points.cutoff[best]),
        taken_on=taken_on,
        optimistic=optimistic,
        rule=name,
        metastatic=metastatic,
        benign=benign,
    )
