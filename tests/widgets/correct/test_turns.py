"""What is done in several turns of the event loop: no key, click or script meets half of it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from napari.layers import Labels
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QCoreApplication, QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QKeyEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLineEdit

from napari_cln.annotation import Annotation, Node
from napari_cln.compat.window import canvases_of
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.readers import read_annotation
from napari_cln.types import Frame
from napari_cln.widgets.common.turns import Turns
from napari_cln.widgets.correct.dock import CorrectDock

pytestmark = pytest.mark.usefixtures("config")
SHIFT = Qt.KeyboardModifier.ShiftModifier
N = 6


class TestTurns:
    @pytest.fixture
    def turns(self, qapp):
        """Turns, and a list of what was done in them."""
        owner = QObject()
        turns, done = Turns(owner), []

        def steps(*names):
            for name in names:
                done.append(name)
                yield

        yield turns, done, steps
        owner.deleteLater()

    def test_each_step_has_a_turn_of_its_own(self, turns, qtbot):
        turns, done, steps = turns
        tick = QTimer()
        tick.timeout.connect(lambda: done.append("tick"))
        tick.start()

        turns.begin(steps("one", "two"))
        assert done == ["one"]
        assert turns.is_waiting
        qtbot.waitUntil(lambda: not turns.is_waiting)

        assert [name for name in done if name != "tick"] == ["one", "two"]
        assert "tick" in done[1 : done.index("two")]

    def test_what_is_under_way_is_finished_before_other_work_begins(self, turns):
        turns, done, steps = turns
        turns.begin(steps("one", "two", "three"))

        turns.begin(steps("other"))

        assert done == ["one", "two", "three", "other"]

    def test_what_a_step_begins_goes_on_after_the_work_of_that_step(self, turns):
        turns, done, steps = turns

        def first():
            turns.begin(steps("within", "follows"))
            done.append("first")
            yield
            done.append("last")

        turns.begin(first())
        turns.finish()

        assert done == ["within", "first", "last", "follows"]

    def test_an_error_is_told_and_ends_the_work(self, turns):
        turns, done, steps = turns
        told, ended = [], []
        turns.failed.connect(told.append)
        turns.ended.connect(lambda: ended.append(True))

        def broken():
            turns.begin(steps("within", "follows"))
            yield
            raise ValueError("no such frame")

        turns.begin(broken())
        turns.finish()

        assert [str(error) for error in told] == ["no such frame"]
        assert (done, ended, turns.is_waiting) == (["within"], [True], False)
        turns.begin(steps("next"))
        assert done == ["within", "next"]

    def test_a_key_finishes_what_is_under_way_before_it_is_taken(self, turns, qtbot):
        turns, done, steps = turns
        field = QLineEdit()
        qtbot.addWidget(field)
        field.textChanged.connect(done.append)
        turns.begin(steps("one", "two"))

        QTest.keyPress(field, Qt.Key.Key_Shift)
        assert done == ["one"]
        QTest.keyClick(field, Qt.Key.Key_A)

        assert done == ["one", "two", "a"]


def masks_of(k: int) -> np.ndarray:
    """The k-th frame's masks, as a model has drawn them."""
    masks = np.zeros((100 + 4 * k, 140), np.uint8)
    masks[30:60, 20 + 10 * k : 60 + 10 * k] = 1
    return masks


@pytest.fixture
def folder(tmp_path) -> TrainingFolder:
    """Frames of different sizes and scales, each with a predicted node at a place of its own."""
    folder, random = TrainingFolder.create(tmp_path / "study"), np.random.default_rng(7)
    for k in range(N):
        masks = masks_of(k)
        frame = Frame(
            pixels=random.integers(0, 255, masks.shape, np.uint8),
            scan_area=(0, 0, *masks.shape),
            spacing_mm=(0.1 + 0.01 * k,) * 2,
            spacing_source="simulated",
        )
        node = Node(id=1, status="predicted")
        folder.save(Annotation(frame=frame, instances=masks, nodes=(node,), status="predicted"), who="m")
    return folder


@pytest.fixture
def dock(dock: CorrectDock) -> CorrectDock:
    """The dock at the first frame of the folder, at rest."""
    QTest.qWait(50)
    return dock


@pytest.fixture
def press(viewer):
    """Press a key on the canvas, and wait for nothing."""
    native = viewer.window._qt_viewer.canvas.native
    return lambda key: QTest.keyClick(native, key, SHIFT)


def all_masks(folder) -> list[np.ndarray]:
    return [folder.read_instances(folder.case(case_id)) for case_id in folder.ids()]


def labels_of(viewer) -> Labels:
    (labels,) = (layer for layer in viewer.layers if isinstance(layer, Labels))
    return labels


def is_whole(dock: CorrectDock, case_id: str) -> bool:
    """Whether canvas, session and fields are all about one frame."""
    session, study = dock.session, dock.session.folder
    navigator, at = session.navigator, study.ids().index(case_id)
    known = read_annotation(study, study.case(case_id))
    return (
        not session.turns.is_waiting
        and navigator.cases.case_id == case_id
        and navigator.mask.case_id == case_id
        and np.array_equal(navigator.image.data, known.frame.pixels)
        and np.allclose(navigator.image.scale, known.frame.spacing_mm)
        and dock.view.walk.number.value() == at + 1
        and all(canvas.updatesEnabled() for canvas in canvases_of(dock))
    )


def test_the_next_frame_comes_in_several_turns_and_is_drawn_whole(viewer, dock, folder, press, qtbot):
    press(Qt.Key.Key_K)

    assert dock.session.turns.is_waiting
    assert not any(canvas.updatesEnabled() for canvas in canvases_of(dock))
    qtbot.waitUntil(lambda: is_whole(dock, folder.ids()[1]), timeout=60_000)


def test_a_script_meets_the_whole_frame(dock, folder):
    dock.session.open_case(folder.ids()[2])
    assert is_whole(dock, folder.ids()[2])

    dock.session.turn_to(folder.ids()[4])
    assert dock.session.mask.case_id == folder.ids()[4]
    assert is_whole(dock, folder.ids()[4])


def test_keys_that_are_pressed_faster_than_turns_lose_no_frame(dock, folder, press, qtbot):
    for _ in range(3):
        press(Qt.Key.Key_K)
    press(Qt.Key.Key_J)

    qtbot.waitUntil(lambda: is_whole(dock, folder.ids()[2]), timeout=60_000)


def test_a_key_that_is_held_down_goes_one_frame_on_and_leaves_nothing_to_do(viewer, dock, folder, qtbot):
    ids, canvas = folder.ids(), viewer.window._qt_viewer.canvas.native
    labels_of(viewer).paint((85, 5), 1)
    for kind, again in ((QEvent.Type.KeyPress, False), *[(QEvent.Type.KeyPress, True)] * 30):
        QCoreApplication.sendEvent(canvas, QKeyEvent(kind, Qt.Key.Key_K, SHIFT, "K", again))
    QCoreApplication.sendEvent(canvas, QKeyEvent(QEvent.Type.KeyRelease, Qt.Key.Key_K, SHIFT, "K", False))

    assert not dock.session.turns.is_waiting
    assert is_whole(dock, ids[1])
    dock.session.flush()
    assert folder.read_instances(folder.case(ids[0]))[85, 5] == 1
    assert [folder.case(case_id).revision for case_id in ids] == [2, *[1] * (N - 1)]


def test_fast_keys_decide_on_the_frame_that_they_lead_to(dock, folder, press, qtbot):
    ids, before = folder.ids(), all_masks(folder)
    press(Qt.Key.Key_K)
    press(Qt.Key.Key_K)
    press(Qt.Key.Key_A)
    press(Qt.Key.Key_Return)  # which says the same again of the third, and goes on to the fourth
    press(Qt.Key.Key_R)
    press(Qt.Key.Key_K)
    press(Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: is_whole(dock, ids[5]), timeout=60_000)
    dock.session.flush()

    statuses = [folder.case(case_id).status for case_id in ids]
    assert statuses == ["predicted", "predicted", "accepted", "rejected", "accepted", "predicted"]
    for former, now in zip(before, all_masks(folder), strict=True):
        assert np.array_equal(former, now)


def test_a_stroke_right_after_going_on_belongs_to_the_frame_it_was_made_on(
    viewer, dock, folder, press, qtbot
):
    ids, labels, before = folder.ids(), labels_of(viewer), all_masks(folder)
    labels.paint((85, 5), 1)
    press(Qt.Key.Key_Return)
    press(Qt.Key.Key_E)  # deletes the node of the second frame
    press(Qt.Key.Key_X)
    press(Qt.Key.Key_J)
    qtbot.waitUntil(lambda: is_whole(dock, ids[0]), timeout=60_000)
    dock.session.flush()

    first, second = (folder.case(case_id) for case_id in ids[:2])
    assert (first.status, second.status) == ("corrected", "no-node")
    kept = folder.read_instances(first)
    assert kept[85, 5] == 1
    assert np.array_equal(kept[:70], before[0][:70])
    assert not folder.read_instances(second).any()
    assert np.array_equal(labels.data, kept)


def test_a_note_that_is_typed_while_a_frame_comes_is_that_frames(dock, folder, press, qtbot):
    press(Qt.Key.Key_K)
    assert dock.session.turns.is_waiting
    dock.view.about.note.setFocus()
    QTest.keyClicks(dock.view.about.note, "hilum seen")
    dock.view.about.note.editingFinished.emit()
    dock.session.flush()

    notes = [read_annotation(folder, folder.case(case_id)).note for case_id in folder.ids()]
    assert notes == ["", "hilum seen", *[""] * (N - 2)]


def test_a_frame_that_cannot_be_read_is_told_and_the_one_in_view_stays(dock, folder, press, qtbot):
    ids = folder.ids()
    qtbot.waitUntil(lambda: dock.session.navigator._reading is None, timeout=60_000)
    dock.session.navigator.cases.take_ahead({})
    for path in folder.path.rglob(f"*{ids[1]}*"):
        if path.suffix == ".png":
            path.write_bytes(b"damaged")

    press(Qt.Key.Key_K)

    assert ids[1] in dock.message.text()
    qtbot.waitUntil(lambda: is_whole(dock, ids[0]), timeout=60_000)


@pytest.mark.unexpected
def test_an_unexpected_error_in_a_turn_is_told_once_and_its_traceback_is_in_the_log_alone(
    dock, folder, qtbot, caplog, capsys, monkeypatch
):
    raised, noticed = [], []
    monkeypatch.setattr(sys, "excepthook", lambda *error: raised.append(error))
    notification_manager.notification_ready.connect(noticed.append)

    def broken():
        yield
        raise ZeroDivisionError("of one by none")

    dock.session.turns.begin(broken())
    qtbot.waitUntil(
        lambda: dock.message.text() == "Unexpected ZeroDivisionError: of one by none", timeout=60_000
    )
    notification_manager.notification_ready.disconnect(noticed.append)

    (logged,) = [record for record in caplog.records if record.exc_info is not None]
    assert logged.exc_info[2].tb_next is not None
    assert (raised, noticed) == ([], [])
    assert is_whole(dock, folder.ids()[0])


def test_units_that_were_read_beside_the_window_are_taken_unless_others_are_in_use():
    words = """
import numpy as np, pint
from napari_cln.compat.window import read_units, take_units
read, late = read_units(), read_units()
take_units(read)
from napari.layers import Image
unit = Image(np.zeros((4, 4)), units=("mm", "mm")).units[0]
take_units(late)
print(pint.application_registry.get() is read, unit == read.mm, 3 * unit + 1 * pint.Unit("cm"))
"""
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "True True 13.0 millimeter"


def test_layers_that_are_removed_meanwhile_are_made_anew(viewer, dock, folder, press, qtbot):
    press(Qt.Key.Key_K)
    assert dock.session.turns.is_waiting
    viewer.layers.clear()

    qtbot.waitUntil(lambda: is_whole(dock, folder.ids()[1]), timeout=60_000)
    assert dock.session.navigator.image in viewer.layers
    assert labels_of(viewer) is dock.session.mask.labels


def test_a_dock_that_is_closed_meanwhile_leaves_a_canvas_that_is_drawn(viewer, dock, folder, press):
    canvases = canvases_of(dock)
    press(Qt.Key.Key_K)
    assert dock.session.turns.is_waiting

    viewer.window.remove_dock_widget(dock)

    assert canvases
    assert all(canvas.updatesEnabled() for canvas in canvases)
    assert dock.session.navigator.cases.case_id == folder.ids()[1]


def test_a_viewer_that_is_closed_meanwhile_ends_the_work(viewer, dock, folder, press, qtbot):
    press(Qt.Key.Key_K)
    assert dock.session.turns.is_waiting

    viewer.close()

    QTest.qWait(50)
    assert {folder.case(case_id).status for case_id in folder.ids()} == {"predicted"}
