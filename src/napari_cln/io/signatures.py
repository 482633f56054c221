"""The kind of a file, by its first bytes; and the boxes that MP4, JPEG 2000 and JPEG XL are made of."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Literal, TypeAlias

Kind: TypeAlias = Literal["image", "jpegxl", "tiff", "dicom", "video", "volume"]

HEAD_BYTES = 1024
"""How much of a file is looked at."""

DICOMDIR = b"1.2.840.10008.1.3.10"
STATED_CLASS = b"\x02\0\x02\0UI"
ABOUT_IMAGES = tuple(b"1.2.840.10008.5.1.4.1.1." + kind for kind in (b"66.", b"88.", b"11."))
"""Roots of classes that refer to images: segmentations, reports and key objects, presentation states."""
PICTURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)
JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
VIDEOS = (
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (0, b"\x00\x00\x01\xba", "mpeg"),
    (8, b"AVI ", "avi"),
    *((4, box, "mov") for box in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
)
HEIF = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1"})
"""Brands of pictures in the container of MP4, of which FFmpeg would give one tile."""
FILMS = frozenset({b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"M4V ", b"qt  "})

OTHERS = (
    (0, b"%PDF", "a PDF document", "Export its picture as PNG or JPEG."),
    (0, b"PK\x03\x04", "a ZIP or Office file", "Open what is in it."),
    (0, b"\x1f\x8b", "packed with gzip", "Unpack it, and open what is in it."),
    (0, b"8BPS", "a Photoshop file", "Save it as PNG or TIFF."),
    (0, b"II\xbc", "a JPEG XR picture", "Save it as PNG or TIFF."),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR picture", "Save it as PNG or TIFF."),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", "Save its frames as PNG or TIFF."),
    (0, b"<svg", "an SVG drawing", "Save it as PNG."),
)
BARE_DICOM = frozenset({(2, 0), (2, 1), (2, 2), (8, 0), (8, 1), (8, 5), (8, 8), (8, 0x16), (8, 0x18)})


def kind_of_file(head: bytes) -> Kind | None:
    """Tell the kind of a file that starts with `head`; None for nothing that can be read."""
    if head[128:132] == b"DICM" or _is_bare_dicom(head):
        return "dicom"
    if picture_format(head):
        return "image"
    if head.startswith(JPEG_XL):
        return "jpegxl"
    if head.startswith(TIFFS):
        return "tiff"
    if head.startswith(b"NRRD") or is_nifti(head):
        return "volume"
    return "video" if container_of(head) else None


def is_nifti(head: bytes) -> bool:
    """Tell whether a file is a NIfTI volume with its data in it, packed with gzip or not."""
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, HEAD_BYTES)
        except zlib.error:
            return False
    return head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"


def picture_format(head: bytes) -> str | None:
    """Pillow's name of the picture format that a file's first bytes show; None for no picture."""
    for magic, name in PICTURES:
        if head.startswith(magic):
            return name
    if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0":
        return "BMP"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return "AVIF" if _brands(head) & {b"avif", b"avis"} else None


def container_of(head: bytes) -> str | None:
    """FFmpeg's name of the container that a file's first bytes show; None for no video.

    FFmpeg is told the format, because its own guess includes play lists, which name other
    files to read.
    """
    if other_kind(head) or picture_format(head) or is_nifti(head):
        return None
    for offset, magic, name in VIDEOS:
        if head[offset : offset + len(magic)] == magic:
            return name
    # MPEG transport stream: a sync byte every 188
    return "mpegts" if len(head) > 376 and head[0] == head[188] == head[376] == 0x47 else None


def other_kind(head: bytes) -> tuple[str, str] | None:
    """Name a known kind of file that can't be read, and say what to do; None for any other."""
    brands = _brands(head)
    if brands & HEIF and not brands & {b"avif", b"avis"}:
        return "a HEIC picture, as phones take them", "Save it as JPEG or PNG."
    if b"crx " in brands:
        return "a camera's raw file", "Save it as JPEG or PNG."
    for offset, magic, name, remedy in OTHERS:
        if head[offset : offset + len(magic)] == magic:
            return name, remedy
    return None


def has_no_frames(head: bytes) -> bool:
    """Tell whether a file is an index of others, a segmentation of one, or a report on them.

    Of DICOM the class tells, of NRRD the fields that 3D Slicer adds.
    """
    if head.startswith(b"NRRD"):
        return b"\nSegment0_" in head or b"\nSegmentation_" in head
    at = head.find(STATED_CLASS, 132)
    return DICOMDIR in head or (at >= 0 and head[at + 8 :].startswith(ABOUT_IMAGES))


def _brands(head: bytes) -> set[bytes]:
    """Brands of an ISO base media file that is no film by its first one; empty for any other."""
    if head[4:8] != b"ftyp" or head[8:12] in FILMS:
        return set()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}


def _is_bare_dicom(head: bytes) -> bool:
    """Tell whether a file starts with a DICOM element, without the preamble that should precede it."""
    tag = int.from_bytes(head[:2], "little"), int.from_bytes(head[2:4], "little")
    if tag not in BARE_DICOM or len(head) < 12:
        return False
    return head[4:6] in (b"UL", b"OB", b"UI", b"CS") or head[6:8] == b"\0\0"


# ------------------------------------------------------------ boxes


def walk_boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Walk the boxes of a file, without looking into them.

    Parameters
    ----------
    file : binary file

    Yields
    ------
    (bytes, int, int)
        Kind, and where the content of the box starts and stops.
    """
    end = file.seek(0, io.SEEK_END)
    at = 0
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size, start = int.from_bytes(head[:4], "big"), at + 8
        if size == 1:
            size, start = int.from_bytes(head[8:16], "big"), at + 16
        stop = min(at + size, end) if size else end
        if stop < start:
            return
        yield head[4:8], start, stop
        at = stop
