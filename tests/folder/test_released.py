"""Frames with text: what is saved of them after they were painted over or left out, and what stays out."""

from __future__ import annotations

import shutil
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from PIL import Image

from napari_cln.annotation import Annotation
from napari_cln.cli import main
from napari_cln.errors import ConflictError, DatasetError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import import_study
from napari_cln.folder.health.check import check_study
from napari_cln.folder.health.repair import repair_all
from napari_cln.folder.readers import read_annotation, read_reading, readers_of, save_reading
from napari_cln.folder.record import Provenance, TextReading, encode_record
from napari_cln.folder.screens import confirm_screens, unseen_screens
from napari_cln.folder.text import release_frame, waiting_frames
from napari_cln.types import Frame

TEXT = ((150, 10, 180, 90),)
AREAS = {"whole": (0, 0, 224, 224), "cut": (10, 10, 214, 204)}


def note_text(study: TrainingFolder, case_id: str) -> None:
    """Note in a record that text was found, as reading does."""
    record = study.record(case_id)
    source = msgspec.structs.replace(record.source, text=TextReading(engine="none", found=TEXT))
    study.layout.record(case_id).write_bytes(encode_record(msgspec.structs.replace(record, source=source)))


@pytest.fixture(params=AREAS)
def named(request, folder, annotate) -> TrainingFolder:
    """A frame with text, of a kind of screen that was looked at; whole, or cut to its scan area."""
    frame = Frame(pixels=annotate(0).frame.pixels, scan_area=AREAS[request.param])
    case = folder.save(annotate(0, frame=frame, status="predicted"), who="r1", patient="P1")
    confirm_screens(folder, unseen_screens(folder), "r1")
    note_text(folder, case.id)
    return folder


def opened(study: TrainingFolder) -> Annotation:
    (case,) = study.cases()
    return read_annotation(study, case)


def test_a_decision_on_a_frame_that_was_painted_over_meanwhile_is_saved_on_that_frame(named):
    on_canvas = opened(named)
    (case_id,) = named.ids()
    release_frame(named, case_id, "paint", "r2")
    painted = named.read_image(named.case(case_id))

    case = named.save(replace(on_canvas, status="accepted"), who="r1", expected_revision=1)

    assert named.ids() == [case_id] == [case.id]
    assert case.status == "accepted"
    assert not np.array_equal(painted, on_canvas.frame.grey)
    np.testing.assert_array_equal(named.read_image(case), painted)
    assert not waiting_frames(named)


def test_a_second_reading_of_a_frame_that_was_painted_over_meanwhile_is_saved_with_it(named):
    on_canvas = opened(named)
    (case_id,) = named.ids()
    release_frame(named, case_id, "paint", "r1")

    save_reading(named, on_canvas, "r2")

    assert readers_of(named, case_id) == ["r2"]
    assert read_reading(named, named.case(case_id), "r2").frame.grey.shape == on_canvas.frame.shape


def test_nothing_is_saved_of_an_open_frame_that_was_left_out_meanwhile(named):
    on_canvas = opened(named)
    (case_id,) = named.ids()
    release_frame(named, case_id, "leave-out", "r2")

    for save in (
        lambda: named.save(on_canvas, who="r1", expected_revision=1),
        lambda: save_reading(named, on_canvas, "r2"),
        lambda: named.note_facts(on_canvas.frame, Provenance(who="r1", hospital="A")),
    ):
        with pytest.raises(DatasetError, match=f"{case_id} was left out by r2 on .* --verdict bring-back"):
            save()
    assert named.ids() == []


def test_nothing_is_saved_of_an_open_frame_whose_record_was_taken_away(named):
    on_canvas = opened(named)
    (case_id,) = named.ids()
    named.layout.record(case_id).unlink()

    with pytest.raises(DatasetError, match=f"{case_id} was taken out of the training folder"):
        named.save(on_canvas, who="r1", expected_revision=1)


def test_nothing_is_saved_of_an_open_frame_whose_record_was_damaged_meanwhile(named):
    on_canvas = opened(named)
    (case_id,) = named.ids()
    named.layout.record(case_id).write_bytes(b"\0" * 500)

    with pytest.raises(DatasetError, match=rf"{case_id}\.json .*`napari-cln check`"):
        named.save(on_canvas, who="r1", expected_revision=1)
    assert named.ids() == [case_id]


def test_nothing_is_saved_of_an_open_frame_that_has_another_picture_now(named):
    on_canvas = opened(named)
    frame = replace(on_canvas.frame, pixels=255 - on_canvas.frame.grey)

    with pytest.raises(DatasetError, match=r"is another one than you have open\. Open the frame again"):
        named.save(replace(on_canvas, frame=frame), who="r1", expected_revision=1)


def test_a_frame_whose_record_is_gone_is_no_new_one_to_who_saw_it_there(folder, annotate):
    case = folder.save(annotate(0), who="r1")
    folder.layout.record(case.id).unlink()

    with pytest.raises(ConflictError, match=f"{case.id} was taken out .* after you opened it"):
        folder.save(annotate(0), who="r1", expected_revision=1)
    assert folder.save(annotate(0), who="r1", expected_revision=0).revision == 1


def lose_record(study: TrainingFolder, case_id: str) -> None:
    """Fill a record with zeros, as a power cut does, and repair the folder."""
    study.layout.record(case_id).write_bytes(b"\0" * 900)
    assert any("is back at revision" in done for done in repair_all(study))


def test_a_frame_that_was_painted_over_is_whole_after_its_record_is_repaired(named):
    (case_id,) = named.ids()
    named.save(replace(opened(named), note="again"), who="r1", expected_revision=1)
    release_frame(named, case_id, "paint", "r2")
    painted = named.read_image(named.case(case_id))

    lose_record(named, case_id)

    np.testing.assert_array_equal(named.read_image(named.case(case_id)), painted)
    assert not [fault for fault in check_study(named).faults if fault.kind in ("image", "text")]
    assert named.record(case_id).source.text.verdict == "painted over"


def test_channels_of_a_frame_that_was_painted_over_are_whole_after_its_record_is_repaired(folder, annotate):
    flow = np.full((224, 224), 90, np.uint8)
    frame = Frame(pixels=annotate(0).frame.pixels, scan_area=AREAS["whole"], channels={"flow": flow})
    case = folder.save(annotate(0, frame=frame), who="r1")
    note_text(folder, case.id)
    folder.save(annotate(0, frame=frame, note="again"), who="r1")
    release_frame(folder, case.id, "paint", "r2")

    lose_record(folder, case.id)

    assert not folder.read_channels(folder.case(case.id))["flow"][150:180, 10:90].any()


@pytest.fixture
def scans(tmp_path, annotate):
    """A folder of two pictures with masks."""
    scans = tmp_path / "scans"
    for name in ("images", "masks"):
        (scans / name).mkdir(parents=True)
    for n in (0, 1):
        Image.fromarray(annotate(n).frame.grey).save(scans / "images" / f"s{n}.png")
        Image.fromarray(annotate(n).instances).save(scans / "masks" / f"s{n}.png")
    return scans


@pytest.fixture
def one_left_out(tmp_path, scans) -> tuple[TrainingFolder, str]:
    """The folder that was made of these pictures, and the id of the frame that was left out of it."""
    list(import_study(scans, tmp_path / "study"))
    folder = TrainingFolder.open(tmp_path / "study")
    case_id = folder.identify(Frame(pixels=np.array(Image.open(scans / "images" / "s0.png"))))
    note_text(folder, case_id)
    release_frame(folder, case_id, "leave-out", "r2")
    return folder, case_id


def test_an_import_passes_over_a_frame_that_was_left_out_and_says_so(scans, one_left_out):
    folder, case_id = one_left_out
    work = import_study(scans, folder.path)
    steps = list(work)

    assert case_id not in folder.ids()
    assert [step.case is None and step.problem is None for step in steps] == [True, False]
    assert (work.report.taken, work.report.refused) == (1, 0)
    (note,) = work.report.notes
    assert note.startswith("left out by r2, and not taken. To have it back: ")
    assert f"--release {case_id} --verdict bring-back" in "\n".join(work.report.lines())


def test_a_frame_that_was_left_out_stays_out_of_a_clone(tmp_path, scans, one_left_out):
    folder, _ = one_left_out
    clone = shutil.copytree(folder.path, tmp_path / "clone", ignore=shutil.ignore_patterns(".cln"))
    list(import_study(scans, clone))

    assert TrainingFolder.open(clone).ids() == folder.ids()


def test_a_frame_that_was_left_out_does_not_come_from_another_training_folder(tmp_path, scans, one_left_out):
    folder, case_id = one_left_out
    list(import_study(scans, tmp_path / "other"))

    work = import_study(tmp_path / "other", folder.path)
    list(work)

    assert case_id not in folder.ids()
    assert any("left out by r2" in note for note in work.report.notes)


def test_a_frame_that_was_left_out_is_not_saved_from_its_file(annotate, one_left_out):
    folder, case_id = one_left_out
    with pytest.raises(DatasetError, match=f"{case_id} was left out by r2"):
        folder.save(annotate(0, frame=Frame(pixels=annotate(0).frame.pixels)), who="r1")


def test_a_frame_that_was_left_out_is_had_back_with_all_that_belongs_to_it(folder, annotate):
    flow = np.full((224, 224), 90, np.uint8)
    frame = Frame(pixels=annotate(0).frame.pixels, scan_area=AREAS["whole"], channels={"flow": flow})
    for note in ("first", "again"):
        case = folder.save(annotate(0, frame=frame, note=note), who="r1")
    save_reading(folder, replace(opened(folder), annotator="r2"), "r2")
    stroke = folder.autosave.keep(annotate(0), case.id, who="r3")
    note_text(folder, case.id)
    before = files_of(folder)

    release_frame(folder, case.id, "leave-out", "r2")
    assert folder.autosave.list() == []
    assert folder.ids() == []
    release_frame(folder, case.id, "bring-back", "r1")

    assert files_of(folder) == before
    assert folder.autosave.list() == [stroke]
    assert folder.dataset.left_out == {}
    assert list(waiting_frames(folder)) == [case.id]
    np.testing.assert_array_equal(folder.read_channels(folder.case(case.id))["flow"], flow)


def files_of(study: TrainingFolder) -> dict[str, bytes]:
    """Every file of a folder's frames, and its content."""
    places = (*study.layout.shared, study.layout.revisions, study.layout.autosave)
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    return {path.relative_to(study.path).as_posix(): path.read_bytes() for path in files}


def test_who_lacks_the_files_of_a_frame_that_is_had_back_imports_it_again(scans, one_left_out, capsys):
    folder, case_id = one_left_out
    shutil.rmtree(folder.layout.private / "left-out")
    main(["check", str(folder.path), "--release", case_id, "--verdict", "bring-back", "--seen-by", "r1"])
    assert f"{case_id}: this copy of the folder lacks its files. Import it again." in capsys.readouterr().out

    list(import_study(scans, folder.path))

    assert case_id in folder.ids()


def test_only_a_frame_that_was_left_out_can_be_had_back(one_left_out):
    folder, _ = one_left_out
    (other,) = folder.ids()
    with pytest.raises(DatasetError, match=f"{other} was not left out"):
        release_frame(folder, other, "bring-back", "r1")
