"""One state of a frame on disk: image once, mask, and last the record that carries their hashes."""

from __future__ import annotations

import re
from pathlib import Path

from ..disk.atomic import keep_former, staged, sync_folder, write_atomically
from .layout import Layout
from .pictures import encode_png
from .record import Record, encode_record
from .state import State

_FORMER_LABEL = re.compile(r"(?:\d{8}T\d{6}Z|unknown)-\w{1,24}-(\d+)(?:\.\d+)?\.png", re.ASCII)
"""Name of the label of a former state, and of no picture that repair has put aside."""


def safe_name(who: str) -> str:
    """A reader's name as part of a file name: letters, digits, ``_``, at most 24."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in who)[:24] or "_"


def _former_stem(record: Record) -> str:
    """Name of a state among the revisions: time, reader, revision number."""
    last = record.last
    time = f"{last.last:%Y%m%dT%H%M%SZ}" if last else "unknown"
    return f"{time}-{safe_name(last.who if last else '')}-{record.revision}"


def commit(layout: Layout, state: State, former: Record | None = None) -> None:
    """Write one state of a frame; the caller holds its lock.

    Everything is staged and synced first, so that a full disk stops the save before any file is
    replaced. Then the former state goes to the revisions, and image, masks and record are put in
    place in this order: a crash between two of them leaves a set whose hashes disagree.

    Parameters
    ----------
    layout : Layout
    state : State
        With an image where the frame is new to the folder.
    former : Record, optional
        The record that this one follows.

    Raises
    ------
    DatasetError
        If the record holds a value that could not be read again.
    OSError
        If the disk is full or the folder read-only.
    """
    record, masks = state.record, state.masks
    layout.make()
    files: list[tuple[Path, bytes]] = []
    if state.image is not None:
        files.append((layout.image(record.id, record.has_mask), encode_png(state.image)))
    files += [(layout.channel(record.id, name), encode_png(plane)) for name, plane in state.channels.items()]
    pictures = ((layout.mask(record.id), masks.label), (layout.instances(record.id), masks.instances))
    files += [(goal, encode_png(pixels)) for goal, pixels in pictures if pixels is not None]
    with staged([*files, (layout.record(record.id), encode_record(record))]) as put_in_place:
        if former is not None:
            keep_state(layout, former)
            move_image(layout, record.id, record.has_mask)
        put_in_place(len(files))
        for goal, pixels in pictures:
            if pixels is None:
                goal.unlink(missing_ok=True)
        put_in_place(1)


def keep_rival(layout: Layout, state: State, former: Record | None = None) -> None:
    """Keep among the revisions a state that came too late to become the frame's own.

    Parameters
    ----------
    layout : Layout
    state : State
    former : Record, optional
        The frame's own record, of which a copy is kept too.
    """
    if former is not None:
        keep_state(layout, former)
    record, masks = state.record, state.masks
    folder = layout.revisions / record.id
    folder.mkdir(parents=True, exist_ok=True)
    stem, number = _former_stem(record), 2
    while (folder / f"{stem}.json").exists():  # append-only: two rivals within a second both stay
        stem, number = f"{_former_stem(record)}.{number}", number + 1
    for pixels, ending in ((masks.label, ".png"), (masks.instances, ".nodes.png")):
        if pixels is not None:
            write_atomically(folder / (stem + ending), encode_png(pixels))
    write_atomically(folder / f"{stem}.json", encode_record(record))


def keep_state(layout: Layout, record: Record) -> None:
    """Keep the files of a case as they are now among its revisions, under the record's number."""
    folder = layout.revisions / record.id
    folder.mkdir(parents=True, exist_ok=True)
    stem = _former_stem(record)
    for path, ending in (
        (layout.mask(record.id), ".png"),
        (layout.instances(record.id), ".nodes.png"),
        (layout.record(record.id), ".json"),
    ):
        if path.exists():
            keep_former(path, folder / (stem + ending))
    sync_folder(folder)


def former_labels(layout: Layout, case_id: str) -> list[Path]:
    """Label images of the former states of a frame, the newest first, by their number: clocks jump."""
    found = [
        (int(name[1]), path)
        for path in (layout.revisions / case_id).glob("*.png")
        if (name := _FORMER_LABEL.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found, reverse=True)]


def move_image(layout: Layout, case_id: str, masked: bool) -> None:
    """Put the image where a case with, or without, a mask has it."""
    here, there = layout.image(case_id, not masked), layout.image(case_id, masked)
    if here.exists():
        there.parent.mkdir(parents=True, exist_ok=True)  # git keeps no empty folder
        here.replace(there)
        sync_folder(there.parent)
