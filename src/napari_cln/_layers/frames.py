"""Frames and cines ⇄ Image layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FrameReadError
from ..io.sources import FrameSource, as_frame, open_source
from ..types import Frame
from .space import KEY, SCAN_AREA_KEY, LayerTuple, is_stack, name_of, space_of

if TYPE_CHECKING:
    from napari.layers import Image

__all__ = ["frame_from_layer", "frame_to_layer", "frames_from_layer", "n_frames_of", "source_to_layer"]


def frame_to_layer(frame: Frame) -> LayerTuple:
    """Image layer of one frame, in mm where one scale holds for all of it."""
    options = space_of(frame) | {
        "name": name_of(frame),
        "metadata": {KEY: frame},
        "rgb": frame.pixels.ndim == 3,
    }
    if frame.pixels.ndim == 2:
        options["contrast_limits"] = (0, 255)
    return frame.pixels, options, "image"


def source_to_layer(source: FrameSource) -> LayerTuple:
    """Image layer of a file: one frame, or a cine that is read as the slider moves.

    Parameters
    ----------
    source : FrameSource

    Returns
    -------
    tuple
        Data is (Y, X[, 3]), or of a cine a lazy dask array (T, Y, X[, 3]).
    """
    first = source[0]
    if len(source) == 1:
        return frame_to_layer(first)
    import dask.array as da

    def read(block_info: Any = None) -> NDArray[np.uint8]:
        index = block_info[None]["chunk-location"][0]
        try:
            return source[index].pixels[np.newaxis]
        except FrameReadError:
            # The slider passes over a damaged frame; segmenting it says what is wrong with it.
            return np.zeros((1, *first.pixels.shape), dtype=np.uint8)

    chunks = ((1,) * len(source), *((size,) for size in first.pixels.shape))
    meta = np.empty((0,) * len(chunks), dtype=np.uint8)
    pixels = da.map_blocks(read, chunks=chunks, dtype=np.uint8, meta=meta, name=f"frames-{id(source)}")
    options = frame_to_layer(first)[1]
    return pixels, options | space_of(first, 3) | {"metadata": {KEY: source}}, "image"


def frame_from_layer(image: Image, index: int = 0) -> Frame:
    """Frame that an Image layer shows, whoever opened it.

    Parameters
    ----------
    image : napari.layers.Image
        (Y, X[, 3]) or (T, Y, X[, 3]).
    index : int
        Position in a cine.

    Raises
    ------
    FrameReadError
        If the layer is neither a frame nor a stack of frames, or the frame can't be read.
    """
    known = image.metadata.get(KEY)
    if known is not None and not isinstance(known, Frame) and len(known) == n_frames_of(image):
        frame = known[index]
    else:
        pixels = np.asarray(image.data[index] if is_stack(image) else image.data)
        if isinstance(known, Frame) and np.array_equal(known.pixels, pixels):
            frame = known
        else:
            frame = replace(as_frame(pixels), index=index, n_frames=n_frames_of(image))
    return _as_user_says(frame, image)


def frames_from_layer(image: Image, indices: Sequence[int]) -> Iterator[Frame | FrameReadError]:
    """Stream frames of an Image layer, an error in the place of each that can't be read.

    A file is opened anew, so that streaming a video and moving the slider do not make each
    other seek.
    """
    known = image.metadata.get(KEY)
    if isinstance(known, FrameSource) and len(known) == n_frames_of(image):
        with open_source(known.path) as source:
            for index in indices:
                try:
                    yield _as_user_says(source[index], image)
                except FrameReadError as error:
                    yield error
        return
    for index in indices:
        try:
            yield frame_from_layer(image, index)
        except FrameReadError as error:
            yield error


def _as_user_says(frame: Frame, image: Image) -> Frame:
    """Take over what the user has set on the layer: a scale in mm, a scan area."""
    if frame.spacing_mm is None and all(str(unit) == "millimeter" for unit in image.units[-2:]):
        row_mm, column_mm = (float(size) for size in image.scale[-2:])
        frame = replace(frame, spacing_mm=(row_mm, column_mm), spacing_source="typed", spacing_note=None)
    drawn = image.metadata.get(SCAN_AREA_KEY)
    return frame if drawn is None else replace(frame, scan_area=drawn)


def n_frames_of(image: Image) -> int:
    """Number of frames that an Image layer holds.

    Raises
    ------
    FrameReadError
        If the layer is neither a frame nor a stack of frames.
    """
    return len(image.data) if is_stack(image) else 1
