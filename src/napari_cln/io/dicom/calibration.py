"""Millimetres of a DICOM ultrasound picture: from its calibrated regions, never guessed.

A region (DICOM PS3.3 C.8.5.5, Sequence of Ultrasound Regions) counts when it is a 2-D
picture (Region Spatial Format 1) of tissue or colour flow (Region Data Type 1 or 2) in
centimetres (Physical Units 3) along both axes, its scale is plausible and its box lies in
the picture. Scanners differ by a pixel about the last row and column, so a box may stick
out by two; one that sticks out further was calibrated before the picture was resized, and
its millimetres would be wrong.

Physical Delta is the step of the physical value from one pixel to the next. A negative one
(Acuson writes it for X) says that the axis points the other way; a length is its magnitude.

Regions may overlap, as a zoom inset and the picture around it do; which one counts is said by
:func:`napari_cln.imaging.measurement.spacing_of`. A part without a scale of its own (an inset whose
scale can't be trusted, a spectrum, an M-mode strip) takes the pixels of a calibrated one under it in
the same way.

Pixel Spacing is read only where there is no region at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

from ...types import Box, Region, Spacing, SpacingSource
from ..limits import is_plausible
from . import numbers_of

TOLERANCE_PX = 2
TWO_DIMENSIONAL, M_MODE, SPECTRUM = 1, 2, 3
MAX_REGIONS = 100
TISSUE, COLOUR_FLOW = 1, 2
CENTIMETRES = 3


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Statements of a DICOM header about lengths; the fields are those of :class:`~napari_cln.Frame`."""

    regions: tuple[Region, ...] = ()
    spacing_mm: Spacing | None = None
    spacing_source: SpacingSource | None = None
    spacing_note: str | None = None


def calibrate(header: Dataset, shape: tuple[int, int]) -> Calibration:
    """Read the calibration of a picture.

    Parameters
    ----------
    header : Dataset
        With Sequence of Ultrasound Regions and Pixel Spacing, where the file has them.
    shape : (int, int)
        Rows and columns of the picture.
    """
    items = header.get("SequenceOfUltrasoundRegions")
    if not items:
        return _from_pixel_spacing(header)
    if len(items) > MAX_REGIONS:
        return Calibration(spacing_note=f"No millimetres: the file has {len(items)} regions for one screen.")
    regions: dict[Region, None] = {}
    reasons: list[str] = []
    for item in items:
        region, reason = _region(item, shape)
        if reason is not None:
            reasons.append(reason)
        if region is not None:
            # once for tissue, and colour flow over that tissue
            other = replace(region, kind="tissue" if region.kind == "colour-flow" else "colour-flow")
            if region.kind == "colour-flow":
                regions.pop(other, None)
            if other not in regions:
                regions[region] = None
    scaled = [region for region in regions if region.spacing_mm is not None]
    if not scaled:
        # Of several reasons, the one that came nearest to a scale.
        return Calibration(spacing_note=f"No millimetres: {max(reasons, key=REASONS.index)}.")
    blank = [
        region
        for region in regions
        if region.spacing_mm is None
        and any(region.overlaps(other) for other in scaled)
        and not any(other.lies_in(region) for other in scaled)
    ]
    agree = not blank and all(region.has_scale_of(scaled[0]) for region in scaled)
    return Calibration(
        regions=(*scaled, *blank),
        spacing_mm=scaled[0].spacing_mm if agree else None,
        spacing_source="dicom-region",
        spacing_note=None if agree else _explain(scaled, blank),
    )


NOT_A_PICTURE = "the file calibrates a curve or spectrum, and no picture of tissue"
NOT_CENTIMETRES = "the scale of the picture is not in centimetres"
NOT_PLAUSIBLE = "the scale of the picture is missing or impossible"
OUTSIDE = "the calibrated region reaches beyond the picture, which was cropped or resized after calibration"
DIFFERENT = "The picture has {} regions of different scale; lengths are in mm only inside one of them."
INSET = "Where one lies inside another, the inner one counts."
CROSSED = "Where two overlap and neither lies inside the other, lengths are in pixels."
BLANK = "A part of the picture has no scale of its own; lengths are in mm only outside it."
REASONS = (NOT_A_PICTURE, NOT_CENTIMETRES, NOT_PLAUSIBLE, OUTSIDE)


def _explain(scaled: Sequence[Region], blank: Sequence[Region]) -> str:
    """Say why no one scale holds for the picture, in sentences for the user."""
    sentences = [BLANK] if blank else []
    if not all(region.has_scale_of(scaled[0]) for region in scaled):
        sentences.insert(0, DIFFERENT.format(len(scaled)))
    contradictions = [
        (one, two)
        for one, two in itertools.combinations(scaled, 2)
        if one.overlaps(two) and not one.has_scale_of(two)
    ]
    nested = [one.lies_in(two) != two.lies_in(one) for one, two in contradictions]
    sentences += [INSET] * any(nested) + [CROSSED] * (not all(nested))
    return " ".join(sentences)


def _region(item: Dataset, shape: tuple[int, int]) -> tuple[Region | None, str | None]:
    """The region of one item, and why it has no scale.

    Of items without a scale only those are regions that show tissue at another one, or time: waves,
    graphics and colour are drawn over tissue and leave its scale as it is.
    """
    box, spacing = _box(item, shape), _spacing(item)
    reason = spacing if isinstance(spacing, str) else OUTSIDE if box is None else None
    kind = item.get("RegionSpatialFormat"), item.get("RegionDataType")
    covers = kind == (TWO_DIMENSIONAL, TISSUE) or kind[0] in (M_MODE, SPECTRUM)
    if box is None or (reason is not None and not covers):
        return None, reason
    flow = kind == (TWO_DIMENSIONAL, COLOUR_FLOW)
    scale = None if isinstance(spacing, str) else spacing
    return Region(box=box, spacing_mm=scale, kind="colour-flow" if flow else "tissue"), reason


def _spacing(item: Dataset) -> Spacing | str:
    """Millimetres per pixel of an item, or the reason why it has none."""
    if item.get("RegionSpatialFormat") != TWO_DIMENSIONAL or item.get("RegionDataType") not in (
        TISSUE,
        COLOUR_FLOW,
    ):
        return NOT_A_PICTURE
    if (item.get("PhysicalUnitsXDirection"), item.get("PhysicalUnitsYDirection")) != (
        CENTIMETRES,
        CENTIMETRES,
    ):
        return NOT_CENTIMETRES
    deltas = item.get("PhysicalDeltaY"), item.get("PhysicalDeltaX")
    if not all(isinstance(delta, int | float) for delta in deltas):
        return NOT_PLAUSIBLE
    row_mm, column_mm = (abs(float(delta)) * 10 for delta in deltas)
    return (row_mm, column_mm) if is_plausible((row_mm, column_mm)) else NOT_PLAUSIBLE


def _box(item: Dataset, shape: tuple[int, int]) -> Box | None:
    """Box of an item, within the picture; None where it reaches beyond."""
    corners = [item.get(f"RegionLocation{corner}") for corner in ("MinY0", "MinX0", "MaxY1", "MaxX1")]
    if not all(isinstance(corner, int) for corner in corners):
        return None
    row0, column0, row1, column1 = corners[0], corners[1], corners[2] + 1, corners[3] + 1  # half-open
    rows, columns = shape
    within = row1 <= rows + TOLERANCE_PX and column1 <= columns + TOLERANCE_PX
    if not (
        within and 0 <= row0 < row1 - 1 and 0 <= column0 < column1 - 1 and row0 < rows and column0 < columns
    ):
        return None
    return row0, column0, min(row1, rows), min(column1, columns)


def _from_pixel_spacing(header: Dataset) -> Calibration:
    if "PixelSpacing" not in header:
        return Calibration(spacing_note="No millimetres: the file has no calibrated region.")
    spacing = tuple(abs(number) for number in numbers_of(header, "PixelSpacing"))
    # 1\1 is what converters write for "not known"; no neck scan is that coarse.
    if len(spacing) != 2 or not is_plausible(spacing) or spacing == (1.0, 1.0):
        return Calibration(
            spacing_note="No millimetres: the file has no calibrated region and no usable pixel spacing."
        )
    return Calibration(spacing_mm=(spacing[0], spacing[1]), spacing_source="dicom-pixel-spacing")
