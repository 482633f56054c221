"""Which layers belong to which Image: by identity, else by content, never by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..study.reading import digest
from ..types import Frame, LayerKind
from .space import FRAME_KEY, IMAGE_KEY, KEY

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer

__all__ = ["frame_layers", "image_of", "is_map", "layers_of", "link"]


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
    """Whether an Image layer is no frame, but a map over one."""
    known = layer.metadata.get(KEY)
    return isinstance(known, str) and known == LayerKind.SCORE_MAP


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
