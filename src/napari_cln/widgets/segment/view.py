"""The fields and buttons of the Segment dock, and the numbers of the frame in view."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from magicgui.widgets import ComboBox
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QLabel,
    QProgressBar,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ...imaging.tracking import Track
from ...study.reading import Reading
from ...types import Doubt
from ..common.model_choice import ModelChoice
from ..common.number_field import NumberField
from ..common.parts import Signal, beside, button, device_box, form, small, stacked
from ..common.theme import set_role
from .measures_view import MeasuresView
from .session import SegmentState

if TYPE_CHECKING:
    from ..common.theme import ThemeColours
    from .score_plot import ScorePlot

LABEL_ROLES = {"malignant": "malignant", "benign": "benign"}


class SegmentView(QWidget):
    """Shows a :class:`SegmentState`.

    Parameters
    ----------
    images : callable
        Gives the Image layers to choose from.
    """

    def __init__(self, images: Callable[[], list[Image]]) -> None:
        super().__init__()
        self.image = ComboBox(choices=lambda _widget: images(), nullable=False)
        self.image.native.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.model = ModelChoice()
        self.device = device_box()
        self.device_reason, device = small(), QWidget()
        stacked(device, self.device, self.device_reason, spacing=4)
        self.cutoff = NumberField(title="Cutoff", limits=(0, 1), value=0.5, step=0.01)
        self.cutoff.setToolTip(
            "A score at or above it is called malignant. Moving it needs no new run, and holds for every "
            "score in the window until another model is chosen. Before, each has its own model's cutoff."
        )
        self.run_frame = button("Segment this frame", "The frame in view", primary=True)
        self.run_all = button("All frames", "Every frame of the cine")
        self.run_selected = button("Selected layers", "Every frame of every selected Image layer")
        self.progress = QProgressBar()
        self.stop = button("Cancel", "Stop after the batch at hand; what is done stays")
        self.verdict = Verdict()
        self.score_map = button(
            "Where the score comes from",
            "Lay a map over this frame: orange places add to the malignancy, blue ones take from it",
        )
        self.measures = MeasuresView()
        self._cutoff_shown = 0.5
        rows = form()
        rows.addRow("Image", self.image.native)
        rows.addRow("Model", self.model)
        rows.addRow("Device", device)
        rows.addRow("Cutoff", self.cutoff)
        column = stacked(
            self,
            rows,
            self.run_frame,
            beside(self.run_all, self.run_selected),
            beside(self.progress, self.stop, wide=self.progress),
            self.verdict,
            self.score_map,
            self.measures,
        )
        column.addStretch()

    def show_state(self, state: SegmentState) -> None:
        """Bring every field in line with a state."""
        if state.image in self.image.choices and self.image.value is not state.image:
            with self.image.changed.blocked():
                self.image.value = state.image
        self.device_reason.setText(state.device_reason)
        if state.cutoff != self._cutoff_shown:  # what is being typed, or was refused, stays
            self._cutoff_shown = state.cutoff
            self.cutoff.blockSignals(True)
            self.cutoff.setValue(state.cutoff)
            self.cutoff.blockSignals(False)
        for widget in (self.run_frame, self.run_selected, self.model, self.device):
            widget.setEnabled(not state.is_running)
        self.run_all.setEnabled(not state.is_running and state.image is not None and state.image.ndim == 3)
        self.score_map.setEnabled(not state.is_explaining)
        self.progress.setVisible(state.is_running)
        self.stop.setVisible(state.is_running)
        self.verdict.show_state(state)

    def show_progress(self, done: int, total: int) -> None:
        """Show how many frames of a run are done; a total of 0 stands for a model that is being loaded."""
        self.progress.setRange(0, total)
        self.progress.setValue(done)

    def wear(self, colours: ThemeColours) -> None:
        """Take the colours of a theme."""
        self.verdict.wear(colours)
        self.measures.wear(colours)


class Verdict(QWidget):
    """The numbers of one frame, and a plot where there are several."""

    frame_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.flag, self.headline, self.nodes = QLabel(), QLabel(), QLabel()
        set_role(self.flag, "bad")
        self.nodes.setTextFormat(Qt.TextFormat.RichText)
        self.caveat = small("For research, not for diagnosis.")
        self.copy = button("Copy as text", "A sentence on each node of this frame, for the text of a report")
        self.clip = ClipTable()
        self.clip.frame_chosen.connect(self.frame_chosen)
        self.plot: ScorePlot | None = None
        self._colours: ThemeColours | None = None
        self._reading: Reading | None = None
        self._layout: QVBoxLayout = stacked(
            self, self.flag, self.headline, self.nodes, self.copy, self.caveat, self.clip
        )
        self._layout.setContentsMargins(0, 6, 0, 0)
        for label in (self.flag, self.headline, self.nodes):
            label.setWordWrap(True)

    def wear(self, colours: ThemeColours) -> None:
        """Take the colours of a theme."""
        self._colours = colours
        if self.plot is not None:
            self.plot.wear(colours)
        if self._reading is not None:
            self._show_one(self._reading)

    def show_state(self, state: SegmentState) -> None:
        """Show the reading of the frame in view, and the scores of all where there are several."""
        self._reading = reading = None if state.index is None else state.readings.get(state.index)
        self.flag.setText("" if reading is None else reading.flag)
        self.flag.setVisible(bool(self.flag.text()))
        for widget in (self.headline, self.nodes, self.caveat):
            widget.setVisible(reading is not None)
        self.copy.setVisible(reading is not None and bool(reading.nodes))
        self.clip.show_tracks(state.tracks, state.n_frames)
        if reading is not None:
            self._show_one(reading)
        is_plotted = state.n_frames > 1 and bool(state.readings)
        if is_plotted and self.plot is None:
            self._add_plot()
        if self.plot is not None:
            self.plot.setVisible(is_plotted)
            self.plot.show_readings(state.readings, state.n_frames)
            if state.index is not None:
                self.plot.show_position(state.index)

    def _add_plot(self) -> None:
        from .score_plot import ScorePlot  # matplotlib, when there is something to plot

        self.plot = ScorePlot()
        self.plot.frame_chosen.connect(self.frame_chosen)
        self._layout.addWidget(self.plot)
        if self._colours is not None:
            self.plot.wear(self._colours)

    def _show_one(self, reading: Reading) -> None:
        self.headline.setText(f"{reading.malignancy:.2f}  {reading.label}")
        # What may be wrong is not said in the largest letters: the flag stands above it.
        self.headline.setStyleSheet("" if reading.flag else "font-size: 20px;")
        set_role(self.headline, "quiet" if reading.flag else LABEL_ROLES.get(reading.label, "info"))
        colour = f" style='color: {self._colours.quiet}'" if self._colours is not None else ""
        rows = "".join(
            f"<p style='margin: 2px 0'>{i} · {node.score:.2f} {reading.label_of(node.score)}<br>"
            f"<span{colour}>{node.fact}</span>"
            f"{_doubt_text(node.doubt, reading.flag)}</p>"
            for i, node in enumerate(reading.nodes, start=1)
        )
        self.nodes.setText(rows)
        self.nodes.setVisible(bool(rows))


class ClipTable(QTableWidget):
    """The nodes of a clip, a row each: one score, the frames in which it was found, and the best of them."""

    frame_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__(0, 4)
        self.setHorizontalHeaderLabels(["node", "clip's score", "found in", "best frame"])
        self.setToolTip("One score for each node of the clip. Choose a row to go to its best frame.")
        self.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self.setWordWrap(False)
        header, numbers = self.horizontalHeader(), self.verticalHeader()
        if header is not None and numbers is not None:
            for column in range(4):
                wide = column == 1
                header.setSectionResizeMode(
                    column, header.ResizeMode.Stretch if wide else header.ResizeMode.ResizeToContents
                )
            numbers.hide()
        self._tracks: tuple[Track, ...] = ()
        self.cellClicked.connect(lambda row, _column: self.frame_chosen.emit(self._tracks[row].best_frame))

    def show_tracks(self, tracks: tuple[Track, ...], n_frames: int) -> None:
        """List the nodes, the most suspicious first; hidden where there is none."""
        self.setVisible(bool(tracks))
        tracks = tuple(sorted(tracks, key=lambda one: -one.malignancy))
        if tracks == self._tracks:
            return
        self._tracks = tracks
        self.setRowCount(len(tracks))
        self.setFixedHeight(min(32 + 30 * len(tracks), 152))
        for row, one in enumerate(tracks):
            texts = (
                str(one.id),
                f"{one.malignancy:.2f} {one.label}",
                f"{len(one.frames)} of {n_frames}",
                str(one.best_frame),
            )
            for column, text in enumerate(texts):
                self.setItem(row, column, QTableWidgetItem(text))


def _doubt_text(doubt: Doubt | None, flag: str) -> str:
    """A doubt about a node on a line of its own; nothing where it is sure, or the frame's flag says it."""
    return "" if doubt is None or doubt.level == "sure" or str(doubt) == flag else f"<br>{doubt}"
