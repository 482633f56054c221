"""What sets one Y-Net apart from another. Without torch, so that a window can show cards at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

__all__ = ["YNetConfig"]

Block: TypeAlias = Literal["esp", "psa", "rcb"]


@dataclass(frozen=True, kw_only=True)
class YNetConfig:
    """What sets one Y-Net apart from another.

    Parameters
    ----------
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
        Rows and columns of the input; a multiple of 32.
    width : float
        Multiplies every channel count of encoder and arm; for small networks.
    """

    block: Block = "esp"
    decoder_width: int = 32
    bins: tuple[int, ...] = (3, 5, 7, 9)
    segmentation: bool = True
    guided: bool = True
    size: int = 256
    width: float = 1.0

    def __post_init__(self) -> None:
        if self.block not in get_args(Block):
            raise ValueError(
                f"There is no encoder block '{self.block}'. Choose one of {', '.join(get_args(Block))}."
            )
        if self.size % 32 or self.size <= 0:
            raise ValueError(f"The input size {self.size} is not a multiple of 32.")
        if self.guided and not self.segmentation:
            raise ValueError("A guided classifier needs the mask: set segmentation=True or guided=False.")

    @classmethod
    def paper(cls, *, segmentation: bool = True) -> YNetConfig:
        """The paper's network, joint or classification-only."""
        return cls(decoder_width=8, segmentation=segmentation, guided=False)
