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
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit, logit

from napari_cln.imaging.phantom import simulate
from napari_cln.io.sources import read_frame
from napari_cln.network.card import Figure, ModelCard, TrainingData
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import YNet
from napari_cln.network.weights import save_model
from napari_cln.study.cutoff import choose_cutoff
from napari_cln.study.detection import match_nodes
from napari_cln.study.metrics import dice
from napari_cln.study.statistics import auc_interval, median_interval, proportion
from napari_cln.training.data import Samples, target_of
from napari_cln.training.loop import fit
from napari_cln.training.recipes import Recipe
from napari_cln.training.scoring import fit_temperature
from napari_cln.types import Annotation, PrepareConfig

NAN = float("nan")
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


def train(arguments: argparse.Namespace, recipe: Recipe) -> None:
    """Train, or go on training; the progress goes to a log in the cache."""
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


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a model says of one simulated frame, beside the truth."""

    label: str
    best: float
    """Best possible malignancy of the frame."""
    malignancy: float
    dice: float
    """Of all nodes together; NaN where the frame has none and none was claimed."""
    claimed: bool
    nodes: tuple[tuple[float, float, float], ...]
    """Overlap (IoU), best possible score and given score (NaN where missed) of each node."""


def measured(segmenter: Segmenter, part: str, count: int) -> list[Measured]:
    """The model on simulated frames, from the screen to the score, on the screens' own pixels."""
    rows = []
    for seed in range(SEEDS[part], SEEDS[part] + count):
        phantom = simulate(seed)
        (prediction,) = segmenter.predict([phantom.frame])
        pairs = [pair for pair in match_nodes(prediction.instances, phantom.instances) if pair.reference]
        scores = [prediction.node_scores[pair.predicted - 1] if pair.predicted else NAN for pair in pairs]
        rows.append(
            Measured(
                label=phantom.label,
                best=phantom.malignancy,
                malignancy=prediction.malignancy,
                dice=dice(prediction.mask, phantom.instances > 0),
                claimed=bool(prediction.mask.any()),
                nodes=tuple(
                    (pair.iou, target_of(node), score)
                    for pair, node, score in zip(pairs, phantom.nodes, scores, strict=True)
                ),
            )
        )
    return rows


def calibrated(network: YNet, card: ModelCard, count: int) -> ModelCard:
    """The card with temperature and cutoff from validation frames."""
    network.card = card
    rows = measured(Segmenter(network, "cpu"), "validation", count)
    scored = np.array([node[1:] for row in rows for node in row.nodes if not np.isnan(node[2])])
    temperature = fit_temperature(scored[:, 1], scored[:, 0])
    labelled = [row for row in rows if row.label != "unknown"]
    scores = expit(logit([row.malignancy for row in labelled]) / temperature)
    cutoff = choose_cutoff([row.label == "metastatic" for row in labelled], scores)
    return replace(
        card,
        temperature=round(temperature, 4),
        cutoff=round(cutoff.value, 4),
        cutoff_from=f"{cutoff.rule} on {len(labelled)} simulated validation frames with a node",
    )


def figures(segmenter: Segmenter, count: int, usgra_folder: Path | None) -> tuple[Figure, ...]:
    """Every figure of the card, with its interval."""
    rows = measured(segmenter, "test", count)
    data = f"{count} simulated frames of seeds never trained on"
    labelled = [row for row in rows if row.label != "unknown"]
    truth = np.array([row.label == "metastatic" for row in labelled])
    score, best = (np.array([getattr(row, name) for row in labelled]) for name in ("malignancy", "best"))
    nodes = [node for row in rows for node in row.nodes]
    missed = sum(iou < 0.5 for iou, _, _ in nodes)
    dices = np.array([row.dice for row in labelled])
    empty = [row for row in rows if row.label == "unknown"]
    called = score >= segmenter.card.cutoff
    estimates = {
        "Dice, median": median_interval(dices),
        "frames with Dice under 0.1": proportion(int((dices < 0.1).sum()), len(dices)),
        "nodes missed (IoU under 0.5)": proportion(missed, len(nodes)),
        "frames without a node where one is claimed": proportion(
            sum(row.claimed for row in empty), len(empty)
        ),
        "AUC": auc_interval(truth, score),
        "AUC, best possible": auc_interval(truth, best),
        "sensitivity at the cutoff": proportion(int((called & truth).sum()), int(truth.sum())),
        "specificity at the cutoff": proportion(int((~called & ~truth).sum()), int((~truth).sum())),
    }
    result = [Figure(name=name, data=data, estimate=estimate) for name, estimate in estimates.items()]
    if usgra_folder:
        claims = [
            prediction.mask.any()
            for prediction in segmenter.predict(a.frame for a in usgra(usgra_folder, "test"))
        ]
        result.append(
            Figure(
                name="frames without a marked node where one is claimed",
                data="usgra, test part (real vessels and nerves)",
                estimate=proportion(int(sum(claims)), len(claims)),
            )
        )
    return tuple(result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "default")
    parser.add_argument("--out", type=Path, default=ROOT / "src" / "napari_cln" / "models")
    parser.add_argument("--frames", type=int, default=1400, help="simulated frames to train on")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--test-frames", type=int, default=200, help="simulated frames to measure on")
    parser.add_argument("--usgra", type=Path, help="folder of the usgra set, for frames without a node")
    parser.add_argument("--measure-only", action="store_true", help="take the best weights so far")
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    recipe = replace(Recipe.best(), crops=2 / 3)
    if not arguments.measure_only:
        train(arguments, recipe)
    network = YNet(recipe.network)
    state = torch.load(arguments.cache / "best.pt", weights_only=True, map_location="cpu")
    network.load_state_dict(state)

    log = (arguments.cache / "default.jsonl").read_text()
    events = [json.loads(line) for line in log.splitlines()]
    epochs = max(event["epoch"] for event in events if event["event"] == "epoch")
    settings = {key: value for key, value in asdict(recipe).items() if key not in ("network", "prepare")}
    card = ModelCard(
        name="default",
        created=date.today().isoformat(),
        config=recipe.network,
        prepare=recipe.prepare,
        trained_on=trained_on(arguments),
        recipe={**settings, "epochs": epochs, "seed": 0},
    )
    card = calibrated(network, card, min(arguments.test_frames, VALIDATION_FRAMES))
    network.card = card
    found = figures(Segmenter(network, "cpu"), arguments.test_frames, arguments.usgra)
    for figure in found:
        print(figure)
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_model(network, arguments.out / "default.safetensors", replace(card, figures=found))
    (arguments.out / "default.jsonl").write_text(log)


def trained_on(arguments: argparse.Namespace) -> tuple[TrainingData, ...]:
    """What the card says about the training frames."""
    drawn = TrainingData(
        name="simulated neck frames (napari_cln.simulate)",
        n=arguments.frames,
        licence="BSD-3-Clause",
        citation="napari-cln contributors",
    )
    if not arguments.usgra:
        return (drawn,)
    real = TrainingData(
        name="usgra, training part: real vessels and nerves, as frames without a node",
        n=sum(1 for _ in usgra(arguments.usgra, "train")),
        licence="CC BY 4.0",
        citation="usgra-seg, github.com/tmkand/usgra-seg, examiner TMK, 2025",
    )
    return drawn, real


if __name__ == "__main__":
    main()
