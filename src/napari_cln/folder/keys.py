"""Names that give nothing away: ids from pixels, keys from patients.

A patient is known in a training folder by a keyed hash (HMAC-SHA-256) alone. Its key, the salt,
lies in the user's configuration folder, so that nobody can try patient numbers against a folder
that was shared.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError
from .storage import write_atomically

__all__ = ["config_folder", "hash_pixels", "hashed_key", "maker_of", "read_salt", "salt_fingerprint"]

SALT_FILE = "patient-salt"
# fmt: off
MAKERS = (
    "Acuson", "Aloka", "Alpinion", "BK", "Butterfly", "Canon", "Chison", "Clarius", "Edan", "Esaote",
    "Fujifilm", "GE", "Hitachi", "Konica", "Lumify", "Mindray", "Philips", "Samsung", "Siemens", "SonoScape",
    "SonoSite", "SuperSonic", "Telemed", "Toshiba", "Ultrasonix", "Vinno", "Wisonic", "simulated",
)
# fmt: on


def hash_pixels(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 of pixels in C order, as 64 hexadecimal digits."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def config_folder() -> Path:
    """Folder of this user's settings: ``NAPARI_CLN_CONFIG``, else the system's usual place."""
    if chosen := os.environ.get("NAPARI_CLN_CONFIG"):
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA", Path.home()))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "napari-cln"


def read_salt() -> bytes:
    """Read the salt of patient keys, made on first use.

    Raises
    ------
    DatasetError
        If the configuration folder can't be read or written to.
    """
    path = config_folder() / SALT_FILE
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # another process was first, and its salt counts
                _write_new(path, secrets.token_hex(32).encode())
        salt = path.read_bytes().strip()
    except OSError as cause:
        raise DatasetError(
            f"The salt of the patient keys, {SALT_FILE}, can't be kept ({cause.strerror}). Make your "
            "configuration "
            "folder writable, or name another one in the environment variable NAPARI_CLN_CONFIG."
        ) from cause
    if len(salt) < 16:
        raise DatasetError(f"{SALT_FILE} is damaged: it holds {len(salt)} bytes. Restore it from a backup.")
    return salt


def _write_new(path: Path, data: bytes) -> None:
    whole = path.with_name(f"{path.name}-{secrets.token_hex(4)}")
    write_atomically(whole, data)
    whole.chmod(0o600)
    try:
        os.link(whole, path)  # fails where the goal exists, unlike a rename
    finally:
        whole.unlink()


def salt_fingerprint(salt: bytes) -> str:
    """Eight digits that tell two salts apart and give neither away."""
    return hashed_key(salt, "fingerprint", "napari-cln")[:8]


def hashed_key(salt: bytes, kind: str, name: str) -> str:
    """Key of a patient or a cine: 16 hexadecimal digits.

    Parameters
    ----------
    salt : bytes
    kind : str
        ``"patient"`` or ``"cine"``, so that equal names of two kinds differ.
    name : str
        Compared without regard to case, surrounding blanks and Unicode form: two spellings of
        one patient on two sides of a split would do harm, two patients as one would not.
    """
    spelling = unicodedata.normalize("NFKC", name).strip().casefold()
    return hmac.new(salt, f"{kind}:{spelling}".encode(), hashlib.sha256).hexdigest()[:16]


def maker_of(vendor: str | None) -> str | None:
    """Known maker that a vendor text names; ``None`` for any other text, which could name a patient."""
    words = (vendor or "").casefold().replace("_", " ").replace("-", " ").split()
    return next((maker for maker in MAKERS if maker.casefold() in words), None)
