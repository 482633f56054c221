"""Header and pixel data that disagree: what the data is decides, in every kind of stream, with a note."""

from __future__ import annotations

import zlib

import imagecodecs
import numpy as np
import pytest
from encode import jpeg, palette, rle, ycbcr
from pydicom import uid

from napari_cln.errors import FrameReadError
from napari_cln.io.sources import open_source, read_frame

JPEG_XL, JPEG_XL_OF_JPEG = "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.111"
DEFLATED_FRAME = "1.2.840.10008.1.2.8.1"


@pytest.fixture
def write_syntax(write_dicom):
    """Write a DICOM file in a transfer syntax that pydicom does not know."""

    def write(pixels, syntax: str, frame: bytes, **elements):
        path = write_dicom(pixels, syntax=uid.HTJ2KLossless, frames=[frame], **elements)
        known = str(uid.HTJ2KLossless).encode() + b"\0"
        new = syntax.encode() + bytes(len(syntax) % 2)
        data = path.read_bytes()
        at = data.find(known[:-1])
        assert len(known) % 2 == 0
        length = len(new).to_bytes(2, "little")
        path.write_bytes(data[: at - 2] + length + new + data[at + len(known) :])
        return path

    return write


def j2k(pixels, **options) -> bytes:
    return imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, codecformat="j2k", **options)


def lossless(pixels) -> bytes:
    return imagecodecs.jpeg8_encode(pixels, lossless=True)


STREAMS = {
    "run-length": (uid.RLELossless, rle),
    "lossless JPEG": (uid.JPEGLosslessSV1, lossless),
    "JPEG-LS": (uid.JPEGLSLossless, imagecodecs.jpegls_encode),
    "JPEG 2000": (uid.JPEG2000Lossless, lambda x: j2k(x, mct=False)),
    "JPEG XL": (JPEG_XL, lambda x: imagecodecs.jpegxl_encode(x, lossless=True)),
}
STATED = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")


@pytest.mark.parametrize("stated", STATED)
@pytest.mark.parametrize("stored", ["RGB", "YCbCr"])
@pytest.mark.parametrize("kind", [*STREAMS, "uncompressed", "plane by plane"])
def test_samples_are_read_as_what_they_are_whatever_the_header_says(
    write_dicom, write_syntax, lymph_node, kind, stored, stated
):
    small = np.ascontiguousarray(lymph_node[::4, ::4])
    samples = ycbcr(small) if stored == "YCbCr" else small
    if kind in STREAMS:
        syntax, encode = STREAMS[kind]
        frame = encode(np.ascontiguousarray(samples))
        if kind == "JPEG XL":
            path = write_syntax(small, syntax, frame, PhotometricInterpretation=stated)
        else:
            path = write_dicom(small, syntax=syntax, frames=[frame], PhotometricInterpretation=stated)
    else:
        planes = np.moveaxis(samples, -1, 0).copy() if kind == "plane by plane" else samples
        options = {"PlanarConfiguration": int(planes is not samples), "PixelData": planes.tobytes()}
        path = write_dicom(small, PhotometricInterpretation=stated, **options)

    frame = read_frame(path)

    assert np.abs(frame.pixels.astype(int) - small).max() <= 3
    is_right = stated == "RGB" if stored == "RGB" else stated.startswith("YBR_FULL")
    assert frame.warnings or is_right


@pytest.mark.parametrize("stated", STATED)
@pytest.mark.parametrize("encode", [j2k, imagecodecs.htj2k_encode], ids=["JPEG 2000", "HTJ2K"])
def test_the_colour_transform_of_a_code_stream_decides(write_dicom, lymph_node, encode, stated):
    syntax = uid.JPEG2000 if encode is j2k else uid.HTJ2K
    path = write_dicom(
        lymph_node, syntax=syntax, frames=[encode(lymph_node)], PhotometricInterpretation=stated
    )

    frame = read_frame(path)

    np.testing.assert_array_equal(frame.pixels, lymph_node)
    name = "JPEG 2000" if encode is j2k else "HTJ2K"
    note = f"The file says its colours are {stated}, but its {name} data is RGB and was read so."
    assert frame.warnings == ((note,) if "FULL" in stated else ())


def test_the_right_and_the_wrong_header_give_one_picture(data):
    folder = data / "cases" / "15_jpeg2000_says_422"

    right, wrong = (read_frame(path) for path in sorted(folder.glob("*.dcm")))

    np.testing.assert_array_equal(wrong.pixels, right.pixels)
    assert (len(right.warnings), len(wrong.warnings)) == (0, 1)


@pytest.mark.parametrize("syntax", [JPEG_XL, JPEG_XL_OF_JPEG])
@pytest.mark.parametrize("stated", ["RGB", "YBR_FULL_422", "XYB"])
def test_jpeg_xl_that_transforms_its_colours_is_rgb(write_syntax, lymph_node, syntax, stated):
    if syntax == JPEG_XL:
        frame = imagecodecs.jpegxl_encode(lymph_node, level=95)
    else:
        frame = imagecodecs.jpegxl_encode_jpeg(jpeg(lymph_node))

    read = read_frame(write_syntax(lymph_node, syntax, frame, PhotometricInterpretation=stated))

    assert np.abs(read.pixels.astype(int) - lymph_node).mean() < 3


def test_jpeg_xl_in_dicom_is_read(data):
    frame = read_frame(data / "cases" / "16_jpeg_xl" / "13_jxl_lossless.dcm")
    expected = read_frame(data / "cases" / "15_jpeg2000_says_422" / "05_0_j2k_mct1_YBR_RCT.dcm")

    np.testing.assert_array_equal(frame.pixels, expected.pixels)
    assert f"imagecodecs {imagecodecs.__version__}" in frame.decoder
    assert frame.warnings == ()


def test_chroma_for_every_pixel_is_told_by_the_length(data):
    folder = data / "cases" / "14_ybr422_not_subsampled"

    right, wrong = read_frame(folder / "00_ref_rgb.dcm"), read_frame(folder / "03_ybr422_but_full.dcm")

    assert np.abs(wrong.pixels.astype(int) - right.pixels).mean() < 0.5
    assert "stores chroma for every pixel" in wrong.warnings[0]


@pytest.mark.parametrize("n_frames", [1, 2, 4])
@pytest.mark.parametrize("stated", ["RGB", "YBR_FULL"])
def test_chroma_for_every_other_pixel_is_told_by_the_length(write_dicom, cine, stated, n_frames):
    frames = []
    for pixels in cine[:n_frames]:
        full = ycbcr(pixels)
        frames.append(np.dstack([full[:, ::2, 0], full[:, 1::2, 0], full[:, ::2, 1], full[:, ::2, 2]]))
    stack = np.stack(cine[:n_frames])
    data = b"".join(part.tobytes() for part in frames)
    path = write_dicom(stack, PhotometricInterpretation=stated, PixelData=data, NumberOfFrames=n_frames)

    with open_source(path) as source:
        assert "its length is that of YBR_FULL_422" in source.warnings[0]
        for frame, pixels in zip(source, cine, strict=False):
            assert np.abs(frame.pixels.astype(int) - pixels).mean() < 3


def test_two_thirds_of_three_frames_are_two_frames(write_dicom, cine):
    stack = np.stack(cine[:3])

    with pytest.raises(FrameReadError, match="it holds 2 of 3 frames"):
        open_source(write_dicom(stack, PixelData=stack[:2].tobytes(), NumberOfFrames=3))


# ------------------------------------------------------------ bits, samples, compressions


@pytest.fixture
def grey(lymph_node):
    return np.ascontiguousarray(lymph_node[..., 0])


DEEP = {
    "JPEG-LS": (uid.JPEGLSLossless, imagecodecs.jpegls_encode),
    "JPEG 2000": (uid.JPEG2000Lossless, j2k),
    "HTJ2K": (uid.HTJ2KLossless, imagecodecs.htj2k_encode),
    "lossless JPEG": (uid.JPEGLosslessSV1, lambda x: imagecodecs.jpeg8_encode(x, lossless=True)),
}


@pytest.mark.parametrize("kind", DEEP)
def test_8_bits_under_a_header_of_12_are_read_as_8(write_dicom, grey, kind):
    syntax, encode = DEEP[kind]
    header = np.zeros(grey.shape, np.uint16)

    frame = read_frame(write_dicom(header, syntax=syntax, frames=[encode(grey)], bits=12))

    np.testing.assert_array_equal(frame.pixels, grey)
    assert frame.warnings == (f"The file says it stores 12 bits, but its {kind} data has 8 and was read so.",)


@pytest.mark.parametrize("kind", ["JPEG 2000", "HTJ2K"])
def test_12_bits_under_a_header_of_8_are_read_as_12(write_dicom, grey, kind):
    syntax, encode = DEEP[kind]
    deep = grey.astype(np.uint16) << 4 | 5
    stream = j2k(deep, bitspersample=12) if kind == "JPEG 2000" else encode(deep)

    frame = read_frame(write_dicom(grey, syntax=syntax, frames=[stream]))

    np.testing.assert_array_equal(frame.pixels, grey)
    assert "The file says it stores 8 bits" in frame.warnings[0]


def test_12_bits_in_a_stream_of_16_are_12_as_the_header_says(write_dicom, grey):
    deep = grey.astype(np.uint16) << 4 | 5
    stream = imagecodecs.jpegls_encode(deep)

    frame = read_frame(write_dicom(deep, syntax=uid.JPEGLSLossless, frames=[stream], bits=12))

    np.testing.assert_array_equal(frame.pixels, grey)
    assert frame.warnings == ()


def test_12_bits_in_16_that_are_said_to_be_16_are_noted(write_dicom, grey):
    deep = np.stack([grey.astype(np.uint16) << 4 | 5] * 2)
    deep[1] >>= 4  # a dark frame is as dark as it was

    with open_source(write_dicom(deep, bits=16, NumberOfFrames=2)) as source:
        dark, bright = source[1], source[0]

    np.testing.assert_array_equal(bright.pixels, grey)
    np.testing.assert_array_equal(dark.pixels, grey >> 4)
    assert "was read as 12-bit" in dark.warnings[0]


@pytest.mark.parametrize("kind", ["JPEG-LS", "JPEG 2000"])
def test_colour_under_a_header_of_grey_is_colour(write_dicom, lymph_node, grey, kind):
    syntax, encode = DEEP[kind]

    with open_source(write_dicom(grey, syntax=syntax, frames=[encode(lymph_node)])) as source:
        assert source.is_rgb
        np.testing.assert_array_equal(source[0].pixels, lymph_node)
        assert f"says it has 1 samples a pixel, but its {kind} data has 3" in source.warnings[0]


@pytest.mark.parametrize("kind", ["JPEG-LS", "JPEG 2000"])
def test_grey_under_a_header_of_colour_is_grey(write_dicom, lymph_node, grey, kind):
    syntax, encode = DEEP[kind]

    with open_source(write_dicom(lymph_node, syntax=syntax, frames=[encode(grey)])) as source:
        assert not source.is_rgb
        np.testing.assert_array_equal(source[0].pixels, grey)


def test_signed_samples_stay_signed(write_dicom, grey):
    signed = (grey.astype(np.int16) << 4) - 2048
    stream = imagecodecs.jpeg8_encode(signed.view(np.uint16), lossless=True, bitspersample=16)
    paths = [
        write_dicom(signed, "native.dcm", bits=12),
        write_dicom(signed, "lossless.dcm", syntax=uid.JPEGLosslessSV1, frames=[stream], bits=12),
        write_dicom(signed, "j2k.dcm", syntax=uid.JPEG2000Lossless, frames=[j2k(signed)], bits=12),
    ]

    for path in paths:
        np.testing.assert_array_equal(read_frame(path).pixels, grey)


def test_jpeg_ls_stored_plane_by_plane_is_read(write_dicom, lymph_node):
    scans = []
    for channel in range(3):
        stream = imagecodecs.jpegls_encode(np.ascontiguousarray(lymph_node[..., channel]))
        scan = bytearray(stream[stream.find(b"\xff\xda") : -2])
        scan[5] = channel + 1
        scans.append(bytes(scan))
    rows, columns = (side.to_bytes(2) for side in lymph_node.shape[:2])
    frame = b"\xff\xf7\0\x11\x08" + rows + columns + b"\3\1\x11\0\2\x11\0\3\x11\0"
    stream = b"\xff\xd8" + frame + b"".join(scans) + b"\xff\xd9"

    read = read_frame(write_dicom(lymph_node, syntax=uid.JPEGLSLossless, frames=[stream]))

    np.testing.assert_array_equal(read.pixels, lymph_node)


@pytest.mark.parametrize(
    ("syntax", "encode", "name"),
    [
        (uid.JPEGBaseline8Bit, j2k, "JPEG 2000"),
        (uid.JPEG2000, imagecodecs.jpegls_encode, "JPEG-LS"),
        (uid.RLELossless, lossless, "lossless JPEG"),
        (uid.JPEGLSLossless, imagecodecs.htj2k_encode, "HTJ2K"),
    ],
)
def test_a_frame_in_another_compression_than_the_header_says_is_read(
    write_dicom, lymph_node, syntax, encode, name
):
    frame = read_frame(write_dicom(lymph_node, syntax=syntax, frames=[encode(lymph_node)]))

    np.testing.assert_array_equal(frame.pixels, lymph_node)
    assert f"but it is {name} and was read so." in frame.warnings[0]


def test_compressed_data_under_an_uncompressed_header_is_read(write_dicom, lymph_node):
    path = write_dicom(lymph_node, syntax=uid.JPEG2000Lossless, frames=[j2k(lymph_node)])
    data, known = path.read_bytes(), b"1.2.840.10008.1.2.4.90"
    at = data.find(known)
    path.write_bytes(data.replace(known, b"1.2.840.10008.1.2.1\0\0\0", 1))
    assert at > 0

    frame = read_frame(path)

    np.testing.assert_array_equal(frame.pixels, lymph_node)
    assert "says it is stored as Explicit VR Little Endian" in frame.warnings[0]


def test_uncompressed_data_under_a_compressed_header_is_read(write_dicom, lymph_node):
    path = write_dicom(lymph_node)
    known, other = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"
    path.write_bytes(path.read_bytes().replace(known, other, 1))

    frame = read_frame(path)

    np.testing.assert_array_equal(frame.pixels, lymph_node)
    assert "RLE Lossless (1.2.840.10008.1.2.5), but it is uncompressed" in frame.warnings[0]


@pytest.mark.parametrize("colour", [True, False])
def test_deflated_frames_are_read(write_syntax, lymph_node, grey, colour):
    pixels = lymph_node if colour else grey
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    frame = packer.compress(pixels.tobytes()) + packer.flush()

    np.testing.assert_array_equal(read_frame(write_syntax(pixels, DEFLATED_FRAME, frame)).pixels, pixels)


def test_a_deflated_frame_of_another_size_is_refused(write_syntax, grey):
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    frame = packer.compress(grey.tobytes()[:1000]) + packer.flush()

    with pytest.raises(FrameReadError, match="a deflated frame holds 1000 of 307200 bytes"):
        read_frame(write_syntax(grey, DEFLATED_FRAME, frame))


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.94", "JPIP Referenced (1.2.840.10008.1.2.4.94)"),
        ("1.2.840.10008.1.2.4.999", "an unknown way (1.2.840.10008.1.2.4.999)"),
        ("1.3.46.670589.33.1.4.1", "an unknown way (1.3.46.670589.33.1.4.1)"),
    ],
)
def test_a_compression_that_is_not_read_is_named(write_syntax, grey, syntax, name):
    with pytest.raises(FrameReadError) as caught:
        open_source(write_syntax(grey, syntax, jpeg(grey)))

    assert f"scan.dcm is compressed in {name}, which is not read here. Export it again" in str(caught.value)
    assert "whole" not in str(caught.value)


def test_an_animation_in_a_frame_is_named(write_syntax, lymph_node):
    frame = imagecodecs.jpegxl_encode(np.stack([lymph_node[::4, ::4]] * 3))

    with pytest.raises(FrameReadError, match="its JPEG XL data is an animation"):
        open_source(write_syntax(lymph_node[::4, ::4], JPEG_XL, frame))


@pytest.mark.parametrize("kind", ["JPEG", "run-length with a table", "run-length"])
def test_frames_that_the_header_does_not_count_are_read(write_dicom, cine, kind):
    syntax, encode = (uid.JPEGBaseline8Bit, jpeg) if kind == "JPEG" else (uid.RLELossless, rle)
    path = write_dicom(cine[0], syntax=syntax, frames=[encode(pixels) for pixels in cine[:3]])
    if kind == "run-length":
        data = path.read_bytes()  # without its offset table, nothing says where a frame starts
        at = data.rfind(b"\xfe\xff\x00\xe0\x0c\0\0\0")
        path.write_bytes(data[: at + 4] + bytes(4) + data[at + 20 :])

    with open_source(path) as source:
        assert source.warnings[0] == "The file says it has 1 frame and holds 3; all are read."
        for frame, pixels in zip(source, cine[:3], strict=True):
            assert np.abs(frame.pixels.astype(int) - pixels).mean() < 3


def test_pixels_of_more_frames_than_the_header_counts_are_said(write_dicom, cine):
    with open_source(write_dicom(cine[0], PixelData=np.stack(cine[:3]).tobytes())) as source:
        assert source.n_frames == 1
        assert "says it has 1 frame and holds the pixels of 3" in source.warnings[0]


# ------------------------------------------------------------ palettes

COLOURS = np.random.default_rng(0).integers(0, 256, (256, 3))


def test_tables_that_differ_are_read_each_by_its_own_description(write_dicom):
    values = palette(COLOURS << 8)
    values["BluePaletteColorLookupTableDescriptor"] = [128, 0, 8]
    values["BluePaletteColorLookupTableData"] = COLOURS[:128, 2].astype(np.uint8).tobytes()
    values["GreenPaletteColorLookupTableDescriptor"] = [256, 10, 16]
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)

    frame = read_frame(write_dicom(indices, **values))

    shown = frame.pixels.reshape(-1, 3)
    np.testing.assert_array_equal(shown[:, 0], COLOURS[:, 0])
    np.testing.assert_array_equal(shown[:, 1], COLOURS[np.clip(np.arange(256) - 10, 0, 255), 1])
    np.testing.assert_array_equal(shown[:, 2], COLOURS[np.clip(np.arange(256), 0, 127), 2])
    assert "tables of red, green and blue differ in size" in frame.warnings[0]


@pytest.mark.parametrize(
    ("element", "value", "reason"),
    [
        (
            "BluePaletteColorLookupTableData",
            bytes(100),
            "its blue palette says it has 256 entries and holds 100",
        ),
        ("GreenPaletteColorLookupTableData", None, "its green palette is missing"),
        ("RedPaletteColorLookupTableDescriptor", None, "its red palette is not described"),
        ("RedPaletteColorLookupTableDescriptor", [0, 0, 16], "its red palette says it has 65536 entries"),
    ],
)
def test_a_table_that_does_not_fit_gives_its_reason(write_dicom, element, value, reason):
    values = palette(COLOURS) | {element: value}
    values = {name: each for name, each in values.items() if each is not None}

    with pytest.raises(FrameReadError, match=rf"scan\.dcm can't be shown in its colours: {reason}"):
        open_source(write_dicom(np.zeros((4, 4), np.uint8), **values))


@pytest.mark.parametrize("vr", [b"UN", b"OB", b"UT"])
def test_the_value_representation_of_a_table_plays_no_part(write_dicom, vr):
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    path = write_dicom(indices, **palette(COLOURS << 8))
    path.write_bytes(path.read_bytes().replace(b"\x28\x00\x01\x12OW", b"\x28\x00\x01\x12" + vr))

    np.testing.assert_array_equal(read_frame(path).pixels, COLOURS[indices])


def test_segments_of_a_palette_are_expanded(write_dicom):
    # 3 discrete values, a line of 5 to 800, both again, and a line of 240 to the end
    segments = [0, 3, 0, 256, 512, 1, 5, 800 << 4, 2, 2, 0, 0, 1, 240, 65535]
    expected = [0, 1, 2, *(np.rint(np.linspace(512, 12800, 6)[1:]).astype(int) >> 8)]
    values = palette(COLOURS)
    for colour in ("Red", "Green", "Blue"):
        del values[f"{colour}PaletteColorLookupTableData"]
        values[f"Segmented{colour}PaletteColorLookupTableData"] = np.array(segments, "<u2").tobytes()
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)

    shown = read_frame(write_dicom(indices, **values)).pixels.reshape(-1, 3)

    assert shown[:16, 0].tolist() == [*expected, *expected]
    assert shown[255].tolist() == [255, 255, 255]
