"""Overlap, distance and counts against MONAI, scikit-learn and the identities between measures."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_cln.study.statistics.metrics import (
    Counts,
    auc,
    confusion,
    dice,
    iou,
    measures,
    outline_distances,
    roc,
    surface_distances,
)

masks = arrays(bool, (9, 11))
scored = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=60)


def ellipse(centre, radii, angle, shape=(120, 160)):
    row, column = np.mgrid[: shape[0], : shape[1]]
    row, column = row - centre[0], column - centre[1]
    along = column * np.cos(angle) + row * np.sin(angle)
    across = row * np.cos(angle) - column * np.sin(angle)
    return (along / radii[0]) ** 2 + (across / radii[1]) ** 2 <= 1


PREDICTED = ellipse((60, 80), (40, 22), 0.3)
REFERENCE = ellipse((64, 86), (36, 26), 0.5)


def test_overlap_of_two_ellipses_is_worked_out():
    both = (PREDICTED & REFERENCE).sum()

    assert dice(PREDICTED, REFERENCE) == 2 * both / (2767 + 2935)
    assert iou(PREDICTED, REFERENCE) == both / (2767 + 2935 - both)


@pytest.mark.parametrize(
    ("spacing_mm", "hd95_monai", "assd_monai"),
    [(None, 11.0, 4.3143630), ((0.1, 0.08), 0.88, 0.3932561)],
)
def test_distances_equal_monai_1_6_1(spacing_mm, hd95_monai, assd_monai):
    distances = outline_distances(PREDICTED, REFERENCE, spacing_mm)

    assert distances == pytest.approx((hd95_monai, assd_monai), abs=1e-6)


def test_the_greatest_distance_is_the_hausdorff_distance_of_monai():
    distances = surface_distances(PREDICTED, REFERENCE, (0.1, 0.08))

    assert max(d.max() for d in distances) == pytest.approx(0.92973113, abs=1e-6)


def test_a_mask_one_pixel_aside_is_one_pixel_away():
    mask = np.zeros((20, 20), bool)
    mask[5:12, 5:12] = True

    aside = np.roll(mask, 1, axis=1)

    assert outline_distances(mask, aside).hd95 == 1
    assert outline_distances(mask, aside, (0.1, 0.2)).hd95 == pytest.approx(0.2)


def test_a_missed_node_has_dice_0_and_no_distance():
    nothing = np.zeros_like(REFERENCE)

    assert dice(nothing, REFERENCE) == iou(nothing, REFERENCE) == 0
    with pytest.raises(ValueError, match="count the node as missed"):
        outline_distances(nothing, REFERENCE)


def test_two_empty_masks_have_no_dice():
    nothing = np.zeros((4, 4), bool)

    assert math.isnan(dice(nothing, nothing))
    assert math.isnan(iou(nothing, nothing))


def test_masks_of_different_frames_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 4\) and \(4, 5\).*the same frame"):
        dice(np.zeros((4, 4), bool), np.zeros((4, 5), bool))


@given(a=masks, b=masks)
def test_dice_follows_from_iou(a, b):
    d, j = dice(a, b), iou(a, b)

    assert (math.isnan(d) and math.isnan(j)) or d == pytest.approx(2 * j / (1 + j))
    assert d == pytest.approx(dice(b, a), nan_ok=True)


@given(a=masks, b=masks)
def test_distances_are_symmetric_and_0_between_equals(a, b):
    if a.any() and b.any():
        assert outline_distances(a, b) == pytest.approx(outline_distances(b, a))
        assert outline_distances(a, a) == (0, 0)


@given(tp=st.integers(1, 500), fn=st.integers(1, 500), tn=st.integers(1, 500), fp=st.integers(1, 500))
def test_the_seven_measures_hold_together(tp, fn, tn, fp):
    m = measures(tp, fn, tn, fp)
    prevalence = (tp + fn) / (tp + fn + tn + fp)
    sensitivity, specificity = m["sensitivity"], m["specificity"]
    called = sensitivity * prevalence + (1 - specificity) * (1 - prevalence)

    assert m["accuracy"] == pytest.approx(sensitivity * prevalence + specificity * (1 - prevalence))
    assert m["ppv"] == pytest.approx(sensitivity * prevalence / called)
    assert m["npv"] == pytest.approx(specificity * (1 - prevalence) / (1 - called))
    assert m["positive_lr"] == pytest.approx(sensitivity / (1 - specificity))
    assert m["negative_lr"] == pytest.approx((1 - sensitivity) / specificity)


def test_measures_of_nothing_are_not_numbers():
    assert all(math.isnan(value) for value in measures(0, 0, 0, 0).values())


def test_no_false_alarm_makes_an_infinite_likelihood_ratio():
    assert measures(5, 5, 10, 0)["positive_lr"] == math.inf


def test_measures_of_a_column_of_tables_are_a_column():
    table = measures([158, 1], [118, 1], [236, 1], [35, 1])

    assert table["accuracy"] == pytest.approx([394 / 547, 0.5])


def test_a_score_at_the_cutoff_is_called_malignant():
    points = roc([True, False], [0.4, 0.2])

    assert points.cutoff.tolist() == [math.inf, 0.4, 0.2]
    assert points.sensitivity.tolist() == [0, 1, 1]
    assert points.specificity.tolist() == [1, 1, 0]


@given(cases=scored)
def test_roc_points_are_the_tables_at_each_cutoff(cases):
    truth, score = (np.array(x) for x in zip(*cases, strict=True))
    if truth.all() or not truth.any():
        return

    for cutoff, sensitivity, specificity in zip(*roc(truth, score), strict=True):
        table = measures(*confusion(truth, score >= cutoff))
        assert (table["sensitivity"], table["specificity"]) == pytest.approx((sensitivity, specificity))


@given(cases=scored)
def test_auc_of_swapped_labels_is_one_less_auc(cases):
    truth, score = (np.array(x) for x in zip(*cases, strict=True))

    assert auc(~truth, score) == pytest.approx(1 - auc(truth, score), nan_ok=True)


@given(cases=scored)
def test_auc_counts_pairs_and_ties_half(cases):
    truth, score = (np.array(x, dtype=float) for x in zip(*cases, strict=True))
    gaps = score[truth == 1][:, None] - score[truth == 0]

    expected = np.mean(np.sign(gaps) / 2 + 0.5) if gaps.size else math.nan

    assert auc(truth, score) == pytest.approx(expected, nan_ok=True)


@given(cases=scored, seed=st.integers(0, 99))
def test_a_weight_of_two_is_a_case_twice(cases, seed):
    truth, score = (np.array(x) for x in zip(*cases, strict=True))
    times = np.random.default_rng(seed).integers(0, 3, truth.size)

    weighted = auc(truth, score, times[None].astype(float))[0]

    repeated = (np.repeat(x, times) for x in (truth, score))
    assert weighted == pytest.approx(auc(*repeated) if times.any() else math.nan, nan_ok=True)


def test_a_table_knows_its_cases():
    assert Counts(158, 118, 236, 35).n == 547
