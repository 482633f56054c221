"""A network at work says what the network itself says, in float32 and in bfloat16."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_cln.network import inference
from napari_cln.network.device import Device
from napari_cln.network.engines.pytorch import LOWERED, at_work
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import Member, YNet, YNetConfig
from napari_cln.network.weights import load_model
from napari_cln.phantom import simulate


@pytest.fixture(scope="module")
def default() -> Member:
    return load_model("default")


def segmenter(network: YNet, monkeypatch: pytest.MonkeyPatch, *, mixed: bool) -> Segmenter:
    device = Device(name="cpu", reason="a test", mixed_precision=mixed)
    monkeypatch.setattr(inference, "choose_device", lambda _: device)
    return Segmenter(network)


@pytest.mark.slow
def test_masks_and_scores_stay_where_float32_has_them(default, monkeypatch):
    frames = [simulate(seed).frame for seed in range(7_000_000, 7_000_012)]
    exact, mixed = (
        list(segmenter(default, monkeypatch, mixed=mixed).predict(frames)) for mixed in (False, True)
    )

    moved = sum((a.mask ^ b.mask).sum() for a, b in zip(exact, mixed, strict=True))
    assert moved <= 0.001 * sum(prediction.mask.sum() for prediction in exact)
    for a, b in zip(exact, mixed, strict=True):
        assert a.malignancy == pytest.approx(b.malignancy, abs=0.005)
    assert any((a.probability != b.probability).any() for a, b in zip(exact, mixed, strict=True))


def test_the_network_that_was_given_stays_as_it_is(default):
    before = {name: value.clone() for name, value in default.state_dict().items()}
    twice = at_work(at_work(default, mixed_precision=True), mixed_precision=True)

    assert {value.dtype for value in twice.state_dict().values()} >= {torch.bfloat16, torch.float32}
    after = default.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(hasattr(default, name) for name in LOWERED[default.config.trunk])
    assert not any(parameter.requires_grad for parameter in twice.parameters())


CONFIGS = [
    YNetConfig(width=0.25),
    YNetConfig.paper(segmentation=False),
    YNetConfig(width=0.25, block="rcb"),
    YNetConfig(width=0.25, block="psa", bins=(1, 2, 4)),
]


def with_statistics(config: YNetConfig) -> YNet:
    """A network whose batch norms and their weights are not those of a new one."""
    torch.manual_seed(0)
    network = YNet(config).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for values in (layer.running_mean, layer.bias.data):
                values.uniform_(-0.2, 0.2)
            for values in (layer.running_var, layer.weight.data):
                values.uniform_(0.5, 1.5)
    return network


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("size", [256, 128])
def test_in_float32_it_is_the_same_function(config, size):
    network = with_statistics(config)
    x = torch.rand(2, 1, size, size)
    with torch.inference_mode():
        exact, quick = network(x), at_work(network, mixed_precision=False)(x)

    for a, b in zip(exact, quick, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(b, a, atol=1e-4 * float(a.abs().max()))


@pytest.mark.parametrize("config", CONFIGS)
def test_every_kind_of_network_works_in_bfloat16(config):
    network = with_statistics(config)
    x = torch.rand(2, 1, 256, 256)
    with torch.inference_mode():
        exact, mixed = network(x), at_work(network, mixed_precision=True)(x)

    for a, b in zip(exact, mixed, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert b.dtype == torch.float32
            np.testing.assert_allclose(b, a, atol=0.05 * float(a.abs().max()))
