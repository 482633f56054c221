"""The sections of a report on subgroups and on other tests of the same nodes."""

from __future__ import annotations

from functools import partial

from ...errors import counted
from ...types import Estimate
from ..comparison import Panel
from ..diagnosis import Measure
from ..evaluation import Evaluation
from . import figures
from .pages import (
    NAMES,
    Plot,
    ReportTable,
    Section,
    interval,
    level,
    number,
    p_value,
    percentage,
    with_interval,
)


def subgroup_section(evaluation: Evaluation) -> Section | None:
    """The figures by scanner, level, side and size."""
    groups = evaluation.subgroups
    if not groups:
        return None
    rows = tuple(
        (
            f"{g.variable}: {g.value}",
            f"{g.nodes} ({g.metastatic}/{g.benign})",
            str(g.patients),
            _share_and_interval(g.sensitivity),
            _share_and_interval(g.specificity),
            with_interval(g.auc),
            with_interval(g.dice),
        )
        for g in groups
    )
    header = (
        "Subgroup",
        "Nodes (met./benign)",
        "Patients",
        "Sensitivity",
        "Specificity",
        "AUC",
        "Median Dice",
    )
    at = level(evaluation.config.confidence)
    judged = [g for g in groups if g.sensitivity or g.specificity]
    plot = Plot(
        caption="Sensitivity and specificity by subgroup",
        draw=partial(figures.draw_subgroups, groups=judged, confidence=evaluation.config.confidence),
        width=6.8,
        height=0.8 + 0.28 * len(judged),
        left=2.3,
    )
    return Section(
        title="Subgroups",
        text=f"Intervals ({at}) are over patients. Subgroups were not planned here: a difference is a "
        "question, not a finding.",
        tables=(ReportTable(caption=f"Subgroups ({at} intervals)", header=header, rows=rows),),
        plots=(plot,) if judged else (),
    )


def hospital_section(evaluation: Evaluation) -> Section | None:
    """The figures of each hospital, and of the way from one to another."""
    if not evaluation.transfers:
        return None
    rows = tuple(
        (
            t.name,
            str(t.nodes),
            str(t.patients),
            with_interval(t.auc, 3),
            _share_and_interval(t.sensitivity),
            _share_and_interval(t.specificity),
            with_interval(t.difference, 3),
        )
        for t in evaluation.transfers
    )
    header = (
        "Learned → tested",
        "Nodes",
        "Patients",
        "AUC",
        "Sensitivity",
        "Specificity",
        "AUC less that at home",
    )
    return Section(
        title="Hospitals",
        text="Left of the arrow stand the hospitals whose frames the model learned from (? where that is not "
        "known), right of it the hospital of the nodes. The last column is the AUC there less that on "
        "reported nodes of the hospitals it learned from: other patients, so the two intervals are added "
        "in squares.",
        tables=(
            ReportTable(
                caption=f"From hospital to hospital ({level(evaluation.config.confidence)} over patients)",
                header=header,
                rows=rows,
            ),
        ),
    )


def comparison_section(evaluation: Evaluation) -> Section | None:
    """Other models, readers and the original reports on the same nodes."""
    if not evaluation.comparisons:
        return None
    at, panel = level(evaluation.config.confidence), evaluation.panel
    tables = [_panel_table(panel, at)] if panel is not None and panel.tests else []
    for c in evaluation.comparisons:
        rows = [
            (
                NAMES[mine.name],
                *_value_and_interval(mine),
                *_value_and_interval(theirs),
                with_interval(c.differences.get(mine.name), 2, 100),
            )
            for mine, theirs in zip(c.model_measures, c.other_measures, strict=True)
        ]
        if c.gap is not None:
            mine, theirs = c.gap.areas
            difference = f"{with_interval(c.gap.auc.difference, 4)}; p {p_value(c.gap.auc.p)} (DeLong)"
            rows.append(
                (
                    "AUC",
                    number(mine.value, 4),
                    interval(mine, 4),
                    number(theirs.value, 4),
                    interval(theirs, 4),
                    difference,
                )
            )
        if c.gap is not None and c.gap.dice is not None:
            rows.append(("mean Dice", "", "", "", "", with_interval(c.gap.dice, 4)))
        test = c.mcnemar
        rows.append(
            (
                "right where the other is wrong",
                f"{test.only_first}/{c.nodes}",
                "",
                f"{test.only_second}/{c.nodes}",
                "",
                f"p {p_value(test.p_exact)} (McNemar, exact)",
            )
        )
        rows.append(("agreement of calls", "", "", "", "", f"kappa {with_interval(c.kappa)}"))
        caption = (
            f"Model and {c.name} on the same {counted(c.nodes, 'node')} of {counted(c.patients, 'patient')}. "
            f"Left out: {counted(c.undetermined, 'node')} without a verdict of {c.name}, "
            f"{c.without} that it does not know."
        )
        if c.gap is not None:
            caption += f" Cutoffs {c.gap.cutoffs[0]:.4g} and {c.gap.cutoffs[1]:.4g}."
        header = ("", "Model", at, c.name, at, f"Difference ({at}), points")
        tables.append(ReportTable(caption=caption, header=header, rows=tuple(rows)))
    return Section(
        title="Comparison on the same nodes",
        text="Only nodes that both have judged are compared: AUC by the paired DeLong test, calls by "
        "McNemar's test.",
        tables=tuple(tables),
    )


def reader_study_section(evaluation: Evaluation) -> Section | None:
    """Readers without and with the model, on the same nodes."""
    found = evaluation.panel.reader_study if evaluation.panel is not None else None
    if found is None:
        return None
    rows = [
        (
            reader.name if k == 0 else "",
            f"{reader.nodes} / {reader.patients}" if k == 0 else "",
            name,
            with_interval(reader.alone[name], 1, 100),
            with_interval(reader.with_model[name], 1, 100),
            with_interval(reader.gain[name], 1, 100),
            f"{reader.changed_right} / {reader.changed_wrong}" if k == 0 else "",
        )
        for reader in found.readers
        for k, name in enumerate(reader.gain)
    ]
    n, at = len(found.readers), level(evaluation.config.confidence)
    rows += [
        (f"mean of {n}", f"{found.nodes} / {found.patients}", name, "", "", with_interval(gain, 1, 100), "")
        for name, gain in found.gain.items()
    ]
    of = "patients and readers" if n > 1 else "patients: of one reader nothing follows for others"
    return Section(
        title="Readers with and without the model",
        text="Each reader is compared with the same reader: only nodes with a verdict in both readings "
        "count. Figures are per cent, gains percentage points. The last rows are the mean gain, its interval "
        f"over {of}. The AUC of calls that are yes or no is the mean of sensitivity and specificity. Whether "
        "the readings were far enough apart, and in which order, this table can't know: say it in the text.",
        tables=(
            ReportTable(
                caption=f"Readers without and with the model ({at} intervals)",
                header=("Reader", "Nodes / patients", "", "alone", "with", "gain", "turned right / wrong"),
                rows=tuple(rows),
            ),
        ),
    )


def _panel_table(panel: Panel, at: str) -> ReportTable:
    rows = tuple(
        (name, *(", ".join(_value_and_interval(measure)) for measure in measures))
        for name, measures in panel.tests
    )
    return ReportTable(
        caption=f"All tests on the {panel.nodes} of {panel.of} nodes ({panel.patients} patients) that every "
        f"one of them judged, with {at} intervals over patients",
        header=("Test", *(NAMES[measure.name] for measure in panel.tests[0][1])),
        rows=rows,
    )


def _value_and_interval(measure: Measure) -> tuple[str, str]:
    """A share with k/n, or a likelihood ratio, and its limits over patients."""
    if measure.k is None:
        return number(measure.estimate.value), interval(measure.clustered)
    return percentage(measure.estimate, 2), interval(measure.clustered, 2, 100)


def _share_and_interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    return f"{percentage(estimate)}, {interval(estimate, 1, 100)}"
