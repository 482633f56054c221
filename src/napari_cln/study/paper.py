"""The arithmetic of the paper's Table 3: which two by two tables give the figures it prints.

References
----------
.. [1] Zhao et al., Front Oncol 14:1204987, 2024. :doi:`10.3389/fonc.2024.1204987`
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .statistics.metrics import Counts, measures

__all__ = ["PRINTED_ROWS", "PrintedRow", "closing_tables"]


@dataclass(frozen=True, kw_only=True)
class PrintedRow:
    """A row of figures in percent, as printed."""

    name: str
    sensitivity: float
    specificity: float
    accuracy: float
    ppv: float
    npv: float


PRINTED_ROWS = (
    PrintedRow(
        name="Y-Net, mask and class",
        sensitivity=57.25,
        specificity=87.08,
        accuracy=72.03,
        ppv=81.87,
        npv=66.67,
    ),
    PrintedRow(
        name="Y-Net, class alone", sensitivity=84.78, specificity=80.23, accuracy=82.45, ppv=79.35, npv=85.61
    ),
    PrintedRow(
        name="original reports", sensitivity=95.14, specificity=34.3, accuracy=64.66, ppv=59.02, npv=87.71
    ),
)
"""Table 3 of the paper."""


def closing_tables(row: PrintedRow, n: int, tolerance: float = 0.006) -> tuple[Counts, ...]:
    """Every two by two table of ``n`` cases whose five measures are the printed ones.

    Parameters
    ----------
    row : PrintedRow
    n : int
        Cases.
    tolerance : float
        In percentage points; 0.005 is the rounding of two decimals.

    Examples
    --------
    >>> closing_tables(PRINTED_ROWS[0], 547)
    (Counts(tp=158, fn=118, tn=236, fp=35),)
    """
    positives = np.arange(1, n)
    spread = np.arange(-1, 2)
    # Sensitivity and specificity leave at most one whole number each; its neighbours are
    # tried too, so that rounding cannot hide a solution.
    tp = (np.rint(row.sensitivity / 100 * positives)[:, None] + spread)[:, :, None]
    tn = (np.rint(row.specificity / 100 * (n - positives))[:, None] + spread)[:, None, :]
    fn, fp = positives[:, None, None] - tp, n - positives[:, None, None] - tn
    fits = (tp >= 0) & (fn >= 0) & (tn >= 0) & (fp >= 0)
    for name, value in measures(*np.broadcast_arrays(tp, fn, tn, fp)).items():
        if hasattr(row, name):
            fits &= np.abs(100 * value - getattr(row, name)) <= tolerance
    cells = np.stack([cell[fits] for cell in np.broadcast_arrays(tp, fn, tn, fp)], axis=1)
    return tuple(Counts(*(int(cell) for cell in table)) for table in cells)
