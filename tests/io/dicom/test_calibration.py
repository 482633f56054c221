"""The calibration rule, on real headers and on every way that a header can be wrong."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from conftest import region
from napari_cln.io.dicom.calibration import calibrate
from napari_cln.io.sources import read_frame

SHAPE = (480, 640)


def header(*regions: Dataset, **elements: object) -> Dataset:
    dataset = Dataset()
    if regions:
        dataset.SequenceOfUltrasoundRegions = list(regions)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


# file, mm per pixel (row, column), boxes of regions; None: not calibrated
REAL = {
    "barre__US-RGB-8-epicard": (None, []),
    "cornerstone__no-pixel-spacing": ((0.33054, 0.33054), [(60, 120, 519, 800)]),
    "deid-data__GREYSCALE_IMAGE": ((0.06490, 0.06490), [(38, 14, 759, 1011)]),
    "deid-data__RGB_IMAGE": ((0.23787, 0.23787), [(60, 0, 765, 1009)]),
    "fo-dicom__DIRW0007": ((0.52478, 0.52478), [(48, 27, 392, 549)]),
    "fo-dicom__GH364": (None, []),
    "go-dicom__I_000001": ((0.22857, 0.28571), [(4, 42, 354, 439)]),
    "go-dicom__I_000006": ((0.22857, 0.28571), [(4, 46, 354, 435)]),
    "go-dicom__I_000008": ((0.36281, 0.36281), [(0, 0, 288, 384)]),
    "go-dicom__I_000031": ((0.32407, 0.32407), [(76, 78, 509, 725)]),
    "go-dicom__I_000034": ((0.89172, 0.89172), [(47, 318, 205, 587)]),
    "go-dicom__I_000038": ((1.08280, 1.08280), [(47, 318, 205, 587)]),
    "go-dicom__I_000039": ((1.08280, 1.08280), [(47, 318, 205, 587)]),
    "pydicom-data__JPGLosslessP14SV1_1s_1f_8b": ((0.25477, 0.25477), [(38, 14, 759, 1011)]),
    "pydicom-data__OBXXXX1A": ((0.26229, 0.26229), [(60, 120, 519, 800)]),
    "pydicom-data__OBXXXX1A_expb": ((0.26229, 0.26229), [(60, 120, 519, 800)]),
    "pydicom-data__US1_UNCI": (None, []),
    "pydicom-wheel__examples_palette": (None, []),
    "pydicom-wheel__examples_ybr_color": (None, []),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_give_their_millimetres(shared_data, name):
    spacing, boxes = REAL[name]

    frame = read_frame(shared_data / "us_dicom" / "files" / f"{name}.dcm")

    assert frame.spacing_mm == (None if spacing is None else pytest.approx(spacing, abs=1e-5))
    assert [each.box for each in frame.regions] == boxes
    assert frame.spacing_source == ("dicom-region" if spacing else None)
    assert (frame.spacing_note is None) == (spacing is not None)


def test_the_last_row_and_column_are_part_of_a_region():
    calibration = calibrate(header(region((10, 20, 399, 599))), SHAPE)

    assert calibration.scan_area == (10, 20, 400, 600)
    assert calibration.spacing_mm == pytest.approx((0.2, 0.2))


def test_rows_and_columns_keep_their_own_scale():
    assert calibrate(header(region(delta_cm=(0.01, 0.03))), SHAPE).spacing_mm == pytest.approx((0.1, 0.3))


def test_a_mirrored_axis_has_the_same_length():
    assert calibrate(header(region(delta_cm=(0.03, -0.03))), SHAPE).spacing_mm == pytest.approx((0.3, 0.3))


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (region(spatial_format=2), "no picture of tissue"),
        (region(data_type=10), "no picture of tissue"),
        (region(units=(4, 3)), "not in centimetres"),
        (region(delta_cm=(0.0, 0.0)), "missing or impossible"),
        (region(delta_cm=(math.nan, 0.02)), "missing or impossible"),
        (region(delta_cm=(math.inf, 0.02)), "missing or impossible"),
        (region(delta_cm=(0.16, 0.02)), "missing or impossible"),
        (region(delta_cm=(0.0004, 0.02)), "missing or impossible"),
        (region((10, 20, 483, 600)), "reaches beyond the picture"),
        (region((10, 20, 400, 643)), "reaches beyond the picture"),
        (region((400, 20, 400, 600)), "reaches beyond the picture"),
    ],
)
def test_a_region_that_can_not_be_trusted_gives_pixels_and_the_reason(item, reason):
    calibration = calibrate(header(item, PixelSpacing=[0.1, 0.1]), SHAPE)

    assert (calibration.spacing_mm, calibration.regions, calibration.scan_area) == (None, (), None)
    assert reason in calibration.spacing_note


def test_an_item_without_values_gives_pixels_and_the_reason():
    item = region()
    del item.PhysicalDeltaX

    assert "missing or impossible" in calibrate(header(item), SHAPE).spacing_note


def test_a_box_two_pixels_too_large_is_clipped():
    assert calibrate(header(region((10, 20, 481, 641))), SHAPE).scan_area == (10, 20, 480, 640)


def test_two_views_of_one_scale_give_one_spacing_and_two_regions():
    views = region((10, 0, 400, 310)), region((10, 320, 400, 639))

    calibration = calibrate(header(*views), SHAPE)

    assert calibration.spacing_mm == pytest.approx((0.2, 0.2))
    assert [each.box for each in calibration.regions] == [(10, 0, 401, 311), (10, 320, 401, 640)]
    assert calibration.scan_area == (10, 0, 401, 640)


def test_two_views_of_different_scale_give_millimetres_by_region_only():
    views = region((10, 0, 400, 310)), region((10, 320, 400, 639), (0.01, 0.01))

    calibration = calibrate(header(*views), SHAPE)

    assert calibration.spacing_mm is None
    assert [each.spacing_mm[0] for each in calibration.regions] == pytest.approx([0.2, 0.1])
    assert calibration.spacing_note.startswith("The picture has 2 regions of different scale")


def test_colour_over_tissue_is_one_region():
    assert len(calibrate(header(region(), region(data_type=2)), SHAPE).regions) == 1


def test_an_ecg_or_spectrum_beside_the_picture_is_passed_over():
    curve = region((420, 20, 470, 600), (0.0, 0.01), spatial_format=4, data_type=10, units=(0, 4))

    assert calibrate(header(curve, region()), SHAPE).spacing_mm == pytest.approx((0.2, 0.2))


@pytest.mark.parametrize("regions", [[], None])
def test_pixel_spacing_holds_where_there_is_no_region(regions):
    dataset = header(PixelSpacing=[0.06, 0.07])
    if regions is not None:
        dataset.SequenceOfUltrasoundRegions = regions

    calibration = calibrate(dataset, SHAPE)

    assert (calibration.spacing_mm, calibration.spacing_source) == ((0.06, 0.07), "dicom-pixel-spacing")


@pytest.mark.parametrize("value", [[1.0, 1.0], [0.0, 0.0], [100, 100], 0.1, ""])
def test_a_placeholder_for_pixel_spacing_is_none(value):
    calibration = calibrate(header(PixelSpacing=value), SHAPE)

    assert calibration.spacing_mm is None
    assert "no usable pixel spacing" in calibration.spacing_note


@given(
    box=st.tuples(*[st.integers(-2000, 2000)] * 4),
    delta=st.tuples(*[st.floats(allow_nan=True, allow_infinity=True)] * 2),
    shape=st.tuples(st.integers(1, 900), st.integers(1, 900)),
)
def test_whatever_a_region_says_it_lies_in_the_picture_and_is_plausible(box, delta, shape):
    item = Dataset()
    item.RegionSpatialFormat = item.RegionDataType = 1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta
    for corner, value in zip(("MinY0", "MinX0", "MaxY1", "MaxX1"), box, strict=True):
        item.add_new(tag_for_keyword(f"RegionLocation{corner}"), "SL", value)

    for each in calibrate(header(item), shape).regions:
        row0, column0, row1, column1 = each.box
        assert 0 <= row0 < row1 <= shape[0]
        assert 0 <= column0 < column1 <= shape[1]
        assert all(0.005 < value < 1.5 for value in each.spacing_mm)
