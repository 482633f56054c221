"""Patches become nodes: the pieces of a long one together, those that are none left out."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cln.imaging.measurement import split_nodes
from napari_cln.network.patches import join_pieces, keep_nodes

ROWS, COLUMNS = np.mgrid[:96, :160]


def ellipse(row: float, column: float, half_height: float, half_width: float) -> np.ndarray:
    return ((ROWS - row) / half_height) ** 2 + ((COLUMNS - column) / half_width) ** 2 < 1


def joined(probability: np.ndarray) -> np.ndarray:
    probability = probability.astype(np.float32)
    return join_pieces(probability, split_nodes(probability, 0.5, 1), 0.5)


def test_a_long_node_with_an_unsure_middle_is_one():
    node = ellipse(48, 80, 14, 60)
    probability = np.where(node, 0.9, 0.02)
    probability[node & (abs(COLUMNS - 80) < 12)] = 0.35

    assert split_nodes(probability.astype(np.float32), 0.5, 1).max() == 2
    assert np.array_equal(joined(probability), node)


def test_the_pieces_of_a_node_in_three_are_one():
    node = ellipse(48, 80, 14, 70)
    probability = np.where(node, 0.9, 0.02)
    probability[node & ((abs(COLUMNS - 55) < 5) | (abs(COLUMNS - 105) < 5))] = 0.3

    assert joined(probability).max() == 1


@pytest.mark.parametrize("between", [0.0, 0.35])
def test_two_nodes_side_by_side_stay_two(between):
    left, right = ellipse(48, 45, 25, 25), ellipse(48, 105, 25, 25)
    bridge = (abs(ROWS - 48) < 6) & (COLUMNS > 45) & (COLUMNS < 105)
    probability = np.where(bridge, between, 0.02)
    probability[left | right] = 0.9

    found = joined(probability)

    assert found.max() == 2
    assert np.array_equal(found > 0, left | right)


def test_a_gap_that_the_network_is_sure_of_parts_two_nodes():
    node = ellipse(48, 80, 14, 60)
    probability = np.where(node, 0.9, 0.02)
    probability[abs(COLUMNS - 80) < 4] = 0.1

    assert joined(probability).max() == 2


def test_what_is_taken_for_no_node_goes_and_the_others_are_numbered_anew():
    instances = np.zeros((96, 160), np.uint8)
    instances[ellipse(48, 40, 30, 30)] = 1
    instances[ellipse(48, 100, 20, 20)] = 2
    instances[ellipse(48, 140, 10, 10)] = 3

    kept = keep_nodes(instances, np.array([0.1, 0.9, 0.5]), 0.5)

    assert np.array_equal(kept == 1, instances == 2)
    assert np.array_equal(kept == 2, instances == 3)
    assert kept.max() == 2
