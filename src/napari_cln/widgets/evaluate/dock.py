"""Evaluate dock: a report on a model's figures, made by a process beside the window."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QToolButton

from ..._layers import frame_to_layer
from ...errors import ClnError
from ...folder.pictures import read_png
from ...training.run_folder import RunFolder
from ..common.dock import Dock, button, form
from ..common.frame_rows import read_frame_of
from ..common.jobs import Job, find_job, last_words, start_job
from ..common.places import Place
from .form import EvaluationForm, next_report
from .outcome import ReportView, is_finished

if TYPE_CHECKING:
    import napari

START = "Choose a training folder with masks and truths. Then press Evaluate."
LOOK_EVERY_MS = 1000
TAIL = 4000
# Okabe and Ito's colours, which the colour-blind tell apart
COLOURS = {"reader": "#56b4e9", "model": "#e69f00"}
_FRAME = re.compile(rb"frame (\d+) of (\d+)")


class EvaluateDock(Dock):
    """Dock that evaluates a model on a training folder, and shows what came out.

    Parameters
    ----------
    napari_viewer : napari.Viewer

    Attributes
    ----------
    folder, out : Place
        The training folder, and the folder of the report.
    form : EvaluationForm
    start, stop : QPushButton
    report : ReportView
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer)
        self.folder = Place("Training folder", "Folder with the frames, masks and truths to judge by")
        self.out = Place("Folder of the report", "New folder for the report, its table and the model's masks")
        self.new_out = QToolButton()
        self.new_out.setText("+")
        self.new_out.setToolTip("A new folder, beside the training folder")
        self.form = EvaluationForm()
        self.start = button("Evaluate", "Predict all cases of the set and write the report", primary=True)
        self.stop = button("Stop", "End the evaluation; nothing is reported")
        self.bar = QProgressBar()
        self.report = ReportView()
        self._job: Job | None = None
        self._stopping = False
        self._shown: list[Layer] = []
        self._timer = QTimer(self)
        self._timer.setInterval(LOOK_EVERY_MS)
        self._build()
        self._connect()
        self.message.say(START, about=START)
        self._show(alive=False)

    # ------------------------------------------------------------ what the buttons do

    def start_evaluation(self) -> None:
        """Evaluate in a process of its own."""
        folder, out = self.folder.path, self.out.path
        if folder is None or out is None:
            self.message.say(START, "bad", about=START)
            return
        held = "report" if is_finished(out) else "training run" if RunFolder(out).is_begun else ""
        if held:
            self.message.say(f"{out.name} already holds a {held}. Choose another folder, or press +.", "bad")
            return
        try:
            arguments = self.form.arguments
            self.report.clear()
            self._stopping = False
            start_job(["evaluate", str(folder), f"--out={out.name}", *arguments], out)
        except ClnError as error:
            self.message.say(str(error), "bad")
            return
        self._follow()

    def stop_evaluation(self) -> None:
        """End the process; what it has written so far is no report."""
        if self._job is not None:
            self._stopping = True
            self._job.kill()
        self.look()

    def propose_out(self) -> None:
        """Put a folder into the report's field that does not exist yet."""
        if self.folder.path is None:
            self.message.say(START, "bad", about=START)
        else:
            self.out.choose(next_report(self.folder.path))

    def look(self) -> None:
        """See how far the evaluation is, and show what it gave when it is done."""
        out = self.out.path
        alive = self._job is not None and self._job.is_alive()
        self._show(alive=alive)
        if out is None or self._job is None:
            self._timer.stop()
        elif alive:
            done, total = _progress(out)
            self.bar.setRange(0, total if done < total else 0)
            self.bar.setValue(done)
            self.message.say(_words(done, total))
        else:
            self._timer.stop()
            self._end(out)

    # ------------------------------------------------------------ what is shown

    def _end(self, out: Path) -> None:
        if is_finished(out):
            self.message.say(f"The report is in {out.name}. It is for research, not for diagnosis.", "good")
            self.report.show_report(out)  # which says so where it can't be read
        elif self._stopping:
            self.message.say("Stopped. Nothing was reported.")
        else:
            reason = last_words(out) or "It gave no reason, as when it is killed or memory is full."
            self.message.say(f"No report was made. {reason}", "bad")

    def _follow(self) -> None:
        """Follow the evaluation that was started into the report's folder, or show its report."""
        out = self.out.path
        self.message.say("")  # what stood there was about another report
        self.report.clear()
        self._job = find_job(out, "evaluate") if out is not None else None
        if self._job is not None and self._job.is_alive():
            self._timer.start()
            self.look()
        elif out is not None and is_finished(out):
            self._show(alive=False)
            self._end(out)
        else:
            self.look()

    def _show(self, *, alive: bool) -> None:
        self.start.setEnabled(not alive)
        self.stop.setEnabled(alive)
        self.bar.setVisible(alive)
        for part in (self.folder, self.out, self.form):
            part.setEnabled(not alive)

    def _open_frame(self, case_id: str) -> None:
        """Show a frame with the reader's outline and the model's, in place of the one before."""
        folder, out = self.folder.path, self.out.path
        if folder is None or out is None:
            self.message.say("Choose the training folder that this report is about.", "bad")
            return
        try:
            stored = read_frame_of(folder, case_id)
        except ClnError as error:
            self.message.say(str(error), "bad")
            return
        try:
            predicted = read_png(out / "masks" / f"{case_id}.png")
        except ClnError:
            self.message.say(f"The model's mask of {case_id} is not in {out.name}. Evaluate again.", "bad")
            return
        for layer in self._shown:
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        data, options, _ = frame_to_layer(stored.frame)
        place: dict[str, Any] = {
            key: options[key] for key in ("scale", "translate", "units", "axis_labels") if key in options
        }
        image = Image(data, **options)
        self._shown = [image]
        for name, instances in (("reader", stored.instances), ("model", predicted)):
            if instances is not None:
                self._shown.append(_outline(f"{case_id} {name}", instances, COLOURS[name], place))
        for layer in self._shown:
            self.viewer.add_layer(layer)
        self.viewer.reset_view()
        self.message.say("Blue: the reader's outline. Orange: the model's. For research, not for diagnosis.")

    def _take_folder(self) -> None:
        if self.folder.path is not None:
            self.message.forget(START)
            if self.out.path is None:
                self.propose_out()

    def _build(self) -> None:
        self.out.row.addWidget(self.new_out)
        rows = form()
        rows.addRow("Training folder", self.folder)
        rows.addRow("Report", self.out)
        self.column.addLayout(rows)
        self.column.addWidget(self.form)
        buttons = QHBoxLayout()
        for made in (self.start, self.stop):
            buttons.addWidget(made)
        self.column.addLayout(buttons)
        for part in (self.bar, self.report):
            self.column.addWidget(part)
        self.column.addStretch()

    def _connect(self) -> None:
        self.start.clicked.connect(self.start_evaluation)
        self.stop.clicked.connect(self.stop_evaluation)
        self.new_out.clicked.connect(self.propose_out)
        self.folder.changed.connect(self._take_folder)
        self.out.changed.connect(self._follow)
        self.report.frame_chosen.connect(self._open_frame)
        self.report.failed.connect(lambda reason: self.message.say(reason, "bad"))
        for model in (self.form.model, self.form.compare_with):
            model.failed.connect(lambda reason: self.message.say(reason, "bad"))
        self._timer.timeout.connect(self.look)


def _outline(name: str, instances: NDArray[np.uint8], colour: str, place: dict[str, Any]) -> Labels:
    """The nodes of a mask as outlines of one colour, to be looked at and not painted on."""
    one_colour = DirectLabelColormap(color_dict={None: colour, 0: "transparent"})
    labels = Labels(instances, name=name, colormap=one_colour, opacity=1.0, **place)
    labels.contour = 2
    labels.editable = False
    return labels


def _progress(out: Path) -> tuple[int, int]:
    """Frames done, and of how many; 0 of 0 before the first."""
    try:
        with RunFolder(out).log.open("rb") as log:
            log.seek(max(log.seek(0, 2) - TAIL, 0))
            found = _FRAME.findall(log.read(TAIL))
    except OSError:
        return 0, 0
    return (int(found[-1][0]), int(found[-1][1])) if found else (0, 0)


def _words(done: int, total: int) -> str:
    if not total:
        return "Starting: the process loads its libraries and the model …"
    return f"Frame {done} of {total} …" if done < total else "Computing the figures and their intervals …"
