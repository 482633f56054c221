"""Frames and what is known of them become batches, unchanged by their neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_cln.annotation import Annotation, Node
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.phantom import simulate
from napari_cln.training import data as data_module
from napari_cln.training.augmentation import augment, hide_cells
from napari_cln.training.data import Batch, Samples, Store, order, target_of
from napari_cln.types import Frame, PrepareConfig


def annotation(**changes) -> Annotation:
    pixels = np.full((200, 300), 90, dtype=np.uint8)
    instances = np.zeros((200, 300), dtype=np.uint8)
    instances[40:80, 50:110] = 3
    instances[120:160, 200:280] = 5
    nodes = (Node(id=3, truth="metastatic"), Node(id=5, truth="benign"))
    frame = Frame(pixels=pixels, scan_area=(0, 0, 200, 300))
    return replace(Annotation(frame=frame, instances=instances, nodes=nodes), **changes)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (Node(id=1, truth="metastatic"), 1.0),
        (Node(id=1, truth="benign"), 0.0),
        (Node(id=1, truth="benign", truth_source="simulated", p_malignant=0.3), 0.3),
        # what a model said of a node whose cytology is known
        (Node(id=1, truth="benign", truth_source="fna", p_malignant=0.9), 0.0),
    ],
)
def test_a_truth_becomes_a_target(node, expected):
    assert target_of(node) == expected


def test_an_unknown_truth_has_no_target():
    assert np.isnan(target_of(Node(id=1)))
    assert np.isnan(target_of(Node(id=1, p_malignant=0.9)))


def test_nodes_keep_their_place_and_their_truth():
    samples = Samples.from_annotation("a", annotation(), PrepareConfig())

    (instances,) = samples.instances
    assert set(np.unique(instances)) == {0, 1, 2}
    first, second = (np.argwhere(instances == id_).mean(0) for id_ in (1, 2))
    assert first[0] < second[0]
    assert first[1] < second[1]
    np.testing.assert_array_equal(samples.node_targets[0, :3], [1, 0, np.nan])
    assert samples.frame_targets[0] == 1


def test_a_frame_with_a_node_of_unknown_truth_has_no_label():
    marked = annotation(nodes=(Node(id=3, truth="benign"), Node(id=5)))

    samples = Samples.from_annotation("a", marked, PrepareConfig())

    assert np.isnan(samples.frame_targets[0])


def test_frames_come_back_from_the_cache(samples, tmp_path):
    samples.save(tmp_path / "cache.npz")

    loaded = Samples.load(tmp_path / "cache.npz")

    assert loaded.ids == samples.ids
    for name in ("images", "instances", "has_mask", "node_targets", "frame_targets"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(samples, name))


def test_a_training_folder_becomes_samples(tmp_path):
    study = TrainingFolder.create(tmp_path / "study")
    phantom = simulate(3, n_nodes=2)
    saved = Annotation(frame=phantom.frame, instances=phantom.instances, nodes=phantom.nodes)
    case = study.save(saved, patient="one", source_kind="simulated")

    samples = Samples.from_cases(study, [case], PrepareConfig())

    direct = Samples.from_annotation("x", saved, PrepareConfig())
    assert samples.ids == (case.id,)
    assert samples.has_mask[0]
    truths = [float(node.truth == "metastatic") for node in phantom.nodes]
    np.testing.assert_array_equal(samples.node_targets[0, :2], truths)
    overlap = (samples.instances > 0) & (direct.instances > 0)
    assert overlap.sum() > 0.95 * (direct.instances > 0).sum()


def test_every_frame_is_visited_once_an_epoch_in_another_order():
    first, second = order(50, 0, 0), order(50, 0, 1)

    assert sorted(first) == sorted(second) == list(range(50))
    assert list(first) != list(second)
    assert list(first) == list(order(50, 0, 0))


@pytest.mark.parametrize("crop", [False, True])
def test_augmentation_depends_on_the_frame_and_not_on_its_neighbours(samples, crop):
    keys = [(0, 0, index) for index in range(len(samples))]

    together = augment(Batch.of(samples), keys, "ultrasound", crop=crop)
    alone = augment(Batch.of(samples.take([7])), keys[7:8], "ultrasound", crop=crop)

    torch.testing.assert_close(together.image[7:8], alone.image, atol=1e-6, rtol=0)
    torch.testing.assert_close(together.instances[7:8], alone.instances)


@pytest.mark.parametrize("on_device", [False, True])
def test_a_batch_is_the_same_from_a_device_that_holds_the_frames(samples, monkeypatch, on_device):
    monkeypatch.setattr(data_module, "_has_room", lambda *_: on_device)
    rng = np.random.default_rng(0)
    instances = samples.instances.copy()
    instances[3, :9] = 255
    wide = replace(samples, instances=instances, planes=rng.integers(0, 255, (20, 2, 64, 64), np.uint8))
    store = Store(wide, torch.device("cpu"))
    for chosen in ([7, 3, 4], [5, 0, 1]):  # with a frame of which a part was not judged, and without
        found, expected = store.batch(np.array(chosen)), Batch.of(wide.take(chosen))

        for name, value in vars(expected).items():
            other = getattr(found, name)
            assert (value is None) == (other is None) == (name == "judged" and 3 not in chosen)
            assert value is None or torch.equal(value, other), name
        assert torch.equal(found.image[:, 0] * 255, torch.from_numpy(samples.images[chosen]).float())
        assert found.instances.max() == 1


def test_the_draws_of_a_key_stay_what_they_were(samples):
    # a run that was begun with an earlier version goes on as it would have there
    batch, keys = Batch.of(samples.take([0, 1, 4, 7])), [(3, 0, index) for index in range(4)]
    expected = {
        False: (
            [0.36099, 0.4989, 0.36339, 0.45936],
            [0.16623, 0.18033, 0.19147, 0.19255],
            [512, 254, 0, 219],
        ),
        True: (
            [0.28004, 0.32807, 0.42164, 0.44859],
            [0.18175, 0.16661, 0.07727, 0.19434],
            [474, 250, 0, 219],
        ),
    }
    for crop, (means, deviations, areas) in expected.items():
        found = augment(batch, keys, "ultrasound", crop=crop)

        assert found.image.mean((1, 2, 3)).tolist() == pytest.approx(means, abs=1e-4)
        assert found.image.std((1, 2, 3)).tolist() == pytest.approx(deviations, abs=1e-4)
        assert found.instances.sum((1, 2, 3)).tolist() == pytest.approx(areas, abs=1)
    hidden = hide_cells(batch, keys).image.std((1, 2, 3))
    assert hidden.tolist() == pytest.approx([0.05865, 0.05442, 0.03125, 0.04717], abs=1e-4)


def test_the_mask_moves_with_the_image(samples):
    bright = replace(samples, images=np.where(samples.instances > 0, 255, 0).astype(np.uint8))

    batch = augment(Batch.of(bright), [(1, 0, index) for index in range(20)], "ultrasound")

    inside, outside = batch.image[batch.instances > 0], batch.image[batch.instances == 0]
    assert inside.mean() > 0.6
    assert outside.mean() < 0.05


def test_depth_is_never_turned_upside_down(samples):
    images = np.zeros_like(samples.images)
    images[:, :16] = 255
    batch = augment(Batch.of(replace(samples, images=images)), [(0, 0, i) for i in range(20)], "ultrasound")

    top, bottom = batch.image[:, 0, :24].mean((1, 2)), batch.image[:, 0, -24:].mean((1, 2))
    assert (top > bottom).all()


def test_a_node_that_is_cut_off_has_no_score(samples):
    batch = Batch.of(samples)
    crops = augment(batch, [(0, 0, i) for i in range(20)], "flip", crop=True)

    whole = crops.node_weight > 0
    for frame, id_ in crops.nodes[whole].tolist():
        before = (batch.instances[frame] == id_).sum()
        after = (crops.instances[frame] == id_).sum()
        assert after >= 0.85 * before
    assert torch.equal(crops.nodes, batch.nodes)
    assert 0 < whole.sum() < len(batch.nodes)
    assert not crops.frame_weight.any()


def test_a_folder_teaches_truths_and_never_scores(tmp_path):
    nodes = (
        Node(id=3, truth="metastatic", truth_source="simulated", p_malignant=0.2),
        Node(id=5, truth="benign", truth_source="fna", p_malignant=0.9),
    )
    folder = TrainingFolder.create(tmp_path / "study")
    folder.save(annotation(nodes=nodes), patient="one", source_kind="file")

    samples = Samples.from_cases(folder, folder.cases(), PrepareConfig())

    assert sorted(samples.node_targets[0, :2]) == [0, 1]
    assert samples.frame_targets[0] == 1


def test_what_is_learnt_of_a_frame_is_its_label(tmp_path):
    rejected = Node(id=3, status="rejected", truth="metastatic")
    folder = TrainingFolder.create(tmp_path / "study")
    folder.save(annotation(nodes=(rejected, Node(id=5, truth="benign"))), patient="one", source_kind="file")

    (case,) = folder.cases()
    samples = Samples.from_cases(folder, [case], PrepareConfig())

    (alone,) = Samples.from_annotation("x", annotation(nodes=(Node(id=5),)), PrepareConfig()).instances
    np.testing.assert_array_equal(samples.instances[0], alone)
    assert samples.node_targets[0, 0] == samples.frame_targets[0] == 0
    assert np.isnan(samples.node_targets[0, 1:]).all()
    assert case.truth == "benign"


def test_a_prediction_that_nobody_judged_is_no_part_of_a_finished_frame(tmp_path):
    predicted = Node(id=3, status="predicted", truth="metastatic")
    folder = TrainingFolder.create(tmp_path / "study")
    folder.save(annotation(nodes=(predicted, Node(id=5, truth="benign"))), patient="one", source_kind="file")

    samples = Samples.from_cases(folder, folder.cases(), PrepareConfig())

    (alone,) = Samples.from_annotation("x", annotation(nodes=(Node(id=5),)), PrepareConfig()).instances
    np.testing.assert_array_equal(samples.instances[0], alone)
    assert samples.node_targets[0, 0] == 0
    assert samples.frame_targets[0] == 1  # the frame has a metastasis all the same


def test_a_frame_whose_nodes_are_all_rejected_has_no_class(tmp_path):
    nodes = tuple(Node(id=id_, status="rejected", truth="metastatic") for id_ in (3, 5))
    folder = TrainingFolder.create(tmp_path / "study")
    folder.save(annotation(nodes=nodes, status="rejected"), patient="one", source_kind="file")

    samples = Samples.from_cases(folder, folder.cases(), PrepareConfig())

    assert not samples.instances.any()
    assert np.isnan(samples.frame_targets[0])
    assert folder.cases()[0].truth == "unknown"


def test_the_class_of_a_frame_is_that_of_all_its_nodes_however_many():
    instances = np.zeros((200, 300), dtype=np.uint8)
    for id_ in range(1, 11):
        instances[40:80, 25 * id_ : 25 * id_ + 15] = id_
    nodes = tuple(Node(id=id_, truth="metastatic" if id_ == 9 else "benign") for id_ in range(1, 11))

    samples = Samples.from_annotation("a", annotation(instances=instances, nodes=nodes), PrepareConfig())
    unsure = Samples.from_annotation(
        "a", annotation(instances=instances, nodes=(*nodes[:8], Node(id=9), nodes[9])), PrepareConfig()
    )

    np.testing.assert_array_equal(samples.node_targets[0], np.zeros(8))
    assert set(np.unique(samples.instances)) == set(range(11))
    assert samples.frame_targets[0] == 1
    assert np.isnan(unsure.frame_targets[0])
