"""A training folder of simulated frames."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from napari_cln.errors import DatasetError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.simulated import simulate_folder, simulated_frames

N = 7


@pytest.fixture(scope="module")
def phantoms():
    return [phantom for _, phantom in simulated_frames(N, 3)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("simulated") / "study"
    for _ in simulate_folder(path, N, 3):
        pass
    return path


@pytest.fixture
def study(written, tmp_path):
    """A copy of the folder, to do with as a test likes."""
    return TrainingFolder.open(shutil.copytree(written, tmp_path / "study"))


@pytest.mark.slow
def test_every_record_holds_truth_millimetres_and_best_score(study, phantoms):
    records = [json.loads(path.read_text()) for path in sorted(study.layout.records.glob("*.json"))]

    found = sorted((record["p_malignant"], len(record["nodes"])) for record in records)
    assert found == sorted((phantom.malignancy, len(phantom.nodes)) for phantom in phantoms)
    for record in records:
        assert 0.02 < record["spacing_mm"][0] < 0.2
        assert record["source"]["kind"] == "simulated"
        assert record["source"]["manufacturer"] == "simulated"
        scores = [node["p_malignant"] for node in record["nodes"]]
        assert record["p_malignant"] == pytest.approx(1 - np.prod([1 - score for score in scores]))


def test_the_masks_are_those_of_the_simulation(study, phantoms):
    stored = sorted(int((study.read_instances(case) > 0).sum()) for case in study.cases())

    assert stored == sorted(int((phantom.instances > 0).sum()) for phantom in phantoms)


def test_a_frame_without_a_node_is_an_explicit_negative(study, phantoms):
    negatives = [case for case in study.cases() if case.status == "no-node"]

    assert len(negatives) == sum(not phantom.nodes for phantom in phantoms)
    for case in negatives:
        assert not study.read_instances(case).any()


def test_three_frames_are_one_patient(study):
    patients = [case.patient for case in study.cases()]

    assert sorted(patients.count(patient) for patient in set(patients)) == [1, 3, 3]


def test_the_images_are_cropped_and_free_of_overlay(study, phantoms):
    """Where nothing was drawn, the stored pixels are the clean ones; where something was, it is gone."""
    images = {image.shape: image for image in (study.read_image(case) for case in study.cases())}
    for phantom in phantoms:
        row0, column0, row1, column1 = phantom.frame.scan_area
        part = np.s_[row0:row1, column0:column1]
        clean, overlay = phantom.clean[part].astype(int), phantom.overlay[part]
        stored = images.get(clean.shape)
        if stored is None or (stored != clean)[~overlay].any():
            continue  # another frame of the same size
        shown = phantom.frame.grey[part]
        if overlay.any():
            assert np.abs(stored - clean)[overlay].mean() < 0.5 * np.abs(shown - clean)[overlay].mean()
        return
    pytest.fail("no stored image is a cropped, clean one")


@pytest.mark.slow
def test_the_same_seed_writes_the_same_frames(study, tmp_path):
    again = list(simulate_folder(tmp_path / "again", N, 3))

    assert sorted(case.id for case in again) == study.ids()


def test_a_folder_that_is_in_use_is_not_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(DatasetError, match="not empty"):
        next(simulate_folder(tmp_path, 1, 0))


@pytest.mark.slow
def test_a_folder_that_was_cut_short_is_gone_on_with(tmp_path, study):
    steps = simulate_folder(tmp_path / "cut", N, 3)
    for _ in range(3):
        next(steps)
    steps.close()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut" / "records").iterdir()}

    assert len(list(simulate_folder(tmp_path / "cut", N, 3))) == N

    assert TrainingFolder.open(tmp_path / "cut").ids() == study.ids()
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())


def test_a_folder_of_other_frames_is_not_gone_on_with(study):
    with pytest.raises(DatasetError, match="exists and is not empty"):
        next(simulate_folder(study.path, N, 4))
