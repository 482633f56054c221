"""A DICOM file's header, and where each frame's bytes lie; nothing is decoded here."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_preamble

from ...compat.dicom import read_file_meta
from ...errors import FrameReadError, counted
from ..limits import MAX_INFLATED_BYTES, check_frames, check_size, reading
from .codecs import VIDEO_FORMATS, is_native, is_readable, syntax_name
from .encapsulation import Fragments, find_fragments, group_fragments, read_fragments
from .palette import COLOURS

TAGS: list[str] = [
    *("Modality", "SOPClassUID", "Manufacturer", "ManufacturerModelName", "PatientID", "SOPInstanceUID"),
    *("SequenceOfUltrasoundRegions", "PixelSpacing", "PixelAspectRatio"),
    *("FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate"),
    *("NumberOfFrames", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"),
    *("PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"),
    *(
        f"{name}{colour}PaletteColorLookupTable{part}"
        for colour in COLOURS
        for name, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
    ),
]
"""The elements that are read: what a picture and its scale need, and no name or date."""

PIXEL_DATA = (0x7FE0, 0x0010)
FLOAT_PIXELS = ((0x7FE0, 0x0008), (0x7FE0, 0x0009))
UNDEFINED_LENGTH = 0xFFFFFFFF

MAX_READS = 2**18
"""Times that the header is read from: twice or so for each element, of which scanners write some hundred."""

MAX_ELEMENT_BYTES = 2**20
"""Bytes of an element that is looked at: a megabyte holds the times of a hundred thousand frames."""

INFLATE_STEP = 2**22

SEGMENTATIONS = (uid.SegmentationStorage, "1.2.840.10008.5.1.4.1.1.66.7")
"""Classes of segmentations; the second, of label maps, is newer than pydicom."""

ABOUT_IMAGES = (
    ("1.2.840.10008.5.1.4.1.1.66", "a surface or registration that belongs to other images"),
    ("1.2.840.10008.5.1.4.1.1.88.59", "a selection of other images (key objects)"),
    ("1.2.840.10008.5.1.4.1.1.88", "a report on other images"),
    ("1.2.840.10008.5.1.4.1.1.11", "a way to show other images (presentation state)"),
)
"""Roots of classes of objects that refer to images and are none."""


class _Metered:
    """A file that can't be read from more than `MAX_READS` times."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.left = file, MAX_READS
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise OSError("Read from too often.")
        return self._file.read(size)


@contextmanager
def _metered(file: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    """Refuse a header of millions of items, whatever the parser makes of a file that ends early."""
    metered = _Metered(file)
    try:
        yield cast(BinaryIO, metered)
    except Exception as cause:
        if metered.left >= 0:
            raise
        raise FrameReadError(
            f"{path.name} has a header of far more elements and items than a picture needs, which "
            "is refused. Export it again from the scanner."
        ) from cause


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
    bits : int
        Bits of a sample, as the header says.
    pixel_vr : str
        ``OB`` or ``OW``: whether the bytes of big-endian samples come in swapped pairs.
    is_encapsulated : bool
        The pixel data is stored in fragments, whatever the transfer syntax promises.
    is_halved : bool
        Uncompressed chroma is stored for every other pixel (YBR_FULL_422).
    remarks : list of str
        What is odd, in sentences for the user.

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
        self.remarks: list[str] = []
        self._file = _inflate(self._file, self.path)
        self.header = _read_elements(self._file, self.path, TAGS)
        _check_class(self.header, self.path)
        self.syntax = self._transfer_syntax()
        self.is_little_endian = self.syntax != uid.ExplicitVRBigEndian
        length = self._find_pixel_data()
        if not is_readable(self.syntax):
            raise FrameReadError(
                f"{self.path.name} is compressed in {syntax_name(self.syntax)}, which is not read here. "
                "Export it again from the scanner, uncompressed or as JPEG."
            )
        self._check_header()
        self._frames = self._find_frames(length)

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
        order = "<" if self.is_little_endian else ">"
        start = self._file.read(8)
        tag = struct.unpack(f"{order}HH", start[:4]) if len(start) == 8 else None
        if tag in FLOAT_PIXELS:
            raise FrameReadError(
                f"{self.path.name} stores floating-point numbers instead of a picture, which is not read. "
                "Export the image itself from the scanner."
            )
        if not start and self._file.tell() > self._file.seek(0, os.SEEK_END):
            raise FrameReadError(
                f"{self.path.name} is cut short or damaged: its header ends within an element. "
                "Copy or export it again from the scanner."
            )
        if tag != PIXEL_DATA:
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
        if not self.header.original_encoding[0]:
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
        except (TypeError, ValueError) as cause:
            raise FrameReadError(
                f"{self.path.name} says it has {header.NumberOfFrames!r} frames. "
                "Export it again from the scanner."
            ) from cause
        check_frames(self.path, self.n_frames, self.shape)
        if header.SamplesPerPixel not in (1, 3) or header.BitsAllocated not in (8, 16, 32):
            raise FrameReadError(
                f"{self.path.name} has {header.SamplesPerPixel} samples of {header.BitsAllocated} bits "
                "a pixel; 1 or 3 of 8, 16 or 32 can be read. Export it again from the scanner."
            )
        stored = header.get("BitsStored")
        self.bits = int(header.BitsAllocated if stored is None else stored)
        if not 1 <= self.bits <= header.BitsAllocated:
            raise FrameReadError(
                f"{self.path.name} says it stores {self.bits} of {header.BitsAllocated} bits. "
                "Export it again from the scanner."
            )
        pixel_bytes = header.SamplesPerPixel * header.BitsAllocated // 8
        check_size(self.path, *self.shape, pixel_bytes)
        self.frame_bytes = self.shape[0] * self.shape[1] * pixel_bytes
        self.is_halved = False

    def _find_frames(self, length: int) -> list[Fragments]:
        """Find where each frame lies; a video stream is one item for all of its frames."""
        try:
            self.is_encapsulated = length == UNDEFINED_LENGTH
            native = is_native(self.syntax)
            if native == self.is_encapsulated:
                self._look_for_compression(length)
            if self.is_encapsulated:
                fragments, offsets = find_fragments(self._file)
                if self.syntax in VIDEO_FORMATS:
                    return [fragments]
                frames = group_fragments(self._file, fragments, self.n_frames, offsets)
                if len(frames) > self.n_frames:
                    said = counted(self.n_frames, "frame")
                    self.remarks.append(f"The file says it has {said} and holds {len(frames)}; all are read.")
                    self.n_frames = len(frames)
                    check_frames(self.path, self.n_frames, self.shape)
                return frames
            first = self._file.tell()
            behind = self._file.seek(0, os.SEEK_END) - first
            self._look_for_chroma(length, behind)
            available = behind // self.frame_bytes
            if available < self.n_frames:
                raise EOFError(f"it holds {available} of {self.n_frames} frames")
            if (more := length // self.frame_bytes) > self.n_frames and length <= behind:
                self.remarks.append(
                    f"The file says it has {counted(self.n_frames, 'frame')} and holds the pixels of {more}; "
                    "so many are read as it says."
                )
            return [[(first + index * self.frame_bytes, self.frame_bytes)] for index in range(self.n_frames)]
        except (EOFError, ValueError) as cause:
            raise FrameReadError(
                f"{self.path.name} is cut short or damaged: {cause}. "
                "Copy or export it again from the scanner."
            ) from cause

    def _look_for_compression(self, length: int) -> None:
        """Say that pixel data is compressed where the header denies it, or the other way round.

        Raises
        ------
        ValueError
            If it is neither compressed nor as long as the picture.
        """
        said = syntax_name(self.syntax)
        if self.is_encapsulated:
            self.remarks.append(
                f"The file says it is stored as {said}, but it is compressed and was read so."
            )
        elif self.syntax not in VIDEO_FORMATS and length - self.n_frames * self.frame_bytes in (0, 1):
            self.remarks.append(
                f"The file says it is compressed in {said}, but it is uncompressed and was read so."
            )
        else:
            raise ValueError("compressed pixel data is written as if it were not")

    def _look_for_chroma(self, length: int, behind: int) -> None:
        """Find out from the length of the pixel data whether chroma is stored for every other pixel.

        Parameters
        ----------
        length : int
            As the element says.
        behind : int
            Bytes from its start to the end of the file.
        """
        stated, whole = self.header.PhotometricInterpretation, self.n_frames * self.frame_bytes
        if self.header.SamplesPerPixel != 3:
            return
        if stated == "YBR_FULL_422":
            self.is_halved = min(length, behind) < whole
            if not self.is_halved:
                self.remarks.append(
                    "The file says its colours are YBR_FULL_422, but it stores chroma for every pixel "
                    "and was read so."
                )
        # Two thirds of a whole number of frames may be fewer frames as well.
        elif self.n_frames % 3 and length - whole // 3 * 2 in (0, 1) and length <= behind:
            self.is_halved = True
            self.remarks.append(
                f"The file says its colours are {stated}, but its length is that of YBR_FULL_422 "
                "and it was read so."
            )
        if self.is_halved:
            self.frame_bytes = self.frame_bytes // 3 * 2

    def read(self, index: int, limit: int | None = None) -> bytes:
        """Bytes of frame `index` as the file stores them, or the first `limit` of them."""
        return read_fragments(self._file, self._frames[index], limit)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def read_header(path: Path, tags: list[str]) -> Dataset:
    """Read some elements of a DICOM file of any class, with the bounds that hold for pictures.

    Parameters
    ----------
    path : Path
    tags : list of str
        Keywords of the elements.

    Returns
    -------
    Dataset
        With those of the elements that the file has, and its ``file_meta``.

    Raises
    ------
    FrameReadError
        If it has far more or larger elements than a header needs, or can't be read.
    """
    with reading(path, "a whole DICOM file"):
        file = _inflate(path.open("rb"), path)
        with file:
            return _read_elements(file, path, tags)


def _read_elements(file: BinaryIO, path: Path, tags: list[str]) -> Dataset:
    """Read the elements in `tags`, with bounds on how many there are and how long each is."""
    try:
        with _metered(file, path) as metered:
            header = pydicom.dcmread(metered, stop_before_pixels=True, force=True, specific_tags=tags)
    except RecursionError as cause:
        raise FrameReadError(
            f"{path.name} has sequences within sequences, deeper than can be read. "
            "Export it again from the scanner."
        ) from cause
    for tag in header.keys():  # noqa: SIM118  (iterating over the header itself converts its values)
        element: Any = header.get_item(tag)
        if isinstance(element.value, bytes) and len(element.value) > MAX_ELEMENT_BYTES:
            raise FrameReadError(
                f"{path.name} has an element {tag} of {len(element.value)} bytes in its header, "
                "more than a picture needs, which is refused. Export it again from the scanner."
            )
    return header


def _check_class(header: Dataset, path: Path) -> None:
    """Refuse objects that refer to images and are none, though some of them hold pixels."""
    stated = str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or "")
    if stated in SEGMENTATIONS:
        raise FrameReadError(
            f"{path.name} is a DICOM segmentation of another image, not a picture. Open the image first, "
            "then this file."
        )
    for root, name in ABOUT_IMAGES:
        if stated == root or stated.startswith(f"{root}."):
            raise FrameReadError(
                f"{path.name} is {name}, without a picture of its own. Open the images that it belongs to."
            )


def _inflate(file: BinaryIO, path: Path) -> BinaryIO:
    """Unpack a deflated file, up to a bound; leave any other as it is.

    Raises
    ------
    FrameReadError
        If it unpacks to more than `MAX_INFLATED_BYTES`. The file is closed then.
    """
    read_preamble(file, force=True)
    with _metered(file, path) as metered:
        meta = read_file_meta(metered)
    if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        file.seek(0)
        return file
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    plain = io.BytesIO()
    pydicom.dcmwrite(plain, FileDataset("", Dataset(), preamble=bytes(128), file_meta=meta))
    with file:
        packed = file.read()
    while packed and not unpacker.eof:
        if plain.tell() > MAX_INFLATED_BYTES:
            raise FrameReadError(
                f"{path.name} is deflated and unpacks to more than {MAX_INFLATED_BYTES // 2**20} MB, which "
                "is refused. Export it again without deflation."
            )
        plain.write(unpacker.decompress(packed, INFLATE_STEP))
        packed = unpacker.unconsumed_tail
    plain.seek(0)
    return plain
