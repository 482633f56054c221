"""Millimetres for an image that has none: a line between two marks of the depth scale, and its length."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Shapes
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QLabel, QWidget

from ..._layers import (
    KEY,
    PLACE_KEY,
    LayerKind,
    at_typed_scale,
    frame_from_layer,
    layers_of,
    lie_apart,
    link,
    note_place,
    readings_of,
    replace_readings,
    space_of,
)
from ...errors import ClnError, FrameReadError, InputError
from ...types import Frame
from ..common.number_field import NumberField
from ..common.parts import OPEN_FIRST, Signal, beside, button
from ..common.results import nodes_of, write_texts

if TYPE_CHECKING:
    from napari.components import ViewerModel

LEAST_PX = 20.0
"""A line shorter than this says little: one pixel is 5 % of it."""


def set_scale(viewer: ViewerModel, image: Image, mm_per_px: float) -> None:
    """Give an Image, and all layers that belong to it, a scale in mm; pixels are taken as square.

    What was measured on it is in the new millimetres then; axes that were drawn go.
    """
    for layer in (image, *layers_of(image, viewer.layers)):
        layer.scale = (*layer.scale[:-2], mm_per_px, mm_per_px)
        layer.units = (*layer.units[:-2], "mm", "mm")
    image.metadata.pop(PLACE_KEY, None)
    note_place(image)
    if isinstance(known := image.metadata.get(KEY), Frame):
        image.metadata[KEY] = at_typed_scale(known, image)
    for axes in layers_of(image, viewer.layers, LayerKind.AXES):
        viewer.layers.remove(axes)
    masks = nodes_of(viewer, image)
    changed = [
        replace_readings(
            labels,
            lambda prediction: replace(prediction, frame=at_typed_scale(prediction.frame, image)),
            lambda reading: reading.at_scale(mm_per_px),
        )
        for labels in masks
    ]
    for labels in masks:
        if "long_axis_mm" in labels.features and not readings_of(labels):
            labels.features = {}
    if any(changed):
        write_texts(viewer, image)
    viewer.reset_view()


class ScaleTool(QObject):
    """The line that gives an image its millimetres."""

    typed = Signal(object)  # the Image that has a scale now
    told = Signal(str, str, object)  # a sentence, its mood, and what it is about

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self.viewer = viewer

    def start(self, image: Image | None, index: int) -> None:
        """Let the reader draw, where the file does not say the scale itself."""
        try:
            if image is None:
                raise FrameReadError("Open an image first: there is nothing to calibrate.")
            frame = frame_from_layer(image, index)
            if frame.regions or (frame.spacing_mm is not None and frame.spacing_source != "typed"):
                raise FrameReadError("This file says its scale itself, so none has to be typed.")
        except ClnError as error:
            self.told.emit(str(error), "bad", image or OPEN_FIRST)
            return
        shapes = self._line(image)
        if shapes is None:
            shapes = Shapes(
                ndim=2,
                name=f"{image.name} · depth scale",
                metadata={KEY: LayerKind.DEPTH_SCALE},
                edge_color="#56b4e9",
                edge_width=max(frame.shape[0] / 300, 1),
                **space_of(image, 2),
            )
            link(shapes, image)
            self.viewer.add_layer(shapes)
        self.viewer.layers.selection.active = shapes
        shapes.mode = "add_line"
        words = "Drag a line between two marks of the depth scale, type its length, press Use."
        self.told.emit(words, "info", image)

    def apply(self, image: Image | None, length: NumberField) -> None:
        """Take the last line that was drawn, and its length in mm, as the image's scale."""
        shapes = None if image is None else self._line(image)
        if image is None or shapes is None or not len(shapes.data):
            words = "Press Draw line first, and drag it along the depth scale."
            self.told.emit(words, "bad", image or OPEN_FIRST)
            return
        if lie_apart(image, shapes):
            words = (
                f"'{image.name}' and its depth scale do not lie on each other: one of them was moved. "
                "Press Put together, and draw the line anew."
            )
            self.told.emit(words, "bad", image)
            return
        ends = np.asarray(shapes.data[-1])
        length_px = float(np.hypot(*(ends[-1] - ends[0])[-2:]))
        if length_px < LEAST_PX:
            short = f"The line is {length_px:.0f} pixels long, too short for a scale."
            self.told.emit(f"{short} Draw it over more marks.", "bad", image)
            return
        try:
            mm_per_px = length.number() / length_px
        except InputError as error:
            self.told.emit(str(error), "bad", length)
            return
        self.viewer.layers.remove(shapes)
        set_scale(self.viewer, image, mm_per_px)
        self.told.emit(f"{mm_per_px:.4f} mm per pixel (typed).", "good", image)
        self.typed.emit(image)

    def _line(self, image: Image) -> Shapes | None:
        found = layers_of(image, self.viewer.layers, LayerKind.DEPTH_SCALE)
        return next((layer for layer in found if isinstance(layer, Shapes)), None)


class ScaleRow(QWidget):
    """Draw a line, type its length, use it."""

    def __init__(self) -> None:
        super().__init__()
        self.draw = button("Draw line", "Draw a line between two marks of the depth scale")
        self.length = NumberField(title="Length", limits=(0.1, 500), value=10, suffix=" mm")
        self.use = button("Use", "Take the line's length as the scale of this image")
        self.setLayout(beside(self.draw, QLabel("is"), self.length, self.use, wide=self.length))
