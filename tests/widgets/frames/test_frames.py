"""The Frames dock in a real window."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from napari.layers import Image, Labels, Shapes
from PIL import Image as Pillow
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent
from shipped import CINE, FRAME, REAL

import napari_cln
from napari_cln._layers import KEY, frame_from_layer
from napari_cln.widgets.common.theme import CONTRAST, colours_of, contrast
from napari_cln.widgets.frames.dock import FramesDock
from napari_cln.widgets.segment.dock import SegmentDock


@pytest.fixture
def dock(viewer) -> FramesDock:
    _, dock = viewer.window.add_plugin_dock_widget("napari-cln", "Frames")
    return dock


@pytest.fixture
def study(tmp_path):
    """A folder of five frames, one of them damaged, and a text."""
    for path, name in ((REAL, "a.png"), (FRAME, "b.dcm"), (CINE, "c.dcm")):
        shutil.copy(path, tmp_path / name)
    (tmp_path / "d.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    noise = np.random.default_rng(0).integers(0, 255, (150, 170), np.uint8)
    Pillow.fromarray(noise).save(tmp_path / "e.png")
    (tmp_path / "notes.txt").write_text("nothing to see")
    return tmp_path


@pytest.fixture
def add(qtbot):
    def add(dock, *patterns) -> None:
        n_before = len(dock.session.frames.rows)
        dock.add(*patterns)
        qtbot.waitUntil(lambda: dock.session.search is None, timeout=20_000)
        qtbot.waitUntil(lambda: len(dock.session.frames.rows) > n_before, timeout=20_000)

    return add


def shown(viewer) -> list[str]:
    return [layer.name for layer in viewer.layers if type(layer) is Image]


def test_a_folder_is_listed_and_its_first_frame_shown(viewer, dock, study, add):
    add(dock, study)

    assert [row.path.name for row in dock.session.frames.rows] == [
        "a.png",
        "b.dcm",
        "c.dcm",
        "d.png",
        "e.png",
    ]
    assert shown(viewer) == ["a"]
    assert dock.view.position.text() == "1 / 5"


def test_next_and_previous_by_button_and_key(viewer, dock, study, add, qtbot):
    add(dock, study)
    canvas = viewer.window._qt_viewer.canvas.native

    qtbot.mouseClick(dock.view.forward, Qt.MouseButton.LeftButton)
    assert shown(viewer) == ["b"]
    qtbot.keyClick(canvas, Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    assert shown(viewer) == ["c"]
    qtbot.keyClick(canvas, Qt.Key.Key_B, Qt.KeyboardModifier.ShiftModifier)
    qtbot.mouseClick(dock.view.back, Qt.MouseButton.LeftButton)
    assert shown(viewer) == ["a"]
    qtbot.mouseClick(dock.view.back, Qt.MouseButton.LeftButton)
    assert dock.message.text() == "This is the first frame."


def test_a_row_says_size_spacing_and_its_source(dock, study, add, qtbot):
    add(dock, study)
    for row in range(5):  # what painting asks for
        dock.session.frames.data(dock.session.frames.index(row), Qt.ItemDataRole.DecorationRole)

    qtbot.waitUntil(lambda: all(row.facts is not None for row in dock.session.frames.rows), timeout=20_000)

    facts = {row.path.name: row.facts for row in dock.session.frames.rows}
    frame = napari_cln.read_frame(FRAME)
    assert facts["b.dcm"].text == f"800×600 · {frame.spacing_mm[0]:.3f} mm DICOM"
    assert facts["c.dcm"].text.startswith("800×600 ×12 · ")
    assert facts["a.png"].text.endswith("no mm")
    assert dock.session.frames.rows[0].picture.width() == 64
    assert "d.png" in facts["d.png"].error
    assert dock.session.frames.rows[3].status == "can't be read"


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_word_of_a_row_can_be_read_on_the_ground_of_the_list(viewer, dock, study, add, theme):
    viewer.theme = theme
    add(dock, study)
    colours = colours_of(viewer)

    view = dock.view.list
    drawn = view.viewport().grab().toImage()
    middle = [view.visualRect(view.model().index(row, 0)).center() for row in (0, 1)]
    grounds = {drawn.pixelColor(drawn.width() - 12, at.y()).name() for at in middle}

    assert grounds == {colours.background}
    for name in ("text", "quiet", "malignant", "benign", "painted", "bad"):
        assert contrast(getattr(colours, name), colours.background) >= CONTRAST


def test_only_rows_in_view_are_read(dock, tmp_path, add, qtbot):
    content = REAL.read_bytes()
    for number in range(200):
        (tmp_path / f"{number:03}.png").write_bytes(content)
    add(dock, tmp_path)
    dock.view.list.resize(280, 300)
    dock.view.list.grab()

    qtbot.waitUntil(lambda: dock.session.frames.rows[2].facts is not None, timeout=20_000)
    qtbot.waitUntil(lambda: dock.session.frames._work is None, timeout=20_000)

    assert sum(row.facts is not None for row in dock.session.frames.rows) < 40


def test_a_damaged_file_says_why_and_the_next_one_opens(viewer, dock, study, add):
    add(dock, study)

    dock.view.list.setCurrentIndex(dock.session.frames.index(3))
    assert "d.png" in dock.message.text()
    assert shown(viewer) == []
    dock.next()
    assert shown(viewer) == ["e"]


def test_a_folder_without_frames_says_so(dock, tmp_path, qtbot):
    dock.add(tmp_path)
    qtbot.waitUntil(lambda: dock.session.search is None, timeout=20_000)

    assert "holds no image, DICOM or video" in dock.message.text()


def test_a_pattern_is_typed(dock, study, qtbot):
    qtbot.keyClicks(dock.view.pattern, str(study / "*.dcm"))
    qtbot.keyClick(dock.view.pattern, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: len(dock.session.frames.rows) == 2, timeout=20_000)

    assert [row.path.name for row in dock.session.frames.rows] == ["b.dcm", "c.dcm"]


def test_files_are_dropped_on_the_dock(dock, study, qtbot):
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(study / "e.png"))])
    copy, left, none = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier

    dock.dropEvent(QDropEvent(QPointF(QPoint(5, 5)), copy, data, left, none))
    qtbot.waitUntil(lambda: len(dock.session.frames.rows) == 1, timeout=20_000)

    assert dock.session.frames.rows[0].path.name == "e.png"


def test_paint_and_its_undo_survive_a_look_at_other_frames(viewer, dock, study, add):
    add(dock, study)
    labels = viewer.add_labels(np.zeros(viewer.layers[0].data.shape[:2], np.uint8))
    labels.paint((20, 30), 1)
    painted = labels.data.copy()

    dock.next()
    assert labels not in viewer.layers
    assert shown(viewer) == ["b"]
    assert dock.session.frames.rows[0].status == "painted"
    dock.previous()

    assert labels in viewer.layers
    assert np.array_equal(labels.data, painted)
    labels.undo()
    assert not labels.data.any()


def test_paint_on_one_frame_never_shows_on_the_next(viewer, dock, study, add):
    add(dock, study)
    viewer.add_labels(np.ones(viewer.layers[0].data.shape[:2], np.uint8))

    dock.next()

    assert [layer for layer in viewer.layers if isinstance(layer, Labels)] == []


def test_an_image_that_the_user_deletes_is_read_again(viewer, dock, study, add):
    add(dock, study)
    viewer.layers.clear()

    dock.next()
    dock.previous()

    assert shown(viewer) == ["a"]


def test_overlay_and_scan_area_are_shown_on_request(viewer, dock, study, add):
    add(dock, study)
    dock.next()
    (image,) = viewer.layers
    frame = napari_cln.read_frame(FRAME)

    dock.view.network.show_overlay.setChecked(True)
    dock.view.network.show_area.setChecked(True)

    (overlay,) = (layer for layer in viewer.layers if isinstance(layer, Labels))
    (area,) = (layer for layer in viewer.layers if isinstance(layer, Shapes))
    assert np.array_equal(overlay.data.astype(bool), napari_cln.find_overlay(frame))
    row0, column0, row1, column1 = napari_cln.find_scan_area(frame)
    assert area.data[0].min(axis=0) == pytest.approx([row0 - 0.5, column0 - 0.5])
    assert area.data[0].max(axis=0) == pytest.approx([row1 - 0.5, column1 - 0.5])
    assert tuple(overlay.scale) == tuple(area.scale) == tuple(image.scale)

    dock.view.network.show_overlay.setChecked(False)
    dock.view.network.show_area.setChecked(False)
    assert list(viewer.layers) == [image]


def test_doppler_flow_is_shown_beside_the_overlay(viewer, dock, tmp_path, add):
    phantom = napari_cln.simulate(3_001, n_nodes=1, doppler=True)
    Pillow.fromarray(phantom.frame.pixels).save(tmp_path / "doppler.png")
    add(dock, tmp_path / "doppler.png")
    dock.next()

    dock.view.network.show_overlay.setChecked(True)

    (flow,) = (layer for layer in viewer.layers if layer.name.endswith("flow found"))
    assert np.array_equal(flow.data.astype(bool), napari_cln.find_flow(phantom.frame).mask)
    dock.view.network.show_overlay.setChecked(False)
    assert flow not in viewer.layers


def test_a_drawn_scan_area_is_what_the_network_sees(viewer, dock, study, add, small_model, qtbot):
    add(dock, study / "e.png")
    (image,) = viewer.layers

    qtbot.mouseClick(dock.view.network.draw, Qt.MouseButton.LeftButton)
    (area,) = (layer for layer in viewer.layers if isinstance(layer, Shapes))
    assert area.mode == "add_rectangle"
    area.add_rectangles(np.array([[20, 30], [20, 120], [100, 120], [100, 30]]) - 0.5)
    qtbot.mouseClick(dock.view.network.use, Qt.MouseButton.LeftButton)

    assert frame_from_layer(image).scan_area == (20, 30, 100, 120)
    _, segment = viewer.window.add_plugin_dock_widget("napari-cln", "Segment")
    assert isinstance(segment, SegmentDock)
    segment.view.model.choose(small_model)
    segment.segment_frame()
    qtbot.waitUntil(lambda: not segment.session.is_running, timeout=60_000)
    probability = next(
        layer.metadata[KEY].probability
        for layer in viewer.layers
        if KEY in layer.metadata and layer.name.endswith("nodes")
    )
    assert probability[20:100, 30:120].all()
    probability = probability.copy()
    probability[20:100, 30:120] = 0
    assert not probability.any()

    qtbot.mouseClick(dock.view.network.find_again, Qt.MouseButton.LeftButton)
    assert frame_from_layer(image).scan_area is None


def test_the_overlay_can_be_left_in(viewer, dock, study, add):
    from napari_cln.widgets.segment.run import Task, prepared_for

    add(dock, study / "a.png")
    (image,) = viewer.layers
    card = napari_cln.load_model("default").card

    assert prepared_for(Task(image, (0,)), card).remove_overlay
    dock.view.network.remove_overlay.setChecked(False)
    assert not prepared_for(Task(image, (0,)), card).remove_overlay


def test_a_prediction_is_the_status_of_its_row(viewer, dock, study, add, small_model, qtbot):
    add(dock, study / "e.png", study / "a.png")
    _, segment = viewer.window.add_plugin_dock_widget("napari-cln", "Segment")
    segment.view.model.choose(small_model)

    segment.segment_frame()
    qtbot.waitUntil(lambda: not segment.session.is_running, timeout=60_000)

    qtbot.waitUntil(lambda: dock.session.frames.rows[0].status not in ("", "not segmented"), timeout=5_000)
    prediction = napari_cln.segment(study / "e.png", small_model)
    assert dock.session.frames.rows[0].status == f"{prediction.label} {prediction.malignancy:.2f}"
    dock.next()
    assert dock.session.frames.rows[1].status == "not segmented"
    dock.previous()
    assert any(isinstance(layer, Labels) for layer in viewer.layers)
