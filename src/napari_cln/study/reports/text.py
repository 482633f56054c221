"""From the words of reports, one or a table of them, to their labels: sentences, clauses, scope, place.

The scope rules follow NegEx: a negation before a finding reaches on, one after it reaches
back, both to the end of the clause.

References
----------
.. [1] Chapman et al., J Biomed Inform 34, 2001 (NegEx). :doi:`10.1006/jbin.2001.1029`
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from ...disk.tables import read_table, write_table
from .vocabulary import Concept, Dictionary, Label, load_dictionary

__all__ = ["Dictionary", "Finding", "ReportReading", "classify_reports", "load_dictionary", "read_report"]

Status = Literal["affirmed", "negated", "doubted", "past", "elsewhere"]

SENTENCE = re.compile(r"(?:[^.;!?。；！？\n]|\.(?=\d|[a-z]))+[.;!?。；！？]*")
COMMA = re.compile(r"[,:](?!\s*(?:none|no\b|negative|无|未见))")
LEVEL = re.compile(
    r"\blevels?\s+([ivx\d]+[ab]?(?:\s*(?:to|through|and|or|-|–|—|~|/|&)\s*[ivx\d]+[ab]?\b"
    # a number after a comma is a level in a list of them alone: "level II, 4 mm"
    r"|\s*,\s*(?:(?:and|or)\s+)?(?:[ivx]+|[1-7](?=[ab]?\s*(?:[,;:)]|\.(?!\d)|(?:and|or|to|on|in)\b|[-–/]|$)))[ab]?\b)*)"
    r"|((?:[ivx]+|[ⅰ-ⅶⅠ-Ⅶ]|[1-7])(?:[、,\-–—~/和及至到][ivx\dⅰ-ⅶⅠ-Ⅶ]+)*)\s*[ab]?区",
    re.IGNORECASE,
)
THROUGH = ("to", "through", "-", "–", "—", "~", "至", "到")
"""Signs between the two ends of a range of levels."""
ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A word of the dictionary found in a report.

    Parameters
    ----------
    concept, label : str
        What it stands for, and what that speaks for.
    status : str
        ``"affirmed"``, ``"negated"``, ``"doubted"``, ``"past"`` (history) or ``"elsewhere"``
        (another organ).
    text : str
        The words as written.
    start, end : int
        Their place in the report: ``report[start:end] == text``.
    sentence : int
        Number of the sentence, from 0.
    sides, levels : tuple of str
        Where, from the clause, else from its sentence; empty when neither says.
    """

    concept: str
    label: Label
    status: Status
    text: str
    start: int
    end: int
    sentence: int
    sides: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()

    @property
    def evidence(self) -> str:
        """The words, their place in the text, and how they were understood."""
        places = (*self.sides, *(f"level {level}" for level in self.levels))
        return ", ".join([f'{self.label} "{self.text}" [{self.start}:{self.end}] {self.status}', *places])


@dataclass(frozen=True, kw_only=True)
class ReportReading:
    """The label of a report and the words it rests on."""

    label: Label
    findings: tuple[Finding, ...]

    @property
    def evidence(self) -> str:
        """The matched words in one line, with their place in the text."""
        return "; ".join(
            ", ".join(
                [
                    f'{f.label} "{f.text}" [{f.start}:{f.end}] {f.status}',
                    *f.sides,
                    *(f"level {x}" for x in f.levels),
                ]
            )
            for f in self.findings
        )


class _Word(NamedTuple):
    start: int
    end: int
    meanings: tuple[str, ...]


def read_report(text: str, dictionary: Dictionary | None = None) -> ReportReading:
    """Read one report.

    Per sentence: a strong malignant finding holds; a doubted one makes it undetermined; a weak
    one holds unless a benign cause explains it; a negated one, or a benign one, is benign. The
    report is malignant if any sentence is, else undetermined if any is in doubt, else benign
    if any is; a report that says nothing is undetermined.

    Parameters
    ----------
    text : str
        In English, Chinese or both.
    dictionary : Dictionary, optional
        The one of the package without it.

    Examples
    --------
    >>> read_report("No evidence of metastasis in left level IV.").label
    'benign'
    >>> read_report("左颈Ⅳ区淋巴结转移不除外。").label
    'undetermined'
    """
    book = dictionary or load_dictionary()
    # Full-width signs become plain ones, one for one, so that places in the text stay true.
    plain = "".join(_narrow(sign) for sign in text)
    findings: list[Finding] = []
    for number, sentence in enumerate(SENTENCE.finditer(plain)):
        findings += _read_sentence(text, plain, sentence.start(), sentence.end(), number, book)
    return ReportReading(label=_decide(findings, book.concepts), findings=tuple(findings))


def _narrow(sign: str) -> str:
    narrow = unicodedata.normalize("NFKC", sign)
    return narrow if len(narrow) == 1 else sign


def _read_sentence(
    text: str, plain: str, start: int, end: int, number: int, book: Dictionary
) -> list[Finding]:
    words = [
        _Word(match.start(), match.end(), book.meanings[(match.lastindex or 1) - 1])
        for match in book.pattern.finditer(plain, start, end)
    ]
    clauses = _clauses(plain, start, end, words)
    whole = _place(plain, start, end, words)
    findings = []
    for low, high in clauses:
        inside = [word for word in words if low <= word.start < high]
        sides, levels = (
            here or there for here, there in zip(_place(plain, low, high, inside), whole, strict=True)
        )
        for word in inside:
            for name in (m.removeprefix("concept:") for m in word.meanings if m.startswith("concept:")):
                findings.append(
                    Finding(
                        concept=name,
                        label=book.concepts[name].label,
                        status=_status(word, inside, words),
                        text=text[word.start : word.end],
                        start=word.start,
                        end=word.end,
                        sentence=number,
                        sides=sides,
                        levels=levels,
                    )
                )
    return findings


def _clauses(plain: str, start: int, end: int, words: list[_Word]) -> list[tuple[int, int]]:
    """Parts of a sentence between commas, colons and words such as "but".

    A comma inside a list ("no enlarged, calcified or cystic nodes", "levels II, III and IV") does not end
    the clause.
    """
    ends = [word.start for word in words if "clause.ends" in word.meanings]
    lists = [word.start for word in words if "clause.lists" in word.meanings]
    levels = [match.span() for match in LEVEL.finditer(plain, start, end)]
    cuts = set(ends)
    for comma in COMMA.finditer(plain, start, end):
        at = comma.start()
        stop = min((e for e in (*ends, end) if e > at), default=end)
        in_list = comma.group() == "," and any(at < word < stop for word in lists)
        in_list |= any(first < at < last for first, last in levels)
        # "、" joins a Chinese list; "，" never does.
        if not in_list:
            cuts.add(at + 1)
    edges = [start, *sorted(cuts - {start}), end]
    return [(low, high) for low, high in pairwise(edges) if low < high]


def _status(word: _Word, clause: list[_Word], sentence: list[_Word]) -> Status:
    def turned(room: str) -> bool:
        return any(
            (f"{room}.before" in other.meanings and other.end <= word.start)
            or (f"{room}.after" in other.meanings and other.start >= word.end)
            for other in clause
        )

    if turned("past"):
        return "past"
    if turned("doubted"):
        return "doubted"
    if turned("negated"):
        return "negated"
    about = {m for other in clause for m in other.meanings if m.startswith("subject.")}
    if not about:
        before = [w for w in sentence if w.start < word.start]
        about = {m for w in before for m in w.meanings if m.startswith("subject.")}
    return "elsewhere" if about == {"subject.other"} else "affirmed"


def _place(
    plain: str, start: int, end: int, words: Iterable[_Word]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    said = {m.removeprefix("side.") for word in words for m in word.meanings if m.startswith("side.")}
    if "both" in said:
        said = {"left", "right"}
    found = {
        level
        for match in LEVEL.finditer(plain, start, end)
        for level in _levels(match.group(1) or match.group(2))
    }
    return tuple(sorted(said)), tuple(level for level in ROMAN if level in found)


def _levels(said: str) -> list[str]:
    """Levels of "II to V", "V to II", "IIA", "III、IV" or "4"."""
    signs = re.findall(rf"[ivx]+|\d|{'|'.join(THROUGH)}", unicodedata.normalize("NFKC", said).lower())
    levels: list[str] = []
    through = False
    for sign in signs:
        name = ROMAN[int(sign) - 1] if sign in "1234567" else sign.upper()
        if name in ROMAN:
            ends = [ROMAN.index(name), ROMAN.index(levels[-1] if through and levels else name)]
            levels += [*ROMAN[min(ends) : max(ends) + 1], name]  # the range, and where another may begin
        through = sign in THROUGH
    return levels


def _decide(findings: list[Finding], concepts: dict[str, Concept]) -> Label:
    numbers = sorted({finding.sentence for finding in findings})
    labels = {_decide_sentence(findings, number, concepts) for number in numbers}
    for label in ("malignant", "undetermined", "benign"):
        if label in labels:
            return label
    return "undetermined"


def _decide_sentence(findings: list[Finding], number: int, concepts: dict[str, Concept]) -> Label | None:
    """Label of one sentence; None where it says nothing about a node."""
    here = [finding for finding in findings if finding.sentence == number]
    said = {(finding.label, finding.status) for finding in here}
    holds = [f for f in here if (f.label, f.status) == ("malignant", "affirmed")]
    if any(concepts[f.concept].strong for f in holds):
        return "malignant"
    if {("malignant", "doubted"), ("benign", "doubted"), ("undetermined", "affirmed")} & said:
        return "undetermined"
    if holds and not all(_explained(f, findings, concepts) for f in holds):
        return "malignant"
    if holds or {("malignant", "negated"), ("benign", "affirmed")} & said:
        return "benign"
    return None


def _explained(sign: Finding, findings: list[Finding], concepts: dict[str, Concept]) -> bool:
    """Tell whether a benign cause is named in this sentence, or in the next one for the same place."""
    return any(
        concepts[f.concept].explains
        and f.status == "affirmed"
        and (
            f.sentence == sign.sentence
            or (
                f.sentence == sign.sentence + 1
                and set(f.sides) <= set(sign.sides)
                and set(f.levels) <= set(sign.levels)
            )
        )
        for f in findings
    )


# ------------------------------------------------------------ a table of reports


def classify_reports(
    source: str | Path, out: str | Path, dictionary: Dictionary | None = None
) -> Counter[str]:
    """Read a table of reports and write a CSV of labels with their evidence.

    Parameters
    ----------
    source : path
        CSV, TSV or XLSX with the columns ``id`` and ``text``.
    out : path
        Columns ``id``, ``label``, ``evidence``: each matched word with its place in the text. UTF-8. What a
        spreadsheet would run as a formula gets an apostrophe.
    dictionary : Dictionary, optional

    Returns
    -------
    Counter
        Number of reports of each label.

    Raises
    ------
    DatasetError
        If the file can't be read or lacks a column.
    ExportError
        If the result can't be written.
    """
    counts: Counter[str] = Counter()
    rows = []
    table = read_table(source, strip=False)
    table.require(("id", "text"))
    for row in table.rows:
        reading = read_report(row["text"], dictionary)
        counts[reading.label] += 1
        rows.append((row["id"].strip(), reading.label, reading.evidence))
    write_table(Path(out), ("id", "label", "evidence"), rows)
    return counts
