"""Measure a model on simulated and on real frames, from the screen to the score.

Used by ``train_default.py``; the figures go into the model's card with their intervals. BUSI's lesions,
usgra's frames without a node and the echocardiograms of ``us_dicom`` are looked for in one folder.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import msgspec
import numpy as np
import skimage
from numpy.typing import NDArray
from scipy.special import expit, logit
from skimage.measure import label

from laid_in import laid_in
from napari_cln.annotation import Annotation, Node
from napari_cln.io.sources import open_source, read_frame
from napari_cln.models.card import DoubtModel, Figure, ModelCard, ModelComparison
from napari_cln.network.doubt import chance_of_failure, fit_doubt
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import Member
from napari_cln.phantom import simulate
from napari_cln.phantom.simulation import Scene
from napari_cln.study.cutoff import choose_cutoff
from napari_cln.study.detection import match_nodes
from napari_cln.study.statistics.calibration import expected_calibration_error
from napari_cln.study.statistics.intervals import (
    auc_interval,
    bootstrap,
    compare_auc,
    median_interval,
    proportion,
)
from napari_cln.study.statistics.metrics import dice
from napari_cln.training.data import Samples, target_of
from napari_cln.training.novelty import fit_novelty
from napari_cln.training.recipes import Recipe
from napari_cln.training.scoring import FAILED, HOLDS, fit_temperature
from napari_cln.types import Estimate, Frame, PrepareConfig, Truth

NAN = float("nan")
SEEDS = {"train": 1_000_000, "validation": 2_000_000, "test": 3_000_000}
"""First seed of each part; no frame is in two."""
LAID = "breast lesions laid into real frames"
"""The source of real frames without a node into which a lesion is laid."""
MUSCLE_VALIDATION = ("d1_S9", "d3_120")
NOVELTY_FRAMES = 600
"""Training frames of each source from which the model learns what they are like."""

ECHOCARDIOGRAMS = (
    "go-dicom__I_000001",
    "go-dicom__I_000006",
    "go-dicom__I_000008",
    "go-dicom__I_000031",
    "go-dicom__I_000034",
    "go-dicom__I_000038",
    "go-dicom__I_000039",
    "pydicom-wheel__examples_ybr_color",
    "fo-dicom__DIRW0007",
    "barre__US-RGB-8-epicard",
)


def usgra(data: Path, part: str) -> Iterator[Annotation]:
    """Real frames with vessels and nerves, and no node that anybody marked."""
    for _, frame in _frames(data / "usgra", part):
        yield Annotation(frame=frame, instances=np.zeros(frame.shape, dtype=np.uint8), status="no-node")


def muscle(data: Path, part: str) -> Iterator[Annotation]:
    """Real frames of thigh and calf muscle, and no node in any: ``part`` is train, validation or test.

    The set has no validation part: two groups of its training part are one.
    """
    with (data / "muscle" / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            own = "validation" if row["group"] in MUSCLE_VALIDATION else row["split"]
            if own == part:
                frame = read_frame(data / "muscle" / row["image"])
                yield Annotation(
                    frame=frame, instances=np.zeros(frame.shape, dtype=np.uint8), status="no-node"
                )


def busi(data: Path, part: str) -> Iterator[Annotation]:
    """Real breast lesions, benign and malignant, and frames without one: ``part`` is train, val or
    public_test. One image of each group of duplicates; the set names no patients."""
    truths: dict[str, Truth] = {"benign": "benign", "malignant": "metastatic"}
    for row, frame in _frames(data / "busi_384", part):
        instances = np.zeros(frame.shape, dtype=np.uint8)
        if row["label"] in truths:
            mask = iio.imread(data / "busi_384" / row["mask"])
            instances = label(mask > 0).astype(np.uint8)
        nodes = tuple(Node(id=id_, truth=truths[row["label"]]) for id_ in range(1, int(instances.max()) + 1))
        yield Annotation(
            frame=frame, instances=instances, nodes=nodes, status="corrected" if nodes else "no-node"
        )


def real(annotations: Iterable[Annotation], name: str, config: PrepareConfig) -> Samples:
    """Real frames, prepared."""
    return Samples.join(
        Samples.from_annotation(f"{name}-{index}", annotation, config)
        for index, annotation in enumerate(annotations)
    )


def _frames(folder: Path, part: str) -> Iterator[tuple[dict[str, str], Frame]]:
    with (folder / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == part:
                yield row, read_frame(folder / row["image"])


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a model says of one frame, beside the truth."""

    label: Truth
    best: float
    """Best possible malignancy of the frame; NaN where it has no node."""
    malignancy: float
    dice: float
    """Of all nodes together; NaN where the frame has none and none was claimed."""
    claimed: bool
    nodes: tuple[tuple[float, float, float], ...]
    """Overlap (IoU), best possible score and given score (NaN where missed) of each node."""
    novelty: float | None
    clues: tuple[float, ...] = ()
    doubt: float | None = None
    """Chance that the result fails, as the model says."""
    level: str = "sure"

    @property
    def has_node(self) -> bool:
        """Whether there is a node to be found."""
        return bool(self.nodes)

    @property
    def failed(self) -> bool:
        """Whether a node was missed, or one claimed where none is."""
        return self.dice < FAILED if self.has_node else self.claimed

    @property
    def good(self) -> bool:
        """Whether the result holds well."""
        return self.dice >= HOLDS if self.has_node else not self.claimed


def drawn(part: str, count: int, scene: Scene = "plain", first: int = 0) -> Iterator[Annotation]:
    """Simulated frames of a part."""
    for seed in range(SEEDS[part] + first, SEEDS[part] + first + count):
        phantom = simulate(seed, scene=scene)
        yield Annotation(frame=phantom.frame, instances=phantom.instances, nodes=phantom.nodes)


def measured(segmenter: Segmenter, annotations: Iterable[Annotation]) -> list[Measured]:
    """The model on frames, from the screen to the score, on the screens' own pixels."""
    rows = []
    for annotation in annotations:
        (prediction,) = segmenter.predict([annotation.frame])
        pairs = [pair for pair in match_nodes(prediction.instances, annotation.instances) if pair.reference]
        scores = [prediction.node_scores[pair.predicted - 1] if pair.predicted else NAN for pair in pairs]
        targets = [target_of(node) for node in annotation.nodes]
        rows.append(
            Measured(
                label=annotation.label,
                best=float(1 - np.prod(1 - np.array(targets))) if targets else NAN,
                malignancy=prediction.malignancy,
                dice=dice(prediction.mask, annotation.mask),
                claimed=bool(prediction.mask.any()),
                nodes=tuple(zip([pair.iou for pair in pairs], targets, scores, strict=True)),
                novelty=prediction.novelty,
                clues=prediction.clues,
                doubt=None if prediction.doubt is None else prediction.doubt.chance,
                level="sure" if prediction.doubt is None else prediction.doubt.level,
            )
        )
    return rows


def as_they_are(samples: Samples) -> Iterator[Annotation]:
    """Prepared frames as frames; one score makes a node's truth."""
    for image, instances, targets in zip(
        samples.images, samples.instances, samples.node_targets, strict=True
    ):
        nodes = tuple(
            Node(id=int(id_), truth="metastatic" if targets[id_ - 1] > 0.5 else "benign")
            for id_ in np.unique(instances[instances > 0])
        )
        yield Annotation(
            frame=Frame(pixels=image),
            instances=instances,
            nodes=nodes,
            status="corrected" if nodes else "no-node",
        )


def laid_in_test(data: Path, count: int) -> Iterator[Annotation]:
    """BUSI's test lesions in the test frames of vessels, nerves and muscle, and some with no lesion."""
    config = Recipe.best().prepare
    grounds = [real(part(data, "test"), part.__name__, config) for part in (usgra, muscle)]
    nodes = real(busi(data, "public_test"), "busi", config)
    yield from as_they_are(laid_in(nodes, Samples.join(grounds), count, seed=0))


def validation_sources(count: int, data: Path, laid: Samples) -> dict[str, list[Annotation]]:
    """Frames that teach neither trunk nor decoder, by their source: they set limits, temperature, cutoff
    and doubt, and teach the arm in folds.

    ``laid`` are breast lesions laid into real frames without a node, all of validation parts.
    """
    vessels = list(usgra(data, "train"))
    return {
        "simulated": list(drawn("validation", count)),
        "simulated, varied": list(drawn("validation", count, "varied")),
        "breast": list(busi(data, "val")),
        "vessels and nerves": [frame for index, frame in enumerate(vessels) if index % 4 == 3],
        "muscle": list(muscle(data, "validation")),
        LAID: list(as_they_are(laid)),
    }


def calibrated(
    judges: Sequence[Member], card: ModelCard, sources: Mapping[str, Sequence[Annotation]]
) -> tuple[ModelCard, dict[str, list[Measured]]]:
    """Set temperature, cutoff and doubt from validation frames, and give what was measured on them.

    Each frame is judged by the network of its fold (its place in its source, modulo the number of
    ``judges``), whose arm has not seen it. The temperature is that of the real lesions: simulated frames
    need another, and nobody scores those.
    """
    found: dict[str, list[Measured]] = {name: [] for name in sources}
    for fold, network in enumerate(judges):
        network.card = card
        segmenter = Segmenter(network, "cpu")
        for name, frames in sources.items():
            found[name] += measured(segmenter, frames[fold :: len(judges)])
    rows = [row for source in found.values() for row in source]
    temperatures = {}
    for name, source in found.items():
        scored = np.array([node[1:] for row in source for node in row.nodes if not np.isnan(node[2])])
        if len(scored):
            temperatures[name] = fit_temperature(scored[:, 1], scored[:, 0])
            print(f"temperature, {name}: {temperatures[name]:.3f} (n = {len(scored)})", flush=True)
    temperature = temperatures["breast"]
    labelled = [row for row in rows if row.label != "unknown"]
    scores = expit(logit([row.malignancy for row in labelled]) / temperature)
    cutoff = choose_cutoff([row.label == "metastatic" for row in labelled], scores)
    card = replace(
        card,
        temperature=round(temperature, 4),
        cutoff=round(cutoff.value, 4),
        cutoff_from=f"{cutoff.rule} on {len(labelled)} validation frames, simulated and of BUSI, each "
        f"scored by the arm of its fold ({len(judges)} folds)",
        doubt=_fitted([row for row in rows if row.clues]),
    )
    return card, found


def learn_training_data(network: Member, sources: Sequence[Samples], validation: Sequence[Samples]) -> None:
    """Let the network know what its training frames are like: the simulated, and the real ones."""
    known = np.concatenate([part.images for part in validation])
    network.novelty = fit_novelty(network, [part.images[:NOVELTY_FRAMES] for part in sources], known)


def _fitted(rows: list[Measured]) -> DoubtModel | None:
    """What the network knows of its failures; None where it has no clues, or too few failures."""
    if not rows:
        return None
    return fit_doubt(
        [row.clues for row in rows],
        [row.claimed for row in rows],
        [row.failed for row in rows],
        [row.good and row.has_node for row in rows],
    )


def doubt_figures(sources: Mapping[str, list[Measured]]) -> Iterator[tuple[str, str, Estimate]]:
    """How well doubt ranks failures on each source that is held out of its fit."""
    for name, held_out in sources.items():
        others = [row for other, rows in sources.items() if other != name for row in rows]
        model = _fitted(others)
        truth = [row.failed for row in held_out]
        if model is None or len(set(truth)) < 2:
            continue
        found = np.array([row.claimed for row in held_out])
        chance = chance_of_failure(model, np.array([row.clues for row in held_out]), found)
        yield "AUROC of doubt for failure", f"{name}, held out of its fit", auc_interval(truth, chance)
        good = np.array([row.good and row.has_node for row in held_out])
        if good.any():
            alarms = int((chance[good] >= model.look).sum())
            yield (
                "doubted though Dice is at least 0.7",
                f"{name}, held out",
                proportion(alarms, int(good.sum())),
            )


def photographs() -> Iterator[Frame]:
    """Photographs and drawings that ship with scikit-image."""
    for path in sorted((Path(skimage.__file__).parent / "data").iterdir()):
        if path.suffix in (".png", ".jpg"):
            yield read_frame(path)


def echocardiograms(folder: Path) -> Iterator[Frame]:
    """First and middle frame of each echocardiogram."""
    for name in ECHOCARDIOGRAMS:
        with open_source(folder / "files" / f"{name}.dcm") as source:
            for index in sorted({0, len(source) // 2}):
                yield source[index]


def novelty_figures(
    segmenter: Segmenter, known: dict[str, list[float]], data: Path
) -> Iterator[tuple[str, str, Estimate]]:
    """How well the model knows a frame that is unlike its training data.

    Parameters
    ----------
    segmenter : Segmenter
    known : dict of list of float
        Novelty of test frames like those of each source.
    data : Path
    """

    def alarms(values: list[float]) -> Estimate:
        return proportion(sum(value > 1 for value in values), len(values))

    foreign = {
        "scikit-image's sample photographs and drawings": photographs(),
        "echocardiograms": echocardiograms(data / "us_dicom"),
    }
    for source, values in known.items():
        yield "called unlike the training data", source, alarms(values)
    at_home = [value for values in known.values() for value in values]
    for what, frames in foreign.items():
        values = [prediction.novelty or 0.0 for prediction in segmenter.predict(frames)]
        yield "called unlike the training data", what, alarms(values)
        estimate = auc_interval([0] * len(at_home) + [1] * len(values), [*at_home, *values])
        yield f"AUROC of novelty, {what}", "them beside the test frames of all sources", estimate


def doubted(rows: list[Measured]) -> Iterator[tuple[str, Estimate]]:
    """How well doubt told the failures of a source from what held."""
    known = [row for row in rows if row.doubt is not None]
    failed = [row.failed for row in known]
    if len(set(failed)) == 2:
        yield "AUROC of doubt for failure", auc_interval(failed, [row.doubt or 0.0 for row in known])
    for name, part in (
        ("doubted, of results that fail", [row for row in known if row.failed]),
        (
            "doubted, of results with a Dice of at least 0.7",
            [row for row in known if row.good and row.has_node],
        ),
    ):
        if part:
            yield name, proportion(sum(row.level != "sure" for row in part), len(part))


def resampled(figure: Callable[[NDArray[np.float64]], Any], values: NDArray[np.float64]) -> Estimate:
    """A figure of values (..., N) with its interval, from 2,000 resamples of the frames."""
    drawn = np.random.default_rng(0).choice(values, (2000, len(values)))
    low, high = np.quantile(figure(drawn), [0.025, 0.975])
    return Estimate(value=float(figure(values)), low=float(low), high=float(high), n=len(values))


def calibration_error(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> Estimate:
    """Expected calibration error with its interval from resampled frames, which lies high: chance alone
    parts score and share where bins hold few frames."""
    low, high = bootstrap(partial(expected_calibration_error, truth, score), range(len(truth)))
    return Estimate(
        value=expected_calibration_error(truth, score), low=float(low), high=float(high), n=len(truth)
    )


def test_figures(rows: list[Measured], cutoff: float) -> Iterator[tuple[str, Estimate]]:
    """Figures of the test frames of one source."""
    labelled = [row for row in rows if row.label != "unknown"]
    truth = np.array([row.label == "metastatic" for row in labelled])
    score, best = (np.array([getattr(row, name) for row in labelled]) for name in ("malignancy", "best"))
    overlaps = np.array([iou for row in rows for iou, _, _ in row.nodes])
    dices = np.array([row.dice for row in labelled])
    empty = [row for row in rows if row.label == "unknown"]
    if labelled:
        called = score >= cutoff
        yield "expected calibration error, ten bins", calibration_error(truth, score)
        yield "Dice, median", median_interval(dices)
        yield "Dice, mean", resampled(lambda drawn: drawn.mean(axis=-1), dices)
        yield "Dice, lower quartile", resampled(lambda drawn: np.quantile(drawn, 0.25, axis=-1), dices)
        yield "frames with Dice under 0.1", proportion(int((dices < 0.1).sum()), len(dices))
        yield "nodes missed (IoU under 0.1)", proportion(int((overlaps < 0.1).sum()), len(overlaps))
        yield "nodes not outlined (IoU under 0.5)", proportion(int((overlaps < 0.5).sum()), len(overlaps))
        yield "AUC", auc_interval(truth, score)
        if not set(best) <= {0.0, 1.0}:
            yield "AUC, best possible", auc_interval(truth, best)
        yield "sensitivity at the cutoff", proportion(int((called & truth).sum()), int(truth.sum()))
        yield "specificity at the cutoff", proportion(int((~called & ~truth).sum()), int((~truth).sum()))
    yield (
        "frames without a node where one is claimed",
        proportion(sum(row.claimed for row in empty), len(empty)),
    )


LAID_TEST = "BUSI's test lesions laid into usgra's and muscle's test frames (composed; a stand-in)"
BUSI_TEST = "BUSI, public test part (breast lesions; a stand-in)"


def stored(path: Path) -> dict[str, list[Measured]]:
    """What :func:`store` kept."""
    return msgspec.convert(json.loads(path.read_text()), dict[str, list[Measured]])


def store(rows: Mapping[str, list[Measured]], path: Path) -> None:
    """Keep what was measured on the frames of each source."""
    path.write_text(json.dumps(msgspec.to_builtins(rows)))  # the module of Python's, which knows NaN


def measured_on_test(segmenter: Segmenter, count: int, data: Path, keep: Path) -> dict[str, list[Measured]]:
    """What a model says of the test frames of each source; kept on disk by the model's id."""
    sources = {
        f"{count} simulated frames of seeds never trained on": drawn("test", count),
        f"{count // 2} varied simulated frames of seeds never trained on": drawn(
            "test", count // 2, "varied"
        ),
        BUSI_TEST: busi(data, "public_test"),
        "usgra, test part (real vessels and nerves)": usgra(data, "test"),
        "muscle, test part (thigh and calf)": muscle(data, "test"),
        LAID_TEST: laid_in_test(data, count),
    }
    path = keep / f"measured-{segmenter.model.model_id}-{count}.json"
    if not path.is_file():
        found = {}
        for source, frames in sources.items():
            found[source] = measured(segmenter, frames)
            print(f"measured: {source}", flush=True)
        store(found, path)
    return stored(path)


def compared(new: list[Measured], old: list[Measured], model: str) -> ModelComparison:
    """Paired differences of a new model and an old one on the same frames."""
    with_node = [(a.dice, b.dice) for a, b in zip(new, old, strict=True) if a.has_node]
    gaps = np.array([a - b for a, b in with_node])
    low, high = bootstrap(lambda w: w @ gaps / w.sum(axis=1), np.arange(len(gaps)))
    labelled = [(a, b) for a, b in zip(new, old, strict=True) if a.label != "unknown"]
    truth = [a.label == "metastatic" for a, _ in labelled]
    scores = ([pair[index].malignancy for pair in labelled] for index in (0, 1))
    return ModelComparison(
        model=model,
        dice=Estimate(value=float(gaps.mean()), low=float(low), high=float(high), n=len(gaps)),
        auc=compare_auc(truth, *scores).difference,
    )


def figures(segmenter: Segmenter, tested: Mapping[str, list[Measured]], data: Path) -> tuple[Figure, ...]:
    """Every figure of the card, with its interval."""
    result, novelty = [], {}
    for source, rows in tested.items():
        novelty[source] = [row.novelty for row in rows if row.novelty is not None]
        for name, estimate in test_figures(rows, segmenter.card.cutoff):
            result.append(Figure(name=name, data=source, estimate=estimate))
        for name, estimate in doubted(rows):
            result.append(Figure(name=name, data=source, estimate=estimate))
    if segmenter.model.novelty is not None:
        for name, source, estimate in novelty_figures(segmenter, novelty, data):
            result.append(Figure(name=name, data=source, estimate=estimate))
    return tuple(result)
