"""What to evaluate, and how: the form of the Evaluate dock."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog, QLabel, QVBoxLayout, QWidget
from superqt import QCollapsible

from ...study.config import EvaluationConfig
from ..common.dock import form
from ..common.form import settings_form
from ..common.model_choice import ModelChoice
from ..common.number_field import NumberField, check_numbers
from ..common.places import Place

FIRST = ("split", "data")
OWN = ("prevalence", "cutoff")
SPLITS = ("test", "validation", "train", "all")


class FilePlace(Place):
    """A table, typed or chosen; there need be none."""

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, self._title, self.field.text(), "Tables (*.csv)")
        if path:
            self.choose(path)


class Share(NumberField):
    """A share in percent, or none."""

    def __init__(self, title: str, none: str) -> None:
        super().__init__(title=title, limits=(0.01, 99.99), suffix=" %", none=none)

    @property
    def share(self) -> float | None:
        """The share, in (0, 1); None where the field is empty."""
        percent = self.value()
        return None if percent is None else round(percent / 100, 12)


class EvaluationForm(QWidget):
    """The model, the cases and their meaning in sight; what stands beside the model folded away.

    Attributes
    ----------
    model, compare_with : ModelChoice
    readers, reports : FilePlace
    prevalence, cutoff : Share
        In percent; an empty field stands for none.
    fields : magicgui container
        The other fields of :class:`EvaluationConfig`, with their defaults, limits and tooltips.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fields = settings_form(EvaluationConfig, choices={"split": SPLITS}, leave_out=OWN)
        self.model = ModelChoice()
        self.compare_with = ModelChoice(none="no second model")
        self.readers = FilePlace(
            "Calls of readers", "Table with a column id, and one of calls for each reader (CSV)"
        )
        self.reports = FilePlace(
            "Verdicts of the original reports", "Table that `napari-cln reports` wrote (CSV)"
        )
        self.prevalence = Share("Prevalence", "not given")
        self.prevalence.setToolTip("Share of metastatic nodes in your clinic, for PPV and NPV")
        self.cutoff = Share("Own cutoff", "as below")
        self.cutoff.setToolTip("A cutoff of your own on the malignancy score")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self._first())
        more = QCollapsible("Beside the model, cutoff and intervals")
        more.addWidget(self._others())
        layout.addWidget(more)

    @property
    def value(self) -> EvaluationConfig:
        """The settings as they stand; InputError where a number was refused."""
        check_numbers(self)
        return EvaluationConfig(
            **self.fields.asdict(), prevalence=self.prevalence.share, cutoff=self.cutoff.share
        )

    @property
    def arguments(self) -> list[str]:
        """The options of ``napari-cln evaluate`` for what is not the default."""
        usual = asdict(EvaluationConfig())
        chosen: dict[str, Any] = {"model": self.model.value, "compare_with": self.compare_with.value}
        chosen |= {"readers": self.readers.path, "reports": self.reports.path}
        chosen |= {name: value for name, value in asdict(self.value).items() if value != usual[name]}
        return [f"--{name.replace('_', '-')}={value}" for name, value in chosen.items() if value is not None]

    def _first(self) -> Any:
        rows = form()
        rows.addRow("Model", self.model)
        for name in FIRST:
            self._add(rows, name)
        rows.addRow("Prevalence", self.prevalence)
        return rows

    def _others(self) -> QWidget:
        rows = form()
        rows.addRow("Second model", self.compare_with)
        rows.addRow("Readers", self.readers)
        rows.addRow("Reports", self.reports)
        rows.addRow("Own cutoff", self.cutoff)
        for field in fields(EvaluationConfig):
            if field.name not in (*FIRST, *OWN):
                self._add(rows, field.name)
        inside = QWidget()
        inside.setLayout(rows)
        return inside

    def _add(self, rows: Any, name: str) -> None:
        widget = self.fields[name]
        title = QLabel({"split": "Cases", "data": "What they are"}.get(name, widget.label.capitalize()))
        if isinstance(widget.native, NumberField):
            widget.native.title = title.text()
        for part in (title, widget.native):
            part.setToolTip(widget.tooltip or "")
        rows.addRow(title, widget.native)


def next_report(folder: Path) -> Path:
    """A folder beside the training folder that holds no report yet."""
    number = 1
    while (out := folder.with_name(f"{folder.name}-report-{number}")).exists():
        number += 1
    return out
