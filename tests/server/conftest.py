"""A study that the command serves to a client like Slicer's."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Slicer, judged_by_nobody, start

from napari_cln.folder.dataset import TrainingFolder


@pytest.fixture(scope="module")
def served(
    data: Path, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TrainingFolder, Slicer]]:
    """The folder, and a client of the command that serves it."""
    study = judged_by_nobody(tmp_path_factory.mktemp("served") / "study", data)
    process, url = start(study.path, models)
    yield study, Slicer(url)
    process.send_signal(signal.SIGINT)
    process.stdout.close()
    assert process.wait(20) == 0


@pytest.fixture
def study(served: tuple[TrainingFolder, Slicer]) -> TrainingFolder:
    return served[0]


@pytest.fixture
def slicer(served: tuple[TrainingFolder, Slicer]) -> Slicer:
    return served[1]
