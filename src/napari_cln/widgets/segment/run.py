"""A run of the Y-Net over open images: frames in, masks onto the canvas, beside the window.

Torch is imported in the worker thread, when work starts.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from ..._layers import OVERLAY_KEY, at_cutoff, at_typed_scale, frames_from_layer, reading_of
from ..._napari import get_segmenter
from ...errors import FrameError, FrameReadError, PredictionError, counted
from ...imaging.tracking import Track, Tracker
from ...types import Explanation, Prediction, PrepareConfig
from ..common.failures import words_of
from ..common.parts import Signal
from ..common.results import Results
from ..common.worker import Work

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from ...models.card import ModelCard
    from ...network.inference import Segmenter

MASK_FIRST_MS = 20
"""Time to paint the last mask before its texts and tables are written."""
FLUSH_MS = 200
"""Time between two writings of a cine's texts and tables, or ten times what one takes."""


@dataclass(frozen=True)
class Task:
    """Frames of one Image layer that are to be segmented."""

    image: Image
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Started:
    """The model is loaded; the device where it runs, and why there."""

    device: str
    reason: str


@dataclass(frozen=True)
class Followed:
    """Nodes of a clip whose frames are done."""

    tracks: tuple[Track, ...]


Item = Started | tuple[Task, Prediction | FrameError | Followed]


class SegmentRun(QObject):
    """One run over the frames of some tasks, from the first mask to the last text.

    Parameters
    ----------
    viewer : ViewerModel
    tasks : sequence of Task
    notes : mapping of str to str
        Words about the model, below its numbers, by its id.
    cutoff_of : callable
        Gives the cutoff at which a prediction is called as it comes onto the canvas.
    parent : QObject

    Attributes
    ----------
    done, total : int
        Frames so far, and in all; ``total`` is 0 until the model is loaded.
    """

    loaded = Signal(object)  # started
    stepped = Signal()  # a frame is done
    written = Signal()  # texts and tables were brought up to date
    told = Signal(str, str, object)  # a sentence, its mood, and what it is about
    followed = Signal(object, object)  # an image, and the nodes of its clip
    over = Signal()  # everything is on the canvas

    def __init__(
        self,
        viewer: ViewerModel,
        tasks: Sequence[Task],
        notes: Mapping[str, str],
        cutoff_of: Callable[[Prediction], float],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._cutoff_of = cutoff_of
        self.done, self.total, self.is_over = 0, 0, False
        self._results = {task: Results(viewer, task.image, task.indices, notes) for task in tasks}
        self._failed: list[FrameError] = []
        self._begun, self._flush_took_ms, self._ended = perf_counter(), 0, False
        self._lost = ""  # why a result had no place
        self._flush, self._rest = QTimer(self), QTimer(self)
        for timer, action in ((self._flush, self._flush_all), (self._rest, self._finish)):
            timer.setSingleShot(True)
            timer.timeout.connect(action)
        self._rest.setInterval(MASK_FIRST_MS)
        for results in self._results.values():
            results.begin()

    def start(self, model: str, device: str) -> None:
        """Predict the frames in a thread, as :func:`predict_tasks` does."""
        self.work = Work(self, predict_tasks, [*self._results], model, device, is_task=True)
        self.work.stepped.connect(self._take)
        self.work.done.connect(self._end)
        self.work.failed.connect(self._fail)
        self.work.stopped.connect(self._abort)
        self.work.ended.connect(self._rest.start)
        self.work.start()

    def stop(self) -> None:
        """Stop after the batch at hand; what is done stays."""
        if not self._ended:
            self.work.stop()

    @property
    def image(self) -> Image | None:
        """The image that the run is about; None where it is about several."""
        return next(iter(self._results)).image if len(self._results) == 1 else None

    @property
    def _fault(self) -> str:
        return self._lost or next((results.fault for results in self._results.values() if results.fault), "")

    def _take(self, item: Item) -> None:
        if isinstance(item, Started):
            self.total = sum(len(task.indices) for task in self._results)
            self.loaded.emit(item)
            return
        task, result = item
        results = self._results[task]
        if results.fault:
            self._lost = results.fault
            self.stop()
            return
        if isinstance(result, Followed):
            self._flush_all()
            self.followed.emit(task.image, result.tracks)
            return
        self.done += 1
        self.stepped.emit()
        if isinstance(result, FrameReadError | PredictionError):
            self._failed.append(result)
        else:
            frame = at_typed_scale(result.frame, task.image)  # it may have been typed meanwhile
            if frame is not result.frame:
                result = replace(result, frame=frame)
            results.put(at_cutoff(result, self._cutoff_of(result)))
            if not self._flush.isActive():
                self._flush.start(max(FLUSH_MS, self._flush_took_ms * 10))

    def _flush_all(self, in_view: bool = True) -> None:
        begun = perf_counter()
        for results in self._results.values():
            if results.has_written and not results.fault:
                results.flush(in_view=in_view)
        self.written.emit()
        self._flush_took_ms = round(1000 * (perf_counter() - begun))

    def _end(self) -> None:
        self._ended = True
        frames = counted(self.done, "frame")
        if self._fault:
            self._take_back()
            self.told.emit(f"Stopped after {frames}: {self._fault}.", "info", self.image)
        elif self._failed:
            unread = all(isinstance(error, FrameReadError) for error in self._failed)
            what = "can't be read" if unread else "without a result"
            self._fail(self._failed[0], f"{len(self._failed)} of {frames} {what}. ")
        else:
            seconds = perf_counter() - self._begun
            self.told.emit(f"Segmented {frames} in {seconds:.1f} s.", "good", self.image)

    def _fail(self, error: Exception, prefix: str = "") -> None:
        self._ended = True
        reason = words_of(error)
        for results in self._results.values():
            if results.fault:
                results.cancel()
            elif not results.has_written:
                results.fail(reason)
        self.told.emit(f"{prefix}{reason}", "bad", self.image)

    def _take_back(self) -> None:
        for results in self._results.values():
            results.cancel()

    def _abort(self) -> None:
        self._take_back()
        self._end()
        if not self._fault:
            self.told.emit(f"Cancelled after {self.done} of {counted(self.total, 'frame')}.", "info", None)

    def _finish(self) -> None:
        if not self._ended:  # a worker that is told to stop as it ends says neither
            self._abort()
        self._flush.stop()
        self._flush_all(in_view=False)
        self.is_over = True
        self.over.emit()


def predict_tasks(tasks: Sequence[Task], model: str, device: str) -> Generator[Item]:
    """Segment the frames of each task, in order.

    Parameters
    ----------
    tasks : sequence of Task
    model : str
        A known name or the path of a model file.
    device : {"auto", "cpu", "cuda", "mps"}

    Yields
    ------
    Started, then (Task, Prediction) or (Task, FrameError) for each frame, and (Task, Followed) after a clip
    """
    segmenter = get_segmenter(model, device)
    _load_for_window(tasks)
    yield Started(segmenter.device.name, segmenter.device.reason)
    for task in tasks:
        tracker = Tracker() if len(task.indices) > 1 else None
        for result in _predict(segmenter, task):
            if isinstance(result, Prediction):
                reading_of(result)  # nodes are measured here, not where the window waits
                if tracker is not None:
                    tracker.add(result)
            yield task, result
        if tracker is not None:
            yield task, Followed(tracker.tracks)


def explain_task(task: Task, model: str, device: str) -> Explanation:
    """Explain the score of a task's only frame.

    Raises
    ------
    ClnError
        If the frame can't be read, or the model can't be used.
    """
    from ...network.explanation import explain_prepared

    segmenter = get_segmenter(model, device)
    (frame,) = frames_from_layer(task.image, task.indices)
    if isinstance(frame, FrameReadError):
        raise frame
    config = prepared_for(task, segmenter.card)
    return explain_prepared(segmenter, frame, segmenter.prepare(frame, config))


def _load_for_window(tasks: Sequence[Task]) -> None:
    """Import what the first mask brings along, some half a second each, while the window stays free."""
    import_module("pandas")  # napari's tables of features
    if any(len(task.indices) > 1 for task in tasks):
        import_module(f"{__package__}.score_plot")


def prepared_for(task: Task, card: ModelCard) -> PrepareConfig:
    """Return how the frames of a task are prepared: as the card says, but for what the user switched off."""
    if task.image.metadata.get(OVERLAY_KEY, True):
        return card.prepare
    return replace(card.prepare, remove_overlay=False)


def _predict(segmenter: Segmenter, task: Task) -> Iterator[Prediction | FrameError]:
    config = prepared_for(task, segmenter.card)
    return segmenter.predict(
        frames_from_layer(task.image, task.indices),
        lambda frame: segmenter.prepare(frame, config),
        # for one frame the reader waits; beside a cine the window is used
        spare_cores=int(len(task.indices) > 1),
    )
