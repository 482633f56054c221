"""DICOM: images with segmentations in; out, a capture of each frame with a segmentation and a report.

Images and segmentations belong together by identifiers, whatever their files are called. The folder keeps
no identifier of the original, so what is written can't name it: each capture is a new image, of a new study
of a pseudonym. Identifiers are the same each time for the same frame and findings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import isclose
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...annotation import Node
from ...errors import ClnError, DatasetError, FrameReadError, counted, listed
from ...imaging.measurement import Measurement, measure, spacing_of
from ...io.dicom.file import read_header
from ...io.dicom.objects.findings import (
    Algorithm,
    FrameFindings,
    ImageIdentity,
    capture_of,
    derived_uid,
    encode,
)
from ...io.dicom.objects.report import report_of
from ...io.dicom.objects.segmentation import (
    SegmentedImage,
    is_segmentation,
    read_segmentation,
    segmentation_of,
)
from ...io.sources import open_source, refers_to_images
from ...io.terms import Segment
from ...types import Frame
from ..dataset import TrainingFolder
from ..record import NodeEntry, Record
from .imported import Drawn, ImportOptions, Outlines, below
from .masks import drawn_segments, mask_meanings
from .meaning import Meaning
from .stored import NOT_SAID, ExportedFrame


def find_segmentations(
    source: Path, files: Sequence[Path], images: Path | None, options: ImportOptions
) -> Outlines | None:
    """Outlines of DICOM segmentations, and the images that they lie on.

    Parameters
    ----------
    source : Path
        Folder of the study.
    files : sequence of Path
        Its DICOM files.
    images : Path, optional
        Folder of the images, where the user names one.
    options : ImportOptions
        A key of ``mask_values`` is the number of a segment.

    Returns
    -------
    Outlines or None
        None where there is no segmentation.
    """
    about = [path for path in files if refers_to_images(path)]
    segmentations = [path for path in about if is_segmentation(path)]
    if not segmentations:
        return None
    candidates = [path for path in files if path not in set(about)]
    if images is not None:
        candidates = [path for path in candidates if path.is_relative_to(images)]
    by_uid: dict[str, list[Path]] = defaultdict(list)
    for path in candidates:
        try:
            by_uid[str(read_header(path, ["SOPInstanceUID"]).get("SOPInstanceUID") or "")].append(path)
        except FrameReadError:
            by_uid[""].append(path)
    meanings = mask_meanings(options)
    found: dict[Path, list[tuple[Path, SegmentedImage]]] = defaultdict(list)
    refused: dict[str, str] = {}
    for path in segmentations:
        name = below(path, source)
        try:
            read = read_segmentation(path)
        except ClnError as cause:
            refused[name] = str(cause)
            continue
        uids = {uid for uid, _ in read.masks}
        owners = [owner for uid in uids if uid for owner in by_uid.get(uid, ())]
        if not owners:
            refused[name] = "is a segmentation of an image that is not in the folder"
        for owner in owners:
            found[owner].append((path, read))
    draw: dict[Path, Callable[[Frame], Drawn]] = {}
    frames: dict[Path, tuple[int, ...]] = {}
    for image, pairs in found.items():
        if len(pairs) > 1:
            names = listed(path.name for path, _ in pairs)
            draw[image] = partial(
                _refuse, f"{image.name} has {len(pairs)} segmentations: {names}. Leave one."
            )
            continue
        ((path, read),) = pairs
        uid = str(read_header(image, ["SOPInstanceUID"]).SOPInstanceUID)
        with open_source(image) as opened:
            n_frames = opened.n_frames
        try:
            masks = read.of(uid, n_frames)
        except FrameReadError as cause:
            frames[image] = (0,)  # told once
            draw[image] = partial(_refuse, f"{path.name}: {cause}")
            continue
        if n_frames > 1:
            frames[image] = tuple(sorted(masks))
        draw[image] = partial(_draw, path.name, masks, read.segments, read.notes, meanings)
    return Outlines(
        kind="DICOM images with segmentations",
        draw=draw,
        images=tuple(candidates),
        frames=frames,
        used=frozenset(path for path in segmentations if below(path, source) not in refused),
        refused=refused,
        n_masks=len(draw),
    )


def _refuse(reason: str, _frame: Frame) -> Drawn:
    raise DatasetError(reason)


def _draw(
    name: str,
    masks: Mapping[int, np.ndarray],
    segments: Sequence[Segment],
    notes: tuple[str, ...],
    meanings: Mapping[str, Meaning] | None,
    frame: Frame,
) -> Drawn:
    mask = masks.get(frame.index)
    if mask is None:
        return Drawn(instances=np.zeros(frame.shape, dtype=np.uint8), nodes=())
    if mask.shape != frame.shape:
        raise DatasetError(
            f"{name} has {mask.shape[0]}×{mask.shape[1]} pixels, its image "
            f"{frame.shape[0]}×{frame.shape[1]}. Export both again."
        )
    return replace(drawn_segments(mask, segments, name, meanings), notes=notes)


class DicomWriter:
    """Writes a folder a patient: ``ID.dcm``, ``ID.seg.dcm`` and ``ID.sr.dcm`` of each frame.

    Parameters
    ----------
    study : TrainingFolder
    dest : Path
    """

    def __init__(self, study: TrainingFolder, dest: Path) -> None:
        self._study, self._dest = study, dest
        self._numbers: dict[str, int] = defaultdict(int)
        self._n_unjudged = self._n_partly = 0

    def add(self, frame: ExportedFrame) -> None:
        """Add one frame; one that nobody and no model has judged gets its capture alone."""
        record = frame.record
        findings = _findings(frame, _algorithm(self._study.record(record.id)))
        spacing = frame.spacing_mm if _is_measured_alike(frame, findings) else None
        patient = record.patient_key
        series = derived_uid("series", patient, record.cine_key or "")
        self._numbers[series] += 1
        capture = capture_of(
            frame.image,
            patient=patient,
            study=derived_uid("study", patient),
            series=series,
            instance=derived_uid("image", patient, record.id, record.image.sha256, repr(spacing)),
            number=self._numbers[series],
            spacing_mm=spacing,
            cleaned=True,  # an export starts only when its pictures were looked at
        )
        stem = self._dest / patient / record.id
        stem.parent.mkdir(exist_ok=True)
        stem.with_suffix(".dcm").write_bytes(encode(capture))
        if not findings.nodes and record.status != "no-node":
            self._n_unjudged += 1
            return
        self._n_partly += frame.not_judged is not None
        identity = ImageIdentity.of_capture(capture)
        seg = segmentation_of([findings], identity)
        if seg is not None:
            stem.with_suffix(".seg.dcm").write_bytes(encode(seg))
        report = report_of([findings], identity)
        stem.with_suffix(".sr.dcm").write_bytes(encode(report))

    def close(self) -> str | None:
        """Say how many frames have a capture alone, and of how many some pixels are judged by nobody."""
        said = [NOT_SAID.format(counted(self._n_partly, "frame"))] if self._n_partly else []
        if self._n_unjudged:
            frames = counted(self._n_unjudged, "frame")
            said.append(f"Without a segmentation and a report: {frames} that nobody has judged.")
        return " ".join(said) or None


def _findings(frame: ExportedFrame, algorithm: Algorithm | None) -> FrameFindings:
    nodes: list[Node] = []
    sizes: list[Measurement | None] = []
    for entry in frame.standing:
        mask = frame.instances == entry.id
        nodes.append(entry.node)
        sizes.append(_size(frame, entry, mask) if mask.any() else None)
    return FrameFindings(
        instances=frame.standing_instances,
        nodes=tuple(nodes),
        sizes=tuple(sizes),
        status=frame.record.status,
        algorithm=algorithm,
    )


def _size(frame: ExportedFrame, entry: NodeEntry, mask: NDArray[np.bool_]) -> Measurement:
    """Size of a node, in millimetres where the record has the same ones, or none of its size at all."""
    size = measure(mask, spacing_of(frame.case, mask))
    if entry.area_px is None or size.long_axis_mm is None:
        return size
    is_recorded = entry.long_mm is not None and isclose(entry.long_mm, size.long_axis_mm, rel_tol=0.01)
    return size if is_recorded else measure(mask)


def _is_measured_alike(frame: ExportedFrame, findings: FrameFindings) -> bool:
    """Tell whether the scale of the picture is the one by which its nodes were measured.

    Earlier versions kept the scale of a part of a screen for all of it.
    """
    has_scale = frame.case.spacing_mm is not None
    return not any(has_scale and size is not None and size.long_axis_mm is None for size in findings.sizes)


def _algorithm(record: Record) -> Algorithm | None:
    """The model from whose masks the reader started, or that predicted them."""
    model = next((entry.model for entry in reversed(record.history) if entry.model), None)
    return None if model is None else Algorithm(model_id=model)
