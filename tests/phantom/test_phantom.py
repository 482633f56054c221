"""Simulated frames: deterministic, with exact truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label

from napari_cln.imaging.measurement import measure
from napari_cln.phantom import MACHINES, simulate, simulate_cine

SEEDS = range(40, 52)
KEPT_CLEAR = ("carotid", "jugular", "trachea", "bone", "thyroid")


@pytest.fixture(scope="module", params=SEEDS)
def phantom(request):
    return simulate(request.param)


def test_the_same_seed_gives_the_same_frame():
    a, b = simulate(11), simulate(11)

    np.testing.assert_array_equal(a.frame.pixels, b.frame.pixels)
    np.testing.assert_array_equal(a.instances, b.instances)
    assert a.nodes == b.nodes


def test_another_seed_gives_another_frame():
    a, b = (simulate(seed, machine="ge-like", n_nodes=1) for seed in (1, 2))

    assert a.placed[0].signs != b.placed[0].signs


def test_overlays_change_nothing_beneath_them():
    shown, bare = simulate(3), simulate(3, overlays=False)

    np.testing.assert_array_equal(shown.clean, bare.clean)
    np.testing.assert_array_equal(bare.frame.pixels, bare.clean)
    assert not bare.overlay.any()


@pytest.mark.slow
def test_the_machine_changes_neither_signs_nor_class():
    truths = {
        (phantom.placed[0].signs, phantom.nodes[0].truth)
        for phantom in (simulate(5, machine=name, n_nodes=1, overlays=False) for name in MACHINES)
    }

    assert len(truths) == 1


def test_pixels_differ_from_the_clean_frame_only_under_the_overlay(phantom):
    differs = (phantom.frame.pixels != phantom.clean[..., None]).any(axis=-1)

    assert differs.any()
    assert not (differs & ~phantom.overlay).any()


def test_the_clean_frame_is_black_outside_the_scan_area(phantom):
    row0, column0, row1, column1 = phantom.frame.scan_area
    outside = np.ones(phantom.clean.shape, dtype=bool)
    outside[row0:row1, column0:column1] = False

    assert not phantom.clean[outside].any()


def test_every_node_lies_whole_inside_the_scan_area(phantom):
    row0, column0, row1, column1 = phantom.frame.scan_area
    inner = phantom.instances[row0 + 3 : row1 - 3, column0 + 3 : column1 - 3]

    assert (inner > 0).sum() == (phantom.instances > 0).sum()


def test_every_node_is_one_piece_with_its_own_id(phantom):
    assert sorted(set(np.unique(phantom.instances)) - {0}) == [node.id for node in phantom.nodes]
    for node in phantom.nodes:
        assert label(phantom.instances == node.id)[1] == 1


def test_nodes_are_numbered_from_the_largest():
    areas = np.bincount(simulate(8, n_nodes=3).instances.ravel())[1:]

    assert len(areas) == 3
    assert (np.diff(areas) <= 0).all()


def test_no_node_lies_on_a_vessel_the_airway_bone_or_thyroid(phantom):
    for name in KEPT_CLEAR:
        if name in phantom.structures:
            assert not (phantom.structures[name] & (phantom.instances > 0)).any(), name


@pytest.mark.parametrize("seed", range(60, 72))
def test_the_masks_axes_are_the_signs_drawn(seed):
    phantom = simulate(seed, n_nodes=1, overlays=False)

    measured = measure(phantom.instances == 1, phantom.frame.spacing_mm)

    assert measured.axis_ratio == pytest.approx(phantom.placed[0].signs.axis_ratio, rel=0.05)
    assert measured.long_axis_mm == pytest.approx(phantom.placed[0].axes_mm[0], rel=0.025)


@pytest.mark.slow
def test_frames_without_nodes_hold_what_mimics_them():
    for seed in range(6):
        phantom = simulate(seed, n_nodes=0, overlays=False)

        assert phantom.nodes == ()
        assert phantom.malignancy == 0
        assert phantom.label == "unknown"
        assert phantom.structures["carotid"].any() or phantom.structures.get("muscle", np.zeros(1)).any()


def test_the_frames_score_is_that_of_at_least_one_metastatic_node():
    phantom = simulate(9, n_nodes=2, overlays=False)
    a, b = (node.p_malignant for node in phantom.nodes)

    assert phantom.malignancy == pytest.approx(a + b - a * b)


def test_the_millimetres_are_those_of_the_depth(phantom):
    row0, _, row1, _ = phantom.frame.scan_area
    row_mm, column_mm = phantom.frame.spacing_mm

    assert round((row1 - row0) * row_mm, 6) in (25, 30, 35, 40, 45, 50)
    assert row_mm == pytest.approx(column_mm, rel=0.01)


@pytest.mark.slow
def test_vessels_are_darker_than_nodes_and_nodes_than_what_surrounds_them():
    levels = []
    for seed in range(20, 32):
        phantom = simulate(seed, n_nodes=1, overlays=False)
        node = phantom.instances > 0
        row0, column0, row1, column1 = phantom.frame.scan_area
        tissue = np.zeros_like(node)
        tissue[(row0 + row1) // 2 : row1, column0:column1] = True
        for mask in phantom.structures.values():
            tissue &= ~mask
        vessel = phantom.structures["carotid"]
        levels.append([np.median(phantom.clean[where]) for where in (vessel, node, tissue & ~node)])

    vessel, node, tissue = np.mean(levels, axis=0)
    assert vessel < 15 < node - 10
    assert node + 25 < tissue


def test_a_cine_moves_the_node_across_the_screen():
    frames = list(simulate_cine(4, 3, n_nodes=1, slide_mm=3.0))
    columns = [np.nonzero(phantom.instances)[1].mean() for phantom in frames]
    column_mm = frames[0].frame.spacing_mm[1]

    assert (columns[0] - columns[2]) * column_mm == pytest.approx(3.0, abs=0.1)
    assert frames[0].nodes == frames[2].nodes


def test_speckle_moves_with_the_tissue():
    first, second = simulate_cine(4, 2, machine="mindray-like", n_nodes=1, slide_mm=2.0)
    row0, column0, row1, column1 = first.frame.scan_area
    moved = round(2.0 / first.frame.spacing_mm[1])
    deep = np.s_[(row0 + row1) // 2 : row1, column0 + moved : column1]
    stayed = np.s_[(row0 + row1) // 2 : row1, column0 : column1 - moved]

    with_tissue = np.corrcoef(first.clean[deep].ravel(), second.clean[stayed].ravel())[0, 1]

    assert with_tissue > 0.9


def test_an_unknown_machine_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no machine 'x-ray'.*ge-like"):
        simulate(0, machine="x-ray")


def test_four_nodes_are_refused():
    with pytest.raises(ValueError, match=r"0 to 3 nodes, not 4"):
        simulate(0, n_nodes=4)
