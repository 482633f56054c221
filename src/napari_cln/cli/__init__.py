"""The command ``napari-cln``: a small function a subcommand, which imports what it needs.

Exit codes: 0 when all went well, 1 when something failed (one sentence says what), 2 for wrong use.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

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
    options = make_parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except ClnError as error:
        print(f"napari-cln: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("napari-cln: stopped. The same command goes on where it stopped.", file=sys.stderr)
        return 130
    return code


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
    return parser
