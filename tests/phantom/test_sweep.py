"""Sweeps across a simulated node: its section grows and shrinks, and its signs show in some frames."""

import numpy as np
import pytest

from napari_cln.imaging.tracking import shift_between
from napari_cln.phantom.motion import Sweep

pytestmark = pytest.mark.slow  # its frames take seconds to make


@pytest.fixture(scope="module")
def frames():
    return list(Sweep(3, 7))


def test_a_section_is_largest_in_the_middle(frames):
    areas = [np.count_nonzero(phantom.instances) for phantom in frames]

    assert areas[3] == max(areas) > 4 * areas[0]
    assert areas == pytest.approx(areas[::-1], rel=0.05)


def test_the_same_seed_gives_the_same_sweep(frames):
    (first, *_) = Sweep(3, 7)

    assert np.array_equal(first.clean, frames[0].clean)


def test_a_sign_shows_in_some_sections_alone():
    sweeps = [Sweep(seed, 9) for seed in range(30)]
    with_hilum = next(sweep for sweep in sweeps if sweep._whole.signs.hilum)

    shown = [bool(p.placed and p.placed[0].signs.hilum) for p in with_hilum]

    assert True in shown and False in shown


def test_the_whole_node_knows_more_than_a_section(frames):
    sweep = Sweep(3, 7)

    assert sweep.node.p_malignant is not None
    assert {p.nodes[0].truth for p in frames if p.nodes} == {sweep.node.truth}


def test_breathing_moves_picture_and_mask_together():
    still, moved = (list(Sweep(3, 3, breath_mm=mm))[1] for mm in (0.0, 6.0))

    way, _ = shift_between(still.clean, moved.clean)
    tops = [int(np.flatnonzero(p.instances.any(axis=1))[0]) for p in (still, moved)]
    assert abs(way - (tops[1] - tops[0])) <= 8
