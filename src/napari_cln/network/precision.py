"""A network at work in bfloat16, where that is faster and moves no mask.

bfloat16 keeps 8 bits of a number. Rounded to it, the two finest levels (``enc2``, ``psp1``, ``psp2``,
``dec2``) move the outlines of unsure nodes by more than the 0.1 % of mask pixels that we allow ourselves;
the coarser levels and the last convolutions, which are most of the work, do not. The figures are in
``docs/explanation/performance.md``.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from .model import YNet

__all__ = ["LOWERED", "lowered"]

LOWERED = ("enc3", "enc4", "enc5", "dec3", "dec1")
"""Parts of a Y-Net whose convolutions compute in bfloat16."""


def lowered(network: YNet) -> YNet:
    """A copy, for prediction alone, whose parts ``LOWERED`` compute in bfloat16; float32 between them.

    Parameters
    ----------
    network : YNet
        In evaluation mode; stays as it is.
    """
    at_work = copy.deepcopy(network)
    for name in LOWERED:
        part = getattr(at_work, name, None)
        if part is not None and not isinstance(part, _Lowered):
            setattr(at_work, name, _Lowered(part))
    return at_work


class _Lowered(nn.Module):
    """A part in bfloat16; its batch norms keep their float32 statistics."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d):
                layer.to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.part(x.bfloat16())
        return out.float()
