"""Many files → a folder of results.

Frames give masks, scores and sizes, of which only those missing are made. Cines give ``clips.csv``: a row a
node, with one score for the clip, and where it is in each frame.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..batch.job import FrameResult, forget_changed, notes_of, open_results, segment_sources
from ..batch.names import Naming, mark_of_naming, sources_outside
from ..disk.atomic import write_atomically
from ..disk.cells import defused
from ..errors import ClnError, ExportError, PredictionError
from ..imaging.tracking import Track, Tracker
from ..io.sources import open_source

if TYPE_CHECKING:
    from ..io.frame_source import FrameSource
    from ..network.inference import Segmenter
    from ..network.model import Network
    from ..types import Frame

__all__ = ["ClipResult", "segment_to_folder", "track_to_folder"]


def segment_to_folder(
    paths: Iterable[str | Path],
    out: str | Path,
    *,
    model: str | Path | Network = "default",
    device: str = "auto",
    batch_size: int | None = None,
    masks: Literal["png", "rle"] = "png",
    overlays: bool = False,
    names: Naming = "path",
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
    names : {"path", "hash"}
        Files are called by their path, which may hold a patient's name; or by a salted hash of it, the
        same in every run on this computer, in all that is written and told.
    redo : bool
        Do again what an earlier run, maybe of another model, has done.

    Yields
    ------
    FrameResult
        As each frame is written. A file that can't be read is a ``"failed"`` one, and the job
        goes on. Where the results of an earlier run were damaged, a ``"note"`` comes first.

    Raises
    ------
    RunError
        If ``out`` holds results of another model or version, or under other names, or another run is
        writing there.
    ExportError
        If the results can't be written, as on a full disk.
    FrameReadError, WeightsError, DeviceError
        If there is nothing to read, or the model or the device can't be had.
    """
    from ..network.inference import Segmenter

    out = Path(out)
    sources, naming = sources_outside(out, paths, names), mark_of_naming(names)
    segmenter = Segmenter(model, device, batch_size)
    with open_results(
        out, segmenter.card, masks=masks, overlays=overlays, naming=naming, redo=redo
    ) as results:
        yield from notes_of(results)
        forget_changed(sources, results)
        yield from segment_sources(sources, segmenter, results)
        results.sort()


# ------------------------------------------------------------ cines

CLIPS, PLACES = "clips.csv", "clip_frames.csv"
CLIP_COLUMNS = (
    "source", "track", "malignancy", "label", "cutoff", "frames", "of", "first", "last", "best_frame",
    "lowest", "highest", "faint", "model",
)  # fmt: skip
PLACE_COLUMNS = ("source", "frame", "node", "track", "malignancy", "confidence", "area_px", "found")


@dataclass(frozen=True, kw_only=True)
class ClipResult:
    """One file that was followed.

    Parameters
    ----------
    source : str
    tracks : tuple of Track
    n_frames, failed : int
        Frames of the file, and those without a result.
    message : str
        Why it could not be followed at all; empty otherwise.
    """

    source: str
    tracks: tuple[Track, ...] = ()
    n_frames: int = 0
    failed: int = 0
    message: str = ""


def track_to_folder(
    paths: Iterable[str | Path],
    out: str | Path,
    *,
    model: str | Path | Network = "default",
    device: str = "auto",
    names: Naming = "path",
) -> Iterator[ClipResult]:
    """Follow the nodes of cines, and write ``clips.csv`` and ``clip_frames.csv`` whole at the end.

    Parameters
    ----------
    paths : iterable of str or Path
        Files, folders and glob patterns; stills are passed over.
    out : path
        Folder of the two tables, which may hold a segmentation's results.
    model, device
        As for :func:`napari_cln.segment_batch`.
    names : {"path", "hash"}
        As for :func:`napari_cln.segment_to_folder`.

    Yields
    ------
    ClipResult
        As each cine is done. Frames without a result are counted; the others go on.

    Raises
    ------
    FrameReadError, WeightsError, DeviceError
        If there is nothing to read, or the model or the device can't be had.
    ExportError
        If the tables can't be written.
    """
    from ..network.inference import Segmenter

    out = Path(out)
    segmenter = Segmenter(model, device)
    results: list[ClipResult] = []
    for source in sources_outside(out, paths, names):
        try:
            with open_source(source.path) as opened:
                if len(opened) < 2:
                    continue
                result = _follow(source.name, opened, segmenter)
        except ClnError as error:
            result = ClipResult(source=source.name, message=source.hide(str(error)))
        results.append(result)
        yield result
    _write(out / PLACES, PLACE_COLUMNS, _places(results))
    _write(out / CLIPS, CLIP_COLUMNS, _clips(results, segmenter.model.model_id))


def _follow(name: str, opened: FrameSource, segmenter: Segmenter) -> ClipResult:
    card, failed = segmenter.card, 0
    tracker = Tracker(temperature=card.clip_temperature or 1.0, cutoff=card.clip_cutoff)

    def frames() -> Iterator[Frame]:
        nonlocal failed
        for index in range(len(opened)):
            try:
                yield opened[index]
            except ClnError:
                failed += 1

    for outcome in segmenter.predict(frames()):
        if isinstance(outcome, PredictionError):
            failed += 1
        else:
            tracker.add(outcome)
    return ClipResult(source=name, tracks=tracker.tracks, n_frames=len(opened), failed=failed)


def _clips(results: Sequence[ClipResult], model: str) -> Iterator[tuple[object, ...]]:
    for result in results:
        for one in result.tracks:
            yield (
                *(result.source, one.id, f"{one.malignancy:.4f}", one.label, f"{one.cutoff:g}"),
                *(len(one.frames), result.n_frames, one.frames[0], one.frames[-1], one.best_frame),
                *(f"{min(one.scores):.4f}", f"{max(one.scores):.4f}", len(one.faint), model),
            )


def _places(results: Sequence[ClipResult]) -> Iterator[tuple[object, ...]]:
    for result in results:
        for one in result.tracks:
            drawn = {
                frame: (
                    *(result.source, frame, one.nodes[k], one.id),
                    *(f"{one.scores[k]:.4f}", f"{one.confidences[k]:.4f}", f"{one.areas[k]:.0f}", "drawn"),
                )
                for k, frame in enumerate(one.frames)
            }
            faint = {
                each.frame: (
                    *(result.source, each.frame, "", one.id, "", "", np.count_nonzero(each.mask)),
                    "carried" if each.carried else "faint",
                )
                for each in one.faint
            }
            yield from (row for _, row in sorted((faint | drawn).items()))


def _write(path: Path, columns: Sequence[str], rows: Iterable[tuple[object, ...]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([defused(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue().encode())
    except OSError as cause:
        raise ExportError(
            f"{path.name} can't be written ({cause.strerror}).", "Make room, or close it in other programs."
        ) from cause
