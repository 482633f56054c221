"""CUDA graphs, the engine of NVIDIA GPUs: a pass is recorded once for each number of frames, and replayed.

Eagerly a processor launches some hundred kernels a pass, one after the other, and one frame takes as long as
that does. A replay is one launch. Convolutions read channels last. Those of the stages ``LOWERED`` multiply
in bfloat16, the others in TF32, as PyTorch does by default, but for the first: what is rounded there moves as
many outlines as all the rest.

A graph reads and writes the same memory each time. So frames are copied in, and what comes out is copied out
before the next frames may come. On another device the same is done without a graph.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ..model import Member
from .one_pass import Maps, OnePass
from .pytorch import at_work

__all__ = ["CapturedYNet"]

Compute: TypeAlias = Callable[[Tensor], tuple[Tensor, ...]]

_log = logging.getLogger(__name__)

KEPT = 4
"""Numbers of frames of which a network keeps a graph, each with its memory."""
WARM_UP = 3
"""Passes before a recording, in which cuDNN chooses how to convolve, and the allocator what it keeps."""


_recording = Lock()  # a process may record one at a time


class CapturedYNet(OnePass):
    """A network whose passes are replayed from the second of the same number of frames on.

    Parameters
    ----------
    network : Member
        In evaluation mode, on its device; stays as it is.
    mixed_precision : bool
        Let the stages ``LOWERED`` compute in bfloat16.
    """

    def __init__(self, network: Member, *, mixed_precision: bool) -> None:
        super().__init__(network)
        lowered = at_work(network, mixed_precision=mixed_precision)
        _keep_first_exact(lowered)
        self._maps = Maps(lowered).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._met: set[torch.Size] = set()
        self._passes: OrderedDict[torch.Size, Compute] = OrderedDict()
        # replays take turns, and nothing but what comes out is read after one: so they share their memory
        self._pool = torch.cuda.graph_pool_handle() if torch.cuda.is_available() else None

    @classmethod
    def of(cls, network: Member, *, mixed_precision: bool) -> CapturedYNet:
        """Take a network to work, unless it is there already."""
        return network if isinstance(network, cls) else cls(network, mixed_precision=mixed_precision)

    @torch.inference_mode()
    def compute(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the maps of frames ``x``; see :meth:`OnePass.compute`."""
        if x.shape not in self._met:  # a single frame, or the rest of a stream: a recording would not pay
            self._met.add(x.shape)
            return self._eager(x)
        if x.shape not in self._passes:
            self._passes[x.shape] = self._recorded(x)
            if len(self._passes) > KEPT:
                self._passes.popitem(last=False)
        self._passes.move_to_end(x.shape)
        return self._passes[x.shape](x)

    def _eager(self, x: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = self._maps(x)
        return found

    def _recorded(self, x: Tensor) -> Compute:
        """A pass for as many frames as these; the eager one where it can't be recorded."""
        stream = torch.cuda.current_stream() if x.is_cuda else None
        try:
            with _recording:
                return _Pass(self._eager, x, self._pool)
        except RuntimeError as error:  # of CUDA, or memory that is enough for a pass, but not to keep one
            if stream is not None:
                torch.cuda.set_stream(stream)  # a recording that fails stays on its own
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            _log.warning("Passes of %d frames are not recorded, and take longer: %s", len(x), reason)
            return self._eager


def _keep_first_exact(network: Member) -> None:
    """Let the convolution that reads the frames multiply in float32."""
    name, first = next(named for named in network.named_modules() if isinstance(named[1], nn.Conv2d))
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, _Exact(first))


class _Exact(nn.Module):
    """A convolution without TF32."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        now = torch.backends.cudnn
        kept = {"enabled": now.enabled, "benchmark": now.benchmark, "deterministic": now.deterministic}
        with now.flags(**kept, allow_tf32=False):
            out: Tensor = self.layer(x)
        return out


class _Pass:
    """A pass of one shape, in memory that stays where it is."""

    def __init__(self, compute: Compute, like: Tensor, pool: Any) -> None:
        self._compute = compute
        self._frames = like.clone()
        self._graph: torch.cuda.CUDAGraph | None = None
        if like.is_cuda:
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    compute(self._frames)
            torch.cuda.current_stream().wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            # other threads may go on: they prepare, and fetch what was computed before
            with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
                self._found = compute(self._frames)
        else:
            self._found = tuple(found.clone() for found in compute(self._frames))

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        self._frames.copy_(x)
        if self._graph is not None:
            self._graph.replay()
        else:
            for held, found in zip(self._found, self._compute(self._frames), strict=True):
                held.copy_(found)
        return tuple(found.clone() for found in self._found)
