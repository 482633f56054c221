"""Nodes through a cine: one id, one score, whatever moves."""

import numpy as np
import pytest

from napari_cln.imaging.tracking import Tracker, shift_between, track
from napari_cln.phantom import simulate_cine
from napari_cln.types import Frame, Prediction

SHAPE = (120, 160)
TEXTURE = np.kron(
    np.random.default_rng(0).integers(20, 220, (60, 80), dtype=np.uint8), np.ones((4, 4), np.uint8)
)


def prediction(index, *boxes, shift=(0, 0), scores=None):
    """A frame of a moving texture with rectangles for nodes."""
    instances = np.zeros(SHAPE, np.uint8)
    for k, (row, column, tall, wide) in enumerate(boxes, start=1):
        instances[row : row + tall, column : column + wide] = k
    row, column = 60 - shift[0], 80 - shift[1]
    pixels = TEXTURE[row : row + SHAPE[0], column : column + SHAPE[1]]
    return Prediction(
        frame=Frame(pixels=np.ascontiguousarray(pixels), index=index, scan_area=(0, 0, *SHAPE)),
        probability=np.where(instances > 0, 0.9, 0.0).astype(np.float32),
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


def test_frames_out_of_order_are_refused():
    with pytest.raises(ValueError, match="in their order"):
        track([prediction(1), prediction(0)])
