"""Frames that a training folder wrote: their records without what is nobody else's, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ...disk.atomic import checked_id
from ...disk.locks import lock
from ...errors import DatasetError
from ...types import Annotation, Case, Frame, Status
from ..commits import commit, hashes_of, keep_rival
from ..dataset import TrainingFolder
from ..keys import hash_pixels
from ..masks import masks_of
from ..records import SCHEMA, Record, case_of, checked_record, nodes_of
from ..saving import Provenance, history_entry
from ..screens import PIXELS_SEEN
from .parcel import Incoming, Parcel

__all__ = ["StoredFrame", "adopt", "find_stored", "parcel_of", "read_stored", "shareable"]

KEPT = (
    "schema",
    "id",
    "status",
    "nodes",
    "patient_key",
    "cine_key",
    "split",
    "image",
    "source",
    "spacing_mm",
    "spacing_source",
    "mask_sha256",
    "instances_sha256",
    "p_malignant",
)
"""Keys of a record that leave the folder: no reader's name, no free text."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredFrame:
    """A frame as it leaves a training folder."""

    case: Case
    record: Record
    image: NDArray[np.uint8]
    instances: NDArray[np.uint8]


def shareable(record: Record) -> Record:
    """A record without the readers' names, times and notes."""
    return {key: record[key] for key in KEPT if key in record} | {"revision": 1, "history": []}


def read_stored(study: TrainingFolder) -> Iterator[StoredFrame]:
    """Read every frame of a folder whose pictures were looked at, one at a time.

    Raises
    ------
    DatasetError
        If a file is damaged, missing, or a link.
    """
    for case_id in study.ids():
        case = study.case(case_id)
        record = shareable(study.record(case.id))
        source = record.get("source") or {}
        record["source"] = source | {"deid": sorted({*source.get("deid", ()), PIXELS_SEEN})}
        yield StoredFrame(
            case=case,
            record=record,
            image=study.read_image(case),
            instances=study.read_instances(case),
        )


def find_stored(study: TrainingFolder) -> list[Incoming]:
    """The frames of another training folder."""
    return [Incoming(name=case_id, read=partial(_read, study, case_id)) for case_id in study.ids()]


def _read(study: TrainingFolder, case_id: str) -> Parcel:
    case = study.case(case_id)
    return parcel_of(study.record(case_id), study.read_image(case), study.read_instances(case))


def parcel_of(record: Record, image: NDArray[np.uint8], instances: NDArray[np.uint8]) -> Parcel:
    """A parcel from a record and its pictures, as another folder or an export gives them.

    Raises
    ------
    DatasetError
        If the record is not one, or speaks of another image.
    """
    record = checked_record(record, checked_id(str(record.get("id"))))
    if record["schema"] > SCHEMA:
        raise DatasetError(
            f"{record['id']} was written by a newer napari-cln. Update napari-cln to import it."
        )
    if record["image"]["sha256"] != hash_pixels(image) or instances.shape != image.shape:
        raise DatasetError(
            f"{record['id']} comes with another image than its record describes. Export the folder again."
        )
    status: Status = record["status"]
    annotation = Annotation(
        frame=Frame(pixels=image), instances=instances, nodes=nodes_of(record), status=status
    )
    return Parcel(annotation=annotation, about=Provenance(who="import", action="imported"), stored=record)


def adopt(study: TrainingFolder, parcel: Parcel) -> Case:
    """Take a stored frame over as it is: id, keys, nodes and pixels.

    Raises
    ------
    DatasetError
        If the folder has the frame already with other masks, truths or patient; both are then
        kept, the new one among the revisions.
    """
    annotation, about = parcel.annotation, parcel.about
    if parcel.stored is None:
        raise ValueError("adopt takes parcels that a training folder wrote")
    case_id = parcel.stored["id"]
    masks = masks_of(annotation.instances, annotation.nodes, annotation.status)
    record = shareable(parcel.stored) | {"note": "", "history": [history_entry(annotation, about, "import")]}
    record |= hashes_of(masks)
    with lock(study.layout.locks, case_id, "import"):
        if study.layout.record(case_id).exists():
            former = study.record(case_id)
            if all(
                former.get(key) == record.get(key)
                for key in ("nodes", "status", "patient_key", *hashes_of(masks))
            ):
                return case_of(former, study.layout)
            keep_rival(study.layout, record, masks)
            raise DatasetError(
                f"{case_id} is in the folder already, with other masks, truths or patient. The folder's "
                "stay; the new "
                "ones are kept among the revisions. Compare them in the Correct dock."
            )
        commit(study.layout, record, masks, image=annotation.frame.grey, former=None)
    return case_of(record, study.layout)
