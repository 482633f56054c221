"""A training on channels beside the grey image: from a folder's frames to a model that reads them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_cln.annotation import Annotation, Node
from napari_cln.errors import RunError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import import_study
from napari_cln.folder.health.check import check_study
from napari_cln.folder.split.deal import Fold
from napari_cln.training.augmentation import augment
from napari_cln.training.checkpoint import load_weights
from napari_cln.training.config import TrainConfig
from napari_cln.training.data import Batch, Samples
from napari_cln.training.loop import fit
from napari_cln.training.run import _measured
from napari_cln.training.start import starting_point
from napari_cln.types import Frame, PrepareConfig


@pytest.fixture
def measured(tmp_path):
    """A folder with one frame whose flow was measured, and one without."""
    folder = TrainingFolder.create(tmp_path / "study")
    rng = np.random.default_rng(0)
    for index in range(2):
        grey = rng.integers(20, 200, (80, 100)).astype(np.uint8)
        instances = np.zeros((80, 100), np.uint8)
        instances[30:50, 40:70] = 1
        channels = {"flow": np.where(instances > 0, 255, 1).astype(np.uint8)} if index else {}
        frame = Frame(pixels=grey, scan_area=(10, 10, 70, 90), channels=channels)
        node = Node(id=1, truth="metastatic" if index else "benign", truth_source="fna")
        annotation = Annotation(frame=frame, instances=instances, nodes=(node,), status="accepted")
        folder.save(annotation, patient=f"patient {index}", source_kind="simulated")
    return folder


def test_a_folder_keeps_channels_on_the_stored_image(measured):
    (case,) = [case for case in measured.cases() if case.checksums.channels]

    (plane,) = measured.read_channels(case).values()

    assert plane.shape == case.shape == (60, 80)
    np.testing.assert_array_equal(plane > 1, measured.read_instances(case) > 0)
    assert not [fault for fault in check_study(measured.path).faults if fault.severity == "error"]


def test_a_damaged_channel_is_a_fault(measured):
    (path,) = measured.layout.records.glob("*.channel-flow.png")
    path.unlink()

    (fault,) = [fault for fault in check_study(measured.path).faults if fault.severity == "error"]
    assert path.name in fault.message


def test_channels_travel_into_another_folder(measured, tmp_path):
    list(import_study(measured.path, tmp_path / "other"))

    there = TrainingFolder.open(tmp_path / "other")
    assert sum("flow" in there.read_channels(case) for case in there.cases()) == 1


def test_a_training_says_on_how_many_frames_a_channel_was_measured(measured):
    cases = {case.id: case for case in measured.cases()}
    recipe = TrainConfig(channels=("flow", "stiffness", "despeckled")).to_recipe()
    fold = Fold(train=tuple(cases), validation=())

    (note,) = _measured(recipe, [fold], cases)

    assert note == "Channels that were measured, on 2 frames: flow 1, stiffness 0."


def test_samples_hold_the_planes_of_frames_that_have_them(measured):
    samples = Samples.from_cases(measured, measured.cases(), PrepareConfig(channels=("flow",)))

    assert samples.stacked.shape == (2, 3, 256, 256)
    assert sorted(bool(planes.any()) for planes in samples.planes) == [False, True]
    again = samples.take([1, 0]).planes
    np.testing.assert_array_equal(again[::-1], samples.planes)


def wide(samples):
    rng = np.random.default_rng(0)
    planes = np.stack([rng.integers(0, 256, samples.images.shape), np.full(samples.images.shape, 255)], 1)
    return replace(samples, planes=planes.astype(np.uint8))


@pytest.mark.parametrize("drop", [0.0, 1.0])
def test_a_dropped_channel_loses_value_and_place(samples, drop):
    batch = augment(Batch.of(wide(samples)), [(0, k) for k in range(20)], "ultrasound", drop=drop)

    assert bool(batch.image[:, 1:].any()) == (drop == 0.0)
    assert batch.image[:, 0].any()


def test_grey_is_augmented_alike_with_and_without_channels(samples):
    keys = [(0, k) for k in range(20)]

    alone, beside = (augment(Batch.of(each), keys, "ultrasound") for each in (samples, wide(samples)))

    torch.testing.assert_close(beside.image[:, :1], alone.image)


def test_a_training_learns_from_a_channel(samples, recipe, tmp_path):
    recipe = replace(
        recipe,
        network=replace(recipe.network, size=64, planes=2),
        prepare=PrepareConfig(channels=("flow",)),
        channel_dropout=0.0,
    )

    list(fit(wide(samples), wide(samples), recipe, tmp_path, epochs=1, seed=0))

    (beside,) = [value for key, value in load_weights(tmp_path).items() if key.endswith("beside")]
    assert beside.any()


def test_a_grey_model_is_a_start_that_answers_as_it_did(small):
    recipe = TrainConfig(channels=("flow", "stiffness")).to_recipe()

    start = starting_point(str(small), recipe)

    assert start.network.config.planes == 4
    grey = starting_point(str(small), TrainConfig().to_recipe()).network.eval()
    frames = torch.rand(1, 1, 256, 256)
    with torch.no_grad():
        ours = start.network.eval()(torch.cat([frames, torch.zeros(1, 4, 256, 256)], 1))
        assert torch.equal(ours.class_logits, grey(frames).class_logits)


def test_a_channel_is_named_once():
    with pytest.raises(RunError, match="each once"):
        TrainConfig(channels=("flow", "flow"))
