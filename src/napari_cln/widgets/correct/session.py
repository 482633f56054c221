"""A reader at work: what is said of the frame in view, taken back, and saved. Needs no window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
from app_model.types import KeyCode, KeyMod
from napari.layers import Image, Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer

from ..._layers import PATIENT_KEY
from ...annotation import Node
from ...folder.dataset import TrainingFolder
from ...folder.readers import ReadingPair
from ...types import Status
from ..common.failures import words_of
from ..common.parts import OPEN_FIRST, Signal
from ..common.turns import Stages, Turns
from .filing import NO_FOLDER, NO_NAME, Filing, SaveRequest
from .ledger import PackedMasks, Said, Typed, follow_nodes
from .navigator import Navigator, Routes
from .painted import Desk, PaintedMask, say_again, take_back, touch
from .worklist import WorkList

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ...folder.autosave import Stroke

NO_MASK = "There is no mask yet. Segment the frame, or press Empty mask."
APART = "What was painted is not saved: image and mask do not lie on each other. Press Put together."
UNDO, REDO = KeyMod.CtrlCmd | KeyCode.KeyZ, KeyMod.CtrlCmd | KeyMod.Shift | KeyCode.KeyZ


class Session(QObject):
    """A reader's work on the frame in view, and what the training folder is told of it.

    Parameters
    ----------
    viewer : ViewerModel
    listen : callable, optional
        Connects a callback to one of napari's events; by default for as long as the viewer lives.

    Attributes
    ----------
    turns : Turns
        What is done in several turns of the event loop; all of the session's own methods finish it first.
    desk : Desk
        The masks that were looked at.
    filing : Filing
        Training folder, reader and saves.
    navigator : Navigator
        The frame in view.
    work : WorkList
        The training folder's frames, and what was decided on each.
    routes : Routes
        The orders in which frames can be gone through.
    decisions : Decisions
        What is accepted or rejected.
    steps : Steps
        Undo, redo, and what is taken back.
    notes : Notebook
        Facts that are typed.
    second : bool
        Whether frames of the training folder open for a second, blind reading.
    """

    changed = Signal()  # what is to be shown may have changed
    told = Signal(str, str, object)  # a sentence, its mood, and what it is about
    saved = Signal(object)  # The SaveRequest

    def __init__(
        self, viewer: ViewerModel, listen: Callable[[Any, Callable[..., None]], None] | None = None
    ) -> None:
        super().__init__()
        self.viewer, self.second, self.turns = viewer, False, Turns(self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        listen = listen or (lambda emitter, callback: emitter.connect(callback))
        self.filing = Filing()
        self.desk = Desk(viewer, listen, self.notice)
        self.navigator = Navigator(viewer, self.desk, self.filing)
        for part in (self.filing, self.navigator):
            part.setParent(self)
            part.told.connect(self.told)
        self._timer.timeout.connect(self._look_round)
        self.turns.failed.connect(self._tell_failure)
        self.work = WorkList(self)
        self.routes = Routes(self.navigator, self.work, self.turn_to)
        self.steps, self.notes, self.decisions = Steps(self), Notebook(self), Decisions(self)
        self.navigator.changed.connect(self.steps.bind)
        self.navigator.changed.connect(self.changed)
        self.filing.saved.connect(self._take_saved)
        self.work.changed.connect(self.changed)
        self.work.found.connect(self._begin_walk)

    @property
    def mask(self) -> PaintedMask | None:
        """The mask of the frame in view."""
        self.turns.finish()
        return self.navigator.mask

    @property
    def folder(self) -> TrainingFolder | None:
        """The training folder."""
        return self.filing.folder

    def notice(self, _event: Any = None) -> None:
        """Look at what happened, once the event is over."""
        self._timer.start()

    def refresh(self) -> None:
        """Save what has changed, go where the reader has clicked, and find the frame in view."""
        self.look()
        self.navigator.follow()
        self.navigator.find()

    def _look_round(self) -> None:
        if self.turns.is_waiting:
            self._timer.start()
        else:
            self.refresh()

    def flush(self) -> None:
        """Wait until everything is saved."""
        self.look(seconds=60)
        self.filing.saver.flush()

    def retire(self) -> None:
        """Save what there is, and leave the masks to another session."""
        self.flush()
        self.steps.unbind()

    def enter(self, folder: TrainingFolder) -> None:
        """Save into a training folder from now on; what was painted until now is the former one's."""
        self.look(seconds=60)
        if self.folder is not None and self.folder.path != folder.path:
            self.navigator.close_case()
        self.desk.enter(folder.path)
        self.work.enter(folder)
        self.filing.enter(folder)
        self.refresh()

    def take_reader(self, who: str) -> None:
        """Save in a reader's name from now on; what was painted until now is the former reader's."""
        self.look()
        self.filing.take_reader(who)
        self.refresh()

    def discard(self, stroke: Stroke) -> None:
        """Put strokes that were never saved aside; they can be had back for one day."""
        if self.folder is not None:
            self.folder.autosave.discard(stroke)
            self.filing.left.find(self.folder, self.filing.who)
            self.told.emit("The strokes are put aside. They can be had back for one day.", "info", None)
            self.changed.emit()

    # ------------------------------------------------------------ from frame to frame

    def open_case(self, case_id: str) -> None:
        """Show a frame of the training folder, before this returns."""
        self.turns.finish()
        for _ in self._open_case(case_id):
            continue

    def turn_to(self, case_id: str) -> None:
        """Show a frame of the training folder, in several turns of the event loop."""
        self.turns.begin(self._open_case(case_id))

    def _open_case(self, case_id: str) -> Stages:
        if self.folder is None:
            self.tell(NO_FOLDER)
        elif self.second and not self.filing.who:
            self.tell(NO_NAME)
        else:
            self.look()
            reader = self.filing.who if self.second else None
            yield from self.navigator.open_case(self.folder, case_id, reader)
            self.navigator.read_ahead(self.folder, self.work.neighbours(case_id))

    def take_released(self, case_ids: Sequence[str]) -> None:
        """Show frames of the training folder no longer as they were before text on them was released.

        The one in view comes again as it is now; where it was left out, one that waits for a decision.

        Parameters
        ----------
        case_ids : sequence of str
            Frames that were painted over or left out.
        """
        self.turns.begin(self._take_released(case_ids))

    def _take_released(self, case_ids: Sequence[str]) -> Stages:
        folder, here = self.folder, self.navigator.cases.case_id
        if folder is None:
            return
        was_open = self.navigator.forget(folder, case_ids)
        left_out = [case_id for case_id in case_ids if not folder.layout.record(case_id).exists()]
        self.work.forget(left_out)
        self.filing.left.find(folder, self.filing.who)
        if was_open and here is not None and here not in left_out:
            yield from self._open_case(here)
        else:
            self.navigator.find()
            if was_open:
                self.routes.begin()

    def _begin_walk(self) -> None:
        self.turns.finish()  # a frame that the reader asked for may be on its way
        self.routes.begin()

    def bring_saved(self) -> None:
        """Put what the training folder has of this frame onto the canvas; one step of undo."""
        if (mask := self.ready(named=False)) is not None:
            self.navigator.bring_saved(mask)

    def restore(self, stroke: Stroke) -> None:
        """Put strokes that were never saved back onto their frame, as one step of undo, and save them."""
        if (mask := self.ready()) is not None:
            self.navigator.restore(mask, stroke)

    def look(self, *, seconds: float = 0.015) -> list[PaintedMask]:
        """Save what was painted, undone or redone since the last look; return these masks."""
        self.turns.finish()
        changed = []
        for mask, happened in self.desk.look(self.filing.who, seconds):
            if happened == "painted":
                self.steps.forget(mask.labels)
            if happened == "predicted" or self._is_nobodys(mask):
                mask.is_behind = bool(self.filing.revision(mask)) and not self.filing.is_filed(mask)
                continue
            changed.append(mask)
            touch(mask)
            if mask.lies_apart:
                mask.is_unsaved = True
                self.tell(APART, mask)
            else:
                self.filing.file(mask, None if happened == "painted" else "undone")
        return changed

    def _is_nobodys(self, mask: PaintedMask) -> bool:
        """Tell whether no reader has a part in masks that the folder does not have either."""
        is_known = self.filing.revision(mask) or self.filing.is_pending(mask) or mask.is_unsaved
        return mask.status == "predicted" and not is_known

    def let_go(self, image: Image) -> None:
        """Have the frames of an image read anew: its scale has changed."""
        for mask in self.desk.of_image(image):
            mask.let_go()
        if self.mask is not None and self.mask.image is image and self.filing.revision(self.mask):
            self.filing.file(self.mask, "noted", is_decision=True)

    def ready(self, *, named: bool = True) -> PaintedMask | None:
        """The mask in view, brought up to date; None, and a sentence, where nothing can be decided on."""
        self.refresh()
        fault, mask = self.navigator.fault, self.mask
        if self.navigator.image is None:
            self.tell(OPEN_FIRST, OPEN_FIRST)
        elif fault is not None:
            press = f" Press {fault.way_out}." if fault.way_out else ""
            self.tell(f"Not taken. {fault.reason}{press}")
        elif mask is None:
            self.tell(NO_MASK, self.navigator.image)
        elif named and not self.filing.who:
            self.filing.needs_name = True
            self.tell(NO_NAME, NO_NAME)
            self.changed.emit()
        else:
            return mask
        return None

    def _take_saved(self, request: SaveRequest) -> None:
        self.work.take_saved(request)
        for mask in self.desk:  # another layer of the same frame
            is_same = mask.case_id == request.case_id and mask.folder in (None, request.folder.path)
            if is_same and mask is not request.mask and not request.second:
                mask.is_behind = mask.seen != request.mask.seen
        self.saved.emit(request)
        self.changed.emit()

    def tell(self, sentence: str, about: object = None) -> None:
        """Say why something is not done."""
        self.told.emit(sentence, "bad", about or self.navigator.mask)

    def _tell_failure(self, error: Exception) -> None:
        self.tell(words_of(error))
        self.notice()


class Decisions:
    """What the reader decides on the mask in view."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def accept(self) -> None:
        """Say that the mask is right; one that was painted counts as corrected."""
        session = self._session
        if (mask := session.ready()) is None:
            return
        if mask.is_empty:
            session.tell("There is no mask to accept. Paint one, or press No node here.")
            return
        painted = mask.is_changed or mask.given.status == "corrected"
        self.say(mask, "accepted", "corrected" if painted else "accepted")

    def accept_and_go_on(self) -> None:
        """Say that the mask is right, and show the next undecided frame, in several turns."""
        self._session.turns.begin(self._accept_and_go_on())

    def _accept_and_go_on(self) -> Stages:
        session, mask = self._session, self._session.mask
        said = None if mask is None else mask.ledger.last_said(mask.seen)
        self.accept()
        mask = session.mask
        if mask is None or mask.ledger.last_said(mask.seen) in (None, said):
            return  # and the message says why
        yield
        if not session.routes.go_on() and session.work.items:
            session.told.emit("Every frame of the list is decided.", "good", mask)

    def reject(self) -> None:
        """Say that the mask is wrong: it is kept in the folder, and never trained on."""
        if (mask := self._session.ready()) is not None:
            self.say(mask, "rejected", "rejected")

    def no_node(self) -> None:
        """Say that the frame was looked at and shows no node; whatever is painted is erased."""
        session, navigator = self._session, self._session.navigator
        if session.mask is None and navigator.image is not None and navigator.fault is None:
            navigator.start_empty()
        if (mask := session.ready()) is None:
            return
        before = None if mask.is_empty else PackedMasks(mask.masks)
        mask.put(mask.masks * 0)
        self.say(mask, "no-node", "no-node", before=before)

    def say(
        self,
        mask: PaintedMask,
        action: str,
        status: Status,
        *,
        before: PackedMasks | None = None,
        pair: ReadingPair | None = None,
    ) -> None:
        """Take a decision on a mask, and save it.

        Parameters
        ----------
        mask : PaintedMask
        action : str
            What was pressed.
        status : str
            What the frame is then.
        before : PackedMasks, optional
            The masks that were there, where the decision has put others in their place.
        pair : ReadingPair, optional
            The readings between which it decides.
        """
        readings = None if pair is None else {str(pair.second.annotator): pair.read_at}
        after = None if before is None else PackedMasks(mask.masks)
        who = self._session.filing.who
        said = Said(action=action, status=status, who=who, before=before, after=after, readings=readings)
        mask.ledger.say(mask.seen, said)
        self._session.steps.forget(mask.labels)
        self.file(mask, action, readings, pair)

    def file(
        self,
        mask: PaintedMask,
        action: str,
        readings: Mapping[str, str] | None = None,
        pair: ReadingPair | None = None,
    ) -> None:
        """Save what was decided; see :meth:`Filing.file`."""
        self._session.filing.file(mask, action, is_decision=True, readings=readings, pair=pair)
        self._session.changed.emit()


class Notebook:
    """Facts that a reader types beside the mask in view: of its nodes, a note, the patient."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def take_facts(self, facts: Mapping[int, Node]) -> None:
        """Take what the reader typed of the nodes."""
        session = self._session
        if (mask := session.ready()) is not None:
            news = {node: fact for node, fact in facts.items() if fact != mask.given.facts.get(node)}
            mask.ledger.type(Typed(given=mask.given, masks=PackedMasks(mask.masks), facts=news))
            session.filing.file(mask, "noted")
        session.changed.emit()

    def describe_nodes(self, image: Image, index: int, instances: NDArray[np.uint8]) -> dict[int, Node]:
        """Return what is known of nodes (H, W) on a frame, by those in their places on its masks."""
        masks = [mask for mask in self._session.desk.of_image(image) if mask.index == index]
        known: dict[int, Node] = {}
        for mask in sorted(masks, key=lambda mask: mask is self._session.mask):
            known |= follow_nodes(mask.given.facts, PackedMasks(mask.masks), instances)
        return known

    def take_note(self, note: str) -> None:
        """Take the reader's note."""
        session = self._session
        mask = session.mask
        if mask is not None and note != mask.given.note:
            if (mask := session.ready()) is not None:
                mask.ledger.type(Typed(given=mask.given, note=note))
                session.filing.file(mask, "noted")
            session.changed.emit()

    def take_patient(self, patient: str) -> None:
        """Take the patient of the picture in view, or of the whole cine, and save it with a known frame."""
        session = self._session
        mask, image = session.mask, session.navigator.image
        if image is not None:
            image.metadata[PATIENT_KEY] = patient.strip()
            if mask is not None and session.filing.revision(mask):
                session.filing.file(mask, "noted", is_decision=True)
            session.changed.emit()


class Steps:
    """Undo and redo, in the order in which things happened to the mask in view.

    First what the reader said of it, then the stroke that made it; redo is the way back. Whatever moves
    the mask otherwise, what stands for it comes with it.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._keyed: WeakSet[Labels] = WeakSet()
        self._made: WeakKeyDictionary[Labels, bool] = WeakKeyDictionary()
        session.destroyed.connect(partial(_release, self._keyed))

    def bind(self) -> None:
        """Bind the keys of the layer of the mask in view."""
        mask = self._session.mask
        if mask is not None and mask.labels not in self._keyed:
            self._keyed.add(mask.labels)
            mask.labels.bind_key(UNDO, self.undo, overwrite=True)
            mask.labels.bind_key(REDO, self.redo, overwrite=True)

    def unbind(self) -> None:
        """Let go of the keys of all layers."""
        _release(self._keyed)
        self._keyed.clear()

    def note(self, labels: Labels) -> None:
        """Take note that masks of other frames were made: undo takes them back before any decision."""
        self._made[labels] = True

    def forget(self, labels: Labels) -> None:
        """Take note that something else was done since."""
        self._made.pop(labels, None)

    def take_back(self) -> None:
        """Take back what was said last of the mask in view: what stood before stands again."""
        session = self._session
        if (mask := session.ready()) is None:
            return
        if not self._is_own(mask.ledger.last_said(mask.seen)):
            session.tell("You have decided nothing on this mask that could be taken back.")
            return
        said = take_back(mask)
        session.decisions.file(mask, "taken-back", said.readings)

    def say_again(self) -> None:
        """Say again what was taken back last."""
        session = self._session
        if (mask := session.ready()) is None:
            return
        if not self._is_own(mask.ledger.last_taken_back(mask.seen)):
            session.tell("You have taken nothing back on this mask.")
            return
        said = say_again(mask)
        session.decisions.file(mask, said.action, said.readings)

    def undo(self, layer: Labels) -> None:
        """Take back what the reader did last: what was said of the mask in view, else a stroke."""
        self._step(layer, back=True)

    def redo(self, layer: Labels) -> None:
        """Do again what :meth:`undo` took back last."""
        self._step(layer, back=False)

    def _is_own(self, said: Said | None) -> bool:
        """Tell whether there is a decision, and this reader made it."""
        return said is not None and said.who == self._session.filing.who

    def _step(self, layer: Labels, *, back: bool) -> None:
        session = self._session
        session.look()
        mask = session.mask
        in_view = mask is not None and mask.labels is layer
        was_made = self._made.get(layer) is back
        if mask is not None and in_view and not was_made:
            ledger = mask.ledger
            if self._is_own(ledger.last_said(mask.seen) if back else ledger.last_taken_back(mask.seen)):
                self.take_back() if back else self.say_again()
                return
        (layer.undo if back else layer.redo)()
        if was_made:
            self._made[layer] = not back
        changed = [one for one in session.look(seconds=0.04) if one.labels is layer]
        if changed and in_view and mask not in changed:
            session.navigator.show_frame(changed[0].image, changed[0].index)  # nothing is undone unseen


def _release(layers: WeakSet[Labels]) -> None:
    for labels in layers:
        for key in (UNDO, REDO):
            labels.bind_key(key, None)
