"""Second readings: blind outlines beside a frame's own, pairs to compare, and the decision between them.

How well two readers agree is measured by :mod:`napari_cln.study`:

>>> from napari_cln.study.agreement import kappa                       # doctest: +SKIP
>>> from napari_cln.study.metrics import dice                          # doctest: +SKIP
>>> pairs = list(pair_readings(folder, "r2"))                          # doctest: +SKIP
>>> [dice(pair.first.mask, pair.second.mask) for pair in pairs]        # doctest: +SKIP
>>> kappa([pair.first.label for pair in pairs], [pair.second.label for pair in pairs])   # doctest: +SKIP
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import DatasetError
from ..types import Annotation, Case, Frame
from .commits import safe_name
from .dataset import TrainingFolder
from .keys import hash_pixels
from .locks import lock
from .masks import complete_nodes
from .pictures import encode_png, read_png
from .records import SCHEMA, encode, node_entry, nodes_of, now
from .saving import Provenance, save
from .storage import checked_id, keep_former, read_json, sync_folder, write_atomically

__all__ = [
    "ReadingPair",
    "adjudicate",
    "pair_readings",
    "read_annotation",
    "read_reading",
    "readers_of",
    "save_reading",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadingPair:
    """One frame as the folder has it and as another reader saw it, both in the stored image's pixels."""

    case: Case
    first: Annotation
    second: Annotation


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
        annotator=last.get("who"),
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
    if annotation.instances.shape != case.extra["shape"] or study.read_only or safe_name(reader) != reader:
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


def readers_of(study: TrainingFolder, case_id: str) -> list[str]:
    """Who has given a second reading of a frame, sorted."""
    pattern = re.compile(rf"{checked_id(case_id)}\.([A-Za-z0-9_]+)\.json")
    names = (pattern.fullmatch(path.name) for path in study.layout.records.glob(f"{case_id}.*.json"))
    return sorted(match[1] for match in names if match)


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


def pair_readings(study: TrainingFolder, reader: str) -> Iterator[ReadingPair]:
    """Every frame that a second reader has read, beside what the folder says of it."""
    for case in study.cases():
        if reader in readers_of(study, case.id):
            yield ReadingPair(
                case=case, first=read_annotation(study, case), second=read_reading(study, case, reader)
            )


def adjudicate(study: TrainingFolder, annotation: Annotation, who: str) -> Case:
    """Save the decision between readings as the frame's own; the former state goes to the revisions.

    Parameters
    ----------
    study : TrainingFolder
    annotation : Annotation
        The reading that holds: one of the two, or a third.
    who : str
        Who decided.
    """
    return save(study, annotation, Provenance(who=who, action="adjudicated"))


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
