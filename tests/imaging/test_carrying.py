"""Masks of a cine, carried along the motion and made between two frames; the truth is simulated."""

from __future__ import annotations

import numpy as np
import pytest
from ellipses import ellipse

from napari_cln.imaging.carrying import carry_masks, interpolate_masks
from napari_cln.phantom import simulate_cine
from napari_cln.types import Frame

SHAPE = (150, 200)
WHOLE = (0, 0, *SHAPE)
TEXTURE = np.kron(
    np.random.default_rng(0).integers(20, 220, (90, 110), dtype=np.uint8), np.ones((4, 4), np.uint8)
)


def node(row, column, tall=20.0, wide=30.0, number=1) -> np.ndarray:
    return ellipse(SHAPE, (row, column), (tall, wide), 0.0).astype(np.uint8) * number


def frame(index, shift=(0, 0), scan_area=WHOLE) -> Frame:
    """A view of a texture that has moved by whole pixels."""
    row, column = 80 - shift[0], 100 - shift[1]
    pixels = TEXTURE[row : row + SHAPE[0], column : column + SHAPE[1]]
    return Frame(pixels=np.ascontiguousarray(pixels), index=index, scan_area=scan_area)


def dice(one, other) -> float:
    one, other = one > 0, other > 0
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


WAYS = [(0, 0), (4, 8), (8, 16), (12, 24)]
MOVING = [frame(k, way) for k, way in enumerate(WAYS)]


def test_masks_go_with_the_picture_and_keep_their_ids():
    masks = node(60, 70, number=3) + node(60, 140, 12, 15, number=5)

    carried = list(carry_masks(MOVING, masks))

    assert len(carried) == 3
    for (row, column), found in zip(WAYS[1:], carried, strict=True):
        assert dice(found == 3, node(60 + row, 70 + column)) > 0.97
        assert dice(found == 5, node(60 + row, 140 + column, 12, 15)) > 0.97


def test_masks_go_backwards_too():
    *_, found = carry_masks(MOVING[::-1], node(72, 94))

    assert dice(found, node(60, 70)) > 0.97


def test_a_node_that_leaves_the_scan_area_is_carried_no_further():
    moving = [frame(k, (0, 22 * k), (0, 0, 150, 160)) for k in range(5)]

    carried = list(carry_masks(moving, node(60, 120)))

    assert len(carried) == 1


def test_a_node_is_lost_where_the_clip_is_cut():
    other = Frame(
        pixels=np.random.default_rng(5).integers(0, 255, SHAPE, dtype=np.uint8), index=2, scan_area=WHOLE
    )

    assert len(list(carry_masks([*MOVING[:2], other, other], node(60, 70)))) == 1


def test_frames_are_taken_one_by_one():
    taken = []

    def frames():
        for one in MOVING:
            taken.append(one.index)
            yield one

    next(carry_masks(frames(), node(60, 70)))

    assert taken == [0, 1]


def test_frames_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(150, 200\)"):
        list(carry_masks(MOVING, np.ones((10, 10), np.uint8)))
    with pytest.raises(ValueError, match=r"\(150, 200\)"):
        interpolate_masks(MOVING, node(60, 70), np.ones((10, 10), np.uint8))


def test_masks_between_two_frames_follow_the_motion_and_change_by_degrees():
    made = interpolate_masks(MOVING, node(60, 70, 20, 30), node(72, 94, 14, 24))

    assert len(made) == 2
    for (row, column), part, found in zip(WAYS[1:3], (1 / 3, 2 / 3), made, strict=True):
        assert dice(found, node(60 + row, 70 + column, 20 - 6 * part, 30 - 6 * part)) > 0.95


def test_without_a_motion_that_can_be_followed_masks_go_along_a_line():
    rng = np.random.default_rng(7)
    cut = [Frame(pixels=rng.integers(0, 255, SHAPE, dtype=np.uint8), index=k) for k in range(3)]

    (found,) = interpolate_masks(cut, node(60, 60), node(80, 120))

    assert dice(found, node(70, 90)) > 0.95


def test_nodes_are_the_same_by_place_then_by_id():
    first = node(60, 50, number=1) + node(60, 130, number=2)
    last = node(72, 74, number=2) + node(72, 154, number=1)

    made = interpolate_masks(MOVING, first, last)

    assert dice(made[0] == 1, node(64, 58)) > 0.95
    assert dice(made[0] == 2, node(64, 138)) > 0.95


def test_a_node_on_one_frame_alone_is_on_none_between():
    made = interpolate_masks(MOVING, node(60, 50) + node(60, 130, number=2), node(72, 74))

    assert all(set(np.unique(found)) == {0, 1} for found in made)


@pytest.mark.slow
def test_a_simulated_node_is_carried_over_a_slide_of_the_probe():
    clip = list(simulate_cine(101, 6, n_nodes=1, slide_mm=4.0))
    frames = [phantom.frame for phantom in clip]

    carried = list(carry_masks(frames, clip[0].instances))

    assert len(carried) == 5
    assert (
        min(dice(found, phantom.instances) for found, phantom in zip(carried, clip[1:], strict=True)) > 0.95
    )
