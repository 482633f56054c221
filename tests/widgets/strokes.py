"""Strokes of the mouse on napari's canvas, in pixels of the frame."""

from __future__ import annotations

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

__all__ = ["at", "drag"]


def drag(viewer, *pixels: tuple[float, float], modifier=Qt.KeyboardModifier.NoModifier) -> None:
    """Press the left button at the first pixel, move over the others, release at the last."""
    native = viewer.window._qt_viewer.canvas.native
    QTest.mouseMove(native, at(viewer, *pixels[0]))
    QTest.qWait(10)
    QTest.mousePress(native, Qt.MouseButton.LeftButton, modifier, at(viewer, *pixels[0]))
    for pixel in pixels[1:]:
        QTest.mouseMove(native, at(viewer, *pixel))
        QTest.qWait(10)
    QTest.mouseRelease(native, Qt.MouseButton.LeftButton, modifier, at(viewer, *pixels[-1]))


def at(viewer, row: float, column: float) -> QPoint:
    """Where a pixel of the frame lies on the canvas."""
    native = viewer.window._qt_viewer.canvas.native
    image = next(layer for layer in viewer.layers if isinstance(layer, Image))
    camera = getattr(viewer, "scene", viewer).camera  # it moved in napari 0.9
    world = np.array([row, column]) * image.scale[-2:]
    y, x = (world - camera.center[-2:]) * camera.zoom
    return QPoint(round(x + native.width() / 2), round(y + native.height() / 2))
