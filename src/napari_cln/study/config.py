"""The settings of an evaluation."""

# No "from __future__ import annotations": magicgui would read the hints without this module's names.

from dataclasses import dataclass, fields
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from ..errors import RunError
from ..settings import SchemaError, Seed, Share, check_fields

__all__ = ["Device", "EvaluationConfig", "EvaluationSettings"]

Device: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Settings of an evaluation; its form, its command line and its record.

    Parameters
    ----------
    split : str
        Set of cases whose figures are reported: ``test``, ``validation``, ``train``, or ``all`` for every
        case, whichever its set.
    cutoff_from : {"card", "validation", "test"}
        ``card`` is the model's own cutoff. ``validation`` takes it by the rule from the cases of that set.
        ``test`` takes it from the reported cases themselves, which flatters, and is said so.
    rule : {"youden", "sensitivity"}
        How a cutoff is taken from cases: by Youden's index, or so that a sensitivity is reached.
    sensitivity : float
        To be reached, for the second rule.
    cutoff : float, optional
        A cutoff of your own on the malignancy score, instead of all that.
    prevalence : float, optional
        Share of metastatic nodes at which PPV and NPV are given as well.
    iou_threshold : float
        Intersection over union from which a node counts as found.
    resamples : int
        Of the bootstrap over patients.
    seed : int
        Of the bootstrap: the same seed, the same intervals.
    confidence : float
        Of every interval.
    data : str
        Description of the cases, in words, for the first page.

    Raises
    ------
    RunError
        If a setting is of another kind or out of its limits, which the message names, or is of no use without
        another one.
    """

    split: Annotated[str, Meta(title="NAME")] = "test"
    cutoff_from: Literal["card", "validation", "test"] = "card"
    rule: Literal["youden", "sensitivity"] = "youden"
    sensitivity: Share = 0.9
    cutoff: Share | None = None
    prevalence: Share | None = None
    iou_threshold: Annotated[float, Meta(gt=0, lt=1, extra={"step": 0.05})] = 0.5
    resamples: Annotated[int, Meta(ge=200, le=100_000)] = 2000
    seed: Seed = 0
    confidence: Share = 0.95
    data: Annotated[str, Meta(title="TEXT")] = ""

    def __post_init__(self) -> None:
        try:
            check_fields(self)
        except SchemaError as cause:
            raise RunError(f"{cause}.") from cause
        if self.rule != EvaluationConfig.rule and self.cutoff_from == "card":
            raise RunError(
                f"The rule {self.rule} says how a cutoff is taken from cases, and the card brings one. "
                "Choose validation or test for cutoff_from, or leave out the rule."
            )
        if self.sensitivity != EvaluationConfig.sensitivity and self.rule != "sensitivity":
            raise RunError(
                f"A sensitivity of {self.sensitivity:g} is reached by the rule sensitivity alone, and the "
                f"rule is {self.rule}. Choose that rule, or leave out the sensitivity."
            )


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings(EvaluationConfig):
    """Settings of the evaluation of a training folder: those of the figures, and what is compared.

    Parameters
    ----------
    model : str
        Name of a model, or its .safetensors file.
    device : {"auto", "cpu", "cuda", "mps"}
        Device that computes; auto takes the fastest there is.
    compare_with : str
        A second model on the same nodes, with its cutoff taken by the same rule; empty for none.
    readers : str
        Table of calls of readers: a column id, and one for each reader with malignant, benign or
        undetermined; empty for none.
    reports : str
        Verdicts of the original reports, as ``napari-cln reports`` writes them; empty for none.
    fusion : str
        Clinical record and image in one score, as ``napari-cln fuse`` writes it, beside the model; empty for
        none.
    record_table : str
        More variables of the fusion by id, or by id and node; empty for none.
    """

    model: Annotated[str, Meta(title="MODEL")] = "default"
    device: Device = "auto"
    compare_with: Annotated[str, Meta(title="MODEL")] = ""
    readers: Annotated[str, Meta(title="CSV", extra={"exists": True})] = ""
    reports: Annotated[str, Meta(title="CSV", extra={"exists": True})] = ""
    fusion: Annotated[str, Meta(title="JSON", extra={"exists": True})] = ""
    record_table: Annotated[str, Meta(title="CSV", extra={"exists": True})] = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.record_table and not self.fusion:
            raise RunError(
                "record_table holds variables of a fusion, and none is given. Give fusion as well, or leave "
                "out record_table."
            )

    @property
    def figures(self) -> EvaluationConfig:
        """The settings of the figures alone, which a report may show."""
        return EvaluationConfig(
            **{field.name: getattr(self, field.name) for field in fields(EvaluationConfig)}
        )
