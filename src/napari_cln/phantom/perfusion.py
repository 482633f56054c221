"""Contrast-enhanced clips of a simulated neck: how the agent washes in and out is known for each node.

The agent's intensity over time is a gamma-variate [1]_. Metastatic nodes light up earlier and more than what
is around them, and the classes overlap; the parameters are drawn apart from the grey signs, so that both
together have a best possible score too. As on a machine, a grey view and the agent's view stand side by side,
intensities are log-compressed, bubbles sparkle anew in each frame, and the patient breathes.

References
----------
.. [1] H. K. Thompson et al., "Indicator transit time considered as a gamma variate", Circ Res 14(6), 1964.
   :doi:`10.1161/01.RES.14.6.502`
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ..types import Frame, Region
from .motion import shifted
from .simulation import Phantom, simulate

MEDIAN_PEAK_S = (9.0, 7.0)
"""Seconds from arrival to peak, of benign and of metastatic nodes."""
PEAK_SPREAD = 0.28
"""Standard deviation of the natural logarithm, in both."""
MEDIAN_RATIO = (1.6, 2.2)
"""Peak intensity over that of the tissue around."""
RATIO_SPREAD = 0.38
SHAPE = 3.0
"""Exponent of the gamma-variate."""
ARRIVAL_S = 4.0
DYNAMIC_RANGE_DB = 45.0
"""From black to white of the agent's view."""
FULL_SCALE = 4.0
"""Intensity that is white, in units of the peak of the tissue around."""
TINT = (1.0, 0.82, 0.45)
GAP = 8
"""Columns between the two views."""


@dataclass(frozen=True, kw_only=True)
class Perfusion:
    """Wash-in of one node.

    Parameters
    ----------
    arrival_s, peak_s : float
        Seconds to the agent's arrival, and from there to the peak.
    ratio : float
        Peak over that of the tissue around.
    """

    arrival_s: float
    peak_s: float
    ratio: float

    @property
    def rise_s(self) -> float:
        """Seconds from a tenth to nine tenths of the peak, on the way up."""
        t = np.linspace(0, self.peak_s, 20_001)
        curve = gamma_variate(t, 0.0, self.peak_s)
        return float(np.interp(0.9, curve, t) - np.interp(0.1, curve, t))

    def at(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Linear intensity at some times, in units of the peak of the tissue around."""
        return self.ratio * gamma_variate(seconds, self.arrival_s, self.peak_s)


VESSEL = Perfusion(arrival_s=ARRIVAL_S - 2.0, peak_s=5.0, ratio=3.0)
"""Wash-in of the great vessels."""


def gamma_variate(seconds: NDArray[np.float64], arrival_s: float, peak_s: float) -> NDArray[np.float64]:
    """Gamma-variate of height 1.

    Parameters
    ----------
    seconds : ndarray of float64
    arrival_s, peak_s : float
        Arrival, and the time from there to the peak.
    """
    since = np.maximum(seconds - arrival_s, 0.0) / peak_s
    return since**SHAPE * np.exp(SHAPE * (1 - since))


def draw_perfusion(rng: np.random.Generator, metastatic: bool) -> Perfusion:
    """Draw the wash-in of a node of known class."""
    return Perfusion(
        arrival_s=ARRIVAL_S + float(rng.uniform(-1, 1)),
        peak_s=float(MEDIAN_PEAK_S[metastatic] * np.exp(PEAK_SPREAD * rng.standard_normal())),
        ratio=float(MEDIAN_RATIO[metastatic] * np.exp(RATIO_SPREAD * rng.standard_normal())),
    )


def perfusion_log_ratio(node: Perfusion) -> float:
    """Log density of a wash-in in metastatic nodes minus that in benign ones; its arrival says nothing."""
    total = 0.0
    for value, medians, spread in (
        (node.peak_s, MEDIAN_PEAK_S, PEAK_SPREAD),
        (node.ratio, MEDIAN_RATIO, RATIO_SPREAD),
    ):
        benign, metastatic = np.log(medians)
        total += ((np.log(value) - benign) ** 2 - (np.log(value) - metastatic) ** 2) / (2 * spread**2)
    return float(total)


class ContrastClip:
    """One neck while a contrast agent passes.

    Parameters
    ----------
    seed : int
        Not negative; the same seed gives the same frames.
    n_frames : int
    seconds : float
        Length of the clip.
    breath_mm : float
        Greatest way of the whole picture along the depth, there and back every four seconds.
    machine : str, optional
        One of ``MACHINES``; drawn at random otherwise.

    Attributes
    ----------
    nodes : tuple of Perfusion
        Truth of each node, in the order of their ids.
    view : int
        Columns from a pixel of the grey view to the same place in the agent's.
    """

    def __init__(
        self,
        seed: int,
        n_frames: int = 60,
        *,
        seconds: float = 30.0,
        breath_mm: float = 2.0,
        machine: str | None = None,
    ) -> None:
        self._n, self._step, self._breath, self._seed = n_frames, seconds / n_frames, breath_mm, seed
        self._still = simulate(seed, machine=machine, n_nodes=1, overlays=False)
        rng = np.random.default_rng([seed, 21])
        self.nodes = tuple(draw_perfusion(rng, node.truth == "metastatic") for node in self._still.nodes)
        self._around = Perfusion(arrival_s=ARRIVAL_S + 1.0, peak_s=10.0, ratio=1.0)
        self._phase = float(rng.uniform(0, 2 * np.pi))
        assert self._still.frame.scan_area is not None
        top, left, bottom, right = self._still.frame.scan_area
        self._area = top, left, bottom, right
        self.view = right - left + GAP

    def __iter__(self) -> Iterator[Phantom]:
        for index in range(self._n):
            yield self._frame(index)

    def _frame(self, index: int) -> Phantom:
        still, (top, left, bottom, right) = self._still, self._area
        now, spacing = index * self._step, self._still.frame.spacing_mm
        assert spacing is not None
        inside = np.s_[top:bottom, left:right]
        level = np.full(still.instances.shape, self._around.at(np.array([now]))[0])
        for name in ("carotid", "jugular"):
            if name in still.structures:
                level[still.structures[name]] = VESSEL.at(np.array([now]))[0]
        for number, node in enumerate(self.nodes, start=1):
            level[still.instances == number] = node.at(np.array([now]))[0]
        rng = np.random.default_rng([self._seed, 22, index])
        sparkle = gaussian_filter(rng.gamma(1.0, size=level.shape), 1.2)
        intensity = gaussian_filter(level, 1.0) * sparkle / sparkle.mean() + 10 ** (-DYNAMIC_RANGE_DB / 10)
        decibel = 10 * np.log10(np.maximum(intensity / FULL_SCALE, 1e-12))
        agent = np.rint(np.clip(1 + decibel / DYNAMIC_RANGE_DB, 0, 1) * 255).astype(np.uint8)
        way = round(self._breath / 2 * np.sin(2 * np.pi * now / 4.0 + self._phase) / spacing[0])
        grey, agent, ids = (
            shifted(picture, way, self._area)[inside] for picture in (still.clean, agent, still.instances)
        )
        rows, columns = grey.shape
        pixels = np.zeros((rows + 2 * GAP, 2 * columns + 3 * GAP, 3), np.uint8)
        instances = np.zeros(pixels.shape[:2], np.uint8)
        one = np.s_[GAP : GAP + rows, GAP : GAP + columns]
        other = np.s_[GAP : GAP + rows, 2 * GAP + columns : 2 * GAP + 2 * columns]
        pixels[one] = grey[..., None]
        pixels[other] = np.rint(agent[..., None] * np.array(TINT)).astype(np.uint8)
        instances[one] = ids
        boxes = [(GAP, place[1].start, GAP + rows, place[1].stop) for place in (one, other)]
        frame = Frame(
            pixels=pixels,
            index=index,
            n_frames=self._n,
            frame_time_s=self._step,
            spacing_mm=spacing,
            spacing_source="simulated",
            regions=tuple(Region(box=box, spacing_mm=spacing) for box in boxes),
            vendor="simulated",
            scan_area=(GAP, GAP, GAP + rows, 2 * GAP + 2 * columns),
        )
        clean = pixels.max(axis=2)
        return replace(
            still,
            frame=frame,
            clean=clean,
            instances=instances,
            structures={},
            overlay=np.zeros(instances.shape, bool),
        )
