"""Columns of a table by what they hold, and its values, checked before any frame is taken.

Columns of a clinical record are named by the user: numbers and a few words, never a date or a name.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, product, zip_longest
from pathlib import Path
from typing import Any

from ...disk.ages import names_birth, without_high_age
from ...disk.cells import parse_number
from ...disk.tables import Table, read_table
from ...disk.user import hashed_key, read_salt
from ...errors import DatasetError, counted, listed
from ...types import Level, Side, Split, Truth, TruthSource
from ..dataset import TrainingFolder
from .imported import ImportOptions, TableUse
from .meaning import SIDES, SOURCES, UnknownWords, level_of, same_text, split_of, truth_of, words_of

ROLES: dict[str, tuple[str, ...]] = {
    "image": ("image", "images", "img", "image file", "image name", "image path", "file", "filename",
              "file name", "path", "picture", "frame", "image id"),
    "mask": ("mask", "masks", "mask file", "mask path", "mask name", "segmentation", "seg",
             "ground truth", "gt", "outline"),
    "label": ("label", "labels", "class", "diagnosis", "truth", "pathology", "malignancy", "histology",
              "result", "outcome", "category", "type"),
    "patient": ("patient key", "patient", "patient id", "patient no", "patient number", "subject",
                "subject id", "pid", "case", "case id", "id"),
    "cine": ("cine key", "cine", "clip", "video", "sequence"),
    "split": ("split", "set", "subset", "partition", "fold"),
    "node": ("node", "node id"),
    "truth_source": ("truth source",),
    "level": ("level", "neck level"),
    "side": ("side", "laterality"),
    "hospital": ("hospital", "centre", "center", "institution", "site", "clinic"),
    "scanner": ("scanner", "manufacturer", "vendor", "machine", "maker"),
}  # fmt: skip
"""Headings by what they hold, the surest first; compared without case, blanks and signs."""

CHOICES = {
    "level": "II, III, … or none",
    "side": "left, right, midline or none",
    "truth_source": "fna, tg, histology, follow-up or none",
}
NOT_KNOWN = frozenset(("n/a", "na", "nan", "none", "null", "unknown", "-", "--", "?", "#n/a"))
"""Words by which people and programs say that a patient is not known."""
_SHEET_ERROR = re.compile(r"#(REF!|VALUE!|NAME\?|DIV/0!|NULL!|NUM!|SPILL!|CALC!|BEZUG!|WERT!)", re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d\d-\d\d( .*)?|\d{1,2}[-. ]{1,2}[^\W\d_]{3,4}\.?|[^\W\d_]{3,4}[-. ]{1,2}\d\d")
_SHORTENED = re.compile(r"\d+([.,]\d+)?[eE]\+?\d+")
_WHOLE_FLOAT = re.compile(r"(\d+)[.,]0+")
_RUN = re.compile(r"\d+|[^\W\d_]+")
SIGNS = ("", "-", "_", " ", ".", "/")
MOST_DIGITS, MOST_SPELLINGS = 8, 200
"""Bounds of the spellings of a patient that are looked for in a folder."""


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A table's facts about one frame; ``None`` where it says nothing."""

    line: int
    image: str
    mask: str | None = None
    label: Truth | str | None = None
    patient: str | None = None
    cine: str | None = None
    split: Split | None = None
    level: Level | None = None
    side: Side | None = None
    truth_source: TruthSource | None = None
    hospital: str | None = None
    scanner: str | None = None
    clinical: ClinicalValues = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Labels:
    """A table of labels: its rows, which columns it has, and what a person should know of it."""

    path: Path
    rows: list[TableRow]
    use: TableUse
    notes: tuple[str, ...] = ()
    roles: frozenset[str] = field(default_factory=frozenset)


def find_columns(headings: tuple[str, ...] | list[str]) -> dict[str, str]:
    """The heading that holds each role; a heading serves once, the surest first.

    Parameters
    ----------
    headings : sequence of str

    Returns
    -------
    dict of str to str
        Role to heading, for the roles that were found.
    """
    plain = {_plain(heading): heading for heading in reversed(headings)}
    found: dict[str, str] = {}
    for role, names in ROLES.items():
        for name in names:
            heading = plain.get(_plain(name))
            if heading is not None and heading not in found.values():
                found[role] = heading
                break
    return found


def _plain(heading: str) -> str:
    return re.sub(r"[\W_]+", "", same_text(heading))


def has_images(path: Path) -> bool:
    """Tell whether a file is a table with a column of images."""
    try:
        return "image" in find_columns(read_table(path).headings)
    except DatasetError:
        return False


def read_labels(path: Path, options: ImportOptions) -> Labels:
    """Read a table of labels and patients; every value is understood, or the table is refused.

    Raises
    ------
    DatasetError
        If it can't be read, has no column of images, or has words whose meaning is not known; the
        message names them and the option that says what they mean.
    """
    table = read_table(path)
    for line, texts in zip(table.lines, table.rows, strict=True):
        for heading, text in texts.items():
            if _SHEET_ERROR.fullmatch(text):
                raise DatasetError(
                    f"{path.name} has {text} in line {line}, column {heading!r}: a formula of the "
                    "spreadsheet failed. Correct it, and save the table."
                )
    columns = find_columns(table.headings)
    for role, heading in options.columns.items():
        if role not in ROLES:
            raise DatasetError(
                f"--columns {role}={heading}: there is no role {role!r}. Use {', '.join(ROLES)}."
            )
        known = {_plain(name): name for name in table.headings}
        if _plain(heading) not in known:
            raise DatasetError(
                f"{path.name} has no column {heading!r}; its columns are {', '.join(table.headings)[:200]}. "
                f"Give one of them for --columns {role}=…"
            )
        columns = {key: name for key, name in columns.items() if name != known[_plain(heading)]}
        columns[role] = known[_plain(heading)]
    if "image" not in columns:
        raise DatasetError(
            f"{path.name} has the columns {', '.join(table.headings)[:200]}, none of which names the "
            "images. Call that column image, or say which it is by --columns image=HEADING; --labels none "
            "imports without a table."
        )
    kept = {same_text(heading) for heading in options.clinical}
    columns = {role: heading for role, heading in columns.items() if same_text(heading) not in kept}
    if "image" not in columns:
        raise DatasetError(f"--clinical names the column of images of {path.name}. Leave it out there.")
    columns.pop("node", None)  # of the exports of training folders; a row is a node by its mask here
    rows = _rows(table, columns, options)
    if "label" not in options.columns:
        _check_other_labels(table, columns, rows, options)
    clinical = read_clinical(table, options.clinical)
    rows = [replace(row, clinical=record) for row, record in zip(rows, clinical, strict=True)]
    unused = tuple(
        heading
        for heading in table.headings
        if heading not in columns.values() and same_text(heading) not in kept
    )
    use = TableUse(name=path.name, read_as=table.read_as, used=columns, unused=unused)
    patients, notes = _patients(table, columns)
    rows = [_with_patient(row, patients) for row in rows]
    return Labels(path=path, rows=rows, use=use, notes=notes, roles=frozenset(columns))


def refuse_without_table(options: ImportOptions, name: str) -> None:
    """Refuse what says how a table of labels is read, where none but our own is.

    Parameters
    ----------
    options : ImportOptions
    name : str
        Of the source.

    Raises
    ------
    DatasetError
    """
    said = {
        "--columns": options.columns,
        "--column-values": options.column_values,
        "--clinical": options.clinical,
    }
    if given := [option for option, value in said.items() if value]:
        raise DatasetError(
            f"{listed(given)} would say how a table of labels of another program is read, and none is read "
            f"from {name}.",
            "Name the table by --labels, or leave that out.",
        )


def _rows(table: Table, columns: Mapping[str, str], options: ImportOptions) -> list[TableRow]:
    label, split = UnknownWords(table.name), UnknownWords(table.name)
    level, side, source = (UnknownWords(table.name, f"{role}:") for role in ("level", "side", "truth_source"))
    rows = []
    for line, texts in zip(table.lines, table.rows, strict=True):
        cell = {role: texts[heading] for role, heading in columns.items()}
        if not cell["image"]:
            raise DatasetError(
                f"{table.name} names no image in line {line}, where it says "
                f"{listed(filter(None, texts.values()))}. Fill the cell, or remove the row."
            )
        facts: dict[str, Any] = {"line": line, "image": cell["image"], "cine": cell.get("cine") or None}
        facts["patient"] = cell.get("patient") or None
        facts["hospital"], facts["scanner"] = cell.get("hospital") or None, cell.get("scanner") or None
        if "mask" in cell:
            facts["mask"] = cell["mask"]
        if (word := cell.get("label")) is not None:
            facts["label"] = truth_of(word, options.label_values)
            if facts["label"] is None:
                label.add(word)
        if (word := cell.get("split")) is not None:
            known, facts["split"] = split_of(word, options.split_values)
            if not known:
                split.add(word)
        for role, meaning, unknown in (
            ("level", level_of, level),
            ("side", _side_of, side),
            ("truth_source", _source_of, source),
        ):
            if word := cell.get(role):
                said = options.column_values.get(f"{role}:{word}", word)
                if said != "none" or role == "truth_source":
                    facts[role] = meaning(said)
                    if facts[role] is None:
                        unknown.add(word)
        rows.append(TableRow(**facts))
    label.refuse("labels", "--label-values", "benign, metastatic, no-node or unknown")
    split.refuse("words in its column of splits", "--split-values", "test, train, validation or none")
    for role, unknown in (("level", level), ("side", side), ("truth_source", source)):
        unknown.refuse(f"words in its column of {role.replace('_', ' ')}s", "--column-values", CHOICES[role])
    return rows


def _check_other_labels(
    table: Table, columns: Mapping[str, str], rows: Sequence[TableRow], options: ImportOptions
) -> None:
    """Refuse a table with a second column of labels that says something else than the one that is read."""
    names = {_plain(name) for name in ROLES["label"]}
    for heading in table.headings:
        if _plain(heading) not in names or heading in columns.values():
            continue
        for row, texts in zip(rows, table.rows, strict=True):
            other = truth_of(texts[heading], options.label_values)
            if other not in (None, "unknown") and row.label not in (None, "unknown", other):
                raise DatasetError(
                    f"{table.name} says {row.label} in column {columns['label']!r} of line {row.line} and "
                    f"{other} in column {heading!r}. Say which of them holds the labels: "
                    f'--columns "label={heading}"'
                )


def _side_of(text: str) -> Side | None:
    return SIDES.get(words_of(text))


def _source_of(text: str) -> TruthSource | None:
    return SOURCES.get(words_of(text))


def _patients(table: Table, columns: Mapping[str, str]) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """Spelling of each patient that holds, and notes on spellings that may be one patient's.

    Spreadsheets and pandas write a whole number with a point (12.0): that is the same number. Leading
    zeros, case and signs may be an archive's own: two spellings are told, and count as one patient, so
    that no patient stands on both sides of a split.
    """
    heading = columns.get("patient")
    if heading is None:
        return {}, ()
    spelt: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    missing, dates = Counter[str](), Counter[str]()
    for line, texts in zip(table.lines, table.rows, strict=True):
        if same_text(text := texts[heading]) in NOT_KNOWN:
            missing[text] += 1
        elif text:
            dates.update([text] if _DATE.fullmatch(text) else ())
            if _SHORTENED.fullmatch(text):
                raise DatasetError(
                    f"{table.name} has the patient {text!r} in line {line}: a spreadsheet shortened a long "
                    "number, so several patients may stand behind it. Format the column as text, fill it in "
                    "again, and save the table."
                )
            spelt[_alike(text)][text].append(line)
    holds: dict[str, str | None] = dict.fromkeys(missing)
    notes = []
    if missing:
        words = listed((f"{word!r} ({counted(n, 'time')})" for word, n in missing.items()), 6)
        notes.append(f"{table.name} has {words} in the place of a patient: taken as not known")
    if dates:
        notes.append(
            f"{table.name} has dates in the place of patients: {listed(map(repr, dates), 6)}. A spreadsheet "
            "makes them of numbers such as 3-12: look at the column as text"
        )
    alone = [next(iter(names)) for names in spelt.values() if len(names) == 1]
    if numbers := [name for name in alone if _WHOLE_FLOAT.fullmatch(name)]:
        notes.append(
            f"{table.name} has {counted(len(numbers), 'patient')} as a spreadsheet writes whole numbers: "
            f"{listed((f'{name!r} is {_whole(name)!r}' for name in numbers), 6)}"
        )
    for spellings in spelt.values():
        names = sorted(spellings, key=lambda name: (bool(_WHOLE_FLOAT.fullmatch(name)), len(name), name))
        holds |= dict.fromkeys(names, _whole(names[0]))
        if len(names) > 1:
            lines = sorted(spellings[name][0] for name in names)
            notes.append(
                f"{table.name} spells what looks like one patient in {len(names)} ways: "
                f"{listed(map(repr, names), 6)} (lines {listed(lines, 6)}). They count as one patient; if "
                "they are different patients, give them names that differ by more than zeros, case and "
                "signs."
            )
    return holds, tuple(notes)


def _whole(patient: str) -> str:
    """A patient's name, without the point and zeros that spreadsheets and pandas add to whole numbers."""
    return match[1] if (match := _WHOLE_FLOAT.fullmatch(patient)) else patient


def _runs(patient: str) -> list[str]:
    """Numbers, without leading zeros, and words of a patient's name."""
    return [run.lstrip("0") or "0" if run.isdecimal() else run for run in _RUN.findall(same_text(patient))]


def _alike(patient: str) -> str:
    """A patient's name without what spreadsheets and typing change: ``.0``, leading zeros, case, signs."""
    return " ".join(_runs(_whole(patient))) or same_text(patient)


def _spellings(patient: str) -> Iterator[str]:
    """Names that differ from a patient's in zeros and signs, and that somebody may have typed for it."""
    runs = _runs(patient)
    if len(runs) == 1 and runs[0].isdecimal():
        yield f"{runs[0]}.0"
    signs = _RUN.split(same_text(patient))[1:-1]
    widths = [range(len(run), max(MOST_DIGITS, len(run)) + 1) if run.isdecimal() else (0,) for run in runs]
    for chosen in islice(product(*widths), MOST_SPELLINGS):
        filled = [run.zfill(width) for run, width in zip(runs, chosen, strict=True)]
        yield "".join(text for pair in zip_longest(filled, signs, fillvalue="") for text in pair)
        yield from (sign.join(filled) for sign in SIGNS)


class KnownPatients:
    """Patients that a training folder knows, to be found however their names are spelt.

    Leading zeros, case and signs tell no two patients of one table apart, and so none of two tables.

    Parameters
    ----------
    study : TrainingFolder
    """

    def __init__(self, study: TrainingFolder) -> None:
        self._study = study
        self._keys: set[str] | None = None
        self._names: dict[str, str] = {}

    def name_of(self, patient: str) -> str:
        """The spelling under which the folder knows a patient; the given one for a new patient.

        Parameters
        ----------
        patient : str

        Raises
        ------
        DatasetError
            If the folder was made with another salt.
        """
        if patient not in self._names:
            key, salt = self._study.dataset.hash_key("patient", patient), read_salt()
            if self._keys is None:
                self._keys = {case.patient for case in self._study.cases()}
            known = (name for name in _spellings(patient) if hashed_key(salt, "patient", name) in self._keys)
            self._names[patient] = name = patient if key in self._keys else next(known, patient)
            self._keys.add(hashed_key(salt, "patient", name))
        return self._names[patient]

    @property
    def remark(self) -> str | None:
        """What to know of names that were found in another spelling."""
        found = [f"{name!r} as {known!r}" for name, known in self._names.items() if known != name]
        if not found:
            return None
        return (
            f"{counted(len(found), 'patient')} in another spelling than before: {listed(found, 6)}. They "
            "count as one patient; if they are different patients, give them names that differ by more than "
            "zeros, case and signs."
        )


def _with_patient(row: TableRow, patients: Mapping[str, str | None]) -> TableRow:
    return replace(row, patient=patients.get(row.patient, row.patient)) if row.patient else row


# ------------------------------------------------------------ clinical record


ClinicalValues = Mapping[str, float | str]
"""What is known of a patient, by the heading of its column; a missing value is no entry."""

MOST_WORDS = 12
LONGEST = 40
BORN_FROM, BORN_UNTIL = 1850, 2100
_DATE_ALONE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[ T].*)?|\d{4}年.*|(?:19|20)\d{6}")
MISSING = {"", "na", "n/a", "nan", "none", "null", "unknown", "missing", "-", "?", "."}


def read_clinical(table: Table, columns: Sequence[str]) -> list[ClinicalValues]:
    """Read the named columns of a table, a record for each of its rows.

    Parameters
    ----------
    table : Table
    columns : sequence of str
        Headings, as the table has them.

    Returns
    -------
    list of dict of str to float or str
        Ages of 90 and more as 90, in columns whose heading names an age; words without case.

    Raises
    ------
    DatasetError
        If there is no such column, or it holds dates, years of birth, long texts, or more words than a
        category has: these may tell who a patient is.
    """
    known = {same_text(heading): heading for heading in table.headings}
    records: list[dict[str, float | str]] = [{} for _ in table.rows]
    for column in columns:
        heading = known.get(same_text(column))
        if heading is None:
            raise DatasetError(
                f"{table.name} has no column {column!r}; its columns are {', '.join(table.headings)[:200]}. "
                "Give one of them for --clinical."
            )
        words: set[str] = set()
        for line, texts, record in zip(table.lines, table.rows, records, strict=True):
            text = same_text(texts[heading])
            if text in MISSING:
                continue
            value = _value(text, heading, table.name, line)
            if isinstance(value, str):
                words.add(value)
            record[heading] = value
        if len(words) > MOST_WORDS:
            raise DatasetError(
                f"{table.name} has {len(words)} different words in the column {heading!r}, such as "
                f"{listed(sorted(words), 3)}. A clinical record takes numbers and up to {MOST_WORDS} words, "
                "so that no name comes in. Leave the column out, or give classes."
            )
    return list(records)


def _value(text: str, heading: str, name: str, line: int) -> float | str:
    if _DATE_ALONE.fullmatch(text):
        raise DatasetError(
            f"{name} has a date in line {line} of the column {heading!r}. Dates can tell who a patient is: "
            "give an age or a number of days instead, or leave the column out."
        )
    try:
        number = parse_number(text)
    except ValueError:
        if len(text) > LONGEST:
            raise DatasetError(
                f"{name} has a text of {len(text)} characters in line {line} of the column {heading!r}. A "
                "clinical record takes numbers and single words."
            ) from None
        return without_high_age(heading, text)
    if names_birth(heading) and BORN_FROM <= number <= BORN_UNTIL:
        raise DatasetError(
            f"{name} has a year in line {line} of the column {heading!r}. A year of birth tells the age of "
            "those over 90 too: give the age instead, or leave the column out."
        )
    return without_high_age(heading, number)
