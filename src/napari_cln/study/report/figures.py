"""The plots of a report, each drawn into axes; black, grey and hatching alone tell things apart."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib import patheffects
from matplotlib.font_manager import fontManager
from matplotlib.ticker import MaxNLocator

from ...types import Estimate
from ..diagnosis import Diagnosis
from ..gallery import Picture
from ..segmentation import AxisAgreement, Detection, Segmentation, Summary
from ..statistics.intervals import proportion
from ..subgroups import Subgroup
from .pages import level, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

DARK, MIDDLE, LIGHT = "#111111", "#777777", "#cccccc"
MANY = 2000
"""Points above which a scatter becomes an image inside the vector file."""
CHINESE = ("Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", "SimHei", "WenQuanYi Zen Hei")


@contextmanager
def style() -> Iterator[None]:
    """Fonts and lines for print; text becomes outlines in SVG, so that it looks alike everywhere."""
    there = {font.name for font in fontManager.ttflist}
    settings: dict[str, object] = {
        "font.family": ["DejaVu Sans", *(name for name in CHINESE if name in there)],
        "font.size": 8,
        "text.parse_math": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "legend.frameon": True,
        "legend.framealpha": 1.0,
        "legend.edgecolor": "none",
        "legend.fancybox": False,
        "legend.fontsize": 7.5,
        "svg.fonttype": "path",
        "svg.hashsalt": "napari-cln",
        "pdf.fonttype": 42,
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        # A computer without Chinese fonts draws boxes in plots; the tables still say the name.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def draw_roc(ax: Axes, diagnosis: Diagnosis) -> None:
    """ROC curve with the operating point."""
    points, counts = diagnosis.roc, diagnosis.counts
    ax.plot([0, 1], [0, 1], color=MIDDLE, lw=0.8, ls=":", label="chance")
    ax.plot(1 - points.specificity, points.sensitivity, color=DARK, lw=1.6, label="model")
    if counts.tp + counts.fn and counts.tn + counts.fp:
        place = counts.fp / (counts.tn + counts.fp), counts.tp / (counts.tp + counts.fn)
        ax.plot(*place, "o", ms=6, mfc="white", mec=DARK, mew=1.4, label="at the cutoff")
    area = diagnosis.auc
    ax.text(
        0.98,
        0.3,
        f"AUC {number(area.value, 3)}\n({number(area.low, 3)} to {number(area.high, 3)})",
        ha="right",
    )
    ax.set(
        xlabel="1 − specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal"
    )
    ax.legend(loc="lower right")


def draw_scores(ax: Axes, metastatic: Sequence[float], benign: Sequence[float], cutoff: float) -> None:
    """Scores of both classes, with the cutoff."""
    bins = list(np.linspace(0, 1, 21))
    ax.hist(benign, bins, color=LIGHT, edgecolor="white", label=f"benign (n = {len(benign)})")
    ax.hist(
        metastatic,
        bins,
        histtype="step",
        color=DARK,
        hatch="////",
        lw=1.2,
        label=f"metastatic (n = {len(metastatic)})",
    )
    ax.axvline(cutoff, color=DARK, lw=1, ls="--", label=f"cutoff {number(cutoff, 2)}")
    ax.set(xlabel="malignancy score", ylabel="number of nodes", xlim=(0, 1))
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.margins(y=0.35)
    ax.legend(loc="upper center", ncols=1)


def draw_calibration(ax: Axes, diagnosis: Diagnosis, confidence: float = 0.95) -> None:
    """Observed share of metastatic nodes against the mean score, in tenths of the score."""
    ax.plot([0, 1], [0, 1], color=MIDDLE, lw=0.8, ls=":", label="score = frequency")
    shares = [
        (b.mean_score, proportion(b.positives, b.n, confidence=confidence), b.n) for b in diagnosis.bins
    ]
    x, y = [s[0] for s in shares], [s[1].value for s in shares]
    reach = [[s[1].value - s[1].low for s in shares], [s[1].high - s[1].value for s in shares]]
    ax.errorbar(
        x,
        y,
        yerr=np.maximum(reach, 0),
        fmt="o-",
        ms=4,
        color=DARK,
        lw=1,
        capsize=2,
        label=f"observed, {level(confidence)}",
    )
    for mean, observed, n in shares:
        ax.annotate(
            str(n), (mean, observed.high), (0, 2), textcoords="offset points", ha="center", fontsize=6.5
        )
    ax.set(
        xlabel="mean malignancy score",
        ylabel="share metastatic",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.1),
        aspect="equal",
    )
    ax.legend(loc="upper left")


def draw_decision(ax: Axes, diagnosis: Diagnosis) -> None:
    """Net benefit of acting on the score, on all nodes, on none."""
    at, prevalence = diagnosis.thresholds, diagnosis.prevalence
    everyone = prevalence - (1 - prevalence) * at / (1 - at)
    ax.plot(at, diagnosis.net_benefit, color=DARK, lw=1.6, label="by the model")
    ax.plot(at, everyone, color=MIDDLE, lw=1.1, ls="--", label="FNA of all nodes")
    ax.axhline(0, color=MIDDLE, lw=1.1, ls=":", label="FNA of no node")
    ax.set(
        xlabel="threshold probability",
        ylabel="net benefit per node",
        xlim=(0, 1),
        ylim=(-0.1, max(prevalence * 1.15, 0.1)),
    )
    ax.legend(loc="upper right")


def _boxes(ax: Axes, summaries: Sequence[tuple[str, Summary]]) -> None:
    """Box and whiskers with every value beside it."""
    places = np.arange(len(summaries))
    ax.boxplot(
        [s.values for _, s in summaries],
        positions=places,
        widths=0.32,
        showfliers=False,
        whis=(0, 100),
        medianprops={"color": DARK, "lw": 1.8},
        boxprops={"color": DARK},
        whiskerprops={"color": MIDDLE},
        capprops={"color": MIDDLE},
    )
    rng = np.random.default_rng(0)
    for place, (_, summary) in zip(places, summaries, strict=True):
        spread = place + 0.36 + rng.uniform(-0.11, 0.11, summary.values.size)
        ax.scatter(spread, summary.values, s=5, color=MIDDLE, lw=0, rasterized=summary.values.size > MANY)
    ax.set_xticks(places, [f"{name}\nn = {s.median.n}" for name, s in summaries])
    ax.set_xlim(-0.4, len(summaries) - 0.3)


def draw_overlap(ax: Axes, masks: Segmentation) -> None:
    """Dice and IoU per node, nodes that were not found with 0, and Dice per frame."""
    _boxes(ax, [("Dice, node", masks.dice), ("IoU, node", masks.iou), ("Dice, frame", masks.frame_dice)])
    ax.set(ylabel="overlap", ylim=(-0.03, 1.03))


def draw_distances(ax: Axes, masks: Segmentation) -> None:
    """HD95 and ASSD of matched nodes, in mm where frames are calibrated."""
    in_mm = masks.hd95_mm is not None
    pairs = (
        (("HD95", masks.hd95_mm), ("ASSD", masks.assd_mm))
        if in_mm
        else (("HD95", masks.hd95_px), ("ASSD", masks.assd_px))
    )
    _boxes(ax, [(name, summary) for name, summary in pairs if summary is not None])
    ax.set(ylabel=f"distance of outlines ({'mm' if in_mm else 'px'})")
    ax.set_ylim(bottom=0)


def draw_froc(ax: Axes, found: Detection) -> None:
    """Share of nodes found against false finds a frame."""
    x, y = found.froc.false_per_frame, found.froc.sensitivity
    ax.plot(x, y, color=DARK, lw=1.6, drawstyle="steps-post")
    ax.plot(x[-1], y[-1], "o", ms=5, mfc="white", mec=DARK, mew=1.3)
    ax.set(
        xlabel="false finds per frame",
        ylabel=f"share of nodes found (IoU ≥ {found.iou_threshold:g})",
        ylim=(-0.02, 1.02),
    )
    ax.set_xlim(left=-0.02 * max(x[-1], 0.1))


def draw_precision_recall(ax: Axes, found: Detection) -> None:
    """Precision of the masks against recall, at two overlaps."""
    for curve, line in zip(found.coco.curves if found.coco else (), ("-", "--"), strict=False):
        ax.plot(
            curve.recall, curve.precision, color=DARK, lw=1.4, ls=line, label=f"IoU ≥ {curve.overlap:.2f}"
        )
        ax.plot(curve.recall[-1:], curve.precision[-1:], "o", ms=5, mfc="white", mec=DARK, mew=1.3)
    ax.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.legend(loc="lower left")


def draw_bland_altman(ax: Axes, axis: AxisAgreement) -> None:
    """Difference of model and reader against their mean, with the limits of agreement."""
    mean, gap = (axis.model + axis.reader) / 2, axis.model - axis.reader
    ax.scatter(mean, gap, s=8, color=MIDDLE, lw=0, rasterized=mean.size > MANY)
    limits = axis.limits
    lines: tuple[tuple[Estimate, str, str], ...] = (
        (limits.bias, "-", "bias"),
        (limits.lower_limit, "--", "−1.96 SD"),
        (limits.upper_limit, "--", "+1.96 SD"),
    )
    for estimate, dash, name in lines:
        if math.isnan(estimate.value):
            continue
        ax.axhline(estimate.value, color=DARK, ls=dash, lw=1)
        ax.annotate(
            f"{name} {number(estimate.value, 2)}",
            (1, estimate.value),
            (-2, 2),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=7,
            bbox={"fc": "white", "ec": "none", "pad": 0.6},
        )
    ax.set(
        xlabel=f"mean {axis.name} ({axis.unit})",
        ylabel=f"model − reader ({axis.unit})",
        title=f"{axis.name} (n = {axis.model.size})",
    )


def draw_subgroups(ax: Axes, groups: Sequence[Subgroup], confidence: float) -> None:
    """Sensitivity and specificity of each subgroup with intervals."""
    for place, group in enumerate(groups):
        for estimate, marker, shift, fill in (
            (group.sensitivity, "o", 0.14, DARK),
            (group.specificity, "s", -0.14, "white"),
        ):
            if estimate is None:
                continue
            y = len(groups) - 1 - place + shift
            ax.plot([estimate.low, estimate.high], [y, y], color=DARK, lw=1)
            ax.plot(estimate.value, y, marker, ms=4.5, mfc=fill, mec=DARK)
    ax.plot([], [], "o-", ms=4.5, color=DARK, mfc=DARK, lw=1, label="sensitivity")
    ax.plot([], [], "s-", ms=4.5, color=DARK, mfc="white", lw=1, label="specificity")
    names = [f"{group.variable} {group.value} (n = {group.nodes})" for group in groups]
    ax.set_yticks(range(len(groups) - 1, -1, -1), names)
    ax.set(xlabel=f"share ({level(confidence)} interval)", xlim=(-0.02, 1.02), ylim=(-0.6, len(groups) + 0.1))
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2)


def draw_picture(ax: Axes, picture: Picture) -> None:
    """A frame with the reader's outline (solid) and the model's (dashed)."""
    ax.imshow(picture.image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    for mask, dash in ((picture.reference, "solid"), (picture.predicted, "dashed")):
        if mask.any():
            lines = ax.contour(mask, levels=[0.5], colors="white", linewidths=1.1, linestyles=dash)
            lines.set_path_effects([patheffects.withStroke(linewidth=2.4, foreground="black")])
    ax.set_axis_off()
    ax.set_title(
        f"{picture.place}: Dice {number(picture.dice, 2)}\n{picture.truth}, score {number(picture.score, 2)}",
        fontsize=7.5,
    )
