"""OpenVINO says what PyTorch says, tells nobody, and makes way where it fails."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from napari_cln.compat.tensors import processor_has_bfloat16
from napari_cln.network import inference
from napari_cln.network.blocks import Join, growing_matrix, pooling_matrix, shifted_growing_matrix
from napari_cln.network.device import Device, choose_device
from napari_cln.network.engines import openvino as engine
from napari_cln.network.engines.openvino import CompiledYNet
from napari_cln.network.ensemble import Ensemble
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.u_shaped import network_of
from napari_cln.network.weights import load_model
from napari_cln.phantom import simulate

SMALL = YNetConfig(width=0.125, decoder_width=8)
KINDS = [  # not each in both: compiling takes long
    (SMALL, False),
    (SMALL, True),
    (YNetConfig.paper(), True),
    (YNetConfig.paper(segmentation=False), False),
    (YNetConfig(width=0.125, block="rcb", guided=False), False),
    (YNetConfig(width=0.25, block="psa", bins=(1, 2, 4)), True),
    (YNetConfig(trunk="u", width=0.25), True),
]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAPARI_CLN_ENGINE")
    if not engine.is_wanted():
        pytest.skip("OpenVINO (extra fast) is not installed, or has no engine for this processor")


def network(config: YNetConfig, seed: int = 0) -> YNet:
    torch.manual_seed(seed)
    made = network_of(config).eval()
    for layer in made.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.2, 0.2)
            layer.running_var.uniform_(0.5, 1.5)
    return made


@pytest.mark.slow
@pytest.mark.parametrize(("config", "mixed"), KINDS)
def test_every_kind_of_network_and_number_of_frames(installed, config, mixed):
    exact = network(config)
    fast = CompiledYNet(exact, mixed_precision=mixed)

    for count in (1, 3, 2):
        x = torch.rand(count, 1, 256, 256)
        with torch.inference_mode():
            expected, found = exact(x), fast(x)
        for a, b in zip(expected, found, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(b, a, atol=(0.05 if mixed else 1e-4) * float(a.abs().max()))


def segmenter(model: YNet | Ensemble, monkeypatch: pytest.MonkeyPatch, name: str, mixed: bool) -> Segmenter:
    device = Device(name="cpu", reason=f"a test, {name}", mixed_precision=mixed, engine=name)
    monkeypatch.setattr(inference, "choose_device", lambda _: device)
    return Segmenter(model)


@pytest.mark.slow
@pytest.mark.parametrize("mixed", [False, True])
def test_masks_and_scores_stay_where_pytorch_has_them(installed, monkeypatch, mixed):
    default = load_model("default")
    frames = [simulate(seed).frame for seed in range(7_000_000, 7_000_008)]
    exact = segmenter(default, monkeypatch, "PyTorch", False).predict(frames)
    fast = segmenter(default, monkeypatch, "OpenVINO", mixed).predict(frames)

    pairs = list(zip(exact, fast, strict=True))
    moved = sum((a.mask ^ b.mask).sum() for a, b in pairs)
    assert moved <= 0.001 * sum(a.mask.sum() for a, _ in pairs)
    for a, b in pairs:
        assert a.malignancy == pytest.approx(b.malignancy, abs=0.005)
        assert a.novelty == pytest.approx(b.novelty, rel=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(not processor_has_bfloat16(), reason="this processor has no bfloat16 of its own")
@pytest.mark.parametrize("config", [YNetConfig(width=0.125, block="psa"), YNetConfig()])
def test_bfloat16_stays_in_the_layers_that_are_lowered(installed, config):
    for matrices in (pooling_matrix, growing_matrix, shifted_growing_matrix):
        matrices.cache_clear()  # as in a new process
    fast = CompiledYNet(network(config, 6), mixed_precision=True)
    layers = [layer.get_rt_info() for layer in fast._graph.get_runtime_model().get_ops()]

    lowered, kept = set(), set()
    for notes in layers:
        if notes["layerType"].astype(str) in ("Convolution", "MatMul", "FullyConnected"):
            name = notes["originalLayersNames"].astype(str).split(",")[0]
            number = notes["runtimePrecision"].astype(str)
            (lowered if number == "bf16" else kept).add(
                engine._is_lowered(name, engine.LOWERED[config.trunk])
            )
    assert lowered == {True}
    assert kept == {False}


@pytest.mark.slow
def test_each_member_of_an_ensemble_is_compiled(installed, monkeypatch):
    both = Ensemble([network(SMALL, seed) for seed in (1, 2)]).eval()
    fast = segmenter(both, monkeypatch, "OpenVINO", False).model

    assert all(isinstance(member, CompiledYNet) for member in fast.members)
    x = torch.rand(2, 1, 256, 256)
    with torch.inference_mode():
        for a, b in zip(both(x), fast(x), strict=True):
            np.testing.assert_allclose(b, a, atol=1e-4 * float(a.abs().max()))


@pytest.mark.slow
def test_several_threads_get_the_same_from_one_network(installed):
    fast = CompiledYNet(network(SMALL), mixed_precision=False)
    frames = [torch.rand(count, 1, 256, 256) for count in (1, 2, 1, 3)]
    alone = [fast.encode(x).arm for x in frames]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda x: fast.encode(x).arm, frames * 3))
    for found, expected in zip(together, alone * 3, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.slow
def test_the_same_weights_are_compiled_once(installed, monkeypatch):
    first, again, other = (CompiledYNet(network(SMALL, n), mixed_precision=False) for n in (3, 3, 4))

    assert first._graph is again._graph
    assert first._graph is not other._graph
    assert CompiledYNet.of(first, mixed_precision=False) is first


def test_the_device_names_the_engine(installed, monkeypatch):
    assert "OpenVINO" in choose_device("cpu").reason
    assert choose_device("cpu").engine == "OpenVINO"

    monkeypatch.setenv("NAPARI_CLN_ENGINE", "pytorch")
    assert "PyTorch" in choose_device("cpu").reason
    assert choose_device("cpu").engine == "PyTorch"


def test_an_engine_that_cannot_be_loaded_makes_way(monkeypatch):
    def fails() -> None:
        raise ImportError("a library is missing")

    monkeypatch.setattr("napari_cln.network.device.is_wanted", lambda: True)
    monkeypatch.setattr("napari_cln.network.device.load_openvino", fails)

    device = choose_device("cpu")
    assert device.engine == "PyTorch"
    assert "PyTorch, since OpenVINO can't be loaded (a library is missing)" in device.reason


def test_a_network_that_cannot_be_compiled_runs_in_pytorch(monkeypatch):
    def fails(graph: object, mixed_precision: bool) -> None:
        raise RuntimeError("no such layer\nand much more")

    monkeypatch.setattr(engine, "_recorded", lambda network: None)
    monkeypatch.setattr(engine, "_compiled", fails)
    found = segmenter(network(SMALL, 5), monkeypatch, "OpenVINO", False)

    assert not isinstance(found.model, CompiledYNet)
    assert isinstance(found.model.dec1[0][1], nn.Identity)  # its norm is part of the convolution
    assert isinstance(found.model.enc2.join, Join)
    assert found.device.engine == "PyTorch"
    assert "since OpenVINO can't compile this network (no such layer)" in found.device.reason


SILENT = """
import sys
import torch

def listen(event, arguments):
    if event.startswith(("socket.", "urllib", "http", "subprocess", "os.fork", "os.posix_spawn", "os.exec")):
        print("HEARD", event, arguments, flush=True)

sys.addaudithook(listen)
from napari_cln.network.device import choose_device
from napari_cln.network.engines.openvino import CompiledYNet
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.u_shaped import network_of
print(choose_device("cpu").engine)
CompiledYNet(YNet(YNetConfig(width=0.125)).eval(), mixed_precision=True)(torch.zeros(1, 1, 256, 256))
print("openvino_telemetry" in sys.modules)
"""


def test_nothing_is_told_to_anybody(installed):
    done = subprocess.run([sys.executable, "-c", SILENT], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["OpenVINO", "False"]
