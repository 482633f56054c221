"""Millimetres of a DICOM ultrasound picture: from its calibrated regions, never guessed.

A region (DICOM PS3.3 C.8.5.5, Sequence of Ultrasound Regions) counts when it is a 2-D
picture (Region Spatial Format 1) of tissue or colour flow (Region Data Type 1 or 2) in
centimetres (Physical Units 3) along both axes, its scale is plausible and its box lies in
the picture. Scanners differ by a pixel about the last row and column, so a box may stick
out by two; one that sticks out further was calibrated before the picture was resized, and
its millimetres would be wrong.

Physical Delta is the step of the physical value from one pixel to the next. A negative one
(Acuson writes it for X) says that the axis points the other way; a length is its magnitude.

Pixel Spacing is read only where there is no region at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from ...types import Box, Region, Spacing, SpacingSource
from ..limits import is_plausible
from .elements import numbers_of

__all__ = ["Calibration", "calibrate"]

TOLERANCE_PX = 2
TWO_DIMENSIONAL = 1
TISSUE, COLOUR_FLOW = 1, 2
CENTIMETRES = 3


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a DICOM header says about lengths; the fields are those of :class:`~napari_cln.Frame`."""

    regions: tuple[Region, ...] = ()
    spacing_mm: Spacing | None = None
    spacing_source: SpacingSource | None = None
    spacing_note: str | None = None
    scan_area: Box | None = None


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
    regions: list[Region] = []
    reasons: list[str] = []
    for item in items:
        region = _region(item, shape)
        if isinstance(region, str):
            reasons.append(region)
        elif region not in regions:  # tissue, and colour flow over the same tissue
            regions.append(region)
    if not regions:
        # Of several reasons, the one that came nearest to a scale.
        return Calibration(spacing_note=f"No millimetres: {max(reasons, key=REASONS.index)}.")
    first = regions[0].spacing_mm
    agree = all(np.allclose(region.spacing_mm, first, rtol=1e-4, atol=0) for region in regions)
    return Calibration(
        regions=tuple(regions),
        spacing_mm=first if agree else None,
        spacing_source="dicom-region",
        spacing_note=None if agree else DIFFERENT.format(len(regions)),
        scan_area=_union([region.box for region in regions]),
    )


NOT_A_PICTURE = "the file calibrates a curve or spectrum, and no picture of tissue"
NOT_CENTIMETRES = "the scale of the picture is not in centimetres"
NOT_PLAUSIBLE = "the scale of the picture is missing or impossible"
OUTSIDE = "the calibrated region reaches beyond the picture, which was cropped or resized after calibration"
DIFFERENT = "The picture has {} regions of different scale; lengths are in mm only inside one of them."
REASONS = (NOT_A_PICTURE, NOT_CENTIMETRES, NOT_PLAUSIBLE, OUTSIDE)


def _region(item: Dataset, shape: tuple[int, int]) -> Region | str:
    """The region of one item, or why it is none."""
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
    if not is_plausible((row_mm, column_mm)):
        return NOT_PLAUSIBLE
    corners = [item.get(f"RegionLocation{corner}") for corner in ("MinY0", "MinX0", "MaxY1", "MaxX1")]
    if not all(isinstance(corner, int) for corner in corners):
        return OUTSIDE
    row0, column0, row1, column1 = corners[0], corners[1], corners[2] + 1, corners[3] + 1  # half-open
    rows, columns = shape
    within = row1 <= rows + TOLERANCE_PX and column1 <= columns + TOLERANCE_PX
    if not (
        within and 0 <= row0 < row1 - 1 and 0 <= column0 < column1 - 1 and row0 < rows and column0 < columns
    ):
        return OUTSIDE
    return Region(box=(row0, column0, min(row1, rows), min(column1, columns)), spacing_mm=(row_mm, column_mm))


def _union(boxes: Sequence[Box]) -> Box:
    row0, column0, row1, column1 = zip(*boxes, strict=True)
    return min(row0), min(column0), max(row1), max(column1)


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
