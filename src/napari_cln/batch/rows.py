"""The rows of ``results.csv``: from a prediction to text, and read back frame by frame.

The last cell of each row, ``check``, is a checksum of the frame's rows, with those of its mask and its
overlay. By it a rerun knows what is whole: a power cut, a failing disk or an editor may change any byte. A
table that was saved by a spreadsheet, with other separators, decimal signs or encoding, is read too: its
numbers are written again as they were, and the checksum tells whether they are the same.
"""

from __future__ import annotations

import csv
import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias

from ..disk.cells import defused, one_line, parse_number, parse_whole, printable, restored
from ..errors import ExportError
from ..imaging.measurement import Measurement, measure_nodes
from ..imaging.overlay import NodeFlow, flow_of_nodes
from ..study.reading import node_sentences
from ..types import Prediction

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
    "stiffness",
    "sentence",
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
    "stiffness": ".4f",
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
    stiffness = prediction.stiffness or (None,) * n
    sizes = measure_nodes(prediction)
    sentences = node_sentences(prediction, sizes, flows)
    return [
        common
        | {
            "node": str(i),
            "message": " ".join(prediction.warnings_of(i)),
            "malignancy": _number("malignancy", score),
            "label": prediction.label_of(score),
        }
        | _sizes(measurement, prediction, i)
        | _flow(flow)
        | ({} if (value := stiffness[i - 1]) is None else {"stiffness": _number("stiffness", value)})
        | {"sentence": sentences[i - 1]}
        for i, (score, measurement, flow) in enumerate(
            zip(prediction.node_scores, sizes, flows, strict=True), start=1
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


def _sizes(measurement: Measurement, prediction: Prediction, node: int) -> Row:
    frame = prediction.frame
    names = ["area_px", "long_axis_px", "short_axis_px"]
    if measurement.long_axis_mm is None:
        reason = frame.spacing_note or "The node does not lie inside one calibrated region."
        other = {"message": " ".join((*prediction.warnings_of(node), reason))}
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


# -- read back ---------------------------------------------------------------------------------

LONGEST_LINE = 1 << 20
SEPARATORS = (",", ";", "\t")
CHECK = re.compile(r"[a-p]{8}-((?:[a-p]{8})?)-((?:[a-p]{8})?)")


def read_rows(path: Path) -> Iterator[Row]:
    """Read a table that a run has just completed, row by row.

    Parameters
    ----------
    path : Path

    Raises
    ------
    ExportError
        If it can't be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield {column: restored(row[column] or "") for column in COLUMNS}
    except OSError as cause:
        raise ExportError(f"{path.name} can't be read ({cause.strerror}).", "Segment first.") from cause


class _Line(NamedTuple):
    """A line that can be read: where it belongs, its cells, and its text where it is as we write it."""

    key: FrameKey
    cells: list[str]
    text: str | None


class ResultsTable:
    """The frames of a ``results.csv`` that are whole; what is odd is known once all were read.

    Parameters
    ----------
    path : Path
        A file that is not there has no frame.
    seed : int
        That the checksums were made with.

    Attributes
    ----------
    n_damaged : int
        Lines that are not whole.
    is_cut : bool
        The file ends within a line, as a run that was killed leaves it.
    is_edited : bool
        Another program has saved the file.
    is_headless : bool
        The file is there, without the names of its columns.
    n_frames : int
        Frames that are whole.
    stranger : dict of str to str, optional
        A row that can be read and does not fit: damaged, or of another run.
    has_other_text : bool
        There is text that is none of this run's.
    """

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.seed = seed
        self.n_damaged = 0
        self.n_frames = 0
        self.is_cut = False
        self.is_edited = False
        self.is_headless = path.exists()
        self.stranger: dict[str, str] | None = None
        self.has_other_text = False

    def __iter__(self) -> Iterator[FrameRows]:
        group: list[_Line] = []
        for number, text in enumerate(_texts(self.path)):
            self.is_cut = not text.endswith("\n")
            if number == 0 and self._is_heading(text):
                self.is_headless = False
                continue
            line = _read_line(text)
            if group and (line is None or _place(line) != _place(group[0])):
                yield from self._whole(group)
                group = []
            if line is not None:
                group.append(line)
            else:
                self.n_damaged += not self.is_cut
                self.has_other_text = self.has_other_text or any(map(str.isalnum, text))
        if group:
            yield from self._whole(group)

    def keys(self) -> Iterator[FrameKey]:
        """Frames that have a row that can be read, whether or not it is whole."""
        for text in _texts(self.path):
            if line := _read_line(text):
                yield line.key

    def _is_heading(self, text: str) -> bool:
        if text == HEADING:
            return True
        edited = any(cells == list(COLUMNS) for cells in _cells(text.removeprefix("\ufeff")))
        self.is_edited = self.is_edited or edited
        return edited

    def _whole(self, group: list[_Line]) -> Iterator[FrameRows]:
        """The rows of a frame where the checksum fits; a frame whose rows were cut is no damage."""
        if match := CHECK.fullmatch(group[0].cells[-1]):
            checks = {kind: check for kind, check in zip(KINDS, match.groups(), strict=True) if check}
            for bodies in _bodies(group):
                text = signed(bodies, self.seed, checks)
                if text.endswith(f",{match[0]}\n"):
                    self.n_frames += 1
                    self.is_edited = self.is_edited or text != "".join(line.text or "" for line in group)
                    failed = group[0].cells[COLUMNS.index("status")] == "failed"
                    yield FrameRows(key=group[0].key, text=text, failed=failed, checks=checks)
                    return
        self.n_damaged += 0 if self.is_cut else len(group)
        self.has_other_text = True
        self.stranger = self.stranger or dict(zip(COLUMNS, group[0].cells, strict=True))


def _bodies(group: list[_Line]) -> Iterator[list[str]]:
    """The lines of a frame without their checksum: as they stand, then as we would write them."""
    as_they_stand = [f"{line.text.rpartition(',')[0]}\n" for line in group if line.text]
    if len(as_they_stand) == len(group):
        yield as_they_stand
    with suppress(ValueError):
        yield [_as_we_write(line.cells) for line in group]


def _place(line: _Line) -> tuple[FrameKey, str]:
    return line.key, line.cells[-1]


def _read_line(text: str) -> _Line | None:
    """Content of a line; None where it is not a row, or was cut."""
    for cells in _cells(text):
        if "'" in text:
            cells = [restored(cell) for cell in cells]
        source, frame = cells[:2]
        if len(frame) > 9 or not (frame or "0").isdecimal() or not frame.isascii():
            continue
        if all(part not in ("", ".", "..") for part in source.split("/")):
            as_written = text.endswith("\n") and not text.endswith("\r\n")
            return _Line(FrameKey(source, int(frame or -1)), cells, text if as_written else None)
    return None


def _cells(text: str) -> Iterator[list[str]]:
    """The cells of a line, by each separator that gives as many as there are columns."""
    line = text.rstrip("\r\n")
    for separator in SEPARATORS:
        cells = _split(line, separator)
        if len(cells) == 1 and cells[0] != line:  # a spreadsheet that knew no comma took a line for a cell
            cells = _split(cells[0], ",")
        if len(cells) == len(COLUMNS):
            yield cells


def _split(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


def _as_we_write(cells: list[str]) -> str:
    """A row that another program wrote, as we write it.

    Raises
    ------
    ValueError
        If a number is none.
    """
    row = dict(zip(COLUMNS[:-1], cells, strict=False))
    for column in ("frame", "node"):
        row[column] = row[column] and str(parse_whole(row[column]))
    for column, format_ in FORMATS.items():
        row[column] = row[column] and format(parse_number(row[column]), format_)
    return csv_line(list(row.values()))


def _texts(path: Path) -> Iterator[str]:
    """Each line with its end, in whichever encoding; a NUL in the place of one that is too long."""
    if not path.exists():
        return
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            file.seek(0)
            text = io.TextIOWrapper(file, encoding="utf-16", errors="replace", newline="")
            while line := text.readline(LONGEST_LINE):
                yield line
            return
        file.seek(0)
        while raw := file.readline(LONGEST_LINE):
            if len(raw) < LONGEST_LINE:
                yield _decoded(raw)
            else:
                yield "\0\n" if _ends(raw, file) else "\0"


def _ends(raw: bytes, file: BinaryIO) -> bool:
    """Pass over the rest of a line, and tell whether it ends before the file does."""
    while raw and not raw.endswith(b"\n"):
        raw = file.readline(LONGEST_LINE)
    return bool(raw)


def _decoded(raw: bytes) -> str:
    for encoding in ("utf-8", "cp1252"):  # the second is how spreadsheets in Europe save a CSV
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("utf-8", "replace")
