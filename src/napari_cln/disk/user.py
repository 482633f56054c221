"""A patient's pseudonym: the same for the same patient here, and of no use elsewhere.

A keyed hash (HMAC-SHA-256) of the patient's ID, shortened. Its key, the salt, is made once per
user and kept in the user's configuration folder, never beside the data: who has it can test a
guessed ID against a pseudonym, so this is not anonymisation. Training folders know a patient by
the same hash, whether the ID came from a DICOM header or from a table.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from contextlib import suppress
from pathlib import Path

import platformdirs

from ..errors import DatasetError

_PSEUDONYM = re.compile(r"pt-([0-9a-f]{16})")


def pseudonym(patient_id: str) -> str | None:
    """Pseudonym of a patient: ``pt-`` and 16 hexadecimal digits.

    Parameters
    ----------
    patient_id : str
        As a DICOM header has it; blanks around it and its case do not count.

    Returns
    -------
    str or None
        None for an empty ID, and where the salt can't be kept or is damaged: a pseudonym that changes
        from run to run would put one patient on both sides of a split.
    """
    key = _key("patient", patient_id)
    return None if key is None else f"pt-{key}"


def image_key(uid: str) -> str | None:
    """Key of an image by its identifier (SOP Instance UID): 16 hexadecimal digits.

    With it the image of a frame can be found among others, and never be read from the record.

    Parameters
    ----------
    uid : str

    Returns
    -------
    str or None
        None for an empty identifier, and where the salt can't be kept or is damaged.
    """
    return _key("image", uid)


def _key(kind: str, name: str) -> str | None:
    if not name.strip():
        return None
    try:
        salt = patient_salt()
    except OSError:
        return None
    return None if is_damaged(salt) else hashed_key(salt, kind, name)


def config_folder() -> Path:
    """Folder of this user's settings: ``NAPARI_CLN_CONFIG``, else the system's usual place."""
    chosen = os.environ.get("NAPARI_CLN_CONFIG")
    return Path(chosen or platformdirs.user_config_dir("napari-cln", appauthor=False))


def salt_path() -> Path:
    """File that holds this user's salt."""
    return config_folder() / "patient-salt"


def patient_salt() -> bytes:
    """Read the salt, made on first use.

    Raises
    ------
    OSError
        If it can't be read or kept.
    """
    path = salt_path()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.with_name(f"{path.name}-{secrets.token_hex(4)}")
        with os.fdopen(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_hex(32).encode())
            file.flush()
            os.fsync(file.fileno())
        try:
            # a link fails where its name exists: another process was first, and its salt counts
            with suppress(FileExistsError):
                os.link(whole, path)
        finally:
            whole.unlink()
    return path.read_bytes().strip()


def is_damaged(salt: bytes) -> bool:
    """Tell whether a salt is too short, or zeros left by a power cut: with such a one IDs can be guessed."""
    return len(salt) < 16 or not salt.strip(b"\0")


def hashed_key(salt: bytes, kind: str, name: str) -> str:
    """Key of a patient or a cine: 16 hexadecimal digits.

    Parameters
    ----------
    salt : bytes
    kind : str
        ``"patient"``, ``"cine"`` or ``"image"``, so that equal names of two kinds differ.
    name : str
        Compared without regard to case, surrounding blanks and Unicode form: two spellings of
        one patient on two sides of a split would do harm, two patients as one would not.
    """
    spelling = unicodedata.normalize("NFKC", name).strip().casefold()
    data = f"{kind}:{spelling}".encode("utf-8", "surrogateescape")
    return hmac.new(salt, data, hashlib.sha256).hexdigest()[:16]


def key_by(fingerprint: str | None, kind: str, name: str) -> str | None:
    """Key of a patient or a cine, by the salt that has a fingerprint.

    Parameters
    ----------
    fingerprint : str or None
        As :func:`salt_fingerprint` gives it.
    kind : str
        As for :func:`hashed_key`.
    name : str
        A patient's pseudonym gives the key that the patient's ID itself would give.

    Returns
    -------
    str or None
        None where this user's salt is another one.

    Raises
    ------
    DatasetError
        As of :func:`read_salt`.
    """
    salt = read_salt()
    if fingerprint != salt_fingerprint(salt):
        return None
    known = _PSEUDONYM.fullmatch(name) if kind == "patient" else None
    return known[1] if known else hashed_key(salt, kind, name)


def read_salt() -> bytes:
    """Read the salt of patient keys, made on first use.

    Raises
    ------
    DatasetError
        If the configuration folder can't be read or written to, or the salt is damaged.
    """
    name = salt_path().name
    try:
        salt = patient_salt()
    except OSError as cause:
        raise DatasetError(
            f"The salt of the patient keys, {name}, can't be kept ({cause.strerror}). Make your "
            "configuration folder writable, or name another in the environment variable NAPARI_CLN_CONFIG."
        ) from cause
    if is_damaged(salt):
        held = f"{len(salt)} bytes" if salt.strip(b"\0") or not salt else "nothing but zeros"
        raise DatasetError(f"{name} is damaged: it holds {held}. Restore it from a backup.")
    return salt


def salt_fingerprint(salt: bytes) -> str:
    """Eight digits that tell two salts apart and give neither away."""
    return hashed_key(salt, "fingerprint", "napari-cln")[:8]
