"""The sections of a report on masks: overlap, detection, axes, pictures."""

from __future__ import annotations

from functools import partial

from ...types import Estimate
from ..evaluation import Evaluation
from ..segmentation import Detection, Summary
from . import figures
from .pages import Plot, ReportTable, Section, level, number, percentage, with_interval


def mask_section(evaluation: Evaluation) -> Section | None:
    """Overlap and distance; what was missed or mistaken."""
    masks = evaluation.segmentation
    if masks is None:
        if evaluation.claimed is None:
            return None
        return Section(
            title="Masks", text="No frame that is compared has a node.", tables=(_outcomes(evaluation),)
        )
    at = level(evaluation.config.confidence)
    rows = [
        _summary_row("Dice per node", masks.dice),
        _summary_row("IoU (Jaccard) per node", masks.iou),
        _summary_row("Dice per frame", masks.frame_dice),
        *(
            _summary_row(f"{name} ({unit})", summary)
            for name, unit, summary in (
                ("HD95", "mm", masks.hd95_mm),
                ("ASSD", "mm", masks.assd_mm),
                ("HD95", "px", masks.hd95_px),
                ("ASSD", "px", masks.assd_px),
            )
            if summary is not None
        ),
    ]
    plots = [
        Plot(caption="Overlap: median, quartiles, range", draw=partial(figures.draw_overlap, masks=masks))
    ]
    if masks.hd95_px is not None:
        plots.append(Plot(caption="Distance of outlines", draw=partial(figures.draw_distances, masks=masks)))
    return Section(
        title="Masks",
        text="Dice is 2|A∩B|/(|A|+|B|) and IoU (Jaccard) |A∩B|/|A∪B|; a node that was not found has 0 and "
        "stays in. HD95 is the greater of the two directed 95th percentiles between borders, ASSD the mean "
        f"over both borders; a node that was not found has none, and is counted below. {masks.empty_both} "
        "frames without a node in either mask are left out of Dice per frame.",
        tables=(
            _outcomes(evaluation),
            ReportTable(
                caption="Overlap and distance",
                header=(
                    "Measure",
                    "n",
                    "Median",
                    f"{at} exact",
                    f"{at} over patients",
                    "Quartiles",
                    "Range",
                    "Mean",
                ),
                rows=tuple(rows),
            ),
        ),
        plots=tuple(plots),
    )


def _outcomes(evaluation: Evaluation) -> ReportTable:
    masks, threshold = evaluation.segmentation, f"{evaluation.config.iou_threshold:g}"
    shares: list[tuple[str, Estimate]] = []
    if masks is not None:
        shares = [
            (f"found (IoU ≥ {threshold})", masks.found),
            (f"matched loosely (IoU < {threshold})", masks.loose),
            ("missed: nothing outlined", masks.missed),
            ("wrong node: another structure outlined", masks.wrong_node),
        ]
    if evaluation.claimed is not None:
        shares.append(("frames without a node where one is outlined", evaluation.claimed))
    return ReportTable(
        caption="What became of the reference nodes, and of frames without one",
        header=("", "share", level(evaluation.config.confidence)),
        rows=tuple(
            (name, percentage(e, 2), f"{number(100 * e.low)} to {number(100 * e.high)}") for name, e in shares
        ),
    )


def _summary_row(name: str, summary: Summary) -> tuple[str, ...]:
    exact, clustered = summary.median, summary.median_clustered
    return (
        name,
        str(exact.n),
        number(exact.value, 3),
        f"{number(exact.low, 3)} to {number(exact.high, 3)}",
        f"{number(clustered.low, 3)} to {number(clustered.high, 3)}",
        f"{number(summary.lower_quartile, 3)} and {number(summary.upper_quartile, 3)}",
        f"{number(summary.least, 3)} to {number(summary.greatest, 3)}",
        number(summary.mean, 3),
    )


def detection_section(evaluation: Evaluation) -> Section | None:
    """Precision, recall, F1, mAP, AP, their curve, and FROC."""
    found = evaluation.detection
    if found is None:
        return None
    rows = (
        ("Precision", f"{found.hits}/{found.finds}", with_interval(found.precision, 3)),
        ("Recall", f"{found.hits}/{found.nodes}", with_interval(found.recall, 3)),
        ("F1", f"{found.hits} hits", with_interval(found.f1, 3)),
        *_average_precision_rows(found),
        (
            f"AP at IoU {found.iou_threshold:g}, all points",
            f"{found.finds} finds",
            number(found.average_precision, 3),
        ),
        ("False finds per frame", f"{found.frames} frames", number(found.false_per_frame, 3)),
    )
    return Section(
        title="Detection",
        text="Predicted and reference nodes are matched one to one with the greatest sum of IoU. Finds "
        "are ranked by their mean mask probability; finds below the mask threshold do not exist, so the "
        "curve ends at the circle. mAP, AP50 and AP75 are COCO's: at each IoU the surest find takes the "
        "node that it covers best, precision is averaged over 101 recalls, and mAP is the mean over the "
        "ten IoU from 0.50 to 0.95; a box is the smallest upright one around a node.",
        tables=(
            ReportTable(
                caption="Detection",
                header=("", "cases", f"value ({level(evaluation.config.confidence)} over patients)"),
                rows=rows,
            ),
        ),
        plots=(
            *(
                (
                    Plot(
                        caption="Precision and recall",
                        draw=partial(figures.draw_precision_recall, found=found),
                    ),
                )
                if found.coco is not None
                else ()
            ),
            Plot(caption="FROC curve", draw=partial(figures.draw_froc, found=found)),
        ),
    )


def _average_precision_rows(found: Detection) -> tuple[tuple[str, str, str], ...]:
    """The figures that COCO defines, of masks and of boxes."""
    if found.coco is None:
        return ()
    coco, of = found.coco, f"{found.nodes} nodes, {found.finds} finds"
    return (
        ("mAP of masks, IoU 0.50 to 0.95", of, with_interval(coco.masks, 3)),
        ("AP50 of masks", of, with_interval(coco.masks_50, 3)),
        ("AP75 of masks", of, with_interval(coco.masks_75, 3)),
        ("mAP of boxes, IoU 0.50 to 0.95", of, with_interval(coco.boxes, 3)),
        ("AP50 of boxes", of, with_interval(coco.boxes_50, 3)),
        ("AP75 of boxes", of, with_interval(coco.boxes_75, 3)),
    )


def axes_section(evaluation: Evaluation) -> Section | None:
    """Agreement of long and short axis with the reader's mask."""
    axes = () if evaluation.segmentation is None else evaluation.segmentation.axes
    if not axes:
        return None
    rows = tuple(
        (
            f"{axis.name} ({axis.unit})",
            f"{axis.model.size} of {axis.of}",
            with_interval(axis.limits.bias),
            with_interval(axis.limits.lower_limit),
            with_interval(axis.limits.upper_limit),
            with_interval(axis.icc, 3),
        )
        for axis in axes
    )
    at = level(evaluation.config.confidence)
    header = (
        "Axis",
        "Matched nodes",
        f"Bias ({at})",
        f"Lower limit ({at})",
        f"Upper limit ({at})",
        f"ICC(A,1) ({at})",
    )
    return Section(
        title="Size",
        text="Model − reader, of matched nodes alone: nodes that were not found have no size. 95 % of "
        "differences lie between the limits of agreement.",
        tables=(ReportTable(caption="Agreement on axes", header=header, rows=rows),),
        plots=tuple(
            Plot(caption=f"Bland–Altman, {axis.name}", draw=partial(figures.draw_bland_altman, axis=axis))
            for axis in axes
        ),
    )


def gallery_section(evaluation: Evaluation) -> Section | None:
    """Best, median and worst frames."""
    if not evaluation.pictures:
        return None
    return Section(
        title="Gallery",
        text="Best, median and worst frames by Dice. Solid: reader. Dashed: model. Burned-in marks are "
        "painted over.",
        plots=tuple(
            Plot(
                caption=f"frame {picture.id}",
                draw=partial(figures.draw_picture, picture=picture),
                width=2.28,
                height=2.25,
                left=0.1,
                below=0.1,
            )
            for picture in evaluation.pictures
        ),
    )
