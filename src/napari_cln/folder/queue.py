"""The frames most worth a reader's next minute, with the reasons.

Four reasons count, each as a number in [0, 1] (0: none at all): mask and score disagree; the border
is uncertain; nothing like the frame is labelled; two readers differ (benign against metastatic counts 1,
outlines by their Dice). A frame is as urgent as its
strongest reason, so that the reason given is the one that put it there. Frames of one cine that
follow each other look alike, and of such neighbours only the most urgent is asked for.

>>> from napari_cln.folder.queue import FrameSigns, rank
>>> [suggestion.why for suggestion in rank([FrameSigns(key="a", frame_score=0.95, finds_masks=True)])]
['no node was found, but the score of the frame is 0.95']
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..annotation import Case
from ..types import Doubt

NEIGHBOURS = 5
"""Frames before and after a suggested one that are not asked for too."""
LEAST = 0.2
"""Below this a reason is none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameSigns:
    """Facts about a frame by which it is ranked.

    Parameters
    ----------
    key : str
        By which the caller knows the frame.
    cine : str, optional
        The clip that it is from.
    index : int
        Its position there.
    node_scores : tuple of float
        Malignancy in [0, 1] of each node that was found.
    frame_score : float, optional
        Malignancy in [0, 1] of the frame as a whole.
    cutoff : float
        Operating point on malignancy.
    finds_masks : bool
        Whether masks were looked for, so that no node means that none was found.
    unsure : float, optional
        From :func:`napari_cln.imaging.measurement.unsure_share`.
    novelty : float, optional
        From :func:`unlikeness`.
    agreement : float, optional
        Dice in [0, 1] of two readers' masks.
    opposed : str
        Truths by which the two contradict each other, in words; as urgent as can be.
    doubt : Doubt, optional
        The model's own, of what it found.
    truth : str
        What is known already; a truth that contradicts the score is worth a look.
    """

    key: str
    cine: str | None = None
    index: int = 0
    node_scores: tuple[float, ...] = ()
    frame_score: float | None = None
    cutoff: float = 0.5
    finds_masks: bool = False
    unsure: float | None = None
    novelty: float | None = None
    agreement: float | None = None
    opposed: str = ""
    doubt: Doubt | None = None
    truth: str = "unknown"


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A frame to look at, how urgent it is in [0, 1], and why, in words."""

    key: str
    urgency: float
    why: str


def rank(frames: Iterable[FrameSigns], n: int | None = None, gap: int = NEIGHBOURS) -> list[Suggestion]:
    """Frames that are worth a look, the most urgent first.

    Parameters
    ----------
    frames : iterable of FrameSigns
    n : int, optional
        How many at most.
    gap : int
        Of frames of one cine that lie at most so far apart, one alone is suggested.

    Returns
    -------
    list of Suggestion
        Empty where no frame has a reason. Equal urgencies keep the order of ``frames``.
    """
    found = []
    for signs in frames:
        urgency, why = max(_reasons(signs), key=lambda reason: reason[0], default=(0.0, ""))
        if urgency >= LEAST:
            found.append((urgency, why, signs))
    found.sort(key=lambda item: -item[0])
    taken: dict[str, list[int]] = {}
    suggestions: list[Suggestion] = []
    for urgency, why, signs in found:
        if n is not None and len(suggestions) >= n:
            break
        if signs.cine is not None:
            places = taken.setdefault(signs.cine, [])
            if any(abs(signs.index - place) <= gap for place in places):
                continue
            places.append(signs.index)
        suggestions.append(Suggestion(key=signs.key, urgency=urgency, why=why))
    return suggestions


def _reasons(signs: FrameSigns) -> list[tuple[float, str]]:
    reasons = []
    if signs.opposed:
        reasons.append((1.0, f"two readers differ: {signs.opposed}"))
    score = signs.frame_score
    if signs.node_scores:
        worst = max(signs.node_scores)
        if signs.truth in ("benign", "metastatic"):
            wrong = worst if signs.truth == "benign" else 1 - worst
            if (worst >= signs.cutoff) == (signs.truth == "benign"):
                reasons.append((wrong, f"the truth is {signs.truth}, but the score {worst:.2f}"))
        elif score is not None and (score >= signs.cutoff) != (worst >= signs.cutoff):
            reasons.append(
                (abs(score - worst), f"the node scores {worst:.2f}, but the frame as a whole {score:.2f}")
            )
    elif signs.finds_masks and score is not None and score >= signs.cutoff:
        reasons.append((score, f"no node was found, but the score of the frame is {score:.2f}"))
    if signs.unsure is not None:
        reasons.append((signs.unsure, f"the border is uncertain in {signs.unsure:.0%} of the mask"))
    if signs.doubt is not None and signs.doubt.reason:
        reasons.append((signs.doubt.chance, f"{signs.doubt.level}: {signs.doubt.reason}"))
    if signs.novelty is not None:
        reasons.append((signs.novelty, "it looks unlike anything labelled"))
    if signs.agreement is not None:
        reasons.append((1 - signs.agreement, f"two readers differ: Dice {signs.agreement:.2f}"))
    return reasons


def signs_of_case(
    case: Case,
    *,
    index: int = 0,
    cutoff: float = 0.5,
    novelty: float | None = None,
    agreement: float | None = None,
    opposed: str = "",
) -> FrameSigns:
    """FrameSigns of a frame of a training folder.

    Novelty counts for frames alone that nobody has looked at: a labelled frame that is like no
    other has had its minute.

    Parameters
    ----------
    case : Case
    index : int
        Number of the frame in its cine.
    cutoff : float
        On malignancy, in [0, 1].
    novelty : float, optional
        From :func:`unlikeness`, in [0, 1].
    agreement : float, optional
        Dice of two readers, in [0, 1].
    opposed : str
        Truths by which the two contradict each other, in words.
    """
    scores = tuple(node.p_malignant for node in case.nodes if node.p_malignant is not None)
    return FrameSigns(
        key=case.id,
        cine=case.cine,
        index=index,
        node_scores=scores,
        cutoff=cutoff,
        novelty=novelty if case.status == "predicted" else None,
        agreement=agreement,
        opposed=opposed,
        truth=case.truth,
    )


def appearance(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Coarse appearance of a frame: 16×16 mean grey values, of zero mean and unit deviation.

    Parameters
    ----------
    grey : ndarray of uint8, shape (H, W)

    Returns
    -------
    ndarray of float32, shape (256,)
        Zeros for a frame of one grey value.
    """
    for axis in (0, 1):
        grey = grey.repeat(max(-(-16 // grey.shape[axis]), 1), axis=axis)  # at least a pixel a cell
    rows, columns = (np.linspace(0, size, 17).astype(int) for size in grey.shape)
    sums = np.zeros((grey.shape[0] + 1, grey.shape[1] + 1))
    sums[1:, 1:] = grey.cumsum(axis=0, dtype=float).cumsum(axis=1)
    corners = sums[np.ix_(rows, columns)]
    means = np.diff(np.diff(corners, axis=0), axis=1) / np.outer(np.diff(rows), np.diff(columns))
    spread = float(means.std())
    flat = (means - means.mean()) / spread if spread > 1e-6 else np.zeros_like(means)
    look: NDArray[np.float32] = flat.ravel().astype(np.float32)
    return look


def unlikeness(
    looks: Sequence[NDArray[np.float32]], labelled: Sequence[NDArray[np.float32]]
) -> list[float | None]:
    """Distance of each frame's appearance from the nearest labelled one.

    Parameters
    ----------
    looks, labelled : sequence of ndarray, shape (256,)
        From :func:`appearance`.

    Returns
    -------
    list of float or None
        Share in [0, 1] of labelled frames that have a nearer neighbour among the labelled than
        this frame has; 0 for a frame that is in the middle of a crowd. None with fewer than ten
        labelled frames, when everything is new.
    """
    if len(labelled) < 10:
        return [None] * len(looks)
    known = np.stack(labelled)
    squares = (known**2).sum(axis=1)
    among = squares[:, None] + squares - 2 * known @ known.T
    np.fill_diagonal(among, np.inf)
    nearest = np.sort(among.min(axis=1))
    result: list[float | None] = []
    for look in looks:
        distance = float((squares + look @ look - 2 * known @ look).min())
        result.append(float(np.searchsorted(nearest, distance - 1e-3)) / len(nearest))
    return result
