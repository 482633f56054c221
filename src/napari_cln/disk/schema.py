"""Files of JSON into typed values: ranges are checked, and what does not fit is named.

The types are msgspec Structs. What they accept can always be written again: JSON has no NaN, no
infinity and no half of a character, and msgspec refuses all three.
"""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Any, NamedTuple, TypeVar

import msgspec

__all__ = [
    "OBJECT",
    "Misfit",
    "Seal",
    "checksum_holds",
    "decode_json",
    "flip_text_back",
    "is_amiss",
    "misfit_of",
    "sealed",
    "with_checksum",
    "with_own_line_ends",
]

T = TypeVar("T")
_PATH = re.compile(r" - at `\$?([^`]*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_LIKE_A_SEAL = re.compile(rb'[0-9a-f]{64}"[\s\]}]*\Z')
_MISSING = re.compile(r"Object missing required field (.*)")
MAX_SHOWN = 60


class Misfit(NamedTuple):
    """One value that does not fit: under which key, the value as text, and what is expected there."""

    key: str
    value: str
    expected: str

    def __str__(self) -> str:
        if not self.key:
            return (
                f"is not readable JSON ({self.expected})"
                if not self.value
                else f"holds {self.value}, not an object"
            )
        if not self.value:
            return f"lacks the key {self.key!r}"
        return f"has {self.value} under {self.key!r}, where {self.expected} is expected"


def decode_json(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """Decode JSON by a typed decoder.

    Raises
    ------
    ValueError
        If it is no JSON, is nested too deep, or a value does not fit; :func:`misfit_of` says which.
    """
    try:
        return decoder.decode(data)
    except RecursionError as cause:
        raise ValueError("nested too deep") from cause


def misfit_of(error: Exception, data: bytes) -> Misfit:
    """The value for which decoding failed.

    Parameters
    ----------
    error : Exception
        What :func:`decode_json` raised.
    data : bytes
        What it was given.

    Returns
    -------
    Misfit
        Without a key where the text is no JSON at all.
    """
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return Misfit("", "", text)
    match = _PATH.search(text)
    expected = (text[: match.start()] if match else text).replace("`", "")
    path = match[1] if match else ""
    if missing := _MISSING.fullmatch(expected):
        return Misfit(f"{path}.{missing[1]}".lstrip("."), "", "")
    try:
        value: Any = json.loads(data)
        if not isinstance(value, dict):
            return Misfit("", type(value).__name__, "")
        for name, index in _STEP.findall(path):
            # msgspec writes [...] for the values of a mapping: which one is not said.
            value = value[name] if name else value[int(index)]
        shown = json.dumps(value, ensure_ascii=True)
    except RecursionError:
        return Misfit("", "", "nested too deep")
    except (ValueError, TypeError, KeyError, IndexError):
        shown = "a value"
    if len(shown) > MAX_SHOWN:
        shown = shown[:MAX_SHOWN] + "…"
    return Misfit(path.lstrip(".") or "this record", shown, _plain(expected))


def _plain(expected: str) -> str:
    """The kind that msgspec expects, as the end of a sentence."""
    if expected.startswith("Invalid enum value"):
        return "another word"
    text = expected.removeprefix("Expected ").partition(", got ")[0]
    for name, word in (
        ("int", "a whole number"),
        ("float", "a number"),
        ("str", "text"),
        ("bool", "true or false"),
    ):
        text = re.sub(rf"\b{name}\b", word, text)
    return text


class Seal(NamedTuple):
    """Place of a checksum in a text of JSON: what stands before and behind it, and the end without it.

    The checksum is the SHA-256 of the text as it would be without.
    """

    before: bytes
    behind: bytes
    end: bytes


OBJECT = Seal(b',\n "checksum": "', b'"\n}\n', b"\n}")
"""The last key of an object that stands one key a line."""
MAX_FLIPPED_BYTES = 2**14
"""Bytes up to which a flipped bit is looked for: some seconds of hashing."""


def with_checksum(value: object) -> bytes:
    """Write a mapping as JSON with a checksum of its own as the last key.

    Parameters
    ----------
    value : Struct or mapping
        Without a key ``checksum``.

    Returns
    -------
    bytes
        One key a line, so that a change shows as a short difference.
    """
    return sealed(msgspec.json.format(msgspec.json.encode(value), indent=1), OBJECT)


def sealed(text: bytes, seal: Seal) -> bytes:
    """Put a checksum into a text that ends as ``seal`` says, without a last line end."""
    return text.removesuffix(seal.end) + seal.before + _digest(text) + seal.behind


def checksum_holds(data: bytes, seal: Seal = OBJECT, *, anywhere: bool = True) -> bool | None:
    """Tell whether a text is as :func:`with_checksum` or :func:`sealed` wrote it.

    Parameters
    ----------
    data : bytes
    seal : Seal
    anywhere : bool
        Whether a checksum that stands elsewhere than at the end, as after another program wrote the file
        anew, counts as one that does not hold.

    Returns
    -------
    bool or None
        None for a text that carries no checksum, as files of earlier versions.
    """
    body, sign, tail = data.rpartition(seal.before)
    if not sign:
        return False if anywhere and b'"checksum"' in data else None
    return tail == _digest(body + seal.end) + seal.behind


def is_amiss(data: bytes, seal: Seal = OBJECT) -> bool:
    """Tell whether a sealed text differs from what was written; the flipped bit may be in the seal."""
    holds = checksum_holds(data, seal, anywhere=False)
    return holds is False or (holds is None and _LIKE_A_SEAL.search(data[-100:]) is not None)


def _digest(text: bytes) -> bytes:
    return sha256(text).hexdigest().encode()


def with_own_line_ends(data: bytes, seal: Seal = OBJECT) -> bytes | None:
    """The text as it was written, where only its line ends were turned, as git does on Windows.

    Returns
    -------
    bytes or None
        None where that is not what happened: the checksum holds as it is, or some other byte differs too.
    """
    own = data.replace(b"\r\n", b"\n")
    return own if own != data and checksum_holds(own, seal) else None


def flip_text_back(data: bytes, seal: Seal = OBJECT) -> bytes | None:
    """Find the one flipped bit of a text that :func:`with_checksum` or :func:`sealed` wrote.

    Parameters
    ----------
    data : bytes
    seal : Seal

    Returns
    -------
    bytes or None
        The text as it was written; None where more than one bit is wrong, or the text is longer than
        16 KiB. A wrong answer would need two texts with one SHA-256.
    """
    if len(data) > MAX_FLIPPED_BYTES:
        return None
    tried = bytearray(data)
    for i in range(len(tried)):
        for bit in range(8):
            tried[i] ^= 1 << bit
            if checksum_holds(bytes(tried), seal) is True:
                return bytes(tried)
            tried[i] ^= 1 << bit
    return None
