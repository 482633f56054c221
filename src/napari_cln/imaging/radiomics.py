"""Radiomics of a node: statistics, texture and shape as IBSI defines them, and signs that a reader knows.

Texture is two-dimensional: matrices are made for each of four directions, and their features averaged (IBSI:
"2D, averaged"). Names are those of the IBSI's reference manual, ``F_cm.joint.max`` written
``cm_joint_max``; :data:`CODES` has the IBSI's four letters for each.

References
----------
.. [1] A. Zwanenburg et al., The Image Biomarker Standardization Initiative, Radiology 295(2), 2020.
   :doi:`10.1148/radiol.2020191145`
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours, label
from skimage.morphology import disk

from ..errors import InputError
from ..types import Frame, Spacing
from .measurement import TOUCHING, bounds, measure, spacing_of
from .overlay import read_marks

__all__ = ["Radiomics", "radiomics"]

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
Levels = NDArray[np.intp]

BINS = 32
GRID_MM = 0.1
LEAST_PIXELS = 16
STEPS = ((0, 1), (1, 1), (1, 0), (1, -1))
"""Neighbours (row, column) of the four directions."""

CODES: Mapping[str, str] = {
    "stat_mean": "Q4LE", "stat_var": "ECT3", "stat_skew": "KE2A", "stat_kurt": "IPH6", "stat_median": "Y12H",
    "stat_min": "1GSF", "stat_p10": "QG58", "stat_p90": "8DWT", "stat_max": "84IY", "stat_iqr": "SALO",
    "stat_range": "2OJQ", "stat_mad": "4FUA", "stat_rmad": "1128", "stat_medad": "N72L", "stat_cov": "7TET",
    "stat_qcod": "9S40", "stat_energy": "N8CA", "stat_rms": "5ZWQ",
    "cm_joint_max": "GYBY", "cm_joint_avg": "60VM", "cm_joint_var": "UR99", "cm_joint_entr": "TU9B",
    "cm_diff_avg": "TF7R", "cm_diff_var": "D3YU", "cm_diff_entr": "NTRS", "cm_sum_avg": "ZGXS",
    "cm_sum_var": "OEEB", "cm_sum_entr": "P6QZ", "cm_energy": "8ZQL", "cm_contrast": "ACUI",
    "cm_dissimilarity": "8S9J", "cm_inv_diff": "IB1Z", "cm_inv_diff_norm": "NDRX", "cm_inv_diff_mom": "WF0Z",
    "cm_inv_diff_mom_norm": "1QCO", "cm_inv_var": "E8JP", "cm_corr": "NI2N", "cm_auto_corr": "QWB0",
    "cm_clust_tend": "DG8W", "cm_clust_shade": "7NFM", "cm_clust_prom": "AE86", "cm_info_corr1": "R8DG",
    "cm_info_corr2": "JN9H",
    "rlm_sre": "22OV", "rlm_lre": "W4KF", "rlm_lgre": "V3SW", "rlm_hgre": "G3QZ", "rlm_srlge": "HTZT",
    "rlm_srhge": "GD3A", "rlm_lrlge": "IVPO", "rlm_lrhge": "3KUM", "rlm_glnu": "R5YN",
    "rlm_glnu_norm": "OVBL",
    "rlm_rlnu": "W92Y", "rlm_rlnu_norm": "IC23", "rlm_r_perc": "9ZK5", "rlm_gl_var": "8CE5",
    "rlm_rl_var": "SXLW", "rlm_rl_entr": "HJ9O",
    "szm_sze": "5QRC", "szm_lze": "48P8", "szm_lgze": "XMSY", "szm_hgze": "5GN9", "szm_szlge": "5RAI",
    "szm_szhge": "HW1V", "szm_lzlge": "YH51", "szm_lzhge": "J17V", "szm_glnu": "JNSA",
    "szm_glnu_norm": "Y1RO",
    "szm_zsnu": "4JP3", "szm_zsnu_norm": "VB3A", "szm_z_perc": "P30P", "szm_gl_var": "BYLV",
    "szm_zs_var": "3NSA", "szm_zs_entr": "GU8N",
}  # fmt: skip
"""Code of the IBSI for each of its features here."""

SIZE_NAMES = {
    "rlm": ("sre", "lre", "lgre", "hgre", "srlge", "srhge", "lrlge", "lrhge",
            "glnu", "glnu_norm", "rlnu", "rlnu_norm", "r_perc", "gl_var", "rl_var", "rl_entr"),
    "szm": ("sze", "lze", "lgze", "hgze", "szlge", "szhge", "lzlge", "lzhge",
            "glnu", "glnu_norm", "zsnu", "zsnu_norm", "z_perc", "gl_var", "zs_var", "zs_entr"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Radiomics:
    """Features of one node, and how they were made.

    Parameters
    ----------
    features : dict of str to float
        By name: ``stat_…`` 18, ``cm_…`` 25, ``rlm_…`` 16, ``szm_…`` 16 (:data:`CODES`); ``shape_…`` 10, in
        mm where ``spacing_mm`` is known, else in pixels; and ``sign_…``: what a reader would call bright
        spots, echo and hilum.
    bins : int
        Grey levels that texture was made of, equal steps from the node's darkest pixel to its brightest.
    spacing_mm : (float, float), optional
        Millimetres per pixel of the frame; None where lengths are in pixels.
    grid_mm : float, optional
        Side of the pixels that texture was made on; None for the frame's own.
    left_out : int
        Pixels of the node under marks, Doppler colour, or colours of an elastogram that hide the grey image,
        which no statistic or texture counts.
    """

    features: Mapping[str, float] = field(default_factory=dict)
    bins: int = BINS
    spacing_mm: Spacing | None = None
    grid_mm: float | None = None
    left_out: int = 0


def radiomics(frame: Frame, mask: NDArray[np.bool_], *, bins: int = BINS) -> Radiomics:
    """Describe a node by numbers.

    Parameters
    ----------
    frame : Frame
    mask : ndarray of bool, shape (H, W)
        One node, in frame pixels.
    bins : int
        Grey levels of texture.

    Returns
    -------
    Radiomics
        Where the node is calibrated, statistics and texture are of pixels of 0.1 mm, so that machines and
        depths can be compared; else of the frame's own pixels.

    Raises
    ------
    InputError
        If the mask has another shape than the frame, or leaves fewer than 16 pixels beside marks and colours.

    Examples
    --------
    >>> from napari_cln import simulate
    >>> phantom = simulate(7, n_nodes=1)
    >>> found = radiomics(phantom.frame, phantom.instances == 1)
    >>> len(found.features), found.grid_mm
    (89, 0.1)
    """
    if mask.shape != frame.shape:
        raise InputError(
            f"The mask has shape {mask.shape}, the frame {frame.shape}: give it in frame pixels."
        )
    marks = read_marks(frame, frame.scan_area)
    clear = ~marks.overlay if marks.flow is None else ~(marks.overlay | marks.flow.mask)
    tissue = frame.grey
    if marks.elastogram is not None:
        tissue = marks.elastogram.grey
        if marks.elastogram.is_hidden:
            clear &= np.isnan(marks.elastogram.stiffness)
    left_out = int(np.count_nonzero(mask & ~clear))
    place = bounds(mask)
    if place is None or np.count_nonzero(mask) - left_out < LEAST_PIXELS:
        raise InputError(
            f"The node has {np.count_nonzero(mask) - left_out} pixels without marks or colour, and radiomics "
            f"needs {LEAST_PIXELS}. Draw it larger, or use a frame without them."
        )
    spacing = spacing_of(frame, mask)
    inner = _with_margin(place, frame.shape, spacing)
    node, clear, grey = mask[inner], clear[inner], tissue[inner].astype(np.float64)
    shape = _shape(node, spacing)
    if spacing is not None:
        steps = spacing[0] / GRID_MM, spacing[1] / GRID_MM
        grey, node, clear = _resampled(grey, 1, steps), _mask(node, steps), _mask(clear, steps)
    counted = node & clear
    if np.count_nonzero(counted) < LEAST_PIXELS:
        raise InputError(
            f"The node covers {np.count_nonzero(counted)} pixels of {GRID_MM} mm, and radiomics needs "
            f"{LEAST_PIXELS}. Draw it larger."
        )
    levels = discretise(grey, counted, bins)
    features = {f"stat_{name}": value for name, value in statistics(grey[counted]).items()}
    features |= cooccurrence_features(levels, bins) | run_length_features(levels) | zone_features(levels)
    features |= {f"shape_{name}": value for name, value in shape.items()}
    features |= {f"sign_{name}": value for name, value in _signs(grey, node, clear, spacing).items()}
    return Radiomics(
        features=features,
        bins=bins,
        spacing_mm=spacing,
        grid_mm=None if spacing is None else GRID_MM,
        left_out=left_out,
    )


def discretise(grey: NDArray[np.floating], mask: Mask, bins: int) -> Levels:
    """Levels 1 to ``bins`` in equal steps over the range within the mask; 0 outside it."""
    low, high = float(grey[mask].min()), float(grey[mask].max())
    step = (high - low) / bins or 1.0
    levels = np.zeros(grey.shape, dtype=np.intp)
    levels[mask] = np.clip(np.floor((grey[mask] - low) / step), 0, bins - 1).astype(np.intp) + 1
    return levels


def statistics(values: NDArray[np.floating]) -> dict[str, float]:
    """Intensity statistics of some pixels, (N,), by the names of :data:`CODES` without ``stat_``."""
    x = np.asarray(values, dtype=np.float64).ravel()
    mean, variance = x.mean(), x.var()
    # percentiles are grey levels that occur
    p10, q1, q3, p90 = np.percentile(x, [10, 25, 75, 90], method="inverted_cdf")
    median = float(np.median(x))
    robust = x[(x >= p10) & (x <= p90)]
    spread = x - mean
    found = {
        "mean": mean,
        "var": variance,
        "skew": _ratio(np.mean(spread**3), variance**1.5),
        "kurt": _ratio(np.mean(spread**4), variance**2, otherwise=3.0) - 3,
        "median": median,
        "min": x.min(),
        "p10": p10,
        "p90": p90,
        "max": x.max(),
        "iqr": q3 - q1,
        "range": np.ptp(x),
        "mad": np.abs(spread).mean(),
        "rmad": np.abs(robust - robust.mean()).mean(),
        "medad": np.abs(x - median).mean(),
        "cov": _ratio(variance**0.5, mean),
        "qcod": _ratio(q3 - q1, q3 + q1),
        "energy": (x**2).sum(),
        "rms": np.sqrt((x**2).mean()),
    }
    return {name: float(value) for name, value in found.items()}


def _ratio(a: float, b: float, otherwise: float = 0.0) -> float:
    return float(a / b) if b else otherwise


def cooccurrence_features(levels: Levels, n_levels: int | None = None) -> dict[str, float]:
    """Features of the grey level co-occurrence matrix, averaged over four directions.

    Parameters
    ----------
    levels : ndarray of int, shape (H, W)
        From 1; 0 outside the node.
    n_levels : int, optional
        Levels there could be; the greatest that occurs otherwise.

    Returns
    -------
    dict of str to float
        By the names of :data:`CODES`.
    """
    n = int(levels.max()) if n_levels is None else n_levels
    found = [_of_cooccurrence(matrix) for matrix in _cooccurrences(levels, n)]
    if not found:
        return {f"cm_{name}": 0.0 for name in _of_cooccurrence(np.ones((1, 1)))}
    return {f"cm_{name}": float(np.mean([one[name] for one in found])) for name in found[0]}


def _cooccurrences(levels: Levels, n: int) -> Iterator[Floats]:
    """Symmetric matrix of probabilities for each direction with a pair of neighbours."""
    padded = np.pad(levels, 1)
    height, width = levels.shape
    for row, column in STEPS:
        there = padded[1 + row : 1 + row + height, 1 + column : 1 + column + width]
        both = (levels > 0) & (there > 0)
        if both.any():
            pairs = (levels[both] - 1) * n + there[both] - 1
            counts = np.bincount(pairs, minlength=n * n).reshape(n, n).astype(np.float64)
            yield (counts + counts.T) / (2 * counts.sum())


def _of_cooccurrence(p: Floats) -> dict[str, float]:
    n = len(p)
    i, j = np.meshgrid(np.arange(1, n + 1), np.arange(1, n + 1), indexing="ij")
    apart = np.abs(i - j)
    px = p.sum(axis=1)
    k_difference, k_sum = np.arange(n), np.arange(2, 2 * n + 1)
    difference = np.bincount(apart.ravel(), p.ravel(), minlength=n).astype(np.float64)
    total = np.bincount((i + j).ravel() - 2, p.ravel(), minlength=2 * n - 1).astype(np.float64)
    mean = float((i * p).sum())
    variance = float(((i - mean) ** 2 * p).sum())
    difference_mean, sum_mean = float((k_difference * difference).sum()), float((k_sum * total).sum())
    entropy, own = _entropy(p), _entropy(px)
    independent = np.outer(px, px)
    crossed = -float((p * _log2(independent)).sum())
    doubled = _entropy(independent)
    far = apart > 0
    return {
        "joint_max": float(p.max()),
        "joint_avg": mean,
        "joint_var": variance,
        "joint_entr": entropy,
        "diff_avg": difference_mean,
        "diff_var": float(((k_difference - difference_mean) ** 2 * difference).sum()),
        "diff_entr": _entropy(difference),
        "sum_avg": sum_mean,
        "sum_var": float(((k_sum - sum_mean) ** 2 * total).sum()),
        "sum_entr": _entropy(total),
        "energy": float((p**2).sum()),
        "contrast": float((apart**2 * p).sum()),
        "dissimilarity": float((apart * p).sum()),
        "inv_diff": float((p / (1 + apart)).sum()),
        "inv_diff_norm": float((p / (1 + apart / n)).sum()),
        "inv_diff_mom": float((p / (1 + apart**2)).sum()),
        "inv_diff_mom_norm": float((p / (1 + (apart / n) ** 2)).sum()),
        "inv_var": float((p[far] / apart[far] ** 2).sum()),
        "corr": _ratio(float(((i - mean) * (j - mean) * p).sum()), variance, otherwise=1.0),
        "auto_corr": float((i * j * p).sum()),
        "clust_tend": float(((i + j - 2 * mean) ** 2 * p).sum()),
        "clust_shade": float(((i + j - 2 * mean) ** 3 * p).sum()),
        "clust_prom": float(((i + j - 2 * mean) ** 4 * p).sum()),
        "info_corr1": _ratio(entropy - crossed, own),
        "info_corr2": float(np.sqrt(max(1 - np.exp(-2 * (doubled - entropy)), 0.0))),
    }


def _log2(p: NDArray[np.floating]) -> Floats:
    logs: Floats = np.log2(p, out=np.zeros_like(p), where=p > 0)
    return logs


def _entropy(p: NDArray[np.floating]) -> float:
    return -float((p * _log2(p)).sum())


def run_length_features(levels: Levels) -> dict[str, float]:
    """Features of the grey level run length matrix, averaged over four directions.

    Parameters
    ----------
    levels : ndarray of int, shape (H, W)
        From 1; 0 outside the node.
    """
    n_pixels = int(np.count_nonzero(levels))
    found = []
    for step in STEPS:
        line = _lines(levels, step)
        starts = np.flatnonzero(np.diff(line, prepend=-1))
        lengths = np.diff(np.append(starts, line.size))
        grey = line[starts]
        found.append(_of_sizes("rlm", grey[grey > 0], lengths[grey > 0], n_pixels))
    return {f"rlm_{name}": float(np.mean([one[name] for one in found])) for name in found[0]}


def _lines(levels: Levels, step: tuple[int, int]) -> Levels:
    """All lines of a direction one after the other, with a 0 between them."""
    if step == (0, 1):
        return np.pad(levels, ((0, 0), (0, 1))).ravel()
    if step == (1, 0):
        return np.pad(levels.T, ((0, 0), (0, 1))).ravel()
    height, width = levels.shape
    rows, columns = np.indices(levels.shape)
    # a diagonal is a row of the sheared picture
    which = rows - columns + width - 1 if step == (1, 1) else rows + columns
    sheared = np.zeros((height + width - 1, height + 1), dtype=levels.dtype)
    sheared[which, rows] = levels
    return sheared.ravel()


def zone_features(levels: Levels) -> dict[str, float]:
    """Features of the grey level size zone matrix: patches of one level, also over corners.

    Parameters
    ----------
    levels : ndarray of int, shape (H, W)
        From 1; 0 outside the node.
    """
    zones = label(levels, background=0, connectivity=2)
    sizes = np.bincount(zones.ravel())[1:]
    _, first = np.unique(zones.ravel(), return_index=True)
    grey = levels.ravel()[first[-len(sizes) :]]
    found = _of_sizes("szm", grey, sizes, int(np.count_nonzero(levels)))
    return {f"szm_{name}": value for name, value in found.items()}


def _of_sizes(kind: str, grey: Levels, sizes: NDArray[np.integer], n_pixels: int) -> dict[str, float]:
    """Sixteen features of pieces (N,) with a grey level and a size each."""
    n = len(sizes)
    i, j = grey.astype(np.float64), sizes.astype(np.float64)
    by_grey, by_size = np.bincount(grey).astype(float), np.bincount(sizes).astype(float)
    pairs: Floats = np.unique(np.stack([grey, sizes]), axis=1, return_counts=True)[1].astype(np.float64) / n
    values = (
        (j**-2).mean(), (j**2).mean(), (i**-2).mean(), (i**2).mean(),
        (i**-2 * j**-2).mean(), (i**2 * j**-2).mean(), (i**-2 * j**2).mean(), (i**2 * j**2).mean(),
        (by_grey**2).sum() / n, (by_grey**2).sum() / n**2, (by_size**2).sum() / n, (by_size**2).sum() / n**2,
        n / n_pixels, i.var(), j.var(), _entropy(pairs),
    )  # fmt: skip
    return {name: float(value) for name, value in zip(SIZE_NAMES[kind], values, strict=True)}


def _with_margin(
    place: tuple[slice, slice], shape: tuple[int, int], spacing: Spacing | None
) -> tuple[slice, slice]:
    """The box of a node and the tissue beside it."""
    margins = (20, 20) if spacing is None else tuple(int(np.ceil(2.5 / step)) for step in spacing)
    rows, columns = (
        slice(max(0, part.start - margin), min(size, part.stop + margin))
        for part, margin, size in zip(place, margins, shape, strict=True)
    )
    return rows, columns


def _resampled(image: NDArray[np.floating], order: int, steps: tuple[float, float]) -> Floats:
    """An image on another grid, whose middle is the old one's."""
    new = [max(1, round(size * step)) for size, step in zip(image.shape, steps, strict=True)]
    places = [
        (np.arange(n) - (n - 1) / 2) / step + (size - 1) / 2
        for n, size, step in zip(new, image.shape, steps, strict=True)
    ]
    grid = np.meshgrid(*places, indexing="ij")
    sampled: Floats = ndimage.map_coordinates(image, grid, order=order, mode="nearest")
    return sampled


def _mask(mask: Mask, steps: tuple[float, float]) -> Mask:
    return _resampled(mask.astype(np.float64), 1, steps) >= 0.5


def _shape(node: Mask, spacing: Spacing | None) -> dict[str, float]:
    """Ten figures of the outline, in mm or pixels."""
    rows, columns = np.nonzero(node)
    scale = np.array(spacing or (1.0, 1.0))
    points = np.column_stack([rows, columns]) * scale
    size = measure(node, spacing)
    long, short = (
        (size.long_axis_px, size.short_axis_px)
        if size.long_axis_mm is None or size.short_axis_mm is None
        else (size.long_axis_mm, size.short_axis_mm)
    )
    area = float(len(points) * scale.prod())
    # moments of a filled pixel are added, so that a line has a width
    spread = (
        np.cov(points.T, bias=True) + np.diag(scale**2) / 12 if len(points) > 1 else np.diag(scale**2) / 12
    )
    minor, major = np.sqrt(np.linalg.eigvalsh(spread)) * 4
    around = outline_length(node, spacing)
    height, width = (np.ptp(points, axis=0) + scale).tolist()
    return {
        "area": area,
        "perimeter": around,
        "circularity": _ratio(4 * np.pi * area, around**2),
        "long_axis": long,
        "short_axis": short,
        "axis_ratio": long / short,
        "major_axis": float(major),
        "minor_axis": float(minor),
        "elongation": float(minor / major),
        "extent": area / (height * width),
    }


def outline_length(node: Mask, spacing: Spacing | None = None) -> float:
    """Length of all borders of a mask: around each part, and around each hole, which its area leaves out too.

    Parameters
    ----------
    node : ndarray of bool, shape (H, W)
    spacing : (float, float), optional
        Millimetres per pixel along rows and columns.

    Returns
    -------
    float
        In mm, else in pixels; 0 for an empty mask.

    Notes
    -----
    The steps of the pixels are smoothed away before the contour is drawn, by a Gaussian as wide as a pixel's
    longer side. Discs and ellipses come out within 1 % from a radius of 10 pixels on; a corner is rounded.
    """
    scale = np.array(spacing or (1.0, 1.0))
    sigma = scale.max() / scale
    smooth = ndimage.gaussian_filter(np.pad(node, int(4 * sigma.max()) + 2).astype(np.float64), sigma)
    level = min(0.5, float(smooth.max()) / 2)  # a line of one pixel does not reach a half
    lines = find_contours(smooth, level) if level > 0 else []
    return float(sum(np.hypot(*(np.diff(line, axis=0) * scale).T).sum() for line in lines))


def _signs(grey: Floats, node: Mask, clear: Mask, spacing: Spacing | None) -> dict[str, float]:
    """Signs that a reader sees: bright spots, echo against the tissue around, hilum."""
    per_mm = 1 / GRID_MM if spacing is not None else 8.0
    counted = node & clear
    typical = float(np.median(grey[counted]))
    scatter = 1.4826 * float(np.median(np.abs(grey[counted] - typical))) or 1.0
    depth = ndimage.distance_transform_edt(np.pad(node, 1))[1:-1, 1:-1]
    around = ndimage.distance_transform_edt(~node)
    rim = (around > 0.5 * per_mm) & (around <= 2 * per_mm) & clear
    smooth = ndimage.gaussian_filter(grey, 0.15 * per_mm)
    spot = smooth - ndimage.grey_opening(smooth, footprint=disk(max(2, round(0.7 * per_mm))))
    bright = (spot > BRIGHT * scatter) & counted & (depth > 0.5 * per_mm)
    _, n_spots = ndimage.label(bright, TOUCHING)
    inner = counted & (depth > 0.35 * depth.max())
    coarse = ndimage.gaussian_filter(grey, 0.4 * per_mm)
    cortex = counted & (depth <= 0.35 * depth.max()) & (depth > 0.3 * per_mm)
    dark = float(np.median(coarse[cortex])) if cortex.any() else typical
    hilum = inner & (coarse > dark + HILUM)
    return {
        "bright_spots": float(n_spots),
        "bright_spot_share": float(np.count_nonzero(bright) / np.count_nonzero(counted)),
        "echo_difference": typical - float(np.median(grey[rim])) if rim.any() else 0.0,
        "hilum_share": float(np.count_nonzero(hilum) / np.count_nonzero(counted)),
    }


BRIGHT = 3.0
"""Height of a bright spot above the tissue about it, in the node's own scatter."""
HILUM = 25.0
"""Grey levels by which a hilum is brighter than the cortex."""
