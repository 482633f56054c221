"""Coloured pixels of a screen: Doppler flow, which is image, and marks, which are not.

Flow comes in patches wider than a stroke and of many hues. Its specks are smaller than a stroke; they
count as flow inside the colour box, where they are not drawn in the one colour of a pen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..types import Box, Frame
from .measurement import TOUCHING

Mask = NDArray[np.bool_]
Grey = NDArray[np.uint8]
Signed = NDArray[np.int16]

DARKEST_PEN = 60
"""Luma of the darkest coloured mark; that of slow flow is 10 to 50."""


class Coloured(NamedTuple):
    """Coloured pixels of a scan area: marks, patches of flow, and all of them."""

    marks: Mask
    flow: Mask
    all: Mask


def separate(pixels: Grey, grey: Grey, peaks: Grey, height: int, lossless: bool) -> Coloured:
    """Tell coloured marks from wide patches of flow.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        Of the scan area.
    grey, peaks : ndarray of uint8, shape (H, W)
        Luma, and its height above an opening as wide as a stroke.
    height : int
        Of the whole screen, in pixels: strokes grow with it.
    lossless : bool
        Whether no codec blurred the colours.
    """
    red, green, blue = (pixels[..., k].astype(np.int16) for k in range(3))
    warm, cold = red - green, blue - green
    nothing = np.zeros(grey.shape, dtype=bool)
    if not (warm.any() or cold.any()):
        return Coloured(nothing, nothing, nothing)
    step = max(1, int((grey.size / 40_000) ** 0.5))
    warm, cold = _without_tint(warm, grey, step), _without_tint(cold, grey, step)
    chroma = np.maximum(np.maximum(np.abs(warm), np.abs(cold)), np.abs(warm - cold))
    noise = float(np.percentile(chroma[::step, ::step], 80))
    if lossless:
        coloured = chroma > 12 + 3 * noise
    else:
        # Halved colour resolution spreads a stroke's colour beyond its brightness.
        coloured = (chroma > 24 + 2 * noise) & ((chroma > 60) | (peaks > 12))
    if not coloured.any():
        return Coloured(nothing, nothing, nothing)

    flow = _patches(coloured, chroma > 60, pixels, height, lossless)
    marks = coloured & ~flow
    if flow.any():
        marks = _of_one_hue(marks, warm, cold, chroma, 3.0 if lossless else 12.0)
    if lossless:
        marks |= widen(marks) & (chroma > 3 + 2 * noise) & ~flow  # anti-aliased edges
    return Coloured(marks, flow, coloured)


def _without_tint(difference: Signed, grey: Grey, step: int) -> Signed:
    """Colour difference less that of the tissue, whose map may be tinted (sepia, blue)."""
    sample, level = difference[::step, ::step].ravel(), grey[::step, ::step].ravel() >> 4
    lit = level > 0
    if not lit.any() or (np.abs(sample[lit]) <= 2).mean() >= 0.5:
        return difference
    common = np.flatnonzero(np.bincount(level, minlength=16) >= max(30, 0.003 * level.size))
    if common.size == 0:
        return difference
    medians = [float(np.median(sample[level == i])) for i in common]
    tint = np.rint(np.interp(np.arange(16), common, medians)).astype(np.int16)
    untinted: Signed = difference - tint[grey >> 4]
    return untinted


def _patches(coloured: Mask, vivid: Mask, pixels: Grey, height: int, lossless: bool) -> Mask:
    """Coloured areas wider than a stroke and of many colours: Doppler flow."""
    width = (5 if height <= 600 else 7 if height <= 900 else 9) + (0 if lossless else 4)
    wide = widen(~widen(~vivid, width), width)
    flow = np.zeros_like(coloured)
    if not wide.any():
        return flow
    labels, _ = ndimage.label(widen(wide, 7) & coloured, TOUCHING)
    for i, place in enumerate(ndimage.find_objects(labels), start=1):
        patch = labels[place] == i
        if np.count_nonzero(wide[place] & patch) < (height / 90) ** 2:
            continue
        colours = pixels[place][patch] >> (0 if lossless else 4)
        counts = np.sort(np.unique(colours, axis=0, return_counts=True)[1])
        # A filled mark or dense text is drawn in one colour or two.
        if counts[-2:].sum() < 0.4 * len(colours):
            flow[place] |= patch
    return flow


def _of_one_hue(marks: Mask, warm: Signed, cold: Signed, chroma: Signed, tolerance: float) -> Mask:
    """Pieces of one hue each: anti-aliasing weakens a mark's colour, and specks of flow vary."""
    labels, n = ndimage.label(marks, TOUCHING)
    at = marks & (chroma > 30)
    piece = labels[at]
    hue = np.arctan2(cold[at].astype(np.float32), warm[at].astype(np.float32))
    mean = np.arctan2(np.bincount(piece, np.sin(hue), n + 1), np.bincount(piece, np.cos(hue), n + 1))
    off = np.degrees(np.abs(np.angle(np.exp(1j * (hue - mean[piece])))))
    counts = np.bincount(piece, minlength=n + 1)
    keep = (np.bincount(piece, off < tolerance, n + 1) >= 0.75 * counts) & (counts >= 4)
    kept: Mask = keep[labels]
    return kept


def flow_in(
    frame: Frame, area: Box, coloured: Coloured, white: Mask, lossless: bool
) -> tuple[Mask, Box | None]:
    """Flow of a scan area, and the colour box in its pixels."""
    flow = coloured.flow
    if frame.pixels.ndim == 2:
        return flow, None
    inside = np.s_[area[0] : area[2], area[1] : area[3]]
    bar = find_bar(frame.pixels)
    said = _said_box(frame, area)
    if said is None and not flow.any() and not bar.any():
        return flow, None
    flow = _mostly(flow, ~bar[inside])
    ink = Ink(frame.pixels[inside], coloured.all & ~bar[inside], flow, lossless)
    lines = ink.lines_in(flow)
    flow &= ~lines
    box = said or find_outline((coloured.marks | white | lines | ink.marks()) & ~flow, flow)
    if box is None:
        return flow, None
    within = np.zeros_like(flow)
    within[box[0] : box[2], box[1] : box[3]] = True
    flow = _mostly(flow, within)
    return flow | ink.specks_in(box), box


def _said_box(frame: Frame, area: Box) -> Box | None:
    """The colour box that the file names, in pixels of the scan area."""
    for region in frame.regions:
        if region.kind == "colour-flow":
            row0, column0, row1, column1 = region.box
            box = (
                max(row0 - area[0], 0),
                max(column0 - area[1], 0),
                min(row1, area[2]) - area[0],
                min(column1, area[3]) - area[1],
            )
            if box[0] < box[2] and box[1] < box[3]:
                return box
    return None


def _mostly(mask: Mask, where: Mask) -> Mask:
    """The pieces of a mask of which more than half lies somewhere."""
    if not mask.any():
        return mask
    labels, n = ndimage.label(mask, TOUCHING)
    kept = np.bincount(labels[where & mask], minlength=n + 1) > 0.5 * np.bincount(
        labels[mask], minlength=n + 1
    )
    pieces: Mask = kept[labels] & mask
    return pieces


def top_hat(grey: Grey, size: int) -> Grey:
    """Height above the opening by a square: large on strokes and small echoes."""
    return grey - running(running(grey, size, np.minimum), size, np.maximum)


def widen(mask: Mask, size: int = 3) -> Mask:
    """Dilation by a square."""
    return running(mask.view(np.uint8), size, np.maximum).view(np.bool_)


def running(image: Grey, size: int, combine: np.ufunc) -> Grey:
    """Minimum or maximum over a square of odd size.

    Windows double with each step (van Herk's idea), which costs a tenth of a general filter.
    """
    for axis in (0, 1):
        lines = np.pad(image if axis == 0 else image.T, [(size // 2,) * 2, (0, 0)], mode="edge")
        window = 1
        while window < size:
            step = min(window, size - window)
            lines = combine(lines[: lines.shape[0] - step], lines[step:])
            window += step
        image = lines if axis == 0 else lines.T
    return image


def find_bar(pixels: Grey) -> Mask:
    """The colour bar of a Doppler screen: an upright strip, from warm to cool colours.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)

    Returns
    -------
    ndarray of bool, shape (H, W)
        All False where there is none.
    """
    bar = np.zeros(pixels.shape[:2], dtype=bool)
    small = pixels[::2, ::2]
    red, blue = (small[..., k].astype(np.int16) for k in (0, 2))
    warm, cool = red - blue > 50, blue - red > 50
    shared = np.flatnonzero(warm.any(axis=0) & cool.any(axis=0))
    if min(np.count_nonzero(warm), np.count_nonzero(cool)) < 30 or not shared.size:
        return bar
    across = np.s_[:, max(0, shared[0] - 2) : shared[-1] + 3]
    warm, cool, small = warm[across], cool[across], small[across]
    columns_before = int(across[1].start)
    # the colours of no flow, in the middle, are black
    gap = 2 * (small.shape[0] // 40) + 1
    lit = ndimage.maximum_filter1d(widen(warm | cool).view(np.uint8), gap, axis=0)
    lit = ndimage.minimum_filter1d(lit, gap, axis=0)
    labels, _ = ndimage.label(lit, TOUCHING)
    for i, place in enumerate(ndimage.find_objects(labels), start=1):
        tall, wide = (part.stop - part.start for part in place)
        if tall < max(8, small.shape[0] // 20) or wide > tall / 2.5 or wide > pixels.shape[1] / 40:
            continue
        strip = labels[place] == i
        both = min(np.count_nonzero(warm[place] & strip), np.count_nonzero(cool[place] & strip))
        vivid = np.count_nonzero((warm | cool)[place])
        if strip.mean() >= 0.9 and both >= 0.2 * vivid and len(np.unique(small[place][strip], axis=0)) >= 10:
            rows, columns = place[0], slice(place[1].start + columns_before, place[1].stop + columns_before)
            rows, columns = (slice(max(0, 2 * part.start - 1), 2 * part.stop + 1) for part in (rows, columns))
            bar[rows, columns] = True
    return bar


def find_outline(marks: Mask, flow: Mask) -> Box | None:
    """The outline of a colour box among the marks of a scan area.

    Parameters
    ----------
    marks, flow : ndarray of bool, shape (H, W)
        Flow may hide a part of the outline.

    Returns
    -------
    (int, int, int, int) or None
        The box within the outline, half-open; of a slanted one the box that holds it. The largest of several.
    """
    height, width = marks.shape
    there = marks | flow
    least = max(20, width // 14)
    edges = _long_runs(marks, there, least)
    best: tuple[int, Box] | None = None
    for k, (top, left, right) in enumerate(edges):
        for bottom, left_below, right_below in edges[k + 1 :]:
            if bottom - top < max(16, height // 20):
                continue
            slant = left - left_below, right - right_below
            if max(map(abs, slant)) > 0.12 * width or abs(slant[0] - slant[1]) > 0.02 * width + 2:
                continue
            sides = (
                _along(there, (top, a), (bottom, b)) for a, b in ((left, left_below), (right, right_below))
            )
            if min(sides) < 0.7:
                continue
            area = (bottom - top) * (right - left)
            if best is None or area > best[0]:
                best = area, (top + 1, min(left, left_below) + 1, bottom, max(right, right_below))
    return None if best is None else best[1]


def _long_runs(marks: Mask, there: Mask, least: int) -> list[tuple[int, int, int]]:
    """Row, first and last column of horizontal lines, those one upon the other once."""
    closed = ndimage.maximum_filter1d(there.view(np.uint8), 5, axis=1)
    closed = ndimage.minimum_filter1d(closed, 5, axis=1)
    runs: list[tuple[int, int, int]] = []
    for row in np.flatnonzero(np.count_nonzero(marks, axis=1) >= least // 2):
        ends = np.flatnonzero(np.diff(np.concatenate([[0], closed[row].astype(np.int8), [0]])))
        starts, stops = ends[::2], ends[1::2]
        longest = int(np.argmax(stops - starts)) if len(starts) else -1
        if longest < 0 or stops[longest] - starts[longest] < least:
            continue
        left, right = int(starts[longest]), int(stops[longest]) - 1
        if np.count_nonzero(marks[row, left : right + 1]) < 0.5 * (right - left):
            continue
        if runs and row - runs[-1][0] <= 2 and abs(runs[-1][1] - left) <= 3 and abs(runs[-1][2] - right) <= 3:
            continue
        runs.append((int(row), left, right))
    return runs


def _along(mask: Mask, start: tuple[int, int], end: tuple[int, int]) -> float:
    """Share of a steep line on or beside which the mask is set."""
    rows = np.arange(start[0], end[0] + 1)
    columns = np.rint(np.linspace(start[1], end[1], len(rows))).astype(int)
    near = [mask[rows, np.clip(columns + shift, 0, mask.shape[1] - 1)] for shift in range(-4, 5)]
    return float(np.any(near, axis=0).mean())


class Ink:
    """The colours that the marks of a scan area are drawn in.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
    coloured : ndarray of bool, shape (H, W)
    flow : ndarray of bool, shape (H, W)
        Wide patches, whose colours no pen has.
    lossless : bool
        Whether no codec blurred the colours.
    """

    def __init__(self, pixels: Grey, coloured: Mask, flow: Mask, lossless: bool) -> None:
        drawn = coloured & ~flow
        exact = np.unique(_codes(pixels[drawn]), return_counts=True)[1]
        # a pen that left a tenth of all colour as it is was blurred by no codec
        lossless = lossless or bool(exact.size and exact.max() >= 0.1 * exact.sum())
        self.lossless = lossless
        labels, n = ndimage.label(drawn, TOUCHING)
        piece, colour = labels[drawn], _codes(pixels[drawn] if lossless else pixels[drawn] >> 4)
        size = np.bincount(piece, minlength=n + 1)
        pairs, counts = np.unique((piece.astype(np.int64) << 24) | colour, return_counts=True)
        # of pieces of a stroke's length in which one colour prevails
        often = (counts >= 8) & (counts >= 0.25 * size[pairs >> 24])
        pens = np.unique(pairs[often] & 0xFFFFFF).astype(np.int32)
        # flow has its colours too, and those of a speck prevail in it; a line across flow has none of them
        shown = pixels[flow]
        shown = shown[~np.isin(_codes(shown), pens)] if lossless else shown
        bins, often_there = np.unique(_codes(shown >> 4), return_counts=True)
        palette = bins[often_there >= max(3, 0.002 * len(shown))]
        pens = np.stack([pens >> 16, (pens >> 8) & 255, pens & 255], axis=-1).astype(np.uint8)
        pens = pens if lossless else (pens << 4) + 8
        # slow flow is darker than what anybody would write with
        pens = pens[
            (pens @ np.array([0.299, 0.587, 0.114]) >= DARKEST_PEN) & ~np.isin(_codes(pens >> 4), palette)
        ]
        self._hues = np.unique(np.rint(hue_of(pens)))
        self._pens = _codes(pens)
        self._pixels = pixels
        self._drawn = drawn

    def lines_in(self, flow: Mask) -> Mask:
        """Marks that cross flow; none where colours are blurred."""
        lines = np.zeros_like(flow)
        if not self.lossless or not self._pens.size or not flow.any():
            return lines
        lines[flow] = np.isin(_codes(self._pixels[flow]), self._pens)
        return _pieces(lines, 6)

    def marks(self) -> Mask:
        """Coloured pixels outside flow that have the hue of a pen, also where a stroke fades."""
        marks = np.zeros_like(self._drawn)
        if self._hues.size:
            hue = hue_of(self._pixels[self._drawn])
            off = np.abs((hue[:, None] - self._hues + 180) % 360 - 180).min(axis=1)
            marks[self._drawn] = off <= (6 if self.lossless else 14)
        return marks

    def specks_in(self, box: Box) -> Mask:
        """Small flow: coloured pieces in a colour box that no pen drew."""
        rest = np.zeros_like(self._drawn)
        inside = np.s_[box[0] : box[2], box[1] : box[3]]
        rest[inside] = (self._drawn & ~self.marks())[inside]
        return _pieces(rest, 4 if self.lossless else 12)


def _codes(colours: NDArray[np.integer]) -> NDArray[np.int32]:
    """One number for each colour, (N,) of (N, 3)."""
    parts = colours.astype(np.int32)
    codes: NDArray[np.int32] = (parts[..., 0] << 16) | (parts[..., 1] << 8) | parts[..., 2]
    return codes


def hue_of(colours: NDArray[np.integer]) -> NDArray[np.float32]:
    """Angle of colours (N, 3) about grey, in degrees; that of a colour does not change with its strength."""
    red, green, blue = (colours[..., k].astype(np.float32) for k in range(3))
    hue: NDArray[np.float32] = np.degrees(np.arctan2(blue - green, red - green))
    return hue


def _pieces(mask: Mask, least: int) -> Mask:
    """The pieces of a mask of at least some pixels."""
    labels, n = ndimage.label(mask, TOUCHING)
    kept = np.bincount(labels.ravel(), minlength=n + 1) >= least
    kept[0] = False
    pieces: Mask = kept[labels]
    return pieces
