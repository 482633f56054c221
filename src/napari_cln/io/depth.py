"""Any number of bits, in either byte order, to 8 by one rule: a picture looks the same however it is stored.

- 8 bits: as they are; 1 bit: 0 and 255.
- 16 bits: the high byte. A twin made by ``v * 257`` and one made by ``v << 8`` both give
  the grey of the 8-bit picture exactly.
- 16 bits that hold fewer (no value above 255, 1023 or 4095, as 12-bit converters write
  them): scaled from those bits, with a note. A file whose values are all twins of 8-bit
  ones (low byte equal to the high one, or 0) is never taken for that, nor one that says how
  many of its bits count. A picture of 16 true bits that is darker than 1/16 of white would show
  nothing at all; it is taken for 12-bit too, and the note tells.
- Floating point: 0 to 1 or 0 to 255 as such; anything else from least to greatest value,
  with a note. NaN is black.

In a file or stack of many frames one scale holds for all, so that grey does not flicker; where it is a
choice, all of them are looked at for it. A picture that is stored turned (EXIF, TIFF) is put upright here
too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRIP_SAMPLES = 2**21


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The values that become black and white, and a sentence for the user where that was a choice."""

    black: float
    white: float
    note: str | None = None


FULL_RANGE = Scale(black=0, white=65535)


def scale_of(array: NDArray[Any], *, bits: int | None = None) -> Scale:
    """Find which values of an array are black and white.

    Parameters
    ----------
    array : ndarray of bool, int or float, any shape
    bits : int, optional
        How many bits of a 16-bit sample count, where the file says.
    """
    return scale_of_frames([array], bits=bits)


def scale_of_frames(frames: Iterable[NDArray[Any]], *, bits: int | None = None) -> Scale:
    """Find which values are black and white in all frames of a file or stack.

    Parameters
    ----------
    frames : iterable of ndarray of bool, int or float
        At least one. They are asked for one by one, and only until the scale is certain; one of another type
        than the first is passed over.
    bits : int, optional
        How many bits of a 16-bit sample count, where the file says.
    """
    low, high = math.inf, -math.inf
    doubled = shifted = True  # twins of 8-bit values, made by v * 257 or by v << 8
    kind: np.dtype[Any] | None = None
    likely = (8, 10, 12) if bits is None else (bits,)
    for array in frames:
        own = array.dtype.newbyteorder("=")
        kind = own if kind is None else kind
        if kind.kind == "b":
            return Scale(black=0, white=1)
        if kind == np.uint8:
            return Scale(black=0, white=255)
        if own != kind:
            continue
        finite = array[np.isfinite(array)] if kind.kind == "f" else array
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
        if kind == np.uint16:
            if high >= 2 ** max(likely):
                return FULL_RANGE
            doubled = doubled and bool(((array >> 8) == (array & 255)).all())
            shifted = shifted and not (array & 255).any()
    if low > high:  # no value at all
        low = high = 0.0
    if kind == np.uint16:
        fewer = next(few for few in likely if high < 2**few)
        if not 8 <= fewer < 16 or doubled or shifted:
            return FULL_RANGE
        note = f"The 16-bit file holds no value above {2**fewer - 1} and was read as {fewer}-bit."
        return Scale(black=0, white=2**fewer - 1, note=note)
    if kind is not None and kind.kind == "f" and low >= 0 and high <= 1:
        return Scale(black=0, white=1)
    if low >= 0 and high <= 255:
        return Scale(black=0, white=255)
    return Scale(black=low, white=high, note=f"Grey values from {low:g} to {high:g} were scaled to 0–255.")


def is_16_bit(array: NDArray[Any]) -> bool:
    """Tell whether samples are unsigned and of 16 bits, in any byte order.

    Parameters
    ----------
    array : ndarray
    """
    return array.dtype.newbyteorder("=") == np.uint16


def to_uint8(array: NDArray[Any], scale: Scale) -> NDArray[np.uint8]:
    """Scale an array to 8 bits; values beyond black and white are clipped, NaN is black.

    Whole numbers keep their high bits (``v >> 8`` for 16), floating-point ones are rounded.
    """
    if array.dtype == np.uint8 and (scale.black, scale.white) == (0, 255):
        return array
    return in_strips(array, lambda part: _scaled(part, scale))


def in_strips(array: NDArray[Any], convert: Callable[[NDArray[Any]], Any]) -> NDArray[np.uint8]:
    """Convert an array to 8 bits a few rows at a time; results beyond 0 and 255 are clipped.

    What `convert` computes between then needs no second frame's memory.

    Parameters
    ----------
    array : ndarray, shape (H, ...)
    convert : callable
        Gives numbers of the shape of its argument, which is some rows of the array.
    """
    pixels = np.empty(array.shape, dtype=np.uint8)
    for part in _strips(array):
        converted = convert(array[part])
        pixels[part] = converted if converted.dtype == np.uint8 else np.clip(converted, 0, 255)
    return pixels


def _strips(array: NDArray[Any]) -> Iterator[slice]:
    """A few rows at a time."""
    step = max(1, STRIP_SAMPLES // max(1, math.prod(array.shape[1:])))
    return (slice(start, start + step) for start in range(0, len(array), step))


def _scaled(array: NDArray[Any], scale: Scale) -> NDArray[np.uint8]:
    black, white = scale.black, scale.white
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if is_16_bit(array) and black == 0:
        shift = np.uint16(int(white).bit_length() - 8)
        high = array >> shift
        few: NDArray[np.uint8] = (high if shift == 8 else np.minimum(high, 255)).astype(np.uint8)
        return few
    values = np.nan_to_num(array.astype(np.float64), nan=black, posinf=white, neginf=black)
    span = (white - black) or 1.0
    pixels: NDArray[np.uint8] = np.rint(np.clip((values - black) / span, 0, 1) * 255).astype(np.uint8)
    return pixels


def colour_of(pixels: NDArray[np.uint8], *, premultiplied: bool = False) -> NDArray[np.uint8]:
    """Take away transparency: what is transparent becomes black.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W) or (H, W, 1 to 4)
        Grey, grey + alpha, RGB or RGB + alpha.
    premultiplied : bool
        Colours were already multiplied by alpha (TIFF's associated alpha).

    Returns
    -------
    ndarray of uint8, shape (H, W) or (H, W, 3)
    """
    if pixels.ndim == 2:
        return np.ascontiguousarray(pixels)
    colours, alpha = pixels, None
    if pixels.shape[2] in (2, 4):
        colours, alpha = pixels[..., :-1], pixels[..., -1:]
    if alpha is not None and not premultiplied and alpha.min() < 255:
        colours = colours.copy()
        for part in _strips(colours):
            product = colours[part] * alpha[part].astype(np.uint16) + np.uint16(128)
            colours[part] = (product + (product >> np.uint16(8))) >> np.uint16(8)  # over 255, rounded
    return np.ascontiguousarray(colours[..., 0] if colours.shape[2] == 1 else colours)


# ------------------------------------------------------------ orientation


ORIENTATION_TAG = 0x0112


def orientation_of(value: object) -> int:
    """Orientation from 1 to 8 that a tag gives; 1, upright, for any other value."""
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def swaps_axes(orientation: int) -> bool:
    """Tell whether rows become columns when the picture is put upright."""
    return orientation in (5, 6, 7, 8)


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn an array (H, W, …) as an orientation from 1 to 8 says; other values change nothing.

    Parameters
    ----------
    pixels : ndarray, shape (H, W, …)
    orientation : int
        As EXIF and TIFF count it.
    """
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
