"""PNG's own checksums: whether a file is whole, and the one bit that was flipped.

Each chunk of a PNG carries the CRC-32 of its content. A CRC is linear, so the difference between the
one that is carried and the one that is computed tells which single bit differs (W. W. Peterson and
D. T. Brown, Proc. IRE 49, 1961).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

__all__ = ["flip_png_back", "is_whole_png"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ENDS = 12
"""Bytes of a chunk beside its content: length, kind, CRC."""


def is_whole_png(data: bytes) -> bool:
    """Tell whether every chunk has the checksum that it carries, and nothing follows the last one."""
    place = len(SIGNATURE)
    while (end := _end_of_chunk(data, place)) is not None:
        if zlib.crc32(data[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return False
        if data[place + 4 : place + 8] == b"IEND":
            return data.startswith(SIGNATURE) and end == len(data)
        place = end
    return False


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
