"""Calibration against scikit-learn 1.9.1 and statsmodels 0.15.0."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from napari_cln.study.statistics.calibration import (
    brier,
    calibration_error_by_chance,
    calibration_line,
    decision_curve,
    expected_calibration_error,
    reliability,
)

TRUTH = np.array([0, 1, 0, 1, 1, 0, 0, 1, 1, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1, 1], bool)
SCORE = np.array([12, 81, 33, 45, 93, 8, 52, 71, 38, 21, 66, 61, 17, 88, 41, 29, 5, 25, 97, 55]) / 100


def test_the_line_equals_statsmodels():
    line = calibration_line(TRUTH, SCORE)

    z = 1.959963984540054
    for estimate, value, error in (
        (line.slope, 1.73544341, 0.8023748),
        (line.intercept, 0.37750893, 0.66845879),
        (line.in_the_large, 0.18176231, 0.54026727),
    ):
        assert (estimate.value, estimate.low) == pytest.approx((value, value - z * error), abs=1e-6)


def test_scores_that_are_the_true_chances_have_slope_1():
    rng = np.random.default_rng(0)
    score = rng.uniform(0.02, 0.98, 20_000)

    line = calibration_line(rng.random(20_000) < score, score)

    assert line.slope.low < 1 < line.slope.high
    assert line.in_the_large.low < 0 < line.in_the_large.high


@pytest.mark.parametrize(
    ("truth", "score"),
    [
        ([True, True], [0.4, 0.6]),
        ([True, False] * 4, [0.5] * 8),
        ([False, True] * 9, [0.1, 0.9] * 9),
    ],
    ids=["one class", "one score", "separated"],
)
def test_where_no_line_exists_none_is_drawn(truth, score):
    assert calibration_line(truth, score) is None


def test_sure_scores_do_not_break_the_line():
    truth, score = np.append(TRUTH, [True, False]), np.append(SCORE, [0.0, 1.0])

    assert calibration_line(truth, score).slope.value < calibration_line(TRUTH, SCORE).slope.value


def test_brier_is_the_mean_square():
    assert brier([True, False], [0.8, 0.4]) == pytest.approx((0.04 + 0.16) / 2)
    assert brier(TRUTH, SCORE, np.ones((3, 20))) == pytest.approx([brier(TRUTH, SCORE)] * 3)


def test_bins_are_closed_below_and_the_last_above_too():
    low, middle, top = reliability([True, False, True], [0.0, 0.1, 1.0])

    assert (low.mean_score, middle.mean_score, top.mean_score) == (0, 0.1, 1)
    assert expected_calibration_error([True, False, True], [0.0, 0.1, 1.0]) == pytest.approx(1.1 / 3)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=50))
def test_bins_hold_every_case_once(cases):
    truth, score = zip(*cases, strict=True)
    bins = reliability(truth, score)

    assert sum(b.n for b in bins) == len(cases)
    assert sum(b.positives for b in bins) == sum(truth)
    assert math.fsum(b.mean_score * b.n for b in bins) == pytest.approx(math.fsum(score))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=1, max_size=50), st.integers(1, 19))
def test_net_benefit_is_counted_at_the_threshold(cases, threshold):
    truth, score = (np.array(x) for x in zip(*cases, strict=True))
    called = score >= threshold
    t = threshold / 20

    benefit = decision_curve(truth, score / 20, [t])[0]

    n = truth.size
    assert benefit == pytest.approx((called & truth).sum() / n - (called & ~truth).sum() / n * t / (1 - t))


def test_a_resampled_error_is_that_of_the_drawn_cases():
    rng = np.random.default_rng(2)
    times = rng.multinomial(20, np.full(20, 1 / 20), size=5)

    found = expected_calibration_error(TRUTH, SCORE, times.astype(float))

    drawn = [np.repeat(np.arange(20), row) for row in times]
    assert found == pytest.approx([expected_calibration_error(TRUTH[i], SCORE[i]) for i in drawn])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
@example([0.001])
def test_what_chance_alone_makes_lies_within_its_range(score):
    expected = calibration_error_by_chance(score, draws=50)

    assert 0 <= expected.low <= expected.value <= expected.high <= 1 + 1e-9
    assert expected.n == len(score)


def test_a_right_score_shows_the_error_of_chance_and_a_bold_one_more():
    rng = np.random.default_rng(3)
    chance = rng.beta(1, 1, 400)
    truth = rng.random(400) < chance
    bold = np.clip(1.6 * (chance - 0.5) + 0.5, 0, 1)

    right, wrong = calibration_error_by_chance(chance), calibration_error_by_chance(bold)

    assert right.low <= expected_calibration_error(truth, chance) <= right.high
    assert expected_calibration_error(truth, bold) > wrong.high
    assert calibration_error_by_chance(chance[:40]).value > 2 * right.value


def test_one_case_is_told_with_the_error_that_it_must_have():
    # in seven of ten draws 0.3, else 0.7
    found = calibration_error_by_chance([0.7])

    assert (found.low, found.value, found.high) == pytest.approx((0.3, 0.3, 0.7))
