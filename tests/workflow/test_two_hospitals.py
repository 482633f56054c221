"""Two hospitals with different machines: folds, subgroups and the way from one to the other."""

import csv
import shutil
from pathlib import Path

import pytest
from PIL import Image

import napari_cln
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.formats.exchange import import_study
from napari_cln.folder.split.deal import hospital_folds
from napari_cln.phantom import simulate
from napari_cln.study.config import EvaluationSettings
from napari_cln.training.config import TrainConfig
from napari_cln.training.run_folder import RunFolder, TrainingRecord
from napari_cln.workflow.evaluate import evaluate_folder

pytestmark = pytest.mark.slow  # its frames take seconds to make

MACHINES = {"A": "ge-like", "B": "philips-like"}
MODELS = Path(napari_cln.__file__).parent / "models"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("hospitals")
    (root / "in").mkdir()
    with (root / "in" / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["image", "patient", "label", "hospital", "scanner"])
        for hospital, machine in MACHINES.items():
            for k in range(6):
                phantom = simulate(40 + k, machine=machine, n_nodes=1, overlays=False)
                name = f"{hospital}{k}.png"
                Image.fromarray(phantom.frame.pixels).save(root / "in" / name)
                Image.fromarray(phantom.instances * 255).save(root / "in" / f"{hospital}{k}_mask.png")
                table.writerow(
                    [name, f"{hospital}{k}", phantom.nodes[0].truth, hospital, machine.split("-")[0]]
                )
    for step in import_study(root / "in", root / "folder"):
        assert not step.problem
    return TrainingFolder.open(root / "folder")


def test_no_case_of_b_is_in_the_training_of_the_fold_that_tests_b(study):
    where = {case.id: case.hospital for case in study.cases()}

    of_a, of_b = hospital_folds(study.cases())

    assert {where[i] for i in of_a.validation} == {where[i] for i in of_b.train} == {"A"}
    assert {where[i] for i in of_b.validation} == {where[i] for i in of_a.train} == {"B"}


def test_the_report_has_a_row_for_each_hospital_and_the_line_from_a_to_b(study, tmp_path):
    run = RunFolder(tmp_path / "run")
    folds = tuple(hospital_folds(study.cases()))
    run.fold(1).mkdir(parents=True)
    run.write_record(TrainingRecord(config=TrainConfig(hold_out="hospital"), folds=folds))
    for ending in ("safetensors", "json"):  # stands for the network of the fold that left B out
        shutil.copy(MODELS / f"default.{ending}", run.fold(1) / f"model.{ending}")
    settings = EvaluationSettings(model=str(run.fold(1) / "model.safetensors"), split="all", resamples=200)

    *_, last = evaluate_folder(study, tmp_path / "report", settings)

    assert [t.name for t in last.evaluation.transfers] == ["A → A", "A → B"]
    assert [g.value for g in last.evaluation.subgroups if g.variable == "hospital"] == ["A", "B"]
    page = last.report.read_text(encoding="utf-8")
    assert "A → B" in page and "hospital: B" in page
