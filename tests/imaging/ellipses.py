"""Ellipses, whose sizes are known exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ellipse(
    shape: tuple[int, int],
    centre: tuple[float, float],
    radii: tuple[float, float],
    angle: float,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> NDArray[np.bool_]:
    """Pixels whose centres lie in an ellipse.

    ``centre`` is in pixels; ``radii`` are in the units of ``spacing``, the first along the
    direction that is turned by ``angle`` (radians) from the rows' axis.
    """
    rows, columns = np.indices(shape, dtype=np.float64)
    down, right = (rows - centre[0]) * spacing[0], (columns - centre[1]) * spacing[1]
    along = down * np.cos(angle) + right * np.sin(angle)
    across = right * np.cos(angle) - down * np.sin(angle)
    return (along / radii[0]) ** 2 + (across / radii[1]) ** 2 <= 1
