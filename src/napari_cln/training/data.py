"""From cases to batches: frames prepared once and kept as bytes, augmented on the computing device.

Every draw depends on (seed, epoch, frame) alone, so that a run resumed in mid-epoch, or spread over
several processes, sees the same batches.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..imaging.preprocessing import prepare, to_model
from ..network.weights import write_whole
from ..types import Annotation, Node, PrepareConfig

__all__ = ["Batch", "Samples", "augment", "order", "target_of"]

MAX_NODES = 8
"""Nodes of one frame that get a class target of their own; more still train the mask."""


def target_of(node: Node) -> float:
    """What the class head should say of a node: its best possible score where a simulation knows it,
    else 1 for metastatic, 0 for benign, NaN for unknown."""
    if node.p_malignant is not None:
        return node.p_malignant
    return {"metastatic": 1.0, "benign": 0.0, "unknown": float("nan")}[node.truth]


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Prepared frames with what is known of them.

    Parameters
    ----------
    ids : tuple of str
        Names for messages.
    images : ndarray of uint8, shape (N, S, S)
    instances : ndarray of uint8, shape (N, S, S)
        0 background; 1, 2, … the nodes.
    has_mask : ndarray of bool, shape (N,)
        Whether the instances are known; an empty mask is knowledge too.
    node_targets : ndarray of float32, shape (N, MAX_NODES)
        Malignancy of node 1, 2, …; NaN where unknown.
    frame_targets : ndarray of float32, shape (N,)
        Malignancy of the frame; NaN where unknown.
    """

    ids: tuple[str, ...]
    images: NDArray[np.uint8]
    instances: NDArray[np.uint8]
    has_mask: NDArray[np.bool_]
    node_targets: NDArray[np.float32]
    frame_targets: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Sequence[int] | NDArray[np.intp]) -> Samples:
        """Some of the frames, in the given order."""
        chosen = np.asarray(indices, dtype=np.intp)
        return Samples(
            ids=tuple(self.ids[i] for i in chosen),
            images=self.images[chosen],
            instances=self.instances[chosen],
            has_mask=self.has_mask[chosen],
            node_targets=self.node_targets[chosen],
            frame_targets=self.frame_targets[chosen],
        )

    @classmethod
    def join(cls, parts: Iterable[Samples]) -> Samples:
        """Frames of several sources, one after the other."""
        parts = list(parts)
        return cls(
            ids=tuple(id_ for part in parts for id_ in part.ids),
            images=np.concatenate([part.images for part in parts]),
            instances=np.concatenate([part.instances for part in parts]),
            has_mask=np.concatenate([part.has_mask for part in parts]),
            node_targets=np.concatenate([part.node_targets for part in parts]),
            frame_targets=np.concatenate([part.frame_targets for part in parts]),
        )

    @classmethod
    def from_annotation(
        cls,
        id_: str,
        annotation: Annotation,
        config: PrepareConfig,
        *,
        has_mask: bool = True,
        frame_target: float = float("nan"),
    ) -> Samples:
        """Prepare one frame.

        ``frame_target`` is used where the nodes say nothing: a frame with a label and no mask.
        """
        prepared = prepare(annotation.frame, config)
        targets = np.full(MAX_NODES, np.nan, dtype=np.float32)
        instances = np.zeros(prepared.image.shape, dtype=np.uint8)
        share = np.full(prepared.image.shape, 0.5, dtype=np.float32)
        for position, node in enumerate(annotation.nodes, start=1):
            covered = to_model(annotation.instances == node.id, prepared.geometry)
            inside = covered >= share
            instances[inside], share[inside] = min(position, 255), covered[inside]
            if position <= MAX_NODES:
                targets[position - 1] = target_of(node)
        known = targets[: len(annotation.nodes)]
        if len(known) and not np.isnan(known).any():
            frame_target = float(1 - np.prod(1 - known))  # malignant if any node is
        return cls(
            ids=(id_,),
            images=np.rint(prepared.image * 255).astype(np.uint8)[None],
            instances=instances[None],
            has_mask=np.array([has_mask]),
            node_targets=targets[None],
            frame_targets=np.array([frame_target], dtype=np.float32),
        )

    def save(self, path: Path) -> None:
        """Write the frames to one ``.npz`` file, whole or not at all."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            ids=np.array(self.ids),
            images=self.images,
            instances=self.instances,
            has_mask=self.has_mask,
            node_targets=self.node_targets,
            frame_targets=self.frame_targets,
        )
        write_whole(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Samples:
        """Read what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        return cls(ids=tuple(str(id_) for id_ in arrays.pop("ids")), **arrays)


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Frames on the computing device; unknown truths have a weight of 0.

    ``nodes`` lists the nodes that have a target: row ``(frame, id)`` each, int64 (M, 2).
    """

    image: Tensor  # (B, 1, S, S) float32
    instances: Tensor  # (B, 1, S, S) uint8
    mask_weight: Tensor  # (B,)
    frame_target: Tensor  # (B,)
    frame_weight: Tensor  # (B,)
    nodes: Tensor  # (M, 2)
    node_target: Tensor  # (M,)

    @classmethod
    def of(cls, samples: Samples, device: torch.device | str = "cpu") -> Batch:
        """All given frames as one batch."""
        nodes = np.argwhere(~np.isnan(samples.node_targets) & samples.has_mask[:, None])
        frame_known = ~np.isnan(samples.frame_targets)
        return cls(
            image=torch.from_numpy(samples.images).to(device)[:, None].float() / 255,
            instances=torch.from_numpy(samples.instances).to(device)[:, None],
            mask_weight=torch.from_numpy(samples.has_mask).float().to(device),
            frame_target=torch.from_numpy(np.nan_to_num(samples.frame_targets)).to(device),
            frame_weight=torch.from_numpy(frame_known).float().to(device),
            nodes=torch.from_numpy(nodes + np.array([0, 1])).to(device),
            node_target=torch.from_numpy(samples.node_targets[tuple(nodes.T)]).to(device),
        )


def order(n: int, seed: int, epoch: int) -> NDArray[np.intp]:
    """Order in which an epoch visits ``n`` frames."""
    return np.random.default_rng((seed, epoch)).permutation(n)


def augment(batch: Batch, keys: Sequence[tuple[int, ...]], kind: str, *, crop: bool = False) -> Batch:
    """Change each frame as another probe position, gain or machine would.

    Left-right flip, shift, scale, small rotation; overall gain, gain over depth, contrast, blur
    and speckle. Never up-down: depth has a meaning.

    Parameters
    ----------
    batch : Batch
    keys : sequence of tuple of int
        What the draws of each frame depend on, such as (seed, epoch, frame).
    kind : {"ultrasound", "flip"}
        ``"flip"`` does nothing but flip left-right.
    crop : bool
        Give a part of half the side, mostly around a node. Its frame has no class
        then, since what makes it may lie outside.
    """
    draws = [np.random.default_rng(key) for key in keys]
    ultrasound = kind == "ultrasound"
    size = batch.image.shape[-1] // (2 if crop else 1)
    maps = torch.from_numpy(np.stack([_affine(rng, ultrasound) for rng in draws])).to(batch.image)
    if crop:
        centres = np.stack([_centre(rng, item) for rng, item in zip(draws, batch.instances, strict=True)])
        maps[:, :, :2] /= 2
        maps[:, :, 2] = torch.from_numpy(centres).to(maps)
    grid = F.affine_grid(maps, [len(maps), 1, size, size], align_corners=False)
    image = F.grid_sample(batch.image, grid, align_corners=False)
    instances = F.grid_sample(batch.instances.float(), grid, mode="nearest", align_corners=False).byte()
    if ultrasound:
        image = _look(image, draws)
    # the score of a node is that of the whole node
    frames, ids = batch.nodes.T
    before, after = (
        (drawn[frames, 0] == ids[:, None, None]).float().mean((1, 2))
        for drawn in (batch.instances, instances)
    )
    whole = after * torch.linalg.det(maps[:, :, :2]).abs()[frames] > 0.9 * before
    return replace(
        batch,
        image=image,
        instances=instances,
        nodes=batch.nodes[whole],
        node_target=batch.node_target[whole],
        frame_weight=batch.frame_weight * (0.0 if crop else 1.0),
    )


def _affine(rng: np.random.Generator, ultrasound: bool) -> NDArray[np.float32]:
    """Map (2, 3) from output to input, in units of half the image."""
    flip = -1.0 if rng.random() < 0.5 else 1.0
    if not ultrasound:
        return np.array([[flip, 0, 0], [0, 1, 0]], dtype=np.float32)
    scale = np.exp(rng.uniform(-0.25, 0.25))
    stretch = np.exp(rng.uniform(-0.04, 0.04))  # little: the ratio of a node's axes is a sign
    angle = np.deg2rad(rng.uniform(-10, 10))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag([flip * stretch, 1 / stretch])
    shift = rng.uniform(-0.15, 0.15, size=(2, 1))
    return np.hstack([matrix, shift]).astype(np.float32)


def _centre(rng: np.random.Generator, instances: Tensor) -> NDArray[np.float64]:
    """Where a crop lies, (x, y) in units of half the image: near a node, or anywhere."""
    anywhere = rng.uniform(-0.5, 0.5, 2)
    near, jitter = rng.random() < 0.85, rng.uniform(-0.1, 0.1, 2)
    ids = torch.unique(instances)
    ids = ids[ids > 0]
    if not near or not len(ids):
        return anywhere
    chosen = ids[int(rng.integers(len(ids)))]
    y, x = (instances[0] == chosen).nonzero().double().mean(0).tolist()
    middle = (np.array([x, y]) + 0.5) / (instances.shape[-1] / 2) - 1
    centre: NDArray[np.float64] = np.clip(middle + jitter, -0.5, 0.5)
    return centre


def _look(image: Tensor, draws: Sequence[np.random.Generator]) -> Tensor:
    """Gain, gain over depth, contrast, blur and speckle of another machine; (B, 1, S, S)."""
    size = image.shape[-1]
    gain, slope, gamma, blur, speckle = (
        torch.from_numpy(
            np.stack(
                [
                    np.array(
                        [
                            np.exp(rng.uniform(-0.25, 0.25)),
                            rng.uniform(-0.25, 0.25),
                            np.exp(rng.uniform(-0.2, 0.2)),
                            rng.uniform(0, 1.0) if rng.random() < 0.3 else 0.0,
                            rng.uniform(0, 0.1) if rng.random() < 0.3 else 0.0,
                        ]
                    )
                    for rng in draws
                ]
            )
        )
        .to(image)
        .T[..., None, None, None]
    )  # (5, B, 1, 1, 1)
    noise = torch.from_numpy(np.stack([rng.standard_normal((1, size, size), np.float32) for rng in draws]))
    depth = torch.linspace(-0.5, 0.5, size).to(image)[:, None]
    image = _blurred(image, blur) * (1 + speckle * noise.to(image))
    image = (image.clamp_min(0) ** gamma) * gain * (1 + slope * depth)
    return image.clamp(0, 1)


def _blurred(image: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of each frame by its own sigma (B, 1, 1, 1), in pixels; 0 leaves it as it is."""
    reach = torch.arange(-3, 4).to(image)
    kernel = torch.exp(-0.5 * (reach / sigma.clamp_min(1e-3)) ** 2)  # (B, 1, 1, 7)
    kernel = kernel / kernel.sum(-1, keepdim=True)
    stacked = image.transpose(0, 1)  # (1, B, S, S): one group per frame
    frames = image.shape[0]
    across = F.conv2d(F.pad(stacked, (3, 3, 0, 0), mode="replicate"), kernel, groups=frames)
    both = F.conv2d(F.pad(across, (0, 0, 3, 3), mode="replicate"), kernel.transpose(2, 3), groups=frames)
    return both.transpose(0, 1)
