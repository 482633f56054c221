"""COCO annotations, in and out: nodes with run-length codes or polygons.

The file lies beside its images, or in ``annotations/`` with the images in ``images/`` as CVAT writes it;
several files of one study (``instances_train.json``, …) are read together.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import polygon2mask
from skimage.transform import resize

from ...annotation import Node
from ...disk.atomic import read_bytes
from ...disk.rle import decode_rle, encode_rle
from ...disk.schema import JsonObject
from ...disk.tables import is_hidden
from ...errors import DatasetError, counted, listed
from ...types import Frame, Split, Truth
from ..pictures import MAX_PIXELS, encode_png, read_png
from ..record import record_of, value_of
from .imported import Drawn, Found, ImportOptions, Incoming, Outlines, below, path_inside, plain_bytes
from .meaning import SPLIT_OPTION, Meaning, UnknownWords, meaning_of, same_text
from .pairing import PictureFinder, sides_of
from .stored import ExportedFrame, has_keys, only_salt, parcel_of

MAX_BYTES = 2**28
MAX_CORNERS = 100_000
MAX_SIDE = 65_535
FAR = 1e6
"""Pixels beyond which a corner lies nowhere near a picture."""
OTHER_STRUCTURES = frozenset(
    ("vessel", "vessels", "artery", "vein", "carotid", "jugular", "muscle", "nerve", "thyroid", "trachea")
)
"""Words of a category that is no node even where it is the only one."""
OTHERS_LEFT_OUT = "{} of its outlines are of what is no node, and are left out"
CATEGORY = {"id": 1, "name": "lymph node", "supercategory": "anatomy"}
NOT_JUDGED = {"id": 2, "name": "not judged", "supercategory": "none"}


class CocoWriter:
    """Collects frames for one ``annotations.json``; the images lie beside it.

    Parameters
    ----------
    dest : Path
    salt : str or None
        Fingerprint of the salt of the keys of patients.
    """

    def __init__(self, dest: Path, salt: str | None) -> None:
        self._dest, self._salt = dest, salt
        self._images: list[JsonObject] = []
        self._annotations: list[JsonObject] = []
        self._has_unjudged = False
        (dest / "images").mkdir()

    def add(self, frame: ExportedFrame) -> None:
        """Add one frame with all its nodes, each in its own annotation."""
        name = f"images/{frame.case.id}.png"
        (self._dest / name).write_bytes(encode_png(frame.image))
        number = len(self._images) + 1
        rows, columns = frame.image.shape
        entry = {"id": number, "file_name": name, "height": rows, "width": columns}
        self._images.append(entry | {"x_napari_cln": value_of(frame.record)})
        if frame.not_judged is not None:
            self._has_unjudged = True
            self._add(number, frame.not_judged, {"node": 0, "truth": "not judged", "status": "not judged"})
        places = ndimage.find_objects(frame.instances)
        for node in frame.record.nodes:
            place = places[node.id - 1] if node.id <= len(places) else None
            if place is None:
                continue
            attributes = {"node": node.id, "truth": node.truth, "status": node.status}
            self._add(number, frame.instances == node.id, attributes)

    def _add(self, number: int, mask: NDArray[np.bool_], attributes: Mapping[str, Any]) -> None:
        rows, columns = np.nonzero(mask)
        x, y = int(columns.min()), int(rows.min())
        self._annotations.append(
            {
                "id": len(self._annotations) + 1,
                "image_id": number,
                "category_id": CATEGORY["id"] if attributes["node"] else NOT_JUDGED["id"],
                "segmentation": {"size": [*mask.shape], "counts": encode_rle(mask)},
                "area": int(mask.sum()),
                "bbox": [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y],
                "iscrowd": int(not attributes["node"]),
                "attributes": dict(attributes),
            }
        )

    def close(self) -> None:
        """Write the annotations."""
        content = {
            "info": {"description": "napari-cln training folder", "version": "1", "salt": self._salt},
            "images": self._images,
            "annotations": self._annotations,
            "categories": [CATEGORY, *([NOT_JUDGED] if self._has_unjudged else [])],
        }
        (self._dest / "annotations.json").write_text(json.dumps(content))


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """An image of a COCO file with its outlines."""

    table: Path
    value: Mapping[str, Any]
    outlines: tuple[Mapping[str, Any], ...]
    truths: Mapping[Any, Meaning]
    sides: set[Split]


def find_coco_files(root: Path) -> list[Path]:
    """COCO files below a folder, sorted: JSON objects with ``images`` and ``annotations``."""
    paths = [path for path in sorted(root.rglob("*.json")) if path.is_file() and not is_hidden(path)]
    return [path for path in paths if _is_coco(path)]


def _is_coco(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(2**16)
            file.seek(max(0, path.stat().st_size - 2**12))
            tail = file.read()
    except OSError:
        return False
    head, tail = plain_bytes(head), plain_bytes(tail)
    start = head.lstrip()
    if b'"shapes"' in head and b'"imagePath"' in head + tail:
        return False  # labelme
    return start.startswith(b"{") and any(key in head for key in (b'"images"', b'"annotations"'))


def _load(path: Path) -> JsonObject:
    """A COCO file's content, its lists and ids checked.

    Raises
    ------
    DatasetError
        If it is no COCO file.
    """
    wrong = (
        f"{path.name} is not a COCO file: it must have images, annotations and categories. Export it again, "
        "or put it elsewhere if it is something else."
    )
    try:
        content = json.loads(read_bytes(path, MAX_BYTES).removeprefix(b"\xef\xbb\xbf"))
    except OSError as cause:
        raise DatasetError(f"{path.name} can't be read ({cause.strerror}). Check its permissions.") from cause
    except (ValueError, RecursionError) as cause:
        raise DatasetError(wrong) from cause
    if not isinstance(content, dict):
        raise DatasetError(wrong)
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list) or not all(
            isinstance(entry, dict) for entry in content[key]
        ):
            raise DatasetError(wrong)
    return content


def read_coco(
    files: Sequence[Path], images: Path | None, root: Path, options: ImportOptions
) -> Outlines | Found:
    """Outlines of COCO files; of files that napari-cln wrote, the frames themselves.

    A category names the nodes' truth where it is one (``malignant``), else nodes whose truth is
    not known. An image without annotations waits to be looked at: COCO does not say whether
    anybody looked.

    Parameters
    ----------
    files : sequence of Path
    images : Path, optional
        Folder of the images, where the user named one.
    root : Path
        The study.
    options : ImportOptions

    Raises
    ------
    DatasetError
        If a file is not COCO, or has categories whose meaning is not known.
    """
    entries: list[_Entry] = []
    notes: list[str] = []
    refused: dict[str, str] = {}
    unknown = UnknownWords(f"The name of a COCO file in {root.name}, or of its folder,")
    contents = {path: _load(path) for path in files}
    if own := {path: content for path, content in contents.items() if _is_own(content)}:
        return _own(own, root)
    for path, content in contents.items():
        names = (*Path(below(path, root)).parent.parts, path.stem)
        sides = sides_of(names, options.split_values, unknown)
        entries += _entries(path, content, sides, options, notes, refused)
    unknown.refuse("words of a split", *SPLIT_OPTION)
    locate = PictureFinder(root, files, images=images)
    by_image: dict[Path, list[_Entry]] = defaultdict(list)
    for entry in entries:
        name = str(entry.value["file_name"])
        try:
            by_image[locate(name, entry.table)].append(entry)
        except DatasetError as cause:
            refused[f"{entry.table.name}: {name[:80]}"] = str(cause)
    draw = {image: partial(_draw, image, tuple(found)) for image, found in by_image.items()}
    by_file = {image: set().union(*(entry.sides for entry in found)) for image, found in by_image.items()}
    for image, several in by_file.items():
        if len(several) > 1:
            draw[image] = partial(_refuse_sides, image.name, listed(sorted(several)))
    return Outlines(
        kind=f"COCO ({listed(path.name for path in files)})",
        draw=draw,
        images=tuple(by_image),
        splits={image: next(iter(side)) for image, side in by_file.items() if len(side) == 1},
        used=frozenset(files),
        refused=refused,
        notes=tuple(notes),
        n_masks=sum(any(entry.outlines for entry in found) for found in by_image.values()),
        untouched=True,
    )


def _entries(
    path: Path,
    content: Mapping[str, Any],
    sides: set[Split],
    options: ImportOptions,
    notes: list[str],
    refused: dict[str, str],
) -> list[_Entry]:
    named: dict[Any, set[str]] = defaultdict(set)
    for entry in content["categories"]:
        named[_id(entry.get("id"))].add(str(entry.get("name", "")))
    for key, names in named.items():
        if len(names) > 1:
            raise DatasetError(
                f"{path.name} has {listed(map(repr, sorted(names)))} as names of the one category {key!r}. "
                "Leave the one that holds."
            )
    truths = category_meanings(
        {_id(entry.get("id")): str(entry.get("name", "")) for entry in content["categories"]},
        {_id(entry.get("category_id")) for entry in content["annotations"]},
        path.name,
        options,
        notes,
    )
    outlines: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in content["annotations"]:
        outlines[_id(entry.get("image_id"))].append(entry)
    entries, seen = [], set()
    for value in content["images"]:
        key = _id(value.get("id"))
        if key is None or key in seen or not isinstance(value.get("file_name"), str):
            refused[f"{path.name}: {str(value.get('file_name', value))[:60]}"] = (
                "its entry has no file_name, or no id of its own"
            )
            continue
        seen.add(key)
        entries.append(
            _Entry(table=path, value=value, outlines=tuple(outlines.pop(key, ())), truths=truths, sides=sides)
        )
    if more := _unknown_attributes(content["annotations"]):
        notes.append(f"{path.name} has attributes of outlines that are not used: {listed(more, 8)}")
    if strays := sum(map(len, outlines.values())):
        notes.append(f"{path.name} has {counted(strays, 'outline')} of images not in its list: not taken")
    return entries


def _unknown_attributes(annotations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of what an annotation tool lets its users say of an outline, beside its category."""
    names: set[str] = set()
    for entry in annotations:
        if isinstance(attributes := entry.get("attributes"), dict):
            names.update(
                str(name)[:40] for name, value in attributes.items() if value not in (None, "", False)
            )
    return sorted(names - {"occluded", "rotation", "track_id", "keyframe", "outside", "id"})


def _id(value: Any) -> int | str | None:
    """An id as COCO has them; None for what is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str):  # some programs write ids as text at one place and as numbers at another
        return int(value) if re.fullmatch(r"0|-?[1-9][0-9]{0,17}", value) else value
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def category_meanings(
    names: Mapping[Any, str], used: set[Any], where: str, options: ImportOptions, notes: list[str]
) -> dict[Any, Meaning]:
    """Meaning of each class of an annotation file.

    Parameters
    ----------
    names : mapping
        Names of the classes by their ids.
    used : set
        Ids that outlines have.
    where : str
        The file, for messages.
    options : ImportOptions
    notes : list of str
        Takes what a person should know.

    Raises
    ------
    DatasetError
        If there are several, and one's meaning is not known; the message names them all.
    """
    meanings = {key: meaning_of(name, options.label_values) for key, name in names.items()}
    unknown = [key for key, meaning in meanings.items() if meaning is None]
    others = [
        key for key in unknown if OTHER_STRUCTURES & set(re.findall(r"[^\W\d_]+", same_text(names[key])))
    ]
    if unknown and (len(names) > 1 or others):
        first = names[unknown[0]]
        raise DatasetError(
            f"{where} has the categories {listed((repr(names[key]) for key in unknown), 8)}, whose meaning "
            "is not known.",
            f'Say what each is, for example --label-values "{first}=background" (or node, benign, '
            "metastatic, not-judged).",
        )
    if unknown and unknown[0] in used:
        notes.append(f"the only category of {where}, {names[unknown[0]]!r}, was taken for lymph nodes")
    return {key: meaning or "node" for key, meaning in meanings.items()}


# ------------------------------------------------------------ one frame


def _refuse_sides(name: str, sides: str, _frame: Frame) -> Drawn:
    raise DatasetError(f"{name} is listed on the sides {sides} at once. Leave it on the one that holds.")


def _draw(image: Path, entries: Sequence[_Entry], frame: Frame) -> Drawn:
    """Nodes of an image from its outlines."""
    filled = [entry for entry in entries if entry.outlines]
    if len(filled) > 1:
        raise DatasetError(
            f"{image.name} has outlines in {listed(entry.table.name for entry in filled)}. Leave out the "
            "file that does not hold."
        )
    instances = np.zeros(frame.shape, dtype=np.uint8)
    if not filled:
        return Drawn(instances=instances, nodes=())
    entry = filled[0]
    size = _size(entry, frame)
    masks: list[tuple[Meaning, NDArray[np.bool_]]] = []
    boxes = others = 0
    for outline in entry.outlines:
        category = _id(outline.get("category_id"))
        if category not in entry.truths:
            raise DatasetError(
                f"An outline of {image.name} has the category {str(outline.get('category_id'))[:40]!r}, "
                f"which {entry.table.name} does not list. Export the annotations again."
            )
        meaning = entry.truths[category]
        if meaning in ("background", "no-node"):
            others += 1
            continue
        if not outline.get("segmentation"):
            boxes += 1
            continue
        masks.append((meaning, _paint(outline["segmentation"], frame.shape, size, image.name)))
    drawn = nodes_from(masks, frame.shape, image.name)
    notes = list(drawn.notes)
    if size != frame.shape:
        notes.append(
            f"its outlines are for {size[0]}×{size[1]} pixels, and were scaled to its {frame.shape[0]}×"
            f"{frame.shape[1]}"
        )
    if others:
        notes.append(OTHERS_LEFT_OUT.format(others))
    if boxes:
        notes.append(f"not taken: {counted(boxes, 'box', 'boxes')} without an outline")
    return replace(drawn, notes=tuple(notes), has_unread=drawn.has_unread or boxes > 0)


def nodes_from(
    masks: Sequence[tuple[Meaning, NDArray[np.bool_]]], shape: tuple[int, int], name: str
) -> Drawn:
    """Nodes of outlines in their order; a later one lies over an earlier.

    Parameters
    ----------
    masks : sequence of (meaning, ndarray of bool, shape (H, W))
    shape : (int, int)
    name : str
        The image's, for messages.

    Raises
    ------
    DatasetError
        If there are over 255 nodes.
    """
    instances = np.zeros(shape, dtype=np.uint8)
    not_judged = np.zeros(shape, dtype=bool)
    truths: list[Truth] = []
    empty = 0
    for meaning, mask in masks:
        if meaning == "not-judged":
            not_judged |= mask
        elif not mask.any():
            empty += 1
        else:
            truths.append(meaning if meaning in ("benign", "metastatic") else "unknown")
            if len(truths) > 255:
                raise DatasetError(f"{name} has more than the 255 nodes a frame can have.")
            instances[mask] = len(truths)
    nodes = [Node(id=i, status="accepted", truth=truth) for i, truth in enumerate(truths, start=1)]
    hidden = [node.id for node in nodes if not (instances == node.id).any()]
    notes = []
    if empty:
        notes.append(f"{empty} of its outlines hold no pixel")
    if hidden:
        notes.append(f"{len(hidden)} of its outlines lie wholly under others, and are left out")
        nodes = [node for node in nodes if node.id not in hidden]
    return Drawn(
        instances=instances,
        nodes=tuple(nodes),
        not_judged=not_judged if not_judged.any() else None,
        notes=tuple(notes),
        has_unread=empty > 0,
    )


def _size(entry: _Entry, frame: Frame) -> tuple[int, int]:
    """Size that the outlines are for: the entry's own, where it says one.

    Raises
    ------
    DatasetError
        If it is no size, or one of another shape than the picture's.
    """
    said = entry.value.get("height"), entry.value.get("width")
    if said == (None, None):
        return frame.shape
    height, width = said
    if not all(
        isinstance(side, int) and not isinstance(side, bool) and 0 < side <= MAX_SIDE for side in said
    ):
        raise DatasetError(
            f"{entry.table.name} says that the image has {str(height)[:20]}×{str(width)[:20]} pixels, which "
            "is no size."
        )
    scale = frame.shape[0] / height, frame.shape[1] / width  # type: ignore[operator]
    if height * width > MAX_PIXELS or abs(scale[0] / scale[1] - 1) > 0.01:  # type: ignore[operator]
        raise DatasetError(
            f"{entry.table.name} says {height}×{width} pixels, the picture has "
            f"{frame.shape[0]}×{frame.shape[1]}: another shape. Export the annotations for the picture as it "
            "is."
        )
    return height, width  # type: ignore[return-value]


def _paint(code: Any, shape: tuple[int, int], size: tuple[int, int], name: str) -> NDArray[np.bool_]:
    """Mask of one outline, at the frame's size.

    Raises
    ------
    DatasetError
        If it can't be read.
    """
    try:
        if isinstance(code, dict):
            rows, columns = (int(side) for side in code["size"])
            if (rows, columns) != size:
                raise ValueError(f"its size is {rows}×{columns}, the image's {size[0]}×{size[1]}")
            counts = code["counts"]
            mask = decode_rle(counts if isinstance(counts, str) else list(counts), size)
            return mask if size == shape else resize(mask, shape, order=0, preserve_range=True).astype(bool)
        mask = np.zeros(shape, dtype=bool)
        if not isinstance(code, list):
            raise ValueError("it is neither polygons nor a run-length code")
        for ring in code:
            mask |= paint_polygon(ring, shape, (shape[0] / size[0], shape[1] / size[1]))
        return mask
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, MemoryError) as cause:
        raise DatasetError(
            f"An outline of {name} can't be read ({cause}). Export the annotations again."
        ) from cause


def paint_polygon(
    ring: Any, shape: tuple[int, int], scale: tuple[float, float] = (1.0, 1.0)
) -> NDArray[np.bool_]:
    """Mask of a polygon.

    Parameters
    ----------
    ring : sequence of float
        x, y in turn; the middle of the first pixel is (0.5, 0.5).
    shape : (int, int)
        Of the mask.
    scale : (float, float)
        Pixels of the mask for each of the polygon's, along rows and columns.

    Returns
    -------
    ndarray of bool, shape (H, W)

    Raises
    ------
    ValueError
        If it has no three corners, or one that is no number or far from any picture.
    """
    given = np.asarray(ring, dtype=float)
    if given.size % 2 or (given.ndim > 1 and given.shape[-1] != 2):
        raise ValueError("corners that are not x and y in turn")
    corners = given.reshape(-1, 2)[:, ::-1]
    if not 3 <= len(corners) <= MAX_CORNERS:
        raise ValueError(f"a polygon of {len(corners)} corners")
    if not np.isfinite(corners).all() or np.abs(corners).max() > FAR:
        raise ValueError("a corner that is no number, or far outside the picture")
    mask: NDArray[np.bool_] = polygon2mask(shape, corners * np.asarray(scale) - 0.5)
    return mask


# ------------------------------------------------------------ files that napari-cln wrote


def _is_own(content: Mapping[str, Any]) -> bool:
    return any(isinstance(entry.get("x_napari_cln"), dict) for entry in content["images"])


def _own(files: Mapping[Path, Mapping[str, Any]], root: Path) -> Found:
    """The frames of all exports of training folders in a source."""
    items, used, salts, n_masks = [], set(files), set(), 0
    for path, content in files.items():
        outlines: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
        for entry in content["annotations"]:
            outlines[_id(entry.get("image_id"))].append(entry)
        n_masks += sum(map(bool, outlines.values()))
        for value in content["images"]:
            name = str(value.get("file_name", ""))
            image = path.parent / name
            used.add(image)
            read = partial(_read_own, path, image, value, tuple(outlines[_id(value.get("id"))]))
            items.append(Incoming(name=Path(name).name, read=read))
        if any(map(_has_keys, content["images"])):
            salts.add(_salt(content))
    return Found(
        kind=f"an export of a training folder ({listed(below(path, root) for path in files)})",
        items=items,
        salt=only_salt(salts, root.name),
        n_images=len(items),
        n_masks=n_masks,
        used=used,
    )


def _has_keys(value: Mapping[str, Any]) -> bool:
    record = value.get("x_napari_cln")
    return isinstance(record, dict) and has_keys(str(record.get("patient_key")), record.get("cine_key"))


def _salt(content: Mapping[str, Any]) -> str | None:
    info = content.get("info")
    salt = info.get("salt") if isinstance(info, dict) else None
    return salt if isinstance(salt, str) else None


def _read_own(
    path: Path, image: Path, value: Mapping[str, Any], outlines: Sequence[Mapping[str, Any]]
) -> Any:
    pixels = read_png(path_inside(image, (path.parent,)))
    shape = (pixels.shape[0], pixels.shape[1])
    instances = np.zeros(shape, dtype=np.uint8)
    not_judged = np.zeros(shape, dtype=bool)
    for outline in outlines:
        mask = _paint(outline.get("segmentation"), shape, shape, image.name)
        attributes = outline.get("attributes")
        node = attributes.get("node") if isinstance(attributes, dict) else None
        if node == 0:
            not_judged |= mask
        elif isinstance(node, int) and 1 <= node <= 255:
            instances[mask] = node
        else:
            raise DatasetError(
                f"An outline of {image.name} belongs to no node ({node!r}). Export the folder again."
            )
    if not isinstance(value.get("x_napari_cln"), dict):
        raise DatasetError(f"{image.name} has no record in {path.name}. Export the folder again.")
    unjudged = not_judged if not_judged.any() else None
    return parcel_of(record_of(value["x_napari_cln"], image.name), pixels, instances, unjudged)
