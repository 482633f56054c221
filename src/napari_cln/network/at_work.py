"""A network at work: a copy that predicts the same from less computing, and can't be trained.

**Pooled convolutions.** Pyramid pooling lays maps of 3×3 to 9×9 values, grown to the size of its input,
beside that input, and a convolution reads all of them. A convolution is linear, and so is growing: the
weights are applied to the few pooled values, and only their result is grown. That is exact but for
rounding; of the decoder's last convolution it leaves a quarter of the work, and none of the wide maps is
ever made.

**Batch norms** that follow a convolution in float32 become part of its weights.

**bfloat16** keeps 8 bits of a number. Rounded to it, the finest levels move the outlines of unsure nodes;
so do batch norms within weights that are rounded. The three coarse stages of the encoder do not, and they
are most of what is left. The figures are in ``docs/explanation/performance.md``.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .blocks import PyramidPooling, growing_matrix, pooling_matrix
from .model import YNet

__all__ = ["LOWERED", "PooledConvolution", "at_work"]

LOWERED = ("enc3", "enc4", "enc5")
"""Stages of a Y-Net whose convolutions compute in bfloat16."""


def at_work(network: YNet, *, mixed_precision: bool) -> YNet:
    """A copy for prediction alone.

    Parameters
    ----------
    network : YNet
        In evaluation mode; stays as it is. A copy that is at work already is copied as it is.
    mixed_precision : bool
        Let the stages ``LOWERED`` compute in bfloat16, with float32 between them.
    """
    copied = copy.deepcopy(network).requires_grad_(False)
    for level in (1, 2, 3) if copied.config.segmentation else ():
        pooling, decoder = getattr(copied, f"psp{level}"), getattr(copied, f"dec{level}")
        if isinstance(pooling, PyramidPooling):
            decoder[0][0] = PooledConvolution(pooling, decoder[0][0])
            setattr(copied, f"psp{level}", nn.Identity())
    for name in LOWERED if mixed_precision else ():
        stage = getattr(copied, name)
        if not isinstance(stage, _Lowered):
            setattr(copied, name, _Lowered(stage))
    for layers in copied.modules():
        if isinstance(layers, nn.Sequential) and len(layers) > 1:
            _fold_norm(layers)
    return copied


class PooledConvolution(nn.Module):
    """Pyramid pooling and the convolution that reads it, in one.

    Parameters
    ----------
    pooling : PyramidPooling
    convolution : Conv2d
        Of odd kernel, padded so as to keep the size; reads what ``pooling`` gives.
    """

    def __init__(self, pooling: PyramidPooling, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.bins, self.branches = pooling.bins, pooling.branches
        widths = [len(branch.get_parameter("0.weight")) for branch in pooling.branches]
        weight = convolution.weight.detach()  # (O, C + widths, k, k)
        own, *others = torch.split(weight, [weight.shape[1] - sum(widths), *widths], 1)
        self.outputs, self.kernel = len(own), own.shape[-1]
        self.own = nn.Conv2d(own.shape[1], self.outputs, self.kernel, padding=self.kernel // 2, bias=False)
        self.own.load_state_dict({"weight": own})
        self.weights = nn.ParameterList(
            other.permute(2, 0, 3, 1).flatten(0, 2)
            for other in others  # (k·O·k, I)
        )
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        own = self.own(x)  # (B, O, S, S)
        outputs, kernel = self.outputs, self.kernel
        size = int(x.shape[-1])  # a number also while a graph of the network is recorded
        pool = torch.cat([pooling_matrix(size, count) for count in self.bins]).to(x)  # (all bins, S)
        pooled = pool @ (x @ pool.T)  # (B, C, all bins, all bins), of which the blocks on the diagonal serve
        grows, grown, start = [], [], 0
        for count, branch, weight in zip(self.bins, self.branches, self.weights, strict=True):
            block = branch(pooled[..., start : start + count, start : start + count])  # (B, I, b, b)
            weighed = (weight @ block.flatten(2)).reshape(-1, kernel, outputs, kernel, count, count)
            small = weighed.permute(0, 2, 1, 4, 3, 5).reshape(-1, outputs, kernel * count, kernel * count)
            grows.append(_shifted(growing_matrix(count, size), kernel).to(x))  # (S, k·b)
            grown.append(small @ grows[-1].T)  # (B, O, k·b, S)
            start += count
        out: Tensor = own + torch.cat(grows, 1) @ torch.cat(grown, 2)
        return out


def _shifted(grow: Tensor, kernel: int) -> Tensor:
    """``(size, kernel·bins)``: the growing matrix as each row of a kernel sees it, black beyond the edge."""
    half = kernel // 2
    padded = F.pad(grow, (0, 0, half, half))
    return torch.cat([padded[shift : shift + len(grow)] for shift in range(kernel)], 1)


class _Lowered(nn.Module):
    """A stage in bfloat16; its batch norms keep their float32 statistics."""

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.stage = stage
        for layer in stage.modules():
            if isinstance(layer, nn.Conv2d):
                layer.to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.stage(x.bfloat16())
        return out.float()


def _fold_norm(layers: nn.Sequential) -> None:
    """Take a batch norm into the weights of the convolution before it."""
    first, second = layers[0], layers[1]
    if (
        isinstance(first, nn.Conv2d)
        and first.weight.dtype == torch.float32
        and isinstance(second, nn.BatchNorm2d)
    ):
        layers[0], layers[1] = fuse_conv_bn_eval(first, second), nn.Identity()
