"""The outline of a node from the ends of its axes, or from a box.

The ellipse through the ends is right but for what makes this node's border its own. A small U-Net looks at a
crop that the ends pose, with the ellipse as a second input, and says how much further in or out each pixel
lies: its word is added to the ellipse's own logit, by a weight that validation chose [1]_. The network sees
the crop in all four mirror images, and the mean of what it says counts: whichever end comes first, and
however the frame is mirrored, the outline is the same.

References
----------
.. [1] The idea of a correction of what is known: K. He et al., "Deep residual learning for image
       recognition", CVPR 2016. :arxiv:`1512.03385`
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from ..compat.tensors import processor_has_bfloat16
from ..disk.atomic import write_atomically
from ..disk.schema import SchemaError, read
from ..errors import WeightsError
from ..imaging.calipers import HINTS, Axis, Calipers, Pose, one_region
from ..imaging.preprocessing import scan_of
from ..io.sources import Source, as_frame
from ..models.card import LIMITS, Figure, TrainingData, checksum_of
from ..types import Frame
from .blocks import conv_norm
from .engines.pytorch import fold_norms

__all__ = [
    "OutlineCard",
    "OutlineNet",
    "Outliner",
    "ellipse_logit",
    "inputs_of",
    "load_outline_net",
    "outline_node",
    "outliner_of",
    "save_outline_net",
]

MIRRORS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))
"""Axes of (B, C, S, S) along which a crop is mirrored."""
CHANNELS = (32, 64, 96, 128)
STEEPNESS = 6.0
"""Logit of the ellipse at its centre, and the fall from there to its border."""


class OutlineNet(nn.Module):
    """A U-Net that corrects an ellipse: three planes of a crop in, a logit to add out.

    Examples
    --------
    >>> OutlineNet().eval()(torch.zeros(1, 3, 128, 128)).shape
    torch.Size([1, 1, 128, 128])
    """

    def __init__(self) -> None:
        super().__init__()
        c1, c2, c3, c4 = CHANNELS
        self.down = nn.ModuleList(
            nn.Sequential(conv_norm(inputs, outputs, 3), conv_norm(outputs, outputs, 3))
            for inputs, outputs in ((12, c1), (c1, c2), (c2, c3), (c3, c4))
        )
        self.thin = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 1) for inputs, outputs in ((c4, c3), (c3, c2), (c2, c1))
        )
        self.up = nn.ModuleList(conv_norm(2 * channels, channels, 3) for channels in (c3, c2, c1))
        self.draw = nn.Conv2d(c1, 4, 3, padding=1)
        nn.init.zeros_(self.draw.weight)  # untrained, it leaves the ellipse as it is
        nn.init.zeros_(self.draw.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Correct (B, 1, S, S) from the planes of :func:`inputs_of` (B, 3, S, S); S a multiple of 16."""
        x = F.pixel_unshuffle(x, 2).to(next(self.thin.parameters()).dtype)
        levels = []
        for number, level in enumerate(self.down):
            x = level(F.max_pool2d(x, 2) if number else x)
            levels.append(x)
        for thin, join, beside in zip(self.thin, self.up, levels[-2::-1], strict=True):
            grown = F.interpolate(thin(x), scale_factor=2.0, mode="bilinear")
            x = join(torch.cat([grown, beside], 1))
        return F.pixel_shuffle(self.draw(x.to(self.draw.weight.dtype)), 2)

    def at_work(self, *, mixed_precision: bool) -> OutlineNet:
        """Copy it for prediction alone: nearly the same from less computing.

        Parameters
        ----------
        mixed_precision : bool
            Let all but the last convolution compute in bfloat16.
        """
        copied = copy.deepcopy(self).requires_grad_(False)
        fold_norms(copied)
        for layers in (copied.down, copied.thin, copied.up) if mixed_precision else ():
            layers.bfloat16()
        return copied.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def ellipse_logit(distance: NDArray[np.float64]) -> NDArray[np.float32]:
    """Logit of lying within an ellipse: 6 at its centre, 0 on it, -6 from twice its size on.

    Parameters
    ----------
    distance : ndarray of float
        From :meth:`~napari_cln.imaging.calipers.Calipers.distance`.
    """
    return (STEEPNESS * np.maximum(1 - distance, -1)).astype(np.float32)


def inputs_of(image: Tensor, scanned: Tensor, ellipse: Tensor) -> Tensor:
    """Planes that the network sees of crops (B, S, S): image, ellipse, and what was scanned.

    The image is without its mean and divided by its spread, so that no machine's gain matters.

    Parameters
    ----------
    image : Tensor
        Grey levels, 0 beyond the scan.
    scanned : Tensor
        1 within the scan area.
    ellipse : Tensor
        Its logit.
    """
    n = scanned.sum((1, 2), keepdim=True).clamp_min(1)
    mean = (image * scanned).sum((1, 2), keepdim=True) / n
    spread = (((image - mean) * scanned) ** 2).sum((1, 2), keepdim=True).div(n).sqrt()
    seen = (image - mean) / (spread + 1) * scanned
    return torch.stack([seen, torch.tanh(ellipse / 2), scanned], 1)


@dataclass(frozen=True, kw_only=True)
class OutlineCard:
    """Facts about the network that outlines: its training data, its weight, and its figures.

    Parameters
    ----------
    name, created : str
        The date in ISO's form.
    weights : dict of str to float
        What the network's word counts, by what was drawn; 0 is the ellipse alone.
    weights_from : str
        The rule and the data that gave them.
    trained_on : tuple of TrainingData
    recipe : dict
    figures : tuple of Figure
    limits : str
        A sentence for the user.
    sha256 : str
        Of the weights file.
    """

    name: str
    created: str
    weights: Mapping[str, Annotated[float, Meta(ge=0, le=4)]]
    weights_from: str
    trained_on: tuple[TrainingData, ...]
    recipe: Mapping[str, Any]
    figures: tuple[Figure, ...]
    limits: str = LIMITS
    sha256: str = ""

    @property
    def model_id(self) -> str:
        """``name@`` and the first 12 hex digits of the weights' SHA-256."""
        return f"{self.name}@{self.sha256[:12]}"


class Outliner:
    """The network at work on one frame, which is prepared once for any number of nodes.

    Parameters
    ----------
    frame : Frame
    network : OutlineNet, optional
        Trained; the one that ships if None.
    weights : mapping of str to float, optional
        As its card says if None.
    """

    def __init__(
        self,
        frame: Frame,
        network: OutlineNet | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        if network is None or weights is None:
            shipped, card = load_outline_net()
            network, weights = network or shipped, weights or card.weights
        self._network, self._weights = _at_work(network), weights
        self._tissue, self.scan_area = scan_of(frame)

    def outline(self, calipers: Calipers) -> NDArray[np.bool_]:
        """Outline a node.

        Parameters
        ----------
        calipers : Calipers

        Returns
        -------
        ndarray of bool, shape (H, W)
            One connected region without holes, in which the axes cross.
        """
        shape = self._tissue.shape
        ellipse = calipers.ellipse(shape)
        weight = self._weights[calipers.hint]
        if not weight:
            return ellipse
        pose = Pose.of(calipers)
        start = ellipse_logit(calipers.distance(*pose.in_frame()))
        change = weight * self._change(pose, start)
        if not (inside := start + change >= 0).any():
            return ellipse
        mask = np.zeros(shape, dtype=bool)
        at = np.ogrid[place := pose.place(shape, inside)]
        finer = ndimage.map_coordinates(change, pose.in_crop(*at), order=1)
        mask[place] = ellipse_logit(calipers.distance(*at)) + finer >= 0
        region = one_region(mask, ellipse)
        return region if region.any() else ellipse

    @torch.inference_mode()
    def _change(self, pose: Pose, ellipse: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's word on the crop: the mean over its mirror images."""
        row0, column0, row1, column1 = self.scan_area
        rows, columns = pose.in_frame()
        scanned = (
            (rows > row0 - 0.5) & (rows < row1 - 0.5) & (columns > column0 - 0.5) & (columns < column1 - 0.5)
        )
        planes = inputs_of(
            torch.from_numpy(pose.crop(self._tissue) * scanned)[None],
            torch.from_numpy(scanned)[None].float(),
            torch.from_numpy(ellipse)[None],
        )
        images = torch.cat([planes.flip(axes) for axes in MIRRORS])
        words = self._network(images.contiguous(memory_format=torch.channels_last))[:, 0]
        upright = [one.flip([axis - 2 for axis in axes]) for one, axes in zip(words, MIRRORS, strict=True)]
        change: NDArray[np.float32] = torch.stack(upright).mean(0).numpy()
        return change


@lru_cache(maxsize=1)
def _at_work(network: OutlineNet) -> OutlineNet:
    return network.at_work(mixed_precision=processor_has_bfloat16())


@lru_cache(maxsize=1)
def load_outline_net() -> tuple[OutlineNet, OutlineCard]:
    """The network that ships, with its card.

    Raises
    ------
    WeightsError
        If one of its two files is damaged.
    """
    folder = Path(str(resources.files("napari_cln") / "models" / "outline"))
    try:
        content = (folder / "calipers.safetensors").read_bytes()
        card = read((folder / "calipers.json").read_bytes(), OutlineCard)
        if checksum_of(content) != card.sha256 or set(card.weights) != set(HINTS):
            raise ValueError("the weights are not those of the card")
        network = OutlineNet()
        network.load_state_dict({name: value.float() for name, value in load_tensors(content).items()})
    except (OSError, SchemaError, SafetensorError, ValueError, RuntimeError) as cause:
        raise WeightsError(
            "The network that outlines nodes is damaged, or its card.", "Install napari-cln again."
        ) from cause
    return network.eval(), card


def save_outline_net(network: OutlineNet, folder: Path, card: OutlineCard) -> OutlineCard:
    """Write weights, in half precision, and card.

    Parameters
    ----------
    network : OutlineNet
    folder : Path
        An existing folder.
    card : OutlineCard

    Returns
    -------
    OutlineCard
        With the SHA-256 of the weights.
    """
    half = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    content = save_tensors(half)
    card = replace(card, sha256=checksum_of(content))
    write_atomically(folder / "calipers.safetensors", content)
    text = json.dumps(asdict(card), indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / "calipers.json", text.encode())
    return card


@lru_cache(maxsize=2)
def outliner_of(frame: Frame) -> Outliner:
    """The outliner of a frame; those of the last two are kept, so that an axis can be dragged.

    Parameters
    ----------
    frame : Frame
    """
    return Outliner(frame)


def outline_node(
    frame: Source,
    *,
    long_axis: Axis | None = None,
    short_axis: Axis | None = None,
    box: Sequence[float] | None = None,
) -> NDArray[np.bool_]:
    """Outline a node whose axes were measured, or that lies in a box.

    Parameters
    ----------
    frame : path-like, Frame or ndarray
        An array is grey (H, W) or colour (H, W, 3 or 4).
    long_axis : ((float, float), (float, float)), optional
        Row and column of both ends, in frame pixels, pixel centres at whole numbers.
    short_axis : ((float, float), (float, float)), optional
        Of the axis across; 0.65 of the long one, in its middle, if None.
    box : (float, float, float, float), optional
        In place of the axes: ``(row0, column0, row1, column1)`` around the node, half-open.

    Returns
    -------
    ndarray of bool, shape (H, W)
        One connected region without holes, in which the axes cross.

    Raises
    ------
    InputError
        If the ends or the box don't show one node that lies in the frame.
    FrameReadError
        If the frame can't be read.
    WeightsError
        If the network's files are damaged.

    Examples
    --------
    >>> frame = np.zeros((60, 80), dtype=np.uint8)
    >>> mask = outline_node(frame, long_axis=((30, 20), (30, 60)))
    >>> mask.shape, bool(mask[30, 40]), bool(mask[0, 0])
    ((60, 80), True, False)
    """
    shown = as_frame(frame)
    calipers = Calipers.of(shown.shape, long_axis=long_axis, short_axis=short_axis, box=box)
    return outliner_of(shown).outline(calipers)
