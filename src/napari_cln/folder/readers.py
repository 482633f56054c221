"""Second readings: blind outlines beside a frame's own, and the pairs to compare.

How well two readers agree is measured by :mod:`napari_cln.study`:

>>> from napari_cln.study.statistics.agreement import kappa                       # doctest: +SKIP
>>> from napari_cln.study.statistics.metrics import dice                          # doctest: +SKIP
>>> [dice(pair.first.mask, pair.second.mask) for pair in pair_readings(folder, "r2")]   # doctest: +SKIP
>>> kappa(*pair_truths(folder, "r2"))                                  # doctest: +SKIP
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..disk.atomic import checked_id, keep_former, read_json, sync_folder, write_atomically
from ..disk.locks import lock
from ..errors import DatasetError
from ..types import Annotation, Case, Frame, Truth, frame_truth
from .commits import safe_name
from .dataset import TrainingFolder
from .keys import hash_pixels
from .masks import complete_nodes
from .pictures import encode_png, read_png
from .records import SCHEMA, encode, node_entry, nodes_of, now

__all__ = [
    "ReadingPair",
    "pair_readings",
    "pair_truths",
    "read_annotation",
    "read_pair",
    "read_reading",
    "readers_of",
    "save_reading",
    "second_readings",
]

_READING = re.compile(r"([0-9a-f]{16})\.([A-Za-z0-9_]+)\.json")


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
    def differs(self) -> bool:
        """Whether outlines or truths differ."""
        return self.first.label != self.second.label or not np.array_equal(self.first.mask, self.second.mask)


def read_annotation(study: TrainingFolder, case: Case) -> Annotation:
    """What the folder says about a frame, ready to be shown, corrected and saved again.

    Raises
    ------
    DatasetError
        If a file is damaged or missing.
    """
    record = study.record(case.id)
    last = record["history"][-1] if record["history"] else {}
    frame = Frame(
        pixels=study.read_image(case),
        spacing_mm=case.spacing_mm,
        spacing_source=record.get("spacing_source"),
        source=case.image,
        vendor=case.vendor,
        scan_area=(0, 0, *case.extra["shape"]),
    )
    return Annotation(
        frame=frame,
        instances=study.read_instances(case),
        nodes=case.nodes,
        status=case.status,
        annotator=last.get("judged_by") or last.get("who"),
        based_on=last.get("model"),
        note=record.get("note", ""),
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
        If the frame is not in the folder, the annotation not in the pixels of its stored image, or
        the disk refuses.
    """
    case = study.case(study.identify(annotation.frame))
    nodes = complete_nodes(annotation)
    named = safe_name(reader) == reader != "nodes"  # <id>.nodes.png holds the ids of the folder's own nodes
    if annotation.instances.shape != case.extra["shape"] or study.read_only or not named:
        raise DatasetError(
            f"The reading of {case.id} by {reader!r} can't be kept: open the image from the training "
            "folder, and use "
            "a reader's name of letters and digits."
        )
    path = _path(study, case.id, reader)
    entry = {
        "schema": SCHEMA,
        "id": case.id,
        "reader": reader,
        "status": annotation.status,
        "nodes": [node_entry(node) for node in nodes],
        "note": annotation.note,
        "seconds": annotation.seconds,
        "t": now(),
        "instances_sha256": hash_pixels(annotation.instances),
    }
    try:
        with lock(study.layout.locks, case.id, reader):
            _keep_former_reading(study, path)
            write_atomically(path.with_suffix(".png"), encode_png(annotation.instances))
            write_atomically(path, encode(entry))
    except OSError as cause:
        study.autosave.keep(annotation, case.id, who=reader)
        raise DatasetError(
            f"The reading of {case.id} can't be saved ({cause.strerror}). Your strokes are kept. "
            "Free some space, or make the folder writable, and save again."
        ) from cause


def second_readings(study: TrainingFolder) -> dict[str, list[str]]:
    """Who has given second readings: readers by the frame's id, both sorted."""
    with os.scandir(study.layout.records) as entries:
        found = sorted(match.groups() for entry in entries if (match := _READING.fullmatch(entry.name)))
    readers: dict[str, list[str]] = {}
    for case_id, reader in found:
        readers.setdefault(case_id, []).append(reader)
    return readers


def readers_of(study: TrainingFolder, case_id: str) -> list[str]:
    """Who has given a second reading of a frame, sorted."""
    return second_readings(study).get(checked_id(case_id), [])


def read_reading(study: TrainingFolder, case: Case, reader: str) -> Annotation:
    """A second reading, on the stored image.

    Raises
    ------
    DatasetError
        If there is none, or its files are of two different saves.
    """
    path = _path(study, case.id, reader)
    entry = read_json(path)
    instances = read_png(path.with_suffix(".png"))
    if hash_pixels(instances) != entry.get("instances_sha256") or instances.shape != case.extra["shape"]:
        raise DatasetError(
            f"{path.name} and its mask come from two different saves. Ask {reader} to read the frame again."
        )
    return Annotation(
        frame=read_annotation(study, case).frame,
        instances=instances,
        nodes=nodes_of(entry),
        status=entry["status"],
        annotator=reader,
        note=entry.get("note", ""),
        seconds=entry.get("seconds"),
    )


def read_pair(study: TrainingFolder, case_id: str, reader: str) -> ReadingPair:
    """A second reading of a frame, beside what the folder says of it.

    Raises
    ------
    DatasetError
        If there is no such frame or reading, or a file is damaged.
    """
    case = study.case(case_id)
    return ReadingPair(
        case=case,
        first=read_annotation(study, case),
        second=read_reading(study, case, reader),
        read_at=str(read_json(_path(study, case_id, reader)).get("t")),
    )


def pair_readings(study: TrainingFolder, reader: str) -> Iterator[ReadingPair]:
    """Every frame that a second reader has read, beside what the folder says of it."""
    for case in _cases_of(study, reader):
        yield read_pair(study, case.id, reader)


def pair_truths(study: TrainingFolder, reader: str) -> tuple[list[Truth], list[Truth]]:
    """Truths of all frames that a second reader has read: the folder's, and theirs; opens no picture."""
    first, second = [], []
    for case in _cases_of(study, reader):
        first.append(case.truth)
        second.append(frame_truth(nodes_of(read_json(_path(study, case.id, reader)))))
    return first, second


def _cases_of(study: TrainingFolder, reader: str) -> Iterator[Case]:
    for case_id, readers in second_readings(study).items():
        if reader in readers:
            with suppress(DatasetError):  # a damaged record is named by `napari-cln check`
                yield study.case(case_id)


def _path(study: TrainingFolder, case_id: str, reader: str) -> Path:
    return study.layout.records / f"{checked_id(case_id)}.{safe_name(reader)}.json"


def _keep_former_reading(study: TrainingFolder, path: Path) -> None:
    if not path.exists():
        return
    folder = study.layout.revisions / path.name[:16]
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.glob("*.reading")))
    for part in (path, path.with_suffix(".png")):
        if part.exists():
            keep_former(part, folder / f"{now().replace(':', '')}-{number}-{part.name}.reading")
    sync_folder(folder)
