"""Judgements of one frame, mask by mask.

One rule holds here: a status belongs to a mask. What a reader said of a mask last stands for it; undo and
redo of paint move the mask, and what stands comes with it. So no status is ever carried to a mask that
nobody has judged, and one that was judged is judged still when it comes back.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...annotation import Annotation, Node
from ...study.reading import digest
from ...types import Status

OVERLAP = 0.5
"""Dice from which a node of other masks counts as the same one."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A status, and the reader who stands for it; nobody does for a prediction."""

    status: Status
    who: str | None = None


class PackedMasks:
    """Masks (H, W) of uint8 in a few kilobytes: a reader may go through thousands of frames."""

    def __init__(self, masks: NDArray[Any]) -> None:
        masks = np.ascontiguousarray(masks, dtype=np.uint8)
        self.digest = digest(masks)
        self._shape = masks.shape
        self._bytes = zlib.compress(masks.data, 1)

    def unpack(self) -> NDArray[np.uint8]:
        """Return the masks, uint8 (H, W)."""
        return np.frombuffer(zlib.decompress(self._bytes), np.uint8).reshape(self._shape)


@dataclass(kw_only=True, eq=False)
class Given:
    """Masks that the reader was given, by a model or by the training folder, and what came with them.

    Attributes
    ----------
    digest : str
        Of the masks.
    masks : PackedMasks, optional
        None where they were painted over before anybody looked.
    status, who : str
        How they were judged, and by whom; None for nobody.
    based_on : str, optional
        Model that drew them.
    facts : dict of int to Node
        What is known of each node: what came with the masks, and what the reader has typed since.
    note : str
    came : (dict of int to Node, str)
        Facts and note as they came.
    since : int, optional
        What was typed before this entry of the ledger is older than what came.
    """

    digest: str
    masks: PackedMasks | None = None
    status: Status = "predicted"
    who: str | None = None
    based_on: str | None = None
    facts: dict[int, Node] = field(default_factory=dict)
    note: str = ""
    since: int | None = None

    def __post_init__(self) -> None:
        self.came = (dict(self.facts), self.note)

    @classmethod
    def of(cls, known: Annotation, who: str | None) -> Given:
        """Take an annotation, and the reader who stands for it."""
        masks = PackedMasks(known.instances)
        return cls(
            digest=masks.digest,
            masks=masks,
            status=known.status,
            who=None if known.status == "predicted" else who,
            based_on=known.based_on,
            facts={node.id: node for node in known.nodes},
            note=known.note,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Said:
    """One decision of a reader on one mask.

    ``action`` is what was pressed; ``before`` and ``after`` the masks, where the decision put others in
    their place, as *No node here* does; ``readings`` what a decision between readers weighed.
    """

    action: str
    status: Status
    who: str
    before: PackedMasks | None = None
    after: PackedMasks | None = None
    readings: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Typed:
    """Facts or a note that a reader typed, with the masks that the nodes were in then."""

    given: Given
    masks: PackedMasks | None = None
    facts: Mapping[int, Node] = field(default_factory=dict)
    note: str | None = None


class Ledger:
    """Masks of one frame that were given, painted and judged. Masks are told apart by their digest."""

    def __init__(self) -> None:
        self._given: dict[str, Given] = {}
        self._from: dict[str, Given] = {}  # what each mask was painted from
        self._painters: dict[str, str] = {}
        self._said: dict[str, list[Said]] = {}
        self._taken_back: list[tuple[str, Said]] = []
        self._typed: list[Typed] = []

    def knows(self, mask: str) -> bool:
        """Tell whether a mask was given or painted before."""
        return mask in self._from

    def origin(self, mask: str) -> Given:
        """Return what a known mask was given as, or painted from."""
        return self._from[mask]

    def give(self, given: Given) -> Given:
        """Take masks from a model or the folder: who gave them spoke last."""
        given.since = len(self._typed) if given.since is None else given.since
        self._given[given.digest] = self._from[given.digest] = given
        self._said.pop(given.digest, None)
        self._painters.pop(given.digest, None)
        self._taken_back.clear()
        return given

    def paint(self, mask: str, given: Given, who: str) -> None:
        """Take note of a mask that a reader painted for the first time."""
        self._from[mask] = given
        self._painters[mask] = who
        self._taken_back.clear()

    def put(self, mask: str, given: Given) -> None:
        """Take note of a mask that a decision put there."""
        self._from.setdefault(mask, given)

    def say(self, mask: str, said: Said) -> None:
        """Take a decision on a mask."""
        self._said.setdefault(mask, []).append(said)
        self._taken_back.clear()

    def last_said(self, mask: str) -> Said | None:
        """The decision on a mask that is taken back next."""
        decisions = self._said.get(mask)
        return decisions[-1] if decisions else None

    def take_back(self, mask: str, back_at: str) -> Said:
        """Take the last decision on a mask back; ``back_at`` is the mask that is there then."""
        said = self._said[mask].pop()
        self._taken_back.append((back_at, said))
        return said

    def last_taken_back(self, mask: str) -> Said | None:
        """The decision that redo makes again, where it was taken back last, to this mask."""
        return self._taken_back[-1][1] if self._taken_back and self._taken_back[-1][0] == mask else None

    def say_again(self, mask: str) -> Said:
        """Make the decision that was taken back last again, on a mask."""
        _, said = self._taken_back.pop()
        self._said.setdefault(mask, []).append(said)
        return said

    def judgement(self, mask: str, *, is_empty: bool) -> Judgement:
        """Return the judgement that stands for a mask, and whose it is.

        A mask that was erased is a rejected prediction, not yet a frame without a node: that is for
        the reader to say.
        """
        if (said := self.last_said(mask)) is not None:
            return Judgement(status=said.status, who=said.who)
        if (given := self._given.get(mask)) is not None:
            return Judgement(status=given.status, who=given.who)
        painter = self._painters.get(mask)
        if not is_empty:
            return Judgement(status="corrected", who=painter)
        origin = self._from.get(mask)
        if origin is not None and origin.based_on is not None and painter is not None:
            return Judgement(status="rejected", who=painter)
        return Judgement(status="predicted")

    def type(self, typed: Typed) -> None:
        """Take what a reader typed; it stands for the node in that place, whatever is undone."""
        self._typed.append(typed)
        self._recall_one(typed.given, typed, None)

    def recall(self, given: Given, now: NDArray[Any]) -> None:
        """Bring the facts of masks up to date: what came with them, and what was typed since.

        Parameters
        ----------
        given : Given
        now : ndarray of uint8, shape (H, W)
            The masks on the canvas, which come from there.
        """
        facts, given.note = given.came
        given.facts = dict(facts)
        for typed in self._typed[given.since :]:
            self._recall_one(given, typed, now)

    @staticmethod
    def _recall_one(given: Given, typed: Typed, now: NDArray[Any] | None) -> None:
        given.note = given.note if typed.note is None else typed.note
        if typed.given is given or now is None:
            given.facts |= typed.facts
        else:
            given.facts |= follow_nodes(typed.facts, typed.masks, now)

    def sign(self, who: str) -> None:
        """Put a reader's name to what was painted before it was typed."""
        self._painters = {mask: painter or who for mask, painter in self._painters.items()}


def follow_nodes(facts: Mapping[int, Node], then: PackedMasks | None, now: NDArray[Any]) -> dict[int, Node]:
    """Carry what is known of nodes over to other masks of the frame: by their place, not by their number.

    Parameters
    ----------
    facts : mapping of int to Node
    then : PackedMasks, optional
        The masks that the facts belong to; without them nothing is carried over.
    now : ndarray of uint8, shape (H, W)

    Returns
    -------
    dict of int to Node
        Of each node of ``now`` that covers one of ``then`` with a Dice of at least a half.
    """
    if then is None or not facts:
        return {}
    former = then.unpack()
    if former.shape != now.shape:
        return {}
    found: dict[int, Node] = {}
    best: dict[int, float] = {}
    for old, node in facts.items():
        place = former == old
        if not (size := np.count_nonzero(place)):
            continue
        ids, counts = np.unique(now[place], return_counts=True)
        for new, shared in zip(ids.tolist(), counts.tolist(), strict=True):
            overlap = 2 * shared / (size + np.count_nonzero(now == new)) if new else 0.0
            if overlap >= max(OVERLAP, best.get(new, 0.0)):
                found[new], best[new] = replace(node, id=new, p_malignant=None), overlap
    return found
