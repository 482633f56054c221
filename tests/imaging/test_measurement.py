"""Sizes of nodes, on ellipses of known axes."""

from __future__ import annotations

import numpy as np
import pytest
from ellipses import ellipse
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napari_cln.annotation import Annotation
from napari_cln.imaging.measurement import measure, measure_nodes, spacing_of, split_nodes
from napari_cln.types import Frame, Region


def box_mask(shape: tuple[int, int], *box: int) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return mask


@settings(max_examples=80)
@example(short=29.9998, ratio=1.0, angle=0.0, shift=(0.0, 0.0), spacing=(0.0736, 0.0668))
@given(
    short=st.floats(10, 40),
    ratio=st.floats(1, 2.5),
    angle=st.floats(0, np.pi),
    shift=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
    spacing=st.tuples(st.floats(0.06, 0.08), st.floats(0.06, 0.08)),
)
def test_sizes_of_every_ellipse_are_within_two_percent_or_two_pixels(short, ratio, angle, shift, spacing):
    radii = short * max(spacing) * ratio, short * max(spacing)
    size = int(2 * radii[0] / min(spacing)) + 12
    mask = ellipse((size, size), (size / 2 + shift[0], size / 2 + shift[1]), radii, angle, spacing)

    found = measure(mask, spacing)

    # The outermost pixel that is drawn may lie a whole one inside the ellipse, at both ends of a circle
    # whose centre is that of a pixel.
    for axis, radius in ((found.long_axis_mm, radii[0]), (found.short_axis_mm, radii[1])):
        assert axis == pytest.approx(2 * radius, rel=0.02, abs=2 * max(spacing))
    # of the drawn pixels: those of a small circle may be 4 % fewer than its area
    assert found.area_mm2 == pytest.approx(mask.sum() * spacing[0] * spacing[1])


def test_axes_of_ellipses_at_random_are_within_two_percent_and_unbiased():
    rng = np.random.default_rng(0)
    errors, areas = [], []
    for _ in range(200):
        short, ratio = rng.uniform(12, 40), rng.uniform(1, 2.5)
        size = int(2 * short * ratio) + 12
        centre = tuple(size / 2 + rng.uniform(-0.5, 0.5, 2))
        found = measure(
            ellipse((size, size), centre, (short * ratio, short), rng.uniform(0, np.pi)), (0.05, 0.05)
        )
        errors.append(
            (found.long_axis_mm / (0.1 * short * ratio) - 1, found.short_axis_mm / (0.1 * short) - 1)
        )
        areas.append(found.area_mm2 / (np.pi * 0.05**2 * short**2 * ratio) - 1)

    assert (np.abs(errors) <= 0.02).mean() >= 0.99
    assert np.abs(np.mean(errors, axis=0)).max() < 0.005
    assert (np.abs(areas) <= 0.03).mean() >= 0.99
    assert abs(np.mean(areas)) < 0.005


@settings(max_examples=40)
@given(radii=st.tuples(st.floats(8, 30), st.floats(8, 30)), angle=st.floats(0, np.pi))
def test_axes_are_at_right_angles_and_as_long_as_their_ends_are_apart(radii, angle):
    found = measure(ellipse((80, 80), (40, 40), radii, angle))

    long, short = (np.subtract(*ends) for ends in (found.long_axis_ends, found.short_axis_ends))
    assert np.linalg.norm(long) == pytest.approx(found.long_axis_px)
    assert np.linalg.norm(short) == pytest.approx(found.short_axis_px)
    assert long @ short == pytest.approx(0, abs=1e-6)
    assert found.long_axis_px >= found.short_axis_px - 1e-9


def test_the_axes_run_where_the_node_does():
    found = measure(ellipse((100, 200), (50, 100), (30, 70), 0.0))

    assert sorted(found.long_axis_ends, key=lambda end: end[1]) == [
        pytest.approx((50, 29.85), abs=0.01),
        pytest.approx((50, 170.15), abs=0.01),
    ]
    assert sorted(found.short_axis_ends)[0] == pytest.approx((19.85, 100), abs=0.01)


def test_without_spacing_there_are_no_millimetres():
    found = measure(box_mask((20, 20), 5, 5, 10, 15))

    assert found.area_px == 50
    assert (found.area_mm2, found.long_axis_mm, found.short_axis_mm) == (None, None, None)


def test_unequal_spacing_decides_which_axis_is_long():
    mask = ellipse((80, 80), (40, 40), (20, 30), 0.0)  # 30 pixels along the columns

    found = measure(mask, (0.2, 0.1))

    assert found.long_axis_mm == pytest.approx(8, rel=0.02)  # 40 rows of 0.2 mm
    assert found.short_axis_mm == pytest.approx(6, rel=0.02)


@pytest.mark.parametrize("box", [(3, 3, 4, 4), (3, 3, 4, 9), (2, 4, 9, 5)])
def test_a_pixel_and_a_line_have_sizes(box):
    found = measure(box_mask((10, 10), *box))

    assert found.axis_ratio is not None
    assert found.axis_ratio >= 1
    assert found.short_axis_px > 0


def test_an_empty_mask_says_so():
    with pytest.raises(ValueError, match=r"\(4, 4\) holds no node: give"):
        measure(np.zeros((4, 4), dtype=bool))


LEFT, RIGHT = (
    Region(box=(0, 0, 50, 40), spacing_mm=(0.1, 0.1)),
    Region(box=(0, 50, 50, 90), spacing_mm=(0.2, 0.2)),
)


def test_a_node_has_the_spacing_of_the_region_that_holds_it():
    frame = Frame(pixels=np.zeros((60, 100), dtype=np.uint8), regions=(LEFT, RIGHT))

    assert spacing_of(frame, box_mask((60, 100), 0, 0, 50, 40)) == (0.1, 0.1)
    assert spacing_of(frame, box_mask((60, 100), 10, 55, 20, 90)) == (0.2, 0.2)


@pytest.mark.parametrize("box", [(10, 30, 20, 60), (10, 35, 20, 41), (45, 10, 51, 20), (55, 95, 58, 98)])
def test_across_or_outside_regions_there_is_no_spacing(box):
    frame = Frame(pixels=np.zeros((60, 100), dtype=np.uint8), regions=(LEFT, RIGHT), spacing_mm=(0.1, 0.1))

    assert spacing_of(frame, box_mask((60, 100), *box)) is None


def test_without_regions_the_frames_spacing_holds():
    frame = Frame(pixels=np.zeros((60, 100), dtype=np.uint8), spacing_mm=(0.3, 0.4))

    assert spacing_of(frame, box_mask((60, 100), 0, 0, 5, 5)) == (0.3, 0.4)


def test_nodes_are_numbered_largest_first_and_small_pieces_dropped():
    probability = np.zeros((40, 40), dtype=np.float32)
    probability[2:6, 2:6] = 0.6
    probability[10:20, 10:20] = 0.5
    probability[30, 30] = 0.9
    probability[25, 2:30] = 0.49

    instances = split_nodes(probability, 0.5, min_area_px=4)

    assert instances.dtype == np.uint8
    assert [np.count_nonzero(instances == i) for i in (1, 2, 3)] == [100, 16, 0]
    assert instances[15, 15] == 1


def test_pieces_that_touch_by_a_corner_are_one_node():
    probability = np.eye(6, dtype=np.float32)

    assert split_nodes(probability, 0.5, 1).max() == 1


def test_no_more_nodes_are_kept_than_ids_there_are():
    probability = np.zeros((64, 64), dtype=np.float32)
    probability[::2, ::2] = 1

    instances = split_nodes(probability, 0.5, 1)

    assert np.array_equal(np.unique(instances), np.arange(256))


def test_every_node_is_measured_in_its_own_region():
    frame = Frame(pixels=np.zeros((60, 100), dtype=np.uint8), regions=(LEFT, RIGHT))
    instances = np.zeros((60, 100), dtype=np.uint8)
    instances[10:20, 60:80] = 1
    instances[10:20, 5:25] = 4
    instances[30:40, 35:60] = 2

    first, second, fourth = measure_nodes(Annotation(frame=frame, instances=instances))

    assert (first.area_mm2, second.area_mm2) == (pytest.approx(8), None)
    assert fourth.area_mm2 == pytest.approx(2)
    assert second.area_px == 250


def test_no_nodes_give_no_measurements():
    frame = Frame(pixels=np.zeros((6, 6), dtype=np.uint8))

    assert measure_nodes(Annotation(frame=frame, instances=np.zeros((6, 6), dtype=np.uint8))) == ()


def test_a_patch_that_is_nowhere_sure_is_no_node():
    probability = np.zeros((20, 40), dtype=np.float32)
    probability[5:15, 5:15], probability[5:15, 25:35] = 0.6, 0.6
    probability[10, 30] = 0.9

    instances = split_nodes(probability, 0.5, 1, min_peak=0.8)

    assert instances.max() == 1
    assert not instances[:, :20].any()
    assert (instances[5:15, 25:35] == 1).all()


def test_sizes_at_another_scale_are_those_that_are_measured_there():
    mask = box_mask((60, 60), 10, 10, 30, 50)

    moved, expected = measure(mask, (0.2, 0.2)).at_scale(0.05), measure(mask, (0.05, 0.05))

    for name in ("area_px", "area_mm2", "long_axis_mm", "short_axis_mm", "axis_ratio"):
        assert getattr(moved, name) == pytest.approx(getattr(expected, name))
