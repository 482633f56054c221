"""Train the bundled model ``default`` from what may ship, measure it, and write it with its card.

::

    python tools/train_default.py --usgra ../shared/data/usgra

Simulated frames (fresh seeds, drawn once and kept in the cache) teach mask and score; real frames of
vessels and nerves (usgra, CC BY 4.0), which hold no node, teach the mask what a node is not. Stop it
at any time: the next start goes on where it was.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from pathlib import Path

import numpy as np

from napari_cln.imaging.phantom import Phantom, simulate
from napari_cln.training.data import Samples
from napari_cln.training.recipes import Recipe
from napari_cln.types import Annotation

ROOT = Path(__file__).parents[1]
SEEDS = {"train": 1_000_000, "validation": 2_000_000, "test": 3_000_000}
"""First seed of each part; no frame is in two."""
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
    with multiprocessing.get_context("spawn").Pool() as pool:
        chunks = []
        for path in pool.imap(prepared_chunk, jobs):
            chunks.append(Samples.load(path))
            print(f"{part}: {sum(map(len, chunks))} of {count} simulated frames", flush=True)
    return Samples.join(chunks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "default")
    parser.add_argument("--frames", type=int, default=3200, help="simulated frames to train on")
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    validation = simulated("validation", 200, arguments.cache)
    train = simulated("train", arguments.frames, arguments.cache)
    print(len(train), len(validation), np.nanmean(train.frame_targets))


if __name__ == "__main__":
    main()
