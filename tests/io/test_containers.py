"""Files that hold several pictures: each is a frame, or is named as left out."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_cln.errors import FrameReadError
from napari_cln.io.depth import upright
from napari_cln.io.sources import find_sources, open_source, read_frame

LEFT_OUT = "1 of {} pages are thumbnails, smaller copies or masks and are left out."


@pytest.fixture
def grey(cine):
    """Six grey frames, uint8 (6, 240, 320)."""
    return np.stack(cine[:6])[..., 0]


def pixels_of(path) -> list:
    with open_source(path) as source:
        return [frame.pixels for frame in source]


# ------------------------------------------------------------ TIFF


def test_a_stack_with_one_page_header_gives_all_its_frames(data):
    path = data / "cases" / "17_imagej_over_4GB" / "stack.tif"

    with open_source(path) as source:
        assert (source.n_frames, source.shape, source.warnings) == (6, (128, 160), ())
        assert len({frame.pixels.tobytes() for frame in source}) > 1


@pytest.mark.parametrize("writer", ["ImageJ", "ImageJ of 16 bits", "ImageJ in colour", "tifffile"])
def test_frames_without_pages_of_their_own_are_read(tmp_path, cine, grey, writer):
    stack, options = grey, {"imagej": True, "metadata": {"axes": "TYX"}}
    if writer == "ImageJ of 16 bits":
        stack = grey.astype(np.uint16) * 257
    elif writer == "ImageJ in colour":
        stack, options = np.stack(cine[:6]), {"imagej": True, "metadata": {"axes": "TYXS"}}
    elif writer == "tifffile":
        options = {"photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", stack, truncate=True, **options)

    read = pixels_of(tmp_path / "a.tif")

    np.testing.assert_array_equal(read, np.stack(cine[:6]) if "colour" in writer else grey)


def test_the_planes_of_a_metamorph_stack_are_frames(tmp_path, grey):
    rows, columns = grey.shape[1:]
    planes = b"".join(struct.pack("<6I", 1, 1, 2459000, 0, 2459000, 0) for _ in grey)
    tags = [
        (256, 4, 1, columns), (257, 4, 1, rows), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, rows), (279, 4, 1, rows * columns),
        (33629, 5, len(grey), 8 + grey.size),
    ]  # fmt: skip
    start = struct.pack("<2sHI", b"II", 42, 8 + grey.size + len(planes))
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    (tmp_path / "a.stk").write_bytes(start + grey.tobytes() + planes + directory)

    np.testing.assert_array_equal(pixels_of(tmp_path / "a.stk"), grey)


def test_a_stack_that_is_cut_short_says_how_many_frames_are_there(tmp_path, grey):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, grey, imagej=True, truncate=True, metadata={"axes": "ZYX"})
    path.write_bytes(path.read_bytes()[: -2 * grey[0].size - 1])

    with open_source(path) as source:
        assert source.n_frames == 3
        assert source.warnings == ("The file announces 6 frames, but only 3 are there and whole.",)
        np.testing.assert_array_equal(source[2].pixels, grey[2])


@pytest.mark.parametrize("ome", [False, True], ids=["ImageJ", "OME"])
def test_channels_are_frames_and_said(tmp_path, grey, ome):
    path = tmp_path / ("a.ome.tif" if ome else "a.tif")
    stack = grey.reshape(3, 2, *grey.shape[1:])
    tifffile.imwrite(path, stack, imagej=not ome, ome=ome, metadata={"axes": "TCYX"})

    with open_source(path) as source:
        assert source.warnings == ("The stack has 2 channels; each is read as frames of its own.",)
        np.testing.assert_array_equal([frame.pixels for frame in source], grey)


def test_the_samples_of_a_colour_page_are_no_channels(tmp_path, cine):
    tifffile.imwrite(tmp_path / "a.tif", np.stack(cine[:3]), imagej=True, metadata={"axes": "TYXS"})

    with open_source(tmp_path / "a.tif") as source:
        assert (source.n_frames, source.is_rgb, source.warnings) == (3, True, ())


def test_metadata_that_can_not_be_read_change_nothing(tmp_path, grey):
    tifffile.imwrite(tmp_path / "a.tif", grey[0], description='{"shape": [6, "x"', metadata=None)

    with open_source(tmp_path / "a.tif") as source:
        assert (source.n_frames, source.warnings) == (1, ())


def test_a_thumbnail_page_that_comes_first_is_left_out(data):
    with open_source(data / "cases" / "18_tiff_thumbnail_first" / "screen.tif") as source:
        assert (source.n_frames, source.shape) == (1, (128, 160))
        assert source.warnings == (LEFT_OUT.format(2),)


def test_a_small_page_that_comes_first_and_says_nothing_is_left_out(tmp_path, grey):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(grey[0, ::8, ::8])
        tiff.write(grey[0])

    with open_source(tmp_path / "a.tif") as source:
        assert source.warnings == ("1 of 2 pages have another size and are left out.",)
        np.testing.assert_array_equal(source[0].pixels, grey[0])


def test_a_larger_page_does_not_take_the_place_of_a_cine(tmp_path, grey):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for pixels in grey:
            tiff.write(pixels)
        tiff.write(np.zeros((400, 500), np.uint8))

    with open_source(tmp_path / "a.tif") as source:
        assert (source.n_frames, source.shape) == (6, (240, 320))
        assert source.warnings == ("1 of 7 pages have another size and are left out.",)


@pytest.mark.parametrize("below", [True, False], ids=["copy below the picture", "picture below the copy"])
def test_pages_within_pages_are_found(tmp_path, grey, below):
    pages = [(grey[0], 0), (grey[0, ::2, ::2], 1)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        (first, kind), (second, other) = pages if below else pages[::-1]
        tiff.write(first, subfiletype=kind, subifds=1)
        tiff.write(second, subfiletype=other)

    with open_source(tmp_path / "a.tif") as source:
        assert source.warnings == (LEFT_OUT.format(2),)
        np.testing.assert_array_equal(source[0].pixels, grey[0])


def test_a_mask_page_is_no_frame(tmp_path, grey):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(grey[0])
        tiff.write(grey[0] > 100, subfiletype=4)

    with open_source(tmp_path / "a.tif") as source:
        assert (source.n_frames, source.warnings) == (1, (LEFT_OUT.format(2),))


def test_a_volume_in_one_page_says_so(tmp_path, grey):
    tifffile.imwrite(tmp_path / "a.tif", grey[None], volumetric=True)

    with pytest.raises(FrameReadError, match=r"a\.tif holds a volume in one page. Save its planes"):
        open_source(tmp_path / "a.tif")


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "jpegxl", "webp", "png", "zstd", "lzma"])
@pytest.mark.parametrize("tile", [None, (64, 64)], ids=["strips", "tiles"])
def test_tiff_is_read_however_it_is_compressed(tmp_path, lymph_node, compression, tile):
    tifffile.imwrite(tmp_path / "a.tif", lymph_node, compression=compression, tile=tile)

    error = np.abs(read_frame(tmp_path / "a.tif").pixels.astype(int) - lymph_node)

    assert error.mean() < 3
    assert compression in ("jpeg", "jpegxl", "webp", "jpeg2000") or error.max() == 0


def test_a_compression_that_is_not_read_is_named(tmp_path, lymph_node):
    tifffile.imwrite(tmp_path / "a.tif", lymph_node, compression="jpegxr")

    with pytest.raises(FrameReadError, match=r"a\.tif is compressed with JPEGXR.*Save it uncompressed"):
        open_source(tmp_path / "a.tif")


def test_12_bits_in_a_16_bit_tiff_with_alpha_are_seen(tmp_path, lymph_node):
    deep = np.dstack([lymph_node.astype(np.uint16) << 4 | 1, np.full(lymph_node.shape[:2], 65535, np.uint16)])
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb", extrasamples=["unassalpha"])

    with open_source(tmp_path / "a.tif") as source:
        assert "was read as 12-bit" in source.warnings[0]
        np.testing.assert_array_equal(source[0].pixels, lymph_node)


# ------------------------------------------------------------ pictures


@pytest.mark.parametrize("ending", ["webp", "png", "gif", "avif"])
def test_an_animation_is_a_cine(tmp_path, cine, ending):
    images = [Image.fromarray(pixels) for pixels in cine[:5]]
    options = {"lossless": True} if ending == "webp" else {}
    images[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=images[1:], duration=40, **options)

    read = pixels_of(tmp_path / f"a.{ending}")

    assert len(read) == 5
    assert np.abs(np.stack(read).astype(int) - np.stack(cine[:5])).mean() < 5


def test_a_picture_before_an_animation_is_a_frame(tmp_path, cine):
    images = [Image.fromarray(pixels) for pixels in cine[:4]]
    images[0].save(tmp_path / "a.png", save_all=True, append_images=images[1:], default_image=True)

    np.testing.assert_array_equal(pixels_of(tmp_path / "a.png"), np.stack(cine[:4]))


def test_a_jpeg_of_several_pictures_says_that_the_first_is_read(tmp_path, cine):
    images = [Image.fromarray(pixels) for pixels in cine[:3]]
    images[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=images[1:])

    with open_source(tmp_path / "a.jpg") as source:
        assert source.n_frames == 1
        assert source.warnings == ("The JPEG file holds 3 pictures; the first is read.",)


def jxl(pixels, **options) -> bytes:
    return imagecodecs.jpegxl_encode(pixels, lossless=True, **options)


@pytest.mark.parametrize("kind", ["RGB", "grey", "RGBA", "16 bits", "in a container"])
def test_jpeg_xl_is_read(tmp_path, lymph_node, kind):
    expected = lymph_node[..., 0] if kind in ("grey", "16 bits") else lymph_node
    stored = np.ascontiguousarray(expected)
    if kind == "RGBA":
        stored = np.dstack([lymph_node, np.full(lymph_node.shape[:2], 255, np.uint8)])
    elif kind == "16 bits":
        stored = stored.astype(np.uint16) * 257
    (tmp_path / "a.jxl").write_bytes(jxl(stored, usecontainer=kind == "in a container"))

    with open_source(tmp_path / "a.jxl") as source:
        assert (source.shape, source.is_rgb) == (expected.shape[:2], expected.ndim == 3)
        np.testing.assert_array_equal(source[0].pixels, expected)
        assert source[0].decoder == f"imagecodecs {imagecodecs.__version__}"


def test_an_animated_jpeg_xl_says_so(tmp_path, cine):
    (tmp_path / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(np.stack(cine[:3])))

    with pytest.raises(FrameReadError, match=r"a\.jxl is an animated JPEG XL picture.*Save it as GIF or PNG"):
        open_source(tmp_path / "a.jxl")


def test_a_jpeg_xl_that_is_too_large_is_refused_by_its_header(tmp_path):
    pixels = np.zeros((6000, 6000), np.uint8)
    (tmp_path / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(pixels, effort=1))

    with pytest.raises(FrameReadError, match=r"a\.jxl says it is 6000 rows by 6000 columns.*refused"):
        open_source(tmp_path / "a.jxl")


@pytest.mark.parametrize("form", ["jp2", "j2k"])
def test_jpeg_2000_is_read(tmp_path, lymph_node, form):
    stream = imagecodecs.jpeg2k_encode(lymph_node, level=0, reversible=True, codecformat=form)
    (tmp_path / f"a.{form}").write_bytes(stream)

    np.testing.assert_array_equal(read_frame(tmp_path / f"a.{form}").pixels, lymph_node)


def test_a_jpeg_2000_of_several_pictures_says_that_the_first_is_read(tmp_path, lymph_node):
    stream = imagecodecs.jpeg2k_encode(lymph_node, level=0, reversible=True, codecformat="jp2")
    picture = stream[stream.find(b"jp2c") - 4 :]
    length = len(picture).to_bytes(4)  # the last box may leave out its length
    (tmp_path / "a.jp2").write_bytes(stream[: -len(picture)] + (length + picture[4:]) * 3)

    with open_source(tmp_path / "a.jp2") as source:
        assert source.warnings == ("The JPEG 2000 file holds 3 pictures; the first is read.",)
        np.testing.assert_array_equal(source[0].pixels, lymph_node)


@pytest.mark.parametrize(
    ("encode", "name"),
    [
        (imagecodecs.jpegls_encode, "JPEG-LS of 8 bits"),
        (lambda x: imagecodecs.jpeg8_encode(x, lossless=True), "lossless JPEG of 8 bits"),
        (lambda x: imagecodecs.jpeg8_encode(x.astype(np.uint16) << 4, bitspersample=12), "JPEG of 12 bits"),
    ],
)
def test_other_kinds_of_jpeg_are_named(tmp_path, lymph_node, encode, name):
    (tmp_path / "a.jpg").write_bytes(encode(lymph_node))

    with pytest.raises(FrameReadError, match=rf"a\.jpg is a picture in {name}.*Save it as PNG or TIFF"):
        open_source(tmp_path / "a.jpg")


# ------------------------------------------------------------ what is not read, by name


def test_a_picture_of_a_phone_says_how_to_save_it(data):
    path = data / "cases" / "02_heic_of_a_phone" / "screen.heic"

    with pytest.raises(FrameReadError, match=r"screen\.heic is a HEIC picture.*Save it as JPEG or PNG"):
        open_source(path)
    assert find_sources(path.parent) == [path]


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"abcd"])
def test_a_heic_is_known_by_any_of_its_brands(tmp_path, brand):
    box = b"\0\0\0\x1cftyp" + brand + bytes(4) + b"mif1" + b"heic" + b"miaf"
    (tmp_path / "a.mov").write_bytes(box + bytes(2000))

    with pytest.raises(FrameReadError, match=r"a\.mov is a HEIC picture"):
        open_source(tmp_path / "a.mov")


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"%PDF-1.7", "a PDF document"),
        (b"PK\x03\x04", "a ZIP or Office file"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a camera's raw file"),
    ],
)
def test_other_files_are_named(tmp_path, start, name):
    (tmp_path / "a.png").write_bytes(start + bytes(900))

    with pytest.raises(FrameReadError, match=rf"a\.png is {name}, which is not read here\. \w+"):
        open_source(tmp_path / "a.png")


# ------------------------------------------------------------ orientation


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "avif"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_a_source_tells_how_its_file_stores_the_picture(tmp_path, lymph_node, ending, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{ending}"
    stored = upright(lymph_node, {6: 8}.get(orientation, orientation))
    if ending == "tif":
        tifffile.imwrite(path, stored, extratags=[(274, "H", 1, orientation, True)])
    else:
        Image.fromarray(stored).save(path, exif=exif)

    with open_source(path) as source:
        assert source.orientation == orientation
        assert "stored turned or mirrored" in source.warnings[0]
        assert np.abs(source[0].pixels.astype(int) - lymph_node).mean() < 5


def test_a_source_that_says_nothing_is_upright(tmp_path, write_dicom, lymph_node):
    Image.fromarray(lymph_node).save(tmp_path / "a.png")

    for path in (tmp_path / "a.png", write_dicom(lymph_node)):
        with open_source(path) as source:
            assert source.orientation == 1
