"""Burned-in marks on a frame: calipers, text, body marks, box outlines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..types import Box, Frame
from .scan_area import find_scan_area

__all__ = ["find_overlay", "paint_over"]


def find_overlay(frame: Frame, scan_area: Box | None = None) -> NDArray[np.bool_]:
    """Burned-in marks inside the scan area.

    Parameters
    ----------
    frame : Frame
    scan_area : Box, optional
        Where to look; found by :func:`find_scan_area` otherwise. Marks outside it need not
        be found, because the network never sees them.

    Returns
    -------
    ndarray of bool, shape (H, W)
    """
    row0, column0, row1, column1 = scan_area or find_scan_area(frame)
    overlay = np.zeros(frame.shape, dtype=bool)
    pixels = frame.pixels[row0:row1, column0:column1]
    grey = frame.grey[row0:row1, column0:column1]
    stroke = grey.astype(np.int16) - ndimage.grey_opening(grey, 7) > 60
    marks = stroke & (grey >= 250)
    if pixels.ndim == 3:
        marks |= stroke & (np.ptp(pixels, axis=2) > 60)
    overlay[row0:row1, column0:column1] = marks
    return overlay


def paint_over(grey: NDArray[np.uint8], overlay: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Fill marks with the mean of the tissue around them, from their border inwards.

    Parameters
    ----------
    grey : ndarray of uint8, shape (H, W)
    overlay : ndarray of bool, shape (H, W)

    Returns
    -------
    ndarray of uint8, shape (H, W)
        A copy; pixels outside ``overlay`` are unaltered.
    """
    width = grey.shape[1] + 2
    values = np.pad(grey, 1).astype(np.float32).ravel()
    # The rim counts as unknown, so that nothing leaks in from outside the frame.
    known = np.pad(~overlay, 1).ravel()
    around = np.array([-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1])
    missing = np.flatnonzero(np.pad(overlay, 1).ravel())
    while missing.size:
        neighbours = missing[:, None] + around
        weights = known[neighbours]
        counts = weights.sum(axis=1)
        ready = counts > 0
        if not ready.any():
            break
        sums = np.where(weights, values[neighbours], 0).sum(axis=1)
        values[missing[ready]] = sums[ready] / counts[ready]
        known[missing[ready]] = True
        missing = missing[~ready]
    filled = values.reshape(-1, width)[1:-1, 1:-1]
    painted: NDArray[np.uint8] = np.where(overlay, np.rint(filled), grey).astype(np.uint8)
    return painted
