"""What the trainer costs beside bare training, and whether it ever holds up the window.

    xvfb-run -a python benchmarks/training.py [--steps 10] [--repeats 11] [--frames 16] [--seconds 60]

The trainer's loop and the bare loop (forward, backward, step) take turns on the same batches, since
machines differ and other work slows both. Validation, which a bare loop has none of, is not timed.
The window is a real one: a timer that should tick every few milliseconds tells how long it was kept
waiting while a real run goes on beside it and is drawn, and before, while none does.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_cln.annotation import Annotation
from napari_cln.folder.simulated import simulate_folder
from napari_cln.models.card import ModelCard
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.u_shaped import network_of
from napari_cln.network.weights import save_model
from napari_cln.phantom import simulate
from napari_cln.training import loop
from napari_cln.training.augmentation import augment
from napari_cln.training.data import Batch, Samples, order
from napari_cln.training.loss import Objective
from napari_cln.training.recipes import Recipe

TICK_MS = 5


def frames(n: int, recipe: Recipe) -> Samples:
    """Simulated frames, prepared."""
    parts = []
    for seed in range(n):
        phantom = simulate(seed)
        marked = Annotation(frame=phantom.frame, instances=phantom.instances, nodes=phantom.nodes)
        parts.append(Samples.from_annotation(f"simulated-{seed}", marked, recipe.prepare))
    return Samples.join(parts)


def measure_throughput(place: Path, n_frames: int, steps: int, repeats: int) -> None:
    """Seconds of the trainer's loop and of the bare one, some steps of each in turn."""
    recipe = Recipe.best()
    total = steps * repeats
    few = frames(n_frames, recipe)
    samples = few.take([index % n_frames for index in range(total * recipe.batch_size)])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    objective = Objective(network_of(recipe.network), recipe.loss).to(
        device, memory_format=torch.channels_last
    )
    objective.train()
    optimizer = torch.optim.AdamW(objective.parameters(), recipe.learning_rate)
    visits = order(len(samples), 0, 0).reshape(total, recipe.batch_size)

    def bare(first: int) -> float:
        batches = []
        for chosen in visits[first : first + steps]:
            keys = [(0, 0, int(index)) for index in chosen]
            batches.append(augment(Batch.of(samples.take(chosen), device), keys, recipe.augmentation))
        begun = time.perf_counter()
        for batch in batches:
            with torch.autocast(device.type, torch.bfloat16, enabled=loop.mixed_precision() == "bf16"):
                loss = objective(batch)["total"]
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        loss.item()  # waits for a GPU
        return time.perf_counter() - begun

    loop.LOG_EVERY = steps
    ours, theirs = [], []
    events = loop.fit(samples, few, recipe, place, epochs=1)
    for repeat in range(repeats):
        begun = time.perf_counter()
        next(events)
        ours.append(time.perf_counter() - begun)
        theirs.append(bare(repeat * steps))
    events.close()
    ratios = sorted(b / a for a, b in zip(ours[1:], theirs[1:], strict=True))  # the first warms up
    checkpoints = (total - steps) // loop.CHECKPOINT_EVERY
    print(f"{steps} steps of {recipe.batch_size} frames, {repeats - 1} times in turn, on {device.type}")
    print(
        f"  trainer {statistics.median(ours[1:]) / steps:.3f} s a step, checkpoints included: {checkpoints}"
    )
    print(f"  bare    {statistics.median(theirs[1:]) / steps:.3f} s a step")
    print(
        f"  ratio of throughputs {statistics.median(ratios):.3f} ({ratios[0]:.3f}–{ratios[-1]:.3f}); "
        f"all steps together {sum(theirs[1:]) / sum(ours[1:]):.3f} (target: >= 0.9)"
    )


class Lateness:
    """How late a timer comes, and how much the window's own thread had worked meanwhile."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.work: list[float] = []
        self._timer = QTimer()
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)
        self._before = time.perf_counter(), time.thread_time()
        self._timer.start()

    def _tick(self) -> None:
        now = time.perf_counter(), time.thread_time()
        self.waits.append(1e3 * (now[0] - self._before[0]) - TICK_MS)
        self.work.append(1e3 * (now[1] - self._before[1]))
        self._before = now

    def stop(self, name: str) -> None:
        """Say what was found."""
        self._timer.stop()
        waits, work = sorted(self.waits, reverse=True), sorted(self.work, reverse=True)
        over = sum(wait > 100 for wait in waits)
        print(f"  {name}: n = {len(waits)} ticks")
        print(f"    waited longest {', '.join(f'{wait:.0f}' for wait in waits[:3])} ms; over 100 ms: {over}")
        print(f"    own work in a wait, longest {', '.join(f'{spent:.0f}' for spent in work[:3])} ms")


def measure_window(place: Path, seconds: float) -> None:
    """Lateness of the window's timer without and with a run."""
    for _ in simulate_folder(place / "study", 12, 5):
        pass
    (place / "models").mkdir()
    network = YNet(YNetConfig(width=0.125, decoder_width=8))
    save_model(network, place / "models" / "small.safetensors", ModelCard(name="small"))
    os.environ |= {"NAPARI_CLN_MODELS": str(place / "models"), "NAPARI_CLN_CONFIG": str(place / "config")}
    from napari.components import ViewerModel

    from napari_cln.widgets.train.dock import TrainDock

    app = QApplication.instance() or QApplication([])
    dock = TrainDock(ViewerModel())
    dock.resize(320, 900)
    dock.show()

    def pass_time(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            app.processEvents()
            time.sleep(0.001)

    pass_time(1)
    print(f"the window while a run goes on, {seconds:.0f} s (target: never late by over 100 ms)")
    without = Lateness()
    pass_time(seconds / 4)
    without.stop("without a run")
    dock.view.folder.choose(place / "study")
    dock.view.run.choose(place / "run")
    dock.view.settings.start_from.choose("small")
    dock.view.settings.compare_with.choose("small")
    dock.view.settings.fields.epochs.value = 1000
    dock.view.settings.fields.folds.value = 2
    during = Lateness()
    dock.view.start.click()
    while not dock.view.curves.isVisible():
        pass_time(0.1)
    pass_time(seconds)
    during.stop(f"with a run ({len(dock.session.follower.progress.folds[0].dice)} epochs drawn)")
    dock.session.process.kill()
    dock.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=loop.LOG_EVERY)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        measure_throughput(place, options.frames, options.steps, options.repeats)
        measure_window(place, options.seconds)
