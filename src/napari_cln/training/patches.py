"""What the class arm learns from: nodes, and patches that are none, chosen where the masks are.

No step waits for a GPU: nothing is asked of it that decides how many rows a table has. Every frame has the
same number of places for patches, and those that stay empty weigh nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from ..imaging.measurement import TOUCHING
from ..network.transfer import send_values
from .data import Batch

__all__ = ["Patches", "label_on_device", "patches_of"]

THRESHOLDS = (0.5, 0.25, 0.1)
"""Where patches are cut out of a probability, in turn from frame to frame: the sure, and the unsure."""
MOST_PATCHES = 4
"""Patches of a frame that the arm learns from, the largest first."""
IS_NODE, IS_NOTHING = 0.3, 0.1
"""Overlap (IoU) of a patch with the nodes that it touches: from here on it is one; below this it is none."""
ROUNDS = 20
"""Rounds in which a GPU numbers patches. Masks of 256 pixels a side, smooth or noise, need at most 10; a
spiral of one pixel's width over all of it needs 15."""
IDS = 256
"""Values of an instance."""


class Patches(NamedTuple):
    """Masks to score, each with its frame and what it is.

    Parameters
    ----------
    guides : Tensor, shape (M, 1, S, S)
        0 or 1; empty for the frame as a whole.
    rows : Tensor of int64, shape (M,)
        Frame of each.
    targets : Tensor, shape (M, 3)
        Benign, malignant, no node.
    weight : Tensor, shape (M,)
        1, or 0 for a place that stays empty.
    """

    guides: Tensor
    rows: Tensor
    targets: Tensor
    weight: Tensor

    def filled(self) -> Patches:
        """Those that weigh something; a GPU is waited for."""
        kept = self.weight > 0
        return Patches(self.guides[kept], self.rows[kept], self.targets[kept], self.weight[kept])


def patches_of(batch: Batch, predicted: Tensor) -> Patches:
    """Cut out what the class arm learns from: nodes, and patches that are none.

    Parameters
    ----------
    batch : Batch
    predicted : Tensor, shape (B, 1, S, S), in [0, 1]
        What the decoder draws. Which of the ``THRESHOLDS`` cuts a frame's patches goes by its place in
        the batch.

    Returns
    -------
    Patches
        The nodes of the batch; then one each for a frame as a whole, for a node's mask laid where there is
        none, and ``MOST_PATCHES`` for what the decoder draws.
    """
    if predicted.device.type == "mps":  # PyTorch lacks some of what follows for Apple's GPUs
        return Patches(*(part.to(predicted.device) for part in patches_of(_on_cpu(batch), predicted.cpu())))
    instances = batch.instances[:, 0]
    device, count = instances.device, len(instances)
    rows = torch.arange(count, device=device)
    here = instances > 0
    filled, known = here.any((1, 2)), batch.mask_weight > 0
    nothing = torch.zeros(count, 3, device=device)
    nothing[:, 2] = 1

    frames, ids = batch.nodes.T
    nodes = (instances[frames] == ids[:, None, None]).float()  # (M, S, S)
    parts = [(nodes, frames, _classes(batch.node_target), batch.node_weight)]

    # what a frame as a whole says; that one without a node has none is known where all of it was judged
    empty = known & ~filled & (batch.judged is None)
    speaks = (batch.frame_weight > 0) & (filled | ~known)
    of_frame = torch.where(empty[:, None], nothing, _classes(batch.frame_target))
    parts.append((torch.zeros_like(here, dtype=nodes.dtype), rows, of_frame, (empty | speaks).float()))

    if len(nodes):  # a node's mask where there is none
        there = batch.node_weight > 0
        first_shown = torch.argsort((~there).to(torch.uint8), stable=True)
        laid = nodes[first_shown[rows % there.sum().clamp_min(1)]]
        fits = known & there.any() & ~((laid > 0) & here).any((1, 2))
        parts.append((laid, rows, nothing, fits.float()))

    drawn, targets, weight = _drawn(batch, predicted[:, 0].float())
    weight = weight * known[:, None]
    parts.append((drawn.flatten(0, 1), rows.repeat_interleave(MOST_PATCHES), targets, weight.flatten()))
    guides, rows, targets, weight = (torch.cat(some) for some in zip(*parts, strict=True))
    return Patches(guides[:, None], rows, targets, weight)


def _on_cpu(batch: Batch) -> Batch:
    """The batch on the processor, its images aside."""
    parts = {name: part for name, part in vars(batch).items() if name != "image" and part is not None}
    return replace(batch, **{name: part.cpu() for name, part in parts.items()})


def _classes(malignancy: Tensor) -> Tensor:
    """Class targets (M, 3) of what is a node."""
    return torch.stack([1 - malignancy, malignancy, torch.zeros_like(malignancy)], 1)


def _drawn(batch: Batch, probability: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Largest patches that the decoder draws on each frame.

    Returns
    -------
    (Tensor (B, P, S, S), Tensor (B · P, 3), Tensor (B, P))
        Masks, class targets, and 1 for those that are one node, or surely none.
    """
    instances = batch.instances[:, 0]
    device, (count, *_, side) = instances.device, instances.shape
    limits = send_values(np.resize(np.array(THRESHOLDS, np.float32), count), device)
    labels, most = _label(probability >= limits[:, None, None])
    labels = labels.flatten(1)  # (B, S · S)
    ones = torch.ones_like(labels)
    areas = torch.zeros(count, most + 1, dtype=labels.dtype, device=device).scatter_add(1, labels, ones)
    areas[:, 0] = 0
    # of equal ones the first
    ranks = areas * len(areas[0]) - torch.arange(len(areas[0]), device=device)
    chosen = ranks.topk(MOST_PATCHES, 1).indices  # (B, P)
    area = areas.gather(1, chosen)
    enough = area >= max(side * side // 2000, 1)
    numbers = torch.arange(MOST_PATCHES, device=device).expand(count, MOST_PATCHES)
    places = torch.full_like(areas, MOST_PATCHES)
    places = places.scatter(1, chosen, torch.where(enough, numbers, MOST_PATCHES)).gather(1, labels)

    # pixels by patch and node; the last row is of what no patch covers
    pixels = torch.zeros(count, (MOST_PATCHES + 1) * IDS, dtype=labels.dtype, device=device)
    pixels = pixels.scatter_add(1, places * IDS + instances.flatten(1), ones)
    pixels = pixels.view(count, MOST_PATCHES + 1, IDS)
    node_areas = pixels.sum(1)[:, 1:]  # (B, ids)
    on_node = pixels[:, :-1, 1:]  # (B, P, ids)
    touched = on_node > 0
    common = on_node.sum(2)
    overlap = common / (area + (touched * node_areas[:, None]).sum(2) - common).clamp_min(1)

    frames, ids = batch.nodes.T
    target, has_target = torch.zeros(2, count, IDS, device=device)
    target[frames, ids], has_target[frames, ids] = batch.node_target, batch.node_weight
    id_ = touched.to(torch.uint8).argmax(2) + 1
    is_node = (overlap >= IS_NODE) & (touched.sum(2) == 1) & (has_target.gather(1, id_) > 0)
    is_nothing = (overlap < IS_NOTHING) & (common < 0.5 * area)
    targets = _classes(target.gather(1, id_).flatten()) * is_node.view(-1, 1)
    targets[:, 2] = (~is_node).float().flatten()
    weight = enough & (is_node | is_nothing)
    if batch.judged is not None:
        unjudged = (batch.judged[:, 0].flatten(1) < 0.5).long()
        weight &= torch.zeros_like(pixels[:, :, 0]).scatter_add(1, places, unjudged)[:, :-1] == 0
    drawn = places[:, None].to(torch.uint8) == numbers[..., None]
    return drawn.view(count, MOST_PATCHES, side, side).float(), targets, weight.float()


def _label(above: Tensor) -> tuple[Tensor, int]:
    """Numbers of connected patches (B, S, S), int64, in the order of their first pixels, 0 for what is none;
    and the largest that may occur."""
    if above.device.type != "cpu":
        return label_on_device(above), above[0].numel()
    numbered = [ndimage.label(one, structure=TOUCHING) for one in above.numpy()]
    labels = torch.from_numpy(np.stack([labels for labels, _ in numbered])).long()
    return labels, max(MOST_PATCHES, *(count for _, count in numbered))


def label_on_device(above: Tensor) -> Tensor:
    """Number connected patches without asking how many there are.

    Each pixel points to the least one that it is known to be connected to; in each round what points beside
    a lesser one is hooked to it, and ways are cut short [1]_.

    Parameters
    ----------
    above : Tensor of bool, shape (B, S, S)

    Returns
    -------
    Tensor of int64, shape (B, S, S)
        1 + the place of a patch's first pixel; 0 for what is none.

    References
    ----------
    .. [1] Y. Zhang, A. Azad and Z. Hu, "FastSV: a distributed-memory connected component algorithm with
       fast convergence", SIAM PP 2020. :arxiv:`1910.05971`
    """
    side = above.shape[-1]
    inside = above.flatten(1)
    outside = side * side
    first = torch.arange(outside, device=above.device).expand_as(inside)
    for _ in range(ROUNDS):
        over = first.gather(1, first)
        seen = torch.where(inside, over, outside).view(above.shape)
        # a place in a frame of up to 4096 pixels a side is whole in float32
        least = -F.max_pool2d(-seen[:, None].float(), 3, stride=1, padding=1)[:, 0]
        least = torch.where(inside, least.flatten(1).long(), first)
        hooked = first.scatter_reduce(1, first, least, "amin")
        first = torch.minimum(torch.minimum(hooked, least), over)
    return torch.where(inside, first.gather(1, first) + 1, 0).view(above.shape)
