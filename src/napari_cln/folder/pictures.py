"""PNG files of a training folder: grey, without metadata, bounded in size."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..disk.atomic import MAX_PNG_BYTES, read_bytes
from ..errors import DatasetError
from ..imaging.preprocessing import find_overlay, find_scan_area, paint_over
from ..types import Box, Frame

__all__ = ["MAX_PIXELS", "cut_out", "decode_png", "encode_png", "read_png"]

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


def cut_out(
    frame: Frame, mask: NDArray[np.bool_], overlay: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.uint8], Box]:
    """What a folder keeps of a frame: the scan area, and the box of a mask that leaves it.

    Burned-in marks are painted over, and what lies in neither of the two is black: names and dates
    stand beside the scan area.

    Parameters
    ----------
    frame : Frame
    mask : ndarray of bool, shape (H, W)
    overlay : ndarray of bool, shape (H, W), optional
        The marks, where they are known; found by :func:`napari_cln.find_overlay` otherwise.

    Returns
    -------
    image : ndarray of uint8, shape (h, w)
    box : (int, int, int, int)
        Where it lies in the frame.
    """
    area = frame.scan_area or find_scan_area(frame)
    kept = np.zeros(frame.shape, dtype=bool)
    kept[area[0] : area[2], area[1] : area[3]] = True
    rows, columns = np.nonzero(mask)
    if rows.size:
        kept[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    rows, columns = np.nonzero(kept)
    box = int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1
    inside = (slice(box[0], box[2]), slice(box[1], box[3]))
    if overlay is None:
        overlay = find_overlay(frame, box)
    image = paint_over(frame.grey[inside], overlay[inside])
    image[~kept[inside]] = 0
    return image, box
