"""Layers that belong to an Image: found by identity, else by content, never by name; and put onto it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..study.reading import digest
from ..types import Frame
from .space import FRAME_KEY, IMAGE_KEY, KEY, PLACE_KEY, LayerKind, LayerOptions, space_of

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer

SLACK_PX = 0.25
"""Layers that lie less than this apart, in pixels of the frame, count as together."""


def link(layer: Layer, owner: Layer) -> None:
    """Note on a layer which Image (or, for axes of unlinked masks, which Labels) it belongs to."""
    layer.metadata[IMAGE_KEY] = owner.unique_id


def image_of(labels: Labels, layers: Iterable[Layer]) -> Image | None:
    """Image that a Labels layer belongs to: the one it is linked to, or the only one of its size."""
    layers = list(layers)
    _adopt(layers)
    images = frame_layers(layers)
    if IMAGE_KEY in labels.metadata:
        return next((image for image in images if image.unique_id == labels.metadata[IMAGE_KEY]), None)
    alike = [image for image in images if image.data.shape[: image.ndim] == labels.data.shape]
    return alike[0] if len(alike) == 1 else None


def layers_of(owner: Layer, layers: Iterable[Layer], kind: LayerKind | None = None) -> list[Layer]:
    """Layers that are linked to an Image layer, oldest first.

    Parameters
    ----------
    owner : napari.layers.Image
    layers : iterable of Layer
        The viewer's.
    kind : LayerKind, optional
        Only layers of this kind.
    """
    layers = list(layers)
    _adopt(layers)
    return [
        layer
        for layer in layers
        if layer.metadata.get(IMAGE_KEY) == owner.unique_id and kind in (None, _kind(layer))
    ]


def frame_layers(layers: Iterable[Layer]) -> list[Any]:
    """Image layers that show frames, and not a map over one."""
    return [layer for layer in layers if type(layer).__name__ == "Image" and not is_map(layer)]


def is_map(layer: Layer) -> bool:
    """Tell whether an Image layer is no frame, but a map over one, or a view of one."""
    known = layer.metadata.get(KEY)
    return isinstance(known, str) and known in (LayerKind.SCORE_MAP, LayerKind.DESPECKLED)


def _kind(layer: Layer) -> str:
    known = layer.metadata.get(KEY)
    return known if isinstance(known, str) else LayerKind.NODES


def _adopt(layers: list[Layer]) -> None:
    """Link what a reader made to the first Image that shows the same frame."""
    for layer in layers:
        if IMAGE_KEY in layer.metadata or FRAME_KEY not in layer.metadata:
            continue
        for image in layers:
            known: Any = image.metadata.get(KEY)
            if isinstance(known, Frame) and digest(known.pixels) == layer.metadata[FRAME_KEY]:
                link(layer, image)
                break


def lie_apart(image: Image, layer: Layer) -> bool:
    """Tell whether the pixels of a layer lie elsewhere in the world than the same pixels of its Image.

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
    """Place of a layer, for one of ``n`` axes: of the last two alone where the numbers differ."""
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
    """Three corners of the frame in the world, float (3, 2)."""
    height, width = _sizes(layer if like is None else like)
    before = (0.0,) * (layer.ndim - 2)
    points = [(*before, 0.0, 0.0), (*before, height, 0.0), (*before, 0.0, width)]
    return np.array([np.asarray(layer.data_to_world(point), dtype=float)[-2:] for point in points])


def _is_cine_mask(image: Image, layer: Layer) -> bool:
    return bool(image.ndim == layer.ndim == 3 and type(layer).__name__ == "Labels")


def _sizes(image: Layer) -> NDArray[np.float64]:
    height, width = image.data.shape[image.ndim - 2 : image.ndim]
    return np.array([height, width], dtype=float)
