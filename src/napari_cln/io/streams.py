"""The description that a compressed picture gives of itself, read before it is decoded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from .jpegxl import describe_jpegxl
from .limits import Unreadable

SOI, APP0, APP14, SOS = 0xD8, 0xE0, 0xEE, 0xDA
JPEG_LS_FRAME = 0xF7
NOT_FRAMES = (0xC4, 0xC8, 0xCC)  # tables and reserved markers among the start-of-frame ones
PLAIN = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # baseline, extended and progressive, with either coder
PROGRESSIVE, LOSSLESS = (0xC2, 0xCA), 0xC3
J2K_START, J2K_CAPABILITIES, J2K_CODING, J2K_TILE = (bytes((0xFF, low)) for low in (0x4F, 0x50, 0x52, 0x90))
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
RLE_GROWTH = 2
MAX_SCAN_PIXELS = 2**30
"""Pixels of all scans of a progressive JPEG together; ten scans are usual."""

Process: TypeAlias = Literal[
    "JPEG", "lossless JPEG", "hierarchical JPEG", "JPEG-LS", "JPEG 2000", "HTJ2K", "JPEG XL", "PNG", "WebP"
]
Colours: TypeAlias = Literal["YCbCr", "RGB"]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Size, depth and colours of a compressed frame.

    ``colours`` is what the data itself proves of its decoded samples: a JFIF marker, chroma at
    lower resolution or an Adobe marker that says so mean YCbCr; an Adobe marker without
    transform, components named R, G, B, or a colour transform that the decoder undoes (JPEG
    2000, JPEG XL) mean RGB. None where nothing is proved.
    """

    rows: int
    columns: int
    bits: int
    process: Process = "JPEG"
    components: int = 1
    colours: Colours | None = None
    is_in_scans: bool = False
    """A JPEG that goes over its picture several times."""


def describe_stream(data: bytes) -> Stream | None:
    """Read the header of a JPEG, JPEG-LS, JPEG 2000, JPEG XL, PNG or WebP; None for anything else."""
    if data[:4] == J2K_START + b"\xff\x51":
        return _describe_jpeg2000(data, 0)
    if data.startswith(JP2_SIGNATURE):
        start = data.find(b"jp2c" + J2K_START)
        return _describe_jpeg2000(data, start + 4) if start >= 0 else None
    if data[:2] == bytes((0xFF, SOI)):
        return _describe_jpeg(data)
    if data.startswith(PNG_SIGNATURE):
        return Stream(rows=_number(data, 20, 4), columns=_number(data, 16, 4), bits=data[24], process="PNG")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        rows, columns = webp_size(data)
        return Stream(rows=rows, columns=columns, bits=8, process="WebP", components=4)
    picture = describe_jpegxl(data)
    if picture is None:
        return None
    if picture.is_animated:
        raise Unreadable("its JPEG XL data is an animation")
    return Stream(
        rows=picture.rows,
        columns=picture.columns,
        bits=picture.bits,
        process="JPEG XL",
        components=picture.components,
        colours="RGB" if picture.is_transformed and picture.components == 3 else None,
    )


def webp_size(data: bytes) -> tuple[int, int]:
    """Rows and columns of a WebP picture, of an animation's canvas."""
    match data[12:16]:
        case b"VP8X":
            columns, rows = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            columns, rows = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case _:
            columns, rows = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    return rows, columns


def _number(data: bytes, start: int, length: int) -> int:
    return int.from_bytes(data[start : start + length], "big")


def _describe_jpeg(data: bytes) -> Stream | None:
    colours: Colours | None = None
    stream: Stream | None = None
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker, body = data[at + 1], at + 4
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == SOS:
            in_scan = _number(data, body, 1)
            return stream and replace(stream, is_in_scans=stream.is_in_scans or in_scan < stream.components)
        if marker == APP0 and data[body : body + 5] == b"JFIF\0":
            colours = "YCbCr"
        elif marker == APP14 and data[body : body + 5] == b"Adobe":
            colours = "YCbCr" if _number(data, body + 11, 1) else "RGB"
        elif marker == JPEG_LS_FRAME or (0xC0 <= marker <= 0xCF and marker not in NOT_FRAMES):
            components = data[body + 6 : body + 6 + 3 * _number(data, body + 5, 1)]
            if len(components) == 9 and bytes(components[0::3]) == b"RGB":
                colours = "RGB"
            elif len(components) == 9 and colours is None and components[1] != components[4]:
                colours = "YCbCr"
            process: Process = "hierarchical JPEG"
            if marker in PLAIN:
                process = "JPEG"
            elif marker in (LOSSLESS, JPEG_LS_FRAME):
                process = "lossless JPEG" if marker == LOSSLESS else "JPEG-LS"
                # A JFIF marker promises YCbCr of the lossy kind only.
                colours = "RGB" if colours == "RGB" else None
            stream = Stream(
                rows=_number(data, body + 1, 2),
                columns=_number(data, body + 3, 2),
                bits=_number(data, body, 1),
                process=process,
                components=_number(data, body + 5, 1),
                colours=colours,
                is_in_scans=marker in PROGRESSIVE,
            )
        at += 2 + max(2, data[at + 2] << 8 | data[at + 3])
    return stream and replace(stream, is_in_scans=True)  # the first scan is further on


def _describe_jpeg2000(data: bytes, start: int) -> Stream:
    """Read the main header of a code stream: its size and coding style."""
    rows = _number(data, start + 12, 4) - _number(data, start + 20, 4)
    columns = _number(data, start + 8, 4) - _number(data, start + 16, 4)
    components = _number(data, start + 40, 2)
    steps = [data[at : at + 2] for at in range(start + 43, start + 43 + 3 * min(components, 4), 3)]
    colours: Colours | None = None
    process: Process = "JPEG 2000"
    at = start + 4 + _number(data, start + 4, 2)
    while (marker := data[at : at + 2]) not in (J2K_TILE, b""):
        if marker == J2K_CAPABILITIES:
            process = "HTJ2K"
        elif marker == J2K_CODING and components == 3 and _number(data, at + 8, 1):
            colours = "RGB"  # the decoder undoes the transform
        at += 2 + max(2, _number(data, at + 2, 2))
    if components == 3 and steps[1:] != steps[:1] * 2:
        colours = "YCbCr"
    return Stream(
        rows=rows,
        columns=columns,
        bits=(_number(data, start + 42, 1) & 127) + 1,
        process=process,
        components=components,
        colours=colours,
    )


def check_scans(data: bytes, stream: Stream) -> None:
    """Refuse a progressive JPEG that goes over its picture so often that decoding takes minutes.

    Raises
    ------
    Unreadable
    """
    if not stream.is_in_scans:
        return
    scans = data.count(bytes((0xFF, SOS)))
    if scans * stream.rows * stream.columns > MAX_SCAN_PIXELS:
        raise Unreadable(f"a JPEG of {stream.rows} rows and {stream.columns} columns has {scans} scans")


def check_stream(data: bytes, rows: int, columns: int, raw_bytes: int) -> Stream | None:
    """Refuse a compressed frame that would unpack to another size than the header says.

    Parameters
    ----------
    data : bytes
        One frame, compressed.
    rows, columns : int
        As the header says.
    raw_bytes : int
        Size of the frame when unpacked. Run-length coding states no size, but makes no
        frame much larger.

    Returns
    -------
    Stream or None
        What the frame says of itself.

    Raises
    ------
    Unreadable
    """
    stream = describe_stream(data)
    if stream is None:
        if len(data) > RLE_GROWTH * raw_bytes + 1024:
            raise Unreadable(f"a compressed frame takes {len(data)} bytes and {raw_bytes} when unpacked")
        return None
    if (stream.rows, stream.columns) != (rows, columns):
        raise Unreadable(
            f"a compressed frame has {stream.rows} rows and {stream.columns} columns, and the header says "
            f"{rows} and {columns}"
        )
    if stream.components > 4 or stream.bits > 32:
        raise Unreadable(f"a compressed frame has {stream.components} samples of {stream.bits} bits a pixel")
    check_scans(data, stream)
    return stream
