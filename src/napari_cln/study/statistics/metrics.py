"""Figures of masks and scores: overlap and distance, counts, ROC. One definition each.

Truths are booleans (metastatic), scores lie in [0, 1], and a case is called malignant when its
score is **at or above** the cutoff. Functions that take ``weights`` of shape (B, N) return one
value a row of them: that is what :func:`napari_cln.study.statistics.intervals.bootstrap` feeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from ...imaging.measurement import bounds
from ...types import Spacing

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

MEASURES = ("sensitivity", "specificity", "accuracy", "ppv", "npv", "positive_lr", "negative_lr")
"""The seven measures of the paper's Table 3, in its order."""


def dice(predicted: Mask, reference: Mask) -> float:
    """Overlap of two masks: 1 for identical, 0 for disjoint.

    Parameters
    ----------
    predicted, reference : ndarray of bool, shape (H, W)

    Returns
    -------
    float
        ``2·|A∩B| / (|A|+|B|)`` in [0, 1]; NaN when both masks are empty, so that a frame
        without a node neither raises nor lowers a mean.

    Raises
    ------
    ValueError
        If the masks differ in shape.

    References
    ----------
    .. [1] L. R. Dice, Ecology 26(3), 1945. :doi:`10.2307/1932409`

    Examples
    --------
    >>> a = np.array([[True, True], [False, False]])
    >>> dice(a, a), dice(a, ~a)
    (1.0, 0.0)
    """
    total, both = _overlap(predicted, reference)
    return 2 * both / total if total else float("nan")


def iou(predicted: Mask, reference: Mask) -> float:
    """Intersection over union, ``|A∩B| / |A∪B|``; NaN when both masks are empty.

    Raises
    ------
    ValueError
        If the masks differ in shape.
    """
    total, both = _overlap(predicted, reference)
    return both / (total - both) if total else float("nan")


def _overlap(predicted: Mask, reference: Mask) -> tuple[int, int]:
    if predicted.shape != reference.shape:
        raise ValueError(
            f"The masks have shapes {predicted.shape} and {reference.shape}: "
            "give both in the pixels of the same frame."
        )
    total = int(np.count_nonzero(predicted)) + int(np.count_nonzero(reference))
    return total, int(np.count_nonzero(predicted & reference))


def surface_distances(
    predicted: Mask, reference: Mask, spacing_mm: Spacing | None = None
) -> tuple[Floats, Floats]:
    """Distances from each border pixel of one mask to the nearest border pixel of the other.

    The border is the mask less its erosion by a cross: it lies inside the mask, and a mask
    cut by the frame's edge has border there.

    Parameters
    ----------
    predicted, reference : ndarray of bool, shape (H, W)
        Neither empty: a node that was not found has no distance, it is counted as missed.
    spacing_mm : (float, float), optional
        Millimetres per pixel along rows and columns; distances are in pixels without it.

    Returns
    -------
    predicted_to_reference, reference_to_predicted : ndarray of float64

    Raises
    ------
    ValueError
        If the masks differ in shape or one is empty.
    """
    _overlap(predicted, reference)
    if not (predicted.any() and reference.any()):
        raise ValueError("One of the masks is empty: count the node as missed, it has no distance.")
    scale = np.array(spacing_mm or (1.0, 1.0))
    a, b = (_border(mask) * scale for mask in (predicted, reference))
    # A tree of border points gives the distances of a Euclidean distance map, at a cost
    # that does not grow with the frame.
    return cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]


def _border(mask: Mask) -> NDArray[np.int64]:
    place = bounds(mask)
    assert place is not None
    part = mask[place]
    points: NDArray[np.int64] = np.argwhere(part & ~binary_erosion(part))
    points += np.array([side.start for side in place])
    return points


class OutlineDistances(NamedTuple):
    """Two summaries of the distance between two outlines, in mm or pixels.

    ``hd95`` is the 95th percentile Hausdorff distance: the greater of the two directed 95th
    percentiles. Pooling both directions first, as some libraries do, gives smaller values.
    ``assd`` is the average symmetric surface distance: the mean over both borders.
    """

    hd95: float
    assd: float


def outline_distances(
    predicted: Mask, reference: Mask, spacing_mm: Spacing | None = None
) -> OutlineDistances:
    """HD95 and ASSD of two masks; arguments and errors as :func:`surface_distances`."""
    distances = surface_distances(predicted, reference, spacing_mm)
    greatest = max(np.percentile(directed, 95) for directed in distances)
    return OutlineDistances(float(greatest), float(np.concatenate(distances).mean()))


class Counts(NamedTuple):
    """A two by two table. Positive means metastatic, or called malignant."""

    tp: int
    fn: int
    tn: int
    fp: int

    @property
    def n(self) -> int:
        """All cases."""
        return sum(self)


def confusion(truth: ArrayLike, called: ArrayLike) -> Counts:
    """Count true positives, false negatives, true negatives, false positives.

    Parameters
    ----------
    truth, called : array of bool, shape (N,)

    Examples
    --------
    >>> confusion([True, True, False], [True, False, False])
    Counts(tp=1, fn=1, tn=1, fp=0)
    """
    t, c = np.asarray(truth, dtype=bool), np.asarray(called, dtype=bool)
    return Counts(*(int(np.sum(x)) for x in (t & c, t & ~c, ~t & ~c, ~t & c)))


def measures(tp: ArrayLike, fn: ArrayLike, tn: ArrayLike, fp: ArrayLike) -> Mapping[str, Any]:
    """Sensitivity, specificity, accuracy, predictive values and likelihood ratios.

    Works on numbers and elementwise on arrays. A share of nothing is NaN; a likelihood ratio
    over zero is infinite.
    """
    tp_, fn_, tn_, fp_ = (np.asarray(x, dtype=float) for x in (tp, fn, tn, fp))
    with np.errstate(divide="ignore", invalid="ignore"):
        sensitivity, specificity = tp_ / (tp_ + fn_), tn_ / (tn_ + fp_)
        values = (
            sensitivity,
            specificity,
            (tp_ + tn_) / (tp_ + fn_ + tn_ + fp_),
            tp_ / (tp_ + fp_),
            tn_ / (tn_ + fn_),
            sensitivity / (fp_ / (tn_ + fp_)),
            (fn_ / (tp_ + fn_)) / specificity,
        )
    return dict(zip(MEASURES, (v if v.ndim else float(v) for v in values), strict=True))


def auc(truth: ArrayLike, score: ArrayLike, weights: Floats | None = None) -> Any:
    """Area under the ROC curve: how often a metastatic case scores above a benign one.

    Ties count half. NaN where one class is absent.

    Parameters
    ----------
    truth, score : array, shape (N,)
    weights : ndarray, shape (B, N), optional
        Case weights; returns (B,) then.
    """
    t, s = np.asarray(truth, dtype=bool), np.asarray(score, dtype=float)
    w = np.ones((1, s.size)) if weights is None else weights
    benign = np.flatnonzero(~t)[np.argsort(s[~t], kind="stable")]
    upto = np.zeros((len(w), benign.size + 1))
    np.cumsum(w[:, benign], axis=1, out=upto[:, 1:])
    # Benign weight below each metastatic case, and below it or tied: their mean counts ties half.
    below, with_ties = (np.searchsorted(s[benign], s[t], side=side) for side in ("left", "right"))
    metastatic = w[:, t]
    ordered = np.einsum("bi,bi->b", metastatic, upto[:, below] + upto[:, with_ties]) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        area = ordered / (metastatic.sum(axis=1) * upto[:, -1])
    return float(area[0]) if weights is None else area


class Roc(NamedTuple):
    """The operating points of a score, from "call nothing" to "call everything"."""

    cutoff: Floats
    sensitivity: Floats
    specificity: Floats


def roc(truth: ArrayLike, score: ArrayLike) -> Roc:
    """Sensitivity and specificity at every score that occurs, used as cutoff.

    The first cutoff is infinite (nothing is called malignant).
    """
    t, s = np.asarray(truth, dtype=bool), np.asarray(score, dtype=float)
    order = np.argsort(-s, kind="stable")
    last = np.flatnonzero(np.diff(s[order], append=-np.inf))
    tp = np.concatenate([[0], np.cumsum(t[order])[last]])
    fp = np.concatenate([[0], np.cumsum(~t[order])[last]])
    with np.errstate(invalid="ignore"):
        return Roc(np.concatenate([[np.inf], s[order][last]]), tp / t.sum(), 1 - fp / (~t).sum())


# ------------------------------------------------------------ the tables behind printed figures


@dataclass(frozen=True, kw_only=True)
class PrintedRow:
    """A row of figures in percent, as printed."""

    name: str
    sensitivity: float
    specificity: float
    accuracy: float
    ppv: float
    npv: float


PRINTED_ROWS = (
    PrintedRow(
        name="Y-Net, mask and class",
        sensitivity=57.25,
        specificity=87.08,
        accuracy=72.03,
        ppv=81.87,
        npv=66.67,
    ),
    PrintedRow(
        name="Y-Net, class alone", sensitivity=84.78, specificity=80.23, accuracy=82.45, ppv=79.35, npv=85.61
    ),
    PrintedRow(
        name="original reports", sensitivity=95.14, specificity=34.3, accuracy=64.66, ppv=59.02, npv=87.71
    ),
)
"""Table 3 of the paper."""


def closing_tables(row: PrintedRow, n: int, tolerance: float = 0.006) -> tuple[Counts, ...]:
    """Every two by two table of ``n`` cases whose five measures are the printed ones.

    Parameters
    ----------
    row : PrintedRow
    n : int
        Cases.
    tolerance : float
        In percentage points; 0.005 is the rounding of two decimals.

    Examples
    --------
    >>> closing_tables(PRINTED_ROWS[0], 547)
    (Counts(tp=158, fn=118, tn=236, fp=35),)
    """
    positives = np.arange(1, n)
    spread = np.arange(-1, 2)
    # Sensitivity and specificity leave at most one whole number each; its neighbours are
    # tried too, so that rounding cannot hide a solution.
    tp = (np.rint(row.sensitivity / 100 * positives)[:, None] + spread)[:, :, None]
    tn = (np.rint(row.specificity / 100 * (n - positives))[:, None] + spread)[:, None, :]
    fn, fp = positives[:, None, None] - tp, n - positives[:, None, None] - tn
    fits = (tp >= 0) & (fn >= 0) & (tn >= 0) & (fp >= 0)
    for name, value in measures(*np.broadcast_arrays(tp, fn, tn, fp)).items():
        if hasattr(row, name):
            fits &= np.abs(100 * value - getattr(row, name)) <= tolerance
    cells = np.stack([cell[fits] for cell in np.broadcast_arrays(tp, fn, tn, fp)], axis=1)
    return tuple(Counts(*(int(cell) for cell in table)) for table in cells)
