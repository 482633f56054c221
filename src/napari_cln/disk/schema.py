"""Text of a file as typed values, each of the right kind and in its range; what does not fit is named.

The types are msgspec Structs (:func:`decode_json`), or dataclasses that a person may edit as settings
(:func:`read`). What they accept can always be written again: JSON has no NaN, no infinity and no half of a
character, and all three are refused.

A schema of settings is a dataclass: its hints say the kinds, and ``Annotated`` with :class:`msgspec.Meta`
says the ranges (:mod:`napari_cln.settings`). A value that does not fit is one :class:`SchemaError`, with its
key, the value as it stands in the file, and what it must be.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Collection, Iterator
from dataclasses import is_dataclass
from types import UnionType
from typing import Annotated, Any, TypeAlias, TypeVar, Union, get_args, get_origin

import msgspec

from ..settings import MAX_SHOWN, SchemaError, hints_of, shown, wanted

__all__ = ["JsonObject", "SchemaError", "decode_json", "read"]

T = TypeVar("T")
Keys: TypeAlias = "tuple[str | int, ...]"
"""Keys and places from the outermost object to a value."""

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object of no schema, such as the keys that another program keeps in a file of ours."""

_PATH = re.compile(r" - at `\$?([^`]*)`$")
_MISSING = re.compile(r"Object missing required field (.*)")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


def decode_json(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """Decode JSON by a typed decoder.

    Parameters
    ----------
    decoder : msgspec.json.Decoder
        Of the type that is wanted.
    data : bytes
        UTF-8.

    Raises
    ------
    SchemaError
        If it is no JSON, is nested too deep, or a value does not fit: the end of a sentence that begins with
        the file's name, such as ``has "x" under 'revision', where a whole number is expected``.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as cause:
        raise SchemaError("", _misfit_in(data, str(cause))) from cause
    except RecursionError as cause:
        raise SchemaError("", "is not readable JSON (nested too deep)") from cause
    except ValueError as cause:
        raise SchemaError("", f"is not readable JSON ({cause})") from cause


def _misfit_in(data: bytes, sentence: str) -> str:
    """Put what msgspec says of a value into words, with its key and the value as it stands in the file."""
    match = _PATH.search(sentence)
    expected = (sentence[: match.start()] if match else sentence).replace("`", "")
    path = match[1] if match else ""
    if missing := _MISSING.fullmatch(expected):
        return f"lacks the key {f'{path}.{missing[1]}'.lstrip('.')!r}"
    try:
        value: Any = json.loads(data)
        if not isinstance(value, dict):
            return f"holds {type(value).__name__}, not an object"
        for name, index in _STEP.findall(path):
            # msgspec writes [...] for the values of a mapping: which one is not said.
            value = value[name] if name else value[int(index)]
        text = shown(value)
    except RecursionError:
        return "is not readable JSON (nested too deep)"
    except (ValueError, TypeError, KeyError, IndexError):
        text = "a value"
    key = path.lstrip(".") or "this record"
    return f"has {text} under {key!r}, where {_plain(expected)} is expected"


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


def read(text: bytes | str, kind: type[T], *, needed: Collection[str] = ()) -> T:
    """Read a JSON object into a dataclass.

    Parameters
    ----------
    text : bytes or str
    kind : type
        A dataclass. Keys that are not its fields are refused: they could not be written again.
    needed : collection of str
        Fields that the text must have although they have a default.

    Raises
    ------
    SchemaError
        If it is no JSON, or a value is missing, unknown, of another kind, or out of its range; a
        number that is not finite and half a surrogate pair count as out of range anywhere.
    """
    if isinstance(text, bytes):
        text = text.removeprefix(codecs.BOM_UTF8)
    try:
        raw = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as cause:
        raise _odd_text(text, kind) from cause
    try:
        for path in _unknown(raw, kind, ()):
            raise SchemaError(_key(path), "is not known here")
        found = msgspec.convert(raw, kind)
    except msgspec.ValidationError as cause:
        raise _misfit(raw, kind, str(cause)) from cause
    except RecursionError as cause:
        raise SchemaError("", "It is nested too deep.") from cause
    for name in needed:
        if name not in raw:
            raise SchemaError(name, "is missing")
    return found


def _inside(hint: Any, step: str | int) -> Any:
    """The hint of what stands under a key or at a place; None where it is not said."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        found = (_inside(part, step) for part in inner if part is not type(None))
        return next((part for part in found if part is not None), None)
    if is_dataclass(hint):
        return hints_of(hint).get(str(step))  # type: ignore[arg-type]  # a class, as all hints
    if origin is tuple:
        if inner[-1] is Ellipsis:
            return inner[0]
        return inner[int(step)] if str(step).isdigit() and int(step) < len(inner) else None
    return None


def _unknown(raw: Any, hint: Any, at: Keys) -> Iterator[Keys]:
    """Places of the keys that no schema knows."""
    if isinstance(raw, dict):
        kinds = [part for part in (hint, *get_args(hint)) if is_dataclass(part)]
        if kinds:
            known = hints_of(kinds[0])  # type: ignore[arg-type]
            for key, value in raw.items():
                if key not in known:
                    yield (*at, key)
                else:
                    yield from _unknown(value, known[key], (*at, key))
    elif isinstance(raw, list):
        for place, value in enumerate(raw):
            yield from _unknown(value, _inside(hint, place), (*at, place))


def _misfit(raw: Any, kind: type, sentence: str) -> SchemaError:
    """Put what msgspec says of a value into words for a user."""
    said, _, where = sentence.partition(" - at `$")
    path = [
        int(place) if place.isdigit() else key or place for key, place in _STEP.findall(where.rstrip("`"))
    ]
    if missing := re.search(r"missing required field `(.+)`", said):
        return SchemaError(_key((*path, missing[1])), "is missing")
    hint: Any = kind
    value: Any = raw
    for depth, step in enumerate(path):
        if step == "...":  # somewhere in an object that has no schema
            path = path[:depth]
            break
        hint, value = _inside(hint, step), value[step]
    if hint is None or (is_dataclass(hint) and isinstance(value, dict)):  # the dataclass itself refused
        return SchemaError(f"{_key(tuple(path))}:" if path else "", said)
    if not path:
        return SchemaError("", f"It is {shown(value)}, and must be an object.")
    return SchemaError(_key(tuple(path)), f"is {shown(value)}, and must be {wanted(hint)}")


def _odd_text(text: bytes | str, kind: type) -> SchemaError:
    """Find what is wrong with a text that is no JSON, or holds what can't be written again."""
    try:
        for path, value in _leaves(json.loads(text, parse_int=_whole), ()):
            if any(isinstance(step, str) and not _is_writable(step) for step in path):
                return SchemaError(_key(path), "is not named in whole characters")
            if isinstance(value, _Digits):
                return SchemaError(_key(path), f"is a number of {len(value)} digits")
            if isinstance(value, float) and not math.isfinite(value):
                return SchemaError(_key(path), f"is {shown(value)}, and must be {_wanted_at(path, kind)}")
            if isinstance(value, str) and not _is_writable(value):
                return SchemaError(_key(path), f"is {shown(value)}, and must be of whole characters")
    except RecursionError:
        return SchemaError("", "It is nested too deep.")
    except json.JSONDecodeError as error:
        return SchemaError("", f"It is no JSON from line {error.lineno} on.")
    except ValueError:
        pass  # not UTF-8
    return SchemaError("", "It is no JSON.")


class _Digits(str):
    """A number too long to be one."""


def _whole(digits: str) -> int | _Digits:
    return int(digits) if len(digits) < 400 else _Digits(digits)


def _wanted_at(path: Keys, kind: type) -> str:
    hint: Any = kind
    for step in path:
        hint = _inside(hint, step)
    return "finite" if hint is None else wanted(hint)


def _leaves(value: Any, at: Keys) -> Iterator[tuple[Keys, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*at, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _leaves(inner, (*at, place))
    else:
        yield at, value


def _is_writable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _key(path: Keys) -> str:
    """``config.bins[0]``, in characters that any terminal shows."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
    return text.encode("ascii", "backslashreplace").decode()[:MAX_SHOWN]
