"""From tissue to echo: scatterers, point-spread function, attenuation, envelope, log compression.

The scatterers are a circular complex Gaussian field times the square root of the tissue's
echogenicity: the baseband form of very many scatterers per resolution cell at random phases [1]_.
The pulse is Gaussian axially, the beam Gaussian laterally and narrowest at its focus. Coherent
reflectors (fascia, vessel walls) are added before the convolution, so they have the system's
resolution and interfere with the speckle around them.

References
----------
.. [1] R. F. Wagner, S. W. Smith, J. M. Sandrik, H. Lopez, Statistics of speckle in ultrasound
   B-scans, IEEE Trans Sonics Ultrason 30(3), 1983. :doi:`10.1109/T-SU.1983.31404`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter1d


@dataclass(frozen=True, kw_only=True)
class Beam:
    """Resolution of the simulated scanner; widths are standard deviations, in mm."""

    axial_mm: float
    lateral_mm: float
    """At the focus."""
    focus_mm: float
    """Depth of the focus."""
    spread: float
    """Growth of the lateral width a focal length away from the focus."""
    side_lobe: float = 0.08
    """Amplitude of the side lobes, five times as wide as the beam: the haze in vessels and cysts."""

    def lateral_at(self, depth_mm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Lateral width at each depth (mm)."""
        width = self.lateral_mm * np.sqrt(1 + (self.spread * (depth_mm / self.focus_mm - 1)) ** 2)
        return np.asarray(width, dtype=np.float32)


def scatter(rng: np.random.Generator, echo_db: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Scatterers of tissue of a given echogenicity: complex Gaussian, mean intensity ``10^(dB/10)``."""
    field = rng.standard_normal((*echo_db.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    amplitude: NDArray[np.float32] = np.exp(
        echo_db * np.float32(np.log(10) / 20) - np.float32(0.5 * np.log(2))
    )
    scatterers: NDArray[np.complex64] = field * amplitude
    return scatterers


def form_echo(
    scatterers: NDArray[np.complex64], spacing_mm: tuple[float, float], beam: Beam
) -> NDArray[np.complex64]:
    """Baseband echo: the scatterers convolved with the point-spread function.

    Parameters
    ----------
    scatterers : ndarray of complex64, shape (Z, X)
    spacing_mm : (float, float)
        Grid step in depth and laterally.
    beam : Beam

    Returns
    -------
    ndarray of complex64, shape (Z, X)
        The kernel has unit energy at every depth, so homogeneous tissue keeps its mean
        intensity whatever the resolution.
    """
    rows, columns = scatterers.shape
    axial_px = beam.axial_mm / spacing_mm[0]
    depth_mm = (np.arange(rows, dtype=np.float32) + 0.5) * np.float32(spacing_mm[0])
    lateral_px = beam.lateral_at(depth_mm)[:, None] / np.float32(spacing_mm[1])
    pad_z, pad_x = int(np.ceil(4 * axial_px)), int(np.ceil(4 * float(lateral_px.max())))
    n_z, n_x = fft.next_fast_len(rows + pad_z), fft.next_fast_len(columns + pad_x)

    # Along the beam first, then across it: the width across changes with depth.
    frequency = fft.fftfreq(n_z).astype(np.float32)[:, None]
    axial = np.exp(-2 * (np.pi * axial_px * frequency) ** 2) * (4 * np.pi * axial_px**2) ** 0.25
    echo = fft.ifft(fft.fft(scatterers, n_z, axis=0) * axial, axis=0)[:rows]
    frequency = fft.fftfreq(n_x).astype(np.float32)[None]
    lateral = np.zeros((rows, n_x), dtype=np.float32)
    for width_px, level in ((lateral_px, 1.0), (5 * lateral_px, beam.side_lobe)):
        lateral += (
            level * np.exp(-2 * (np.pi * width_px * frequency) ** 2) * (4 * np.pi * width_px**2) ** 0.25
        )
    lateral /= np.sqrt(np.mean(lateral**2, axis=1, keepdims=True))
    formed: NDArray[np.complex64] = fft.ifft(fft.fft(echo, n_x, axis=1) * lateral, axis=1)[:, :columns]
    return formed


def receiver_noise(
    rng: np.random.Generator,
    shape: tuple[int, int],
    axial_px: float,
    level_db: tuple[float, float] = (-48.0, -34.0),
) -> NDArray[np.complex64]:
    """Noise of the receiver, complex64 (Z, X).

    Parameters
    ----------
    rng : Generator
    shape : (int, int)
    axial_px : float
        Length of the pulse. The receiver filters its noise to the pulse's band: without that it
        would be finer than speckle.
    level_db : (float, float)
        At the top and at the bottom: noise grows with the time-gain compensation.
    """
    level = np.linspace(*level_db, shape[0], dtype=np.float32)[:, None] * np.ones(shape, dtype=np.float32)
    noise = scatter(rng, level)
    gain = np.float32((4 * np.pi * axial_px**2) ** 0.25)
    parts = [gaussian_filter1d(part, axial_px, axis=0, truncate=3.0) for part in (noise.real, noise.imag)]
    filtered: NDArray[np.complex64] = (parts[0] + 1j * parts[1]) * gain
    return filtered


def envelope(
    looks: Sequence[NDArray[np.complex64]],
    reflectors: NDArray[np.float32],
    path_db: NDArray[np.float32],
    noise: NDArray[np.complex64],
    spacing_mm: tuple[float, float],
    beam: Beam,
) -> NDArray[np.float32]:
    """Envelope of the echo, averaged over the looks of a compound scan.

    Parameters
    ----------
    looks : sequence of ndarray of complex64, shape (Z, X)
        Scatterers as each view of the compound scan meets them.
    reflectors : ndarray of float32, shape (Z, X)
        Amplitude of coherent reflectors.
    path_db : ndarray of float32, shape (Z, X)
        What attenuation and gain, summed over the way down, do to the echo.
    noise : ndarray of complex64, shape (Z, X)
    spacing_mm : (float, float)
    beam : Beam

    Returns
    -------
    ndarray of float32, shape (Z, X)
    """
    path: NDArray[np.float32] = np.exp(path_db * np.float32(np.log(10) / 20))
    total = np.zeros(path_db.shape, dtype=np.float32)
    for scatterers in looks:
        total += np.abs(form_echo(scatterers + reflectors, spacing_mm, beam) * path + noise)
    return total / np.float32(len(looks))


def log_compress(
    amplitude: NDArray[np.float32], *, dynamic_range_db: float, tissue_db: float, gamma: float = 1.0
) -> NDArray[np.float32]:
    """Grey level in [0, 1] of an envelope.

    Parameters
    ----------
    amplitude : ndarray of float32
        Envelope; 1 is tissue of 0 dB.
    dynamic_range_db : float
        From black to white.
    tissue_db : float
        How far above black tissue of 0 dB lies.
    gamma : float
        Exponent of the machine's grey map.
    """
    level = 20 * np.log10(np.maximum(amplitude, np.float32(1e-6))) + np.float32(tissue_db)
    grey: NDArray[np.float32] = np.clip(level / np.float32(dynamic_range_db), 0, 1) ** np.float32(gamma)
    return grey.astype(np.float32)
