"""The parts that docks are put together from: colours, work beside the window, what docks share."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.theme import available_themes
from qtpy.QtCore import QObject, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QComboBox, QLabel, QListWidget, QMainWindow, QWidget
from shipped import FRAME, REAL
from superqt import QCollapsible

from napari_cln._napari import read_layers
from napari_cln.annotation import Node
from napari_cln.widgets.common.parts import DockBody, MessageLine, unbroken
from napari_cln.widgets.common.theme import CONTRAST, colours_of, contrast
from napari_cln.widgets.common.worker import Work
from napari_cln.widgets.common.workplace import workplace_of
from napari_cln.widgets.correct.nodes import NodeTable
from napari_cln.widgets.evaluate.dock import EvaluateDock


@pytest.mark.parametrize("theme", [theme for theme in available_themes() if theme != "system"])
def test_every_text_can_be_read_in_every_theme(theme):
    viewer = ViewerModel()
    viewer.theme = theme
    colours = colours_of(viewer)

    worst = {
        name: contrast(colour, colours.background)
        for name, colour in vars(colours).items()
        if name not in ("background", "foreground")
    }

    assert {name: ratio for name, ratio in worst.items() if ratio < CONTRAST} == {}


def test_a_dock_changes_its_colours_with_the_theme(qtbot):
    viewer = ViewerModel()
    viewer.theme = "dark"
    dock = EvaluateDock(viewer)
    qtbot.addWidget(dock)
    dark = dock.message.parentWidget().styleSheet()

    viewer.theme = "light"

    light = dock.message.parentWidget().styleSheet()
    assert colours_of(viewer).quiet in light
    assert light != dark


def test_the_message_line_stands_at_the_foot_of_the_dock(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-cln", "Evaluate")
    qtbot.waitUntil(dock.isVisible)

    foot = dock.message.mapTo(dock, dock.message.rect().bottomLeft()).y()

    assert dock.height() - foot <= 2


@pytest.mark.parametrize("name", ["Segment", "Evaluate"])
def test_what_a_model_is_can_be_read_to_its_end(name, make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-cln", name)
    fold = next(one for one in dock.findChildren(QCollapsible) if one.text() == "What this model is")

    fold.toggleButton().click()

    words = next(label for label in fold.findChildren(QLabel) if label.text().startswith("trained on"))
    qtbot.waitUntil(lambda: words.isVisible() and words.height() >= words.heightForWidth(words.width()))
    assert words.heightForWidth(words.width()) > 10 * words.fontMetrics().height()


def test_the_fields_of_a_dock_begin_below_each_other(make_napari_viewer, qtbot, config):
    viewer = make_napari_viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-cln", "Correct")
    qtbot.waitUntil(dock.isVisible)

    def left(field: QWidget) -> int:
        return field.mapTo(dock, field.rect().topLeft()).x()

    fields = (dock.view.study.reader, dock.view.image.native, dock.view.about.patient)
    qtbot.waitUntil(lambda: len({left(field) for field in fields}) == 1)


def test_a_number_stays_with_its_unit():
    words = unbroken("Sensitivity: 61.9 %  (13/21 nodes · 40.9 to 79.2 %), −0.3 to +0.4, n = 5")

    assert words.split(" ") == [
        "Sensitivity:",
        "61.9\u00a0%",
        "",
        "(13/21",
        "nodes",
        "·",
        "40.9\u00a0to\u00a079.2\u00a0%),",
        "−0.3\u00a0to\u00a0+0.4,",
        "n\u00a0=\u00a05",
    ]


def test_a_contrast_is_that_of_the_guideline():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


class Window(QMainWindow):
    """A window that notes the keys which no part of it took."""

    def __init__(self, view: QWidget) -> None:
        super().__init__()
        self.keys: list[str] = []
        dock = QWidget()
        DockBody(dock, ViewerModel(), view, MessageLine())
        self.setCentralWidget(dock)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        self.keys += event.text().upper()


@pytest.mark.parametrize("key", [Qt.Key.Key_M, Qt.Key.Key_A])
def test_a_command_key_reaches_the_window_and_changes_no_choice(qtbot, key):
    table = NodeTable()
    window = Window(table)
    qtbot.addWidget(window)
    table.show_nodes({1: Node(id=1), 2: Node(id=2)})  # made when the dock is there already
    truth = table.choice(1, "truth")

    for widget in (truth, table):
        qtbot.keyClick(widget, key, Qt.KeyboardModifier.ShiftModifier)

    assert truth.currentText() == "unknown"
    assert table.chosen_nodes == []
    assert window.keys == [chr(key)] * 2


@pytest.mark.parametrize("kind", [QComboBox, QListWidget])
def test_a_letter_alone_still_finds_a_choice_and_with_shift_does_not(qtbot, kind):
    choices = kind()
    choices.addItems(["first", "second"])
    window = Window(choices)
    qtbot.addWidget(window)

    def chosen() -> str:
        return choices.currentText() if kind is QComboBox else getattr(choices.currentItem(), "text", str)()

    before = chosen()
    qtbot.keyClick(choices, Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
    assert (chosen(), window.keys) == (before, ["S"])

    qtbot.keyClick(choices, Qt.Key.Key_S)
    assert (chosen(), window.keys) == ("second", ["S"])


@pytest.fixture
def owner(keep) -> QObject:
    return keep(QObject())


def heard(work: Work) -> list[tuple[str, object]]:
    told: list[tuple[str, object]] = []
    for name in ("stepped", "done", "failed", "stopped", "ended"):
        getattr(work, name).connect(lambda *said, name=name: told.append((name, *map(str, said))))
    return told


def test_a_function_that_raises_fails_whatever_it_raises(owner, qtbot):
    def fails() -> None:
        raise RuntimeError("no memory")  # which a worker of superqt swallows

    work = Work(owner, fails)
    told = heard(work)
    with qtbot.waitSignal(work.ended, timeout=10_000):
        work.start()

    assert told == [("failed", "no memory"), ("ended",)]


def test_a_generator_tells_its_steps_and_its_failure(owner, qtbot):
    def steps(n: int):
        yield n
        raise ValueError("after one")

    work = Work(owner, steps, 7)
    told = heard(work)
    with qtbot.waitSignal(work.ended, timeout=10_000):
        work.start()

    assert told == [("stepped", "7"), ("failed", "after one"), ("ended",)]


def test_a_generator_stops_between_two_steps(owner, qtbot):
    going_on = threading.Event()

    def steps():
        while True:
            going_on.wait(10)
            yield 1

    work = Work(owner, steps)
    told = heard(work)
    work.start()
    work.stop()
    with qtbot.waitSignal(work.ended, timeout=10_000):
        going_on.set()

    assert ("stopped",) in told
    assert not any(name in ("done", "failed") for name, *_ in told)


def test_docks_of_one_viewer_share_a_workplace_and_no_other_viewer_does(tmp_path):
    one, other = ViewerModel(), ViewerModel()

    workplace_of(one).open_folder(tmp_path)

    assert workplace_of(one).folder == tmp_path
    assert workplace_of(other).folder is None


def test_an_image_speaks_again_when_those_over_it_are_closed(viewer):
    workplace_of(viewer)
    first, second = (
        [viewer._add_layer_from_data(*one)[0] for one in read_layers(str(file))] for file in (FRAME, REAL)
    )
    assert (first[1].visible, second[1].visible) == (False, True)

    for layer in second:
        viewer.layers.remove(layer)

    assert first[1].visible


def test_the_canvas_shows_all_of_an_image_that_is_larger_than_those_before(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    workplace_of(viewer)
    viewer.add_image(np.zeros((90, 120), np.uint8))
    qtbot.wait(500)

    large = viewer.add_image(np.zeros((400, 700), np.uint8))

    qtbot.waitUntil(lambda: (large.corner_pixels == [[0, 0], [399, 699]]).all(), timeout=10_000)
