"""The frame in view: one image, one frame of it, one mask; and the ways to another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtCore import QObject

from ..._layers import frame_layers, image_of, layers_of, n_frames_of, note_place
from ...errors import ClnError, FrameReadError
from ..common.in_view import (
    Tool,
    ViewFault,
    bring_together,
    fault_in_view,
    fit_view,
    frame_at,
    show_alone,
    take_up,
)
from ..common.parts import OPEN_FIRST, Signal
from ..common.turns import Stages
from ..common.worker import Work
from .cases import CaseKey, CaseOpener, add_mask, chosen_labels, read_ahead, saved_masks
from .filing import NO_FOLDER, Filing
from .ledger import Given

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from ...folder.autosave import Stroke
    from ...folder.dataset import TrainingFolder
    from .painted import Desk, PaintedMask
    from .worklist import WorkList


WAIT_S = 0.3
"""Seconds to wait for a save of a frame that is to be opened again."""


class Navigator(QObject):
    """The frame in view, and the ways to another one.

    After each step of a walk its mask is the active layer, with the tool that the reader used last.

    Parameters
    ----------
    viewer : ViewerModel
    desk : Desk
    filing : Filing
        Knows the training folder and the reader.

    Attributes
    ----------
    image : napari.layers.Image, optional
        The image at work.
    cases : CaseOpener
    """

    changed = Signal()  # another frame or another mask is in view, or it is seen otherwise
    told = Signal(str, str, object)  # a sentence, its mood, and what it is about

    def __init__(self, viewer: ViewerModel, desk: Desk, filing: Filing) -> None:
        super().__init__()
        self.viewer, self.desk, self.filing = viewer, desk, filing
        self.image: Image | None = None
        self._mask: PaintedMask | None = None
        self.cases = CaseOpener(viewer, desk)
        self._reading: Work | None = None

    # ------------------------------------------------------------ what is seen

    @property
    def mask(self) -> PaintedMask | None:
        """The mask of the frame in view; None where there is none, or its layer was deleted."""
        return self._mask if self._mask is not None and self._mask.is_alive else None

    @property
    def labels(self) -> Labels | None:
        """The layer of the mask in view."""
        return None if self.mask is None else self.mask.labels

    @property
    def index(self) -> int:
        """Position of the frame in view in its cine; 0 where none is."""
        return 0 if self.image is None else frame_at(self.image, self.viewer) or 0

    @property
    def fault(self) -> ViewFault | None:
        """The reason why nothing can be decided now; None where the canvas shows the mask at work."""
        return None if self.image is None else fault_in_view(self.viewer, self.image, self.labels)

    def mend(self) -> None:
        """Show the frame alone, or put what belongs to it together: what the fault in view asks for."""
        fault, image = self.fault, self.image
        if fault is None or image is None:
            return
        if fault.remedy == "alone":
            show_alone(self.viewer, image, self.labels)
        elif fault.remedy == "together":
            bring_together(self.viewer, image)
            fit_view(self.viewer, [image])
        if self.labels is not None:
            take_up(self.viewer, self.labels, Tool.of(self.labels))
        self.find()

    def find(self) -> None:
        """Find the mask of the frame in view."""
        former, before = self.mask, self._mask
        if self.image is not None and self.image not in self.viewer.layers:
            self.image = None
        self._mask = None if self.image is None else self._find_mask(self.image, former)
        if self._mask is not before:
            self.filing.start_clock()
            if former is not None:
                former.let_go()
        self.changed.emit()

    def follow(self) -> None:
        """Go where the reader has clicked: to the image that the active layer belongs to, shown alone."""
        active, owners = self.viewer.layers.selection.active, frame_layers(self.viewer.layers)
        image = active
        if isinstance(active, Labels):
            image = image_of(active, self.viewer.layers)
        elif active not in owners:
            image = next((one for one in owners if active in layers_of(one, self.viewer.layers)), None)
        if image in owners and image is not self.image:
            labels = chosen_labels(self.viewer, image, self.mask)
            self.image = image
            show_alone(self.viewer, image, labels)

    # ------------------------------------------------------------ from frame to frame

    def show_image(self, image: Image) -> None:
        """Show an image alone, with a mask to paint on."""
        tool = Tool.of(self.labels)
        labels = chosen_labels(self.viewer, image, self.mask) or add_mask(self.viewer, image)
        self._turn_to(image, labels, tool)

    def show_frame(self, image: Image, index: int) -> None:
        """Show one frame of an image alone, with a mask to paint on."""
        if image.ndim == 3:
            axis = self.viewer.dims.ndim - 3
            self.viewer.dims.set_point(axis, float(image.data_to_world((index, 0, 0))[0]))
        self.show_image(image)

    def start_empty(self) -> None:
        """Add an empty mask for the image in view."""
        if self.image is None:
            self.told.emit(OPEN_FIRST, "bad", OPEN_FIRST)
        else:
            tool = Tool.of(self.labels)
            self._turn_to(self.image, add_mask(self.viewer, self.image), tool)

    def open_case(self, folder: TrainingFolder, case_id: str, second_reader: str | None) -> Stages:
        """Show a frame of the training folder, in several steps: between them nothing is to be read.

        Parameters
        ----------
        folder : TrainingFolder
        case_id : str
        second_reader : str, optional
            Who gives a second reading: the frame opens with theirs, or empty.
        """
        cases, tool = self.cases, Tool.of(self.labels)
        key = CaseKey(folder.path, case_id, second_reader)
        if cases.image in self.viewer.layers and key == cases.key:
            self.show_image(cases.image)
            return
        aside = cases.has_aside(key)
        if not aside and self.filing.saver.is_pending(folder, case_id):
            self.filing.saver.flush(WAIT_S)
        is_pending = self.filing.saver.is_pending(folder, case_id)
        if is_pending and not aside:
            self._tell("The last save of this frame is still under way. Try again in a moment.")
            return
        try:
            # Nothing is asked of the folder while it is being written: what was put aside is newer.
            revision = 0 if is_pending else folder.case(case_id).revision
            known = None if aside else cases.read(folder, case_id, second_reader)
        except ClnError as error:
            self._tell(str(error))
            return
        self._mask = None
        cases.leave(self._is_to_keep())
        yield
        labels = cases.take_from_stash(key)
        if labels is None and known is not None:
            labels = yield from cases.show(known)
        yield
        cases.fit()
        yield
        image = cases.image
        assert image is not None
        assert labels is not None
        mask = self.desk.mask_of(image, labels, 0, self.filing.who, second_reader)
        mask.case_id = case_id
        if not is_pending:
            given = None if known is None else Given.of(known, known.annotator)
            self.filing.compare(mask, revision, given)
        self._turn_to(image, labels, tool)

    def close_case(self) -> None:
        """Take leave of the open frame of the training folder: another folder takes its place."""
        self._mask = None
        self.cases.close(self._is_to_keep())

    def forget(self, folder: TrainingFolder, case_ids: Sequence[str]) -> bool:
        """Let go of frames whose pictures in the folder are others now; True where one was in view.

        A frame with strokes that could not be saved stays as it is.

        Parameters
        ----------
        folder : TrainingFolder
        case_ids : sequence of str
        """
        was_open = self.cases.forget(
            folder.path, case_ids, lambda image: any(mask.is_unsaved for mask in self.desk.of_image(image))
        )
        if was_open:
            self._mask = None
        return was_open

    def _is_to_keep(self) -> bool:
        """Tell whether the open frame of the training folder has more to it than what can be read again."""
        image = self.cases.image
        masks = [] if image is None else self.desk.of_image(image)
        # what was said of a mask that nobody touched stays in its ledger
        return any(mask.touched or mask.is_unsaved > self.filing.is_pending(mask) for mask in masks)

    def read_ahead(self, folder: TrainingFolder, case_ids: Sequence[str]) -> None:
        """Read frames of the training folder beside the window: the reader may ask for one of them next."""
        if self._reading is None:
            self._reading = Work(self, read_ahead, folder, list(case_ids))
            self._reading.done.connect(self.cases.take_ahead)
            self._reading.ended.connect(lambda: setattr(self, "_reading", None))
            self._reading.start()

    # ------------------------------------------------------------ masks that come onto the canvas

    def bring_saved(self, mask: PaintedMask) -> None:
        """Put what the training folder has of a frame onto the canvas; one step of undo."""
        folder = self.filing.folder
        if folder is None or self.filing.is_pending(mask):
            wait = "The last save is still under way. Press again in a moment."
            self._tell(NO_FOLDER if folder is None else wait)
            return
        try:
            revision = folder.case(str(mask.case_id)).revision
            known = saved_masks(folder, mask)
        except ClnError as error:
            self._tell(str(error))
            return
        given = Given.of(known, known.annotator)
        mask.put(known.instances, mask.ledger.give(given))
        self.filing.compare(mask, revision, given)
        mask.is_unsaved = False
        self.told.emit(f"The saved mask of {known.annotator or 'a reader'} is on the canvas.", "info", mask)
        self.changed.emit()

    def restore(self, mask: PaintedMask, stroke: Stroke) -> None:
        """Put strokes that were never saved back onto their frame, as one step of undo, and save them."""
        folder = self.filing.folder
        if folder is None:
            return
        try:
            known = folder.autosave.restore(stroke, mask.frame)
        except ClnError as error:
            self._tell(str(error))
            return
        mask.put(known.instances, mask.ledger.give(Given.of(known, stroke.who or self.filing.who)))
        self.filing.left.drop(stroke)
        self.filing.file(mask, is_decision=True, was_unnamed=not stroke.who)
        self.changed.emit()

    def _tell(self, sentence: str) -> None:
        self.told.emit(sentence, "bad", self.mask or self.image)

    def _turn_to(self, image: Image, labels: Labels, tool: Tool) -> None:
        self.image = image
        show_alone(self.viewer, image, labels)
        take_up(self.viewer, labels, tool)
        self.find()

    def _find_mask(self, image: Image, former: PaintedMask | None) -> PaintedMask | None:
        labels, index = chosen_labels(self.viewer, image, former), frame_at(image, self.viewer)
        note_place(image, layers_of(image, self.viewer.layers))
        if labels is None or index is None:
            return None
        try:
            reader = self.cases.reader if image is self.cases.image else None
            mask = self.desk.mask_of(image, labels, index, self.filing.who, reader)
            self.filing.enter_mask(mask)
            if mask.was_painted_unseen:
                self._file_unseen(mask)
        except ClnError as error:
            self._tell(str(error))
            return None
        return mask

    def _file_unseen(self, mask: PaintedMask) -> None:
        """Save strokes that were there before anybody looked, but never in the place of another reader's."""
        mask.was_painted_unseen = False
        if mask.is_behind or mask.lies_apart:
            mask.is_unsaved = True
        else:
            self.filing.file(mask)


@dataclass(frozen=True, kw_only=True)
class RouteState:
    """Frames in an order: how many, and which one is in view (None: none of them)."""

    title: str
    count: int
    position: int | None


class Routes:
    """The orders in which frames can be gone through.

    Parameters
    ----------
    navigator : Navigator
    work : WorkList
        The training folder's frames.
    open_case : callable
        Shows one of them.
    """

    def __init__(self, navigator: Navigator, work: WorkList, open_case: Callable[[str], None]) -> None:
        self._navigator, self._work, self._open_case = navigator, work, open_case

    @property
    def states(self) -> tuple[RouteState, ...]:
        """The cine, the open images and the training folder, as they can be gone through now."""
        navigator, images = self._navigator, frame_layers(self._navigator.viewer.layers)
        n_frames = _n_frames(navigator.image)
        return (
            RouteState(
                title="frames of this cine", count=n_frames, position=navigator.index if n_frames else None
            ),
            _route("open images", images, navigator.image),
            _route("frames of the training folder", self._work.ids, navigator.cases.case_id),
        )

    @property
    def is_free(self) -> bool:
        """True where no image is open but one of a training folder."""
        opened = self._navigator.cases.image
        return all(image is opened for image in frame_layers(self._navigator.viewer.layers))

    def begin(self) -> None:
        """Show the first frame of the training folder that waits for a decision, where no image is open."""
        first = self._work.next_undecided(None) or next(iter(self._work.ids), None)
        if first is not None and not frame_layers(self._navigator.viewer.layers):
            self._open_case(first)

    def go_on(self) -> bool:
        """Show the next frame of the training folder that waits for a decision; False where none does."""
        following = self._work.next_undecided(self._navigator.cases.case_id)
        if following is not None:
            self._open_case(following)
        return following is not None

    def go(self, route: int, number: int) -> None:
        """Show a frame of one of the orders."""
        navigator = self._navigator
        if route == 2:
            self._open_case(self._work.ids[number])
        elif route == 1:
            navigator.show_image(frame_layers(navigator.viewer.layers)[number])
        elif navigator.image is not None:
            navigator.show_frame(navigator.image, number)


def _route(title: str, among: Sequence[Any], at: Any) -> RouteState:
    return RouteState(title=title, count=len(among), position=among.index(at) if at in among else None)


def _n_frames(image: Image | None) -> int:
    try:
        return 0 if image is None else n_frames_of(image)
    except FrameReadError:  # a layer that is no frame; reading it says so
        return 0
