"""``masks.jsonl``: the masks of any number of frames in one file, a line of run-length code each.

A folder of a million small pictures takes hours to copy; a line takes about half a kilobyte. The
code is COCO's, as in :mod:`napari_cln.disk.rle`. Each line ends with a checksum of its own; one that
was cut or damaged is passed over, and of several lines of a frame the last counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeAlias, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..disk.atomic import replacing
from ..disk.rle import decode_rle, encode_rle
from ..errors import FrameReadError
from ..io.limits import MAX_FRAME_PIXELS
from .pictures import check_of_pixels
from .rows import FrameKey, checksum

LONGEST_LINE = 1 << 26
_Side: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]


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

    def read(self) -> tuple[dict[FrameKey, str], int]:
        """Return the checksum of each frame's mask, and how many lines are not whole."""
        checks: dict[FrameKey, str] = {}
        n_damaged = 0
        for _, line in _lines(self.path):
            if line is None or not line.check:
                n_damaged += 1
            else:
                checks[line.key] = line.mask_check
        return checks, n_damaged

    def _open(self) -> BinaryIO:
        file = self.path.open("a+b")
        _drop_cut_line(file)
        return file

    def add(self, key: FrameKey, instances: NDArray[np.uint8]) -> str:
        """Write a frame's mask, and return its checksum.

        Parameters
        ----------
        key : FrameKey
        instances : ndarray of uint8, shape (H, W)
            0 background; 1, 2, … the nodes.
        """
        nodes = [encode_rle(instances == node) for node in range(1, int(instances.max(initial=0)) + 1)]
        rows, columns = instances.shape
        line = _MaskLine(source=key.source, frame=key.frame, size=(rows, columns), nodes=nodes)
        check = check_of_pixels(instances)
        self._file.write(line.signed(check))
        self._file.flush()
        return check

    def keep(self, wanted: Callable[[FrameKey], bool]) -> None:
        """Remove the lines that are damaged, and those of frames that are not wanted."""
        self._file.close()
        try:
            with replacing(self.path) as new:
                for _, line in _lines(self.path):
                    if line is not None and wanted(line.key):
                        new.write(
                            (line.signed(line.mask_check) if line.check else line.text() + b"\n").decode()
                        )
        finally:
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
            for offset, line in _lines(self.path):
                if line is not None:
                    offsets[line.key] = offset
                    rows, columns = line.size
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
        offset = self._offsets[index]
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                line = _LINE.decode(file.readline(LONGEST_LINE))
            instances = np.zeros(line.size, dtype=np.uint8)
            for node, counts in enumerate(line.nodes, start=1):
                instances[decode_rle(counts, line.size)] = node
        except Exception as cause:  # run-length code can be wrong in more ways than there are names for
            raise FrameReadError(
                f"{self.path.name}: the mask of {self.keys[index].source} is damaged ({cause}). "
                "Segment that file again."
            ) from cause
        return instances


class _MaskLine(msgspec.Struct):
    """A line as it stands in the file; one that another program wrote may lack the checksum."""

    source: str
    frame: int
    size: tuple[_Side, _Side]
    nodes: Annotated[list[Any], msgspec.Meta(max_length=255)]
    check: str = ""

    @property
    def key(self) -> FrameKey:
        return FrameKey(self.source, self.frame)

    @property
    def mask_check(self) -> str:
        """Checksum of the mask; the part of ``check`` behind that of the line."""
        return self.check.partition("-")[2]

    def text(self) -> bytes:
        """The line without its checksum."""
        line = {name: getattr(self, name) for name in ("source", "frame", "size", "nodes")}
        return json.dumps(line, ensure_ascii=False).encode()

    def signed(self, mask_check: str) -> bytes:
        """The line with its own checksum and that of the mask, and its end."""
        return self.text()[:-1] + f', "check": "{self.check_with(mask_check)}"}}\n'.encode()

    def check_with(self, mask_check: str) -> str:
        """The checksums of the line and of the mask."""
        return f"{checksum(self.text() + mask_check.encode())}-{mask_check}"


_LINE = msgspec.json.Decoder(_MaskLine)


def _lines(path: Path) -> Iterator[tuple[int, _MaskLine | None]]:
    """Place and content of each line; None for one that is not whole."""
    offset = 0
    with path.open("rb") as file:
        while text := file.readline(LONGEST_LINE):
            yield offset, _read_line(text)
            offset += len(text)


def _read_line(text: bytes) -> _MaskLine | None:
    if not text.endswith(b"\n"):
        return None
    try:
        line = _LINE.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    too_large = line.size[0] * line.size[1] > MAX_FRAME_PIXELS
    damaged = bool(line.check) and line.check_with(line.mask_check) != line.check
    return None if too_large or damaged else line


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
