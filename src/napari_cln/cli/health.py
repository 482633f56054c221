"""``napari-cln doctor``."""

from __future__ import annotations

import argparse

from .arguments import Commands

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Add ``doctor``."""
    doctor = commands.add_parser("doctor", help="what is installed, and which device will be used and why")
    doctor.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from ..doctor import examine

    for line in examine():
        print(line)
    return 0
