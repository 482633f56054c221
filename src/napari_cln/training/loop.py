"""The training loop: one network, from the first step to the last, resumable at any step.

Accelerate moves it unchanged from a laptop's CPU to one GPU, and to many under ``torchrun``; it is a
thin layer over the plain PyTorch loop that stands here. Order, augmentation and checkpoints are ours:
they depend on the step alone, so that a resumed run equals an uninterrupted one to the last bit.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from ..compat.tensors import processor_has_bfloat16
from ..errors import RunError
from ..network.model import Member
from ..network.u_shaped import network_of
from .augmentation import augment
from .checkpoint import Average, Progress, find_state, plan_of, put_back, save_checkpoint, save_weights
from .data import Batch, Samples, order
from .loss import Objective
from .recipes import Recipe
from .run_folder import Collapsed, Epoch, Event, Note, Step, Stopped
from .scoring import FrameScore, goodness, score_frames, summarise

__all__ = ["fit"]

LOG_EVERY = 10
"""Steps between two lines of the progress log."""
CHECKPOINT_EVERY = 100
"""Steps between two checkpoints, beside the one at each epoch's end."""


def fit(
    train: Samples,
    validation: Samples,
    recipe: Recipe,
    folder: Path,
    *,
    epochs: int,
    seed: int = 0,
    start_from: Member | None = None,
    resume: bool = False,
    patience: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    fold: int = 0,
) -> Iterator[Event]:
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
    start_from : Member, optional
        Go on from a copy of it; a new one otherwise.
    resume : bool
        Go on from ``checkpoint.pt``; the result equals that of an uninterrupted run. Where that is
        damaged, from the checkpoint before, else from the start, which a note says.
    patience : int, optional
        Stop after so many epochs without a better validation.
    stop : callable, optional
        Asked before every step and every validation; True ends the training there, to be resumed.
    fold : int
        Stands in each event.

    Yields
    ------
    Event
        :class:`Step` with the mean terms of the loss, every ten steps; :class:`Epoch` with those of the
        epoch, the validation's figures and its worst frames; :class:`Collapsed` when the network is of no
        use any more; :class:`Note` where a checkpoint was damaged; :class:`Stopped` last, when it was told
        to stop.

    Raises
    ------
    RunError
        If the loss is no number, memory runs out, or the checkpoint belongs to another run.
    """
    accelerator = Accelerator(mixed_precision=_precision())
    rank, processes, device = accelerator.process_index, accelerator.num_processes, accelerator.device
    torch.manual_seed(seed)
    network = (
        network_of(recipe.network) if start_from is None else copy.deepcopy(start_from).to("cpu").float()
    )
    network.requires_grad_(True)
    if processes > 1 and device.type == "cuda":  # PyTorch has it for GPUs alone
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    objective = Objective.of(network, recipe)
    objective = objective.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _optimizer(recipe, objective)
    average = Average(network, recipe.average)
    progress = Progress()
    batch_size = min(recipe.batch_size, len(train))
    steps_per_epoch = len(train) // batch_size
    total = epochs * steps_per_epoch
    plan = plan_of(recipe, train, epochs, seed)
    halved = round(recipe.half * epochs)
    if resume:
        state, notes = find_state(folder, plan)
        for sentence in notes:
            yield Note(message=sentence)
        if state is not None:
            progress = put_back(state, objective, optimizer, average)
    wrapped, stepper = accelerator.prepare(objective, optimizer)

    started = time.monotonic() - progress.seconds

    def save() -> None:
        if accelerator.is_main_process:
            save_checkpoint(folder, plan, objective, optimizer, average, progress)

    while progress.step < total or progress.epoch_sums:
        if _any_process(stop(), accelerator):
            save()
            yield Stopped(fold=fold, step=progress.step, of=total)
            return
        epoch, position = divmod(progress.step, steps_per_epoch)
        if position == 0 and progress.epoch_sums:
            part = validation.take(range(rank, len(validation), processes))
            if epoch <= halved:
                part = part.halved()
            elif epoch == halved + 1 and halved:
                progress.best = -math.inf  # figures at half the side are of another kind
            with accelerator.autocast():
                mine_scored = score_frames(average.network(network), part, device=device)
            scores = gather_object(mine_scored) if processes > 1 else mine_scored
            judged = _judge(scores, progress, fold, epoch, _means(progress.epoch_sums, steps_per_epoch))
            if progress.waited == 0 and accelerator.is_main_process:
                save_weights(folder, average)
            yield from judged
            if patience is not None and progress.waited >= patience:
                break
            continue
        chosen = order(len(train), seed, epoch)[position * batch_size : (position + 1) * batch_size]
        mine = chosen[rank::processes]
        batch = Batch.of(train.take(mine), device)
        keys = [(seed, epoch, int(index)) for index in mine]
        batch = augment(batch, keys, recipe.augmentation, crop=epoch < round(recipe.crops * epochs))
        if epoch < halved:
            batch = batch.halved()
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
            for sums in (progress.sums, progress.epoch_sums):
                sums[name] = sums.get(name, 0.0) + float(value.detach())
        if progress.step % LOG_EVERY == 0:
            losses = _means(progress.sums, LOG_EVERY)
            seconds = round(progress.seconds, 1)
            yield Step(fold=fold, step=progress.step, of=total, seconds=seconds, loss=losses)
        if progress.step % CHECKPOINT_EVERY == 0 or progress.step % steps_per_epoch == 0:
            save()


def _any_process(stop: bool, accelerator: Accelerator) -> bool:
    """Whether a process was told to stop: all end after the same step, so that none waits for another."""
    if accelerator.num_processes == 1:
        return stop
    return bool(accelerator.reduce(torch.tensor(float(stop), device=accelerator.device), "sum"))


def _judge(
    scores: Sequence[FrameScore], progress: Progress, fold: int, epochs: int, losses: dict[str, float]
) -> list[Event]:
    """Events that say how an epoch went; ``progress.waited`` is 0 where it is the best so far."""
    figures = summarise(scores)
    reached = goodness(scores)
    worst = sorted((score for score in scores if score.has_node), key=lambda score: score.dice)[:8]
    progress.waited += 1
    if reached is None or reached > progress.best:
        progress.best, progress.waited = reached or 0.0, 0
    epoch = Epoch(
        fold=fold,
        epoch=epochs,
        step=progress.step,
        seconds=round(progress.seconds, 1),
        loss=losses,
        n=figures.n,
        failed=figures.failed,
        **{name: None if value is None else round(value, 4) for name, value in figures.measures.items()},
        best=progress.waited == 0,
        worst=tuple(score.id for score in worst),
    )
    if figures.failed:
        message = (
            f"The network gives no finite number for {figures.failed} of {figures.n} validation frames. "
            "Start a new run with a lower learning rate."
        )
    elif worst and not any(score.claimed for score in scores):
        message = (
            "The mask head draws nothing on any validation frame. Start again with another seed, "
            "or with the recipe 'best', whose Dice loss and wider decoder prevent it."
        )
    else:
        return [epoch]
    return [epoch, Collapsed(fold=fold, epoch=epochs, message=message)]


def _means(sums: dict[str, float], count: int) -> dict[str, float]:
    """Mean terms of the loss; the sums start anew."""
    means = {name: round(value / count, 5) for name, value in sums.items()}
    sums.clear()
    return means


def _precision() -> str:
    """Mixed precision where the device computes it: bfloat16 on recent GPUs and CPUs."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if torch.backends.mps.is_available():
        return "no"
    return "bf16" if processor_has_bfloat16() else "no"


def _optimizer(recipe: Recipe, objective: Objective) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            objective.parameters(), recipe.learning_rate, momentum=0.9, weight_decay=recipe.weight_decay
        )
    return torch.optim.AdamW(objective.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)


def _rate(recipe: Recipe, step: int, total: int) -> float:
    """Learning rate of a step."""
    if recipe.schedule == "constant":
        return recipe.learning_rate
    warm_up = max(total // 20, 1)
    if step < warm_up:
        return recipe.learning_rate * (step + 1) / warm_up
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (total - warm_up)))


def _not_a_number(step: int, ids: Sequence[str]) -> str:
    return (
        f"The loss of step {step + 1} is not a number, on the frames {', '.join(ids)}. "
        "Look at these frames, or start a new run with a lower learning rate; the last checkpoint is whole."
    )
