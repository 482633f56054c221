"""Segment dock: nodes and malignancy of a frame, of a cine, or of all selected layers."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from napari.layers import Image
from napari.qt.threading import create_worker
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QWidget

from ..._layers import frame_layers, model_note, n_frames_of
from ...errors import ClnError, FrameError, FrameReadError, InputError, PredictionError
from ..common.dock import OPEN_FIRST, Dock, button, device_box, form, small
from ..common.in_view import show_alone
from ..common.model_choice import ModelChoice
from ..common.number_field import NumberField
from ..common.results import Results, nodes_of, readings_in, recut, unlike_in
from ..common.tasks import Failure, Started, Task, predict_tasks
from .score_map import ScoreMap
from .verdict import Verdict

if TYPE_CHECKING:
    import napari

MASK_FIRST_MS = 20
"""Time to paint the last mask before its texts and tables are written."""
FLUSH_MS = 200
"""Time between two writings of a cine's texts and tables, or ten times what one takes."""


class SegmentDock(Dock):
    """Dock that runs the Y-Net.

    Parameters
    ----------
    napari_viewer : napari.Viewer

    Attributes
    ----------
    image : magicgui ComboBox of Image layers
    model : ModelChoice
    device : QComboBox
    cutoff : NumberField
    verdict : Verdict
        What was found in the frame in view.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer)
        self.image = ComboBox(choices=self._images, nullable=False)
        self.model = ModelChoice()
        self.device = device_box()
        self.device_reason = small("Chosen when the first frame is segmented.")
        self.cutoff = NumberField(title="Cutoff", limits=(0, 1), value=0.5, step=0.01)
        self.cutoff.setToolTip("A score at or above it is called malignant. Moving it needs no new run.")
        self.run_frame = button("Segment this frame", "Shift+S", primary=True)
        self.run_all = button("All frames", "Every frame of the cine")
        self.run_selected = button("Selected layers", "Every frame of every selected Image layer")
        self.progress = QProgressBar()
        self.stop = button("Cancel", "Stop after the batch at hand; what is done stays")
        self.verdict = Verdict()
        self.score_map = ScoreMap(self)
        self._build()

        self._cutoff_of = ""
        self._shown: Image | None = None
        self._worker: Any = None
        self._runs: dict[Task, Results] = {}
        self._failed: list[FrameError] = []
        self._done, self._started_at, self._flush_took_ms, self._ended = 0, 0.0, 0, True
        self._flush, self._rest = QTimer(self), QTimer(self)
        for timer, action in ((self._flush, self._flush_all), (self._rest, self._idle)):
            timer.setSingleShot(True)
            timer.timeout.connect(action)
        self._rest.setInterval(MASK_FIRST_MS)
        self._connect()
        self.reset_choices()
        self._take_cutoff()

    # ------------------------------------------------------------ what the buttons do

    def segment_frame(self) -> None:
        """Segment the frame in view."""
        self._start([self.image.value], only=self._index())

    def segment_all(self) -> None:
        """Segment every frame of the chosen layer."""
        self._start([self.image.value])

    def segment_selected(self) -> None:
        """Segment every frame of every selected Image layer."""
        selected = self.viewer.layers.selection
        self._start([layer for layer in self._images() if layer in selected])

    def cancel(self) -> None:
        """Stop after the batch at hand."""
        if self._worker is not None:
            self._worker.quit()
            self.message.say("Stopping after the batch at hand …")

    def reset_choices(self, _event: Any = None) -> None:
        """List the Image layers again; napari calls it when layers come, go or get a new name."""
        self.image.reset_choices()
        if self.image.value is None and not self.message.text():
            self.message.say(OPEN_FIRST)
        elif self.image.value is not None and self.message.text() == OPEN_FIRST:
            self.message.say("")
        self._show()

    # ------------------------------------------------------------ a run

    def _start(self, images: Sequence[Image | None], only: int | None = None) -> None:
        card, model = self.model.card, self.model.value
        if self._worker is not None:
            return self.message.say("A run is under way. Cancel it first.", "bad")
        if not images or None in images:
            return self.message.say(OPEN_FIRST, "bad")
        if card is None or model is None:
            return self.message.say("There is no model to run. Choose a model file with the button …", "bad")
        try:
            tasks = [
                Task(image, tuple(range(n_frames_of(image))) if only is None else (only,))
                for image in images
                if image is not None and n_frames_of(image)
            ]
        except FrameReadError as error:
            return self.message.say(str(error), "bad")
        try:
            cutoff = self.cutoff.number()
        except InputError as error:
            return self.message.say(str(error), "bad", about=self.cutoff)
        return self._run(tasks, model, cutoff, model_note(card))

    def _run(self, tasks: Sequence[Task], model: str, cutoff: float, note: str) -> None:
        self._runs = {task: Results(self.viewer, task.image, task.indices, note) for task in tasks}
        for results in self._runs.values():
            results.begin()
        self._failed, self._done, self._started_at, self._ended = [], 0, perf_counter(), False
        worker = create_worker(
            predict_tasks, tasks, model, self.device.currentData(), cutoff, _start_thread=False
        )
        worker.yielded.connect(self._take)
        worker.returned.connect(self._end)
        worker.errored.connect(self._end)
        worker.aborted.connect(self._abort)
        worker.finished.connect(self._rest.start)
        self._worker = worker
        self.destroyed.connect(worker.quit)
        self.progress.setRange(0, 0)
        self._set_running(True)
        self.message.say("Loading the model …")
        worker.start()

    def _take(self, item: Started | tuple[Task, Any]) -> None:
        if isinstance(item, Started):
            self.device_reason.setText(item.reason)
            self.progress.setRange(0, sum(len(task.indices) for task in self._runs))
            self.message.say("Segmenting …")
            return
        task, result = item
        results = self._runs[task]
        if not results.is_wanted:
            self._worker.quit()
            return
        self._done += 1
        self.progress.setValue(self._done)
        if isinstance(result, FrameReadError | PredictionError):
            self._failed.append(result)
        else:
            results.put(result)
            if not self._flush.isActive():
                self._flush.start(max(FLUSH_MS, self._flush_took_ms * 10))

    def _flush_all(self, in_view: bool = True) -> None:
        begun = perf_counter()
        for results in self._runs.values():
            if results.is_wanted and results.has_written:
                results.flush(in_view=in_view)
        self._show()
        self._flush_took_ms = round(1000 * (perf_counter() - begun))

    def _end(self, outcome: Failure | Exception | None) -> None:
        self._ended = True
        error = outcome.error if isinstance(outcome, Failure) else outcome
        frames = "1 frame" if self._done == 1 else f"{self._done} frames"
        if isinstance(error, Exception):
            self._fail(error)
        elif not all(results.is_wanted for results in self._runs.values()):
            self.message.say(f"Stopped after {frames}: the layer was deleted.")
        elif self._failed:
            unread = all(isinstance(error, FrameReadError) for error in self._failed)
            what = "can't be read" if unread else "without a result"
            self._fail(self._failed[0], f"{len(self._failed)} of {frames} {what}. ")
        else:
            seconds = perf_counter() - self._started_at
            self.message.say(f"Segmented {frames} in {seconds:.1f} s.", "good", about=self._image_of_run())

    def _image_of_run(self) -> Image | None:
        """The image that a run is about; None where it is about several."""
        return next(iter(self._runs)).image if len(self._runs) == 1 else None

    def _fail(self, error: Exception, prefix: str = "") -> None:
        if isinstance(error, ClnError):
            reason = str(error)
        else:
            from napari.utils.notifications import notification_manager

            reason = f"unexpected {type(error).__name__}: {error}"
            notification_manager.receive_error(type(error), error, error.__traceback__)
        for results in self._runs.values():
            if results.is_wanted and not results.has_written:
                results.fail(reason)
        self.message.say(f"{prefix}{reason}", "bad", about=self._image_of_run())
        self._show()

    def _abort(self) -> None:
        for results in self._runs.values():
            if results.is_wanted:
                results.cancel()
        self._end(None)
        if all(results.is_wanted for results in self._runs.values()):
            self.message.say(f"Cancelled after {self._done} of {self.progress.maximum()} frames.")

    def _idle(self) -> None:
        if not self._ended:  # a worker that is told to stop as it ends says neither
            self._abort()
        self._flush.stop()
        self._flush_all(in_view=False)
        self._worker, self._runs = None, {}
        self._set_running(False)
        self._show()

    # ------------------------------------------------------------ what is shown

    def _show(self, _event: Any = None) -> None:
        """Bring the verdict and the buttons in line with the frame in view."""
        image = self.image.value
        if image is not self._shown:  # what was said of the former image is over
            self.message.forget(self._shown)
            self._shown = image
        if image is None or image not in self.viewer.layers:
            self.verdict.clear()
        else:
            found, n_frames = readings_in(self.viewer, image), len(image.data) if image.ndim == 3 else 1
            self.verdict.show_readings(found, self._index(), n_frames, unlike_in(self.viewer, image))
        self.run_all.setEnabled(self._worker is None and image is not None and image.ndim == 3)

    def _index(self) -> int:
        image = self.image.value
        return int(self.viewer.dims.current_step[-3]) if image is not None and image.ndim == 3 else 0

    def _images(self, _widget: Any = None) -> list[Image]:
        return frame_layers(self.viewer.layers)

    def _follow_selection(self, _event: Any = None) -> None:
        active = self.viewer.layers.selection.active
        if isinstance(active, Image) and active in self.image.choices:
            self.image.value = active

    def _show_chosen(self, image: Image | None) -> None:
        """Show the chosen image alone: the numbers are never another frame's than the canvas shows."""
        if image is not None and image in self.viewer.layers and len(self._images()) > 1:
            masks = nodes_of(self.viewer, image)
            show_alone(self.viewer, image, masks[0] if masks else None)
        self._show()

    def _take_cutoff(self) -> None:
        card = self.model.card
        # Opening the list of models tells of a change too; what was typed stays until there is another.
        if card is not None and card.model_id != self._cutoff_of:
            self._cutoff_of = card.model_id
            self.cutoff.blockSignals(True)
            self.cutoff.setValue(card.cutoff)
            self.cutoff.blockSignals(False)

    def _recut(self, cutoff: float) -> None:
        image, card = self.image.value, self.model.card
        if image is not None and card is not None:
            recut(self.viewer, image, cutoff, model_note(card))
            self._show()

    def _set_running(self, running: bool) -> None:
        self.progress.setVisible(running)
        self.stop.setVisible(running)
        idle_only: list[QWidget] = [self.run_frame, self.run_all, self.run_selected, self.model, self.device]
        for widget in idle_only:
            widget.setEnabled(not running)

    def _build(self) -> None:
        rows = form()
        rows.addRow("Image", self.image.native)
        rows.addRow("Model", self.model)
        rows.addRow("Device", self.device)
        rows.addRow("", self.device_reason)
        rows.addRow("Cutoff", self.cutoff)
        self.column.addLayout(rows)
        self.column.addWidget(self.run_frame)
        for widgets in ((self.run_all, self.run_selected), (self.progress, self.stop)):
            row = QHBoxLayout()
            for widget in widgets:
                row.addWidget(widget, stretch=int(widget is not self.stop))
            self.column.addLayout(row)
        self.column.addWidget(self.verdict)
        self.column.addWidget(self.score_map)
        self.column.addStretch()
        self._set_running(False)

    def _connect(self) -> None:
        self.run_frame.clicked.connect(self.segment_frame)
        self.run_all.clicked.connect(self.segment_all)
        self.run_selected.clicked.connect(self.segment_selected)
        self.stop.clicked.connect(self.cancel)
        self.image.changed.connect(self._show_chosen)
        self.model.changed.connect(self._take_cutoff)
        self.model.failed.connect(lambda reason: self.message.say(reason, "bad"))
        self.cutoff.valueChanged.connect(self._recut)
        dims = self.viewer.dims
        self.verdict.frame_chosen.connect(lambda i: dims.set_current_step(dims.ndim - 3, i))
        self.listen(self.viewer.dims.events.current_step, self._show)
        self.listen(self.viewer.layers.selection.events.active, self._follow_selection)
        self.bind_key("Shift-S", self.segment_frame)
