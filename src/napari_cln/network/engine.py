"""What runs the network: PyTorch, or on a CPU OpenVINO where it is installed (extra ``fast``).

OpenVINO fuses what PyTorch computes step by step, and multiplies in bfloat16 where the processor can.
The head, which scores a node under its mask, stays with PyTorch: it is a thousandth of the work.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from .device import Device
from .model import Features, YNet

__all__ = ["Engine", "OpenVino", "PyTorch", "choose_engine", "mixed_precision"]


class Engine(Protocol):
    """Encoder and decoder at work."""

    def __call__(self, images: Tensor) -> tuple[Features, Tensor | None]:
        """Features and mask logits (B, 2, S, S) of frames (B, 1, S, S); no logits without a mask head."""


def choose_engine(network: YNet, device: Device) -> Engine:
    """The engine that the device names."""
    return OpenVino(network) if device.engine == "OpenVINO" else PyTorch(network, device)


def mixed_precision(device: Device) -> Any:
    """Mixed precision where the device has it."""
    if device.mixed_precision:
        return torch.autocast(device.name, torch.bfloat16)
    return nullcontext()


class PyTorch:
    """The network as it is, in mixed precision where the device has it."""

    def __init__(self, network: YNet, device: Device) -> None:
        self.network = network
        self.device = device

    def __call__(self, images: Tensor) -> tuple[Features, Tensor | None]:
        """Features and mask logits."""
        with mixed_precision(self.device):
            features = self.network.encode(images.to(self.device.name))
            return features, self.network.decode(features) if self.network.config.segmentation else None


class OpenVino:
    """The network compiled by OpenVINO for this CPU.

    It is handed over through OpenVINO's PyTorch frontend: ``openvino.convert_model`` reports its use
    over the network.
    """

    def __init__(self, network: YNet) -> None:
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        size = network.config.size
        example = torch.zeros(2, 1, size, size)
        with torch.inference_mode(False), torch.no_grad():
            traced = torch.jit.trace(_Maps(network), example, check_trace=False)  # type: ignore[no-untyped-call]
        frontend = FrontEndManager().load_by_framework("pytorch")
        graph = frontend.convert(frontend.load(TorchScriptPythonDecoder(traced, example_input=(example,))))
        graph.reshape([-1, 1, size, size])
        core = openvino.Core()
        can_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self._compiled = core.compile_model(
            graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16" if can_bf16 else "f32",
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            },
        )

    def __call__(self, images: Tensor) -> tuple[Features, Tensor | None]:
        """Features and mask logits."""
        found = self._compiled([images.cpu().numpy()])
        maps = [torch.from_numpy(np.asarray(value)) for value in found.values()]
        return Features(*maps[:4]), maps[4] if len(maps) > 4 else None


class _Maps(nn.Module):
    """All that one pass computes, as a plain tuple of tensors."""

    def __init__(self, network: YNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.network.encode(images)
        if not self.network.config.segmentation:
            return tuple(features)
        return (*features, self.network.decode(features))
