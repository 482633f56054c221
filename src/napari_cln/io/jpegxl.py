"""JPEG XL pictures, decoded by imagecodecs once their header has been read here.

The decoder takes the memory that a picture asks for, so size, depth and kind are read first, from
the first bits of the code stream (ISO/IEC 18181-1, annexes C and D).
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from ..errors import FrameReadError
from ..types import Frame
from .depth import colour_of, orientation_remarks, scale_of, to_uint8
from .frame_source import FrameSource
from .limits import Unreadable, check_size
from .signatures import walk_boxes

CODE_STREAM = b"\xff\x0a"
CODE_STREAMS = (b"jxlc", b"jxlp")
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
RATIOS = ((1, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
SIDES = ((9, 1), (13, 1), (18, 1), (30, 1))
MAX_EXTRA = 4
GREY = 1
ALPHA, SPOT, CFA = 0, 2, 5


@dataclass(frozen=True, kw_only=True)
class JpegXL:
    """Header of a JPEG XL picture.

    ``is_transformed`` says that the decoder turns the stored colours into RGB, whatever they
    were. ``rows`` and ``columns`` are those of the decoded, upright picture.
    """

    rows: int
    columns: int
    bits: int
    components: int
    has_alpha: bool
    is_animated: bool
    is_transformed: bool
    orientation: int = 1


class _Bits:
    """Bits of a code stream, lowest first."""

    def __init__(self, data: bytes) -> None:
        self._data = int.from_bytes(data, "little")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise Unreadable("the JPEG XL header is cut short")
        value = self._data & ((1 << count) - 1)
        self._data >>= count
        self._left -= count
        return value

    def choose(self, *choices: tuple[int, int]) -> int:
        """One of four numbers, each given by how many bits it takes and what is added to them."""
        count, offset = choices[self.take(2)]
        return self.take(count) + offset


def describe_jpegxl(data: bytes) -> JpegXL | None:
    """Read the header of a JPEG XL picture; None for anything else.

    Raises
    ------
    Unreadable
        If the header is cut short or has more extra channels than a picture can need.
    """
    is_jpeg = False
    if data.startswith(CONTAINER):
        boxes = list(walk_boxes(BytesIO(data)))
        is_jpeg = any(kind == b"jbrd" for kind, _, _ in boxes)  # what a JPEG needs to be had back
        starts = [start + (4 if kind == b"jxlp" else 0) for kind, start, _ in boxes if kind in CODE_STREAMS]
        data = data[min(starts, default=len(data)) :]
    if not data.startswith(CODE_STREAM):
        return None
    return _read_header(_Bits(data[2:258]), is_jpeg)


def _read_header(bits: _Bits, is_jpeg: bool) -> JpegXL:
    rows, columns = _read_size(bits)
    if bits.take(1):  # everything as usual: 8 bits of RGB, stored in the codec's own colours
        return JpegXL(
            rows=rows,
            columns=columns,
            bits=8,
            components=3,
            has_alpha=False,
            is_animated=False,
            is_transformed=True,
        )
    orientation, is_animated = 1, False
    if bits.take(1):
        orientation = 1 + bits.take(3)
        if bits.take(1):
            _read_size(bits)
        if bits.take(1):
            _read_preview(bits)
        if is_animated := bool(bits.take(1)):
            bits.choose((0, 100), (0, 1000), (10, 1), (30, 1))
            bits.choose((0, 1), (0, 1001), (8, 1), (10, 1))
            bits.choose((0, 0), (3, 0), (16, 0), (32, 0))
            bits.take(1)
    depth = _read_depth(bits)
    bits.take(1)
    extra = bits.choose((0, 0), (0, 1), (4, 2), (12, 1))
    if extra > MAX_EXTRA:
        raise Unreadable(f"the JPEG XL picture has {extra} extra channels")
    has_alpha = ALPHA in [_read_extra(bits) for _ in range(extra)]
    is_transformed = bool(bits.take(1)) or is_jpeg
    is_grey = False
    if not bits.take(1):
        bits.take(1)  # a colour profile follows
        is_grey = bits.choose((0, 0), (0, 1), (4, 2), (6, 18)) == GREY
    if orientation > 4:
        rows, columns = columns, rows
    return JpegXL(
        rows=rows,
        columns=columns,
        bits=depth,
        components=1 if is_grey else 3,
        has_alpha=has_alpha,
        is_animated=is_animated,
        is_transformed=is_transformed,
        orientation=orientation,
    )


def _read_size(bits: _Bits) -> tuple[int, int]:
    small = bits.take(1)
    rows = 8 * (bits.take(5) + 1) if small else bits.choose(*SIDES)
    if ratio := bits.take(3):
        across, down = RATIOS[ratio]
        return rows, rows * across // down
    return rows, 8 * (bits.take(5) + 1) if small else bits.choose(*SIDES)


def _read_preview(bits: _Bits) -> None:
    small = bits.take(1)
    sides = ((0, 16), (0, 32), (5, 1), (9, 33)) if small else ((6, 1), (8, 65), (10, 321), (12, 1345))
    bits.choose(*sides)
    if not bits.take(3):
        bits.choose(*sides)


def _read_depth(bits: _Bits) -> int:
    if bits.take(1):  # floating point
        depth = bits.choose((0, 32), (0, 16), (0, 24), (6, 1))
        bits.take(4)
        return depth
    return bits.choose((0, 8), (0, 10), (0, 12), (6, 1))


def _read_extra(bits: _Bits) -> int:
    """Read what is said about an extra channel, and return its kind."""
    if bits.take(1):
        return ALPHA
    kind = bits.choose((0, 0), (0, 1), (4, 2), (6, 18))
    _read_depth(bits)
    bits.choose((0, 0), (0, 3), (0, 4), (3, 1))
    bits.take(8 * bits.choose((0, 0), (4, 0), (5, 16), (10, 48)))
    if kind == ALPHA:
        bits.take(1)
    elif kind == SPOT:
        bits.take(64)
    elif kind == CFA:
        bits.choose((0, 1), (2, 0), (4, 3), (8, 19))
    return kind


class JpegXLSource(FrameSource):
    """A JPEG XL picture."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        picture = describe_jpegxl(path.read_bytes())
        if picture is None:
            raise Unreadable("no JPEG XL code stream")
        if picture.is_animated:
            raise FrameReadError(
                f"{path.name} is an animated JPEG XL picture, which is not read. Save it as GIF or PNG."
            )
        samples = picture.components + picture.has_alpha
        check_size(path, picture.rows, picture.columns, samples * max(1, picture.bits / 8))
        self.n_frames, self.shape = 1, (picture.rows, picture.columns)
        self.is_rgb = picture.components == 3
        self.orientation = picture.orientation
        self._remarks = orientation_remarks(picture.orientation)
        self.warnings = self._remarks
        self._samples = samples

    def _read(self, index: int) -> Frame:
        import imagecodecs

        samples = imagecodecs.jpegxl_decode(self.path.read_bytes())
        if samples.shape[:2] != self.shape or (samples.ndim == 3) != (self._samples > 1):
            raise Unreadable(f"the JPEG XL picture has the shape {samples.shape}")
        alpha = self._samples in (2, 4)
        scale = scale_of(samples[..., :-1] if alpha else samples)
        if scale.note and scale.note not in self.warnings:
            self.warnings = (*self._remarks, scale.note)
        return Frame(
            pixels=colour_of(to_uint8(samples, scale)),
            spacing_note="A JPEG XL file carries no millimetres.",
            source=self.path,
            decoder=f"imagecodecs {imagecodecs.__version__}",
            warnings=self.warnings,
        )

    def close(self) -> None:
        """Nothing is held open."""
