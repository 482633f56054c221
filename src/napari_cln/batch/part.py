"""One file's results in a folder of their own, made by a process that may die of it.

A decoder or a driver can end the process that calls it. The folder notes how far each attempt came:
after a death the file is gone through frame by frame, and a frame that ended a process twice is
written down as failed and left out.
"""

from __future__ import annotations

import json
from collections.abc import Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .job import FrameResult, open_results, segment_sources
from .names import NamedSource
from .record import replacing
from .rows import FrameKey, failed_row

if TYPE_CHECKING:
    from ..network.inference import Segmenter
    from .results import ResultsFolder

__all__ = ["FATAL", "give_up", "segment_part"]

FATAL = (
    "The process that worked on it died. Open it in a viewer, or leave it out; the same command tries again."
)


@dataclass
class _Attempt:
    """What is known from attempts that did not come to their end."""

    fatal: list[int]
    trying: int | None

    @classmethod
    def after(cls, path: Path) -> tuple[_Attempt, bool]:
        """This attempt, and whether one before it died."""
        try:
            former = cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return cls(fatal=[], trying=None), path.exists()
        fatal = former.fatal + ([former.trying] if former.trying is not None else [])
        return cls(fatal=fatal, trying=None), True

    def write(self, path: Path) -> None:
        with replacing(path) as file:
            json.dump(asdict(self), file)


def segment_part(
    source: NamedSource,
    part: Path,
    segmenter: Segmenter,
    *,
    masks: Literal["png", "rle"] = "png",
    overlays: bool = False,
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
    part.mkdir(parents=True, exist_ok=True)
    path = part / "attempt.json"
    attempt, died = _Attempt.after(path)
    attempt.write(path)

    def before(index: int) -> None:
        if died:
            attempt.trying = index
            attempt.write(path)

    if died:  # one frame at a time, so that the note names the one that is worked on
        from ..network.inference import Segmenter

        segmenter = Segmenter(segmenter.model, segmenter.device.name, batch_size=1)
    done: list[FrameResult] = []
    with open_results(part, segmenter.card, masks=masks, overlays=overlays) as results:
        for index in set(attempt.fatal) - results.done(source.name):
            done.append(give_up(FrameKey(source.name, index), results))
        if -1 not in attempt.fatal:
            done += segment_sources([source], segmenter, results, skip=skip, before=before)
    path.unlink()
    return done


def give_up(key: FrameKey, results: ResultsFolder) -> FrameResult:
    """Write down that a frame, or a whole file (-1), ends the process that works on it."""
    results.add(key, [failed_row(key, FATAL)])
    frame = key.frame if key.frame >= 0 else None
    return FrameResult(source=key.source, frame=frame, status="failed", message=FATAL, progress=1.0)
