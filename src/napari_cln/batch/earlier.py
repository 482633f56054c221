"""A folder of results as an earlier run, a power cut or an editor has left it.

Frames whose rows, mask and overlay are whole are kept. The others are left out, so that they are done
again; what was there is set aside, and a note tells of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..disk.atomic import keep_former, replacing
from ..errors import RunError, counted
from .masks import MaskLines
from .names import SET_ASIDE, is_hashed, picture_path
from .pictures import check_of_png
from .record import DoneFrames, RunRecord, SourceRecord
from .rows import HEADING, FrameKey, FrameRows, ResultsTable

KEPT = f"What was there is kept in {SET_ASIDE}."
N_NAMED = 3
"""Frames that a note names; it counts the others."""


@dataclass(frozen=True, kw_only=True)
class RepairNote:
    """A finding of damage, an edit or a replaced file, and what was done about it.

    Parameters
    ----------
    about : str
        The file or folder in the results.
    text : str
        In sentences for the user.
    """

    about: str
    text: str


class EarlierRun:
    """Results that are there when a run begins.

    Parameters
    ----------
    table : Path
        ``results.csv``.
    record : RunRecord
    mask_lines : MaskLines, optional
        Where masks are kept in lines.
    pictures : dict of str to Path
        Folders of the pictures that each frame has, by ``"masks"`` and ``"overlays"``.

    Attributes
    ----------
    notes : list of RepairNote
        What was damaged or edited.
    """

    def __init__(
        self, table: Path, record: RunRecord, mask_lines: MaskLines | None, pictures: Mapping[str, Path]
    ) -> None:
        self.notes: list[RepairNote] = []
        self._csv = table
        self._folder = table.parent
        self._record = record
        self._mask_lines = mask_lines
        self._pictures = pictures

    def take_up(self, done: DoneFrames, *, is_new: bool) -> None:
        """Write the table and the record anew with what is whole; failures are left out, to be tried again.

        Parameters
        ----------
        done : DoneFrames
            Gets the frames that are whole.
        is_new : bool
            There is no record of an earlier run.

        Raises
        ------
        RunError
            If the table is another run's, or somebody else's.
        OSError
            If the folder can't be written to.
        """
        lines, n_damaged = self._mask_lines.read() if self._mask_lines else ({}, 0)
        table = ResultsTable(self._csv, self._record.seed)
        n_untold = 0
        left_out: Counter[str] = Counter()
        lost: Counter[str] = Counter()
        named: list[str] = []
        with replacing(self._csv) as new:
            new.write(HEADING)
            for rows in table:
                source = self._record.sources.get(rows.key.source)
                n_untold += source is None and not rows.failed
                if source is None or rows.key.frame in done.of(source.source):
                    continue
                if rows.failed:
                    left_out[source.source] += 1
                    continue
                absent = self._absent(rows, source, lines)
                if absent is None:
                    new.write(rows.text)
                    done.add(rows.key)
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
        n_lacking = self._begin_again(left_out, done)
        self._record.open()
        if self._mask_lines and n_damaged:
            self._keep_former(self._mask_lines.path)
            self._mask_lines.keep(lambda key: key.frame in done.of(key.source))
        self._tell_of_files(table, n_untold, n_lacking, n_damaged)
        self._tell_of_pictures(lost, named)

    def _begin_again(self, left_out: Mapping[str, int], done: DoneFrames) -> int:
        """Take back that files are done of which a frame is missing; return how many frames left no row."""
        n_lacking = 0
        for name, entry in self._record.sources.items():
            n_done = len(done.of(name))
            if entry.n_done is not None and entry.n_done != n_done:
                n_lacking += max(entry.n_done - n_done - left_out[name], 0)
                self._record.sources[name] = replace(entry, n_done=None)
        return n_lacking

    def _absent(self, rows: FrameRows, source: SourceRecord, lines: Mapping[FrameKey, str]) -> str | None:
        """Name what is not as it was written of a frame's mask and overlay, if anything."""
        if self._mask_lines and lines.get(rows.key, "") != rows.checks.get("masks"):
            return "masks"
        for kind, folder in self._pictures.items():
            path = folder / picture_path(*rows.key, source.n_frames)
            try:
                whole = check_of_png(path.read_bytes()) == rows.checks.get(kind, "")
            except OSError:
                whole = False
            if not whole:
                if path.exists() and kind in rows.checks:
                    path.replace(self._place_aside(path))
                return kind
        return None

    def _refuse_strangers(self, table: ResultsTable, is_new: bool) -> None:
        """Leave a table alone that this run did not write.

        Raises
        ------
        RunError
        """
        if self._record.is_known or table.n_frames:
            return
        if is_new and table.has_other_text:
            raise RunError(
                f"{self._folder.name} holds a results.csv, but not the record of its run (run.jsonl). "
                "Choose another --out, or add --redo to replace it."
            )
        if row := table.stranger:
            model, is_ours = self._record.made_by["model"], "names" in self._record.made_by
            if row["model"] not in ("", model) or is_hashed(row["source"]) != is_ours:
                raise RunError(
                    f"{self._folder.name} holds results of another run, of the model {row['model']}, and its "
                    "record (run.jsonl) is damaged. Choose another --out, or add --redo to do all again."
                )

    def _tell_of_files(self, table: ResultsTable, n_untold: int, n_lacking: int, n_masks: int) -> None:
        """Note which files were damaged or edited."""
        again = "What was lost is done again."
        if self._record.n_damaged or n_untold or self._record.is_headless:
            n = self._record.n_damaged
            what = f"had {counted(n, 'damaged line')}" if n else "was missing or empty"
            untold = f" Done again: {counted(n_untold, 'frame')} that it no longer tells of." * (n_untold > 0)
            self._add_note("run.jsonl", f"run.jsonl {what}.{untold} {KEPT}")
        if table.is_edited:
            text = (
                f"results.csv was saved by another program; {counted(table.n_frames, 'frame')} could be read."
            )
            rest = f" {again}" * (table.n_damaged > 0)
            self._add_note("results.csv", f"{text}{rest} {KEPT} A new one is written: edit a copy.")
        elif table.n_damaged:
            text = f"results.csv had {counted(table.n_damaged, 'damaged line')}. {again} {KEPT}"
            self._add_note("results.csv", text)
        elif table.is_cut or table.is_headless:
            what = "The last line of results.csv was cut" if table.is_cut else "results.csv was empty"
            self._add_note("results.csv", f"{what}. {again}")
        elif n_lacking:
            text = f"results.csv lacked {counted(n_lacking, 'frame')} that had been done. {again}"
            self._add_note("results.csv", text)
        if n_masks:
            text = f"masks.jsonl had {counted(n_masks, 'damaged line')}. {again} {KEPT}"
            self._add_note("masks.jsonl", text)

    def _tell_of_pictures(self, lost: Mapping[str, int], named: list[str]) -> None:
        for kind, n in lost.items():
            others = f" and {n - len(named)} more" if n > len(named) else ""
            which = f"{', '.join(named)}{others}" if len(lost) == 1 else counted(n, "frame")
            text = f"Missing or damaged {kind} are made again: {which}."
            kept = f" {KEPT}" if (self._folder / SET_ASIDE / kind).exists() else ""
            self._add_note(kind, f"{text}{kept}")

    def _add_note(self, about: str, text: str) -> None:
        self.notes.append(RepairNote(about=about, text=text))

    def _keep_former(self, path: Path) -> None:
        """Keep what a file holds now under a new name."""
        if path.exists():
            keep_former(path, self._place_aside(path))

    def _place_aside(self, path: Path) -> Path:
        place = self._folder / SET_ASIDE / path.relative_to(self._folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        number = 2
        while place.exists():
            place = place.with_name(f"{path.stem}-{number}{path.suffix}")
            number += 1
        return place


def _named(key: FrameKey, source: SourceRecord) -> str:
    return f"{key.source} (frame {key.frame})" if source.n_frames > 1 else key.source
