"""The ellipse that two ends, four ends or a box span."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import ndimage

from napari_cln.errors import InputError
from napari_cln.imaging.calipers import Calipers, Pose

SHAPE = (90, 120)
points = st.tuples(st.floats(0, SHAPE[0] - 1), st.floats(0, SHAPE[1] - 1))
axes = st.tuples(points, points)


def calipers(**drawn: object) -> Calipers:
    try:
        return Calipers.of(SHAPE, **drawn)
    except InputError:
        assume(False)
        raise


@st.composite
def four_ends(draw: st.DrawFn) -> Calipers:
    """Axes that cross each other somewhere between their ends, at 37 degrees or more."""
    centre = np.array([45.0, 60.0]) + draw(st.tuples(st.floats(-5, 5), st.floats(-5, 5)))
    angle = draw(st.floats(0, np.pi))
    across = angle + draw(st.floats(0.65, np.pi - 0.65))
    reach = draw(st.tuples(*[st.floats(3, 35)] * 4))
    ends = [
        tuple(centre + sign * length * np.array([np.cos(turn), np.sin(turn)]))
        for turn, sign, length in zip((angle, angle, across, across), (-1, 1, -1, 1), reach, strict=True)
    ]
    return calipers(long_axis=tuple(ends[:2]), short_axis=tuple(ends[2:]))


@given(four_ends())
def test_the_outline_passes_through_all_four_ends(drawn):
    ends = np.array([*drawn.long_axis, *drawn.short_axis])

    assert drawn.distance(ends[:, 0], ends[:, 1]) == pytest.approx(np.ones(4), abs=1e-6)


@given(axes)
def test_the_outline_passes_through_both_ends_of_the_long_axis(axis):
    ends = np.array(axis)

    assert calipers(long_axis=axis).distance(ends[:, 0], ends[:, 1]) == pytest.approx([1, 1])


@given(axes)
def test_the_ellipse_is_one_region_without_holes_in_the_frame(axis):
    mask = calipers(long_axis=axis).ellipse(SHAPE)

    assert mask.shape == SHAPE
    assert ndimage.label(mask)[1] == 1
    assert not (ndimage.binary_fill_holes(mask) & ~mask).any()


@given(four_ends())
def test_the_ellipse_turns_with_the_frame(drawn):
    def turned(axis):
        return tuple((SHAPE[1] - 1 - column, row) for row, column in axis)

    other = Calipers.of(
        SHAPE[::-1], long_axis=turned(drawn.long_axis), short_axis=turned(drawn.short_axis)
    ).ellipse(SHAPE[::-1])

    # a pixel whose centre lies on the outline may fall to either side
    assert np.count_nonzero(other != np.rot90(drawn.ellipse(SHAPE))) <= 2


@given(four_ends())
def test_no_pixel_of_the_ellipse_lies_beyond_its_place(drawn):
    whole = drawn.distance(*np.ogrid[: SHAPE[0], : SHAPE[1]]) <= 1
    whole[drawn.place(SHAPE)] = False

    assert not whole.any()


def test_the_ellipse_of_a_box_has_its_area():
    mask = Calipers.of(SHAPE, box=(10, 20, 50, 100)).ellipse(SHAPE)

    assert mask.sum() == pytest.approx(np.pi / 4 * 40 * 80, rel=0.01)
    assert mask[10:50, 20:100].sum() == mask.sum()


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        ({}, "neither was given"),
        ({"long_axis": ((1, 2), (30, 4)), "box": (1, 2, 30, 40)}, "both were given"),
        ({"long_axis": ((1, 2), (float("nan"), 4))}, "is not two points"),
        ({"long_axis": "ab"}, "is not two points"),
        ({"long_axis": ((1, 2), (90, 4))}, "does not end in the frame of 90×120 pixels"),
        ({"long_axis": ((1, 2), (1, 3))}, "is 1.0 pixels long"),
        ({"long_axis": ((10, 10), (50, 50)), "short_axis": ((10, 60), (50, 100))}, "does not cross"),
        ({"long_axis": ((10, 10), (50, 50)), "short_axis": ((10, 20), (50, 60))}, "does not cross"),
        ({"box": (1, 2, 3)}, "is not four numbers"),
        ({"box": (5, 5, 4, 4)}, "less than 2 pixels"),
        ({"box": (5, 5, 95, 40)}, "does not lie in the frame"),
        ({"box": (5, 5, 9, 40), "short_axis": ((1, 2), (30, 4))}, "belongs to a long one"),
    ],
)
def test_what_shows_no_node_is_refused_with_a_sentence(drawn, said):
    with pytest.raises(InputError, match=said):
        Calipers.of(SHAPE, **drawn)


@given(four_ends())
def test_a_point_comes_back_from_the_crop_to_its_place_in_the_frame(drawn):
    pose = Pose.of(drawn)
    rows, columns = pose.in_crop(*pose.in_frame())

    assert np.allclose(rows, np.arange(pose.side)[:, None])
    assert np.allclose(columns, np.arange(pose.side)[None, :])


@given(four_ends())
def test_a_crop_is_turned_and_not_mirrored(drawn):
    (rows, columns) = Pose.of(drawn).in_frame()
    across, down = (np.array([one[0, -1] - one[0, 0], one[-1, 0] - one[0, 0]]) for one in (columns, rows))

    assert across[0] * down[1] - across[1] * down[0] > 0
