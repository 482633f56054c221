"""Frames of a training folder with their reference masks."""

from __future__ import annotations

import numpy as np

from napari_cln.annotation import Annotation, Node
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.types import Frame
from napari_cln.widgets.common.reference_frames import read_frame_of


def test_the_reference_of_a_frame_is_what_its_readers_accepted_or_drew(tmp_path):
    study = TrainingFolder.create(tmp_path / "study")
    pixels = np.random.default_rng(0).integers(0, 200, (100, 120), dtype=np.uint8)
    instances = np.zeros(pixels.shape, np.uint8)
    for number in (1, 2, 3):
        instances[20:40, 30 * number : 30 * number + 15] = number
    nodes = (Node(id=1, status="predicted"), Node(id=2), Node(id=3, status="rejected"))
    case = study.save(Annotation(frame=Frame(pixels=pixels), instances=instances, nodes=nodes))

    stored = read_frame_of(study.path, case.id)

    assert stored.instances is not None
    assert np.unique(stored.instances).tolist() == [0, 2]
