"""Decoding of compressed DICOM frames: each kind by the same library always, and never by GDCM.

pydicom tries whatever it finds installed, GDCM first, and GDCM ends the whole process on damaged
JPEG data. So compressed frames are decoded here: by what the frame itself says it is, since a header
names another compression, depth or colour often enough. JPEG of 8 bits goes to Pillow, run-length
coding to pydicom, all else to imagecodecs.
"""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import PIL
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid

from ..limits import Unreadable
from ..streams import Colours, Process, Stream

END_OF_IMAGE = b"\xff\xd9"

NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
DEFLATED_FRAMES = uid.UID("1.2.840.10008.1.2.8.1")
JPEG_XL_OF_JPEG = uid.UID("1.2.840.10008.1.2.4.111")
JPEG_2000: tuple[Process, ...] = ("JPEG 2000", "HTJ2K")
COMPRESSIONS: dict[str, tuple[Process, ...]] = {
    uid.JPEGBaseline8Bit: ("JPEG",),
    uid.JPEGExtended12Bit: ("JPEG",),
    uid.JPEGLossless: ("lossless JPEG",),
    uid.JPEGLosslessSV1: ("lossless JPEG",),
    uid.JPEGLSLossless: ("JPEG-LS",),
    uid.JPEGLSNearLossless: ("JPEG-LS",),
    uid.JPEG2000Lossless: JPEG_2000,
    uid.JPEG2000: JPEG_2000,
    uid.HTJ2KLossless: JPEG_2000,
    uid.HTJ2KLosslessRPCL: JPEG_2000,
    uid.HTJ2K: JPEG_2000,
    "1.2.840.10008.1.2.4.110": ("JPEG XL",),
    JPEG_XL_OF_JPEG: ("JPEG XL",),
    "1.2.840.10008.1.2.4.112": ("JPEG XL",),
    # Retired: the processes of JPEG that no scanner writes today, by their order in the standard
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{number}" for number in (52, 53, 54, 55, 56)), ("JPEG",)),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{number}" for number in (58, 65, 66)), ("lossless JPEG",)),
}
"""Transfer syntaxes of single compressed pictures, and what each promises."""
NEW_NAMES = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    JPEG_XL_OF_JPEG: "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    DEFLATED_FRAMES: "Deflated Image Frame Compression",
}
"""Transfer syntaxes that are younger than pydicom's list."""

VIDEO_FORMATS = {
    syntax: "mpegvideo" if "MPEG2" in syntax.keyword else "hevc" if "HEVC" in syntax.keyword else "h264"
    for syntax in uid.MPEGTransferSyntaxes
}
"""FFmpeg's format of the bare stream in each video transfer syntax."""


def is_native(syntax: str) -> bool:
    """Tell whether pixels are stored as they are."""
    return syntax in NATIVE


def is_readable(syntax: str) -> bool:
    """Tell whether frames in a transfer syntax can be decoded here."""
    own = syntax in COMPRESSIONS or syntax in VIDEO_FORMATS
    return (
        own
        or is_native(syntax)
        or syntax in (uid.DeflatedExplicitVRLittleEndian, uid.RLELossless, DEFLATED_FRAMES)
    )


def syntax_name(syntax: str) -> str:
    """Name of a transfer syntax with its UID; the UID alone where it is in no list."""
    name = NEW_NAMES.get(syntax, uid.UID(syntax).name)
    return f"{name} ({syntax})" if name != syntax else f"an unknown way ({syntax})"


def inflate(data: bytes, size: int) -> bytes:
    """Unpack a frame of Deflated Image Frame Compression, which holds `size` bytes.

    Raises
    ------
    Unreadable
        If it holds another number of bytes.
    """
    raw = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
    if len(raw) not in (size, size + 1):
        raise Unreadable(f"a deflated frame holds {len(raw)} of {size} bytes")
    return raw[:size]


def decode(data: bytes, stream: Stream, syntax: str) -> tuple[NDArray[Any], Colours | None]:
    """Decode a compressed frame.

    Parameters
    ----------
    data : bytes
    stream : Stream
        What the frame says of itself.
    syntax : str
        Transfer syntax that the header names.

    Returns
    -------
    samples : ndarray of int, shape (H, W) or (H, W, samples)
    colours : str or None
        What three samples are by now; None where only the header knows.

    Raises
    ------
    Unreadable
        If the frame is damaged, or of a kind that is not decoded here. The libraries raise
        what they like besides.
    """
    colours = stream.colours
    match stream.process:
        case "JPEG" if stream.bits == 8:
            return _decode_jpeg(data, stream)
        case "JPEG":
            if stream.components == 1 or colours is not None:
                return imagecodecs.jpeg8_decode(data), "RGB"
            samples = imagecodecs.jpeg8_decode(data, colorspace="RGB", outcolorspace="RGB")  # as they are
        case "lossless JPEG":
            samples = imagecodecs.ljpeg_decode(data)
        case "JPEG-LS":
            # Without its end, CharLS counts to 2^31 before it gives up: ten seconds.
            if END_OF_IMAGE not in data[-16:]:
                raise Unreadable("the JPEG-LS frame has no end")
            samples = imagecodecs.jpegls_decode(data)
        case "JPEG 2000":
            samples = imagecodecs.jpeg2k_decode(data)
        case "HTJ2K":
            if END_OF_IMAGE not in data[-16:]:
                raise Unreadable("the HTJ2K frame has no end")
            samples = imagecodecs.htj2k_decode(data)
        case "JPEG XL":
            samples = imagecodecs.jpegxl_decode(data)
            colours = "RGB" if syntax == JPEG_XL_OF_JPEG else colours
        case _:
            raise Unreadable(f"{stream.process} is not decoded")
    return samples, colours


def _decode_jpeg(data: bytes, stream: Stream) -> tuple[NDArray[Any], Colours | None]:
    """Decode baseline, extended or progressive JPEG of 8 bits: to RGB where it proves its colours."""
    image: Image.Image = Image.open(BytesIO(data), formats=("JPEG",))
    if stream.components == 3 and stream.colours is None:
        image.draft("YCbCr", image.size)  # convert nothing
    elif stream.components == 3:
        image = image.convert("RGB")
    return np.asarray(image), stream.colours and "RGB"


def decoder_name(syntax: str) -> str:
    """Libraries and versions that decode a transfer syntax, for the record.

    Raises
    ------
    NotImplementedError
        If no library here decodes it.
    """
    if not is_readable(syntax):
        raise NotImplementedError(f"no decoder for {syntax_name(syntax)}")
    name = f"pydicom {pydicom.__version__}"
    if syntax not in COMPRESSIONS:
        return name
    pillow, codecs = f"Pillow {PIL.__version__}", f"imagecodecs {imagecodecs.__version__}"
    if syntax == uid.JPEGBaseline8Bit:
        return f"{name}, {pillow}"
    if "JPEG" in COMPRESSIONS[syntax]:
        return f"{name}, {pillow} or {codecs}"  # by the depth of each frame
    return f"{name}, {codecs}"
