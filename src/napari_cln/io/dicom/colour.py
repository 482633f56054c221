"""Decoded DICOM samples to 8-bit grey or RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import convert_color_space

from ..depth import in_strips
from . import numbers_of

GREEN_FRACTION = 0.3
GREEN_EXCESS = 64
GREY_DIFFERENCE = 32


def as_stated(values: NDArray[Any], bits: int, is_signed: bool) -> NDArray[Any]:
    """Read samples of `bits` bits as signed or not, as the header says, whatever the decoder gave."""
    if (values.dtype.kind == "i") == is_signed:
        return values
    size = values.dtype.itemsize
    whole: NDArray[Any] = values.view(f"u{size}") & np.array((1 << bits) - 1, dtype=f"u{size}")
    if is_signed:
        shift = 8 * size - bits
        whole = (whole << np.array(shift, dtype=f"u{size}")).view(f"i{size}") >> np.array(shift, f"i{size}")
    return whole


def has_window(header: Dataset) -> bool:
    """Tell whether the file says which values to show."""
    return bool(numbers_of(header, "WindowWidth") and numbers_of(header, "WindowCenter"))


def grey_to_uint8(values: NDArray[Any], header: Dataset, stored: int) -> NDArray[np.uint8]:
    """Grey samples to 8 bits.

    Up to 8 stored bits are scaled to 8 and otherwise kept: a window, which scanners also
    write there, is for looking at. More bits go through the file's first window, where it
    has one (as CT and MR do), and else keep their high byte.

    Parameters
    ----------
    values : ndarray of int, shape (H, W)
    header : Dataset
    stored : int
        Bits of a sample.
    """
    signed = values.dtype.kind == "i"
    offset = 2 ** (stored - 1) if signed else 0

    def few(part: NDArray[Any]) -> Any:
        grey = part.astype(np.float32) + offset
        return np.rint(grey * (255 / (2**stored - 1))) if stored < 8 else grey

    def many(part: NDArray[Any]) -> Any:
        return (part.astype(np.int64) + offset) >> (stored - 8)

    if stored <= 8:
        return in_strips(values, few)
    if not has_window(header):
        return in_strips(values, many)
    width, centre = numbers_of(header, "WindowWidth")[0], numbers_of(header, "WindowCenter")[0]
    slope = (numbers_of(header, "RescaleSlope") or (1,))[0]
    intercept = (numbers_of(header, "RescaleIntercept") or (0,))[0]

    def windowed(part: NDArray[Any]) -> Any:
        grey = part.astype(np.float32) * slope + intercept
        # PS3.3 C.11.2.1.2.1, the linear function
        return np.rint(255 * ((grey - (centre - 0.5)) / max(width - 1, 1) + 0.5))

    return in_strips(values, windowed)


def rgb_to_uint8(values: NDArray[Any], stored: int) -> NDArray[np.uint8]:
    """Colour samples to their 8 high bits."""
    return values if values.dtype == np.uint8 else in_strips(values, lambda part: part >> max(stored - 8, 0))


def rgb_of_ycbcr(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma and chroma (H, W, 3) as red, green and blue (PS3.3 C.7.6.3.1.2, YBR_FULL)."""
    return in_strips(pixels, lambda part: convert_color_space(part, "YBR_FULL", "RGB"))


def is_green(pixels: NDArray[np.uint8]) -> bool:
    """Tell whether more than 30 % of an RGB picture is strongly green or teal.

    Luma and chroma shown as red, green and blue turn black to teal; red, green and blue taken
    for luma and chroma turn it to green. No ultrasound picture has those colours.
    """
    red, green, blue = (pixels[..., channel].astype(np.int16) for channel in range(3))
    strongly = (green - red > GREEN_EXCESS) & (green >= blue - GREEN_EXCESS // 4)
    return float(strongly.mean()) > GREEN_FRACTION


def is_mostly_grey(pixels: NDArray[np.uint8]) -> bool:
    """Tell whether more than half of an RGB picture is nearly grey, as ultrasound is."""
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    return float((spread < GREY_DIFFERENCE).mean()) > 0.5
