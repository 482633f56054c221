"""Results of a segmentation → ``radiomics.csv`` beside them: a row a node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..batch.masks import MaskFile
from ..batch.names import Naming, picture_path, sources_outside
from ..batch.radiomics import read_measured, write_measured
from ..batch.rows import FrameKey
from ..errors import ClnError, InputError
from ..imaging.measurement import painted_ids
from ..imaging.radiomics import CODES, Radiomics, radiomics
from ..io.sources import open_source, read_frame
from ..types import Frame


def write_radiomics(
    paths: Iterable[str | Path], out: str | Path, names: Naming = "path"
) -> Iterator[tuple[str, int, str]]:
    """Measure the nodes that a segmentation found, and write the table whole at the end.

    Rows of other files that stand in the results stay.

    Parameters
    ----------
    paths : iterable of str or Path
        What was segmented.
    out : path
        The folder of results, with its masks.
    names : {"path", "hash"}
        As for :func:`napari_cln.segment_to_folder`.

    Yields
    ------
    (str, int, str)
        Source, frame, and why nodes of it have no row; empty where all have one.

    Raises
    ------
    RunError
        If rows of former runs can't be read.
    ExportError
        If the table can't be written.
    """
    out = Path(out)
    masks = _Masks(out)
    sources = sources_outside(out, paths, names)
    given = {source.name for source in sources}
    rows: list[Mapping[str, object]] = [row for row in read_measured(out) if row["source"] not in given]
    for source in sources:
        try:
            with open_source(source.path) as opened:
                for index in range(len(opened)):
                    instances = masks.of(FrameKey(source.name, index), len(opened))
                    if instances is None or not instances.any():
                        continue
                    found, lost = radiomics_rows(opened[index], instances)
                    rows += [{"source": source.name, "frame": index} | row for row in found]
                    yield source.name, index, lost
        except ClnError:
            continue  # the segmentation has told it
    write_measured(out, rows)


class _Masks:
    """Node ids of each frame of a folder of results."""

    def __init__(self, out: Path) -> None:
        self._out = out
        lines = out / "masks.jsonl"
        self._file = MaskFile(lines) if lines.exists() and lines.stat().st_size else None
        self._places = {key: k for k, key in enumerate(self._file.keys)} if self._file else {}

    def of(self, key: FrameKey, n_frames: int) -> NDArray[np.uint8] | None:
        if self._file is not None:
            return self._file[self._places[key]] if key in self._places else None
        path = self._out / "masks" / picture_path(key.source, key.frame, n_frames)
        return read_frame(path).grey if path.exists() else None


def radiomics_rows(frame: Frame, instances: NDArray[np.uint8]) -> tuple[list[dict[str, object]], str]:
    """Features of each node of a frame as cells of the table, and why nodes of it have none.

    Parameters
    ----------
    frame : Frame
    instances : ndarray of uint8, shape (H, W)
        Ids of the nodes.
    """
    rows: list[dict[str, object]] = []
    lost = ""
    for node in painted_ids(instances):
        try:
            rows.append({"node": node} | _row(radiomics(frame, instances == node)))
        except InputError as error:
            lost = str(error)
    return rows, lost


def _row(found: Radiomics) -> dict[str, object]:
    spacing = found.spacing_mm or ("", "")
    about: dict[str, object] = {
        "bins": found.bins,
        "grid_mm": "" if found.grid_mm is None else found.grid_mm,
        "row_mm": spacing[0],
        "column_mm": spacing[1],
        "left_out": found.left_out,
    }
    return about | {_heading(name): f"{value:.6g}" for name, value in found.features.items()}


def _heading(name: str) -> str:
    """A feature's name with the IBSI's code, where it has one."""
    return f"{name} [{CODES[name]}]" if name in CODES else name
