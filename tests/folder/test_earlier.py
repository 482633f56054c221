"""A training folder that an earlier version left opens, checks, and goes on."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import import_study
from napari_cln.folder.health.check import check_study
from napari_cln.folder.readers import read_annotation, read_reading, second_readings
from napari_cln.folder.split.frozen import frozen_split

TWICE, READ, PLAIN = "0b0711017b93100d", "72c108ee6bcec09f", "2f72cfb2dc2a4c01"
NEGATIVE, WAITING = "0909c1aae64756f2", "ad933b208029e1bb"


@pytest.fixture
def study(data, tmp_path, monkeypatch) -> TrainingFolder:
    """A copy of a folder that version 0.1.0 left, with the salt it was made with."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "patient-salt").write_bytes(b"0" * 64)
    monkeypatch.setenv("NAPARI_CLN_CONFIG", str(tmp_path / "config"))
    shutil.copytree(data / "studies" / "neck-study-1", tmp_path / "neck-study-1")
    return TrainingFolder.open(tmp_path / "neck-study-1")


def test_its_frames_say_what_they_said(study):
    said = {case.id: (case.status, case.truth, len(case.nodes), case.revision) for case in study.cases()}

    assert said == {
        NEGATIVE: ("no-node", "unknown", 0, 1),
        TWICE: ("corrected", "benign", 2, 2),  # the node that was rejected says nothing
        PLAIN: ("accepted", "benign", 1, 1),
        READ: ("accepted", "metastatic", 1, 1),
        "a66df86b1ed37d6c": ("accepted", "metastatic", 1, 1),
        WAITING: ("predicted", "unknown", 0, 1),
    }


def test_its_pictures_are_those_of_its_records(study):
    counts = {}
    for case in study.cases():
        assert study.read_image(case).shape == case.shape == (224, 224)
        counts[case.id] = np.bincount(study.read_instances(case).ravel(), minlength=3)[1:].tolist()

    assert counts[TWICE] == [3049, 100]
    assert counts[NEGATIVE] == counts[WAITING] == [0, 0]


def test_nothing_in_it_is_amiss_but_what_later_versions_ask_for(study):
    found = check_study(study)

    assert {fault.kind for fault in found.faults if fault.severity == "error"} == {"held"}


def test_its_history_and_its_former_state_are_there(study):
    record = study.record(TWICE)
    (former,) = study.revisions(TWICE)

    assert [(line.who, line.action, line.model) for line in record.history] == [
        ("r1", "accepted", None),
        ("r2", "corrected", "default@0123456789ab"),
    ]
    assert (former.revision, former.status, former.note) == (1, "accepted", "first look")


def test_its_second_reading_is_read(study):
    assert second_readings(study) == {READ: ["r2"]}

    case = study.case(READ)
    moved = np.roll(study.read_instances(case), 3, axis=0)
    assert np.array_equal(read_reading(study, case, "r2").instances, moved)


def test_its_frozen_folds_hold(study):
    kept = study.layout.splits.read_bytes()

    folds = frozen_split(study, 2)

    assert {TWICE, "a66df86b1ed37d6c"} <= set(folds[0].validation)
    assert {NEGATIVE, PLAIN, READ} <= set(folds[1].validation)
    assert study.layout.splits.read_bytes().startswith(kept[:40])


def test_a_frame_of_it_is_saved_on_under_the_same_patient(study):
    annotation = read_annotation(study, study.case(PLAIN))

    case = study.save(
        replace(annotation, status="rejected", annotator="r3"), patient="P2", expected_revision=1
    )

    assert (case.revision, case.status, case.mask) == (2, "rejected", None)
    assert [record.revision for record in study.revisions(PLAIN)] == [1]
    assert study.record(PLAIN).spacing_mm == (0.1, 0.1)


def test_it_is_imported_whole_into_a_folder_of_today(study, tmp_path):
    steps = list(import_study(study.path, tmp_path / "today"))

    assert [step.problem for step in steps if step.problem] == []
    assert TrainingFolder.open(tmp_path / "today").ids() == study.ids()
