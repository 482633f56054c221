"""OpenVINO, the optional engine of processors (extra ``fast``): the same network in less time.

It computes what :func:`at_work` makes of a network. OpenVINO would lower the whole graph to bfloat16; a
layer stays in float32 if it is marked ``precise``. That mark is an attribute of its file format and has
no call in Python, so a graph passes through a file once. Making a graph takes some seconds; it is kept
for as long as the process runs.

``import openvino`` and ``openvino.convert_model`` report their use over the network. Here nothing does: the
package that reports is kept out while OpenVINO is loaded, and a network is handed over through the
frontend that ``convert_model`` itself uses.

``NAPARI_CLN_ENGINE=pytorch`` leaves it out, such as for a few frames at a time.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor

from ...compat.tensors import settle_layers
from ...imaging.preprocessing import Geometry
from ..model import Member
from . import pytorch as pytorch
from .one_pass import Maps, OnePass

__all__ = ["LOWERED", "CompiledYNet", "is_wanted", "load_openvino"]

LOWERED = {
    "pyramid": (*pytorch.LOWERED["pyramid"], "psp1/aten::_convolution", "dec1.1"),
    "u": pytorch.LOWERED["u"],
}
"""Layers that compute in bfloat16, by the trunk: PyTorch's, and the pyramid decoder's last convolutions."""

KEPT = 8
"""Graphs that a process keeps; the one unused for longest goes first."""


def is_wanted() -> bool:
    """Tell whether OpenVINO is installed, not turned off, and the processor of a kind that was measured."""
    if os.environ.get("NAPARI_CLN_ENGINE", "").lower() == "pytorch":
        return False
    return platform.machine().lower() in ("x86_64", "amd64") and find_spec("openvino") is not None


@cache
def load_openvino() -> ModuleType:
    """OpenVINO, without the package through which it reports its use.

    Raises
    ------
    ImportError
        If it is not installed, or does not work here.
    """
    reporter = "openvino_telemetry"
    loaded = sys.modules.get(reporter)
    sys.modules[reporter] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        import openvino
        import openvino.frontend.pytorch.ts_decoder
    finally:
        del sys.modules[reporter]
        if loaded is not None:
            sys.modules[reporter] = loaded
    module: ModuleType = openvino
    return module


class CompiledYNet(OnePass):
    """A network whose maps OpenVINO computes.

    Parameters
    ----------
    network : Member
        In evaluation mode; stays as it is.
    mixed_precision : bool
        Let the layers ``LOWERED`` compute in bfloat16.
    """

    def __init__(self, network: Member, *, mixed_precision: bool) -> None:
        super().__init__(network)
        self._graph = _graph_of(network, mixed_precision)

    @classmethod
    def of(cls, network: Member, *, mixed_precision: bool) -> CompiledYNet:
        """Compile a network, unless it is compiled already."""
        return network if isinstance(network, cls) else cls(network, mixed_precision=mixed_precision)

    def compute(self, x: Tensor) -> list[Tensor]:
        """Compute the maps of frames ``x``; see :meth:`OnePass.compute`."""
        found = self._graph([x.numpy(force=True)])
        return [torch.from_numpy(found[index]) for index in range(len(found))]


_graphs: OrderedDict[tuple[str, type[Member], bool, int], Any] = OrderedDict()
_graphs_turn = Lock()


def _graph_of(network: Member, mixed_precision: bool) -> Any:
    """The compiled graph of a network; made once for the same weights, precision and threads."""
    digest = hashlib.sha256(repr(network.config).encode())
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.numpy(force=True).tobytes())
    # the class, since a network of another class may compute something else from the same weights
    key = (digest.hexdigest(), type(network), mixed_precision, torch.get_num_threads())
    with _graphs_turn:
        if key not in _graphs:
            _graphs[key] = _compiled(
                _recorded(network), LOWERED[network.config.trunk] if mixed_precision else ()
            )
        _graphs.move_to_end(key)
        if len(_graphs) > KEPT:
            _graphs.popitem(last=False)
        return _graphs[key]


def _recorded(network: Member) -> Any:
    """The network as a graph of OpenVINO's, for any number of frames."""
    openvino = load_openvino()
    rows, columns = Geometry.model_shape
    n_planes = 1 + network.config.planes
    example = torch.zeros(1, n_planes, rows, columns)
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        # a deprecation (OpenVINO's other frontend does not read every release of PyTorch), and that
        # sizes are taken for constants, which they are
        warnings.simplefilter("ignore")
        maps = Maps(pytorch.at_work(network, mixed_precision=False))
        maps(example)  # makes the matrices of the pooling, which the recording then takes for constants
        recorded = torch.jit.trace(maps, example, check_trace=False)  # type: ignore[no-untyped-call]
        decoder = openvino.frontend.pytorch.ts_decoder.TorchScriptPythonDecoder(
            recorded, example_input=(example,)
        )  # the frontend reads from it as it converts
        frontend = openvino.frontend.FrontEndManager().load_by_framework("pytorch")
        graph = frontend.convert(frontend.load(decoder))
    graph.reshape([-1, n_planes, rows, columns])
    return graph


def _compiled(graph: Any, lowered: Sequence[str]) -> Any:
    """The graph for this processor, with as many threads as PyTorch has."""
    core = load_openvino().Core()
    if lowered:
        graph = _marked(graph, core, lowered)
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if lowered else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,  # a pinned thread waits for its core, however busy that is
    }
    return core.compile_model(graph, "CPU", options)


def _marked(graph: Any, core: Any, lowered: Sequence[str]) -> Any:
    """The graph with the mark ``precise`` on all layers but the lowered."""
    openvino = load_openvino()
    settle_layers(graph)  # else the mark would be on layers that are exchanged for others later on
    with TemporaryDirectory() as folder:
        description, values = Path(folder, "graph.xml"), Path(folder, "graph.bin")
        openvino.serialize(graph, description, values)
        tree = ElementTree.parse(description)
        weights = openvino.Tensor(np.fromfile(values, np.uint8))
    for layer in tree.iter("layer"):
        if layer.get("type") in ("Const", "Parameter", "Result") or _is_lowered(
            layer.get("name", ""), lowered
        ):
            continue
        notes = layer.find("rt_info")
        if notes is None:
            notes = ElementTree.Element("rt_info")
            layer.insert(0 if layer.find("data") is None else 1, notes)
        ElementTree.SubElement(notes, "attribute", name="precise", version="0")
    return core.read_model(ElementTree.tostring(tree.getroot()), weights)


def _is_lowered(name: str, parts: Sequence[str]) -> bool:
    """Tell whether a layer, such as ``__module.network.enc3.down.0/aten::relu/Relu``, is in a part."""
    name = name.removeprefix("__module.network.")
    return any(name.startswith((f"{part}/", f"{part}.")) for part in parts)
