"""Learning what a network's training frames are like, for :class:`~napari_cln.network.doubt.Novelty`."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray

from ..network.doubt import Novelty, pooled_texture
from ..network.model import Member

__all__ = ["ALARM_RATE", "MIN_VALIDATION", "fit_novelty"]

ALARM_RATE = 0.02
"""Share of frames like the validation frames that may be called unlike."""
MIN_VALIDATION = 19
"""Fewer validation frames can't keep the share of false alarms within 5 %."""


def fit_novelty(
    network: Member,
    sources: Sequence[NDArray[np.uint8]],
    validation: NDArray[np.uint8],
    *,
    batch_size: int = 8,
) -> Novelty | None:
    """Learn what a network's training frames are like.

    Parameters
    ----------
    network : YNet
        Trained, on any device.
    sources : sequence of ndarray of uint8, each of shape (N, S, S) or (N, 1 + planes, S, S)
        Prepared training frames of each source; a few hundred are enough. Two sources that differ in
        grain belong apart: one Gaussian round both would cover what lies between.
    validation : ndarray of uint8, shape (N, S, S)
        Prepared frames like those of the sources that were kept out of them. They set the threshold.
    batch_size : int

    Returns
    -------
    Novelty or None
        None where a source has fewer than 2 frames, or there are fewer than ``MIN_VALIDATION``
        validation frames: a threshold from fewer means nothing, and the model does not say.

    Notes
    -----
    The threshold is that of split conformal prediction [1]_: the ⌈(1 − ``ALARM_RATE``)(n + 1)⌉-th smallest
    distance of n validation frames, or the largest. A new frame of the same kind lies beyond it with a
    probability of at most ``ALARM_RATE``, or 1/(n + 1), whichever is more. The covariance is shrunk
    towards a multiple of the identity by the rule of Ledoit and Wolf [2]_.

    References
    ----------
    .. [1] A. N. Angelopoulos and S. Bates, "A gentle introduction to conformal prediction", 2021.
           :arxiv:`2107.07511`
    .. [2] O. Ledoit and M. Wolf, "A well-conditioned estimator for large-dimensional covariance
           matrices", J. Multivariate Anal. 88, 2004. :doi:`10.1016/S0047-259X(03)00096-4`
    """
    if len(validation) < MIN_VALIDATION or any(len(images) < 2 for images in sources):
        return None
    return _fit(
        [_textures(network, images, batch_size) for images in sources],
        _textures(network, validation, batch_size),
    )


@torch.inference_mode()
def _textures(network: Member, images: NDArray[np.uint8], batch_size: int) -> NDArray[np.float32]:
    """Pooled texture (N, D) of prepared frames (N, S, S)."""
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    rows = []
    for start in range(0, len(images), batch_size):
        batch = torch.from_numpy(images[start : start + batch_size]).to(device).float() / 255
        batch = batch if batch.ndim == 4 else batch[:, None]
        rows.append(pooled_texture(network.encode(batch).e1))
    network.train(was_training)
    return np.concatenate(rows)


def _fit(sources: Sequence[NDArray[np.float32]], validation: NDArray[np.float32]) -> Novelty:
    """Gaussians of pooled textures (N, D), scaled so that the threshold is 1."""
    fitted = [_whitening(textures) for textures in sources]
    mean = np.stack([mean for mean, _ in fitted]).astype(np.float32)
    factor = np.stack([factor for _, factor in fitted]).astype(np.float32)
    distances = np.sort(Novelty(mean=mean, factor=factor)(validation))
    rank = min(ceil((1 - ALARM_RATE) * (len(distances) + 1)), len(distances))
    threshold = max(distances[rank - 1], np.float32(1e-6))
    return Novelty(mean=mean, factor=factor / threshold)


def _whitening(textures: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (D,), and the matrix (D, D) after which the textures have covariance 1."""
    mean, spread = textures.mean(axis=0, dtype=np.float64), textures.std(axis=0, dtype=np.float64)
    # a channel that is silent in training must not make every whisper an alarm
    spread = np.maximum(spread, 1e-3 * spread.max() + 1e-9)
    covariance = _shrunk_covariance((textures - mean) / spread)
    return mean, np.linalg.inv(np.linalg.cholesky(covariance)) / spread


def _shrunk_covariance(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariance (D, D) of centred rows (N, D), shrunk by the rule of Ledoit and Wolf."""
    n, d = x.shape
    sample = x.T @ x / n
    target = np.trace(sample) / d * np.eye(d)
    distance = ((sample - target) ** 2).sum()
    noise = max((((x**2).sum(axis=1) ** 2).sum() / n - (sample**2).sum()) / n, 0.0)
    share = min(noise / distance, 1.0) if distance > 0 else 1.0
    shrunk: NDArray[np.float64] = (1 - share) * sample + share * target
    return shrunk + 1e-6 * np.eye(d)
