"""Nodes through a cine: one id, one score, whatever moves."""

import tracemalloc

import numpy as np
import pytest

from napari_cln.imaging.tracking import Tracker, shift_between, track
from napari_cln.phantom import simulate_cine
from napari_cln.types import Frame, Prediction

SHAPE = (120, 160)
TEXTURE = np.kron(
    np.random.default_rng(0).integers(20, 220, (60, 80), dtype=np.uint8), np.ones((4, 4), np.uint8)
)


def prediction(index, *boxes, shift=(0, 0), scores=None, faint=()):
    """A frame of a moving texture with rectangles for nodes, and others that the map shows faintly."""
    instances = np.zeros(SHAPE, np.uint8)
    for k, (row, column, tall, wide) in enumerate(boxes, start=1):
        instances[row : row + tall, column : column + wide] = k
    probability = np.where(instances > 0, 0.9, 0.0).astype(np.float32)
    for row, column, tall, wide in faint:
        probability[row : row + tall, column : column + wide] = 0.2
    row, column = 60 - shift[0], 80 - shift[1]
    pixels = TEXTURE[row : row + SHAPE[0], column : column + SHAPE[1]]
    return Prediction(
        frame=Frame(pixels=np.ascontiguousarray(pixels), index=index, scan_area=(0, 0, *SHAPE)),
        probability=probability,
        instances=instances,
        node_scores=scores or (0.7,) * len(boxes),
        class_probabilities={"benign": 0.5, "malignant": 0.5},
        model_id="m@0",
        cutoff=0.6,
    )


def test_a_node_keeps_its_id_when_the_order_of_nodes_changes():
    tracks = track(
        [prediction(0, (10, 10, 20, 20), (70, 90, 30, 30)), prediction(1, (70, 90, 30, 30), (10, 10, 20, 20))]
    )

    assert [(t.frames, t.nodes) for t in tracks] == [((0, 1), (1, 2)), ((0, 1), (2, 1))]


def test_a_node_is_followed_where_the_picture_moves_farther_than_the_node_is_wide():
    moves = [(0, 0), (0, 16), (8, 32), (16, 16)]
    frames = [prediction(k, (40 + r, 50 + c, 14, 14), shift=(r, c)) for k, (r, c) in enumerate(moves)]

    (node,) = track(frames)

    assert node.frames == (0, 1, 2, 3)


def test_motion_is_measured_in_pixels():
    one, two = prediction(0).frame.grey, prediction(1, shift=(8, -12)).frame.grey

    assert shift_between(one, two) == (8, -12)


def test_pictures_that_are_not_alike_have_not_moved():
    rng = np.random.default_rng(0)
    one, two = (rng.integers(0, 255, SHAPE, dtype=np.uint8) for _ in range(2))

    assert max(map(abs, shift_between(one, two))) <= 0.2 * max(SHAPE)


def test_a_gap_of_five_frames_is_bridged_and_one_of_six_is_not():
    box = (40, 50, 30, 30)
    for gap, n in ((5, 1), (6, 2)):
        frames = [prediction(0, box), *(prediction(k) for k in range(1, gap + 1)), prediction(gap + 1, box)]
        assert len(track(frames)) == n


def test_the_score_of_a_clip_is_the_mean_of_its_logits():
    box = (40, 50, 30, 30)
    (node,) = track([prediction(0, box, scores=(0.9,)), prediction(1, box, scores=(0.2,))])

    logit = (np.log(0.9 / 0.1) + np.log(0.2 / 0.8)) / 2
    assert node.malignancy == pytest.approx(1 / (1 + np.exp(-logit)))
    assert node.label == ("malignant" if node.malignancy >= 0.6 else "benign")


def test_the_best_frame_shows_the_node_largest():
    (node,) = track(
        [prediction(0, (40, 50, 10, 10)), prediction(1, (38, 48, 20, 20)), prediction(2, (40, 50, 12, 12))]
    )

    assert node.best_frame == 1


@pytest.mark.slow
def test_a_simulated_cine_has_one_id_for_each_node():
    tracker = Tracker()
    for index, phantom in enumerate(simulate_cine(11, 8, n_nodes=2)):
        tracker.add(
            Prediction(
                frame=Frame(pixels=phantom.frame.pixels, index=index, scan_area=phantom.frame.scan_area),
                probability=(phantom.instances > 0).astype(np.float32),
                instances=phantom.instances,
                node_scores=(0.5, 0.5),
                class_probabilities={"benign": 0.5, "malignant": 0.5},
                model_id="m@0",
            )
        )

    assert [t.frames for t in tracker.tracks] == [tuple(range(8))] * 2
    assert [set(t.nodes) for t in tracker.tracks] == [{1}, {2}]


BOX, NEAR, FAR = (40, 50, 30, 30), (44, 50, 20, 30), (90, 120, 20, 20)


def test_a_node_that_the_map_shows_faintly_is_found_by_its_neighbours_before_and_after():
    frames = [prediction(0, faint=[NEAR]), prediction(1, BOX), prediction(2, faint=[NEAR, FAR])]

    (node,) = track(frames)

    assert node.frames == (1,)
    assert [(one.frame, one.carried) for one in node.faint] == [(0, False), (2, False)]
    expected = np.zeros(SHAPE, bool)
    expected[44:64, 50:80] = True
    assert all(np.array_equal(one.mask, expected) for one in node.faint)
    assert node.scores == (0.7,)  # a faint frame has none


def test_what_the_map_shows_elsewhere_is_no_node():
    (node,) = track([prediction(0, BOX), prediction(1, faint=[FAR])])

    assert node.faint == ()


def test_a_node_that_is_grown_together_with_its_surroundings_is_cut_out_at_the_level_most_like_it():
    beside = prediction(1, faint=[(30, 40, 60, 90)])
    beside.probability[NEAR[0] : NEAR[0] + NEAR[2], NEAR[1] : NEAR[1] + NEAR[3]] = 0.93

    (node,) = track([prediction(0, BOX), beside])

    expected = np.zeros(SHAPE, bool)
    expected[44:64, 50:80] = True
    assert np.array_equal(node.faint[0].mask, expected)


def test_a_mask_is_carried_along_the_motion_between_two_frames_that_show_the_node_alone():
    moved = (48, 66, 30, 30)
    frames = [prediction(0, BOX), prediction(1, shift=(8, 16)), prediction(2, moved, shift=(8, 16))]

    (node,) = track([*frames, prediction(3, shift=(8, 16))])

    assert [(one.frame, one.carried) for one in node.faint] == [(1, True)]
    assert np.array_equal(node.faint[0].mask, frames[2].instances == 1)


def test_the_card_of_a_clip_calibrates_its_score_and_calls_it():
    frames = [prediction(0, BOX, scores=(0.9,)), prediction(1, BOX, scores=(0.9,))]

    (node,) = track(frames, temperature=2.0, cutoff=0.8)

    assert node.malignancy == pytest.approx(0.75)
    assert node.label == "benign"
    assert track(frames)[0].label == "malignant"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clip():
    tracker, sizes = Tracker(), []
    tracemalloc.start()
    for index in range(240):
        tracker.add(prediction(index, *[BOX] * (index % 3 > 0), faint=[NEAR]))
        if index % 120 == 60:
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()

    assert sizes[1] - sizes[0] < 10 * SHAPE[0] * SHAPE[1]  # 120 frames more; each has a picture and two maps


def test_frames_out_of_order_are_refused():
    with pytest.raises(ValueError, match="in their order"):
        track([prediction(1), prediction(0)])
