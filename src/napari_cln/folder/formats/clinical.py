"""Columns of a clinical record in a table: numbers and a few words, never a date or a name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ...disk.cells import parse_number
from ...disk.tables import Table
from ...errors import DatasetError, listed
from .meaning import same_text

ClinicalValues = Mapping[str, float | str]
"""What is known of a patient, by the heading of its column; a missing value is no entry."""

OLDEST = 90.0
"""Ages above are not kept: with few such patients, an age tells who it is."""
MOST_WORDS = 12
LONGEST = 40
AGES = {"age", "alter", "年龄", "edad", "âge"}
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[ T].*)?|\d{4}年.*|(?:19|20)\d{6}")
MISSING = {"", "na", "n/a", "nan", "none", "null", "unknown", "missing", "-", "?", "."}


def read_clinical(table: Table, columns: Sequence[str]) -> list[ClinicalValues]:
    """Read the named columns of a table, a record for each of its rows.

    Parameters
    ----------
    table : Table
    columns : sequence of str
        Headings, as the table has them.

    Returns
    -------
    list of dict of str to float or str
        Ages of 90 and more as 90; words without case.

    Raises
    ------
    DatasetError
        If there is no such column, or it holds dates, long texts, or more words than a category has: these
        may tell who a patient is.
    """
    known = {same_text(heading): heading for heading in table.headings}
    records: list[dict[str, float | str]] = [{} for _ in table.rows]
    for column in columns:
        heading = known.get(same_text(column))
        if heading is None:
            raise DatasetError(
                f"{table.name} has no column {column!r}; its columns are {', '.join(table.headings)[:200]}. "
                "Give one of them for --clinical."
            )
        words: set[str] = set()
        for line, texts, record in zip(table.lines, table.rows, records, strict=True):
            text = same_text(texts[heading])
            if text in MISSING:
                continue
            value = _value(text, heading, table.name, line)
            if isinstance(value, str):
                words.add(value)
            record[heading] = value
        if len(words) > MOST_WORDS:
            raise DatasetError(
                f"{table.name} has {len(words)} different words in the column {heading!r}, such as "
                f"{listed(sorted(words), 3)}. A clinical record takes numbers and up to {MOST_WORDS} words, "
                "so that no name comes in. Leave the column out, or give classes."
            )
    return list(records)


def _value(text: str, heading: str, name: str, line: int) -> float | str:
    if _DATE.fullmatch(text):
        raise DatasetError(
            f"{name} has a date in line {line} of the column {heading!r}. Dates can tell who a patient is: "
            "give an age or a number of days instead, or leave the column out."
        )
    try:
        number = parse_number(text)
    except ValueError:
        if len(text) > LONGEST:
            raise DatasetError(
                f"{name} has a text of {len(text)} characters in line {line} of the column {heading!r}. A "
                "clinical record takes numbers and single words."
            ) from None
        return text
    return min(number, OLDEST) if same_text(heading) in AGES else number
