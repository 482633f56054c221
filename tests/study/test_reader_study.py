"""Readers with and without the model: paired gains, and whose chance their interval is over."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cln.study.cases import CaseRow
from napari_cln.study.comparison import verdicts
from napari_cln.study.config import EvaluationConfig
from napari_cln.study.evaluation import evaluate_rows
from napari_cln.study.reader_study import FIGURES
from napari_cln.study.reader_study import study_readers as study_verdicts
from napari_cln.study.report.group_sections import reader_study_section

AREA = FIGURES[2]


def study_readers(rows, said):
    calls = {name: [call for _, call in verdicts(name, rows, calls)] for name, calls in said.items()}
    return study_verdicts(rows, calls)


def nodes(n=200):
    rng = np.random.default_rng(0)
    rows = []
    for k in range(n):
        score = float(rng.uniform())
        truth = "metastatic" if k % 2 else "benign"
        rows.append(CaseRow(id=f"f{k}", patient=f"p{k // 2}", truth=truth, score=score, frame_score=score))
    return rows


def reading(rows, right, seed):
    """Calls of a reader who is right in a share of the nodes."""
    rng = np.random.default_rng(seed)
    other = {"metastatic": "benign", "benign": "malignant"}
    same = {"metastatic": "malignant", "benign": "benign"}
    return {row.id: (same if rng.uniform() < right else other)[row.truth] for row in rows}


def calls(rows, readers=3):
    said = {}
    for k in range(readers):
        said[f"reader {k}"] = reading(rows, 0.7, k)
        said[f"reader {k} with the model"] = reading(rows, 0.85, 100 + k)
    return said


def test_a_gain_is_that_of_the_same_reader_on_the_same_nodes():
    rows = nodes()
    said = calls(rows, 1)

    (reader,) = study_readers(rows, said).readers

    truth = np.array([row.truth == "metastatic" for row in rows])
    shares = []
    for name in ("reader 0", "reader 0 with the model"):
        called = np.array([said[name][row.id] == "malignant" for row in rows])
        shares.append((called[truth].mean() + (~called[~truth]).mean()) / 2)
    assert reader.gain[AREA].value == pytest.approx(shares[1] - shares[0])
    assert reader.nodes == 200 and reader.patients == 100
    assert reader.changed_right - reader.changed_wrong == round(200 * (shares[1] - shares[0]))


def test_the_mean_gain_is_over_readers_and_its_interval_over_both():
    rows = nodes()

    found = study_readers(rows, calls(rows))

    each = [reader.gain[AREA].value for reader in found.readers]
    assert found.gain[AREA].value == pytest.approx(np.mean(each))
    assert found.gain[AREA].low > 0


def test_readers_who_differ_widen_the_interval():
    rows = nodes()
    alike, unlike = {}, {}
    for k in range(4):
        for name, gain in ((alike, 0.15), (unlike, 0.3 * (k % 2))):
            name[f"r{k}"] = reading(rows, 0.6, 7)
            name[f"r{k} with the model"] = reading(rows, 0.6 + gain, 8)

    widths = [
        np.subtract(*(getattr(study_readers(rows, said).gain[AREA], end) for end in ("high", "low")))
        for said in (alike, unlike)
    ]

    assert widths[1] > 1.5 * widths[0]


def test_only_nodes_with_a_verdict_in_both_readings_count():
    rows = nodes()
    said = calls(rows, 1)
    for row in rows[:60]:
        del said["reader 0 with the model"][row.id]
    said["reader 0"][rows[70].id] = "undetermined"

    assert study_readers(rows, said).readers[0].nodes == 139


def test_without_a_second_reading_there_is_no_study():
    rows = nodes()

    assert study_readers(rows, {"reader 0": reading(rows, 0.7, 0)}) is None


def test_the_report_has_a_section_with_n_and_intervals():
    rows = nodes()
    evaluation = evaluate_rows(rows, EvaluationConfig(resamples=200, cutoff=0.5), readers=calls(rows, 2))

    (table,) = reader_study_section(evaluation).tables

    assert table.rows[0][:2] == ("reader 0", "200 / 100")
    assert table.rows[-1][0] == "mean of 2" and "(" in table.rows[-1][5]
