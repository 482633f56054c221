"""Any file to frames: what it is, is decided by its first bytes and not by its ending.

>>> from napari_cln import open_source
>>> with open_source("cine.dcm") as cine:      # doctest: +SKIP
...     for frame in cine:                     # one frame in memory at a time
...         print(frame.index, frame.spacing_mm)
"""

from __future__ import annotations

import glob
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import FrameReadError, counted
from ..types import Frame
from .depth import Scale, colour_of, scale_of, to_uint8
from .frame_source import FrameSource
from .limits import reading
from .signatures import HEAD_BYTES, container_of, has_no_frames, kind_of_file, other_kind

__all__ = [
    "VIDEO_ENDINGS",
    "FrameSource",
    "Source",
    "as_frame",
    "find_sources",
    "is_dicom_image",
    "locate_sources",
    "open_source",
    "read_frame",
    "read_frames",
    "refers_to_images",
]

Source: TypeAlias = str | os.PathLike[str] | Frame | NDArray[Any]
"""What stands for a frame or several."""

READABLE = (
    "PNG, JPEG, BMP, TIFF, GIF, WebP, AVIF, JPEG 2000, JPEG XL, DICOM, NRRD and NIfTI of one slice, AVI, "
    "MP4, MOV, MKV, WebM, WMV and MPEG"
)
VIDEO_ENDINGS = frozenset(
    (".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".wmv", ".mpg", ".mpeg"),
)
ENDINGS = VIDEO_ENDINGS | frozenset(
    f".{ending}"
    for ending in (
        *("png", "apng", "jpg", "jpeg", "bmp", "tif", "tiff", "gif", "webp", "avif", "jp2", "j2k", "jxl"),
        *("dcm", "dicom", "nrrd", "nii", "heic", "heif"),
    )
)
"""Endings of what is opened; HEIC is not read, and says so."""
LOOKED_INTO = (".dcm", ".dicom", ".nrrd")
"""Endings that pictures share with what refers to pictures."""


def open_source(path: str | os.PathLike[str]) -> FrameSource:
    """Open an image, DICOM or video file for reading frame by frame.

    Parameters
    ----------
    path : path-like
        PNG, JPEG, BMP, TIFF, GIF, WebP, AVIF, JPEG 2000, JPEG XL, DICOM or a video; its ending
        plays no part.

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
    # Each kind imports its library when it is first met: a PNG needs neither pydicom nor FFmpeg.
    match kind_of_file(head):
        case "image":
            from .images import ImageSource

            with reading(file):
                return ImageSource(file)
        case "jpegxl":
            from .jpegxl import JpegXLSource

            with reading(file):
                return JpegXLSource(file)
        case "tiff":
            from .tiff import TiffSource

            with reading(file):
                return TiffSource(file)
        case "dicom":
            dicom = _import_dicom()
            with reading(file, "a whole DICOM file"):
                source: FrameSource = dicom.DicomSource(file)
                return source
        case "volume":
            from .volumes import VolumeSource

            with reading(file, "a whole volume"):
                return VolumeSource(file)
        case "video":
            from .video import VideoSource

            with reading(file, "a whole video"):
                return VideoSource(file, str(container_of(head)))
    if other := other_kind(head):
        name, remedy = other
        raise FrameReadError(f"{file.name} is {name}, which is not read here. {remedy}")
    raise FrameReadError(
        f"{file.name} is none of {READABLE}. "
        "Open it in an image viewer to check that it is whole, or export it again from the scanner."
    )


def _import_dicom() -> ModuleType:
    """Import the DICOM reader, past a GDCM that stops pydicom from being imported.

    pydicom imports GDCM where it is installed, and that fails with an AttributeError where a
    folder named ``dl`` is on the path. GDCM is never used here, so pydicom does without.
    """
    try:
        return importlib.import_module(".dicom.source", __package__)
    except AttributeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "pydicom"]:
            del sys.modules[name]  # what is left of the failed import
        sys.modules["gdcm"] = None  # type: ignore[assignment]  # Python's sign for "not there"
        try:
            return importlib.import_module(".dicom.source", __package__)
        finally:
            del sys.modules["gdcm"]


def read_frame(path: str | os.PathLike[str], index: int = 0) -> Frame:
    """Read one frame of a file.

    Parameters
    ----------
    path : path-like
    index : int
        Position in a cine or multi-page file.

    Returns
    -------
    Frame
        Pixels as stored, uint8 (H, W) or (H, W, 3), and spacing in millimetres where the file says it.

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
        if isinstance(item, Path) and not _is_known(item):
            open_source(item)  # raises, and says what is wrong
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


def as_frame(source: Source, index: int = 0, *, scale: Scale | None = None) -> Frame:
    """Make a frame of whatever stands for one.

    Parameters
    ----------
    source : path-like, Frame or ndarray
        An array is grey (H, W), colour (H, W, 3 or 4), or a stack of such frames with the
        stack's axis first. 8-bit values are kept; others are scaled as in
        :mod:`napari_cln.io.depth`.
    index : int
        Position in a file or stack with several frames; ignored for a `Frame`.
    scale : Scale, optional
        Values of an array that become black and white, where it is a part of a stack; by the array if None.

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
        raise FrameReadError(
            f"The array holds {counted(n_frames, 'frame')}. Give an index from 0 to {n_frames - 1}."
        )
    scale = scale or scale_of(source)
    pixels = colour_of(to_uint8(source[index] if is_stack else source, scale))
    return Frame(
        pixels=pixels,
        spacing_note="An array carries no millimetres.",
        index=index % n_frames,
        n_frames=n_frames,
        warnings=(scale.note,) if scale.note else (),
    )


def _stack_size(array: NDArray[Any]) -> int:
    """Count the frames that an array holds.

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
        other kinds of files, and DICOM files that refer to images (DICOMDIR, SEG, SR, PR, KO) are
        left out; a file that has an image's ending but not its content is kept, so that its
        failure is seen.

    Returns
    -------
    list of Path

    Raises
    ------
    FrameReadError
        If a folder or glob holds no file of these kinds.
    """
    return [Path(location) for location in dict.fromkeys(locate_sources(*patterns))]


def locate_sources(*patterns: str | os.PathLike[str]) -> Iterator[str]:
    """List as :func:`find_sources` does, one path after the other and not yet each once: the paths of a
    hundred thousand files are 100 MB as objects, and a tenth of that as strings."""
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            candidates = _files_below(path)
        elif not path.exists() and glob.has_magic(str(pattern)):
            candidates = _files_that_match(str(pattern))
        else:
            yield str(path)
            continue
        found = False
        for file in candidates:
            if _is_source(Path(file)):
                found = True
                yield file
        if not found:
            raise FrameReadError(
                f"{path.name or pattern} holds no image, DICOM or video. "
                f"Check the path; {READABLE} can be read."
            )


def _files_that_match(pattern: str) -> Iterator[str]:
    # Path.glob takes no pattern that starts at the root
    for match in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207
        file = Path(match)
        yield from [str(file)] if file.is_file() else _files_below(file)


def _files_below(folder: Path) -> Iterator[str]:
    for root, folders, names in os.walk(folder):  # does not follow links to folders
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (str(Path(root, name)) for name in sorted(names) if not name.startswith("."))


def _is_source(file: Path) -> bool:
    ending = file.suffix.lower()
    if ending in ENDINGS and ending not in LOOKED_INTO:
        return True
    try:
        head = _head(file)
    except OSError:
        return ending in ENDINGS
    return (ending in ENDINGS or kind_of_file(head) is not None) and not has_no_frames(head)


def refers_to_images(path: Path) -> bool:
    """Tell whether a file is an index of others, a segmentation of one, or a report on them."""
    try:
        head = _head(path)
    except OSError:
        return False
    return kind_of_file(head) in ("dicom", "volume") and has_no_frames(head)


def is_dicom_image(path: Path) -> bool:
    """Tell whether a file is DICOM and, as far as its first bytes show, holds a picture of its own."""
    try:
        head = _head(path)
    except OSError:
        return False
    return kind_of_file(head) == "dicom" and not has_no_frames(head)


def _is_known(file: Path) -> bool:
    try:
        return kind_of_file(_head(file)) is not None
    except OSError:
        return False


def _head(file: Path) -> bytes:
    if file.exists() and not file.is_file():  # a pipe would be waited for
        return b""
    with file.open("rb") as stream:
        return stream.read(HEAD_BYTES)
