"""Doubt: the chance that a result is wrong, from what the network computes anyway.

A frame *fails* where a node is missed (a Dice under 0.1) or one is claimed where none is. Three clues speak
of it, all from the class arm: its chance that there is a node under the best patch, its chance that the frame
as a whole has one, and the best chance among the patches that were left out. A logistic regression, one for
frames with a node and one for frames without, turns them into a chance of failure; the same line, with a
node's own chance, speaks of each node. It is fitted on validation frames, and says of another organ what it
says of those it knows only as far as the clues mean the same there. What was measured on sources held out of
the fit, and which clues were left out, stands in ``docs/explanation/unlike-training-data.md``.

*Novelty* is the distance of a frame from the training data. Mean and standard deviation of each channel of
the first feature map say what the grain of a frame is like: speckle, dynamic range, edges, black margins.
Each source of training frames is a Gaussian in them, and a frame's novelty is its Mahalanobis distance from
the nearest one [1]_, in units of the distance that nearly all validation frames keep within. The deepest maps
are worse at it: they were taught to ignore what does not matter for nodes.

References
----------
.. [1] K. Lee et al., "A simple unified framework for detecting out-of-distribution samples and
       adversarial attacks", NeurIPS 2018. :arxiv:`1807.03888`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

from ..models.card import DoubtLine, DoubtModel
from ..types import Doubt

__all__ = ["CLUES", "Novelty", "clues_of", "doubt_of", "fit_doubt", "pooled_texture"]

CLUES = {
    "patch": "the network is not sure that this is a node",
    "frame": "the frame as a whole does not look as if it had a node",
    "rival": "another place looks nearly as much like a node",
}
"""What is known of a frame's result, and what is wrong where it speaks for a failure."""
NOTHING_FOUND = "there may be a node that was not found"
UNLIKE = "the frame is unlike those that the model was trained on"
SECTOR = "the frame is a sector, of a curved or phased probe, and the model knows linear probes alone"
PENALTY = 1.0
"""Ridge of the regression on standardised clues; frames are few."""
LEAST_FAILURES = 5
"""Fewer failures, or fewer results that hold, give no regression."""
FALSE_ALARMS, GRAVE_ALARMS = 0.15, 0.03
"""Share of frames with a good result that may be called doubtful, and not to be relied on."""


def clues_of(
    chances: NDArray[np.float64], of_frame: float, left_out: NDArray[np.float64]
) -> tuple[float, ...]:
    """Collect the clues about one frame's result, in the order of ``CLUES``.

    Parameters
    ----------
    chances : ndarray, shape (N,)
        Chance that each patch that was kept is a node, as the arm says.
    of_frame : float
        The same of the frame as a whole.
    left_out : ndarray, shape (K,)
        The same of the patches that were taken for no node.
    """
    best = float(chances.max()) if len(chances) else 0.5
    return _logit(best), _logit(of_frame), _logit(float(left_out.max()) if len(left_out) else 0.0)


def clues_of_node(clues: Sequence[float], chance: float) -> tuple[float, ...]:
    """The clues about one node of a frame: its own chance in the place of the best."""
    return _logit(chance), *clues[1:]


def fit_doubt(clues: ArrayLike, found: ArrayLike, failed: ArrayLike, good: ArrayLike) -> DoubtModel | None:
    """Learn how likely a result fails.

    Parameters
    ----------
    clues : array, shape (N, K)
        From :func:`clues_of`, of frames that the network was not trained on.
    found : array of bool, shape (N,)
        Whether a node was found.
    failed : array of bool, shape (N,)
        Whether the Dice is under 0.1 where there is a node, or one was claimed where there is none.
    good : array of bool, shape (N,)
        Whether the Dice is at least 0.7: of these frames at most ``FALSE_ALARMS`` may be called doubtful.

    Returns
    -------
    DoubtModel or None
        None where too few results fail, or hold: nothing can be learnt from them.
    """
    clues, found, failed, good = (np.asarray(values) for values in (clues, found, failed, good))
    if min(failed.sum(), (~failed).sum()) < LEAST_FAILURES or not good.any():
        return None
    lines = []
    for part in (found, ~found):
        enough = min(failed[part].sum(), (~failed[part]).sum()) >= LEAST_FAILURES
        # with too few of one kind the share of failures is all that is known
        lines.append(_line(clues[part], failed[part].astype(float), slopes=enough))
    model = DoubtModel(found=lines[0], nothing=lines[1], look=0.5, never=0.5)
    chance = chance_of_failure(model, clues, found)
    look, never = (float(np.quantile(chance[good], 1 - share)) for share in (FALSE_ALARMS, GRAVE_ALARMS))
    return DoubtModel(
        found=lines[0], nothing=lines[1], look=round(look, 4), never=round(max(never, 0.5, look), 4)
    )


def chance_of_failure(
    model: DoubtModel, clues: NDArray[np.float64], found: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Chance that each result fails, (N,), by its clues (N, K)."""
    lines = np.where(found[:, None], _parts(model.found, clues), _parts(model.nothing, clues))
    biases = np.where(found, model.found.bias, model.nothing.bias)
    chance: NDArray[np.float64] = expit(lines.sum(axis=1) + biases)
    return chance


def doubt_of(
    model: DoubtModel,
    clues: Sequence[float],
    found: bool,
    novelty: float | None,
    *,
    is_sector: bool = False,
) -> Doubt:
    """Say how far a result is to be relied on, and why.

    Parameters
    ----------
    model : DoubtModel
        From the model's card.
    clues : sequence of float
        From :func:`clues_of`.
    found : bool
        Whether a node was found.
    novelty : float, optional
        Above 1 the frame is unlike all training frames, and nothing is to be relied on.
    is_sector : bool
        Whether the frame is of a curved or phased probe
        (:func:`~napari_cln.imaging.scan_area.is_sector`).
    """
    row = np.array(clues, dtype=np.float64)[None]
    chance = float(chance_of_failure(model, row, np.array([found]))[0])
    unlike = ""
    if is_sector and not model.knows_sectors:
        unlike = SECTOR
    elif novelty is not None and novelty > 1:
        unlike = UNLIKE
    if unlike or chance >= model.never:
        level: Literal["sure", "look twice", "do not rely on it"] = "do not rely on it"
    else:
        level = "look twice" if chance >= model.look else "sure"
    if unlike:
        reason = unlike
    elif level == "sure":
        reason = ""
    elif not found:
        reason = NOTHING_FOUND
    else:
        reason = list(CLUES.values())[int(np.argmax(_parts(model.found, row)[0]))]
    return Doubt(chance=chance, level=level, reason=reason)


def _parts(line: DoubtLine, clues: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of each clue in the logit, (N, K)."""
    parts: NDArray[np.float64] = (clues - line.mean) / np.array(line.scale) * line.weight
    return parts


def _line(clues: NDArray[np.float64], failed: NDArray[np.float64], *, slopes: bool) -> DoubtLine:
    """Ridge logistic regression; the bias alone, with one more of each kind, where slopes can't be learnt."""
    width = clues.shape[1]
    if not slopes:
        share = (failed.sum() + 1) / (len(failed) + 2)
        zeros, ones = (0.0,) * width, (1.0,) * width
        return DoubtLine(mean=zeros, scale=ones, weight=zeros, bias=_logit(float(share)))
    mean, scale = clues.mean(axis=0), np.maximum(clues.std(axis=0), 1e-3)
    x = (clues - mean) / scale

    def loss(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = x @ theta[1:] + theta[0]
        value = np.logaddexp(0, logits) - failed * logits
        error = expit(logits) - failed
        gradient = np.concatenate([[error.sum()], x.T @ error + PENALTY * theta[1:]])
        return float(value.sum() + PENALTY / 2 * (theta[1:] ** 2).sum()), gradient

    theta = minimize(loss, np.zeros(width + 1), jac=True, method="L-BFGS-B").x
    rounded = [tuple(round(float(value), 6) for value in values) for values in (mean, scale, theta[1:])]
    return DoubtLine(mean=rounded[0], scale=rounded[1], weight=rounded[2], bias=round(float(theta[0]), 6))


def _logit(share: float) -> float:
    """Log odds, within what a float32 softmax can tell apart."""
    clipped = min(max(share, 1e-3), 1 - 1e-3)
    return float(np.log(clipped / (1 - clipped)))


# ------------------------------------------------------------ novelty


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
