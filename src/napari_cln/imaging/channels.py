"""Pictures beside the grey one: Doppler flow, stiffness, contrast agent, and the frame without its speckle.

A channel is uint8, (H, W): 0 where nothing was measured, and 1 to 255 from the least value to the greatest.
So what was not measured is never taken for a low value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.restoration import denoise_nl_means

from ..types import Box, ColourFlow, Frame, Region
from .colour import hue_of
from .elastogram import Elastogram
from .measurement import bounds

__all__ = ["despeckle", "measured_channels"]

Plane = NDArray[np.uint8]

STRENGTH = 6.0
"""Strength of the smoothing, in standard deviations of a frame's own speckle."""
LEAST_LIT = 9
"""Pixels, of those looked at, from which a view has a colour at all."""


def despeckle(grey: Frame | NDArray[np.uint8], *, strength: float = STRENGTH) -> Plane:
    """Return a frame without most of its speckle; edges stay.

    Parameters
    ----------
    grey : Frame or ndarray of uint8, shape (H, W)
    strength : float
        In standard deviations of the frame's own speckle, which is measured; above 0.

    Returns
    -------
    ndarray of uint8, shape (H, W)

    Raises
    ------
    ValueError
        If the strength is not above 0.

    Notes
    -----
    Non-local means [1]_: each pixel becomes the mean of those nearby that have a like neighbourhood. It is a
    view: a model that was not trained on it scores it otherwise, so that no model is shown it unless its
    card says so.

    References
    ----------
    .. [1] A. Buades, B. Coll and J.-M. Morel, "A non-local algorithm for image denoising", CVPR 2005.
           :doi:`10.1109/CVPR.2005.38`

    Examples
    --------
    >>> from napari_cln import simulate
    >>> frame = simulate(3).frame
    >>> despeckle(frame).shape == frame.shape
    True
    """
    if not strength > 0:
        raise ValueError(f"strength is {strength}: give a number above 0.")
    image = grey.grey if isinstance(grey, Frame) else grey
    place = bounds(image > 0)
    smooth = image.copy()
    if place is None:
        return smooth
    part = image[place].astype(np.float32)
    sigma = _speckle_of(part)
    if sigma > 0:
        found = denoise_nl_means(part, patch_size=5, patch_distance=7, h=strength * sigma, fast_mode=True)
        smooth[place] = np.rint(np.clip(found, 0, 255)).astype(np.uint8)
    return smooth


def _speckle_of(image: NDArray[np.float32]) -> float:
    """Standard deviation of what a median takes away in the tissue: robust against edges and strokes."""
    rest = image - ndimage.median_filter(image, 7)
    rest = rest[image > 8]
    return float(1.4826 * np.median(np.abs(rest))) if rest.size else 0.0


def measured_channels(
    frame: Frame, flow: ColourFlow | None, elastogram: Elastogram | None
) -> dict[str, Plane]:
    """Return what was measured beside the grey image, by channel; those that were not are left out.

    Parameters
    ----------
    frame : Frame
        Channels that it brings along go before those read from its colours.
    flow : ColourFlow, optional
        As :func:`napari_cln.find_flow` finds it.
    elastogram : Elastogram, optional
        As :func:`napari_cln.find_elastogram` reads it.
    """
    read = {"flow": _flow_plane(flow)}
    if elastogram is None:
        read["contrast"] = _contrast(frame)
    else:
        read["stiffness"] = _on_both(frame.regions, elastogram.plane, elastogram.box)
    found = {name: plane for name, plane in read.items() if plane is not None and plane.any()}
    return found | dict(frame.channels)


def _flow_plane(flow: ColourFlow | None) -> Plane | None:
    """Flow in its box; in the box that holds all colour where none is known."""
    if flow is None:
        return None
    plane = np.zeros(flow.mask.shape, np.uint8)
    if flow.box is not None:
        plane[flow.box[0] : flow.box[2], flow.box[1] : flow.box[3]] = 1
    elif (place := bounds(flow.mask)) is not None:
        plane[place] = 1
    plane[flow.mask] = 255
    return plane


def _on_both(regions: tuple[Region, ...], plane: Plane, box: Box) -> Plane:
    """A plane measured in one of two like views side by side, shown in the other one too."""
    middle = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
    for one, other in twin_views(regions):
        for here, there in ((one, other), (other, one)):
            if here[0] <= middle[0] < here[2] and here[1] <= middle[1] < here[3]:
                return _copied(plane, here, there)
    return plane


def _contrast(frame: Frame) -> Plane | None:
    """Contrast agent in its own view, and at the same place of the grey one."""
    views = contrast_views(frame)
    if views is None:
        return None
    still, agent = views
    plane = np.zeros(frame.shape, np.uint8)
    inside = np.s_[agent[0] : agent[2], agent[1] : agent[3]]
    plane[inside] = 1 + np.minimum(frame.pixels[inside].max(axis=2), 254)
    return _copied(plane, agent, still)


def contrast_views(frame: Frame) -> tuple[Box, Box] | None:
    """Find a view of contrast agent, tinted throughout and in one hue, beside a grey one of its size.

    Parameters
    ----------
    frame : Frame

    Returns
    -------
    (Box, Box) or None
        The grey view, and the agent's, of one size. None also where no agent has come yet: other frames of
        the clip show which is which.
    """
    if frame.pixels.ndim == 2:
        return None
    for one, other in twin_views(frame.regions):
        for still, agent in ((one, other), (other, one)):
            if _is_grey(frame, still) and _is_tinted(frame, agent):
                return still, agent
    return None


def _is_grey(frame: Frame, box: Box) -> bool:
    _, tint = _lit(frame, box)
    return tint.size < LEAST_LIT or float(tint.mean()) < 0.03


def _is_tinted(frame: Frame, box: Box) -> bool:
    """Tell whether a view has one hue all over; an elastogram has many, on grey tissue, as flow has."""
    colours, tint = _lit(frame, box)
    tinted = tint > 0.1
    counted = tinted | (colours.max(axis=1) < 250)  # maps of an agent may end in white
    if counted.sum() < LEAST_LIT or tinted.sum() < 0.8 * counted.sum():
        return False
    hues = np.radians(hue_of(colours[tinted]))
    return float(abs(np.exp(1j * hues).mean())) > 0.8  # from red to yellow 0.9, along a rainbow 0.5


def _lit(frame: Frame, box: Box) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Colours (N, 3) of some of a view's pixels that are not black, and how strong each is, in [0, 1]."""
    part = frame.pixels[box[0] : box[2] : 4, box[1] : box[3] : 4].reshape(-1, 3)
    lit = part[part.max(axis=1) > 16]
    return lit, (np.ptp(lit, axis=1) / lit.max(axis=1)).astype(np.float32)


def twin_views(regions: tuple[Region, ...]) -> list[tuple[Box, Box]]:
    """Find pairs of views side by side that have the same scale and, but for a line or two, the same size.

    Parameters
    ----------
    regions : tuple of Region

    Returns
    -------
    list of (Box, Box)
        Both of a pair cut to the size that they have in common.
    """
    tissue = [region for region in regions if region.kind == "tissue"]
    pairs = []
    for at, one in enumerate(tissue):
        for other in tissue[at + 1 :]:
            sizes = [(box[2] - box[0], box[3] - box[1]) for box in (one.box, other.box)]
            alike = max(abs(sizes[0][0] - sizes[1][0]), abs(sizes[0][1] - sizes[1][1])) <= 2
            if alike and one.has_scale_of(other) and not one.overlaps(other):
                rows, columns = map(min, zip(*sizes, strict=True))
                pairs.append((_cut(one.box, rows, columns), _cut(other.box, rows, columns)))
    return pairs


def _cut(box: Box, rows: int, columns: int) -> Box:
    return box[0], box[1], box[0] + rows, box[1] + columns


def _copied(plane: Plane, here: Box, there: Box) -> Plane:
    both = plane.copy()
    both[there[0] : there[2], there[1] : there[3]] = plane[here[0] : here[2], here[1] : here[3]]
    return both
