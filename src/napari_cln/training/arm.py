"""The class arm, learnt anew when the rest of a network has been: what is a node, and what kind.

While trunk and decoder learn, the patches that the decoder proposes change from step to step, the arm trails
behind them, and the frames of the largest source speak loudest. With trunk and decoder as they will stay,
what the head reads of a patch is a row of numbers, computed once: so it learns from all patches of all
frames, each source and each kind weighing alike, in the time of an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..network.u_shaped import UYNet
from .augmentation import augment
from .data import Batch, Samples, order
from .loop import mixed_precision
from .patches import patches_of

__all__ = ["fit_arm"]

PASSES = 3
"""How often each frame is seen, each time as another machine would show it."""
BATCH = 8
STEPS, ROWS = 1500, 256
"""Steps of the fit, and patches in each."""
RATE, DECAY, DROP = 1e-3, 0.3, 0.5


def fit_arm(network: UYNet, sources: Sequence[Samples], *, passes: int = PASSES, seed: int = 0) -> None:
    """Give a network a new class arm, fitted to the patches that its decoder proposes now.

    Parameters
    ----------
    network : UYNet
        Guided, in evaluation mode; all but its head stays as it is.
    sources : sequence of Samples
        Training frames. Each source, and nodes and patches that are none within it, weigh alike.
    passes : int
        How often each frame is seen, augmented anew.
    seed : int
        Of the augmentation, the first weights and the order.
    """
    seen = [_read(network, samples, passes, seed) for samples in sources]
    weights = torch.cat([_evenly(targets) for _, targets in seen])
    rows, targets = (torch.cat(parts) for parts in zip(*seen, strict=True))
    nothing = targets[:, 2] > 0.5
    for part in (nothing, ~nothing):  # and over all sources as many nodes as others
        weights[part] /= weights[part].sum().clamp_min(1e-6) * 2 / len(weights)
    mean, scale = rows.mean(0), rows.std(0) + 1e-3
    rows = (rows - mean) / scale
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, last = (nn.Linear(part.in_features, part.out_features) for part in _layers(network))
        _learn(nn.Sequential(first, nn.ReLU(), nn.Dropout(DROP), last), rows, targets, weights, seed)
    # the head reads means as they are: mean and scale go into its weights
    with torch.no_grad():
        first.bias.sub_(first.weight @ (mean / scale))
        first.weight.div_(scale)
        for old, new in zip(_layers(network), (first, last), strict=True):
            old.load_state_dict(new.state_dict())


def _layers(network: UYNet) -> Iterator[nn.Linear]:
    """The two layers of a head."""
    return (part for part in network.head if isinstance(part, nn.Linear))


@torch.no_grad()
def _read(network: UYNet, samples: Samples, passes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features of each patch that the head reads, (M, C), and its class targets, (M, 3)."""
    device = next(network.parameters()).device
    rows, targets = [], []
    for number in range(passes):
        visited: NDArray[np.intp] = order(len(samples), seed, number)
        for start in range(0, len(samples), BATCH):
            mine = visited[start : start + BATCH]
            batch = augment(
                Batch.of(samples.take(mine), device), [(seed, number, int(i)) for i in mine], "ultrasound"
            )
            with torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision() == "bf16"):
                features = network.encode(batch.image.contiguous(memory_format=torch.channels_last))
                drawn = network.masks(features)[-1]
            guides, frames, known, _ = patches_of(batch, drawn.float().softmax(1)[:, 1:]).filled()
            if len(guides):
                rows.append(network.pooled(features, guides, frames).float().cpu())
                targets.append(known.cpu())
    return torch.cat(rows), torch.cat(targets)


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
