"""Saves, one after the other, beside the window: a stroke never waits for the disk."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Literal

from qtpy.QtCore import QObject

from ...errors import ClnError, ConflictError
from ...folder.dataset import TrainingFolder
from ...folder.decisions import adjudicate
from ...folder.readers import ReadingPair, save_reading
from ...types import Annotation, Case
from ..common.dock import Signal
from .painted import Work

__all__ = ["Job", "Saver"]

Kind = Literal["file", "dicom", "video", "simulated"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One state of a frame that is to be saved.

    ``before`` is a state that becomes a revision first; ``second`` marks a second reading, which
    leaves the folder's own masks as they are; ``spoken`` a state that the reader has judged;
    ``decides`` a decision between the folder's masks and another reader's.
    """

    work: Work
    folder: TrainingFolder
    annotation: Annotation
    before: Annotation | None = None
    who: str
    patient: str | None = None
    cine: str | None = None
    kind: Kind = "file"
    second: bool = False
    spoken: bool = False
    decides: ReadingPair | None = None


class Saver(QObject):
    """Saves in a thread of its own, in order; of one frame, only the newest state that waits."""

    saved = Signal(object)
    failed = Signal(object, object)

    def __init__(self) -> None:
        super().__init__()
        self._waiting: dict[Work, Job] = {}
        self._n_open = 0
        self._guard = Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="napari-cln save")
        self.destroyed.connect(partial(self._pool.shutdown, wait=True))

    @property
    def is_idle(self) -> bool:
        """Whether everything is saved."""
        return self._n_open == 0

    def put(self, job: Job) -> None:
        """Save a state as soon as the disk is free."""
        with self._guard:
            former = self._waiting.get(job.work)
            if former is not None:
                spent = (former.annotation.seconds or 0) + (job.annotation.seconds or 0)
                job = replace(
                    job,
                    annotation=replace(job.annotation, seconds=spent),
                    before=former.before or job.before,
                    decides=job.decides or former.decides,
                )
            self._waiting[job.work] = job
            busy = self._n_open > 0
            self._n_open += former is None
        if busy:
            # The disk is slow, or another reader holds the frame: a crash must not take this stroke.
            with suppress(ClnError):
                self._keep(job)
        if former is None:
            self._pool.submit(self._run, job.work)

    def _run(self, work: Work) -> None:
        with self._guard:
            job = self._waiting.pop(work)
        error: Exception | None = None
        try:
            self._save(job)
        except Exception as cause:  # told on the message line, whatever it is
            error = cause
        with self._guard:
            self._n_open -= 1
        with suppress(RuntimeError):  # the dock was closed meanwhile
            if error is None:
                self.saved.emit(job)
            else:
                self.failed.emit(job, error)

    def _save(self, job: Job) -> None:
        work, folder = job.work, job.folder
        if job.second:
            save_reading(folder, job.annotation, job.who)
            return
        for annotation in (job.before, job.annotation):
            if annotation is None:
                continue
            if work.revision == 0 and annotation is job.annotation:
                self._keep(job)  # the first save looks for burned-in marks, which takes a while
            try:
                case = _save(job, annotation, work.revision)
            except ConflictError:
                work.revision = folder.record(folder.identify(annotation.frame)).revision
                work.is_behind = True
                raise
            work.case_id, work.revision = case.id, case.revision
            work.is_behind = False

    def _keep(self, job: Job) -> None:
        case_id = job.work.case_id or job.folder.identify(job.annotation.frame)
        job.folder.autosave.keep(job.annotation, case_id, who=job.who, revision=job.work.revision)


def _save(job: Job, annotation: Annotation, revision: int) -> Case:
    if job.decides is not None and annotation is job.annotation:
        return adjudicate(job.folder, annotation, job.who, job.decides, expected_revision=revision)
    return job.folder.save(
        annotation,
        patient=job.patient,
        cine=job.cine,
        who=job.who,
        source_kind=job.kind,
        expected_revision=revision,
    )
