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
from typing import TYPE_CHECKING, Literal, TypeAlias

from PIL import Image

from ..errors import ClnError, FrameReadError
from ..io.sources import FrameSource, open_source
from .names import NamedSource, content_key, sources_outside
from .outlines import draw_outlines
from .results import ResultsFolder
from .rows import FrameKey, failed_row, rows_of

if TYPE_CHECKING:
    from ..models.card import ModelCard
    from ..network.inference import Segmenter
    from ..network.model import Network
    from ..types import Frame, Prediction

__all__ = ["FrameResult", "forget_changed", "open_results", "segment_sources", "segment_to_folder"]

FrameStatus: TypeAlias = Literal["ok", "unlike-training-data", "failed", "kept"]


@dataclass(frozen=True, kw_only=True)
class FrameResult:
    """What became of one frame of a batch.

    Parameters
    ----------
    source : str
        Name of the file in the results.
    frame : int, optional
        Its number in the file, from 0; None for a file that could not be opened.
    status : str
        ``"ok"``; ``"unlike-training-data"`` for a frame whose result is not to be relied on;
        ``"failed"``; or ``"kept"`` for a whole file that an earlier run had done.
    message : str
        Why it failed, or what to know about it.
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
    """One thing read, waiting for its turn to be written: a frame, a failure, or a file's end."""

    key: FrameKey
    status: Literal["ok", "failed", "kept", "end"]
    progress: float
    frame: Frame | None = None
    message: str = ""


def segment_to_folder(
    paths: Iterable[str | Path],
    out: str | Path,
    *,
    model: str | Path | Network = "default",
    device: str = "auto",
    batch_size: int | None = None,
    masks: Literal["png", "rle"] = "png",
    overlays: bool = False,
    redo: bool = False,
) -> Iterator[FrameResult]:
    """Segment every frame under some paths into a folder of results, doing only what is missing.

    Parameters
    ----------
    paths : iterable of str or Path
        Files, folders and glob patterns.
    out : str or Path
        The folder of results: ``results.csv``, ``masks/`` or ``masks.jsonl``, ``run.jsonl``.
    model, device, batch_size
        As for :func:`napari_cln.segment_batch`.
    masks : {"png", "rle"}
        A picture for each frame, or all in ``masks.jsonl``, run-length coded, for millions of
        frames; :class:`~napari_cln.batch.masks.MaskFile` and napari read it.
    overlays : bool
        Also draw the outlines on each frame's scan area, in ``overlays/``.
    redo : bool
        Do again what an earlier run, maybe of another model, has done.

    Yields
    ------
    FrameResult
        As each frame is written. A file that can't be read is a ``"failed"`` one, and the job
        goes on.

    Raises
    ------
    RunError
        If ``out`` holds results of another model or version, or another run is writing there.
    ExportError
        If the results can't be written, as on a full disk.
    FrameReadError, WeightsError, DeviceError
        If there is nothing to read, or the model or the device can't be had.
    """
    from ..network.inference import Segmenter

    out = Path(out)
    sources = sources_outside(out, paths)
    segmenter = Segmenter(model, device, batch_size)
    with open_results(out, segmenter.card, masks=masks, overlays=overlays, redo=redo) as results:
        forget_changed(sources, results)
        yield from segment_sources(sources, segmenter, results)
        results.sort()


def open_results(
    out: Path, card: ModelCard, *, masks: Literal["png", "rle"], overlays: bool, redo: bool = False
) -> ResultsFolder:
    """A folder for what the model of that card says."""
    made_by = {"model": card.model_id, "napari-cln": version("napari-cln")}
    has_masks = card.config.segmentation
    pictures = ["masks"] * (has_masks and masks == "png") + ["overlays"] * overlays
    run_length = has_masks and masks == "rle"
    return ResultsFolder(out, made_by, pictures=pictures, run_length=run_length, redo=redo)


def forget_changed(sources: Iterable[NamedSource], results: ResultsFolder) -> None:
    """Forget the results of files that have become others since."""
    changed = {source.name for source in sources if _has_changed(source.path, results.content(source.name))}
    if changed:
        results.forget(changed)


def _has_changed(path: Path, content: str | None) -> bool:
    try:
        return content is not None and content_key(path) != content
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
        As each frame is written.
    """
    waiting: deque[_Step] = deque()
    for outcome in _predict(segmenter, _read(sources, results, skip, before), waiting):
        while waiting[0].frame is None:
            yield from _record(waiting.popleft(), results)
        yield _write(waiting.popleft(), outcome, results)
    for step in waiting:
        yield from _record(step, results)


def _read(
    sources: Sequence[NamedSource], results: ResultsFolder, skip: Set[int], before: Callable[[int], None]
) -> Iterator[_Step]:
    """What there is to do, file by file and frame by frame."""
    for i, source in enumerate(sources):
        whole, after = FrameKey(source.name, -1), (i + 1) / len(sources)
        if results.is_complete(source.name):
            yield _Step(key=whole, status="kept", progress=after)
            continue
        done = results.done(source.name) | skip
        try:
            before(-1)
            with open_source(source.path) as opened:
                results.begin(source.name, content_key(source.path), len(opened))
                for index in range(len(opened)):
                    if index not in done:
                        before(index)
                        progress = (i + (index + 1) / len(opened)) / len(sources)
                        yield _read_frame(opened, FrameKey(source.name, index), progress)
            yield _Step(key=whole, status="end", progress=after)
        except Exception as error:
            if isinstance(error, ClnError) and not isinstance(error, FrameReadError):
                raise
            yield _Step(key=whole, status="failed", message=_sentence(error, source.name), progress=after)


def _read_frame(opened: FrameSource, key: FrameKey, progress: float) -> _Step:
    try:
        return _Step(key=key, status="ok", frame=opened[key.frame], progress=progress)
    except Exception as error:
        return _Step(key=key, status="failed", message=_sentence(error, key.source), progress=progress)


def _predict(
    segmenter: Segmenter, steps: Iterator[_Step], waiting: deque[_Step]
) -> Iterator[Prediction | Exception]:
    """One outcome for each frame among the steps; all steps queue up in ``waiting``, in order."""

    def frames() -> Iterator[Frame]:
        for step in steps:
            waiting.append(step)
            if step.frame is not None:
                yield step.frame

    while True:
        try:
            yield from segmenter.predict(frames())
            return
        except ClnError:
            raise
        except Exception:
            # One odd frame must not cost the others: those of its batch are taken one by one.
            for frame in [step.frame for step in waiting if step.frame is not None]:
                try:
                    yield from segmenter.predict([frame])
                except Exception as error:
                    yield error


def _record(step: _Step, results: ResultsFolder) -> Iterator[FrameResult]:
    """Write down a failure or the end of a file."""
    if step.status == "end":
        results.finish(step.key.source)
        return
    if step.status == "failed":
        results.add(step.key, [failed_row(step.key, step.message)])
    yield _result(step, step.status, step.message)


def _write(step: _Step, outcome: Prediction | Exception, results: ResultsFolder) -> FrameResult:
    """Write the mask and pictures and then the rows of a frame."""
    if isinstance(outcome, Exception):
        message = _sentence(outcome, step.key.source)
        results.add(step.key, [failed_row(step.key, message)])
        return _result(step, "failed", message)
    if results.run_length:
        results.save_mask_line(outcome.instances, step.key)
    for kind in results.pictures:
        picture = Image.fromarray(outcome.instances) if kind == "masks" else draw_outlines(outcome)
        results.save_picture(kind, picture, step.key, outcome.frame.n_frames)
    rows = rows_of(step.key, outcome)
    results.add(step.key, rows)
    return _result(step, outcome.status, rows[0]["message"])


def _result(step: _Step, status: FrameStatus, message: str) -> FrameResult:
    frame = step.key.frame if step.key.frame >= 0 else None
    return FrameResult(
        source=step.key.source, frame=frame, status=status, message=message, progress=step.progress
    )


def _sentence(error: Exception, name: str) -> str:
    """The reason for the user; of an error that is not ours its kind alone, as its text may hold a path."""
    if isinstance(error, ClnError):
        return str(error)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return (
        f"{name.rsplit('/', 1)[-1]} could not be processed ({reason}). Open it in a viewer, or leave it out."
    )
