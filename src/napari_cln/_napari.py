"""Targets of napari's manifest that need no window: reader, writer, sample data."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._layers import (
    LayerTuple,
    encode_labels,
    is_segmentation_file,
    masks_to_layer,
    message_to_layer,
    model_note,
    prediction_to_layer,
    reading_of,
    readings_to_layer,
    segmentation_to_layers,
    source_to_layer,
)
from .batch.masks import MaskFile
from .disk.atomic import write_atomically
from .errors import ClnError, ExportError, FrameReadError, PredictionError
from .io.sources import locate_sources, open_source
from .models.library import IN_USE, read_card

if TYPE_CHECKING:
    from ._layers.space import LayerOptions
    from .network.inference import Segmenter
    from .types import Frame

SAMPLES = Path(__file__).parent / "samples"

_opened: dict[Path, None] = {}
"""The last files that the reader has opened, for segmentations of them."""
MAX_OPENED = 500

MAX_FILES = 50
"""Files of a folder that become layers at once; napari's list holds no more in a useful way."""

NOT_STUDIES = (
    (("dataset.json", "records"), "a training folder", "Choose it in the Correct dock."),
    (("results.csv", "run.jsonl"), "what napari-cln segment wrote", "Open one of the pictures in it."),
)
"""Folders that hold more than frames: the files that tell, what they are, and what to do."""


def read_layers(path: str | Sequence[str]) -> list[LayerTuple]:
    """Open ultrasound files and folders as napari layers.

    Parameters
    ----------
    path : str or sequence of str

    Returns
    -------
    list of tuple
        For a frame: Image; Points that write the malignancy on the canvas; Labels with an id
        per node. For a cine: its Image, to be segmented on request. For a batch's
        ``masks.jsonl``: a Labels layer with a mask for each step of the slider. For a segmentation (DICOM
        SEG, .seg.nrrd): Labels over its image, which opens too where it lies beside it. For a folder: an
        Image for each file in it, the first one in view, to be segmented on request.

    Raises
    ------
    FrameReadError
        If a file can't be read. A model that can't be used is a warning: the frame opens.
    """
    paths = [path] if isinstance(path, str) else list(path)
    return [layer for one in paths for layer in _read_file(Path(one))]


def _read_folder(folder: Path) -> list[LayerTuple]:
    """Images of the files in a folder; none is segmented unasked, as with a cine."""
    if (folder / "masks.jsonl").is_file():
        return _read_file(folder / "masks.jsonl")
    for sign, what, remedy in NOT_STUDIES:
        if all((folder / name).exists() for name in sign):
            raise FrameReadError(f"{folder.name} is {what}. {remedy}")
    found = list(dict.fromkeys(itertools.islice(locate_sources(folder), MAX_FILES + 1)))
    if len(found) == 1:
        return _read_file(Path(found[0]))
    layers: list[LayerTuple] = []
    failures: list[FrameReadError] = []
    for file in found[:MAX_FILES]:
        try:
            source = open_source(file)
            layer = source_to_layer(source)
        except FrameReadError as error:
            failures.append(error)
            continue
        _warn(*source.warnings)
        layer[1]["visible"] = not layers
        layers.append(layer)
    if len({layer[1]["units"][-1] for layer in layers}) > 1:
        # In one space with pixels, millimetres make a picture ten times too small to be seen.
        for _, options, _ in layers:
            options |= {"scale": (1.0,) * len(options["scale"]), "units": ("pixel",) * len(options["units"])}
    if not layers:
        raise failures[0]
    if failures:
        _warn(
            f"{len(failures)} of {len(found[:MAX_FILES])} files in {folder.name} can't be read. {failures[0]}"
        )
    if len(found) > MAX_FILES:
        _warn(
            f"{folder.name} holds more than {MAX_FILES} files; the first {MAX_FILES} are open. "
            "To walk through all of them, add the folder in the Frames dock."
        )
    return layers[::-1]  # napari shows the last one on top and selects it


def _read_file(path: Path) -> list[LayerTuple]:
    if path.is_dir():
        return _read_folder(path)
    if path.suffix == ".jsonl":
        masks = MaskFile(path)
        return [masks_to_layer(masks, masks.shape, [f"{key.source} {key.frame}" for key in masks.keys])]
    if is_segmentation_file(path):
        return segmentation_to_layers(path, _opened)
    source = open_source(path)
    _opened[path] = None
    if len(_opened) > MAX_OPENED:
        del _opened[next(iter(_opened))]
    image = source_to_layer(source)
    if len(source) > 1:
        _warn(*source.warnings)
        return [image]
    frame = source[0]
    source.close()
    _warn(*frame.warnings)
    return [image, *_segment(frame)]


def _warn(*sentences: str) -> None:
    for sentence in sentences:
        warnings.warn(sentence, stacklevel=3)


def _segment(frame: Frame) -> list[LayerTuple]:
    """Prediction of one frame as layers, or the reason why there is none."""
    try:
        segmenter = get_segmenter()
        (prediction,) = segmenter.predict([frame])
        if isinstance(prediction, PredictionError):
            raise prediction
    except Exception as error:
        # A frame is worth seeing without a prediction: whatever fails here, it opens.
        reason = str(error) if isinstance(error, ClnError) else f"{type(error).__name__}: {error}"
        warnings.warn(f"The frame opened without a prediction. {reason}", stacklevel=2)
        return [message_to_layer(f"not segmented: {reason}", frame)]
    return [
        readings_to_layer([reading_of(prediction)], {prediction.model_id: model_note(segmenter.card)}, frame),
        prediction_to_layer(prediction),
    ]


def get_segmenter(model: str = IN_USE, device: str = "auto") -> Segmenter:
    """A model at work, loaded once for the reader and the docks.

    Only the last one is kept, so that trying models does not fill a GPU. A model file that was
    replaced on disk is loaded again.
    """
    return _load_segmenter(model, device, read_card(model).sha256)


@lru_cache(maxsize=1)
def _load_segmenter(model: str, device: str, sha256: str) -> Segmenter:
    from .network.inference import Segmenter

    return Segmenter(model, device)


def write_masks(path: str, data: NDArray[Any], meta: LayerOptions) -> list[str]:
    """Write a Labels layer as a PNG of node ids, uint8, in the frame's own size.

    Raises
    ------
    ExportError
        If the layer is a cine, has ids beyond 255, or the file can't be written.
    """
    from PIL import Image

    masks = np.asarray(data)
    if masks.ndim != 2:
        raise ExportError(f"A PNG holds one frame, the layer {len(masks)}. Save it as .tif instead.")
    if masks.max(initial=0) > 255:
        raise ExportError(f"A PNG holds ids up to 255, the layer {masks.max()}. Save it as .tif instead.")
    try:
        Image.fromarray(masks.astype(np.uint8)).save(path, format="PNG")
    except OSError as cause:
        raise ExportError(
            f"{Path(path).name} can't be written: {cause.strerror}. Choose another folder."
        ) from cause
    return [path]


def write_segmentation(path: str, data: Any, meta: LayerOptions) -> list[str]:
    """Write a Labels layer for other programs: DICOM SEG of its image, .seg.nrrd, NRRD or NIfTI.

    Raises
    ------
    ExportError
        If the format can't hold the layer, a SEG's image is no DICOM, or the file can't be written.
    """
    file = Path(path)
    try:
        write_atomically(file, encode_labels(file.name, data, meta))
    except OSError as cause:
        raise ExportError(
            f"{file.name} can't be written: {cause.strerror}. Choose another folder."
        ) from cause
    return [path]


def open_sample_frame() -> list[LayerTuple]:
    """A simulated neck frame, calibrated, as a scanner exports it (DICOM)."""
    return read_layers(str(SAMPLES / "simulated-frame.dcm"))


def open_sample_cine() -> list[LayerTuple]:
    """A simulated cine: the probe slides over a node."""
    return read_layers(str(SAMPLES / "simulated-cine.dcm"))


def open_sample_real() -> list[LayerTuple]:
    """A real frame with vessels and no marked node (usgra, CC BY 4.0)."""
    return read_layers(str(SAMPLES / "usgra-vessels.png"))
