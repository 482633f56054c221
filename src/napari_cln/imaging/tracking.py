"""A node through the frames of a cine: one id, and one score for the clip.

Between two frames the whole picture moves (the probe slides, the patient breathes); that motion is taken out,
and the nodes that then overlap most are the same. A clip's score is the mean of a node's logits, weighted by
how sure its masks are: of simple rules it comes nearest to what the whole node shows.

A network that draws a node in one frame often sees it in the next too, only below its threshold, grown
together with what lies beside it, or as a patch that it then takes for nothing. There its probability map is
read again about the place to which the motion has carried the mask, forwards and backwards: at levels from
nearly one down to a twentieth, of whose patches the one most like the carried mask is the node. Between two
frames that show the node, the carried mask stands where the map says nothing. Such a *faint* frame has a mask
and no score.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from skimage.registration import phase_cross_correlation

from ..disk.rle import decode_rle, encode_rle
from ..types import CLASS_NAMES, Prediction
from .measurement import bounds
from .scan_area import find_scan_area

__all__ = ["FaintFrame", "Track", "track"]

Mask = NDArray[np.bool_]

LONGEST_GAP = 5
"""Frames in a row in which a node may not be found."""
LEAST_OVERLAP = 0.1
"""IoU of two masks of one node, once the motion is taken out."""
LEVELS = (0.95, 0.9, 0.8, 0.65, 0.5, 0.35, 0.2, 0.1, 0.05)
"""Probabilities at which a node is looked for where its mask was carried to."""
LEAST_LIKENESS = 0.2
"""IoU of what is then found and the carried mask: a section shrinks quickly at its ends."""
SIDE = 128
"""Pixels of the longer side on which motion is measured."""
FARTHEST = 0.2
"""Motion from one frame to the next, as a part of the field, beyond which it is not believed."""


@dataclass(frozen=True, kw_only=True)
class FaintFrame:
    """One frame in which a node was not drawn, and is all the same.

    Parameters
    ----------
    frame : int
    carried : bool
        True where the mask is the one of a neighbouring frame, moved along; False where the network's map
        shows the node below its threshold.
    shape : (int, int)
        Rows and columns of the frame.
    code : str
        Run-length code of the mask.
    """

    frame: int
    carried: bool
    shape: tuple[int, int]
    code: str

    @property
    def mask(self) -> Mask:
        """The mask, bool (H, W)."""
        return decode_rle(self.code, self.shape)


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
        From the model's card: that of clips where it has one, else that of frames.
    temperature : float
        Divides the mean logit, so that a clip's score means what it says.
    faint : tuple of FaintFrame
        Frames between and beside those, ascending, in which it was found by its neighbours.
    """

    id: int
    frames: tuple[int, ...]
    nodes: tuple[int, ...]
    scores: tuple[float, ...]
    confidences: tuple[float, ...]
    areas: tuple[float, ...]
    cutoff: float = 0.5
    temperature: float = 1.0
    faint: tuple[FaintFrame, ...] = ()

    @property
    def malignancy(self) -> float:
        """Score of the clip in [0, 1]: the mean logit of its frames, weighted by confidence, calibrated."""
        scores = np.clip(self.scores, 1e-6, 1 - 1e-6)
        weights = np.asarray(self.confidences)
        weights = weights if weights.sum() > 0 else np.ones_like(weights)
        mean = float(np.average(np.log(scores / (1 - scores)), weights=weights))
        return 1 / (1 + math.exp(-mean / self.temperature))

    @property
    def label(self) -> str:
        """``"malignant"`` (at or above the cutoff) or ``"benign"``: one for the clip."""
        return CLASS_NAMES[int(self.malignancy >= self.cutoff)]

    @property
    def best_frame(self) -> int:
        """The frame that shows the node largest and surest."""
        return self.frames[int(np.argmax(np.asarray(self.confidences) * np.asarray(self.areas)))]


def track(
    predictions: Iterable[Prediction], *, temperature: float = 1.0, cutoff: float | None = None
) -> tuple[Track, ...]:
    """Follow the nodes of a cine.

    Parameters
    ----------
    predictions : iterable of Prediction
        Of the frames of one cine, in their order; taken one by one, so that memory does not grow with them.
    temperature, cutoff : float
        Of clips, from the model's card (``clip_temperature``, ``clip_cutoff``); by default the scores of
        frames are pooled as they are, and called at the cutoff of frames.

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
    tracker = Tracker(temperature=temperature, cutoff=cutoff)
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
    faint: list[FaintFrame] = field(default_factory=list)
    waiting: list[FaintFrame] = field(default_factory=list)

    def add_faint(self, seen: _Seen, mask: Mask, *, carried: bool) -> None:
        """Note a frame in which the node was not drawn; what is carried waits for a frame that shows it."""
        one = FaintFrame(frame=seen.index, carried=carried, shape=seen.shape, code=encode_rle(mask))
        (self.waiting if carried else self.faint).append(one)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """One of the last frames: what the network makes of it, and how the picture moved to it."""

    index: int
    probability: NDArray[np.uint8]
    drawn: Mask
    moved: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        return self.drawn.shape[0], self.drawn.shape[1]

    def faintly(self, carried: Mask) -> Mask | None:
        """The patch that the map shows at a carried mask, beside what is drawn already; None for none."""
        place = bounds(carried)
        if place is None:
            return None
        rows, columns = (_wider(part, size) for part, size in zip(place, self.shape, strict=True))
        near, area = (rows, columns), np.count_nonzero(carried)
        patch, likeness = None, LEAST_LIKENESS
        for level in LEVELS:
            maybe = (self.probability[near] >= round(255 * level)) & ~self.drawn[near]
            labels, count = ndimage.label(maybe)
            met = np.bincount(labels[carried[near]], minlength=count + 1)
            met[0] = 0
            found, shared = labels == met.argmax(), int(met.max())
            alike = shared / (np.count_nonzero(found) + area - shared)
            if shared and alike > likeness:
                patch, likeness = found, alike
        if patch is None:
            return None
        whole = np.zeros_like(carried)
        whole[near] = patch
        return whole


def _wider(part: slice, size: int) -> slice:
    """A range with half its length more at each end."""
    more = (part.stop - part.start) // 2 + 1
    return slice(max(0, part.start - more), min(size, part.stop + more))


class Tracker:
    """Nodes of a cine, followed frame by frame; holds the last five frames and a mask for each node in view.

    Parameters
    ----------
    temperature, cutoff : float
        As for :func:`track`.
    """

    def __init__(self, *, temperature: float = 1.0, cutoff: float | None = None) -> None:
        self._done: list[_Open] = []
        self._open: list[_Open] = []
        self._small: NDArray[np.float32] | None = None
        self._box: tuple[int, int, int, int] | None = None
        self._recent: deque[_Seen] = deque(maxlen=LONGEST_GAP + 1)
        self._temperature, self._cutoff, self._of_frames = temperature, cutoff, 0.5

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
        if self._recent:
            last = self._recent[-1]
            if frame.shape != last.shape:
                raise ValueError(f"Frame {frame.index} has {frame.shape} pixels, those before {last.shape}.")
            if frame.index <= last.index:
                raise ValueError(
                    f"Frame {frame.index} comes after frame {last.index}: give them in their order."
                )
        if self._box is None:
            self._box = frame.scan_area or find_scan_area(frame)
        self._of_frames = prediction.cutoff
        small, step = _small(frame.grey, self._box)
        moved = (0, 0) if self._small is None else _shift(self._small, small)
        moved = moved[0] * step, moved[1] * step
        for one in self._open:
            one.mask = rolled(one.mask, moved)
        self._small = small
        drawn = prediction.instances > 0
        probability = np.rint(prediction.probability * 255).astype(np.uint8)
        self._recent.append(_Seen(index=frame.index, probability=probability, drawn=drawn, moved=moved))
        names = self._assign(prediction)
        self._look_again(names)
        ended = [one for one in self._open if frame.index - one.last > LONGEST_GAP]
        self._done += ended
        self._open = [one for one in self._open if one not in ended]
        return names

    def _assign(self, prediction: Prediction) -> tuple[int, ...]:
        """Give each node of a frame to the track that it overlaps best, or to a new one."""
        masks = [prediction.instances == node for node in range(1, len(prediction.node_scores) + 1)]
        overlap = np.array([[overlap_of(one.mask, mask) for mask in masks] for one in self._open])
        pairs: dict[int, _Open] = {}
        if overlap.size:
            for i, j in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
                if overlap[i, j] >= LEAST_OVERLAP:
                    pairs[int(j)] = self._open[int(i)]
        names, index = [], self._recent[-1].index
        for j, mask in enumerate(masks):
            one = pairs.get(j)
            if one is None:
                one = _Open(id=len(self._open) + len(self._done) + 1, mask=mask, last=index)
                self._open.append(one)
                self._look_back(one)
            one.mask, one.last = mask, index
            one.faint += one.waiting
            one.waiting = []
            one.frames.append(index)
            one.nodes.append(j + 1)
            one.scores.append(float(prediction.node_scores[j]))
            one.confidences.append(float(prediction.probability[mask].mean()) if mask.any() else 0.0)
            one.areas.append(float(np.count_nonzero(mask)))
            names.append(one.id)
        return tuple(names)

    def _look_again(self, names: tuple[int, ...]) -> None:
        """Look for the nodes that were not drawn in the last frame, where they should be."""
        seen = self._recent[-1]
        for one in self._open:
            if one.id in names or not one.mask.any() or (one.mask & seen.drawn).any():
                continue
            patch = seen.faintly(one.mask)
            one.mask = one.mask if patch is None else patch
            one.add_faint(seen, one.mask, carried=patch is None)

    def _look_back(self, one: _Open) -> None:
        """Look for a new node in the frames before, as long as their maps show it."""
        mask = one.mask
        for after, seen in pairwise(reversed(self._recent)):
            mask = rolled(mask, (-after.moved[0], -after.moved[1]))
            patch = seen.faintly(mask)
            if patch is None:
                return
            one.add_faint(seen, patch, carried=False)
            mask = patch

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
                cutoff=self._of_frames if self._cutoff is None else self._cutoff,
                temperature=self._temperature,
                faint=tuple(sorted(one.faint, key=lambda each: each.frame)),
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


def rolled(mask: Mask, shift: tuple[int, int]) -> Mask:
    """A mask moved by whole pixels; what leaves the frame is gone."""
    if shift == (0, 0):
        return mask
    moved = np.zeros_like(mask)
    to = _part(shift[0], mask.shape[0]), _part(shift[1], mask.shape[1])
    moved[to] = mask[_part(-shift[0], mask.shape[0]), _part(-shift[1], mask.shape[1])]
    return moved


def overlap_of(one: Mask, other: Mask) -> float:
    """Share of the pixels of two masks that both have (IoU); 0 where both are empty."""
    place = bounds(one | other)
    if place is None:
        return 0.0
    a, b = one[place], other[place]
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)
