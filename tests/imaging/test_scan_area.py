"""The box of the image on a scanner's screen, on drawn screens with exact truth."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_cln.imaging.preprocessing import prepare
from napari_cln.imaging.scan_area import find_scan_area, is_sector
from napari_cln.io.sources import read_frame
from napari_cln.phantom import simulate
from napari_cln.types import Box, Frame, Region

PAIRS = Path(__file__).parents[1] / "data" / "overlay_pairs"
ROWS = list(csv.DictReader((PAIRS / "labels.csv").read_text(encoding="utf-8").splitlines()))


def frame_of(path: Path) -> Frame:
    return Frame(pixels=np.asarray(Image.open(path).convert("RGB")))


def truth(row: dict[str, str]) -> Box:
    return int(row["fov_y0"]), int(row["fov_x0"]), int(row["fov_y1"]), int(row["fov_x1"])


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    height = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    width = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return height * width / (sum(areas) - height * width)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["shown"])
def test_the_box_on_a_screen_is_the_field_of_view(row):
    assert overlap(find_scan_area(frame_of(PAIRS / row["shown"])), truth(row)) >= 0.99


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["shown"])
def test_the_box_does_not_depend_on_where_the_controls_are(row):
    frame = frame_of(PAIRS / row["shown"])
    height, width = frame.shape
    row0, column0, row1, column1 = truth(row)

    upside_down = find_scan_area(Frame(pixels=frame.pixels[::-1]))
    mirrored = find_scan_area(Frame(pixels=frame.pixels[:, ::-1]))
    turned = find_scan_area(Frame(pixels=frame.pixels.transpose(1, 0, 2)))

    assert overlap(upside_down, (height - row1, column0, height - row0, column1)) >= 0.99
    assert overlap(mirrored, (row0, width - column1, row1, width - column0)) >= 0.99
    assert overlap(turned, (column0, row0, column1, row1)) >= 0.99


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["shown"])
def test_a_jpeg_of_the_screen_gives_nearly_the_same_box(row):
    buffer = io.BytesIO()
    Image.open(PAIRS / row["shown"]).convert("RGB").save(buffer, "JPEG", quality=90)

    found = find_scan_area(Frame(pixels=np.asarray(Image.open(buffer))))

    assert overlap(found, truth(row)) >= 0.97


@pytest.mark.parametrize("name", ["test_0009.png", "train_0045.png"])
def test_a_frame_without_controls_is_its_own_scan_area_less_black_borders(data, name):
    frame = frame_of(data / "usgra" / name)
    shown = np.flatnonzero((frame.grey > 0).mean(axis=1) > 0.05)

    row0, _, row1, _ = find_scan_area(frame)

    assert (row0, row1) == pytest.approx((shown[0], shown[-1] + 1), abs=2)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (20, 20), (480, 640)])
@pytest.mark.parametrize("level", [0, 255])
def test_a_frame_that_shows_nothing_is_returned_whole(shape, level):
    assert find_scan_area(Frame(pixels=np.full(shape, level, dtype=np.uint8))) == (0, 0, *shape)


def test_noise_all_over_is_returned_whole():
    pixels = np.random.default_rng(0).integers(0, 255, (300, 400), dtype=np.uint8)

    assert find_scan_area(Frame(pixels=pixels)) == (0, 0, 300, 400)


def test_the_search_keeps_inside_the_regions_that_the_file_gives_a_scale():
    regions = (
        Region(box=(0, 0, 300, 400), spacing_mm=(0.1, 0.1)),
        Region(box=(300, 0, 600, 400), spacing_mm=(0.1, 0.1)),
        Region(box=(0, 400, 600, 800), spacing_mm=None),
    )
    frame = dataclasses.replace(frame_of(PAIRS / ROWS[0]["shown"]), regions=regions)

    row0, column0, row1, column1 = find_scan_area(frame)

    assert (row0, column0, row1) == truth(ROWS[0])[:3]
    assert column1 == 400


def test_a_scan_area_that_is_known_is_taken_as_it_is():
    frame = dataclasses.replace(frame_of(PAIRS / ROWS[0]["shown"]), scan_area=(3, 5, 590, 400))

    assert find_scan_area(frame) == (3, 5, 590, 400)


def test_every_real_screen_gives_a_box_below_its_banner(shared_data):
    # Seen by eye: the rows that hold names, dates and hospitals on each screen.
    banners = {
        "dcm_GH364.png": 100,
        "dcm_GREYSCALE_IMAGE.png": 60,
        "dcm_OBXXXX1A.png": 55,
        "dcm_US1_UNCI.png": 90,
        "dcm_gdcm-US-ALOKA-16.png": 20,
        "lymonet_ln_cdfi_2.png": 70,
        "usseg_Umb_test_image.png": 60,
    }
    for name, bottom in banners.items():
        box = find_scan_area(frame_of(shared_data / "us_screens" / "images" / name))
        assert box[0] >= bottom, name


def test_a_real_node_on_a_ge_screen_is_boxed_to_a_few_pixels(shared_data):
    found = find_scan_area(frame_of(shared_data / "us_screens" / "images" / "lymonet_ln_cdfi_2.png"))

    # Drawn by eye on the enlarged screen.
    assert overlap(found, (130, 2, 637, 854)) >= 0.97


def test_of_an_image_above_a_spectrum_the_image_is_taken(shared_data):
    found = find_scan_area(frame_of(shared_data / "us_screens" / "images" / "usseg_left_ut_image.png"))

    assert found[2] < 290  # the spectrum begins at row 265


def seen_by(grey: np.ndarray, half_angle: float, radius: float) -> np.ndarray:
    """What a probe would show whose lines fan out by an angle (degrees), from an arc of a radius (of the
    depth); without a radius, a linear probe that steers its lines."""
    side, half = 240, np.deg2rad(half_angle)
    if radius < 0:  # the lines start on a flat probe of half the width
        depth, across = np.mgrid[0:side, -side:side] / side
        angle = across / (0.5 + depth * np.tan(half))
        places = [depth, (angle + 1) / 2]
    else:
        y, x = np.mgrid[0:side, -side:side] / side * (1 + radius)
        y = y + radius * np.cos(half)
        reach = np.hypot(x, y)
        places = [reach - radius, (np.arctan2(x, y) / half + 1) / 2]
    rows, columns = (np.where((place >= 0) & (place < 1), place, -1) for place in places)
    inside = (rows >= 0) & (columns >= 0)
    shown = grey[(rows * (grey.shape[0] - 1)).astype(int), (columns * (grey.shape[1] - 1)).astype(int)]
    return np.where(inside, shown, 0).astype(np.uint8)


@pytest.mark.parametrize("name", ["test_0009.png", "train_0045.png"])
@pytest.mark.parametrize(
    ("half_angle", "radius", "expected"),
    [(45, 0.02, True), (38, 0.1, True), (33, 0.4, True), (15, -1, False), (25, -1, False)],
)
def test_a_sector_is_told_from_a_trapezoid(data, name, half_angle, radius, expected):
    frame = frame_of(data / "usgra" / name)
    row0, column0, row1, column1 = find_scan_area(frame)
    grey = frame.grey[row0:row1, column0:column1]

    assert is_sector(prepare(Frame(pixels=seen_by(grey, half_angle, radius))).image) is expected
    assert not is_sector(prepare(Frame(pixels=grey)).image)


@pytest.mark.slow
def test_hearts_are_sectors_and_frames_of_linear_probes_are_not(shared_data):
    hearts = ["fo-dicom__DIRW0007", "go-dicom__I_000034", "pydicom-data__JPGLosslessP14SV1_1s_1f_8b"]
    linear = [
        *(shared_data / "busi_384" / "images").glob("malignant_0[69]*.png"),  # some of them trapezoids
        *list((shared_data / "muscle" / "images").glob("*.png"))[:20],
    ]

    for name in hearts:
        frame = read_frame(shared_data / "us_dicom" / "files" / f"{name}.dcm")
        assert is_sector(prepare(frame).image), name
    assert len(linear) > 30
    for path in linear:
        assert not is_sector(prepare(frame_of(path)).image), path.name


def test_a_screen_whose_pixels_were_repeated_gives_a_box_that_holds_something():
    small = simulate(28, stiffness=True).frame.pixels
    pixels = np.asarray(Image.fromarray(small).resize((1600, 1200), Image.Resampling.NEAREST))

    row0, column0, row1, column1 = find_scan_area(Frame(pixels=pixels))

    assert 0 <= row0 < row1 <= 1200
    assert 0 <= column0 < column1 <= 1600
