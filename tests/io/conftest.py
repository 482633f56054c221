"""Files made from real frames, in every way that a scanner or a converter may write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, UltrasoundImageStorage

from napari_cln.io.sources import open_source, read_frame

Pixels: TypeAlias = NDArray[Any]
WriteDicom: TypeAlias = Callable[..., Path]
WriteVideo: TypeAlias = Callable[..., Path]


@pytest.fixture(scope="session")
def lymph_node(data: Path) -> Pixels:
    """A power-Doppler frame of a lymph node, uint8 (480, 640, 3)."""
    return read_frame(data / "dicom" / "US1_J2KR.dcm").pixels


@pytest.fixture(scope="session")
def cine(data: Path) -> list[Pixels]:
    """Thirty frames of an echo cine, uint8 (240, 320, 3)."""
    with open_source(data / "dicom" / "examples_ybr_color.dcm") as source:
        return [frame.pixels for frame in source]


@pytest.fixture
def write_dicom(tmp_path: Path) -> WriteDicom:
    """Write an ultrasound DICOM from an array, or from frames that are compressed already."""

    def write(
        pixels: Pixels | None = None,
        name: str = "scan.dcm",
        *,
        syntax: UID = ExplicitVRLittleEndian,
        frames: list[bytes] | None = None,
        bits: int = 8,
        **elements: Any,
    ) -> Path:
        pixels = np.zeros((480, 640), np.uint8) if pixels is None else pixels
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = UltrasoundImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
        dataset.Modality = "US"
        colour = pixels.shape[-1] == 3
        dataset.Rows, dataset.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
        dataset.SamplesPerPixel = 3 if colour else 1
        dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
        if colour:
            dataset.PlanarConfiguration = 0
        dataset.BitsAllocated = pixels.dtype.itemsize * 8
        dataset.BitsStored, dataset.HighBit = bits, bits - 1
        dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
        data = pixels.tobytes() if frames is None else encapsulate(frames)
        dataset.PixelData = data + bytes(len(data) % 2)
        dataset["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 else "OW"
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        path = tmp_path / name
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write


@pytest.fixture
def write_video(tmp_path: Path) -> WriteVideo:
    """Encode frames, uint8 (H, W, 3), as a video."""

    def write(
        frames: list[Pixels],
        name: str,
        codec: str = "libx264",
        pix_fmt: str = "yuv420p",
        *,
        container: str | None = None,
        **options: str,
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w", format=container) as file:
            stream = file.add_stream(codec, rate=25, options=options)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = pix_fmt
            stream.codec_context.gop_size = 12
            for pixels in frames:
                file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            file.mux(stream.encode(None))
        return path

    return write
