"""Correct dock: paint the mask right, say what is known of the nodes, and have it saved at once."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from superqt.utils import create_worker

from ..._layers import frame_layers, n_frames_of
from ...compat.window import grid_of
from ...errors import ClnError, FrameReadError
from ..common.dock import OPEN_FIRST, Dock
from .cases import in_frame
from .filing import NO_FOLDER, NO_NAME, SaveRequest
from .painted import PaintedMask
from .second_reader import (
    Disagreement,
    decide_for_mask,
    decide_for_other,
    describe_agreement,
    find_undecided,
)
from .session import Session
from .shown import show_difference, show_reading
from .suggestions import Spot
from .view import Route, View, Walk, state_of

if TYPE_CHECKING:
    from pathlib import Path

    import napari

    from ...folder.autosave import Stroke
    from .nodes import NodeTable
    from .study import StudyRow

SEEN = ("visible", "opacity", "blending", "translate", "scale", "rotate", "shear", "affine")
"""Events of layers that change what the canvas shows."""
MOVED = ("inserted", "removed", "reordered")


class CorrectDock(Dock):
    """Dock in which a reader corrects masks and says what is known of the nodes.

    Parameters
    ----------
    napari_viewer : napari.Viewer

    Attributes
    ----------
    session : Session
        What the reader does; it needs no window.
    view : View
        The fields and buttons.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer)
        self.session = Session(self.viewer, self.listen)
        self.session.setParent(self)
        self._ids: list[str] = []
        self._shown: PaintedMask | None = None
        self._patient_of: Image | None = None
        self.view = View(self.viewer, self.message, _routes(self.session, self._ids))
        self.column.addWidget(self.view)
        self.column.addStretch()
        self.session.filing.take_reader(self.view.study.who)
        self._connect_fields()
        self._connect_session()
        self._connect_viewer()
        self.reset_choices()

    # ------------------------------------------------------------ the fields

    @property
    def study(self) -> StudyRow:
        """Training folder and reader."""
        return self.view.study

    @property
    def image(self) -> Any:
        """Choice of the image in view."""
        return self.view.image

    @property
    def walk(self) -> Walk:
        """From frame to frame."""
        return self.view.walk

    @property
    def nodes(self) -> NodeTable:
        """What is known of each node."""
        return self.view.nodes

    # ------------------------------------------------------------ the training folder

    @property
    def training_folder(self) -> Path | None:
        """The training folder that is saved to; None where it has none."""
        return self.session.folder.path if self.session.folder is not None else None

    def open_case(self, case_id: str) -> None:
        """Show a frame of the training folder."""
        self.session.open_case(case_id)

    def reset_choices(self, _event: Any = None) -> None:
        """List the Image layers again; napari calls it when layers come, go or get a new name."""
        self.view.reset_images()
        if self.session.navigator.image is None and not self.message.text():
            self.message.say(OPEN_FIRST, about=OPEN_FIRST)
        self.session.notice()

    def _open_study(self) -> None:
        folder = self.view.study.folder
        assert folder is not None
        self.session.look()
        self._ids[:] = folder.ids()
        self.message.forget(NO_FOLDER)
        self.message.say(f"{folder.path.name}: {len(self._ids)} frames.", "good")
        self.session.filing.enter(folder)
        for dock in self.neighbours():
            dock.take_training_folder(folder.path)
        self.session.refresh()

    def _take_reader(self) -> None:
        self.message.forget(NO_NAME)
        self.session.look()  # what was painted until now is the former reader's
        self.session.filing.take_reader(self.view.study.who)
        self.session.refresh()

    def _discard(self, stroke: Stroke) -> None:
        if self.session.folder is not None:
            self.session.folder.autosave.discard(stroke)
            self.session.filing.left.find(self.session.folder, self.session.filing.who)
            self.message.say("The strokes are put aside. They can be had back for one day.")
            self._show()

    # ------------------------------------------------------------ from frame to frame

    def _go_to(self, spot: Spot) -> None:
        if spot.image is None:
            self.session.open_case(spot.key)
        elif spot.image in self.viewer.layers:
            self.session.navigator.show_frame(spot.image, spot.index)

    def _choose_image(self, image: Image | None) -> None:
        if image is not None:
            self.session.navigator.show_image(image)

    # ------------------------------------------------------------ what is told and shown

    def _show(self) -> None:
        """Bring the dock in line with the session."""
        mask, navigator = self.session.mask, self.session.navigator
        if mask is not self._shown or navigator.image is not self._patient_of:
            self.message.forget(self._shown, self._patient_of)
            self._shown = mask
            self.view.decision.offer(None)
            self._look_for_other_readers()
        if navigator.image is not None:
            self.message.forget(OPEN_FIRST)
        if navigator.image is not self._patient_of:
            # Never the last image's patient: a wrong key would put one patient on two sides of a split.
            self._patient_of = navigator.image
            self.view.patient.setText("" if mask is None else mask.frame.patient_id or "")
            self.session.take_patient(self.view.patient.text(), typed=False)
        self.view.show_state(state_of(self.session))
        show_difference(self.viewer, mask if self.view.difference.isChecked() else None)

    def _take_saved(self, request: SaveRequest) -> None:
        if request.second and request.is_decision:
            worker = create_worker(
                describe_agreement, request.folder, request.who, request.case_id, _start_thread=False
            )
            worker.returned.connect(self.message.say)
            worker.start()
        if request.case_id not in self._ids:
            self._ids.append(request.case_id)
        if request.mask is self.session.mask:
            self._look_for_other_readers()

    def _type_patient(self) -> None:
        self.session.take_patient(self.view.patient.text(), typed=self.view.patient.isModified())
        self.view.patient.setModified(False)

    # ------------------------------------------------------------ two readers

    def _look_for_other_readers(self) -> None:
        """See beside the window whether another reader sees the frame in view otherwise."""
        mask, folder = self.session.mask, self.session.folder
        if mask is None or folder is None or mask.second or not self.session.filing.revision(mask):
            return
        worker = create_worker(
            find_undecided, folder, str(mask.case_id), self.session.filing.who, _start_thread=False
        )
        worker.returned.connect(self._offer_decision)
        worker.start()

    def _offer_decision(self, found: Disagreement) -> None:
        if self.session.mask is not None and self.session.mask.case_id == found.case_id:
            self.view.decision.offer(found)

    def _decide(self, *, for_other: bool) -> None:
        pair = self.view.decision.pair
        if pair is not None:
            (decide_for_other if for_other else decide_for_mask)(self.session, pair)

    def _show_other(self) -> None:
        decision, mask, folder = self.view.decision, self.session.mask, self.session.folder
        pair = decision.pair
        if pair is None or mask is None or folder is None or not decision.show_other.isChecked():
            show_reading(self.viewer, None, None)
            return
        with suppress(ClnError):  # a frame of another size than the stored one: it is told on taking
            show_reading(self.viewer, mask, in_frame(folder, pair.second, pair.case.id, mask.frame))

    # ------------------------------------------------------------ wires

    def _connect_fields(self) -> None:
        view, session, navigator = self.view, self.session, self.session.navigator
        view.study.opened.connect(self._open_study)
        view.study.reader_changed.connect(self._take_reader)
        view.study.failed.connect(lambda reason: self.message.say(reason, "bad"))
        view.study.second.toggled.connect(lambda on: setattr(session, "second", on))
        view.recovery.restored.connect(session.restore)
        view.recovery.discarded.connect(self._discard)
        view.image.changed.connect(self._choose_image)
        view.state.mend.clicked.connect(lambda: session.navigator.mend())
        for button, action in (
            (view.verdict.empty, session.navigator.start_empty),
            (view.verdict.take_saved, session.bring_saved),
            (view.verdict.accept, session.accept),
            (view.verdict.reject, session.reject),
            (view.verdict.no_node, session.no_node),
            (view.verdict.take_back, session.steps.take_back),
        ):
            button.clicked.connect(lambda _checked=False, action=action: action())
        view.nodes.edited.connect(lambda: session.take_facts(view.nodes.nodes))
        view.note.editingFinished.connect(lambda: session.take_note(view.note.text()))
        view.patient.editingFinished.connect(self._type_patient)
        view.difference.toggled.connect(lambda _: self._show())
        view.decision.kept.connect(lambda: self._decide(for_other=False))
        view.decision.taken.connect(lambda: self._decide(for_other=True))
        view.decision.shown.connect(self._show_other)
        view.worthy.look.clicked.connect(lambda: view.worthy.start(self.viewer, session))
        view.worthy.chosen.connect(self._go_to)
        view.worthy.failed.connect(lambda reason: self.message.say(reason, "bad"))
        view.scale.draw.clicked.connect(lambda: view.scale.start(navigator.image, navigator.index))
        view.scale.use.clicked.connect(lambda: view.scale.apply(navigator.image))
        view.scale.typed.connect(session.let_go)

    def _connect_session(self) -> None:
        self.session.changed.connect(self._show)
        self.session.told.connect(lambda words, mood, about: self.message.say(words, mood, about=about))
        self.session.saved.connect(self._take_saved)

    def _connect_viewer(self) -> None:
        viewer, session = self.viewer, self.session
        self.listen(viewer.dims.events.current_step, session.notice)
        self.listen(viewer.dims.events.ndisplay, session.notice)
        self.listen(viewer.dims.events.order, session.notice)
        self.listen(grid_of(viewer).events, session.notice)
        self.listen(viewer.layers.events, self._notice_layers)
        self.listen(viewer.layers.selection.events.active, session.notice)
        self.bind_key("Shift-A", session.accept)
        self.bind_key("Shift-R", session.reject)
        self.bind_key("Shift-X", session.no_node)
        self.bind_key("Shift-U", session.steps.take_back)
        self.bind_key("Shift-D", self.view.difference.toggle)
        self.bind_key("Shift-J", lambda: self.view.walk.step(-1))
        self.bind_key("Shift-K", lambda: self.view.walk.step(1))

    def _notice_layers(self, event: Any) -> None:
        if event.type in SEEN or event.type in MOVED:
            self.session.notice()


def _n_frames(image: Image | None) -> int:
    try:
        return 0 if image is None else n_frames_of(image)
    except FrameReadError:  # a layer that is no frame; reading it says so
        return 0


def _routes(session: Session, ids: list[str]) -> tuple[Route, ...]:
    """What can be gone through frame by frame; ``ids`` are the training folder's frames."""
    navigator = session.navigator

    def images() -> list[Image]:
        return frame_layers(session.navigator.viewer.layers)

    def place(of: Any, among: list[Any]) -> int | None:
        return among.index(of) if of in among else None

    return (
        Route(
            title="frames of this cine",
            count=lambda: _n_frames(navigator.image),
            position=lambda: navigator.index if _n_frames(navigator.image) else None,
            go=lambda index: (
                None if navigator.image is None else navigator.show_frame(navigator.image, index)
            ),
        ),
        Route(
            title="open images",
            count=lambda: len(images()),
            position=lambda: place(navigator.image, images()),
            go=lambda number: navigator.show_image(images()[number]),
        ),
        Route(
            title="frames of the training folder",
            count=lambda: len(ids),
            position=lambda: place(navigator.cases.case_id, ids),
            go=lambda number: session.open_case(ids[number]),
        ),
    )
