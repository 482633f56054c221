"""Layers of frames that are not in view, kept such that paint and its undo history survive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Image, Labels, Layer

from ..._layers import KEY, LayerKind, is_painted, layers_of, link, readings_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

MARKS = (LayerKind.OVERLAY, LayerKind.SCAN_AREA)


class LayerStash:
    """Takes the layers of a frame off the viewer and puts the same objects back.

    Painted layers stay until the window closes; of those that were only predicted, the last
    few.
    """

    def __init__(self, viewer: ViewerModel, n_unpainted: int = 20) -> None:
        self.viewer = viewer
        self._n_unpainted = n_unpainted
        self._kept: dict[Path, list[Layer]] = {}
        self._painted: set[Path] = set()

    def __contains__(self, path: Path) -> bool:
        return path in self._kept

    def adopt(self, image: Image) -> None:
        """Link what was painted by hand on a layer that napari made."""
        for layer in self.viewer.layers:
            if _is_own(layer, image):
                link(layer, image)

    def put(self, path: Path, image: Image) -> None:
        """Take an Image and all that belongs to it off the viewer."""
        if image not in self.viewer.layers:
            return
        self.adopt(image)
        layers = [image, *layers_of(image, self.viewer.layers)]
        layers = sorted(set(layers), key=self.viewer.layers.index)
        for layer in layers:
            self.viewer.layers.remove(layer)
        layers = [layer for layer in layers if layer.metadata.get(KEY) not in MARKS]
        nodes = [layer for layer in layers if isinstance(layer, Labels)]
        if any(_is_edited(labels) for labels in nodes):
            self._painted.add(path)
        if nodes:
            self._kept[path] = layers
        unpainted = [known for known in self._kept if known not in self._painted]
        for known in unpainted[: -self._n_unpainted]:
            del self._kept[known]

    def take(self, path: Path) -> Image | None:
        """Put a frame's layers back on the viewer; None if none are kept."""
        layers = self._kept.pop(path, [])
        self._painted.discard(path)
        for layer in layers:
            self.viewer.add_layer(layer)
        return next((layer for layer in layers if isinstance(layer, Image)), None)


def _is_edited(labels: Labels) -> bool:
    """Tell whether anybody has painted in any frame; slow for a cine, and sure."""
    return any(is_painted(labels, index) for index in range(1 if labels.ndim == 2 else len(labels.data)))


def _is_own(layer: Layer, image: Image) -> bool:
    """Tell whether an unlinked Labels layer was painted by hand on this frame."""
    return (
        isinstance(layer, Labels)
        and not layer.metadata
        and not readings_of(layer)
        and layer.data.shape[-2:] == image.data.shape[image.ndim - 2 : image.ndim]
    )
