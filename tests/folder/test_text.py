"""Text on tissue holds a frame until a reader has looked, and the reader can do three things with it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from napari_cln.cli import main
from napari_cln.errors import DatasetError, DeviceError, ExportError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import export_study, import_study
from napari_cln.folder.health.check import check_study
from napari_cln.folder.health.repair import repair_all
from napari_cln.folder.screens import confirm_screens, refuse_held, unseen_screens
from napari_cln.folder.text import (
    TextReader,
    read_frame_text,
    release_frame,
    unread_frames,
    waiting_frames,
)
from napari_cln.imaging.burned_in import could_name, find_text
from napari_cln.types import Frame

pytestmark = pytest.mark.slow
NAME = "SMITH JOHN"


@pytest.fixture(autouse=True)
def reading(monkeypatch):
    monkeypatch.delenv("NAPARI_CLN_TEXT")


def named(pixels: np.ndarray) -> np.ndarray:
    """The frame with a name on its tissue, in dark letters, which no painter of marks finds."""
    image = Image.fromarray(pixels)
    ImageDraw.Draw(image).text((30, 100), NAME, fill=2, font=ImageFont.load_default(22))
    return np.array(image)


@pytest.fixture
def held(folder, annotate) -> TrainingFolder:
    """One clean frame and one with a name, of a kind of screen that was looked at, both read."""
    folder.save(annotate(0), who="r1", patient="P1")
    pixels = annotate(1).frame.pixels
    bright = np.clip(pixels // 2 + 110, 0, 255).astype(np.uint8)
    frame = Frame(pixels=named(bright), scan_area=(0, 0, 224, 224))
    folder.save(annotate(1, frame=frame), who="r1", patient="P2")
    confirm_screens(folder, unseen_screens(folder), "r1")
    reader = TextReader(folder)
    reader.add(folder.ids())
    reader.wait()
    return folder


def name_of(study: TrainingFolder) -> str:
    (case_id,) = waiting_frames(study)
    return case_id


def test_a_name_is_found_where_it_stands_and_a_clean_frame_has_none(held):
    case_id = name_of(held)
    (box, *_) = waiting_frames(held)[case_id].found

    assert box[0] <= 104
    assert box[2] >= 118
    assert not unread_frames(held)


def test_a_frame_with_a_name_is_neither_trained_on_nor_exported(held, tmp_path):
    with pytest.raises(DatasetError, match="Training waits: text was found on 1 frame"):
        refuse_held(held, held.ids(), "Training")
    with pytest.raises(ExportError, match="Text was found on 1 frame"):
        export_study(held, "csv", tmp_path / "out")
    assert [fault.id for fault in check_study(held).faults if fault.kind == "text"] == [name_of(held)]


def test_the_record_says_the_place_and_not_the_words(held):
    text = held.layout.record(name_of(held)).read_text().upper()

    assert "SMITH" not in text
    assert "JOHN" not in text


def test_reading_a_picture_is_no_change_to_a_reader(held, annotate):
    case = held.case(name_of(held))
    assert case.revision == 1

    frame = Frame(pixels=held.read_image(case), source=case.image)
    held.save(annotate(1, frame=frame), who="r1", expected_revision=1)

    assert waiting_frames(held)  # and the save forgets nothing


def test_text_that_is_painted_over_is_gone(held, tmp_path):
    case_id = name_of(held)
    release_frame(held, case_id, "paint", "r2")

    case = held.case(case_id)
    assert not find_text(held.read_image(case))
    assert not [fault for fault in check_study(held).faults if fault.kind in ("text", "image")]
    assert held.record(case_id).source.text.seen_by == "r2"
    list(export_study(held, "csv", tmp_path / "out"))
    release_frame(held, case_id, "paint", "r2")
    assert held.case(case_id).checksums == case.checksums


def test_text_that_was_read_holds_the_frame_after_its_record_is_repaired(folder, annotate):
    bright = np.clip(annotate(1).frame.pixels // 2 + 110, 0, 255).astype(np.uint8)
    frame = Frame(pixels=named(bright), scan_area=(0, 0, 224, 224))
    for note in ("first", "again"):
        case = folder.save(annotate(1, frame=frame, note=note), who="r1")
    read_frame_text(folder, case.id)
    folder.layout.record(case.id).write_bytes(b"\0" * 900)

    assert any("is back at revision" in done for done in repair_all(folder))

    assert folder.record(case.id).note == "first"
    assert list(waiting_frames(folder)) == [case.id]


def test_text_that_is_no_name_stays(held):
    case_id = name_of(held)
    before = held.read_image(held.case(case_id))
    release_frame(held, case_id, "no-name", "r2")

    assert (held.read_image(held.case(case_id)) == before).all()
    refuse_held(held, held.ids(), "Training")


def test_a_frame_that_is_left_out_leaves_nothing_behind(held):
    case_id = name_of(held)
    release_frame(held, case_id, "leave-out", "r2")

    assert case_id not in held.ids()
    shared = [path for place in held.layout.shared for path in place.iterdir()]
    assert not [path for path in shared if case_id in path.name]
    assert (held.layout.private / "left-out" / case_id / f"{case_id}.json").exists()
    assert not [f for f in check_study(held).faults if f.kind in ("orphan", "count", "image")]


def test_the_command_releases_what_was_shown(held, tmp_path, capsys):
    case_id = name_of(held)
    arguments = ["check", str(held.path), "--release", case_id, "--verdict", "paint", "--seen-by", "r2"]
    assert main(arguments) == 1
    assert "was not written to be looked at" in capsys.readouterr().err

    main(["check", str(held.path), "--pictures", str(tmp_path / "look")])
    assert (tmp_path / "look" / f"text-{case_id}.png").exists()
    main(arguments)
    assert not waiting_frames(held)


def test_an_import_reads_behind_itself_and_tells(annotate, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    bright = np.clip(annotate(1).frame.pixels // 2 + 110, 0, 255).astype(np.uint8)
    Image.fromarray(named(bright)).save(source / "a.png")
    mask = np.zeros((224, 224), np.uint8)
    mask[150:180, 60:100] = 255
    Image.fromarray(mask).save(source / "a_mask.png")

    work = import_study(source, tmp_path / "study", clean=False)
    list(work)

    assert "text was found on 1 of the frames" in "\n".join(work.report.lines())
    assert waiting_frames(TrainingFolder.open(tmp_path / "study"))


def test_exports_wait_for_what_was_not_read(folder, annotate, tmp_path, capsys):
    folder.save(annotate(0), who="r1")
    confirm_screens(folder, unseen_screens(folder), "r1")
    with pytest.raises(ExportError, match=r"was not read yet.*--text"):
        export_study(folder, "csv", tmp_path / "out")

    main(["check", str(folder.path), "--text"])
    assert "text: 1 frame read, 0 with text" in capsys.readouterr().out
    list(export_study(folder, "csv", tmp_path / "out"))


def test_without_the_extra_nothing_is_read_and_the_rest_goes_on(folder, annotate, tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CLN_TEXT", "off")
    case = folder.save(annotate(0), who="r1")
    with pytest.raises(DeviceError, match=r"needs the extra.*napari-cln\[ocr\]"):
        read_frame_text(folder, case.id)
    confirm_screens(folder, unseen_screens(folder), "r1")
    list(export_study(folder, "csv", tmp_path / "out"))


@pytest.mark.parametrize(
    ("text", "holds"),
    [("Li", False), ("R 4", False), ("Kim", True), ("1204", True), ("12.04", True), ("1.4", False)],
)
def test_words_numbers_and_dates_hold_a_frame_and_single_letters_do_not(text, holds):
    assert could_name(text) == holds
