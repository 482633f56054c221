"""The training folder: read it, add one annotated frame, keep its history.

>>> folder = TrainingFolder.create("my_study")             # doctest: +SKIP
>>> folder.save(annotation, patient="P-017", who="r1")     # doctest: +SKIP
>>> [case.truth for case in folder.cases()]                # doctest: +SKIP
['metastatic']
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..disk.atomic import TEMPORARY, checked_id, read_bytes, sweep, without_collection, write_atomically
from ..disk.locks import HeldError, lock
from ..disk.user import config_folder, hashed_key, key_of_pseudonym
from ..errors import ConflictError, DatasetError
from ..imaging.measurement import spacing_of
from ..types import NOT_JUDGED, Annotation, Box, Case, Frame
from .autosave import Autosave
from .commits import commit, keep_rival, keep_state
from .description import Description, is_foreign
from .layout import GIT_FILES, Layout
from .pictures import (
    Masks,
    complete_nodes,
    crop_frame,
    crop_instances,
    describe_nodes,
    hashes_of,
    masks_of,
    read_png,
)
from .record import (
    NO_HEADER,
    SCHEMA,
    Provenance,
    Record,
    Source,
    SourceKind,
    StoredImage,
    case_of,
    decode_record,
    hash_pixels,
    history_entry,
    maker_of,
    read_salt,
    salt_fingerprint,
    with_history,
)

__all__ = ["TrainingFolder"]

MAX_RECORD_BYTES = 4 * 2**20
_RECORD = re.compile(r"([0-9a-f]{16})\.json")
_CHECK = "Run `napari-cln check` on the training folder to repair it."
_OWN = frozenset({"imagesTr", "imagesNoMask", "labelsTr", "records", "revisions", ".cln"})
_OWN_FILES = frozenset({*GIT_FILES, "dataset.json", ".git"})
_log = logging.getLogger(__name__)


class TrainingFolder:
    """A study on disk: a raw nnU-Net dataset with one record per frame.

    Open one with :meth:`create` or :meth:`open`; several processes and computers may at once.

    Attributes
    ----------
    path : Path
    layout : Layout
    autosave : Autosave
    """

    def __init__(self, path: Path, description: Description) -> None:
        self.path = path
        self.layout = Layout(path)
        self.autosave = Autosave(path)
        self._description = description

    @classmethod
    def create(cls, path: str | Path) -> TrainingFolder:
        """Make a new, empty training folder; one whose making was cut short is finished.

        Raises
        ------
        DatasetError
            If the path exists and holds anything else, or can't be written to.
        """
        root = Path(path)
        layout = Layout(root)
        try:
            if root.exists() and (not root.is_dir() or any(_foreign_to_a_new_folder(layout))):
                raise DatasetError(f"{root.name} exists and is not empty. Open it, or choose a new folder.")
            description = _begun(layout) or Description.new(salt_fingerprint(read_salt()))
            if description.ours.schema > SCHEMA:
                raise DatasetError(f"{root.name} was made by a newer napari-cln. Update napari-cln.")
            layout.make()
            for folder in (layout.locks, layout.autosave):
                folder.mkdir(parents=True, exist_ok=True)
            for file, text in layout.git_files().items():
                write_atomically(file, text.encode("utf-8", "surrogateescape"))
            description.write(layout.dataset)  # last: without it, the folder is none yet
        except OSError as cause:
            raise DatasetError(
                f"The training folder {root.name} can't be made ({cause.strerror}). "
                "Choose a place where you may write, with free space."
            ) from cause
        return cls(root, description)

    @classmethod
    def open(cls, path: str | Path) -> TrainingFolder:
        """Open a training folder.

        Leftovers of saves that crashed more than an hour ago are removed.

        Raises
        ------
        DatasetError
            If there is none, or its description is damaged.
        """
        root = Path(path)
        layout = Layout(root)
        if not _is_there(layout.dataset):
            if layout.records.is_dir() and any(layout.records.glob("*.json")):
                raise DatasetError(
                    f"{root.name} has records, but its dataset.json is missing. Restore it from git or a "
                    "backup, or make it anew with `napari-cln check --repair`."
                )
            if layout.records.is_dir():
                raise DatasetError(
                    f"{root.name} has no dataset.json yet: its making was cut short. Give the command that "
                    "made it again, which finishes it (`napari-cln import SOURCE --out FOLDER`)."
                )
            raise DatasetError(
                f"{root.name} is not a training folder: it has no dataset.json. "
                "Make one with TrainingFolder.create, or `napari-cln import`."
            )
        folder = cls(root, Description.read(layout.dataset))
        if not folder.read_only:
            sweep([*layout.shared, *layout.revisions.glob("*"), root])
        return folder

    @property
    def read_only(self) -> bool:
        """True where a newer napari-cln wrote the folder, so that this one must not change it."""
        return self._description.ours.schema > SCHEMA

    @property
    def salt(self) -> str | None:
        """Fingerprint of the salt of the patient keys."""
        return self._description.ours.salt

    @property
    def has_unjudged(self) -> bool:
        """True where some masks leave pixels unjudged."""
        return self._description.has_unjudged

    def cases(self) -> list[Case]:
        """All frames, by id; records that can't be read are left out, logged, named by ``check``."""
        cases, unreadable = [], 0
        with without_collection():
            for case_id, path in self._find_records():
                try:
                    cases.append(case_of(_read_record(path, case_id, whole=False), self.layout))
                except DatasetError:
                    unreadable += 1
        if unreadable:
            _log.warning("%d records can't be read and are left out: run `napari-cln check`.", unreadable)
        return cases

    def ids(self) -> list[str]:
        """Ids of all frames that have a record, sorted."""
        return [case_id for case_id, _ in self._find_records()]

    def _find_records(self) -> list[tuple[str, str]]:
        # Text, not Path: with 50 000 records, making paths takes longer than reading files.
        try:
            with os.scandir(self.layout.records) as entries:
                return sorted(
                    (match[1], entry.path) for entry in entries if (match := _RECORD.fullmatch(entry.name))
                )
        except FileNotFoundError:  # an empty folder, after a clone by git
            return []
        except OSError as cause:
            raise DatasetError(
                f"The records of {self.path.name} can't be listed ({cause.strerror}). Check the permissions, "
                "and that records is a folder."
            ) from cause

    def case(self, case_id: str) -> Case:
        """One frame by its id.

        Raises
        ------
        DatasetError
            If the id is none, unknown, or its record damaged.
        """
        return case_of(self.record(case_id), self.layout)

    def record(self, case_id: str) -> Record:
        """The whole record of a frame, checked.

        Raises
        ------
        DatasetError
            If the id is none, unknown, or its record damaged.
        """
        path = self.layout.record(checked_id(case_id))
        if not _is_there(path):
            raise DatasetError(
                f"{case_id} is not in the training folder {self.path.name}. Save its frame first."
            )
        return _read_record(path, case_id)

    def revisions(self, case_id: str) -> list[Record]:
        """Records of the former states of a frame, and of rivals that came too late, by their number.

        The number, not the time, is their order: clocks jump, and two computers disagree.
        """
        kept = []
        for path in (self.layout.revisions / checked_id(case_id)).glob("*.json"):
            try:
                kept.append(_read_record(path, case_id))
            except DatasetError as cause:
                _log.warning("A former state can't be read: %s", cause)
        return sorted(kept, key=lambda record: record.revision)

    def read_image(self, case: Case) -> NDArray[np.uint8]:
        """Grey pixels (H, W) of a case, overlay-free, original resolution.

        Raises
        ------
        DatasetError
            If the file is missing, damaged, or another than the record's.
        """
        image = read_png(case.image)
        if hash_pixels(image) != case.image_sha256:
            raise DatasetError(f"{case.image.name} is not the image that its record describes. {_CHECK}")
        return image

    def read_instances(self, case: Case) -> NDArray[np.uint8]:
        """Node ids uint8 (H, W) of a case; all 0 where it has no mask.

        Raises
        ------
        DatasetError
            If a file is missing, damaged, or of another save than the record.
        """
        if case.instances is not None:
            self._read_label(case)
            return _read_picture(case.instances, case.instances_sha256)
        label = self._read_label(case)
        return np.zeros(case.shape, dtype=np.uint8) if label is None else label * (label != NOT_JUDGED)

    def read_not_judged(self, case: Case) -> NDArray[np.bool_] | None:
        """Pixels bool (H, W) of which nobody says whether a node is there; None where all are judged.

        Raises
        ------
        DatasetError
            If the label is missing, damaged, or of another save than the record.
        """
        label = self._read_label(case) if self.has_unjudged else None
        unjudged = None if label is None else label == NOT_JUDGED
        return unjudged if unjudged is not None and unjudged.any() else None

    def _read_label(self, case: Case) -> NDArray[np.uint8] | None:
        return None if case.mask is None else _read_picture(case.mask, case.mask_sha256)

    # ------------------------------------------------------------ saving

    def save(
        self,
        annotation: Annotation,
        *,
        patient: str | None = None,
        cine: str | None = None,
        who: str | None = None,
        source_kind: SourceKind = "file",
        split: Literal["train", "validation", "test"] | None = None,
        expected_revision: int | None = None,
        overlay: NDArray[np.bool_] | None = None,
    ) -> Case:
        """Save what a reader says about a frame; former states stay among the revisions.

        Parameters
        ----------
        annotation : Annotation
            In the pixels of its frame. An image opened from the folder itself is recognised.
        patient : str, optional
            Patient's name or number, kept as a salted hash. Needed once a frame; by default the
            frame's pseudonym, else the frame (or its cine) counts as a patient of its own.
        cine : str, optional
            Name of the clip that the frame is from; its frames stay on one side of a split.
        who : str, optional
            Reader; by default the annotation's.
        source_kind : str
            What the frame came from.
        split : str, optional
            The side on which a data set's authors put the frame.
        expected_revision : int, optional
            Revision that the reader started from (``case.revision``; 0 for a new frame).
        overlay : ndarray of bool, shape (H, W), optional
            Burned-in marks of a new frame, where they are known; found otherwise.

        Returns
        -------
        Case

        Raises
        ------
        DatasetError
            If the annotation contradicts itself or the record, or the disk refuses.
        """
        about = Provenance(
            patient=patient, cine=cine, who=who or annotation.annotator, kind=source_kind, split=split
        )
        return self.keep(annotation, about, expected_revision=expected_revision, overlay=overlay)

    def keep(
        self,
        annotation: Annotation,
        about: Provenance,
        *,
        expected_revision: int | None = None,
        overlay: NDArray[np.bool_] | None = None,
        count: bool = True,
    ) -> Case:
        """Save an annotation, with all that is known of where it comes from; see :meth:`save`.

        Parameters
        ----------
        annotation : Annotation
        about : Provenance
        expected_revision : int, optional
        overlay : ndarray of bool, shape (H, W), optional
        count : bool
            Whether to bring ``numTraining`` up to date and, where the disk refuses, to set the strokes
            aside. An import counts once, at its end, and has its source to read again.
        """
        if self.read_only:
            raise DatasetError(
                f"{self.path.name} was written by a newer napari-cln and is open for reading only. Update "
                "napari-cln."
            )
        layout, frame = self.layout, annotation.frame
        case_id = self.identify(frame)
        who = about.who or "a reader"
        nodes = complete_nodes(annotation)
        image, box = None, (0, 0, *frame.shape)
        if not _is_there(layout.record(case_id)):
            # Outside the lock: finding burned-in marks takes longer than the save.
            image, box = crop_frame(frame, annotation.mask, overlay)
        try:
            with lock(layout.locks, case_id, who):
                former = self.record(case_id) if _is_there(layout.record(case_id)) else None
                if former is None:
                    if image is None:
                        raise DatasetError(f"{case_id} was removed from the folder meanwhile. Save it again.")
                    facts = self._first_facts(annotation, about, case_id, image, box)
                else:
                    image, box = None, _box_of(former, frame)
                    facts = self._next_facts(former, frame, about)
                unjudged = self._unjudged(annotation, former, box)
                instances = crop_instances(annotation.instances, box)
                masks = masks_of(instances, nodes, annotation.status, unjudged)
                record = msgspec.structs.replace(
                    facts,
                    revision=1 if former is None else former.revision + 1,
                    status=annotation.status,
                    note=annotation.note,
                    history=with_history(facts.history, history_entry(annotation, about, who)),
                    nodes=describe_nodes(annotation, nodes),
                    **hashes_of(masks),
                )
                if former is not None and expected_revision not in (None, former.revision):
                    record = msgspec.structs.replace(record, revision=int(expected_revision or 0) + 1)
                    keep_state(layout, former)
                    keep_rival(layout, record, masks)
                    raise _conflict(former)
                self.declare_unjudged(masks)
                commit(layout, record, masks, image=image, former=former)
        except HeldError:
            if count:
                self.autosave.keep(annotation, case_id, who=who, revision=expected_revision or 0)
            raise
        except OSError as cause:
            kept = ""
            if count:
                self.autosave.keep(annotation, case_id, who=who, revision=expected_revision or 0)
                kept = " Your strokes are kept and will be offered again."
            raise DatasetError(
                f"{case_id} can't be saved ({cause.strerror}).{kept} Free some space, or make the folder "
                "writable, and save again."
            ) from cause
        self.autosave.clear(case_id, who)
        if count and record.has_mask != (former is not None and former.has_mask):
            self.recount()
        return case_of(record, layout)

    def says(self, record: Record, annotation: Annotation, about: Provenance) -> bool:
        """Tell whether a frame's record agrees with an annotation: masks, nodes, status, patient, side."""
        nodes = complete_nodes(annotation)
        box = _box_of(record, annotation.frame)
        unjudged = self._unjudged(annotation, record, box)
        masks = masks_of(crop_instances(annotation.instances, box), nodes, annotation.status, unjudged)
        patient = about.patient or annotation.frame.patient_id
        return (
            tuple(entry.node for entry in record.nodes) == nodes
            and record.status == annotation.status
            and hashes_of(masks) == {key: getattr(record, key) for key in hashes_of(masks)}
            and (patient is None or self.hash_key("patient", patient) == record.patient_key)
            and about.split == record.split
        )

    def _first_facts(
        self,
        annotation: Annotation,
        about: Provenance,
        case_id: str,
        image: NDArray[np.uint8],
        box: Box,
    ) -> Record:
        """The record of a frame that is new to the folder, without its nodes and masks."""
        frame = annotation.frame
        cine = about.cine
        if cine is None and frame.n_frames > 1 and frame.source is not None:
            cine = str(frame.source.absolute())
        cine_key = self.hash_key("cine", cine) if cine else None
        patient = about.patient or frame.patient_id
        row0, column0, row1, column1 = box
        spacing = spacing_of(frame, annotation.mask) or frame.spacing_mm
        typed = spacing is not None and frame.spacing_source == "typed"
        return Record(
            schema=SCHEMA,
            id=case_id,
            revision=1,
            status=annotation.status,
            nodes=(),
            patient_key=self.hash_key("patient", patient) if patient else f"unknown-{cine_key or case_id}",
            cine_key=cine_key,
            split=about.split,
            image=StoredImage(sha256=hash_pixels(image), rows=image.shape[0], columns=image.shape[1]),
            source=Source(
                kind=about.kind,
                frame=frame.index,
                rows=frame.shape[0],
                columns=frame.shape[1],
                crop=(column0, row0, column1, row1),
                deid=(NO_HEADER,),
                manufacturer=maker_of(frame.vendor),
                decoder=frame.decoder,
            ),
            spacing_mm=(float(spacing[0]), float(spacing[1])) if spacing else None,
            spacing_source=frame.spacing_source if spacing else None,
            spacing_by=(about.who or "a reader") if typed else None,
            p_malignant=about.p_malignant,
            history=(),
        )

    def _next_facts(self, former: Record, frame: Frame, about: Provenance) -> Record:
        """The record of a frame that the folder has, with the patient and scale that this save adds."""
        if former.schema > SCHEMA:
            raise DatasetError(
                f"{former.id} was written by a newer napari-cln (schema {former.schema}), so it is not "
                "changed. Update napari-cln."
            )
        record = former
        if about.patient:
            key = self.hash_key("patient", about.patient)
            if former.patient_key != key and not former.patient_key.startswith("unknown-"):
                raise DatasetError(
                    f"{former.id} is in the folder as a frame of another patient: the same pixels can't be "
                    "two patients'. Correct the list of patients; if the folder is wrong, remove the frame's "
                    "record and save it again."
                )
            record = msgspec.structs.replace(record, patient_key=key)
        if frame.spacing_source == "typed" and frame.spacing_mm:
            spacing = (float(frame.spacing_mm[0]), float(frame.spacing_mm[1]))
            by = former.spacing_by if former.spacing_mm == spacing else about.who or "a reader"
            record = msgspec.structs.replace(
                record, spacing_mm=spacing, spacing_source="typed", spacing_by=by
            )
        return record

    def _unjudged(self, annotation: Annotation, former: Record | None, box: Box) -> NDArray[np.bool_] | None:
        """Pixels that nobody judged, in the stored image: those given, else those of the former states."""
        if annotation.not_judged is not None:
            row0, column0, row1, column1 = box
            return annotation.not_judged[row0:row1, column0:column1]
        if former is None or not self.has_unjudged:
            return None
        kept = sorted((self.layout.revisions / former.id).glob("*.png"), reverse=True)
        for path in (self.layout.mask(former.id), *(path for path in kept if "nodes" not in path.name)):
            with suppress(DatasetError):
                label = read_png(path)
                if label.shape == former.shape and (label == NOT_JUDGED).any():
                    unjudged: NDArray[np.bool_] = label == NOT_JUDGED
                    return unjudged
        return None

    def identify(self, frame: Frame) -> str:
        """Id of a frame: the first 16 hexadecimal digits of the SHA-256 of its grey pixels.

        An image that was opened from the folder keeps the id it has there, though cropping and painting
        over gave it other pixels than its source.
        """
        digest = hash_pixels(frame.grey)
        path = frame.source
        if path is not None and path.name.endswith("_0000.png"):
            stored = path.name[:16]
            inside = path.parent.resolve() in (self.layout.images.resolve(), self.layout.unmasked.resolve())
            # A record that can't be read says so when the frame is saved.
            with suppress(DatasetError):
                if inside and self.record(stored).image.sha256 == digest:
                    return stored
        return digest[:16]

    def hash_key(self, kind: Literal["patient", "cine"], name: str) -> str:
        """Key of a patient or a cine in this folder.

        A pseudonym that was read with a frame (``Frame.patient_id``) gives the key that the
        patient's ID itself would give.

        Raises
        ------
        DatasetError
            If the folder was made with another salt: one patient would get two keys.
        """
        salt = read_salt()
        if self.salt != salt_fingerprint(salt):
            raise DatasetError(
                f"The patient keys of {self.path.name} were made with another salt than yours. Copy the file "
                f"patient-salt from the computer where the folder was made into {config_folder().name}, your "
                "configuration folder."
            )
        known = key_of_pseudonym(name) if kind == "patient" else None
        return known or hashed_key(salt, kind, name)

    def recount(self) -> None:
        """Bring ``numTraining`` in dataset.json, which nnU-Net checks, up to date.

        Raises
        ------
        DatasetError
            If dataset.json is damaged, or the disk refuses.
        """
        try:
            with lock(self.layout.locks, "dataset", "napari-cln"):
                self._update(n_masks=self.layout.count_masks())
        except OSError as cause:
            raise self.refused(cause) from cause

    def declare_unjudged(self, masks: Masks) -> None:
        """Say in dataset.json that labels leave pixels unjudged, before the first that does is written."""
        if self.has_unjudged or masks.label is None or not (masks.label == NOT_JUDGED).any():
            return
        with lock(self.layout.locks, "dataset", "napari-cln"):
            self._update(has_unjudged=True)

    def _update(self, **changes: object) -> None:
        description = Description.read(self.layout.dataset)
        self._description = msgspec.structs.replace(description, **changes)
        if self._description != description:
            self._description.write(self.layout.dataset)

    def refused(self, cause: OSError) -> DatasetError:
        """The sentence for a disk that refuses to take what is written into the folder."""
        return DatasetError(
            f"{self.path.name} can't be written to ({cause.strerror}). Free some space, or make the folder "
            "writable, and try again."
        )


def _read_record(path: Path | str, case_id: str, *, whole: bool = True) -> Record:
    try:
        data = read_bytes(path, MAX_RECORD_BYTES)
    except OSError as cause:
        raise DatasetError(f"{Path(path).name} can't be read ({cause.strerror}). {_CHECK}") from cause
    record = decode_record(data, os.path.basename(path), whole=whole)  # noqa: PTH119 - text, not Path
    if record.id != case_id:
        raise DatasetError(f"{Path(path).name} has {record.id!r} under 'id', another frame's. {_CHECK}")
    return record


def _read_picture(path: Path, wanted: str | None) -> NDArray[np.uint8]:
    pixels = read_png(path)
    if hash_pixels(pixels) != wanted:
        raise DatasetError(f"{path.name} and its record come from two different saves. {_CHECK}")
    return pixels


def _box_of(record: Record, frame: Frame) -> Box:
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


def _conflict(former: Record) -> ConflictError:
    last = former.last
    who, when = (
        (last.who, f"{last.last:%Y-%m-%d %H:%M} UTC") if last else ("another reader", "a time unknown")
    )
    return ConflictError(
        f"{former.id} was changed by {who} at {when}, after you opened it. Your version is kept among the "
        "revisions. Look at the other one, then save again."
    )


def _is_there(path: Path) -> bool:
    """Tell whether a path exists, as far as this user may see."""
    try:
        path.lstat()
    except OSError:
        return False
    return True


def _foreign_to_a_new_folder(layout: Layout) -> Iterator[Path]:
    """Files in a folder that :meth:`TrainingFolder.create` would not have left when it was cut short."""
    for path in layout.root.iterdir():
        if path.name.startswith(TEMPORARY) or path == layout.private:
            continue
        if path.is_dir() and path.name in _OWN:
            for inner in path.rglob("*"):
                own = (
                    inner.name.startswith(TEMPORARY) or inner.relative_to(layout.root).as_posix() in GIT_FILES
                )
                if not inner.is_dir() and not own:
                    yield inner
        elif path.name not in _OWN_FILES or (path == layout.dataset and is_foreign(path)):
            yield path


def _begun(layout: Layout) -> Description | None:
    """The description of a folder that was made, but has no frame yet; None for one that is damaged."""
    with suppress(DatasetError):
        return Description.read(layout.dataset)
    return None
