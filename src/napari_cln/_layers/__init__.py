"""Our types ⇄ napari layers: the only room that knows both, without Qt and without napari.

A frame becomes an Image layer, a prediction a Labels layer (one id per node, scores and sizes
in its features) and a Points layer that writes the malignancy onto the canvas. What a layer
shows lies in ``layer.metadata["napari-cln"]``: a Frame, or the FrameSource of a cine; a
Prediction, or the Reading of each frame of a cine. Layers are never told apart by their names.
"""

from .annotations import (
    DRAWN_KEY,
    DrawnFrame,
    annotation_from_layer,
    drawn_frame,
    is_painted,
    measured_features,
)
from .frames import (
    clip_from_layer,
    frame_from_layer,
    frame_to_layer,
    frames_from_layer,
    masks_to_layer,
    n_frames_of,
    source_to_layer,
)
from .links import (
    frame_layers,
    image_of,
    is_map,
    layers_of,
    lie_apart,
    link,
    note_place,
    put_together,
)
from .marks import (
    axes_to_layer,
    box_from_layer,
    despeckled_to_layer,
    explanation_to_layer,
    flow_to_layer,
    overlay_to_layer,
    scan_area_to_layer,
)
from .predictions import (
    NOTES_KEY,
    cine_to_layer,
    features_of,
    message_to_layer,
    model_note,
    prediction_to_layer,
    reading_of,
    readings_of,
    readings_to_layer,
)
from .segmentations import SEGMENTATION_ENDINGS, encode_labels, is_segmentation_file, segmentation_to_layers
from .space import (
    IMAGE_KEY,
    KEY,
    OVERLAY_KEY,
    PLACE_KEY,
    RUN_KEY,
    SCAN_AREA_KEY,
    LayerKind,
    LayerTuple,
    lay,
    space_of,
)

__all__ = [
    "DRAWN_KEY",
    "IMAGE_KEY",
    "KEY",
    "NOTES_KEY",
    "OVERLAY_KEY",
    "PLACE_KEY",
    "RUN_KEY",
    "SCAN_AREA_KEY",
    "SEGMENTATION_ENDINGS",
    "DrawnFrame",
    "LayerKind",
    "LayerTuple",
    "annotation_from_layer",
    "axes_to_layer",
    "box_from_layer",
    "cine_to_layer",
    "clip_from_layer",
    "despeckled_to_layer",
    "drawn_frame",
    "encode_labels",
    "explanation_to_layer",
    "features_of",
    "flow_to_layer",
    "frame_from_layer",
    "frame_layers",
    "frame_to_layer",
    "frames_from_layer",
    "image_of",
    "is_map",
    "is_painted",
    "is_segmentation_file",
    "lay",
    "layers_of",
    "lie_apart",
    "link",
    "masks_to_layer",
    "measured_features",
    "message_to_layer",
    "model_note",
    "n_frames_of",
    "note_place",
    "overlay_to_layer",
    "prediction_to_layer",
    "put_together",
    "reading_of",
    "readings_of",
    "readings_to_layer",
    "scan_area_to_layer",
    "segmentation_to_layers",
    "source_to_layer",
    "space_of",
]
