"""Signs of a simulated node: what differs between benign and metastatic, and by how much.

Each sign is drawn from a density that depends on the class and overlaps between the classes.
Because the densities are known, so is the best score that any reader, human or network, can
give: the posterior probability of metastasis given the signs (Bayes' rule). The signs follow
the field's literature in kind, not in number [1]_: round shape, lost hilum, raised
echogenicity, cystic change, microcalcification, irregular border. A clinical record is drawn likewise.

References
----------
.. [1] L. Leenhardt et al., 2013 European Thyroid Association guidelines for cervical ultrasound
   scan and ultrasound-guided techniques, Eur Thyroid J 2(3), 2013. :doi:`10.1159/000354537`
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri


@dataclass(frozen=True, kw_only=True)
class NodeSigns:
    """The signs of one node, each of them rendered as drawn.

    Parameters
    ----------
    axis_ratio : float
        Long over short axis of the mask, 1.08 to 3.2.
    echo_db : float
        Echogenicity of the cortex against the tissue around the node, in dB, -18 to -6.
    hilum : float
        Thickness of the echogenic hilum as a part of the short axis; 0 without a hilum.
    cyst : float
        Cystic part of the node's area; 0 without one.
    calcifications : int
        Number of microcalcifications.
    border : float
        Root mean square departure of the border from an ellipse, as a part of its radius.
    """

    axis_ratio: float
    echo_db: float
    hilum: float
    cyst: float
    calcifications: int
    border: float


@dataclass(frozen=True)
class _TruncatedNormal:
    """Normal density of each class, cut to one range that both share."""

    means: tuple[float, float]
    deviation: float
    low: float
    high: float

    def _edges(self, metastatic: bool) -> tuple[float, float]:
        mean = self.means[metastatic]
        return float(ndtr((self.low - mean) / self.deviation)), float(
            ndtr((self.high - mean) / self.deviation)
        )

    def draw(self, rng: np.random.Generator, metastatic: bool) -> float:
        value = ndtri(rng.uniform(*self._edges(metastatic))) * self.deviation + self.means[metastatic]
        return float(np.clip(value, self.low, self.high))

    def log_ratio(self, value: float) -> float:
        """Log density of ``value`` in metastatic nodes minus that in benign ones."""
        log_density = [
            -0.5 * ((value - self.means[m]) / self.deviation) ** 2
            - np.log(np.subtract(*self._edges(bool(m))[::-1]))
            for m in (0, 1)
        ]
        return float(log_density[1] - log_density[0])


@dataclass(frozen=True)
class _Presence:
    """Probability of a sign in benign and in metastatic nodes."""

    rates: tuple[float, float]

    def draw(self, rng: np.random.Generator, metastatic: bool) -> bool:
        return bool(rng.random() < self.rates[metastatic])

    def log_ratio(self, present: bool) -> float:
        benign, metastatic = self.rates if present else (1 - self.rates[0], 1 - self.rates[1])
        return float(np.log(metastatic / benign))


# (benign, metastatic). The strong signs are those that a 256 × 256 image shows well.
LOG_AXIS_RATIO = _TruncatedNormal((0.74, 0.43), 0.24, float(np.log(1.08)), float(np.log(3.2)))
ECHO_DB = _TruncatedNormal((-13.2, -11.0), 2.2, -18.0, -6.0)
HILUM = _Presence((0.80, 0.26))
HILUM_SIZE = _TruncatedNormal((0.42, 0.38), 0.07, 0.26, 0.56)
CYST = _Presence((0.02, 0.24))
CALCIFICATION = _Presence((0.03, 0.15))
LOG_BORDER = _TruncatedNormal(
    (float(np.log(0.024)), float(np.log(0.027))), 0.4, float(np.log(0.01)), float(np.log(0.07))
)
PRIOR = 0.5


def draw_signs(rng: np.random.Generator, metastatic: bool) -> NodeSigns:
    """Draw the signs of a node of known class."""
    axis_ratio = float(np.exp(LOG_AXIS_RATIO.draw(rng, metastatic)))
    echo_db = ECHO_DB.draw(rng, metastatic)
    border = float(np.exp(LOG_BORDER.draw(rng, metastatic)))
    hilum = HILUM_SIZE.draw(rng, metastatic) if HILUM.draw(rng, metastatic) else 0.0
    # The size of a cyst and the number of calcifications carry no class: presence says it all.
    cyst = float(rng.uniform(0.15, 0.35)) if CYST.draw(rng, metastatic) else 0.0
    calcifications = int(rng.integers(4, 10)) if CALCIFICATION.draw(rng, metastatic) else 0
    return NodeSigns(
        axis_ratio=axis_ratio,
        echo_db=echo_db,
        hilum=hilum,
        cyst=cyst,
        calcifications=calcifications,
        border=border,
    )


def malignancy_of(signs: NodeSigns, hidden: Set[str] = frozenset()) -> float:
    """Best possible malignancy score: the probability of metastasis given the signs.

    Parameters
    ----------
    signs : NodeSigns
    hidden : set of str
        Which of ``axis_ratio`` and ``echo_db`` were drawn whatever the class, and say nothing.

    Returns
    -------
    float
        In [0, 1]; exact, because the signs are independent given the class, and their
        densities are known.
    """
    log_odds = (
        float(np.log(PRIOR / (1 - PRIOR)))
        + (0.0 if "axis_ratio" in hidden else LOG_AXIS_RATIO.log_ratio(float(np.log(signs.axis_ratio))))
        + (0.0 if "echo_db" in hidden else ECHO_DB.log_ratio(signs.echo_db))
        + LOG_BORDER.log_ratio(float(np.log(signs.border)))
        + HILUM.log_ratio(signs.hilum > 0)
        + (HILUM_SIZE.log_ratio(signs.hilum) if signs.hilum > 0 else 0.0)
        + CYST.log_ratio(signs.cyst > 0)
        + CALCIFICATION.log_ratio(signs.calcifications > 0)
    )
    return float(1 / (1 + np.exp(-log_odds)))


# ------------------------------------------------------------ clinical record

# Level, side and sex are distributed as in the tables of Zhao et al. 2024; the other densities are chosen, as
# those of the grey signs are. A record belongs to a node: it is drawn from the node's own class.

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
