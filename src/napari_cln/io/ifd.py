"""Which pages a TIFF file has, found by walking its directories without decoding any.

A page is a directory of tags (TIFF 6.0, section 2). Only those that say how large a page is and
what it is for are looked at, so that a file with very many pages is opened at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal, TypeAlias

from .limits import MAX_FRAMES

__all__ = ["Page", "choose_pages", "list_pages"]

NEW_SUBFILE, OLD_SUBFILE, COLUMNS, ROWS, SUB_DIRECTORIES = 254, 255, 256, 257, 330
INTEGERS = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}
"""Bytes of a value, by type."""
REDUCED, MASK = 1, 4
Order: TypeAlias = Literal["little", "big"]
MAX_TAGS = 4096


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page: its number (and that below it, where it is a page's own page), size and purpose."""

    number: tuple[int, ...]
    rows: int = 0
    columns: int = 0
    is_copy: bool = False
    """A thumbnail, a copy at lower resolution or a mask of another page."""


def list_pages(file: BinaryIO) -> list[Page]:
    """List the pages of a TIFF file, each followed by the pages it holds itself.

    Parameters
    ----------
    file : binary file
    """
    file.seek(0)
    head = file.read(16)
    order: Order = "little" if head[:2] == b"II" else "big"
    is_big = int.from_bytes(head[2:4], order) == 43
    walker = _Walker(file, order, is_big)
    first = int.from_bytes(head[8:16] if is_big else head[4:8], order)
    pages: list[Page] = []
    for number, tags in enumerate(walker.follow(first)):
        pages.append(_page((number,), tags))
        offsets = walker.values(tags.get(SUB_DIRECTORIES))
        for below, offset in enumerate(offsets):
            pages += [_page((number, below), inner) for inner in walker.follow(offset, 1)]
    return pages


def _page(number: tuple[int, ...], tags: dict[int, tuple[int, int, int]]) -> Page:
    def value(tag: int) -> int:
        return tags.get(tag, (0, 0, 0))[2]

    is_copy = bool(value(NEW_SUBFILE) & (REDUCED | MASK)) or value(OLD_SUBFILE) == 2
    return Page(number=number, rows=value(ROWS), columns=value(COLUMNS), is_copy=is_copy)


class _Walker:
    """Directories of one file, each visited once."""

    def __init__(self, file: BinaryIO, order: Order, is_big: bool) -> None:
        self._file, self._order, self._is_big = file, order, is_big
        self._size = file.seek(0, os.SEEK_END)
        self._seen: set[int] = set()

    def _number(self, data: bytes) -> int:
        return int.from_bytes(data, self._order)

    def follow(self, offset: int, limit: int = MAX_FRAMES + 1) -> Iterator[dict[int, tuple[int, int, int]]]:
        """Tags that matter of each directory from `offset` on: ``{tag: (type, count, value)}``."""
        wide, narrow, entry = (8, 8, 20) if self._is_big else (4, 2, 12)
        while 0 < offset < self._size and offset not in self._seen and limit:
            self._seen.add(offset)
            limit -= 1
            self._file.seek(offset)
            count = self._number(self._file.read(narrow))
            if count > MAX_TAGS:
                return
            data = self._file.read(count * entry + wide)
            tags = {}
            for at in range(0, min(len(data), count * entry) - entry + 1, entry):
                tag, kind = self._number(data[at : at + 2]), self._number(data[at + 2 : at + 4])
                if tag in (NEW_SUBFILE, OLD_SUBFILE, COLUMNS, ROWS, SUB_DIRECTORIES) and kind in INTEGERS:
                    start = at + 4 + wide
                    number = self._number(data[at + 4 : start])
                    inside = INTEGERS[kind] * number <= wide
                    value = data[start : start + (INTEGERS[kind] if inside and number == 1 else wide)]
                    tags[tag] = kind, number, self._number(value)
            yield tags
            offset = self._number(data[count * entry : count * entry + wide])

    def values(self, tag: tuple[int, int, int] | None) -> list[int]:
        """All values of a tag, up to what the file can hold."""
        if tag is None:
            return []
        kind, count, value = tag
        if count == 1:
            return [value]
        length = INTEGERS[kind]
        self._file.seek(value)
        data = self._file.read(min(count * length, MAX_TAGS * 8))
        return [self._number(data[at : at + length]) for at in range(0, len(data) - length + 1, length)]


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
