"""Every fault by name, and its repair."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from napari_cln.annotation import Node
from napari_cln.cli import main
from napari_cln.errors import DatasetError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.health.check import check_study
from napari_cln.folder.health.repair import repair
from napari_cln.folder.screens import confirm_screens, unseen_screens
from napari_cln.folder.split.frozen import frozen_split


def kinds(study):
    return [fault.kind for fault in check_study(study).faults]


def mend(study):
    for fault in check_study(study).faults:
        if fault.remedy:
            repair(study, fault)


def test_a_sound_folder_has_no_fault(study):
    assert check_study(study.path).faults == ()


def test_a_mask_of_another_save_is_named_and_rolled_back(study, annotate, necks):
    case = study.save(annotate(0, mask=np.roll(necks[0][1], 5)), who="r1")
    before = study.read_instances(case)
    Image.fromarray((necks[2][1]).astype(np.uint8)).save(case.mask)

    with pytest.raises(DatasetError, match=rf"{case.id}\.png and its record come from two different saves"):
        study.read_instances(case)
    (fault,) = check_study(study).faults
    assert (fault.kind, fault.id) == ("torn", case.id)
    repair(study, fault)

    # The mask that the record describes was nowhere else, so the frame waits for a reader.
    assert check_study(study).faults == ()
    assert study.case(case.id).mask is None
    assert before.any()


def test_a_save_cut_short_after_the_mask_goes_back_to_the_state_before(study, annotate, necks):
    case = study.case(study.identify(annotate(0).frame))
    before = study.read_instances(case)
    later = study.save(annotate(0, mask=np.roll(necks[0][1], 5)), who="r1")
    earlier = min((study.layout.revisions / case.id).glob("*-1.json"))
    earlier.rename(study.layout.record(case.id))  # the record is old, the mask is new

    assert kinds(study) == ["torn"]
    mend(study)

    assert check_study(study).faults == ()
    assert np.array_equal(study.read_instances(study.case(case.id)), before)
    assert later.revision == 2


def test_a_save_cut_short_before_the_record_is_finished_from_its_staged_record(study, annotate, necks):
    case = study.case(study.identify(annotate(0).frame))
    record = study.layout.record(case.id)
    old = record.read_bytes()
    study.save(annotate(0, mask=np.roll(necks[0][1], 5)), who="r1")
    record.rename(record.with_name(f".tmp-{record.name}-1-1"))
    record.write_bytes(old)

    mend(study)

    assert check_study(study).faults == ()
    assert np.array_equal(study.read_instances(study.case(case.id)) > 0, np.roll(necks[0][1], 5))


def test_a_record_without_its_mask_leaves_the_frame_waiting(study, annotate):
    case = study.cases()[0]
    case.mask.unlink()

    assert kinds(study) == ["count", "torn"] or kinds(study) == ["torn", "count"]
    mend(study)

    assert check_study(study).faults == ()
    assert study.case(case.id).mask is None
    assert study.case(case.id).image.parent.name == "imagesNoMask"
    assert json.loads(study.layout.dataset.read_text())["numTraining"] == 11


def test_a_mask_and_image_without_a_record_move_to_the_revisions(study):
    case = study.cases()[0]
    study.layout.record(case.id).unlink()

    assert set(kinds(study)) == {"orphan"}
    mend(study)

    assert check_study(study).faults == ()
    assert len(study.cases()) == 11
    assert len(list((study.layout.revisions / case.id).iterdir())) == 2


def test_a_damaged_record_goes_back_to_its_last_good_state(study, annotate, necks):
    case = study.cases()[0]
    record = study.layout.record(case.id)
    again = next(n for n in range(12) if study.identify(annotate(n).frame) == case.id)
    study.save(annotate(again, truth="metastatic"), who="r1")
    record.write_bytes(record.read_bytes()[:-40])

    (fault,) = check_study(study).faults
    assert fault.kind == "record"
    assert "not readable JSON" in fault.message
    repair(study, fault)

    assert check_study(study).faults == ()
    assert study.case(case.id).truth == case.truth


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ('{"schema": 1}', "'id'"),
        ("[" * 200_000 + "]" * 200_000, "nested too deep"),
        (" " * (5 * 2**20), "bytes, more than"),
        ("[]", "holds list"),
        ("{", "not readable JSON"),
    ],
)
def test_a_record_that_is_none_is_refused_by_name_and_the_others_are_read(study, damage, words):
    case = study.cases()[0]
    study.layout.record(case.id).write_text(damage)

    with pytest.raises(DatasetError, match=words):
        study.case(case.id)
    assert len(study.cases()) == 11
    assert any(fault.kind == "record" and words in fault.message for fault in check_study(study).faults)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("status", "done"),
        ("patient_key", 7),
        ("revision", None),
        ("nodes", [{"id": 0}]),
        ("nodes", [{"id": 1, "truth": "maybe"}]),
    ],
)
def test_a_record_with_an_impossible_value_names_it(study, key, value):
    case = study.cases()[0]
    path = study.layout.record(case.id)
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))

    with pytest.raises(DatasetError, match=rf"{case.id}\.json has .* under '{key}"):
        study.case(case.id)


def test_a_mask_of_another_size_is_named(study):
    case = next(case for case in study.cases() if case.nodes)
    Image.fromarray(np.ones((10, 12), np.uint8)).save(case.mask)

    assert any(
        fault.kind == "mask-size" and "10×12 pixels, its image 224×224" in fault.message
        for fault in check_study(study).faults
    )


def test_a_label_image_of_0_and_255_is_named(study, necks):
    case = next(case for case in study.cases() if case.nodes)
    Image.fromarray(np.full((224, 224), 255, np.uint8)).save(case.mask)

    assert any(
        fault.kind == "mask-values" and "the value 255" in fault.message
        for fault in check_study(study).faults
    )


def test_an_empty_mask_is_named_unless_a_reader_said_that_there_is_no_node(study, annotate):
    assert sum(case.status == "no-node" for case in study.cases()) == 2
    study.save(annotate(10, status="corrected"), who="r1")

    (fault,) = check_study(study).faults

    assert fault.kind == "empty-mask"
    assert "No node here" in fault.advice


def test_the_same_pixels_twice_are_listed_and_the_later_is_put_away(study, annotate):
    first = study.cases()[0]
    record = json.loads(study.layout.record(first.id).read_text())
    twin = "f" * 16
    record |= {"id": twin, "patient_key": "someone-else"}
    del record["checksum"]
    record["history"][0]["t"] = "2099-01-01T00:00:00Z"
    study.layout.record(twin).write_text(json.dumps(record))
    for source, goal in (
        (first.image, study.layout.image(twin, True)),
        (first.mask, study.layout.mask(twin)),
    ):
        goal.write_bytes(source.read_bytes())
    study.dataset.recount()

    (fault,) = check_study(study).faults
    assert fault.kind == "duplicate"
    assert first.id in fault.message and "under 2 patients" in fault.message
    repair(study, fault)

    assert check_study(study).faults == ()
    assert twin not in study.ids()


def test_one_class_and_one_patient_are_named(folder, annotate):
    for n in (0, 2):
        folder.save(annotate(n), patient=f"P{n}")
    assert any("Every labelled frame is benign" in fault.message for fault in check_study(folder).faults)

    one = TrainingFolder.create(folder.path.with_name("one"))
    for n in (0, 1):
        one.save(annotate(n, "metastatic" if n else "benign"), patient="P1")
    assert any("from one patient" in fault.message for fault in check_study(one).faults)


def test_frames_without_a_patient_are_warned_of(study, annotate):
    study.save(annotate(0, frame=None, truth="benign"), who="r1")
    lone = TrainingFolder.create(study.path.with_name("lone"))
    for n in range(4):
        lone.save(annotate(n, "metastatic" if n % 2 else "benign"))
    confirm_screens(lone, unseen_screens(lone), "r1")

    (fault,) = check_study(lone).faults

    assert (fault.kind, fault.severity) == ("patient-unknown", "warning")
    assert "4 of 4 frames" in fault.message


def test_a_patient_on_both_sides_of_the_frozen_split_is_an_error(study):
    frozen_split(study, 3)
    splits = json.loads(study.layout.splits.read_text())
    splits[1]["val"].append(splits[0]["val"].pop())
    splits[0]["val_patients"], splits[1]["val_patients"] = [], []
    study.layout.splits.write_text(json.dumps(splits))

    assert [(fault.kind, fault.severity) for fault in check_study(study).faults] == [("split", "error")]


def test_a_link_that_points_outside_is_named_and_not_followed(study, tmp_path):
    secret = tmp_path / "secret.png"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(secret)
    case = study.cases()[0]
    case.image.unlink()
    case.image.symlink_to(secret)

    with pytest.raises(DatasetError, match="symbolic link"):
        study.read_image(case)
    assert {"foreign-file", "image"} <= set(kinds(study))


def test_files_that_are_no_case_are_named(study):
    (study.layout.images / "scan 1.png").write_bytes(b"x")

    (fault,) = check_study(study).faults

    assert fault.kind == "foreign-file"
    assert "imagesTr holds scan 1.png" in fault.message


def test_an_image_with_other_pixels_is_named(study):
    case = study.cases()[0]
    pixels = study.read_image(case)
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(case.image)

    with pytest.raises(DatasetError, match="not the image that its record describes"):
        study.read_image(case)
    assert kinds(study) == ["image"]


def test_a_node_without_pixels_is_named(study, annotate):
    nodes = (Node(id=1, truth="benign"), Node(id=2, truth="metastatic"))
    study.save(annotate(0, nodes=nodes), who="r1")

    assert any("Node 2 of" in fault.message for fault in check_study(study).faults)


def test_a_wrong_count_in_dataset_json_is_counted_again(study):
    description = json.loads(study.layout.dataset.read_text())
    study.layout.dataset.write_text(json.dumps(description | {"numTraining": 3}))

    (fault,) = check_study(study).faults
    assert "counts 3 masks, labelsTr has 12" in fault.message
    repair(study, fault)

    assert json.loads(study.layout.dataset.read_text())["numTraining"] == 12


@pytest.mark.parametrize("damage", [b"", b"{", bytes(200)])
def test_a_damaged_private_copy_is_named_and_written_anew(study, damage):
    copy = study.layout.description_copy
    whole = copy.read_bytes()
    copy.write_bytes(damage)

    (fault,) = check_study(study).faults
    assert fault.message.startswith("The private copy .cln/dataset.json is damaged")
    repair(study, fault)

    assert copy.read_bytes() == whole
    assert not check_study(study).faults


@pytest.fixture
def stale(study):
    """A lock that a computer left behind when it was switched off."""
    study.layout.locks.mkdir(parents=True, exist_ok=True)
    lock = study.layout.locks / f"{study.ids()[0]}.lock"
    lock.write_text("4242\nPC-7\n1\n")
    lock.with_suffix(".owner").write_text(
        json.dumps({"who": "r2", "host": "PC-7", "since": "2026-11-21T10:31:00+00:00"})
    )
    lock.chmod(0o600)
    return lock


def test_a_stale_lock_is_shown_and_broken_only_when_confirmed(study, stale):
    (fault,) = check_study(study).faults
    assert "held by r2 on PC-7 since 2026-11-21 10:31 UTC" in fault.message
    with pytest.raises(DatasetError, match=r"r2 on PC-7.*confirm"):
        repair(study, fault)
    assert stale.exists()
    repair(study, fault, confirmed=True)

    assert check_study(study).faults == ()


@pytest.mark.parametrize(("answer", "broken"), [("n\n", False), ("", False), ("y\n", True)])
def test_the_command_line_asks_before_it_breaks_a_lock(study, stale, answer, broken, monkeypatch, capsys):
    assert main(["check", str(study.path), "--repair"]) == 0
    assert "r2 on PC-7" in (said := capsys.readouterr().out) and "add --break-locks" in said
    assert stale.exists()

    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert main(["check", str(study.path), "--break-locks"]) == 0

    assert stale.exists() is not broken
    assert ("was broken" in capsys.readouterr().out) is broken
