"""Pages of a TIFF file, found by walking its directories without decoding any.

A page is a directory of tags (TIFF 6.0, section 2). Only those that say how large a page is and
what it is for are looked at, so that a file with very many pages is opened at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

from .limits import MAX_FRAMES

NEW_SUBFILE, OLD_SUBFILE, COLUMNS, ROWS, SUB_DIRECTORIES = 254, 255, 256, 257, 330
WANTED = frozenset({NEW_SUBFILE, OLD_SUBFILE, COLUMNS, ROWS, SUB_DIRECTORIES})
INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""How a value is packed, by type."""
REDUCED, MASK = 1, 4
Tags: TypeAlias = dict[int, tuple[int, int, int]]
"""Type, number of values, and the value (or where the values are), by tag."""
MAX_TAGS = 4096


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page: its number (and that below it, where it is a page's own page), size and purpose."""

    number: tuple[int, ...]
    rows: int = 0
    columns: int = 0
    is_copy: bool = False
    """A thumbnail, a copy at lower resolution or a mask of another page."""


def list_pages(file: BinaryIO, size: int) -> list[Page]:
    """List the pages of a TIFF file, each followed by the pages it holds itself.

    Parameters
    ----------
    file : binary file
    size : int
        Bytes of the file.
    """
    file.seek(0)
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    is_big = struct.unpack(f"{order}H", head[2:4])[0] == 43
    walker = _Walker(file, size, order, is_big)
    (first,) = struct.unpack(f"{order}Q" if is_big else f"{order}I", head[8:16] if is_big else head[4:8])
    pages: list[Page] = []
    for number, tags in enumerate(walker.follow(first)):
        pages.append(_page((number,), tags))
        if SUB_DIRECTORIES in tags:
            for below, offset in enumerate(walker.values(tags[SUB_DIRECTORIES])):
                pages += [_page((number, below), inner) for inner in walker.follow(offset, 1)]
    return pages


def _page(number: tuple[int, ...], tags: Tags) -> Page:
    def value(tag: int) -> int:
        return tags[tag][2] if tag in tags else 0

    is_copy = bool(value(NEW_SUBFILE) & (REDUCED | MASK)) or value(OLD_SUBFILE) == 2
    return Page(number=number, rows=value(ROWS), columns=value(COLUMNS), is_copy=is_copy)


class _Walker:
    """Directories of one file, each visited once."""

    def __init__(self, file: BinaryIO, size: int, order: str, is_big: bool) -> None:
        self._file, self._size, self._order = file, size, order
        # tag, type, number of values, and the value itself where it is short enough
        self._entry = struct.Struct(f"{order}HHQ8s" if is_big else f"{order}HHI4s")
        self._count = struct.Struct(f"{order}Q" if is_big else f"{order}H")
        self._offset = struct.Struct(f"{order}Q" if is_big else f"{order}I")
        self._seen: set[int] = set()

    def follow(self, offset: int, limit: int = MAX_FRAMES + 1) -> Iterator[Tags]:
        """Tags that matter of each directory from `offset` on."""
        while 0 < offset < self._size and offset not in self._seen and limit:
            self._seen.add(offset)
            limit -= 1
            self._file.seek(offset)
            start = self._file.read(self._count.size)
            if len(start) < self._count.size:
                return
            count = self._count.unpack(start)[0] * self._entry.size
            if count > MAX_TAGS * self._entry.size:
                return
            data = self._file.read(count + self._offset.size)
            if len(data) < count:
                return
            tags = {}
            for tag, kind, number, value in self._entry.iter_unpack(data[:count]):
                if tag in WANTED and kind in INTEGERS:
                    form = self._order + INTEGERS[kind]
                    if number != 1:
                        form = self._order + INTEGERS[4 if len(value) == 4 else 16]
                    tags[tag] = kind, number, struct.unpack_from(form, value)[0]
            yield tags
            if len(data) < count + self._offset.size:
                return
            (offset,) = self._offset.unpack_from(data, count)

    def values(self, tag: tuple[int, int, int]) -> list[int]:
        """All values of a tag, up to what the file can hold."""
        kind, count, value = tag
        if count == 1:
            return [value]
        size = struct.calcsize(INTEGERS[kind])
        self._file.seek(value)
        data = self._file.read(min(count, MAX_TAGS) * size)
        return list(
            struct.unpack(
                f"{self._order}{len(data) // size}{INTEGERS[kind]}", data[: len(data) // size * size]
            )
        )


def choose_pages(pages: list[Page]) -> tuple[list[Page], list[str]]:
    """Choose the pages that are frames, and say what of the others.

    Frames are pages of one size that are no copy of another: of several sizes, the one that holds
    most pixels in all, so that neither a thumbnail that comes first nor a single report page that
    is larger takes the place of the cine.
    """
    whole = [page for page in pages if not page.is_copy]
    candidates = [page for page in whole if len(page.number) == 1] or whole or pages
    areas: dict[tuple[int, int], int] = {}
    for page in candidates:
        size = page.rows, page.columns
        areas[size] = areas.get(size, 0) + page.rows * page.columns
    best = max(areas, key=lambda size: areas[size], default=(0, 0))
    chosen = [page for page in candidates if (page.rows, page.columns) == best]
    copies = [page for page in pages if page.is_copy and page not in chosen]
    others = len(pages) - len(chosen) - len(copies)
    left = ((others, "have another size"), (len(copies), "are thumbnails, smaller copies or masks"))
    return chosen, [f"{n} of {len(pages)} pages {what} and are left out." for n, what in left if n]
