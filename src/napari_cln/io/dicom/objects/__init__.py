"""DICOM objects about an image: segmentations and reports, and a capture where the image is no DICOM."""
