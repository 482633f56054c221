"""Distance of a frame from a network's training data, from what the network computes anyway.

Mean and standard deviation of each channel of the first feature map say what the grain of a frame is
like: speckle, dynamic range, edges, black margins. Each source of training frames is a Gaussian in
them, and a frame's novelty is its Mahalanobis distance from the nearest one [1]_, in units of the
distance that nearly all validation frames keep within. The deepest maps are worse at it: they were
taught to ignore what does not matter for nodes (``docs/explanation/unlike-training-data.md``).

References
----------
.. [1] K. Lee et al., "A simple unified framework for detecting out-of-distribution samples and
       adversarial attacks", NeurIPS 2018. :arxiv:`1807.03888`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


__all__ = ["Novelty", "pooled_texture"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Novelty:
    """Place of the training frames; kept with the weights.

    Parameters
    ----------
    mean : ndarray of float32, shape (K, D)
        Of each source of training frames.
    factor : ndarray of float32, shape (K, D, D)
        Whitens a source, and divides by the threshold.
    """

    mean: NDArray[np.float32]
    factor: NDArray[np.float32]

    def __call__(self, texture: NDArray[np.float32]) -> NDArray[np.float32]:
        """Novelty (N,) of frames by their :func:`pooled_texture` (N, D); above 1 is unlike all sources."""
        with np.errstate(over="ignore", invalid="ignore"):  # whoever asks looks whether it is finite
            offset = texture[:, None] - self.mean  # (N, K, D)
            whitened = np.einsum("kij,nkj->nki", self.factor, offset)
            distance: NDArray[np.float32] = np.sqrt((whitened**2).sum(axis=2)).min(axis=1).astype(np.float32)
        return distance


def pooled_texture(e1: Tensor) -> NDArray[np.float32]:
    """Mean and standard deviation of each channel of the first feature map (B, C, S/2, S/2): (B, 2C)."""
    flat = e1.detach().float().flatten(2)
    values: NDArray[np.float32] = torch.cat([flat.mean(2), flat.std(2)], 1).cpu().numpy()
    return values
