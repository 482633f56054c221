"""Burned-in marks on a frame: calipers, dotted lines, text, body marks, box outlines.

Two kinds are found apart. *Coloured* strokes differ from the tissue's tint; Doppler flow does
too, but comes in patches wider than a stroke and of many hues. *White and grey* strokes are
sharper than any echo (the point spread blurs tissue over several pixels), end all round within
three pixels, and were drawn in one grey level, which stands out of the histogram of sharp pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..types import Box, Frame
from .scan_area import find_scan_area, is_lossless

__all__ = ["find_overlay", "paint_over"]

Mask = NDArray[np.bool_]
Grey = NDArray[np.uint8]
Signed = NDArray[np.int16]

TOUCHING = np.ones((3, 3), dtype=bool)
RING = np.array([(r, c) for r in range(-3, 4) for c in range(-3, 4) if max(abs(r), abs(c)) == 3])
"""Offsets of the pixels three away."""
WIDEST_MARK = 24
"""Pixels to paint inwards one by one; panels beyond take the nearest colour, which is quicker."""
SHARPEST_ECHO = 140
"""Drop in grey level to a neighbour that echoes hardly ever reach (seen on breast and neck frames)."""


def find_overlay(frame: Frame, scan_area: Box | None = None) -> Mask:
    """Pixels that show something other than the scan.

    Inside the scan area these are burned-in marks: calipers, dotted lines, text, body marks, focus
    and depth marks, the outline of a Doppler box. Doppler colour itself is image, not overlay.

    Parameters
    ----------
    frame : Frame
    scan_area : (int, int, int, int), optional
        Found by :func:`find_scan_area` otherwise.

    Returns
    -------
    ndarray of bool, shape (H, W)
        Outside the scan area everything is overlay where the screen shows controls there, and
        nothing in a frame that only has black borders.

    Notes
    -----
    Misses: marks of low contrast on bright tissue; thin grey text of less than some ten full
    pixels. See ``docs/explanation/overlay-removal.md`` for measured figures.
    """
    row0, column0, row1, column1 = scan_area or find_scan_area(frame)
    inside = np.s_[row0:row1, column0:column1]
    grey = np.ascontiguousarray(frame.grey[inside])
    lossless = is_lossless(frame.grey)
    # Strokes grow with the screen; the widest are about one eightieth of its height.
    peaks = _top_hat(grey, max(7, (frame.shape[0] // 80) | 1))
    nothing = np.zeros(grey.shape, dtype=bool)
    if frame.pixels.ndim == 3:
        marks, flow = _coloured(frame.pixels[inside], grey, peaks, frame.shape[0], lossless)
    else:
        marks, flow = nothing, nothing
    marks = (marks | _white(grey, peaks, marks | flow, lossless)) & ~flow

    overlay = np.zeros(frame.shape, dtype=bool)
    overlay[:] = _has_controls(frame.grey, inside)
    overlay[inside] = marks
    return overlay


def paint_over(grey: Grey, overlay: Mask) -> Grey:
    """Fill marks with the mean of the tissue around them, from their border inwards.

    Parameters
    ----------
    grey : ndarray of uint8, shape (H, W)
    overlay : ndarray of bool, shape (H, W)

    Returns
    -------
    ndarray of uint8, shape (H, W)
        A copy; pixels outside ``overlay`` are unaltered.
    """
    width = grey.shape[1] + 2
    values = np.pad(grey, 1).astype(np.float32).ravel()
    # The rim counts as unknown, so that nothing leaks in from outside the frame.
    known = np.pad(~overlay, 1).ravel()
    around = np.array([-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1])
    missing = np.flatnonzero(np.pad(overlay, 1).ravel())
    for _ in range(WIDEST_MARK):
        neighbours = missing[:, None] + around
        weights = known[neighbours]
        counts = weights.sum(axis=1)
        ready = counts > 0
        if not ready.any():
            break
        sums = np.where(weights, values[neighbours], 0).sum(axis=1)
        values[missing[ready]] = sums[ready] / counts[ready]
        known[missing[ready]] = True
        missing = missing[~ready]
    filled = values.reshape(-1, width)[1:-1, 1:-1]
    if missing.size and known.any():
        unknown = ~known.reshape(-1, width)[1:-1, 1:-1]
        nearest = ndimage.distance_transform_edt(unknown, return_distances=False, return_indices=True)
        filled = filled[tuple(nearest)]
    painted = grey.copy()
    painted[overlay] = np.rint(filled[overlay]).astype(np.uint8)
    return painted


def _has_controls(grey: Grey, inside: tuple[slice, slice]) -> bool:
    """Tell whether text or bars stand beside the scan area."""
    bright = grey > 64
    return int(np.count_nonzero(bright)) - int(np.count_nonzero(bright[inside])) >= 50


def _coloured(pixels: Grey, grey: Grey, peaks: Grey, height: int, lossless: bool) -> tuple[Mask, Mask]:
    """Coloured marks, and Doppler flow."""
    red, green, blue = (pixels[..., k].astype(np.int16) for k in range(3))
    warm, cold = red - green, blue - green
    nothing = np.zeros(grey.shape, dtype=bool)
    if not (warm.any() or cold.any()):
        return nothing, nothing
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
        return nothing, nothing

    flow = _patches(coloured, chroma > 60, pixels, height, lossless)
    marks = coloured & ~flow
    if flow.any():
        marks = _of_one_hue(marks, warm, cold, chroma, 3.0 if lossless else 12.0)
    if lossless:
        marks |= _widen(marks) & (chroma > 3 + 2 * noise) & ~flow  # anti-aliased edges
    return marks, flow


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
    wide = _widen(~_widen(~vivid, width), width)
    flow = np.zeros_like(coloured)
    if not wide.any():
        return flow
    labels, _ = ndimage.label(_widen(wide, 7) & coloured, TOUCHING)
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


def _white(grey: Grey, peaks: Grey, skip: Mask, lossless: bool) -> Mask:
    """White and grey strokes outside ``skip``."""
    drop = grey - _running(grey, 3, np.minimum)
    sharp = (peaks > 60) & (drop > 70) & ~skip
    unmistakable = (peaks > 100) & (drop > SHARPEST_ECHO) & ~skip
    drawn_in = _pen_levels(grey, drop, sharp, lossless)
    core = _among((peaks > 35) & ~skip, drawn_in, grey)
    if unmistakable.any():
        core |= _widen(unmistakable) & (peaks > 90) & ~skip
    labels, n = ndimage.label(core, TOUCHING)
    places = np.flatnonzero(core)  # strokes are few: from here on pixel by pixel
    piece = labels.ravel()[places]
    keep = np.zeros(n + 1, dtype=bool)
    keep[piece[sharp.ravel()[places]]] = True
    places, piece = places[keep[piece]], piece[keep[piece]]
    core = _drawn_at(places, grey.shape)
    if not places.size:
        return core

    # A stroke ends all round; an echo of the same brightness goes on as a fading ridge.
    rows, columns = np.divmod(places, grey.shape[1])
    width = grey.shape[1] + 6
    around = ((rows + 3) * width + columns + 3)[:, None] + (RING @ np.array([width, 1]))
    free = ~np.pad(_widen(core | skip), 3).ravel()[around]
    height = peaks.ravel()[places].astype(np.int16)[:, None]
    ground = grey.ravel()[places].astype(np.int16)[:, None] - height
    low = np.pad(grey, 3, mode="edge").ravel()[around] - ground < 0.45 * height
    ended = np.bincount(piece, (free & low).sum(axis=1), n + 1)
    keep &= ended >= 0.85 * np.bincount(piece, free.sum(axis=1), n + 1)
    marks = _drawn_at(places[keep[piece]], grey.shape)
    for least in (30, 30, 8):  # blurred strokes, then anti-aliased edges
        marks = marks | (_widen(marks) & (peaks > least))
    return marks


def _pen_levels(grey: Grey, drop: Grey, sharp: Mask, lossless: bool) -> Mask:
    """Grey levels, as a (256,) lookup, that marks were drawn in: spikes among sharp pixels."""
    radius, reach, prominence = (0, 25, 5) if lossless else (8, 60, 4)
    levels = np.zeros(256, dtype=bool)
    for least in (110, 70):
        counts = np.bincount(grey[sharp & (drop > least)], minlength=256)
        near = np.convolve(np.pad(counts, radius), np.ones(2 * radius + 1), "valid")
        for _ in range(4):
            level = int(near.argmax())
            below = counts[max(0, level - reach) : max(0, level - 2 * radius - 1)]
            beside = np.concatenate([below, counts[level + 2 * radius + 2 : level + reach]])
            usual = float(beside.mean()) * (2 * radius + 1) if beside.size else 0.0
            window = slice(max(0, level - radius), level + radius + 1)
            levels[window] |= near[level] >= max(10.0, prominence * usual)
            near[max(0, level - 3 * radius - 1) : level + 3 * radius + 2] = 0
    return levels


def _among(where: Mask, levels: Mask, grey: Grey) -> Mask:
    """Pixels under a mask whose grey level is one of some."""
    places = np.flatnonzero(where)
    return _drawn_at(places[levels[grey.ravel()[places]]], grey.shape)


def _drawn_at(places: NDArray[np.intp], shape: tuple[int, ...]) -> Mask:
    """A mask of the pixels of these numbers, row by row."""
    mask = np.zeros(shape, dtype=bool)
    mask.ravel()[places] = True
    return mask


def _top_hat(grey: Grey, size: int) -> Grey:
    """Height above the opening by a square: large on strokes and small echoes."""
    return grey - _running(_running(grey, size, np.minimum), size, np.maximum)


def _widen(mask: Mask, size: int = 3) -> Mask:
    """Dilation by a square."""
    return _running(mask.view(np.uint8), size, np.maximum).view(np.bool_)


def _running(image: Grey, size: int, combine: np.ufunc) -> Grey:
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
