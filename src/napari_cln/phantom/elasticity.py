"""Shear-wave elastography of a simulated neck: stiffness in kPa, whose truth is known at each pixel.

Metastatic nodes are stiffer on the whole, and the two classes overlap, as with the grey signs; stiffness is
drawn apart from those, so that both together have a best possible score too. As on a machine, the map is
smoothed, more so sideways, is unsure at the edge of its box, and is empty in fluid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter

from ..types import Box, Spacing
from .tissue import smooth_noise

MEDIAN_KPA = (22.0, 38.0)
"""Of benign and of metastatic nodes."""
SPREAD = 0.55
"""Standard deviation of the natural logarithm, in both."""
TISSUE_KPA = 12.0
FULL_SCALE_KPA = 100.0
"""Stiffness at the hard end of the colour bar."""
BLUR_MM = (0.5, 1.1)
"""Along the depth and sideways."""
EDGE_MM = 1.0
"""Rim of the box in which waves are lost."""
LOST = 0.25
"""Share of the rim, in patches, that has no value."""
OPACITY = 0.5
"""Of the colours over the grey image."""
Floats = NDArray[np.float32]


def draw_stiffness(rng: np.random.Generator, metastatic: bool) -> float:
    """Draw a node's mean stiffness, in kPa.

    Parameters
    ----------
    rng : Generator
    metastatic : bool
    """
    return float(MEDIAN_KPA[metastatic] * np.exp(SPREAD * rng.standard_normal()))


def stiffness_log_ratio(kpa: float) -> float:
    """Log density of a stiffness in metastatic nodes minus that in benign ones.

    Parameters
    ----------
    kpa : float
        Above 0.
    """
    benign, metastatic = np.log(MEDIAN_KPA)
    return float(((np.log(kpa) - benign) ** 2 - (np.log(kpa) - metastatic) ** 2) / (2 * SPREAD**2))


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnStiffness:
    """An elastogram on the pixels of a screen.

    Parameters
    ----------
    kpa : ndarray of float32, shape (H, W)
        What is shown; NaN where nothing was measured.
    box : (int, int, int, int)
        In which it was.
    pixels : ndarray of uint8, shape (H, W, 3)
        The frame under its colours, with the colour bar.
    drawn : ndarray of bool, shape (H, W)
        The colour bar.
    """

    kpa: Floats
    box: Box
    pixels: NDArray[np.uint8]
    drawn: NDArray[np.bool_]


def draw_elastogram(
    rng: np.random.Generator,
    pixels: NDArray[np.uint8],
    instances: NDArray[np.uint8],
    of_nodes: tuple[float, ...],
    fluid: NDArray[np.bool_],
    area: Box,
    spacing: Spacing,
) -> DrawnStiffness:
    """Lay an elastogram over a frame.

    Parameters
    ----------
    rng : Generator
    pixels : ndarray of uint8, shape (H, W) or (H, W, 3)
    instances : ndarray of uint8, shape (H, W)
        Ids of nodes, from 1.
    of_nodes : tuple of float
        Stiffness of each in kPa.
    fluid : ndarray of bool, shape (H, W)
        Where shear waves do not run.
    area : (int, int, int, int)
        Scan area.
    spacing : (float, float)
        Millimetres per pixel.
    """
    shape = instances.shape
    tissue = smooth_noise(rng, shape, (40, 40)) * np.float32(0.25)
    kpa = np.float32(TISSUE_KPA) * np.exp(tissue)
    for number, value in enumerate(of_nodes, start=1):
        within = smooth_noise(rng, shape, (16, 16)) * np.float32(0.12)
        kpa = np.where(instances == number, np.float32(value) * np.exp(within), kpa)
    kpa = gaussian_filter(kpa, [mm / step for mm, step in zip(BLUR_MM, spacing, strict=True)])
    box = _box(rng, instances > 0, area, spacing)
    inside = np.zeros(shape, bool)
    inside[box[0] : box[2], box[1] : box[3]] = True
    rim = inside.copy()
    reach = [max(1, round(EDGE_MM / step)) for step in spacing]
    rim[box[0] + reach[0] : box[2] - reach[0], box[1] + reach[1] : box[3] - reach[1]] = False
    noise = smooth_noise(rng, shape, (8, 8))
    lost = rim & (noise < np.quantile(noise[rim], LOST))
    kpa = np.where(rim, kpa * np.exp(np.float32(0.3) * noise), kpa)
    measured = inside & ~binary_dilation(fluid, iterations=2) & ~lost
    shown = np.where(measured, kpa, np.float32(np.nan)).astype(np.float32)
    colour = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels.copy()
    share = np.clip(shown[measured] / FULL_SCALE_KPA, 0, 1)
    mixed = OPACITY * _colours(share) + (1 - OPACITY) * colour[measured]
    colour[measured] = np.rint(mixed).astype(np.uint8)
    drawn = np.zeros(shape, bool)
    bar = _free_strip(colour, area)
    ramp = _colours(np.linspace(1, 0, bar[2] - bar[0]))[:, None]
    colour[bar[0] : bar[2], bar[1] : bar[3]] = np.rint(ramp).astype(np.uint8)
    drawn[bar[0] : bar[2], bar[1] : bar[3]] = True
    return DrawnStiffness(kpa=shown, box=box, pixels=colour, drawn=drawn)


def _box(rng: np.random.Generator, nodes: NDArray[np.bool_], area: Box, spacing: Spacing) -> Box:
    """Box about the nodes with a margin, or in the middle of the field."""
    rows, columns = np.nonzero(nodes)
    if not rows.size:
        height, width = area[2] - area[0], area[3] - area[1]
        rows = np.array([area[0] + 0.3 * height, area[0] + 0.7 * height])
        columns = np.array([area[1] + 0.3 * width, area[1] + 0.7 * width])
    top, left, bottom, right = (float(mm) for mm in rng.uniform(2.5, 5.0, 4))
    return (
        max(area[0] + 2, int(rows.min() - top / spacing[0])),
        max(area[1] + 2, int(columns.min() - left / spacing[1])),
        min(area[2] - 2, int(rows.max() + bottom / spacing[0])),
        min(area[3] - 2, int(columns.max() + right / spacing[1])),
    )


def _colours(share: NDArray[np.floating]) -> NDArray[np.float64]:
    """Colours of a bar from soft blue over green to hard red, for parts in [0, 1]."""
    at = np.array([0.0, 0.35, 0.5, 0.65, 1.0])
    stops = np.array([[0, 0, 235], [0, 220, 235], [0, 230, 0], [240, 230, 0], [235, 0, 0]], dtype=float)
    return np.stack([np.interp(share, at, stops[:, k]) for k in range(3)], axis=-1)


def _free_strip(pixels: NDArray[np.uint8], area: Box) -> Box:
    """Place for the colour bar: the first dark strip beside the scan area, else the corner of that."""
    rows, columns = pixels.shape[:2]
    tall, wide = max(rows // 4, 40), max(columns // 80, 8)
    top = (area[0] + area[2] - tall) // 2
    edges = [*range(area[3] + 6, columns - wide - 2, 3), *range(area[1] - wide - 6, 2, -3)]
    for left in edges:
        if pixels[top - 4 : top + tall + 4, left - 2 : left + wide + 2].max(initial=0) < 12:
            return top, left, top + tall, left + wide
    return area[0] + 8, area[3] - wide - 8, area[0] + 8 + tall, area[3] - 8
