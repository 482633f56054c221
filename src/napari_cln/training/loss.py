"""The loss that training makes small: a mask loss and a class loss, their terms kept apart.

A truth that is not known weighs 0, and its head still gets a gradient (of zero): a process whose
frames all lack labels would otherwise wait for the others for ever.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from ..network.model import Features, Member, YNet
from .data import Batch
from .patches import patches_of
from .recipes import LossTerms

__all__ = ["Objective", "Restoration", "restoration_error", "soft_dice"]

DEEP_WEIGHTS = (0.25, 0.5)
"""What the masks of the decoder's coarser levels count, the coarsest first; the finest counts 1."""


class Objective(nn.Module):
    """A network with its loss, so that both run where the batch is.

    Parameters
    ----------
    network : Member
    terms : LossTerms
        With ``deep_supervision`` a mask is drawn from each of the decoder's two coarser levels as well,
        through heads that serve the training alone [1]_.

    References
    ----------
    .. [1] C.-Y. Lee et al., "Deeply-supervised nets", AISTATS 2015. :arxiv:`1409.5185`. The weights are
       those of nnU-Net.
    """

    def __init__(self, network: Member, terms: LossTerms) -> None:
        super().__init__()
        self.network = network
        self.deep = terms.deep_supervision and network.config.segmentation
        # a U-shaped network has heads of its own, which serve it later as well
        levels = DEEP_WEIGHTS if self.deep and isinstance(network, YNet) else ()
        self.heads = nn.ModuleList(nn.Conv2d(network.config.decoder_width, 2, 1) for _ in levels)
        self.terms = terms

    def forward(self, batch: Batch, guessed: Batch | None = None) -> dict[str, Tensor]:
        """Terms of the loss, each a scalar: ``mask_ce``, ``mask_dice``, ``mask_deep``, ``node_ce``,
        ``consistency``, ``class_ce``, ``total``; those that the network or the recipe lacks are left out.

        ``guessed`` holds unlabelled frames under the masks that a teacher draws on them, each of which counts
        as much as its ``mask_weight``; they say nothing of a class.
        """
        count = len(batch.image)
        frames = batch.image if guessed is None else torch.cat([batch.image, guessed.image])
        features = self.network.encode(frames)
        terms: dict[str, Tensor] = {}
        mask = (batch.instances > 0).float()  # (B, 1, S, S)
        probability = mask
        if self.network.config.segmentation:
            drawn = self._drawn(features)
            known = [level[:count] for level in drawn]
            probability = known[-1].detach().float().softmax(1)[:, 1:]  # (B, 1, S, S)
            for name, (each, weight) in self._of_masks(known, batch).items():
                terms[name] = _weighted_mean(each, weight)
            if self.terms.node_weight:
                terms["node_ce"] = self.terms.node_weight * terms["node_ce"]
            if guessed is not None:
                parts = self._of_masks([level[count:] for level in drawn], guessed)
                each = sum((part for name, (part, _) in parts.items() if name != "node_ce"), torch.zeros(()))
                weight = guessed.mask_weight
                terms["consistency"] = _weighted_mean(each * weight, torch.ones_like(weight))
        if self.network.config.knows_nothing:
            terms["class_ce"] = self._class_of_patches(features, batch, probability)
        elif self.network.config.guided:
            terms["class_ce"] = self._class_of_nodes(features, batch, mask, probability)
        else:
            class_logits = self.network.classify(features).float()[:count]
            terms["class_ce"] = _class_loss(class_logits, batch.frame_target, batch.frame_weight)
        mask_loss = sum((value for name, value in terms.items() if name != "class_ce"), torch.zeros(()))
        terms["total"] = mask_loss + self.terms.class_weight * terms["class_ce"]
        return terms

    def _of_masks(self, levels: list[Tensor], batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Mask losses of each frame by name, (B,), and how much each counts, (B,)."""
        *coarser, drawn = levels
        mask = (batch.instances > 0).float()
        logits = drawn.float()  # (B, 2, S, S)
        pixelwise = F.cross_entropy(logits, mask[:, 0].long(), reduction="none")  # (B, S, S)
        losses = {"mask_ce": (_mean_of_judged(pixelwise, batch.judged), batch.mask_weight)}
        if self.terms.dice:
            overlap = soft_dice(_judged(logits.softmax(1)[:, 1:], batch.judged), mask)
            losses["mask_dice"] = 1 - overlap, batch.mask_weight
        if coarser:
            losses["mask_deep"] = self._deep(coarser, mask, batch.judged), batch.mask_weight
        if self.terms.node_weight:
            each, nodes = _mean_of_nodes(pixelwise, batch.instances[:, 0])
            losses["node_ce"] = each, nodes * batch.mask_weight
        return losses

    def _drawn(self, features: Features) -> list[Tensor]:
        """Mask logits of each level that is compared with the mask, the coarsest first."""
        if isinstance(self.network, YNet) and self.heads:
            *maps, drawn = self.network.levels(features)
            return [*(head(level) for head, level in zip(self.heads, maps, strict=True)), drawn]
        levels = self.network.masks(features)
        return list(levels if self.deep else levels[-1:])

    def _deep(self, coarser: list[Tensor], mask: Tensor, judged: Tensor | None = None) -> Tensor:
        """Loss of each frame's masks that the coarser levels draw, grown to the frame's size, (B,)."""
        losses = torch.zeros(len(mask), device=mask.device)
        for weight, level in zip(DEEP_WEIGHTS, coarser, strict=True):
            logits = F.interpolate(level.float(), mask.shape[-2:], mode="bilinear")
            pixelwise = F.cross_entropy(logits, mask[:, 0].long(), reduction="none")
            loss = _mean_of_judged(pixelwise, judged)
            if self.terms.dice:
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
        second = (batch.node_weight.cumsum(0) - 1) % 2 == 1
        use_found = second & found.any((1, 2, 3))
        guides = torch.where(use_found[:, None, None, None], found, drawn)
        # without a mask only the network's own can guide
        known = batch.mask_weight[:, None, None, None] > 0
        frame_guides = torch.where(known, mask, predicted)
        rows = torch.cat([frames, torch.arange(len(mask), device=frames.device)])
        logits = self.network.classify(features, torch.cat([guides, frame_guides]), rows).float()
        target = torch.cat([batch.node_target, batch.frame_target])
        weight = torch.cat([batch.node_weight, batch.frame_weight])
        return _class_loss(logits, target, weight)

    def _class_of_patches(self, features: Features, batch: Batch, predicted: Tensor) -> Tensor:
        """Class loss of nodes, of patches that are none, and of frames as a whole.

        The arm must tell *nothing* from a node where the decoder can't. So it learns from the patches that
        the decoder draws, also from its unsure ones, on frames without a node and beside real nodes; and
        from masks of nodes laid where no node is, since a decoder that has learnt its frames proposes
        little. Patches that are no node weigh together at most as much as those that are.
        """
        guides, rows, targets, weight = patches_of(batch, predicted)
        logits = self.network.classify(features, guides, rows).float()
        nothing = targets[:, 2] > 0.5
        others, nodes = ((weight * part).sum().clamp_min(1) for part in (nothing, ~nothing))
        weight = weight * torch.where(nothing, (nodes / others).clamp_max(1.0), 1.0)
        return _weighted_mean(-(targets * logits.log_softmax(1)).sum(1), weight)


SEEN = 0.2
"""Weight of the pixels that were blurred and not hidden."""


class Restoration(nn.Module):
    """A network that restores frames of which parts are hidden: encoder and decoder learn what tissue looks
    like, and need no label for it.

    Parameters
    ----------
    network : Member
        With a decoder. The difference of its two mask logits is the grey value; the layer that draws it is
        left behind when a training starts from the network.
    """

    def __init__(self, network: Member) -> None:
        super().__init__()
        self.network = network
        self.heads = nn.ModuleList()

    def forward(self, batch: Batch, whole: Batch) -> dict[str, Tensor]:
        """Terms of the loss: ``restore``, the mean error in grey values of [0, 1], and ``total``.

        ``batch`` is ``whole`` with cells hidden, as :func:`.augmentation.hide_cells` gives it.
        """
        drawn = self.network.decode(self.network.encode(batch.image)).float()
        error = restoration_error(drawn, whole.image, batch.judged)
        return {"restore": error, "total": error + 0.0 * _unused(self.network)}


def _unused(network: Member) -> Tensor:
    """Zero that depends on every weight: several processes wait for the gradient of each."""
    return torch.stack([weight.sum() for weight in network.parameters()]).sum()


def restoration_error(drawn: Tensor, grey: Tensor, hidden: Tensor | None) -> Tensor:
    """Mean error of what is drawn, (B, 2, S, S), for the grey values (B, 1, S, S) in [0, 1].

    Parameters
    ----------
    drawn, grey : Tensor
    hidden : Tensor, optional
        1 where a frame was hidden, (B, 1, S, S); what was not counts a fifth, and what is black counts not.
    """
    there = (grey > 0).float()
    weight = there if hidden is None else there * (SEEN + (1 - SEEN) * hidden)
    error = (drawn[:, 1:] - drawn[:, :1] - grey).abs()
    return (error * weight).sum() / weight.sum().clamp_min(1)


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
