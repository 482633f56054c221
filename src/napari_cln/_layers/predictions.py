"""Predictions → Labels layers, and their words on the canvas → Points layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from ..models.card import DISCLAIMER, ModelCard
from ..study.reading import Reading, digest, node_rows, read_prediction
from ..types import Frame, Prediction
from .captions import TEXT_SIZE, Caption, captions_of, colour_on, place_at_foot
from .space import (
    CLEAR,
    FRAME_KEY,
    GREEN,
    KEY,
    ORANGE,
    PINK,
    SKY,
    SOURCE_KEY,
    YELLOW,
    LayerKind,
    LayerOptions,
    LayerTuple,
    is_stack,
    path_of,
    space_of,
    title_of,
)

if TYPE_CHECKING:
    from napari.layers import Image, Labels

NODE_COLOURS = {None: YELLOW, 0: CLEAR, 1: YELLOW, 2: SKY, 3: PINK, 4: GREEN, 5: ORANGE}

NOTES_KEY = "napari-cln notes"
"""Key in the metadata of the words on the canvas: what each model is, by its id."""

_read: WeakKeyDictionary[Prediction, Reading] = WeakKeyDictionary()


def prediction_to_layer(prediction: Prediction, like: Image | None = None) -> LayerTuple:
    """Labels layer of one frame: an id per node, its score and sizes in the features.

    Parameters
    ----------
    prediction : Prediction
    like : napari.layers.Image, optional
        The layer it was made from; its place in space is copied.
    """
    owner = prediction.frame if like is None else like
    reading = reading_of(prediction)
    options = labels_options(owner, {KEY: prediction, FRAME_KEY: reading.frame_digest})
    return prediction.instances.copy(), options | {"features": features_of([reading])}, "labels"


def cine_to_layer(like: Image) -> LayerTuple:
    """Empty Labels layer, (Y, X) or of a cine (T, Y, X), to be painted or filled frame by frame."""
    masks = np.zeros(like.data.shape[: like.ndim], dtype=np.uint8)
    return masks, labels_options(like, {KEY: {}}), "labels"


def readings_to_layer(
    readings: Iterable[Reading], notes: Mapping[str, str], like: Image | Frame
) -> LayerTuple:
    """Points layer whose text says on the canvas what was found: of each frame, and at each node.

    Parameters
    ----------
    readings : iterable of Reading
    notes : mapping of str to str
        What each model is, in a few words, by its id; stands below its numbers. Of another model the name
        alone is told.
    like : napari.layers.Image or Frame
        What they were made from; its place in space is copied, and a cine's texts get its
        frame axis.
    """
    captions: list[Caption] = []
    places: list[tuple[float, ...]] = []
    rows: list[dict[str, Any]] = []
    metadata: dict[str, Any] = {KEY: LayerKind.MALIGNANCY, NOTES_KEY: dict(notes)}
    for reading in readings:
        metadata.setdefault(FRAME_KEY, reading.frame_digest)
        rows += node_rows(reading)
        note = notes.get(reading.model_id)
        name = reading.model_id.rpartition("@")[0] or reading.model_id
        of_frame = captions_of(reading, note or f"{name} · {DISCLAIMER}", like)
        places += [(reading.index, caption.row, caption.column) for caption in of_frame]
        captions += of_frame
    features = _columns(rows) | {
        "text": [caption.text for caption in captions],
        "text_colour": [caption.colour for caption in captions],
    }
    options = _text_options(like) | {"name": f"{title_of(like)} · malignancy", "features": features}
    options["metadata"] = metadata
    data = np.array(places, dtype=float).reshape(-1, 3)
    return data[:, -options["ndim"] :], options, "points"


def message_to_layer(message: str, like: Image | Frame) -> LayerTuple:
    """Points layer that says on the canvas why a frame has no prediction."""
    features = {"text": [message], "text_colour": [colour_on(like, message)]}
    metadata: dict[str, str] = {KEY: LayerKind.MALIGNANCY}
    if isinstance(like, Frame):
        metadata[FRAME_KEY] = digest(like.pixels)
    options = _text_options(like) | {"name": f"{title_of(like)} · not segmented", "features": features}
    return np.array([place_at_foot(like)]), options | {"metadata": metadata}, "points"


def model_note(card: ModelCard) -> str:
    """Return the words about a model on the canvas: name, first limit, disclaimer; the dock has them all."""
    first, *others = f"{card.name} · {card.limits}".split(". ")
    disclaimer = [sentence for sentence in others if "not for diagnosis" in sentence][:1]
    return "\n".join(f"{sentence.rstrip('.')}." for sentence in [first, *disclaimer])


def features_of(readings: Sequence[Reading], *, cine: bool = False) -> dict[str, list[Any]]:
    """Features table of a Labels layer.

    For one frame, row i belongs to label i, as napari has it, and row 0 to the frame. In a
    cine a label means another node in every frame: its rows carry an ``index`` that is no
    label, so that napari never shows one frame's numbers on another.
    """
    rows = [row for reading in readings for row in node_rows(reading)]
    columns = _columns(rows)
    if cine:
        columns["index"] = [1000 * (row["frame"] + 1) + row["node"] for row in rows]
    return columns


def reading_of(prediction: Prediction) -> Reading:
    """Return the reading of a prediction: measured once, in whichever thread asks first."""
    if (reading := _read.get(prediction)) is None:
        reading = _read[prediction] = read_prediction(prediction)
    return reading


def readings_of(labels: Labels) -> dict[int, Reading]:
    """Return the readings of a Labels layer, by frame; empty for a layer of another kind."""
    known = labels.metadata.get(KEY)
    if isinstance(known, Prediction):
        return {0: reading_of(known)}
    return dict(known) if isinstance(known, Mapping) else {}


def at_cutoff(prediction: Prediction, cutoff: float) -> Prediction:
    """Return a prediction at another cutoff; its nodes are not measured again."""
    if prediction.cutoff == cutoff:
        return prediction
    moved = replace(prediction, cutoff=cutoff)
    _read[moved] = reading_of(prediction).at(cutoff)
    return moved


def replace_readings(
    labels: Labels,
    of_still: Callable[[Prediction], Prediction],
    of_cine: Callable[[Reading], Reading],
) -> bool:
    """Change what a Labels layer says of its frames, and tell whether it says anything else then.

    Parameters
    ----------
    labels : napari.layers.Labels
    of_still, of_cine : callable
        Change the prediction of a still, and the reading of each frame of a cine.
    """
    known = labels.metadata.get(KEY)
    now: Prediction | dict[int, Reading] | None = None
    if isinstance(known, Prediction):
        now = of_still(known)
    elif isinstance(known, Mapping):
        now = {index: of_cine(reading) for index, reading in known.items()}
    if now is None or now == known:
        return False
    labels.metadata[KEY] = now  # a dict of its own: a duplicated layer shares the old one
    return True


def labels_options(owner: Image | Frame, metadata: LayerOptions) -> LayerOptions:
    """Place, name and colours of a Labels layer of nodes."""
    return space_of(owner) | {
        "name": f"{title_of(owner)} · nodes",
        "metadata": metadata | {SOURCE_KEY: path_of(owner)},
        "colormap": NODE_COLOURS,
        "opacity": 0.35,
    }


def _text_options(owner: Image | Frame) -> LayerOptions:
    return space_of(owner) | {
        "ndim": 3 if is_stack(owner) else 2,
        "text": {
            "string": {"feature": "text"},
            "color": {"feature": "text_colour"},
            "size": TEXT_SIZE,
            "anchor": "upper_left",  # the words lie above the point, whatever the zoom
        },
        "size": 1,
        "face_color": "transparent",
        "border_color": "transparent",
    }


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
