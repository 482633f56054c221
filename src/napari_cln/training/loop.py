"""The training loop: one network, from the first step to the last, resumable at any step.

Accelerate moves it unchanged from a laptop's CPU to one GPU, and to many under ``torchrun``; it is a
thin layer over the plain PyTorch loop that stands here. Order, augmentation and checkpoints are ours:
they depend on the step alone, so that a resumed run equals an uninterrupted one to the last bit.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from ..errors import RunError
from ..folder.storage import write_atomically
from ..network.model import YNet
from .augmentation import augment
from .data import Batch, Samples, order
from .loss import Objective
from .recipes import Recipe
from .scoring import FrameScore, goodness, score_frames, summarise

__all__ = ["Average", "Progress", "fit"]

LOG_EVERY = 10
"""Steps between two lines of the progress log."""
CHECKPOINT_EVERY = 100
"""Steps between two checkpoints, beside the one after each epoch."""


class Average:
    """Running (exponential) average of a network's weights and batch statistics."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {key: value.detach().clone().float() for key, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after a step; the first steps count more, to forget the start."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for key, value in network.state_dict().items():
            self.state[key].lerp_(value.float(), 1 - decay)

    def network(self, like: YNet) -> YNet:
        """A network for evaluation with the averaged weights, on the device of ``like``."""
        averaged = YNet(like.config)
        averaged.load_state_dict(self.state)
        return averaged.to(next(like.parameters()).device).eval()


@dataclass(kw_only=True)
class Progress:
    """How far a run is; stored in its checkpoint."""

    step: int = 0
    best: float = -math.inf
    waited: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)


def fit(
    train: Samples,
    validation: Samples,
    recipe: Recipe,
    folder: Path,
    *,
    epochs: int,
    seed: int = 0,
    start_from: YNet | None = None,
    resume: bool = False,
    patience: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Train one network, one event at a time.

    Parameters
    ----------
    train, validation : Samples
    recipe : Recipe
    folder : Path
        Gets ``checkpoint.pt``, to resume from, and ``best.pt``: the averaged weights of the epoch
        that validated best.
    epochs : int
    seed : int
        Of the first weights, the order of the frames and their augmentation.
    start_from : YNet, optional
        Fine-tune its weights; new ones otherwise.
    resume : bool
        Go on from ``checkpoint.pt``; the result equals that of an uninterrupted run.
    patience : int, optional
        Stop after so many epochs without a better validation.

    Yields
    ------
    dict
        ``{"event": "step", …}`` with the terms of the loss, every ten steps;
        ``{"event": "epoch", …}`` with the validation's figures and its worst frames;
        ``{"event": "collapsed", …}`` when the mask head draws nothing any more.

    Raises
    ------
    RunError
        If the loss is no number, memory runs out, or the checkpoint belongs to another run.
    """
    accelerator = Accelerator(mixed_precision=_precision())
    rank, processes, device = accelerator.process_index, accelerator.num_processes, accelerator.device
    torch.manual_seed(seed)
    network = YNet(recipe.network)
    if start_from is not None:
        network.load_state_dict(start_from.state_dict())
    if processes > 1 and device.type == "cuda":  # PyTorch has it for GPUs alone
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    objective = Objective(
        network, dice=recipe.dice, class_weight=recipe.class_weight, node_weight=recipe.node_weight
    )
    objective = objective.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _optimizer(recipe, network)
    average = Average(network, recipe.average)
    progress = Progress()
    batch_size = min(recipe.batch_size, len(train))
    steps_per_epoch = len(train) // batch_size
    total = epochs * steps_per_epoch
    plan = _plan(recipe, train, epochs, seed)
    if resume:
        progress = _load(folder / "checkpoint.pt", plan, network, optimizer, average)
    wrapped, stepper = accelerator.prepare(objective, optimizer)

    started = time.monotonic() - progress.seconds
    while progress.step < total:
        epoch, position = divmod(progress.step, steps_per_epoch)
        chosen = order(len(train), seed, epoch)[position * batch_size : (position + 1) * batch_size]
        mine = chosen[rank::processes]
        batch = Batch.of(train.take(mine), device)
        keys = [(seed, epoch, int(index)) for index in mine]
        batch = augment(batch, keys, recipe.augmentation, crop=epoch < round(recipe.crops * epochs))
        for group in optimizer.param_groups:
            group["lr"] = _rate(recipe, progress.step, total)
        wrapped.train()
        try:
            terms = wrapped(batch)
            if not torch.isfinite(terms["total"]):
                raise RunError(_not_a_number(progress.step, [train.ids[index] for index in mine]))
            accelerator.backward(terms["total"])
            stepper.step()
        except torch.OutOfMemoryError as cause:
            raise RunError(
                f"Memory ran out with {batch_size} frames a step. "
                f"Choose a batch size of {max(batch_size // 2, 1)}, or train on the CPU."
            ) from cause
        stepper.zero_grad()
        average.update(network, progress.step)
        progress.step += 1
        progress.seconds = time.monotonic() - started
        for name, value in terms.items():
            progress.sums[name] = progress.sums.get(name, 0.0) + float(value.detach())
        if progress.step % LOG_EVERY == 0:
            losses = {name: round(value / LOG_EVERY, 5) for name, value in progress.sums.items()}
            progress.sums.clear()
            yield {"event": "step", "step": progress.step, "of": total, **_timed(progress), "loss": losses}
        at_end = progress.step % steps_per_epoch == 0
        if at_end:
            part = validation.take(range(rank, len(validation), processes))
            with accelerator.autocast():
                mine_scored = score_frames(average.network(network), part, device=device)
            scores = gather_object(mine_scored) if processes > 1 else mine_scored
            yield from _judge(scores, progress, epoch, average, folder, accelerator.is_main_process)
        if accelerator.is_main_process and (at_end or progress.step % CHECKPOINT_EVERY == 0):
            _save(folder / "checkpoint.pt", plan, network, optimizer, average, progress)
        if patience is not None and progress.waited >= patience:
            break


def _judge(
    scores: Sequence[FrameScore], progress: Progress, epoch: int, average: Average, folder: Path, main: bool
) -> Iterator[dict[str, Any]]:
    """Report an epoch and keep its weights if they are the best so far."""
    figures = summarise(scores)
    reached = goodness(scores)
    worst = sorted((score for score in scores if score.has_node), key=lambda score: score.dice)[:8]
    progress.waited += 1
    if reached is None or reached > progress.best:
        progress.best, progress.waited = reached or 0.0, 0
        if main:
            write_atomically(folder / "best.pt", _packed(average.state))
    yield {
        "event": "epoch",
        "epoch": epoch + 1,
        "step": progress.step,
        **_timed(progress),
        **{name: round(value, 4) if value is not None else None for name, value in figures.items()},
        "best": progress.waited == 0,
        "worst": [score.id for score in worst],
    }
    if worst and not any(score.claimed for score in scores):
        yield {
            "event": "collapsed",
            "epoch": epoch + 1,
            "message": "The mask head draws nothing on any validation frame. Start again with another seed, "
            "or with the recipe 'best', whose Dice loss and wider decoder prevent it.",
        }


def _precision() -> str:
    """Mixed precision where the device computes it: bfloat16 on recent GPUs and CPUs."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if torch.backends.mps.is_available():
        return "no"
    return "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "no"


def _optimizer(recipe: Recipe, network: YNet) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(), recipe.learning_rate, momentum=0.9, weight_decay=recipe.weight_decay
        )
    return torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)


def _rate(recipe: Recipe, step: int, total: int) -> float:
    """Learning rate of a step."""
    if recipe.schedule == "constant":
        return recipe.learning_rate
    warm_up = max(total // 20, 1)
    if step < warm_up:
        return recipe.learning_rate * (step + 1) / warm_up
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (total - warm_up)))


def _plan(recipe: Recipe, train: Samples, epochs: int, seed: int) -> dict[str, Any]:
    """What a resumed run must share with the run before."""
    digest = sha256(train.images.tobytes() + train.instances.tobytes() + train.node_targets.tobytes())
    return {"recipe": asdict(recipe), "epochs": epochs, "seed": seed, "frames": digest.hexdigest()}


def _packed(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _save(
    path: Path,
    plan: dict[str, Any],
    network: YNet,
    optimizer: torch.optim.Optimizer,
    average: Average,
    progress: Progress,
) -> None:
    state = {
        "plan": plan,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.state,
        "progress": asdict(progress),
    }
    write_atomically(path, _packed(state))


def _load(
    path: Path, plan: dict[str, Any], network: YNet, optimizer: torch.optim.Optimizer, average: Average
) -> Progress:
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError as cause:
        raise RunError("There is no checkpoint to resume from. Start the run without resume.") from cause
    changed = [key for key, value in plan.items() if state["plan"][key] != value]
    if changed:
        raise RunError(
            f"This run can't be resumed: its {', '.join(changed)} changed since the checkpoint. "
            "Change it back, or start a new run."
        )
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    average.state = state["average"]
    return Progress(**state["progress"])


def _not_a_number(step: int, ids: Sequence[str]) -> str:
    return (
        f"The loss of step {step + 1} is not a number, on the frames {', '.join(ids)}. "
        "Look at these frames, or start a new run with a lower learning rate; the last checkpoint is whole."
    )


def _timed(progress: Progress) -> dict[str, float]:
    return {"seconds": round(progress.seconds, 1)}
