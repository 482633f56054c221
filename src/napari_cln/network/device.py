"""Choice of the device that computes, with the reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch

from ..compat.tensors import processor_has_bfloat16
from ..errors import DeviceError
from .engines import pytorch
from .engines.captured import CapturedYNet
from .engines.openvino import CompiledYNet, is_wanted, load_openvino
from .model import Network

__all__ = ["Device", "choose_device", "compile_for"]


@dataclass(frozen=True, kw_only=True)
class Device:
    """The device on which the network runs, and the reason."""

    name: Literal["cpu", "cuda", "mps"]
    reason: str
    mixed_precision: bool = False
    """Whether it multiplies bfloat16 faster than float32."""
    batch_size: int = 4
    engine: Literal["PyTorch", "OpenVINO"] = "PyTorch"
    """What computes: OpenVINO on a processor where it is installed."""


def choose_device(wanted: str = "auto") -> Device:
    """Choose the device to run on.

    Parameters
    ----------
    wanted : {"auto", "cpu", "cuda", "mps"}
        ``"auto"`` takes an NVIDIA GPU, else Apple's, else the CPU.

    Returns
    -------
    Device

    Raises
    ------
    DeviceError
        If the device asked for is not there.
    """
    if wanted not in ("auto", "cpu", "cuda", "mps"):
        raise DeviceError(f"There is no device '{wanted}'. Choose auto, cpu, cuda or mps.")
    if wanted in ("auto", "cuda") and torch.cuda.is_available():
        gpu = torch.cuda.get_device_name()
        mixed = torch.cuda.is_bf16_supported(including_emulation=False)
        return Device(name="cuda", reason=f"NVIDIA GPU: {gpu}", mixed_precision=mixed, batch_size=32)
    if wanted in ("auto", "mps") and torch.backends.mps.is_available():
        return Device(name="mps", reason="Apple GPU", batch_size=8)
    if wanted == "cuda":
        raise DeviceError(
            "There is no NVIDIA GPU that PyTorch can use"
            + ("." if torch.version.cuda else ": this PyTorch was built for the CPU alone.")
            + " Choose cpu, or install the driver and PyTorch for CUDA."
        )
    if wanted == "mps":
        raise DeviceError("There is no Apple GPU here. Choose cpu.")
    reason = "asked for" if wanted == "cpu" else "no GPU that PyTorch can use"
    mixed = processor_has_bfloat16()
    number = "bfloat16" if mixed else "float32"
    engine, name = _cpu_engine()
    n_threads = torch.get_num_threads()
    return Device(
        name="cpu",
        reason=f"CPU with {n_threads} thread{'s' * (n_threads > 1)}, {number}, {name}: {reason}",
        mixed_precision=mixed,
        engine=engine,
    )


def _cpu_engine() -> tuple[Literal["PyTorch", "OpenVINO"], str]:
    """Engine of a processor, and its name with what is to be said of it."""
    if not is_wanted():
        return "PyTorch", "PyTorch"
    try:
        load_openvino()
    except Exception as error:
        return "PyTorch", f"PyTorch, since OpenVINO can't be loaded ({error})"
    return "OpenVINO", "OpenVINO"


def compile_for(network: Network, device: Device) -> tuple[Network, Device]:
    """A copy of a network for prediction, and the device with the engine that computes it.

    Where OpenVINO fails on the network, PyTorch computes, and the device's reason says so.
    """
    if device.engine == "OpenVINO":
        try:
            make = partial(CompiledYNet.of, mixed_precision=device.mixed_precision)
            return network.changed(make), device
        except Exception as error:  # whatever OpenVINO or the recording of the network stumbles over
            note = f"PyTorch, since OpenVINO can't compile this network ({_first_line(error)})"
            reason = device.reason.replace("OpenVINO", note, 1)
            device = replace(device, engine="PyTorch", reason=reason)
    make_copy = CapturedYNet.of if device.name == "cuda" else pytorch.at_work
    return network.changed(partial(make_copy, mixed_precision=device.mixed_precision)), device


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
