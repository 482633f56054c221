"""Acoustic maps of a simulated neck, and the strokes that paint them.

Lengths are millimetres; a contour is an array (N, 2) of ``(depth, lateral)`` points.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter1d

Contour: TypeAlias = NDArray[np.float64]

STEP_MM = (0.05, 0.1)
"""Grid of the acoustic maps in depth and laterally: finer than any pulse or beam drawn here."""


class Tissue:
    """Echogenicity, coherent reflectors and excess attenuation on one grid.

    Parameters
    ----------
    depth_mm, width_mm : float
    """

    def __init__(self, depth_mm: float, width_mm: float) -> None:
        self.depth_mm, self.width_mm = depth_mm, width_mm
        self.shape = (int(np.ceil(depth_mm / STEP_MM[0])), int(np.ceil(width_mm / STEP_MM[1])))
        self.depth = ((np.arange(self.shape[0]) + 0.5) * STEP_MM[0]).astype(np.float32)[:, None]
        self.lateral = ((np.arange(self.shape[1]) + 0.5) * STEP_MM[1]).astype(np.float32)
        self.echo_db = np.zeros(self.shape, dtype=np.float32)
        """Diffuse echogenicity, dB; 0 is the loose connective tissue of the neck."""
        self.reflectors = np.zeros(self.shape, dtype=np.float32)
        """Amplitude of coherent reflectors: fascia, walls, gas, bone."""
        self.loss_db = np.zeros(self.shape, dtype=np.float32)
        """Excess two-way attenuation over what the time-gain compensation expects, dB per mm."""

    def layer(self, top: NDArray[np.float32], bottom: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Mask of the depths between two curves given per column."""
        between: NDArray[np.bool_] = (self.depth >= top) & (self.depth < bottom)
        return between

    def indices(self, contour: Contour) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Grid points within a contour."""
        (row, column), part = _rasterise(contour / STEP_MM - 0.5, self.shape)
        rows, columns = np.nonzero(part)
        return rows + row, columns + column

    def fill(
        self, contour: Contour, echo_db: float, *, loss_db: float | None = None, clear: bool = True
    ) -> None:
        """Give the inside of a contour one echogenicity, and on request an excess attenuation.

        ``clear`` takes away the reflectors that lay there.
        """
        where = self.indices(contour)
        self.echo_db[where] = echo_db
        if loss_db is not None:
            self.loss_db[where] = loss_db
        if clear:
            self.reflectors[where] = 0

    def reflect(self, points: Contour, amplitude: float | NDArray[np.float64]) -> None:
        """Lay a coherent reflector along densely sampled points."""
        rows, columns = np.floor(points / STEP_MM).astype(np.intp).T
        keep = (rows >= 0) & (rows < self.shape[0]) & (columns >= 0) & (columns < self.shape[1])
        level = np.broadcast_to(np.asarray(amplitude, dtype=np.float32), rows.shape)[keep]
        # The strongest reflector of a cell counts: dense sampling must not add up.
        np.maximum.at(self.reflectors, (rows[keep], columns[keep]), level)

    def wall(
        self, rng: np.random.Generator, contour: Contour, amplitude: float, *, diffuse: float = 0.08
    ) -> None:
        """Lay a reflecting wall along a contour: bright where it faces the beam."""
        closed = np.vstack([contour, contour[:1]])
        lengths = np.hypot(*np.diff(closed, axis=0).T)
        position = np.concatenate([[0], np.cumsum(lengths)])
        at = np.arange(0, position[-1], 0.04)
        points = np.column_stack([np.interp(at, position, closed[:, k]) for k in (0, 1)])
        tangent = np.gradient(points, axis=0)
        facing = np.abs(tangent[:, 1]) / np.maximum(np.hypot(*tangent.T), 1e-9)
        wavering = 0.75 + 0.5 * np.interp(np.linspace(0, 11, at.size), np.arange(12), rng.random(12))
        self.reflect(points, amplitude * wavering * (diffuse + (1 - diffuse) * facing**6))

    def curve(
        self, rng: np.random.Generator, depth: NDArray[np.float32], amplitude: float, thickness_mm: float
    ) -> None:
        """Lay a fascia along a curve given per column, interrupted and uneven as real ones are."""
        lateral = np.arange(0, self.width_mm, 0.05)
        height = np.interp(lateral, self.lateral, depth)
        slope = np.gradient(height, lateral)
        level = np.clip(0.8 + 0.55 * smooth_noise(rng, (1, lateral.size), (1, 40))[0], 0.1, 1.8)
        level = amplitude * level * np.exp(-((slope / 0.45) ** 2))
        for offset in np.arange(0, thickness_mm, STEP_MM[0]):
            self.reflect(
                np.column_stack([height + offset, lateral]), level * (1 - 0.5 * offset / thickness_mm)
            )

    def streaks(
        self,
        rng: np.random.Generator,
        where: NDArray[np.bool_],
        *,
        density: float,
        length_mm: tuple[float, float],
        amplitude: float,
        slope: float = 0.0,
    ) -> None:
        """Lay short bright fibres, ``density`` per mm², in a part of the tissue."""
        count = int(density * self.depth_mm * self.width_mm)
        centre = rng.uniform((0, 0), (self.depth_mm, self.width_mm), (count, 2))
        length = rng.uniform(*length_mm, count)
        slopes = slope + 0.09 * rng.standard_normal(count)
        bend = 0.02 * rng.standard_normal(count)
        level = amplitude * rng.uniform(0.2, 1.0, count) ** 1.5
        along = np.linspace(-0.5, 0.5, 60)[None] * length[:, None]
        points = np.stack(
            [centre[:, :1] + slopes[:, None] * along + bend[:, None] * along**2, centre[:, 1:] + along],
            axis=-1,
        )
        fade = level[:, None] * (1 - (2 * along / length[:, None]) ** 2)
        cells = np.clip(np.floor(points / STEP_MM).astype(np.intp), 0, np.subtract(self.shape, 1))
        inside_it = where[cells[..., 0], cells[..., 1]]
        self.reflect(points[inside_it], fade[inside_it])

    def path_db(self) -> NDArray[np.float32]:
        """Gain of the echo from each point after the excess attenuation on the way, dB."""
        path: NDArray[np.float32] = -np.cumsum(self.loss_db, axis=0) * np.float32(STEP_MM[0])
        # A shadow's edge is as soft as the beam is wide.
        smoothed: NDArray[np.float32] = gaussian_filter1d(path, 3.0, axis=1, mode="nearest", truncate=3.0)
        return smoothed


def ellipse(
    centre: tuple[float, float], radii: tuple[float, float], angle: float = 0.0, n: int = 180
) -> Contour:
    """Contour of an ellipse; ``radii`` are (depth, lateral) before turning by ``angle`` (radians)."""
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    depth, lateral = radii[0] * np.sin(t), radii[1] * np.cos(t)
    turned = np.column_stack(
        [depth * np.cos(angle) + lateral * np.sin(angle), lateral * np.cos(angle) - depth * np.sin(angle)]
    )
    return turned + centre


def inside(contour: Contour, shape: tuple[int, int], spacing_mm: tuple[float, float]) -> NDArray[np.bool_]:
    """Mask of a contour on a pixel grid whose first pixel begins at the origin.

    A pixel belongs to the mask when its centre lies within the contour (even-odd rule).
    """
    (row, column), part = _rasterise(contour / spacing_mm - 0.5, shape)
    mask = np.zeros(shape, dtype=bool)
    mask[row : row + part.shape[0], column : column + part.shape[1]] = part
    return mask


def _rasterise(contour: Contour, shape: tuple[int, int]) -> tuple[tuple[int, int], NDArray[np.bool_]]:
    """Corner and mask of the part of a grid that a contour in grid units covers."""
    first = np.clip(np.floor(contour.min(axis=0)), 0, shape).astype(int)
    last = np.clip(np.ceil(contour.max(axis=0)) + 1, first, shape).astype(int)
    rows, columns = last - first
    row, column = (contour - first).T
    row_b, column_b = np.roll(row, -1), np.roll(column, -1)
    lines = np.arange(rows)[:, None]
    line, edge = np.nonzero((row <= lines) != (row_b <= lines))
    crossing = column[edge] + (line - row[edge]) * (column_b - column)[edge] / (row_b - row)[edge]
    # Every crossing of the border turns inside to outside for the rest of the line.
    toggles = np.zeros((rows, columns + 1), dtype=np.uint8)
    np.add.at(toggles, (line, np.clip(np.ceil(crossing), 0, columns).astype(np.intp)), 1)
    part: NDArray[np.bool_] = np.bitwise_and(np.cumsum(toggles, axis=1, dtype=np.uint8)[:, :-1], 1).astype(
        bool
    )
    return (int(first[0]), int(first[1])), part


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], grain: tuple[int, int]
) -> NDArray[np.float32]:
    """Gaussian noise of unit variance that varies over about ``grain`` grid points."""
    coarse = rng.standard_normal(
        [max(2, -(-n // g)) for n, g in zip(shape, grain, strict=True)], dtype=np.float32
    )
    fine = Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC)
    fitted: NDArray[np.float32] = np.asarray(fine) * np.float32(1.3)
    return fitted


def wave(
    rng: np.random.Generator, lateral: NDArray[np.float32], amplitude: float, tilt: float = 0.0
) -> NDArray[np.float32]:
    """Gently waving curve about zero over the width, such as a fascia follows."""
    width = float(lateral[-1])
    curve = tilt * (lateral - width / 2)
    for k in (1, 2, 3, 5):
        curve = curve + amplitude / k * rng.standard_normal() * np.sin(
            np.pi * k * lateral / width + rng.uniform(0, 2 * np.pi)
        )
    return curve.astype(np.float32)
