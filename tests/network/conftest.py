"""A small real network, so that tests of files and batches are quick."""

from __future__ import annotations

import pytest
import torch

from napari_cln.models.card import ModelCard
from napari_cln.network.model import YNet, YNetConfig


@pytest.fixture
def small() -> YNet:
    """An untrained network of an eighth of the width; its weights are the same in each test."""
    torch.manual_seed(0)
    return YNet(YNetConfig(width=0.125, decoder_width=8)).eval()


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(name="small", created="2026-11-22")
