"""Annotation tools beside COCO: labelme, Pascal VOC masks.

Each function looks for the files of its format and gives :class:`~.parcel.Outlines`, or None where
there are none. What a format can't say (a box, a point) is told and not taken.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...annotation import Node
from ...disk.atomic import read_bytes
from ...disk.schema import JsonObject
from ...disk.tables import is_hidden
from ...errors import DatasetError, listed
from ...types import Frame, Split, Truth
from .coco import OTHERS_LEFT_OUT, category_meanings, nodes_from, paint_polygon
from .imported import Drawn, ImportOptions, Outlines, below, plain_bytes, refuse
from .masks import MaskPicture, drawn, mask_meanings, read_mask
from .meaning import SPLIT_OPTION, Meaning, UnknownWords, same_text
from .pairing import (
    MAX_BYTES,
    PictureFinder,
    match_files,
    only_sides,
    pictures_below,
    read_text,
    sides_by_lists,
    sides_of,
)

MAX_SHAPES = 10_000


# ------------------------------------------------------------ labelme


def find_labelme(root: Path, images: Path | None, options: ImportOptions) -> Outlines | None:
    """Outlines of labelme: a JSON file of shapes for each image.

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
        If the shapes have labels whose meaning is not known.
    """
    files = [path for path in sorted(root.rglob("*.json")) if not is_hidden(path) and _is_labelme(path)]
    if not files:
        return None
    pictures = pictures_below(images or root)
    locate = PictureFinder(root, files, images=images)
    contents: dict[Path, JsonObject] = {}
    refused: dict[str, str] = {}
    for path in files:
        try:
            content = _load(path)
            image = _image_of(path, str(content.get("imagePath", "")), locate)
            if image in contents:
                raise DatasetError(f"{image.name} has the shapes of another file too. Leave one out.")
            contents[image] = content | {"file": path}
        except DatasetError as cause:
            refused[below(path, root)] = str(cause)
    labels = {_label_of(shape) for content in contents.values() for shape in content["shapes"]}
    notes: list[str] = []
    truths = category_meanings({label: label for label in labels}, set(labels), "labelme", options, notes)
    flags = {
        str(name)[:40]
        for content in contents.values()
        for said in (content.get("flags"), *(shape.get("flags") for shape in content["shapes"]))
        if isinstance(said, dict)
        for name, value in said.items()
        if value
    }
    if flags:
        notes.append(f"labelme has flags that are not used: {listed(sorted(flags), 8)}")
    return Outlines(
        kind="labelme",
        draw={image: partial(_draw_shapes, content, truths) for image, content in contents.items()},
        images=tuple(pictures),
        used=frozenset(content["file"] for content in contents.values()),
        refused=refused,
        notes=tuple(notes),
        n_masks=sum(bool(content["shapes"]) for content in contents.values()),
    )


def _label_of(shape: Mapping[str, Any]) -> str:
    label = shape.get("label")
    return "" if label is None else str(label)


def _is_labelme(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(2**16)
            file.seek(max(0, path.stat().st_size - 2**16))
            ends = head + file.read()
    except OSError:
        return False
    ends = plain_bytes(ends)
    return b'"shapes"' in ends and b'"imagePath"' in ends


def _load(path: Path) -> JsonObject:
    """A labelme file's size and shapes, without the picture that it may hold."""
    try:
        content = json.loads(read_bytes(path, MAX_BYTES).removeprefix(b"\xef\xbb\xbf"))
    except OSError as cause:
        raise DatasetError(f"{path.name} can't be read ({cause.strerror}). Check its permissions.") from cause
    except (ValueError, RecursionError) as cause:
        raise DatasetError(f"{path.name} is not readable JSON. Save it again in labelme.") from cause
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise DatasetError(f"{path.name} has no list of shapes. Save it again in labelme.")
    if len(shapes) > MAX_SHAPES:
        raise DatasetError(f"{path.name} has {len(shapes)} shapes, more than a frame can show.")
    return {key: content.get(key) for key in ("shapes", "imagePath", "imageHeight", "imageWidth", "flags")}


def _image_of(path: Path, said: str, locate: PictureFinder) -> Path:
    """The picture that a labelme file is of: as it says, else the one of its name."""
    for name in filter(None, (said, path.stem)):
        with contextlib.suppress(DatasetError):
            return locate(name, path)
    name = said.replace("\\", "/").rpartition("/")[2] or path.stem
    raise DatasetError(f"its picture {name!r} was not found, or more than once. Put both into one folder.")


def _draw_shapes(content: Mapping[str, Any], truths: Mapping[Any, Meaning], frame: Frame) -> Drawn:
    name = content["file"].name
    scale = _scale((content.get("imageHeight"), content.get("imageWidth")), frame, name)
    grouped: dict[tuple[str, Any], NDArray[np.bool_]] = {}
    not_taken: Counter[str] = Counter()
    for index, shape in enumerate(content["shapes"]):
        kind = str(shape.get("shape_type") or "polygon")
        try:
            mask = _shape(shape, kind, frame.shape, scale)
        except (ValueError, TypeError, KeyError, OverflowError) as cause:
            raise DatasetError(
                f"A shape of {name} can't be read ({cause}). Save it again in labelme."
            ) from cause
        except (OSError, SyntaxError, Image.DecompressionBombError) as cause:
            raise DatasetError(
                f"A shape of {name} holds no picture of a mask that can be read. Save it again in labelme."
            ) from cause
        if mask is None:
            not_taken[kind] += 1
            continue
        group = shape.get("group_id")
        key = (_label_of(shape), f"group {group}" if group is not None else index)
        grouped[key] = mask | grouped[key] if key in grouped else mask
    masks = [
        (truths.get(label, "node"), mask)
        for (label, _), mask in grouped.items()
        if truths.get(label, "node") not in ("background", "no-node")
    ]
    made = nodes_from(masks, frame.shape, name)
    others = [OTHERS_LEFT_OUT.format(n)] if (n := len(grouped) - len(masks)) else []
    notes = [
        *made.notes,
        *others,
        *(f"{n} shapes of the kind {kind} are not taken" for kind, n in not_taken.items()),
    ]
    if scale != (1.0, 1.0):
        notes.append("its outlines are for a picture of another size, and were scaled to its own")
    return replace(made, notes=tuple(notes), has_unread=made.has_unread or bool(not_taken))


def _shape(
    shape: Mapping[str, Any], kind: str, size: tuple[int, int], scale: tuple[float, float]
) -> NDArray[np.bool_] | None:
    """Mask of one shape; None for a kind that outlines nothing."""
    points = shape.get("points")
    if kind == "polygon":
        return paint_polygon(points, size, scale)
    if kind in ("rectangle", "mask"):
        (x0, y0), (x1, y1) = np.asarray(points, dtype=float).reshape(2, 2)
        if kind == "rectangle":
            return paint_polygon((x0, y0, x1, y0, x1, y1, x0, y1), size, scale)
        if scale != (1.0, 1.0):
            raise ValueError("a mask for a picture of another size")
        with Image.open(io.BytesIO(base64.b64decode(str(shape["mask"])))) as picture:
            if picture.width > size[1] + 1 or picture.height > size[0] + 1:
                raise ValueError("a mask that is larger than its picture")
            inner = np.asarray(picture.convert("L")) > 0
        mask = np.zeros(size, dtype=bool)
        row, column = round(min(y0, y1)), round(min(x0, x1))
        part = mask[max(row, 0) : row + inner.shape[0], max(column, 0) : column + inner.shape[1]]
        part |= inner[max(-row, 0) :, max(-column, 0) :][: part.shape[0], : part.shape[1]]
        return mask
    if kind == "circle":
        (x, y), (rim_x, rim_y) = np.asarray(points, dtype=float).reshape(2, 2)
        angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
        radius = np.hypot(rim_x - x, rim_y - y)
        ring = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)
        return paint_polygon(ring.ravel(), size, scale)
    return None


def _scale(said: tuple[Any, Any], frame: Frame, name: str) -> tuple[float, float]:
    """Pixels of the frame for each of the annotation's, along rows and columns."""
    if said == (None, None):
        return 1.0, 1.0
    if not all(isinstance(side, int) and not isinstance(side, bool) and 0 < side < 2**16 for side in said):
        raise DatasetError(f"{name} says that its picture has {str(said)[:40]} pixels, which is no size.")
    scale = frame.shape[0] / said[0], frame.shape[1] / said[1]
    if abs(scale[0] / scale[1] - 1) > 0.01:
        raise DatasetError(
            f"{name} says {said[0]}×{said[1]} pixels, the picture has {frame.shape[0]}×{frame.shape[1]}: "
            "another shape. Outline the picture as it is."
        )
    return scale


# ------------------------------------------------------------ Pascal VOC


def find_voc(root: Path, images: Path | None, options: ImportOptions) -> Outlines | None:
    """Outlines of Pascal VOC: masks of classes, of objects where there are some, and lists of the splits.

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
    roles = ("jpegimages", "segmentationclass", "segmentationobject")
    if not any(path.is_dir() and same_text(path.name) == roles[1] for path in root.rglob("*")):
        return None
    below_role: dict[str, list[Path]] = defaultdict(list)
    for path in pictures_below(root):
        parts = [same_text(part) for part in path.relative_to(root).parts[:-1]]
        below_role[next((part for part in reversed(parts) if part in roles), "")].append(path)
    _, masks, objects = (below_role[role] for role in roles)
    apart = {*masks, *objects}
    among = pictures_below(images) if images else below_role[roles[0]] or below_role[""]
    pictures = [path for path in among if path not in apart]
    pairs, by_object = match_files(root, pictures, masks), match_files(root, pictures, objects)
    named, named_in = _voc_colours(root)
    notes: list[str] = []
    truths = category_meanings(
        {name: name for name in named.values() if same_text(name) != "background"},
        set(),
        "labelmap.txt",
        options,
        notes,
    )
    draw: dict[Path, Callable[[Frame], Drawn]] = {}
    for image, found in pairs.masks.items():
        nodes_at = by_object.masks.get(image, [None])[0]
        draw[image] = partial(_draw_voc, found[0], nodes_at, named, truths, options)
    for image, reason in (*by_object.refused.items(), *pairs.refused.items()):
        draw[image] = partial(refuse, f"{image.name}: {reason}")
    sides, lists = _voc_splits(root, images, pictures, options, notes)
    splits = only_sides(sides, draw)
    return Outlines(
        kind="Pascal VOC",
        draw=draw,
        images=tuple(pictures),
        splits=splits,
        used=frozenset((*masks, *objects, *lists, *named_in)),
        refused={below(path, root): "is the mask of no image" for path in (*pairs.lonely, *by_object.lonely)},
        notes=tuple(notes),
        n_masks=len(pairs.masks),
    )


def _voc_colours(root: Path) -> tuple[dict[int, str], list[Path]]:
    """Name of each colour, and the files that give it.

    Raises
    ------
    DatasetError
        If several files name the colours differently.
    """
    paths = list(filter(Path.is_file, sorted(root.rglob("labelmap.txt"))))
    maps: list[dict[int, str]] = []
    for path in paths:
        colours: dict[int, str] = {}
        for line in read_text(path, 2**20).splitlines():
            if match := re.match(r"\s*([^#:]+):(\d+),(\d+),(\d+)", line):
                red, green, blue = (int(match[i]) for i in (2, 3, 4))
                colours[(red << 16) | (green << 8) | blue] = match[1].strip()
        maps.append(colours)
    if any(list(colours.items()) != list(maps[0].items()) for colours in maps[1:]):
        raise DatasetError(
            f"{listed(below(path, root) for path in paths)} differ in the names of their colours.",
            "Import the folder of each by itself.",
        )
    return (maps[0] if maps else {}), paths


def _voc_splits(
    root: Path, images: Path | None, pictures: Sequence[Path], options: ImportOptions, notes: list[str]
) -> tuple[dict[Path, set[Split]], list[Path]]:
    """Sides of each image by the lists in ``ImageSets``, and the lists; a line is a path of a picture."""
    unknown = UnknownWords(f"The name of a list in {root.name}/ImageSets")
    paths = filter(Path.is_file, sorted(root.rglob("ImageSets/**/*.txt")))
    said = {path: sides_of([path.stem], options.split_values, unknown) for path in paths}
    unknown.refuse("words of a split", *SPLIT_OPTION)
    lists = {path: sides for path, sides in said.items() if sides}
    return sides_by_lists(lists, root, images, pictures, notes), list(lists)


def _draw_voc(
    classes: Path,
    objects: Path | None,
    named: Mapping[int, str],
    truths: Mapping[Any, Meaning],
    options: ImportOptions,
    frame: Frame,
) -> Drawn:
    picture = read_mask(classes)
    meanings: dict[str, Meaning] = {}
    if named and picture.in_colour:
        for code, name in named.items():
            meanings[f"#{code:06x}"] = (
                "background" if same_text(name) == "background" else truths.get(name, "node")
            )
    elif named:
        # Indices of a palette count the lines of labelmap.txt.
        for index, name in enumerate(named.values()):
            meanings[str(index)] = (
                "background" if same_text(name) == "background" else truths.get(name, "node")
            )
    else:
        meanings = mask_meanings(options) or {}
    if picture.values.shape != frame.shape:
        raise DatasetError(
            f"{classes.name} has {picture.values.shape[0]}×{picture.values.shape[1]} pixels, its image "
            f"{frame.shape[0]}×{frame.shape[1]}. Export the mask again at the image's size."
        )
    made = drawn(picture, classes.name, "unknown", meanings or None)
    return made if objects is None else _by_object(made, read_mask(objects), objects.name)


def _by_object(made: Drawn, objects: MaskPicture, name: str) -> Drawn:
    """Nodes of the classes, told apart by the mask of the objects."""
    if objects.values.shape != made.instances.shape:
        raise DatasetError(f"{name} has another size than the mask of its classes. Export both again.")
    instances = np.zeros_like(made.instances)
    nodes: list[Node] = []
    known: dict[int, Truth] = {node.id: node.truth for node in made.nodes}
    for value in np.unique(objects.values[made.instances > 0]):
        inside = (objects.values == value) & (made.instances > 0)
        owner = int(np.bincount(made.instances[inside]).argmax())
        if len(nodes) == 255:
            raise DatasetError(f"{name} has more than the 255 nodes a frame can have.")
        nodes.append(Node(id=len(nodes) + 1, status="accepted", truth=known[owner]))
        instances[inside] = len(nodes)
    return replace(made, instances=instances, nodes=tuple(nodes))
