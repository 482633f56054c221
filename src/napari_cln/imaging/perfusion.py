"""Time-intensity curves of contrast-enhanced clips: how an agent washes into a node and out of it.

What a machine shows is log-compressed. Where its dynamic range is known, that is undone, and intensities are
linear; where it is not, the curve is of grey values, and says so.

An agent that is stronger than the view's white is cut off there, at first in its brightest speckles. The
intensity of speckle is gamma-distributed about its mean [1]_; its shape is read in frames without white, and
then a mean that was cut off tells the mean that was there.

References
----------
.. [1] J. W. Goodman, *Speckle phenomena in optics*, Roberts 2007, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import least_squares
from scipy.special import gammainc, gammaincc, lambertw

from ..types import Box, Frame
from .channels import contrast_views, twin_views
from .tracking import rolled, shift_between

__all__ = ["TimeIntensity", "WashIn", "perfusion", "perfusion_of_each"]

LEAST_FIT = 0.8
"""Share of a curve's variance that a wash-in explains, below which the curve is called none."""
WHITE = 0.995
"""Share of the greatest grey value from which on a pixel may have been cut off."""
MOST_WHITE = 0.98
"""Share of white pixels above which nobody can tell how bright a frame was, and no wash-in is told."""
UNTIMED = (
    "The clip does not say the time between its frames, so it has no curve over time. Use the file as the "
    "machine stored it."
)
ASKED = 10
"""Frames, spread over a clip, that are asked which of two views is the agent's."""
UNTINTED = (
    "Two views of one size stand side by side, and neither is tinted all over in the frame of the mask or in "
    f"{ASKED} over the clip: which one shows the agent can't be told. Use a clip whose agent is tinted, or "
    "that shows the agent's view alone."
)
Floats = NDArray[np.float64]
T = TypeVar("T", bound=np.generic)


class Frames(Protocol):
    """Frames by their number, such as a list or what :func:`napari_cln.open_source` gives."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Frame: ...


@dataclass(frozen=True, kw_only=True)
class WashIn:
    """A gamma-variate [1]_ that follows a curve.

    Parameters
    ----------
    baseline, peak : float
        Intensity before the agent comes, and at most.
    arrival_s : float
        Seconds from the first frame to the agent's arrival.
    time_to_peak_s : float
        From the arrival to the peak.
    rise_s : float
        From a tenth to nine tenths of the rise.
    wash_out_s : float
        From the peak until half of the rise is gone, by what was fitted, also where the clip ends before.
    mean_transit_s : float
        Mean time that the agent takes, from the arrival.
    fit : float
        Share of the curve's variance that it explains, at most 1.

    References
    ----------
    .. [1] H. K. Thompson et al., "Indicator transit time considered as a gamma variate", Circ Res 14(6),
           1964. :doi:`10.1161/01.RES.14.6.502`
    """

    baseline: float
    peak: float
    arrival_s: float
    time_to_peak_s: float
    rise_s: float
    wash_out_s: float
    mean_transit_s: float
    fit: float


@dataclass(frozen=True, kw_only=True, eq=False)
class TimeIntensity:
    """Curve of one node of a clip.

    Parameters
    ----------
    seconds, node, around : ndarray of float64, shape (T,)
        Time of each frame, and the mean intensity in the node and in the tissue around it; 1 is white.
    dynamic_range_db : float, optional
        By which the log-compression was undone; None for a curve of grey values, which is relative.
    wash_in : WashIn, optional
        Of the node; None where no agent comes and goes, or nearly all of the node is white in a frame.
    ratio : float, optional
        Peak of the node over that of the tissue around, each above its baseline.
    """

    seconds: Floats
    node: Floats
    around: Floats
    dynamic_range_db: float | None
    wash_in: WashIn | None
    ratio: float | None


def perfusion(
    frames: Frames, mask: NDArray[np.bool_], *, at: int = 0, dynamic_range_db: float | None = None
) -> TimeIntensity:
    """Measure how a contrast agent washes into a node.

    Parameters
    ----------
    frames : sequence of Frame
        A clip with the time of each frame, or between them; read one by one.
    mask : ndarray of bool, shape (H, W)
        The node in one frame. Where a grey view and the agent's stand side by side with the same size and
        scale, it may lie in either, and the frame may be one before the agent comes.
    at : int
        Number of that frame. The mask is moved along with the picture in the others.
    dynamic_range_db : float, optional
        Decibels from black to white of the agent's view, as the machine says them; above 0.

    Returns
    -------
    TimeIntensity

    Raises
    ------
    ValueError
        If the clip does not say the time of its frames, is shorter than 8 frames, or has two like views of
        which neither is tinted; or if the mask is empty or does not fit.

    Examples
    --------
    >>> clip = napari_cln.open_source("ceus.dcm")                            # doctest: +SKIP
    >>> napari_cln.perfusion(clip, mask, dynamic_range_db=60).wash_in.rise_s  # doctest: +SKIP
    4.8
    """
    return perfusion_of_each(frames, [(at, mask)], dynamic_range_db=dynamic_range_db)[0]


def perfusion_of_each(
    frames: Frames, nodes: Sequence[tuple[int, NDArray[np.bool_]]], *, dynamic_range_db: float | None = None
) -> list[TimeIntensity]:
    """Measure how a contrast agent washes into several nodes, reading the clip once.

    Parameters
    ----------
    frames : sequence of Frame
        As for :func:`perfusion`.
    nodes : sequence of (int, ndarray of bool)
        Number of a frame, and the node's mask in it (H, W).
    dynamic_range_db : float, optional

    Returns
    -------
    list of TimeIntensity

    Raises
    ------
    ValueError
        As for :func:`perfusion`.
    """
    if dynamic_range_db is not None and not dynamic_range_db > 0:
        raise ValueError(f"dynamic_range_db is {dynamic_range_db}: give decibels above 0.")
    views: dict[int, _Views] = {}
    for at in dict.fromkeys(at for at, _ in nodes):
        views[at] = _Views.of(frames, at, next(iter(views.values()), None))
    followed = [_Followed(at, mask, views[at], len(frames)) for at, mask in nodes]
    top = float(_linear(np.array(WHITE), dynamic_range_db))
    times_s: list[float | None] = []
    for index in range(len(frames)):
        frame = frames[index]
        times_s.append(frame.time_s)
        ways = {at: (0, 0) if index == at else each.shift_to(frame) for at, each in views.items()}
        intensities = {
            box: _intensity(frame, box, dynamic_range_db) for box in {each.agent for each in views.values()}
        }
        for one in followed:
            one.take(index, intensities[views[one.at].agent], ways[one.at], top)
    return [one.told(_seconds(times_s, views[one.at].frame_time_s), dynamic_range_db) for one in followed]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Views:
    """Where grey picture and agent lie in a frame, and that grey picture, which motion is measured by."""

    still: Box
    agent: Box
    reference: NDArray[np.uint8]
    shape: tuple[int, int]
    frame_time_s: float | None

    @classmethod
    def of(cls, frames: Frames, at: int, known: _Views | None = None) -> _Views:
        """Those of a frame of a clip, whose views may be known from another one."""
        first = frames[at]
        if first.frame_time_s is None and first.time_s is None:
            raise ValueError(UNTIMED)
        if len(frames) < 8:
            raise ValueError(f"The clip has {len(frames)} frames: a curve over time needs 8 or more.")
        still, agent = (known.still, known.agent) if known else _views_of_clip(frames, first)
        reference = _part(first.grey, still).copy()  # the frame is let go
        return cls(
            still=still,
            agent=agent,
            reference=reference,
            shape=first.shape,
            frame_time_s=first.frame_time_s,
        )

    def shift_to(self, frame: Frame) -> tuple[int, int]:
        """Shift of the picture from here to another frame."""
        return shift_between(self.reference, _part(frame.grey, self.still))


def _views_of_clip(frames: Frames, first: Frame) -> tuple[Box, Box]:
    """Grey view and agent's as the first frame shows them, or another, if no agent is there yet; both are the
    whole frame where it has no two views.
    """
    whole = (0, 0, *first.shape)
    if not twin_views(first.regions):
        return whole, whole
    spread = np.linspace(0, len(frames) - 1, ASKED).astype(int).tolist()
    for frame in chain([first], (frames[index] for index in dict.fromkeys(spread))):
        if (views := contrast_views(frame)) is not None:
            return views
    raise ValueError(UNTINTED)


class _Followed:
    """A node, and the tissue around it, of which the values come frame by frame."""

    def __init__(self, at: int, mask: NDArray[np.bool_], views: _Views, count: int) -> None:
        if mask.shape != views.shape or not mask.any():
            size = np.count_nonzero(mask)
            raise ValueError(f"mask has shape {mask.shape} and {size} pixels: give a node of {views.shape}.")
        self.at = at
        node = _in_view(mask, views.still, views.agent)
        self._parts = node, _ring(node)
        self._means, self._spread, self._white = np.zeros((3, 2, count))

    def take(self, index: int, intensity: Floats, way: tuple[int, int], top: float) -> None:
        """Note the intensities (H, W) of a frame that has moved; from ``top`` on a pixel is white."""
        for row, part in enumerate(self._parts):
            values = intensity[rolled(part, way)]
            self._means[row, index] = float(values.mean()) if values.size else np.nan
            self._spread[row, index] = float(values.std()) if values.size else np.nan
            self._white[row, index] = np.mean(values >= top) if values.size else 0.0

    def told(self, seconds: Floats, dynamic_range_db: float | None) -> TimeIntensity:
        """What all frames say together."""
        curves = self._means
        if dynamic_range_db is not None:
            each = zip(self._means, self._spread, self._white, strict=True)
            curves = np.stack([_as_if_not_cut_off(*parts) for parts in each])
        # the top of a curve can't be told from its sides
        own, other = (
            fit_wash_in(seconds, curve) if most <= MOST_WHITE else None
            for curve, most in zip(curves, self._white.max(axis=1), strict=True)
        )
        ratio = None
        if own is not None and other is not None and other.peak > other.baseline:
            ratio = (own.peak - own.baseline) / (other.peak - other.baseline)
        return TimeIntensity(
            seconds=seconds,
            node=curves[0],
            around=curves[1],
            dynamic_range_db=dynamic_range_db,
            wash_in=own,
            ratio=ratio,
        )


def _seconds(times_s: Sequence[float | None], frame_time_s: float | None) -> Floats:
    """Seconds from the first frame to each: as the file says them, else in even steps."""
    said = np.array([time for time in times_s if time is not None], dtype=np.float64)
    if said.size == len(times_s):
        since: Floats = said - said[0]
        return since
    if said.size or frame_time_s is None:
        raise ValueError(UNTIMED)
    return np.arange(len(times_s), dtype=np.float64) * frame_time_s


def fit_wash_in(seconds: Floats, curve: Floats) -> WashIn | None:
    """Fit a gamma-variate on a baseline to a curve.

    Parameters
    ----------
    seconds, curve : ndarray of float64, shape (T,)
        Values that are not finite are left out.

    Returns
    -------
    WashIn or None
        None where it explains less than 80 % of the curve, or where the curve still rises at its end, so that
        neither its peak nor what follows was seen.
    """
    known = np.isfinite(curve)
    t, y = seconds[known], curve[known]
    height = float(np.ptp(y)) if y.size >= 8 else 0.0
    if height <= 0:
        return None
    smooth = ndimage.uniform_filter1d(y, 3)
    low, top = float(smooth.min()), int(smooth.argmax())
    if top == len(t) - 1:
        return None
    rising = np.flatnonzero(smooth[: top + 1] < low + 0.1 * (smooth[top] - low))
    arrival = float(t[rising[-1]]) if rising.size else float(t[0])
    length = float(t[-1] - t[0])
    rise = max(float(t[top]) - arrival, length / len(t))
    start = np.array([low, float(smooth[top]) - low, arrival, rise, 2.0])
    least = [-height, 0.05 * height, float(t[0]) - length, length / len(t) / 2, 0.3]
    most = [low + height, 5 * height, float(t[-1]), 2 * length, 12.0]
    found = least_squares(
        lambda p: _curve(t, p) - y,
        np.clip(start, np.array(least) + 1e-9, np.array(most) - 1e-9),
        bounds=(least, most),
        x_scale=[height, height, length, length, 1.0],
        loss="soft_l1",
        f_scale=0.1 * height,
    )
    baseline, rise_of, arrival, to_peak, shape = found.x
    explained = 1 - float(((_curve(t, found.x) - y) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    if explained < LEAST_FIT or arrival + to_peak > t[-1]:
        return None
    fine = np.linspace(0, to_peak, 4001)
    climb = _curve(fine, np.array([0.0, 1.0, 0.0, to_peak, shape]))
    tenth, most_of_it = np.interp([0.1, 0.9], climb, fine)
    return WashIn(
        baseline=float(baseline),
        peak=float(baseline + rise_of),
        arrival_s=float(arrival),
        time_to_peak_s=float(to_peak),
        rise_s=float(most_of_it - tenth),
        # where u·exp(1 - u) to the power of the shape is a half, beyond the peak at u = 1
        wash_out_s=float(to_peak * (-lambertw(-(0.5 ** (1 / shape)) / np.e, -1).real - 1)),
        mean_transit_s=float(to_peak * (shape + 1) / shape),
        fit=explained,
    )


def _curve(seconds: Floats, parameters: Floats) -> Floats:
    """Baseline, height, arrival, time to peak and shape of a gamma-variate, at some times."""
    baseline, height, arrival, to_peak, shape = parameters
    since = np.maximum(seconds - arrival, 0.0) / to_peak
    curve: Floats = baseline + height * since**shape * np.exp(shape * (1 - since))
    return curve


def _intensity(frame: Frame, box: Box, dynamic_range_db: float | None) -> Floats:
    """Intensity of the agent's view in [0, 1]; a tint leaves the strongest of its colours."""
    pixels = frame.pixels if frame.pixels.ndim == 2 else frame.pixels.max(axis=2)
    return _linear(_part(pixels, box) / 255, dynamic_range_db)


def _linear(share: Floats, dynamic_range_db: float | None) -> Floats:
    """Intensity behind shares of the greatest grey value."""
    if dynamic_range_db is None:
        return share
    linear: Floats = np.where(share > 0, 10 ** ((share - 1) * dynamic_range_db / 10), 0.0)
    return linear


def _as_if_not_cut_off(means: Floats, spread: Floats, white: Floats) -> Floats:
    """Mean intensities of speckle of which some was above white, 1, from those that are shown; NaN where
    nearly all was."""
    told = (white == 0) & (means > 0.1 * np.nanmax(means, initial=0.0)) & (spread > 0)
    if not told.any() or not white.any():
        return means
    shape = float(np.median((means[told] / spread[told]) ** 2))
    true = np.geomspace(1e-3, 10, 2000)
    shown = true * gammainc(shape + 1, shape / true) + gammaincc(shape, shape / true)
    mended: Floats = np.where(white > 0, np.interp(means, shown, true), means)
    return np.where(white > MOST_WHITE, np.nan, mended)


def _in_view(mask: NDArray[np.bool_], still: Box, agent: Box) -> NDArray[np.bool_]:
    """A mask in the pixels of a view, from whichever of the two it lies in."""
    parts = [_part(mask, box) for box in (still, agent)]
    return max(parts, key=np.count_nonzero)


def _ring(node: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tissue around a node, from a little away on."""
    margin = max(4.0, 0.3 * float(np.sqrt(np.count_nonzero(node))))
    away = ndimage.distance_transform_edt(~node)
    ring: NDArray[np.bool_] = (away > margin / 2) & (away <= 1.5 * margin)
    return ring


def _part(pixels: NDArray[T], box: Box) -> NDArray[T]:
    return pixels[box[0] : box[2], box[1] : box[3]]
