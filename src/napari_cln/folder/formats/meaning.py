"""Words of tables, folders and annotations, and what they mean here.

A word that is not known is never guessed: it is collected, and the import is refused with the option
that says what it means.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from ...errors import DatasetError, counted, listed
from ...types import Level, Side, Split, Truth, TruthSource

Meaning: TypeAlias = Literal["background", "node", "benign", "metastatic", "no-node", "unknown", "not-judged"]

_MEANINGS: dict[str, Meaning] = {
    **dict.fromkeys(
        ("malignant", "malignancy", "metastatic", "metastasis", "metastases", "cancer"), "metastatic"
    ),
    **dict.fromkeys(("benign", "reactive", "hyperplastic", "inflammatory"), "benign"),
    **dict.fromkeys(("normal", "no node", "no nodule", "none", "negative frame"), "no-node"),
    **dict.fromkeys(("", "unknown", "na", "n/a", "nan", "?", "undetermined", "indeterminate"), "unknown"),
    **dict.fromkeys(("node", "nodes", "lymph node", "lymph nodes", "ln", "lymphnode"), "node"),
    **dict.fromkeys(("background", "bg", "_background_", "other"), "background"),
    **dict.fromkeys(("ignore", "not judged", "void", "unlabeled", "unlabelled"), "not-judged"),
}
SPLITS: dict[str, Split | None] = {
    **dict.fromkeys(("train", "training", "train set", "trainset", "training set"), "train"),
    **dict.fromkeys(
        ("val", "valid", "validation", "tune", "tuning", "dev", "val set", "valset", "validation set"),
        "validation",
    ),
    **dict.fromkeys(
        ("test", "testing", "public test", "private test", "holdout", "hold out", "heldout", "held out",
         "external", "external test", "internal test", "test set", "testset"),
        "test",
    ),
    **dict.fromkeys(("", "none", "na", "n/a", "nan"), None),
}  # fmt: skip
SPLIT_OPTION = ("--split-values", "test, train, validation or none")
"""The option that says what a word of a split means, and what it may mean."""
LEVELS: dict[str, Level] = {
    word: level for n, level in enumerate(get_args(Level), start=1) for word in (str(n), level.casefold())
}
SIDES: dict[str, Side] = {
    **dict.fromkeys(("left", "l", "links", "gauche"), "left"),
    **dict.fromkeys(("right", "r", "rechts", "droite"), "right"),
    **dict.fromkeys(("midline", "central", "middle", "mid"), "midline"),
}
SOURCES: dict[str, TruthSource] = {
    **dict.fromkeys(("fna", "fnac", "fna cytology", "cytology", "fnab"), "fna"),
    **dict.fromkeys(("tg", "washout tg", "tg washout", "fna tg", "thyroglobulin"), "tg"),
    **dict.fromkeys(("histology", "pathology", "surgery", "histopathology"), "histology"),
    **dict.fromkeys(("follow up", "followup"), "follow-up"),
    "none": "none",
}


def same_text(text: str) -> str:
    """Text in the form in which two spellings of it are equal: one Unicode form, no case, no outer blanks."""
    return unicodedata.normalize("NFC", text).casefold().strip()


def words_of(text: str) -> str:
    """A word without the signs by which its spellings differ: ``No_Node`` is ``no node``."""
    return " ".join(re.sub(r"[_\-]+", " ", same_text(text)).split())


def _own(text: str, own: Mapping[str, str] | None) -> str | None:
    """Meaning of a word as the user gave it."""
    for key, meaning in (own or {}).items():
        if same_text(key) == same_text(text):
            return meaning
    return None


def meaning_of(text: str, own: Mapping[str, str] | None = None) -> Meaning | None:
    """Meaning of a word in a label column, a class list or an option; ``None`` if it is not known."""
    said = _own(text, own)
    return _MEANINGS.get(words_of(text if said is None else said))


def truth_of(text: str, own: Mapping[str, str] | None = None) -> Truth | Literal["no-node"] | None:
    """Truth of a frame from a word of a table or the name of a folder; ``None`` if it is not known."""
    meaning = meaning_of(text, own)
    return meaning if meaning in ("benign", "metastatic", "no-node", "unknown") else None


def split_of(text: str, own: Mapping[str, str] | None = None) -> tuple[bool, Split | None]:
    """Side on which the authors of a data set put a frame: whether the word is known, and the side."""
    said = _own(text, own)
    word = words_of(text if said is None else said)
    return word in SPLITS, SPLITS.get(word)


def level_of(text: str) -> Level | None:
    """Neck level; one with a sublevel (IIA) counts as the level. ``None`` if it is none."""
    word = re.sub(r"[\W_]+", " ", text).strip().casefold()
    return LEVELS.get(re.sub(r"^level |[ab]$", "", word).strip())


class UnknownWords:
    """Words of one column that are not known, to be refused together."""

    def __init__(self, where: str, role: str = "") -> None:
        self._where, self._role = where, role
        self._words: Counter[str] = Counter()

    def add(self, word: str) -> None:
        """Note a word that is not known."""
        self._words[word] += 1

    def refuse(self, what: str, option: str, choices: str) -> None:
        """Refuse the words that were noted, if any, with the option that says what they mean.

        Raises
        ------
        DatasetError
            If there are any.
        """
        if not self._words:
            return
        found = [f"{word[:40]!r} ({counted(n, 'time')})" for word, n in self._words.most_common()]
        first = self._words.most_common(1)[0][0][:40]
        raise DatasetError(
            f"{self._where} has {what} that are not known: {listed(found, 8)}.",
            f'Say what each means, for example {option} "{self._role}{first}={choices.partition(",")[0]}" '
            f"({choices}).",
        )
