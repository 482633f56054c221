"""The best possible score is exact: it is calibrated, and its AUC is between 0.93 and 0.95."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, mannwhitneyu

from napari_cln.phantom import NodeSigns, draw_signs, malignancy_of

N = 20_000


@pytest.fixture(scope="module")
def drawn():
    """Classes and best scores of many nodes."""
    rng = np.random.default_rng(2024)
    metastatic = rng.random(N) < 0.5
    scores = np.array([malignancy_of(draw_signs(rng, bool(truth))) for truth in metastatic])
    return metastatic, scores


@pytest.mark.slow
def test_of_nodes_with_one_score_that_part_is_metastatic(drawn):
    metastatic, scores = drawn
    edges = np.linspace(0, 1, 11)
    for low, high in pairwise(edges):
        within = (scores >= low) & (scores < high)
        n, k = int(within.sum()), int(metastatic[within].sum())
        # 99.99 % limits: ten bins of a right score leave them once in a thousand draws.
        assert binom.ppf(5e-5, n, scores[within].mean()) <= k <= binom.ppf(1 - 5e-5, n, scores[within].mean())


def test_the_best_possible_auc_is_between_93_and_95_percent(drawn, record_property):
    metastatic, scores = drawn
    benign = N - metastatic.sum()

    auc = mannwhitneyu(scores[metastatic], scores[~metastatic]).statistic / (metastatic.sum() * benign)

    record_property("best node AUC", float(auc))
    assert 0.935 < auc < 0.95


@given(
    ratio=st.floats(1.08, 3.2),
    echo=st.floats(-18, -6),
    hilum=st.sampled_from([0.0, 0.3, 0.5]),
    border=st.floats(0.01, 0.07),
)
def test_cysts_and_calcifications_only_ever_raise_the_score(ratio, echo, hilum, border):
    def score(cyst: float, calcifications: int) -> float:
        return malignancy_of(
            NodeSigns(
                axis_ratio=ratio,
                echo_db=echo,
                hilum=hilum,
                cyst=cyst,
                calcifications=calcifications,
                border=border,
            )
        )

    assert 0 < score(0, 0) < score(0.2, 0) < score(0.2, 5) < 1


@given(seed=st.integers(0, 2**32), metastatic=st.booleans())
def test_signs_stay_within_their_ranges(seed, metastatic):
    signs = draw_signs(np.random.default_rng(seed), metastatic)

    assert 1.08 <= signs.axis_ratio <= 3.2 + 1e-9
    assert -18 <= signs.echo_db <= -6
    assert signs.hilum == 0 or 0.26 <= signs.hilum <= 0.56
