"""A training folder as pictures and one table with a row per node, out and in."""

from __future__ import annotations

import csv
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...disk.schema import JsonObject
from ...disk.tables import read_table
from ...errors import DatasetError
from ..pictures import encode_png, hash_pixels, read_png
from ..record import SCHEMA, record_of
from .imported import Found, ImportedFrame, Incoming, TableUse, path_inside
from .stored import ExportedFrame, has_keys, only_salt, parcel_of

TABLE = "labels.csv"
NODE = ("truth", "truth_source", "level", "side", "p_malignant")
UNJUDGED = "not_judged"
SALT = "salt"
COLUMNS = (
    "image",
    "mask",
    UNJUDGED,
    "frame_id",
    "patient_key",
    "cine_key",
    "split",
    "status",
    "row_mm",
    "column_mm",
    "node",
    "node_status",
    *NODE,
    SALT,
)
"""``mask`` is a picture of the nodes' ids, ``not_judged`` one of what nobody judged; ``node`` is the id of
the row's node in the first, ``salt`` the fingerprint of the salt of the keys."""


class CsvWriter:
    """Writes pictures, and at the end the table.

    Parameters
    ----------
    dest : Path
    salt : str or None
        Fingerprint of the salt of the keys.
    """

    def __init__(self, dest: Path, salt: str | None) -> None:
        self._dest, self._salt = dest, salt
        self._rows: list[dict[str, object]] = []
        for name in ("images", "masks"):
            (dest / name).mkdir()

    def add(self, frame: ExportedFrame) -> None:
        """Add one frame: a row per node, or one row where there is none."""
        record = frame.record
        name = f"{record.id}.png"
        (self._dest / "images" / name).write_bytes(encode_png(frame.image))
        painted = frame.instances.any()
        if painted:
            (self._dest / "masks" / name).write_bytes(encode_png(frame.instances))
        unjudged = frame.not_judged
        if unjudged is not None:
            (self._dest / UNJUDGED).mkdir(exist_ok=True)
            (self._dest / UNJUDGED / name).write_bytes(encode_png(unjudged.astype(np.uint8)))
        spacing = frame.spacing_mm or (None, None)
        row = {
            "image": f"images/{name}",
            "mask": f"masks/{name}" if painted else None,
            UNJUDGED: f"{UNJUDGED}/{name}" if unjudged is not None else None,
            "frame_id": record.id,
            "row_mm": spacing[0],
            "column_mm": spacing[1],
            SALT: self._salt,
        }
        row |= {key: getattr(record, key) for key in ("patient_key", "cine_key", "split", "status")}
        for node in record.nodes or (None,):
            own = {} if node is None else {"node": node.id, "node_status": node.status}
            self._rows.append(row | own | {key: getattr(node, key, None) for key in NODE})

    def close(self) -> None:
        """Write the table."""
        with (self._dest / TABLE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self._rows)


def is_own_table(path: Path) -> bool:
    """Tell whether napari-cln wrote the table."""
    try:
        return set(COLUMNS) <= {*read_table(path).headings, UNJUDGED, SALT}
    except DatasetError:
        return False


def find_csv(table: Path) -> Found:
    """The frames of a table that napari-cln wrote.

    Raises
    ------
    DatasetError
        If the table is damaged.
    """
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    content = read_table(table)
    for row in content.rows:
        rows[row["frame_id"]].append(row)
    files = {row[key] for row in content.rows for key in ("image", "mask", UNJUDGED) if row.get(key)}
    salts = {row.get(SALT) or None for row in content.rows if has_keys(row["patient_key"], row["cine_key"])}
    return Found(
        kind=f"an export of a training folder ({table.name})",
        items=[Incoming(name=name, read=partial(_read, table.parent, name, rows[name])) for name in rows],
        n_images=len(rows),
        n_masks=len({row["mask"] for row in content.rows if row["mask"]}),
        used={table, *(table.parent / name for name in files)},
        tables=(TableUse(name=table.name, read_as=content.read_as, used={name: name for name in COLUMNS}),),
        salt=only_salt(salts, table.name),
    )


def _read(folder: Path, frame_id: str, rows: list[dict[str, str]]) -> ImportedFrame:
    first = rows[0]
    image = read_png(path_inside(folder / first["image"], (folder,)))
    instances: NDArray[np.uint8] = np.zeros(image.shape, dtype=np.uint8)
    if first["mask"]:
        instances = read_png(path_inside(folder / first["mask"], (folder,)))
    unjudged = None
    if first.get(UNJUDGED):
        unjudged = read_png(path_inside(folder / first[UNJUDGED], (folder,))) > 0
    rows_n, columns_n = image.shape
    try:
        value: JsonObject = {
            "schema": SCHEMA,
            "id": frame_id,
            "revision": 1,
            "status": first["status"],
            "patient_key": first["patient_key"],
            "cine_key": first["cine_key"] or None,
            "split": first["split"] or None,
            "image": {"sha256": hash_pixels(image), "rows": rows_n, "columns": columns_n},
            "source": {
                "kind": "import",
                "rows": rows_n,
                "columns": columns_n,
                "crop": [0, 0, columns_n, rows_n],
            },
            "spacing_mm": [float(first["row_mm"]), float(first["column_mm"])] if first["row_mm"] else None,
            "spacing_source": "typed" if first["row_mm"] else None,
            "nodes": [_node(row) for row in rows if row["node"]],
            "history": [],
        }
    except (ValueError, KeyError) as cause:
        raise DatasetError(
            f"The rows of {frame_id} are damaged ({cause}). Export the folder again."
        ) from cause
    return parcel_of(record_of(value, frame_id), image, instances, unjudged)


def _node(row: dict[str, str]) -> dict[str, object]:
    node: dict[str, object] = {"id": int(row["node"]), "status": row["node_status"]}
    node |= {key: row[key] for key in ("truth", "truth_source", "level", "side") if row[key]}
    if row["p_malignant"]:
        node["p_malignant"] = float(row["p_malignant"])
    return node
