"""Kinds of arguments that several commands take."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

__all__ = ["DEVICES", "Commands", "existing", "pair", "positive", "share"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
DEVICES = ("auto", "cpu", "cuda", "mps")


def positive(text: str) -> int:
    """A whole number from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def existing(text: str) -> Path:
    """A file or folder that is there."""
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"there is no file or folder {text}")
    return path


def pair(text: str) -> tuple[str, str]:
    """``KEY=MEANING``."""
    key, sign, meaning = text.partition("=")
    if not (key and sign and meaning):
        raise argparse.ArgumentTypeError(f"{text} is not of the form KEY=MEANING")
    return key, meaning


def share(text: str) -> float:
    """A number between 0 and 1."""
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number
