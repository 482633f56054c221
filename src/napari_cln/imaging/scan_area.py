"""The scan area: the part of a scanner's screen that shows the B-mode image.

Speckle leaves no two neighbours equal, whereas panels, bars and the screen's ground are drawn
flat, and text is sparse. The screen is therefore looked at in cells of about one hundredth of
its size; cells full of texture that are not just strokes, opened by five cells so that lines of
text, rulers and colour bars fall away, are the image. Its box is then found to the pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from ..types import Box, Frame
from .measurement import bounds

__all__ = ["find_scan_area", "is_lossless", "is_sector"]

Mask = NDArray[np.bool_]
Grey = NDArray[np.uint8]
T = TypeVar("T", bound=np.generic)

SMALLEST = 32
"""Frames with a shorter side have no room for a scanner's controls."""
CLEAR = 12
"""Grey levels above the ground that no JPEG ringing reaches far from a stroke."""
SLANT = (30, 60)
"""Degrees from the vertical of a sector's straight sides. A linear probe that steers its outer lines
(trapezoid, virtual convex) reaches some 27 at the most; flatter edges are muscle, or a dark corner."""


def find_scan_area(frame: Frame) -> Box:
    """Box of the B-mode image on a scanner's screen.

    Banners, side panels, colour and grey bars, rulers, text and body marks beside the image are
    left out. Two images side by side (dual view) give the box around both; of an image above a
    spectrum or an M-mode trace, the image. A frame without controls is its own scan area, less
    its black borders.

    Parameters
    ----------
    frame : Frame
        Where ``frame.scan_area`` is set, that is the answer; the search keeps inside the regions that have a
        scale (DICOM), where there are such.

    Returns
    -------
    (int, int, int, int)
        ``(row0, column0, row1, column1)``, half-open, in frame pixels. The whole frame (or
        the box around its regions) where nothing looks like ultrasound: a black frame, or one of a few
        pixels.

    Notes
    -----
    A frame stored as JPEG, with ringing around its text, is recognised; its box is good to a few
    pixels, not to one.
    """
    if frame.scan_area is not None:
        return frame.scan_area
    row0, column0, row1, column1 = _within(frame)
    found = _search(np.ascontiguousarray(frame.grey[row0:row1, column0:column1]))
    if found is None:
        return row0, column0, row1, column1
    return row0 + found[0], column0 + found[1], row0 + found[2], column0 + found[3]


def _within(frame: Frame) -> Box:
    """Box around the regions that the file gives a scale; the whole frame without such."""
    boxes = [region.box for region in frame.regions if region.spacing_mm is not None]
    if not boxes:
        return 0, 0, *frame.shape
    rows0, columns0, rows1, columns1 = zip(*boxes, strict=True)
    rows, columns = frame.shape
    return max(min(rows0), 0), max(min(columns0), 0), min(max(rows1), rows), min(max(columns1), columns)


def is_sector(image: NDArray[np.float32]) -> bool:
    """Tell whether a prepared image is a sector: the field of view of a curved or a phased probe.

    Both upper corners are black, and one of the slanting sides at least is a straight line all along.

    Parameters
    ----------
    image : ndarray of float32, shape (S, S), in [0, 1]
        Prepared with its aspect kept, S even.

    Notes
    -----
    A sector of which the box cuts off the sides, or whose near field shows nothing, is not recognised.
    """
    side = image.shape[0] // 2
    small = image.reshape(side, 2, side, 2).mean(axis=(1, 3))
    lit = _opened(small > 6 / 255, 4)
    labels, n = ndimage.label(lit)
    if n == 0:
        return False
    largest = 1 + int(np.bincount(labels.ravel())[1:].argmax())
    seen = labels[ndimage.find_objects(labels)[largest - 1]] == largest
    tops = np.where(seen.any(axis=0), seen.argmax(axis=0), seen.shape[0]).astype(float)
    sides = [_slant(edge, *seen.shape) for edge in (tops, tops[::-1])]
    return all(side is not None for side in sides) and any(sides)


def _slant(tops: NDArray[np.float64], height: int, width: int) -> bool | None:
    """Whether the upper edge falls to the left in a straight line, as a sector's does; None where it does not
    fall far enough to be one."""
    end = int((tops <= 0.06 * height).argmax())
    edge = tops[:end]
    if end < max(6, 0.1 * width) or edge.max() < 0.25 * height:
        return None
    x = np.arange(end)
    line = np.polyfit(x, edge, 1)
    for _ in range(4):
        gaps = np.abs(edge - np.polyval(line, x))
        near = gaps <= max(2.0, 1.5 * float(np.median(gaps)))
        line = np.polyfit(x[near], edge[near], 1)
    is_straight = bool((np.abs(edge - np.polyval(line, x)) <= 2.5).mean() >= 0.6)
    angle = float(np.degrees(np.arctan2(1.0, -line[0])))
    return is_straight and SLANT[0] <= angle <= SLANT[1] and end >= 0.12 * width


@dataclass(frozen=True)
class _Cells:
    """A grid of square cells over a frame; the last row and column may be cut."""

    size: int
    shape: tuple[int, int]

    def share(self, mask: Mask) -> NDArray[np.float32]:
        """Share of each cell that the mask covers."""
        reduced = Image.fromarray(mask.view(np.uint8) * np.uint8(255)).reduce(self.size)
        return np.asarray(reduced, dtype=np.float32) / np.float32(255)

    def mean(self, grey: Grey) -> NDArray[np.int16]:
        """Mean grey level of each cell."""
        return np.asarray(Image.fromarray(grey).reduce(self.size)).astype(np.int16)

    def spread(self, cells: NDArray[T]) -> NDArray[T]:
        """Give every pixel the value of its cell."""
        pixels: NDArray[T] = np.repeat(np.repeat(cells, self.size, axis=0), self.size, axis=1)
        return pixels[: self.shape[0], : self.shape[1]]


def _search(grey: Grey) -> Box | None:
    if min(grey.shape) < SMALLEST:
        return None
    cells = _Cells(max(2, round((grey.shape[0] * grey.shape[1]) ** 0.5 / 100)), grey.shape)
    texture = _texture(grey)
    if is_lossless(grey):
        drawn, dense = _tissue(grey, texture, cells)
        least = 0.035
    else:
        drawn, dense = _tissue_under_ringing(grey, texture, cells)
        least = 0.15
    image = _choose(_opened(dense, 5), dense)
    box = None if image is None else _exact_box(image, drawn, cells, least)
    # the sides pass each other where enlarged pixels leave texture at their edges alone
    return box if box is not None and box[0] < box[2] and box[1] < box[3] else None


def _texture(grey: Grey, level: int = 0) -> Mask:
    """Pixels that differ by more than ``level`` from a neighbour in the row and one in the column."""
    across = _steps(grey[:, :-1], grey[:, 1:]) > level
    down = _steps(grey[:-1], grey[1:]) > level
    horizontal, vertical = np.zeros(grey.shape, dtype=bool), np.zeros(grey.shape, dtype=bool)
    horizontal[:, 1:] = across
    horizontal[:, :-1] |= across
    vertical[1:] = down
    vertical[:-1] |= down
    return horizontal & vertical


def _steps(one: Grey, other: Grey) -> Grey:
    """Absolute differences of neighbours."""
    return np.maximum(one, other) - np.minimum(one, other)


def is_lossless(grey: Grey) -> bool:
    """Tell whether the ground beside strokes is flat: lossy compression rings there."""
    # One number for each pixel is found ten times as fast as a row and a column.
    strokes = np.flatnonzero(_steps(grey[:, 8:-9], grey[:, 9:-8]) > 64)
    if strokes.size < 50:
        return True
    row, column = np.divmod(strokes, grey.shape[1] - 17)
    column += 8
    away = np.where(grey[row, column + 1] > grey[row, column], -1, 1)  # towards the darker side
    places = [column + away * k for k in (3, 4, 5, 6)]
    flat = np.logical_and.reduce([grey[row, place] == grey[row, place + 1] for place in places])
    # Of 64 drawn screens, 0.21 and more when stored whole; 0.17 and less for 95 % at JPEG 90.
    return bool(flat.mean() > 0.2)


def _tissue(grey: Grey, texture: Mask, cells: _Cells) -> tuple[Mask, Mask]:
    """Pixels and cells that show tissue, where the ground is exactly flat."""
    textured = cells.share(texture)
    contrast = cells.share(_texture(grey, 2)) > 0.15
    sure = _choose(_opened(contrast, 5), contrast)
    outside = np.ones(textured.shape, dtype=bool)
    if sure is not None:
        place = bounds(sure)
        assert place is not None
        rows, columns = place
        outside[max(0, rows.start - 2) : rows.stop + 2, max(0, columns.start - 2) : columns.stop + 2] = False
    rim = _rim(textured.shape)
    calm = rim & outside & (textured < 0.01)
    level = _commonest(grey, cells.spread(calm if np.count_nonzero(calm) >= 10 else rim))
    if outside.mean() > 0.02:
        level = _ground(level, _commonest(grey, cells.spread(outside)))

    above = np.maximum(grey, np.uint8(level)) - np.minimum(grey, np.uint8(level))
    # Nobody draws a panel that is two levels off the ground: that is the image's black.
    drawn = texture | ((above > 0) & ((above <= 2) | (grey < level)))
    dense = cells.share(drawn) > 0.3
    # A dark field a little above the ground is tissue if it has any noise, a panel if it has none.
    labels, n = ndimage.label((cells.share(((above > 0) & (above <= CLEAR)) | texture) > 0.9) & ~dense)
    if n:
        noisy = ndimage.mean(textured < 0.001, labels, np.arange(n + 1)) < 0.6
        noisy[0] = False
        dense |= noisy[labels]
        drawn |= cells.spread(noisy[labels])
    return drawn, dense


def _tissue_under_ringing(grey: Grey, texture: Mask, cells: _Cells) -> tuple[Mask, Mask]:
    """Pixels and cells that show tissue, where text and marks ring.

    Ringing keeps to blocks that hold a stroke; there most pixels are near the ground. Other
    blocks differ from the ground only if something was drawn on them.
    """
    textured = cells.share(texture)
    flat = cells.share(~texture) >= 0.999
    if flat.mean() < 0.02:  # a grabbed video signal, or a crop: no flat ground at all
        quiet = _texture(grey, _rim_noise(grey))
        return quiet, cells.share(quiet) > 0.3
    mean = cells.mean(grey)
    rim = flat & _rim(flat.shape)
    level = _ground(_mode(mean[rim if rim.any() else flat]), _mode(mean[flat]))
    black = flat & (mean != level) & ((np.abs(mean - level) <= 2) | (mean < level))
    nearest = ndimage.distance_transform_edt(~(flat & ~black), return_distances=False, return_indices=True)
    panel = cells.spread(mean[tuple(nearest)])
    signed = grey.astype(np.int16)
    above = np.minimum(np.abs(signed - panel), np.abs(signed - level))

    stroke = cells.share(above > 4 * CLEAR)
    text = (stroke > 0.01) & (cells.share(above <= 4) > 0.2)
    calm = ~ndimage.binary_dilation(text, np.ones((3, 3))) | black
    dark = (cells.share(above > 0) > 0.9) & (stroke == 0) & calm
    dense = (((cells.share(above > CLEAR) > 0.5) & (textured > 0.35)) | dark) & ~text | black
    image = _choose(_opened(dense, 5), dense)
    marked = text & ~ndimage.binary_fill_holes(image) if image is not None else text
    drawn = (above > 8) & ~cells.spread(marked) | cells.spread(dark)
    return drawn, dense


def _rim(shape: tuple[int, int]) -> Mask:
    """The outer tenth of a grid, where controls are and the image is not."""
    rim = np.ones(shape, dtype=bool)
    rows, columns = max(1, shape[0] // 10), max(1, shape[1] // 10)
    rim[rows:-rows, columns:-columns] = False
    return rim


def _rim_noise(grey: Grey) -> int:
    """Grey levels by which a dark border flickers; 0 where the image reaches the border."""
    border = np.concatenate([grey[:4].ravel(), grey[-4:].ravel(), grey[:, :4].ravel(), grey[:, -4:].ravel()])
    above = np.abs(border.astype(np.int16) - _mode(border))
    return int(np.percentile(above, 99)) if (above <= 16).mean() > 0.98 else 0


def _commonest(grey: Grey, where: Mask) -> int:
    """Commonest grey level under a mask."""
    counts = Image.fromarray(grey).histogram(Image.fromarray(where.view(np.uint8)))
    return int(np.argmax(counts))


def _mode(values: NDArray[np.integer]) -> int:
    return int(np.bincount(values.ravel()).argmax())


def _ground(at_rim: int, overall: int) -> int:
    """Grey level of the screen: the commonest, or the rim's where the image's black is as common."""
    return overall if abs(overall - at_rim) > 2 else at_rim


def _opened(mask: Mask, size: int) -> Mask:
    """Opening by a square, which does not wear the mask away at the frame's edge."""
    opened = np.pad(mask, size, mode="edge")
    # Shifted copies, one axis after the other: a tenth of the time of a general opening.
    for combine in (np.logical_and, np.logical_or):
        for _ in range(2):
            rows = opened.shape[0] - size + 1
            opened = combine.reduce([opened[k : k + rows] for k in range(size)]).T
    margin = (opened.shape[0] - mask.shape[0]) // 2
    return opened[margin : margin + mask.shape[0], margin : margin + mask.shape[1]]


def _choose(opened: Mask, dense: Mask) -> Mask | None:
    """The largest piece, and those that belong to it; None if there is none."""
    labels, n = ndimage.label(opened)
    if n == 0:
        return None
    areas = np.bincount(labels.ravel())[1:]
    places = ndimage.find_objects(labels)
    main = int(areas.argmax())
    for i in np.argsort(-areas):
        (above, columns), (rows, main_columns) = places[i], places[main]
        # An image above a spectrum or a trace: another width, and a gap between them.
        if (
            areas[i] >= 0.12 * areas[main]
            and above.stop <= rows.start
            and above.stop - above.start > 0.1 * opened.shape[0]
            and _overlap(columns, main_columns) < 0.8
        ):
            span = slice(min(columns.start, main_columns.start), max(columns.stop, main_columns.stop))
            if dense[above.stop - 1 : rows.start + 1, span].mean(axis=1).min() < 0.15:
                main = int(i)
                break
    keep = np.zeros(n + 1, dtype=bool)
    for i, (rows, columns) in enumerate(places):
        piece = areas[i] >= 0.05 * areas[main] and _overlap(columns, places[main][1]) > 0.8
        second_view = areas[i] >= 0.25 * areas[main] and _overlap(rows, places[main][0]) > 0.6
        keep[i + 1] = i == main or piece or second_view
    chosen: Mask = keep[labels]
    return chosen


def _overlap(a: slice, b: slice) -> float:
    """Common length of two spans over their joint length."""
    common: int = min(a.stop, b.stop) - max(a.start, b.start)
    joint: int = max(a.stop, b.stop) - min(a.start, b.start)
    return max(0, common) / joint


def _exact_box(image: Mask, drawn: Mask, cells: _Cells, least: float) -> Box:
    """Box of an image known in cells, to the pixel.

    A finer grid, opened so that ticks and text beside the image fall away, gives its outline; from
    a little inside it, each side steps outward while more than ``least`` of the line is drawn.
    """
    fine = _Cells(max(1, cells.size // 4), cells.shape)
    around = ndimage.binary_dilation(image, np.ones((5, 5)))
    labels, n = ndimage.label(_opened(fine.share(drawn & cells.spread(around)) > 0.5, 3))
    centres = (
        np.minimum(((np.arange(count) + 0.5) * cells.size / fine.size).astype(int), limit - 1)
        for count, limit in zip(image.shape, labels.shape, strict=True)
    )
    keep = np.zeros(n + 1, dtype=bool)
    keep[labels[np.ix_(*centres)][image]] = True
    keep[0] = False
    outline, size = (keep[labels], fine.size) if keep.any() else (image, cells.size)

    depth = max(3, 6 * cells.size // size)
    row0 = _step_out(outline[::-1], drawn[::-1], size, depth, least)
    row1 = _step_out(outline, drawn, size, depth, least)
    column0 = _step_out(outline.T[::-1], drawn.T[::-1], size, depth, least)
    column1 = _step_out(outline.T, drawn.T, size, depth, least)
    return drawn.shape[0] - row0, drawn.shape[1] - column0, row1, column1


def _step_out(outline: Mask, drawn: Mask, size: int, depth: int, least: float) -> int:
    """First line below ``outline`` that shows nothing, counted from the top."""
    last = int(np.flatnonzero(outline.any(axis=1))[-1])
    # Only where the image is near this side: what stands beside a sector's point is not image.
    lanes = np.repeat(outline[max(0, last + 1 - depth) : last + 1].any(axis=0), size)[: drawn.shape[1]]
    start = min(max(last - depth // 2, 0) * size, drawn.shape[0] - 1)
    empty = np.flatnonzero(drawn[start:, lanes].mean(axis=1) <= least)
    return start + int(empty[0]) if empty.size else int(drawn.shape[0])
