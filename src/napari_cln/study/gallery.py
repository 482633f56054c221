"""The best, median and worst frames with both outlines (the paper's Figure 2)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..imaging.overlay import find_overlay, paint_over
from ..imaging.scan_area import find_scan_area
from ..io.sources import read_frame
from ..types import Annotation, Case, Frame, Prediction

__all__ = ["Candidate", "Picture", "candidate", "pick_pictures"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A frame that may be shown: where to read it, and its masks, packed to a few hundred bytes."""

    id: str
    dice: float
    truth: str
    score: float
    origin: Path | Frame
    index: int
    shape: tuple[int, int]
    reference: bytes
    predicted: bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A frame of the gallery, cropped to its scan area.

    Parameters
    ----------
    place : str
        ``"best"``, ``"median"`` or ``"worst"``.
    id : str
    dice, score : float
    truth : str
        Of the frame; ``"no node"`` where the reader says there is none.
    image : ndarray of uint8, shape (h, w)
    reference, predicted : ndarray of bool, shape (h, w)
    """

    place: str
    id: str
    dice: float
    truth: str
    score: float
    image: NDArray[np.uint8]
    reference: NDArray[np.bool_]
    predicted: NDArray[np.bool_]


def candidate(
    truth: Case | Annotation, prediction: Prediction, instances: NDArray[np.uint8], case_id: str, dice: float
) -> Candidate:
    """Keep what is needed to show a frame later, without its pixels where a file has them."""
    origin: Path | Frame
    if isinstance(truth, Case):
        origin, index, label = truth.image, 0, truth.truth
    else:
        origin, index, label = truth.frame.source or truth.frame, truth.frame.index, truth.label
    return Candidate(
        id=case_id,
        dice=dice,
        truth=label if instances.any() else "no node",
        score=prediction.malignancy,
        origin=origin,
        index=index,
        shape=instances.shape,
        reference=_packed(instances > 0),
        predicted=_packed(prediction.mask),
    )


def pick_pictures(candidates: Sequence[Candidate], n: int = 3) -> tuple[Picture, ...]:
    """The ``n`` best, median and worst frames by Dice; fewer of each where frames are few."""
    ranked = sorted(candidates, key=lambda c: (-c.dice, c.id))
    n = min(n, max(len(ranked) // 3, 1))
    middle = max((len(ranked) - n) // 2, 0)
    places = (("best", 0), ("median", middle), ("worst", len(ranked) - n))
    shown: dict[str, Picture] = {}
    for place, start in places:
        for chosen in ranked[start : start + n]:
            shown.setdefault(chosen.id, _picture(place, chosen))
    return tuple(shown.values())


def _picture(place: str, chosen: Candidate) -> Picture:
    origin = chosen.origin
    frame = origin if isinstance(origin, Frame) else read_frame(origin, chosen.index)
    row0, column0, row1, column1 = frame.scan_area or find_scan_area(frame)
    # The screen around the scan area, and letters on it, may name the patient.
    clean = paint_over(frame.grey, find_overlay(frame))
    part = slice(row0, row1), slice(column0, column1)
    return Picture(
        place=place,
        id=chosen.id,
        dice=chosen.dice,
        truth=chosen.truth,
        score=chosen.score,
        image=clean[part],
        reference=_unpacked(chosen.reference, chosen.shape)[part],
        predicted=_unpacked(chosen.predicted, chosen.shape)[part],
    )


def _packed(mask: NDArray[np.bool_]) -> bytes:
    return zlib.compress(np.packbits(mask).tobytes(), 1)


def _unpacked(packed: bytes, shape: tuple[int, int]) -> NDArray[np.bool_]:
    bits = np.unpackbits(np.frombuffer(zlib.decompress(packed), dtype=np.uint8), count=shape[0] * shape[1])
    return bits.reshape(shape).astype(bool)
