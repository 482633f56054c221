"""Long and short axis as the model and as the reader measure them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..types import Estimate
from .cases import CaseRow
from .statistics.agreement import BlandAltman, bland_altman, icc

__all__ = ["AxisAgreement", "compare_axes"]


@dataclass(frozen=True, kw_only=True, eq=False)
class AxisAgreement:
    """An axis as the model and as the reader measure it, of matched nodes.

    Parameters
    ----------
    name, unit : str
        ``"long axis"`` or ``"short axis"``; ``"mm"``, or ``"px"`` where no frame is calibrated.
    limits : BlandAltman
        Model − reader.
    icc : Estimate
        Absolute agreement, ICC(A,1).
    model, reader : ndarray
    of : int
        Reference nodes in all.
    """

    name: str
    unit: str
    limits: BlandAltman
    icc: Estimate
    model: NDArray[np.float64]
    reader: NDArray[np.float64]
    of: int


def compare_axes(rows: Sequence[CaseRow], confidence: float = 0.95) -> tuple[AxisAgreement, ...]:
    """Agreement on both axes of all matched nodes; empty where none is matched."""
    nodes = [row for row in rows if row.kind == "node" and row.compared]
    unit = "mm" if any(row.predicted_long_mm is not None for row in nodes) else "px"
    agreements = []
    for axis in ("long", "short"):
        pairs = [
            (model, reader)
            for row in nodes
            if (model := getattr(row, f"predicted_{axis}_{unit}")) is not None
            and (reader := getattr(row, f"reference_{axis}_{unit}")) is not None
        ]
        if pairs:
            model, reader = (np.array(x, dtype=float) for x in zip(*pairs, strict=True))
            agreements.append(
                AxisAgreement(
                    name=f"{axis} axis",
                    unit=unit,
                    limits=bland_altman(model, reader, confidence),
                    icc=icc(model, reader, confidence),
                    model=model,
                    reader=reader,
                    of=len(nodes),
                )
            )
    return tuple(agreements)
