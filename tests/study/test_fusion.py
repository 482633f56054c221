"""Image and clinical record in one score: the regression, what is missing, what is refused."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cln.errors import DatasetError
from napari_cln.study.cases import CaseRow
from napari_cln.study.fusion import (
    fit_fusion,
    fit_ridge,
    fuse,
    fused_rows,
    missing_of,
    read_fusion,
    write_fusion,
)
from napari_cln.study.statistics.metrics import auc


def study(n=400, seed=0, gain=1.2, missing=0.15):
    """Nodes with a score, one number and one word that tell of the truth, and one number that does not."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.5
    rows, records = [], {}
    for k, metastatic in enumerate(truth):
        score = 1 / (1 + np.exp(-rng.normal(1.0 if metastatic else -1.0, 1.5)))
        label = "metastatic" if metastatic else "benign"
        rows.append(
            CaseRow(id=f"f{k}", patient=f"p{k}", truth=label, score=float(score), frame_score=float(score))
        )
        record = {
            "tg": float(rng.normal(gain if metastatic else 0, 1)),
            "sex": "male" if rng.random() < (0.5 if metastatic else 0.3) else "female",
            "shoe": float(rng.normal(42, 2)),
        }
        records[f"p{k}"] = {name: None if rng.random() < missing else value for name, value in record.items()}
    return rows, records


def is_metastatic(rows):
    return [row.truth == "metastatic" for row in rows]


def test_weights_of_the_ridge_are_those_of_its_optimum():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(200, 3)), rng.random(200) < 0.4

    beta = fit_ridge(x, y, 2.5)

    p = 1 / (1 + np.exp(-(beta[0] + x @ beta[1:])))
    assert np.abs(x.T @ (y - p) - 2.5 * beta[1:]).max() < 1e-6
    assert abs((y - p).sum()) < 1e-6


@pytest.mark.parametrize("ridge", [0.1, 1.0, 30.0])
def test_weights_equal_scikit_learns(ridge):
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(300, 4)), rng.random(300) < 0.4

    theirs = linear_model.LogisticRegression(C=1 / ridge, tol=1e-12, max_iter=10_000).fit(x, y)

    assert fit_ridge(x, y, ridge) == pytest.approx([*theirs.intercept_, *theirs.coef_[0]], abs=1e-6)


def test_a_record_that_tells_raises_the_auc_of_nodes_not_seen():
    fusion = fit_fusion(*study())
    rows, records = study(seed=5)

    fused = fused_rows(rows, records, fusion)

    gain = auc(is_metastatic(rows), [r.score for r in fused]) - auc(
        is_metastatic(rows), [r.score for r in rows]
    )
    assert gain > 0.02
    assert {row.cutoff for row in fused} == {fusion.cutoff}


def test_a_table_of_other_patients_brings_nothing():
    rows, records = study()
    keys = np.random.default_rng(0).permutation(list(records))
    shuffled = dict(zip(keys, records.values(), strict=True))

    fusion = fit_fusion(rows, shuffled)

    assert abs(fusion.auc_fused - fusion.auc_image) < 0.02


@given(scores=st.lists(st.floats(0.001, 0.999), min_size=2, max_size=20, unique=True))
@settings(max_examples=30, deadline=None)
def test_without_any_record_nodes_keep_their_order(scores):
    fusion = test_without_any_record_nodes_keep_their_order.fusion
    fused = [fuse(score, {}, fusion) for score in scores]

    assert np.array_equal(np.argsort(fused, kind="stable"), np.argsort(scores, kind="stable"))


test_without_any_record_nodes_keep_their_order.fusion = fit_fusion(*study())


def test_a_score_is_what_the_file_says(tmp_path):
    fusion = fit_fusion(*study())
    write_fusion(fusion, tmp_path / "fusion.json")
    raw = json.loads((tmp_path / "fusion.json").read_text())
    tg = next(v for v in raw["variables"] if v["name"] == "tg")
    sex = next(v for v in raw["variables"] if v["name"] == "sex")
    shoe = next(v for v in raw["variables"] if v["name"] == "shoe")

    score = fuse(0.7, {"tg": 1.5, "sex": "male"}, read_fusion(tmp_path / "fusion.json"))

    total = raw["intercept"] + raw["image"] * np.log(0.7 / 0.3)
    total += (
        tg["weight"] * (1.5 - tg["middle"]) / tg["deviation"] + sex["levels"]["male"] + shoe["missing_weight"]
    )
    assert score == pytest.approx(1 / (1 + np.exp(-total)))


def test_no_age_over_90_is_in_the_file_of_a_fusion(tmp_path):
    rows, records = study()
    ages = {key: record | {"Age (years)": 40.0 + k % 60} for k, (key, record) in enumerate(records.items())}

    fusion = fit_fusion(rows, ages, ["Age (years)", "tg"])

    assert fusion.variables[0].greatest == 90
    assert fuse(0.5, {"Age (years)": 99.0}, fusion) == fuse(0.5, {"Age (years)": "090Y"}, fusion)


def test_a_word_that_was_never_seen_counts_as_unknown():
    fusion = fit_fusion(*study())

    assert fuse(0.5, {"sex": "not stated"}, fusion) == fuse(0.5, {}, fusion)


def test_held_out_predictions_are_calibrated():
    fusion = fit_fusion(*study(n=800))

    assert 0.8 <= fusion.slope <= 1.2


def test_what_is_missing_is_counted():
    rows, records = study(n=200)
    fusion = fit_fusion(rows, records)

    missing = missing_of(rows, records, fusion)

    assert missing["sex"] == sum(record["sex"] is None for record in records.values())


def test_a_variable_of_the_node_counts_before_that_of_the_patient():
    rows, records = study(n=200)
    fusion = fit_fusion(rows, records)
    row = rows[0]

    (one,) = fused_rows([row], {row.patient: {"tg": 0.0}, f"{row.id}/1": {"tg": 3.0}}, fusion)

    assert one.score == pytest.approx(fuse(row.score, {"tg": 3.0}, fusion), abs=1e-6)


def test_too_few_events_are_refused():
    rows, records = study(n=34)

    with pytest.raises(DatasetError, match=r"too few for 4 variables.*each needs 5"):
        fit_fusion(rows, records)


def test_an_image_and_a_record_that_rank_no_better_than_chance_are_refused():
    rows = [
        CaseRow(id=f"f{k}", patient=f"p{k}", truth=truth, score=score, frame_score=score)
        for k, (truth, score) in enumerate([("metastatic", 0.5), ("benign", 0.5)] * 30)
    ]
    records = {f"p{k}": {"age": 50.0 + k // 2 % 3} for k in range(60)}

    with pytest.raises(DatasetError, match=r"do not part the 60 nodes at any cutoff \(AUC 0\.\d+\)"):
        fit_fusion(rows, records)


def test_one_class_is_refused():
    rows, records = study(n=100)

    with pytest.raises(DatasetError, match="nodes of both kinds"):
        fit_fusion([row for row in rows if row.truth == "benign"], records)


def test_a_variable_that_nobody_has_is_refused():
    rows, records = study(n=100)

    with pytest.raises(DatasetError, match="No node has a value of calcitonin"):
        fit_fusion(rows, records, ["calcitonin"])


def test_a_file_that_is_no_fusion_is_refused(tmp_path):
    (tmp_path / "f.json").write_text('{"intercept": "much"}')

    with pytest.raises(DatasetError, match=r"f\.json is no fusion"):
        read_fusion(tmp_path / "f.json")
