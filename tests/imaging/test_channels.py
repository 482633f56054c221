"""Pictures beside the grey one: stiffness, flow, contrast agent, no speckle; and where each was measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from elastograms import elastogram_of
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colormaps
from scipy import ndimage

from napari_cln.imaging.channels import contrast_views, despeckle, measured_channels
from napari_cln.imaging.elastogram import find_elastogram
from napari_cln.imaging.overlay import read_marks
from napari_cln.imaging.preprocessing import prepare
from napari_cln.types import ColourFlow, Frame, PrepareConfig, Region


def still(seed=0, shape=(240, 320)):
    rng = np.random.default_rng(seed)
    waves = ndimage.gaussian_filter(rng.standard_normal((2, *shape)), (0, 1.5, 2.5))
    grey = np.clip(45 * np.hypot(*waves) / waves.std(), 0, 255).astype(np.uint8)  # speckle is smooth
    node = np.zeros(shape, bool)
    node[90:150, 120:200] = True
    grey[node] //= 3
    return Frame(pixels=grey, scan_area=(0, 0, *shape)), node


@pytest.mark.parametrize("colours", ["jet", "turbo", "rainbow"])
@pytest.mark.parametrize("opacity", [0.35, 0.5, 1.0])
def test_stiffness_is_read_by_the_bar(colours, opacity):
    frame, stiffness, box = elastogram_of(*still(), colours=colours, opacity=opacity)

    found = find_elastogram(frame)

    measured = ~np.isnan(found.stiffness)
    assert np.abs(np.subtract(found.box, box)).max() <= 2
    assert measured[box[0] : box[2], box[1] : box[3]].mean() > 0.9
    assert np.abs(found.stiffness - stiffness)[measured].mean() < 0.05


def test_the_grey_image_comes_back_from_under_the_colours():
    plain, node = still()
    frame, _, box = elastogram_of(plain, node)

    inside = np.s_[box[0] : box[2], box[1] : box[3]]
    off = np.abs(find_elastogram(frame).grey[inside].astype(int) - plain.grey[inside])

    assert off.mean() < 3


@pytest.mark.parametrize("red_on_top", [True, False])
def test_the_red_end_is_hard_whichever_way_the_bar_stands(red_on_top):
    plain, node = still()
    frame, _, _ = elastogram_of(plain, node, red_on_top=red_on_top)

    assert find_elastogram(frame).of_node(node) > 0.6
    assert find_elastogram(frame, hard="blue").of_node(node) < 0.4


def test_a_known_scale_gives_kilopascals():
    plain, node = still()
    frame, _, _ = elastogram_of(plain, node)

    assert find_elastogram(frame, full_scale_kpa=180).of_node(node) == pytest.approx(
        180 * find_elastogram(frame).of_node(node)
    )


def test_an_elastogram_is_no_flow_and_no_mark():
    frame, _, box = elastogram_of(*still())

    marks = read_marks(frame, frame.scan_area)

    assert marks.flow is None and marks.elastogram is not None
    assert marks.overlay[box[0] : box[2], box[1] : box[3]].mean() < 0.02


def test_a_hidden_grey_image_is_said():
    frame, _, _ = elastogram_of(*still(), opacity=1.0)

    assert "hide the grey image" in prepare(frame).notes[0]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([(60, 90), (200, 160)]))
def test_no_grey_frame_is_an_elastogram(seed, shape):
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 256, shape).astype(np.uint8)

    assert find_elastogram(Frame(pixels=np.repeat(grey[..., None], 3, axis=2))) is None


def test_a_plane_tells_a_low_value_from_none():
    flow = ColourFlow(mask=np.zeros((20, 30), bool), box=(5, 5, 15, 25))
    flow.mask[8:10, 10:12] = True

    plane = measured_channels(Frame(pixels=np.zeros((20, 30), np.uint8)), flow, None)["flow"]

    assert plane[0, 0] == 0 and plane[6, 6] == 1 and plane[9, 11] == 255


def test_planes_hold_value_and_place():
    frame, node = still()
    stiffness = np.where(node, 128, 0).astype(np.uint8)
    config = PrepareConfig(channels=("stiffness", "flow"))

    planes = prepare(replace(frame, channels={"stiffness": stiffness}), config).planes

    assert planes.shape == (4, 256, 256)
    value, where = planes[:2]
    assert value[where > 0.99].mean() == pytest.approx(0.5, abs=0.01)
    assert where.mean() == pytest.approx(node.mean() * 0.75, rel=0.05)  # 240 rows of 320 in the square
    assert not planes[2:].any()


def test_a_channel_changes_nothing_in_the_grey_image():
    frame, node = still()
    measured = replace(frame, channels={"flow": node.astype(np.uint8)})

    np.testing.assert_array_equal(
        prepare(measured, PrepareConfig(channels=("flow", "despeckled"))).image, prepare(frame).image
    )


def test_contrast_is_found_in_the_tinted_of_two_like_views():
    grey = np.full((100, 220), 40, np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=2)
    pixels[:, :100] = (200, 150, 60)
    regions = tuple(Region(box=(0, left, 100, left + 100), spacing_mm=(0.1, 0.1)) for left in (0, 120))

    plane = measured_channels(Frame(pixels=pixels, regions=regions), None, None)["contrast"]

    assert plane[50, 50] == plane[50, 170] > 100
    assert plane[50, 110] == 0


def beside(grey, coloured):
    """Two views of one size side by side, the left one grey."""
    height, width = grey.shape
    pixels = np.zeros((height, 2 * width + 10, 3), np.uint8)
    pixels[:, :width], pixels[:, width + 10 :] = grey[..., None], coloured
    boxes = (0, 0, height, width), (0, width + 10, height, 2 * width + 10)
    return Frame(pixels=pixels, regions=tuple(Region(box=box, spacing_mm=(0.1, 0.1)) for box in boxes))


@pytest.mark.parametrize("opacity", [0.35, 1.0])
def test_an_elastogram_beside_its_grey_view_is_no_contrast_agent(opacity):
    plain, node = still()
    coloured, _, _ = elastogram_of(plain, node, opacity=opacity)
    frame = beside(plain.grey, coloured.pixels)

    assert set(measured_channels(frame, None, find_elastogram(frame))) == {"stiffness"}
    assert contrast_views(frame) is None


def test_flow_beside_its_grey_view_is_no_contrast_agent():
    plain, _ = still()
    coloured = np.repeat(plain.grey[..., None], 3, axis=2)
    coloured[60:180, 40:280] = (220, 80, 10)

    assert "contrast" not in measured_channels(beside(plain.grey, coloured), None, None)


@pytest.mark.parametrize("colours", ["copper", "hot"])
def test_an_agent_is_found_in_speckle_that_goes_from_black_to_the_end_of_its_map(colours):
    plain, _ = still()
    agent = colormaps[colours](np.clip(2.0 * plain.grey / 255, 0, 1))[..., :3] * 255

    assert "contrast" in measured_channels(beside(plain.grey, agent.astype(np.uint8)), None, None)


def test_despeckling_smooths_tissue_and_keeps_the_edge():
    frame, node = still()

    smooth = despeckle(frame).astype(float)

    assert smooth[~node].std() < 0.5 * frame.grey[~node].std()
    assert smooth[60:88, 120:200].mean() - smooth[92:120, 120:200].mean() > 25


def test_despeckling_refuses_no_strength():
    with pytest.raises(ValueError, match="above 0"):
        despeckle(still()[0], strength=0)
