"""TIFF, also as ImageJ writes it, decoded by tifffile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import PHOTOMETRIC

from ..errors import FrameReadError
from ..types import Frame, Spacing
from .depth import Scale, colour_of, scale_of, to_uint8
from .frame_source import FrameSource
from .limits import check_frames, check_size, is_plausible
from .orientation import ORIENTATION_TAG, orientation_remarks, swaps_axes, upright

__all__ = ["TiffSource"]

GREY = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
COLOUR = (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR, PHOTOMETRIC.PALETTE)
ASSOCIATED_ALPHA = 1
MILLIMETRES = {
    "mm": 1.0, "millimeter": 1.0, "cm": 10.0, "centimeter": 10.0, "inch": 25.4,
    "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "\\u00b5m": 1e-3, "micron": 1e-3, "microns": 1e-3,
}  # fmt: skip


class TiffSource(FrameSource):
    """A TIFF file; pages of another size than the first (thumbnails) are left out.

    Its resolution is a printer's, unless ImageJ wrote it with a unit of length.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._tiff = tifffile.TiffFile(path, is_ome=False)  # OME metadata may name other files
        try:
            self._look()
        except BaseException:
            self.close()
            raise

    def _look(self) -> None:
        """Learn what the first page says for all, and which pages are like it."""
        pages = self._tiff.pages
        check_frames(self.path, len(pages))
        first = self._check(pages[0])
        rows, columns = first.imagelength, first.imagewidth
        self._pages = [
            index
            for index, page in enumerate(pages)
            if (page.imagelength, page.imagewidth) == (rows, columns)
        ]
        self.n_frames = len(self._pages)
        remarks = []
        if self.n_frames < len(pages):
            left_out = len(pages) - self.n_frames
            remarks.append(f"{left_out} of {len(pages)} pages have another size and are left out.")
        tag = first.tags.get(ORIENTATION_TAG)
        self._orientation = int(tag.value) if tag else 1
        remarks += orientation_remarks(self._orientation)
        self.shape = (columns, rows) if swaps_axes(self._orientation) else (rows, columns)
        self._scale = self._scale_of(first)
        if self._scale.note:
            remarks.append(self._scale.note)
        self.is_rgb = self._is_rgb(first)
        self._spacing = self._imagej_spacing(first)
        self.warnings = tuple(remarks)

    def _check(self, page: Any) -> Any:
        """Refuse a page that is no picture, before memory is taken for it."""
        check_size(self.path, page.imagelength, page.imagewidth)
        if page.is_tiled:
            check_size(self.path, page.tilelength, page.tilewidth)
        samples = page.samplesperpixel - len(page.extrasamples)
        expected = 3 if page.photometric in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR) else 1
        if (
            page.photometric not in (*GREY, *COLOUR)
            or samples != expected
            or len(page.extrasamples) > 1
            or page.imagedepth != 1
            or page.dtype is None
            or page.dtype.kind not in "buif"
        ):
            raise FrameReadError(
                f"{self.path.name} is a TIFF file whose pixels are neither grey nor RGB. "
                "Save it as grey or RGB, or export it again from the scanner."
            )
        return page

    def _is_rgb(self, page: Any) -> bool:
        if page.photometric == PHOTOMETRIC.PALETTE:
            return bool((page.colormap != page.colormap[0]).any())
        return page.photometric not in GREY

    def _scale_of(self, page: Any) -> Scale:
        if page.photometric == PHOTOMETRIC.PALETTE:
            # Some writers fill the 16-bit colour map with 8-bit values.
            return Scale(black=0, white=65535 if page.colormap.max() > 255 else 255)
        if page.dtype.kind == "u" and page.bitspersample < 16:
            return Scale(black=0, white=2**page.bitspersample - 1)
        return scale_of(self._samples(page))

    def _samples(self, page: Any) -> NDArray[Any]:
        """Stored values of one page, (H, W) or (H, W, samples)."""
        array = np.asarray(page.asarray())
        if page.photometric == PHOTOMETRIC.PALETTE:
            colours = page.colormap if self._is_rgb(page) else page.colormap[:1]
            return np.moveaxis(colours[:, array.reshape(page.imagelength, page.imagewidth)], 0, -1)
        if page.samplesperpixel > 1 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            array = np.moveaxis(array.reshape(-1, page.imagelength, page.imagewidth), 0, -1)
        return array.reshape(page.imagelength, page.imagewidth, -1)

    def _read(self, index: int) -> Frame:
        page = self._check(self._tiff.pages[self._pages[index]])
        premultiplied = ASSOCIATED_ALPHA in page.extrasamples
        pixels = colour_of(to_uint8(self._samples(page), self._scale), premultiplied=premultiplied)
        if page.photometric == PHOTOMETRIC.MINISWHITE:
            pixels = ~pixels
        spacing = self._spacing
        return Frame(
            pixels=upright(pixels, self._orientation),
            spacing_mm=spacing,
            spacing_source="tiff-imagej" if spacing else None,
            spacing_note=None if spacing else "The TIFF file carries no millimetres that ImageJ wrote.",
            source=self.path,
            index=index,
            n_frames=self.n_frames,
            decoder=f"tifffile {tifffile.__version__}",
            warnings=self.warnings,
        )

    def _imagej_spacing(self, page: Any) -> Spacing | None:
        """Millimetres per pixel that ImageJ wrote: its unit, and pixels per unit as resolution."""
        unit = (self._tiff.imagej_metadata or {}).get("unit")
        factor = MILLIMETRES.get(str(unit).lower())
        values = [page.tags.get(name) for name in ("YResolution", "XResolution")]
        if factor is None or not all(tag and tag.value[0] for tag in values):
            return None
        row, column = (factor * tag.value[1] / tag.value[0] for tag in values if tag)
        if not is_plausible((row, column)):
            return None
        return (column, row) if swaps_axes(self._orientation) else (row, column)

    def close(self) -> None:
        self._tiff.close()
