"""A frame that is open while its text is looked at: it is shown, and saved, as the folder has it then."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_cln.annotation import Annotation, Node
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.record import TextReading, encode_record
from napari_cln.folder.screens import confirm_screens, unseen_screens
from napari_cln.folder.text import release_frame
from napari_cln.types import Frame
from napari_cln.widgets.correct.held import LookWindow

pytestmark = pytest.mark.usefixtures("config")
TEXT = np.s_[80:95, 10:80]


@pytest.fixture
def folder(tmp_path) -> TrainingFolder:
    """Three predicted frames of a kind that was looked at; text was found on the first and the second."""
    folder = TrainingFolder.create(tmp_path / "study")
    instances = np.zeros((120, 160), np.uint8)
    instances[20:40, 20:50] = 1
    node = Node(id=1, status="predicted", truth="benign")
    for noise in np.random.default_rng(4).integers(40, 200, (3, 120, 160), np.uint8):
        frame = Frame(pixels=noise, scan_area=(0, 0, 120, 160))
        folder.save(Annotation(frame=frame, instances=instances, nodes=(node,), status="predicted"), who="m")
    confirm_screens(folder, unseen_screens(folder), "r1")
    for case_id in folder.ids()[:2]:
        record = folder.record(case_id)
        reading = TextReading(engine="none", found=((80, 10, 95, 80),))
        source = msgspec.structs.replace(record.source, text=reading)
        folder.layout.record(case_id).write_bytes(
            encode_record(msgspec.structs.replace(record, source=source))
        )
    return folder


@pytest.fixture
def look(dock, folder, qtbot):
    """Press Look…, and a button for the text of the first frame that waits; close the window."""

    def look(action: str) -> None:
        dock.view.held.refresh()
        qtbot.waitUntil(lambda: bool(dock.view.held.waiting.texts), timeout=30_000)

        def press() -> None:
            window = QApplication.activeModalWidget()
            assert isinstance(window, LookWindow)
            qtbot.mouseClick(window.verdicts[action], Qt.MouseButton.LeftButton)
            window.reject()

        QTimer.singleShot(300, press)
        qtbot.mouseClick(dock.view.held.look, Qt.MouseButton.LeftButton)
        dock.session.turns.finish()

    return look


@pytest.fixture
def saved(dock, qtbot):
    """Wait until the disk has all, and the dock was told."""

    def saved() -> None:
        qtbot.waitUntil(lambda: dock.session.filing.saver.is_idle, timeout=30_000)
        qtbot.wait(20)

    return saved


def picture(viewer) -> np.ndarray:
    (image,) = (layer for layer in viewer.layers if isinstance(layer, Image))
    return np.asarray(image.data)


def test_text_that_is_painted_over_leaves_the_canvas_and_the_mask_stays(viewer, dock, folder, look, saved):
    first, ids = folder.ids()[0], folder.ids()
    former = picture(viewer).copy()
    dock.session.mask.labels.data_setitem(np.nonzero(np.ones((5, 5))), 1)
    dock.session.notice()

    look("paint")
    dock.session.decisions.accept()
    saved()

    stored = folder.case(first)
    assert dock.session.navigator.cases.case_id == first
    assert not np.array_equal(picture(viewer)[TEXT], former[TEXT])
    np.testing.assert_array_equal(picture(viewer), folder.read_image(stored))
    assert folder.ids() == ids
    assert folder.read_instances(stored)[:5, :5].all()
    assert stored.status == "corrected"


def test_a_frame_that_is_left_out_gives_way_to_the_next_one(viewer, dock, folder, look, saved):
    _, second, _ = ids = folder.ids()

    look("leave-out")

    assert dock.session.navigator.cases.case_id == second
    assert dock.session.work.ids == ids[1:]
    np.testing.assert_array_equal(picture(viewer), folder.read_image(folder.case(second)))
    dock.session.decisions.accept()
    saved()
    assert folder.ids() == ids[1:]
    assert folder.case(second).status == "accepted"


@pytest.mark.parametrize("action", ["paint", "leave-out"])
def test_a_frame_that_was_put_aside_comes_back_as_the_folder_has_it(
    viewer, dock, folder, look, saved, action
):
    first, second, _ = folder.ids()
    dock.session.mask.labels.data_setitem(np.nonzero(np.ones((5, 5))), 1)
    dock.session.notice()
    dock.session.open_case(second)
    saved()

    look(action)
    dock.session.open_case(first)

    assert (dock.session.navigator.cases.case_id == first) == (action == "paint")
    opened = folder.case(first if action == "paint" else second)
    np.testing.assert_array_equal(picture(viewer), folder.read_image(opened))


def test_a_frame_that_was_painted_over_elsewhere_is_read_again(viewer, dock, folder, qtbot):
    _, second, _ = folder.ids()
    qtbot.waitUntil(lambda: bool(dock.session.navigator.cases._ahead), timeout=30_000)
    release_frame(folder, second, "paint", "r2")
    dock.session.open_case(second)

    np.testing.assert_array_equal(picture(viewer), folder.read_image(folder.case(second)))
