"""Train the bundled model ``default`` from what may ship, measure it, and write it with its card.

::

    python tools/train_default.py --data ../shared/data

Simulated frames (fresh seeds, drawn once and kept in the cache) teach mask and score; real frames of
vessels and nerves (usgra, CC BY 4.0), which hold no node, teach the mask what a node is not; at last
breast lesions (BUSI's training part) show it what real lesions look like. Stop it at any time: the next
start goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import torch

from measure_default import NOVELTY_FRAMES, SEEDS, busi, calibrated, figures, learn_training_data, real, usgra
from napari_cln.models.card import ModelCard, TrainingData
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import YNet
from napari_cln.network.weights import load_model, save_model
from napari_cln.phantom import simulate
from napari_cln.training.data import Samples
from napari_cln.training.loop import fit
from napari_cln.training.recipes import Recipe
from napari_cln.training.scoring import fit_limits, score_frames
from napari_cln.types import Annotation

ROOT = Path(__file__).parents[1]
VALIDATION_FRAMES = 200
CHUNK = 100
"""Simulated frames in one file of the cache."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One part of the training."""

    recipe: Recipe
    frames: int
    """Simulated frames; those of usgra come on top."""
    epochs: int
    busi: int = 0
    """How often an epoch shows each frame of BUSI's training part."""


# the weights that ship were made before the recipe had deep supervision
BEST = replace(Recipe.best(), deep_supervision=False)
STAGES = (
    # mostly on crops: what a node looks like is learnt in a quarter of the time
    Stage(recipe=replace(BEST, crops=2 / 3, class_weight=1.0), frames=1400, epochs=6),
    # whole frames alone, gently, with more weight on the score, which is learnt last
    Stage(recipe=replace(BEST, learning_rate=5e-4, class_weight=2.0), frames=1800, epochs=2),
    # more frames, and every node counts alike: what was left to learn were the nodes it missed
    Stage(
        recipe=replace(BEST, crops=4 / 9, class_weight=2.0, node_weight=0.5),
        frames=4000,
        epochs=9,
    ),
    # real lesions, more than half of the frames of a step, without forgetting the simulated nodes
    Stage(recipe=replace(BEST, class_weight=1.0, node_weight=0.5), frames=800, epochs=7, busi=3),
)


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


def train(arguments: argparse.Namespace) -> YNet:
    """Train stage by stage, or go on training; each stage starts from the best weights of the one before."""
    config = Recipe.best().prepare
    drawn = simulated("validation", VALIDATION_FRAMES, arguments.cache)
    vessels = real(usgra(arguments.data, "train"), "usgra", config)
    lesions = real(busi(arguments.data, "train"), "busi", config)
    more = real(busi(arguments.data, "val"), "busi-val", config)
    network: YNet | None = None
    stages = list(enumerate(STAGES, start=1))
    if arguments.start_from:
        network, stages = load_model(arguments.start_from), stages[-1:]
    for number, stage in stages:
        folder = arguments.cache / f"stage-{number}"
        folder.mkdir(exist_ok=True)
        resume = (folder / "checkpoint.pt").is_file()
        frames = Samples.join(
            [simulated("train", stage.frames, arguments.cache), vessels, *[lesions] * stage.busi]
        )
        print(f"stage {number}: {len(frames)} frames, {stage.epochs} epochs", flush=True)
        with (folder / "log.jsonl").open("a" if resume else "w") as log:
            for event in fit(
                frames,
                Samples.join([drawn, more]) if stage.busi else drawn,
                stage.recipe,
                folder,
                epochs=stage.epochs,
                start_from=network,
                resume=resume,
            ):
                line = json.dumps({"stage": number, **event})
                print(line, flush=True)
                log.write(line + "\n")
                log.flush()
        network = best_of(folder, stage)
    assert network is not None
    return network


def best_of(folder: Path, stage: Stage) -> YNet:
    """The network of the stage's best epoch."""
    network = YNet(stage.recipe.network).eval()
    network.load_state_dict(torch.load(folder / "best.pt", weights_only=True, map_location="cpu"))
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "default")
    parser.add_argument("--out", type=Path, default=ROOT / "src" / "napari_cln" / "models")
    parser.add_argument("--test-frames", type=int, default=200, help="simulated frames to measure on")
    parser.add_argument("--data", type=Path, required=True, help="folder with busi_384, usgra and us_dicom")
    parser.add_argument(
        "--start-from", help="model that has all stages but the last behind it: train the last alone"
    )
    parser.add_argument("--measure-only", action="store_true", help="take the weights that are there")
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    last = STAGES[-1]
    network = (
        best_of(arguments.cache / f"stage-{len(STAGES)}", last)
        if arguments.measure_only
        else train(arguments)
    )
    left_out = ("name", "network", "prepare")
    stages = [
        {"frames": stage.frames, "epochs": stage.epochs, "busi": stage.busi}
        | {key: value for key, value in asdict(stage.recipe).items() if key not in left_out}
        for stage in STAGES
    ]
    card = ModelCard(
        name="default",
        created=date.today().isoformat(),
        config=last.recipe.network,
        prepare=last.recipe.prepare,
        trained_on=trained_on(arguments.data),
        recipe={"name": last.recipe.name, "seed": 0, "stages": stages},
    )
    prepare = last.recipe.prepare
    drawn, lesions, vessels = (
        simulated("train", NOVELTY_FRAMES, arguments.cache),
        real(busi(arguments.data, "train"), "busi", prepare),
        real(usgra(arguments.data, "train"), "usgra", prepare),
    )
    validation = (
        simulated("validation", VALIDATION_FRAMES, arguments.cache),
        real(busi(arguments.data, "val"), "busi-val", prepare),
    )
    learn_training_data(network, [drawn, lesions, vessels], validation)
    areas = np.concatenate([part.node_areas() for part in (drawn, lesions, *validation)])
    # the mildest of the sources: no kind of frame may lose more than its share of nodes
    limits = [fit_limits(score_frames(network, part), areas) for part in validation]
    min_node_area, min_peak = (min(limit) for limit in zip(*limits, strict=True))
    card = replace(card, min_node_area=min_node_area, min_peak=min_peak)
    card = calibrated(network, card, min(arguments.test_frames, VALIDATION_FRAMES), arguments.data)
    network.card = card
    found = figures(Segmenter(network, "cpu"), arguments.test_frames, arguments.data)
    for figure in found:
        print(figure)
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_model(network, arguments.out / "default.safetensors", replace(card, figures=found))
    logs = sorted(arguments.cache.glob("stage-*/log.jsonl"))
    (ROOT / "benchmarks" / "results" / "default.jsonl").write_text("".join(path.read_text() for path in logs))


def trained_on(data: Path) -> tuple[TrainingData, ...]:
    """What the card says about the training frames."""
    return (
        TrainingData(
            name="simulated neck frames (napari_cln.simulate)",
            n=max(stage.frames for stage in STAGES),
            licence="BSD-3-Clause",
            citation="napari-cln contributors",
        ),
        TrainingData(
            name="usgra, training part: real vessels and nerves, as frames without a node",
            n=sum(1 for _ in usgra(data, "train")),
            licence="CC BY 4.0",
            citation="usgra-seg, github.com/tmkand/usgra-seg, examiner TMK, 2025",
        ),
        TrainingData(
            name="BUSI, training part: breast lesions, a stand-in for nodes",
            n=sum(1 for _ in busi(data, "train")),
            licence="CC BY 4.0 (of the article)",
            citation="Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 28:104863, "
            "2020. doi:10.1016/j.dib.2019.104863",
        ),
    )


if __name__ == "__main__":
    main()
