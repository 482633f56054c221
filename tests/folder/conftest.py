"""Twelve real frames with outlines, a fresh training folder, and a salt that is not the user's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_cln.folder.dataset import TrainingFolder
from napari_cln.types import Annotation, Frame, Node


@pytest.fixture(autouse=True)
def config(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("NAPARI_CLN_CONFIG", str(path))
    return path


@pytest.fixture(scope="session")
def necks(data: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Frames uint8 (224, 224) with outlines bool (224, 224), empty for the last two."""
    frames = []
    for path in sorted((data / "folder" / "images").glob("*.png")):
        outline = data / "folder" / "masks" / path.name
        mask = np.array(Image.open(outline)) > 0 if outline.exists() else np.zeros((224, 224), bool)
        frames.append((np.array(Image.open(path)), mask))
    return frames


@pytest.fixture
def annotate(necks) -> Callable[..., Annotation]:
    """Annotation of the n-th frame; the whole frame is its scan area."""

    def annotate(n: int = 0, truth: str = "benign", *, mask=None, **changes) -> Annotation:
        pixels, outline = necks[n]
        frame = changes.pop("frame", None) or Frame(pixels=pixels, scan_area=(0, 0, 224, 224))
        instances = (outline if mask is None else mask).astype(np.uint8)
        nodes = (Node(id=1, truth=truth, truth_source="fna"),) if instances.any() else ()
        status = "corrected" if instances.any() else "no-node"
        fields = {"instances": instances, "nodes": nodes, "status": status, "annotator": "r1"}
        return Annotation(frame=frame, **(fields | changes))

    return annotate


@pytest.fixture
def folder(tmp_path: Path) -> TrainingFolder:
    return TrainingFolder.create(tmp_path / "study")


@pytest.fixture
def study(folder: TrainingFolder, annotate) -> TrainingFolder:
    """Ten frames of five patients, both classes in each, and two frames without a node."""
    for n in range(12):
        folder.save(annotate(n, "metastatic" if n % 2 else "benign"), patient=f"P{n // 2}", who="r1")
    return folder
