"""The ellipse that a node's calipers span: its ends, and how far each pixel lies inside.

Four ends are joined by four quarters of ellipses, which share their tangents where they meet: the outline
passes through every end, also where the axes cross off their middles or not at right angles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import InputError
from .measurement import bounds

__all__ = ["Axis", "Calipers", "one_region"]

Axis = tuple[tuple[float, float], tuple[float, float]]
"""Row and column of both ends, in frame pixels, pixel centres at whole numbers."""
Mask = NDArray[np.bool_]

SHORT_OF_LONG = 0.65
"""Short axis of a node whose long axis alone was measured."""
SHORTEST = 2.0
"""Pixels from end to end below which an axis shows no direction."""


@dataclass(frozen=True, kw_only=True)
class Calipers:
    """Where the axes of a node end, and where they cross.

    Parameters
    ----------
    long_axis, short_axis : ((float, float), (float, float))
        Row and column of both ends of each, in frame pixels.
    centre : (float, float)
        Where they cross.
    """

    long_axis: Axis
    short_axis: Axis
    centre: tuple[float, float]

    @classmethod
    def of(
        cls,
        shape: tuple[int, int],
        *,
        long_axis: Axis | None = None,
        short_axis: Axis | None = None,
        box: Sequence[float] | None = None,
    ) -> Calipers:
        """Take two ends, four ends or a box, as a person drew them on a frame.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns of the frame.
        long_axis, short_axis : ((float, float), (float, float)), optional
            Row and column of both ends.
        box : (float, float, float, float), optional
            ``(row0, column0, row1, column1)``, half-open.

        Raises
        ------
        InputError
            If they don't show one node that lies in the frame.
        """
        if (long_axis is None) == (box is None):
            given = "neither was" if box is None else "both were"
            raise InputError(
                f"A node is shown by its long axis or by a box; {given} given.", "Give one of the two."
            )
        if box is not None:
            if short_axis is not None:
                raise InputError("A short axis belongs to a long one, not to a box.", "Leave one out.")
            return cls._inscribed(_checked_box(box, shape))
        assert long_axis is not None
        a, b = (np.array(end) for end in _checked_axis("long", long_axis, shape))
        if short_axis is None:
            middle = (a + b) / 2
            half = SHORT_OF_LONG / 2 * np.array([-(b - a)[1], (b - a)[0]])
            return cls(
                long_axis=_axis(a, b), short_axis=_axis(middle - half, middle + half), centre=_at(middle)
            )
        c, d = (np.array(end) for end in _checked_axis("short", short_axis, shape))
        along = np.linalg.det(np.stack([b - a, d - c]))
        place, other = (
            (np.linalg.det(np.stack([c - a, d - c])) / along, np.linalg.det(np.stack([c - a, b - a])) / along)
            if along
            else (math.inf, math.inf)
        )
        if not (0 < place < 1 and 0 < other < 1):
            raise InputError(
                f"The short axis {_shown(short_axis)} does not cross the long axis {_shown(long_axis)}.",
                "Draw it across, from one side of the node to the other.",
            )
        return cls(long_axis=_axis(a, b), short_axis=_axis(c, d), centre=_at(a + place * (b - a)))

    @classmethod
    def _inscribed(cls, box: tuple[float, float, float, float]) -> Calipers:
        row0, column0, row1, column1 = (
            value - 0.5 for value in box
        )  # pixels reach half beyond their centres
        row, column = (row0 + row1) / 2, (column0 + column1) / 2
        upright, across = ((row0, column), (row1, column)), ((row, column0), (row, column1))
        tall = row1 - row0 > column1 - column0
        return cls(
            long_axis=upright if tall else across,
            short_axis=across if tall else upright,
            centre=(row, column),
        )

    @property
    def length(self) -> float:
        """Pixels from end to end of the long axis."""
        return math.dist(*self.long_axis)

    def distance(self, rows: NDArray[np.floating], columns: NDArray[np.floating]) -> NDArray[np.float64]:
        """Distance of points from the centre, of which the outline has 1 all round.

        Parameters
        ----------
        rows, columns : ndarray of float
            Of one shape, or such that one spreads over the other.

        Returns
        -------
        ndarray of float64
            0 at the centre, below 1 inside, 1 at every end.
        """
        centre = np.array(self.centre)
        long, short = (np.array(ends) - centre for ends in (self.long_axis, self.short_axis))
        directions = np.stack([long[1] - long[0], short[1] - short[0]])
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        to_axes = np.linalg.inv(directions)
        row, column = rows - centre[0], columns - centre[1]
        total = np.zeros(np.broadcast(row, column).shape)
        for k, ends in enumerate((long, short)):
            along = row * to_axes[0, k] + column * to_axes[1, k]
            before, after = (max(float(np.linalg.norm(end)), 1e-6) for end in ends)
            total += (along / np.where(along < 0, before, after)) ** 2
        return np.sqrt(total)

    def ellipse(self, shape: tuple[int, int]) -> Mask:
        """Pixels of a frame whose centres lie within the outline; at least the one at the centre.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns of the frame.

        Returns
        -------
        ndarray of bool, shape (H, W)
        """
        inside = np.zeros(shape, dtype=bool)
        rows, columns = self.place(shape)
        inside[rows, columns] = self.distance(*np.ogrid[rows, columns]) <= 1
        inside[self.nearest(shape)] = True
        return one_region(inside, self.nearest(shape))

    def place(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of a frame outside which no pixel lies in the outline.

        Parameters
        ----------
        shape : (int, int)
        """
        ends = np.array([self.long_axis, self.short_axis])
        corners = (ends[0][:, None] + ends[1][None] - self.centre).reshape(4, 2)
        first = np.clip(np.floor(corners.min(axis=0)), 0, shape).astype(int)
        last = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, shape).astype(int)
        return slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))

    def nearest(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Pixel of a frame at the centre.

        Parameters
        ----------
        shape : (int, int)
        """
        row, column = (min(max(round(at), 0), size - 1) for at, size in zip(self.centre, shape, strict=True))
        return row, column


def one_region(mask: Mask, around: tuple[int, int]) -> Mask:
    """The part of a mask that holds a pixel, without holes; none where that pixel is not set.

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)
    around : (int, int)
        Row and column.

    Returns
    -------
    ndarray of bool, shape (H, W)
    """
    region = np.zeros_like(mask)
    place = bounds(mask)
    if place is None or not mask[around]:
        return region
    labels, _ = ndimage.label(mask[place])
    label = labels[around[0] - place[0].start, around[1] - place[1].start]
    region[place] = ndimage.binary_fill_holes(labels == label)
    return region


def _axis(one: NDArray[np.float64], other: NDArray[np.float64]) -> Axis:
    return _at(one), _at(other)


def _at(point: NDArray[np.float64]) -> tuple[float, float]:
    return float(point[0]), float(point[1])


def _checked_axis(name: str, axis: Axis, shape: tuple[int, int]) -> Axis:
    try:
        ends = np.asarray(axis, dtype=float)
    except (TypeError, ValueError):
        ends = np.zeros(0)
    if ends.shape != (2, 2) or not np.isfinite(ends).all():
        raise InputError(
            f"The {name} axis is {axis}, which is not two points.", "Give ((row, column), (row, column))."
        )
    if (ends < -0.5).any() or (ends > np.array(shape) - 0.5).any():
        raise InputError(
            f"The {name} axis {_shown(axis)} does not end in the frame of {shape[0]}×{shape[1]} pixels.",
            "Give the row and the column of both ends, in frame pixels.",
        )
    if (length := math.dist(*ends)) < SHORTEST:
        raise InputError(
            f"The {name} axis is {length:.1f} pixels long.",
            f"Draw it from border to border of the node, {SHORTEST:g} pixels at least.",
        )
    return _axis(*ends)


def _checked_box(box: Sequence[float], shape: tuple[int, int]) -> tuple[float, float, float, float]:
    try:
        values = np.asarray(box, dtype=float)
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.shape != (4,) or not np.isfinite(values).all():
        raise InputError(
            f"The box is {box}, which is not four numbers.", "Give (row0, column0, row1, column1)."
        )
    row0, column0, row1, column1 = map(float, values)
    if min(row0, column0) < 0 or row1 > shape[0] or column1 > shape[1]:
        raise InputError(
            f"The box {_shown(box)} does not lie in the frame of {shape[0]}×{shape[1]} pixels.",
            "Give (row0, column0, row1, column1), half-open.",
        )
    if min(row1 - row0, column1 - column0) < SHORTEST:
        raise InputError(
            f"The box {_shown(box)} is less than {SHORTEST:g} pixels wide or high.",
            "Draw it around the node: (row0, column0, row1, column1), half-open.",
        )
    return row0, column0, row1, column1


def _shown(values: object) -> str:
    """Numbers for a message, whole or with one digit."""
    if isinstance(values, float | int | np.number):
        return f"{round(float(values), 1):g}"
    assert isinstance(values, Sequence | np.ndarray)
    return f"({', '.join(map(_shown, values))})"
