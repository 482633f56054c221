"""Matching of nodes, precision and recall, worked out by hand and against brute force."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_cln.study.detection import Pair, average_precision, froc, match_nodes

instances = arrays(np.uint8, (4, 5), elements=st.integers(0, 3))


def blank():
    return np.zeros((20, 30), np.uint8)


def test_each_node_finds_its_partner():
    reference, predicted = blank(), blank()
    reference[2:6, 2:6], reference[10:14, 20:24] = 1, 2
    predicted[2:6, 2:6], predicted[10:14, 21:25] = 2, 1

    assert match_nodes(predicted, reference) == (
        Pair(1, 2, 1.0, 1.0),
        Pair(2, 1, pytest.approx(12 / 20), pytest.approx(24 / 32)),
    )


def test_a_missed_node_and_a_stray_one_stand_alone():
    reference, predicted = blank(), blank()
    reference[2:6, 2:6], predicted[10:14, 20:24] = 1, 1

    assert match_nodes(predicted, reference) == (Pair(1, 0, 0, 0), Pair(0, 1, 0, 0))


def test_two_halves_are_one_find_and_one_stray():
    reference, predicted = blank(), blank()
    reference[2:6, 2:10] = 1
    predicted[2:6, 2:7], predicted[2:6, 8:10] = 1, 2

    pairs = match_nodes(predicted, reference)

    assert [(p.reference, p.predicted) for p in pairs] == [(1, 1), (0, 2)]


def test_instances_of_different_frames_are_refused():
    with pytest.raises(ValueError, match="the same frame"):
        match_nodes(blank(), blank()[1:])


@given(predicted=instances, reference=instances)
def test_the_matching_is_the_best_of_all(predicted, reference):
    def overlap(i, j):
        union = ((reference == i) | (predicted == j)).sum()
        return ((reference == i) & (predicted == j)).sum() / union if union else 0

    best = max(
        sum(overlap(i, j) for i, j in zip((1, 2, 3), order, strict=True))
        for order in itertools.permutations((1, 2, 3))
    )

    pairs = match_nodes(predicted, reference)

    assert sum(p.iou for p in pairs) == pytest.approx(best)
    assert sorted(p.reference for p in pairs if p.reference) == sorted(set(np.unique(reference)) - {0})
    assert sorted(p.predicted for p in pairs if p.predicted) == sorted(set(np.unique(predicted)) - {0})


def test_average_precision_worked_by_hand():
    # Precision 1 at recall 1/4, then 2/3 at 2/4 and 3/5 at 3/4; the fourth node is never found.
    hits = [True, False, True, False, True]

    assert average_precision([0.9, 0.8, 0.7, 0.6, 0.5], hits, 4) == pytest.approx((1 + 2 / 3 + 3 / 5) / 4)


def test_a_detector_that_finds_all_and_only_nodes_is_perfect():
    assert average_precision([0.9, 0.4], [True, True], 2) == 1
    assert average_precision([], [], 2) == 0
    assert math.isnan(average_precision([0.4], [False], 0))


def test_equal_confidences_fall_together():
    assert average_precision([0.5, 0.5], [True, False], 1) == average_precision([0.5, 0.5], [False, True], 1)


def test_froc_counts_false_finds_a_frame():
    curve = froc([0.9, 0.8, 0.7], [True, False, True], n_reference=4, n_frames=2)

    assert curve.confidence.tolist() == [math.inf, 0.9, 0.8, 0.7]
    assert curve.sensitivity.tolist() == [0, 0.25, 0.25, 0.5]
    assert curve.false_per_frame.tolist() == [0, 0, 0.5, 0.5]
