"""A study's clinical records and a model's scores → their fusion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ..disk.cells import parse_number, restored
from ..disk.tables import read_table
from ..errors import DatasetError
from ..folder.dataset import TrainingFolder
from ..study.cases import CaseRow, read_rows
from ..study.fusion import ClinicalRecord, Fusion, fit_fusion, write_fusion


def fuse_study(
    folder: TrainingFolder | str | Path | None,
    scores: str | Path,
    out: str | Path,
    *,
    variables: Sequence[str] | None = None,
    table: str | Path | None = None,
) -> Fusion:
    """Fit image and clinical record on a study, and write the fusion.

    Parameters
    ----------
    folder : TrainingFolder or path, optional
        Whose records hold a clinical part (``napari-cln import --clinical``).
    scores : path
        ``cases.csv`` of a report on cases that the model had not learned from.
    out : path
        JSON to write.
    variables : sequence of str, optional
        Names to take; ``level``, ``side``, ``predicted_short_mm`` and ``predicted_long_mm`` of the scores
        too. All of the records otherwise.
    table : path, optional
        More variables: a column ``id`` (a frame's, or ``id/node``; or ``node`` apart), and one for each.

    Returns
    -------
    Fusion

    Raises
    ------
    DatasetError
        If a file can't be read, there are too few nodes, or all were learned from.
    ExportError
        If the file can't be written.
    """
    rows = [row for row in read_rows(scores) if row.split != "train"]
    if not rows:
        raise DatasetError(
            f"{Path(scores).name} has scores of training cases alone, which flatter the image. Give the "
            "cases.csv of a report on validation or test cases."
        )
    records: dict[str, ClinicalRecord] = {}
    if folder is not None:
        study = folder if isinstance(folder, TrainingFolder) else TrainingFolder.open(folder)
        records |= records_of(study, rows)
    if table is not None:
        for key, record in records_of_table(table).items():
            records[key] = {**records.get(key, {}), **record}
    fusion = fit_fusion(rows, records, variables)
    write_fusion(fusion, out)
    return fusion


def records_of(study: TrainingFolder, rows: Iterable[CaseRow]) -> dict[str, ClinicalRecord]:
    """Clinical records of the frames of some rows, by the frame's id."""
    there = set(study.ids())
    wanted = dict.fromkeys(row.id for row in rows if row.id in there)
    return {case_id: record for case_id in wanted if (record := study.record(case_id).clinical)}


def records_of_table(path: str | Path) -> dict[str, ClinicalRecord]:
    """Variables of a table by frame or node.

    Raises
    ------
    DatasetError
        If it can't be read, has no column ``id``, a node that is no whole number, or two rows of one frame or
        node that contradict.
    """
    table = read_table(Path(path))
    table.require(("id",))
    names = [heading for heading in table.headings if heading not in ("id", "node")]
    records: dict[str, ClinicalRecord] = {}
    for line, row in zip(table.lines, table.rows, strict=True):
        key = restored(row["id"]).strip()
        if row.get("node"):
            key = f"{key}/{_node(row['node'], f'{table.name} in line {line}')}"
        record = {name: value for name in names if (value := _value(row[name])) is not None}
        if records.setdefault(key, record) != record:
            raise DatasetError(
                f"{table.name} has two rows of {key} that contradict, the second in line {line}.",
                "Leave the one that holds.",
            )
    return records


def _node(text: str, place: str) -> int:
    """Number of a node; a spreadsheet or pandas may have made it 1.0, beside an empty cell."""
    with suppress(ValueError):
        number = parse_number(text)
        if number.is_integer():
            return int(number)
    raise DatasetError(f"{place} has the node {text[:40]!r}.", "Give its number in the frame, such as 1.")


def _value(text: str) -> float | str | None:
    if not text.strip():
        return None
    try:
        return parse_number(text)
    except ValueError:
        return text.strip().casefold()
