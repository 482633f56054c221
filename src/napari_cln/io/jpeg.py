"""What a compressed frame says about itself, read from its markers before it is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Stream", "check_stream", "describe_stream"]

SOI, APP0, APP14, SOS = 0xD8, 0xE0, 0xEE, 0xDA
JPEG_LS_FRAME = 0xF7
NOT_FRAMES = (0xC4, 0xC8, 0xCC)  # tables and reserved markers among the start-of-frame ones
RLE_GROWTH = 2


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Size, depth and colours of a JPEG or JPEG 2000 stream.

    ``colours`` is what the data itself proves: a JFIF marker, chroma at lower resolution or
    an Adobe marker that says so mean YCbCr; an Adobe marker without transform or components
    named R, G, B mean RGB. None where nothing is proved.
    """

    rows: int
    columns: int
    bits: int
    colours: Literal["YCbCr", "RGB"] | None = None


def describe_stream(data: bytes) -> Stream | None:
    """Read the markers of a JPEG, JPEG-LS or JPEG 2000 stream; None for anything else."""

    def number(start: int, length: int) -> int:
        return int.from_bytes(data[start : start + length], "big")

    if data[:4] == b"\xff\x4f\xff\x51":  # start of code stream, image and tile size
        rows, columns = number(12, 4) - number(20, 4), number(8, 4) - number(16, 4)
        return Stream(rows=rows, columns=columns, bits=(number(42, 1) & 127) + 1)
    if data[:2] != bytes((0xFF, SOI)):
        return None
    colours: Literal["YCbCr", "RGB"] | None = None
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker, body = data[at + 1], at + 4
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == SOS:
            return None
        if marker == APP0 and data[body : body + 5] == b"JFIF\0":
            colours = "YCbCr"
        elif marker == APP14 and data[body : body + 5] == b"Adobe":
            colours = "YCbCr" if number(body + 11, 1) else "RGB"
        elif marker == JPEG_LS_FRAME or (0xC0 <= marker <= 0xCF and marker not in NOT_FRAMES):
            components = data[body + 6 : body + 6 + 3 * number(body + 5, 1)]
            if colours is None and len(components) == 9:
                if bytes(components[0::3]) == b"RGB":
                    colours = "RGB"
                elif components[1] != components[4]:
                    colours = "YCbCr"
            return Stream(
                rows=number(body + 1, 2), columns=number(body + 3, 2), bits=number(body, 1), colours=colours
            )
        at += 2 + max(2, number(at + 2, 2))
    return None


def check_stream(data: bytes, rows: int, columns: int, raw_bytes: int) -> None:
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

    Raises
    ------
    ValueError
    """
    stream = describe_stream(data)
    if stream is None:
        if len(data) > RLE_GROWTH * raw_bytes + 1024:
            raise ValueError(f"a compressed frame takes {len(data)} bytes and {raw_bytes} when unpacked")
    elif (stream.rows, stream.columns) != (rows, columns):
        raise ValueError(f"a compressed frame has {stream.rows} rows and {stream.columns} columns")
