"""A training run as a process of its own, which outlives the window and is found again.

``job.json`` in the run's folder says which process it is; a token in that process's environment proves
it, so that a process that got the same number later is never taken for the run, nor stopped.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from ...disk.atomic import write_atomically
from ...errors import RunError

__all__ = ["Job", "find_job", "last_words", "start_job"]

TOKEN = "NAPARI_CLN_JOB"
JOB, LOG = "job.json", "log.txt"
MAX_WORDS = 4000
_REASON = re.compile(r"napari-cln: (.+)|([\w.]*(?:Error|Exception|Killed)\b.*)")
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, kw_only=True)
class Job:
    """A process that was started for a run: its number, its token, its computer, and its command."""

    pid: int
    token: str
    host: str
    command: str

    @property
    def is_here(self) -> bool:
        """Whether it was started on this computer."""
        return self.host == socket.gethostname()

    def is_alive(self) -> bool:
        """Whether it runs now, on this computer."""
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
        found = None
        with suppress(psutil.Error, OSError):
            process = psutil.Process(self.pid)
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(TOKEN) == self.token:
                found = process
        if (child := _children.get(self.pid)) is not None and child.poll() is not None:
            del _children[self.pid]  # its end is taken note of, so that no zombie stays
        return found


def start_job(arguments: Sequence[str], run: Path) -> Job:
    """Start ``python -m napari_cln`` detached: own session, no input, output to a new ``log.txt``.

    Parameters
    ----------
    arguments : sequence of str
        The command, such as ``("train", folder, "--out=" + run.name)``. It works in the folder that
        holds the run's, so that its messages need no path.
    run : Path
        Folder of the run, made when missing.

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
        with (run / LOG).open("wb") as log:
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
        job = Job(pid=child.pid, token=token, host=socket.gethostname(), command=arguments[0])
        write_atomically(run / JOB, json.dumps(asdict(job)).encode())
    except OSError as cause:
        raise RunError(
            f"No process can be started in {run.name}: {cause.strerror}. "
            "Choose a place where you may write, with free space."
        ) from cause
    return job


def find_job(run: Path, command: str) -> Job | None:
    """The process of a command that was started last for a run, alive or not; None where none is known."""
    try:
        noted = json.loads((run / JOB).read_bytes())
        job = Job(
            pid=int(noted["pid"]),
            token=str(noted["token"]),
            host=str(noted["host"]),
            command=str(noted["command"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return job if job.command == command else None


def last_words(run: Path) -> str:
    """The reason that the process gave last for its end; empty where it gave none."""
    try:
        with (run / LOG).open("rb") as log:
            log.seek(max(log.seek(0, os.SEEK_END) - MAX_WORDS, 0))
            lines = log.read(MAX_WORDS).decode(errors="replace").splitlines()
    except OSError:
        return ""
    reasons = [match[1] or match[2] for line in lines if (match := _REASON.match(line))]
    return reasons[-1] if reasons else ""
