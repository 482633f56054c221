"""Locks that say who holds them, on local disks and on network mounts alike.

A lock is a file that only one process can create. One left by a dead process of this computer
is taken over; one left by another computer can't be told from a living one, so it is shown with
its owner and broken only by :func:`break_lock`, which a person confirms.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import SoftFileLock, Timeout

from ..errors import DatasetError

__all__ = ["LockOwner", "break_lock", "held_locks", "lock"]


PATIENCE_S = 10.0
"""A save takes milliseconds: who holds a lock for longer than this is stuck or gone."""


@dataclass(frozen=True, kw_only=True)
class LockOwner:
    """Who holds a lock: reader, computer, and since when (UTC, ISO 8601)."""

    name: str
    who: str
    host: str
    since: str

    def __str__(self) -> str:
        return f"{self.who} on {self.host} since {self.since[:16].replace('T', ' ')} UTC"


@contextmanager
def lock(locks: Path, name: str, who: str) -> Iterator[None]:
    """Hold the lock ``name`` of a training folder while the block runs.

    Parameters
    ----------
    locks : Path
        Folder of the locks, made when missing.
    name : str
        A case's id, or ``"dataset"``.
    who : str
        Reader to show to whoever waits.

    Raises
    ------
    DatasetError
        If another holds it for over ten seconds; the message names the owner.
    """
    locks.mkdir(parents=True, exist_ok=True)
    marker = SoftFileLock(locks / f"{name}.lock", timeout=PATIENCE_S, poll_interval=0.003)
    owner = locks / f"{name}.owner"
    try:
        marker.acquire()
    except Timeout as cause:
        raise DatasetError(
            f"The lock {name} is held by {_owner(owner)}. Wait until that reader has finished; if the "
            "computer "
            "crashed or was switched off, confirm to break the lock (`napari-cln check FOLDER "
            "--break-locks`)."
        ) from cause
    try:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with suppress(OSError):  # a full disk must not hide behind a note about the owner
            owner.write_text(json.dumps({"who": who, "host": socket.gethostname(), "since": now}))
        yield
    finally:
        with suppress(OSError):
            owner.unlink()
        marker.release()


def held_locks(locks: Path) -> list[LockOwner]:
    """List the locks that are held now, or were left behind."""
    if not locks.is_dir():
        return []
    return [_owner(path.with_suffix(".owner")) for path in sorted(locks.glob("*.lock"))]


def break_lock(locks: Path, owner: LockOwner, *, confirmed: bool) -> None:
    """Remove a lock that its owner will not release any more.

    Parameters
    ----------
    locks : Path
    owner : LockOwner
        As :func:`held_locks` listed it and a person has seen it.
    confirmed : bool
        That person's answer.

    Raises
    ------
    DatasetError
        If it was not confirmed, or the lock has another owner by now.
    """
    if not confirmed:
        raise DatasetError(
            f"The lock {owner.name} is held by {owner}. Ask that reader, then confirm to break it."
        )
    path = locks / f"{owner.name}.lock"
    if path.exists() and _owner(path.with_suffix(".owner")) != owner:
        raise DatasetError(f"The lock {owner.name} has changed hands meanwhile. Look at its owner again.")
    for leftover in (path, path.with_suffix(".owner")):
        leftover.unlink(missing_ok=True)


def _owner(path: Path) -> LockOwner:
    marker = path.with_suffix(".lock")
    who, host, since = "an unnamed reader", "an unnamed computer", ""
    with suppress(OSError, ValueError, IndexError):
        host = marker.read_text().splitlines()[1]
        since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(marker.stat().st_mtime))
    with suppress(OSError, ValueError, KeyError, TypeError):
        noted = json.loads(path.read_text())
        who, host, since = str(noted["who"]), str(noted["host"]), str(noted["since"])
    return LockOwner(name=path.stem, who=who, host=host, since=since)
