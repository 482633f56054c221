"""What a GPU makes of the network, in one go of a few minutes: ``python benchmarks/gpu.py [--seconds 400]``.

Each line is the ratio of two ways that took turns on the same frames, with the share of mask pixels and the
greatest score that differ from float32: memory order, bfloat16, a captured graph (batch 1 and full batches).
Then, from screens to predictions, what preparing and the network alone would give; and the training step,
with losses fetched in each step and every ten. It starts nothing new when the time is over. Without a GPU it
does the same on the processor, to see that it runs (``--seconds 60``), but for the captured graph.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from napari_cln.imaging.preprocessing import prepare
from napari_cln.models.config import YNetConfig
from napari_cln.network.engines.pytorch import at_work
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import Member
from napari_cln.network.u_shaped import network_of
from napari_cln.network.weights import load_model
from napari_cln.phantom import simulate
from napari_cln.training.augmentation import augment
from napari_cln.training.data import Batch, Samples
from napari_cln.training.loss import Objective
from napari_cln.training.recipes import Recipe
from napari_cln.types import Annotation

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
FRAMES = 16
ROUNDS = 7


@dataclass(frozen=True)
class Way:
    """A way to compute masks and scores of a batch."""

    name: str
    run: Callable[[Tensor], tuple[Tensor, Tensor]]


def synchronise() -> None:
    """Wait for the device."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def answer(network: Member, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mask probability and class probability."""
    out = network(x)
    assert out.mask_logits is not None
    return out.mask_logits.float().softmax(1)[:, 1], out.class_logits.float()[:, :2].softmax(1)[:, 1]


def captured(network: Member, x: Tensor, number: torch.dtype) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """A CUDA graph of one batch size."""
    held = x.clone()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream), torch.autocast("cuda", number, enabled=number != torch.float32):
        for _ in range(3):
            answer(network, held)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.autocast("cuda", number, enabled=number != torch.float32):
        out = answer(network, held)

    def replay(frames: Tensor) -> tuple[Tensor, Tensor]:
        held.copy_(frames)
        graph.replay()
        return out

    return replay


def ways(network: Member, x: Tensor) -> Iterator[Way]:
    """All ways, the plain one first."""
    plain = network.to(DEVICE)
    last = at_work(network, mixed_precision=False).to(DEVICE, memory_format=torch.channels_last)
    coarse = at_work(network, mixed_precision=True).to(DEVICE)

    def lowered(net: Member, number: torch.dtype) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        def run(frames: Tensor) -> tuple[Tensor, Tensor]:
            with torch.autocast(DEVICE.type, number):
                return answer(net, frames)

        return run

    yield Way("eager float32", lambda frames: answer(plain, frames))
    yield Way("as the package works", lambda frames: answer(coarse, frames))
    yield Way(
        "channels last", lambda frames: answer(last, frames.contiguous(memory_format=torch.channels_last))
    )
    yield Way("channels last, bfloat16", lowered(last, torch.bfloat16))
    if DEVICE.type == "cuda":
        yield Way("captured, as the package works", captured(coarse, x, torch.float32))
        yield Way("captured, channels last, bfloat16", captured(last, x, torch.bfloat16))


def timed(runs: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each, all taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            synchronise()
            begun = time.perf_counter()
            run()
            synchronise()
            seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


@torch.inference_mode()
def inference(name: str, network: Member, images: Tensor, sizes: list[int], ends: float) -> None:
    """Print the ratios of one network."""
    network = network.eval()
    for size in sizes:
        if time.monotonic() > ends:
            print(f"{name}, batch {size}: left out, no time")
            continue
        x = images[torch.arange(size) % len(images)].to(DEVICE)
        all_ways = list(ways(network, x))
        times = timed({way.name: partial(way.run, x) for way in all_ways})
        first = all_ways[0]
        mask, score = (part.clone() for part in first.run(x))
        for way in all_ways:
            other_mask, other_score = way.run(x)
            moved = ((mask >= 0.5) != (other_mask >= 0.5)).float().mean().item()
            shift = (score - other_score).abs().max().item()
            faster = times[first.name] / times[way.name]
            print(
                f"{name}, batch {size}, {way.name}: {faster:.2f} × {first.name}, "
                f"{size / times[way.name]:.0f} frames a second, {moved:.3%} of pixels, score {shift:.4f}",
                flush=True,
            )


def from_screens(network: Member, count: int) -> None:
    """Print how near the stream from screens comes to the lesser of network and preparation."""
    frames = [simulate(seed).frame for seed in range(FRAMES)]
    stream = [frames[index % FRAMES] for index in range(count)]
    segmenter = Segmenter(network, DEVICE.type)
    inputs = [prepare(frame, segmenter.card.prepare) for frame in frames]
    size = segmenter.batch_size
    whole = timed(
        {
            "stream": lambda: list(segmenter.predict(stream)),
            "preparation": lambda: [prepare(frame, segmenter.card.prepare) for frame in stream],
            "network and way back": lambda: [
                segmenter.predict_prepared(
                    stream[i : i + size], [inputs[j % FRAMES] for j in range(i, i + size)]
                )
                for i in range(0, count - size + 1, size)
            ],
        },
        rounds=2,
    )
    for name, seconds in whole.items():
        print(f"from screens, {name}: {whole['stream'] / seconds:.2f} of the stream's rate")


def training(config: YNetConfig, images: Tensor, ends: float) -> None:
    """Print the ratios of a training step."""
    recipe = replace(Recipe.best(), network=config)
    parts = []
    for seed in range(recipe.batch_size):
        phantom = simulate(seed)
        marked = Annotation(frame=phantom.frame, instances=phantom.instances, nodes=phantom.nodes)
        parts.append(Samples.from_annotation(str(seed), marked, recipe.prepare))
    samples = Samples.join(parts)
    objective = Objective(network_of(config), recipe.loss).to(DEVICE, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(objective.parameters(), recipe.learning_rate)
    keys = [(0, 0, index) for index in range(len(samples))]

    def steps(count: int, fetch: int) -> None:
        kept = []
        for step in range(count):
            batch = augment(Batch.of(samples, DEVICE), keys, recipe.augmentation)
            with torch.autocast(DEVICE.type, torch.bfloat16):
                loss = objective(batch)["total"]
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            kept.append(loss.detach())
            if step % fetch == fetch - 1:
                float(torch.stack(kept).sum())
                kept.clear()

    if time.monotonic() > ends:
        print(f"training, {config.trunk}: left out, no time")
        return
    count = 10 if DEVICE.type == "cuda" else 2
    times = timed(
        {"each": lambda: steps(count, 1), "ten": lambda: steps(count, count)},
        rounds=3 if DEVICE.type == "cuda" else 1,
    )
    print(
        f"training, {config.trunk}: {count * recipe.batch_size / times['ten']:.1f} frames a second, "
        f"{times['each'] / times['ten']:.2f} × losses fetched in each step",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=400, help="start nothing new after so long")
    arguments = parser.parse_args()
    ends = time.monotonic() + arguments.seconds
    torch.manual_seed(0)
    print(torch.cuda.get_device_name() if DEVICE.type == "cuda" else "no GPU: a rehearsal on the processor")
    frames = [prepare(simulate(seed).frame).image for seed in islice(range(100), FRAMES)]
    images = torch.from_numpy(np.stack(frames))[:, None]
    sizes = [1, 32, 128, 256] if DEVICE.type == "cuda" else [1, 4]
    default = load_model("default").members[0]
    inference("default", default, images, sizes, ends)
    inference("best, untrained", network_of(YNetConfig.best()), images, sizes, ends)
    if time.monotonic() < ends:
        from_screens(default, 256 if DEVICE.type == "cuda" else 8)
    for config in (YNetConfig.best(), YNetConfig()):
        training(config, images, ends)


if __name__ == "__main__":
    main()
