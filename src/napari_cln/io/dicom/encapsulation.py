"""Places of the compressed frames of a DICOM file, found by walking its fragments once.

A frame is one fragment or several (DICOM PS3.5 A.4). The offset tables say which; where they
are empty or wrong, a frame starts at each fragment that begins with a start-of-image marker.
Only positions are kept, so that an hour of cine costs a few kilobytes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import BinaryIO, TypeAlias

from pydicom.encaps import parse_basic_offsets

from ..limits import Unreadable

Fragments: TypeAlias = list[tuple[int, int]]
"""``(position in the file, bytes)`` of each fragment."""

ITEM = b"\xfe\xff\x00\xe0"
STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\xff\x0a", b"\0\0\0\x0cJXL ")
"""JPEG family, JPEG 2000 family, JPEG XL."""


def find_fragments(file: BinaryIO) -> tuple[Fragments, list[int]]:
    """Walk the fragments of encapsulated pixel data.

    Parameters
    ----------
    file : binary file
        Positioned at the basic offset table.

    Returns
    -------
    fragments : list of (int, int)
    offsets : list of int
        The basic offset table, relative to the first fragment's item tag; may be empty.

    Raises
    ------
    EOFError
        If the file ends within a fragment.
    """
    offsets = parse_basic_offsets(file)
    position = file.tell()
    size = file.seek(0, os.SEEK_END)
    fragments: Fragments = []
    while True:
        file.seek(position)
        tag, length = file.read(4), int.from_bytes(file.read(4), "little")
        if tag != ITEM:
            return fragments, offsets
        position += 8
        if position + length > size:
            raise EOFError(f"the file ends within part {len(fragments) + 1} of its pixel data")
        fragments.append((position, length))
        position += length


def group_fragments(
    file: BinaryIO, fragments: Fragments, n_frames: int, offsets: Sequence[int] = ()
) -> list[Fragments]:
    """Say which fragments make up each frame; of more frames than the header says, all.

    Parameters
    ----------
    file : binary file
    fragments : list of (int, int)
    n_frames : int
        As the header says.
    offsets : sequence of int
        Start of each frame relative to the first fragment's item tag; ignored where it
        doesn't fit.

    Raises
    ------
    Unreadable
        If the fragments can't make `n_frames` frames.
    """
    filled = sum(length > 0 for _, length in fragments)
    if filled < min(n_frames, len(fragments)) / 2:
        raise Unreadable(f"it holds {filled} of {n_frames} frames")
    if len(fragments) == n_frames:
        return [[fragment] for fragment in fragments]
    if len(fragments) < n_frames:
        raise Unreadable(f"it holds {len(fragments)} of {n_frames} frames")
    first, wanted = fragments[0][0], set(offsets)
    starts = [index for index, (position, _) in enumerate(fragments) if position - first in wanted]
    if len(starts) != n_frames:
        marked = [index for index, (position, _) in enumerate(fragments) if _starts_frame(file, position)]
        starts = marked if len(marked) == n_frames else max(starts, marked, key=len)
    if n_frames == 1 and len(starts) < 2:
        return [fragments]
    if len(starts) < n_frames or starts[0] != 0:
        raise Unreadable(f"its {len(fragments)} parts do not make {n_frames} frames")
    return [fragments[start:stop] for start, stop in zip(starts, [*starts[1:], len(fragments)], strict=True)]


def _starts_frame(file: BinaryIO, position: int) -> bool:
    file.seek(position)
    start = file.read(8)
    return start.startswith(STARTS) or is_run_length_coded(start)


def is_run_length_coded(data: bytes) -> bool:
    """Tell whether a frame is run-length coded: 1 to 15 segments, the first right behind the header."""
    return 1 <= int.from_bytes(data[:4], "little") <= 15 and data[4:8] == b"\x40\0\0\0"


def read_fragments(file: BinaryIO, fragments: Fragments, limit: int | None = None) -> bytes:
    """Read fragments and join them, or the first `limit` bytes of them."""
    parts, left = [], limit
    for position, length in fragments:
        file.seek(position)
        part = file.read(length if left is None else min(length, left))
        parts.append(part)
        if left is not None:
            left -= len(part)
            if left <= 0:
                break
    return b"".join(parts)
