"""Clinical records of simulated nodes, with densities that are known, so that the best score is too.

Level, side and sex are distributed as in the tables of Zhao et al. 2024; the other densities are chosen, as
those of the grey signs are. A record belongs to a node: it is drawn from the node's own class.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

MISSING = 0.15
"""Share of values that nobody wrote down, whatever the class."""
NUMBERS = {"age": (48.0, 43.0, 13.0), "ln_tg": (0.2, 1.6, 1.5), "ln_primary_mm": (2.2, 2.5, 0.5)}
"""Mean in benign and metastatic nodes, and standard deviation: years, log of ng/ml, log of mm."""
SEX_MALE = (409 / 1535, 519 / 1524)
EXTRATHYROIDAL = (0.12, 0.32)
PLACES = (
    "I right", "I left", "II right", "II left", "III right", "III left", "IV right", "IV left",
    "V right", "V left", "VI right", "VI left", "VII midline",
)  # fmt: skip
BENIGN_AT = np.array([9, 5, 100, 122, 272, 348, 184, 328, 44, 33, 35, 49, 6]) / 1535
METASTATIC_AT = np.array([5, 0, 74, 60, 285, 263, 310, 273, 10, 11, 102, 105, 26]) / 1524


def draw_record(
    rng: np.random.Generator, metastatic: bool, missing: float = MISSING
) -> dict[str, float | str | None]:
    """Draw the record of a node of known class.

    Parameters
    ----------
    rng : Generator
    metastatic : bool
    missing : float
        Share of values that are None.

    Returns
    -------
    dict
        ``age``, ``ln_tg``, ``ln_primary_mm`` (natural logarithms), ``sex``, ``ete`` (extrathyroidal extension
        of the primary), and ``place``: level and side.
    """
    record: dict[str, float | str | None] = {
        name: float(rng.normal(means[metastatic], deviation)) for name, (*means, deviation) in NUMBERS.items()
    }
    record["sex"] = "male" if rng.random() < SEX_MALE[metastatic] else "female"
    record["ete"] = "yes" if rng.random() < EXTRATHYROIDAL[metastatic] else "no"
    shares = METASTATIC_AT if metastatic else BENIGN_AT
    record["place"] = PLACES[int(rng.choice(len(PLACES), p=shares / shares.sum()))]
    return {name: None if rng.random() < missing else value for name, value in record.items()}


def clinical_log_ratio(record: Mapping[str, float | str | None]) -> float:
    """Log density of a record in metastatic nodes minus that in benign ones; missing values say nothing."""
    total = 0.0
    for name, (benign, metastatic, deviation) in NUMBERS.items():
        value = record.get(name)
        if isinstance(value, int | float):
            total += ((value - benign) ** 2 - (value - metastatic) ** 2) / (2 * deviation**2)
    for name, word, rates in (("sex", "male", SEX_MALE), ("ete", "yes", EXTRATHYROIDAL)):
        if (said := record.get(name)) is not None:
            benign, metastatic = rates if said == word else (1 - rates[0], 1 - rates[1])
            total += float(np.log(metastatic / benign))
    if (place := record.get("place")) is not None:
        at = PLACES.index(str(place))
        # level I on the left was seen in benign nodes alone; half a node stands for none
        total += float(np.log(max(METASTATIC_AT[at], 0.5 / 1524) / BENIGN_AT[at]))
    return total
