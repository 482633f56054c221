"""The frame in view is one thing: what the canvas shows, what the brush paints on, what is decided on."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Shapes
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from shipped import CINE, FRAME, REAL
from strokes import drag

from napari_cln._layers import KEY, LayerKind, lie_apart, link, space_of
from napari_cln.annotation import Annotation, Node
from napari_cln.compat.window import grid_of
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.types import Frame
from napari_cln.widgets.correct.cases import add_mask
from napari_cln.widgets.correct.session import Session

pytestmark = pytest.mark.usefixtures("config")


@pytest.fixture
def viewer(qapp) -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def folder(tmp_path) -> TrainingFolder:
    return TrainingFolder.create(tmp_path / "study")


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def session(viewer, folder, told):
    session = Session(viewer)
    session.told.connect(lambda words, _mood, _about: told.append(words))
    session.filing.take_reader("r1")
    session.filing.enter(folder)
    yield session
    session.filing.saver.close()


def put(viewer, image: Image, node: int = 1) -> Labels:
    """A mask with one node, as a reader has painted it."""
    labels = add_mask(viewer, image)
    labels.data[..., 30:50, 40:70] = node
    labels.refresh()
    return labels


def screens(viewer, *names: str, shape: tuple[int, ...] = (90, 120)) -> list[Image]:
    rng = np.random.default_rng(4)
    return [viewer.add_image(rng.integers(0, 255, shape, np.uint8), name=name) for name in names]


@pytest.fixture
def pair(viewer, session) -> tuple[Image, Image]:
    """Two open images of one size, each with a mask; the first is at work, and alone on the canvas."""
    first, second = screens(viewer, "first", "second")
    for image in (second, first):
        put(viewer, image)
        session.navigator.show_image(image)
    return first, second


def save(session) -> list[str]:
    """Statuses in the folder, once everything is saved."""
    session.flush()
    return [case.status for case in session.folder.cases()]


# ------------------------------------------------------------ what the canvas shows


def show_second_over(viewer, first, second):
    second.visible = True


def show_second_below(viewer, first, second):
    viewer.layers.move(viewer.layers.index(second), 0)
    second.visible, first.opacity = True, 0.5


def show_second_beside(viewer, first, second):
    viewer.layers.move(viewer.layers.index(second), 0)
    second.visible, second.translate = True, (0, 130)


def add_seconds_to_first(viewer, first, second):
    viewer.layers.move(viewer.layers.index(second), 0)
    second.visible, first.blending = True, "additive"


def hide_image(viewer, first, second):
    first.visible = False


def make_image_clear(viewer, first, second):
    first.opacity = 0


def hide_mask(viewer, first, second):
    mask_of(viewer, first).visible = False


def make_mask_clear(viewer, first, second):
    mask_of(viewer, first).opacity = 0


def show_one_node_only(viewer, first, second):
    mask_of(viewer, first).show_selected_label = True


def show_the_others_mask(viewer, first, second):
    mask_of(viewer, second).visible = True


def add_a_second_mask(viewer, first, second):
    mask = mask_of(viewer, first)
    put(viewer, first, 2)
    viewer.layers.selection.active = mask


def lay_a_plugins_mask_over(viewer, first, second):
    viewer.add_labels(np.ones((90, 120), np.uint8), name="cells")
    viewer.layers.selection.active = mask_of(viewer, first)


def show_a_grid(viewer, first, second):
    grid_of(viewer).enabled = True


def show_three_dimensions(viewer, first, second):
    viewer.dims.ndisplay = 3


def mask_of(viewer, image) -> Labels:
    return next(
        layer
        for layer in viewer.layers
        if isinstance(layer, Labels) and layer.metadata.get("napari-cln image") == image.unique_id
    )


FAULTS = {
    show_second_over: "shows 'second' too, over 'first'",
    show_second_below: "shows 'second' too, beside 'first'",
    show_second_beside: "shows 'second' too, beside 'first'",
    add_seconds_to_first: "shows 'second' too, beside 'first'",
    hide_image: "'first' is hidden",
    make_image_clear: "'first' is hidden",
    hide_mask: "The mask 'first · nodes' is hidden",
    make_mask_clear: "The mask 'first · nodes' is hidden",
    show_one_node_only: "Only the selected node is shown",
    show_the_others_mask: "Another mask is on the canvas too: 'second · nodes'",
    add_a_second_mask: "Another mask is on the canvas too: 'first · nodes",
    lay_a_plugins_mask_over: "Another mask is on the canvas too: 'cells'",
    show_a_grid: "The grid shows a frame and its mask apart",
    show_three_dimensions: "The canvas shows three dimensions",
}


@pytest.mark.filterwarnings("ignore:.*viewer.grid")
@pytest.mark.parametrize("hinder", FAULTS, ids=lambda hinder: hinder.__name__)
def test_a_decision_on_what_the_canvas_does_not_show_is_refused_until_it_is_shown_alone(
    viewer, session, pair, told, hinder
):
    first, _ = pair
    hinder(viewer, *pair)

    session.decisions.reject()

    assert FAULTS[hinder] in told[-1]
    assert told[-1].startswith("Not taken.")
    assert save(session) == []
    assert session.navigator.image is first

    session.navigator.mend()
    session.decisions.reject()
    assert session.mask.title == "first"
    assert save(session) == ["rejected"]


def test_an_image_that_is_covered_all_over_hinders_nothing(viewer, session, pair):
    _, second = pair
    viewer.layers.move(viewer.layers.index(second), 0)
    second.visible = True

    session.decisions.reject()

    assert save(session) == ["rejected"]


def test_an_image_that_the_reader_hid_stays_hidden(viewer, session, pair):
    first, second = pair
    mask_of(viewer, second).visible = False
    texts = viewer.add_points([[5, 5]], name="words")
    link(texts, second)
    texts.visible = False

    session.navigator.show_image(second)

    assert second.visible
    assert mask_of(viewer, second).visible
    assert not texts.visible
    assert not first.visible
    assert not mask_of(viewer, first).visible


def test_a_click_on_another_images_layer_shows_that_image_alone(viewer, session, pair):
    _, second = pair

    viewer.layers.selection.active = mask_of(viewer, second)
    session.refresh()

    assert session.navigator.image is second
    assert [layer.name for layer in viewer.layers if layer.visible] == ["second", "second · nodes"]
    session.decisions.reject()
    assert save(session) == ["rejected"]
    assert session.folder.ids() == [session.folder.identify(Frame(pixels=second.data))]


def test_facts_that_are_typed_while_another_frame_is_shown_are_refused(viewer, session, pair, told):
    show_second_over(viewer, *pair)

    session.notes.take_facts({1: Node(id=1, truth="metastatic")})

    assert told[-1].startswith("Not taken. The canvas shows 'second' too")
    assert session.mask.given.facts == {}
    assert save(session) == []


class TestCines:
    def test_the_message_says_which_frame_a_decision_went_to(self, viewer, session, qtbot, told):
        (cine,) = screens(viewer, "cine", shape=(4, 90, 120))
        put(viewer, cine)
        session.navigator.show_frame(cine, 2)

        session.decisions.accept()

        qtbot.waitUntil(lambda: "Saved: accepted, 1 node · cine, frame 3" in told, timeout=10_000)

    def test_a_slider_beyond_the_cine_shows_nothing_to_decide_on(self, viewer, session, told):
        long, short = screens(viewer, "long", "short", shape=(4, 90, 120))
        short.data = short.data[:2]
        session.navigator.show_image(long)
        put(viewer, short)
        session.navigator.show_image(short)
        viewer.dims.set_point(0, 3)

        session.decisions.no_node()

        assert "The slider stands beyond the 2 frames of 'short'" in told[-1]
        assert save(session) == []

    @pytest.mark.parametrize(("start", "step"), [(10.0, 1.0), (0.0, 2.5)])
    def test_the_frame_is_the_one_that_the_slider_shows_wherever_the_cine_begins(
        self, viewer, session, start, step
    ):
        noise = np.random.default_rng(1).integers(0, 255, (4, 90, 120), np.uint8)
        cine = viewer.add_image(noise, name="cine", translate=(start, 0, 0), scale=(step, 1, 1))
        session.navigator.show_frame(cine, 3)

        session.decisions.no_node()

        assert session.mask.index == 3
        assert save(session) == ["no-node"]
        assert session.folder.ids() == [session.folder.identify(Frame(pixels=noise[3]))]

    def test_turned_axes_show_no_frame(self, viewer, session, told):
        (cine,) = screens(viewer, "cine", shape=(4, 90, 120))
        session.navigator.show_image(cine)
        viewer.dims.roll()

        session.decisions.no_node()
        assert "The axes are turned" in told[-1]

        session.navigator.mend()
        session.decisions.no_node()
        assert save(session) == ["no-node"]


# ------------------------------------------------------------ the brush


class TestBrush:
    @pytest.fixture
    def dock(self, make_napari_viewer, folder):
        viewer = make_napari_viewer(show=True)
        _, dock = viewer.window.add_plugin_dock_widget("napari-cln", "Correct")
        dock.view.study.reader.setText("r1")
        dock.view.study.reader.editingFinished.emit()
        dock.view.study.open_folder(folder.path)
        return dock

    @pytest.mark.parametrize(
        ("had", "has"),
        [
            ("paint", "paint"),
            ("erase", "erase"),
            ("polygon", "polygon"),
            ("pan_zoom", "paint"),
            ("transform", "paint"),
        ],
    )
    def test_a_step_of_the_walk_puts_the_tool_into_the_hand(self, dock, open_image, qtbot, had, has):
        viewer, canvas = dock.viewer, dock.viewer.window._qt_viewer.canvas.native
        images = [open_image(viewer, path) for path in (FRAME, REAL)]
        dock.view.walk.path.setCurrentIndex(1)
        qtbot.waitUntil(lambda: dock.session.navigator.image is images[1])
        images[1].mode = "transform"
        QTest.keyClick(canvas, Qt.Key.Key_J, Qt.KeyboardModifier.ShiftModifier)
        labels = viewer.layers.selection.active
        assert isinstance(labels, Labels)
        labels.mode, labels.brush_size = had, 17

        QTest.keyClick(canvas, Qt.Key.Key_K, Qt.KeyboardModifier.ShiftModifier)

        active = viewer.layers.selection.active
        assert active is mask_of(viewer, images[1])
        assert (active.mode, active.brush_size) == (has, 17)
        assert images[1].mode == "pan_zoom"

    @pytest.mark.parametrize("way", ["cine", "folder", "suggestion", "choice"])
    def test_each_way_to_a_frame_ends_with_the_brush(self, dock, folder, open_image, qtbot, way):
        viewer, canvas = dock.viewer, dock.viewer.window._qt_viewer.canvas.native
        if way == "folder":
            pixels = np.random.default_rng(2).integers(0, 255, (2, 90, 120), np.uint8)
            for frame in pixels:
                known = Frame(pixels=frame, scan_area=(0, 0, 90, 120))
                folder.save(
                    Annotation(frame=known, instances=np.zeros((90, 120), np.uint8), status="no-node")
                )
            dock.view.study.open_folder(folder.path)
            dock.view.walk.path.setCurrentIndex(2)
        image = open_image(viewer, CINE if way == "cine" else FRAME)
        other = open_image(viewer, REAL)
        viewer.layers.selection.active = image if way == "cine" else other
        qtbot.waitUntil(lambda: dock.session.navigator.image is (image if way == "cine" else other))

        if way == "suggestion":
            dock.session.navigator.show_frame(image, 0)
        elif way == "choice":
            dock.view.image.value = image
        else:
            QTest.keyClick(canvas, Qt.Key.Key_K, Qt.KeyboardModifier.ShiftModifier)

        assert dock.session.mask is not None  # asking for it, the frame is turned to its end
        active = viewer.layers.selection.active
        assert isinstance(active, Labels)
        assert (active, active.mode) == (dock.session.mask.labels, "paint")
        assert dock.session.mask.image is not other

    def test_a_stroke_after_a_step_paints_and_drags_no_picture(self, dock, folder, open_image, qtbot):
        viewer, canvas = dock.viewer, dock.viewer.window._qt_viewer.canvas.native
        images = [open_image(viewer, path) for path in (FRAME, REAL)]
        dock.view.walk.path.setCurrentIndex(1)
        qtbot.waitUntil(lambda: dock.session.navigator.image is images[1])
        QTest.keyClick(canvas, Qt.Key.Key_J, Qt.KeyboardModifier.ShiftModifier)
        viewer.reset_view()
        QTest.qWait(200)
        QTest.keyClick(canvas, Qt.Key.Key_2)  # the brush, of a Labels layer
        for _ in range(8):
            QTest.keyClick(canvas, Qt.Key.Key_BracketRight)

        drag(viewer, (240, 320), (260, 330), (270, 340))

        assert mask_of(viewer, images[0]).data.any()
        assert tuple(images[0].translate) == (0, 0)
        qtbot.waitUntil(lambda: [case.status for case in folder.cases()] == ["corrected"], timeout=20_000)


# ------------------------------------------------------------ image and mask on each other


MOVES = {
    "translate": (0.0, 3.0),
    "scale": (1.0, 1.1),
    "rotate": 5.0,
    "shear": [0.1],
    "affine": [[1, 0, 2], [0, 1, 0], [0, 0, 1]],
}


class TestApart:
    @pytest.mark.parametrize("moved", ["image", "mask"])
    @pytest.mark.parametrize("move", MOVES)
    def test_a_layer_that_was_moved_is_refused_and_put_back(self, viewer, session, told, move, moved):
        (image,) = screens(viewer, "frame")
        mask = put(viewer, image)
        session.navigator.show_image(image)
        before = [np.array(layer.data_to_world((7, 9))) for layer in (image, mask)]
        setattr(image if moved == "image" else mask, move, MOVES[move])

        session.decisions.accept()
        assert told[-1].startswith("Not taken. 'frame' and 'frame · nodes' do not lie on each other")
        assert save(session) == []

        session.navigator.mend()
        after = [np.array(layer.data_to_world((7, 9))) for layer in (image, mask)]
        assert np.allclose(before, after)
        session.decisions.accept()
        assert save(session) == ["accepted"]

    def test_strokes_on_a_moved_picture_are_not_saved_and_said_so(self, viewer, session, told):
        (image,) = screens(viewer, "frame")
        mask = put(viewer, image)
        session.navigator.show_image(image)
        image.translate = (4, 0)

        mask.data_setitem((np.array([60]), np.array([60])), 1)

        assert save(session) == []
        assert told[-1].startswith("What was painted is not saved: image and mask do not lie on each other.")
        session.navigator.mend()
        mask.undo()
        session.flush()
        mask.redo()
        assert save(session) == ["corrected"]

    def test_a_picture_that_was_moved_before_the_dock_was_there_goes_back_to_its_files_place(
        self, viewer, session, open_image
    ):
        image = open_image(viewer, FRAME)
        mask = add_mask(viewer, image)
        scale = tuple(image.scale)
        image.translate, image.scale = (5, 5), (2, 2)

        session.navigator.show_image(image)
        assert session.navigator.fault.remedy == "together"
        session.navigator.mend()

        assert tuple(image.scale) == scale
        assert tuple(image.translate) == (0, 0)
        assert not lie_apart(image, mask)

    def test_the_mask_of_a_cine_may_not_be_moved_by_a_frame(self, viewer, session, told):
        (cine,) = screens(viewer, "cine", shape=(4, 90, 120))
        mask = put(viewer, cine)
        session.navigator.show_frame(cine, 2)
        mask.translate = (1, 0, 0)

        session.decisions.accept()
        assert "do not lie on each other" in told[-1]

        session.navigator.mend()
        assert tuple(mask.translate) == (0, 0, 0)

    @pytest.mark.parametrize("kind", ["score map", "difference", "reading"])
    def test_what_is_shown_beside_the_mask_has_to_lie_on_the_frame_too(self, viewer, session, told, kind):
        (image,) = screens(viewer, "frame")
        put(viewer, image)
        session.navigator.show_image(image)
        data, options = np.zeros((90, 120), np.uint8), {"metadata": {KEY: kind}, **space_of(image, 2)}
        layer = (
            Image(data.astype(float), **options) if kind == LayerKind.SCORE_MAP else Labels(data, **options)
        )
        link(layer, image)
        viewer.add_layer(layer)
        viewer.layers.selection.active = mask_of(viewer, image)
        layer.translate = (6, 0)

        session.decisions.accept()
        assert "do not lie on each other" in told[-1]

        session.navigator.mend()
        assert tuple(layer.translate) == (0, 0)

    def test_a_scale_line_is_not_taken_from_a_moved_picture(self, make_napari_viewer, open_image):
        viewer = make_napari_viewer()
        _, dock = viewer.window.add_plugin_dock_widget("napari-cln", "Correct")
        image = open_image(viewer, REAL)
        dock.scale.start(image, 0)
        line = next(layer for layer in viewer.layers if isinstance(layer, Shapes))
        line.add_lines([[100, 200], [200, 200]])
        image.scale = (2, 2)

        dock.scale.apply(image, dock.view.scale.length)

        assert "do not lie on each other" in dock.message.text()
        assert str(image.units[-1]) == "pixel"

    def test_a_picture_dragged_by_the_mouse_is_refused(self, make_napari_viewer, folder, open_image, qtbot):
        viewer = make_napari_viewer(show=True)
        _, dock = viewer.window.add_plugin_dock_widget("napari-cln", "Correct")
        dock.view.study.reader.setText("r1")
        dock.view.study.reader.editingFinished.emit()
        dock.view.study.open_folder(folder.path)
        image = open_image(viewer, REAL)
        put(viewer, image)
        viewer.reset_view()
        QTest.qWait(200)
        viewer.layers.selection.active = image
        canvas = viewer.window._qt_viewer.canvas.native
        QTest.keyClick(canvas, Qt.Key.Key_2)
        assert image.mode == "transform"
        drag(viewer, (200, 200), (220, 230), (240, 260))
        assert np.hypot(*image.data_to_world((0, 0))) > 20

        QTest.keyClick(canvas, Qt.Key.Key_A, Qt.KeyboardModifier.ShiftModifier)
        assert "do not lie on each other" in dock.message.text()
        assert folder.ids() == []

        qtbot.waitUntil(lambda: dock.view.state.mend.text() == "Put together")
        qtbot.mouseClick(dock.view.state.mend, Qt.MouseButton.LeftButton)
        assert np.allclose(image.data_to_world((0, 0)), 0)
        QTest.keyClick(canvas, Qt.Key.Key_A, Qt.KeyboardModifier.ShiftModifier)
        qtbot.waitUntil(lambda: [case.status for case in folder.cases()] == ["accepted"], timeout=20_000)
