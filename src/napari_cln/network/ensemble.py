"""Several Y-Nets that answer as one, by the mean of their probabilities [1]_.

Networks that were trained on different folds err in different places. The cross-entropy of their mean
probability is never above the mean of theirs; the price is a pass through each.

References
----------
.. [1] B. Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation using deep
       ensembles", NeurIPS 2017. :arxiv:`1612.01474`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from math import log
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import WeightsError
from ..models.card import RESTORES, ModelCard, checksum_of, plain_name
from .model import Features, Member, Network

__all__ = ["Ensemble"]

POINTS = (
    *("mask_threshold", "min_node_area", "min_peak", "min_node_chance", "cutoff", "temperature"),
    *("clip_temperature", "clip_cutoff", "doubt"),
)
"""Facts of a card that change what is made of the network's numbers."""
MOST_TEXT = 4000
"""Characters of a text on a card."""
MOST_SHOWN = 120
"""Characters up to which a message shows the values that differ."""


class Ensemble(Network):
    """Y-Nets whose mean probability is the answer, for the mask and for the class.

    Each member of a guided ensemble scores a node under the same mask, the ensemble's.

    The card of trained networks goes over to their ensemble where they agree on all that a result depends
    on. Where they differ, as in their cutoffs, it segments no frame before it has a card of its own.

    Parameters
    ----------
    networks : sequence of Network
        Two or more of the same configuration, such as the folds of a run. An ensemble among them
        counts as its members.

    Attributes
    ----------
    differ : str
        Operating points on which the networks differ, with their values; empty where they agree.

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
            differ = _differences([asdict(member.config) for member in members])
            raise WeightsError(
                f"The networks differ in their configuration, and can't be one ensemble: {differ}. "
                "Choose networks of one kind, such as the folds of one run."
            )
        if len({network.card.prepare for network in networks if network.card}) > 1:
            raise WeightsError(
                "The networks want their frames prepared in different ways, and can't be one ensemble. "
                "Choose networks of one kind, such as the folds of one run."
            )
        super().__init__(members[0].config)
        self.networks = nn.ModuleList(members)
        cards = [network.card for network in networks if network.card is not None]
        self.differ = _differences([_points_of(card) for card in cards])
        if cards and len(cards) < len(networks):
            self.differ = f"{len(networks) - len(cards)} of {len(networks)} have no card"
        if cards and not self.differ:
            self.card = _common_card(cards, members)

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


def _points_of(card: ModelCard) -> dict[str, Any]:
    """All that a result depends on beside the weights and the way in which frames are prepared."""
    return {name: getattr(card, name) for name in POINTS}


def _common_card(cards: Sequence[ModelCard], members: Sequence[Member]) -> ModelCard:
    """The card of an ensemble whose networks agree on their operating points."""

    def said(name: str) -> str:
        return " ".join(dict.fromkeys(getattr(card, name) for card in cards))[:MOST_TEXT]

    return ModelCard(
        name=plain_name(f"ensemble of {', '.join(dict.fromkeys(card.name for card in cards))}"),
        config=members[0].config,
        members=len(members),
        prepare=cards[0].prepare,
        trained_on=tuple(dict.fromkeys(source for card in cards for source in card.trained_on)),
        recipe={"task": RESTORES} if any(card.is_pretrained_alone for card in cards) else {},
        cutoff_from=said("cutoff_from"),
        limits=said("limits"),
        # it has no file: another network among its members makes another ensemble
        sha256=checksum_of("".join(card.sha256 for card in cards).encode()),
        **_points_of(cards[0]),
    )


def _differences(settings: Sequence[Mapping[str, Any]]) -> str:
    """The settings that differ, with their values where these are short."""
    values = {
        name: list(dict.fromkeys(str(one[name]) for one in settings))
        for name in (settings[0] if settings else ())
    }
    each = {name: f"{name} {' and '.join(found)}" for name, found in values.items() if len(found) > 1}
    return ", ".join(name if len(text) > MOST_SHOWN else text for name, text in each.items())
