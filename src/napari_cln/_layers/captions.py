"""Words on the canvas: where each stands such that it hides no node, and a colour that can be read there."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..study.reading import NOTHING_FOUND, Reading, describe_reading, short_axis
from ..types import Box, Frame

if TYPE_CHECKING:
    from napari.layers import Image

TEXT_SIZE = 8
WIDTHS = (59, 40)
"""Signs in a line: a canvas between two panels is not wide; and where a node stands in the way, less."""
NARROWEST = 16
"""Signs in a line, however narrow a frame is."""
LINE, SIGN = 0.036, 0.014
"""Height of a line and width of a sign on a canvas that shows all of a frame, in heights of the frame."""
GAP = 0.008
ON_DARK = {"malignant": "#ffc27d", "benign": "#a6e3d0"}
ON_LIGHT = {"malignant": "#7a3300", "benign": "#00513f"}
PLAIN = ("#f0f0f0", "#202020")
"""Colours of words that judge nothing, on dark and on light."""
LIGHT = 128
"""Mean grey from which a place counts as light."""


@dataclass(frozen=True, kw_only=True)
class Caption:
    """Words on the canvas; they grow upwards and to the right from ``(row, column)``."""

    text: str
    row: float
    column: float
    colour: str


def captions_of(reading: Reading, note: str, like: Image | Frame) -> list[Caption]:
    """Return the words of a frame, and of each of its nodes.

    The flag of a doubtful frame comes first, and its verdicts have no colour. What is said of a node stands
    beside it, never on it or on another, as long as there is room in the frame.

    Parameters
    ----------
    reading : Reading
    note : str
        What the model is; stands below the numbers.
    like : napari.layers.Image or Frame
        The frame, whose grey tells how the words can be read.
    """
    pixels = _pixels_of(like, reading.index)
    height, width = _shape_of(like)
    lines = [*reading.flag.splitlines(), *describe_reading(reading).split(" · "), *note.splitlines()]
    boxes = [node.box for node in reading.nodes]
    text, corner = _corner(lines, boxes, pixels, height, width)
    taken = [*boxes, corner]
    colour = _colour(reading, reading.label, pixels, corner)
    captions = [Caption(text=text, row=corner[2], column=corner[1], colour=colour)]
    for node in reading.nodes:
        label = reading.label_of(node.score)
        words = f"{node.score:.2f} {label} · {short_axis(node.size)}"
        places = list(_places(node.box, words, height, width))
        place = next((one for one in places if not any(_meet(one, other) for other in taken)), places[0])
        taken.append(place)
        colour = _colour(reading, label, pixels, place)
        captions.append(Caption(text=words, row=place[2], column=place[1], colour=colour))
    return captions


def place_at_foot(like: Image | Frame) -> tuple[float, float]:
    """Return the place in the lower left corner of a frame from which words grow upwards."""
    return float(_shape_of(like)[0]), 0.0


def colour_on(like: Image | Frame, words: str) -> str:
    """Return a colour in which words at the foot of a frame can be read."""
    height = _shape_of(like)[0]
    return PLAIN[_is_light(_pixels_of(like, 0), _box_of(words, height, 0, height))]


def _colour(reading: Reading, label: str, pixels: NDArray[np.uint8] | None, box: Box) -> str:
    light = _is_light(pixels, box)
    if reading.flag or label == NOTHING_FOUND:
        return PLAIN[light]
    return (ON_LIGHT if light else ON_DARK)[label]


def _corner(
    lines: Sequence[str], nodes: Sequence[Box], pixels: NDArray[np.uint8] | None, height: int, width: int
) -> tuple[str, Box]:
    """Wrap lines such that they hide no node in the lower left corner, or else in the darkest place."""
    room = max(int(width / (SIGN * height)), NARROWEST)  # beside the frame is a ground of another colour
    widths = dict.fromkeys(min(widest, room) for widest in WIDTHS)
    texts = ["\n".join(part for line in lines for part in textwrap.wrap(line, widest)) for widest in widths]
    for text in texts:
        foot = _box_of(text, height, 0, height)
        if not any(_meet(foot, node) for node in nodes):
            return text, foot
    text = texts[0]
    high, wide = _size(text, height), _width(text, height)
    places = [
        (row - high, column, row, column + wide)
        for row in (height, high, (height + high) // 2)
        for column in (0, max(width - wide, 0))
    ]
    free = [place for place in places if not any(_meet(place, node) for node in nodes)]
    return text, min(free, key=lambda place: _grey(pixels, place), default=places[0])


def _places(box: Box, words: str, height: int, width: int) -> Iterator[Box]:
    """Give places for words beside a box that lie in the frame: above, below, to the right and the left."""
    top, left, bottom, right = box
    high, wide, gap = _size(words, height), _width(words, height), round(GAP * height)
    column = max(min(left, width - wide), 0)
    above, below = top - gap, bottom + gap + high
    middle = min(max((top + bottom + high) // 2, high), height)
    places = [(above, column), (below, column), (middle, right + gap), (middle, left - gap - wide)]
    fits = [(row, at) for row, at in places if row - high >= 0 and row <= height and 0 <= at <= width - wide]
    for row, at in fits or places[:1]:
        yield row - high, at, row, at + wide


def _box_of(text: str, row: int, column: int, height: int) -> Box:
    return row - _size(text, height), column, row, column + _width(text, height)


def _size(text: str, height: int) -> int:
    return round(LINE * height * (text.count("\n") + 1))


def _width(text: str, height: int) -> int:
    return round(SIGN * height * max(map(len, text.splitlines()), default=0))


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _shape_of(like: Image | Frame) -> tuple[int, int]:
    if isinstance(like, Frame):
        return like.shape
    height, width = like.data.shape[like.ndim - 2 : like.ndim]
    return int(height), int(width)


def _pixels_of(like: Image | Frame, index: int) -> NDArray[np.uint8] | None:
    """Return the pixels of a frame; None of a cine that is read as the slider moves."""
    if isinstance(like, Frame):
        return like.pixels
    if not isinstance(like.data, np.ndarray):
        return None
    return like.data[index] if like.ndim == 3 else like.data


def _is_light(pixels: NDArray[np.uint8] | None, box: Box) -> bool:
    return _grey(pixels, box) >= LIGHT


def _grey(pixels: NDArray[np.uint8] | None, box: Box) -> float:
    """Return the mean grey of a place; 0 where it is not known."""
    if pixels is None:
        return 0.0
    part = pixels[max(box[0], 0) : max(box[2], 0), max(box[1], 0) : max(box[3], 0)]
    return float(part.mean()) if part.size else 0.0
