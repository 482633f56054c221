import io

import imagecodecs
import numpy as np
import pydicom
import pytest
from encode import jpeg, palette, region, rle, ycbcr
from hypothesis import given
from hypothesis import strategies as st
from pydicom import uid

from napari_cln.io.dicom.colour import is_green
from napari_cln.io.dicom.encapsulation import find_fragments, group_fragments
from napari_cln.io.sources import open_source, read_frame
from napari_cln.io.streams import describe_stream

LOSSLESS = {
    uid.JPEGLSLossless: (imagecodecs.jpegls_encode, "RGB"),
    uid.JPEG2000Lossless: (lambda x: imagecodecs.jpeg2k_encode(x, level=0, codecformat="j2k"), "YBR_RCT"),
    uid.HTJ2KLossless: (imagecodecs.htj2k_encode, "YBR_RCT"),
    uid.RLELossless: (rle, "RGB"),
}


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_lossless_colour_is_kept_bit_by_bit(write_dicom, lymph_node, syntax):
    encode, interpretation = LOSSLESS[syntax]
    path = write_dicom(
        lymph_node, syntax=syntax, frames=[encode(lymph_node)], PhotometricInterpretation=interpretation
    )

    np.testing.assert_array_equal(read_frame(path).pixels, lymph_node)


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (uid.JPEGLosslessSV1, imagecodecs.ljpeg_encode),
        (uid.JPEGLossless, imagecodecs.ljpeg_encode),
        (uid.JPEGLSLossless, imagecodecs.jpegls_encode),
    ],
    ids=["lossless-sv1", "lossless", "ls"],
)
def test_lossless_grey_is_kept_and_names_its_decoder(write_dicom, lymph_node, syntax, encode):
    grey = lymph_node[..., 0]
    frame = read_frame(write_dicom(grey, syntax=syntax, frames=[encode(np.ascontiguousarray(grey))]))

    np.testing.assert_array_equal(frame.pixels, grey)
    assert f"imagecodecs {imagecodecs.__version__}" in frame.decoder


@pytest.mark.parametrize(
    "order", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]
)
@pytest.mark.parametrize("planar", [0, 1])
def test_uncompressed_colour_is_kept(write_dicom, lymph_node, order, planar):
    stored = np.moveaxis(lymph_node, -1, 0).copy() if planar else lymph_node
    path = write_dicom(lymph_node, syntax=order, PlanarConfiguration=planar, PixelData=stored.tobytes())

    np.testing.assert_array_equal(read_frame(path).pixels, lymph_node)


def test_big_endian_bytes_in_words_come_in_swapped_pairs(write_dicom, lymph_node):
    grey = np.ascontiguousarray(lymph_node[..., 0])
    path = write_dicom(grey, syntax=uid.ExplicitVRBigEndian)
    dataset = pydicom.dcmread(path)
    dataset["PixelData"].VR = "OW"
    dataset.PixelData = grey.view(">u2").astype("<u2").tobytes()
    dataset.save_as(path)

    np.testing.assert_array_equal(read_frame(path).pixels, grey)


def test_uncompressed_ycbcr_becomes_rgb(write_dicom, lymph_node):
    full = ycbcr(lymph_node)
    half = np.dstack([full[:, ::2, 0], full[:, 1::2, 0], full[:, ::2, 1], full[:, ::2, 2]])

    whole = read_frame(write_dicom(full, "a.dcm", PhotometricInterpretation="YBR_FULL"))
    shared = read_frame(
        write_dicom(full, "b.dcm", PhotometricInterpretation="YBR_FULL_422", PixelData=half.tobytes())
    )

    assert np.abs(whole.pixels.astype(int) - lymph_node).max() <= 3
    assert np.abs(shared.pixels.astype(int) - lymph_node).mean() < 3


def test_jpeg_colours_are_right(write_dicom, lymph_node):
    path = write_dicom(
        lymph_node,
        syntax=uid.JPEGBaseline8Bit,
        frames=[jpeg(lymph_node)],
        PhotometricInterpretation="YBR_FULL_422",
    )

    frame = read_frame(path)

    assert np.abs(frame.pixels.astype(int) - lymph_node).mean() < 3
    assert frame.warnings == ()


def test_a_jpeg_tagged_rgb_that_is_ycbcr_is_read_right_and_said(write_dicom, lymph_node):
    path = write_dicom(lymph_node, syntax=uid.JPEGBaseline8Bit, frames=[jpeg(lymph_node)])

    frame = read_frame(path)

    assert np.abs(frame.pixels.astype(int) - lymph_node).mean() < 3
    assert frame.warnings == (
        "The file says its colours are RGB, but its JPEG data is YCbCr and was read so.",
    )


def test_a_jpeg_that_proves_nothing_is_taken_at_its_headers_word(write_dicom, lymph_node):
    # libjpeg marks RGB by component names; without marker and with numbers, only the header knows.
    stream = bytearray(imagecodecs.jpeg8_encode(lymph_node, level=95, colorspace="rgb", outcolorspace="rgb"))
    plain = bytes(_without_proof(stream))
    assert describe_stream(plain).colours is None

    frame = read_frame(write_dicom(lymph_node, syntax=uid.JPEGBaseline8Bit, frames=[plain]))

    assert np.abs(frame.pixels.astype(int) - lymph_node).mean() < 3


def _without_proof(stream: bytearray) -> bytearray:
    """Rename components R, G, B to 1, 2, 3 and take out the Adobe marker."""
    at = stream.find(b"\xff\xee")
    if at >= 0:
        del stream[at : at + 2 + int.from_bytes(stream[at + 2 : at + 4])]
    for marker, first, step in ((b"\xff\xc0", 10, 3), (b"\xff\xda", 5, 2)):
        at = stream.find(marker)
        for number in range(3):
            stream[at + first + step * number] = number + 1
    return stream


@pytest.mark.parametrize("interpretation", ["RGB", "YBR_FULL"])
def test_colours_taken_for_others_are_read_right_and_said(write_dicom, lymph_node, interpretation):
    wrong = ycbcr(lymph_node) if interpretation == "RGB" else lymph_node

    frame = read_frame(write_dicom(wrong, PhotometricInterpretation=interpretation))

    assert np.abs(frame.pixels.astype(int) - lymph_node).max() <= 3
    assert any("strongly green" in warning for warning in frame.warnings)


def test_a_picture_that_is_green_however_it_is_read_is_warned_of(write_dicom, lymph_node):
    green = np.zeros_like(lymph_node)
    green[..., 1] = 200

    frame = read_frame(write_dicom(green))

    np.testing.assert_array_equal(frame.pixels, green)
    assert "More than 30 % of the picture is strongly green" in frame.warnings[0]


@given(grey=st.integers(0, 255), extra=st.integers(0, 255))
def test_grey_red_and_blue_are_not_green(grey, extra):
    pixels = np.full((4, 4, 3), grey, np.uint8)
    for channel in (0, 2):
        tinted = pixels.copy()
        tinted[..., channel] = max(grey, extra)
        assert not is_green(tinted)
    assert not is_green(pixels)


@pytest.mark.parametrize("order", [uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
@pytest.mark.parametrize("high", [True, False], ids=["16-bit entries", "8-bit entries in 16"])
def test_palettes_give_their_colours(write_dicom, order, high):
    colours = np.random.default_rng(0).integers(0, 256, (256, 3))
    indices = np.arange(480 * 640, dtype=np.uint32).reshape(480, 640).astype(np.uint8)
    entries = palette(colours << 8 if high else colours, order="<" if order.is_little_endian else ">")

    frame = read_frame(write_dicom(indices, syntax=order, **entries))

    np.testing.assert_array_equal(frame.pixels, colours[indices])


def test_a_palette_with_16_bit_indices(write_dicom):
    colours = np.random.default_rng(0).integers(0, 256, (1000, 3))
    indices = np.arange(480 * 640).reshape(480, 640).astype(np.uint16) % 1200

    frame = read_frame(write_dicom(indices, bits=16, **palette(colours << 8)))

    np.testing.assert_array_equal(frame.pixels, colours[np.minimum(indices, 999)])


def test_grey_where_white_is_zero(write_dicom, lymph_node):
    path = write_dicom(~lymph_node[..., 0], PhotometricInterpretation="MONOCHROME1")

    np.testing.assert_array_equal(read_frame(path).pixels, lymph_node[..., 0])


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_more_bits_give_the_8_bit_grey(write_dicom, lymph_node, bits):
    grey = lymph_node[..., 0]

    frame = read_frame(write_dicom(grey.astype(np.uint16) << (bits - 8), bits=bits))

    np.testing.assert_array_equal(frame.pixels, grey)


def test_a_window_is_for_16_bits_and_not_for_8(write_dicom, lymph_node):
    grey = lymph_node[..., 0]
    window = {"WindowCenter": "100", "WindowWidth": "21"}

    narrow = read_frame(write_dicom(grey.astype(np.uint16), "a.dcm", bits=16, **window))
    as_stored = read_frame(write_dicom(grey, "b.dcm", **window))

    assert set(np.unique(narrow.pixels[(grey < 89) | (grey > 110)])) <= {0, 255}
    np.testing.assert_array_equal(as_stored.pixels, grey)


def test_a_dark_first_frame_of_16_bits_does_not_turn_the_others_white(write_dicom):
    dark = np.random.default_rng(0).integers(0, 900, (32, 32))
    frames = np.stack([dark, dark * 20, dark * 70]).astype(np.uint16)

    with open_source(write_dicom(frames, bits=16, NumberOfFrames=3)) as source:
        for index in (1, 0, 2):
            np.testing.assert_array_equal(source[index].pixels, frames[index] >> 8)
            assert source[index].warnings == source.warnings


def test_12_bit_jpeg_is_read(write_dicom, lymph_node):
    deep = lymph_node[..., 0].astype(np.uint16) << 4
    stream = imagecodecs.jpeg8_encode(deep, level=98, bitspersample=12)

    frame = read_frame(write_dicom(deep, syntax=uid.JPEGExtended12Bit, frames=[stream], bits=12))

    assert np.abs(frame.pixels.astype(int) - lymph_node[..., 0]).mean() < 2


def test_a_cine_is_read_by_frame(data, cine):
    expected = pydicom.dcmread(data / "dicom" / "examples_ybr_color.dcm").pixel_array

    with open_source(data / "dicom" / "examples_ybr_color.dcm") as source:
        assert (len(source), source.shape, source.is_rgb) == (30, (240, 320), True)
        last, first = source[29], source[0]

    assert (last.index, last.n_frames) == (29, 30)
    assert last.frame_time_s == pytest.approx(0.0333, abs=1e-4)
    for frame, index in ((last, 29), (first, 0)):
        assert np.abs(frame.pixels.astype(int) - expected[index]).max() <= 6


@pytest.mark.parametrize("codec", ["native", "rle"])
def test_frames_of_a_cine_keep_their_order(write_dicom, cine, codec):
    frames = np.stack(cine[:4])
    options = {} if codec == "native" else {"syntax": uid.RLELossless, "frames": [rle(x) for x in frames]}

    with open_source(write_dicom(frames, NumberOfFrames=4, **options)) as source:
        for index in (2, 0, 3, 1):
            np.testing.assert_array_equal(source[index].pixels, frames[index])


@pytest.mark.parametrize(
    ("elements", "seconds"),
    [
        ({"FrameTime": "40"}, 0.04),
        ({"FrameTimeVector": ["0", "40", "41", "39"]}, 0.04),
        ({"FrameTimeVector": ["0", "30", "50", "40"], "CineRate": "25"}, None),
        ({"CineRate": "25"}, 0.04),
        ({}, None),
    ],
)
def test_the_time_between_frames(write_dicom, elements, seconds):
    path = write_dicom(np.zeros((4, 480, 640), np.uint8), NumberOfFrames=4, **elements)

    assert read_frame(path).frame_time_s == pytest.approx(seconds)


def test_uneven_times_of_frames_are_kept_one_by_one(write_dicom):
    vector = {"FrameTimeVector": ["0", "30", "50", "40"]}
    path = write_dicom(np.zeros((4, 480, 640), np.uint8), NumberOfFrames=4, **vector)

    with open_source(path) as source:
        assert [frame.time_s for frame in source] == pytest.approx([0, 0.03, 0.08, 0.12])


def test_an_optional_number_that_is_none_does_not_keep_a_picture_from_being_read(write_dicom, lymph_node):
    path = write_dicom(lymph_node, PixelSpacing=[0.06123, 0.06123])
    path.write_bytes(path.read_bytes().replace(b"0.06123", b"unknown"))

    frame = read_frame(path)

    np.testing.assert_array_equal(frame.pixels, lymph_node)
    assert frame.spacing_mm is None


@pytest.mark.parametrize(
    ("syntax", "codec", "container"),
    [
        (uid.MPEG2MPML, "mpeg2video", "mpeg2video"),
        (uid.MPEG4HP41, "libx264", "h264"),
        (uid.MPEG4HP41, "libx264", "mp4"),
        (uid.MPEG4HP41BD, "libx264", "mpegts"),
        (uid.HEVCMP51, "libx265", "hevc"),
    ],
)
def test_video_in_dicom_is_read_by_frame(write_dicom, write_video, cine, syntax, codec, container):
    video = write_video(cine, "cine.bin", codec, container=container).read_bytes()
    path = write_dicom(np.stack(cine), syntax=syntax, frames=[video], NumberOfFrames=30)

    with open_source(path) as source:
        assert (source.n_frames, source.shape, source.warnings) == (30, (240, 320), ())
        for index in (29, 3, 17):
            assert np.abs(source[index].pixels.astype(int) - cine[index]).mean() < 8
            assert "PyAV" in source[index].decoder


@pytest.mark.parametrize(
    ("container", "said", "step_s", "warning"),
    [
        ("mp4", {}, 0.04, None),
        ("h264", {}, None, None),
        ("mp4", {"FrameTime": "39.9"}, 0.0399, None),
        ("mp4", {"FrameTime": "100"}, 0.1, "The file says 100 ms between frames, but its video has 40 ms"),
    ],
)
def test_the_times_of_a_video_in_dicom_are_the_headers_else_those_of_its_container(
    write_dicom, write_video, cine, container, said, step_s, warning
):
    video = write_video(cine[:6], "cine.bin", container=container).read_bytes()
    path = write_dicom(np.stack(cine), syntax=uid.MPEG4HP41, frames=[video], NumberOfFrames=6, **said)

    with open_source(path) as source:
        frame = source[5]

    assert frame.frame_time_s == (None if step_s is None else pytest.approx(step_s))
    assert frame.time_s == (pytest.approx(0.2) if step_s == 0.04 else None)
    assert [text.partition(".")[0] for text in frame.warnings] == ([warning] if warning else [])


def test_a_frame_says_where_it_comes_from(write_dicom):
    path = write_dicom(
        Manufacturer="ACME ", ManufacturerModelName="Probe 7", SequenceOfUltrasoundRegions=[region()]
    )

    frame = read_frame(path)

    assert (frame.vendor, frame.source) == ("ACME Probe 7", path)
    assert (frame.regions[0].box, frame.scan_area) == ((10, 20, 401, 601), None)


def test_no_name_date_or_id_is_in_a_frame(write_dicom):
    path = write_dicom(
        PatientName="DOE^JANE", PatientID="4711-XY", PatientBirthDate="19700101", StudyDate="20240229"
    )

    shown = repr(read_frame(path))

    assert not any(secret in shown for secret in ("DOE", "4711", "19700101", "20240229"))


def test_another_modality_is_read_and_said(write_dicom):
    frame = read_frame(write_dicom(Modality="CT", SOPClassUID=uid.CTImageStorage))

    assert frame.warnings == ("This is no ultrasound: the modality is CT.",)


def test_pixels_that_are_not_square_are_said(write_dicom):
    frame = read_frame(write_dicom(PixelAspectRatio=["4", "3"]))

    assert frame.warnings == ("Pixels are not square (4:3): axis ratios in pixels are not true.",)


def test_a_deflated_file_is_read(write_dicom, lymph_node):
    path = write_dicom(lymph_node, syntax=uid.DeflatedExplicitVRLittleEndian)

    np.testing.assert_array_equal(read_frame(path).pixels, lymph_node)


def test_a_file_without_preamble_is_read(write_dicom, lymph_node):
    path = write_dicom(lymph_node)
    path.write_bytes(path.read_bytes()[132:])

    np.testing.assert_array_equal(read_frame(path).pixels, lymph_node)


@pytest.mark.parametrize("implicit", [True, False])
def test_a_bare_data_set_is_read(tmp_path, write_dicom, lymph_node, implicit):
    dataset = pydicom.dcmread(write_dicom(lymph_node, Modality="US"))
    del dataset.file_meta
    dataset.save_as(tmp_path / "bare", implicit_vr=implicit, little_endian=True)

    np.testing.assert_array_equal(read_frame(tmp_path / "bare").pixels, lymph_node)


@given(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=6), with_table=st.booleans())
def test_fragments_are_put_together_by_frame(sizes, with_table):
    frames = [b"\xff\xd8\xff" + bytes([index]) * 7 * size for index, size in enumerate(sizes)]
    data = pydicom.encaps.encapsulate(frames, fragments_per_frame=1, has_bot=with_table)
    file = io.BytesIO(data)

    fragments, offsets = find_fragments(file)
    groups = group_fragments(file, fragments, len(frames), offsets)

    read = [b"".join(data[at : at + length] for at, length in group) for group in groups]
    assert [part[: len(frame)] for part, frame in zip(read, frames, strict=True)] == frames


@pytest.mark.parametrize("with_table", [True, False])
def test_a_frame_in_several_fragments_is_one(with_table):
    frames = [b"\xff\xd8\xff" + bytes([index]) * 41 for index in range(3)]
    file = io.BytesIO(pydicom.encaps.encapsulate(frames, fragments_per_frame=3, has_bot=with_table))

    fragments, offsets = find_fragments(file)

    assert len(fragments) == 9
    assert [len(group) for group in group_fragments(file, fragments, 3, offsets)] == [3, 3, 3]


def test_every_real_file_reads_from_first_to_last_frame(shared_data):
    for path in sorted((shared_data / "us_dicom" / "files").iterdir()):
        with open_source(path) as source:
            for frame in (source[0], source[-1]):
                assert frame.shape == source.shape
                assert (frame.pixels.ndim == 3) == source.is_rgb
                assert frame.pixels.max() > 100
                assert not any("green" in warning for warning in frame.warnings), path.name


def test_encodings_of_one_picture_agree(shared_data):
    files = shared_data / "us_dicom" / "files"

    one, two = (read_frame(files / f"pydicom-data__US1_{name}.dcm") for name in ("UNCR", "J2KR"))

    np.testing.assert_array_equal(one.pixels, two.pixels)


@pytest.mark.parametrize("other", ["expb", "rle", "expb_2frame", "rle_2frame"])
def test_encodings_of_one_palette_picture_agree(shared_data, other):
    files = shared_data / "us_dicom" / "files"

    one = read_frame(files / "pydicom-data__OBXXXX1A.dcm")
    two = read_frame(files / f"pydicom-data__OBXXXX1A_{other}.dcm")

    np.testing.assert_array_equal(one.pixels, two.pixels)


def test_frames_of_one_patient_share_the_pseudonym(write_dicom):
    one, two, other = (
        read_frame(write_dicom(name=name, PatientID=identity)).patient_id
        for name, identity in (("a.dcm", "P-1"), ("b.dcm", "P-1 "), ("c.dcm", "P-2"))
    )

    assert one == two != other
