"""DICOM segmentations (SEG): nodes of one image, still or cine, written and read."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items

from ....annotation import Node
from ....errors import FrameReadError
from ...limits import MAX_FRAME_PIXELS, check_size, reading
from ...terms import LYMPH_NODE, Segment, coded_level, segment_label, side_of
from ..file import SEGMENTATIONS, read_header
from ..source import quiet
from .findings import (
    EQUIPMENT,
    UNKNOWN_ALGORITHM,
    Algorithm,
    FrameFindings,
    ImageIdentity,
    Origin,
    building,
    check_findings,
    code,
    derived_uid,
    rename,
    side_code,
    site_code,
)

Maker: TypeAlias = tuple[Origin, Algorithm | None]
"""Who made a mask, and the algorithm that it is from."""

ALGORITHM_TYPES: dict[Origin, str] = {
    "predicted": "AUTOMATIC",
    "corrected": "SEMIAUTOMATIC",
    "drawn": "MANUAL",
}
SERIES_NUMBER = 501
SEGMENT_NUMBER_POINTER = 0x0062000B
TIME_POINTER, FRAME_CONTENT = 0x00209128, 0x00209111
MAX_SEGMENTS = 255
MAX_SEGMENT_PIXELS = 2**30
"""Pixels of all frames of a segmentation together, one a segment: a cine of 2,000 frames with two nodes."""


def segmentation_of(
    findings: Sequence[FrameFindings],
    identity: ImageIdentity,
    *,
    made_of: str = "",
) -> Dataset | None:
    """Make the segmentation of an image: a segment for each node, a binary frame for each place of one.

    In a cine, a segment holds the nodes of one id in all frames in which they were made alike: what a reader
    has judged and what nobody has seen are two segments. A model numbers the nodes of each frame for itself
    and follows none from one to the next.

    Parameters
    ----------
    findings : sequence of FrameFindings
        Of the frames that were looked at, in their order.
    identity : ImageIdentity
    made_of : str
        What the identifiers depend on beside image and masks.

    Returns
    -------
    Dataset or None
        None where no frame shows a node: DICOM knows no segmentation without a segment.

    Raises
    ------
    ExportError
        If a mask is not of the image.
    """
    check_findings(findings, identity)
    found: dict[tuple[int, Maker], list[tuple[FrameFindings, Node]]] = {}
    for frame in findings:
        for node in frame.nodes:
            if (frame.instances == node.id).any():
                found.setdefault((node.id, _maker(frame, node)), []).append((frame, node))
    if not found:
        return None
    # Segments are numbered without a gap.
    keys = sorted(found, key=lambda key: key[0])
    planes = [
        _Plane(number=number, frame=frame, node=node)
        for number, key in enumerate(keys, start=1)
        for frame, node in sorted(found[key], key=lambda pair: pair[0].index)
    ]
    ids = [node_id for node_id, _ in keys]
    is_cine = identity.n_frames > 1
    instance = derived_uid("seg", identity.instance, made_of, *(frame.digest() for frame in findings))
    segments = []
    for number, (node_id, maker) in enumerate(keys, start=1):
        node = found[node_id, maker][0][1]
        label = segment_label(node)
        if is_cine:
            label = f"Node {node_id}" if ids.count(node_id) == 1 else f"Node {node_id}, {maker[0]}"
        segments.append(_segment(number, node, label, maker, None if is_cine else instance))
    with building():
        seg: Dataset = _one_frame(planes[0].mask, identity, segments, instance)
        _put_frames(seg, planes, identity)
        rename(seg, identity)
    return seg


@dataclass(frozen=True, kw_only=True, eq=False)
class _Plane:
    """A segment in one frame of an image."""

    number: int
    frame: FrameFindings
    node: Node

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Made when it is asked for: a cine's together take gigabytes."""
        mask: NDArray[np.bool_] = self.frame.instances == self.node.id
        return mask


def _maker(frame: FrameFindings, node: Node) -> Maker:
    origin = frame.origin(node)
    return origin, None if origin == "drawn" else frame.algorithm or UNKNOWN_ALGORITHM


def _segment(number: int, node: Node, label: str, maker: Maker, tracked: str | None) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription

    site = site_code(node.level)
    if (side := side_code(node.side)) is not None:
        site.AnatomicRegionModifierSequence = Items([side])
    origin, algorithm = maker
    identification = None
    if algorithm is not None:
        identification = AlgorithmIdentificationSequence(
            name=algorithm.name,
            family=algorithm.family,
            version=algorithm.version,
            parameters=algorithm.parameters or None,
        )
    return SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=code("91723000", "Anatomical structure"),
        segmented_property_type=code(*LYMPH_NODE),
        algorithm_type=ALGORITHM_TYPES[origin],
        algorithm_identification=identification,
        tracking_uid=tracking_uid(tracked, node.id) if tracked else None,
        tracking_id=f"Node {node.id}" if tracked else None,
        anatomic_regions=[site],
    )


def tracking_uid(instance: str, node: int, frame: int = 0) -> str:
    """Identifier of a node, the same in the segmentation and the report of an image."""
    return derived_uid("node", instance, str(frame), str(node))


def _one_frame(mask: NDArray[np.bool_], identity: ImageIdentity, segments: list[Any], instance: str) -> Any:
    """A segmentation with all its segments and a single frame, which the others are made after."""
    from highdicom.seg import Segmentation

    planes = np.repeat(mask[None, :, :, None].astype(np.uint8), len(segments), axis=3)
    seg = Segmentation(
        [identity.header],
        planes,
        "BINARY",
        segments,
        series_instance_uid=derived_uid("seg-series", instance),
        series_number=SERIES_NUMBER,
        sop_instance_uid=instance,
        instance_number=1,
        omit_empty_frames=False,
        content_label="LYMPH_NODES",
        content_description="Lymph nodes",
        **EQUIPMENT,
    )
    seg.SeriesDescription = "Lymph nodes (napari-cln)"
    seg.PatientOrientation = None  # type 2C, and unknown; without it the object does not conform
    return seg


def _put_frames(
    seg: Any,
    planes: Sequence[_Plane],
    identity: ImageIdentity,
) -> None:
    """Give the segmentation its frames: a plane for each place of each segment."""
    template, shared = seg.PerFrameFunctionalGroupsSequence[0], seg.SharedFunctionalGroupsSequence[0]
    for keyword in ("SegmentIdentificationSequence", "DerivationImageSequence"):
        if keyword in shared:  # of a single segment
            setattr(template, keyword, getattr(shared, keyword))
            delattr(shared, keyword)
    organization = seg.DimensionOrganizationSequence[0].DimensionOrganizationUID
    is_cine = identity.n_frames > 1
    pointers = [(SEGMENT_NUMBER_POINTER, 0x0062000A)]
    pointers += [(TIME_POINTER, FRAME_CONTENT)] * is_cine
    dimensions = []
    for pointer, group in pointers:
        item = Dataset()
        item.DimensionIndexPointer, item.FunctionalGroupPointer = pointer, group
        item.DimensionOrganizationUID = organization
        dimensions.append(item)
    seg.DimensionIndexSequence = Items(dimensions)
    groups = []
    for plane in planes:
        number, index = plane.number, plane.frame.index
        group = copy.deepcopy(template)
        named = Dataset()
        named.ReferencedSegmentNumber = number
        group.SegmentIdentificationSequence = Items([named])
        content = group.FrameContentSequence[0]
        content.DimensionIndexValues = [number, index + 1] if is_cine else [number]
        if is_cine:
            content.TemporalPositionIndex = index + 1
        for source in _sources(group):
            if numbers := identity.frame_numbers(index):
                source.ReferencedFrameNumber = numbers
        groups.append(group)
    seg.PerFrameFunctionalGroupsSequence = Items(groups)
    seg.NumberOfFrames = len(groups)
    seg.PixelData = _packed(plane.mask for plane in planes)


def _packed(masks: Iterable[NDArray[np.bool_]]) -> bytes:
    """Bits of masks one after the other, as DICOM has them: a mask need not end with a byte."""
    packed, rest = bytearray(), np.zeros(0, dtype=bool)
    for mask in masks:
        bits = np.concatenate([rest, mask.ravel()])
        whole = bits.size - bits.size % 8
        packed += np.packbits(bits[:whole], bitorder="little").tobytes()
        rest = bits[whole:]
    packed += np.packbits(rest, bitorder="little").tobytes()
    return bytes(packed) + bytes(len(packed) % 2)


def _sources(group: Dataset) -> list[Dataset]:
    return [
        source
        for derivation in group.get("DerivationImageSequence", ())
        for source in derivation.SourceImageSequence
    ]


# ------------------------------------------------------------ reading


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentedImage:
    """Masks that a segmentation holds, by the images and frames that they lie on.

    Parameters
    ----------
    shape : (int, int)
    masks : mapping of (str, int or None) to ndarray of uint8, shape (H, W)
        Of each image, by its SOP Instance UID, and frame, from 0; None where the frame is not said. The
        values are numbers of segments.
    segments : tuple of Segment
    notes : tuple of str
        Sentences for the user.
    """

    shape: tuple[int, int]
    masks: Mapping[tuple[str, int | None], NDArray[np.uint8]]
    segments: tuple[Segment, ...]
    notes: tuple[str, ...] = ()

    def of(self, instance: str, n_frames: int = 1) -> dict[int, NDArray[np.uint8]]:
        """Masks of an image by frame; empty for one that the segmentation does not refer to.

        Raises
        ------
        FrameReadError
            If the image is a cine, and the segmentation does not say of a mask on which frame it lies.
        """
        masks = {frame: mask for (uid, frame), mask in self.masks.items() if uid == instance}
        if n_frames > 1 and None in masks:
            raise FrameReadError(
                f"The segmentation does not say on which of the {n_frames} frames of its image a mask lies.",
                "Export it again with the numbers of the frames.",
            )
        return {frame or 0: mask for frame, mask in masks.items() if (frame or 0) < n_frames}


def is_segmentation(path: Path) -> bool:
    """Tell whether a DICOM file is a segmentation; False for what can't be read."""
    try:
        header = read_header(path, ["SOPClassUID"])
    except FrameReadError:
        return False
    stated = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    return str(stated) in SEGMENTATIONS


def read_segmentation(path: Path) -> SegmentedImage:
    """Read a segmentation: binary, of probabilities (from one half up), or of label maps.

    Parameters
    ----------
    path : Path

    Raises
    ------
    FrameReadError
        If it is none, damaged, too large, or has more than 255 segments.
    """
    header = read_header(path, ["SOPClassUID", "Rows", "Columns", "NumberOfFrames"])
    if not is_segmentation(path):
        raise FrameReadError(f"{path.name} is no DICOM segmentation. Open it as a picture.")
    check_size(path, int(header.get("Rows") or 0), int(header.get("Columns") or 0))
    shape = int(header.Rows), int(header.Columns)
    n_frames = int(header.get("NumberOfFrames") or 1)
    if shape[0] * shape[1] > MAX_FRAME_PIXELS or n_frames * shape[0] * shape[1] > MAX_SEGMENT_PIXELS:
        raise FrameReadError(
            f"{path.name} holds {n_frames} masks of {shape[0]}×{shape[1]} pixels, more than can be read. "
            "Export a part of it."
        )
    with quiet(), reading(path, "a whole DICOM segmentation"):
        seg = pydicom.dcmread(path)
        segments = tuple(_read_segment(item) for item in seg.SegmentSequence)
        if not segments or max(segment.number for segment in segments) > MAX_SEGMENTS:
            raise FrameReadError(
                f"{path.name} has {len(segments)} segments; 1 to {MAX_SEGMENTS} can be shown. Export a part "
                "of it."
            )
        masks, overlaps = _read_masks(seg, shape)
    notes = (
        (
            f"Segments of {path.name} lie over each other in {overlaps} pixels; the one with the higher "
            "number is shown there.",
        )
        if overlaps
        else ()
    )
    return SegmentedImage(shape=shape, masks=masks, segments=segments, notes=notes)


def _read_segment(item: Dataset) -> Segment:
    number, label = int(item.SegmentNumber), str(item.get("SegmentLabel") or "")
    kind = _first(item, "SegmentedPropertyTypeCodeSequence")
    region = _first(item, "AnatomicRegionSequence")
    side = _first(region, "AnatomicRegionModifierSequence")
    automatic = item.get("SegmentAlgorithmType") == "AUTOMATIC"
    return Segment(
        number=number,
        label=label,
        is_node=_value(kind) in (LYMPH_NODE[0], "T-C4000"),
        node=Node(
            id=number,
            status="predicted" if automatic else "corrected",
            level=coded_level(_value(region), label),
            side=side_of(_value(side), label),
        ),
    )


def _first(item: Dataset, keyword: str) -> Dataset:
    items: list[Dataset] = list(item.get(keyword) or ())
    return items[0] if items else Dataset()


def _value(item: Dataset) -> str:
    return str(item.get("CodeValue") or "")


def _read_masks(
    seg: Dataset, shape: tuple[int, int]
) -> tuple[dict[tuple[str, int | None], NDArray[np.uint8]], int]:
    """Masks by image and frame, and in how many pixels segments lie over each other."""
    pixels = seg.pixel_array.reshape(-1, *shape)
    kind = str(seg.get("SegmentationType") or "")
    limit = int(seg.get("MaximumFractionalValue") or 255) / 2 if kind == "FRACTIONAL" else 0.5
    shared = _first(seg, "SharedFunctionalGroupsSequence")
    instances = [
        str(instance.ReferencedSOPInstanceUID)
        for series in seg.get("ReferencedSeriesSequence") or ()
        for instance in series.get("ReferencedInstanceSequence") or ()
    ]
    masks: dict[tuple[str, int | None], NDArray[np.uint8]] = {}
    overlaps = 0
    order = sorted(
        zip(seg.PerFrameFunctionalGroupsSequence, pixels, strict=True),
        key=lambda pair: _segment_number(pair[0], shared),
    )
    for group, plane in order:
        key = _place(group, shared, instances)
        mask = masks.setdefault(key, np.zeros(shape, dtype=np.uint8))
        if kind == "LABELMAP":
            mask[plane > 0] = plane[plane > 0]
            continue
        inside = plane >= limit
        overlaps += int(np.count_nonzero(mask[inside]))
        mask[inside] = _segment_number(group, shared)
    return masks, overlaps


def _segment_number(group: Dataset, shared: Dataset) -> int:
    item = _first(group, "SegmentIdentificationSequence") or _first(shared, "SegmentIdentificationSequence")
    return int(item.get("ReferencedSegmentNumber") or 0)


def _place(group: Dataset, shared: Dataset, instances: Sequence[str]) -> tuple[str, int | None]:
    """The image and frame on which a mask lies."""
    sources = _sources(group) or _sources(shared)
    time = _first(group, "FrameContentSequence").get("TemporalPositionIndex")
    if not sources:
        only = instances[0] if len(instances) == 1 else ""
        return only, None if time is None else int(time) - 1
    named: Any = sources[0].get("ReferencedFrameNumber")
    numbers: list[Any] = list(named) if isinstance(named, list | MultiValue) else [named]
    numbers.append(time)
    number = next((value for value in numbers if value not in (None, "")), None)
    return str(sources[0].ReferencedSOPInstanceUID), None if number is None else int(number) - 1
