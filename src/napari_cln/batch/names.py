"""What a source and its mask are called in a folder of results.

A name never holds an absolute path, depends only on the paths that were given, and is unique:
two folders that hold the same file name do not overwrite each other.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..io.sources import locate_sources

__all__ = ["NamedSource", "content_key", "name_sources", "picture_path", "sources_outside"]

MAGIC = frozenset("*?[")
MAX_NAME_BYTES = 200
"""File systems take 255 bytes a name; what is left is for a frame number and an ending."""

WHOLE_FILE_BYTES = 4 << 20
SAMPLE_BYTES = 64 << 10
N_SAMPLES = 16


@dataclass(frozen=True, kw_only=True, order=True, slots=True)
class NamedSource:
    """A file and what it is called in the results; small, since a job may list a million.

    Parameters
    ----------
    name : str
    root : str
        Path that was searched, one text for all its files.
    inside : str
        Path below it, the very text of the name where they are alike; empty for the path itself.
    """

    name: str
    root: str
    inside: str

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return Path(self.root, self.inside)


def name_sources(paths: Iterable[str | Path]) -> list[NamedSource]:
    """Find the image files under the given paths and name each.

    Parameters
    ----------
    paths : iterable of str or Path
        Files, folders (searched through) and glob patterns.

    Returns
    -------
    list of NamedSource
        Sorted by name. A single folder's files are called by their path inside it, a single
        file by its name; where several paths are given, each file's name starts with as many
        of the last parts of its path as tell the paths apart.
    """
    given = list(dict.fromkeys(_absolute(path) for path in paths))
    labels = _tell_apart(given)
    found: dict[str, NamedSource] = {}
    for path, label in zip(given, labels, strict=True):
        root = _root(path)
        folder = str(root)
        for located in locate_sources(path):
            absolute = _absolute(located)
            inside = absolute.relative_to(root).as_posix() if absolute != root else ""
            name = _printable("/".join((*label, *filter(None, [inside]))) or absolute.name)
            source = NamedSource(name=name, root=folder, inside=name if name == inside else inside)
            found.setdefault(str(absolute), source)
    return sorted(found.values())


def sources_outside(out: Path, paths: Iterable[str | Path]) -> list[NamedSource]:
    """As :func:`name_sources`, without what lies in ``out``: results are no frames of the study."""
    here = out.resolve()
    return [source for source in name_sources(paths) if here not in source.path.resolve().parents]


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would swap a link's name for its target's


def _root(path: Path) -> Path:
    """The file or folder itself, or the folder above a glob's first wildcard."""
    if path.exists():
        return path
    while MAGIC & set(str(path)):
        path = path.parent
    return path


def _tell_apart(paths: list[Path]) -> list[tuple[str, ...]]:
    """Fewest last parts that tell several paths apart; none where there is only one."""
    if len(paths) < 2:
        return [()] * len(paths)
    roots = list(dict.fromkeys(_root(path) for path in paths))
    if len(roots) == 1:
        return [()] * len(paths)
    n = 1
    while len({root.parts[-n:] for root in roots}) < len(roots):
        n += 1
    return [tuple(part for part in _root(path).parts[-n:] if part != path.anchor) for path in paths]


def _printable(name: str) -> str:
    """One line of valid UTF-8: undecodable bytes and control characters are written as escapes."""
    text = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def picture_path(name: str, frame: int, n_frames: int) -> PurePosixPath:
    """Where a frame's picture lies under ``masks/`` or ``overlays/``.

    The mask of ``neck/a.dcm`` is ``neck/a.dcm.png``; frame 12 of a cine ``neck/c.dcm`` is
    ``neck/c.dcm_frame0012.png``. The file's own ending stays, so that ``a.dcm`` and ``a.jpg``
    have masks of their own. A very long name is cut and told apart by a hash of the whole.
    """
    *folders, last = (_short(part) for part in name.split("/"))
    number = f"_frame{frame:04d}" if n_frames > 1 else ""
    return PurePosixPath(*folders, f"{last}{number}.png")


def _short(part: str) -> str:
    encoded = part.encode("utf-8")
    if len(encoded) <= MAX_NAME_BYTES:
        return part
    digest = hashlib.sha256(encoded).hexdigest()[:12]
    return encoded[: MAX_NAME_BYTES - 13].decode("utf-8", "ignore") + "~" + digest


def content_key(path: Path) -> str:
    """Short hash of a file's content, by which a rerun notices another file of the same name.

    Files up to 4 MiB are read whole; of longer ones the size and 16 samples spread over them,
    so that a rerun over many long cines does not read them all again.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= WHOLE_FILE_BYTES:
            digest.update(file.read())
        else:
            for i in range(N_SAMPLES):
                file.seek((size - SAMPLE_BYTES) * i // (N_SAMPLES - 1))
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()[:16]
