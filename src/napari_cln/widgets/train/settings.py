"""Form of a run's settings, made from the dataclass itself."""

from __future__ import annotations

from dataclasses import asdict, fields

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget
from superqt import QCollapsible

from ...models.library import model_in_use
from ...training.config import TrainConfig
from ..common.dock import form
from ..common.form import settings_form
from ..common.model_choice import ModelChoice
from ..common.number_field import NumberField, check_numbers

FIRST = ("recipe", "epochs", "folds")


class Settings(QWidget):
    """The settings of a run: a few in sight, the others folded away.

    Attributes
    ----------
    fields : magicgui container
        One widget a field of :class:`TrainConfig`, with its default, limits and tooltip.
    start_from, compare_with : ModelChoice
    """

    def __init__(self) -> None:
        super().__init__()
        self.fields = settings_form(TrainConfig)
        self.start_from = ModelChoice(none="new weights")
        self.compare_with = ModelChoice(none="no model")
        self.compare_with.choose(model_in_use())
        self._models = {"start_from": self.start_from, "compare_with": self.compare_with}
        first, others = form(), form()
        for field in fields(TrainConfig):
            widget = self.fields[field.name]
            shown = self._models.get(field.name, widget.native)
            title = QLabel(widget.label.capitalize())
            if isinstance(shown, NumberField):
                shown.title = title.text()
            for part in (title, shown):
                part.setToolTip(widget.tooltip or "")
            (first if field.name in (*FIRST, "start_from") else others).addRow(title, shown)
        inside = QWidget()
        inside.setLayout(others)
        more = QCollapsible("More settings")
        more.addWidget(inside)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(first)
        layout.addWidget(more)

    @property
    def value(self) -> TrainConfig:
        """The settings as they stand.

        Raises
        ------
        InputError
            If a number was refused by its field.
        RunError
            If one is out of its limits, or two contradict each other.
        """
        check_numbers(self)
        chosen = {name: model.value or "" for name, model in self._models.items()}
        return TrainConfig(**self.fields.asdict() | chosen)

    def show_record(self, record: TrainConfig) -> None:
        """Show the settings of a run's record."""
        for field in fields(TrainConfig):
            value = getattr(record, field.name)
            if (model := self._models.get(field.name)) is None:
                self.fields[field.name].value = value
            elif value:
                model.choose(value)
            else:
                model.names.setCurrentIndex(0)


def arguments_of(config: TrainConfig) -> list[str]:
    """The command line's options for settings that are not the default ones."""
    usual = asdict(TrainConfig())
    arguments: list[str] = []
    for name, value in asdict(config).items():
        option = "--" + name.replace("_", "-")
        if value is True:
            arguments.append(option)
        elif value != usual[name]:
            arguments += [option, str(value)]
    return arguments
