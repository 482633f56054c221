"""One file's results in a folder of their own, made by a process that may die of it.

A decoder or a driver can end the process that calls it. The folder notes how far each attempt came:
after a death the file is gone through frame by frame, and a frame that ended a process twice is
written down as failed and left out.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..disk.atomic import replacing
from ..errors import ExportError
from .job import FrameResult, forget_changed, open_results, segment_sources
from .names import NamedSource
from .record import AnotherRunError
from .rows import FrameKey, checksum

if TYPE_CHECKING:
    from ..models.card import ModelCard
    from ..network.inference import Segmenter
    from .results import ResultsFolder

FATAL = (
    "The process that worked on it died. Open it in a viewer, or leave it out; the same command tries again."
)
LONGEST_NOTE = 1 << 20
PATIENCE_S = 10.0
"""Seconds to wait for the lock of a part. When a process dies, the system closes its connections before it
gives back its locks, so that who hears of the death and goes on there at once may find the part locked."""


@dataclass
class _Attempt:
    """Frames that earlier attempts, which did not come to their end, have died of."""

    fatal: list[int]
    trying: int | None

    @classmethod
    def after(cls, path: Path) -> tuple[_Attempt, bool]:
        """This attempt, and whether one before it died; of a damaged note only that is known."""
        if not path.exists():
            return cls(fatal=[], trying=None), False
        try:
            former = json.loads(path.read_bytes()[:LONGEST_NOTE])
            if former.pop("check") != _check(former):
                raise ValueError("the note is damaged")
            fatal = [*former["fatal"], *[former["trying"]] * (former["trying"] is not None)]
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            fatal = []
        return cls(fatal=fatal, trying=None), True

    def write(self, path: Path) -> None:
        try:
            with replacing(path) as file:
                json.dump({**asdict(self), "check": _check(asdict(self))}, file)
        except OSError as cause:
            raise ExportError(
                f"{path.name} can't be written ({(cause.strerror or str(cause)).lower()}). Make room in the "
                "folder of the results; the same command goes on where it stopped."
            ) from cause


def _check(note: dict[str, object]) -> str:
    return checksum(json.dumps(note).encode())


def segment_part(
    source: NamedSource,
    part: Path,
    segmenter: Segmenter,
    *,
    masks: Literal["png", "rle"] = "png",
    overlays: bool = False,
    naming: str = "",
    skip: Set[int] = frozenset(),
) -> list[FrameResult]:
    """Segment one file into a folder of its own.

    Parameters
    ----------
    source : NamedSource
    part : Path
        A folder of results for this file alone. After a death of the process, called again with it,
        this goes on where that one was.
    segmenter : Segmenter
    masks, overlays
        As for :func:`segment_to_folder`.
    naming : str
        As :func:`~napari_cln.batch.names.mark_of_naming` gives it.
    skip : set of int
        Frames that are done already, elsewhere.

    Returns
    -------
    list of FrameResult
        Of each frame that was done now.

    Raises
    ------
    ExportError
        If the results can't be written.
    """
    done: list[FrameResult] = []
    with open_part(part, segmenter.card, masks=masks, overlays=overlays, naming=naming) as results:
        if results.notes:
            text = "What a worker left of this file was damaged; the damaged part is done again."
            done.append(
                FrameResult(source=source.name, frame=None, status="note", message=text, progress=0.0)
            )
        path = part / "attempt.json"
        if forget_changed([source], results):
            path.unlink(missing_ok=True)  # what the former file did to a process says nothing of this one
        attempt, died = _Attempt.after(path)
        attempt.write(path)

        def before(index: int) -> None:
            if died:
                attempt.trying = index
                attempt.write(path)

        if died:  # one frame at a time, so that the note names the one that is worked on
            from ..network.inference import Segmenter

            segmenter = Segmenter(segmenter.model, segmenter.device.name, batch_size=1)
        for index in set(attempt.fatal) - results.done(source.name):
            done.append(give_up(FrameKey(source.name, index), results))
        if -1 not in attempt.fatal:
            done += segment_sources([source], segmenter, results, skip=skip, before=before)
        path.unlink(missing_ok=True)
    return done


def open_part(
    part: Path, card: ModelCard, *, masks: Literal["png", "rle"], overlays: bool, naming: str = ""
) -> ResultsFolder:
    """Open the folder of a part; one that another run has left is removed, since it is of no use."""
    try:
        return open_results(part, card, masks=masks, overlays=overlays, naming=naming, patience_s=PATIENCE_S)
    except AnotherRunError:
        shutil.rmtree(part, ignore_errors=True)
        return open_results(part, card, masks=masks, overlays=overlays, naming=naming, patience_s=PATIENCE_S)


def give_up(key: FrameKey, results: ResultsFolder) -> FrameResult:
    """Write down that a frame, or a whole file (-1), ends the process that works on it."""
    results.add_failure(key, FATAL)
    frame = key.frame if key.frame >= 0 else None
    return FrameResult(source=key.source, frame=frame, status="failed", message=FATAL, progress=1.0)
