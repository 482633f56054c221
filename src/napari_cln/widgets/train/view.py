"""The fields and buttons of the Train dock, the curves of a run, and its model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from qtpy.QtWidgets import QLabel, QWidget

from ...models.library import model_in_use
from ...training.config import TrainConfig
from ..common.form import SettingsForm
from ..common.model_choice import ModelChoice
from ..common.parts import beside, button, small, stacked, unbroken
from ..common.process_panel import PathField, ProcessPanel
from ..common.reference_frames import WorstFrames
from ..common.theme import ThemeColours, paint_figure, set_role
from .progress import RunProgress
from .session import OutcomeState, TrainState

FIRST = ("recipe", "epochs", "folds", "start_from")
TITLES = {"synthetic": "Simulated frames", "unlabelled": "Unlabelled frames", "pseudo": "Pseudo-labels"}
# Okabe and Ito's colours, which the colour-blind tell apart
COLOURS = ("#f0e442", "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#0072b2", "#ffffff")
PANELS = (("loss", "loss (training)"), ("dice", "Dice (validation)"), ("auc", "AUC (validation)"))
MAX_POINTS = 400


class TrainView(QWidget):
    """Shows a :class:`TrainState`."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = PathField("Training folder", "Folder with the frames and masks that you saved")
        self.run = PathField("Folder of the run", "Folder for the new model, its log and its curves")
        self.settings = TrainForm()
        self.start = button("Start", "Check the folder, then train in a process of its own", primary=True)
        self.stop = button("Stop", "Finish the step under way and end; Resume goes on from there")
        self.resume = button("Resume", "Go on where the run ended, with the same settings")
        buttons = (self.start, self.stop, self.resume)
        self.process = ProcessPanel(self.settings, self.folder, self.run, "Run", buttons)
        self.curves = Curves()
        self.worst_title = QLabel("Worst validation frames")
        self.worst = WorstFrames()
        self.outcome = Outcome()
        self._look = -1
        parts = (self.process, self.curves, self.worst_title, self.worst, self.outcome)
        stacked(self, *parts).addStretch()

    def show_state(self, state: TrainState) -> None:
        """Bring every field in line with a state; curves are drawn where there is something new."""
        self.process.show_state(state.process)
        self.outcome.show_state(state.outcome)
        progress = state.progress
        for shown in (self.curves, self.worst_title, self.worst):
            shown.setVisible(bool(progress.folds))
        if progress.folds and state.look != self._look:
            self._look = state.look
            self.curves.show_progress(progress)
            if state.process.folder is not None and progress.fold in progress.folds:
                self.worst.show_frames(state.process.folder, progress.folds[progress.fold].worst)


class TrainForm(QWidget):
    """The settings of a run: a few in sight, the others folded away.

    Attributes
    ----------
    fields : magicgui container
        One widget a field of :class:`TrainConfig`, with its default, limits and tooltip.
    start_from, compare_with : ModelChoice
    """

    def __init__(self) -> None:
        super().__init__()
        self.start_from = ModelChoice(none="new weights")
        self.compare_with = ModelChoice(none="no model")
        self.compare_with.choose(model_in_use())
        self._models: dict[str, Any] = {"start_from": self.start_from, "compare_with": self.compare_with}
        self._form = SettingsForm(
            TrainConfig, first=FIRST, more="More settings", own=self._models, titles=TITLES
        )
        self.fields = self._form.fields
        stacked(self, self._form)

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
        config: TrainConfig = self._form.value(**{k: model.value or "" for k, model in self._models.items()})
        return config

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


class Curves(FigureCanvasQTAgg):  # type: ignore[misc]  # matplotlib chooses the base
    """Loss, Dice and AUC over the epochs: three panels, one line a fold."""

    def __init__(self) -> None:
        figure = Figure()
        super().__init__(figure)
        self.setFixedHeight(300)
        # Margins, titles and most ticks are fixed: to place them anew costs more than the drawing.
        figure.subplots_adjust(left=0.15, right=0.97, top=0.93, bottom=0.14, hspace=0.45)
        axes = figure.subplots(3, 1, sharex=True)
        self.panels = {name: panel for (name, _), panel in zip(PANELS, axes, strict=True)}
        self._colours: ThemeColours | None = None
        self._progress: RunProgress | None = None
        for (_, title), panel in zip(PANELS, axes, strict=True):
            panel.set_title(title, fontsize=8, loc="left", pad=2, y=1.0)
            panel.tick_params(labelsize=7, length=0)
            panel.xaxis.set_visible(panel is axes[-1])
            for side in panel.spines.values():
                side.set_visible(False)
        self.panels["loss"].yaxis.set_major_locator(MaxNLocator(3))
        axes[-1].xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes[-1].set_xlabel("epoch", fontsize=8)
        for name in ("dice", "auc"):
            self.panels[name].set_ylim(-0.03, 1.03)
            self.panels[name].set_yticks([0, 0.5, 1])
        self.draw()  # it looks for its fonts now, when the dock is made, and not while a run goes on

    def wear(self, colours: ThemeColours) -> None:
        """Take the colours of a theme."""
        self._colours = colours
        if self._progress is not None:
            self.show_progress(self._progress)
        paint_figure(self.figure, colours)
        self.draw_idle()

    def show_progress(self, progress: RunProgress) -> None:
        """Draw what is known of each fold."""
        self._progress = progress
        for name, panel in self.panels.items():
            for line in list(panel.lines):
                line.remove()
            for index, fold in sorted(progress.folds.items()):
                curve: dict[float, float] = getattr(fold, name)
                at = sorted(curve)
                at = sorted({*at[:: max(len(at) // MAX_POINTS, 1)], *at[-1:]})
                colour = COLOURS[index % len(COLOURS)]
                panel.plot(
                    at,
                    [curve[epoch] for epoch in at],
                    color=colour if self._colours is None else self._colours.readable(colour),
                    linewidth=1,
                    marker="o" if len(at) < 60 else "",
                    markersize=2.5,
                    label=f"fold {index + 1}",
                )
        loss = self.panels["loss"]
        loss.relim()
        loss.autoscale_view(scalex=False)
        loss.set_xlim(0, progress.n_epochs)
        if len(progress.folds) > 1:
            words = None if self._colours is None else self._colours.quiet
            loss.legend(fontsize=7, labelcolor=words, frameon=False, ncols=2, loc="upper right")
        elif (legend := loss.get_legend()) is not None:
            legend.remove()
        self.draw_idle()


class Outcome(QWidget):
    """Figures of the new model, and two buttons: into use, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.title, self.figures, self.comparison = QLabel("The new model"), small(), QLabel()
        self.comparison.setWordWrap(True)
        self.promote = button("Promote", "Let Segment and Correct use this model from now on")
        self.undo = button("Undo promotion", "Put the model back into use that was so before")
        self.in_use = small()
        pair = beside(self.promote, self.undo)
        stacked(self, self.title, self.figures, self.comparison, pair, self.in_use, spacing=4)

    def show_state(self, state: OutcomeState) -> None:
        """Show the outcome of a finished run; of any other run, the model in use alone."""
        for part in (self.title, self.figures, self.comparison, self.promote):
            part.setVisible(state.is_shown)
        figures = "\n".join(_shorten(state.figures)) or "No figure: no frame could give one."
        self.figures.setText(unbroken(figures))
        self.comparison.setText(unbroken(state.comparison))
        set_role(self.comparison, state.mood)
        self.in_use.setText(f"In use: {state.in_use}")
        self.promote.setEnabled(state.can_promote)
        self.undo.setEnabled(state.can_undo)


def _shorten(figures: Sequence[str]) -> list[str]:
    """Return figures with the data that all of them were taken from named once."""
    parts = [figure.rpartition(": ") for figure in figures]
    data = {name.partition(" on ")[2] for name, _, _ in parts}
    if len(data) != 1 or not (shared := data.pop()):
        return list(figures)
    return [f"On {shared}:", *(f"{name.partition(' on ')[0]}: {value}" for name, _, value in parts)]
