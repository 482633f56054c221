"""What an evaluation gave: its first screen, the report, and the frames on which the model does worst."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QLabel, QListWidget, QVBoxLayout, QWidget
from superqt.utils import create_worker

from ...errors import ClnError
from ...study.cases import CaseRow, read_rows
from ..common.dock import Signal, button, small
from ..common.tasks import Failure

MOST = 50
NOT_FOR_DIAGNOSIS = "For research, not for diagnosis."


def is_finished(report: Path) -> bool:
    """Whether a folder holds a finished report: its last file is there."""
    return (report / "report.json").is_file()


@dataclass(frozen=True, kw_only=True)
class WorstFrame:
    """A frame with a low Dice, and what went wrong with it."""

    id: str
    words: str


def worst_frames(report: Path) -> list[WorstFrame] | Failure:
    """The frames of a report's set with the lowest Dice, the worst first.

    Returns
    -------
    list of WorstFrame or Failure
        Frames without a mask of both are left out: they have no Dice.
    """
    try:
        rows = read_rows(report / "cases.csv")
        split = _read(report)["split"]
    except (ClnError, OSError, ValueError, KeyError, TypeError) as error:
        return Failure(error)
    frames: dict[str, list[CaseRow]] = {}
    for row in rows:
        if row.frame_dice is not None and split in (row.split, "all"):
            frames.setdefault(row.id, []).append(row)
    ranked = sorted(frames.values(), key=lambda rows: (rows[0].frame_dice, rows[0].id))
    return [WorstFrame(id=rows[0].id, words=_words(rows)) for rows in ranked[:MOST]]


def _words(rows: list[CaseRow]) -> str:
    nodes = [row for row in rows if row.kind == "node"]
    wrong = [
        *(["no node here, one outlined"] if not nodes else []),
        *(["missed"] if any(row.missed for row in nodes) else []),
        *(["another structure outlined"] if any(row.wrong_node for row in nodes) else []),
    ]
    truths: list[str] = sorted({row.truth for row in nodes}) or ["no node"]
    parts = [f"Dice {rows[0].frame_dice:.2f}", *wrong, " and ".join(truths)]
    return " · ".join([*parts, f"score {rows[0].frame_score:.2f}"])


def _read(report: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((report / "report.json").read_bytes())
    return said


class ReportView(QWidget):
    """The first screen of a report, a button that opens it, and its worst frames."""

    frame_chosen = Signal(str)
    failed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.limits = QLabel(NOT_FOR_DIAGNOSIS)
        self.limits.setStyleSheet("font-weight: 600;")
        self.sentences = QLabel()
        self.figures = QLabel()
        self.notes = small()
        self.open = button("Open report", "The whole report in the browser: tables, curves, gallery")
        self.worst_title = QLabel("Worst frames: click one to see both outlines")
        self.worst = QListWidget()
        self.worst.setMinimumHeight(160)
        self.ids: tuple[str, ...] = ()
        self._report: Path | None = None
        self._worker: Any = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.limits, self.sentences, self.figures, self.open, self.worst_title, self.worst):
            layout.addWidget(part)
        layout.addWidget(self.notes)
        for label in (self.limits, self.sentences, self.figures, self.worst_title):
            label.setWordWrap(True)
        self.open.clicked.connect(self.open_report)
        self.worst.itemClicked.connect(self._choose)
        self.clear()

    def clear(self) -> None:
        """Show nothing: a former result never stands beside a new run."""
        self._report, self.ids = None, ()
        self.worst.clear()
        self.setVisible(False)

    def show_report(self, report: Path) -> None:
        """Show the first screen of a finished report; its worst frames follow when they are read."""
        try:
            said = _read(report)
            figures = "\n".join(f"{t['name']}: {t['value']}  ({t['detail']})" for t in said["tiles"])
            sentences, notes = " ".join(said["sentences"]), "\n".join(said["notes"][1:])
        except (OSError, ValueError, KeyError, TypeError):
            self.clear()
            self.failed.emit(f"{report.name} holds no readable report. Evaluate again.")
            return
        self.sentences.setText(sentences)
        self.figures.setText(figures)
        self.notes.setText(notes)
        self.setVisible(True)
        if report != self._report:
            self._report, self.ids = report, ()
            self.worst.clear()
            self._worker = create_worker(worst_frames, report, _start_thread=False)
            self._worker.returned.connect(lambda found: self._fill(report, found))
            self._worker.start()

    def open_report(self) -> None:
        """Open the report in the browser."""
        if self._report is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._report / "report.html")))

    def _fill(self, report: Path, found: list[WorstFrame] | Failure) -> None:
        if report != self._report:
            return
        if isinstance(found, Failure):
            self.failed.emit(f"The worst frames of {report.name} can't be listed. {found.error}")
            return
        self.ids = tuple(frame.id for frame in found)
        self.worst.addItems([frame.words for frame in found])
        for shown in (self.worst_title, self.worst):
            shown.setVisible(bool(found))

    def _choose(self) -> None:
        self.frame_chosen.emit(self.ids[self.worst.currentRow()])
