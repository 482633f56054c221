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
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..annotation import Annotation, Case
from ..disk.atomic import is_there, read_bytes, sweep, without_collection
from ..disk.locks import HeldError, lock
from ..errors import ConflictError, DatasetError
from ..imaging.burned_in import clean_frame, paint_boxes
from ..imaging.measurement import Measurement, measure_nodes
from ..types import NOT_JUDGED, Frame
from .autosave import Autosave
from .commits import commit, former_labels, keep_rival
from .description import DatasetFile
from .layout import Layout, checked_id
from .pictures import hash_pixels, read_png
from .record import Provenance, Record, SourceKind, case_of, decode_record
from .state import Masks, State, first_state, next_state, noted, with_all_nodes, with_facts

__all__ = [
    "TrainingFolder",
    "as_recorded",
    "former_records",
    "home_of",
    "last_not_judged",
    "read_not_judged",
]

MAX_RECORD_BYTES = 4 * 2**20
_RECORD = re.compile(r"([0-9a-f]{16})\.json")
_IMAGE = re.compile(r"([0-9a-f]{16})_0000\.png")
_CHECK = "Run `napari-cln check` on the training folder to repair it."
_log = logging.getLogger(__name__)


class TrainingFolder:
    """A study on disk: a raw nnU-Net dataset with one record per frame.

    Open one with :meth:`create` or :meth:`open`; several processes and computers may at once.

    Attributes
    ----------
    path : Path
    layout : Layout
    dataset : DatasetFile
        Its ``dataset.json``.
    autosave : Autosave
    """

    def __init__(self, dataset: DatasetFile) -> None:
        self.path = dataset.layout.root
        self.layout = dataset.layout
        self.dataset = dataset
        self.autosave = Autosave(self.path)

    @classmethod
    def create(cls, path: str | Path, *, salt: str | None = None) -> TrainingFolder:
        """Make a new, empty training folder; one whose making was cut short is finished.

        Parameters
        ----------
        path : path
        salt : str, optional
            Fingerprint of the salt of the patient keys that will come in; this user's by default.

        Raises
        ------
        DatasetError
            If the path exists and holds anything else, or can't be written to.
        """
        return cls(DatasetFile.make(Path(path), salt))

    @classmethod
    def open(cls, path: str | Path) -> TrainingFolder:
        """Open a training folder.

        Leftovers of saves that crashed more than an hour ago are removed.

        Raises
        ------
        DatasetError
            If there is none, or its description is damaged.
        """
        folder = cls(DatasetFile.find(Path(path)))
        if not folder.dataset.read_only:
            layout = folder.layout
            sweep([*layout.shared, *layout.revisions.glob("*"), layout.root])
        return folder

    def cases(self) -> list[Case]:
        """All frames, by id; records that can't be read are left out, logged, named by ``check``."""
        return _read_cases(self.layout)

    def ids(self) -> list[str]:
        """Ids of all frames that have a record, sorted."""
        return [case_id for case_id, _ in _find_records(self.layout)]

    def case(self, case_id: str) -> Case:
        """One frame by its id; errors as of :meth:`record`.

        Parameters
        ----------
        case_id : str
            16 hexadecimal digits.
        """
        return case_of(self.record(case_id), self.layout)

    def record(self, case_id: str) -> Record:
        """The whole record of a frame, checked.

        Parameters
        ----------
        case_id : str
            16 hexadecimal digits.

        Raises
        ------
        DatasetError
            If the id is none, unknown, or its record damaged.
        """
        path = self.layout.record(checked_id(case_id))
        if not is_there(path):
            raise DatasetError(
                f"{case_id} is not in the training folder {self.path.name}. Save its frame first."
            )
        return _read_record(path, case_id)

    def revisions(self, case_id: str) -> list[Record]:
        """Records of the former states of a frame, and of rivals that came too late, by their number.

        The number, not the time, is their order: clocks jump, and two computers disagree.

        Parameters
        ----------
        case_id : str
            16 hexadecimal digits.
        """
        records = [record for _, record in former_records(self.layout, case_id)]
        return sorted(records, key=lambda record: record.revision)

    def read_frame(self, case: Case) -> Frame:
        """Read a case as a frame, ready to be shown and segmented as it was first.

        Its picture was cut, and its marks were painted over, when it was saved. Who looks for them again
        finds others: a scan area without its dark rows, a bright fascia that looks like a stroke. So the
        frame has what the record says of both.

        Parameters
        ----------
        case : Case

        Raises
        ------
        DatasetError
            If a file is damaged or missing.
        """
        record = self.record(case.id)
        return Frame(
            pixels=self.read_image(case),
            spacing_mm=case.spacing_mm,
            regions=case.regions,
            spacing_source=record.spacing_source,
            source=case.image,
            vendor=case.vendor,
            scan_area=record.source.stored_area,
            is_clean=record.source.is_painted,
            channels=self.read_channels(case),
        )

    def read_image(self, case: Case) -> NDArray[np.uint8]:
        """Grey pixels (H, W) of a case, overlay-free, original resolution.

        Parameters
        ----------
        case : Case

        Raises
        ------
        DatasetError
            If the file is missing, damaged, or another than the record's.
        """
        return _read_picture(case.image, case.checksums.image, "is not the image that its record describes")

    def read_channels(self, case: Case) -> dict[str, NDArray[np.uint8]]:
        """Channels measured beside the grey image of a case, as :attr:`Frame.channels` has them.

        Errors as of :meth:`read_image`.

        Parameters
        ----------
        case : Case
        """
        fault = "is not the channel that its record describes"
        return {
            name: _read_picture(self.layout.channel(case.id, name), wanted, fault)
            for name, wanted in case.checksums.channels.items()
        }

    def read_instances(self, case: Case) -> NDArray[np.uint8]:
        """Node ids uint8 (H, W) of a case; all 0 where it has no mask. Errors as of :meth:`read_image`.

        Parameters
        ----------
        case : Case
        """
        label = _read_mask(case.mask, case.checksums.mask)
        ids = _read_mask(case.instances, case.checksums.instances)
        if ids is not None:
            return ids
        return np.zeros(case.shape, dtype=np.uint8) if label is None else label * (label != NOT_JUDGED)

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

        Raises
        ------
        DatasetError
            If the annotation contradicts itself or the record, or the disk refuses.
        """
        who = who or annotation.annotator
        about = Provenance(patient=patient, cine=cine, who=who, kind=source_kind, split=split)
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
            State that the reader saw; another one in the folder is a conflict.
        overlay : ndarray of bool, shape (H, W), optional
            Burned-in marks, where they were found already.
        count : bool
            Bring ``numTraining`` up to date, and set strokes aside where the disk refuses. An import counts
            once, at its end, and has its source to read again.
        """
        self.dataset.check_writable()
        annotation, case_id = with_all_nodes(annotation), self.identify(annotation.frame)
        place, key_of = self.layout.record(case_id), self.dataset.hash_key
        is_new, state = not is_there(place), None
        if is_new:
            self.dataset.refuse_left_out(case_id)
        if is_new and expected_revision:
            raise ConflictError(
                f"{case_id} was taken out of the training folder {self.path.name} after you opened it. Save "
                "it again if it is to be a new frame there."
            )
        # Outside the lock: measuring, and finding burned-in marks, takes longer than the save.
        sizes = measure_nodes(annotation)
        if is_new:
            clean = clean_frame(annotation.frame, annotation.mask, extent=about.extent, overlay=overlay)
            state = first_state(case_id, annotation, sizes, clean, about, key_of)
        try:
            with lock(self.layout.locks, case_id, about.reader):
                former = self.record(case_id) if is_there(place) else None
                if former is not None:
                    state = _on_top(self, former, annotation, sizes, about, expected_revision)
                if state is None:
                    raise DatasetError(f"{case_id} was removed from the folder meanwhile. Save it again.")
                if state.masks.leave_unjudged:
                    self.dataset.declare_unjudged()
                commit(self.layout, state, former)
        except (HeldError, OSError) as cause:
            if count:
                self.autosave.keep(annotation, case_id, who=about.reader, revision=expected_revision or 0)
            if isinstance(cause, HeldError):
                raise
            raise _not_saved(case_id, cause, kept=count) from cause
        self.autosave.clear(case_id, about.reader)
        if count and state.record.has_mask != (former is not None and former.has_mask):
            self.dataset.recount()
        return case_of(state.record, self.layout)

    def note_facts(self, frame: Frame, about: Provenance) -> Case:
        """Save what is newly told of where a frame comes from; its masks stay as they were judged.

        Parameters
        ----------
        frame : Frame
            One that is in the folder.
        about : Provenance

        Raises
        ------
        DatasetError
            If what is told contradicts the record, the frame is damaged, or the disk refuses.
        """
        case_id, key_of = self.identify(frame), self.dataset.hash_key
        known = self.record(case_id)
        if with_facts(known, frame, about, key_of) == known:
            return case_of(known, self.layout)
        self.dataset.check_writable()
        try:
            with lock(self.layout.locks, case_id, about.reader):
                former = self.record(case_id)
                return self.replace_facts(former, with_facts(former, frame, about, key_of), about)
        except OSError as cause:
            raise self.dataset.refused(cause) from cause

    def replace_facts(self, former: Record, record: Record, about: Provenance) -> Case:
        """Put a record with other facts in the place of the former; the caller holds the frame's lock.

        Parameters
        ----------
        former : Record
        record : Record
            The former with other facts.
        about : Provenance
            Who tells them.
        """
        if record != former:
            case = case_of(former, self.layout)
            masks = Masks(
                label=_read_mask(case.mask, case.checksums.mask),
                instances=_read_mask(case.instances, case.checksums.instances),
            )
            commit(self.layout, State(record=noted(former, record, about), masks=masks), former)
        return self.case(former.id)

    def identify(self, frame: Frame) -> str:
        """Id of a frame: the first 16 hexadecimal digits of the SHA-256 of its grey pixels.

        An image that was opened from the folder keeps the id it has there, though cropping and painting
        over gave it other pixels than its source. So does one that was opened before text was painted over.

        Parameters
        ----------
        frame : Frame

        Raises
        ------
        DatasetError
            If it was opened from the folder, and its record is gone or damaged, or of another picture.
        """
        digest = hash_pixels(frame.grey)
        return _stored_id(self, frame, digest) or digest[:16]


def read_not_judged(study: TrainingFolder, case: Case) -> NDArray[np.bool_] | None:
    """Pixels of a case of which nobody says whether a node is there.

    Parameters
    ----------
    study : TrainingFolder
    case : Case

    Returns
    -------
    ndarray of bool, shape (H, W), or None
        None where all are judged.

    Raises
    ------
    DatasetError
        As of :meth:`TrainingFolder.read_image`.
    """
    if not study.dataset.has_unjudged:
        return None
    return _unjudged_in(_read_mask(case.mask, case.checksums.mask))


def last_not_judged(study: TrainingFolder, record: Record) -> NDArray[np.bool_] | None:
    """Pixels bool (H, W) that nobody judged in the last state of a frame with a label; None without such."""
    if study.dataset.has_unjudged:
        for path in (study.layout.mask(record.id), *former_labels(study.layout, record.id)):
            with suppress(DatasetError):  # there is none now, or it is damaged
                label = read_png(path)
                if label.shape == record.shape:
                    return _unjudged_in(label)
    return None


def _stored_id(study: TrainingFolder, frame: Frame, digest: str) -> str | None:
    """Id of an image that was opened from the folder; None for another one."""
    if (stored := study.layout.id_of_image(frame.source)) is None:
        return None
    if not is_there(study.layout.record(stored)):
        study.dataset.refuse_left_out(stored)
        raise DatasetError(
            f"{stored} was taken out of the training folder {study.path.name}: its picture can't be saved "
            "there as a new frame. Open another frame, or the file that it came from."
        )
    record = study.record(stored)
    if record.image.sha256 not in (digest, _digest_painted(frame, record)):
        raise DatasetError(
            f"The picture of {stored} in the training folder {study.path.name} is another one than you have "
            "open. Open the frame again."
        )
    return stored


def _digest_painted(frame: Frame, record: Record) -> str | None:
    """Digest that a picture has where the text on it is painted over; None where it has none."""
    text = record.source.text
    if text is None or text.verdict != "painted over" or frame.shape != record.shape:
        return None
    return hash_pixels(paint_boxes(frame.grey, text.found))


def as_recorded(frame: Frame) -> Frame:
    """Return a frame whose file is a picture of a training folder with what its record says of it.

    Any other frame is returned as it is, and so is one whose record can't be read or is of other pixels. A
    scan area that the frame has goes before that of the record.

    Parameters
    ----------
    frame : Frame
    """
    if frame.is_clean or frame.source is None or (home := home_of(frame.source)) is None:
        return frame
    case_id = frame.source.name[:16]
    try:
        record = _read_record(Layout(home).record(case_id), case_id)
    except DatasetError:  # `napari-cln check` names what is wrong with it
        return frame
    if record.image.sha256 != hash_pixels(frame.grey):
        return frame
    area = frame.scan_area if frame.scan_area is not None else record.source.stored_area
    return replace(frame, scan_area=area, is_clean=record.source.is_painted)


def home_of(path: Path | None) -> Path | None:
    """Return the training folder in which a picture of a frame lies; None for another file.

    Parameters
    ----------
    path : Path or None
    """
    if path is None or (name := _IMAGE.fullmatch(path.name)) is None:
        return None
    layout = Layout(path.parent.parent)
    is_inside = path.parent in (layout.images, layout.unmasked) and layout.record(name[1]).exists()
    return layout.root if is_inside else None


def _on_top(
    study: TrainingFolder,
    former: Record,
    annotation: Annotation,
    sizes: Sequence[Measurement],
    about: Provenance,
    expected: int | None,
) -> State:
    """The state that follows a frame's own; where the reader saw another one, it is kept as a rival."""
    unjudged = last_not_judged(study, former) if annotation.not_judged is None else None
    state = next_state(former, annotation, sizes, about, study.dataset.hash_key, unjudged)
    if expected not in (None, former.revision):
        keep_rival(study.layout, state.after(expected or 0), former)
        raise _conflict(former)
    return state


def former_records(layout: Layout, case_id: str) -> Iterator[tuple[Path, Record]]:
    """Files and records among a frame's revisions, in no order; those that can't be read are logged."""
    for path in (layout.revisions / checked_id(case_id)).glob("*.json"):
        try:
            yield path, _read_record(path, case_id)
        except DatasetError as cause:
            _log.warning("A former state can't be read: %s", cause)


def _find_records(layout: Layout) -> list[tuple[str, str]]:
    """Ids and paths of all records, sorted."""
    # Text, not Path: with 50 000 records, making paths takes longer than reading files.
    try:
        with os.scandir(layout.records) as entries:
            return sorted(
                (match[1], entry.path) for entry in entries if (match := _RECORD.fullmatch(entry.name))
            )
    except FileNotFoundError:  # an empty folder, after a clone by git
        return []
    except OSError as cause:
        raise DatasetError(
            f"The records of {layout.root.name} can't be listed ({cause.strerror}). Check the permissions, "
            "and that records is a folder."
        ) from cause


def _read_cases(layout: Layout) -> list[Case]:
    cases, unreadable = [], 0
    with without_collection():
        for case_id, path in _find_records(layout):
            try:
                cases.append(case_of(_read_record(path, case_id, whole=False), layout))
            except DatasetError:
                unreadable += 1
    if unreadable:
        _log.warning("%d records can't be read and are left out: run `napari-cln check`.", unreadable)
    return cases


def _read_record(path: Path | str, case_id: str, *, whole: bool = True) -> Record:
    try:
        data = read_bytes(path, MAX_RECORD_BYTES)
    except OSError as cause:
        raise DatasetError(f"{Path(path).name} can't be read ({cause.strerror}). {_CHECK}") from cause
    record = decode_record(data, os.path.basename(path), whole=whole)  # noqa: PTH119 - text, not Path
    if record.id != case_id:
        raise DatasetError(f"{Path(path).name} has {record.id!r} under 'id', another frame's. {_CHECK}")
    return record


def _read_mask(path: Path | None, wanted: str | None) -> NDArray[np.uint8] | None:
    return (
        None if path is None else _read_picture(path, wanted, "and its record come from two different saves")
    )


def _read_picture(path: Path, wanted: str | None, fault: str) -> NDArray[np.uint8]:
    """Pixels of a picture that has the checksum of its record."""
    pixels = read_png(path)
    if hash_pixels(pixels) != wanted:
        raise DatasetError(f"{path.name} {fault}. {_CHECK}")
    return pixels


def _unjudged_in(label: NDArray[np.uint8] | None) -> NDArray[np.bool_] | None:
    """Pixels of a label image that nobody judged; None where all are judged."""
    unjudged = None if label is None else label == NOT_JUDGED
    return unjudged if unjudged is not None and unjudged.any() else None


def _not_saved(case_id: str, cause: OSError, *, kept: bool) -> DatasetError:
    strokes = " Your strokes are kept and will be offered again." if kept else ""
    return DatasetError(
        f"{case_id} can't be saved ({cause.strerror}).{strokes} Free some space, or make the folder "
        "writable, and save again."
    )


def _conflict(former: Record) -> ConflictError:
    last = former.last
    who, when = (
        (last.who, f"{last.last:%Y-%m-%d %H:%M} UTC") if last else ("another reader", "a time unknown")
    )
    return ConflictError(
        f"{former.id} was changed by {who} at {when}, after you opened it. Your version is kept among the "
        "revisions. Look at the other one, then save again."
    )
