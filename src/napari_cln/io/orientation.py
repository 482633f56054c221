"""Pictures that are stored turned: what EXIF and TIFF call orientation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ORIENTATION_TAG", "orientation_of", "orientation_remarks", "swaps_axes", "upright"]

ORIENTATION_TAG = 0x0112


def orientation_of(value: object) -> int:
    """Orientation from 1 to 8 that a tag gives; 1, upright, for any other value."""
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def swaps_axes(orientation: int) -> bool:
    """Whether rows become columns when the picture is put upright."""
    return orientation in (5, 6, 7, 8)


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn an array (H, W, …) as an orientation from 1 to 8 says; other values change nothing."""
    if swaps_axes(orientation):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def orientation_remarks(orientation: int) -> tuple[str, ...]:
    """Sentence for the user about a file that is stored turned or mirrored."""
    if orientation not in range(2, 9):
        return ()
    return (f"The file is stored turned or mirrored (EXIF orientation {orientation}) and is read upright.",)
