"""DICOM stills and cines: each frame is read and decoded when it is asked for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options

from ...disk.user import pseudonym
from ...errors import FrameReadError
from ...types import Frame
from ..frame_source import FrameSource
from ..jpeg import check_stream, describe_stream
from ..limits import missing_frames
from ..signatures import HEAD_BYTES, container_of
from . import codecs
from .calibration import Calibration, calibrate
from .colour import grey_to_uint8, is_green, palette_of, rgb_to_uint8
from .elements import numbers_of
from .file import DicomFile

if TYPE_CHECKING:
    from ..video import VideoStream

__all__ = ["DicomSource"]

ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6."
GREEN_REMARK = "More than 30 % of the picture is strongly green: its colours may be decoded wrongly."

codecs.register()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's remarks on odd values from the user: what matters becomes a sentence here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pydicom|PIL")
        yield


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
        self._is_palette = header.PhotometricInterpretation == "PALETTE COLOR"
        self._palette = palette_of(header) if self._is_palette else None
        self.is_rgb = self._is_palette or header.SamplesPerPixel == 3
        self._decoder = codecs.decoder_name(file.syntax)
        remarks = _remarks(header)
        self._video = self._open_video()
        if self._video is not None:
            video = self._video
            if video.n_frames < self.n_frames:
                remarks.append(missing_frames(self.n_frames, video.n_frames))
            self.n_frames, self.shape, self.is_rgb = video.n_frames, video.shape, video.is_rgb
            self._decoder = f"{self._decoder}, {video.decoder}"
        calibration = calibrate(header, self.shape)
        self.warnings = (*remarks, *_aspect_remarks(header, calibration))
        maker = (str(header.get(name) or "").strip() for name in ("Manufacturer", "ManufacturerModelName"))
        self._common: dict[str, Any] = {
            **vars(calibration),
            "source": self.path,
            "n_frames": self.n_frames,
            "frame_time_s": _frame_time(header) if self.n_frames > 1 else None,
            "patient_id": pseudonym(str(header.get("PatientID") or "")),
            "vendor": " ".join(filter(None, maker)) or None,
            "decoder": self._decoder,
        }

    def _open_video(self) -> VideoStream | None:
        """The pixel data as a video, where it is one (MPEG-2, H.264, H.265)."""
        form = codecs.VIDEO_FORMATS.get(self._file.syntax)
        if form is None:
            return None
        from ..video import VideoStream

        data = self._file.read(0)
        return VideoStream(self.path, BytesIO(data), container_of(data[:HEAD_BYTES]) or form)

    def _read(self, index: int) -> Frame:
        with quiet():
            pixels, remarks = self._decode(index)
        if pixels.ndim == 3 and is_green(pixels):
            remarks += (GREEN_REMARK,)
        return Frame(pixels=pixels, index=index, warnings=self.warnings + remarks, **self._common)

    def _decode(self, index: int) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
        """Pixels of a frame, and what is odd about it."""
        if self._video is not None:
            return self._video.read(index).copy(), ()
        file, header = self._file, self._file.header
        data = file.read(index)
        remarks: tuple[str, ...] = ()
        if file.syntax.is_encapsulated:
            check_stream(data, *self.shape, file.frame_bytes)
            remarks = _colour_remarks(data, header)
            data = encapsulate([data], has_bot=False)
        options = as_pixel_options(
            header, number_of_frames=1, pixel_keyword="PixelData", pixel_vr=file.pixel_vr
        )
        array, found = get_decoder(file.syntax).as_array(
            data, index=0, decoding_plugin=codecs.plugin_for(file.syntax), **options
        )
        interpretation = found["photometric_interpretation"]
        if self._palette is not None:
            first = int(header.RedPaletteColorLookupTableDescriptor[1])
            return self._palette[np.clip(array.astype(np.int32) - first, 0, len(self._palette) - 1)], remarks
        if interpretation == "RGB":
            return rgb_to_uint8(array, header), remarks
        if interpretation == "MONOCHROME1":
            return ~grey_to_uint8(array, header), remarks
        if interpretation == "MONOCHROME2":
            return grey_to_uint8(array, header), remarks
        raise FrameReadError(
            f"{self.path.name} stores its colours as {interpretation}, which is not known. "
            "Export it again from the scanner as RGB."
        )

    def close(self) -> None:
        if self._video is not None:
            self._video.close()
        self._file.close()


def _remarks(header: Dataset) -> list[str]:
    """What the user should know of the whole file."""
    remarks = []
    modality = str(header.get("Modality") or "")
    if modality != "US" and not str(header.get("SOPClassUID") or "").startswith(ULTRASOUND):
        remarks.append(f"This is no ultrasound: the modality is {modality or 'not given'}.")
    return remarks


def _aspect_remarks(header: Dataset, calibration: Calibration) -> tuple[str, ...]:
    """What to say of pixels that are not square, where no millimetres make up for it."""
    ratio = numbers_of(header, "PixelAspectRatio")
    if calibration.regions or calibration.spacing_mm or len(ratio) != 2 or ratio[0] == ratio[1]:
        return ()
    return (f"Pixels are not square ({ratio[0]:g}:{ratio[1]:g}): axis ratios in pixels are not true.",)


def _colour_remarks(data: bytes, header: Dataset) -> tuple[str, ...]:
    """What to say where the header names other colours than a JPEG's own markers do."""
    stream, stated = describe_stream(data), str(header.PhotometricInterpretation)
    actual = stream.colours if stream else None
    agrees = stated.startswith("YBR" if actual == "YCbCr" else "RGB")
    if header.SamplesPerPixel != 3 or actual is None or agrees:
        return ()
    return (f"The file says its colours are {stated}, but its JPEG data is {actual} and was read so.",)


def _frame_time(header: Dataset) -> float | None:
    """Seconds between the frames of a cine."""
    if any(milliseconds := numbers_of(header, "FrameTime")):
        return milliseconds[0] / 1000
    if any(steps := numbers_of(header, "FrameTimeVector")[1:]):  # the first is 0 by definition
        return sum(steps) / len(steps) / 1000
    rates = numbers_of(header, "CineRate") + numbers_of(header, "RecommendedDisplayFrameRate")
    return next((1 / rate for rate in rates if rate), None)
