"""Train the bundled model ``default`` from what may ship, measure it, and write it with its card.

::

    python tools/train_default.py --data ../shared/data

Simulated frames, plain and varied (fresh seeds, drawn once and kept in the cache), teach mask and score; real
frames of vessels, nerves and muscle (CC0 and CC BY), which hold no node, teach what a node is not; breast
lesions (BUSI's training part) show what real lesions look like, in the breast and laid into the other real
frames. Half the side costs a quarter of the time. At last the class arm learns anew, on the patches that the
decoder proposes then. Stop it at any time: the next start goes on where it was. ``--start-from MODEL`` takes
the weights of a model and trains the last stage alone, or all from ``--first`` on.

The stages are those that the shipped weights went through, one after the other. Some were ended before their
plan, which their rates follow, so that the time was left for the next. Each gives on the weights of the epoch
that validated best, but for the first, whose averaged weights at its end went on, and the last, which gives
the mean of its best weights and those that it started from.

References
----------
.. [1] M. Stone, "Cross-validatory choice and assessment of statistical predictions", Journal of the Royal
       Statistical Society B 36(2):111-147, 1974.
.. [2] M. Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022. :arxiv:`2109.01903`
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import torch

from laid_in import laid_in
from measure_default import (
    BUSI_TEST,
    LAID,
    busi,
    calibrated,
    compared,
    doubt_figures,
    drawn,
    figures,
    learn_training_data,
    measured_on_test,
    muscle,
    real,
    store,
    stored,
    test_figures,
    usgra,
    validation_sources,
)
from napari_cln.annotation import Annotation
from napari_cln.imaging.scan_area import is_sector
from napari_cln.models.card import LIMITS, Figure, ModelCard, TrainingData
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import Member
from napari_cln.network.u_shaped import UYNet, network_of
from napari_cln.network.weights import load_model, save_model
from napari_cln.phantom.simulation import Scene
from napari_cln.training.arm import fit_arm, read_patches
from napari_cln.training.data import Samples
from napari_cln.training.loop import fit
from napari_cln.training.recipes import LossTerms, Recipe
from napari_cln.training.scoring import Limits, fit_limits, score_frames, trade_off

ROOT = Path(__file__).parents[1]
LOG = ROOT / "benchmarks" / "results" / "default.jsonl"
VALIDATION_FRAMES = 60
"""Simulated frames of each scene."""
CHUNK = 100
"""Simulated frames in one file of the cache."""
LAID_IN, LAID_IN_VALIDATION = 900, 100
"""Frames with a lesion laid in that an epoch has, and that validate."""
START = "start.pt"
"""File of a stage's folder with the weights that it starts from."""
VALIDATED = "validated.json"
"""What the arm of each fold says of the validation frames, in the cache beside the finished weights."""
FOLDS = 5
"""Of the validation frames; a frame's place in its source says which is its."""
ARM_WEIGHTS = {"breast": 2.0, "vessels and nerves": 4.0}
"""What sources weigh that weigh more than 1 when the arm learns anew."""
VALIDATION_WEIGHT = 0.3
"""What validation frames weigh then, beside the training frames of their source."""
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
    """As planned: the learning rate follows the plan."""
    ended: int | None = None
    """Steps after which it was ended; None where it ran to its end."""
    take: Literal["best", "last"] = "best"
    """Which of its weights go on."""
    busi: int = 2
    """How often an epoch shows each frame of BUSI's training part."""
    laid_in: int = 0
    """Real frames without a node into which a lesion of BUSI's training part is laid."""
    start_share: float = 0.0
    """Share that the weights it started from have in those that go on, which are their mean [2]_."""


BEST = replace(Recipe.best(), loss=LossTerms(deep_supervision=True, class_weight=0.5, node_weight=0.3))
HALF, FULL = replace(BEST, half=1.0), replace(BEST, learning_rate=5e-4)
STAGES = (
    Stage(recipe=HALF, plain=600, varied=0, epochs=16, ended=800, take="last"),
    Stage(recipe=replace(HALF, learning_rate=8e-4), plain=300, varied=400, epochs=4),
    Stage(recipe=FULL, plain=300, varied=400, epochs=1),
    Stage(recipe=FULL, plain=300, varied=400, epochs=2),
    Stage(recipe=FULL, plain=300, varied=400, epochs=20, ended=270),
    Stage(recipe=replace(BEST, half=0.6), plain=300, varied=400, epochs=46, ended=4560),
    Stage(recipe=replace(BEST, learning_rate=7e-4), plain=300, varied=400, epochs=20),
    Stage(recipe=replace(BEST, learning_rate=7e-4), plain=300, varied=800, epochs=16, busi=4),
    Stage(
        recipe=replace(HALF, learning_rate=8e-4),
        plain=300,
        varied=400,
        busi=3,
        laid_in=LAID_IN,
        epochs=6,
        ended=1950,
    ),
    Stage(recipe=FULL, plain=300, varied=400, epochs=1, busi=3, laid_in=LAID_IN),
    Stage(recipe=FULL, plain=300, varied=400, epochs=2, busi=3, laid_in=2 * LAID_IN),
    Stage(recipe=FULL, plain=300, varied=400, epochs=1, busi=3, laid_in=4 * LAID_IN, start_share=0.5),
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
    parts, kept_out = parts_of(arguments.data, arguments.cache)
    real_parts = [parts[name] for name in ("breast", "vessels and nerves", "muscle")]
    validation = Samples.join(kept_out.values())
    network: Member | None = None
    stages = list(enumerate(STAGES, start=1))
    if arguments.start_from:
        network = load_model(arguments.start_from).members[0]
        stages = stages[arguments.first - 1 :] if arguments.first else stages[-1:]
    for number, stage in stages:
        folder = arguments.cache / f"stage-{number}"
        folder.mkdir(exist_ok=True)
        resume = (folder / "checkpoint.pt").is_file()
        if network is not None and not resume:
            torch.save(network.state_dict(), folder / START)
        frames = Samples.join(
            [
                simulated("train", "plain", stage.plain, arguments.cache),
                *([simulated("train", "varied", stage.varied, arguments.cache)] if stage.varied else []),
                *[parts["breast"]] * (stage.busi - 1),
                *([parts[LAID].take(range(stage.laid_in))] if stage.laid_in else []),
                *real_parts,
            ]
        )
        print(f"stage {number}: {len(frames)} frames, {stage.epochs} epochs", flush=True)
        run_stage(number, stage, frames, validation, folder, network, resume)
        network = weights_of(folder, stage)
    assert network is not None
    return network


def run_stage(
    number: int,
    stage: Stage,
    frames: Samples,
    validation: Samples,
    folder: Path,
    network: Member | None,
    resume: bool,
) -> None:
    """Train one stage to its end, with a line of the log for each event."""
    done = 0

    def stop() -> bool:
        return stage.ended is not None and done >= stage.ended

    with (folder / "log.jsonl").open("a" if resume else "w") as log:
        for event in fit(
            frames,
            validation,
            stage.recipe,
            folder,
            epochs=stage.epochs,
            start_from=network,
            resume=resume,
            stop=stop,
        ):
            done = getattr(event, "step", done)
            line = json.dumps({"stage": number, **msgspec.to_builtins(event)})
            print(line, flush=True)
            log.write(line + "\n")
            log.flush()


def parts_of(data: Path, cache: Path) -> tuple[dict[str, Samples], dict[str, Samples]]:
    """Training and validation frames by their source, as the last stage saw them."""
    last = STAGES[-1]

    def prepared(name: str, annotations: Callable[[], Iterable[Annotation]]) -> Samples:
        path = cache / f"{name}.npz"
        if not path.is_file():
            real(annotations(), name, Recipe.best().prepare).save(path)
        return Samples.load(path)

    def composed(name: str, sources: dict[str, Samples], count: int, folds: int = 1) -> Samples:
        """Lesions laid into frames of their own fold: what the arm of another fold learns shows neither."""
        path = cache / (f"{name}-{count}.npz" if folds == 1 else f"{name}-{folds}x{count // folds}.npz")
        if not path.is_file():
            parts = []
            for fold in range(folds):
                own = {name: part.take(range(fold, len(part), folds)) for name, part in sources.items()}
                breast = own["breast"]
                empty = breast.take(np.flatnonzero([not one.any() for one in breast.instances]))
                grounds = Samples.join([empty, own["vessels and nerves"], own["muscle"]])
                parts.append(laid_in(breast, grounds, count // folds, seed=fold))
            by_fold = np.arange(count).reshape(folds, -1).T.ravel()
            Samples.join(parts).take(by_fold).save(path)
        return Samples.load(path)

    vessels = prepared("usgra-train", lambda: usgra(data, "train"))
    kept_out = np.arange(len(vessels)) % 4 == 3
    train = {
        "plain": simulated("train", "plain", last.plain, cache),
        "varied": simulated("train", "varied", last.varied, cache),
        "breast": prepared("busi-train", lambda: busi(data, "train")),
        "vessels and nerves": vessels.take(np.flatnonzero(~kept_out)),
        "muscle": prepared("muscle-train", lambda: muscle(data, "train")),
    }
    train[LAID] = composed("laid-in-train", train, last.laid_in)
    validation = {
        "plain": simulated("validation", "plain", VALIDATION_FRAMES, cache),
        "varied": simulated("validation", "varied", VALIDATION_FRAMES, cache),
        "breast": prepared("busi-val", lambda: busi(data, "val")),
        "vessels and nerves": vessels.take(np.flatnonzero(kept_out)),
        "muscle": prepared("muscle-validation", lambda: muscle(data, "validation")),
    }
    validation[LAID] = composed("laid-in-validation", validation, LAID_IN_VALIDATION, FOLDS)
    return train, validation


def weights_of(folder: Path, stage: Stage) -> Member:
    """Load the network that a stage gives on."""
    network = network_of(stage.recipe.network).eval()
    name = "best.pt" if stage.take == "best" else "checkpoint.pt"
    state = torch.load(folder / name, weights_only=True, map_location="cpu")
    weights = state if stage.take == "best" else state["average"]
    if share := stage.start_share:
        start = torch.load(folder / START, weights_only=True, map_location="cpu")
        weights = {
            key: ((1 - share) * value.float() + share * start[key].float()).to(value.dtype)
            for key, value in weights.items()
        }
    network.load_state_dict(weights)
    return network


def learn_arm(network: UYNet, sources: dict[str, Samples], validation: dict[str, Samples]) -> list[UYNet]:
    """Let the arm learn anew from training and validation frames.

    Returns
    -------
    list of UYNet
        The network of each fold: its arm has seen all but the validation frames of the fold.
    """
    known, others = (
        {name: read_patches(network, part, augmented=augmented, passes=1) for name, part in parts.items()}
        for parts, augmented in ((sources, True), (validation, False))
    )
    weights = [ARM_WEIGHTS.get(name, 1.0) for name in known]
    weights += [VALIDATION_WEIGHT * ARM_WEIGHTS.get(name, 1.0) for name in others]
    judges = []
    for left_out in range(FOLDS + 1):  # the last time no fold is
        rest = [patches.of(patches.frames % FOLDS != left_out) for patches in others.values()]
        fit_arm(network, [*known.values(), *rest], weights=weights)
        judges.append(copy.deepcopy(network))
    return judges[:FOLDS]


def limits_of(judges: Sequence[Member], parts: dict[str, Samples], areas: np.ndarray) -> Limits:
    """Find the limits from all validation frames together, and print what they cost on each source."""
    scores = {
        name: [
            score
            for fold, network in enumerate(judges)
            for score in score_frames(network, part.take(range(fold, len(part), len(judges))))
        ]
        for name, part in parts.items()
    }
    pooled = [score for source in scores.values() for score in source]
    limits = fit_limits(pooled, areas, knows_nothing=judges[0].config.knows_nothing)
    for name, source in scores.items():
        for least in (0.0, limits.min_node_chance):
            dice_mean, left_alone = trade_off(source, least, limits.min_node_area)
            print(
                f"{name}, chance {least}: mean Dice {dice_mean:.3f}, claims {1 - left_alone:.3f}", flush=True
            )
    return limits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "default")
    parser.add_argument("--out", type=Path, default=ROOT / "src" / "napari_cln" / "models")
    parser.add_argument("--test-frames", type=int, default=200, help="simulated frames to measure on")
    parser.add_argument("--data", type=Path, required=True, help="folder with busi_384, usgra and us_dicom")
    parser.add_argument(
        "--start-from", help="model that has all stages but the last behind it: train the last alone"
    )
    parser.add_argument("--first", type=int, help="with --start-from: number of the first stage to train")
    parser.add_argument(
        "--measure-only",
        nargs="?",
        const="",
        help="train nothing: finish the weights that are in the cache, or print the figures of a model",
    )
    parser.add_argument(
        "--test",
        action="store_true",
        help="of the finished weights in the cache: look at the test frames, once, and write the model",
    )
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    if arguments.measure_only:
        model = Segmenter(arguments.measure_only, "cpu")
        tested = measured_on_test(model, arguments.test_frames, arguments.data, arguments.cache)
        print("\n".join(map(str, figures(model, tested, arguments.data))))
        return
    if arguments.test:
        test(arguments)
        return
    last = STAGES[-1]
    network = (
        weights_of(arguments.cache / f"stage-{len(STAGES)}", last)
        if arguments.measure_only is not None
        else train(arguments)
    )
    left_out = ("name", "network", "prepare")
    stages = [
        {"plain": stage.plain, "varied": stage.varied, "busi": stage.busi, "laid_in": stage.laid_in}
        | {"epochs": stage.epochs, "ended": stage.ended, "take": stage.take, "start_share": stage.start_share}
        | {key: value for key, value in stage.recipe.settings().items() if key not in left_out}
        for stage in STAGES
    ]
    sources, validation = parts_of(arguments.data, arguments.cache)
    card = ModelCard(
        name="default",
        created=date.today().isoformat(),
        config=last.recipe.network,
        prepare=last.recipe.prepare,
        trained_on=trained_on(arguments.data, sum(map(len, validation.values()))),
        recipe={"name": last.recipe.name, "seed": 0, "stages": stages},
        limits=f"{LIMITS} Its real lesions were of the breast alone; its other real frames, vessels and "
        "nerves (of neck, axilla, arm and leg) and muscle, were frames without a node.",
    )
    assert isinstance(network, UYNet)
    own = [[part for name, part in parts.items() if name != LAID] for parts in (sources, validation)]
    learn_training_data(network, *own)
    judges = learn_arm(network, sources, validation)
    drawn_nodes = (part.node_areas() for part in (*sources.values(), *validation.values()))
    card = replace(card, **vars(limits_of(judges, validation, np.concatenate(list(drawn_nodes)))))
    card, rows = calibrated(
        judges, card, validation_sources(VALIDATION_FRAMES, arguments.data, validation[LAID])
    )
    if card.doubt is not None:
        images = (image for part in (*sources.values(), *validation.values()) for image in part.images)
        sectors = any(is_sector(image / np.float32(255)) for image in images)
        card = replace(card, doubt=replace(card.doubt, knows_sectors=sectors))
    save_model(network, arguments.cache / "default.safetensors", card)
    store(rows, arguments.cache / VALIDATED)
    for source, measured_rows in rows.items():
        for name, estimate in test_figures(measured_rows, card.cutoff):
            print(f"validation, {source}: {name} {estimate}")
    for name, source, estimate in doubt_figures(rows):
        print(f"{name}, {source}: {estimate}")


def test(arguments: argparse.Namespace) -> None:
    """Look at the test frames, beside the model that ships so far, and write the new one with its card."""
    model, before = (
        Segmenter(load_model(name), "cpu")
        for name in (str(arguments.cache / "default.safetensors"), "default")
    )
    tested, former = (
        measured_on_test(one, arguments.test_frames, arguments.data, arguments.cache)
        for one in (model, before)
    )
    rows = stored(arguments.cache / VALIDATED)
    found = figures(model, tested, arguments.data) + tuple(
        Figure(name=name, data=source, estimate=estimate) for name, source, estimate in doubt_figures(rows)
    )
    for figure in found:
        print(figure)
    for source in [source for source, rows in tested.items() if any(row.has_node for row in rows)]:
        print(f"{source}: {compared(tested[source], former[source], before.model.model_id)}")
    gap = compared(tested[BUSI_TEST], former[BUSI_TEST], before.model.model_id)
    arguments.out.mkdir(parents=True, exist_ok=True)
    card = replace(model.card, figures=found, compared=gap)
    (network,) = load_model(str(arguments.cache / "default.safetensors")).members
    save_model(network, arguments.out / "default.safetensors", card)
    keep_log(arguments.cache)


def keep_log(cache: Path) -> None:
    """Write what each stage told; a stage that the cache lacks keeps the lines that it has."""
    new = {int(path.parent.name.split("-")[1]): path for path in cache.glob("stage-*/log.jsonl")}
    lines = [line for line in LOG.read_text().splitlines(keepends=True) if _stage(line) not in new]
    lines += [line for path in new.values() for line in path.read_text().splitlines(keepends=True)]
    LOG.write_text("".join(sorted(lines, key=_stage)))


def _stage(line: str) -> int:
    return int(json.loads(line)["stage"])


def trained_on(data: Path, validated: int) -> tuple[TrainingData, ...]:
    """What the card says about the training frames, and those of validation that taught the arm."""
    return (
        TrainingData(
            name="simulated neck frames, plain and varied (napari_cln.simulate)",
            n=max(stage.plain for stage in STAGES) + max(stage.varied for stage in STAGES),
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
            name="BUSI, training part: breast lesions, a stand-in for nodes; also laid into the frames above "
            "and into those of BUSI without a lesion",
            n=sum(1 for _ in busi(data, "train")),
            licence="CC BY 4.0 (of the article)",
            citation="Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 28:104863, "
            "2020. doi:10.1016/j.dib.2019.104863",
        ),
        TrainingData(
            name="validation frames like all of these, and their lesions laid in: they taught the class arm "
            "alone, and their figures come from arms that had not seen them",
            n=validated,
            licence="as above",
            citation="as above",
        ),
    )


if __name__ == "__main__":
    main()
