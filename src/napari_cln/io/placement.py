"""Lengths by their names, and where the axes of an NRRD volume lead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MILLIMETRES = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1000.0),
    **dict.fromkeys(("in", "inch", "inches"), 25.4),
    **dict.fromkeys(("um", "μm", "\\u00b5m", "micron", "microns", "micrometer", "micrometre"), 1e-3),
}
"""Of a unit, by the names that files give it in small letters."""
NIFTI_LENGTHS = {1: 1000.0, 2: 1.0, 3: 1e-3}
"""Millimetres of NIfTI's units, by its codes; 0 says nothing."""


def millimetres_of(unit: str) -> float | None:
    """Millimetres of a unit by its name; None where it is no known length."""
    return MILLIMETRES.get(unit.strip().casefold())  # which makes a mu of the micro sign


def place_of_nrrd(header: Mapping[str, Any], others: Sequence[int]) -> tuple[NDArray[np.float64], str | None]:
    """Steps along the axes of space and the origin, in millimetres to the patient's left, back and head,
    shape (4, 3); and the unit of a step in the picture that is no known length."""
    directions = header.get("space directions")
    if directions is None:
        spacings = [float(size) for size in header.get("spacings", ())]
        spacings = [size for axis, size in enumerate(spacings) if axis not in others] or [1.0, 1.0]
        units = [unit for axis, unit in enumerate(header.get("units", ())) if axis not in others]
        factors, unknown = _millimetres(units, [True, True])
        steps = np.diag([*spacings, 1.0, 1.0, 1.0][:3] * factors)
        return _placed(steps, np.zeros(3)), unknown
    steps = np.array([step for step in np.asarray(directions, dtype=float) if np.isfinite(step).all()])
    origin = np.asarray(header.get("space origin", np.zeros(steps.shape[1])), dtype=float)
    factors, unknown = _millimetres(header.get("space units", ()), (steps[:2] != 0).any(axis=0).tolist())
    factors = factors[: steps.shape[1]]
    steps, origin = steps * factors, origin * factors
    if steps.shape[1] == 2:
        steps, origin = np.pad(steps, ((0, 0), (0, 1))), np.pad(origin, (0, 1))
    signs = {"R": (-1, 1, 1), "A": (1, -1, 1), "I": (1, 1, -1)}
    for sign in _space(str(header.get("space", ""))):
        turn = np.array(signs.get(sign, (1, 1, 1)))
        steps, origin = steps * turn, origin * turn
    return _placed(steps, origin), unknown


def _millimetres(units: Sequence[str], counts: Sequence[bool]) -> tuple[NDArray[np.float64], str | None]:
    """Millimetres of the units of three axes, 1 where none is given; and the first that is no known length,
    of the axes that count."""
    factors, unknown = np.ones(3), None
    for axis, unit in enumerate(units[:3]):
        factor = millimetres_of(unit) if unit.strip() else 1.0
        if factor is not None:
            factors[axis] = factor
        elif unknown is None and axis < len(counts) and counts[axis]:
            unknown = unit
    return factors, unknown


def _placed(steps: NDArray[np.float64], origin: NDArray[np.float64]) -> NDArray[np.float64]:
    """Three steps and an origin in one array; a slice that stands alone is 1 mm thick."""
    if len(steps) < 3:
        across = np.cross(steps[0], steps[1])
        steps = np.vstack([steps, across / (np.linalg.norm(across) or 1.0)])
    return np.vstack([steps[:3], np.nan_to_num(origin)])


def _space(name: str) -> str:
    """First letters of where the axes of a space lead: LPS where nothing is said."""
    short = name.casefold().removesuffix("-time")
    words = {"ras": "RAS", "las": "LAS", "lps": "LPS"}
    return words.get(short) or "".join(word[:1].upper() for word in short.split("-")) or "LPS"
