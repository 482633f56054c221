"""The layer that strokes go to, and layers beside it: the difference, another reader's outline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from ..._layers import IMAGE_KEY, KEY, image_of, link, space_of
from ..._layers.space import CLEAR, GREEN, PINK
from ...types import LayerKind
from ..common.results import nodes_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ...types import Annotation
    from .painted import PaintedMask


def chosen_labels(viewer: ViewerModel, image: Image, former: PaintedMask | None) -> Labels | None:
    """The Labels layer that strokes go to: the selected one, the one at work, else the newest."""
    found = nodes_of(viewer, image)
    active = viewer.layers.selection.active
    if isinstance(active, Labels) and active not in found and KEY not in active.metadata:
        # A layer that napari made belongs to the image of its size.
        own = image_of(active, viewer.layers) is image and active.data.dtype.kind in "ui"
        if own and active.ndim == image.ndim:
            link(active, image)
            found = [active, *found]
    if active in found:
        return active
    if former is not None and former.labels in found:
        return former.labels
    shown = [labels for labels in found if labels.visible and labels.opacity > 0]
    return (shown or found or [None])[0]


def show_difference(viewer: ViewerModel, mask: PaintedMask | None) -> None:
    """Show what was added to and taken from the given mask, or take that layer away."""
    masks = None if mask is None else _difference(mask)
    _show_beside(viewer, mask, LayerKind.DIFFERENCE, masks, "added (green), removed (pink)", (GREEN, PINK))


def show_reading(viewer: ViewerModel, mask: PaintedMask | None, reading: Annotation | None) -> None:
    """Show the outline of another reader's masks, or take that layer away."""
    masks = None if mask is None or reading is None else reading.mask.view(np.uint8)
    name = "" if reading is None else f"outline of {reading.annotator}"
    _show_beside(viewer, mask, LayerKind.READING, masks, name, (PINK,))
    for layer in viewer.layers:
        if layer.metadata.get(KEY) == LayerKind.READING:
            layer.contour = 2


def _show_beside(
    viewer: ViewerModel,
    mask: PaintedMask | None,
    kind: LayerKind,
    masks: NDArray[np.uint8] | None,
    name: str,
    colours: tuple[str, ...],
) -> None:
    known = [layer for layer in viewer.layers if layer.metadata.get(KEY) == kind]
    if mask is not None and masks is not None:
        for layer in known:
            if layer.metadata[IMAGE_KEY] == mask.image.unique_id and layer.name == name:
                layer.data = masks
                return
    for layer in known:
        viewer.layers.remove(layer)
    if mask is None or masks is None:
        return
    colormap: dict[int | None, str] = {None: colours[0], 0: CLEAR}
    active = viewer.layers.selection.active
    layer = Labels(
        masks,
        name=name,
        colormap=colormap | dict(enumerate(colours, start=1)),
        opacity=0.8,
        metadata={KEY: kind},
        **space_of(mask.image, 2),
    )
    link(layer, mask.image)
    viewer.add_layer(layer)
    viewer.layers.selection.active = active


def _difference(mask: PaintedMask) -> NDArray[np.uint8]:
    """1 where a mask was added to what was given, 2 where it was taken away, uint8 (H, W)."""
    masks = mask.masks > 0
    base = masks if mask.given.masks is None else mask.given.masks.unpack() > 0
    changed: NDArray[np.uint8] = (masks & ~base) * np.uint8(1) + (base & ~masks) * np.uint8(2)
    return changed
