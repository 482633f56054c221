"""Frames that wait for a look are counted in the Correct dock, shown in full, and released there."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from qtpy.QtCore import Qt

from napari_cln.annotation import Annotation
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.description import Description
from napari_cln.folder.screens import unseen_screens
from napari_cln.folder.text import read_frame_text, waiting_frames
from napari_cln.types import Frame
from napari_cln.widgets.correct.held import HeldFrames, LookWindow, Waiting


@pytest.fixture
def study(tmp_path, data, monkeypatch) -> TrainingFolder:
    """One frame of a new kind of screen, with a name on its tissue that was read."""
    monkeypatch.delenv("NAPARI_CLN_TEXT")
    folder = TrainingFolder.create(tmp_path / "study")
    image = Image.open(sorted((data / "folder" / "images").glob("*.png"))[0])
    image = Image.fromarray((np.array(image) // 2 + 110).astype(np.uint8))
    ImageDraw.Draw(image).text((30, 100), "SMITH JOHN", fill=2, font=ImageFont.load_default(22))
    frame = Frame(pixels=np.array(image), scan_area=(0, 0, 224, 224))
    empty = np.zeros((224, 224), np.uint8)
    case = folder.save(Annotation(frame=frame, instances=empty, status="predicted"), who="r1")
    read_frame_text(folder, case.id)
    return folder


@pytest.mark.slow
def test_what_waits_is_counted_and_a_look_releases_it(qtbot, study):
    row = HeldFrames()
    qtbot.addWidget(row)
    row.enter(study, lambda: "r2")
    qtbot.waitUntil(lambda: bool(row.words.text()))
    assert "1 frame of 1 new kind of screen and 1 frame with text" in row.words.text()

    window = LookWindow(row, study, row.waiting, "r2")
    assert window.picture.pixmap().width() >= 224  # at its own size
    assert not window.verdicts["paint"].isVisibleTo(window)
    qtbot.mouseClick(window.none_shows, Qt.MouseButton.LeftButton)
    assert not unseen_screens(study)
    (seen,) = Description.read(study.layout.dataset).ours.screens.values()
    assert seen.who == "r2"

    assert not window.none_shows.isVisibleTo(window)
    qtbot.mouseClick(window.verdicts["paint"], Qt.MouseButton.LeftButton)
    assert not waiting_frames(study)

    row.refresh()
    qtbot.waitUntil(lambda: not row.isVisibleTo(None) and not row.words.text())


def test_a_look_needs_the_readers_name(qtbot, study):
    row = HeldFrames()
    qtbot.addWidget(row)
    row.enter(study, str)
    row.waiting = Waiting(kinds=unseen_screens(study))
    with qtbot.waitSignal(row.failed):
        row.look.click()
