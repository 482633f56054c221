"""Decoded DICOM samples to 8-bit grey or RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from .elements import numbers_of

__all__ = ["grey_to_uint8", "is_green", "palette_of", "rgb_to_uint8"]

GREEN_FRACTION = 0.3
GREEN_EXCESS = 64


def palette_of(header: Dataset) -> NDArray[np.uint8]:
    """The colours of a PALETTE COLOR picture.

    Returns
    -------
    ndarray of uint8, shape (entries, 3)
        The high byte of 16-bit entries. Some scanners fill those with 8-bit values; a table
        with no value above 255 is taken as such.
    """
    entries, first, _ = (int(value) for value in header.RedPaletteColorLookupTableDescriptor)
    colours = apply_color_lut(np.arange(first, first + (entries or 2**16)), header)
    return (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)


def grey_to_uint8(values: NDArray[Any], header: Dataset) -> NDArray[np.uint8]:
    """Grey samples to 8 bits.

    Up to 8 stored bits are scaled to 8 and otherwise kept: a window, which scanners also
    write there, is for looking at. More bits go through the file's first window, where it
    has one (as CT and MR do), and else keep their high byte.
    """
    stored = int(header.get("BitsStored") or header.BitsAllocated)
    signed = bool(header.get("PixelRepresentation"))
    if stored <= 8:
        grey = values.astype(np.float32) + (2 ** (stored - 1) if signed else 0)
        pixels = np.rint(grey * (255 / (2**stored - 1))) if stored < 8 else grey
    elif (width := numbers_of(header, "WindowWidth")) and (centre := numbers_of(header, "WindowCenter")):
        slope, intercept = numbers_of(header, "RescaleSlope"), numbers_of(header, "RescaleIntercept")
        grey = values.astype(np.float32) * (slope or (1,))[0] + (intercept or (0,))[0]
        # PS3.3 C.11.2.1.2.1, the linear function
        pixels = np.rint(255 * ((grey - (centre[0] - 0.5)) / max(width[0] - 1, 1) + 0.5))
    else:
        pixels = (values.astype(np.int64) + (2 ** (stored - 1) if signed else 0)) >> (stored - 8)
    result: NDArray[np.uint8] = np.clip(pixels, 0, 255).astype(np.uint8)
    return result


def rgb_to_uint8(values: NDArray[Any], header: Dataset) -> NDArray[np.uint8]:
    """Colour samples to their 8 high bits."""
    stored = int(header.get("BitsStored") or header.BitsAllocated)
    return values if values.dtype == np.uint8 else (values >> max(stored - 8, 0)).astype(np.uint8)


def is_green(pixels: NDArray[np.uint8]) -> bool:
    """Whether more than 30 % of an RGB picture is strongly green or teal.

    Luma and chroma shown as red, green and blue turn black to teal; red, green and blue taken
    for luma and chroma turn it to green. No ultrasound picture has those colours.
    """
    red, green, blue = (pixels[..., channel].astype(np.int16) for channel in range(3))
    strongly = (green - red > GREEN_EXCESS) & (green >= blue - GREEN_EXCESS // 4)
    return float(strongly.mean()) > GREEN_FRACTION
