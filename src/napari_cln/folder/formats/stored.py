"""Frames that a training folder wrote: their records without what is nobody else's, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from ...annotation import Annotation, Case
from ...disk.locks import lock
from ...errors import DatasetError, counted
from ...imaging.burned_in import kept_area
from ...imaging.measurement import spacing_of
from ...imaging.scan_area import find_scan_area
from ...io.volumes import encode_volume
from ...types import Frame, Spacing
from ..commits import commit, keep_rival
from ..dataset import TrainingFolder, read_not_judged
from ..pictures import hash_pixels
from ..record import SCHEMA, NodeEntry, Provenance, Record, case_of, is_unknown, with_keys, with_origin
from ..screens import PIXELS_SEEN
from ..state import State, hashes_of, history_entry, masks_of
from .imported import Found, ImportedFrame, Incoming

VOLUMES = {"nrrd": (".nrrd", ".seg.nrrd"), "nifti": (".nii.gz", "_mask.nii.gz")}
NOT_SAID = "What nobody judged on {} is background in this format; coco, csv and nnunet keep it."
MASKS = ("status", "mask_sha256", "instances_sha256")


@dataclass(frozen=True, kw_only=True, eq=False)
class ExportedFrame:
    """A frame as it leaves a training folder."""

    case: Case
    record: Record
    image: NDArray[np.uint8]
    instances: NDArray[np.uint8]
    channels: Mapping[str, NDArray[np.uint8]]
    not_judged: NDArray[np.bool_] | None = None

    @property
    def spacing_mm(self) -> Spacing | None:
        """Millimetres per pixel, where one scale holds for every part that has one, and for all nodes."""
        case, mask = self.case, self.instances > 0
        is_even = not case.regions or not mask.any() or spacing_of(case, mask) is not None
        return case.spacing_mm if is_even else None

    @property
    def standing(self) -> tuple[NodeEntry, ...]:
        """Nodes that no reader has rejected: what a format without room for a rejection gets."""
        return tuple(entry for entry in self.record.nodes if entry.status != "rejected")

    @property
    def standing_instances(self) -> NDArray[np.uint8]:
        """Ids of those nodes, uint8 (H, W)."""
        ids = [entry.id for entry in self.standing]
        return self.instances * np.isin(self.instances, ids)


def shareable(record: Record) -> Record:
    """A record without the readers' names, times and notes, and without what was read on its picture."""
    source = msgspec.structs.replace(record.source, text=None)
    return msgspec.structs.replace(
        record, revision=1, history=(), note="", spacing_by=None, source=source, others={}
    )


def read_stored(study: TrainingFolder) -> Iterator[ExportedFrame]:
    """Read every frame of a folder whose pictures were looked at, one at a time.

    Raises
    ------
    DatasetError
        If a file is damaged, missing, or a link.
    """
    for case_id in study.ids():
        case = study.case(case_id)
        record = shareable(study.record(case.id))
        deid = tuple(sorted({*record.source.deid, PIXELS_SEEN}))
        source = msgspec.structs.replace(record.source, deid=deid)
        yield ExportedFrame(
            case=case,
            record=msgspec.structs.replace(record, source=source),
            image=study.read_image(case),
            instances=study.read_instances(case),
            channels=study.read_channels(case),
            not_judged=read_not_judged(study, case),
        )


class VolumeWriter:
    """Writes ``ID.nrrd`` and ``ID.seg.nrrd``, or ``ID.nii.gz`` and ``ID_mask.nii.gz``, of each frame.

    Parameters
    ----------
    dest : Path
    endings : (str, str)
        Of pictures and masks, from `VOLUMES`.
    """

    def __init__(self, dest: Path, endings: tuple[str, str]) -> None:
        self._dest, self._endings = dest, endings
        self._n_alone = self._n_partly = self._n_predicted = 0

    def add(self, frame: ExportedFrame) -> None:
        """Add one frame; one without a mask gets its picture alone, and rejected nodes are left out."""
        case, spacing = frame.case, frame.spacing_mm
        picture, mask = (self._dest / f"{case.id}{ending}" for ending in self._endings)
        picture.write_bytes(encode_volume(frame.image, self._endings[0], spacing_mm=spacing))
        instances, ending = frame.standing_instances, self._endings[1].removeprefix("_mask")
        if case.mask is None and not instances.any():
            self._n_alone += 1
            return
        self._n_partly += frame.not_judged is not None
        predicted = [entry.id for entry in frame.standing if entry.status == "predicted"]
        self._n_predicted += ending != ".seg.nrrd" and bool(np.isin(instances, predicted).any())
        nodes = [entry.node for entry in frame.standing]
        mask.write_bytes(encode_volume(instances, ending, nodes=nodes, spacing_mm=spacing))

    def close(self) -> str | None:
        """Say how many frames have a picture alone, and what the masks of others can't say."""
        said = [f"{counted(self._n_alone, 'frame')} without a mask."] if self._n_alone else []
        if self._n_partly:
            said.append(NOT_SAID.format(counted(self._n_partly, "frame")))
        if self._n_predicted:
            said.append(
                f"The masks of {counted(self._n_predicted, 'frame')} have nodes that a model predicted and "
                "nobody accepted, which this format does not tell apart; nrrd does."
            )
        return " ".join(said) or None


def find_stored(study: TrainingFolder) -> Found:
    """The frames of another training folder."""
    if not study.ids() and any(study.layout.images.glob("*.png")):
        raise DatasetError(
            f"{study.path.name} is a training folder with pictures, but without their records.",
            "Copy it again with its folder records, or restore that from git or a backup.",
        )
    items = [Incoming(name=case_id, read=partial(_read, study, case_id)) for case_id in study.ids()]
    cases = study.cases()
    return Found(
        kind="a training folder",
        items=items,
        n_images=len(items),
        n_masks=sum(case.mask is not None for case in cases),
        salt=study.dataset.salt if any(has_keys(case.patient, case.cine) for case in cases) else None,
    )


def has_keys(patient: str, cine: str | None) -> bool:
    """Tell whether a frame has a key of its patient or its clip that was made with a salt."""
    return not is_unknown(patient) or bool(cine)


def only_salt(salts: set[str | None], name: str) -> str | None:
    """The salt with which all keys of a source were made; None where there are none, or it is not told.

    Parameters
    ----------
    salts : set of str or None
        Fingerprints; None for keys that come without one.
    name : str
        The source's, for messages.

    Raises
    ------
    DatasetError
        If there are several.
    """
    if len(salts) > 1:
        raise DatasetError(
            f"The patient keys of {name} were made with {len(salts)} different salts: one patient of two of "
            "its parts would be two.",
            "Import its parts one after the other.",
        )
    return next(iter(salts), None)


def _read(study: TrainingFolder, case_id: str) -> ImportedFrame:
    case = study.case(case_id)
    return parcel_of(
        study.record(case_id),
        study.read_image(case),
        study.read_instances(case),
        read_not_judged(study, case),
        study.read_channels(case),
    )


def parcel_of(
    record: Record,
    image: NDArray[np.uint8],
    instances: NDArray[np.uint8],
    not_judged: NDArray[np.bool_] | None = None,
    channels: Mapping[str, NDArray[np.uint8]] | None = None,
) -> ImportedFrame:
    """A parcel from a record and its pictures, as another folder or an export gives them.

    Raises
    ------
    DatasetError
        If the record is not one, or speaks of another image.
    """
    if record.schema > SCHEMA:
        raise DatasetError(f"{record.id} was written by a newer napari-cln. Update napari-cln to import it.")
    if record.image.sha256 != hash_pixels(image) or instances.shape != image.shape:
        raise DatasetError(
            f"{record.id} comes with another image than its record describes. Export the folder again."
        )
    annotation = Annotation(
        frame=Frame(pixels=image, channels=channels or {}),
        instances=instances,
        nodes=tuple(entry.node for entry in record.nodes),
        status=record.status,
        not_judged=not_judged,
    )
    return ImportedFrame(
        annotation=annotation, about=Provenance(who="import", action="imported"), stored=record
    )


def _kept(record: Record, image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The scan area and the box of a mask; whatever the other folder has around them is not taken."""
    source = record.source
    if source.uncleaned or source.kind == "simulated":
        return np.ones(image.shape, dtype=bool)  # a kind of screen of its own; drawn
    return kept_area(source.stored_area or find_scan_area(Frame(pixels=image)), mask)


def adopt(study: TrainingFolder, parcel: ImportedFrame) -> Case:
    """Take a stored frame over as it is: id, keys, nodes and pixels.

    Raises
    ------
    DatasetError
        If the folder has the frame already with other masks or truths; both are then kept, the new one
        among the revisions. And if it has it under another patient, clip, side, hospital or scale, or with
        another clinical value.
    """
    annotation, about = parcel.annotation, parcel.about
    if parcel.stored is None:
        raise ValueError("adopt takes parcels that a training folder wrote")
    case_id = parcel.stored.id
    masks = masks_of(annotation.instances, annotation.nodes, annotation.status, annotation.not_judged)
    history = (history_entry(annotation, about),)
    frame = annotation.frame
    kept = _kept(parcel.stored, frame.grey, annotation.mask)
    image = np.where(kept, frame.grey, 0).astype(np.uint8)
    channels = {name: np.where(kept, plane, 0).astype(np.uint8) for name, plane in frame.channels.items()}
    record = msgspec.structs.replace(
        shareable(parcel.stored),
        history=history,
        image=msgspec.structs.replace(parcel.stored.image, sha256=hash_pixels(image)),
        channels={name: hash_pixels(plane) for name, plane in channels.items()} or None,
        **hashes_of(masks),
    )
    try:
        with lock(study.layout.locks, case_id, "import"):
            if study.layout.record(case_id).exists():
                former = study.record(case_id)
                if parcel.says_nothing or _says_the_same(former, record):
                    return study.replace_facts(former, _with_facts_of(former, record), about)
                keep_rival(study.layout, State(record=record, masks=masks))
                raise DatasetError(
                    f"{case_id} is in the folder already, with other masks or truths. The folder's stay; the "
                    "new ones are kept among the revisions. Compare them in the Correct dock."
                )
            study.dataset.refuse_left_out(case_id)
            if masks.leave_unjudged:
                study.dataset.declare_unjudged()
            state = State(record=record, masks=masks, image=image, channels=channels)
            commit(study.layout, state)
    except OSError as cause:
        raise study.dataset.refused(cause) from cause
    return case_of(record, study.layout)


def _says_the_same(former: Record, record: Record) -> bool:
    """Tell whether two records of a frame have the same masks and nodes, whatever their sizes."""
    nodes, others = ([entry.node for entry in one.nodes] for one in (former, record))
    return nodes == others and all(getattr(former, key) == getattr(record, key) for key in MASKS)


def _with_facts_of(former: Record, other: Record) -> Record:
    """The folder's record with what another's knows of where the frame comes from, and it does not.

    Raises
    ------
    DatasetError
        If the two contradict each other.
    """
    if None not in (former.spacing_mm, other.spacing_mm) and former.spacing_mm != other.spacing_mm:
        raise DatasetError(
            f"{former.id} is in the folder with another scale ({former.spacing_mm}) than in what is imported "
            f"({other.spacing_mm}). The folder's stays: correct the one that is wrong."
        )
    is_unnamed = is_unknown(other.patient_key)
    cine = None if is_unnamed and not is_unknown(former.patient_key) and former.cine_key else other.cine_key
    record = with_keys(
        former,
        patient=None if is_unnamed else other.patient_key,
        cines=(cine,) if cine else (),
        split=other.split,
    )
    there = other.source
    record = with_origin(
        record, hospital=there.hospital, maker=there.manufacturer, clinical=other.clinical or {}
    )
    if not former.has_scale and other.has_scale:
        source = msgspec.structs.replace(record.source, regions=there.regions)
        record = msgspec.structs.replace(record, source=source)
        record = msgspec.structs.replace(
            record, spacing_mm=other.spacing_mm, spacing_source=other.spacing_source
        )
    return record
