"""The Y-Net with a U-shaped trunk: one encoder, a decoder that draws, an arm that scores under each mask.

Trained alike, a plain U [1]_ draws better than the pyramids of the paper's network, and the guided arm
scores no worse on it; so this is the network of the recipe ``best``. It sees and draws on the frame's own
grid at half the cost: four neighbouring pixels are four channels of one cell on the way in, and four logits
of one cell are four pixels on the way out [2]_.

::

    frame ─ e1 ── e2 ── e3 ── e4 ── e5 ─── mean over the frame ──┐
            │     │     │╲    │╲    │╲                           ├─ head ▶ benign · malignant · nothing
            │     │     │ ╲───┼─╲───┼─╲─── under a mask, in its rim ┘
            │     │     │     │     │                 ▲
            d1 ── d2 ── d3 ── d4 ───┘                 │
            ▼     ▼     ▼                             │
           mask  (coarser masks, which train it) ─────┘

References
----------
.. [1] O. Ronneberger et al., "U-Net: convolutional networks for biomedical image segmentation", MICCAI
       2015. :arxiv:`1505.04597`
.. [2] W. Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel
       convolutional neural network", CVPR 2016. :arxiv:`1609.05158`
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.config import YNetConfig
from .blocks import conv_norm
from .model import Features, Member, YNet, even_share, shares_of

__all__ = ["UYNet", "network_of"]

NOTHING = 2
"""Index of the class logit that says a patch is no node."""


class UYNet(Member):
    """Mask, malignancy and *no node at all* in one pass.

    Parameters
    ----------
    config : YNetConfig
        With ``trunk="u"``. Default: what the recipe ``best`` trains.

    Attributes
    ----------
    card : ModelCard or None
        What the weights were trained on and how well they do; None before training.

    Examples
    --------
    >>> net = UYNet().eval()
    >>> mask_logits, class_logits = net(torch.zeros(1, 1, 256, 256))
    >>> mask_logits.shape, class_logits.shape
    (torch.Size([1, 2, 256, 256]), torch.Size([1, 3]))
    """

    def __init__(self, config: YNetConfig | None = None) -> None:
        super().__init__(config or YNetConfig.best())
        c1, c2, c3, c4, c5 = self.config.trunk_channels
        self.enc1 = nn.Sequential(conv_norm(4, c1, 3, planes=4 * self.config.planes), conv_norm(c1, c1, 3))
        self.enc2 = _lower(c1, c2)
        self.enc3 = _lower(c2, c3)
        self.enc4 = _lower(c3, c4)
        self.enc5 = _lower(c4, c5)
        pooled = c5 + (2 * c3 + c4 + c5 if self.config.guided else 0)
        self.head = nn.Sequential(
            nn.Linear(pooled, 64), nn.ReLU(), nn.Linear(64, 3 if self.config.guided else 2)
        )
        if self.config.segmentation:
            self.dec4 = _Higher(c5, c4)
            self.dec3 = _Higher(c4, c3)
            self.dec2 = _Higher(c3, c2)
            self.dec1 = _Higher(c2, c1)
            self.draw3 = nn.Conv2d(c3, 2, 1)
            self.draw2 = nn.Conv2d(c2, 2, 1)
            self.draw1 = nn.Conv2d(c1, 8, 3, padding=1)

    def encode(self, x: Tensor) -> Features:
        """Compute the features of frames ``x`` (B, 1 + planes, S, S); sizes below for S = 256."""
        e1 = self.enc1(F.pixel_unshuffle(x, 2))  # (B, 32, 128, 128)
        e2 = self.enc2(e1)  # (B, 64, 64, 64)
        e3 = self.enc3(e2)  # (B, 128, 32, 32)
        e4 = self.enc4(e3)  # (B, 256, 16, 16)
        e5 = self.enc5(e4)  # (B, 256, 8, 8)
        return Features(e1, e2, e3, e5, e4)

    def masks(self, features: Features) -> tuple[Tensor, ...]:
        """Draw at each level: mask logits (B, 2, S/8, S/8), (B, 2, S/4, S/4) and (B, 2, S, S)."""
        assert features.e4 is not None
        d4 = self.dec4(features.arm, features.e4)  # (B, 256, 16, 16)
        d3 = self.dec3(d4, features.e3)  # (B, 128, 32, 32)
        d2 = self.dec2(d3, features.e2)  # (B, 64, 64, 64)
        d1 = self.dec1(d2, features.e1)  # (B, 32, 128, 128)
        return self.draw3(d3), self.draw2(d2), F.pixel_shuffle(self.draw1(d1), 2)

    def classify(
        self, features: Features, guide: Tensor | None = None, frames: Tensor | None = None
    ) -> Tensor:
        """Compute class logits (M, 3): benign, malignant, no node; see :meth:`Network.classify`.

        An empty mask asks for the frame as a whole.
        """
        logits: Tensor = self.head(self.pooled(features, guide, frames))
        return logits

    def pooled(self, features: Features, guide: Tensor | None = None, frames: Tensor | None = None) -> Tensor:
        """Compute what the head reads of each mask, (M, C): means over frame, mask and rim."""
        pooled = features.arm.mean((2, 3))  # (B, 256)
        if frames is not None:
            pooled = pooled[frames]  # (M, 256)
        if self.config.guided:
            if guide is None:
                raise ValueError("This network scores a node under its mask: give classify() a guide.")
            if frames is None:
                frames = torch.arange(len(guide), device=guide.device)
            under = self.pooled_maps(features, guide)[1:]
            pooled = torch.cat([pooled, *(_mean_under(of, share, frames) for of, share in under)], 1)
        return pooled

    def pooled_maps(self, features: Features, guide: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Maps that the head reads; see :meth:`Member.pooled_maps`."""
        maps = [(features.arm, even_share(features.arm))]
        if self.config.guided:
            assert features.e4 is not None
            node, rim = shares_of(guide)
            wider = [F.avg_pool2d(node, factor, divisor_override=1) for factor in (2, 4)]
            under = (features.e3, features.e3, features.e4, features.arm)
            maps += zip(under, (node, rim, *wider), strict=True)
        return maps


def network_of(config: YNetConfig) -> Member:
    """Make the untrained network that a configuration describes."""
    return UYNet(config) if config.trunk == "u" else YNet(config)


def _lower(inputs: int, outputs: int) -> nn.Sequential:
    """One level down: the greatest of each four cells, then two convolutions."""
    return nn.Sequential(nn.MaxPool2d(2), conv_norm(inputs, outputs, 3), conv_norm(outputs, outputs, 3))


class _Higher(nn.Module):
    """One level up: grow, and read it beside the encoder's map."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.thin = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.read = nn.Sequential(conv_norm(2 * outputs, outputs, 3), conv_norm(outputs, outputs, 3))

    def forward(self, below: Tensor, beside: Tensor) -> Tensor:
        # mixed precision grows a map in float32, and would carry it into the wide maps that follow
        grown = F.interpolate(self.thin(below), scale_factor=2.0, mode="bilinear").to(beside.dtype)
        out: Tensor = self.read(torch.cat([grown, beside], 1))
        return out


def _mean_under(features: Tensor, share: Tensor, frames: Tensor) -> Tensor:
    """Means (M, C) of the features (B, C, S, S) of frame ``frames[m]`` under ``share[m]`` (M, 1, S, S)."""
    means = features.flatten(2) @ share.flatten(1).T.to(features.dtype)  # (B, C, M)
    return means[frames, :, torch.arange(len(share), device=share.device)]
