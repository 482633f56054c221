"""Segmenting open images: the chosen image and model, runs, and where a score comes from. Needs no window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari.layers import Image
from qtpy.QtCore import QObject, QTimer

from ..._layers import (
    LayerKind,
    at_cutoff,
    explanation_to_layer,
    frame_layers,
    layers_of,
    link,
    model_note,
    n_frames_of,
    replace_readings,
)
from ...errors import FrameReadError, WeightsError
from ...imaging.tracking import Track
from ...models.card import ModelCard
from ...models.library import read_card
from ...study.reading import Reading
from ...types import Explanation, Prediction
from ..common.failures import words_of
from ..common.in_view import beyond, frame_at, show_alone
from ..common.parts import OPEN_FIRST, Signal
from ..common.results import WatchedFrame, instances_in, nodes_of, readings_in, write_texts
from ..common.worker import Work
from ..common.workplace import workplace_of
from .run import SegmentRun, Started, Task, explain_task

if TYPE_CHECKING:
    from napari.components import ViewerModel

NO_MODEL = "Choose a model file with the button …"


@dataclass(frozen=True, kw_only=True)
class SegmentState:
    """The frame in view with what was found in it, and what can be done now.

    ``index`` is its number; None where the slider stands beyond the frames of the image.
    ``readings`` are those of all frames of the image; ``device_reason`` says where the model runs,
    and why there. ``tracks`` are the nodes of the clip, for as long as its masks are those they were followed
    on.
    """

    image: Image | None = None
    index: int | None = 0
    n_frames: int = 1
    readings: Mapping[int, Reading] = field(default_factory=dict)
    tracks: tuple[Track, ...] = ()
    cutoff: float = 0.5
    device_reason: str = ""
    is_running: bool = False
    is_explaining: bool = False


class SegmentSession(QObject):
    """Choice of image and model, runs over the frames, and what came out.

    Attributes
    ----------
    image : napari.layers.Image, optional
    device : str
    cutoff : float
        Of the chosen model, or as it was typed; a typed one holds for every score in the window.
    run : SegmentRun, optional
        The last one, under way or over.
    """

    changed = Signal()  # another state is to be shown
    stepped = Signal(int, int)  # frames done, and of how many
    told = Signal(str, str, object)  # a sentence, its mood, and what it is about

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.image: Image | None = None
        self.device, self.cutoff = "auto", 0.5
        self.run: SegmentRun | None = None
        self._model: tuple[str, ModelCard] | None = None
        self._is_typed = False
        self._cutoffs: dict[str, float] = {}  # of each model itself, by its id
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._call_anew)
        self._device_reason = "Chosen when the first frame is segmented."
        self._is_explaining = False
        self._clips: WeakKeyDictionary[Image, tuple[tuple[Track, ...], dict[int, str]]] = WeakKeyDictionary()

    @property
    def images(self) -> list[Image]:
        """The images that can be segmented."""
        return frame_layers(self.viewer.layers)

    @property
    def index(self) -> int | None:
        """Number of the frame in view; None where the slider stands beyond those of the image."""
        image = self.image if self.image in self.viewer.layers else None
        return 0 if image is None else frame_at(image, self.viewer)

    @property
    def is_running(self) -> bool:
        """True while a run is under way."""
        return self.run is not None and not self.run.is_over

    @property
    def state(self) -> SegmentState:
        """The state as it is to be shown now."""
        image = self.image if self.image in self.viewer.layers else None
        around = partial(
            SegmentState,
            image=self.image,
            index=self.index,
            cutoff=self.cutoff,
            device_reason=self._device_reason,
            is_running=self.is_running,
            is_explaining=self._is_explaining,
        )
        if image is None:
            return around()
        return around(
            n_frames=len(image.data) if image.ndim == 3 else 1,
            readings=readings_in(self.viewer, image),
            tracks=self._tracks_of(image),
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """A sentence on each node of the frame in view, with level and side where a reader named them."""
        state = self.state
        reading = None if state.index is None else state.readings.get(state.index)
        if reading is None or state.image is None or state.index is None:
            return ()
        instances = instances_in(self.viewer, state.image, state.index)
        place = workplace_of(self.viewer)
        return reading.sentences(
            {} if instances is None else place.describe_nodes(state.image, state.index, instances)
        )

    # ------------------------------------------------------------ what is chosen

    def choose_image(self, image: Image | None) -> None:
        """Show an image alone: the numbers are never another frame's than the canvas shows."""
        self.image = image
        if image is not None and image in self.viewer.layers and len(self.images) > 1:
            masks, active = nodes_of(self.viewer, image), self.viewer.layers.selection.active
            shown = [active] if active in masks else masks
            show_alone(self.viewer, image, shown[0] if shown else None)
        self.changed.emit()

    def choose_model(self, model: str | None) -> None:
        """Take a model, and its card's cutoff where it is another model than before."""
        try:
            card = None if model is None else read_card(model)
        except WeightsError:  # the choice of the model says it
            card = None
        former = None if self._model is None else self._model[1].model_id
        self._model = None if model is None or card is None else (model, card)
        # Listing the models anew tells of a change too; what was typed stays until there is another.
        if card is not None and card.model_id != former:
            self.cutoff, self._is_typed = card.cutoff, False
            self._cutoffs[card.model_id] = card.cutoff
        self._call_anew()

    def set_cutoff(self, cutoff: float) -> None:
        """Call all that was found in this window by another cutoff; nothing is predicted again."""
        if cutoff != self.cutoff:
            self.cutoff, self._is_typed = cutoff, True
            self._call_anew()

    def cutoff_of(self, found: Prediction | Reading) -> float:
        """Return the cutoff of a score: the one that was typed, else that of the model that gave it."""
        own = self._cutoffs.setdefault(found.model_id, found.cutoff)
        return self.cutoff if self._is_typed else own

    def notice(self, event: Any) -> None:
        """Look anew at what is said of the images, once all layers that come together are there."""
        if event.type in ("inserted", "scale"):
            self._soon.start()

    def _call_anew(self) -> None:
        for image in self.images:
            changed = [
                replace_readings(
                    labels,
                    lambda prediction: at_cutoff(prediction, self.cutoff_of(prediction)),
                    lambda reading: reading.at(self.cutoff_of(reading)),
                )
                for labels in nodes_of(self.viewer, image)
            ]
            if any(changed):
                write_texts(self.viewer, image)
        self.changed.emit()

    # ------------------------------------------------------------ runs

    def segment_frame(self) -> None:
        """Segment the frame in view."""
        if self.image is not None and self.index is None:
            self._refuse(beyond(self.image))
        else:
            self._start([self.image], only=self.index)

    def segment_all(self) -> None:
        """Segment every frame of the chosen image."""
        self._start([self.image])

    def segment_selected(self) -> None:
        """Segment every frame of every selected Image layer."""
        self._start([layer for layer in self.images if layer in self.viewer.layers.selection])

    def cancel(self) -> None:
        """Stop after the batch at hand."""
        if self.run is not None and self.is_running:
            self.run.stop()
            self.told.emit("Stopping after the batch at hand …", "info", None)

    def _start(self, images: Sequence[Image | None], only: int | None = None) -> None:
        if self.is_running:
            return self._refuse("A run is under way. Cancel it first.")
        if not images or None in images:
            return self._refuse(OPEN_FIRST)
        if self._model is None:
            return self._refuse(f"There is no model to run. {NO_MODEL}")
        try:
            tasks = [
                Task(image, tuple(range(n_frames_of(image))) if only is None else (only,))
                for image in images
                if image is not None and n_frames_of(image)
            ]
        except FrameReadError as error:
            return self._refuse(str(error))
        model, card = self._model
        self.run = run = SegmentRun(
            self.viewer, tasks, {card.model_id: model_note(card)}, self.cutoff_of, self
        )
        run.loaded.connect(self._take_device)
        run.stepped.connect(self._step)
        run.written.connect(self.changed)
        run.followed.connect(self._keep_clip)
        run.told.connect(self.told)
        run.over.connect(self.changed)
        self._step()
        self.changed.emit()
        self.told.emit("Loading the model …", "info", None)
        return run.start(model, self.device)

    def _keep_clip(self, image: Image, tracks: tuple[Track, ...]) -> None:
        self._clips[image] = tracks, self._masks_of(image)
        self.changed.emit()

    def _masks_of(self, image: Image) -> dict[int, str]:
        """Content of the masks of each frame that has a reading."""
        return {index: reading.mask_digest for index, reading in readings_in(self.viewer, image).items()}

    def _tracks_of(self, image: Image) -> tuple[Track, ...]:
        """Nodes of a clip at the cutoff of its frames; none once a mask is another."""
        tracks, masks = self._clips.get(image, ((), {}))
        if not tracks or masks != self._masks_of(image):
            return ()
        readings = readings_in(self.viewer, image)
        return tuple(replace(one, cutoff=readings[one.best_frame].cutoff) for one in tracks)

    def _take_device(self, started: Started) -> None:
        self._device_reason = started.reason
        self._step()
        self.changed.emit()
        self.told.emit("Segmenting …", "info", None)

    def _step(self) -> None:
        if self.run is not None:
            self.stepped.emit(self.run.done, self.run.total)

    def _refuse(self, sentence: str) -> None:
        self.told.emit(sentence, "bad", OPEN_FIRST if sentence == OPEN_FIRST else None)

    # ------------------------------------------------------------ where a score comes from

    def explain_frame(self) -> None:
        """Lay over the frame in view what each place adds to its malignancy, by the chosen model."""
        if self.image is None:
            return self._refuse(OPEN_FIRST)
        if self._model is None:
            return self._refuse(f"There is no model to ask. {NO_MODEL}")
        image, index, model = self.image, self.index, self._model[0]
        if index is None:
            return self._refuse(beyond(image))
        work = Work(self, explain_task, Task(image, (index,)), model, self.device, is_task=True)
        work.done.connect(partial(self._show_explanation, WatchedFrame(self.viewer, image), index))
        work.failed.connect(lambda error: self.told.emit(words_of(error), "bad", image))
        work.ended.connect(partial(self._set_explaining, False))
        self._set_explaining(True)
        self.told.emit("Looking where the score comes from …", "info", None)
        work.start()
        return None

    def _set_explaining(self, is_explaining: bool) -> None:
        self._is_explaining = is_explaining
        self.changed.emit()

    def _show_explanation(self, frame: WatchedFrame, index: int, explanation: Explanation) -> None:
        image, layers = frame.image, self.viewer.layers
        if frame.fault:
            self.told.emit(f"There is no map: {frame.fault}.", "info", image)
            return
        for former in layers_of(image, layers, LayerKind.SCORE_MAP):
            layers.remove(former)
        active = layers.selection.active
        data, options, _ = explanation_to_layer(explanation, image, index)
        layer = Image(data, **options)
        link(layer, image)
        self.viewer.add_layer(layer)
        layers.selection.active = active
        of = "the frame" if explanation.node is None else f"node {explanation.node}"
        score = f"{explanation.prediction.malignancy:.2f} of {of}"
        self.told.emit(f"Orange adds to the malignancy {score}, blue takes from it.", "good", image)
