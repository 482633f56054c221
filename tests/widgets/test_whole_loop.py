"""The whole loop in one window, by mouse and key, on real frames of volunteers.

Open a frame, segment it, paint what the model missed, have it saved, train two epochs in a process
of its own, promote the new model, and segment again with it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image, Labels
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget
from strokes import drag

from napari_cln._layers import KEY
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import import_study
from napari_cln.folder.health.check import check_study
from napari_cln.folder.screens import confirm_screens, unseen_screens
from napari_cln.io.sources import read_frame
from napari_cln.models.library import model_in_use, read_card
from napari_cln.workflow.process import find_job

DONE_MS, TRAINED_MS = 120_000, 600_000
"""A loaded computer takes many times the minute that a quiet one does."""


@pytest.fixture(autouse=True)
def settings_of_a_new_user(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("NAPARI_CLN_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("NAPARI_CLN_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def study(data, tmp_path) -> TrainingFolder:
    """What was corrected on other days: twelve real frames of six patients."""
    for step in import_study(data / "folder", tmp_path / "study"):
        assert step.problem is None
    return TrainingFolder.open(tmp_path / "study")


@pytest.fixture
def run(tmp_path):
    """Folder of the run; its process ends with the test."""
    yield tmp_path / "study-run-1"
    if (job := find_job(tmp_path / "study-run-1", "train")) is not None:
        job.kill()


def retype(field: QWidget, text: str) -> None:
    """Replace what stands in a field, as a user does."""
    QTest.keyClick(field, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClicks(field, text)
    QTest.keyClick(field, Qt.Key.Key_Return)


def layers_of_kind(viewer, kind: type) -> list:
    return [layer for layer in viewer.layers if type(layer) is kind]


@pytest.mark.timeout(1200)
def test_a_correction_becomes_a_better_model(
    make_napari_viewer, study, run, data, qtbot, monkeypatch, tmp_path
):
    viewer = make_napari_viewer(show=True)
    canvas = viewer.window._qt_viewer.canvas.native
    frames, segment, correct, train = (
        viewer.window.add_plugin_dock_widget("napari-cln", name, tabify=True)[1]
        for name in ("Frames", "Segment", "Correct", "Train")
    )

    def wait_for(condition, timeout: int = DONE_MS) -> None:
        qtbot.waitUntil(lambda: bool(condition()), timeout=timeout)

    def bring_up(dock) -> None:
        outer = dock
        while not outer.inherits("QDockWidget"):
            outer = outer.parent()
        outer.raise_()
        wait_for(dock.isVisible)

    def press(button) -> None:
        wait_for(button.isEnabled)
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    # Open: the path is typed into the Frames dock.
    scan = Path(shutil.copy(data / "usgra" / "test_0009.png", tmp_path / "scan.png"))
    bring_up(frames)
    retype(frames.view.pattern, str(scan))
    wait_for(lambda: len(viewer.layers) == 1)
    (image,) = layers_of_kind(viewer, Image)
    assert np.array_equal(image.data, read_frame(scan).pixels)

    # Segment: Shift+S, with the model that ships.
    bring_up(segment)
    assert segment.view.model.value == "default"
    qtbot.keyClick(canvas, Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
    wait_for(lambda: layers_of_kind(viewer, Labels) and not segment.session.is_running)
    (labels,) = layers_of_kind(viewer, Labels)
    shipped = labels.metadata[KEY].model_id
    assert shipped == read_card("default").model_id
    assert segment.message.text().startswith("Segmented 1 frame")
    predicted = labels.data.copy()

    # Paint: the brush by its key, a stroke by the mouse; it is saved when it ends.
    bring_up(correct)
    retype(correct.view.study.reader, "r1")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(study.path))
    press(correct.view.study.open_button)
    assert correct.message.text() == "study: 12 frames."
    retype(correct.view.about.patient, "a new patient")
    viewer.layers.selection.active = labels
    viewer.reset_view()
    qtbot.keyClick(canvas, Qt.Key.Key_2)
    assert labels.mode == "paint"
    for _ in range(6):
        qtbot.keyClick(canvas, Qt.Key.Key_BracketRight)
    drag(viewer, (150, 200), (152, 240), (155, 280))
    wait_for(lambda: correct.message.text().startswith("Saved: "))
    assert correct.message.text().startswith("Saved: corrected")
    painted = labels.data.copy()
    assert (painted > predicted).sum() > 100

    # Say what it is, and accept: Shift+A. The record is on disk.
    node = int(painted[150, 200])
    truth = correct.view.nodes.choice(node, "truth")
    QTest.keyClicks(truth, "met")
    assert truth.currentText() == "metastatic"
    qtbot.keyClick(canvas, Qt.Key.Key_A, Qt.KeyboardModifier.ShiftModifier)
    wait_for(lambda: correct.session.filing.saver.is_idle and len(study.ids()) == 13)
    case = study.case(study.identify(read_frame(scan)))
    assert (case.status, case.truth) == ("corrected", "metastatic")
    assert case.patient == study.dataset.hash_key("patient", "a new patient")
    record = study.record(case.id)
    assert {entry.who for entry in record.history} == {"r1"}
    assert {entry.model for entry in record.history} == {shipped}
    x0, y0, x1, y1 = record.source.crop
    assert np.array_equal(study.read_instances(case), painted[y0:y1, x0:x1])
    assert [fault.kind for fault in check_study(study).faults if fault.severity == "error"] == ["held"]
    confirm_screens(study, unseen_screens(study), "r1")
    assert [fault for fault in check_study(study).faults if fault.severity == "error"] == []

    # Train: two epochs from the model in use, in a process of its own.
    bring_up(train)
    retype(train.view.folder.field, str(study.path))
    assert train.view.run.path == run
    train.view.settings.start_from.choose("default")
    assert train.view.settings.compare_with.value == "default"
    for name, value in (("epochs", 2), ("folds", 1), ("batch_size", 4)):
        retype(train.view.settings.fields[name].native, str(value))
    press(train.view.start)
    wait_for(train.view.stop.isEnabled)
    wait_for(lambda: train.view.outcome.promote.isVisibleTo(train), TRAINED_MS)
    assert train.message.text().startswith("Training in study-run-1 is done.")
    trained = read_card(str(run / "model.safetensors"))
    events = [json.loads(line) for line in (run / "progress.jsonl").read_text().splitlines()]
    assert [event["epoch"] for event in events if event["event"] == "epoch"] == [1, 2]
    assert trained.model_id != shipped == trained.recipe["start_from"]
    assert events[0]["frames"] == 13
    assert "Compared with default@" in train.view.outcome.comparison.text()
    folds = json.loads(study.layout.splits.read_text())
    assert case.id in {name for fold in folds for side in ("train", "val") for name in fold[side]}
    assert model_in_use() == "default"  # never without being asked

    # Promote: the Segment dock names the new model at once.
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    press(train.view.outcome.promote)
    assert model_in_use() == segment.view.model.value == trained.name
    assert f"{trained.model_id} is in use now, instead of default." in train.message.text()

    # Segment again: the new model's own layer, and the painted one is kept.
    bring_up(segment)
    press(segment.view.run_frame)
    wait_for(lambda: len(layers_of_kind(viewer, Labels)) == 2 and not segment.session.is_running)
    (again,) = [layer for layer in layers_of_kind(viewer, Labels) if layer is not labels]
    assert again.metadata[KEY].model_id == trained.model_id
    assert trained.name in segment.view.model.names.currentText()
    assert np.array_equal(labels.data, painted)
    correct.session.refresh()
    wait_for(lambda: correct.session.filing.saver.is_idle)
    assert study.record(case.id).status == "corrected"
    wait_for(lambda: not find_job(run, "train").is_alive())
