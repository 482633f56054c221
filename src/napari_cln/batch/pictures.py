"""Pictures of a frame: PNG files that tell, undecoded, whether they are whole; and outlines to look at."""

from __future__ import annotations

import io
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from skimage.segmentation import find_boundaries

from ..folder.pictures import chunks_of
from ..imaging.preprocessing import find_scan_area
from ..types import Prediction
from .rows import checksum

# Orange and sky blue of the Okabe-Ito palette: told apart with every kind of colour vision.
COLOURS = {"malignant": (230, 159, 0), "benign": (86, 180, 233)}
WHITE = (255, 255, 255)

COMPRESSION = zlib.Z_RLE
"""Half the time of zlib's own choice on flat pictures, and no larger."""
KEYWORD = "check"


def check_of_pixels(pixels: NDArray[np.uint8]) -> str:
    """Return the checksum of a mask (H, W) or an overlay (H, W, 3): of its size and its values."""
    shape = "x".join(map(str, pixels.shape))
    return checksum(np.ascontiguousarray(pixels).data, zlib.crc32(shape.encode()))


def encode_picture(pixels: NDArray[np.uint8], check: str) -> bytes:
    """Encode a mask or overlay as PNG, with its checksum in a text of its own."""
    info = PngImagePlugin.PngInfo()
    info.add_text(KEYWORD, check)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_type=COMPRESSION, pnginfo=info)
    return buffer.getvalue()


def check_of_png(data: bytes) -> str | None:
    """Return the checksum that a PNG carries; None for one that is damaged or was not written here."""
    check = None
    for kind, content in chunks_of(data):
        if kind == b"tEXt" and content.startswith(KEYWORD.encode() + b"\0"):
            check = content.partition(b"\0")[2].decode("latin-1")
        if kind == b"IEND":
            return check
    return None


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
