"""Train dock: a better model from a training folder, by a process that outlives the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QMessageBox, QWidget

from ...compat.window import plain_viewer
from ...errors import ClnError
from ..common.number_field import tell_refusals
from ..common.parts import DockBody, MessageLine
from ..common.workplace import workplace_of
from .session import START, TrainSession
from .view import TrainView

if TYPE_CHECKING:
    import napari


class TrainDock(QWidget):
    """Dock that starts a training run, follows it, and offers its model.

    Attributes
    ----------
    session : TrainSession
        The run; it needs no window.
    view : TrainView
        The fields, buttons and curves.
    message : MessageLine
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = plain_viewer(napari_viewer)
        self.message = MessageLine()
        self.session, self.view = TrainSession(self.viewer, self), TrainView()
        body = DockBody(self, self.viewer, self.view, self.message)
        body.dressed.connect(self.view.curves.wear)
        body.dress()
        self._connect()
        self.message.say(START)
        self._show()
        self.session.recall()
        if (folder := workplace_of(self.viewer).folder) is not None:
            self.session.take_training_folder(folder)

    def start_run(self) -> None:
        """Check the training folder, then train on it."""
        try:
            config = self.view.settings.value
        except ClnError as error:
            self.message.say(str(error), "bad")
        else:
            self.session.start(config)

    def look(self) -> None:
        """See what the run has written since the last look."""
        self.session.look()

    def _show(self) -> None:
        self.view.show_state(self.session.state)

    def _ask(self, doubts: str, in_use: str) -> None:
        """Promote a model that there are doubts about only after a Yes."""
        answer = QMessageBox.question(
            self,
            "Promote?",
            f"{doubts}\n\nUse it all the same, in place of {in_use}? Undo promotion takes it back.",
            QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No,
            QMessageBox.StandardButton.No,
        )
        if answer == QMessageBox.StandardButton.Yes:
            self.session.promotion.promote(confirmed=True)
        else:
            self.message.say(f"Not promoted. {in_use} stays in use.")

    def _connect(self) -> None:
        view, session, process = self.view, self.session, self.session.process
        workplace = workplace_of(self.viewer)
        for button, action in (
            (view.start, self.start_run),
            (view.stop, process.stop),
            (view.resume, session.resume),
            (view.outcome.promote, session.promotion.promote),
            (view.outcome.undo, session.promotion.undo),
        ):
            button.clicked.connect(lambda _checked=False, action=action: action())
        view.process.proposed.connect(session.propose)
        view.folder.changed.connect(lambda: process.choose_folder(view.folder.path))
        view.run.changed.connect(lambda: process.choose_out(view.run.path))
        view.worst.frame_chosen.connect(session.open_frame)
        for model in (view.settings.start_from, view.settings.compare_with):
            model.failed.connect(lambda reason: self.message.say(reason, "bad"))
            workplace.model_changed.connect(model.take_promotion)
        tell_refusals(view, self.message)
        session.changed.connect(self._show)
        session.told.connect(self.message.say)
        session.recorded.connect(view.settings.show_record)
        session.promotion.doubted.connect(self._ask)
        session.promotion.promoted.connect(workplace.model_changed)
        workplace.folder_opened.connect(session.take_training_folder)
