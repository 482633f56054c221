"""COCO annotations, in and out: one file of nodes with run-length codes or polygons."""

from __future__ import annotations

import json
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import polygon2mask

from ...disk.atomic import read_bytes
from ...disk.rle import decode_rle, encode_rle
from ...errors import DatasetError
from ...io.sources import read_frame
from ...types import Annotation, Node, Truth
from ..pictures import encode_png, read_png
from ..record import Provenance, record_of, value_of
from .parcel import Incoming, Meaning, Parcel, inside, meaning_of, untouched
from .stored import StoredFrame, parcel_of

__all__ = ["CocoWriter", "find_coco", "is_coco"]

MAX_BYTES = 2**30
CATEGORY = {"id": 1, "name": "lymph node", "supercategory": "anatomy"}


def is_coco(path: Path) -> bool:
    """Whether a file starts like a JSON object with COCO's keys."""
    with path.open("rb") as file:
        head = file.read(2**16)
    return head.lstrip().startswith(b"{") and any(key in head for key in (b'"images"', b'"annotations"'))


class CocoWriter:
    """Collects frames for one ``annotations.json``; the images lie beside it."""

    def __init__(self, dest: Path) -> None:
        self._dest = dest
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        (dest / "images").mkdir()

    def add(self, frame: StoredFrame) -> None:
        """Add one frame with all its nodes, each in its own annotation."""
        name = f"images/{frame.case.id}.png"
        (self._dest / name).write_bytes(encode_png(frame.image))
        number = len(self._images) + 1
        rows, columns = frame.image.shape
        entry = {"id": number, "file_name": name, "height": rows, "width": columns}
        self._images.append(entry | {"x_napari_cln": value_of(frame.record)})
        places = ndimage.find_objects(frame.instances)
        for node in frame.record.nodes:
            place = places[node.id - 1] if node.id <= len(places) else None
            if place is None:
                continue
            mask = frame.instances == node.id
            y, x = place
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": number,
                    "category_id": CATEGORY["id"],
                    "segmentation": {"size": [rows, columns], "counts": encode_rle(mask)},
                    "area": int(mask.sum()),
                    "bbox": [x.start, y.start, x.stop - x.start, y.stop - y.start],
                    "iscrowd": 0,
                    "attributes": {"node": node.id, "truth": node.truth, "status": node.status},
                }
            )

    def close(self) -> None:
        """Write the annotations."""
        content = {
            "info": {"description": "napari-cln training folder", "version": "1"},
            "images": self._images,
            "annotations": self._annotations,
            "categories": [CATEGORY],
        }
        (self._dest / "annotations.json").write_text(json.dumps(content))


def find_coco(
    table: Path, images: Path, label_values: dict[str, str] | None = None, *, clean: bool = False
) -> list[Incoming]:
    """The frames of a COCO file.

    A category names the nodes' truth where it is one (``malignant``), else nodes whose truth is
    not known. An image without annotations waits to be looked at: COCO does not say whether
    anybody looked.

    Raises
    ------
    DatasetError
        If the file is not COCO.
    """
    try:
        content = json.loads(read_bytes(table, MAX_BYTES))
        categories = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        outlines: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for entry in content["annotations"]:
            outlines[entry["image_id"]].append(entry)
        entries = [(str(entry["file_name"]), entry) for entry in content["images"]]
        truths = {key: meaning_of(name, label_values) for key, name in categories.items()}
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as cause:
        raise DatasetError(
            f"{table.name} is not a COCO file: it must have images, annotations and categories. Export "
            "it again."
        ) from cause
    for key, meaning in truths.items():
        if meaning is None and len(truths) > 1:
            raise DatasetError(
                f"{table.name} has the category {categories[key]!r}. Say what it is, for example "
                f'--label-values "{categories[key]}=background" (or node, benign, metastatic).'
            )
    return [
        Incoming(
            name=Path(name).name,
            read=partial(
                _read, images / name.replace("\\", "/"), images, entry, outlines[entry["id"]], truths, clean
            ),
        )
        for name, entry in entries
    ]


def _read(
    path: Path,
    root: Path,
    entry: dict[str, Any],
    outlines: list[dict[str, Any]],
    truths: dict[int, Meaning | None],
    clean: bool,
) -> Parcel:
    if isinstance(record := entry.get("x_napari_cln"), dict):
        image = read_png(inside(path, (root,)))
        return parcel_of(record_of(record, path.name), image, _paint(outlines, image.shape, path.name))
    frame = read_frame(inside(path, (root,)))
    outlines = [outline for outline in outlines if truths.get(outline.get("category_id", 0)) != "background"]
    numbered = [{**outline, "attributes": {"node": i}} for i, outline in enumerate(outlines, start=1)]
    instances = _paint(numbered, frame.shape, path.name)
    nodes = tuple(
        Node(id=i, status="accepted", truth=_truth(truths.get(outline.get("category_id", 0))))
        for i, outline in enumerate(outlines, start=1)
        if (instances == i).any()
    )
    annotation = Annotation(
        frame=frame,
        instances=instances,
        nodes=nodes,
        status="accepted" if nodes else "predicted",
        annotator="import",
    )
    overlay = None
    if not clean:
        annotation, overlay = untouched(annotation)
    about = Provenance(who="import", kind="import", action="imported")
    return Parcel(annotation=annotation, about=about, overlay=overlay)


def _truth(meaning: Meaning | None) -> Truth:
    return meaning if meaning in ("benign", "metastatic") else "unknown"


def _paint(outlines: list[dict[str, Any]], shape: tuple[int, ...], name: str) -> NDArray[np.uint8]:
    """Ids of the nodes from their outlines; a later one lies over an earlier."""
    instances = np.zeros(shape, dtype=np.uint8)
    for outline in outlines:
        try:
            node_id = int(outline["attributes"]["node"])
            code = outline["segmentation"]
            if isinstance(code, dict):
                mask = decode_rle(code["counts"], (int(code["size"][0]), int(code["size"][1])))
            else:
                mask = np.zeros(shape, dtype=bool)
                for ring in code:
                    corners = np.asarray(ring, dtype=float).reshape(-1, 2)[:, ::-1]
                    mask |= polygon2mask(shape, corners - 0.5)
            if not 1 <= node_id <= 255:
                raise ValueError(f"node {node_id}")
            instances[mask] = node_id
        except (KeyError, TypeError, ValueError, IndexError) as cause:
            raise DatasetError(
                f"An outline of {name} can't be read ({cause}). Export the annotations again."
            ) from cause
    return instances
