"""The record: everything known of one frame, as one JSON object, schema 1.

``docs/reference/training-folder.md`` lists its keys. A record of a newer schema is read as far as
it is understood and never overwritten. Each carries a checksum of its own text, so that one flipped
bit is noticed; a record that a person edits by hand has that line removed.

A record holds no name that gives a person away: frames are called by their pixels, patients by a
keyed hash (:mod:`napari_cln.disk.user`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from ..annotation import Case, Checksums, Node
from ..disk.ages import without_high_age
from ..disk.schema import JsonObject, decode_json
from ..disk.seals import checksum_holds, encode_checked, misfit, with_own_line_ends
from ..errors import DatasetError, listed
from ..imaging.burned_in import Extent
from ..types import Box, Level, Region, Side, SpacingSource, Split, Status, Truth, TruthSource
from .layout import Layout

SCHEMA = 1
PSEUDO, FROM_CALIPERS = "pseudo", "from calipers"
"""Actions by which masks came that no reader drew: a model's, and those from calipers on the screen."""
NO_HEADER = "113100"
"""DICOM's code (PS3.16, CID 7050) for: nothing of the header is kept that could name a patient."""
UNKNOWN = "unknown-"
"""Start of the key of a patient that nobody named; a frame's or its clip's follows."""
MAX_SIDE, MAX_PIXELS = 65_535, 2**26
_REMOVE = "if the folder is wrong, remove the frame's record and save it again."

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
CaseId = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
Key = Annotated[str, Meta(pattern="^[0-9A-Za-z_-]{1,100}$")]
Name = Annotated[str, Meta(max_length=200)]
Word = Annotated[str, Meta(max_length=40)]
Size = Annotated[int, Meta(ge=1, le=MAX_SIDE)]
Place = Annotated[int, Meta(ge=0, le=MAX_SIDE)]
Count = Annotated[int, Meta(ge=1, le=10**9)]
Share = Annotated[float, Meta(ge=0, le=1)]
Millimetres = Annotated[float, Meta(gt=0, le=1000)]
MillimetresPerPixel = Annotated[float, Meta(ge=1e-5, le=100)]
NoteText = Annotated[str, Meta(max_length=10_000)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Time = Annotated[datetime, Meta(tz=True)]
ChannelName = Annotated[str, Meta(pattern="^[a-z]{1,20}$")]
SourceKind = Literal["file", "dicom", "video", "import", "simulated"]


class NodeEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One node as a record keeps it; sizes are those of the mask when it was saved."""

    id: Annotated[int, Meta(ge=1, le=255)]
    # Factories, so that the three are always written: who reads records elsewhere expects them.
    status: Status = msgspec.field(default_factory=lambda: "corrected")
    truth: Truth = msgspec.field(default_factory=lambda: "unknown")
    truth_source: TruthSource = msgspec.field(default_factory=lambda: "none")
    level: Level | None = None
    side: Side | None = None
    p_malignant: Share | None = None
    area_px: Annotated[int, Meta(ge=0, le=MAX_PIXELS)] | None = None
    long_mm: Millimetres | None = None
    short_mm: Millimetres | None = None

    @property
    def node(self) -> Node:
        """The node without its sizes."""
        return Node(
            id=self.id,
            status=self.status,
            truth=self.truth,
            truth_source=self.truth_source,
            level=self.level,
            side=self.side,
            p_malignant=self.p_malignant,
        )


class HistoryEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of history: when, who, with what, what was done, from which model, in how many seconds.

    ``status`` is what stands, where the action does not say it; ``judged_by`` whose judgement that is,
    where it is not that of ``who``.
    """

    t: Time
    who: Name
    app: Name
    action: Name
    until: Time | None = None
    saves: Count = 1
    model: Name | None = None
    untouched: bool | None = None
    seconds: Seconds | None = None
    status: Status | None = None
    judged_by: Name | None = None
    readings: dict[Name, Name] | None = None

    @property
    def last(self) -> datetime:
        """Time of the last save of this line."""
        return self.until or self.t


class TextReading(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Text that was looked for in a stored picture: by what, where it was found, and a reader's verdict.

    The words themselves are not kept: they may be a name.
    """

    engine: Name
    found: tuple[tuple[Place, Place, Place, Place], ...] = ()
    verdict: Literal["painted over", "no name"] | None = None
    seen_by: Name | None = None
    t: Time | None = None

    @property
    def waits(self) -> bool:
        """True where text was found that nobody has looked at."""
        return bool(self.found) and self.verdict is None


class ScaledPart(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a frame with a scale of its own, or with none; its box has the form of a source's crop."""

    box: tuple[Place, Place, Place, Place]
    spacing_mm: tuple[MillimetresPerPixel, MillimetresPerPixel] | None = None


class Source(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Origin of a frame: kind of file, number in it, its size, and the part that is stored.

    ``hospital`` is a letter, or a key that leads back to no name without the folder's salt;
    ``crop`` is ``(x0, y0, x1, y1)`` in the source's pixels, half-open, and ``area`` the scan area in the same
    form; ``painted`` says whether burned-in marks on tissue were painted over; ``deid`` lists DICOM's codes
    (PS3.16, CID 7050) of what was done against names, and ``uncleaned`` says that what lies outside the scan
    area was kept; ``image_key`` is a salted hash of the identifier of a DICOM image; ``text`` is what was
    read on the stored picture, its boxes ``(row0, column0, row1, column1)`` in the picture's pixels;
    ``regions`` are the parts of different scale, where no one holds for all that is stored.
    """

    kind: SourceKind
    frame: Annotated[int, Meta(ge=0, le=2**31)] = 0
    rows: Size
    columns: Size
    crop: tuple[Place, Place, Place, Place]
    area: tuple[Place, Place, Place, Place] | None = None
    deid: tuple[Name, ...] = ()
    uncleaned: bool = False
    painted: bool | None = None
    manufacturer: Name | None = None
    decoder: Name | None = None
    hospital: Annotated[str, Meta(pattern="^[0-9A-Za-z]{1,8}$")] | None = None
    image_key: CaseId | None = None
    text: TextReading | None = None
    regions: tuple[ScaledPart, ...] = ()

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.crop
        if not (x0 < x1 <= self.columns and y0 < y1 <= self.rows):
            raise ValueError(
                f"crop {list(self.crop)} is no part of {self.rows} rows and {self.columns} columns"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the source."""
        return self.rows, self.columns

    @property
    def stored_area(self) -> Box | None:
        """Scan area ``(row0, column0, row1, column1)`` in the stored picture; None where it is not said."""
        if self.area is None:
            return None
        (left, top, right, bottom), (x0, y0, x1, y1) = self.area, self.crop
        row0, column0 = max(top - y0, 0), max(left - x0, 0)
        row1, column1 = min(bottom, y1) - y0, min(right, x1) - x0
        return (row0, column0, row1, column1) if row0 < row1 and column0 < column1 else None

    @property
    def stored_regions(self) -> tuple[Region, ...]:
        """Parts of different scale, in pixels of the stored picture; they may reach beyond it."""
        x0, y0 = self.crop[:2]
        return tuple(
            Region(box=(top - y0, left - x0, bottom - y0, right - x0), spacing_mm=part.spacing_mm)
            for part in self.regions
            for left, top, right, bottom in (part.box,)
        )

    @property
    def is_painted(self) -> bool:
        """True where no burned-in mark is to be looked for on the stored picture.

        Records that do not say it are of a time when marks were painted over wherever a picture was cut to
        its scan area.
        """
        if self.painted is not None:
            return self.painted
        return not self.uncleaned and self.crop != (0, 0, self.columns, self.rows)


class StoredImage(Struct, frozen=True, kw_only=True):
    """The stored image: SHA-256 of its pixels, and its size."""

    sha256: Sha256
    rows: Size
    columns: Size

    def __post_init__(self) -> None:
        if self.rows * self.columns > MAX_PIXELS:
            raise ValueError(f"{self.rows}×{self.columns} pixels are more than {MAX_PIXELS}")


class Record(Struct, frozen=True, kw_only=True):
    """Everything known of one frame of a training folder.

    ``others`` holds keys that this version does not know, as they were read; they are kept. No age in
    ``clinical`` is over 90, wherever it came from.
    """

    schema: Annotated[int, Meta(ge=1, le=10**6)]
    id: CaseId
    revision: Count
    status: Status
    nodes: tuple[NodeEntry, ...]
    patient_key: Key
    cine_key: Key | None = None
    split: Split | None = None
    image: StoredImage
    mask_sha256: Sha256 | None = None
    instances_sha256: Sha256 | None = None
    source: Source
    spacing_mm: tuple[MillimetresPerPixel, MillimetresPerPixel] | None = None
    spacing_source: SpacingSource | None = None
    spacing_by: Name | None = None
    p_malignant: Share | None = None
    clinical: dict[Name, float | Word] | None = None
    channels: dict[ChannelName, Sha256] | None = None
    note: NoteText = ""
    history: tuple[HistoryEntry, ...]
    others: JsonObject = msgspec.field(default_factory=dict, name="x_others")

    def __post_init__(self) -> None:
        ids = [node.id for node in self.nodes]
        if len(set(ids)) < len(ids):
            raise ValueError(f"nodes have the ids {ids}: each must have its own")
        x0, y0, x1, y1 = self.source.crop
        if (y1 - y0, x1 - x0) != self.shape:
            raise ValueError(f"image has {self.shape} pixels, its crop {(y1 - y0, x1 - x0)}")
        if self.clinical:
            kept = {name: without_high_age(name, value) for name, value in self.clinical.items()}
            msgspec.structs.force_setattr(self, "clinical", kept)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the stored image."""
        return self.image.rows, self.image.columns

    @property
    def has_scale(self) -> bool:
        """True where the image, or a part of it, has millimetres."""
        return self.spacing_mm is not None or bool(self.source.regions)

    @property
    def has_mask(self) -> bool:
        """True where a label image belongs to the record."""
        return self.mask_sha256 is not None

    @property
    def last(self) -> HistoryEntry | None:
        """The last line of history."""
        return self.history[-1] if self.history else None


def is_unknown(patient: str) -> bool:
    """Tell whether a patient's key is that of one whom nobody named."""
    return patient.startswith(UNKNOWN)


class Provenance(Struct, frozen=True, kw_only=True):
    """Origin of a frame, the reader who saves it, and what was done.

    ``cine`` names the clip among all, ``clip`` among those of its patient, as tables do. ``action`` is what
    the line of history says; by default the annotation's status. ``judged_by`` is whose judgement that status
    is, where another reader saves the frame with it. ``readings`` are the second readings that a decision
    weighed: reader, and when they read it; ``p_malignant`` is the best possible score of a simulated frame.
    ``extent`` is what is stored of a frame: its scan area alone; all of its size, black outside the scan
    area, so that others' masks still fit; or all of it, uncleaned. ``hospital`` is where a frame was made,
    ``scanner`` its machine where the file does not say it, ``clinical`` what is known of the patient.
    """

    patient: str | None = None
    cine: str | None = None
    clip: str | None = None
    who: str | None = None
    kind: SourceKind = "file"
    split: Split | None = None
    action: str | None = None
    judged_by: str | None = None
    readings: Mapping[str, str] | None = None
    p_malignant: float | None = None
    hospital: str | None = None
    scanner: str | None = None
    clinical: Mapping[str, float | str] = msgspec.field(default_factory=dict)
    extent: Extent = "scan area"

    @property
    def reader(self) -> str:
        """The reader as the history names them."""
        return self.who or "a reader"


_decoder = msgspec.json.Decoder(Record)
_CHECK = "Run `napari-cln check` on the training folder: former states are in its revisions folder."
_KEYS = frozenset(Record.__struct_encode_fields__) | {"checksum"}
_OPTIONAL = ("spacing_by", "p_malignant", "clinical", "channels")
"""Keys that are left out where there is nothing to say."""


def decode_record(data: bytes, name: str, *, whole: bool = True) -> Record:
    """Read a record from its text.

    Parameters
    ----------
    data : bytes
    name : str
        The file's, for messages. The record's id must be the start of it.
    whole : bool
        Keep keys that this version does not know; a list of cases does without.

    Raises
    ------
    DatasetError
        If the text is not as it was written, or a value does not fit; the message names it.
    """
    try:
        record = decode_json(_decoder, data)
        raw = msgspec.json.decode(data) if whole else {}
    except ValueError as cause:  # also keys whose bytes are no text
        raise DatasetError(_reason(cause, data, name)) from cause
    # A newer version may keep its checksum elsewhere. Line ends that git turned change no value.
    holds = checksum_holds(data, anywhere=record.schema <= SCHEMA)
    if holds is False and with_own_line_ends(data) is None:
        raise DatasetError(
            f"{name} is not as it was saved: its checksum differs, so some of it was changed or damaged. "
            f"{_CHECK} Who edited it by hand removes its last key, checksum."
        )
    others = {key: value for key, value in raw.items() if key not in _KEYS}
    if others or record.others:
        record = msgspec.structs.replace(record, others=others)
    return record


def _reason(cause: ValueError, data: bytes, name: str) -> str:
    try:
        schema = msgspec.json.decode(data, type=JsonObject).get("schema")
    except (ValueError, RecursionError):
        schema = None
    if isinstance(schema, int) and schema > SCHEMA:
        return f"{name} was written by a newer napari-cln (schema {schema}). Update napari-cln to read it."
    return f"{name} {misfit(cause)}. {_CHECK}"


def encode_record(record: Record) -> bytes:
    """Write a record as JSON with its checksum, one key a line, so that a change shows as a short difference.

    Raises
    ------
    DatasetError
        If a value is one that could not be read again, such as a note that is too long.
    """
    known = msgspec.structs.replace(record, others={}) if record.others else record
    return encode_checked(value_of(record), known, _decoder, f"{record.id}.json")


def value_of(record: Record) -> JsonObject:
    """A record as plain values, for a file that holds many."""
    value: JsonObject = msgspec.to_builtins(record)
    del value["x_others"]
    for key in _OPTIONAL:
        if value[key] is None:
            del value[key]
    return value | record.others


def record_of(value: Mapping[str, object], name: str) -> Record:
    """The record of plain values.

    Raises
    ------
    DatasetError
        If a value does not fit; the message names it.
    """
    try:
        record = msgspec.convert(value, Record)
    except (msgspec.ValidationError, RecursionError) as cause:
        raise DatasetError(
            f"The record of {name} does not fit ({cause}). Export the folder again."
        ) from cause
    return msgspec.structs.replace(record, others={}) if record.others else record


def case_of(record: Record, layout: Layout) -> Case:
    """The case that a record describes."""
    masked = record.has_mask
    return Case(
        id=record.id,
        image=layout.image(record.id, masked),
        mask=layout.mask(record.id) if masked else None,
        instances=layout.instances(record.id) if record.instances_sha256 else None,
        nodes=tuple(entry.node for entry in record.nodes),
        patient=record.patient_key,
        cine=record.cine_key,
        status=record.status,
        spacing_mm=record.spacing_mm,
        regions=record.source.stored_regions,
        vendor=record.source.manufacturer,
        hospital=record.source.hospital,
        shape=record.shape,
        revision=record.revision,
        split=record.split,
        checksums=Checksums(
            image=record.image.sha256,
            mask=record.mask_sha256,
            instances=record.instances_sha256,
            channels=dict(record.channels or {}),
        ),
    )


def with_origin(
    record: Record, *, hospital: str | None, maker: str | None, clinical: Mapping[str, float | str]
) -> Record:
    """The record with the hospital, machine and clinical values that are newly told, where it knows none.

    Parameters
    ----------
    record : Record
    hospital : str, optional
        Key in the folder.
    maker : str, optional
        Known maker of the machine. One that the record knows stays: it may be from the file itself.
    clinical : mapping of str to float or str
        Headings are told apart without case.

    Raises
    ------
    DatasetError
        If the record has another hospital, or another value in a clinical column.
    """
    source = record.source
    if hospital and source.hospital not in (None, hospital):
        raise DatasetError(
            f"{record.id} is in the folder as a frame of the hospital {source.hospital}, and is said to be "
            f"of {hospital}. Leave the hospital that holds; {_REMOVE}"
        )
    known = dict(record.clinical or {})
    spelt = {name.casefold(): name for name in known}
    told = {spelt.get(name.casefold(), name): value for name, value in clinical.items()}
    told = {name: without_high_age(name, value) for name, value in told.items()}
    if against := [name for name in told if known.get(name, told[name]) != told[name]]:
        ours, theirs = (listed(f"{name} {values[name]}" for name in against) for values in (known, told))
        raise DatasetError(
            f"{record.id} is in the folder with {ours}, and is said to have {theirs}. Leave the value that "
            f"holds; {_REMOVE}"
        )
    source = msgspec.structs.replace(
        source, hospital=source.hospital or hospital, manufacturer=source.manufacturer or maker
    )
    return msgspec.structs.replace(record, source=source, clinical={**known, **told} or None)


def with_keys(
    record: Record, *, patient: str | None, cines: Sequence[str] = (), split: Split | None
) -> Record:
    """The record with the patient, clip and side that are newly told, where it knows none.

    Parameters
    ----------
    record : Record
    patient : str, optional
        Key in the folder.
    cines : sequence of str
        Key of the clip, and others by which it may be known.
    split : str, optional

    Raises
    ------
    DatasetError
        If the record has another one.
    """
    is_unnamed = is_unknown(record.patient_key)
    if patient and not is_unnamed and patient != record.patient_key:
        raise DatasetError(
            f"{record.id} is in the folder as a frame of another patient: the same pixels can't be "
            f"two patients'. Correct the list of patients; {_REMOVE}"
        )
    if cines and record.cine_key not in (None, *cines):
        raise DatasetError(
            f"{record.id} is in the folder as a frame of another clip. Correct the list of clips; {_REMOVE}"
        )
    if split and record.split not in (None, split):
        raise DatasetError(
            f"{record.id} is in the folder on the side {record.split}, and is said to be on the side "
            f"{split}. Leave the side that holds; {_REMOVE}"
        )
    cine = cines[0] if cines else record.cine_key
    if is_unnamed and not patient and cines:
        patient = f"{UNKNOWN}{cine}"
    return msgspec.structs.replace(
        record, patient_key=patient or record.patient_key, cine_key=cine, split=split or record.split
    )


def now() -> datetime:
    """UTC with whole seconds. For people: order comes from revision numbers, since clocks jump."""
    return datetime.now(UTC).replace(microsecond=0)


def node_entry(node: Node, **sizes: Any) -> NodeEntry:
    """A node as a record keeps it."""
    return NodeEntry(**asdict(node), **sizes)
