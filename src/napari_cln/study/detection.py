"""Detection of nodes: predicted nodes matched with reference nodes, F1, AP, FROC."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]


class Pair(NamedTuple):
    """A reference node and the predicted node that was matched to it; 0 stands for none."""

    reference: int
    predicted: int
    iou: float
    dice: float


def match_nodes(predicted: NDArray[np.uint8], reference: NDArray[np.uint8]) -> tuple[Pair, ...]:
    """Match predicted to reference nodes one to one, so that the sum of IoU is greatest.

    Every node of both appears once: matched if it overlaps its partner at all, else with 0.
    Whether a match counts as found is decided by its IoU afterwards.

    Parameters
    ----------
    predicted, reference : ndarray of uint8, shape (H, W)
        Instance ids; 0 is background.

    Returns
    -------
    tuple of Pair
        Reference nodes in the order of their id, then predicted nodes without a partner.

    Raises
    ------
    ValueError
        If the two differ in shape.

    References
    ----------
    .. [1] H. W. Kuhn, Naval Research Logistics 2, 1955 (the assignment).
    """
    if predicted.shape != reference.shape:
        raise ValueError(
            f"The instances have shapes {predicted.shape} and {reference.shape}: "
            "give both in the pixels of the same frame."
        )
    n, m = int(reference.max()) + 1, int(predicted.max()) + 1
    joint = np.bincount(reference.ravel().astype(np.intp) * m + predicted.ravel(), minlength=n * m)
    joint = joint.reshape(n, m)
    in_reference, in_predicted = joint.sum(axis=1), joint.sum(axis=0)
    references, predictions = (np.flatnonzero(counts[1:]) + 1 for counts in (in_reference, in_predicted))
    both = joint[np.ix_(references, predictions)]
    total = in_reference[references, None] + in_predicted[None, predictions]
    overlap = both / (total - both)
    pairs = {
        int(references[i]): Pair(
            int(references[i]),
            int(predictions[j]),
            float(overlap[i, j]),
            float(2 * both[i, j] / total[i, j]),
        )
        for i, j in zip(*linear_sum_assignment(overlap, maximize=True), strict=True)
        if both[i, j]
    }
    taken = {pair.predicted for pair in pairs.values()}
    return (
        *(pairs.get(int(i), Pair(int(i), 0, 0.0, 0.0)) for i in references),
        *(Pair(0, int(j), 0.0, 0.0) for j in predictions if int(j) not in taken),
    )


def average_precision(confidence: ArrayLike, hit: ArrayLike, n_reference: int) -> float:
    """Area under precision over recall as the confidence falls (all points, VOC 2010 and later).

    Parameters
    ----------
    confidence : array, shape (N,)
        Of each predicted node.
    hit : array of bool, shape (N,)
        Whether it was matched well enough.
    n_reference : int
        Reference nodes; those that no prediction hit lower the recall.

    Returns
    -------
    float
        NaN without reference nodes.
    """
    if not n_reference:
        return float("nan")
    tp, fp, _ = _falling(confidence, hit)
    precision = tp / np.maximum(tp + fp, 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(tp, prepend=0.0) * best_from_here) / n_reference)


class Froc(NamedTuple):
    """Share of nodes found against false finds a frame, as the confidence falls."""

    false_per_frame: Floats
    sensitivity: Floats
    confidence: Floats


def froc(confidence: ArrayLike, hit: ArrayLike, n_reference: int, n_frames: int) -> Froc:
    """Free-response ROC of a detector, starting at (0, 0) with an infinite confidence.

    References
    ----------
    .. [1] Bunch et al., Proc SPIE 127, 1977. :doi:`10.1117/12.955926`
    """
    tp, fp, at = _falling(confidence, hit)
    return Froc(
        np.concatenate([[0.0], fp / n_frames]),
        np.concatenate([[0.0], tp / n_reference]),
        np.concatenate([[np.inf], at]),
    )


def _falling(confidence: ArrayLike, hit: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """True and false finds at or above each confidence that occurs, highest first."""
    c, h = np.asarray(confidence, dtype=float), np.asarray(hit, dtype=bool)
    order = np.argsort(-c, kind="stable")
    last = np.flatnonzero(np.diff(c[order], append=-np.inf))
    tp, fp = (np.cumsum(x[order])[last].astype(float) for x in (h, ~h))
    return tp, fp, c[order][last]
