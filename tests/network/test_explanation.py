"""The map says exactly what each place adds to the score, and lies on the frame's own pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit

import napari_cln
from napari_cln.imaging.preprocessing import find_scan_area
from napari_cln.io.sources import read_frame
from napari_cln.models.card import ModelCard
from napari_cln.network.explanation import contributions, explain
from napari_cln.network.model import Member, YNet, YNetConfig
from napari_cln.network.u_shaped import network_of
from napari_cln.types import Frame

SMALL = {"width": 0.125, "decoder_width": 8, "size": 64}
CONFIGS = {
    "guided": YNetConfig(**SMALL),
    "unguided": YNetConfig(**SMALL, guided=False),
    "classification-only": YNetConfig(**SMALL, segmentation=False, guided=False),
    "u-shaped": YNetConfig(trunk="u", width=0.125, size=64),
}


@pytest.fixture(scope="module")
def networks() -> dict[str, Member]:
    torch.manual_seed(1)
    return {name: network_of(config).eval() for name, config in CONFIGS.items()}


@pytest.fixture(scope="module")
def frame() -> Frame:
    return read_frame(Path(napari_cln.__file__).parent / "samples" / "usgra-vessels.png")


@settings(max_examples=25)
@given(
    name=st.sampled_from(sorted(CONFIGS)),
    corners=st.lists(st.integers(0, 64), min_size=4, max_size=4),
    seed=st.integers(0, 2**31),
)
def test_the_cells_sum_to_the_logit_without_its_bias(networks, name, corners, seed):
    network = networks[name]
    torch.manual_seed(seed)
    (row0, row1), (column0, column1) = sorted(corners[:2]), sorted(corners[2:])
    guide = torch.zeros(2, 1, 64, 64)
    guide[0, :, row0:row1, column0:column1] = 1
    with torch.no_grad():
        features = network.encode(torch.rand(2, 1, 64, 64))
        logits = network.classify(features, guide)
        cells, bias = contributions(network, features, guide)

    assert cells.shape == (2, 8, 8)
    torch.testing.assert_close(cells.sum((1, 2)) + bias, logits[:, 1] - logits[:, 0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("threshold", [0.0, 0.999])
def test_an_explanation_is_of_the_score_that_segment_gives(frame, threshold):
    torch.manual_seed(0)
    network = YNet(YNetConfig(width=0.125, decoder_width=8)).eval()
    network.card = ModelCard(name="small", mask_threshold=threshold, temperature=1.7)

    explanation = explain(frame, network, "cpu")

    malignancy = napari_cln.segment(frame, network, "cpu").malignancy
    assert explanation.prediction.malignancy == pytest.approx(malignancy, abs=1e-6)
    assert explanation.logit == pytest.approx(logit(malignancy), abs=1e-4)
    assert explanation.cells.sum() + explanation.bias == pytest.approx(explanation.logit, abs=1e-6)
    assert explanation.node == (1 if threshold == 0 else None)


@pytest.mark.slow
def test_the_map_lies_on_the_frames_own_pixels(frame):
    torch.manual_seed(0)
    network = YNet(YNetConfig(width=0.125, decoder_width=8)).eval()

    explanation = explain(frame, network, "cpu")

    row0, column0, row1, column1 = find_scan_area(frame)
    inside = np.zeros(frame.shape, bool)
    inside[row0:row1, column0:column1] = True
    assert explanation.map.shape == frame.shape
    assert explanation.map.dtype == np.float32
    assert not explanation.map[~inside].any()
    assert np.abs(explanation.map).max() <= np.abs(explanation.cells).max() * (1 + 1e-6)
    # a cell of the map weighs what the cell of the grid does: what lies in the black margins is left out
    side = max(row1 - row0, column1 - column0) / 32
    shown = explanation.map.sum(dtype=float) / side**2
    margins = np.abs(explanation.cells).sum() * (1 - min(row1 - row0, column1 - column0) / (32 * side)) + 0.02
    assert abs(shown - explanation.cells.sum()) <= margins
