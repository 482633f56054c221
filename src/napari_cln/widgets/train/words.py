"""Where a run is, in a sentence for its message line."""

from __future__ import annotations

from pathlib import Path

from ..common.jobs import Job, last_words
from .progress import RunProgress

GO_ON = "Resume goes on from the last checkpoint."
GO_ON_THERE = "Resume goes on from there."


def status_of(
    run: Path, progress: RunProgress, job: Job | None, alive: bool, stopping: bool
) -> tuple[str, str] | None:
    """Sentence and mood; None where there is nothing to say.

    Parameters
    ----------
    run : Path
    progress : RunProgress
    job : Job or None
        The process that was started last; None for a run that was started elsewhere.
    alive : bool
        Whether that process runs.
    stopping : bool
        Whether the user asked it to stop.
    """
    if progress.state == "ended":
        return f"Training in {run.name} is done. Its model is not in use before you promote it.", "good"
    if alive:
        return _running(progress, stopping)
    if progress.state == "stopped":
        return f"{progress.message} {GO_ON_THERE}", "info"
    if stopping:
        return f"Stopped. {GO_ON}", "info"
    if progress.state == "failed":
        return progress.message, "bad"
    if job is None or not job.is_here:
        if progress.state == "waiting":
            return None
        place = "outside of napari" if job is None else f"on {job.host}"
        return f"{progress.say()} It was started {place}: stop it there.", "info"
    said = last_words(run)
    reason = (
        f": {said}" if said else ", without a word, as when it is killed or the computer's memory is full."
    )
    return f"The training process ended before it was done{reason} {GO_ON}", "bad"


def _running(progress: RunProgress, stopping: bool) -> tuple[str, str]:
    if stopping:
        return "Stopping after the step under way … Press Stop now to end it at once.", "info"
    if progress.state != "training":
        return "Starting: the training process loads its libraries …", "info"
    if progress.collapsed or progress.note:
        return " ".join(filter(None, (progress.note, progress.collapsed, progress.say()))), "bad"
    return progress.say(), "info"
