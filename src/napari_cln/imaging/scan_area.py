"""Where on a scanner's screen the B-mode image lies."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..types import Box, Frame

__all__ = ["find_scan_area"]


def find_scan_area(frame: Frame) -> Box:
    """Box of the B-mode image on a scanner's screen.

    Parameters
    ----------
    frame : Frame

    Returns
    -------
    (int, int, int, int)
        ``(row0, column0, row1, column1)``, half-open, in frame pixels; the whole frame where
        no ultrasound texture is found.
    """
    grey = frame.grey.astype(np.float32)
    whole = (0, 0, *frame.shape)
    if min(frame.shape) < 16:
        return whole
    gradient = np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1))
    dense = ndimage.uniform_filter((gradient > 4).astype(np.float32), 25) > 0.6
    labels, n = ndimage.label(dense)
    if n == 0:
        return whole
    largest = int(np.argmax(np.bincount(labels.ravel())[1:]))
    rows, columns = ndimage.find_objects(labels)[largest]
    return rows.start, columns.start, rows.stop, columns.stop
