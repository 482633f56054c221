"""Where the score of the frame in view comes from, shown over it on request."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari.layers import Image
from napari.qt.threading import create_worker
from qtpy.QtWidgets import QPushButton

from ..._layers import explanation_to_layer, layers_of, link
from ...types import LayerKind
from ..common.dock import OPEN_FIRST
from ..common.tasks import Failure, Task, explain_task

if TYPE_CHECKING:
    from ...types import Explanation
    from .dock import SegmentDock


class ScoreMap(QPushButton):
    """Button that lays a map over the frame in view: what each place adds to its malignancy."""

    def __init__(self, dock: SegmentDock) -> None:
        super().__init__("Where the score comes from")
        self.setToolTip(
            "Lay a map over this frame: orange places add to the malignancy, blue ones take from it"
        )
        self._dock = dock
        self.clicked.connect(self.explain_frame)

    def explain_frame(self) -> None:
        """Explain the malignancy of the frame in view, by the chosen model."""
        dock = self._dock
        image, model = dock.image.value, dock.model.value
        if image is None:
            return dock.message.say(OPEN_FIRST, "bad")
        if model is None:
            return dock.message.say("There is no model to ask. Choose a model file with the button …", "bad")
        index = int(dock.viewer.dims.current_step[-3]) if image.ndim == 3 else 0
        worker = create_worker(
            explain_task, Task(image, (index,)), model, dock.device.currentData(), _start_thread=False
        )
        worker.returned.connect(partial(self._show, image, index))
        worker.finished.connect(partial(self.setEnabled, True))
        self.setEnabled(False)
        dock.message.say("Looking where the score comes from …")
        return worker.start()  # type: ignore[no-any-return]

    def _show(self, image: Image, index: int, outcome: Explanation | Failure) -> None:
        message, viewer = self._dock.message, self._dock.viewer
        if isinstance(outcome, Failure):
            return message.say(str(outcome.error), "bad", about=image)
        if image not in viewer.layers:
            return message.say("The layer was deleted before its map was there.")
        for former in layers_of(image, viewer.layers, LayerKind.SCORE_MAP):
            viewer.layers.remove(former)
        active = viewer.layers.selection.active
        data, options, _ = explanation_to_layer(outcome, image, index)
        layer = Image(data, **options)
        link(layer, image)
        viewer.add_layer(layer)
        viewer.layers.selection.active = active
        of = "the frame" if outcome.node is None else f"node {outcome.node}"
        return message.say(
            f"Orange adds to the malignancy {outcome.prediction.malignancy:.2f} of {of}, blue takes from it.",
            "good",
            about=image,
        )
