"""Commands of napari's Layers menu."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image, Labels, Shapes
from napari.utils.notifications import show_info, show_warning

# Read by napari at run time, to hand over the viewer.
from napari.viewer import Viewer

from .._layers import (
    LayerKind,
    annotation_from_layer,
    axes_to_layer,
    frame_from_layer,
    image_of,
    is_painted,
    layers_of,
    link,
    measured_features,
)
from ..errors import ClnError, FrameReadError
from ..imaging.measurement import measure_nodes
from .common.in_view import beyond, frame_at
from .segment.dock import SegmentDock

if TYPE_CHECKING:
    from napari.components import ViewerModel


def segment_layers(viewer: Viewer) -> None:
    """Segment the selected Image layers in the Segment dock, which opens if need be."""
    _, dock = viewer.window.add_plugin_dock_widget("napari-cln", "Segment", tabify=True)
    assert isinstance(dock, SegmentDock)
    if any(isinstance(layer, Image) for layer in viewer.layers.selection):
        dock.segment_selected()
    else:
        dock.segment_frame()


def measure_layers(viewer: Viewer) -> None:
    """Measure the nodes of the selected Labels layers as they are now, in the frame in view."""
    chosen = [layer for layer in viewer.layers.selection if isinstance(layer, Labels)]
    if not chosen:
        show_info("Select the Labels layer whose nodes are to be measured.")
    for labels in chosen:
        try:
            measure_layer(viewer, labels)
        except ClnError as error:
            show_warning(str(error))


def measure_layer(viewer: ViewerModel, labels: Labels) -> None:
    """Draw the axes of each node, and write sizes into the layer's features.

    Raises
    ------
    ClnError
        If the masks do not belong to the frame, there are none, or the slider stands beyond them.
    """
    image = image_of(labels, viewer.layers)
    index = frame_at(labels, viewer)
    if index is None:
        raise FrameReadError(beyond(labels))
    frame = None if image is None else frame_from_layer(image, index)
    annotation = annotation_from_layer(labels, frame, index=index)
    sizes = measure_nodes(annotation)
    if not sizes:
        show_info(f"Layer '{labels.name}' holds no node in this frame.")
        return
    if labels.ndim == 2 and is_painted(labels):
        labels.features = measured_features(annotation, sizes)
    data, options, _ = axes_to_layer(sizes, labels, index)
    owner = labels if image is None else image
    for old in layers_of(owner, viewer.layers, LayerKind.AXES):
        viewer.layers.remove(old)
    axes = Shapes(data, **options)
    link(axes, owner)
    viewer.add_layer(axes)
    # Paint goes on where it was.
    viewer.layers.selection.active = labels
