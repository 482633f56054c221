"""``run.jsonl``: which model made a folder of results, and what each source was.

The first line names the model and the version. Each source has a line when it is begun and one
when it is done to its end; the last line of a source counts. Each line ends with a checksum, which fits
under this model and version alone.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ..disk.atomic import replacing
from ..errors import RunError
from .rows import FrameKey, checksum

LONGEST_LINE = 1 << 20
ONLY_FIRST = frozenset({0})
"""Frames that are done of a file with one frame: one set for all of them, since there may be a million."""


class AnotherRunError(RunError):
    """A folder holds results that this run can't go on with."""


class AnotherModelError(AnotherRunError):
    """A folder holds results of another model or version."""


class AnotherNamingError(AnotherRunError):
    """A folder holds results whose files are named in another way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceRecord:
    """A source as it was when its results were made.

    Parameters
    ----------
    source : str
        Its name in the results.
    content : str
        :meth:`~napari_cln.batch.names.NamedSource.content` of the file.
    n_frames : int
        How many frames it says it has.
    n_done : int, optional
        How many it gave; None until it is done to its end.
    """

    source: str
    content: str
    n_frames: int
    n_done: int | None = None

    def line(self, seed: int) -> str:
        """Return the source's line in the record."""
        # dataclasses.asdict takes ten times as long, and there may be a million
        return _line({name: getattr(self, name) for name in self.__slots__}, seed)


class DoneFrames:
    """The frames of each source that are done, and whether they were told of in order."""

    def __init__(self) -> None:
        self.in_order = True
        self._of: dict[str, Set[int]] = {}
        self._last = FrameKey("", -1)

    def add(self, key: FrameKey) -> None:
        """Note a frame."""
        self.in_order = self.in_order and key > self._last
        self._last = key
        known = self._of.get(key.source)
        if isinstance(known, set):
            known.add(key.frame)
        elif known is None and key.frame == 0:
            self._of[key.source] = ONLY_FIRST
        else:
            self._of[key.source] = {*(known or ()), key.frame}

    def of(self, source: str) -> Set[int]:
        """Return the numbers of the frames of a source."""
        return self._of.get(source, frozenset())

    def forget(self, source: str) -> None:
        """Forget the frames of a source."""
        self._of.pop(source, None)


class RunRecord:
    """The record of a folder of results.

    Parameters
    ----------
    path : Path
        ``run.jsonl``; read if it is there.
    made_by : dict of str to str
        The model and the version of this run.

    Attributes
    ----------
    sources : dict of str to SourceRecord
    seed : int
        Of all checksums of the folder.
    is_known : bool
        The record says that this model and version made the folder.
    n_damaged : int
        Lines that are not whole.
    is_headless : bool
        The file is there, without its first line.

    Raises
    ------
    AnotherRunError
        If the record is of another model or version, or names files in another way.
    """

    def __init__(self, path: Path, made_by: dict[str, str]) -> None:
        self.path = path
        self.made_by = made_by
        self.seed = zlib.crc32(json.dumps(made_by).encode())
        self.sources: dict[str, SourceRecord] = {}
        self.n_damaged = 0
        self.is_known = False
        self.is_headless = path.exists()
        self._file: TextIO | None = None
        for raw in _lines(path):
            if entry := self._read(raw):
                self.sources[entry.source] = entry
                self.is_known = True

    def _read(self, raw: bytes) -> SourceRecord | None:
        """The entry of a line; None for the first line, and for one that is not whole."""
        try:
            line = json.loads(raw)
            check = line.pop("check")
            if check == _check(line, self.seed):
                return SourceRecord(**line)
            if "source" not in line and check == _check(line, 0):
                _compare(line, self.made_by, self.path.parent.name)
                self.is_known = True
                self.is_headless = False
                return None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            pass
        # one that was cut is no damage, zeros that a power cut left are
        self.n_damaged += raw.endswith(b"\n") or b"\0" in raw
        return None

    def open(self) -> None:
        """Write the record anew, without what is not whole, and open it for adding."""
        with replacing(self.path) as file:
            file.write(_line(self.made_by, 0))
            file.writelines(entry.line(self.seed) for entry in self.sources.values())
        self._file = self.path.open("a", encoding="utf-8")

    def add(self, entry: SourceRecord) -> None:
        """Append what is now known of a source."""
        assert self._file is not None
        self.sources[entry.source] = entry
        self._file.write(entry.line(self.seed))
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _lines(path: Path) -> Iterator[bytes]:
    if path.exists():
        with path.open("rb") as file:
            while raw := file.readline(LONGEST_LINE):
                yield raw


def _line(entry: Mapping[str, Any], seed: int) -> str:
    return json.dumps({**entry, "check": _check(entry, seed)}, ensure_ascii=False) + "\n"


def _check(entry: Mapping[str, Any], seed: int) -> str:
    return checksum(json.dumps(entry, ensure_ascii=False).encode(), seed)


def _compare(earlier: Mapping[str, str], now: Mapping[str, str], folder: str) -> None:
    """Refuse to go on with results of another run.

    Raises
    ------
    AnotherRunError
    """
    if earlier.get("names") != now.get("names"):
        if "names" not in earlier:
            raise AnotherNamingError(
                f"{folder} holds results under the files' own names, and this run hashes them. Choose "
                "another --out: the two never stand in one folder."
            )
        if "names" not in now:
            raise AnotherNamingError(
                f"{folder} holds results under hashed names, and this run would write the files' own. Add "
                "--names hash, or choose another --out."
            )
        raise AnotherNamingError(
            f"{folder} holds results whose names were hashed with another salt, on another computer or by "
            "another user. Go on there, or choose another --out."
        )
    if earlier != now:
        raise AnotherModelError(
            f"{folder} holds results of {_described(earlier)}, and this run uses {_described(now)}. "
            "Choose another --out, or add --redo to do all again."
        )


def _described(made_by: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in made_by.items() if key != "names")
