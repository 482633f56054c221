"""An evaluation: started, followed and stopped, and its report. Needs no window."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray
from qtpy.QtCore import QObject

from ..._layers import KEY, LayerKind, frame_to_layer, link
from ...disk.schema import JsonObject
from ...errors import ClnError, DatasetError
from ...folder.pictures import read_png
from ...models.card import DISCLAIMER
from ...study.cases import CaseRow, is_finished, read_rows
from ...study.config import EvaluationSettings
from ...training.run_folder import EventReader, Judged, RunFolder
from ..common.failures import words_of
from ..common.parts import Signal
from ..common.process_panel import ProcessSession, ProcessState
from ..common.reference_frames import place_of, read_frame_of
from ..common.worker import Work
from ..common.workplace import workplace_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

START = "Choose a training folder with masks and truths. Then press Evaluate."
MOST = 50
# Okabe and Ito's colours, which the colour-blind tell apart
COLOURS = {"reader": "#56b4e9", "model": "#e69f00"}


@dataclass(frozen=True, kw_only=True)
class WorstFrame:
    """A frame with a low Dice, and what went wrong with it."""

    id: str
    words: str


@dataclass(frozen=True, kw_only=True)
class ReportState:
    """The first screen of a finished report; ``path`` is None where there is none to show."""

    path: Path | None = None
    sentences: str = ""
    figures: str = ""
    notes: str = ""
    worst: Sequence[WorstFrame] = ()


@dataclass(frozen=True, kw_only=True)
class EvaluateState:
    """Folders and buttons, and the report."""

    process: ProcessState = field(default_factory=ProcessState)
    report: ReportState = field(default_factory=ReportState)


class EvaluateSession(QObject):
    """One evaluation at a time, in a process of its own.

    Attributes
    ----------
    process : ProcessSession
        Folders and process.
    """

    changed = Signal()  # another state is to be shown
    told = Signal(str, str, object)  # a sentence, its mood, and what it is about

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer, self._workplace = viewer, workplace_of(viewer)
        self.process = ProcessSession("evaluate", "report", 0, self)
        self._report = ReportState()
        self._done = (0, 0)
        self._events: EventReader | None = None
        self._shown: list[Layer] = []
        self.process.followed.connect(self._forget)
        self.process.looked.connect(self.look)
        self.process.folder_chosen.connect(self.changed)
        self.process.out_chosen.connect(self.changed)

    @property
    def state(self) -> EvaluateState:
        """The state as it is to be shown now."""
        process, alive, (done, total) = self.process, self.process.is_alive, self._done
        shown = ProcessState(
            folder=process.folder,
            out=process.out,
            is_busy=alive,
            is_alive=alive,
            is_stopping=process.is_stopping,
            shows_bar=alive,
            done=done / total if done < total else None,
        )
        return EvaluateState(process=shown, report=self._report)

    # ------------------------------------------------------------ an evaluation

    def start(self, settings: EvaluationSettings) -> None:
        """Evaluate in a process of its own."""
        process, out = self.process, self.process.out
        if process.folder is None or out is None:
            self.told.emit(START, "bad", START)
            return
        held = "report" if is_finished(out) else "training run" if RunFolder(out).is_begun else ""
        if held:
            words = f"{out.name} already holds a {held}. Choose another folder, or press +."
            self.told.emit(words, "bad", None)
            return
        try:
            RunFolder(out).progress.unlink(missing_ok=True)  # of an evaluation that was stopped
            process.start(settings=settings)
        except ClnError as error:
            self.told.emit(str(error), "bad", None)

    def take_training_folder(self, folder: Path) -> None:
        """Evaluate on what is saved there, where nothing else was chosen yet."""
        if self.process.folder is None and not self.process.is_alive:
            self.process.choose_folder(folder)

    def propose(self) -> None:
        """Take a folder for the report that does not exist yet."""
        if self.process.folder is None:
            self.told.emit(START, "bad", START)
        else:
            self.process.propose()

    def look(self) -> None:
        """See how far the evaluation is, and show what it gave when it is done."""
        process, out = self.process, self.process.out
        if out is None:
            process.rest()
        elif process.is_alive:
            self.take_events(out)
            self._say(_words(*self._done))
        else:
            process.rest()
            if process.job is not None or is_finished(out):
                self._end(out)
        self.changed.emit()

    def take_events(self, out: Path) -> None:
        """Take in what the process has noted since the last look."""
        self._events = reader = self._events or EventReader(RunFolder(out))
        there_was = True
        while there_was:
            events, there_was = reader.read()
            for event in events:
                if isinstance(event, Judged):
                    self._done = event.done, event.of

    def _forget(self) -> None:
        """Show and say nothing of another report: a former result never stands beside a new run."""
        self._report, self._done, self._events = ReportState(), (0, 0), None
        self._say("")

    def _end(self, out: Path) -> None:
        if is_finished(out):
            self._say(f"The report is in {out.name}. {DISCLAIMER}", "good")
            self._show_report(out)  # which says so where it can't be read
        elif self.process.is_stopping:
            self._say("Stopped. Nothing was reported.")
        else:
            none = "It gave no reason, as when it is killed or memory is full."
            self._say(f"No report was made. {self.process.last_words or none}", "bad")

    def _say(self, sentence: str, mood: str = "info") -> None:
        self.told.emit(sentence, mood, None)

    # ------------------------------------------------------------ its report

    def _show_report(self, report: Path) -> None:
        if report == self._report.path:
            return
        try:
            said = _read(report)
            self._report = ReportState(
                path=report,
                sentences=" ".join(said["sentences"]),
                figures="\n".join(f"{t['name']}: {t['value']}  ({t['detail']})" for t in said["tiles"]),
                notes="\n".join(said["notes"][1:]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            self._say(f"{report.name} holds no readable report. Evaluate again.", "bad")
            return
        work = Work(self, worst_frames, report)
        work.done.connect(lambda found: self._take_worst(report, found))
        no_list = f"The worst frames of {report.name} can't be listed."
        work.failed.connect(lambda error: self._say(f"{no_list} {words_of(error)}", "bad"))
        work.start()

    def _take_worst(self, report: Path, found: list[WorstFrame]) -> None:
        if report == self._report.path:
            self._report = ReportState(**{**vars(self._report), "worst": tuple(found)})
            self.changed.emit()

    def open_frame(self, case_id: str) -> None:
        """Show a frame of the training folder with the outlines of the reader and of the model."""
        folder, out = self.process.folder, self.process.out
        if folder is None or out is None:
            self.told.emit(START, "bad", START)
            return
        try:
            stored = read_frame_of(folder, case_id)
        except ClnError as error:
            self._say(str(error), "bad")
            return
        try:
            predicted = read_png(out / "masks" / f"{case_id}.png")
        except ClnError:
            self._say(f"The model's mask of {case_id} is not in {out.name}. Evaluate again.", "bad")
            return
        image = self._workplace.open_case(folder, case_id)
        data, options, _ = frame_to_layer(stored.frame)
        place = place_of(options)
        model = _outline(f"{case_id} model", predicted, COLOURS["model"], LayerKind.MODEL, place)
        if image is not None and image.data.shape[:2] == predicted.shape:
            active = self.viewer.layers.selection.active
            link(model, image)
            self.viewer.add_layer(model)
            self.viewer.layers.selection.active = active
            self._say("It is open in the Correct dock. Orange: the model's outline, to look at.")
            return
        layers: list[Layer] = [Image(data, **options)]
        if stored.instances is not None:
            drawn = stored.instances
            layers.append(_outline(f"{case_id} reader", drawn, COLOURS["reader"], LayerKind.REFERENCE, place))
        self._workplace.show_beside([*layers, model], self._shown)
        self._shown = [*layers, model]
        self._say("Blue: the reader's outline. Orange: the model's. For research, not for diagnosis.")


def _outline(
    name: str, instances: NDArray[np.uint8], colour: str, kind: LayerKind, place: dict[str, Any]
) -> Labels:
    """Return the nodes of a mask as outlines of one colour, to be looked at and not painted on."""
    one_colour = DirectLabelColormap(color_dict={None: colour, 0: "transparent"})
    labels = Labels(instances, name=name, colormap=one_colour, opacity=1.0, **place)
    labels.contour = 2
    labels.editable = False
    labels.metadata[KEY] = kind
    return labels


def _words(done: int, total: int) -> str:
    if not total:
        return "Starting: the process loads its libraries and the model …"
    return f"Frame {done} of {total} …" if done < total else "Computing the figures and their intervals …"


def worst_frames(report: Path) -> list[WorstFrame]:
    """Return the frames of a report's set with the lowest Dice, the worst first.

    Frames without a mask of both are left out: they have no Dice.

    Raises
    ------
    ClnError
        If the report or its table can't be read.
    """
    try:
        rows = read_rows(report / "cases.csv")
        split = _read(report)["split"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(str(error)) from error
    frames: dict[str, list[CaseRow]] = {}
    for row in rows:
        if row.frame_dice is not None and split in (row.split, "all"):
            frames.setdefault(row.id, []).append(row)
    ranked = sorted(frames.values(), key=lambda rows: (rows[0].frame_dice, rows[0].id))
    return [WorstFrame(id=rows[0].id, words=_mistakes(rows)) for rows in ranked[:MOST]]


def _mistakes(rows: list[CaseRow]) -> str:
    nodes = [row for row in rows if row.kind == "node"]
    wrong = [
        *(["no node here, one outlined"] if not nodes else []),
        *(["missed"] if any(row.missed for row in nodes) else []),
        *(["another structure outlined"] if any(row.wrong_node for row in nodes) else []),
    ]
    truths: list[str] = sorted({row.truth for row in nodes}) or ["no node"]
    parts = [f"Dice {rows[0].frame_dice:.2f}", *wrong, " and ".join(truths)]
    return " · ".join([*parts, f"score {rows[0].frame_score:.2f}"])


def _read(report: Path) -> JsonObject:
    said: JsonObject = json.loads((report / "report.json").read_bytes())
    return said
