"""Pictures of a training folder: grey PNG without metadata, and what is kept of a frame and its masks."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from ..disk.atomic import MAX_PNG_BYTES, read_bytes
from ..errors import DatasetError
from ..imaging.measurement import measure, spacing_of
from ..imaging.preprocessing import find_overlay, find_scan_area, paint_over
from ..types import NOT_JUDGED, Annotation, Box, Frame, Node
from .record import FINISHED, LABELLED, NodeEntry, hash_pixels, node_entry

__all__ = [
    "MAX_PIXELS",
    "Masks",
    "complete_nodes",
    "crop_frame",
    "crop_instances",
    "decode_png",
    "describe_nodes",
    "encode_png",
    "hashes_of",
    "label_of",
    "masks_of",
    "read_png",
]

MAX_PIXELS = 2**26


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """A grey PNG of pixels (H, W) and nothing else: no text, no time, no resolution."""
    buffer = io.BytesIO()
    # Level 1: a mask is small whatever the level, and a reader waits after every stroke.
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def decode_png(data: bytes, name: str) -> NDArray[np.uint8]:
    """Pixels (H, W) of a grey 8-bit PNG.

    Raises
    ------
    DatasetError
        If it is no whole grey 8-bit PNG, or too large.
    """
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            if image.mode not in ("L", "P", "1") or image.width * image.height > MAX_PIXELS:
                raise DatasetError(
                    f"{name} is a {image.width}×{image.height} PNG of mode {image.mode}, not an 8-bit grey "
                    "one. Import it with `napari-cln import` instead of copying it into the folder."
                )
            return np.array(image, dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as cause:
        raise DatasetError(
            f"{name} is not a whole PNG. Run `napari-cln check` on the training folder to repair it."
        ) from cause


def read_png(path: Path) -> NDArray[np.uint8]:
    """Pixels (H, W) of a PNG in the folder; links are not followed.

    Raises
    ------
    DatasetError
        If it is missing or no readable grey PNG.
    """
    try:
        data = read_bytes(path, MAX_PNG_BYTES)
    except OSError as cause:
        raise DatasetError(
            f"{path.name} can't be read ({cause.strerror}). Run `napari-cln check` on the training folder."
        ) from cause
    return decode_png(data, path.name)


def crop_frame(
    frame: Frame, mask: NDArray[np.bool_], overlay: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.uint8], Box]:
    """Cut out of a frame what a folder keeps: the scan area, and the box of a mask that leaves it.

    Burned-in marks are painted over, and what lies in neither of the two is black: names and dates
    stand beside the scan area.

    Parameters
    ----------
    frame : Frame
    mask : ndarray of bool, shape (H, W)
    overlay : ndarray of bool, shape (H, W), optional
        The marks, where they are known; found by :func:`napari_cln.find_overlay` otherwise.

    Returns
    -------
    image : ndarray of uint8, shape (h, w)
    box : (int, int, int, int)
        Where it lies in the frame.
    """
    area = frame.scan_area or find_scan_area(frame)
    kept = np.zeros(frame.shape, dtype=bool)
    kept[area[0] : area[2], area[1] : area[3]] = True
    rows, columns = np.nonzero(mask)
    if rows.size:
        kept[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    rows, columns = np.nonzero(kept)
    box = int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1
    inside = (slice(box[0], box[2]), slice(box[1], box[3]))
    if overlay is None:
        overlay = find_overlay(frame, box)
    image = paint_over(frame.grey[inside], overlay[inside])
    image[~kept[inside]] = 0
    return image, box


@dataclass(frozen=True, kw_only=True, eq=False)
class Masks:
    """The two pictures of one state; ``None`` where the state has none.

    ``label`` has 0 for background, 1 for nodes and 2 for what nobody judged.
    """

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


def masks_of(
    instances: NDArray[np.uint8],
    nodes: tuple[Node, ...],
    status: str,
    not_judged: NDArray[np.bool_] | None = None,
) -> Masks:
    """Label image and node ids that the folder keeps of an annotation.

    A reader stands for the label of a finished frame alone. Nodes that are known but outlined
    nowhere make a frame with a class and no mask. The ids get a file of their own where the
    label can't say them: several nodes, or one that is not accepted.
    """
    labelled = label_of(instances, nodes)
    finished = status in FINISHED and (bool(instances.any()) or not nodes)
    says_all = finished and np.array_equal(instances, labelled)
    if not_judged is not None:
        labelled[not_judged & (instances == 0)] = NOT_JUDGED
    return Masks(
        label=labelled if finished else None,
        instances=instances if instances.any() and not says_all else None,
    )


def label_of(instances: NDArray[np.uint8], nodes: Iterable[Node]) -> NDArray[np.uint8]:
    """Label image of a mask of ids: 1 where a node is that a reader stands for."""
    return np.isin(instances, [node.id for node in nodes if node.status in LABELLED]).astype(np.uint8)


def hashes_of(masks: Masks) -> dict[str, str | None]:
    """The keys by which a record and its pictures are known to belong together."""
    return {
        "mask_sha256": None if masks.label is None else hash_pixels(masks.label),
        "instances_sha256": None if masks.instances is None else hash_pixels(masks.instances),
    }


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


def describe_nodes(annotation: Annotation, nodes: tuple[Node, ...]) -> tuple[NodeEntry, ...]:
    """The nodes as the record keeps them, with their sizes."""
    places = ndimage.find_objects(annotation.instances)
    entries = []
    for node in nodes:
        sizes: dict[str, float] = {}
        place = places[node.id - 1] if node.id <= len(places) else None
        if place is not None:
            mask = annotation.instances == node.id
            # Its box alone: sizes do not depend on the place, and a reader waits.
            size = measure(mask[place], spacing_of(annotation.frame, mask))
            sizes["area_px"] = int(size.area_px)
            for key, value in (("long_mm", size.long_axis_mm), ("short_mm", size.short_axis_mm)):
                if value is not None:
                    sizes[key] = round(float(value), 3)
        entries.append(node_entry(node, **sizes))
    return tuple(entries)
