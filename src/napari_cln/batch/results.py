"""The folder of results on disk: what is done, what is missing, and how a row gets there.

::

    OUT/results.csv     a row per node, one for a frame without, one for a file that failed
    OUT/masks/          uint8 PNG of each frame's own size: 0 background, 1, 2, … the nodes
    OUT/masks.jsonl     or, on request, all masks in one file, run-length coded
    OUT/overlays/       on request: outlines on the scan area, to look at
    OUT/run.jsonl       the model, and what each source was

A frame is done when its rows and its pictures are whole. Pictures are written first, through a
temporary file, then the rows in one go; so a run that was killed at any moment goes on with the
first frame that is missing.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import TextIO

import filelock
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ExportError, RunError
from .masks import MaskFile, MaskLines
from .names import picture_path
from .record import RunRecord, SourceRecord, replacing
from .rows import COLUMNS, FrameKey, Row, csv_line, key_of, parsed

__all__ = ["ResultsFolder"]

PICTURE_COMPRESSION = zlib.Z_RLE
"""Half the time of zlib's own choice on flat pictures, and no larger."""
ONLY_FIRST = frozenset({0})
"""What is done of a file with one frame: one set for all of them, since there may be a million."""


class ResultsFolder:
    """A folder of results, open for adding; one process at a time.

    Parameters
    ----------
    path : Path
        Made when it is not there.
    made_by : dict of str to str
        The model and the version; results of others are refused, unless ``redo``.
    pictures : sequence of str
        Which pictures each frame has: ``"masks"``, ``"overlays"``.
    run_length : bool
        Keep all masks in ``masks.jsonl``.
    redo : bool
        Remove what is there and do everything again.

    Raises
    ------
    RunError
        If the folder holds results of another model or version, or is in use.
    ExportError
        If it can't be written.
    """

    def __init__(
        self,
        path: Path,
        made_by: dict[str, str],
        *,
        pictures: Sequence[str] = ("masks",),
        run_length: bool = False,
        redo: bool = False,
    ) -> None:
        self.path = path
        self.pictures = tuple(pictures)
        self.run_length = run_length
        self._mask_lines: MaskLines | None = None
        self._done: dict[str, Set[int]] = {}
        self._last = FrameKey("", -1)
        self._sorted = True
        self._csv = path / "results.csv"
        self._open_files = contextlib.ExitStack()
        with self._open_files, self._explaining("results.csv"):
            path.mkdir(parents=True, exist_ok=True)
            self._open_files.enter_context(_lock(path))
            self._open(made_by, redo)
            self._open_files = self._open_files.pop_all()

    def _open(self, made_by: dict[str, str], redo: bool) -> None:
        record = self.path / "run.jsonl"
        if redo:
            self._remove_pictures(None)
            record.unlink(missing_ok=True)
            self._csv.unlink(missing_ok=True)
            (self.path / "masks.jsonl").unlink(missing_ok=True)
        elif self._csv.exists() and not record.exists():
            raise RunError(
                f"{self.path.name} holds a results.csv, but not the record of its run (run.jsonl). "
                "Choose another --out, or add --redo to replace it."
            )
        self._record = self._open_files.enter_context(contextlib.closing(RunRecord(record, made_by)))
        if self.run_length:
            self._mask_lines = MaskLines(self.path / "masks.jsonl")
            self._open_files.callback(self._mask_lines.close)
        # Rows that were cut, and those of files that failed, are left out: they are done again.
        with replacing(self._csv) as new:
            new.write(csv_line(COLUMNS))
            for key, lines in self._whole_frames():
                new.writelines(lines)
                self._note(key)
        self._rows = self._append_to_csv()
        self._open_files.callback(lambda: self._rows.close())

    def _append_to_csv(self) -> TextIO:
        return self._csv.open("a", encoding="utf-8", newline="")

    # -- what is there -----------------------------------------------------------------------

    def _frames(self) -> Iterator[tuple[FrameKey, list[tuple[str, Row]]]]:
        """Each frame of results.csv with its lines; lines that were cut are passed over."""
        if not self._csv.exists():
            return
        with self._csv.open(encoding="utf-8", errors="replace", newline="") as file:
            next(file, None)
            rows = ((line, row) for line in file if (row := parsed(line)) is not None)
            for key, group in groupby(rows, key=lambda item: key_of(item[1])):
                yield key, list(group)

    def _whole_frames(self) -> Iterator[tuple[FrameKey, list[str]]]:
        lines = self._mask_lines.node_counts() if self._mask_lines else None
        for key, group in self._frames():
            if self._is_whole(key, [row for _, row in group], lines):
                yield key, [line for line, _ in group]

    def _is_whole(self, key: FrameKey, rows: list[Row], lines: Mapping[FrameKey, int] | None) -> bool:
        entry = self._record.sources.get(key.source)
        if (
            entry is None
            or key.frame in self.done(key.source)
            or any(row["status"] == "failed" for row in rows)
        ):
            return False
        n_nodes = sum(row["node"] != "" for row in rows)
        if lines is not None and lines.get(key) != n_nodes:
            return False
        try:
            for kind in self.pictures:
                with Image.open(self.path / kind / picture_path(*key, entry.n_frames)) as picture:
                    if kind == "masks" and picture.getextrema()[1] != n_nodes:
                        return False
        except OSError:
            return False
        return True

    def done(self, source: str) -> Set[int]:
        """Numbers of the frames of a source that are done."""
        return self._done.get(source, frozenset())

    def is_complete(self, source: str) -> bool:
        """Whether a source is done to its end."""
        entry = self._record.sources.get(source)
        return entry is not None and entry.n_done == len(self.done(source))

    def content(self, source: str) -> str | None:
        """Content key of the file that a source was when it was begun."""
        entry = self._record.sources.get(source)
        return None if entry is None else entry.content

    def forget(self, sources: Set[str]) -> None:
        """Remove rows and pictures of sources whose file has become another."""
        with self._explaining("results.csv"):
            self._remove_pictures(sources)
            if self._mask_lines:
                self._mask_lines.forget(sources)
            self._rewrite(
                line for key, group in self._frames() if key.source not in sources for line, _ in group
            )
        for source in sources:
            self._record.sources.pop(source, None)
            self._done.pop(source, None)

    # -- adding ------------------------------------------------------------------------------

    def begin(self, source: str, content: str, n_frames: int) -> None:
        """Note a source before its first row."""
        if source not in self._record.sources:
            with self._explaining("run.jsonl"):
                self._record.add(SourceRecord(source=source, content=content, n_frames=n_frames))

    def finish(self, source: str) -> None:
        """Note that a source is done to its end."""
        with self._explaining("run.jsonl"):
            self._record.add(replace(self._record.sources[source], n_done=len(self.done(source))))

    def save_picture(self, kind: str, picture: Image.Image, key: FrameKey, n_frames: int) -> None:
        """Write a frame's mask or overlay, whole or not at all."""
        path = self.path / kind / picture_path(*key, n_frames)
        temporary = path.with_name(".picture.tmp")
        with self._explaining(path.name):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                picture.save(temporary, format="PNG", compress_type=PICTURE_COMPRESSION)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

    def save_mask_line(self, instances: NDArray[np.uint8], key: FrameKey) -> None:
        """Add a frame's mask to ``masks.jsonl``."""
        assert self._mask_lines is not None
        with self._explaining("masks.jsonl"):
            self._mask_lines.add(key, instances)

    def add(self, key: FrameKey, rows: list[Row]) -> None:
        """Write the rows of one frame, or of a file that failed, in one go."""
        with self._explaining("results.csv"):
            self._rows.write("".join(csv_line([row.get(column, "") for column in COLUMNS]) for row in rows))
            self._rows.flush()
        self._note(key)

    def adopt(self, part: ResultsFolder) -> None:
        """Take over the frames of another folder of results, pictures and all.

        The other folder must lie on the same disk. Frames that are here already stay: taking over may
        have been cut short before.
        """
        with self._explaining("results.csv"):
            for entry in part._record.sources.values():
                self.begin(entry.source, entry.content, entry.n_frames)
            masks = MaskFile(part.path / "masks.jsonl") if self._mask_lines and part.has_mask_lines else None
            places = {key: i for i, key in enumerate(masks.keys)} if masks else {}
            for key, group in part._frames():
                if key.frame in self.done(key.source):
                    continue
                if masks and key in places:
                    self.save_mask_line(masks[places[key]], key)
                for kind in self.pictures:
                    self._move_picture(part, kind, key)
                self.add(key, [row for _, row in group])
            for entry in part._record.sources.values():
                if entry.n_done is not None:
                    self.finish(entry.source)

    @property
    def has_mask_lines(self) -> bool:
        """Whether ``masks.jsonl`` holds anything."""
        return self._mask_lines is not None and self._mask_lines.path.stat().st_size > 0

    def _move_picture(self, part: ResultsFolder, kind: str, key: FrameKey) -> None:
        entry = part._record.sources.get(key.source)
        if entry is None:
            return
        name = picture_path(*key, entry.n_frames)
        if (part.path / kind / name).exists():
            (self.path / kind / name).parent.mkdir(parents=True, exist_ok=True)
            (part.path / kind / name).replace(self.path / kind / name)

    def _note(self, key: FrameKey) -> None:
        self._sorted = self._sorted and key > self._last
        self._last = key
        known = self._done.get(key.source)
        if isinstance(known, set):
            known.add(key.frame)
        elif known is None and key.frame == 0:
            self._done[key.source] = ONLY_FIRST
        else:
            self._done[key.source] = {*(known or ()), key.frame}

    def _remove_pictures(self, sources: Set[str] | None) -> None:
        """Remove the pictures that results.csv tells of, so that none outlives its row."""
        for key, _ in self._frames():
            if sources is None or key.source in sources:
                for kind in ("masks", "overlays"):
                    for n_frames in (1, 2):
                        (self.path / kind / picture_path(*key, n_frames)).unlink(missing_ok=True)

    def _rewrite(self, lines: Iterable[str]) -> None:
        self._rows.close()
        with replacing(self._csv) as new:
            new.write(csv_line(COLUMNS))
            new.writelines(lines)
        self._rows = self._append_to_csv()

    @contextlib.contextmanager
    def _explaining(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as cause:
            raise ExportError(
                f"{what} can't be written in {self.path.name}: {(cause.strerror or str(cause)).lower()}. "
                "Make room, or choose another --out; the same command goes on where it stopped."
            ) from cause

    # -- closing -----------------------------------------------------------------------------

    def sort(self) -> None:
        """Order the rows by source and frame, where a rerun has added some out of order."""
        if self._sorted:
            return
        with self._explaining("results.csv"):
            frames = sorted(self._frames(), key=lambda frame: frame[0])
            self._rewrite([line for _, group in frames for line, _ in group])
        self._sorted = True

    def close(self) -> None:
        """Close the files and let others write; a row that a full disk refused was reported before."""
        with contextlib.suppress(OSError):
            self._open_files.close()

    def __enter__(self) -> ResultsFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    try:
        with filelock.FileLock(path / ".lock", timeout=0):
            yield
    except filelock.Timeout as cause:
        raise RunError(
            f"Another run is writing to {path.name}. Wait until it has ended, or choose another --out."
        ) from cause
