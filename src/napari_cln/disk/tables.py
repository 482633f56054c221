"""Tables that people give, and those that they get.

CSV in the dialects of spreadsheets, TSV and XLSX are read one way for all.

Comma, semicolon or tabulator between the columns; UTF-8 (with or without a byte-order mark), UTF-16,
Windows-1252 or GB 18030; from XLSX the values as they are shown, by openpyxl, read-only. What a table
was read as is part of the answer, so that it can be said.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
import zipfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path

from ..errors import DatasetError
from .atomic import write_result
from .cells import defused

ENDINGS = (".csv", ".tsv", ".xlsx", ".xlsm")
MAX_BYTES = 2**28
MAX_UNPACKED_BYTES = 2**30
MAX_ROWS, MAX_COLUMNS, MAX_CELL = 2_000_000, 2_000, 100_000
ZIP = b"PK\x03\x04"
OLD_EXCEL = b"\xd0\xcf\x11\xe0"
_BLANKS = " \t\r\n\v\f\ufeff\xa0\u2007\u202f\u3000"
_UTF16 = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table by its headings.

    Parameters
    ----------
    name : str
        Of its file.
    headings : tuple of str
        In order, without surrounding blanks.
    rows : list of dict of str to str
        Text by heading; rows without any text are left out.
    lines : list of int
        Line, or row of the sheet, on which each row stands, from 1.
    read_as : str
        Encoding and separator, or sheet: how it was read.
    """

    name: str
    headings: tuple[str, ...]
    rows: list[dict[str, str]]
    lines: list[int]
    read_as: str

    def require(self, needed: Collection[str]) -> None:
        """Refuse a table that lacks a column.

        Raises
        ------
        DatasetError
            If a heading is missing; the message names it and those that are there.
        """
        missing = [name for name in needed if name not in self.headings]
        if missing:
            raise DatasetError(
                f"{self.name} has no column {' and no column '.join(missing)}; its columns are "
                f"{', '.join(self.headings)[:200] or 'none'}. Give a table whose first row names the columns "
                f"{' and '.join(needed)}."
            )


def is_hidden(path: Path) -> bool:
    """Tell whether a file is another program's own: a dot file, a Mac's ``._`` copy, a workbook's lock."""
    return path.name.startswith((".", "~$")) or path.name.casefold() in ("thumbs.db", "desktop.ini")


def read_table(path: Path | str, *, strip: bool = True) -> Table:
    """Read a table with a row of headings.

    Parameters
    ----------
    path : Path or str
        CSV, TSV or XLSX; what it is, is seen from its content.
    strip : bool
        Take blanks around the text of cells away. A text in whose places something is looked up keeps them.

    Returns
    -------
    Table

    Raises
    ------
    DatasetError
        If it can't be read, is too large, has no headings, or names a column twice.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DatasetError(f"{path.name} is larger than a table can be. Check that it is a CSV file.")
        data = path.read_bytes()
    except OSError as cause:
        raise DatasetError(
            f"{path.name} can't be read ({cause.strerror}). Check the path and its permissions."
        ) from cause
    if data.startswith(OLD_EXCEL) or path.suffix.casefold() in (".xls", ".ods"):
        raise DatasetError(
            f"{path.name} is a workbook of a kind that is not read here. Save it as XLSX or as CSV UTF-8."
        )
    cells, read_as = _sheet(path, data) if data.startswith(ZIP) else _text_cells(path, data)
    return _table(path, cells, read_as, strip)


_NEGATIVE = re.compile(r"-[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?")
"""A number that begins like a formula and is none."""


def write_table(path: Path, headings: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table as CSV in UTF-8, whole or not at all; None is an empty cell, yes and no are 1 and 0.

    A text that a spreadsheet would run as a formula gets an apostrophe (:func:`.cells.defused`).

    Parameters
    ----------
    path : Path
    headings : sequence of str
    rows : iterable of iterable
        Cells in the order of the headings.

    Raises
    ------
    ExportError
        If the disk refuses; the former file is untouched.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows(map(_written, row) for row in rows)
    write_result(path, buffer.getvalue().encode())


def _written(value: object) -> object:
    if isinstance(value, str):
        return value if _NEGATIVE.fullmatch(value) else defused(value)
    return int(value) if isinstance(value, bool) else value


def _table(path: Path, cells: list[tuple[int, list[str]]], read_as: str, strip: bool) -> Table:
    if not cells:
        raise DatasetError(f"{path.name} is empty. Give a row of headings and a row per image.")
    _, first = cells[0]
    headings = [_tidy(heading) for heading in first]
    while headings and not headings[-1]:
        headings.pop()
    named = [heading for heading in headings if heading]
    if doubled := sorted({heading for heading in named if named.count(heading) > 1}):
        raise DatasetError(
            f"{path.name} has the column {doubled[0]!r} twice. Rename one: which of them holds is not clear."
        )
    rows, lines = [], []
    for line, texts in cells[1:]:
        texts = [text.strip(_BLANKS) for text in texts] if strip else texts
        row = {heading: text for heading, text in zip(headings, texts, strict=False) if heading}
        beyond = [text for text in texts[len(headings) :] if text.strip()]
        if beyond:
            raise DatasetError(
                f"{path.name} has more cells in line {line} than headings: {beyond[0][:40]!r}. Quote cells "
                f"that hold the separator; it was read as {read_as}."
            )
        if any(text.strip(_BLANKS) for text in row.values()):
            rows.append(dict.fromkeys(named, "") | row)
            lines.append(line)
    return Table(name=path.name, headings=tuple(named), rows=rows, lines=lines, read_as=read_as)


def _tidy(text: str) -> str:
    """A heading without surrounding blanks, in the form in which letters with marks are one character."""
    return unicodedata.normalize("NFC", text).strip(_BLANKS)


# ------------------------------------------------------------ text


def _text_cells(path: Path, data: bytes) -> tuple[list[tuple[int, list[str]]], str]:
    try:
        text, encoding = decode_text(data)
    except UnicodeDecodeError as cause:
        raise DatasetError(
            f"{path.name} is no text in UTF-8, UTF-16, Windows-1252 or GB 18030. Save it as CSV UTF-8."
        ) from cause
    if "\0" in text:
        raise DatasetError(f"{path.name} holds zero bytes, as damaged files do. Save it as CSV UTF-8 again.")
    separator, text = _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    cells: list[tuple[int, list[str]]] = []
    try:
        for row in reader:
            if len(row) > MAX_COLUMNS or len(cells) > MAX_ROWS:
                raise csv.Error("too many cells")
            if any(cell.strip() for cell in row):
                cells.append((reader.line_num, row))
    except csv.Error as cause:
        raise DatasetError(
            f"{path.name} is not a readable table (line {reader.line_num}: {cause}). Save it as CSV (UTF-8) "
            "with a row of headings."
        ) from cause
    names = {",": "commas", ";": "semicolons", "\t": "tabulators"}
    return cells, f"{encoding} with {names[separator]}"


def decode_text(data: bytes) -> tuple[str, str]:
    """Text of a table, and the encoding in which it was read.

    UTF-8 is certain: hardly any other text happens to be valid UTF-8. What is left was written by a
    spreadsheet in the computer's own encoding. In Chinese (GB 18030) nearly all bytes above 127 come in
    pairs, in Western European text (Windows-1252) they stand alone between letters.

    Parameters
    ----------
    data : bytes

    Raises
    ------
    UnicodeDecodeError
        If it is none of the encodings.
    """
    if (encoding := _UTF16.get(data[:2])) is not None:
        return data.decode(encoding), "UTF-16"
    for first, order in ((1, "utf-16-le"), (0, "utf-16-be")):
        half = data[first:400:2]
        if len(half) > 1 and half.count(0) > 0.8 * len(half) and data[1 - first : 400 : 2].count(0) == 0:
            return data.decode(order), "UTF-16"  # without a mark, in letters of one byte
    try:
        return data.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        pass
    runs = re.findall(rb"[\x80-\xff]+", data)
    if sum(_is_utf8(run) for run in runs) > 0.5 * len(runs):
        data.decode("utf-8")  # damaged, or pasted together from two encodings: raises
    in_pairs = sum(len(run) for run in runs if len(run) % 2 == 0)
    if in_pairs > 0.8 * sum(map(len, runs)):
        try:
            return data.decode("gb18030"), "GB 18030"
        except UnicodeDecodeError:
            pass
    return data.decode("cp1252"), "Windows-1252"


def _is_utf8(run: bytes) -> bool:
    try:
        run.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _separator(text: str) -> tuple[str, str]:
    """Separator of the columns, and the text after Excel's own line that names it."""
    if match := re.match(r'"?sep=([,;\t])"?\r?\n', text):
        return match[1], text[match.end() :]
    head = next((line for line in text.splitlines() if line.strip()), "")
    unquoted = re.sub(r'"[^"]*"', "", head)
    return max(",;\t", key=unquoted.count), text


# ------------------------------------------------------------ XLSX


def _sheet(path: Path, data: bytes) -> tuple[list[tuple[int, list[str]]], str]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            names = {entry.filename for entry in entries}
            if sum(entry.file_size for entry in entries) <= MAX_UNPACKED_BYTES:
                _check_cells(path, archive)
        if "xl/workbook.xml" not in names:
            raise DatasetError(
                f"{path.name} is an archive, but no XLSX workbook. Unpack it, or save it as CSV."
            )
        if sum(entry.file_size for entry in entries) > MAX_UNPACKED_BYTES:
            raise DatasetError(f"{path.name} unpacks to more than a table can hold. Save it as CSV UTF-8.")
        from openpyxl import load_workbook

        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        try:
            filled = [(sheet.title, cells) for sheet in book.worksheets if (cells := list(_rows(sheet)))]
        finally:
            book.close()
    except DatasetError:
        raise
    except Exception as cause:  # openpyxl raises what its parsers raise
        raise DatasetError(
            f"{path.name} is not a readable XLSX workbook ({type(cause).__name__}). Save it as CSV UTF-8."
        ) from cause
    if not filled:
        raise DatasetError(f"{path.name} is empty. Give a row of headings and a row per image.")
    if len(filled) > 1:
        raise DatasetError(
            f"{path.name} has {len(filled)} sheets: {', '.join(title for title, _ in filled)[:200]}. Keep "
            "the one with the table, or save that as CSV UTF-8."
        )
    title, cells = filled[0]
    return cells, f"XLSX, sheet {title}"


def _check_cells(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse what a reader of values would show as empty: merged cells, and formulas without a value."""
    for entry in archive.infolist():
        if not re.fullmatch(r"xl/worksheets/[^/]+\.xml", entry.filename):
            continue
        for cell in _cells_of(archive, entry):
            if match := re.search(rb'<mergeCell [^>]*ref="([A-Z0-9:]{1,20})"', cell):
                raise DatasetError(
                    f"{path.name} has merged cells ({match[1].decode()}), of which all but the first are "
                    "empty. Unmerge them, fill each cell, and save the table."
                )
            if (b"<f>" in cell or b"<f " in cell) and not re.search(rb"<v>[^<]", cell):
                place = re.match(rb'[^>]*r="([A-Z0-9]{1,12})"', cell)
                raise DatasetError(
                    f"{path.name} has a formula without a value in cell "
                    f"{place[1].decode() if place else '?'}. Open it in a spreadsheet program and save it "
                    "there, so that the values are in the file."
                )


def _cells_of(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """Text of a sheet, cell by cell, without holding more than some megabytes of it."""
    rest = b""
    with archive.open(entry) as file:
        while block := file.read(2**20):
            *whole, rest = (rest + block).split(b"<c ")
            yield from whole
            rest = rest[-(2**20) :]
    yield rest


def _rows(sheet: object) -> Iterator[tuple[int, list[str]]]:
    for number, values in enumerate(sheet.iter_rows(values_only=True), start=1):  # type: ignore[attr-defined]
        if number > MAX_ROWS or len(values) > MAX_COLUMNS:
            raise ValueError("too many cells")
        texts = [_cell(value) for value in values]
        if any(text.strip() for text in texts):
            yield number, texts


def _cell(value: object) -> str:
    """A cell as text: whole numbers without a point, times as ISO writes them."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    return str(value)[:MAX_CELL]
