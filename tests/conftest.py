"""Fixtures that every test may use: real frames, a real small network."""

from __future__ import annotations

import gc
import inspect
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import numpy as np
import pytest
import tifffile
from hypothesis import settings
from PIL import Image

# The networks under test are small: threads would wait for each other longer than they work.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# no test asserts a time: a busy machine is no fault
settings.register_profile("full", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=10)
settings.load_profile("full")

HERE = Path(__file__).parent
WINDOW = {"make_napari_viewer", "qtbot", "qapp"}
"""Fixtures that open a window."""
PROCESSES = {"subprocess", "multiprocessing", "distributed", "signal"}
"""Modules by which a test starts a process, or kills one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by what it needs: a window, processes, a training; one that needs none is a unit."""
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        room = item.path.relative_to(HERE).parts[0]
        needed = {
            "window": room == "widgets" or not WINDOW.isdisjoint(item.fixturenames),
            "process": starts_processes(item),
            "train": room == "training",
        }
        marks = [mark for mark, is_needed in needed.items() if is_needed]
        if not marks and not item.get_closest_marker("slow"):
            marks = ["unit"]
        for mark in marks:
            item.add_marker(mark)


def pytest_collection_finish() -> None:
    """Leave what was imported out of the garbage collections, of which napari asks one after each window."""
    gc.freeze()


def starts_processes(item: pytest.Function) -> bool:
    """Return whether a test, its fixtures or a helper that they call uses a module of ``PROCESSES``."""
    fixtures = item._fixtureinfo.name2fixturedefs.values()
    waiting = [item.function, *(fixture.func for of_name in fixtures for fixture in of_name)]
    seen = set()
    while waiting:
        function = inspect.unwrap(waiting.pop())
        if not isinstance(function, FunctionType) or function in seen:
            continue
        seen.add(function)
        if not function.__code__.co_filename.startswith(str(HERE)):
            continue
        for name in names_in(function.__code__) & function.__globals__.keys():
            used = function.__globals__[name]
            module = used.__name__ if isinstance(used, ModuleType) else getattr(used, "__module__", None)
            if isinstance(module, str) and module.partition(".")[0] in PROCESSES:
                return True
            waiting += vars(used).values() if isinstance(used, type) else [used]
    return False


def names_in(code: CodeType) -> set[str]:
    """Return every name that a function uses, those of the functions in it included."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*(names_in(each) for each in inner))


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


@pytest.fixture(autouse=True, scope="session")
def unread() -> Iterator[None]:
    """Leave pictures unread, but where a test asks for it: each would take longer than the rest of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_CLN_TEXT", "off")
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


@pytest.fixture
def torn_cine(tmp_path: Path) -> Path:
    """A cine of 21 simulated frames, of which the eleventh is damaged."""
    from napari_cln.phantom import simulate

    path, grey = tmp_path / "torn.tif", simulate(1, n_nodes=1, overlays=False).frame.grey
    with tifffile.TiffWriter(path) as cine:
        for number in range(21):
            shown = np.minimum(grey, 200) + np.uint8(number)
            cine.write(shown, photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(path) as cine:
        start = cine.pages[10].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[start : start + 200] = bytes(200)
    path.write_bytes(content)
    return path


@pytest.fixture
def growth_by_frame(tmp_path: Path) -> Callable[[Callable[[Path], object]], float]:
    """``growth_by_frame(use)``: what each more picture of a folder adds to the memory that its use takes, as
    a share of the picture's size."""
    from napari_cln.phantom import simulate

    pixels = simulate(1001, n_nodes=1, overlays=False).frame.pixels
    peaks = {}

    def grown(use: Callable[[Path], object]) -> float:
        for count in (1, 2, 9):  # the first for what is imported and kept
            folder = tmp_path / f"{count} pictures"
            folder.mkdir()
            for number in range(count):
                Image.fromarray(pixels).save(folder / f"{number}.png", compress_level=1)
            tracemalloc.start()
            use(folder)
            peaks[count] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return (peaks[9] - peaks[2]) / 7 / pixels.nbytes

    return grown
