"""From a frame to the network's square image, and back to the frame's own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import make_interp_spline
from scipy.sparse import csr_array
from skimage.exposure import equalize_adapthist

from ..types import Box, ColourFlow, Frame, PrepareConfig
from .channels import despeckle, measured_channels
from .elastogram import Elastogram
from .measurement import bounds
from .overlay import Marks, find_overlay, paint_over, read_marks, tissue_of
from .scan_area import find_scan_area

__all__ = [
    "Geometry",
    "ModelInput",
    "find_overlay",
    "find_scan_area",
    "paint_over",
    "prepare",
    "restore",
    "scan_of",
    "to_model",
]


FLOW_TAKEN_OUT = (
    "The frame shows Doppler flow: its colour was taken out of the grey image before the model scored it."
)
ELASTOGRAM_TAKEN_OUT = (
    "The frame shows an elastogram: its colours were taken out of the grey image before the model scored it."
)
ELASTOGRAM_HIDES = (
    "The frame shows an elastogram whose colours hide the grey image: what lies under them was not scored. "
    "Choose a frame without them."
)


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The map from a frame to the network's square and back.

    Parameters
    ----------
    frame_shape : (int, int)
        Rows and columns of the frame.
    box : (int, int, int, int)
        Scan area, half-open: first row, first column, last row + 1, last column + 1.
    model_shape : (int, int)
        Rows and columns of the network's input.
    keep_aspect : bool
        The scan area lies in the middle of the square; otherwise it is stretched to fill it.
    """

    frame_shape: tuple[int, int]
    box: Box
    model_shape: tuple[int, int] = (256, 256)
    keep_aspect: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelInput:
    """The network's input, made from one frame.

    Parameters
    ----------
    image : ndarray of float32, shape (256, 256), in [0, 1]
    overlay : ndarray of bool, shape (H, W)
        Burned-in marks that were painted over, in frame pixels.
    geometry : Geometry
    flow : ColourFlow, optional
        Doppler flow, which was taken out of the image too; None for a frame without Doppler.
    elastogram : Elastogram, optional
        Stiffness in colour, which was taken out as well; None for a frame without.
    planes : ndarray of float32, shape (2 C, 256, 256), in [0, 1]
        Of each further channel the value, and the share of each pixel in which it was measured; both 0
        where it was not.
    """

    image: NDArray[np.float32]
    overlay: NDArray[np.bool_]
    geometry: Geometry
    flow: ColourFlow | None = None
    elastogram: Elastogram | None = None
    planes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 256, 256), np.float32))

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user on what was taken out of the image."""
        if self.elastogram is not None:
            return (ELASTOGRAM_HIDES if self.elastogram.is_hidden else ELASTOGRAM_TAKEN_OUT,)
        return (FLOW_TAKEN_OUT,) if self.flow is not None and self.flow.mask.any() else ()

    def stiffness_of(self, instances: NDArray[np.uint8]) -> tuple[float | None, ...]:
        """Return the mean stiffness of each node, as a part of the colour bar; none without an elastogram.

        Parameters
        ----------
        instances : ndarray of uint8, shape (H, W)
            Node ids from 1 on.
        """
        if self.elastogram is None:
            return ()
        found = self.elastogram
        return tuple(found.of_node(instances == id_) for id_ in range(1, int(instances.max()) + 1))

    @property
    def stacked(self) -> NDArray[np.float32]:
        """The image and its planes, float32 (1 + 2 C, 256, 256)."""
        return np.concatenate([self.image[None], self.planes])


def prepare(
    frame: Frame,
    config: PrepareConfig = PrepareConfig(),  # noqa: B008  (frozen)
    *,
    scan_area: Box | None = None,
    overlay: NDArray[np.bool_] | None = None,
) -> ModelInput:
    """Turn a frame into what the network sees.

    Luma inside the scan area, burned-in marks and Doppler colour painted over, area-averaged to 256×256.

    Parameters
    ----------
    frame : Frame
    config : PrepareConfig
        Letterbox or stretch, overlay removal, enhancement. A model's card stores the one it
        was trained with.
    scan_area : Box, optional
        The frame's own, or found by :func:`find_scan_area` otherwise.
    overlay : ndarray of bool, shape (H, W), optional
        Marks to paint over, corrected by the user; found by :func:`find_overlay` otherwise.

    Returns
    -------
    ModelInput
        Image float32 (256, 256) in [0, 1], the marks inside the scan area that were painted
        over, and the geometry that :func:`restore` needs.

    Raises
    ------
    ValueError
        If the scan area does not lie in the frame, or the overlay has another shape.
    """
    box = _checked(scan_area if scan_area is not None else find_scan_area(frame), frame.shape)
    if overlay is not None and overlay.shape != frame.shape:
        raise ValueError(
            f"overlay has shape {overlay.shape}, the frame {frame.shape}: give it one flag a pixel."
        )
    geometry = Geometry(frame_shape=frame.shape, box=box, keep_aspect=config.keep_aspect)
    row0, column0, row1, column1 = box
    inside = np.s_[row0:row1, column0:column1]
    painted = np.zeros(frame.shape, dtype=bool)
    found = Marks(painted, None)
    if frame.pixels.ndim == 3 or (config.remove_overlay and overlay is None):
        found = read_marks(frame, box)
        overlay = found.overlay if overlay is None else overlay
    if config.remove_overlay and overlay is not None:
        painted[inside] = overlay[inside]
    tissue = tissue_of(frame, inside, painted, found)
    image = _forward(tissue, geometry, smooth=True) / np.float32(255)
    rows, columns = _content(geometry)
    if config.enhance:
        image = equalize_adapthist(image).astype(np.float32)
    square = np.zeros(geometry.model_shape, dtype=np.float32)
    square[rows, columns] = np.clip(image, 0, 1)
    return ModelInput(
        image=square,
        overlay=painted,
        geometry=geometry,
        flow=found.flow,
        elastogram=found.elastogram,
        planes=_planes(frame, config.channels, square, found, geometry),
    )


def _planes(
    frame: Frame, names: Sequence[str], square: NDArray[np.float32], found: Marks, geometry: Geometry
) -> NDArray[np.float32]:
    """Value and place of measurement of each channel, float32 (2 C, 256, 256), in [0, 1]."""
    planes = np.zeros((2 * len(names), *square.shape), np.float32)
    measured = measured_channels(frame, found.flow, found.elastogram) if names else {}
    for at, name in enumerate(names):
        value, where = planes[2 * at], planes[2 * at + 1]
        if name == "despeckled":
            where[_content(geometry)] = 1
            value[:] = despeckle(np.rint(square * 255).astype(np.uint8)) / np.float32(255)
        elif name in measured:
            plane = measured[name]
            where[:] = to_model(plane > 0, geometry)
            row0, column0, row1, column1 = geometry.box
            share = np.maximum(plane[row0:row1, column0:column1].astype(np.float32) - 1, 0) / 254
            value[_content(geometry)] = _forward(share, geometry, smooth=False)
            value /= np.maximum(where, 1e-3)
            np.clip(value, 0, 1, out=value)
    return planes


def scan_of(frame: Frame) -> tuple[NDArray[np.uint8], Box]:
    """The scan of a frame as networks see it, in the frame's own pixels.

    Parameters
    ----------
    frame : Frame

    Returns
    -------
    ndarray of uint8, shape (H, W)
        Luma, with burned-in marks and Doppler colour painted over; 0 outside the scan area.
    (int, int, int, int)
        The scan area.
    """
    row0, column0, row1, column1 = box = find_scan_area(frame)
    inside = np.s_[row0:row1, column0:column1]
    found = read_marks(frame, box)
    tissue = np.zeros(frame.shape, dtype=np.uint8)
    tissue[inside] = tissue_of(frame, inside, found.overlay, found)
    return tissue, box


def to_model(mask: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.float32]:
    """Map a mask in frame pixels to the network's square.

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)
    geometry : Geometry

    Returns
    -------
    ndarray of float32, shape (256, 256), in [0, 1]
        The share of each model pixel that the mask covers.

    Raises
    ------
    ValueError
        If the mask does not have the frame's shape.
    """
    if mask.shape != geometry.frame_shape:
        raise ValueError(
            f"mask has shape {mask.shape}, the frame {geometry.frame_shape}: map it to frame pixels first."
        )
    row0, column0, row1, column1 = geometry.box
    square = np.zeros(geometry.model_shape, dtype=np.float32)
    inside = mask[row0:row1, column0:column1]
    place = bounds(inside)
    if place is not None:
        # what is empty adds nothing: a node is a small part of a frame
        square[_content(geometry)] = _forward(inside, geometry, smooth=False, place=place)
    return square


def restore(map_: NDArray[np.floating], geometry: Geometry) -> NDArray[np.float32]:
    """Map the network's square back to the frame's own pixels.

    The inverse of area averaging: a smooth surface whose mean over each model pixel is that
    pixel's value, averaged over each frame pixel. Plain linear interpolation would blur the
    map a second time and shrink small nodes. Threshold the result, not the map.

    Parameters
    ----------
    map_ : ndarray of float, shape (256, 256), in [0, 1]
    geometry : Geometry

    Returns
    -------
    ndarray of float32, shape (H, W)
        Within the range of ``map_``; 0 outside the scan area.

    Raises
    ------
    ValueError
        If the map does not have the shape that the geometry names.
    """
    if map_.shape != geometry.model_shape:
        raise ValueError(
            f"map has shape {map_.shape}, the geometry {geometry.model_shape}: restore one map at a time."
        )
    row0, column0, row1, column1 = geometry.box
    content = np.asarray(map_[_content(geometry)], dtype=np.float32)
    up = _resampling(content.shape[0], row1 - row0, True)
    across = _resampling(content.shape[1], column1 - column0, True)
    surface = np.asarray(up @ content @ across.T, dtype=np.float32)
    _place_crisp_edges(surface, content, up, across)
    restored = np.zeros(geometry.frame_shape, dtype=np.float32)
    restored[row0:row1, column0:column1] = np.clip(surface, content.min(), content.max())
    return restored


def _place_crisp_edges(
    surface: NDArray[np.float32],
    content: NDArray[np.float32],
    up: NDArray[np.float32],
    across: NDArray[np.float32],
) -> None:
    """Shift edges so that what lies within them covers each model pixel by its value, in place.

    Only where a map goes from 0 to 1 within three model pixels, as a mask does: there a value
    is a share of area. Elsewhere it is a probability, and stays as it is.
    """
    shape = np.array(content.shape)
    scale = np.array(surface.shape) / shape
    crisp = (ndimage.maximum_filter(content, 3) >= 0.85) & (ndimage.minimum_filter(content, 3) <= 0.15)
    if scale.min() <= 1 or not crisp.any():
        return
    # The spline's influence ends within six model pixels.
    places = np.argwhere(crisp)
    first, last = np.maximum(places.min(axis=0) - 6, 0), np.minimum(places.max(axis=0) + 7, shape)
    rows, columns = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    ends = np.floor(first * scale).astype(int), np.ceil(last * scale).astype(int)
    tall, wide = (slice(int(a), int(b)) for a, b in zip(*ends, strict=True))
    up, across, part = up[tall, rows], across[wide, columns], surface[tall, wide]
    down = _resampling(surface.shape[0], content.shape[0], False)[rows, tall]
    along = _resampling(surface.shape[1], content.shape[1], False)[columns, wide]
    change = np.zeros(crisp[rows, columns].shape, dtype=np.float32)
    for _ in range(2):
        inside = np.clip(3 * (part + up @ change @ across.T) - 1, 0, 1)
        change += crisp[rows, columns] * (content[rows, columns] - down @ inside @ along.T)
    part += up @ change @ across.T


def _checked(box: Box, shape: tuple[int, int]) -> Box:
    row0, column0, row1, column1 = box
    if not (0 <= row0 < row1 <= shape[0] and 0 <= column0 < column1 <= shape[1]):
        raise ValueError(
            f"scan area {box} does not lie in a frame of {shape[0]}×{shape[1]} pixels: "
            "give (row0, column0, row1, column1), half-open."
        )
    return box


def _content(geometry: Geometry) -> tuple[slice, slice]:
    """Rows and columns of the square that show the scan area; the rest is black."""
    row0, column0, row1, column1 = geometry.box
    sizes = np.array([row1 - row0, column1 - column0])
    square = np.array(geometry.model_shape)
    if geometry.keep_aspect:
        # Whole pixels, so that no model pixel mixes tissue with the black margin.
        square = np.maximum(1, np.rint(sizes * (square / sizes).min())).astype(int)
    starts = (np.array(geometry.model_shape) - square) // 2
    rows, columns = (slice(int(a), int(a + n)) for a, n in zip(starts, square, strict=True))
    return rows, columns


def _forward(
    image: NDArray[np.generic], geometry: Geometry, *, smooth: bool, place: tuple[slice, slice] = np.s_[:, :]
) -> NDArray[np.float32]:
    """Resample the scan area, of which nothing but ``place`` is other than 0, to the square's content."""
    rows, columns = _content(geometry)
    down = _sparse_resampling(image.shape[0], rows.stop - rows.start, smooth)[:, place[0]]
    across = _sparse_resampling(image.shape[1], columns.stop - columns.start, smooth)[:, place[1]]
    return np.asarray((across @ (down @ image[place].astype(np.float32)).T).T, dtype=np.float32)


@lru_cache(maxsize=64)
def _sparse_resampling(n_in: int, n_out: int, smooth: bool) -> csr_array:
    """As :func:`_resampling`: an average takes in a few cells each, and the rest need no counting."""
    return csr_array(_resampling(n_in, n_out, smooth))


@lru_cache(maxsize=64)
def _resampling(n_in: int, n_out: int, smooth: bool) -> NDArray[np.float32]:
    """Matrix (n_out, n_in) from the means over n_in equal cells to the means over n_out cells.

    Area average; where ``smooth`` and enlarging, the surface whose mean over each old cell is
    that cell's value: a quintic spline through the running integral, differenced at the new borders.
    """
    borders = np.linspace(0, n_in, n_out + 1)
    if smooth and n_out > n_in > 5:
        margin = min(8, n_in)
        mirrored = np.pad(np.eye(n_in), [(margin, margin), (0, 0)], mode="symmetric")
        integral = np.vstack([np.zeros(n_in), np.cumsum(mirrored, axis=0)])
        spline = make_interp_spline(np.arange(len(integral)), integral, k=5)
        covered = np.diff(spline(borders + margin), axis=0)
    else:
        cells = np.arange(n_in)
        ends = np.minimum(borders[1:, None], cells + 1) - np.maximum(borders[:-1, None], cells)
        covered = np.maximum(ends, 0)
    matrix = np.asarray(covered * (n_out / n_in), dtype=np.float32)
    matrix.flags.writeable = False
    return matrix
