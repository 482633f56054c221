"""What training makes small: a mask loss and a class loss, their terms kept apart.

A truth that is not known weighs 0, and its head still gets a gradient (of zero): a process whose
frames all lack labels would otherwise wait for the others for ever.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from ..network.model import Features, YNet
from .data import Batch
from .recipes import Recipe

__all__ = ["Objective", "soft_dice"]

DEEP_WEIGHTS = (0.25, 0.5)
"""What the masks of the decoder's coarser levels count, the coarsest first; the finest counts 1."""


class Objective(nn.Module):
    """A network with its loss, so that both run where the batch is.

    Parameters
    ----------
    network : YNet
    dice : bool
        Add soft Dice to the mask's cross-entropy.
    class_weight : float
        Weight of the class loss in ``total``.
    deep_supervision : bool
        Draw a mask from each of the decoder's two coarser levels as well, through heads that serve the
        training alone, and add its loss at a quarter and half the weight [1]_.
    node_weight : float
        Weight in ``total`` of the cross-entropy that counts every node alike, however small; 0 for
        none.

    References
    ----------
    .. [1] C.-Y. Lee et al., "Deeply-supervised nets", AISTATS 2015. :arxiv:`1409.5185`. The weights are
       those of nnU-Net.
    """

    def __init__(
        self,
        network: YNet,
        *,
        dice: bool,
        class_weight: float,
        deep_supervision: bool = False,
        node_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = network
        levels = DEEP_WEIGHTS if deep_supervision and network.config.segmentation else ()
        self.heads = nn.ModuleList(nn.Conv2d(network.config.decoder_width, 2, 1) for _ in levels)
        self.dice = dice
        self.node_weight = node_weight
        self.class_weight = class_weight

    @classmethod
    def of(cls, network: YNet, recipe: Recipe) -> Objective:
        """What a recipe makes small."""
        return cls(
            network,
            dice=recipe.dice,
            class_weight=recipe.class_weight,
            deep_supervision=recipe.deep_supervision,
            node_weight=recipe.node_weight,
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Terms of the loss, each a scalar: ``mask_ce``, ``mask_dice``, ``mask_deep``, ``node_ce``,
        ``class_ce``, ``total``; those that the network or the recipe lacks are left out."""
        features = self.network.encode(batch.image)
        terms: dict[str, Tensor] = {}
        mask = (batch.instances > 0).float()  # (B, 1, S, S)
        probability = mask
        if self.network.config.segmentation:
            if self.heads:
                *coarser, drawn = self.network.levels(features)
            else:
                coarser, drawn = [], self.network.decode(features)
            logits = drawn.float()  # (B, 2, S, S)
            probability = logits.softmax(1)[:, 1:]  # (B, 1, S, S)
            pixelwise = F.cross_entropy(logits, mask[:, 0].long(), reduction="none")  # (B, S, S)
            terms["mask_ce"] = _weighted_mean(_mean_of_judged(pixelwise, batch.judged), batch.mask_weight)
            if self.dice:
                overlap = soft_dice(_judged(probability, batch.judged), mask)
                terms["mask_dice"] = _weighted_mean(1 - overlap, batch.mask_weight)
            if coarser:
                deep = self._deep(coarser, mask, batch.judged)
                terms["mask_deep"] = _weighted_mean(deep, batch.mask_weight)
            if self.node_weight:
                each, nodes = _mean_of_nodes(pixelwise, batch.instances[:, 0])
                terms["node_ce"] = self.node_weight * _weighted_mean(each, nodes * batch.mask_weight)
        if self.network.config.guided:
            terms["class_ce"] = self._class_of_nodes(features, batch, mask, probability.detach())
        else:
            class_logits = self.network.classify(features).float()
            terms["class_ce"] = _class_loss(class_logits, batch.frame_target, batch.frame_weight)
        mask_loss = sum((value for name, value in terms.items() if name != "class_ce"), torch.zeros(()))
        terms["total"] = mask_loss + self.class_weight * terms["class_ce"]
        return terms

    def _deep(self, coarser: list[Tensor], mask: Tensor, judged: Tensor | None = None) -> Tensor:
        """Loss of each frame's masks that the coarser levels draw, grown to the frame's size, (B,)."""
        losses = torch.zeros(len(mask), device=mask.device)
        for weight, head, level in zip(DEEP_WEIGHTS, self.heads, coarser, strict=True):
            logits = F.interpolate(head(level).float(), mask.shape[-2:], mode="bilinear")
            pixelwise = F.cross_entropy(logits, mask[:, 0].long(), reduction="none")
            loss = _mean_of_judged(pixelwise, judged)
            if self.dice:
                loss = loss + 1 - soft_dice(_judged(logits.softmax(1)[:, 1:], judged), mask)
            losses = losses + weight * loss
        return losses

    def _class_of_nodes(self, features: Features, batch: Batch, mask: Tensor, predicted: Tensor) -> Tensor:
        """Class loss of each node under its mask, and of each frame under what was found in it.

        Every other node is scored under the predicted mask around it, as it will be in use.
        """
        frames, ids = batch.nodes.T
        drawn = (batch.instances[frames, 0] == ids[:, None, None])[:, None].float()  # (M, 1, S, S)
        around = F.max_pool2d(drawn, 9, stride=1, padding=4)
        found = (predicted[frames] >= 0.5).float() * around
        use_found = (torch.arange(len(ids), device=ids.device) % 2 == 1) & found.any((1, 2, 3))
        guides = torch.where(use_found[:, None, None, None], found, drawn)
        # without a mask only the network's own can guide
        known = batch.mask_weight[:, None, None, None] > 0
        frame_guides = torch.where(known, mask, predicted)
        rows = torch.cat([frames, torch.arange(len(mask), device=frames.device)])
        logits = self.network.classify(features, torch.cat([guides, frame_guides]), rows).float()
        target = torch.cat([batch.node_target, batch.frame_target])
        weight = torch.cat([torch.ones_like(batch.node_target), batch.frame_weight])
        return _class_loss(logits, target, weight)


def _judged(probability: Tensor, judged: Tensor | None) -> Tensor:
    """Probability (B, 1, S, S) where the mask is known, 0 elsewhere."""
    return probability if judged is None else probability * judged


def _mean_of_judged(pixelwise: Tensor, judged: Tensor | None) -> Tensor:
    """Mean of each frame's pixels (B, S, S) of which the mask is known, (B,)."""
    if judged is None:
        return pixelwise.mean((1, 2))
    weight = judged[:, 0]
    return (pixelwise * weight).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1)


def _mean_of_nodes(pixelwise: Tensor, instances: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over each frame's nodes of the mean over a node's pixels, and the number of nodes; (B,) each.

    A small node that is missed costs as much as a large one [1]_.

    References
    ----------
    .. [1] Kofler et al., blob loss: instance imbalance aware loss functions for semantic
       segmentation, IPMI 2023. :arxiv:`2205.08209`. Ours weights the cross-entropy, whose gradient
       does not vanish where the network is sure of its mistake.
    """
    flat = instances.flatten(1).long()  # (B, S·S)
    sums, areas = torch.zeros(2, len(flat), 256, device=flat.device)
    sums = sums.scatter_add(1, flat, pixelwise.flatten(1).float())
    areas = areas.scatter_add(1, flat, torch.ones_like(flat, dtype=areas.dtype))
    nodes = (areas[:, 1:] > 0).sum(1)
    means = (sums / areas.clamp_min(1))[:, 1:].sum(1) / nodes.clamp_min(1)
    return means, nodes.float()


def soft_dice(probability: Tensor, mask: Tensor) -> Tensor:
    """Overlap of each frame's probability (B, 1, S, S) with its mask, (B,), in [0, 1].

    One is added to both areas' sum, so that an empty mask rewards an empty probability.
    """
    overlap = (probability * mask).sum((1, 2, 3))
    areas = probability.sum((1, 2, 3)) + mask.sum((1, 2, 3))
    return (2 * overlap + 1) / (areas + 1)


def _class_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy to a target in [0, 1], which a simulation knows between 0 and 1."""
    both = torch.stack([1 - target, target], 1)
    return _weighted_mean(-(both * logits.log_softmax(1)).sum(1), weight)


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean over the frames of all processes, as one process would take it.

    Each gives its part times their number, because their gradients are averaged.
    """
    total, processes = weight.sum().detach(), 1
    if distributed.is_available() and distributed.is_initialized():
        total, processes = total.clone(), distributed.get_world_size()
        distributed.all_reduce(total)
    return (values * weight).sum() * processes / total.clamp_min(1)
