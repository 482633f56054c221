"""A DICOM file's header, and where each frame's bytes lie; nothing is decoded here."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import _read_file_meta_info, read_preamble

from ...errors import FrameReadError
from ..limits import MAX_INFLATED_BYTES, check_frames, check_size
from .encapsulation import Fragments, find_fragments, group_fragments, read_fragments

__all__ = ["DicomFile"]

PALETTES = [
    f"{segmented}{colour}PaletteColorLookupTableData"
    for segmented in ("", "Segmented")
    for colour in ("Red", "Green", "Blue")
]
TAGS: list[str] = [
    *("Modality", "SOPClassUID", "Manufacturer", "ManufacturerModelName", "PatientID"),
    *("SequenceOfUltrasoundRegions", "PixelSpacing", "PixelAspectRatio"),
    *("FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate"),
    *("NumberOfFrames", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"),
    *("PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"),
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in ("Red", "Green", "Blue")),
    *PALETTES,
]
"""The elements that are read: what a picture and its scale need, and no name or date."""

PIXEL_DATA = (0x7FE0, 0x0010)
UNDEFINED_LENGTH = 0xFFFFFFFF


class DicomFile:
    """An open DICOM file.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    header : Dataset
        The elements in `TAGS` that the file has.
    syntax : UID
        Transfer syntax of the pixel data.
    n_frames : int
        As the header says; all of them are in the file.
    shape : (int, int)
    pixel_vr : str
        ``OB`` or ``OW``: whether the bytes of big-endian samples come in swapped pairs.

    Raises
    ------
    FrameReadError
        If the file holds no picture, is cut short or asks for more memory than a picture
        can need.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("rb")
        try:
            self._look()
        except BaseException:
            self.close()
            raise

    def _look(self) -> None:
        self._inflate()
        self.header = pydicom.dcmread(self._file, stop_before_pixels=True, force=True, specific_tags=TAGS)
        self.syntax = self._transfer_syntax()
        if not self.syntax.is_little_endian:
            _swap_palettes(self.header)
        length = self._find_pixel_data()
        self._check_header()
        self._frames = self._find_frames(length)

    def _inflate(self) -> None:
        """Unpack a deflated file, up to a bound; leave any other as it is."""
        read_preamble(self._file, force=True)
        meta = _read_file_meta_info(self._file)
        if meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            data = unpacker.decompress(self._file.read(), MAX_INFLATED_BYTES)
            if unpacker.unconsumed_tail:
                raise FrameReadError(
                    f"{self.path.name} is deflated and unpacks to more than "
                    f"{MAX_INFLATED_BYTES // 2**20} MB, which is refused. Export it again without deflation."
                )
            meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
            plain = io.BytesIO()
            pydicom.dcmwrite(plain, FileDataset("", Dataset(), preamble=bytes(128), file_meta=meta))
            self._file.close()
            self._file = io.BytesIO(plain.getvalue() + data)
        self._file.seek(0)

    def _transfer_syntax(self) -> uid.UID:
        """Transfer syntax of the file, by how its elements are written where it doesn't say."""
        if stated := self.header.file_meta.get("TransferSyntaxUID"):
            return uid.UID(stated)
        is_implicit, is_little_endian = self.header.original_encoding
        if is_implicit:
            return uid.ImplicitVRLittleEndian
        return uid.ExplicitVRLittleEndian if is_little_endian else uid.ExplicitVRBigEndian

    def _find_pixel_data(self) -> int:
        """Go to the value of the pixel data, and say how long it is."""
        order = "<" if self.syntax.is_little_endian else ">"
        start = self._file.read(8)
        if len(start) < 8 or struct.unpack(f"{order}HH", start[:4]) != PIXEL_DATA:
            meta, modality = self.header.file_meta, self.header.get("Modality")
            if meta.get("MediaStorageSOPClassUID") == uid.MediaStorageDirectoryStorage:
                raise FrameReadError(
                    f"{self.path.name} is a DICOMDIR, the index of a disk. Open its folder instead."
                )
            raise FrameReadError(
                f"{self.path.name} is a DICOM file without a picture (modality {modality or 'not given'}). "
                "Choose the images of the study, or export it again from the scanner if it should be one."
            )
        self.pixel_vr = "OW"
        if not self.syntax.is_implicit_VR:
            self.pixel_vr = start[4:6].decode("ascii")
            start += self._file.read(4)
        return int(struct.unpack(f"{order}L", start[-4:])[0])

    def _check_header(self) -> None:
        header = self.header
        needed = ("Rows", "Columns", "PhotometricInterpretation", "SamplesPerPixel", "BitsAllocated")
        missing = [name for name in needed if header.get(name) in (None, "")]
        if missing:
            raise FrameReadError(
                f"{self.path.name} does not say how its picture is stored: {', '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} missing. Export it again from the scanner."
            )
        check_size(self.path, header.Rows, header.Columns)
        self.shape = (int(header.Rows), int(header.Columns))
        try:
            self.n_frames = int(header.get("NumberOfFrames") or 1)
        except ValueError as cause:
            raise FrameReadError(
                f"{self.path.name} says it has {header.NumberOfFrames!r} frames. "
                "Export it again from the scanner."
            ) from cause
        check_frames(self.path, self.n_frames)
        if header.SamplesPerPixel not in (1, 3) or header.BitsAllocated not in (8, 16, 32):
            raise FrameReadError(
                f"{self.path.name} has {header.SamplesPerPixel} samples of {header.BitsAllocated} bits "
                "a pixel; 1 or 3 of 8, 16 or 32 can be read. Export it again from the scanner."
            )
        samples = 2 if header.PhotometricInterpretation == "YBR_FULL_422" else header.SamplesPerPixel
        self.frame_bytes = self.shape[0] * self.shape[1] * samples * header.BitsAllocated // 8

    def _find_frames(self, length: int) -> list[Fragments]:
        """Where each frame lies; a video stream is one item for all of its frames."""
        try:
            if self.syntax.is_encapsulated:
                if length != UNDEFINED_LENGTH:
                    raise ValueError("compressed pixel data is written as if it were not")
                fragments, offsets = find_fragments(self._file)
                n_streams = 1 if self.syntax in uid.MPEGTransferSyntaxes else self.n_frames
                return group_fragments(self._file, fragments, n_streams, offsets)
            first = self._file.tell()
            available = (self._file.seek(0, os.SEEK_END) - first) // self.frame_bytes
            if available < self.n_frames:
                raise EOFError(f"it holds {available} of {self.n_frames} frames")
            return [[(first + index * self.frame_bytes, self.frame_bytes)] for index in range(self.n_frames)]
        except (EOFError, ValueError) as cause:
            raise FrameReadError(
                f"{self.path.name} is cut short or damaged: {cause}. "
                "Copy or export it again from the scanner."
            ) from cause

    def read(self, index: int) -> bytes:
        """Bytes of frame `index` as the file stores them."""
        return read_fragments(self._file, self._frames[index])

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _swap_palettes(header: Dataset) -> None:
    """Bring the palettes of a big-endian file to the byte order that pydicom takes for granted."""
    for name in PALETTES:
        if isinstance(header.get(name), bytes):
            header[name].value = np.frombuffer(header[name].value, dtype=">u2").astype("<u2").tobytes()
