"""The Evaluate dock in a real window, with a real evaluation of simulated frames."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from qtpy.QtCore import QObject, Qt, QUrl, Slot
from qtpy.QtGui import QDesktopServices

from napari_cln import TrainingFolder
from napari_cln.cli import parse
from napari_cln.cli.options import settings_from
from napari_cln.folder.pictures import encode_png
from napari_cln.folder.simulated import simulate_folder
from napari_cln.study.cases import CaseRow, write_rows
from napari_cln.study.config import EvaluationSettings
from napari_cln.study.evaluation import evaluate_rows
from napari_cln.study.report import write_report
from napari_cln.training.run_folder import Judged, RunFolder
from napari_cln.widgets.evaluate.dock import EvaluateDock
from napari_cln.widgets.evaluate.session import worst_frames
from napari_cln.workflow.process import find_job, hand_over

DONE_S = 240


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A training folder of simulated frames of four patients."""
    folder = tmp_path_factory.mktemp("studies") / "neck"
    for _ in simulate_folder(folder, 6, 5):
        pass
    return folder


@pytest.fixture(autouse=True)
def models_of_the_tests(small_model, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("NAPARI_CLN_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def dock(qtbot, tmp_path):
    """A dock without a window around it; its process ends with the test."""
    dock = EvaluateDock(ViewerModel())
    qtbot.addWidget(dock)
    dock.resize(340, 900)
    dock.show()
    yield dock
    if (job := find_job(tmp_path / "report", "evaluate")) is not None:
        job.kill()


def press(qtbot, button) -> None:
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def rows_of(dice: dict[str, float]) -> list[CaseRow]:
    row = CaseRow(id="", patient="p", truth="benign", score=0.3, frame_score=0.3, compared=True)
    return [
        replace(row, id=id_, patient=id_, dice=value, iou=value / (2 - value), frame_dice=value)
        for id_, value in dice.items()
    ]


# ------------------------------------------------------------ the form


def test_settings_that_differ_reach_the_command(dock, tmp_path, monkeypatch):
    dock.view.form.model.choose("small")
    dock.view.form.compare_with.choose("default")
    dock.view.form.fields.split.value = "validation"
    dock.view.form.fields.data.value = "-12 necks, one hospital"
    dock.view.form.fields.cutoff_from.value = "validation"
    dock.view.form.fields.rule.value = "sensitivity"
    dock.view.form.fields.sensitivity.value = 0.95
    dock.view.form.prevalence.setValue(25)
    dock.view.form.readers.choose(tmp_path)
    (tmp_path / "r").mkdir()
    monkeypatch.chdir(tmp_path)

    options = hand_over(dock.view.form.value, RunFolder(tmp_path / "r"))
    given = dict(parse(["evaluate", ".", "--out=r", *options])[1].arguments)
    taken = settings_from(EvaluationSettings(), given["settings"], {"readers": given["readers"]})

    assert taken == EvaluationSettings(
        model="small",
        compare_with="default",
        split="validation",
        rule="sensitivity",
        sensitivity=0.95,
        prevalence=0.25,
        cutoff_from="validation",
        data="-12 necks, one hospital",
        readers=str(tmp_path),
    )
    assert str(tmp_path) not in (tmp_path / "r" / "settings.json").read_text()


def test_the_form_says_what_each_setting_is(dock):
    assert dock.view.form.fields.split.tooltip.startswith("Set of cases whose figures are reported")
    assert dock.view.form.fields.resamples.min == 200


def test_a_folder_for_the_report_is_proposed(dock, study):
    dock.view.folder.choose(study)

    assert dock.view.out.path == study.with_name("neck-report-1")


# ------------------------------------------------------------ sentences


def test_without_a_folder_it_says_what_to_choose(dock, qtbot):
    press(qtbot, dock.view.start)

    assert dock.message.text() == "Choose a training folder with masks and truths. Then press Evaluate."


def test_a_report_is_not_written_over(dock, study, qtbot, tmp_path):
    write_report(evaluate_rows(rows_of({"a": 0.5})), tmp_path / "report")
    dock.view.folder.choose(study)
    dock.view.out.choose(tmp_path / "report")

    press(qtbot, dock.view.start)

    assert dock.message.text().startswith("report already holds a report. Choose another folder")


def test_a_training_run_is_neither_followed_nor_written_into(dock, study, qtbot, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text('{"config": {}}')
    (run / "job.json").write_text(
        json.dumps({"pid": os.getpid(), "token": "x", "host": "here", "command": "train"})
    )
    dock.view.folder.choose(study)
    dock.view.out.choose(run)

    assert dock.session.process.job is None
    press(qtbot, dock.view.start)
    assert dock.message.text().startswith("run already holds a training run.")


def test_what_stopped_the_process_is_said_in_its_sentence(dock, study, qtbot, tmp_path):
    dock.view.folder.choose(study)
    dock.view.out.choose(tmp_path / "report")
    dock.view.form.model.choose("small")
    dock.view.form.fields.split.value = "validation"

    press(qtbot, dock.view.start)
    qtbot.waitUntil(lambda: dock.view.start.isEnabled(), timeout=DONE_S * 1000)

    assert dock.message.text().startswith("No report was made. No frame of neck is in the set 'validation'")
    assert not dock.view.report.isVisibleTo(dock)


def test_stop_ends_the_process_and_nothing_is_reported(dock, study, qtbot, tmp_path):
    dock.view.folder.choose(study)
    dock.view.out.choose(tmp_path / "report")
    press(qtbot, dock.view.start)
    job = find_job(tmp_path / "report", "evaluate")

    press(qtbot, dock.view.stop)
    qtbot.waitUntil(lambda: not job.is_alive(), timeout=20_000)
    dock.look()

    assert dock.message.text() == "Stopped. Nothing was reported."
    assert dock.view.start.isEnabled()


def test_the_bar_follows_the_events_of_the_evaluation(dock, tmp_path):
    run = RunFolder(tmp_path)
    for done in (1, 2):
        run.note(Judged(done=done, of=4))
        dock.session.take_events(tmp_path)

    assert dock.session.state.process.done == 0.5


def test_a_report_that_is_torn_is_named(dock, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_text("{")

    dock.view.out.choose(tmp_path / "report")

    assert not dock.view.report.isVisibleTo(dock)
    assert "report holds no readable report" in dock.message.text()


# ------------------------------------------------------------ what is shown


def test_worst_frames_are_those_of_the_reported_set_with_what_went_wrong(tmp_path):
    rows = rows_of({"good": 0.9, "lost": 0.0, "loose": 0.4})
    rows[1] = replace(rows[1], missed=True)
    other = replace(rows[0], id="train", split="train", frame_dice=0.0)
    stray = replace(rows[0], id="empty", kind="stray", node=0, predicted_node=1, frame_dice=0.0, dice=None)
    (tmp_path / "report.json").write_text(json.dumps({"split": "test"}))
    write_rows([*rows, other, stray], tmp_path / "cases.csv")

    found = worst_frames(tmp_path)

    assert [frame.id for frame in found] == ["empty", "lost", "loose", "good"]
    assert found[0].words == "Dice 0.00 · no node here, one outlined · no node · score 0.30"
    assert found[1].words == "Dice 0.00 · missed · benign · score 0.30"


def test_the_window_needs_no_torch_to_open_the_dock():
    code = "import sys, napari_cln.widgets.evaluate.dock; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], timeout=240).returncode == 0


class Browser(QObject):
    """Takes what Qt would give to the browser."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[QUrl] = []

    @Slot(QUrl)
    def take(self, url: QUrl) -> None:
        self.urls.append(url)


def test_an_evaluation_from_the_button_to_both_outlines(make_napari_viewer, study, qtbot, tmp_path):
    viewer = make_napari_viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari-cln", "Evaluate")
    dock.view.folder.choose(study)
    dock.view.out.choose(tmp_path / "report")
    dock.view.form.model.choose("small")
    dock.view.form.fields.resamples.value = 200

    press(qtbot, dock.view.start)
    assert dock.view.stop.isEnabled()
    assert not dock.view.folder.isEnabled()
    qtbot.waitUntil(lambda: dock.view.report.isVisibleTo(dock), timeout=DONE_S * 1000)

    assert dock.message.text() == "The report is in report. It is for research, not for diagnosis."
    assert dock.view.report.limits.text() == "For research, not for diagnosis."
    assert "Sensitivity: " in dock.view.report.figures.text()
    assert " nodes · " in dock.view.report.figures.text()
    qtbot.waitUntil(lambda: bool(dock.view.report.ids), timeout=30_000)

    with (tmp_path / "report" / "cases.csv").open() as file:
        dice = {row["id"]: row["frame_dice"] for row in csv.DictReader(file)}
    worst = dock.view.report.ids[0]
    assert float(dice[worst]) == min(float(value) for value in dice.values() if value)
    for row in (0, 1):
        place = dock.view.report.worst.visualItemRect(dock.view.report.worst.item(row)).center()
        qtbot.mouseClick(dock.view.report.worst.viewport(), Qt.MouseButton.LeftButton, pos=place)
    image, reader, model = viewer.layers
    assert [type(layer) for layer in viewer.layers] == [Image, Labels, Labels]
    folder = TrainingFolder.open(study)
    case = folder.case(dock.view.report.ids[1])
    np.testing.assert_array_equal(reader.data, folder.read_instances(case))
    assert image.data.shape == reader.data.shape == model.data.shape
    assert reader.contour == model.contour == 2
    assert not model.editable
    assert not reader.editable

    browser = Browser()
    QDesktopServices.setUrlHandler("file", browser, "take")
    press(qtbot, dock.view.report.open)
    QDesktopServices.unsetUrlHandler("file")
    assert [url.fileName() for url in browser.urls] == ["report.html"]

    dock.view.out.choose(tmp_path / "another")
    assert not dock.view.report.isVisibleTo(dock)
    dock.view.out.choose(tmp_path / "report")
    assert dock.view.report.isVisibleTo(dock)


def test_a_frame_of_another_folder_than_the_one_that_is_corrected_is_to_look_at(
    make_napari_viewer, study, qtbot, tmp_path
):
    viewer = make_napari_viewer()
    _, correct = viewer.window.add_plugin_dock_widget("napari-cln", "Correct")
    correct.view.study.open_folder(TrainingFolder.create(tmp_path / "mine").path)
    _, dock = viewer.window.add_plugin_dock_widget("napari-cln", "Evaluate")
    dock.view.folder.choose(study)
    dock.view.out.choose(tmp_path / "report")
    theirs = TrainingFolder.open(study)
    case = next(case for case in theirs.cases() if case.mask is not None)
    (tmp_path / "report" / "masks").mkdir(parents=True)
    picture = encode_png(np.zeros(case.shape, np.uint8))
    (tmp_path / "report" / "masks" / f"{case.id}.png").write_bytes(picture)

    dock.session.open_frame(case.id)
    correct.session.refresh()

    said = f"A frame of the training folder {study.name}, to look at. Open that folder here to correct it."
    assert correct.view.state.words.text() == said
    correct.session.filing.take_reader("r1")
    correct.session.decisions.accept()
    correct.session.flush()
    assert TrainingFolder.open(tmp_path / "mine").ids() == []
    assert theirs.record(case.id).revision == case.revision
