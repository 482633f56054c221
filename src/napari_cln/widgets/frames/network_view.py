"""What the network is shown of a frame: scan area and overlay, to look at and to correct."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image, Labels, Shapes
from qtpy.QtWidgets import QCheckBox, QGroupBox, QHBoxLayout, QVBoxLayout

from ..._layers import (
    OVERLAY_KEY,
    SCAN_AREA_KEY,
    box_from_layer,
    frame_from_layer,
    layers_of,
    link,
    overlay_to_layer,
    scan_area_to_layer,
)
from ...errors import ClnError
from ...imaging.preprocessing import find_overlay, find_scan_area
from ...types import LayerKind
from ..common.dock import button

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ..common.dock import MessageLine

AGAIN = "Segment again to see its effect."


class NetworkView(QGroupBox):
    """Toggles for the overlay and the scan area of the frame in view, and buttons to correct them.

    The choices hold for the frames that are shown next; a drawn scan area for its own frame.
    """

    def __init__(self, viewer: ViewerModel, message: MessageLine) -> None:
        super().__init__("What the network sees")
        self.viewer, self.message = viewer, message
        self.image: Image | None = None
        self.show_overlay = QCheckBox("show the overlay found")
        self.show_area = QCheckBox("show the scan area")
        self.remove_overlay = QCheckBox("hide the overlay from the network")
        self.remove_overlay.setChecked(True)
        self.remove_overlay.setToolTip("Marks on tissue are painted over in what the network reads.")
        self.draw = button("Draw area", "Draw a rectangle round the ultrasound image")
        self.use = button("Use", "Take the drawn rectangle as the scan area of this frame")
        self.find_again = button("Find", "Go back to the scan area that is found automatically")
        layout, row = QVBoxLayout(self), QHBoxLayout()
        for box in (self.show_overlay, self.show_area, self.remove_overlay):
            layout.addWidget(box)
        for one in (self.draw, self.use, self.find_again):
            row.addWidget(one)
        layout.addLayout(row)
        self.show_overlay.toggled.connect(lambda _: self._refresh())
        self.show_area.toggled.connect(lambda _: self._refresh())
        self.remove_overlay.toggled.connect(self._set_removal)
        self.draw.clicked.connect(self.draw_area)
        self.use.clicked.connect(self.use_area)
        self.find_again.clicked.connect(self.find_area)
        self.setEnabled(False)

    def show_image(self, image: Image | None) -> None:
        """Take over the frame in view."""
        self.image = image
        self.setEnabled(image is not None)
        if image is not None:
            image.metadata[OVERLAY_KEY] = self.remove_overlay.isChecked()
            self._refresh()

    def draw_area(self) -> None:
        """Let the user draw a rectangle on the canvas."""
        shapes = self._area_layer()
        if shapes is None:
            self.show_area.setChecked(True)
            shapes = self._area_layer()
        if shapes is not None:
            self.viewer.layers.selection.active = shapes
            shapes.mode = "add_rectangle"
            self.message.say("Drag a rectangle round the ultrasound image, then press Use.")

    def use_area(self) -> None:
        """Take the last rectangle as this frame's scan area."""
        shapes = self._area_layer()
        if self.image is None or shapes is None:
            self.message.say("Draw the scan area first.", "bad")
            return
        try:
            self.image.metadata[SCAN_AREA_KEY] = box_from_layer(shapes, self.image)
        except ClnError as error:
            self.message.say(str(error), "bad")
            return
        self._refresh()
        self.message.say(f"The drawn scan area is used for this frame. {AGAIN}", "good")

    def find_area(self) -> None:
        """Forget the drawn scan area."""
        if self.image is not None:
            self.image.metadata.pop(SCAN_AREA_KEY, None)
            self._refresh()
            self.message.say(f"The scan area is found automatically. {AGAIN}")

    def _set_removal(self, on: bool) -> None:
        if self.image is not None:
            self.image.metadata[OVERLAY_KEY] = on
            self.message.say(f"Overlays are {'painted over' if on else 'left in'} for the network. {AGAIN}")

    def _refresh(self) -> None:
        """Make the marks on the canvas anew."""
        if self.image is None or self.image not in self.viewer.layers:
            return
        active = self.viewer.layers.selection.active
        for kind in (LayerKind.OVERLAY, LayerKind.SCAN_AREA):
            for layer in layers_of(self.image, self.viewer.layers, kind):
                self.viewer.layers.remove(layer)
        index = int(self.viewer.dims.current_step[-3]) if self.image.ndim == 3 else 0
        try:
            frame = frame_from_layer(self.image, index)
        except ClnError as error:
            self.message.say(str(error), "bad")
            return
        area = frame.scan_area or find_scan_area(frame)
        if self.show_overlay.isChecked():
            data, options, _ = overlay_to_layer(find_overlay(frame, area), self.image)
            self._add(Labels(data, **options))
        if self.show_area.isChecked():
            data, options, _ = scan_area_to_layer(area, self.image)
            self._add(Shapes(data, **options))
        if active in self.viewer.layers:
            self.viewer.layers.selection.active = active

    def _add(self, layer: Labels | Shapes) -> None:
        assert self.image is not None
        link(layer, self.image)
        self.viewer.add_layer(layer)

    def _area_layer(self) -> Shapes | None:
        if self.image is None:
            return None
        found = layers_of(self.image, self.viewer.layers, LayerKind.SCAN_AREA)
        return next((layer for layer in found if isinstance(layer, Shapes)), None)
