"""From an annotation to the pictures and the node entries that the folder keeps of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import DatasetError
from ..imaging.measurement import measure, spacing_of
from ..types import Annotation, Box, Node
from .records import FINISHED, LABELLED, node_entry

__all__ = ["Masks", "complete_nodes", "crop_instances", "describe_nodes", "masks_of"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Masks:
    """The two pictures of one state; ``None`` where the state has none."""

    label: NDArray[np.uint8] | None
    instances: NDArray[np.uint8] | None


def complete_nodes(annotation: Annotation) -> tuple[Node, ...]:
    """The nodes of an annotation, with one more for each painted id that it does not describe.

    Raises
    ------
    DatasetError
        If the annotation contradicts itself.
    """
    instances, nodes = annotation.instances, annotation.nodes
    if instances.shape != annotation.frame.shape or instances.dtype != np.uint8:
        raise DatasetError(
            f"The mask has shape {instances.shape} and dtype {instances.dtype}, the frame "
            f"{annotation.frame.shape}: save uint8 ids of the frame's own shape."
        )
    known = [node.id for node in nodes]
    if len(set(known)) < len(known) or not all(1 <= node_id <= 255 for node_id in known):
        raise DatasetError(f"The nodes have the ids {known}: give each its own, from 1 to 255.")
    painted = np.flatnonzero(np.bincount(instances.ravel(), minlength=256)[1:]) + 1
    if annotation.status == "no-node" and (painted.size or nodes):
        raise DatasetError(
            f"The frame is marked as showing no node, but has {max(painted.size, len(nodes))}. "
            "Erase them, or save the frame as corrected."
        )
    status = annotation.status
    missing = (Node(id=int(node_id), status=status) for node_id in painted if node_id not in known)
    return tuple(sorted((*nodes, *missing), key=lambda node: node.id))


def masks_of(instances: NDArray[np.uint8], nodes: tuple[Node, ...], status: str) -> Masks:
    """Label image and node ids that the folder keeps of an annotation.

    A reader stands for the label of a finished frame alone. Nodes that are known but outlined
    nowhere make a frame with a class and no mask. The ids get a file of their own where the
    label can't say them: several nodes, or one that is not accepted.
    """
    labelled = np.isin(instances, [node.id for node in nodes if node.status in LABELLED]).astype(np.uint8)
    finished = status in FINISHED and (bool(instances.any()) or not nodes)
    return Masks(
        label=labelled if finished else None,
        instances=instances
        if not (finished and np.array_equal(instances, labelled)) and instances.any()
        else None,
    )


def crop_instances(instances: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """The part of a mask inside the stored image.

    Raises
    ------
    DatasetError
        If some of the mask lies outside, where it would be lost.
    """
    row0, column0, row1, column1 = box
    inside = np.ascontiguousarray(instances[row0:row1, column0:column1])
    lost = np.count_nonzero(instances) - np.count_nonzero(inside)
    if lost:
        raise DatasetError(
            f"{lost} painted pixels lie outside the scan area that the training folder keeps of this frame "
            f"(rows {row0} to {row1}, columns {column0} to {column1}). Erase them there and save again."
        )
    return inside


def describe_nodes(annotation: Annotation, nodes: tuple[Node, ...]) -> list[dict[str, Any]]:
    """The nodes as the record keeps them, with their sizes."""
    places = ndimage.find_objects(annotation.instances)
    entries = []
    for node in nodes:
        entry = node_entry(node)
        place = places[node.id - 1] if node.id <= len(places) else None
        if place is not None:
            mask = annotation.instances == node.id
            # Its box alone: sizes do not depend on the place, and a reader waits.
            size = measure(mask[place], spacing_of(annotation.frame, mask))
            entry["area_px"] = int(size.area_px)
            for key, value in (("long_mm", size.long_axis_mm), ("short_mm", size.short_axis_mm)):
                if value is not None:
                    entry[key] = round(value, 3)
        entries.append(entry)
    return entries
