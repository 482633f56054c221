"""Full disks, and media that nobody may write to: a sentence, nothing torn, and reading goes on."""

import errno
import itertools
import os
import shutil
import subprocess

import numpy as np
import pytest

from napari_cln.cli import main
from napari_cln.errors import DatasetError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import import_study
from napari_cln.folder.health.check import check_study
from napari_cln.folder.health.repair import repair_all
from napari_cln.folder.readers import save_reading
from napari_cln.folder.split.frozen import frozen_split
from napari_cln.training.data import Samples
from napari_cln.types import PrepareConfig

pytestmark = pytest.mark.skipif(os.name == "nt", reason="mounts are POSIX")


@pytest.fixture
def disk(tmp_path):
    """A real file system in memory that takes options; skips where this user may not mount one."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("this user may not mount a file system")
        return place

    yield mount
    while os.path.ismount(place):
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def read_only(disk, study):
    """A study on a medium that can't be written to, beside one whose pictures nobody has looked at."""
    place = disk("size=8m")
    shutil.copytree(study.path, place / "study")
    unseen = TrainingFolder.open(shutil.copytree(study.path, place / "unseen"))
    unseen.layout.dataset.write_bytes(
        unseen.layout.dataset.read_bytes().replace(b"unknown maker, 224", b"another maker, 224")
    )
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    return place


def test_a_study_that_nobody_may_write_to_is_read_in_every_way(read_only, tmp_path):
    study = TrainingFolder.open(read_only / "study")

    assert len(study.cases()) == 12
    assert check_study(study).faults == ()
    assert frozen_split(study, 3) == frozen_split(study, 3, freeze=False)
    assert len(Samples.from_cases(study, study.cases(), PrepareConfig())) == 12
    assert len([step for step in import_study(study.path, tmp_path / "copy") if step.case]) == 12
    for name in ("nnunet", "coco", "csv"):
        assert main(["export", str(study.path), "--format", name, "--out", str(tmp_path / name)]) == 0
    assert main(["check", str(read_only / "unseen"), "--pictures", str(tmp_path / "pictures")]) == 1
    assert list((tmp_path / "pictures").glob("*.png"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("check", "unseen", "--pictures", "pictures"), "The pictures can't be written to pictures"),
        (("import", "study", "--out", "new"), "The training folder new can't be made"),
        (("import", "study", "--out", "unseen"), "unseen can't be written to"),
        (("export", "study", "--format", "coco", "--out", "new"), "new can't be written"),
        (("phantom", "1", "--out", "new"), "The training folder new can't be made"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_each_command_that_writes_says_that_the_medium_is_read_only(read_only, arguments, words, capsys):
    names = {"study", "unseen", "new", "pictures"}
    command = [str(read_only / word) if word in names else word for word in arguments]

    assert main(command) == 1

    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"napari-cln: {words} (Read-only file system). ")


def test_faults_that_can_not_be_mended_on_a_read_only_medium_are_named_all(disk, study, capsys):
    place = disk("size=8m")
    copy = TrainingFolder.open(shutil.copytree(study.path, place / "study"))
    for case in copy.cases()[:2]:
        copy.layout.record(case.id).write_bytes(b"{")
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)

    assert main(["check", str(copy.path), "--repair"]) == 1

    said = capsys.readouterr().out.splitlines()
    assert sum("not mended: study can't be written to (Read-only file system)" in line for line in said) == 2
    assert said[-1] == "errors: 2, warnings: 0"


@pytest.mark.parametrize("size", ["12k", "48k", "96k"])
def test_on_a_full_disk_each_command_says_so_and_leaves_nothing_torn(disk, study, data, size, capsys):
    place = disk(f"size={size}")
    for command in (
        ["import", str(data / "folder"), "--out", str(place / "study")],
        ["export", str(study.path), "--format", "nnunet", "--out", str(place / "out")],
        ["phantom", "2", "--out", str(place / "phantom")],
    ):
        assert main(command) == 1

        assert "(No space left on device)" in "".join(capsys.readouterr())
    assert not (place / "out").exists()
    if (place / "study" / "dataset.json").exists():
        faults = check_study(place / "study").faults
        assert {fault.kind for fault in faults} <= {"no-split", "count", "held"}
    assert not [path for path in place.rglob(".tmp-*") if path.is_file()]


def full_at(nth, calls, real):
    def call(*args, **kwargs):
        if next(calls) == nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **kwargs)

    return call


@pytest.fixture
def full(monkeypatch):
    """``full(n)``: the n-th call that reaches the disk fails as on a full one, for the length of a block."""

    class Full:
        def __init__(self, nth):
            self.calls, self.nth = itertools.count(1), nth

        def __enter__(self):
            self.patch = monkeypatch.context()
            patch = self.patch.__enter__()
            for name in ("fsync", "link", "replace", "mkdir"):
                patch.setattr(os, name, full_at(self.nth, self.calls, getattr(os, name)))
            return self

        def __exit__(self, *error):
            self.patch.__exit__(*error)

        @property
        def is_over(self):
            return next(self.calls) <= self.nth

    return Full


@pytest.mark.slow
def test_a_second_reading_on_a_disk_that_is_full_at_any_write_is_the_former_or_the_new_one(
    study, annotate, necks, full
):
    save_reading(study, annotate(0), "r2")
    case_id = study.identify(annotate(0).frame)
    for nth in itertools.count(1):
        painted = annotate(0, mask=np.roll(necks[0][1], nth))
        with full(nth) as disk:
            try:
                save_reading(study, painted, "r2")
            except DatasetError as error:
                assert "No space left on device). Your strokes are kept" in str(error)
        assert {fault.kind for fault in check_study(study).faults} <= {"reading"}
        for _ in repair_all(study):
            pass
        assert check_study(study).faults == ()
        study.autosave.clear(case_id, "r2")
        if disk.is_over:
            break
    assert nth > 8


@pytest.mark.slow
def test_a_repair_on_a_disk_that_is_full_at_any_write_goes_on_when_there_is_room(
    study, annotate, necks, full
):
    study.save(annotate(0, mask=np.roll(necks[0][1], 3)), who="r1")
    save_reading(study, annotate(1), "r2")
    first = study.identify(annotate(0).frame)
    other = next(case for case in study.cases() if case.id != first and case.nodes)
    study.layout.record(first).write_bytes(bytes(300))
    other.mask.write_bytes(bytes(20))
    next(study.layout.records.glob("*.r2.png")).write_bytes(bytes(9))
    (study.path / ".gitattributes").unlink()
    for nth in itertools.count(1, 5):
        copy = TrainingFolder.open(shutil.copytree(study.path, study.path.with_name(f"copy-{nth}")))
        with full(nth) as disk:
            said = list(repair_all(copy))
        if disk.is_over:
            break

        assert said
        for _ in repair_all(copy):
            pass
        assert check_study(copy).faults == ()
    assert nth > 30


def test_an_import_onto_a_full_disk_leaves_no_strokes_of_a_reader(disk, data, config, capsys):
    place = disk("size=96k")

    assert main(["import", str(data / "folder"), "--out", str(place / "study")]) == 1

    assert not list(config.rglob("autosave/**/*.json"))


def test_pictures_of_frames_of_which_one_is_damaged_are_written_of_the_others(study, tmp_path, capsys):
    study.layout.dataset.write_bytes(
        study.layout.dataset.read_bytes().replace(b"unknown maker, 224", b"another maker, 224")
    )
    study.cases()[0].image.write_bytes(b"")

    assert main(["check", str(study.path), "--pictures", str(tmp_path / "pictures")]) == 1  # the image itself

    assert [path.suffix for path in (tmp_path / "pictures").iterdir()] == [".png"]
    assert "look at unknown-maker-224-224-scan-area-0-to-224-by-0-to-224.png" in capsys.readouterr().out
