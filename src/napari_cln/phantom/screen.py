"""A screen to draw on, which keeps the exact mask of everything drawn.

So the removal of overlays can be measured to the pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..types import Box
from .machines import Colour

Point = tuple[float, float]
"""(row, column) in screen pixels."""


class Screen:
    """A grey frame being drawn on in colour.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W) or (H, W, 3)
        The frame without overlays.
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._image = Image.fromarray(pixels).convert("RGB")
        self._mask = Image.new("1", self._image.size)

    @property
    def shape(self) -> tuple[int, int]:
        """``(H, W)``."""
        return self._image.height, self._image.width

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """Shown frame, uint8 (H, W, 3)."""
        return np.array(self._image)

    @property
    def overlay(self) -> NDArray[np.bool_]:
        """Every pixel that was drawn on, also faintly, bool (H, W)."""
        return np.array(self._mask)

    @contextmanager
    def ink(self, colour: Colour) -> Iterator[ImageDraw.ImageDraw]:
        """Pen of one colour; draw with ``fill=255`` (opaque) or less, in (x, y)."""
        layer = Image.new("L", self._image.size)
        yield ImageDraw.Draw(layer)
        box = layer.getbbox()
        if box is not None:
            part = layer.crop(box)
            self._image.paste(colour, box, part)
            self._mask.paste(1, box, part.point(lambda value: 255 * (value > 0), mode="1"))

    def stamp(self, colours: NDArray[np.uint8], corner: tuple[int, int]) -> None:
        """Put a picture, uint8 (h, w, 3), with its upper left corner at (row, column)."""
        picture = Image.fromarray(colours)
        box = corner[1], corner[0], corner[1] + picture.width, corner[0] + picture.height
        self._image.paste(picture, box)
        self._mask.paste(1, box)


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def draw_text(
    screen: Screen, at: Point, text: str, colour: Colour, size: float, *, anchor: str = "la"
) -> None:
    """Write text with a Pillow anchor (``"la"``: ``at`` is its upper left corner)."""
    with screen.ink(colour) as pen:
        # Bitmap fonts know no anchor; the scalable default font of Pillow does.
        pen.text((at[1], at[0]), text, fill=255, font=_font(max(9, round(size))), anchor=anchor)


def draw_calipers(
    screen: Screen,
    ends: Sequence[tuple[Point, Point]],
    colour: Colour,
    *,
    cross: Literal["+", "x"] = "+",
    dotted: bool = True,
    size: float = 6.0,
) -> None:
    """Draw measuring marks: a cross at both ends of each line and dots between them.

    Parameters
    ----------
    screen : Screen
    ends : sequence of ((row, column), (row, column))
    colour : Colour
    cross : {"+", "x"}
    dotted : bool
        Join the crosses by a dotted line.
    size : float
        Half the width of a cross, in pixels.
    """
    thick = 2 if size >= 7 else 1
    with screen.ink(colour) as pen:
        for pair in ends:
            for row, column in pair:
                reach = size if cross == "+" else size * 0.8
                arms = ((0.0, reach), (reach, 0.0)) if cross == "+" else ((reach, reach), (reach, -reach))
                for y, x in arms:
                    pen.line((column - x, row - y, column + x, row + y), fill=255, width=thick)
            if dotted:
                (r0, c0), (r1, c1) = pair
                length = float(np.hypot(r1 - r0, c1 - c0))
                for way in np.arange(5.0, length, 5.0):
                    y, x = (np.array(pair[0]) + way / length * np.array([r1 - r0, c1 - c0])).tolist()
                    pen.rectangle((x, y, x + (thick - 1), y + (thick - 1)), fill=255)


def draw_doppler_box(screen: Screen, box: Box, colour: Colour, *, slant: float = 0.0) -> None:
    """Outline a colour box, its sides slanted by ``slant`` pixels."""
    row0, column0, row1, column1 = box
    corners = [
        (column0 + slant, row0),
        (column1 + slant, row0),
        (column1 - slant, row1),
        (column0 - slant, row1),
    ]
    with screen.ink(colour) as pen:
        pen.line([*corners, corners[0]], fill=255, width=1)
