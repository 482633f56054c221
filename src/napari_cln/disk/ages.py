"""Ages in a table: with few patients of 90 and more, an age above tells who it is, so none is kept.

A column holds ages where its heading says so, in any of the languages below, alone or among other words:
``Age (years)``, ``patient_age``, ``AgeAtDiagnosis``, ``Alter in Monaten``, ``患者年龄``.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise

OLDEST = 90.0
"""Years that stand for all ages from there on."""
# fmt: off
AGES = frozenset((
    "age", "ages", "aged", "ageyears", "ageyrs", "agey", "patientage", "ptage", "alter", "alters",
    "altersjahre", "âge", "edad", "idade", "età", "eta", "leeftijd", "ålder", "alder", "ikä", "wiek", "věk",
    "yaş", "возраст", "ηλικία",
))
"""Words that name an age; German compounds end in *alter*, and some names run together."""
RUN_TOGETHER = ("ageat", "agedx", "alterbei")
AGES_WITHIN = ("年龄", "年齡", "年齢", "月龄", "나이", "연령")
"""Words that name an age where words stand without blanks."""
BIRTHS = frozenset((
    "birth", "born", "dob", "yob", "birthdate", "birthyear", "geboren", "naissance", "nacimiento", "nascita",
))
# fmt: on
UNITS = {
    1.0: "y yr yrs year years j jahr jahre jahren a an ans année années año años anno anni 岁 歲 歳 年",
    12.0: "m mo month months monat monate monaten mois mes meses mese mesi 月 月龄",
    52.18: "w wk wks week weeks woche wochen semaine semaines semana semanas 周 週",
    365.25: "d day days tag tage tagen jour jours día días giorno giorni 天 日",
}
"""Units of an age by how many of them make a year."""
_PER_YEAR = {word: number for number, words in UNITS.items() for word in words.split()}
_WORD = re.compile(r"[^\W\d_]+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
_WITH_UNIT = re.compile(r"(\d+(?:[.,]\d+)?)\s*([^\W\d_]+)\.?(?:\s+(?:old|alt))?")
_IN_UNIT = re.compile(
    r"[(\[]\s*(?:in\s+|en\s+)?([^\W\d_]+)\.?\s*[)\]]|(?:\b|_)(?:in|en)[\s_]+([^\W\d_]+)\W*$"
)


@lru_cache(maxsize=1000)
def is_age(heading: str) -> bool:
    """Tell whether a heading says that its column holds ages.

    Parameters
    ----------
    heading : str

    Examples
    --------
    >>> is_age("Age (years)"), is_age("AlterBeiDiagnose"), is_age("stage")
    (True, True, False)
    """
    return any(_names_age(word) for word in _words(heading))


def _names_age(word: str) -> bool:
    if word in AGES or word.startswith(RUN_TOGETHER) or any(name in word for name in AGES_WITHIN):
        return True
    return word.endswith("alter") and len(word) > len("halter")


def names_birth(heading: str) -> bool:
    """Tell whether a heading says that its column is about a birth, whose year tells the age.

    Parameters
    ----------
    heading : str
    """
    words = _words(heading)
    return any(word in BIRTHS or word.startswith(("geburt", "出生")) for word in words)


def without_high_age(heading: str, value: float | str) -> float | str:
    """Value of a column as it may be kept: an age of 90 years and more as 90 years.

    Parameters
    ----------
    heading : str
        Of the column; where it names months, weeks or days, its numbers are such.
    value : float or str
        A text with a unit (``093Y`` of DICOM, ``93 years``) is a number of what the heading names, and any
        other text that holds a number above the limit is the limit.

    Returns
    -------
    float or str
        What does not stand in a column of ages as it is.

    Examples
    --------
    >>> without_high_age("Age (years)", 93.0), without_high_age("PatientAge", "047Y")
    (90.0, 47.0)
    >>> without_high_age("age in months", 564.0), without_high_age("stage", 93.0)
    (564.0, 93.0)
    """
    if not is_age(heading):
        return value
    per_year = _per_year(heading)
    limit = OLDEST * per_year
    if not isinstance(value, str):
        return min(value, limit)
    text = unicodedata.normalize("NFKC", value).casefold().strip()
    match = _WITH_UNIT.fullmatch(text)
    if match and match[2] in _PER_YEAR:
        return min(_number(match[1]) / _PER_YEAR[match[2]] * per_year, limit)
    return limit if any(_number(number) > limit for number in _NUMBER.findall(text)) else value


def _per_year(heading: str) -> float:
    """Number of a heading's units in a year: those in brackets, after *in*, or behind the word for age.

    One letter alone is no unit there, and *age at day of surgery* is in years.
    """
    words = _words(heading)
    said = [word for pair in _IN_UNIT.findall(heading.casefold()) for word in pair]
    said += [after for word, after in pairwise(words) if _names_age(word)]
    said += [word for word in words if word == "月龄"]
    units = (word for word in said if word in _PER_YEAR and (len(word) > 1 or not word.isascii()))
    return next((_PER_YEAR[word] for word in units), 1.0)


def _number(text: str) -> float:
    return float(text.replace(",", "."))


def _words(heading: str) -> list[str]:
    """Words of a heading without case, those that capitals alone part (``PatientAge``) included."""
    parted = re.sub(r"(?<=[^\W\d_A-Z])(?=[A-Z])", " ", unicodedata.normalize("NFC", heading))
    return _WORD.findall(parted.casefold())
