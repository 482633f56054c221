"""Evaluate dock: a report on a model's figures, made by a process beside the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QWidget

from ...compat.window import plain_viewer
from ...errors import ClnError
from ..common.number_field import tell_refusals
from ..common.parts import DockBody, MessageLine
from ..common.workplace import workplace_of
from .session import START, EvaluateSession
from .view import EvaluateView

if TYPE_CHECKING:
    import napari


class EvaluateDock(QWidget):
    """Dock that evaluates a model on a training folder, and shows what came out.

    Attributes
    ----------
    session : EvaluateSession
        The evaluation; it needs no window.
    view : EvaluateView
        The form, buttons and report.
    message : MessageLine
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = plain_viewer(napari_viewer)
        self.message = MessageLine()
        self.session, self.view = EvaluateSession(self.viewer, self), EvaluateView()
        DockBody(self, self.viewer, self.view, self.message).dress()
        self._connect()
        self.message.say(START, about=START)
        self._show()

    def start_evaluation(self) -> None:
        """Evaluate in a process of its own."""
        try:
            settings = self.view.form.value
        except ClnError as error:
            self.message.say(str(error), "bad")
        else:
            self.session.start(settings)

    def look(self) -> None:
        """See how far the evaluation is."""
        self.session.look()

    def _show(self) -> None:
        if self.session.process.folder is not None:
            self.message.forget(START)
        self.view.show_state(self.session.state)

    def _connect(self) -> None:
        view, session, process = self.view, self.session, self.session.process
        workplace = workplace_of(self.viewer)
        view.start.clicked.connect(self.start_evaluation)
        view.stop.clicked.connect(process.stop)
        view.process.proposed.connect(session.propose)
        view.folder.changed.connect(lambda: process.choose_folder(view.folder.path))
        view.out.changed.connect(lambda: process.choose_out(view.out.path))
        view.report.frame_chosen.connect(session.open_frame)
        for model in (view.form.model, view.form.compare_with):
            model.failed.connect(lambda reason: self.message.say(reason, "bad"))
            workplace.model_changed.connect(model.take_promotion)
        tell_refusals(view, self.message)
        session.changed.connect(self._show)
        session.told.connect(self.message.say)
