"""Small files that ask for much: each gives a frame or its sentence, and takes little memory for it."""

from __future__ import annotations

import gzip
import lzma
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
import tifffile
from encode import jpeg, palette
from PIL import Image
from pydicom import uid

from napari_cln.errors import FrameReadError
from napari_cln.io.limits import MAX_FRAME_PIXELS
from napari_cln.io.sources import open_source, read_frame

MOST_MB = 1500
READ = r"""
import re, sys
from pathlib import Path
from napari_cln.errors import FrameReadError
from napari_cln.io.sources import open_source
try:
    with open_source(sys.argv[1]) as source:
        said = f"{source.n_frames} frames of {source[0].shape}"
except FrameReadError as error:
    said = str(error)
# not getrusage, which tells of the process that started this one too
print(int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024, said)
"""


def read_in_a_process(path: Path) -> tuple[int, str]:
    """Megabytes that reading a file took at most, and what came of it."""
    done = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    most, _, said = done.stdout.strip().partition(" ")
    return int(most), said


only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of one process")


@only_linux
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("apng_1e6.png", "1 frames of (16, 16)"),
        ("dcm_items_1M.dcm.gz", "has an element (0018,6011) of 8000000 bytes in its header"),
        ("dcm_pal_SL.dcm", "red palette says it has 2147483647 entries"),
        ("png_8192x8191_rgba16.png.gz", "frames of more than 32 million pixels are refused"),
    ],
)
def test_hostile_files_give_their_sentence_in_little_memory(tmp_path, data, name, expected):
    path = data / "cases" / "hostile" / name
    if path.suffix == ".gz":
        path = tmp_path / path.stem
        path.write_bytes(gzip.decompress((data / "cases" / "hostile" / name).read_bytes()))

    most, said = read_in_a_process(path)

    assert expected in said
    assert most < MOST_MB


SIDE = 5790
"""Rows and columns of the largest square picture that is read."""


@only_linux
@pytest.mark.parametrize("kind", ["png", "tif of floats", "webp", "jxl", "dcm"])
def test_the_largest_pictures_that_are_read_fit_into_memory(tmp_path, write_dicom, kind):
    path = tmp_path / f"large.{kind[:4].strip()}"
    if kind == "png":
        pixels = zlib.compress(bytes(SIDE * (1 + 8 * SIDE)), 9)
        head = struct.pack(">IIBBBBB", SIDE, SIDE, 16, 6, 0, 0, 0)
        parts = (b"IHDR", head), (b"IDAT", pixels), (b"IEND", b"")
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    elif kind == "tif of floats":
        tifffile.imwrite(path, np.zeros((SIDE, SIDE)), compression="deflate")
    elif kind == "dcm":
        pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
        frames = [imagecodecs.htj2k_encode(pixels)]
        path = write_dicom(
            pixels, syntax=uid.HTJ2KLossless, frames=frames, PhotometricInterpretation="YBR_FULL"
        )
    elif kind == "webp":
        path.write_bytes(imagecodecs.webp_encode(np.zeros((SIDE, SIDE, 3), np.uint8), lossless=True, level=0))
    else:
        path.write_bytes(imagecodecs.jpegxl_encode(np.zeros((SIDE, SIDE, 3), np.uint8), effort=1))
    assert path.stat().st_size < 10**6
    assert SIDE**2 < MAX_FRAME_PIXELS < (SIDE + 10) ** 2

    most, said = read_in_a_process(path)

    assert said == f"1 frames of ({SIDE}, {SIDE})"
    assert most < MOST_MB


@pytest.mark.slow
def test_a_frame_is_bounded_in_bytes_and_not_only_in_pixels(tmp_path):
    tifffile.imwrite(
        tmp_path / "deep.tif", np.zeros((4000, 4000, 3)), compression="deflate", photometric="rgb"
    )

    with pytest.raises(FrameReadError, match=r"deep\.tif .*24 bytes a pixel.*256 MB are refused"):
        open_source(tmp_path / "deep.tif")


# ------------------------------------------------------------ TIFF


def one_strip(path: Path, data: bytes, compression: int, samples: int = 1) -> Path:
    """Write a TIFF of 10 by 10 pixels whose only strip holds what it is given."""
    photometric = 2 if samples == 3 else 1
    tags = [
        (256, 10), (257, 10), (258, 8), (259, compression), (262, photometric),
        (273, 8), (277, samples), (278, 10), (279, len(data)),
    ]  # fmt: skip
    directory = struct.pack("<H", len(tags))
    directory += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + bytes(4)
    data += bytes(len(data) % 2)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["JPEG", "JPEG 2000", "JPEG XL", "PNG", "WebP"])
def test_a_strip_that_holds_a_larger_picture_is_refused(tmp_path, kind):
    pixels = np.zeros((2000, 3000, 3), np.uint8)
    compression, encode = {
        "JPEG": (7, imagecodecs.jpeg8_encode),
        "JPEG 2000": (34712, lambda x: imagecodecs.jpeg2k_encode(x, codecformat="j2k")),
        "JPEG XL": (50002, imagecodecs.jpegxl_encode),
        "PNG": (34933, imagecodecs.png_encode),
        "WebP": (50001, imagecodecs.webp_encode),
    }[kind]
    path = one_strip(tmp_path / "a.tif", encode(pixels), compression, samples=3)

    with pytest.raises(FrameReadError, match="a picture of 2000 rows by 3000 columns in a part of 10 by 10"):
        read_frame(path)


@only_linux
@pytest.mark.parametrize(
    ("compression", "pack"),
    [(8, zlib.compress), (34925, lzma.compress), (50000, imagecodecs.zstd_encode)],
    ids=["deflate", "LZMA", "Zstandard"],
)
def test_a_strip_that_unpacks_to_more_than_its_place_does_not(tmp_path, compression, pack):
    path = one_strip(tmp_path / "a.tif", pack(bytes(2**27)), compression)

    most, _ = read_in_a_process(path)

    assert most < 100


def directories(tags: list[tuple[int, int]], n: int) -> bytes:
    """A TIFF of `n` directories with the same tags."""
    size = 2 + 12 * len(tags) + 4
    body = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, v) for tag, v in tags)
    offsets = [8 + size * (index + 1) for index in range(n - 1)] + [0]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(body + struct.pack("<I", next_) for next_ in offsets)


@pytest.mark.slow
def test_a_tiff_of_very_many_empty_pages_is_one_sentence(tmp_path):
    (tmp_path / "a.tif").write_bytes(directories([], 150_000))

    with pytest.raises(FrameReadError, match=r"a\.tif .*holds no picture"):
        open_source(tmp_path / "a.tif")


def test_a_tiff_without_its_strips_is_cut_short(tmp_path):
    tags = [(256, 16), (257, 16), (258, 8), (259, 5), (262, 1), (273, 0), (277, 1), (278, 16), (279, 0)]
    (tmp_path / "a.tif").write_bytes(directories(tags, 3))

    with (
        open_source(tmp_path / "a.tif") as source,
        pytest.raises(FrameReadError, match="parts of its picture are missing"),
    ):
        source[0]


def test_pages_in_a_circle_end(tmp_path):
    tags = [(256, 16), (257, 16), (258, 8), (262, 1), (273, 8), (279, 256)]
    data = bytearray(directories(tags, 2))
    data[-4:] = struct.pack("<I", 8)
    (tmp_path / "a.tif").write_bytes(data + bytes(400))

    with open_source(tmp_path / "a.tif") as source:
        assert source.n_frames == 2


# ------------------------------------------------------------ JPEG


def test_a_jpeg_of_very_many_scans_is_refused(tmp_path):
    path = tmp_path / "scans.jpg"
    Image.fromarray(np.zeros((4000, 4000), np.uint8)).save(path, progressive=True)
    data = path.read_bytes()
    last = data[data.rfind(b"\xff\xda") : -2]
    path.write_bytes(data[:-2] + last * 200 + data[-2:])

    with pytest.raises(FrameReadError, match=r"scans\.jpg .*4000 rows and 4000 columns has \d+ scans"):
        open_source(path)


# ------------------------------------------------------------ DICOM

ITEM = b"\xfe\xff\x00\xe0" + bytes(4)
SEQUENCE_END = b"\xfe\xff\xdd\xe0" + bytes(4)


def with_element(path: Path, group: int, element: int, vr: bytes, value: bytes, length: int) -> Path:
    """Put an element before the description of the picture."""
    data = path.read_bytes()
    at = data.find(b"\x28\x00\x02\x00US")
    head = struct.pack("<HH", group, element) + vr + bytes(2) + struct.pack("<I", length)
    path.write_bytes(data[:at] + head + value + data[at:])
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("tag", "vr"), [((0x18, 0x6011), b"SQ"), ((0x19, 0x1010), b"UN")])
def test_a_million_items_are_one_sentence(write_dicom, tag, vr):
    path = with_element(write_dicom(), *tag, vr, ITEM * 10**6 + SEQUENCE_END, 0xFFFFFFFF)

    with pytest.raises(FrameReadError, match=r"scan\.dcm has a header of far more elements and items"):
        open_source(path)


@only_linux
def test_a_deflated_header_of_millions_of_items_is_one_sentence(write_dicom):
    path = write_dicom(np.zeros((9, 9), np.uint8), syntax=uid.DeflatedExplicitVRLittleEndian)
    start = 132 + 12 + pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    sequence = struct.pack("<HH", 0x18, 0x9999) + b"SQ\0\0\xff\xff\xff\xff" + ITEM * 10**7 + SEQUENCE_END
    path.write_bytes(path.read_bytes()[:start] + packer.compress(sequence) + packer.flush())

    most, said = read_in_a_process(path)

    assert "has a header of far more elements and items" in said
    assert most < MOST_MB


def test_a_private_element_of_many_megabytes_is_passed_over(write_dicom):
    path = with_element(write_dicom(), 0x19, 0x1010, b"OB", bytes(2**22), 2**22)

    assert read_frame(path).shape == (480, 640)


def test_a_header_that_ends_within_an_element_is_cut_short(write_dicom):
    path = with_element(write_dicom(), 0x19, 0x1010, b"OB", bytes(8), 2**30)

    with pytest.raises(FrameReadError, match=r"scan\.dcm is cut short or damaged: its header ends within"):
        open_source(path)


@pytest.mark.parametrize("length", [8, 9, 400])
def test_items_within_items_are_read_or_named(write_dicom, length):
    open_, close = b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0" + bytes(4)
    inner = b""
    for _ in range(length):
        start = struct.pack("<HH", 0x18, 0x9999) + b"SQ\0\0\xff\xff\xff\xff"
        inner = start + open_ + inner + close + SEQUENCE_END
    data = write_dicom().read_bytes()
    at = data.find(b"\x28\x00\x02\x00US")
    path = write_dicom(name="deep.dcm")
    path.write_bytes(data[:at] + inner + data[at:])

    if length < 100:
        assert read_frame(path).shape == (480, 640)
    else:
        with pytest.raises(FrameReadError, match=r"deep\.dcm has sequences within sequences"):
            read_frame(path)


def test_a_palette_that_repeats_itself_without_end_is_refused(write_dicom):
    values = palette(np.zeros((256, 3), int))
    repeated = np.array([0, 1, 5] + [2, 65535, 0, 0] * 200, "<u2").tobytes()
    for colour in ("Red", "Green", "Blue"):
        del values[f"{colour}PaletteColorLookupTableData"]
        values[f"Segmented{colour}PaletteColorLookupTableData"] = repeated

    with pytest.raises(FrameReadError, match="256 entries, and its segments make"):
        open_source(write_dicom(np.zeros((4, 4), np.uint8), **values))


def test_very_many_empty_frames_are_not_frames(write_dicom, lymph_node):
    path = write_dicom(
        lymph_node, syntax=uid.JPEGBaseline8Bit, frames=[jpeg(lymph_node)], NumberOfFrames=1001
    )
    data = path.read_bytes()
    path.write_bytes(data[: data.rfind(SEQUENCE_END)] + ITEM * 1000 + SEQUENCE_END)

    with pytest.raises(FrameReadError, match=r"scan\.dcm is cut short or damaged: it holds 1 of 1001 frames"):
        open_source(path)


# ------------------------------------------------------------ frames that are announced


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def animation(frames: list[bytes], announced: int, side: int = 8) -> bytes:
    """An animated PNG of grey frames, with how many it says it has."""
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    out += chunk(b"acTL", struct.pack(">II", announced, 0))
    number = 0
    for index, frame in enumerate(frames):
        out += chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, side, side, 0, 0, 40, 1000, 0, 0))
        number += 1
        if index:
            out += chunk(b"fdAT", struct.pack(">I", number) + frame)
            number += 1
        else:
            out += chunk(b"IDAT", frame)
    return out + chunk(b"IEND", b"")


def frame_of(value: int, side: int = 8) -> bytes:
    return zlib.compress((b"\0" + bytes([value]) * side) * side)


def test_frames_that_a_png_only_announces_are_not_counted(tmp_path):
    (tmp_path / "a.png").write_bytes(animation([frame_of(9), frame_of(7)], announced=1000))

    with open_source(tmp_path / "a.png") as source:
        assert source.n_frames == 2
        assert source.warnings == ("The file announces 1000 frames, but only 2 are there and whole.",)
        assert [int(frame.pixels[0, 0]) for frame in source] == [9, 7]


def test_frames_that_a_png_does_not_announce_are_said(tmp_path):
    (tmp_path / "a.png").write_bytes(animation([frame_of(value) for value in range(5)], announced=2))

    with open_source(tmp_path / "a.png") as source:
        assert source.n_frames == 2
        assert source.warnings == ("The file holds 5 frames and announces 2; so many are read.",)


def test_a_cut_animation_keeps_its_whole_frames(tmp_path):
    data = animation([frame_of(value) for value in range(6)], announced=6)
    (tmp_path / "a.png").write_bytes(data[:-60])

    with open_source(tmp_path / "a.png") as source:
        assert source.n_frames == 5
        assert "announces 6 frames, but only 5 are there" in source.warnings[0]
        assert int(source[4].pixels[0, 0]) == 4


def test_frames_behind_a_damaged_one_are_not_tried_one_by_one(tmp_path):
    frames = [frame_of(value) for value in range(6)]
    frames[2] = frames[2][:6] + b"\xff\xff\xff" + frames[2][9:]
    (tmp_path / "a.png").write_bytes(animation(frames, announced=6))

    with open_source(tmp_path / "a.png") as source:
        assert int(source[1].pixels[0, 0]) == 1
        for index in (2, 3, 5):
            with pytest.raises(FrameReadError, match=r"a\.png"):
                source[index]
        with pytest.raises(FrameReadError, match="damaged at frame 3 of 6; those behind it can't be read"):
            source[4]
        assert int(source[0].pixels[0, 0]) == 0


def test_an_animation_of_more_pixels_than_can_be_walked_through_is_refused(tmp_path):
    image = b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\x02\x02\x44\x01\0"
    head = b"GIF89a" + struct.pack("<HH", 3000, 3000) + b"\x80\0\0" + bytes(3) + b"\xff" * 3
    (tmp_path / "a.gif").write_bytes(head + image * 10_000 + b"\x3b")

    with pytest.raises(FrameReadError, match=r"a\.gif has 10000 frames of 3000 rows.*Save it as a video"):
        open_source(tmp_path / "a.gif")


def test_a_cine_larger_than_a_4k_screen_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 4000, 4000), np.uint8), compression="deflate")

    with pytest.raises(FrameReadError, match=r"a\.tif says it has 2 frames of 4000 rows.*Make them smaller"):
        open_source(tmp_path / "a.tif")
