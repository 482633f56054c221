"""Cells of tables: text in one line that no spreadsheet runs, and numbers as people write them.

A spreadsheet takes a cell for a formula when it begins with ``= + - @`` or their full-width forms; it
begins a cell not only where we did, but after any sign that it takes for a separator (``;`` in much of
Europe), and it passes over blanks and quotes. An apostrophe before such a sign makes it text.
"""

from __future__ import annotations

import math
import re

_STARTS = r"(^|[,;|\t\r\n\"])"
# blanks, controls and signs without a width, which spreadsheets pass over; and apostrophes, ours among them
_PASSED_OVER = (
    r"((?:[^\S\t\r\n]|['\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u180e"
    r"\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff])*"
)
_SIGNS = r"(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])"
_BARE = re.compile(rf"{_STARTS}{_PASSED_OVER}){_SIGNS}")
_DEFUSED = re.compile(rf"{_STARTS}{_PASSED_OVER})'{_SIGNS}")

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:[.,][0-9]+)?|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
MAX_DIGITS = 18
"""Of a whole number, so that it fits 64 bits."""


def defused(text: str) -> str:
    """Return a cell's text so that no spreadsheet takes it, or a part of it, for a formula.

    Parameters
    ----------
    text : str
        Any text, such as a file's name.

    Returns
    -------
    str
        The same with an apostrophe before each ``= + - @``, tab or line break that a cell could
        begin with: at the start, or after a separator or a quote. :func:`restored` undoes it.

    Examples
    --------
    >>> defused("=1+1.png"), defused("a;=1"), defused("a-1.png")
    ("'=1+1.png", "a;'=1", 'a-1.png')
    """
    return _BARE.sub(r"\1\2'", text)


def restored(text: str) -> str:
    """Return what :func:`defused` was given.

    Parameters
    ----------
    text : str
        A cell of a table that this package wrote.
    """
    return _DEFUSED.sub(r"\1\2", text) if "'" in text else text


def printable(name: str) -> str:
    """Return valid UTF-8 in one line: undecodable bytes and control characters are written as escapes.

    Parameters
    ----------
    name : str
        Such as a file's name, which may hold any byte.
    """
    text = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """Return sentences in one printable line, whatever a file's name in them holds.

    Parameters
    ----------
    text : str
        Each run of blanks and line breaks becomes one blank.
    """
    return printable(" ".join(text.split()))


def parse_number(text: str) -> float:
    """Read one number, with a point or a comma as the decimal sign.

    Parameters
    ----------
    text : str
        ASCII digits, at most one decimal sign, an optional sign and exponent; blanks around it are
        passed over. Marks of thousands are refused: where two signs can be meant, none is guessed.

    Returns
    -------
    float
        Finite, and 0 only for zero.

    Raises
    ------
    ValueError
        In a sentence for the user, if it is anything else.

    Examples
    --------
    >>> parse_number("0,5"), parse_number("12.5"), parse_number("1e-3")
    (0.5, 12.5, 0.001)
    """
    stripped = text.strip()
    if not _NUMBER.fullmatch(stripped):
        raise ValueError(
            f"{_shown(text)} is not one number. Write it with digits and one decimal sign, such as "
            "0.5 or 0,5, and without marks of thousands."
        )
    number = float(stripped.replace(",", "."))
    mantissa = re.split("[eE]", stripped)[0]
    if math.isinf(number) or (number == 0 and mantissa.strip("+-0.,")):
        size = "large" if number else "small"
        raise ValueError(f"{_shown(text)} is too {size} for a number here. Check its exponent.")
    return number


def parse_whole(text: str) -> int:
    """Read one whole number.

    Parameters
    ----------
    text : str
        At most 18 ASCII digits with an optional sign; blanks around it are passed over.

    Raises
    ------
    ValueError
        In a sentence for the user, if it is anything else.

    Examples
    --------
    >>> parse_whole(" 12 "), parse_whole("-3")
    (12, -3)
    """
    stripped = text.strip()
    if not _WHOLE.fullmatch(stripped):
        raise ValueError(f"{_shown(text)} is not a whole number. Write it with digits alone, such as 12.")
    if len(stripped.lstrip("+-0")) > MAX_DIGITS:
        raise ValueError(f"{_shown(text)} has more than {MAX_DIGITS} digits. Check that it is one number.")
    return int(stripped)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
