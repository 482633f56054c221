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
from torch import Tensor, nn

from ..compat.tensors import processor_has_bfloat16
from ..errors import RunError
from ..network.model import Member
from ..network.u_shaped import network_of
from .augmentation import augment, hide_cells
from .checkpoint import Average, Progress, find_state, plan_of, put_back, save_checkpoint, save_weights
from .data import Batch, Samples, Store, order
from .loss import Objective, Restoration, restoration_error
from .recipes import Recipe
from .run_folder import Collapsed, Epoch, Event, Note, Step, Stopped
from .scoring import FrameScore, goodness, score_frames, summarise
from .unlabelled import Teacher

__all__ = ["fit"]

LOG_EVERY = 10
"""Steps between two lines of the progress log."""
CHECKPOINT_EVERY = 100
"""Steps between two checkpoints, beside the one at each epoch's end."""
EACH_STEP = ("cpu",)
"""Devices that are asked for the loss in each step; the others would wait for it."""


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
    unlabelled: Samples | None = None,
) -> Iterator[Event]:
    """Train one network, one event at a time.

    Parameters
    ----------
    train, validation : Samples
    recipe : Recipe
    folder : Path
        Gets ``checkpoint.pt``, to resume from, and ``best.pt``: averaged weights of the best epoch.
    epochs : int
    seed : int
        Of the first weights, the order of the frames and their augmentation.
    start_from : Member, optional
        Go on from a copy of it; a new one otherwise.
    resume : bool
        Go on from ``checkpoint.pt``, to the same result; where that is damaged, from the one before, else
        from the start, which a note says.
    patience : int, optional
        Stop after so many epochs without a better validation.
    stop : callable, optional
        Asked before every step and every validation; True ends the training there, to be resumed.
    fold : int
        Stands in each event.
    unlabelled : Samples, optional
        Frames that nobody labelled: as many of them a step teach the mask (:mod:`.unlabelled`).

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
    training = _Training(train, validation, recipe, folder, (epochs, seed), start_from, unlabelled)
    if resume:
        for sentence in training.resume():
            yield Note(message=sentence)
    training.begin()
    progress = training.progress
    while progress.step < training.total or progress.epoch_sums:
        if _any_process(stop(), training.accelerator):
            training.save()
            yield Stopped(fold=fold, step=progress.step, of=training.total)
            return
        epoch, position = divmod(progress.step, training.steps_per_epoch)
        if position == 0 and progress.epoch_sums:
            yield from training.validate(epoch, fold)
            if patience is not None and progress.waited >= patience:
                return
            continue
        training.step(epoch, position)
        ends = progress.step % training.steps_per_epoch == 0
        is_logged, is_saved = progress.step % LOG_EVERY == 0, progress.step % CHECKPOINT_EVERY == 0 or ends
        if is_logged or is_saved or training.device.type in EACH_STEP:
            training.fetch()
        if is_logged:
            seconds, loss = round(progress.seconds, 1), _means(progress.sums, LOG_EVERY)
            yield Step(fold=fold, step=progress.step, of=training.total, seconds=seconds, loss=loss)
        if is_saved:
            training.save()


class _Training:
    """One network, its optimiser and how far they are.

    The terms of the loss stay on the device until :meth:`fetch`: to ask for a number in each step would make
    a GPU wait for the processor each time.
    """

    def __init__(
        self,
        train: Samples,
        validation: Samples,
        recipe: Recipe,
        folder: Path,
        length: tuple[int, int],
        start_from: Member | None,
        unlabelled: Samples | None,
    ) -> None:
        self.train, self.validation, self.recipe, self.folder = train, validation, recipe, folder
        epochs, seed = length
        self.accelerator = Accelerator(mixed_precision=mixed_precision())
        torch.manual_seed(seed)
        network = (
            network_of(recipe.network) if start_from is None else copy.deepcopy(start_from).to("cpu").float()
        )
        network.requires_grad_(True)
        if self.processes > 1 and self.device.type == "cuda":  # PyTorch has it for GPUs alone
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        objective: Objective | Restoration
        objective = Restoration(network) if recipe.task == "restore" else Objective(network, recipe.loss)
        self.objective = objective.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = _optimizer(recipe, self.objective)
        self.average = Average(network, recipe.average)
        self.progress = Progress()
        self._store = Store(train, self.device)
        self._plan = plan_of(recipe, train, epochs, seed, unlabelled, start_from)
        self._teacher: Teacher | None = None
        if unlabelled is not None and len(unlabelled):
            self._teacher = Teacher(unlabelled, self.average, network, recipe, seed)
        self._terms: list[tuple[int, dict[str, Tensor], list[str]]] = []

    @property
    def device(self) -> torch.device:
        """The device that computes."""
        return torch.device(self.accelerator.device)

    @property
    def epochs(self) -> int:
        """Passes over the labelled frames."""
        return int(self._plan["epochs"])

    @property
    def seed(self) -> int:
        """Of the order of the frames and their augmentation."""
        return int(self._plan["seed"])

    @property
    def processes(self) -> int:
        """Number of processes that share each step."""
        return int(self.accelerator.num_processes)

    @property
    def batch_size(self) -> int:
        """Frames a step, over all processes."""
        return min(self.recipe.batch_size, len(self.train))

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch."""
        return len(self.train) // self.batch_size

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        return self.epochs * self.steps_per_epoch

    @property
    def halved(self) -> int:
        """Epochs at half the side."""
        return round(self.recipe.half * self.epochs)

    def resume(self) -> list[str]:
        """Go on from the checkpoint; what is damaged is told."""
        state, notes = find_state(self.folder, self._plan)
        if state is not None:
            self.progress = put_back(state, self.objective, self.optimizer, self.average)
        return notes

    def begin(self) -> None:
        """Hand network and optimiser to their device, and start the clock."""
        self._at_work = self.accelerator.prepare(self.objective, self.optimizer)
        self._started = time.monotonic() - self.progress.seconds

    def step(self, epoch: int, position: int) -> None:
        """Take one step on the frames at a position of an epoch's order."""
        first = position * self.batch_size
        mine = order(len(self.train), self.seed, epoch)[first : first + self.batch_size]
        mine = mine[self.accelerator.process_index :: self.processes]
        batch = self._store.batch(mine)
        keys = [(self.seed, epoch, int(index)) for index in mine]
        crop = epoch < round(self.recipe.crops * self.epochs)
        batch = augment(batch, keys, self.recipe.augmentation, crop=crop, drop=self.recipe.channel_dropout)
        half = epoch < self.halved
        if half:
            batch = batch.halved()
        beside: tuple[Batch, ...] = ()
        if self.recipe.task == "restore":
            batch, beside = hide_cells(batch, keys), (batch,)
        elif self._teacher is not None:
            beside = (self._guessed(self._teacher, crop=crop, half=half),)
        for group in self.optimizer.param_groups:
            group["lr"] = _rate(self.recipe, self.progress.step, self.total)
        wrapped, stepper = self._at_work
        wrapped.train()
        try:
            terms = wrapped(batch, *beside)
            kept = {name: value.detach() for name, value in terms.items()}
            self._terms.append((self.progress.step, kept, [self.train.ids[index] for index in mine]))
            if self.device.type in EACH_STEP:
                self._check()
            self.accelerator.backward(terms["total"])
            stepper.step()
        except torch.OutOfMemoryError as cause:
            raise RunError(
                f"Memory ran out with {self.batch_size} frames a step. "
                f"Choose a batch size of {max(self.batch_size // 2, 1)}, or train on the CPU."
            ) from cause
        stepper.zero_grad()
        self.average.update(self.objective.network, self.progress.step)
        self.progress.step += 1
        self.progress.seconds = time.monotonic() - self._started

    def _guessed(self, teacher: Teacher, *, crop: bool, half: bool) -> Batch:
        """Unlabelled frames of this step, under the masks that the average draws on them."""
        mine = self.accelerator.process_index, self.processes
        frames, keys = teacher.batch(self.progress.step, self.batch_size, mine, self.device)
        with self.accelerator.autocast():
            return teacher.guess(frames, keys, self.progress.step / self.total, crop=crop, half=half)

    def _check(self) -> None:
        """Raise of the first step whose loss is not a number, with its frames."""
        for step, terms, ids in self._terms:
            if not torch.isfinite(terms["total"]):
                raise RunError(_not_a_number(step, ids))

    def fetch(self) -> None:
        """Add the terms of the last steps to the sums."""
        totals = [terms["total"] for _, terms, _ in self._terms]
        if totals and not torch.isfinite(torch.stack(totals)).all():
            self._check()
        for _, terms, _ in self._terms:
            for name, value in terms.items():
                for sums in (self.progress.sums, self.progress.epoch_sums):
                    sums[name] = sums.get(name, 0.0) + float(value)
        self._terms.clear()

    def validate(self, epoch: int, fold: int) -> list[Event]:
        """Judge the averaged weights after an epoch, and keep them where they are the best so far."""
        part = self.validation.take(
            range(self.accelerator.process_index, len(self.validation), self.processes)
        )
        if epoch <= self.halved:
            part = part.halved()
        elif epoch == self.halved + 1 and self.halved:
            self.progress.best = -math.inf  # figures at half the side are of another kind
        losses = _means(self.progress.epoch_sums, self.steps_per_epoch)
        if self.recipe.task == "restore":
            losses["held_out"] = self._restored(self.validation)
            events: list[Event] = [
                _judge_restoration(losses, self.progress, fold, epoch, len(self.validation))
            ]
            self._keep_best()
            return events
        with self.accelerator.autocast():
            scores = score_frames(self.average.network(self.objective.network), part, device=self.device)
        scores = gather_object(scores) if self.processes > 1 else scores
        events = _judge(scores, self.progress, fold, epoch, losses)
        self._keep_best()
        return events

    def _keep_best(self) -> None:
        if self.progress.waited == 0 and self.accelerator.is_main_process:
            save_weights(self.folder, self.average)

    @torch.no_grad()
    def _restored(self, part: Samples) -> float:
        """Mean error of the averaged weights on hidden cells of frames that are not trained on."""
        network = self.average.network(self.objective.network)
        errors = []
        for first in range(0, len(part), 8):
            rows = range(first, min(first + 8, len(part)))
            whole = Batch.of(part.take(rows), self.device)
            hidden = hide_cells(whole, [(self.seed, row) for row in rows])
            drawn = network.decode(network.encode(hidden.image)).float()
            errors.append(float(restoration_error(drawn, whole.image, hidden.judged)) * len(rows))
        return sum(errors) / max(len(part), 1)

    def save(self) -> None:
        """Write the whole state, with the terms of all steps so far."""
        self.fetch()
        if self.accelerator.is_main_process:
            save_checkpoint(
                self.folder, self._plan, self.objective, self.optimizer, self.average, self.progress
            )


def _any_process(stop: bool, accelerator: Accelerator) -> bool:
    """Tell whether a process was told to stop: all end after the same step, and none waits for another."""
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
            "or with the recipe 'best', whose Dice loss prevents it."
        )
    else:
        return [epoch]
    return [epoch, Collapsed(fold=fold, epoch=epochs, message=message)]


def _judge_restoration(losses: dict[str, float], progress: Progress, fold: int, epoch: int, n: int) -> Epoch:
    """Event that says how an epoch of restoring went; ``progress.waited`` is 0 for the best."""
    progress.waited += 1
    if -losses["held_out"] > progress.best:
        progress.best, progress.waited = -losses["held_out"], 0
    return Epoch(
        fold=fold,
        epoch=epoch,
        step=progress.step,
        seconds=round(progress.seconds, 1),
        loss={name: round(value, 5) for name, value in losses.items()},
        n=n,
        best=progress.waited == 0,
    )


def _means(sums: dict[str, float], count: int) -> dict[str, float]:
    """Mean terms of the loss; the sums start anew."""
    means = {name: round(value / count, 5) for name, value in sums.items()}
    sums.clear()
    return means


def mixed_precision() -> str:
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
