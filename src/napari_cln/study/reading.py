"""A prediction in words and numbers: figures per node, and one sentence.

Tables, canvas and docks all show these, so that they never disagree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..annotation import Node
from ..imaging.measurement import Measurement, bounds, measure_nodes, unsure_share
from ..imaging.overlay import NodeFlow, flow_of_nodes
from ..types import CLASS_NAMES, Box, Doubt, Prediction

NOTHING_FOUND = "no node found"


@dataclass(frozen=True, kw_only=True)
class NodeReading:
    """One node of a :class:`Reading`.

    Parameters
    ----------
    score : float
        Malignancy in [0, 1].
    size : Measurement
    box : (int, int, int, int)
        Rows and columns ``(row0, column0, row1, column1)``, half-open, in frame pixels.
    flow : NodeFlow, optional
        None for a frame without Doppler.
    doubt : Doubt, optional
        None for a model that does not know.
    signs : str
        What was measured of it beside its size, in words.
    """

    score: float
    size: Measurement
    box: Box
    flow: NodeFlow | None = None
    doubt: Doubt | None = None
    signs: str = ""

    @property
    def fact(self) -> str:
        """All that was measured of it, in words."""
        return _fact(self.size, self.signs)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A prediction without its arrays: a cine of 500 frames keeps 500 of these.

    Parameters
    ----------
    index : int
        Position of the frame in its cine.
    malignancy : float
        Score in [0, 1] of the frame.
    label : str
        ``"malignant"``, ``"benign"`` or ``"no node found"``.
    cutoff : float
    model_id : str
    nodes : tuple of NodeReading
        In the order of their ids.
    frame_digest, mask_digest : str
        Content of the pixels it was made from, and of the masks it found.
    frame_score : float, optional
        Malignancy in [0, 1] of the frame as a whole.
    unsure : float, optional
        From :func:`napari_cln.imaging.measurement.unsure_share`.
    flag : str
        Why not to rely on it; empty where nothing speaks against it.
    doubt : Doubt, optional
        About the frame; None for a model that does not know.
    """

    index: int
    malignancy: float
    label: str
    cutoff: float
    model_id: str
    nodes: tuple[NodeReading, ...]
    frame_digest: str
    mask_digest: str
    frame_score: float | None = None
    unsure: float | None = None
    flag: str = ""
    doubt: Doubt | None = None

    def label_of(self, score: float) -> str:
        """Name of a score at the cutoff."""
        return CLASS_NAMES[int(score >= self.cutoff)]

    def at(self, cutoff: float) -> Reading:
        """Return the same reading at another cutoff."""
        moved = replace(self, cutoff=cutoff)
        return moved if self.label == NOTHING_FOUND else replace(moved, label=moved.label_of(self.malignancy))

    def at_scale(self, mm_per_px: float) -> Reading:
        """Return the same reading with its sizes at another scale, of square pixels."""
        nodes = (replace(node, size=node.size.at_scale(mm_per_px)) for node in self.nodes)
        return replace(self, nodes=tuple(nodes))

    def sentences(self, known: Mapping[int, Node] | None = None) -> tuple[str, ...]:
        """Put each node into a sentence for the text of a report.

        Parameters
        ----------
        known : mapping of int to Node, optional
            What a reader said of a node, by its id: its level and side are named.
        """
        scores, facts = [node.score for node in self.nodes], [node.fact for node in self.nodes]
        return _sentences(self, scores, facts, known or {})


def digest(array: NDArray[Any]) -> str:
    """Content hash of an array: of its values, its type and its shape.

    Parameters
    ----------
    array : ndarray
        Of any shape and dtype, both of which count.
    """
    array = np.ascontiguousarray(array)
    content = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=16)
    content.update(array.data)
    return content.hexdigest()


def read_prediction(prediction: Prediction) -> Reading:
    """Take from a prediction what is shown of it."""
    places = ndimage.find_objects(prediction.instances, len(prediction.node_scores))
    boxes = [(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in places]
    sizes = measure_nodes(prediction)
    flows = flow_of_nodes(prediction.flow, prediction.instances, range(1, len(boxes) + 1))
    doubts = prediction.node_doubts or (None,) * len(boxes)
    signs = _signs(prediction, flows)
    return Reading(
        index=prediction.frame.index,
        malignancy=prediction.malignancy,
        label=prediction.label,
        cutoff=prediction.cutoff,
        model_id=prediction.model_id,
        nodes=tuple(
            NodeReading(score=score, size=size, box=box, flow=flow, doubt=doubt, signs=sign)
            for score, size, box, flow, doubt, sign in zip(
                prediction.node_scores, sizes, boxes, flows, doubts, signs, strict=True
            )
        ),
        frame_digest=digest(prediction.frame.pixels),
        mask_digest=digest(prediction.instances),
        frame_score=float(prediction.class_probabilities["malignant"]),
        unsure=unsure_share(prediction),
        flag=prediction.flag,
        doubt=prediction.doubt,
    )


def node_rows(reading: Reading) -> list[dict[str, Any]]:
    """Table of a frame: row 0 for the frame itself, then a row per node.

    Sizes are NaN where there is none to give: for the frame, and in mm without calibration.
    """
    common = {"frame": reading.index, "cutoff": reading.cutoff, "model": reading.model_id}
    whole = {"node": 0, "malignancy": reading.malignancy, "label": reading.label}
    rows = [whole | common | _doubt_column(reading.doubt) | size_columns(None) | flow_columns(None)]
    for number, node in enumerate(reading.nodes, start=1):
        own = {"node": number, "malignancy": node.score, "label": reading.label_of(node.score)}
        rows.append(
            own | common | _doubt_column(node.doubt) | size_columns(node.size) | flow_columns(node.flow)
        )
    return rows


def _doubt_column(doubt: Doubt | None) -> dict[str, str]:
    return {"doubt": "" if doubt is None else doubt.level}


def flow_columns(flow: NodeFlow | None) -> dict[str, float | str | None]:
    """Flow of one node as table columns; NaN and None, which napari hides, where there is no Doppler."""
    nothing = float("nan")
    if flow is None:
        return {"flow_share": nothing, "flow_central_share": nothing, "flow_pattern": None}
    central = nothing if flow.central_share is None else flow.central_share
    return {"flow_share": flow.share, "flow_central_share": central, "flow_pattern": flow.pattern}


def size_columns(size: Measurement | None) -> dict[str, float]:
    """Sizes of one node as table columns; NaN where the measurement says None."""
    names = (
        "short_axis_mm",
        "long_axis_mm",
        "area_mm2",
        "axis_ratio",
        "short_axis_px",
        "long_axis_px",
        "area_px",
    )
    values = [None if size is None else getattr(size, name) for name in names]
    return {
        name: float("nan") if value is None else float(value)
        for name, value in zip(names, values, strict=True)
    }


def describe_reading(reading: Reading) -> str:
    """One sentence: score, label at the cutoff, short axis of the most suspicious node.

    Examples
    --------
    ``malignancy 0.83 → malignant at cutoff 0.41 · short axis 6.4 mm``
    """
    if reading.label == NOTHING_FOUND:
        return f"no node found · malignancy of the frame {reading.malignancy:.2f}"
    sentence = f"malignancy {reading.malignancy:.2f} → {reading.label} at cutoff {reading.cutoff:.2f}"
    if not reading.nodes:
        return sentence
    worst = max(reading.nodes, key=lambda node: node.score)
    if len(reading.nodes) > 1:
        sentence += f" · {len(reading.nodes)} nodes, the most suspicious with"
    else:
        sentence += " ·"
    return f"{sentence} short axis {short_axis(worst.size)}"


ECHO = 10.0
"""Grey levels between a node and the tissue around it from which on they count as unlike."""


def node_sentences(
    prediction: Prediction, sizes: Sequence[Measurement], flows: Sequence[NodeFlow | None]
) -> tuple[str, ...]:
    """Put each node into a sentence for the text of a report.

    What is not known is left out: nothing is guessed, and no network writes.

    Parameters
    ----------
    prediction : Prediction
    sizes, flows : sequence
        Of each node.

    Returns
    -------
    tuple of str
        In the order of the nodes' ids.

    Examples
    --------
    ``Node 1, left level III: 12.3 × 6.4 mm (long × short, ratio 1.9), darker than the tissue around it, hilar
    flow. Malignancy score 0.83 of default@0123456789ab, at or above its cutoff 0.41: malignant. For research,
    not for diagnosis.``
    """
    signs = _signs(prediction, flows)
    facts = [_fact(size, sign) for size, sign in zip(sizes, signs, strict=True)]
    return _sentences(prediction, prediction.node_scores, facts, {})


def _sentences(
    found: Prediction | Reading, scores: Sequence[float], facts: Sequence[str], known: Mapping[int, Node]
) -> tuple[str, ...]:
    sentences = []
    for node, (score, fact) in enumerate(zip(scores, facts, strict=True), start=1):
        said = known.get(node, Node(id=node))
        place = " ".join(filter(None, (said.side, f"level {said.level}" if said.level else "")))
        cutoff = "at or above" if score >= found.cutoff else "below"
        parts = (
            f"Node {node}{f', {place}' if place else ''}: {fact}.",
            f"Malignancy score {score:.2f} of {found.model_id}, {cutoff} its cutoff {found.cutoff:.2f}: "
            f"{found.label_of(score)}.",
            found.flag,
            "For research, not for diagnosis.",
        )
        sentences.append(" ".join(filter(None, parts)))
    return tuple(sentences)


def _fact(size: Measurement, signs: str) -> str:
    return ", ".join(filter(None, (_size_text(size), signs)))


def _signs(prediction: Prediction, flows: Sequence[NodeFlow | None]) -> tuple[str, ...]:
    """What was measured of each node beside its size, in words."""
    stiffness = prediction.stiffness or (None,) * len(flows)
    return tuple(
        ", ".join(
            filter(
                None,
                (
                    _echo_text(prediction, node),
                    _flow_text(flow),
                    "" if stiff is None else f"stiffness at {stiff:.0%} of the colour bar",
                ),
            )
        )
        for node, (flow, stiff) in enumerate(zip(flows, stiffness, strict=True), start=1)
    )


def _size_text(size: Measurement) -> str:
    if size.long_axis_mm is not None and size.short_axis_mm is not None:
        axes = f"{size.long_axis_mm:.1f} × {size.short_axis_mm:.1f} mm"
    else:
        axes = f"{size.long_axis_px:.0f} × {size.short_axis_px:.0f} px, without calibration"
    ratio = "" if size.axis_ratio is None else f", ratio {size.axis_ratio:.1f}"
    return f"{axes} (long × short{ratio})"


def _echo_text(prediction: Prediction, node: int) -> str:
    """Brightness of a node against the tissue around it; empty where colour lies over either."""
    mask = prediction.instances == node
    place = bounds(mask)
    if place is None or prediction.notes:
        return ""
    margin = max(4, round(0.25 * float(np.sqrt(np.count_nonzero(mask)))))
    around = tuple(slice(max(0, part.start - margin), part.stop + margin) for part in place)
    inside, grey = mask[around], prediction.frame.grey[around]
    away = ndimage.distance_transform_edt(~inside)
    rim = (away > margin / 3) & (away <= margin) & (prediction.instances[around] == 0)
    if not rim.any():
        return ""
    difference = float(np.median(grey[inside])) - float(np.median(grey[rim]))
    if abs(difference) < ECHO:
        return "as bright as the tissue around it"
    return f"{'darker' if difference < 0 else 'brighter'} than the tissue around it"


def _flow_text(flow: NodeFlow | None) -> str:
    if flow is None:
        return ""
    return "no flow" if flow.pattern == "none" else f"{flow.pattern} flow"


def short_axis(size: Measurement) -> str:
    """Short axis with its unit: mm where calibrated, else pixels."""
    if size.short_axis_mm is None:
        return f"{size.short_axis_px:.0f} px"
    return f"{size.short_axis_mm:.1f} mm"
