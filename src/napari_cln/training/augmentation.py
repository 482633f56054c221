"""The same frame as another probe position, gain or machine would show it.

Every draw depends on a key such as (seed, epoch, frame) alone, so that a run resumed in mid-epoch, or
spread over several processes, sees the same frames. The work is done where the batch is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..network.transfer import fetch_values, send_values
from .data import NOT_JUDGED, Batch

__all__ = ["augment", "change_look", "hide_cells"]

CELLS = 16
"""Cells along each side of a frame that :func:`hide_cells` hides some of: each of 16 pixels of 256."""
HIDDEN = 0.6
"""Share of them that it hides."""


def augment(
    batch: Batch, keys: Sequence[tuple[int, ...]], kind: str, *, crop: bool = False, drop: float = 0.0
) -> Batch:
    """Change each frame as another probe position, gain or machine would.

    Left-right flip, shift, scale, small rotation; overall gain, gain over depth, contrast, blur
    and speckle. Never up-down: depth has a meaning.

    Parameters
    ----------
    batch : Batch
    keys : sequence of tuple of int
        What the draws of each frame depend on, such as (seed, epoch, frame).
    kind : {"ultrasound", "place", "flip"}
        ``"flip"`` does nothing but flip left-right; ``"place"`` moves the probe, and leaves gain, blur and
        speckle as they are.
    crop : bool
        Give a part of half the side, mostly around a node. Its frame has no class
        then, since what makes it may lie outside.
    drop : float
        Chance that a frame loses a channel beside the grey image, as one that was not measured.
    """
    draws = [np.random.default_rng(key) for key in keys]
    moved = kind != "flip"
    size = batch.image.shape[-1] // (2 if crop else 1)
    affine = np.stack([_affine(rng, moved) for rng in draws])
    if crop:
        drawn = batch.drawn.numpy() if batch.drawn is not None else fetch_values(batch.instances[:, 0])[0]
        affine[:, :, :2] /= 2
        affine[:, :, 2] = [_centre(rng, item) for rng, item in zip(draws, drawn, strict=True)]
    maps = send_values(affine, batch.image.device)
    grid = F.affine_grid(maps, [len(maps), 1, size, size], align_corners=False)
    image = F.grid_sample(batch.image, grid, align_corners=False)
    instances = F.grid_sample(batch.instances.float(), grid, mode="nearest", align_corners=False).byte()
    judged = None
    if batch.judged is not None:  # what comes in from outside the frame is background, and judged
        judged = 1 - F.grid_sample(1 - batch.judged, grid, mode="nearest", align_corners=False)
    image, planes = image[:, :1], image[:, 1:]
    if kind == "ultrasound":
        image = _look(image, draws, more=planes.shape[1] > 0)
    if planes.shape[1]:
        image = torch.cat([image, _without_some(planes, draws, drop)], 1)
    # the score of a node is that of the whole node
    frames, ids = batch.nodes.T
    before, after = (
        (all_ids[frames, 0] == ids[:, None, None]).float().mean((1, 2))
        for all_ids in (batch.instances, instances)
    )
    (a, b), (c, d) = maps[:, :, :2].permute(1, 2, 0)
    shown = (a * d - b * c).abs()[frames]  # how much of the input's area the output shows
    whole = after * shown > 0.9 * before
    return replace(
        batch,
        image=image,
        instances=instances,
        judged=judged,
        node_weight=batch.node_weight * whole,
        drawn=None,
        frame_weight=batch.frame_weight * (0.0 if crop else 1.0),
    )


def _without_some(planes: Tensor, draws: Sequence[np.random.Generator], drop: float) -> Tensor:
    """Planes (B, 2 C, S, S) of which some channels, value and place both, were left out."""
    kept = np.stack([rng.random(planes.shape[1] // 2) >= drop for rng in draws])
    return planes * send_values(np.repeat(kept, 2, axis=1), planes.device)[..., None, None]


def change_look(batch: Batch, keys: Sequence[tuple[int, ...]]) -> Batch:
    """Change gain, gain over depth, contrast, blur and speckle of each frame; what lies where stays.

    Parameters
    ----------
    batch : Batch
    keys : sequence of tuple of int
        As for :func:`augment`.
    """
    grey = _look(batch.image[:, :1], [np.random.default_rng(key) for key in keys], more=False)
    return replace(batch, image=torch.cat([grey, batch.image[:, 1:]], 1))


def hide_cells(batch: Batch, keys: Sequence[tuple[int, ...]]) -> Batch:
    """Hide cells of each frame behind its mean grey and blur the rest, to be restored [1]_.

    Parameters
    ----------
    batch : Batch
    keys : sequence of tuple of int
        What the draws of each frame depend on.

    Returns
    -------
    Batch
        ``judged`` is 1 in what is hidden.

    References
    ----------
    .. [1] Q. Kang et al., "Deblurring masked autoencoder is better recipe for ultrasound image recognition",
       MICCAI 2023. :arxiv:`2306.08249`
    """
    draws = [np.random.default_rng((*key, 4)) for key in keys]
    device = batch.image.device
    sigma = send_values(np.array([rng.uniform(1.0, 2.0) for rng in draws], np.float32), device)
    gone = send_values(np.stack([rng.random((1, CELLS, CELLS)) < HIDDEN for rng in draws]), device)
    hidden = F.interpolate(gone.float(), batch.image.shape[-2:], mode="nearest")
    grey = batch.image.mean((1, 2, 3), keepdim=True)
    image = torch.where(hidden > 0, grey, _blurred(batch.image, sigma[:, None, None, None]))
    return replace(batch, image=image, judged=hidden)


def _affine(rng: np.random.Generator, moved: bool) -> NDArray[np.float32]:
    """Map (2, 3) from output to input, in units of half the image."""
    flip = -1.0 if rng.random() < 0.5 else 1.0
    if not moved:
        return np.array([[flip, 0, 0], [0, 1, 0]], dtype=np.float32)
    scale = np.exp(rng.uniform(-0.25, 0.25))
    stretch = np.exp(rng.uniform(-0.04, 0.04))  # little: the ratio of a node's axes is a sign
    angle = np.deg2rad(rng.uniform(-10, 10))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag([flip * stretch, 1 / stretch])
    shift = rng.uniform(-0.15, 0.15, size=(2, 1))
    return np.hstack([matrix, shift]).astype(np.float32)


def _centre(rng: np.random.Generator, instances: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Place of a crop, (x, y) in units of half the image: near a node, or anywhere."""
    anywhere = rng.uniform(-0.5, 0.5, 2)
    near, jitter = rng.random() < 0.85, rng.uniform(-0.1, 0.1, 2)
    ids = np.unique(instances)
    ids = ids[(ids > 0) & (ids < NOT_JUDGED)]
    if not near or not len(ids):
        return anywhere
    chosen = ids[int(rng.integers(len(ids)))]
    y, x = np.argwhere(instances == chosen).mean(0)
    middle = (np.array([x, y]) + 0.5) / (instances.shape[-1] / 2) - 1
    centre: NDArray[np.float64] = np.clip(middle + jitter, -0.5, 0.5)
    return centre


def _look(image: Tensor, draws: Sequence[np.random.Generator], *, more: bool) -> Tensor:
    """Gain, gain over depth, contrast, blur and speckle of another machine; (B, 1, S, S).

    Where ``more`` is drawn after it, noise is drawn for frames without speckle too.
    """
    size = image.shape[-1]
    of_look = np.array(
        [
            (
                np.exp(rng.uniform(-0.25, 0.25)),
                rng.uniform(-0.25, 0.25),
                np.exp(rng.uniform(-0.2, 0.2)),
                rng.uniform(0, 1.0) if rng.random() < 0.3 else 0.0,
                rng.uniform(0, 0.1) if rng.random() < 0.3 else 0.0,
            )
            for rng in draws
        ],
        np.float32,
    )
    noise = np.zeros((len(draws), 1, size, size), np.float32)
    for row, rng in enumerate(draws):
        if more or of_look[row, 4] > 0:
            noise[row] = rng.standard_normal(noise.shape[1:], np.float32)
    look = send_values(of_look, image.device).T[..., None, None, None]
    gain, slope, gamma, blur, speckle = look  # (B, 1, 1, 1) each
    depth = torch.linspace(-0.5, 0.5, size, device=image.device)[:, None]
    image = _blurred(image, blur) * (1 + speckle * send_values(noise, image.device))
    image = (image.clamp_min(0) ** gamma) * gain * (1 + slope * depth)
    return image.clamp(0, 1)


def _blurred(image: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of each frame by its own sigma (B, 1, 1, 1), in pixels; 0 leaves it as it is."""
    reach = torch.arange(-3, 4, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (reach / sigma.clamp_min(1e-3)) ** 2)  # (B, 1, 1, 7)
    kernel = kernel / kernel.sum(-1, keepdim=True)
    stacked = image.transpose(0, 1)  # (1, B, S, S): one group per frame
    frames = image.shape[0]
    across = F.conv2d(F.pad(stacked, (3, 3, 0, 0), mode="replicate"), kernel, groups=frames)
    both = F.conv2d(F.pad(across, (0, 0, 3, 3), mode="replicate"), kernel.transpose(2, 3), groups=frames)
    return both.transpose(0, 1)
