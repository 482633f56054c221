"""Tables of calls that people give: of readers, and of original reports."""

from __future__ import annotations

from pathlib import Path

from ..disk.cells import restored
from ..disk.tables import read_table
from ..errors import DatasetError
from .comparison import CALLS

__all__ = ["read_calls"]

NOT_READERS = ("id", "evidence", "text")


def read_calls(path: str | Path, name: str | None = None) -> dict[str, dict[str, str]]:
    """Calls of readers by case id, for :func:`napari_cln.evaluate`.

    Parameters
    ----------
    path : path
        CSV, TSV or XLSX. A column ``id`` (a frame's, or ``frame/node``), and a column for each reader, headed
        by the reader's name, with malignant, benign or undetermined. An empty cell is no call.
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
    table = read_table(path)
    table.require(("id", "label") if name else ("id",))
    readers = [heading for heading in table.headings if heading not in NOT_READERS]
    columns = {name: "label"} if name else {reader: reader for reader in readers}
    if not columns or not table.rows:
        raise DatasetError(f"{path.name} holds no calls. Give a column id and a column for each reader.")
    calls: dict[str, dict[str, str]] = {reader: {} for reader in columns}
    for line, row in zip(table.lines, table.rows, strict=True):
        for reader, column in columns.items():
            call = row[column].casefold()
            if not call:
                continue
            if call not in CALLS:
                raise DatasetError(
                    f"{path.name} has {call[:40]!r} in line {line}. The words are malignant, benign and "
                    "undetermined."
                )
            if calls[reader].setdefault(restored(row["id"]).strip(), call) != call:
                raise DatasetError(
                    f"{path.name} has two calls of {reader} on {row['id']}. Leave the one that holds."
                )
    return calls
