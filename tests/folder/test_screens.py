"""Nothing leaves a folder before somebody has looked at its pictures for burned-in names."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from napari_cln.cli import main
from napari_cln.errors import DatasetError, ExportError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import export_study, import_study
from napari_cln.folder.health.check import check_study
from napari_cln.folder.screens import (
    confirm_screens,
    contact_sheet,
    refuse_held,
    unseen_screens,
    write_sheets,
)
from napari_cln.folder.simulated import simulate_folder
from napari_cln.types import Frame

SCREEN = "unknown maker, 224×224, scan area 0 to 224 by 0 to 224"


@pytest.fixture
def two_kinds(folder, annotate) -> TrainingFolder:
    """Two frames of one kind of screen, one of another."""
    for n in (0, 1):
        folder.save(annotate(n), who="r1")
    frame = Frame(pixels=annotate(2).frame.pixels, scan_area=(0, 0, 224, 224), vendor="Mindray TE7")
    folder.save(annotate(2, frame=frame), who="r1")
    return folder


def test_each_kind_of_screen_is_asked_about_once(two_kinds, annotate):
    assert {screen: len(ids) for screen, ids in unseen_screens(two_kinds).items()} == {
        "Mindray, 224×224": 1,
        SCREEN: 2,
    }

    confirm_screens(two_kinds, [SCREEN], "r1")
    two_kinds.save(annotate(3), who="r1")
    two_kinds.dataset.recount()

    assert list(unseen_screens(TrainingFolder.open(two_kinds.path))) == ["Mindray, 224×224"]


def test_an_export_waits_until_every_kind_was_looked_at(two_kinds, tmp_path):
    confirm_screens(two_kinds, [SCREEN], "r1")
    with pytest.raises(ExportError, match=r"pictures of Mindray, 224×224 \(1 frame\).*--pictures DIR"):
        export_study(two_kinds, "coco", tmp_path / "out")
    assert not (tmp_path / "out").exists()

    confirm_screens(two_kinds, unseen_screens(two_kinds), "r1")
    list(export_study(two_kinds, "coco", tmp_path / "out"))

    copy = TrainingFolder.create(tmp_path / "copy")
    assert all(step.problem is None for step in import_study(tmp_path / "out", copy.path))
    assert {tuple(copy.record(case_id).source.deid) for case_id in copy.ids()} == {("113100", "113101")}
    assert {tuple(two_kinds.record(case_id).source.deid) for case_id in two_kinds.ids()} == {("113100",)}


def test_the_sheet_shows_stored_images_unscaled(study):
    ids = study.ids()

    sheet = contact_sheet(study, ids)

    assert sheet.shape == (3 * 232, 5 * 232)
    assert np.array_equal(sheet[232 : 232 + 224, 232 : 232 + 224], study.read_image(study.case(ids[6])))
    assert contact_sheet(study, ids * 10).shape == (4 * 232, 5 * 232)


def save_screen(folder, annotate, n, area, **changes):
    """A frame on a screen of 300 × 400 pixels, in which the scan area lies as given."""
    pixels = np.full((300, 400), 3 + n, np.uint8)
    pixels[area[0] : area[2], area[1] : area[3]] = annotate(n).frame.pixels[: area[2] - area[0], :]
    frame = Frame(pixels=pixels, scan_area=area, **changes)
    blank = np.zeros(pixels.shape, np.uint8)
    return folder.save(annotate(n, frame=frame, instances=blank, nodes=(), status="no-node"), who="r1")


def test_kinds_of_unknown_makers_are_told_apart_by_where_the_scan_area_lies(folder, annotate):
    save_screen(folder, annotate, 0, (64, 104, 288, 328))
    save_screen(folder, annotate, 1, (65, 105, 289, 329))  # a pixel aside: the same layout
    save_screen(folder, annotate, 2, (10, 16, 234, 240))

    assert sorted(map(len, unseen_screens(folder).values())) == [1, 2]


def test_kinds_of_a_known_maker_are_told_apart_by_size_alone(folder, annotate):
    save_screen(folder, annotate, 0, (64, 104, 288, 328), vendor="GE LOGIQ E9")
    save_screen(folder, annotate, 1, (10, 16, 234, 240), vendor="GE LOGIQ E9")

    assert list(unseen_screens(folder)) == ["GE, 400×300"]


def test_nobody_is_believed_before_pictures_were_written(two_kinds, tmp_path, capsys):
    assert main(["check", str(two_kinds.path), "--seen-by", "r1"]) == 1
    assert "No picture of Mindray, 224×224" in capsys.readouterr().err
    assert len(unseen_screens(two_kinds)) == 2


def test_pictures_are_not_written_and_looked_at_in_one_command(two_kinds, tmp_path, capsys):
    sheets = tmp_path / "sheets"

    assert main(["check", str(two_kinds.path), "--pictures", str(sheets), "--seen-by", "r1"]) == 1
    assert "Give --pictures first, look at what it writes" in capsys.readouterr().err
    assert not sheets.exists()
    assert len(unseen_screens(two_kinds)) == 2


def test_a_look_does_not_hold_for_frames_that_came_after_the_pictures(two_kinds, annotate, tmp_path, capsys):
    main(["check", str(two_kinds.path), "--pictures", str(tmp_path / "sheets")])
    two_kinds.save(annotate(3), who="r1")

    main(["check", str(two_kinds.path), "--seen-by", "r1"])

    assert list(unseen_screens(two_kinds)) == [SCREEN]
    assert "its pictures were not written yet" in capsys.readouterr().out


def test_held_frames_are_an_error_of_the_folder_and_are_not_trained_on(two_kinds, tmp_path):
    (fault,) = [fault for fault in check_study(two_kinds).faults if fault.kind == "held"]
    assert fault.severity == "error"
    assert fault.message.startswith("3 frames are held, neither trained on nor exported")

    with pytest.raises(DatasetError, match=r"Training waits: nobody.*\(3 frames\).*--pictures DIR"):
        refuse_held(two_kinds, two_kinds.ids(), "Training")
    confirm_screens(two_kinds, unseen_screens(two_kinds), "r1")
    refuse_held(two_kinds, two_kinds.ids(), "Training")


def test_kinds_of_few_frames_share_a_sheet(two_kinds, tmp_path):
    written = dict(write_sheets(two_kinds, unseen_screens(two_kinds), tmp_path / "sheets"))

    assert set(written) == set(unseen_screens(two_kinds))
    assert [path.name for path in (tmp_path / "sheets").iterdir()] == ["several-kinds-001.png"]


def test_simulated_frames_show_no_patient(tmp_path):
    for _ in simulate_folder(tmp_path / "study", 2, 0):
        pass

    assert unseen_screens(TrainingFolder.open(tmp_path / "study")) == {}


def test_a_folder_of_a_newer_version_is_not_confirmed(study):
    description = json.loads(study.layout.dataset.read_text())
    description["x_napari_cln"]["schema"] = 9
    study.layout.dataset.write_text(json.dumps(description))

    with pytest.raises(DatasetError, match="reading only"):
        confirm_screens(TrainingFolder.open(study.path), [SCREEN], "r1")


def test_the_command_line_writes_the_pictures_and_notes_who_saw_them(two_kinds, tmp_path, capsys):
    main(["check", str(two_kinds.path), "--pictures", str(tmp_path / "sheets")])

    assert f"{SCREEN}: look at several-kinds-001.png" in capsys.readouterr().out
    shown = [case_id for ids in unseen_screens(two_kinds).values() for case_id in ids]
    with Image.open(tmp_path / "sheets" / "several-kinds-001.png") as sheet:
        assert np.array_equal(np.array(sheet), contact_sheet(two_kinds, shown))
    assert len(unseen_screens(two_kinds)) == 2

    main(["check", str(two_kinds.path), "--seen-by", "r1"])
    assert unseen_screens(two_kinds) == {}
    assert "r1 has looked at its pictures" in capsys.readouterr().out
