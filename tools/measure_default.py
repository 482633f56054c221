"""Measure a model on simulated frames and on usgra, from the screen to the score.

Used by ``train_default.py``; the figures go into the model's card with their intervals. Echocardiograms
are looked for in ``us_dicom`` beside the usgra folder.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import skimage
from scipy.special import expit, logit

from napari_cln.imaging.phantom import simulate
from napari_cln.io.sources import open_source, read_frame
from napari_cln.network.card import Figure, ModelCard
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import YNet
from napari_cln.network.novelty import fit_novelty
from napari_cln.study.cutoff import choose_cutoff
from napari_cln.study.detection import match_nodes
from napari_cln.study.metrics import dice
from napari_cln.study.statistics import auc_interval, median_interval, proportion
from napari_cln.training.data import Samples, target_of
from napari_cln.training.scoring import fit_temperature
from napari_cln.types import Annotation, Estimate, Frame

NAN = float("nan")
SEEDS = {"train": 1_000_000, "validation": 2_000_000, "test": 3_000_000}
"""First seed of each part; no frame is in two."""

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


def usgra(folder: Path, part: str) -> Iterator[Annotation]:
    """Real frames with vessels and nerves, and no node that anybody marked."""
    with (folder / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == part:
                frame = read_frame(folder / row["image"])
                yield Annotation(
                    frame=frame, instances=np.zeros(frame.shape, dtype=np.uint8), status="no-node"
                )


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
    novelty: float | None


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
                novelty=prediction.novelty,
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


def learn_training_data(
    network: YNet, drawn: Samples, validation: Samples, real: Samples | None = None
) -> None:
    """Let the network know what its training frames are like: the simulated, and the real ones.

    There is no validation part of usgra: one in four of its training frames is kept out of its
    Gaussian, and goes with the validation frames.
    """
    sources, others = [drawn.images[:600]], [validation.images]
    if real is not None:
        kept_out = np.arange(len(real)) % 4 == 3
        sources.append(real.images[~kept_out])
        others.append(real.images[kept_out])
    network.novelty = fit_novelty(network, sources, np.concatenate(others))


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
    segmenter: Segmenter, drawn: list[float], usgra_folder: Path | None
) -> tuple[Figure, ...]:
    """How well the model knows a frame that is unlike its training data.

    Parameters
    ----------
    segmenter : Segmenter
    drawn : list of float
        Novelty of simulated test frames.
    usgra_folder : Path, optional
    """

    def novelties(frames: Iterator[Frame]) -> list[float]:
        return [prediction.novelty or 0.0 for prediction in segmenter.predict(frames)]

    def alarms(values: list[float]) -> Estimate:
        return proportion(sum(value > 1 for value in values), len(values))

    simulated_data, real_data = f"{len(drawn)} simulated frames of seeds never trained on", "usgra, test part"
    found = [("called unlike the training data", simulated_data, alarms(drawn))]
    known, known_data = list(drawn), simulated_data
    foreign = {"scikit-image's sample photographs and drawings": novelties(photographs())}
    if usgra_folder:
        real = novelties(annotation.frame for annotation in usgra(usgra_folder, "test"))
        found.append(("called unlike the training data", real_data, alarms(real)))
        known, known_data = known + real, f"{simulated_data} and {real_data}"
        if (folder := usgra_folder.parent / "us_dicom").is_dir():
            foreign["echocardiograms"] = novelties(echocardiograms(folder))
    for what, values in foreign.items():
        found.append(("called unlike the training data", what, alarms(values)))
        estimate = auc_interval([0] * len(known) + [1] * len(values), [*known, *values])
        found.append((f"AUROC of novelty, {what}", f"them beside {known_data}", estimate))
    return tuple(Figure(name=name, data=data, estimate=estimate) for name, data, estimate in found)


def figures(segmenter: Segmenter, count: int, usgra_folder: Path | None) -> tuple[Figure, ...]:
    """Every figure of the card, with its interval."""
    rows = measured(segmenter, "test", count)
    data = f"{count} simulated frames of seeds never trained on"
    labelled = [row for row in rows if row.label != "unknown"]
    truth = np.array([row.label == "metastatic" for row in labelled])
    score, best = (np.array([getattr(row, name) for row in labelled]) for name in ("malignancy", "best"))
    nodes = [node for row in rows for node in row.nodes]
    overlaps = np.array([iou for iou, _, _ in nodes])
    dices = np.array([row.dice for row in labelled])
    empty = [row for row in rows if row.label == "unknown"]
    called = score >= segmenter.card.cutoff
    estimates = {
        "Dice, median": median_interval(dices),
        "frames with Dice under 0.1": proportion(int((dices < 0.1).sum()), len(dices)),
        "nodes missed (IoU under 0.1)": proportion(int((overlaps < 0.1).sum()), len(nodes)),
        "nodes not outlined (IoU under 0.5)": proportion(int((overlaps < 0.5).sum()), len(nodes)),
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
    if segmenter.model.novelty is not None:
        drawn = [row.novelty for row in rows if row.novelty is not None]
        result += novelty_figures(segmenter, drawn, usgra_folder)
    return tuple(result)
