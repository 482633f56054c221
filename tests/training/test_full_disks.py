"""Full and read-only disks: a sentence, and the run goes on once there is room. Real file systems."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from napari_cln.cli import main
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.network.weights import load_model
from napari_cln.training.run import TrainConfig, train
from napari_cln.training.run_folder import End, Epoch, RunFolder

pytestmark = pytest.mark.skipif(os.name == "nt", reason="mounting is POSIX")


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A real file system of 24 MB, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def make_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


@pytest.fixture
def options(small) -> list[str]:
    quick = ["--epochs", "2", "--folds", "2", "--batch-size", "2", "--compare-with", ""]
    return [*quick, "--start-from", str(small)]


@pytest.fixture
def config(small) -> TrainConfig:
    return TrainConfig(epochs=2, folds=2, batch_size=2, start_from=str(small), compare_with="")


@pytest.fixture
def locked_study(study, disk) -> TrainingFolder:
    """A study that was never split, on a disk that can't be written to."""
    shutil.copytree(study.path, disk / "neck", ignore=shutil.ignore_patterns("splits_final.json", ".cln"))
    make_read_only(disk)
    return TrainingFolder.open(disk / "neck")


def test_a_run_on_a_read_only_disk_is_refused_in_a_sentence(study, disk, options, capsys):
    make_read_only(disk)

    assert main(["train", str(study.path), "--out", str(disk / "run"), *options]) == 1

    assert capsys.readouterr().err == (
        "napari-cln: The run can't be written in run: read-only file system. "
        "Choose a folder where you may write.\n"
    )


def test_a_run_on_a_full_disk_says_so_and_goes_on_once_there_is_room(study, disk, options, capsys):
    run = disk / "run"
    train_there = ["train", str(study.path), "--out", str(run), *options]
    filler = fill(disk)

    assert main(train_there) == 1
    said = capsys.readouterr().err
    assert said.startswith("napari-cln: The run can't be written in run: no space left on device. Make room")

    filler.unlink()
    again = [*train_there, "--resume"] if RunFolder(run).is_begun else train_there
    assert main(again) == 0
    assert load_model(run / "model.safetensors").card.name == "run"


def test_a_disk_that_fills_up_in_mid_run_costs_no_whole_file(study, disk, config, tmp_path):
    run = disk / "run"
    events = train(study, run, config)
    for event in events:
        if isinstance(event, Epoch):
            break
    filler = fill(disk)
    with pytest.raises(Exception, match=r"can't be written in run: no space left.*resume it") as refused:
        list(events)
    assert type(refused.value).__name__ == "RunError"

    filler.unlink()
    *_, last = train(study, run, config, resume=True)
    list(train(study, tmp_path / "run", config))

    assert isinstance(last, End)
    ours, whole = (load_model(place / "model.safetensors").card for place in (run, tmp_path / "run"))
    assert ours == whole


def test_a_study_that_can_not_be_written_to_is_trained_on(locked_study, study, config, tmp_path):
    events = list(train(locked_study, tmp_path / "run", config))

    assert isinstance(events[-1], End)
    assert not locked_study.layout.splits.exists()
    record = RunFolder(tmp_path / "run").record()
    list(train(study, tmp_path / "beside" / "run", config))
    assert record.folds == RunFolder(tmp_path / "beside" / "run").record().folds


def test_a_run_on_such_a_study_is_resumed_to_the_same_end(locked_study, config, tmp_path):
    whole, broken = tmp_path / "whole" / "run", tmp_path / "broken" / "run"
    list(train(locked_study, whole, config))
    for event in train(locked_study, broken, config):
        if isinstance(event, Epoch) and event.fold == 1:
            break

    list(train(locked_study, broken, config, resume=True))

    ours, theirs = (load_model(run / "model.safetensors").card for run in (whole, broken))
    assert ours == theirs
