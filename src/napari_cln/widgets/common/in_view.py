"""The canvas as a reader sees it: one frame with one mask, or the fault that hides which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from ..._layers import (
    IMAGE_KEY,
    KEY,
    LayerKind,
    frame_layers,
    layers_of,
    lie_apart,
    put_together,
)
from ...compat.window import fit_layers, grid_of
from .results import HIDDEN_KEY, nodes_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

BESIDE = (
    LayerKind.DIFFERENCE,
    LayerKind.MODEL,
    LayerKind.READING,
    LayerKind.REFERENCE,
    LayerKind.OVERLAY,
    LayerKind.SCAN_AREA,
)
TOOLS = ("paint", "erase", "fill", "polygon")
OPAQUE = ("opaque", "translucent", "translucent_no_depth")


@dataclass(frozen=True, kw_only=True)
class ViewFault:
    """A reason why nothing can be decided on what the canvas shows, and its remedy.

    ``remedy`` is ``"alone"`` (show the frame alone), ``"together"`` (put its layers on each other) or
    None, where only the reader can.
    """

    reason: str
    remedy: Literal["alone", "together"] | None = None

    @property
    def way_out(self) -> str:
        """Words on the button that mends it; empty where none does."""
        return {"alone": "Show it alone", "together": "Put together"}.get(str(self.remedy), "")


def frame_at(image: Image | Labels, viewer: ViewerModel) -> int | None:
    """Number of the frame of a layer that the slider shows; None where it stands beyond them."""
    if image.ndim != 3:
        return 0
    index = round(float(image.world_to_data(viewer.dims.point)[0]))
    return index if 0 <= index < len(image.data) else None


def beyond(image: Image | Labels) -> str:
    """Say that the slider shows no frame of a layer."""
    return f"The slider stands beyond the {len(image.data)} frames of '{image.name}'."


def fault_in_view(viewer: ViewerModel, image: Image, labels: Labels | None) -> ViewFault | None:
    """Find why the canvas does not show this frame with this mask, and nothing else; None where it does.

    Parameters
    ----------
    viewer : ViewerModel
    image : napari.layers.Image
    labels : napari.layers.Labels, optional
        The mask that is to be judged; left out where there is none yet.
    """
    return (
        _fault_of_view(viewer, image)
        or _fault_of_images(viewer, image)
        or (None if labels is None else _fault_of_masks(viewer, image, labels))
        or _fault_of_places(viewer, image)
    )


def fit_view(viewer: ViewerModel, images: Sequence[Image] | None = None) -> None:
    """Let the canvas show all of some images, by default of those that are shown."""
    if images is None:
        images = [image for image in frame_layers(viewer.layers) if _is_shown(image)]
    fit_layers(viewer, images)


def lie_alike(one: Image, other: Image) -> bool:
    """Tell whether two images have their corners at the same places of the world."""
    return bool(np.allclose(_ends(one), _ends(other)))


def show_alone(viewer: ViewerModel, image: Image, labels: Labels | None) -> None:
    """Show one image with its layers, in two dimensions, and hide what belongs to others.

    What is hidden here comes back when its own image is shown; what the reader has hidden stays so. The
    view is kept where the images that were shown lie in the same place of the world, and else shows all
    of the image.

    Parameters
    ----------
    viewer : ViewerModel
    image : napari.layers.Image
    labels : napari.layers.Labels, optional
        The mask to show; the image's other masks are hidden.
    """
    shown = [one for one in frame_layers(viewer.layers) if _is_shown(one)]
    fits = bool(shown) and all(lie_alike(one, image) for one in shown)
    viewer.dims.ndisplay = 2
    viewer.dims.order = tuple(range(viewer.dims.ndim))
    grid_of(viewer).enabled = False
    own, images = [image, *layers_of(image, viewer.layers)], frame_layers(viewer.layers)
    other_masks = [] if labels is None else [one for one in nodes_of(viewer, image) if one is not labels]
    for layer in viewer.layers:
        foreign = layer not in own and (layer in images or _is_drawn(layer) or IMAGE_KEY in layer.metadata)
        if (foreign or layer in other_masks) and layer.visible:
            layer.metadata[HIDDEN_KEY] = True
            layer.visible = False
        elif layer in own and layer not in other_masks and layer.metadata.pop(HIDDEN_KEY, False):
            layer.visible = True
    if not fits:
        fit_view(viewer, [image])
    for layer in (image, labels):
        if layer is not None and not _is_shown(layer):  # napari draws a layer anew for what it is already
            layer.visible = True
            layer.opacity = layer.opacity or (1.0 if layer is image else 0.35)
    if labels is not None and labels.show_selected_label:
        labels.show_selected_label = False


@dataclass(frozen=True)
class Tool:
    """A tool in the reader's hand: a mode of a Labels layer, and the size of the brush."""

    mode: str = "paint"
    brush_size: float | None = None

    @classmethod
    def of(cls, labels: Labels | None) -> Tool:
        """Return the tool that is used on a layer; the brush where it is none to paint with."""
        if labels is None:
            return cls()
        mode = str(labels.mode)
        return cls(mode if mode in TOOLS else "paint", labels.brush_size)


def take_up(viewer: ViewerModel, labels: Labels, tool: Tool) -> None:
    """Put a tool into the reader's hand: the mask is the active layer, and nothing drags a picture."""
    for image in frame_layers(viewer.layers):
        if image.mode == "transform":
            image.mode = "pan_zoom"
    viewer.layers.selection.active = labels
    if tool.brush_size is not None:
        labels.brush_size = tool.brush_size
    if labels.editable:
        labels.mode = tool.mode


def bring_together(viewer: ViewerModel, image: Image) -> None:
    """Put an image, and all that belongs to it, to where the image was put first."""
    put_together(image, layers_of(image, viewer.layers))


def _fault_of_view(viewer: ViewerModel, image: Image) -> ViewFault | None:
    if viewer.dims.ndisplay != 2:
        return ViewFault(reason="The canvas shows three dimensions. Go back to two (Ctrl+Y).", remedy="alone")
    n = viewer.dims.ndim
    if tuple(viewer.dims.order[-2:]) != (n - 2, n - 1):
        return ViewFault(reason="The axes are turned: the canvas does not show a frame.", remedy="alone")
    if grid_of(viewer).enabled and len(viewer.layers) > 1:
        return ViewFault(
            reason="The grid shows a frame and its mask apart. Leave it (Ctrl+G).", remedy="alone"
        )
    if frame_at(image, viewer) is None:
        return ViewFault(reason=beyond(image))
    return None


def _fault_of_images(viewer: ViewerModel, image: Image) -> ViewFault | None:
    if image not in viewer.layers or not _is_shown(image):
        return ViewFault(reason=f"'{image.name}' is hidden: the canvas does not show it.", remedy="alone")
    place = viewer.layers.index(image)
    for other in frame_layers(viewer.layers):
        if other is image or not _is_shown(other) or frame_at(other, viewer) is None:
            continue
        above = viewer.layers.index(other) > place
        if above or not _covers(image, other):
            reason = f"The canvas shows '{other.name}' too, {'over' if above else 'beside'} '{image.name}'."
            return ViewFault(reason=reason, remedy="alone")
    return None


def _fault_of_masks(viewer: ViewerModel, image: Image, labels: Labels) -> ViewFault | None:
    if not _is_shown(labels):
        return ViewFault(reason=f"The mask '{labels.name}' is hidden.", remedy="alone")
    if labels.show_selected_label:
        return ViewFault(reason="Only the selected node is shown ('show selected' is on).", remedy="alone")
    for other in _drawn_over(viewer, image, labels):
        return ViewFault(reason=f"Another mask is on the canvas too: '{other.name}'.", remedy="alone")
    return None


def _fault_of_places(viewer: ViewerModel, image: Image) -> ViewFault | None:
    for layer in layers_of(image, viewer.layers):
        if _is_shown(layer) and lie_apart(image, layer):
            reason = f"'{image.name}' and '{layer.name}' do not lie on each other: one of them was moved."
            return ViewFault(reason=reason, remedy="together")
    return None


def _drawn_over(viewer: ViewerModel, image: Image, labels: Labels) -> Iterator[Layer]:
    """Masks on the canvas that are not the one to be judged; what is shown beside one on request is none."""
    own = layers_of(image, viewer.layers)
    for layer in viewer.layers:
        if layer is labels or not _is_drawn(layer) or not _is_shown(layer):
            continue
        if layer in own and layer.metadata.get(KEY) in BESIDE:
            continue
        if _shown_part(layer, viewer).any():
            yield layer


def _is_drawn(layer: Layer) -> bool:
    return isinstance(layer, Labels)


def _is_shown(layer: Layer) -> bool:
    return bool(layer.visible and layer.opacity > 0)


def _shown_part(labels: Labels, viewer: ViewerModel) -> NDArray[np.integer]:
    if labels.ndim != 3:
        return np.asarray(labels.data)
    index = round(float(labels.world_to_data(viewer.dims.point)[0]))
    return np.asarray(labels.data[index] if 0 <= index < len(labels.data) else 0)


def _covers(image: Image, other: Image) -> bool:
    """Tell whether nothing of another image, which lies below, is seen."""
    if image.opacity < 1 or image.blending not in OPAQUE:
        return False
    ours, theirs = _ends(image), _ends(other)
    return bool((ours[0] <= theirs[0]).all() and (ours[1] >= theirs[1]).all())


def _ends(image: Image) -> NDArray[np.floating]:
    """First and last corner of an image in the world, float (2, 2)."""
    return np.asarray(image.extent.world[:, -2:])
