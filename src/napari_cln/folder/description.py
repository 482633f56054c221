"""``dataset.json``: nnU-Net's description of a training folder, and ours under ``x_napari_cln``.

The file makes a folder a training folder: it is written last when one is made, and looked for first when
one is opened. It ends with a checksum of its own text, as records do. What is ours is also kept in a
private copy, from which it can be had again where a power cut left zeros.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from ..disk.atomic import MAX_JSON_BYTES, TEMPORARY, is_there, read_bytes, write_atomically
from ..disk.locks import lock
from ..disk.schema import JsonObject
from ..disk.seals import checksum_holds, flip_text_back, is_amiss, with_checksum
from ..disk.user import config_folder, key_by, read_salt, salt_fingerprint
from ..errors import DatasetError
from .layout import GIT_FILES, Layout
from .record import SCHEMA, CaseId, Name, Time, now

OURS = "x_napari_cln"
_OWN = frozenset({"imagesTr", "imagesNoMask", "labelsTr", "records", "revisions", ".cln"})
_OWN_FILES = frozenset({*GIT_FILES, "dataset.json", ".git"})
BRING_BACK = "To have it back: `napari-cln check FOLDER --release {} --verdict bring-back --seen-by READER`."
_RESTORE = "Restore it from git or a backup, or run `napari-cln check --repair` to make it anew."


class Seen(Struct, frozen=True):
    """The person who has looked at the pictures of a kind of screen, or left a frame out, and the time."""

    who: Name
    t: Time


class Ours(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Our facts about a folder: schema, time, fingerprint of the patients' salt, screens seen.

    ``left_out`` are frames that a reader has left out, by id: no save and no import takes one.
    """

    schema: Annotated[int, Meta(ge=1, le=10**6)]
    created: Name = ""
    salt: Annotated[str, Meta(pattern="^[0-9a-f]{8}$")] | None = None
    screens: dict[str, Seen] = {}
    left_out: dict[CaseId, Seen] = {}


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
    others: JsonObject = {}

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
        channels = self.others.get("channel_names")
        further = channels if isinstance(channels, dict) else {}
        ours = {
            "channel_names": further | {"0": "ultrasound"},
            "labels": labels,
            "numTraining": self.n_masks,
            "file_ending": ".png",
            OURS: msgspec.to_builtins(self.ours),
        }
        return with_checksum(self.others | ours)

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


def _read(path: Path) -> JsonObject:
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


def others_of(path: Path) -> JsonObject:
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


def has_damaged_copy(path: Path) -> bool:
    """Tell whether the private copy of a ``dataset.json`` is there and can't be read."""
    copy = Layout(path.parent).description_copy
    return copy.exists() and _read_ours(copy) is None


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
    found: JsonObject = {}
    for key in Ours.__struct_fields__:
        with suppress(ValueError, RecursionError):
            _, _, rest = text.partition(f'"{key}":')
            value, _ = json.JSONDecoder().raw_decode(rest.lstrip())
            msgspec.convert({"schema": SCHEMA, key: value}, Ours)
            found[key] = value
    return msgspec.convert({"schema": SCHEMA} | found, Ours) if found else None


class DatasetFile:
    """The ``dataset.json`` of one training folder, as it was read or written last.

    Parameters
    ----------
    layout : Layout
    description : Description
    """

    def __init__(self, layout: Layout, description: Description) -> None:
        self.layout = layout
        self._description = description

    @classmethod
    def make(cls, root: Path, salt: str | None = None) -> DatasetFile:
        """Make a new, empty training folder; one whose making was cut short is finished.

        Parameters
        ----------
        root : Path
        salt : str, optional
            Fingerprint of the salt of the patient keys that will come in; this user's by default.

        Raises
        ------
        DatasetError
            If the path exists and holds anything else, or can't be written to.
        """
        layout = Layout(root)
        try:
            if root.exists() and (not root.is_dir() or any(_foreign_to_a_new_folder(layout))):
                raise DatasetError(f"{root.name} exists and is not empty. Open it, or choose a new folder.")
            description = _begun(layout) or Description.new(salt or salt_fingerprint(read_salt()))
            if description.ours.schema > SCHEMA:
                raise DatasetError(f"{root.name} was made by a newer napari-cln. Update napari-cln.")
            layout.make()
            for folder in (layout.locks, layout.autosave):
                folder.mkdir(parents=True, exist_ok=True)
            for file, text in layout.git_files().items():
                write_atomically(file, text.encode("utf-8", "surrogateescape"))
            description.write(layout.dataset)  # last: without it, the folder is none yet
        except OSError as cause:
            raise DatasetError(
                f"The training folder {root.name} can't be made ({cause.strerror}). "
                "Choose a place where you may write, with free space."
            ) from cause
        return cls(layout, description)

    @classmethod
    def find(cls, root: Path) -> DatasetFile:
        """Read the ``dataset.json`` of a training folder that is there.

        Raises
        ------
        DatasetError
            If there is none, or its description is damaged.
        """
        layout = Layout(root)
        if is_there(layout.dataset):
            return cls(layout, Description.read(layout.dataset))
        if layout.records.is_dir() and any(layout.records.glob("*.json")):
            raise DatasetError(
                f"{root.name} has records, but its dataset.json is missing. Restore it from git or a "
                "backup, or make it anew with `napari-cln check --repair`."
            )
        if layout.records.is_dir():
            raise DatasetError(
                f"{root.name} has no dataset.json yet: its making was cut short. Give the command that "
                "made it again, which finishes it (`napari-cln import SOURCE --out FOLDER`)."
            )
        raise DatasetError(
            f"{root.name} is not a training folder: it has no dataset.json. "
            "Make one with TrainingFolder.create, or `napari-cln import`."
        )

    @property
    def read_only(self) -> bool:
        """True where a newer napari-cln wrote the folder, so that this one must not change it."""
        return self._description.ours.schema > SCHEMA

    def check_writable(self) -> None:
        """Refuse to change a folder of a newer version.

        Raises
        ------
        DatasetError
            If it is one.
        """
        if self.read_only:
            raise DatasetError(
                f"{self.layout.root.name} was written by a newer napari-cln and is open for reading only. "
                "Update napari-cln."
            )

    @property
    def salt(self) -> str | None:
        """Fingerprint of the salt of the patient keys."""
        return self._description.ours.salt

    @property
    def has_unjudged(self) -> bool:
        """True where some masks leave pixels unjudged."""
        return self._description.has_unjudged

    @property
    def left_out(self) -> dict[str, Seen]:
        """Frames that a reader has left out, by id, with who and when, as dataset.json says now."""
        return Description.read(self.layout.dataset).ours.left_out

    def refuse_left_out(self, case_id: str) -> None:
        """Refuse a frame that a reader has left out.

        Raises
        ------
        DatasetError
            If it is one, or dataset.json is damaged.
        """
        if (seen := self.left_out.get(case_id)) is not None:
            raise DatasetError(
                f"{case_id} was left out by {seen.who} on {seen.t:%Y-%m-%d} and is not taken.",
                BRING_BACK.format(case_id),
            )

    def note_left_out(self, case_id: str, who: str, *, is_out: bool) -> None:
        """Note that a reader leaves a frame out, or has it back.

        Raises
        ------
        DatasetError
            If dataset.json is damaged.
        OSError
            If the disk refuses.
        """
        with lock(self.layout.locks, "dataset", who):
            ours = Description.read(self.layout.dataset).ours
            left_out = {other: seen for other, seen in ours.left_out.items() if other != case_id}
            if is_out:
                left_out[case_id] = Seen(who, now())
            self._update(ours=msgspec.structs.replace(ours, left_out=left_out))

    def hash_key(self, kind: Literal["patient", "cine"], name: str) -> str:
        """Key of a patient or a cine in this folder.

        A pseudonym that was read with a frame (``Frame.patient_id``) gives the key that the
        patient's ID itself would give.

        Raises
        ------
        DatasetError
            If the folder was made with another salt: one patient would get two keys.
        """
        key = key_by(self.salt, kind, name)
        if key is None:
            raise DatasetError(
                f"The patient keys of {self.layout.root.name} were made with another salt than yours. Copy "
                "the file patient-salt from the computer where the folder was made into "
                f"{config_folder().name}, your configuration folder."
            )
        return key

    def recount(self) -> None:
        """Bring ``numTraining`` in dataset.json, which nnU-Net checks, up to date.

        Raises
        ------
        DatasetError
            If dataset.json is damaged, or the disk refuses.
        """
        try:
            with lock(self.layout.locks, "dataset", "napari-cln"):
                self._update(n_masks=self.layout.count_masks())
        except OSError as cause:
            raise self.refused(cause) from cause

    def declare_unjudged(self) -> None:
        """Say that labels may leave pixels unjudged, before the first that does is written."""
        if not self.has_unjudged:
            with lock(self.layout.locks, "dataset", "napari-cln"):
                self._update(has_unjudged=True)

    def _update(self, **changes: object) -> None:
        description = Description.read(self.layout.dataset)
        self._description = msgspec.structs.replace(description, **changes)
        if self._description != description:
            self._description.write(self.layout.dataset)

    def refused(self, cause: OSError) -> DatasetError:
        """Make the error for a disk that refuses to take what is written into the folder."""
        return DatasetError(
            f"{self.layout.root.name} can't be written to ({cause.strerror}). Free some space, or make the "
            "folder writable, and try again."
        )


def _foreign_to_a_new_folder(layout: Layout) -> Iterator[Path]:
    """Files in a folder that :meth:`DatasetFile.make` would not have left when it was cut short."""
    for path in layout.root.iterdir():
        if path.name.startswith(TEMPORARY) or path == layout.private:
            continue
        if path.is_dir() and path.name in _OWN:
            for inner in path.rglob("*"):
                own = (
                    inner.name.startswith(TEMPORARY) or inner.relative_to(layout.root).as_posix() in GIT_FILES
                )
                if not inner.is_dir() and not own:
                    yield inner
        elif path.name not in _OWN_FILES or (path == layout.dataset and is_foreign(path)):
            yield path


def _begun(layout: Layout) -> Description | None:
    """The description of a folder that was made, but has no frame yet; None for one that is damaged."""
    with suppress(DatasetError):
        return Description.read(layout.dataset)
    return None
