"""Which training folder, and which folder of a run; kept for the next time napari opens."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QToolButton, QWidget

from ...disk.atomic import write_atomically
from ...disk.user import config_folder
from .dock import Signal

_MEMORY = "train.json"


class Place(QWidget):
    """A folder, typed or chosen."""

    changed = Signal()

    def __init__(self, title: str, tip: str) -> None:
        super().__init__()
        self._title = title
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
        """The folder; None where the field is empty."""
        text = self.field.text().strip()
        return Path(text).expanduser().absolute() if text else None

    def choose(self, path: Path | str) -> None:
        """Put a folder into the field."""
        self.field.setText(str(path))
        self.field.setCursorPosition(len(str(path)))
        self._finish()

    def _finish(self) -> None:
        if self.field.text() != self._former:
            self._former = self.field.text()
            self.changed.emit()

    def _browse(self) -> None:
        path = QFileDialog.getExistingDirectory(self, self._title, self.field.text())
        if path:
            self.choose(path)


def next_run(folder: Path) -> Path:
    """A folder beside the training folder that holds no run yet."""
    number = 1
    while (run := folder.with_name(f"{folder.name}-run-{number}")).exists():
        number += 1
    return run


def remember_places(folder: Path, run: Path) -> None:
    """Keep the two folders in the user's own settings, which are never part of a study."""
    with suppress(OSError):
        config_folder().mkdir(parents=True, exist_ok=True)
        places = {"folder": str(folder), "run": str(run)}
        write_atomically(config_folder() / _MEMORY, json.dumps(places).encode())


def remembered_places() -> tuple[Path, Path] | None:
    """The folders of the run that was started last; None where they are gone."""
    try:
        places = json.loads((config_folder() / _MEMORY).read_bytes())
        folder, run = Path(places["folder"]), Path(places["run"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return (folder, run) if run.is_dir() else None
