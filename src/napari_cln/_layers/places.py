"""Whether an Image and what belongs to it lie on each other, and how they are put together again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..types import Frame
from .space import KEY, PLACE_KEY, LayerOptions, space_of

if TYPE_CHECKING:
    from napari.layers import Image, Layer

__all__ = ["lie_apart", "note_place", "put_together"]

SLACK_PX = 0.25
"""Layers that lie less than this apart, in pixels of the frame, count as together."""


def lie_apart(image: Image, layer: Layer) -> bool:
    """Whether the pixels of a layer lie elsewhere in the world than the same pixels of its Image.

    Moved, scaled, turned, sheared: all of it counts, for the two last axes; for the mask of a cine, along
    the frame axis too.
    """
    flat = _corners(image)
    pixel = max(float((np.abs(flat[1:] - flat[0]).max(axis=1) / _sizes(image)).min()), 1e-12)
    if np.abs(flat - _corners(layer, like=image)).max() > SLACK_PX * pixel:
        return True
    if not _is_cine_mask(image, layer):
        return False
    frames, theirs = (np.array([one.data_to_world((n, 0, 0))[0] for n in (0, 1)]) for one in (image, layer))
    return bool(np.abs(frames - theirs).max() > SLACK_PX * max(abs(frames[1] - frames[0]), 1e-12))


def note_place(image: Image, layers: Iterable[Layer] = ()) -> None:
    """Note where an Image was put, the first time it is seen, so that it can go back there.

    Parameters
    ----------
    image : napari.layers.Image
    layers : iterable of Layer
        What belongs to it. Where these do not lie on it, it was moved before anybody looked: then the
        place that its file gives is noted, or else theirs.
    """
    if PLACE_KEY in image.metadata:
        return
    moved = [layer for layer in layers if lie_apart(image, layer)]
    place = _place(image)
    if moved:
        known = image.metadata.get(KEY)
        frame = known if isinstance(known, Frame) else None
        if frame is None and known is not None and hasattr(known, "__getitem__"):
            frame = known[0]
        n = image.ndim
        if frame is not None:
            scale = space_of(frame, n)["scale"]
            place = {"scale": scale, "translate": (0.0,) * n, "rotate": np.eye(n)}
            place |= {"shear": np.zeros(n * (n - 1) // 2), "affine": np.eye(n + 1)}
        else:
            place = _place(moved[0], n)
    image.metadata[PLACE_KEY] = place


def put_together(image: Image, layers: Iterable[Layer]) -> None:
    """Put an Image back to where it was put first, and what belongs to it onto it."""
    place = image.metadata.get(PLACE_KEY) or _place(image)
    for name, value in place.items():
        setattr(image, name, value)
    for layer in layers:
        if lie_apart(image, layer):
            for name, value in _place(image, layer.ndim).items():
                if name in ("scale", "translate") and layer.ndim == 3 and not _is_cine_mask(image, layer):
                    value = (*getattr(layer, name)[:-2], *value[-2:])  # its own frame of the cine
                setattr(layer, name, value)


def _place(layer: Layer, n: int | None = None) -> LayerOptions:
    """Where a layer lies, for a layer of ``n`` axes: of the last two alone where the numbers differ."""
    matrix = np.asarray(getattr(layer.affine, "affine_matrix", layer.affine), dtype=float)
    m = layer.ndim
    n = m if n is None else n
    if n == m:
        place = {"scale": tuple(layer.scale), "translate": tuple(layer.translate)}
        return place | {"rotate": np.array(layer.rotate), "shear": np.array(layer.shear), "affine": matrix}
    rotate, affine, shear = np.eye(n), np.eye(n + 1), np.zeros(n * (n - 1) // 2)
    rotate[-2:, -2:] = np.asarray(layer.rotate)[-2:, -2:]
    affine[-3:-1, -3:] = matrix[-3:-1, -3:]
    if shear.size and np.ndim(layer.shear) == 1:
        shear[-1] = layer.shear[-1]
    before = (0.0,) * max(n - 2, 0)
    return {
        "scale": ((1.0,) * max(n - 2, 0) + tuple(layer.scale[-2:]))[-n:],
        "translate": (before + tuple(layer.translate[-2:]))[-n:],
        "rotate": rotate,
        "shear": shear,
        "affine": affine,
    }


def _corners(layer: Layer, like: Image | None = None) -> NDArray[np.float64]:
    """Where three corners of the frame lie in the world, float (3, 2)."""
    height, width = _sizes(layer if like is None else like)
    before = (0.0,) * (layer.ndim - 2)
    points = [(*before, 0.0, 0.0), (*before, height, 0.0), (*before, 0.0, width)]
    return np.array([np.asarray(layer.data_to_world(point), dtype=float)[-2:] for point in points])


def _is_cine_mask(image: Image, layer: Layer) -> bool:
    return bool(image.ndim == layer.ndim == 3 and type(layer).__name__ == "Labels")


def _sizes(image: Layer) -> NDArray[np.float64]:
    height, width = image.data.shape[image.ndim - 2 : image.ndim]
    return np.array([height, width], dtype=float)
