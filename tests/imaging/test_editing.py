"""Nodes that are deleted, split, merged, filled, smoothed, kept in one part: pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from napari_cln.errors import InputError
from napari_cln.imaging.editing import (
    delete_node,
    fill_holes,
    free_id,
    keep_part,
    merge_nodes,
    nearest_node,
    nodes_in_parts,
    put_node,
    smooth_node,
    split_node,
)

any_masks = arrays(np.uint8, (12, 14), elements=st.integers(0, 3))


def boxes(*places, shape=(60, 80)):
    masks = np.zeros(shape, np.uint8)
    for number, place in enumerate(places, start=1):
        masks[place] = number
    return masks


def ring():
    masks = boxes(np.s_[10:40, 10:50])
    masks[20:30, 20:40] = 0
    return masks


TWO = boxes(np.s_[10:30, 10:30], np.s_[40:50, 40:70])
IN_PARTS = boxes(np.s_[10:30, 10:30])
IN_PARTS[40:50, 40:70] = 1


@given(any_masks, st.integers(1, 3))
def test_no_edit_of_a_node_touches_the_pixels_of_another(masks, node):
    for edit in (delete_node, fill_holes, smooth_node, keep_part, lambda *it: split_node(*it)[0]):
        try:
            edited = edit(masks, node)
        except InputError:
            continue
        others = (masks > 0) & (masks != node)
        assert (edited[others] == masks[others]).all()


@given(any_masks, st.lists(st.tuples(st.floats(-5, 20), st.floats(-5, 20)), min_size=2, max_size=4))
def test_a_split_keeps_every_pixel_painted(masks, line):
    try:
        edited, nodes = split_node(masks, 1, line)
    except InputError:
        return
    assert ((edited > 0) == (masks > 0)).all()
    assert set(np.unique(edited[masks == 1])) == set(nodes)
    assert not set(nodes[1:]) & set(np.unique(masks))


@given(any_masks)
def test_parts_that_become_nodes_are_each_in_one_part(masks):
    for node in nodes_in_parts(masks):
        edited, nodes = split_node(masks, node)
        assert not set(nodes) & nodes_in_parts(edited).keys()


def test_a_deleted_node_leaves_nothing():
    assert np.unique(delete_node(TWO, 2)).tolist() == [0, 1]


@pytest.mark.parametrize("edit", [delete_node, fill_holes, smooth_node, keep_part, split_node, nearest_node])
def test_a_node_that_is_not_there_is_named(edit):
    with pytest.raises(InputError, match="no node 7"):
        edit(TWO, 7)


def test_a_line_cuts_a_node_in_two_and_the_larger_keeps_its_id():
    edited, nodes = split_node(TWO, 2, [(35, 50), (55, 50)])

    assert nodes == (2, 3)
    assert (edited[40:50, 51:70] == 2).all()
    assert (edited[40:50, 40:50] == 3).all()
    assert ((edited == 1) == (TWO == 1)).all()


def test_a_slanted_line_leaves_no_bridge_at_corners():
    edited, nodes = split_node(TWO, 1, [(5, 5), (35, 35)])

    assert len(nodes) == 2
    assert nodes_in_parts(edited) == {}


def test_a_line_that_ends_inside_cuts_nothing():
    with pytest.raises(InputError, match="not cut in two"):
        split_node(TWO, 1, [(5, 20), (20, 20)])


def test_a_line_leaves_a_part_that_it_does_not_cross_alone():
    edited, nodes = split_node(IN_PARTS, 1, [(45, 35), (45, 75)])

    assert len(nodes) == 2
    assert (edited[10:30, 10:30] == 1).all()


def test_the_id_of_a_deleted_node_is_not_given_again():
    assert free_id(TWO, used=[5]) == 6
    assert split_node(TWO, 1, [(5, 20), (35, 20)], used=[5])[1] == (1, 6)


def test_after_255_the_lowest_free_id_is_taken():
    assert free_id(TWO, used=[255]) == 3


def test_255_nodes_take_no_other_one():
    with pytest.raises(InputError, match="255 nodes"):
        free_id(np.arange(256, dtype=np.uint8).reshape(16, 16))


def test_merged_nodes_have_the_lowest_id():
    edited, node = merge_nodes(boxes(*(np.s_[k : k + 5, 5:20] for k in (5, 20, 40))), [3, 2])

    assert node == 2
    assert np.unique(edited).tolist() == [0, 1, 2]


def test_one_node_alone_is_not_merged():
    with pytest.raises(InputError, match="two nodes or more"):
        merge_nodes(TWO, [1, 1])


def test_the_nearest_node_is_that_with_the_nearest_pixel():
    # the middle of 2 lies nearer to that of 1, the border of 3 nearer to that of 1
    masks = boxes(np.s_[20:24, 20:24], np.s_[20:24, 34:38], np.s_[20:24, 0:12], shape=(60, 80))

    assert nearest_node(masks, 1) == 3
    assert nearest_node(delete_node(delete_node(masks, 2), 3), 1) is None


def test_holes_are_filled_and_a_node_in_one_stays():
    masks = ring()
    masks[24:26, 24:30] = 2

    edited = fill_holes(masks, 1)

    assert (edited == 2).sum() == 12
    assert (edited[10:40, 10:50] > 0).all()
    with pytest.raises(InputError, match="no hole"):
        fill_holes(edited, 1)


def test_smoothing_takes_teeth_away_and_keeps_the_area():
    rows, columns = np.indices((120, 140))
    angle = np.arctan2(rows - 60, columns - 70)
    radius = np.hypot(rows - 60, columns - 70)
    masks = (radius < 35 + 3 * np.sign(np.sin(24 * angle))).astype(np.uint8)

    edited = smooth_node(masks, 1)

    def roughness(mask):
        return np.count_nonzero(mask ^ ndimage.binary_erosion(mask)) / np.sqrt(mask.sum())

    assert edited.sum() == masks.sum()
    assert roughness(edited > 0) < 0.8 * roughness(masks > 0)
    assert not nodes_in_parts(edited)


def test_the_largest_part_is_kept_or_the_one_that_is_pointed_at():
    assert keep_part(IN_PARTS, 1)[10:30, 10:30].all()
    assert keep_part(IN_PARTS, 1).sum() == 400
    assert keep_part(IN_PARTS, 1, at=(45, 50)).sum() == 300
    with pytest.raises(InputError, match="one part"):
        keep_part(TWO, 1)


def test_parts_that_touch_at_a_corner_are_one():
    masks = boxes(np.s_[2:10, 2:10])
    masks[10, 10] = 1

    assert nodes_in_parts(masks) == {}


def test_parts_are_counted_by_node():
    assert nodes_in_parts(TWO) == {}
    assert nodes_in_parts(IN_PARTS) == {1: 2}


def test_a_node_is_put_in_the_place_of_what_it_was():
    mask = np.zeros(TWO.shape, bool)
    mask[25:45, 25:45] = True

    edited = put_node(TWO, mask, 1)

    assert ((edited == 1) == mask).all()
    assert (edited == 2).sum() == 300 - 5 * 5
