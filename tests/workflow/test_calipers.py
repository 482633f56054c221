"""An archive of measured frames becomes outlines that wait for a reader."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_cln.annotation import Annotation
from napari_cln.cli import main
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import import_study
from napari_cln.folder.record import FROM_CALIPERS, Provenance
from napari_cln.phantom import Screen, draw_calipers
from napari_cln.types import Frame
from napari_cln.workflow.pseudo import outline_calipers

TISSUE = [
    np.asarray(Image.open(path).convert("L"))
    for path in sorted((Path(__file__).parents[1] / "data" / "usgra").glob("*.png"))
]
LONG, SHORT = ((240.0, 180.0), (244.0, 330.0)), ((200.0, 250.0), (280.0, 254.0))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Screens with a node measured by four ends, with crosses that nothing joins, and with none."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for name, ends, dotted in (
        ("measured", [LONG, SHORT], True),
        ("unclear", [((100, 100), (105, 200)), ((300, 250), (290, 380))], False),
        ("bare", [], True),
    ):
        screen = Screen(np.roll(TISSUE[0], len(name), axis=1))
        draw_calipers(screen, ends, (250, 230, 40), dotted=dotted)
        Image.fromarray(screen.pixels).save(folder / f"{name}.png")
    return folder


def statuses(study: TrainingFolder) -> list[str]:
    return sorted(node.status for case in study.cases() for node in case.nodes)


def test_what_was_measured_is_outlined_as_a_prediction_from_calipers(archive, tmp_path):
    work = import_study(archive, tmp_path / "study", suggest=outline_calipers)
    steps = {step.name: step.case for step in work}
    study = work.study
    case = steps["measured.png"]

    assert statuses(study) == ["predicted"]
    assert case.status == "predicted"
    assert case.mask is None  # nothing is a label that nobody accepted
    mask = study.read_instances(case) > 0
    assert np.count_nonzero(mask) == pytest.approx(np.pi / 4 * 150 * 80, rel=0.3)
    (line,) = study.record(case.id).history
    assert (line.action, line.status, line.who) == (FROM_CALIPERS, "predicted", "import")
    assert line.model.startswith("calipers@")


def test_what_can_be_read_in_two_ways_is_told_and_not_outlined(archive, tmp_path):
    work = import_study(archive, tmp_path / "study", suggest=outline_calipers)
    steps = {step.name: step for step in work}

    assert not steps["unclear.png"].case.nodes
    assert "can't be told apart" in str(steps["unclear.png"].note)
    assert steps["bare.png"].note is None
    said = "\n".join(work.report.lines())
    assert "1 frame (unclear.png)" in said
    assert "1 frame (measured.png)" in said


@pytest.mark.slow
def test_a_second_import_keeps_what_a_reader_made_of_it(archive, tmp_path):
    first = import_study(archive, tmp_path / "study", suggest=outline_calipers)
    case = {step.name: step.case for step in first}["measured.png"]
    study = first.study
    frame = Frame(pixels=study.read_image(case), source=case.image)
    instances = np.zeros(frame.shape, np.uint8)
    instances[200:220, 200:240] = 1
    nodes = (replace(case.nodes[0], status="accepted"),)
    reading = Annotation(frame=frame, instances=instances, nodes=nodes, status="accepted", annotator="RS")
    study.keep(reading, Provenance(who="RS"))

    again = import_study(archive, tmp_path / "study", suggest=outline_calipers)
    problems = [step.problem for step in again]

    kept = study.case(case.id)
    assert kept.status == "accepted"
    assert np.array_equal(study.read_instances(kept), instances)
    assert len(study.record(case.id).history) == 2
    assert problems == [None] * 3


def test_a_second_import_without_the_option_keeps_the_predictions(archive, tmp_path):
    list(import_study(archive, tmp_path / "study", suggest=outline_calipers))

    list(again := import_study(archive, tmp_path / "study"))

    assert statuses(again.study) == ["predicted"]


@pytest.mark.parametrize("segmentation", [[], [[900, 900, 910, 900, 910, 910]]])
def test_nothing_is_suggested_on_a_frame_whose_outlines_can_not_be_taken(archive, tmp_path, segmentation):
    outline = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [200, 180, 80, 150]}
    content = {
        "images": [{"id": 1, "file_name": "measured.png"}, {"id": 2, "file_name": "bare.png"}],
        "annotations": [outline | {"segmentation": segmentation}],
        "categories": [{"id": 1, "name": "node"}],
    }
    (archive / "coco.json").write_text(json.dumps(content))

    work = import_study(archive, tmp_path / "study", suggest=outline_calipers)
    steps = {step.name: step for step in work}

    assert not steps["measured.png"].case.nodes
    assert "outline" in steps["measured.png"].note


def test_nothing_is_suggested_on_a_frame_whose_mask_was_imported(archive, tmp_path):
    mask = np.zeros(np.asarray(Image.open(archive / "measured.png")).shape[:2], np.uint8)
    mask[200:240, 220:280] = 255
    Image.fromarray(mask).save(archive / "measured_mask.png")
    list(import_study(archive, tmp_path / "study", mask_values={"255": "node"}))
    (archive / "measured_mask.png").unlink()

    again = import_study(archive, tmp_path / "study", suggest=outline_calipers)
    case = {step.name: step.case for step in again}["measured.png"]

    assert statuses(again.study) == ["accepted"]
    assert np.count_nonzero(again.study.read_instances(case)) == 40 * 60


def test_the_command_outlines_an_archive(archive, tmp_path, capsys):
    assert main(["import", str(archive), "--out", str(tmp_path / "study"), "--calipers"]) == 0

    assert "outlined from calipers" in capsys.readouterr().out
    assert statuses(TrainingFolder.open(tmp_path / "study")) == ["predicted"]


def test_without_the_option_nothing_is_outlined(archive, tmp_path):
    assert main(["import", str(archive), "--out", str(tmp_path / "study")]) == 0

    assert not statuses(TrainingFolder.open(tmp_path / "study"))
