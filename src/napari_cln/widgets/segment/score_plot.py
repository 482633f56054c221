"""Malignancy, and a contrast agent's intensity, over the frames of a cine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure

from ...imaging.perfusion import TimeIntensity
from ...study.reading import Reading
from ...workflow.segment import draw_curve
from ..common.parts import Signal
from ..common.theme import ThemeColours, paint_figure


class ScorePlot(FigureCanvasQTAgg):  # type: ignore[misc]  # matplotlib chooses the base
    """Score of each frame, the cutoff, and where the slider stands. A click moves the slider."""

    frame_chosen = Signal(int)
    scores: dict[int, float]

    def __init__(self) -> None:
        self.scores = {}
        figure = Figure(layout="constrained")
        super().__init__(figure)
        self.setFixedHeight(150)
        self._axes = figure.add_subplot()
        self._line = self._axes.plot([], [], linewidth=1, marker="o", markersize=2.5)[0]
        self._cutoff = self._axes.axhline(0.5, linewidth=0.8, linestyle="--")
        self._here = self._axes.axvline(0, linewidth=0.8)
        self._axes.set_ylim(-0.03, 1.03)
        self._axes.set_xlabel("frame", fontsize=8)
        self._axes.set_ylabel("malignancy", fontsize=8)
        self._axes.tick_params(labelsize=8)
        for side in self._axes.spines.values():
            side.set_visible(False)
        # Axes take 50 ms to draw, and stay as they are: what moves is drawn over a copy of them.
        self._moving = (self._line, self._cutoff, self._here)
        for artist in self._moving:
            artist.set_animated(True)
        self._ground: Any = None
        self.mpl_connect("draw_event", self._keep_ground)
        self.mpl_connect("button_press_event", self._click)

    def wear(self, colours: ThemeColours) -> None:
        """Take the colours of a theme."""
        paint_figure(self.figure, colours)
        for artist, colour in zip(self._moving, (colours.painted, colours.bad, colours.quiet), strict=True):
            artist.set_color(colour)
        self._ground = None
        self.draw_idle()

    def show_readings(self, readings: Mapping[int, Reading], n_frames: int) -> None:
        """Draw the scores of the frames that have one."""
        # A frame without a node has a score of its own; it is drawn, as the table lists it.
        self.scores = {index: reading.malignancy for index, reading in readings.items()}
        self._line.set_data(list(self.scores), list(self.scores.values()))
        if readings:
            cutoff = next(iter(readings.values())).cutoff
            self._cutoff.set_ydata([cutoff, cutoff])
        ends = (-0.5, n_frames - 0.5)
        if self._axes.get_xlim() != ends:
            self._axes.set_xlim(*ends)
            self._ground = None
        self._draw_over()

    def show_position(self, index: int) -> None:
        """Mark the frame that the slider shows."""
        self._here.set_xdata([index, index])
        self._draw_over()

    def _draw_over(self) -> None:
        """Draw what moves; the axes too where there is no copy of them."""
        if self._ground is None:
            self.draw_idle()
            return
        self.restore_region(self._ground)
        self._draw_moving()
        self.update()

    def _keep_ground(self, _event: Any) -> None:
        self._ground = self.copy_from_bbox(self.figure.bbox)
        self._draw_moving()

    def _draw_moving(self) -> None:
        for artist in self._moving:
            self._axes.draw_artist(artist)

    def _click(self, event: Any) -> None:
        if event.xdata is not None:
            low, high = self._axes.get_xlim()
            self.frame_chosen.emit(round(min(max(event.xdata, low + 0.5), high - 0.5)))


class CurvePlot(FigureCanvasQTAgg):  # type: ignore[misc]  # matplotlib chooses the base
    """Intensity of a contrast agent in a node, and in the tissue around it."""

    def __init__(self) -> None:
        super().__init__(Figure(layout="constrained"))
        self.setFixedHeight(190)

    def show_curve(self, title: str, curve: TimeIntensity, colours: ThemeColours | None) -> None:
        """Draw a curve in the colours of a theme."""
        self.figure.clear()
        axes = self.figure.add_subplot()
        draw_curve(axes, curve)
        axes.set_title(title, fontsize=8, loc="left")
        for side in axes.spines.values():
            side.set_visible(False)
        if colours is not None:
            paint_figure(self.figure, colours)
        self.draw_idle()
