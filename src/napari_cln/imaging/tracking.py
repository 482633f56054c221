"""A node through the frames of a cine: one id, and one score for the clip.

Between two frames the whole picture moves (the probe slides, the patient breathes); that motion is taken out,
and the nodes that then overlap most are the same. A clip's score is the mean of a node's logits, weighted by
how sure its masks are: of simple rules it comes nearest to what the whole node shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from skimage.registration import phase_cross_correlation

from ..types import CLASS_NAMES, Prediction
from .measurement import bounds
from .scan_area import find_scan_area

__all__ = ["Track", "track"]

Mask = NDArray[np.bool_]

LONGEST_GAP = 5
"""Frames in a row in which a node may not be found."""
LEAST_OVERLAP = 0.1
"""IoU of two masks of one node, once the motion is taken out."""
SIDE = 128
"""Pixels of the longer side on which motion is measured."""
FARTHEST = 0.2
"""Motion from one frame to the next, as a part of the field, beyond which it is not believed."""


@dataclass(frozen=True, kw_only=True)
class Track:
    """One node of a cine.

    Parameters
    ----------
    id : int
        From 1, in the order of the first frame in which each was seen.
    frames : tuple of int
        Numbers of the frames in which it was found, ascending.
    nodes : tuple of int
        Its id in the instances of each of them.
    scores : tuple of float
        Malignancy in [0, 1] in each of them.
    confidences : tuple of float
        Mean mask probability in each of them.
    areas : tuple of float
        Pixels in each of them.
    cutoff : float
        From the model's card: that of frames.
    """

    id: int
    frames: tuple[int, ...]
    nodes: tuple[int, ...]
    scores: tuple[float, ...]
    confidences: tuple[float, ...]
    areas: tuple[float, ...]
    cutoff: float = 0.5

    @property
    def malignancy(self) -> float:
        """Score of the clip in [0, 1]: the mean logit of its frames, weighted by confidence."""
        scores = np.clip(self.scores, 1e-6, 1 - 1e-6)
        weights = np.asarray(self.confidences)
        weights = weights if weights.sum() > 0 else np.ones_like(weights)
        mean = float(np.average(np.log(scores / (1 - scores)), weights=weights))
        return 1 / (1 + math.exp(-mean))

    @property
    def label(self) -> str:
        """``"malignant"`` (at or above the cutoff) or ``"benign"``: one for the clip."""
        return CLASS_NAMES[int(self.malignancy >= self.cutoff)]

    @property
    def best_frame(self) -> int:
        """The frame that shows the node largest and surest."""
        return self.frames[int(np.argmax(np.asarray(self.confidences) * np.asarray(self.areas)))]


def track(predictions: Iterable[Prediction]) -> tuple[Track, ...]:
    """Follow the nodes of a cine.

    Parameters
    ----------
    predictions : iterable of Prediction
        Of the frames of one cine, in their order; taken one by one, so that memory does not grow with them.

    Returns
    -------
    tuple of Track
        A node that is lost for more than five frames in a row comes back as another one.

    Raises
    ------
    ValueError
        If the frames differ in size, or are not in their order.

    Examples
    --------
    >>> from napari_cln import segment_batch                          # doctest: +SKIP
    >>> for node in track(segment_batch("cine.dcm")):                 # doctest: +SKIP
    ...     print(node.id, node.malignancy, node.best_frame)          # doctest: +SKIP
    """
    tracker = Tracker()
    for prediction in predictions:
        tracker.add(prediction)
    return tracker.tracks


@dataclass(eq=False)
class _Open:
    """A node that is being followed: its mask, moved along with the picture."""

    id: int
    mask: Mask
    last: int
    frames: list[int] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)


class Tracker:
    """Nodes of a cine, followed frame by frame; holds the last frame and a mask for each node in view."""

    def __init__(self) -> None:
        self._done: list[_Open] = []
        self._open: list[_Open] = []
        self._small: NDArray[np.float32] | None = None
        self._shape: tuple[int, int] | None = None
        self._box: tuple[int, int, int, int] | None = None
        self._index = -1
        self._cutoff = 0.5

    def add(self, prediction: Prediction) -> tuple[int, ...]:
        """Take the next frame.

        Parameters
        ----------
        prediction : Prediction

        Returns
        -------
        tuple of int
            Track of each of its nodes, in the order of their ids.

        Raises
        ------
        ValueError
            If it has another size than the frames before, or comes before one of them.
        """
        frame = prediction.frame
        if self._shape is not None and frame.shape != self._shape:
            raise ValueError(f"Frame {frame.index} has {frame.shape} pixels, those before {self._shape}.")
        if frame.index <= self._index:
            raise ValueError(
                f"Frame {frame.index} comes after frame {self._index}: give them in their order."
            )
        if self._box is None:
            self._box = frame.scan_area or find_scan_area(frame)
        self._shape, self._index, self._cutoff = frame.shape, frame.index, prediction.cutoff
        small, step = _small(frame.grey, self._box)
        if self._small is not None and self._open:
            moved = _shift(self._small, small)
            for one in self._open:
                one.mask = moved_mask(one.mask, (moved[0] * step, moved[1] * step))
        self._small = small
        names = self._assign(prediction)
        ended = [one for one in self._open if frame.index - one.last > LONGEST_GAP]
        self._done += ended
        self._open = [one for one in self._open if one not in ended]
        return names

    def _assign(self, prediction: Prediction) -> tuple[int, ...]:
        """Give each node of a frame to the track that it overlaps best, or to a new one."""
        masks = [prediction.instances == node for node in range(1, len(prediction.node_scores) + 1)]
        overlap = np.array([[_iou(one.mask, mask) for mask in masks] for one in self._open])
        pairs: dict[int, _Open] = {}
        if overlap.size:
            for i, j in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
                if overlap[i, j] >= LEAST_OVERLAP:
                    pairs[int(j)] = self._open[int(i)]
        names = []
        for j, mask in enumerate(masks):
            one = pairs.get(j)
            if one is None:
                one = _Open(id=len(self._open) + len(self._done) + 1, mask=mask, last=self._index)
                self._open.append(one)
            one.mask, one.last = mask, self._index
            one.frames.append(self._index)
            one.nodes.append(j + 1)
            one.scores.append(float(prediction.node_scores[j]))
            one.confidences.append(float(prediction.probability[mask].mean()) if mask.any() else 0.0)
            one.areas.append(float(np.count_nonzero(mask)))
            names.append(one.id)
        return tuple(names)

    @property
    def tracks(self) -> tuple[Track, ...]:
        """All nodes so far, in the order of their ids."""
        return tuple(
            Track(
                id=one.id,
                frames=tuple(one.frames),
                nodes=tuple(one.nodes),
                scores=tuple(one.scores),
                confidences=tuple(one.confidences),
                areas=tuple(one.areas),
                cutoff=self._cutoff,
            )
            for one in sorted((*self._done, *self._open), key=lambda one: one.id)
        )


def shift_between(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> tuple[int, int]:
    """Measure how far a picture has moved.

    Parameters
    ----------
    before, after : ndarray of uint8, shape (H, W)

    Returns
    -------
    (int, int)
        Rows and columns by which ``before`` must be moved to lie on ``after``; (0, 0) where no motion fits
        better than none.
    """
    box = (0, 0, *before.shape)
    one, step = _small(before, (box[0], box[1], box[2], box[3]))
    other, _ = _small(after, (box[0], box[1], box[2], box[3]))
    moved = _shift(one, other)
    return moved[0] * step, moved[1] * step


def _small(grey: NDArray[np.uint8], box: tuple[int, int, int, int]) -> tuple[NDArray[np.float32], int]:
    """The scan area, averaged to some 128 pixels, and how many pixels went into one."""
    part = grey[box[0] : box[2], box[1] : box[3]]
    step = max(1, math.ceil(max(part.shape) / SIDE))
    rows, columns = part.shape[0] // step, part.shape[1] // step
    cells = part[: rows * step, : columns * step].astype(np.float32)
    small: NDArray[np.float32] = cells.reshape(rows, step, columns, step).mean(axis=(1, 3))
    return small, step


def _shift(before: NDArray[np.float32], after: NDArray[np.float32]) -> tuple[int, int]:
    """Motion in pixels of the small pictures; none where it is too far or explains nothing."""
    if before.shape != after.shape or not before.std() or not after.std():
        return 0, 0
    found, _, _ = phase_cross_correlation(after, before, normalization="phase")
    rows, columns = (round(float(x)) for x in found)
    far = max(abs(rows) / before.shape[0], abs(columns) / before.shape[1])
    if (rows, columns) == (0, 0) or far > FARTHEST:
        return 0, 0
    better = _alike(before, after, (rows, columns)) > _alike(before, after, (0, 0))
    return (rows, columns) if better else (0, 0)


def _alike(before: NDArray[np.float32], after: NDArray[np.float32], shift: tuple[int, int]) -> float:
    """Correlation of two pictures where they overlap after a shift."""
    there = after[_part(shift[0], after.shape[0]), _part(shift[1], after.shape[1])]
    here = before[_part(-shift[0], before.shape[0]), _part(-shift[1], before.shape[1])]
    a, b = there - there.mean(), here - here.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size else 0.0


def _part(shift: int, size: int) -> slice:
    return slice(max(0, shift), size + min(0, shift))


def moved_mask(mask: Mask, shift: tuple[int, int]) -> Mask:
    """Move a mask by whole pixels; what leaves the frame is gone.

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)
    shift : (int, int)
        Rows and columns.
    """
    if shift == (0, 0):
        return mask
    moved = np.zeros_like(mask)
    to = _part(shift[0], mask.shape[0]), _part(shift[1], mask.shape[1])
    moved[to] = mask[_part(-shift[0], mask.shape[0]), _part(-shift[1], mask.shape[1])]
    return moved


def _iou(one: Mask, other: Mask) -> float:
    place = bounds(one | other)
    if place is None:
        return 0.0
    a, b = one[place], other[place]
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)
