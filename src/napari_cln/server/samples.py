"""Frames of a training folder on their way to 3D Slicer, and masks on their way back.

A frame goes by its id and the revision that was sent, ``0123456789abcdef.r3``, so that what comes back says
what its reader saw. Pictures that Slicer sends go by the name that it gave them, which may hold a patient's
name: they and their names are held in memory alone. One whose mask is saved enters the folder as every frame
does, its scan area alone, and waits there for a look.
"""

from __future__ import annotations

import re
import secrets
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..annotation import FINISHED, Annotation, Case, Node
from ..disk.schema import JsonObject
from ..errors import DatasetError
from ..folder.dataset import TrainingFolder
from ..folder.record import Record
from ..folder.screens import is_held
from ..folder.text import TextReader
from ..io.signatures import kind_of_file
from ..io.terms import segment_label
from ..io.volumes import decode_volume, encode_volume, frame_of_volume
from ..types import Frame, Prediction
from ..workflow.queue import suggest_frames
from .guard import RefusedError

N_UPLOADS = 4
"""Pictures from Slicer that are kept, the newest."""
N_RANKED = 50
STRATEGIES = {
    "queue": "The frames most worth a reader's next minute come first, then all that nobody has judged.",
    "in-order": "All frames that nobody has judged, one after the other.",
}
LABEL = "lymph node"
SCORE_SIGN = " · "
"""Between number and score in the name of a segment that a model drew."""
SAME_NODE = 0.5
"""Dice from which a segment that a model drew is a node that the folder has."""
NODE_NAME = re.compile(
    r"(?:lymph )?node (\d{1,3})(?:,(?: (left|right|midline)\b)?(?: (VII|VI|IV|V|III|II|I)\b)?)?",
    re.IGNORECASE,
)
"""Number, side and level, as in "lymph node 2, left III"."""
OWN_NAMES = re.compile(r"\s*(?:.*\bnodes?\b.*|segment[_ ]?\d*)\s*", re.IGNORECASE)
"""Names of segments that are taken for nodes: those that say so, and those that Slicer gives by itself."""
_ID = re.compile(r"([0-9a-f]{16})\.r(\d{1,9})")


@dataclass(frozen=True, kw_only=True, eq=False)
class Upload:
    """A picture that Slicer sent, and where it lies in Slicer's scene."""

    frame: Frame
    place: NDArray[np.float64]


class Uploads:
    """Pictures that Slicer sent: the newest few, in memory alone."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[str, Upload] = OrderedDict()

    def get(self, key: str) -> Upload | None:
        """The picture of a session or a name; None where it is not kept any more."""
        with self._lock:
            return self._kept.get(key)

    def take(self, data: bytes, name: str | None = None) -> str:
        """Keep a picture in memory.

        Parameters
        ----------
        data : bytes
            NRRD or NIfTI of one slice.
        name : str, optional
            By which Slicer will ask for it; a random one otherwise.

        Raises
        ------
        RefusedError
            If it is of another kind.
        FrameReadError
            If it can't be read.
        """
        if kind_of_file(data[:1024]) == "dicom":
            raise RefusedError(
                415,
                "DICOM files are not taken: they name the patient.",
                "Switch off that Slicer sends them (MONAI Label > Settings).",
            )
        volume = decode_volume(data, "The picture")
        if volume.segments:
            raise RefusedError(415, "This is a segmentation, not a picture.", "Send the picture.")
        key = name or secrets.token_urlsafe(9)
        with self._lock:
            self._kept[key] = Upload(frame=frame_of_volume(volume), place=volume.place)
            self._kept.move_to_end(key)
            while len(self._kept) > N_UPLOADS:
                self._kept.popitem(last=False)
        return key

    def forget(self, session: str) -> None:
        """Let go of a picture."""
        with self._lock:
            self._kept.pop(session, None)


class StudySamples:
    """Frames of a training folder for readers in Slicer; may be asked by several threads.

    Parameters
    ----------
    study : TrainingFolder
    """

    def __init__(self, study: TrainingFolder) -> None:
        self.study = study
        self._lock = Lock()
        self._text = TextReader(study)
        self._ranked: deque[tuple[str, str]] = deque()
        self._given: dict[str, set[str]] = defaultdict(set)
        self.uploads = Uploads()
        self._stored: dict[tuple[str, str], int] = {}
        self._models: dict[str, str] = {}

    def count(self) -> tuple[int, int]:
        """Number of frames, and of those that a reader has judged."""
        return len(self.study.ids()), self.study.layout.count_masks()

    # -------------------------------------------------------- to Slicer

    def next(self, strategy: str, reader: str) -> JsonObject:
        """The next frame for a reader; empty when each was given, after which it starts again.

        Frames whose pictures wait for a look at burned-in names are left out.

        Parameters
        ----------
        strategy : str
            A key of `STRATEGIES`.
        reader : str

        Raises
        ------
        RefusedError
            If the strategy is not known.
        """
        if strategy not in STRATEGIES:
            raise RefusedError(404, "There is no such strategy.", f"Use {' or '.join(STRATEGIES)}.")
        with self._lock:
            given = self._given[reader]
            for case_id, why in self._candidates(strategy):
                if case_id in given:
                    continue
                with suppress(DatasetError):  # `napari-cln check` names what is wrong with it
                    record = self.study.record(case_id)
                    if (not why and record.status in FINISHED) or is_held(self.study, record):
                        continue
                    given.add(case_id)
                    return {"id": _sample_id(record), "name": f"{case_id}.nrrd", "why": why}
            given.clear()
            self._ranked.clear()
        return {}

    def _candidates(self, strategy: str) -> Iterator[tuple[str, str]]:
        """Ids of frames, and why they come first."""
        if strategy == "queue":
            if not self._ranked:
                found = suggest_frames([], self.study, N_RANKED)
                self._ranked.extend((suggestion.key, suggestion.why) for suggestion in found)
            yield from self._ranked
        for case_id in self.study.ids():
            yield case_id, ""

    def listing(self) -> JsonObject:
        """Frames that have nodes to start from, and the names of these in the order of their values."""
        objects = {}
        for case in self.study.cases():
            if case.mask is not None or case.instances is not None:
                names = {name: value for value, (name, _) in enumerate(_named(case.nodes), start=1)}
                if names:
                    info = {"params": {"label_names": names}}
                    objects[f"{case.id}.r{case.revision}"] = {"labels": {"original": {"info": info}}}
        return {"objects": objects}

    def picture(self, image_id: str) -> bytes:
        """A frame of the folder as NRRD.

        Parameters
        ----------
        image_id : str

        Raises
        ------
        RefusedError
            If there is none, or it waits for a look.
        """
        case = self._case(image_id)
        return encode_volume(self.study.read_image(case), ".nrrd", spacing_mm=case.spacing_mm)

    def original(self, image_id: str) -> bytes:
        """The nodes that the folder has of a frame, as an NRRD of values 1, 2, … in the order of their ids.

        Parameters
        ----------
        image_id : str
        """
        case = self._case(image_id)
        instances = self.study.read_instances(case)
        ids = [node_id for _, node_id in _named(case.nodes)]
        return encode_volume(_renumbered(instances, ids), ".nrrd", spacing_mm=case.spacing_mm)

    def find(self, image_id: str) -> Upload:
        """A picture to segment, from the folder or from Slicer.

        Parameters
        ----------
        image_id : str
            Of a frame, of a session, or the name of a picture that was sent.
        """
        if (upload := self.uploads.get(image_id)) is not None:
            return upload
        case = self._case(image_id)
        frame = self.study.read_frame(case)
        row_mm, column_mm = case.spacing_mm or (1.0, 1.0)
        return Upload(frame=frame, place=np.vstack([np.diag([column_mm, row_mm, 1.0]), np.zeros(3)]))

    def note_model(self, image_id: str, prediction: Prediction) -> None:
        """Remember by which model a frame was segmented last.

        Parameters
        ----------
        image_id : str
        prediction : Prediction
        """
        with self._lock:
            self._models[image_id] = prediction.model_id

    def _case(self, image_id: str) -> Case:
        match = _ID.fullmatch(image_id)
        if match is None or not self.study.layout.record(match[1]).exists():
            raise RefusedError(
                404, "There is no such image here.", "Fetch the next sample, or send it again."
            )
        if is_held(self.study, self.study.record(match[1])):
            raise RefusedError(
                403,
                f"{match[1]} waits: nobody has looked at pictures of its kind for burned-in names and dates.",
                "Look at them: `napari-cln check FOLDER --pictures DIR`, then --seen-by READER.",
            )
        return self.study.case(match[1])

    # -------------------------------------------------------- from Slicer

    def save(self, image_id: str, data: bytes, names: Sequence[str], reader: str) -> str:
        """Save a mask with its history, and return the id by which the frame goes now.

        Parameters
        ----------
        image_id : str
        data : bytes
            NRRD or NIfTI: 0 background, 1, 2, … the segments in the order of ``names``.
        names : sequence of str
            Of the segments.
        reader : str

        Raises
        ------
        RefusedError
            If the mask is empty: that alone is no negative.
        ConflictError
            If the frame was changed after it was sent; the mask is kept among the revisions.
        DatasetError
            If it does not fit, or the disk refuses.
        """
        frame, former = self._of_folder_or_sent(image_id)
        volume = decode_volume(data, "The mask")
        if volume.values.shape != frame.shape:
            rows, columns = volume.values.shape[:2]
            raise RefusedError(
                422,
                f"The mask has {rows}×{columns} pixels, its image {frame.shape[0]}×{frame.shape[1]}.",
                "Draw on the image that was sent.",
            )
        painted = {segment.number: segment.label for segment in volume.segments}
        known = {entry.id: entry.node for entry in former.nodes} if former else {}
        kept = self._kept(former)
        drawn = _drawn(volume.values, painted or dict(enumerate(names, start=1)), known, kept)
        instances, nodes = _joined(drawn, former, kept)
        with self._lock:
            model = self._models.get(image_id)
        annotation = Annotation(
            frame=frame,
            instances=instances,
            nodes=nodes,
            status="corrected",
            annotator=reader,
            based_on=model or (_last_model(former) if former else None),
            note=former.note if former else "",
        )
        case = self.study.save(annotation, who=reader, expected_revision=self._seen(image_id, reader, former))
        if former is None:
            self._text.add([case.id])
        with self._lock:
            self._stored[image_id, case.id] = case.revision
        return f"{case.id}.r{case.revision}"

    def _of_folder_or_sent(self, image_id: str) -> tuple[Frame, Record | None]:
        """A frame, and its record where the folder has one."""
        upload = self.uploads.get(image_id)
        if upload is None:
            case = self._case(image_id)
            return self.study.read_frame(case), self.study.record(case.id)
        case_id = self.study.identify(upload.frame)
        known = self.study.layout.record(case_id).exists()
        return upload.frame, self.study.record(case_id) if known else None

    def _kept(self, former: Record | None) -> NDArray[np.uint8] | None:
        """Ids of all nodes that the folder has of a frame, in the pixels of the stored image."""
        return None if former is None else self.study.read_instances(self.study.case(former.id))

    def _seen(self, image_id: str, reader: str, former: Record | None) -> int:
        """Revision that a reader started from: the one that was sent, or their own since."""
        if former is None:
            return 0
        match = _ID.fullmatch(image_id)
        with self._lock:
            seen = max(int(match[2]) if match else 0, self._stored.get((image_id, former.id), 0))
        later = [record for record in self.study.revisions(former.id) if record.revision > seen]
        whose = {record.last.who if record.last else None for record in (*later, former)}
        return former.revision if seen and whose == {reader} else seen


# ------------------------------------------------------------ segments and nodes


def _sample_id(record: Record) -> str:
    return f"{record.id}.r{record.revision}"


def score_name(node_id: int, score: float, remark: str = "") -> str:
    """Name of a segment that a model found, which is all that Slicer shows of its score.

    Parameters
    ----------
    node_id : int
    score : float
        In [0, 1].
    remark : str
        How far it is to be relied on; empty where it is.
    """
    return SCORE_SIGN.join(filter(None, (f"{LABEL} {node_id}", f"{score:.2f}", remark)))


def _named(nodes: Sequence[Node]) -> list[tuple[str, int]]:
    """Names and ids of the nodes that Slicer gets: all but those that a reader rejected, and the mask alone
    of a frame whose nodes nobody listed."""
    if not nodes:
        return [(f"{LABEL} 1", 1)]
    shown = [node for node in nodes if node.status != "rejected"]
    return [(f"lymph {segment_label(node)[0].lower()}{segment_label(node)[1:]}", node.id) for node in shown]


def _renumbered(instances: NDArray[np.uint8], ids: Sequence[int]) -> NDArray[np.uint8]:
    table = np.zeros(256, dtype=np.uint8)
    table[list(ids)] = np.arange(1, len(ids) + 1)
    numbered: NDArray[np.uint8] = table[instances]
    return numbered


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnNodes:
    """Segments of a mask as nodes."""

    instances: NDArray[np.uint8]
    nodes: tuple[Node, ...]


def _drawn(
    values: NDArray[Any],
    names: Mapping[int, str],
    known: Mapping[int, Node],
    kept: NDArray[np.uint8] | None,
) -> DrawnNodes:
    """Nodes of a mask: each has the number in its segment's name, else one that no known node has.

    The number in a name that a model gave is the model's own: such a segment is the known node in its place.
    The number of a node that a reader rejected is no name: Slicer was not shown that node.

    Raises
    ------
    RefusedError
        If nothing is drawn, or a segment is named after something else.
    """
    there = [int(value) for value in np.unique(values) if value]
    if not there:
        raise RefusedError(
            422, "The mask is empty.", "If the frame shows no node, say so in napari-cln (Correct, No node)."
        )
    if len(there) > 255 or min(there) < 0 or not np.isin(values, [0, *there]).all():
        raise RefusedError(422, "The mask is no label map.", "Send segments, at most 255.")
    called = {value: names.get(value, "") for value in there}
    others = [name for name in called.values() if name and not OWN_NAMES.fullmatch(name)]
    if others:
        raise RefusedError(
            422,
            f"A segment is called {others[0][:60]!r}, which is no lymph node.",
            f"Call it '{LABEL} 1', or take it out before you submit.",
        )
    said = {value: match for value, name in called.items() if (match := NODE_NAME.match(name))}
    numbers: dict[int, int] = {}
    taken = {node.id for node in known.values() if node.status == "rejected"}
    asked = [
        (value, _in_place(values == value, kept) if SCORE_SIGN.strip() in called[value] else int(match[1]))
        for value, match in said.items()
    ]
    asked += [(value, value) for value, name in called.items() if not name]  # a client that names nothing
    for value, number in asked:
        if 1 <= number <= 255 and number not in taken:
            numbers[value] = number
            taken.add(number)
    taken.update(known)
    free = iter([number for number in range(1, 256) if number not in taken])
    instances = np.zeros(values.shape, dtype=np.uint8)
    nodes: list[Node] = []
    for value in there:
        number = numbers.get(value) or next(free, 0)
        if not number:
            raise RefusedError(422, "There are more than 255 nodes.", "Leave those out that are none.")
        instances[values == value] = number
        side, level = said[value].group(2, 3) if value in said else (None, None)
        place: Any = {"side": side and side.lower(), "level": level and level.upper()}
        nodes.append(Node(id=number, **place))
    return DrawnNodes(instances=instances, nodes=tuple(sorted(nodes, key=lambda node: node.id)))


def _in_place(mask: NDArray[np.bool_], kept: NDArray[np.uint8] | None) -> int:
    """Id of the node that the folder has in the place of a segment; 0 where there is none."""
    if kept is None or kept.shape != mask.shape:
        return 0
    shared, sizes = (np.bincount(ids.ravel(), minlength=256)[1:] for ids in (kept[mask], kept))
    overlaps = 2 * shared / (sizes + np.count_nonzero(mask))
    best = int(overlaps.argmax())
    return best + 1 if overlaps[best] >= SAME_NODE else 0


def _joined(
    drawn: DrawnNodes, former: Record | None, kept: NDArray[np.uint8] | None
) -> tuple[NDArray[np.uint8], tuple[Node, ...]]:
    """Drawn nodes with what the folder knows of them, and the nodes that Slicer was not shown."""
    if former is None:
        return drawn.instances, drawn.nodes
    known = {entry.id: entry.node for entry in former.nodes}
    nodes = {node.id: node for node in drawn.nodes}
    for node in drawn.nodes:
        if node.id in known:
            old = known[node.id]
            level, side = node.level or old.level, node.side or old.side
            nodes[node.id] = replace(old, status="corrected", level=level, side=side)
    instances = drawn.instances
    if kept is None or kept.shape != instances.shape:
        return instances, tuple(nodes.values())
    painted = set(np.unique(kept).tolist())
    for node in known.values():
        unseen = node.status == "rejected" or node.id not in painted
        if unseen and node.id not in nodes:
            nodes[node.id] = node
            instances = np.where((kept == node.id) & (instances == 0), node.id, instances).astype(np.uint8)
    return instances, tuple(sorted(nodes.values(), key=lambda node: node.id))


def _last_model(record: Record) -> str | None:
    """Model from whose masks a frame's reader started."""
    return next((entry.model for entry in reversed(record.history) if entry.model), None)
