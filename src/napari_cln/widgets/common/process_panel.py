"""A process that writes into a folder: started, followed, stopped and found again, and the panel for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QToolButton,
    QWidget,
)

from ...training.run_folder import RunFolder
from ...workflow.process import Job, find_job, last_words, start_job
from .parts import Signal, beside, form, stacked

LOOK_EVERY_MS = 1000


@dataclass(frozen=True, kw_only=True)
class ProcessState:
    """Both folders, and what can be done with the process.

    ``done`` is the part that is done, in [0, 1]; None as long as that is not known. The bar is shown where
    ``shows_bar``.
    """

    folder: Path | None = None
    out: Path | None = None
    is_busy: bool = False
    is_alive: bool = False
    is_stopping: bool = False
    can_resume: bool = False
    shows_bar: bool = False
    done: float | None = None


class ProcessSession(QObject):
    """The process of one command, and the two folders that it works on.

    Parameters
    ----------
    command : str
        Of ``napari-cln``, such as ``"train"``.
    word : str
        Begins the name of a new folder beside the training folder, such as ``"run"``.
    patience_ms : int
        How long the process may take to end by itself before it is killed; 0 kills it at once.
    parent : QObject

    Attributes
    ----------
    folder, out : Path, optional
        The training folder, and the folder that the process writes.
    job : Job, optional
        The process that was started there last, whoever started it.
    is_stopping : bool
        Whether it was asked to end.
    """

    folder_chosen = Signal()  # there is another one
    out_chosen = Signal()  # there is another one
    followed = Signal()  # another process is followed, or none
    looked = Signal()  # it is time to see how far the process is, and whether it lives

    def __init__(self, command: str, word: str, patience_ms: int, parent: QObject) -> None:
        super().__init__(parent)
        self.command, self._word = command, word
        self.folder: Path | None = None
        self.out: Path | None = None
        self.job: Job | None = None
        self.is_stopping = False
        self._timer, self._patience = QTimer(self), QTimer(self)
        self._timer.setInterval(LOOK_EVERY_MS)
        self._timer.timeout.connect(self.looked)
        self._patience.setSingleShot(True)
        self._patience.setInterval(patience_ms)
        self._patience.timeout.connect(self.kill)

    @property
    def is_alive(self) -> bool:
        """True where the process runs now, on this computer."""
        return self.job is not None and self.job.is_alive()

    @property
    def run_folder(self) -> RunFolder | None:
        """The folder that the process writes, as a run; None where none is chosen."""
        return None if self.out is None else RunFolder(self.out)

    @property
    def last_words(self) -> str:
        """The reason that the process gave last for its end; empty where it gave none."""
        return "" if self.out is None else last_words(self.out)

    def choose_folder(self, folder: Path | None) -> None:
        """Take a training folder, and a new folder beside it where none is chosen yet."""
        self.folder = folder
        if folder is not None and self.out is None:
            self.propose()
        self.folder_chosen.emit()

    def choose_out(self, out: Path | None) -> None:
        """Take a folder to write, and follow what was started there."""
        self.out = out
        self.follow()
        self.out_chosen.emit()

    def propose(self) -> None:
        """Take a folder beside the training folder that does not exist yet."""
        if self.folder is not None:
            number = 1
            while (out := self.folder.with_name(f"{self.folder.name}-{self._word}-{number}")).exists():
                number += 1
            self.choose_out(out)

    def start(self, *options: str, settings: object = None) -> None:
        """Start the command on the two folders with a settings dataclass, and follow it.

        Raises
        ------
        RunError
            If it can't be started.
        """
        assert self.folder is not None
        assert self.out is not None
        start_job([self.command, str(self.folder), f"--out={self.out.name}", *options], self.out, settings)
        self.follow()

    def follow(self) -> None:
        """Follow the process that was started in the folder last, whoever started it."""
        self.job = None if self.out is None else find_job(self.out, self.command)
        self.is_stopping = False
        self._patience.stop()
        self._timer.start()
        self.followed.emit()
        self.looked.emit()

    def rest(self) -> None:
        """Look no more: the process has ended."""
        self._timer.stop()

    def stop(self) -> None:
        """Ask the process to end; kill it where it was asked before, or where there is no patience."""
        if self.job is None:
            return
        if self.is_stopping or not self._patience.interval():
            self.is_stopping = True
            self.kill()
            return
        self.is_stopping = True
        self.job.ask_to_stop()
        self._patience.start()
        self.looked.emit()

    def kill(self) -> None:
        """End the process at once, with all that it started."""
        if self.job is not None:
            self.job.kill()
        self.looked.emit()


class ProcessPanel(QWidget):
    """Two folders above, buttons and a bar below what a process needs to know.

    Parameters
    ----------
    settings : QWidget
    folder, out : PathField
    out_title : str
    buttons : sequence of QPushButton
        Start, stop, and perhaps resume.
    """

    proposed = Signal()  # the button for a new folder was pressed

    def __init__(
        self,
        settings: QWidget,
        folder: PathField,
        out: PathField,
        out_title: str,
        buttons: Sequence[QPushButton],
    ) -> None:
        super().__init__()
        self.settings, self.folder, self.out = settings, folder, out
        self.start, self.stop, *self._others = buttons
        self.new_out = QToolButton()
        self.new_out.setText("+")
        self.new_out.setToolTip("A new folder, beside the training folder")
        self.new_out.clicked.connect(self.proposed)
        self.bar = QProgressBar()
        out.row.addWidget(self.new_out)
        rows = form()
        rows.addRow("Training folder", folder)
        rows.addRow(out_title, out)
        stacked(self, rows, settings, beside(*buttons), self.bar)

    def show_state(self, state: ProcessState) -> None:
        """Bring folders, buttons and bar in line with a state."""
        for field, path in ((self.folder, state.folder), (self.out, state.out)):
            field.show_path(path)
        self.start.setEnabled(not state.is_busy)
        self.stop.setEnabled(state.is_alive)
        for resume in self._others:
            self.stop.setText("Stop now" if state.is_alive and state.is_stopping else "Stop")
            resume.setEnabled(state.can_resume)
        for part in (self.folder, self.out, self.settings):
            part.setEnabled(not state.is_busy)
        self.bar.setVisible(state.shows_bar)
        self.bar.setRange(0, 0 if state.done is None else 1000)
        self.bar.setValue(round(1000 * (state.done or 0)))


class PathField(QWidget):
    """A folder, typed or chosen; or a table, where ``table`` is True."""

    changed = Signal()  # another path was typed or chosen

    def __init__(self, title: str, tip: str, *, table: bool = False) -> None:
        super().__init__()
        self._title, self._table = title, table
        self.field = QLineEdit()
        self.field.setToolTip(tip)
        browse = QToolButton()
        browse.setText("…")
        browse.setToolTip(tip)
        self.row = QHBoxLayout(self)
        self.row.setContentsMargins(0, 0, 0, 0)
        self.row.addWidget(self.field, stretch=1)
        self.row.addWidget(browse)
        self._former = ""
        self.field.editingFinished.connect(self._finish)
        browse.clicked.connect(self._browse)

    @property
    def path(self) -> Path | None:
        """The path; None where the field is empty."""
        text = self.field.text().strip()
        return Path(text).expanduser().absolute() if text else None

    def choose(self, path: Path | str) -> None:
        """Put a path into the field, as if it were typed."""
        self._write(path)
        self._finish()

    def show_path(self, path: Path | None) -> None:
        """Show a path that was chosen elsewhere."""
        if path is not None and path != self.path:
            self._write(path)
            self._former = self.field.text()

    def _write(self, path: Path | str) -> None:
        self.field.setText(str(path))
        self.field.setCursorPosition(len(str(path)))

    def _finish(self) -> None:
        if self.field.text() != self._former:
            self._former = self.field.text()
            self.changed.emit()

    def _browse(self) -> None:
        if self._table:
            path, _ = QFileDialog.getOpenFileName(self, self._title, self.field.text(), "Tables (*.csv)")
        else:
            path = QFileDialog.getExistingDirectory(self, self._title, self.field.text())
        if path:
            self.choose(path)
