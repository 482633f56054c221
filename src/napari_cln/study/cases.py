"""The table that everything is computed from, a row per node, so that others can repeat it; its counts."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_type_hints

from ..disk.atomic import is_there
from ..disk.cells import restored
from ..disk.tables import write_table
from ..errors import DatasetError
from ..types import Truth

__all__ = ["CaseRow", "is_finished", "read_rows"]


@dataclass(frozen=True, kw_only=True)
class CaseRow:
    """One node as the reference and the model see it. ``None`` stands for what does not exist.

    Parameters
    ----------
    id : str
        Of the frame, from its pixels.
    kind : str
        ``"node"``: a node of the reference. ``"stray"``: a predicted node that is none of them.
        ``"frame"``: a frame without reference nodes, or without a mask.
    node, predicted_node : int
        Ids in the two masks; 0 where there is none.
    patient, split : str
    truth, truth_source : str
        As in :class:`napari_cln.Node`.
    score : float
        Malignancy: of the predicted node that was matched; the network's own score of the whole
        frame for a node that was not found, so that no node is dropped.
    score_of : str
        ``"node"`` or ``"frame"``, whichever gave the score.
    frame_score : float
        Malignancy that the user is shown for the frame.
    cutoff : float
        Of the model's card.
    confidence : float, optional
        Mean mask probability of the predicted node.
    compared : bool
        The frame has the masks of both, so that they can be compared; a frame of which only the
        truth is known, or a model that only classifies, has not.
    no_node : bool
        Of a frame: the reader says that there is no node.
    dice, iou : float, optional
        Of the node with its match, 0 without one.
    mask_hits, box_hits : str, optional
        Of a predicted node: IoU in percent, of 50, 55, … 95, at which its mask or its box is a hit as COCO
        counts them, or ``"none"``.
    frame_dice : float, optional
        Of all nodes of the frame together; None where neither mask holds any.
    missed, wrong_node : bool
        The node was not found, and the model outlined nothing else / another structure instead.
    hd95_mm, assd_mm, hd95_px, assd_px : float, optional
        None where the node was not found; in mm where the frame is calibrated.
    reference_long_mm, reference_short_mm, predicted_long_mm, predicted_short_mm : float, optional
        Axes of the reader's and of the model's mask.
    reference_long_px, reference_short_px, predicted_long_px, predicted_short_px : float, optional
        The same in pixels.
    vendor, hospital, level, side : str, optional
    model : str
    """

    id: str
    kind: Literal["node", "stray", "frame"] = "node"
    node: int = 1
    predicted_node: int = 0
    patient: str
    split: str = "test"
    truth: Truth = "unknown"
    truth_source: str = "none"
    score: float
    score_of: Literal["node", "frame"] = "frame"
    frame_score: float
    cutoff: float = 0.5
    confidence: float | None = None
    compared: bool = False
    no_node: bool = False
    dice: float | None = None
    iou: float | None = None
    mask_hits: str | None = None
    box_hits: str | None = None
    frame_dice: float | None = None
    missed: bool = False
    wrong_node: bool = False
    hd95_mm: float | None = None
    assd_mm: float | None = None
    hd95_px: float | None = None
    assd_px: float | None = None
    reference_long_mm: float | None = None
    reference_short_mm: float | None = None
    predicted_long_mm: float | None = None
    predicted_short_mm: float | None = None
    reference_long_px: float | None = None
    reference_short_px: float | None = None
    predicted_long_px: float | None = None
    predicted_short_px: float | None = None
    vendor: str | None = None
    hospital: str | None = None
    level: str | None = None
    side: str | None = None
    model: str = ""

    @property
    def key(self) -> tuple[str, int]:
        """Key of a reference node, the same in every model's table."""
        return self.id, self.node


def is_finished(report: Path) -> bool:
    """Tell whether a folder holds a finished report beside its table: ``report.json`` is written last."""
    return is_there(report / "report.json")


def write_rows(rows: Iterable[CaseRow], path: str | Path) -> None:
    """Write the table as CSV (UTF-8; empty where something does not exist; 0 and 1 for no and yes).

    A text that a spreadsheet would run as a formula gets an apostrophe, which :func:`read_rows` takes off.

    Raises
    ------
    ExportError
        If the file can't be written.
    """
    names = [field.name for field in fields(CaseRow)]
    write_table(Path(path), names, ([getattr(row, name) for name in names] for row in rows))


def read_rows(path: str | Path) -> list[CaseRow]:
    """Read a table that :func:`write_rows` wrote; columns that are not its own are passed over.

    Parameters
    ----------
    path : str or Path
        ``cases.csv``.

    Returns
    -------
    list of CaseRow

    Raises
    ------
    DatasetError
        If the file can't be read, lacks a column, or holds an odd value; the message says where.
    """
    path = Path(path)
    kinds = get_type_hints(CaseRow)
    needed = {"id", "patient", "score", "frame_score"}
    rows = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if missing := needed - set(reader.fieldnames or ()):
                raise DatasetError(
                    f"{path.name} has no column {', '.join(sorted(missing))}. "
                    "Give a cases.csv as `napari-cln evaluate` writes it."
                )
            for line in reader:
                known = {name: text for name, text in line.items() if name in kinds and text is not None}
                try:
                    rows.append(CaseRow(**{name: _value(text, kinds[name]) for name, text in known.items()}))
                except ValueError as cause:
                    raise DatasetError(
                        f"{path.name} has an odd value in line {reader.line_num}: {cause}. "
                        "Correct it, or write the table again."
                    ) from cause
    except (OSError, UnicodeDecodeError, csv.Error) as cause:
        raise DatasetError(f"{path.name} can't be read. Check that it is a CSV in UTF-8.") from cause
    return rows


def _value(text: str, kind: object) -> Any:
    if kind is bool:
        return bool(int(text))
    if kind is int:
        return int(text)
    if kind is float:
        return float(text)
    if text == "" and kind is not str:
        return None
    return float(text) if kind == (float | None) else restored(text)


# ------------------------------------------------------------ counts


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Numbers of frames, patients and nodes on their way through an evaluation.

    Parameters
    ----------
    frames, patients : int
        Frames count those without a result.
    unreadable : int
        Frames that could not be read.
    failed : int
        Frames for which the network gave no finite number. They are in no figure.
    compared : int
        Frames with masks of both reader and model.
    unjudged : int
        Frames of which nothing accepted is known: nobody has looked, or the mask was rejected. They
        are in no other figure.
    without_mask : int
        Frames of which the truth alone is known, or that the model only classified.
    negative : int
        Frames in which the reader says there is no node.
    nodes, metastatic, benign, unknown : int
        Reference nodes by truth; a frame without a mask counts as one. Those of unknown truth
        are in the masks' figures and not in the diagnosis.
    scored_by_frame : int
        Nodes of known truth that were not found, and so have the score of the whole frame.
    learned_from : int
        Frames that the model's own training run had, where that is known.
    trained_on : tuple of str
        Sources of the model's training frames, and the number of each, as its card says.
    """

    frames: int
    patients: int
    unreadable: int
    failed: int
    unjudged: int
    compared: int
    without_mask: int
    negative: int
    nodes: int
    metastatic: int
    benign: int
    unknown: int
    scored_by_frame: int
    learned_from: int = 0
    trained_on: tuple[str, ...] = ()


def unjudged_frames(rows: Iterable[CaseRow]) -> set[str]:
    """Ids of the frames of which nothing accepted is known, which belong into no figure."""
    return {
        row.id
        for row in rows
        if row.kind == "frame" and not row.compared and not row.no_node and row.truth == "unknown"
    }


def count_flow(rows: Sequence[CaseRow], unreadable: int = 0, failed: int = 0) -> Flow:
    """Count the rows of one split."""
    unjudged = unjudged_frames(rows)
    nodes = [row for row in rows if row.kind != "stray" and row.id not in unjudged]
    frames = {row.id for row in rows}
    compared = {row.id for row in rows if row.compared}
    with_nodes = {row.id for row in rows if row.kind == "node"}
    negative = (compared | {row.id for row in rows if row.no_node}) - with_nodes
    real = [row for row in nodes if row.kind == "node" or row.id not in negative]
    return Flow(
        frames=len(frames) + unreadable + failed,
        patients=len({row.patient for row in rows}),
        unreadable=unreadable,
        failed=failed,
        unjudged=len(unjudged),
        compared=len(compared),
        without_mask=len(frames - compared - unjudged),
        negative=len(negative),
        nodes=len(real),
        metastatic=sum(row.truth == "metastatic" for row in real),
        benign=sum(row.truth == "benign" for row in real),
        unknown=sum(row.truth == "unknown" for row in real),
        scored_by_frame=sum(
            row.compared and row.score_of == "frame" and row.truth != "unknown" for row in real
        ),
    )
