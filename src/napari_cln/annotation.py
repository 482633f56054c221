"""Frames with what readers say about them: nodes, their truths, and cases of a training folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .types import Frame, Level, Region, Side, Spacing, Split, Status, Truth, TruthSource

__all__ = ["Annotation", "Case", "Checksums", "Node"]

FINISHED = ("corrected", "accepted", "no-node")
"""Statuses of a frame whose mask a reader stands for."""
LABELLED = ("corrected", "accepted")
"""Statuses of a node that belongs in the label image."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node of an annotation; its pixels are ``instances == id``.

    Parameters
    ----------
    id : int
        From 1.
    status : {"predicted", "corrected", "accepted", "rejected", "no-node"}
    truth : {"benign", "metastatic", "unknown"}
    truth_source : {"fna", "tg", "histology", "follow-up", "simulated", "none"}
        How the truth was established.
    level : str, optional
        Level of the neck, ``"I"`` to ``"VII"``.
    side : {"left", "right", "midline"}, optional
    p_malignant : float, optional
        Best possible score of a simulated node, in [0, 1].
    """

    id: int
    status: Status = "corrected"
    truth: Truth = "unknown"
    truth_source: TruthSource = "none"
    level: Level | None = None
    side: Side | None = None
    p_malignant: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotation:
    """A frame with what a reader says about it.

    ``status="no-node"`` is an explicit negative, kept in training; it differs from a frame
    that nobody has looked at, which has no annotation.

    Parameters
    ----------
    frame : Frame
    instances : ndarray of uint8, shape (H, W)
        0 background; 1 to 255 the ids of ``nodes``.
    nodes : tuple of Node
    status : str
    annotator : str, optional
    based_on : str, optional
        Id of the model whose mask it started from.
    note : str
    seconds : float, optional
        Time that the reader took.
    not_judged : ndarray of bool, shape (H, W), optional
        Pixels of which nobody says whether they belong to a node; training and figures leave them out.
    """

    frame: Frame
    instances: NDArray[np.uint8]
    nodes: tuple[Node, ...] = ()
    status: Status = "corrected"
    annotator: str | None = None
    based_on: str | None = None
    note: str = ""
    seconds: float | None = None
    not_judged: NDArray[np.bool_] | None = None

    @property
    def mask(self) -> NDArray[np.bool_]:
        """All nodes together, bool (H, W)."""
        return self.instances > 0

    @property
    def has_reference(self) -> bool:
        """True where a reader stands for the mask, be it empty."""
        return has_reference(self.status, self.instances, self.nodes)

    @property
    def reference_nodes(self) -> tuple[Node, ...]:
        """Nodes that are taken for true; see :attr:`Case.reference_nodes`."""
        return _reference_nodes(self.nodes, has_reference=self.has_reference)

    @property
    def standing_instances(self) -> NDArray[np.uint8]:
        """The ids of nodes that the reader did not reject, uint8 (H, W); 0 elsewhere."""
        return without_nodes(self.instances, [node.id for node in self.nodes if node.status == "rejected"])

    @property
    def label(self) -> Truth:
        """``"metastatic"`` if any node is, ``"benign"`` if all are, else ``"unknown"``."""
        return frame_truth(self.nodes)


def without_nodes(instances: NDArray[np.uint8], ids: Collection[int]) -> NDArray[np.uint8]:
    """Ids of a mask (H, W) without some nodes, which are background then."""
    return np.where(np.isin(instances, list(ids)), np.uint8(0), instances) if ids else instances


def has_reference(status: Status, instances: NDArray[np.uint8], nodes: tuple[Node, ...]) -> bool:
    """Tell whether a reader stands for a mask (H, W): not for one of nodes that are outlined nowhere."""
    return status in FINISHED and (bool(instances.any()) or not nodes)


def _reference_nodes(nodes: tuple[Node, ...], *, has_reference: bool) -> tuple[Node, ...]:
    if has_reference:
        return tuple(node for node in nodes if node.status in LABELLED)
    return tuple(node for node in nodes if node.status != "rejected")


def frame_truth(nodes: tuple[Node, ...]) -> Truth:
    """Truth of a frame from its nodes: metastatic if any node is, benign if all are, else unknown.

    Nodes that a reader rejected are none.
    """
    truths = {node.truth for node in nodes if node.status != "rejected"}
    if "metastatic" in truths:
        return "metastatic"
    return "benign" if truths == {"benign"} else "unknown"


@dataclass(frozen=True, kw_only=True)
class Checksums:
    """SHA-256 of the pixels of a case's pictures, in hexadecimal; None where there is no such picture."""

    image: str | None = None
    mask: str | None = None
    instances: str | None = None
    channels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One frame of a training folder.

    ``mask`` is None where no mask was accepted, ``truth`` is ``"unknown"`` where no label is
    known: such frames train one head alone. The truth is that of its nodes.

    Parameters
    ----------
    id : str
        The first 16 hexadecimal digits of the SHA-256 of its grey pixels.
    image, mask, instances : Path
        Its pictures (uint8 PNG of one size): grey pixels, 0 and 1, and node ids; None where there is none.
    nodes : tuple of Node
    patient : str
        A pseudonym, used only to split.
    cine : str, optional
        A pseudonym of the clip that it is of.
    status : {"predicted", "corrected", "accepted", "rejected", "no-node"}
    spacing_mm, regions
        As of a frame; what the record says of the stored image.
    vendor : str, optional
        Maker of the scanner.
    hospital : str, optional
        Letter or key of the hospital where the frame was made.
    shape : (int, int)
        Rows and columns of the stored image.
    revision : int
        Number of its state, from 1; each save adds one.
    split : str, optional
        The side on which a data set's authors put the frame.
    checksums : Checksums
        Of the pixels of its pictures.
    """

    id: str
    image: Path
    mask: Path | None
    instances: Path | None
    nodes: tuple[Node, ...]
    patient: str
    cine: str | None = None
    status: Status
    spacing_mm: Spacing | None = None
    regions: tuple[Region, ...] = ()
    vendor: str | None = None
    hospital: str | None = None
    shape: tuple[int, int] = (0, 0)
    revision: int = 1
    split: Split | None = None
    checksums: Checksums = field(default_factory=Checksums)

    @property
    def has_reference(self) -> bool:
        """True where a reader stands for the mask, be it empty."""
        return self.mask is not None

    @property
    def reference_nodes(self) -> tuple[Node, ...]:
        """Nodes that are taken for true, in training and in figures.

        Where a reader stands for the mask they are those that a reader accepted or drew: what only a model
        drew is background. Elsewhere they are all that no reader rejected, whose classes alone are known.
        """
        return _reference_nodes(self.nodes, has_reference=self.has_reference)

    @property
    def truth(self) -> Truth:
        """``"metastatic"`` if any node is, ``"benign"`` if all are, else ``"unknown"``."""
        return frame_truth(self.nodes)
