"""Doppler flow: found, kept from the marks, taken out of the grey image, measured per node."""

from __future__ import annotations

import numpy as np
import pytest

import napari_cln
from napari_cln.imaging.overlay import find_flow, find_overlay, flow_of_node
from napari_cln.imaging.preprocessing import prepare
from napari_cln.phantom import simulate
from napari_cln.types import ColourFlow, Frame, Region

pytestmark = pytest.mark.slow  # its frames take seconds to make

SEEDS = range(3_000, 3_008)


@pytest.fixture(scope="module")
def phantoms():
    return [simulate(seed, n_nodes=1, doppler=True) for seed in SEEDS]


def square_node(*flowing):
    node = np.zeros((60, 80), bool)
    node[10:50, 20:60] = True
    flow = np.zeros_like(node)
    for place in flowing:
        flow[place] = True
    return node, flow


@pytest.mark.slow
def test_drawn_flow_is_found_to_the_pixel(phantoms):
    found = [find_flow(p.frame) for p in phantoms]
    hits = sum(np.count_nonzero(f.mask & p.flow) for f, p in zip(found, phantoms, strict=True))

    assert hits >= 0.9 * sum(np.count_nonzero(p.flow) for p in phantoms)
    assert hits >= 0.95 * sum(np.count_nonzero(f.mask) for f in found)


def test_the_colour_box_is_that_within_its_outline(phantoms):
    for phantom in phantoms:
        box = find_flow(phantom.frame).box
        assert box is not None
        assert np.abs(np.subtract(box, phantom.flow_box)).max() <= 5


def test_flow_is_no_mark_and_the_outline_of_its_box_is(phantoms):
    for phantom in phantoms:
        marks = find_overlay(phantom.frame, phantom.frame.scan_area)
        row0, column0, _, column1 = phantom.flow_box

        assert np.count_nonzero(marks & phantom.flow) <= 0.02 * np.count_nonzero(phantom.flow)
        assert marks[row0, column0 + 5 : column1 - 5].mean() > 0.9


@pytest.mark.slow
def test_the_network_sees_the_frame_as_without_colour(phantoms):
    grey = [simulate(seed, n_nodes=1, overlays=False) for seed in SEEDS]

    for coloured, plain in zip(phantoms, grey, strict=True):
        one, two = (prepare(p.frame).image for p in (coloured, plain))
        inside = prepare(
            Frame(pixels=(coloured.flow * 255).astype(np.uint8)), scan_area=plain.frame.scan_area
        )
        changed = np.abs(one - two)[inside.image > 0.5]
        if changed.size:
            assert np.median(changed) < 0.12


def test_a_prediction_says_that_colour_was_taken_out(phantoms):
    flowing = next(p for p in phantoms if p.flow.any())

    prediction = napari_cln.segment(flowing.frame)

    assert any("Doppler" in sentence for sentence in prediction.warnings)
    assert prediction.flow is not None


def test_a_grey_frame_has_no_flow_and_no_warning():
    phantom = simulate(3_000, n_nodes=1, overlays=False)

    assert find_flow(phantom.frame) is None
    assert napari_cln.segment(phantom.frame).warnings == ()


def test_a_file_may_say_where_the_colour_box_lies():
    phantom = simulate(3_001, n_nodes=1, overlays=False, doppler=True)
    region = Region(box=phantom.flow_box, spacing_mm=(0.1, 0.1), kind="colour-flow")
    frame = Frame(pixels=phantom.frame.pixels, regions=(region,), scan_area=phantom.frame.scan_area)

    assert find_flow(frame).box == phantom.flow_box


@pytest.mark.parametrize(
    ("flowing", "pattern"),
    [
        ([], "none"),
        ([np.s_[25:35, 35:45]], "hilar"),
        ([np.s_[11:14, 25:50]], "peripheral"),
        ([np.s_[25:35, 35:45], np.s_[11:14, 25:50]], "mixed"),
    ],
)
def test_a_pattern_is_where_flow_lies(flowing, pattern):
    node, flow = square_node(*flowing)

    assert flow_of_node(ColourFlow(mask=flow), node).pattern == pattern


def test_shares_are_of_pixels():
    node, flow = square_node(np.s_[26:34, 36:44])
    found = flow_of_node(ColourFlow(mask=flow), node)

    assert (found.share, found.central_share) == (64 / 1600, 1.0)


def test_a_node_outside_the_colour_box_was_not_measured():
    node, flow = square_node()

    assert flow_of_node(ColourFlow(mask=flow, box=(0, 0, 60, 35)), node) is None


def test_patterns_are_read_as_drawn(phantoms):
    for phantom in phantoms:
        found = flow_of_node(find_flow(phantom.frame), phantom.instances == 1)
        assert found.pattern == phantom.flow_patterns[0]


def test_specks_of_a_real_node_are_flow_and_its_body_mark_is_not(shared_data):
    frame = napari_cln.read_frame(shared_data / "us_screens" / "images" / "lymonet_ln_cdfi_2.png")
    pixels = frame.pixels.astype(int)
    vivid = pixels.max(axis=2) - pixels.min(axis=2) > 50
    box, body_mark, bar = np.s_[345:565, 135:688], np.s_[530:636, 750:850], np.s_[305:480, 8:38]

    flow, marks = find_flow(frame), find_overlay(frame)

    assert np.abs(np.subtract(flow.box, (341, 130, 568, 691))).max() <= 2
    assert np.count_nonzero(flow.mask[box] & vivid[box]) >= 0.98 * np.count_nonzero(vivid[box])
    assert not flow.mask[body_mark].any() and not flow.mask[bar].any()
    assert np.count_nonzero(marks[body_mark] & vivid[body_mark]) >= 0.95 * np.count_nonzero(vivid[body_mark])


def test_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match="frame pixels"):
        flow_of_node(ColourFlow(mask=np.zeros((4, 4), bool)), np.zeros((5, 5), bool))
