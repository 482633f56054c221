"""The command ``napari-cln``: a small function a subcommand, which imports what it needs.

The library that reads options is loaded for a command, and not to list them all.

Exit codes: 0 when all went well, 1 when something failed (one sentence says what), 2 for wrong use.
A traceback is shown on request alone, by ``--debug`` or ``NAPARI_CLN_DEBUG=1``: it may hold paths.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..disk.cells import one_line
from ..errors import ClnError

if TYPE_CHECKING:
    import inspect

__all__ = ["COMMANDS", "main", "parse"]

COMMANDS = {
    "segment": ("batch:segment_files", "masks, scores and sizes of every frame in files and folders"),
    "track": ("batch:track_nodes", "one id and one score for each node of a cine"),
    "phantom": ("studies:make_phantom", "a training folder of simulated frames with exact truth"),
    "import": ("studies:bring_in", "a study of images, masks and labels into a training folder"),
    "export": ("studies:send_out", "a training folder for other programs"),
    "check": ("studies:check_folder", "a training folder in numbers, its faults, and their repair"),
    "serve": ("studies:serve_study", "a training folder and the models to 3D Slicer on this computer"),
    "train": ("training:train_network", "a better Y-Net from a training folder"),
    "pretrain": ("training:pretrain_network", "a network to start a training from, of unlabelled frames"),
    "pseudo": ("studies:label_frames", "masks for unlabelled frames of a training folder, sure ones alone"),
    "evaluate": ("evaluation:evaluate_model", "a report on a model's figures, with intervals"),
    "fuse": ("evaluation:fuse_record", "a clinical record beside a model's scores"),
    "reports": ("evaluation:read_reports", "verdicts of original reports, by a dictionary"),
    "doctor": ("batch:tell_health", "what is installed, and which device will be used and why"),
}
"""Module and function of each command, and a line on it."""


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
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given or os.environ.get("NAPARI_CLN_DEBUG", "") not in ("", "0")
    hide = False
    try:
        command, options = parse([word for word in given if word != "--debug"])
        hide = options.arguments.get("names") == "hash"
        code = command(*options.args, **options.kwargs)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("napari-cln: stopped. The same command goes on from what is written by now.", file=sys.stderr)
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


def parse(arguments: Sequence[str]) -> tuple[Callable[..., int], inspect.BoundArguments]:
    """Read a command line.

    Parameters
    ----------
    arguments : sequence of str
        Without the name of the program.

    Returns
    -------
    function, arguments
        What to call with what; of the options, those alone that were given.

    Raises
    ------
    SystemExit
        0 after help or the version; 2 for wrong use, which a line on standard error says.
    """
    from .. import __version__

    match list(arguments):
        case []:
            print(_overview(), file=sys.stderr)
            print("napari-cln: COMMAND is required.", file=sys.stderr)
            raise SystemExit(2)
        case ["-h" | "--help", *_]:
            print(_overview())
            raise SystemExit(0)
        case ["--version", *_]:
            print(f"napari-cln {__version__}")
            raise SystemExit(0)
    from .options import read_command

    return read_command(
        arguments, {name: (f"{__name__}.{place}", line) for name, (place, line) in COMMANDS.items()}
    )


def _overview() -> str:
    """All commands, a line each."""
    lines = [f"  {name:10}{line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        [
            "Usage: napari-cln COMMAND [OPTIONS]",
            "",
            "Cervical lymph nodes on neck ultrasound: mask and malignancy score.",
            "For research, not for diagnosis.",
            "",
            "Commands:",
            *lines,
            "",
            "napari-cln COMMAND --help lists the options of a command. All take --debug as well: show the",
            "traceback of an error; it may hold paths. napari-cln --version prints the version.",
        ]
    )
