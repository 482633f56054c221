"""How a network does on validation frames, on the network's own grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..network.model import YNet
from ..study.metrics import auc, dice
from .data import Batch, Samples

__all__ = ["FrameScore", "score_frames", "summarise"]


@dataclass(frozen=True, kw_only=True)
class FrameScore:
    """One validation frame.

    ``dice`` is NaN where the mask is unknown or both masks are empty; ``has_node`` is None where
    the mask is unknown.
    """

    id: str
    dice: float
    has_node: bool | None
    claimed: bool
    malignancy: float
    target: float


@torch.no_grad()
def score_frames(
    network: YNet, samples: Samples, *, device: torch.device | str = "cpu", batch_size: int = 8
) -> list[FrameScore]:
    """Predict every frame and compare it with what is known of it.

    Parameters
    ----------
    network : YNet
        In evaluation mode, on ``device``.
    samples : Samples
    device : torch.device or str
    batch_size : int
    """
    scores = []
    for start in range(0, len(samples), batch_size):
        part = samples.take(range(start, min(start + batch_size, len(samples))))
        mask_logits, class_logits = network(Batch.of(part, device).image)
        malignancy = class_logits.float().softmax(1)[:, 1].cpu().numpy()
        if mask_logits is None:
            masks = np.zeros(part.instances.shape, dtype=bool)
        else:
            masks = (mask_logits[:, 1] > mask_logits[:, 0]).cpu().numpy()
        for index, id_ in enumerate(part.ids):
            reference = part.instances[index] > 0
            known = bool(part.has_mask[index]) and mask_logits is not None
            scores.append(
                FrameScore(
                    id=id_,
                    dice=dice(masks[index], reference) if known else float("nan"),
                    has_node=bool(reference.any()) if known else None,
                    claimed=bool(masks[index].any()),
                    malignancy=float(malignancy[index]),
                    target=float(part.frame_targets[index]),
                )
            )
    return scores


def summarise(scores: Sequence[FrameScore]) -> dict[str, float | int | None]:
    """Figures of a validation, None where there is nothing to take them from.

    ``missed`` is the share of frames with a node whose Dice is under 0.1, ``claimed`` the share of
    frames without a node on which one was drawn. AUC takes a target of at least 0.5 as malignant.
    """
    dices = np.array([score.dice for score in scores if score.has_node])
    empty = [score.claimed for score in scores if score.has_node is False]
    labelled = [score for score in scores if not np.isnan(score.target)]
    truth = np.array([score.target >= 0.5 for score in labelled])
    two_classes = len(set(truth.tolist())) == 2
    return {
        "n": len(scores),
        "dice_mean": float(dices.mean()) if dices.size else None,
        "dice_median": float(np.median(dices)) if dices.size else None,
        "missed": float((dices < 0.1).mean()) if dices.size else None,
        "claimed": float(np.mean(empty)) if empty else None,
        "auc": float(auc(truth, [score.malignancy for score in labelled])) if two_classes else None,
    }
