"""Burned-in marks on a frame: calipers, dotted lines, text, body marks, box outlines.

Two kinds are found apart. *Coloured* strokes differ from the tissue's tint; Doppler flow does
too, but comes in patches wider than a stroke and of many hues. *White and grey* strokes are
sharper than any echo (the point spread blurs tissue over several pixels), end all round within
three pixels, and were drawn in one grey level, which stands out of the histogram of sharp pixels.

What a painter of marks leaves legible only reading finds: the extra ``ocr`` tells places of words, never the
words.
"""

from __future__ import annotations

import os
import re
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import DeviceError
from ..types import Box, ColourFlow, Frame
from .colour import TOUCHING, Coloured, Ink, find_bar, find_outline, running, separate, top_hat, widen
from .elastogram import Elastogram, find_elastogram
from .scan_area import find_scan_area, is_lossless

__all__ = [
    "Marks",
    "can_read",
    "could_name",
    "engine_name",
    "find_overlay",
    "find_text",
    "paint_boxes",
    "paint_over",
    "read_marks",
    "spread",
    "tissue_of",
]

Mask = NDArray[np.bool_]
Grey = NDArray[np.uint8]
Signed = NDArray[np.int16]

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
    return read_marks(frame, scan_area).overlay


class Marks(NamedTuple):
    """Drawings on a frame: marks; Doppler flow, and an elastogram, None for a frame without such."""

    overlay: Mask
    flow: ColourFlow | None
    elastogram: Elastogram | None = None


def read_marks(frame: Frame, scan_area: Box | None = None) -> Marks:
    """Tell marks, flow and tissue of a frame apart.

    Parameters
    ----------
    frame : Frame
    scan_area : (int, int, int, int), optional
        Found by :func:`find_scan_area` otherwise.

    Returns
    -------
    Marks
        The overlay as :func:`find_overlay` gives it, and the flow inside the scan area.
    """
    row0, column0, row1, column1 = area = scan_area or find_scan_area(frame)
    inside = np.s_[row0:row1, column0:column1]
    grey = np.ascontiguousarray(frame.grey[inside])
    lossless = is_lossless(frame.grey)
    # Strokes grow with the screen; the widest are about one eightieth of its height.
    peaks = top_hat(grey, max(7, (frame.shape[0] // 80) | 1))
    nothing = np.zeros(grey.shape, dtype=bool)
    if frame.pixels.ndim == 3:
        coloured = separate(frame.pixels[inside], grey, peaks, frame.shape[0], lossless)
    else:
        coloured = Coloured(nothing, nothing, nothing)
    elastogram = find_elastogram(frame)
    if elastogram is not None:
        grey = np.ascontiguousarray(elastogram.grey[inside])
        peaks = top_hat(grey, max(7, (frame.shape[0] // 80) | 1))
        stiff = ~np.isnan(elastogram.stiffness[inside])
        coloured = Coloured((coloured.marks | coloured.flow) & ~stiff, nothing, coloured.all & ~stiff)
    white = _white(grey, peaks, coloured.marks | coloured.flow, lossless)
    flow, box = (nothing, None) if elastogram is not None else _flow(frame, area, coloured, white, lossless)
    drawn = coloured.flow & ~flow  # a colour bar on the tissue's edge, lines across flow
    marks = (coloured.marks | white | drawn) & ~flow

    overlay = np.zeros(frame.shape, dtype=bool)
    overlay[:] = _has_controls(frame.grey, inside)
    overlay[inside] = marks
    if box is None and not flow.any():
        return Marks(overlay, None, elastogram)
    mask = np.zeros(frame.shape, dtype=bool)
    mask[inside] = flow
    placed = None if box is None else (box[0] + row0, box[1] + column0, box[2] + row0, box[3] + column0)
    return Marks(overlay, ColourFlow(mask=mask, box=placed))


def _flow(
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


def spread(flow: ColourFlow | None, shape: tuple[int, int]) -> Mask:
    """Pixels to paint over to take flow out of a grey image: its own, and those that they colour.

    Parameters
    ----------
    flow : ColourFlow or None
    shape : (int, int)
        Of the frame, ``(H, W)``.
    """
    if flow is None or not flow.mask.any():
        return np.zeros(shape, dtype=bool)
    return widen(flow.mask, 5)


def tissue_of(frame: Frame, inside: tuple[slice, slice], overlay: Mask, marks: Marks | None = None) -> Grey:
    """Grey pixels of a part of a frame, without marks, Doppler colour and the colours of an elastogram.

    Parameters
    ----------
    frame : Frame
    inside : tuple of slice
        Rows and columns of the part.
    overlay : ndarray of bool, shape (H, W)
        Marks to paint over.
    marks : Marks, optional
        What was read off the frame, where it was; its own overlay is not painted over.
    """
    grey, hidden = frame.grey, overlay
    if marks is not None:
        hidden = overlay | spread(marks.flow, frame.shape)
        if marks.elastogram is not None:
            grey = marks.elastogram.grey
            if marks.elastogram.is_hidden:
                hidden = hidden | ~np.isnan(marks.elastogram.stiffness)
    return paint_over(grey[inside], hidden[inside])


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


def _white(grey: Grey, peaks: Grey, skip: Mask, lossless: bool) -> Mask:
    """White and grey strokes outside ``skip``."""
    drop = grey - running(grey, 3, np.minimum)
    sharp = (peaks > 60) & (drop > 70) & ~skip
    unmistakable = (peaks > 100) & (drop > SHARPEST_ECHO) & ~skip
    drawn_in = _pen_levels(grey, drop, sharp, lossless)
    core = _among((peaks > 35) & ~skip, drawn_in, grey)
    if unmistakable.any():
        core |= widen(unmistakable) & (peaks > 90) & ~skip
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
    free = ~np.pad(widen(core | skip), 3).ravel()[around]
    height = peaks.ravel()[places].astype(np.int16)[:, None]
    ground = grey.ravel()[places].astype(np.int16)[:, None] - height
    low = np.pad(grey, 3, mode="edge").ravel()[around] - ground < 0.45 * height
    ended = np.bincount(piece, (free & low).sum(axis=1), n + 1)
    keep &= ended >= 0.85 * np.bincount(piece, free.sum(axis=1), n + 1)
    marks = _drawn_at(places[keep[piece]], grey.shape)
    for least in (30, 30, 8):  # blurred strokes, then anti-aliased edges
        marks = marks | (widen(marks) & (peaks > least))
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


# ------------------------------------------------------------ text

SWITCH = "NAPARI_CLN_TEXT"
"""Environment variable; ``off`` leaves pictures unread."""
MISSING = (
    "Reading text in pictures needs the extra: pip install 'napari-cln[ocr]'. Until then each new kind of "
    "screen waits for a look."
)
LEAST_SCORE = 0.5
"""Sureness from which a reading counts."""
MARGIN = 3
"""Pixels around a word that are painted over with it: the fringe of its letters."""


def can_read() -> bool:
    """Tell whether the extra is there, and not switched off."""
    return os.environ.get(SWITCH, "").casefold() != "off" and find_spec("rapidocr") is not None


def find_text(grey: NDArray[np.uint8]) -> tuple[Box, ...]:
    """Places of words, long numbers and dates.

    Parameters
    ----------
    grey : ndarray of uint8, shape (H, W)

    Returns
    -------
    tuple of (int, int, int, int)
        A box each, from the top.

    Raises
    ------
    DeviceError
        If the extra is missing or switched off.

    Notes
    -----
    PP-OCRv6 by RapidOCR, with its models in the package: no network. Letters and marks by themselves, such as
    R and L, are no words: see :func:`could_name`.
    """
    if not can_read():
        raise DeviceError(MISSING)
    read = _reader()(np.ascontiguousarray(grey), use_cls=False)
    if read.boxes is None:
        return ()
    boxes = []
    for corners, text, score in zip(read.boxes, read.txts, read.scores, strict=True):
        if score >= LEAST_SCORE and could_name(text):
            rows, columns = np.asarray(corners)[:, 1], np.asarray(corners)[:, 0]
            boxes.append(
                (
                    max(int(rows.min()) - MARGIN, 0),
                    max(int(columns.min()) - MARGIN, 0),
                    min(int(rows.max()) + 1 + MARGIN, grey.shape[0]),
                    min(int(columns.max()) + 1 + MARGIN, grey.shape[1]),
                )
            )
    return tuple(sorted(boxes))


def could_name(text: str) -> bool:
    """Tell whether a reading has three letters, four digits, or the form of a date or time.

    Parameters
    ----------
    text : str
    """
    letters = sum(map(str.isalpha, text))
    digits = sum(map(str.isdigit, text))
    return letters >= 3 or digits >= 4 or re.search(r"\d{1,4}[./:-]\d{2}", text) is not None


def paint_boxes(grey: NDArray[np.uint8], boxes: tuple[Box, ...]) -> NDArray[np.uint8]:
    """A copy of a picture whose boxes are filled with the tissue around them.

    Parameters
    ----------
    grey : ndarray of uint8, shape (H, W)
    boxes : tuple of (int, int, int, int)
    """
    marked = np.zeros(grey.shape, dtype=bool)
    for row0, column0, row1, column1 in boxes:
        marked[row0:row1, column0:column1] = True
    return paint_over(grey, marked)


def engine_name() -> str:
    """Name and version of what reads."""
    return f"rapidocr {version('rapidocr')}"


@cache
def _reader() -> Any:
    from rapidocr import RapidOCR

    one = {f"EngineConfig.onnxruntime.{key}_op_num_threads": 1 for key in ("intra", "inter")}
    # One thread: it reads behind a reader who paints.
    return RapidOCR(params={"Global.log_level": "critical", "Global.text_score": 0.0, **one})
