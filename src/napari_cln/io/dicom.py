"""DICOM stills and cines, one frame at a time."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.pixels import apply_color_lut, get_decoder
from pydicom.pixels.utils import as_pixel_options

from ..errors import FrameReadError
from ..types import Frame
from .calibration import calibrate
from .codecs import check_stream, decoder_name, plugin_for
from .fragments import Fragments, find_fragments, group_fragments, read_fragments
from .limits import MAX_INFLATED_BYTES, check_frames, check_size
from .pseudonym import pseudonym
from .sources import FrameSource

__all__ = ["DicomSource"]

TAGS = [
    "Modality", "SOPClassUID", "Manufacturer", "ManufacturerModelName", "PatientID", "PixelSpacing",
    "SequenceOfUltrasoundRegions", "FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate",
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelAspectRatio",
    "WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
]  # fmt: skip
PIXEL_DATA = (0x7FE0, 0x0010)
UNDEFINED_LENGTH = 0xFFFFFFFF
GREEN_FRACTION = 0.3
GREEN_EXCESS = 64


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's remarks on odd values from the user; what matters becomes a sentence here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pydicom|PIL")
        yield


class DicomSource(FrameSource):
    """A DICOM file; a frame is read from the disk and decoded when it is asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file: BinaryIO = path.open("rb")
        try:
            with quiet():
                self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._inflate()
        self._header = header = pydicom.dcmread(
            self._file, stop_before_pixels=True, force=True, specific_tags=TAGS
        )
        self._syntax = self._transfer_syntax()
        self.n_frames = int(header.get("NumberOfFrames") or 1)
        check_frames(self.path, self.n_frames)
        rows, columns = header.get("Rows"), header.get("Columns")
        if rows is None or columns is None or not header.get("PhotometricInterpretation"):
            raise FrameReadError(
                f"{self.path.name} does not say how its picture is stored (rows, columns or colour are missing). "
                "Export it again from the scanner."
            )
        check_size(self.path, rows, columns)
        self.shape = (int(rows), int(columns))
        self._frames = self._find_frames()
        self.is_rgb = int(header.SamplesPerPixel) == 3 or header.PhotometricInterpretation == "PALETTE COLOR"
        self._calibration = calibrate(header, self.shape)
        self._patient = pseudonym(str(header.get("PatientID") or ""))
        maker = (str(header.get(key) or "").strip() for key in ("Manufacturer", "ManufacturerModelName"))
        self._vendor = " ".join(filter(None, maker)) or None
        self._decoder = decoder_name(self._syntax)
        modality = str(header.get("Modality") or "unknown")
        ultrasound = modality == "US" or "1.2.840.10008.5.1.4.1.1.6" in str(header.get("SOPClassUID") or "")
        if not ultrasound:
            self.warnings += (f"Modality {modality} is not ultrasound.",)

    def _inflate(self) -> None:
        """Unpack a deflated file, up to a bound; leaves any other as it is."""
        read_preamble(self._file, force=True)
        meta = _read_file_meta_info(self._file)
        if meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            data = unpacker.decompress(self._file.read(), MAX_INFLATED_BYTES)
            if unpacker.unconsumed_tail:
                raise FrameReadError(
                    f"{self.path.name} is deflated and unpacks to more than {MAX_INFLATED_BYTES // 2**20} MB. "
                    "Export it again without deflate compression."
                )
            self._file.close()
            meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
            plain = io.BytesIO()
            pydicom.dcmwrite(plain, pydicom.FileDataset("", {}, file_meta=meta), enforce_file_format=False)
            self._file = io.BytesIO(plain.getvalue() + data)
        self._file.seek(0)

    def _transfer_syntax(self) -> uid.UID:
        syntax = getattr(self._header, "file_meta", {}).get("TransferSyntaxUID")
        if syntax:
            return uid.UID(syntax)
        is_implicit, is_little_endian = self._header.original_encoding
        if is_implicit:
            return uid.ImplicitVRLittleEndian
        return uid.ExplicitVRLittleEndian if is_little_endian else uid.ExplicitVRBigEndian

    def _find_pixel_data(self) -> int:
        """Go to the value of the pixel data, and say how long it is.

        Raises
        ------
        FrameReadError
            If the file holds no picture.
        """
        order = "<" if self._syntax.is_little_endian else ">"
        start = self._file.read(8)
        if len(start) < 8 or struct.unpack(f"{order}HH", start[:4]) != PIXEL_DATA:
            modality = self._header.get("Modality")
            raise FrameReadError(
                f"{self.path.name} is a DICOM file without a picture{f' (modality {modality})' if modality else ''}. "
                "Choose the image files of the study, or export it again from the scanner if it should be one."
            )
        if self._syntax.is_implicit_VR:
            return int(struct.unpack(f"{order}L", start[4:])[0])
        return int(struct.unpack(f"{order}L", self._file.read(4))[0])

    def _find_frames(self) -> list[Fragments]:
        """Positions of each frame in the file.

        Raises
        ------
        FrameReadError
            If the file ends before its last frame does.
        """
        header = self._header
        length = self._find_pixel_data()
        try:
            if self._syntax.is_encapsulated:
                if length != UNDEFINED_LENGTH:
                    raise ValueError("compressed pixel data has a length")
                fragments, offsets = find_fragments(self._file)
                return group_fragments(self._file, fragments, self.n_frames, offsets)
            first = self._file.tell()
            size = self._frame_bytes()
            available = (self._file.seek(0, io.SEEK_END) - first) // size
            if available < self.n_frames:
                raise EOFError(f"holds {available} of {self.n_frames} frames")
            return [[(first + index * size, size)] for index in range(self.n_frames)]
        except (EOFError, ValueError) as cause:
            raise FrameReadError(
                f"{self.path.name} is cut short or damaged: {cause} "
                f"({header.Rows} rows, {header.Columns} columns, {self.n_frames} frames are announced). "
                "Copy or export it again from the scanner."
            ) from cause

    def _frame_bytes(self) -> int:
        header = self._header
        samples = 2 if header.PhotometricInterpretation == "YBR_FULL_422" else int(header.SamplesPerPixel)
        if int(header.BitsAllocated) not in (8, 16, 32):
            raise ValueError(f"{header.BitsAllocated} bits are allocated to a sample")
        return int(header.Rows) * int(header.Columns) * samples * int(header.BitsAllocated) // 8

    def _read(self, index: int) -> Frame:
        with quiet():
            pixels = self._decode(index)
        remarks = self.warnings
        if pixels.ndim == 3 and is_green(pixels):
            remarks += (
                "More than 30 % of the picture is strongly green: its colours may be decoded wrongly.",
            )
        calibration = self._calibration
        return Frame(
            pixels=pixels,
            spacing_mm=calibration.spacing_mm,
            spacing_source=calibration.spacing_source,
            spacing_note=calibration.spacing_note,
            regions=calibration.regions,
            scan_area=calibration.scan_area,
            source=self.path,
            index=index,
            n_frames=self.n_frames,
            frame_time_s=self._frame_time,
            patient_id=self._patient,
            vendor=self._vendor,
            decoder=self._decoder,
            warnings=remarks,
        )

    def _decode(self, index: int) -> NDArray[np.uint8]:
        data = read_fragments(self._file, self._frames[index])
        if self._syntax.is_encapsulated:
            check_stream(data, *self.shape)
            data = encapsulate([data], has_bot=False)
        options = as_pixel_options(self._header)
        options.update(number_of_frames=1, pixel_keyword="PixelData")
        options.pop("extended_offsets", None)
        array, found = get_decoder(self._syntax).as_array(
            data, index=0, decoding_plugin=plugin_for(self._syntax), **options
        )
        return self._to_uint8(array, str(found["photometric_interpretation"]))

    def _to_uint8(self, array: NDArray[Any], interpretation: str) -> NDArray[np.uint8]:
        header = self._header
        stored = int(header.get("BitsStored") or header.BitsAllocated)
        if interpretation == "PALETTE COLOR":
            colours = apply_color_lut(array, header)
            return (colours >> 8).astype(np.uint8) if colours.dtype == np.uint16 else colours
        pixels = array if array.dtype == np.uint8 else (array >> (stored - 8)).astype(np.uint8)
        return ~pixels if interpretation == "MONOCHROME1" else pixels

    @property
    def _frame_time(self) -> float | None:
        """Seconds between frames."""
        header = self._header
        if self.n_frames == 1:
            return None
        if milliseconds := header.get("FrameTime"):
            return float(milliseconds) / 1000
        steps = header.get("FrameTimeVector")
        if steps is not None and len(steps) > 1:  # the first step is 0 by definition
            return float(np.mean([float(step) for step in steps[1:]])) / 1000
        rate = header.get("CineRate") or header.get("RecommendedDisplayFrameRate")
        return 1 / float(rate) if rate else None

    def close(self) -> None:
        self._file.close()


def is_green(pixels: NDArray[np.uint8]) -> bool:
    """Whether more than 30 % of an RGB picture is strongly green or teal.

    Luma and chroma shown as red, green and blue turn black to teal; red, green and blue taken
    for luma and chroma turn it to green. No ultrasound picture is that colour.
    """
    red, green, blue = (pixels[..., channel].astype(np.int16) for channel in range(3))
    return float(np.mean((green - red > GREEN_EXCESS) & (green >= blue - 8))) > GREEN_FRACTION
