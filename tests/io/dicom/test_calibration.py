"""The calibration rule, on real headers and on every way that a header can be wrong."""

import math

import numpy as np
import pytest
from encode import region
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from napari_cln.imaging.measurement import measure, spacing_of
from napari_cln.io.dicom.calibration import Calibration, calibrate
from napari_cln.io.sources import read_frame
from napari_cln.types import Frame, Region

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

    assert [each.box for each in calibration.regions] == [(10, 20, 400, 600)]
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

    assert (calibration.spacing_mm, calibration.regions) == (None, ())
    assert reason in calibration.spacing_note


def test_an_item_without_values_gives_pixels_and_the_reason():
    item = region()
    del item.PhysicalDeltaX

    assert "missing or impossible" in calibrate(header(item), SHAPE).spacing_note


def test_a_box_two_pixels_too_large_is_clipped():
    (clipped,) = calibrate(header(region((10, 20, 481, 641))), SHAPE).regions

    assert clipped.box == (10, 20, 480, 640)


def test_two_views_of_one_scale_give_one_spacing_and_two_regions():
    views = region((10, 0, 400, 310)), region((10, 320, 400, 639))

    calibration = calibrate(header(*views), SHAPE)

    assert calibration.spacing_mm == pytest.approx((0.2, 0.2))
    assert [each.box for each in calibration.regions] == [(10, 0, 401, 311), (10, 320, 401, 640)]


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


# ------------------------------------------------------------ regions that overlap


def node(box: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return mask


def spacing_in(calibration: Calibration, box: tuple[int, int, int, int]) -> float | None:
    """Millimetres of a row for a node that fills a box."""
    frame = Frame(
        pixels=np.zeros(SHAPE, np.uint8), regions=calibration.regions, spacing_mm=calibration.spacing_mm
    )
    spacing = spacing_of(frame, node(box))
    return None if spacing is None else round(spacing[0], 6)


OUTER = (10, 20, 400, 600)


@pytest.mark.parametrize("inset_first", [True, False])
def test_the_innermost_region_counts(inset_first):
    regions = (
        region(OUTER),
        region((200, 300, 350, 500), (0.01, 0.01)),
        region((250, 350, 300, 400), (0.005,) * 2),
    )

    calibration = calibrate(header(*(regions[::-1] if inset_first else regions)), SHAPE)

    assert spacing_in(calibration, (50, 50, 90, 90)) == 0.2
    assert spacing_in(calibration, (210, 310, 240, 340)) == 0.1
    assert spacing_in(calibration, (260, 360, 280, 380)) == 0.05
    assert calibration.spacing_mm is None
    assert "Where one lies inside another, the inner one counts." in calibration.spacing_note


def test_a_node_across_an_inset_is_in_pixels():
    calibration = calibrate(header(region(OUTER), region((200, 300, 350, 500), (0.01, 0.01))), SHAPE)

    assert spacing_in(calibration, (180, 310, 240, 340)) is None
    assert spacing_in(calibration, (150, 250, 380, 550)) is None  # the inset lies within the node


def test_regions_that_contradict_each_other_give_pixels_where_they_overlap():
    calibration = calibrate(
        header(region((10, 20, 400, 350)), region((10, 300, 400, 600), (0.01, 0.01))), SHAPE
    )

    assert spacing_in(calibration, (50, 50, 90, 90)) == 0.2
    assert spacing_in(calibration, (50, 400, 90, 500)) == 0.1
    assert spacing_in(calibration, (50, 310, 90, 340)) is None
    assert spacing_in(calibration, (50, 280, 90, 320)) is None
    assert "neither lies inside the other, lengths are in pixels" in calibration.spacing_note


def test_regions_of_one_box_and_two_scales_give_pixels():
    calibration = calibrate(header(region(), region(delta_cm=(0.01, 0.01))), SHAPE)

    assert spacing_in(calibration, (50, 50, 90, 90)) is None


def test_regions_of_one_scale_are_one_however_they_overlap():
    calibration = calibrate(header(region((10, 20, 400, 350)), region((10, 300, 400, 600))), SHAPE)

    assert spacing_in(calibration, (50, 280, 90, 420)) == 0.2
    assert calibration.spacing_note is None


@pytest.mark.parametrize(
    "covering", [region((200, 300, 350, 500), (0.0, 0.0)), region((200, 300, 350, 500), spatial_format=3)]
)
def test_a_part_without_a_scale_takes_its_pixels(covering):
    calibration = calibrate(header(region(OUTER), covering), SHAPE)

    assert spacing_in(calibration, (50, 50, 90, 90)) == 0.2
    assert spacing_in(calibration, (210, 310, 240, 340)) is None
    assert calibration.spacing_mm is None
    assert "A part of the picture has no scale of its own" in calibration.spacing_note


def test_a_whole_screen_without_a_scale_changes_nothing():
    calibration = calibrate(header(region((0, 0, 479, 639), (0.0, 0.0)), region(OUTER)), SHAPE)

    assert calibration.spacing_mm == pytest.approx((0.2, 0.2))
    assert len(calibration.regions) == 1


def test_more_regions_than_a_screen_can_show_give_pixels():
    calibration = calibrate(header(*[region()] * 101), SHAPE)

    assert calibration.spacing_note == "No millimetres: the file has 101 regions for one screen."


def test_a_node_in_a_zoom_inset_is_measured_at_its_own_scale(data):
    frame = read_frame(data / "cases" / "19_zoom_inset_region" / "19_inset_zoom.dcm")
    mask = np.zeros(frame.shape, bool)
    mask[70:100, 105:140] = True

    assert measure(mask, spacing_of(frame, mask)).long_axis_mm == pytest.approx(4.5, abs=0.05)


@given(
    boxes=st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(42, 80), st.integers(42, 80)),
        min_size=1,
        max_size=5,
    ),
    data=st.data(),
)
def test_a_pixel_belongs_to_the_innermost_region_or_to_none(boxes, data):
    regions = [Region(box=box, spacing_mm=(0.1 + index, 0.1)) for index, box in enumerate(boxes)]
    row, column = data.draw(st.integers(0, 79)), data.draw(st.integers(0, 79))
    mask = np.zeros((80, 80), bool)
    mask[row, column] = True
    frame = Frame(pixels=np.zeros((80, 80), np.uint8), regions=tuple(regions))

    there = [
        each for each in regions if each.box[0] <= row < each.box[2] and each.box[1] <= column < each.box[3]
    ]
    inner = [
        each
        for each in there
        if all(each.lies_in(other) and (each is other or each.box != other.box) for other in there)
    ]

    assert spacing_of(frame, mask) == (inner[0].spacing_mm if inner else None)
