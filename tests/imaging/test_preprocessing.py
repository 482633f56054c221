"""From a frame to the network's square and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ellipses import ellipse
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_cln.imaging.preprocessing import Geometry, find_scan_area, prepare, restore, to_model
from napari_cln.types import Frame, PrepareConfig

SCREEN = Path(__file__).parents[1] / "data" / "overlay_pairs" / "shown" / "pair_019.png"


@pytest.fixture(scope="module")
def screen() -> Frame:
    return Frame(pixels=np.asarray(Image.open(SCREEN).convert("RGB")))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def centroid(map_: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(map_.shape)
    return np.array([(rows * map_).sum(), (columns * map_).sum()]) / map_.sum()


@st.composite
def nodes(draw: st.DrawFn) -> tuple[np.ndarray, Geometry]:
    """A frame's geometry, and an ellipse of at least 400 pixels in its scan area."""
    shape = draw(st.sampled_from([(960, 1280), (720, 960), (600, 800), (322, 384)]))
    edges = [draw(st.integers(0, n // 5)) for n in (*shape, *shape)]
    box = (edges[0], edges[1], shape[0] - edges[2], shape[1] - edges[3])
    ratio, area = draw(st.floats(1, 2.5)), draw(st.floats(410, 6000))
    long = (area * ratio / np.pi) ** 0.5
    places = [draw(st.floats(box[k] + long + 2, box[k + 2] - long - 3)) for k in (0, 1)]
    mask = ellipse(shape, (places[0], places[1]), (long, long / ratio), draw(st.floats(0, np.pi)))
    return mask, Geometry(frame_shape=shape, box=box, keep_aspect=draw(st.booleans()))


@pytest.mark.slow
@settings(max_examples=40)
@given(nodes())
def test_a_mask_comes_back_from_the_square(node):
    mask, geometry = node

    back = restore(to_model(mask, geometry), geometry) >= 0.5

    assert dice(mask, back) >= 0.98


@pytest.mark.slow
@settings(max_examples=30)
@given(nodes())
def test_the_way_back_shifts_nothing(node):
    mask, geometry = node

    back = restore(to_model(mask, geometry), geometry)

    row0, column0, row1, column1 = geometry.box
    model_pixel = max(row1 - row0, column1 - column0) / 256
    assert centroid(back) == pytest.approx(centroid(mask), abs=0.1 * model_pixel)


@pytest.mark.slow
def test_real_masks_come_back_from_the_square(shared_data):
    paths = sorted((shared_data / "busi_384" / "masks").glob("*.png"))[::20]
    for path in paths:
        mask = np.asarray(Image.open(path).convert("L").resize((1280, 1024))) > 127
        if np.count_nonzero(mask) > 400:
            geometry = Geometry(frame_shape=mask.shape, box=(0, 0, *mask.shape))
            assert dice(mask, restore(to_model(mask, geometry), geometry) >= 0.5) >= 0.98, path.name


def test_probabilities_that_change_slowly_are_kept():
    rows, columns = np.indices((256, 256))
    map_ = (0.5 + 0.4 * np.sin(rows / 20) * np.cos(columns / 25)).astype(np.float32)
    geometry = Geometry(frame_shape=(512, 512), box=(0, 0, 512, 512))

    back = restore(map_, geometry)

    assert back.reshape(256, 2, 256, 2).mean(axis=(1, 3)) == pytest.approx(map_, abs=1e-4)


def test_nothing_lies_outside_the_scan_area(screen):
    geometry = prepare(screen).geometry

    back = restore(np.ones((256, 256), dtype=np.float32), geometry)

    row0, column0, row1, column1 = find_scan_area(screen)
    assert back[row0:row1, column0:column1] == pytest.approx(1)
    assert back.sum() == pytest.approx((row1 - row0) * (column1 - column0))


def test_the_longer_side_fills_the_square_and_the_image_is_centred(screen):
    image = prepare(screen).image

    row0, column0, row1, column1 = find_scan_area(screen)
    shown = np.flatnonzero(image.any(axis=1))
    height = round(256 * (row1 - row0) / (column1 - column0))
    assert image.any(axis=0).all()
    assert (shown[0], shown[-1] + 1) == ((256 - height) // 2, (256 - height) // 2 + height)


def test_stretching_fills_the_square(screen):
    image = prepare(screen, PrepareConfig(keep_aspect=False)).image

    assert image.any(axis=0).all()
    assert image.any(axis=1).all()


def test_the_image_is_luma_over_255_and_averaged_over_area(screen):
    config = PrepareConfig(remove_overlay=False)

    image = prepare(screen, config, scan_area=(100, 80, 356, 592)).image

    expected = screen.grey[100:356, 80:592].reshape(128, 2, 256, 2).mean(axis=(1, 3)) / 255
    assert image.dtype == np.float32
    assert image[64:192] == pytest.approx(expected, abs=1e-5)
    assert not image[:64].any()


def test_marks_are_painted_over_before_averaging(screen):
    prepared = prepare(screen)
    clean = Image.open(SCREEN.parents[1] / "clean" / SCREEN.name).convert("RGB")
    box = prepared.geometry.box
    expected = prepare(Frame(pixels=np.asarray(clean)), scan_area=box, overlay=np.zeros(screen.shape, bool))

    difference = np.abs(prepared.image - expected.image)
    left = prepare(screen, PrepareConfig(remove_overlay=False)).image

    assert prepared.overlay.any()
    assert difference.max() < 0.25
    assert difference.mean() < 0.1 * np.abs(left - expected.image).mean()


def test_the_users_overlay_and_area_are_taken(screen):
    overlay = np.zeros(screen.shape, dtype=bool)
    overlay[200:220, 200:300] = True

    prepared = prepare(screen, scan_area=(150, 100, 450, 500), overlay=overlay)

    assert prepared.geometry.box == (150, 100, 450, 500)
    assert np.array_equal(prepared.overlay, overlay)


def test_enhancement_raises_contrast_and_stays_in_range(screen):
    plain, enhanced = prepare(screen).image, prepare(screen, PrepareConfig(enhance=True)).image

    assert enhanced.std() > plain.std()
    assert 0 <= enhanced.min() <= enhanced.max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (7, 5), (100, 30)])
def test_small_frames_are_enlarged(shape):
    frame = Frame(pixels=np.full(shape, 100, dtype=np.uint8))

    for config in (PrepareConfig(), PrepareConfig(enhance=True)):
        prepared = prepare(frame, config)
        assert prepared.image.shape == (256, 256)
        assert restore(prepared.image, prepared.geometry).shape == shape
    assert prepare(frame).image.max() == pytest.approx(100 / 255, abs=1e-4)


def test_a_scan_area_outside_the_frame_says_so(screen):
    with pytest.raises(ValueError, match=r"does not lie in a frame of 600×800 pixels: give \(row0"):
        prepare(screen, scan_area=(0, 0, 601, 800))


def test_an_overlay_of_another_shape_says_so(screen):
    with pytest.raises(ValueError, match=r"overlay has shape \(3, 3\).*one flag a pixel"):
        prepare(screen, overlay=np.zeros((3, 3), dtype=bool))


def test_maps_of_another_shape_say_so(screen):
    geometry = prepare(screen).geometry

    with pytest.raises(ValueError, match=r"mask has shape \(3, 3\).*\(600, 800\).*frame pixels"):
        to_model(np.zeros((3, 3), dtype=bool), geometry)
    with pytest.raises(ValueError, match=r"map has shape \(3, 3\).*one map at a time"):
        restore(np.zeros((3, 3)), geometry)
