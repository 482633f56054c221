"""``masks.jsonl``: the masks of any number of frames in one file, a line of run-length code each.

A folder of a million small pictures takes hours to copy; a line takes about half a kilobyte. The
code is COCO's, as in :mod:`napari_cln.disk.rle`. A line that was cut by a crash is dropped, and
of several lines of a frame the last counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np
from numpy.typing import NDArray

from ..disk.rle import decode_rle, encode_rle
from ..errors import FrameReadError
from .record import replacing
from .rows import FrameKey

__all__ = ["MaskFile", "MaskLines"]


class MaskLines:
    """A file of masks, open for adding.

    Parameters
    ----------
    path : Path
        Made when it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = self._open()

    def _open(self) -> BinaryIO:
        file = self.path.open("a+b")
        _drop_cut_line(file)
        return file

    def node_counts(self) -> dict[FrameKey, int]:
        """Number of nodes of each frame that has a line."""
        return {key: len(line["nodes"]) for _, key, line in _lines(self.path)}

    def add(self, key: FrameKey, instances: NDArray[np.uint8]) -> None:
        """Write a frame's mask.

        Parameters
        ----------
        key : FrameKey
        instances : ndarray of uint8, shape (H, W)
            0 background; 1, 2, … the nodes.
        """
        nodes = [encode_rle(instances == node) for node in range(1, int(instances.max(initial=0)) + 1)]
        line = {"source": key.source, "frame": key.frame, "size": list(instances.shape), "nodes": nodes}
        self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._file.flush()

    def forget(self, sources: Set[str]) -> None:
        """Remove the lines of some sources."""
        self._file.close()
        with replacing(self.path) as new:
            for _, key, line in _lines(self.path):
                if key.source not in sources:
                    new.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file = self._open()

    def close(self) -> None:
        self._file.close()


class MaskFile(Sequence[NDArray[np.uint8]]):
    """The masks of a batch, read one by one from ``masks.jsonl``.

    Parameters
    ----------
    path : path-like
        What ``napari-cln segment --masks rle`` wrote.

    Attributes
    ----------
    keys : list of FrameKey
        Source and number of each frame, in the order of the results: sorted.

    Raises
    ------
    FrameReadError
        If the file can't be read or holds no mask.

    Examples
    --------
    >>> masks = MaskFile("results/masks.jsonl")  # doctest: +SKIP
    >>> masks.keys[0], masks[0].max()  # doctest: +SKIP
    (FrameKey(source='neck/a.dcm', frame=0), 2)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.shape = (0, 0)  # the largest height and width
        offsets: dict[FrameKey, int] = {}
        try:
            for offset, key, line in _lines(self.path):
                offsets[key] = offset
                rows, columns = line["size"]
                self.shape = (max(self.shape[0], rows), max(self.shape[1], columns))
        except OSError as cause:
            raise FrameReadError(f"{self.path.name} can't be read: {cause.strerror}.") from cause
        if not offsets:
            raise FrameReadError(
                f"{self.path.name} holds no masks. Give a masks.jsonl that "
                "napari-cln segment --masks rle wrote."
            )
        self.keys = sorted(offsets)
        self._offsets = [offsets[key] for key in self.keys]

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice) -> list[NDArray[np.uint8]]: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
        """Node ids (H, W) of a frame, in its source's own size."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        with self.path.open("rb") as file:
            file.seek(self._offsets[index])
            line = json.loads(file.readline())
        rows, columns = line["size"]
        instances = np.zeros((rows, columns), dtype=np.uint8)
        for node, counts in enumerate(line["nodes"], start=1):
            try:
                instances[decode_rle(counts, (rows, columns))] = node
            except ValueError as cause:
                raise FrameReadError(
                    f"{self.path.name}: the mask of {self.keys[index].source} is damaged: {cause}. "
                    "Segment that file again."
                ) from cause
        return instances


def _lines(path: Path) -> Iterator[tuple[int, FrameKey, dict[str, Any]]]:
    """Each whole line with where it begins and which frame it is of."""
    offset = 0
    with path.open("rb") as file:
        for text in file:
            try:
                line = json.loads(text) if text.endswith(b"\n") else {}
                key = FrameKey(line["source"], int(line["frame"]))
                rows, columns = line["size"]
                whole = rows > 0 < columns and isinstance(line["nodes"], list)
            except (ValueError, KeyError, TypeError):
                whole = False
            if whole:
                yield offset, key, line
            offset += len(text)


def _drop_cut_line(file: BinaryIO) -> None:
    """Shorten a file that was cut in the middle of a line to its last whole one."""
    end = file.seek(0, os.SEEK_END)
    position = end
    while position > 0:
        start = max(position - 65536, 0)
        file.seek(start)
        found = file.read(position - start).rfind(b"\n")
        if found >= 0:
            position = start + found + 1
            break
        position = start
    if position < end:
        file.truncate(position)
