"""A folder whose making was cut short, or whose description was lost, is no dead end."""

import itertools
import json
import os
import signal

import numpy as np
import pytest

from napari_cln.cli import main
from napari_cln.disk.seals import checksum_holds
from napari_cln.errors import DatasetError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.health.check import check_study
from napari_cln.folder.health.repair import repair_description
from napari_cln.folder.screens import unseen_screens

pytestmark = pytest.mark.skipif(os.name == "nt", reason="fork and kill -9 are POSIX")

CALLS = ("mkdir", "open", "link", "replace", "rename", "fsync", "unlink")


def killed_at(nth: int, run) -> bool:
    """Whether a child that runs something was killed at its nth call that changes the disk."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    calls = itertools.count(1)

    def deadly(real):
        def call(*args, **kwargs):
            if next(calls) == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for name in CALLS:
        setattr(os, name, deadly(getattr(os, name)))
    try:
        run()
    finally:
        os._exit(0)


def test_a_making_that_is_killed_at_any_step_is_finished_by_the_next(tmp_path, annotate):
    for nth in itertools.count(1):
        path = tmp_path / f"study-{nth}"
        if not killed_at(nth, lambda path=path: TrainingFolder.create(path)):
            break

        folder = TrainingFolder.create(path)

        folder.save(annotate(0), patient="P0")
        assert len(TrainingFolder.open(path).cases()) == 1
        assert {fault.kind for fault in check_study(folder).faults} <= {"no-split", "held"}
    assert nth > 15


def test_an_import_that_is_killed_at_any_step_of_the_making_is_finished_by_the_same_command(
    tmp_path, data, capsys
):
    source = tmp_path / "source"
    source.mkdir()
    (source / "scan.png").write_bytes((data / "folder" / "images" / "neck_00.png").read_bytes())
    for nth in range(1, 40, 4):
        path = tmp_path / f"study-{nth}"
        assert killed_at(nth, lambda path=path: main(["import", str(source), "--out", str(path)]))

        assert main(["import", str(source), "--out", str(path)]) == 0

        assert len(TrainingFolder.open(path).cases()) == 1


def test_a_folder_that_was_made_is_made_once(folder):
    before = folder.layout.dataset.read_bytes()

    TrainingFolder.create(folder.path)

    assert folder.layout.dataset.read_bytes() == before


def test_a_folder_of_git_becomes_a_training_folder_and_keeps_its_lines(tmp_path):
    (tmp_path / "study" / ".git").mkdir(parents=True)
    (tmp_path / "study" / ".git" / "HEAD").write_text("ref: refs/heads/main")
    (tmp_path / "study" / ".gitignore").write_text("mine")

    TrainingFolder.create(tmp_path / "study")

    assert (tmp_path / "study" / ".gitignore").read_text() == "mine\n.cln/\n.tmp-*\n"


@pytest.mark.parametrize("name", ["notes.txt", "records/notes.txt", "imagesTr/scan_0000.png"])
def test_a_folder_that_holds_anything_else_is_left_alone(folder, name):
    (folder.path / name).write_text("mine")

    with pytest.raises(DatasetError, match="study exists and is not empty"):
        TrainingFolder.create(folder.path)


def test_an_empty_nnunet_dataset_is_left_alone(tmp_path):
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "CT"}, "numTraining": 0}')

    with pytest.raises(DatasetError, match="exists and is not empty"):
        TrainingFolder.create(tmp_path)
    assert "CT" in (tmp_path / "dataset.json").read_text()


def test_a_folder_whose_making_was_cut_short_says_how_to_finish_it(folder):
    folder.layout.dataset.unlink()

    with pytest.raises(DatasetError, match=r"its making was cut short\. Give the command that made it"):
        TrainingFolder.open(folder.path)


DAMAGES = {
    "zeros": lambda text: bytes(len(text)),
    "nothing": lambda text: b"",
    "half": lambda text: text[: len(text) // 2],
    "a list": lambda text: b"[]",
    "noise": lambda text: bytes(range(256)),
    "missing": None,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_description_that_is_lost_comes_back_with_all_that_was_known(study, damage, capsys):
    path, was = study.layout.dataset, json.loads(study.layout.dataset.read_text())
    path.unlink() if damage is None else path.write_bytes(damage(path.read_bytes()))

    assert main(["check", str(study.path)]) == 1
    assert "napari-cln check --repair" in capsys.readouterr().err
    assert main(["check", str(study.path), "--repair"]) == 0

    assert "folder: dataset.json was made anew.\n" in capsys.readouterr().out
    assert json.loads(path.read_text()) == was
    assert checksum_holds(path.read_bytes())
    assert unseen_screens(TrainingFolder.open(study.path)) == {}


def test_a_description_that_another_program_wrote_anew_gets_ours_back_and_keeps_theirs(study, capsys):
    """As nnU-Net's own script that writes a dataset.json."""
    was = json.loads(study.layout.dataset.read_text())
    theirs = {"channel_names": {"0": "US"}, "labels": {"background": 0, "node": 1}, "licence": "CC0"}
    study.layout.dataset.write_text(json.dumps(theirs))

    with pytest.raises(DatasetError, match="another program wrote it anew"):
        TrainingFolder.open(study.path)
    assert main(["check", str(study.path), "--repair"]) == 0

    again = json.loads(study.layout.dataset.read_text())
    del again["checksum"], was["checksum"]
    assert again == {"licence": "CC0"} | was


def test_without_the_private_copy_the_text_that_is_left_tells_the_salt(study, capsys):
    """As in a clone, whose patients' keys were made elsewhere: a wrong salt would part one patient in two."""
    study.layout.description_copy.unlink()
    text = study.layout.dataset.read_bytes().replace(study.dataset.salt.encode(), b"0a1b2c3d")
    study.layout.dataset.write_bytes(text[: text.index(b'"screens"')])

    assert "another salt than this computer's" in repair_description(study.path)

    again = TrainingFolder.open(study.path)
    assert again.dataset.salt == "0a1b2c3d"
    assert unseen_screens(again) != {}


def test_where_nothing_is_known_of_the_salt_it_is_said(study):
    study.layout.description_copy.unlink()
    study.layout.dataset.write_bytes(bytes(700))

    said = repair_description(study.path)

    assert "With which salt the patients' keys were made is not known" in said
    assert "Who has looked at the pictures for names is not known" in said
    assert TrainingFolder.open(study.path).dataset.salt == study.dataset.salt


def test_a_damaged_label_does_not_stop_the_repair(study):
    labels = sorted(study.layout.labels.iterdir())
    labels[0].write_bytes(bytes(400))
    study.layout.dataset.write_bytes(bytes(700))

    repair_description(study.path)

    assert [fault.kind for fault in check_study(study.path).faults] == ["torn"]
    assert json.loads(study.layout.dataset.read_text())["numTraining"] == 12


def test_that_nobody_judged_some_pixels_is_found_in_the_labels(study, annotate):
    not_judged = np.zeros((224, 224), bool)
    not_judged[:9] = True
    study.save(annotate(0, not_judged=not_judged), who="r1")
    was = study.layout.dataset.read_bytes()
    study.layout.dataset.write_bytes(bytes(9))

    repair_description(study.path)

    assert study.layout.dataset.read_bytes() == was
    assert b'"ignore": 2' in was


def test_a_description_of_a_newer_version_is_left_to_it(study):
    study.layout.description_copy.unlink()
    text = study.layout.dataset.read_bytes().replace(b'"schema": 1', b'"schema": 7')
    study.layout.dataset.write_bytes(text[: text.index(b'"screens"')])

    with pytest.raises(DatasetError, match=r"a newer napari-cln wrote it \(schema 7\)\. Update"):
        repair_description(study.path)


@pytest.mark.slow
def test_one_flipped_bit_in_the_description_is_read_past_named_and_set_right(study):
    path = study.layout.dataset
    was = path.read_bytes()
    for place in range(3, len(was), 61):
        flipped = bytearray(was)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)

        found = TrainingFolder.open(study.path)
        assert found.dataset.salt == study.dataset.salt
        assert [fault.kind for fault in check_study(found).faults] == ["description"]
        assert main(["check", str(study.path), "--repair"]) == 0
        assert path.read_bytes() == was


def test_a_description_of_an_earlier_version_gets_its_checksum(study):
    text = json.loads(study.layout.dataset.read_text())
    del text["checksum"]
    study.layout.dataset.write_text(json.dumps(text, indent=1))

    (fault,) = check_study(study).faults
    assert (fault.kind, fault.severity) == ("description", "warning")
    assert main(["check", str(study.path), "--repair"]) == 0

    assert checksum_holds(study.layout.dataset.read_bytes())


def test_what_other_programs_put_into_the_description_stays(study, annotate):
    text = json.loads(study.layout.dataset.read_text()) | {"licence": "CC BY 4.0 ©", "n": 10**30}
    study.layout.dataset.write_text(json.dumps(text))

    study.save(annotate(0, status="predicted"), who="r1")

    again = json.loads(study.layout.dataset.read_text())
    assert (again["licence"], again["n"], again["numTraining"]) == ("CC BY 4.0 ©", 10**30, 11)
