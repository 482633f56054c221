"""The class arm, learnt anew when the rest of a network has been: what is a node, and what kind.

While trunk and decoder learn, the patches that the decoder proposes change from step to step, the arm trails
behind them, and the frames of the largest source speak loudest. With trunk and decoder as they will stay,
what the head reads of a patch is a row of numbers, computed once: so it learns from all patches of all
frames, each source weighing what it is given and both kinds alike, in seconds. It may then learn from frames
that trunk and decoder have not seen, which they do not know by heart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..network.u_shaped import UYNet
from .augmentation import augment
from .data import Batch, Samples, order
from .loop import mixed_precision
from .patches import patches_of

__all__ = ["PatchFeatures", "fit_arm", "read_patches"]

PASSES = 3
"""How often each frame is seen, each time as another machine would show it."""
BATCH = 8
STEPS, ROWS = 1500, 256
"""Steps of the fit, and patches in each."""
RATE, DECAY, DROP = 1e-3, 0.3, 0.5


class PatchFeatures(NamedTuple):
    """What the arm reads of patches, and what they are."""

    features: Tensor
    """(M, C), float32."""
    targets: Tensor
    """(M, 3): benign, malignant, nothing."""
    frames: Tensor
    """(M,), int64: index of the frame that each lies in."""

    @classmethod
    def join(cls, parts: Iterable[PatchFeatures]) -> PatchFeatures:
        """Put the patches of several parts one behind the other."""
        return cls(*(torch.cat(each) for each in zip(*parts, strict=True)))

    def of(self, chosen: Tensor) -> PatchFeatures:
        """Take the patches for which ``chosen``, bool of shape (M,), is true."""
        return PatchFeatures(*(each[chosen] for each in self))


@torch.no_grad()
def read_patches(
    network: UYNet, samples: Samples, *, augmented: bool = True, passes: int = PASSES, seed: int = 0
) -> PatchFeatures:
    """Read what the arm of a network sees of the patches that its decoder proposes, and of true nodes.

    Parameters
    ----------
    network : UYNet
        Guided, in evaluation mode.
    samples : Samples
    augmented : bool
        Whether each frame is changed as another machine would show it; frames that trunk and decoder have
        not seen may stay as they are.
    passes : int
        How often each frame is seen.
    seed : int
        Of the augmentation.
    """
    device = next(network.parameters()).device
    read = []
    for number in range(passes):
        visited: NDArray[np.intp] = order(len(samples), seed, number)
        for start in range(0, len(samples), BATCH):
            mine = visited[start : start + BATCH]
            batch = Batch.of(samples.take(mine), device)
            if augmented:
                batch = augment(batch, [(seed, number, int(i)) for i in mine], "ultrasound")
            with torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision() == "bf16"):
                features = network.encode(batch.image.contiguous(memory_format=torch.channels_last))
                drawn = network.masks(features)[-1]
            guides, frames, known, _ = patches_of(batch, drawn.float().softmax(1)[:, 1:]).filled()
            rows = network.pooled(features, guides, frames).float()
            read.append(PatchFeatures(rows.cpu(), known.cpu(), torch.from_numpy(mine)[frames.cpu()]))
    return PatchFeatures.join(read)


def fit_arm(
    network: UYNet,
    sources: Sequence[PatchFeatures],
    *,
    weights: Sequence[float] | None = None,
    seed: int = 0,
) -> None:
    """Give a network a new class arm, fitted to patches that its decoder proposes now.

    Parameters
    ----------
    network : UYNet
        Guided, in evaluation mode; all but its head stays as it is.
    sources : sequence of PatchFeatures
        As :func:`read_patches` gives them. Nodes and patches that are none weigh alike, in each source and
        in all together.
    weights : sequence of float, optional
        What each source weighs beside the others. Default: all alike.
    seed : int
        Of the first weights and the order.

    Raises
    ------
    ValueError
        Where there are not as many weights as sources.
    """
    each = zip(sources, [1.0] * len(sources) if weights is None else weights, strict=True)
    shares = torch.cat([weight * _evenly(source.targets) for source, weight in each])
    rows, targets, _ = PatchFeatures.join(sources)
    nothing = targets[:, 2] > 0.5
    for part in (nothing, ~nothing):  # and over all sources as many nodes as others
        shares[part] /= shares[part].sum().clamp_min(1e-6) * 2 / len(shares)
    mean, scale = rows.mean(0), rows.std(0) + 1e-3
    rows = (rows - mean) / scale
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, last = (nn.Linear(part.in_features, part.out_features) for part in _layers(network))
        _learn(nn.Sequential(first, nn.ReLU(), nn.Dropout(DROP), last), rows, targets, shares, seed)
    # the head reads means as they are: mean and scale go into its weights
    with torch.no_grad():
        first.bias.sub_(first.weight @ (mean / scale))
        first.weight.div_(scale)
        for old, new in zip(_layers(network), (first, last), strict=True):
            old.load_state_dict(new.state_dict())


def _layers(network: UYNet) -> Iterator[nn.Linear]:
    """The two layers of a head."""
    return (part for part in network.head if isinstance(part, nn.Linear))


def _evenly(targets: Tensor) -> Tensor:
    """Weights of a source's patches, with which nodes and others weigh 1 each."""
    nothing = targets[:, 2] > 0.5
    counts = torch.where(nothing, nothing.sum(), (~nothing).sum())
    return 1 / counts.float()


def _learn(head: nn.Module, rows: Tensor, targets: Tensor, weights: Tensor, seed: int) -> None:
    """Fit a head by weighted cross-entropy."""
    optimizer = torch.optim.AdamW(head.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    rng = np.random.default_rng(seed)
    for _ in range(STEPS):
        some = torch.from_numpy(rng.integers(0, len(rows), ROWS))
        each = -(targets[some] * head(rows[some]).log_softmax(1)).sum(1)
        (weights[some] * each).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
