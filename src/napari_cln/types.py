"""The data that flows through the house: small frozen dataclasses over numpy arrays.

Rows come before columns, boxes are half-open, lengths are millimetres. ``None`` means that
the file does not say; every value derived from it is then ``None`` too, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Box",
    "ColourFlow",
    "Estimate",
    "Explanation",
    "Frame",
    "Prediction",
    "PrepareConfig",
    "Region",
    "Spacing",
    "SpacingSource",
]

Box: TypeAlias = tuple[int, int, int, int]
"""``(row0, column0, row1, column1)``, half-open, in frame pixels."""

Spacing: TypeAlias = tuple[float, float]
"""Millimetres per pixel along ``(row, column)``."""

SpacingSource: TypeAlias = Literal[
    "dicom-region", "dicom-pixel-spacing", "tiff-imagej", "volume", "typed", "simulated"
]
Truth: TypeAlias = Literal["benign", "metastatic", "unknown"]
TruthSource: TypeAlias = Literal["fna", "tg", "histology", "follow-up", "simulated", "none"]
Status: TypeAlias = Literal["predicted", "corrected", "accepted", "rejected", "no-node"]
Level: TypeAlias = Literal["I", "II", "III", "IV", "V", "VI", "VII"]
Side: TypeAlias = Literal["left", "right", "midline"]
Split: TypeAlias = Literal["train", "validation", "test"]

NOT_JUDGED = 2
"""Value of a label image where nobody says whether a node is there (nnU-Net's ``ignore``); 1 is a node."""

CLASS_NAMES = ("benign", "malignant")
"""The network's two classes; a truth, which cytology or histology established, is called ``metastatic``."""

UNLIKE_TRAINING_DATA = (
    "The frame is unlike those that the model was trained on: do not rely on its nodes and scores."
)


@dataclass(frozen=True, kw_only=True)
class Region:
    """A calibrated part of the screen: tissue, or colour over tissue.

    Parameters
    ----------
    box : Box
    spacing_mm : (float, float), optional
        None for a part that lies over a calibrated one and has no scale of its own.
    kind : str
        ``"colour-flow"`` for the box in which a Doppler frame shows flow.
    """

    box: Box
    spacing_mm: Spacing | None
    kind: Literal["tissue", "colour-flow"] = "tissue"

    def lies_in(self, other: Region) -> bool:
        """Tell whether the other region's box covers this one's, or is the same.

        Parameters
        ----------
        other : Region
        """
        inner, outer = self.box, other.box
        starts = outer[0] <= inner[0] and outer[1] <= inner[1]
        return starts and inner[2] <= outer[2] and inner[3] <= outer[3]

    def overlaps(self, other: Region) -> bool:
        """Tell whether the two boxes share pixels.

        Parameters
        ----------
        other : Region
        """
        one, two = self.box, other.box
        return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]

    def has_scale_of(self, other: Region) -> bool:
        """Tell whether the two scales differ by less than a ten-thousandth; none is like no other.

        Parameters
        ----------
        other : Region
        """
        if self.spacing_mm is None or other.spacing_mm is None:
            return False
        pairs = zip(self.spacing_mm, other.spacing_mm, strict=True)
        return all(math.isclose(one, two, rel_tol=1e-4) for one, two in pairs)


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One ultrasound image as the file stores it.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W) or (H, W, 3)
        Grey or RGB, unaltered except for the file's own colour coding and bit depth.
    spacing_mm : (float, float), optional
        Millimetres per pixel along rows and columns, when one value holds for every
        calibrated region of the frame.
    spacing_source : str, optional
        Where the millimetres come from.
    spacing_note : str, optional
        Why there are no millimetres, in a sentence for the user.
    regions : tuple of Region
        Calibrated regions (DICOM); of a cut frame they may reach beyond it. A measurement is in mm only
        inside one of them, and the scan area lies within them; empty when the spacing holds for all.
    source : Path, optional
        The file it was read from.
    index, n_frames : int
        Position in a cine or a multi-page file, and how many frames that has.
    frame_time_s : float, optional
        Seconds between even frames of a cine, where the file says; of an animation, to the next frame.
    time_s : float, optional
        Seconds from the first frame of a cine to this one, where the file says them frame by frame.
    image_key : str, optional
        A salted hash of a DICOM image's identifier, by which that image can be found again.
    patient_id : str, optional
        A pseudonym (salted hash), used only to split by patient.
    vendor : str, optional
        Manufacturer and model, where the file says.
    decoder : str, optional
        Library and version that decoded the pixels.
    scan_area : Box, optional
        The scan area where the user drew it or the record of a stored frame says it, taken as it is; found
        by :func:`napari_cln.find_scan_area` otherwise.
    is_clean : bool
        Burned-in marks were painted over already, as in a stored frame: none are looked for.
    warnings : tuple of str
        Sentences for the user about this file: frames missing, colours odd, …
    channels : dict of str to ndarray of uint8, shape (H, W)
        ``"flow"``, ``"stiffness"``, ``"contrast"`` where they are known: 0 where nothing was measured, 1 to
        255 the value. Those that are not given are read from the pixels' colours.
    """

    pixels: NDArray[np.uint8]
    spacing_mm: Spacing | None = None
    spacing_source: SpacingSource | None = None
    spacing_note: str | None = None
    regions: tuple[Region, ...] = ()
    source: Path | None = None
    index: int = 0
    n_frames: int = 1
    frame_time_s: float | None = None
    time_s: float | None = None
    image_key: str | None = None
    patient_id: str | None = None
    vendor: str | None = None
    decoder: str | None = None
    scan_area: Box | None = None
    is_clean: bool = False
    warnings: tuple[str, ...] = ()
    channels: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)) or 0 in shape:
            raise ValueError(
                f"Frame.pixels has shape {shape} and dtype {dtype}: give uint8 of shape (H, W) or (H, W, 3)."
            )
        if odd := [n for n, c in self.channels.items() if c.shape != shape[:2] or c.dtype != np.uint8]:
            raise ValueError(
                f"Frame.channels[{odd[0]!r}]: give uint8 of the shape of the frame, {shape[:2]}."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """``(H, W)``."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @cached_property
    def grey(self) -> NDArray[np.uint8]:
        """Luma (ITU-R BT.601) of the pixels, uint8 (H, W)."""
        if self.pixels.ndim == 2:
            return self.pixels
        weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
        grey: NDArray[np.uint8] = np.rint(self.pixels.astype(np.float32) @ weights).astype(np.uint8)
        return grey


@dataclass(frozen=True, kw_only=True, eq=False)
class ColourFlow:
    """Flow on a Doppler frame.

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)
        Pixels that show flow in colour.
    box : (int, int, int, int), optional
        The box in which flow was measured, from the file or its outline; None where neither tells it.
    """

    mask: NDArray[np.bool_]
    box: Box | None = None


Channel: TypeAlias = Literal["despeckled", "flow", "stiffness", "contrast"]
"""A picture beside the grey one: without speckle, Doppler flow, stiffness, uptake of contrast agent."""


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Settings by which a frame becomes the network's input; stored in each model's card.

    Parameters
    ----------
    keep_aspect : bool
        Letterbox into the square; ``False`` stretches, as in the paper.
    remove_overlay : bool
        Paint over burned-in marks that lie on tissue.
    enhance : bool
        Contrast-limited adaptive histogram equalisation (CLAHE).
    channels : tuple of str
        What the network sees beside the grey image: two planes each, the value and where it was measured.
    """

    keep_aspect: bool = True
    remove_overlay: bool = True
    enhance: bool = False
    channels: tuple[Channel, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """Reliability of a frame's result.

    Parameters
    ----------
    chance : float
        That it fails, in [0, 1]: a node is missed, or one is claimed where none is.
    level : {"sure", "look twice", "do not rely on it"}
    reason : str
        What speaks for a failure most, as a clause; empty where it is sure.
    """

    chance: float
    level: Literal["sure", "look twice", "do not rely on it"]
    reason: str = ""

    def __str__(self) -> str:
        """The level with its reason, as a sentence."""
        text = f"{self.level}: {self.reason}" if self.reason else self.level
        return f"{text[:1].upper()}{text[1:]}."


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """Mask, nodes and scores that the Y-Net gives one frame.

    Parameters
    ----------
    frame : Frame
    probability : ndarray of float32, shape (H, W), in [0, 1]
        Probability that a pixel belongs to a node.
    instances : ndarray of uint8, shape (H, W)
        0 background; 1, 2, … the nodes, largest first.
    node_scores : tuple of float
        Malignancy in [0, 1] of each node, in the order of its id.
    class_probabilities : dict of str to float
        The frame's own class probabilities; they sum to 1.
    model_id : str
        ``name@`` and the first 12 hex digits of the weights' SHA-256.
    mask_threshold : float, optional
        Operating point on probability, from the model's card; None for a model that only
        classifies.
    cutoff : float
        Operating point on malignancy, from the model's card.
    novelty : float, optional
        How unlike the training data the frame is, at least 0; above 1 it is more so than nearly all
        frames that the model was validated on. None for a model that does not know.
    flow : ColourFlow, optional
        Doppler flow, which was taken out of the grey image; None for a frame without Doppler.
    notes : tuple of str
        Sentences on how the frame was read, such as that colour was taken out of its grey image.
    stiffness : tuple of (float or None)
        Mean stiffness of each node of an elastogram, as a part of the colour bar; empty for other frames.
    clues : tuple of float
        What speaks for and against the result; empty for a network that has none.
    doubt : Doubt, optional
        How far the result is to be relied on; None for a model that does not know.
    node_doubts : tuple of Doubt
        The same of each node, in the order of its id; empty for a model that does not know.
    """

    frame: Frame
    probability: NDArray[np.float32]
    instances: NDArray[np.uint8]
    node_scores: tuple[float, ...]
    class_probabilities: Mapping[str, float]
    model_id: str
    mask_threshold: float | None = 0.5
    cutoff: float = 0.5
    novelty: float | None = None
    flow: ColourFlow | None = None
    notes: tuple[str, ...] = ()
    stiffness: tuple[float | None, ...] = ()
    clues: tuple[float, ...] = ()
    doubt: Doubt | None = None
    node_doubts: tuple[Doubt, ...] = ()

    @property
    def status(self) -> Literal["ok", "unlike-training-data"]:
        """Likeness of the frame to the training data; ``"ok"`` where that is not known."""
        return "unlike-training-data" if self.novelty is not None and self.novelty > 1 else "ok"

    @property
    def flag(self) -> str:
        """A sentence that says why not to rely on the result; empty where nothing speaks against it."""
        return self._flag(self.doubt)

    def _flag(self, doubt: Doubt | None) -> str:
        if self.status == "unlike-training-data":
            return UNLIKE_TRAINING_DATA
        return "" if doubt is None or doubt.level == "sure" else str(doubt)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for the user about the frame, and about what the model can say of it."""
        return self._warnings(self.doubt)

    def warnings_of(self, node: int) -> tuple[str, ...]:
        """The same beside a node's own row: of the frame's doubts, those about that node.

        Parameters
        ----------
        node : int
            Its id, from 1 on.
        """
        return self._warnings(self.node_doubts[node - 1] if self.node_doubts else self.doubt)

    def _warnings(self, doubt: Doubt | None) -> tuple[str, ...]:
        flag = self._flag(doubt)
        return *((flag,) if flag else ()), *self.notes, *self.frame.warnings

    @property
    def mask(self) -> NDArray[np.bool_]:
        """All nodes together, bool (H, W)."""
        return self.instances > 0

    @property
    def malignancy(self) -> float:
        """Score in [0, 1] of the most suspicious node; the frame's own score where none was found."""
        return max(self.node_scores, default=float(self.class_probabilities["malignant"]))

    @property
    def label(self) -> str:
        """``"malignant"`` (score at or above the cutoff), ``"benign"`` or ``"no node found"``.

        A classification-only model finds no masks, and labels the frame.
        """
        if not self.node_scores and self.mask_threshold is not None:
            return "no node found"
        return self.label_of(self.malignancy)

    def label_of(self, score: float) -> str:
        """Name a score at this prediction's cutoff.

        Parameters
        ----------
        score : float
            In [0, 1].

        Returns
        -------
        {"malignant", "benign"}
        """
        return CLASS_NAMES[int(score >= self.cutoff)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """The share of each place of a frame in a malignancy score.

    Parameters
    ----------
    prediction : Prediction
        What is explained: its ``malignancy``.
    node : int, optional
        The node whose score that is, the most suspicious one; None where it is the frame's own.
    map : ndarray of float32, shape (H, W)
        What each place adds to the score's logit; positive speaks for malignant. In units of the logit
        per cell of the network's grid; 0 outside the scan area.
    cells : ndarray of float64, shape (S/8, S/8)
        The same on the network's grid. It sums to ``logit - bias``.
    logit : float
        ``log(p / (1 - p))`` of the malignancy p.
    bias : float
        The logit before anything was seen.
    """

    prediction: Prediction
    node: int | None
    map: NDArray[np.float32]
    cells: NDArray[np.float64]
    logit: float
    bias: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with its interval and the number it was taken from.

    Parameters
    ----------
    value, low, high : float
        The figure, and both ends of its interval.
    n : int
        Cases that it was taken from.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        to = " to " if self.low < 0 else "–"
        return f"{self.value:.3f} ({self.low:.3f}{to}{self.high:.3f}, n = {self.n})"
