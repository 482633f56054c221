"""TIFF, also as ImageJ writes it, decoded by tifffile."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import PHOTOMETRIC

from ..errors import FrameReadError
from ..types import Frame, Spacing
from .depth import (
    ORIENTATION_TAG,
    Scale,
    colour_of,
    orientation_of,
    orientation_remarks,
    scale_of_frames,
    swaps_axes,
    to_uint8,
    upright,
)
from .frame_source import FrameSource
from .ifd import Page, choose_pages, list_pages
from .limits import Unreadable, check_frames, check_size, is_plausible, missing_frames
from .placement import millimetres_of
from .streams import check_scans, describe_stream

GREY = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
COLOUR = (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR, PHOTOMETRIC.PALETTE)
CAMERA = (PHOTOMETRIC.CFA, PHOTOMETRIC.LINEAR_RAW)
ASSOCIATED_ALPHA = 1

PACKED = frozenset({1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 50000})
"""Compressions that unpack to what the page says: none, fax, LZW, deflate, PackBits, LZMA, Zstandard."""
PICTURES = frozenset({6, 7, 33003, 33004, 33005, 34712, 34933, 50001, 50002, 52546})
"""Compressions whose parts are pictures with a size of their own: JPEG, JPEG 2000, PNG, WebP, JPEG XL."""
JPEGS = frozenset({6, 7})
"""Compressions whose decoder turns YCbCr into RGB."""
METAMORPH_PLANES = 33629
OME_SIZE = re.compile(r'\bSize([CZT])="(\d{1,9})"')
STREAM_HEAD = 2**12
PADDING = 16
"""Pixels by which a part may be larger than its place: JPEG is coded in blocks."""


class TiffSource(FrameSource):
    """A TIFF file; thumbnails, masks and pages of another size are left out.

    Its resolution is a printer's, unless ImageJ wrote it with a unit of length.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._tiff = tifffile.TiffFile(path, is_ome=False)  # OME metadata may name other files
        try:
            file = self._tiff.filehandle
            pages = list_pages(file, file.size)
            check_frames(path, len(pages))
            self._look(pages)
        except BaseException:
            self.close()
            raise

    def _look(self, pages: list[Page]) -> None:
        """Learn what the first page says for all, and which pages are frames."""
        self._pages, remarks = choose_pages(pages)
        first = self._check(self._page(0))
        rows, columns = first.imagelength, first.imagewidth
        self.n_frames = len(self._pages)
        remarks += self._count_planes(first)
        check_frames(self.path, self.n_frames, (rows, columns))
        self.orientation = _orientation(first)
        remarks += orientation_remarks(self.orientation)
        self.shape = (columns, rows) if swaps_axes(self.orientation) else (rows, columns)
        self._scale = self._scale_of(first)
        if self._scale.note:
            remarks.append(self._scale.note)
        self.is_rgb = self._is_rgb(first)
        self._spacing = self._imagej_spacing(first)
        self.warnings = tuple(remarks)

    def _page(self, index: int) -> Any:
        """tifffile's page of a frame."""
        number, *below = self._pages[index if index < len(self._pages) else 0].number
        page = self._tiff.pages[number]
        return page.pages[below[0]] if below else page

    def _count_planes(self, page: Any) -> list[str]:
        """Find frames that have no page of their own, and say what of those that are not there.

        ImageJ writes one page for a stack of more than 4 GB, with the frames one behind the other;
        MetaMorph and tifffile do so too.
        """
        announced, channels = self._announced(page)
        remarks = []
        if announced > self.n_frames:
            if self.n_frames == 1 and page.is_final and page.nbytes:
                behind = self._tiff.filehandle.size - page.dataoffsets[0]
                self.n_frames = max(1, min(announced, behind // page.nbytes))
            if announced > self.n_frames:
                remarks.append(missing_frames(announced, self.n_frames))
        if channels > 1 and self.n_frames > 1:
            remarks.append(f"The stack has {channels} channels; each is read as frames of its own.")
        return remarks

    def _announced(self, page: Any) -> tuple[int, int]:
        """Planes of this page's size that the file's metadata speak of, and channels among them."""
        text = self._tiff.pages[0].description
        if text.startswith("ImageJ="):
            known = {key: _whole(value) for key, value in (self._tiff.imagej_metadata or {}).items()}
            channels = known.get("channels", 1)
            if page.samplesperpixel in (channels, channels + len(page.extrasamples)):
                channels = 1  # the samples of a colour page
            planes = channels * known.get("slices", 1) * known.get("frames", 1)
            return (planes if planes > 1 or page.samplesperpixel > 1 else known.get("images", 1)), channels
        if text.startswith('{"shape"'):  # tifffile's
            try:
                stated = math.prod(map(_whole, json.loads(text)["shape"]))
            except (ValueError, TypeError, KeyError):
                return 1, 1
            planes, rest = divmod(stated, max(1, math.prod(page.shape)))
            return (1 if rest else planes), 1
        if METAMORPH_PLANES in page.tags:
            return _whole(page.tags[METAMORPH_PLANES].count), 1
        sizes = {axis: int(size) for axis, size in OME_SIZE.findall(text)}
        channels = 1 if page.samplesperpixel > 1 else sizes.get("C", 1)
        return channels * sizes.get("Z", 1) * sizes.get("T", 1), channels

    def _check(self, page: Any) -> Any:
        """Refuse a page that is no picture, before memory is taken for it."""
        check_size(self.path, page.imagelength, page.imagewidth)
        samples = page.samplesperpixel - len(page.extrasamples)
        expected = 3 if page.photometric in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR) else 1
        if page.imagedepth != 1:
            raise FrameReadError(
                f"{self.path.name} holds a volume in one page. Save its planes as pages of their own."
            )
        if page.photometric in CAMERA:
            raise FrameReadError(f"{self.path.name} is a camera's raw file. Save it as JPEG or PNG.")
        if (
            page.photometric not in (*GREY, *COLOUR)
            or samples != expected
            or (page.photometric == PHOTOMETRIC.YCBCR and page.compression not in JPEGS)
            or len(page.extrasamples) > 1
            or page.dtype is None
            or page.dtype.kind not in "buif"
        ):
            raise FrameReadError(
                f"{self.path.name} is a TIFF file whose pixels are neither grey nor RGB. "
                "Save it as grey or RGB, or export it again from the scanner."
            )
        if page.compression not in PACKED | PICTURES:
            name = getattr(page.compression, "name", str(page.compression))
            raise FrameReadError(
                f"{self.path.name} is compressed with {name}, which is not read in TIFF. "
                "Save it uncompressed, or with LZW or ZIP."
            )
        pixel_bytes = page.samplesperpixel * page.dtype.itemsize
        check_size(self.path, page.imagelength, page.imagewidth, pixel_bytes)
        if page.is_tiled:
            check_size(self.path, page.tilelength, page.tilewidth, pixel_bytes)
        return page

    def _check_parts(self, page: Any) -> None:
        """Refuse strips and tiles that are missing, or that hold a picture larger than their place."""
        offsets, lengths = page.dataoffsets, page.databytecounts
        if not page.is_contiguous and (len(offsets) < math.prod(page.chunked) or 0 in lengths):
            raise FrameReadError(
                f"{self.path.name} is cut short: parts of its picture are missing. "
                "Copy or export it again from the scanner."
            )
        if page.compression not in PICTURES:
            return
        rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
        columns = page.tilewidth if page.is_tiled else page.imagewidth
        file = self._tiff.filehandle
        for offset, length in zip(offsets, lengths, strict=False):
            file.seek(offset)
            data = file.read(min(length, STREAM_HEAD))
            stream = describe_stream(data) or describe_stream(data := data + file.read(length - len(data)))
            if stream is None:
                raise Unreadable("a part of the picture has no header")
            if stream.rows > rows + PADDING or stream.columns > columns + PADDING or stream.components > 4:
                raise FrameReadError(
                    f"{self.path.name} holds a picture of {stream.rows} rows by {stream.columns} columns in "
                    f"a part of {rows} by {columns}, which is refused. Save it again as PNG or TIFF."
                )
            if stream.is_in_scans:
                check_scans(data + file.read(length - len(data)), stream)

    def _is_rgb(self, page: Any) -> bool:
        if page.photometric == PHOTOMETRIC.PALETTE:
            return bool((page.colormap != page.colormap[0]).any())
        return page.photometric not in GREY

    def _scale_of(self, page: Any) -> Scale:
        if page.photometric == PHOTOMETRIC.PALETTE:
            return Scale(black=0, white=255)  # `_samples` gives 8 bits
        if page.dtype.kind == "u" and page.bitspersample < 16:
            return Scale(black=0, white=2**page.bitspersample - 1)
        return scale_of_frames(self._whole_ones(self._values))

    def _values(self, index: int) -> NDArray[Any]:
        """Stored values of one frame without transparency, (H, W, samples)."""
        page = self._check(self._page(index))
        samples = self._samples(page, index)
        return samples[..., : -len(page.extrasamples)] if page.extrasamples else samples

    def _samples(self, page: Any, index: int) -> NDArray[Any]:
        """Stored values of one frame, (H, W, samples)."""
        self._check_parts(page)
        shape = page.imagelength, page.imagewidth
        array = np.asarray(page.asarray() if index < len(self._pages) else self._plane(page, index))
        if page.photometric == PHOTOMETRIC.PALETTE:
            # Some writers fill the 16-bit colour map with 8-bit values.
            scale = Scale(black=0, white=65535 if page.colormap.max() > 255 else 255)
            colours = to_uint8(page.colormap if self._is_rgb(page) else page.colormap[:1], scale)
            return np.ascontiguousarray(colours.T)[array.reshape(shape)]
        if page.samplesperpixel > 1 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            array = np.moveaxis(array.reshape(-1, *shape), 0, -1)
        return array.reshape(*shape, -1)

    def _plane(self, page: Any, index: int) -> NDArray[Any]:
        """A frame that lies behind the only page's own."""
        file = self._tiff.filehandle
        file.seek(page.dataoffsets[0] + index * page.nbytes)
        stored = np.frombuffer(file.read(page.nbytes), page.dtype.newbyteorder(self._tiff.byteorder))
        return stored.astype(page.dtype, copy=False).reshape(page.shape)

    def _read(self, index: int) -> Frame:
        page = self._check(self._page(index))
        premultiplied = ASSOCIATED_ALPHA in page.extrasamples
        pixels = colour_of(to_uint8(self._samples(page, index), self._scale), premultiplied=premultiplied)
        if page.photometric == PHOTOMETRIC.MINISWHITE:
            pixels = ~pixels
        pixels = upright(pixels, _orientation(page))
        if pixels.shape[:2] != self.shape or (pixels.ndim == 3) != self.is_rgb:
            raise FrameReadError(
                f"{self.path.name} stores frame {index + 1} in another way than the first: turned, or in "
                "other colours. Save it as a file of its own."
            )
        spacing = self._spacing
        return Frame(
            pixels=pixels,
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
        factor = millimetres_of(str(unit))
        values = [page.tags.get(name) for name in ("YResolution", "XResolution")]
        if factor is None or not all(tag and tag.value[0] for tag in values):
            return None
        row, column = (factor * tag.value[1] / tag.value[0] for tag in values if tag)
        if not is_plausible((row, column)):
            return None
        return (column, row) if swaps_axes(self.orientation) else (row, column)

    def close(self) -> None:
        self._tiff.close()


def _orientation(page: Any) -> int:
    tag = page.tags.get(ORIENTATION_TAG)
    return orientation_of(int(tag.value)) if tag and isinstance(tag.value, int) else 1


def _whole(value: object) -> int:
    """A count that metadata give; 1 where it is none."""
    return int(value) if isinstance(value, int | float) and 1 <= value <= 2**40 else 1
