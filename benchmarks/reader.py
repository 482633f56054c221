"""A scripted reader at work: ``xvfb-run -a python benchmarks/reader.py [--wrong 15] [--by polygon]``.

A real napari window with the Correct dock, driven by events of mouse and keys alone: from the folder of
simulated frames with predicted masks, of which some are wrong, to the last decision. The reader knows the
truth, looks at nothing and thinks for no time: what is counted are actions, and what is timed is how long the
program keeps a reader waiting. Prints actions and seconds a frame, the next frame beside bare
``image.data = …`` in the same window, and how late the window's own timer comes.

A wrong mask is deleted and drawn anew: by the calipers, or with napari's own polygon, as a reader would
who has no calipers. The polygon is the one with the fewest corners whose Dice with the truth is ``--aim``
or more.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

os.environ.setdefault("NAPARI_CLN_CONFIG", tempfile.mkdtemp())

import napari
import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from scipy import ndimage
from skimage.draw import polygon2mask
from skimage.measure import approximate_polygon, find_contours, regionprops

from napari_cln.annotation import Annotation, Node
from napari_cln.compat.window import camera_of
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.readers import read_annotation
from napari_cln.phantom import simulate
from napari_cln.study.statistics.metrics import dice
from napari_cln.widgets.correct.dock import CorrectDock
from window import Lateness, Paints, settle, spread, wait_for

SHIFT = Qt.KeyboardModifier.ShiftModifier


def predicted_study(place: Path, n: int, n_wrong: int) -> dict[str, NDArray[np.uint8]]:
    """Make a training folder of simulated frames with predicted masks; return the truths of wrong ones by id.

    A right mask is the truth; a wrong one lies elsewhere by half of the node's size.
    """
    folder, truths = TrainingFolder.create(place), {}
    wrong = {round(i * n / n_wrong) for i in range(n_wrong)} if n_wrong else set()
    phantoms = (phantom for phantom in map(simulate, count(1000)) if phantom.instances.any())
    for i, phantom in zip(range(n), phantoms, strict=False):
        instances = shown = (phantom.instances == 1).astype(np.uint8)
        if i in wrong:
            rows, columns = ndimage.find_objects(instances)[0]
            by = (rows.stop - rows.start) // 2, (columns.stop - columns.start) // 2
            # towards the middle, so that the moved mask stays in the frame
            by = tuple(
                int(np.copysign(step, size / 2 - at.start))
                for step, size, at in zip(by, instances.shape, (rows, columns), strict=True)
            )
            shown = ndimage.shift(instances, by, order=0)
        nodes = (Node(id=1, status="predicted", p_malignant=0.4),) if shown.any() else ()
        annotation = Annotation(
            frame=phantom.frame,
            instances=shown,
            nodes=nodes,
            status="predicted",
            based_on="default@simulated",
        )
        case = folder.save(annotation, who="napari-cln", patient=f"P{i // 2}", source_kind="simulated")
        if i in wrong:
            x0, y0, x1, y1 = folder.record(case.id).source.crop
            truths[case.id] = instances[y0:y1, x0:x1]
    return truths


class Reader:
    """The hand of a reader: keys and drags on the canvas, counted."""

    def __init__(self, viewer: napari.Viewer, dock: CorrectDock) -> None:
        self.viewer, self.dock = viewer, dock
        self.canvas = viewer.window._qt_viewer.canvas.native
        self.actions = 0

    def key(self, key: Qt.Key, modifier: Any = Qt.KeyboardModifier.NoModifier) -> None:
        """Press a key."""
        self.actions += 1
        QTest.keyClick(self.canvas, key, modifier)

    def click(self, pixel: tuple[float, float]) -> None:
        """Click a pixel of the frame."""
        self.actions += 1
        at = self._at(np.array(pixel))
        QTest.mouseMove(self.canvas, at)
        QTest.qWait(20)
        QTest.mouseClick(self.canvas, Qt.MouseButton.LeftButton, pos=at)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag from one pixel of the frame to another."""
        self.actions += 1
        start, end = np.array(start), np.array(end)
        QTest.mouseMove(self.canvas, self._at(start))
        QTest.qWait(20)
        QTest.mousePress(self.canvas, Qt.MouseButton.LeftButton, pos=self._at(start))
        for share in (0.3, 0.7, 1.0):
            QTest.mouseMove(self.canvas, self._at(start + share * (end - start)))
            QTest.qWait(20)
        QTest.mouseRelease(self.canvas, Qt.MouseButton.LeftButton, pos=self._at(end))

    def _at(self, pixel: NDArray[np.float64]) -> QPoint:
        image, camera = self.dock.session.navigator.image, camera_of(self.viewer)
        y, x = (pixel * image.scale[-2:] - np.array(camera.center[-2:])) * camera.zoom
        return QPoint(round(x + self.canvas.width() / 2), round(y + self.canvas.height() / 2))


def axes_of(mask: NDArray[np.uint8]) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Return the ends of the long and the short axis of a node, (row, column) each."""
    (node,) = regionprops(mask)
    centre, turn = np.array(node.centroid), node.orientation
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    long, short = along * node.axis_major_length / 2, across * node.axis_minor_length / 2
    return [(tuple(centre - half), tuple(centre + half)) for half in (long, short)]


def corners_of(mask: NDArray[np.uint8], aim: float) -> list[tuple[float, float]]:
    """Return the corners (row, column) of a polygon: as few as its Dice with a node reaches an aim with."""
    outline = max(find_contours(mask, 0.5), key=len)
    for tolerance in np.arange(20, 0, -0.25):
        corners = approximate_polygon(outline, tolerance)[:-1]
        if len(corners) > 2 and dice(polygon2mask(mask.shape, corners), mask > 0) >= aim:
            break
    return [(float(row), float(column)) for row, column in corners]


def draw_by_calipers(reader: Reader, truth: NDArray[np.uint8], aim: float) -> None:
    """Outline a node by its axes; the aim is not asked for."""
    session = reader.dock.session
    reader.key(Qt.Key.Key_C, SHIFT)
    for ends in axes_of(truth):
        reader.drag(*ends)
    wait_for(lambda: session.mask is None or reader.dock.bench.calipers.is_current)
    reader.key(Qt.Key.Key_Return)


def draw_by_polygon(reader: Reader, truth: NDArray[np.uint8], aim: float) -> None:
    """Outline a node with napari's polygon: its key, a click for each corner, and the key that fills it."""
    reader.key(Qt.Key.Key_3)
    for corner in corners_of(truth, aim):
        reader.click(corner)
    reader.key(Qt.Key.Key_Return)


WAYS = {"calipers": draw_by_calipers, "polygon": draw_by_polygon}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--wrong", type=int, default=15)
    parser.add_argument("--by", choices=WAYS, default="calipers")
    parser.add_argument("--aim", type=float, default=0.97, help="Dice that the corners of a polygon are for")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        truths = predicted_study(Path(place) / "study", options.frames, options.wrong)
        read(Path(place) / "study", truths, partial(WAYS[options.by], aim=options.aim))


def read(
    place: Path, truths: dict[str, NDArray[np.uint8]], draw: Callable[[Reader, NDArray[np.uint8]], None]
) -> None:
    """Go through a training folder, and print what it took."""
    viewer = napari.Viewer(show=False)
    window = viewer.window._qt_window
    window.resize(1366, 768)
    window.show()
    dock = CorrectDock(viewer)
    viewer.window.add_dock_widget(dock)
    paints, reader, session = Paints(viewer), Reader(viewer, dock), dock.session
    settle(1)
    dock.view.study.reader.setText("r1")
    dock.view.study.reader.editingFinished.emit()
    dock.view.study.open_folder(place)
    wait_for(lambda: session.navigator.mask is not None)
    settle(1)
    waits, taken = [], {True: [], False: []}
    watch, begun = Lateness(), time.perf_counter()
    while (case_id := session.work.next_undecided(None)) is not None and session.navigator.cases.case_id:
        case_id = session.navigator.cases.case_id
        reader.actions, started = 0, time.perf_counter()
        if case_id in truths:
            reader.key(Qt.Key.Key_E, SHIFT)
            draw(reader, truths[case_id])
            wait_for(lambda: session.mask is not None and not session.mask.is_empty)
        pressed = time.perf_counter()
        reader.key(Qt.Key.Key_Return, SHIFT)
        wait_for(
            lambda case_id=case_id: (
                session.navigator.cases.case_id != case_id or session.work.next_undecided(None) is None
            )
        )
        last = session.navigator.cases.case_id == case_id
        if not last:
            turned = time.perf_counter()
            wait_for(lambda turned=turned: paints.last > turned)
            waits.append(1e3 * (paints.last - pressed))
        taken[case_id in truths].append((reader.actions, time.perf_counter() - started))
        wait_for(lambda: session.filing.saver.is_idle)
        if last:
            break
    seconds = time.perf_counter() - begun
    late = watch.stop()
    study = TrainingFolder.open(place)
    statuses = [case.status for case in study.cases()]
    found = [
        dice(read_annotation(study, study.case(case_id)).instances > 0, truth > 0)
        for case_id, truth in truths.items()
    ]
    for name, wrong in (("right", False), ("wrong", True)):
        actions, spent = np.array(taken[wrong] or [(np.nan, np.nan)]).T
        print(
            f"{name} frames: {spread(actions)} actions (most {actions.max():.0f}), "
            f"{spread_of(spent, 2)} s each (n = {len(taken[wrong])})"
        )
    print(
        f"decided: {sum(status != 'predicted' for status in statuses)} of {len(statuses)} in {seconds:.0f} s"
    )
    if found:
        print(f"Dice of the mended masks with the truth: {spread_of(found)} (n = {len(found)})")
    print(f"accept and go on, to the next frame painted: {spread(np.array(waits))} ms (goal 300)")
    print(f"the window's own timer: {late} (goal: never over 50 ms)")
    bare = bare_swaps(viewer, session.navigator.image, paints)
    print(
        f"bare image.data = …, to its paint: {spread(bare)} ms (n = {len(bare)}); "
        f"the next frame takes {np.median(waits) / np.median(bare):.1f} times as long"
    )
    viewer.close()


def spread_of(values: list[float] | NDArray[np.float64], digits: int = 3) -> str:
    """Median and quartiles of shares or seconds."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def bare_swaps(viewer: napari.Viewer, image: Any, paints: Paints) -> NDArray[np.float64]:
    """Time napari alone: one picture in the place of another, to its paint."""
    pictures = [np.ascontiguousarray(image.data[::-1]), image.data.copy()]
    times = []
    for step in range(20):
        settle(0.3)
        begun = time.perf_counter()
        image.data = pictures[step % 2]
        turned = time.perf_counter()
        wait_for(lambda turned=turned: paints.last > turned)
        times.append(1e3 * (paints.last - begun))
    return np.array(times)


if __name__ == "__main__":
    main()
