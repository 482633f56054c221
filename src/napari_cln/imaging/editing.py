"""Nodes as things that are deleted, split, merged, filled, smoothed, or kept in one part.

Each function takes node ids (H, W) and gives new ones; what is given stays as it is. Pixels of one node
never go to another one, but where two are merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import line as draw_line

from ..errors import InputError, listed
from .measurement import TOUCHING, bounds

__all__ = [
    "delete_node",
    "fill_holes",
    "free_id",
    "keep_part",
    "merge_nodes",
    "nearest_node",
    "nodes_in_parts",
    "put_node",
    "smooth_node",
    "split_node",
]

Instances = NDArray[np.uint8]
Place = tuple[slice, slice]

CRUMB = 0.02
"""Share of a node under which what a cut leaves is no part of its own."""


def nodes_in_parts(instances: NDArray[np.integer]) -> dict[int, int]:
    """Nodes that lie in several separate places, and in how many.

    Parameters
    ----------
    instances : ndarray of int, shape (H, W)
        Ids 1 to 255. Pixels that touch at a corner are of one place.

    Returns
    -------
    dict of int to int
        Number of parts by id; nodes in one part are not named.
    """
    place = bounds(instances)
    if place is None:
        return {}
    painted = instances[place]  # most of a frame is no node
    parts = {}
    for number, box in enumerate(ndimage.find_objects(painted), start=1):
        if box is not None:
            _, n = ndimage.label(painted[box] == number, structure=TOUCHING)
            if n > 1:
                parts[number] = int(n)
    return parts


def free_id(instances: NDArray[np.integer], used: Iterable[int] = ()) -> int:
    """Id for a new node: one more than any before, so that nobody's facts become another node's.

    Parameters
    ----------
    instances : ndarray of int, shape (H, W)
    used : iterable of int
        Ids that were a node's before, though they are not painted now.

    Returns
    -------
    int
        1 to 255; where 255 was used, the least that is not painted.

    Raises
    ------
    InputError
        If the frame has 255 nodes.
    """
    painted = {int(node) for node in np.unique(instances)}
    highest = max([*painted, *used, 0])
    if highest < 255:
        return highest + 1
    free = sorted(set(range(1, 256)) - painted)
    if not free:
        raise InputError("The frame has 255 nodes, and no id is left.", "Delete or merge some of them.")
    return free[0]


def put_node(instances: Instances, mask: NDArray[np.bool_], node: int) -> Instances:
    """Paint a node in the place of what it was; pixels of other nodes that the mask covers go to it.

    Parameters
    ----------
    instances : ndarray of uint8, shape (H, W)
    mask : ndarray of bool, shape (H, W)
    node : int
        Its id, 1 to 255.

    Returns
    -------
    ndarray of uint8, shape (H, W)
    """
    changed = np.where(instances == node, np.uint8(0), instances)
    changed[mask] = node
    return changed


def delete_node(instances: Instances, node: int) -> Instances:
    """Erase a node.

    Parameters
    ----------
    instances : ndarray of uint8, shape (H, W)
    node : int

    Returns
    -------
    ndarray of uint8, shape (H, W)

    Raises
    ------
    InputError
        If no pixel has this id.
    """
    place, mask = _place_of(instances, node)
    return _with(instances, node, place, np.zeros_like(mask))


def split_node(
    instances: Instances,
    node: int,
    line: Sequence[tuple[float, float]] | None = None,
    used: Iterable[int] = (),
) -> tuple[Instances, tuple[int, ...]]:
    """Make a node of each part of one, or of each piece into which a line cuts it.

    The largest keeps the id; pixels under the line go to the piece next to them.

    Parameters
    ----------
    instances : ndarray of uint8, shape (H, W)
    node : int
    line : sequence of (float, float), optional
        Row and column of two or more points. Only parts that it crosses are cut. Without a line,
        the parts that are separate already become nodes.
    used : iterable of int
        Ids that were a node's before; see :func:`free_id`.

    Returns
    -------
    instances : ndarray of uint8, shape (H, W)
    nodes : tuple of int
        Ids of the pieces, the largest first; it is ``node``.

    Raises
    ------
    InputError
        If there are no two pieces, or no pixel has this id.
    """
    place, mask = _place_of(instances, node)
    pieces, n = ndimage.label(mask, structure=TOUCHING)
    if line is not None:
        pieces, n = _cut(pieces, n, line, place)
    if n < 2:
        how = "lies in one part" if line is None else "is not cut in two by this line"
        raise InputError(f"Node {node} {how}.", "Draw a line from one side of it to the other.")
    sizes = ndimage.sum_labels(mask, pieces, np.arange(1, n + 1))
    order = 1 + np.argsort(-sizes, kind="stable")
    changed, ids, known = instances.copy(), [node], [*used]
    for piece in order[1:]:
        ids.append(free_id(changed, known))
        changed[place][pieces == piece] = ids[-1]
    return changed, tuple(ids)


def merge_nodes(instances: Instances, nodes: Iterable[int], keep: int | None = None) -> tuple[Instances, int]:
    """Make one node of several.

    Parameters
    ----------
    instances : ndarray of uint8, shape (H, W)
    nodes : iterable of int
    keep : int, optional
        The one whose id stays; the lowest where it is left out.

    Returns
    -------
    instances : ndarray of uint8, shape (H, W)
    node : int
        The one that is left.

    Raises
    ------
    InputError
        If there are no two of them, or no pixel has one of the ids.
    """
    ids = sorted(set(nodes))
    if len(ids) < 2:
        raise InputError(f"Only node {listed(ids)} was chosen to merge.", "Choose two nodes or more.")
    kept = ids[0] if keep is None else keep
    changed = instances.copy()
    for node in ids:
        place, mask = _place_of(instances, node)
        changed[place][mask] = kept
    return changed, kept


def nearest_node(instances: Instances, node: int) -> int | None:
    """Find the node that lies nearest to another one.

    Parameters
    ----------
    instances : ndarray of uint8, shape (H, W)
    node : int

    Returns
    -------
    int or None
        The one with the pixel that lies nearest; None where there is no other node.

    Raises
    ------
    InputError
        If no pixel has this id.
    """
    _place_of(instances, node)
    place = bounds(instances)
    assert place is not None
    painted = instances[place]
    others = (painted > 0) & (painted != node)
    if not others.any():
        return None
    far = ndimage.distance_transform_edt(painted != node)
    return int(painted[others][far[others].argmin()])


def fill_holes(instances: Instances, node: int) -> Instances:
    """Fill the holes of a node, but for other nodes that lie in them.

    Parameters
    ----------
    instances : ndarray of uint8, shape (H, W)
    node : int

    Returns
    -------
    ndarray of uint8, shape (H, W)

    Raises
    ------
    InputError
        If it has none, or no pixel has this id.
    """
    place, mask = _place_of(instances, node)
    filled = ndimage.binary_fill_holes(mask) & _own_or_free(instances, node, place)
    if (filled == mask).all():
        raise InputError(f"Node {node} has no hole.", "Nothing was changed.")
    return _with(instances, node, place, filled)


def smooth_node(instances: Instances, node: int, sigma_px: float = 3.0) -> Instances:
    """Smooth the border of a node; its area stays.

    Of the mask, blurred by a Gaussian, the highest pixels are taken, as many as it has (diffusion of the
    mask, which moves a border by its curvature [1]_, with the area kept).

    Parameters
    ----------
    instances : ndarray of uint8, shape (H, W)
    node : int
    sigma_px : float
        Of the Gaussian, in pixels: teeth and notches about as wide go.

    Returns
    -------
    ndarray of uint8, shape (H, W)
        Pixels of other nodes stay theirs.

    Raises
    ------
    InputError
        If no pixel has this id.

    References
    ----------
    .. [1] B. Merriman, J. K. Bence, S. Osher, "Motion of multiple junctions: a level set approach", Journal
           of Computational Physics 112, 1994. :doi:`10.1006/jcph.1994.1105`
    """
    margin = round(3 * sigma_px)
    place, mask = _place_of(instances, node, margin)
    soft = ndimage.gaussian_filter(mask.astype(np.float32), sigma_px)
    soft[~_own_or_free(instances, node, place)] = 0.0
    size = np.count_nonzero(mask)
    order = np.argsort(-soft, axis=None, kind="stable")[:size]
    smooth = np.zeros(mask.size, dtype=bool)
    smooth[order] = True
    return _with(instances, node, place, smooth.reshape(mask.shape) & (soft > 0))


def keep_part(instances: Instances, node: int, at: tuple[float, float] | None = None) -> Instances:
    """Keep one part of a node that lies in several, and erase the others.

    Parameters
    ----------
    instances : ndarray of uint8, shape (H, W)
    node : int
    at : (float, float), optional
        Row and column of a point in the part to keep; the largest where it is left out or lies beside
        the node.

    Returns
    -------
    ndarray of uint8, shape (H, W)

    Raises
    ------
    InputError
        If it lies in one part, or no pixel has this id.
    """
    place, mask = _place_of(instances, node)
    parts, n = ndimage.label(mask, structure=TOUCHING)
    if n < 2:
        raise InputError(f"Node {node} lies in one part.", "Nothing was changed.")
    kept = 0
    if at is not None:
        row, column = round(at[0]) - place[0].start, round(at[1]) - place[1].start
        if 0 <= row < parts.shape[0] and 0 <= column < parts.shape[1]:
            kept = int(parts[row, column])
    if not kept:
        kept = 1 + int(np.bincount(parts.ravel())[1:].argmax())
    return _with(instances, node, place, parts == kept)


def _place_of(instances: Instances, node: int, margin: int = 0) -> tuple[Place, NDArray[np.bool_]]:
    """The box of a node, widened by some pixels, and its mask in there."""
    mask = instances == node
    place = bounds(mask)
    if node < 1 or place is None:
        raise InputError(f"There is no node {node} on this frame.", "Choose one that is painted.")
    rows, columns = (slice(max(side.start - margin, 0), side.stop + margin) for side in place)
    return (rows, columns), mask[rows, columns]


def _own_or_free(instances: Instances, node: int, place: Place) -> NDArray[np.bool_]:
    inside = instances[place]
    allowed: NDArray[np.bool_] = (inside == 0) | (inside == node)
    return allowed


def _with(instances: Instances, node: int, place: Place, mask: NDArray[np.bool_]) -> Instances:
    """The ids with another mask for a node, in its box."""
    changed = instances.copy()
    inside = changed[place]
    inside[inside == node] = 0
    inside[mask] = node
    return changed


def _cut(
    parts: NDArray[np.int32], n: int, line: Sequence[tuple[float, float]], place: Place
) -> tuple[NDArray[np.int32], int]:
    """Number the pieces into which a line cuts parts; a part that it does not cross goes to the largest."""
    start = np.array([place[0].start, place[1].start])
    cut = np.zeros(parts.shape, dtype=bool)
    for one, other in pairwise(line):
        ends = np.rint(np.array([one, other]) - start).astype(int)
        rows, columns = draw_line(*ends[0], *ends[1])
        inside = (rows >= 0) & (rows < parts.shape[0]) & (columns >= 0) & (columns < parts.shape[1])
        cut[rows[inside], columns[inside]] = True
    least = max(1.0, CRUMB * np.count_nonzero(parts))
    pieces, count = np.zeros_like(parts), 0
    for part in range(1, n + 1):
        # A line of pixels that touch at corners separates only what touches at sides.
        found, k = ndimage.label((parts == part) & ~cut)
        sizes = np.bincount(found.ravel(), minlength=k + 1)[1:]
        large = [piece for piece in range(1, k + 1) if sizes[piece - 1] >= least]
        if len(large) < 2:
            continue
        for piece in large:
            count += 1
            pieces[found == piece] = count
    if count < 2:
        return pieces, count
    crossed = np.unique(parts[pieces > 0])
    largest = 1 + int(np.bincount(pieces.ravel())[1:].argmax())
    nearest = ndimage.distance_transform_edt(pieces == 0, return_distances=False, return_indices=True)
    filled: NDArray[np.int32] = pieces[tuple(nearest)]
    filled[~np.isin(parts, crossed)] = 0
    filled[(parts > 0) & ~np.isin(parts, crossed)] = largest
    return filled, count
