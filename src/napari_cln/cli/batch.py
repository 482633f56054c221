"""``napari-cln segment``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, Token
from msgspec import Meta

from ..errors import RunError
from ..study.config import Device
from .options import Folder, Positive, command, is_there

if TYPE_CHECKING:
    from ..batch import FrameResult

__all__ = ["segment"]

MOST_SHOWN = 3
"""Failures of one file that are told one by one; the others stand in the table."""


def _paths(_: Any, tokens: Sequence[Token]) -> list[str]:
    from glob import has_magic

    return [token.value if has_magic(token.value) else is_there(token.value) for token in tokens]


@command()
def segment(
    path: Annotated[list[str], Parameter(converter=_paths)],
    /,
    *,
    out: Folder,
    model: Annotated[str, Meta(title="MODEL")] = "default",
    device: Device = "auto",
    batch_size: Positive | None = None,
    masks: Literal["png", "rle"] = "png",
    overlays: bool = False,
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
    scheduler : str
        Work on this Dask cluster, such as tcp://10.0.0.1:8786.
    names : str
        Names of files and folders may hold patients' names, and stand in all that is written; hash puts a
        salted key in their place.
    redo : bool
        Do again what an earlier run has done.
    """
    from tqdm import tqdm

    n_done = n_unlike = n_kept = n_failed = 0
    shown = _Shown()
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
            n_done += result.status in ("ok", "unlike-training-data")
            n_unlike += result.status == "unlike-training-data"
            n_kept += result.status == "kept"
            n_failed += result.status == "failed"
            if sentence := shown.of(result):
                bar.write(sentence, file=sys.stderr)
            bar.set_postfix_str(f"{n_done} frames, {n_failed} failed", refresh=False)
            bar.update(result.progress - bar.n)
    kept = f", {n_kept} files done before" if n_kept else ""
    unlike = f", {n_unlike} of them unlike the training data (see the status column)" if n_unlike else ""
    failed = f", {n_failed} failed (see the message column)" if n_failed else ""
    table = "results.csv" if names == "hash" else out / "results.csv"
    print(f"{n_done} frames segmented{unlike}{kept}{failed}: {table}")
    return 1 if n_failed else 0


class _Shown:
    """The lines to tell while a batch runs: notes, and the first failures of each file."""

    def __init__(self) -> None:
        self._source = ""
        self._n_failed = 0

    def of(self, result: FrameResult) -> str:
        """The line to show; empty for none."""
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
