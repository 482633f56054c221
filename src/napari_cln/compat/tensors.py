"""Private parts of torch and OpenVINO.

========================== ========================================== ====================================
here                       what it leans on                           goes
========================== ========================================== ====================================
`processor_has_bfloat16`   ``torch.ops.mkldnn`` (torch 2.10)          when torch tells it for processors as
                                                                      ``torch.cuda`` does for GPUs
`settle_layers`            ``openvino._offline_transformations``      when OpenVINO can keep a layer in
                           (2026.4)                                   float32 by a documented option
========================== ========================================== ====================================
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["processor_has_bfloat16", "settle_layers"]


def processor_has_bfloat16() -> bool:
    """Tell whether this processor computes bfloat16 by itself."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def settle_layers(graph: Any) -> None:
    """Exchange the layers of an OpenVINO graph now for those that its compiler would exchange them for.

    Parameters
    ----------
    graph : openvino.Model
        Changed in place. What is noted on a layer before would not be on the one in its place.
    """
    from openvino._offline_transformations import apply_moc_transformations

    apply_moc_transformations(graph, cf=True, smart_reshape=False)
