"""From strokes to saves: sees what was painted, undone or predicted, and has it saved at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtCore import QObject, QTimer

from ...errors import ClnError
from ...folder.autosave import Stroke
from ...folder.dataset import TrainingFolder
from ...folder.readers import ReadingPair
from ...types import Annotation, Status
from ..common.dock import Signal
from ..common.results import TOUCHED_KEY
from .painted import Work
from .saver import Job, Saver
from .shown import kind_of, name_of_cine

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["NO_FOLDER", "Strokes"]

NO_FOLDER = "Open or make a training folder: your strokes are on the canvas, but not saved yet."
AWAY_S = 120.0
"""Longer pauses between two saves are not counted as work on the frame."""


class Strokes(QObject):
    """Every mask that was on the desk, and the saving of those that change.

    Signals
    -------
    changed
        Something happened to a layer that is watched; :meth:`look` says what, once it is over.
    saved, failed
        The Job, and what went wrong.
    refused
        A sentence why nothing was saved.
    """

    changed = Signal()
    saved = Signal(object)
    failed = Signal(object, object)
    refused = Signal(str)

    def __init__(self, viewer: ViewerModel, listen: Callable[[Any, Callable[..., None]], None]) -> None:
        super().__init__()
        self.viewer = viewer
        self.folder: TrainingFolder | None = None
        self.who = "a reader"
        self.patient: str | None = None
        self.left_behind: list[Stroke] = []
        self.put_aside: list[Stroke] = []
        self.saver = Saver()
        self.saver.setParent(self)
        self._works: dict[tuple[str, int], Work] = {}
        self._homeless: set[Work] = set()
        self._heard: set[str] = set()
        self._listen = listen
        self._since = monotonic()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.changed)
        self.saver.saved.connect(self._forget_stroke)
        self.saver.saved.connect(self.saved)
        self.saver.failed.connect(self.failed)

    def start_clock(self) -> None:
        """Count seconds for another frame from now on."""
        self._since = monotonic()

    def enter(self, folder: TrainingFolder) -> None:
        """Save into a training folder from now on, and what waited for one."""
        self.folder = folder
        self.find_left_behind()
        for work in self._works.values():
            work.enter(folder)
        homeless, self._homeless = self._homeless, set()
        for work in homeless:
            self.save(work, work.status)

    def find_left_behind(self) -> None:
        """Look for strokes of this reader that a crash kept from being saved, or that were discarded."""
        if self.folder is not None:
            known = [*self.folder.autosave.list(), *self.folder.autosave.list(discarded=True)]
            mine = [stroke for stroke in known if stroke.who == self.who]
            self.left_behind = [stroke for stroke in mine if not stroke.discarded]
            self.put_aside = [stroke for stroke in mine if stroke.discarded]

    def work_on(self, image: Image, labels: Labels, index: int) -> Work:
        """The mask of one frame, known from before or new.

        Raises
        ------
        ClnError
            If the layer was painted on another frame.
        """
        work = self._works.get((labels.unique_id, index))
        if work is None or work.image is not image:
            work = Work(image, labels, index)
        return self.take(work)

    def take(self, work: Work) -> Work:
        """Watch a mask from now on."""
        self._works[work.labels.unique_id, work.index] = work
        if self.folder is not None and work.case_id is None:
            work.enter(self.folder)
        labels = work.labels
        if labels.unique_id not in self._heard:
            self._heard.add(labels.unique_id)
            labels.n_edit_dimensions = 2  # a stroke belongs to one frame
            # Undo and redo tell nobody but the canvas; a prediction is told before it is complete. So
            # every sign of change only starts a look at the contents, once the event is over.
            for emitter in (labels.events.paint, labels.events.data, labels.events.set_data):
                self._listen(emitter, self._notice)
        return work

    def is_touched(self, image: Image | None) -> bool:
        """Whether any mask of an image was painted here."""
        return any(work.touched for work in self._works.values() if work.image is image)

    def is_judged(self, image: Image, index: int) -> bool:
        """Whether the reader has said something about a frame here."""
        works = [work for work in self._works.values() if work.image is image and work.index == index]
        return any(work.status != "predicted" for work in works)

    def let_go(self, image: Image) -> None:
        """Have the frames of an image read anew: its scale has changed."""
        for work in self._works.values():
            if work.image is image:
                work.let_go()

    def look(self) -> None:
        """Save what was painted, or undone, since the last look."""
        for work in [*self._works.values()]:
            if work.labels in self.viewer.layers and work.look() == "painted":
                if work.labels.ndim == 3:
                    work.labels.metadata.setdefault(TOUCHED_KEY, set()).add(work.index)
                self.save(work, work.painted_status)

    def save(
        self, work: Work, status: Status, *, spoken: bool = False, decides: ReadingPair | None = None
    ) -> None:
        """Save a frame in the background.

        Parameters
        ----------
        work : Work
        status : str
        spoken : bool
            Whether the reader has judged it.
        decides : ReadingPair, optional
            The readings between which it decides.
        """
        now = monotonic()
        seconds, self._since = min(now - self._since, AWAY_S), now
        work.status = status
        if self.folder is None:
            self._homeless.add(work)
            self.refused.emit(NO_FOLDER)
            return
        try:
            annotation = work.annotation(status, self.who, seconds)
        except ClnError as error:
            self.refused.emit(str(error))
            return
        job = Job(
            work=work,
            folder=self.folder,
            annotation=annotation,
            before=self._unanswered(self.folder, work),
            spoken=spoken,
            decides=decides,
            who=self.who,
            patient=self.patient,
            cine=name_of_cine(work),
            kind=kind_of(annotation.frame),
            second=work.second,
        )
        self.saver.put(job)

    def _unanswered(self, folder: TrainingFolder, work: Work) -> Annotation | None:
        """Old strokes on a frame that is painted on before the offer of them was answered."""
        left = next((stroke for stroke in self.left_behind if stroke.id == work.case_id), None)
        if left is not None:
            with suppress(ClnError):  # too damaged to come back
                return folder.autosave.restore(left, work.frame)
        return None

    def _notice(self, _event: Any) -> None:
        self._timer.start()

    def _forget_stroke(self, job: Job) -> None:
        self.left_behind = [stroke for stroke in self.left_behind if stroke.id != job.work.case_id]
