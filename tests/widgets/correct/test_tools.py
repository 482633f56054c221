"""Tools for nodes in the Correct dock: calipers on the canvas, and edits of nodes, by mouse, key and menu."""

from __future__ import annotations

import re
from time import sleep

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Labels
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from shipped import FRAME
from strokes import at, drag

from napari_cln._layers import SCAN_AREA_KEY
from napari_cln.annotation import Node
from napari_cln.compat.window import text_overlay_of
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.imaging.editing import nodes_in_parts
from napari_cln.imaging.measurement import measure
from napari_cln.network import outline
from napari_cln.phantom import Screen, draw_calipers, simulate
from napari_cln.widgets.correct.dock import CorrectDock
from napari_cln.widgets.correct.nodes import OF_CINES, TOOLS, ToolButtons
from napari_cln.widgets.correct.session import Session
from napari_cln.widgets.correct.tools import Workbench

EDITS = [tool.name for tool in TOOLS if tool.name not in ("calipers", *OF_CINES)]
LONG, SHORT = ((240, 300), (240, 380)), ((215, 340), (265, 340))


@pytest.fixture
def folder(tmp_path) -> TrainingFolder:
    return TrainingFolder.create(tmp_path / "study")


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)


@pytest.fixture
def dock(viewer, folder, open_image) -> CorrectDock:
    """The dock beside a calibrated frame with an empty mask, in a window."""
    image = open_image(viewer, FRAME)
    _, dock = viewer.window.add_plugin_dock_widget("napari-cln", "Correct")
    dock.view.study.reader.setText("r1")
    dock.view.study.reader.editingFinished.emit()
    dock.view.study.open_folder(folder.path)
    dock.session.navigator.show_image(image)
    QTest.qWait(100)
    return dock


@pytest.fixture
def key(viewer):
    """Press a key on the canvas."""

    def key(code, modifier=Qt.KeyboardModifier.NoModifier):
        QTest.keyClick(viewer.window._qt_viewer.canvas.native, code, modifier)
        QTest.qWait(30)

    return key


@pytest.fixture
def outlined(qtbot):
    """Wait until the outline is that of the ends."""

    def outlined(dock):
        qtbot.waitUntil(lambda: dock.bench.calipers.is_current, timeout=20_000)
        return dock.bench.calipers.sketch

    return outlined


@pytest.fixture
def calipers(dock, key, outlined):
    """Take the calipers by key and drag both axes."""

    def calipers(*axes):
        key(Qt.Key.Key_C, Qt.KeyboardModifier.ShiftModifier)
        for one, other in axes:
            drag(dock.viewer, one, tuple(np.add(one, other) / 2), other)
        return outlined(dock)

    return calipers


def hint(viewer) -> str:
    return str(text_overlay_of(viewer).text)


def sketches(viewer) -> list[str]:
    return [layer.name for layer in viewer.layers if "calipers" in layer.name and layer.visible]


def seen(viewer) -> list:
    return [layer for layer in viewer.layers if layer.visible]


def painted(dock) -> np.ndarray:
    return dock.session.mask.masks.copy()


class TestCalipers:
    def test_the_outline_is_there_after_one_drag_and_follows_the_other_ends(self, dock, calipers, outlined):
        sketch = calipers(LONG)
        (first,) = sketch.outline
        drag(dock.viewer, *SHORT)
        outlined(dock)
        (second,) = sketch.outline
        drag(dock.viewer, LONG[1], (240, 400), (240, 420))
        outlined(dock)
        (third,) = sketch.outline

        assert np.ptp(first[:, 1]) == pytest.approx(80, abs=8)
        assert np.ptp(second[:, 0]) == pytest.approx(50, abs=8)
        assert third[:, 1].max() > second[:, 1].max() + 20
        assert sketch.strokes["long"][1] == pytest.approx((240, 420), abs=2)
        assert not painted(dock).any()

    def test_enter_keeps_it_as_a_node_in_one_step_of_undo(self, dock, folder, calipers, key, qtbot):
        layers, tool = seen(dock.viewer), dock.session.mask.labels.mode
        calipers(LONG, SHORT)

        key(Qt.Key.Key_Return)

        masks = painted(dock)
        assert masks[240, 340] == 1
        assert seen(dock.viewer) == layers
        assert dock.session.mask.labels.mode == tool
        qtbot.waitUntil(lambda: bool(folder.cases()), timeout=20_000)
        assert folder.cases()[0].status == "corrected"
        key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        assert not painted(dock).any()

    def test_shift_draws_a_box_and_escape_leaves_nothing(self, dock, key, outlined):
        layers, words = seen(dock.viewer), hint(dock.viewer)
        key(Qt.Key.Key_C, Qt.KeyboardModifier.ShiftModifier)
        drag(dock.viewer, (200, 300), (230, 330), (260, 390), modifier=Qt.KeyboardModifier.ShiftModifier)
        (line,) = outlined(dock).outline

        key(Qt.Key.Key_Escape)

        assert line.min(axis=0) == pytest.approx((200, 300), abs=8)
        assert line.max(axis=0) == pytest.approx((260, 390), abs=8)
        assert seen(dock.viewer) == layers
        assert dock.viewer.layers.selection.active is dock.session.mask.labels
        assert hint(dock.viewer) == words
        assert not painted(dock).any()

    def test_keys_alone_do_it_too_and_closing_the_dock_ends_it(self, dock, key, outlined):
        key(Qt.Key.Key_C, Qt.KeyboardModifier.ShiftModifier)
        key(Qt.Key.Key_Right)
        key(Qt.Key.Key_Up, Qt.KeyboardModifier.ShiftModifier)
        sketch = outlined(dock)
        ends = sketch.strokes["long"].copy()
        key(Qt.Key.Key_N)
        key(Qt.Key.Key_Left)
        outlined(dock)
        assert (sketch.strokes["long"] - ends).tolist() == [[0, -1], [0, 0]]
        key(Qt.Key.Key_Return)
        assert painted(dock).any()

        key(Qt.Key.Key_C, Qt.KeyboardModifier.ShiftModifier)
        viewer = dock.viewer
        assert sketches(viewer)
        viewer.window.remove_dock_widget(dock)
        assert not sketches(viewer)
        assert not hint(viewer)


class TestInTheWindow:
    @pytest.fixture
    def two(self, dock) -> Labels:
        """Two nodes side by side."""
        labels = dock.session.mask.labels
        for node, left in ((1, 300), (2, 352)):
            rows, columns = np.mgrid[220:260, left : left + 50].reshape(2, -1)
            labels.data_setitem((rows, columns), node)
        QTest.qWait(50)
        return labels

    def test_a_line_by_mouse_splits_the_selected_node(self, dock, two, key):
        two.selected_label = 2
        key(Qt.Key.Key_T, Qt.KeyboardModifier.ShiftModifier)
        drag(dock.viewer, (210, 372), (240, 374), (270, 376))
        QTest.qWait(50)

        assert np.unique(painted(dock)).tolist() == [0, 1, 2, 3]
        key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        assert np.unique(painted(dock)).tolist() == [0, 1, 2]

    def test_a_line_by_key_splits_it_across_its_middle(self, dock, two, key):
        key(Qt.Key.Key_T, Qt.KeyboardModifier.ShiftModifier)
        key(Qt.Key.Key_Return)

        sizes = np.bincount(painted(dock)[painted(dock) > 0])
        assert sizes[3] == pytest.approx(sizes[1], rel=0.1)

    def test_buttons_work_on_the_nodes_that_are_chosen_in_the_table(self, dock, two, qtbot):
        table = dock.view.nodes
        for row, modifier in ((0, Qt.KeyboardModifier.NoModifier), (1, Qt.KeyboardModifier.ControlModifier)):
            place = table.visualItemRect(table.item(row, 0)).center()
            qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, modifier, pos=place)
        QTest.qWait(50)
        assert table.chosen_nodes == [1, 2]

        qtbot.mouseClick(dock.view.tools.buttons["merge"], Qt.MouseButton.LeftButton)

        assert np.unique(painted(dock)).tolist() == [0, 1]

    def test_a_row_of_the_table_is_what_the_brush_paints_and_the_other_way_round(self, dock, two):
        dock.view.nodes.selectRow(1)
        assert two.selected_label == 2

        two.selected_label = 1
        QTest.qWait(50)
        assert dock.view.nodes.chosen_nodes == [1]

    @pytest.mark.parametrize(("mode", "modifier"), [("pan_zoom", "NoModifier"), ("paint", "ShiftModifier")])
    def test_the_right_button_on_a_node_opens_its_menu(self, dock, two, qtbot, mode, modifier):
        two.mode = mode
        native = dock.viewer.window._qt_viewer.canvas.native
        place = at(dock.viewer, 240, 380)
        for pixel in (place - QPoint(20, 20), place):  # the pointer may be there from before
            QTest.mouseMove(native, pixel)
            QTest.qWait(50)
        qtbot.waitUntil(lambda: dock.bench.node_at(dock.viewer.cursor.position) is not None)
        QTest.mouseClick(native, Qt.MouseButton.RightButton, Qt.KeyboardModifier[modifier], place)

        actions = {action.text(): action for action in dock.menu.menu.actions()}
        dock.menu.menu.close()
        actions["Delete"].trigger()

        assert np.unique(painted(dock)).tolist() == [0, 1]

    def test_the_table_has_the_menu_too(self, dock, two):
        table = dock.view.nodes
        table.customContextMenuRequested.emit(table.visualItemRect(table.item(1, 0)).center())

        titles = [action.text() for action in dock.menu.menu.actions()]
        dock.menu.menu.close()
        assert {"Merge with node 1", "Delete", "One part"} <= set(titles)

    def test_the_dock_fits_beside_a_canvas(self, dock):
        assert dock.minimumSizeHint().width() <= 360
        assert dock.view.minimumSizeHint().width() <= 340

    def test_a_node_in_two_parts_is_said_with_the_way_to_mend_it(self, dock, two):
        two.data_setitem(tuple(np.mgrid[300:310, 300:310].reshape(2, -1)), 1)
        QTest.qWait(50)

        assert "Node 1 lies in 2 parts and counts as one. Split makes" in dock.view.state.text()


SHAPE = (60, 80)


@pytest.fixture(scope="module")
def bench(qapp) -> Workbench:
    """A session without a window, with a frame on its desk."""
    viewer = ViewerModel()
    pixels = np.random.default_rng(3).integers(0, 255, SHAPE, np.uint8)
    viewer.add_layer(Image(pixels, name="frame", metadata={SCAN_AREA_KEY: (0, 0, *SHAPE)}))
    session = Session(viewer)
    session.filing.take_reader("r1")
    session.navigator.show_image(viewer.layers[0])
    yield Workbench(session)
    session.filing.saver.close()


def paint(bench: Workbench, *boxes: tuple[int, int, int, int, int]) -> Labels:
    """Paint boxes on an empty mask: id, first and last row, first and last column."""
    session = bench._session
    masks = np.zeros(SHAPE, np.uint8)
    for node, top, bottom, left, right in boxes:
        masks[top:bottom, left:right] = node
    session.mask.put(masks)
    session.mask.given.facts.clear()
    bench.chosen = []
    return session.mask.labels


HOLED = ((1, 5, 30, 5, 30), (0, 10, 20, 10, 20), (1, 40, 44, 5, 9), (2, 20, 50, 50, 70))


@pytest.mark.parametrize("name", EDITS)
def test_each_edit_is_one_step_of_undo_and_redo(bench, name):
    labels = paint(bench, *HOLED)
    before, steps = labels.data.copy(), len(labels._undo_history)

    bench.use(name, [1])

    after = labels.data.copy()
    assert not np.array_equal(after, before)
    assert len(labels._undo_history) == steps + 1
    assert bench._session.mask.status in ("corrected", "rejected")
    labels.undo()
    assert np.array_equal(labels.data, before)
    labels.redo()
    assert np.array_equal(labels.data, after)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(EDITS), st.integers(1, 4)), max_size=6))
def test_any_edits_are_undone_one_by_one(bench, edits):
    labels = paint(bench, *HOLED, (2, 5, 9, 50, 54))
    states, steps = [labels.data.copy()], len(labels._undo_history)
    for name, node in edits:
        if name == "split" and node not in nodes_in_parts(labels.data):
            continue  # a line has to be drawn
        bench.use(name, [node])
        if not np.array_equal(labels.data, states[-1]):
            states.append(labels.data.copy())
    assert len(labels._undo_history) == steps + len(states) - 1
    for state in reversed(states[:-1]):
        labels.undo()
        bench._session.look(seconds=60)
        assert np.array_equal(labels.data, state)


def test_a_new_node_has_none_of_the_facts_of_a_deleted_one(bench):
    paint(bench, (1, 5, 30, 5, 30))
    bench._session.mask.given.facts[2] = Node(id=2, truth="metastatic")

    bench.use("split", [1])
    bench._take_cut(bench._cut, 1)

    assert bench._session.mask.node_ids == [1, 3]


def test_a_merged_node_keeps_what_is_known_of_one_of_them(bench):
    paint(bench, (1, 5, 30, 5, 30), (2, 5, 30, 30, 50))
    bench._session.mask.given.facts[2] = Node(id=2, truth="metastatic")

    bench.use("merge", [1])

    assert bench._session.mask.node_ids == [2]


def test_nodes_of_which_other_things_are_known_are_not_merged(bench, qtbot):
    labels = paint(bench, (1, 5, 30, 5, 30), (2, 5, 30, 30, 50))
    facts = bench._session.mask.given.facts
    facts[1], facts[2] = Node(id=1, truth="benign"), Node(id=2, truth="metastatic")
    before = labels.data.copy()

    with qtbot.waitSignal(bench._session.told) as told:
        bench.use("merge", [1])

    assert "Other things are known of nodes 1, 2" in told.args[0]
    assert np.array_equal(labels.data, before)


def test_without_a_choice_nothing_is_deleted(bench, qtbot):
    labels = paint(bench, (1, 5, 30, 5, 30), (2, 5, 30, 30, 50))
    labels.selected_label = 7

    with qtbot.waitSignal(bench._session.told) as told:
        bench.use("delete")

    assert told.args[0].startswith("Which node?")
    assert bench._session.mask.node_ids == [1, 2]


@pytest.fixture
def draw(bench, qtbot):
    """Take the calipers, put strokes there, and wait for their outline; they are put away at the end."""
    calipers = bench.calipers

    def draw(**strokes):
        bench.use("calipers")
        for name, ends in strokes.items():
            calipers.sketch.put(name, ends)
        calipers.sketch.moved.emit()
        qtbot.waitUntil(lambda: calipers.is_current, timeout=20_000)
        return calipers.sketch

    yield draw
    if calipers.sketch is not None:
        calipers.sketch.leave(at_once=True)


def test_sizes_are_told_in_pixels_and_of_a_calibrated_frame_in_millimetres(bench, draw):
    paint(bench)
    draw(long=((30, 20), (30, 60)))
    assert re.match(r"Long axis 40 px · short axis \d+ px by the outline", hint(bench._session.viewer))

    image, mask = bench._session.viewer.layers[0], bench._session.mask
    bench.calipers.sketch.leave(at_once=True)
    for layer in (image, mask.labels):
        layer.scale, layer.units = (0.5, 0.25), ("mm", "mm")
    mask.let_go()
    draw(long=((30, 20), (30, 60)), short=((20, 40), (40, 40)))
    words = hint(bench._session.viewer)
    for layer in (image, mask.labels):
        layer.scale, layer.units = (1, 1), ("pixel", "pixel")
    mask.let_go()
    assert words.startswith("Long axis 10.0 mm · short axis 10.0 mm\n")


def test_what_is_outlined_anew_keeps_its_id_and_r_makes_it_another_one(bench, draw):
    paint(bench, (4, 20, 40, 22, 60))
    draw(long=((30, 20), (30, 60)), short=((20, 40), (40, 40)))
    viewer = bench._session.viewer
    assert "in the place of node 4" in hint(viewer)
    bench.calipers._turn()
    assert "a new node" in hint(viewer)
    bench.calipers._turn()

    bench.calipers.sketch.keep()

    masks = bench._session.mask.masks
    assert np.unique(masks).tolist() == [0, 4]
    assert not masks[21, 23]
    assert masks[30, 40]


def test_enter_waits_for_the_outline_of_the_newest_ends(bench, draw, monkeypatch, qtbot):
    paint(bench)
    sketch = draw(long=((30, 20), (30, 40)))
    quick = outline.outline_node

    def slow(*arguments, **ends):
        sleep(0.2)
        return quick(*arguments, **ends)

    monkeypatch.setattr(outline, "outline_node", slow)
    for column in (45, 50, 70):
        sketch.put("long", ((30, 20), (30, column)))
        sketch.moved.emit()
    assert not bench.calipers.is_current
    sketch.keep()

    qtbot.waitUntil(lambda: bench._session.mask.masks.any(), timeout=20_000)
    assert np.flatnonzero(bench._session.mask.masks.any(axis=0)).max() == pytest.approx(70, abs=2)


def test_ends_that_show_no_node_are_told_and_keep_nothing(bench, draw, qtbot):
    paint(bench)
    sketch = draw(long=((30, 20), (30, 60)), short=((5, 5), (15, 5)))

    with qtbot.waitSignal(bench._session.told) as told:
        sketch.keep()

    assert "does not cross" in told.args[0]
    assert not bench._session.mask.masks.any()


def test_an_outline_by_calipers_says_what_drew_it_and_undo_takes_that_back(bench, draw, qtbot):
    session = bench._session
    paint(bench)
    sketch = draw(long=((30, 20), (30, 60)))

    with qtbot.waitSignal(session.told):
        sketch.keep()

    mask = session.mask
    assert mask.given.based_on.startswith("calipers@")
    assert mask.status == "corrected"
    session.steps.undo(mask.labels)
    assert mask.given.based_on is None


@pytest.mark.parametrize(
    ("n_burned", "n_alone", "words"),
    [
        (2, 0, "2 calipers on this frame: use them?"),
        (1, 1, "1 caliper on this frame: use it as a long axis?"),
        (2, 2, "2 calipers on this frame: use them as long axes?"),
        (3, 1, "3 calipers on this frame, 1 as a long axis: use them?"),
    ],
)
def test_the_offer_says_which_calipers_are_taken_for_a_long_axis(qtbot, n_burned, n_alone, words):
    tools = ToolButtons()
    qtbot.addWidget(tools)

    tools.show_state(is_cine=False, n_burned=n_burned, n_alone=n_alone)

    assert tools.burned.text() == words


def test_the_longer_axis_is_told_as_the_long_one_whichever_came_first(bench, draw):
    draw(long=((30, 35), (30, 45)), short=((10, 40), (50, 40)))

    assert "Long axis 40 px · short axis 10 px" in hint(bench._session.viewer)


def test_calipers_on_the_screen_are_offered_and_taken_one_node_after_the_other(bench, qtbot):
    session = bench._session
    still, viewer = session.navigator.image, session.viewer
    phantom = simulate(21, n_nodes=2, overlays=False)
    screen = Screen(phantom.frame.grey)
    sizes = [measure(phantom.instances == node) for node in (1, 2)]
    axes = [axis for size in sizes for axis in (size.long_axis_ends, size.short_axis_ends)]
    draw_calipers(screen, axes, (255, 255, 255))
    image = viewer.add_layer(Image(screen.pixels, name="screen"))
    session.navigator.show_image(image)
    qtbot.waitUntil(lambda: bool(bench.burned), timeout=60_000)
    assert len(bench.burned) == 2

    bench.use_burned()
    for n in (1, 2):
        qtbot.waitUntil(lambda: bench.calipers.is_current, timeout=60_000)
        bench.calipers.sketch.keep()
        qtbot.waitUntil(lambda n=n: len(session.mask.node_ids) == n, timeout=60_000)
        QTest.qWait(20)

    assert bench.calipers.sketch is None
    assert not bench.burned
    for size, node in zip(sizes, (1, 2), strict=True):
        (middle,) = np.mean([size.long_axis_ends], axis=1)
        found = session.mask.masks == session.mask.masks[tuple(np.rint(middle).astype(int))]
        truth = phantom.instances == node
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8
    for layer in [session.mask.labels, image]:
        viewer.layers.remove(layer)
    session.navigator.show_image(still)


@pytest.mark.parametrize("how", ["another layer", "its own is deleted", "three dimensions", "taken again"])
def test_the_calipers_are_put_away_where_something_else_comes_in_view(bench, draw, how):
    paint(bench)
    viewer = bench._session.viewer
    sketch = draw(long=((30, 20), (30, 60)))
    if how == "another layer":
        viewer.layers.selection.active = viewer.layers[0]
    elif how == "three dimensions":
        viewer.dims.ndisplay = 3
    elif how == "taken again":
        bench.use("calipers")
    else:
        viewer.layers.remove(sketch.layer)
    QTest.qWait(20)
    viewer.dims.ndisplay = 2

    assert bench.calipers.sketch is None
    assert not sketches(viewer)
    assert not hint(viewer)


def test_the_calipers_are_put_away_where_the_slider_moves(bench, draw):
    session = bench._session
    still = session.navigator.image
    pixels = np.random.default_rng(4).integers(0, 255, (5, *SHAPE), np.uint8)
    cine = session.viewer.add_layer(Image(pixels, name="cine", metadata={SCAN_AREA_KEY: (0, 0, *SHAPE)}))
    session.navigator.show_image(cine)
    bench.use("calipers")

    session.viewer.dims.set_current_step(0, 3)
    QTest.qWait(20)

    assert bench.calipers.sketch is None
    assert not sketches(session.viewer)
    for layer in [session.mask.labels, cine]:
        session.viewer.layers.remove(layer)
    session.navigator.show_image(still)
