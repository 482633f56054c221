"""Kinds of arguments that several commands take."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, TypeVar

from ..disk.cells import parse_number, parse_whole

__all__ = ["DEVICES", "Commands", "above_zero", "count", "existing", "pair", "positive", "share"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
DEVICES = ("auto", "cpu", "cuda", "mps")
T = TypeVar("T")


def positive(text: str) -> int:
    """A whole number from 1."""
    number = _said(parse_whole, text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def count(text: str) -> int:
    """A whole number from 0."""
    number = _said(parse_whole, text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is less than 0")
    return number


def share(text: str) -> float:
    """A number between 0 and 1."""
    number = _said(parse_number, text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number


def above_zero(text: str) -> float:
    """A number above 0."""
    number = _said(parse_number, text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def _said(parse: Callable[[str], T], text: str) -> T:
    """Result of a parser; of this error alone argparse shows the sentence."""
    try:
        return parse(text)
    except ValueError as cause:
        raise argparse.ArgumentTypeError(str(cause)) from cause


def existing(text: str) -> Path:
    """A file or folder that is there."""
    if not os.path.exists(text):  # noqa: PTH110 - a Path raises where a name is too long
        raise argparse.ArgumentTypeError(f"there is no file or folder {text}")
    return Path(text)


def pair(text: str) -> tuple[str, str]:
    """``KEY=MEANING``."""
    key, sign, meaning = text.partition("=")
    if not (key and sign and meaning):
        raise argparse.ArgumentTypeError(f"{text} is not of the form KEY=MEANING")
    return key, meaning
