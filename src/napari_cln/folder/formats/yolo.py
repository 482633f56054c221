"""YOLO polygons: a text file for each image, names of classes, and the sides of a split.

A side is what the names of folders say, what the name of a list of images says (``test.txt``), and what
``data.yaml`` says of a folder or a list. An image on two sides is refused.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os.path import normpath
from pathlib import Path
from typing import Any

import yaml

from ...disk.atomic import read_bytes
from ...disk.tables import is_hidden
from ...errors import DatasetError, counted
from ...types import Frame, Split
from .coco import category_meanings, nodes_from, paint_polygon
from .imported import Drawn, ImportOptions, Outlines, below, refuse
from .meaning import SPLIT_OPTION, Meaning, UnknownWords, same_text, split_of
from .pairing import (
    IMAGES,
    MAX_BYTES,
    match_files,
    only_sides,
    pictures_below,
    read_text,
    sides_by_lists,
    sides_of,
)

_YOLO_LINE = re.compile(r"\s*\d+(\s+[-+]?[\d.]+(e[-+]?\d+)?){4,}\s*", re.IGNORECASE)


def find_yolo(root: Path, images: Path | None, options: ImportOptions) -> Outlines | None:
    """Outlines of YOLO: a text file for each image, a line with class and corners for each polygon.

    Parameters
    ----------
    root : Path
        The study.
    images : Path, optional
        Folder of the images, where the user named one.
    options : ImportOptions

    Raises
    ------
    DatasetError
        If there are classes whose meaning is not known.
    """
    pictures = pictures_below(images or root)
    stems = {same_text(path.stem) for path in pictures}
    texts = [
        path
        for path in sorted(root.rglob("*.txt"))
        if same_text(path.stem) in stems and not is_hidden(path) and path.is_file()
    ]
    files = [path for path in texts if _is_yolo(path)]
    if not any(path.stat().st_size for path in files):
        return None
    beside = {path.parent for path in files}
    files = [path for path in texts if path.parent in beside]  # one that is damaged refuses its image
    pairs = match_files(root, pictures, files)
    notes: list[str] = []
    names, named_in = _yolo_names(root)
    sides, said_in = _yolo_sides(root, images, pictures, set(files), options, notes)
    lines = {image: _yolo_lines(found[0]) for image, found in pairs.masks.items()}
    classes = {number for image in lines for number, _ in lines[image] if number >= 0}
    names = {number: names.get(number, str(number)) for number in sorted(classes | set(names))}
    where = named_in.name if named_in else "YOLO without names"
    truths = category_meanings(names, classes, where, options, notes)
    draw: dict[Path, Callable[[Frame], Drawn]] = {
        image: partial(_draw_yolo, pairs.masks[image][0].name, found, truths)
        for image, found in lines.items()
    }
    for image, reason in pairs.refused.items():
        draw[image] = partial(refuse, f"{image.name}: {reason}")
    return Outlines(
        kind="YOLO",
        draw=draw,
        images=tuple(pictures),
        splits=only_sides(sides, draw),
        used=frozenset((*files, *said_in)) | ({named_in} if named_in else set()),
        refused={below(path, root): "is the outline of no image" for path in pairs.lonely},
        notes=tuple(notes),
        n_masks=sum(map(bool, lines.values())),
    )


def _is_yolo(path: Path) -> bool:
    if path.stat().st_size > MAX_BYTES:
        return False
    with path.open("rb") as file:
        first = file.read(2**16).decode("utf-8", "replace").lstrip("\ufeff").splitlines()
    lines = [line for line in first if line.strip()]
    return not lines or _YOLO_LINE.fullmatch(lines[0]) is not None


def _descriptions(root: Path) -> Iterator[tuple[Path, Mapping[Any, Any]]]:
    """The files ``data.yaml`` of a study, whatever they are called; those nearest to it come first."""
    for path in sorted((*root.rglob("*.yaml"), *root.rglob("*.yml")), key=lambda path: len(path.parts)):
        try:
            content = yaml.safe_load(read_bytes(path, 2**20))
        except (yaml.YAMLError, DatasetError, OSError, ValueError, RecursionError):
            continue
        if isinstance(content, dict):
            yield path, content


def _yolo_names(root: Path) -> tuple[dict[int, str], Path | None]:
    """Names of the classes, and the file that gives them."""
    for path, content in _descriptions(root):
        names = content.get("names")
        given = names.values() if isinstance(names, dict) else names if isinstance(names, list) else ()
        if not all(isinstance(name, str | int | float) for name in given):
            continue
        if isinstance(names, list):
            return {i: str(name) for i, name in enumerate(names)}, path
        if isinstance(names, dict) and all(isinstance(key, int) for key in names):
            return {key: str(name) for key, name in names.items()}, path
    for path in sorted(root.rglob("*")):
        if path.name.casefold() in ("classes.txt", "obj.names", "names.txt") and path.is_file():
            text = read_text(path, 2**20)
            return {i: line.strip() for i, line in enumerate(text.splitlines()) if line.strip()}, path
    return {}, None


def _yolo_sides(
    root: Path,
    images: Path | None,
    pictures: Sequence[Path],
    outlines: set[Path],
    options: ImportOptions,
    notes: list[str],
) -> tuple[dict[Path, set[Split]], list[Path]]:
    """Sides of each image by lists and ``data.yaml``, and the files that say them."""
    unknown = UnknownWords(f"The name of a list in {root.name}")
    lists: dict[Path, set[Split]] = {}
    for path in sorted(root.rglob("*.txt")):
        if path not in outlines and path.is_file() and not is_hidden(path) and _is_list(path):
            lists[path] = sides_of([path.stem], options.split_values, unknown)
    unknown.refuse("words of a split", *SPLIT_OPTION)
    sides: dict[Path, set[Split]] = defaultdict(set)
    said_in: list[Path] = []
    for path, content in _descriptions(root):
        if not {"names", "nc"} & set(content):
            continue
        for key, side, entry in _entries(content, options):
            place = _place_of(root, path, content.get("path"), entry, options)
            if place is None:
                notes.append(
                    f"{below(path, root)} has {entry[:60]!r} under {key}, which was not found: no image is "
                    "known to be on that side by it"
                )
                continue
            said_in.append(path)
            if place.is_file():
                lists.setdefault(place, set()).add(side)
                continue
            for image in pictures:
                if image.is_relative_to(place):
                    sides[image].add(side)
    lists = {path: said for path, said in lists.items() if said}
    for image, said in sides_by_lists(lists, root, images, pictures, notes).items():
        sides[image] |= said
    return sides, [*lists, *said_in]


def _is_list(path: Path) -> bool:
    """Tell whether a text is a list of images: by its first line, or by its name."""
    if split_of(path.stem)[1]:
        return True
    with path.open("rb") as file:
        head = file.read(2**12).decode("utf-8", "replace").lstrip("\ufeff").split("\n")
    first = next((line.strip() for line in head if line.strip()), "")
    return Path(first).suffix.casefold() in IMAGES


def _entries(content: Mapping[Any, Any], options: ImportOptions) -> Iterator[tuple[str, Split, str]]:
    """Key, side and path of what a ``data.yaml`` says of the sides."""
    for key, value in content.items():
        side = split_of(key, options.split_values)[1] if isinstance(key, str) else None
        if side is not None:
            for entry in value if isinstance(value, list) else [value]:
                if isinstance(entry, str) and entry.strip():
                    yield key, side, entry.strip()


def _place_of(root: Path, file: Path, start: object, entry: str, options: ImportOptions) -> Path | None:
    """The folder or list of the study that a path in a ``data.yaml`` means; None where it is not there.

    The study may have been moved: what is left of the path when its first folders are taken away counts,
    unless one of these names a side.
    """
    plain = Path(entry.replace("\\", "/"))
    starts = [file.parent, root]
    if isinstance(start, str):
        starts.insert(0, file.parent / start.replace("\\", "/"))
    parts = [part for part in plain.parts if part not in (plain.anchor, "..")]
    for k in range(-1, len(parts)):
        if k > 0 and sides_of([parts[k - 1]], options.split_values, UnknownWords("")):
            return None
        rest = plain if k < 0 else Path(*parts[k:])
        for folder in starts:
            place = Path(normpath(folder / rest))
            if place.is_relative_to(root) and place.exists():
                return place
    return None


def _yolo_lines(path: Path) -> list[tuple[int, list[float]]]:
    """Classes and numbers of a YOLO file; a line that is none ends in an odd number, which is told later."""
    lines: list[tuple[int, list[float]]] = []
    for line in read_bytes(path, MAX_BYTES).decode("utf-8", "replace").lstrip("\ufeff").splitlines():
        if not line.strip():
            continue
        try:
            number, *values = line.split()
            lines.append((int(number), [float(value) for value in values]))
        except ValueError:
            lines.append((-1, []))
    return lines


def _draw_yolo(
    name: str, lines: Sequence[tuple[int, list[float]]], truths: Mapping[Any, Meaning], frame: Frame
) -> Drawn:
    masks, boxes = [], 0
    for number, values in lines:
        if len(values) == 4:
            boxes += 1
            continue
        try:
            if number < 0 or len(values) < 6 or len(values) % 2:
                raise ValueError("a line that is no class with corners")
            if not all(-0.01 <= value <= 1.01 for value in values):
                raise ValueError("corners that are no shares of the picture")
            mask = paint_polygon(values, frame.shape, frame.shape)
        except ValueError as cause:
            raise DatasetError(f"An outline of {name} can't be read ({cause}). Export it again.") from cause
        if (meaning := truths.get(number, "node")) not in ("background", "no-node"):
            masks.append((meaning, mask))
    made = nodes_from(masks, frame.shape, name)
    left_out = (f"not taken: {counted(boxes, 'box', 'boxes')} without an outline",) if boxes else ()
    return replace(made, notes=(*made.notes, *left_out), has_unread=made.has_unread or boxes > 0)
