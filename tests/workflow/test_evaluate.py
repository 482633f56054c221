"""Evaluation of a training folder from Python: the same cases, figures and notes as the command's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from napari_cln import EvaluationSettings, TrainingFolder, evaluate_folder
from napari_cln.cli import main
from napari_cln.errors import DatasetError, ExportError
from napari_cln.folder.split.frozen import frozen_split
from napari_cln.models.card import ModelCard
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.weights import save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    torch.manual_seed(0)
    network = YNet(YNetConfig(width=0.05, decoder_width=4, block="rcb", bins=(3,)))
    save_model(network, path, ModelCard(name="small"))
    return str(path)


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "frames"
    assert main(["phantom", "6", "--out", str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_progress_is_the_iteration_and_its_end_holds_the_figures(frames, model, tmp_path):
    *steps, last = evaluate_folder(
        frames, tmp_path / "report", EvaluationSettings(model=model, resamples=200)
    )

    assert [step.done for step in steps] == [1, 2, 3, 4, 5, 6]
    assert {step.total for step in steps} == {6}
    assert not any(step.evaluation for step in steps)
    assert {row.id for row in last.evaluation.rows} == set(TrainingFolder.open(frames).ids())
    assert last.report == tmp_path / "report" / "report.html"


@pytest.mark.slow
def test_python_and_the_command_report_the_same_cases(frames, model, tmp_path):
    frozen_split(TrainingFolder.open(frames), 1)
    settings = EvaluationSettings(model=model, split="validation", resamples=200)

    *_, last = evaluate_folder(frames, tmp_path / "python", settings)
    arguments = ["evaluate", str(frames), "--model", model, "--split", "validation", "--resamples", "200"]
    assert main([*arguments, "--out", str(tmp_path / "command")]) == 0

    tables = [(tmp_path / name / "cases.csv").read_text() for name in ("python", "command")]
    assert tables[0] == tables[1]
    assert 0 < len({row.id for row in last.evaluation.rows}) < 6


@pytest.mark.slow
def test_a_second_model_counts_as_progress_too(frames, model, tmp_path):
    settings = EvaluationSettings(model=model, compare_with=model, split="all", resamples=200)

    steps = list(evaluate_folder(frames, tmp_path / "report", settings))

    assert [step.done for step in steps] == [*range(1, 13), 12]


def test_a_set_without_cases_is_refused_before_anything_is_written(frames, model, tmp_path):
    with pytest.raises(DatasetError, match=r"in the set 'nonesuch' \(there: .*\)\. Choose one"):
        next(evaluate_folder(frames, tmp_path / "report", EvaluationSettings(split="nonesuch", model=model)))

    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("name", ["model", "original reports", "model with clinical record"])
def test_a_reader_who_is_called_like_another_test_is_refused_before_anything_is_computed(
    frames, model, tmp_path, name
):
    (tmp_path / "readers.csv").write_text(
        f"id,{name}\n" + "".join(f"{id_},benign\n" for id_ in TrainingFolder.open(frames).ids())
    )
    (tmp_path / "reports.csv").write_text(f"id,label\n{TrainingFolder.open(frames).ids()[0]},malignant\n")
    settings = EvaluationSettings(
        model=model,
        split="all",
        readers=str(tmp_path / "readers.csv"),
        reports=str(tmp_path / "reports.csv"),
        fusion=str(tmp_path / "readers.csv"),
    )

    with pytest.raises(DatasetError, match=rf"'{name}' is the name of .* in the comparison\. Head"):
        next(evaluate_folder(frames, tmp_path / "report", settings))


def test_a_folder_that_holds_a_report_is_refused_and_left_as_it_is(frames, model, tmp_path, capsys):
    report = tmp_path / "report"
    report.mkdir()
    for name in ("report.json", "progress.jsonl"):
        (report / name).write_text("of the former one")

    with pytest.raises(ExportError, match=r"report already holds a report\. Choose another folder"):
        next(evaluate_folder(frames, report, EvaluationSettings(model=model)))
    assert main(["evaluate", str(frames), "--model", model, "--out", str(report)]) == 1

    assert "report already holds a report. Choose another folder." in capsys.readouterr().err
    assert {path.read_text() for path in report.iterdir()} == {"of the former one"}
    assert len(list(report.iterdir())) == 2


@pytest.mark.slow
def test_masks_of_a_stopped_evaluation_stand_beside_no_report(frames, model, tmp_path):
    study = TrainingFolder.open(shutil.copytree(frames, tmp_path / "frames"))
    (fold,) = frozen_split(study, 1)[:1]
    masks = tmp_path / "report" / "masks"
    masks.mkdir(parents=True)
    for name in (*study.ids(), "my own"):
        (masks / f"{name}.png").write_bytes(b"")

    list(
        evaluate_folder(
            study, tmp_path / "report", EvaluationSettings(model=model, split="validation", resamples=200)
        )
    )

    assert {path.stem for path in masks.iterdir()} == {*fold.validation, "my own"}
    assert (masks / "my own.png").read_bytes() == b""


@pytest.mark.slow
def test_no_path_stands_in_the_report(frames, model, tmp_path):
    readers = tmp_path / "Meier_Anna.csv"
    ids = TrainingFolder.open(frames).ids()
    readers.write_text("id,Dr A\n" + "".join(f"{id_},malignant\n" for id_ in ids))
    settings = EvaluationSettings(model=model, readers=str(readers), split="all", resamples=200)

    list(evaluate_folder(frames, tmp_path / "report", settings))

    for name in ("report.html", "report.json", "cases.csv"):
        assert "Meier_Anna" not in (tmp_path / "report" / name).read_text()
    assert json.loads((tmp_path / "report" / "report.json").read_text())
