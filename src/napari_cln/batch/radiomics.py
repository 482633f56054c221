"""``radiomics.csv`` beside the results: a row for each node that was measured, of one run after the other."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from ..disk.atomic import remove_result
from ..disk.cells import restored
from ..disk.tables import write_table
from ..errors import RunError
from .rows import read_rows

RADIOMICS = "radiomics.csv"
NODE = ("source", "frame", "node")


def read_measured(folder: Path) -> list[dict[str, str]]:
    """Return the rows of the nodes that stand in the results; none where there is no table.

    Parameters
    ----------
    folder : Path
        Of the results.

    Raises
    ------
    RunError
        If the table is damaged, or another program has saved it in its own dialect.
    ExportError
        If there is no table of results beside it.
    """
    rows = _rows(folder / RADIOMICS)
    if not rows:
        return []
    sources = {row["source"] for row in rows}
    nodes = {
        _node(row) for row in read_rows(folder / "results.csv") if row["source"] in sources and row["node"]
    }
    return [row for row in rows if _node(row) in nodes]


def write_measured(folder: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write the table whole, in the order of the results.

    Parameters
    ----------
    folder : Path
        Of the results.
    rows : iterable of dict

    Raises
    ------
    ExportError
        If the disk refuses; the former file is untouched.
    """
    rows = sorted(rows, key=_node)
    headings = list(dict.fromkeys(name for row in rows for name in row)) or NODE
    write_table(folder / RADIOMICS, headings, ([row.get(name) for name in headings] for row in rows))


def forget_measured(folder: Path, sources: Collection[str]) -> None:
    """Take the rows of sources out of the table; one without any row goes.

    Parameters
    ----------
    folder : Path
        Of the results.
    sources : collection of str

    Raises
    ------
    RunError, ExportError
        As :func:`read_measured` and :func:`write_measured`.
    """
    rows = _rows(folder / RADIOMICS)
    if kept := [row for row in rows if row["source"] not in sources]:
        if len(kept) < len(rows):
            write_measured(folder, kept)
    else:
        remove_result(folder / RADIOMICS)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)
            rows = [{name: restored(text) for name, text in row.items()} for row in table]
        for row in rows:
            _node(row)
            if None in row:
                raise csv.Error("a row has more cells than there are headings")
    except (csv.Error, UnicodeDecodeError, KeyError, TypeError, ValueError) as cause:
        raise RunError(
            f"{path.name} is damaged, or was saved by another program, so that its rows can't be kept beside "
            "others. Move it away; the same command goes on where it stopped."
        ) from cause
    return rows


def _node(row: Mapping[str, object]) -> tuple[str, int, int]:
    source, frame, node = (row[name] for name in NODE)
    return str(source), int(str(frame)), int(str(node))
