"""A picture without what is burned into it: cleaned before it is kept, then read for words that were missed.

What lies outside the scan area is blanked without being read. On tissue a painter of marks leaves a name
legible here and there, which only reading finds, by the extra ``ocr``. The words themselves go nowhere: only
places are told.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import DeviceError
from ..types import Box, Frame, Region, Spacing
from .channels import measured_channels
from .measurement import bounds, scale_within
from .overlay import Marks, paint_over, read_marks, tissue_of
from .scan_area import find_scan_area

Extent: TypeAlias = Literal["scan area", "whole", "uncleaned"]
"""Part of a frame that is kept."""

SWITCH = "NAPARI_CLN_TEXT"
"""Environment variable; ``off`` leaves pictures unread."""
MISSING = (
    "Reading text in pictures needs the extra: pip install 'napari-cln[ocr]'. Until then each new kind of "
    "screen waits for a look."
)
LEAST_SCORE = 0.5
"""Sureness from which a reading counts."""
MARGIN = 3
"""Pixels around a word that are painted over with it: the fringe of its letters."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CleanFrame:
    """The part of a frame that may be kept: no name or date beside the tissue, no mark on it.

    Parameters
    ----------
    grey : ndarray of uint8, shape (h, w)
    channels : dict of str to ndarray of uint8, shape (h, w)
        What was measured beside the grey image, as :attr:`Frame.channels`.
    box : (int, int, int, int)
        Where they lie in the frame.
    scan_area : (int, int, int, int)
        In the frame.
    spacing_mm : (float, float), optional
    regions : tuple of Region
        The scale of what is kept, as :func:`.scale_within` gives it.
    is_painted : bool
        Marks on tissue were painted over.
    """

    grey: NDArray[np.uint8]
    channels: Mapping[str, NDArray[np.uint8]]
    box: Box
    scan_area: Box
    spacing_mm: Spacing | None
    regions: tuple[Region, ...]
    is_painted: bool


def clean_frame(
    frame: Frame,
    mask: NDArray[np.bool_],
    *,
    extent: Extent = "scan area",
    overlay: NDArray[np.bool_] | None = None,
) -> CleanFrame:
    """Take out of a frame what may be kept of it: its scan area, and the box of a mask that leaves it.

    Burned-in marks and Doppler colour are painted over, and the rest is black: names and dates stand beside
    the scan area.

    Parameters
    ----------
    frame : Frame
    mask : ndarray of bool, shape (H, W)
        All nodes.
    extent : {"scan area", "whole", "uncleaned"}
        The scan area alone; all of the frame's size, black outside it; or all of it as it is.
    overlay : ndarray of bool, shape (H, W), optional
        Burned-in marks, where they are known; found otherwise.
    """
    area = find_scan_area(frame)
    kept = kept_area((0, 0, *frame.shape) if extent == "uncleaned" else area, mask)
    if extent != "scan area":
        overlay = np.zeros(frame.shape, dtype=bool)
        inside = slice(0, frame.shape[0]), slice(0, frame.shape[1])
    else:
        place = bounds(kept)
        assert place is not None  # a scan area is not empty
        inside = place
    box = inside[0].start, inside[1].start, inside[0].stop, inside[1].stop
    found = Marks(kept, None)
    if overlay is None or frame.pixels.ndim == 3:
        found = read_marks(frame, box)
        overlay = found.overlay if overlay is None else overlay
    grey = tissue_of(frame, inside, overlay, found)
    grey[~kept[inside]] = 0
    measured = measured_channels(frame, found.flow, found.elastogram)
    spacing, regions = scale_within(frame, box)
    channels = {name: np.where(kept, plane, 0)[inside].astype(np.uint8) for name, plane in measured.items()}
    return CleanFrame(
        grey=grey,
        channels={name: plane for name, plane in channels.items() if plane.any()},
        box=box,
        scan_area=area,
        spacing_mm=spacing,
        regions=regions,
        is_painted=frame.is_clean or extent == "scan area",
    )


def kept_area(area: Box, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark what is kept of a picture: its scan area, and the box of a mask that leaves it.

    Parameters
    ----------
    area : (int, int, int, int)
    mask : ndarray of bool, shape (H, W)
    """
    kept = np.zeros(mask.shape, dtype=bool)
    kept[area[0] : area[2], area[1] : area[3]] = True
    if (place := bounds(mask)) is not None:
        kept[place] = True
    return kept


def can_read() -> bool:
    """Tell whether the extra is there, and not switched off."""
    return os.environ.get(SWITCH, "").casefold() != "off" and find_spec("rapidocr") is not None


def find_text(grey: NDArray[np.uint8]) -> tuple[Box, ...]:
    """Places of words, long numbers and dates.

    Parameters
    ----------
    grey : ndarray of uint8, shape (H, W)

    Returns
    -------
    tuple of (int, int, int, int)
        A box each, from the top.

    Raises
    ------
    DeviceError
        If the extra is missing or switched off.

    Notes
    -----
    PP-OCRv6 by RapidOCR, with its models in the package: no network. Letters and marks by themselves, such as
    R and L, are no words: see :func:`could_name`.
    """
    if not can_read():
        raise DeviceError(MISSING)
    read = _reader()(np.ascontiguousarray(grey), use_cls=False)
    if read.boxes is None:
        return ()
    boxes = []
    for corners, text, score in zip(read.boxes, read.txts, read.scores, strict=True):
        if score >= LEAST_SCORE and could_name(text):
            rows, columns = np.asarray(corners)[:, 1], np.asarray(corners)[:, 0]
            boxes.append(
                (
                    max(int(rows.min()) - MARGIN, 0),
                    max(int(columns.min()) - MARGIN, 0),
                    min(int(rows.max()) + 1 + MARGIN, grey.shape[0]),
                    min(int(columns.max()) + 1 + MARGIN, grey.shape[1]),
                )
            )
    return tuple(sorted(boxes))


def could_name(text: str) -> bool:
    """Tell whether a reading has three letters, four digits, or the form of a date or time.

    Parameters
    ----------
    text : str
    """
    letters = sum(map(str.isalpha, text))
    digits = sum(map(str.isdigit, text))
    return letters >= 3 or digits >= 4 or re.search(r"\d{1,4}[./:-]\d{2}", text) is not None


def paint_boxes(grey: NDArray[np.uint8], boxes: tuple[Box, ...]) -> NDArray[np.uint8]:
    """A copy of a picture whose boxes are filled with the tissue around them.

    Parameters
    ----------
    grey : ndarray of uint8, shape (H, W)
    boxes : tuple of (int, int, int, int)
    """
    marked = np.zeros(grey.shape, dtype=bool)
    for row0, column0, row1, column1 in boxes:
        marked[row0:row1, column0:column1] = True
    return paint_over(grey, marked)


def engine_name() -> str:
    """Name and version of what reads."""
    return f"rapidocr {version('rapidocr')}"


@cache
def _reader() -> Any:
    from rapidocr import RapidOCR

    one = {f"EngineConfig.onnxruntime.{key}_op_num_threads": 1 for key in ("intra", "inter")}
    # One thread: it reads behind a reader who paints.
    return RapidOCR(params={"Global.log_level": "critical", "Global.text_score": 0.0, **one})
