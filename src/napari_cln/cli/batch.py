"""``napari-cln segment``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RunError
from .arguments import DEVICES, Commands, positive

if TYPE_CHECKING:
    from ..batch import FrameResult

__all__ = ["add_commands"]

MOST_SHOWN = 3
"""Failures of one file that are told one by one; the others stand in the table."""


def add_commands(commands: Commands) -> None:
    """Add ``segment``."""
    segment = commands.add_parser(
        "segment",
        help="masks, scores and sizes of every frame in files and folders",
        epilog="Files are called by their paths in the results. Where these hold names of patients, add "
        "--names hash.",
    )
    segment.add_argument(
        "paths", nargs="+", type=_path, metavar="PATH", help="file, folder or quoted glob pattern"
    )
    segment.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    segment.add_argument(
        "--model", default="default", help="name or .safetensors file (default: %(default)s)"
    )
    segment.add_argument("--device", choices=DEVICES, default="auto")
    segment.add_argument(
        "--batch-size", type=positive, metavar="N", help="frames at a time (default: by device)"
    )
    segment.add_argument(
        "--masks",
        choices=("png", "rle"),
        default="png",
        help="a picture a frame, or all run-length coded in masks.jsonl (default: %(default)s)",
    )
    segment.add_argument("--overlays", action="store_true", help="also draw the outlines, to look at")
    segment.add_argument(
        "--scheduler", metavar="ADDRESS", help="work on this Dask cluster, such as tcp://10.0.0.1:8786"
    )
    segment.add_argument(
        "--names",
        choices=("path", "hash"),
        default="path",
        help="names of files and folders may hold patients' names, and stand in all that is written; hash "
        "puts a salted key in their place (default: %(default)s)",
    )
    segment.add_argument("--redo", action="store_true", help="do again what an earlier run has done")
    segment.set_defaults(run=_segment)


def _path(text: str) -> str:
    from glob import has_magic

    if not os.path.exists(text) and not has_magic(text):  # noqa: PTH110 - a Path raises where it is too long
        raise argparse.ArgumentTypeError(f"there is no file or folder {text}")
    return text


def _segment(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    n_done = n_unlike = n_kept = n_failed = 0
    shown = _Shown()
    layout = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=1.0, bar_format=layout, file=sys.stderr, disable=None) as bar:
        for result in _job(options)(
            options.paths,
            options.out,
            model=options.model,
            device=options.device,
            batch_size=options.batch_size,
            masks=options.masks,
            overlays=options.overlays,
            names=options.names,
            redo=options.redo,
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
    table = "results.csv" if options.names == "hash" else options.out / "results.csv"
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


def _job(options: argparse.Namespace) -> Callable[..., Iterator[FrameResult]]:
    """The batch job here, or on a cluster."""
    if options.scheduler is None:
        from ..batch import segment_to_folder

        return segment_to_folder
    try:
        from ..cluster import segment_on_cluster
    except ImportError as cause:
        raise RunError("--scheduler needs the extra dask: pip install 'napari-cln[dask]'") from cause
    return partial(segment_on_cluster, scheduler=options.scheduler)
