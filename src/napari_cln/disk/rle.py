"""COCO's run-length code of a mask, compressed and plain.

Runs of 0 and 1 in turn, down the columns. The compressed form writes each run, from the third
on as the difference to the run two before, in groups of five bits plus 48, as the reference
implementation does (``maskApi.c`` of pycocotools).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_BITS = 40
"""Bits of a run: far above the pixels of any picture, so that a code without end ends."""


def encode_rle(mask: NDArray[np.bool_]) -> str:
    """Compressed run-length code of a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)

    Returns
    -------
    str
        COCO's ``counts``.
    """
    pixels = np.asarray(mask, dtype=np.int8).ravel(order="F")
    borders = np.flatnonzero(np.diff(pixels, prepend=np.int8(0))).tolist()
    runs = np.diff([0, *borders, pixels.size]).tolist()
    text = []
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text.append(chr(48 + bits + 32 * more))
    return "".join(text)


def decode_rle(counts: str | list[int], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Mask of a run-length code.

    Parameters
    ----------
    counts : str or list of int
        Compressed, or the plain runs.
    shape : (int, int)
        ``(H, W)``.

    Returns
    -------
    ndarray of bool, shape (H, W)

    Raises
    ------
    ValueError
        If the runs do not fill the shape.
    """
    runs = _runs(counts, shape[0] * shape[1]) if isinstance(counts, str) else list(counts)
    if not all(type(run) is int for run in runs):
        raise ValueError("the runs are no whole numbers")
    if len(runs) > shape[0] * shape[1] + 2:
        raise ValueError(f"{len(runs)} runs are more than the mask has pixels")
    if sum(runs) != shape[0] * shape[1] or min(runs, default=0) < 0:
        raise ValueError(f"the runs add up to {sum(runs)} pixels, the mask has {shape[0] * shape[1]}")
    values = np.arange(len(runs)) % 2 == 1
    mask: NDArray[np.bool_] = np.repeat(values, runs).reshape(shape, order="F")
    return mask


def _runs(text: str, n_pixels: int) -> list[int]:
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > MAX_BITS or len(runs) > n_pixels + 1:
            raise ValueError("the run-length code is none that COCO's tools write")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    if shift:
        raise ValueError("the run-length code is cut short")
    return runs
