"""Intervals and tests against figures printed by R 4.2 (base, pROC 1.18) and the paper's own rows."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cln.study.statistics.intervals import (
    Resampling,
    auc_interval,
    bootstrap,
    compare_auc,
    likelihood_ratios,
    mcnemar,
    median_interval,
    predictive_values,
    proportion,
    sample_size,
)
from napari_cln.study.statistics.metrics import Counts, auc, measures, roc

PAPER = Counts(tp=158, fn=118, tn=236, fp=35)
counts = st.integers(0, 500)


@pytest.fixture(scope="module")
def asah(data: Path) -> np.ndarray:
    return np.genfromtxt(data / "asah" / "ranks.csv", delimiter=",", names=True)


@pytest.mark.parametrize(("method", "low", "high"), [("wilson", 0.0624, 0.1605), ("exact", 0.0578, 0.1617)])
def test_the_interval_of_15_in_148_is_newcombes(method, low, high):
    share = proportion(15, 148, method)

    assert (round(share.low, 4), round(share.high, 4)) == (low, high)


@pytest.mark.parametrize(
    ("k", "n", "percent", "wilson", "exact"),
    [
        (158, 276, 57.25, (51.35, 62.94), (51.18, 63.16)),
        (236, 271, 87.08, (82.57, 90.57), (82.50, 90.84)),
        (394, 547, 72.03, (68.12, 75.63), (68.06, 75.75)),
        (158, 193, 81.87, (75.82, 86.66), (75.69, 87.03)),
        (236, 354, 66.67, (61.60, 71.38), (61.49, 71.56)),
    ],
)
def test_the_papers_first_row_has_these_intervals(k, n, percent, wilson, exact):
    for method, expected in (("wilson", wilson), ("exact", exact)):
        share = proportion(k, n, method)
        assert (round(100 * share.value, 2), share.n) == (percent, n)
        assert (round(100 * share.low, 2), round(100 * share.high, 2)) == expected


def test_likelihood_ratios_of_the_papers_first_row():
    positive, negative = likelihood_ratios(PAPER)

    assert [round(x, 3) for x in (positive.value, positive.low, positive.high)] == [4.433, 3.201, 6.138]
    assert [round(x, 3) for x in (negative.value, negative.low, negative.high)] == [0.491, 0.425, 0.567]


def test_delong_interval_equals_proc(asah):
    s100b, ndka = (auc_interval(asah["poor"], asah[name]) for name in ("s100b", "ndka"))

    assert (s100b.value, s100b.low, s100b.high) == pytest.approx(
        (0.731368563686, 0.630118211762, 0.832618915610), abs=1e-11
    )
    assert (ndka.value, ndka.low, ndka.high) == pytest.approx(
        (0.611957994580, 0.501244999272, 0.722670989888), abs=1e-11
    )


def test_paired_delong_test_equals_proc(asah):
    with_ndka = compare_auc(asah["poor"], asah["s100b"], asah["ndka"])
    with_wfns = compare_auc(asah["poor"], asah["s100b"], asah["wfns"])

    assert (with_ndka.z, with_ndka.p) == pytest.approx((1.390770025736, 0.164295175223), abs=1e-11)
    assert (with_ndka.difference.low, with_ndka.difference.high) == pytest.approx(
        (-0.0488706064228, 0.2876917446342), abs=1e-11
    )
    assert (with_wfns.z, with_wfns.p) == pytest.approx((-2.2089835914409, 0.0271757822292), abs=1e-11)


def test_the_best_point_of_youden_equals_procs(asah):
    points = roc(asah["poor"], asah["s100b"])
    best = np.argmax(points.sensitivity + points.specificity)

    assert points.sensitivity[best] == pytest.approx(0.634146341463, abs=1e-11)
    assert points.specificity[best] == pytest.approx(0.805555555556, abs=1e-11)


def test_a_score_compared_with_itself_differs_by_nothing(asah):
    same = compare_auc(asah["poor"], asah["s100b"], asah["s100b"])

    assert (same.difference.value, same.z, same.p) == (0, 0, 1)


def test_mcnemar_equals_base_r():
    test = mcnemar(86, 150)

    assert (test.chi2, test.p) == pytest.approx((17.3559322, 3.09929344e-05), rel=1e-8)
    assert (test.chi2_corrected, test.p_corrected) == pytest.approx((16.81779661, 4.11456228e-05), rel=1e-8)
    assert test.p_exact == pytest.approx(3.71593613957e-05, rel=1e-10)


def test_without_discordant_pairs_nothing_differs():
    assert mcnemar(0, 0).p_exact == 1


def test_the_interval_of_an_auc_near_1_stays_inside_on_the_logit_scale():
    truth = np.repeat([False, True], 30)
    score = np.concatenate([np.linspace(0.0, 0.52, 30), np.linspace(0.5, 1, 30)])

    plain, logit = (auc_interval(truth, score, method) for method in ("delong", "logit"))

    assert plain.high == 1
    assert plain.value == logit.value < logit.high < 1


def test_separated_classes_do_not_make_a_sure_auc():
    truth = np.repeat([False, True], 10)

    best, worst = auc_interval(truth, truth), auc_interval(truth, ~truth)

    assert (best.value, best.high) == (1, 1)
    assert 0.7 < best.low < 0.9
    assert (worst.low, worst.high) == pytest.approx((0, 1 - best.low), abs=1e-6)


def test_one_class_alone_has_no_auc():
    assert math.isnan(auc_interval([True, True], [0.2, 0.4]).value)
    assert math.isnan(compare_auc([True, False], [0.2, 0.4], [0.1, 0.2]).p)


def test_no_two_aucs_lie_further_apart_than_one():
    truth = [True, True, False, False, False]

    found = compare_auc(truth, [0.5, 0.1, 0.3, 0.2, 0.6], [0.9, 0.8, 0.3, 0.2, 0.1]).difference

    assert found.value == pytest.approx(-2 / 3)
    assert found.low == -1
    assert found.value < found.high <= 1


def test_a_share_of_nothing_is_not_a_number():
    share = proportion(0, 0)

    assert share.n == 0
    assert math.isnan(share.value)


def test_median_interval_is_made_of_order_statistics():
    interval = median_interval(np.arange(1, 101))

    assert (interval.value, interval.low, interval.high) == (50.5, 40, 61)
    assert math.isnan(median_interval(np.arange(5)).low)
    assert math.isnan(median_interval([]).value)


def test_median_interval_agrees_with_the_bootstrap():
    values = np.sort(np.random.default_rng(0).beta(8, 2, 501))

    def median(weights):
        middle = np.cumsum(weights, axis=1) >= weights.sum(axis=1, keepdims=True) / 2
        return values[np.argmax(middle, axis=1)]

    low, high = bootstrap(median, np.arange(501))
    exact = median_interval(values)

    assert (low, high) == pytest.approx((exact.low, exact.high), abs=0.005)


def test_nodes_of_one_patient_widen_the_interval():
    rng = np.random.default_rng(1)
    of_patient = np.repeat(rng.random(60) < 0.5, 5).astype(float)

    def mean(weights):
        return weights @ of_patient / weights.sum(axis=1)

    alone = bootstrap(mean, np.arange(300))
    together = bootstrap(mean, np.repeat(np.arange(60), 5))

    assert together[1] - together[0] > 1.8 * (alone[1] - alone[0])


def test_the_same_seed_gives_the_same_interval():
    def first_case(weights):
        return weights[:, 0]

    assert bootstrap(first_case, range(9), Resampling(seed=4)) == bootstrap(
        first_case, range(9), Resampling(seed=4)
    )


def test_resamples_without_a_class_are_left_out():
    truth = np.array([True, False, False, False])

    low, high = bootstrap(lambda w: auc(truth, [0.9, 0.1, 0.2, 0.3], w), range(4))

    assert low == high == 1


def test_predictive_values_at_the_studys_own_prevalence_are_its_own():
    own = measures(*PAPER)

    positive, negative = predictive_values(PAPER, 276 / 547)

    assert (positive.value, negative.value) == pytest.approx((own["ppv"], own["npv"]))
    assert positive.low < positive.value < positive.high


def test_an_impossible_prevalence_says_what_to_give():
    with pytest.raises(ValueError, match=r"prevalence is 25: give a share between 0 and 1"):
        predictive_values(PAPER, 25)


def test_sample_size_is_the_smallest_that_reaches_the_width():
    n = sample_size(0.9, 0.05)
    z = 1.959963984540054

    def half_width(n):
        return z * math.sqrt(0.9 * 0.1 / n + z * z / (4 * n * n)) / (1 + z * z / n)

    assert half_width(n) <= 0.05 < half_width(n - 1)
    with pytest.raises(ValueError, match="give a share from 0 to 1"):
        sample_size(1.2, 0.05)


@settings(max_examples=30)
@given(tp=counts, fn=counts, tn=counts, fp=counts)
def test_intervals_hold_their_estimate(tp, fn, tn, fp):
    table = Counts(tp, fn, tn, fp)
    pairs = [(tp, tp + fn), (tn, tn + fp), (tp + tn, table.n), (tp, tp + fp), (tn, tn + fn)]
    estimates = [proportion(k, n, m) for k, n in pairs for m in ("wilson", "exact")]
    estimates += [*likelihood_ratios(table), *predictive_values(table, 0.2)]

    for estimate in estimates:
        assert math.isnan(estimate.value) or (estimate.low - 1e-12 <= estimate.value <= estimate.high + 1e-12)


scored = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=60)


@given(cases=scored)
def test_auc_intervals_hold_their_estimate_and_stay_inside(cases):
    truth, score = zip(*cases, strict=True)

    for method in ("delong", "logit"):
        interval = auc_interval(truth, np.array(score) / 20, method)
        assert math.isnan(interval.value) or (
            0 <= interval.low <= interval.value + 1e-9 and interval.value - 1e-9 <= interval.high <= 1
        )


@given(cases=scored, seed=st.integers(0, 99))
def test_the_order_of_cases_changes_nothing(cases, seed):
    truth, score = (np.array(x) for x in zip(*cases, strict=True))
    order = np.random.default_rng(seed).permutation(truth.size)

    one, other = auc_interval(truth, score), auc_interval(truth[order], score[order])

    assert (one.value, one.low, one.high) == pytest.approx(
        (other.value, other.low, other.high), nan_ok=True, abs=1e-12
    )
