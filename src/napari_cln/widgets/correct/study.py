"""Choice of the training folder and the reader, and an offer of strokes that a crash left behind."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from qtpy.QtWidgets import QCheckBox, QFileDialog, QLineEdit, QWidget
from superqt import QElidingLabel

from ...disk.atomic import write_atomically
from ...disk.user import config_folder
from ...errors import ClnError
from ...folder.autosave import Stroke
from ...folder.dataset import TrainingFolder
from ..common.parts import Signal, beside, button, form, small, stacked
from .filing import StrokeOffer

READER_FILE = "reader"


class StudyRow(QWidget):
    """Training folder and reader."""

    opened = Signal()
    reader_changed = Signal()
    failed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.folder: TrainingFolder | None = None
        self.title = QElidingLabel("none yet")
        self.open_button = button("Open…", "Open a training folder")
        self.create_button = button("New…", "Make a new training folder in an empty place")
        self.reader = QLineEdit(_last_reader())
        self.reader.setPlaceholderText("your name or initials")
        self.second = QCheckBox("second, blind")
        self.second.setToolTip(
            "A second reading: frames of the training folder open without their mask. What you say is kept "
            "beside what the folder has, never in its place."
        )
        rows = form()
        rows.addRow("Folder", beside(self.title, self.open_button, self.create_button, wide=self.title))
        rows.addRow("Reader", beside(self.reader, self.second, wide=self.reader))
        self.setLayout(rows)
        self.open_button.clicked.connect(self.choose)
        self.create_button.clicked.connect(self._choose_new)
        self.reader.editingFinished.connect(self._remember)

    @property
    def who(self) -> str:
        """The reader's name; empty as long as none was typed."""
        return self.reader.text().strip()

    def ask_name(self, asked: bool = True) -> None:
        """Mark the reader's field: nothing is saved without a name."""
        style = "border: 2px solid #ff6b5e;" if asked else ""
        if style != self.reader.styleSheet():
            self.reader.setStyleSheet(style)

    def open_folder(self, path: str | Path) -> None:
        """Open a training folder; later strokes are saved there."""
        self._take(path, create=False)

    def create_folder(self, path: str | Path) -> None:
        """Make a training folder and open it."""
        self._take(path, create=True)

    def _take(self, path: str | Path, *, create: bool) -> None:
        try:
            self.folder = TrainingFolder.create(path) if create else TrainingFolder.open(path)
        except ClnError as error:
            self.failed.emit(str(error))
            return
        self.title.setText(self.folder.path.name)
        self.title.setToolTip(str(self.folder.path))
        self.opened.emit()

    def choose(self) -> None:
        """Ask for a training folder, and open it."""
        path = QFileDialog.getExistingDirectory(self, "Training folder")
        if path:
            self.open_folder(path)

    def _choose_new(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "New training folder", "training-folder")
        if path:
            self.create_folder(path)

    def _remember(self) -> None:
        with suppress(OSError):  # a name that has to be typed again is no harm
            config_folder().mkdir(parents=True, exist_ok=True)
            write_atomically(config_folder() / READER_FILE, self.reader.text().strip().encode())
        self.reader_changed.emit()


class Recovery(QWidget):
    """Offer of strokes that were never saved. Whoever declines can have them back for a day."""

    restored = Signal(object)
    discarded = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.stroke: Stroke | None = None
        self.text = small()
        self.restore = button("Restore", "Put the strokes back on this frame; Ctrl+Z takes them off again")
        self.discard = button("Discard", "Not now; they can be had back for one day")
        stacked(self, self.text, beside(self.restore, self.discard))
        self.restore.clicked.connect(lambda: self.restored.emit(self.stroke))
        self.discard.clicked.connect(lambda: self.discarded.emit(self.stroke))
        self.offer(StrokeOffer())

    def offer(self, offer: StrokeOffer) -> None:
        """Offer the strokes of the frame in view, and say that other frames have some."""
        self.stroke, n_else = offer.stroke, offer.n_elsewhere
        lines = []
        if self.stroke is not None:
            fate = "discarded, and are kept for one day" if self.stroke.discarded else "never saved"
            who = self.stroke.who or "somebody without a name"
            since = self.stroke.time[:16].replace("T", " ")
            lines.append(f"Strokes of {who} from {since} UTC on this frame were {fate}.")
        if n_else:
            frames = "1 other frame has" if n_else == 1 else f"{n_else} other frames have"
            lines.append(f"{frames} strokes that were never saved. They are offered when it is in view.")
        self.text.setText("\n".join(lines))
        self.restore.setVisible(self.stroke is not None)
        self.discard.setVisible(self.stroke is not None and not self.stroke.discarded)
        self.setVisible(bool(lines))


def _last_reader() -> str:
    try:
        return (config_folder() / READER_FILE).read_text(encoding="utf-8").strip()[:60]
    except (OSError, UnicodeDecodeError):
        return ""
