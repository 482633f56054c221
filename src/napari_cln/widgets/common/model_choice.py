"""Choice of a model, with what its card says. Reads cards only: no torch."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QToolButton,
    QWidget,
)

from ...errors import WeightsError
from ...models.card import ModelCard
from ...models.library import known_models, model_in_use, read_card
from .parts import Signal, beside, folded, small, stacked


def card_text(card: ModelCard) -> str:
    """Card in a few lines: training data, figures, operating point."""
    data = ", ".join(f"{source.name} ({source.n:,} frames)" for source in card.trained_on)
    lines = [f"trained on: {data or 'not stated'}"]
    lines += [str(figure) for figure in card.figures[:6]]
    lines += [f"cutoff {card.cutoff:.2f}: {card.cutoff_from}", card.model_id]
    return "\n".join(lines)


class _FreshBox(QComboBox):
    """A combo box that looks for new entries whenever it is opened."""

    opened = Signal()

    def showPopup(self) -> None:  # Qt's name
        self.opened.emit()
        super().showPopup()


class ModelChoice(QWidget):
    """Known models by name, or a file; below it the limits, and the card on request.

    Parameters
    ----------
    none : str, optional
        What to call the choice of no model, which is then the first; there is none by default.
    """

    changed = Signal()
    failed = Signal(str)

    def __init__(self, none: str | None = None) -> None:
        super().__init__()
        self._none = none
        self._told: set[str] = set()  # why models that are there are not offered
        self.names = _FreshBox()
        self.names.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        browse = QToolButton()
        browse.setText("…")
        browse.setToolTip("Choose a model file (.safetensors, with its .json card beside it)")
        self.limits = small()
        self._card = small()
        self._details = folded("What this model is", self._card)
        names = beside(self.names, browse, wide=self.names)
        stacked(self, names, self.limits, self._details, spacing=4)
        browse.clicked.connect(self._browse)
        self.names.currentIndexChanged.connect(lambda _: self._show())
        self.names.opened.connect(self.refresh)
        self.refresh()
        if none is None and (index := self.names.findData(model_in_use())) > 0:
            self.names.setCurrentIndex(index)

    @property
    def value(self) -> str | None:
        """Name of a known model or path of a file, for ``load_model``."""
        chosen: str | None = self.names.currentData()
        return chosen

    @property
    def card(self) -> ModelCard | None:
        """Card of the chosen model; None where there is none."""
        if self.value is None:
            return None
        try:
            return read_card(self.value)
        except WeightsError as error:
            self.failed.emit(str(error))
            return None

    def refresh(self) -> None:
        """List the known models again; a new one is offered at once, the choice is kept."""
        cards, faults = known_models()
        known = [card.name for card in cards]
        files = [self.names.itemData(i) for i in range(self.names.count())]
        files = [path for path in files if path and path.endswith(".safetensors")]
        chosen = self.value
        self.names.blockSignals(True)
        self.names.clear()
        if self._none is not None:
            self.names.addItem(self._none, None)
        for name in known:
            self.names.addItem(name, name)
        for path in files:
            self.names.addItem(Path(path).name, path)
        if chosen is not None:
            self.names.setCurrentIndex(max(self.names.findData(chosen), 0))
        self.names.blockSignals(False)
        self._show()
        for sentence in {str(fault) for fault in faults} - self._told:
            self._told.add(sentence)
            self.failed.emit(sentence)

    def choose(self, name_or_path: str) -> None:
        """Select a known model or add a file."""
        if self.names.findData(name_or_path) < 0:
            self.names.addItem(Path(name_or_path).name, name_or_path)
        self.names.setCurrentIndex(self.names.findData(name_or_path))

    def take_promotion(self, name: str, instead_of: str) -> None:
        """List the models anew, and choose the one in use where the former one was chosen."""
        had = self.value
        self.refresh()
        if had == instead_of:
            self.choose(name)

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Model file", "", "Model files (*.safetensors)")
        if path:
            self.choose(path)

    def _show(self) -> None:
        card = self.card
        if card is None:
            none = "No model chosen." if self._none is None else ""
            self.limits.setText(none if self.value is None else "This model can't be used.")
        else:
            self.limits.setText(card.limits)
            self._card.setText(card_text(card))
        self.limits.setVisible(bool(self.limits.text()))
        self._details.setVisible(card is not None)
        self.changed.emit()
