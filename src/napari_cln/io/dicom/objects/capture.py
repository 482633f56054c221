"""DICOM captures of images that have no DICOM of their own, for segmentations and reports to refer to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from ....types import Spacing
from ..source import quiet
from .findings import EQUIPMENT, code

CLEANED_HEADER = ("113100", "Basic Application Confidentiality Profile")
CLEANED_PIXELS = ("113101", "Clean Pixel Data Option")
SERIES_NUMBER = 500


def capture_of(
    image: NDArray[np.uint8],
    *,
    patient: str,
    study: str,
    series: str,
    instance: str,
    number: int,
    spacing_mm: Spacing | None = None,
    cleaned: bool,
) -> Dataset:
    """Make a Secondary Capture of an image, under a pseudonym.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W)
    patient : str
        Pseudonym.
    study, series, instance : str
        Identifiers.
    number : int
        Instance number in the series.
    spacing_mm : (float, float), optional
        Millimetres per pixel along rows and columns, where they hold for the whole image.
    cleaned : bool
        Whether a person has looked at such images for burned-in names. Only then does the capture say
        that the patient's identity is removed.

    Returns
    -------
    Dataset
    """
    from highdicom.sc import SCImage

    with quiet():
        capture: Dataset = SCImage(
            image,
            photometric_interpretation="MONOCHROME2",
            bits_allocated=8,
            coordinate_system="PATIENT",
            study_instance_uid=study,
            series_instance_uid=series,
            series_number=SERIES_NUMBER,
            sop_instance_uid=instance,
            instance_number=number,
            manufacturer=EQUIPMENT["manufacturer"],
            patient_id=patient,
            patient_name=f"{patient}^",
            patient_orientation=("L", "F"),  # asked for; unknown, and taken back below
            pixel_spacing=spacing_mm,
        )
        capture.PatientOrientation = None
        capture.Laterality = None
        capture.Modality = "US"
        capture.StudyDate = capture.StudyTime = capture.StudyID = capture.AccessionNumber = ""
        capture.SeriesDescription = "Ultrasound frame (napari-cln)"
        if cleaned:
            capture.BurnedInAnnotation = "NO"
            capture.PatientIdentityRemoved = "YES"
            capture.DeidentificationMethodCodeSequence = Items(
                [code(*CLEANED_HEADER, scheme="DCM"), code(*CLEANED_PIXELS, scheme="DCM")]
            )
    return capture
