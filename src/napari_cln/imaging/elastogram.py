"""Elastograms: the stiffness behind a colour-coded box, read by the colour bar beside it.

A machine lays colours over the grey image, more or less see-through. That adds grey to each colour, which
changes its strength and its brightness, never its hue: by its hue a pixel is found on the bar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..types import Box, Frame
from .colour import hue_of
from .measurement import TOUCHING

__all__ = ["Elastogram", "find_elastogram"]

Hard: TypeAlias = Literal["red", "blue"]
BLUE_IS_HARD = ("hitachi", "aloka", "fujifilm")
"""Makers whose bars run from soft red to hard blue; those of others run the other way."""
VIVID = 70
"""Difference between the strongest and the weakest of red, green and blue in a colour of the bar."""
TINTED = 24
"""The same in a colour that lies see-through over a grey image."""
NEAREST = 14.0
"""Degrees of hue between a pixel and the bar, above which it shows something else."""
SEE_THROUGH = 0.85
"""Opacity of the colours above which the grey image under them is lost."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Elastogram:
    """Stiffness in the colour box of a frame.

    Parameters
    ----------
    stiffness : ndarray of float32, shape (H, W)
        In kPa where the full scale is known, else as a part of it, in [0, 1]; NaN where nothing was measured.
    box : (int, int, int, int)
        The colour box, half-open.
    bar : (int, int, int, int)
        The colour bar, half-open.
    opacity : float
        Of the colours over the grey image, in [0, 1].
    grey : ndarray of uint8, shape (H, W)
        The frame's grey image with the colours taken out; where they hide it, it is what they show.
    full_scale_kpa : float, optional
        Stiffness at the hard end of the bar; None for figures that are relative.
    """

    stiffness: NDArray[np.float32]
    box: Box
    bar: Box
    opacity: float
    grey: NDArray[np.uint8]
    full_scale_kpa: float | None = None

    @property
    def plane(self) -> NDArray[np.uint8]:
        """The stiffness as a channel of a frame: 0 where it was not measured, 1 to 255 along the bar."""
        share = self.stiffness / (self.full_scale_kpa or 1.0)
        return np.where(np.isnan(share), 0, np.rint(1 + 254 * np.nan_to_num(share))).astype(np.uint8)

    @property
    def is_hidden(self) -> bool:
        """True where the colours hide the grey image."""
        return self.opacity > SEE_THROUGH

    def of_node(self, mask: NDArray[np.bool_]) -> float | None:
        """Return the mean stiffness of a node; None where less than half of it was measured.

        Parameters
        ----------
        mask : ndarray of bool, shape (H, W)
        """
        values = self.stiffness[mask]
        known = values[~np.isnan(values)]
        return float(known.mean()) if values.size and known.size >= 0.5 * values.size else None


def find_elastogram(
    frame: Frame, *, full_scale_kpa: float | None = None, hard: Hard | None = None
) -> Elastogram | None:
    """Read the stiffness of an elastogram by its colour bar.

    Parameters
    ----------
    frame : Frame
    full_scale_kpa : float, optional
        What the hard end of the bar says, such as 180; without it the stiffness is a part of the full scale.
    hard : {"red", "blue"}, optional
        Which end of the bar is hard; by the frame's maker if None, and red where no maker is known.

    Returns
    -------
    Elastogram or None
        None where there is no bar from red over green to blue, or no box in its colours.

    Notes
    -----
    Hues that a bar has twice, as dark blue and blue at the end of many, give the middle of both. Colour bars
    of grey alone, and of strain in numbers, are not read.
    """
    if frame.pixels.ndim == 2 or not _has_green(frame.pixels[::3, ::3]):
        return None
    pixels = frame.pixels.astype(np.int16)
    strength = pixels.max(axis=2) - pixels.min(axis=2)
    bar = _find_bar(frame.pixels, strength)
    if bar is None:
        return None
    row0, column0, row1, column1 = bar
    middle = frame.pixels[row0:row1, column0 + 1 : column1 - 1] if column1 - column0 > 3 else None
    colours = np.median(middle if middle is not None else frame.pixels[row0:row1, column0:column1], axis=1)
    red_is_first = _is_red(colours[0]) or not _is_red(colours[-1])
    if hard is None:
        said = (frame.vendor or "").casefold()
        hard = "blue" if any(name in said for name in BLUE_IS_HARD) else "red"
    share = np.linspace(0, 1, len(colours))
    positions, off, full = _by_hue(colours, 1 - share if red_is_first == (hard == "red") else share)
    tinted = strength > TINTED
    tinted[max(row0 - 2, 0) : row1 + 2, max(column0 - 2, 0) : column1 + 2] = False
    hue = np.full(frame.shape, np.nan, np.float32)
    hue[tinted] = hue_of(pixels[tinted])
    nearest = np.rint(np.nan_to_num(hue)).astype(np.int16) % 360
    tinted &= (off <= NEAREST)[nearest]
    box = _largest(tinted, frame.pixels)
    if box is None:
        return None
    inside = np.zeros(frame.shape, bool)
    inside[box[0] : box[2], box[1] : box[3]] = True
    measured = tinted & inside
    stiffness = np.where(measured, positions.astype(np.float32)[nearest], np.float32(np.nan))
    opacity = float(np.clip(np.median(strength[measured] / full[nearest[measured]][:, 1]), 0, 1))
    return Elastogram(
        stiffness=stiffness * np.float32(full_scale_kpa or 1.0),
        box=box,
        bar=bar,
        opacity=opacity,
        grey=_grey_under(frame, measured, full[nearest[measured]], opacity),
        full_scale_kpa=full_scale_kpa,
    )


def _has_green(pixels: NDArray[np.uint8]) -> bool:
    """Tell quickly whether there is a vivid green: grey screens have none, and Doppler hardly ever."""
    red, green, blue = (pixels[..., k].astype(np.int16) for k in range(3))
    return int(np.count_nonzero((green > red + 20) & (green > blue + 40))) >= 4


def _find_bar(pixels: NDArray[np.uint8], strength: NDArray[np.int16]) -> Box | None:
    """An upright strip of vivid colours, alike along each row, from red over green to blue."""
    rows, columns = strength.shape
    labels, _ = ndimage.label(strength > VIVID, TOUCHING)
    best: Box | None = None
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        tall, wide = (part.stop - part.start for part in place)
        if tall < max(24, rows // 12) or wide > tall / 3 or wide > columns / 12 or wide < 3:
            continue
        strip = pixels[place].astype(np.int16)
        if (labels[place] == number).mean() < 0.85:
            continue
        core = strip[:, 1:-1] if wide > 4 else strip
        if np.median(np.ptp(core, axis=1)) > 40:  # the same colour from side to side
            continue
        line = np.median(core, axis=1)
        red, green, blue = line.T
        parts = (
            (red > green + 60) & (red > blue + 60),
            (green > blue + 40) & (green >= red - 60),
            (blue > red + 60) & (blue > green + 20),
        )
        if min(part.mean() for part in parts) < 0.08 or not _is_red(line[0]) ^ _is_red(line[-1]):
            continue
        if best is None or tall > best[2] - best[0]:
            best = place[0].start, place[1].start, place[0].stop, place[1].stop
    return None if best is None else _to_its_ends(pixels, strength, best)


def _to_its_ends(pixels: NDArray[np.uint8], strength: NDArray[np.int16], bar: Box) -> Box:
    """The bar with its dark ends: rows that go on in nearly the same colour."""
    row0, column0, row1, column1 = bar
    lines = np.median(pixels[:, column0:column1], axis=1)
    weak = np.median(strength[:, column0:column1], axis=1)

    def goes_on(row: int, beside: int) -> bool:
        inside = 0 <= row < len(lines)
        return inside and weak[row] > TINTED and bool(np.abs(lines[row] - lines[beside]).max() < 30)

    while goes_on(row0 - 1, row0):
        row0 -= 1
    while goes_on(row1, row1 - 1):
        row1 += 1
    return row0, column0, row1, column1


def _is_red(colour: NDArray[np.floating]) -> bool:
    return bool(colour[0] > colour[2])


def _by_hue(
    colours: NDArray[np.floating], share: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Position along the bar, distance from it in degrees, and (luma, strength), for each degree of hue."""
    strength = np.ptp(colours, axis=1)
    known = strength > VIVID / 2
    hues, share, colours, strength = hue_of(colours[known]), share[known], colours[known], strength[known]
    degrees = np.arange(360)
    gap = np.abs((degrees[:, None] - hues + 180) % 360 - 180)  # (360, n)
    least = gap.min(axis=1)
    weight = (gap <= np.maximum(least, 1.5)[:, None] + 0.5).astype(float)
    weight /= weight.sum(axis=1, keepdims=True)
    luma = colours @ np.array([0.299, 0.587, 0.114])
    return weight @ share, least, np.stack([weight @ luma, weight @ strength], axis=1)


def _largest(tinted: NDArray[np.bool_], pixels: NDArray[np.uint8]) -> Box | None:
    """The box of the largest patch in the bar's colours, if it is filled by half and as large as a node.

    A patch in one colour or two is a banner of the screen.
    """
    labels, n = ndimage.label(ndimage.binary_closing(tinted, np.ones((5, 5), bool)), TOUCHING)
    areas = np.bincount(labels.ravel(), minlength=n + 1)
    areas[0] = 0
    places = ndimage.find_objects(labels)
    for number in np.argsort(-areas):
        if areas[number] < 0.004 * tinted.size:
            return None
        place = places[number - 1]
        rows, columns = place
        if areas[number] < 0.5 * (rows.stop - rows.start) * (columns.stop - columns.start):
            continue
        coarse = (pixels[place] >> 4).astype(np.int32)[labels[place] == number] @ np.array([256, 16, 1])
        counts = np.sort(np.bincount(coarse))
        if counts[-2:].sum() < 0.6 * counts.sum():
            return rows.start, columns.start, rows.stop, columns.stop
    return None


def _grey_under(
    frame: Frame, measured: NDArray[np.bool_], full: NDArray[np.float64], opacity: float
) -> NDArray[np.uint8]:
    """The grey image without the colours: what is left of a pixel once its share of colour is taken off."""
    grey = frame.grey.copy()
    if opacity <= SEE_THROUGH:
        left = (frame.grey[measured] - opacity * full[:, 0]) / (1 - opacity)
        grey[measured] = np.rint(np.clip(left, 0, 255)).astype(np.uint8)
    return grey
