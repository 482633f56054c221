"""What training material is worth on an organ that no training frame shows.

    python benchmarks/material.py --data ../shared/data --cache build/default [--epochs 16] [--seeds 2]

The network of the recipe ``best`` learns nodes from simulated frames alone, at half the side: from the plain
scene, from the varied one, or from half of both; as many frames of each, in as many steps, beside the
same frames of vessels, nerves and muscle. No breast frame is trained or tuned on, so that BUSI's
training and validation parts can judge (its test part stays unseen): outlines of lesions, claims on frames
without one, and the difference from the plain scene on the same frames. Simulated frames lie in the cache of
``tools/train_default.py``. What was trained is kept under ``--out`` and not trained again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from laid_in import mixed  # noqa: E402
from measure_default import LAID, resampled  # noqa: E402
from napari_cln.network.model import Member  # noqa: E402
from napari_cln.study.statistics.intervals import bootstrap, proportion  # noqa: E402
from napari_cln.training.data import Samples  # noqa: E402
from napari_cln.training.loop import fit  # noqa: E402
from napari_cln.training.run_folder import Epoch  # noqa: E402
from napari_cln.training.scoring import FrameScore, Limits, fit_limits, score_frames  # noqa: E402
from napari_cln.types import Estimate  # noqa: E402
from train_default import BEST, Stage, parts_of, simulated, weights_of  # noqa: E402

FRAMES = 300
"""Simulated frames of each training."""
PLAIN = "plain"
SCENES = {
    PLAIN: (FRAMES, 0, 0),
    "varied": (0, FRAMES, 0),
    "half of both": (FRAMES // 2, FRAMES // 2, 0),
    "half plain, half nodes in real frames": (FRAMES // 2, 0, FRAMES // 2),
}
"""Plain and varied frames, and real frames without a node into which a simulated one is laid."""
RING = 6
"""Pixels of the ring round a node that tell its contrast."""


def trained(
    name: str, seed: int, parts: dict[str, Samples], validation: Samples, arguments: argparse.Namespace
) -> Member:
    """Train on one kind of material, or take what was trained before."""
    plain, varied, laid = SCENES[name]
    stage = Stage(recipe=replace(BEST, half=1.0), plain=plain, varied=varied, epochs=arguments.epochs)
    folder = arguments.out / f"{name}-{seed}".replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "done").is_file():
        frames = [
            simulated("train", scene, FRAMES, arguments.cache).take(range(count))
            for scene, count in (("plain", plain), ("varied", varied))
            if count
        ]
        empty = [parts["vessels and nerves"], parts["muscle"]]
        if laid:
            nodes = simulated("train", "plain", FRAMES, arguments.cache).take(range(plain, FRAMES))
            frames.append(in_place(nodes, Samples.join(empty), laid, seed))
        together = Samples.join([*frames, *empty])
        resume = (folder / "checkpoint.pt").is_file()
        for event in fit(
            together,
            validation,
            stage.recipe,
            folder,
            epochs=stage.epochs,
            seed=seed,
            resume=resume,
        ):
            if isinstance(event, Epoch):
                print(name, seed, event.epoch, event.dice_mean, event.claimed, event.auc, flush=True)
        (folder / "done").touch()
    return weights_of(folder, stage)


def in_place(nodes: Samples, empty: Samples, count: int, seed: int) -> Samples:
    """Real frames without a node in which simulated nodes lie, at their place and of their size.

    Where real frames show no node and simulated ones do, "real" comes to mean "no node"; these take away that
    way out.
    """
    rng, taken = np.random.default_rng(seed), []
    with_node = [index for index in range(len(nodes)) if nodes.instances[index].any()]
    while len(taken) < count:
        frame = nodes.take([with_node[rng.integers(len(with_node))]])
        ground = empty.images[rng.integers(len(empty))].astype(np.float32)
        image = mixed(frame.images[0].astype(np.float32), frame.instances[0] > 0, ground, ring=RING)
        if image is not None:
            taken.append(replace(frame, images=image[None]))
    return Samples.join(taken)


def outcome(scores: Sequence[FrameScore], limits: Limits) -> tuple[np.ndarray, Estimate]:
    """Dice of the frames with a node, and the share of the others on which one is claimed."""
    results = [(score, *score.result(limits.min_node_chance, limits.min_node_area)) for score in scores]
    claims = [claimed for score, _, claimed in results if not score.has_node]
    return np.array([dice for score, dice, _ in results if score.has_node]), proportion(
        sum(claims), len(claims)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with busi_384, usgra and muscle")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "default")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "material")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    parts, kept_out = parts_of(arguments.data, arguments.cache)
    judge = Samples.join([parts["breast"], kept_out.pop("breast")])
    kept_out.pop(LAID)  # it shows lesions of the breast
    validation = Samples.join(kept_out.values())
    areas = np.concatenate([part.node_areas() for part in kept_out.values()])
    found: dict[tuple[str, int], np.ndarray] = {}
    for seed in range(arguments.seeds):
        for name in SCENES:
            network = trained(name, seed, parts, validation, arguments)
            limits = fit_limits(score_frames(network, validation), areas, knows_nothing=True)
            dices, claims = outcome(score_frames(network, judge), limits)
            found[name, seed] = dices
            print(
                f"{name}, seed {seed}, limit {limits.min_node_chance}: on breast mean Dice "
                f"{resampled(lambda drawn: drawn.mean(axis=-1), dices)}, under 0.1 "
                f"{proportion(int((dices < 0.1).sum()), len(dices))}, claims without a lesion "
                f"{claims}",
                flush=True,
            )
    for name in SCENES:
        mean = {
            key: np.mean([found[key, seed] for seed in range(arguments.seeds)], axis=0)
            for key in (name, PLAIN)
        }
        gaps = mean[name] - mean[PLAIN]
        low, high = bootstrap(lambda w, gaps=gaps: w @ gaps / w.sum(axis=1), np.arange(len(gaps)))
        print(
            f"{name} minus {PLAIN}, {arguments.seeds} seeds: {gaps.mean():+.3f} ({low:+.3f} to {high:+.3f}), "
            f"n = {len(gaps)}"
        )


if __name__ == "__main__":
    main()
