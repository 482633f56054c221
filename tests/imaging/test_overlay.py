"""Burned-in marks, on drawn screens with exact truth and on real frames."""

from __future__ import annotations

import csv
import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from napari_cln.imaging.overlay import find_overlay, paint_over
from napari_cln.types import Box, Frame

PAIRS = Path(__file__).parents[1] / "data" / "overlay_pairs"
ROWS = list(csv.DictReader((PAIRS / "labels.csv").read_text(encoding="utf-8").splitlines()))


def grey_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L"))


def frame_of(path: Path) -> Frame:
    return Frame(pixels=np.asarray(Image.open(path).convert("RGB")))


def field_of_view(row: dict[str, str]) -> Box:
    return int(row["fov_y0"]), int(row["fov_x0"]), int(row["fov_y1"]), int(row["fov_x1"])


def inside(box: Box) -> tuple[slice, slice]:
    return slice(box[0], box[2]), slice(box[1], box[3])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["shown"])
def test_marks_on_tissue_are_found_and_tissue_is_left(row):
    tissue = inside(field_of_view(row))
    drawn = grey_of(PAIRS / row["overlay_mask"])[tissue] > 0

    found = find_overlay(frame_of(PAIRS / row["shown"]))[tissue]

    assert (found & drawn).sum() >= 0.95 * drawn.sum()
    assert (found & ~drawn).sum() <= 0.001 * (~drawn).sum()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["shown"])
def test_marks_are_found_through_jpeg(row):
    buffer = io.BytesIO()
    Image.open(PAIRS / row["shown"]).convert("RGB").save(buffer, "JPEG", quality=90)
    box = field_of_view(row)
    drawn = grey_of(PAIRS / row["overlay_mask"])[inside(box)] > 0

    found = find_overlay(Frame(pixels=np.asarray(Image.open(buffer))), box)[inside(box)]

    assert (found & drawn).sum() >= 0.94 * drawn.sum()
    assert (found & ~drawn).sum() <= 0.01 * (~drawn).sum()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["shown"])
def test_a_frame_without_marks_has_hardly_any(row):
    box = field_of_view(row)

    found = find_overlay(frame_of(PAIRS / row["clean"]), box)[inside(box)]

    assert found.mean() <= 0.0005


@pytest.mark.parametrize("name", ["test_0009.png", "train_0045.png"])
def test_bright_fascia_is_not_a_mark(data, name):
    assert find_overlay(frame_of(data / "usgra" / name)).mean() <= 0.0005


def test_doppler_flow_is_image_and_the_line_around_it_is_not():
    row = ROWS[0]
    box = field_of_view(row)
    screen = Image.open(PAIRS / row["clean"]).convert("RGB")
    pixels = np.array(screen)
    rows, columns = np.mgrid[-25:25, -40:40]
    vessel = (rows / 24) ** 2 + (columns / 38) ** 2 <= 1
    # A vessel whose velocity, and with it the hue, falls towards its wall.
    speed = 1 - (rows / 24) ** 2
    colours = np.stack([200 + 50 * speed, 40 + 180 * speed, 20 + 10 * speed], axis=-1).astype(np.uint8)
    patch = pixels[250:300, 300:380]
    patch[vessel] = colours[vessel]
    canvas = Image.fromarray(pixels)
    ImageDraw.Draw(canvas).rectangle((280, 230, 400, 320), outline=(0, 255, 0))

    found = find_overlay(Frame(pixels=np.asarray(canvas)), box)

    assert found[250:300, 300:380][vessel].mean() < 0.05
    assert found[230, 281:400].all()
    assert found[231:320, 280].all()


def test_grey_frames_show_white_calipers():
    row = ROWS[0]
    box = field_of_view(row)
    canvas = Image.fromarray(grey_of(PAIRS / row["clean"]))
    draw = ImageDraw.Draw(canvas)
    drawn = Image.new("L", canvas.size)
    for pen, level in ((draw, 240), (ImageDraw.Draw(drawn), 255)):
        for x, y in ((220, 440), (330, 340), (450, 400)):
            pen.line((x - 8, y, x + 8, y), fill=level, width=2)
            pen.line((x, y - 8, x, y + 8), fill=level, width=2)

    found = find_overlay(Frame(pixels=np.asarray(canvas)), box)

    assert found[np.asarray(drawn) > 0].mean() > 0.95


def test_beside_the_scan_area_everything_is_overlay_where_controls_are():
    row = ROWS[0]
    box = field_of_view(row)

    found = find_overlay(frame_of(PAIRS / row["shown"]), box)

    found[inside(box)] = True
    assert found.all()


def test_black_borders_without_controls_are_not_overlay(data):
    frame = frame_of(data / "usgra" / "test_0009.png")
    frame = Frame(pixels=np.pad(frame.pixels, [(40, 40), (40, 40), (0, 0)]))

    assert not find_overlay(frame)[:40].any()


def test_real_calipers_on_a_ge_screen_are_found(shared_data):
    frame = frame_of(shared_data / "us_screens" / "images" / "lymonet_ln_cdfi_2.png")

    found = find_overlay(frame)

    # Seen by eye: the Doppler box (rows 340 to 564, columns 128 to 691) and the body mark.
    assert found[336:346, 140:680].any(axis=0).mean() > 0.95
    assert found[535:630, 750:840].mean() > 0.1
    # The vessel's colours are image.
    assert found[375:440, 240:400].mean() < 0.05


def test_painting_leaves_the_rest_alone():
    row = ROWS[0]
    shown, clean = grey_of(PAIRS / row["shown"]), grey_of(PAIRS / row["clean"])
    overlay = grey_of(PAIRS / row["overlay_mask"]) > 0

    painted = paint_over(shown, overlay)

    assert np.array_equal(painted[~overlay], shown[~overlay])
    box = inside(field_of_view(row))
    error = np.abs(painted[box].astype(int) - clean[box])[overlay[box]]
    before = np.abs(shown[box].astype(int) - clean[box])[overlay[box]]
    assert error.mean() < 0.05 * before.mean()


def test_painting_everything_is_possible():
    grey = np.full((5, 7), 9, dtype=np.uint8)

    assert paint_over(grey, np.ones_like(grey, dtype=bool)).shape == grey.shape


@pytest.mark.slow
def test_a_large_picture_that_is_strokes_all_over_takes_little_memory():
    pixels = np.random.default_rng(0).integers(0, 255, (1500, 2000, 3), dtype=np.uint8)
    frame = Frame(pixels=pixels)
    tracemalloc.start()
    try:
        find_overlay(frame)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak <= 70 * frame.grey.size
