"""What a PNG file says about itself, read from its chunks before a pixel is decoded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["Png", "describe_png"]

SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples a pixel by colour type: grey, RGB, palette, grey + alpha, RGB + alpha."""


@dataclass(frozen=True, kw_only=True)
class Png:
    """Depth and frames of a PNG file.

    ``significant`` is how many bits of a sample count, where the file says (sBIT). ``announced``
    is the number of frames that it claims, ``present`` the number whose data is there, one
    after the other from the first. ``is_annotated_late`` says that text or EXIF data may follow
    the pixels of a 16-bit file.
    """

    bits: int
    samples: int
    significant: int | None = None
    announced: int = 1
    present: int = 1
    is_annotated_late: bool = False


def describe_png(file: BinaryIO) -> Png:
    """Walk the chunks of a PNG file: to its first pixels; of an animation or 16 bits to its end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(8)
    bits, samples, significant, announced = 8, 1, None, None
    stills = frames = 0
    is_open = False  # a frame was begun whose data has not come yet
    has_pixels = is_annotated_late = False
    while len(start := file.read(8)) == 8:
        length, kind, position = int.from_bytes(start[:4], "big"), start[4:], file.tell()
        if position + length > size:
            break
        match kind:
            case b"IHDR":
                head = file.read(10)
                bits, samples = head[8], SAMPLES.get(head[9], 1)
            case b"sBIT":
                significant = max(file.read(length), default=None)
            case b"acTL" if announced is None and not has_pixels:
                announced = int.from_bytes(file.read(4), "big")
            case b"fcTL":
                if is_open:
                    break
                is_open = True
            case b"IDAT" | b"fdAT" if length > (4 if kind == b"fdAT" else 0):
                if announced is None and bits != 16:
                    break
                has_pixels = True
                if is_open:
                    frames += 1
                elif not frames:
                    stills = 1  # the picture for those who know no animation
                is_open = False
            case b"eXIf" | b"tEXt" | b"zTXt" | b"iTXt" if has_pixels:
                is_annotated_late = True
        file.seek(position + length + 4)
    return Png(
        bits=bits,
        samples=samples,
        significant=significant,
        announced=max(1, (announced or 0) + stills),
        present=max(1, frames + stills),
        is_annotated_late=is_annotated_late,
    )
