"""Words and numbers burned into a picture, read by the extra ``ocr``: a second look at what is kept of it.

What lies outside the scan area is blanked without being read. On tissue a painter of marks leaves a name
legible here and there, which only reading finds. The words themselves go nowhere: only places are told.
"""

from __future__ import annotations

import os
import re
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DeviceError
from ..types import Box
from .overlay import paint_over

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
