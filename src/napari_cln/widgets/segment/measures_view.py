"""Buttons for radiomics and contrast agent in the Segment dock, the figures as a table, and the curve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from ..common.number_field import NumberField
from ..common.parts import Signal, beside, button, form, small, stacked
from .measures import Measures

if TYPE_CHECKING:
    from ..common.theme import ThemeColours
    from .score_plot import CurvePlot

SHOWN_ELSEWHERE = ("source", "frame", "node")


class MeasuresView(QWidget):
    """Shows :class:`Measures`: a column for each node, and the curve of the one that is chosen."""

    saved = Signal(object, object)  # the Measures, and the Path that was chosen

    def __init__(self) -> None:
        super().__init__()
        self.radiomics = button(
            "Radiomics", "Texture, shape and signs of each node on this frame, as IBSI defines them"
        )
        self.perfusion = button(
            "Contrast agent", "How it washes into each node, or region, that is outlined on this frame"
        )
        self.dynamic_range = NumberField(
            title="Dynamic range", limits=(1, 200), suffix=" dB", none="not known"
        )
        self.dynamic_range.setToolTip(
            "Decibels from black to white of the agent's view, as the machine says. Where it is empty, "
            "curves are of grey values."
        )
        self.title, self.table = small(), QTableWidget()
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setFixedHeight(190)
        header, names = self.table.horizontalHeader(), self.table.verticalHeader()
        if header is not None and names is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
            header.setMinimumSectionSize(72)
            names.setMinimumSectionSize(22)
            names.setDefaultSectionSize(22)
        self.save = button("Save as a table …", "The same columns as those of the command napari-cln")
        self.save.clicked.connect(self._save)
        self.table.currentCellChanged.connect(lambda *_: self._draw())
        self.plot: CurvePlot | None = None
        self._measures: Measures | None = None
        self._colours: ThemeColours | None = None
        self._range_row = QWidget()
        rows = form()
        rows.addRow("Dynamic range", self.dynamic_range)
        self._range_row.setLayout(rows)
        self._layout = stacked(
            self, beside(self.radiomics, self.perfusion), self._range_row, self.title, self.table, self.save
        )

    def show_measures(self, measures: Measures | None, *, is_cine: bool, is_busy: bool) -> None:
        """Show figures, or that there are none; what is for clips alone is hidden elsewhere."""
        for each in (self.radiomics, self.perfusion):
            each.setEnabled(not is_busy)
        self.perfusion.setVisible(is_cine)
        self._range_row.setVisible(is_cine)
        for part in (self.title, self.table, self.save):
            part.setVisible(measures is not None)
        if measures is self._measures:
            return
        self._measures = measures
        if measures is not None:
            self.title.setText(f"{measures.title}.")
            self._fill(measures)
        self._draw()

    def wear(self, colours: ThemeColours) -> None:
        """Take the colours of a theme."""
        self._colours = colours
        self._draw()

    def _fill(self, measures: Measures) -> None:
        names = [name for name in measures.rows[0] if name not in SHOWN_ELSEWHERE]
        self.table.setRowCount(len(names))
        self.table.setColumnCount(len(measures.rows))
        self.table.setVerticalHeaderLabels(names)
        self.table.setHorizontalHeaderLabels([f"node {row['node']}" for row in measures.rows])
        for column, row in enumerate(measures.rows):
            for at, name in enumerate(names):
                item = QTableWidgetItem(str(row[name]))
                item.setToolTip(f"{name}: {row[name]}")
                self.table.setItem(at, column, item)

    def _draw(self) -> None:
        """Draw the curve of the chosen node, where there are curves."""
        curves = {} if self._measures is None else self._measures.curves
        if curves and self.plot is None:
            from .score_plot import CurvePlot  # matplotlib, when there is something to plot

            self.plot = CurvePlot()
            self._layout.insertWidget(self._layout.indexOf(self.table), self.plot)
        if self.plot is None:
            return
        self.plot.setVisible(bool(curves))
        if curves:
            node = list(curves)[min(max(self.table.currentColumn(), 0), len(curves) - 1)]
            self.plot.show_curve(f"node {node}", curves[node], self._colours)

    def _save(self) -> None:
        measures = self._measures
        if measures is None:
            return
        name = "perfusion.csv" if measures.curves else "radiomics.csv"
        path, _ = QFileDialog.getSaveFileName(self, "Save as a table", name, "Tables (*.csv)")
        if path:
            self.saved.emit(measures, Path(path))
