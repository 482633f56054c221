"""The Correct dock in a real window: strokes by mouse and key, saved in a real training folder."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from app_model.types import KeyBinding
from napari.layers import Image, Labels
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from shipped import CINE, FRAME, REAL
from strokes import drag

from napari_cln._layers import KEY, link, prediction_to_layer
from napari_cln.annotation import Annotation, Node
from napari_cln.folder import commits
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.readers import read_annotation, read_reading, readers_of, save_reading
from napari_cln.io.sources import read_frame
from napari_cln.types import Frame, Prediction
from napari_cln.widgets.common.parts import WIDTH
from napari_cln.widgets.common.results import Results
from napari_cln.widgets.common.workplace import workplace_of
from napari_cln.widgets.correct.dock import CorrectDock

pytestmark = pytest.mark.usefixtures("config")


@pytest.fixture
def folder(tmp_path) -> TrainingFolder:
    return TrainingFolder.create(tmp_path / "study")


@pytest.fixture
def dock(viewer, folder) -> CorrectDock:
    _, dock = viewer.window.add_plugin_dock_widget("napari-cln", "Correct")
    name(dock, "r1")
    dock.view.study.open_folder(folder.path)
    return dock


def name(dock: CorrectDock, who: str) -> None:
    """Type a reader's name."""
    dock.view.study.reader.setText(who)
    dock.view.study.reader.editingFinished.emit()


@pytest.fixture
def finish(qtbot):
    """Let the events pass, and wait until everything is on disk."""

    def finish(dock) -> None:
        QTest.qWait(20)
        qtbot.waitUntil(lambda: not dock.session.turns.is_waiting, timeout=20_000)
        qtbot.waitUntil(lambda: dock.session.filing.saver.is_idle, timeout=20_000)
        QTest.qWait(20)

    return finish


@pytest.fixture
def press(qtbot, finish):
    def press(dock, name: str) -> None:
        qtbot.mouseClick(getattr(dock.view.verdict, name), Qt.MouseButton.LeftButton)
        finish(dock)

    return press


def predict(viewer, image: Image, box: tuple[slice, slice] = np.s_[200:240, 300:360]) -> Labels:
    """A prediction with one node, as the Segment dock would leave it."""
    frame = image.metadata[KEY]
    instances = np.zeros(frame.shape, np.uint8)
    instances[box] = 1
    prediction = Prediction(
        frame=frame,
        probability=instances.astype(np.float32),
        instances=instances,
        node_scores=(0.9,) if instances.any() else (),
        class_probabilities={"benign": 0.1, "malignant": 0.9},
        model_id="ynet@123456789abc",
    )
    data, options, _ = prediction_to_layer(prediction, image)
    labels = Labels(data, **options)
    link(labels, image)
    viewer.add_layer(labels)
    return labels


@pytest.fixture
def predicted(viewer, dock, open_image) -> Labels:
    """A calibrated frame with its predicted node, in view."""
    return predict(viewer, open_image(viewer, FRAME))


def fill(folder: TrainingFolder) -> list[str]:
    """Two frames with accepted nodes; their ids as the folder lists them."""
    noise = np.random.default_rng(2).integers(0, 255, (2, 120, 140), np.uint8)
    instances = np.zeros((120, 140), np.uint8)
    instances[30:80, 40:100] = 1
    for pixels in noise:
        folder.save(
            Annotation(
                frame=Frame(pixels=pixels, scan_area=(0, 0, 120, 140)),
                instances=instances,
                nodes=(Node(id=1, status="accepted", truth="metastatic"),),
                status="accepted",
            ),
            who="r1",
        )
    return folder.ids()


def only_case(folder: TrainingFolder):
    (case,) = folder.cases()
    return case


class TestADockThatIsClosed:
    @pytest.fixture
    def stored(self, viewer, folder, dock, finish) -> str:
        """A frame of the folder in view, and its id."""
        first = fill(folder)[0]
        dock.session.open_case(first)
        finish(dock)
        return first

    @pytest.fixture
    def again(self, viewer, dock, stored, finish) -> CorrectDock:
        viewer.window.remove_dock_widget(dock)
        _, again = viewer.window.add_plugin_dock_widget("napari-cln", "Correct")
        finish(again)
        return again

    def test_is_opened_again_with_its_folder_reader_and_frame(self, again, dock, folder, stored):
        assert again is not dock
        assert again.session.folder.path == folder.path
        assert again.view.study.who == "r1"
        assert again.session.mask.case_id == stored
        assert again.session.mask.status == "accepted"

    def test_saves_a_stroke_once_though_both_are_there(self, again, dock, folder, stored, finish):
        before = folder.record(stored).revision

        again.session.mask.labels.paint((100, 20), 1)
        finish(again)
        finish(dock)

        assert folder.record(stored).revision == before + 1
        assert again.message.text().startswith("Saved: corrected")

    def test_leaves_undo_and_the_other_docks_to_the_one_that_is_open(
        self, again, dock, viewer, folder, stored, finish, qtbot
    ):
        gone = []
        dock.destroyed.connect(lambda *_: gone.append(True))
        dock.deleteLater()
        qtbot.waitUntil(lambda: bool(gone))
        again.session.decisions.reject()
        finish(again)

        viewer.layers.selection.active = again.session.mask.labels
        again.session.mask.labels.keymap[KeyBinding.from_str("Control-Z")](again.session.mask.labels)
        finish(again)

        assert folder.record(stored).status == "accepted"
        assert workplace_of(viewer).open_case(folder.path, stored) is not None

    def test_saves_what_is_painted_until_it_is_opened_again(self, viewer, dock, folder, stored, finish):
        viewer.window.remove_dock_widget(dock)

        dock.session.mask.labels.paint((100, 20), 1)
        finish(dock)

        assert folder.record(stored).status == "corrected"


AGAIN = """
from qtpy.QtWidgets import QApplication
from napari_cln.widgets.correct.study import StudyRow
app = QApplication([])
print(ascii(StudyRow().who))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the code page of a process is the system's")
def test_a_name_with_an_umlaut_is_the_same_at_the_next_start_whatever_the_code_page(dock):
    name(dock, "Jürgen")

    plain_c = {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "QT_QPA_PLATFORM": "offscreen",
    }
    again = subprocess.run(
        [sys.executable, "-c", AGAIN],
        env=os.environ | plain_c,
        capture_output=True,
        text=True,
        check=True,
    )

    assert again.stdout.strip() == ascii("Jürgen")


def test_long_names_push_nothing_out_of_the_dock(make_napari_viewer, tmp_path, open_image, finish, qtbot):
    viewer = make_napari_viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-cln", "Correct")
    name(dock, "r1")
    dock.view.study.create_folder(
        tmp_path / "training folder of the anonymised export of the neck nodes of 2024"
    )
    image = open_image(viewer, FRAME)
    image.name = "1.2.840.113619.2.55.3.2831164355.718.1511427839.492.4711081547.12345"
    predict(viewer, image)
    finish(dock)
    dock.session.decisions.accept()
    finish(dock)

    assert image.name in dock.message.text()
    assert image.name in dock.view.state.text()
    for part in (dock.view, dock.message):
        assert part.minimumSizeHint().width() <= WIDTH


class TestStrokes:
    def test_a_stroke_of_the_mouse_is_saved_when_it_ends(
        self, make_napari_viewer, folder, open_image, finish
    ):
        viewer = make_napari_viewer(show=True)
        image = open_image(viewer, FRAME)
        labels = predict(viewer, image)
        _, dock = viewer.window.add_plugin_dock_widget("napari-cln", "Correct")
        name(dock, "r1")
        dock.view.study.open_folder(folder.path)
        QTest.qWait(200)
        viewer.layers.selection.active = labels
        labels.mode, labels.brush_size = "paint", 15
        before = labels.data.copy()

        drag(viewer, (240, 320), (260, 330), (270, 340))
        finish(dock)

        assert (labels.data > 0).sum() > (before > 0).sum()
        case = only_case(folder)
        assert case.status == "corrected"
        assert dock.message.text() == "Saved: corrected, 1 node · simulated-frame"
        row0, column0 = folder.record(case.id).source.crop[1::-1]
        saved = folder.read_instances(case)
        assert np.array_equal(
            saved, labels.data[row0 : row0 + saved.shape[0], column0 : column0 + saved.shape[1]]
        )

    def test_undo_and_redo_are_saved_too(self, dock, folder, predicted, finish):
        predicted.paint((260, 330), 1)
        finish(dock)
        assert only_case(folder).status == "corrected"

        predicted.undo()
        finish(dock)
        assert only_case(folder).status == "predicted"
        assert folder.read_instances(only_case(folder)).sum() == 40 * 60

        predicted.redo()
        finish(dock)
        assert only_case(folder).status == "corrected"

    def test_plain_assignment_is_saved(self, dock, folder, predicted, finish):
        predicted.data = np.roll(predicted.data, 8, axis=0)
        finish(dock)

        assert only_case(folder).status == "corrected"

    def test_without_a_folder_it_says_so_and_saves_once_there_is_one(
        self, viewer, open_image, folder, finish
    ):
        _, dock = viewer.window.add_plugin_dock_widget("napari-cln", "Correct")
        name(dock, "r1")
        labels = predict(viewer, open_image(viewer, FRAME))
        finish(dock)
        labels.paint((260, 330), 1)
        finish(dock)
        assert dock.message.text().startswith("Open or make a training folder")

        dock.view.study.open_folder(folder.path)
        finish(dock)

        assert only_case(folder).status == "corrected"

    def test_another_folder_takes_nothing_that_was_saved_in_the_first(
        self, dock, folder, predicted, finish, tmp_path
    ):
        predicted.paint((260, 330), 1)
        finish(dock)

        dock.view.study.create_folder(tmp_path / "other")
        finish(dock)

        assert len(folder.ids()) == 1
        assert dock.view.study.folder.ids() == []


class TestVerdicts:
    def test_an_untouched_prediction_is_accepted_as_such(self, dock, folder, predicted, press, finish):
        finish(dock)
        dock.session.filing.start_clock(ago=7)  # the reader looks at it
        press(dock, "accept")

        case = only_case(folder)
        (entry,) = folder.record(case.id).history
        assert case.status == "accepted"
        assert case.nodes[0].p_malignant == pytest.approx(0.9)
        assert (entry.who, entry.model, entry.untouched) == ("r1", "ynet@123456789abc", True)
        assert 7 <= entry.seconds < 60
        assert "accepted as predicted" in dock.view.state.text()

    def test_a_painted_one_is_accepted_as_corrected(self, dock, folder, predicted, press):
        predicted.paint((260, 330), 1)

        press(dock, "accept")

        assert only_case(folder).status == "corrected"
        assert not any(entry.untouched for entry in folder.record(only_case(folder).id).history)

    def test_no_node_is_an_explicit_negative_that_undo_takes_back(
        self, dock, folder, predicted, press, finish
    ):
        press(dock, "no_node")
        case = only_case(folder)
        assert (case.status, case.nodes) == ("no-node", ())
        assert case.mask is not None
        assert not folder.read_instances(case).any()

        predicted.undo()
        finish(dock)
        assert only_case(folder).status == "predicted"
        assert len(only_case(folder).nodes) == 1

    def test_the_key_on_an_image_without_a_mask_says_no_node_too(
        self, viewer, dock, folder, open_image, qtbot, finish
    ):
        open_image(viewer, REAL)
        finish(dock)

        canvas = viewer.window._qt_viewer.canvas.native
        qtbot.keyClick(canvas, Qt.Key.Key_X, Qt.KeyboardModifier.ShiftModifier)
        finish(dock)

        assert only_case(folder).status == "no-node"

    def test_a_rejected_mask_is_kept_and_not_trained_on(self, dock, folder, predicted, press):
        press(dock, "reject")

        assert only_case(folder).status == "rejected"
        assert only_case(folder).mask is None
        assert folder.read_instances(only_case(folder)).any()

    def test_a_mask_that_is_only_erased_is_no_negative(self, dock, folder, predicted, finish):
        predicted.data = np.zeros_like(predicted.data)
        finish(dock)

        assert only_case(folder).status == "rejected"
        assert only_case(folder).mask is None

    def test_with_nothing_open_it_says_what_to_do(self, dock, press):
        press(dock, "accept")

        assert dock.message.text().startswith("Open an ultrasound image first")


class TestTakenBack:
    """Decisions that are undone, by key and by button."""

    @pytest.fixture
    def key(self, viewer, dock, finish, qtbot):
        def key(letter: str, *modifiers: str) -> None:
            held = Qt.KeyboardModifier.NoModifier
            for modifier in modifiers:
                held |= getattr(Qt.KeyboardModifier, f"{modifier}Modifier")
            canvas = viewer.window._qt_viewer.canvas.native
            qtbot.keyClick(canvas, getattr(Qt.Key, f"Key_{letter}"), held)
            finish(dock)

        return key

    def test_a_stroke_undone_brings_the_rejection_back_and_no_acceptance(
        self, dock, folder, predicted, key, finish
    ):
        finish(dock)
        key("R", "Shift")
        predicted.paint((260, 330), 1)
        finish(dock)
        assert only_case(folder).status == "corrected"

        key("Z", "Control")

        case = only_case(folder)
        assert case.status == "rejected"
        assert folder.read_instances(case).sum() == 40 * 60
        told = [(line.action, line.status) for line in folder.record(case.id).history]
        assert told == [("rejected", None), ("corrected", None), ("undone", "rejected")]

    @pytest.mark.parametrize(("letter", "status"), [("A", "accepted"), ("R", "rejected"), ("X", "no-node")])
    def test_control_z_takes_back_what_was_decided_last_and_redo_says_it_again(
        self, dock, folder, predicted, key, finish, letter, status
    ):
        finish(dock)
        before = predicted.data.copy()
        key(letter, "Shift")
        assert only_case(folder).status == status

        key("Z", "Control")
        case = only_case(folder)
        assert case.status == "predicted"
        assert np.array_equal(predicted.data, before)
        assert folder.read_instances(case).sum() == 40 * 60
        last = folder.record(case.id).history[-1]
        assert (last.who, last.action, last.status) == ("r1", "taken-back", "predicted")
        assert dock.message.text() == "Taken back. It is predicted, 1 node · simulated-frame"

        key("Z", "Control", "Shift")
        assert only_case(folder).status == status
        assert predicted.data.any() == (status != "no-node")

    def test_control_z_goes_back_in_the_order_in_which_things_happened(
        self, dock, folder, predicted, key, finish
    ):
        finish(dock)
        key("A", "Shift")
        predicted.paint((260, 330), 1)
        finish(dock)
        key("R", "Shift")

        statuses = []
        for _ in range(4):
            key("Z", "Control")
            statuses.append((only_case(folder).status, bool(predicted.data[260, 330])))

        assert statuses == [
            ("corrected", True),
            ("accepted", False),
            ("predicted", False),
            ("predicted", False),
        ]

    def test_the_button_names_what_it_takes_back(self, dock, folder, predicted, finish, press):
        finish(dock)
        assert not dock.view.verdict.take_back.isEnabled()
        press(dock, "no_node")
        assert dock.view.verdict.take_back.text() == "Take back: no node here"

        press(dock, "take_back")

        assert only_case(folder).status == "predicted"
        assert predicted.data.any()
        assert not dock.view.verdict.take_back.isEnabled()

    def test_what_another_reader_said_stands_again_in_their_name(self, viewer, dock, folder, finish, press):
        case_id = fill(folder)[0]
        name(dock, "r2")
        dock.session.open_case(case_id)
        press(dock, "reject")
        assert folder.case(case_id).status == "rejected"

        press(dock, "take_back")

        case = folder.case(case_id)
        assert (case.status, read_annotation(folder, case).annotator) == ("accepted", "r1")
        last = folder.record(case_id).history[-1]
        assert (last.who, last.action, last.judged_by) == ("r2", "taken-back", "r1")
        assert "accepted, by r1" in dock.view.state.text()

    def test_a_note_is_no_judgement_of_whoever_types_it(self, dock, folder, finish):
        case_id = fill(folder)[0]
        name(dock, "r2")
        dock.session.open_case(case_id)
        dock.view.about.note.setText("capsule blurred")
        dock.view.about.note.editingFinished.emit()
        finish(dock)

        case = folder.case(case_id)
        assert (case.status, read_annotation(folder, case).annotator) == ("accepted", "r1")
        last = folder.record(case_id).history[-1]
        assert (last.who, last.action, last.status, last.judged_by) == (
            "r2",
            "noted",
            "accepted",
            "r1",
        )

    def test_a_decision_can_be_taken_back_after_a_walk(self, dock, folder, finish, press):
        ids = fill(folder)
        dock.view.study.open_folder(folder.path)
        dock.view.walk.path.setCurrentIndex(2)
        dock.view.walk.step(1)
        press(dock, "reject")
        dock.view.walk.step(1)
        finish(dock)
        dock.view.walk.step(-1)
        finish(dock)

        press(dock, "take_back")

        assert folder.case(ids[0]).status == "accepted"

    def test_a_decision_between_readers_that_is_taken_back_is_asked_for_again(
        self, dock, folder, finish, press, qtbot
    ):
        case_id = fill(folder)[0]
        first = folder.read_instances(folder.case(case_id))
        theirs = replace(
            read_annotation(folder, folder.case(case_id)),
            instances=np.roll(first, 20, axis=0),
            nodes=(Node(id=1, status="accepted", truth="benign"),),
        )
        save_reading(folder, theirs, "r2")
        name(dock, "r3")
        dock.session.open_case(case_id)
        qtbot.waitUntil(lambda: dock.view.decision.isVisibleTo(dock), timeout=20_000)
        qtbot.mouseClick(dock.view.decision.take, Qt.MouseButton.LeftButton)
        finish(dock)
        assert folder.case(case_id).truth == "benign"

        press(dock, "take_back")

        case = folder.case(case_id)
        assert np.array_equal(folder.read_instances(case), first)
        assert (case.status, case.truth) == ("accepted", "metastatic")
        assert list(folder.record(case_id).history[-1].readings) == ["r2"]
        qtbot.waitUntil(lambda: dock.view.decision.isVisibleTo(dock), timeout=20_000)

    def test_an_undo_in_a_cine_goes_to_the_frame_that_it_changes(self, viewer, dock, open_cine, finish, key):
        open_cine(viewer)
        finish(dock)
        dock.view.walk.number.setValue(2)
        labels = viewer.layers.selection.active
        labels.data_setitem((np.array([1]), np.array([50]), np.array([60])), 1)
        finish(dock)
        dock.view.walk.number.setValue(5)
        finish(dock)

        key("Z", "Control")

        assert viewer.dims.current_step[0] == 1
        assert not labels.data.any()

    def test_frames_that_a_new_run_over_a_cine_clears_are_not_rejected(
        self, viewer, dock, folder, open_cine, finish, press
    ):
        image = open_cine(viewer)
        viewer.dims.set_current_step(0, 0)
        results = Results(viewer, image, [0], {})
        instances = np.zeros((160, 180), np.uint8)
        instances[40:80, 40:80] = 1
        prediction = Prediction(
            frame=Frame(pixels=image.data[0], n_frames=6),
            probability=instances.astype(np.float32),
            instances=instances,
            node_scores=(0.9,),
            class_probabilities={"benign": 0.1, "malignant": 0.9},
            model_id="ynet@123456789abc",
        )
        results.put(prediction)
        finish(dock)
        press(dock, "accept")
        assert only_case(folder).status == "accepted"

        again = Results(viewer, image, [0], {})
        again.begin()
        finish(dock)
        again.put(replace(prediction, instances=np.roll(instances, 9, axis=0)))
        finish(dock)

        case = only_case(folder)
        assert (case.status, len(folder.record(case.id).history)) == ("accepted", 1)
        assert "predicted, not looked at" in dock.view.state.text()

    def test_a_second_reading_is_taken_back_without_a_trace_in_the_folders_own(
        self, viewer, dock, folder, finish, press
    ):
        case_id = fill(folder)[0]
        before = folder.record(case_id)
        name(dock, "r2")
        dock.view.study.second.setChecked(True)
        dock.session.open_case(case_id)
        press(dock, "no_node")
        assert read_reading(folder, folder.case(case_id), "r2").status == "no-node"

        press(dock, "take_back")

        assert read_reading(folder, folder.case(case_id), "r2").status == "predicted"
        assert folder.record(case_id) == before

    def test_strokes_are_those_of_the_reader_who_painted_them(self, dock, folder, predicted, finish):
        finish(dock)
        predicted.paint((260, 330), 1)
        name(dock, "r2")
        finish(dock)

        case = only_case(folder)
        assert read_annotation(folder, case).annotator == "r1"


class TestReaderWithoutAName:
    @pytest.fixture
    def dock(self, viewer, folder) -> CorrectDock:
        _, dock = viewer.window.add_plugin_dock_widget("napari-cln", "Correct")
        dock.view.study.open_folder(folder.path)
        return dock

    def test_strokes_wait_for_the_name_and_are_kept_aside(self, dock, folder, predicted, finish, qtbot):
        finish(dock)
        predicted.paint((260, 330), 1)
        finish(dock)
        assert dock.message.text().startswith("Type your name or initials under Reader")
        assert "border" in dock.view.study.reader.styleSheet()
        assert folder.ids() == []
        qtbot.waitUntil(lambda: [stroke.who for stroke in folder.autosave.list()] == [""], timeout=10_000)

        name(dock, "r7")
        finish(dock)

        case = only_case(folder)
        assert [line.who for line in folder.record(case.id).history] == ["r7"]
        assert case.status == "corrected"
        assert folder.autosave.list() == []
        assert dock.view.study.reader.styleSheet() == ""

    @pytest.mark.parametrize("button", ["accept", "reject", "no_node"])
    def test_nothing_is_decided(self, dock, folder, predicted, finish, press, button):
        press(dock, button)

        assert dock.message.text().startswith("Type your name or initials under Reader")
        assert folder.ids() == []
        assert predicted.data.any()

    def test_what_a_crash_left_without_a_name_is_offered_to_whoever_comes(
        self, dock, folder, predicted, finish, qtbot
    ):
        frame = read_frame(FRAME)
        left = np.zeros(frame.shape, np.uint8)
        left[300:320, 400:420] = 1
        folder.autosave.keep(Annotation(frame=frame, instances=left), folder.identify(frame), who="")
        name(dock, "r7")
        finish(dock)
        assert "Strokes of somebody without a name" in dock.view.recovery.text.text()

        qtbot.mouseClick(dock.view.recovery.restore, Qt.MouseButton.LeftButton)
        finish(dock)

        assert np.array_equal(predicted.data, left)
        assert [line.who for line in folder.record(only_case(folder).id).history] == ["r7"]
        assert folder.autosave.list() == []


class TestWhatIsSaid:
    def test_a_node_in_two_parts_is_said(self, dock, predicted, finish):
        finish(dock)
        assert "parts" not in dock.view.state.text()

        predicted.paint((300, 450), 1)
        finish(dock)
        assert "Node 1 lies in 2 parts and counts as one." in dock.view.state.text()

        predicted.undo()
        finish(dock)
        assert "parts" not in dock.view.state.text()

    def test_no_message_outlives_its_cause(self, viewer, dock, folder, open_image, finish, press):
        assert dock.message.text() == f"{folder.path.name}: 0 frames."
        press(dock, "accept")
        assert dock.message.text().startswith("Open an ultrasound image first")
        image, other = open_image(viewer, FRAME), open_image(viewer, REAL)
        finish(dock)
        assert dock.message.text() == ""

        viewer.layers.selection.active = image
        press(dock, "accept")
        assert dock.message.text().startswith("There is no mask yet")
        viewer.layers.selection.active = other
        finish(dock)
        assert dock.message.text() == ""

    def test_the_reader_who_drew_may_not_decide(self, dock, folder, finish, qtbot):
        case_id = fill(folder)[0]
        first = read_annotation(folder, folder.case(case_id))
        save_reading(folder, replace(first, instances=np.roll(first.instances, 20, axis=0)), "r2")
        before = folder.record(case_id)

        for who in ("r1", "r2", "R1"):
            name(dock, who)
            dock.session.open_case(case_id)
            dock.session.refresh()
            dock.second.look()
            qtbot.waitUntil(lambda: "read it yourself" in dock.view.decision.text.text(), timeout=20_000)
            assert not dock.view.decision.row.isVisibleTo(dock)
            dock.view.decision.keep.click()
            finish(dock)
            assert "another reader decides" in dock.message.text()

        assert folder.record(case_id) == before


class TestFacts:
    def test_what_is_known_of_a_node_is_in_its_record(self, dock, folder, predicted, press, finish):
        press(dock, "accept")
        for name, title in (("truth", "metastatic"), ("truth_source", "Tg"), ("level", "IV"), ("side", "L")):
            dock.view.nodes.choice(1, name).setCurrentText(title)
        dock.view.about.note.setText("capsule blurred")
        dock.view.about.note.editingFinished.emit()
        finish(dock)

        (node,) = only_case(folder).nodes
        assert (node.truth, node.truth_source, node.level, node.side) == ("metastatic", "tg", "IV", "left")
        assert node.status == "accepted"
        assert folder.record(only_case(folder).id).note == "capsule blurred"

    def test_facts_stay_with_their_node_while_others_are_painted(self, dock, folder, predicted, finish):
        finish(dock)
        dock.view.nodes.choice(1, "truth").setCurrentText("benign")
        predicted.paint((300, 400), 2)
        finish(dock)

        assert [node.truth for node in only_case(folder).nodes] == ["benign", "unknown"]
        assert list(dock.view.nodes.nodes) == [1, 2]

    def test_the_patient_is_kept_as_a_hash_and_never_carried_to_another_image(
        self, viewer, dock, folder, predicted, open_image, press, finish
    ):
        finish(dock)
        assert dock.view.about.patient.text() == read_frame(FRAME).patient_id
        dock.view.about.patient.selectAll()
        QTest.keyClicks(dock.view.about.patient, "Doe, Jane")
        QTest.keyClick(dock.view.about.patient, Qt.Key.Key_Return)
        press(dock, "accept")

        case = only_case(folder)
        assert case.patient == folder.dataset.hash_key("patient", "doe, jane")
        assert not any(b"Doe" in path.read_bytes() for path in folder.path.rglob("*") if path.is_file())

        open_image(viewer, REAL)
        finish(dock)
        assert dock.view.about.patient.text() == ""

    def test_what_waits_for_a_name_is_saved_with_the_patient_of_its_own_image(
        self, viewer, dock, folder, predicted, open_image, press, finish
    ):
        name(dock, "")
        predicted.paint((260, 330), 1)
        finish(dock)
        first = folder.identify(dock.session.mask.frame)
        predict(viewer, open_image(viewer, REAL), np.s_[40:80, 40:80]).paint((90, 60), 1)
        finish(dock)
        dock.session.notes.take_patient("Doe, Jane")

        name(dock, "r1")
        finish(dock)

        keys = {case.id: case.patient for case in folder.cases()}
        assert keys.pop(first) == folder.dataset.hash_key("patient", read_frame(FRAME).patient_id)
        assert [*keys.values()] == [folder.dataset.hash_key("patient", "doe, jane")]


class TestFaults:
    def test_a_full_disk_is_told_and_the_strokes_stay(self, dock, folder, predicted, finish, monkeypatch):
        def full(*_args):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(commits, "staged", full)
            predicted.paint((260, 330), 1)
            finish(dock)
        assert "No space left on device" in dock.message.text()
        assert predicted.data[260, 330] == 1
        assert [stroke.who for stroke in folder.autosave.list()] == ["r1"]

        predicted.paint((261, 330), 1)
        finish(dock)
        assert only_case(folder).status == "corrected"
        assert folder.autosave.list() == []

    def test_a_window_that_closes_in_mid_save_loses_no_stroke(self, viewer, dock, folder, predicted, qtbot):
        predicted.paint((260, 330), 1)
        qtbot.waitUntil(lambda: not dock.session.filing.saver.is_idle, timeout=10_000)

        viewer.close()

        qtbot.waitUntil(lambda: len(folder.ids()) == 1, timeout=20_000)
        case = only_case(folder)
        row0, column0 = folder.record(case.id).source.crop[1::-1]
        assert folder.read_instances(case)[260 - row0, 330 - column0] == 1

    @pytest.mark.parametrize("answer", ["restore", "discard", "paint"])
    def test_strokes_left_by_a_crash_are_offered(
        self, viewer, dock, folder, predicted, qtbot, finish, answer
    ):
        frame = read_frame(FRAME)
        left = np.zeros(frame.shape, np.uint8)
        left[300:320, 400:420] = 1
        annotation = Annotation(frame=frame, instances=left, nodes=(Node(id=1, truth="benign"),))
        folder.autosave.keep(annotation, folder.identify(frame), who="r1")
        dock.view.study.open_folder(folder.path)
        finish(dock)
        assert "Strokes of r1" in dock.view.recovery.text.text()

        if answer == "paint":
            predicted.paint((260, 330), 1)
            finish(dock)
            # nobody answered: the old strokes are a revision below the new ones
            (former,) = folder.revisions(only_case(folder).id)
            assert former.nodes[0].truth == "benign"
        else:
            qtbot.mouseClick(getattr(dock.view.recovery, answer), Qt.MouseButton.LeftButton)
            finish(dock)
        if answer == "restore":
            assert np.array_equal(predicted.data, left)
            assert only_case(folder).truth == "benign"
        if answer == "discard":
            assert folder.ids() == []
            assert "were discarded, and are kept for one day" in dock.view.recovery.text.text()
            assert not dock.view.recovery.discard.isVisibleTo(dock)
            qtbot.mouseClick(dock.view.recovery.restore, Qt.MouseButton.LeftButton)
            finish(dock)
            assert np.array_equal(predicted.data, left)
        assert not dock.view.recovery.isVisibleTo(dock)

    def test_the_mask_of_another_frame_is_refused(self, viewer, dock, folder, predicted, finish):
        image = next(layer for layer in viewer.layers if isinstance(layer, Image))
        finish(dock)
        image.data = np.roll(image.data, 5, axis=0)

        predicted.paint((260, 330), 1)
        finish(dock)

        assert "another frame" in dock.message.text()
        assert folder.ids() == []

    def test_two_readers_at_once_lose_nothing(self, dock, folder, predicted, press, finish):
        press(dock, "accept")
        case = only_case(folder)
        other = TrainingFolder.open(folder.path)
        rival = Annotation(
            frame=read_frame(FRAME), instances=np.roll(predicted.data, 9, axis=1), annotator="r2"
        )
        other.save(rival)

        predicted.paint((260, 330), 1)
        finish(dock)

        assert "was changed by r2" in dock.message.text()
        assert len(folder.revisions(case.id)) == 3
        predicted.paint((261, 331), 1)
        finish(dock)
        assert folder.record(case.id).history[-1].who == "r1"

    def test_a_prediction_after_an_acceptance_changes_nothing_in_the_folder(
        self, viewer, dock, folder, predicted, press, finish
    ):
        press(dock, "accept")
        known = predicted.metadata[KEY]
        results = Results(viewer, next(one for one in viewer.layers if isinstance(one, Image)), [0], {})
        results.put(replace(known, instances=np.roll(known.instances, 4, axis=0)))
        finish(dock)
        assert only_case(folder).status == "accepted"

        # and undo, across it, is a change of the reader's
        predicted.undo()
        finish(dock)
        assert np.array_equal(predicted.data, known.instances)


class TestWays:
    def test_each_frame_of_a_cine_is_a_case_and_undo_saves_the_frame_it_changes(
        self, viewer, dock, folder, open_image, finish, press
    ):
        image = open_image(viewer, CINE)
        finish(dock)
        press(dock, "empty")
        (labels,) = [layer for layer in viewer.layers if isinstance(layer, Labels)]
        viewer.dims.set_current_step(0, 3)
        finish(dock)
        labels.paint((3, 300, 400), 1)
        finish(dock)
        dock.view.walk.step(1)
        finish(dock)
        assert (viewer.dims.current_step[0], dock.view.walk.number.value()) == (4, 5)
        labels.paint((4, 310, 400), 1)
        finish(dock)
        assert len(folder.ids()) == 2
        assert len({case.cine for case in folder.cases()}) == 1

        labels.undo()
        labels.undo()  # changes frame 3, while frame 4 is in view
        finish(dock)

        assert {case.status for case in folder.cases()} == {"predicted"}
        assert folder.identify(image.metadata[KEY][3]) in folder.ids()

    def test_the_folders_frames_open_with_their_masks_and_keep_their_undo_history(
        self, viewer, dock, folder, finish
    ):
        ids = fill(folder)
        dock.view.study.open_folder(folder.path)
        dock.view.walk.path.setCurrentIndex(2)

        dock.view.walk.step(1)
        finish(dock)
        (labels,) = [layer for layer in viewer.layers if isinstance(layer, Labels)]
        before = labels.data.copy()
        assert np.array_equal(before, folder.read_instances(folder.case(ids[0])))
        assert dock.view.nodes.choice(1, "truth").currentText() == "metastatic"
        labels.paint((40, 40), 2)
        finish(dock)
        layers = [*viewer.layers]
        dock.view.walk.step(1)
        finish(dock)
        assert [*viewer.layers] == layers  # to make others takes napari a second
        assert np.array_equal(labels.data, folder.read_instances(folder.case(ids[1])))
        labels.undo()
        finish(dock)
        assert np.array_equal(labels.data, folder.read_instances(folder.case(ids[1])))
        dock.view.walk.number.setValue(1)
        finish(dock)

        assert labels.data[40, 40] == 2
        labels.undo()
        finish(dock)
        assert np.array_equal(labels.data, before)
        case = folder.case(ids[0])
        assert (case.status, case.truth) == ("accepted", "metastatic")
        assert np.array_equal(folder.read_instances(case), before)

    def test_a_second_reader_starts_blind_and_agreement_is_told(
        self, viewer, dock, folder, finish, press, qtbot
    ):
        case_id = fill(folder)[0]
        before = folder.record(case_id)
        name(dock, "r2")
        dock.view.study.second.setChecked(True)
        dock.view.study.open_folder(folder.path)

        dock.session.open_case(case_id)
        (labels,) = [layer for layer in viewer.layers if isinstance(layer, Labels)]
        assert not labels.data.any()
        labels.data = np.roll(folder.read_instances(folder.case(case_id)), 20, axis=0)
        finish(dock)
        assert dock.view.nodes.choice(1, "truth").currentText() == "unknown"
        assert "Dice" not in dock.message.text()  # nothing is told before the reader has judged
        press(dock, "accept")

        qtbot.waitUntil(lambda: "Dice with the first reading 0.6" in dock.message.text(), timeout=10_000)
        assert folder.record(case_id) == before
        assert readers_of(folder, case_id) == ["r2"]
        dock.view.worthy.look.click()
        qtbot.waitUntil(lambda: dock.view.worthy.rows.count() == 1, timeout=10_000)
        assert (
            dock.view.worthy.rows.item(0)
            .text()
            .startswith(f"case {case_id[:6]}: two readers differ: Dice 0.")
        )

    @pytest.mark.parametrize("answer", ["keep", "take", "consensus"])
    def test_a_third_reader_decides_between_two(self, viewer, dock, folder, finish, press, qtbot, answer):
        case_id = fill(folder)[0]
        first = folder.read_instances(folder.case(case_id))
        theirs = replace(read_annotation(folder, folder.case(case_id)), instances=np.roll(first, 20, axis=0))
        save_reading(folder, theirs, "r2")
        name(dock, "r3")
        dock.view.study.open_folder(folder.path)

        dock.session.open_case(case_id)
        qtbot.waitUntil(lambda: dock.view.decision.isVisibleTo(dock), timeout=20_000)
        assert dock.view.decision.text.text().startswith("r2 reads this frame otherwise: Dice 0.60.")
        dock.view.decision.show_other.click()
        outline = viewer.layers["outline of r2"]
        assert np.array_equal(outline.data > 0, theirs.mask)
        (labels,) = [layer for layer in viewer.layers if isinstance(layer, Labels) and layer is not outline]
        if answer == "consensus":
            labels.data = np.roll(first, 10, axis=0)
            finish(dock)
        qtbot.mouseClick(
            dock.view.decision.take if answer == "take" else dock.view.decision.keep,
            Qt.MouseButton.LeftButton,
        )
        finish(dock)

        case = folder.case(case_id)
        rolled = {"keep": 0, "take": 20, "consensus": 10}[answer]
        assert np.array_equal(folder.read_instances(case), np.roll(first, rolled, axis=0))
        last = folder.record(case_id).history[-1]
        assert (last.who, last.action, list(last.readings)) == ("r3", "adjudicated", ["r2"])
        assert (case.status, case.truth) == (
            "corrected" if answer == "consensus" else "accepted",
            "metastatic",
        )
        assert dock.message.text().startswith("Decided, with the reading of r2: ")
        qtbot.waitUntil(lambda: not dock.view.decision.isVisibleTo(dock), timeout=20_000)
        assert not outline.visible

    def test_what_changed_is_shown_on_request(self, viewer, dock, predicted, finish):
        finish(dock)
        dock.view.drawing.difference.click()
        changes = viewer.layers[-1]
        assert not changes.data.any()

        predicted.data_setitem((np.array([100, 210]), np.array([100, 310])), np.array([1, 0], np.uint8))
        finish(dock)

        assert (changes.data[100, 100], changes.data[210, 310], (changes.data > 0).sum()) == (1, 2, 2)
        dock.view.drawing.difference.setChecked(False)
        assert not changes.visible

    def test_a_typed_scale_holds_for_layers_and_record(self, viewer, dock, folder, open_image, finish, press):
        image = open_image(viewer, REAL)
        finish(dock)
        press(dock, "empty")
        (labels,) = [layer for layer in viewer.layers if isinstance(layer, Labels)]
        labels.paint((300, 300), 1)
        finish(dock)
        dock.scale.start(image, 0)
        viewer.layers.selection.active.add_lines([[100, 700], [300, 700]])
        dock.view.scale.length.setValue(20)
        dock.scale.apply(image, dock.view.scale.length)
        finish(dock)

        assert tuple(image.scale) == tuple(labels.scale) == (0.1, 0.1)
        assert str(labels.units[0]) == "millimeter"
        record = folder.record(only_case(folder).id)
        assert (record.spacing_mm, record.spacing_source) == ((0.1, 0.1), "typed")
        assert record.spacing_by == "r1"

    def test_a_scale_that_the_file_states_is_not_typed_over(self, viewer, dock, open_image):
        dock.scale.start(open_image(viewer, FRAME), 0)

        assert "says its scale itself" in dock.message.text()

    def test_a_word_on_the_scale_goes_with_its_image(self, viewer, dock, open_image, finish):
        image, other = open_image(viewer, FRAME), open_image(viewer, REAL)
        finish(dock)
        dock.session.navigator.show_image(image)
        finish(dock)
        dock.scale.start(image, 0)
        assert "says its scale itself" in dock.message.text()

        dock.session.navigator.show_image(other)
        finish(dock)

        assert "scale" not in dock.message.text()

    def test_a_suggested_frame_is_gone_to_with_its_reason(self, viewer, dock, open_image, finish, qtbot):
        image, other = open_image(viewer, FRAME), open_image(viewer, REAL)
        predict(viewer, image, np.s_[0:0, 0:0])
        viewer.layers.selection.active = other
        finish(dock)

        qtbot.mouseClick(dock.view.worthy.look, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: dock.view.worthy.rows.count() == 1, timeout=10_000)
        row = dock.view.worthy.rows.item(0)
        assert row.text() == "simulated-frame: no node was found, but the score of the frame is 0.90"

        dock.view.worthy.rows.itemClicked.emit(row)
        finish(dock)
        assert dock.view.image.value is image
        assert not other.visible
