"""Frames on whose tissue text was read: held until a reader has looked, and what the reader does with them.

A picture is read once, behind the save or import that brought it (:class:`TextReader`), since nothing but a
reader's wish to paint the text over writes it again. What was found stands in the record, and in those of
former states, to which repair may go back; a frame with a finding is neither trained on nor exported.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..disk.atomic import staged
from ..disk.locks import lock
from ..errors import ClnError, DatasetError
from ..imaging.burned_in import can_read, engine_name, find_text, paint_boxes
from .dataset import TrainingFolder, former_records
from .layout import checked_id
from .pictures import encode_png, hash_pixels, read_png
from .record import SCHEMA, Record, StoredImage, TextReading, encode_record, now

Action: TypeAlias = Literal["paint", "no-name", "leave-out", "bring-back"]
_log = logging.getLogger(__name__)


def unread_frames(study: TrainingFolder) -> list[str]:
    """Ids of frames whose picture was not read yet; simulated ones show no patient."""
    return [
        record.id
        for record in _records(study)
        if record.source.text is None and record.source.kind != "simulated"
    ]


def waiting_frames(study: TrainingFolder) -> dict[str, TextReading]:
    """Frames on which text was found that nobody has looked at, by id."""
    texts = {record.id: record.source.text for record in _records(study)}
    return {case_id: text for case_id, text in texts.items() if text is not None and text.waits}


def _records(study: TrainingFolder) -> Iterator[Record]:
    for case_id in study.ids():
        with suppress(DatasetError):  # a fault of its own, which `check` names
            yield study.record(case_id)


def read_frame_text(study: TrainingFolder, case_id: str) -> TextReading:
    """Read a stored picture, and note in its record where text was found.

    The record's revision stays: nothing that a reader said has changed.

    Parameters
    ----------
    study : TrainingFolder
    case_id : str

    Raises
    ------
    DatasetError
        If the picture is damaged, or the folder can't be written to.
    DeviceError
        If the extra ``ocr`` is missing.
    """
    image = study.read_image(study.case(case_id))
    reading = TextReading(engine=engine_name(), found=find_text(image))
    study.dataset.check_writable()
    try:
        with lock(study.layout.locks, case_id, "napari-cln"):
            record = study.record(case_id)
            known = record.source.text
            if known is not None or record.image.sha256 != hash_pixels(image):
                return known or reading  # another was quicker, or painted it over
            _put(study, record, reading)
    except OSError as cause:
        raise study.dataset.refused(cause) from cause
    return reading


def _put(
    study: TrainingFolder,
    record: Record,
    reading: TextReading,
    files: Sequence[tuple[Path, bytes]] = (),
    **changes: object,
) -> None:
    """Put pictures in place, and what was read on them into a frame's record and its former ones."""
    former = [
        (path, one)
        for path, one in former_records(study.layout, record.id)
        if one.source.crop == record.source.crop and one.schema <= SCHEMA
    ]
    texts = []
    for path, one in (*former, (study.layout.record(record.id), record)):
        source = msgspec.structs.replace(one.source, text=reading)
        texts.append((path, encode_record(msgspec.structs.replace(one, source=source, **changes))))
    with staged([*files, *texts]) as put_in_place:
        put_in_place(len(files) + len(texts))


def marked_picture(study: TrainingFolder, case_id: str, reading: TextReading) -> NDArray[np.uint8]:
    """The stored picture with a white frame around each place, uint8 (H, W).

    Parameters
    ----------
    study : TrainingFolder
    case_id : str
    reading : TextReading
    """
    image = study.read_image(study.case(case_id)).copy()
    rows, columns = image.shape
    for row0, column0, row1, column1 in reading.found:
        top, left = max(row0 - 1, 0), max(column0 - 1, 0)
        bottom, right = min(row1, rows - 1), min(column1, columns - 1)
        image[[top, bottom], left : right + 1] = 255
        image[top : bottom + 1, [left, right]] = 255
    return image


def release_frame(study: TrainingFolder, case_id: str, action: Action, who: str) -> None:
    """Do with a held frame what a reader says who has looked at it.

    Parameters
    ----------
    study : TrainingFolder
    case_id : str
    action : {"paint", "no-name", "leave-out", "bring-back"}
        Fill the places with the tissue around them; leave the picture as it is; or move the frame with all
        its files to ``.cln/left-out``, where nothing looks for frames, and take it no more; or put a frame
        back that was left out: where another copy of the folder has its files, the next import brings it.
    who : str
        The reader.

    Raises
    ------
    DatasetError
        If no text was found on that frame, it is not one that was left out, or the disk refuses.
    """
    study.dataset.check_writable()
    try:
        with lock(study.layout.locks, case_id, who):
            if action == "leave-out":
                _leave_out(study, case_id, who)
            elif action == "bring-back":
                _bring_back(study, case_id, who)
            else:
                _judge(study, case_id, action, who)
    except OSError as cause:
        raise study.dataset.refused(cause) from cause
    if action in ("leave-out", "bring-back"):
        study.dataset.recount()


def _judge(study: TrainingFolder, case_id: str, action: Action, who: str) -> None:
    record = study.record(case_id)
    reading = record.source.text
    if reading is None or not reading.found:
        raise DatasetError(f"No text was found on {case_id}.", "`napari-cln check FOLDER` lists the frames.")
    verdict: Literal["painted over", "no name"] = "painted over" if action == "paint" else "no name"
    seen = msgspec.structs.replace(reading, verdict=verdict, seen_by=who, t=now())
    path = study.layout.image(case_id, record.has_mask)
    files: list[tuple[Path, bytes]] = []
    changes: dict[str, object] = {}
    if action == "paint":
        # As often as it is asked for: a crash between picture and record is mended by saying it again.
        painted = paint_boxes(read_png(path), reading.found)
        rows, columns = painted.shape
        stored = StoredImage(sha256=hash_pixels(painted), rows=rows, columns=columns)
        files.append((path, encode_png(painted)))
        channels = {}
        for name in record.channels or {}:
            plane = read_png(study.layout.channel(case_id, name)).copy()
            for row0, column0, row1, column1 in reading.found:
                plane[row0:row1, column0:column1] = 0
            channels[name] = hash_pixels(plane)
            files.append((study.layout.channel(case_id, name), encode_png(plane)))
        changes = {"image": stored, "channels": channels or None}
    _put(study, record, seen, files, **changes)


def _leave_out(study: TrainingFolder, case_id: str, who: str) -> None:
    """Move a frame's files, the record last, so that what was cut short can be asked for again."""
    layout = study.layout
    study.record(case_id)  # refuses what is no frame
    study.dataset.note_left_out(case_id, who, is_out=True)
    goal = _left_out(study, case_id)
    goal.mkdir(parents=True, exist_ok=True)
    own = layout.record(case_id)
    beside = sorted(path for path in layout.records.glob(f"{case_id}.*") if path != own)
    pictures = (layout.image(case_id, True), layout.image(case_id, False), layout.mask(case_id))
    strokes = study.autosave.files(case_id)
    for path in (layout.revisions / case_id, *pictures, *strokes, *beside, own):
        if path.exists():
            _move(path, goal / (path.name if path.parent != layout.labels else f"label-{path.name}"))


def _bring_back(study: TrainingFolder, case_id: str, who: str) -> None:
    """Put the files of a frame that was left out back, the record last, as far as they are here."""
    layout, place = study.layout, _left_out(study, case_id)
    if case_id not in study.dataset.left_out:
        raise DatasetError(f"{case_id} was not left out.", "dataset.json lists those that were, by left_out.")
    layout.make()
    layout.autosave.mkdir(parents=True, exist_ok=True)
    label, own = place / f"label-{case_id}.png", layout.record(case_id)
    image = layout.image(case_id, label.exists() or layout.mask(case_id).exists())
    goals = {case_id: layout.revisions / case_id, label.name: layout.mask(case_id), image.name: image}
    files = sorted(place.iterdir(), key=lambda path: path.name == own.name) if place.is_dir() else []
    for path in files:
        other = layout.autosave if path.name.startswith(f"{case_id}-") else layout.records
        _move(path, goals.get(path.name, other / path.name))
    if files:
        place.rmdir()
    study.dataset.note_left_out(case_id, who, is_out=False)


def _left_out(study: TrainingFolder, case_id: str) -> Path:
    return study.layout.private / "left-out" / checked_id(case_id)


def _move(path: Path, goal: Path) -> None:
    """Move a file or a folder; a file that is there is replaced, a folder is filled up."""
    if path.is_dir():
        shutil.copytree(path, goal, dirs_exist_ok=True)
        shutil.rmtree(path)
    else:
        shutil.move(path, goal)  # strokes may lie on another disk


class TextReader:
    """Reads pictures in a thread, behind saves and imports; does nothing without the extra.

    Parameters
    ----------
    study : TrainingFolder
    """

    def __init__(self, study: TrainingFolder) -> None:
        self._study = study
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        self._thread: Thread | None = None

    def add(self, case_ids: Iterable[str]) -> None:
        """Have frames read; those that were read already are passed over.

        Parameters
        ----------
        case_ids : iterable of str
        """
        if not can_read() or self._study.dataset.read_only:
            return
        for case_id in case_ids:
            self._queue.put(case_id)
        if self._thread is None:
            self._thread = Thread(target=self._work, name="napari-cln-text", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Wait until all have been read."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (case_id := self._queue.get()) is not None:
            try:
                if self._study.record(case_id).source.text is None:
                    read_frame_text(self._study, case_id)
            except ClnError as cause:
                # It stays unread, which `check` and an export say.
                _log.warning("The text of a picture was not read: %s", cause)
