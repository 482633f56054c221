"""The last stroke of every frame that is not saved yet, and the way back after a crash.

The strokes lie in ``.cln/autosave`` of the training folder; where that disk is full or read-only,
in the user's configuration folder. They name the frame by the hash of its pixels, never by its
file, and are offered again when the folder is opened.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from ..annotation import Annotation
from ..disk.atomic import MAX_JSON_BYTES, keep_former, read_bytes, write_atomically
from ..disk.schema import SchemaError, decode_json
from ..disk.seals import encode_checked, flip_text_back, is_amiss
from ..disk.user import config_folder
from ..errors import DatasetError
from ..types import Frame, Status
from .layout import Layout, checked_id
from .pictures import encode_png, read_png
from .record import CaseId, Name, NodeEntry, NoteText, Seconds, node_entry, now

DISCARDED_FOR_S = 86_400.0
"""Seconds for which a discarded stroke can still be had back: one day."""


@dataclass(frozen=True, kw_only=True)
class Stroke:
    """An unsaved state of a frame.

    Parameters
    ----------
    id : str
        Id of the frame in the training folder.
    who : str
        Who painted.
    time : str
        UTC of the last stroke, ISO 8601.
    revision : int
        Revision of the frame that the reader had opened; 0 for a frame new to the folder.
    discarded : bool
        Whether the reader declined it; it is then kept for one more day.
    """

    id: str
    who: str
    time: str
    revision: int
    discarded: bool
    path: Path


class StrokeEntry(Struct, frozen=True, kw_only=True):
    """Content of a stroke's file, beside its picture; ``discarded`` is when it was declined, in seconds."""

    schema: int = 1
    id: CaseId
    who: Name
    time: Name
    revision: Annotated[int, Meta(ge=0, le=10**9)]
    status: Status
    nodes: tuple[NodeEntry, ...]
    based_on: Name | None = None
    note: NoteText = ""
    seconds: Seconds | None = None
    discarded: float | None = None


_decoder = msgspec.json.Decoder(StrokeEntry)


class Autosave:
    """Strokes that are not saved yet, one a frame and reader.

    Parameters
    ----------
    folder : Path
        The training folder's path.
    """

    def __init__(self, folder: Path) -> None:
        name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        self._places = (Layout(folder).autosave, config_folder() / "autosave" / name)

    def keep(self, annotation: Annotation, case_id: str, *, who: str, revision: int = 0) -> Stroke:
        """Keep the present state of a frame; a former stroke of the same reader is replaced.

        Parameters
        ----------
        annotation : Annotation
        case_id : str
            From :meth:`TrainingFolder.identify`.
        who : str
        revision : int
            Revision of the frame that the reader had opened.

        Returns
        -------
        Stroke

        Raises
        ------
        DatasetError
            If neither the training folder nor the configuration folder can be written to.
        """
        entry = StrokeEntry(
            id=checked_id(case_id),
            who=who,
            time=f"{now():%Y-%m-%dT%H:%M:%SZ}",
            revision=revision,
            status=annotation.status,
            nodes=tuple(node_entry(node) for node in annotation.nodes),
            based_on=annotation.based_on,
            note=annotation.note,
            seconds=annotation.seconds,
        )
        text = _encode(entry)
        name = f"{case_id}-{hashlib.sha256(who.encode()).hexdigest()[:8]}"
        failure: OSError | None = None
        for place in self._places:
            try:
                place.mkdir(parents=True, exist_ok=True)
                write_atomically(place / f"{name}.png", encode_png(annotation.instances))
                write_atomically(place / f"{name}.json", text)
                return _stroke(entry, place / f"{name}.json")
            except OSError as cause:
                failure = cause
        raise DatasetError(
            f"The last stroke on {case_id} can't be kept anywhere ({failure.strerror if failure else ''}). "
            "Free some space now, before you close the window."
        ) from failure

    def list(self, *, discarded: bool = False) -> list[Stroke]:
        """Strokes that wait to be restored or discarded, newest first.

        Parameters
        ----------
        discarded : bool
            Give those that were declined within the last day instead.
        """
        self._forget()
        strokes = [stroke for stroke in self._strokes() if stroke.discarded == discarded]
        return sorted(strokes, key=lambda stroke: stroke.time, reverse=True)

    def damaged(self) -> dict[Path, str]:
        """Strokes that can't be offered, each with the reason, as a sentence."""
        found: dict[Path, str] = {}
        for place in self._places:
            for path in sorted(place.glob("*.json")):
                try:
                    _read(path)
                    if path.with_suffix(".png").exists():
                        read_png(path.with_suffix(".png"))
                except DatasetError as cause:
                    found[path] = str(cause)
        return found

    def restore(self, stroke: Stroke, frame: Frame) -> Annotation:
        """The state that the stroke kept, on its frame.

        Raises
        ------
        DatasetError
            If the frame has another shape than the stroke, or the stroke is damaged.
        """
        entry = _read(stroke.path)
        instances: NDArray[np.uint8] = read_png(stroke.path.with_suffix(".png"))
        if instances.shape != frame.shape:
            raise DatasetError(
                f"The kept stroke has {instances.shape[0]}×{instances.shape[1]} pixels, the frame "
                f"{frame.shape[0]}×{frame.shape[1]}. Open the frame that was painted on."
            )
        return Annotation(
            frame=frame,
            instances=instances,
            nodes=tuple(node.node for node in entry.nodes),
            status=entry.status,
            annotator=entry.who,
            based_on=entry.based_on,
            note=entry.note,
            seconds=entry.seconds,
        )

    def discard(self, stroke: Stroke) -> None:
        """Decline a stroke; it can be had back for one day, whatever is painted and saved meanwhile."""
        entry, at = _read(stroke.path), time.time()
        aside = stroke.path.with_name(f"{stroke.path.stem}-{int(1000 * at)}.json")
        keep_former(stroke.path.with_suffix(".png"), aside.with_suffix(".png"))
        write_atomically(aside, _encode(msgspec.structs.replace(entry, discarded=at)))
        _remove(stroke.path)

    def clear(self, case_id: str, who: str) -> None:
        """Forget the stroke of a frame and reader, once the frame is saved; not one that was discarded."""
        name = f"{checked_id(case_id)}-{hashlib.sha256(who.encode()).hexdigest()[:8]}"
        for place in self._places:
            _remove(place / f"{name}.json")

    def files(self, case_id: str) -> tuple[Path, ...]:
        """Every file of the strokes on a frame, whoever painted them, also of those that were discarded."""
        found = (sorted(place.glob(f"{checked_id(case_id)}-*")) for place in self._places)
        return tuple(path for paths in found for path in paths)

    def _strokes(self) -> Iterator[Stroke]:
        for place in self._places:
            for path in sorted(place.glob("*.json")):
                # A stroke that was cut short is nothing to offer.
                with suppress(DatasetError):
                    if path.with_suffix(".png").exists():
                        yield _stroke(_read(path), path)

    def _forget(self) -> None:
        for place in self._places:
            for path in place.glob("*.json"):
                with suppress(DatasetError, OSError):
                    discarded = _read(path).discarded
                    if discarded is not None and time.time() - discarded > DISCARDED_FOR_S:
                        _remove(path)


def _read(path: Path) -> StrokeEntry:
    try:
        data = read_bytes(path, MAX_JSON_BYTES)
    except OSError as cause:
        raise DatasetError(f"The stroke {path.name} can't be read ({cause.strerror}).") from cause
    if is_amiss(data):
        # Nobody has another copy: one flipped bit is read past.
        if (whole := flip_text_back(data)) is None:
            raise DatasetError(f"The stroke {path.name} is not as it was kept: its checksum differs.")
        data = whole
    try:
        return decode_json(_decoder, data)
    except SchemaError as cause:
        raise DatasetError(f"The stroke {path.name} is damaged: it {cause}.") from cause


def _encode(entry: StrokeEntry) -> bytes:
    return encode_checked(msgspec.to_builtins(entry), entry, _decoder, "The stroke")


def _stroke(entry: StrokeEntry, path: Path) -> Stroke:
    return Stroke(
        id=entry.id,
        who=entry.who,
        time=entry.time,
        revision=entry.revision,
        discarded=entry.discarded is not None,
        path=path,
    )


def _remove(path: Path) -> None:
    for leftover in (path, path.with_suffix(".png")):
        leftover.unlink(missing_ok=True)
