"""PNG files of a training folder: grey, without metadata, bounded in size."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import DatasetError
from ..imaging.preprocessing import find_overlay, find_scan_area, paint_over
from ..types import Box, Frame
from .storage import MAX_PNG_BYTES, read_bytes

__all__ = ["MAX_PIXELS", "clean", "decode_png", "encode_png", "find_crop", "read_png"]

MAX_PIXELS = 2**26


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """A grey PNG of pixels (H, W) and nothing else: no text, no time, no resolution."""
    buffer = io.BytesIO()
    # Level 1: a mask is small whatever the level, and a reader waits after every stroke.
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def decode_png(data: bytes, name: str) -> NDArray[np.uint8]:
    """Pixels (H, W) of a grey 8-bit PNG.

    Raises
    ------
    DatasetError
        If it is no whole grey 8-bit PNG, or too large.
    """
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            if image.mode not in ("L", "P", "1") or image.width * image.height > MAX_PIXELS:
                raise DatasetError(
                    f"{name} is a {image.width}×{image.height} PNG of mode {image.mode}, not an 8-bit "
                    "grey one. "
                    "Import it with `napari-cln import` instead of copying it into the folder."
                )
            return np.array(image, dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as cause:
        raise DatasetError(
            f"{name} is not a whole PNG. Run `napari-cln check` on the training folder to repair it."
        ) from cause


def read_png(path: Path) -> NDArray[np.uint8]:
    """Pixels (H, W) of a PNG in the folder; links are not followed.

    Raises
    ------
    DatasetError
        If it is missing or no readable grey PNG.
    """
    try:
        data = read_bytes(path, MAX_PNG_BYTES)
    except OSError as cause:
        raise DatasetError(
            f"{path.name} can't be read ({cause.strerror}). Run `napari-cln check` on the training folder."
        ) from cause
    return decode_png(data, path.name)


def find_crop(frame: Frame, mask: NDArray[np.bool_]) -> Box:
    """The part of a frame to keep: its scan area, and whatever of the mask lies outside."""
    row0, column0, row1, column1 = frame.scan_area or find_scan_area(frame)
    rows, columns = np.nonzero(mask)
    if rows.size:
        row0, row1 = min(row0, int(rows.min())), max(row1, int(rows.max()) + 1)
        column0, column1 = min(column0, int(columns.min())), max(column1, int(columns.max()) + 1)
    return row0, column0, row1, column1


def clean(frame: Frame, box: Box, overlay: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """Grey pixels of a box of the frame, burned-in marks painted over.

    Parameters
    ----------
    frame : Frame
    box : Box
    overlay : ndarray of bool, shape (H, W), optional
        The marks, where they are known; found by :func:`napari_cln.find_overlay` otherwise.
    """
    if overlay is None:
        overlay = find_overlay(frame, box)
    row0, column0, row1, column1 = box
    inside = (slice(row0, row1), slice(column0, column1))
    return paint_over(frame.grey[inside], overlay[inside])
