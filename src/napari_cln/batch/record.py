"""``run.jsonl``: which model made a folder of results, and what each source was.

The first line names the model and the version. Each source has a line when it is begun and one
when it is done to its end; the last line of a source counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from ..errors import RunError

__all__ = ["RunRecord", "SourceRecord", "replacing"]


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file that takes the place of another once it is whole."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceRecord:
    """A source as it was when its results were made.

    Parameters
    ----------
    source : str
        Its name in the results.
    content : str
        :func:`~napari_cln.batch.names.content_key` of the file.
    n_frames : int
        How many frames it says it has.
    n_done : int, optional
        How many it gave; None until it is done to its end.
    """

    source: str
    content: str
    n_frames: int
    n_done: int | None = None


class RunRecord:
    """The record of a folder of results, open for adding.

    Parameters
    ----------
    path : Path
        ``run.jsonl``; read if it is there.
    made_by : dict of str to str
        The model and the version of this run.

    Raises
    ------
    RunError
        If the record is of another model or version.
    """

    def __init__(self, path: Path, made_by: dict[str, str]) -> None:
        self.sources: dict[str, SourceRecord] = {}
        if path.exists():
            self._read(path, made_by)
        with replacing(path) as file:
            file.write(json.dumps(made_by) + "\n")
            file.writelines(_line(entry) for entry in self.sources.values())
        self._file = path.open("a", encoding="utf-8")

    def _read(self, path: Path, made_by: dict[str, str]) -> None:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        try:
            earlier = json.loads(lines[0])
        except (IndexError, json.JSONDecodeError):
            earlier = {}
        if earlier != made_by:
            raise RunError(
                f"{path.parent.name} holds results of {_described(earlier)}, and this run uses "
                f"{_described(made_by)}. Choose another --out, or add --redo to do all again."
            )
        for line in lines[1:]:
            try:
                entry = SourceRecord(**json.loads(line))
            except (json.JSONDecodeError, TypeError):
                continue  # a line that was cut: its source is done again
            self.sources[entry.source] = entry

    def add(self, entry: SourceRecord) -> None:
        """Append what is now known of a source."""
        self.sources[entry.source] = entry
        self._file.write(_line(entry))
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _line(entry: SourceRecord) -> str:
    return json.dumps(asdict(entry), ensure_ascii=False) + "\n"


def _described(made_by: dict[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in made_by.items()) or "an unknown model"
