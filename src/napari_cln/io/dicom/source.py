"""DICOM stills and cines: each frame is read and decoded when it is asked for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from ...disk.user import image_key, pseudonym
from ...errors import FrameReadError
from ...types import Frame
from ..depth import Scale, is_16_bit, scale_of_frames, to_uint8
from ..frame_source import UNEVEN, FrameSource, even_step
from ..limits import Unreadable, missing_frames
from ..signatures import HEAD_BYTES, container_of
from ..streams import Colours, Stream, check_stream, describe_stream
from . import codecs, numbers_of
from .calibration import Calibration, calibrate
from .colour import as_stated, grey_to_uint8, has_window, is_green, is_mostly_grey, rgb_of_ycbcr, rgb_to_uint8
from .encapsulation import is_run_length_coded
from .file import DicomFile
from .palette import Palette, palette_of

if TYPE_CHECKING:
    from ..video import VideoStream

ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6."
GREEN_REMARK = "More than 30 % of the picture is strongly green: its colours may be decoded wrongly."

GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
BY_DECODER = ("YBR_RCT", "YBR_ICT", "XYB")
"""Photometric interpretations that the decoder of JPEG 2000 or JPEG XL turns into RGB."""
COLOURS_OF: dict[str, Colours] = {
    "RGB": "RGB",
    "YBR_FULL": "YCbCr",
    "YBR_FULL_422": "YCbCr",
    **dict.fromkeys(BY_DECODER, "RGB"),
}
STREAM_HEAD = 2**16
"""Bytes of a frame in which its own description nearly always stands."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's remarks on odd values from the user: what matters becomes a sentence here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pydicom|PIL|highdicom")
        yield


@dataclass(kw_only=True)
class _Samples:
    """A decoded frame: its samples, bits of each, their colours where the data prove them, and remarks.

    ``is_converted`` says that the decoder has changed the colours itself.
    """

    values: NDArray[Any]
    bits: int
    colours: Colours | None = None
    is_converted: bool = False
    remarks: list[str] = field(default_factory=list)


class DicomSource(FrameSource):
    """A DICOM file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._video: VideoStream | None = None
        with quiet():
            self._file = DicomFile(path)
            try:
                self._look()
            except BaseException:
                self.close()
                raise

    def _look(self) -> None:
        """Learn all that holds for every frame."""
        file, header = self._file, self._file.header
        self.n_frames, self.shape = file.n_frames, file.shape
        self._stated = str(header.PhotometricInterpretation)
        self._scale: Scale | None = None
        self._decoder = codecs.decoder_name(file.syntax)
        remarks = [*_remarks(header), *file.remarks]
        self._palette = self._read_palette(remarks)
        self.is_rgb = self._palette is not None or header.SamplesPerPixel == 3
        if file.is_encapsulated and (stream := self._describe_first()) is not None:
            self.is_rgb = stream.components == 3 or self._palette is not None
            remarks += self._stream_remarks(stream)
        self._video = self._open_video()
        if self._video is not None:
            video = self._video
            if video.n_frames < self.n_frames:
                remarks.append(missing_frames(self.n_frames, video.n_frames))
            self.n_frames, self.shape, self.is_rgb = video.n_frames, video.shape, video.is_rgb
            self._decoder = f"{self._decoder}, {video.decoder}"
        calibration = calibrate(header, self.shape)
        self._times_s, frame_time_s = _timing(header, self.n_frames)
        if self._video is not None and (played_s := _stamps(self._video)):
            if self._times_s or frame_time_s:
                said_s = self._times_s or [0.0, (self.n_frames - 1) * (frame_time_s or 0.0)]
                remarks += _time_remarks(said_s[-1], played_s[-1], self.n_frames - 1)
            else:
                self._times_s, frame_time_s = played_s, even_step(played_s)
        self.warnings = (*remarks, *_aspect_remarks(header, calibration))
        maker = (str(header.get(name) or "").strip() for name in ("Manufacturer", "ManufacturerModelName"))
        self._frame = partial(
            Frame,
            **vars(calibration),
            source=self.path,
            n_frames=self.n_frames,
            frame_time_s=frame_time_s,
            image_key=image_key(str(header.get("SOPInstanceUID") or "")),
            patient_id=pseudonym(str(header.get("PatientID") or "")),
            vendor=" ".join(filter(None, maker)) or None,
            decoder=self._decoder,
        )

    def _open_video(self) -> VideoStream | None:
        """The pixel data as a video, where it is one (MPEG-2, H.264, H.265)."""
        form = codecs.VIDEO_FORMATS.get(self._file.syntax)
        if form is None:
            return None
        from ..video import VideoStream

        data = self._file.read(0)
        return VideoStream(self.path, BytesIO(data), container_of(data[:HEAD_BYTES]) or form)

    def _read_palette(self, remarks: list[str]) -> Palette | None:
        """Colours of the stored values, where the picture has a palette; what is odd goes to `remarks`."""
        if self._stated != "PALETTE COLOR":
            return None
        try:
            palette = palette_of(self._file.header, is_little_endian=self._file.is_little_endian)
        except ValueError as cause:
            raise FrameReadError(
                f"{self.path.name} can't be shown in its colours: {cause}. "
                "Export it again from the scanner as RGB."
            ) from cause
        remarks += [palette.remark] if palette.remark else []
        return palette

    def _describe_first(self) -> Stream | None:
        """Read what the first frame says of itself, from its start where that is enough."""
        if self._file.syntax in codecs.VIDEO_FORMATS:
            return None
        return describe_stream(self._file.read(0, STREAM_HEAD)) or describe_stream(self._file.read(0))

    def _stream_remarks(self, stream: Stream) -> list[str]:
        """Say where the header names other colours or another compression than a frame does."""
        header, syntax, remarks = self._file.header, self._file.syntax, []
        if codecs.is_native(syntax):
            pass  # that it is compressed at all has been said
        elif stream.process not in codecs.COMPRESSIONS.get(syntax, ()):
            said = codecs.syntax_name(syntax)
            remarks.append(
                f"The file says it is compressed in {said}, but it is {stream.process} and was read so."
            )
        if stream.components != header.SamplesPerPixel:
            remarks.append(
                f"The file says it has {header.SamplesPerPixel} samples a pixel, but its {stream.process} "
                f"data has {stream.components} and was read so."
            )
        elif stream.components == 3 and stream.colours is not None and not self._agrees(stream):
            remarks.append(
                f"The file says its colours are {self._stated}, but its {stream.process} data is "
                f"{stream.colours} and was read so."
            )
        return remarks

    def _agrees(self, stream: Stream) -> bool:
        """Tell whether the header names the colours that a frame proves."""
        if stream.process in codecs.JPEG_2000:
            return self._stated in ("RGB", "YBR_RCT", "YBR_ICT")
        if stream.process == "JPEG XL":
            return self._stated in ("RGB", "XYB") or self._file.syntax == codecs.JPEG_XL_OF_JPEG
        return self._stated.startswith("YBR" if stream.colours == "YCbCr" else "RGB")

    def _read(self, index: int) -> Frame:
        remarks: tuple[str, ...] = ()
        with quiet():
            if self._video is not None:
                pixels = self._video.read(index).copy()
            else:
                pixels, remarks = self._decode(index)
        if pixels.shape[:2] != self.shape or (pixels.ndim == 3) != self.is_rgb:
            raise Unreadable(f"the frame has the shape {pixels.shape}")
        new = tuple(remark for remark in remarks if remark not in self.warnings)
        time_s = self._times_s[index] if self._times_s else None
        return self._frame(pixels=pixels, index=index, time_s=time_s, warnings=self.warnings + new)

    def _decode(self, index: int) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
        """Pixels of a frame, and what is odd about it."""
        found = self._samples(index)
        values = found.values
        if values.ndim == 3:
            pixels, remarks = self._colours(found)
            return pixels, (*found.remarks, *remarks)
        if self._palette is not None:
            return self._palette.paint(values), tuple(found.remarks)
        if self._stated not in (*GREY, *COLOURS_OF):
            raise self._unknown_colours()
        if found.bits == 16 and is_16_bit(values) and not has_window(self._file.header):
            scale = self._scale_of_all()
            pixels = to_uint8(values, scale)
            found.remarks += [scale.note] if scale.note else []
        else:
            pixels = grey_to_uint8(values, self._file.header, found.bits)
        return (~pixels if self._stated == "MONOCHROME1" else pixels), tuple(found.remarks)

    def _samples(self, index: int) -> _Samples:
        file, header = self._file, self._file.header
        data = file.read(index)
        stream = check_stream(data, *self.shape, file.frame_bytes) if file.is_encapsulated else None
        if stream is not None:
            values, colours = codecs.decode(data, stream, file.syntax)
            found = _Samples(
                values=as_stated(values, stream.bits, bool(header.get("PixelRepresentation"))),
                bits=file.bits,
                colours=colours,
                is_converted=stream.process == "JPEG" and colours is not None,
                remarks=self._stream_remarks(stream),
            )
            if stream.bits < found.bits or (stream.bits > found.bits and found.values.max() >= 2**found.bits):
                found.remarks.append(
                    f"The file says it stores {found.bits} bits, but its {stream.process} data has "
                    f"{stream.bits} and was read so."
                )
                found.bits = stream.bits
        else:
            found = _Samples(values=self._decode_plain(data), bits=file.bits)
            found.colours = "YCbCr" if file.is_halved else None
        values = found.values
        if values.ndim == 3 and values.shape[2] == 1:
            found.values = values[..., 0]
        elif values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] != 3):
            raise Unreadable(f"the frame has the shape {values.shape}")
        return found

    def _decode_plain(self, data: bytes) -> NDArray[Any]:
        """Samples of a frame that is stored as it is, deflated, or run-length coded."""
        file, header = self._file, self._file.header
        syntax = file.syntax if codecs.is_native(file.syntax) else ExplicitVRLittleEndian
        if file.is_encapsulated and file.syntax == codecs.DEFLATED_FRAMES:
            data = codecs.inflate(data, file.frame_bytes)
        elif file.is_encapsulated:
            if not is_run_length_coded(data):
                raise Unreadable("a frame is in no known compression")
            data, syntax = encapsulate([data], has_bot=False), RLELossless
        options = as_pixel_options(
            header, number_of_frames=1, pixel_keyword="PixelData", pixel_vr=file.pixel_vr
        )
        options["bits_stored"] = file.bits
        if header.SamplesPerPixel == 3:
            options["photometric_interpretation"] = "YBR_FULL_422" if file.is_halved else "RGB"
        plugin = "pydicom" if syntax == RLELossless else ""
        samples, _ = get_decoder(syntax).as_array(data, index=0, raw=True, decoding_plugin=plugin, **options)
        return samples

    def _scale_of_all(self) -> Scale:
        """Find which of 16 stored bits the frames use, so that grey does not flicker."""
        if self._scale is None:
            self._scale = scale_of_frames(self._whole_ones(lambda index: self._samples(index).values))
        return self._scale

    def _colours(self, found: _Samples) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
        """Colour samples as RGB, and what to say where the header is not believed.

        Where the data prove nothing, the header is asked; where that gives a green picture and
        the other reading a grey one, the other one is right.
        """
        eight, said = (
            rgb_to_uint8(found.values, found.bits),
            f"The file says its colours are {self._stated}, but",
        )
        remarks: tuple[str, ...] = ()
        # A header of grey or a palette says nothing of the three samples that are there.
        colours = found.colours or COLOURS_OF.get(self._stated, "RGB" if self._stated in GREY else None)
        if colours is None:
            raise self._unknown_colours()
        if found.colours is None and self._stated in BY_DECODER:
            remarks = (f"{said} its data is not coded so and was read as RGB.",)
        pixels = rgb_of_ycbcr(eight) if colours == "YCbCr" else eight
        if not is_green(pixels):
            return pixels, remarks
        other = eight if colours == "YCbCr" else rgb_of_ycbcr(eight)
        if found.is_converted or is_green(other) or not is_mostly_grey(other):
            return pixels, (*remarks, GREEN_REMARK)
        actual = "RGB" if colours == "YCbCr" else "YCbCr"
        return other, (f"{said} that picture is strongly green: it is {actual} and was read so.",)

    def _unknown_colours(self) -> FrameReadError:
        return FrameReadError(
            f"{self.path.name} stores its colours as {self._stated}, which is not known. "
            "Export it again from the scanner as RGB."
        )

    def close(self) -> None:
        if self._video is not None:
            self._video.close()
        self._file.close()


def _remarks(header: Dataset) -> list[str]:
    """Sentences for the user about the whole file."""
    remarks = []
    modality = str(header.get("Modality") or "")
    if modality != "US" and not str(header.get("SOPClassUID") or "").startswith(ULTRASOUND):
        remarks.append(f"This is no ultrasound: the modality is {modality or 'not given'}.")
    return remarks


def _aspect_remarks(header: Dataset, calibration: Calibration) -> tuple[str, ...]:
    """Sentence about pixels that are not square, where no millimetres make up for it."""
    ratio = numbers_of(header, "PixelAspectRatio")
    if calibration.regions or calibration.spacing_mm or len(ratio) != 2 or ratio[0] == ratio[1]:
        return ()
    return (f"Pixels are not square ({ratio[0]:g}:{ratio[1]:g}): axis ratios in pixels are not true.",)


def _timing(header: Dataset, n_frames: int) -> tuple[list[float], float | None]:
    """Seconds from the first frame of a cine to each, where the file says them, and between even ones."""
    if n_frames == 1:
        return [], None
    steps = numbers_of(header, "FrameTimeVector")[1:]  # the first is 0 by definition
    are_said = any(steps) and min(steps) >= 0
    times_s: list[float] = (np.cumsum([0.0, *steps]) / 1000).tolist() if are_said else []
    if len(times_s) == n_frames:
        return times_s, even_step(times_s)
    if any(milliseconds := numbers_of(header, "FrameTime")):
        return [], milliseconds[0] / 1000
    if times_s:
        return [], even_step(times_s)
    rates = numbers_of(header, "CineRate") + numbers_of(header, "RecommendedDisplayFrameRate")
    return [], next((1 / rate for rate in rates if rate), None)


def _stamps(video: VideoStream) -> list[float]:
    """Seconds from the first frame of a video to each, by its container; none where that has no times."""
    times = [video.time_s(index) for index in range(video.n_frames)] if video.n_frames > 1 else []
    return [time for time in times if time is not None]


def _time_remarks(said_s: float, played_s: float, n_steps: int) -> list[str]:
    """Sentence about a header and a video that differ in the time that the frames take."""
    if abs(said_s - played_s) <= UNEVEN * played_s:
        return []
    said, played = (f"{1000 * whole / n_steps:.3g} ms" for whole in (said_s, played_s))
    return [
        f"The file says {said} between frames, but its video has {played}. The file's are taken: compare "
        "them with the scanner's frame rate before times are relied on."
    ]
