"""The record: everything known of one frame, as one JSON object, schema 1.

``docs/reference/training-folder.md`` lists its keys. A record of a newer schema is read as far as
it is understood and never overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, cast, get_args

from ..errors import DatasetError
from ..types import Case, Level, Node, Side, Status, Truth, TruthSource, frame_truth
from .layout import Layout

__all__ = [
    "SCHEMA",
    "Record",
    "add_history",
    "case_of",
    "checked_record",
    "describe",
    "encode",
    "has_mask",
    "node_entry",
    "nodes_of",
    "now",
]

SCHEMA = 1
Record: TypeAlias = dict[str, Any]

FINISHED = ("corrected", "accepted", "no-node")
"""Statuses of a frame whose mask a reader stands for."""
LABELLED = ("corrected", "accepted")
"""Statuses of a node that belongs in the label image."""
MERGED_WITHIN = timedelta(minutes=10)
MERGED = ("predicted", "corrected", "noted", "undone")
"""Actions whose lines of history are put together; each decision keeps a line of its own."""

_CHOICES: dict[str, tuple[Any, ...]] = {
    "status": get_args(Status),
    "truth": get_args(Truth),
    "truth_source": get_args(TruthSource),
    "level": (None, *get_args(Level)),
    "side": (None, *get_args(Side)),
}


def now() -> str:
    """UTC in ISO 8601 with seconds. For people: order comes from revision numbers, since clocks jump."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def describe(masks: int, salt: str | None) -> dict[str, Any]:
    """Content of ``dataset.json``: nnU-Net's keys, and ours under ``x_napari_cln``."""
    return {
        "channel_names": {"0": "ultrasound"},
        "labels": {"background": 0, "lymph node": 1},
        "numTraining": masks,
        "file_ending": ".png",
        "x_napari_cln": {"schema": SCHEMA, "created": now(), "salt": salt},
    }


def encode(record: Mapping[str, Any]) -> bytes:
    """A record as JSON with one key a line, so that a change shows as a short difference."""
    return (json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def checked_record(record: Record, case_id: str) -> Record:
    """Return a record when every key that :func:`case_of` needs is what it must be.

    Raises
    ------
    DatasetError
        If a key is missing or has another type or value; the message names it.
    """
    schema = record.get("schema")
    if not isinstance(schema, int) or schema < 1:
        raise _wrong(case_id, "schema", schema)
    if record.get("id") != case_id:
        raise _wrong(case_id, "id", record.get("id"))
    for key in ("patient_key", "status"):
        if not isinstance(record.get(key), str):
            raise _wrong(case_id, key, record.get(key))
    image = record.get("image")
    if not isinstance(image, dict) or not isinstance(image.get("sha256"), str):
        raise _wrong(case_id, "image", image)
    for owner, key in ((record, "revision"), (image, "rows"), (image, "columns")):
        if not isinstance(owner.get(key), int):
            raise _wrong(case_id, key, owner.get(key))
    if record["status"] not in _CHOICES["status"]:
        raise _wrong(case_id, "status", record["status"])
    history = record.get("history")
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise _wrong(case_id, "history", history)
    nodes = record.get("nodes")
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise _wrong(case_id, "nodes", nodes)
    for node in nodes:
        if not isinstance(node.get("id"), int) or not 1 <= node["id"] <= 255:
            raise _wrong(case_id, "nodes.id", node.get("id"))
        for key, choices in _CHOICES.items():
            if key in node and node[key] not in choices:
                raise _wrong(case_id, f"nodes.{key}", node[key])
    return record


def _wrong(case_id: str, key: str, value: object) -> DatasetError:
    return DatasetError(
        f"{case_id}.json has {str(value)[:60]!r} under {key!r}, which no record may have. "
        "Run `napari-cln check` on the training folder: former states are in its revisions folder."
    )


def has_mask(record: Record) -> bool:
    """Whether a label image belongs to the record."""
    return record.get("mask_sha256") is not None


def nodes_of(record: Record) -> tuple[Node, ...]:
    """The nodes of a checked record."""
    return tuple(
        Node(
            id=entry["id"],
            status=entry.get("status", "corrected"),
            truth=entry.get("truth", "unknown"),
            truth_source=entry.get("truth_source", "none"),
            level=entry.get("level"),
            side=entry.get("side"),
            p_malignant=entry.get("p_malignant"),
        )
        for entry in record["nodes"]
    )


def node_entry(node: Node) -> dict[str, Any]:
    """A node as a record keeps it; what is not known is left out."""
    entry: dict[str, Any] = {"id": node.id, "status": node.status, "truth": node.truth}
    entry["truth_source"] = node.truth_source
    for key in ("level", "side", "p_malignant"):
        if (value := getattr(node, key)) is not None:
            entry[key] = value
    return entry


def case_of(record: Record, layout: Layout) -> Case:
    """The case that a checked record describes."""
    case_id = record["id"]
    masked = has_mask(record)
    nodes = nodes_of(record)
    spacing = record.get("spacing_mm")
    source = record.get("source") or {}
    return Case(
        id=case_id,
        image=layout.image(case_id, masked),
        mask=layout.mask(case_id) if masked else None,
        instances=layout.instances(case_id) if record.get("instances_sha256") else None,
        nodes=nodes,
        truth=frame_truth(nodes),
        patient=record["patient_key"],
        cine=record.get("cine_key"),
        status=cast(Status, record["status"]),
        spacing_mm=(float(spacing[0]), float(spacing[1])) if spacing else None,
        vendor=source.get("manufacturer"),
        extra={
            "revision": record["revision"],
            "image_sha256": record["image"]["sha256"],
            "mask_sha256": record.get("mask_sha256"),
            "instances_sha256": record.get("instances_sha256"),
            "shape": (record["image"]["rows"], record["image"]["columns"]),
            "split": record.get("split"),
            "read_only": record["schema"] > SCHEMA,
        },
    )


def add_history(history: list[dict[str, Any]], entry: dict[str, Any]) -> list[dict[str, Any]]:
    """History with one more entry.

    A reader who saves after every stroke would fill the record with one line a stroke, so strokes
    of one reader that follow each other within ten minutes share a line: first and last time,
    their number, the seconds summed. What the reader decides has a line of its own, always.
    """
    if not history:
        return [entry]
    last = history[-1]
    keys = ("who", "app", "action", "model", "status", "judged_by")
    same = entry.get("action") in MERGED and all(last.get(key) == entry.get(key) for key in keys)
    if not same or _time(entry["t"]) - _time(last.get("until", last["t"])) > MERGED_WITHIN:
        return [*history, entry]
    merged = {**last, **entry, "t": last["t"], "until": entry["t"], "saves": last.get("saves", 1) + 1}
    if (spent := last.get("seconds")) is not None or entry.get("seconds") is not None:
        merged["seconds"] = round((spent or 0) + (entry.get("seconds") or 0), 1)
    return [*history[:-1], merged]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
