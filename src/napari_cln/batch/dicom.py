"""Segmentations and reports of a batch's results, for the archive that the images came from.

::

    OUT/dicom/neck/a.dcm.seg.dcm    nodes of all frames of neck/a.dcm; none where it shows no node
    OUT/dicom/neck/a.dcm.sr.dcm     scores and sizes

They are made from the results on disk, so that a run that was stopped goes on, and a rerun makes what is
missing or of other results: the head of each file, which no archive gets, has a checksum of the rows that it
was made of. They carry the patient and study of their image, as the archive demands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID

from ..annotation import Node
from ..disk.atomic import write_atomically
from ..errors import ClnError, ExportError, FrameReadError
from ..imaging.measurement import Measurement, measure, spacing_of
from ..io.dicom.objects.findings import (
    Algorithm,
    FrameFindings,
    ImageIdentity,
    building,
    derived_uid,
    encode,
)
from ..io.dicom.objects.report import report_of
from ..io.dicom.objects.segmentation import segmentation_of
from ..io.sources import FrameSource, is_dicom_image, open_source
from ..types import UNLIKE_TRAINING_DATA
from .names import NamedSource, object_path, picture_path
from .rows import read_rows

RESULTS = UID(derived_uid("results"))
"""Says in the head of a file that what follows is the checksum of its rows."""
DOUBTED = ("look twice", "do not rely on it")
"""Levels of doubt that a prediction's first warning begins with."""
NO_IDENTITY = (
    "has no DICOM identity, so no SEG or report can refer to it. Import it into a training folder: "
    "`napari-cln export FOLDER --format dicom` writes image, mask and report together."
)


@dataclass(frozen=True, kw_only=True)
class ArchivedFile:
    """Outcome of one file of the results.

    Parameters
    ----------
    source : str
        Name of the file in the results.
    written : tuple of Path
    problem : str, optional
        Why there is nothing, and what to do.
    is_dicom : bool
        Whether the file is a DICOM file at all.
    n_left_out : int
        Frames without a result, which the objects do not speak of.
    """

    source: str
    written: tuple[Path, ...] = ()
    problem: str | None = None
    is_dicom: bool = True
    n_left_out: int = 0


def archive_results(
    out: str | Path,
    sources: Iterable[NamedSource],
    *,
    mask_threshold: float | None = None,
) -> Iterator[ArchivedFile]:
    """Write a segmentation and a report of each DICOM file in a folder of results, where they are missing.

    Parameters
    ----------
    out : path
        Folder of results that is complete, with a mask picture for each frame.
    sources : iterable of NamedSource
        The files that the results are of.
    mask_threshold : float, optional
        The model's operating point on probability.

    Yields
    ------
    ArchivedFile
        For each file that something was written of, or could not be.

    Raises
    ------
    ExportError
        If the disk refuses.
    """
    folder = Path(out)
    by_name = {source.name: source for source in sources}
    for name, rows in groupby(read_rows(folder / "results.csv"), key=lambda row: row["source"]):
        source, kept = by_name.get(name), list(rows)
        if source is None:
            continue
        report = folder / object_path(name, "sr")
        if _results_of(report) == _checksum(kept):
            continue
        try:
            yield _archive(source, kept, folder, mask_threshold)
        except OSError as cause:
            raise ExportError(
                f"{report.name} can't be written ({cause.strerror}).",
                "Make room, or choose another --out; the same command goes on where it stopped.",
            ) from cause


def _archive(
    source: NamedSource, rows: Sequence[dict[str, str]], folder: Path, threshold: float | None
) -> ArchivedFile:
    paths = {"seg": folder / object_path(source.name, "seg"), "sr": folder / object_path(source.name, "sr")}
    for path in paths.values():  # of another result
        with suppress(FileNotFoundError):
            path.unlink()
    short = source.name.rsplit("/", 1)[-1]
    if not is_dicom_image(source.path):
        return ArchivedFile(source=source.name, problem=f"{short} {NO_IDENTITY}", is_dicom=False)
    try:
        with building():  # one file never stops the others
            identity = ImageIdentity.read(source.path)
            with open_source(source.path) as opened:
                frames = {
                    index: list(of_frame)
                    for index, of_frame in groupby(rows, key=lambda row: int(row["frame"] or -1))
                }
                findings = [
                    _findings(index, frame, opened, folder, source.name, threshold)
                    for index, frame in sorted(frames.items())
                    if index >= 0 and frame[0]["status"] != "failed"
                ]
            if not findings:
                raise FrameReadError(f"{short} has no frame with a result. See the message column.")
            check = _checksum(rows)
            seg = segmentation_of(findings, identity, made_of=check.hex())
            report = report_of(findings, identity, made_of=check.hex())
            made = {kind: _encoded(dataset, check) for kind, dataset in (("seg", seg), ("sr", report))}
    except ClnError as error:
        return ArchivedFile(source=source.name, problem=source.hide(str(error)))
    paths["sr"].parent.mkdir(parents=True, exist_ok=True)
    written = []
    for kind, data in made.items():  # the report last: it tells that both are there
        if data is not None:
            write_atomically(paths[kind], data)
            written.append(paths[kind])
    return ArchivedFile(
        source=source.name, written=tuple(written), n_left_out=identity.n_frames - len(findings)
    )


def _encoded(dataset: Dataset | None, check: bytes) -> bytes | None:
    """Bytes of an object, with the checksum of its rows in the head."""
    if dataset is None:
        return None
    dataset.file_meta.PrivateInformationCreatorUID = RESULTS
    dataset.file_meta.PrivateInformation = check
    return encode(dataset)


def _checksum(rows: Sequence[dict[str, str]]) -> bytes:
    """Checksum of the results on a file: its rows, masks, model and version."""
    return hashlib.sha256("\n".join(row["check"] for row in rows).encode()).digest()


def _results_of(report: Path) -> bytes | None:
    """Checksum of the results that a report was made of; None where no report says it."""
    try:
        head = read_file_meta_info(report)
        is_ours = head.get("PrivateInformationCreatorUID") == RESULTS
        return bytes(head.PrivateInformation) if is_ours else None
    except Exception:  # a damaged head can raise anything
        return None


def _findings(
    index: int,
    rows: Sequence[dict[str, str]],
    opened: FrameSource,
    folder: Path,
    name: str,
    threshold: float | None,
) -> FrameFindings:
    """Findings of the results on a frame; sizes are measured again, since a table keeps no ends of axes."""
    found = [row for row in rows if row["node"]]
    mask_file = folder / "masks" / picture_path(name, index, opened.n_frames)
    instances = _read_mask(mask_file) if found else np.zeros(opened.shape, dtype=np.uint8)
    nodes: list[Node] = []
    sizes: list[Measurement | None] = []
    if found:
        frame = opened[index]
        for row in found:
            number, score = int(row["node"]), float(row["malignancy"])
            mask = instances == number
            if not mask.any():
                raise FrameReadError(
                    f"The mask of {name.rsplit('/', 1)[-1]} lacks node {number} of its table.",
                    "Segment it again, with --redo.",
                )
            nodes.append(Node(id=number, status="predicted", p_malignant=score))
            sizes.append(measure(mask, spacing_of(frame, mask)))
    return FrameFindings(
        index=index,
        instances=instances,
        nodes=tuple(nodes),
        sizes=tuple(sizes),
        frame_score=None if found or not rows[0]["malignancy"] else float(rows[0]["malignancy"]),
        caution=next((caution for row in rows if (caution := _caution(row))), ""),
        algorithm=Algorithm(
            model_id=rows[0]["model"], mask_threshold=threshold, cutoff=float(rows[0]["cutoff"])
        ),
    )


def _caution(row: dict[str, str]) -> str:
    """The model's own doubt about a frame, which the table tells before what else there is to know of it."""
    if row["status"] == "unlike-training-data":
        return UNLIKE_TRAINING_DATA
    sentence, _, _ = row["message"].partition(". ")
    doubted = any(sentence.casefold().startswith(level) for level in DOUBTED)
    return f"{sentence.removesuffix('.')}." if doubted else ""


def _read_mask(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("L"), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError) as cause:
        raise FrameReadError(
            f"The mask {path.name} is missing or damaged.", "Give the same command again."
        ) from cause
