"""The section of a report on the clinical record beside the image: its nomogram, and what was missing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..evaluation import Evaluation
from ..fusion import UNKNOWN, Fusion, Variable
from .pages import Plot, ReportTable, Section, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes


SCORES = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
POINTS = 100.0


def record_section(evaluation: Evaluation) -> Section | None:
    """The variables of the fusion, how many values were missing, and the nomogram."""
    if evaluation.record is None:
        return None
    fusion, missing, nodes = evaluation.record.fusion, evaluation.record.missing, evaluation.record.nodes
    rows = tuple(
        (variable.name, _weights(variable), f"{missing[variable.name]} of {nodes}")
        for variable in fusion.variables
    )
    return Section(
        title="With the clinical record",
        text=_text(fusion),
        tables=(
            ReportTable(
                caption="Variables", header=("Variable", "Weight on the logit", "Missing here"), rows=rows
            ),
        ),
        plots=(
            Plot(
                caption="Nomogram: add the points of each line; the last line has the probability",
                draw=partial(draw_nomogram, fusion=fusion),
                width=6.8,
                height=1.1 + 0.42 * (len(fusion.variables) + 3),
                left=1.6,
            ),
        ),
    )


def _text(fusion: Fusion) -> str:
    slope = "not known" if fusion.slope is None else number(fusion.slope, 2)
    return (
        f"The logit of the model's score (weight {number(fusion.image, 2)}) and the variables below, added "
        f"up by a ridge regression (penalty {fusion.ridge:.3g}) that was fitted on {fusion.nodes} nodes of "
        f"{fusion.patients} patients, {fusion.events} of the rarer class, "
        f"{number(fusion.events_per_variable, 1)} for each variable. On those nodes, held out in turn, the "
        f"AUC was {number(fusion.auc_fused, 3)} with the record and {number(fusion.auc_image, 3)} without, "
        f"and the slope of calibration {slope}. What is missing counts as such. The figures on the cases of "
        "this report stand under Comparison on the same nodes."
    )


def _weights(variable: Variable) -> str:
    if variable.kind == "category":
        return ", ".join(f"{word} {number(weight, 2)}" for word, weight in variable.levels.items())
    text = f"{number(variable.weight, 2)} per {variable.deviation:.3g}, from {variable.middle:.3g} on"
    return f"{text}; missing {number(variable.missing_weight, 2)}" if variable.missing_weight else text


def nomogram_axes(fusion: Fusion) -> list[tuple[str, list[tuple[str, float]]]]:
    """Lines of a nomogram: a name, and labels with what each adds to the logit."""
    image = [(f"{score:g}", fusion.image * float(np.log(score / (1 - score)))) for score in SCORES]
    lines = [("image score", image)]
    for variable in fusion.variables:
        if variable.kind == "category":
            lines.append((variable.name, sorted(variable.levels.items(), key=lambda item: item[1])))
            continue
        ticks = [
            (f"{value:.3g}", variable.adds(value))
            for value in np.linspace(variable.least, variable.greatest, 5)
        ]
        if variable.missing_weight:
            ticks.append((UNKNOWN, variable.missing_weight))
        lines.append((variable.name, ticks))
    return lines


def draw_nomogram(ax: Axes, fusion: Fusion) -> None:
    """Draw the fusion as lines whose points add up to a probability."""
    lines = nomogram_axes(fusion)
    lows = [min(adds for _, adds in ticks) for _, ticks in lines]
    widest = max(max(adds for _, adds in ticks) - low for (_, ticks), low in zip(lines, lows, strict=True))
    per_logit = POINTS / (widest or 1.0)
    most = (
        sum(max(adds for _, adds in ticks) - low for (_, ticks), low in zip(lines, lows, strict=True))
        * per_logit
    )
    names = ["points", *(name for name, _ in lines), "total", "probability"]
    _line(ax, len(names) - 1, [(f"{p:g}", float(p)) for p in range(0, 101, 10)])
    for k, ((_, ticks), low) in enumerate(zip(lines, lows, strict=True), start=1):
        _line(ax, len(names) - 1 - k, [(label, (adds - low) * per_logit) for label, adds in ticks])
    scale = POINTS / (most or 1.0)
    step = max(10, int(np.ceil(most / 8 / 10) * 10))
    _line(ax, 1, [(f"{p:g}", p * scale) for p in np.arange(0, most + 1, step)])
    start = fusion.intercept + sum(lows)
    shown = []
    for p in (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99):
        place = (float(np.log(p / (1 - p))) - start) * per_logit * scale
        if 0 <= place <= POINTS:
            shown.append((f"{p:g}", place))
    _line(ax, 0, shown)
    ax.set_yticks(range(len(names)), names[::-1])
    ax.set(xlim=(-3, POINTS + 3), ylim=(-0.6, len(names) - 0.3))
    ax.tick_params(left=False, bottom=False, labelbottom=False)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)


def _line(ax: Axes, height: float, ticks: Sequence[tuple[str, float]]) -> None:
    if not ticks:
        return
    places = [place for _, place in ticks]
    ax.plot([min(places), max(places)], [height, height], color="#111111", lw=1)
    last = -10.0
    for label, place in sorted(ticks, key=lambda tick: tick[1]):
        ax.plot([place, place], [height, height + 0.14], color="#111111", lw=0.8)
        above = place - last < 1.3 * len(label) + 1
        ax.text(place, height + (0.42 if above else 0.18), label, ha="center", va="bottom", fontsize=6)
        last = place
