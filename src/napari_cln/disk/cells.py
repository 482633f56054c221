"""Numbers as people write them in fields and tables."""

from __future__ import annotations

import math
import re

__all__ = ["parse_number"]

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:[.,][0-9]+)?|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?")


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
    shown = repr(text if len(text) <= 40 else f"{text[:40]}…")
    if not _NUMBER.fullmatch(stripped):
        raise ValueError(
            f"{shown} is not one number. Write it with digits and one decimal sign, such as 0.5 or 0,5, "
            "and without marks of thousands."
        )
    number = float(stripped.replace(",", "."))
    mantissa = re.split("[eE]", stripped)[0]
    if math.isinf(number) or (number == 0 and mantissa.strip("+-0.,")):
        size = "large" if number else "small"
        raise ValueError(f"{shown} is too {size} for a number here. Check its exponent.")
    return number
