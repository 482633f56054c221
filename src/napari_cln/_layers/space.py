"""Place in space, name, colours and kind of a layer, and the keys of its metadata."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..errors import FrameReadError
from ..types import Frame

if TYPE_CHECKING:
    from napari.layers import Image, Layer

LayerOptions: TypeAlias = dict[str, Any]
"""Keyword arguments of a layer, as napari hands them on."""

LayerTuple: TypeAlias = tuple[Any, LayerOptions, str]

KEY = "napari-cln"
"""Key in ``layer.metadata`` under which a layer says what it shows."""
IMAGE_KEY = "napari-cln image"
"""Key in a derived layer's metadata for the ``unique_id`` of its Image layer."""
FRAME_KEY = "napari-cln frame"
"""Key for the content hash of the frame, in layers that a reader made before their Image had an id."""
PLACE_KEY = "napari-cln place"
"""Key in an Image's metadata for the transform with which it was put on the canvas."""
SCAN_AREA_KEY = "napari-cln scan area"
"""Key in an Image's metadata for a scan area that the user has drawn."""
PATIENT_KEY = "napari-cln patient"
"""Key in an Image's metadata for the patient that a reader typed: it goes where the picture goes."""
SOURCE_KEY = "napari-cln source"
"""Key in a Labels layer's metadata for the file that its masks lie on."""
OVERLAY_KEY = "napari-cln remove overlay"
"""Key in an Image's metadata that is False where overlays are to stay in the network's input."""
RUN_KEY = "napari-cln frames of a run"
"""Key in a Labels layer's metadata for the set of frames that a run changed, and no reader."""

# Colours that colour-blind readers can tell apart (Okabe and Ito, 2008), without those of
# colour Doppler.
YELLOW, SKY, PINK, GREEN, ORANGE = "#f0e442", "#56b4e9", "#cc79a7", "#009e73", "#e69f00"
CLEAR = "#00000000"


class LayerKind(StrEnum):
    """Things that a layer of the viewer shows beside a frame; the value stands in the layer's metadata."""

    NODES = "nodes"
    """Masks of nodes; a layer without another kind counts as such."""
    MALIGNANCY = "malignancy"
    """Words on the canvas: what was found, or why nothing was."""
    OVERLAY = "overlay"
    SCAN_AREA = "scan area"
    AXES = "axes"
    SCORE_MAP = "score map"
    """An Image that is no frame, but a map over one."""
    DESPECKLED = "despeckled"
    """An Image that is no frame, but a view of one."""
    DIFFERENCE = "difference"
    """What was painted, against what was given."""
    MODEL = "model"
    """The outline of a model, beside the folder's own masks."""
    READING = "reading"
    """Another reader's outline."""
    REFERENCE = "reference"
    """The masks that a training folder has of its frame, where no dock has it open to be corrected."""
    DEPTH_SCALE = "depth scale"
    SKETCH = "sketch"
    """Strokes of a tool, which go when it is put away."""


def space_of(like: Image | Frame, ndim: int | None = None) -> LayerOptions:
    """Place in space for a layer derived from an Image layer or a frame.

    Parameters
    ----------
    like : napari.layers.Image or Frame
    ndim : int, optional
        Axes of the derived layer; its last ones are taken, or a cine's frame axis added.
    """
    if isinstance(like, Frame):
        n_before = (ndim or 2) - 2
        unit = "pixel" if like.spacing_mm is None else "mm"
        return {
            "scale": (1.0,) * n_before + (like.spacing_mm or (1.0, 1.0)),
            "units": ("pixel",) * n_before + (unit, unit),
            "axis_labels": ("frame", "y", "x")[-(n_before + 2) :],
        }
    n = ndim or like.ndim
    return {
        "scale": tuple(like.scale[-n:]),
        "translate": tuple(like.translate[-n:]),
        "units": tuple(like.units[-n:]),
        "axis_labels": tuple(like.axis_labels[-n:]),
    }


def lay(layer: Layer, options: LayerOptions) -> None:
    """Put a layer to where options of :func:`space_of` say, turned and sheared by nothing."""
    n = layer.ndim
    place = {"translate": (0.0,) * n, "rotate": np.eye(n), "shear": np.zeros(n * (n - 1) // 2)}
    for name, value in (place | {"affine": np.eye(n + 1)} | options).items():
        if name not in (*place, "affine", "scale", "units"):
            continue
        now = getattr(layer, name)
        if name == "units":
            differs = [str(one) for one in value] != [str(one) for one in now]
        else:  # napari draws a layer anew also for what it is already
            differs = not np.allclose(np.asarray(now, dtype=float), value)
        if differs:
            setattr(layer, name, value)


def title_of(like: Image | Frame) -> str:
    """Name to call derived layers by."""
    if isinstance(like, Frame):
        return like.source.stem if like.source else "frame"
    return str(like.name)


def path_of(like: Image | Frame) -> Path | None:
    """File that a layer or frame shows; None where it came from elsewhere."""
    known = like if isinstance(like, Frame) else like.metadata.get(KEY)
    path = getattr(known, "source", None) or getattr(known, "path", None)
    return path if isinstance(path, Path) else None


def is_stack(like: Image | Frame) -> bool:
    """Tell whether there is a frame axis.

    Raises
    ------
    FrameReadError
        If a layer is neither a frame nor a stack of frames.
    """
    if isinstance(like, Frame):
        return False
    if like.multiscale or like.ndim not in (2, 3):
        raise FrameReadError(
            f"Layer '{like.name}' of shape {tuple(like.data.shape)} is neither a frame nor a stack "
            "of frames. Choose a layer of shape (rows, columns) or (frames, rows, columns)."
        )
    return bool(like.ndim == 3)
