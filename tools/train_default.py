"""Train the bundled model ``default`` from what may ship, measure it, and write it with its card.

::

    python tools/train_default.py --usgra ../shared/data/usgra

Simulated frames (fresh seeds, drawn once and kept in the cache) teach mask and score; real frames of
vessels and nerves (usgra, CC BY 4.0), which hold no node, teach the mask what a node is not. Stop it
at any time: the next start goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from napari_cln.imaging.phantom import simulate
from napari_cln.io.sources import read_frame
from napari_cln.network.model import YNet
from napari_cln.training.data import Samples
from napari_cln.training.loop import fit
from napari_cln.training.recipes import Recipe
from napari_cln.types import Annotation, PrepareConfig

ROOT = Path(__file__).parents[1]
SEEDS = {"train": 1_000_000, "validation": 2_000_000, "test": 3_000_000}
"""First seed of each part; no frame is in two."""
VALIDATION_FRAMES = 200
CHUNK = 100
"""Simulated frames in one file of the cache."""


def prepared_chunk(job: tuple[Path, str, int, int]) -> Path:
    """Simulate, prepare and store some frames, unless they are there already."""
    path, part, first, count = job
    if not path.is_file():
        os.nice(19)
        config = Recipe.best().prepare
        frames = []
        for seed in range(SEEDS[part] + first, SEEDS[part] + first + count):
            phantom = simulate(seed)
            annotation = Annotation(frame=phantom.frame, instances=phantom.instances, nodes=phantom.nodes)
            frames.append(
                Samples.from_annotation(
                    f"simulated-{seed}", annotation, config, frame_target=phantom.malignancy
                )
            )
        Samples.join(frames).save(path)
    return path


def simulated(part: str, count: int, cache: Path) -> Samples:
    """``count`` simulated frames of a part, through the cache, on all processors."""
    jobs = [
        (
            cache / f"{part}-{first:06d}-{min(CHUNK, count - first)}.npz",
            part,
            first,
            min(CHUNK, count - first),
        )
        for first in range(0, count, CHUNK)
    ]
    missing = [job for job in jobs if not job[0].is_file()]
    if missing:
        with multiprocessing.get_context("spawn").Pool() as pool:
            for path in pool.imap(prepared_chunk, missing):
                print(f"simulated {path.stem}", flush=True)
    return Samples.join(Samples.load(path) for path, *_ in jobs)


def usgra(folder: Path, part: str) -> Iterator[Annotation]:
    """Real frames with vessels and nerves, and no node that anybody marked."""
    with (folder / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == part:
                frame = read_frame(folder / row["image"])
                yield Annotation(
                    frame=frame, instances=np.zeros(frame.shape, dtype=np.uint8), status="no-node"
                )


def negatives(folder: Path, config: PrepareConfig) -> Samples:
    """The training part of usgra, for the mask head alone."""
    return Samples.join(
        Samples.from_annotation(f"usgra-{index}", annotation, config)
        for index, annotation in enumerate(usgra(folder, "train"))
    )


def train(arguments: argparse.Namespace, recipe: Recipe) -> tuple[YNet, Samples]:
    """Train, or go on with, the network; its progress goes to the log beside the model."""
    validation = simulated("validation", VALIDATION_FRAMES, arguments.cache)
    samples = simulated("train", arguments.frames, arguments.cache)
    if arguments.usgra:
        samples = Samples.join([samples, negatives(arguments.usgra, recipe.prepare)])
    print(f"training on {len(samples)} frames, {arguments.epochs} epochs", flush=True)
    resume = (arguments.cache / "checkpoint.pt").is_file()
    with (arguments.cache / "default.jsonl").open("a" if resume else "w") as log:
        for event in fit(
            samples, validation, recipe, arguments.cache, epochs=arguments.epochs, seed=0, resume=resume
        ):
            line = json.dumps(event)
            print(line, flush=True)
            log.write(line + "\n")
            log.flush()
    network = YNet(recipe.network)
    state = torch.load(arguments.cache / "best.pt", weights_only=True, map_location="cpu")
    network.load_state_dict(state)
    return network.eval(), samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "default")
    parser.add_argument("--frames", type=int, default=1400, help="simulated frames to train on")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--usgra", type=Path, help="folder of the usgra set, for frames without a node")
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    recipe = replace(Recipe.best(), crops=2 / 3)
    train(arguments, recipe)


if __name__ == "__main__":
    main()
