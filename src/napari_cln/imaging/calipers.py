"""The ellipse that a node's calipers span, and the crop of a frame that they pose.

Four ends are joined by four quarters of ellipses, which share their tangents where they meet: the outline
passes through every end, also where the axes cross off their middles or not at right angles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import InputError
from .measurement import bounds

__all__ = ["HINTS", "Axis", "Calipers", "Hint", "Pose", "one_region"]

Axis: TypeAlias = tuple[tuple[float, float], tuple[float, float]]
"""Row and column of both ends, in frame pixels, pixel centres at whole numbers."""
Hint: TypeAlias = Literal["two ends", "four ends", "box"]
"""What a person drew of a node."""
HINTS: tuple[Hint, ...] = get_args(Hint)
Mask = NDArray[np.bool_]

SHORT_OF_LONG = 0.65
"""Short axis of a node whose long axis alone was measured."""
END = 0.55
"""Place of an end of the longer axis in a posed crop, from its middle (0) to its border (1)."""
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
    hint : {"two ends", "four ends", "box"}
        What of it a person drew.
    """

    long_axis: Axis
    short_axis: Axis
    centre: tuple[float, float]
    hint: Hint

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
            return cls.inscribed(_checked_box(box, shape))
        assert long_axis is not None
        long_axis = _checked_axis("long", long_axis, shape)
        if short_axis is None:
            return cls.along(long_axis)
        short_axis = _checked_axis("short", short_axis, shape)
        if (calipers := cls.crossing(long_axis, short_axis)) is None:
            raise InputError(
                f"The short axis {_shown(short_axis)} does not cross the long axis {_shown(long_axis)}.",
                "Draw it across, from one side of the node to the other.",
            )
        return calipers

    @classmethod
    def along(cls, long_axis: Axis) -> Calipers:
        """Take two ends; the short axis is 0.65 of the long one, across its middle.

        Parameters
        ----------
        long_axis : ((float, float), (float, float))
        """
        a, b = np.array(long_axis)
        half = SHORT_OF_LONG / 2 * np.array([a[1] - b[1], b[0] - a[0]])
        middle = (a + b) / 2
        short_axis = _axis(middle - half, middle + half)
        return cls(long_axis=_axis(a, b), short_axis=short_axis, centre=_at(middle), hint="two ends")

    @classmethod
    def crossing(cls, long_axis: Axis, short_axis: Axis) -> Calipers | None:
        """Take four ends; None where the axes don't cross between them.

        Parameters
        ----------
        long_axis, short_axis : ((float, float), (float, float))
        """
        (a, b), (c, d) = np.array(long_axis), np.array(short_axis)
        try:
            place, other = np.linalg.solve(np.stack([b - a, c - d], axis=1), c - a)
        except np.linalg.LinAlgError:
            return None
        if not (0 < place < 1 and 0 < other < 1):
            return None
        centre = _at(a + place * (b - a))
        return cls(long_axis=_axis(a, b), short_axis=_axis(c, d), centre=centre, hint="four ends")

    @classmethod
    def inscribed(cls, box: Sequence[float]) -> Calipers:
        """Take a box; the axes lie in its middle, along its sides.

        Parameters
        ----------
        box : (float, float, float, float)
            ``(row0, column0, row1, column1)``, half-open.
        """
        # pixels reach half beyond their centres
        row0, column0, row1, column1 = (float(value) - 0.5 for value in box)
        row, column = (row0 + row1) / 2, (column0 + column1) / 2
        upright, across = ((row0, column), (row1, column)), ((row, column0), (row, column1))
        long_axis, short_axis = (upright, across) if row1 - row0 > column1 - column0 else (across, upright)
        return cls(long_axis=long_axis, short_axis=short_axis, centre=(row, column), hint="box")

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
        row, column = (min(max(round(at), 0), size - 1) for at, size in zip(self.centre, shape, strict=True))
        inside[row, column] = True
        return inside

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


@dataclass(frozen=True, kw_only=True)
class Pose:
    """A square crop whose rows run along a node's longer axis.

    Parameters
    ----------
    centre : (float, float)
        Of the crop, in frame pixels.
    along : (float, float)
        Unit vector of its columns' order, in rows and columns of the frame.
    half : float
        Half its side, in frame pixels.
    side : int
        Its pixels.
    """

    centre: tuple[float, float]
    along: tuple[float, float]
    half: float
    side: int = 128

    @classmethod
    def of(cls, calipers: Calipers, *, reach: float = 1 / END, side: int = 128) -> Pose:
        """Pose a crop by the longer axis, whose ends then lie in its middle row.

        Parameters
        ----------
        calipers : Calipers
        reach : float
            Half the crop's side, in halves of that axis.
        side : int
        """
        a, b = (
            np.array(end)
            for end in max(calipers.long_axis, calipers.short_axis, key=lambda ends: math.dist(*ends))
        )
        length = float(np.linalg.norm(b - a))
        return cls(centre=_at((a + b) / 2), along=_at((b - a) / length), half=reach * length / 2, side=side)

    @property
    def scale(self) -> float:
        """Frame pixels to a pixel of the crop."""
        return 2 * self.half / self.side

    def in_frame(self) -> NDArray[np.float64]:
        """Row and column in the frame of each pixel of the crop, shape (2, side, side)."""
        at = (np.arange(self.side) + 0.5) * self.scale - self.half
        along, across = np.array(self.along), np.array([self.along[1], -self.along[0]])
        steps = at[None, None, :] * along[:, None, None] + at[None, :, None] * across[:, None, None]
        placed: NDArray[np.float64] = steps + np.array(self.centre)[:, None, None]
        return placed

    def in_crop(
        self, rows: NDArray[np.floating], columns: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Row and column in the crop of points of the frame.

        Parameters
        ----------
        rows, columns : ndarray of float
            Of one shape, or such that one spreads over the other.
        """
        row, column = rows - self.centre[0], columns - self.centre[1]
        x = row * self.along[0] + column * self.along[1]
        y = row * self.along[1] - column * self.along[0]
        return (y + self.half) / self.scale - 0.5, (x + self.half) / self.scale - 0.5

    def place(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of a frame outside which the crop shows nothing.

        Parameters
        ----------
        shape : (int, int)
        """
        reach = self.half * (abs(self.along[0]) + abs(self.along[1]))
        rows, columns = (
            slice(min(max(math.floor(at - reach), 0), size), min(max(math.ceil(at + reach) + 1, 0), size))
            for at, size in zip(self.centre, shape, strict=True)
        )
        return rows, columns

    def crop(self, image: NDArray[np.generic]) -> NDArray[np.float32]:
        """Show a part of a frame: smoothed by as much as the crop is coarser, 0 beyond the frame.

        Parameters
        ----------
        image : ndarray, shape (H, W)

        Returns
        -------
        ndarray of float32, shape (side, side)
        """
        rows, columns = self.in_frame()
        width = 2 * int(self.scale / 2) + 1
        first = [max(0, int(at.min()) - width) for at in (rows, columns)]
        part = image[
            first[0] : max(int(rows.max()) + width + 2, 0), first[1] : max(int(columns.max()) + width + 2, 0)
        ].astype(np.float32)
        if not part.size:
            return np.zeros((self.side, self.side), dtype=np.float32)
        if width > 1:
            part = ndimage.uniform_filter(part, width, mode="constant")
        shown: NDArray[np.float32] = ndimage.map_coordinates(
            part, [rows - first[0], columns - first[1]], order=1, mode="constant"
        )
        return shown


def one_region(mask: Mask, around: Mask) -> Mask:
    """The piece of a mask that shares most pixels with another, without holes; empty where none does.

    Parameters
    ----------
    mask, around : ndarray of bool, shape (H, W)

    Returns
    -------
    ndarray of bool, shape (H, W)
    """
    region = np.zeros_like(mask)
    place = bounds(mask)
    if place is None:
        return region
    labels, n = ndimage.label(mask[place])
    shared = np.bincount(labels[around[place] & mask[place]], minlength=n + 1)
    if shared.any():
        region[place] = ndimage.binary_fill_holes(labels == shared.argmax())
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


def _shown(values: Axis | Sequence[float]) -> str:
    """Numbers for a message, with one digit at most."""
    return str(np.round(np.array(values, dtype=float), 1).tolist()).replace(".0", "")
