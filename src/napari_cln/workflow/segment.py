"""Many files → a folder of results.

Frames give masks, scores and sizes, of which only those missing are made. Cines give ``clips.csv``: a row a
node, with one score for the clip, and where it is in each frame.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..batch.job import FrameResult, forget_changed, notes_of, open_results, segment_sources
from ..batch.names import NamedSource, Naming, mark_of_naming, sources_outside
from ..disk.atomic import remove_result, write_result
from ..disk.tables import write_table
from ..errors import ClnError, PredictionError, RunError
from ..imaging.perfusion import TimeIntensity, perfusion_of_each
from ..imaging.tracking import Track, Tracker
from ..io.sources import open_source
from ..types import Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
        goes on. Where the results of an earlier run were damaged, or are of files that have become others, a
        ``"note"`` comes first.

    Raises
    ------
    RunError
        If ``out`` holds results of another model or version, or under other names, another run is writing
        there, or it is what is to be segmented.
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
        forget_changed(sources, results)
        yield from notes_of(results)
        yield from segment_sources(sources, segmenter, results)
        results.sort()


# ------------------------------------------------------------ cines

CLIPS, PLACES = "clips.csv", "clip_frames.csv"
CLIP_COLUMNS = (
    "source", "track", "malignancy", "label", "cutoff", "frames", "of", "first", "last", "best_frame",
    "lowest", "highest", "faint", "model",
)  # fmt: skip
WASH_IN, CURVES, CURVES_DRAWN = "perfusion.csv", "perfusion_curves.csv", "perfusion.png"
WASH_IN_COLUMNS = (
    "source", "track", "arrival_s", "time_to_peak_s", "rise_s", "wash_out_s", "mean_transit_s", "baseline",
    "peak", "ratio", "fit", "intensity",
)  # fmt: skip
CURVE_COLUMNS = ("source", "track", "frame", "seconds", "node", "around")
MOST_DRAWN = 24
"""Nodes whose curves are drawn; all are in the table."""
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
    curves : tuple of (int, TimeIntensity)
        Id of a track, and how a contrast agent washes into it, where that was asked for.
    note : str
        Why there are no curves, where they were asked for and can't be had; empty otherwise.
    """

    source: str
    tracks: tuple[Track, ...] = ()
    n_frames: int = 0
    failed: int = 0
    message: str = ""
    curves: tuple[tuple[int, TimeIntensity], ...] = ()
    note: str = ""


def track_to_folder(
    paths: Iterable[str | Path],
    out: str | Path,
    *,
    model: str | Path | Network = "default",
    device: str = "auto",
    names: Naming = "path",
    wash_in: bool = False,
    dynamic_range_db: float | None = None,
) -> Iterator[ClipResult]:
    """Follow the nodes of cines, and write ``clips.csv`` and ``clip_frames.csv`` whole at the end.

    Parameters
    ----------
    paths : iterable of str or Path
        Files, folders and glob patterns; of a still no more is told than that it is one.
    out : path
        Folder of the two tables, which may hold a segmentation's results.
    model, device
        As for :func:`napari_cln.segment_batch`.
    names : {"path", "hash"}
        As for :func:`napari_cln.segment_to_folder`.
    wash_in : bool
        Also measure how a contrast agent washes into each node, in ``perfusion.csv``,
        ``perfusion_curves.csv`` and ``perfusion.png``; those of a former run are removed in any case.
    dynamic_range_db : float, optional
        As for :func:`napari_cln.perfusion`.

    Yields
    ------
    ClipResult
        As each cine is done. Frames without a result are counted; the others go on. A cine that has no curves
        keeps its tracks, with a note.

    Raises
    ------
    RunError
        If ``out`` is what is to be read, or a dynamic range is given without ``wash_in``.
    FrameReadError, WeightsError, DeviceError
        If there is nothing to read, or the model or the device can't be had.
    ExportError
        If the tables can't be written.
    """
    from ..network.inference import Segmenter

    if dynamic_range_db is not None and not wash_in:
        raise RunError(
            f"A dynamic range ({dynamic_range_db:g} dB) is of contrast curves, and none are asked for. Add "
            "--perfusion, or leave out --dynamic-range."
        )
    out = Path(out)
    segmenter = Segmenter(model, device)
    results: list[ClipResult] = []
    for source in sources_outside(out, paths, names):
        try:
            with open_source(source.path) as opened:
                if len(opened) < 2:
                    yield ClipResult(source=source.name, n_frames=1)
                    continue
                result = _follow(source.name, opened, segmenter)
                if wash_in:
                    result = _with_curves(result, source, opened, segmenter, dynamic_range_db)
        except (ClnError, ValueError) as error:
            result = ClipResult(source=source.name, message=source.hide(str(error)))
        results.append(result)
        yield result
    with suppress(OSError):  # the first table says what is wrong
        out.mkdir(parents=True, exist_ok=True)
    write_table(out / PLACES, PLACE_COLUMNS, _places(results))
    write_table(out / CLIPS, CLIP_COLUMNS, _clips(results, segmenter.model.model_id))
    for name in (CURVES, WASH_IN, CURVES_DRAWN):
        remove_result(out / name)  # of other clips
    if wash_in:
        write_table(out / CURVES, CURVE_COLUMNS, _points(results))
        write_table(out / WASH_IN, WASH_IN_COLUMNS, _wash_ins(results))
        if picture := _drawn(results):
            write_result(out / CURVES_DRAWN, picture)


def _with_curves(
    result: ClipResult,
    source: NamedSource,
    opened: FrameSource,
    segmenter: Segmenter,
    dynamic_range_db: float | None,
) -> ClipResult:
    """Add the curves of the nodes; what was followed stays where there can be none."""
    try:
        return replace(result, curves=tuple(_curves(result.tracks, opened, segmenter, dynamic_range_db)))
    except (ClnError, ValueError) as error:
        return replace(result, note=f"Its nodes have no contrast curve. {source.hide(str(error))}")


def _curves(
    tracks: Iterable[Track], opened: FrameSource, segmenter: Segmenter, dynamic_range_db: float | None
) -> Iterable[tuple[int, TimeIntensity]]:
    """Curve of each node, under its mask in its best frame."""
    ids, nodes = [], []
    for one in tracks:
        at = one.best_frame
        node = dict(zip(one.frames, one.nodes, strict=True))[at]
        (found,) = segmenter.predict([opened[at]])
        if node and isinstance(found, Prediction) and (mask := found.instances == node).any():
            ids.append(one.id)
            nodes.append((at, mask))
    return zip(ids, perfusion_of_each(opened, nodes, dynamic_range_db=dynamic_range_db), strict=True)


def _wash_ins(results: Sequence[ClipResult]) -> Iterator[tuple[object, ...]]:
    for result in results:
        for track, curve in result.curves:
            yield result.source, track, *wash_in_cells(curve)


def wash_in_cells(curve: TimeIntensity) -> tuple[object, ...]:
    """Figures of a curve, in the order of ``WASH_IN_COLUMNS`` after its source and number.

    Parameters
    ----------
    curve : TimeIntensity
    """
    w = curve.wash_in
    times = () if w is None else (w.arrival_s, w.time_to_peak_s, w.rise_s, w.wash_out_s, w.mean_transit_s)
    levels = () if w is None else (w.baseline, w.peak)
    known = curve.dynamic_range_db
    return (
        *([f"{value:.3f}" for value in times] or [""] * 5),
        *([f"{value:.5f}" for value in levels] or [""] * 2),
        "" if curve.ratio is None else f"{curve.ratio:.3f}",
        "" if w is None else f"{w.fit:.3f}",
        "relative: grey values" if known is None else f"linear, of {known:g} dB",
    )


def _points(results: Sequence[ClipResult]) -> Iterator[tuple[object, ...]]:
    for result in results:
        for track, curve in result.curves:
            yield from ((result.source, track, *cells) for cells in curve_cells(curve))


def curve_cells(curve: TimeIntensity) -> Iterator[tuple[object, ...]]:
    """Points of a curve, in the order of ``CURVE_COLUMNS`` after its source and number.

    Parameters
    ----------
    curve : TimeIntensity
    """
    points = zip(curve.seconds, curve.node, curve.around, strict=True)
    for frame, (second, node, around) in enumerate(points):
        yield frame, f"{second:.3f}", f"{node:.5f}", f"{around:.5f}"


def _drawn(results: Sequence[ClipResult]) -> bytes:
    """The curves of the first nodes as a picture; nothing where there is none."""
    from matplotlib.figure import Figure

    shown = [(result.source, *curve) for result in results for curve in result.curves][:MOST_DRAWN]
    if not shown:
        return b""
    figure = Figure(figsize=(7, 2.2 * len(shown)), layout="constrained")
    for axes, (source, track, curve) in zip(
        figure.subplots(len(shown), squeeze=False)[:, 0], shown, strict=True
    ):
        draw_curve(axes, curve)
        axes.set_title(f"{source} · node {track}", fontsize=8, loc="left")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def draw_curve(axes: Axes, curve: TimeIntensity) -> None:
    """Draw a curve of a node, that of the tissue around, and what was fitted.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    curve : TimeIntensity
    """
    axes.plot(curve.seconds, curve.node, linewidth=1.2, label="node")
    axes.plot(curve.seconds, curve.around, linewidth=1, label="around", linestyle="--")
    if curve.wash_in is not None:
        at = curve.wash_in.arrival_s + curve.wash_in.time_to_peak_s
        axes.axvline(at, linewidth=0.8, linestyle=":", label=f"peak at {at:.1f} s")
    unit = "grey value" if curve.dynamic_range_db is None else "intensity"
    axes.set_xlabel("seconds", fontsize=8)
    axes.set_ylabel(unit, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=7, frameon=False)


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
