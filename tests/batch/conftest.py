"""Small real networks and a small study, for every test of a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from napari_cln import simulate
from napari_cln.io.sources import as_frame
from napari_cln.models.card import ModelCard
from napari_cln.network.inference import Segmenter
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.weights import save_model

SMALL = {"width": 0.05, "decoder_width": 4, "block": "rcb", "bins": (3,)}


@pytest.fixture(scope="session")
def networks(tmp_path_factory, frames) -> dict[str, str]:
    """Small real networks on disk, untrained: two joint ones, and one that only classifies."""
    folder = tmp_path_factory.mktemp("models")
    configs = {
        "first": YNetConfig(**SMALL),
        "second": YNetConfig(**SMALL),
        "scores": YNetConfig(**SMALL, segmentation=False, guided=False),
    }
    for seed, (name, config) in enumerate(configs.items()):
        torch.manual_seed(seed)
        network, threshold = YNet(config).eval(), None
        if config.segmentation:  # so that the untrained network finds something
            (prediction,) = Segmenter(network, "cpu").predict([as_frame(frames[0])])
            threshold = float(np.quantile(prediction.probability, 0.9))
        save_model(network, folder / f"{name}.safetensors", ModelCard(name=name, mask_threshold=threshold))
    return {name: str(folder / f"{name}.safetensors") for name in configs}


@pytest.fixture(scope="session")
def frames() -> list[np.ndarray]:
    return [simulate(seed).frame.pixels[::3, ::3] for seed in range(4)]


@pytest.fixture
def study(tmp_path, frames) -> Path:
    """Four frames, two of them of the same name, and a file that is no picture."""
    for name, pixels in zip(("a.png", "b.png", "left/x.png", "right/x.png"), frames, strict=True):
        path = tmp_path / "study" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    (tmp_path / "study" / "notes.txt").write_text("not a picture")
    return tmp_path / "study"
