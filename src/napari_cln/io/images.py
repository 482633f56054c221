"""PNG, JPEG, BMP, GIF, WebP, JPEG 2000 and AVIF, decoded by Pillow.

What has 16 bits is decoded by imagecodecs: of PNG all, of JPEG 2000 what uses fewer of them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, features

from ..errors import FrameReadError
from ..types import Frame
from .depth import (
    FULL_RANGE,
    ORIENTATION_TAG,
    Scale,
    colour_of,
    is_16_bit,
    orientation_of,
    orientation_remarks,
    scale_of,
    scale_of_frames,
    swaps_axes,
    to_uint8,
    upright,
)
from .frame_source import FrameSource
from .limits import MAX_FRAME_PIXELS, check_frames, check_size, missing_frames
from .signatures import HEAD_BYTES, picture_format, walk_boxes
from .streams import Stream, check_scans, describe_stream, webp_size

AS_STORED = ("L", "LA", "RGB", "RGBA")
NEEDED = {"AVIF": "avif", "WEBP": "webp", "JPEG2000": "jpg_2000"}
"""Parts that Pillow must be built with, by format."""
SHOWN_AS = {"JPEG2000": "JPEG 2000", "WEBP": "WebP", "MPO": "JPEG"}
VERSION = imagecodecs.__version__
MAX_ANIMATION_PIXELS = 2**36
"""Pixels of all frames of an animated picture: eighteen minutes of 1080p at 30 frames a second."""
STREAM_HEAD = 2**14


class ImageSource(FrameSource):
    """A picture file; GIF, PNG, WebP and AVIF may hold a cine.

    The dpi that such a file may carry are a printer's, so there are no millimetres.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._deep: NDArray[Any] | None = None
        self._broken: int | None = None
        self._starts_s: list[float | None] = [0.0]
        self._n_streams = 1
        self._stream: Stream | None = None  # the first one of a JPEG 2000
        png = self._check_file()
        try:
            self._image = Image.open(path, formats=(self._format,))
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as cause:
            raise FrameReadError(
                f"{path.name} has more than {MAX_FRAME_PIXELS // 2**20} million pixels, which is refused. "
                "Crop it, or export it again from the scanner."
            ) from cause
        try:
            self._look(png)
        except BaseException:
            self.close()
            raise

    def _check_file(self) -> Png | None:
        """Find out what Pillow would do with the file, before it does."""
        with self.path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            self._format = picture_format(head) or ""
            name = SHOWN_AS.get(self._format, self._format)
            if self._format in NEEDED and not features.check(NEEDED[self._format]):
                raise FrameReadError(
                    f"{self.path.name} is a picture in {name}, which the installed Pillow does not read. "
                    "Update Pillow, or save the picture as PNG."
                )
            if self._format == "WEBP":
                check_size(self.path, *webp_size(head), pixel_bytes=4)  # opening it takes the memory
            if self._format == "JPEG":
                self._check_jpeg(file, head)
            if self._format == "JPEG2000":
                starts = [start for kind, start, _ in walk_boxes(file) if kind == b"jp2c"]
                self._n_streams = len(starts)
                file.seek(starts[0] if starts else 0)  # a code stream may have no box
                self._stream = describe_stream(file.read(STREAM_HEAD))
            return describe_png(file) if self._format == "PNG" else None

    def _check_jpeg(self, file: BinaryIO, head: bytes) -> None:
        head += file.read(STREAM_HEAD)
        stream = describe_stream(head) or describe_stream(head := head + file.read())
        if stream is not None:
            check_size(self.path, stream.rows, stream.columns, 3)
            if stream.process != "JPEG" or stream.bits != 8:
                raise FrameReadError(
                    f"{self.path.name} is a picture in {stream.process} of {stream.bits} bits, which is not "
                    "read as a file of its own. Save it as PNG or TIFF."
                )
            check_scans(head + file.read() if stream.is_in_scans else head, stream)

    def _look(self, png: Png | None) -> None:
        """Learn all that the header says, before any pixel is decoded."""
        image = self._image
        check_size(self.path, image.height, image.width, len(image.getbands()))
        self.n_frames, remarks = self._count(png)
        check_frames(self.path, self.n_frames, (image.height, image.width))
        if self.n_frames * image.height * image.width > MAX_ANIMATION_PIXELS:
            raise FrameReadError(
                f"{self.path.name} has {self.n_frames} frames of {image.height} rows and {image.width} "
                "columns, more than an animation is read of. Save it as a video."
            )
        # Pillow decodes a PNG to look for EXIF data behind its pixels, and 16 bits are not for Pillow.
        is_known = png is not None and png.bits == 16 and not png.is_annotated_late
        exif = Image.Image.getexif(image) if is_known else image.getexif()
        self.orientation = orientation_of(exif.get(ORIENTATION_TAG, 1))
        remarks = [*orientation_remarks(self.orientation), *remarks]
        turned = swaps_axes(self.orientation)
        self.shape = (image.width, image.height) if turned else (image.height, image.width)
        self._size = image.size
        self._mode = _mode_of(image)
        self.is_rgb = self._mode.startswith("RGB")
        self._scale = FULL_RANGE
        if png is not None and png.bits == 16:
            self._scale = self._look_deep(png)
        elif self._stream is not None and self._stream.bits == 16:
            self._scale = self._look_deep_stream(self._stream)
        remarks += [self._scale.note] if self._scale.note else []
        self.warnings = tuple(remarks)

    def _count(self, png: Png | None) -> tuple[int, list[str]]:
        """Count the frames that can be read, and say what of the others."""
        here = int(getattr(self._image, "n_frames", 1))
        pictures = here if self._image.format == "MPO" else self._n_streams
        if pictures > 1:
            name = SHOWN_AS[str(self._image.format)]
            return 1, [f"The {name} file holds {pictures} pictures; the first is read."]
        if png is None or png.announced == png.present == here:
            return here, []
        n_frames = min(here, png.present)
        if png.present < png.announced:
            return n_frames, [missing_frames(png.announced, n_frames)]
        return n_frames, [f"The file holds {png.present} frames and announces {here}; so many are read."]

    def _look_deep(self, png: Png) -> Scale:
        """Decode a PNG of 16 bits, and find out how many of them are used.

        Pillow keeps 16 bits of grey only.
        """
        if self.n_frames > 1 and self._mode == "I;16":
            return scale_of_frames(self._whole_ones(self._decode), bits=png.significant)
        check_size(self.path, self._image.height, self._image.width, 2 * png.samples)
        deep = imagecodecs.png_decode(self.path.read_bytes())
        if deep.ndim == 3:
            deep = deep[..., : png.samples]  # a colour that counts as transparent adds alpha
        scale = scale_of(deep[..., :-1] if png.samples in (2, 4) else deep, bits=png.significant)
        if self.n_frames == 1:
            self._deep, self.is_rgb = deep, png.samples > 2
        elif scale.note:
            raise FrameReadError(
                f"{self.path.name} is an animated PNG of 16-bit colours that uses fewer bits. "
                "Save it as TIFF."
            )
        return scale

    def _look_deep_stream(self, stream: Stream) -> Scale:
        """Decode a JPEG 2000 of 16 bits, and find out how many of them are used.

        One that says that it has fewer is brought to 16 by Pillow, which keeps 8 bits of colours.
        """
        check_size(self.path, stream.rows, stream.columns, 2 * stream.components)
        deep = imagecodecs.jpeg2k_decode(self.path.read_bytes())
        samples = deep.shape[2] if deep.ndim == 3 else 1
        scale = scale_of(deep[..., :-1] if samples in (2, 4) else deep)
        size = self._image.height, self._image.width
        if deep.dtype != np.uint16 or deep.shape[:2] != size or not scale.note:
            return FULL_RANGE  # and Pillow's
        self._deep, self.is_rgb = deep, samples > 2
        return scale

    def _read(self, index: int) -> Frame:
        image = self._image
        array = self._decode(index)
        if is_16_bit(array):
            alpha = array.ndim == 3 and array.shape[2] in (2, 4)
            pixels = to_uint8(array[..., :-1] if alpha else array, self._scale)
            if alpha:
                pixels = np.dstack([pixels, to_uint8(array[..., -1], FULL_RANGE)])
        else:
            pixels = to_uint8(array, scale_of(array))
        milliseconds = image.info.get("duration") if self.n_frames > 1 else None
        name = SHOWN_AS.get(self._format, self._format)
        return Frame(
            pixels=upright(colour_of(pixels), self.orientation),
            spacing_note=f"A {name} file carries no millimetres.",
            source=self.path,
            index=index,
            n_frames=self.n_frames,
            frame_time_s=milliseconds / 1000 if milliseconds else None,
            time_s=self._starts_s[index] if self.n_frames > 1 else None,
            decoder=f"Pillow {PIL.__version__}" if self._deep is None else f"imagecodecs {VERSION}",
            warnings=self.warnings,
        )

    def _decode(self, index: int) -> NDArray[Any]:
        """Samples of a frame, uint8 or uint16, (H, W) or (H, W, samples)."""
        image = self._image
        if self.n_frames == 1:
            if self._deep is not None:
                return self._deep
        else:
            self._seek(index)
        if image.size != self._size:
            raise FrameReadError(
                f"{self.path.name} is {self._size[1]} rows by {self._size[0]} columns, but its frame "
                f"{index + 1} is {image.height} by {image.width}. Export it again from the scanner."
            )
        return np.asarray(image if image.mode == self._mode else image.convert(self._mode))

    def _seek(self, index: int) -> None:
        """Go to a frame. Each one leans on those before it, so none behind a damaged one is tried."""
        if self._broken is not None and index >= self._broken:
            raise FrameReadError(
                f"{self.path.name} is damaged at frame {self._broken + 1} of {self.n_frames}; those behind "
                "it can't be read. Open it in an image viewer to check that it is whole, or export it again."
            )
        for step in range(min(self._image.tell() + 1, index, len(self._starts_s) - 1), index + 1):
            try:
                self._image.seek(step)
                self._image.load()
            except Exception:
                self._broken = step
                raise
            if step == len(self._starts_s) - 1:
                start, lasts = self._starts_s[step], self._image.info.get("duration")
                self._starts_s.append(start + lasts / 1000 if lasts and start is not None else None)

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


# ------------------------------------------------------------ PNG


SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples a pixel by colour type: grey, RGB, palette, grey + alpha, RGB + alpha."""


@dataclass(frozen=True, kw_only=True)
class Png:
    """Depth and frames of a PNG file.

    ``significant`` is how many bits of a sample count, where the file says (sBIT). ``announced``
    is the number of frames that it claims, ``present`` the number whose data is there, one
    after the other from the first. ``is_annotated_late`` says that text or EXIF data may follow
    the pixels of a 16-bit file.
    """

    bits: int
    samples: int
    significant: int | None = None
    announced: int = 1
    present: int = 1
    is_annotated_late: bool = False


def describe_png(file: BinaryIO) -> Png:
    """Walk the chunks of a PNG file: to its first pixels; of an animation or 16 bits to its end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(8)
    bits, samples, significant, announced = 8, 1, None, None
    stills = frames = 0
    is_open = False  # a frame was begun whose data has not come yet
    has_pixels = is_annotated_late = False
    while len(start := file.read(8)) == 8:
        length, kind, position = int.from_bytes(start[:4], "big"), start[4:], file.tell()
        if position + length > size:
            break
        match kind:
            case b"IHDR":
                head = file.read(10)
                bits, samples = head[8], SAMPLES.get(head[9], 1)
            case b"sBIT":
                significant = max(file.read(length), default=None)
            case b"acTL" if announced is None and not has_pixels:
                announced = int.from_bytes(file.read(4), "big")
            case b"fcTL":
                if is_open:
                    break
                is_open = True
            case b"IDAT" | b"fdAT" if length > (4 if kind == b"fdAT" else 0):
                if announced is None and bits != 16:
                    break
                has_pixels = True
                if is_open:
                    frames += 1
                elif not frames:
                    stills = 1  # the picture for those who know no animation
                is_open = False
            case b"eXIf" | b"tEXt" | b"zTXt" | b"iTXt" if has_pixels:
                is_annotated_late = True
        file.seek(position + length + 4)
    return Png(
        bits=bits,
        samples=samples,
        significant=significant,
        announced=max(1, (announced or 0) + stills),
        present=max(1, frames + stills),
        is_annotated_late=is_annotated_late,
    )
