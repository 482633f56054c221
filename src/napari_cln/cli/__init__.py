"""The command ``napari-cln``: a small function a subcommand, which imports what it needs.

Exit codes: 0 when all went well, 1 when something failed (one sentence says what), 2 for wrong use.
A traceback is shown on request alone, by ``--debug`` or ``NAPARI_CLN_DEBUG=1``: it may hold paths.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..disk.cells import one_line
from ..errors import ClnError
from . import batch, evaluation, health, studies, training

__all__ = ["main", "make_parser"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        As on the command line; that of this process by default.

    Returns
    -------
    int
        Exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name may not fit the terminal
    debug = os.environ.get("NAPARI_CLN_DEBUG", "") not in ("", "0")
    hide = False
    try:
        options = make_parser().parse_args(arguments)
        debug = vars(options).pop("debug", debug)
        hide = getattr(options, "names", "path") == "hash"
        code: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("napari-cln: stopped. The same command goes on where it stopped.", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        sentence = str(error) if isinstance(error, ClnError) else _sentence(error, hide)
        print(f"napari-cln: {one_line(sentence)}", file=sys.stderr)
        _give_up_output()
        return 1
    return code


def _give_up_output() -> None:
    """Write nothing more where nobody reads on or the disk is full, not even as Python ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _sentence(error: Exception, hide: bool) -> str:
    """An error that nobody foresaw, and where to report it; its text is left out: it may hold a path."""
    kind = type(error).__name__
    if isinstance(error, ImportError):
        return f"A library can't be loaded ({error}). Install napari-cln again; napari-cln doctor tells more."
    if isinstance(error, MemoryError):
        return "The memory is full. Close other programs, or give less at a time."
    if isinstance(error, BrokenPipeError):
        return "The program that read the output has ended."
    if isinstance(error, OSError) and error.strerror:
        name = Path(os.fsdecode(error.filename)).name if isinstance(error.filename, str | bytes) else ""
        where = f": {name}" if name and not hide else ""
        return f"{error.strerror}{where} ({kind}). Check the disk and the permissions, and try again."
    return (
        f"This should not have happened ({kind}{_place(error)}). Please open an issue in the repository of "
        "napari-cln with this line and what napari-cln doctor prints; --debug shows more."
    )


def _place(error: Exception) -> str:
    """The last line of this package that an error came through."""
    package = Path(__file__).parents[1]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if package in path.parents:
            return f" in {path.relative_to(package).as_posix()}, line {frame.lineno}"
    return ""


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; ``options.run(options)`` runs the one that was given."""
    from .. import __version__

    parser = argparse.ArgumentParser(
        prog="napari-cln",
        description="Cervical lymph nodes on neck ultrasound: mask and malignancy score. "
        "For research, not for diagnosis.",
    )
    parser.add_argument("--version", action="version", version=f"napari-cln {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for room in (batch, studies, training, evaluation, health):
        room.add_commands(commands)
    for command in (parser, *commands.choices.values()):
        command.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show the traceback of an error; it may hold paths",
        )
    return parser
