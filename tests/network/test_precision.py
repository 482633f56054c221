"""A network at work in bfloat16 against the same network in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_cln.imaging.phantom import simulate
from napari_cln.network import inference
from napari_cln.network.device import Device
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.precision import LOWERED, lowered
from napari_cln.network.weights import load_model


@pytest.fixture(scope="module")
def default() -> YNet:
    return load_model("default")


def segmenter(network: YNet, monkeypatch: pytest.MonkeyPatch, *, mixed: bool) -> Segmenter:
    device = Device(name="cpu", reason="a test", mixed_precision=mixed)
    monkeypatch.setattr(inference, "choose_device", lambda _: device)
    return Segmenter(network)


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


def test_the_network_that_was_given_stays_in_float32(default):
    before = {name: value.clone() for name, value in default.state_dict().items()}
    twice = lowered(lowered(default))

    assert {value.dtype for value in twice.state_dict().values()} >= {torch.bfloat16, torch.float32}
    after = default.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(hasattr(default, name) for name in LOWERED)


@pytest.mark.parametrize(
    "config", [YNetConfig.paper(segmentation=False), YNetConfig(width=0.25, block="rcb")]
)
def test_every_kind_of_network_works_in_bfloat16(config):
    torch.manual_seed(0)
    network = YNet(config).eval()
    x = torch.rand(2, 1, 256, 256)
    with torch.inference_mode():
        exact, mixed = network(x), lowered(network)(x)

    for a, b in zip(exact, mixed, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert b.dtype == torch.float32
            np.testing.assert_allclose(b, a, atol=0.05)
