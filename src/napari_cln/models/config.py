"""Architecture of a Y-Net. Without torch, so that a window can show cards at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, get_args

from msgspec import Meta

from ..settings import check_fields

__all__ = ["YNetConfig"]

Block: TypeAlias = Literal["esp", "psa", "rcb"]
Trunk: TypeAlias = Literal["pyramid", "u"]
Bins: TypeAlias = Annotated[int, Meta(ge=1, le=32)]
SIDE = 256
"""Rows and columns of what a frame is prepared to."""
SPLITS: dict[str, int] = {"esp": 4, "psa": 8, "rcb": 1}
"""Into how many equal parts an encoder block divides its channels."""


@dataclass(frozen=True, kw_only=True)
class YNetConfig:
    """Architecture of a Y-Net.

    Parameters
    ----------
    trunk : {"pyramid", "u"}
        The paper's encoder and decoder, or those of a U-Net, for which ``block``, ``decoder_width`` and
        ``bins`` mean nothing; its guided arm may also say that a patch is no node.
    block : {"esp", "psa", "rcb"}
        Encoder block: efficient spatial pyramid (cited by the paper), pyramid squeeze attention
        (its sentence), or plain residual convolution.
    decoder_width : int
        Channels that the decoder carries from level to level. 8 is the original's number, and
        collapses on some seeds without a Dice loss; 32 never did.
    bins : tuple of int
        Regions per side that pyramid pooling averages over, the same at each decoder level.
    segmentation : bool
        ``False`` leaves the decoder out: the paper's classification-only network.
    guided : bool
        Give the classifier the encoder's features under a node and in its rim, so that each node
        gets its own score. ``False``, as in the paper: one score for the frame.
    size : int
        Rows and columns of the input; a multiple of 32. Frames are prepared to 256.
    width : float
        Multiplies every channel count of encoder and arm; for small networks.
    planes : int
        Planes that it reads beside the grey image, two for each further channel.

    Raises
    ------
    ValueError
        Of a value that makes no network, or one that no computer holds; it is named with its limits.
    """

    trunk: Trunk = "pyramid"
    block: Block = "esp"
    decoder_width: Annotated[int, Meta(ge=1, le=256)] = 32
    bins: Annotated[tuple[Bins, ...], Meta(min_length=1, max_length=8)] = (3, 5, 7, 9)
    segmentation: bool = True
    guided: bool = True
    size: Annotated[int, Meta(ge=32, le=1024)] = SIDE
    width: Annotated[float, Meta(ge=0.01, le=4)] = 1.0
    planes: Annotated[int, Meta(ge=0, le=16)] = 0

    def __post_init__(self) -> None:
        if self.trunk not in get_args(Trunk):
            raise ValueError(f"There is no trunk '{self.trunk}'. Choose pyramid or u.")
        if self.block not in get_args(Block):
            raise ValueError(
                f"There is no encoder block '{self.block}'. Choose one of {', '.join(get_args(Block))}."
            )
        check_fields(self)
        if self.size % 32:
            raise ValueError(f"The input size {self.size} is not a multiple of 32.")
        if self.guided and not self.segmentation:
            raise ValueError("A guided classifier needs the mask: set segmentation=True or guided=False.")
        step = SPLITS[self.block]
        if odd := [count for count in self.channels[1:] if count % step]:
            raise ValueError(
                f"width is {self.width}, which gives {odd[0]} channels where block '{self.block}' divides "
                f"them by {step}. Choose a width such as 0.125, 0.25, 0.5 or 1."
            )

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Channels of the stem, the arm, and the encoder's thin and wide stages."""
        thin, arm, middle, wide = (max(int(n * self.width), 4) for n in (16, 64, 128, 256))
        return thin, arm, middle, wide

    @property
    def trunk_channels(self) -> tuple[int, int, int, int, int]:
        """Channels of the five levels of a U-shaped trunk, the finest first."""
        first, second, third, fourth, fifth = (max(int(n * self.width), 4) for n in (32, 64, 128, 256, 256))
        return first, second, third, fourth, fifth

    @property
    def knows_nothing(self) -> bool:
        """Tell whether the arm has a third class, *no node*."""
        return self.trunk == "u" and self.guided

    @classmethod
    def best(cls, *, segmentation: bool = True) -> YNetConfig:
        """The network that does best so far, joint or classification-only."""
        return cls(trunk="u", segmentation=segmentation, guided=segmentation)

    @classmethod
    def paper(cls, *, segmentation: bool = True) -> YNetConfig:
        """The paper's network, joint or classification-only."""
        return cls(decoder_width=8, segmentation=segmentation, guided=False)
