"""Agreement against R: base, psych 2.2.9 (ICC) and vcd 1.4-11 (kappa)."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cln.study.statistics.agreement import bland_altman, icc, kappa

ONE = np.array([10.2, 11.5, 9.8, 12.1, 10.9, 8.7, 13.3, 11.1, 9.5, 10.0, 12.8, 7.9])
TWO = np.array([10.0, 11.9, 9.1, 12.6, 10.2, 9.0, 12.9, 11.8, 9.6, 9.7, 13.1, 8.4])


def test_icc_equals_psych():
    agreement = icc(ONE, TWO)

    assert (agreement.value, agreement.low, agreement.high) == pytest.approx(
        (0.9595331727, 0.8666080707, 0.9881679042), abs=1e-9
    )


def test_icc_pays_for_a_constant_difference():
    agreement = icc(ONE, TWO + 1.1)

    assert (agreement.value, agreement.low, agreement.high) == pytest.approx(
        (0.7724585551, -0.05629039888, 0.9534416721), abs=1e-9
    )


def test_bland_altman_equals_base_r():
    limits = bland_altman(ONE, TWO)

    assert (limits.bias.value, limits.bias.low, limits.bias.high) == pytest.approx(
        (-0.041666666667, -0.34992168274456, 0.26658834941123), abs=1e-11
    )
    assert (limits.lower_limit.value, limits.upper_limit.value) == pytest.approx(
        (-0.99255988932695, 0.90922655599362), abs=1e-11
    )


def test_kappa_equals_vcd():
    table = np.array([[40, 5, 2], [7, 30, 4], [3, 6, 20]])
    cell = np.repeat(np.arange(9), table.ravel())

    agreement = kappa(cell // 3, cell % 3)

    assert (agreement.value, agreement.low, agreement.high) == pytest.approx(
        (0.645215633423, 0.528505105922, 0.761926160925), abs=1e-11
    )


def test_readers_may_use_words():
    assert kappa(["benign", "malignant"], ["benign", "malignant"]).value == 1


def test_equal_measurements_agree_wholly():
    assert icc(ONE, ONE).value == 1
    assert bland_altman(ONE, ONE).bias.value == 0


def test_too_few_pairs_have_no_agreement():
    assert math.isnan(bland_altman([1.0], [2.0]).bias.value)
    assert math.isnan(icc([1, 2], [1, 2]).value)
    assert math.isnan(icc([5, 5, 5], [5, 5, 5]).value)
    assert math.isnan(kappa([], []).value)
    assert math.isnan(kappa(["benign"], ["benign"]).value)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=3, max_size=30))
def test_agreement_does_not_ask_who_came_first(pairs):
    a, b = (np.array(x, dtype=float) for x in zip(*pairs, strict=True))

    assert icc(a, b).value == pytest.approx(icc(b, a).value, nan_ok=True)
    assert bland_altman(a, b).bias.value == pytest.approx(-bland_altman(b, a).bias.value)
    assert kappa(a, b).value == pytest.approx(kappa(b, a).value, nan_ok=True)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=3, max_size=30))
def test_intervals_of_agreement_hold_their_estimate(pairs):
    a, b = (np.array(x, dtype=float) for x in zip(*pairs, strict=True))

    for estimate in (icc(a, b), kappa(a, b)):
        if not math.isnan(estimate.low):
            assert estimate.low - 1e-9 <= estimate.value <= estimate.high + 1e-9
