"""Radiomics against the reference values of the IBSI's digital phantom, and what a reader knows."""

from __future__ import annotations

import numpy as np
import pytest
from elastograms import elastogram_of
from scipy.special import ellipe

from napari_cln.errors import InputError
from napari_cln.imaging.radiomics import (
    CODES,
    cooccurrence_features,
    discretise,
    outline_length,
    radiomics,
    run_length_features,
    statistics,
    zone_features,
)
from napari_cln.phantom import simulate
from napari_cln.types import Frame

# The digital phantom of IBSI 1 (theibsi/ibsi-doc, CC BY 4.0): four slices; 0 lies outside the region.
PHANTOM = np.array(
    [
        [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [0, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
    ]
)
# Its reference values, statistics of the volume, textures "2D, averaged", as printed.
REFERENCE = {
    "stat_mean": "2.15", "stat_var": "3.05", "stat_skew": "1.08", "stat_kurt": "-0.355", "stat_median": "1",
    "stat_min": "1", "stat_p10": "1", "stat_p90": "4", "stat_max": "6", "stat_iqr": "3", "stat_range": "5",
    "stat_mad": "1.55", "stat_rmad": "1.11", "stat_medad": "1.15", "stat_cov": "0.812", "stat_qcod": "0.6",
    "stat_energy": "567", "stat_rms": "2.77",
    "cm_joint_max": "0.519", "cm_joint_avg": "2.14", "cm_joint_var": "2.69", "cm_joint_entr": "2.05",
    "cm_diff_avg": "1.42", "cm_diff_var": "2.90", "cm_diff_entr": "1.40", "cm_sum_avg": "4.28",
    "cm_sum_var": "5.47", "cm_sum_entr": "1.60", "cm_energy": "0.368", "cm_contrast": "5.28",
    "cm_dissimilarity": "1.42", "cm_inv_diff": "0.678", "cm_inv_diff_norm": "0.851",
    "cm_inv_diff_mom": "0.619",
    "cm_inv_diff_mom_norm": "0.899", "cm_inv_var": "0.0567", "cm_corr": "-0.0121", "cm_auto_corr": "5.09",
    "cm_clust_tend": "5.47", "cm_clust_shade": "7.00", "cm_clust_prom": "79.1", "cm_info_corr1": "-0.155",
    "cm_info_corr2": "0.487",
    "rlm_sre": "0.641", "rlm_lre": "3.78", "rlm_lgre": "0.604", "rlm_hgre": "9.82", "rlm_srlge": "0.294",
    "rlm_srhge": "8.57", "rlm_lrlge": "3.14", "rlm_lrhge": "17.4", "rlm_glnu": "5.20",
    "rlm_glnu_norm": "0.460",
    "rlm_rlnu": "6.12", "rlm_rlnu_norm": "0.492", "rlm_r_perc": "0.627", "rlm_gl_var": "3.35",
    "rlm_rl_var": "0.761", "rlm_rl_entr": "2.17",
    "szm_sze": "0.363", "szm_lze": "43.9", "szm_lgze": "0.371", "szm_hgze": "16.4", "szm_szlge": "0.0259",
    "szm_szhge": "10.3", "szm_lzlge": "40.4", "szm_lzhge": "113", "szm_glnu": "1.41",
    "szm_glnu_norm": "0.323",
    "szm_zsnu": "1.49", "szm_zsnu_norm": "0.333", "szm_z_perc": "0.240", "szm_gl_var": "3.97",
    "szm_zs_var": "21.0", "szm_zs_entr": "1.93",
}  # fmt: skip


def textures(levels):
    return cooccurrence_features(levels) | run_length_features(levels) | zone_features(levels)


@pytest.fixture(scope="module")
def of_phantom():
    slices = [textures(each) for each in PHANTOM]
    found = {f"stat_{name}": value for name, value in statistics(PHANTOM[PHANTOM > 0]).items()}
    return found | {name: float(np.mean([one[name] for one in slices])) for name in slices[0]}


@pytest.fixture(scope="module")
def calcified():
    phantoms = (simulate(seed, n_nodes=1) for seed in range(700_000, 700_060))
    return next(p for p in phantoms if p.placed[0].signs.calcifications)


def test_the_phantom_is_the_ibsis():
    assert np.count_nonzero(PHANTOM) == 74
    assert len(REFERENCE) == len(CODES) == 75


@pytest.mark.parametrize("name", REFERENCE)
def test_a_feature_has_the_reference_value(of_phantom, name):
    printed = REFERENCE[name]
    digits = len(printed.partition(".")[2])

    assert f"{of_phantom[name]:.{digits}f}" == printed


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_textures_do_not_change_when_a_node_is_turned(turns):
    levels = np.random.default_rng(3).integers(0, 7, (20, 31))

    assert textures(np.rot90(levels, turns)) == pytest.approx(textures(levels), rel=1e-12)


def test_levels_are_equal_steps_over_the_nodes_range():
    grey = np.array([[10.0, 20.0, 30.0, 200.0]])

    assert discretise(grey, grey < 100, 2).tolist() == [[1, 2, 2, 0]]


def test_a_node_of_one_grey_level_has_finite_features():
    node = np.zeros((40, 40), bool)
    node[10:30, 10:30] = True

    found = radiomics(Frame(pixels=np.full((40, 40), 90, np.uint8)), node)

    assert all(np.isfinite(list(found.features.values())))
    assert found.features["stat_var"] == 0


def test_without_millimetres_lengths_are_in_pixels():
    node = np.zeros((60, 60), bool)
    node[20:40, 10:50] = True
    frame = Frame(pixels=np.random.default_rng(0).integers(20, 200, (60, 60), dtype=np.uint8))

    found = radiomics(frame, node)

    assert (found.spacing_mm, found.grid_mm, found.features["shape_area"]) == (None, None, 800)


def ellipse(long, short, degrees=0.0, spacing=(1.0, 1.0)):
    """A turned ellipse of two half axes in its middle, in the unit of the spacing, and its circumference."""
    half = int(1.1 * long / min(spacing)) + 3
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1]
    y, x = rows * spacing[0], columns * spacing[1]
    turn = np.radians(degrees)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    mask = (along / long) ** 2 + (across / short) ** 2 <= 1
    return mask, 4 * long * ellipe(1 - (short / long) ** 2)


@pytest.mark.parametrize(
    ("shape", "off"),
    [
        ((5, 5), 0.02),
        ((10, 10), 0.01),
        ((40, 40), 0.01),
        ((100, 100), 0.01),
        ((100, 30), 0.01),
        ((100, 30, 34), 0.01),
        ((60, 10, 71), 0.01),
        ((6, 3, 20, (0.1, 0.05)), 0.01),
        ((6, 3, 70, (0.05, 0.12)), 0.01),
    ],
)
def test_the_perimeter_is_the_length_of_the_outline(shape, off):
    mask, length = ellipse(*shape)

    assert outline_length(mask, *shape[3:]) == pytest.approx(length, rel=off)


@pytest.mark.parametrize(
    ("size", "spacing", "off"),
    [
        ((159, 159), (1, 1), 0.01),
        ((19, 279), (0.1, 0.05), 0.015),
        ((19, 279), (0.05, 0.1), 0.015),
        ((1, 20), (1, 1), 0.01),
        ((1, 20), (0.1, 0.05), 0.03),
        ((20, 1), (1, 1), 0.01),
        ((2, 40), (1, 1), 0.02),
    ],
)
def test_the_perimeter_of_a_bar_is_twice_its_sides(size, spacing, off):
    sides = 2 * (size[0] * spacing[0] + size[1] * spacing[1])

    assert outline_length(np.ones(size, bool), spacing) == pytest.approx(sides, rel=off)


def test_one_pixel_has_an_outline_and_none_has_none():
    assert 4 <= outline_length(np.ones((1, 1), bool)) < 8
    assert outline_length(np.zeros((9, 9), bool)) == 0


def test_the_border_of_a_hole_counts():
    outer, outside = ellipse(40, 40)
    inner, inside = ellipse(15, 15)
    margin = (len(outer) - len(inner)) // 2

    assert outline_length(outer & ~np.pad(inner, margin)) == pytest.approx(outside + inside, rel=0.01)


def test_a_disc_is_rounder_than_a_square():
    grey = np.random.default_rng(0).integers(40, 90, (140, 140), dtype=np.uint8)
    frame = Frame(pixels=grey, spacing_mm=(0.1, 0.1), scan_area=(0, 0, 140, 140))
    disc = np.pad(ellipse(45, 45)[0], 18)[:140, :140]
    square = np.pad(np.ones((80, 80), bool), 30)

    one, two = (radiomics(frame, mask).features["shape_circularity"] for mask in (disc, square))

    assert one == pytest.approx(1, abs=0.02)
    assert two == pytest.approx(np.pi / 4, abs=0.02)


def test_the_scale_of_the_frame_does_not_matter_much():
    phantom = simulate(700_001, n_nodes=1, overlays=False)
    node = phantom.instances == 1
    doubled = Frame(
        pixels=phantom.frame.pixels.repeat(2, 0).repeat(2, 1),
        spacing_mm=tuple(step / 2 for step in phantom.frame.spacing_mm),
    )

    one = radiomics(phantom.frame, node)
    two = radiomics(doubled, node.repeat(2, 0).repeat(2, 1))

    for name in ("shape_area", "stat_mean", "cm_contrast"):
        assert two.features[name] == pytest.approx(one.features[name], rel=0.2)


@pytest.mark.slow
def test_microcalcifications_are_bright_spots(calcified):
    found = radiomics(calcified.frame, calcified.instances == 1)

    assert found.features["sign_bright_spots"] >= 1


def test_marks_and_colour_are_left_out():
    phantom = simulate(3_003, n_nodes=1, doppler=True)
    node = phantom.instances == 1

    found = radiomics(phantom.frame, node)

    assert found.left_out >= np.count_nonzero(phantom.flow & node) > 0


def test_colours_of_an_elastogram_are_taken_out_before_anything_is_measured():
    phantom = simulate(7, n_nodes=1)
    node = phantom.instances == 1

    plain = radiomics(phantom.frame, node)
    coloured = radiomics(simulate(7, n_nodes=1, stiffness=True).frame, node)

    for name in ("stat_mean", "stat_var", "sign_echo_difference"):
        assert coloured.features[name] == pytest.approx(plain.features[name], rel=0.1, abs=2)


def test_a_node_under_colours_that_hide_it_is_refused():
    phantom = simulate(7, n_nodes=1)
    node = phantom.instances == 1
    frame, *_ = elastogram_of(phantom.frame, node, opacity=1)

    with pytest.raises(InputError, match=r"pixels without marks or colour.*use a frame without them"):
        radiomics(frame, node)


def test_a_node_of_a_few_pixels_is_refused():
    node = np.zeros((40, 40), bool)
    node[3:6, 3:6] = True

    with pytest.raises(InputError, match=r"9 pixels.*Draw it larger"):
        radiomics(Frame(pixels=np.full((40, 40), 90, np.uint8)), node)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(InputError, match="give it in frame pixels"):
        radiomics(Frame(pixels=np.full((40, 40), 90, np.uint8)), np.ones((4, 4), bool))
