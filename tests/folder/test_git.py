"""A training folder in git: a clone lacks empty folders, and may have the line ends of Windows."""

import shutil
import subprocess

import numpy as np
import pytest

from napari_cln.cli import main
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import export_study, import_study
from napari_cln.folder.health.check import check_study
from napari_cln.folder.readers import pair_readings, read_pair, save_reading
from napari_cln.folder.split.frozen import frozen_split

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def clone(tmp_path):
    """Commit a folder and clone it, with settings of git."""

    def run(folder, *settings):
        def git(*arguments):
            command = ["git", "-c", "user.name=r1", "-c", "user.email=r1@example.org", *arguments]
            subprocess.run(command, cwd=folder.path, check=True, capture_output=True)

        git("init", "-q")
        git("add", "-A")
        git("commit", "-q", "-m", "frames")
        git("clone", "-q", *settings, ".", str(tmp_path / "clone"))
        return TrainingFolder.open(tmp_path / "clone")

    return run


def test_a_clone_is_whole_and_all_is_done_in_it_as_before(study, annotate, necks, clone, tmp_path, data):
    save_reading(study, annotate(0, mask=np.roll(necks[0][1], 4)), "r2")
    folds = frozen_split(study, 3)

    cloned = clone(study)

    assert not cloned.layout.unmasked.exists()
    assert check_study(cloned).faults == ()
    assert [case.id for case in cloned.cases()] == [case.id for case in study.cases()]
    assert frozen_split(cloned) == folds
    assert len(list(pair_readings(cloned, "r2"))) == 1
    for name in ("nnunet", "coco", "csv"):
        assert len([step for step in export_study(cloned, name, tmp_path / name) if step.case]) == 12
    assert not [step.problem for step in import_study(cloned.path, tmp_path / "copy") if step.problem]


def test_in_a_clone_without_any_frame_that_has_no_mask_one_is_saved(study, annotate, clone):
    cloned = clone(study)

    case = cloned.save(annotate(0, status="predicted"), who="r1")

    assert case.image.parent == cloned.layout.unmasked and case.image.exists()
    assert check_study(cloned).faults == ()


def test_in_a_clone_without_any_mask_one_is_saved(folder, annotate, clone):
    folder.save(annotate(0, status="predicted"), patient="P0")
    cloned = clone(folder)
    assert not cloned.layout.labels.exists()

    case = cloned.save(annotate(0), who="r1")
    save_reading(cloned, annotate(0), "r2")

    assert case.mask is not None and case.mask.exists()
    assert not read_pair(cloned, case.id, "r2").differs
    assert {fault.kind for fault in check_study(cloned).faults} == {"no-split", "held"}


def test_a_clone_of_an_empty_folder_is_imported_into(folder, clone, data):
    cloned = clone(folder)

    assert main(["import", str(data / "folder"), "--out", str(cloned.path)]) == 0

    assert len(cloned.cases()) == 12
    assert {fault.kind for fault in check_study(cloned).faults} == {"held"}


def test_line_ends_that_git_turned_are_read_past_named_and_turned_back(study, annotate, clone, capsys):
    """As a folder of an earlier version comes to Windows."""
    save_reading(study, annotate(0), "r2")
    save_reading(study, annotate(0), "r2")
    study.save(annotate(1, truth="metastatic", note="hilum"), who="r1")
    frozen_split(study, 3)
    (study.path / ".gitattributes").write_text("*.png binary\n")
    (study.layout.revisions / ".gitattributes").unlink()
    before = {path.relative_to(study.path): path.read_bytes() for path in study.path.rglob("*.json*")}

    cloned = clone(study, "-c", "core.autocrlf=true")

    assert b"\r\n" in cloned.layout.record(cloned.ids()[0]).read_bytes()
    assert [case.checksums for case in cloned.cases()] == [case.checksums for case in study.cases()]
    assert frozen_split(cloned, freeze=False) == frozen_split(study)
    faults = check_study(cloned).faults
    assert {(fault.kind, fault.severity) for fault in faults} == {
        ("line-ends", "warning"),
        ("git", "warning"),
    }
    names = sorted(name.name for name in before if name.parts[0] != ".cln")
    assert sorted(fault.message.split()[0] for fault in faults if fault.kind == "line-ends") == names
    assert main(["check", str(cloned.path), "--repair"]) == 0

    assert check_study(cloned).faults == ()
    for name in before:
        if name.parts[0] != ".cln":
            assert (cloned.path / name).read_bytes() == before[name]
    assert "*.json -text" in (cloned.path / ".gitattributes").read_text()


def test_with_the_lines_of_today_git_turns_no_line_end(study, annotate, clone):
    for _ in range(2):
        save_reading(study, annotate(0), "r2")

    assert check_study(clone(study, "-c", "core.autocrlf=true")).faults == ()


@pytest.mark.parametrize("line", ["*.json text eol=lf", "* -text", "*.json binary"])
def test_other_lines_that_do_as_much_are_left_alone(study, line):
    (study.path / ".gitattributes").write_text(f"# ours\n{line}\n")

    assert check_study(study).faults == ()


def test_locks_do_not_travel(study, clone):
    (study.path / ".gitignore").unlink()
    (fault,) = check_study(study).faults
    assert (fault.kind, "locks" in fault.message) == ("git", True)

    assert main(["check", str(study.path), "--repair"]) == 0

    assert not clone(study).layout.private.exists()
