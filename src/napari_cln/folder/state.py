"""One state of a frame: the record and the pictures that a save writes, made from an annotation.

Nothing here reads or writes a file: the training folder says what it knows of the frame
(:mod:`napari_cln.folder.dataset`), and :mod:`napari_cln.folder.commits` puts the state on disk.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..annotation import LABELLED, Annotation, Node, has_reference
from ..errors import DatasetError
from ..imaging.burned_in import CleanFrame
from ..imaging.measurement import Measurement, painted_ids, scale_within
from ..types import NOT_JUDGED, Box, Frame, Region, Spacing, Status
from .pictures import hash_pixels
from .record import (
    FROM_CALIPERS,
    NO_HEADER,
    SCHEMA,
    UNKNOWN,
    HistoryEntry,
    NodeEntry,
    Provenance,
    Record,
    ScaledPart,
    Source,
    StoredImage,
    is_unknown,
    node_entry,
    now,
    with_keys,
    with_origin,
)

KeyOf: TypeAlias = Callable[[Literal["patient", "cine"], str], str]
"""Gives the key of a patient or a cine in a training folder; see :meth:`.DatasetFile.hash_key`."""
MERGED_WITHIN = timedelta(minutes=10)
MERGED = ("predicted", "corrected", "noted", "undone")
"""Actions whose lines of history are put together; each decision keeps a line of its own."""
UNSAID = ("taken-back", "noted", "undone", FROM_CALIPERS)
"""Actions that do not say what stands: their line has the status beside them."""
# fmt: off
MAKERS = (
    "Acuson", "Aloka", "Alpinion", "BK", "Butterfly", "Canon", "Chison", "Clarius", "Edan", "Esaote",
    "Fujifilm", "GE", "Hitachi", "Konica", "Lumify", "Mindray", "Philips", "Samsung", "Siemens", "SonoScape",
    "SonoSite", "SuperSonic", "Telemed", "Toshiba", "Ultrasonix", "Vinno", "Wisonic", "simulated",
)
# fmt: on


@dataclass(frozen=True, kw_only=True, eq=False)
class Masks:
    """The two pictures of one state; ``None`` where the state has none.

    ``label`` has 0 for background, 1 for nodes and 2 for what nobody judged.
    """

    label: NDArray[np.uint8] | None
    instances: NDArray[np.uint8] | None

    @property
    def leave_unjudged(self) -> bool:
        """True where the label says of some pixels that nobody judged them."""
        return self.label is not None and bool((self.label == NOT_JUDGED).any())


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """One state of a frame: its record, its masks, and image and channels (H, W) of a new frame."""

    record: Record
    masks: Masks
    image: NDArray[np.uint8] | None = None
    channels: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)

    def after(self, revision: int) -> State:
        """The same state as one that follows another revision than the last."""
        return replace(self, record=msgspec.structs.replace(self.record, revision=revision + 1))


def first_state(
    case_id: str,
    annotation: Annotation,
    sizes: Sequence[Measurement],
    clean: CleanFrame,
    about: Provenance,
    key_of: KeyOf,
) -> State:
    """Make the state of a frame that is new to the folder.

    Parameters
    ----------
    case_id : str
    annotation : Annotation
        With all its nodes, see :func:`with_all_nodes`.
    sizes : sequence of Measurement
        Of its nodes that have pixels, from :func:`napari_cln.measure_nodes`.
    clean : CleanFrame
        What is kept of the frame.
    about : Provenance
    key_of : callable
        Gives the folder's key of a patient or cine.
    """
    frame = annotation.frame
    cine_key = next(iter(_cine_keys(about, frame, key_of)), None)
    patient = about.patient or frame.patient_id
    row0, column0, row1, column1 = clean.box
    top, left, bottom, right = clean.scan_area
    image = clean.grey
    record = Record(
        schema=SCHEMA,
        id=case_id,
        revision=1,
        status=annotation.status,
        nodes=(),
        patient_key=key_of("patient", patient) if patient else f"{UNKNOWN}{cine_key or case_id}",
        cine_key=cine_key,
        split=about.split,
        image=StoredImage(sha256=hash_pixels(image), rows=image.shape[0], columns=image.shape[1]),
        source=Source(
            kind=about.kind,
            frame=frame.index,
            rows=frame.shape[0],
            columns=frame.shape[1],
            crop=(column0, row0, column1, row1),
            area=(left, top, right, bottom),
            deid=(NO_HEADER,),
            uncleaned=about.extent == "uncleaned",
            painted=clean.is_painted,
            manufacturer=maker_of(frame.vendor) or maker_of(about.scanner),
            decoder=frame.decoder,
            hospital=hospital_key(about.hospital, key_of),
            image_key=frame.image_key,
        ),
        p_malignant=about.p_malignant,
        clinical=dict(about.clinical) or None,
        channels={name: hash_pixels(plane) for name, plane in clean.channels.items()} or None,
        history=(),
    )
    record = _with_scale(record, frame, clean.spacing_mm, clean.regions, about)
    state = _state(record, annotation, sizes, about, clean.box)
    return replace(state, image=image, channels=clean.channels)


def next_state(
    former: Record,
    annotation: Annotation,
    sizes: Sequence[Measurement],
    about: Provenance,
    key_of: KeyOf,
    unjudged: NDArray[np.bool_] | None = None,
) -> State:
    """Make the state of a frame that follows the one in the folder.

    Parameters
    ----------
    former : Record
    annotation : Annotation
        With all its nodes, see :func:`with_all_nodes`.
    sizes : sequence of Measurement
        Of its nodes that have pixels, from :func:`napari_cln.measure_nodes`.
    about : Provenance
    key_of : callable
        Gives the folder's key of a patient or cine.
    unjudged : ndarray of bool, shape (h, w), optional
        Pixels of the stored image that nobody judged so far, where the annotation says nothing of it.

    Raises
    ------
    DatasetError
        If the annotation contradicts the record.
    """
    box = _stored_box(former, annotation.frame)
    _check_schema(former)
    record = msgspec.structs.replace(former, revision=former.revision + 1)
    record = with_facts(record, annotation.frame, about, key_of)
    frame = annotation.frame
    # Nodes are measured by it: what a reader types or the file says of its parts goes before what was known.
    is_news = frame.spacing_source == "typed" or not former.has_scale
    if frame.regions or (frame.spacing_mm is not None and is_news):
        record = _with_scale(record, frame, *scale_within(frame, box), about)
    return _state(record, annotation, sizes, about, box, unjudged)


def _with_scale(
    record: Record, frame: Frame, spacing: Spacing | None, regions: Sequence[Region], about: Provenance
) -> Record:
    """The record with the scale of a frame, whose regions are in its own pixels."""
    is_stored = frame.shape != record.source.shape
    x0, y0 = record.source.crop[:2] if is_stored else (0, 0)
    parts = tuple(
        ScaledPart(
            box=(column0 + x0, row0 + y0, column1 + x0, row1 + y0), spacing_mm=_plain(region.spacing_mm)
        )
        for region in regions
        for row0, column0, row1, column1 in (region.box,)
    )
    by = None
    if spacing is not None and frame.spacing_source == "typed":
        by = record.spacing_by if record.spacing_mm == _plain(spacing) else about.reader
    return msgspec.structs.replace(
        record,
        source=msgspec.structs.replace(record.source, regions=parts),
        spacing_mm=_plain(spacing),
        spacing_source=frame.spacing_source if spacing or parts else None,
        spacing_by=by,
    )


def _plain(spacing: Spacing | None) -> Spacing | None:
    """A spacing as numbers that a record can have."""
    return None if spacing is None else (float(spacing[0]), float(spacing[1]))


def _check_schema(record: Record) -> None:
    if record.schema > SCHEMA:
        raise DatasetError(
            f"{record.id} was written by a newer napari-cln (schema {record.schema}), so it is not "
            "changed. Update napari-cln."
        )


def with_facts(record: Record, frame: Frame, about: Provenance, key_of: KeyOf) -> Record:
    """The record with what is newly told of patient, clip, side, hospital, machine; what it knows stays.

    Parameters
    ----------
    record : Record
    frame : Frame
        The pseudonym of its file counts where no patient is known.
    about : Provenance
    key_of : callable
        Gives the folder's key of a patient or cine.

    Raises
    ------
    DatasetError
        If another patient, clip, side, hospital or clinical value is told than the record has.
    """
    is_unnamed = is_unknown(record.patient_key)
    name = about.patient or (frame.patient_id if is_unnamed else None)
    cines: tuple[str, ...] = ()
    # The clip of a patient that is not told may be the one that is known.
    if about.cine or (about.clip and (about.patient or is_unnamed or not record.cine_key)):
        cines = _cine_keys(about, frame, key_of)
    record = with_keys(
        record, patient=key_of("patient", name) if name else None, cines=cines, split=about.split
    )
    hospital, maker = hospital_key(about.hospital, key_of), maker_of(about.scanner)
    return with_origin(record, hospital=hospital, maker=maker, clinical=about.clinical)


def _cine_keys(about: Provenance, frame: Frame, key_of: KeyOf) -> tuple[str, ...]:
    """Key of a frame's clip, and those that it has while its patient or its name is not known; else none."""
    names = [about.cine] if about.cine else []
    if about.clip and not about.cine:  # two patients' clips may both be called "1"
        names = [f"{patient}/{about.clip}" for patient in dict.fromkeys((about.patient or "", ""))]
    if frame.n_frames > 1 and frame.source is not None:
        names.append(str(frame.source.absolute()))
    return tuple(key_of("cine", name) for name in names)


def hospital_key(name: str | None, key_of: KeyOf) -> str | None:
    """Name of a hospital in the folder: its own letter or number, else a short salted key."""
    if not name:
        return None
    plain = name.strip()
    if re.fullmatch(r"[A-Za-z]|\d{1,2}", plain):
        return plain.upper()
    return "H" + hashlib.sha256(key_of("cine", f"hospital {plain.casefold()}").encode()).hexdigest()[:5]


def _state(
    record: Record,
    annotation: Annotation,
    sizes: Sequence[Measurement],
    about: Provenance,
    box: Box,
    unjudged: NDArray[np.bool_] | None = None,
) -> State:
    """The state of a record with what an annotation says of nodes and masks."""
    masks = _masks(annotation, box, unjudged)
    record = msgspec.structs.replace(
        record,
        status=annotation.status,
        note=annotation.note,
        history=with_history(record.history, history_entry(annotation, about)),
        nodes=describe_nodes(annotation, sizes),
        **hashes_of(masks),
    )
    return State(record=record, masks=masks)


def _masks(annotation: Annotation, box: Box, unjudged: NDArray[np.bool_] | None) -> Masks:
    if annotation.not_judged is not None:
        unjudged = annotation.not_judged[box[0] : box[2], box[1] : box[3]]
    return masks_of(crop_instances(annotation.instances, box), annotation.nodes, annotation.status, unjudged)


def says(record: Record, annotation: Annotation, unjudged: NDArray[np.bool_] | None = None) -> bool:
    """Tell whether a frame's record agrees with an annotation: masks, nodes, status.

    Parameters
    ----------
    record : Record
    annotation : Annotation
    unjudged : ndarray of bool, shape (h, w), optional
        As for :func:`next_state`.
    """
    annotation = with_all_nodes(annotation)
    hashes = hashes_of(_masks(annotation, _stored_box(record, annotation.frame), unjudged))
    return (
        tuple(entry.node for entry in record.nodes) == annotation.nodes
        and record.status == annotation.status
        and hashes == {key: getattr(record, key) for key in hashes}
    )


def _stored_box(record: Record, frame: Frame) -> Box:
    """The part of a frame that the folder keeps of it."""
    if frame.shape == record.shape:
        return 0, 0, *record.shape
    if frame.shape != record.source.shape:
        rows, columns = record.source.shape
        raise DatasetError(
            f"{record.id} was stored from a frame of {rows}×{columns} pixels, this one has "
            f"{frame.shape[0]}×{frame.shape[1]}. Open the frame that was saved first."
        )
    x0, y0, x1, y1 = record.source.crop
    return y0, x0, y1, x1


# ------------------------------------------------------------ pictures


def crop_instances(instances: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """The part of a mask inside the stored image.

    Raises
    ------
    DatasetError
        If some of the mask lies outside, where it would be lost.
    """
    row0, column0, row1, column1 = box
    inside = np.ascontiguousarray(instances[row0:row1, column0:column1])
    lost = np.count_nonzero(instances) - np.count_nonzero(inside)
    if lost:
        raise DatasetError(
            f"{lost} painted pixels lie outside the scan area that the training folder keeps of this frame "
            f"(rows {row0} to {row1}, columns {column0} to {column1}). Erase them there; "
            "or draw a wider area in the Frames dock, where the frame is not in the folder yet."
        )
    return inside


def masks_of(
    instances: NDArray[np.uint8],
    nodes: tuple[Node, ...],
    status: Status,
    not_judged: NDArray[np.bool_] | None = None,
) -> Masks:
    """Label image and node ids that the folder keeps of an annotation.

    A reader stands for the label of a finished frame alone. Nodes that are known but outlined
    nowhere make a frame with a class and no mask. The ids get a file of their own where the
    label can't say them: several nodes, or one that is not accepted.
    """
    labelled = label_of(instances, nodes)
    finished = has_reference(status, instances, nodes)
    says_all = finished and np.array_equal(instances, labelled)
    if not_judged is not None:
        labelled[not_judged & (instances == 0)] = NOT_JUDGED
    return Masks(
        label=labelled if finished else None,
        instances=instances if instances.any() and not says_all else None,
    )


def label_of(instances: NDArray[np.uint8], nodes: Iterable[Node]) -> NDArray[np.uint8]:
    """Label image of a mask of ids: 1 where a node is that a reader stands for."""
    return np.isin(instances, [node.id for node in nodes if node.status in LABELLED]).astype(np.uint8)


def hashes_of(masks: Masks) -> dict[str, str | None]:
    """The keys by which a record and its pictures are known to belong together."""
    return {
        "mask_sha256": None if masks.label is None else hash_pixels(masks.label),
        "instances_sha256": None if masks.instances is None else hash_pixels(masks.instances),
    }


# ------------------------------------------------------------ nodes and history


def with_all_nodes(annotation: Annotation) -> Annotation:
    """An annotation with one more node for each painted id that it does not describe, in the order of ids.

    Raises
    ------
    DatasetError
        If the annotation contradicts itself.
    """
    instances, nodes = annotation.instances, annotation.nodes
    if instances.shape != annotation.frame.shape or instances.dtype != np.uint8:
        raise DatasetError(
            f"The mask has shape {instances.shape} and dtype {instances.dtype}, the frame "
            f"{annotation.frame.shape}: save uint8 ids of the frame's own shape."
        )
    known = [node.id for node in nodes]
    if len(set(known)) < len(known) or not all(1 <= node_id <= 255 for node_id in known):
        raise DatasetError(f"The nodes have the ids {known}: give each its own, from 1 to 255.")
    painted = painted_ids(instances)
    if annotation.status == "no-node" and (painted or nodes):
        raise DatasetError(
            f"The frame is marked as showing no node, but has {max(len(painted), len(nodes))}. "
            "Erase them, or save the frame as corrected."
        )
    status = annotation.status
    missing = (Node(id=node_id, status=status) for node_id in painted if node_id not in known)
    every = sorted((*nodes, *missing), key=lambda node: node.id)
    return replace(annotation, nodes=tuple(every))


def describe_nodes(annotation: Annotation, sizes: Sequence[Measurement]) -> tuple[NodeEntry, ...]:
    """The nodes as the record keeps them, with their sizes."""
    measured = dict(zip(painted_ids(annotation.instances), sizes, strict=True))
    entries = []
    for node in annotation.nodes:
        said: dict[str, float] = {}
        if (size := measured.get(node.id)) is not None:
            said["area_px"] = int(size.area_px)
            for key, value in (("long_mm", size.long_axis_mm), ("short_mm", size.short_axis_mm)):
                if value is not None:
                    said[key] = round(float(value), 3)
        entries.append(node_entry(node, **said))
    return tuple(entries)


def history_entry(annotation: Annotation, about: Provenance) -> HistoryEntry:
    """The line of history that a save adds."""
    based_on, seconds = annotation.based_on, annotation.seconds
    return HistoryEntry(
        t=now(),
        who=about.reader,
        app=f"napari-cln {__version__}",
        action=about.action or annotation.status,
        status=annotation.status if about.action in UNSAID else None,
        judged_by=about.judged_by if about.judged_by != about.reader else None,
        model=based_on,
        untouched=None if based_on is None else annotation.status == "accepted",
        seconds=None if seconds is None else round(float(seconds), 1),
        readings=dict(about.readings) if about.readings else None,
    )


def noted(former: Record, record: Record, about: Provenance) -> Record:
    """A record with other facts as the state that follows the former; who stands for the masks stays.

    Parameters
    ----------
    former : Record
    record : Record
        The former with other facts.
    about : Provenance
        Who tells them.

    Raises
    ------
    DatasetError
        If a newer version wrote the former.
    """
    _check_schema(former)
    last = former.last
    judge = (last.judged_by or last.who) if last else None
    entry = HistoryEntry(
        t=now(),
        who=about.reader,
        app=f"napari-cln {__version__}",
        action="noted",
        status=former.status,
        judged_by=judge if judge != about.reader else None,
        model=last.model if last else None,
        untouched=last.untouched if last else None,
    )
    history = with_history(former.history, entry)
    return msgspec.structs.replace(record, revision=former.revision + 1, history=history)


def with_history(history: tuple[HistoryEntry, ...], entry: HistoryEntry) -> tuple[HistoryEntry, ...]:
    """History with one more entry.

    A reader who saves after every stroke would fill the record with one line a stroke, so strokes
    of one reader that follow each other within ten minutes share a line: first and last time,
    their number, the seconds summed. What the reader decides has a line of its own, always.
    """
    if not history:
        return (entry,)
    last = history[-1]
    keys = ("who", "app", "action", "model", "status", "judged_by")
    alike = entry.action in MERGED and all(getattr(last, key) == getattr(entry, key) for key in keys)
    if not alike or entry.t - last.last > MERGED_WITHIN:
        return (*history, entry)
    spent = [seconds for seconds in (last.seconds, entry.seconds) if seconds is not None]
    merged = msgspec.structs.replace(
        entry,
        t=last.t,
        until=entry.t,
        saves=last.saves + 1,
        seconds=round(sum(spent), 1) if spent else None,
    )
    return (*history[:-1], merged)


def maker_of(vendor: str | None) -> str | None:
    """Known maker that a vendor text names; ``None`` for any other text, which could name a patient."""
    words = (vendor or "").casefold().replace("_", " ").replace("-", " ").split()
    return next((maker for maker in MAKERS if maker.casefold() in words), None)
