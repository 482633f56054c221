"""Which library decodes which DICOM transfer syntax, always the same one.

pydicom tries whatever it finds installed, GDCM first; GDCM ends the whole process on
damaged JPEG data. So every decode names its plugin, and JPEG lossless, JPEG-LS and
High-Throughput JPEG 2000, which Pillow lacks, come from imagecodecs.
"""

from __future__ import annotations

import imagecodecs
import numpy as np
import PIL
import pydicom
from pydicom import uid
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import DecodeRunner

__all__ = ["VIDEO_SYNTAXES", "check_stream", "decoder_name", "plugin_for"]

LABEL = "napari-cln-imagecodecs"

JPEG_LOSSLESS = (uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
HTJ2K = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
PILLOW = (uid.JPEGBaseline8Bit, uid.JPEG2000Lossless, uid.JPEG2000)
IMAGECODECS = (*JPEG_LOSSLESS, *JPEG_LS, *HTJ2K, uid.JPEGExtended12Bit)

VIDEO_SYNTAXES = frozenset(uid.MPEGTransferSyntaxes)
"""MPEG-2, H.264 and H.265: the pixel data is one video stream."""

DECODER_DEPENDENCIES = dict.fromkeys(IMAGECODECS, ("imagecodecs",))


def is_available(syntax: str) -> bool:
    """Whether imagecodecs stands in for this transfer syntax (asked by pydicom)."""
    return syntax in DECODER_DEPENDENCIES


def decode_frame(data: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame with imagecodecs (called by pydicom).

    Returns
    -------
    bytes
        Samples in row, column, sample order.
    """
    syntax = runner.transfer_syntax
    if syntax in JPEG_LOSSLESS:
        array = imagecodecs.ljpeg_decode(data)
    elif syntax in JPEG_LS:
        array = imagecodecs.jpegls_decode(data)
    elif syntax in HTJ2K:
        array = imagecodecs.htj2k_decode(data)
    else:
        array = imagecodecs.jpeg8_decode(data)
    runner.set_option("planar_configuration", 0)
    runner.set_option("bits_allocated", array.dtype.itemsize * 8)
    return bytes(np.ascontiguousarray(array).data)


def plugin_for(syntax: uid.UID) -> str:
    """Name of the one plugin that decodes a transfer syntax; empty where none is needed.

    Raises
    ------
    NotImplementedError
        If no library here decodes it.
    """
    if not syntax.is_encapsulated:
        return ""
    if syntax == uid.RLELossless:
        return "pydicom"
    if syntax in PILLOW:
        return "pillow"
    if syntax in IMAGECODECS:
        return LABEL
    raise NotImplementedError(f"no decoder for {syntax.name}")


def decoder_name(syntax: uid.UID) -> str:
    """Library and version that decode a transfer syntax, for the record."""
    name = f"pydicom {pydicom.__version__}"
    match plugin_for(syntax):
        case "pillow":
            return f"{name}, Pillow {PIL.__version__}"
        case label if label == LABEL:
            return f"{name}, imagecodecs {imagecodecs.__version__}"
    return name


def check_stream(data: bytes, rows: int, columns: int) -> None:
    """Refuse a compressed frame that would unpack to another size than the header says.

    Reads the size from the JPEG start-of-frame or JPEG 2000 size marker, before any
    decoder takes memory for it.

    Raises
    ------
    ValueError
    """
    size = _stream_size(data)
    if size is not None and size != (rows, columns):
        raise ValueError(f"compressed frame is {size[0]}x{size[1]}, the header says {rows}x{columns}")


def _stream_size(data: bytes) -> tuple[int, int] | None:
    def number(start: int, length: int) -> int:
        return int.from_bytes(data[start : start + length], "big")

    if data[:4] == b"\xff\x4f\xff\x51":  # SOC, SIZ
        return number(12, 4) - number(20, 4), number(8, 4) - number(16, 4)
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            return number(at + 5, 2), number(at + 7, 2)
        else:
            at += 2 + number(at + 2, 2)
    return None


for _syntax in IMAGECODECS:
    _decoder = get_decoder(_syntax)
    if LABEL not in _decoder.available_plugins:
        _decoder.add_plugin(LABEL, (__name__, "decode_frame"))
