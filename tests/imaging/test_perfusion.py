"""How a contrast agent washes into a node: curves of drawn clips, whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_cln.imaging.perfusion import fit_wash_in, perfusion, perfusion_of_each
from napari_cln.types import Frame, Region

STEP = 0.5
DECIBEL = 45.0
SECONDS = np.arange(60) * STEP


def gamma_variate(seconds, arrival, peak, shape=3.0):
    since = np.maximum(seconds - arrival, 0) / peak
    return since**shape * np.exp(shape * (1 - since))


def clip(peak=7.0, breath=6, tinted=True):
    """A node that lights up in the right one of two views while the patient breathes, and its mask."""
    rng = np.random.default_rng(0)
    tissue = 60 + 25 * ndimage.gaussian_filter(rng.standard_normal((120, 140)), 4) * 8
    node = np.hypot(*(np.indices((120, 140)) - np.array([60, 70])[:, None, None]) / [[[1]], [[1.4]]]) < 16
    frames = []
    for index, second in enumerate(SECONDS):
        level = np.where(node, 0.6 * gamma_variate(second, 4, peak), 0.3 * gamma_variate(second, 5, 10))
        agent = np.clip(1 + 10 * np.log10(level + 1e-5) / DECIBEL, 0, 1) * 255
        way = round(breath * np.sin(2 * np.pi * second / 4))
        both = [np.roll(each, way, axis=0) for each in (tissue, agent)]
        pixels = np.zeros((120, 300, 3), np.uint8)
        pixels[:, :140] = np.clip(both[0], 0, 255)[..., None]
        pixels[:, 160:] = both[1][..., None] * (np.array([1, 0.8, 0.4]) if tinted else 1)
        boxes = (0, 0, 120, 140), (0, 160, 120, 300)
        frames.append(
            Frame(
                pixels=pixels,
                index=index,
                n_frames=len(SECONDS),
                frame_time_s=STEP,
                regions=tuple(Region(box=box, spacing_mm=(0.1, 0.1)) for box in boxes),
            )
        )
    mask = np.zeros((120, 300), bool)
    mask[:, :140] = np.roll(node, round(breath * np.sin(2 * np.pi * SECONDS[20] / 4)), axis=0)
    return frames, mask


class Counted(list[Frame]):
    """Frames that note how often each is read."""

    def __init__(self, frames):
        super().__init__(frames)
        self.reads = [0] * len(frames)

    def __getitem__(self, index):
        self.reads[index] += 1
        return super().__getitem__(index)


def test_a_clip_is_read_once_for_all_nodes():
    frames, mask = clip()
    counted = Counted(frames)
    nodes = [(20, mask), (20, np.roll(mask, (-40, 12), (0, 1))), (30, np.roll(mask, 4, 0))]

    together = perfusion_of_each(counted, nodes, dynamic_range_db=DECIBEL)

    assert counted.reads == [2 if index in (20, 30) else 1 for index in range(60)]  # and those with a mask
    for found, (at, own) in zip(together, nodes, strict=True):
        alone = perfusion(frames, own, at=at, dynamic_range_db=DECIBEL)
        assert found.wash_in == alone.wash_in
        np.testing.assert_array_equal(found.node, alone.node)
        np.testing.assert_array_equal(found.around, alone.around)
    assert not np.array_equal(together[0].node, together[1].node)
    assert perfusion_of_each(frames, []) == []


@settings(max_examples=25, deadline=None)
@given(st.floats(2, 8), st.floats(3, 10), st.floats(1.5, 6), st.floats(0, 0.3))
def test_a_wash_in_is_read_off_its_curve(arrival, peak, shape, baseline):
    found = fit_wash_in(SECONDS, baseline + 0.4 * gamma_variate(SECONDS, arrival, peak, shape))

    assert found.arrival_s + found.time_to_peak_s == pytest.approx(arrival + peak, abs=STEP)
    assert found.baseline == pytest.approx(baseline, abs=0.02)
    assert found.mean_transit_s > found.time_to_peak_s > found.rise_s
    fine = np.linspace(arrival + peak, arrival + 20 * peak, 200_000)
    half = fine[gamma_variate(fine, arrival, peak, shape) >= 0.5][-1]
    assert found.wash_out_s == pytest.approx(half - arrival - peak, abs=2 * STEP)


def test_a_flat_curve_has_no_wash_in():
    assert fit_wash_in(SECONDS, np.random.default_rng(0).normal(0.3, 0.01, 60)) is None
    assert fit_wash_in(SECONDS, np.full(60, 0.2)) is None


def test_a_curve_that_still_rises_has_no_peak():
    assert fit_wash_in(SECONDS, gamma_variate(SECONDS, 4, 60)) is None


@pytest.mark.parametrize("peak", [5.0, 9.0])
def test_a_breathing_node_is_measured_in_the_agents_view(peak):
    frames, mask = clip(peak)

    found = perfusion(frames, mask, at=20, dynamic_range_db=DECIBEL)

    truth = np.interp(
        [0.1, 0.9], gamma_variate(np.linspace(0, peak, 999), 0, peak), np.linspace(0, peak, 999)
    )
    assert found.wash_in.arrival_s + found.wash_in.time_to_peak_s == pytest.approx(4 + peak, abs=STEP)
    assert found.wash_in.rise_s == pytest.approx(truth[1] - truth[0], rel=0.05)
    assert found.ratio == pytest.approx(2.0, rel=0.1)


def speckled(brightest):
    """A clip of speckle whose mean reaches so much at its peak, white being 1, and a node in its middle."""
    rng, frames = np.random.default_rng(0), []
    for index, level in enumerate(brightest * gamma_variate(SECONDS, 4, 7)):
        speckle = ndimage.gaussian_filter(rng.gamma(1.0, size=(90, 100)), 1.2)
        shown = np.clip(1 + 10 * np.log10(level * speckle / speckle.mean() + 1e-4) / DECIBEL, 0, 1)
        pixels = np.rint(255 * shown).astype(np.uint8)
        frames.append(Frame(pixels=pixels, index=index, n_frames=len(SECONDS), frame_time_s=STEP))
    return frames, np.hypot(*(np.indices((90, 100)) - np.array([45, 50])[:, None, None])) < 25


def test_an_agent_that_is_stronger_than_white_is_measured_all_the_same():
    frames, mask = speckled(1.3)

    found = perfusion(frames, mask, at=30, dynamic_range_db=DECIBEL).wash_in

    climb = np.linspace(0, 7, 9999)
    tenth, most = np.interp([0.1, 0.9], gamma_variate(climb, 0, 7), climb)
    assert found.rise_s == pytest.approx(most - tenth, rel=0.03)  # 7 % too long as it is shown
    assert found.peak == pytest.approx(1.3, rel=0.05)  # shown as 1.0 at most


def test_where_nearly_all_is_white_nothing_is_told():
    frames, mask = speckled(30.0)

    found = perfusion(frames, mask, at=30, dynamic_range_db=DECIBEL)

    assert np.isnan(found.node[20:24]).all()
    assert found.wash_in is None


def test_the_mask_may_lie_in_either_view():
    frames, mask = clip()

    one = perfusion(frames, mask, at=20, dynamic_range_db=DECIBEL)
    other = perfusion(frames, np.roll(mask, 160, axis=1), at=20, dynamic_range_db=DECIBEL)

    np.testing.assert_allclose(one.node, other.node)


def test_a_node_outlined_before_the_agent_comes_is_measured_in_the_agents_view():
    frames, mask = clip(breath=0)

    before, later = (perfusion(frames, mask, at=at, dynamic_range_db=DECIBEL) for at in (0, 20))

    assert not frames[0].pixels[:, 160:].any()
    np.testing.assert_allclose(before.node, later.node)
    assert before.wash_in == later.wash_in is not None


def test_two_views_of_which_neither_is_tinted_are_refused():
    frames, mask = clip(tinted=False)

    with pytest.raises(ValueError, match=r"which one shows the agent can't be told\. Use a clip"):
        perfusion(frames, mask, at=20)


@pytest.mark.parametrize("less", [(1, 0), (0, 2)])
def test_views_that_differ_by_a_line_or_two_are_one_size(less):
    frames, mask = clip(breath=0)
    cut = Region(box=(0, 160, 120 - less[0], 300 - less[1]), spacing_mm=(0.1, 0.1))
    uneven = [replace(frame, regions=(frame.regions[0], cut)) for frame in frames]

    found = perfusion(uneven, mask, at=20, dynamic_range_db=DECIBEL)

    np.testing.assert_allclose(found.node, perfusion(frames, mask, at=20, dynamic_range_db=DECIBEL).node)


def test_without_a_dynamic_range_the_curve_is_of_grey_values():
    frames, mask = clip(breath=0)

    found = perfusion(frames, mask, at=20)

    assert found.dynamic_range_db is None
    brightest = frames[22].pixels[60, 230].max() / 255
    assert found.node[22] == pytest.approx(brightest, abs=0.01)


def test_a_clip_without_time_is_refused():
    frames, mask = clip()

    with pytest.raises(ValueError, match="does not say the time"):
        perfusion([replace(frame, frame_time_s=None) for frame in frames], mask, at=20)


def test_a_clip_of_uneven_steps_is_measured_in_true_seconds():
    frames, mask = clip()
    kept = [index for index in range(60) if index < 30 or index % 4 == 0]
    uneven = [replace(frames[index], frame_time_s=None, time_s=100 + SECONDS[index]) for index in kept]

    found = perfusion(uneven, mask, at=20, dynamic_range_db=DECIBEL)

    assert found.seconds == pytest.approx(SECONDS[kept])
    assert found.wash_in.arrival_s + found.wash_in.time_to_peak_s == pytest.approx(11, abs=STEP)


def test_a_clip_that_leaves_out_the_time_of_a_frame_is_refused():
    frames, mask = clip()
    frames = [replace(frame, time_s=None if frame.index == 5 else frame.index * STEP) for frame in frames]

    with pytest.raises(ValueError, match="does not say the time"):
        perfusion(frames, mask, at=20)


def test_a_short_clip_and_an_empty_mask_are_refused():
    frames, mask = clip()

    with pytest.raises(ValueError, match="8 or more"):
        perfusion(frames[:7], mask)
    with pytest.raises(ValueError, match="0 pixels"):
        perfusion(frames, np.zeros_like(mask))


def test_a_curve_that_still_rises_at_its_end_has_no_figures():
    curve = 0.1 + 0.4 * gamma_variate(SECONDS, 4.0, 10.0)
    top = int(curve.argmax())

    assert fit_wash_in(SECONDS[:top], curve[:top]) is None
    assert fit_wash_in(SECONDS[: 2 * top], curve[: 2 * top]) is not None
