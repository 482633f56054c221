"""Which library decodes which DICOM transfer syntax: always the same one, and never GDCM.

pydicom tries whatever it finds installed, GDCM first, and GDCM ends the whole process on
damaged JPEG data. So every decode names its plugin. JPEG lossless, JPEG-LS, 12-bit JPEG and
High-Throughput JPEG 2000, which Pillow lacks, come from imagecodecs; baseline JPEG goes to
Pillow through this module, because its colours are those that its data says.
"""

from __future__ import annotations

from io import BytesIO

import imagecodecs
import numpy as np
import PIL
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder

from ..jpeg import describe_stream

__all__ = ["VIDEO_FORMATS", "decoder_name", "plugin_for"]

LABEL = "napari-cln"
END_OF_IMAGE = b"\xff\xd9"

JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
JPEG_LOSSLESS = (uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
HTJ2K = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
OWN = (*JPEG, *JPEG_LOSSLESS, *JPEG_LS, *HTJ2K)
JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000)

VIDEO_FORMATS = {
    syntax: "mpegvideo" if "MPEG2" in syntax.keyword else "hevc" if "HEVC" in syntax.keyword else "h264"
    for syntax in uid.MPEGTransferSyntaxes
}
"""FFmpeg's format of the bare stream in each video transfer syntax."""

DECODER_DEPENDENCIES = dict.fromkeys(OWN, ("imagecodecs", "pillow"))


def is_available(syntax: str) -> bool:
    """Whether this module decodes a transfer syntax (pydicom asks)."""
    return syntax in DECODER_DEPENDENCIES


def decode_frame(data: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame (pydicom calls it).

    Returns
    -------
    bytes
        Samples in row, column, sample order.
    """
    syntax = runner.transfer_syntax
    if syntax in JPEG:
        array = _decode_jpeg(data, runner)
    elif syntax in JPEG_LOSSLESS:
        array = imagecodecs.ljpeg_decode(data)
    elif syntax in JPEG_LS:
        # Without its end, CharLS counts to 2^31 before it gives up: ten seconds.
        if END_OF_IMAGE not in data[-16:]:
            raise ValueError("the JPEG-LS frame has no end")
        array = imagecodecs.jpegls_decode(data)
    else:
        array = imagecodecs.htj2k_decode(data)
        _set_rgb(runner)
    runner.set_option("planar_configuration", 0)
    runner.set_option("bits_allocated", array.dtype.itemsize * 8)
    return bytes(np.ascontiguousarray(array).data)


def _decode_jpeg(data: bytes, runner: DecodeRunner) -> np.ndarray:
    """Decode baseline or extended JPEG; three samples come out as RGB."""
    stream = describe_stream(data)
    if stream is not None and stream.bits > 8:
        array: np.ndarray = imagecodecs.jpeg8_decode(data)
        return array
    image: Image.Image = Image.open(BytesIO(data), formats=("JPEG",))
    if runner.samples_per_pixel == 1:
        return np.asarray(image)
    if stream is not None and stream.colours is None and runner.photometric_interpretation == "RGB":
        image.draft("YCbCr", image.size)  # nothing in the data speaks against the header: convert nothing
    else:
        image = image.convert("RGB")
    _set_rgb(runner)
    return np.asarray(image)


def _set_rgb(runner: DecodeRunner) -> None:
    """Tell pydicom that three samples are red, green and blue by now."""
    if runner.samples_per_pixel == 3:
        runner.set_option("photometric_interpretation", "RGB")


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
    if syntax in JPEG_2000:
        return "pillow"
    if syntax in OWN:
        return LABEL
    raise NotImplementedError(f"no decoder for {syntax.name}")


def decoder_name(syntax: uid.UID) -> str:
    """Libraries and versions that decode a transfer syntax, for the record."""
    name = f"pydicom {pydicom.__version__}"
    pillow, codecs = f"Pillow {PIL.__version__}", f"imagecodecs {imagecodecs.__version__}"
    if syntax == uid.JPEGExtended12Bit:
        return f"{name}, {pillow} or {codecs}"  # by the depth of each frame
    if syntax in (uid.JPEGBaseline8Bit, *JPEG_2000):
        return f"{name}, {pillow}"
    return f"{name}, {codecs}" if syntax in OWN else name


def register() -> None:
    """Add this module to pydicom's plugins; those of others stay as they are."""
    for syntax in OWN:
        decoder = get_decoder(syntax)
        if LABEL not in decoder.available_plugins:
            decoder.add_plugin(LABEL, (__name__, "decode_frame"))
