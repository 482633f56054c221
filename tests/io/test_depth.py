import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_cln.io.depth import colour_of, scale_of, scale_of_frames, to_uint8

greys = hnp.arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8)))


@given(grey=greys)
def test_16_bits_give_the_grey_of_the_8_bit_twin(grey):
    for twin in (grey.astype(np.uint16) * 257, grey.astype(np.uint16) << 8):
        np.testing.assert_array_equal(to_uint8(twin, scale_of(twin)), grey)


@given(grey=greys)
def test_floating_point_gives_the_grey_of_the_8_bit_twin(grey):
    for twin in (grey / np.float32(255), grey.astype(np.float64) / 255):
        np.testing.assert_array_equal(to_uint8(twin, scale_of(twin)), grey)


@given(
    values=st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]).flatmap(
        lambda kind: hnp.arrays(np.dtype(kind), (3, 4))
    ),
    most=st.sampled_from([255, 1023, 4095, 2**64]),
)
def test_a_picture_is_the_same_in_either_byte_order(values, most):
    values = values % most if values.dtype.kind == "u" and most < np.iinfo(values.dtype).max else values
    twins = [values.astype(values.dtype.newbyteorder(order)) for order in "<>"]

    scale, other = map(scale_of, twins)

    assert scale == other == scale_of_frames(twins)
    np.testing.assert_array_equal(*(to_uint8(twin, scale) for twin in twins))


@given(mask=hnp.arrays(np.bool_, (3, 4)))
def test_one_bit_is_black_and_white(mask):
    np.testing.assert_array_equal(to_uint8(mask, scale_of(mask)), np.where(mask, 255, 0))


def test_12_bits_in_16_keep_their_contrast_and_are_noted():
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)

    scale = scale_of(ramp)

    np.testing.assert_array_equal(to_uint8(ramp, scale), ramp >> 4)
    assert scale.note == "The 16-bit file holds no value above 4095 and was read as 12-bit."


def test_nan_is_black_and_infinity_white():
    values = np.array([[np.nan, 0.5, np.inf, 0, 1]])

    assert to_uint8(values, scale_of(values)).tolist() == [[0, 128, 255, 0, 255]]


def test_nothing_but_nan_is_black():
    values = np.full((2, 2), np.nan)

    assert to_uint8(values, scale_of(values)).tolist() == [[0, 0], [0, 0]]


def test_other_ranges_are_stretched_and_noted():
    values = np.array([[-100, 0, 100]], np.int16)

    scale = scale_of(values)

    assert to_uint8(values, scale).tolist() == [[0, 128, 255]]
    assert scale.note == "Grey values from -100 to 100 were scaled to 0–255."


@pytest.mark.parametrize(("premultiplied", "expected"), [(False, 100), (True, 200)])
def test_what_is_transparent_becomes_black(premultiplied, expected):
    pixels = np.array([[[200, 128], [200, 0], [200, 255]]], np.uint8)

    grey = colour_of(pixels, premultiplied=premultiplied)

    assert grey.tolist() == [[expected, 200 if premultiplied else 0, 200]]
