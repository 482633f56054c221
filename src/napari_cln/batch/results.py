"""The folder of results on disk: what is done, what is missing, and how a row gets there.

::

    OUT/results.csv     a row per node, one for a frame without, one for a file that failed
    OUT/masks/          uint8 PNG of each frame's own size: 0 background, 1, 2, … the nodes
    OUT/masks.jsonl     or, on request, all masks in one file, run-length coded
    OUT/overlays/       on request: outlines on the scan area, to look at
    OUT/run.jsonl       the model, and what each source was
    OUT/set-aside/      files that were not as they had been written

A frame is done when its rows and its pictures are whole, by their checksums. Pictures are written first,
through a temporary file, then the rows in one go; so a run that was killed at any moment goes on with the
first frame that is missing. What a power cut or an editor has changed is done again, and told of in
``notes``; the former file is kept.
"""

from __future__ import annotations

import contextlib
import errno
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TextIO

import filelock
import numpy as np
from numpy.typing import NDArray

from ..disk.atomic import keep_former
from ..errors import ExportError, RunError
from .masks import MaskFile, MaskLines
from .names import is_hashed, picture_path
from .pictures import check_of_pixels, check_of_png, encode_picture
from .record import AnotherNamingError, AnotherRunError, RunRecord, SourceRecord, replacing
from .rows import HEADING, KINDS, FrameKey, FrameRows, Row, failed_row, frame_rows
from .table import Table

__all__ = ["Note", "ResultsFolder"]

ONLY_FIRST = frozenset({0})
"""What is done of a file with one frame: one set for all of them, since there may be a million."""
SET_ASIDE = "set-aside"
KEPT = f"What was there is kept in {SET_ASIDE}."
WAYS_OUT = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Make room"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Make it writable"),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "Move the file that has its name"),
    errno.ENAMETOOLONG: "Shorten its name",
}
N_NAMED = 3
"""Frames that a note names; it counts the others."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """A finding of damage or an edit, and what was done about it.

    Parameters
    ----------
    about : str
        The file or folder in the results.
    text : str
        In sentences for the user.
    """

    about: str
    text: str


class ResultsFolder:
    """A folder of results, open for adding; one process at a time.

    Parameters
    ----------
    path : Path
        Made when it is not there.
    made_by : dict of str to str
        The model and the version, and how files are named where they are hashed; results of others are
        refused, unless ``redo``.
    pictures : sequence of str
        Which pictures each frame has: ``"masks"``, ``"overlays"``.
    run_length : bool
        Keep all masks in ``masks.jsonl``.
    redo : bool
        Remove what is there and do everything again.

    Attributes
    ----------
    notes : list of Note
        What was damaged or edited meanwhile, and is done again.

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
        self.pictures = pictures
        self.run_length = run_length
        self.notes: list[Note] = []
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
        path = self.path / "run.jsonl"
        is_new = not path.exists()
        if is_new and "names" in made_by and self._holds_results():
            raise AnotherNamingError(
                f"{self.path.name} holds results, but not the record of how their files are named "
                "(run.jsonl). Choose another --out."
            )
        if redo:
            try:
                RunRecord(path, made_by)
            except AnotherNamingError:  # what is left here and there would still bear the other names
                raise
            except AnotherRunError:
                pass
            self._remove_pictures(Table(self._csv, 0).keys())
            for file in (path, self._csv, self.path / "masks.jsonl"):
                file.unlink(missing_ok=True)
        self._record = self._open_files.enter_context(contextlib.closing(RunRecord(path, made_by)))
        if self.run_length:
            self._mask_lines = MaskLines(self.path / "masks.jsonl")
            self._open_files.callback(self._mask_lines.close)
        self._take_up(is_new)
        self._rows = self._append_to_csv()
        self._open_files.callback(lambda: self._rows.close())

    def _holds_results(self) -> bool:
        names = ("results.csv", "masks.jsonl", "masks", "overlays", SET_ASIDE)
        return any((self.path / name).exists() for name in names)

    def _append_to_csv(self) -> TextIO:
        return self._csv.open("a", encoding="utf-8", newline="")

    # -- what is there -----------------------------------------------------------------------

    def _take_up(self, is_new: bool) -> None:
        """Keep what is whole of an earlier run; failures are left out, since they are tried again."""
        lines, n_damaged = self._mask_lines.read() if self._mask_lines else ({}, 0)
        table = Table(self._csv, self._record.seed)
        n_untold = 0
        left_out: Counter[str] = Counter()
        lost: Counter[str] = Counter()
        named: list[str] = []
        with replacing(self._csv) as new:
            new.write(HEADING)
            for rows in table:
                source = self._record.sources.get(rows.key.source)
                n_untold += source is None and not rows.failed
                if source is None or rows.key.frame in self.done(source.source):
                    continue
                if rows.failed:
                    left_out[source.source] += 1
                    continue
                absent = self._absent(rows, source, lines)
                if absent is None:
                    new.write(rows.text)
                    self._note(rows.key)
                    continue
                left_out[source.source] += 1
                if rows.checks.get(absent):  # one that was never made is no damage
                    lost[absent] += 1
                    named.extend([_named(rows.key, source)] * (len(named) < N_NAMED))
            self._refuse_strangers(table, is_new)
            if table.n_damaged or table.is_edited or n_untold:
                self._keep_former(self._csv)
        if self._record.n_damaged:
            self._keep_former(self._record.path)
        n_lacking = self._begin_again(left_out)
        self._record.open()
        if self._mask_lines and n_damaged:
            self._keep_former(self._mask_lines.path)
            self._mask_lines.keep(lambda key: key.frame in self.done(key.source))
        self._tell_of_files(table, n_untold, n_lacking, n_damaged)
        self._tell_of_pictures(lost, named)

    def _begin_again(self, left_out: Mapping[str, int]) -> int:
        """Take back that files are done of which a frame is missing; return how many frames left no row."""
        n_lacking = 0
        for name, entry in self._record.sources.items():
            n_done = len(self.done(name))
            if entry.n_done is not None and entry.n_done != n_done:
                n_lacking += max(entry.n_done - n_done - left_out[name], 0)
                self._record.sources[name] = replace(entry, n_done=None)
        return n_lacking

    def _absent(self, rows: FrameRows, source: SourceRecord, lines: Mapping[FrameKey, str]) -> str | None:
        """Name what is not as it was written of a frame's mask and overlay, if anything."""
        if self.run_length and lines.get(rows.key, "") != rows.checks.get("masks"):
            return "masks"
        for kind in self.pictures:
            path = self.path / kind / picture_path(*rows.key, source.n_frames)
            try:
                whole = check_of_png(path.read_bytes()) == rows.checks.get(kind, "")
            except OSError:
                whole = False
            if not whole:
                if path.exists() and kind in rows.checks:
                    path.replace(self._place_aside(path))
                return kind
        return None

    def _refuse_strangers(self, table: Table, is_new: bool) -> None:
        """Leave a table alone that this run did not write.

        Raises
        ------
        RunError
        """
        if self._record.is_known or table.n_frames:
            return
        if is_new and table.has_other_text:
            raise RunError(
                f"{self.path.name} holds a results.csv, but not the record of its run (run.jsonl). "
                "Choose another --out, or add --redo to replace it."
            )
        if row := table.stranger:
            model, is_ours = self._record.made_by["model"], "names" in self._record.made_by
            if row["model"] not in ("", model) or is_hashed(row["source"]) != is_ours:
                raise RunError(
                    f"{self.path.name} holds results of another run, of the model {row['model']}, and its "
                    "record (run.jsonl) is damaged. Choose another --out, or add --redo to do all again."
                )

    def _tell_of_files(self, table: Table, n_untold: int, n_lacking: int, n_masks: int) -> None:
        """Note which files were damaged or edited."""
        again = "What was lost is done again."
        if self._record.n_damaged or n_untold:
            n = self._record.n_damaged
            what = f"had {_count(n, 'damaged line')}" if n else "was missing or empty"
            untold = f" Done again: {_count(n_untold, 'frame')} that it no longer tells of." * (n_untold > 0)
            self._add_note("run.jsonl", f"run.jsonl {what}.{untold} {KEPT}")
        if table.is_edited:
            text = (
                f"results.csv was saved by another program; {_count(table.n_frames, 'frame')} could be read."
            )
            rest = f" {again}" * (table.n_damaged > 0)
            self._add_note("results.csv", f"{text}{rest} {KEPT} A new one is written: edit a copy.")
        elif table.n_damaged:
            text = f"results.csv had {_count(table.n_damaged, 'damaged line')}. {again} {KEPT}"
            self._add_note("results.csv", text)
        elif table.is_cut:
            self._add_note("results.csv", f"The last line of results.csv was cut. {again}")
        elif n_lacking:
            text = f"results.csv lacked {_count(n_lacking, 'frame')} that had been done. {again}"
            self._add_note("results.csv", text)
        if n_masks:
            text = f"masks.jsonl had {_count(n_masks, 'damaged line')}. {again} {KEPT}"
            self._add_note("masks.jsonl", text)

    def _tell_of_pictures(self, lost: Mapping[str, int], named: list[str]) -> None:
        for kind, n in lost.items():
            others = f" and {n - len(named)} more" if n > len(named) else ""
            which = f"{', '.join(named)}{others}" if len(lost) == 1 else _count(n, "frame")
            text = f"Missing or damaged {kind} are made again: {which}."
            kept = f" {KEPT}" if (self.path / SET_ASIDE / kind).exists() else ""
            self._add_note(kind, f"{text}{kept}")

    def _add_note(self, about: str, text: str) -> None:
        self.notes.append(Note(about=about, text=text))

    def _keep_former(self, path: Path) -> None:
        """Keep what a file holds now under a new name."""
        if path.exists():
            keep_former(path, self._place_aside(path))

    def _place_aside(self, path: Path) -> Path:
        place = self.path / SET_ASIDE / path.relative_to(self.path)
        place.parent.mkdir(parents=True, exist_ok=True)
        number = 2
        while place.exists():
            place = place.with_name(f"{path.stem}-{number}{path.suffix}")
            number += 1
        return place

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
            self._remove_pictures(rows.key for rows in self._frames() if rows.key.source in sources)
            if self._mask_lines:
                self._mask_lines.keep(lambda key: key.source not in sources)
            self._rewrite(rows.text for rows in self._frames() if rows.key.source not in sources)
        for source in sources:
            self._record.sources.pop(source, None)
            self._done.pop(source, None)

    def _frames(self) -> Table:
        return Table(self._csv, self._record.seed)

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

    def save_picture(self, kind: str, pixels: NDArray[np.uint8], key: FrameKey) -> str:
        """Write a frame's mask or overlay, whole or not at all, and return its checksum."""
        check = check_of_pixels(pixels)
        path = self._picture(kind, key)
        temporary = path.with_name(".picture.tmp")
        data = encode_picture(pixels, check)
        with self._explaining(path.name):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(data)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        return check

    def save_mask_line(self, instances: NDArray[np.uint8], key: FrameKey) -> str:
        """Add a frame's mask to ``masks.jsonl``, and return its checksum."""
        assert self._mask_lines is not None
        with self._explaining("masks.jsonl"):
            return self._mask_lines.add(key, instances)

    def add(self, key: FrameKey, rows: Sequence[Row], checks: Mapping[str, str]) -> None:
        """Write the rows of one frame in one go, with the checksums of its mask and overlay."""
        self._add(frame_rows(key, rows, self._record.seed, checks))

    def add_failure(self, key: FrameKey, message: str) -> None:
        """Write that a frame, or a whole file, gave no result; a mask of an earlier run goes."""
        if key.source in self._record.sources and key.frame >= 0:
            with self._explaining("results.csv"):
                for kind in KINDS:
                    self._picture(kind, key).unlink(missing_ok=True)
        self.add(key, [failed_row(key, message)], {})

    def _add(self, rows: FrameRows) -> None:
        with self._explaining("results.csv"):
            self._rows.write(rows.text)
            self._rows.flush()
        self._note(rows.key)

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
            for rows in part._frames():
                if rows.key.frame in self.done(rows.key.source):
                    continue
                if masks and rows.key in places:
                    self.save_mask_line(masks[places[rows.key]], rows.key)
                for kind in self.pictures:
                    self._move_picture(part, kind, rows.key)
                self._add(rows)
            for entry in part._record.sources.values():
                if entry.n_done is not None:
                    self.finish(entry.source)

    @property
    def has_mask_lines(self) -> bool:
        """Whether ``masks.jsonl`` holds anything."""
        return self._mask_lines is not None and self._mask_lines.path.stat().st_size > 0

    def _picture(self, kind: str, key: FrameKey) -> Path:
        n_frames = self._record.sources[key.source].n_frames
        return self.path / kind / picture_path(*key, n_frames)

    def _move_picture(self, part: ResultsFolder, kind: str, key: FrameKey) -> None:
        if key.source in part._record.sources and (picture := part._picture(kind, key)).exists():
            self._picture(kind, key).parent.mkdir(parents=True, exist_ok=True)
            picture.replace(self._picture(kind, key))

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

    def _remove_pictures(self, keys: Iterable[FrameKey]) -> None:
        """Remove the pictures of frames, so that none outlives its row."""
        for key in keys:
            for kind in KINDS:
                for n_frames in (1, 2):
                    (self.path / kind / picture_path(*key, n_frames)).unlink(missing_ok=True)

    def _rewrite(self, lines: Iterable[str]) -> None:
        self._rows.close()
        try:
            with replacing(self._csv) as new:
                new.write(HEADING)
                new.writelines(lines)
        finally:
            self._rows = self._append_to_csv()

    @contextlib.contextmanager
    def _explaining(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as cause:
            way_out = WAYS_OUT.get(cause.errno or 0, "Look at the disk")
            raise ExportError(
                f"{what} can't be written in {self.path.name}: {(cause.strerror or str(cause)).lower()}. "
                f"{way_out}, or choose another --out; the same command goes on where it stopped."
            ) from cause

    # -- closing -----------------------------------------------------------------------------

    def sort(self) -> None:
        """Order the rows by source and frame, where a rerun has added some out of order."""
        if self._sorted:
            return
        with self._explaining("results.csv"):
            self._rewrite(rows.text for rows in sorted(self._frames(), key=lambda rows: rows.key))
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


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _named(key: FrameKey, source: SourceRecord) -> str:
    return f"{key.source} (frame {key.frame})" if source.n_frames > 1 else key.source


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    try:
        with filelock.FileLock(path / ".lock", timeout=0):
            yield
    except filelock.Timeout as cause:
        raise RunError(
            f"Another run is writing to {path.name}. Wait until it has ended, or choose another --out."
        ) from cause
