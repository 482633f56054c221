"""From cases to batches: frames prepared once and kept as bytes, put together on the computing device."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..annotation import Annotation, Case, Node
from ..disk.atomic import write_atomically
from ..folder.dataset import TrainingFolder, read_not_judged
from ..imaging.preprocessing import prepare, to_model
from ..network.transfer import send_values
from ..types import Frame, PrepareConfig

__all__ = ["Batch", "Samples", "Store", "order", "target_of"]

NOT_JUDGED = 255
"""Id of pixels of which nobody says whether a node is there: no mask loss comes from them."""
SHARE_OF_MEMORY = 0.25
"""Part of a GPU's free memory that the frames of a training may take."""
MAX_NODES = 8
"""Nodes of one frame that get a class target of their own; more still train the mask."""


def target_of(node: Node) -> float:
    """Target of the class head for a node: its best possible score where a simulation knows it,
    else 1 for metastatic, 0 for benign, NaN for unknown.

    The score of any other node is a model's opinion, never a target."""
    if node.truth_source == "simulated" and node.p_malignant is not None:
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
        0 background; 1, 2, … the nodes; 255 what nobody judged.
    has_mask : ndarray of bool or float32, shape (N,)
        Whether the instances are known, or how much they count from 0 to 1; an empty mask is knowledge too.
    node_targets : ndarray of float32, shape (N, MAX_NODES)
        Malignancy of node 1, 2, …; NaN where unknown.
    frame_targets : ndarray of float32, shape (N,)
        Malignancy of the frame; NaN where unknown.
    planes : ndarray of uint8, shape (N, 2 C, S, S), optional
        Of each further channel the value and where it was measured; None where grey is all.
    """

    ids: tuple[str, ...]
    images: NDArray[np.uint8]
    instances: NDArray[np.uint8]
    has_mask: NDArray[np.bool_] | NDArray[np.float32]
    node_targets: NDArray[np.float32]
    frame_targets: NDArray[np.float32]
    planes: NDArray[np.uint8] | None = None

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
            planes=None if self.planes is None else self.planes[chosen],
        )

    @property
    def stacked(self) -> NDArray[np.uint8]:
        """Images and planes, (N, 1 + 2 C, S, S)."""
        images = self.images[:, None]
        return images if self.planes is None else np.concatenate([images, self.planes], 1)

    def halved(self) -> Samples:
        """The same frames at half the side."""
        return replace(
            self,
            images=_halved(self.images),
            instances=np.ascontiguousarray(self.instances[:, ::2, ::2]),
            planes=None if self.planes is None else _halved(self.planes),
        )

    def node_areas(self) -> NDArray[np.intp]:
        """Area of each node, in pixels of the network's input."""
        areas = np.concatenate([np.bincount(one.ravel())[1:NOT_JUDGED] for one in self.instances])
        return areas[areas > 0]

    @classmethod
    def join(cls, parts: Iterable[Samples]) -> Samples:
        """Frames of several sources, one after the other."""
        parts = list(parts)
        planes = [part.planes for part in parts if part.planes is not None]
        return cls(
            ids=tuple(id_ for part in parts for id_ in part.ids),
            images=np.concatenate([part.images for part in parts]),
            instances=np.concatenate([part.instances for part in parts]),
            has_mask=np.concatenate([part.has_mask for part in parts]),
            node_targets=np.concatenate([part.node_targets for part in parts]),
            frame_targets=np.concatenate([part.frame_targets for part in parts]),
            planes=np.concatenate(planes) if planes else None,
        )

    @classmethod
    def from_annotation(
        cls,
        id_: str,
        annotation: Annotation,
        config: PrepareConfig,
        *,
        has_mask: bool = True,
        frame_target: float | None = None,
    ) -> Samples:
        """Prepare one frame.

        ``frame_target`` is that of its nodes where it is not given: NaN without nodes, or with one that is
        unknown.
        """
        prepared = prepare(annotation.frame, config)
        known = np.array([target_of(node) for node in annotation.nodes], dtype=np.float32)
        targets = np.full(MAX_NODES, np.nan, dtype=np.float32)
        targets[: len(known)] = known[:MAX_NODES]
        instances = np.zeros(prepared.image.shape, dtype=np.uint8)
        share = np.full(prepared.image.shape, 0.5, dtype=np.float32)
        for position, node in enumerate(annotation.nodes, start=1):
            covered = to_model(annotation.instances == node.id, prepared.geometry)
            inside = covered >= share
            instances[inside], share[inside] = min(position, NOT_JUDGED - 1), covered[inside]
        if annotation.not_judged is not None:
            unjudged = to_model(annotation.not_judged, prepared.geometry) >= 0.5
            instances[unjudged & (instances == 0)] = NOT_JUDGED
        if frame_target is None:
            frame_target = float(1 - np.prod(1 - known)) if len(known) else float("nan")  # as any node is
        return cls(
            ids=(id_,),
            images=np.rint(prepared.image * 255).astype(np.uint8)[None],
            instances=instances[None],
            has_mask=np.array([has_mask]),
            node_targets=targets[None],
            frame_targets=np.array([frame_target], dtype=np.float32),
            planes=np.rint(prepared.planes * 255).astype(np.uint8)[None] if config.channels else None,
        )

    @classmethod
    def from_cases(cls, folder: TrainingFolder, cases: Sequence[Case], config: PrepareConfig) -> Samples:
        """Prepare the given cases of a training folder, in order.

        Its images were cleared of burned-in marks and cropped to the scan area when they were saved.
        A node's truth is what is learnt and validated, also in a simulated folder: scores in records
        are for reading. Only :attr:`.Case.reference_nodes` are learnt as nodes.
        """
        config = replace(config, remove_overlay=False)

        def one(case: Case) -> Samples:
            pixels = folder.read_image(case)
            channels = folder.read_channels(case) if config.channels else {}
            frame = Frame(pixels=pixels, channels=channels)
            instances = folder.read_instances(case)
            nodes = tuple(replace(node, p_malignant=None) for node in case.reference_nodes)
            annotation = Annotation(
                frame=frame,
                instances=instances,
                nodes=nodes,
                status=case.status,
                not_judged=read_not_judged(folder, case),
            )
            truth = {"benign": 0.0, "metastatic": 1.0}.get(case.truth, float("nan"))
            return cls.from_annotation(
                case.id, annotation, config, has_mask=case.has_reference, frame_target=truth
            )

        with ThreadPoolExecutor() as pool:
            return cls.join(pool.map(one, cases))

    def save(self, path: Path) -> None:
        """Write the frames to one ``.npz`` file, whole or not at all."""
        buffer = io.BytesIO()
        planes: dict[str, Any] = {} if self.planes is None else {"planes": self.planes}
        np.savez(
            buffer,
            ids=np.array(self.ids),
            images=self.images,
            instances=self.instances,
            has_mask=self.has_mask,
            node_targets=self.node_targets,
            frame_targets=self.frame_targets,
            **planes,
        )
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Samples:
        """Read what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        return cls(ids=tuple(str(id_) for id_ in arrays.pop("ids")), **arrays)


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Frames on the computing device; unknown truths have a weight of 0.

    ``nodes`` lists the nodes that have a target: row ``(frame, id)`` each, int64 (M, 2); one that was cut
    off weighs 0. ``judged`` is 1 where the mask is known; None where it is everywhere. ``drawn`` are the
    samples' instances, which the processor reads without waiting for a GPU; None where they have moved.
    """

    image: Tensor  # (B, 1 + planes, S, S) float32
    instances: Tensor  # (B, 1, S, S) uint8
    mask_weight: Tensor  # (B,)
    frame_target: Tensor  # (B,)
    frame_weight: Tensor  # (B,)
    nodes: Tensor  # (M, 2)
    node_target: Tensor  # (M,)
    node_weight: Tensor  # (M,)
    drawn: Tensor | None = None  # (B, S, S) uint8, on the CPU
    judged: Tensor | None = None  # (B, 1, S, S) float32

    @classmethod
    def of(
        cls,
        samples: Samples,
        device: torch.device | str = "cpu",
        pixels: tuple[Tensor, Tensor] | None = None,
    ) -> Batch:
        """All frames as one batch; ``pixels`` are their images and instances, if the device has them."""
        nodes = np.argwhere(~np.isnan(samples.node_targets) & (samples.has_mask[:, None] > 0))
        frame_known = ~np.isnan(samples.frame_targets)
        images, instances = pixels or _pixels_of(samples, device)
        unjudged = instances[:, None] == NOT_JUDGED
        return cls(
            image=images.float() / 255,
            instances=instances[:, None].masked_fill(unjudged, 0),
            mask_weight=send_values(samples.has_mask, device).float(),
            frame_target=send_values(np.nan_to_num(samples.frame_targets), device),
            frame_weight=send_values(frame_known, device).float(),
            nodes=send_values(nodes + np.array([0, 1]), device),
            node_target=send_values(samples.node_targets[tuple(nodes.T)], device),
            node_weight=torch.ones(len(nodes), device=device),
            drawn=torch.from_numpy(samples.instances),
            judged=(~unjudged).float() if (samples.instances == NOT_JUDGED).any() else None,
        )

    def halved(self) -> Batch:
        """The same frames at half the side."""
        return replace(
            self,
            image=F.avg_pool2d(self.image, 2),
            instances=self.instances[..., ::2, ::2].contiguous(),
            drawn=None if self.drawn is None else self.drawn[..., ::2, ::2],
            judged=None if self.judged is None else self.judged[..., ::2, ::2].contiguous(),
        )


class Store:
    """Frames of which batches are made: their pixels lie on a GPU whose memory holds them.

    Parameters
    ----------
    samples : Samples
    device : torch.device
        Of the batches.
    """

    def __init__(self, samples: Samples, device: torch.device) -> None:
        self.samples, self.device = samples, device
        self._pixels: tuple[Tensor, Tensor] | None = None
        if _has_room(samples, device):
            self._pixels = _pixels_of(samples, device)

    def batch(self, indices: NDArray[np.intp]) -> Batch:
        """Some of the frames as one batch, in the given order."""
        part = self.samples.take(indices)
        if self._pixels is None:
            return Batch.of(part, self.device)
        rows = send_values(indices, self.device)
        images, instances = self._pixels
        return Batch.of(part, self.device, (images[rows], instances[rows]))


def _pixels_of(samples: Samples, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Images with their planes and instances, uint8, on a device."""
    return send_values(samples.stacked, device), send_values(samples.instances, device)


def _has_room(samples: Samples, device: torch.device) -> bool:
    """Tell whether a device is a GPU that has room for frames beside a training."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    n_bytes = sum(
        part.nbytes for part in (samples.images, samples.instances, samples.planes) if part is not None
    )
    return n_bytes <= SHARE_OF_MEMORY * free


def _halved(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (..., S, S) at half the side."""
    *others, side, _ = images.shape
    cells = images.reshape(*others, side // 2, 2, side // 2, 2)
    small: NDArray[np.uint8] = np.rint(cells.mean((-3, -1), dtype=np.float32)).astype(np.uint8)
    return small


def order(n: int, seed: int, epoch: int) -> NDArray[np.intp]:
    """Order in which an epoch visits ``n`` frames."""
    return np.random.default_rng((seed, epoch)).permutation(n)
