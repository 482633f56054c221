"""Judgement of a network on validation frames, on the network's own grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from torch import Tensor

from ..errors import DatasetError
from ..imaging.measurement import split_nodes
from ..imaging.scan_area import is_sector
from ..models.card import DoubtModel, Figure, ModelCard
from ..network.doubt import clues_of, fit_doubt
from ..network.model import Network
from ..network.patches import chance_of_node
from ..study.cutoff import choose_cutoff
from ..study.statistics.intervals import auc_interval, bootstrap, compare_auc, median_interval, proportion
from ..study.statistics.metrics import auc, dice
from ..types import Estimate
from .data import NOT_JUDGED, Batch, Samples

__all__ = [
    "FrameScore",
    "Limits",
    "ValidationFigures",
    "as_in_use",
    "compare_scores",
    "estimate_figures",
    "fit_clip_point",
    "fit_frame_doubt",
    "fit_limits",
    "fit_operating_point",
    "fit_temperature",
    "goodness",
    "score_frames",
    "summarise",
    "trade_off",
]


FAILED, HOLDS = 0.1, 0.7
"""A result with a Dice under the first fails; one that reaches the second holds well."""
LEAST_CLIPS = 10
"""Validated clips from which on a clip's score has a temperature and a cutoff of its own."""
LOST = 0.02
"""Share of the nodes that the limits on area and surest pixel may cost."""
NEAR = 0.005
"""How near a lower limit on the chance must come to the best one to be preferred: it loses fewer nodes."""


@dataclass(frozen=True, kw_only=True)
class FrameScore:
    """One validation frame.

    ``dice`` is NaN where the mask is unknown or both masks are empty; ``has_node`` is None where
    the mask is unknown. ``peaks`` are the highest probabilities of the patches that met a node.
    ``patches`` are all that were drawn: what the network's arm says of each, how likely it is a node; its
    area; and how much of that lies on nodes, whose area together is ``node_area``.
    ``of_frame`` is how likely the frame as a whole has a node, as the arm says, and ``is_sector`` tells
    whether it is of a curved or phased probe; None where nobody asked.
    ``failed`` says that the network gave no finite number: then nothing was found (a Dice of 0 where
    there is a node), and ``malignancy`` is NaN. ``dice`` and ``claimed`` are those of a lenient limit on the
    chance, but for :func:`as_in_use`.
    """

    id: str
    dice: float
    has_node: bool | None
    claimed: bool
    malignancy: float
    target: float
    peaks: tuple[float, ...] = ()
    patches: tuple[tuple[float, int, int], ...] = ()
    node_area: int = 0
    of_frame: float | None = None
    is_sector: bool | None = None
    failed: bool = False

    def result(self, least: float, smallest: int) -> tuple[float, bool]:
        """Dice (NaN without a node), and whether a node is claimed, by the patches of at least that chance
        and area."""
        kept = [(area, on) for chance, area, on in self.patches if chance >= least and area >= smallest]
        overlap, areas = sum(on for _, on in kept), sum(area for area, _ in kept)
        return 2 * overlap / (areas + self.node_area) if self.node_area else float("nan"), bool(kept)


def as_in_use(scores: Sequence[FrameScore], card: ModelCard) -> list[FrameScore]:
    """Return frames with the patches alone that a model's card lets pass for nodes, by chance and area."""
    kept = []
    for score in scores:
        if score.has_node is not None:
            overlap, claimed = score.result(card.min_node_chance, card.min_node_area)
            score = replace(score, dice=overlap, claimed=claimed)
        kept.append(score)
    return kept


@torch.no_grad()
def score_frames(
    network: Network,
    samples: Samples,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 8,
    for_card: bool = False,
) -> list[FrameScore]:
    """Predict every frame and compare it with what is known of it.

    Parameters
    ----------
    network : Network
        In evaluation mode, on ``device``.
    samples : Samples
    device : torch.device or str
    batch_size : int
    for_card : bool
        Ask of each frame what :func:`fit_frame_doubt` needs as well, which no epoch's figures do.
    """
    scores = []
    for_card = for_card and network.config.knows_nothing
    for start in range(0, len(samples), batch_size):
        part = samples.take(range(start, min(start + batch_size, len(samples))))
        answer = _answers(network, Batch.of(part, device).image, part.instances == NOT_JUDGED, for_card)
        instances = np.where(part.instances == NOT_JUDGED, np.uint8(0), part.instances)
        for index, id_ in enumerate(part.ids):
            reference = instances[index] > 0
            known = bool(part.has_mask[index]) and network.config.segmentation
            patches = answer.patches[index]
            met = _met(patches, instances[index])
            mask = np.isin(patches, np.flatnonzero(answer.chances[index] >= LENIENT) + 1)
            scores.append(
                FrameScore(
                    id=id_,
                    dice=dice(mask, reference) if known else float("nan"),
                    has_node=bool(reference.any()) if known else None,
                    claimed=bool(mask.any()),
                    malignancy=float(answer.malignancy[index]),
                    target=float(part.frame_targets[index]),
                    peaks=tuple(float(answer.probability[index][patches == id_].max()) for id_ in met),
                    patches=tuple(
                        (
                            float(chance),
                            int((patches == id_).sum()),
                            int((reference & (patches == id_)).sum()),
                        )
                        for id_, chance in enumerate(answer.chances[index], start=1)
                    ),
                    node_area=int(reference.sum()),
                    of_frame=None if answer.of_frames is None else float(answer.of_frames[index]),
                    is_sector=is_sector(part.images[index] / np.float32(255)) if for_card else None,
                    failed=not answer.whole[index],
                )
            )
    return scores


HALF = float(np.nextafter(np.float32(0.5), np.float32(1)))
"""A pixel's probability from which on it belongs to a node: more likely so than not."""
LENIENT = 0.2
"""Chance of a patch from which on it is a node while a network is trained; what a card says is judged at the
card's own limits (:func:`as_in_use`)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Answer:
    """Answer of a network about B frames.

    ``patches`` are numbered from 1 on in each frame, and ``chances`` are theirs, ``of_frames`` those of the
    frames as a whole, where they were asked for; ``whole`` is False where the network gave no finite number,
    and nothing was found then.
    """

    probability: NDArray[np.float32]  # (B, S, S)
    patches: list[NDArray[np.uint8]]  # each (S, S)
    chances: list[NDArray[np.float64]]  # each (N,)
    of_frames: NDArray[np.float64] | None  # (B,)
    malignancy: NDArray[np.float32]  # (B,)
    whole: NDArray[np.bool_]  # (B,)


def _answers(network: Network, images: Tensor, unjudged: NDArray[np.bool_], for_card: bool) -> _Answer:
    """Ask a network about frames (B, 1, S, S), and about each as a whole where its card needs it; in what
    nobody judged (B, S, S) nothing is found."""
    features = network.encode(images)
    probability = np.zeros(unjudged.shape, dtype=np.float32)
    whole = np.ones(len(images), dtype=np.bool_)
    guide = None
    if network.config.segmentation:
        logits = network.decode(features).float()
        ends = torch.stack([logits.flatten(1).amax(1), logits.flatten(1).amin(1)])
        whole = ends.isfinite().all(0).cpu().numpy()
        soft = logits.softmax(1)[:, 1:]
        probability = soft[:, 0].cpu().numpy()
        probability[~whole] = 0
        guide = soft if network.config.guided else None
    probability[unjudged] = 0
    patches = [split_nodes(one, HALF, 1) for one in probability]
    counts = [int(one.max()) for one in patches]
    rows = np.repeat(np.arange(len(images)), counts)
    masks = [one == id_ for one, count in zip(patches, counts, strict=True) for id_ in range(1, count + 1)]
    stacked = np.array(masks, dtype=np.float32).reshape(-1, *unjudged.shape[1:])
    chances = chance_of_node(network, features, stacked, rows)
    each = [chances[rows == row] for row in range(len(images))]
    nowhere, every = np.zeros(unjudged.shape, np.float32), np.arange(len(images))
    of_frames = chance_of_node(network, features, nowhere, every) if for_card else None
    if network.config.knows_nothing:  # scored as in use, under what is taken for nodes
        kept = [
            np.isin(one, np.flatnonzero(of >= LENIENT) + 1) for one, of in zip(patches, each, strict=True)
        ]
        guide = torch.from_numpy(np.stack(kept)[:, None].astype(np.float32)).to(images.device)
    class_logits = network.classify(features, guide).float()[:, :2]
    whole = whole & class_logits.isfinite().all(1).cpu().numpy()
    malignancy = class_logits.softmax(1)[:, 1].cpu().numpy()
    malignancy[~whole] = np.nan
    for row in np.flatnonzero(~whole):
        patches[row], each[row] = np.zeros_like(patches[row]), np.zeros(0)
    return _Answer(
        probability=probability,
        patches=patches,
        chances=each,
        of_frames=of_frames,
        malignancy=malignancy,
        whole=whole,
    )


def _met(patches: NDArray[np.uint8], instances: NDArray[np.uint8]) -> list[int]:
    """Numbers of the patches whose overlap (IoU) with the nodes they touch is at least 0.1."""
    found = []
    for id_ in range(1, int(patches.max()) + 1):
        patch = patches == id_
        touched = np.unique(instances[patch & (instances > 0)])
        node = np.isin(instances, touched) & (instances > 0)
        if (patch & node).sum() >= 0.1 * (patch | node).sum():
            found.append(id_)
    return found


def _scored(scores: Sequence[FrameScore]) -> list[FrameScore]:
    """Frames of a known class that have a score."""
    return [score for score in scores if not np.isnan(score.target) and not score.failed]


def _empty(scores: Sequence[FrameScore]) -> list[bool]:
    """Of each frame without a node whether one was drawn, where anything could be."""
    return [score.claimed for score in scores if score.has_node is False and not score.failed]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits below which a patch is too small, or too unsure, to be a node; the values of a model's card."""

    min_node_area: int
    min_peak: float
    min_node_chance: float


def fit_limits(scores: Sequence[FrameScore], areas: ArrayLike, *, knows_nothing: bool = False) -> Limits:
    """Find what is too small, and what too unsure, to be a node.

    Parameters
    ----------
    scores : sequence of FrameScore
        Of validation frames.
    areas : array of int
        Of all nodes that anybody drew, in pixels of the network's input.
    knows_nothing : bool
        Whether the network's arm says of a patch that it is no node. That decides then, and not the surest
        pixel.

    Returns
    -------
    Limits
        Half the area that all but ``LOST`` of the drawn nodes have; and what the surest pixel of all but
        ``LOST`` of the nodes that were found reaches, 0 where none was, or the chance that serves best: with
        it the mean Dice of frames with a node and the share of the others on which none is claimed have the
        highest mean, or the lowest chance that comes within ``NEAR`` of that.
    """
    areas = np.asarray(areas)
    smallest = int(np.quantile(areas, LOST, method="lower")) // 2 if areas.size else 0
    return Limits(
        min_node_area=smallest,
        min_peak=0.0 if knows_nothing else _reached([peak for score in scores for peak in score.peaks]),
        min_node_chance=_best_chance(scores, smallest) if knows_nothing else 0.0,
    )


def trade_off(scores: Sequence[FrameScore], least: float, smallest: int = 0) -> tuple[float, float]:
    """Tell what a limit on the chance of a patch brings, and what it costs.

    Returns
    -------
    (float, float)
        Mean Dice of the frames with a node, and share of the others on which none is claimed, with patches
        of at least that chance and area; NaN without such frames.
    """
    dices: list[float] = []
    left_alone: list[float] = []
    for score in scores:
        if score.has_node is None or score.failed:
            continue
        overlap, claimed = score.result(least, smallest)
        if score.has_node:
            dices.append(overlap)
        else:
            left_alone.append(not claimed)
    dice_mean, share = (float(np.mean(part)) if part else float("nan") for part in (dices, left_alone))
    return dice_mean, share


def fit_frame_doubt(scores: Sequence[FrameScore], limits: Limits) -> DoubtModel | None:
    """Learn from validation frames how likely a result fails.

    Parameters
    ----------
    scores : sequence of FrameScore
        Of a network with a class *nothing*, asked for its card.
    limits : Limits
        With which it is used.

    Returns
    -------
    DoubtModel or None
        None where too few results fail, or hold (:func:`~napari_cln.network.doubt.fit_doubt`).
    """
    known = [score for score in scores if score.has_node is not None and not score.failed]
    asked = [score.of_frame for score in known if score.of_frame is not None]
    assert len(asked) == len(known), "score_frames(for_card=True) asks for what this needs"
    results = [score.result(limits.min_node_chance, limits.min_node_area) for score in known]
    overlaps = np.nan_to_num([overlap for overlap, _ in results])
    claims = np.array([claimed for _, claimed in results], dtype=np.bool_)
    empty = np.array([not score.has_node for score in known], dtype=np.bool_)
    clues = []
    for score, of_frame in zip(known, asked, strict=True):
        chances = np.array([chance for chance, area, _ in score.patches if area >= limits.min_node_area])
        kept = chances >= limits.min_node_chance
        clues.append(clues_of(chances[kept], of_frame, chances[~kept]))
    failed = np.where(empty, claims, overlaps < FAILED)
    model = fit_doubt(clues, claims, failed, ~empty & (overlaps >= HOLDS))
    if model is None:
        return None
    return replace(model, knows_sectors=any(score.is_sector is True for score in known))


def _best_chance(scores: Sequence[FrameScore], smallest: int) -> float:
    """Chance that serves these frames best, to two places; 0 where there is nothing to take it from."""
    limits = np.arange(100) / 100
    each = np.array([trade_off(scores, float(least), smallest) for least in limits])
    if np.isnan(each).all():
        return 0.0
    merit = np.nanmean(each, axis=1)
    return float(limits[merit >= merit.max() - NEAR][0])


def _reached(values: Sequence[float]) -> float:
    """Number that all but ``LOST`` of the values reach, to three places; 0 where there is none."""
    return float(np.floor(1000 * np.quantile(values, LOST, method="lower")) / 1000) if values else 0.0


@dataclass(frozen=True, kw_only=True)
class ValidationFigures:
    """Figures of a validation, None where there is nothing to take them from.

    Parameters
    ----------
    n, failed : int
        Frames, and those for which the network gave no finite number.
    dice_mean, dice_median : float, optional
    missed : float, optional
        Share of frames with a node whose Dice is under 0.1.
    claimed : float, optional
        Share of frames without a node on which one was drawn.
    auc : float, optional
        With a target of at least 0.5 taken as malignant.
    """

    n: int
    failed: int
    dice_mean: float | None = None
    dice_median: float | None = None
    missed: float | None = None
    claimed: float | None = None
    auc: float | None = None

    @property
    def measures(self) -> dict[str, float | None]:
        """The figures without the counts, by name."""
        return {name: value for name, value in vars(self).items() if name not in ("n", "failed")}


def summarise(scores: Sequence[FrameScore]) -> ValidationFigures:
    """Figures of a validation."""
    dices = np.array([score.dice for score in scores if score.has_node])
    empty, labelled = _empty(scores), _scored(scores)
    truth = np.array([score.target >= 0.5 for score in labelled])
    two_classes = len(set(truth.tolist())) == 2
    return ValidationFigures(
        n=len(scores),
        failed=sum(score.failed for score in scores),
        dice_mean=float(dices.mean()) if dices.size else None,
        dice_median=float(np.median(dices)) if dices.size else None,
        missed=float((dices < 0.1).mean()) if dices.size else None,
        claimed=float(np.mean(empty)) if empty else None,
        auc=float(auc(truth, [score.malignancy for score in labelled])) if two_classes else None,
    )


def goodness(scores: Sequence[FrameScore]) -> float | None:
    """Merit of one network beside another: mean of mean Dice and AUC, of those that exist."""
    figures = summarise(scores)
    known = [value for value in (figures.dice_mean, figures.auc) if value is not None]
    return sum(known) / len(known) if known else None


def fit_temperature(malignancy: ArrayLike, target: ArrayLike) -> float:
    """Number that the class logits are divided by so that scores mean what they say [1]_.

    Parameters
    ----------
    malignancy, target : array, shape (N,)
        Scores at temperature 1, and truths, both in [0, 1].

    References
    ----------
    .. [1] Guo et al., On calibration of modern neural networks, ICML 2017. :arxiv:`1706.04599`
    """
    logits = logit(np.clip(np.asarray(malignancy, dtype=float), 1e-6, 1 - 1e-6))
    targets = np.asarray(target, dtype=float)

    def loss(log_temperature: float) -> float:
        calm = logits / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, calm) - targets * calm))

    return float(np.exp(minimize_scalar(loss, bounds=(-2, 2), method="bounded").x))


def fit_operating_point(scores: Sequence[FrameScore], data: str) -> tuple[float, float, str]:
    """Temperature, cutoff, and where they come from; 1 and 0.5 where one class is missing."""
    labelled = _scored(scores)
    if not labelled:
        return 1.0, 0.5, "not set: no frame has a label and a score"
    malignancy, target = (np.array([getattr(s, name) for s in labelled]) for name in ("malignancy", "target"))
    temperature = fit_temperature(malignancy, target)
    scaled = expit(logit(np.clip(malignancy, 1e-6, 1 - 1e-6)) / temperature)
    try:
        cutoff = choose_cutoff(target >= 0.5, scaled)
    except DatasetError:
        return 1.0, 0.5, f"not set: {data} show one class alone"
    if not np.isfinite(cutoff.value):
        return temperature, 0.5, f"not set: the score does not part the classes on {data}"
    return temperature, cutoff.value, f"{cutoff.rule} on {data}"


def fit_clip_point(
    scores: Sequence[FrameScore], clips: Mapping[str, str], temperature: float
) -> tuple[float | None, float | None]:
    """Temperature and cutoff of the score of a clip, the mean logit of its frames.

    Parameters
    ----------
    scores : sequence of FrameScore
    clips : mapping of str to str
        Clip of each frame that is of one, by its id.
    temperature : float
        Of single frames, by which their logits are divided before the mean is taken.

    Returns
    -------
    temperature, cutoff : float or None
        None where there are fewer than ten clips of two frames or more, or one class alone.
    """
    frames: dict[str, list[tuple[float, float]]] = {}
    for score in _scored(scores):
        if (clip := clips.get(score.id)) is not None:
            frames.setdefault(clip, []).append((score.malignancy, score.target))
    several = [np.array(rows) for rows in frames.values() if len(rows) > 1]
    target = np.array([rows[:, 1].max() for rows in several])
    if len(several) < LEAST_CLIPS or len({*(target >= 0.5)}) < 2:
        return None, None
    logits = [logit(np.clip(rows[:, 0], 1e-6, 1 - 1e-6)).mean() / temperature for rows in several]
    means = expit(np.array(logits))
    own = fit_temperature(means, target)
    cutoff = choose_cutoff(target >= 0.5, expit(np.array(logits) / own)).value
    return own, float(cutoff) if np.isfinite(cutoff) else None


def estimate_figures(scores: Sequence[FrameScore], data: str) -> tuple[Figure, ...]:
    """Figures with intervals, for a card; those that the frames can't give are left out."""
    dices = np.array([score.dice for score in scores if score.has_node])
    empty, labelled = _empty(scores), _scored(scores)
    truth = np.array([score.target >= 0.5 for score in labelled])
    estimates: dict[str, Estimate] = {}
    if dices.size:
        estimates["Dice, median"] = median_interval(dices)
        estimates["frames with Dice under 0.1"] = proportion(int((dices < 0.1).sum()), dices.size)
    if empty:
        estimates["frames without a node where one is claimed"] = proportion(sum(empty), len(empty))
    if len(set(truth.tolist())) == 2:
        estimates["AUC"] = auc_interval(truth, [score.malignancy for score in labelled])
    # a card is JSON, which has no NaN: a limit that does not exist is the widest possible
    return tuple(
        Figure(
            name=name,
            data=data,
            estimate=Estimate(
                value=found.value,
                low=0.0 if np.isnan(found.low) else found.low,
                high=1.0 if np.isnan(found.high) else found.high,
                n=found.n,
            ),
        )
        for name, found in estimates.items()
    )


def compare_scores(
    new: Sequence[FrameScore], old: Sequence[FrameScore], patients: Sequence[str]
) -> dict[str, Estimate | None]:
    """Paired differences, new − old, on the same frames: mean Dice (bootstrap over patients) and AUC
    (DeLong); None where the frames can't give one."""
    rows = [
        (a.dice - b.dice, patient)
        for a, b, patient in zip(new, old, patients, strict=True)
        if a.has_node and not np.isnan(a.dice - b.dice)
    ]
    compared: dict[str, Estimate | None] = {"dice": None, "auc": None}
    if rows:
        gaps = np.array([gap for gap, _ in rows])
        low, high = bootstrap(lambda w: w @ gaps / w.sum(axis=1), [patient for _, patient in rows])
        compared["dice"] = Estimate(value=float(gaps.mean()), low=float(low), high=float(high), n=len(rows))
    labelled = [
        (a, b) for a, b in zip(new, old, strict=True) if not (np.isnan(a.target) or a.failed or b.failed)
    ]
    truth = [a.target >= 0.5 for a, _ in labelled]
    if min(sum(truth), len(truth) - sum(truth)) >= 2:
        difference = compare_auc(
            truth, [a.malignancy for a, _ in labelled], [b.malignancy for _, b in labelled]
        )
        compared["auc"] = difference.difference
    return {
        name: gap if gap is not None and np.isfinite([gap.value, gap.low, gap.high]).all() else None
        for name, gap in compared.items()
    }
