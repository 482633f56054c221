"""The rows of ``results.csv``: from a prediction to text, and back to what a row is about."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from ..imaging.measurement import measure_nodes
from ..types import Measurement, Prediction

__all__ = ["COLUMNS", "FrameKey", "Row", "csv_line", "failed_row", "key_of", "parsed", "rows_of"]

COLUMNS = (
    "source",
    "frame",
    "node",
    "malignancy",
    "label",
    "cutoff",
    "model",
    "area_px",
    "long_axis_px",
    "short_axis_px",
    "area_mm2",
    "long_axis_mm",
    "short_axis_mm",
    "spacing_source",
    "status",
    "message",
)
Row: TypeAlias = dict[str, str]
"""Text by column; a column that is not there is empty."""


class FrameKey(NamedTuple):
    """Which frame a row speaks of; -1 for a file that could not be opened."""

    source: str
    frame: int


def rows_of(key: FrameKey, prediction: Prediction) -> list[Row]:
    """A row per node; one with the frame's own score where there is none."""
    common = {
        "source": key.source,
        "frame": str(key.frame),
        "cutoff": f"{prediction.cutoff:g}",
        "model": prediction.model_id,
        "status": prediction.status,
        "message": _one_line(*prediction.warnings),
    }
    if not prediction.node_scores:
        return [common | {"malignancy": f"{prediction.malignancy:.4f}", "label": prediction.label}]
    return [
        common
        | {"node": str(i), "malignancy": f"{score:.4f}", "label": prediction.label_of(score)}
        | _sizes(measurement, prediction)
        for i, (score, measurement) in enumerate(
            zip(prediction.node_scores, measure_nodes(prediction), strict=True), start=1
        )
    ]


def _sizes(measurement: Measurement, prediction: Prediction) -> Row:
    frame = prediction.frame
    in_px = {
        "area_px": f"{measurement.area_px:.0f}",
        "long_axis_px": f"{measurement.long_axis_px:.2f}",
        "short_axis_px": f"{measurement.short_axis_px:.2f}",
    }
    if measurement.long_axis_mm is None:
        reason = frame.spacing_note or "The node does not lie inside one calibrated region."
        return in_px | {"message": _one_line(*prediction.warnings, reason)}
    return in_px | {
        "area_mm2": f"{measurement.area_mm2:.2f}",
        "long_axis_mm": f"{measurement.long_axis_mm:.2f}",
        "short_axis_mm": f"{measurement.short_axis_mm:.2f}",
        "spacing_source": frame.spacing_source or "",
    }


def failed_row(key: FrameKey, message: str) -> Row:
    """The row of a frame, or of a whole file, that gave no result."""
    frame = str(key.frame) if key.frame >= 0 else ""
    return {"source": key.source, "frame": frame, "status": "failed", "message": _one_line(message)}


def _one_line(*sentences: str) -> str:
    return " ".join(" ".join(sentences).split())


def csv_line(fields: Sequence[str]) -> str:
    """One line of CSV; no field holds a line break, so that a cut file ends in at most one cut row."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(fields)
    return buffer.getvalue()


def parsed(line: str) -> Row | None:
    """A line's text by column; None for a line that was cut or is not ours."""
    fields = next(csv.reader([line])) if line.endswith("\n") else []
    if len(fields) != len(COLUMNS) or not (fields[1] or "0").isdecimal():
        return None
    return dict(zip(COLUMNS, fields, strict=True))


def key_of(row: Row) -> FrameKey:
    """Which frame a row speaks of."""
    return FrameKey(row["source"], int(row["frame"] or -1))
