"""Names of a source and its mask in a folder of results.

A name never holds an absolute path, depends only on the paths that were given, and is unique:
two folders that hold the same file name do not overwrite each other.

Names of files and folders may hold names of patients. On request each is replaced by a key, a keyed
hash (HMAC-SHA-256) whose salt never leaves the user's configuration folder.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

from ..disk.cells import printable
from ..disk.user import patient_salt
from ..errors import FrameReadError, RunError
from ..io.sources import locate_sources
from .rows import KINDS

Naming: TypeAlias = Literal["path", "hash"]
"""Ways to call files in the results: by their path, or by a salted hash of it."""

ARCHIVE = PurePosixPath("dicom")
"""Folder of the DICOM objects in a folder of results."""
SET_ASIDE, PARTS = "set-aside", "parts"
OWN_FOLDERS = frozenset({*KINDS, SET_ASIDE, PARTS})
"""Folders of a folder of results that hold pictures."""
MAGIC = frozenset("*?[")
MAX_NAME_BYTES = 200
"""File systems take 255 bytes a name; what is left is for a frame number and an ending."""

WHOLE_FILE_BYTES = 4 << 20
SAMPLE_BYTES = 64 << 10
N_SAMPLES = 16

KEY = re.compile(r"file-[0-9a-f]{20}")
SHORTEST_SALT = 32


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
    seal : bytes
        Of a file whose name is hashed: the key of its content's hash; empty otherwise.
    """

    name: str
    # not shown, since a cluster writes what a task was given into its logs
    root: str = field(repr=False)
    inside: str = field(repr=False)
    seal: bytes = field(default=b"", repr=False, compare=False)

    @property
    def path(self) -> Path:
        """Place of the file."""
        return Path(self.root, self.inside)

    def content(self) -> str:
        """Content key of the file, by which a rerun notices another file of the same name.

        Raises
        ------
        OSError
            If the file can't be read.
        """
        return content_key(self.path, self.seal)

    def hide(self, text: str) -> str:
        """Return a sentence about the file with its name as it is in the results."""
        if not self.seal:
            return text
        own, *folders = self.path.parts[::-1]
        text = _put(self.name, str(self.path), text)
        for name in (own, printable(own)):
            text = _put(self.name, name, text)
        # Sentences tell a file by its whole name; this is for one that does not. Plain words stay.
        for part in (Path(own).stem, *folders[: len(Path(self.inside).parts)]):
            if len(part) > 2 and not re.fullmatch("[a-z]+", part):
                text = _put(self.name, part, text)
        return text


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
            name = printable("/".join((*label, *filter(None, [inside]))) or absolute.name)
            source = NamedSource(name=name, root=folder, inside=name if name == inside else inside)
            found.setdefault(str(absolute), source)
    return sorted(found.values())


def list_sources(paths: Iterable[str | Path], names: Naming = "path") -> list[NamedSource]:
    """List the image files under some paths with what they are called in the results, sorted by that.

    Parameters
    ----------
    paths : iterable of str or Path
        Files, folders (searched through) and glob patterns.
    names : {"path", "hash"}
        Whether each name is replaced by its key.

    Raises
    ------
    FrameReadError
        If a folder or glob holds no image.
    RunError
        If the names are to be hashed, and there is no salt to do it with.

    Examples
    --------
    >>> for source in list_sources(["scans/"], names="hash"):  # doctest: +SKIP
    ...     print(source.name, source.path)
    """
    if names == "path":
        return name_sources(paths)
    salt, paths = _salt(), list(paths)
    try:
        found = name_sources(paths)
    except FrameReadError:
        raise FrameReadError(
            f"{_unnamed(paths)} holds no image, DICOM or video. Check it; without --names hash this message "
            "names it."
        ) from None
    seal = hmac.digest(salt, b"content of files", "sha256")
    return sorted(replace(source, name=_key(salt, source.name), seal=seal) for source in found)


def sources_outside(out: Path, paths: Iterable[str | Path], names: Naming = "path") -> list[NamedSource]:
    """List as :func:`list_sources` does, without results, which are no frames of the study.

    What lies in ``out`` is left out, unless it lies below a path that was given and lies there too, such as
    ``scans`` where ``out`` is the folder around it.

    Raises
    ------
    RunError
        If a path that was given is ``out`` itself, or lies where the pictures of the results do; or if
        nothing is left.
    """
    paths, here = list(paths), Path(os.path.realpath(out))
    inside = set()
    for path in paths:
        root = Path(os.path.realpath(_root(_absolute(path))))
        what = _unnamed(paths) if names == "hash" else root.name or str(root)
        if root == here:
            raise RunError(
                f"{what} can't be read and take the results as well: their pictures would be taken for "
                "frames. Choose another --out; it may lie inside."
            )
        if here in root.parents:
            if root.relative_to(here).parts[0] in OWN_FOLDERS:
                raise RunError(f"{what} lies where the pictures of the results do. Choose another --out.")
            inside.add(root)
    found = []
    for source in list_sources(paths, names):
        place = Path(os.path.realpath(source.path))
        if here not in place.parents or not inside.isdisjoint((place, *place.parents)):
            found.append(source)
    if not found:
        raise RunError(
            "All images that were found lie in the folder of the results, which is left out. Choose another "
            "--out."
        )
    return found


def mark_of_naming(naming: Naming) -> str:
    """Return what a folder of results notes about its names, so that runs of two kinds never mix.

    Empty for names by path. For hashed names it holds a mark of the salt, by which another computer's is
    told apart; nothing can be hashed with it.
    """
    if naming == "path":
        return ""
    return f"hash {hmac.new(_salt(), b'names of files', hashlib.sha256).hexdigest()[:8]}"


def is_hashed(name: str) -> bool:
    """Tell a key from a name by path."""
    return KEY.fullmatch(name) is not None


def _key(salt: bytes, name: str) -> str:
    return f"file-{hmac.new(salt, b'file:' + name.encode(), hashlib.sha256).hexdigest()[:20]}"


def _salt() -> bytes:
    try:
        salt = patient_salt()
    except OSError as cause:
        raise RunError(
            f"The salt that names are hashed with can't be kept ({cause.strerror}). Make your "
            "configuration folder writable, or name another one by NAPARI_CLN_CONFIG."
        ) from cause
    if len(salt) < SHORTEST_SALT:
        raise RunError(
            "The salt that names are hashed with is damaged (patient-salt, in your configuration folder). "
            "Put back a copy of it, or remove it for a new one; former keys then fit no more."
        )
    return salt


def _put(key: str, name: str, text: str) -> str:
    """Put the key in the place of a name; a short number may be another one, but where a sentence begins."""
    if not name:
        return text
    where = r"(?<!\w)" if len(name) > 3 or re.search(r"[^\W\d]", name) else "^"
    return re.sub(rf"{where}{re.escape(name)}(?!\w)", key, text)


def _unnamed(paths: list[str | Path]) -> str:
    """A path that was given, without its name."""
    return "The path that was given" if len(paths) == 1 else f"One of the {len(paths)} paths that was given"


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


def picture_path(name: str, frame: int, n_frames: int) -> PurePosixPath:
    """Return the place of a frame's picture under ``masks/`` or ``overlays/``.

    The mask of ``neck/a.dcm`` is ``neck/a.dcm.png``; frame 12 of a cine ``neck/c.dcm`` is
    ``neck/c.dcm_frame0012.png``. The file's own ending stays, so that ``a.dcm`` and ``a.jpg``
    have masks of their own. A very long name is cut and told apart by a hash of the whole.
    """
    *folders, last = (_short(part) for part in name.split("/"))
    number = f"_frame{frame:04d}" if n_frames > 1 else ""
    return PurePosixPath(*folders, f"{last}{number}.png")


def object_path(name: str, kind: Literal["seg", "sr"]) -> PurePosixPath:
    """Return the place of a file's DICOM segmentation or report in a folder of results."""
    stem = picture_path(name, 0, 1).with_suffix("")
    return ARCHIVE / stem.with_name(f"{stem.name}.{kind}.dcm")


def _short(part: str) -> str:
    encoded = part.encode("utf-8")
    if len(encoded) <= MAX_NAME_BYTES:
        return part
    digest = hashlib.sha256(encoded).hexdigest()[:12]
    return encoded[: MAX_NAME_BYTES - 13].decode("utf-8", "ignore") + "~" + digest


def content_key(path: Path, seal: bytes = b"") -> str:
    """Short hash of a file's content, under a key where one is given.

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
    found = hmac.digest(seal, digest.digest(), "sha256") if seal else digest.digest()
    return found.hex()[:16]
