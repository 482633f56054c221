"""Flow of simulated nodes: known to the pixel, and no change to what is simulated without it."""

import numpy as np
import pytest

from napari_cln.phantom import simulate
from napari_cln.phantom.flow import PATTERNS, SHARES, flow_log_ratio

pytestmark = pytest.mark.slow  # its frames take seconds to make


@pytest.mark.parametrize("seed", [1, 4])
def test_tissue_and_nodes_are_the_same_without_doppler(seed):
    plain, coloured = simulate(seed), simulate(seed, doppler=True)

    assert np.array_equal(plain.clean, coloured.clean)
    assert np.array_equal(plain.instances, coloured.instances)
    assert plain.nodes == coloured.nodes
    assert plain.flow is None and plain.flow_patterns == ()


def test_colour_lies_where_the_truth_says_and_nowhere_else():
    phantom = simulate(9, n_nodes=2, overlays=False, doppler=True)
    pixels = phantom.frame.pixels

    coloured = pixels.max(axis=2) != pixels.min(axis=2)

    assert np.array_equal(coloured, phantom.flow)
    assert len(phantom.flow_patterns) == 2


def test_flow_lies_in_its_box():
    phantom = simulate(9, n_nodes=2, doppler=True)
    row0, column0, row1, column1 = phantom.flow_box
    outside = phantom.flow.copy()
    outside[row0:row1, column0:column1] = False

    assert not outside.any()


def test_the_best_score_follows_from_the_shares():
    assert sum(SHARES[0]) == pytest.approx(1) and sum(SHARES[1]) == pytest.approx(1)
    assert flow_log_ratio("mixed") == pytest.approx(np.log(0.35 / 0.02))
    assert {flow_log_ratio(pattern) > 0 for pattern in PATTERNS} == {True, False}
