"""The sections of a report on subgroups and on other tests of the same nodes."""

from __future__ import annotations

from functools import partial

from ..evaluation import Evaluation
from . import figures
from .pages import Plot, Section, Table
from .wording import NAMES, interval, measure_row, number, p_value, share, with_interval

__all__ = ["comparison_section", "subgroup_section"]


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
            with_interval(g.sensitivity, 1, 100),
            with_interval(g.specificity, 1, 100),
            with_interval(g.auc),
            with_interval(g.dice),
        )
        for g in groups
    )
    header = (
        "Subgroup",
        "Nodes (met./benign)",
        "Patients",
        "Sensitivity %",
        "Specificity %",
        "AUC",
        "Median Dice",
    )
    judged = [g for g in groups if g.sensitivity or g.specificity]
    plot = Plot(
        caption="Sensitivity and specificity by subgroup",
        draw=partial(figures.draw_subgroups, groups=judged),
        width=6.8,
        height=0.8 + 0.28 * len(judged),
        left=2.3,
    )
    return Section(
        title="Subgroups",
        text="Intervals are over patients. Subgroups were not planned here: a difference is a question, "
        "not a finding.",
        tables=(Table(caption="Subgroups (95 % intervals)", header=header, rows=rows),),
        plots=(plot,) if judged else (),
    )


def comparison_section(evaluation: Evaluation) -> Section | None:
    """Other models, readers and the original reports on the same nodes."""
    if not evaluation.comparisons:
        return None
    tables = []
    for c in evaluation.comparisons:
        theirs = dict(zip(NAMES, c.other_measures, strict=True))
        caption = (
            f"Model and {c.name} on the same {c.nodes} nodes of {c.patients} patients "
            f"({c.undetermined} without a verdict and {c.without} unknown to it are left out)"
        )
        rows = [
            (
                measure_row(theirs[name])[0],
                share(theirs[name].estimate, 2),
                interval(theirs[name].clustered, 2, 100),
                with_interval(difference, 2, 100),
            )
            for name, difference in c.differences.items()
        ]
        if c.auc is not None:
            rows.append(
                (
                    "AUC",
                    number(c.other_auc or 0, 4),
                    "–",
                    f"{with_interval(c.auc.difference, 4)}, p {p_value(c.auc.p)}",
                )
            )
        if c.dice is not None:
            rows.append(("mean Dice", "–", "–", with_interval(c.dice, 4)))
        test = c.mcnemar
        rows.append(
            (
                "right calls",
                f"only model {test.only_first}, only {c.name} {test.only_second}",
                f"kappa {with_interval(c.kappa)}",
                f"McNemar p {p_value(test.p_exact)} (exact)",
            )
        )
        header = ("Measure", c.name, "95 % over patients", "Model − other (95 %), points")
        tables.append(Table(caption=caption, header=header, rows=tuple(rows)))
    return Section(
        title="Comparison on the same nodes",
        text="Only nodes that both have judged are compared: AUC by the paired DeLong test, calls by "
        "McNemar's test.",
        tables=tuple(tables),
    )
