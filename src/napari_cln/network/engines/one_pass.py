"""All maps of a network from one pass: what engines other than plain PyTorch compute."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from threading import Lock

from torch import Tensor, nn

from ..model import Features, Member

__all__ = ["Maps", "OnePass"]


class Maps(nn.Module):
    """All that one pass computes, as a plain tuple."""

    def __init__(self, network: Member) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        features = self.network.encode(x)
        maps = [features.e1, features.e3, features.arm]
        if self.network.config.knows_nothing and features.e4 is not None:
            maps.append(features.e4)
        drawn = self.network.masks(features)[-1:] if self.network.config.segmentation else ()
        return (*maps, *drawn)


class OnePass(Member):
    """A network whose maps an engine computes; its head, a thousandth of the work, stays with PyTorch.

    Parameters
    ----------
    network : Member
        In evaluation mode; stays as it is.
    """

    def __init__(self, network: Member) -> None:
        super().__init__(network.config)
        self.card, self.novelty = network.card, network.novelty
        self._arm = copy.copy(network)
        self._arm._modules = {"head": network.head}  # the engine has all other layers
        self.head = network.head
        self._turn = Lock()
        self.eval()

    @abstractmethod
    def compute(self, x: Tensor) -> Sequence[Tensor]:
        """What :class:`Maps` gives for frames ``x``, in tensors that no later call writes to."""

    def encode(self, x: Tensor) -> Features:
        """Features of frames ``x``; in the place of ``e2``, which only a decoder reads, the mask logits."""
        with self._turn:
            maps = self.compute(x)
        e1, e3, arm = maps[:3]
        e4 = maps[3] if self.config.knows_nothing else None
        logits = maps[-1] if self.config.segmentation else e1
        return Features(e1, logits, e3, arm, e4)

    def masks(self, features: Features) -> tuple[Tensor, ...]:
        """Mask logits (B, 2, S, S), which came with the features."""
        return (features.e2,)

    def classify(
        self, features: Features, guide: Tensor | None = None, frames: Tensor | None = None
    ) -> Tensor:
        """Class logits; see :meth:`Network.classify`."""
        return self._arm.classify(features, guide, frames)

    def pooled_maps(self, features: Features, guide: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Maps that the head reads; see :meth:`Member.pooled_maps`."""
        return self._arm.pooled_maps(features, guide)
