"""What runs the network does not change what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_cln.imaging.phantom import simulate
from napari_cln.network.device import Device, choose_device
from napari_cln.network.engine import OpenVino, PyTorch, choose_engine
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.weights import load_model

CPU = Device(name="cpu", reason="asked for")
SMALL = {"width": 0.125, "decoder_width": 8}


def test_pytorch_gives_what_the_network_gives():
    network = YNet(YNetConfig(**SMALL)).eval()
    images = torch.rand(3, 1, 256, 256)

    with torch.inference_mode():
        features, logits = PyTorch(network, CPU)(images)

        torch.testing.assert_close(logits, network(images).mask_logits)
        torch.testing.assert_close(features.arm, network.encode(images).arm)


def test_a_network_without_a_mask_has_no_mask_logits():
    network = YNet(YNetConfig(**SMALL, segmentation=False, guided=False)).eval()

    assert choose_engine(network, CPU)(torch.zeros(1, 1, 256, 256))[1] is None


def test_the_device_names_its_engine():
    device = choose_device("cpu")

    assert device.engine in device.reason


class TestOpenVino:
    """Only where the extra ``fast`` is installed."""

    @pytest.fixture(autouse=True)
    def installed(self):
        pytest.importorskip("openvino", exc_type=ImportError)

    def test_it_says_what_pytorch_says(self):
        frames = [simulate(seed).frame for seed in range(20)]
        network = load_model("default")
        exact, fast = Segmenter(network, "cpu"), Segmenter(network, "cpu")
        exact._engine, fast._engine = PyTorch(network, CPU), OpenVino(network)

        pairs = list(zip(exact.predict(frames), fast.predict(frames), strict=True))

        differ = sum(int((a.mask != b.mask).sum()) for a, b in pairs)
        assert differ <= 0.001 * sum(int(a.mask.sum()) for a, _ in pairs)
        assert np.abs([a.malignancy - b.malignancy for a, b in pairs]).max() <= 0.005

    def test_a_network_without_a_mask_runs(self):
        network = YNet(YNetConfig(**SMALL, segmentation=False, guided=False)).eval()
        images = torch.rand(2, 1, 256, 256)

        features, logits = OpenVino(network)(images)

        assert logits is None
        with torch.inference_mode():
            torch.testing.assert_close(features.arm, network.encode(images).arm, atol=0.05, rtol=0.1)
