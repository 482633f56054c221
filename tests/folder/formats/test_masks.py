"""Pictures of masks: shades, colours, alpha, probabilities; and pictures that are no masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from napari_cln.errors import DatasetError
from napari_cln.folder.formats.masks import drawn, looks_like_a_mask, read_mask
from napari_cln.io.sources import read_frame

DISC = np.hypot(*np.mgrid[-40:40, -50:50]) < 25


def saved(tmp_path, array, name="m.png", mode=None, **options):
    path = tmp_path / name
    Image.fromarray(array, mode).save(path, **options)
    return path


def nodes(path, **meanings):
    picture = read_mask(path)
    return drawn(picture, path.name, "unknown", meanings.pop("meanings", None))


def stacked(*channels):
    return np.stack([np.broadcast_to(channel, DISC.shape) for channel in channels], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    "array",
    [
        DISC.astype(np.uint8),
        DISC * np.uint8(255),
        DISC * np.uint16(65_535),
        DISC.astype(np.float32),
        stacked(DISC * 255, 255),
        stacked(DISC * 255, DISC * 255, DISC * 255, 255),
        stacked(DISC * 200, 0, 0),
        stacked(255, 255, 255, DISC * 255),
        (np.random.default_rng(1).random(DISC.shape) * 0.4 + 0.55 * DISC).astype(np.float32),
    ],
    ids=["1", "255", "16 bits", "float", "grey alpha", "rgba", "red", "in the alpha alone", "probabilities"],
)
def test_one_mask_however_it_is_saved(tmp_path, array):
    name = "m.tif" if array.dtype == np.float32 else "m.png"
    made = nodes(saved(tmp_path, array, name))

    assert np.array_equal(made.instances, DISC)


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_the_borders_of_a_jpeg_are_cut_at_half(tmp_path, quality):
    made = nodes(saved(tmp_path, DISC * np.uint8(255), "m.jpg", quality=quality))

    assert (made.instances > 0).sum() == pytest.approx(DISC.sum(), rel=0.03)
    assert "grey borders" in made.notes[0]


def test_a_smoothed_mask_of_dim_values_is_one_node(tmp_path):
    from scipy.ndimage import gaussian_filter

    made = nodes(saved(tmp_path, gaussian_filter(DISC * 127.0, 2).astype(np.uint8)))

    assert len(made.nodes) == 1
    assert (made.instances > 0).sum() == pytest.approx(DISC.sum(), rel=0.02)


def test_an_ultrasound_picture_is_no_mask(data):
    for path in sorted((data / "folder" / "images").glob("*.png")):
        with pytest.raises(DatasetError, match="looks like a picture, not like a mask"):
            read_mask(path)
        assert not looks_like_a_mask(read_frame(path).pixels)


def test_a_photograph_in_colour_is_no_mask(tmp_path):
    from skimage.data import astronaut

    with pytest.raises(DatasetError, match="colours, so it looks like a picture"):
        read_mask(saved(tmp_path, astronaut()))


@pytest.mark.parametrize(
    "array", [DISC * np.uint8(255), stacked(DISC * 255, 0, 0), np.zeros((9, 9), np.uint8)]
)
def test_two_values_look_like_a_mask(array):
    assert looks_like_a_mask(array)


def test_values_that_are_explained_are_what_they_are(tmp_path):
    values = np.zeros((60, 60), np.uint8)
    values[5:15, 5:15], values[5:15, 30:40], values[30:40, 5:15], values[30:40, 30:40] = 1, 2, 3, 9
    meanings = {"1": "benign", "2": "metastatic", "3": "background", "9": "not-judged"}

    made = nodes(saved(tmp_path, values), meanings=meanings)

    assert {node.truth for node in made.nodes} == {"benign", "metastatic"}
    assert (made.not_judged.sum(), (made.instances > 0).sum()) == (100, 200)


def test_a_value_that_is_not_explained_is_named(tmp_path):
    values = np.zeros((20, 20), np.uint8)
    values[:5, :5], values[10:, 10:] = 1, 7

    with pytest.raises(DatasetError, match="has the value 7, which --mask-values does not explain"):
        nodes(saved(tmp_path, values), meanings={"1": "node"})


def test_probabilities_that_reach_no_half_are_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"none reaches 0\.5 \(the largest is 0\.40\)"):
        read_mask(saved(tmp_path, (0.4 * DISC).astype(np.float32), "m.tif"))


@given(st.binary(min_size=1, max_size=200), st.integers(0, 400))
def test_damaged_masks_end_in_a_sentence(tmp_path_factory, junk, place):
    path = saved(tmp_path_factory.mktemp("m"), DISC * np.uint8(255))
    data = bytearray(path.read_bytes())
    data[place : place + len(junk)] = junk
    path.write_bytes(bytes(data))
    try:
        nodes(path)
    except DatasetError as error:
        assert "m.png" in str(error)


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=60))
def test_nodes_hold_every_pixel_of_a_mask_and_no_other(tmp_path_factory, places):
    mask = np.zeros((40, 40), np.uint8)
    for row, column in places:
        mask[4 * row : 4 * row + 3, 4 * column : 4 * column + 3] = 255

    made = nodes(saved(tmp_path_factory.mktemp("m"), mask))

    assert np.array_equal(made.instances > 0, mask > 0)
    assert sorted({*np.unique(made.instances)} - {0}) == [node.id for node in made.nodes]


@pytest.mark.parametrize("colours", [[255, 255, 255, 0, 0, 0], [250, 250, 250, 0, 0, 0]])
def test_a_palette_that_begins_with_white_is_read_by_its_colours(tmp_path, colours):
    picture = Image.fromarray((~DISC).astype(np.uint8), "P")
    picture.putpalette(colours)
    picture.save(tmp_path / "m.png")

    assert np.array_equal(nodes(tmp_path / "m.png").instances, DISC)


@pytest.mark.parametrize("strength", [1, 40, 127, 255])
def test_an_overlay_is_a_mask_however_faint_it_was_drawn(tmp_path, strength):
    made = nodes(saved(tmp_path, stacked(DISC * 255, 0, 0, DISC * strength)))

    assert np.array_equal(made.instances, DISC)


@pytest.mark.parametrize("kind", ["ids", "smooth", "jpeg"])
def test_a_mask_that_is_given_as_a_frame_is_known(tmp_path, kind):
    big = np.kron(DISC, np.ones((4, 4), bool))
    if kind == "ids":
        pixels = big.astype(np.uint8)
        pixels[:, 150:] *= 2
    else:
        pixels = (ndimage.gaussian_filter(big * 255.0, 1 if kind == "smooth" else 0)).astype(np.uint8)
    path = saved(tmp_path, pixels, "m.jpg" if kind == "jpeg" else "m.png")

    assert looks_like_a_mask(read_frame(path).pixels)


def test_a_mask_that_is_missing_is_called_missing(tmp_path):
    with pytest.raises(DatasetError, match=r"m\.png, its mask, is missing"):
        read_mask(tmp_path / "m.png")
