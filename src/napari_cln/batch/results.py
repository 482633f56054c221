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
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TextIO

import filelock
import numpy as np
from numpy.typing import NDArray

from ..disk.atomic import replacing, sweep
from ..errors import ExportError, RunError, counted
from .earlier import N_NAMED, EarlierRun, RepairNote
from .masks import MaskFile, MaskLines
from .names import SET_ASIDE, is_hashed, object_path, picture_path
from .pictures import check_of_pixels, encode_picture
from .radiomics import RADIOMICS, forget_measured
from .record import AnotherModelError, AnotherNamingError, DoneFrames, RunRecord, SourceRecord
from .rows import HEADING, KINDS, FrameKey, FrameRows, ResultsTable, Row, failed_row, frame_rows

WAYS_OUT = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Make room"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Make it writable"),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "Move the file that has its name"),
    errno.ENAMETOOLONG: "Shorten its name",
}


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
    patience_s : float
        Seconds to wait for another run to end.

    Attributes
    ----------
    notes : list of RepairNote
        What was damaged or edited meanwhile, or is of a file that has become another, and is done again.

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
        patience_s: float = 0.0,
    ) -> None:
        self.path = path
        self.pictures = pictures
        self.run_length = run_length
        self.notes: list[RepairNote] = []
        self._mask_lines: MaskLines | None = None
        self._done = DoneFrames()
        self._csv = path / "results.csv"
        self._open_files = contextlib.ExitStack()
        with self._open_files, _explaining(self.path, "results.csv"):
            path.mkdir(parents=True, exist_ok=True)
            self._open_files.enter_context(_lock(path, patience_s))
            sweep([path], older_than_s=-1)  # nobody else writes here now
            self._open(made_by, redo)
            self._open_files = self._open_files.pop_all()

    def _open(self, made_by: dict[str, str], redo: bool) -> None:
        path = self.path / "run.jsonl"
        is_new = not path.exists()
        if "names" in made_by and is_new and _holds_results(self.path):
            raise AnotherNamingError(
                f"{self.path.name} holds results, and no record (run.jsonl) of how their files are named. "
                "Choose another --out."
            )
        if redo:
            self._clear(path, made_by)
        self._record = self._open_files.enter_context(contextlib.closing(RunRecord(path, made_by)))
        if self.run_length:
            self._mask_lines = MaskLines(self.path / "masks.jsonl")
            self._open_files.callback(self._mask_lines.close)
        pictures = {kind: self.path / kind for kind in self.pictures}
        earlier = EarlierRun(self._csv, self._record, self._mask_lines, pictures)
        earlier.take_up(self._done, is_new=is_new)
        self.notes = earlier.notes
        if not self.run_length:  # its lines would no longer be those of the table
            (self.path / "masks.jsonl").unlink(missing_ok=True)
        self._rows = self._append_to_csv()
        self._open_files.callback(lambda: self._rows.close())

    def _clear(self, record: Path, made_by: dict[str, str]) -> None:
        """Remove the results of an earlier run; where files are named otherwise, some names would stay."""
        with contextlib.suppress(AnotherModelError):
            RunRecord(record, made_by)
        keys = set(ResultsTable(self._csv, 0).keys())
        if "names" in made_by and not all(is_hashed(key.source) for key in keys):
            raise AnotherNamingError(
                f"{self.path.name} holds results under the files' own names. Choose another --out."
            )
        _remove_pictures(self.path, keys)
        _remove_objects(self.path, {key.source for key in keys})
        for file in (record, self._csv, self.path / "masks.jsonl", self.path / RADIOMICS):
            file.unlink(missing_ok=True)

    def _append_to_csv(self) -> TextIO:
        return self._csv.open("a", encoding="utf-8", newline="")

    # -- what is there -----------------------------------------------------------------------

    def done(self, source: str) -> Set[int]:
        """Numbers of the frames of a source that are done."""
        return self._done.of(source)

    def is_complete(self, source: str) -> bool:
        """Tell whether a source is done to its end."""
        entry = self._record.sources.get(source)
        return entry is not None and entry.n_done == len(self.done(source))

    def content(self, source: str) -> str | None:
        """Content key of the file that a source was when it was begun."""
        entry = self._record.sources.get(source)
        return None if entry is None else entry.content

    def forget(self, sources: Set[str]) -> None:
        """Remove rows and pictures of sources whose file has become another, and what was made of them."""
        with _explaining(self.path, "results.csv"):
            forget_measured(self.path, sources)
            old = [rows.key for rows in self._frames() if rows.key.source in sources]
            _remove_pictures(self.path, old)
            _remove_objects(self.path, sources)
            if self._mask_lines:
                self._mask_lines.keep(lambda key: key.source not in sources)
            self._rewrite(rows.text for rows in self._frames() if rows.key.source not in sources)
        if replaced := sorted(source for source in sources if self.done(source)):
            self.notes.append(_note_of_replaced(replaced))
        for source in sources:
            self._record.sources.pop(source, None)
            self._done.forget(source)

    def _frames(self) -> ResultsTable:
        return ResultsTable(self._csv, self._record.seed)

    # -- adding ------------------------------------------------------------------------------

    def begin(self, source: str, content: str, n_frames: int) -> None:
        """Note a source before its first row."""
        if source not in self._record.sources:
            with _explaining(self.path, "run.jsonl"):
                self._record.add(SourceRecord(source=source, content=content, n_frames=n_frames))

    def finish(self, source: str) -> None:
        """Note that a source is done to its end."""
        with _explaining(self.path, "run.jsonl"):
            self._record.add(replace(self._record.sources[source], n_done=len(self.done(source))))

    def save_picture(self, kind: str, pixels: NDArray[np.uint8], key: FrameKey) -> str:
        """Write a frame's mask or overlay, whole or not at all, and return its checksum."""
        check = check_of_pixels(pixels)
        path = self._picture(kind, key)
        temporary = path.with_name(".picture.tmp")
        data = encode_picture(pixels, check)
        with _explaining(self.path, path.name):
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
        with _explaining(self.path, "masks.jsonl"):
            return self._mask_lines.add(key, instances)

    def add(self, key: FrameKey, rows: Sequence[Row], checks: Mapping[str, str]) -> None:
        """Write the rows of one frame in one go, with the checksums of its mask and overlay."""
        self._add(frame_rows(key, rows, self._record.seed, checks))

    def add_failure(self, key: FrameKey, message: str) -> None:
        """Write that a frame, or a whole file, gave no result; a mask of an earlier run goes."""
        if key.source in self._record.sources and key.frame >= 0:
            with _explaining(self.path, "results.csv"):
                for kind in KINDS:
                    self._picture(kind, key).unlink(missing_ok=True)
        self.add(key, [failed_row(key, message)], {})

    def _add(self, rows: FrameRows) -> None:
        with _explaining(self.path, "results.csv"):
            self._rows.write(rows.text)
            self._rows.flush()
        self._done.add(rows.key)

    def adopt(self, part: ResultsFolder) -> None:
        """Take over the frames of another folder of results, pictures and all.

        The other folder must lie on the same disk. Frames that are here already stay: taking over may
        have been cut short before.
        """
        with _explaining(self.path, "results.csv"):
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
        """True where ``masks.jsonl`` holds anything."""
        return self._mask_lines is not None and self._mask_lines.path.stat().st_size > 0

    def _picture(self, kind: str, key: FrameKey) -> Path:
        n_frames = self._record.sources[key.source].n_frames
        return self.path / kind / picture_path(*key, n_frames)

    def _move_picture(self, part: ResultsFolder, kind: str, key: FrameKey) -> None:
        if key.source in part._record.sources and (picture := part._picture(kind, key)).exists():
            self._picture(kind, key).parent.mkdir(parents=True, exist_ok=True)
            picture.replace(self._picture(kind, key))

    def _rewrite(self, lines: Iterable[str]) -> None:
        self._rows.close()
        try:
            with replacing(self._csv) as new:
                new.write(HEADING)
                new.writelines(lines)
        finally:
            self._rows = self._append_to_csv()

    # -- closing -----------------------------------------------------------------------------

    def sort(self) -> None:
        """Order the rows by source and frame, where a rerun has added some out of order."""
        if self._done.in_order:
            return
        with _explaining(self.path, "results.csv"):
            self._rewrite(rows.text for rows in sorted(self._frames(), key=lambda rows: rows.key))
        self._done.in_order = True

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
def _lock(path: Path, patience_s: float) -> Iterator[None]:
    try:
        with filelock.FileLock(path / ".lock", timeout=patience_s):
            yield
    except filelock.Timeout as cause:
        raise RunError(
            f"Another run is writing to {path.name}. Wait until it has ended, or choose another --out."
        ) from cause


def _remove_pictures(folder: Path, keys: Iterable[FrameKey]) -> None:
    """Remove the pictures of frames, so that none outlives its row."""
    for key in keys:
        for kind in KINDS:
            for n_frames in (1, 2):
                (folder / kind / picture_path(*key, n_frames)).unlink(missing_ok=True)


def _remove_objects(folder: Path, sources: Iterable[str]) -> None:
    """Remove the DICOM objects that were made of the results of sources."""
    for source in sources:
        for kind in ("seg", "sr"):
            (folder / object_path(source, kind)).unlink(missing_ok=True)


def _note_of_replaced(sources: Sequence[str]) -> RepairNote:
    """Tell of sources whose results make room for those of another file of the same name."""
    n = len(sources)
    others = f" and {n - N_NAMED} more" * (n > N_NAMED)
    text = (
        f"{counted(n, 'file has become another', 'files have become others')} since, and former results "
        f"are replaced: {', '.join(sources[:N_NAMED])}{others}. If the former file lies in another folder "
        "and its results are to stay, give both folders in one command, with another --out: then files of "
        "one name keep apart."
    )
    return RepairNote(about="results.csv", text=text)


def _holds_results(folder: Path) -> bool:
    names = ("results.csv", "masks.jsonl", *KINDS, SET_ASIDE)
    return any((folder / name).exists() for name in names)


@contextlib.contextmanager
def _explaining(folder: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        way_out = WAYS_OUT.get(cause.errno or 0, "Look at the disk")
        raise ExportError(
            f"{what} can't be written in {folder.name}: {(cause.strerror or str(cause)).lower()}. "
            f"{way_out}, or choose another --out; the same command goes on where it stopped."
        ) from cause
