"""Save what a reader says about a frame: know the frame again, notice a rival, write, keep the former."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..disk.atomic import read_json
from ..disk.locks import lock
from ..errors import ConflictError, DatasetError
from ..imaging.measurement import spacing_of
from ..types import Annotation, Box, Case, Frame
from .commits import commit, hashes_of, keep_rival, keep_state
from .keys import hash_pixels, maker_of
from .layout import Layout
from .masks import complete_nodes, crop_instances, describe_nodes, masks_of
from .pictures import cut_out
from .records import SCHEMA, Record, add_history, case_of, has_mask, now

if TYPE_CHECKING:
    from .dataset import TrainingFolder

NO_HEADER = "113100"
"""DICOM's code (PS3.16, CID 7050) for: nothing of the header is kept that could name a patient."""

__all__ = ["Provenance", "history_entry", "identify", "save"]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a frame comes from, who saves it, and what was done.

    ``action`` is what the line of history says; by default the annotation's status. ``judged_by`` is
    whose judgement that status is, where another reader saves the frame with it. ``readings`` are the
    second readings that a decision weighed: reader, and when they read it.
    """

    patient: str | None = None
    cine: str | None = None
    who: str | None = None
    kind: str = "file"
    split: str | None = None
    action: str | None = None
    judged_by: str | None = None
    readings: Mapping[str, str] | None = None


def save(
    folder: TrainingFolder,
    annotation: Annotation,
    about: Provenance,
    *,
    expected_revision: int | None = None,
    overlay: NDArray[np.bool_] | None = None,
    count: bool = True,
) -> Case:
    """Save an annotation; see :meth:`TrainingFolder.save`.

    Parameters
    ----------
    count : bool
        Whether to bring ``numTraining`` up to date; an import does that once, at its end.
    """
    if folder.read_only:
        raise DatasetError(
            f"{folder.path.name} was written by a newer napari-cln and is open for reading only. Update "
            "napari-cln."
        )
    layout, frame = folder.layout, annotation.frame
    case_id = folder.identify(frame)
    who = about.who or "a reader"
    nodes = complete_nodes(annotation)
    image = None
    box: Box = (0, 0, *frame.shape)
    if not layout.record(case_id).exists():
        # Outside the lock: finding burned-in marks takes longer than the save.
        image, box = cut_out(frame, annotation.mask, overlay)
    try:
        with lock(layout.locks, case_id, who):
            former = folder.record(case_id) if layout.record(case_id).exists() else None
            if former is None:
                if image is None:
                    raise DatasetError(f"{case_id} was removed from the folder meanwhile. Save it again.")
                record = _first_record(folder, annotation, about, case_id, image, box)
            else:
                image = None
                record = _next_record(folder, former, frame, about)
                box = _box_of(former, frame)
            masks = masks_of(crop_instances(annotation.instances, box), nodes, annotation.status)
            _fill_in(record, annotation, about, who)
            record["nodes"] = describe_nodes(annotation, nodes)
            record.update(hashes_of(masks))
            if former is not None and expected_revision not in (None, former["revision"]):
                record["revision"] = int(expected_revision or 0) + 1
                keep_state(layout, former)
                keep_rival(layout, record, masks)
                last = former["history"][-1] if former["history"] else {}
                raise ConflictError(
                    f"{case_id} was changed by {last.get('who', 'another reader')} at "
                    f"{last.get('until') or last.get('t')}, after you opened it. Your version is kept "
                    "among the "
                    "revisions. Look at the other one, then save again."
                )
            commit(layout, record, masks, image=image, former=former)
    except OSError as cause:
        folder.autosave.keep(annotation, case_id, who=who, revision=expected_revision or 0)
        raise DatasetError(
            f"{case_id} can't be saved ({cause.strerror}). Your strokes are kept and will be offered again. "
            "Free some space, or make the folder writable, and save again."
        ) from cause
    folder.autosave.clear(case_id, who)
    if count and has_mask(record) != (former is not None and has_mask(former)):
        folder.recount()
    return case_of(record, layout)


def identify(layout: Layout, frame: Frame) -> str:
    """Id of a frame: the first 16 hexadecimal digits of the SHA-256 of its grey pixels.

    An image that was opened from the folder keeps the id it has there, though cropping and painting
    over gave it other pixels than its source.
    """
    digest = hash_pixels(frame.grey)
    path = frame.source
    if path is not None and path.name.endswith("_0000.png"):
        stored = path.name[:16]
        inside = path.parent.resolve() in (layout.images.resolve(), layout.unmasked.resolve())
        if inside and layout.record(stored).exists():
            record = read_json(layout.record(stored))
            if record.get("image", {}).get("sha256") == digest:
                return stored
    return digest[:16]


def _box_of(record: Record, frame: Frame) -> Box:
    """The part of a frame that the folder keeps of it."""
    rows, columns = record["image"]["rows"], record["image"]["columns"]
    source = record.get("source", {})
    if frame.shape == (rows, columns):
        return 0, 0, rows, columns
    if frame.shape != (source.get("rows"), source.get("columns")):
        raise DatasetError(
            f"{record['id']} was stored from a frame of {source.get('rows')}×{source.get('columns')} "
            "pixels, this one "
            f"has {frame.shape[0]}×{frame.shape[1]}. Open the frame that was saved first."
        )
    x0, y0, x1, y1 = source["crop"]
    return y0, x0, y1, x1


def _first_record(
    folder: TrainingFolder,
    annotation: Annotation,
    about: Provenance,
    case_id: str,
    image: NDArray[np.uint8],
    box: Box,
) -> Record:
    frame = annotation.frame
    cine = about.cine
    if cine is None and frame.n_frames > 1 and frame.source is not None:
        cine = str(frame.source.absolute())
    cine_key = folder.hash_key("cine", cine) if cine else None
    patient = about.patient or frame.patient_id
    row0, column0, row1, column1 = box
    spacing = spacing_of(frame, annotation.mask) or frame.spacing_mm
    source: dict[str, Any] = {"kind": about.kind, "frame": frame.index, "rows": frame.shape[0]}
    source |= {"columns": frame.shape[1], "crop": [column0, row0, column1, row1]}
    source["deid"] = [NO_HEADER]
    if (maker := maker_of(frame.vendor)) is not None:
        source["manufacturer"] = maker
    if frame.decoder is not None:
        source["decoder"] = frame.decoder
    typed_by = {"spacing_by": about.who or "a reader"} if spacing and frame.spacing_source == "typed" else {}
    return {
        "schema": SCHEMA,
        "id": case_id,
        "revision": 0,
        "patient_key": folder.hash_key("patient", patient) if patient else f"unknown-{cine_key or case_id}",
        "cine_key": cine_key,
        "split": about.split,
        "image": {"sha256": hash_pixels(image), "rows": image.shape[0], "columns": image.shape[1]},
        "source": source,
        "spacing_mm": list(spacing) if spacing else None,
        "spacing_source": frame.spacing_source if spacing else None,
        **typed_by,
        "history": [],
    }


def _next_record(folder: TrainingFolder, former: Record, frame: Frame, about: Provenance) -> Record:
    case_id = former["id"]
    if former["schema"] > SCHEMA:
        raise DatasetError(
            f"{case_id} was written by a newer napari-cln (schema {former['schema']}), so it is not changed. "
            "Update napari-cln."
        )
    record = dict(former)
    if about.patient:
        key = folder.hash_key("patient", about.patient)
        if former["patient_key"] != key and not former["patient_key"].startswith("unknown-"):
            raise DatasetError(
                f"{case_id} is in the folder as a frame of another patient: the same pixels can't be "
                "two patients'. "
                "Correct the list of patients; if the folder is wrong, remove the frame's record and "
                "save it again."
            )
        record["patient_key"] = key
    if frame.spacing_source == "typed" and frame.spacing_mm:
        if former.get("spacing_mm") != list(frame.spacing_mm):
            record["spacing_by"] = about.who or "a reader"
        record |= {"spacing_mm": list(frame.spacing_mm), "spacing_source": "typed"}
    return record


def history_entry(annotation: Annotation, about: Provenance, who: str) -> dict[str, Any]:
    """Return a line of history: when, who, with what, what was done, on which model, in how many seconds."""
    entry: dict[str, Any] = {"t": now(), "who": who, "app": f"napari-cln {__version__}"}
    entry["action"] = about.action or annotation.status
    if about.action in ("taken-back", "noted", "undone"):
        entry["status"] = annotation.status
    if about.judged_by not in (None, who):
        entry["judged_by"] = about.judged_by
    if annotation.based_on is not None:
        entry["model"] = annotation.based_on
        entry["untouched"] = annotation.status == "accepted"
    if annotation.seconds is not None:
        entry["seconds"] = round(float(annotation.seconds), 1)
    if about.readings:
        entry["readings"] = dict(about.readings)
    return entry


def _fill_in(record: Record, annotation: Annotation, about: Provenance, who: str) -> None:
    """What every save adds: the state, the revision number, a line of history."""
    record["revision"] += 1
    record["status"] = annotation.status
    record["note"] = annotation.note
    record["history"] = add_history(record["history"], history_entry(annotation, about, who))
