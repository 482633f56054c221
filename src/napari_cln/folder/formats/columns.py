"""Plain folders: images, masks, and a table that says whose they are and what was found."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import DatasetError

__all__ = ["ROLES", "Row", "Table", "find_columns", "index_files", "masks_for", "read_table", "stem_of"]

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
    "split": ("split", "set", "subset", "partition"),
    "node": ("node", "node id"),
    "status": ("status",),
    "node_status": ("node status",),
    "truth_source": ("truth source",),
    "level": ("level", "neck level"),
    "side": ("side", "laterality"),
    "p_malignant": ("p malignant",),
    "frame_id": ("frame id",),
}  # fmt: skip
"""Headings by what they hold, the surest first; compared without case, blanks and signs."""

MAX_TABLE_BYTES = 2**28
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm", ".gif")
_MASK_STEM = re.compile(
    r"^(?:mask[_\- ]+)?(.*?)(?:[_\- ]+(?:mask|seg|segmentation|label|gt)(?:[_\- ]*\d+)?)?$"
)

Row = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows by role, and the headings from which they were taken."""

    rows: list[Row]
    columns: Mapping[str, str]


def read_table(path: Path) -> Table:
    """Read a table with one row per frame, or per node.

    Comma, semicolon or tabulator between the columns; UTF-8, or what Excel writes in Chinese
    (GB 18030).

    Raises
    ------
    DatasetError
        If it can't be read, or has no column of images.
    """
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise DatasetError(f"{path.name} is larger than a table can be. Check that it is a CSV file.")
        data = path.read_bytes()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("gb18030")
        head = text.split("\n", 1)[0]
        separator = max(",;\t", key=head.count)
        rows = list(csv.reader(io.StringIO(text), delimiter=separator, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as cause:
        raise DatasetError(
            f"{path.name} is not a readable table. Save it as CSV (UTF-8) with a row of headings."
        ) from cause
    if not rows:
        raise DatasetError(f"{path.name} is empty. Give a row of headings and a row per image.")
    columns = find_columns(rows[0])
    if "image" not in columns:
        raise DatasetError(
            f"{path.name} has the columns {', '.join(rows[0])[:200]}, none of which names the images. "
            "Call that column image."
        )
    place = {role: rows[0].index(heading) for role, heading in columns.items()}
    filled = [row for row in rows[1:] if any(cell.strip() for cell in row)]
    return Table(
        rows=[{role: row[i].strip() if i < len(row) else "" for role, i in place.items()} for row in filled],
        columns=columns,
    )


def find_columns(headings: list[str]) -> dict[str, str]:
    """The heading that holds each role; a heading serves once, the surest first.

    Parameters
    ----------
    headings : list of str

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
    return re.sub(r"[\W_]+", "", heading.casefold())


def index_files(folder: Path) -> dict[str, list[Path]]:
    """Image files below a folder by their stem without the words that mark a mask, sorted."""
    index: dict[str, list[Path]] = defaultdict(list)
    for path in _files(folder):
        index[stem_of(path)].append(path)
    return index


def _files(folder: Path) -> Iterator[Path]:
    return (
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.casefold() in IMAGES and path.is_file() and not path.name.startswith(".")
    )


def stem_of(path: Path) -> str:
    """Stem by which an image and its masks are known to belong together: without ``_mask_1`` and the like."""
    match = _MASK_STEM.fullmatch(path.stem.casefold())
    return match[1] if match and match[1] else path.stem.casefold()


def masks_for(image: Path, masks: Mapping[str, list[Path]]) -> list[Path]:
    """Masks that belong to an image by name; of equal names, those in a folder of the same name."""
    found = [path for path in masks.get(stem_of(image), ()) if path != image]
    near = [path for path in found if path.parent.name == image.parent.name]
    return near or found
