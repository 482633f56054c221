"""The colours of a PALETTE COLOR picture (DICOM PS3.3 C.7.6.3.1.5 and C.7.9).

Tables are read from their bytes, whatever value representation they claim, and each by its own
descriptor. A table that is missing, or holds another number of entries than it says, is refused:
its colours would be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from . import bytes_of, numbers_of

COLOURS = ("Red", "Green", "Blue")
MAX_ENTRIES = 2**16
DISCRETE, LINEAR, INDIRECT = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Palette:
    """Colours of stored values.

    Parameters
    ----------
    colours : ndarray of uint8, shape (entries, 3)
    first : int
        The stored value of the first entry; lower ones have its colour, higher ones the last's.
    remark : str, optional
        What is odd about it, in a sentence for the user.
    """

    colours: NDArray[np.uint8]
    first: int
    remark: str | None = None

    def paint(self, values: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Colours of stored values (H, W), as (H, W, 3)."""
        return self.colours[np.clip(values.astype(np.int32) - self.first, 0, len(self.colours) - 1)]


def palette_of(header: Dataset, *, is_little_endian: bool = True) -> Palette:
    """Read the palette of a picture.

    The high byte of 16-bit entries is taken. Some scanners fill those with 8-bit values; tables
    with no value above 255 are taken as such.

    Raises
    ------
    ValueError
        If a table is missing or does not fit its descriptor.
    """
    tables = [_table(header, colour, is_little_endian) for colour in COLOURS]
    first = min(start for start, _, _ in tables)
    stop = max(start + len(table) for start, table, _ in tables)
    values = np.arange(first, stop)
    is_high = any(depth == 16 and table.max() > 255 for _, table, depth in tables)
    colours = np.empty((len(values), 3), dtype=np.uint8)
    for channel, (start, table, depth) in enumerate(tables):
        eight = table >> 8 if depth == 16 and is_high else table
        colours[:, channel] = eight[np.clip(values - start, 0, len(table) - 1)]
    differ = len({(start, len(table), depth) for start, table, depth in tables}) > 1
    remark = "The tables of red, green and blue differ in size; each was read by its own description."
    return Palette(colours=colours, first=first, remark=remark if differ else None)


def _table(header: Dataset, colour: str, is_little_endian: bool) -> tuple[int, NDArray[np.uint16], int]:
    """First stored value, entries and bits of an entry of one table."""
    name = colour.lower()
    descriptor = [int(number) for number in numbers_of(header, f"{colour}PaletteColorLookupTableDescriptor")]
    if len(descriptor) != 3:
        raise ValueError(f"its {name} palette is not described")
    entries, first = descriptor[0] % 2**16 or MAX_ENTRIES, descriptor[1]
    if not (-(2**15) <= descriptor[0] <= MAX_ENTRIES and -(2**15) <= first < 2**16):
        raise ValueError(f"its {name} palette says it has {descriptor[0]} entries from {first} on")
    plain, segmented = (
        bytes_of(header, f"{kind}{colour}PaletteColorLookupTableData") for kind in ("", "Segmented")
    )
    data = plain or segmented
    if not data:
        raise ValueError(f"its {name} palette is missing")
    if not is_little_endian:
        data = np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").tobytes()
    if plain:
        if len(data) >= 2 * entries:
            return first, np.frombuffer(data, "<u2", entries), 16
        if len(data) in (entries, entries + entries % 2):
            return first, np.frombuffer(data, np.uint8, entries).astype(np.uint16), 8
        raise ValueError(f"its {name} palette says it has {entries} entries and holds {len(data)} bytes")
    made = 0
    # Writers do not agree on whether offsets of 16-bit segments count bytes or words.
    for depth, unit in ((8, 1), (16, 2), (16, 1)):
        if depth == 8 and descriptor[2] != 8:
            continue
        stored = np.frombuffer(data[: len(data) * 8 // depth * depth // 8], f"<u{depth // 8}")
        expanded = _expand(stored.tolist(), entries, depth, unit)
        if len(expanded) == entries:
            return first, np.array(expanded, dtype=np.uint16), depth
        made = max(made, len(expanded))
    raise ValueError(f"its {name} palette says it has {entries} entries, and its segments make {made}")


def _expand(data: list[int], entries: int, depth: int, unit: int) -> list[int]:
    """Expand segments, to one entry more than there should be at most.

    Parameters
    ----------
    data : list of int
        Segments: kind, length, values.
    entries : int
    depth : int
        Bits of a value.
    unit : int
        Bytes that an offset counts as one value.
    """
    table: list[int] = []
    at, repeats, back = 0, 0, 0  # `repeats` segments are read again before going on at `back`
    while at + 1 < len(data) and len(table) <= entries:
        kind, length = data[at], data[at + 1]
        at += 2
        if kind == DISCRETE:
            table += data[at : at + length]
            at += length
        elif kind == LINEAR and table and at < len(data) and length:
            table += np.rint(np.linspace(table[-1], data[at], length + 1)[1:]).astype(int).tolist()
            at += 1
        elif kind == INDIRECT and not repeats and length:
            words = data[at : at + 32 // depth]
            back, repeats = at + len(words), length
            at = sum(word << depth * place for place, word in enumerate(words)) // unit
            continue
        else:
            break
        if repeats:
            repeats -= 1
            at = at if repeats else back
    return table[: entries + 1]
