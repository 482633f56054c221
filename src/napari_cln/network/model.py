"""The Y-Net: one encoder, then a decoder that draws the mask and an arm that scores malignancy.

A reading, layer by layer, of

    H. N. Zhao et al., "Deep learning-assisted ultrasonic diagnosis of cervical lymph node
    metastasis of thyroid cancer: a retrospective study of 3059 patients", Frontiers in
    Oncology 14:1204987, 2024. doi:10.3389/fonc.2024.1204987

which takes the joint net of Mehta et al. (MICCAI 2018, arXiv:1806.01313) to 256×256 grey frames,
two tissue classes and two diagnoses. What the paper leaves open, and how it is read here, stands in
``docs/explanation``. Differences from the paper are arguments of :class:`YNetConfig`, and
``YNetConfig.paper()`` has none of them.

::

    frame ─ stem ─ down2 enc2 ─ down3 enc3 ─┬─ down4 enc4 ─ down5 enc5 ─ pool ─ head ▶ class
             e1 │        e2 │         e3    │                                ▲
                │           │               └─ psp3 dec3 ┐                   │ guided: e3 under
                │           └─────────────────── psp2 dec2 ┐                 │ the node and in
                └───────────────────────────────── psp1 dec1 ▶ mask ─────────┘ its rim
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.config import YNetConfig
from .blocks import BLOCKS, Join, PyramidPooling, conv_norm
from .doubt import pooled_texture

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from ..models.card import ModelCard
    from .doubt import Novelty

__all__ = ["Features", "Member", "Network", "YNet", "YNetConfig", "YNetOutput", "even_share", "shares_of"]


class YNetOutput(NamedTuple):
    """Logits of a batch of frames.

    Parameters
    ----------
    mask_logits : Tensor, optional
        (B, 2, S, S), background then node; None for a network without a mask head.
    class_logits : Tensor
        (B, 2), benign then malignant, or (B, 3), where the third says that there is no node.
    """

    mask_logits: Tensor | None
    class_logits: Tensor


class Features(NamedTuple):
    """Maps of the encoder and of the arm; computed once per frame, pooled once per node."""

    e1: Tensor  # (B, 16, S/2, S/2)
    e2: Tensor  # (B, 256, S/4, S/4)
    e3: Tensor  # (B, 512, S/8, S/8)
    arm: Tensor  # (B, 128, S/32, S/32)
    e4: Tensor | None = None  # (B, 256, S/16, S/16) where the arm reads it


class Stage(nn.Module):
    """Down-sample, some blocks, and join the stage's first map with its last."""

    def __init__(self, inputs: int, channels: int, blocks: int, block: str) -> None:
        super().__init__()
        self.down = conv_norm(inputs, channels, 3, stride=2)
        self.blocks = nn.Sequential(*(BLOCKS[block](channels) for _ in range(blocks)))
        self.join = Join(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down(x)  # (B, C, S/2, S/2)
        out: Tensor = self.join(first, self.blocks(first))  # (B, 2C, S/2, S/2)
        return out


class Network(nn.Module, ABC):
    """Content of a model file: one :class:`YNet`, or several that answer as one.

    Attributes
    ----------
    config : YNetConfig
    card : ModelCard or None
        What the weights were trained on and how well they do; None before training.
    """

    def __init__(self, config: YNetConfig) -> None:
        super().__init__()
        self.config = config
        self.card: ModelCard | None = None

    @property
    def model_id(self) -> str:
        """``name@`` and the first 12 hex digits of the weights' SHA-256."""
        return self.card.model_id if self.card else "untrained"

    @property
    @abstractmethod
    def members(self) -> tuple[Member, ...]:
        """The networks that answer."""

    @abstractmethod
    def changed(self, change: Callable[[Member], Member]) -> Network:
        """A network of what ``change`` makes of each member; this one stays as it is."""

    def forward(self, x: Tensor) -> YNetOutput:
        """Mask and class logits of frames ``x`` (B, 1 + planes, S, S), float32 in [0, 1]; S = 256 in use.

        The class logits of a guided network are those of the frame: all predicted nodes together.
        """
        features = self.encode(x)
        mask_logits = self.decode(features) if self.config.segmentation else None
        guide = None
        if mask_logits is not None and self.config.guided:
            # the class loss must not redraw the mask to please itself
            guide = mask_logits.detach().float().softmax(1)[:, 1:]
        return YNetOutput(mask_logits, self.classify(features, guide))

    @abstractmethod
    def encode(self, x: Tensor) -> Features:
        """Features of frames ``x`` (B, 1 + planes, S, S), for the methods below."""

    def decode(self, features: Features) -> Tensor:
        """Mask logits (B, 2, S, S): background, node."""
        return self.masks(features)[-1]

    @abstractmethod
    def masks(self, features: Features) -> tuple[Tensor, ...]:
        """Mask logits (B, 2, S, S), after those of coarser levels of the decoder that draw one too."""

    @abstractmethod
    def classify(
        self, features: Features, guide: Tensor | None = None, frames: Tensor | None = None
    ) -> Tensor:
        """Class logits (M, 2): benign, malignant; (M, 3) where the third says that it is no node.

        Parameters
        ----------
        features : Features
            Of B frames.
        guide : Tensor, shape (M, 1, S, S), in [0, 1], optional
            Mask of each node (or of all nodes of a frame) to score. An empty mask means that
            nothing was found. A network that is not guided needs none, and ignores it.
        frames : Tensor of int64, shape (M,), optional
            Which frame each node lies in; by default there is one row per frame, M = B.
        """

    @abstractmethod
    def novelty_of(self, features: Features) -> NDArray[np.float32] | None:
        """Distance of each frame from the training data (B,), above 1 is unlike; None where not known."""


class Member(Network):
    """A network that answers alone.

    Attributes
    ----------
    novelty : Novelty or None
        What the training frames are like; None for a model that does not know.
    head : nn.Sequential
        Two linear layers, from what is pooled to class logits.
    """

    head: nn.Sequential

    def __init__(self, config: YNetConfig) -> None:
        super().__init__(config)
        self.novelty: Novelty | None = None

    @property
    def members(self) -> tuple[Member, ...]:
        """Itself."""
        return (self,)

    def changed(self, change: Callable[[Member], Member]) -> Member:
        """Return what ``change`` makes of it."""
        return change(self)

    @abstractmethod
    def pooled_maps(self, features: Features, guide: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Maps (M, C, s, s) that the head reads, and each cell's share in the mean of each, (M, 1, s, s)."""

    def novelty_of(self, features: Features) -> NDArray[np.float32] | None:
        """Distance of each frame's grain (B,) from that of the training frames; None where not known."""
        return None if self.novelty is None else self.novelty(pooled_texture(features.e1))


class YNet(Member):
    """Mask and malignancy of a frame in one pass.

    Parameters
    ----------
    config : YNetConfig
        Default: what the shipped model uses.

    Attributes
    ----------
    card : ModelCard or None
        What the weights were trained on and how well they do; None before training.
    novelty : Novelty or None
        What the training frames are like; None for a model that does not know.

    Examples
    --------
    >>> net = YNet(YNetConfig.paper()).eval()
    >>> mask_logits, class_logits = net(torch.zeros(1, 1, 256, 256))
    >>> mask_logits.shape, class_logits.shape
    (torch.Size([1, 2, 256, 256]), torch.Size([1, 2]))
    """

    def __init__(self, config: YNetConfig | None = None) -> None:
        super().__init__(config or YNetConfig())
        config = self.config
        c16, c64, c128, c256 = config.channels

        self.stem = conv_norm(1, c16, 7, stride=2, planes=config.planes)
        self.enc2 = Stage(c16, c128, 2, config.block)
        self.enc3 = Stage(2 * c128, c256, 5, config.block)
        self.enc4 = Stage(2 * c256, c128, 2, config.block)
        self.enc5 = Stage(2 * c128, c64, 2, config.block)
        pooled = 2 * c64 + (4 * c256 if config.guided else 0)
        self.head = nn.Sequential(
            nn.Linear(pooled, 64), nn.Linear(64, 2)
        )  # no activation between, as in the original

        if config.segmentation:
            d, bins = config.decoder_width, config.bins
            self.psp3 = PyramidPooling(2 * c256, c128, bins, config.size // 8, 1)
            self.dec3 = nn.Sequential(
                conv_norm(2 * c256 + len(bins) * c128, c128, 1), conv_norm(c128, d, 3), conv_norm(d, d, 1)
            )
            self.psp2 = PyramidPooling(d + 2 * c128, c64, bins, config.size // 4, 3)
            self.dec2 = nn.Sequential(conv_norm(d + 2 * c128 + len(bins) * c64, d, 3), conv_norm(d, d, 1))
            self.psp1 = PyramidPooling(c16 + d, d, bins, config.size // 2, 3)
            self.dec1 = nn.Sequential(
                conv_norm(c16 + d + len(bins) * d, d, 3), nn.Conv2d(d, 2, 7, padding=3, bias=False)
            )

    def encode(self, x: Tensor) -> Features:
        """Features of frames ``x`` (B, 1 + planes, S, S); sizes below for S = 256.

        Parameters
        ----------
        x : Tensor
            Prepared frames (B, 1 + planes, S, S), float in [0, 1]: grey, then what was measured beside it.
        """
        e1 = self.stem(x)  # (B, 16, 128, 128)
        e2 = self.enc2(e1)  # (B, 256, 64, 64)
        e3 = self.enc3(e2)  # (B, 512, 32, 32)
        e4 = self.enc4(e3)  # (B, 256, 16, 16)
        arm = self.enc5(e4)  # (B, 128, 8, 8)
        return Features(e1, e2, e3, arm)

    def masks(self, features: Features) -> tuple[Tensor, ...]:
        """Mask logits (B, 2, S, S): background, node.

        Parameters
        ----------
        features : Features
            As :meth:`encode` gives them.
        """
        return self.levels(features)[-1:]

    def levels(self, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Return the drawings of each level of the decoder, the mask logits last.

        Parameters
        ----------
        features : Features
            As :meth:`encode` gives them.

        Returns
        -------
        tuple of Tensor
            Maps (B, D, S/8, S/8) and (B, D, S/4, S/4), and the mask logits (B, 2, S, S).
        """
        coarse = _drawn(self.psp3, self.dec3, features.e3)  # (B, D, 32, 32)
        x = torch.cat([_double(coarse), features.e2], 1)  # (B, D + 256, 64, 64)
        finer = _drawn(self.psp2, self.dec2, x)  # (B, D, 64, 64)
        x = torch.cat([features.e1, _double(finer)], 1)  # (B, D + 16, 128, 128)
        return coarse, finer, _double(_drawn(self.psp1, self.dec1, x))  # (B, 2, 256, 256)

    def classify(
        self, features: Features, guide: Tensor | None = None, frames: Tensor | None = None
    ) -> Tensor:
        """Class logits (M, 2): benign, malignant; see :meth:`Network.classify`.

        Parameters
        ----------
        features : Features
            As :meth:`encode` gives them.
        guide : Tensor, optional
            Mask probabilities of nodes, (M, 1, S, S).
        frames : Tensor, optional
            Frame of each node, (M,), from 0.
        """
        pooled = features.arm.mean((2, 3))  # (B, 128)
        if frames is not None:
            pooled = pooled[frames]  # (M, 128)
        if self.config.guided:
            if guide is None:
                raise ValueError("This network scores a node under its mask: give classify() a guide.")
            if frames is None:
                frames = torch.arange(len(guide), device=guide.device)
            under = [_mean_under(features.e3, share, frames) for share in shares_of(guide)]
            pooled = torch.cat([pooled, *under], 1)  # (M, 1152)
        logits: Tensor = self.head(pooled)
        return logits

    def pooled_maps(self, features: Features, guide: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the maps that the head reads; see :meth:`Member.pooled_maps`.

        Parameters
        ----------
        features : Features
            As :meth:`encode` gives them.
        guide : Tensor
            Mask probabilities of nodes, (M, 1, S, S).
        """
        maps = [(features.arm, even_share(features.arm))]
        return maps + [(features.e3, share) for share in shares_of(guide) if self.config.guided]


def even_share(features: Tensor) -> Tensor:
    """Share of each cell in the mean of a whole map (M, C, s, s): (M, 1, s, s)."""
    return torch.full_like(features[:, :1], 1 / features[0, 0].numel())


def _drawn(pooling: nn.Module, layers: nn.Sequential, x: Tensor) -> Tensor:
    """A level of the decoder: its first convolution reads the pyramid of ``x``."""
    first, *others = layers
    assert isinstance(first, nn.Sequential)
    convolution, *then = first
    x = pooling(x, convolution)
    for layer in (*then, *others):
        x = layer(x)
    return x


def _double(x: Tensor) -> Tensor:
    # mixed precision computes this step in float32, and would carry it into the wide maps that follow
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False).to(x.dtype)


def shares_of(guide: Tensor) -> tuple[Tensor, Tensor]:
    """Share of each cell of e3 in the means under a node and in its rim, one cell (8 px) wide.

    ``guide`` is (M, 1, S, S), the shares are (M, 1, S/8, S/8) and sum to 1, or to 0 where there is no node.
    """
    node = F.avg_pool2d(guide.float(), 8)
    rim = F.max_pool2d(node, 3, stride=1, padding=1) - node
    node, rim = (part / part.sum((2, 3), keepdim=True).clamp_min(1e-3) for part in (node, rim))
    return node, rim


def _mean_under(features: Tensor, share: Tensor, frames: Tensor) -> Tensor:
    """Means (M, C) of the features (B, C, S, S) of frame ``frames[m]`` under ``share[m]`` (M, 1, S, S)."""
    # every frame under every weight, then the pairs that belong together: cheaper than copying the maps
    means = features.flatten(2) @ share.flatten(1).T  # (B, C, M)
    return means[frames, :, torch.arange(len(share), device=share.device)]
