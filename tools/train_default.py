"""Train the bundled model ``default`` from what may ship, measure it, and write it with its card.

::

    python tools/train_default.py --data ../shared/data

Simulated frames, plain and varied (fresh seeds, drawn once and kept in the cache), teach mask and score; real
frames of vessels, nerves and muscle (CC0 and CC BY), which hold no node, teach what a node is not; breast
lesions (BUSI's training part) show what real lesions look like. First all see half the side, at a quarter of
the time, then the full side. Stop it at any time: the next start goes on where it was.
``--start-from MODEL`` takes the weights of a model and trains the last stage alone.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import msgspec
import numpy as np
import torch

from measure_default import (
    NOVELTY_FRAMES,
    busi,
    calibrated,
    doubt_figures,
    drawn,
    figures,
    learn_training_data,
    muscle,
    real,
    usgra,
    validation_sources,
)
from napari_cln.models.card import Figure, ModelCard, TrainingData
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import Member
from napari_cln.network.u_shaped import network_of
from napari_cln.network.weights import load_model, save_model
from napari_cln.phantom.simulation import Scene
from napari_cln.training.data import Samples
from napari_cln.training.loop import fit
from napari_cln.training.recipes import LossTerms, Recipe
from napari_cln.training.scoring import Limits, fit_limits, score_frames

ROOT = Path(__file__).parents[1]
VALIDATION_FRAMES = 60
"""Simulated frames of each scene."""
CHUNK = 100
"""Simulated frames in one file of the cache."""
SCENES: tuple[Scene, ...] = ("plain", "varied")
VARIED = 10_000
"""Where the seeds of the varied scene begin within a part."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One part of the training."""

    recipe: Recipe
    plain: int
    """Simulated frames of the plain neck; the real frames come on top."""
    varied: int
    """Those of the varied neck."""
    epochs: int
    busi: int = 2
    """How often an epoch shows each frame of BUSI's training part."""


BEST = replace(Recipe.best(), loss=LossTerms(deep_supervision=True, class_weight=0.5, node_weight=0.3))
STAGES = (
    Stage(recipe=replace(BEST, half=1.0), plain=600, varied=800, epochs=40),
    Stage(recipe=replace(BEST, learning_rate=5e-4), plain=600, varied=800, epochs=20),
)


def prepared_chunk(job: tuple[Path, str, Scene, int, int]) -> Path:
    """Simulate, prepare and store some frames, unless they are there already."""
    path, part, scene, first, count = job
    if not path.is_file():
        os.nice(19)
        simulated_frames = drawn(part, count, scene, first)
        real(simulated_frames, f"{scene}-{part}-{first}", Recipe.best().prepare).save(path)
    return path


def simulated(part: str, scene: Scene, count: int, cache: Path) -> Samples:
    """Take ``count`` simulated frames of a part, through the cache, on all processors."""
    jobs = []
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        first = start + (VARIED if scene == "varied" and part == "train" else 0)
        jobs.append((cache / f"{scene}-{part}-{first:06d}-{size}.npz", part, scene, first, size))
    missing = [job for job in jobs if not job[0].is_file()]
    if missing:
        with multiprocessing.get_context("spawn").Pool() as pool:
            for path in pool.imap(prepared_chunk, missing):
                print(f"simulated {path.stem}", flush=True)
    return Samples.join(Samples.load(path) for path, *_ in jobs)


def train(arguments: argparse.Namespace) -> Member:
    """Train stage by stage, or go on training; each stage starts from the best weights of the one before."""
    config = Recipe.best().prepare
    kept_out = real_validation(arguments.data)
    vessels = real(usgra(arguments.data, "train"), "usgra", config)
    vessels = vessels.take(np.flatnonzero(np.arange(len(vessels)) % 4 != 3))
    fibres = real(muscle(arguments.data, "train"), "muscle", config)
    lesions = real(busi(arguments.data, "train"), "busi", config)
    network: Member | None = None
    stages = list(enumerate(STAGES, start=1))
    if arguments.start_from:
        network, stages = load_model(arguments.start_from).members[0], stages[-1:]
    for number, stage in stages:
        folder = arguments.cache / f"stage-{number}"
        folder.mkdir(exist_ok=True)
        resume = (folder / "checkpoint.pt").is_file()
        frames = Samples.join(
            [
                simulated("train", "plain", stage.plain, arguments.cache),
                simulated("train", "varied", stage.varied, arguments.cache),
                *[lesions] * stage.busi,
                vessels,
                fibres,
            ]
        )
        validation = Samples.join(
            [
                *(simulated("validation", scene, VALIDATION_FRAMES, arguments.cache) for scene in SCENES),
                kept_out,
            ]
        )
        print(f"stage {number}: {len(frames)} frames, {stage.epochs} epochs", flush=True)
        with (folder / "log.jsonl").open("a" if resume else "w") as log:
            for event in fit(
                frames,
                validation,
                stage.recipe,
                folder,
                epochs=stage.epochs,
                start_from=network,
                resume=resume,
            ):
                line = json.dumps({"stage": number, **msgspec.to_builtins(event)})
                print(line, flush=True)
                log.write(line + "\n")
                log.flush()
        network = best_of(folder, stage)
    assert network is not None
    return network


def real_validation(data: Path) -> Samples:
    """Real frames that no training sees: of breast, of vessels and nerves, of muscle."""
    sources = validation_sources(0, data)
    return Samples.join(
        real(sources[name], name, Recipe.best().prepare)
        for name in ("breast", "vessels and nerves", "muscle")
    )


def best_of(folder: Path, stage: Stage) -> Member:
    """Load the network of the stage's best epoch."""
    network = network_of(stage.recipe.network).eval()
    network.load_state_dict(torch.load(folder / "best.pt", weights_only=True, map_location="cpu"))
    return network


def limits_of(network: Member, parts: list[Samples], areas: np.ndarray) -> Limits:
    """Find the limits: of the arm's chance from all sources together, of the peak the mildest of them."""
    knows = network.config.knows_nothing
    scores = [score_frames(network, part) for part in parts]
    each = [fit_limits(source, areas, knows_nothing=knows) for source in scores]
    pooled = fit_limits([score for source in scores for score in source], areas, knows_nothing=knows)
    return replace(pooled, min_peak=min(one.min_peak for one in each))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "default")
    parser.add_argument("--out", type=Path, default=ROOT / "src" / "napari_cln" / "models")
    parser.add_argument("--test-frames", type=int, default=200, help="simulated frames to measure on")
    parser.add_argument("--data", type=Path, required=True, help="folder with busi_384, usgra and us_dicom")
    parser.add_argument(
        "--start-from", help="model that has all stages but the last behind it: train the last alone"
    )
    parser.add_argument(
        "--measure-only",
        nargs="?",
        const="",
        help="train nothing: measure the weights that are in the cache, or print the figures of a model",
    )
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    if arguments.measure_only:
        model = Segmenter(arguments.measure_only, "cpu")
        print("\n".join(map(str, figures(model, arguments.test_frames, arguments.data))))
        return
    last = STAGES[-1]
    network = (
        best_of(arguments.cache / f"stage-{len(STAGES)}", last)
        if arguments.measure_only is not None
        else train(arguments)
    )
    left_out = ("name", "network", "prepare")
    stages = [
        {"plain": stage.plain, "varied": stage.varied, "epochs": stage.epochs, "busi": stage.busi}
        | {key: value for key, value in stage.recipe.settings().items() if key not in left_out}
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
    plain = simulated("train", "plain", min(NOVELTY_FRAMES, last.plain), arguments.cache)
    lesions, fibres, vessels = (
        real(busi(arguments.data, "train"), "busi", prepare),
        real(muscle(arguments.data, "train"), "muscle", prepare),
        real(usgra(arguments.data, "train"), "usgra", prepare),
    )
    validation = [
        *(simulated("validation", scene, VALIDATION_FRAMES, arguments.cache) for scene in SCENES),
        real(busi(arguments.data, "val"), "busi-val", prepare),
    ]
    known = [*validation, real(muscle(arguments.data, "validation"), "muscle-validation", prepare)]
    learn_training_data(network, [plain, lesions, fibres, vessels], known)
    areas = np.concatenate([part.node_areas() for part in (plain, lesions, *validation)])
    card = replace(card, **vars(limits_of(network, validation, areas)))
    card, rows = calibrated(network, card, validation_sources(VALIDATION_FRAMES, arguments.data))
    network.card = card
    found = figures(Segmenter(network, "cpu"), arguments.test_frames, arguments.data)
    found += tuple(
        Figure(name=name, data=source, estimate=estimate) for name, source, estimate in doubt_figures(rows)
    )
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
            n=max(stage.plain + stage.varied for stage in STAGES),
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
            name="muscle of thigh and calf, training part: as frames without a node",
            n=sum(1 for _ in muscle(data, "train")),
            licence="CC0-1.0 and CC BY 4.0",
            citation="T. van der Zee, github.com/timvanderzee/ultrasound-automated-algorithm; Drazan et al., "
            "PeerJ 2019; Seynnes and Cronin, PLOS ONE 2020",
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
