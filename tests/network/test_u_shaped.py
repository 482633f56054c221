"""The U-shaped Y-Net draws on the frame's grid, scores under each mask, and knows nothing from a node."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_cln.models.card import ModelCard
from napari_cln.network.ensemble import Ensemble
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import YNetConfig
from napari_cln.network.u_shaped import UYNet, network_of
from napari_cln.network.weights import load_model, save_model
from napari_cln.phantom import simulate

SMALL = YNetConfig(trunk="u", width=0.125)


@pytest.fixture
def net() -> UYNet:
    torch.manual_seed(0)
    return UYNet(SMALL).eval()


def test_the_mask_lies_on_the_frames_own_grid_and_the_class_may_be_nothing(net):
    mask_logits, class_logits = net(torch.rand(2, 1, 64, 64))

    assert mask_logits.shape == (2, 2, 64, 64)
    assert class_logits.shape == (2, 3)


def test_four_pixels_of_a_cell_can_be_told_apart(net):
    with torch.no_grad():
        net.draw1.weight.normal_()
        logits = net(torch.rand(1, 1, 64, 64)).mask_logits

    assert logits is not None
    cells = logits.unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2)

    assert (cells.amax(-1) - cells.amin(-1)).median() > 0.01


def test_each_patch_is_scored_under_its_own_mask_in_its_own_frame(net):
    x = torch.rand(2, 1, 64, 64)
    guides = torch.zeros(3, 1, 64, 64)
    guides[0, :, 8:24, 8:24] = guides[1, :, 40:56, 40:56] = guides[2, :, 8:24, 8:24] = 1

    together = net.classify(net.encode(x), guides, torch.tensor([0, 0, 1]))
    alone = net.classify(net.encode(x[1:]), guides[2:])

    torch.testing.assert_close(together[2:], alone)
    assert not torch.allclose(together[0], together[1])
    assert not torch.allclose(together[0], together[2])


def test_it_never_makes_a_tensor_on_the_way(net, monkeypatch):
    x = torch.rand(1, 1, 64, 64)
    for name in ("zeros", "ones", "tensor", "from_numpy", "eye", "arange", "linspace"):
        monkeypatch.setattr(torch, name, None)

    features = net.encode(x)
    assert len(net.masks(features)) == 3


def test_the_shipped_size_is_small_enough_for_the_package():
    state = UYNet().state_dict()

    assert sum(value.numel() * 4 for value in state.values()) < 20e6


@pytest.mark.parametrize(
    "config", [SMALL, replace(SMALL, guided=False), replace(SMALL, segmentation=False, guided=False)]
)
def test_a_file_gives_the_same_network_back(config, tmp_path):
    made = network_of(config).eval()
    save_model(made, tmp_path / "model.safetensors", ModelCard(name="u"))

    loaded = load_model(tmp_path / "model.safetensors")

    assert loaded.config == config
    x = torch.rand(1, 1, 64, 64)
    for before, after in zip(made(x), loaded(x), strict=True):
        assert (before is None and after is None) or torch.equal(before, after)


def test_an_ensemble_of_two_alike_answers_as_one(net):
    x = torch.rand(2, 1, 64, 64)
    one, two = net(x), Ensemble([net, net])(x)

    torch.testing.assert_close(two.mask_logits.softmax(1), one.mask_logits.softmax(1))
    torch.testing.assert_close(two.class_logits.softmax(1), one.class_logits.softmax(1))


@pytest.mark.slow
def test_no_patch_stays_whose_chance_is_under_the_cards(net):
    frame = simulate(3).frame
    with torch.no_grad():
        net.draw1.bias[4:] = net.draw1.bias[:4]  # an untrained network, as unsure of all pixels
        net.draw1.weight.normal_(0, 1)
    net.card = ModelCard(name="u", config=SMALL, min_node_chance=0.0)
    everything = next(Segmenter(net, "cpu").predict([frame]))
    net.card = replace(net.card, min_node_chance=1.0)
    nothing = next(Segmenter(net, "cpu").predict([frame]))

    assert everything.mask.any()
    assert not nothing.mask.any()
    assert nothing.label == "no node found"
    assert nothing.node_scores == ()
    assert np.array_equal(nothing.probability, everything.probability)
