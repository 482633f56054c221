"""Frames and cines ⇄ Image layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ..errors import FrameReadError
from ..io.depth import Scale, scale_of_frames
from ..io.sources import FrameSource, as_frame, open_source
from ..types import Frame
from .space import (
    KEY,
    PATIENT_KEY,
    SCAN_AREA_KEY,
    LayerOptions,
    LayerTuple,
    is_stack,
    space_of,
    title_of,
)

if TYPE_CHECKING:
    from dask.array import Array
    from napari.layers import Image


def frame_to_layer(frame: Frame) -> LayerTuple:
    """Image layer of one frame, in mm where one scale holds for all of it."""
    options = space_of(frame) | {
        "name": title_of(frame),
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

    def read(index: int) -> NDArray[np.uint8]:
        try:
            return source[index].pixels
        except FrameReadError:
            # The slider passes over a damaged frame; segmenting it says what is wrong with it.
            return np.zeros(first.pixels.shape, dtype=np.uint8)

    pixels = _lazy_stack(read, len(source), first.pixels.shape)
    options = frame_to_layer(first)[1]
    return pixels, options | space_of(first, 3) | {"metadata": {KEY: source}}, "image"


def masks_to_layer(
    masks: Sequence[NDArray[np.uint8]], shape: tuple[int, int], names: list[str]
) -> LayerTuple:
    """Labels layer of a batch's masks, read as the slider moves.

    Parameters
    ----------
    masks : sequence of ndarray of uint8, shape (h, w)
        Node ids of each frame, of any size up to ``shape``.
    shape : (int, int)
        The largest height and width; smaller masks lie in the top left corner.
    names : list of str
        Of each frame; the layer's ``metadata["sources"]``.
    """

    def read(index: int) -> NDArray[np.uint8]:
        mask = masks[index]
        whole = np.zeros(shape, dtype=np.uint8)
        whole[: mask.shape[0], : mask.shape[1]] = mask
        return whole

    stack = _lazy_stack(read, len(masks), shape)
    return stack, {"name": "masks", "metadata": {"sources": names}}, "labels"


def _lazy_stack(read: Callable[[int], NDArray[np.uint8]], length: int, shape: tuple[int, ...]) -> Array:
    """Dask array (length, *shape) of uint8 that reads a frame when it is looked at."""
    import dask.array as da

    def block(block_info: Any = None) -> NDArray[np.uint8]:
        return read(block_info[None]["chunk-location"][0])[np.newaxis]

    chunks = ((1,) * length, *((size,) for size in shape))
    meta = np.empty((0,) * len(chunks), dtype=np.uint8)
    # napari keeps what was read by this name, also when the layer is gone: no other may ever have it
    name = f"frames-{uuid4().hex}"
    return da.map_blocks(block, chunks=chunks, dtype=np.uint8, meta=meta, name=name)


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
            frame = as_frame(pixels, scale=_scale_of(image))
            frame = replace(frame, index=index, n_frames=n_frames_of(image))
    return _as_user_says(frame, image)


_SCALES: WeakKeyDictionary[Image, tuple[Any, Scale]] = WeakKeyDictionary()
"""Scale of each layer that is a stack of others' making, and the data that it is of."""


def _scale_of(image: Image) -> Scale | None:
    """Black and white of a whole stack, so that each frame is as a command reads it from the array."""
    if not is_stack(image) or np.dtype(image.data.dtype).kind not in "buif":
        return None
    data, scale = _SCALES.get(image, (None, None))
    if scale is None or data is not image.data:
        scale = scale_of_frames(np.asarray(plane) for plane in image.data)
        _SCALES[image] = image.data, scale
    return scale


def frames_from_layer(image: Image, indices: Sequence[int]) -> Iterator[Frame | FrameReadError]:
    """Stream frames of an Image layer, an error in the place of each that can't be read."""
    with clip_from_layer(image) as clip:
        for index in indices:
            try:
                yield clip[index]
            except FrameReadError as error:
                yield error


@contextmanager
def clip_from_layer(image: Image) -> Iterator[LayerSource]:
    """Frames of an Image layer by their number, for work beside the window.

    A file is opened anew, so that streaming a video and moving the slider do not make each
    other seek.
    """
    known = image.metadata.get(KEY)
    if isinstance(known, FrameSource) and len(known) == n_frames_of(image):
        with open_source(known.path) as source:
            yield LayerSource(image, source)
    else:
        yield LayerSource(image, None)


class LayerSource:
    """Frames of an Image layer, as :func:`clip_from_layer` opens them."""

    def __init__(self, image: Image, source: FrameSource | None) -> None:
        self._image, self._source = image, source

    def __len__(self) -> int:
        return n_frames_of(self._image)

    def __getitem__(self, index: int, /) -> Frame:
        if self._source is None:
            return frame_from_layer(self._image, index)
        return _as_user_says(self._source[index], self._image)


def _as_user_says(frame: Frame, image: Image) -> Frame:
    """Take over what the user has set on the layer: a scale in mm, a scan area."""
    if frame.spacing_mm is None:
        frame = at_typed_scale(frame, image)
    drawn = image.metadata.get(SCAN_AREA_KEY)
    return frame if drawn is None else replace(frame, scan_area=drawn)


def at_typed_scale(frame: Frame, image: Image) -> Frame:
    """Return a frame at the scale that its Image layer has now, unless its file says one."""
    if frame.spacing_source not in (None, "typed") or not _is_in_mm(image):
        return frame
    spacing = float(image.scale[-2]), float(image.scale[-1])
    if frame.spacing_mm == spacing:
        return frame
    return replace(frame, spacing_mm=spacing, spacing_source="typed", spacing_note=None)


def _is_in_mm(image: Image) -> bool:
    return all(str(unit) == "millimeter" for unit in image.units[-2:])


def said_by_user(image: Image) -> LayerOptions:
    """Return what a user has said of an Image layer: scan area, patient, a scale in mm.

    See :func:`say_again`.
    """
    metadata = {key: image.metadata[key] for key in (SCAN_AREA_KEY, PATIENT_KEY) if key in image.metadata}
    return {"metadata": metadata} | ({"scale": tuple(image.scale[-2:])} if _is_in_mm(image) else {})


def say_again(image: Image, said: LayerOptions) -> None:
    """Say of an Image layer that was read anew what :func:`said_by_user` found on the one before.

    A scale is taken where the file itself says none.
    """
    image.metadata.update(said["metadata"])  # napari clears it where it is set to itself
    if "scale" in said and not _is_in_mm(image):
        image.scale = (*image.scale[:-2], *said["scale"])
        image.units = (*image.units[:-2], "mm", "mm")


def n_frames_of(image: Image) -> int:
    """Number of frames that an Image layer holds.

    Raises
    ------
    FrameReadError
        If the layer is neither a frame nor a stack of frames.
    """
    return len(image.data) if is_stack(image) else 1
