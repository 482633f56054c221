"""A training that starts from a model keeps the recipe that was asked for, and counts what it took over."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from napari_cln.cli import main, parse
from napari_cln.errors import RunError
from napari_cln.models.card import ModelCard
from napari_cln.network.model import YNet, YNetConfig
from napari_cln.network.u_shaped import UYNet
from napari_cln.network.weights import load_model, save_model
from napari_cln.training.config import TrainConfig
from napari_cln.training.recipes import Recipe
from napari_cln.training.run import train
from napari_cln.training.run_folder import RunFolder, Start
from napari_cln.training.start import starting_point
from napari_cln.types import PrepareConfig

PYRAMID = replace(Recipe.best(), network=YNetConfig())


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory) -> str:
    """A model of full size with the paper's trunk."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("pyramid") / "pyramid.safetensors"
    save_model(YNet(YNetConfig()), path, ModelCard(name="pyramid"))
    return str(path)


@pytest.mark.parametrize(
    ("recipe", "taken", "of"),
    [
        (PYRAMID, 273, 273),
        (Recipe.paper(), 222, 273),
        (Recipe.paper(segmentation=False), 163, 164),
    ],
)
def test_the_network_is_the_recipes_and_takes_what_fits(pyramid, recipe, taken, of):
    default = load_model(pyramid)

    start = starting_point(pyramid, recipe)

    assert start.network.config == recipe.network
    assert (start.taken, start.of) == (taken, of)
    assert str(start).startswith(f"{taken} of {of} tensors from {default.model_id}")
    theirs, ours = default.state_dict(), start.network.state_dict()
    same = sum(key in theirs and torch.equal(theirs[key], value) for key, value in ours.items())
    assert same >= taken
    assert all(torch.equal(theirs[key], ours[key]) for key in ours if key.startswith(("stem.", "enc")))
    assert not start.network.training or start.network.novelty is None


def test_what_does_not_fit_depends_on_the_seed_alone(pyramid):
    one, again, other = (starting_point(pyramid, Recipe.paper(), seed).network for seed in (1, 1, 2))

    weights = [network.head[0].weight for network in (one, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_papers_preparation_is_kept_and_the_difference_told(pyramid):
    start = starting_point(pyramid, Recipe.paper())

    assert "its frames were prepared in another way (keep_aspect True for False)" in str(start)
    assert Recipe.paper().prepare == PrepareConfig(keep_aspect=False)


def test_a_model_of_the_recipes_kind_keeps_its_own_sizes_which_is_told(small):
    start = starting_point(str(small), Recipe.best())

    assert start.network.config == load_model(small).config
    assert start.taken == start.of
    assert (
        "keeps that model's sizes (trunk pyramid for u, decoder_width 8 for 32, width 0.125 for 1.0)"
        in str(start)
    )


def test_a_classifier_alone_keeps_the_trunk_of_its_model(pyramid):
    start = starting_point(pyramid, Recipe.best(segmentation=False))

    assert start.network.config == replace(Recipe.best(segmentation=False).network, trunk="pyramid")
    assert (start.taken, start.of) == (163, 164)


def test_a_u_shaped_model_gives_all_its_tensors_to_the_recipe_best(tmp_path):
    config = YNetConfig(trunk="u", width=0.125)
    save_model(UYNet(config), tmp_path / "u.safetensors", ModelCard(name="u"))

    start = starting_point(str(tmp_path / "u.safetensors"), Recipe.best())

    assert start.network.config == config
    assert start.taken == start.of


def test_a_model_of_which_too_little_fits_is_refused(small):
    few = r"^\d+ of 273 tensors of small@\w+ fit .* 'paper', too few .*width 0\.125 for 1\.0"
    with pytest.raises(RunError, match=few):
        starting_point(str(small), Recipe.paper())


def test_another_encoder_is_not_the_papers(tmp_path):
    other = YNet(YNetConfig(block="rcb", guided=False))
    save_model(other, tmp_path / "other.safetensors", ModelCard(name="other"))

    with pytest.raises(RunError, match=r"too few .*\(block rcb for esp, decoder_width 32 for 8\)"):
        starting_point(str(tmp_path / "other.safetensors"), Recipe.paper())


def test_without_a_model_there_is_no_start():
    assert starting_point("", Recipe.best()) is None


def test_a_classification_only_run_from_the_shipped_model_is_one(study, tmp_path, capsys):
    options = ["--classification-only", "--start-from", "default", "--compare-with", ""]
    quick = ["--epochs", "1", "--folds", "1", "--batch-size", "1"]

    code = main(["train", str(study.path), "--out", str(tmp_path / "run"), *options, *quick])

    assert code == 0
    start = starting_point("default", Recipe.best(segmentation=False))
    said = f"{start.taken} of {start.of} tensors from {load_model('default').model_id}"
    assert f"starts from {said}" in capsys.readouterr().out
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert not model.config.segmentation
    assert model.card.mask_threshold is None
    assert model.card.recipe["loaded"] == f"{start.taken} of {start.of} tensors"
    assert model.card.recipe["start_from"] == load_model("default").model_id
    run = RunFolder(tmp_path / "run")
    assert [e.weights for e in run.events() if isinstance(e, Start)] == [str(start)]
    assert run.record().weights == load_model("default").model_id


def test_a_run_is_not_resumed_from_another_model_of_that_name(study, small, tmp_path):
    start = tmp_path / "start.safetensors"
    save_model(load_model(small), start, ModelCard(name="start"))
    config = TrainConfig(epochs=1, folds=1, batch_size=2, start_from=str(start), compare_with="")
    next(train(study, tmp_path / "run", config))
    torch.manual_seed(5)
    save_model(YNet(load_model(small).config), start, ModelCard(name="start"))

    with pytest.raises(RunError, match=r"was started from start@\w+, and '.*' is start@\w+ now"):
        list(train(study, tmp_path / "run", config, resume=True))


# ------------------------------------------------------------ limits at every entrance

OUT_OF_LIMITS = [
    ("epochs", 0, "from 1 to 1000"),
    ("epochs", 1001, "from 1 to 1000"),
    ("folds", 11, "from 1 to 10"),
    ("batch_size", 10**9, "from 1 to 256"),
    ("learning_rate", float("nan"), "from 1e-06 to 1"),
    ("learning_rate", float("inf"), "from 1e-06 to 1"),
    ("learning_rate", 0.0, "from 1e-06 to 1"),
    ("patience", -1, "from 0 to 1000"),
    ("seed", -1, "from 0 to 2147483647"),
]


@pytest.mark.parametrize(("name", "value", "limits"), OUT_OF_LIMITS)
def test_a_setting_out_of_its_limits_is_refused_in_python(name, value, limits):
    with pytest.raises(RunError, match=rf"^{name} is .*, and must be a .*{limits}\.$"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize(("name", "value", "limits"), [row for row in OUT_OF_LIMITS if math.isfinite(row[1])])
def test_a_setting_out_of_its_limits_is_wrong_use_of_the_command(name, value, limits, tmp_path, capsys):
    option = f"--{name.replace('_', '-')}"

    with pytest.raises(SystemExit) as ended:
        main(["train", str(tmp_path), "--out", str(tmp_path / "run"), f"{option}={value}"])

    assert ended.value.code == 2
    assert f"argument {option}: {name} is " in (said := capsys.readouterr().err)
    assert limits in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["many", "1e", "1.5", "", "1 2"])
def test_what_is_no_whole_number_is_wrong_use(text, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["train", str(tmp_path), "--out", "run", "--epochs", text])
    assert "is not a whole number" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["nan", "inf", "1.234,5", "0x10"])
def test_what_is_no_number_is_wrong_use(text, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["train", str(tmp_path), "--out", "run", "--learning-rate", text])
    assert "is not one number" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0,002", "0.002", "2e-3"])
def test_a_rate_takes_point_and_comma(text):
    _, options = parse(["train", ".", "--out", "run", "--learning-rate", text])

    assert options.arguments["learning_rate"] == 0.002


@pytest.mark.parametrize("wrong", [{"epochs": "5"}, {"epochs": 2.5}, {"ensemble": 1}, {"recipe": "worst"}])
def test_a_setting_of_another_kind_is_refused(wrong):
    with pytest.raises(RunError, match=rf"^{next(iter(wrong))} is .*, and must be"):
        TrainConfig(**wrong)


def test_a_recorded_setting_out_of_its_limits_is_named(study, small, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"config": {"patience": -1}, "folds": []}')

    with pytest.raises(
        RunError, match=r"run\.json in run can't be read: config\.patience is -1.*settings are lost"
    ):
        next(train(study, tmp_path / "run", resume=True))
