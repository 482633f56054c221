"""The settings of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

__all__ = ["EvaluationConfig"]


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Settings of an evaluation.

    Parameters
    ----------
    split : str
        Set of cases whose figures are reported; ``"all"`` for every case, whichever its set.
    cutoff_from : str
        ``"card"``: the model's own. ``"validation"``: taken by ``rule`` from the cases of that
        split. ``"test"``: taken on the reported cases themselves, which flatters, and is said so.
    rule : str
        ``"youden"`` or ``"sensitivity"`` (at least ``sensitivity``).
    sensitivity : float
    cutoff : float, optional
        A cutoff of your own, instead of all that.
    prevalence : float, optional
        At which PPV and NPV are given as well.
    iou_threshold : float
        From which a matched node counts as found.
    resamples : int
        Of the bootstrap over patients.
    seed : int
    confidence : float
    data : str
        What the cases are, in words; printed on the first page.
    """

    split: str = "test"
    cutoff_from: Literal["card", "validation", "test"] = "card"
    # spelled out: magicgui reads the hints without this module's names
    rule: Literal["youden", "sensitivity"] = "youden"
    sensitivity: Annotated[float, {"min": 0.5, "max": 1.0, "step": 0.01}] = 0.9
    cutoff: float | None = None
    prevalence: float | None = None
    iou_threshold: Annotated[float, {"min": 0.1, "max": 0.9, "step": 0.05}] = 0.5
    resamples: Annotated[int, {"min": 200, "max": 20000}] = 2000
    seed: int = 0
    confidence: Annotated[float, {"min": 0.8, "max": 0.99, "step": 0.01}] = 0.95
    data: str = ""
