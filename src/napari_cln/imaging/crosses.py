"""Calipers burned into a screen: crosses, dotted lines between them, and the nodes that they span.

A cross has four arms of one length, + or ×, with nothing between them and little around. Two crosses are
the ends of one axis where dots join them, or where they are the only two left in their colour. Two axes
that cross in their middles belong to one node. What could be read in two ways is not read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ..errors import counted
from ..types import Box, Frame
from .calipers import Axis, Calipers
from .colour import DARKEST_PEN, widen
from .overlay import find_overlay
from .scan_area import find_scan_area

__all__ = ["BurnedCalipers", "find_calipers"]

Mask = NDArray[np.bool_]
Point = tuple[float, float]

UPRIGHT = ((-1, 0), (0, 1), (1, 0), (0, -1))
SLANTED = ((-1, -1), (-1, 1), (1, 1), (1, -1))
LONGEST_ARM = 18
"""Pixels; the widest crosses are about one fortieth of a screen's height to each side."""
WINDOW = 7
"""Pixels of a line that hold one of its dots at least."""
SAME_PLACE = 4.0
"""Pixels between the middles of what is one cross, seen twice."""
OFTEN = 12
"""Pixels of one colour among the marks that make it one of a pen."""
SAME_COLOUR = 60.0
"""Distance of two RGB colours of one pen."""
SMALL = 0.6
"""Size of a cross, as a part of what most of a screen's have, below which it is none."""
MIDDLE = 0.15
"""How near to its ends the axes of one node may cross, as a part of each."""
SQUARE, SLANT = math.radians(35), math.radians(70)
"""How far they may be from right angles: of crosses that nothing joins, and of lines, which who measures
from the highest point to the lowest draws at any slant."""
SHORTEST, LONGEST = 12.0, 0.8
"""Length of an axis: pixels, and the part of the scan area's longer side."""


@dataclass(frozen=True, kw_only=True)
class BurnedCalipers:
    """Nodes that were measured on a frame's screen.

    Parameters
    ----------
    nodes : tuple of Calipers
        Two ends or four of each, the longer axis first.
    left_over : tuple of (float, float)
        Row and column of crosses of which nothing says which belong together.
    """

    nodes: tuple[Calipers, ...] = ()
    left_over: tuple[Point, ...] = ()

    @property
    def ends(self) -> tuple[Point, ...]:
        """Row and column of every end that was read."""
        axes = [one.long_axis for one in self.nodes]
        axes += [one.short_axis for one in self.nodes if one.hint == "four ends"]
        return tuple(end for axis in axes for end in axis)

    @property
    def note(self) -> str:
        """Sentence on the crosses for a person; empty where all was read or none was there."""
        if not self.left_over:
            return ""
        return (
            f"{counted(len(self.left_over), 'caliper cross').replace('crosss', 'crosses')} can't be told "
            "apart: nothing says which belong together"
        )


class _Cross(NamedTuple):
    at: Point
    reach: float
    slanted: bool
    colour: NDArray[np.float64]


def find_calipers(frame: Frame, scan_area: Box | None = None) -> BurnedCalipers:
    """Read the calipers on a scanner's screen: where nodes were measured.

    Parameters
    ----------
    frame : Frame
    scan_area : (int, int, int, int), optional
        Found by :func:`find_scan_area` otherwise.

    Returns
    -------
    BurnedCalipers
        The ends of the axes of each node, in frame pixels, for
        :func:`~napari_cln.outline_node`; and crosses whose partners nothing tells.

    Notes
    -----
    Crosses are read from the marks that :func:`find_overlay` finds, and missed where it misses them. Whether
    what was measured is a node, and an only axis its longer one, the screen does not say.
    """
    area = scan_area or find_scan_area(frame)
    row0, column0, row1, column1 = area
    ink = find_overlay(frame, area)[row0:row1, column0:column1]
    if not ink.any():
        return BurnedCalipers()
    scan = frame.pixels[row0:row1, column0:column1]
    crosses: list[_Cross] = []
    drawings = [*_pens(scan, ink), ink]  # the crisp first
    for drawn in drawings:
        for cross in _crosses(drawn, scan):
            if all(math.dist(cross.at, other.at) > SAME_PLACE for other in crosses):
                crosses.append(cross)
    longest = LONGEST * max(area[2] - area[0], area[3] - area[1])
    axes: list[Axis] = []
    left: list[Point] = []
    for alike in _by_pen(crosses):
        joined, alone = _joined(alike, drawings, longest)
        axes += joined
        paired, unpaired = _only_pairs(alone, longest)
        axes += paired
        left += unpaired
    axes = [(_moved(one, area), _moved(other, area)) for one, other in axes]
    nodes, doubtful = _nodes(axes)
    return BurnedCalipers(nodes=nodes, left_over=(*(_moved(point, area) for point in left), *doubtful))


def _moved(point: Point, area: Box) -> Point:
    """A point of the scan area in the frame."""
    return point[0] + area[0], point[1] + area[1]


# ------------------------------------------------------------ crosses


def _pens(pixels: NDArray[np.uint8], ink: Mask) -> Iterator[Mask]:
    """Pixels in the colour of each pen, on the marks and near them: crisp where the marks' mask is not."""
    near = widen(ink, 9)
    shown = pixels[near].reshape(np.count_nonzero(near), -1).astype(np.int16)
    marked = shown[ink[near]]
    codes = (marked >> 3).astype(np.int32) @ (1 << 5 * np.arange(marked.shape[1]))
    _, where, counts = np.unique(codes, return_inverse=True, return_counts=True)
    for common in np.argsort(-counts)[:8]:
        colour = marked[where == common].mean(axis=0)
        if counts[common] < OFTEN or colour.max() < DARKEST_PEN * 2:
            continue
        drawn = np.zeros_like(ink)
        drawn[near] = np.abs(shown - colour).max(axis=1) <= 20
        yield drawn


def _crosses(ink: Mask, pixels: NDArray[np.uint8]) -> list[_Cross]:
    """Crosses among the marks, each once."""
    rows, columns = np.nonzero(ink)
    far = 6 * LONGEST_ARM
    padded = np.pad(ink, far)
    rows, columns = rows + far, columns + far
    found: list[_Cross] = []
    for slanted, arms in ((False, UPRIGHT), (True, SLANTED)):
        between = UPRIGHT if slanted else SLANTED
        # a slanted line steps from row to row now and then beside the diagonal
        wide = padded | (np.roll(padded, 1, axis=1) | np.roll(padded, -1, axis=1) if slanted else False)
        lengths = np.sort([_run(wide, rows, columns, arm) for arm in arms], axis=0)
        least = 2 if slanted else 3
        # an arm on which the dotted line runs on may be longer
        likely = (lengths[0] >= least) & (lengths[2] <= 1.35 * lengths[0] + 1) & (lengths[2] < LONGEST_ARM)
        gaps = np.max([_run(padded, rows, columns, gap) for gap in between], axis=0)
        likely &= gaps <= np.maximum(1, 0.5 * lengths[0])
        for spots, reach in _together(np.stack([rows, columns], axis=1)[likely], lengths[1][likely]):
            arm = float(reach.max())
            middle = spots[reach >= arm].mean(axis=0)
            if np.ptp(spots, axis=0).max() <= 3 and _stands_free(padded, middle, arm, slanted):
                at = middle - far
                colour = _colour(pixels, at, arm, arms)
                found.append(_Cross((float(at[0]), float(at[1])), arm, slanted, colour))
    return found


def _together(
    points: NDArray[np.intp], values: NDArray[np.intp]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Points that touch each other, also by a corner, and their values."""
    if not len(points):
        return
    pairs = cKDTree(points).query_pairs(1.5, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(len(points), len(points)))
    n, which = connected_components(links, directed=False)
    for number in range(n):
        yield points[which == number], values[which == number]


def _run(
    ink: Mask, rows: NDArray[np.intp], columns: NDArray[np.intp], step: tuple[int, int]
) -> NDArray[np.intp]:
    """Pixels of ink in one direction from each of some; one that is missing between others counts."""
    length = np.zeros(len(rows), dtype=np.intp)
    going = np.ones(len(rows), dtype=bool)
    for k in range(1, LONGEST_ARM + 1):
        here = ink[rows + k * step[0], columns + k * step[1]]
        going &= here
        length += going
        if not going.any():
            break
    return length


def _stands_free(ink: Mask, middle: NDArray[np.floating], arm: float, slanted: bool) -> bool:
    """Tell whether little else is drawn around: a letter has neighbours, a cross at most its line."""
    reach = (arm * math.sqrt(2) if slanted else arm) + 3
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    rows, columns = (
        np.rint(at + reach * turn(angles)).astype(int)
        for at, turn in zip(middle, (np.sin, np.cos), strict=True)
    )
    row, column = (round(float(at)) for at in middle)
    tall, gap = round(arm) + 1, round(reach)
    beside = np.arange(gap, gap + 4 * tall)
    lines = ink[row - tall : row + tall + 1]
    left, right = (lines[:, column + side * beside].mean(axis=0) for side in (-1, 1))
    # the letter in a word has others on both sides, or more than one on one side
    around = float(ink[rows, columns].mean())
    next_to = min(float(side[: 2 * tall].mean()) for side in (left, right))
    further = max(float(side.mean()) for side in (left, right))
    return around <= 0.3 and next_to <= 0.1 and further <= 0.14


def _colour(
    pixels: NDArray[np.uint8], at: NDArray[np.floating], arm: float, arms: Sequence[tuple[int, int]]
) -> NDArray[np.float64]:
    """Median colour of a cross."""
    steps = np.arange(0, max(1, round(arm) - 1) + 1)
    places = np.rint(at + np.concatenate([np.outer(steps, np.array(one)) for one in arms])).astype(int)
    places = np.clip(places, 0, np.array(pixels.shape[:2]) - 1)
    colours = pixels[places[:, 0], places[:, 1]].reshape(len(places), -1).astype(float)
    colour: NDArray[np.float64] = np.broadcast_to(np.median(colours, axis=0), 3)
    return colour


def _by_pen(crosses: Sequence[_Cross]) -> list[list[_Cross]]:
    """Crosses of one form, size and colour together, without those that are small beside most: letters."""
    groups: list[list[_Cross]] = []
    for cross in crosses:
        for group in groups:
            other = group[0]
            if (
                cross.slanted == other.slanted
                and abs(cross.reach - other.reach) <= 2 + 0.25 * other.reach
                and np.linalg.norm(cross.colour - other.colour) <= SAME_COLOUR
            ):
                group.append(cross)
                break
        else:
            groups.append([cross])
    usual = max(((len(group), group[0].reach) for group in groups), default=(0, 0.0))[1]
    return [group for group in groups if group[0].reach >= SMALL * usual]


# ------------------------------------------------------------ axes


def _joined(crosses: list[_Cross], drawings: list[Mask], longest: float) -> tuple[list[Axis], list[_Cross]]:
    """Axes whose ends dots join, and crosses that are joined to none; one joined to two joins neither."""
    partners: dict[int, list[int]] = {index: [] for index in range(len(crosses))}
    for i, j in combinations(range(len(crosses)), 2):
        near = SHORTEST <= math.dist(crosses[i].at, crosses[j].at) <= longest
        if near and any(_has_line(drawn, crosses[i], crosses[j]) for drawn in drawings):
            partners[i].append(j)
            partners[j].append(i)
    axes = [
        (crosses[i].at, crosses[j].at)
        for i, others in partners.items()
        for j in others
        if i < j and len(others) == len(partners[j]) == 1
    ]
    ends = {end for axis in axes for end in axis}
    return axes, [cross for cross in crosses if cross.at not in ends]


def _has_line(ink: Mask, one: _Cross, other: _Cross) -> bool:
    """Tell whether dots lie all along the way between two crosses, and on it rather than beside it."""
    a, b = np.array(one.at), np.array(other.at)
    length = float(np.linalg.norm(b - a))
    along = (b - a) / length
    clear = (one.reach + other.reach) / 2 * (1.42 if one.slanted else 1.0) + 2
    ways = np.arange(clear, length - clear, 1.0)
    if len(ways) < 2 * WINDOW:
        return False
    across = np.array([-along[1], along[0]])
    line = {}
    for aside in (-4, -1, 0, 1, 4):
        at = np.rint(a + ways[:, None] * along + aside * across).astype(int)
        at = np.clip(at, 0, np.array(ink.shape) - 1)
        line[aside] = ink[at[:, 0], at[:, 1]]
    on = line[-1] | line[0] | line[1]
    beside = (line[-4].mean() + line[4].mean()) / 2
    pieces = [piece.any() for piece in np.array_split(on, max(1, len(on) // WINDOW))]
    return float(np.mean(pieces)) >= 0.8 and float(on.mean()) > 2 * beside


def _only_pairs(crosses: list[_Cross], longest: float) -> tuple[list[Axis], list[Point]]:
    """Axes of crosses that no line joins: of two, or of four that are the ends of one node's axes."""
    points = [cross.at for cross in crosses]
    if len(points) == 2 and SHORTEST <= math.dist(*points) <= longest:
        return [(points[0], points[1])], []
    if len(points) == 4:
        a, b, c, d = points
        for one, two in (((a, b), (c, d)), ((a, c), (b, d)), ((a, d), (b, c))):
            if _of_one_node(one, two, SQUARE) and max(math.dist(*one), math.dist(*two)) <= longest:
                return [one, two], []
    return [], points


# ------------------------------------------------------------ nodes


def _nodes(axes: list[Axis]) -> tuple[tuple[Calipers, ...], list[Point]]:
    """Nodes of the axes, and ends of axes that more than one other crosses."""
    crossed: dict[int, list[int]] = {index: [] for index in range(len(axes))}
    for i, j in combinations(range(len(axes)), 2):
        if Calipers.crossing(axes[i], axes[j]) is not None:
            crossed[i].append(j)
            crossed[j].append(i)
    nodes: list[Calipers] = []
    doubtful: list[Point] = []
    for i, others in crossed.items():
        if not others:
            nodes.append(Calipers.along(axes[i]))
        elif (
            len(others) == 1
            and len(crossed[others[0]]) == 1
            and _of_one_node(axes[i], axes[others[0]], SLANT)
        ):
            if i < others[0]:
                pair = sorted((axes[i], axes[others[0]]), key=lambda ends: -math.dist(*ends))
                calipers = Calipers.crossing(*pair)
                assert calipers is not None
                nodes.append(calipers)
        else:
            doubtful += axes[i]
    return tuple(nodes), doubtful


def _of_one_node(one: Axis, other: Axis, slant: float) -> bool:
    """Tell whether two axes cross in their middles, that far from right angles at most."""
    calipers = Calipers.crossing(one, other)
    if calipers is None:
        return False
    (a, b), (c, d) = np.array(one), np.array(other)
    cosine = abs(float((b - a) @ (d - c))) / (math.dist(a, b) * math.dist(c, d))
    shares = [
        min(math.dist(calipers.centre, end) for end in ends) / math.dist(*ends) for ends in (one, other)
    ]
    return cosine <= math.sin(slant) and min(shares) >= MIDDLE
