"""Any file to frames: what it is, is decided by its first bytes and not by its ending.

>>> from napari_cln import open_source
>>> with open_source("cine.dcm") as cine:      # doctest: +SKIP
...     for frame in cine:                     # one frame in memory at a time
...         print(frame.index, frame.spacing_mm)
"""

from __future__ import annotations

import glob
import operator
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import FrameReadError
from ..types import Frame
from .depth import colour_of, scale_of, to_uint8
from .limits import reading

__all__ = ["FrameSource", "as_frame", "find_sources", "open_source", "read_frame", "read_frames"]

Kind: TypeAlias = Literal["image", "dicom", "video"]
Source: TypeAlias = "str | os.PathLike[str] | Frame | NDArray[Any]"

HEAD = 1024
DICOMDIR_UID = b"1.2.840.10008.1.3.10"
ENDINGS = frozenset(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".jfif",
        ".bmp",
        ".tif",
        ".tiff",
        ".gif",
        ".dcm",
        ".dicom",
        ".avi",
        ".mp4",
        ".m4v",
        ".mov",
        ".mkv",
        ".webm",
    ]
)


class FrameSource(ABC):
    """A file that is open for reading frame by frame.

    Frames are decoded when asked for, and a lock lets several threads ask. ``source[i]``
    is a :class:`~napari_cln.Frame`; iterating streams all of them.

    Attributes
    ----------
    path : Path
    n_frames : int
        Frames that can be asked for.
    shape : (int, int)
        Rows and columns, the same for every frame.
    is_rgb : bool
        Whether ``pixels`` is (H, W, 3) or (H, W), the same for every frame.
    warnings : tuple of str
        Sentences for the user that hold for the whole file.
    """

    n_frames: int
    shape: tuple[int, int]
    is_rgb: bool

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings: tuple[str, ...] = ()
        self._lock = threading.RLock()

    @abstractmethod
    def _read(self, index: int) -> Frame:
        """Decode frame `index`, which lies in ``range(n_frames)``."""

    def close(self) -> None:
        """Let go of the file. Frames that were read stay good."""

    def __len__(self) -> int:
        return self.n_frames

    def __getitem__(self, index: int) -> Frame:
        """Frame `index`; negative counts from the end.

        Raises
        ------
        FrameReadError
            If the frame is damaged.
        IndexError
            If there is no such frame.
        """
        number = operator.index(index)
        position = number + self.n_frames if number < 0 else number
        if not 0 <= position < self.n_frames:
            raise IndexError(
                f"{self.path.name} has {self.n_frames} frames; frame {number + 1} was asked for."
            )
        with (
            self._lock,
            reading(self.path, f"a file whose frame {position + 1} of {self.n_frames} is whole and"),
        ):
            return self._read(position)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(self.n_frames))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_source(path: str | os.PathLike[str]) -> FrameSource:
    """Open an image, DICOM or video file for reading frame by frame.

    Parameters
    ----------
    path : path-like
        PNG, JPEG, BMP, TIFF, GIF, DICOM, AVI, MP4, MOV or MKV; its ending plays no part.

    Returns
    -------
    FrameSource

    Raises
    ------
    FrameReadError
        If the file is missing, damaged, too large or of another kind. The message names
        the file and says what to do.
    """
    file = Path(path)
    with reading(file):
        if file.is_dir():
            raise FrameReadError(
                f"{file.name} is a folder. Give one of its files, or list them with find_sources."
            )
        head = _head(file)
        if not head:
            raise FrameReadError(f"{file.name} is empty (0 bytes). Copy or export it again from the scanner.")
        match _kind(head):
            case "image":
                from .images import open_image

                return open_image(file)
            case "dicom":
                from .dicom import DicomSource

                return DicomSource(file)
            case "video":
                from .video import VideoSource

                return VideoSource(file)
        raise FrameReadError(
            f"{file.name} is not a PNG, JPEG, BMP, TIFF, GIF, DICOM, AVI, MP4, MOV or MKV file. "
            "Open it in an image viewer to check that it is whole, or export it again from the scanner."
        )


def read_frame(path: str | os.PathLike[str], index: int = 0) -> Frame:
    """Read one frame of a file.

    Parameters
    ----------
    path : path-like
    index : int
        Position in a cine or multi-page file.

    Raises
    ------
    FrameReadError
        If the file can't be read or has no such frame.
    """
    with open_source(path) as source:
        try:
            return source[index]
        except IndexError as cause:
            raise FrameReadError(f"{cause} Give an index from 0 to {source.n_frames - 1}.") from cause


def read_frames(*sources: Source) -> Iterator[Frame]:
    """Stream every frame of every source, one in memory at a time.

    Parameters
    ----------
    *sources : path-like, Frame or ndarray
        Paths may be files, folders and globs (see `find_sources`). An array is a frame
        (H, W) or (H, W, 3 or 4), or a stack of them.

    Returns
    -------
    iterator of Frame

    Raises
    ------
    FrameReadError
        At the call where a path is missing or of no kind that can be read, so that a wrong
        path is known at once; while iterating where a frame is damaged.
    """
    items: list[Path | Frame | NDArray[Any]] = []
    for source in sources:
        if isinstance(source, Frame | np.ndarray):
            items.append(source)
        else:
            items.extend(find_sources(source))
    for item in items:
        if isinstance(item, Path) and (not item.is_file() or _sniff(item) is None):
            open_source(item)  # says what is wrong
    return _stream(items)


def _stream(items: list[Path | Frame | NDArray[Any]]) -> Iterator[Frame]:
    for item in items:
        if isinstance(item, Frame):
            yield item
        elif isinstance(item, Path):
            with open_source(item) as source:
                yield from source
        else:
            yield from (as_frame(item, index) for index in range(_stack_size(item)))


def as_frame(source: Source, index: int = 0) -> Frame:
    """Make a frame of whatever stands for one.

    Parameters
    ----------
    source : path-like, Frame or ndarray
        An array is grey (H, W), colour (H, W, 3 or 4), or a stack of such frames with the
        stack's axis first. 8-bit values are kept; others are scaled as in
        :mod:`napari_cln.io.depth`.
    index : int
        Position in a file or stack with several frames; ignored for a `Frame`.

    Raises
    ------
    FrameReadError
        If a file can't be read, or an array has no shape of a picture.
    """
    if isinstance(source, Frame):
        return source
    if not isinstance(source, np.ndarray):
        return read_frame(source, index)
    n_frames = _stack_size(source)
    is_stack = source.ndim == 4 or (source.ndim == 3 and source.shape[-1] not in (3, 4))
    if not -n_frames <= index < n_frames:
        raise FrameReadError(f"The array holds {n_frames} frames. Give an index from 0 to {n_frames - 1}.")
    scale = scale_of(source)
    pixels = colour_of(to_uint8(source[index] if is_stack else source, scale))
    return Frame(
        pixels=pixels,
        spacing_note="An array carries no millimetres.",
        index=index % n_frames,
        n_frames=n_frames,
        warnings=(scale.note,) if scale.note else (),
    )


def _stack_size(array: NDArray[Any]) -> int:
    """How many frames an array holds.

    Raises
    ------
    FrameReadError
        If it has no shape of a picture.
    """
    colour = array.ndim > 2 and array.shape[-1] in (3, 4)
    plane = array.ndim - colour
    if plane not in (2, 3) or 0 in array.shape or array.dtype.kind not in "buif":
        raise FrameReadError(
            f"An array of shape {array.shape} and dtype {array.dtype} is not a picture. "
            "Give numbers of shape (rows, columns) or (rows, columns, 3)."
        )
    return array.shape[0] if plane == 3 else 1


def find_sources(*patterns: str | os.PathLike[str]) -> list[Path]:
    """List the files that patterns stand for, each once, in the order asked for.

    Parameters
    ----------
    *patterns : path-like
        A file is taken as it is, so that a missing or damaged one is reported when it is
        opened. A folder gives every image, DICOM and video below it, sorted; a glob
        (``*``, ``?``, ``[…]``, ``**``) those that match. In folders and globs, hidden files,
        other kinds of files and DICOMDIR are left out; a file that has an image's ending
        but not its content is kept, so that its failure is seen.

    Raises
    ------
    FrameReadError
        If a folder or glob holds no file of these kinds.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            candidates = _files_below(path)
        elif not path.exists() and glob.has_magic(str(pattern)):
            matches = (Path(match) for match in sorted(glob.glob(str(pattern), recursive=True)))
            candidates = [
                file for match in matches for file in ([match] if match.is_file() else _files_below(match))
            ]
        else:
            found[path] = None
            continue
        files = [file for file in candidates if _is_source(file)]
        if not files:
            raise FrameReadError(
                f"{path.name or pattern} holds no image, DICOM or video. "
                "Check the path; PNG, JPEG, BMP, TIFF, GIF, DICOM, AVI, MP4, MOV and MKV can be read."
            )
        found.update(dict.fromkeys(files))
    return list(found)


def _files_below(folder: Path) -> list[Path]:
    files = []
    for root, folders, names in os.walk(folder):  # does not follow links to folders
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(root, name) for name in sorted(names) if not name.startswith(".")]
    return files


def _is_source(file: Path) -> bool:
    try:
        kind = _sniff(file)
    except OSError:
        return file.suffix.lower() in ENDINGS
    if kind == "dicom":
        return DICOMDIR_UID not in _head(file)
    return kind is not None or file.suffix.lower() in ENDINGS


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(HEAD)


def _sniff(file: Path) -> Kind | None:
    return _kind(_head(file))


def _kind(head: bytes) -> Kind | None:
    """What a file is, by its first bytes; None if it is nothing that can be read."""
    if head[128:132] == b"DICM" or _is_bare_dicom(head):
        return "dicom"
    if head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")):
        return "image"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "image"
    if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0":
        return "image"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "video"
    if head.startswith(b"\x1aE\xdf\xa3") or head[4:8] in (
        b"ftyp",
        b"moov",
        b"mdat",
        b"wide",
        b"free",
        b"skip",
    ):
        return "video"
    return None


def _is_bare_dicom(head: bytes) -> bool:
    """Whether a file starts with a DICOM element without the preamble that should precede it."""
    group, element = int.from_bytes(head[:2], "little"), int.from_bytes(head[2:4], "little")
    if (group, element) not in {(2, 0), (2, 1), (2, 2), (8, 0), (8, 1), (8, 5), (8, 8), (8, 0x16), (8, 0x18)}:
        return False
    return len(head) > 12 and (head[4:6] in (b"UL", b"OB", b"UI", b"CS") or head[6:8] == b"\0\0")
