"""What a run gave: its figures, how it compares with the model in use, and its promotion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtWidgets import QHBoxLayout, QLabel, QMessageBox, QVBoxLayout, QWidget

from ...errors import WeightsError
from ...models.card import ModelComparison
from ...models.library import model_in_use, promotions, read_card
from ...models.promotion import doubts_about, promote, say_gap, undo_promotion
from ...training.run_folder import RunFolder
from ..common.dock import MessageLine, Signal, button, small
from ..common.model_choice import offer_everywhere
from .progress import RunProgress


class Outcome(QWidget):
    """Figures of the new model, and two buttons: into use, and back."""

    said = Signal(str, str)

    def __init__(self) -> None:
        super().__init__()
        self.title = QLabel("The new model")
        self.figures = small()
        self.comparison = QLabel()
        self.comparison.setWordWrap(True)
        self.promote = button("Promote", "Let Segment and Correct use this model from now on")
        self.undo = button("Undo promotion", "Put the model back into use that was so before")
        self.in_use = small()
        self._model: Path | None = None
        self._compared: ModelComparison | None = None
        pair = QHBoxLayout()
        pair.addWidget(self.promote)
        pair.addWidget(self.undo)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for part in (self.title, self.figures, self.comparison):
            layout.addWidget(part)
        layout.addLayout(pair)
        layout.addWidget(self.in_use)
        self.promote.clicked.connect(self.promote_model)
        self.undo.clicked.connect(self.undo_promotion)
        self.show_run(None, RunProgress())

    def show_run(self, run: RunFolder | None, progress: RunProgress) -> None:
        """Show what a finished run gave; of any other run, the model in use alone."""
        ended = run is not None and progress.state == "ended"
        self._model = run.model if run is not None and ended else None
        self._compared = progress.comparison
        for part in (self.title, self.figures, self.comparison, self.promote):
            part.setVisible(ended)
        self.figures.setText("\n".join(_shorten(progress.figures)) or "No figure: no frame could give one.")
        words, mood = compared(progress.comparison)
        self.comparison.setText(words)
        self.comparison.setStyleSheet(f"color: {MessageLine.COLOURS[mood]};")
        self._show_use()

    def promote_model(self) -> None:
        """Put the model of the run into use; where its numbers speak against it, only after a Yes."""
        if self._model is None:
            return
        before = model_in_use()
        try:
            doubts = doubts_about(read_card(self._model), self._compared)
            if doubts and not self._ask(doubts, before):
                self.said.emit(f"Not promoted. {before} stays in use.", "info")
                return
            card = promote(self._model, confirmed=True)
        except WeightsError as error:
            self.said.emit(str(error), "bad")
            return
        offer_everywhere(card.name, before)
        self.said.emit(f"{card.model_id} is in use now, instead of {before}.", "good")
        self._show_use()

    def _ask(self, doubts: str, in_use: str) -> bool:
        answer = QMessageBox.question(
            self,
            "Promote?",
            f"{doubts}\n\nUse it all the same, in place of {in_use}? Undo promotion takes it back.",
            QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No,
            QMessageBox.StandardButton.No,
        )
        return answer == QMessageBox.StandardButton.Yes

    def undo_promotion(self) -> None:
        """Put the former model back into use."""
        before = model_in_use()
        try:
            name = undo_promotion()
        except WeightsError as error:
            self.said.emit(str(error), "bad")
            return
        offer_everywhere(name, before)
        self.said.emit(f"{name} is in use again. {before} stays in the list.", "good")
        self._show_use()

    def _show_use(self) -> None:
        name = model_in_use()
        self.in_use.setText(f"In use: {name}")
        self.undo.setEnabled(bool(promotions()))
        try:
            same = self._model is not None and read_card(self._model).sha256 == read_card(name).sha256
        except WeightsError:
            same = False
        self.promote.setEnabled(self._model is not None and not same)


def _shorten(figures: Sequence[str]) -> list[str]:
    """Figures, with the data that all of them were taken from named once."""
    parts = [figure.rpartition(": ") for figure in figures]
    data = {name.partition(" on ")[2] for name, _, _ in parts}
    if len(data) != 1 or not (shared := data.pop()):
        return list(figures)
    return [f"On {shared}:", *(f"{name.partition(' on ')[0]}: {value}" for name, _, value in parts)]


def compared(comparison: ModelComparison | None) -> tuple[str, str]:
    """A run's comparison in words, and their mood; None where the run made none."""
    if comparison is None:
        return "This run was not compared with another model.", "info"
    if comparison.message:
        return f"Not compared with {comparison.model}: {comparison.message}", "bad"
    lines, moods = [], set()
    for name, gap in (("mean Dice", comparison.dice), ("AUC", comparison.auc)):
        if gap is None:
            lines.append(f"{name}: too few frames to compare")
            continue
        lines.append(f"{name} {say_gap(gap)}")
        moods.add("good" if gap.low > 0 else "bad" if gap.high < 0 else "info")
    verdict = {
        frozenset({"good"}): "Better.",
        frozenset({"good", "info"}): "Better in one figure; the other shows no difference.",
        frozenset({"bad"}): "Worse.",
        frozenset({"bad", "info"}): "Worse in one figure; the other shows no difference.",
        frozenset({"good", "bad"}): "Better in one figure, worse in the other.",
        frozenset({"info"}): "These frames show no difference.",
    }.get(frozenset(moods), "These frames can't tell.")
    mood = "bad" if "bad" in moods else "good" if "good" in moods else "info"
    return (
        f"Compared with {comparison.model} on the same validation frames, new − in use:\n"
        + "\n".join(lines)
        + f"\n{verdict} They also chose the new model's epoch, which flatters it a little.",
        mood,
    )
