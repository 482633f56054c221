"""Nodes of one frame laid into another, so that a network learns the node and not the organ round it.

Where all real frames of one organ show a lesion and all of the others none, the organ tells the answer, and
a network that has learnt so finds nothing in an organ that it never saw with one. Copying what is to be found
into other frames is a known remedy [1]_.

References
----------
.. [1] G. Ghiasi et al., "Simple copy-paste is a strong data augmentation method for instance segmentation",
       CVPR 2021. :arxiv:`2012.07177`
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import AffineTransform, warp

from napari_cln.training.data import Samples

__all__ = ["laid_in", "mixed"]

DARKEST = 12
"""Mean grey of a ring below which a frame shows nothing there."""
RING = 8
"""Pixels of the ring round a node that tell its contrast."""
LEAST = 150
"""Pixels below which a node is not copied: what makes it a node is hardly seen."""
TRIES = 200
"""Draws without a result after which the grounds are taken to have no place for a node."""
SHOWN = 0.9
"""Share of the pixels under a node and its ring at which the ground must show something."""


def mixed(
    image: NDArray[np.float32],
    mask: NDArray[np.bool_],
    ground: NDArray[np.float32],
    *,
    ring: int = RING,
    margin: int = 0,
    edge: float = 1.5,
) -> NDArray[np.uint8] | None:
    """Lay what is under a mask into another image, with the contrast that it had to its ring.

    Parameters
    ----------
    image : ndarray of float32, shape (H, W)
        The image that shows it, from 0 to 255.
    mask : ndarray of bool, shape (H, W)
        Where it lies in both images.
    ground : ndarray of float32, shape (H, W)
        The image that it is laid into.
    ring, margin : int
        Pixels round it: those that tell its contrast, and those that come along.
    edge : float
        Standard deviation of the soft edge, in pixels.

    Returns
    -------
    ndarray of uint8, shape (H, W), or None
        None where one of the images is dark there.
    """
    round_it = ndimage.binary_dilation(mask, iterations=ring) & ~mask
    levels = image[round_it].mean(), ground[round_it].mean()
    if min(levels) < DARKEST:
        return None
    wide = ndimage.binary_dilation(mask, iterations=margin) if margin else mask
    share = ndimage.gaussian_filter(wide.astype(np.float32), edge)
    both = ground * (1 - share) + share * image * (levels[1] / levels[0])
    result: NDArray[np.uint8] = np.clip(both, 0, 255).astype(np.uint8)
    return result


def laid_in(nodes: Samples, grounds: Samples, count: int, seed: int, *, none: float = 0.25) -> Samples:
    """Draw frames without a node into which a node of another frame is laid, elsewhere and of another size.

    Parameters
    ----------
    nodes : Samples
        Frames of which the nodes are taken, with their scores.
    grounds : Samples
        Frames without a node.
    count : int
    seed : int
    none : float
        Share of the frames into which the same place of another ground is laid, as no node: so that
        a soft edge does not give a node away.

    Raises
    ------
    ValueError
        Where no node fits into the grounds.
    """
    rng, taken, tries = np.random.default_rng(seed), [], 0
    whole = [index for index in range(len(nodes)) if (nodes.instances[index] > 0).sum() >= LEAST]
    while len(taken) < count:
        tries += 1
        if not whole or tries > TRIES:
            raise ValueError(
                f"{len(taken)} of {count} frames were drawn, then none in {TRIES} tries: {len(whole)} of "
                f"{len(nodes)} frames have a node of at least {LEAST} pixels; or the {len(grounds)} frames "
                "to lay them into are dark. Give others."
            )
        frame = nodes.take([whole[rng.integers(len(whole))]])
        ground, other = (
            grounds.images[index].astype(np.float32) for index in rng.integers(len(grounds), size=2)
        )
        moved = _moved(frame, rng)
        if moved is None:
            continue
        image, ids = moved
        near = ndimage.binary_dilation(ids > 0, iterations=RING)
        if (ground[near] >= DARKEST / 2).mean() < SHOWN:
            continue
        is_none = rng.random() < none
        result = mixed(
            other[:, ::-1] if is_none else image,
            ids > 0,
            ground,
            margin=int(rng.integers(1, 7)),
            edge=rng.uniform(1.5, 3.0),
        )
        if result is None:
            continue
        laid = replace(frame, ids=(f"laid-in-{len(taken)}",), images=result[None], instances=ids[None])
        if is_none:
            laid = replace(
                laid,
                instances=np.zeros_like(laid.instances),
                node_targets=np.full_like(laid.node_targets, np.nan),
                frame_targets=np.full_like(laid.frame_targets, np.nan),
            )
        taken.append(laid)
        tries = 0
    return Samples.join(taken)


def _moved(frame: Samples, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.uint8]] | None:
    """Image and ids of a frame, its node at another place and of another size; None where it finds none."""
    image, ids = frame.images[0].astype(np.float32), frame.instances[0]
    side = len(ids)
    scale, flip = np.exp(rng.uniform(-0.6, 0.1)), -1.0 if rng.random() < 0.5 else 1.0
    places = np.argwhere(ids > 0)
    low, high = places.min(axis=0) - RING, places.max(axis=0) + RING
    half, middle = scale * (high - low) / 2, (low + high) / 2
    if (2 * half >= side).any():
        return None
    to = rng.uniform(half, side - half)
    turn = AffineTransform(
        matrix=[
            [flip * scale, 0, to[1] - flip * scale * middle[1]],
            [0, scale, to[0] - scale * middle[0]],
            [0, 0, 1],
        ]
    )
    # beside the frame there is nothing; what would come from there is found by its dark ring
    there = warp(image, turn.inverse, order=1, preserve_range=True).astype(np.float32)
    moved = warp(ids, turn.inverse, order=0, preserve_range=True).astype(np.uint8)
    kept = (moved > 0).sum() >= 0.9 * scale**2 * (ids > 0).sum()
    return (there, moved) if kept and (moved > 0).sum() >= LEAST else None
