"""The parts a report is made of, before they are printed, and its figures in words.

n stands beside every %, an interval beside every estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...types import Estimate
from ..diagnosis import Diagnosis, Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A figure of the first screen."""

    name: str
    value: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The first screen."""

    title: str
    sentences: tuple[str, ...]
    tiles: tuple[Tile, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ReportTable:
    """Rows of text under a caption."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Plot:
    """A plot that draws itself into axes; sizes in inches, ``left`` and ``below`` for its axes' labels."""

    caption: str
    draw: Callable[[Axes], None]
    width: float = 3.4
    height: float = 2.9
    left: float = 0.55
    below: float = 0.4


@dataclass(frozen=True, kw_only=True, eq=False)
class Section:
    """A heading, a paragraph, and tables and plots."""

    title: str
    text: str
    tables: tuple[ReportTable, ...] = ()
    plots: tuple[Plot, ...] = ()


# ------------------------------------------------------------ numbers in words


NAMES = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "accuracy": "Accuracy",
    "ppv": "PPV",
    "npv": "NPV",
    "positive_lr": "+LR",
    "negative_lr": "−LR",
}
NOTHING = "–"


def number(value: float, digits: int = 2) -> str:
    """A number with a fixed number of decimals; "–" where there is none, "∞" where it has no bound."""
    if math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.removeprefix("-")


def percent(value: float, digits: int = 1) -> str:
    """A share in percent."""
    return NOTHING if math.isnan(value) else f"{number(100 * value, digits)} %"


def level(confidence: float) -> str:
    """The level of an interval, as a heading says it: ``95 %``."""
    return f"{100 * confidence:g} %"


def interval(estimate: Estimate, digits: int = 2, scale: float = 1.0) -> str:
    """Lower to upper limit."""
    if math.isnan(estimate.low):
        return NOTHING
    return f"{number(scale * estimate.low, digits)} to {number(scale * estimate.high, digits)}"


def with_interval(estimate: Estimate | None, digits: int = 2, scale: float = 1.0) -> str:
    """Value and limits in one cell."""
    if estimate is None or math.isnan(estimate.value):
        return NOTHING
    value = number(scale * estimate.value, digits)
    return value if math.isnan(estimate.low) else f"{value} ({interval(estimate, digits, scale)})"


def percentage(estimate: Estimate, digits: int = 1) -> str:
    """A share with its count: ``57.2 % (158/276)``."""
    if not estimate.n:
        return NOTHING
    return f"{percent(estimate.value, digits)} ({round(estimate.value * estimate.n)}/{estimate.n})"


def p_value(p: float) -> str:
    """A p value to two significant digits."""
    if math.isnan(p):
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def measure_rows(diagnosis: Diagnosis) -> list[tuple[str, ...]]:
    """The seven measures as table rows: name, value, cases, three intervals."""
    return [measure_row(measure) for measure in diagnosis.measures]


def measure_row(measure: Measure) -> tuple[str, ...]:
    """One measure: shares in percent with k/n, likelihood ratios plain."""
    e = measure.estimate
    if measure.exact is None:
        cells = number(e.value), str(e.n), interval(e), NOTHING, interval(measure.clustered)
    else:
        cells = (
            percent(e.value, 2),
            f"{measure.k}/{e.n}",
            interval(e, 2, 100),
            interval(measure.exact, 2, 100),
            interval(measure.clustered, 2, 100),
        )
    return NAMES[measure.name], *cells
