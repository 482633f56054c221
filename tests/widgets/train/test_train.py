"""The Train dock in a real window, with real training processes on simulated frames."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from napari.components import ViewerModel
from napari.layers import Image, Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox

from napari_cln.cli import parse
from napari_cln.cli.options import settings_from
from napari_cln.folder.simulated import simulate_folder
from napari_cln.models.card import ModelComparison
from napari_cln.models.library import model_in_use, read_card
from napari_cln.training.config import TrainConfig
from napari_cln.training.run_folder import PIECE, RunFolder
from napari_cln.types import Estimate
from napari_cln.widgets.correct.dock import CorrectDock
from napari_cln.widgets.train.dock import TrainDock
from napari_cln.widgets.train.progress import Follower
from napari_cln.widgets.train.view import MAX_POINTS, TrainForm
from napari_cln.workflow.process import TOKEN, find_job, hand_over
from napari_cln.workflow.promote import describe_comparison

DONE_S = 240


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A training folder of simulated frames of four patients."""
    folder = tmp_path_factory.mktemp("studies") / "neck"
    for _ in simulate_folder(folder, 12, 5):
        pass
    return folder


@pytest.fixture(autouse=True)
def settings_of_a_new_user(tmp_path, monkeypatch, models) -> Path:
    """Neither the settings nor the models of whoever runs the tests are touched."""
    shutil.copytree(models, tmp_path / "models")
    monkeypatch.setenv("NAPARI_CLN_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("NAPARI_CLN_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


@pytest.fixture
def open_dock(qtbot, tmp_path):
    """Open a dock, by itself where it needs no window around it; its process ends with the test."""

    def open_dock(viewer=None) -> TrainDock:
        if viewer is not None:
            return viewer.window.add_plugin_dock_widget("napari-cln", "Train")[1]
        dock = TrainDock(ViewerModel())
        qtbot.addWidget(dock)
        dock.resize(320, 900)
        dock.show()
        return dock

    yield open_dock
    if (job := find_job(tmp_path / "run", "train")) is not None:
        job.kill()


@pytest.fixture
def dock(open_dock) -> TrainDock:
    return open_dock()


def fill(dock: TrainDock, study: Path, run: Path, epochs: int = 2) -> TrainDock:
    """Settings that are over soon."""
    dock.view.folder.choose(study)
    dock.view.run.choose(run)
    dock.view.settings.start_from.choose("small")
    dock.view.settings.compare_with.choose("small")
    dock.view.settings.fields.epochs.value = epochs
    dock.view.settings.fields.folds.value = 1
    dock.view.settings.fields.batch_size.value = 4
    return dock


@pytest.fixture
def ready(dock, study, tmp_path) -> TrainDock:
    return fill(dock, study, tmp_path / "run")


def press(qtbot, button) -> None:
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def write_events(run: Path, *events: dict) -> None:
    run.mkdir(exist_ok=True)
    with (run / "progress.jsonl").open("a") as log:
        for event in events:
            log.write(json.dumps(event) + "\n")


START = {"event": "start", "folds": 2, "frames": 30, "epochs": 4, "device": "cpu"}


def epoch(number: int, fold: int = 0, **other) -> dict:
    figures = {"n": 6, "dice_mean": 0.1 * number, "dice_median": 0.1, "auc": 0.7, "worst": []}
    at = {"event": "epoch", "fold": fold, "epoch": number, "step": 5 * number, "seconds": 60.0 * number}
    return at | figures | other


# ------------------------------------------------------------ the form


def test_the_form_is_the_dataclass(dock):
    fields = dock.view.settings.fields

    assert (fields.epochs.value, fields.epochs.min, fields.epochs.max) == (50, 1, 1000)
    assert fields.folds.tooltip.startswith("Networks to train, each validated on the patients")
    assert fields.learning_rate.value == 1e-3
    assert dock.view.settings.value.compare_with == "default"
    assert dock.view.settings.value.start_from == ""
    assert fields.ensemble.native.text() == ""  # the title of its row says it


@pytest.fixture
def taken(study, tmp_path, monkeypatch):
    """Settings as the command takes them that a dock starts."""

    def taken(config: TrainConfig) -> TrainConfig:
        (tmp_path / "run").mkdir()
        monkeypatch.chdir(tmp_path)
        options = hand_over(config, RunFolder(tmp_path / "run"))
        given = dict(parse(["train", str(study), "--out", "run", *options])[1].arguments)
        paths = {name: value for name, value in given.items() if name in vars(config)}
        return settings_from(TrainConfig(), given["settings"], paths)

    return taken


def test_settings_that_differ_reach_the_command(dock, taken):
    dock.view.settings.fields.epochs.value = 7
    dock.view.settings.fields.classification_only.value = True
    dock.view.settings.compare_with.names.setCurrentIndex(0)

    config = taken(dock.view.settings.value)

    assert config == TrainConfig(classification_only=True, epochs=7, compare_with="")


def test_the_command_line_takes_every_option_of_the_form(dock, taken):
    fields = dock.view.settings.fields
    fields.recipe.value, fields.classification_only.value = "paper", True
    fields.ensemble.value = True
    fields.epochs.value, fields.folds.value, fields.batch_size.value = 3, 2, 4
    fields.learning_rate.value, fields.patience.value, fields.seed.value = 1e-5, 6, 9
    dock.view.settings.start_from.choose("small")
    dock.view.settings.compare_with.choose("small")
    config = dock.view.settings.value

    assert taken(config) == config


def test_a_path_reaches_the_command_and_not_the_folder_of_the_run(taken, models, tmp_path):
    config = TrainConfig(start_from=str(models / "small.safetensors"), epochs=3)

    assert taken(config) == config
    assert str(models) not in (tmp_path / "run" / "settings.json").read_text()


def test_the_form_shows_the_record_of_a_run(qtbot):
    settings = TrainForm()
    qtbot.addWidget(settings)
    record = TrainConfig(recipe="paper", epochs=7, learning_rate=1e-5, patience=3, compare_with="")

    settings.show_record(record)

    assert settings.value == record


def test_a_damaged_record_is_named_and_leaves_the_form_as_it_is(dock, tmp_path):
    before = dock.view.settings.value
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"config": {"epochs": "many"}}')

    dock.view.run.choose(tmp_path / "run")

    assert 'run.json in run can\'t be read: config.epochs is "many"' in dock.message.text()
    assert dock.view.settings.value == before


def test_settings_that_contradict_each_other_start_nothing(ready, qtbot, tmp_path):
    ready.view.settings.fields.ensemble.value = True

    press(qtbot, ready.view.start)

    assert ready.message.text().startswith("An ensemble needs the networks of several folds")
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------ before the start


def test_without_a_folder_it_says_what_to_do(dock, qtbot):
    press(qtbot, dock.view.start)

    assert "Choose a training folder" in dock.message.text()


def test_a_folder_that_is_none_is_named(dock, qtbot, tmp_path):
    dock.view.folder.choose(tmp_path)
    dock.view.run.choose(tmp_path / "run")

    press(qtbot, dock.view.start)
    qtbot.waitUntil(lambda: "is not a training folder" in dock.message.text(), timeout=20_000)

    assert dock.view.start.isEnabled()
    assert not (tmp_path / "run").exists()


def test_a_fault_of_the_folder_stops_the_run_before_it_starts(ready, qtbot, study, tmp_path):
    copy = tmp_path / "damaged"
    shutil.copytree(study, copy)
    (copy / "imagesTr" / "holiday.png").write_bytes(b"no frame")
    ready.view.folder.choose(copy)

    press(qtbot, ready.view.start)
    qtbot.waitUntil(lambda: ready.message.text().startswith("Not started."), timeout=30_000)

    assert "holiday.png" in ready.message.text()
    assert not (tmp_path / "run").exists()


def test_a_new_run_lies_beside_the_training_folder(dock, study, qtbot):
    dock.view.folder.choose(study)

    assert dock.view.run.path == study.with_name("neck-run-1")


def test_the_folder_that_is_corrected_is_the_one_to_train_on(qtbot, study, tmp_path):
    """Whichever dock is opened first; the folder of a run that is under way stays."""
    viewer = ViewerModel()
    train, correct = TrainDock(viewer), CorrectDock(viewer)
    another = TrainDock(ViewerModel())
    for dock in (train, correct, another):
        qtbot.addWidget(dock)

    correct.view.study.open_folder(study)
    later = TrainDock(viewer)
    qtbot.addWidget(later)
    sleeper = running(tmp_path / "run")
    follow(later, tmp_path / "run", START, epoch(1))
    shutil.copytree(study, tmp_path / "copy")
    correct.view.study.open_folder(tmp_path / "copy")
    sleeper.kill()
    sleeper.communicate()

    assert (train.view.folder.path, train.view.run.path) == (tmp_path / "copy", tmp_path / "copy-run-1")
    assert (later.view.folder.path, later.view.run.path) == (study, tmp_path / "run")
    assert another.view.folder.path is None


def test_a_folder_that_holds_a_run_is_not_overwritten(ready, qtbot, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"config": {"epochs": 9}}')
    ready.session._take_run()

    press(qtbot, ready.view.start)

    assert "run already holds a run" in ready.message.text()
    assert ready.view.settings.fields.epochs.value == 9


# ------------------------------------------------------------ what a run says


def follow(dock: TrainDock, run: Path, *events: dict) -> TrainDock:
    write_events(run, *events)
    dock.view.run.choose(run)
    return dock


def test_curves_of_each_fold_and_the_time_left_are_shown(dock, tmp_path):
    events = [START, *(epoch(number) for number in (1, 2, 3, 4)), epoch(1, fold=1, auc=None)]

    follow(dock, tmp_path / "run", *events)

    dice, auc = (dock.view.curves.panels[name].lines for name in ("dice", "auc"))
    assert [list(line.get_ydata()) for line in dice] == [pytest.approx([0.1, 0.2, 0.3, 0.4]), [0.1]]
    assert [len(line.get_xdata()) for line in auc] == [4, 0]
    assert dock.view.process.bar.value() == 625  # five of eight epochs
    assert dock.message.text().startswith("Fold 2 of 2, epoch 2 of 4 on cpu, Dice 0.100, about 3 min left.")


def test_a_loss_that_is_no_number_is_told_with_the_frames(dock, tmp_path):
    reason = "The loss of step 7 is not a number, on the frames 0123456789abcdef. Look at these frames."

    follow(dock, tmp_path / "run", START, epoch(1), {"event": "failed", "message": reason})

    assert dock.message.text() == reason
    assert not dock.view.stop.isEnabled()


def test_memory_that_ran_out_is_told_with_advice(dock, tmp_path):
    reason = "Memory ran out with 8 frames a step. Choose a batch size of 4, or train on the CPU."

    follow(dock, tmp_path / "run", START, {"event": "failed", "message": reason})

    assert dock.message.text() == reason


def test_a_run_of_few_steps_has_a_loss_curve_too(dock, tmp_path):
    loss = {"total": 0.5}
    step = {"event": "step", "fold": 0, "step": 10, "of": 20, "seconds": 90.0, "loss": {"total": 0.25}}

    follow(dock, tmp_path / "run", START, epoch(1, loss=loss), step, epoch(2, loss=loss))

    (line,) = dock.view.curves.panels["loss"].lines
    assert list(line.get_xdata()) == [1, 2]
    assert list(line.get_ydata()) == [0.5, 0.25]  # of an epoch that told of its steps, these


def test_a_run_that_was_stopped_from_elsewhere_says_where(dock, tmp_path):
    stopped = {"event": "stopped", "fold": 0, "step": 7, "of": 20}

    follow(dock, tmp_path / "run", START, epoch(1), stopped)
    told = dock.message.text()
    write_events(tmp_path / "run", START, epoch(2))
    dock.look()

    assert told == "Stopped after step 7 of 20. Resume goes on from there."
    assert dock.message.text().startswith("Fold 1 of 2, epoch 3 of 4")


def test_a_collapsed_mask_head_is_told_while_the_run_goes_on(dock, qtbot, tmp_path):
    run = tmp_path / "run"
    sleeper = running(run)
    dead = {"event": "collapsed", "fold": 0, "epoch": 1, "message": "The mask head draws nothing."}

    follow(dock, run, START, epoch(1, dice_mean=0.0), dead)
    told = dock.message.text()
    write_events(run, epoch(2))
    dock.look()

    sleeper.kill()
    sleeper.communicate()
    assert told.startswith("Fold 1, epoch 1: The mask head draws nothing. Fold 1 of 2, epoch 2 of 4")
    assert "draws nothing" not in dock.message.text()


def running(run: Path) -> subprocess.Popen:
    """A process that a run's folder names as its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"],
        stdin=subprocess.PIPE,
        env=os.environ | {TOKEN: "mine"},
        start_new_session=True,
    )
    run.mkdir(exist_ok=True)
    noted = {"pid": process.pid, "token": "mine", "host": socket.gethostname(), "command": "train"}
    (run / "job.json").write_text(json.dumps(noted))
    while not find_job(run, "train").is_alive():  # its environment is there a moment after its start
        time.sleep(0.01)
    return process


def test_another_process_with_the_number_of_an_old_run_is_neither_followed_nor_stopped(dock, qtbot, tmp_path):
    run = tmp_path / "run"
    sleeper = running(run)
    stale = json.loads((run / "job.json").read_text()) | {"token": "of an earlier process"}
    (run / "job.json").write_text(json.dumps(stale))

    follow(dock, run, START, epoch(1))
    find_job(run, "train").kill()

    assert not dock.view.stop.isEnabled()
    assert "ended before it was done, without a word" in dock.message.text()
    assert sleeper.poll() is None
    sleeper.kill()
    sleeper.communicate()


def test_stop_ends_the_process_and_all_that_it_started(dock, qtbot, tmp_path):
    """The process does not listen when it is asked; a second press ends it and its child."""
    code = (
        "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
        "print(child.pid, flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {TOKEN: "mine"},
        start_new_session=True,
    )
    grandchild = psutil.Process(int(process.stdout.readline()))
    run = tmp_path / "run"
    run.mkdir()
    noted = {"pid": process.pid, "token": "mine", "host": socket.gethostname(), "command": "train"}
    (run / "job.json").write_text(json.dumps(noted))
    follow(dock, run, START, epoch(1))

    press(qtbot, dock.view.stop)
    assert dock.view.stop.text() == "Stop now"
    assert process.poll() is None
    press(qtbot, dock.view.stop)

    assert process.wait(timeout=20) == -signal.SIGKILL
    _, alive = psutil.wait_procs([grandchild], timeout=20)
    assert not alive or alive[0].status() == psutil.STATUS_ZOMBIE
    dock.look()
    assert dock.message.text() == "Stopped. Resume goes on from the last checkpoint."
    process.stdout.close()
    process.stdin.close()


def test_a_run_on_another_computer_is_followed_and_not_stopped(dock, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "job.json").write_text(
        json.dumps({"pid": os.getpid(), "token": "x", "host": "elsewhere", "command": "train"})
    )

    follow(dock, run, START, epoch(1))

    assert "It was started on elsewhere: stop it there." in dock.message.text()
    assert not dock.view.stop.isEnabled()


def test_lines_that_are_torn_foreign_or_wrong_change_nothing(tmp_path):
    follower = Follower(RunFolder(tmp_path))
    write_events(tmp_path, START, epoch(1))
    follower.read()
    log = tmp_path / "progress.jsonl"
    whole = json.dumps(epoch(2)).encode()
    with log.open("ab") as file:
        file.write(
            b'\xff\n[]\nnull\n{"event": "epoch"}\n{"event": ["x"]}\n' + b"[" * 9000 + b"\n" + whole[:20]
        )

    follower.read()
    half = dict(follower.progress.folds[0].dice)
    with log.open("ab") as file:
        file.write(whole[20:] + b"\n")
    follower.read()

    assert half == {1.0: 0.1}
    assert follower.progress.folds[0].dice == {1.0: 0.1, 2.0: 0.2}


def test_a_long_run_is_read_in_pieces_and_drawn_with_few_points(dock, tmp_path):
    steps = [
        {
            "event": "step",
            "fold": 0,
            "step": 10 * n,
            "of": 1_000_000,
            "seconds": n / 10,
            "loss": {"total": 1 / n},
        }
        for n in range(1, 100_001)
    ]
    write_events(tmp_path / "run", START | {"epochs": 100}, *steps, epoch(100))
    dock.view.run.choose(tmp_path / "run")
    offsets = [dock.session.follower.offset]

    while dock.session.follower.progress.folds[0].dice == {}:
        dock.look()
        offsets.append(dock.session.follower.offset)

    assert len(dock.session.follower.progress.folds[0].loss) == 100_000
    assert len(offsets) > 10
    assert np.diff(offsets).max() <= PIECE
    drawn = [len(line.get_xdata()) for line in dock.view.curves.panels["loss"].lines]
    assert drawn
    assert max(drawn) <= 2 * MAX_POINTS


def test_the_comparison_speaks_of_intervals():
    better = Estimate(value=0.03, low=0.01, high=0.05, n=40)
    same = Estimate(value=0.01, low=-0.02, high=0.04, n=40)

    words, mood = describe_comparison(ModelComparison(model="small@0123", dice=better, auc=same))

    assert "mean Dice +0.030 (95 % interval +0.010 to +0.050, n = 40)" in words
    assert "Better in one figure; the other shows no difference." in words
    assert mood == "good"


def test_figures_name_their_frames_once(dock, tmp_path):
    figures = ["Dice on 9 frames: 0.9 (0.8–1.0, n = 9)", "AUC on 9 frames: 0.7 (0.6–0.8, n = 9)"]

    follow(dock, tmp_path / "run", START, epoch(1), {"event": "end", "fold": 0, "figures": figures})

    lines = dock.view.outcome.figures.text().replace("\u00a0", " ").split("\n")
    assert lines == ["On 9 frames:", "Dice: 0.9 (0.8–1.0, n = 9)", "AUC: 0.7 (0.6–0.8, n = 9)"]


@pytest.mark.parametrize(
    ("comparison", "words"),
    [
        (None, "This run was not compared with another model."),
        (ModelComparison(model="small", message="It is gone."), "Not compared with small: It is gone."),
        (ModelComparison(model="small"), "These frames can't tell."),
    ],
)
def test_a_comparison_that_is_missing_is_told(comparison, words):
    assert words in describe_comparison(comparison)[0]


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """What the user was asked; the answer is No, and Yes from the second time on."""
    questions: list[str] = []

    def ask(_parent, _title, text, _buttons, default) -> QMessageBox.StandardButton:
        questions.append(text)
        assert default == QMessageBox.StandardButton.No
        return QMessageBox.StandardButton.Yes if len(questions) > 1 else default

    monkeypatch.setattr(QMessageBox, "question", ask)
    return questions


def ended(run: Path, models: Path, *events: dict) -> None:
    """A run that is done, with the small network as its model."""
    write_events(run, START, epoch(1), *events, {"event": "end", "fold": 0, "figures": []})
    for ending in (".safetensors", ".json"):
        shutil.copy(models / f"small{ending}", run / f"model{ending}")


def test_a_model_that_is_worse_is_promoted_only_after_a_yes(dock, qtbot, models, tmp_path, asked):
    gap = {"value": -0.96, "low": -0.98, "high": -0.94, "n": 12}
    in_use = read_card("default").model_id
    ended(tmp_path / "run", models, {"event": "comparison", "with": in_use, "dice": gap, "auc": None})
    dock.view.run.choose(tmp_path / "run")
    (tmp_path / "models" / "small.json").unlink()  # or it would be known already under that name
    (tmp_path / "models" / "small.safetensors").unlink()

    press(qtbot, dock.view.outcome.promote)
    assert f"does worse than {in_use} on the same frames: mean Dice -0.960 (95 % interval" in asked[0]
    assert (dock.message.text(), model_in_use()) == ("Not promoted. default stays in use.", "default")

    press(qtbot, dock.view.outcome.promote)
    assert model_in_use() == "small"


def test_a_model_that_was_not_compared_is_promoted_only_after_a_yes(dock, qtbot, models, tmp_path, asked):
    ended(tmp_path / "run", models)
    dock.view.run.choose(tmp_path / "run")

    press(qtbot, dock.view.outcome.promote)

    assert "was not compared with the model in use" in asked[0]
    assert model_in_use() == "default"


def test_a_model_that_is_better_is_promoted_unasked(dock, qtbot, models, tmp_path, asked):
    gap = {"value": 0.1, "low": 0.05, "high": 0.15, "n": 12}
    in_use = read_card("default").model_id
    ended(tmp_path / "run", models, {"event": "comparison", "with": in_use, "dice": gap, "auc": gap})
    dock.view.run.choose(tmp_path / "run")

    press(qtbot, dock.view.outcome.promote)

    assert asked == []
    assert model_in_use() == "small"


def test_what_was_damaged_is_told_while_the_run_goes_on(dock, tmp_path):
    run = tmp_path / "run"
    sleeper = running(run)
    note = {"event": "note", "message": "fold-0/checkpoint.pt is damaged. The fold goes on from step 8."}

    follow(dock, run, START, note, epoch(1))
    told = dock.message.text()

    sleeper.kill()
    sleeper.communicate()
    assert told.startswith("fold-0/checkpoint.pt is damaged. The fold goes on from step 8. Fold 1 of 2")


def test_zeros_of_a_power_cut_are_passed_over(dock, tmp_path):
    write_events(tmp_path / "run", START, epoch(1))
    with (tmp_path / "run" / "progress.jsonl").open("ab") as log:
        log.write(bytes(4096) + b"\n")

    follow(dock, tmp_path / "run", epoch(2))

    assert dock.message.text().startswith("Fold 1 of 2, epoch 3 of 4")


def test_a_damaged_note_of_the_process_is_told(dock, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"config": {}}')
    (tmp_path / "run" / "job.json").write_text('{"pid": -3}')

    follow(dock, tmp_path / "run", START, epoch(1))

    assert "job.json in run can't be read: " in dock.message.text()
    assert not dock.view.stop.isEnabled()


def test_the_window_needs_no_torch_to_open_the_dock():
    code = "import sys, napari_cln.widgets.train.dock; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], timeout=240).returncode == 0


# ------------------------------------------------------------ a real run


def test_a_run_is_followed_promoted_and_taken_back(open_dock, study, qtbot, viewer, tmp_path, asked):
    """Start, curves, worst frames, figures, promotion, the Segment dock, undo: one real run."""
    ready = fill(open_dock(viewer), study, tmp_path / "run")
    _, segment = viewer.window.add_plugin_dock_widget("napari-cln", "Segment")
    segment.view.model.choose("default")

    press(qtbot, ready.view.start)
    qtbot.waitUntil(lambda: ready.view.stop.isEnabled(), timeout=30_000)
    job = find_job(tmp_path / "run", "train")
    assert os.getsid(job.pid) != os.getsid(0)  # its own session: it outlives this one
    qtbot.waitUntil(lambda: ready.view.outcome.promote.isVisibleTo(ready), timeout=DONE_S * 1000)

    assert ready.message.text().startswith("Training in run is done.")
    assert [len(line.get_xdata()) for line in ready.view.curves.panels["dice"].lines] == [2]
    assert "n\u00a0=\u00a0" in ready.view.outcome.figures.text()
    assert "Compared with small@" in ready.view.outcome.comparison.text()
    assert model_in_use() == "default"
    qtbot.waitUntil(lambda: not job.is_alive(), timeout=30_000)
    written = [path.read_text() for path in (tmp_path / "run").glob("*.[tj]*")]
    assert len(written) >= 5  # log, job, record, progress, card
    assert not any(str(tmp_path) in text or str(study) in text for text in written)

    qtbot.waitUntil(lambda: bool(ready.view.worst.buttons), timeout=30_000)
    qtbot.mouseClick(ready.view.worst.buttons[0], Qt.MouseButton.LeftButton)
    assert [type(layer) for layer in viewer.layers] == [Image, Labels]
    assert viewer.layers[0].data.shape == viewer.layers[1].data.shape

    press(qtbot, ready.view.outcome.promote)  # asks, since it was compared with another than the one in use
    assert "small@" in asked[0]
    assert "in place of default?" in asked[0]
    assert model_in_use() == "default"
    press(qtbot, ready.view.outcome.promote)
    assert segment.view.model.value == model_in_use() == "run"
    assert "is in use now, instead of default." in ready.message.text()
    assert not ready.view.outcome.promote.isEnabled()

    press(qtbot, ready.view.outcome.undo)
    assert segment.view.model.value == model_in_use() == "default"
    assert segment.view.model.names.findData("run") >= 0


def test_a_run_outlives_the_window_and_is_found_again(open_dock, study, qtbot, tmp_path):
    """Close the window in mid-run, open another: it follows, stops and resumes the same process."""
    first = fill(TrainDock(ViewerModel()), study, tmp_path / "run", epochs=400)
    first.show()
    press(qtbot, first.view.start)
    qtbot.waitUntil(lambda: first.view.curves.isVisible(), timeout=DONE_S * 1000)
    job = first.session.process.job
    first.close()
    first.deleteLater()
    qtbot.wait(200)
    assert job.is_alive()

    second = open_dock()

    assert second.view.run.path == tmp_path / "run"
    assert second.view.folder.path == study
    assert second.view.settings.value.epochs == 400
    assert second.message.text().startswith("Fold 1 of 1, epoch ")
    assert not second.view.start.isEnabled()
    press(qtbot, second.view.stop)
    qtbot.waitUntil(lambda: not job.is_alive(), timeout=60_000)
    qtbot.waitUntil(lambda: second.view.resume.isEnabled(), timeout=10_000)
    told = re.fullmatch(
        r"Stopped after step (\d+) of \d+\. Resume goes on from there\.", second.message.text()
    )
    checkpoint = torch.load(tmp_path / "run" / "fold-0" / "checkpoint.pt", weights_only=True)
    assert checkpoint["progress"]["step"] == int(told[1])
    reached = max(second.session.follower.progress.folds[0].dice)

    press(qtbot, second.view.resume)
    qtbot.waitUntil(
        lambda: max(second.session.follower.progress.folds[0].dice) > reached, timeout=DONE_S * 1000
    )
    assert second.session.process.job.pid != job.pid
    second.session.process.job.kill()
    qtbot.waitUntil(lambda: "without a word, as when it is killed" in second.message.text(), timeout=10_000)
