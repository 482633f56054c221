"""Locks that say who holds them, on local disks and on network mounts alike.

A lock is a file that only one process can create; it names that process. One left by a dead process
of this computer is taken over, also when another process has its number by now, and one that a crash
left empty or torn ages out. One left by another computer can't be told from a living one, so it is
shown with its owner and broken only by :func:`break_lock`, which a person confirms.

:class:`filelock.SoftFileLock` does most of this. Here is what it leaves: markers of no bytes, which it
holds for those of its early versions, and file systems that can't swap two names in one step, where
it never takes a lock over.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated

import msgspec
import psutil  # type: ignore[import-untyped]
from filelock import FileLock, SoftFileLock, Timeout
from msgspec import Meta, Struct

from ..errors import DatasetError
from .atomic import read_bytes, server_time
from .schema import decode_json

PATIENCE_S = 10.0
"""A save takes milliseconds: who holds a lock for longer than this is stuck or gone."""
LEFT_AFTER_S = 3.0
"""Age from which an empty marker has no maker any more: a living one fills it within milliseconds."""
STUCK_AFTER_S = 5.0
"""Seconds in which filelock would have taken over what it can take over."""
LOOK_EVERY_S = 0.25
MAX_BYTES = 1024
MAX_NOTE_BYTES = 2**14
MAX_NAME = 200
Text = Annotated[str, Meta(max_length=MAX_NAME)]


class HeldError(DatasetError):
    """Another holds a lock, and for longer than a save takes."""


@dataclass(frozen=True, kw_only=True)
class LockOwner:
    """The holder of a lock: reader, computer, and the time it was taken (UTC, ISO 8601).

    ``left`` says that nobody holds it any more: its process of this computer is gone, or a crash left
    its file empty or torn. The next save takes it over.
    """

    name: str
    who: str
    host: str
    since: str
    left: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return f"{self.who} on {self.host} since {self.since[:16].replace('T', ' ')} UTC"


class _Note(Struct, frozen=True):
    """Content of the owner's file."""

    who: Text
    host: Text
    since: Text


_decoder = msgspec.json.Decoder(_Note)


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
    HeldError
        If another holds it for over ten seconds; the message names the owner.
    OSError
        If the disk is full, or the folder read-only.
    """
    locks.mkdir(parents=True, exist_ok=True)
    path, owner = locks / f"{name}.lock", locks / f"{name}.owner"
    marker, waiting = SoftFileLock(path, poll_interval=0.003), _Waiting(path)
    while not _acquired(marker, min(LOOK_EVERY_S, PATIENCE_S)):
        if waiting.seconds > PATIENCE_S:
            raise HeldError(
                f"The lock {name} is held by {_owner(owner)}. Wait until that reader has finished; if the "
                "computer crashed or was switched off, confirm to break the lock (`napari-cln check FOLDER "
                "--break-locks`)."
            )
        waiting.look()
    try:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        note = {"who": who[:MAX_NAME], "host": socket.gethostname(), "since": now}
        with suppress(OSError):  # a full disk must not hide behind a note about the owner
            owner.write_text(json.dumps(note))
        yield
    finally:
        with suppress(OSError):
            owner.unlink()
        marker.release()


def _acquired(marker: SoftFileLock, seconds: float) -> bool:
    try:
        marker.acquire(timeout=seconds)
    except Timeout:
        return False
    if marker.is_lock_held_by_us:
        return True
    # This process slept between making the marker and filling it, and another held it for left.
    marker.release()
    return False


class _Waiting:
    """A marker that is in the way, and for how long it has been watched without a change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begun = self._since = time.monotonic()
        self._stamp = _stamp(path)

    @property
    def seconds(self) -> float:
        """Seconds since the wait began."""
        return time.monotonic() - self._begun

    def look(self) -> None:
        """Help a marker that nobody holds to go."""
        if (stamp := _stamp(self._path)) != self._stamp:
            self._stamp, self._since = stamp, time.monotonic()
        unchanged = time.monotonic() - self._since
        # Watched as well as dated: a clock that was set back makes a marker of the future.
        if stamp is not None and (unchanged > LEFT_AFTER_S or _age(self._path) > LEFT_AFTER_S):
            _give_line(self._path)
        if unchanged > STUCK_AFTER_S:
            _remove_left(self._path)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    with suppress(OSError):
        status = path.lstat()
        return status.st_ino, status.st_mtime_ns, status.st_ctime_ns
    return None


def _age(path: Path) -> float:
    """Seconds since a file was written, by the clock of the file server; -1 where nobody can say."""
    with suppress(OSError):
        at = server_time(path.parent)
        if at is not None:
            return at - path.lstat().st_mtime
    return -1.0


def _give_line(path: Path) -> None:
    """Make an empty marker one that filelock lets age out: with a line that names nobody.

    A maker that was only asleep writes its own, longer lines over it, or has written them before it;
    either way the marker is its own again.
    """
    flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with suppress(OSError):
        if path.lstat().st_size:
            return
        descriptor = os.open(path, flags)
        try:
            os.write(descriptor, b"\n")
        finally:
            os.close(descriptor)


def _remove_left(path: Path) -> None:
    """Remove a marker that nobody holds, where filelock can't: NFS and SMB do not swap two names.

    One process at a time, by a lock of the operating system, which ends with its holder: between the
    look and the removal nobody else may take the marker over.
    """
    # Whoever may write into the folder may take part, whichever user was first.
    with suppress(OSError, Timeout), FileLock(path.with_name(".breaking"), timeout=0, mode=0o666):
        if _is_left(path):
            path.unlink()


def _is_left(path: Path) -> bool:
    """Tell whether a marker is held by nobody any more, for all that this computer can know."""
    holder = _holder(path)
    if holder is None:
        return _age(path) > LEFT_AFTER_S
    pid, host = holder
    return host == _own_host() and not psutil.pid_exists(pid)


def _is_being_taken(path: Path) -> bool:
    return _holder(path) is None and 0 <= _age(path) <= LEFT_AFTER_S


def _holder(path: Path) -> tuple[int, str] | None:
    """Process and computer that a marker names; None for an empty or torn one."""
    try:
        text = read_bytes(path, MAX_BYTES).decode()
    except (OSError, ValueError, DatasetError):
        return None
    lines = text.strip().splitlines()
    if not text.endswith("\n") or len(lines) not in (2, 3) or not lines[0].isdecimal():
        return None
    pid = int(lines[0])
    return (pid, lines[1]) if 0 < pid < 2**31 else None


@cache
def _own_host() -> str:
    """This computer as filelock writes it into a marker; a container has a name of its own."""
    holder = None
    with suppress(OSError), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.lock"
        with SoftFileLock(path):
            holder = _holder(path)
    return holder[1] if holder else socket.gethostname()


def held_locks(locks: Path) -> list[LockOwner]:
    """List the locks that are held now, or were left behind.

    A marker that names nobody yet, and is younger than a crash could be told by, is being taken right now:
    it is not listed.
    """
    if not locks.is_dir():
        return []
    markers = [path for path in sorted(locks.glob("*.lock")) if not _is_being_taken(path)]
    return [_owner(path.with_suffix(".owner")) for path in markers]


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
    if (holder := _holder(marker)) is not None:
        host = holder[1].partition("?")[0] or host
    with suppress(OSError, ValueError, OverflowError):
        since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(marker.stat().st_mtime))
    with suppress(OSError, ValueError, DatasetError):
        note = decode_json(_decoder, read_bytes(path, MAX_NOTE_BYTES))
        who, host, since = note.who, note.host, note.since
    return LockOwner(name=path.stem, who=who, host=host, since=since, left=_is_left(marker))
