"""The outline of a node from the ends of its axes, or from a box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..imaging.calipers import Axis, Calipers
from ..io.sources import Source, as_frame

__all__ = ["outline_node"]


def outline_node(
    frame: Source,
    *,
    long_axis: Axis | None = None,
    short_axis: Axis | None = None,
    box: Sequence[float] | None = None,
) -> NDArray[np.bool_]:
    """Outline a node whose axes were measured, or that lies in a box.

    Parameters
    ----------
    frame : path-like, Frame or ndarray
        An array is grey (H, W) or colour (H, W, 3 or 4).
    long_axis : ((float, float), (float, float)), optional
        Row and column of both ends, in frame pixels, pixel centres at whole numbers.
    short_axis : ((float, float), (float, float)), optional
        Of the axis across; 0.65 of the long one, in its middle, if None.
    box : (float, float, float, float), optional
        In place of the axes: ``(row0, column0, row1, column1)`` around the node, half-open.

    Returns
    -------
    ndarray of bool, shape (H, W)
        One connected region without holes, in which the axes cross.

    Raises
    ------
    InputError
        If the ends or the box don't show one node that lies in the frame.
    FrameReadError
        If the frame can't be read.

    Examples
    --------
    >>> frame = np.zeros((60, 80), dtype=np.uint8)
    >>> mask = outline_node(frame, long_axis=((30, 20), (30, 60)))
    >>> mask.shape, bool(mask[30, 40]), bool(mask[0, 0])
    ((60, 80), True, False)
    """
    shown = as_frame(frame)
    calipers = Calipers.of(shown.shape, long_axis=long_axis, short_axis=short_axis, box=box)
    return calipers.ellipse(shown.shape)
