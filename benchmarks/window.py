"""How the window feels while the network works: ``xvfb-run -a python benchmarks/window.py [--quick]``.

A real napari window with the Segment dock: from the key press to the mask painted on the canvas, beside
the network alone, and beside napari's own time to add and paint such a mask, in the same run; how late the
window's own timer comes while a cine is segmented, with the hand still and while it scrubs, beside the
same in a napari window without the plugin; and when the first of many files in a folder is on the canvas.
Times are taken from Qt's events.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import napari
import numpy as np
import torch
from PIL import Image
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_cln._napari import get_segmenter
from napari_cln.imaging.preprocessing import prepare
from napari_cln.phantom import simulate
from napari_cln.types import Frame
from napari_cln.widgets.segment.dock import SegmentDock

SIZE = (960, 720)
TICK_MS = 5


def screens(n: int) -> list[np.ndarray]:
    """Simulated screens of usual size, uint8 (720, 960)."""
    return [np.asarray(Image.fromarray(simulate(s).frame.pixels).convert("L").resize(SIZE)) for s in range(n)]


class Paints:
    """When the canvas was painted last."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self.last = 0.0
        viewer.window._qt_viewer.canvas.native.frameSwapped.connect(self._drawn)

    def _drawn(self) -> None:
        self.last = time.perf_counter()


class Lateness:
    """How late a timer comes that should come every few milliseconds."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)
        self._before = time.perf_counter()
        self._timer.start()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.waits.append(1e3 * (now - self._before) - TICK_MS)
        self._before = now

    def stop(self) -> str:
        self._timer.stop()
        waits = np.sort(self.waits)
        over = int((waits > 50).sum())
        return (
            f"latest {waits[-1]:.0f} ms, 99 % under {np.quantile(waits, 0.99):.0f} ms, "
            f"over 50 ms {over} of {len(waits)} ticks"
        )


def wait_for(done: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError("the window did not get there")
        QApplication.processEvents()
        time.sleep(0.0005)


def key_press(repeats: int) -> Iterator[str]:
    """From the key press to the painted mask, beside the network alone."""
    viewer = napari.Viewer()
    window = viewer.window._qt_window
    canvas = viewer.window._qt_viewer.canvas.native
    dock = SegmentDock(viewer)
    viewer.window.add_dock_widget(dock)
    pixels = screens(1)[0]
    viewer.add_image(pixels, name="frame")
    window.show()
    paints = Paints(viewer)
    segmenter = get_segmenter()
    x = torch.from_numpy(prepare(Frame(pixels=pixels), segmenter.card.prepare).image)[None, None]
    to_mask, alone, napari_alone, again = [], [], [], []
    wait_for(lambda: paints.last > 0)

    came: dict[str, float] = {}
    viewer.layers.events.inserted.connect(
        lambda event: came.update({type(event.value).__name__: time.perf_counter()})
    )
    for _ in range(repeats + 1):
        for layer in [layer for layer in viewer.layers if layer.name != "frame"]:
            viewer.layers.remove(layer)
        wait_for(lambda: not dock.session.is_running)
        settle()
        begun = time.perf_counter()
        QTest.keyClick(canvas, Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
        wait_for(lambda begun=begun: paints.last > came.get("Labels", begun) > begun)
        to_mask.append(1e3 * (paints.last - begun))
        wait_for(lambda: not dock.session.is_running)
        begun = time.perf_counter()
        with torch.inference_mode():
            segmenter.model(x)
        alone.append(1e3 * (time.perf_counter() - begun))
        labels = next(layer for layer in viewer.layers if type(layer).__name__ == "Labels")
        mask, full = labels.data, labels.opacity
        shown: list[float] = []  # the old mask is faded until the new one stands
        labels.events.opacity.connect(
            lambda _, layer=labels, shown=shown, full=full: (
                shown.append(time.perf_counter()) if layer.opacity == full else None
            )
        )
        settle()
        begun = time.perf_counter()
        QTest.keyClick(canvas, Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
        wait_for(lambda shown=shown: bool(shown) and paints.last > shown[0])
        again.append(1e3 * (paints.last - begun))
        wait_for(lambda: not dock.session.is_running)
        for layer in [layer for layer in viewer.layers if layer.name != "frame"]:
            viewer.layers.remove(layer)
        settle()
        begun = time.perf_counter()
        viewer.add_labels(mask)
        wait_for(lambda: paints.last > came["Labels"])
        napari_alone.append(1e3 * (paints.last - begun))
    # the first one loads
    key, network, painting, second = (
        np.array(values[1:]) for values in (to_mask, alone, napari_alone, again)
    )
    yield f"key press to painted mask: {spread(key)} ms; the network alone {spread(network)} ms"
    yield f"more than the network: {spread(key - network)} ms (target <= 60)"
    yield f"more than the network, into a layer that is there: {spread(second - network)} ms"
    yield f"napari's own time to add and paint the mask: {spread(painting)} ms"
    yield f"more than both: {spread(key - network - painting)} ms (n = {repeats})"
    viewer.close()


def spread(values: np.ndarray) -> str:
    """Median and quartiles."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.0f} ({low:.0f}–{high:.0f})"


def settle(seconds: float = 0.5) -> None:
    """Let the window come to rest."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()


def cine(n_frames: int) -> Iterator[str]:
    """Lateness of the window while a cine is segmented."""
    viewer = napari.Viewer()
    dock = SegmentDock(viewer)
    viewer.window.add_dock_widget(dock)
    few = screens(8)
    viewer.add_image(np.stack([few[i % 8] for i in range(n_frames)]), name="cine")
    viewer.window._qt_window.show()
    get_segmenter()
    for name, scrub in (("hand still", False), ("scrubbing", True)):
        dock.segment_all()
        if not scrub:
            # vispy draws each letter's picture when it is first needed, and napari loads pandas
            began = time.monotonic()
            run = dock.session.run
            said = watched(
                viewer, False, lambda run=run, began=began: run.done < 5 or time.monotonic() < began + 5
            )
            yield f"until the first mask, score plot and texts stand: {said}"
        wait_for(lambda: dock.session.run.done > 4)
        said = watched(viewer, scrub, lambda: dock.session.is_running)
        yield f"while a cine of {n_frames} frames is segmented, {name}: {said} (target: 0)"
        dock.session.cancel()
        wait_for(lambda: not dock.session.is_running)
    viewer.close()
    viewer = napari.Viewer()
    viewer.add_image(np.stack([few[i % 8] for i in range(n_frames)]), name="cine")
    viewer.add_labels(np.stack([few[i % 8] > 128 for i in range(n_frames)]))
    viewer.window._qt_window.show()
    settle()
    yield f"napari alone, an image and a mask, scrubbing: {watched(viewer, True, lambda: True)}"
    viewer.close()


def watched(viewer: napari.Viewer, scrub: bool, going_on: Callable[[], bool]) -> str:
    """How late the window's timer comes, in at most 20 seconds."""
    watch, step = Lateness(), 0
    end = time.monotonic() + 20
    while time.monotonic() < end and going_on():
        if scrub:
            step += 1
            viewer.dims.set_current_step(0, step % viewer.layers[0].data.shape[0])
        QApplication.processEvents()
        time.sleep(0.001)
    return watch.stop() + (f", {step} frames shown" if scrub else "")


def folder(n_files: int) -> Iterator[str]:
    """From opening a folder of files to its first frame on the canvas."""
    from napari_cln.widgets.frames.dock import FramesDock

    with tempfile.TemporaryDirectory() as place:
        pixels = screens(1)[0]
        first = Path(place) / "000000.png"
        Image.fromarray(pixels).save(first)
        for index in range(1, n_files):
            os.link(first, Path(place) / f"{index:06d}.png")
        viewer = napari.Viewer()
        dock = FramesDock(viewer)
        viewer.window.add_dock_widget(dock)
        viewer.window._qt_window.show()
        paints = Paints(viewer)
        wait_for(lambda: paints.last > 0)
        begun = time.perf_counter()
        came: list[float] = []
        viewer.layers.events.inserted.connect(lambda _: came.append(time.perf_counter()))
        dock.add(place)
        wait_for(lambda: bool(came) and paints.last > came[0])
        alone_begun = time.perf_counter()
        viewer.add_image(np.asarray(Image.open(first)))
        alone = time.perf_counter() - alone_begun
        yield (
            f"a folder of {n_files:,} files: first frame painted after {paints.last - begun:.2f} s; "
            f"adding one image to the window takes {alone:.2f} s"
        )
        viewer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    for part in (key_press(5 if quick else 20), cine(60 if quick else 500), folder(500 if quick else 10_000)):
        for line in part:
            print(line, flush=True)


if __name__ == "__main__":
    main()
