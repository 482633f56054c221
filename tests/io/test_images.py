import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from encode import ycbcr
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from napari_cln.errors import FrameReadError
from napari_cln.io.depth import upright
from napari_cln.io.sources import open_source, read_frame, read_frames


@pytest.fixture
def grey(lymph_node):
    return lymph_node[..., 0]


@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
@pytest.mark.parametrize("colour", [False, True])
def test_lossless_formats_keep_every_pixel(tmp_path, lymph_node, ending, colour):
    pixels = lymph_node if colour else lymph_node[..., 0]
    Image.fromarray(pixels).save(tmp_path / f"a.{ending}")

    frame = read_frame(tmp_path / f"a.{ending}")

    np.testing.assert_array_equal(frame.pixels, pixels)
    assert frame.n_frames == 1


def test_content_decides_and_not_the_ending(tmp_path, grey):
    Image.fromarray(grey).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.dcm")

    np.testing.assert_array_equal(read_frame(tmp_path / "a.dcm").pixels, grey)


def test_16_bit_png_is_the_same_grey(tmp_path, grey):
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "a.png")

    np.testing.assert_array_equal(read_frame(tmp_path / "a.png").grey, grey)


@pytest.mark.parametrize("samples", [1, 2, 3, 4], ids=["grey", "grey+alpha", "RGB", "RGBA"])
@pytest.mark.parametrize("bits", [10, 12])
def test_few_bits_in_a_16_bit_png_are_scaled_and_noted(tmp_path, lymph_node, bits, samples):
    deep = (lymph_node[..., : min(3, samples)].astype(np.uint16) << (bits - 8)) | 1
    if samples in (2, 4):
        deep = np.dstack([deep[..., : samples - 1], np.full(deep.shape[:2], 65535, np.uint16)])
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(np.squeeze(deep)))

    frame = read_frame(tmp_path / "a.png")

    np.testing.assert_array_equal(frame.pixels, lymph_node if samples > 2 else lymph_node[..., 0])
    assert frame.warnings == (
        f"The 16-bit file holds no value above {2**bits - 1} and was read as {bits}-bit.",
    )


@pytest.mark.parametrize("form", ["jp2", "j2k"])
@pytest.mark.parametrize("samples", [1, 2, 3, 4], ids=["grey", "grey+alpha", "RGB", "RGBA"])
@pytest.mark.parametrize("bits", [10, 12])
def test_few_bits_in_a_16_bit_jpeg_2000_are_scaled_and_noted(tmp_path, lymph_node, form, bits, samples):
    deep = (lymph_node[..., : min(3, samples)].astype(np.uint16) << (bits - 8)) | 1
    if samples in (2, 4):
        deep = np.dstack([deep[..., : samples - 1], np.full(deep.shape[:2], 65535, np.uint16)])
    stream = imagecodecs.jpeg2k_encode(np.squeeze(deep), level=0, reversible=True, codecformat=form)
    (tmp_path / f"a.{form}").write_bytes(stream)

    with open_source(tmp_path / f"a.{form}") as source:
        frame = source[0]

    assert source.is_rgb == (samples > 2)
    np.testing.assert_array_equal(frame.pixels, lymph_node if samples > 2 else lymph_node[..., 0])
    assert frame.warnings == (
        f"The 16-bit file holds no value above {2**bits - 1} and was read as {bits}-bit.",
    )


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_a_jpeg_2000_that_uses_all_of_its_bits_is_the_same_grey(tmp_path, grey, bits):
    deep = grey.astype(np.uint16) << (bits - 8)
    stream = imagecodecs.jpeg2k_encode(deep, level=0, bitspersample=bits, reversible=True)
    (tmp_path / "a.jp2").write_bytes(stream)

    frame = read_frame(tmp_path / "a.jp2")

    np.testing.assert_array_equal(frame.pixels, grey)
    assert frame.warnings == ()


def test_a_dark_jpeg_2000_of_12_bits_stays_dark(tmp_path, grey):
    stream = imagecodecs.jpeg2k_encode(grey.astype(np.uint16), level=0, bitspersample=12, reversible=True)
    (tmp_path / "a.jp2").write_bytes(stream)

    frame = read_frame(tmp_path / "a.jp2")

    np.testing.assert_array_equal(frame.pixels, grey >> 4)
    assert frame.warnings == ()


@pytest.mark.parametrize(("said", "bits"), [(16, None), (12, 12)])
def test_a_png_that_says_how_many_bits_count_is_believed(tmp_path, grey, said, bits):
    dark = grey.astype(np.uint16) << 1 | 1
    stream = imagecodecs.png_encode(dark)
    chunk = b"sBIT" + bytes([said])
    chunk = (1).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)
    (tmp_path / "a.png").write_bytes(stream[:33] + chunk + stream[33:])  # behind the header

    frame = read_frame(tmp_path / "a.png")

    np.testing.assert_array_equal(frame.pixels, dark >> 8 if bits is None else dark >> 4)
    assert len(frame.warnings) == (bits is not None)


def test_a_dark_twin_of_an_8_bit_picture_stays_dark(tmp_path, grey):
    Image.fromarray((grey >> 5).astype(np.uint16) * 257).save(tmp_path / "a.png")

    np.testing.assert_array_equal(read_frame(tmp_path / "a.png").pixels, grey >> 5)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_the_way_a_png_stores_grey_does_not_matter(tmp_path, grey, mode):
    Image.fromarray(grey).convert(mode).save(tmp_path / "a.png")

    np.testing.assert_array_equal(read_frame(tmp_path / "a.png").grey, grey)


def test_1_bit_png_is_black_and_white(tmp_path, grey):
    Image.fromarray(grey > 100).save(tmp_path / "a.png")

    np.testing.assert_array_equal(read_frame(tmp_path / "a.png").pixels, np.where(grey > 100, 255, 0))


def test_colour_palette_gives_its_colours(tmp_path, lymph_node):
    image = Image.fromarray(lymph_node).quantize(32)
    image.save(tmp_path / "a.png")

    frame = read_frame(tmp_path / "a.png")

    np.testing.assert_array_equal(frame.pixels, np.asarray(image.convert("RGB")))


def test_grey_palette_stays_grey(tmp_path, grey):
    Image.fromarray(grey).convert("P").save(tmp_path / "a.png")

    np.testing.assert_array_equal(read_frame(tmp_path / "a.png").pixels, grey)


def test_transparent_pixels_are_black(tmp_path):
    pixels = np.full((4, 4, 4), 200, np.uint8)
    pixels[0, 0, 3], pixels[1:, :, 3] = 0, 255
    Image.fromarray(pixels).save(tmp_path / "a.png")

    frame = read_frame(tmp_path / "a.png")

    assert frame.pixels[0, 0].tolist() == [0, 0, 0]
    assert frame.pixels[1, 1].tolist() == [200, 200, 200]


def test_the_dpi_of_a_jpeg_are_no_millimetres(tmp_path, lymph_node):
    Image.fromarray(lymph_node).save(tmp_path / "a.jpg", dpi=(72, 72))

    frame = read_frame(tmp_path / "a.jpg")

    assert frame.spacing_mm is None
    assert frame.spacing_note == "A JPEG file carries no millimetres."


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_said(tmp_path, lymph_node, orientation):
    undo = {6: 8, 8: 6}.get(orientation, orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(upright(lymph_node, undo)).save(tmp_path / "a.png", exif=exif)

    with open_source(tmp_path / "a.png") as source:
        frame = source[0]

    np.testing.assert_array_equal(frame.pixels, lymph_node)
    assert source.shape == frame.shape
    assert ("stored turned" in " ".join(frame.warnings)) == (orientation > 1)


@given(orientation=st.integers(1, 8))
def test_upright_agrees_with_pillow(orientation):
    from PIL import ImageOps

    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation

    np.testing.assert_array_equal(upright(pixels, orientation), np.asarray(ImageOps.exif_transpose(image)))


def test_animated_gif_is_a_cine(tmp_path, cine):
    images = [Image.fromarray(pixels).convert("P") for pixels in cine[:5]]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=40)

    with open_source(tmp_path / "a.gif") as source:
        backwards = [source[index].pixels for index in (4, 2, 0)]
        assert (source.n_frames, source[1].frame_time_s) == (5, 0.04)

    for pixels, index in zip(backwards, (4, 2, 0), strict=True):
        expected = np.asarray(images[index].convert("RGB"))
        assert np.abs(pixels.astype(int) - expected).mean() < 3  # its palette has 256 colours


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_frames_of_an_animation_keep_their_own_times_in_any_order(tmp_path, cine, ending):
    images = [Image.fromarray(pixels) for pixels in cine[:4]]
    durations = [100, 250, 50, 900]
    path = tmp_path / f"a.{ending}"
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations)

    with open_source(path) as source:
        assert [source[index].time_s for index in (2, 0, 3, 1)] == pytest.approx([0.35, 0, 0.4, 0.1])


@pytest.mark.parametrize("side", [9_000, 30_000])
def test_too_many_pixels_are_refused_before_they_are_unpacked(tmp_path, side):
    header = b"IHDR" + side.to_bytes(4) * 2 + bytes((1, 0, 0, 0, 0))
    data = b"IDAT" + zlib.compress(bytes(side // 8 + 1) * 99)
    chunks = [len(part[4:]).to_bytes(4) + part + zlib.crc32(part).to_bytes(4) for part in (header, data)]
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))

    with pytest.raises(FrameReadError, match=r"bomb\.png .*32 million pixels.*refused.*Crop it"):
        open_source(tmp_path / "bomb.png")


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
def test_no_half_picture_is_shown(tmp_path, lymph_node, ending):
    path = tmp_path / f"cut.{ending}"
    Image.fromarray(lymph_node).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(FrameReadError, match=r"cut\..*export it again"):
        read_frame(path)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1)])
@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
def test_the_smallest_pictures_are_read(tmp_path, shape, ending):
    Image.fromarray(np.full(shape, 255, np.uint8)).save(tmp_path / f"a.{ending}")

    assert read_frame(tmp_path / f"a.{ending}").pixels.tolist() == np.full(shape, 255).tolist()


def test_text_in_a_png_stays_out_of_the_frame(tmp_path, grey):
    info = PngInfo()
    info.add_text("PatientName", "DOE^JANE")
    Image.fromarray(grey).save(tmp_path / "a.png", pnginfo=info)

    assert "DOE" not in repr(read_frame(tmp_path / "a.png"))


# TIFF ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "packbits", "zstd"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff_colour_is_kept_however_it_is_stored(tmp_path, lymph_node, compression, planar):
    stored = np.moveaxis(lymph_node, -1, 0) if planar == "separate" else lymph_node
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, compression=compression
    )

    np.testing.assert_array_equal(read_frame(tmp_path / "a.tif").pixels, lymph_node)


def test_tiff_pages_are_frames(tmp_path, cine):
    tifffile.imwrite(tmp_path / "a.tif", np.stack(cine)[..., 0], photometric="minisblack")

    with open_source(tmp_path / "a.tif") as source:
        assert (source.n_frames, source.shape, source.is_rgb) == (30, (240, 320), False)
        np.testing.assert_array_equal(source[29].pixels, cine[29][..., 0])
        np.testing.assert_array_equal(source[3].pixels, cine[3][..., 0])


@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.int16])
def test_a_dark_first_page_does_not_turn_the_others_white(tmp_path, dtype):
    dark = np.random.default_rng(0).integers(0, 900, (32, 32))
    pages = np.stack([dark * 0, dark, dark * 30]).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")

    frames = list(read_frames(tmp_path / "a.tif"))

    for frame, values in zip(frames, pages, strict=True):
        expected = values / 65535 if dtype == np.uint16 else values / pages.max()
        assert np.abs(frame.pixels - 255 * expected).max() <= 1
    assert not any("no value above" in remark for remark in frames[0].warnings)


def test_a_stack_of_12_bits_is_read_so_though_its_first_page_is_black(tmp_path, grey):
    pages = np.stack([np.zeros_like(grey), grey]).astype(np.uint16) << 4 | 1
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")

    frames = list(read_frames(tmp_path / "a.tif"))

    np.testing.assert_array_equal(frames[1].pixels, grey)
    assert "read as 12-bit" in frames[0].warnings[0]


def test_a_damaged_page_does_not_keep_the_scale_of_a_stack_from_being_found(tmp_path, grey):
    pages = np.stack([grey, grey, grey]).astype(np.float32) * 3
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        offset = tiff.pages[1].dataoffsets[0]
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[offset : offset + 40] = bytes(40)
    (tmp_path / "a.tif").write_bytes(data)

    with open_source(tmp_path / "a.tif") as source:
        assert source[2].pixels.max() == 255
        with pytest.raises(FrameReadError, match="whole at frame 2 of 3"):
            source[1]


def test_tiff_thumbnails_are_left_out_and_said(tmp_path, grey):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for pixels in (grey, grey[::8, ::8], grey):
            tiff.write(pixels, photometric="minisblack")

    with open_source(tmp_path / "a.tif") as source:
        assert source.n_frames == 2
        assert source.warnings == ("1 of 3 pages have another size and are left out.",)


def test_tiff_where_white_is_zero(tmp_path, grey):
    tifffile.imwrite(tmp_path / "a.tif", ~grey, photometric="miniswhite")

    np.testing.assert_array_equal(read_frame(tmp_path / "a.tif").pixels, grey)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tiff_with_nan_is_read(tmp_path, grey, dtype):
    values = (grey / 255).astype(dtype)
    values[0, 0] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", values)

    np.testing.assert_array_equal(read_frame(tmp_path / "a.tif").pixels[1:], grey[1:])
    assert read_frame(tmp_path / "a.tif").pixels[0, 0] == 0


def test_tiff_16_bit_colour_and_palette(tmp_path, lymph_node):
    tifffile.imwrite(tmp_path / "rgb.tif", lymph_node.astype(np.uint16) * 257, photometric="rgb")
    Image.fromarray(lymph_node).quantize(64).save(tmp_path / "palette.tif")

    np.testing.assert_array_equal(read_frame(tmp_path / "rgb.tif").pixels, lymph_node)
    np.testing.assert_array_equal(
        read_frame(tmp_path / "palette.tif").pixels,
        np.asarray(Image.fromarray(lymph_node).quantize(64).convert("RGB")),
    )


def test_tiff_1_bit_and_alpha(tmp_path, lymph_node):
    Image.fromarray(lymph_node[..., 0] > 99).save(tmp_path / "bit.tif")
    alpha = np.dstack([lymph_node, np.full(lymph_node.shape[:2], 255, np.uint8)])
    tifffile.imwrite(tmp_path / "alpha.tif", alpha, photometric="rgb", extrasamples=["unassalpha"])

    np.testing.assert_array_equal(read_frame(tmp_path / "bit.tif").pixels, (lymph_node[..., 0] > 99) * 255)
    np.testing.assert_array_equal(read_frame(tmp_path / "alpha.tif").pixels, lymph_node)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("cm", 10), ("micron", 1e-3), ("\\u00B5m", 1e-3)])
def test_imagej_unit_gives_millimetres(tmp_path, grey, unit, factor):
    tifffile.imwrite(
        tmp_path / "a.tif",
        grey,
        imagej=True,
        resolution=(factor / 0.05, factor / 0.06),
        metadata={"unit": unit},
    )

    frame = read_frame(tmp_path / "a.tif")

    assert frame.spacing_mm == pytest.approx((0.06, 0.05), rel=1e-4)
    assert frame.spacing_source == "tiff-imagej"


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "jpeg2000"])
def test_a_tiff_of_ycbcr_that_no_jpeg_decoder_turns_into_rgb_is_refused(tmp_path, lymph_node, compression):
    tifffile.imwrite(
        tmp_path / "a.tif",
        ycbcr(lymph_node),
        photometric="ycbcr",
        compression=compression,
        subsampling=(1, 1),
    )

    with pytest.raises(FrameReadError, match=r"a\.tif .* neither grey nor RGB\. Save it as grey or RGB"):
        open_source(tmp_path / "a.tif")


def test_a_tiff_of_ycbcr_in_jpeg_is_read_as_rgb(tmp_path, lymph_node):
    tifffile.imwrite(tmp_path / "a.tif", ycbcr(lymph_node), photometric="ycbcr", compression="jpeg")

    frame = read_frame(tmp_path / "a.tif")

    assert np.abs(frame.pixels.astype(int) - lymph_node).mean() < 4


@pytest.mark.parametrize("metadata", [{"unit": "pixel"}, {}])
def test_imagej_without_a_unit_gives_none(tmp_path, grey, metadata):
    tifffile.imwrite(tmp_path / "a.tif", grey, imagej=True, resolution=(20, 20), metadata=metadata)

    assert read_frame(tmp_path / "a.tif").spacing_mm is None


def test_a_printers_resolution_in_a_tiff_is_no_millimetres(tmp_path, grey):
    tifffile.imwrite(tmp_path / "a.tif", grey, resolution=(72, 72), resolutionunit="INCH")

    assert read_frame(tmp_path / "a.tif").spacing_mm is None


def test_a_tiff_bomb_is_refused_before_it_is_unpacked(tmp_path):
    tifffile.imwrite(
        tmp_path / "bomb.tif",
        shape=(20_000, 20_000),
        dtype=np.uint8,
        data=iter([b""] * 400),
        tile=(1024, 1024),
    )

    with pytest.raises(FrameReadError, match=r"bomb\.tif says it is 20000 rows.*refused"):
        open_source(tmp_path / "bomb.tif")


def test_a_tiff_in_other_colours_says_so(tmp_path, lymph_node):
    Image.fromarray(lymph_node).convert("CMYK").save(tmp_path / "a.tif")

    with pytest.raises(FrameReadError, match=r"a\.tif .*neither grey nor RGB. Save it as"):
        read_frame(tmp_path / "a.tif")
