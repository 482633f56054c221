"""A real training process is stopped or killed, and no step is lost that need not be."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from napari_cln.folder.dataset import TrainingFolder
from napari_cln.training.run import TrainConfig, train

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows can only end a process at once")


@pytest.fixture(scope="module")
def study(study, tmp_path_factory) -> TrainingFolder:
    """A copy, whose split these runs freeze in their own way."""
    copy = tmp_path_factory.mktemp("studies") / "neck"
    shutil.copytree(study.path, copy, ignore=shutil.ignore_patterns("splits_final.json"))
    return TrainingFolder.open(copy)


@pytest.fixture(scope="module")
def config(small) -> TrainConfig:
    """Some thirty steps, a few an epoch: seconds on one thread."""
    return TrainConfig(epochs=6, folds=1, batch_size=1, start_from=str(small), compare_with="")


@pytest.fixture(scope="module")
def uninterrupted(study, config, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    list(train(study, run, config))
    return run


def start(study: TrainingFolder, run: Path, *options: str) -> subprocess.Popen[str]:
    """``napari-cln train`` in a process of its own, which computes as this one does."""
    return subprocess.Popen(
        [sys.executable, "-m", "napari_cln", "train", str(study.path), "--out", str(run), *options],
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    )


def heed_ctrl_c() -> None:
    """A test run in the background would hand on that Ctrl+C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def options_of(config: TrainConfig) -> list[str]:
    return [
        f"--{name.replace('_', '-')}={getattr(config, name)}"
        for name in ("epochs", "folds", "batch_size", "start_from", "compare_with")
    ]


def wait_for_epoch(run: Path, process: subprocess.Popen[str], epoch: int) -> None:
    """Until the run has told of an epoch."""
    while process.poll() is None:
        events = read_events(run) if (run / "progress.jsonl").is_file() else []
        if any(event.get("epoch") == epoch for event in events):
            return
        time.sleep(0.02)
    pytest.fail(f"The run ended too early: {process.communicate()[1]}")


def read_events(run: Path) -> list[dict]:
    """Events in the log; the last line may be half written still."""
    lines = (run / "progress.jsonl").read_text().split("\n")
    return [json.loads(line) for line in lines[:-1]]


def figures_of(run: Path) -> dict[tuple[str, int], dict]:
    """What the log says of each step and epoch, without the time that it took."""
    return {
        (event["event"], event["step"]): {key: event[key] for key in event if key != "seconds"}
        for event in read_events(run)
        if event["event"] in ("step", "epoch")
    }


def assert_equal_runs(run: Path, other: Path) -> None:
    for name in ("checkpoint.pt", "best.pt"):
        one, two = (
            torch.load(place / "fold-0" / name, weights_only=True, map_location="cpu")
            for place in (run, other)
        )
        for part in ("network", "average") if name == "checkpoint.pt" else (None,):
            a, b = (state[part] if part else state for state in (one, two))
            assert all(torch.equal(a[key], b[key]) for key in a)
    assert figures_of(run) == figures_of(other)
    assert (run / "model.json").read_text() == (other / "model.json").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_stop_loses_nothing(study, config, uninterrupted, tmp_path, number):
    run = tmp_path / "run"
    process = start(study, run, *options_of(config))
    wait_for_epoch(run, process, 1)

    process.send_signal(number)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 128 + number
    *_, last = read_events(run)
    assert last["event"] == "stopped"
    assert said.endswith(
        f"napari-cln: stopped after step {last['step']} of {last['of']}. "
        "The same command with --resume goes on from there.\n"
    )
    state = torch.load(run / "fold-0" / "checkpoint.pt", weights_only=True)
    assert state["progress"]["step"] == last["step"] < last["of"]

    list(train(study, run, config, resume=True))
    assert_equal_runs(run, uninterrupted)


def test_a_run_that_is_killed_twice_is_readable_and_goes_on_to_the_same_end(
    study, config, uninterrupted, tmp_path
):
    run = tmp_path / "run"
    moments = random.Random(5)
    for options, epoch in ((options_of(config), 1), (["--resume"], 3)):
        process = start(study, run, *options)
        wait_for_epoch(run, process, epoch)
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.communicate()

        assert json.loads((run / "run.json").read_text())["config"]["epochs"] == config.epochs
        state = torch.load(run / "fold-0" / "checkpoint.pt", weights_only=True)
        told = [event for event in read_events(run) if event["event"] == "epoch"]
        (reached,) = (event["step"] for event in told if event["epoch"] == epoch)
        assert state["progress"]["step"] >= reached
    with (run / "progress.jsonl").open("a") as log:
        log.write('{"event": "st')  # torn, as by a computer that loses its power

    for _ in train(study, run, config, resume=True):
        pass

    whole = run / "progress.jsonl"
    whole.write_text(whole.read_text().replace('{"event": "st\n', "", 1))
    assert_equal_runs(run, uninterrupted)
