"""The sample files that ship with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pydicom
import pytest

from napari_cln.io.sources import open_source, read_frame
from napari_cln.phantom import simulate

SAMPLES = Path(str(resources.files("napari_cln"))) / "samples"


def test_the_simulated_frame_is_calibrated_and_that_of_its_seed():
    frame = read_frame(SAMPLES / "simulated-frame.dcm")
    phantom = simulate(26, machine="philips-like", n_nodes=1)

    assert frame.warnings == ()
    assert frame.spacing_mm == pytest.approx(phantom.frame.spacing_mm, rel=1e-6)
    assert frame.regions[0].box == phantom.frame.scan_area
    # JPEG at quality 93: close to the simulation, not equal.
    assert np.abs(frame.pixels.astype(int) - phantom.frame.pixels).mean() < 2


def test_the_simulated_cine_has_twelve_calibrated_frames():
    with open_source(SAMPLES / "simulated-cine.dcm") as cine:
        frames = list(cine)

    assert len(frames) == 12
    assert len({frame.spacing_mm for frame in frames}) == 1
    assert frames[0].frame_time_s == pytest.approx(1 / 12, rel=0.01)
    assert (frames[0].pixels != frames[11].pixels).mean() > 0.2


@pytest.mark.parametrize("name", ["simulated-frame.dcm", "simulated-cine.dcm"])
def test_no_sample_says_anything_of_a_person(name):
    header = pydicom.dcmread(SAMPLES / name, stop_before_pixels=True)

    assert header.PatientName == "TEST^SIMULATED"
    assert not any(
        header.get(key) for key in ("PatientBirthDate", "PatientSex", "StudyDate", "InstitutionName")
    )


def test_the_real_frame_reads_and_is_credited():
    assert read_frame(SAMPLES / "usgra-vessels.png").grey.std() > 10

    credit = (SAMPLES / "CREDITS.txt").read_text()
    assert "usgra-vessels.png" in credit
    assert "Creative Commons Attribution 4.0" in credit


def test_the_samples_stay_small():
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) < 1_500_000
