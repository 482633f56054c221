"""The echo obeys the statistics of fully developed speckle."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cln.phantom.speckle import Beam, envelope, form_echo, log_compress, receiver_noise, scatter

SPACING = (0.05, 0.1)
BEAM = Beam(axial_mm=0.1, lateral_mm=0.25, focus_mm=20.0, spread=0.6)


QUIET = (-90.0, -90.0)


def imaged(seed: int, echo_db: np.ndarray, looks: int = 1) -> np.ndarray:
    """Envelope of tissue without reflectors, attenuation or audible noise."""
    rng = np.random.default_rng(seed)
    noise = receiver_noise(rng, echo_db.shape, BEAM.axial_mm / SPACING[0], QUIET)
    fields = [scatter(rng, echo_db) for _ in range(looks)]
    return envelope(fields, 0 * echo_db, 0 * echo_db, noise, SPACING, BEAM)


def homogeneous(seed: int, looks: int = 1) -> np.ndarray:
    return imaged(seed, np.zeros((600, 400), dtype=np.float32), looks)


def test_the_envelope_of_homogeneous_tissue_is_rayleigh():
    amplitude = homogeneous(1)

    # Mean over standard deviation of a Rayleigh variable: sqrt(pi / (4 - pi)) = 1.913
    assert amplitude.mean() / amplitude.std() == pytest.approx(1.913, rel=0.03)


def test_tissue_of_zero_db_has_mean_intensity_one():
    intensity = homogeneous(2) ** 2

    assert intensity.mean() == pytest.approx(1.0, rel=0.03)


def test_compounding_raises_the_signal_to_noise_ratio_by_the_root_of_the_looks():
    one, four = homogeneous(3), homogeneous(3, looks=4)

    gain = (four.mean() / four.std()) / (one.mean() / one.std())
    assert gain == pytest.approx(2.0, rel=0.06)


def test_a_step_of_ten_db_is_shown_as_ten_db():
    step = np.zeros((600, 400), dtype=np.float32)
    step[:, 200:] = -10
    amplitude = imaged(4, step)

    left, right = (np.mean(part**2) for part in (amplitude[:, 20:170], amplitude[:, 230:380]))
    assert 10 * np.log10(left / right) == pytest.approx(10, abs=0.5)


def test_a_point_is_as_wide_as_the_beam_at_its_depth():
    points = np.zeros((800, 400), dtype=np.complex64)
    points[400, 200] = points[700, 200] = 1
    narrow = Beam(axial_mm=0.1, lateral_mm=0.25, focus_mm=20.0, spread=0.6, side_lobe=0.0)

    echo = np.abs(form_echo(points, SPACING, narrow))

    for row, lateral_mm in ((400, 0.25), (700, 0.25 * np.hypot(1, 0.6 * 0.7525))):
        x = (np.arange(400) - 200) * SPACING[1]
        profile = echo[row] / echo[row].sum()
        assert np.sqrt(np.sum(profile * x**2)) == pytest.approx(lateral_mm, rel=0.02)
    z = (np.arange(300, 500) - 400) * SPACING[0]
    profile = echo[300:500, 200] / echo[300:500, 200].sum()
    assert np.sqrt(np.sum(profile * z**2)) == pytest.approx(0.1, rel=0.02)


def test_scatterers_have_no_preferred_phase():
    field = scatter(np.random.default_rng(5), np.zeros((500, 500), dtype=np.float32))

    assert abs(field.mean()) < 0.01
    assert abs((field**2).mean()) < 0.01
    assert (np.abs(field) ** 2).mean() == pytest.approx(1, rel=0.01)


def test_log_compression_maps_the_dynamic_range_to_black_and_white():
    amplitude = np.float32([1e-5, 10 ** (-30 / 20), 1.0, 10 ** (30 / 20), 1e5])

    grey = log_compress(amplitude, dynamic_range_db=60, tissue_db=30)

    np.testing.assert_allclose(grey, [0, 0, 0.5, 1, 1], atol=1e-6)


def test_noise_has_the_level_and_the_grain_asked_for():
    noise = receiver_noise(np.random.default_rng(6), (600, 400), 2.0, (-40.0, -20.0))

    for rows, level_db in ((slice(0, 60), -39), (slice(540, 600), -21)):
        assert 10 * np.log10(np.mean(np.abs(noise[rows]) ** 2)) == pytest.approx(level_db, abs=0.6)
    shifted = np.vdot(noise[2:], noise[:-2]).real / np.vdot(noise[:-2], noise[:-2]).real
    # The autocorrelation of a Gaussian filter of width s at shift d: exp(-d² / 4s²)
    assert shifted == pytest.approx(np.exp(-4 / 16), abs=0.12)
