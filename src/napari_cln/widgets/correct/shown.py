"""Which mask is on the desk, and what is shown of it: a line of words, a layer with what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from ..._layers import IMAGE_KEY, image_of, link, space_of
from ..._layers.space import CLEAR, GREEN, KEY, PINK
from ...study.reading import digest
from ...types import Annotation, Frame
from ..common.results import nodes_of
from .painted import Work
from .saver import Kind

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["chosen_labels", "describe_work", "kind_of", "name_of_cine", "show_difference", "show_reading"]

WORDS = {
    "predicted": "predicted, not looked at",
    "corrected": "corrected",
    "accepted": "accepted as predicted",
    "rejected": "rejected",
    "no-node": "no node here",
}
VIDEO = (".avi", ".mp4", ".mov", ".mkv")


def chosen_labels(viewer: ViewerModel, image: Image, former: Work | None) -> Labels | None:
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
    return found[0] if found else None


def describe_work(work: Work | None, image: Image | None) -> str:
    """Layer and state of the mask in view, in a few words."""
    if image is None:
        return ""
    if work is None:
        return "No mask yet: segment the frame, or start an empty one."
    known = f"revision {work.revision} in the folder" if work.revision else "not in the folder yet"
    return f"{work.labels.name}: {WORDS[work.status]} · {known}"


def kind_of(frame: Frame) -> Kind:
    """What a frame came from."""
    if frame.spacing_source == "simulated":
        return "simulated"
    suffix = "" if frame.source is None else frame.source.suffix.lower()
    if suffix in VIDEO:
        return "video"
    return "dicom" if suffix in (".dcm", ".dicom") or "DICOM" in (frame.decoder or "") else "file"


def name_of_cine(work: Work) -> str | None:
    """Name of a clip that no file stands behind: the content of its first frame."""
    frame = work.frame
    if frame.n_frames == 1 or frame.source is not None:
        return None
    first = work.image.data[0]
    return digest(first) if hasattr(first, "tobytes") else None


def show_difference(viewer: ViewerModel, work: Work | None) -> None:
    """Show what was added to and taken from the given mask, or take that layer away."""
    masks = None if work is None else work.difference()
    _show_beside(viewer, work, "difference", masks, "added (green), removed (pink)", (GREEN, PINK))


def show_reading(viewer: ViewerModel, work: Work | None, reading: Annotation | None) -> None:
    """Show the outline of another reader's masks, or take that layer away."""
    masks = None if work is None or reading is None else reading.mask.view(np.uint8)
    name = "" if reading is None else f"outline of {reading.annotator}"
    _show_beside(viewer, work, "reading", masks, name, (PINK,))
    for layer in viewer.layers:
        if layer.metadata.get(KEY) == "reading":
            layer.contour = 2


def _show_beside(
    viewer: ViewerModel,
    work: Work | None,
    kind: str,
    masks: NDArray[np.uint8] | None,
    name: str,
    colours: tuple[str, ...],
) -> None:
    known = [layer for layer in viewer.layers if layer.metadata.get(KEY) == kind]
    if work is not None and masks is not None:
        for layer in known:
            if layer.metadata[IMAGE_KEY] == work.image.unique_id and layer.name == name:
                layer.data = masks
                return
    for layer in known:
        viewer.layers.remove(layer)
    if work is None or masks is None:
        return
    colormap: dict[int | None, str] = {None: colours[0], 0: CLEAR}
    active = viewer.layers.selection.active
    layer = Labels(
        masks,
        name=name,
        colormap=colormap | dict(enumerate(colours, start=1)),
        opacity=0.8,
        metadata={KEY: kind},
        **space_of(work.image, 2),
    )
    link(layer, work.image)
    viewer.add_layer(layer)
    viewer.layers.selection.active = active
