"""The despeckled view: over the frame, seen by the eye alone."""

from __future__ import annotations

from qtpy.QtCore import Qt
from shipped import FRAME

from napari_cln._layers import frame_layers
from napari_cln.imaging.channels import despeckle
from napari_cln.widgets.frames.dock import FramesDock


def test_the_view_lies_over_the_frame_and_is_none(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    dock = FramesDock(viewer)
    qtbot.addWidget(dock)
    dock.session.add(FRAME)
    qtbot.waitUntil(lambda: bool(frame_layers(viewer.layers)), timeout=60_000)
    (image,) = frame_layers(viewer.layers)

    qtbot.mouseClick(dock.view.despeckled, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: any("despeckled" in layer.name for layer in viewer.layers), timeout=60_000)

    view = next(layer for layer in viewer.layers if "despeckled" in layer.name)
    assert (view.data == despeckle(image.metadata["napari-cln"])).all()
    assert frame_layers(viewer.layers) == [image]
