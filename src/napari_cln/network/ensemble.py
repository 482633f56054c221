"""Several Y-Nets that answer as one, by the mean of their probabilities [1]_.

Networks that were trained on different folds err in different places. The cross-entropy of their mean
probability is never above the mean of theirs; the price is a pass through each.

References
----------
.. [1] B. Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation using deep
       ensembles", NeurIPS 2017. :arxiv:`1612.01474`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from math import log
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import WeightsError
from .model import Features, Member, Network

__all__ = ["Ensemble"]


class Ensemble(Network):
    """Y-Nets whose mean probability is the answer, for the mask and for the class.

    Each member of a guided ensemble scores a node under the same mask, the ensemble's.

    Parameters
    ----------
    networks : sequence of Network
        Two or more of the same configuration, such as the folds of a run. An ensemble among them
        counts as its members.

    Raises
    ------
    WeightsError
        If there are fewer than two, or they differ in their configuration or in how they want
        frames prepared.

    Examples
    --------
    >>> from napari_cln.network.model import YNetConfig
    >>> both = Ensemble([YNet(YNetConfig.paper()), YNet(YNetConfig.paper())]).eval()
    >>> len(both.members)
    2
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        members = [member for network in networks for member in network.members]
        if len(members) < 2:
            raise WeightsError(
                f"An ensemble of {len(members)} networks is none. Give it two networks or more."
            )
        if len({member.config for member in members}) > 1:
            raise WeightsError(
                "The networks differ in their configuration, and can't be one ensemble: "
                f"{_differences(members)}. Choose networks of one kind, such as the folds of one run."
            )
        if len({network.card.prepare for network in networks if network.card}) > 1:
            raise WeightsError(
                "The networks want their frames prepared in different ways, and can't be one ensemble. "
                "Choose networks of one kind, such as the folds of one run."
            )
        super().__init__(members[0].config)
        self.networks = nn.ModuleList(members)

    @property
    def members(self) -> tuple[Member, ...]:
        """The Y-Nets, in their order."""
        return tuple(member for member in self.networks if isinstance(member, Member))

    def changed(self, change: Callable[[Member], Member]) -> Ensemble:
        """Return an ensemble of what ``change`` makes of each member; this one stays as it is.

        Parameters
        ----------
        change : callable
            From a member to another.
        """
        made = Ensemble([change(member) for member in self.members])
        made.card = self.card
        return made.train(self.training)

    def encode(self, x: Tensor) -> Features:
        """Features of frames ``x`` (B, 1, S, S): those of each of K members, (K, B, …).

        Parameters
        ----------
        x : Tensor
            Prepared frames (B, 1, S, S), float in [0, 1].
        """
        found = [member.encode(x) for member in self.members]
        return Features(*(_stacked(maps) for maps in zip(*found, strict=True)))

    def masks(self, features: Features) -> tuple[Tensor, ...]:
        """Logarithm of the mean mask probabilities (B, 2, S, S), and of those of coarser levels before it.

        Parameters
        ----------
        features : Features
            As :meth:`encode` gives them.
        """
        drawn = [member.masks(own) for member, own in self._each(features)]
        return tuple(_log_of_mean(level) for level in zip(*drawn, strict=True))

    def classify(
        self, features: Features, guide: Tensor | None = None, frames: Tensor | None = None
    ) -> Tensor:
        """Logarithm of the mean class probabilities (M, 2): benign, malignant.

        Parameters
        ----------
        features : Features
            As :meth:`encode` gives them.
        guide : Tensor, optional
            Mask probabilities of nodes, (M, 1, S, S).
        frames : Tensor, optional
            Frame of each node, (M,), from 0.
        """
        return _log_of_mean([member.classify(own, guide, frames) for member, own in self._each(features)])

    def novelty_of(self, features: Features) -> NDArray[np.float32] | None:
        """Median over the members that know their training data; None where none does.

        The median lies above 1 only where at least half of the members call a frame unlike. So its share
        of false alarms is at most twice that of a member, however many members there are [1]_. With the
        largest value it would grow with their number, and so it may with the mean, which one member
        can lift alone.

        Parameters
        ----------
        features : Features
            As :meth:`encode` gives them.

        References
        ----------
        .. [1] M. Gasparin and A. Ramdas, "Merging uncertainty sets via majority vote", 2024.
               :arxiv:`2401.09379`
        """
        values = [member.novelty_of(own) for member, own in self._each(features)]
        known = [value for value in values if value is not None]
        return np.median(known, axis=0).astype(np.float32) if known else None

    def _each(self, features: Features) -> list[tuple[Member, Features]]:
        """Each member with its own features."""
        each = [
            Features(*(None if maps is None else maps[index] for maps in features))  # type: ignore[arg-type]
            for index in range(len(self.networks))
        ]
        return list(zip(self.members, each, strict=True))


def _stacked(maps: Sequence[Tensor | None]) -> Any:
    """Maps of the members as one tensor; None where the networks have none."""
    known = [one for one in maps if one is not None]
    return torch.stack(known) if known else None


def _log_of_mean(logits: Sequence[Tensor]) -> Tensor:
    """Logits (…, 2, …) whose softmax over axis 1 is the mean of the members' softmax."""
    each = torch.stack([one.float().log_softmax(1) for one in logits])
    return each.logsumexp(0) - log(len(logits))


def _differences(members: Sequence[Member]) -> str:
    """The settings that differ, with their values."""
    settings = [asdict(member.config) for member in members]
    values = {name: list(dict.fromkeys(str(one[name]) for one in settings)) for name in settings[0]}
    return ", ".join(f"{name} {' and '.join(found)}" for name, found in values.items() if len(found) > 1)
