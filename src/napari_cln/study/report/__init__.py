"""An evaluation as ``report.html``, ``report.pdf``, ``report.json`` and ``cases.csv``; imports matplotlib."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ...disk.atomic import write_atomically
from ...errors import ExportError
from ..cases import write_rows
from ..evaluation import Evaluation
from .checklist import checklist_section
from .diagnosis_sections import diagnosis_section, flow_section
from .group_sections import (
    comparison_section,
    hospital_section,
    reader_study_section,
    subgroup_section,
)
from .mask_sections import axes_section, detection_section, gallery_section, mask_section
from .overview import overview
from .pages import Section
from .printing import html_page, pdf_file
from .record_section import record_section

__all__ = ["report_sections", "write_report"]


def write_report(evaluation: Evaluation, out: str | Path) -> Path:
    """Write the report of an evaluation into a folder.

    Parameters
    ----------
    evaluation : Evaluation
    out : path
        Made when it is not there. ``report.html`` is one file that needs no other; it and
        ``report.pdf`` say the same; ``cases.csv`` is the table that every figure follows from.
        ``report.json``, the first screen for other programs, is removed first and written last: where it
        is, the report is whole. Each file is written whole or not at all.

    Returns
    -------
    Path
        Of ``report.html``.

    Raises
    ------
    ExportError
        If the folder can't be written to.
    """
    folder = Path(out)
    first, sections = overview(evaluation), report_sections(evaluation)
    about = {
        "model": evaluation.model,
        "split": evaluation.config.split,
        "cutoff": asdict(evaluation.cutoff),
    }
    text = json.dumps({**asdict(first), **about}, ensure_ascii=False, indent=1, allow_nan=False)
    printed = pdf_file(first, sections, evaluation.config.confidence)
    page, last = folder / "report.html", folder / "report.json"
    html = html_page(first, sections)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        last.unlink(missing_ok=True)
        write_rows(evaluation.rows, folder / "cases.csv")
        write_atomically(folder / "report.pdf", printed)
        write_atomically(page, html.encode())
        write_atomically(last, f"{text}\n".encode())
    except OSError as cause:
        raise ExportError(
            f"The report can't be written into {folder.name} ({cause.strerror}). Choose a folder where you "
            "may write, with free space, and close a report.pdf that is open elsewhere."
        ) from cause
    return page


def report_sections(evaluation: Evaluation) -> tuple[Section, ...]:
    """Everything after the first screen, in the order of a paper."""
    parts = [
        flow_section(evaluation),
        *(diagnosis_section(evaluation, found) for found in (evaluation.nodes, evaluation.patients) if found),
        mask_section(evaluation),
        detection_section(evaluation),
        axes_section(evaluation),
        subgroup_section(evaluation),
        hospital_section(evaluation),
        comparison_section(evaluation),
        reader_study_section(evaluation),
        record_section(evaluation),
        gallery_section(evaluation),
        checklist_section(evaluation),
    ]
    return tuple(part for part in parts if part is not None)
