"""Bounds that hold before memory is taken, and one edge where every fault becomes a sentence.

The bounds are far above what a scanner writes and far below what stops a laptop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import FrameReadError

MAX_FRAME_PIXELS = 2**25
"""Pixels of one frame: an 8K screen. Reading and segmenting one in colour takes about 1 GB."""

MAX_FRAME_BYTES = 2**28
"""Bytes of one decoded frame before its samples become 8 bits: 256 MiB."""

MAX_CINE_PIXELS = 9 * 2**20
"""Pixels of one frame of several: a 4K screen. A batch holds some frames at a time."""

MAX_FRAMES = 2**20
"""Frames of one file: nearly ten hours at 30 frames a second."""

MAX_INFLATED_BYTES = 2**28
"""Bytes that a deflated DICOM may unpack to: 256 MiB."""


PLAUSIBLE_MM = (0.005, 1.5)
"""Millimetres per pixel between which a scale can be an ultrasound picture's."""


def is_plausible(spacing_mm: Sequence[float]) -> bool:
    """Tell whether all values lie within `PLAUSIBLE_MM`; NaN does not."""
    low, high = PLAUSIBLE_MM
    return all(low < value < high for value in spacing_mm)


def check_size(path: Path, rows: int, columns: int, pixel_bytes: float = 1) -> None:
    """Refuse a frame without pixels, with more than `MAX_FRAME_PIXELS` or than `MAX_FRAME_BYTES`.

    Parameters
    ----------
    path : Path
        Named in messages.
    rows, columns : int
    pixel_bytes : float
        Bytes that a decoded pixel takes: all samples, at their own depth.

    Raises
    ------
    FrameReadError
    """
    if rows < 1 or columns < 1:
        raise FrameReadError(
            f"{path.name} says it is {rows} rows by {columns} columns, so it holds no picture. "
            "Export it again from the scanner."
        )
    if rows * columns > MAX_FRAME_PIXELS:
        raise FrameReadError(
            f"{path.name} says it is {rows} rows by {columns} columns; frames of more than "
            f"{MAX_FRAME_PIXELS // 2**20} million pixels are refused. "
            "Crop it, or export it again from the scanner."
        )
    if rows * columns * pixel_bytes > MAX_FRAME_BYTES:
        raise FrameReadError(
            f"{path.name} says it is {rows} rows by {columns} columns of {pixel_bytes:g} bytes a pixel; "
            f"frames of more than {MAX_FRAME_BYTES // 2**20} MB are refused. Save it with 8 bits a sample."
        )


def check_frames(path: Path, n_frames: int, shape: tuple[int, int] = (0, 0)) -> None:
    """Refuse a file that says it has no frame, more than `MAX_FRAMES`, or several of very many pixels.

    Parameters
    ----------
    path : Path
        Named in messages.
    n_frames : int
    shape : (int, int)
        Rows and columns; several frames may have `MAX_CINE_PIXELS` each.

    Raises
    ------
    FrameReadError
    """
    if not 1 <= n_frames <= MAX_FRAMES:
        raise FrameReadError(
            f"{path.name} says it has {n_frames} frames; 1 to {MAX_FRAMES} can be read. "
            "Export it again from the scanner."
        )
    rows, columns = shape
    if n_frames > 1 and rows * columns > MAX_CINE_PIXELS:
        raise FrameReadError(
            f"{path.name} says it has {n_frames} frames of {rows} rows by {columns} columns; the frames of a "
            f"cine may have {MAX_CINE_PIXELS // 2**20} million pixels. "
            "Make them smaller, or save each as a file of its own."
        )


def missing_frames(announced: int, present: int) -> str:
    """Sentence for the user about a clip that is cut short."""
    verb = "is" if present == 1 else "are"
    return f"The file announces {announced} frames, but only {present} {verb} there and whole."


class Unreadable(ValueError):
    """A file's data can't be read for a reason that is told to the user: the end of a sentence."""


@contextmanager
def reading(path: Path, what: str = "a whole image") -> Iterator[None]:
    """Turn whatever a decoder raises into a :class:`FrameReadError` that names the file.

    `MemoryError` and `RecursionError` are among what a damaged file causes and are
    `Exception`; a user's Ctrl-C is not and passes.
    """
    try:
        yield
    except FrameReadError:
        raise
    except FileNotFoundError as cause:
        raise FrameReadError(
            f"{path.name} is not there. Check the path, or that its disk is connected."
        ) from cause
    except PermissionError as cause:
        raise FrameReadError(
            f"{path.name} may not be read by you. Change its permissions, or copy it."
        ) from cause
    except Exception as cause:
        reason = f": {cause}" if isinstance(cause, Unreadable) else ""
        raise FrameReadError(
            f"{path.name} is not {what} that can be read{reason}. "
            "Open it in an image viewer to check that it is whole, or export it again from the scanner."
        ) from cause
