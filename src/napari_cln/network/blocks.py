"""The bricks of the Y-Net: encoder blocks, down-sampling and pyramid pooling.

Shapes are written for one brick alone: B frames, C channels, S rows and columns.

References
----------
.. [1] S. Mehta et al., "Y-Net: joint segmentation and classification for diagnosis of breast
       biopsy images", MICCAI 2018. :arxiv:`1806.01313`
.. [2] S. Mehta et al., "ESPNet: efficient spatial pyramid of dilated convolutions for semantic
       segmentation", ECCV 2018. :arxiv:`1803.06815`
.. [3] H. Zhang et al., "EPSANet: an efficient pyramid squeeze attention block on convolutional
       neural network", ACCV 2022. :arxiv:`2105.14447`
.. [4] K. He et al., "Deep residual learning for image recognition", CVPR 2016. :arxiv:`1512.03385`
.. [5] H. Zhao et al., "Pyramid scene parsing network", CVPR 2017. :arxiv:`1612.01105`
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate
from math import gcd
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "BLOCKS",
    "EfficientPyramid",
    "Join",
    "PlanesBeside",
    "PyramidPooling",
    "PyramidSqueeze",
    "Residual",
    "conv_norm",
]


def conv_norm(
    inputs: int, outputs: int, kernel: int, stride: int = 1, *, relu: bool = True, planes: int = 0
) -> nn.Sequential:
    """Convolution without bias, batch normalisation and, by default, ReLU (the "CBR" of [1]_).

    With ``planes`` it reads so many further channels after its ``inputs``, see :class:`PlanesBeside`.
    """
    how: dict[str, Any] = {"stride": stride, "padding": kernel // 2, "bias": False}
    layers: list[nn.Module] = [
        PlanesBeside(inputs, outputs, kernel, planes, **how)
        if planes
        else nn.Conv2d(inputs, outputs, kernel, **how),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU()) if relu else nn.Sequential(*layers)


class PlanesBeside(nn.Conv2d):
    """A convolution that reads planes beside what it read before, by weights that start at 0.

    What the planes add is summed apart: where all of them are 0, as where nothing was measured, the result
    is that of the convolution alone to the last bit, before the planes were trained and after.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, planes: int, **how: Any) -> None:
        super().__init__(inputs, outputs, kernel, **how)
        self.beside = nn.Parameter(torch.zeros(outputs, planes, kernel, kernel))

    def forward(self, x: Tensor) -> Tensor:
        known, planes = x[:, : self.in_channels], x[:, self.in_channels :]
        return super().forward(known) + F.conv2d(planes, self.beside, None, self.stride, self.padding)


class EfficientPyramid(nn.Module):
    """ESP block [2]_ as Y-Net has it [1]_: reduce, four dilated convolutions, fuse, add.

    The reducing convolution is 3×3 (1×1 in ESPNet itself) and the pyramid has four levels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        part = channels // 4
        self.reduce = nn.Conv2d(channels, part, 3, padding=1, bias=False)
        self.dilated = nn.ModuleList(
            nn.Conv2d(part, part, 3, padding=dilation, dilation=dilation, bias=False)
            for dilation in (1, 2, 4, 8)
        )
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.reduce(x)  # (B, C/4, S, S)
        first, *wider = [conv(reduced) for conv in self.dilated]
        fused = [first, *accumulate(wider)]  # d1, d2, d2+d4, d2+d4+d8: sums take out the gridding of dilation
        out: Tensor = F.relu(self.norm(torch.cat(fused, 1) + x))  # (B, C, S, S)
        return out


class Residual(nn.Module):
    """Residual convolution block [4]_: two 3×3 convolutions around a short cut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_norm(channels, channels, 3)
        self.second = conv_norm(channels, channels, 3, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.first(x)) + x)  # (B, C, S, S)


class PyramidSqueeze(nn.Module):
    """Residual bottleneck whose 3×3 is pyramid squeeze attention [3]_: kernels 3, 5, 7, 9.

    The other reading of the paper's sentence about its encoder, which is EPSANet's, uncited.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        part = inner // 4
        squeezed = max(part // 16, 1)
        self.reduce = conv_norm(channels, inner, 1)
        self.branches = nn.ModuleList(
            nn.Conv2d(
                inner, part, kernel, padding=kernel // 2, groups=gcd(groups, part), bias=False
            )  # groups must divide the thin branches of the last stage
            for kernel, groups in zip((3, 5, 7, 9), (1, 4, 8, 16), strict=True)
        )
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(part, squeezed, 1),
            nn.ReLU(),
            nn.Conv2d(squeezed, part, 1),
            nn.Sigmoid(),
        )
        self.norm = nn.BatchNorm2d(inner)
        self.expand = conv_norm(inner, channels, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.reduce(x)  # (B, C/2, S, S)
        scales = torch.stack([branch(reduced) for branch in self.branches], 1)  # (B, 4, C/8, S, S)
        attention = torch.stack([self.squeeze(scale) for scale in scales.unbind(1)], 1)  # (B, 4, C/8, 1, 1)
        attended = (scales * attention.softmax(1)).flatten(1, 2)  # (B, C/2, S, S)
        return F.relu(self.expand(F.relu(self.norm(attended))) + x)  # (B, C, S, S)


BLOCKS: dict[str, type[nn.Module]] = {"esp": EfficientPyramid, "psa": PyramidSqueeze, "rcb": Residual}
"""Encoder blocks by the name that a configuration gives them."""


class Join(nn.Module):
    """Concatenate feature maps, then batch normalisation and ReLU (the "BR" of [1]_)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, *maps: Tensor) -> Tensor:
        return F.relu(self.norm(torch.cat(maps, 1)))  # (B, sum of C, S, S)


class PyramidPooling(nn.Module):
    """Pyramid pooling (PSP) [5]_ and the convolution that reads it, in one.

    The pyramid is the map beside its averages over b×b regions, b = 3, 5, 7, 9, each weighed by a branch
    and grown to the map's size. A convolution is linear, and so is growing: here the convolution's weights
    meet the few averages, and only what comes of them is grown. That is exact but for rounding, leaves a
    quarter of the work of the decoder's last convolution, and never makes the wide maps, which a training
    would have to keep.

    Pooling and growing are constant small matrices, ``P x Pᵀ`` and ``U y Uᵀ``: they equal
    ``AdaptiveAvgPool2d`` and bilinear ``interpolate``, which 3, 5, 7 and 9 slow down, since they do not
    divide the map.
    """

    pool: Tensor
    grow: Tensor

    def __init__(self, channels: int, outputs: int, bins: tuple[int, ...], size: int, kernel: int) -> None:
        super().__init__()
        self.bins, self.size, self.kernel = bins, size, kernel
        self.branches = nn.ModuleList(conv_norm(channels, outputs, 1) for _ in bins)
        # they go to a device with the network, and into no file
        self.register_buffer("pool", _pool_of(bins, size), persistent=False)
        self.register_buffer("grow", _grow_of(bins, size, kernel), persistent=False)

    def forward(self, x: Tensor, convolution: nn.Conv2d) -> Tensor:
        """Convolve the pyramid of ``x`` (B, C, S, S) with ``convolution``: (B, O, S, S).

        The convolution reads C + len(bins)·outputs channels, has an odd kernel k and keeps the size.
        """
        weight = convolution.weight  # (O, C + len(bins)·outputs, k, k)
        # plain numbers also while a graph of the network is recorded
        (outputs, inputs, kernel, _), (_, channels, _, size) = map(tuple[int, ...], (weight.shape, x.shape))
        width = (inputs - channels) // len(self.bins)
        own, *others = torch.split(weight, [channels, *[width] * len(self.bins)], 1)
        out = F.conv2d(x, own, convolution.bias, padding=kernel // 2)
        pool, grow = self._matrices(size, kernel)
        pooled = _both_ways(pool.to(x), x)  # (B, C, all bins, all bins): the blocks on the diagonal serve
        grow = grow.to(x)  # (S, k·all bins)
        grown, start = [], 0
        for count, branch, other in zip(self.bins, self.branches, others, strict=True):
            block = branch(pooled[..., start : start + count, start : start + count])  # (B, I, b, b)
            rows = other.permute(2, 0, 3, 1).flatten(0, 2)  # (k·O·k, I)
            weighed = (rows @ block.flatten(2)).reshape(-1, kernel, outputs, kernel, count, count)
            small = weighed.permute(0, 2, 1, 4, 3, 5).reshape(-1, outputs, kernel * count, kernel * count)
            part = grow[:, kernel * start : kernel * (start + count)]  # (S, k·b)
            grown.append(small @ part.T)  # (B, O, k·b, S)
            start += count
        return out + grow @ torch.cat(grown, 2)

    def _matrices(self, size: int, kernel: int) -> tuple[Tensor, Tensor]:
        """The constants, others for a map of another size than the network was built for."""
        if (size, kernel) == (self.size, self.kernel):
            return self.pool, self.grow
        return _matrices_of(self.bins, size, kernel, self.pool.device)


def _pool_of(bins: tuple[int, ...], size: int) -> Tensor:
    """``(all bins, size)``: the pooling matrices one under the other."""
    return torch.cat([pooling_matrix(size, count) for count in bins])


def _grow_of(bins: tuple[int, ...], size: int, kernel: int) -> Tensor:
    """``(size, kernel·all bins)``: the growing matrices side by side."""
    return torch.cat([shifted_growing_matrix(count, size, kernel) for count in bins], 1)


@lru_cache
@torch.inference_mode(False)
def _matrices_of(
    bins: tuple[int, ...], size: int, kernel: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Both on a device, where they stay: a GPU that is sent them in each step waits for them."""
    return _pool_of(bins, size).to(device), _grow_of(bins, size, kernel).to(device)


def _both_ways(matrix: Tensor, x: Tensor) -> Tensor:
    """``M x Mᵀ`` of each channel, without a copy in either memory order: a prediction's, with the
    columns of a channel side by side, and a training's, with the channels of a pixel side by side."""
    if x.is_contiguous():
        rows = (x @ matrix.T).transpose(2, 3)  # (B, C, b, S)
        return (rows @ matrix.T).transpose(2, 3)  # (B, C, b, b)
    frames, channels, _, width = x.shape
    rows = matrix @ x.permute(0, 2, 3, 1).flatten(2)  # (B, b, S·C)
    return (matrix @ rows.reshape(frames, -1, width, channels)).permute(0, 3, 1, 2)  # (B, C, b, b)


# The matrices outlive the call that first needs them. That may be a prediction, whose tensors
# could not serve a training afterwards: hence inference mode is left.


@lru_cache
@torch.inference_mode(False)
def pooling_matrix(size: int, bins: int) -> Tensor:
    """``(bins, size)``: each row averages one bin of adaptive average pooling."""
    return F.adaptive_avg_pool1d(torch.eye(size, device="cpu")[None], bins)[0].T.contiguous()


@lru_cache
@torch.inference_mode(False)
def growing_matrix(bins: int, size: int) -> Tensor:
    """``(size, bins)``: bilinear up-sampling along one axis, pixel centres aligned."""
    return F.interpolate(torch.eye(bins, device="cpu")[None], size, mode="linear", align_corners=False)[
        0
    ].T.contiguous()


@lru_cache
@torch.inference_mode(False)
def shifted_growing_matrix(bins: int, size: int, kernel: int) -> Tensor:
    """``(size, kernel·bins)``: the growing matrix as each row of a kernel sees it, black beyond the edge."""
    half = kernel // 2
    padded = F.pad(growing_matrix(bins, size), (0, 0, half, half))
    return torch.cat([padded[shift : shift + size] for shift in range(kernel)], 1)
