"""Pictures of masks into nodes, beside the images they belong to.

What is no mask is refused, and what a value means is never guessed.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence
from scipy import ndimage

from ...annotation import LABELLED, Node
from ...errors import DatasetError, FrameReadError, listed
from ...imaging.measurement import TOUCHING
from ...io.depth import upright
from ...io.sources import open_source
from ...io.terms import Segment
from ...io.volumes import check_same_place, is_volume, read_volume
from ...types import Frame, Truth
from ..pictures import MAX_PIXELS
from .columns import Labels
from .imported import Drawn, ImportOptions, Outlines, below
from .meaning import Meaning, meaning_of
from .pairing import pair_masks

LONELY = "is a mask without an image of its name, or fits several"
IDS = "ids"
"""For ``mask_values``: each value of a mask is a node of its own."""
VOC_VOID = (224, 224, 192)
"""Colour that Pascal VOC gives to index 255: the border that nobody judged."""
MAX_KINDS = 16
MAX_NODES = 255
NEAR_GREY = 24
SOLID = 5
"""Pixels around one within which the areas of a mask have one value."""
LEAST_EXTREME = 0.5
"""Share of the pixels that are not background which a smoothed mask has near its largest value."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskPicture:
    """Values of a mask file.

    Parameters
    ----------
    values : ndarray of int, shape (H, W)
        0 is background; a colour is ``0xrrggbb``.
    in_colour : bool
        Whether the values are colours.
    void : int, optional
        The value of what nobody judged, where the format says it.
    notes : tuple of str
    segments : tuple of Segment
        What the values are, where the file says it.
    """

    values: NDArray[np.int64]
    in_colour: bool = False
    void: int | None = None
    notes: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()

    def name(self, value: int) -> str:
        """A value as the user writes it."""
        return f"#{value:06x}" if self.in_colour else str(value)


def mask_meanings(options: ImportOptions) -> dict[str, Meaning] | None:
    """Meaning of each value of a mask; None where the user says nothing.

    Raises
    ------
    DatasetError
        If a meaning is not known.
    """
    meanings: dict[str, Meaning] = {}
    for value, text in options.mask_values.items():
        meaning = meaning_of(text)
        if meaning is None or meaning in ("no-node", "unknown"):
            raise DatasetError(
                f"--mask-values {value}={text} is not known.",
                "Use background, node, benign, metastatic or not-judged.",
            )
        if value != IDS and not re.fullmatch(r"\d+|#[0-9a-fA-F]{6}", value.strip()):
            raise DatasetError(
                f"--mask-values {value}={text}: {value!r} is no value of a mask.",
                "Give a number, a colour such as #ff0000, or ids.",
            )
        meanings[value] = meaning
    return meanings or None


def count_pages(path: Path) -> int:
    """Pages of a mask file; 1 for a file that can't be read, which says so when it is."""
    if path.suffix.casefold() not in (".tif", ".tiff", ".gif", ".png"):
        return 1
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return int(getattr(image, "n_frames", 1))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 1


def read_mask(path: Path, page: int = 0) -> MaskPicture:
    """Read the values of a mask file.

    Transparency is no value: what is transparent is background. Colours of one hue that only differ in
    strength are shades of one value, as the borders of a smoothed or JPEG mask.

    Parameters
    ----------
    path : Path
    page : int
        Page of a file of several.

    Returns
    -------
    MaskPicture

    Raises
    ------
    DatasetError
        If it is no readable image, too large, or looks like a picture instead of a mask.
    """
    if is_volume(path):
        return _of_volume(path)
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            if image.width * image.height > MAX_PIXELS:
                raise DatasetError(
                    f"{path.name} has {image.width}×{image.height} pixels, too many for a mask. Check the "
                    "file."
                )
            shown: Image.Image = image
            if page:
                shown = next(frame for i, frame in enumerate(ImageSequence.Iterator(image)) if i == page)
            return _picture(shown, path.name, lossy=image.format in ("JPEG", "MPO"))
    except DatasetError:
        raise
    except FileNotFoundError as cause:
        raise DatasetError(f"{path.name}, its mask, is missing. Add it, or leave the image out.") from cause
    except (
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        EOFError,
        StopIteration,
        MemoryError,
        OverflowError,
        Image.DecompressionBombError,
    ) as cause:
        raise DatasetError(f"{path.name} is not a readable mask. Export it again as PNG.") from cause


def _of_volume(path: Path) -> MaskPicture:
    try:
        volume = read_volume(path)
    except FrameReadError as cause:
        raise DatasetError(str(cause)) from cause
    if volume.values.ndim != 2:
        raise DatasetError(f"{path.name} is in colour, so it is no mask. Export the label map itself.")
    if volume.segments:
        return MaskPicture(values=volume.values.astype(np.int64), segments=volume.segments)
    return _grey(volume.values.astype(np.float64), path.name)


def _picture(image: Image.Image, name: str, *, lossy: bool) -> MaskPicture:
    mode = image.mode
    palette = (image.getpalette() or []) if mode == "P" else []
    # A palette whose first colour is not black numbers nothing: its colours are what one sees.
    if mode == "P" and "transparency" not in image.info and not any(palette[:3]):
        void = 255 if tuple(palette[765:768]) == VOC_VOID else None
        return MaskPicture(values=np.asarray(image).astype(np.int64), void=void)
    if mode in ("1", "L") and "transparency" not in image.info:
        return _grey(np.asarray(image).astype(np.float64), name, lossy=lossy)
    if mode.startswith(("I", "F")):
        return _grey(np.asarray(image).astype(np.float64), name)
    rgba = np.asarray(image.convert("RGBA"))
    colours = rgba[..., :3].astype(np.int64)
    # Half of the strongest: an overlay is exported as faint as it was drawn.
    colours[rgba[..., 3] < max(1, int(rgba[..., 3].max(initial=0)) / 2)] = 0
    return _coloured(colours, name, lossy=lossy)


def _grey(values: NDArray[np.float64], name: str, *, lossy: bool = False) -> MaskPicture:
    if not np.isfinite(values).all():
        raise DatasetError(f"{name} holds values that are no numbers. Export the mask again as PNG.")
    if values.min() < 0:
        raise DatasetError(f"{name} holds the value {values.min():g}, below 0. Export the mask again as PNG.")
    whole = np.rint(values)
    if np.array_equal(whole, values):
        return _shades(whole.astype(np.int64), name, lossy=lossy)
    if (most := values.max()) <= 1:
        if most < 0.5:
            raise DatasetError(
                f"{name} is a picture of probabilities, and none reaches 0.5 (the largest is {most:.2f}). "
                "Export the mask that they stand for as PNG."
            )
        note = "its mask is a picture of probabilities, taken from 0.5 up"
        return MaskPicture(values=(values >= 0.5).astype(np.int64), notes=(note,))
    return _shades(whole.astype(np.int64), name)


def _shades(values: NDArray[np.int64], name: str, *, lossy: bool = False) -> MaskPicture:
    """Few values as they are; the shades of a smoothed or compressed mask as one."""
    if np.unique(values).size - 1 <= (1 if lossy else MAX_KINDS):
        return MaskPicture(values=values)
    most = int(values.max())
    beyond = values[values > 0.2 * most]
    if most <= MAX_NODES and _are_ids(values):
        return MaskPicture(values=values)
    if (beyond >= 0.8 * most).mean() < LEAST_EXTREME:
        raise DatasetError(
            f"{name} looks like a picture, not like a mask: most of its {np.unique(values).size} grey values "
            "lie between black and white. Give the mask itself, as PNG with 0 for background."
        )
    note = f"the grey borders of its mask were cut at {most / 2:.0f}, half of its largest value"
    return MaskPicture(values=(values > most / 2).astype(np.int64), notes=(note,))


def _are_ids(values: NDArray[np.int64]) -> bool:
    """Tell whether a mask of many values looks like ids: 1, 2, …, n, each of them in few pieces."""
    found = np.unique(values[values > 0])
    if not np.array_equal(found, np.arange(1, found.size + 1)):
        return False
    # The borders of shades are many thin lines; nodes are whole.
    same = (values[1:, 1:] == values[:-1, 1:]) & (values[1:, 1:] == values[1:, :-1])
    inner = values[1:, 1:] > 0
    return bool(same[inner].mean() > 0.7) if inner.any() else False


def _coloured(colours: NDArray[np.int64], name: str, *, lossy: bool) -> MaskPicture:
    red, green, blue = (colours[..., i] for i in range(3))
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    if spread.max(initial=0) == 0:
        return _shades(red, name, lossy=lossy)
    codes = (red << 16) | (green << 8) | blue
    kinds, counts = np.unique(codes[codes > 0], return_counts=True)
    if kinds.size <= (1 if lossy else MAX_KINDS):
        return MaskPicture(values=codes, in_colour=True)
    if spread.max() <= NEAR_GREY:  # a grey mask that was saved as a JPEG in colour
        return _shades((299 * red + 587 * green + 114 * blue) // 1000, name, lossy=lossy)
    strongest = int(kinds[np.argmax(counts)])
    hue = np.array([strongest >> 16, (strongest >> 8) & 255, strongest & 255], dtype=np.float64)
    scale = colours @ hue / (hue @ hue)
    if np.abs(colours - scale[..., None] * hue).max() <= 2 * NEAR_GREY:
        return _shades(np.rint(255 * np.clip(scale, 0, 1)).astype(np.int64), name, lossy=lossy)
    raise DatasetError(
        f"{name} has {kinds.size} colours, so it looks like a picture, not like a mask. Give the mask "
        "itself, as PNG with one colour for each kind."
    )


def looks_like_a_mask(pixels: NDArray[np.uint8]) -> bool:
    """Tell whether a picture that is given as a frame looks like a mask: few flat areas of few values.

    Borders that were smoothed or compressed are passed over. Ultrasound has speckle, so hardly a pixel of
    it equals its neighbours where it is not black.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W) or (H, W, 3)
    """
    if has_two_values(pixels):
        return True
    grey = (pixels if pixels.ndim == 2 else pixels.max(axis=2)).astype(np.int64)
    most = int(grey.max(initial=0))
    shown = grey > 0.1 * most
    inner = ndimage.binary_erosion(shown, iterations=SOLID)
    if inner.sum() < 0.3 * shown.sum():
        return False
    span = ndimage.maximum_filter(grey, SOLID) - ndimage.minimum_filter(grey, SOLID)
    if (span[inner] <= 0.03 * most).mean() < 0.9:
        return False
    counts = np.bincount(grey[inner])
    kinds = [value for value in np.argsort(counts)[-3:] if counts[value]]
    near = np.any([np.abs(grey - value) <= 0.06 * most for value in kinds], axis=0)
    return bool((near & shown).sum() > 0.8 * shown.sum())


def has_two_values(pixels: NDArray[np.uint8]) -> bool:
    """Tell whether a picture has two values or colours, or one.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W) or (H, W, 3)
    """
    flat = pixels.reshape(-1, pixels.shape[2]) if pixels.ndim == 3 else pixels.reshape(-1, 1)
    kinds = np.zeros(256, dtype=bool)
    kinds[flat[:, 0]] = True
    return bool(kinds.sum() <= 2) and len(np.unique(flat, axis=0)) <= 2


def drawn(
    picture: MaskPicture, name: str, truth: Truth, meanings: Mapping[str, Meaning] | None = None
) -> Drawn:
    """Nodes of a mask: pieces that touch, also by a corner, are one node.

    Parameters
    ----------
    picture : MaskPicture
    name : str
        For messages.
    truth : str
        Of nodes whose value says none.
    meanings : mapping of str to str, optional
        What each value is; ``ids`` among its keys says that each is a node of its own.

    Returns
    -------
    Drawn
        Nodes from the largest to the smallest; by their own ids, where the values are ids.

    Raises
    ------
    DatasetError
        If a value's meaning is not known, or there are over 255 nodes.
    """
    if picture.segments:
        return drawn_segments(picture.values.astype(np.uint8), picture.segments, name, meanings)
    values = picture.values
    found = [int(value) for value in np.unique(values) if value]
    not_judged = None
    if picture.void in found and not (meanings and str(picture.void) in meanings):
        not_judged = values == picture.void
        found.remove(picture.void)
    if meanings and IDS in meanings:
        return _by_ids(values, found, name, truth, not_judged, picture)
    known = {_code(key, picture): meaning for key, meaning in (meanings or {}).items()}
    if not known:
        if len(found) > 1:
            raise DatasetError(_unexplained(picture, found, name))
        known = dict.fromkeys(found, "node")
    if unknown := [value for value in found if value not in known]:
        raise DatasetError(
            f"{name} has the value {picture.name(unknown[0])}, which --mask-values does not explain. Add it."
        )
    pieces: list[tuple[int, Truth, NDArray[np.bool_]]] = []
    for value in found:
        meaning = known[value]
        if meaning == "not-judged":
            unjudged = values == value
            not_judged = unjudged if not_judged is None else not_judged | unjudged
        elif meaning in ("node", "benign", "metastatic"):
            own_truth: Truth = truth if meaning == "node" else meaning
            pieces += [(int(piece.sum()), own_truth, piece) for piece in pieces_of(values == value)]
    if len(pieces) > MAX_NODES:
        raise DatasetError(
            f"{name} has {len(pieces)} separate pieces, more than the {MAX_NODES} nodes a frame can have. It "
            "may be a picture instead of a mask."
        )
    pieces.sort(key=lambda piece: -piece[0])
    instances = np.zeros(values.shape, dtype=np.uint8)
    for node_id, (_, _, mask) in enumerate(pieces, start=1):
        instances[mask] = node_id
    nodes = (Node(id=i, status="accepted", truth=piece[1]) for i, piece in enumerate(pieces, start=1))
    return Drawn(instances=instances, nodes=tuple(nodes), not_judged=not_judged, notes=picture.notes)


def drawn_segments(
    values: NDArray[np.uint8],
    segments: Sequence[Segment],
    name: str,
    meanings: Mapping[str, Meaning] | None = None,
) -> Drawn:
    """Nodes of a segmentation whose segments have codes and labels; each segment is one node.

    Parameters
    ----------
    values : ndarray of uint8, shape (H, W)
        Number of the segment to which each pixel belongs.
    segments : sequence of Segment
    name : str
        For messages.
    meanings : mapping of str to str, optional
        What segments are, by number; by code and label otherwise.

    Raises
    ------
    DatasetError
        If it is not known what a segment is.
    """
    instances = np.zeros(values.shape, dtype=np.uint8)
    not_judged = None
    nodes: list[Node] = []
    for segment in segments:
        inside = values == segment.number
        meaning = _meaning_of_segment(segment, name, meanings)
        if meaning == "not-judged":
            not_judged = inside if not_judged is None else not_judged | inside
        elif meaning != "background" and inside.any():
            truth: Truth = meaning if meaning in ("benign", "metastatic") else "unknown"
            node = replace(segment.node, id=len(nodes) + 1, truth=truth)
            nodes.append(replace(node, status="accepted") if node.status in LABELLED else node)
            instances[inside] = len(nodes)
    return Drawn(instances=instances, nodes=tuple(nodes), not_judged=not_judged)


def _meaning_of_segment(segment: Segment, name: str, meanings: Mapping[str, Meaning] | None) -> Meaning:
    said = (meanings or {}).get(str(segment.number))
    if said is not None:
        return said
    meaning = "node" if segment.is_node else meaning_of(segment.label)
    if meaning in ("node", "benign", "metastatic", "background", "not-judged"):
        return meaning
    raise DatasetError(
        f"{name} has the segment {segment.number}, {segment.label[:40]!r}, whose code is no lymph node's.",
        f"Say what it is, for example --mask-values {segment.number}=node (or background, benign, "
        "metastatic, not-judged).",
    )


def _by_ids(
    values: NDArray[np.int64],
    found: list[int],
    name: str,
    truth: Truth,
    not_judged: NDArray[np.bool_] | None,
    picture: MaskPicture,
) -> Drawn:
    if len(found) > MAX_NODES:
        raise DatasetError(
            f"{name} has {len(found)} values, more than the {MAX_NODES} nodes a frame can have."
        )
    instances = np.zeros(values.shape, dtype=np.uint8)
    for node_id, value in enumerate(found, start=1):
        instances[values == value] = node_id
    nodes = tuple(Node(id=i, status="accepted", truth=truth) for i in range(1, len(found) + 1))
    return Drawn(instances=instances, nodes=nodes, not_judged=not_judged, notes=picture.notes)


def _code(key: str, picture: MaskPicture) -> int:
    """A value as the user wrote it; -1 where it can't be one of this mask's."""
    text = key.strip()
    try:
        if text.startswith("#"):
            return int(text[1:], 16) if picture.in_colour else -1
        return -1 if picture.in_colour else int(text)
    except ValueError:
        return -1


def _unexplained(picture: MaskPicture, found: list[int], name: str) -> str:
    say = picture.name
    areas = [f"{say(value)} ({int((picture.values == value).sum())} px)" for value in found]
    what = "colours" if picture.in_colour else "values"
    return (
        f"{name} has the {what} {listed(areas, 6)}. Say what they are, for example --mask-values "
        f"{say(found[0])}=node {say(found[1])}=background; or, where each is a node of its own, "
        f"--mask-values {IDS}."
    )


def pieces_of(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Connected pieces; specks under a hundredth of the largest go with it, as slips of the brush."""
    labels, n = ndimage.label(mask, structure=TOUCHING)
    areas = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    largest = int(np.argmax(areas))
    nodes = [i for i in range(n) if areas[i] * 100 >= areas[largest]]
    if len(nodes) > MAX_NODES:  # the caller refuses them: no picture of each is needed
        return [mask] * len(nodes)
    pieces = [labels == i + 1 for i in nodes]
    pieces[nodes.index(largest)] |= mask & ~np.isin(labels, np.array(nodes) + 1)
    return pieces


# ------------------------------------------------------------ of the images they lie beside


def find_masks(root: Path, options: ImportOptions, labels: Labels | None) -> Outlines:
    """Pictures of masks beside the images, paired by their paths or named by a table.

    Raises
    ------
    DatasetError
        If there are no images, or the table names files that can't be told.
    """
    images = Path(options.images) if options.images is not None else None
    masks = Path(options.masks) if options.masks is not None else None
    pairs = pair_masks(root, images, masks)
    meanings = mask_meanings(options)
    by_name = labels is not None and "mask" in labels.roles
    draw: dict[Path, Callable[[Frame], Drawn]] = {}
    if not by_name:
        for image, paths in pairs.masks.items():
            draw[image] = partial(draw_masks, image, tuple(paths), meanings, options)
        for image, reason in pairs.refused.items():
            draw[image] = partial(_refuse, f"{image.name}: {reason}")
    lonely = () if by_name else pairs.lonely
    return Outlines(
        kind="a folder of pictures with masks" if draw or by_name else "a folder of pictures",
        draw=draw,
        images=tuple(pairs.images),
        refused={below(path, root): LONELY for path in lonely},
    )


def _refuse(reason: str, _frame: Frame) -> Drawn:
    raise DatasetError(reason)


def draw_masks(
    image: Path,
    masks: Sequence[Path],
    meanings: Mapping[str, Meaning] | None,
    options: ImportOptions,
    frame: Frame,
    truth: Truth = "unknown",
) -> Drawn:
    """Nodes of the masks of an image; where it has several, all of theirs."""
    return mask_together(image, [read_on(mask, frame, meanings, options, truth) for mask in masks], masks)


def mask_together(image: Path, parts: Sequence[Drawn], masks: Sequence[Path]) -> Drawn:
    """Nodes of several masks of one frame, numbered through."""
    if len(parts) == 1:
        return parts[0]
    instances = np.zeros(parts[0].instances.shape, dtype=np.uint8)
    nodes: list[Node] = []
    not_judged = None
    for part in parts:
        for node in part.nodes:
            if len(nodes) == 255:
                raise DatasetError(
                    f"The masks of {image.name} have more than the 255 nodes a frame can have."
                )
            nodes.append(replace(node, id=len(nodes) + 1))
            instances[part.instances == node.id] = len(nodes)
        if part.not_judged is not None:
            not_judged = part.not_judged if not_judged is None else not_judged | part.not_judged
    hidden = [node.id for node in nodes if not (instances == node.id).any()]
    if hidden:
        raise DatasetError(
            f"The masks of {image.name} lie over each other: {listed(mask.name for mask in masks)}. Leave "
            "out the one that does not hold."
        )
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    return Drawn(instances=instances, nodes=tuple(nodes), not_judged=not_judged, notes=notes)


def read_on(
    path: Path, frame: Frame, meanings: Mapping[str, Meaning] | None, options: ImportOptions, truth: Truth
) -> Drawn:
    """Read what one mask file says of a frame, turned as the frame was.

    Raises
    ------
    DatasetError
        If the mask lies elsewhere than the frame, or is of another size.
    """
    if is_volume(path) and frame.source is not None:
        try:
            check_same_place(frame.source, path)
        except FrameReadError as cause:
            raise DatasetError(str(cause)) from cause
    picture = read_mask(path, frame.index if count_pages(path) > 1 else 0)
    notes = picture.notes
    turn = _orientation(frame)
    if turn != 1:
        stored = frame.shape[::-1] if turn > 4 else frame.shape
        as_stored = turn > 4 and picture.values.shape == stored != frame.shape
        if as_stored or options.turn_masks:
            picture = replace(picture, values=np.ascontiguousarray(upright(picture.values, turn)))
            notes += ("its picture is turned upright as the camera noted, and its mask with it",)
        else:
            notes += (
                "its picture is turned upright as the camera noted; its mask was taken as drawn on the "
                "upright picture (--turn-masks, if it was drawn on the stored one)",
            )
    if picture.values.shape != frame.shape:
        raise DatasetError(
            f"{path.name} has {picture.values.shape[0]}×{picture.values.shape[1]} pixels, its image "
            f"{frame.shape[0]}×{frame.shape[1]}. Export the mask again at the image's size."
        )
    return replace(drawn(picture, path.name, truth, meanings), notes=notes)


def _orientation(frame: Frame) -> int:
    """EXIF orientation with which a frame's file was read; 1 for upright."""
    if frame.source is None:
        return 1
    with open_source(frame.source) as source:
        return int(getattr(source, "orientation", 1))
