"""The importers' answer: annotated frames that are read when their turn comes, and what was used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from msgspec import field as struct_field
from numpy.typing import NDArray

from ...annotation import LABELLED, Annotation, Node
from ...disk.cells import printable
from ...errors import DatasetError, counted, listed
from ...types import Frame, Split, Status
from ..health.summary import StudySummary
from ..record import Provenance, Record

MAX_LISTED = 8


def plain_bytes(data: bytes) -> bytes:
    """Part of a text without byte-order marks, and without the zeros of UTF-16: enough to look for keys."""
    for mark in (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"):
        data = data.removeprefix(mark)
    return data.replace(b"\0", b"")


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Facts that the user gives about a study, beyond what is seen from its content.

    Parameters
    ----------
    images, masks : path, optional
        Folders, from the source or from here. Told by names and paths otherwise.
    labels : path, optional
        Table of labels and patients (CSV, TSV, XLSX), or COCO file; ``"none"`` for no table. The only table
        with a column of images otherwise.
    mask_values : mapping of int or str to str
        What each value (or colour, ``#rrggbb``) of a mask is: ``background``, ``node``, ``benign``,
        ``metastatic`` or ``not-judged``; ``{"ids": "node"}`` where each value is a node of its own.
    label_values : mapping of str to str
        What each label, class or category is: ``benign``, ``metastatic``, ``no-node``, ``unknown``; the
        usual words are known.
    split_values : mapping of str to str
        What each word of a split column, or name of a folder, COCO file or list is: ``train``,
        ``validation``, ``test``, ``none``.
    columns : mapping of str to str
        Heading of a role that is not found by itself: ``{"label": "Befund"}``.
    column_values : mapping of str to str
        What other words of the table are: ``{"level:4b": "IV"}``.
    clean : bool, optional
        Crop images to the scan area and paint over burned-in marks. By default for folders of pictures
        alone: those of nnU-Net and COCO sets keep their size and the pixels of their scan area, and are
        black around it. False keeps all; such frames are a kind of screen of their own.
    turn_masks : bool
        Masks of pictures that a camera noted as turned were drawn on the stored pixels.
    patient_folders : bool
        The folder in which an image lies is named after its patient.
    clinical : sequence of str
        Headings of the table that are kept as each patient's clinical record, such as ``["age", "sex"]``:
        numbers and a few words. Ages of 90 and more become 90 where the heading names an age; dates, years of
        birth and names are refused.
    other_patients : bool
        A training folder whose patient keys were made with another salt has none of this folder's patients.
    suggest : callable, optional
        Outlines of a frame that comes without any, such as :func:`napari_cln.outline_calipers`. They are
        predictions, which a reader accepts or not; on a frame that a reader has touched nothing is suggested.
    """

    images: str | Path | None = None
    masks: str | Path | None = None
    labels: str | Path | None = None
    mask_values: Mapping[Any, str] = field(default_factory=dict)
    label_values: Mapping[str, str] = field(default_factory=dict)
    split_values: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    column_values: Mapping[str, str] = field(default_factory=dict)
    clean: bool | None = None
    turn_masks: bool = False
    patient_folders: bool = False
    clinical: Sequence[str] = ()
    other_patients: bool = False
    suggest: Callable[[Frame], SuggestedMask] | None = None

    def __post_init__(self) -> None:
        values = {str(value): meaning for value, meaning in self.mask_values.items()}
        object.__setattr__(self, "mask_values", values)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImportedFrame:
    """One frame on its way into a training folder.

    ``stored`` is set where another training folder wrote it: its record then says everything, and
    the pixels are taken over as they are. ``has_unread`` is :attr:`Drawn.has_unread`.
    """

    annotation: Annotation
    about: Provenance
    overlay: NDArray[np.bool_] | None = None
    stored: Record | None = None
    notes: tuple[str, ...] = ()
    has_unread: bool = False

    @property
    def says_nothing(self) -> bool:
        """True for a frame alone, without an outline or a label."""
        nodes, status = self.annotation.nodes, self.annotation.status
        return not nodes and status == "predicted" and not self.annotation.instances.any()


@dataclass(frozen=True, kw_only=True, eq=False)
class SuggestedMask:
    """Outlines that a program suggests for a frame that came without any: a prediction, whoever asks.

    Parameters
    ----------
    instances : ndarray of uint8, shape (H, W)
        0 background; 1, 2, … the nodes. All 0 where there is nothing to suggest.
    action : str
        What the line of history says.
    model_id : str
    notes : tuple of str
        What a person should know of it.
    """

    instances: NDArray[np.uint8]
    action: str
    model_id: str
    notes: tuple[str, ...] = ()

    def on(self, parcel: ImportedFrame) -> ImportedFrame:
        """The frame with what is suggested; what its labels say of nodes holds for each.

        Parameters
        ----------
        parcel : ImportedFrame
            Without outlines.
        """
        notes = parcel.notes + self.notes
        if not self.instances.any():
            return replace(parcel, notes=notes)
        known = parcel.annotation.nodes[0] if parcel.annotation.nodes else Node(id=1)
        nodes = tuple(
            replace(known, id=id_, status="predicted") for id_ in range(1, int(self.instances.max()) + 1)
        )
        annotation = replace(
            parcel.annotation,
            instances=self.instances,
            nodes=nodes,
            status="predicted",
            based_on=self.model_id,
        )
        about = msgspec.structs.replace(parcel.about, action=self.action)
        return replace(parcel, annotation=annotation, about=about, notes=notes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Incoming:
    """A frame that can be read: its name for messages, and how."""

    name: str
    read: Callable[[], ImportedFrame] = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """Outlines of one frame, in its pixels.

    Parameters
    ----------
    instances : ndarray of uint8, shape (H, W)
    nodes : tuple of Node
    not_judged : ndarray of bool, shape (H, W), optional
    notes : tuple of str
        What a person should know of how they were read.
    judged : bool
        Whether no node says that somebody looked and there is none.
    has_unread : bool
        Whether there are outlines that can't be taken, such as boxes.
    channels : mapping of str to ndarray of uint8, shape (H, W)
        What was measured beside the grey image, as ``Frame.channels``.
    """

    instances: NDArray[np.uint8]
    nodes: tuple[Node, ...]
    not_judged: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()
    judged: bool = False
    has_unread: bool = False
    channels: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


def refuse(reason: str, _frame: Frame) -> Drawn:
    """Stand in the place of outlines that can't be drawn: whoever draws them is told why.

    Raises
    ------
    DatasetError
        Always.
    """
    raise DatasetError(reason)


@dataclass(frozen=True, kw_only=True)
class Outlines:
    """Outlines of a study in one format: how to draw those of each image.

    Parameters
    ----------
    kind : str
        Name of the format, for a person.
    draw : mapping of Path to callable
        Makes :class:`Drawn` of a frame; an image that is not there has no outline. It raises
        :class:`DatasetError` for outlines that can't be read, which refuses that frame alone.
    images : tuple of Path, optional
        The images of the study, where the format lists them.
    frames : mapping of Path to tuple of int
        Frames of a cine that have outlines, from 0; each is taken for itself.
    splits : mapping of Path to str
        Side of an image, where the format says it.
    used : frozenset of Path
        Files that were read or will be.
    refused : mapping of str to str
        Entries that lead to no image, by name, and why.
    notes : tuple of str
    n_masks : int
        Images with outlines.
    untouched : bool
        Whether images keep their size, and the pixels of their scan area, unless the user says otherwise.
    """

    kind: str
    draw: Mapping[Path, Callable[[Frame], Drawn]]
    images: tuple[Path, ...] | None = None
    frames: Mapping[Path, tuple[int, ...]] = field(default_factory=dict)
    splits: Mapping[Path, Split] = field(default_factory=dict)
    used: frozenset[Path] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    n_masks: int = 0
    untouched: bool = False


class TableUse(Struct, frozen=True, kw_only=True):
    """The reading of a table: encoding and separator, headings that were used, by role, and others."""

    name: str
    read_as: str
    used: dict[str, str]
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Frames and files that an importer found in a source.

    Parameters
    ----------
    kind : str
        Format, for a person.
    items : list of Incoming
    n_images, n_masks : int
        Image files, and masks or outlines, that belong to the items.
    used : set of Path
        Files of the source that were read or will be; None where the format knows no others.
    tables : tuple of TableUse
    refused : mapping of str to str
        What could not be taken, by name, and why.
    notes : tuple of str
        What a person should know of the whole.
    salt : str, optional
        Fingerprint of the salt with which a training folder made its keys of patients and clips; None where
        there are none, or it is not known.
    """

    kind: str
    items: list[Incoming]
    n_images: int
    n_masks: int
    used: set[Path] | None = None
    tables: tuple[TableUse, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    salt: str | None = None


def status_of(nodes: Sequence[Node]) -> Status:
    """Status of an imported frame that has nodes: theirs, corrected where some of them stand."""
    statuses = {node.status for node in nodes}
    if len(statuses) == 1:
        return statuses.pop()
    return "corrected" if statuses.intersection(LABELLED) else "predicted"


def path_inside(path: Path, roots: tuple[Path, ...]) -> Path:
    """The path, when it lies in one of the folders that the user named; links are resolved.

    Raises
    ------
    DatasetError
        If it lies outside: a table from elsewhere must not reach into other folders.
    """
    resolved = path.resolve()
    if not any(resolved.is_relative_to(root.resolve()) for root in roots):
        raise DatasetError(
            f"{path.name} lies outside the folders of the import. Name its folder with --images or --masks."
        )
    return path


def below(path: Path, root: Path) -> str:
    """A file's path inside the study, for messages; its name where it lies elsewhere."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


class ImportReport(Struct, frozen=True, kw_only=True):
    """Result of an import: frames taken and refused, files not used, and the numbers of the study.

    Parameters
    ----------
    kind : str
        What the source was seen to be.
    images, masks : int
        Files of images, and masks or outlines that belong to them.
    taken, refused, repeated : int
        Frames that are in the training folder now; that were refused; whose pixels came twice.
    study : StudySummary
        Numbers of the frames that were taken.
    tables : tuple of TableUse
        Tables, how they were read, and their columns that were not used.
    unused_files : dict of str to str
        Files of the source that were not used, and why.
    problems : dict of str to str
        What was refused, and why.
    notes : dict of str to list of str
        What to know of frames that were taken: a sentence, and the frames of which it holds.
    remarks : tuple of str
        What to know of the whole.
    """

    kind: str
    images: int
    masks: int
    taken: int
    refused: int
    repeated: int
    study: StudySummary
    tables: tuple[TableUse, ...] = ()
    unused_files: dict[str, str] = struct_field(default_factory=dict)
    problems: dict[str, str] = struct_field(default_factory=dict)
    notes: dict[str, list[str]] = struct_field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The report for a person, on one screen; what matters most comes last."""
        said = [
            f"note        {counted(len(names), 'frame')} ({listed(names)}): {note}"
            for note, names in sorted(self.notes.items(), key=lambda item: len(item[1]))[-MAX_LISTED:]
        ]
        said.append(
            f"source      {self.kind}: {counted(self.images, 'image')}, "
            + counted(self.masks, "mask or outline", "masks or outlines")
        )
        for table in self.tables:
            said.append(f"table       {table.name}, read as {table.read_as}: {_columns(table)}")
            if table.unused:
                said.append(f"not used    columns of {table.name}: {listed(table.unused, MAX_LISTED)}")
        said += self.study.lines()
        by_reason: dict[str, list[str]] = defaultdict(list)
        for name, reason in self.unused_files.items():
            by_reason[reason].append(name)
        for reason, names in by_reason.items():
            said.append(
                f"not used    {counted(len(names), 'file')}: {listed(names, MAX_LISTED)}"
                + (f" ({reason})" if reason else "")
            )
        said += [f"look        {remark}" for remark in self.remarks]
        for name, problem in list(self.problems.items())[:MAX_LISTED]:
            said.append(f"refused     {name}: {problem}")
        if (more := len(self.problems) - MAX_LISTED) > 0:
            said.append(f"refused     {more} more; --json names them all")
        return [printable(line) for line in said]


def _columns(table: TableUse) -> str:
    return ", ".join(role if role == name else f"{role} from {name!r}" for role, name in table.used.items())
