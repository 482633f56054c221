"""Names that give nothing away: ids from pixels, keys from patients.

A patient is known in a training folder by a keyed hash (:mod:`napari_cln.disk.user`) alone.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from ..disk.user import hashed_key, patient_salt, salt_path
from ..errors import DatasetError

__all__ = ["hash_pixels", "maker_of", "read_salt", "salt_fingerprint"]

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


def read_salt() -> bytes:
    """Read the salt of patient keys, made on first use.

    Raises
    ------
    DatasetError
        If the configuration folder can't be read or written to.
    """
    name = salt_path().name
    try:
        salt = patient_salt()
    except OSError as cause:
        raise DatasetError(
            f"The salt of the patient keys, {name}, can't be kept ({cause.strerror}). Make your "
            "configuration folder writable, or name another in the environment variable NAPARI_CLN_CONFIG."
        ) from cause
    if len(salt) < 16:
        raise DatasetError(f"{name} is damaged: it holds {len(salt)} bytes. Restore it from a backup.")
    return salt


def salt_fingerprint(salt: bytes) -> str:
    """Eight digits that tell two salts apart and give neither away."""
    return hashed_key(salt, "fingerprint", "napari-cln")[:8]


def maker_of(vendor: str | None) -> str | None:
    """Known maker that a vendor text names; ``None`` for any other text, which could name a patient."""
    words = (vendor or "").casefold().replace("_", " ").replace("-", " ").split()
    return next((maker for maker in MAKERS if maker.casefold() in words), None)
