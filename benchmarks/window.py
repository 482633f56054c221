"""How the window feels while the network works: ``xvfb-run -a python benchmarks/window.py [--quick]``.

A real napari window with the Segment dock: from the key press to the mask painted on the canvas, beside
the network alone in the same run; how late the window's own timer comes while a cine is segmented, with
the hand still and while it scrubs; and when the first of many files in a folder is on the canvas.
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
from napari_cln.imaging.phantom import simulate
from napari_cln.imaging.preprocessing import prepare
from napari_cln.types import Frame
from napari_cln.widgets.segment import SegmentDock

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
    to_mask, alone = [], []
    wait_for(lambda: paints.last > 0)

    came: dict[str, float] = {}
    viewer.layers.events.inserted.connect(
        lambda event: came.update({type(event.value).__name__: time.perf_counter()})
    )
    for _ in range(repeats + 1):
        for layer in [layer for layer in viewer.layers if layer.name != "frame"]:
            viewer.layers.remove(layer)
        wait_for(lambda: dock._worker is None)
        begun = time.perf_counter()
        QTest.keyClick(canvas, Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
        wait_for(lambda begun=begun: paints.last > came.get("Labels", begun) > begun)
        to_mask.append(1e3 * (paints.last - begun))
        wait_for(lambda: dock._worker is None)
        begun = time.perf_counter()
        with torch.inference_mode():
            segmenter.model(x)
        alone.append(1e3 * (time.perf_counter() - begun))
    rest = np.array(to_mask[1:]) - np.array(alone[1:])  # the first loads
    yield (
        f"key press to painted mask: median {np.median(to_mask[1:]):.0f} ms, the network alone "
        f"{np.median(alone[1:]):.0f} ms; difference {np.median(rest):.0f} ms "
        f"({np.quantile(rest, 0.25):.0f}–{np.quantile(rest, 0.75):.0f}, n = {repeats}; target <= 60)"
    )
    viewer.close()


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
        wait_for(lambda: dock._done > 4)
        watch, step = Lateness(), 0
        end = time.monotonic() + 20
        while time.monotonic() < end and dock._worker is not None:
            if scrub:
                step += 1
                viewer.dims.set_current_step(0, step % n_frames)
            QApplication.processEvents()
            time.sleep(0.001)
        moved = f", {step} frames shown" if scrub else ""
        yield f"while a cine of {n_frames} frames is segmented, {name}: {watch.stop()}{moved} (target: 0)"
        dock.cancel()
        wait_for(lambda: dock._worker is None)
    viewer.close()


def folder(n_files: int) -> Iterator[str]:
    """From opening a folder of files to its first frame on the canvas."""
    from napari_cln.widgets.frames import FramesDock

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
