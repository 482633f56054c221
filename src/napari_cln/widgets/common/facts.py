"""What a list shows of a file: a thumbnail, its size, its spacing and where that comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import FrameReadError
from ...io.sources import open_source
from ...types import Frame

THUMBNAIL = (48, 64)
SOURCES = {
    "dicom-region": "DICOM",
    "dicom-pixel-spacing": "DICOM, pixel spacing",
    "tiff-imagej": "TIFF",
    "volume": "NRRD or NIfTI",
    "typed": "(typed)",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """What is known of a file before it is shown; ``error`` where it can't be read."""

    thumbnail: NDArray[np.uint8] | None = None
    text: str = ""
    details: str = ""
    error: str | None = None


def read_facts(paths: Sequence[Path]) -> Iterator[tuple[Path, Facts]]:
    """Read the first frame of each file; a file that can't be read gives its reason."""
    for path in paths:
        try:
            with open_source(path) as source:
                frame, warnings = source[0], source.warnings
        except FrameReadError as error:
            yield path, Facts(error=str(error))
            continue
        height, width = frame.shape
        length = f" ×{frame.n_frames}" if frame.n_frames > 1 else ""
        notes = [frame.spacing_note or "", *warnings, *frame.warnings]
        yield (
            path,
            Facts(
                thumbnail=thumbnail(frame),
                text=f"{width}×{height}{length} · {spacing_text(frame)}",
                details="\n".join(dict.fromkeys(note for note in notes if note)),
            ),
        )


def spacing_text(frame: Frame) -> str:
    """Millimetres per pixel and their source, in a few words."""
    if frame.spacing_mm is None:
        return "mm by region" if frame.regions else "no mm"
    row_mm, column_mm = frame.spacing_mm
    size = f"{row_mm:.3f}" if abs(row_mm - column_mm) < 5e-4 else f"{row_mm:.3f}×{column_mm:.3f}"
    return f"{size} mm {SOURCES[frame.spacing_source or 'typed']}"


def thumbnail(frame: Frame) -> NDArray[np.uint8]:
    """Small picture, uint8 (48, 64, 3): whole pixels, letterboxed."""
    height, width = frame.shape
    step = max(height / THUMBNAIL[0], width / THUMBNAIL[1])
    rows = (np.arange(max(int(height / step), 1)) * step).astype(int)
    columns = (np.arange(max(int(width / step), 1)) * step).astype(int)
    picture = frame.pixels[rows][:, columns]
    if picture.ndim == 2:
        picture = np.repeat(picture[..., np.newaxis], 3, axis=2)
    canvas = np.zeros((*THUMBNAIL, 3), dtype=np.uint8)
    top, left = (THUMBNAIL[0] - picture.shape[0]) // 2, (THUMBNAIL[1] - picture.shape[1]) // 2
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas
