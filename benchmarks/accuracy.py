"""Which network, trained how, draws and scores best: same frames, same budget, several seeds.

    python benchmarks/accuracy.py --data ../shared/data [--cache build/accuracy] [--seeds 3]
        [--epochs 12] [--full 0] [--only NAME …] [--table] [--write]

Every network goes through the package's own trainer and :class:`Segmenter`, from the screen to the score
on the screen's own pixels. BUSI's training part with 60 of usgra's frames without a node trains,
BUSI's validation part chooses the epoch, the cutoff and the temperature, BUSI's public test part and
usgra's test part are measured, once. Each run is one line of ``benchmarks/results/accuracy.jsonl``; a run
that has its line is not repeated, and one that was interrupted goes on from its checkpoint. ``--table``
prints what is there, ``--write`` puts it into ``benchmarks/results/accuracy.md``.

MONAI's networks need ``pip install --no-deps monai==1.6.1``.

Frames are averaged to 128×128 for all networks alike (``--half no`` for 256×256, at four times the cost).
``--full N`` makes networks for 256×256, which train on frames at half the side first, and then for N epochs
at the full side, at half the rate: most of what full side gives, in less time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

# the networks here are not all a Y-Net's layers, which another engine would record
os.environ["NAPARI_CLN_ENGINE"] = "pytorch"
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from measure_default import busi, muscle, real, usgra  # noqa: E402
from napari_cln.imaging.measurement import bounds  # noqa: E402
from napari_cln.imaging.preprocessing import ModelInput, prepare  # noqa: E402
from napari_cln.models.card import ModelCard  # noqa: E402
from napari_cln.network.ensemble import Ensemble  # noqa: E402
from napari_cln.network.inference import Segmenter  # noqa: E402
from napari_cln.network.model import Features, Member, Network, YNet, YNetConfig  # noqa: E402
from napari_cln.network.u_shaped import UYNet  # noqa: E402
from napari_cln.study.statistics.calibration import expected_calibration_error  # noqa: E402
from napari_cln.study.statistics.intervals import bootstrap, proportion  # noqa: E402
from napari_cln.study.statistics.metrics import auc, dice  # noqa: E402
from napari_cln.training.data import Batch, Samples  # noqa: E402
from napari_cln.training.loop import fit, mixed_precision  # noqa: E402
from napari_cln.training.loss import Objective  # noqa: E402
from napari_cln.training.recipes import Recipe  # noqa: E402
from napari_cln.training.run_folder import Epoch  # noqa: E402
from napari_cln.training.scoring import fit_limits, fit_operating_point, score_frames  # noqa: E402
from napari_cln.types import Box, Frame, Prediction, PrepareConfig  # noqa: E402

RECORDS = ROOT / "benchmarks" / "results" / "accuracy.jsonl"
PAGE = ROOT / "benchmarks" / "results" / "accuracy.md"
NEGATIVES = 60
"""Frames of usgra that train beside BUSI's."""
REFERENCE = "Y-Net, pyramid"


class Half(YNet):
    """A Y-Net that sees frames at half the side; masks, and guides, keep theirs."""

    def encode(self, x: Tensor) -> Features:
        return super().encode(F.avg_pool2d(x, 2))

    def levels(self, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        *coarser, logits = super().levels(features)
        return *coarser, F.interpolate(logits.float(), scale_factor=2.0, mode="bilinear")

    def classify(
        self, features: Features, guide: Tensor | None = None, frames: Tensor | None = None
    ) -> Tensor:
        return super().classify(features, None if guide is None else F.avg_pool2d(guide.float(), 2), frames)


class HalfU(UYNet):
    """A U-shaped Y-Net that sees frames at half the side; masks, and guides, keep theirs."""

    def encode(self, x: Tensor) -> Features:
        return super().encode(F.avg_pool2d(x, 2))

    def masks(self, features: Features) -> tuple[Tensor, ...]:
        *coarser, logits = super().masks(features)
        return *coarser, F.interpolate(logits.float(), scale_factor=2.0, mode="bilinear")

    def classify(
        self, features: Features, guide: Tensor | None = None, frames: Tensor | None = None
    ) -> Tensor:
        return super().classify(features, None if guide is None else F.avg_pool2d(guide.float(), 2), frames)


class Peer(YNet):
    """Another network that draws a mask, in the place of a Y-Net; its score says nothing."""

    def __init__(self, network: nn.Module, half: bool, *, channels_last: bool = True) -> None:
        nn.Module.__init__(self)
        self.config = YNetConfig(guided=False)
        self.card = self.novelty = None
        self.network, self.factor = network, 2 if half else 1
        self.channels_last = channels_last

    def changed(self, change: Callable[[YNet], YNet]) -> Peer:
        return self  # what makes a Y-Net quicker says nothing to another network

    def encode(self, x: Tensor) -> Features:
        return Features(*[F.avg_pool2d(x, self.factor)] * 4)

    def masks(self, features: Features) -> tuple[Tensor, ...]:
        frames = features.e1
        if not self.channels_last:  # the trainer lays out weights and frames so, whatever the network
            frames = frames.contiguous()
            for parameter in self.network.parameters():
                parameter.data = parameter.data.contiguous()
        logits: Tensor = self.network(frames)
        return (F.interpolate(logits.float(), scale_factor=float(self.factor), mode="bilinear"),)

    def classify(
        self, features: Features, guide: Tensor | None = None, frames: Tensor | None = None
    ) -> Tensor:
        return torch.zeros(len(features.e1) if frames is None else len(frames), 2).to(features.e1.device)


def u_shaped(half: bool) -> Member:
    """The network of the recipe ``best``."""
    return (HalfU if half else UYNet)(YNetConfig.best())


def unet(half: bool) -> YNet:
    """Plain U-Net with batch norm, 16 to 256 channels."""
    from monai.networks.nets import BasicUNet

    return Peer(BasicUNet(2, 1, 2, features=(16, 32, 64, 128, 256, 16), norm="batch"), half)


def nnunet(half: bool) -> YNet:
    """What nnU-Net plans for such frames: plain blocks, instance norm, leaky ReLU, 32 to 512 channels."""
    from monai.networks.nets import DynUNet

    channels = (32, 64, 128, 256, 512, 512, *(() if half else (512,)))
    strides = [1] + [2] * (len(channels) - 1)
    kernels = [3] * len(channels)
    net = DynUNet(2, 1, 2, kernels, strides, strides[1:], filters=channels, norm_name="instance")
    # on a processor instance norm takes a step half as long again with the channels last
    return Peer(net, half, channels_last=False)


def ynet(config: YNetConfig) -> Callable[[bool], YNet]:
    """A Y-Net."""
    return lambda half: (Half if half else YNet)(config)


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A network and how it is trained."""

    recipe: Recipe
    build: Callable[[bool], Member] | None = None
    scores: bool = True
    """Whether its score means anything."""

    def network(self, half: bool, seed: int) -> Member:
        torch.manual_seed(seed)
        return (self.build or ynet(self.recipe.network))(half)


BEST = replace(Recipe.best(), network=YNetConfig())
"""The recipe ``best`` on the network that it had before its trunk was U-shaped."""
PLAIN = replace(BEST, loss=replace(BEST.loss, deep_supervision=False))
"""The recipe as it was when its steps were compared."""
MASK_ALONE = replace(BEST, network=YNetConfig(guided=False), loss=replace(BEST.loss, class_weight=0.0))
PEERS = replace(MASK_ALONE, loss=replace(MASK_ALONE.loss, deep_supervision=False))
EQUAL = replace(PLAIN.loss, class_weight=1.0)
WITHOUT = "Y-Net, pyramid without deep supervision"
ENTRANTS = {
    "Y-Net, best": Entrant(recipe=Recipe.best(), build=u_shaped),
    REFERENCE: Entrant(recipe=BEST),
    "Y-Net, classification alone": Entrant(
        recipe=replace(Recipe.best(segmentation=False), network=YNetConfig(segmentation=False, guided=False))
    ),
    "Y-Net, paper": Entrant(recipe=Recipe.paper()),
    "Y-Net, mask alone": Entrant(recipe=MASK_ALONE, scores=False),
    WITHOUT: Entrant(recipe=PLAIN),
    "Y-Net, mask alone without deep supervision": Entrant(recipe=PEERS, scores=False),
    "nnU-Net-like": Entrant(recipe=PEERS, build=nnunet, scores=False),
    "U-Net": Entrant(recipe=PEERS, build=unet, scores=False),
}
ABLATION = {
    "class loss weighs 1": Entrant(recipe=replace(PLAIN, loss=EQUAL)),
    "class loss weighs 1, unguided": Entrant(
        recipe=replace(PLAIN, loss=EQUAL, network=YNetConfig(guided=False))
    ),
    "class loss weighs 1, every node alike": Entrant(
        recipe=replace(PLAIN, loss=replace(EQUAL, node_weight=0.5))
    ),
    "no Dice loss": Entrant(recipe=replace(PLAIN, loss=replace(PLAIN.loss, dice=False))),
    "stretched": Entrant(recipe=replace(PLAIN, prepare=PrepareConfig(keep_aspect=False))),
    "flips alone": Entrant(recipe=replace(PLAIN, augmentation="flip")),
    "constant rate, no average": Entrant(recipe=replace(PLAIN, schedule="constant", average=0.0)),
    "the paper's network": Entrant(recipe=replace(PLAIN, network=YNetConfig.paper())),
}
ALL = ENTRANTS | ABLATION


class Mirrored(Half):
    """A network that sees the frame mirrored, and mirrors its mask back."""

    def encode(self, x: Tensor) -> Features:
        return super().encode(x.flip(-1))

    def masks(self, features: Features) -> tuple[Tensor, ...]:
        return tuple(level.flip(-1) for level in super().masks(features))

    def classify(
        self, features: Features, guide: Tensor | None = None, frames: Tensor | None = None
    ) -> Tensor:
        return super().classify(features, None if guide is None else guide.flip(-1), frames)


def with_its_mirror(network: YNet) -> Network:
    """The mean of what a network says of a frame and of its mirror image."""
    twin = Mirrored(network.config)
    twin.load_state_dict(network.state_dict())
    return Ensemble([network, twin.eval()])


class SecondPass(Segmenter):
    """A segmenter that looks again, closely, at each node that it found.

    The network sees a box of twice the node's sides as if it were the scan area; what it draws there and
    touches the node takes the node's place. The scores stay those of the first pass.
    """

    def predict_prepared(self, frames: Sequence[Frame], inputs: Sequence[ModelInput]) -> list[Prediction]:
        return [*map(self._again, super().predict_prepared(frames, inputs), inputs)]

    def _again(self, first: Prediction, seen: ModelInput) -> Prediction:
        instances = np.zeros_like(first.instances)
        for node in range(1, int(first.instances.max()) + 1):
            mask = first.instances == node
            box = _widened(mask, seen.geometry.box)
            (close,) = super().predict_prepared(
                [first.frame], [prepare(first.frame, self.card.prepare, scan_area=box)]
            )
            touching = np.isin(close.instances, np.unique(close.instances[mask & (close.instances > 0)]))
            found = touching & (close.instances > 0)
            instances[found if found.any() else mask] = node
        return replace(first, instances=instances)


def _widened(mask: np.ndarray, within: Box) -> Box:
    """Box of twice a node's sides, and at least a quarter of the scan area's, round its middle."""
    place = bounds(mask)
    assert place is not None
    ends = []
    for side, low, high in zip(place, within[:2], within[2:], strict=True):
        half = max(side.stop - side.start, (high - low) // 8)
        middle = (side.start + side.stop) // 2
        ends.append((max(low, middle - half), min(high, middle + half)))
    (row0, row1), (column0, column1) = ends
    return row0, column0, row1, column1


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Another way to answer with the weights of the reference's runs."""

    network: Callable[[YNet], Network] = lambda network: network
    segmenter: type[Segmenter] = Segmenter
    all_seeds: bool = False
    """One network of all seeds, beside the mean of what each says alone."""


ANSWERS = {
    "mirrored twin": Answer(network=with_its_mirror),
    "second pass": Answer(segmenter=SecondPass),
    "three seeds as one": Answer(all_seeds=True),
}


def samples(part: str, prepare: PrepareConfig, arguments: argparse.Namespace) -> Samples:
    """Prepared frames, through the cache."""
    path = arguments.cache / f"{part}-{'letterbox' if prepare.keep_aspect else 'stretch'}.npz"
    if not path.is_file():
        frames = [real(busi(arguments.data, part), f"busi-{part}", prepare)]
        if part == "train":
            frames.append(real(usgra(arguments.data, part), "usgra", prepare).take(range(NEGATIVES)))
        Samples.join(frames).save(path)
    return Samples.load(path)


def run(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train one network and measure it."""
    recipe = ALL[name].recipe
    train, validation = (samples(part, recipe.prepare, arguments) for part in ("train", "val"))
    network = ALL[name].network(sees_half(arguments), seed)
    seconds, stages = 0.0, {"": (recipe, arguments.epochs)}
    if arguments.full:
        finer = replace(recipe, learning_rate=recipe.learning_rate / 2)
        stages = {
            "half": (replace(recipe, half=1.0), arguments.epochs),
            "full": (finer, arguments.full),
        }
    for part, (stage, epochs) in stages.items():
        folder = folder_of(name, seed, arguments) / part
        folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        taken = 0.0
        for event in fit(
            train,
            validation,
            stage,
            folder,
            epochs=epochs,
            seed=seed,
            start_from=network,
            resume=(folder / "checkpoint.pt").is_file(),
        ):
            if isinstance(event, Epoch):
                taken = event.seconds
                shown = ("epoch", "seconds", "dice_mean", "auc", "missed")
                print(name, seed, {key: getattr(event, key) for key in shown}, flush=True)
        seconds += taken or time.monotonic() - began
        network.load_state_dict(torch.load(folder / "best.pt", weights_only=True))
    return {
        **told(name, seed, network.eval(), recipe, validation, arguments),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "seconds": round(seconds),
    }


def sees_half(arguments: argparse.Namespace) -> bool:
    """Whether the networks are made for frames at half the side."""
    return arguments.half == "yes" and not arguments.full


def folder_of(name: str, seed: int, arguments: argparse.Namespace) -> Path:
    """Where a run keeps its checkpoint and its weights."""
    words = map(str, (name, seed, *asked(arguments).values()))
    return Path(arguments.cache) / "-".join(words).replace(" ", "_")


def told(
    name: str,
    seed: int,
    network: Network,
    recipe: Recipe,
    validation: Samples,
    arguments: argparse.Namespace,
    kind: type[Segmenter] = Segmenter,
) -> dict[str, Any]:
    """What a trained network says of the test frames, with the operating point of validation frames."""
    scores = score_frames(network, validation)
    temperature, cutoff, _ = fit_operating_point(scores, "validation")
    knows = network.config.knows_nothing
    limits = fit_limits(scores, validation.node_areas(), knows_nothing=knows)
    network.card = ModelCard(
        name=name,
        config=network.config,
        prepare=recipe.prepare,
        mask_threshold=0.5 if recipe.network.segmentation else None,
        min_node_chance=limits.min_node_chance,
        temperature=temperature,
        cutoff=cutoff,
    )
    return {
        "name": name,
        "seed": seed,
        **asked(arguments),
        "recipe": recipe.settings(),
        "temperature": round(temperature, 3),
        "cutoff": round(cutoff, 4),
        "frames": list(measured(kind(network, "cpu"), arguments.data)),
    }


def answer(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Another way to answer; None where the cache lacks the weights of today's recipe."""
    way, recipe = ANSWERS[name], BEST
    networks = []
    for one in range(arguments.seeds) if way.all_seeds else (seed,):
        folder = folder_of(REFERENCE, one, arguments)
        if not (folder / "best.pt").is_file():
            return None
        plan = torch.load(folder / "checkpoint.pt", weights_only=True)["plan"]["recipe"]
        if any(plan.get(key) != value for key, value in recipe.settings().items()):
            return None  # of a former recipe
        network = Entrant(recipe=recipe).network(sees_half(arguments), one)
        network.load_state_dict(torch.load(folder / "best.pt", weights_only=True))
        networks.append(way.network(network.eval()))
    whole = Ensemble(networks).eval() if way.all_seeds else networks[0]
    validation = samples("val", recipe.prepare, arguments)
    return told(name, seed, whole, recipe, validation, arguments, way.segmenter)


def measured(segmenter: Segmenter, data: Path) -> Iterator[dict[str, Any]]:
    """What the network says of each test frame, beside the truth."""
    sources = {
        "busi": busi(data, "public_test"),
        "usgra": usgra(data, "test"),
        "muscle": muscle(data, "test"),
    }
    for source, frames in sources.items():
        for index, annotation in enumerate(frames):
            (prediction,) = segmenter.predict([annotation.frame])
            yield {
                "id": f"{source}-{index}",
                "label": annotation.label if annotation.nodes else "none",
                "claimed": bool(prediction.mask.any()),
                "dice": round(dice(prediction.mask, annotation.mask), 4) if annotation.nodes else None,
                "malignancy": round(prediction.malignancy, 5),
            }


def step_times(names: list[str], arguments: argparse.Namespace) -> dict[str, float]:
    """Time of a training step, all networks taking turns; the first one's is 1."""
    frames = samples("train", BEST.prepare, arguments).take(range(8))
    batch, objectives = Batch.of(frames, torch.device("cpu")), {}
    for name in names:
        objectives[name] = Objective(ALL[name].network(sees_half(arguments), 0), ALL[name].recipe.loss).to(
            memory_format=torch.channels_last
        )  # type: ignore[call-overload]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(6):
        for name, objective in objectives.items():
            begun = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed_precision() == "bf16"):
                loss = objective(batch)["total"]
            loss.backward()
            seconds[name].append(time.perf_counter() - begun)
    unit = np.array(seconds[names[0]][1:])
    return {name: float(np.median(np.array(values[1:]) / unit)) for name, values in seconds.items()}


def asked(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings that two runs must share to be compared."""
    return {"epochs": arguments.epochs, "half": arguments.half, "full": arguments.full}


def records(arguments: argparse.Namespace) -> dict[tuple[str, int], dict[str, Any]]:
    """Runs that were made with these settings and today's recipes."""
    lines = RECORDS.read_text().splitlines() if RECORDS.is_file() else []
    found = {}
    for line in map(json.loads, lines):
        name = line["name"]
        recipe = BEST if name in ANSWERS else ALL[name].recipe if name in ALL else None
        now = recipe and json.loads(json.dumps(recipe.settings()))
        then = json.loads(json.dumps(Recipe().settings())) | line["recipe"]  # steps that it did not know yet
        for part, default in (("network", YNetConfig()), ("prepare", PrepareConfig())):
            then[part] = json.loads(json.dumps(asdict(default))) | then[part]
        if then == now and all(line.get(key, 0) == value for key, value in asked(arguments).items()):
            found[name, line["seed"]] = line
    return found


class Results:
    """The runs of one network: values (seeds, frames)."""

    def __init__(self, name: str, runs: list[dict[str, Any]]) -> None:
        frames = runs[0]["frames"]
        self.name, self.runs = name, runs
        self.label = np.array([frame["label"] for frame in frames])
        self.ids = np.array([frame["id"] for frame in frames])
        self.lesion = self.label != "none"
        dices = [[np.nan if f["dice"] is None else f["dice"] for f in run["frames"]] for run in runs]
        self.dice = np.array(dices, dtype=float)[:, self.lesion]
        self.score = np.array([[f["malignancy"] for f in run["frames"]] for run in runs])[:, self.lesion]
        self.claimed = np.array([[f["claimed"] for f in run["frames"]] for run in runs])
        self.truth = self.label[self.lesion] == "metastatic"
        self.cutoffs = np.array([run["cutoff"] for run in runs])

    def figures(self, weights: np.ndarray) -> np.ndarray:
        """Figures (B, 8) of frames that count so often (B, N): each a mean over the seeds."""
        dices, called = self.dice, self.score >= self.cutoffs[:, None]
        total = weights.sum(1)
        columns = [
            _quantile(dices, weights, 0.5),
            _quantile(dices, weights, 0.25),
            weights @ dices.mean(0) / total,
            weights @ (dices / (2 - dices)).mean(0) / total,
            weights @ (dices < 0.1).mean(0) / total,
            np.mean([auc(self.truth, score, weights) for score in self.score], axis=0),
            weights @ (called & self.truth).mean(0) / (weights @ self.truth),
            weights @ (~called & ~self.truth).mean(0) / (weights @ ~self.truth),
        ]
        return np.stack(columns, 1)

    def ece(self) -> float:
        """Expected calibration error, mean over the seeds."""
        return float(np.mean([expected_calibration_error(self.truth, score) for score in self.score]))

    def claims(self, source: str) -> str:
        """Share of the frames without a lesion on which one is claimed, over all seeds."""
        of = self.claimed[:, ~self.lesion & np.char.startswith(self.ids, source)]
        return str(proportion(int(of.sum()), of.size)) if of.size else "–"


def _quantile(values: np.ndarray, weights: np.ndarray, share: float) -> np.ndarray:
    """Weighted quantile (B,), mean over the seeds."""
    found = []
    for row in values:
        order = np.argsort(row)
        upto = np.cumsum(weights[:, order], axis=1)
        found.append(row[order][np.argmax(upto >= share * upto[:, -1:], axis=1)])
    return np.mean(found, axis=0)


FIGURES = (
    "Dice, median",
    "lower quartile",
    "mean",
    "IoU (Jaccard), mean",
    "under 0.1",
    "AUC",
    "sensitivity",
    "specificity",
)


def table(arguments: argparse.Namespace, names: list[str]) -> str:
    """The figures with 95 % intervals, and the paired differences of the first network to the others."""
    first_name = names[0]
    found = records(arguments)
    results = {}
    for name in names:
        runs = [found[name, seed] for seed in range(arguments.seeds) if (name, seed) in found]
        if runs:
            results[name] = Results(name, runs)
    if first_name not in results:
        return f"There is no run of '{first_name}' yet."
    first = [f"| network | seeds | {' | '.join(FIGURES)} | ECE |", "|" + "---|" * (len(FIGURES) + 3)]
    second = [
        "| network | a lesion claimed, BUSI normal | usgra | muscle | parameters | a training step, ratio |",
        "|---|---|---|---|---|---|",
    ]
    third = [
        f"| {first_name}, minus | seeds | mean Dice | under 0.1 | AUC |",
        "|---|---|---|---|---|",
    ]
    reference = results[first_name]
    trained = {name: run for name, run in results.items() if name in ALL}
    times = step_times(list(trained), arguments) if arguments.write and len(trained) > 1 else {}
    for name, result in results.items():
        entrant = ALL.get(name, ENTRANTS[REFERENCE])
        masked, scored = entrant.recipe.network.segmentation, entrant.scores
        n = len(result.truth)
        values = result.figures(np.ones((1, n)))[0]
        low, high = bootstrap(result.figures, np.arange(n))
        shown = [f"{v:.3f} ({a:.3f}–{b:.3f})" for v, a, b in zip(values, low, high, strict=True)]
        shown = [cell if (masked if i < 5 else scored) else "–" for i, cell in enumerate(shown)]
        ece = f"{result.ece():.3f}" if scored else "–"
        first.append(f"| {name} | {len(result.runs)} | {' | '.join(shown)} | {ece} |")
        claims = [result.claims(source) if masked else "–" for source in ("busi", "usgra", "muscle")]
        sizes = [
            f"{result.runs[0]['parameters'] / 1e6:.2f} M" if name in ALL else "–",
            f"{times[name]:.2f}" if name in times else "–",
        ]
        second.append(f"| {name} | {' | '.join((*claims, *sizes))} |")
        if name == first_name:
            continue
        both = sorted({run["seed"] for run in result.runs} & {run["seed"] for run in reference.runs})
        a, b = (Results(r.name, [run for run in r.runs if run["seed"] in both]) for r in (reference, result))
        if name in ANSWERS and ANSWERS[name].all_seeds:
            a = reference  # the mean of its seeds, beside all of them as one

        def difference(weights: np.ndarray, a: Results = a, b: Results = b) -> np.ndarray:
            return (a.figures(weights) - b.figures(weights))[:, [2, 4, 5]]

        values = difference(np.ones((1, n)))[0]
        low, high = bootstrap(difference, np.arange(n))
        cells = [f"{v:+.3f} ({x:+.3f} to {y:+.3f})" for v, x, y in zip(values, low, high, strict=True)]
        cells = [cell if (masked if i < 2 else scored) else "–" for i, cell in enumerate(cells)]
        third.append(f"| {name} | {len(both)} | {' | '.join(cells)} |")
    return "\n\n".join("\n".join(part) for part in (first, second, third))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with busi_384 and usgra")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "accuracy")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--half", choices=("yes", "no"), default="yes", help="see frames at half the side")
    parser.add_argument("--full", type=int, default=0, help="epochs at the full side after those at half")
    parser.add_argument("--only", nargs="+", choices=(*ALL, *ANSWERS), help="these alone")
    parser.add_argument("--table", action="store_true", help="train nothing")
    parser.add_argument("--write", action="store_true", help="put the tables into benchmarks/results")
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    jobs = [(name, seed) for seed in range(arguments.seeds) for name in ENTRANTS]
    others: dict[str, Answer] = {}
    if not arguments.full:
        jobs += [(name, 0) for name in ABLATION]
        others = ANSWERS
    for name, seed in jobs:
        if arguments.table or (name, seed) in records(arguments):
            continue
        if arguments.only and name not in arguments.only:
            continue
        line = json.dumps(run(name, seed, arguments))
        with RECORDS.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    for name, way in others.items():
        for seed in range(1 if way.all_seeds else arguments.seeds):
            if arguments.table or (name, seed) in records(arguments):
                continue
            if arguments.only and name not in arguments.only:
                continue
            if found := answer(name, seed, arguments):
                with RECORDS.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found) + "\n")
    if arguments.full:
        tables = {"full side": table(arguments, list(ENTRANTS))}
    else:
        tables = {
            "comparison": table(arguments, list(ENTRANTS)),
            "answers": table(arguments, [REFERENCE, *ANSWERS]),
            "ablation": table(argparse.Namespace(**{**vars(arguments), "seeds": 1}), [WITHOUT, *ABLATION]),
        }
    for part, text in tables.items():
        print(f"\n{part}\n\n{text}")
        if arguments.write:
            page = PAGE.read_text(encoding="utf-8")
            head, rest = page.split(f"<!-- {part} -->\n")[:2]
            _, tail = rest.split("<!-- end -->", 1)
            page = f"{head}<!-- {part} -->\n{text}\n<!-- end -->{tail}"
            PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
