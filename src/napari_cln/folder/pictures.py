"""Pictures of a training folder: grey PNG without metadata, their checksums, and their one flipped bit.

Each chunk of a PNG carries the CRC-32 of its content. A CRC is linear, so the difference between the
one that is carried and the one that is computed tells which single bit differs (W. W. Peterson and
D. T. Brown, Proc. IRE 49, 1961).
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..disk.atomic import MAX_PNG_BYTES, read_bytes
from ..errors import DatasetError

MAX_PIXELS = 2**26


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """A grey PNG of pixels (H, W) and nothing else: no text, no time, no resolution.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W)
    """
    buffer = io.BytesIO()
    # Level 1: a mask is small whatever the level, and a reader waits after every stroke.
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def decode_png(data: bytes, name: str) -> NDArray[np.uint8]:
    """Pixels (H, W) of a grey 8-bit PNG.

    Raises
    ------
    DatasetError
        If it is no whole grey 8-bit PNG, or too large.
    """
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            if image.mode not in ("L", "P", "1") or image.width * image.height > MAX_PIXELS:
                raise DatasetError(
                    f"{name} is a {image.width}×{image.height} PNG of mode {image.mode}, not an 8-bit grey "
                    "one. Import it with `napari-cln import` instead of copying it into the folder."
                )
            return np.array(image, dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as cause:
        raise DatasetError(
            f"{name} is not a whole PNG. Run `napari-cln check` on the training folder to repair it."
        ) from cause


def read_png(path: Path) -> NDArray[np.uint8]:
    """Pixels (H, W) of a PNG in the folder; links are not followed.

    Raises
    ------
    DatasetError
        If it is missing or no readable grey PNG.
    """
    try:
        data = read_bytes(path, MAX_PNG_BYTES)
    except OSError as cause:
        raise DatasetError(
            f"{path.name} can't be read ({cause.strerror}). Run `napari-cln check` on the training folder."
        ) from cause
    return decode_png(data, path.name)


def hash_pixels(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 of pixels in C order, as 64 hexadecimal digits."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


# ------------------------------------------------------------ checksums

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ENDS = 12
"""Bytes of a chunk beside its content: length, kind, CRC."""


def chunks_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The whole chunks of a PNG, kind and content; the last one only where nothing follows it.

    Parameters
    ----------
    data : bytes
    """
    place = len(SIGNATURE)
    while data.startswith(SIGNATURE) and (end := _end_of_chunk(data, place)) is not None:
        kind, content = data[place + 4 : place + 8], data[place + 8 : end - 4]
        is_odd = zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(data[end - 4 : end], "big")
        if is_odd or (kind == b"IEND" and end < len(data)):
            return
        yield kind, content
        place = end


def is_whole_png(data: bytes) -> bool:
    """Tell whether every chunk has the checksum that it carries, and nothing follows the last one."""
    return any(kind == b"IEND" for kind, _ in chunks_of(data))


def flip_png_back(data: bytes) -> bytes | None:
    """Find the one flipped bit of a PNG.

    Returns
    -------
    bytes or None
        The file as it was written; None where it is whole, or more than one bit is wrong.
    """
    if is_whole_png(data):
        return None
    place = len(SIGNATURE)
    while (end := _end_of_chunk(data, place)) is not None:
        carried = int.from_bytes(data[end - 4 : end], "big")
        if zlib.crc32(data[place + 4 : end - 4]) != carried:
            break
        place = end
    for candidate in _candidates(data, place):
        if is_whole_png(candidate):
            return candidate
    return None


def _end_of_chunk(data: bytes, place: int) -> int | None:
    if place + _ENDS > len(data):
        return None
    (length,) = struct.unpack(">I", data[place : place + 4])
    end = place + _ENDS + int(length)
    return end if end <= len(data) else None


def _candidates(data: bytes, place: int) -> Iterator[bytes]:
    """The file with each single bit turned that may be the wrong one in the chunk at ``place``."""
    yield SIGNATURE + data[len(SIGNATURE) :]
    for bit in range(32):
        yield _turned(data, place + bit // 8, bit % 8)
    end = _end_of_chunk(data, place)
    if end is None:
        return
    difference = zlib.crc32(data[place + 4 : end - 4]) ^ int.from_bytes(data[end - 4 : end], "big")
    if difference.bit_count() == 1:
        bit = difference.bit_length() - 1
        yield _turned(data, end - 1 - bit // 8, bit % 8)
    for i in range(end - 5, place + 3, -1):
        if (turned := _BITS.get(difference)) is not None:
            yield _turned(data, i, turned)
            return
        # The difference that a flip one byte earlier would have made.
        low = _LOW[difference >> 24]
        difference = (difference ^ _TABLE[low]) << 8 | low


def _turned(data: bytes, i: int, bit: int) -> bytes:
    if i >= len(data):
        return b""
    changed = bytearray(data)
    changed[i] ^= 1 << bit
    return bytes(changed)


def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _table()
_LOW = {value >> 24: i for i, value in enumerate(_TABLE)}
_BITS = {_TABLE[1 << bit]: bit for bit in range(8)}
