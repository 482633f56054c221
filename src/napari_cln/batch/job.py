"""The batch job: every frame of many files, segmented and written as it comes.

Progress is the iteration: a command wraps it in a bar, a window runs it as a worker, a cluster
runs it on a share of the files. Nothing is held but the frames of one batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

from ..disk.cells import one_line
from ..errors import ClnError, DeviceError, FrameReadError
from ..io.sources import FrameSource, open_source
from ..types import Frame
from .names import NamedSource
from .pictures import draw_outlines
from .results import ResultsFolder
from .rows import FrameKey, rows_of

if TYPE_CHECKING:
    from ..models.card import ModelCard
    from ..network.inference import Segmenter
    from ..types import Prediction

__all__ = [
    "FrameResult",
    "ResultsOptions",
    "forget_changed",
    "notes_of",
    "open_results",
    "segment_sources",
]

MOST_FAILURES = 100
"""Frames in a row that may fail before the rest of their file is left out."""

FrameStatus: TypeAlias = Literal["ok", "unlike-training-data", "failed", "kept", "note"]


@dataclass(frozen=True, kw_only=True)
class FrameResult:
    """Outcome of one frame of a batch.

    Parameters
    ----------
    source : str
        Name of the file in the results.
    frame : int, optional
        Its number in the file, from 0; None for a whole file: one that could not be opened, or whose
        other frames were left out.
    status : str
        ``"ok"``; ``"unlike-training-data"`` for a frame whose result is not to be relied on;
        ``"failed"``; ``"kept"`` for a whole file that an earlier run had done; or ``"note"``: a file of
        the results, which ``source`` then names, was damaged or edited meanwhile, or loses the results
        of files that have become others.
    message : str
        Why it failed, what to know about it, or what is done again.
    progress : float
        Share of the files done so far, in [0, 1].
    """

    source: str
    frame: int | None
    status: FrameStatus
    message: str = ""
    progress: float


@dataclass(frozen=True, kw_only=True)
class _Step:
    """The next thing to write: a frame, once predicted; a failure; or a file that was done before."""

    source: NamedSource
    frame: int
    progress: float
    read: Frame | FrameReadError
    """The frame, or why there is none."""
    was_done: bool = False
    ends_file: bool = False

    @property
    def key(self) -> FrameKey:
        return FrameKey(self.source.name, self.frame)


class ResultsOptions(TypedDict):
    """Options that decide what a folder of results holds; ``naming`` is that of `mark_of_naming`."""

    masks: Literal["png", "rle"]
    overlays: bool
    naming: str


def open_results(
    out: Path,
    card: ModelCard,
    *,
    masks: Literal["png", "rle"],
    overlays: bool,
    naming: str = "",
    redo: bool = False,
    patience_s: float = 0.0,
) -> ResultsFolder:
    """Open a folder for what the model of that card says; ``naming`` is that of `mark_of_naming`."""
    made_by = {"model": card.model_id, "napari-cln": version("napari-cln")}
    if naming:
        made_by["names"] = naming
    has_masks = card.config.segmentation
    pictures = ["masks"] * (has_masks and masks == "png") + ["overlays"] * overlays
    run_length = has_masks and masks == "rle"
    return ResultsFolder(
        out, made_by, pictures=pictures, run_length=run_length, redo=redo, patience_s=patience_s
    )


def notes_of(results: ResultsFolder) -> Iterator[FrameResult]:
    """Tell what was found damaged, edited or of former files in a folder of results."""
    for note in results.notes:
        yield FrameResult(source=note.about, frame=None, status="note", message=note.text, progress=0.0)


def forget_changed(sources: Iterable[NamedSource], results: ResultsFolder) -> bool:
    """Forget the results of files that have become others since, and return whether there are such."""
    changed = {source.name for source in sources if _has_changed(source, results.content(source.name))}
    if changed:
        results.forget(changed)
    return bool(changed)


def _has_changed(source: NamedSource, content: str | None) -> bool:
    try:
        return content is not None and source.content() != content
    except OSError:
        return False  # what can't be read now does not undo what was read before


def segment_sources(
    sources: Sequence[NamedSource],
    segmenter: Segmenter,
    results: ResultsFolder,
    *,
    skip: Set[int] = frozenset(),
    before: Callable[[int], None] = lambda index: None,
) -> Iterator[FrameResult]:
    """Segment what is missing of some files.

    Parameters
    ----------
    sources : sequence of NamedSource
    segmenter : Segmenter
    results : ResultsFolder
    skip : set of int
        Frames of each file to leave out.
    before : callable
        Called with a frame's number before it is read, and with -1 before a file is opened.

    Yields
    ------
    FrameResult
        As each frame is written, in the order of the files and their frames.
    """
    reader = _Reader(sources, results, skip, before)
    for step, outcome in _predict(segmenter, iter(reader)):
        result = _write(step, outcome, results)
        reader.hear(result)
        ended = step.key.source if step.ends_file else None
        del step, outcome  # the frame and its maps, while the caller looks at the result
        yield result
        if ended is not None:
            results.finish(ended)


class _Reader:
    """The steps that are left, file by file and frame by frame.

    It hears how each frame went, and leaves the rest of a file out when too many in a row have failed: a
    file of a hundred bytes may say that it holds a million frames.
    """

    def __init__(
        self,
        sources: Sequence[NamedSource],
        results: ResultsFolder,
        skip: Set[int],
        before: Callable[[int], None],
    ) -> None:
        self._sources = sources
        self._results = results
        self._skip = skip
        self._before = before
        self._failing = ""  # the file whose last frames failed, and how many of them
        self._n_failed = 0

    def hear(self, result: FrameResult) -> None:
        """Take note of how a frame went."""
        same = result.status == "failed" and result.source == self._failing
        self._failing = result.source
        self._n_failed = (self._n_failed if same else 0) + (result.status == "failed")

    def __iter__(self) -> Iterator[_Step]:
        for i, source in enumerate(self._sources):
            after = (i + 1) / len(self._sources)
            if self._results.is_complete(source.name):
                nothing = FrameReadError("")
                yield _Step(source=source, frame=-1, progress=after, read=nothing, was_done=True)
                continue
            try:
                self._before(-1)
                with open_source(source.path) as opened:
                    self._results.begin(source.name, source.content(), len(opened))
                    yield from self._frames(i, opened)
            except Exception as error:
                if isinstance(error, ClnError) and not isinstance(error, FrameReadError):
                    raise
                failure = FrameReadError(_sentence(error, source))
                yield _Step(source=source, frame=-1, progress=after, read=failure)

    def _frames(self, i: int, opened: FrameSource) -> Iterator[_Step]:
        """The frames of a file that are missing."""
        source, n = self._sources[i], len(opened)
        done = self._results.done(source.name) | self._skip
        last = next((index for index in reversed(range(n)) if index not in done), None)
        if last is None:
            self._results.finish(source.name)
            return
        n_unread = 0
        for index in (index for index in range(last + 1) if index not in done):
            n_failed = self._n_failed if self._failing == source.name else 0
            if max(n_unread, n_failed) >= MOST_FAILURES:
                text = (
                    f"After {MOST_FAILURES} failed frames in a row, frames {index + 1:,} to {n:,} were not "
                    "tried. Open the file in a viewer to check that it is whole, or leave it out; the same "
                    "command tries again."
                )
                progress = (i + 1) / len(self._sources)
                yield _Step(source=source, frame=-1, progress=progress, read=FrameReadError(text))
                return
            self._before(index)
            read = _read_frame(opened, index, source)
            n_unread = 0 if isinstance(read, Frame) else n_unread + 1
            progress = (i + (index + 1) / n) / len(self._sources)
            yield _Step(source=source, frame=index, progress=progress, read=read, ends_file=index == last)
            del read


def _read_frame(opened: FrameSource, index: int, source: NamedSource) -> Frame | FrameReadError:
    try:
        return opened[index]
    except Exception as error:
        return FrameReadError(_sentence(error, source))


def _predict(segmenter: Segmenter, steps: Iterator[_Step]) -> Iterator[tuple[_Step, Prediction | Exception]]:
    """Each step with what became of it, in order."""
    waiting: deque[_Step] = deque()
    is_reading = True

    def items() -> Iterator[Frame | FrameReadError]:
        nonlocal is_reading
        is_reading = True
        for step in steps:
            waiting.append(step)
            is_reading = False
            yield step.read
            is_reading = True
        is_reading = False

    while True:
        try:
            for outcome in segmenter.predict(items()):
                yield waiting.popleft(), outcome
            return
        except Exception as error:
            if is_reading or not waiting or isinstance(error, DeviceError):  # no frame's own fault
                raise
        # One odd frame must not cost the others: those that were under way are taken one by one.
        while waiting:
            step = waiting.popleft()
            yield step, _predict_alone(segmenter, step.read)


def _predict_alone(segmenter: Segmenter, read: Frame | FrameReadError) -> Prediction | Exception:
    try:
        (outcome,) = segmenter.predict([read])
        return outcome
    except DeviceError:
        raise
    except Exception as error:
        return error


def _write(step: _Step, outcome: Prediction | Exception, results: ResultsFolder) -> FrameResult:
    """Write the mask and pictures and then the rows of a frame, or why there are none."""
    key, message = step.key, ""
    status: FrameStatus = "kept"
    if not isinstance(outcome, Exception):
        try:
            rows = rows_of(key, outcome)
            drawn = {"overlays": draw_outlines(outcome)} if "overlays" in results.pictures else {}
        except Exception as error:
            outcome = error
    if not isinstance(outcome, Exception):
        checks = {}
        if results.run_length:
            checks["masks"] = results.save_mask_line(outcome.instances, key)
        for kind in results.pictures:
            checks[kind] = results.save_picture(kind, drawn.get(kind, outcome.instances), key)
        rows = [row | {"message": one_line(step.source.hide(row["message"]))} for row in rows]
        results.add(key, rows, checks)
        status, message = outcome.status, rows[0]["message"]
    elif not step.was_done:
        status, message = "failed", _sentence(outcome, step.source)
        results.add_failure(key, message)
    return FrameResult(
        source=key.source,
        frame=key.frame if key.frame >= 0 else None,
        status=status,
        message=message,
        progress=step.progress,
    )


def _sentence(error: Exception, source: NamedSource) -> str:
    """The reason for the user; of an error that is not ours its kind alone, as its text may hold a path."""
    if isinstance(error, ClnError):
        return one_line(source.hide(str(error)))
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return (
        f"{source.name.rsplit('/', 1)[-1]} could not be processed ({reason}). Open it in a viewer, or leave "
        "it out."
    )
