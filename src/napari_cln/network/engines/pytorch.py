"""A network at work: a copy that predicts the same from less computing, and can't be trained.

**Batch norms** that follow a convolution in float32 become part of its weights.

**bfloat16** keeps 8 bits of a number. Rounded to it, the finest levels move the outlines of unsure nodes;
so do batch norms within weights that are rounded. The three coarse stages of the encoder do not, and they
are most of what is left. The figures are in ``docs/explanation/performance.md``.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..blocks import PlanesBeside
from ..model import Member

__all__ = ["LOWERED", "at_work", "fold_norms"]

LOWERED = {"pyramid": ("enc3", "enc4", "enc5"), "u": ("enc4", "enc5", "dec4")}
"""Stages of a network whose convolutions compute in bfloat16, by its trunk."""


def at_work(network: Member, *, mixed_precision: bool) -> Member:
    """A copy for prediction alone.

    Parameters
    ----------
    network : Member
        In evaluation mode; stays as it is. A copy that is at work already is copied as it is.
    mixed_precision : bool
        Let the stages ``LOWERED`` compute in bfloat16, with float32 between them.
    """
    copied = copy.deepcopy(network).requires_grad_(False)
    lowered = [name for name in LOWERED[network.config.trunk] if hasattr(copied, name)]
    for name in lowered if mixed_precision else ():
        stage = getattr(copied, name)
        if not isinstance(stage, _Lowered):
            setattr(copied, name, _Lowered(stage))
    fold_norms(copied)
    return copied


def fold_norms(network: nn.Module) -> None:
    """Take batch norms into the weights of the float32 convolutions before them, in place.

    Parameters
    ----------
    network : Module
        In evaluation mode.
    """
    for layers in network.modules():
        if isinstance(layers, nn.Sequential) and len(layers) > 1:
            _fold_norm(layers)


class _Lowered(nn.Module):
    """A stage in bfloat16; its batch norms keep their float32 statistics."""

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.stage = stage
        for layer in stage.modules():
            if isinstance(layer, nn.Conv2d):
                layer.to(torch.bfloat16)

    def forward(self, *maps: Tensor) -> Tensor:
        out: Tensor = self.stage(*(one.bfloat16() for one in maps))
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
        if isinstance(first, PlanesBeside):
            assert second.running_var is not None
            scale = second.weight * torch.rsqrt(second.running_var + second.eps)
            layers[0].beside = nn.Parameter(first.beside * scale[:, None, None, None], requires_grad=False)
