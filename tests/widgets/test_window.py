"""The window as a whole: what opening it costs, and the commands that a user types."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from napari.layers import Labels, Shapes
from shipped import FRAME, REAL

import napari_cln
from napari_cln.widgets import commands
from napari_cln.widgets.segment.dock import SegmentDock


def run(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_opening_the_docks_loads_no_torch():
    printed = run("""
import sys
import napari
viewer = napari.Viewer(show=False)
viewer.add_image(__import__("numpy").zeros((50, 60), "uint8"))
for name in ("Segment", "Frames"):
    viewer.window.add_plugin_dock_widget("napari-cln", name)
print("torch" in sys.modules)
viewer.close()
""")

    assert printed == ["False"]


def run_napari(*arguments: str, look: str) -> list[str]:
    """Run the command ``napari`` as a user types it, look at its window once it is up, and close it."""
    return run(f"""
import sys
from qtpy.QtCore import QTimer
from napari.qt import get_qapp
import napari

def wait():
    viewer = napari.current_viewer()
    if viewer is not None and viewer.window._qt_window.isVisible():
        timer.stop()
        QTimer.singleShot(1000, look)

def look():
    viewer = napari.current_viewer()
    {look}
    viewer.close()

get_qapp()
timer = QTimer()
timer.timeout.connect(wait)
timer.start(200)
sys.argv = ["napari", *{arguments!r}]
from napari.__main__ import main
main()
""")


@pytest.mark.parametrize("path", [FRAME, REAL])
def test_the_command_opens_a_frame_with_its_prediction(path):
    look = "print(*(type(one).__name__ for one in viewer.layers), viewer.layers[1].text.values[0])"
    printed = run_napari("--plugin", "napari-cln", str(path), look=look)

    prediction = napari_cln.segment(path)
    assert printed[0].startswith("Image Points Labels ")
    assert f"{prediction.malignancy:.2f}" in "\n".join(printed)


def test_the_segment_dock_opens_from_the_command_line():
    look = "print(*viewer.window.dock_widgets)"
    printed = run_napari("--plugin", "napari-cln", str(REAL), "-w", "napari-cln", look=look)

    assert "Segment" in printed[0]


def test_the_menu_command_segments_the_selected_layers(make_napari_viewer, open_image, small_model, qtbot):
    viewer = make_napari_viewer()
    image = open_image(viewer, REAL)
    viewer.layers.selection = {image}

    commands.segment_layers(viewer)
    dock = next(widget for widget in viewer.window.dock_widgets.values() if isinstance(widget, SegmentDock))
    qtbot.waitUntil(lambda: not dock.session.is_running, timeout=60_000)

    assert any(isinstance(layer, Labels) for layer in viewer.layers)


def test_the_menu_command_measures_what_is_painted(make_napari_viewer, open_image):
    viewer = make_napari_viewer()
    image = open_image(viewer, FRAME)
    labels = viewer.add_labels(np.zeros(image.data.shape[:2], np.uint8), scale=image.scale, units=image.units)
    row, column = image.data.shape[0] // 2, image.data.shape[1] // 2
    labels.data[row - 20 : row + 20, column - 50 : column + 50] = 2
    viewer.layers.selection = {labels}

    commands.measure_layers(viewer)

    (axes,) = (layer for layer in viewer.layers if isinstance(layer, Shapes))
    millimetres = napari_cln.read_frame(FRAME).spacing_mm[0]
    assert labels.features["area_mm2"][2] == pytest.approx(4000 * millimetres**2, rel=0.02)
    assert labels.features["long_axis_mm"][2] == pytest.approx(np.hypot(40, 100) * millimetres, rel=0.03)
    assert axes.text.values[0] == f"{labels.features['long_axis_mm'][2]:.1f} mm"
    assert viewer.layers.selection.active is labels

    commands.measure_layers(viewer)
    assert len([layer for layer in viewer.layers if isinstance(layer, Shapes)]) == 1
