"""What a run gave: its figures, how it compares with the model in use, and its promotion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from ...errors import WeightsError
from ...models.library import model_in_use, promotions, read_card
from ...models.promotion import promote, undo_promotion
from ...types import Estimate
from ..common.dock import MessageLine, Signal, button, small
from ..common.model_choice import offer_everywhere
from .progress import Progress

__all__ = ["Outcome", "compared"]


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
        self.show_run(None, Progress())

    def show_run(self, run: Path | None, progress: Progress) -> None:
        """Show what a finished run gave; of any other run, the model in use alone."""
        ended = run is not None and progress.state == "ended"
        self._model = run / "model.safetensors" if run is not None and ended else None
        for part in (self.title, self.figures, self.comparison, self.promote):
            part.setVisible(ended)
        self.figures.setText("\n".join(_shorten(progress.figures)) or "No figure: no frame could give one.")
        words, mood = compared(progress.comparison)
        self.comparison.setText(words)
        self.comparison.setStyleSheet(f"color: {MessageLine.COLOURS[mood]};")
        self._show_use()

    def promote_model(self) -> None:
        """Put the model of the run into use; its numbers stand above the button."""
        if self._model is None:
            return
        before = model_in_use()
        try:
            card = promote(self._model)
        except WeightsError as error:
            self.said.emit(str(error), "bad")
            return
        offer_everywhere(card.name, before)
        self.said.emit(f"{card.model_id} is in use now, instead of {before}.", "good")
        self._show_use()

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


def compared(event: dict[str, Any] | None) -> tuple[str, str]:
    """A run's comparison in words, and their mood.

    Parameters
    ----------
    event : dict or None
        As :func:`napari_cln.training.run.train` yields it; None where the run made none.
    """
    if event is None:
        return "This run was not compared with another model.", "info"
    other = event.get("with", "another model")
    if "message" in event:
        return f"Not compared with {other}: {event['message']}", "bad"
    lines, moods = [], set()
    for key, name in (("dice", "mean Dice"), ("auc", "AUC")):
        try:
            gap = Estimate(**event[key])
            low, high = float(gap.low), float(gap.high)
            lines.append(f"{name} {gap.value:+.3f} (95 % interval {low:+.3f} to {high:+.3f}, n = {gap.n})")
        except (KeyError, TypeError, ValueError):
            lines.append(f"{name}: too few frames to compare")
            continue
        moods.add("good" if low > 0 else "bad" if high < 0 else "info")
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
        f"Compared with {other} on the same validation frames, new − in use:\n"
        + "\n".join(lines)
        + f"\n{verdict} They also chose the new model's epoch, which flatters it a little.",
        mood,
    )
