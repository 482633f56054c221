"""Fixtures that every test may use: real frames, a real small network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# no test asserts a time: a busy machine is no fault
settings.register_profile("napari-cln", deadline=None)
settings.load_profile("napari-cln")

HERE = Path(__file__).parent


@pytest.fixture(autouse=True, scope="session")
def own_config_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests' salt and settings out of the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("config")
        # a salt of every day, so that patients fall on the same sides of a split in every run
        (folder / "patient-salt").write_bytes(b"0" * 64)
        patch.setenv("NAPARI_CLN_CONFIG", str(folder))
        yield


@pytest.fixture(autouse=True, scope="session")
def engine() -> Iterator[None]:
    """PyTorch, but where a test asks for OpenVINO: to compile each network would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_CLN_ENGINE", "pytorch")
        yield


@pytest.fixture(scope="session")
def data() -> Path:
    """Small real frames that ship with the tests, each folder with its licence."""
    return HERE / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real ultrasound that may not enter the project; tests that need it skip without it."""
    path = HERE.parent.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the real ultrasound in ../shared/data is not here")
    return path


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a real, small, untrained network named ``small``, for ``NAPARI_CLN_MODELS``."""
    import torch

    from napari_cln.models.card import ModelCard, TrainingData
    from napari_cln.network.model import YNet, YNetConfig
    from napari_cln.network.weights import save_model

    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(3)
    network = YNet(YNetConfig(width=0.125, decoder_width=8))
    source = TrainingData(name="nothing", n=0, licence="BSD-3-Clause", citation="")
    save_model(
        network, folder / "small.safetensors", ModelCard(name="small", cutoff=0.41, trained_on=(source,))
    )
    return folder
