"""A patient's pseudonym: the same for the same patient here, and of no use elsewhere.

SHA-256 of a random salt and the patient's ID, shortened. The salt is made once per user and
kept in the user's configuration folder (``napari-cln/salt``); who has the folder can test a
guessed ID against a pseudonym, so it is not anonymisation.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

import platformdirs
from filelock import FileLock

__all__ = ["pseudonym", "salt_path"]

SALT_BYTES = 32


def pseudonym(patient_id: str) -> str | None:
    """Pseudonym of a patient, 16 hex digits.

    Returns
    -------
    str or None
        None for an empty ID, and where the salt can't be kept: a pseudonym that changes
        from run to run would put one patient on both sides of a split.
    """
    identity = patient_id.strip().casefold()
    if not identity:
        return None
    try:
        salt = _salt(salt_path())
    except OSError:
        return None
    return hashlib.sha256(salt + identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def salt_path() -> Path:
    """File that holds this user's salt."""
    return Path(platformdirs.user_config_dir("napari-cln", appauthor=False)) / "salt"


@cache
def _salt(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.is_file() and len(salt := path.read_bytes()) == SALT_BYTES:
            return salt
        salt = os.urandom(SALT_BYTES)
        path.touch(mode=0o600)
        path.write_bytes(salt)
        return salt
