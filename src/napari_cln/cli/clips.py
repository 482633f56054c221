"""``napari-cln track``: nodes through cines."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from cyclopts import Parameter
from msgspec import Meta

from ..study.config import Device
from .batch import paths_of
from .options import Folder, command

__all__ = ["track_nodes"]


@command()
def track_nodes(
    path: Annotated[list[str], Parameter(converter=paths_of)],
    /,
    *,
    out: Folder,
    model: Annotated[str, Meta(title="MODEL")] = "default",
    device: Device = "auto",
    names: Literal["path", "hash"] = "path",
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
    """
    from ..workflow.track import track_to_folder

    n_clips = n_nodes = n_failed = 0
    for result in track_to_folder(path, out, model=model, device=device, names=names):
        n_clips += not result.message
        n_nodes += len(result.tracks)
        n_failed += bool(result.message)
        if result.message:
            print(f"failed: {result.source}: {result.message}", file=sys.stderr)
        elif result.failed:
            print(f"note: {result.source}: {result.failed} frames without a result.", file=sys.stderr)
    table = "clips.csv" if names == "hash" else out / "clips.csv"
    failed = f", {n_failed} files failed" if n_failed else ""
    print(f"{n_nodes} nodes in {n_clips} cines{failed}: {table}")
    return 1 if n_failed else 0
