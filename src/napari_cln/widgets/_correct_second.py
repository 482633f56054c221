"""How well a second reader agrees with what the training folder has, in a sentence."""

from __future__ import annotations

import math

from ..errors import ClnError
from ..folder.dataset import TrainingFolder
from ..folder.readers import pair_readings
from ..study.agreement import kappa
from ..study.metrics import dice

__all__ = ["describe_agreement"]


def describe_agreement(folder: TrainingFolder, reader: str, case_id: str) -> str:
    """Dice on this frame, and kappa of the truths over all frames of the second reader."""
    try:
        pairs = list(pair_readings(folder, reader))
    except ClnError as error:
        return str(error)
    here = next((pair for pair in pairs if pair.case.id == case_id), None)
    if here is None:
        return "Second reading saved."
    overlap = dice(here.first.mask, here.second.mask)
    same = "both readers see no node" if math.isnan(overlap) else f"Dice with the first reading {overlap:.2f}"
    agreement = kappa([pair.first.label for pair in pairs], [pair.second.label for pair in pairs])
    if math.isnan(agreement.value):
        return f"Second reading saved: {same}."
    return f"Second reading saved: {same}. Kappa of the truths {agreement}."
