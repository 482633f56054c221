"""Checksums that a text of JSON carries of itself, so that one flipped bit is noticed and set right."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple, TypeVar

import msgspec

from ..errors import DatasetError
from .schema import JsonObject, SchemaError, decode_json

T = TypeVar("T")

_LIKE_A_SEAL = re.compile(rb'[0-9a-f]{64}"[\s\]}]*\Z')


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


def encode_checked(value: JsonObject, known: T, decoder: msgspec.json.Decoder[T], name: str) -> bytes:
    """Write a mapping with its checksum, once it is certain that it can be read again.

    Parameters
    ----------
    value : dict
    known : Struct
        What must be read from it.
    decoder : msgspec.json.Decoder
    name : str
        The file's, for messages.

    Raises
    ------
    DatasetError
        If it can't; the message names the value.
    """
    try:
        data = with_checksum(value)
        if decode_json(decoder, data) != known:  # msgspec writes what is not finite as null
            raise DatasetError(
                f"{name} can't be written: it has a number that is not finite. Change that value."
            )
    except ValueError as cause:  # also text that no file can hold: half of a character
        raise DatasetError(f"{name} can't be written: it {misfit(cause)}. Change that value.") from cause
    return data


def misfit(cause: ValueError) -> str:
    """The end of a sentence about a text that can't be read or written."""
    return str(cause) if isinstance(cause, SchemaError) else f"is not readable JSON ({cause})"


def sealed(text: bytes, seal: Seal) -> bytes:
    """Put a checksum into a text that ends as ``seal`` says, without a last line end.

    Parameters
    ----------
    text : bytes
        UTF-8, without a checksum.
    seal : Seal
        Place of the checksum.
    """
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
    """Tell whether a sealed text differs from what was written; the flipped bit may be in the seal.

    Parameters
    ----------
    data : bytes
    seal : Seal
        Place of the checksum.
    """
    holds = checksum_holds(data, seal, anywhere=False)
    return holds is False or (holds is None and _LIKE_A_SEAL.search(data[-100:]) is not None)


def _digest(text: bytes) -> bytes:
    return sha256(text).hexdigest().encode()


def with_own_line_ends(data: bytes, seal: Seal = OBJECT) -> bytes | None:
    """The text as it was written, where only its line ends were turned, as git does on Windows.

    Parameters
    ----------
    data : bytes
    seal : Seal
        Place of the checksum.

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
