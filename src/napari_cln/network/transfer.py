"""The way to a device and back: a GPU at work is not waited for, but for what it was asked."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["fetch_values", "send_values"]


def send_values(values: NDArray[Any], device: torch.device | str) -> Tensor:
    """Send an array to a device; one that is a GPU at work is not waited for.

    Parameters
    ----------
    values : ndarray
    device : torch.device or str
    """
    tensor = torch.from_numpy(values)
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def fetch_values(*tensors: Tensor) -> list[NDArray[Any]]:
    """Fetch arrays from a device, waiting for it once.

    Parameters
    ----------
    *tensors : Tensor
        All on one device.
    """
    if not tensors[0].is_cuda:
        return [tensor.cpu().numpy() for tensor in tensors]
    fetched = [
        torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
        for tensor in tensors
    ]
    torch.cuda.current_stream().synchronize()
    return [tensor.numpy() for tensor in fetched]
