"""The work list of the training folder: which of its frames are gone through, and how many are left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QComboBox, QLineEdit, QWidget

from ...compat.window import read_units, take_units
from ...folder.dataset import TrainingFolder
from ...folder.worklist import STATES, State, WorkFilter, WorkItem, patient_of, read_worklist
from ..common.parts import Signal, beside, stacked
from ..common.worker import Work

if TYPE_CHECKING:
    from .filing import SaveRequest

TITLES: Mapping[State, str] = {
    "all": "all frames",
    "undecided": "undecided",
    "predicted": "predicted, undecided",
    "corrected": "corrected",
    "accepted": "accepted",
    "rejected": "rejected",
    "no-node": "no node",
}
TYPING_MS = 250
"""Pause in typing after which the list is looked through."""


@dataclass(frozen=True, kw_only=True)
class WorkState:
    """The filters to choose from, with how many frames each has, and the chosen one."""

    chosen: WorkFilter = field(default_factory=WorkFilter)
    counts: Mapping[str, int] = field(default_factory=dict)
    readers: Sequence[str] = ()


class WorkList(QObject):
    """Frames of the training folder that are gone through.

    A frame that is decided on stays in the list until another filter is chosen: the reader may go back.

    Attributes
    ----------
    ids : list of str
        The frames of the chosen filter, in order.
    items : dict of str to WorkItem
        Every frame of which the record was read.
    """

    changed = Signal()  # other frames are listed, or other numbers of them
    found = Signal()  # a training folder was read

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.ids: list[str] = []
        self.items: dict[str, WorkItem] = {}
        self.chosen = WorkFilter()
        self._folder: TrainingFolder | None = None

    @property
    def state(self) -> WorkState:
        """The filter and the numbers, as they are to be shown now."""
        counts: Counter[str] = Counter(item.status for item in self.items.values())
        masks = sum(not item.is_decided and item.has_mask for item in self.items.values())
        numbers = {"all": len(self.items), "undecided": counts["predicted"], **counts, "predicted": masks}
        readers = sorted({item.reader for item in self.items.values() if item.reader})
        return WorkState(chosen=self.chosen, counts=numbers, readers=readers)

    def enter(self, folder: TrainingFolder) -> None:
        """List every frame of a training folder, and read beside the window what was decided on each."""
        self._folder, self.chosen = folder, WorkFilter()
        self.ids, self.items = list(folder.ids()), {}
        work = Work(self, _read, folder)
        work.done.connect(partial(self._take, folder))
        work.start()

    def choose(self, chosen: WorkFilter) -> None:
        """List the frames of a filter."""
        if self._folder is not None:
            chosen = replace(chosen, patient=patient_of(self._folder, chosen.text))
        self.chosen = chosen
        self.ids = [case_id for case_id, item in self.items.items() if chosen.takes(item)]
        self.changed.emit()

    def next_undecided(self, after: str | None) -> str | None:
        """Return the listed frame after this one on which nobody has decided, from the start at the end."""
        at = self.ids.index(after) + 1 if after in self.ids else 0
        for case_id in (*self.ids[at:], *self.ids[:at]):
            item = self.items.get(case_id)
            if case_id != after and item is not None and not item.is_decided:
                return case_id
        return None

    def neighbours(self, of: str) -> list[str]:
        """Return the frames that may be asked for next."""
        at = self.ids.index(of) if of in self.ids else -1
        near = [self.next_undecided(of), *self.ids[at + 1 : at + 2], *self.ids[max(at - 1, 0) : max(at, 0)]]
        return list(dict.fromkeys(case_id for case_id in near if case_id is not None))

    def take_saved(self, request: SaveRequest) -> None:
        """Note what was decided on a frame of the folder; one that is new stands at the end."""
        if self._folder is None or self._folder.path != request.folder.path:
            return
        if request.case_id not in self.ids:
            self.ids.append(request.case_id)
        if not request.second:
            former = self.items.get(request.case_id, WorkItem(id=request.case_id, status="predicted"))
            status = request.annotation.status
            self.items[request.case_id] = replace(
                former,
                status=status,
                has_mask=bool(request.annotation.nodes),
                reader="" if status == "predicted" else request.about.judged_by or request.who,
            )
        self.changed.emit()

    def forget(self, case_ids: Sequence[str]) -> None:
        """List frames no more: they were taken out of the folder."""
        self.ids = [case_id for case_id in self.ids if case_id not in case_ids]
        self.items = {case_id: item for case_id, item in self.items.items() if case_id not in case_ids}
        self.changed.emit()

    def _take(self, folder: TrainingFolder, found: tuple[Sequence[WorkItem], Any]) -> None:
        items, units = found
        take_units(units)
        if folder is self._folder:
            self.items = {item.id: item for item in items} | self.items  # what was saved meanwhile is newer
            if self.chosen == WorkFilter() and self.ids:  # with frames of which no record can be read
                self.changed.emit()
            else:  # chosen before there was anything to choose among
                self.choose(self.chosen)
            self.found.emit()


def _read(folder: TrainingFolder) -> tuple[list[WorkItem], Any]:
    import_module("pandas")  # which napari's first mask brings along, and the window would wait for
    return read_worklist(folder), read_units()


class WorkListRow(QWidget):
    """Choice of the frames of the training folder that are gone through."""

    chosen = Signal(object)  # the WorkFilter

    def __init__(self) -> None:
        super().__init__()
        self.which, self.reader, self.text = QComboBox(), QComboBox(), QLineEdit()
        self.which.setToolTip("Frames that are gone through")
        self.reader.setToolTip("Who decided")
        for box in (self.which, self.reader):
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(6)
        for name in STATES:
            self.which.addItem(TITLES[name], name)
        self.reader.addItem("any reader", "")
        self.text.setPlaceholderText("patient, note, truth, level …")
        self.text.setToolTip("Frames with all of these words; or a patient, as you typed them under Patient")
        self.text.setClearButtonEnabled(True)
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(TYPING_MS)
        stacked(self, beside(self.which, self.reader, wide=self.which), self.text, spacing=4)
        self._pause.timeout.connect(self._choose)
        self.text.textEdited.connect(self._pause.start)
        for box in (self.which, self.reader):
            box.activated.connect(lambda _: self._choose())

    def show_state(self, state: WorkState) -> None:
        """Show how many frames there are of each kind."""
        for place, name in enumerate(STATES):
            n = state.counts.get(name, 0)
            self.which.setItemText(place, f"{TITLES[name]} ({n})" if state.counts else TITLES[name])
        if [self.reader.itemData(place) for place in range(1, self.reader.count())] != [*state.readers]:
            self.reader.clear()
            self.reader.addItem("any reader", "")
            for reader in state.readers:
                self.reader.addItem(f"by {reader}", reader)
        self.reader.setVisible(bool(state.readers))
        self.which.setCurrentIndex(STATES.index(state.chosen.state))
        self.reader.setCurrentIndex(max(self.reader.findData(state.chosen.reader), 0))
        if not self._pause.isActive() and not self.text.hasFocus():
            self.text.setText(state.chosen.text)

    def _choose(self) -> None:
        self._pause.stop()
        state, reader = self.which.currentData(), self.reader.currentData()
        self.chosen.emit(WorkFilter(state=state, reader=reader, text=self.text.text()))
