"""PNG, JPEG, BMP, GIF (Pillow) and TIFF (tifffile)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL
import tifffile
from numpy.typing import NDArray
from PIL import Image

from ..types import Frame, Spacing
from .depth import colour_of, scale_of, to_uint8
from .limits import check_frames, check_size
from .sources import FrameSource

__all__ = ["PillowSource", "TiffSource", "open_image"]

ORIENTATION = 0x0112
FORMATS = ("PNG", "JPEG", "BMP", "GIF")
MODES = {"1": "L", "L": "L", "I;16": "I;16", "RGB": "RGB", "P": "RGB"}
UNITS_MM = {
    "mm": 1.0, "millimeter": 1.0, "cm": 10.0, "centimeter": 10.0, "m": 1000.0,
    "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "\\u00b5m": 1e-3, "micron": 1e-3, "microns": 1e-3, "inch": 25.4,
}  # fmt: skip


def open_image(path: Path) -> FrameSource:
    """Open a PNG, JPEG, BMP, GIF or TIFF file."""
    with path.open("rb") as stream:
        is_tiff = stream.read(2) in (b"II", b"MM")
    return TiffSource(path) if is_tiff else PillowSource(path)


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn an array as EXIF or TIFF orientation (1 to 8) says; other values change nothing."""
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def orientation_note(orientation: int) -> tuple[str, ...]:
    """Sentence for a file that is stored turned or mirrored."""
    if orientation not in range(2, 9):
        return ()
    return (
        f"The file is stored turned (EXIF orientation {orientation}) and is shown and segmented upright.",
    )


class PillowSource(FrameSource):
    """A PNG, JPEG, BMP or GIF file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._image = Image.open(path, formats=FORMATS)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        image = self._image
        check_size(self.path, image.height, image.width)
        self.n_frames = getattr(image, "n_frames", 1)
        check_frames(self.path, self.n_frames)
        self._format = image.format or "image"
        self._orientation = int(image.getexif().get(ORIENTATION, 1))
        self.warnings = orientation_note(self._orientation)
        height, width = image.height, image.width
        self.shape = (width, height) if self._orientation in (5, 6, 7, 8) else (height, width)
        self._mode = _mode_of(image)
        self.is_rgb = self._mode in ("RGB", "RGBA")

    def _read(self, index: int) -> Frame:
        if self.n_frames > 1:
            self._image.seek(index)
        array = np.asarray(self._image.convert(self._mode) if self._image.mode != self._mode else self._image)
        # PNG's 16-bit samples always use their full range, by its specification.
        pixels = colour_of(to_uint8(array, scale_of(array, full_range=True)))
        duration = self._image.info.get("duration") if self.n_frames > 1 else None
        return Frame(
            pixels=np.ascontiguousarray(upright(pixels, self._orientation)),
            spacing_note=f"A {self._format} file carries no millimetres (its dpi is the printer's).",
            source=self.path,
            index=index,
            n_frames=self.n_frames,
            frame_time_s=duration / 1000 if duration else None,
            decoder=f"Pillow {PIL.__version__}",
            warnings=self.warnings,
        )

    def close(self) -> None:
        self._image.close()


def _mode_of(image: Image.Image) -> str:
    """Pillow mode that keeps what the file stores: grey stays grey, alpha stays to be blended."""
    if image.mode == "P":
        if "transparency" in image.info:
            return "RGBA"
        palette = np.array(image.getpalette() or [], dtype=np.uint8).reshape(-1, 3)
        return "L" if (palette == palette[:, :1]).all() and image.format != "GIF" else "RGB"
    if image.mode in ("1", "L", "LA", "RGB", "RGBA"):
        return "L" if image.mode == "1" else image.mode
    return "I;16" if image.mode.startswith("I") else "RGB"


class TiffSource(FrameSource):
    """A TIFF file, also one that ImageJ wrote; pages of another size than the first are left out."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._tiff = tifffile.TiffFile(path, is_ome=False)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        pages = self._tiff.pages
        check_frames(self.path, len(pages))
        first = pages.first
        rows, columns = first.imagelength, first.imagewidth
        check_size(self.path, rows, columns)
        self._indices = [
            i for i, page in enumerate(pages) if (page.imagelength, page.imagewidth) == (rows, columns)
        ]
        self.n_frames = len(self._indices)
        warnings: list[str] = []
        if self.n_frames < len(pages):
            warnings.append(
                f"{len(pages) - self.n_frames} of {len(pages)} pages have another size and are left out."
            )
        tag = first.tags.get(ORIENTATION)
        self._orientation = int(tag.value) if tag else 1
        warnings += orientation_note(self._orientation)
        array = self._array(first)
        self._scale = scale_of(array)
        if self._scale.note:
            warnings.append(self._scale.note)
        self.is_rgb = array.ndim == 3 and array.shape[2] > 2
        self.shape = (columns, rows) if self._orientation in (5, 6, 7, 8) else (rows, columns)
        self._spacing = self._imagej_spacing()
        self.warnings = tuple(warnings)

    def _array(self, page: Any) -> NDArray[Any]:
        """Samples of one page, (H, W) or (H, W, samples), black at 0."""
        array: NDArray[Any] = np.squeeze(page.asarray())
        array = array.reshape(-1, page.imagewidth) if array.ndim < 2 else array
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            return np.moveaxis(page.colormap[:, array], 0, -1)
        if array.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            array = np.moveaxis(array, 0, -1)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            array = ~array
        return array

    def _imagej_spacing(self) -> Spacing | None:
        return None

    def _read(self, index: int) -> Frame:
        page = self._tiff.pages[self._indices[index]]
        pixels = colour_of(to_uint8(self._array(page), self._scale))
        return Frame(
            pixels=np.ascontiguousarray(upright(pixels, self._orientation)),
            spacing_note="A TIFF file carries no millimetres unless ImageJ wrote them.",
            source=self.path,
            index=index,
            n_frames=self.n_frames,
            decoder=f"tifffile {tifffile.__version__}",
            warnings=self.warnings,
        )

    def close(self) -> None:
        self._tiff.close()
