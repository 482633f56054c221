"""Import of plain folders: images, masks beside them, and a table of labels and patients."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DatasetError
from ...io.sources import read_frame
from ...types import Annotation, Frame, Node, Split, Status, Truth
from ..record import Provenance
from .columns import Row, index_files, masks_for, read_table, stem_of
from .parcel import Incoming, Meaning, Parcel, inside, node_ids, read_mask, truth_of, untouched

__all__ = ["PlainFolder", "find_plain"]

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "frames")
MASK_FOLDERS = ("masks", "mask", "segmentations", "segmentation", "annotations", "labels", "gt")
SIDES: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "tune", "tuning"), "validation"),
    **dict.fromkeys(("test", "testing", "public test", "private test", "holdout", "external"), "test"),
}


ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII")
CLINICAL: dict[str, dict[str, str]] = {
    "level": {name: level for n, level in enumerate(ROMAN, start=1) for name in (str(n), level.casefold())},
    "side": {
        **dict.fromkeys(("left", "l"), "left"),
        **dict.fromkeys(("right", "r"), "right"),
        **dict.fromkeys(("midline", "central", "middle"), "midline"),
    },
    "truth_source": {
        **dict.fromkeys(("fna", "fnac", "fna cytology", "cytology", "fnab"), "fna"),
        **dict.fromkeys(("tg", "washout tg", "tg washout", "fna tg", "thyroglobulin"), "tg"),
        **dict.fromkeys(("histology", "pathology", "surgery", "histopathology"), "histology"),
        **dict.fromkeys(("follow up", "followup"), "follow-up"),
        "none": "none",
    },
}
"""What a table's words about a frame's nodes mean; levels with a sublevel (IIA) count as the level."""


@dataclass(frozen=True, kw_only=True)
class PlainFolder:
    """Where the parts of a plain data set lie, and what its values mean.

    Parameters
    ----------
    source, images, masks : Path
        ``masks`` is None where there is no folder of masks.
    table : Path, optional
        CSV with a row per image.
    mask_values : mapping of int to str, optional
        What each value of a mask is: background, node, benign, metastatic.
    label_values : mapping of str to str, optional
        What each label is: benign, metastatic, no-node, unknown.
    clean : bool
        Crop to the scan area and paint over burned-in marks.
    """

    source: Path
    images: Path
    masks: Path | None = None
    table: Path | None = None
    mask_values: Mapping[int, Meaning] | None = None
    label_values: Mapping[str, str] | None = None
    clean: bool = True
    mask_index: Mapping[str, list[Path]] = field(default_factory=dict)

    @property
    def roots(self) -> tuple[Path, ...]:
        named = (self.source, self.images, self.masks, self.table.parent if self.table else None)
        return tuple(root for root in named if root is not None)


def find_plain(folder: PlainFolder) -> list[Incoming]:
    """The frames of a plain data set, in the order of its table, else of their names.

    Raises
    ------
    DatasetError
        If there are no images, or the table can't be used.
    """
    masks_at = folder.masks or folder.images
    folder = PlainFolder(**{**folder.__dict__, "mask_index": index_files(masks_at)})
    if folder.table is None:
        return _from_names(folder)
    rows = read_table(folder.table).rows
    if any("node" in row for row in rows):
        raise DatasetError(
            f"{folder.table.name} has one row a node, as napari-cln exports it. Import the folder that "
            "it lies in."
        )
    index = index_files(folder.images)
    return [
        Incoming(name=Path(row["image"]).name, read=partial(_read_row, folder, row, index))
        for row in rows
        if row["image"]
    ]


def _from_names(folder: PlainFolder) -> list[Incoming]:
    """Without a table: the class of an image is the name of its folder, where that is one."""
    groups = index_files(folder.images)
    same_place = folder.masks is None
    images = []
    for paths in groups.values():
        # In one folder, `scan_mask.png` is the mask of `scan.png`.
        images += [path for path in paths if not (same_place and stem_of(path) != path.stem.casefold())]
    if not images:
        raise DatasetError(
            f"No images were found in {folder.images.name}. Name their folder with --images, and the "
            "table with --labels."
        )
    return [
        Incoming(name=path.name, read=partial(_read_image, folder, path, {"label": _class_of(path)}))
        for path in sorted(images)
    ]


def _class_of(path: Path) -> str:
    try:
        truth_of(path.parent.name)
    except DatasetError:
        return ""
    return path.parent.name


def _read_row(folder: PlainFolder, row: Row, index: Mapping[str, list[Path]]) -> Parcel:
    return _read_image(folder, _find_file(row["image"], folder, folder.images, index), row)


def _find_file(name: str, folder: PlainFolder, place: Path, index: Mapping[str, list[Path]]) -> Path:
    """The file that a cell names: by its path from the table or the folder, else by its stem alone."""
    plain = Path(name.replace("\\", "/"))
    for root in (place, *folder.roots):
        candidate = root / plain
        if candidate.is_file():
            return inside(candidate, folder.roots)
    found = [path for path in index.get(stem_of(plain), ()) if path.stem.casefold() == plain.stem.casefold()]
    found = found or list(index.get(plain.name.casefold(), ()))
    if len(found) != 1:
        raise DatasetError(
            f"{plain.name} was found {len(found)} times in {place.name}. "
            "Give its path from the table's folder, or name the folder of the images with --images."
        )
    return inside(found[0], folder.roots)


def _read_image(folder: PlainFolder, path: Path, row: Row) -> Parcel:
    frame = read_frame(inside(path, folder.roots))
    meaning = truth_of(row.get("label", ""), folder.label_values)
    truth: Truth = meaning if meaning in ("benign", "metastatic") else "unknown"
    masks = _masks_of(folder, path, row)
    instances: NDArray[np.uint8] = np.zeros(frame.shape, dtype=np.uint8)
    nodes: tuple[Node, ...] = ()
    note = None
    if meaning != "no-node":
        instances, nodes = _read_nodes(folder, frame, masks, truth)
    elif any(read_mask(mask).any() for mask in masks):
        note = "its mask is left out, because its label says that it shows no node"
    if not nodes and truth != "unknown":
        nodes = (Node(id=1, status="accepted", truth=truth),)
        note = "its mask is empty: it trains the class alone" if masks else None
    clinical, unknown = _clinical(row)
    nodes = tuple(replace(node, **clinical) for node in nodes)
    note = "; ".join(part for part in (note, unknown) if part) or None
    status: Status = "accepted" if nodes else "no-node" if meaning == "no-node" else "predicted"
    annotation = Annotation(frame=frame, instances=instances, nodes=nodes, status=status, annotator="import")
    overlay = None
    if not folder.clean:
        annotation, overlay = untouched(annotation)
    patient = row.get("patient") or None
    cine = row.get("cine") or None
    about = Provenance(
        patient=patient,
        # Two patients' clips may both be called "1".
        cine=f"{patient or ''}/{cine}" if cine else None,
        who="import",
        kind="import",
        split=SIDES.get(row.get("split", "").casefold().replace("_", " ").replace("-", " ")),
        action="imported",
    )
    return Parcel(annotation=annotation, about=about, overlay=overlay, note=note)


def _clinical(row: Row) -> tuple[dict[str, Any], str | None]:
    """Level, side and truth's source of a frame's nodes, and what could not be understood."""
    clinical: dict[str, Any] = {}
    unknown = []
    for role, meanings in CLINICAL.items():
        word = re.sub(r"[\W_]+", " ", row.get(role, "")).strip().casefold()
        if role == "level":
            word = re.sub(r"^level |[ab]$", "", word).strip()
        if word in meanings:
            clinical[role] = meanings[word]
        elif word:
            unknown.append(f"its {role.replace('_', ' ')} {row[role][:20]!r} is not known, and left out")
    return clinical, "; ".join(unknown) or None


def _masks_of(folder: PlainFolder, image: Path, row: Row) -> list[Path]:
    if "mask" in row:
        place = folder.masks or folder.images
        return [_find_file(row["mask"], folder, place, folder.mask_index)] if row["mask"] else []
    return masks_for(image, folder.mask_index)


def _read_nodes(
    folder: PlainFolder, frame: Frame, masks: list[Path], truth: Truth
) -> tuple[NDArray[np.uint8], tuple[Node, ...]]:
    """Nodes of a mask; where a frame has several, all of theirs."""
    if not masks:
        return np.zeros(frame.shape, dtype=np.uint8), ()
    values = np.zeros(frame.shape, dtype=np.int64)
    several = len(masks) > 1
    for i, path in enumerate(masks, start=1):
        mask = read_mask(inside(path, folder.roots))
        if mask.shape != frame.shape:
            raise DatasetError(
                f"{path.name} has {mask.shape[0]}×{mask.shape[1]} pixels, its image "
                f"{frame.shape[0]}×{frame.shape[1]}. Export the mask again at the image's size."
            )
        if not several:
            return node_ids(mask, path.name, truth, folder.mask_values)
        ids, _ = node_ids(mask, path.name, truth, folder.mask_values)
        values[ids > 0] = i
    return node_ids(values, masks[0].name, truth, dict.fromkeys(range(1, len(masks) + 1), "node"))
