"""Tables that people give: calls of readers, verdicts of reports, reports themselves."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from pathlib import Path

from ..disk.cells import restored
from ..errors import DatasetError
from .comparison import CALLS

__all__ = ["read_calls", "read_table"]

NOT_READERS = ("id", "evidence", "text")


def read_table(path: str | Path, needed: Collection[str]) -> list[dict[str, str]]:
    """Read a CSV by its headings; UTF-8, or GB 18030 as Chinese spreadsheets write it.

    Raises
    ------
    DatasetError
        If the file can't be read or lacks a column.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as cause:
        raise DatasetError(f"{path.name} can't be read. Check the path and its permissions.") from cause
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        reader = csv.DictReader(io.StringIO(text, newline=""))
        missing = set(needed) - set(reader.fieldnames or ())
        if missing:
            raise DatasetError(
                f"{path.name} has no column {' and no column '.join(sorted(missing))}. "
                f"Give a CSV whose first line names the columns {' and '.join(needed)}."
            )
        return list(reader)
    raise DatasetError(f"{path.name} is neither UTF-8 nor GB 18030 text. Save it as CSV UTF-8 and try again.")


def read_calls(path: str | Path, name: str | None = None) -> dict[str, dict[str, str]]:
    """Calls of readers by case id, for :func:`napari_cln.evaluate`.

    Parameters
    ----------
    path : path
        A column ``id`` (a frame's, or ``frame/node``), and a column for each reader, headed by
        the reader's name, with malignant, benign or undetermined. An empty cell is no call.
    name : str, optional
        Of the only reader, whose column is ``label``: what ``napari-cln reports`` writes.

    Returns
    -------
    dict of str to dict of str to str

    Raises
    ------
    DatasetError
        If the file can't be read, lacks a column, has another word, or two calls on one case.
    """
    path = Path(path)
    rows = read_table(path, ("id", "label") if name else ("id",))
    readers = [c for c in (rows[0] if rows else ()) if c and c not in NOT_READERS]
    columns = {name: "label"} if name else {reader: reader for reader in readers}
    if not columns:
        raise DatasetError(f"{path.name} holds no calls. Give a column id and a column for each reader.")
    calls: dict[str, dict[str, str]] = {reader: {} for reader in columns}
    for line, row in enumerate(rows, start=2):
        for reader, column in columns.items():
            call = (row[column] or "").strip().casefold()
            if not call:
                continue
            if call not in CALLS:
                raise DatasetError(
                    f"{path.name} has {call[:40]!r} in line {line}. The words are malignant, benign and "
                    "undetermined."
                )
            if calls[reader].setdefault(restored(row["id"] or "").strip(), call) != call:
                raise DatasetError(
                    f"{path.name} has two calls of {reader} on {row['id']}. Leave the one that holds."
                )
    return calls
