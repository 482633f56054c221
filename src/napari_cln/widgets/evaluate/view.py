"""The form and buttons of the Evaluate dock, and the first screen of a report."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QLabel, QListWidget, QWidget

from ...study.config import EvaluationSettings
from ..common.form import SettingsForm
from ..common.model_choice import ModelChoice
from ..common.number_field import NumberField
from ..common.parts import Signal, button, small, stacked, unbroken
from ..common.process_panel import PathField, ProcessPanel
from .session import EvaluateState, ReportState

FIRST = ("model", "split", "data", "prevalence")
SPLITS = ("test", "validation", "train", "all")
TITLES = {
    "split": "Cases",
    "data": "What they are",
    "compare_with": "Second model",
    "cutoff": "Own cutoff",
    "iou_threshold": "IoU threshold",
}


class EvaluateView(QWidget):
    """Shows an :class:`EvaluateState`."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = PathField("Training folder", "Folder with the frames, masks and truths to judge by")
        self.out = PathField(
            "Folder of the report", "New folder for the report, its table and the model's masks"
        )
        self.form = EvaluationForm()
        self.start = button("Evaluate", "Predict all cases of the set and write the report", primary=True)
        self.stop = button("Stop", "End the evaluation; nothing is reported")
        self.process = ProcessPanel(self.form, self.folder, self.out, "Report", (self.start, self.stop))
        self.report = ReportView()
        stacked(self, self.process, self.report).addStretch()

    def show_state(self, state: EvaluateState) -> None:
        """Bring every field in line with a state."""
        self.process.show_state(state.process)
        self.report.show_state(state.report)


class PercentField(NumberField):
    """A share in percent, or none."""

    def __init__(self, none: str) -> None:
        super().__init__(limits=(0.01, 99.99), suffix=" %", none=none)

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
    readers, reports : PathField
        Tables.
    prevalence, cutoff : PercentField
        An empty field stands for none.
    fields : magicgui container
        The other fields of :class:`EvaluationSettings`, with their defaults, limits and tooltips.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model = ModelChoice()
        self.compare_with = ModelChoice(none="no second model")
        self.readers = PathField(
            "Calls of readers", "Table with a column id, and one of calls for each reader (CSV)", table=True
        )
        self.reports = PathField(
            "Verdicts of the original reports", "Table that `napari-cln reports` wrote (CSV)", table=True
        )
        self.prevalence, self.cutoff = PercentField("not given"), PercentField("as below")
        names = ("model", "prevalence", "compare_with", "readers", "reports", "cutoff")
        self._form = SettingsForm(
            EvaluationSettings,
            first=FIRST,
            more="Beside the model, cutoff and intervals",
            own={name: getattr(self, name) for name in names},
            titles=TITLES,
            choices={"split": SPLITS},
        )
        self.fields = self._form.fields
        stacked(self, self._form)

    @property
    def value(self) -> EvaluationSettings:
        """The settings as they stand.

        Raises
        ------
        InputError
            If a number was refused by its field.
        RunError
            If one is out of its limits.
        """
        settings: EvaluationSettings = self._form.value(
            model=self.model.value or EvaluationSettings().model,
            compare_with=self.compare_with.value or "",
            readers=str(self.readers.path or ""),
            reports=str(self.reports.path or ""),
            prevalence=self.prevalence.share,
            cutoff=self.cutoff.share,
        )
        return settings


class ReportView(QWidget):
    """The first screen of a report, a button that opens it, and its worst frames."""

    frame_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.limits, self.sentences, self.figures = (
            QLabel("For research, not for diagnosis."),
            QLabel(),
            QLabel(),
        )
        self.limits.setStyleSheet("font-weight: 600;")
        self.notes = small()
        self.open = button("Open report", "The whole report in the browser: tables, curves, gallery")
        self.worst_title = QLabel("Worst frames: click one to see both outlines")
        self.worst = QListWidget()
        self.worst.setMinimumHeight(160)
        self.ids: tuple[str, ...] = ()
        self._path: Path | None = None
        words = (self.limits, self.sentences, self.figures)
        stacked(self, *words, self.open, self.worst_title, self.worst, self.notes)
        for label in (*words, self.worst_title):
            label.setWordWrap(True)
        self.open.clicked.connect(self.open_report)
        self.worst.itemClicked.connect(lambda _: self.frame_chosen.emit(self.ids[self.worst.currentRow()]))

    def show_state(self, state: ReportState) -> None:
        """Show the first screen of a report, and its worst frames when they are read; or nothing."""
        self._path = state.path
        self.setVisible(state.path is not None)
        self.sentences.setText(state.sentences)
        self.figures.setText(unbroken(state.figures))
        self.notes.setText(state.notes)
        if (ids := tuple(frame.id for frame in state.worst)) != self.ids:
            self.ids = ids
            self.worst.clear()
            self.worst.addItems([frame.words for frame in state.worst])
        for shown in (self.worst_title, self.worst):
            shown.setVisible(bool(ids))

    def open_report(self) -> None:
        """Open the report in the browser."""
        if self._path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._path / "report.html")))
