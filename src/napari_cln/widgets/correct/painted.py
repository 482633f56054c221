"""The masks that were looked at in this window: what is on the canvas, what stands for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary, WeakSet, ref

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from ..._layers import (
    KEY,
    RUN_KEY,
    annotation_from_layer,
    drawn_frame,
    frame_from_layer,
    lie_apart,
    readings_of,
)
from ...annotation import Annotation, Node
from ...compat.window import can_step
from ...errors import ClnError, DatasetError
from ...imaging.measurement import painted_ids
from ...study.reading import digest
from ...types import Frame, Prediction, Status
from ..common.results import TOUCHED_KEY
from .ledger import Given, Judgement, Ledger, PackedMasks, Said, follow_nodes

if TYPE_CHECKING:
    from napari.components import ViewerModel

FRAMES_KEY = "napari-cln frames"
"""Key in a Labels layer's metadata for the content hash of the frame that each of its masks is of."""
LOOK_S = 0.015
"""Seconds to look at masks in one go; the rest follow when the window has had its turn."""


class PaintedMask:
    """A Labels layer's mask of one frame, bound to both by identity and content.

    Parameters
    ----------
    image : napari.layers.Image
    labels : napari.layers.Labels
    index : int
        Position of the frame in its cine.
    frame : Frame
    ledger : Ledger
        What was said of the frame's masks.
    who : str
        Reader who holds the brush.
    second : bool
        Whether it is a second reading, whose reader is told nothing of the first.

    Attributes
    ----------
    given : Given
        The masks that these were painted from, or are.
    seen : str
        Digest of the masks at the last look.
    patient : str
        As the frame's file says; empty for nobody.
    case_id, folder : str, Path, optional
        The frame in the training folder, and which one that is.
    touched : bool
        Whether it was painted here.
    is_behind : bool
        Whether the training folder may have another mask than the canvas.
    is_unsaved : bool
        Whether the training folder lacks what was painted or said last.
    was_painted_unseen : bool
        Whether it had been painted on when it was looked at first.

    Raises
    ------
    ClnError
        If the layer was painted on another frame.
    """

    def __init__(
        self,
        image: Image,
        labels: Labels,
        index: int,
        frame: Frame,
        ledger: Ledger,
        who: str,
        *,
        second: bool = False,
    ) -> None:
        # Weakly: who looks through thousands of frames keeps what was said of them, and not their pixels.
        self._image: Callable[[], Image | None] = ref(image)
        self._labels: Callable[[], Labels | None] = ref(labels)
        self.index, self.patient = index, frame.patient_id or ""
        self.ledger, self.second = ledger, second
        self._frame: Frame | None = frame
        self.frame_digest = digest(frame.pixels)
        bound = labels.metadata.setdefault(FRAMES_KEY, {})
        if bound.setdefault(index, self.frame_digest) != self.frame_digest:
            raise DatasetError(
                f"Layer '{labels.name}' was painted on another frame than this one. "
                "Choose the Labels layer of this frame, or start an empty mask."
            )
        # Refuses a mask of another size, or one that was predicted on other pixels.
        annotation_from_layer(labels, frame, index=index)
        self.case_id: str | None = None
        self.folder: Path | None = None
        self.touched = self.is_behind = self.is_unsaved = self.was_painted_unseen = False
        _take_run_note(self)
        self.seen = _digest(self.masks)
        self.given = _find_given(self, who)
        self.ledger.recall(self.given, self.masks)

    # ------------------------------------------------------------ what is on the canvas

    @property
    def is_alive(self) -> bool:
        """True while both layers are somewhere, and show its frame."""
        return self._image() is not None and self._labels() is not None

    @property
    def image(self) -> Image:
        """The Image layer; ReferenceError where it is gone."""
        return _alive(self._image())

    @property
    def labels(self) -> Labels:
        """The Labels layer; ReferenceError where it is gone."""
        return _alive(self._labels())

    @property
    def masks(self) -> NDArray[Any]:
        """Node ids (H, W) as they are on the canvas now."""
        return np.asarray(self.labels.data if self.labels.ndim == 2 else self.labels.data[self.index])

    @property
    def frame(self) -> Frame:
        """The frame; read again where it was let go."""
        if self._frame is None:
            self._frame = frame_from_layer(self.image, self.index)
        return self._frame

    def bind(self, image: Image, labels: Labels) -> None:
        """Take two other layers, which hold the same frame and the same mask now."""
        self._image, self._labels = ref(image), ref(labels)

    def end(self) -> None:
        """Be over: the layers show another frame now. What was said of it stays in its ledger."""
        self._image = self._labels = lambda: None

    def let_go(self) -> None:
        """Forget the pixels: only those of the frame in view are kept."""
        self._frame = None

    @property
    def title(self) -> str:
        """Name of the frame in a message."""
        if self.image.ndim == 3:
            return f"{self.image.name}, frame {self.index + 1}"
        return str(self.image.name)

    @property
    def is_empty(self) -> bool:
        """True where no node is painted."""
        return not self.masks.any()

    @property
    def node_ids(self) -> list[int]:
        """Ids that are painted."""
        return painted_ids(self.masks)

    @property
    def is_changed(self) -> bool:
        """True where the masks are other than those the reader was given."""
        return self.seen != self.given.digest

    @property
    def judgement(self) -> Judgement:
        """The judgement that stands for the masks on the canvas, and whose it is."""
        return self.ledger.judgement(self.seen, is_empty=self.is_empty)

    @property
    def status(self) -> Status:
        """The status that stands for the masks on the canvas."""
        return self.judgement.status

    @property
    def lies_apart(self) -> bool:
        """True where its layer was moved against the image; the pixels are then not what the reader saw."""
        image = self._image()
        return image is not None and lie_apart(image, self.labels)

    # ------------------------------------------------------------ what happens to it

    def look(self, who: str) -> Literal["painted", "moved", "predicted"] | None:
        """See what happened to the masks since the last look.

        Parameters
        ----------
        who : str
            Reader who holds the brush.

        Returns
        -------
        str or None
            ``"painted"`` for masks that are new; ``"moved"`` for masks that were there before, which undo
            and redo bring back; ``"predicted"`` where a model, or the start of its run, changed them.
        """
        now, reading = _digest(self.masks), readings_of(self.labels).get(self.index)
        by_run = _take_run_note(self)
        arrived = reading is not None and not self.ledger.knows(reading.mask_digest)
        if arrived:
            self.come_from(_give_prediction(self, self.given))
        if now == self.seen and not arrived:
            return None
        self.seen = now
        if not self.ledger.knows(now) and _give_drawn(self):
            self.come_from(self.ledger.origin(now))
            return "predicted"
        is_cleared = by_run and reading is None and self.is_empty
        if is_cleared and not self.ledger.knows(now):
            self.ledger.give(Given(digest=now, masks=PackedMasks(self.masks)))
        known = self.ledger.knows(now)
        if known:
            self.come_from(self.ledger.origin(now))
        if is_cleared or (by_run and reading is not None and now == reading.mask_digest):
            return "predicted"
        self.touched = True
        if not known:
            self.ledger.paint(now, self.given, who)
        return "moved" if known else "painted"

    def put(self, masks: NDArray[np.uint8], given: Given | None = None) -> None:
        """Put masks in the place of the present ones, as one step of undo.

        Parameters
        ----------
        masks : ndarray of uint8, shape (H, W)
        given : Given, optional
            What they come from, where that is not what the present ones come from.
        """
        put_masks(self, masks)
        if given is not None:
            self.come_from(given)
        self.settle()

    def start_from(self, model_id: str) -> None:
        """Take note of what drew a part of the masks that come next, where no model drew the present ones."""
        if self.given.based_on is None:
            self.come_from(replace(self.given, based_on=model_id))

    def settle(self) -> None:
        """Take the masks as they are now for those that were put there, and not painted."""
        self.seen = _digest(self.masks)
        if self.ledger.knows(self.seen):
            self.come_from(self.ledger.origin(self.seen))
        else:
            self.ledger.put(self.seen, self.given)
        self.touched = True

    def take_folder(self, given: Given) -> None:
        """Take masks and judgement that the layer was filled with from the training folder."""
        self.come_from(self.ledger.give(given))
        self.seen = _digest(self.masks)

    def come_from(self, given: Given) -> None:
        """Take masks and facts that these are painted from, or are."""
        self.given = given
        self.ledger.recall(given, self.masks)


class Desk:
    """Masks by layer and frame, and what was said of each frame.

    Parameters
    ----------
    viewer : ViewerModel
    listen : callable
        Connects a callback to one of napari's events, for as long as the window lasts.
    notice : callable
        Told when a mask may have changed; :meth:`look` says which, once the event is over.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        listen: Callable[[Any, Callable[..., None]], None],
        notice: Callable[[], None],
    ) -> None:
        self.viewer = viewer
        self._listen, self._notice = listen, notice
        self._masks: WeakKeyDictionary[Labels, dict[int, PaintedMask]] = WeakKeyDictionary()
        self._steps: WeakKeyDictionary[Labels, tuple[int, ...]] = WeakKeyDictionary()
        self._watched: WeakSet[Labels] = WeakSet()
        self._ledgers: dict[tuple[str, str], Ledger] = {}
        self._of_folders: dict[Path, dict[tuple[str, str], Ledger]] = {}
        self._dirty: dict[PaintedMask, None] = {}

    def __iter__(self) -> Iterator[PaintedMask]:
        """Every mask whose layer is still somewhere."""
        for masks in [*self._masks.values()]:
            yield from masks.values()

    def mask_of(
        self, image: Image, labels: Labels, index: int, who: str, second_reader: str | None = None
    ) -> PaintedMask:
        """The mask of one frame, known from before or new.

        Parameters
        ----------
        image : napari.layers.Image
        labels : napari.layers.Labels
        index : int
            Position of the frame in its cine.
        who : str
            Reader who holds the brush.
        second_reader : str, optional
            Who gives a second reading of it.

        Raises
        ------
        ClnError
            If the frame can't be read, or the layer was painted on another one.
        """
        known = self._masks.get(labels, {}).get(index)
        if known is not None and known.is_alive and known.image is image:
            return known
        frame = frame_from_layer(image, index)
        ledger = self._ledgers.setdefault((digest(frame.pixels), second_reader or ""), Ledger())
        mask = PaintedMask(image, labels, index, frame, ledger, who, second=second_reader is not None)
        self._watch(labels)
        self._masks.setdefault(labels, {})[index] = mask
        return mask

    def enter(self, folder: Path) -> None:
        """Keep what is said of frames from now on apart from what was said in another training folder."""
        self._ledgers = self._of_folders.setdefault(folder, {} if self._of_folders else self._ledgers)

    def of_labels(self, labels: Labels) -> dict[int, PaintedMask]:
        """Every mask of a layer that was looked at, by frame."""
        return dict(self._masks.get(labels, {}))

    def of_image(self, image: Image) -> list[PaintedMask]:
        """Every mask of an image."""
        return [mask for mask in self if mask.is_alive and mask.image is image]

    def hand_over(self, labels: Labels, image: Image | None = None, to: Labels | None = None) -> None:
        """Bind the masks of a layer to other layers, which hold the same now; to none, and they are over."""
        masks = self._masks.pop(labels, {})
        self._steps.pop(labels, None)
        for mask in masks.values():
            if image is None or to is None:
                mask.end()
            else:
                mask.bind(image, to)
        if to is not None:
            self._watch(to)
            self._masks[to] = masks

    def look(self, who: str, seconds: float = LOOK_S) -> Iterator[tuple[PaintedMask, str]]:
        """Give the masks that have changed since the last look, and what happened to each.

        Parameters
        ----------
        who : str
            Reader who holds the brush.
        seconds : float
            After which the rest is left for the next look, which is asked for.
        """
        begun = monotonic()
        while self._dirty:
            mask = next(iter(self._dirty))
            del self._dirty[mask]
            try:
                happened = mask.look(who) if mask.labels in self.viewer.layers else None
            except (ClnError, ReferenceError, IndexError):
                continue  # the layer is gone, or shorter than it was
            if happened is not None:
                yield mask, happened
            if self._dirty and monotonic() - begun > seconds:
                self._notice()
                return

    def _watch(self, labels: Labels) -> None:
        if labels in self._watched:
            return
        self._watched.add(labels)
        labels.n_edit_dimensions = 2  # a stroke belongs to one frame
        # Undo and redo tell nobody but the canvas; a prediction is told before it is complete. So every
        # sign of change only starts a look at the contents, once the event is over.
        layer = ref(labels)
        for emitter in (labels.events.paint, labels.events.data):
            self._listen(emitter, partial(self._mark, layer))
        self._listen(labels.events.set_data, partial(self._mark_drawn, layer))
        self._listen(labels.events.selected_label, lambda _event=None: self._notice())

    def _mark(self, layer: ref[Labels], _event: Any = None) -> None:
        labels = layer()
        if labels is None:
            return
        masks = self._masks.get(labels, {})
        now = self.viewer.dims.current_step[-3] if labels.ndim == 3 and self.viewer.dims.ndim > 2 else 0
        for index in sorted(masks, key=lambda index: index != now):  # the one in view first
            self._dirty[masks[index]] = None
        if masks:
            self._notice()

    def _mark_drawn(self, layer: ref[Labels], _event: Any = None) -> None:
        """A layer is drawn anew after an undo; and whenever the slider moves, which changes nothing."""
        labels = layer()
        if labels is None:
            return
        step = tuple(self.viewer.dims.current_step)
        former = self._steps.get(labels)
        self._steps[labels] = step
        if labels.ndim == 2 or former is None or former == step:
            self._mark(layer)


def _find_given(mask: PaintedMask, who: str) -> Given:
    """What masks were painted from, or are, when they are looked at first."""
    reading, ledger = readings_of(mask.labels).get(mask.index), mask.ledger
    if reading is not None:
        if not ledger.knows(reading.mask_digest):
            _give_prediction(mask, None)
        if not ledger.knows(mask.seen) and not _give_drawn(mask):  # painted on before the dock was
            ledger.paint(mask.seen, ledger.origin(reading.mask_digest), who)
            mask.was_painted_unseen = True
    elif not ledger.knows(mask.seen) and not _give_drawn(mask):
        ledger.give(Given(digest=mask.seen, masks=PackedMasks(mask.masks)))
    return ledger.origin(mask.seen)


def _give_drawn(mask: PaintedMask) -> bool:
    """Enter masks that were made from those of other frames; False where these are none."""
    if (drawn := drawn_frame(mask.labels, mask.index)) is None:
        return False
    masks = PackedMasks(mask.masks)
    facts = {node: fact for node, fact in drawn.facts.items() if node in mask.node_ids}
    mask.ledger.give(Given(digest=mask.seen, masks=masks, based_on=drawn.words, facts=facts))
    return True


def _give_prediction(mask: PaintedMask, former: Given | None) -> Given:
    """Enter what a model drew; what was known of the nodes before goes along."""
    reading = readings_of(mask.labels)[mask.index]
    known, now = mask.labels.metadata.get(KEY), mask.masks
    if isinstance(known, Prediction):
        now = known.instances
    masks = PackedMasks(now)
    given = Given(
        digest=reading.mask_digest,
        masks=masks if masks.digest == reading.mask_digest else None,
        based_on=reading.model_id,
    )
    if former is not None:
        given.came = follow_nodes(former.came[0], former.masks, now), former.came[1]
        given.since = former.since
    return mask.ledger.give(given)


def touch(mask: PaintedMask) -> None:
    """Note on a cine's layer that a frame of it is the reader's, so that no run clears it."""
    if mask.labels.ndim == 3:
        mask.labels.metadata.setdefault(TOUCHED_KEY, set()).add(mask.index)


def annotation_of(mask: PaintedMask, who: str, seconds: float) -> Annotation:
    """A frame as the reader sees it now.

    Parameters
    ----------
    mask : PaintedMask
    who : str
        Who saves it.
    seconds : float
        Time that was spent on it.

    Raises
    ------
    DatasetError
        If the Image shows another frame than when the mask was painted.
    """
    image, labels, index = mask.image, mask.labels, mask.index
    if (
        isinstance(image.data, np.ndarray)
        and digest(frame_from_layer(image, index).pixels) != mask.frame_digest
    ):
        raise DatasetError(
            f"Layer '{image.name}' shows another frame than the one that '{labels.name}' was painted on. "
            "Nothing was saved: start an empty mask."
        )
    known = annotation_from_layer(labels, mask.frame, index=index, status=mask.status, annotator=who)
    return replace(
        known,
        instances=known.instances.copy(),  # the save runs while strokes go on
        nodes=tuple(_described(mask, node) for node in known.nodes),
        note=mask.given.note,
        seconds=seconds,
        based_on=mask.given.based_on,
    )


def take_back(mask: PaintedMask) -> Said:
    """Take back what was said last of a mask; masks that it put away come back, as one step of undo."""
    at, said = mask.seen, mask.ledger.last_said(mask.seen)
    assert said is not None
    _move(mask, said.before, back=True)
    return mask.ledger.take_back(at, mask.seen)


def say_again(mask: PaintedMask) -> Said:
    """Say again what :func:`take_back` took back last, with the masks that belong to it."""
    said = mask.ledger.last_taken_back(mask.seen)
    assert said is not None
    _move(mask, said.after, back=False)
    return mask.ledger.say_again(mask.seen)


def _move(mask: PaintedMask, goal: PackedMasks | None, *, back: bool) -> None:
    if goal is not None:
        if not step_to(mask, goal.digest, back=back):
            mask.put(goal.unpack())
        mask.settle()


def _described(mask: PaintedMask, node: Node) -> Node:
    known = mask.given.facts.get(node.id)
    if known is None:
        return node
    score = node.p_malignant
    if score is None and not mask.is_changed:
        score = known.p_malignant
    return replace(known, status=node.status, p_malignant=score)


def put_masks(mask: PaintedMask, masks: NDArray[np.uint8]) -> None:
    """Put masks in the place of a frame's present ones, as one step of undo."""
    labels, former = mask.labels, mask.masks
    changed = np.nonzero(former != masks)
    if not changed[0].size:
        return
    where = changed if labels.ndim == 2 else (np.full_like(changed[0], mask.index), *changed)
    with labels.block_history():
        labels.data_setitem(where, masks[changed])


def step_to(mask: PaintedMask, goal: str, *, back: bool) -> bool:
    """Take one step of the layer's undo, or redo, if it leads to the masks with this digest; else none.

    Parameters
    ----------
    mask : PaintedMask
    goal : str
    back : bool
        Whether to undo, and not to redo.

    Returns
    -------
    bool
        Whether the masks are there now.
    """
    labels = mask.labels
    there, home = (labels.undo, labels.redo) if back else (labels.redo, labels.undo)
    if not can_step(labels, back=back):
        return False
    there()
    if _digest(mask.masks) == goal:
        return True
    home()
    return False


def _take_run_note(mask: PaintedMask) -> bool:
    """Tell whether a run has changed the masks since the last look."""
    noted = mask.labels.metadata.get(RUN_KEY, set())
    was_noted = mask.index in noted
    noted.discard(mask.index)
    return was_noted


def _alive(layer: Any) -> Any:
    if layer is None:
        raise ReferenceError("The layer was deleted.")
    return layer


def _digest(masks: NDArray[Any]) -> str:
    # as of the folder's and the models' masks, whatever type of number the layer holds
    return digest(masks.astype(np.uint8, copy=False))
