"""``dataset.json``: nnU-Net's description of a training folder, and ours under ``x_napari_cln``.

It ends with a checksum of its own text, as records do. What is ours is also kept in a private copy,
from which it can be had again where a power cut left zeros.
"""

from __future__ import annotations

import codecs
import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from ..disk.atomic import MAX_JSON_BYTES, read_bytes, write_atomically
from ..disk.schema import checksum_holds, flip_text_back, is_amiss, with_checksum
from ..errors import DatasetError
from .layout import Layout
from .record import SCHEMA, Name, Time, now

__all__ = ["Description", "Ours", "Seen", "is_foreign", "others_of", "salvage"]

OURS = "x_napari_cln"
_RESTORE = "Restore it from git or a backup, or run `napari-cln check --repair` to make it anew."


class Seen(Struct, frozen=True):
    """The person who has looked at the pictures of a kind of screen, and the time."""

    who: Name
    t: Time


class Ours(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Our facts about a folder: schema, time, fingerprint of the patients' salt, screens seen."""

    schema: Annotated[int, Meta(ge=1, le=10**6)]
    created: Name = ""
    salt: Annotated[str, Meta(pattern="^[0-9a-f]{8}$")] | None = None
    screens: dict[str, Seen] = {}


class Description(Struct, frozen=True, kw_only=True):
    """Content of ``dataset.json``; keys of others stay as they are.

    Parameters
    ----------
    ours : Ours
    n_masks : int
        nnU-Net's ``numTraining``.
    has_unjudged : bool
        Whether label images may hold nnU-Net's ``ignore``.
    others : dict
        Every other key, as it was read.
    """

    ours: Ours
    n_masks: int = 0
    has_unjudged: bool = False
    others: dict[str, Any] = {}

    @classmethod
    def new(cls, salt: str | None) -> Description:
        """Description of an empty folder."""
        created = now().strftime("%Y-%m-%dT%H:%M:%SZ")
        return cls(ours=Ours(schema=SCHEMA, created=created, salt=salt))

    @classmethod
    def read(cls, path: Path) -> Description:
        """Read a ``dataset.json``.

        One flipped bit is read past. A checksum that does not hold otherwise is no reason to refuse, since
        other programs write the file too; ``check`` names both.

        Raises
        ------
        DatasetError
            If it is missing, damaged, or of an nnU-Net dataset that is no training folder.
        """
        raw = _read(path)
        if OURS not in raw and _has_records(path.parent):
            raise DatasetError(f"{path.name} has no key {OURS!r}: another program wrote it anew. {_RESTORE}")
        if OURS not in raw:
            raise DatasetError(
                f"{path.parent.name} is an nnU-Net dataset, but not a training folder. Import it with "
                "`napari-cln import`."
            )
        try:
            ours = msgspec.convert(raw.pop(OURS), Ours)
        except (msgspec.ValidationError, RecursionError) as cause:
            raise DatasetError(
                f"{path.name} has a value under {OURS!r} that no training folder has ({cause}). {_RESTORE}"
            ) from cause
        n_masks, labels = raw.get("numTraining"), raw.get("labels")
        raw.pop("checksum", None)
        return cls(
            ours=ours,
            n_masks=n_masks if isinstance(n_masks, int) and n_masks is not True else -1,
            has_unjudged=isinstance(labels, dict) and "ignore" in labels,
            others=raw,
        )

    def encode(self) -> bytes:
        """Write it as JSON with its checksum."""
        labels = {"background": 0, "lymph node": 1} | ({"ignore": 2} if self.has_unjudged else {})
        content = self.others | {
            "channel_names": {"0": "ultrasound"},
            "labels": labels,
            "numTraining": self.n_masks,
            "file_ending": ".png",
            OURS: msgspec.to_builtins(self.ours),
        }
        return with_checksum(content)

    def write(self, path: Path) -> None:
        """Write ``dataset.json`` whole or not at all, and what is ours of it into the private copy.

        Raises
        ------
        OSError
            If the disk refuses.
        """
        write_atomically(path, self.encode())
        copy = Layout(path.parent).description_copy
        with suppress(OSError):  # a second line of defence, no part of the folder
            if _read_ours(copy) != self.ours:
                copy.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(copy, with_checksum(msgspec.to_builtins(self.ours)))


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; what msgspec reads can be written again, which json does not promise of NaN."""
    try:
        data = read_bytes(path, MAX_JSON_BYTES)
        if is_amiss(data):
            data = flip_text_back(data) or data
        raw = msgspec.json.decode(data.removeprefix(codecs.BOM_UTF8))
    except OSError as cause:
        raise DatasetError(f"{path.name} can't be read ({cause.strerror}). {_RESTORE}") from cause
    except RecursionError as cause:
        raise DatasetError(f"{path.name} is nested too deep. {_RESTORE}") from cause
    except ValueError as cause:
        reason = "it holds nothing but zeros" if not data.strip(b"\0") else str(cause)
        raise DatasetError(f"{path.name} is not readable JSON ({reason}). {_RESTORE}") from cause
    if not isinstance(raw, dict):
        raise DatasetError(f"{path.name} holds {type(raw).__name__}, not an object. {_RESTORE}")
    return raw


def is_foreign(path: Path) -> bool:
    """Tell whether a ``dataset.json`` is whole, and that of a data set which is no training folder."""
    try:
        return OURS not in _read(path) and not _has_records(path.parent)
    except DatasetError:
        return False


def others_of(path: Path) -> dict[str, Any]:
    """Keys of other programs in a ``dataset.json``; none where it can't be read."""
    try:
        return {key: value for key, value in _read(path).items() if key not in (OURS, "checksum")}
    except DatasetError:
        return {}


def _has_records(root: Path) -> bool:
    return any(Layout(root).records.glob("*.json"))


def _read_ours(path: Path) -> Ours | None:
    """Content of a private copy; None for one that is missing or damaged."""
    with suppress(OSError, DatasetError, ValueError, RecursionError):
        data = read_bytes(path, MAX_JSON_BYTES)
        if checksum_holds(data):
            return msgspec.json.decode(data, type=Ours)
    return None


def salvage(path: Path) -> Ours | None:
    """Recover what a damaged ``dataset.json`` said: from its copy, else from its text.

    Parameters
    ----------
    path : Path
        The damaged file, or where it should be.

    Returns
    -------
    Ours or None
        None where nothing is known.
    """
    if (kept := _read_ours(Layout(path.parent).description_copy)) is not None:
        return kept
    text = ""
    with suppress(OSError, DatasetError):
        text = read_bytes(path, MAX_JSON_BYTES).decode("utf-8", "replace")
    found: dict[str, Any] = {}
    for key in Ours.__struct_fields__:
        with suppress(ValueError, RecursionError):
            _, _, rest = text.partition(f'"{key}":')
            value, _ = json.JSONDecoder().raw_decode(rest.lstrip())
            msgspec.convert({"schema": SCHEMA, key: value}, Ours)
            found[key] = value
    return msgspec.convert({"schema": SCHEMA} | found, Ours) if found else None
