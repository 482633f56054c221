"""What was found in the frame in view: score, label, nodes with their sizes; and over a cine."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from ..._layers.predictions import TEXT_COLOURS
from ...study.reading import Reading
from ...types import UNLIKE_TRAINING_DATA, Measurement
from ..common.dock import MessageLine, Signal, small

if TYPE_CHECKING:
    from ..common.plot import ScorePlot


class Verdict(QWidget):
    """Panel with the numbers of one frame, and a plot where there are several."""

    frame_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.headline = QLabel()
        self.headline.setWordWrap(True)
        self.unlike = QLabel(UNLIKE_TRAINING_DATA)
        self.unlike.setWordWrap(True)
        self.unlike.setStyleSheet(f"color: {MessageLine.COLOURS['bad']};")
        self.nodes = QLabel()
        self.nodes.setTextFormat(Qt.TextFormat.RichText)
        self.nodes.setWordWrap(True)
        self.caveat = small("For research, not for diagnosis.")
        self.plot: ScorePlot | None = None
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 6, 0, 0)
        for widget in (self.headline, self.unlike, self.nodes, self.caveat):
            self._layout.addWidget(widget)
        self.clear()

    def clear(self) -> None:
        """Show nothing."""
        self.show_readings({}, 0, 1)

    def show_readings(
        self, readings: Mapping[int, Reading], index: int, n_frames: int, unlike: Set[int] = frozenset()
    ) -> None:
        """Show the reading of one frame, and the scores of all where there are several.

        The frames in ``unlike`` are unlike the training data, which stands below the score.
        """
        reading = readings.get(index)
        self.unlike.setVisible(reading is not None and index in unlike)
        for widget in (self.headline, self.nodes, self.caveat):
            widget.setVisible(reading is not None)
        if reading is not None:
            self._show_one(reading)
        if n_frames > 1 and readings and self.plot is None:
            from ..common.plot import ScorePlot  # matplotlib, when there is something to plot

            self.plot = ScorePlot()
            self.plot.frame_chosen.connect(self.frame_chosen)
            self._layout.addWidget(self.plot)
        if self.plot is not None:
            self.plot.setVisible(n_frames > 1 and bool(readings))
            self.plot.show_readings(readings, n_frames)
            self.plot.show_position(index)

    def _show_one(self, reading: Reading) -> None:
        self.headline.setText(f"{reading.malignancy:.2f}  {reading.label}")
        style = f"font-size: 20px; color: {TEXT_COLOURS[reading.label]};"
        if style != self.headline.styleSheet():  # Qt takes some milliseconds to apply one
            self.headline.setStyleSheet(style)
        rows = "".join(
            f"<p style='margin: 2px 0'>{node} · {score:.2f} {reading.label_of(score)}<br>"
            f"<span style='color: #9aa5b1'>{_size(size)}</span></p>"
            for node, (score, size) in enumerate(
                zip(reading.node_scores, reading.sizes, strict=True), start=1
            )
        )
        self.nodes.setText(rows)
        self.nodes.setVisible(bool(rows))


def _size(size: Measurement) -> str:
    """Short × long axis and their ratio."""
    if size.short_axis_mm is not None and size.long_axis_mm is not None:
        axes = f"{size.short_axis_mm:.1f} × {size.long_axis_mm:.1f} mm"
    else:
        axes = f"{size.short_axis_px:.0f} × {size.long_axis_px:.0f} px"
    return axes if size.axis_ratio is None else f"{axes}, L/S {size.axis_ratio:.1f}"
