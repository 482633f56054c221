"""Frames with a colour-coded box over them, whose stiffness is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib import colormaps
from scipy import ndimage

from napari_cln.types import Box, Frame


def elastogram_of(
    frame: Frame,
    node: np.ndarray,
    *,
    colours: str = "jet",
    opacity: float = 0.5,
    red_on_top=True,
) -> tuple[Frame, np.ndarray, Box]:
    """The frame with a box of colour round a node, the stiffness that it shows, and the box."""
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(node)
    area = frame.scan_area or (0, 0, *frame.shape)
    box = (
        max(area[0] + 3, int(rows.min()) - 30),
        max(area[1] + 3, int(columns.min()) - 40),
        min(area[2] - 3, int(rows.max()) + 30),
        min(area[3] - 40, int(columns.max()) + 40),
    )
    soft = ndimage.gaussian_filter(rng.standard_normal(frame.shape), 25)
    stiffness = np.where(node, 0.75, 0.25 + 0.1 * soft / soft.std())
    stiffness = ndimage.gaussian_filter(np.clip(stiffness, 0.02, 0.98), 5)
    pixels = np.repeat(frame.grey[..., None], 3, axis=2)
    inside = np.s_[box[0] : box[2], box[1] : box[3]]
    drawn = colormaps[colours](stiffness[inside])[..., :3] * 255
    pixels[inside] = np.rint(opacity * drawn + (1 - opacity) * pixels[inside]).astype(np.uint8)
    height = frame.shape[0] // 3
    bar = colormaps[colours](np.linspace(1, 0, height) if red_on_top else np.linspace(0, 1, height))
    pixels[20 : 20 + height, -18:-6] = np.rint(bar[:, None, :3] * 255).astype(np.uint8)
    return replace(frame, pixels=pixels), stiffness, box
