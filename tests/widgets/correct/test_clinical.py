"""The clinical record in the Correct dock: what an import kept, in a line that nobody types in."""

from __future__ import annotations

import numpy as np

from napari_cln.annotation import Annotation
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.record import Provenance
from napari_cln.types import Frame
from napari_cln.widgets.correct.view import _clinical


def test_what_is_known_of_the_patient_is_one_line(tmp_path):
    study = TrainingFolder.create(tmp_path / "study")
    frame = Frame(pixels=np.full((40, 50), 90, np.uint8), scan_area=(0, 0, 40, 50))
    marked = Annotation(frame=frame, instances=np.zeros((40, 50), np.uint8), status="no-node")
    case = study.keep(marked, Provenance(kind="simulated", clinical={"age": 48.0, "sex": "f"}))

    assert _clinical(study, case.id, case.revision) == "age 48 · sex f"
    assert _clinical(study, None, 0) == _clinical(None, case.id, 1) == ""
