"""The caliper tool: the ends of a node's axes, or a box round it, become its outline while they are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer
from skimage.measure import approximate_polygon, find_contours

from ...imaging.calipers import Calipers
from ...imaging.crosses import BurnedCalipers, find_calipers
from ...imaging.measurement import Measurement, bounds, measure, spacing_of
from ...types import Frame
from ..common.failures import words_of
from ..common.parts import Signal
from ..common.turns import Turns
from ..common.worker import Work
from .sketch import Points, Sketch

if TYPE_CHECKING:
    from napari.components import ViewerModel

SAME = 0.5
"""Dice from which an outline is taken for that of a node that is there."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Proposal:
    """Outline that the ends ask for: its mask bool (H, W), lines to draw, sizes, and the network's id."""

    mask: NDArray[np.bool_]
    lines: list[Points]
    size: Measurement
    model_id: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """A mask bool (H, W) that a reader keeps, the node whose place it takes, if any, and what drew it."""

    mask: NDArray[np.bool_]
    replaces: int | None
    model_id: str


class CaliperTool(QObject):
    """Calipers on the canvas, and the outline that follows them.

    One outline is made at a time, beside the window, always of the newest ends; what is kept is never that
    of older ones.

    Parameters
    ----------
    viewer : ViewerModel
    turns : Turns
    parent : QObject

    Attributes
    ----------
    sketch : Sketch, optional
        The ends, while the tool is in the hand.
    """

    kept = Signal(object)  # Kept
    told = Signal(str, str, object)  # a sentence, its mood, and what it is about

    def __init__(self, viewer: ViewerModel, turns: Turns, parent: QObject) -> None:
        super().__init__(parent)
        self.viewer, self._turns = viewer, turns
        self.sketch: Sketch | None = None
        self._work: Work | None = None
        self._proposal: Proposal | None = None
        self._made_of: Mapping[str, Points] = {}
        self._fault = ""
        self._is_asked = False
        self._beside = False

    def start(
        self,
        image: Image,
        labels: Labels,
        frame: Frame,
        masks: Callable[[], NDArray[Any]],
        ends: Mapping[str, Any] | None = None,
    ) -> None:
        """Take the calipers into the hand; put them away where they are in it already.

        Parameters
        ----------
        image : napari.layers.Image
        labels : napari.layers.Labels
        frame : Frame
            The one in view.
        masks : callable
            Gives its node ids, int (H, W).
        ends : mapping of str to ((float, float), (float, float)), optional
            Axes that are there to begin with, under ``"long"`` and ``"short"``.
        """
        if self.sketch is not None:
            self.sketch.leave(at_once=True)
            if ends is None:
                return
        self._frame, self._masks = frame, masks
        self._proposal, self._made_of, self._fault = None, {}, ""
        self._is_asked = self._beside = False
        self.sketch = sketch = Sketch(self.viewer, image, labels, self._name, self._turns, self)
        sketch.layer.bind_key("R", lambda _: self._turn())
        sketch.moved.connect(self._follow)
        sketch.kept.connect(self._keep)
        sketch.ended.connect(self._end)
        for name, pair in (ends or {}).items():
            sketch.put(name, pair)
        self._follow()

    @property
    def is_current(self) -> bool:
        """True where the outline is that of the ends as they are now."""
        return self.sketch is not None and _same(self._made_of, self.sketch.strokes)

    @property
    def replaces(self) -> int | None:
        """Node whose place the outline takes; None for a new one."""
        if self._proposal is None or self._beside:
            return None
        return _node_under(self._masks(), self._proposal.mask)

    # ------------------------------------------------------------ ends

    def _name(self, is_box: bool) -> str | None:
        """The stroke that a drag begins: the long axis, then the short one; then both are drawn anew."""
        assert self.sketch is not None
        strokes = self.sketch.strokes
        if is_box or "box" in strokes or "long" not in strokes or "short" in strokes:
            strokes.clear()
            return "box" if is_box else "long"
        return "short"

    def _follow(self) -> None:
        if self.sketch is None:
            return
        self._say()
        if self._work is None and self.sketch.strokes and not self.is_current:
            strokes = {name: ends.copy() for name, ends in self.sketch.strokes.items()}
            self._work = Work(self, propose, self._frame, strokes)
            sketch = self.sketch
            self._work.done.connect(lambda proposal: self._take(sketch, strokes, proposal, ""))
            self._work.failed.connect(lambda error: self._take(sketch, strokes, None, words_of(error)))
            self._work.ended.connect(self._go_on)
            self._work.start()

    def _take(
        self, sketch: Sketch, strokes: Mapping[str, Points], proposal: Proposal | None, fault: str
    ) -> None:
        if sketch is not self.sketch:
            return  # it was put away meanwhile
        self._made_of, self._proposal, self._fault = strokes, proposal, fault
        sketch.outline = [] if proposal is None else proposal.lines
        sketch.show()
        self._say()

    def _go_on(self) -> None:
        self._work = None
        if self._is_asked and self.is_current:
            self._keep()
        else:
            self._follow()

    # ------------------------------------------------------------ the end

    def _turn(self) -> None:
        """Replace the node below, or make one beside it."""
        self._beside = not self._beside
        self._say()

    def _keep(self) -> None:
        sketch = self.sketch
        if sketch is None:
            return
        if not sketch.strokes:
            sketch.leave()
        elif not self.is_current:
            self._is_asked = True  # what is seen is of older ends
            self._follow()
        elif self._proposal is None:
            self._is_asked = False
            self.told.emit(self._fault, "bad", sketch)
        else:
            proposal = self._proposal
            kept = Kept(mask=proposal.mask, replaces=self.replaces, model_id=proposal.model_id)
            self.kept.emit(kept)
            sketch.leave()

    def _end(self) -> None:
        self.sketch = None
        self._proposal, self._is_asked = None, False

    # ------------------------------------------------------------ words

    def _say(self) -> None:
        if self.sketch is None:
            return
        strokes = self.sketch.strokes
        if not strokes:
            self.sketch.say("Drag the long axis of a node (Shift: a box)\nEsc: put the calipers away")
            return
        lines = [self._fault or self._sizes()]
        if "long" in strokes:
            lines.append("Move an end" if "short" in strokes else "Drag the axis across, or move an end")
        else:
            lines.append("Move a corner")
        node = self.replaces
        aim = "a new node" if node is None else f"in the place of node {node}"
        if node is not None or self._beside:
            aim += f" (R: {'replace the one below' if self._beside else 'a new one'})"
        self.sketch.say("\n".join([*lines, f"Enter: {aim} · Esc: nothing"]))

    def _sizes(self) -> str:
        """Both axes as they are drawn; as the outline has them, where they are not."""
        assert self.sketch is not None
        strokes = dict(self.sketch.strokes)
        if "short" in strokes:  # whichever was drawn first
            longer_first = sorted(strokes.values(), key=lambda ends: -float(np.hypot(*(ends[1] - ends[0]))))
            strokes = dict(zip(("long", "short"), longer_first, strict=True))
        words = []
        for name in ("long", "short"):
            if name in strokes:
                words.append(f"{name} axis {_length(self._frame, strokes[name])}")
            elif self._proposal is not None:
                size = self._proposal.size
                in_px, in_mm = (getattr(size, f"{name}_axis_{unit}") for unit in ("px", "mm"))
                words.append(f"{name} axis {_in_units(in_px, in_mm)} by the outline")
        text = " · ".join(words)
        return text[:1].upper() + text[1:]


class BurnedReader(QObject):
    """Reads the calipers that are burned into a frame, beside the window and once a frame.

    Parameters
    ----------
    parent : QObject
    """

    read = Signal()  # of the frame that was asked for last

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._known: dict[str, BurnedCalipers] = {}
        self._wanted: tuple[str, Callable[[], Frame]] | None = None
        self._work: Work | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(300)  # nothing is read while frames rush by
        self._timer.timeout.connect(self._read)

    def nodes_of(self, key: str, frame: Callable[[], Frame]) -> tuple[Calipers, ...]:
        """The nodes that were measured on a frame; none yet where it has to be read first.

        Parameters
        ----------
        key : str
            Digest of the frame.
        frame : callable
            Gives it.
        """
        if key in self._known:
            return self._known[key].nodes
        if self._wanted is None or self._wanted[0] != key:
            self._wanted = key, frame
            self._timer.start()
        return ()

    def _read(self) -> None:
        if self._wanted is None or self._work is not None:
            return
        key, frame = self._wanted
        self._work = Work(self, find_calipers, frame())
        self._work.done.connect(lambda found: self._known.update({key: found}))
        self._work.failed.connect(lambda _: self._known.update({key: BurnedCalipers()}))
        self._work.ended.connect(lambda: self._end(key))
        self._work.start()

    def _end(self, key: str) -> None:
        self._work = None
        if self._wanted is not None and self._wanted[0] == key:
            self._wanted = None
            self.read.emit()
        else:
            self._timer.start()


def propose(frame: Frame, strokes: Mapping[str, Points]) -> Proposal:
    """Outline a node from strokes: ``"long"`` and maybe ``"short"``, or ``"box"``.

    Raises
    ------
    ClnError
        If they don't show one node in the frame.
    """
    from ...network.outline import load_outline_net, outline_node

    if "box" in strokes:
        row0, column0 = strokes["box"].min(axis=0)
        row1, column1 = strokes["box"].max(axis=0) + 1
        mask = outline_node(frame, box=(row0, column0, row1, column1))
    else:
        short = strokes.get("short")
        mask = outline_node(
            frame, long_axis=_pair(strokes["long"]), short_axis=None if short is None else _pair(short)
        )
    return Proposal(
        mask=mask,
        lines=lines_round(mask),
        size=measure(mask, spacing_of(frame, mask)),
        model_id=load_outline_net()[1].model_id,
    )


def lines_round(mask: NDArray[np.bool_]) -> list[Points]:
    """Closed lines round a mask, each float (n, 2), within half a pixel."""
    place = bounds(mask)
    if place is None:
        return []
    start = np.array([side.start for side in place])
    padded = np.pad(mask[place], 1).astype(np.float32)
    found = find_contours(padded, 0.5)
    return [approximate_polygon(line, 0.5)[:-1] + start - 1 for line in found]


def _node_under(masks: NDArray[Any], mask: NDArray[np.bool_]) -> int | None:
    """The node that an outline is that of, by Dice."""
    counts = np.bincount(masks[mask], minlength=1)
    counts[0] = 0
    if not counts.any():
        return None
    node = int(counts.argmax())
    dice = 2 * counts[node] / (np.count_nonzero(mask) + np.count_nonzero(masks == node))
    return node if dice >= SAME else None


def _length(frame: Frame, ends: Points) -> str:
    two = np.zeros(frame.shape, dtype=bool)
    two[tuple(np.rint(ends).astype(int).T)] = True
    across = ends[1] - ends[0]
    spacing = spacing_of(frame, two)
    in_mm = None if spacing is None else float(np.hypot(*(across * spacing)))
    return _in_units(float(np.hypot(*across)), in_mm)


def _in_units(in_px: float, in_mm: float | None) -> str:
    return f"{in_px:.0f} px" if in_mm is None else f"{in_mm:.1f} mm"


def _pair(ends: Points) -> tuple[tuple[float, float], tuple[float, float]]:
    (row0, column0), (row1, column1) = ends.tolist()
    return (row0, column0), (row1, column1)


def _same(one: Mapping[str, Points], other: Mapping[str, Points]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
