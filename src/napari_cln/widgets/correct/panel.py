"""The fields and buttons of the Correct dock, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from napari.layers import Image
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLayout, QLineEdit
from superqt import QCollapsible

from ..._layers import frame_layers, layers_of
from ..common.dock import Dock, button, form, small
from .nodes import NodeTable
from .scale import Scale
from .second_reader import Decision
from .study import Recovery, StudyRow
from .suggestions import Next
from .walk import Route, Walk

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["Panel"]


class Panel(Dock):
    """What the Correct dock is made of; what it does is in :mod:`.dock`.

    Parameters
    ----------
    viewer : ViewerModel
    paths : sequence of Route
        What can be gone through frame by frame.
    """

    def __init__(self, viewer: ViewerModel, paths: Sequence[Route]) -> None:
        super().__init__(viewer)
        self.study, self.recovery = StudyRow(), Recovery()
        self.image = ComboBox(choices=self.images, nullable=False)
        self.state = small()
        self.empty = button("Empty mask", "Start a mask of your own for this image")
        self.take_saved = button("Saved mask", "Bring what the training folder has onto the canvas")
        self.accept_button = button("Accept", "Shift+A: the mask is right", primary=True)
        self.reject_button = button("Reject", "Shift+R: the mask is wrong, and not for training")
        self.no_node_button = button("No node here", "Shift+X: looked at, and there is no lymph node")
        self.nodes = NodeTable()
        self.patient, self.note = QLineEdit(), QLineEdit()
        self.patient.setToolTip("Only a salted hash is saved. It keeps a patient on one side of every split.")
        self.note.setToolTip("Saved in the frame's record. No names, no dates.")
        self.difference = QCheckBox("show what changed")
        self.difference.setToolTip("Shift+D. Against the given mask: green was added, pink taken away.")
        self.walk = Walk(*paths)
        self.worthy, self.scale = Next(), Scale(viewer, self.message)
        self.decision = Decision()
        self._lay_out()

    def images(self, _widget: Any = None) -> list[Image]:
        """The viewer's frames."""
        return frame_layers(self.viewer.layers)

    def index(self) -> int:
        """Position of the frame in view in its cine."""
        image = self.image.value
        return int(self.viewer.dims.current_step[-3]) if image is not None and image.ndim == 3 else 0

    def show_image(self, number: int) -> None:
        """Show one of the open images with its layers, and hide the others."""
        image = self.image.choices[number]
        for other in self.images():
            for layer in (other, *layers_of(other, self.viewer.layers)):
                layer.visible = other is image
        self.viewer.layers.selection.active = image

    def _lay_out(self) -> None:
        rows, about, pair = form(), form(), QHBoxLayout()
        rows.addRow("Image", self.image.native)
        rows.addRow("Go through", self.walk.path)
        rows.addRow("", self.walk)
        pair.addWidget(self.reject_button)
        pair.addWidget(self.no_node_button)
        about.addRow("Patient", self.patient)
        about.addRow("Note", self.note)
        parts: tuple[Any, ...] = (self.study, rows, self.state, self.recovery, self.decision)
        parts += (self.empty, self.take_saved, self.accept_button, pair)
        parts += (self.nodes, about, self.difference, self.worthy)
        for part in parts:
            if isinstance(part, QLayout):
                self.column.addLayout(part)
            else:
                self.column.addWidget(part)
        more = QCollapsible("No millimetres? Type the scale")
        more.addWidget(self.scale)
        for widget in (more, more.content()):
            if (inside := widget.layout()) is not None:
                inside.setContentsMargins(0, 0, 0, 0)
        self.column.addWidget(more)
        self.column.addStretch()
