"""Going through a training folder, most of it in a real window: the list, the keys, the layers that stay."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.action_manager import action_manager
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QDockWidget, QFileDialog, QMainWindow

from napari_cln._layers import KEY
from napari_cln.annotation import Annotation, Node
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.readers import read_annotation
from napari_cln.folder.worklist import WorkFilter
from napari_cln.types import Frame, Prediction
from napari_cln.widgets.common.workplace import workplace_of
from napari_cln.widgets.correct.session import Session

pytestmark = pytest.mark.usefixtures("config")


@pytest.fixture
def folder(tmp_path) -> TrainingFolder:
    """Four frames with a node; the first of the list is accepted, the others are predicted."""
    folder = TrainingFolder.create(tmp_path / "study")
    for noise in np.random.default_rng(3).integers(0, 255, (4, 120, 140), np.uint8):
        instances = np.zeros((120, 140), np.uint8)
        instances[30:80, 40:100] = 1
        frame = Frame(pixels=noise, scan_area=(0, 0, 120, 140))
        node = Node(id=1, status="predicted")
        folder.save(Annotation(frame=frame, instances=instances, nodes=(node,), status="predicted"), who="m")
    first = folder.ids()[0]
    known = read_annotation(folder, folder.case(first))
    folder.save(Annotation(frame=known.frame, instances=known.instances, status="accepted"), who="r2")
    return folder


@pytest.fixture
def key(viewer, dock, qtbot):
    """Press a key on the canvas, and wait for the next frame and the disk."""

    def key(key: Qt.Key) -> None:
        native = viewer.window._qt_viewer.canvas.native
        QTest.keyClick(native, key, Qt.KeyboardModifier.ShiftModifier)
        qtbot.waitUntil(lambda: not dock.session.turns.is_waiting, timeout=30_000)
        qtbot.waitUntil(lambda: dock.session.filing.saver.is_idle, timeout=30_000)
        QTest.qWait(20)

    return key


def test_two_keys_lead_from_the_folder_to_its_end(viewer, dock, folder, key):
    ids, cases, layers = folder.ids(), dock.session.navigator.cases, [*viewer.layers]

    assert cases.case_id == ids[1]  # the first one on which nobody has decided
    for following in (ids[2], ids[3], ids[3]):
        key(Qt.Key.Key_Return)
        assert cases.case_id == following
    assert [*viewer.layers] == layers
    assert [folder.case(case_id).status for case_id in ids] == ["accepted"] * 4
    assert dock.session.work.next_undecided(None) is None

    key(Qt.Key.Key_J)
    key(Qt.Key.Key_U)
    assert cases.case_id == ids[2]
    assert folder.case(ids[2]).status == "predicted"


def type_patient(dock, patient: str) -> None:
    """Type a patient, and leave the field by Enter."""
    dock.view.about.patient.selectAll()
    QTest.keyClicks(dock.view.about.patient, patient)
    QTest.keyClick(dock.view.about.patient, Qt.Key.Key_Return)


def test_a_patient_and_a_note_that_are_typed_stay_with_their_frame(dock, folder, key):
    ids, about = folder.ids(), dock.view.about
    type_patient(dock, "Doe, Jane")
    QTest.keyClicks(about.note, "capsule blurred")
    QTest.keyClick(about.note, Qt.Key.Key_Return)
    key(Qt.Key.Key_A)

    key(Qt.Key.Key_K)
    assert (about.patient.text(), about.note.text()) == ("", "")
    key(Qt.Key.Key_A)

    jane = folder.dataset.hash_key("patient", "doe, jane")
    assert [folder.record(case_id).patient_key == jane for case_id in ids[1:3]] == [True, False]
    assert [folder.record(case_id).note for case_id in ids[1:3]] == ["capsule blurred", ""]
    assert folder.case(ids[2]).status == "accepted"


def test_a_typed_patient_is_not_refused_for_the_next_patients_frame(dock, folder, key):
    ids = folder.ids()
    for case_id, patient in zip(ids, "ABCD", strict=True):
        known = read_annotation(folder, folder.case(case_id))
        folder.save(known, patient=patient, who="m")
    dock.session.open_case(ids[2])
    type_patient(dock, "C")

    key(Qt.Key.Key_A)
    key(Qt.Key.Key_K)
    key(Qt.Key.Key_A)

    assert [folder.case(case_id).status for case_id in ids[2:]] == ["accepted"] * 2


def test_what_is_being_typed_is_taken_for_its_frame_before_the_next_one_comes(dock, folder, key, qtbot):
    ids, about = folder.ids(), dock.view.about
    QTest.keyClicks(about.patient, "Doe, Jane")
    QTest.keyClicks(about.note, "capsule blurred")

    qtbot.mouseClick(dock.view.walk.forward, Qt.MouseButton.LeftButton)
    dock.session.flush()

    assert (about.patient.text(), about.note.text()) == ("", "")
    jane = folder.dataset.hash_key("patient", "doe, jane")
    assert [folder.record(case_id).patient_key == jane for case_id in ids[1:3]] == [True, False]
    assert [folder.record(case_id).note for case_id in ids[1:3]] == ["capsule blurred", ""]


def test_a_script_types_a_patient_for_one_frame(dock, folder):
    session, ids = dock.session, folder.ids()
    session.open_case(ids[2])
    session.notes.take_patient("Doe, Jane")
    session.turn_to(ids[3])
    session.decisions.accept()
    session.flush()

    jane = folder.dataset.hash_key("patient", "doe, jane")
    assert [folder.record(case_id).patient_key == jane for case_id in ids[2:]] == [True, False]


def test_an_empty_mask_is_not_gone_on_from(viewer, dock, key, qtbot):
    (labels,) = (layer for layer in viewer.layers if isinstance(layer, Labels))
    labels.data[:] = 0
    labels.events.paint(value=[])
    qtbot.waitUntil(lambda: "0 nodes" in dock.message.text(), timeout=30_000)
    before = dock.session.navigator.cases.case_id

    key(Qt.Key.Key_Return)

    assert dock.session.navigator.cases.case_id == before
    assert "There is no mask to accept" in dock.message.text()


def test_the_list_is_filtered_and_what_is_decided_stays_in_it(dock, folder, key, qtbot):
    qtbot.waitUntil(lambda: bool(dock.session.work.items), timeout=30_000)
    dock.view.work.chosen.emit(WorkFilter(state="undecided"))

    assert dock.session.work.ids == folder.ids()[1:]
    assert dock.view.walk.total.text() == "of 3"
    key(Qt.Key.Key_Return)
    assert dock.view.walk.total.text() == "of 3"
    assert dock.view.work.which.currentText() == "undecided (2)"
    assert [dock.view.work.reader.itemText(place) for place in range(3)] == ["any reader", "by r1", "by r2"]


def test_a_key_that_is_changed_in_the_preferences_is_another_key_and_named(viewer, dock, folder, key):
    name = "napari-cln:accept_and_go_on"
    former = action_manager.unbind_shortcut(name)
    action_manager.bind_shortcut(name, "Shift-Y")
    try:
        key(Qt.Key.Key_Return)
        assert dock.session.navigator.cases.case_id == folder.ids()[1]
        key(Qt.Key.Key_Y)
        assert dock.session.navigator.cases.case_id == folder.ids()[2]
        assert dock.view.verdict.go_on.toolTip().endswith("(Shift+Y)")
        assert dock.view.verdict.accept.toolTip().endswith("(Shift+A)")
    finally:
        action_manager.unbind_shortcut(name)
        for one in former or ():
            action_manager.bind_shortcut(name, one)


def test_masks_are_outlines_until_they_are_asked_for_filled(viewer, dock, key):
    (labels,) = (layer for layer in viewer.layers if isinstance(layer, Labels))

    assert labels.contour > 0
    key(Qt.Key.Key_W)
    assert labels.contour == 0
    key(Qt.Key.Key_W)
    assert labels.contour > 0


def test_a_frame_that_another_dock_names_opens_in_this_one(viewer, dock, folder):
    image = workplace_of(viewer).open_case(folder.path, folder.ids()[3])

    assert isinstance(image, Image)
    assert dock.session.navigator.cases.case_id == folder.ids()[3]
    assert workplace_of(viewer).open_case(folder.path.parent / "other", folder.ids()[3]) is None


def test_docks_lie_behind_tabs_and_take_little_of_the_canvas(viewer, qtbot):
    window = viewer.window._qt_window
    window.resize(1366, 768)
    window.show()
    docks = [viewer.window.add_plugin_dock_widget("napari-cln", name)[0] for name in ("Segment", "Frames")]
    _, third = viewer.window.add_plugin_dock_widget("napari-cln", "Correct")

    assert isinstance(window, QMainWindow)
    qtbot.waitUntil(lambda: len(window.tabifiedDockWidgets(docks[0])) == 2, timeout=30_000)
    assert all(isinstance(panel, QDockWidget) for panel in docks)
    assert [panel.windowTitle() for panel in docks] == ["Segment", "Frames"]
    qtbot.waitUntil(lambda: third.width() <= 360, timeout=30_000)


def test_a_dock_that_was_put_away_comes_back_behind_a_tab(viewer, qtbot):
    window = viewer.window._qt_window
    window.show()
    panel, body = viewer.window.add_plugin_dock_widget("napari-cln", "Train")
    qtbot.waitUntil(body.isVisible)
    panel.hide()
    other, _ = viewer.window.add_plugin_dock_widget("napari-cln", "Segment")

    panel.show()

    assert isinstance(window, QMainWindow)
    qtbot.waitUntil(lambda: window.tabifiedDockWidgets(other) == [panel], timeout=30_000)


def test_train_and_evaluate_know_the_folder_and_ask_for_it_no_more(viewer, dock, folder):
    for name in ("Train", "Evaluate"):
        _, other = viewer.window.add_plugin_dock_widget("napari-cln", name)

        assert other.session.process.folder == folder.path
        assert "Choose a training folder" not in other.message.text()


def test_keys_alone_lead_from_a_folder_to_accepted_frames(viewer, folder, qtbot, monkeypatch):
    _, dock = viewer.window.add_plugin_dock_widget("napari-cln", "Correct")
    dock.session.take_reader("r1")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder.path))
    native = viewer.window._qt_viewer.canvas.native

    QTest.keyClick(native, Qt.Key.Key_Z, Qt.KeyboardModifier.ShiftModifier)
    for _ in range(3):
        qtbot.waitUntil(lambda: dock.session.navigator.mask is not None, timeout=30_000)
        QTest.keyClick(native, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    qtbot.waitUntil(lambda: dock.session.filing.saver.is_idle, timeout=30_000)

    assert {case.status for case in folder.cases()} == {"accepted"}


def test_a_frame_that_is_worth_a_look_is_shown_though_its_layer_shows_another_one_since(dock, folder, qtbot):
    ids, session, listed = folder.ids(), dock.session, dock.view.worthy.rows
    mask = session.mask
    mask.labels.metadata[KEY] = Prediction(
        frame=mask.frame,
        probability=mask.masks * np.float32(0.5),
        instances=mask.masks.copy(),
        node_scores=(0.05,),
        class_probabilities={"benign": 0.03, "malignant": 0.97},
        model_id="ynet@123456789abc",
    )
    name = session.navigator.image.name
    dock.view.worthy.look.click()
    session.open_case(ids[2])
    qtbot.waitUntil(lambda: listed.count() > 0, timeout=30_000)
    (row,) = [listed.item(n) for n in range(listed.count()) if listed.item(n).text().startswith(f"{name}:")]

    listed.itemClicked.emit(row)

    assert session.mask.case_id == ids[1]
    dock.view.study.open_folder(folder.path)
    assert listed.count() == 0


# ------------------------------------------------------------ while the list is read, without a window


@pytest.fixture
def entering(keep, folder, qtbot) -> Session:
    """A session that has just begun to read what was decided on each frame of the folder."""
    session = keep(Session(ViewerModel()))
    session.take_reader("r1")
    session.enter(folder)
    yield session
    session.flush()
    session.filing.saver.close()


def wait_for_list(session, qtbot) -> None:
    """Wait until the list is read, and a frame of it shown."""
    with qtbot.waitSignal(session.work.found, timeout=30_000):
        pass
    session.turns.finish()


def test_a_frame_that_was_asked_for_stays_in_view_when_the_list_is_read(entering, folder, qtbot):
    entering.open_case(folder.ids()[3])

    wait_for_list(entering, qtbot)

    assert entering.navigator.cases.case_id == folder.ids()[3]


def test_a_frame_that_is_on_its_way_when_the_list_is_read_is_the_one_that_comes(entering, folder):
    entering.turn_to(folder.ids()[3])
    entering.work.found.emit()
    entering.turns.finish()

    assert entering.navigator.cases.case_id == folder.ids()[3]


@pytest.mark.parametrize("chosen", [("undecided",), ("accepted",), ("undecided", "all")])
def test_a_filter_that_is_chosen_while_the_list_is_read_holds_for_it(entering, folder, qtbot, chosen):
    for state in chosen:
        entering.work.choose(WorkFilter(state=state))

    wait_for_list(entering, qtbot)

    first, *others = folder.ids()
    expected = {"undecided": others, "accepted": [first], "all": [first, *others]}[chosen[-1]]
    assert entering.work.ids == expected
    assert entering.navigator.cases.case_id == (first if chosen[-1] == "accepted" else others[0])
