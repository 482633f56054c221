"""What every importer hands over: an annotated frame that is read only when its turn comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from ...errors import DatasetError
from ...types import Annotation, Node, Truth
from ..pictures import MAX_PIXELS
from ..record import Provenance, Record

__all__ = [
    "Incoming",
    "Meaning",
    "Parcel",
    "inside",
    "meaning_of",
    "node_ids",
    "read_mask",
    "truth_of",
    "untouched",
]

Meaning: TypeAlias = Literal["background", "node", "benign", "metastatic", "no-node", "unknown"]

_MEANINGS: dict[str, Meaning] = {
    **dict.fromkeys(
        ("malignant", "malignancy", "metastatic", "metastasis", "metastases", "cancer"), "metastatic"
    ),
    **dict.fromkeys(("benign", "reactive", "hyperplastic", "inflammatory"), "benign"),
    **dict.fromkeys(("normal", "no node", "no nodule", "none", "negative frame"), "no-node"),
    **dict.fromkeys(("", "unknown", "na", "n/a", "nan", "?", "undetermined", "indeterminate"), "unknown"),
    **dict.fromkeys(("node", "nodes", "lymph node", "lymph nodes", "ln", "lymphnode"), "node"),
    **dict.fromkeys(("background", "bg", "other", "ignore"), "background"),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Parcel:
    """One frame on its way into a training folder.

    ``stored`` is set where another training folder wrote it: its record then says everything, and
    the pixels are taken over as they are.
    """

    annotation: Annotation
    about: Provenance
    overlay: NDArray[np.bool_] | None = None
    stored: Record | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Incoming:
    """A frame that can be read: its name for messages, and how."""

    name: str
    read: Callable[[], Parcel] = field(repr=False)


def meaning_of(text: str, own: Mapping[str, str] | None = None) -> Meaning | None:
    """What a word in a label column, a class list or an option stands for; ``None`` if not known."""
    word = " ".join(text.casefold().replace("_", " ").replace("-", " ").split())
    if own:
        translated = {key.strip().casefold(): value for key, value in own.items()}
        if (choice := translated.get(text.strip().casefold())) is not None:
            word = " ".join(choice.casefold().replace("_", " ").replace("-", " ").split())
    return _MEANINGS.get(word)


def truth_of(text: str, own: Mapping[str, str] | None = None) -> Meaning:
    """Truth of a frame from a word in a table.

    Raises
    ------
    DatasetError
        If the word is not known: a class is never guessed.
    """
    meaning = meaning_of(text, own)
    if meaning not in ("benign", "metastatic", "no-node", "unknown"):
        raise DatasetError(
            f"The label {text[:40]!r} is not known. Say what it means, for example "
            f'--label-values "{text[:40]}=benign" (or metastatic, no-node, unknown).'
        )
    return meaning


def inside(path: Path, roots: tuple[Path, ...]) -> Path:
    """The path, when it lies in one of the folders that the user named; links are resolved.

    Raises
    ------
    DatasetError
        If it lies outside: a table from elsewhere must not reach into other folders.
    """
    resolved = path.resolve()
    if not any(resolved.is_relative_to(root.resolve()) for root in roots):
        raise DatasetError(
            f"{path.name} lies outside the folders of the import. Name its folder with --images or --masks."
        )
    return path


def read_mask(path: Path) -> NDArray[np.int64]:
    """Values (H, W) of a mask file: palette indices, grey values, or the largest of the channels.

    Raises
    ------
    DatasetError
        If it is no readable image, or too large.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DatasetError(
                    f"{path.name} has {image.width}×{image.height} pixels, too many for a mask. Check "
                    "the file."
                )
            values = np.asarray(image.convert("RGB") if image.mode in ("RGBA", "CMYK") else image)
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as cause:
        raise DatasetError(f"{path.name} is not a readable mask. Export it again as PNG.") from cause
    return np.asarray(values.max(axis=2) if values.ndim == 3 else values, dtype=np.int64)


def node_ids(
    values: NDArray[np.int64], name: str, truth: Truth, meanings: Mapping[int, Meaning] | None = None
) -> tuple[NDArray[np.uint8], tuple[Node, ...]]:
    """Nodes of a mask: pieces that touch, also by a corner, are one node.

    Parameters
    ----------
    values : ndarray of int, shape (H, W)
    name : str
        For messages.
    truth : str
        Of nodes whose value says none.
    meanings : mapping of int to str, optional
        What each value is.

    Returns
    -------
    instances : ndarray of uint8, shape (H, W)
        Largest first.
    nodes : tuple of Node

    Raises
    ------
    DatasetError
        If a value's meaning is not known, or there are over 255 nodes.
    """
    found = [int(value) for value in np.unique(values) if value]
    if meanings is None:
        if len(found) > 16 and max(found) <= 255:
            # A mask that was saved as JPEG, or smoothed: grey borders.
            values, found = (values > 127).astype(np.int64), [1]
        if len(found) > 1:
            raise DatasetError(
                f"{name} has the values {', '.join(map(str, found))}. Say what they are, for example "
                f"--mask-values {found[0]}=node {found[1]}=background."
            )
        meanings = dict.fromkeys(found, "node")
    if unknown := [value for value in found if value not in meanings]:
        raise DatasetError(
            f"{name} has the value {unknown[0]}, which --mask-values does not explain. Add it."
        )
    pieces: list[tuple[int, Truth, NDArray[np.bool_]]] = []
    for value in found:
        meaning = meanings[value]
        if meaning in ("node", "benign", "metastatic"):
            own_truth: Truth = truth if meaning == "node" else meaning
            pieces += [(int(piece.sum()), own_truth, piece) for piece in _pieces(values == value)]
    if len(pieces) > 255:
        raise DatasetError(
            f"{name} has {len(pieces)} separate pieces, more than the 255 nodes a frame can have."
        )
    pieces.sort(key=lambda piece: -piece[0])
    instances = np.zeros(values.shape, dtype=np.uint8)
    for node_id, (_, _, mask) in enumerate(pieces, start=1):
        instances[mask] = node_id
    nodes = (Node(id=i, status="accepted", truth=piece[1]) for i, piece in enumerate(pieces, start=1))
    return instances, tuple(nodes)


def _pieces(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Connected pieces; specks under a hundredth of the largest go with it, as slips of the brush."""
    labels, n = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    largest = int(np.argmax(areas))
    nodes = [i for i in range(n) if areas[i] * 100 >= areas[largest]]
    pieces = [labels == i + 1 for i in nodes]
    pieces[nodes.index(largest)] |= mask & ~np.isin(labels, np.array(nodes) + 1)
    return pieces


def untouched(annotation: Annotation) -> tuple[Annotation, NDArray[np.bool_]]:
    """An annotation whose frame is stored as it is: all of it is scan area, nothing is painted over."""
    shape = annotation.frame.shape
    frame = replace(annotation.frame, scan_area=(0, 0, *shape))
    return replace(annotation, frame=frame), np.zeros(shape, dtype=bool)
