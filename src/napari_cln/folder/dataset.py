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
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..disk.atomic import checked_id, read_json, sweep, without_collection, write_atomically
from ..disk.locks import lock
from ..disk.user import config_folder, hashed_key, key_of_pseudonym
from ..errors import DatasetError
from ..types import Annotation, Case, Frame
from .autosave import Autosave
from .keys import hash_pixels, read_salt, salt_fingerprint
from .layout import Layout
from .pictures import read_png
from .records import SCHEMA, Record, case_of, checked_record, describe, encode
from .saving import Provenance, identify, save

__all__ = ["TrainingFolder"]

_RECORD = re.compile(r"([0-9a-f]{16})\.json")
_LABEL = re.compile(r"[0-9a-f]{16}\.png")
_CHECK = "Run `napari-cln check` on the training folder to repair it."
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

    def __init__(self, path: Path, description: dict[str, Any]) -> None:
        self.path = path
        self.layout = Layout(path)
        self.autosave = Autosave(path)
        self._description = description

    @classmethod
    def create(cls, path: str | Path) -> TrainingFolder:
        """Make a new, empty training folder.

        Raises
        ------
        DatasetError
            If the path exists and is not an empty folder, or can't be written to.
        """
        root = Path(path)
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise DatasetError(f"{root.name} exists and is not empty. Open it, or choose a new folder.")
        layout = Layout(root)
        description = describe(0, salt_fingerprint(read_salt()))
        try:
            for folder in (*layout.shared, layout.revisions, layout.locks, layout.autosave):
                folder.mkdir(parents=True, exist_ok=True)
            (root / ".gitattributes").write_text("*.png binary\n")
            (root / ".gitignore").write_text(".cln/\n.tmp-*\n")
            write_atomically(layout.dataset, encode(description))
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
        if not layout.dataset.is_file():
            raise DatasetError(
                f"{root.name} is not a training folder: it has no dataset.json. "
                "Make one with TrainingFolder.create, or `napari-cln import`."
            )
        description = read_json(layout.dataset)
        ours = description.get("x_napari_cln")
        if not isinstance(ours, dict) or not isinstance(ours.get("schema"), int):
            raise DatasetError(
                f"{root.name} is an nnU-Net dataset, but not a training folder. Import it with "
                "`napari-cln import`."
            )
        folder = cls(root, description)
        if not folder.read_only:
            sweep([*layout.shared, *layout.revisions.glob("*"), root])
        return folder

    @property
    def read_only(self) -> bool:
        """Whether a newer napari-cln wrote the folder, so that this one must not change it."""
        return bool(self._description["x_napari_cln"]["schema"] > SCHEMA)

    @property
    def salt(self) -> str | None:
        """Fingerprint of the salt of the patient keys."""
        salt = self._description["x_napari_cln"].get("salt")
        return str(salt) if salt else None

    def cases(self) -> list[Case]:
        """All frames, by id; records that can't be read are left out, logged, named by ``check``."""
        cases, unreadable = [], 0
        with without_collection():
            for case_id, path in self._find_records():
                try:
                    cases.append(case_of(checked_record(read_json(path), case_id), self.layout))
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
        with os.scandir(self.layout.records) as entries:
            return sorted(
                (match[1], entry.path) for entry in entries if (match := _RECORD.fullmatch(entry.name))
            )

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
        try:
            return checked_record(read_json(path), case_id)
        except DatasetError as cause:
            if isinstance(cause.__cause__, FileNotFoundError):
                raise DatasetError(
                    f"{case_id} is not in the training folder {self.path.name}. Save its frame first."
                ) from cause
            raise

    def revisions(self, case_id: str) -> list[Record]:
        """Records of the former states of a frame, and of rivals that came too late, by their number.

        The number, not the time, is their order: clocks jump, and two computers disagree.
        """
        kept = []
        for path in (self.layout.revisions / checked_id(case_id)).glob("*.json"):
            try:
                kept.append(checked_record(read_json(path), case_id))
            except DatasetError as cause:
                _log.warning("A former state can't be read: %s", cause)
        return sorted(kept, key=lambda record: int(record["revision"]))

    def read_image(self, case: Case) -> NDArray[np.uint8]:
        """Grey pixels (H, W) of a case, overlay-free, original resolution.

        Raises
        ------
        DatasetError
            If the file is missing, damaged, or another than the record's.
        """
        image = read_png(case.image)
        if hash_pixels(image) != case.extra["image_sha256"]:
            raise DatasetError(f"{case.image.name} is not the image that its record describes. {_CHECK}")
        return image

    def read_instances(self, case: Case) -> NDArray[np.uint8]:
        """Node ids uint8 (H, W) of a case; all 0 where it has no mask.

        Raises
        ------
        DatasetError
            If a file is missing, damaged, or of another save than the record.
        """
        instances = None
        for path, key in ((case.mask, "mask_sha256"), (case.instances, "instances_sha256")):
            if path is not None:
                instances = read_png(path)
                if hash_pixels(instances) != case.extra[key]:
                    raise DatasetError(f"{path.name} and its record come from two different saves. {_CHECK}")
        return np.zeros(case.extra["shape"], dtype=np.uint8) if instances is None else instances

    def save(
        self,
        annotation: Annotation,
        *,
        patient: str | None = None,
        cine: str | None = None,
        who: str | None = None,
        source_kind: Literal["file", "dicom", "video", "import", "simulated"] = "file",
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
            Revision that the reader started from (``case.extra["revision"]``; 0 for a new frame).
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
        return save(self, annotation, about, expected_revision=expected_revision, overlay=overlay)

    def identify(self, frame: Frame) -> str:
        """Id of a frame by its pixels alone; an image opened from the folder keeps the id it has there."""
        return identify(self.layout, frame)

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
        """Bring ``numTraining`` in dataset.json, which nnU-Net checks, up to date."""
        with lock(self.layout.locks, "dataset", "napari-cln"):
            description = read_json(self.layout.dataset)
            with os.scandir(self.layout.labels) as entries:
                description["numTraining"] = sum(
                    _LABEL.fullmatch(entry.name) is not None for entry in entries
                )
            if description != read_json(self.layout.dataset):
                write_atomically(self.layout.dataset, encode(description))
            self._description = description
