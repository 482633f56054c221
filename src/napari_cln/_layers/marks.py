"""Marks on a frame beside its nodes: overlay, scan area, axes of nodes, the map of a score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import FrameReadError
from ..imaging.measurement import Measurement
from ..types import Box, ColourFlow, Explanation
from .space import CLEAR, KEY, PINK, SKY, LayerKind, LayerTuple, space_of

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Shapes

# sky blue, clear, orange; as napari's colour maps have it, red, green, blue and opacity
AGAINST_AND_FOR = [[0.34, 0.71, 0.91, 0.9], [1.0, 1.0, 1.0, 0.0], [0.9, 0.62, 0.0, 0.9]]


def overlay_to_layer(overlay: NDArray[np.bool_], like: Image) -> LayerTuple:
    """Labels layer of the burned-in marks that are painted over for the network."""
    options = space_of(like, 2) | {
        "name": f"{like.name} · overlay found",
        "colormap": {None: PINK, 0: CLEAR, 1: PINK},
        "opacity": 0.7,
        "metadata": {KEY: LayerKind.OVERLAY},
    }
    return overlay.astype(np.uint8), options, "labels"


def flow_to_layer(flow: ColourFlow, like: Image) -> LayerTuple:
    """Labels layer of the Doppler flow that is taken out of the grey image for the network."""
    options = space_of(like, 2) | {
        "name": f"{like.name} · flow found",
        "colormap": {None: SKY, 0: CLEAR, 1: SKY},
        "opacity": 0.7,
        "metadata": {KEY: LayerKind.OVERLAY},
    }
    return flow.mask.astype(np.uint8), options, "labels"


def scan_area_to_layer(box: Box, like: Image) -> LayerTuple:
    """Shapes layer with the scan area as a rectangle that the user may drag."""
    row0, column0, row1, column1 = box
    corners = np.array([[row0, column0], [row0, column1], [row1, column1], [row1, column0]]) - 0.5
    options = space_of(like, 2) | {
        "name": f"{like.name} · scan area",
        "shape_type": "rectangle",
        "face_color": "transparent",
        "edge_color": SKY,
        "edge_width": max(_shape(like)[0] / 250, 1),
        "metadata": {KEY: LayerKind.SCAN_AREA},
    }
    return [corners], options, "shapes"


def box_from_layer(shapes: Shapes, like: Image) -> Box:
    """Box round the last shape of a layer, cut to the frame.

    Raises
    ------
    FrameReadError
        If there is no shape, or it lies outside the frame.
    """
    if not shapes.data:
        raise FrameReadError("There is no rectangle to take. Draw the scan area on the frame first.")
    corners = np.asarray(shapes.data[-1])[:, -2:] + 0.5
    height, width = _shape(like)
    row0, column0 = np.rint(corners.min(axis=0)).astype(int).clip(0)
    row1, column1 = np.minimum(np.rint(corners.max(axis=0)).astype(int), (height, width))
    if row1 - row0 < 16 or column1 - column0 < 16:
        raise FrameReadError(
            "The rectangle covers less than 16×16 pixels of the frame. Draw it round the ultrasound image."
        )
    return int(row0), int(column0), int(row1), int(column1)


def axes_to_layer(sizes: Sequence[Measurement], labels: Labels, index: int = 0) -> LayerTuple:
    """Shapes layer with the long and the short axis of each node, and their lengths.

    Parameters
    ----------
    sizes : sequence of Measurement
    labels : napari.layers.Labels
        The layer that was measured; its place in space is copied.
    index : int
        The frame that was measured, in a cine.
    """
    lines, texts = [], []
    for size in sizes:
        for ends, length_px, length_mm in (
            (size.long_axis_ends, size.long_axis_px, size.long_axis_mm),
            (size.short_axis_ends, size.short_axis_px, size.short_axis_mm),
        ):
            if ends is not None:
                lines.append([(index, *end)[-labels.ndim :] for end in ends])
                texts.append(f"{length_px:.0f} px" if length_mm is None else f"{length_mm:.1f} mm")
    options = space_of(labels) | {
        "name": f"{labels.name} · axes",
        "ndim": labels.ndim,
        "shape_type": "line",
        "edge_color": "white",
        "edge_width": max(labels.data.shape[-2] / 500, 0.5),
        "features": {"length": texts},
        "text": {"string": {"feature": "length"}, "color": "white", "size": 10, "anchor": "lower_right"},
        "metadata": {KEY: LayerKind.AXES},
    }
    return lines, options, "shapes"


def explanation_to_layer(explanation: Explanation, like: Image, index: int = 0) -> LayerTuple:
    """Image layer of what each place adds to a score (orange) or takes from it (blue).

    Parameters
    ----------
    explanation : Explanation
    like : napari.layers.Image
        The layer whose frame was explained; its place in space is copied.
    index : int
        That frame's number, in a cine; the layer is seen there alone.
    """
    limit = max(float(np.abs(explanation.map).max()), 1e-6)
    options = space_of(like) | {
        "name": f"{like.name} · score map",
        "colormap": {"name": "against and for", "colors": AGAINST_AND_FOR},
        "contrast_limits": (-limit, limit),
        "blending": "translucent",
        "metadata": {KEY: LayerKind.SCORE_MAP},
    }
    if like.ndim == 2:
        return explanation.map, options, "image"
    start = like.translate[0] + index * like.scale[0]
    return explanation.map[None], options | {"translate": (start, *like.translate[1:])}, "image"


def despeckled_to_layer(smooth: NDArray[np.uint8], like: Image, index: int = 0) -> LayerTuple:
    """Image layer of a frame without its speckle.

    Parameters
    ----------
    smooth : ndarray of uint8, shape (H, W)
    like : napari.layers.Image
        The layer of that frame; its place in space is copied.
    index : int
        That frame's number, in a cine; the view is seen there alone.
    """
    options = space_of(like) | {
        "name": f"{like.name} · despeckled",
        "colormap": "gray",
        "contrast_limits": (0, 255),
        "metadata": {KEY: LayerKind.DESPECKLED},
    }
    if like.ndim == 2:
        return smooth, options, "image"
    start = like.translate[0] + index * like.scale[0]
    return smooth[None], options | {"translate": (start, *like.translate[1:])}, "image"


def _shape(like: Image) -> tuple[int, int]:
    height, width = like.data.shape[like.ndim - 2 : like.ndim]
    return int(height), int(width)
