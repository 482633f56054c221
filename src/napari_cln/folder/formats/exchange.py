"""Studies in and out: folders of pictures, nnU-Net, COCO, labelme, YOLO, Pascal VOC, CSV, training folders.

Both functions are iterations that do one frame a step: wrap them in a progress bar, stop between
two frames. An import says at its end what it made of what.

>>> work = import_study("LymphUs", "my_study", labels="labels.csv")   # doctest: +SKIP
>>> for step in work:                                                # doctest: +SKIP
...     print(step.index, step.total, step.problem or step.name)
>>> print(*work.report.lines(), sep="\\n")                            # doctest: +SKIP
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from msgspec import structs

from ...annotation import Case
from ...disk.atomic import filling, is_free, read_json
from ...disk.tables import ENDINGS, is_hidden
from ...errors import ClnError, DatasetError, ExportError, counted, listed
from ...imaging.burned_in import can_read
from ...io.sources import VIDEO_ENDINGS, refers_to_images
from ...types import Frame
from ..dataset import TrainingFolder, last_not_judged
from ..description import BRING_BACK, Seen
from ..health.summary import Tally
from ..pictures import hash_pixels
from ..record import Record
from ..screens import LOOK_AT_TEXT, unseen_screens
from ..state import says
from ..text import TextReader, unread_frames, waiting_frames
from .annotations import find_labelme, find_voc
from .coco import CocoWriter, find_coco_files, read_coco
from .columns import KnownPatients, read_labels, refuse_without_table
from .imported import (
    Found,
    ImportedFrame,
    ImportOptions,
    ImportReport,
    Incoming,
    Outlines,
    SuggestedMask,
    below,
)
from .masks import find_masks, mask_meanings
from .meaning import meaning_of, split_of
from .nnunet import NnunetWriter, find_nnunet, is_nnunet
from .own_csv import CsvWriter, find_csv, is_own_table
from .plain import Study, find_study, find_table
from .stored import VOLUMES, VolumeWriter, adopt, find_stored, has_keys, read_stored
from .yolo import find_yolo

__all__ = ["FORMATS", "ExchangeStep", "StudyImport", "export_study", "import_study"]

FORMATS = ("nnunet", "coco", "csv", "dicom", "nrrd", "nifti")
DICOM_ENDINGS = ("", ".dcm", ".dicom", ".ima")
TEXT_FOUND = "text was found on {} of the frames: they wait for a look, neither trained on nor exported"
OTHER_SALT = "its patient keys were made with another salt: its patients count as others than the folder's"
NO_SALT = (
    "the patient keys of {} come without the fingerprint of their salt. If they were made on another "
    "computer, a patient of both is two here: import the training folder itself, or its export as nnunet, "
    "coco or csv"
)
NO_TABLE = "none"
"""For ``labels``: the study's tables are not its labels."""
UNFORESEEN = (OSError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, MemoryError)
NOT_READ = {
    **dict.fromkeys(
        (".nhdr", ".mha", ".mhd", ".hdr", ".img"),
        "volumes and label maps of this kind are not read: save them as NRRD, NIfTI or PNG",
    ),
    **dict.fromkeys((".zip", ".7z", ".rar", ".gz", ".tar"), "archives are not read: unpack them"),
    **dict.fromkeys(
        (".xls", ".ods", ".numbers"), "workbooks of this kind are not read: save them as XLSX or CSV"
    ),
    **dict.fromkeys((".npy", ".npz", ".mat", ".pkl", ".h5"), "arrays are not read: export the masks as PNG"),
    **dict.fromkeys(ENDINGS, "tables that are not the one of labels: name another by --labels"),
    **dict.fromkeys(VIDEO_ENDINGS, "videos are not imported: export the frames that you want as pictures"),
    **dict.fromkeys((".heic", ".heif"), "pictures of this kind are not read: save them as PNG or JPEG"),
    **dict.fromkeys((".json", ".xml"), "annotations that no known format explains: export them as COCO"),
}


@dataclass(frozen=True, kw_only=True)
class ExchangeStep:
    """One frame of an import or export.

    Parameters
    ----------
    index, total : int
        1, 2, … of how many.
    name : str
        File or id.
    case : Case, optional
        The frame in the training folder; ``None`` where it was refused.
    problem : str, optional
        Why it was refused, and what to do.
    notes : tuple of str
        What a reader should know of a frame that was taken.
    """

    index: int
    total: int
    name: str
    case: Case | None = None
    problem: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def note(self) -> str | None:
        """The notes in one text."""
        return "; ".join(self.notes) or None


# ------------------------------------------------------------ in


def import_study(
    source: str | Path, out: str | Path, options: ImportOptions | None = None, **facts: Any
) -> StudyImport:
    """Bring a study into a training folder.

    The kind of the source is seen from its content: another training folder or an export of one,
    a raw nnU-Net dataset, COCO annotations, else a folder of pictures with masks, with or without a table.

    Parameters
    ----------
    source : path
        Folder, or the COCO file in it.
    out : path
        Training folder; made when it is new. Frames that it has already are compared.
    options : ImportOptions, optional
        What is not seen from the content.
    **facts
        Fields of :class:`ImportOptions` one by one, such as ``labels="labels.csv"``.

    Returns
    -------
    StudyImport
        Iterate over it: each :class:`ExchangeStep` is one frame, refused ones too. Its ``report`` says what
        was made of what.

    Raises
    ------
    DatasetError
        If the source can't be used at all, has words whose meaning is not known, or is a training folder
        whose patient keys were made with another salt than those of ``out``.
    """
    root = Path(source)
    if not root.exists():
        raise DatasetError(f"{root.name} does not exist.", "Give the folder of the study.")
    options = replace(options or ImportOptions(), **facts)
    _check_words(options)
    folder = root if root.is_dir() else root.parent
    found = _find(root, folder, options)
    out = Path(out)
    known = (out / "dataset.json").exists()
    study = TrainingFolder.open(out) if known else TrainingFolder.create(out, salt=found.salt)
    if found.salt and study.dataset.salt not in (None, found.salt):
        if not options.other_patients:
            raise DatasetError(
                f"The patient keys of {root.name} were made with another salt than those of {out.name}: a "
                "patient of both would be two, and might stand on both sides of a split.",
                "Import it into a folder of its own; or say --other-patients if the two have no patient in "
                "common.",
            )
        found = replace(found, notes=(*found.notes, OTHER_SALT))
    unused = _unused(folder, found, study.path)
    return StudyImport(found=found, study=study, unused=unused, suggest=options.suggest)


def _check_words(options: ImportOptions) -> None:
    mask_meanings(options)
    for key, text in options.label_values.items():
        if meaning_of(text) is None:
            raise DatasetError(
                f"--label-values {key}={text} is not known.",
                "Use background, node, benign, metastatic or no-node.",
            )
    for key, text in options.split_values.items():
        if not split_of(text)[0]:
            raise DatasetError(
                f"--split-values {key}={text} is not known.", "Use train, validation, test or none."
            )


def _find(root: Path, folder: Path, options: ImportOptions) -> Found:
    """Recognise the format of a source, and find its frames."""
    labels = _place(folder, options.labels) if options.labels not in (None, NO_TABLE) else None
    placed = replace(
        options,
        images=_place(folder, options.images) if options.images else None,
        masks=_place(folder, options.masks) if options.masks else None,
    )
    named = labels or (root if root.is_file() else None)
    nnunet = is_nnunet(folder) and not (options.images or options.masks)
    if nnunet and "x_napari_cln" in read_json(folder / "dataset.json"):
        refuse_without_table(options, folder.name)
        return find_stored(TrainingFolder.open(folder))
    if named is not None and named.suffix.casefold() not in (*ENDINGS, ".json"):
        raise DatasetError(
            f"{named.name} is neither a table nor a COCO file.", "Give CSV, TSV, XLSX or COCO JSON."
        )
    coco = [named] if named is not None and named.suffix.casefold() == ".json" else find_coco_files(folder)
    table = named if coco[:1] != [named] else None
    if table is None and options.labels != NO_TABLE:
        table = find_table(folder)
    is_own = table is not None and is_own_table(table)
    if table is None or is_own:
        refuse_without_table(options, folder.name)
    if table is not None and is_own:
        return find_csv(table)
    read = read_labels(table, placed) if table is not None else None
    outlines: Outlines | Found | None
    if nnunet:
        outlines = find_nnunet(folder, placed)
    elif coco and options.masks is None:
        outlines = read_coco(coco, placed.images, folder, placed)  # type: ignore[arg-type]
        if isinstance(outlines, Found):
            return outlines
    else:
        outlines = None
        finders = (_find_segmentations, find_labelme, find_voc, find_yolo)
        for find in finders if options.masks is None else ():
            if (outlines := find(folder, placed.images, placed)) is not None:  # type: ignore[arg-type]
                break
        outlines = outlines or find_masks(folder, placed, read)
    return find_study(Study(root=folder, outlines=outlines, labels=read, options=placed))


def _find_segmentations(folder: Path, images: Path | None, options: ImportOptions) -> Outlines | None:
    """Outlines of DICOM segmentations; None where there is none, which needs no DICOM library to tell."""
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.casefold() in DICOM_ENDINGS and not is_hidden(path) and path.is_file()
    ]
    if not any(map(refers_to_images, files)):
        return None
    from .dicom import find_segmentations

    return find_segmentations(folder, files, images, options)


def _place(folder: Path, name: str | Path) -> Path:
    """A path that the user gave: from the source, or from where the user is."""
    for candidate in (folder / name, Path(name)):
        if candidate.exists():
            return candidate
    raise DatasetError(f"{Path(name).name} is neither in {folder.name} nor here.", "Check its path.")


def _unused(root: Path, found: Found, out: Path) -> dict[str, str]:
    """Files of a source that belong to nothing, and why each was not used."""
    if found.used is None:
        return {}
    used = {path.resolve() for path in found.used}
    here = out.resolve()
    unused = {}
    for path in sorted(root.rglob("*")):
        if path.is_dir() or is_hidden(path) or any(p.startswith(".") for p in path.relative_to(root).parts):
            continue
        resolved = path.resolve()
        if resolved not in used and not resolved.is_relative_to(here):
            unused[below(path, root)] = _why(path)
    return {name: why for name, why in unused.items() if name not in found.refused}


def _why(path: Path) -> str:
    if path.is_symlink() and not path.exists():
        return "a link that leads nowhere"
    name = path.name.casefold()
    ending = ".nii.gz" if name.endswith(".nii.gz") else path.suffix.casefold()
    return NOT_READ.get(ending, "")


@dataclass(kw_only=True)
class StudyImport:
    """An import under way: an iteration over its frames, and the report of what was made of what."""

    found: Found
    study: TrainingFolder
    unused: dict[str, str]
    suggest: Callable[[Frame], SuggestedMask] | None = None
    _tally: Tally = field(default_factory=Tally)
    _taken: dict[str, tuple[str, object]] = field(default_factory=dict)
    _problems: dict[str, str] = field(default_factory=dict)
    _notes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _n_taken: int = 0
    _n_repeated: int = 0
    _kept: set[str] = field(default_factory=set)
    _n_held: int = 0
    _n_unsalted: int = 0
    _patients: KnownPatients = field(init=False)
    _left_out: dict[str, Seen] = field(init=False)  # before the import: a save asks again

    def __post_init__(self) -> None:
        self._patients = KnownPatients(self.study)
        self._left_out = self.study.dataset.left_out

    def __iter__(self) -> Iterator[ExchangeStep]:
        total = len(self.found.items) + len(self.found.refused)
        index = 0
        reader = TextReader(self.study)
        try:
            for item in self.found.items:
                index += 1
                step = self._take(item, partial(ExchangeStep, index=index, total=total, name=item.name))
                if step.problem is not None:
                    self._problems[item.name] = step.problem
                for note in step.notes:
                    self._notes[note].append(item.name)
                if step.case is not None:
                    self._kept.add(step.case.id)
                    reader.add([step.case.id])
                yield step
            for name, problem in self.found.refused.items():
                index += 1
                self._problems[name] = problem
                yield ExchangeStep(index=index, total=total, name=name, problem=f"{name}: {problem}")
        finally:
            reader.wait()
            self._n_held = len(waiting_frames(self.study).keys() & self._kept)
            self.study.dataset.recount()

    @property
    def report(self) -> ImportReport:
        """The result so far."""
        return ImportReport(
            kind=self.found.kind,
            images=self.found.n_images,
            masks=self.found.n_masks,
            taken=self._n_taken,
            refused=len(self._problems),
            repeated=self._n_repeated,
            study=self._tally.summary(),
            tables=self.found.tables,
            unused_files=self.unused,
            problems=dict(self._problems),
            notes={note: list(names) for note, names in self._notes.items()},
            remarks=(
                *self.found.notes,
                *([NO_SALT.format(counted(self._n_unsalted, "frame"))] if self._n_unsalted else ()),
                *([self._patients.remark] if self._patients.remark else ()),
                *([TEXT_FOUND.format(self._n_held)] if self._n_held else ()),
            ),
        )

    def _take(self, item: Incoming, step: partial[ExchangeStep]) -> ExchangeStep:
        try:
            parcel = self._with_known_patient(item.read())
            case_id = self.study.identify(parcel.annotation.frame)
            own_id = parcel.stored.id if parcel.stored else case_id
            if (seen := self._left_out.get(own_id)) is not None:
                return step(notes=(f"left out by {seen.who}, and not taken. {BRING_BACK.format(own_id)}",))
            said = _saying(parcel)  # whatever is suggested: another import may suggest nothing
            if case_id in self._taken:
                first, former = self._taken[case_id]
                if former == said:
                    if parcel.stored is not None:
                        adopt(self.study, parcel)  # its record may know more of the frame
                    self._n_repeated += 1
                    return step(notes=(f"it has the same pixels as {first}, and is kept once",))
                return step(
                    problem=f"{item.name} has the same pixels as {first}, but another mask, label or "
                    "patient. The first was taken: find out which is right, and leave the other out."
                )
            parcel = self._with_suggestion(parcel, case_id)
            case = self._keep(parcel)
        except ClnError as cause:
            return step(problem=str(cause))
        except UNFORESEEN as cause:
            # One frame that nobody foresaw must not stop the others.
            kind = type(cause).__name__
            return step(
                problem=f"{item.name} can't be taken ({kind}). Check its files; if they are right, please "
                "open an issue in the repository of napari-cln."
            )
        self._taken[case_id] = item.name, said
        self._n_taken += 1
        self._tally.add(case, parcel.annotation.instances, item.name)
        return step(case=case, notes=parcel.notes)

    def _with_known_patient(self, parcel: ImportedFrame) -> ImportedFrame:
        """Give a frame's patient the name under which the folder knows that patient."""
        if not parcel.about.patient:
            return parcel
        name = self._patients.name_of(parcel.about.patient)
        return replace(parcel, about=structs.replace(parcel.about, patient=name))

    def _with_suggestion(self, parcel: ImportedFrame, case_id: str) -> ImportedFrame:
        """Add outlines to a frame that has none here or in the folder, unless somebody saw no node."""
        annotation = parcel.annotation
        if self.suggest is None or parcel.stored is not None or annotation.instances.any():
            return parcel
        if annotation.status == "no-node" or parcel.has_unread or self._is_judged(case_id):
            return parcel
        return self.suggest(annotation.frame).on(parcel)

    def _is_judged(self, case_id: str) -> bool:
        """Tell whether a frame of the folder was read, or has masks that an import did not suggest."""
        if (record := self._record(case_id)) is None:
            return False
        if _was_read(record):
            return True
        said = [entry.action for entry in record.history if entry.action != "noted"]
        return (record.has_mask or record.instances_sha256 is not None) and said[-1:] == ["imported"]

    def _record(self, case_id: str) -> Record | None:
        """The record of a frame, where the folder has it."""
        return self.study.record(case_id) if self.study.layout.record(case_id).exists() else None

    def _keep(self, parcel: ImportedFrame) -> Case:
        """Take a frame; what a reader has said of it meanwhile is not overwritten."""
        if (stored := parcel.stored) is not None:
            self._n_unsalted += self.found.salt is None and has_keys(stored.patient_key, stored.cine_key)
            return adopt(self.study, parcel)
        case_id = self.study.identify(parcel.annotation.frame)
        if (record := self._record(case_id)) is not None:
            unjudged = last_not_judged(self.study, record)
            # A frame alone contradicts nobody.
            if parcel.says_nothing or says(record, parcel.annotation, unjudged):
                return self.study.note_facts(parcel.annotation.frame, parcel.about)
            if _was_read(record):
                # The rival goes to the revisions, as one that came after another reader's.
                return self.study.keep(
                    parcel.annotation, parcel.about, expected_revision=0, overlay=parcel.overlay, count=False
                )
        return self.study.keep(parcel.annotation, parcel.about, overlay=parcel.overlay, count=False)


def _was_read(record: Record) -> bool:
    """Tell whether anybody but an import has had a frame of the folder in hand."""
    return any(entry.who != "import" for entry in record.history)


def _saying(parcel: ImportedFrame) -> object:
    """Digest of a parcel's claims, short enough to be kept for every frame of an import."""
    annotation = parcel.annotation
    return annotation.nodes, annotation.status, parcel.about, hash_pixels(annotation.instances)


# ------------------------------------------------------------ out


def export_study(
    folder: TrainingFolder | str | Path,
    format: Literal["nnunet", "coco", "csv", "dicom", "nrrd", "nifti"],
    dest: str | Path,
) -> Iterator[ExchangeStep]:
    """Write a training folder for others to use, whole or not at all.

    Patients leave as salted hashes; readers' names, times and notes stay.

    Parameters
    ----------
    folder : TrainingFolder or path
    format : str
        ``nnunet`` (a raw dataset with a split by patient) and ``coco`` (run-length codes), which can be
        imported again without loss; ``csv`` (pictures of node ids, a row per node), which lacks hospital,
        machine, clinical record, how pictures were cleaned, and where a scale is from; ``dicom`` (a
        capture, a segmentation and a report a frame, for an archive), which says no truth; ``nrrd`` or
        ``nifti`` (a volume of one slice and a mask a frame, for 3D Slicer and ITK-SNAP), likewise.
    dest : path
        New or empty folder.

    Yields
    ------
    ExchangeStep
        One a frame, and a last one without a case where something is worth knowing.

    Raises
    ------
    ExportError
        If the format is not known, ``dest`` is not empty, a frame is damaged, the disk refuses, or
        nobody has looked at the pictures for burned-in names (:mod:`napari_cln.folder.screens`).
    """
    study = folder if isinstance(folder, TrainingFolder) else TrainingFolder.open(folder)
    goal = Path(dest).absolute()
    if format not in FORMATS:
        raise ExportError(f"The format {format!r} is not known.", f"Use one of {', '.join(FORMATS)}.")
    if not is_free(goal):
        raise ExportError(f"{goal.name} exists and is not empty.", "Choose a new folder.")
    if unseen := unseen_screens(study):
        n = sum(map(len, unseen.values()))
        raise ExportError(
            f"Nobody has looked at the pictures of {'; '.join(unseen)} ({counted(n, 'frame')}) for "
            "burned-in names and dates.",
            "Look at them: `napari-cln check FOLDER --pictures DIR`.",
        )
    if waiting := waiting_frames(study):
        raise ExportError(
            f"Text was found on {counted(len(waiting), 'frame')} that nobody has looked at "
            f"({listed(waiting)}).",
            LOOK_AT_TEXT,
        )
    if can_read() and (unread := unread_frames(study)):
        raise ExportError(
            f"The text on {counted(len(unread), 'frame')} was not read yet.",
            "Have it read: `napari-cln check FOLDER --text`.",
        )
    return _write(study, format, goal)


def _write(study: TrainingFolder, format: str, goal: Path) -> Iterator[ExchangeStep]:
    total = len(study.ids())
    lost: dict[str, int] = defaultdict(int)
    try:
        with filling(goal) as part:
            writer: NnunetWriter | CocoWriter | CsvWriter | DicomWriter | VolumeWriter
            if format == "nnunet":
                writer = NnunetWriter(study, part)
            elif format == "dicom":
                from .dicom import DicomWriter  # pydicom and highdicom take half a second

                writer = DicomWriter(study, part)
            elif format in VOLUMES:
                writer = VolumeWriter(part, VOLUMES[format])
            else:
                writer = (CocoWriter if format == "coco" else CsvWriter)(part, study.dataset.salt)
            for i, frame in enumerate(read_stored(study), start=1):
                writer.add(frame)
                for name in frame.channels if format != "nnunet" else ():
                    lost[name] += 1
                yield ExchangeStep(index=i, total=total, name=frame.case.id, case=frame.case)
            notes = [note for note in [writer.close()] if note]
    except OSError as cause:
        raise ExportError(
            f"{goal.name} can't be written ({cause.strerror}).",
            "Choose a place where you may write, with free space.",
        ) from cause
    except DatasetError as cause:
        raise ExportError(f"Nothing was exported: {cause}") from cause
    if lost:
        said = listed(f"{name} of {counted(n, 'frame')}" for name, n in lost.items())
        notes.append(f"Channels are not written in this format ({said}); nnunet has them.")
    if notes:
        yield ExchangeStep(index=total, total=total, name=goal.name, notes=tuple(notes))
