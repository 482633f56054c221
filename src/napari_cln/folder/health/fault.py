"""Faults of a training folder, and their remedies."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal

from ...disk.locks import LockOwner

__all__ = ["Fault", "Remedy"]


class Remedy(Enum):
    """Act of repair; the value says it to the user."""

    COUNT = "count again"
    BREAK_LOCK = "break the lock"
    CLEAR_LOCK = "remove the lock that nobody holds"
    FINISH_SAVE = "finish the save or move the file to the revisions"
    PUT_AWAY = "move the later one to the revisions"
    RESTORE_RECORD = "go back to the last good state among the revisions"
    MOVE_IMAGE = "move the image"
    ROLL_BACK = "finish the save, or go back to the state before it"
    FLIP_BACK = "set the flipped bit right"
    LINE_ENDS = "turn the line ends back"
    REWRITE = "write the picture anew"
    RESTORE_READING = "finish the reading, or go back to the one before"
    SEAL = "add the checksum"
    GIT = "add the lines that git needs"


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
    remedy : Remedy, optional
        What :func:`napari_cln.folder.health.repair.repair` would do; ``None`` where only a person can.
    lock : LockOwner, optional
        Of a lock that may have been left behind.
    path : Path, optional
        The file, where it is not the frame's own record.
    """

    kind: str
    message: str
    advice: str
    id: str | None = None
    severity: Literal["error", "warning"] = "error"
    remedy: Remedy | None = None
    lock: LockOwner | None = None
    path: Path | None = None

    def __str__(self) -> str:
        return f"{self.message} {self.advice}"
