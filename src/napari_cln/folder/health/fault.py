"""What a fault of a training folder is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...disk.locks import LockOwner

__all__ = ["Fault"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong with a training folder.

    Parameters
    ----------
    kind : str
        ``record``, ``image``, ``torn``, ``mask``, ``empty-mask``, ``orphan``, ``duplicate``,
        ``no-split``, …: ``docs/reference/training-folder.md`` lists them.
    message : str
        What is wrong, with the value.
    advice : str
        What to do.
    id : str, optional
        The frame.
    severity : str
        An ``error`` stops a training run; a ``warning`` is shown.
    remedy : str, optional
        What :func:`napari_cln.folder.health.repair.repair` would do; ``None`` where only a person can.
    lock : LockOwner, optional
        Of a lock that may have been left behind.
    """

    kind: str
    message: str
    advice: str
    id: str | None = None
    severity: Literal["error", "warning"] = "error"
    remedy: str | None = None
    lock: LockOwner | None = None

    def __str__(self) -> str:
        return f"{self.message} {self.advice}"
