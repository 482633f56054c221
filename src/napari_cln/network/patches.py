"""From a probability to nodes: which patches belong together, and which are none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import convex_hull_image

from ..imaging.measurement import TOUCHING, bounds
from ..imaging.preprocessing import Geometry, to_model
from .model import Features, Network
from .transfer import send_values
from .u_shaped import NOTHING

__all__ = ["chance_of_node", "join_pieces", "keep_nodes", "leave_out_others"]

FILLED = 0.85
"""Share of the hull round two pieces that a node's unsure pixels must fill, for them to be one node."""


def join_pieces(
    probability: NDArray[np.float32], instances: NDArray[np.uint8], threshold: float
) -> NDArray[np.uint8]:
    """Put the pieces of a long node together.

    Where a node is darker at its ends than in its middle, only the ends may be sure, and it comes out in
    two. Two pieces are one node where pixels of half the threshold link them, and fill the hull round
    both nearly: two nodes that touch leave notches there, and a node does not.

    Parameters
    ----------
    probability : ndarray of float32, shape (H, W), in [0, 1]
    instances : ndarray of uint8, shape (H, W)
        Patches at the threshold, from :func:`~napari_cln.imaging.measurement.split_nodes`.
    threshold : float
        Operating point on the probability.

    Returns
    -------
    ndarray of uint8, shape (H, W)
        0 background; 1, 2, … the nodes, largest first. The pixels that link two pieces belong to the node.
    """
    if instances.max() < 2:
        return instances
    links, _ = ndimage.label(probability >= threshold / 2, structure=TOUCHING)
    joined = instances.astype(np.int32)
    of_link: dict[int, list[int]] = {}
    for number in range(1, int(instances.max()) + 1):
        of_link.setdefault(int(links[instances == number][0]), []).append(number)
    for link, numbers in of_link.items():
        for first, second in combinations(numbers, 2):
            a, b = (int(joined[instances == number][0]) for number in (first, second))
            if a == b:
                continue
            both = (joined == a) | (joined == b)
            place = bounds(both)
            assert place is not None
            hull = convex_hull_image(both[place])
            node = both[place] | (hull & (links[place] == link))
            taken = np.isin(joined[place], (0, a, b))  # what lies between may be another node
            if (node & taken).sum() >= FILLED * hull.sum():
                joined[place][node & taken] = a
    return _by_size(joined)


def keep_nodes(instances: NDArray[np.uint8], chances: NDArray[np.float64], least: float) -> NDArray[np.uint8]:
    """Leave out the patches that the arm takes for no node.

    Parameters
    ----------
    instances : ndarray of uint8, shape (H, W)
    chances : ndarray, shape (N,)
        Of each of its patches, from :func:`chance_of_node`. A number that is not finite leaves a patch in.
    least : float
        What a node's chance reaches.
    """
    wrong = np.flatnonzero(chances < least) + 1
    return _by_size(np.where(np.isin(instances, wrong), 0, instances)) if wrong.size else instances


def chance_of_node(
    network: Network, features: Features, guides: NDArray[np.float32], rows: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Chance that there is a node under a mask, as the arm of a network with a third class says.

    Parameters
    ----------
    network : Network
    features : Features
        Of B frames.
    guides : ndarray of float32, shape (M, S, S)
        Mask of each patch; an empty one asks for the whole frame.
    rows : ndarray of int, shape (M,)
        Which frame each patch lies in.

    Returns
    -------
    ndarray, shape (M,)
        1 for a network that has no such class.
    """
    if not network.config.knows_nothing or not len(guides):
        return np.ones(len(guides))
    device = features.arm.device
    logits = network.classify(features, send_values(guides[:, None], device), send_values(rows, device))
    nothing: NDArray[np.float64] = logits.cpu().double().softmax(1)[:, NOTHING].numpy()
    return 1 - nothing


def leave_out_others(
    network: Network,
    features: Features,
    found: Sequence[NDArray[np.uint8]],
    geometries: Sequence[Geometry],
    least: float,
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Leave out the patches of each frame that the arm takes for no node.

    Parameters
    ----------
    network : Network
    features : Features
        Of B frames.
    found : sequence of ndarray of uint8, each of shape (H, W)
        Patches of each frame on its own pixels.
    geometries : sequence of Geometry
        The way from each frame to the network's input.
    least : float
        What a node's chance reaches.

    Returns
    -------
    list of ndarray of uint8
        The nodes of each frame.
    list of ndarray, each of shape (N,)
        Their chances.
    list of ndarray, each of shape (K,)
        Those of the patches that were left out.
    """
    counts = [int(instances.max()) for instances in found]
    if not network.config.knows_nothing or not any(counts):
        return list(found), [np.ones(count) for count in counts], [np.zeros(0) for _ in counts]
    guides = [
        to_model(instances == id_, geometry)
        for instances, geometry, count in zip(found, geometries, counts, strict=True)
        for id_ in range(1, count + 1)
    ]
    rows = np.repeat(np.arange(len(found)), counts)
    chances = chance_of_node(network, features, np.stack(guides), rows)
    each = [chances[rows == row] for row in range(len(found))]
    kept = [keep_nodes(instances, own, least) for instances, own in zip(found, each, strict=True)]
    return kept, [own[~(own < least)] for own in each], [own[own < least] for own in each]


def _by_size(instances: NDArray[np.integer]) -> NDArray[np.uint8]:
    """The same nodes, numbered from the largest on."""
    areas = np.bincount(instances.ravel())
    order = [number for number in np.argsort(-areas[1:], kind="stable") + 1 if areas[number]]
    ids = np.zeros(len(areas), np.uint8)
    ids[np.array(order, dtype=np.intp)] = np.arange(1, len(order) + 1)
    numbered: NDArray[np.uint8] = ids[instances]
    return numbered
