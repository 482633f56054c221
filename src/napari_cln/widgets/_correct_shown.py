"""Which mask is on the desk, and what is shown of it: a line of words, a layer with what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image, Labels

from .._layers import IMAGE_KEY, image_of, link, space_of
from .._layers.space import CLEAR, GREEN, KEY, PINK
from ..study.reading import digest
from ..types import Frame
from ._correct_saver import Kind
from ._correct_work import Work
from ._results import nodes_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["chosen_labels", "describe_work", "kind_of", "name_of_cine", "show_difference"]

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
    known = [layer for layer in viewer.layers if layer.metadata.get(KEY) == "difference"]
    if work is not None and known and known[0].metadata[IMAGE_KEY] == work.image.unique_id:
        known[0].data = work.difference()
        return
    for layer in known:
        viewer.layers.remove(layer)
    if work is None:
        return
    active = viewer.layers.selection.active
    changes = Labels(
        work.difference(),
        name="added (green), removed (pink)",
        colormap={None: GREEN, 0: CLEAR, 1: GREEN, 2: PINK},
        opacity=0.8,
        metadata={KEY: "difference"},
        **space_of(work.image, 2),
    )
    link(changes, work.image)
    viewer.add_layer(changes)
    viewer.layers.selection.active = active
