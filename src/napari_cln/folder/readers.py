"""Second readings: blind outlines beside a frame's own, and the pairs to compare.

How well two readers agree is measured by :mod:`napari_cln.study`:

>>> from napari_cln.study.statistics.agreement import kappa                       # doctest: +SKIP
>>> from napari_cln.study.statistics.metrics import dice                          # doctest: +SKIP
>>> [dice(*pair.masks) for pair in pair_readings(folder, "r2")]                   # doctest: +SKIP
>>> kappa(*pair_truths(folder, "r2"))                                  # doctest: +SKIP
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from ..annotation import Annotation, Case, frame_truth
from ..disk.atomic import (
    MAX_JSON_BYTES,
    TEMPORARY,
    keep_former,
    read_bytes,
    staged,
    sync_folder,
    write_atomically,
)
from ..disk.locks import HeldError, lock
from ..disk.schema import SchemaError, decode_json
from ..disk.seals import checksum_holds, encode_checked, with_own_line_ends
from ..errors import DatasetError
from ..types import Frame, Status, Truth
from .commits import safe_name
from .dataset import TrainingFolder, read_not_judged
from .layout import checked_id
from .pictures import encode_png, hash_pixels, read_png
from .record import (
    SCHEMA,
    CaseId,
    Name,
    NodeEntry,
    NoteText,
    Seconds,
    Sha256,
    node_entry,
    now,
)
from .state import with_all_nodes

_log = logging.getLogger(__name__)
_READING = re.compile(r"([0-9a-f]{16})\.([A-Za-z0-9_]+)(\.json|\.png)")


class ReadingEntry(Struct, frozen=True, kw_only=True):
    """Content of a second reading's file, beside its picture."""

    schema: int
    id: CaseId
    reader: Name
    status: Status
    nodes: tuple[NodeEntry, ...]
    note: NoteText = ""
    seconds: Seconds | None = None
    t: Name
    instances_sha256: Sha256


_decoder = msgspec.json.Decoder(ReadingEntry)


class TruthsApart(NamedTuple):
    """Two truths that differ: of a node, by its id in the first reading, or of the frame (None)."""

    node: int | None
    first: Truth
    second: Truth

    @property
    def are_opposed(self) -> bool:
        """True for benign against metastatic: who says nothing contradicts nobody."""
        return "unknown" not in (self.first, self.second)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadingPair:
    """One frame as the folder has it and as another reader saw it, both in the stored image's pixels.

    ``read_at`` is when the other reader saved it, by which a decision says which state it weighed.
    """

    case: Case
    first: Annotation
    second: Annotation
    read_at: str

    @property
    def masks(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Outlines of the first and the second reading, without rejected nodes, bool (H, W)."""
        return self.first.standing_instances > 0, self.second.standing_instances > 0

    @property
    def truths_apart(self) -> tuple[TruthsApart, ...]:
        """Truths that differ, of the frame and of nodes that lie on each other; rejected nodes are none.

        Nodes lie on each other where they share half of the smaller one, so that one may lie on two.
        """
        pairs = {pair: None for pair in self._truths_on_each_other() if pair.first != pair.second}
        labels = self.first.label, self.second.label
        if labels[0] != labels[1] and labels not in {(pair.first, pair.second) for pair in pairs}:
            return TruthsApart(None, *labels), *pairs
        return tuple(pairs)

    @property
    def is_opposed(self) -> bool:
        """True where one reader says benign and the other metastatic, of the frame or of a node."""
        return any(truths.are_opposed for truths in self.truths_apart)

    @property
    def differs(self) -> bool:
        """True where outlines or truths differ, of the frame or of nodes that lie on each other."""
        return bool(self.truths_apart) or not np.array_equal(*self.masks)

    def _truths_on_each_other(self) -> Iterator[TruthsApart]:
        truths = [
            {node.id: node.truth for node in one.nodes if node.status != "rejected"}
            for one in (self.first, self.second)
        ]
        if max(map(len, truths)) < 2:
            return  # the node's truth is that of the frame
        ids = [one.standing_instances.ravel() for one in (self.first, self.second)]
        shared = np.bincount(ids[0].astype(np.intp) * 256 + ids[1], minlength=2**16).reshape(256, 256)
        smaller = np.minimum(shared.sum(axis=1)[:, None], shared.sum(axis=0))
        for first, second in np.argwhere((shared > 0) & (2 * shared >= smaller)).tolist():
            if first and second:
                yield TruthsApart(first, truths[0].get(first, "unknown"), truths[1].get(second, "unknown"))


def read_annotation(study: TrainingFolder, case: Case) -> Annotation:
    """Read what the folder says about a frame, ready to be shown, corrected and saved again.

    Parameters
    ----------
    study : TrainingFolder
    case : Case

    Returns
    -------
    Annotation
        In the pixels of the stored image, its masks uint8 (H, W).

    Raises
    ------
    DatasetError
        If a file is damaged or missing.
    """
    record = study.record(case.id)
    last = record.last
    return Annotation(
        frame=study.read_frame(case),
        instances=study.read_instances(case),
        nodes=case.nodes,
        status=case.status,
        annotator=(last.judged_by or last.who) if last else None,
        based_on=last.model if last else None,
        note=record.note,
        not_judged=read_not_judged(study, case),
    )


def save_reading(study: TrainingFolder, annotation: Annotation, reader: str) -> None:
    """Save a second reading of a frame; the folder's own masks and truths stay as they are.

    Parameters
    ----------
    study : TrainingFolder
    annotation : Annotation
        On the image that the folder stores of the frame.
    reader : str
        Letters, digits and ``_``; a former reading of the same reader goes to the revisions.

    Raises
    ------
    DatasetError
        If the frame is not in the folder, the annotation not in the pixels of its stored image, another
        reader's name differs in capitals alone, or the disk refuses.
    """
    case = study.case(study.identify(annotation.frame))
    annotation = with_all_nodes(annotation)
    # <id>.nodes.png holds the ids of the folder's own nodes
    named = safe_name(reader) == reader and reader.casefold() != "nodes"
    if annotation.instances.shape != case.shape or study.dataset.read_only or not named:
        raise DatasetError(
            f"The reading of {case.id} by {reader!r} can't be kept: open the image from the training folder, "
            "and use a reader's name of letters and digits."
        )
    if (other := _other_spelling(study, reader)) is not None:
        raise DatasetError(
            f"The reading of {case.id} by {reader!r} can't be kept: {other!r} has read in this folder, and "
            f"disks of Windows and macOS take the two names for one. Sign as {other!r}, or take a name that "
            "differs by more than capitals."
        )
    path = _path(study, case.id, reader)
    entry = ReadingEntry(
        schema=SCHEMA,
        id=case.id,
        reader=reader,
        status=annotation.status,
        nodes=tuple(node_entry(node) for node in annotation.nodes),
        note=annotation.note,
        seconds=annotation.seconds,
        t=f"{now():%Y-%m-%dT%H:%M:%SZ}",
        instances_sha256=hash_pixels(annotation.instances),
    )
    text = encode_checked(msgspec.to_builtins(entry), entry, _decoder, path.name)
    try:
        with lock(study.layout.locks, case.id, reader):
            _put_in_place(study, path, encode_png(annotation.instances), text)
    except HeldError:
        study.autosave.keep(annotation, case.id, who=reader)
        raise
    except OSError as cause:
        study.autosave.keep(annotation, case.id, who=reader)
        raise DatasetError(
            f"The reading of {case.id} can't be saved ({cause.strerror}). Your strokes are kept. "
            "Free some space, or make the folder writable, and save again."
        ) from cause


def _other_spelling(study: TrainingFolder, reader: str) -> str | None:
    """Reader of the folder whose name differs from this one in capitals alone."""
    known = {name for names in reading_files(study).values() for name in names}
    if reader in known:
        return None
    return next((name for name in sorted(known) if name.casefold() == reader.casefold()), None)


def _put_in_place(study: TrainingFolder, path: Path, picture: bytes, text: bytes) -> None:
    """Stage both files of a reading, keep the former, then rename the picture, and last the text."""
    with staged([(path.with_suffix(".png"), picture), (path, text)]) as put_in_place:
        _keep_former_reading(study, path)
        put_in_place(2)


def restore_reading(study: TrainingFolder, case_id: str, reader: str) -> str | None:
    """Make the two files of a second reading fit again; the caller holds the lock of its frame.

    Parameters
    ----------
    study : TrainingFolder
    case_id : str
    reader : str

    Returns
    -------
    str or None
        What was done, in a sentence; None where neither the save that was cut short nor the reading before
        it is whole.
    """
    path = _path(study, case_id, reader)
    picture, records = path.with_suffix(".png"), study.layout.records
    for left in sorted(records.glob(f"{TEMPORARY}{path.name}-*")):
        if _fits(left, picture):
            left.replace(path)
            sync_folder(records)
            return f"The reading of {case_id} by {reader} that was cut short is finished."
    kept = sorted((study.layout.revisions / case_id).glob(f"*-{path.name}.reading"), key=_age, reverse=True)
    for text in kept:
        former = text.with_name(text.name.replace(f"{path.name}.reading", f"{picture.name}.reading"))
        if _fits(text, former):
            for goal, source in ((picture, former), (path, text)):
                write_atomically(goal, source.read_bytes())
            return f"The reading of {case_id} by {reader} is the one before again."
    return None


def _fits(text: Path, picture: Path) -> bool:
    with suppress(DatasetError, OSError):
        return read_entry(text).instances_sha256 == hash_pixels(read_png(picture))
    return False


def _age(path: Path) -> int:
    """Number of a former reading, by which they follow each other."""
    number = path.name.partition("Z-")[2].partition("-")[0]
    return int(number) if number.isdecimal() else -1


def second_readings(study: TrainingFolder) -> dict[str, list[str]]:
    """Readers who gave second readings, by the frame's id, both sorted."""
    return _listed(study, (".json",))


def reading_files(study: TrainingFolder) -> dict[str, list[str]]:
    """Of whom there is any file of a second reading, whole or not: readers by the frame's id."""
    return _listed(study, (".json", ".png"))


def _listed(study: TrainingFolder, endings: tuple[str, ...]) -> dict[str, list[str]]:
    readers: dict[str, set[str]] = {}
    try:
        with os.scandir(study.layout.records) as entries:
            for entry in entries:
                match = _READING.fullmatch(entry.name)
                if match and match[3] in endings and match[2] != "nodes":
                    readers.setdefault(match[1], set()).add(match[2])
    except FileNotFoundError:  # an empty folder, after a clone by git
        return {}
    except OSError as cause:
        raise DatasetError(
            f"The records of {study.path.name} can't be listed ({cause.strerror}). Check the permissions."
        ) from cause
    return {case_id: sorted(readers[case_id]) for case_id in sorted(readers)}


def readers_of(study: TrainingFolder, case_id: str) -> list[str]:
    """Readers who gave a second reading of a frame, sorted."""
    return second_readings(study).get(checked_id(case_id), [])


def read_reading(study: TrainingFolder, case: Case, reader: str) -> Annotation:
    """A second reading, on the stored image.

    Parameters
    ----------
    study : TrainingFolder
    case : Case
    reader : str
        Letters, digits and ``_``.

    Raises
    ------
    DatasetError
        If there is none, or its files are of two different saves.
    """
    return _reading(study, case, reader, read_annotation(study, case).frame)[0]


def _reading(study: TrainingFolder, case: Case, reader: str, frame: Frame) -> tuple[Annotation, str]:
    """A second reading on its frame, and when it was saved."""
    path = _path(study, case.id, reader)
    entry = read_entry(path)
    instances = read_png(path.with_suffix(".png"))
    if hash_pixels(instances) != entry.instances_sha256 or instances.shape != case.shape:
        raise DatasetError(
            f"{path.name} and its mask come from two different saves. Ask {reader} to read the frame again."
        )
    annotation = Annotation(
        frame=frame,
        instances=instances,
        nodes=tuple(node.node for node in entry.nodes),
        status=entry.status,
        annotator=reader,
        note=entry.note,
        seconds=entry.seconds,
    )
    return annotation, entry.t


def read_entry(path: Path) -> ReadingEntry:
    """Read the file of a second reading.

    Raises
    ------
    DatasetError
        If it is missing, not as it was saved, or a value does not fit; the message names it.
    """
    ask = "Ask the reader to read the frame again; a former reading may be in the revisions folder."
    try:
        data = read_bytes(path, MAX_JSON_BYTES)
    except OSError as cause:
        raise DatasetError(f"{path.name} can't be read ({cause.strerror}). {ask}") from cause
    if checksum_holds(data) is False and with_own_line_ends(data) is None:
        raise DatasetError(f"{path.name} is not as it was saved: its checksum differs. {ask}")
    try:
        return decode_json(_decoder, data)
    except SchemaError as cause:
        raise DatasetError(f"{path.name} {cause}. {ask}") from cause


def read_pair(study: TrainingFolder, case_id: str, reader: str) -> ReadingPair:
    """A second reading of a frame, beside what the folder says of it.

    Parameters
    ----------
    study : TrainingFolder
    case_id : str
    reader : str
        Of the second reading.

    Raises
    ------
    DatasetError
        If there is no such frame or reading, or a file is damaged.
    """
    case = study.case(case_id)
    return _pair(study, case, reader, read_annotation(study, case))


def _pair(study: TrainingFolder, case: Case, reader: str, first: Annotation) -> ReadingPair:
    second, read_at = _reading(study, case, reader, first.frame)
    return ReadingPair(case=case, first=first, second=second, read_at=read_at)


def read_pairs(study: TrainingFolder, case_id: str) -> Iterator[ReadingPair]:
    """All second readings of a frame, beside what the folder says of it.

    Readings that can't be read are left out, logged, and named by ``check``.

    Raises
    ------
    DatasetError
        If there is no such frame, or a file of its own is damaged.
    """
    if not (readers := readers_of(study, case_id)):
        return
    case = study.case(case_id)
    first = read_annotation(study, case)
    for reader in readers:
        with _left_out():
            yield _pair(study, case, reader, first)


def pair_readings(study: TrainingFolder, reader: str) -> Iterator[ReadingPair]:
    """Every frame that a second reader has read, beside what the folder says of it.

    Frames of which a file can't be read are left out, logged, and named by ``check``.
    """
    for case_id in _ids_of(study, reader):
        with _left_out():
            yield read_pair(study, case_id, reader)


@contextmanager
def _left_out() -> Iterator[None]:
    try:
        yield
    except DatasetError as cause:
        _log.warning("A second reading is left out: %s", cause)


def pair_truths(study: TrainingFolder, reader: str) -> tuple[list[Truth], list[Truth]]:
    """Truths of all frames that a second reader has read: the folder's, and theirs; opens no picture.

    Frames of which a file can't be read are left out, logged, and named by ``check``.

    Parameters
    ----------
    study : TrainingFolder
    reader : str
        Of the second readings.

    Returns
    -------
    first, second : list of str
        Truths of the same frames, in the same order.
    """
    first: list[Truth] = []
    second: list[Truth] = []
    for case_id in _ids_of(study, reader):
        with _left_out():
            truth = study.case(case_id).truth
            nodes = read_entry(_path(study, case_id, reader)).nodes
            first.append(truth)
            second.append(frame_truth(tuple(node.node for node in nodes)))
    return first, second


def _ids_of(study: TrainingFolder, reader: str) -> list[str]:
    return [case_id for case_id, readers in second_readings(study).items() if reader in readers]


def _path(study: TrainingFolder, case_id: str, reader: str) -> Path:
    return study.layout.records / f"{checked_id(case_id)}.{safe_name(reader)}.json"


def _keep_former_reading(study: TrainingFolder, path: Path) -> None:
    if not path.exists():
        return
    folder = study.layout.revisions / path.name[:16]
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{now():%Y-%m-%dT%H%M%SZ}-{len(list(folder.glob('*.reading')))}"
    for part in (path.with_suffix(".png"), path):
        if part.exists():
            keep_former(part, folder / f"{stem}-{part.name}.reading")
    sync_folder(folder)
