"""Twelve real frames with outlines, a fresh training folder, and a salt that is not the user's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_cln.annotation import Annotation, Node
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.screens import confirm_screens, unseen_screens
from napari_cln.types import Box, Frame, Region


@pytest.fixture(scope="session")
def salted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config")


@pytest.fixture(autouse=True)
def config(salted: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration folder of these tests, with their salt."""
    monkeypatch.setenv("NAPARI_CLN_CONFIG", str(salted))
    return salted


@pytest.fixture(scope="session")
def necks(data: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Frames uint8 (224, 224) with outlines bool (224, 224), empty for the last two."""
    frames = []
    for path in sorted((data / "folder" / "images").glob("*.png")):
        outline = data / "folder" / "masks" / path.name
        mask = np.array(Image.open(outline)) > 0 if outline.exists() else np.zeros((224, 224), bool)
        frames.append((np.array(Image.open(path)), mask))
    return frames


def annotation(necks, n: int = 0, truth: str = "benign", *, mask=None, **changes) -> Annotation:
    """Annotation of the n-th frame; the whole frame is its scan area."""
    pixels, outline = necks[n]
    frame = changes.pop("frame", None) or Frame(pixels=pixels, scan_area=(0, 0, 224, 224))
    instances = (outline if mask is None else mask).astype(np.uint8)
    nodes = (Node(id=1, truth=truth, truth_source="fna"),) if instances.any() else ()
    status = "corrected" if instances.any() else "no-node"
    fields = {"instances": instances, "nodes": nodes, "status": status, "annotator": "r1"}
    return Annotation(frame=frame, **(fields | changes))


@pytest.fixture
def annotate(necks) -> Callable[..., Annotation]:
    return partial(annotation, necks)


@pytest.fixture
def zoomed(necks) -> Callable[..., Annotation]:
    """Annotates a screen that is stored without its margin, and whose lower left quarter shows it twice as
    large: node 1 lies around it, node 2 in it, and both have the same pixels."""
    pixels = necks[0][0]
    regions = (
        Region(box=(0, 0, 224, 224), spacing_mm=(0.2, 0.2)),
        Region(box=(112, 0, 224, 112), spacing_mm=(0.1, 0.1)),
    )
    whole = Frame(pixels=pixels, regions=regions, spacing_source="dicom-region", scan_area=(20, 10, 214, 220))

    def annotate(*ids: int, frame: Frame = whole, box: Box = (0, 0, 224, 224)) -> Annotation:
        mask = np.zeros(pixels.shape, np.uint8)
        for node in ids:
            row, column = ((30, 120), (140, 20))[node - 1]
            mask[row : row + 40, column : column + 60] = node
        cut = np.ascontiguousarray(mask[box[0] : box[2], box[1] : box[3]])
        return annotation(necks, frame=frame, mask=cut, nodes=tuple(Node(id=node) for node in ids))

    return annotate


@pytest.fixture
def folder(tmp_path: Path) -> TrainingFolder:
    return TrainingFolder.create(tmp_path / "study")


@pytest.fixture(scope="session")
def finished_study(necks, salted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("NAPARI_CLN_CONFIG", str(salted))
        study = TrainingFolder.create(tmp_path_factory.mktemp("studies") / "study")
        for n in range(12):
            study.save(
                annotation(necks, n, "metastatic" if n % 2 else "benign"), patient=f"P{n // 2}", who="r1"
            )
        confirm_screens(study, unseen_screens(study), "r1")
    return study.path


@pytest.fixture
def study(finished_study: Path, tmp_path: Path) -> TrainingFolder:
    """Ten frames of five patients, both classes in each, and two frames without a node."""
    return TrainingFolder.open(shutil.copytree(finished_study, tmp_path / "study"))
