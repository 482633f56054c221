"""DICOM stills and cines: codecs, colour, calibrated regions.

Nothing here knows other kinds of files.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue


def numbers_of(header: Dataset, keyword: str) -> tuple[float, ...]:
    """Numbers of an optional element; none where it is missing, empty or not made of numbers."""
    try:
        value = header.get(keyword)
        values = value if isinstance(value, MultiValue | list) else (value,)
        return tuple(float(each) for each in values if each not in (None, ""))
    except (ValueError, TypeError, ArithmeticError):
        return ()


def bytes_of(header: Dataset, keyword: str) -> bytes:
    """Bytes of an optional element as the file stores them, whatever its value representation."""
    element = header.get_item(keyword)
    value = None if element is None else element.value
    return value if isinstance(value, bytes) else b""
