"""The work list of a training folder: what was decided on each frame and by whom, and a filter of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from ..errors import DatasetError
from ..types import Status
from .dataset import TrainingFolder
from .record import Record

State: TypeAlias = Literal["all", "undecided", "predicted", "corrected", "accepted", "rejected", "no-node"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, kw_only=True)
class WorkItem:
    """One frame of a work list.

    Parameters
    ----------
    id : str
    status : str
        What stands for its mask.
    has_mask : bool
        Whether nodes are drawn, by a model or by a reader.
    reader : str
        Who stands for it; empty where nobody has decided.
    patient : str
        A pseudonym.
    words : str
        Note, truths, levels and maker, to be searched.
    """

    id: str
    status: Status
    has_mask: bool = False
    reader: str = ""
    patient: str = ""
    words: str = ""

    @property
    def is_decided(self) -> bool:
        """True where a reader has said something of it."""
        return self.status != "predicted"


@dataclass(frozen=True, kw_only=True)
class WorkFilter:
    """A choice among the frames of a work list.

    Parameters
    ----------
    state : str
        ``"undecided"`` are frames on which nobody has decided, ``"predicted"`` those of them with a mask.
    reader : str
        Who stands for it; anybody where empty.
    text : str
        Words that all have to occur in the frame's note, truths, patient or id.
    patient : str
        Pseudonym of a patient, whose frames are taken whatever the text says; see :func:`patient_of`.
    """

    state: State = "all"
    reader: str = ""
    text: str = ""
    patient: str = ""

    def takes(self, item: WorkItem) -> bool:
        """Tell whether a frame is of the choice."""
        if self.state == "undecided":
            is_wanted = not item.is_decided
        elif self.state == "predicted":
            is_wanted = not item.is_decided and item.has_mask
        else:
            is_wanted = self.state in ("all", item.status)
        if not is_wanted or self.reader not in ("", item.reader):
            return False
        known = f"{item.id} {item.patient} {item.reader} {item.words}".casefold()
        return item.patient == self.patient or all(word in known for word in self.text.casefold().split())


def patient_of(study: TrainingFolder, text: str) -> str:
    """Return the pseudonym that a patient's name or number has in a training folder; empty for none."""
    if not text.strip():
        return ""
    try:
        return study.dataset.hash_key("patient", text.strip())
    except DatasetError:  # the salt is damaged, and says so when a frame is saved
        return ""


def item_of(record: Record) -> WorkItem:
    """Return what a work list says of a frame."""
    last = record.history[-1] if record.history else None
    who = "" if last is None or record.status == "predicted" else last.judged_by or last.who
    facts = [fact for node in record.nodes for fact in (node.truth, node.truth_source, node.level, node.side)]
    words = [record.note, *facts, record.source.manufacturer, record.source.hospital, record.split]
    return WorkItem(
        id=record.id,
        status=record.status,
        has_mask=bool(record.nodes),
        reader=who,
        patient=record.patient_key,
        words=" ".join(str(word) for word in words if word and word not in ("none", "unknown")),
    )


def read_worklist(study: TrainingFolder) -> list[WorkItem]:
    """Read the work list of a training folder, in its order.

    Frames whose record is damaged are listed as such: whoever opens one is told what is wrong.
    """
    items = []
    for case_id in study.ids():
        try:
            items.append(item_of(study.record(case_id)))
        except DatasetError:
            items.append(WorkItem(id=case_id, status="predicted", words="damaged"))
    return items
