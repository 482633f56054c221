"""Small real frames and a small real network, so that a whole training takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_cln.annotation import Annotation
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.models.card import ModelCard
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.weights import save_model
from napari_cln.phantom import simulate
from napari_cln.training.data import MAX_NODES, Samples
from napari_cln.training.recipes import Recipe

SIZE = 64


def drawn(count: int, seed: int = 0) -> Samples:
    """Dark ellipses on bright speckle: flat ones benign, round ones malignant, every fifth frame empty."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    images = rng.rayleigh(90, (count, SIZE, SIZE)).clip(0, 255)
    instances = np.zeros((count, SIZE, SIZE), dtype=np.uint8)
    targets = np.full((count, MAX_NODES), np.nan, dtype=np.float32)
    for index in range(count):
        if index % 5 == 4:
            continue
        malignant = index % 2
        row, column = rng.uniform(22, 42, 2)
        across = 9 if malignant else 16
        inside = ((rows - row) / 8) ** 2 + ((columns - column) / across) ** 2 < 1
        images[index][inside] *= 0.3
        instances[index][inside] = 1
        targets[index, 0] = malignant
    return Samples(
        ids=tuple(f"frame-{seed}-{index}" for index in range(count)),
        images=images.astype(np.uint8),
        instances=instances,
        has_mask=np.ones(count, dtype=bool),
        node_targets=targets,
        frame_targets=np.nan_to_num(targets[:, 0]),
    )


@pytest.fixture
def samples() -> Samples:
    return drawn(20)


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(network=YNetConfig(width=0.125, decoder_width=8), batch_size=4, average=0.9)


@pytest.fixture
def draw() -> Callable[..., Samples]:
    """``draw(count, seed)``: other frames of the same kind."""
    return drawn


@pytest.fixture(scope="module")  # a training fixes its split in the folder
def study(tmp_path_factory) -> TrainingFolder:
    """Eight simulated frames of eight patients, four of them with a metastatic node."""
    folder = TrainingFolder.create(tmp_path_factory.mktemp("study") / "study")
    wanted = {"benign": 4, "metastatic": 4}
    seed = 0
    while any(wanted.values()):
        phantom = simulate(seed, n_nodes=1, overlays=False)
        if wanted[phantom.label]:
            wanted[phantom.label] -= 1
            marked = Annotation(frame=phantom.frame, instances=phantom.instances, nodes=phantom.nodes)
            folder.save(marked, patient=f"patient {seed}", source_kind="simulated")
        seed += 1
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """A small untrained network in a file, to start from, so that the run is quick."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "small.safetensors"
    save_model(YNet(YNetConfig(width=0.125, decoder_width=8)), path, ModelCard(name="small"))
    return path
