"""Few labels: what unlabelled frames, pretraining and simulated frames bring a small network.

Rows of ``review.py``. Breast lesions stand in for nodes: of the training part a tenth is labelled, by several
draws, and the rest is not. All arms take the same number of labelled steps, and the last weights are judged,
so that no frame that is judged chose them.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from measure_default import busi, real, usgra  # noqa: E402
from napari_cln.network.model import Member  # noqa: E402
from napari_cln.network.u_shaped import network_of  # noqa: E402
from napari_cln.study.statistics.metrics import dice  # noqa: E402
from napari_cln.training.data import MAX_NODES, Samples  # noqa: E402
from napari_cln.training.loop import fit  # noqa: E402
from napari_cln.training.more_frames import simulated_samples  # noqa: E402
from napari_cln.training.recipes import Recipe  # noqa: E402
from napari_cln.training.scoring import score_frames, summarise  # noqa: E402
from napari_cln.types import Estimate  # noqa: E402

SHARE = 0.1
DRAWS = 4
WIDTH = 0.25
"""Of the network, as a part of the recipe's; frames are seen at a quarter of the side."""
STEPS = 250
SIMULATED = 60
Results: TypeAlias = dict[str, list[dict[str, list[float]]]]
"""Dice of each judged lesion, and the AUC, by arm and draw."""
ARMS = ("supervised", "unlabelled", "pretrained", "synthetic", "wrong")
"""``wrong`` has unlabelled frames of vessels and nerves, without a lesion; of the first draw alone."""


def recipe_of() -> Recipe:
    """The recipe ``best`` on a small network."""
    best = Recipe.best()
    return replace(best, network=replace(best.network, width=WIDTH), average=0.98, learning_rate=4e-3)


def arms(data: Path, cache: Path) -> Results:
    """Dice and scores of each judged lesion by arm and draw; what is done is kept on disk."""
    torch.set_num_threads(1)
    kept = cache / "labels.json"
    found: Results = json.loads(kept.read_text()) if kept.exists() else {}
    config = recipe_of().prepare
    parts = {}
    for part in ("train", "val", "public_test"):
        path = cache / f"busi-{part}-small.npz"
        if not path.exists():
            cache.mkdir(parents=True, exist_ok=True)
            real(busi(data, part), part, config).halved().halved().save(path)
        parts[part] = Samples.load(path)
    judged = Samples.join([parts["val"], parts["public_test"]])
    judged = judged.take(np.flatnonzero(judged.instances.any((1, 2))))
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(len(parts["train"]))
        n = round(SHARE * len(order))
        few, rest = parts["train"].take(order[:n]), unlabelled(parts["train"].take(order[n:]))
        for arm in ARMS:
            done = found.setdefault(arm, [])
            if len(done) > draw or (arm == "wrong" and draw):
                continue
            done.append(scores_of(trained(arm, few, rest, draw, cache), judged))
            kept.write_text(json.dumps(found))
            print(f"# draw {draw}, {arm}: {np.mean(done[-1]['dice']):.3f}", file=sys.stderr, flush=True)
    if "all labelled" not in found:
        found["all labelled"] = [scores_of(trained("supervised", parts["train"], rest, 0, cache), judged)]
        kept.write_text(json.dumps(found))
    return found


def unlabelled(samples: Samples) -> Samples:
    """Frames without what is known of them."""
    return replace(
        samples,
        instances=np.zeros_like(samples.instances),
        has_mask=np.zeros(len(samples), bool),
        node_targets=np.full((len(samples), MAX_NODES), np.nan, np.float32),
        frame_targets=np.full(len(samples), np.nan, np.float32),
    )


def empty_frames(cache: Path) -> Samples:
    """Frames of vessels and nerves, without what is known of them."""
    path = cache / "usgra-small.npz"
    if not path.exists():
        frames = real(usgra(ROOT.parent / "shared" / "data", "train"), "usgra", recipe_of().prepare)
        frames.halved().halved().save(path)
    return unlabelled(Samples.load(path))


def trained(arm: str, few: Samples, rest: Samples, draw: int, cache: Path) -> Member:
    """A network of one arm."""
    recipe, start = recipe_of(), None
    if arm == "pretrained":
        everything = Samples.join([unlabelled(few), rest])
        start = run(everything, replace(recipe, task="restore"), draw, cache, repeat=1)
        fresh = network_of(recipe.network)
        last = {k: v for k, v in fresh.state_dict().items() if k.startswith(("head.", "draw"))}
        start.load_state_dict({**start.state_dict(), **last})
    frames = few
    if arm == "synthetic":
        path = cache / f"simulated-{SIMULATED}.npz"
        if not path.exists():
            made = simulated_samples(SIMULATED, 0, recipe.prepare)
            assert made is not None
            made.halved().halved().save(path)
        frames = Samples.join([*[few] * max(SIMULATED // len(few), 1), Samples.load(path)])
    more = {"unlabelled": rest, "wrong": empty_frames(cache)}.get(arm)
    return run(frames, recipe, draw, cache, start=start, more=more)


def run(
    frames: Samples,
    recipe: Recipe,
    seed: int,
    cache: Path,
    *,
    start: Member | None = None,
    more: Samples | None = None,
    repeat: int = 8,
) -> Member:
    """Train for the fixed number of steps, and give the last averaged weights."""
    # the frames several times an epoch: fewer validations, which choose nothing here
    frames = Samples.join([frames] * (repeat if len(frames) < 100 else 1))
    epochs = max(round(STEPS / (len(frames) // recipe.batch_size)), 1)
    folder = cache / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for _ in fit(
        frames, frames.take([0]), recipe, folder, epochs=epochs, seed=seed, start_from=start, unlabelled=more
    ):
        pass
    network = network_of(recipe.network).eval()
    state = torch.load(folder / "checkpoint.pt", weights_only=True, map_location="cpu")
    network.load_state_dict(state["average"])
    return network


def scores_of(network: Member, judged: Samples) -> dict[str, list[float]]:
    """Dice of each lesion's frame, and the AUC."""
    with torch.no_grad():
        images = torch.from_numpy(judged.images)[:, None].float() / 255
        drawn = network.decode(network.encode(images)).softmax(1)[:, 1].numpy() >= 0.5
    scores = score_frames(network, judged)
    return {
        "dice": [dice(one, ids > 0) for one, ids in zip(drawn, judged.instances, strict=True)],
        "auc": [float(summarise(scores).auc or np.nan)],
    }


def compared(found: Results, arm: str) -> tuple[Estimate, float, float]:
    """Gain of an arm over the labelled frames alone in mean Dice, over its draws and with its interval over
    lesions; its own mean Dice; and its gain in AUC."""
    n = len(found[arm])
    own, base = (np.array([draw["dice"] for draw in found[name][:n]]).mean(0) for name in (arm, "supervised"))
    gaps = own - base
    rng = np.random.default_rng(0)
    again = gaps[rng.integers(len(gaps), size=(5000, len(gaps)))].mean(1)
    low, high = np.quantile(again, [0.025, 0.975])
    auc = [np.mean([draw["auc"][0] for draw in found[name][:n]]) for name in (arm, "supervised")]
    gain = Estimate(value=float(gaps.mean()), low=float(low), high=float(high), n=len(gaps))
    return gain, float(own.mean()), float(auc[0] - auc[1])


def draws(found: Results, arm: str) -> list[float]:
    """Gain of each draw."""
    pairs = zip(found[arm], found["supervised"], strict=False)
    return [round(float(np.mean(one["dice"]) - np.mean(other["dice"])), 3) for one, other in pairs]


def told(found: Results) -> Iterator[dict[str, Any]]:
    """What, value, bound, held and best of each arm, as ``review.py`` prints them."""
    n = len(found["supervised"])
    ceiling, _, _ = compared(found, "all labelled")
    for arm, what, bound in (
        ("unlabelled", "347 unlabelled frames, by a mean teacher,", "≥ +0.03, lower limit > 0"),
        ("pretrained", "a pretraining on all 385 frames without labels", "≥ 0, lower limit > −0.01"),
        ("synthetic", f"{SIMULATED} simulated frames", "stated"),
        ("wrong", "unlabelled frames without a lesion", "loses less than 0.01"),
    ):
        gain, mean, auc = compared(found, arm)
        yield {
            "what": f"mean Dice of 38 labelled frames and {what} less that of 38 alone, {gain.n} lesions, "
            f"{len(found[arm])} of {n} draws",
            "value": f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}), to {mean:.3f}; by draw "
            f"{draws(found, arm)}; AUC {auc:+.3f}",
            "bound": bound,
            "held": {
                "unlabelled": gain.value >= 0.03 and gain.low > 0,
                "pretrained": gain.value >= 0 and gain.low > -0.01,
                "synthetic": True,
                "wrong": gain.value > -0.01,
            }[arm],
            "best": f"all 385 labelled {ceiling.value:+.3f}",
        }


if __name__ == "__main__":
    for line in told(arms(ROOT.parent / "shared" / "data", ROOT / "build" / "review")):
        print(line)
