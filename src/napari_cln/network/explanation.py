"""The origin of a score: what each cell of the network's grid adds to it, exactly.

The head reads means: of the arm's map over the frame and, in a guided network, of the encoder's maps under
the node and in its rim. It is linear, or, with a U-shaped trunk, linear in those of its hidden units that
this node switches on. So the logit is a sum over cells, as in a class activation map [1]_; nothing is
approximated.

References
----------
.. [1] B. Zhou et al., "Learning deep features for discriminative localization", CVPR 2016.
       :arxiv:`1512.04150`
"""

from __future__ import annotations

import os

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import PredictionError, WeightsError
from ..imaging.preprocessing import Geometry, ModelInput, restore, to_model
from ..io.sources import Source, as_frame
from ..types import Explanation, Frame
from .inference import NOT_FINITE, Segmenter
from .model import Features, Member, Network

__all__ = ["contributions", "explain", "explain_prepared"]


def explain(
    source: Source,
    model: Network | str | os.PathLike[str] = "default",
    device: str = "auto",
    *,
    index: int = 0,
) -> Explanation:
    """Show where in a frame its malignancy comes from.

    Parameters
    ----------
    source, model, device, index
        As for :func:`napari_cln.segment`.

    Returns
    -------
    Explanation
        A map over the frame. It says through which places the score passed, and not what the network
        saw there: a place of the map looks on its surroundings too.

    Raises
    ------
    FrameReadError, DeviceError
    PredictionError
        If the network gives a number that is not finite.
    WeightsError
        Also for an ensemble: its score is no sum over places.

    Examples
    --------
    >>> explanation = explain("neck.png")                # doctest: +SKIP
    >>> explanation.map.max(), explanation.logit         # doctest: +SKIP
    (0.21, 1.58)
    """
    frame = as_frame(source, index)
    segmenter = Segmenter(model, device, batch_size=1)
    return explain_prepared(segmenter, frame, segmenter.prepare(frame))


def explain_prepared(segmenter: Segmenter, frame: Frame, prepared: ModelInput) -> Explanation:
    """Explain one frame whose scan area or marks may have been corrected by hand."""
    network = segmenter.model
    if not isinstance(network, Member):
        # the logit of a mean probability is no mean of logits, so that the members' maps don't add up to it
        raise WeightsError(
            f"{network.model_id} is an ensemble of {len(network.members)} networks: its score is no sum over "
            "places, so there is no map of it. Choose one of its networks, such as fold-0/model.safetensors "
            "in the folder of its run."
        )
    (prediction,) = segmenter.predict_prepared([frame], [prepared])
    if isinstance(prediction, PredictionError):
        raise prediction
    guided = network.config.guided and bool(prediction.node_scores)
    node = int(np.argmax(prediction.node_scores)) + 1 if guided else None
    mask = prediction.mask if node is None else prediction.instances == node
    device = segmenter.device.name
    with torch.inference_mode():
        features = network.encode(torch.from_numpy(prepared.stacked)[None].to(device))
        guide = torch.from_numpy(to_model(mask, prepared.geometry))[None, None].to(device)
        cells, bias = contributions(network, features, guide)
    temperature = segmenter.card.temperature
    values = cells[0].cpu().double().numpy() / temperature
    if not np.isfinite(values).all():
        raise PredictionError(NOT_FINITE.format(network.model_id))
    return Explanation(
        prediction=prediction,
        node=node,
        map=_on_the_frame(values, prepared.geometry),
        cells=values,
        logit=float(values.sum()) + float(bias) / temperature,
        bias=float(bias) / temperature,
    )


def contributions(network: Member, features: Features, guide: Tensor) -> tuple[Tensor, Tensor]:
    """Compute what each cell adds to the difference of the class logits, malignant - benign.

    Parameters
    ----------
    network : Member
    features : Features
        Of M frames.
    guide : Tensor, shape (M, 1, S, S), in [0, 1]
        Mask of a node in each of them; a network that is not guided ignores it.

    Returns
    -------
    (Tensor of shape (M, S/8, S/8), Tensor of shape (M,))
        Contributions, and the bias that they are added to. A cell of a coarser map, such as the arm's,
        S/32, is spread evenly over the cells that it covers.
    """
    first, second = (part for part in network.head if isinstance(part, nn.Linear))
    difference = second.weight[1] - second.weight[0]  # (64,)
    maps = network.pooled_maps(features, guide)
    used = difference.expand(len(guide), -1)  # (M, 64)
    if any(isinstance(part, nn.ReLU) for part in network.head):
        pooled = [torch.einsum("mcij,mij->mc", of.float(), share[:, 0]) for of, share in maps]
        used = used * (first(torch.cat(pooled, 1)) > 0)
    weight = used @ first.weight  # (M, C): one number for each channel that is pooled
    bias = used @ first.bias + second.bias[1] - second.bias[0]
    side = guide.shape[-1] // 8
    cells = torch.zeros(len(guide), side, side, device=guide.device)
    parts = torch.split(weight, [of.shape[1] for of, _ in maps], dim=1)
    for part, (features_of, share) in zip(parts, maps, strict=True):
        own = torch.einsum("mc,mcij->mij", part, features_of.float()) * share[:, 0]
        factor = side // own.shape[-1]
        cells = cells + own.repeat_interleave(factor, 1).repeat_interleave(factor, 2) / factor**2
    return cells, bias


def _on_the_frame(cells: NDArray[np.float64], geometry: Geometry) -> NDArray[np.float32]:
    """Cells (S/8, S/8) as a smooth map on the frame's own pixels (H, W)."""
    # the same sum, times the 64 pixels of a cell
    smooth = F.interpolate(torch.from_numpy(cells)[None, None], scale_factor=8, mode="bilinear")[0, 0].numpy()
    # restore() takes what jumps from 0 to 1 for a mask's edge: within ±0.5 there is none
    scale = 2 * max(float(np.abs(smooth).max()), 1e-12)
    restored: NDArray[np.float32] = restore((smooth / scale).astype(np.float32), geometry) * np.float32(scale)
    return restored
