"""PNG, JPEG, BMP and GIF, decoded by Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from ..errors import FrameReadError
from ..types import Frame
from .depth import Scale, colour_of, scale_of, to_uint8
from .frame_source import FrameSource
from .limits import MAX_FRAME_PIXELS, check_frames, check_size
from .orientation import ORIENTATION_TAG, orientation_remarks, swaps_axes, upright

__all__ = ["ImageSource"]

FORMATS = ("PNG", "JPEG", "BMP", "GIF")
AS_STORED = ("L", "LA", "RGB", "RGBA")
FULL_RANGE = Scale(black=0, white=65535)


class ImageSource(FrameSource):
    """A PNG, JPEG, BMP or GIF file.

    The dpi that such a file may carry are a printer's, so there are no millimetres.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._image = Image.open(path, formats=FORMATS)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as cause:
            raise FrameReadError(
                f"{path.name} has more than {MAX_FRAME_PIXELS // 2**20} million pixels, which is refused. "
                "Crop it, or export it again from the scanner."
            ) from cause
        try:
            self._look()
        except BaseException:
            self.close()
            raise

    def _look(self) -> None:
        """Learn all that the header says, before any pixel is decoded."""
        image = self._image
        check_size(self.path, image.height, image.width)
        # Phones append previews of other sizes to a JPEG; only these two hold cines.
        self.n_frames = getattr(image, "n_frames", 1) if image.format in ("GIF", "PNG") else 1
        check_frames(self.path, self.n_frames)
        orientation = int(image.getexif().get(ORIENTATION_TAG, 1))
        self._orientation = orientation
        self.warnings = orientation_remarks(orientation)
        self.shape = (image.width, image.height) if swaps_axes(orientation) else (image.height, image.width)
        self._mode = _mode_of(image)
        self.is_rgb = self._mode.startswith("RGB")

    def _read(self, index: int) -> Frame:
        if self.n_frames > 1:
            self._image.seek(index)
        image = self._image
        array = np.asarray(image if image.mode == self._mode else image.convert(self._mode))
        # Only PNG brings 16 bits here, and its samples always use all of them.
        pixels = to_uint8(array, FULL_RANGE if array.dtype == np.uint16 else scale_of(array))
        milliseconds = image.info.get("duration") if self.n_frames > 1 else None
        return Frame(
            pixels=upright(colour_of(pixels), self._orientation),
            spacing_note=f"A {image.format} file carries no millimetres.",
            source=self.path,
            index=index,
            n_frames=self.n_frames,
            frame_time_s=milliseconds / 1000 if milliseconds else None,
            decoder=f"Pillow {PIL.__version__}",
            warnings=self.warnings,
        )

    def close(self) -> None:
        self._image.close()


def _mode_of(image: Image.Image) -> str:
    """Pillow's mode that keeps what the file stores: grey stays grey, alpha stays to be blended."""
    if image.format == "GIF":
        return "RGBA"
    if image.mode in AS_STORED:
        return image.mode
    if image.mode == "1":
        return "L"
    if image.mode.startswith("I"):
        return "I;16"
    if image.mode == "P" and "transparency" in image.info:
        return "RGBA"
    if image.mode == "P":
        palette = np.array(image.getpalette(), dtype=np.uint8).reshape(-1, 3)
        return "L" if (palette == palette[:, :1]).all() else "RGB"
    return "RGB"
