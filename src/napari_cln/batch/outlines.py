"""A picture to look at: the nodes' outlines and scores on the frame's scan area."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import find_boundaries

from ..imaging.preprocessing import find_scan_area
from ..types import Prediction

__all__ = ["draw_outlines"]

# Orange and sky blue of the Okabe-Ito palette: told apart with every kind of colour vision.
COLOURS = {"malignant": (230, 159, 0), "benign": (86, 180, 233)}
WHITE = (255, 255, 255)


def draw_outlines(prediction: Prediction) -> NDArray[np.uint8]:
    """Outline each node in the colour of its label, with its number and score.

    Only the scan area is drawn: what stands around it on a scanner's screen, such as a
    patient's name, is left out.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)
        Of the scan area.
    """
    frame = prediction.frame
    row0, column0, row1, column1 = frame.scan_area or find_scan_area(frame)
    pixels = frame.pixels if frame.pixels.ndim == 3 else np.stack([frame.pixels] * 3, axis=-1)
    drawn = pixels[row0:row1, column0:column1].copy()
    instances = prediction.instances[row0:row1, column0:column1]
    for i, score in enumerate(prediction.node_scores, start=1):
        drawn[find_boundaries(instances == i, mode="inner")] = COLOURS[prediction.label_of(score)]

    picture = Image.fromarray(drawn)
    text = ImageDraw.Draw(picture)
    size = max(10, picture.height // 30)
    font = ImageFont.load_default(size)
    for i, score in enumerate(prediction.node_scores, start=1):
        rows, columns = np.nonzero(instances == i)
        if rows.size:
            label = prediction.label_of(score)
            at = (int(columns.min()), max(int(rows.min()) - 4, size))
            text.text(
                at,
                f"{i}: {score:.2f} {label}",
                COLOURS[label],
                font,
                anchor="lb",
                stroke_width=1,
                stroke_fill=0,
            )
    if not prediction.node_scores:
        text.text(
            (4, 4),
            f"{prediction.label}: {prediction.malignancy:.2f}",
            WHITE,
            font,
            stroke_width=1,
            stroke_fill=0,
        )
    return np.asarray(picture)
