"""Boxes of MP4, JPEG 2000 and JPEG XL files: a length, a kind of four letters, and what is in it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["walk_boxes"]


def walk_boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Walk the boxes of a file, without looking into them.

    Parameters
    ----------
    file : binary file

    Yields
    ------
    (bytes, int, int)
        Kind, and where the content of the box starts and stops.
    """
    end = file.seek(0, io.SEEK_END)
    at = 0
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size, start = int.from_bytes(head[:4], "big"), at + 8
        if size == 1:
            size, start = int.from_bytes(head[8:16], "big"), at + 16
        stop = min(at + size, end) if size else end
        if stop < start:
            return
        yield head[4:8], start, stop
        at = stop
