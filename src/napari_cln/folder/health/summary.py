"""A study in numbers: frames, masks, labels, patients, splits, and masks that look odd.

The numbers are gathered frame by frame, by an import as it goes and by ``check``; nothing is held but
counts and the names of odd masks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray
from scipy import ndimage

from ...annotation import Case
from ...errors import counted
from ...imaging.measurement import TOUCHING
from ..record import is_unknown

WHOLE_FRAME = 0.6
"""Share of a frame from which a mask is odd: a node seldom fills a screen."""
MANY_NODES = 20
THIN_PX = 3
RAGGED = 30
"""Holes and pieces together from which a mask looks like a picture that was thresholded."""


class OddMask(Struct, frozen=True):
    """A mask that a person should look at, and why."""

    name: str
    signs: tuple[str, ...]


class StudySummary(Struct, frozen=True, kw_only=True):
    """Numbers of a study.

    Parameters
    ----------
    frames, with_mask, empty_mask, without_mask : int
        Frames in all; with a mask that shows a node; with one that says that there is none; without.
    predicted : int
        Frames whose mask a model drew and nobody has judged, such as a pseudo-label.
    status : dict of str to int
        Frames by status.
    labels : dict of str to int
        Frames by label: benign, metastatic, unknown, no-node.
    nodes : dict of str to int
        Nodes by truth.
    patients : int
        Patients that are known by name.
    unknown_patients : int
        Frames whose patient is not known.
    splits : dict of str to int
        Frames by the side on which the authors of the data put them; ``none`` for the others.
    odd_masks : list of OddMask
        Masks that cover over 60 % of a frame, show over 20 nodes, have a node thinner than 3 px, or
        look like a picture.
    """

    frames: int = 0
    with_mask: int = 0
    empty_mask: int = 0
    without_mask: int = 0
    predicted: int = 0
    status: dict[str, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, int] = field(default_factory=dict)
    patients: int = 0
    unknown_patients: int = 0
    splits: dict[str, int] = field(default_factory=dict)
    odd_masks: tuple[OddMask, ...] = ()

    def lines(self) -> list[str]:
        """The numbers as lines for a person."""
        if not self.frames:
            return ["frames      none"]
        said = [
            f"frames      {self.frames}: {self.with_mask} with a mask, {self.empty_mask} with an empty one "
            f"(no node), {self.without_mask} without"
            + (f", {self.predicted} with one of a model alone" if self.predicted else ""),
            f"labels      {_listed(self.labels)}",
            f"nodes       {_listed(self.nodes) if self.nodes else 'none'}",
            f"patients    {self.patients} known"
            + (
                f"; unknown for {counted(self.unknown_patients, 'frame')}, each a patient of its own"
                if self.unknown_patients
                else ""
            ),
            f"splits      {_listed(self.splits)}",
        ]
        for odd in self.odd_masks[:MAX_LISTED]:
            said.append(f"look at     {odd.name}: its mask {', '.join(odd.signs)}")
        if (more := len(self.odd_masks) - MAX_LISTED) > 0:
            said.append(f"look at     {more} more odd masks; --json names them all")
        return said


MAX_LISTED = 8


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items())


class Tally:
    """Counts of frames that pass by."""

    def __init__(self) -> None:
        self._status: Counter[str] = Counter()
        self._labels: Counter[str] = Counter()
        self._nodes: Counter[str] = Counter()
        self._splits: Counter[str] = Counter()
        self._masks: Counter[str] = Counter()
        self._patients: set[str] = set()
        self._unknown = 0
        self._odd: list[OddMask] = []

    def add(self, case: Case, instances: NDArray[np.uint8] | None, name: str | None = None) -> None:
        """Count a frame.

        Parameters
        ----------
        case : Case
        instances : ndarray of uint8, shape (H, W), optional
            Ids of its nodes; None where they can't be read.
        name : str, optional
            What a person knows the frame by; its id by default.
        """
        self._status[case.status] += 1
        self._labels["no-node" if case.status == "no-node" else case.truth] += 1
        self._nodes.update(node.truth for node in case.nodes)
        self._splits[case.split or "none"] += 1
        painted = instances is not None and bool(instances.any())
        by_model = painted and case.status == "predicted"
        kind = "predicted" if by_model else "with" if painted else "empty" if case.mask else "without"
        self._masks[kind] += 1
        if is_unknown(case.patient):
            self._unknown += 1
        else:
            self._patients.add(case.patient)
        if painted and instances is not None and (signs := odd_signs(instances)):
            self._odd.append(OddMask(name or case.id, signs))

    def summary(self) -> StudySummary:
        """The numbers so far."""
        return StudySummary(
            frames=self._status.total(),
            with_mask=self._masks["with"],
            empty_mask=self._masks["empty"],
            without_mask=self._masks["without"],
            predicted=self._masks["predicted"],
            status=dict(sorted(self._status.items())),
            labels=_ordered(self._labels, ("benign", "metastatic", "unknown", "no-node")),
            nodes=_ordered(self._nodes, ("benign", "metastatic", "unknown")),
            patients=len(self._patients),
            unknown_patients=self._unknown,
            splits=_ordered(self._splits, ("train", "validation", "test", "none")),
            odd_masks=tuple(self._odd),
        )


def _ordered(counts: Counter[str], order: Iterable[str]) -> dict[str, int]:
    return {name: counts[name] for name in order if counts[name]}


def odd_signs(instances: NDArray[np.uint8]) -> tuple[str, ...]:
    """Signs that a mask is not the outline of nodes.

    Parameters
    ----------
    instances : ndarray of uint8, shape (H, W)
        0 background; 1 to 255 the nodes.

    Returns
    -------
    tuple of str
        Each completes the sentence "its mask …"; empty for a mask as readers draw them.
    """
    mask = instances > 0
    if not mask.any():
        return ()
    signs = []
    if (share := mask.mean()) > WHOLE_FRAME:
        signs.append(f"covers {100 * share:.0f} % of the frame")
    places = ndimage.find_objects(instances)
    ids = [i for i, place in enumerate(places, start=1) if place is not None]
    if len(ids) > MANY_NODES:
        signs.append(f"has {len(ids)} nodes")
    _, pieces = ndimage.label(mask, structure=TOUCHING)
    _, gaps = ndimage.label(np.pad(~mask, 1, constant_values=True))
    if pieces + gaps - 1 > RAGGED:
        signs.append(f"has {pieces} pieces and {gaps - 1} holes, as a picture that was thresholded")
        return tuple(signs)
    for i in ids:
        node = np.pad(instances[places[i - 1]] == i, 1)
        # In the middle of a strip that is 3 pixels wide, the nearest background is 2 pixels away.
        if ndimage.distance_transform_edt(node).max() < (THIN_PX + 1) / 2:
            signs.append(f"has a node (id {i}) thinner than {THIN_PX} pixels")
            break
    return tuple(signs)
