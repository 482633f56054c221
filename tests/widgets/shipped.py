"""Samples that ship with the package."""

from pathlib import Path

import napari_cln

SAMPLES = Path(napari_cln.__file__).parent / "samples"
FRAME = SAMPLES / "simulated-frame.dcm"
CINE = SAMPLES / "simulated-cine.dcm"
REAL = SAMPLES / "usgra-vessels.png"
