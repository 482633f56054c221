"""``napari-cln segment | track | doctor``: results of many files, and what computes them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, Token
from msgspec import Meta

from ..errors import RunError, counted
from ..study.config import Device
from .options import Folder, Positive, command, existing_place

if TYPE_CHECKING:
    from ..batch import FrameResult

MOST_SHOWN = 3
"""Failures of one file that are told one by one; the others stand in the table."""


def paths_of(_: Any, tokens: Sequence[Token]) -> list[str]:
    """Files, folders and patterns that are given; what is no pattern must be there."""
    from glob import has_magic

    return [token.value if has_magic(token.value) else existing_place(token.value) for token in tokens]


@command()
def segment_files(
    path: Annotated[list[str], Parameter(converter=paths_of)],
    /,
    *,
    out: Folder,
    model: Annotated[str, Meta(title="MODEL")] = "default",
    device: Device = "auto",
    batch_size: Positive | None = None,
    masks: Literal["png", "rle"] = "png",
    overlays: bool = False,
    radiomics: bool = False,
    dicom: bool = False,
    scheduler: Annotated[str | None, Meta(title="ADDRESS")] = None,
    names: Literal["path", "hash"] = "path",
    redo: bool = False,
) -> int:
    """Segment every frame of files and folders: masks, scores and sizes.

    Files are called by their paths in the results. Where these hold names of patients, add --names hash.

    Parameters
    ----------
    path : str
        File, folder or quoted glob pattern; several may be given.
    out : path
        Folder for the results.
    model : str
        Name or .safetensors file; in-use is the one that was promoted last.
    device : str
        Device that computes; auto takes the fastest there is.
    batch_size : int
        Frames at a time; by default what the device holds.
    masks : str
        A picture for each frame, or all run-length coded in masks.jsonl.
    overlays : bool
        Also draw the outlines, to look at.
    radiomics : bool
        Also write radiomics.csv: a row a node, with features as IBSI defines them.
    dicom : bool
        Also write a segmentation (SEG) and a report (SR) of each DICOM file, for the archive that it came
        from; they carry its patient's name.
    scheduler : str
        Work on this Dask cluster, such as tcp://10.0.0.1:8786.
    names : str
        Names of files and folders may hold patients' names, and stand in all that is written; hash puts a
        salted key in their place.
    redo : bool
        Do again what an earlier run has done.
    """
    from tqdm import tqdm

    if dicom:
        _check_dicom(masks, names)
    tally = _Tally()
    layout = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=1.0, bar_format=layout, file=sys.stderr, disable=None) as bar:
        for result in _job(scheduler)(
            path,
            out,
            model=model,
            device=device,
            batch_size=batch_size,
            masks=masks,
            overlays=overlays,
            names=names,
            redo=redo,
        ):
            if sentence := tally.take(result):
                bar.write(sentence, file=sys.stderr)
            bar.set_postfix_str(
                f"{counted(tally.n_done, 'frame')}, {tally.n['failed']} failed", refresh=False
            )
            bar.update(result.progress - bar.n)
    if radiomics:
        _measure(path, out, names)
    print(f"{tally}: {'results.csv' if names == 'hash' else out / 'results.csv'}")
    n_refused = _archive(path, out, model) if dicom else 0
    return 1 if tally.n["failed"] or n_refused else 0


def _check_dicom(masks: str, names: str) -> None:
    if masks == "rle":
        raise RunError("--dicom is made from mask pictures, and --masks rle writes none. Leave out one.")
    if names == "hash":
        raise RunError(
            "--dicom writes the patient's name and identifiers, as the archive demands, and --names hash "
            "hides them. Leave out one."
        )


def _archive(paths: Sequence[str], out: Path, model: str) -> int:
    """Write segmentations and reports, and count the DICOM files of which there can be none."""
    from ..batch.dicom import archive_results
    from ..batch.names import ARCHIVE, sources_outside
    from ..models.library import read_card

    n_files = n_refused = n_others = 0
    for file in archive_results(
        out, sources_outside(out, paths, "path"), mask_threshold=read_card(model).mask_threshold
    ):
        n_files += len(file.written)
        n_others += not file.is_dicom
        if file.problem and file.is_dicom:
            n_refused += 1
            if n_refused <= MOST_SHOWN:
                print(f"not archived: {file.source}: {file.problem}", file=sys.stderr)
        elif file.n_left_out:
            print(
                f"note: {file.source}: {counted(file.n_left_out, 'frame')} without a result.", file=sys.stderr
            )
    if n_others:
        print(
            f"note: {counted(n_others, 'file is', 'files are')} no DICOM, so no SEG or report can refer to "
            "what is in it. Import it into a "
            "training folder: `napari-cln export FOLDER --format dicom` writes image, mask and report "
            "together.",
            file=sys.stderr,
        )
    refused = f", {counted(n_refused, 'file')} refused" if n_refused else ""
    print(f"{n_files} DICOM objects written{refused}: {out / ARCHIVE}")
    return n_refused


def _measure(path: Sequence[str], out: Path, names: Literal["path", "hash"]) -> None:
    """Write the radiomics of what was found, and tell of nodes that have none."""
    from ..workflow.radiomics import write_radiomics

    for source, frame, lost in write_radiomics(path, out, names):
        if lost:
            print(f"note: {source}, frame {frame}: {lost}", file=sys.stderr)


class _Tally:
    """Frames of a batch by their status, and the lines to tell meanwhile."""

    def __init__(self) -> None:
        self.n: Counter[str] = Counter()
        self._source = ""
        self._n_failed = 0

    @property
    def n_done(self) -> int:
        return self.n["ok"] + self.n["unlike-training-data"]

    def take(self, result: FrameResult) -> str:
        """Count a result, and return the line to show; empty for none.

        Of the failures of one file the first few are told.
        """
        self.n[result.status] += 1
        if result.status == "note":
            return f"note: {result.message}"
        if result.status != "failed":
            return ""
        self._n_failed = self._n_failed + 1 if result.source == self._source else 1
        self._source = result.source
        if self._n_failed > MOST_SHOWN and result.frame is not None:
            return ""
        more = ". More failures of this file stand in the table" * (self._n_failed == MOST_SHOWN)
        return f"failed: {result.source}: {result.message.removesuffix('.')}{more}."

    def __str__(self) -> str:
        parts = {
            "unlike-training-data": ", {} of them unlike the training data (see the status column)",
            "kept": f", {counted(self.n['kept'], 'file')} done before",
            "failed": ", {} failed (see the message column)",
        }
        said = "".join(text.format(self.n[status]) for status, text in parts.items() if self.n[status])
        return f"{counted(self.n_done, 'frame')} segmented{said}"


def _job(scheduler: str | None) -> Callable[..., Iterator[FrameResult]]:
    """The batch job here, or on a cluster."""
    if scheduler is None:
        from ..workflow.segment import segment_to_folder

        return segment_to_folder
    try:
        from ..cluster import segment_on_cluster
    except ImportError as cause:
        raise RunError("--scheduler needs the extra dask: pip install 'napari-cln[dask]'") from cause
    return partial(segment_on_cluster, scheduler=scheduler)


# ------------------------------------------------------------ cines


@command()
def track_nodes(
    path: Annotated[list[str], Parameter(converter=paths_of)],
    /,
    *,
    out: Folder,
    model: Annotated[str, Meta(title="MODEL")] = "default",
    device: Device = "auto",
    names: Literal["path", "hash"] = "path",
    perfusion: bool = False,
    dynamic_range: Annotated[float, Meta(gt=0, le=200, title="DB")] | None = None,
) -> int:
    """Follow the nodes of cines: one id and one score a clip, in clips.csv.

    Parameters
    ----------
    path : str
        File, folder or quoted glob pattern; several may be given. Stills are passed over.
    out : path
        Folder for clips.csv and clip_frames.csv.
    model : str
        Name or .safetensors file; in-use is the one that was promoted last.
    device : str
        Device that computes; auto takes the fastest there is.
    names : str
        Names of files and folders may hold patients' names; hash puts a salted key in their place.
    perfusion : bool
        Also measure how a contrast agent washes into each node, in perfusion.csv, with its curves.
    dynamic_range : float
        Decibels from black to white of the agent's view, as the machine says; without it the curves are of
        grey values.
    """
    from ..workflow.segment import track_to_folder

    n_clips = n_nodes = n_failed = n_stills = 0
    for result in track_to_folder(
        *(path, out),
        model=model,
        device=device,
        names=names,
        wash_in=perfusion,
        dynamic_range_db=dynamic_range,
    ):
        if result.n_frames == 1:
            n_stills += 1
            continue
        n_clips += not result.message
        n_nodes += len(result.tracks)
        n_failed += bool(result.message)
        if result.message:
            print(f"failed: {result.source}: {result.message}", file=sys.stderr)
        if result.note:
            print(f"note: {result.source}: {result.note}", file=sys.stderr)
        if result.failed:
            print(
                f"note: {result.source}: {counted(result.failed, 'frame')} without a result.", file=sys.stderr
            )
    table = "clips.csv" if names == "hash" else out / "clips.csv"
    failed = f", {counted(n_failed, 'file')} failed" if n_failed else ""
    stills = f", {counted(n_stills, 'still')} passed over" if n_stills else ""
    print(f"{counted(n_nodes, 'node')} in {counted(n_clips, 'cine')}{failed}{stills}: {table}")
    return 1 if n_failed else 0


@command()
def tell_health() -> int:
    """Tell what is installed, and which device will be used and why."""
    from ..doctor import examine

    for line in examine():
        print(line)
    return 0
