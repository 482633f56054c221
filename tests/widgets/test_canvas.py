"""The canvas as it is painted, in a process of its own: what goes wrong here ends the process."""

from __future__ import annotations

import subprocess
import sys

LAYERS_COME_AND_GO = """
import time
import napari
import numpy as np
from qtpy.QtWidgets import QApplication
from napari_cln.widgets.segment.dock import SegmentDock

def paint(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.002)

viewer = napari.Viewer()
viewer.window.add_dock_widget(SegmentDock(viewer)).hide()
viewer.add_image(np.zeros((120, 160), np.uint8))
viewer.window._qt_window.show()
paint(1)
for turn in range(3):
    layer = viewer.add_points([[60.0, 80.0]], features={"said": ["benign"]}, text="said")
    paint(0.5)
    viewer.layers.remove(layer)
    paint(0.5)
viewer.close()
print("painted to the end")
"""


def test_a_score_can_be_deleted_and_shown_again():
    done = subprocess.run(
        [sys.executable, "-c", LAYERS_COME_AND_GO], capture_output=True, text=True, timeout=240, check=False
    )

    assert "painted to the end" in done.stdout, done.stderr[-2000:]
