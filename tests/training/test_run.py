"""A run turns a training folder into a model that can be used, and says how good it is."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from napari_cln.annotation import Annotation
from napari_cln.errors import RunError, SplitError
from napari_cln.folder.dataset import TrainingFolder
from napari_cln.folder.record import Provenance
from napari_cln.network.inference import segment
from napari_cln.network.model import YNetConfig
from napari_cln.network.weights import load_model
from napari_cln.phantom import simulate
from napari_cln.training.data import Samples
from napari_cln.training.recipes import Recipe
from napari_cln.training.run import TrainConfig, train
from napari_cln.training.run_folder import Compared, End, Epoch, Event, RunFolder, Start


@pytest.fixture(scope="module")
def config(small) -> TrainConfig:
    return TrainConfig(epochs=2, folds=2, batch_size=2, start_from=str(small), compare_with=str(small))


@pytest.fixture(scope="module")
def finished(study, config, tmp_path_factory) -> tuple[Path, list[Event]]:
    out = tmp_path_factory.mktemp("runs") / "first"
    return out, list(train(study, out, config))


def test_a_run_leaves_a_model_that_segments(finished, study):
    out, _ = finished
    case = study.cases()[0]

    prediction = segment(study.read_image(case), out / "model.safetensors")

    assert prediction.model_id.startswith("first@")
    assert "not for diagnosis" in load_model(out / "model.safetensors").card.limits


def test_a_run_that_can_not_be_written_says_so(study, config, tmp_path):
    (tmp_path / "run" / "fold-0" / "best.pt").mkdir(parents=True)  # where the weights should go

    with pytest.raises(RunError, match=r"can't be written in run: is a directory\. Make room, then resume"):
        list(train(study, tmp_path / "run", config))


def test_the_log_holds_every_event(finished):
    out, events = finished

    assert list(RunFolder(out).events()) == events
    assert isinstance(events[0], Start)
    assert events[0].frames == 8
    assert isinstance(events[-1], End)
    assert [(event.fold, event.epoch) for event in events if isinstance(event, Epoch)] == [
        (0, 1),
        (0, 2),
        (1, 1),
        (1, 2),
    ]


def test_every_frame_is_validated_once_and_never_trained_on_by_that_fold(finished, study):
    folds = json.loads((finished[0] / "run.json").read_text())["folds"]

    assert sorted(id_ for fold in folds for id_ in fold["validation"]) == study.ids()
    for fold in folds:
        assert not set(fold["train"]) & set(fold["validation"])


def test_the_card_says_on_how_many_frames_its_figures_stand(finished):
    card = load_model(finished[0] / "model.safetensors").card

    assert {figure.name for figure in card.figures} >= {"Dice, median", "AUC"}
    assert all("8 validation frames of 2 folds" in figure.data for figure in card.figures)
    assert all(figure.estimate.n <= 8 for figure in card.figures)
    assert "Youden" in card.cutoff_from


def test_each_fold_leaves_its_model(finished):
    for fold in ("fold-0", "fold-1"):
        assert load_model(finished[0] / fold / "model.safetensors").card.name == f"first-{fold}"


def test_the_new_model_is_compared_with_the_one_in_use_on_the_same_frames(finished):
    (compared,) = (event for event in finished[1] if isinstance(event, Compared))

    assert compared.model.startswith("small@")
    assert compared.dice.n == compared.auc.n == 4
    assert compared.dice.low <= compared.dice.value <= compared.dice.high
    assert load_model(finished[0] / "model.safetensors").card.compared == compared.comparison


def test_a_finished_run_is_not_overwritten(finished, study, config):
    with pytest.raises(RunError, match=r"first already holds a run\. Resume it"):
        next(train(study, finished[0], config))


def test_a_run_is_not_resumed_with_other_settings(finished, study, config):
    with pytest.raises(RunError, match="was started with another epochs, seed"):
        next(train(study, finished[0], replace(config, epochs=5, seed=1), resume=True))


def test_a_run_of_a_version_that_lacked_a_setting_is_resumed(finished, study, config, tmp_path):
    out = tmp_path / "first"
    shutil.copytree(finished[0], out)
    record = json.loads((out / "run.json").read_text())
    del record["config"]["ensemble"]
    (out / "run.json").write_text(json.dumps(record))

    *_, last = train(study, out, config, resume=True)

    assert isinstance(last, End)
    with pytest.raises(RunError, match="was started with another ensemble"):
        next(train(study, out, replace(config, ensemble=True), resume=True))


def test_a_folder_without_a_run_can_not_be_resumed(study, config, tmp_path):
    with pytest.raises(RunError, match="holds no run to resume"):
        next(train(study, tmp_path, config, resume=True))


def test_a_run_that_was_stopped_goes_on_and_ends_the_same(finished, study, config, tmp_path):
    out = tmp_path / "first"
    for event in train(study, out, config):
        if isinstance(event, Epoch) and event.fold == 1:
            break

    list(train(study, out, config, resume=True))

    whole = load_model(finished[0] / "model.safetensors")
    again = load_model(out / "model.safetensors")
    assert whole.card == again.card


def test_a_folder_of_one_patient_is_refused_and_the_log_says_why(config, tmp_path):
    folder = TrainingFolder.create(tmp_path / "study")
    for seed in (1, 2):
        phantom = simulate(seed, n_nodes=1, overlays=False)
        marked = Annotation(frame=phantom.frame, instances=phantom.instances, nodes=phantom.nodes)
        folder.save(marked, patient="one", source_kind="simulated")

    with pytest.raises(SplitError):
        list(train(folder, tmp_path / "run", config))

    (line,) = (tmp_path / "run" / "progress.jsonl").read_text().splitlines()
    assert json.loads(line)["event"] == "failed"


def test_the_paper_recipe_is_the_papers():
    recipe = TrainConfig(recipe="paper").to_recipe()

    assert recipe == Recipe.paper()
    assert recipe.network == YNetConfig.paper()
    assert (recipe.batch_size, recipe.learning_rate, recipe.loss.class_weight) == (8, 0.001, 1.0)
    assert not recipe.loss.dice
    assert not recipe.prepare.keep_aspect


@pytest.mark.parametrize("recipe", ["best", "paper"])
def test_classification_only_leaves_the_mask_head_out(recipe):
    network = TrainConfig(recipe=recipe, classification_only=True).to_recipe().network

    assert not network.segmentation
    assert not network.guided


def test_the_settings_are_the_record(finished, config):
    assert json.loads((finished[0] / "run.json").read_text())["config"] == json.loads(
        msgspec.json.encode(config)
    )


def test_the_card_names_the_model_it_started_from_by_id_and_no_path(finished, small):
    card = load_model(finished[0] / "model.safetensors").card

    assert card.recipe["start_from"] == load_model(small).model_id
    assert str(small.parent) not in (finished[0] / "model.json").read_text()


def test_the_limits_of_what_is_a_node_come_from_the_frames(finished, study):
    card = load_model(finished[0] / "model.safetensors").card
    samples = Samples.from_cases(study, study.cases(), card.prepare)
    areas = [(one == id_).sum() for one in samples.instances for id_ in range(1, one.max() + 1)]

    assert card.min_node_area == min(area for area in areas if area) // 2  # of eight nodes none may be lost
    assert 0 <= card.min_peak < 1


def test_a_frame_is_prepared_once_whatever_the_number_of_folds(study, small, tmp_path, monkeypatch):
    read = []
    read_image = type(study).read_image
    monkeypatch.setattr(
        type(study), "read_image", lambda folder, case: read.append(case.id) or read_image(folder, case)
    )
    config = TrainConfig(epochs=1, folds=2, batch_size=2, start_from=str(small), compare_with="")

    list(train(study, tmp_path / "run", config))

    assert sorted(read) == sorted(case.id for case in study.cases())


@pytest.mark.parametrize("hold_out", ["patient", "hospital"])
def test_frames_that_teach_nothing_are_in_no_fold(small, tmp_path, hold_out):
    folder = TrainingFolder.create(tmp_path / "study")
    for seed in range(6):
        phantom = simulate(seed, n_nodes=1, overlays=False)
        truth, hospital = ("benign", "metastatic")[seed % 2], "AB"[seed // 2 % 2]
        nodes = tuple(replace(node, truth=truth) for node in phantom.nodes)
        marked = Annotation(frame=phantom.frame, instances=phantom.instances, nodes=nodes)
        if seed == 4:  # rejected by a reader
            nodes = tuple(replace(node, status="rejected") for node in nodes)
            marked = replace(marked, nodes=nodes, status="rejected")
        elif seed == 5:  # nobody has looked at it, and nobody knows of which hospital it is
            empty = phantom.instances * 0
            marked, hospital = Annotation(frame=phantom.frame, instances=empty, status="predicted"), None
        about = Provenance(patient=f"patient {seed}", hospital=hospital, kind="simulated")
        folder.keep(marked, about)
    config = TrainConfig(epochs=1, folds=2, batch_size=2, start_from=str(small), hold_out=hold_out)

    start = next(train(folder, tmp_path / "run", config))

    assert start.frames == 4
    taught = {id_ for fold in RunFolder(tmp_path / "run").record().folds for id_ in fold.train}
    assert taught == {case.id for case in folder.cases() if case.mask is not None}
