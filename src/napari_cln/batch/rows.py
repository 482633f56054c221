"""The rows of ``results.csv``: from a prediction to text, and back to what a row is about.

The last cell of each row, ``check``, is a checksum of the frame's rows, with those of its mask and its
overlay. By it a rerun knows what is whole: a power cut, a failing disk or an editor may change any byte.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from ..disk.cells import defused, one_line, printable
from ..imaging.flow import NodeFlow, flow_of_nodes
from ..imaging.measurement import measure_nodes
from ..types import Measurement, Prediction

__all__ = [
    "COLUMNS",
    "FORMATS",
    "HEADING",
    "FrameKey",
    "FrameRows",
    "Row",
    "checksum",
    "csv_line",
    "failed_row",
    "frame_rows",
    "rows_of",
    "signed",
]

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
    "flow_share",
    "flow_central_share",
    "flow_pattern",
    "status",
    "message",
    "check",
)
HEADING = ",".join(COLUMNS) + "\n"
FORMATS = {
    "malignancy": ".4f",
    "cutoff": "g",
    "area_px": ".0f",
    "long_axis_px": ".2f",
    "short_axis_px": ".2f",
    "area_mm2": ".2f",
    "long_axis_mm": ".2f",
    "short_axis_mm": ".2f",
    "flow_share": ".4f",
    "flow_central_share": ".4f",
}
KINDS = ("masks", "overlays")
"""Pictures that a frame may have, in the order of their checksums in its cell."""
LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")

Row: TypeAlias = dict[str, str]
"""Text by column; a column that is not there is empty."""


class FrameKey(NamedTuple):
    """The frame that a row speaks of; -1 for a whole file."""

    source: str
    frame: int


class FrameRows(NamedTuple):
    """The rows of one frame, as they stand in the table.

    Parameters
    ----------
    key : FrameKey
    text : str
        The lines.
    failed : bool
    checks : dict of str to str
        Checksum of the frame's mask and overlay, by ``"masks"`` and ``"overlays"``; empty for what
        was not made.
    """

    key: FrameKey
    text: str
    failed: bool
    checks: Mapping[str, str]


def rows_of(key: FrameKey, prediction: Prediction) -> list[Row]:
    """Return a row per node; one with the frame's own score where there is none."""
    common = {
        "source": key.source,
        "frame": str(key.frame),
        "cutoff": _number("cutoff", prediction.cutoff),
        "model": prediction.model_id,
        "status": prediction.status,
        "message": " ".join(prediction.warnings),
    }
    if not prediction.node_scores:
        score = _number("malignancy", prediction.malignancy)
        return [common | {"malignancy": score, "label": prediction.label}]
    n = len(prediction.node_scores)
    flows = flow_of_nodes(prediction.flow, prediction.instances, range(1, n + 1))
    return [
        common
        | {"node": str(i), "malignancy": _number("malignancy", score), "label": prediction.label_of(score)}
        | _sizes(measurement, prediction)
        | _flow(flow)
        for i, (score, measurement, flow) in enumerate(
            zip(prediction.node_scores, measure_nodes(prediction), flows, strict=True), start=1
        )
    ]


def _flow(flow: NodeFlow | None) -> Row:
    """Cells of a node's flow; none where the frame shows no Doppler over it."""
    if flow is None:
        return {}
    row = {"flow_share": _number("flow_share", flow.share), "flow_pattern": flow.pattern}
    if flow.central_share is None:
        return row
    return row | {"flow_central_share": _number("flow_central_share", flow.central_share)}


def _sizes(measurement: Measurement, prediction: Prediction) -> Row:
    frame = prediction.frame
    names = ["area_px", "long_axis_px", "short_axis_px"]
    if measurement.long_axis_mm is None:
        reason = frame.spacing_note or "The node does not lie inside one calibrated region."
        other = {"message": " ".join((*prediction.warnings, reason))}
    else:
        names += ["area_mm2", "long_axis_mm", "short_axis_mm"]
        other = {"spacing_source": frame.spacing_source or ""}
    return {name: _number(name, getattr(measurement, name)) for name in names} | other


def _number(column: str, value: float) -> str:
    return format(value, FORMATS[column])


def failed_row(key: FrameKey, message: str) -> Row:
    """Return the row of a frame, or of a whole file, that gave no result."""
    frame = str(key.frame) if key.frame >= 0 else ""
    return {"source": key.source, "frame": frame, "status": "failed", "message": message}


def frame_rows(key: FrameKey, rows: Sequence[Row], seed: int, checks: Mapping[str, str]) -> FrameRows:
    """Return a frame's rows as they are written.

    Parameters
    ----------
    key : FrameKey
    rows : sequence of Row
        Of this frame, without their checksum.
    seed : int
        Of all checksums of a folder of results: rows of another model never fit it.
    checks : dict of str to str
        Checksums of the mask and the overlay, where they were made.
    """
    lines = []
    for row in rows:
        row = row | {"message": one_line(row["message"])}
        lines.append(csv_line([printable(row.get(column, "")) for column in COLUMNS[:-1]]))
    failed = any(row["status"] == "failed" for row in rows)
    return FrameRows(key=key, text=signed(lines, seed, checks), failed=failed, checks=checks)


def signed(lines: Sequence[str], seed: int, checks: Mapping[str, str]) -> str:
    """Return a frame's lines, each with the checksum of all in a last cell."""
    others = "-".join(checks.get(kind, "") for kind in KINDS)
    check = f"{checksum(''.join((*lines, others)).encode(), seed)}-{others}"
    return "".join(f"{line[:-1]},{check}\n" for line in lines)


def csv_line(cells: Sequence[str]) -> str:
    """Return one line of CSV that no spreadsheet runs; no cell may hold a line break."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow([defused(cell) for cell in cells])
    return buffer.getvalue()


def checksum(data: bytes | memoryview, seed: int = 0) -> str:
    """Return the CRC-32 of some bytes in eight letters; digits a spreadsheet could take for a number."""
    return f"{zlib.crc32(data, seed):08x}".translate(LETTERS)
