"""Bytes on disk that survive a crash: atomic writes, bounded reads, and a sweep of what a crash left.

A file is written beside its goal under a name that starts with ``.tmp-``, flushed, synced and
renamed, and the folder is synced too: whoever reads sees the former file or the new one, whole.
"""

from __future__ import annotations

import errno
import gc
import itertools
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from ..errors import DatasetError, ExportError
from .schema import JsonObject

TEMPORARY = ".tmp-"
MAX_JSON_BYTES = 4 * 2**20
MAX_PNG_BYTES = 2**28
# A pipe in place of a file would be waited for without O_NONBLOCK; files do not know it.
_READ = os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
_counter = itertools.count()


def _beside(path: Path) -> Path:
    """A name of its own beside a file, by which :func:`sweep` knows what a crash left."""
    return path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}-{next(_counter)}")


def stage(path: Path, data: bytes) -> Path:
    """Write bytes to a temporary file beside ``path`` and sync them; the caller renames it."""
    temporary = _beside(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    return temporary


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable, where the system can (not on Windows, nor on some mounts).

    Parameters
    ----------
    folder : Path
        Whose entries were changed.
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as cause:
        # A mount that knows no such thing has renamed all the same.
        if cause.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or the next start after a crash, sees it whole or not at all.

    Parameters
    ----------
    path : Path
        In an existing folder.
    data : bytes

    Raises
    ------
    OSError
        If the disk is full, or the folder can't be written to; the former file is untouched.
    """
    temporary = stage(path, data)
    try:
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def write_result(path: Path, data: bytes) -> None:
    """Write a result that somebody asked for, whole or not at all.

    Parameters
    ----------
    path : Path
    data : bytes

    Raises
    ------
    ExportError
        If the disk refuses; the former file is untouched.
    """
    try:
        write_atomically(path, data)
    except OSError as cause:
        raise ExportError(
            f"{path.name} can't be written ({cause.strerror}).",
            "Check that its folder exists and has space, and that no other program has the file open.",
        ) from cause


def remove_result(path: Path) -> None:
    """Remove a result of a former run, if it is there.

    Parameters
    ----------
    path : Path

    Raises
    ------
    ExportError
        If the disk refuses.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as cause:
        raise ExportError(
            f"{path.name} is of a former run, and can't be removed ({cause.strerror}).",
            "Check that its folder can be written to, and that no other program has the file open.",
        ) from cause


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """Open a file to write that takes the place of ``path`` when the block ends, whole or not at all.

    For what is written piece by piece; :func:`write_atomically` does the same for bytes at hand.

    Parameters
    ----------
    path : Path
        In an existing folder.

    Yields
    ------
    file
        Open for text (UTF-8, line ends as they are written), under a name of its own beside ``path``;
        its ``buffer`` takes bytes.

    Raises
    ------
    OSError
        If the disk is full, or the folder can't be written to.

    Notes
    -----
    After an error in the block, or of the disk, the former file is untouched and the new one is gone.
    """
    temporary = _beside(path)
    try:
        with temporary.open("x", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


@contextmanager
def staged(files: Iterable[tuple[Path, bytes]]) -> Iterator[Callable[[int], None]]:
    """Write several files beside their goals and sync them, to be put in place together.

    Parameters
    ----------
    files : iterable of (Path, bytes)
        Goals in existing folders, and their content.

    Yields
    ------
    callable
        Takes a number n, renames the next n files to their goals, and syncs their folders.

    Raises
    ------
    OSError
        If the disk is full, before any goal is touched.

    Notes
    -----
    What is not put in place when the block ends is removed.
    """
    waiting: list[tuple[Path, Path]] = []

    def put_in_place(n: int) -> None:
        folders = []
        for temporary, goal in waiting[:n]:
            temporary.replace(goal)
            if goal.parent not in folders:
                folders.append(goal.parent)
        del waiting[:n]
        for folder in folders:
            sync_folder(folder)

    try:
        for goal, data in files:
            waiting.append((stage(goal, data), goal))
        yield put_in_place
    finally:
        for temporary, _ in waiting:
            temporary.unlink(missing_ok=True)


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Write what a folder will hold, which is in it when the block ends, whole or not at all.

    A folder that is there stays the same one: a shell may stand in it.

    Parameters
    ----------
    folder : Path
        A new one, or one that :func:`is_free`.

    Yields
    ------
    Path
        An empty folder on the same disk, to write into.

    Raises
    ------
    OSError
        If the disk is full, or the folder can't be written to.
    """
    is_new = not folder.exists()
    part = _part(folder) if is_new else folder / _part(folder).name
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        if is_new:
            part.replace(folder)
        else:
            _move_all(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def is_free(folder: Path) -> bool:
    """Tell whether a folder is new, or holds nothing but what a crash of :func:`filling` left."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(path.name == _part(folder).name for path in folder.iterdir())


def _part(folder: Path) -> Path:
    return folder.with_name(f"{TEMPORARY}{folder.name}")


def _move_all(part: Path, folder: Path) -> None:
    """Move what one folder holds into another on the same disk; after an error none of it is moved."""
    # Folders first: the files beside them speak of what is in them.
    names = [path.name for path in sorted(part.iterdir(), key=Path.is_file)]
    done: list[str] = []
    try:
        for name in names:
            (part / name).replace(folder / name)
            done.append(name)
    except BaseException:
        for name in done:
            with suppress(OSError):
                (folder / name).replace(part / name)
        raise


def is_there(path: Path) -> bool:
    """Tell whether a path exists, as far as this user may see."""
    try:
        path.lstat()
    except OSError:
        return False
    return True


def keep_former(path: Path, copy: Path) -> None:
    """Keep the bytes that ``path`` has now under another name: a hard link, else a copy.

    Parameters
    ----------
    path : Path
        File that is about to be replaced.
    copy : Path
        Name on the same disk; where it exists already, nothing is done.
    """
    with suppress(FileExistsError):
        try:
            os.link(path, copy, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError as cause:
            if cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
                raise
            # exFAT and some network mounts know no hard links.
            stage(copy, path.read_bytes()).replace(copy)


def read_bytes(path: Path | str, limit: int) -> bytes:
    """Read a regular file of at most ``limit`` bytes; a symbolic link is not followed.

    Parameters
    ----------
    path : Path or str
    limit : int
        Greatest size in bytes.

    Raises
    ------
    DatasetError
        If it is a link, not a plain file, or larger.
    OSError
        If it can't be read.
    """
    try:
        descriptor = os.open(path, _READ)
    except OSError as cause:
        if cause.errno == errno.ELOOP:
            raise DatasetError(
                f"{_name(path)} is a symbolic link, and links are not followed. Put the file itself in "
                "its place."
            ) from cause
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DatasetError(f"{_name(path)} is not a plain file. Remove it from the training folder.")
        if status.st_size > limit:
            raise DatasetError(
                f"{_name(path)} has {status.st_size} bytes, more than the {limit} allowed. "
                "It was not written by napari-cln: remove it from the training folder."
            )
        # Bare system calls: a folder may have 50 000 records, and file objects cost more than the reading.
        data = os.read(descriptor, status.st_size)
        while len(data) < status.st_size and (more := os.read(descriptor, status.st_size - len(data))):
            data += more
        return data
    finally:
        os.close(descriptor)


def read_json(path: Path | str, limit: int = MAX_JSON_BYTES) -> JsonObject:
    """Read a JSON object, bounded in size and depth.

    Parameters
    ----------
    path : Path or str
    limit : int
        Greatest size in bytes.

    Raises
    ------
    DatasetError
        If the file is missing, too large, nested too deep, or no JSON object.
    """
    try:
        value = json.loads(read_bytes(path, limit))
    except RecursionError as cause:
        raise DatasetError(f"{_name(path)} is nested too deep for a record. {_RESTORE}") from cause
    except ValueError as cause:
        raise DatasetError(f"{_name(path)} is not readable JSON. {_RESTORE}") from cause
    except OSError as cause:
        raise DatasetError(f"{_name(path)} can't be read ({cause.strerror}). {_RESTORE}") from cause
    if not isinstance(value, dict):
        raise DatasetError(f"{_name(path)} holds {type(value).__name__}, not an object. {_RESTORE}")
    return value


def _name(path: Path | str) -> str:
    return Path(path).name


_RESTORE = "Run `napari-cln check` on the training folder: former states are in its revisions folder."


def sweep(folders: Iterable[Path], older_than_s: float = 3600.0) -> int:
    """Remove temporary files that a crash left, and return how many; young ones may be in use.

    Their age is measured by the clock of the file server: this computer's may be hours off.

    Parameters
    ----------
    folders : iterable of Path
    older_than_s : float
        Age in seconds from which a temporary file is a leftover.
    """
    removed = 0
    for folder in folders:
        left: list[os.DirEntry[str]] = []
        with suppress(OSError), os.scandir(folder) as entries:
            left += [entry for entry in entries if entry.name.startswith(TEMPORARY)]
        if not left or (at := server_time(folder)) is None:
            continue
        for entry in left:
            with suppress(OSError):
                if at - entry.stat(follow_symlinks=False).st_mtime > older_than_s:
                    Path(entry.path).unlink()
                    removed += 1
    return removed


def server_time(folder: Path) -> float | None:
    """Time by the clock that stamps the files of a folder, in seconds; None where none can be written."""
    probe = _beside(folder / "clock")
    try:
        with probe.open("xb") as file:
            file.write(b"\n")
            file.flush()
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
    finally:
        with suppress(OSError):
            probe.unlink()


@contextmanager
def without_collection() -> Iterator[None]:
    """Look for no reference cycles meanwhile.

    Records make many objects and no cycle; searching them again and again took a quarter of the
    time in which a large folder is read, and more with every folder that is open already.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
