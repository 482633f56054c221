"""Values of DICOM elements that may be missing or wrong."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

__all__ = ["numbers_of"]


def numbers_of(header: Dataset, keyword: str) -> tuple[float, ...]:
    """Numbers of an optional element; none where it is missing, empty or not made of numbers."""
    try:
        value = header.get(keyword)
        values = value if isinstance(value, MultiValue | list) else (value,)
        return tuple(float(each) for each in values if each not in (None, ""))
    except (ValueError, TypeError, ArithmeticError):
        return ()
