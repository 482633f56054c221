"""What a GPU replays is what the network computes; here the same steps run without a graph."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from napari_cln.network.engines import captured
from napari_cln.network.engines.captured import CapturedYNet
from napari_cln.network.engines.one_pass import Maps
from napari_cln.network.engines.pytorch import at_work
from napari_cln.network.ensemble import Ensemble
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import Member, Network, YNetConfig
from napari_cln.network.u_shaped import network_of
from napari_cln.network.weights import load_model
from napari_cln.phantom import simulate

KINDS = [
    YNetConfig(trunk="u", width=0.125, planes=2),
    YNetConfig(width=0.125, decoder_width=8),
    YNetConfig(width=0.125, segmentation=False, guided=False),
]


class Elsewhere(TorchDispatchMode):
    """Notes each operation that gives a tensor on another device than ``device``."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device, self.found = device, list[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self.found += [str(func) for one in tensors if one.device.type != self.device]
        return out


def made(config: YNetConfig, seed: int = 0) -> Member:
    torch.manual_seed(seed)
    return network_of(config).eval()


def frames(count: int, network: Network, seed: int = 0, size: int = 64) -> Tensor:
    given = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1 + network.config.planes, size, size, generator=given)


@pytest.mark.parametrize("config", KINDS)
@pytest.mark.parametrize("size", [256, 64])
@pytest.mark.slow
def test_a_pass_reads_nothing_back_and_makes_no_tensor_on_another_device(config, size):
    both = Ensemble([made(config), made(config, 1)]).eval()
    networks = [both, both.changed(lambda one: at_work(one, mixed_precision=True))]
    for network in networks:
        network.to("meta")  # holds no values: what asks for one, or for a shape that depends on one, fails
        x = frames(2, network, size=size).to("meta")
        network(x)  # a map of another size than the usual has constants of its own, which come along once
        with Elsewhere("meta") as elsewhere, torch.inference_mode():
            network(x)
        assert elsewhere.found == []


@pytest.mark.parametrize("config", KINDS)
@pytest.mark.parametrize("mixed", [False, True])
def test_replayed_passes_are_those_of_the_network(config, mixed):
    network = made(config)
    plain, fast = at_work(network, mixed_precision=mixed), CapturedYNet(network, mixed_precision=mixed)

    for seed, count in enumerate((1, 2, 1, 2, 2)):
        x = frames(count, network, seed)
        with torch.inference_mode():
            expected, found = plain(x), fast(x)
        for a, b in zip(expected, found, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                scale = float(a.abs().max())
                np.testing.assert_allclose(b, a, atol=(0.05 if mixed else 1e-4) * scale)
    assert len(fast._passes) == 2


@pytest.mark.parametrize("config", KINDS)
def test_only_the_convolution_that_reads_the_frames_does_without_tf32(config):
    before, allowed = torch.backends.cudnn.allow_tf32, {}
    fast = CapturedYNet(made(config), mixed_precision=True)
    for name, layer in fast._maps.named_modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(
                lambda *_, name=name: allowed.update({name: torch.backends.cudnn.allow_tf32})
            )
    fast.encode(frames(1, fast))

    first, *others = (is_allowed for name, is_allowed in allowed.items() if "psp" not in name)
    assert not first
    assert all(others)
    assert len(others) > 10
    assert torch.backends.cudnn.allow_tf32 is before is True


def test_answers_stay_when_the_next_frames_come():
    fast = CapturedYNet(made(KINDS[0]), mixed_precision=False)
    with torch.inference_mode():
        for _ in range(2):
            fast.encode(frames(2, fast))
        kept = fast.encode(frames(2, fast, 1))
        before = [one.clone() for one in kept]
        later = fast.encode(frames(2, fast, 2))

    for one, copy, other in zip(kept, before, later, strict=True):
        assert torch.equal(one, copy)
        assert not torch.equal(one, other)
        assert one.untyped_storage().data_ptr() != other.untyped_storage().data_ptr()


def test_several_threads_share_the_memory_of_one_pass():
    fast = CapturedYNet(made(KINDS[0]), mixed_precision=False)
    given = [frames(2, fast, seed) for seed in range(4)]
    alone = [fast.encode(x).arm for x in given]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda x: fast.encode(x).arm, given * 5))
    for found, expected in zip(together, alone * 5, strict=True):
        assert torch.equal(found, expected)


def test_a_pass_is_recorded_when_its_number_of_frames_comes_again(monkeypatch):
    recorded: list[int] = []

    class Noted(captured._Pass):
        def __init__(self, compute: captured.Compute, like: Tensor, pool: Any) -> None:
            recorded.append(len(like))
            super().__init__(compute, like, pool)

    monkeypatch.setattr(captured, "_Pass", Noted)
    monkeypatch.setattr(captured, "KEPT", 2)
    fast = CapturedYNet(made(KINDS[0]), mixed_precision=False)
    for count in (4, 1, 4, 4, 3, 1, 1, 3, 4):
        fast.encode(frames(count, fast))

    assert recorded == [4, 1, 3, 4]  # of two that are kept, the 4 was unused for longest


def test_what_cannot_be_recorded_is_computed_eagerly_with_a_warning(monkeypatch, caplog):
    def fails(*_: object) -> None:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nand much more")

    monkeypatch.setattr(captured, "_Pass", fails)
    network = made(KINDS[0])
    fast = CapturedYNet(network, mixed_precision=False)
    with torch.inference_mode():
        expected = Maps(at_work(network, mixed_precision=False))(frames(2, network))[-1]
        found = [fast.decode(fast.encode(frames(2, network))) for _ in range(3)]

    for one in found:
        np.testing.assert_allclose(one, expected, atol=1e-4)
    (told,) = caplog.messages
    assert told == (
        "Passes of 2 frames are not recorded, and take longer: "
        "CUDA error: operation not permitted when stream is capturing"
    )


@pytest.mark.slow
def test_predictions_are_those_of_the_plain_network():
    default = load_model("default")
    shown = [simulate(seed).frame for seed in range(7_000_000, 7_000_003)]
    plain, fast = Segmenter(default, "cpu", batch_size=1), Segmenter(default, "cpu", batch_size=1)
    fast.model = default.changed(
        lambda one: CapturedYNet.of(one, mixed_precision=plain.device.mixed_precision)
    )

    for a, b in zip(plain.predict(shown), fast.predict(shown), strict=True):
        assert (a.mask ^ b.mask).mean() <= 0.001
        assert a.node_scores == pytest.approx(b.node_scores, abs=0.005)
        assert a.malignancy == pytest.approx(b.malignancy, abs=0.005)
        assert a.novelty == pytest.approx(b.novelty, rel=1e-3)


@pytest.fixture
def benchmark() -> ModuleType:
    spec = spec_from_file_location("gpu", Path(__file__).parents[3] / "benchmarks" / "gpu.py")
    module = module_from_spec(spec)
    sys.modules["gpu"] = module  # where its dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_benchmark_runs_without_a_gpu_and_says_so(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu"])

    assert benchmark.main() == 0

    told = capsys.readouterr().out
    assert told.startswith("No GPU: a rehearsal on the processor")
    assert told.count(f"{benchmark.OWN}: ") == 2
    assert "of the lesser of the two (goal: 0.8)" in told
    assert "× losses fetched in each step" in told


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_the_benchmark_measures_nothing_where_no_gpu_is_at_hand(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py"])

    assert benchmark.main() == 1
    assert "No GPU that PyTorch can use is at hand: nothing was measured." in capsys.readouterr().out


def test_the_benchmark_fails_where_masks_leave_the_bounds(benchmark, monkeypatch):
    config = YNetConfig(trunk="u", width=0.125)
    monkeypatch.setattr(benchmark, "CapturedYNet", lambda *_, **__: made(config, 1))  # other weights
    scale = benchmark.Scale(torch.device("cpu"), (2,), 2, 2, 1, 1, float("inf"))

    assert not benchmark.inference(made(config), torch.rand(2, 1, 256, 256), scale)
