"""Correct dock: paint the mask right, say what is known of the nodes, and have it saved at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QWidget

from ..._layers import frame_layers
from ...compat.window import grid_of, plain_viewer
from ...errors import counted
from ..common.actions import offer
from ..common.number_field import tell_refusals
from ..common.parts import OPEN_FIRST, DockBody, Listeners, MessageLine
from ..common.turns import HeldCanvas
from ..common.workplace import Workplace, workplace_of
from ..prompts.scale import ScaleTool
from ..prompts.sketch import prepare_hint
from .cases import show_difference
from .filing import NO_FOLDER, NO_NAME
from .nodes import TOOLS
from .painted import PaintedMask
from .second_reader import SecondReading
from .session import Session
from .suggestions import Suggestions
from .tools import NodeMenu, Workbench
from .view import CorrectView, state_of

if TYPE_CHECKING:
    from pathlib import Path

    import napari

    from .filing import SaveRequest

SEEN = ("visible", "opacity", "blending", "translate", "scale", "rotate", "shear", "affine")
"""Events of layers that change what the canvas shows."""
MOVED = ("inserted", "removed", "reordered")


class CorrectDock(QWidget):
    """Dock in which a reader corrects masks and says what is known of the nodes.

    Attributes
    ----------
    session : Session
        The reader's work; it needs no window.
    second, suggestions, scale : SecondReading, Suggestions, ScaleTool
        Beside it: other readers, frames worth a look, and millimetres for an image that has none.
    bench, menu : Workbench, NodeMenu
        The tools for nodes.
    view : CorrectView
        The fields and buttons.
    message : MessageLine
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = plain_viewer(napari_viewer)
        self.message = MessageLine()
        self._listeners = Listeners(self)
        self.session = Session(self.viewer, self._listeners.listen)
        self.session.setParent(self)
        HeldCanvas(self, self.session.turns)
        self.second, self.suggestions = SecondReading(self.session), Suggestions(self.session)
        self.scale = ScaleTool(self.viewer, self.session)
        self.bench = Workbench(self.session)
        self.menu = NodeMenu(self.bench, self.session)
        self.view = CorrectView(lambda: frame_layers(self.viewer.layers))
        self._shown: PaintedMask | None = None
        self._image: Image | None = None
        self._seat = Seat(self, workplace_of(self.viewer), self.session.retire, self._listeners.stop)
        body = DockBody(self, self.viewer, self.view, self.message)
        body.dressed.connect(self.view.nodes.wear)
        body.dress()
        self.session.filing.take_reader(self.view.study.who)
        self._connect_view()
        self._connect_session()
        self._connect_viewer()
        self._show()
        self.reset_choices()
        self._seat.take(opener=self.open_case, describer=self.session.notes.describe_nodes)
        if (opened := workplace_of(self.viewer).folder) is not None:
            self.view.study.open_folder(opened)

    def reset_choices(self, _event: Any = None) -> None:
        """List the Image layers again; napari calls it when layers come, go or get a new name."""
        self.view.reset_images()
        if self.session.navigator.image is None and not self.message.text():
            self.message.say(OPEN_FIRST, about=OPEN_FIRST)
        self.session.notice()

    def open_case(self, folder: Path, case_id: str) -> Image | None:
        """Show a frame of a training folder, and return its Image; None where another folder is at work."""
        here = self.session.folder
        if here is not None and here.path != folder:
            return None
        if here is None:
            self.view.study.open_folder(folder)
        if self.session.folder is None:
            return None
        self.view.walk.go_through_folder()
        self.session.open_case(case_id)
        cases = self.session.navigator.cases
        return cases.image if cases.case_id == case_id else None

    # ------------------------------------------------------------ what is done

    def _open_study(self) -> None:
        folder = self.view.study.folder
        assert folder is not None
        self.message.forget(NO_FOLDER)
        self.message.say(f"{folder.path.name}: {counted(len(folder.ids()), 'frame')}.", "good")
        if self.session.routes.is_free and folder.ids():
            self.view.walk.go_through_folder()
        self.session.enter(folder)
        self.view.worthy.forget()
        self.second.forget()
        self.second.look()
        self.view.held.enter(folder, lambda: self.view.study.who)
        workplace_of(self.viewer).open_folder(folder.path)

    def _have_read(self, request: SaveRequest) -> None:
        folder = self.session.folder
        if folder is not None and folder.path == request.folder.path:
            self.view.held.take_saved(request.case_id)

    def _take_reader(self) -> None:
        self.message.forget(NO_NAME)
        self.session.take_reader(self.view.study.who)

    def _choose_image(self, image: Image | None) -> None:
        if image is not None:
            self.session.turns.do(partial(self.session.navigator.show_image, image))

    def _type_patient(self) -> None:
        patient = self.view.about.patient
        if patient.isModified():
            patient.setModified(False)
            self.session.notes.take_patient(patient.text())

    def _type_note(self) -> None:
        self.view.about.note.setModified(False)
        self.session.notes.take_note(self.view.about.note.text())

    def _do(self, deed: Callable[[], object]) -> None:
        """Do what a button or a key asks for, after all that was typed is taken."""
        self.view.about.finish()
        self.session.turns.do(deed)

    # ------------------------------------------------------------ what is shown

    def _show(self) -> None:
        """Bring the view in line with the session."""
        if self.session.turns.is_waiting:
            self.session.notice()  # half of a frame is told to nobody
            return
        mask, image = self.session.mask, self.session.navigator.image
        if mask is not self._shown or image is not self._image:
            self.message.forget(self._shown, self._image)
            self._shown, self._image = mask, image
            self.second.forget()
            self.second.look()
        if image is not None:
            self.message.forget(OPEN_FIRST)
        self.view.show_state(state_of(self.session, self.bench.burned))
        show_difference(self.viewer, mask if self.view.drawing.difference.isChecked() else None)

    def _show_other(self) -> None:
        self.view.decision.show_found(self.second.found)
        self.second.show(self.view.decision.show_other.isChecked())

    # ------------------------------------------------------------ wires

    def _connect_view(self) -> None:
        view, session, navigator = self.view, self.session, self.session.navigator
        for button, action in (
            (view.state.mend, navigator.mend),
            (view.verdict.empty, navigator.start_empty),
            (view.verdict.take_saved, session.bring_saved),
            (view.verdict.accept, session.decisions.accept),
            (view.verdict.go_on, session.decisions.accept_and_go_on),
            (view.verdict.reject, session.decisions.reject),
            (view.verdict.no_node, session.decisions.no_node),
            (view.verdict.take_back, session.steps.take_back),
            (view.decision.keep, self.second.decide_for_mask),
            (view.decision.take, self.second.decide_for_other),
            (view.worthy.look, self.suggestions.look),
            (view.scale.draw, lambda: self.scale.start(navigator.image, navigator.index)),
            (view.scale.use, lambda: self.scale.apply(navigator.image, view.scale.length)),
        ):
            button.clicked.connect(lambda _checked=False, action=action: self._do(action))
        view.study.opened.connect(self._open_study)
        view.study.reader_changed.connect(self._take_reader)
        view.study.failed.connect(lambda reason: self.message.say(reason, "bad"))
        view.study.second.toggled.connect(lambda on: setattr(session, "second", on))
        view.recovery.restored.connect(session.restore)
        view.recovery.discarded.connect(session.discard)
        view.image.changed.connect(self._choose_image)
        view.walk.stepping.connect(view.about.finish)
        view.walk.stepping.connect(session.turns.finish)
        view.walk.asked.connect(session.routes.go)
        view.work.chosen.connect(session.work.choose)
        for signal, deed in (
            (view.nodes.edited, lambda: session.notes.take_facts(view.nodes.nodes)),
            (view.about.note.editingFinished, self._type_note),
            (view.about.patient.editingFinished, self._type_patient),
        ):
            signal.connect(partial(session.turns.do, deed))
        view.drawing.fill.setChecked(workplace_of(self.viewer).filled)
        view.drawing.fill.toggled.connect(workplace_of(self.viewer).fill)
        view.drawing.difference.toggled.connect(lambda _: self._show())
        view.decision.show_other.toggled.connect(self.second.show)
        view.worthy.chosen.connect(self.suggestions.go_to)
        view.tools.used.connect(lambda name: session.turns.do(partial(self.bench.use, name)))
        view.tools.burned.clicked.connect(lambda _=False: session.turns.do(self.bench.use_burned))
        self.bench.clip.busy.connect(view.tools.show_busy)
        view.nodes.chosen.connect(self.bench.choose)
        view.nodes.asked.connect(self.menu.open)
        tell_refusals(view, self.message)

    def _connect_session(self) -> None:
        session, view = self.session, self.view
        session.changed.connect(self._show)
        session.told.connect(self.message.say)
        session.saved.connect(self.second.take_saved)
        session.saved.connect(self._have_read)
        view.held.failed.connect(lambda reason: self.message.say(reason, "bad"))
        view.held.looking.connect(session.flush)
        view.held.released.connect(session.take_released)
        self.second.changed.connect(self._show_other)
        self.second.told.connect(self.message.say)
        self.suggestions.busy.connect(view.worthy.show_busy)
        self.suggestions.found.connect(view.worthy.show_found)
        self.suggestions.failed.connect(lambda reason: self.message.say(reason, "bad"))
        self.scale.told.connect(self.message.say)
        self.scale.typed.connect(session.let_go)

    def _connect_viewer(self) -> None:
        viewer, session, listeners = self.viewer, self.session, self._listeners
        for emitter in (
            viewer.dims.events.current_step,
            viewer.dims.events.ndisplay,
            viewer.dims.events.order,
            grid_of(viewer).events,
            viewer.layers.selection.events.active,
        ):
            listeners.listen(emitter, session.notice)
        listeners.listen(viewer.layers.events, self._notice_layers)
        view, decisions = self.view, session.decisions
        choose, browse = view.study.choose, view.study.open_button
        offer(self, viewer, "open_folder", "Open a training folder", "Shift-Z", choose, browse)
        for name, title, key, deed, button in (
            ("accept", "Accept the mask", "Shift-A", decisions.accept, view.verdict.accept),
            (
                "accept_and_go_on",
                "Accept and go on",
                "Shift-Enter",
                decisions.accept_and_go_on,
                view.verdict.go_on,
            ),
            ("reject", "Reject the mask", "Shift-R", decisions.reject, view.verdict.reject),
            ("no_node", "No node here", "Shift-X", decisions.no_node, view.verdict.no_node),
            (
                "take_back",
                "Take back what was decided",
                "Shift-U",
                session.steps.take_back,
                view.verdict.take_back,
            ),
            (
                "show_difference",
                "Show what changed",
                "Shift-D",
                view.drawing.difference.toggle,
                view.drawing.difference,
            ),
            (
                "fill_masks",
                "Fill masks, or draw their outlines",
                "Shift-W",
                view.drawing.fill.toggle,
                view.drawing.fill,
            ),
            ("previous_frame", "Previous frame", "Shift-J", partial(view.walk.step, -1), view.walk.back),
            ("next_frame", "Next frame", "Shift-K", partial(view.walk.step, 1), view.walk.forward),
        ):
            offer(self, viewer, name, title, key, partial(self._do, deed), button)
        for tool in TOOLS:
            use = partial(self._do, partial(self.bench.use, tool.name))
            offer(self, viewer, tool.name, tool.title, tool.key, use, view.tools.buttons[tool.name])

    def showEvent(self, event: QShowEvent) -> None:  # Qt's name
        super().showEvent(event)
        self.menu.watch(self)
        QTimer.singleShot(0, partial(prepare_hint, self.viewer))

    def event(self, event: QEvent) -> bool:  # Qt's name
        if event.type() == QEvent.Type.ParentChange and self._seat.look():
            self.session.turns.finish()
            self.bench.put_away()
        return super().event(event)

    def _notice_layers(self, event: Any) -> None:
        if event.type in SEEN or event.type in MOVED:
            self.session.notice()


class Seat(QObject):
    """The seat of one dock: another takes it that is opened after this one was closed.

    Else both would save each stroke: napari takes a dock that is closed out of its window, and keeps it.

    Parameters
    ----------
    dock : QWidget
    place : Workplace
    ends : callable
        What saves all there is, and stops.
    """

    def __init__(self, dock: QWidget, place: Workplace, *ends: Callable[[], None]) -> None:
        super().__init__(dock)
        self._dock, self._is_closed = dock, False
        self._place, self._ends = place, ends
        place.corrected.connect(self._make_room)

    def look(self) -> bool:
        """Tell whether the dock was taken out of its window."""
        self._is_closed = self._dock.parentWidget() is None
        return self._is_closed

    def take(self, **deeds: Callable[..., Any]) -> None:
        """Be the dock that corrects, which opens and describes for the others; see :class:`Workplace`."""
        for name, deed in deeds.items():
            setattr(self._place, name, deed)
            owner: Any = getattr(deed, "__self__", None)
            self.destroyed.connect(partial(_withdraw, self._place, name, id(owner)))
        self._place.corrected.emit(self)

    def _make_room(self, seat: object) -> None:
        if seat is not self and self._is_closed:
            self._place.corrected.disconnect(self._make_room)
            for end in self._ends:
                end()


def _withdraw(place: Workplace, name: str, owner: int) -> None:
    if id(getattr(getattr(place, name), "__self__", None)) == owner:
        setattr(place, name, None)
