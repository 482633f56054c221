"""A real window under test; run with a display, or under xvfb-run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import QCoreApplication, QEvent, QObject

from napari_cln._layers import source_to_layer
from napari_cln.io.sources import open_source
from napari_cln.widgets.common import failures
from napari_cln.widgets.common.worker import Work


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        for item in items:
            if here in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="there is no display: run under xvfb-run"))


@pytest.fixture(autouse=True)
def nothing_unexpected(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail where a dock told of an error that nobody expected, but where the test is about such a one."""
    yield
    if request.node.get_closest_marker("unexpected") is None:
        logged = [record for record in caplog.get_records("call") if record.name == failures.__name__]
        assert not [record.getMessage() for record in logged]


@pytest.fixture
def config(tmp_path, monkeypatch) -> None:
    """The user's settings, with a salt of their own."""
    monkeypatch.setenv("NAPARI_CLN_CONFIG", str(tmp_path / "config"))


@pytest.fixture
def viewer(make_napari_viewer):
    """A viewer in a window that is not shown."""
    return make_napari_viewer()


@pytest.fixture
def open_image() -> Callable[..., Image]:
    """Put a file on a viewer as an Image alone, without a prediction."""

    def open_image(viewer, path: Path) -> Image:
        data, options, _ = source_to_layer(open_source(path))
        return viewer.add_layer(Image(data, **options))

    return open_image


@pytest.fixture
def open_cine() -> Callable[..., Image]:
    """Put a short cine on a viewer that no file stands behind."""

    def open_cine(viewer, n_frames: int = 6) -> Image:
        noise = np.random.default_rng(5).integers(0, 255, (n_frames, 160, 180), np.uint8)
        return viewer.add_image(noise, name="cine")

    return open_cine


@pytest.fixture
def small_model(models, monkeypatch) -> str:
    """Name of a small, untrained network among the known models."""
    monkeypatch.setenv("NAPARI_CLN_MODELS", str(models))
    return "small"


@pytest.fixture
def keep(qtbot) -> Iterator[Callable[[QObject], QObject]]:
    """Hold a session that has no window, until the work that it started has ended.

    It has no parent: whichever thread collects garbage would delete it, also the one that works for it.
    """
    held: list[QObject] = []

    def keep(session: QObject) -> QObject:
        held.append(session)
        return session

    yield keep
    for session in held:
        qtbot.waitUntil(lambda session=session: not session.findChildren(Work), timeout=60_000)
        session.deleteLater()
        QCoreApplication.sendPostedEvents(session, QEvent.Type.DeferredDelete)
