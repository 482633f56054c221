"""Cines → ``clips.csv``: a row a node, with one score for the clip, and where it is in each frame."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..batch.names import Naming, sources_outside
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

CLIPS, PLACES = "clips.csv", "clip_frames.csv"
CLIP_COLUMNS = (
    "source", "track", "malignancy", "label", "cutoff", "frames", "of", "first", "last", "best_frame",
    "lowest", "highest", "model",
)  # fmt: skip
PLACE_COLUMNS = ("source", "frame", "node", "track", "malignancy", "confidence", "area_px")


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
    tracker, failed = Tracker(), 0

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
                *(f"{min(one.scores):.4f}", f"{max(one.scores):.4f}", model),
            )


def _places(results: Sequence[ClipResult]) -> Iterator[tuple[object, ...]]:
    for result in results:
        for one in result.tracks:
            for k, frame in enumerate(one.frames):
                yield (
                    *(result.source, frame, one.nodes[k], one.id),
                    *(f"{one.scores[k]:.4f}", f"{one.confidences[k]:.4f}", f"{one.areas[k]:.0f}"),
                )


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
