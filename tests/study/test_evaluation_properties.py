"""What holds for the figures of any table of cases."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cln.study.cases import CaseRow
from napari_cln.study.evaluation import EvaluationConfig, evaluate_rows
from napari_cln.study.statistics.metrics import auc
from napari_cln.types import Estimate

FEW = EvaluationConfig(resamples=200, prevalence=0.2)

nodes = st.tuples(
    st.integers(0, 5),  # patient
    st.booleans(),  # metastatic
    st.integers(0, 20),  # score
    st.integers(0, 10),  # Dice, 0 for a node that was not found
    st.sampled_from(["A", "B", None]),
)
tables = st.lists(nodes, min_size=1, max_size=25)


def rows_of(table) -> list[CaseRow]:
    rows = []
    for i, (patient, metastatic, score, tenths, vendor) in enumerate(table):
        dice = tenths / 10
        rows.append(
            CaseRow(
                id=f"f{i}",
                patient=f"p{patient}",
                truth="metastatic" if metastatic else "benign",
                score=score / 20,
                frame_score=score / 20,
                compared=True,
                predicted_node=int(dice > 0),
                confidence=score / 20 if dice else None,
                dice=dice,
                iou=dice / (2 - dice),
                frame_dice=dice,
                missed=not dice,
                hd95_px=10 - tenths if dice else None,
                assd_px=5 - tenths / 2 if dice else None,
                reference_long_px=20.0 + i,
                reference_short_px=10.0 + i,
                predicted_long_px=20.0 + i + tenths if dice else None,
                predicted_short_px=10.0 + i - tenths if dice else None,
                vendor=vendor,
            )
        )
    return rows


def estimates(value: object, name: str = "") -> Iterator[tuple[str, Estimate]]:
    """Every estimate of an evaluation, with its place."""
    if isinstance(value, Estimate):
        yield name, value
    elif is_dataclass(value):
        for field in fields(value):
            yield from estimates(getattr(value, field.name), f"{name}.{field.name}")
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            yield from estimates(item, f"{name}[{i}]")


@pytest.mark.slow
@settings(max_examples=15)
@given(table=tables)
def test_every_interval_of_an_evaluation_holds_its_estimate(table):
    found = dict(estimates(evaluate_rows(rows_of(table), FEW)))

    assert len(found) >= 30
    for name, estimate in found.items():
        if not (math.isnan(estimate.value) or math.isnan(estimate.low)):
            assert estimate.low - 1e-9 <= estimate.value <= estimate.high + 1e-9, name


@pytest.mark.slow
@settings(max_examples=15)
@given(table=tables, seed=st.integers(0, 99))
def test_the_order_of_cases_changes_no_figure(table, seed):
    rows = rows_of(table)
    shuffled = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]

    one, other = (dict(estimates(evaluate_rows(r, FEW))) for r in (rows, shuffled))

    assert one.keys() == other.keys()
    for name, estimate in one.items():
        again = other[name]
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
            (again.value, again.low, again.high), nan_ok=True, abs=1e-9
        ), name


@pytest.mark.slow
@settings(max_examples=15)
@given(table=tables)
def test_swapped_truths_swap_the_measures(table):
    """Benign for metastatic, and the opposite score: sensitivity and specificity change places."""
    rows = rows_of(table)
    swapped = [
        replace(row, truth="benign" if row.truth == "metastatic" else "metastatic", score=1 - row.score)
        for row in rows
    ]

    one = evaluate_rows(rows, replace(FEW, cutoff=0.475)).nodes
    other = evaluate_rows(swapped, replace(FEW, cutoff=0.525)).nodes

    for first, second in (("sensitivity", "specificity"), ("ppv", "npv"), ("accuracy", "accuracy")):
        assert one[first].estimate == other[second].estimate
    assert one.auc.value == pytest.approx(other.auc.value, nan_ok=True)
    truth = [row.truth == "metastatic" for row in swapped]
    assert auc(truth, [row.score for row in rows]) == pytest.approx(1 - one.auc.value, nan_ok=True)
