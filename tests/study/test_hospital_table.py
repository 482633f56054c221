"""Figures from hospital to hospital."""

import numpy as np

from napari_cln.study.cases import CaseRow
from napari_cln.study.evaluation import evaluate_rows
from napari_cln.study.report import report_sections
from napari_cln.study.statistics.intervals import Resampling
from napari_cln.study.subgroups import compare_hospitals

FEW = Resampling(n=200)


def rows(*hospitals, n=40):
    rng = np.random.default_rng(0)
    made = []
    for name in hospitals:
        for k in range(n):
            score = float(np.clip(rng.normal(0.6 if k % 2 else 0.4, 0.15 if name == "A" else 0.4), 0, 1))
            made.append(
                CaseRow(
                    id=f"{name}{k}",
                    patient=f"{name}{k}",
                    hospital=name,
                    truth="metastatic" if k % 2 else "benign",
                    score=score,
                    frame_score=score,
                )
            )
    return made


def test_each_hospital_has_a_line_from_where_the_model_learned():
    found = compare_hospitals(rows("A", "B"), 0.5, {"A"}, FEW)

    assert [t.name for t in found] == ["A → A", "A → B"]
    assert [t.nodes for t in found] == [40, 40]


def test_what_is_lost_on_the_way_has_an_interval():
    home, away = compare_hospitals(rows("A", "B"), 0.5, {"A"}, FEW)

    assert home.difference is None
    assert away.difference.value == away.auc.value - home.auc.value
    assert away.difference.low < away.difference.value < away.difference.high < 0.1


def test_where_the_model_learned_may_be_unknown():
    assert [t.name for t in compare_hospitals(rows("A", "B"), 0.5, (), FEW)] == ["? → A", "? → B"]


def test_nodes_of_the_own_hospital_alone_make_no_table():
    assert compare_hospitals(rows("A"), 0.5, {"A"}, FEW) == ()


def test_another_hospital_alone_makes_a_line():
    (line,) = compare_hospitals(rows("B"), 0.5, {"A"}, FEW)

    assert (line.name, line.difference) == ("A → B", None)


def test_the_report_has_subgroups_and_the_way_between():
    evaluation = evaluate_rows(rows("A", "B"), learned_hospitals={"A"})
    titles = [section.title for section in report_sections(evaluation)]

    assert "Hospitals" in titles
    assert [g.value for g in evaluation.subgroups if g.variable == "hospital"] == ["A", "B"]
