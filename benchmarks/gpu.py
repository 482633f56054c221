"""What a GPU makes of the network, in one go of under 8 minutes: ``python benchmarks/gpu.py``.

Each line is the ratio of two ways that took turns on the same frames, with the share of mask pixels that
change sides and the greatest change of a score, against float32 without TF32. The package's own way must
stay within 0.1 % and 0.005, or the script ends with 1. Then, from files to predictions, the rate beside that
of the network and of decoding alone; and the training step, with losses fetched in each step and every ten.
It starts nothing new when ``--seconds`` are over. ``--device cpu`` does a little of the same without a GPU,
to see that it runs: the passes are those of a GPU, and not recorded.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from napari_cln.annotation import Annotation
from napari_cln.imaging.preprocessing import prepare
from napari_cln.io.sources import read_frames
from napari_cln.models.config import YNetConfig
from napari_cln.network.engines.captured import CapturedYNet
from napari_cln.network.engines.pytorch import at_work
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import Member
from napari_cln.network.u_shaped import network_of
from napari_cln.network.weights import load_model
from napari_cln.phantom import simulate
from napari_cln.training.augmentation import augment
from napari_cln.training.data import Samples, Store
from napari_cln.training.loss import Objective
from napari_cln.training.recipes import Recipe
from napari_cln.types import Frame

PIXELS, SCORE = 0.001, 0.005
"""Share of the mask's pixels that may change sides, and by how much a score may."""
GOALS = {1: "at most 1.5 ms", 128: "at least 7,000 frames a second"}


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    device: torch.device
    sizes: tuple[int, ...]
    n_frames: int
    n_files: int
    n_steps: int
    n_rounds: int
    ends: float

    @property
    def is_over(self) -> bool:
        """Whether nothing new is to start."""
        return time.monotonic() > self.ends


@dataclass(frozen=True)
class Way:
    """A way to compute masks and scores of a batch."""

    name: str
    run: Callable[[Tensor], tuple[Tensor, Tensor]]


def synchronise() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def answer(network: Member, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mask probability and class probability."""
    out = network(x)
    assert out.mask_logits is not None
    return out.mask_logits.float().softmax(1)[:, 1], out.class_logits.float()[:, :2].softmax(1)[:, 1]


def exactly(network: Member, x: Tensor) -> tuple[Tensor, Tensor]:
    """The same in float32, without TF32."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return answer(network, x)


def lowered(network: Member, x: Tensor) -> tuple[Tensor, Tensor]:
    """The same in bfloat16 throughout."""
    with torch.autocast(x.device.type, torch.bfloat16):
        return answer(network, x)


def told(way: Way, given: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Masks and scores of all frames."""
    parts = [(probability >= 0.5, score) for probability, score in map(way.run, given)]
    masks, scores = zip(*parts, strict=True)
    return torch.cat(masks), torch.cat(scores)


OWN = "as the package works"


def ways(network: Member) -> list[Way]:
    """All ways, the exact one first."""
    eager = at_work(network, mixed_precision=True)
    last = at_work(network, mixed_precision=False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    own = CapturedYNet(network, mixed_precision=True)
    return [
        Way("eager float32", partial(exactly, network)),
        Way("eager, coarse stages in bfloat16", partial(answer, eager)),
        Way("eager, channels last, all in bfloat16", partial(lowered, last)),
        Way(OWN, partial(answer, own)),
    ]


def timed(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, all taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 2):  # a pass is recorded when it comes again
        for name, run in runs.items():
            synchronise()
            begun = time.perf_counter()
            run()
            synchronise()
            seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values[2:]) for name, values in seconds.items()}


@torch.inference_mode()
def inference(network: Member, images: Tensor, scale: Scale) -> bool:
    """Print the ratios of the passes, and tell whether the package's own stays within the bounds."""
    network = network.eval().to(scale.device)
    holds = True
    for size in scale.sizes:
        if scale.is_over:
            print(f"batch {size}: left out, no time")
            continue
        x = images[torch.arange(size) % len(images)].to(scale.device)
        all_ways = ways(network)
        first = all_ways[0]
        times = timed({way.name: partial(way.run, x) for way in all_ways}, scale.n_rounds)
        given = images.to(scale.device).split(size) if size < len(images) else (x,)
        mask, score = told(first, given)
        for way in all_ways:
            other_mask, other_score = told(way, given)
            moved = int((mask != other_mask).sum())
            share, shift = moved / max(int(mask.sum()), 1), float((score - other_score).abs().max())
            within = share <= PIXELS and shift <= SCORE
            holds &= within or way.name != OWN
            seconds, area = times[way.name], int(mask.sum())
            print(
                f"batch {size}, {way.name}: {times[first.name] / seconds:.2f} × {first.name}, "
                f"{1000 * seconds:.2f} ms, {size / seconds:.0f} frames a second; {share:.3%} of {area} "
                f"mask pixels, score {shift:.4f}: {'within' if within else 'beyond'} bounds",
                flush=True,
            )
        if size in GOALS:
            print(f"batch {size}: the goal is {GOALS[size]}")
    return holds


def from_files(network: Member, frames: list[Frame], scale: Scale) -> None:
    """Print how near the stream from files comes to the lesser of network and decoding."""
    segmenter = Segmenter(network, scale.device.type)
    size = min(segmenter.batch_size, scale.n_files)
    inputs = [prepare(frame, segmenter.card.prepare).stacked for frame in islice(frames, size)]
    x = torch.from_numpy(np.stack([inputs[index % len(inputs)] for index in range(size)])).to(scale.device)

    @torch.inference_mode()
    def passes() -> None:
        for _ in range(scale.n_files // size):
            answer(segmenter.model, x)  # type: ignore[arg-type]
            synchronise()

    with TemporaryDirectory() as folder:
        paths = [Path(folder, f"{index}.png") for index in range(scale.n_files)]
        for index, path in enumerate(paths):
            Image.fromarray(frames[index % len(frames)].grey).save(path)
        runs: dict[str, Callable[[], object]] = {
            "files to predictions": lambda: list(
                segmenter.predict(frame for path in paths for frame in read_frames(path))
            ),
            "network": passes,
            "decoding": lambda: [list(read_frames(path)) for path in paths],
        }
        rates = {name: scale.n_files / seconds for name, seconds in timed(runs, 1).items()}
    rates["network"] *= scale.n_files // size * size / scale.n_files
    for name, rate in rates.items():
        print(f"{name}: {rate:.1f} frames a second")
    whole, *others = rates.values()
    print(f"files to predictions: {whole / min(others):.2f} of the lesser of the two (goal: 0.8)", flush=True)


def training(config: YNetConfig, scale: Scale) -> None:
    """Print the ratios of a training step, and how often it waits for a GPU."""
    recipe = replace(Recipe.best(), network=config)
    parts = []
    for seed in range(recipe.batch_size):
        phantom = simulate(seed)
        marked = Annotation(frame=phantom.frame, instances=phantom.instances, nodes=phantom.nodes)
        parts.append(Samples.from_annotation(str(seed), marked, recipe.prepare))
    store = Store(Samples.join(parts), scale.device)
    rows = np.arange(len(store.samples))
    objective = Objective(network_of(config), recipe.loss)
    objective.to(scale.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(objective.parameters(), recipe.learning_rate)
    keys = [(0, 0, index) for index in range(len(rows))]

    def steps(count: int, fetch: int) -> None:
        kept = []
        for step in range(count):
            batch = augment(store.batch(rows), keys, recipe.augmentation)
            with torch.autocast(scale.device.type, torch.bfloat16):
                loss = objective(batch)["total"]
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            kept.append(loss.detach())
            if step % fetch == fetch - 1:
                float(torch.stack(kept).sum())
                kept.clear()

    count = scale.n_steps
    runs: dict[str, Callable[[], object]] = {
        "each": partial(steps, count, 1),
        "ten": partial(steps, count, count),
    }
    times = timed(runs, min(scale.n_rounds, 3))
    print(
        f"training, {config.trunk}: {count * recipe.batch_size / times['ten']:.1f} frames a second, "
        f"{times['each'] / times['ten']:.2f} × losses fetched in each step",
        flush=True,
    )
    if scale.device.type == "cuda":
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")
            steps(count, count + 1)
        torch.cuda.set_sync_debug_mode("default")
        print(f"training, {config.trunk}: {len(waits) / count:.1f} waits for the GPU a step", flush=True)


def main() -> int:
    """Measure, and return 1 where the package's own way leaves the bounds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--seconds", type=float, default=400, help="start nothing new after so long")
    arguments = parser.parse_args()
    ends = time.monotonic() + arguments.seconds
    if arguments.device == "cuda":
        if not torch.cuda.is_available():
            print(
                "No GPU that PyTorch can use is at hand: nothing was measured. Choose --device cpu to try it."
            )
            return 1
        print(torch.cuda.get_device_name())
        scale = Scale(torch.device("cuda"), (1, 32, 128, 256), 32, 512, 10, 7, ends)
    else:
        print("No GPU: a rehearsal on the processor, whose figures say nothing about one.")
        scale = Scale(torch.device("cpu"), (1, 2), 4, 2, 1, 1, ends)
    torch.manual_seed(0)
    shipped = files("napari_cln") / "samples"
    frames = [
        frame
        for name in ("simulated-frame.dcm", "usgra-vessels.png", "simulated-cine.dcm")
        for frame in islice(read_frames(str(shipped / name)), scale.n_frames - 2)
    ]
    frames = [*frames, *(simulate(seed).frame for seed in range(scale.n_frames))][: scale.n_frames]
    default = load_model("default").members[0]
    images = torch.from_numpy(np.stack([prepare(frame, Recipe().prepare).image for frame in frames]))[:, None]
    holds = inference(default, images, scale)
    configs = [YNetConfig.best(), YNetConfig()]
    if arguments.device == "cpu":  # many processors have no bfloat16 of their own
        configs = [replace(YNetConfig.best(), width=0.125)]
    parts: list[Callable[[], None]] = [partial(from_files, default, frames, scale)]
    parts += [partial(training, config, scale) for config in configs]
    for part in parts:
        if scale.is_over:
            print("the rest was left out, no time")
            break
        part()
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
