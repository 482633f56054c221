"""What holds the window up, stage by stage: ``xvfb-run -a python benchmarks/stages.py [--rounds 5]``.

A real napari window with the Correct dock, driven by keys and drags through simulated frames. A timer of 5 ms
ticks in the window; between two ticks the event loop was held up. Another program takes the processor away as
well, so that a gap is counted by the processor time that the window's own thread took in it. The same is
measured of bare napari calls in a window without the plugin. Prints how fast the machine
is beside other work, and a table: the longest gap of each stage in each round, as median and maximum, and in
how many rounds it was over 50 ms.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from napari.layers import Labels, Vectors
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QWidget

from napari_cln._layers.predictions import NODE_COLOURS
from napari_cln.compat.window import text_overlay_of
from napari_cln.folder.worklist import WorkFilter
from napari_cln.widgets.correct.dock import CorrectDock
from reader import SHIFT, Reader, axes_of, predicted_study
from window import TICK_MS, settle, wait_for

CTRL = Qt.KeyboardModifier.ControlModifier
KEYS = (
    ("delete a node", Qt.Key.Key_E, SHIFT),
    ("take the calipers up", Qt.Key.Key_C, SHIFT),
    ("keep the outline", Qt.Key.Key_Return, Qt.KeyboardModifier.NoModifier),
    ("smooth", Qt.Key.Key_O, SHIFT),
    ("accept", Qt.Key.Key_A, SHIFT),
    ("undo a decision", Qt.Key.Key_Z, CTRL),
    ("undo an edit", Qt.Key.Key_Z, CTRL),
    ("redo an edit", Qt.Key.Key_Z, CTRL | SHIFT),
    ("no node here", Qt.Key.Key_X, SHIFT),
    ("take back", Qt.Key.Key_U, SHIFT),
    ("show what changed", Qt.Key.Key_D, SHIFT),
    ("hide what changed", Qt.Key.Key_D, SHIFT),
    ("accept and go on", Qt.Key.Key_Return, SHIFT),
    ("next frame", Qt.Key.Key_K, SHIFT),
)


class Stages:
    """Longest gap of the event loop in each run of a stage, in ms of the thread's own processor time."""

    def __init__(self) -> None:
        self.gaps: dict[str, list[float]] = defaultdict(list)
        self.is_busy: Callable[[], bool] = lambda: False
        self._longest, self._before = 0.0, time.thread_time()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)
        self._timer.start()

    def _tick(self) -> None:
        now = time.thread_time()
        self._longest, self._before = max(self._longest, now - self._before), now

    def run(self, name: str, deed: Callable[[], object], seconds: float = 0.4) -> None:
        """Do something, and watch the window until it has come to rest."""
        settle(0.1)
        self._longest = 0.0
        deed()
        settle(seconds)
        wait_for(lambda: not self.is_busy())
        settle(0.1)
        self.gaps[name].append(1e3 * self._longest)

    def print(self, title: str) -> None:
        """Print the table."""
        print(f"\n| {title} | ms, median (most) | over 50 ms |\n|---|---|---|")
        for name, gaps in self.gaps.items():
            over = sum(gap > 50 for gap in gaps)
            print(f"| {name} | {np.median(gaps):.0f} ({max(gaps):.0f}) | {over} of {len(gaps)} |", flush=True)


def shown() -> napari.Viewer:
    """Return a viewer in a window of 1366×768."""
    viewer = napari.Viewer(show=False)
    viewer.window._qt_window.resize(1366, 768)
    viewer.window._qt_window.show()
    settle(1)
    return viewer


def bare(rounds: int) -> None:
    """Measure napari alone."""
    viewer, stages = shown(), Stages()
    pixels = np.random.default_rng(0).integers(0, 255, (512, 640), np.uint8)
    masks = np.zeros_like(pixels)
    masks[200:300, 200:300] = 1
    stages.run("an empty dock", lambda: viewer.window.add_dock_widget(QWidget()), 1)
    stages.run("the first image", lambda: viewer.add_image(pixels))
    options = {"opacity": 0.9, "colormap": dict(NODE_COLOURS)}
    stages.run(
        "the first masks, as outlines", lambda: setattr(viewer.add_labels(masks, **options), "contour", 3)
    )
    image, labels = viewer.layers
    words = text_overlay_of(viewer)

    def say() -> None:
        words.text, words.visible = (
            "Drag the long axis of a node (Shift: a box)\nEsc: put the calipers away",
            True,
        )

    stages.run("the first words on the canvas", say)
    for step in range(rounds):
        stages.run("image.data = …", lambda step=step: setattr(image, "data", np.roll(pixels, step)))
        stages.run("labels.data = …, as outlines", lambda: setattr(labels, "data", masks.copy()))
        stages.run("scale = … of both", lambda step=step: scale(viewer, 1.0 + 0.1 * step))
        lines = Vectors(np.array([[[50.0, 50.0], [9.0, 9.0]]]), vector_style="line")
        stages.run("add a layer of lines", lambda lines=lines: viewer.add_layer(lines))
        stages.run("press, move and release on the canvas", lambda: drag(viewer))
        stages.run("remove it", lambda lines=lines: viewer.layers.remove(lines))
        more = Labels(masks.copy())
        stages.run("add a layer of masks", lambda more=more: viewer.add_layer(more))
        stages.run("remove it again", lambda more=more: viewer.layers.remove(more))
    stages.print("napari alone")
    viewer.close()


def drag(viewer: napari.Viewer) -> None:
    """Drag across the canvas."""
    canvas, ends = viewer.window._qt_viewer.canvas.native, [QPoint(300, 300), QPoint(340, 320)]
    QTest.mouseMove(canvas, ends[0])
    QTest.qWait(20)
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=ends[0])
    QTest.mouseMove(canvas, ends[1])
    QTest.qWait(20)
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=ends[1])


def scale(viewer: napari.Viewer, value: float) -> None:
    """Give each layer a scale, as two frames of other scanners would have."""
    for layer in viewer.layers:
        layer.scale = (value, value)


def read(place: Path, rounds: int, truths: dict[str, np.ndarray]) -> None:
    """Measure the dock at work."""
    viewer, stages = shown(), Stages()
    stages.run("open the dock", lambda: viewer.window.add_dock_widget(CorrectDock(viewer)), 1)
    (dock,) = viewer.window._qt_window.findChildren(CorrectDock)
    session, reader = dock.session, Reader(viewer, dock)
    stages.is_busy = lambda: session.turns.is_waiting
    dock.view.study.reader.setText("r1")
    dock.view.study.reader.editingFinished.emit()

    def begin() -> None:
        dock.view.study.open_folder(place)
        wait_for(lambda: session.navigator.mask is not None)

    stages.run("open a folder, with the first frame", begin, 2)
    for case_id in [*truths][:rounds]:
        session.open_case(case_id)
        settle(0.5)
        for name, key, modifier in KEYS:
            if name == "keep the outline":
                for axis in axes_of(truths[case_id]):
                    stages.run("drag an axis", lambda axis=axis: reader.drag(*axis))
                wait_for(lambda: dock.bench.calipers.is_current)
            stages.run(name, lambda key=key, modifier=modifier: reader.key(key, modifier))
            wait_for(lambda: session.filing.saver.is_idle)
        stages.run("filter the list", lambda: session.work.choose(WorkFilter(state="undecided")))
        session.work.choose(WorkFilter())
    stages.print("with the Correct dock")
    viewer.close()


def pace() -> str:
    """Tell how fast the machine is now, beside what else it does: the processor time of a loop in Python."""
    times = []
    for _ in range(9):
        begun, total = time.thread_time(), 0
        for number in range(1_000_000):
            total += number * number % 7
        times.append(1e3 * (time.thread_time() - begun))
    return f"\na loop of a million steps: {np.median(times):.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as place:
        truths = predicted_study(Path(place) / "study", 3 * rounds, rounds)
        print(pace())
        read(Path(place) / "study", rounds, truths)
    print(pace())
    bare(rounds)
    print(pace())


if __name__ == "__main__":
    main()
