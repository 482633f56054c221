"""A run that keeps all its folds leaves one model, whose card says what its figures are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from napari_cln.errors import RunError
from napari_cln.models.card import ModelCard
from napari_cln.network.ensemble import Ensemble
from napari_cln.network.inference import segment
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.weights import load_model, save_model
from napari_cln.training.config import TrainConfig
from napari_cln.training.run import train
from napari_cln.training.run_folder import Compared, End, Event

LESS = {"width": 0.125, "decoder_width": 8}


@pytest.fixture(scope="module")
def config(small) -> TrainConfig:
    model = str(small)
    return TrainConfig(epochs=1, folds=2, batch_size=2, ensemble=True, start_from=model, compare_with=model)


@pytest.fixture(scope="module")
def finished(study, config, tmp_path_factory) -> tuple[Path, list[Event]]:
    out = tmp_path_factory.mktemp("runs") / "both"
    return out, list(train(study, out, config))


def test_the_model_of_the_run_is_all_its_folds_and_segments(finished, study):
    out, _ = finished
    pixels = study.read_image(study.cases()[0])
    folds = [load_model(out / f"fold-{index}" / "model.safetensors") for index in (0, 1)]
    ensemble = load_model(out / "model.safetensors")

    prediction = segment(pixels, out / "model.safetensors", "cpu")

    assert isinstance(ensemble, Ensemble)
    assert prediction.model_id == ensemble.model_id
    assert prediction.model_id.startswith("both@")
    for fold, member in zip(folds, ensemble.members, strict=True):
        ours, theirs = fold.state_dict(), member.state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    first, second = (member.stem[0].weight for member in ensemble.members)
    assert not torch.equal(first, second)


def test_the_card_says_that_the_ensemble_has_no_unseen_frame(finished):
    card = load_model(finished[0] / "model.safetensors").card

    assert card.members == 2
    assert card.trained_on[0].n == 8  # each frame trained all members but one
    assert "An ensemble of 2 networks." in card.limits
    assert "the ensemble itself has no unseen frame" in card.limits
    assert "not for diagnosis" in card.limits
    said = "8 validation frames of 2 folds, which also chose the epoch, each judged by the one member that"
    assert card.figures
    assert all(said in figure.data for figure in card.figures)
    assert said in card.cutoff_from
    assert card.recipe["ensemble"] is True


def test_the_card_of_a_fold_speaks_of_one_network(finished):
    card = load_model(finished[0] / "fold-0" / "model.safetensors").card

    assert card.members == 1
    assert "ensemble" not in card.limits
    assert all("member" not in figure.data for figure in card.figures)


def test_all_folds_are_compared_with_the_model_in_use(finished):
    _, events = finished
    (comparison,) = (event for event in events if isinstance(event, Compared))

    assert comparison.dice.n == comparison.auc.n == 8
    assert isinstance(events[-1], End)
    assert events[-1].fold is None


def test_a_model_in_use_that_is_an_ensemble_is_compared_too(finished, study, config, tmp_path):
    other = replace(config, ensemble=False, folds=1, compare_with=str(finished[0] / "model.safetensors"))

    events = list(train(study, tmp_path / "run", other))

    (comparison,) = (event for event in events if isinstance(event, Compared))
    assert comparison.model.startswith("both@")
    assert comparison.auc is not None


def test_networks_without_a_mask_make_an_ensemble(study, tmp_path):
    plain = YNet(YNetConfig(**LESS, segmentation=False, guided=False))
    save_model(plain, tmp_path / "plain.safetensors", ModelCard(name="plain"))
    start = str(tmp_path / "plain.safetensors")
    config = TrainConfig(
        epochs=1, folds=2, batch_size=2, ensemble=True, classification_only=True, start_from=start
    )

    list(train(study, tmp_path / "run", replace(config, compare_with="")))

    pixels = study.read_image(study.cases()[0])
    prediction = segment(pixels, tmp_path / "run" / "model.safetensors", "cpu")
    ensemble = load_model(tmp_path / "run" / "model.safetensors")
    each = []
    for member in ensemble.members:
        member.card = ensemble.card
        each.append(segment(pixels, member, "cpu").malignancy)
    assert not prediction.instances.any()
    assert min(each) - 1e-6 <= prediction.malignancy <= max(each) + 1e-6


def test_a_training_does_not_start_from_an_ensemble(finished, study, config, tmp_path):
    start = str(finished[0] / "model.safetensors")

    with pytest.raises(RunError, match=r"both@.* is an ensemble of 2 networks.*Choose one of them"):
        list(train(study, tmp_path / "run", replace(config, start_from=start)))


def test_one_fold_makes_no_ensemble(study, config, tmp_path):
    with pytest.raises(RunError, match="several folds, and this run has 1"):
        list(train(study, tmp_path / "run", replace(config, folds=1)))
    assert not (tmp_path / "run" / "run.json").exists()
