"""What runs in the worker thread: frames in, predictions out. Torch is imported there, when work starts."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING

from ..._layers import OVERLAY_KEY, frames_from_layer, reading_of
from ..._napari import get_segmenter
from ...errors import FrameError, FrameReadError
from ...imaging.preprocessing import prepare
from ...types import Explanation, Prediction, PrepareConfig

if TYPE_CHECKING:
    from napari.layers import Image

    from ...models.card import ModelCard
    from ...network.inference import Segmenter


@dataclass(frozen=True)
class Task:
    """Frames of one Image layer that are to be segmented."""

    image: Image
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Started:
    """The model is loaded; where it runs, and why there."""

    device: str
    reason: str


@dataclass(frozen=True)
class Failure:
    """What stopped a run. Returned, not raised: a worker swallows a RuntimeError, and torch raises those."""

    error: Exception


Item = Started | tuple[Task, Prediction | FrameError]


def predict_tasks(
    tasks: Sequence[Task], model: str, device: str, cutoff: float | None
) -> Generator[Item, None, Failure | None]:
    """Segment the frames of each task, in order.

    Parameters
    ----------
    tasks : sequence of Task
    model : str
        A known name or the path of a model file.
    device : {"auto", "cpu", "cuda", "mps"}
    cutoff : float, optional
        Operating point on malignancy; the model card's where it is left out.

    Yields
    ------
    Started, then (Task, Prediction) or (Task, FrameError) for each frame

    Returns
    -------
    Failure or None
    """
    try:
        segmenter = get_segmenter(model, device)
        _load_for_window(tasks)
        yield Started(segmenter.device.name, segmenter.device.reason)
        for task in tasks:
            for result in _predict(segmenter, task):
                if cutoff is not None and isinstance(result, Prediction):
                    result = replace(result, cutoff=cutoff)
                if isinstance(result, Prediction):
                    reading_of(result)  # nodes are measured here, not where the window waits
                yield task, result
    except Exception as error:
        return Failure(error)
    return None


def explain_task(task: Task, model: str, device: str) -> Explanation | Failure:
    """Explain the score of a task's only frame."""
    try:
        from ...network.explanation import explain_prepared

        segmenter = get_segmenter(model, device)
        (frame,) = frames_from_layer(task.image, task.indices)
        if isinstance(frame, FrameReadError):
            return Failure(frame)
        config = prepared_for(task, segmenter.card)
        return explain_prepared(segmenter, frame, prepare(frame, config, scan_area=frame.scan_area))
    except Exception as error:
        return Failure(error)


def _load_for_window(tasks: Sequence[Task]) -> None:
    """Import what the first mask brings along, some half a second each, while the window stays free."""
    import_module("pandas")  # napari's tables of features
    if any(len(task.indices) > 1 for task in tasks):
        import_module(f"{__package__}.plot")  # the scores of a cine


def prepared_for(task: Task, card: ModelCard) -> PrepareConfig:
    """How the frames of a task are prepared: as the card says, but for what the user has switched off."""
    if task.image.metadata.get(OVERLAY_KEY, True):
        return card.prepare
    return replace(card.prepare, remove_overlay=False)


def _predict(segmenter: Segmenter, task: Task) -> Iterator[Prediction | FrameError]:
    config = prepared_for(task, segmenter.card)
    return segmenter.predict(
        frames_from_layer(task.image, task.indices),
        lambda frame: prepare(frame, config, scan_area=frame.scan_area),
        # for one frame the reader waits; beside a cine the window is used
        spare_cores=int(len(task.indices) > 1),
    )
