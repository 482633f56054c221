"""The first screen: what a head of department needs."""

from __future__ import annotations

from ...errors import counted
from ...types import Estimate
from ..evaluation import Evaluation
from .pages import NAMES, Overview, Tile, interval, number, percent

FEW = 30
"""Cases of a class below which the first screen warns."""


def overview(evaluation: Evaluation) -> Overview:
    """The page for a head of department: nodes found and missed, and how sure that is."""
    sentences, tiles = [], []
    nodes, masks = evaluation.nodes, evaluation.segmentation
    if nodes is not None:
        counts = nodes.counts
        sentences.append(
            f"Of {counts.tp + counts.fn} metastatic nodes the model calls {counts.tp} malignant; "
            f"of {counts.tn + counts.fp} benign nodes it calls {counts.fp} malignant as well."
        )
        for name in ("sensitivity", "specificity"):
            measure = nodes[name]
            tiles.append(
                Tile(
                    name=NAMES[name],
                    value=percent(measure.estimate.value),
                    detail=f"{measure.k}/{measure.estimate.n} nodes · "
                    f"{interval(measure.clustered, 1, 100)} %",
                )
            )
        area = nodes.auc_clustered
        tiles.append(
            Tile(name="AUC", value=number(area.value, 3), detail=f"{interval(area, 3)} · n = {area.n}")
        )
    if masks is not None:
        well, in_part, missed, wrong = (
            round(e.value * e.n) for e in (masks.found, masks.loose, masks.missed, masks.wrong_node)
        )
        sentences.append(
            f"Of {masks.nodes} nodes it outlines {well} well (IoU ≥ {evaluation.config.iou_threshold:g}), "
            f"{in_part} in part, misses {missed}, and in {wrong} it outlines another structure instead."
        )
        tiles.append(Tile(name="Nodes found", value=percent(masks.found.value), detail=_detail(masks.found)))
        dice = masks.dice
        tiles.append(
            Tile(
                name="Median Dice",
                value=number(dice.median.value),
                detail=f"quartiles {number(dice.lower_quartile)} and {number(dice.upper_quartile)} · "
                f"n = {dice.median.n}",
            )
        )
    claimed = evaluation.claimed
    if claimed is not None:
        k, n = round(claimed.value * claimed.n), claimed.n
        sentences.append(f"On {k} of {counted(n, 'frame')} without a node it outlines one all the same.")
        tiles.append(
            Tile(
                name="Claims without a node",
                value=percent(claimed.value),
                detail=f"{k}/{n} frames · {interval(claimed, 1, 100)} %",
            )
        )
    name = f"“{evaluation.model.partition('@')[0]}”" if evaluation.model else "(not named)"
    return Overview(
        title=f"How well the model {name} does on {_cases(evaluation)}",
        sentences=tuple(sentences) or ("No case has a mask or a known truth: there is nothing to judge.",),
        tiles=tuple(tiles),
        notes=_notes(evaluation),
    )


def _detail(found: Estimate) -> str:
    return f"{round(found.value * found.n)}/{found.n} nodes · {interval(found, 1, 100)} %"


def _cases(evaluation: Evaluation) -> str:
    """Name the cases that are judged, in a sentence."""
    split = evaluation.config.split
    return "all cases" if split == "all" else f"the {split} cases"


def _notes(evaluation: Evaluation) -> tuple[str, ...]:
    flow, nodes = evaluation.flow, evaluation.nodes
    notes = ["For research, not for diagnosis."]
    notes.append(
        f"Cases: {evaluation.config.data}"
        if evaluation.config.data
        else "What these cases are was not stated: say it before showing these figures to anyone."
    )
    notes.append(
        f"{counted(flow.frames, 'frame')} of {counted(flow.patients, 'patient')}. Cutoff {evaluation.cutoff}."
    )
    if nodes is not None:
        few = min(nodes.counts.tp + nodes.counts.fn, nodes.counts.tn + nodes.counts.fp)
        if few < FEW:
            notes.append(
                f"One class has only {counted(few, 'node')}: the intervals are wide, and say little about "
                "which model is better."
            )
        notes.append(
            f"PPV and NPV hold where {percent(nodes.prevalence, 0)} "
            f"({nodes.counts.tp + nodes.counts.fn}/{nodes.counts.n}) of nodes are metastatic, as here; "
            "not at another hospital's share."
        )
    if flow.unknown:
        notes.append(f"{counted(flow.unknown, 'node')} of unknown truth left out of the diagnosis.")
    if flow.scored_by_frame:
        notes.append(
            counted(flow.scored_by_frame, "node was not found; it stays", "nodes were not found; they stay")
            + " in the diagnosis, with the score of the frame."
        )
    if evaluation.config.split != "test":
        notes.append(
            f"These are {_cases(evaluation)}, not test cases alone: a model that learned from any of them "
            "is flattered."
        )
    if flow.learned_from:
        notes.append(
            counted(flow.learned_from, "of these frames was", "of these frames were")
            + " in the run that trained this model: these figures flatter it, and are no test."
        )
    shared = shared_patients(evaluation)
    if shared:
        notes.append(
            f"{counted(shared, 'patient is', 'patients are')} in {_cases(evaluation)} and in another split "
            "as well: these figures flatter the model. Split by patient."
        )
    if flow.unjudged:
        notes.append(f"{counted(flow.unjudged, 'frame')} left out: nobody has judged what is there.")
    if flow.unreadable:
        notes.append(f"{counted(flow.unreadable, 'frame')} in no figure: they could not be read.")
    if flow.failed:
        notes.append(
            f"The model gave no finite number for {counted(flow.failed, 'frame')}: in no figure, which "
            "flatters the model."
        )
    return tuple(notes)


def shared_patients(evaluation: Evaluation) -> int:
    """Patients of the reported cases who are in another split as well."""
    here = evaluation.partitions.get(evaluation.config.split, frozenset())
    elsewhere = [who for name, who in evaluation.partitions.items() if name != evaluation.config.split]
    return len(here & frozenset().union(*elsewhere))
