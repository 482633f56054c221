"""The sections of a report on cases and diagnosis."""

from __future__ import annotations

from functools import partial

from ...errors import counted
from ..diagnosis import Diagnosis
from ..evaluation import Evaluation
from . import figures
from .pages import Plot, ReportTable, Section, interval, level, measure_rows, number, percent, with_interval


def flow_section(evaluation: Evaluation) -> Section:
    """Counts first."""
    flow = evaluation.flow
    rows = (
        ("Frames", str(flow.frames)),
        ("– not readable", str(flow.unreadable)),
        ("– no finite number from the model", str(flow.failed)),
        ("– nothing accepted is known (left out)", str(flow.unjudged)),
        ("– masks of reader and model compared", str(flow.compared)),
        ("– truth alone, or class alone", str(flow.without_mask)),
        ("– reader says there is no node", str(flow.negative)),
        ("Patients", str(flow.patients)),
        ("Reference nodes", str(flow.nodes)),
        ("– metastatic", str(flow.metastatic)),
        ("– benign", str(flow.benign)),
        ("– truth unknown (not in the diagnosis)", str(flow.unknown)),
        ("– of known truth, not found, scored by their frame", str(flow.scored_by_frame)),
    )
    return Section(
        title="Cases",
        text=f"Split {evaluation.config.split!r}, model {evaluation.model or 'not named'}. "
        f"Bootstrap of {evaluation.config.resamples} resamples of patients, seed {evaluation.config.seed}.",
        tables=(ReportTable(caption="Flow of cases", header=("", "n"), rows=rows),),
    )


def diagnosis_section(evaluation: Evaluation, found: Diagnosis) -> Section:
    """The seven measures, ROC, calibration and decision curve, per node or per patient."""
    counts, unit = found.counts, found.unit
    area, at = found.auc, level(evaluation.config.confidence)
    extra = [
        ("AUC", number(area.value, 4), str(area.n), interval(area, 4), "–", interval(found.auc_clustered, 4)),
        ("Brier score", number(found.brier.value, 4), str(found.brier.n), "–", "–", interval(found.brier, 4)),
    ]
    if found.at_prevalence is not None:
        share_of = percent(evaluation.config.prevalence or 0, 1)
        extra += [
            (
                f"{name} at a prevalence of {share_of}",
                percent(e.value, 2),
                str(e.n),
                interval(e, 2, 100),
                "–",
                "–",
            )
            for name, e in zip(("PPV", "NPV"), found.at_prevalence, strict=True)
        ]
    tables = [
        ReportTable(
            caption=f"Counts at the cutoff ({unit}s)",
            header=("", "called malignant", "called benign", "all"),
            rows=(
                ("metastatic", str(counts.tp), str(counts.fn), str(counts.tp + counts.fn)),
                ("benign", str(counts.fp), str(counts.tn), str(counts.fp + counts.tn)),
            ),
        ),
        ReportTable(
            caption=f"Diagnosis per {unit} (limits of shares in %; AUC by DeLong)",
            header=(
                "Measure",
                "Value",
                "Cases",
                f"{at} Wilson (LR: log)",
                f"{at} exact",
                f"{at} over patients",
            ),
            rows=(*measure_rows(found), *extra),
        ),
    ]
    line, error, by_chance = found.line, found.calibration_error, found.calibration_error_by_chance
    rows = (
        ("Slope (1 is best)", with_interval(line and line.slope)),
        ("Intercept (0 is best)", with_interval(line and line.intercept)),
        ("Calibration in the large (0 is best)", with_interval(line and line.in_the_large)),
        ("Expected calibration error, ten bins (over patients)", with_interval(error, 3)),
        ("– by chance alone, were every score right", with_interval(by_chance, 3)),
    )
    tables.append(
        ReportTable(caption=f"Calibration (n = {counts.n})", header=("", f"value ({at})"), rows=rows)
    )
    plots = [Plot(caption="ROC curve", draw=partial(figures.draw_roc, diagnosis=found))]
    if unit == "node":
        split = evaluation.config.split
        judged = [r for r in evaluation.rows if split in (r.split, "all") and r.kind != "stray"]
        metastatic, benign = ([r.score for r in judged if r.truth == t] for t in ("metastatic", "benign"))
        plots += [
            Plot(
                caption="Scores of both classes",
                draw=partial(
                    figures.draw_scores,
                    metastatic=metastatic,
                    benign=benign,
                    cutoff=evaluation.cutoff.value,
                ),
            ),
            Plot(
                caption="Calibration; n above each point",
                draw=partial(
                    figures.draw_calibration, diagnosis=found, confidence=evaluation.config.confidence
                ),
            ),
            Plot(caption="Decision curve", draw=partial(figures.draw_decision, diagnosis=found)),
        ]
    about = {
        "node": "A node is called malignant when its score is at or above the cutoff. ",
        "patient": "A patient is metastatic if any node is, benign if all are, and has the highest "
        "score that the user is shown. ",
    }[unit]
    return Section(
        title=f"Diagnosis per {unit}",
        text=f"{about}Cutoff {evaluation.cutoff}. {counted(found.patients, 'patient')}.",
        tables=tuple(tables),
        plots=tuple(plots),
    )
