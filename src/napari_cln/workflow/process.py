"""A command as a process of its own, which outlives the window and is found again.

``job.json`` in the run's folder says which process it is; a token in that process's environment proves
it, so that a process that got the same number later is never taken for the run, nor stopped.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from ..errors import RunError
from ..settings import settings_of
from ..training.run_folder import JobRecord, RunFolder

__all__ = ["Job", "find_job", "hand_over", "last_words", "start_job"]

TOKEN = "NAPARI_CLN_JOB"
MAX_WORDS = 4000
_REASON = re.compile(r"napari-cln: (.+)|([\w.]*(?:Error|Exception|Killed)\b.*)")
_children: dict[int, subprocess.Popen[bytes]] = {}


class Job:
    """A process that was started for a run.

    Parameters
    ----------
    record : JobRecord
        Its number, its token, its computer, and its command.
    """

    def __init__(self, record: JobRecord) -> None:
        self.record = record

    @property
    def pid(self) -> int:
        """Its number."""
        return self.record.pid

    @property
    def host(self) -> str:
        """The computer that it was started on."""
        return self.record.host

    @property
    def is_here(self) -> bool:
        """True where it was started on this computer."""
        return self.host == socket.gethostname()

    def is_alive(self) -> bool:
        """Tell whether it runs now, on this computer."""
        return self._process() is not None

    def ask_to_stop(self) -> None:
        """Ask it to end by itself (SIGTERM); Windows knows no asking, and ends it."""
        if (process := self._process()) is not None:
            with suppress(psutil.Error):
                process.terminate()

    def kill(self) -> None:
        """End it at once, with every process that it started."""
        process = self._process()
        if process is None:
            return
        with suppress(psutil.Error, ProcessLookupError):
            family = process.children(recursive=True)
            if sys.platform != "win32" and os.getpgid(self.pid) != os.getpgid(0):
                os.killpg(os.getpgid(self.pid), signal.SIGKILL)
            for member in (process, *family):
                with suppress(psutil.NoSuchProcess):
                    member.kill()
        if (child := _children.pop(self.pid, None)) is not None:
            child.wait()

    def _process(self) -> psutil.Process | None:
        child = _children.get(self.pid)
        if child is not None and child.poll() is not None:
            del _children[self.pid]  # its end is taken note of, so that no zombie stays
            child = None
        with suppress(psutil.Error, OSError):
            process = psutil.Process(self.pid)
            # a process has no environment yet in the first moment after its start; a child needs no proof
            is_ours = child is not None or process.environ().get(TOKEN) == self.record.token
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


def start_job(arguments: Sequence[str], run: Path, settings: Any = None) -> Job:
    """Start ``python -m napari_cln`` detached: own session, no input, output to a new ``log.txt``.

    Parameters
    ----------
    arguments : sequence of str
        The command, such as ``("train", folder, "--out=" + run.name)``. It works in the folder that
        holds the run's, so that its messages need no path.
    run : Path
        Folder of the run, made when missing.
    settings : object, optional
        A settings dataclass of the command, handed over as :func:`hand_over` does.

    Raises
    ------
    RunError
        If the folder can't be written, or the process can't be started.
    """
    token = secrets.token_hex(8)
    environment = {**os.environ, TOKEN: token, "PYTHONUNBUFFERED": "1"}
    detached: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        detached = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    try:
        run.mkdir(parents=True, exist_ok=True)
        if settings is not None:
            arguments = [*arguments, *hand_over(settings, RunFolder(run))]
        with RunFolder(run).log.open("wb") as log:
            child = subprocess.Popen(
                # -P: what lies in the folder it works in is no module to import
                [sys.executable, "-P", "-m", "napari_cln", *arguments],
                cwd=run.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                **detached,
            )
        _children[child.pid] = child
        record = JobRecord(pid=child.pid, token=token, host=socket.gethostname(), command=arguments[0])
        RunFolder(run).write_job(record)
    except OSError as cause:
        raise RunError(
            f"No process can be started in {run.name}: {cause.strerror}. "
            "Choose a place where you may write, with free space."
        ) from cause
    return Job(record)


def hand_over(settings: Any, run: RunFolder) -> list[str]:
    """Write settings into a run's folder for a command that works beside it.

    Parameters
    ----------
    settings : object
        A settings dataclass, see :mod:`napari_cln.settings`.
    run : RunFolder

    Returns
    -------
    list of str
        Options that name the file, and each path among the settings: no path of this computer is written
        into a run's folder.
    """
    kind: type = type(settings)
    usual, paths = {}, []
    for setting in settings_of(kind):
        value = getattr(settings, setting.name)
        if setting.kind is str and Path(value).is_absolute():
            usual[setting.name] = setting.default
            paths.append(f"{setting.option}={value}")
    file = run.write_settings(replace(settings, **usual))
    return [f"--settings={run.path.name}/{file.name}", *paths]


def find_job(run: Path, command: str) -> Job | None:
    """The process of a command that was started last for a run, alive or not; None where none is known.

    A ``job.json`` that is damaged says nothing; :meth:`RunFolder.job` says what is wrong with it.
    """
    with suppress(RunError):
        record = RunFolder(run).job()
        if record is not None and record.command == command:
            return Job(record)
    return None


def last_words(run: Path) -> str:
    """The reason that the process gave last for its end; empty where it gave none."""
    lines = RunFolder(run).log_tail(MAX_WORDS)
    reasons = [match[1] or match[2] for line in lines if (match := _REASON.match(line))]
    return reasons[-1] if reasons else ""
