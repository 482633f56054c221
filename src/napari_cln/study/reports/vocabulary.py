"""The dictionary file, read into one pattern that finds every word of it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from ...errors import DatasetError

Label = Literal["malignant", "benign", "undetermined"]
LABELS = ("malignant", "benign", "undetermined")


@dataclass(frozen=True, kw_only=True)
class Concept:
    """Something a report may find, under one name for all its words."""

    name: str
    label: Label
    strong: bool = False
    explains: bool = False


@dataclass(frozen=True, kw_only=True)
class Dictionary:
    """A compiled dictionary.

    Parameters
    ----------
    pattern : Pattern
        Finds every word, the longest first; the group that matched numbers its meanings.
    meanings : tuple of tuple of str
        For each group, what it stands for: ``"concept:metastasis"``, ``"negated.before"``, …
    concepts : dict of str to Concept
    """

    pattern: re.Pattern[str]
    meanings: tuple[tuple[str, ...], ...]
    concepts: dict[str, Concept]


def load_dictionary(path: str | Path | None = None) -> Dictionary:
    """Read a dictionary file; the one that ships with the package without a path.

    Raises
    ------
    DatasetError
        If the file is not there, is not TOML, or lacks a part; the message says which.
    """
    if path is None:
        return _bundled()
    path = Path(path)
    try:
        return _compile(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as cause:
        raise DatasetError(f"{path.name} can't be read. Check the path and its permissions.") from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise DatasetError(
            f"{path.name} is not a readable dictionary: {cause}. "
            "Compare it with dictionary.toml of the package."
        ) from cause
    except (KeyError, TypeError, ValueError) as cause:
        raise DatasetError(
            f"{path.name} lacks a part of a dictionary, or has an odd one: {cause}. "
            "Compare it with dictionary.toml of the package."
        ) from cause


@lru_cache(maxsize=1)
def _bundled() -> Dictionary:
    return _compile(tomllib.loads((files(__package__) / "dictionary.toml").read_text(encoding="utf-8")))


def _compile(table: Mapping[str, Any]) -> Dictionary:
    """Turn the tables of the file into one pattern."""
    concepts, words = {}, []
    for entry in table["concept"]:
        if entry["label"] not in LABELS:
            raise ValueError(f"label {entry['label']!r} of {entry['name']!r} is none of {', '.join(LABELS)}")
        concept = Concept(
            name=entry["name"],
            label=entry["label"],
            strong=entry.get("strong", False),
            explains=entry.get("explains", False),
        )
        concepts[concept.name] = concept
        words += [(word, False, f"concept:{concept.name}") for word in entry.get("words", [])]
        words += [(word, True, f"concept:{concept.name}") for word in entry.get("exact", [])]
    for room, keys in {
        "negated": ("before", "after"),
        "doubted": ("before", "after"),
        "past": ("before", "after"),
        "ignored": ("words",),
        "clause": ("ends", "lists"),
        "subject": ("node", "other"),
        "side": ("left", "right", "both"),
    }.items():
        words += [(word, False, f"{room}.{key}") for key in keys for word in table[room][key]]
    meanings: dict[tuple[str, bool], list[str]] = {}
    for word, exact, meaning in words:
        meanings.setdefault((word, exact), []).append(meaning)
    # A regular expression takes the first alternative that fits: the longest must come first.
    ordered = sorted(meanings, key=lambda word: -len(word[0]))
    alternatives = (f"({_expression(word, exact)})" for word, exact in ordered)
    return Dictionary(
        pattern=re.compile("|".join(alternatives)),
        meanings=tuple(tuple(meanings[word]) for word in ordered),
        concepts=concepts,
    )


def _expression(word: str, exact: bool) -> str:
    parts = [re.escape(part).replace(r"\*", "[a-z]*") for part in word.split()]
    text = r"\s+".join(parts).replace(r"\s+[a-z]*\s+", r"\s+(?:\S+\s+)?")
    before = r"(?<![A-Za-z0-9])" if word[0].isascii() and word[0].isalnum() else ""
    after = r"(?![A-Za-z0-9])" if word[-1].isascii() and (word[-1].isalnum() or word[-1] == "*") else ""
    return f"{before}{text}{after}" if exact else f"{before}(?i:{text}){after}"
