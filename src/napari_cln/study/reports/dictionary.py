"""Original report text → malignant, benign or undetermined, by a dictionary a hospital edits.

The paper's second system (its Table 1): words for abnormal and for normal nodes, here with
negation ("no evidence of metastasis"), doubt ("cannot be excluded"), history, and the organ a
clause speaks of. The words are data, in ``dictionary.toml``.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from ...disk.cells import defused
from ...disk.tables import read_table
from ...errors import ExportError
from .text import Finding, ReportReading, read_report
from .vocabulary import Dictionary, load_dictionary

__all__ = ["Dictionary", "Finding", "ReportReading", "classify_reports", "load_dictionary", "read_report"]


def classify_reports(
    source: str | Path, out: str | Path, dictionary: Dictionary | None = None
) -> Counter[str]:
    """Read a table of reports and write a CSV of labels with their evidence.

    Parameters
    ----------
    source : path
        CSV, TSV or XLSX with the columns ``id`` and ``text``.
    out : path
        Columns ``id``, ``label``, ``evidence``: each matched word with its place in the text. UTF-8. What a
        spreadsheet would run as a formula gets an apostrophe.
    dictionary : Dictionary, optional

    Returns
    -------
    Counter
        Number of reports of each label.

    Raises
    ------
    DatasetError
        If the file can't be read or lacks a column.
    ExportError
        If the result can't be written.
    """
    counts: Counter[str] = Counter()
    rows = []
    table = read_table(source, strip=False)
    table.require(("id", "text"))
    for row in table.rows:
        reading = read_report(row["text"], dictionary)
        counts[reading.label] += 1
        rows.append([defused(row["id"].strip()), reading.label, defused(reading.evidence)])
    try:
        with Path(out).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["id", "label", "evidence"])
            writer.writerows(rows)
    except OSError as cause:
        raise ExportError(
            f"{Path(out).name} can't be written. "
            "Check that its folder exists, and that no other program has it open."
        ) from cause
    return counts
