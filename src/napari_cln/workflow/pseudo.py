"""Masks that no reader drew: outlines from calipers on the screen, and sure ones of a model as pseudo-labels.

Both are predictions, to be looked at. A pseudo-label is nobody's judgement: its record says ``predicted``,
names the model, and has the action ``pseudo``; no label image belongs to it, and nothing trains on it unless
``train --pseudo`` asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..annotation import Annotation, Case, Node
from ..errors import FrameReadError, PredictionError
from ..folder.dataset import TrainingFolder
from ..folder.formats.imported import SuggestedMask
from ..folder.record import FROM_CALIPERS, PSEUDO, Provenance, Record
from ..folder.screens import refuse_held
from ..imaging.crosses import find_calipers
from ..imaging.measurement import unsure_share
from ..io.sources import Source, as_frame
from ..study.statistics.metrics import dice
from ..types import Box, Frame, Prediction

if TYPE_CHECKING:
    from ..network.inference import Segmenter
    from ..network.model import Network

__all__ = ["PseudoStep", "outline_calipers", "pseudo_label"]

OUTLINED = "its nodes were outlined from calipers on the screen, as predictions: look at each"
AMBIGUOUS = "some of its caliper crosses can't be told apart, and nothing was outlined from these"
MOST_NODES = 255
WHO = "napari-cln pseudo"
MOST_UNSURE = 0.15
"""Share of a mask whose border is uncertain, up to which it is kept."""
LEAST_AGREEMENT = 0.9
"""Dice with what is drawn on the mirrored frame, and between the networks of an ensemble, that it needs."""


@dataclass(frozen=True, kw_only=True)
class PseudoStep:
    """One frame that was looked at.

    Parameters
    ----------
    id : str
        In the training folder; empty for a file, or a frame of it, that can't be read.
    why : str
        Why its mask was not kept; empty where it was.
    """

    id: str
    why: str = ""


def pseudo_label(
    folder: TrainingFolder | Path | str,
    *,
    model: str | Path | Network = "in-use",
    scans: Sequence[str | Path] = (),
    device: str = "auto",
) -> Iterator[PseudoStep]:
    """Draw masks on the frames of a training folder that nobody labelled, and keep the sure ones.

    A mask is kept where the frame is like the training data, the model's own doubt (where it has one) says
    that the result is sure, at most 15 % of the mask is uncertain, and the mirrored frame gets the same mask
    to a Dice of 0.9, as does the frame by each network of an ensemble alone. Earlier pseudo-labels are drawn
    anew, and taken back where the mask is not sure now. Outlines from calipers, and masks that were carried
    or interpolated from other frames, are left to a reader.

    Parameters
    ----------
    folder : TrainingFolder or path
    model, device
        As for :func:`napari_cln.segment_batch`.
    scans : sequence of path
        Files, folders and patterns of frames that join the folder where they get a mask; of cines every tenth
        frame.

    Yields
    ------
    PseudoStep
        As each frame is done.

    Raises
    ------
    DatasetError
        If the folder is damaged, held frames are among them, or it can't be written.
    FrameReadError, WeightsError, DeviceError
        If the scans, the model or the device can't be had.
    """
    from ..network.inference import Segmenter
    from ..network.model import Network
    from ..network.weights import load_model
    from ..training.unlabelled import read_frames_of

    study = folder if isinstance(folder, TrainingFolder) else TrainingFolder.open(folder)
    study.dataset.check_writable()
    undecided = [case for case in study.cases() if _is_waiting(case)]
    readers = {case.id: why for case in undecided if case.instances and (why := _left_to_reader(study, case))}
    waiting = [case for case in undecided if case.id not in readers]
    refuse_held(study, (case.id for case in waiting), "Labelling")
    frames = read_frames_of(scans) if scans else ()
    network = model if isinstance(model, Network) else load_model(fspath(model))
    alone = network.members if len(network.members) > 1 else ()
    segmenters = [Segmenter(one, device) for one in (network, *alone)]
    known, left_out = set(study.ids()), study.dataset.left_out
    done = {case.id for case in undecided}
    try:
        for id_, why in readers.items():
            yield PseudoStep(id=id_, why=why)
        for case in waiting:
            yield _labelled(study, case.id, study.read_frame(case), segmenters, case)
        for frame in frames:
            if isinstance(frame, FrameReadError):
                yield PseudoStep(id="", why="a file or frame that can't be read")
                continue
            if (id_ := study.identify(frame)) in done:
                continue
            done.add(id_)
            if id_ in known:
                yield PseudoStep(id=id_, why="the folder had the frame already")
            elif id_ in left_out:
                yield PseudoStep(id=id_, why="a reader has left the frame out")
            else:
                yield _labelled(study, id_, frame, segmenters)
    finally:
        study.dataset.recount()


def _is_waiting(case: Case) -> bool:
    """Tell whether nobody has said anything of a frame's nodes."""
    said = any(node.status != "predicted" or node.truth != "unknown" for node in case.nodes)
    return case.status == "predicted" and case.mask is None and not said and case.split != "test"


def _left_to_reader(study: TrainingFolder, case: Case) -> str:
    """Reason why a mask that no reader drew is not drawn anew; empty where it is."""
    from ..io.dicom.objects.findings import Algorithm

    record = study.record(case.id)
    origin = record.last.model if record.last else None
    if any(line.action == FROM_CALIPERS and line.model == origin for line in record.history):
        return "outlined from calipers: a reader has to look first"
    if origin and Algorithm(model_id=origin).moves_masks:
        return "carried or interpolated from other frames: a reader has to look first"
    return ""


def _labelled(
    study: TrainingFolder, id_: str, frame: Frame, segmenters: Sequence[Segmenter], case: Case | None = None
) -> PseudoStep:
    instances, why = _drawn(frame, segmenters)
    former = study.record(id_) if case else None
    if why and not (case and case.instances and former and _is_own(former)):
        return PseudoStep(id=id_, why=why)
    count = int(instances.max())
    annotation = Annotation(
        frame=frame,
        instances=instances,
        nodes=tuple(Node(id=number, status="predicted") for number in range(1, count + 1)),
        status="predicted",
        annotator=WHO,
        note=former.note if former else "",
        based_on=segmenters[0].model.model_id,
    )
    about = Provenance(who=WHO, action=PSEUDO)
    study.keep(annotation, about, expected_revision=case.revision if case else None, count=False)
    return PseudoStep(id=id_, why=why)


def _is_own(record: Record) -> bool:
    """Tell whether the mask of a frame is a pseudo-label, whatever was noted of the frame since."""
    drawn = next((line for line in reversed(record.history) if line.action != "noted"), None)
    return drawn is not None and drawn.action == PSEUDO


def _drawn(frame: Frame, segmenters: Sequence[Segmenter]) -> tuple[NDArray[np.uint8], str]:
    """Mask of a frame, all 0 where it is not sure, and the reason why it is not."""
    segmenter, *members = segmenters
    nothing = np.zeros(frame.shape, np.uint8)
    one, other = segmenter.predict([frame, _mirrored(frame)])
    if isinstance(one, PredictionError) or isinstance(other, PredictionError):
        return nothing, "the model gives no finite number"
    why = _reason_against(one, other)
    if not why and not all(_agrees(one, member, frame) for member in members):
        why = "the networks of the ensemble draw other masks"
    return (nothing if why else one.instances), why


def _agrees(one: Prediction, member: Segmenter, frame: Frame) -> bool:
    """Tell whether a network of an ensemble draws alone what all draw together."""
    (alone,) = member.predict([frame])
    if isinstance(alone, PredictionError):
        return False
    return dice(one.instances > 0, alone.instances > 0) >= LEAST_AGREEMENT


def _mirrored(frame: Frame) -> Frame:
    """The frame left for right, with all that is known of its places."""
    width = frame.shape[1]

    def turned(box: Box) -> Box:
        return box[0], width - box[3], box[2], width - box[1]

    return replace(
        frame,
        pixels=np.ascontiguousarray(frame.pixels[:, ::-1]),
        scan_area=None if frame.scan_area is None else turned(frame.scan_area),
        regions=tuple(replace(region, box=turned(region.box)) for region in frame.regions),
        channels={name: np.ascontiguousarray(plane[:, ::-1]) for name, plane in frame.channels.items()},
    )


def _reason_against(one: Prediction, other: Prediction) -> str:
    """Reason why a mask is not sure enough; empty where it is."""
    if not one.instances.any():
        return "nothing was found"
    if one.status != "ok":
        return "unlike the training data"
    if one.doubt is not None and one.doubt.level != "sure":
        return "the model doubts its result"
    unsure = unsure_share(one)
    if unsure is not None and unsure > MOST_UNSURE:
        return "the border is uncertain"
    if dice(one.instances > 0, other.instances[:, ::-1] > 0) < LEAST_AGREEMENT:
        return "the mirrored frame gets another mask"
    return ""


# ------------------------------------------------------------ calipers on the screen


def outline_calipers(frame: Source) -> SuggestedMask:
    """Outline every node that was measured on a frame's screen.

    Parameters
    ----------
    frame : path-like, Frame or ndarray

    Returns
    -------
    SuggestedMask
        ``instances``, uint8 (H, W): 0 background; 1, 2, … the nodes, the largest first, inside the scan
        area. All 0 where no calipers are seen. For ``suggest`` of :func:`napari_cln.import_study`.

    Raises
    ------
    FrameReadError
        If the frame can't be read.
    WeightsError
        If the network's files are damaged.

    Notes
    -----
    The network sees the frame with its marks painted over. Where a pixel lies in two outlines, the smaller
    node has it.
    """
    from ..network.outline import load_outline_net, outliner_of

    shown = as_frame(frame)
    instances = np.zeros(shown.shape, dtype=np.uint8)
    found = find_calipers(shown)
    if not found.nodes and not found.left_over:
        return SuggestedMask(instances=instances, action=FROM_CALIPERS, model_id="")
    outliner = outliner_of(shown)
    row0, column0, row1, column1 = outliner.scan_area
    inside = np.s_[row0:row1, column0:column1]
    masks = [outliner.outline(calipers)[inside] for calipers in found.nodes]
    for id_, mask in enumerate(sorted(masks, key=np.count_nonzero, reverse=True)[:MOST_NODES], start=1):
        instances[inside][mask] = id_
    _, ids = np.unique(np.append(0, instances), return_inverse=True)  # one may hide another
    notes = tuple(note for note, holds in ((OUTLINED, masks), (AMBIGUOUS, found.left_over)) if holds)
    return SuggestedMask(
        instances=ids[1:].reshape(shown.shape).astype(np.uint8),
        action=FROM_CALIPERS,
        model_id=load_outline_net()[1].model_id,
        notes=notes,
    )
