"""The work list of a training folder, and its filter."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cln.annotation import Annotation, Node
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.worklist import WorkFilter, patient_of, read_worklist
from napari_cln.types import Frame

STATES = {"predicted": "", "accepted": "r1", "rejected": "r2"}


@pytest.fixture
def folder(tmp_path) -> TrainingFolder:
    """A frame of each kind, and a second predicted one without a mask; patients by the frame's number."""
    folder = TrainingFolder.create(tmp_path / "study")
    rng = np.random.default_rng(4)
    for number, (status, who) in enumerate([*STATES.items(), ("predicted", "")]):
        instances = np.zeros((40, 50), np.uint8)
        instances[10:20, 10:30] = number < len(STATES)
        level = "IV" if status == "accepted" else None
        nodes = (Node(id=1, status=status, truth="metastatic", level=level),) if instances.any() else ()
        frame = Frame(pixels=rng.integers(0, 255, (40, 50), np.uint8), scan_area=(0, 0, 40, 50))
        annotation = Annotation(frame=frame, instances=instances, nodes=nodes, status=status, note="hilum?")
        folder.save(annotation, who=who or "model", patient=f"Patient {number}")
    return folder


@pytest.mark.parametrize(
    ("chosen", "n"),
    [
        (WorkFilter(), 4),
        (WorkFilter(state="undecided"), 2),
        (WorkFilter(state="predicted"), 1),
        (WorkFilter(state="rejected"), 1),
        (WorkFilter(state="no-node"), 0),
        (WorkFilter(reader="r1"), 1),
        (WorkFilter(reader="r1", state="rejected"), 0),
        (WorkFilter(text="IV metastatic"), 1),
        (WorkFilter(text="hilum"), 4),
        (WorkFilter(text="nothing of it"), 0),
    ],
)
def test_a_filter_takes_the_frames_it_names(folder, chosen, n):
    assert sum(chosen.takes(item) for item in read_worklist(folder)) == n


def test_a_patient_is_found_as_it_was_typed(folder):
    chosen = WorkFilter(text="Patient 1", patient=patient_of(folder, "Patient 1"))

    (found,) = (item for item in read_worklist(folder) if chosen.takes(item))
    assert (found.status, found.reader) == ("accepted", "r1")
    assert "Patient" not in f"{found}"


def test_a_damaged_record_is_listed_as_undecided(folder):
    place = folder.layout.record(folder.ids()[0])
    whole = place.read_bytes()
    place.write_bytes(b"{")
    try:
        assert read_worklist(folder)[0].words == "damaged"
    finally:
        place.write_bytes(whole)
