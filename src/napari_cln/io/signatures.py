"""What a file is, by its first bytes."""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["HEAD_BYTES", "Kind", "container_of", "is_dicomdir", "kind_of"]

Kind: TypeAlias = Literal["image", "tiff", "dicom", "video"]

HEAD_BYTES = 1024
"""How much of a file is looked at."""

DICOMDIR = b"1.2.840.10008.1.3.10"
IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")
TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
VIDEOS = (
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (0, b"\x00\x00\x01\xba", "mpeg"),
    (8, b"AVI ", "avi"),
    *((4, box, "mov") for box in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
)
BARE_DICOM = frozenset({(2, 0), (2, 1), (2, 2), (8, 0), (8, 1), (8, 5), (8, 8), (8, 0x16), (8, 0x18)})


def kind_of(head: bytes) -> Kind | None:
    """What a file is that starts with `head`; None for nothing that can be read."""
    if head[128:132] == b"DICM" or _is_bare_dicom(head):
        return "dicom"
    if head.startswith(IMAGES) or (head.startswith(b"BM") and head[6:10] == b"\0\0\0\0"):
        return "image"
    if head.startswith(TIFFS):
        return "tiff"
    return "video" if container_of(head) else None


def container_of(head: bytes) -> str | None:
    """FFmpeg's name of the container that a file's first bytes show; None for no video.

    FFmpeg is told the format, because its own guess includes play lists, which name other
    files to read.
    """
    for offset, magic, name in VIDEOS:
        if head[offset : offset + len(magic)] == magic:
            return name
    # MPEG transport stream: a sync byte every 188
    return "mpegts" if len(head) > 376 and head[0] == head[188] == head[376] == 0x47 else None


def is_dicomdir(head: bytes) -> bool:
    """Whether a DICOM file is an index of others."""
    return DICOMDIR in head


def _is_bare_dicom(head: bytes) -> bool:
    """Whether a file starts with a DICOM element, without the preamble that should precede it."""
    tag = int.from_bytes(head[:2], "little"), int.from_bytes(head[2:4], "little")
    if tag not in BARE_DICOM or len(head) < 12:
        return False
    return head[4:6] in (b"UL", b"OB", b"UI", b"CS") or head[6:8] == b"\0\0"
