"""From the desk to the training folder: what is saved, in whose name, and what became of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from threading import Condition
from time import monotonic
from typing import Any, Literal, TypeAlias
from weakref import WeakSet

from msgspec import structs
from qtpy.QtCore import QObject

from ...annotation import Annotation, Case
from ...errors import ClnError, ConflictError, DatasetError, counted
from ...folder.autosave import Stroke
from ...folder.dataset import TrainingFolder
from ...folder.decisions import adjudicate
from ...folder.readers import ReadingPair, save_reading
from ...folder.record import Provenance
from ...io.sources import VIDEO_ENDINGS
from ...study.reading import digest
from ...types import Frame
from ..common.failures import words_of
from ..common.parts import Signal
from .cases import home_elsewhere, patient_on, saved_masks
from .ledger import Given, Judgement, follow_nodes
from .painted import PaintedMask, annotation_of

NO_FOLDER = "Open or make a training folder: your strokes are on the canvas, but not saved yet."
NO_NAME = "Type your name or initials under Reader: what you painted is kept aside, but not saved yet."
AWAY_S = 120.0
"""Longer pauses between two saves are not counted as work on the frame."""

Kind: TypeAlias = Literal["file", "dicom", "video", "simulated"]
Key: TypeAlias = tuple[str, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class SaveRequest:
    """One state of a frame that is to be saved.

    Parameters
    ----------
    mask : PaintedMask
    title : str
        How its frame is called in a message.
    folder : TrainingFolder
    annotation : Annotation
    case_id : str
    who : str
    about : Provenance
        What was done, for the line of history.
    is_decision : bool
        Whether the reader has decided something; such a state is saved even where a newer one waits.
    before : Annotation, optional
        A state that becomes a revision first.
    second : bool
        Whether it is a second reading, which leaves the folder's own masks as they are.
    pair : ReadingPair, optional
        Readings between which it decides.
    was_unnamed : bool
        Whether it was kept aside before the reader had a name.
    """

    mask: PaintedMask
    title: str
    folder: TrainingFolder
    annotation: Annotation
    case_id: str
    who: str
    about: Provenance
    is_decision: bool = False
    before: Annotation | None = None
    second: bool = False
    pair: ReadingPair | None = None
    was_unnamed: bool = False

    @property
    def key(self) -> Key:
        """Frame and folder: what is saved one after the other."""
        return str(self.folder.path), self.case_id


class Saver(QObject):
    """Saves in a thread of its own, in order.

    Of states that wait, only the newest of a frame is saved, but for decisions: none of them is left out.
    A save that fails because another reader changed the frame makes those behind it fail too, until
    :meth:`expect` says that the reader was told.
    """

    saved = Signal(object)  # the SaveRequest
    # the SaveRequest, the error, and of a conflict the revisions that were found and expected
    failed = Signal(object, object, object)

    def __init__(self) -> None:
        super().__init__()
        self._waiting: dict[Key, deque[SaveRequest]] = {}
        self._open: list[SaveRequest] = []
        self._saved: WeakSet[SaveRequest] = WeakSet()
        self._revisions: dict[Key, int] = {}
        self._guard = Condition()
        self._is_telling = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="napari-cln save")
        # Keeps what waits, so that a crash does not take it, while the other thread waits for the disk.
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="napari-cln keep")
        self.destroyed.connect(partial(_shut, self._pool, self._keeper))

    @property
    def is_idle(self) -> bool:
        """True when everything is saved."""
        return not self._open

    def is_pending(self, folder: TrainingFolder, case_id: str | None) -> bool:
        """Tell whether states of a frame wait, or one is being saved."""
        with self._guard:
            return any(request.key == (str(folder.path), case_id) for request in self._open)

    def expect(self, folder: TrainingFolder, case_id: str, revision: int) -> None:
        """Save on top of this revision of a frame, which is what the reader knows; 0 for none."""
        with self._guard:
            self._revisions[str(folder.path), case_id] = revision

    def knows(self, folder: TrainingFolder, case_id: str) -> bool:
        """Tell whether a frame was opened or saved here."""
        return (str(folder.path), case_id) in self._revisions

    def revision(self, folder: TrainingFolder | None, case_id: str | None) -> int:
        """Revision of a frame that the next save is made on; 0 for none."""
        return 0 if folder is None else self._revisions.get((str(folder.path), str(case_id)), 0)

    def put(self, request: SaveRequest) -> None:
        """Save a state as soon as the disk is free."""
        with self._guard:
            waiting = self._waiting.setdefault(request.key, deque())
            if waiting and not waiting[-1].is_decision:
                former = waiting.pop()
                self._open.remove(former)
                spent = (former.annotation.seconds or 0) + (request.annotation.seconds or 0)
                annotation = replace(request.annotation, seconds=spent)
                request = replace(
                    request,
                    annotation=annotation,
                    before=former.before or request.before,
                    was_unnamed=former.was_unnamed or request.was_unnamed,
                )
            else:
                self._pool.submit(self._run, request.key)
            is_busy = bool(self._open)
            waiting.append(request)
            self._open.append(request)
        if is_busy:
            # The disk is slow, or another reader holds the frame.
            self._keeper.submit(self.keep, request)

    def keep(self, request: SaveRequest) -> None:
        """Keep a state aside until it is saved, against a crash."""
        with suppress(ClnError):
            _keep(request, self._revisions.get(request.key, 0))
        if request in self._saved:
            request.folder.autosave.clear(request.case_id, request.who)

    def keep_soon(self, request: SaveRequest) -> None:
        """Keep a state that can't be saved yet, beside the window."""
        self._keeper.submit(self.keep, request)

    def flush(self, timeout_s: float = 60) -> bool:
        """Wait until everything is saved, and told; False where it takes longer."""
        with self._guard:
            return self._guard.wait_for(lambda: not self._open and not self._is_telling, timeout_s)

    def close(self) -> None:
        """Save what waits, and take no more."""
        _shut(self._pool, self._keeper)

    def _run(self, key: Key) -> None:
        with self._guard:
            request = self._waiting[key].popleft()
        error: Exception | None = None
        rival: tuple[int, int] | None = None
        try:
            self._save(request)
        except Exception as cause:  # told on the message line, whatever it is
            error = cause
            if isinstance(cause, ConflictError):
                with suppress(ClnError):  # of what the reader is told about, and of nothing later
                    is_there = request.folder.layout.record(request.case_id).exists()
                    found = request.folder.case(request.case_id).revision if is_there else 0
                    rival = found, self._revisions.get(key, 0)
        with self._guard:
            self._open.remove(request)
            self._is_telling = True
            if error is None:
                self._saved.add(request)
        with suppress(RuntimeError):  # the dock was closed meanwhile
            if error is None:
                self.saved.emit(request)
            else:
                self.failed.emit(request, error, rival)
        with self._guard:
            self._is_telling = False
            self._guard.notify_all()

    def _save(self, request: SaveRequest) -> None:
        if request.second:
            save_reading(request.folder, request.annotation, request.who)
            return
        if request.before is not None:
            about = structs.replace(request.about, action=None, judged_by=None, readings=None)
            self._commit(replace(request, annotation=request.before, about=about, pair=None))
        if self._revisions.get(request.key, 0) == 0:
            # The first save looks for burned-in marks, which takes a while.
            _keep(request, 0)
        self._commit(request)
        if request.was_unnamed:
            request.folder.autosave.clear(request.case_id, "")

    def _commit(self, request: SaveRequest) -> None:
        revision = self._revisions.get(request.key, 0)
        annotation, who, about = request.annotation, request.who, request.about
        if request.folder.layout.record(request.case_id).exists():
            about = structs.replace(about, cine=None)  # made of pixels: what the folder has may be a name
        case: Case
        if request.pair is not None:
            case = adjudicate(request.folder, annotation, who, request.pair, expected_revision=revision)
        else:
            case = request.folder.keep(annotation, about, expected_revision=revision)
        with self._guard:
            self._revisions[request.key] = case.revision


def _shut(*pools: ThreadPoolExecutor) -> None:
    for pool in pools:
        pool.shutdown(wait=True)


@dataclass(frozen=True, kw_only=True)
class StrokeOffer:
    """Strokes on the frame in view that can be had back, and how many other frames have some."""

    stroke: Stroke | None = None
    n_elsewhere: int = 0


class LeftBehind:
    """Strokes of a reader that a crash kept from being saved, or that were discarded.

    Attributes
    ----------
    strokes, put_aside : list of Stroke
        Never saved; discarded within the last day.
    """

    def __init__(self) -> None:
        self.strokes: list[Stroke] = []
        self.put_aside: list[Stroke] = []

    def find(self, folder: TrainingFolder | None, who: str) -> None:
        """Look for strokes of a reader, and of nobody by name, in a training folder."""
        if folder is not None:
            known = [*folder.autosave.list(), *folder.autosave.list(discarded=True)]
            mine = [stroke for stroke in known if stroke.who in (who, "")]
            self.strokes = [stroke for stroke in mine if not stroke.discarded]
            self.put_aside = [stroke for stroke in mine if stroke.discarded]

    def offer(self, case_id: str | None) -> StrokeOffer:
        """Return what can be had back of a frame: the newest strokes that were never saved, or put aside."""
        known = (stroke for stroke in (*self.strokes, *self.put_aside) if stroke.id == case_id)
        n_elsewhere = len({stroke.id for stroke in self.strokes} - {case_id})
        return StrokeOffer(stroke=next(known, None), n_elsewhere=n_elsewhere)

    def drop(self, stroke: Stroke) -> None:
        """Offer a stroke no more: it is on the canvas."""
        for offered in (self.strokes, self.put_aside):
            if stroke in offered:
                offered.remove(stroke)

    def drop_all(self, case_id: str) -> None:
        """Offer the strokes of a frame no more: it is saved, and so are they."""
        self.strokes = [stroke for stroke in self.strokes if stroke.id != case_id]

    def put_unnamed_aside(self, folder: TrainingFolder, case_id: str) -> None:
        """Discard what somebody without a name left on a frame, before it would be written over."""
        for stroke in [*self.strokes]:
            if stroke.id == case_id and not stroke.who:
                with suppress(ClnError, OSError):
                    folder.autosave.discard(stroke)
                self.find(folder, "")

    def unanswered(self, folder: TrainingFolder, mask: PaintedMask, who: str) -> Annotation | None:
        """Old strokes on a frame that is painted on before the offer of them was answered."""
        for stroke in self.strokes:
            if stroke.id == mask.case_id and stroke.who == who:
                with suppress(ClnError):  # too damaged to come back
                    return folder.autosave.restore(stroke, mask.frame)
        return None


class Filing(QObject):
    """Puts states of masks into the queue of saves, and hears what became of them.

    Attributes
    ----------
    folder : TrainingFolder, optional
    who : str
        The reader; empty as long as no name was typed.
    needs_name : bool
        Whether something waits for a reader's name.
    left : LeftBehind
        Strokes that were never saved.
    saver : Saver
    """

    told = Signal(str, str, object)  # a sentence, its mood, and what it is about
    saved = Signal(object)  # the SaveRequest

    def __init__(self) -> None:
        super().__init__()
        self.folder: TrainingFolder | None = None
        self.who, self.needs_name = "", False
        self.left = LeftBehind()
        self.saver = Saver()
        self.saver.setParent(self)
        self._held: dict[PaintedMask, bool] = {}  # whether it was kept aside without a name
        self._filed: dict[tuple[str, str], object] = {}
        self._since = monotonic()
        self.saver.saved.connect(self._take_saved)
        self.saver.failed.connect(self._take_failed)

    # ------------------------------------------------------------ folder and reader

    def enter(self, folder: TrainingFolder) -> None:
        """Save into a training folder from now on, and what waited for one."""
        self.folder = folder
        self.left.find(folder, self.who)
        self._file_held()

    def take_reader(self, who: str) -> None:
        """Save in a reader's name from now on, and what waited for one."""
        self.who, self.needs_name = who, self.needs_name and not who
        self.left.find(self.folder, who)
        self._file_held()

    # ------------------------------------------------------------ frames of the folder

    def enter_mask(self, mask: PaintedMask) -> None:
        """Find a frame in the training folder, and what the folder says of it.

        Raises
        ------
        DatasetError
            If the frame is of another training folder, or its record is damaged.
        """
        folder = self.folder
        if folder is None or (mask.case_id is not None and mask.folder == folder.path):
            return
        if elsewhere := home_elsewhere(mask.frame, folder):
            raise DatasetError(elsewhere)
        mask.case_id = case_id = folder.identify(mask.frame)
        if self.is_pending(mask):
            return  # what is being written now can't be read; it is looked at next time
        mask.folder = folder.path
        if not folder.layout.record(case_id).exists() or mask.second:
            return
        revision = folder.case(case_id).revision
        known = Given.of(annotation := saved_masks(folder, mask), annotation.annotator)
        if known.digest == mask.seen:  # it is seen, so nothing else has to be told
            self.compare(mask, revision, known)
            return
        if not self.saver.knows(folder, case_id):  # else the reader has yet to be told of another's change
            self._expect(mask, revision)
        mask.is_behind = True
        facts, note = mask.given.came
        came = follow_nodes(known.facts, known.masks, mask.masks) | facts, note or known.note
        mask.given.came = came
        mask.ledger.recall(mask.given, mask.masks)

    def compare(self, mask: PaintedMask, revision: int, known: Given | None) -> None:
        """Take over what the folder says of the masks on the canvas, where somebody spoke there since.

        Parameters
        ----------
        mask : PaintedMask
        revision : int
            Of the frame's record.
        known : Given, optional
            What the record says; None for a mask that was put aside, as the reader left it.
        """
        if self.folder is None or self.is_pending(mask):
            return
        mask.folder = self.folder.path
        ours = mask.second or revision == self.saver.revision(self.folder, mask.case_id)
        self._expect(mask, revision)
        if known is None:
            mask.is_behind = mask.is_behind or not ours
            if not ours:
                self.told.emit("The frame was changed meanwhile. Press Saved mask to see it.", "bad", mask)
            return
        stands = mask.ledger.judgement(known.digest, is_empty=mask.is_empty)
        same = stands == Judgement(status=known.status, who=known.who)
        if not (ours and mask.ledger.knows(known.digest) and same):
            mask.take_folder(known)
        mask.is_behind = False
        self._filed[self._key(mask)] = _state_of(mask)

    def is_pending(self, mask: PaintedMask) -> bool:
        """Tell whether states of a frame wait to be saved."""
        return self.folder is not None and self.saver.is_pending(self.folder, mask.case_id)

    def is_filed(self, mask: PaintedMask) -> bool:
        """Tell whether the folder has a mask as it stands now, or will have it when the queue is empty."""
        return bool(self._filed.get(self._key(mask)) == _state_of(mask))

    def revision(self, mask: PaintedMask) -> int:
        """Revision of a frame in the folder, as far as this reader knows; 0 for none."""
        return self.saver.revision(self.folder, mask.case_id)

    # ------------------------------------------------------------ what is saved

    def start_clock(self, ago: float = 0.0) -> None:
        """Count seconds for another frame from now on, or from some seconds ago."""
        self._since = monotonic() - ago

    def file(
        self,
        mask: PaintedMask,
        action: str | None = None,
        *,
        is_decision: bool = False,
        readings: Mapping[str, str] | None = None,
        pair: ReadingPair | None = None,
        was_unnamed: bool = False,
    ) -> None:
        """Save a frame as it stands now, in the background.

        Parameters
        ----------
        mask : PaintedMask
        action : str, optional
            What was done; left out for strokes, which the status itself tells.
        is_decision : bool
            Whether the reader has decided something.
        readings : mapping of str to str, optional
            Second readings that a decision weighed.
        pair : ReadingPair, optional
            The readings between which it decides.
        was_unnamed : bool
            Whether it was kept aside before the reader had a name.
        """
        now = monotonic()
        seconds, self._since = min(now - self._since, AWAY_S), now
        mask.is_unsaved = True
        if self.folder is None:
            self._held.setdefault(mask, False)
            self.told.emit(NO_FOLDER, "bad", NO_FOLDER)
            return
        try:
            self.enter_mask(mask)
            annotation = annotation_of(mask, self.who, seconds)
        except ClnError as error:
            self.told.emit(str(error), "bad", mask)
            return
        judge = mask.judgement.who
        request = SaveRequest(
            mask=mask,
            title=mask.title,
            folder=self.folder,
            annotation=annotation,
            case_id=str(mask.case_id),
            who=self.who,
            about=Provenance(
                patient=patient_on(mask.image, mask) or None,
                cine=name_of_cine(mask),
                who=self.who,
                kind=source_kind_of(annotation.frame),
                action=action,
                judged_by=judge or None,
                readings=readings,
            ),
            is_decision=is_decision,
            before=self.left.unanswered(self.folder, mask, self.who),
            second=mask.second,
            pair=pair,
            was_unnamed=was_unnamed,
        )
        if not self.who:
            self.left.put_unnamed_aside(self.folder, str(mask.case_id))
            self._held[mask] = self.needs_name = True
            self.saver.keep_soon(request)
            self.told.emit(NO_NAME, "bad", NO_NAME)
            return
        if not is_decision and self.is_filed(mask):
            mask.is_unsaved = self.is_pending(mask)
            return
        self._filed[self._key(mask)] = _state_of(mask)
        self.saver.put(request)

    def _file_held(self) -> None:
        if self.folder is None or not self.who:
            return
        held, self._held = self._held, {}
        for mask, unnamed in held.items():
            if not mask.is_alive:
                continue  # its layer was deleted
            if home_elsewhere(mask.frame, self.folder):
                self._held[mask] = unnamed  # until that folder is opened again
                continue
            mask.ledger.sign(self.who)
            own = mask.judgement.who in (self.who, None)
            self.file(mask, None if own else "noted", is_decision=True, was_unnamed=unnamed)

    # ------------------------------------------------------------ what became of it

    def _take_saved(self, request: SaveRequest) -> None:
        mask = request.mask
        mask.is_unsaved = self.saver.is_pending(request.folder, request.case_id)
        mask.is_behind = mask.is_behind and request.second
        if self.folder is not None and self.folder.path == request.folder.path:
            self.left.drop_all(request.case_id)
        self.told.emit(_saved_words(request), "good", mask)
        self.saved.emit(request)

    def _take_failed(self, request: SaveRequest, error: Exception, rival: tuple[int, int] | None) -> None:
        mask = request.mask
        mask.is_unsaved = True
        self._filed.pop(_key_of(request.folder, request.case_id, request.second), None)
        if isinstance(error, ConflictError):
            mask.is_behind = True
            # Told late, it may be behind a save that came after.
            if rival is not None and rival[1] == self.saver.revision(request.folder, request.case_id):
                self.saver.expect(request.folder, request.case_id, rival[0])
        self.told.emit(f"Not saved: {request.title}. {words_of(error)}", "bad", mask)

    def _expect(self, mask: PaintedMask, revision: int) -> None:
        if self.folder is not None and not self.is_pending(mask):
            self.saver.expect(self.folder, str(mask.case_id), revision)

    def _key(self, mask: PaintedMask) -> Key:
        return _key_of(self.folder, mask.case_id, mask.second)


def _key_of(folder: TrainingFolder | None, case_id: str | None, second: bool) -> Key:
    return f"{folder.path if folder is not None else ''}", f"{case_id} {second}"


def _saved_words(request: SaveRequest) -> str:
    n, status = len(request.annotation.nodes), request.annotation.status
    state = f"{status}, {counted(n, 'node')} · {request.title}"
    if request.pair is not None:
        return f"Decided, with the reading of {request.pair.second.annotator}: {state}"
    return f"Taken back. It is {state}" if request.about.action == "taken-back" else f"Saved: {state}"


def _state_of(mask: PaintedMask) -> Any:
    """State of a mask as the folder is told it; the same twice in a row is told once."""
    facts = tuple(mask.given.facts.get(node) for node in mask.node_ids)
    return mask.seen, mask.judgement, facts, mask.given.note


def source_kind_of(frame: Frame) -> Kind:
    """Return the kind of source that a frame came from."""
    if frame.spacing_source == "simulated":
        return "simulated"
    suffix = "" if frame.source is None else frame.source.suffix.lower()
    if suffix in VIDEO_ENDINGS:
        return "video"
    return "dicom" if suffix in (".dcm", ".dicom") or "DICOM" in (frame.decoder or "") else "file"


def name_of_cine(mask: PaintedMask) -> str | None:
    """Name of a clip that no file stands behind: the content of its first frame."""
    frame = mask.frame
    if frame.n_frames == 1 or frame.source is not None:
        return None
    first = mask.image.data[0]
    return digest(first) if hasattr(first, "tobytes") else None


def _keep(request: SaveRequest, revision: int) -> None:
    request.folder.autosave.keep(request.annotation, request.case_id, who=request.who, revision=revision)
