"""Make the sample files that ship in ``src/napari_cln/samples``.

::

    python tools/make_samples.py --usgra ../shared/data/usgra

Two simulated DICOM files, as a scanner would export them (JPEG, calibrated regions, no patient),
and one real frame with its credit beside it.
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEGBaseline8Bit,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from napari_cln.phantom import Phantom, simulate, simulate_cine

SAMPLES = Path(__file__).parents[1] / "src" / "napari_cln" / "samples"
REAL = "test_0098.png"
FRAME_SEED, CINE_SEED, MACHINE = 26, 65, "philips-like"
CREDIT = """\
Samples of napari-cln

simulated-frame.dcm, simulated-cine.dcm
    Simulated (napari_cln.simulate, seeds {frame} and {cine}); no patient. BSD-3-Clause, as the package.
    Made again by tools/make_samples.py.

usgra-vessels.png
    Real ultrasound of a volunteer, without a lymph node: vessels and nerves. Body region not recorded.
    Image {real} of usgra-seg by TMK, github.com/tmkand/usgra-seg, unchanged.
    Creative Commons Attribution 4.0 International, creativecommons.org/licenses/by/4.0
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--usgra", type=Path, required=True, help="folder of the usgra data set")
    usgra = parser.parse_args().usgra
    SAMPLES.mkdir(exist_ok=True)
    frame = simulate(FRAME_SEED, machine=MACHINE, n_nodes=1)
    write_dicom(SAMPLES / "simulated-frame.dcm", [frame], [frame.frame.pixels], quality=93)
    cine = list(simulate_cine(CINE_SEED, 12, machine=MACHINE, n_nodes=1))
    write_dicom(SAMPLES / "simulated-cine.dcm", cine, [phantom.clean for phantom in cine], quality=88)
    shutil.copyfile(usgra / "images" / REAL, SAMPLES / "usgra-vessels.png")
    credit = CREDIT.format(frame=FRAME_SEED, cine=CINE_SEED, real=REAL)
    (SAMPLES / "CREDITS.txt").write_text(credit)
    for path in sorted(SAMPLES.iterdir()):
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


def write_dicom(
    path: Path, phantoms: list[Phantom], images: list[NDArray[np.uint8]], *, quality: int
) -> None:
    """Write frames as an Ultrasound (Multi-frame) Image with one calibrated region."""
    several = len(images) > 1
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage if several else UltrasoundImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["napari-cln", path.name])
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID = generate_uid(entropy_srcs=["napari-cln", "study"])
    data.SeriesInstanceUID = generate_uid(entropy_srcs=["napari-cln", "series", path.name])
    data.Modality, data.Manufacturer = "US", "simulated"
    data.PatientName, data.PatientID = "TEST^SIMULATED", "SIMULATED"
    data.PatientBirthDate = data.PatientSex = data.StudyDate = data.StudyTime = ""
    data.AccessionNumber = data.ReferringPhysicianName = data.StudyID = ""
    data.SeriesNumber = data.InstanceNumber = "1"
    data.PatientOrientation = ""
    data.ImageType = ["ORIGINAL", "PRIMARY"]
    colour = images[0].ndim == 3
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "YBR_FULL_422" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    data.Rows, data.Columns = images[0].shape[:2]
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.LossyImageCompression, data.LossyImageCompressionMethod = "01", "ISO_10918_1"
    if several:
        data.NumberOfFrames = len(images)
        data.FrameTime = "83.3"
        data.FrameIncrementPointer = 0x00181063
    data.SequenceOfUltrasoundRegions = [_region(phantoms[0])]
    streams = [_jpeg(image, quality) for image in images]
    raw = sum(image.nbytes for image in images)
    data.LossyImageCompressionRatio = f"{raw / sum(map(len, streams)):.2f}"
    data.PixelData = encapsulate(streams)
    data.save_as(path, enforce_file_format=True)


def _region(phantom: Phantom) -> Dataset:
    """2D tissue in centimetres, as DICOM PS3.3 C.8.5.5 says it."""
    frame = phantom.frame
    assert frame.scan_area is not None and frame.spacing_mm is not None
    row0, column0, row1, column1 = frame.scan_area
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = column0, row0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = column1 - 1, row1 - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaY, region.PhysicalDeltaX = (mm / 10 for mm in frame.spacing_mm)
    return region


def _jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(
        stream, "JPEG", quality=quality, subsampling="4:2:2" if image.ndim == 3 else -1
    )
    return stream.getvalue()


if __name__ == "__main__":
    main()
