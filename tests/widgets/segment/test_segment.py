"""The Segment dock in a real window, with a small real network."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from napari.layers import Image, Labels, Points
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication
from shipped import CINE, FRAME, REAL

import napari_cln
from napari_cln._layers import KEY, is_painted, link, readings_of
from napari_cln.network.doubt import Novelty, pooled_texture
from napari_cln.network.weights import load_model, save_model
from napari_cln.study.reading import read_prediction
from napari_cln.types import Doubt
from napari_cln.widgets.segment.dock import SegmentDock
from napari_cln.widgets.segment.session import SegmentState
from napari_cln.widgets.segment.view import Verdict


@pytest.fixture
def dock(viewer, small_model) -> SegmentDock:
    _, dock = viewer.window.add_plugin_dock_widget("napari-cln")
    dock.view.model.choose(small_model)
    dock.view.device.setCurrentIndex(dock.view.device.findData("cpu"))
    return dock


def layers(viewer, kind: type) -> list:
    return [layer for layer in viewer.layers if type(layer) is kind]


@pytest.fixture
def finish(qtbot):
    def finish(dock) -> None:
        qtbot.waitUntil(lambda: not dock.session.is_running, timeout=60_000)

    return finish


@pytest.fixture
def segment(qtbot, finish):
    """Press the button with the mouse, and wait."""

    def segment(dock, button: str = "run_frame") -> None:
        qtbot.mouseClick(getattr(dock.view, button), Qt.MouseButton.LeftButton)
        finish(dock)

    return segment


def test_with_nothing_open_it_says_what_to_do(dock, segment):
    segment(dock)

    assert dock.message.text() == "Open an ultrasound image first: File > Open, or drop it on the canvas."


def test_a_press_of_the_button_gives_what_segment_gives(viewer, dock, open_image, segment, small_model):
    image = open_image(viewer, FRAME)

    segment(dock)

    (labels,), (points,) = layers(viewer, Labels), layers(viewer, Points)
    expected = napari_cln.segment(FRAME, small_model, "cpu")
    assert np.array_equal(labels.data, expected.instances)
    assert labels.metadata[KEY].malignancy == pytest.approx(expected.malignancy, abs=1e-6)
    assert f"{expected.malignancy:.2f}" in points.text.values[0]
    assert f"{expected.malignancy:.2f}" in dock.view.verdict.headline.text()
    assert tuple(labels.scale) == tuple(image.scale)
    assert dock.message.text().startswith("Segmented 1 frame in ")
    assert "CPU" in dock.view.device_reason.text()


@pytest.fixture
def wary_model(models, tmp_path, monkeypatch) -> str:
    """The small network, which has seen nothing but black frames, and says so."""
    network = load_model(models / "small.safetensors")
    with torch.no_grad():
        black = pooled_texture(network.stem(torch.zeros(1, 1, 256, 256)))
    factor = np.eye(black.shape[1], dtype=np.float32)[None] * 1e4
    network.novelty = Novelty(mean=black, factor=factor)
    save_model(network, tmp_path / "wary.safetensors", replace(network.card, name="wary"))
    monkeypatch.setenv("NAPARI_CLN_MODELS", str(tmp_path))
    return "wary"


def test_a_frame_unlike_the_training_data_says_so(viewer, dock, open_image, segment, small_model, wary_model):
    open_image(viewer, FRAME)
    dock.view.model.choose(wary_model)

    segment(dock)

    (points,) = layers(viewer, Points)
    assert dock.view.verdict.flag.isVisibleTo(dock.view.verdict)
    assert dock.view.verdict.flag.text().startswith("The frame is unlike those that the model was trained on")
    assert points.text.values[0].startswith("The frame is unlike those")


def test_a_doubt_stands_beside_its_node_and_once(qtbot, small_model):
    verdict = Verdict()
    qtbot.addWidget(verdict)
    found = napari_cln.segment(FRAME, small_model, "cpu")
    instances = np.zeros_like(found.instances)
    instances[40:90, 40:90], instances[120:150, 40:90] = 1, 2
    sure, unsure = (
        Doubt(chance=0.1, level="sure"),
        Doubt(chance=0.6, level="look twice", reason="it is faint"),
    )
    two = replace(found, instances=instances, node_scores=(0.2, 0.7), node_doubts=(sure, unsure))

    def shown(doubt: Doubt) -> tuple[str, str]:
        reading = read_prediction(replace(two, doubt=doubt))
        verdict.show_state(SegmentState(readings={reading.index: reading}, index=reading.index, n_frames=1))
        return verdict.flag.text(), verdict.nodes.text()

    assert shown(sure)[0] == ""
    assert shown(sure)[1].count("Look twice: it is faint.") == 1
    assert shown(unsure)[0] == "Look twice: it is faint."
    assert "faint" not in shown(unsure)[1]


def test_in_a_cine_each_frame_says_whether_it_is_unlike(viewer, dock, open_cine, segment, wary_model):
    cine = open_cine(viewer, 3)
    cine.data[1] = 0
    dock.view.model.choose(wary_model)

    segment(dock, "run_all")

    shown = []
    for index in range(3):
        viewer.dims.set_current_step(0, index)
        shown.append(dock.view.verdict.flag.isVisibleTo(dock.view.verdict))
    assert shown == [True, False, True]
    (labels,) = layers(viewer, Labels)
    assert {index for index, reading in readings_of(labels).items() if reading.flag} == {0, 2}


def test_a_press_of_the_button_shows_where_the_score_comes_from(
    viewer, dock, open_image, segment, qtbot, small_model
):
    image = open_image(viewer, FRAME)
    segment(dock)
    viewer.layers.selection.active = image

    for _ in range(2):  # the second map takes the place of the first
        qtbot.mouseClick(dock.view.score_map, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(dock.view.score_map.isEnabled, timeout=60_000)
        qtbot.waitUntil(lambda: dock.message.text().startswith("Orange adds"), timeout=60_000)

    first, score_map = layers(viewer, Image)
    assert first is image
    expected = napari_cln.explain(FRAME, small_model, "cpu")
    np.testing.assert_allclose(score_map.data, expected.map, atol=1e-6)
    assert tuple(score_map.scale) == tuple(image.scale)
    assert score_map.contrast_limits == [-np.abs(expected.map).max(), np.abs(expected.map).max()]
    assert dock.view.image.choices == (image,)
    assert viewer.layers.selection.active is image
    segment(dock)
    assert layers(viewer, Image) == [image], "a map of an old score is not left beside a new one"


def test_in_a_cine_the_map_lies_on_its_own_frame(viewer, dock, open_cine, qtbot, small_model):
    cine = open_cine(viewer, 3)
    viewer.dims.set_current_step(0, 2)

    qtbot.mouseClick(dock.view.score_map, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.message.text().startswith("Orange adds"), timeout=60_000)

    score_map = layers(viewer, Image)[1]
    assert score_map.data.shape == (1, *cine.data.shape[1:])
    assert score_map.translate[0] == 2


def test_shift_s_on_the_canvas_segments(viewer, dock, open_image, qtbot, finish):
    open_image(viewer, FRAME)

    canvas = viewer.window._qt_viewer.canvas.native
    qtbot.keyClick(canvas, Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
    finish(dock)

    assert len(layers(viewer, Labels)) == 1


def test_the_card_says_what_the_model_never_saw(dock):
    assert "never seen a cervical lymph node" in dock.view.model.limits.text()
    assert "small@" in dock.view.model._card.text()
    assert dock.view.cutoff.value() == pytest.approx(0.41)


def test_a_model_that_was_just_trained_is_offered_at_once(dock, models, monkeypatch, tmp_path):
    for file in models.iterdir():
        shutil.copy(file, tmp_path / file.name.replace("small", "mine"))
    card = tmp_path / "mine.json"
    card.write_text(card.read_text().replace('"name": "small"', '"name": "mine"'))
    monkeypatch.setenv("NAPARI_CLN_MODELS", str(tmp_path))

    dock.view.model.names.showPopup()
    dock.view.model.names.hidePopup()

    assert dock.view.model.names.findData("mine") >= 0


def test_another_prediction_is_one_step_of_undo(viewer, dock, open_image, segment):
    image = open_image(viewer, FRAME)
    segment(dock)
    (labels,) = layers(viewer, Labels)
    first = labels.data.copy()
    image.metadata["napari-cln scan area"] = (100, 200, 300, 500)

    segment(dock)
    assert layers(viewer, Labels) == [labels]
    assert not np.array_equal(labels.data, first)

    labels.undo()
    assert np.array_equal(labels.data, first)


def test_a_prediction_never_overwrites_paint(viewer, dock, open_image, segment):
    open_image(viewer, FRAME)
    segment(dock)
    (painted,) = layers(viewer, Labels)
    painted.paint((40, 40), 0)
    painted.paint((60, 60), 2)
    before = painted.data.copy()

    segment(dock)

    assert np.array_equal(painted.data, before)
    assert len(layers(viewer, Labels)) == 2
    assert painted.opacity == pytest.approx(0.9)
    painted.undo()
    painted.undo()
    assert not is_painted(painted)


def test_paint_during_a_run_is_kept(viewer, dock, open_image, segment, finish):
    open_image(viewer, FRAME)
    segment(dock)
    (painted,) = layers(viewer, Labels)

    dock.segment_frame()
    painted.paint((60, 60), 2)
    before = painted.data.copy()
    finish(dock)

    assert np.array_equal(painted.data, before)
    assert len(layers(viewer, Labels)) == 2


def test_texts_of_a_cine_that_the_user_hid_stay_hidden(viewer, dock, open_cine, finish):
    open_cine(viewer, 4)
    dock.segment_all()
    finish(dock)
    (texts,) = layers(viewer, Points)
    texts.visible = False

    dock.segment_all()
    finish(dock)

    assert not texts.visible


def test_a_layer_deleted_during_a_run_leaves_no_orphan(viewer, dock, open_image, finish):
    image = open_image(viewer, FRAME)

    dock.segment_frame()
    viewer.layers.remove(image)
    finish(dock)

    assert list(viewer.layers) == []
    assert "the layer was deleted" in dock.message.text()


def test_a_window_closed_during_a_run_ends_quietly(viewer, dock, open_cine, qtbot):
    open_cine(viewer, 60)
    dock.segment_all()
    worker = dock.session.run.work.worker

    with qtbot.waitSignal(worker.finished, timeout=60_000):
        viewer.close()


def test_a_dock_closed_during_a_run_ends_quietly(viewer, dock, open_cine, qtbot):
    open_cine(viewer, 60)
    dock.segment_all()
    worker = dock.session.run.work.worker

    with qtbot.waitSignal(worker.finished, timeout=60_000):
        viewer.window.remove_dock_widget(dock)

    # and the viewer's events no longer reach it
    viewer.dims.set_current_step(0, 3)
    viewer.layers.clear()


def test_a_failed_run_greys_the_old_mask_and_the_next_brings_it_back(
    viewer, dock, open_image, segment, models, tmp_path
):
    open_image(viewer, FRAME)
    segment(dock)
    (labels,), (points,) = layers(viewer, Labels), layers(viewer, Points)
    broken = tmp_path / "broken.safetensors"
    content = bytearray((models / "small.safetensors").read_bytes())
    content[-1] ^= 1
    broken.write_bytes(content)
    shutil.copy(models / "small.json", tmp_path / "broken.json")

    dock.view.model.choose(str(broken))
    segment(dock)

    assert "broken.safetensors is damaged or was changed" in dock.message.text()
    assert labels.opacity < 0.2
    assert points.visible
    assert points.text.values[0].startswith("segmentation failed: broken.safetensors is damaged")

    dock.view.model.choose("small")
    segment(dock)
    assert labels.opacity == pytest.approx(0.9)
    assert points.text.values[0].startswith(("malignancy", "no node found"))


def test_frames_without_a_finite_number_are_told_and_the_others_have_their_masks(
    viewer, dock, open_cine, segment, models, tmp_path
):
    cine = open_cine(viewer, 3)
    cine.data[1] = 0
    network = load_model(models / "small.safetensors")
    with torch.no_grad():
        network.stem[0].weight.fill_(1e38)  # what is bright overflows, what is black does not
    save_model(network, tmp_path / "huge.safetensors", replace(network.card, name="huge"))
    dock.view.model.choose(str(tmp_path / "huge.safetensors"))

    segment(dock, "run_all")

    assert dock.message.text().startswith("2 of 3 frames without a result. The model huge@")
    (labels,) = layers(viewer, Labels)
    assert labels.data.shape == (3, 160, 180)


def test_a_file_that_is_no_model_is_named(dock, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"nothing")

    dock.view.model.choose(str(path))

    assert "weights.json is missing" in dock.message.text()
    assert dock.view.model.limits.text() == "This model can't be used."


def test_renamed_and_reordered_layers_are_still_the_right_ones(viewer, dock, open_image, segment):
    image, other = open_image(viewer, FRAME), open_image(viewer, REAL)
    dock.view.image.value = image
    segment(dock)
    (labels,) = layers(viewer, Labels)
    image.name, labels.name, other.name = "z", "mine", "simulated-frame"
    viewer.layers.move(viewer.layers.index(image), 0)

    segment(dock)

    assert layers(viewer, Labels) == [labels]
    assert [str(choice) for choice in dock.view.image.choices] == ["z", "simulated-frame"]
    assert dock.view.image.value is image


def test_a_duplicated_image_gets_masks_of_its_own(viewer, dock, open_image, segment):
    image = open_image(viewer, FRAME)
    segment(dock)
    viewer.layers.selection.active = image
    from napari.layers._layer_actions import _duplicate_layer

    _duplicate_layer(viewer.layers)
    twin = viewer.layers[viewer.layers.index(image) + 1]
    dock.view.image.value = twin
    segment(dock)

    assert isinstance(twin, Image)
    assert len(layers(viewer, Labels)) == 2


def test_selecting_an_image_chooses_it(viewer, dock, open_image):
    first, second = open_image(viewer, FRAME), open_image(viewer, REAL)

    viewer.layers.selection.active = first
    assert dock.view.image.value is first
    viewer.layers.selection.active = second
    assert dock.view.image.value is second


def test_selecting_a_mask_chooses_its_image_and_shows_that_mask(viewer, dock, open_image):
    first, second = open_image(viewer, FRAME), open_image(viewer, REAL)
    masks = [viewer.add_labels(np.zeros(first.data.shape[:2], np.uint8)) for _ in range(2)]
    for mask in masks:
        link(mask, first)
    viewer.layers.selection.active = second

    viewer.layers.selection.active = masks[0]

    assert dock.view.image.value is dock.session.image is first
    assert (first.visible, second.visible, masks[0].visible, masks[1].visible) == (True, False, True, False)


def test_selected_layers_are_segmented_and_no_others(viewer, dock, open_image, segment):
    first, second, third = (open_image(viewer, path) for path in (FRAME, REAL, FRAME))
    viewer.layers.selection = {first, second}

    segment(dock, "run_selected")

    assert len(layers(viewer, Labels)) == 2
    assert dock.message.text().startswith("Segmented 2 frames")
    dock.view.image.value = third
    assert not dock.view.verdict.headline.isVisibleTo(dock)


def test_a_clip_has_a_table_of_its_nodes_that_leads_to_the_best_frame(viewer, dock, open_cine, segment):
    open_cine(viewer)

    segment(dock, "run_all")

    (track, *_) = dock.session.state.tracks
    table = dock.view.verdict.clip
    assert not table.isHidden() and table.rowCount() == len(dock.session.state.tracks)
    table.cellClicked.emit(0, 0)
    shown = {one.best_frame for one in dock.session.state.tracks}
    assert viewer.dims.current_step[0] in shown
    assert track.frames


def test_a_changed_mask_takes_the_table_of_its_clip_away(viewer, dock, open_cine, segment):
    open_cine(viewer)
    segment(dock, "run_all")
    assert dock.session.state.tracks

    segment(dock, "run_frame")  # the same masks again
    assert dock.session.state.tracks
    dock.session._clips[dock.session.image] = (dock.session.state.tracks, {0: "another"})

    assert not dock.session.state.tracks


def test_the_nodes_of_a_frame_are_copied_as_sentences(viewer, dock, open_image, segment, qtbot):
    open_image(viewer, FRAME)
    segment(dock)

    qtbot.mouseClick(dock.view.verdict.copy, Qt.MouseButton.LeftButton)

    text = QApplication.clipboard().text()
    assert text.startswith("Node 1: ") and "For research, not for diagnosis." in text
    fact = text.split(": ", 1)[1].split(". Malignancy")[0]
    assert "(long × short" in fact and fact in dock.view.verdict.nodes.text()
    dock.view.cutoff.setValue(0.99)
    qtbot.mouseClick(dock.view.verdict.copy, Qt.MouseButton.LeftButton)
    assert "below its cutoff 0.99: benign" in QApplication.clipboard().text()


def test_moving_the_cutoff_relabels_without_a_run(viewer, dock, open_image, segment):
    open_image(viewer, FRAME)
    segment(dock)
    (labels,), (points,) = layers(viewer, Labels), layers(viewer, Points)
    score = labels.metadata[KEY].malignancy

    dock.view.cutoff.setValue(min(score + 0.05, 1))

    assert set(labels.features["label"]) == {"benign"}
    assert f"→ benign at cutoff {dock.view.cutoff.value():.2f}" in points.text.values[0]
    assert "benign" in dock.view.verdict.headline.text()


def test_a_score_keeps_the_name_of_its_model_when_another_is_chosen(viewer, dock, open_image, segment):
    open_image(viewer, FRAME)
    segment(dock)
    (points,) = layers(viewer, Points)
    said = [line for line in points.text.values[0].splitlines() if "cutoff" not in line]

    dock.session.choose_model("default")
    dock.session.set_cutoff(0.9)

    now = points.text.values[0].splitlines()
    assert "at cutoff 0.90" in now[0]
    assert [line for line in now if "cutoff" not in line] == said
    assert any(line.startswith("small · ") for line in said)


def test_an_image_that_another_plugin_opened_is_segmented(viewer, dock, segment):
    viewer.add_image(np.random.default_rng(0).random((200, 260)))

    segment(dock)

    assert layers(viewer, Labels)[0].data.shape == (200, 260)


def test_a_layer_that_is_no_frame_is_refused_in_words(viewer, dock, segment):
    image = viewer.add_image(np.zeros((2, 3, 20, 30), np.uint8))
    viewer.layers.selection = {image}

    segment(dock, "run_selected")
    assert "neither a frame nor a stack of frames" in dock.message.text()
    segment(dock)
    assert "neither a frame nor a stack of frames" in dock.message.text()


class TestCine:
    def test_all_frames_are_filled_in_and_plotted(self, viewer, dock, open_image, segment, small_model):
        image = open_image(viewer, CINE)

        segment(dock, "run_all")

        (labels,), (points,) = layers(viewer, Labels), layers(viewer, Points)
        expected = list(napari_cln.segment_batch([CINE], small_model, "cpu"))
        assert labels.data.shape == image.data.shape[:3]
        assert np.array_equal(labels.data, np.stack([one.instances for one in expected]))
        assert list(dock.view.verdict.plot.scores) == list(range(12))
        scores = [one.malignancy for one in expected]
        assert list(dock.view.verdict.plot.scores.values()) == pytest.approx(scores, abs=1e-5)
        assert set(points.data[:, 0]) == set(range(12))
        assert dock.message.text().startswith("Segmented 12 frames")

    def test_texts_come_at_once_for_the_frame_in_view_and_at_the_end_for_all(
        self, viewer, dock, open_cine, finish, qtbot
    ):
        open_cine(viewer, 40)
        viewer.dims.set_current_step(0, 0)
        dock.segment_all()
        qtbot.waitUntil(lambda: bool(layers(viewer, Points)), timeout=60_000)
        (points,), written = layers(viewer, Points), []
        points.events.data.connect(lambda _event: written.append(set(points.data[:, 0])))
        qtbot.waitUntil(lambda: dock.session.run.done > 25, timeout=60_000)
        assert written == []
        assert 0 in points.data[:, 0]

        viewer.dims.set_current_step(0, 20)
        assert 20 not in points.data[:, 0]
        finish(dock)

        assert set(points.data[:, 0]) == set(range(40))
        assert len(layers(viewer, Labels)[0].features) >= 40

    def test_what_moves_is_drawn_without_drawing_the_axes(self, viewer, dock, open_cine, segment, qtbot):
        open_cine(viewer)
        segment(dock, "run_all")
        plot, drawn = dock.view.verdict.plot, []
        plot.draw()
        plot.mpl_connect("draw_event", drawn.append)
        before = np.array(plot.buffer_rgba())

        viewer.dims.set_current_step(0, 5)
        moved = np.array(plot.buffer_rgba())
        viewer.dims.set_current_step(0, 9)
        viewer.dims.set_current_step(0, 5)

        assert not drawn
        assert (moved != before).any()
        assert np.array_equal(np.array(plot.buffer_rgba()), moved)
        plot.draw()
        assert np.array_equal(np.array(plot.buffer_rgba()), moved)

    def test_this_frame_is_the_one_in_view(self, viewer, dock, open_cine, segment):
        open_cine(viewer)
        viewer.dims.set_current_step(0, 4)

        segment(dock)

        (labels,) = layers(viewer, Labels)
        assert set(labels.metadata[KEY]) == {4}
        assert np.flatnonzero(labels.data.any(axis=(1, 2))).tolist() == [4]
        assert dock.view.verdict.headline.isVisibleTo(dock)
        viewer.dims.set_current_step(0, 5)
        assert not dock.view.verdict.headline.isVisibleTo(dock)

    def test_a_click_on_the_plot_moves_the_slider(self, viewer, dock, open_cine, segment, qtbot):
        open_cine(viewer)
        segment(dock)
        plot = dock.view.verdict.plot
        plot.draw()
        x, y = plot._axes.transData.transform((4, 0.5))
        place = QPoint(round(x), round(plot.figure.bbox.height - y)) / plot.device_pixel_ratio

        qtbot.mouseClick(plot, Qt.MouseButton.LeftButton, pos=place)

        assert viewer.dims.current_step[0] == 4

    def test_cancel_stops_and_keeps_what_is_done(self, viewer, dock, open_cine, finish, qtbot):
        open_cine(viewer, 60)
        dock.segment_all()
        qtbot.waitUntil(lambda: dock.session.run.done > 0, timeout=60_000)

        qtbot.mouseClick(dock.view.stop, Qt.MouseButton.LeftButton)
        finish(dock)

        assert 0 < dock.session.run.done < 60
        assert f"Cancelled after {dock.session.run.done} of 60 frames" in dock.message.text()
        assert len(layers(viewer, Labels)[0].metadata[KEY]) == dock.session.run.done

    def test_a_painted_frame_is_left_alone(self, viewer, dock, open_cine, segment):
        open_cine(viewer)
        segment(dock, "run_all")
        (painted,) = layers(viewer, Labels)
        viewer.dims.set_current_step(0, 3)
        painted.paint((3, 40, 40), 0)
        painted.paint((3, 60, 60), 3)
        before = painted.data[3].copy()

        segment(dock, "run_all")

        assert np.array_equal(painted.data[3], before)
        newer = next(labels for labels in layers(viewer, Labels) if labels is not painted)
        assert set(newer.metadata[KEY]) == {3}
        assert len(painted.metadata[KEY]) == 6

    def test_strokes_that_were_undone_still_guard_their_frame(self, viewer, dock, open_cine, segment):
        open_cine(viewer)
        segment(dock)
        (painted,) = layers(viewer, Labels)
        index = viewer.dims.current_step[0]
        painted.paint((index, 40, 40), 3)
        painted.undo()

        segment(dock)
        painted.redo()

        # a redo onto a frame that a prediction had replaced would corrupt it
        assert len(layers(viewer, Labels)) == 2

    def test_a_new_run_clears_what_it_is_about_to_replace(self, viewer, dock, open_cine, segment, finish):
        open_cine(viewer)
        segment(dock)
        (labels,) = layers(viewer, Labels)
        index = viewer.dims.current_step[0]

        dock.segment_frame()

        assert labels.metadata[KEY] == {}
        assert not labels.data[index].any()
        finish(dock)
        assert set(labels.metadata[KEY]) == {index}

    def test_a_damaged_frame_is_named_and_the_others_are_done(self, viewer, dock, tmp_path, segment):
        from PIL import Image as Pillow

        from napari_cln._layers import source_to_layer
        from napari_cln.io.sources import open_source

        path = tmp_path / "pages.tif"
        noise = np.random.default_rng(1).integers(0, 255, (3, 200, 220), np.uint8)
        pages = [Pillow.fromarray(page) for page in noise]
        pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_deflate")
        content = path.read_bytes()
        data, options, _ = source_to_layer(open_source(path))
        # flip bytes in the middle of the last page's compressed data
        place = content.rfind(b"\x78\x9c") + 400
        path.write_bytes(content[:place] + bytes(200) + content[place + 200 :])
        viewer.add_layer(Image(data, **options))

        segment(dock, "run_all")

        assert "1 of 3 frames can't be read. pages.tif" in dock.message.text()
        assert set(layers(viewer, Labels)[0].metadata[KEY]) == {0, 1}


def test_the_reading_at_another_cutoff_keeps_no_node_found():
    from napari_cln.study.reading import Reading

    reading = Reading(
        index=0, malignancy=0.9, label="no node found", cutoff=0.5, model_id="m@0", nodes=(),
        frame_digest="", mask_digest="",
    )  # fmt: skip

    assert reading.at(0.1).label == "no node found"
    assert replace(reading, label="malignant").at(0.95).label == "benign"
