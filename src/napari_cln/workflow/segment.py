"""Many files → a folder of results: masks, scores and sizes, doing only what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..batch.job import FrameResult, forget_changed, notes_of, open_results, segment_sources
from ..batch.names import Naming, mark_of_naming, sources_outside

if TYPE_CHECKING:
    from ..network.model import Network

__all__ = ["segment_to_folder"]


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
