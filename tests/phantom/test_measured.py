"""What is measured beside the grey image: stiffness and wash-in, each with a best score that is known."""

import numpy as np
import pytest

from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.simulated import simulate_folder
from napari_cln.phantom import simulate
from napari_cln.phantom.elasticity import draw_stiffness, stiffness_log_ratio
from napari_cln.phantom.perfusion import (
    ARRIVAL_S,
    DYNAMIC_RANGE_DB,
    FULL_SCALE,
    ContrastClip,
    Perfusion,
    draw_perfusion,
    perfusion_log_ratio,
)
from napari_cln.study.statistics.metrics import auc

N = 6000


@pytest.fixture(scope="module")
def truths():
    return np.random.default_rng(0).random(N) < 0.5


def test_stiffness_tells_as_much_as_its_densities_say(truths):
    rng = np.random.default_rng(1)
    drawn = [stiffness_log_ratio(draw_stiffness(rng, bool(truth))) for truth in truths]

    assert auc(truths, drawn) == pytest.approx(0.761, abs=0.015)


def test_wash_in_tells_as_much_as_its_densities_say(truths):
    rng = np.random.default_rng(2)
    drawn = [perfusion_log_ratio(draw_perfusion(rng, bool(truth))) for truth in truths]

    # d' of 0.898 and 0.838 together make 1.228
    assert auc(truths, drawn) == pytest.approx(0.807, abs=0.015)


@pytest.mark.slow
def test_an_elastogram_changes_nothing_but_its_colours():
    plain, shown = simulate(7, n_nodes=1), simulate(7, n_nodes=1, stiffness=True)

    assert np.array_equal(plain.clean, shown.clean)
    assert np.array_equal(plain.instances, shown.instances)
    changed = (plain.frame.pixels != shown.frame.pixels).any(axis=2)
    assert not (changed & np.isnan(shown.stiffness) & ~shown.overlay).any()


@pytest.mark.slow
def test_an_elastogram_shows_the_nodes_stiffness():
    for seed in (7, 8):
        shown = simulate(seed, n_nodes=1, stiffness=True)
        inner = shown.stiffness[shown.instances == 1]

        assert np.nanmedian(inner) == pytest.approx(shown.stiffness_kpa[0], rel=0.2)


@pytest.mark.slow
def test_no_shear_wave_runs_in_a_vessel():
    shown = next(
        p for p in (simulate(seed, stiffness=True) for seed in range(9)) if "carotid" in p.structures
    )

    assert np.isnan(shown.stiffness[shown.structures["carotid"]]).all()


def test_a_wash_in_peaks_when_it_says_and_rises_as_long():
    node = Perfusion(arrival_s=3.0, peak_s=8.0, ratio=2.0)
    seconds = np.linspace(0, 40, 4001)
    curve = node.at(seconds)

    assert seconds[curve.argmax()] == pytest.approx(11.0, abs=0.01)
    assert curve.max() == pytest.approx(2.0)
    low, high = (seconds[np.flatnonzero(curve >= share * 2.0)[0]] for share in (0.1, 0.9))
    assert high - low == pytest.approx(node.rise_s, abs=0.02)


@pytest.fixture(scope="module")
def clip():
    made = ContrastClip(3, 6, seconds=21.0)
    return made, list(made)


@pytest.mark.slow
def test_the_agents_view_gives_the_intensity_back(clip):
    made, frames = clip
    for phantom in frames[1:]:
        seconds = phantom.frame.index * phantom.frame.frame_time_s
        rows, columns = np.nonzero(phantom.instances == 1)
        shown = phantom.clean[rows, columns + made.view] / 255
        seen = (FULL_SCALE * 10 ** ((shown - 1) * DYNAMIC_RANGE_DB / 10)).mean()

        expected = made.nodes[0].at(np.array([seconds]))[0]
        if seconds > ARRIVAL_S + 2:
            assert seen == pytest.approx(expected, rel=0.1)


@pytest.mark.slow
def test_two_views_of_one_scale_stand_side_by_side(clip):
    made, frames = clip
    one, other = (region.box for region in frames[0].frame.regions)

    assert (one[2] - one[0], one[3] - one[1]) == (other[2] - other[0], other[3] - other[1])
    assert other[1] - one[1] == made.view


@pytest.mark.slow
def test_breathing_moves_the_node_and_nothing_else_about_it(clip):
    _, frames = clip
    tops = {int(np.flatnonzero(p.instances.any(axis=1))[0]) for p in frames}
    areas = {np.count_nonzero(p.instances) for p in frames}

    assert len(tops) > 1
    assert len(areas) == 1


@pytest.mark.slow
def test_a_simulated_record_changes_no_pixel_and_raises_what_can_be_known(tmp_path):
    plain = list(simulate_folder(tmp_path / "plain", 4, 5))
    with_record = list(simulate_folder(tmp_path / "record", 4, 5, clinical=True))
    again = list(simulate_folder(tmp_path / "record", 4, 5, clinical=True))

    assert [case.id for case in plain] == [case.id for case in with_record] == [case.id for case in again]
    assert len({case.patient for case in with_record}) == 4  # a record is of one frame
    folder = TrainingFolder.open(tmp_path / "record")
    records = [folder.record(case.id) for case in with_record]
    assert all(record.clinical for record in records)
    bests = [TrainingFolder.open(tmp_path / "plain").record(case.id).p_malignant for case in plain]
    assert [record.p_malignant for record in records] != bests
