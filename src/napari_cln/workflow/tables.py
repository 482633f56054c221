"""Tables of results, written whole or not at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..disk.atomic import write_atomically
from ..disk.cells import defused
from ..errors import ExportError


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table of which no cell is run as a formula by a spreadsheet.

    Parameters
    ----------
    path : Path
    columns : sequence of str
    rows : iterable of sequence
        Cells in the order of the columns.

    Raises
    ------
    ExportError
        If it can't be written.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([defused(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    write_result(path, buffer.getvalue().encode())


def write_result(path: Path, content: bytes) -> None:
    """Write a file of results.

    Parameters
    ----------
    path : Path
        Its folder is made where it is not there.
    content : bytes

    Raises
    ------
    ExportError
        If it can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as cause:
        raise ExportError(
            f"{path.name} can't be written ({cause.strerror}).", "Make room, or close it in other programs."
        ) from cause
