"""The mask of one frame on the desk: what it was, what it is now, and what is known of its nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from ..._layers import annotation_from_layer, frame_from_layer, is_painted, readings_of
from ...errors import DatasetError
from ...study.reading import digest
from ...types import Annotation, Frame, Node, Status

if TYPE_CHECKING:
    from ...folder.dataset import TrainingFolder

__all__ = ["Work"]

FRAMES_KEY = "napari-cln frames"
"""Key in a Labels layer's metadata for the content hash of the frame that each of its masks is of."""


class Work:
    """A Labels layer's mask of one frame, bound to both by identity and content.

    Parameters
    ----------
    image : napari.layers.Image
    labels : napari.layers.Labels
    index : int
        Position of the frame in its cine.
    known : Annotation, optional
        What the training folder says of the frame, where the layer was filled from it.
    second : bool
        Whether it is a second reading, whose reader is told nothing of the first.

    Attributes
    ----------
    status : str
        What the reader, or the folder, last said of the frame.
    facts : dict of int to Node
        Truth, its source, level and side of each node.
    touched : bool
        Whether it was painted here.
    is_behind : bool
        Whether the training folder may have another mask than the canvas.
    case_id, revision : str, int
        The frame in the training folder, and which state of it was opened (0: none).

    Raises
    ------
    ClnError
        If the frame can't be read, or the layer was painted on another one.
    """

    def __init__(
        self,
        image: Image,
        labels: Labels,
        index: int,
        known: Annotation | None = None,
        *,
        second: bool = False,
    ) -> None:
        self.second = second
        self.image, self.labels, self.index = image, labels, index
        self._frame: Frame | None = frame_from_layer(image, index)
        self.frame_digest = digest(self._frame.pixels)
        bound = labels.metadata.setdefault(FRAMES_KEY, {})
        if bound.setdefault(index, self.frame_digest) != self.frame_digest:
            raise DatasetError(
                f"Layer '{labels.name}' was painted on another frame than this one. "
                "Choose the Labels layer of this frame, or start an empty mask."
            )
        # Refuses a mask of another size, or one that was predicted on other pixels.
        annotation_from_layer(labels, self._frame, index=index)
        self.status: Status
        self._base_status: Status
        self.case_id: str | None = None
        self.revision = 0
        self.facts: dict[int, Node] = {}
        self.note = ""
        self.touched = self.is_behind = False
        self.based_on: str | None = None
        self.seen = digest(self.masks)
        self.reset_base()
        if known is not None:
            self.take(known)
            self.status = self._base_status = known.status

    @property
    def masks(self) -> NDArray[Any]:
        """Node ids (H, W) as they are on the canvas now."""
        return np.asarray(self.labels.data if self.labels.ndim == 2 else self.labels.data[self.index])

    @property
    def frame(self) -> Frame:
        """The frame; read again where it was let go."""
        if self._frame is None:
            self._frame = frame_from_layer(self.image, self.index)
        return self._frame

    def let_go(self) -> None:
        """Forget the pixels: of a cine, only the frame in view is kept."""
        self._frame = None

    def enter(self, folder: TrainingFolder) -> None:
        """Find the frame in a training folder, and take over what is known of its nodes."""
        self.case_id = folder.identify(self.frame)
        self.revision = 0
        if folder.layout.record(self.case_id).exists():
            record = folder.record(self.case_id)
            self.revision, self.is_behind = record.revision, True
            if self.second:
                return
            case = folder.case(self.case_id)
            self.facts = {node.id: node for node in case.nodes} | self.facts
            self.note = self.note or record.note

    def take(self, annotation: Annotation) -> None:
        """Take over what an annotation says beside its masks."""
        self.facts = {node.id: node for node in annotation.nodes}
        self.note, self.based_on = annotation.note, annotation.based_on

    def reset_base(self) -> None:
        """Compare with the masks as they are now, unless they were painted on a prediction before."""
        reading = readings_of(self.labels).get(self.index)
        self._reading_digest = None if reading is None else reading.mask_digest
        self.base_known = reading is None or not is_painted(self.labels, self.index)
        self._base = np.packbits(self.masks > 0)
        self._base_digest = digest(self.masks)
        self.status = self._base_status = "predicted"
        if reading is not None:
            self.based_on = reading.model_id

    def look(self) -> str | None:
        """What happened to the masks since the last look: ``"painted"``, ``"predicted"`` or nothing."""
        now = digest(self.masks)
        if now == self.seen:
            return None
        self.seen = now
        reading = readings_of(self.labels).get(self.index)
        if reading is not None and reading.mask_digest != self._reading_digest:
            self.reset_base()
            return "predicted"
        self.touched = True
        return "painted"

    @property
    def is_changed(self) -> bool:
        """Whether the masks are other than those the reader was given."""
        if readings_of(self.labels).get(self.index) is not None:
            return is_painted(self.labels, self.index)
        return digest(self.masks) != self._base_digest

    @property
    def painted_status(self) -> Status:
        """What a stroke makes of the frame, as long as the reader says nothing else.

        A mask that was erased is a rejected prediction, not yet a frame without a node: that is
        for the reader to say.
        """
        if not self.is_changed:
            return self._base_status
        if self.masks.any():
            return "corrected"
        return "rejected" if self.based_on is not None else "predicted"

    @property
    def node_ids(self) -> list[int]:
        """Ids that are painted."""
        masks = self.masks
        return [int(node) for node in np.unique(masks[masks > 0])]

    def difference(self) -> NDArray[np.uint8]:
        """1 where a mask was added to what was given, 2 where it was taken away, uint8 (H, W)."""
        masks = self.masks > 0
        base = np.unpackbits(self._base, count=masks.size).reshape(masks.shape).astype(bool)
        changed: NDArray[np.uint8] = (masks & ~base) * np.uint8(1) + (base & ~masks) * np.uint8(2)
        return changed

    def annotation(self, status: Status, who: str, seconds: float) -> Annotation:
        """The frame as the reader sees it now.

        Raises
        ------
        DatasetError
            If the Image shows another frame than when the mask was painted.
        """
        if isinstance(self.image.data, np.ndarray):
            shown = frame_from_layer(self.image, self.index)
            if digest(shown.pixels) != self.frame_digest:
                raise DatasetError(
                    f"Layer '{self.image.name}' shows another frame than the one that "
                    f"'{self.labels.name}' was painted on. Nothing was saved: start an empty mask."
                )
            self._frame = shown
        annotation = annotation_from_layer(
            self.labels, self.frame, index=self.index, status=status, annotator=who
        )
        nodes = tuple(self._known(node) for node in annotation.nodes)
        return replace(
            annotation,
            instances=annotation.instances.copy(),  # the save runs while strokes go on
            nodes=nodes,
            note=self.note,
            seconds=seconds,
            based_on=self.based_on,
        )

    def _known(self, node: Node) -> Node:
        known = self.facts.get(node.id)
        if known is None:
            return node
        score = node.p_malignant
        if score is None and not self.is_changed:
            score = known.p_malignant
        return replace(known, status=node.status, p_malignant=score)
