"""Channels beside the grey image: one that is missing changes nothing, to the last bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_cln.errors import WeightsError
from napari_cln.models.card import ModelCard
from napari_cln.network.engines.pytorch import at_work
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import YNetConfig
from napari_cln.network.u_shaped import network_of
from napari_cln.network.weights import load_model, save_model
from napari_cln.types import Frame, PrepareConfig

SMALL = {
    "pyramid": YNetConfig(width=0.125, decoder_width=8, size=64),
    "u": YNetConfig(trunk="u", width=0.125, size=64),
}


def pair(trunk):
    """A network of grey frames, and the same with planes whose weights are anything."""
    torch.manual_seed(1)
    grey = network_of(SMALL[trunk]).eval()
    wide = network_of(replace(SMALL[trunk], planes=4)).eval()
    wide.load_state_dict(grey.state_dict(), strict=False)
    for name, weights in wide.named_parameters():
        if name.endswith("beside"):
            assert not weights.any(), "they start at 0"
            torch.nn.init.normal_(weights)
    return grey, wide


@pytest.mark.parametrize("trunk", SMALL)
@torch.no_grad()
def test_a_missing_channel_changes_nothing_to_the_last_bit(trunk):
    grey, wide = pair(trunk)
    frames = torch.rand(3, 1, 64, 64)
    unmeasured = torch.cat([frames, torch.zeros(3, 4, 64, 64)], 1)

    for ours, theirs in zip(wide(unmeasured), grey(frames), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("trunk", SMALL)
@torch.no_grad()
def test_a_copy_for_prediction_reads_the_planes_too(trunk):
    _, wide = pair(trunk)
    frames = torch.rand(2, 5, 64, 64)

    for ours, theirs in zip(at_work(wide, mixed_precision=False)(frames), wide(frames), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_a_model_with_channels_is_saved_loaded_and_asked(tmp_path):
    channels = ("flow", "stiffness")
    torch.manual_seed(0)
    network = network_of(YNetConfig(width=0.125, decoder_width=8, planes=4)).eval()
    torch.nn.init.normal_(network.stem[0].beside)
    card = ModelCard(name="wide", prepare=PrepareConfig(channels=channels))
    save_model(network, tmp_path / "wide.safetensors", card)

    model = load_model(tmp_path / "wide.safetensors")
    segmenter = Segmenter(model, "cpu", batch_size=1)
    grey = np.random.default_rng(0).integers(0, 200, (120, 160)).astype(np.uint8)
    plain = Frame(pixels=grey, scan_area=(0, 0, 120, 160))
    measured = replace(plain, channels={"flow": np.full(grey.shape, 200, np.uint8)})
    one, other = segmenter.predict([plain, measured])

    assert model.card.prepare.channels == channels
    assert one.malignancy != other.malignancy


def test_a_card_whose_planes_and_channels_disagree_is_refused(tmp_path):
    network = network_of(YNetConfig(width=0.125, decoder_width=8, planes=2))

    with pytest.raises(WeightsError, match=r"two for each of prepare\.channels"):
        save_model(network, tmp_path / "odd.safetensors", ModelCard(name="odd"))
